//! Every change of the world in words: the rows of `events.csv`.

use crate::world::{
    Change, ClaimId, DeploymentReason, InstanceId, NodeId, Owner, PodId, ReplicaSetId, TargetId, World,
};

/// A change in words.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Row {
    /// Who changes it, or whose object it is.
    pub component: &'static str,
    /// The object, `kind/name`.
    pub object: String,
    /// What happened.
    pub what: &'static str,
    /// The value before, where it is known.
    pub from: String,
    /// The value after.
    pub to: String,
    /// Why.
    pub reason: String,
}

impl Row {
    fn new(component: &'static str, object: String, what: &'static str) -> Row {
        Row { component, object, what, ..Row::default() }
    }

    fn to(self, to: impl ToString) -> Row {
        Row { to: to.to_string(), ..self }
    }

    fn from(self, from: impl ToString) -> Row {
        Row { from: from.to_string(), ..self }
    }

    fn because(self, reason: impl ToString) -> Row {
        Row { reason: reason.to_string(), ..self }
    }
}

/// Describes a change. `world` is the world at the end of the run: only names are read from it.
pub fn describe(change: Change, world: &World) -> Row {
    match change {
        Change::DeploymentChanged(_)
        | Change::DeploymentScaled { .. }
        | Change::DeploymentStatus(..)
        | Change::ReplicaSetCreated(_)
        | Change::ReplicaSetScaled { .. }
        | Change::ReplicaSetStatus(_)
        | Change::ReplicaSetChanged(_)
        | Change::ReplicaSetGone(_)
        | Change::PodRefused(_)
        | Change::HpaSynced(_)
        | Change::HpaChanged(_)
        | Change::PdbChanged(_)
        | Change::PdbStatus(_) => workload(change, world),
        Change::DaemonSetChanged(set, exists) => {
            let name = format!("daemonset/{}", world.daemon_sets[set.index()].name);
            Row::new("operator", name, if exists { "applied" } else { "deleted" })
        }
        Change::PodCreated(pod) => {
            let component = match (world.pod(pod).owner, world.stateful_set_of(pod)) {
                (Owner::ReplicaSet(_), Some(_)) => "statefulset",
                (Owner::ReplicaSet(_), None) => "replicaset",
                (Owner::DaemonSet(_), _) => "daemonset",
                (Owner::Bare, _) => "operator",
            };
            Row::new(component, pod_name(world, pod), "created")
        }
        Change::PodUnschedulable(pod) => Row::new("scheduler", pod_name(world, pod), "unschedulable"),
        Change::PodUnschedulableMessage(pod) => Row::new("scheduler", pod_name(world, pod), "still unschedulable"),
        Change::PodNominated(pod) => Row::new("scheduler", pod_name(world, pod), "nominated"),
        Change::PodBound(pod) => {
            let node = world.pod(pod).node.map(|node| world.node(node).name.to_string());
            Row::new("scheduler", pod_name(world, pod), "bound").to(node.unwrap_or_default())
        }
        Change::PodAddress(_)
        | Change::PodSandboxFailed(_)
        | Change::ImagePulling(_)
        | Change::ImagePulled(_)
        | Change::ContainerStarted(..)
        | Change::ContainerStopped(..)
        | Change::PodProcess(..)
        | Change::PodPhase(..)
        | Change::PodContainersReady(..)
        | Change::PodGate(..)
        | Change::PodChanged(_)
        | Change::PodReady(..) => on_node(change, world),
        Change::PodDeleting(pod, cause) => {
            Row::new("apiserver", pod_name(world, pod), "deletion requested").because(cause.name())
        }
        Change::PodDeletionFailed(pod) => Row::new("replicaset", pod_name(world, pod), "deletion failed"),
        Change::PodGone(pod) => Row::new("apiserver", pod_name(world, pod), "gone"),
        Change::ServiceChanged(_)
        | Change::EndpointsChanged(_)
        | Change::TargetRegistered(_)
        | Change::TargetStateChanged(..)
        | Change::TargetRoutable(..)
        | Change::TargetWeight(..)
        | Change::TargetInService(_)
        | Change::TargetGone(_) => traffic(change, world),
        Change::VolumeAttached(_)
        | Change::VolumeDetached(_)
        | Change::NodeCreated(_)
        | Change::NodeReady(..)
        | Change::NodeConditions(_)
        | Change::NodeProblem(..)
        | Change::NodeThrottled(..)
        | Change::NodeTaints(_)
        | Change::NodeLabels(_)
        | Change::NodeDeleting(_)
        | Change::NodeGone(_)
        | Change::NodeAlive(..) => node(change, world),
        Change::NodePoolChanged(_)
        | Change::BatchClosed(_)
        | Change::ClaimCreated(_)
        | Change::ClaimLaunched(_)
        | Change::ClaimNoCapacity(_)
        | Change::ClaimThrottled(_)
        | Change::ClaimRegistered(_)
        | Change::ClaimInitialized(_)
        | Change::ClaimConsolidatable(..)
        | Change::ClaimDrifted(..)
        | Change::ClaimPodEvent(_)
        | Change::ClaimDisrupted(..)
        | Change::ClaimReleased(_)
        | Change::ClaimRebalance(_)
        | Change::ClaimDeleting(..)
        | Change::ClaimDrained(_)
        | Change::ClaimGone(_) => claim(change, world),
        Change::InstanceLaunched(_)
        | Change::InstanceInterrupted(_)
        | Change::InstanceRebalance(_)
        | Change::InstanceShuttingDown(_)
        | Change::InstanceTerminated(_)
        | Change::CapacityChanged(..)
        | Change::SpotPrice(..)
        | Change::AlarmChanged(..)
        | Change::ActionDone(_)
        | Change::FaultChanged(..)
        | Change::LoadChanged(_) => outside(change, world),
    }
}

fn outside(change: Change, world: &World) -> Row {
    match change {
        Change::InstanceLaunched(instance) => {
            let entry = &world.instances[instance.index()];
            Row::new("ec2", instance_name(instance), "launched").because(entry.capacity_type.name())
        }
        Change::InstanceInterrupted(instance) => {
            Row::new("ec2", instance_name(instance), "interruption notice").because("spot")
        }
        Change::InstanceRebalance(instance) => {
            Row::new("ec2", instance_name(instance), "rebalance recommendation").because("spot")
        }
        Change::InstanceShuttingDown(instance) => {
            Row::new("ec2", instance_name(instance), "state").from("running").to("shutting-down")
        }
        Change::InstanceTerminated(instance) => {
            Row::new("ec2", instance_name(instance), "state").from("shutting-down").to("terminated")
        }
        Change::CapacityChanged(pool, sells) => {
            let (from, to) = if sells { ("none", "available") } else { ("available", "none") };
            let name = world.capacity_pools[pool.index()].name.replace(' ', "/");
            Row::new("ec2", format!("pool/{name}"), "capacity").from(from).to(to)
        }
        Change::SpotPrice(id, price) => {
            let name = &world.prices.get(id).name;
            Row::new("ec2", format!("spot/{name}"), "price").to(format!("{:.4}", price.dollars()))
        }
        Change::AlarmChanged(alarm, state) => {
            Row::new("cloudwatch", format!("alarm/{}", alarm.index()), "state").to(state.name())
        }
        Change::ActionDone(action) => Row::new("operator", format!("action/{}", action.index() + 1), "carried out"),
        Change::LoadChanged(app) => Row::new("operator", format!("app/{}", app.index() + 1), "load replaced"),
        Change::FaultChanged(fault, active) => {
            let what = if active { "begins" } else { "ends" };
            Row::new("fault", format!("fault/{}", fault.index() + 1), what)
        }
        other => unreachable_row(other),
    }
}

fn pod_name(world: &World, pod: PodId) -> String {
    format!("pod/{}", world.pod_name(pod))
}

fn node_name(world: &World, node: NodeId) -> String {
    format!("node/{}", world.node(node).name)
}

fn claim_name(world: &World, claim: ClaimId) -> String {
    format!("nodeclaim/{}", world.claim(claim).name)
}

fn instance_name(instance: InstanceId) -> String {
    format!("instance/{}", instance.index() + 1)
}

fn target_name(world: &World, target: TargetId) -> String {
    let entry = &world.targets[target.index()];
    format!("target/{}:{}", entry.address, entry.port)
}

/// The controller that writes a ReplicaSet or a revision of a StatefulSet.
fn maker(world: &World, set: ReplicaSetId) -> &'static str {
    let owner = world.replica_sets[set.index()].deployment;
    owner.map_or("deployment", |id| world.deployments[id.index()].spec.word())
}

fn workload(change: Change, world: &World) -> Row {
    let deployment = |id: crate::plan::DeploymentId| {
        let spec = &world.deployments[id.index()].spec;
        format!("{}/{}", spec.word(), spec.name)
    };
    match change {
        Change::DeploymentChanged(id) => Row::new("operator", deployment(id), "changed"),
        Change::DeploymentScaled { deployment: id, from, to, by } => {
            let hpa = by.map(|hpa| format!("hpa/{}", world.hpas[hpa.index()].spec.name));
            let component = if by.is_some() { "hpa" } else { "operator" };
            Row::new(component, deployment(id), "scaled").from(from).to(to).because(hpa.unwrap_or_default())
        }
        Change::DeploymentStatus(id, reason) => {
            let component = world.deployments[id.index()].spec.word();
            Row::new(component, deployment(id), "status").because(reason.map_or("", DeploymentReason::name))
        }
        Change::ReplicaSetCreated(set) => Row::new(maker(world, set), set_name(world, set), "created"),
        Change::ReplicaSetScaled { replica_set, from, to } => {
            Row::new("deployment", set_name(world, replica_set), "scaled").from(from).to(to)
        }
        Change::ReplicaSetChanged(set) => Row::new("deployment", set_name(world, set), "spec changed"),
        Change::ReplicaSetStatus(set) => Row::new("replicaset", set_name(world, set), "status"),
        Change::ReplicaSetGone(set) => Row::new("deployment", set_name(world, set), "gone"),
        Change::PodRefused(set) => Row::new("replicaset", set_name(world, set), "pod refused"),
        Change::HpaSynced(hpa) => Row::new("hpa", format!("hpa/{}", world.hpas[hpa.index()].spec.name), "synced"),
        Change::HpaChanged(hpa) => {
            Row::new("operator", format!("hpa/{}", world.hpas[hpa.index()].spec.name), "changed")
        }
        Change::PdbChanged(pdb) => {
            Row::new("operator", format!("pdb/{}", world.pdbs[pdb.index()].spec.name), "changed")
        }
        Change::PdbStatus(pdb) => {
            Row::new("disruption", format!("pdb/{}", world.pdbs[pdb.index()].spec.name), "status")
        }
        other => unreachable_row(other),
    }
}

fn set_name(world: &World, set: ReplicaSetId) -> String {
    let kind = if maker(world, set) == "statefulset" { "controllerrevision" } else { "replicaset" };
    format!("{kind}/{}", world.replica_set_name(set))
}

fn on_node(change: Change, world: &World) -> Row {
    let kubelet = |pod, what| Row::new("kubelet", pod_name(world, pod), what);
    let container = |pod: PodId, index: u16| {
        let template = world.template_of(pod);
        let all = template.init_containers.iter().chain(&template.containers);
        all.map(|container| container.name.clone()).nth(usize::from(index)).unwrap_or_else(|| index.to_string())
    };
    match change {
        Change::PodAddress(pod) => {
            let address = world.pod(pod).address.map(|address| address.to_string());
            kubelet(pod, "address").to(address.unwrap_or_default())
        }
        Change::PodSandboxFailed(pod) => kubelet(pod, "sandbox failed").because("no free address"),
        Change::ImagePulling(pod) => kubelet(pod, "pulling images"),
        Change::ImagePulled(pod) => kubelet(pod, "images pulled"),
        Change::ContainerStarted(pod, index) => kubelet(pod, "container started").to(container(pod, index)),
        Change::ContainerStopped(pod, index) => kubelet(pod, "container stopped").from(container(pod, index)),
        Change::PodProcess(pod, process) => {
            Row::new("application", pod_name(world, pod), "process").to(format!("{process:?}").to_lowercase())
        }
        Change::PodPhase(pod, phase) => kubelet(pod, "phase").to(phase.name()),
        Change::PodContainersReady(pod, ready) => kubelet(pod, "ContainersReady").to(condition(ready)),
        Change::PodGate(pod, value) => {
            Row::new("load balancer controller", pod_name(world, pod), "readiness gate").to(condition(value))
        }
        Change::PodReady(pod, ready) => kubelet(pod, "Ready").to(condition(ready)),
        other => unreachable_row(other),
    }
}

const fn condition(value: bool) -> &'static str {
    if value { "True" } else { "False" }
}

fn traffic(change: Change, world: &World) -> Row {
    let of_pod = |target: TargetId| pod_name(world, world.targets[target.index()].pod);
    let row = |component, target, what| Row::new(component, target_name(world, target), what).because(of_pod(target));
    match change {
        Change::ServiceChanged(service) => {
            Row::new("apiserver", format!("service/{}", world.services[service.index()].name), "spec changed")
        }
        Change::EndpointsChanged(service) => {
            Row::new("endpointslice", format!("service/{}", world.services[service.index()].name), "endpoints changed")
        }
        Change::TargetRegistered(target) => row("load balancer controller", target, "registered"),
        Change::TargetStateChanged(target, state) => row("load balancer", target, "state").to(state.name()),
        Change::TargetRoutable(target, true) => row("load balancer", target, "routed to"),
        Change::TargetRoutable(target, false) => row("load balancer", target, "no longer routed to"),
        Change::TargetWeight(target, nodes) => {
            row("load balancer", target, "load balancer nodes that hold it healthy").to(nodes.to_string())
        }
        Change::TargetInService(target) => row("load balancer", target, "first request"),
        Change::TargetGone(target) => row("load balancer", target, "gone"),
        other => unreachable_row(other),
    }
}

fn node(change: Change, world: &World) -> Row {
    let volume = |id: crate::world::AttachmentId| {
        let entry = &world.attachments[id.index()];
        let row = Row::new("attach-detach", format!("volume/{}", entry.claim.1), "");
        (row, world.node(entry.node).name.to_string())
    };
    match change {
        Change::VolumeAttached(id) => {
            let (row, node) = volume(id);
            Row { what: "attached", ..row }.to(node)
        }
        Change::VolumeDetached(id) => {
            let (row, node) = volume(id);
            Row { what: "detached", ..row }.from(node)
        }
        Change::NodeCreated(id) => Row::new("kubelet", node_name(world, id), "created"),
        Change::NodeProblem(id, problem, present) => {
            Row::new("node agent", node_name(world, id), problem.condition()).to(condition(!present))
        }
        Change::NodeThrottled(id, true) => Row::new("ec2", node_name(world, id), "held at its CPU baseline"),
        Change::NodeThrottled(id, false) => Row::new("ec2", node_name(world, id), "has CPU credits again"),
        Change::NodeConditions(id) => Row::new("kubelet", node_name(world, id), "status posted"),
        Change::NodeReady(id, readiness) => Row::new("kubelet", node_name(world, id), "Ready").to(readiness.name()),
        Change::NodeTaints(id) => Row::new("apiserver", node_name(world, id), "taints changed"),
        Change::NodeLabels(id) => Row::new("apiserver", node_name(world, id), "labels changed"),
        Change::NodeDeleting(id) => Row::new("apiserver", node_name(world, id), "deletion requested"),
        Change::NodeGone(id) => Row::new("apiserver", node_name(world, id), "gone"),
        Change::NodeAlive(id, true) => Row::new("ec2", node_name(world, id), "answers again"),
        Change::NodeAlive(id, false) => Row::new("ec2", node_name(world, id), "stopped answering"),
        other => unreachable_row(other),
    }
}

fn claim(change: Change, world: &World) -> Row {
    let row = |claim, what| Row::new("karpenter", claim_name(world, claim), what);
    match change {
        Change::NodePoolChanged(pool) => {
            Row::new("operator", format!("nodepool/{}", world.node_pools[pool.index()].name), "changed")
        }
        Change::BatchClosed(pods) => Row::new("karpenter", "provisioner".to_string(), "batch closed").to(pods),
        Change::ClaimCreated(id) => row(id, "created"),
        Change::ClaimLaunched(id) => row(id, "launched"),
        Change::ClaimNoCapacity(id) => row(id, "no capacity"),
        Change::ClaimThrottled(id) => row(id, "launch throttled").because("RequestLimitExceeded"),
        Change::ClaimRegistered(id) => row(id, "registered"),
        Change::ClaimInitialized(id) => row(id, "initialized"),
        Change::ClaimConsolidatable(id, value) => row(id, "Consolidatable").to(condition(value)),
        Change::ClaimDrifted(id, value) => row(id, "Drifted").to(condition(value)),
        Change::ClaimPodEvent(id) => row(id, "pod event"),
        Change::ClaimDisrupted(id, reason) => row(id, "disruption").because(reason.name()),
        Change::ClaimReleased(id) => row(id, "disruption given up"),
        Change::ClaimRebalance(id) => row(id, "event").to("SpotRebalanceRecommendation"),
        Change::ClaimDeleting(id, reason) => row(id, "deletion requested").because(reason.name()),
        Change::ClaimDrained(id) => row(id, "drained"),
        Change::ClaimGone(id) => row(id, "gone"),
        other => unreachable_row(other),
    }
}

/// The first match of [`describe`] is exhaustive and sends each change to the function that knows it.
fn unreachable_row(change: Change) -> Row {
    Row::new("kubelapse", format!("{change:?}"), "changed")
}
