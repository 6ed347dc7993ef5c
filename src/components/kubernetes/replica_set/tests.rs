//! ReplicaSets on tiny worlds, together with the Deployment controller and the wiring.

use super::*;
use crate::components::{Event as AnyEvent, wiring::Wiring};
use crate::engine::Queue;
use crate::plan::{DeploymentId, DeploymentSpec, Distribution, IntOrPercent, Plan, PodTemplate, Strategy, TemplateId};
use crate::record::{Detail, Recorder};
use crate::rules::labels::LabelSelector;
use crate::world::Change;
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
            self.wiring.wake(change, now, self.plan, &self.world, None, &mut self.queue);
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
            self.wiring.delivered(event);
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
    for _ in 0..replicas {
        create(&mut world, set);
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
    let facts: Vec<_> = bench.recorder.facts.iter().map(|fact| fact.change).collect();
    assert_eq!(facts, [Change::ReplicaSetStatus(ReplicaSetId(0))], "only the status is filled in");
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
    let plan = plan(0);
    let mut bench = Bench::new(&plan, settled(&plan));
    bench.act(START, |_, _, cx| cx.world.scale_deployment(DeploymentId(0), 100, None));
    bench.run(60);
    let created = bench.created();
    assert_eq!(created.len(), 100);
    assert!((created[99] - 3.5).abs() < 0.06, "{}", created[99]);
    assert_eq!(created.iter().filter(|&&at| at == 0.0).count(), 30, "the burst");
}

#[test]
fn a_bucket_without_limit_never_waits() {
    let mut bucket = TokenBucket::default();
    assert!((0..100).all(|_| bucket.reserve(START, 0.0, 30.0) == START));
    let waits: Vec<u64> = (0..33).map(|_| bucket.reserve(START, 20.0, 30.0).since(START).micros()).collect();
    assert_eq!(waits[29..], [0, 50_000, 100_000, 150_000]);
    let later = START + Span::from_secs(60);
    assert!((0..30).all(|_| bucket.reserve(later, 20.0, 30.0) == later), "it fills up again");
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
    let last = bench.recorder.facts.last().unwrap();
    assert_eq!((last.at.seconds_from(START), last.change), (15.0, Change::ReplicaSetStatus(ReplicaSetId(0))));
}

fn old(pod: u32) -> Victim {
    let since = START.back(Span::from_secs(3_600));
    Victim {
        pod: PodId(pod),
        assigned: true,
        phase: PodPhase::Running,
        ready_since: Some(since),
        cost: 0,
        rank: 1,
        restarts: 0,
        sidecar_restarts: 0,
        created: since,
        uid: format!("{pod:016x}"),
    }
}

#[test]
fn victims_by_the_first_difference() {
    let ladder = [
        Victim { assigned: false, phase: PodPhase::Pending, ready_since: None, ..old(0) },
        Victim { phase: PodPhase::Pending, ready_since: None, ..old(1) },
        Victim { ready_since: None, ..old(2) },
        Victim { cost: -5, ..old(3) },
        Victim { rank: 3, ..old(4) },
        Victim { ready_since: Some(START.back(Span::from_secs(60))), ..old(5) },
        Victim { restarts: 4, ..old(6) },
        Victim { sidecar_restarts: 1, ..old(7) },
        Victim { created: START.back(Span::from_secs(3_000)), ..old(0) },
        old(9),
    ];
    // 3000 s and 3600 s lie in one bucket: the smaller UID decides rule 8.
    for (index, first) in ladder.iter().enumerate() {
        for second in &ladder[index + 1..] {
            assert!(goes_before(first, second, START), "{first:?} {second:?}");
            assert!(!goes_before(second, first, START));
        }
    }
    let mut shuffled = ladder.to_vec();
    shuffled.reverse();
    shuffled.rotate_left(3);
    let ids = |victims: &[Victim]| victims.iter().map(|victim| victim.pod).collect::<Vec<_>>();
    assert_eq!(ids(&sorted(shuffled, START)), ids(&ladder));
}

#[test]
fn ages_fall_into_buckets_of_powers_of_two() {
    let bucket = |hours: u64| age_bucket(START.back(Span::from_secs(3_600 * hours)), START);
    assert_eq!(bucket(5), bucket(8));
    assert!(bucket(2) < bucket(5));
    assert_eq!(age_bucket(START, START), -1);
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

#[test]
fn the_first_few_are_those_of_the_whole_order() {
    let victim = |number: u32| Victim {
        pod: PodId(number),
        assigned: true,
        phase: PodPhase::Running,
        ready_since: Some(START.back(Span::from_secs(u64::from(number * 7919 % 977) * 60))),
        cost: 0,
        rank: number % 3,
        restarts: number % 2,
        sidecar_restarts: 0,
        created: START.back(Span::from_secs(90_000)),
        uid: format!("{:08x}", number.wrapping_mul(0x9e37_79b9)),
    };
    let victims: Vec<Victim> = (0..200).map(victim).collect();
    let ids = |victims: &[Victim]| victims.iter().map(|victim| victim.pod).collect::<Vec<_>>();
    let whole = ids(&sorted(victims.clone(), START));
    for count in [1, 2, 50, 199, 200] {
        assert_eq!(ids(&first(victims.clone(), count, START)), whole[..count], "{count}");
    }
}

#[test]
fn ages_fall_into_powers_of_two_of_nanoseconds() {
    let now = Time::from_unix_seconds(1_000_000_000);
    for seconds in [1u64, 2, 549, 550, 4_397, 4_399, 35_184, 35_185, 4_503_599, 4_503_600, 40_000_000] {
        assert_eq!(
            age_bucket(now.back(Span::from_secs(seconds)), now),
            (seconds as f64 * 1e9).log2() as i64,
            "{seconds}"
        );
    }
    assert_eq!(age_bucket(now, now), -1);
}
