//! What clients do beside sending: retry, give up, wait for a pod; and work that depends on load and age.

use super::*;

fn retries(plan: &mut Plan, retries: Retries) {
    plan.apps[0].clients.retries = Some(retries);
}

/// Without a pod every try fails at once: at 0.5 s, and after 1 s and 2 s more.
#[test]
fn a_failed_request_is_tried_again_after_each_back_off() {
    let plan = plan(20.0, 1.0, |plan| {
        retries(plan, Retries { jitter: false, ..Retries::default() });
        plan.apps[0].traffic.points = vec![(START, 1.0), (at(1.0), 1.0), (at(1.0), 0.0)];
    });
    let mut rig = Rig::new(&plan, 0);
    rig.run(plan.until);
    let offered: Vec<(usize, u64)> = (rig.world.ledgers[0].bins.iter().enumerate())
        .filter(|(_, bin)| bin.offered > 0)
        .map(|(second, bin)| (second, bin.offered / REQUEST))
        .collect();
    assert_eq!(offered, [(0, 1), (1, 1), (3, 1)]);
    let ledger = &rig.world.ledgers[0];
    assert_eq!((ledger.retries, ledger.given_up, rig.lost(Loss::NoTarget)), (2, 1, 3.0));
}

#[test]
fn a_budget_stops_retries_at_its_share() {
    let plan = plan(100.0, 100.0, |plan| retries(plan, Retries { budget: Some(0.1), ..Retries::default() }));
    let mut rig = Rig::new(&plan, 0);
    rig.run(plan.until);
    // 10 000 first tries all fail: the bucket and a tenth of them are tried again.
    let retried = rig.world.ledgers[0].retries as f64;
    assert!((retried - (Retries::BURST + 1_000.0)).abs() < 5.0, "{retried}");
    // The last of them are still to come.
    assert!((rig.lost(Loss::NoTarget) - 10_000.0 - retried).abs() < 40.0);
}

/// A pod that is a little too slow for half a minute stays swamped by retries of what it no longer answers in time.
#[test]
fn a_retry_storm_outlives_its_cause() {
    let served_late = |tries| {
        let plan = plan(400.0, 9.0, |plan| {
            plan.apps[0].cpu_per_request = seconds(0.1);
            plan.apps[0].workers = 40;
            plan.apps[0].clients.timeout = Some(seconds(2.0));
            retries(plan, Retries { max: tries, backoff: seconds(0.5), jitter: false, ..Retries::default() });
            let until = Some(at(130.0));
            plan.faults.push(Fault { at: at(100.0), until, kind: FaultKind::Slowdown(AppId(0), 2.0, SlowPart::All) });
        });
        let mut rig = Rig::new(&plan, 1);
        rig.act(at(100.0), |rig| rig.world.set_fault(FaultId(0), true));
        rig.act(at(130.0), |rig| rig.world.set_fault(FaultId(0), false));
        rig.run(at(300.0));
        let before = rig.tally().served;
        rig.run(at(400.0));
        (rig.tally().served - before) as f64 / 1e6
    };
    let (calm, storm) = (served_late(0), served_late(3));
    assert!(calm > 890.0, "without retries the pod recovers: {calm} of 900 in the last 100 s");
    assert!(storm < 300.0, "with retries it does not: {storm}");
}

#[test]
fn a_client_that_gives_up_leaves_its_worker_busy() {
    let plan = plan(100.0, 0.1, |plan| {
        plan.apps[0].cpu_per_request = seconds(4.0);
        plan.apps[0].clients.timeout = Some(seconds(2.0));
        without_checks(plan);
    });
    let mut rig = Rig::new(&plan, 1);
    rig.run(at(99.0));
    assert_eq!((rig.lost(Loss::TimedOut), rig.tally().served), (10.0, 0));
    assert_eq!(rig.world.cpu_used(PodId(0)), 40_000_000_000, "all ten are computed to their end");
}

#[test]
fn requests_are_held_for_a_pod_until_their_time_is_over() {
    let plan = plan(60.0, 1.0, |plan| {
        plan.apps[0].clients.hold = seconds(10.0);
        plan.apps[0].cpu_per_request = seconds(0.01);
        plan.apps[0].target_group = None;
    });
    let mut rig = Rig::new(&plan, 1);
    rig.act(START, |rig| {
        rig.world.set_pod_ready(PodId(0), false);
        rig.publish();
    });
    rig.act(at(30.0), |rig| {
        rig.ready(PodId(0));
        rig.publish();
    });
    rig.run(plan.until);
    // Of those at 0.5, 1.5, ... the last ten before 30 s are still there.
    assert_eq!((rig.lost(Loss::NoTarget), rig.tally().served), (20.0, 40 * REQUEST));
    let longest = rig.world.ledgers[0].latencies.quantile(1.0).unwrap().seconds();
    assert!((longest - 9.5 - 0.1).abs() < 0.2, "{longest}: held for 9.5 s, then ten of 10 ms at once");
    rig.world.check_requests().unwrap();
}

#[test]
fn users_come_and_go_with_their_curve() {
    let plan = plan(300.0, 0.0, |plan| {
        plan.apps[0].cpu_per_request = seconds(0.001);
        plan.apps[0].clients.think = Some(Distribution::Constant(seconds(0.999)));
        let steps = [(0.0, 5.0), (100.0, 5.0), (100.0, 50.0), (200.0, 50.0), (200.0, 2.0)];
        plan.apps[0].traffic.points = steps.map(|(time, users)| (at(time), users)).to_vec();
    });
    let mut rig = Rig::new(&plan, 4);
    let mut sent = |until: f64| {
        let before = rig.tally().offered;
        rig.run(at(until));
        (rig.tally().offered - before) / REQUEST
    };
    sent(10.0);
    // Each user sends once a second.
    let found = [90.0, 110.0, 190.0, 210.0, 290.0].map(&mut sent);
    assert!(found[0].abs_diff(400) <= 5 && found[2].abs_diff(4_000) <= 50, "{found:?}");
    assert!(found[4].abs_diff(160) <= 2, "{found:?}");
}

/// The same scenario by single requests and as a flow: means, CPU and losses agree.
#[test]
fn fluid_and_requests_agree_in_mean() {
    type Edit = fn(&mut Plan);
    let cases: [(&str, f64, Edit); 4] = [
        ("light", 4.0, |_| {}),
        ("busy", 15.0, |_| {}),
        ("demand rises with load", 12.0, |plan| plan.apps[0].demand.rise = Some(Rise { by: 0.5, at: 11 })),
        ("overload", 30.0, |plan| plan.apps[0].queue = 50),
    ];
    for (name, rate, edit) in cases {
        let run = |mode| {
            let plan = plan(2_000.0, rate, |plan| {
                plan.noise = true;
                plan.flags.serving.idle_timeout = seconds(60.0);
                let app = &mut plan.apps[0];
                (app.mode, app.workers, app.queue) = (mode, 20, 10_000);
                (app.cpu_per_request, app.wait_per_request) = (seconds(0.1), seconds(0.05));
                plan.target_groups[0].algorithm = RoutingAlgorithm::WeightedRandom;
                edit(plan);
            });
            let mut rig = Rig::new(&plan, 2);
            rig.run(plan.until);
            rig.run(plan.until + seconds(0.001));
            let total = rig.tally();
            let cpu = [PodId(0), PodId(1)].map(|pod| rig.world.cpu_used(pod) as f64 / 1e9);
            let mean = total.latency as f64 / total.served as f64 / 1e6;
            [total.served as f64 / 1e6, total.lost_all() as f64 / 1e6, cpu[0] + cpu[1], mean]
        };
        let (requests, fluid) = (run(TrafficMode::Requests), run(TrafficMode::Fluid));
        let within = [0.03, 0.03, 0.05, 0.12];
        for index in 0..4 {
            let (one, other) = (requests[index], fluid[index]);
            let close = (one - other).abs() <= within[index] * one.max(other) + 1.0 * f64::from(index < 2);
            assert!(close, "{name}, measure {index}: requests {requests:?}, fluid {fluid:?}");
        }
    }
}

/// The work of a process that is three times as slow at first, in a straight line to once within a minute.
#[test]
fn a_cold_process_uses_more_cpu_until_it_is_warm() {
    for mode in [TrafficMode::Requests, TrafficMode::Fluid] {
        let plan = plan(400.0, 10.0, |plan| {
            plan.apps[0].mode = mode;
            plan.apps[0].cpu_per_request = seconds(0.01);
            plan.apps[0].demand.warm_up = Some(WarmUp { factor: 3.0, lasts: seconds(60.0) });
        });
        let mut rig = Rig::new(&plan, 1);
        let used = |rig: &mut Rig, until: f64| {
            rig.run(at(until));
            rig.world.cpu_used(PodId(0)) as f64 / 1e9
        };
        let warm = used(&mut rig, 100.0);
        assert!((warm - 10.0).abs() < 0.1, "{mode:?}: what runs from the beginning is warm: {warm}");
        rig.act(at(100.0), |rig| rig.world.set_process(PodId(0), Process::Absent));
        rig.act(at(101.0), |rig| rig.world.set_process(PodId(0), Process::Answering));
        let start = used(&mut rig, 101.0);
        let cold = used(&mut rig, 161.0) - start;
        assert!((cold - 12.0).abs() < 0.3, "{mode:?}: 600 requests of 20 ms on average, not {cold}");
        let again = used(&mut rig, 261.0) - start - cold;
        assert!((again - 10.0).abs() < 0.1, "{mode:?}: {again}");
    }
}
