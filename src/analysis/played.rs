//! Test support: a run played by hand through the world's mutators. One step up by two pods on a new spot node, one
//! step down, one interruption with a replacement, one alarm; all times are literal.

use super::{Analysis, analyze};
use crate::engine::{Span, Time};
use crate::plan::*;
use crate::record::{Detail, Recorder};
use crate::rules::expectation::{Verdict, parse};
use crate::rules::labels::{LabelOperator, LabelRequirement, LabelSelector, Labels};
use crate::rules::quantity::{Bytes, Millicores};
use crate::rules::resources::{ResourceList, Resources};
use crate::world::*;
use std::sync::Arc;

/// A played run.
pub(crate) struct Run {
    pub plan: Plan,
    pub world: World,
    pub recorder: Recorder,
}

impl Run {
    pub(crate) fn analysis(&self) -> Analysis {
        analyze(&self.plan, &self.world, &self.recorder)
    }

    /// Everything until now becomes a fact at `seconds`.
    fn at(&mut self, seconds: f64) -> &mut World {
        self.flush();
        self.world.now = self.plan.start + Span::from_seconds(seconds);
        &mut self.world
    }

    fn flush(&mut self) {
        let mut changes = Vec::new();
        self.world.take_journal(&mut changes);
        for change in changes {
            self.recorder.push(self.world.now, change, &self.world);
        }
    }
}

pub(crate) fn plan() -> Plan {
    let start = Time::from_unix_seconds(1_700_000_000);
    let mut plan = Plan::empty(start, Span::from_secs(1_200));
    plan.name = "scale-up".to_string();
    plan.hash = "5c1e0a7f3b9d2846".to_string();
    plan.zones = vec!["us-east-1a".to_string(), "us-east-1b".to_string()];
    let labels = Labels::from([("app".to_string(), "wordpress".to_string())]);
    let requirement =
        LabelRequirement { key: "app".to_string(), operator: LabelOperator::In, values: vec!["wordpress".to_string()] };
    let selector = LabelSelector { requirements: vec![requirement] };
    let requests = ResourceList { cpu: Some(Millicores(500)), memory: Some(Bytes(1 << 29)), ..ResourceList::default() };
    let limits = ResourceList { cpu: Some(Millicores(1_000)), ..ResourceList::default() };
    let container = Container { name: "wordpress".to_string(), requests, limits, ..Container::default() };
    let mut template = PodTemplate { labels, containers: vec![container], ..PodTemplate::default() };
    template.requests = template.count();
    plan.templates.push(Arc::new(template));
    plan.deployments.push(Arc::new(DeploymentSpec {
        namespace: "default".to_string(),
        name: "wordpress".to_string(),
        replicas: 2,
        selector: selector.clone(),
        template: TemplateId(0),
        strategy: Strategy::Recreate,
        min_ready: Span::ZERO,
        progress_deadline: Span::from_secs(600),
        revision_history_limit: 10,
        paused: false,
    }));
    plan.hpas.push(Arc::new(HpaSpec {
        namespace: "default".to_string(),
        name: "wordpress".to_string(),
        target_version: "apps/v1".to_string(),
        target_kind: "Deployment".to_string(),
        target_name: "wordpress".to_string(),
        min_replicas: 2,
        max_replicas: 10,
        metrics: Vec::new(),
        behavior: None,
    }));
    plan.services.push(Arc::new(ServiceSpec {
        namespace: "default".to_string(),
        name: "wordpress".to_string(),
        selector: Some(selector),
        ports: Vec::new(),
        ..ServiceSpec::default()
    }));
    add_aws(&mut plan);
    add_load(&mut plan);
    plan.remarks.push("spot prices are estimates".to_string());
    plan.claims.push(Claim {
        text: "2-3 minutes from scale trigger to serving".to_string(),
        check: parse("time_to_serve in 1m..2m").unwrap(),
        expect: Verdict::Holds,
        because: "boot and registration take most of it".to_string(),
    });
    plan.expectations.push(parse("time_to_serve <= 3m").unwrap());
    plan.expectations.push(parse("lost_requests == 0").unwrap());
    plan
}

fn add_load(plan: &mut Plan) {
    let start = plan.start;
    let second = |seconds: u64| start + Span::from_secs(seconds);
    let traffic = [(0, 8.0), (300, 8.0), (300, 30.0), (600, 30.0), (600, 8.0)];
    plan.apps.push(App {
        name: "wordpress".to_string(),
        deployment: DeploymentId(0),
        target_group: Some(TargetGroupId(0)),
        cpu_per_request: Span::from_millis(100),
        wait_per_request: Span::from_millis(30),
        demand: Demand::default(),
        workers: 10,
        queue: 50,
        start: Distribution::Constant(Span::from_secs(12)),
        stop: Distribution::Constant(Span::from_secs(1)),
        drains: crate::plan::Drains::Listening,
        idle_cpu: Millicores(5),
        memory: 1 << 28,
        memory_is_given: true,
        latency_objective: Span::from_secs(1),
        cores: None,
        cores_per_pod: None,
        load_group: None,
        traffic: Curve { points: traffic.iter().map(|&(at, rate)| (second(at), rate)).collect() },
        clients: Clients::default(),
        mode: TrafficMode::Fluid,
        probes_wait: None,
        keep_alive: None,
    });
}

fn add_aws(plan: &mut Plan) {
    plan.node_pools.push(Arc::new(NodePoolSpec {
        name: "wordpress-nodepool".to_string(),
        labels: Labels::new(),
        annotations: Labels::new(),
        requirements: Vec::new(),
        taints: Vec::new(),
        startup_taints: Vec::new(),
        node_class_name: "default".to_string(),
        node_class: None,
        expire_after: None,
        termination_grace_period: None,
        limits: None,
        weight: 0,
        replicas: None,
        consolidation_policy: ConsolidationPolicy::WhenEmpty,
        consolidate_after: Some(Span::from_secs(30)),
        budgets: Vec::new(),
        v1beta1: false,
        usable: true,
    }));
    let capacity = Resources { pods: 17, ..Resources::cpu_memory(Millicores(2_000), Bytes(4 << 30)) };
    plan.instance_types.push(Arc::new(InstanceType {
        name: "t3.medium".to_string(),
        labels: Labels::new(),
        requirements: Vec::new(),
        capacity: capacity.clone(),
        allocatable: capacity,
        offerings: Vec::new(),
        network_interfaces: 3,
        addresses_per_interface: 6,
        network_mbps: 256,
        burst_baseline_millis: 200,
        vcpus: 2,
        spot_price_is_estimate: false,
    }));
    plan.target_groups.push(TargetGroup {
        name: "wordpress".to_string(),
        deregistration_delay: Span::from_secs(30),
        health_check: HealthCheck {
            path: "/".to_string(),
            interval: Span::from_secs(15),
            timeout: Span::from_secs(5),
            healthy_threshold: 2,
            unhealthy_threshold: 3,
        },
        slow_start: Span::ZERO,
        algorithm: RoutingAlgorithm::RoundRobin,
        stickiness: None,
        cross_zone: true,
        nodes: 2,
        zones: Vec::new(),
    });
    plan.alarms.push(AlarmSpec {
        name: "UnhealthyHosts".to_string(),
        metric: "UnHealthyHostCount".to_string(),
        namespace: "AWS/ApplicationELB".to_string(),
        statistic: "Maximum".to_string(),
        period: Span::from_secs(60),
        evaluation_periods: 1,
        datapoints_to_alarm: 1,
        threshold: 1.0,
        comparison: Comparison::GreaterOrEqual,
        missing: MissingData::Missing,
        target_group: Some(TargetGroupId(0)),
        dimensions: Vec::new(),
    });
}

/// The whole play.
pub(crate) fn run() -> Run {
    let plan = plan();
    let mut run = Run { world: World::new(&plan), recorder: Recorder::new(Detail::Facts), plan };
    let set = initial(&mut run);
    let new = scale_up(&mut run, set);
    scale_down(&mut run, &new);
    interruption(&mut run, set);
    requests(&mut run);
    run.at(1_200.0);
    run.world.check().unwrap();
    run
}

fn launch(
    world: &mut World,
    claim: bool,
    name: &str,
    capacity_type: CapacityType,
) -> (Option<ClaimId>, InstanceId, NewNode) {
    let pool = NodePoolId(0);
    let claim = claim.then(|| {
        world.create_claim(NewClaim {
            pool,
            requirements: Default::default(),
            instance_types: vec![InstanceTypeId(0)],
            requests: Resources::default(),
            labels: Labels::new(),
        })
    });
    let price = MicroDollars(if capacity_type == CapacityType::Spot { 12_500 } else { 41_600 });
    let instance = world.launch_instance(claim, InstanceTypeId(0), ZoneId(0), capacity_type, price);
    let capacity = Resources { pods: 17, ..Resources::cpu_memory(Millicores(1_930), Bytes(3 << 30)) };
    let node = NewNode {
        name: name.into(),
        labels: Labels::new(),
        taints: Vec::new(),
        allocatable: capacity.clone(),
        capacity,
        claim,
        instance: Some(instance),
        zone: Some(ZoneId(0)),
    };
    (claim, instance, node)
}

fn new_pod(world: &mut World, set: ReplicaSetId) -> PodId {
    world.replica_sets[set.index()].created_pods += 1;
    let ordinal = world.replica_sets[set.index()].created_pods;
    world.create_pod(NewPod {
        template: TemplateId(0),
        owner: Owner::ReplicaSet(set),
        ordinal,
        pinned: None,
        name: None,
    })
}

fn start_container(world: &mut World, pod: PodId) {
    let status = ContainerStatus { running_since: Some(world.now), started: true, ready: false, restarts: 0 };
    world.set_container(pod, 0, status);
    world.set_pod_phase(pod, PodPhase::Running);
    world.set_process(pod, Process::Starting);
}

fn register(world: &mut World, pod: PodId) -> TargetId {
    let address = world.pod(pod).address.unwrap();
    world.register_target(TargetGroupId(0), pod, address, 80)
}

fn initial(run: &mut Run) -> ReplicaSetId {
    let world = run.at(-3_600.0);
    let set = world.create_replica_set(DeploymentId(0), 2);
    for number in 1..=2 {
        let name = format!("ip-10-0-0-{number}");
        let (claim, instance, node) = launch(world, number == 1, &name, CapacityType::OnDemand);
        if let Some(claim) = claim {
            world.launch_claim(claim, instance, Labels::new());
            world.register_claim(claim);
            world.initialize_claim(claim);
        }
        let node = world.create_node(node);
        world.set_node_readiness(node, NodeReadiness::Ready);
        let pod = new_pod(world, set);
        world.bind_pod(pod, node);
        world.assign_address(pod);
        start_container(world, pod);
        world.set_pod_ready(pod, true);
        let target = register(world, pod);
        world.set_target_state(target, TargetState::Healthy, TargetReason::None);
        world.set_routable(target, true);
        world.note_in_service(target);
    }
    // The start of a run discards what led to it.
    world.take_journal(&mut Vec::new());
    set
}

fn hpa_sync(world: &mut World, current: i32, desired: i32, utilization: i32) {
    let status = HpaStatus { current, desired, utilization: Some(utilization), ..HpaStatus::default() };
    world.set_hpa_status(HpaId(0), 0, status);
    world.note_hpa_sync(HpaId(0));
    world.scale_deployment(DeploymentId(0), desired, Some(HpaId(0)));
}

/// 300 s: load 8/s -> 30/s. 352.5 s: trigger 2 -> 4. 470.9 s: the last of two pods is in service.
fn scale_up(run: &mut Run, set: ReplicaSetId) -> Vec<PodId> {
    for sync in 0..24 {
        hpa_sync(run.at(7.5 + 15.0 * f64::from(sync) - 15.0 * f64::from(sync / 23)), 2, 2, 40);
    }
    hpa_sync(run.at(352.5), 2, 4, 150);
    run.at(352.53).scale_replica_set(set, 4);
    let world = run.at(352.55);
    let pods = vec![new_pod(world, set), new_pod(world, set)];
    let world = run.at(352.6);
    pods.iter().for_each(|&pod| world.mark_unschedulable(pod, 0));
    run.at(353.65).note_batch(2);
    let (claim, instance, node) = launch(run.at(353.7), true, "ip-10-0-0-3", CapacityType::Spot);
    run.at(356.4).launch_claim(claim.unwrap(), instance, Labels::new());
    let node = run.at(381.9).create_node(node);
    run.at(382.4).register_claim(claim.unwrap());
    run.at(394.4).set_node_readiness(node, NodeReadiness::Ready);
    run.at(394.9).initialize_claim(claim.unwrap());
    let world = run.at(395.0);
    pods.iter().for_each(|&pod| world.bind_pod(pod, node));
    for (&pod, late) in pods.iter().zip([0.0, 0.7]) {
        run.at(396.1 + late).assign_address(pod);
        run.at(396.2 + late).note_pull(pod, false);
    }
    for (&pod, late) in pods.iter().zip([0.0, 9.5]) {
        run.at(414.2 + late).note_pull(pod, true);
        start_container(run.at(414.9 + late), pod);
        run.at(426.9 + late).set_process(pod, Process::Answering);
        let world = run.at(431.0 + late);
        world.set_containers_ready(pod, true);
        world.set_pod_ready(pod, true);
        let endpoints = |world: &World| world.endpoints[0].clone();
        let world = run.at(431.1 + late);
        let mut now = endpoints(world);
        now.push(Endpoint {
            pod,
            address: world.pod(pod).address.unwrap(),
            ready: true,
            serving: true,
            terminating: false,
            node: Some(node),
            zone: None,
        });
        world.set_endpoints(ServiceId(0), now);
        let target = register(run.at(431.4 + late), pod);
        let healthy = 446.0 + late;
        if late > 0.0 {
            let first = run.world.targets.iter().find(|target| target.pod == pods[0]).unwrap().id;
            enter_service(run, first, 446.0);
        }
        if late > 0.0 {
            enter_service(run, target, healthy + 14.9);
        }
    }
    pods
}

fn enter_service(run: &mut Run, target: TargetId, at: f64) {
    run.at(at).set_target_state(target, TargetState::Healthy, TargetReason::None);
    run.at(at + 0.4).set_routable(target, true);
    run.at(at + 0.5).note_in_service(target);
}

fn leave(run: &mut Run, pod: PodId, at: f64, cause: DeleteCause) {
    run.at(at).delete_pod(pod, None, cause);
    let target = run.world.targets.iter().find(|target| target.pod == pod).unwrap().id;
    let world = run.at(at + 0.6);
    world.set_target_state(target, TargetState::Draining, TargetReason::DeregistrationInProgress);
    world.set_routable(target, false);
    run.at(at + 15.0).set_process(pod, Process::Stopping);
    let world = run.at(at + 16.0);
    world.set_container(pod, 0, ContainerStatus { running_since: None, started: false, ready: false, restarts: 0 });
    world.set_process(pod, Process::Ended);
    world.set_pod_ready(pod, false);
    run.at(at + 16.8).remove_pod(pod);
    run.at(at + 30.6).remove_target(target);
}

/// 600 s: load back to 8/s. 907.5 s: 4 -> 3.
fn scale_down(run: &mut Run, pods: &[PodId]) {
    hpa_sync(run.at(907.5), 4, 3, 30);
    let set = run.world.pods[pods[1].index()].owner;
    if let Owner::ReplicaSet(set) = set {
        run.at(907.53).scale_replica_set(set, 3);
    }
    leave(run, pods[1], 907.55, DeleteCause::ScaleDown);
}

/// 960 s: notice for the spot node; its pod is evicted and replaced on an old node.
fn interruption(run: &mut Run, set: ReplicaSetId) {
    let instance = InstanceId(2);
    run.at(960.0).interrupt_instance(instance);
    let claim = run.world.instances[2].claim.unwrap();
    let node = run.world.claim(claim).node.unwrap();
    run.at(961.0).delete_claim(claim, DisruptionReason::Interrupted);
    let old = run.world.node(node).pods[0];
    run.at(962.0).delete_pod(old, None, DeleteCause::Eviction);
    let new = new_pod(run.at(962.1), set);
    run.at(962.2).bind_pod(new, NodeId(0));
    run.at(963.0).assign_address(new);
    run.at(963.1).note_pull(new, true);
    start_container(run.at(964.0), new);
    let target = run.world.targets.iter().find(|target| target.pod == old).unwrap().id;
    let world = run.at(965.0);
    world.set_target_state(target, TargetState::Draining, TargetReason::DeregistrationInProgress);
    world.set_routable(target, false);
    run.at(977.0).set_pod_ready(new, true);
    let fresh = register(run.at(977.4), new);
    run.at(978.0).remove_pod(old);
    run.at(979.0).note_drained(claim);
    run.at(980.0).stop_instance(instance);
    run.at(981.0).set_alarm(AlarmId(0), AlarmState::Alarm);
    enter_service(run, fresh, 992.0);
    run.at(995.0).remove_target(target);
    run.at(1_010.0).terminate_instance(instance);
    run.at(1_011.0).remove_node(node);
    run.at(1_011.0).remove_claim(claim);
}

/// A crowd: `steps` steps of `pods` pods each, four pods to a new node, 25 s apart.
pub(crate) fn crowd(steps: u32, pods: u32) -> Run {
    let mut plan = plan();
    plan.name = "crowd".to_string();
    let mut run = Run { world: World::new(&plan), recorder: Recorder::new(Detail::Facts), plan };
    let set = initial(&mut run);
    // (when, what): 0 bind, 1 ready, 2 in service; played in order of time.
    let mut later: Vec<(u64, u32, PodId)> = Vec::new();
    let mut created = 2;
    for step in 0..steps {
        let begin = 310_000 + 25_000 * u64::from(step);
        play(&mut run, &mut later, begin);
        let wanted = created + i32::try_from(pods).unwrap();
        hpa_sync(run.at(begin as f64 / 1e3), created, wanted, 150);
        created = wanted;
        for number in 0..pods {
            let pod = new_pod(run.at(begin as f64 / 1e3 + 0.05), set);
            run.world.mark_unschedulable(pod, 0);
            let wait = 4_000 * u64::from(number / 4);
            later.push((begin + 40_000 + wait, 0, pod));
            later.push((begin + 70_000 + wait, 1, pod));
            later.push((begin + 90_000 + wait, 2, pod));
        }
    }
    play(&mut run, &mut later, u64::MAX);
    requests(&mut run);
    run.at(1_200.0);
    run.world.check().unwrap();
    run
}

fn play(run: &mut Run, later: &mut Vec<(u64, u32, PodId)>, until: u64) {
    later.sort();
    let due = later.iter().take_while(|&&(at, ..)| at < until).count();
    for (at, what, pod) in later.drain(..due).collect::<Vec<_>>() {
        let world = run.at(at as f64 / 1e3);
        match what {
            0 => {
                let last = world.nodes.last().filter(|node| node.pods.len() < 3).map(|node| node.id);
                let node = last.unwrap_or_else(|| {
                    let name = format!("ip-10-0-1-{}", world.nodes.len());
                    let (claim, instance, node) = launch(world, true, &name, CapacityType::Spot);
                    world.launch_claim(claim.unwrap(), instance, Labels::new());
                    let node = world.create_node(node);
                    world.set_node_readiness(node, NodeReadiness::Ready);
                    node
                });
                world.bind_pod(pod, node);
                world.assign_address(pod);
            }
            1 => {
                start_container(world, pod);
                world.set_pod_ready(pod, true);
                register(world, pod);
            }
            _ => {
                let target = world.targets.iter().find(|target| target.pod == pod).unwrap().id;
                world.set_target_state(target, TargetState::Healthy, TargetReason::None);
                world.set_routable(target, true);
                world.note_in_service(target);
            }
        }
    }
}

/// The load as it was; some requests are slow and a few lost while capacity lacks.
fn requests(run: &mut Run) {
    let curve = run.plan.apps[0].traffic.clone();
    // A flow: the times in flight of single requests are nobody's here.
    run.world.ledgers[0].book(run.plan.start, &Tally::default());
    for second in 0..1_200 {
        let at = run.plan.start + Span::from_secs(second);
        let offered = (curve.at(at) * REQUEST as f64) as u64;
        let short = (310..446).contains(&second);
        let lost = if short { offered / 5 } else { 0 };
        let ledger = &mut run.world.ledgers[0];
        // A flow: nothing of it is in flight between two seconds.
        ledger.book(at, &Tally::default());
        ledger.offer(at, offered);
        ledger.lose(at, lost, Loss::QueueFull, crate::world::LossPlace::default());
        ledger.serve(at, offered - lost, Span::from_millis(if short { 2_500 } else { 180 }), short);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_step_has_its_pods_its_chain_and_its_detection() {
        let run = run();
        let analysis = run.analysis();
        assert_eq!(analysis.steps.len(), 1);
        let step = &analysis.steps[0];
        assert_eq!(step.detection(), Some(Span::from_millis(52_500)));
        assert_eq!(step.time_to_serve(), Some(Span::from_millis(470_900 - 352_500)));
        assert_eq!(step.pods.len(), 2);
        for pod in &step.pods {
            let sum: u64 = pod.phases.iter().map(|phase| phase.length().micros()).sum();
            assert_eq!(sum, (pod.served.unwrap() - step.trigger).micros());
        }
        let critical = step.critical_pod().unwrap();
        let lengths: Vec<String> = critical.phases.iter().map(|phase| phase.length().decimal()).collect();
        let expected = [
            "0.05", "0.05", "1.05", "0.05", "2.7", "25.5", "0.5", "12", "0.6", "1.8", "26.9", "0.7", "16.1", "0.1",
            "0.3", "30", "0",
        ];
        assert_eq!(lengths[..15], expected[..15]);
        assert_eq!(critical.phases[15].end, run.plan.start + Span::from_millis(470_400));
    }

    #[test]
    fn the_way_down_and_the_replacement() {
        let run = run();
        let analysis = run.analysis();
        let down = &analysis.steps_down[0];
        assert_eq!((down.from, down.to, down.victims.len()), (4, 3, 1));
        let victim = &analysis.history.pods[down.victims[0].index()];
        assert_eq!(victim.target_gone.unwrap() - victim.deregistered.unwrap(), Span::from_secs(30));
        assert_eq!(analysis.replacements.len(), 1);
        let replaced = &analysis.replacements[0];
        assert_eq!(replaced.why, crate::analysis::Why::Interruption);
        assert_eq!((replaced.displaced.len(), replaced.replacements.len()), (1, 1));
        assert_eq!(replaced.time_to_replace(), Some(Span::from_millis(32_500)));
    }

    #[test]
    fn overlapping_steps_share_no_pod_and_miss_none() {
        let run = crowd(9, 12);
        let analysis = run.analysis();
        assert_eq!(analysis.steps.len(), 9);
        assert!(analysis.steps.iter().all(|step| step.pods.len() == 12 && step.served.is_some()));
        // All answer one change of load: only the first of them detects it.
        assert_eq!(analysis.steps[0].detection(), Some(Span::from_secs(10)));
        assert!(analysis.steps[1..].iter().all(|step| step.detection().is_none() && step.load_change.is_some()));
        let mut pods: Vec<PodId> = analysis.steps.iter().flat_map(|step| &step.pods).map(|pod| pod.pod).collect();
        pods.sort();
        pods.dedup();
        assert_eq!(pods.len(), 9 * 12);
    }

    #[test]
    fn series_and_totals_follow_the_play() {
        let run = run();
        let analysis = run.analysis();
        let at = |seconds| analysis.series.at(run.plan.start + Span::from_secs(seconds));
        let replicas = |seconds| {
            let entry = at(seconds).replicas[0];
            (entry.desired, entry.existing, entry.ready, entry.in_service)
        };
        assert_eq!(replicas(0), (2, 2, 2, 2));
        assert_eq!(replicas(400), (4, 4, 2, 2));
        assert_eq!(replicas(450), (4, 4, 4, 3));
        assert_eq!(replicas(500), (4, 4, 4, 4));
        assert_eq!(replicas(1_100), (3, 3, 3, 3));
        assert_eq!(at(370).nodes, crate::analysis::NodeStates { launching: 1, ready: 2, ..Default::default() });
        assert_eq!(at(970).nodes.terminating, 1);
        assert_eq!(at(1_100).nodes.total(), 2);
        assert_eq!((analysis.totals.nodes_launched, analysis.totals.nodes_terminated), (1, 1));
        // Two on-demand nodes for 20 minutes at 0.0416 $/h, a spot node for 626.3 s at 0.0125 $/h.
        assert_eq!(analysis.totals.cost, MicroDollars(2 * 13_867 + 2_175));
    }
}
