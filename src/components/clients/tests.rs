//! Clients, load balancer and applications together, without the rest of the cluster: analytic oracles through the code
//! that runs use. Each oracle is named by its number in the validation notes.

mod oracles;
mod queues;
mod reactions;

use super::{service::Service, traffic::Traffic};
use crate::components::aws::{alb::Alb, target_group::TargetGroupController};
use crate::components::{Cx, Event, wiring::Wiring};
use crate::engine::{Purpose, Queue, Random, Span, Time};
use crate::plan::*;
use crate::record::{Detail, Recorder};
use crate::rules::labels::Labels;
use crate::rules::quantity::{Bytes, Millicores};
use crate::rules::resources::Resources;
use crate::world::*;
use std::sync::Arc;

const START: Time = Time::from_unix_seconds(1_000_000);

fn at(seconds: f64) -> Time {
    START + Span::from_seconds(seconds)
}

fn seconds(seconds: f64) -> Span {
    Span::from_seconds(seconds)
}

fn target_group() -> TargetGroup {
    TargetGroup {
        name: "web".into(),
        deregistration_delay: seconds(30.0),
        health_check: HealthCheck {
            path: "/".into(),
            interval: seconds(30.0),
            timeout: seconds(5.0),
            healthy_threshold: 5,
            unhealthy_threshold: 2,
        },
        slow_start: Span::ZERO,
        algorithm: RoutingAlgorithm::RoundRobin,
        stickiness: None,
        cross_zone: true,
        nodes: 1,
        zones: Vec::new(),
    }
}

/// One second of CPU a request, as many at once as come, one core.
fn app(rate: f64) -> App {
    App {
        name: "web".into(),
        deployment: DeploymentId(0),
        target_group: Some(TargetGroupId(0)),
        cpu_per_request: seconds(1.0),
        wait_per_request: Span::ZERO,
        demand: Demand::default(),
        workers: 1_000_000,
        queue: 0,
        start: Distribution::Constant(seconds(12.0)),
        stop: Distribution::Constant(seconds(1.0)),
        drains: Drains::No,
        idle_cpu: Millicores(0),
        memory: 0,
        memory_is_given: true,
        latency_objective: seconds(10.0),
        cores: None,
        cores_per_pod: None,
        load_group: None,
        traffic: Curve { points: vec![(START, rate)] },
        clients: Clients::default(),
        mode: TrafficMode::Requests,
        probes_wait: None,
        keep_alive: None,
    }
}

/// A Deployment behind a target group, with a load of its own.
fn plan(length: f64, rate: f64, edit: impl FnOnce(&mut Plan)) -> Plan {
    let mut plan = Plan::empty(START, seconds(length));
    let labels = Labels::from([("app".to_string(), "web".to_string())]);
    let mut template = PodTemplate { labels: labels.clone(), ..PodTemplate::default() };
    let mut container = Container { name: "web".into(), ..Container::default() };
    container.limits.cpu = Some(Millicores(1000));
    template.containers.push(container);
    template.requests = template.count();
    plan.templates.push(Arc::new(template));
    let selector = crate::rules::labels::LabelSelector::from_labels(&labels);
    plan.deployments.push(Arc::new(DeploymentSpec {
        namespace: "default".into(),
        name: "web".into(),
        replicas: 1,
        selector: selector.clone(),
        template: TemplateId(0),
        strategy: Strategy::Recreate,
        min_ready: Span::ZERO,
        progress_deadline: seconds(600.0),
        revision_history_limit: 10,
        paused: false,
    }));
    plan.services.push(Arc::new(ServiceSpec {
        namespace: "default".into(),
        name: "web".into(),
        selector: Some(selector),
        ports: vec![ServicePort {
            name: String::new(),
            port: 80,
            target: TargetPort::Number(8080),
            ..ServicePort::default()
        }],
        ..ServiceSpec::default()
    }));
    plan.target_groups.push(target_group());
    plan.bindings.push(TargetGroupBindingSpec {
        namespace: "default".into(),
        name: "web".into(),
        target_group_reference: "web".into(),
        target_group: TargetGroupId(0),
        service_name: "web".into(),
        service_port: "80".into(),
        instance_targets: false,
        node_selector: None,
    });
    plan.apps.push(app(rate));
    // Without a time-out of the load balancer, queueing formulas hold.
    plan.flags.serving.idle_timeout = Span::from_secs(1_000_000);
    edit(&mut plan);
    plan
}

/// The components under test on a world with `pods` answering pods that are healthy targets.
struct Rig<'p> {
    plan: &'p Plan,
    world: World,
    queue: Queue<Event>,
    recorder: Recorder,
    wiring: Wiring,
    random: Option<Random>,
    traffic: Traffic,
    service: Service,
    alb: Alb,
    target_group: TargetGroupController,
    events: u64,
    end: Time,
    /// Requests on their way, and numbers and latencies of those that have been answered.
    live: Option<Vec<(RequestId, u64)>>,
    answered: Vec<(u64, f64)>,
}

impl<'p> Rig<'p> {
    fn new(plan: &'p Plan, pods: usize) -> Rig<'p> {
        Rig::with_node(plan, pods, Millicores(1_000_000))
    }

    fn with_node(plan: &'p Plan, pods: usize, cpu: Millicores) -> Rig<'p> {
        let mut rig = Rig {
            plan,
            world: World::new(plan),
            queue: Queue::new(),
            recorder: Recorder::new(Detail::Facts),
            wiring: Wiring::new(plan),
            random: plan.noise.then(|| Random::new(plan.seed, 0)),
            traffic: Traffic::default(),
            service: Service::default(),
            alb: Alb::default(),
            target_group: TargetGroupController::default(),
            events: 0,
            end: plan.start,
            live: None,
            answered: Vec::new(),
        };
        rig.world.now = plan.start.back(seconds(3600.0));
        let cpu = Resources { pods: 1000, ..Resources::cpu_memory(cpu, Bytes(1 << 40)) };
        let node = rig.world.create_node(NewNode {
            name: "node-1".into(),
            labels: Labels::new(),
            taints: Vec::new(),
            allocatable: cpu.clone(),
            capacity: cpu,
            claim: None,
            instance: None,
            zone: None,
        });
        rig.world.set_node_readiness(node, NodeReadiness::Ready);
        rig.world.create_replica_set(DeploymentId(0), 1);
        for _ in 0..pods {
            let pod = rig.pod();
            rig.world.set_process(pod, Process::Answering);
            rig.ready(pod);
            let address = rig.world.pod(pod).address.unwrap();
            let target = rig.world.register_target(TargetGroupId(0), pod, address, 8080);
            rig.world.set_target_state(target, TargetState::Healthy, TargetReason::None);
            rig.world.set_routable(target, true);
        }
        rig.publish();
        rig.world.now = plan.start;
        rig.world.take_journal(&mut Vec::new());
        let Rig { world, queue, recorder, random, traffic, service, alb, target_group, .. } = &mut rig;
        let mut cx = Cx { now: START, plan, world, queue, recorder, random: random.as_ref() };
        target_group.start(&mut cx);
        alb.start(&mut cx);
        traffic.start(&mut cx);
        service.start(&mut cx);
        rig.settle(START);
        rig
    }

    /// A bound pod whose container runs.
    fn pod(&mut self) -> PodId {
        self.pod_on(NodeId(0))
    }

    fn pod_on(&mut self, node: NodeId) -> PodId {
        let owner = Owner::ReplicaSet(ReplicaSetId(0));
        let ordinal = self.world.pods.len() as u32 + 1;
        let new = NewPod { template: TemplateId(0), owner, ordinal, pinned: None, name: None };
        let pod = self.world.create_pod(new);
        self.world.bind_pod(pod, node);
        self.world.assign_address(pod);
        let running = ContainerStatus { running_since: Some(self.world.now), started: true, ready: false, restarts: 0 };
        self.world.set_container(pod, 0, running);
        pod
    }

    fn ready(&mut self, pod: PodId) {
        self.world.set_containers_ready(pod, true);
        self.world.set_pod_ready(pod, true);
    }

    /// What the EndpointSlice controller would write.
    fn publish(&mut self) {
        let pods = self.world.pods.iter().filter(|pod| pod.gone.is_none());
        let endpoints = pods
            .filter_map(|pod| {
                let (serving, terminating) = (pod.is_ready(), pod.deleting_since.is_some());
                let (address, ready) = (pod.address?, serving && !terminating);
                Some(Endpoint { pod: pod.id, address, ready, serving, terminating, node: pod.node, zone: None })
            })
            .collect();
        self.world.set_endpoints(ServiceId(0), endpoints);
    }

    fn settle(&mut self, now: Time) {
        let mut journal = Vec::new();
        self.world.take_journal(&mut journal);
        for change in journal {
            self.recorder.push(now, change, &self.world);
            self.wiring.wake(change, now, (self.plan, &self.world), self.random.as_ref(), &mut self.queue);
        }
        let mut routed = Vec::new();
        self.world.take_routed(&mut routed);
        routed.into_iter().for_each(|routed| self.queue.push(now, crate::components::wiring::hand_over(routed)));
    }

    /// Runs until `until`, this instant included.
    fn run(&mut self, until: Time) {
        self.run_while(until, |_| true);
    }

    /// Runs until `until`, or until something is no longer so.
    fn run_while(&mut self, until: Time, so: impl Fn(&World) -> bool) {
        self.queue.push(until, Event::Script(crate::components::script::Event::Action(ActionId(u32::MAX))));
        while let Some((now, event)) = self.queue.pop() {
            self.world.now = now;
            self.wiring.delivered(&event);
            let Rig { plan, world, queue, recorder, random, .. } = self;
            let mut cx = Cx { now, plan, world, queue, recorder, random: random.as_ref() };
            match event {
                Event::Traffic(event) => self.traffic.handle(&mut cx, event),
                Event::Service(event) => self.service.handle(&mut cx, event),
                Event::Alb(event) => self.alb.handle(&mut cx, event),
                Event::TargetGroup(event) => self.target_group.handle(&mut cx, event),
                Event::Script(_) if now == until => break,
                _ => {}
            }
            self.events += 1;
            self.settle(now);
            self.note_answers(event);
            self.world.check_fast().unwrap();
            if !so(&self.world) {
                break;
            }
        }
        self.end = until;
    }

    /// Notes which requests were answered, where a test wants to know.
    fn note_answers(&mut self, event: Event) {
        let Some(live) = &mut self.live else { return };
        if let Event::Service(super::service::Event::Arrive(id)) = event {
            live.push((id, self.world.request(id).number));
        }
        let (world, answered) = (&self.world, &mut self.answered);
        live.retain(|&(id, number)| {
            let request = world.request(id);
            let ended = request.settled && request.number == number;
            if ended {
                answered.push((number, (world.now - request.arrived).seconds()));
            }
            !ended
        });
    }

    /// Something is done to the world at `now`, after everything before.
    fn act(&mut self, now: Time, action: impl FnOnce(&mut Rig)) {
        self.run(now);
        action(self);
        self.settle(now);
    }

    /// Deletion of a pod without preStop: SIGTERM at once, and the endpoint goes.
    fn delete(&mut self, pod: PodId) {
        self.world.delete_pod(pod, None, DeleteCause::ScaleDown);
        self.world.set_process(pod, Process::Stopping);
        self.publish();
    }

    fn lost(&self, loss: Loss) -> f64 {
        self.world.ledgers[0].total.lost[loss as usize] as f64 / 1e6
    }

    fn tally(&self) -> &Tally {
        &self.world.ledgers[0].total
    }

    fn moments(&self, wanted: impl Fn(Change) -> bool) -> Vec<f64> {
        let facts = self.recorder.facts.iter().filter(|fact| wanted(fact.change));
        facts.map(|fact| fact.at.seconds_from(START)).collect()
    }
}

/// Queueing formulas know no health checks, which take their part of a busy pod.
fn without_checks(plan: &mut Plan) {
    plan.target_groups[0].health_check.interval = seconds(1e9);
}

#[test]
fn even_arrivals_below_capacity_meet_an_idle_pod_and_the_meter_follows_the_utilisation_law() {
    let plan = plan(100.0, 4.0, |plan| {
        plan.apps[0].cpu_per_request = seconds(0.1);
        plan.apps[0].wait_per_request = seconds(0.05);
        plan.apps[0].traffic.points.extend([(at(99.0), 4.0), (at(99.0), 0.0)]);
    });
    let mut rig = Rig::new(&plan, 2);
    rig.run(plan.until);
    assert_eq!(rig.tally().offered, 396 * REQUEST);
    assert_eq!(rig.tally().served, 396 * REQUEST);
    assert_eq!(rig.tally().mean_latency(), Some(seconds(0.15)));
    // Half of the requests each, 0.1 s of CPU a request.
    assert_eq!([PodId(0), PodId(1)].map(|pod| rig.world.cpu_used(pod)), [19_800_000_000; 2]);
}

#[test]
fn a_full_pod_answers_503_itself_and_clients_give_up_after_the_idle_time_out() {
    let plan = plan(200.0, 2.0, |plan| {
        plan.apps[0].workers = 1;
        plan.apps[0].queue = 100;
        without_checks(plan);
        plan.flags.serving.idle_timeout = seconds(60.0);
    });
    let mut rig = Rig::new(&plan, 1);
    rig.run(plan.until);
    assert_eq!(rig.tally().served, 119 * REQUEST, "those that arrive in the first minute, less one in service");
    assert!(rig.lost(Loss::TimedOut) > 0.0);
    let plan = self::plan(100.0, 2.0, |plan| {
        plan.apps[0].workers = 1;
        plan.apps[0].queue = 3;
        without_checks(plan);
    });
    let mut rig = Rig::new(&plan, 1);
    rig.run(plan.until);
    assert!(
        (rig.lost(Loss::QueueFull) - 96.0).abs() <= 2.0,
        "half of 200 less 4 places: {}",
        rig.lost(Loss::QueueFull)
    );
}

#[test]
fn oracle_23_without_pre_stop_rate_times_propagation_is_lost() {
    let plan = plan(200.0, 10.0, |plan| {
        plan.apps[0].cpu_per_request = seconds(0.01);
        plan.apps[0].stop = Distribution::Constant(seconds(1.0));
        plan.timings.set(Stage::TargetDeregistration, Distribution::Constant(seconds(4.0)));
        plan.timings.set(Stage::LoadBalancerReconcile, Distribution::Constant(seconds(0.7)));
    });
    let mut rig = Rig::new(&plan, 2);
    rig.act(at(50.0), |rig| rig.delete(PodId(0)));
    rig.run(plan.until);
    // 5 a second reach the pod for 4.7 s after SIGTERM.
    assert!((rig.lost(Loss::Refused) - 23.5).abs() <= 1.0, "{} refused", rig.lost(Loss::Refused));
    assert_eq!(rig.tally().offered, rig.tally().served + rig.tally().lost_all());
    let gone = rig.moments(|change| matches!(change, Change::TargetGone(_)));
    assert_eq!(gone, [50.0 + 0.7 + 30.0], "draining until the deregistration delay is over");
}

#[test]
fn an_application_that_drains_loses_nothing_while_it_is_deregistered() {
    let plan = plan(200.0, 10.0, |plan| {
        plan.apps[0].cpu_per_request = seconds(0.01);
        plan.apps[0].drains = Drains::Listening;
        plan.apps[0].stop = Distribution::Constant(seconds(6.0));
        plan.timings.set(Stage::TargetDeregistration, Distribution::Constant(seconds(4.0)));
    });
    let mut rig = Rig::new(&plan, 2);
    rig.act(at(50.0), |rig| rig.delete(PodId(0)));
    rig.run(plan.until);
    assert_eq!(rig.tally().lost_all(), 0);
    let ended = rig.moments(|change| change == Change::PodProcess(PodId(0), Process::Ended));
    assert_eq!(ended, [56.0]);
}

#[test]
fn a_vanished_address_costs_ten_seconds_and_what_was_in_flight() {
    let plan = plan(100.0, 10.0, |plan| plan.apps[0].cpu_per_request = seconds(0.01));
    let mut rig = Rig::new(&plan, 1);
    rig.act(at(50.0), |rig| rig.world.set_process(PodId(0), Process::Vanished));
    rig.run(at(59.9));
    assert_eq!(rig.lost(Loss::Unreachable), 0.0);
    assert_eq!(rig.tally().served, 500 * REQUEST);
    rig.run(at(70.0));
    assert!((rig.lost(Loss::Unreachable) - 100.0).abs() <= 1.0);
}

#[test]
fn a_new_pod_starts_registers_and_is_in_service_after_the_sum_of_its_stages() {
    let plan = plan(100.0, 10.0, |plan| {
        plan.apps[0].cpu_per_request = seconds(0.01);
        plan.timings.set(Stage::LoadBalancerReconcile, Distribution::Constant(seconds(0.7)));
        plan.timings.set(Stage::TargetRegistration, Distribution::Constant(seconds(3.0)));
        plan.timings.set(Stage::FirstHealthCheck, Distribution::Constant(seconds(2.5)));
    });
    let mut rig = Rig::new(&plan, 1);
    rig.act(at(10.0), |rig| {
        rig.pod();
    });
    rig.run(at(22.5));
    assert_eq!(rig.moments(|change| change == Change::PodProcess(PodId(1), Process::Answering)), [22.0]);
    rig.act(at(23.0), |rig| {
        rig.ready(PodId(1));
        rig.publish();
    });
    rig.run(at(40.0));
    let target = TargetId(1);
    let healthy = Change::TargetStateChanged(target, TargetState::Healthy);
    assert_eq!(rig.moments(|change| change == Change::TargetRegistered(target)), [23.7]);
    assert_eq!(rig.moments(|change| change == healthy), [23.0 + 0.7 + 3.0 + 2.5]);
    // Ten requests a second from 0.05 s on; the pointer comes to the new target first.
    assert_eq!(rig.moments(|change| change == Change::TargetInService(target)), [29.25]);
}

#[test]
fn oracle_22_ejection_and_recovery_take_their_thresholds() {
    let plan = plan(600.0, 0.0, |_| {});
    let mut rig = Rig::new(&plan, 2);
    // Without noise checks are due at 15 s, 45 s, 75 s, ...
    rig.act(at(20.0), |rig| rig.world.set_process(PodId(0), Process::Ended));
    rig.run(at(100.0));
    let states = |rig: &Rig, state| rig.moments(|change| change == Change::TargetStateChanged(TargetId(0), state));
    assert_eq!(states(&rig, TargetState::Unhealthy), [75.0], "the second failed check");
    assert_eq!(rig.moments(|change| change == Change::TargetRoutable(TargetId(0), false)), [75.0]);
    rig.act(at(100.0), |rig| rig.world.set_process(PodId(0), Process::Answering));
    rig.run(at(500.0));
    assert_eq!(states(&rig, TargetState::Healthy), [105.0 + 4.0 * 30.0], "the fifth good check");
    let before = rig.events;
    rig.run(at(600.0));
    assert!(rig.events - before < 4, "checks that succeed are no events");
}

#[test]
fn a_hanging_pod_is_ejected_a_time_out_later_and_the_last_one_stays_routable() {
    let plan = plan(600.0, 0.0, |_| {});
    let mut rig = Rig::new(&plan, 1);
    rig.act(at(20.0), |rig| rig.world.set_process(PodId(0), Process::Vanished));
    rig.run(at(200.0));
    let unhealthy = Change::TargetStateChanged(TargetId(0), TargetState::Unhealthy);
    assert_eq!(rig.moments(|change| change == unhealthy), [75.0 + 5.0]);
    assert!(rig.world.targets[0].routable, "all are unhealthy: all get requests");
}

#[test]
fn a_readiness_gate_turns_true_at_a_retry_after_the_target_is_healthy() {
    let plan = plan(100.0, 0.0, |plan| {
        let template = Arc::make_mut(&mut plan.templates[0]);
        template.readiness_gates.push("target-health.elbv2.k8s.aws/web".into());
        plan.timings.set(Stage::TargetRegistration, Distribution::Constant(seconds(3.0)));
    });
    let mut rig = Rig::new(&plan, 0);
    rig.act(at(10.0), |rig| {
        let pod = rig.pod();
        rig.publish();
        assert_eq!(pod, PodId(0));
    });
    rig.act(at(12.0), |rig| rig.world.set_containers_ready(PodId(0), true));
    rig.run(at(100.0));
    // Endpoints at 10 s: not ready, looked at again every 15 s: registered at 25 s, healthy at 28 s, seen at 40 s.
    assert_eq!(rig.moments(|change| matches!(change, Change::TargetRegistered(_))), [25.0]);
    assert_eq!(rig.moments(|change| change == Change::PodGate(PodId(0), false)), [25.0]);
    assert_eq!(rig.moments(|change| change == Change::PodGate(PodId(0), true)), [40.0]);
}

/// The list of oracles says that the longest wait is 22.5 s, that of the last arrival before the step. First in, first
/// out, it is 30 s: who arrives at 60 s finds 30 000 before him, served at 1 000 a second until 90 s. An arrival at `t`
/// waits `t/2` up to then and `45 s - t/4` after, which is 22.5 s at the step. Area, mean and peak are as listed.
#[test]
fn oracle_14_through_the_whole_path() {
    let plan = plan(300.0, 1500.0, |plan| {
        plan.apps[0].mode = TrafficMode::Fluid;
        plan.apps[0].cpu_per_request = Span::from_micros(500);
        plan.apps[0].workers = 10;
        plan.apps[0].queue = 1_000_000;
        let until = Some(at(90.0));
        plan.faults.push(Fault { at: START, until, kind: FaultKind::Slowdown(AppId(0), 2.0, SlowPart::All) });
        without_checks(plan);
    });
    let mut rig = Rig::new(&plan, 1);
    rig.act(START, |rig| rig.world.set_fault(FaultId(0), true));
    rig.act(at(90.0), |rig| rig.world.set_fault(FaultId(0), false));
    assert_eq!(rig.world.ledgers[0].in_flight, 0, "nothing is booked until somebody looks");
    rig.run(at(91.0));
    assert_eq!(rig.world.ledgers[0].in_flight, 45_000 * REQUEST, "the peak, at 90 s");
    rig.run(plan.until);
    assert_eq!(rig.tally().served, 450_000 * REQUEST);
    let area: f64 = rig.world.ledgers[0].bins[..180].iter().map(|bin| bin.latency as f64 / 1e12).sum();
    // 270 000 requests wait 4.05e6 s in all, besides the time that they compute (1 ms and 0.5 ms).
    let computing = 90_000.0 * 0.001 + 180_000.0 * 0.0005;
    assert!((area - 4.05e6 - computing).abs() < 10.0, "{area}");
    assert!(rig.events < 30, "a flow that does not change is no event: {}", rig.events);
    assert_eq!(
        rig.world.cpu_used(PodId(0)),
        180_000_000_000 + 90_000_000_000,
        "full for 180 s, then 0.75 cores for 120 s"
    );
}

#[test]
fn fluid_and_requests_agree_on_what_a_removed_pod_loses() {
    let lost = |mode| {
        let plan = plan(200.0, 100.0, |plan| {
            plan.apps[0].mode = mode;
            plan.apps[0].cpu_per_request = seconds(0.001);
            plan.timings.set(Stage::TargetDeregistration, Distribution::Constant(seconds(4.0)));
        });
        let mut rig = Rig::new(&plan, 2);
        rig.act(at(50.0), |rig| rig.delete(PodId(0)));
        rig.run(plan.until);
        (rig.lost(Loss::Refused), rig.tally().lost_all() as f64 / 1e6, rig.tally().offered as f64 / 1e6)
    };
    let (requests, fluid) = (lost(TrafficMode::Requests), lost(TrafficMode::Fluid));
    assert!((requests.0 - 200.0).abs() <= 1.0 && (fluid.0 - 200.0).abs() < 1e-3, "{requests:?} {fluid:?}");
    assert_eq!(fluid, (fluid.1, fluid.1, 20_000.0));
}

#[test]
fn without_a_target_everything_is_lost_at_once() {
    for mode in [TrafficMode::Requests, TrafficMode::Fluid] {
        let plan = plan(10.0, 7.0, |plan| plan.apps[0].mode = mode);
        let mut rig = Rig::new(&plan, 0);
        rig.run(plan.until);
        assert_eq!(rig.lost(Loss::NoTarget), 70.0, "{mode:?}");
    }
}

#[test]
fn load_in_cores_is_shared_by_ready_pods_up_to_their_limits() {
    let plan = plan(100.0, 0.0, |plan| {
        plan.apps[0].cores = Some(Curve { points: vec![(START, 0.9), (at(50.0), 0.9), (at(50.0), 3.0)] });
    });
    let mut rig = Rig::new(&plan, 2);
    rig.run(at(49.0));
    assert_eq!([0, 1].map(|pod| rig.world.cpu_meter(PodId(pod)).rate()), [450_000_000; 2]);
    rig.run(at(51.0));
    assert_eq!([0, 1].map(|pod| rig.world.cpu_meter(PodId(pod)).rate()), [1_000_000_000; 2]);
    rig.act(at(60.0), |rig| rig.world.set_pod_ready(PodId(0), false));
    rig.run(at(61.0));
    assert_eq!(rig.world.cpu_meter(PodId(0)).rate(), 0);
}

#[test]
fn pods_that_want_more_than_their_node_has_share_it() {
    for mode in [TrafficMode::Requests, TrafficMode::Fluid] {
        let plan = plan(200.0, 12.0, |plan| {
            plan.apps[0].mode = mode;
            plan.apps[0].cpu_per_request = seconds(0.1);
            plan.apps[0].workers = 4;
            plan.apps[0].queue = 1_000_000;
            without_checks(plan);
        });
        let mut rig = Rig::with_node(&plan, 2, Millicores(1000));
        rig.run(at(100.0));
        rig.run(plan.until);
        let served = rig.tally().served as f64 / 1e6;
        // Up to eight requests are half done at the end.
        assert!((served - 2000.0).abs() <= 8.0, "{mode:?}: one core serves 10 a second, not {served} in 200 s");
        let used: u128 = [PodId(0), PodId(1)].iter().map(|&pod| rig.world.cpu_used(pod)).sum();
        assert!(used.abs_diff(200_000_000_000) < 500_000_000, "{mode:?}: {used}");
    }
}

#[test]
fn a_target_in_slow_start_gets_a_share_that_grows_to_full() {
    for mode in [TrafficMode::Requests, TrafficMode::Fluid] {
        let plan = plan(200.0, 30.0, |plan| {
            plan.apps[0].mode = mode;
            plan.apps[0].cpu_per_request = seconds(0.001);
            plan.target_groups[0].slow_start = seconds(60.0);
        });
        let mut rig = Rig::new(&plan, 2);
        rig.act(at(10.0), |rig| {
            let pod = rig.pod();
            rig.world.set_process(pod, Process::Answering);
            rig.ready(pod);
            rig.publish();
        });
        let share = |rig: &mut Rig, from: f64, to: f64| {
            rig.run(at(from));
            let before = rig.world.cpu_used(PodId(2));
            rig.run(at(to));
            (rig.world.cpu_used(PodId(2)) - before) as f64 / 1e6 / (30.0 * (to - from))
        };
        // Half of the ramp: weight 1/2 beside two of weight 1.
        let (half, full) = (share(&mut rig, 38.5, 41.5), share(&mut rig, 100.0, 103.0));
        assert!((half - 0.5 / 2.5).abs() < 0.02, "{mode:?}: {half}");
        assert!((full - 1.0 / 3.0).abs() < 0.01, "{mode:?}: {full}");
    }
}

#[test]
fn each_node_of_the_load_balancer_checks_for_itself() {
    let plan = plan(400.0, 0.0, |plan| {
        plan.noise = true;
        plan.target_groups[0].nodes = 3;
        let interval = plan.target_groups[0].health_check.interval;
        plan.timings.set(Stage::FirstHealthCheck, Distribution::Uniform(Span::ZERO, interval));
    });
    let mut rig = Rig::new(&plan, 1);
    rig.act(at(10.0), |rig| {
        let pod = rig.pod();
        rig.world.set_process(pod, Process::Answering);
        rig.ready(pod);
        rig.publish();
    });
    rig.run(at(100.0));
    let weights = rig.moments(|change| matches!(change, Change::TargetWeight(TargetId(1), _)));
    assert_eq!(weights.len(), 3);
    assert!(weights[0] < weights[1] && weights[1] < weights[2] && weights[2] <= 10.0 + 31.0, "{weights:?}");
    assert_eq!(rig.moments(|change| change == Change::TargetRoutable(TargetId(1), true)), [weights[0]]);
}

#[test]
fn instance_targets_are_nodes_and_pass_requests_on() {
    let plan = plan(100.0, 10.0, |plan| {
        plan.bindings[0].instance_targets = true;
        Arc::make_mut(&mut plan.services[0]).node_ports = vec![30_080];
        plan.apps[0].cpu_per_request = seconds(0.01);
    });
    let mut rig = Rig::new(&plan, 0);
    rig.act(at(10.0), |rig| {
        for _ in 0..2 {
            let pod = rig.pod();
            rig.world.set_process(pod, Process::Answering);
            rig.ready(pod);
        }
        rig.publish();
    });
    rig.run(plan.until);
    assert_eq!(rig.world.targets.len(), 1);
    assert_eq!(rig.world.targets[0].node, Some(NodeId(0)));
    assert!(rig.tally().served >= 890 * REQUEST);
    let used = [PodId(0), PodId(1)].map(|pod| rig.world.cpu_used(pod));
    assert!(used[0].abs_diff(used[1]) <= 10_000_000, "both pods serve: {used:?}");
}

#[test]
fn requests_in_flight_when_the_deregistration_delay_ends_fail() {
    let plan = plan(200.0, 0.1, |plan| {
        plan.apps[0].cpu_per_request = Span::ZERO;
        plan.apps[0].wait_per_request = seconds(50.0);
        plan.apps[0].drains = Drains::Listening;
        plan.apps[0].stop = Distribution::Constant(seconds(1.0));
    });
    let mut rig = Rig::new(&plan, 1);
    // Arrivals at 5, 15, 25 s; deregistered at 26 s, out of the group at 56 s: the first has had its 50 s.
    rig.act(at(26.0), |rig| rig.delete(PodId(0)));
    rig.run(at(60.0));
    assert_eq!((rig.tally().served, rig.lost(Loss::DrainEnded)), (REQUEST, 2.0));
}

#[test]
fn the_least_loaded_target_is_chosen() {
    let plan = plan(100.0, 4.0, |plan| {
        plan.target_groups[0].algorithm = RoutingAlgorithm::LeastOutstandingRequests;
        plan.apps[0].cpu_per_request = seconds(0.4);
        without_checks(plan);
    });
    let mut rig = Rig::new(&plan, 2);
    // One pod at a hundredth of its speed keeps its requests: nearly all others go to its neighbour.
    rig.run(at(1.0));
    rig.world.targets[0].outstanding += 1_000;
    rig.run(at(90.0));
    let used = [PodId(0), PodId(1)].map(|pod| rig.world.cpu_used(pod));
    assert!(used[0] < 3_000_000_000 && used[1] > 80_000_000_000, "{used:?}");
}

#[test]
fn a_load_that_is_replaced_counts_from_then_on() {
    for mode in [TrafficMode::Requests, TrafficMode::Fluid] {
        let plan = plan(100.0, 10.0, |plan| {
            plan.apps[0].mode = mode;
            plan.apps[0].cpu_per_request = seconds(0.001);
        });
        let mut rig = Rig::new(&plan, 1);
        rig.act(at(50.0), |rig| rig.world.set_load(AppId(0), Curve { points: vec![(START, 2.0)] }));
        rig.run(at(99.99));
        let served = rig.tally().served + rig.world.ledgers[0].in_flight;
        if mode == TrafficMode::Requests {
            assert_eq!(served, 600 * REQUEST);
        }
        rig.run(at(100.0) + Span::from_millis(1));
        assert!(rig.tally().offered.abs_diff(600 * REQUEST) <= 1, "{mode:?}");
    }
}

#[test]
fn the_whole_loop_hands_requests_over_and_alarms_see_the_errors() {
    for mode in [TrafficMode::Requests, TrafficMode::Fluid] {
        let plan = plan(400.0, 7.0, |plan| {
            let deployment = Arc::make_mut(&mut plan.deployments[0]);
            deployment.replicas = 0;
            plan.apps[0].mode = mode;
            let quiet = Curve { points: vec![(START, 0.0)] };
            plan.actions.push(Action { at: at(100.0), kind: ActionKind::SetLoad(AppId(0), quiet) });
            plan.alarms.push(AlarmSpec {
                name: "errors".into(),
                metric: "HTTPCode_ELB_503_Count".into(),
                namespace: "AWS/ApplicationELB".into(),
                statistic: "Sum".into(),
                period: seconds(60.0),
                evaluation_periods: 1,
                datapoints_to_alarm: 1,
                threshold: 1.0,
                comparison: Comparison::GreaterOrEqual,
                missing: MissingData::NotBreaching,
                target_group: Some(TargetGroupId(0)),
                dimensions: Vec::new(),
            });
        });
        let outcome = crate::components::Sim::new(&plan, 0, Detail::Facts).run();
        assert_eq!(outcome.world.ledgers[0].total.lost[Loss::NoTarget as usize], 700 * REQUEST);
        let alarms: Vec<(f64, AlarmState)> = (outcome.recorder.facts.iter())
            .filter_map(|fact| match fact.change {
                Change::AlarmChanged(_, state) => Some((fact.at.seconds_from(START), state)),
                _ => None,
            })
            .collect();
        // The period that ends at 60 s is visible 90 s later. The range looks two periods back for real points: those
        // of the first two minutes keep the alarm until they have left it.
        assert_eq!(alarms, [(150.0, AlarmState::Alarm), (390.0, AlarmState::Ok)], "{mode:?}");
    }
}
