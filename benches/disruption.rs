//! One pass of consolidation over 500 nodes: Emptiness, the search over several nodes, and one node after the other. Every
//! node is as full as makes it a candidate without a way out, so that all 500 are simulated.

use criterion::{Criterion, criterion_group, criterion_main};
use kubelapse::components::karpenter::cluster::{Catalog, state_nodes};
use kubelapse::components::karpenter::disruption::budgets::remaining;
use kubelapse::components::karpenter::disruption::decide::{decide, prospect};
use kubelapse::components::karpenter::disruption::method::Method;
use kubelapse::components::karpenter::disruption::notes::Notes;
use kubelapse::components::karpenter::disruption::simulation::Scene;
use kubelapse::engine::{Span, Time};
use kubelapse::manifest::node_pool::read_node_pool;
use kubelapse::plan::{
    CapacityType, InstanceType, InstanceTypeId, MicroDollars, NodePoolId, NodePoolSpec, Offering, Plan, PodTemplate,
    TemplateId, ZoneId,
};
use kubelapse::rules::labels::Labels;
use kubelapse::rules::quantity::{Bytes, Millicores};
use kubelapse::rules::resources::Resources;
use kubelapse::scenario::diagnostic::{FileId, Place, Problems};
use kubelapse::scenario::yaml::Node;
use kubelapse::world::{NewClaim, NewNode, NewPod, NodeReadiness, Owner, World};
use serde_json::json;
use std::collections::BTreeSet;
use std::hint::black_box;
use std::sync::Arc;

const NODES: usize = 500;
const PODS_A_NODE: u32 = 4;

/// Sixty types: larger ones cost more, and each zone sells both ways.
fn instance_type(number: i64) -> InstanceType {
    let cpu = 2_000 << (number % 6);
    let resources = |cpu: i64| Resources { pods: 110, ..Resources::cpu_memory(Millicores(cpu), Bytes(cpu << 22)) };
    let price = cpu as f64 * 0.000_02 * (1.0 + number as f64 / 1_000.0);
    let offering = |zone: u32, capacity_type, share: f64| Offering {
        zone: ZoneId(zone),
        capacity_type,
        price: MicroDollars::from_dollars(price * share),
        available: true,
        reservation: None,
    };
    let labels = [("kubernetes.io/arch", "amd64"), ("kubernetes.io/os", "linux")];
    InstanceType {
        name: format!("type-{number}"),
        labels: labels.into_iter().map(|(key, value)| (key.to_string(), value.to_string())).collect(),
        requirements: vec![],
        capacity: resources(cpu),
        allocatable: resources(cpu - 70),
        offerings: (0..3)
            .flat_map(|zone| [offering(zone, CapacityType::Spot, 0.4), offering(zone, CapacityType::OnDemand, 1.0)])
            .collect(),
        network_interfaces: 4,
        addresses_per_interface: 15,
        network_mbps: 1_000,
        burst_baseline_millis: 0,
        vcpus: 2,
        spot_price_is_estimate: false,
    }
}

fn pool() -> NodePoolSpec {
    let written = json!({
        "apiVersion": "karpenter.sh/v1", "kind": "NodePool", "metadata": {"name": "default"},
        "spec": {
            "disruption": {"budgets": [{"nodes": "100%"}], "consolidateAfter": "0s"},
            "template": {"spec": {
                "nodeClassRef": {"group": "karpenter.k8s.aws", "kind": "EC2NodeClass", "name": "default"},
                "requirements": [{"key": "karpenter.sh/capacity-type", "operator": "In", "values": ["on-demand"]}],
            }},
        },
    });
    let node = Node::from_json(&written, Place::top(FileId(0)));
    read_node_pool(&node, &mut Problems::new()).expect("a pool")
}

fn cluster() -> (Plan, World) {
    let mut plan = Plan::empty(Time::from_unix_seconds(1_700_000_000), Span::from_secs(3600));
    plan.zones = ["a", "b", "c"].map(String::from).to_vec();
    plan.instance_types = (0..60).map(|number| Arc::new(instance_type(number))).collect();
    plan.pool_types = vec![(0..60).map(InstanceTypeId::at).collect()];
    plan.node_pools = vec![Arc::new(pool())];
    let requests = Resources { pods: 1, ..Resources::cpu_memory(Millicores(480), Bytes(64 << 20)) };
    plan.templates = vec![Arc::new(PodTemplate { requests, ..PodTemplate::default() })];
    let mut world = World::new(&plan);
    for index in 0..NODES {
        add_node(&plan, &mut world, index);
    }
    (plan, world)
}

fn add_node(plan: &Plan, world: &mut World, index: usize) {
    let zone = ZoneId::at(index % 3);
    // The cheapest type: nothing cheaper holds its pods, and no other node has room for them.
    let (typed, entry) = (InstanceTypeId(0), plan.instance_type(InstanceTypeId(0)));
    let mut labels: Labels = entry.labels.clone();
    for (key, value) in [
        ("node.kubernetes.io/instance-type", entry.name.as_str()),
        ("topology.kubernetes.io/zone", plan.zones[zone.index()].as_str()),
        ("karpenter.sh/capacity-type", "on-demand"),
        ("karpenter.sh/nodepool", "default"),
    ] {
        labels.insert(key.to_string(), value.to_string());
    }
    let claim = world.create_claim(NewClaim {
        pool: NodePoolId(0),
        requirements: Default::default(),
        instance_types: vec![typed],
        requests: Resources::default(),
        labels: labels.clone(),
    });
    let instance = world.launch_instance(Some(claim), typed, zone, CapacityType::OnDemand, entry.offerings[1].price);
    world.launch_claim(claim, instance, labels.clone());
    let node = world.create_node(NewNode {
        name: world.claim(claim).name.clone(),
        labels,
        taints: vec![],
        allocatable: entry.allocatable.clone(),
        capacity: entry.capacity.clone(),
        claim: Some(claim),
        instance: Some(instance),
        zone: Some(zone),
    });
    world.set_node_readiness(node, NodeReadiness::Ready);
    world.register_claim(claim);
    world.initialize_claim(claim);
    world.set_consolidatable(claim, true);
    for number in 0..PODS_A_NODE {
        let ordinal = index as u32 * PODS_A_NODE + number + 1;
        let template = TemplateId(0);
        let pod = world.create_pod(NewPod { template, owner: Owner::Bare, ordinal, pinned: None, name: None });
        world.bind_pod(pod, node);
    }
}

fn pass(plan: &Plan, world: &World, catalog: &Catalog) -> usize {
    let (nodes, held, notes) = (state_nodes(plan, world), BTreeSet::new(), &mut Notes::default());
    let scene = Scene { plan, world, catalog, nodes: &nodes, held: &held, memo: &Default::default() };
    let mut moves = 0;
    for method in [Method::Emptiness, Method::MultiNode, Method::SingleNode] {
        let mut found = prospect(scene, method, notes);
        let budgets = remaining(world, method.budget_reason(), notes);
        moves +=
            decide(scene, method, &mut found, budgets, &BTreeSet::new(), notes).map_or(0, |found| found.moves.len());
    }
    moves
}

fn consolidation(criterion: &mut Criterion) {
    let (plan, world) = cluster();
    let catalog = Catalog::of(&plan);
    assert_eq!(pass(&plan, &world, &catalog), 0, "every node has to be looked at");
    let mut group = criterion.benchmark_group("disruption");
    group.sample_size(10);
    group.bench_function("pass over 500 nodes", |bencher| bencher.iter(|| black_box(pass(&plan, &world, &catalog))));
    group.finish();
}

criterion_group!(benches, consolidation);
criterion_main!(benches);
