//! ReplicaSets on tiny worlds, together with the Deployment controller and the wiring.

use super::*;
use crate::components::{Event as AnyEvent, wiring::Wiring};
use crate::engine::{Queue, Span};
use crate::plan::{DeploymentId, DeploymentSpec, Distribution, IntOrPercent, Plan, PodTemplate, Strategy, TemplateId};
use crate::record::{Detail, Recorder};
use crate::rules::labels::LabelSelector;
use crate::world::{Change, Pod, PodPhase};
use std::sync::Arc;

const START: Time = Time::from_unix_seconds(1_000_000);

fn deployment(replicas: i32, template: u32) -> DeploymentSpec {
    DeploymentSpec {
        namespace: "default".to_string(),
        name: "web".to_string(),
        replicas,
        selector: LabelSelector::default(),
        template: TemplateId(template),
        strategy: Strategy::RollingUpdate {
            max_surge: IntOrPercent::Percent(25),
            max_unavailable: IntOrPercent::Percent(25),
        },
        min_ready: Span::ZERO,
        progress_deadline: Span::from_secs(600),
        revision_history_limit: 10,
        paused: false,
    }
}

fn plan(replicas: i32) -> Plan {
    let mut plan = Plan::empty(START, Span::from_secs(600));
    plan.templates.push(Arc::new(PodTemplate::default()));
    plan.templates.push(Arc::new(PodTemplate { priority: 7, ..PodTemplate::default() }));
    plan.deployments.push(Arc::new(deployment(replicas, 0)));
    plan
}

/// Both controllers, the wiring between them and a world.
struct Bench<'p> {
    plan: &'p Plan,
    sets: ReplicaSetController,
    deployments: crate::components::kubernetes::deployment::DeploymentController,
    wiring: Wiring,
    world: World,
    queue: Queue<AnyEvent>,
    recorder: Recorder,
}

impl<'p> Bench<'p> {
    fn new(plan: &'p Plan, world: World) -> Bench<'p> {
        let mut bench = Bench {
            plan,
            sets: ReplicaSetController::default(),
            deployments: Default::default(),
            wiring: Wiring::new(plan),
            world,
            queue: Queue::new(),
            recorder: Recorder::new(Detail::Explain),
        };
        bench.act(START, |sets, deployments, cx| {
            deployments.start(cx);
            sets.start(cx);
        });
        bench
    }

    fn act(
        &mut self,
        now: Time,
        act: impl FnOnce(
            &mut ReplicaSetController,
            &mut crate::components::kubernetes::deployment::DeploymentController,
            &mut Cx,
        ),
    ) {
        self.world.now = now;
        let mut cx = Cx {
            now,
            plan: self.plan,
            world: &mut self.world,
            queue: &mut self.queue,
            recorder: &mut self.recorder,
            random: None,
        };
        act(&mut self.sets, &mut self.deployments, &mut cx);
        let mut journal = Vec::new();
        self.world.take_journal(&mut journal);
        for change in journal {
            self.recorder.push(now, change, &self.world);
            self.wiring.wake(change, now, (self.plan, &self.world), None, &mut self.queue);
        }
    }

    /// Handles everything that is to come until `seconds` after the start; events of other components are dropped.
    fn run(&mut self, seconds: u64) {
        let mut later = Vec::new();
        while let Some((now, event)) = self.queue.pop() {
            if now > START + Span::from_secs(seconds) {
                later.push((now, event));
                continue;
            }
            self.wiring.delivered(&event);
            self.act(now, |sets, deployments, cx| match event {
                AnyEvent::ReplicaSet(event) => sets.handle(cx, event),
                AnyEvent::Deployment(event) => deployments.handle(cx, event),
                _ => {}
            });
        }
        for (at, event) in later {
            self.queue.push(at, event);
        }
    }

    fn created(&self) -> Vec<f64> {
        let facts = self.recorder.facts.iter();
        let created = facts.filter(|fact| matches!(fact.change, Change::PodCreated(_)));
        created.map(|fact| fact.at.seconds_from(START)).collect()
    }
}

/// A Deployment with its ReplicaSet and its running pods, as the bootstrap leaves them.
fn settled(plan: &Plan) -> World {
    let mut world = World::new(plan);
    world.now = START.back(Span::from_secs(3600));
    let replicas = plan.deployments[0].replicas;
    let set = world.create_replica_set(DeploymentId(0), replicas);
    for ordinal in 1..=u32::try_from(replicas).unwrap() {
        let (template, owner) = (TemplateId(0), Owner::ReplicaSet(set));
        world.create_pod(NewPod { template, owner, ordinal, pinned: None, name: None });
    }
    world.now = START;
    world.take_journal(&mut Vec::new());
    world
}

fn make_ready(world: &mut World, pod: PodId) {
    if world.pod(pod).node.is_none() {
        let new = crate::world::NewNode {
            name: format!("n{}", pod.0).into(),
            labels: Default::default(),
            taints: Vec::new(),
            allocatable: Default::default(),
            capacity: Default::default(),
            claim: None,
            instance: None,
            zone: None,
        };
        let node = world.create_node(new);
        world.bind_pod(pod, node);
        world.set_pod_phase(pod, PodPhase::Running);
    }
    world.set_pod_ready(pod, true);
}

#[test]
fn nothing_is_written_when_the_world_agrees() {
    let plan = plan(5);
    let mut bench = Bench::new(&plan, settled(&plan));
    bench.run(60);
    let is_status = |change| matches!(change, Change::ReplicaSetStatus(_) | Change::DeploymentStatus(..));
    assert!(bench.recorder.facts.iter().all(|fact| is_status(fact.change)), "only the statuses are filled in");
    assert_eq!(bench.world.deployments[0].status.replicas, 5);
}

#[test]
fn pods_come_in_batches_that_double() {
    let mut plan = plan(1);
    plan.timings.set(Stage::ApiHop, Distribution::Constant(Span::from_millis(100)));
    let mut bench = Bench::new(&plan, settled(&plan));
    bench.run(5);
    bench.act(START + Span::from_secs(10), |_, _, cx| cx.world.scale_deployment(DeploymentId(0), 11, None));
    bench.run(60);
    // Two hops to the first batch; 1 + 2 + 4 + 3 pods.
    let expected = [10.2, 10.3, 10.3, 10.4, 10.4, 10.4, 10.4, 10.5, 10.5, 10.5];
    assert_eq!(bench.created(), expected);
    let ordinals: Vec<u32> = bench.world.pods.iter().map(|pod| pod.ordinal).collect();
    assert_eq!(ordinals, (1..=11).collect::<Vec<_>>());
}

#[test]
fn a_hundred_pods_take_three_and_a_half_seconds_of_tokens() {
    let mut plan = plan(0);
    plan.flags.controllers.event_post = Span::ZERO;
    let mut bench = Bench::new(&plan, settled(&plan));
    bench.act(START, |_, _, cx| cx.world.scale_deployment(DeploymentId(0), 100, None));
    bench.run(60);
    let created = bench.created();
    assert_eq!(created.len(), 100);
    assert!((created[99] - 3.5).abs() < 0.06, "{}", created[99]);
    assert_eq!(created.iter().filter(|&&at| at == 0.0).count(), 30, "the burst");
}

#[test]
fn a_call_that_fails_is_tried_again_after_5_ms_doubling_and_events_do_not_wait() {
    let mut plan = plan(2);
    let kind = FaultKind::PodCallsFail(PodCall::Create);
    plan.faults.push(crate::plan::Fault { at: START, until: None, kind });
    let mut bench = Bench::new(&plan, settled(&plan));
    bench.run(5);
    bench.act(START + Span::from_secs(20), |_, _, cx| {
        cx.world.set_fault(crate::plan::FaultId(0), true);
        cx.world.scale_deployment(DeploymentId(0), 3, None);
    });
    bench.run(21);
    assert_eq!(bench.world.replica_sets[0].status.failure, Some(FailureReason::FailedCreate));
    let failed = Some(FailureReason::FailedCreate);
    assert_eq!(bench.world.deployments[0].status.replica_failure, failed);
    bench.act(START + Span::from_secs(21), |_, _, cx| cx.world.set_fault(crate::plan::FaultId(0), false));
    bench.run(30);
    let refused = bench.recorder.facts.iter().filter(|fact| fact.change == Change::PodRefused(ReplicaSetId(0)));
    let refused: Vec<f64> = refused.map(|fact| fact.at.seconds_from(START)).collect();
    // The second failure comes with the event of the status that tells of the first.
    assert_eq!(refused, [20.0, 20.0, 20.005, 20.025, 20.065, 20.145, 20.305, 20.625]);
    assert_eq!(bench.created(), [21.265]);
    assert_eq!(bench.world.replica_sets[0].status.failure, None);
    assert_eq!(bench.world.deployments[0].status.replica_failure, None);
}

#[test]
fn a_quota_counts_terminating_pods_and_what_leaves_makes_room_at_once() {
    let mut plan = plan(0);
    plan.pod_quotas.insert("default".into(), 4);
    plan.templates[0] = Arc::new(PodTemplate { namespace: "default".into(), ..PodTemplate::default() });
    let mut bench = Bench::new(&plan, settled(&plan));
    bench.act(START, |_, _, cx| cx.world.scale_deployment(DeploymentId(0), 6, None));
    bench.run(1);
    assert_eq!(bench.world.replica_sets[0].status.replicas, 4);
    (0..4).for_each(|pod| make_ready(&mut bench.world, PodId(pod)));
    bench.act(START + Span::from_secs(40), |_, _, cx| cx.world.delete_pod(PodId(0), None, DeleteCause::User));
    bench.run(41);
    assert_eq!(bench.world.pods.len(), 4, "the terminating pod counts");
    bench.act(START + Span::from_secs(70), |_, _, cx| cx.world.remove_pod(PodId(0)));
    bench.run(70);
    assert_eq!(bench.world.pods.len(), 5, "its end wakes the controller, whatever its back-off");
}

#[test]
fn deletions_that_fail_are_reported_and_tried_again() {
    let mut plan = plan(3);
    let kind = FaultKind::PodCallsFail(PodCall::Delete);
    plan.faults.push(crate::plan::Fault { at: START, until: None, kind });
    let mut bench = Bench::new(&plan, settled(&plan));
    bench.act(START + Span::from_secs(1), |_, _, cx| {
        cx.world.set_fault(crate::plan::FaultId(0), true);
        cx.world.scale_deployment(DeploymentId(0), 1, None);
    });
    bench.run(1);
    assert_eq!(bench.world.replica_sets[0].status.failure, Some(FailureReason::FailedDelete));
    assert_eq!(bench.world.replica_sets[0].status.replicas, 3);
    bench.act(START + Span::from_secs(2), |_, _, cx| cx.world.set_fault(crate::plan::FaultId(0), false));
    bench.run(10);
    assert_eq!(bench.world.replica_sets[0].status.replicas, 1);
    assert_eq!(bench.world.replica_sets[0].status.failure, None);
}

#[test]
fn a_rollout_replaces_all_pods_within_its_bounds() {
    let plan = plan(10);
    let mut bench = Bench::new(&plan, settled(&plan));
    (0..10).for_each(|pod| make_ready(&mut bench.world, PodId(pod)));
    bench.act(START, |_, _, _| {});
    bench.run(1);
    bench.act(START + Span::from_secs(2), |_, _, cx| {
        cx.world.update_deployment(DeploymentId(0), Arc::new(deployment(10, 1)));
    });
    for second in 2..60 {
        bench.run(second);
        let active: Vec<&Pod> = bench.world.pods.iter().filter(|pod| pod.is_active()).collect();
        let ready = active.iter().filter(|pod| pod.is_ready()).count();
        assert!(active.len() <= 13 && ready >= 8, "{} pods, {ready} ready at {second} s", active.len());
        let next = active.iter().find(|pod| !pod.is_ready()).map(|pod| pod.id);
        bench.act(START + Span::from_secs(second), |_, _, cx| {
            if let Some(pod) = next {
                make_ready(cx.world, pod);
            }
        });
    }
    let new = bench.world.pods.iter().filter(|pod| pod.is_active() && pod.template == TemplateId(1)).count();
    assert_eq!(new, 10);
    assert_eq!(bench.world.pods.len(), 20, "not one pod more than needed");
    let causes =
        bench.recorder.facts.iter().filter(|fact| matches!(fact.change, Change::PodDeleting(_, DeleteCause::Rollout)));
    assert_eq!(causes.count(), 10);
}

#[test]
fn availability_counts_from_the_whole_second() {
    let mut plan = plan(1);
    plan.deployments[0] = Arc::new(DeploymentSpec { min_ready: Span::from_secs(10), ..deployment(1, 0) });
    let mut bench = Bench::new(&plan, settled(&plan));
    bench.run(1);
    bench.act(START + Span::from_millis(5_700), |_, _, cx| make_ready(cx.world, PodId(0)));
    bench.run(14);
    assert_eq!(bench.world.replica_sets[0].status.available, 0);
    bench.run(15);
    assert_eq!(bench.world.replica_sets[0].status.available, 1);
    let is_status = |change| change == Change::ReplicaSetStatus(ReplicaSetId(0));
    let last = bench.recorder.facts.iter().rfind(|fact| is_status(fact.change)).unwrap();
    assert_eq!(last.at.seconds_from(START), 15.0);
}

#[test]
fn related_sets_share_ranks_by_node() {
    let plan = plan(3);
    let mut world = settled(&plan);
    make_ready(&mut world, PodId(0));
    let node = world.pod(PodId(0)).node.unwrap();
    world.bind_pod(PodId(1), node);
    world.set_pod_phase(PodId(1), PodPhase::Running);
    world.set_pod_ready(PodId(1), true);
    make_ready(&mut world, PodId(2));
    let ids = vec![PodId(2), PodId(0), PodId(1)];
    let victims = choose_victims(&world, ReplicaSetId(0), ids, 1, None);
    assert_ne!(victims, [PodId(2)], "one of the two that share a node goes first");
}

#[test]
fn a_shorter_min_ready_seconds_counts_at_once() {
    let mut plan = plan(1);
    plan.deployments[0] = Arc::new(DeploymentSpec { min_ready: Span::from_secs(100), ..deployment(1, 0) });
    let mut bench = Bench::new(&plan, settled(&plan));
    bench.act(START + Span::from_secs(1), |_, _, cx| make_ready(cx.world, PodId(0)));
    bench.run(30);
    assert_eq!(bench.world.replica_sets[0].status.available, 0);
    bench.act(START + Span::from_secs(31), |_, _, cx| {
        cx.world.update_deployment(DeploymentId(0), Arc::new(deployment(1, 0)));
    });
    bench.run(31);
    assert_eq!(bench.world.replica_sets[0].status.available, 1);
}

#[test]
fn the_history_is_cut_when_the_rollout_is_complete_and_not_before() {
    let mut plan = plan(1);
    let spec = |template| DeploymentSpec { revision_history_limit: 0, ..deployment(1, template) };
    plan.deployments[0] = Arc::new(spec(0));
    let mut bench = Bench::new(&plan, settled(&plan));
    bench.act(START, |_, _, cx| make_ready(cx.world, PodId(0)));
    bench.run(1);
    bench.act(START + Span::from_secs(2), |_, _, cx| {
        cx.world.update_deployment(DeploymentId(0), Arc::new(spec(1)));
    });
    bench.run(10);
    assert_eq!(bench.world.deployments[0].replica_sets.len(), 2);
    bench.act(START + Span::from_secs(11), |_, _, cx| make_ready(cx.world, PodId(1)));
    bench.run(11);
    assert_eq!(bench.world.deployments[0].replica_sets, [ReplicaSetId(1)]);
}

#[test]
fn recreate_looks_again_when_the_last_pod_object_is_gone() {
    let mut plan = plan(2);
    let spec = |template| DeploymentSpec { strategy: Strategy::Recreate, ..deployment(2, template) };
    plan.deployments[0] = Arc::new(spec(0));
    let mut bench = Bench::new(&plan, settled(&plan));
    (0..2).for_each(|pod| make_ready(&mut bench.world, PodId(pod)));
    bench.run(1);
    bench.act(START + Span::from_secs(2), |_, _, cx| {
        cx.world.update_deployment(DeploymentId(0), Arc::new(spec(1)));
    });
    bench.run(10);
    assert_eq!(bench.world.pods.len(), 2, "two terminating pods hold everything back");
    bench.act(START + Span::from_secs(11), |_, _, cx| cx.world.remove_pod(PodId(0)));
    bench.run(15);
    assert_eq!(bench.world.pods.len(), 2);
    bench.act(START + Span::from_secs(16), |_, _, cx| cx.world.remove_pod(PodId(1)));
    bench.run(16);
    assert_eq!(bench.world.pods.len(), 4);
}
