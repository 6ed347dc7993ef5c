//! One plan of Karpenter's provisioner for 5 000 pending pods and 600 instance types: plain pods of one shape, and pods of
//! fifty shapes in three pools with spread, affinity and anti-affinity.

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use kubelapse::components::karpenter::cluster::Catalog;
use kubelapse::components::karpenter::provisioner::decide;
use kubelapse::engine::{Span, Time};
use kubelapse::manifest::{node_pool, pod};
use kubelapse::plan::{CapacityType, InstanceType, InstanceTypeId, MicroDollars, Offering, Plan, TemplateId, ZoneId};
use kubelapse::rules::labels::Labels;
use kubelapse::rules::quantity::{Bytes, Millicores};
use kubelapse::rules::resources::Resources;
use kubelapse::scenario::diagnostic::{FileId, Place, Problems};
use kubelapse::scenario::yaml::Node;
use kubelapse::world::{NewPod, Owner, World};
use serde_json::{Value, json};
use std::hint::black_box;
use std::sync::Arc;

const PODS: u32 = 5_000;
const TYPES: usize = 600;
const ZONE: &str = "topology.kubernetes.io/zone";
const HOST: &str = "kubernetes.io/hostname";

fn read<T>(value: &Value, reader: impl FnOnce(&Node, &mut Problems) -> Option<T>) -> T {
    let mut problems = Problems::new();
    reader(&Node::from_json(value, Place::top(FileId(0))), &mut problems).expect("a sound object")
}

fn instance_type(index: usize) -> InstanceType {
    let cpu = [2, 4, 8, 16, 32, 64][index % 6] as i64;
    let memory = cpu * [2, 4, 8][index / 6 % 3];
    let resources =
        |cpu, memory: i64| Resources { pods: 110, ..Resources::cpu_memory(Millicores(cpu), Bytes(memory << 20)) };
    let offerings = (0..3).flat_map(|zone| {
        [(CapacityType::Spot, 0.4), (CapacityType::OnDemand, 1.0)].map(|(capacity_type, factor)| Offering {
            zone: ZoneId(zone),
            capacity_type,
            price: MicroDollars::from_dollars((cpu as f64 * 0.04 + index as f64 * 1e-4) * factor),
            available: true,
            reservation: None,
        })
    });
    let family = format!("f{}", index / 6);
    let labels = [
        ("kubernetes.io/arch", if index.is_multiple_of(5) { "arm64" } else { "amd64" }.to_string()),
        ("kubernetes.io/os", "linux".to_string()),
        ("karpenter.k8s.aws/instance-category", ["c", "m", "r"][index / 6 % 3].to_string()),
        ("karpenter.k8s.aws/instance-generation", (index / 100 + 3).to_string()),
        ("karpenter.k8s.aws/instance-cpu", cpu.to_string()),
        ("karpenter.k8s.aws/instance-memory", (memory * 1024).to_string()),
        ("karpenter.k8s.aws/instance-family", family.clone()),
    ];
    InstanceType {
        name: format!("{family}.{cpu}"),
        labels: labels.into_iter().map(|(key, value)| (key.to_string(), value)).collect::<Labels>(),
        requirements: vec![],
        capacity: resources(cpu * 1000, memory * 1024),
        allocatable: resources(cpu * 1000 - 100, memory * 1024 - 900),
        offerings: offerings.collect(),
        network_interfaces: 4,
        addresses_per_interface: 30,
        network_mbps: 10_000,
        burst_baseline_millis: 0,
        vcpus: cpu as u32,
        spot_price_is_estimate: false,
    }
}

fn pool(name: &str, weight: i64, requirements: &Value) -> Value {
    let class = json!({"group": "karpenter.k8s.aws", "kind": "EC2NodeClass", "name": "default"});
    let spec = json!({"nodeClassRef": class, "requirements": requirements});
    json!({"metadata": {"name": name}, "spec": {"weight": weight, "template": {"spec": spec}}})
}

fn plan(pools: &[Value], pods: &[Value]) -> Plan {
    let mut plan = Plan::empty(Time::from_unix_seconds(946_684_800), Span::from_secs(3600));
    plan.zones = ["a", "b", "c"].map(String::from).to_vec();
    plan.instance_types = (0..TYPES).map(|index| Arc::new(instance_type(index))).collect();
    for written in pools {
        plan.node_pools.push(Arc::new(read(written, node_pool::read_node_pool)));
        plan.pool_types.push((0..TYPES).map(InstanceTypeId::at).collect());
    }
    plan.templates = pods.iter().map(|written| Arc::new(read(written, pod::read_pod))).collect();
    plan
}

fn pod_of(name: &str, cpu: usize, memory: usize, more: Value) -> Value {
    let requests = json!({"cpu": format!("{cpu}m"), "memory": format!("{memory}Mi")});
    let mut spec = json!({"containers": [{"name": "c", "image": "i", "resources": {"requests": requests}}]});
    if let (Some(spec), Value::Object(more)) = (spec.as_object_mut(), more) {
        spec.extend(more);
    }
    json!({"metadata": {"name": name, "labels": {"app": name}}, "spec": spec})
}

fn mixed_pod(index: usize) -> Value {
    let name = format!("app-{index}");
    let own = json!({"matchLabels": {"app": name}});
    let spread = |key: &str, skew: i64| {
        json!({"topologySpreadConstraints": [
            {"topologyKey": key, "maxSkew": skew, "whenUnsatisfiable": "DoNotSchedule", "labelSelector": own}]})
    };
    let term = |key: &str| json!([{"topologyKey": key, "labelSelector": own}]);
    let more = match index % 6 {
        0 => spread(ZONE, 1),
        1 => spread(HOST, 4),
        2 => json!({"affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": term(ZONE)}}}),
        3 if index == 3 => {
            json!({"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": term(HOST)}}})
        }
        4 => json!({"nodeSelector": {"kubernetes.io/arch": if index.is_multiple_of(4) { "arm64" } else { "amd64" }}}),
        _ => json!({}),
    };
    pod_of(&name, 100 + index * 37 % 1900, 128 + index * 211 % 4000, more)
}

fn world(plan: &Plan) -> World {
    let mut world = World::new(plan);
    for ordinal in 0..PODS {
        let template = TemplateId(ordinal % plan.templates.len() as u32);
        let pod = world.create_pod(NewPod { template, owner: Owner::Bare, ordinal, pinned: None, name: None });
        world.mark_unschedulable(pod, 0);
    }
    world
}

fn provisioner(criterion: &mut Criterion) {
    let any = json!([{"key": "kubernetes.io/arch", "operator": "In", "values": ["amd64", "arm64"]}]);
    let spot = json!([{"key": "karpenter.sh/capacity-type", "operator": "In", "values": ["spot"]},
        {"key": "karpenter.k8s.aws/instance-generation", "operator": "Gt", "values": ["4"]},
        {"key": "kubernetes.io/arch", "operator": "In", "values": ["amd64"]}]);
    let large = json!([{"key": "karpenter.k8s.aws/instance-cpu", "operator": "Gt", "values": ["8"]}]);
    let plain = plan(&[pool("default", 1, &any)], &[pod_of("web", 500, 512, json!({}))]);
    let pools = [pool("spot", 50, &spot), pool("large", 10, &large), pool("default", 1, &any)];
    let mixed = plan(&pools, &(0..50).map(mixed_pod).collect::<Vec<Value>>());
    let mut group = criterion.benchmark_group("plan for 5000 pods, 600 types");
    group.sample_size(10);
    for (name, plan) in [("plain", plain), ("mixed", mixed)] {
        let (world, catalog) = (world(&plan), Catalog::of(&plan));
        let (count, results) = decide(&plan, &world, &catalog);
        assert!(count == PODS && results.errors.is_empty(), "every pod finds a place");
        group.bench_function(BenchmarkId::from_parameter(name), |bencher| {
            bencher.iter(|| black_box(decide(&plan, &world, &catalog).1.claims.len()));
        });
    }
    group.finish();
}

criterion_group!(benches, provisioner);
criterion_main!(benches);
