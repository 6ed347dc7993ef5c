//! The state at the start of a run: nodes that are Ready, Deployments whose pods run, targets that are healthy.
//!
//! In: the plan. Out: a world in which everything that the plan says exists has existed for `Plan::initial_age`: nodes
//! joined and initialised, pods of DaemonSets and Deployments placed by the scheduler's own decision and Ready, their
//! images on their nodes, endpoints written, targets registered, healthy and in service. A pod that fits nowhere stays
//! Pending; the scheduler finds it when it starts.
//!
//! It runs before any component and may therefore use what they decide with; nothing else may.

use super::kubernetes::{daemon_set, endpoint_slice, scheduler, stateful_set};
use crate::plan::{Applied, DaemonSetId, DeploymentId, InitialNode, Plan, ServiceId, TargetPort, TemplateId};
use crate::rules::labels::Labels;
use crate::rules::requirements::Requirements;
use crate::world::{
    ContainerStatus, DeploymentStatus, NewClaim, NewNode, NewPod, NodeId, NodeReadiness, Owner, PodId, PodPhase,
    Process, TargetReason, TargetState, World,
};
use std::sync::Arc;

/// Fills the world with the initial state.
pub fn populate(plan: &Plan, world: &mut World) {
    world.now = plan.start.back(plan.initial_age);
    let mut daemons = vec![0; plan.daemon_sets.len()];
    let there = (0..plan.nodes.len()).filter(|&index| !plan.is_applied_later(Applied::Node(index)));
    let nodes: Vec<NodeId> = there.map(|index| join(plan, world, &plan.nodes[index])).collect();
    for &node in &nodes {
        for (index, count) in daemons.iter_mut().enumerate() {
            if !world.absent_daemon_sets.contains(&DaemonSetId::at(index)) {
                run_daemon(world, DaemonSetId::at(index), node, count);
            }
        }
    }
    for (ordinal, (index, pod)) in (1..).zip(plan.pods.iter().enumerate()) {
        if plan.is_applied_later(Applied::Pod(index)) {
            continue;
        }
        let new = NewPod {
            template: pod.template,
            owner: Owner::Bare,
            ordinal,
            pinned: None,
            name: Some(pod.name.as_str().into()),
        };
        let id = world.create_pod(new);
        if let Some(&node) = pod.node.and_then(|index| nodes.get(index)) {
            run_pod(world, id, node);
        }
    }
    let mut placer = scheduler::Placer::new(world);
    for index in 0..plan.deployments.len() {
        if !world.deployments[index].exists {
            continue;
        }
        run_deployment(plan, world, DeploymentId::at(index), &mut placer);
    }
    for index in 0..plan.services.len() {
        publish(plan, world, ServiceId::at(index));
    }
    for binding in &plan.bindings {
        register(plan, world, binding);
    }
}

/// A node that joined long ago: its claim, its instance, its object.
fn join(plan: &Plan, world: &mut World, initial: &InitialNode) -> NodeId {
    let kind = initial.instance_type.map(|id| (id, plan.instance_type(id).clone()));
    let mut labels = Labels::new();
    if let Some((_, kind)) = &kind {
        labels.merge(kind.labels.clone());
        labels.insert("node.kubernetes.io/instance-type", kind.name.as_str());
        labels.insert("karpenter.sh/capacity-type", initial.capacity_type.name());
    }
    if let Some(zone) = initial.zone {
        labels.insert("topology.kubernetes.io/zone", plan.zones[zone.index()].as_str());
        labels.insert("topology.kubernetes.io/region", plan.region.as_str());
    }
    let taints = initial.taints.clone();
    let mut claim = None;
    if let Some(pool) = initial.node_pool {
        let spec = plan.node_pools[pool.index()].clone();
        labels.merge(spec.labels.clone());
        labels.insert("karpenter.sh/nodepool", spec.name.as_str());
        labels.insert("karpenter.sh/registered", "true");
        labels.insert("karpenter.sh/initialized", "true");
        claim = Some(world.create_claim(NewClaim {
            pool,
            requirements: Requirements::of(&spec.requirements),
            instance_types: kind.iter().map(|(id, _)| *id).collect(),
            requests: Default::default(),
            labels: labels.clone(),
        }));
    }
    labels.insert("kubernetes.io/hostname", initial.name.as_str());
    labels.merge(initial.labels.clone());
    let instance = kind.as_ref().zip(initial.zone).map(|((id, kind), zone)| {
        let same = |offering: &&crate::plan::Offering| {
            offering.zone == zone && offering.capacity_type == initial.capacity_type
        };
        let price = kind.offerings.iter().find(same).map_or_else(Default::default, |offering| offering.price);
        world.launch_instance(claim, *id, zone, initial.capacity_type, price)
    });
    if let (Some(claim), Some(instance)) = (claim, instance) {
        world.launch_claim(claim, instance, Labels::new());
    }
    let capacity = kind.as_ref().map(|(_, kind)| kind.capacity.clone());
    let allocatable = initial.allocatable.clone().or_else(|| kind.as_ref().map(|(_, kind)| kind.allocatable.clone()));
    let allocatable = allocatable.unwrap_or_default();
    let node = world.create_node(NewNode {
        name: initial.name.as_str().into(),
        labels,
        taints,
        capacity: capacity.unwrap_or_else(|| allocatable.clone()),
        allocatable,
        claim,
        instance,
        zone: initial.zone,
    });
    world.set_node_readiness(node, NodeReadiness::Ready);
    world.set_unschedulable(node, initial.unschedulable);
    if let Some(claim) = claim {
        world.register_claim(claim);
        world.initialize_claim(claim);
        world.note_pod_event(claim);
    }
    node
}

/// The DaemonSet's pod on a node, if it belongs there.
fn run_daemon(world: &mut World, id: DaemonSetId, node: NodeId, count: &mut u32) {
    let template_id = world.daemon_sets[id.index()].template;
    let template = world.template(template_id).clone();
    if !daemon_set::should_run(world.node(node), &template) {
        return;
    }
    let owner = Owner::DaemonSet(id);
    *count += 1;
    let ordinal = *count;
    let pod = world.create_pod(NewPod { template: template_id, owner, ordinal, pinned: Some(node), name: None });
    run_pod(world, pod, node);
}

/// A Deployment whose only ReplicaSet has all its pods.
fn run_deployment(plan: &Plan, world: &mut World, deployment: DeploymentId, placer: &mut scheduler::Placer) {
    let spec = world.deployments[deployment.index()].spec.clone();
    let ordinal = spec.ordinal();
    let set = world.create_replica_set(deployment, if ordinal.is_some() { 0 } else { spec.replicas });
    let mut ready = 0;
    for index in 0..spec.replicas.max(0) {
        let pod = match ordinal {
            Some(ordinal) => {
                let name = stateful_set::pod_name(world, deployment, ordinal.start + index as u32);
                create_replica(world, set, spec.template, Some(name.into()))
            }
            None => create_replica(world, set, spec.template, None),
        };
        if let Some(node) = placer.place(plan, world, pod) {
            run_pod(world, pod, node);
            ready += 1;
        }
    }
    let (replicas, available) = (spec.replicas, ready);
    if ordinal.is_some() {
        world.set_current_revision(deployment, set);
    }
    let status = crate::world::ReplicaSetStatus { replicas, ready, available, observed_generation: 1, failure: None };
    world.set_replica_set_status(set, status);
    let counted = DeploymentStatus { replicas, updated: replicas, ready, available, ..DeploymentStatus::default() };
    world.set_deployment_status(deployment, 1, counted);
}

fn create_replica(
    world: &mut World,
    set: crate::world::ReplicaSetId,
    template: TemplateId,
    name: Option<Arc<str>>,
) -> PodId {
    let ordinal = world.replica_sets[set.index()].pods.len() as u32 + 1;
    world.create_pod(NewPod { template, owner: Owner::ReplicaSet(set), ordinal, pinned: None, name })
}

/// Binds a pod and makes it Ready, as if the kubelet had done its work.
fn run_pod(world: &mut World, pod: PodId, node: NodeId) {
    world.bind_volumes(pod, node);
    world.bind_pod(pod, node);
    for claim in world.attachable_claims(&world.template_of(pod).clone()) {
        if world.attachment(&claim, node).is_none() {
            let attachment = world.create_attachment(claim, node);
            world.note_attached(attachment);
        }
    }
    world.set_start_time(pod);
    world.assign_address(pod);
    let template = world.template_of(pod).clone();
    let images = template.init_containers.iter().chain(&template.containers).filter_map(|container| container.image_id);
    for image in images {
        world.add_node_image(node, image);
    }
    let sidecars = template.init_containers.iter().map(|container| container.restartable);
    let runs: Vec<bool> = sidecars.chain(template.containers.iter().map(|_| true)).collect();
    let now = world.now;
    for (index, runs) in runs.into_iter().enumerate() {
        if runs {
            let status = ContainerStatus { running_since: Some(now), started: true, ready: true, restarts: 0 };
            world.set_container(pod, index, status);
        }
    }
    world.set_pod_phase(pod, PodPhase::Running);
    world.set_process(pod, Process::Answering);
    world.set_containers_ready(pod, true);
    for gate in 0..template.readiness_gates.len() {
        world.set_gate(pod, gate, true);
    }
    world.set_pod_ready(pod, true);
}

/// The slices that the EndpointSlice controller would have written.
fn publish(plan: &Plan, world: &mut World, service: ServiceId) {
    let spec = world.services[service.index()].clone();
    if spec.selector.is_none() || spec.external_name {
        return;
    }
    let selected = |pod: &PodId| spec.selects(world.template_of(*pod));
    let pods: Vec<PodId> = world.living.iter().filter(selected).collect();
    let most = plan.flags.controllers.endpoints_per_slice as usize;
    let (writes, _) = endpoint_slice::reconcile::reconcile(&plan.zones, world, &spec, &pods, &[], most.max(1));
    world.write_slices(service, writes);
}

/// The targets that the load balancer controller would have registered, healthy and in service.
fn register(plan: &Plan, world: &mut World, binding: &crate::plan::TargetGroupBindingSpec) {
    if binding.instance_targets {
        for (node, pod, port) in super::aws::target_group::initial_nodes(plan, world, binding) {
            let target = world.register_node_target(binding.target_group, node, pod, port);
            world.set_target_state(target, TargetState::Healthy, TargetReason::None);
            world.set_routable(target, true);
            world.note_in_service(target);
        }
        return;
    }
    let of_binding = |service: &std::sync::Arc<crate::plan::ServiceSpec>| {
        service.namespace == binding.namespace && service.name == binding.service_name
    };
    let Some(service) = plan.services.iter().position(of_binding) else { return };
    let spec = &plan.services[service];
    let wanted = |port: &&crate::plan::ServicePort| {
        port.name == binding.service_port || port.port.to_string() == binding.service_port
    };
    let Some(port) = spec.ports.iter().find(wanted).or(spec.ports.first()) else { return };
    for endpoint in world.endpoints[service].clone() {
        let number = match &port.target {
            TargetPort::Number(number) => Some(*number),
            TargetPort::Name(name) => {
                let template = world.template_of(endpoint.pod);
                let ports = template.containers.iter().flat_map(|container| &container.ports);
                ports.into_iter().find(|port| port.name == *name).map(|port| port.port)
            }
        };
        if let (true, Some(number)) = (endpoint.ready, number) {
            let target = world.register_target(binding.target_group, endpoint.pod, endpoint.address, number);
            world.set_target_state(target, TargetState::Healthy, TargetReason::None);
            world.set_routable(target, true);
            world.note_in_service(target);
        }
    }
}
