//! Small plans for the tests of these components.

use crate::engine::{Span, Time};
use crate::plan::*;
use crate::rules::labels::{LabelSelector, Labels};
use crate::rules::quantity::{Bytes, Millicores};
use crate::rules::requirement::{NodeOperator, NodeRequirement};
use crate::rules::requirements::Requirements;
use crate::rules::resources::Resources;
use crate::world::{ClaimId, NewClaim, NewNode, NewPod, NodeReadiness, Owner, PodId, World};
use std::sync::Arc;

pub fn template(cpu: i64, mebibytes: i64) -> PodTemplate {
    let requests = Resources { pods: 1, ..Resources::cpu_memory(Millicores(cpu), Bytes(mebibytes << 20)) };
    PodTemplate { requests, ..PodTemplate::default() }
}

fn instance_type(name: &str, cpu: i64, memory: i64, slots: i64, dollars: f64) -> InstanceType {
    let offering = |zone, capacity_type, factor| Offering {
        zone: ZoneId(zone),
        capacity_type,
        price: MicroDollars::from_dollars(dollars * factor),
        available: true,
        reservation: None,
    };
    let resources = |cpu| Resources { pods: slots, ..Resources::cpu_memory(Millicores(cpu), Bytes(memory << 20)) };
    InstanceType {
        name: name.to_string(),
        labels: Labels::from([("kubernetes.io/arch".to_string(), "amd64".to_string())]),
        requirements: vec![],
        capacity: resources(cpu + 70),
        allocatable: resources(cpu),
        offerings: vec![
            offering(0, CapacityType::Spot, 0.4),
            offering(0, CapacityType::OnDemand, 1.0),
            offering(1, CapacityType::Spot, 0.4),
            offering(1, CapacityType::OnDemand, 1.0),
        ],
        network_interfaces: 3,
        addresses_per_interface: 6,
        network_mbps: 256,
        burst_baseline_millis: 200,
        vcpus: 2,
        spot_price_is_estimate: true,
    }
}

/// Two zones, three types, one pool, on demand; template 0 asks for half a core.
pub fn small_plan() -> Plan {
    let mut plan = Plan::empty(Time::from_unix_seconds(1_700_000_000), Span::from_secs(3600));
    plan.zones = vec!["a".to_string(), "b".to_string()];
    plan.instance_types = vec![
        Arc::new(instance_type("t3.medium", 1_930, 3_246, 17, 0.0416)),
        Arc::new(instance_type("t3.large", 1_930, 6_837, 35, 0.0832)),
        Arc::new(instance_type("t3.xlarge", 3_920, 14_162, 58, 0.1664)),
    ];
    plan.templates.push(Arc::new(template(500, 512)));
    pool(&mut plan, "default", 0);
    plan
}

pub fn pool(plan: &mut Plan, name: &str, weight: i32) -> NodePoolId {
    plan.node_pools.push(Arc::new(NodePoolSpec {
        name: name.to_string(),
        labels: Labels::new(),
        annotations: Labels::new(),
        requirements: vec![NodeRequirement::new("karpenter.sh/capacity-type", NodeOperator::In, &["on-demand"])],
        taints: vec![],
        startup_taints: vec![],
        node_class_name: "default".to_string(),
        node_class: None,
        expire_after: None,
        termination_grace_period: None,
        limits: None,
        weight,
        replicas: None,
        consolidation_policy: ConsolidationPolicy::WhenEmptyOrUnderutilized,
        consolidate_after: Some(Span::ZERO),
        budgets: vec![Budget { nodes: "100%".to_string(), schedule: None, duration: None, reasons: None }],
        v1beta1: false,
        usable: true,
    }));
    plan.pool_types.push((0..plan.instance_types.len()).map(InstanceTypeId::at).collect());
    NodePoolId::at(plan.node_pools.len() - 1)
}

pub fn edit_pool(plan: &mut Plan, edit: impl FnOnce(&mut NodePoolSpec)) {
    edit(Arc::make_mut(&mut plan.node_pools[0]));
}

pub fn only_type(plan: &mut Plan, name: &str, cpu: i64, slots: i64) {
    plan.instance_types = vec![Arc::new(instance_type(name, cpu, 64_000, slots, 0.5))];
    plan.pool_types = vec![vec![InstanceTypeId(0)]];
}

pub fn add_template(plan: &mut Plan, template: PodTemplate) -> TemplateId {
    plan.templates.push(Arc::new(template));
    TemplateId::at(plan.templates.len() - 1)
}

pub fn add_daemon_set(plan: &mut Plan, template: TemplateId) {
    let spec = DaemonSetSpec { namespace: "default".to_string(), name: "agent".to_string(), template };
    plan.daemon_sets.push(Arc::new(spec));
}

pub fn zone_spread(key: &str, value: &str) -> TopologySpread {
    TopologySpread {
        max_skew: 1,
        topology_key: "topology.kubernetes.io/zone".to_string(),
        hard: true,
        selector: Some(LabelSelector::from_labels(&Labels::from([(key.to_string(), value.to_string())]))),
        min_domains: None,
        honor_affinity: true,
        honor_taints: false,
        match_label_keys: vec![],
    }
}

pub fn zone_repulsion(key: &str, value: &str) -> PodAffinityTerm {
    PodAffinityTerm {
        selector: Some(LabelSelector::from_labels(&Labels::from([(key.to_string(), value.to_string())]))),
        namespaces: vec![],
        namespace_selector: None,
        topology_key: "topology.kubernetes.io/zone".to_string(),
    }
}

/// Unschedulable pods of a template.
pub fn pods(world: &mut World, template: TemplateId, count: u32) -> Vec<PodId> {
    let first = u32::try_from(world.pods.len()).unwrap_or(0);
    (0..count)
        .map(|index| {
            let ordinal = first + index + 1;
            let pod = world.create_pod(NewPod { template, owner: Owner::Bare, ordinal, pinned: None, name: None });
            world.mark_unschedulable(pod, 0);
            pod
        })
        .collect()
}

/// An initialised, consolidatable node of pool 0 with pods of template 0.
pub fn node(plan: &Plan, world: &mut World, name: &str, kind: CapacityType, count: u32) -> ClaimId {
    let entry = plan.instance_types.iter().position(|entry| entry.name == name).expect("a type of the plan");
    let instance_type = InstanceTypeId::at(entry);
    let entry = plan.instance_type(instance_type);
    let offering = entry.offerings.iter().find(|offering| offering.capacity_type == kind).expect("offered");
    let mut labels = entry.labels.clone();
    for (key, value) in [
        ("node.kubernetes.io/instance-type", name),
        ("topology.kubernetes.io/zone", plan.zones[offering.zone.index()].as_str()),
        ("karpenter.sh/capacity-type", kind.name()),
        ("karpenter.sh/nodepool", plan.node_pools[0].name.as_str()),
    ] {
        labels.insert(key, value);
    }
    let claim = world.create_claim(NewClaim {
        pool: NodePoolId(0),
        requirements: Requirements::new(),
        instance_types: vec![instance_type],
        requests: Resources::default(),
        labels: labels.clone(),
    });
    let instance = world.launch_instance(Some(claim), instance_type, offering.zone, kind, offering.price);
    world.launch_claim(claim, instance, labels.clone());
    let node = world.create_node(NewNode {
        name: world.claim(claim).name.clone(),
        labels,
        taints: vec![],
        allocatable: entry.allocatable.clone(),
        capacity: entry.capacity.clone(),
        claim: Some(claim),
        instance: Some(instance),
        zone: Some(offering.zone),
    });
    world.set_node_readiness(node, NodeReadiness::Ready);
    world.register_claim(claim);
    world.initialize_claim(claim);
    world.set_consolidatable(claim, true);
    for pod in pods(world, TemplateId(0), count) {
        world.bind_pod(pod, node);
    }
    claim
}
