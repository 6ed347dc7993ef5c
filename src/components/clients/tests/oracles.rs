//! Oracles of health checks, shedding and zones.

use super::*;

/// Mean of `values` is `expected` within the 99.9 % interval of so many draws of standard deviation `deviation`.
fn mean_is(values: &[f64], expected: f64, deviation: f64) -> bool {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    (mean - expected).abs() < 3.29 * deviation / count.sqrt()
}

fn set_all(rig: &mut Rig, process: Process) {
    for pod in 0..rig.world.pods.len() {
        rig.world.set_process(PodId::at(pod), process);
    }
}

/// Times after `since` at which targets came to a state.
fn reached(rig: &Rig, since: f64, state: TargetState) -> Vec<f64> {
    let moments = rig.moments(|change| matches!(change, Change::TargetStateChanged(_, to) if to == state));
    moments.into_iter().filter(|&moment| moment > since).map(|moment| moment - since).collect()
}

/// Interval 30 s, two failures to leave, five successes to come back: 30 to 60 s (and the time-out where nothing
/// answers), 120 to 150 s.
#[test]
fn oracle_22_phases_of_checks_are_uniform() {
    const TARGETS: usize = 500;
    let plan = plan(1000.0, 0.0, |plan| plan.noise = true);
    // A uniform phase of 30 s.
    let deviation = 30.0 / f64::sqrt(12.0);
    for (process, late) in [(Process::Ended, 0.0), (Process::Vanished, 5.0)] {
        let mut rig = Rig::new(&plan, TARGETS);
        rig.act(at(100.0), |rig| set_all(rig, process));
        rig.act(at(300.0), |rig| set_all(rig, Process::Answering));
        rig.run(at(600.0));
        let ejected = reached(&rig, 100.0, TargetState::Unhealthy);
        assert_eq!(ejected.len(), TARGETS);
        assert!(ejected.iter().all(|&after| (30.0 + late..=60.0 + late).contains(&after)), "{ejected:?}");
        assert!(mean_is(&ejected, 45.0 + late, deviation));
        let recovered = reached(&rig, 300.0, TargetState::Healthy);
        assert_eq!(recovered.len(), TARGETS);
        // Of a check under way when the application answers again, the time-out is still to come: it starts the count
        // again only if it is of the same tick, which it never is.
        assert!(recovered.iter().all(|&after| (120.0..=150.0 + late).contains(&after)), "{recovered:?}");
        assert!(mean_is(&recovered, 135.0, deviation + late));
    }
}

/// With z nodes that check by themselves, full weight comes with the last of z phases: I z/(z + 1).
#[test]
fn oracle_22_full_weight_waits_for_the_last_node_of_the_load_balancer() {
    const TARGETS: usize = 300;
    let plan = plan(1000.0, 0.0, |plan| {
        plan.noise = true;
        plan.target_groups[0].nodes = 3;
    });
    let mut rig = Rig::new(&plan, TARGETS);
    rig.act(at(100.0), |rig| set_all(rig, Process::Ended));
    rig.act(at(300.0), |rig| set_all(rig, Process::Answering));
    rig.run(at(600.0));
    let full = rig.moments(|change| matches!(change, Change::TargetWeight(_, 3)));
    let full: Vec<f64> = full.into_iter().filter(|&moment| moment > 300.0).map(|moment| moment - 300.0).collect();
    assert_eq!(full.len(), TARGETS);
    // The maximum of z uniforms on I: mean I z/(z + 1), variance I^2 z/((z + 1)^2 (z + 2)).
    let deviation = 30.0 * f64::sqrt(3.0 / (16.0 * 5.0));
    assert!(mean_is(&full, 120.0 + 30.0 * 3.0 / 4.0, deviation));
}

/// Arrivals at 0.2 a second on one connection that the application closes after 5 s and that the load balancer holds open for
/// half a second more: a gap falls within that moment with chance p = e^-1 (1 - e^-0.1), and after a loss the connection is
/// new, so p/(1 + p) of all are lost.
#[test]
fn a_keep_alive_shorter_than_the_load_balancers_costs_what_chance_says() {
    let plan = |keep_alive| {
        plan(50_000.0, 0.2, |plan| {
            plan.noise = true;
            plan.apps[0].cpu_per_request = Span::from_millis(1);
            plan.apps[0].keep_alive = keep_alive;
            plan.flags.serving.close_notice = Span::from_millis(500);
        })
    };
    let run = |plan: &Plan| {
        let mut rig = Rig::new(plan, 1);
        rig.run(plan.until);
        assert_eq!(rig.lost(Loss::Closed), rig.tally().lost_all() as f64 / 1e6);
        (rig.lost(Loss::Closed), rig.tally().offered as f64 / 1e6)
    };
    let (lost, offered) = run(&plan(Some(seconds(5.0))));
    let p = f64::exp(-1.0) * (1.0 - f64::exp(-0.1));
    let expected = p / (1.0 + p);
    let half = 3.29 * (expected / offered).sqrt();
    assert!((lost / offered - expected).abs() < half, "{lost} of {offered}, expected {expected} of them");
    assert_eq!(run(&plan(None)).0, 0.0, "the load balancer closes first");
}

/// Oracle 14 with shedding: what cannot be served at once is lost, exactly 45 000.
#[test]
fn oracle_14_with_shedding_loses_what_is_too_much() {
    let plan = plan(300.0, 1500.0, |plan| {
        plan.apps[0].mode = TrafficMode::Fluid;
        plan.apps[0].cpu_per_request = Span::from_micros(500);
        plan.apps[0].workers = 1;
        plan.apps[0].queue = 0;
        let until = Some(at(90.0));
        plan.faults.push(Fault { at: START, until, kind: FaultKind::Slowdown(AppId(0), 2.0, SlowPart::All) });
    });
    let mut rig = Rig::new(&plan, 1);
    rig.act(START, |rig| rig.world.set_fault(FaultId(0), true));
    rig.act(at(90.0), |rig| rig.world.set_fault(FaultId(0), false));
    rig.run(plan.until);
    let lost = rig.tally().lost_all() as f64 / REQUEST as f64;
    assert!((lost - 45_000.0).abs() <= 2.0, "{lost}: all but the place in the worker");
}

/// Without cross-zone balancing each zone gets the same part of the requests, however few its targets are.
#[test]
fn without_cross_zone_balancing_zones_share_alike() {
    let algorithms = [RoutingAlgorithm::RoundRobin, RoutingAlgorithm::LeastOutstandingRequests];
    let modes = [TrafficMode::Requests, TrafficMode::Fluid];
    for (mode, algorithm) in modes.into_iter().flat_map(|mode| algorithms.map(|algorithm| (mode, algorithm))) {
        let plan = plan(300.0, 30.0, |plan| {
            plan.apps[0].mode = mode;
            plan.apps[0].cpu_per_request = seconds(0.001);
            plan.target_groups[0].cross_zone = false;
            plan.target_groups[0].algorithm = algorithm;
        });
        // One target on the first node, three on a node of another zone.
        let mut rig = Rig::new(&plan, 1);
        rig.act(at(10.0), |rig| {
            let allocatable = rig.world.node(NodeId(0)).allocatable.clone();
            let node = rig.world.create_node(NewNode {
                name: "node-2".into(),
                labels: Labels::new(),
                taints: Vec::new(),
                capacity: allocatable.clone(),
                allocatable,
                claim: None,
                instance: None,
                zone: Some(ZoneId(1)),
            });
            for _ in 0..3 {
                let pod = rig.pod_on(node);
                rig.world.set_process(pod, Process::Answering);
                rig.ready(pod);
            }
            rig.publish();
        });
        rig.run(at(100.0));
        let before: Vec<u128> = (0..4).map(|pod| rig.world.cpu_used(PodId(pod))).collect();
        rig.run(at(220.0));
        let shares = (0..4).map(|pod| (rig.world.cpu_used(PodId(pod)) - before[pod as usize]) as f64 / 3600e6);
        let shares: Vec<f64> = shares.collect();
        let close = |share: f64, expected: f64| (share - expected).abs() < 0.01;
        assert!(close(shares[0], 0.5), "{mode:?} {algorithm:?}: {shares:?}");
        assert!(shares[1..].iter().all(|&share| close(share, 1.0 / 6.0)), "{mode:?} {algorithm:?}: {shares:?}");
    }
}

/// Of sticky clients only new sessions and expired cookies come to a new target: its share of a third grows as
/// 1 - exp(-t (1/session + 1/duration)); those of a target that goes are routed anew at once.
#[test]
fn sticky_clients_stay_until_their_sessions_end_or_their_target_goes() {
    for mode in [TrafficMode::Requests, TrafficMode::Fluid] {
        let plan = plan(1000.0, 100.0, |plan| {
            plan.noise = true;
            plan.apps[0].mode = mode;
            plan.apps[0].cpu_per_request = seconds(0.001);
            let (duration, session) = (seconds(86_400.0), seconds(600.0));
            plan.target_groups[0].stickiness = Some(Stickiness { duration, clients: 5000, session });
        });
        let mut rig = Rig::new(&plan, 2);
        rig.act(at(10.0), |rig| {
            let pod = rig.pod();
            rig.world.set_process(pod, Process::Answering);
            rig.ready(pod);
            rig.publish();
        });
        let shares = |rig: &mut Rig, from: f64, to: f64| {
            rig.run(at(from));
            let before = [0, 1, 2].map(|pod| rig.world.cpu_used(PodId(pod)));
            rig.run(at(to));
            let used = [0, 1, 2].map(|pod| (rig.world.cpu_used(PodId(pod)) - before[pod as usize]) as f64);
            used.map(|part| part / used.iter().sum::<f64>())
        };
        let expected = |after: f64| (1.0 - f64::exp(-after * (1.0 / 600.0 + 1.0 / 86_400.0))) / 3.0;
        let within = if mode == TrafficMode::Fluid { 0.002 } else { 0.025 };
        let [_, _, newcomer] = shares(&mut rig, 280.0, 340.0);
        assert!((newcomer - expected(300.0)).abs() < within, "{mode:?}: {newcomer}, expected {}", expected(300.0));
        rig.act(at(500.0), |rig| rig.delete(PodId(0)));
        let [gone, kept, newcomer] = shares(&mut rig, 505.0, 515.0);
        assert_eq!(gone, 0.0);
        // Half of the clients that the first target had.
        let more = (1.0 - expected(500.0)) / 4.0;
        assert!((newcomer - expected(500.0) - more).abs() < 2.0 * within, "{mode:?}: {newcomer} beside {kept}");
    }
}

/// A check is a request: of a pod that is busy for longer than the time-out it fails, also where a flow keeps it busy; and
/// a draining application that has closed its listener refuses it.
#[test]
fn checks_of_an_overloaded_pod_time_out_and_come_back_with_the_load() {
    for mode in [TrafficMode::Requests, TrafficMode::Fluid] {
        let plan = plan(600.0, 2.0, |plan| {
            // Two a second, each a tenth of a second, until 2 m; then twenty, of which a pod serves ten; then two again.
            plan.apps[0].cpu_per_request = seconds(0.1);
            (plan.apps[0].workers, plan.apps[0].queue, plan.apps[0].mode) = (10, 500, mode);
            let steps = [(120.0, 2.0), (120.0, 20.0), (180.0, 20.0), (180.0, 2.0)];
            plan.apps[0].traffic.points.extend(steps.map(|(time, rate)| (at(time), rate)));
        });
        let mut rig = Rig::new(&plan, 1);
        rig.run(plan.until);
        let states = |state| rig.moments(|change| change == Change::TargetStateChanged(TargetId(0), state));
        // Ten more wait every second: after 5 s of it a check waits 5 s. Checks are due at 15 s, 45 s, ...: those of 135 s
        // and 165 s fail, and are known to 5 s later.
        assert_eq!(states(TargetState::Unhealthy), [170.0], "{mode:?}");
        assert_eq!(rig.world.targets[0].reason_at(at(200.0)), TargetReason::Timeout);
        // The backlog of 600 is gone 75 s after the load: from the check of 255 s on (or, where the queue is nearly gone, a
        // check earlier) five succeed.
        let back = states(TargetState::Healthy);
        assert!(back.len() == 1 && (345.0..=376.0).contains(&back[0]), "{mode:?}: {back:?}");
        assert_eq!(rig.tally().offered, rig.tally().served + rig.tally().lost_all());
    }
}

#[test]
fn a_full_queue_answers_checks_with_an_error_status() {
    let plan = plan(300.0, 20.0, |plan| {
        plan.apps[0].cpu_per_request = seconds(0.1);
        (plan.apps[0].workers, plan.apps[0].queue) = (2, 2);
    });
    let mut rig = Rig::new(&plan, 1);
    rig.run(plan.until);
    assert_eq!(rig.world.targets[0].reason_at(at(250.0)), TargetReason::ResponseCodeMismatch);
    assert_eq!(rig.world.targets[0].state, TargetState::Unhealthy);
    assert!(rig.world.targets[0].routable, "and the load balancer fails open");
}

/// The listener closes with SIGTERM: what was in flight is answered, what comes is refused.
#[test]
fn an_application_that_finishes_refuses_new_connections() {
    let plan = plan(200.0, 10.0, |plan| {
        plan.apps[0].cpu_per_request = Span::ZERO;
        plan.apps[0].wait_per_request = seconds(2.0);
        plan.apps[0].drains = Drains::InFlight;
        plan.apps[0].stop = Distribution::Constant(seconds(1.0));
        plan.timings.set(Stage::TargetDeregistration, Distribution::Constant(seconds(4.0)));
        plan.timings.set(Stage::LoadBalancerReconcile, Distribution::Constant(seconds(0.7)));
    });
    let mut rig = Rig::new(&plan, 2);
    rig.act(at(50.0), |rig| rig.delete(PodId(0)));
    rig.run(plan.until);
    assert_eq!(rig.lost(Loss::Cut), 0.0);
    assert!((rig.lost(Loss::Refused) - 23.5).abs() <= 1.0, "5 a second for 4.7 s: {}", rig.lost(Loss::Refused));
    let ended = rig.moments(|change| change == Change::PodProcess(PodId(0), Process::Ended));
    assert!(ended.len() == 1 && (51.0..=52.0).contains(&ended[0]), "with the last answer: {ended:?}");
}

/// Oracle 23: requests of exponential length that are in flight when a target is deregistered are cut by the delay with
/// chance exp(-d/s); that is a Poisson stream thinned, so with Little's law rate x s are in flight.
#[test]
fn oracle_23_the_delay_cuts_what_is_longer() {
    // Lengths are fixed here: of requests of 50 s that arrive evenly, those that began less than 20 s before are cut by 30 s.
    let plan = plan(400.0, 2.0, |plan| {
        plan.apps[0].cpu_per_request = Span::ZERO;
        plan.apps[0].wait_per_request = seconds(50.0);
        plan.apps[0].drains = Drains::InFlight;
        plan.apps[0].stop = Distribution::Constant(seconds(1.0));
        plan.timings.set(Stage::TargetDeregistration, Distribution::Constant(Span::ZERO));
        plan.timings.set(Stage::LoadBalancerReconcile, Distribution::Constant(Span::ZERO));
        without_checks(plan);
    });
    let mut rig = Rig::new(&plan, 1);
    rig.act(at(200.0), |rig| rig.delete(PodId(0)));
    rig.run(at(240.0));
    let cut = rig.lost(Loss::DrainEnded);
    assert!((cut - 2.0 * 20.0).abs() <= 1.0, "two a second for 20 s: {cut}");
}
