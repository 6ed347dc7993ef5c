//! One sync of an autoscaler over 5 000 pods, and a scale-down that chooses 1 000 victims of 5 000 pods on 500 nodes.

use criterion::{Criterion, criterion_group, criterion_main};
use kubelapse::components::kubernetes::hpa::Hpa;
use kubelapse::components::kubernetes::replica_set::choose_victims;
use kubelapse::components::{Cx, Event};
use kubelapse::engine::{Queue, Random, Span, Time};
use kubelapse::plan::{
    Container, DeploymentId, DeploymentSpec, HpaSpec, MetricSpec, MetricTarget, Plan, PodTemplate, Strategy, TemplateId,
};
use kubelapse::record::{Detail, Recorder};
use kubelapse::rules::labels::LabelSelector;
use kubelapse::rules::quantity::Millicores;
use kubelapse::rules::resources::ResourceList;
use kubelapse::world::{
    Condition, ContainerUsage, NewNode, NewPod, Owner, PodId, PodMetrics, PodPhase, ReplicaSetId, World,
};
use std::hint::black_box;
use std::sync::Arc;

const START: Time = Time::from_unix_seconds(1_000_000);
const PODS: u32 = 5_000;
const NODES: u32 = 500;
const VICTIMS: usize = 1_000;

fn plan() -> Plan {
    let mut plan = Plan::empty(START, Span::from_secs(u64::from(u32::MAX)));
    let labels = [("app".to_string(), "web".to_string())].into();
    let selector = LabelSelector::from_labels(&labels);
    let requests = ResourceList { cpu: Some(Millicores(500)), ..ResourceList::default() };
    let container = Container { name: "app".to_string(), requests, ..Container::default() };
    plan.templates.push(Arc::new(PodTemplate { labels, containers: vec![container], ..PodTemplate::default() }));
    plan.deployments.push(Arc::new(DeploymentSpec {
        namespace: "default".to_string(),
        name: "web".to_string(),
        replicas: PODS as i32,
        selector,
        template: TemplateId(0),
        strategy: Strategy::Recreate,
        min_ready: Span::ZERO,
        progress_deadline: Span::from_secs(600),
        revision_history_limit: 10,
        paused: false,
    }));
    let target = MetricTarget { average_utilization: Some(60), ..MetricTarget::default() };
    plan.hpas.push(Arc::new(HpaSpec {
        namespace: "default".to_string(),
        name: "web".to_string(),
        target_version: "apps/v1".to_string(),
        target_kind: "Deployment".to_string(),
        target_name: "web".to_string(),
        min_replicas: 1,
        max_replicas: 2 * PODS as i32,
        metrics: vec![MetricSpec::Resource { name: "cpu".to_string(), target }],
        behavior: None,
    }));
    plan
}

/// A tenth of the pods is young and not Ready yet; all others are Ready, some for longer than others.
fn world(plan: &Plan) -> World {
    let mut world = World::new(plan);
    let set = world.create_replica_set(DeploymentId(0), PODS as i32);
    for node in 0..NODES {
        world.create_node(NewNode {
            name: format!("node-{node}").into(),
            labels: Default::default(),
            taints: Vec::new(),
            allocatable: Default::default(),
            capacity: Default::default(),
            claim: None,
            instance: None,
            zone: None,
        });
    }
    for number in 0..PODS {
        let (template, owner) = (TemplateId(0), Owner::ReplicaSet(set));
        let pod = world.create_pod(NewPod { template, owner, ordinal: number + 1, pinned: None, name: None });
        // Nodes hold different numbers of pods.
        let node = (u64::from(number) * u64::from(number) % u64::from(NODES)) as u32;
        let age = Span::from_secs(if number.is_multiple_of(10) { 20 } else { 400 + u64::from(number) });
        let since = START.back(age);
        let entry = &mut world.pods[pod.index()];
        entry.node = Some(kubelapse::world::NodeId(node));
        entry.phase = PodPhase::Running;
        entry.start_time = Some(since);
        entry.ready = Condition { status: Some(!number.is_multiple_of(10)), since, exact: since };
        let cpu_nanocores = Some(300_000_000 + i64::from(number) * 1_000);
        let usage = ContainerUsage { container: 0, cpu_nanocores, memory_bytes: Some(1 << 28) };
        let metrics = PodMetrics { timestamp: START, window: Span::from_secs(15), containers: vec![usage] };
        world.set_pod_metrics(pod, Some(metrics));
    }
    world.take_journal(&mut Vec::new());
    world
}

fn sync(criterion: &mut Criterion) {
    let plan = plan();
    let (mut world, mut queue, mut recorder) = (world(&plan), Queue::new(), Recorder::new(Detail::Facts));
    let (mut hpa, mut journal) = (Hpa::default(), Vec::new());
    let (world, queue, recorder) = (&mut world, &mut queue, &mut recorder);
    hpa.start(&mut Cx { now: START, plan: &plan, world, queue, recorder, random: None });
    let mut next = || {
        let (now, event) = queue.pop().expect("an entry waits");
        let Event::Hpa(event) = event else { unreachable!("nothing else is scheduled") };
        world.now = now;
        hpa.handle(&mut Cx { now, plan: &plan, world, queue, recorder, random: None }, event);
        journal.clear();
        world.take_journal(&mut journal);
        world.hpas[0].status.utilization
    };
    assert!(next().is_some(), "a sync sees the metrics");
    criterion.bench_function("autoscaler: a sync over 5 000 pods", |bencher| bencher.iter(|| black_box(next())));
}

fn victims(criterion: &mut Criterion) {
    let plan = plan();
    let mut world = world(&plan);
    world.now = START;
    let random = Random::new(1, 0);
    let active: Vec<PodId> = (0..PODS).map(PodId).collect();
    criterion.bench_function("autoscaler: 1 000 victims of 5 000 pods", |bencher| {
        bencher.iter(|| {
            let chosen = choose_victims(&world, ReplicaSetId(0), active.clone(), VICTIMS, Some(&random));
            black_box(chosen.len())
        });
    });
}

criterion_group!(benches, sync, victims);
criterion_main!(benches);
