//! Which change wakes which component, after what delay: the one place that knows two components at once.
//!
//! One function a watching component, each an exhaustive match over [`Change`] by what that component's real informers
//! watch; a table (`watchers.rs`) says which of them a change is shown to. A wake that is already on its way is not sent
//! twice: ten changes within one watch delay make one look.

mod on_the_way;
mod wakes;
mod watchers;

use super::Event;
use super::{aws, karpenter, kubernetes};
use crate::engine::{Queue, Random, Time};
use crate::plan::flags::CreditMode;
use crate::plan::{BindingId, DeploymentId, FaultKind, PdbId, Plan, PodTemplate, Program, ServiceId, ServiceSpec};
use crate::world::{
    Change, Node, NodeId, Owner, PodId, PodPhase, Process, ReplicaSetId, Routed, TargetId, TargetState, World,
};
use on_the_way::OnTheWay;
use std::sync::Arc;
use wakes::{Wake, Wakes};
use watchers::{Ask, Watcher, Watchers, ask_watchers};

/// Wakes that are on their way, and who watches what.
pub struct Wiring {
    on_the_way: OnTheWay,
    selections: Selections,
}

/// What of a plan decides whom a change wakes.
struct Selections {
    /// Services whose selector matches a template, by template.
    services_of_template: Vec<Vec<ServiceId>>,
    /// Bindings of a service.
    bindings_of_service: Vec<Vec<BindingId>>,
    /// Some pods may preempt others, or want host ports: the order of the scheduler's cache can matter.
    cache_matters: bool,
    /// Some binding registers nodes.
    nodes_are_targets: bool,
    /// Some load finds its pods by endpoints: behind nodes, or without a target group.
    endpoints_route: bool,
}

impl Wiring {
    /// Who watches what in this plan.
    pub fn new(plan: &Plan) -> Wiring {
        let services_of_template = services_of_templates(&plan.templates, &plan.services);
        let bindings_of_service = plan
            .services
            .iter()
            .map(|service| {
                let of = |binding: &&crate::plan::TargetGroupBindingSpec| {
                    binding.namespace == service.namespace && binding.service_name == service.name
                };
                let indices = plan.bindings.iter().enumerate().filter(|(_, binding)| of(binding));
                indices.map(|(index, _)| BindingId::at(index)).collect()
            })
            .collect();
        let priorities = plan.templates.iter().map(|template| template.priority);
        let has_ports = |template: &std::sync::Arc<crate::plan::PodTemplate>| {
            let containers = template.init_containers.iter().chain(&template.containers);
            containers.flat_map(|container| &container.ports).any(|port| port.host_port > 0)
        };
        let cache_matters = priorities.clone().min() != priorities.max() || plan.templates.iter().any(has_ports);
        let nodes_are_targets = plan.bindings.iter().any(|binding| binding.instance_targets);
        let endpoints_route = nodes_are_targets || plan.apps.iter().any(|app| app.target_group.is_none());
        let selections =
            Selections { services_of_template, bindings_of_service, cache_matters, nodes_are_targets, endpoints_route };
        Wiring { on_the_way: OnTheWay::default(), selections }
    }

    /// A wake has arrived: the next change sends a new one. `None`: the event is no wake.
    #[inline(always)]
    pub fn delivered(&mut self, event: &Event) -> Option<Wake> {
        let wake = Wake::of(event)?;
        self.on_the_way.remove(wake);
        Some(wake)
    }

    /// Sends the wakes of one change.
    #[inline(always)]
    pub fn wake(
        &mut self,
        change: Change,
        now: Time,
        (plan, world): (&Plan, &World),
        random: Option<&Random>,
        queue: &mut Queue<Event>,
    ) {
        if let Change::ServiceChanged(_) = change {
            self.selections.services_of_template = services_of_templates(&world.templates, &world.services);
            self.selections.bindings_of_service.resize_with(world.services.len(), Vec::new);
        }
        let (of, selections) = ((plan, world), &self.selections);
        let wakes = Wakes::new(change, now, of, random, queue, &mut self.on_the_way);
        ask_watchers(change, &mut Question { selections, change, of, wakes });
        debug_assert!(selections.others_sleep(change, of), "{change:?} wakes who does not watch it");
    }
}

/// Whom does this change wake?
struct Question<'a> {
    selections: &'a Selections,
    change: Change,
    of: (&'a Plan, &'a World),
    wakes: Wakes<'a>,
}

impl Ask for Question<'_> {
    #[inline(always)]
    fn ask(&mut self, watcher: Watcher) {
        self.selections.ask(watcher, self.change, self.of, &mut self.wakes);
    }
}

impl Selections {
    /// What one watcher makes of a change.
    #[inline(always)]
    fn ask(&self, watcher: Watcher, change: Change, (plan, world): (&Plan, &World), wakes: &mut Wakes) {
        match watcher {
            Watcher::Deployment => deployment(change, world, wakes),
            Watcher::ReplicaSet => replica_set(change, world, wakes),
            Watcher::StatefulSet => stateful_set(change, world, wakes),
            Watcher::DaemonSet => daemon_set(change, world, wakes),
            Watcher::Hpa => hpa(change, wakes),
            Watcher::MetricsServer => metrics_server(change, wakes),
            Watcher::Scheduler => scheduler(change, world, self.cache_matters, wakes),
            Watcher::Kubelet => kubelet(change, world, wakes),
            Watcher::EndpointSlice => self.endpoint_slice(change, world, wakes),
            Watcher::PodDisruption => pod_disruption(change, world, wakes),
            Watcher::NodeClaim => node_claim(change, world, wakes),
            Watcher::NodeLifecycle => node_lifecycle(change, plan, world, wakes),
            Watcher::AttachDetach => attach_detach(change, world, wakes),
            Watcher::Provisioner => provisioner(change, world, wakes),
            Watcher::Disruption => disruption(change, world, wakes),
            Watcher::Termination => termination(change, wakes),
            Watcher::NodeHealth => node_health(change, plan, wakes),
            Watcher::Interruption => interruption(change, wakes),
            Watcher::Fleet => fleet(change, wakes),
            Watcher::Instance => instance(change, wakes),
            Watcher::CpuCredits => cpu_credits(change, plan, wakes),
            Watcher::SpotMarket => spot_market(change, plan, wakes),
            Watcher::TargetGroup => self.target_group(change, plan, world, wakes),
            Watcher::Alb => alb(change, world, wakes),
            Watcher::Traffic => traffic(change, self.endpoints_route, (plan, world), wakes),
            Watcher::Service => service(change, wakes),
        }
    }

    /// Nobody else would be woken: what [`ask_watchers`] says is all.
    fn others_sleep(&self, change: Change, of: (&Plan, &World)) -> bool {
        let (mut queue, mut on_the_way, watchers) = (Queue::new(), OnTheWay::default(), Watchers::of(change));
        let mut wakes = Wakes::new(change, Time::ZERO, of, None, &mut queue, &mut on_the_way);
        let others = Watcher::ALL.iter().filter(|&&watcher| !watchers.has(watcher));
        others.for_each(|&watcher| self.ask(watcher, change, of, &mut wakes));
        queue.is_empty()
    }

    #[inline(always)]
    fn endpoint_slice(&self, change: Change, world: &World, wakes: &mut Wakes) {
        use kubernetes::endpoint_slice::Event as Slices;
        let event = match change {
            Change::ServiceChanged(service) => Slices::Service(service),
            // Its labels may have been others before.
            Change::PodChanged(pod) => Slices::Pod(pod),
            Change::PodReady(pod, false) if !has_run(world, pod) => return,
            Change::PodCreated(pod)
            | Change::PodReady(pod, _)
            | Change::PodAddress(pod)
            | Change::PodDeleting(pod, _)
            | Change::PodGone(pod)
                if !self.services_of_template[world.pod(pod).template.index()].is_empty() =>
            {
                Slices::Pod(pod)
            }
            _ => return,
        };
        wakes.after_watch(Event::EndpointSlice(event));
    }

    #[inline(always)]
    fn target_group(&self, change: Change, plan: &Plan, world: &World, wakes: &mut Wakes) {
        use aws::target_group::Event as Group;
        let is_bound = |service: &ServiceId| !self.bindings_of_service[service.index()].is_empty();
        let event = match change {
            Change::FaultChanged(fault, down) => {
                if plan.faults[fault.index()].kind == FaultKind::ControllerDown(Program::LoadBalancerController) {
                    wakes.at_once(Event::TargetGroup(if down { Group::Stopped } else { Group::Started }));
                }
                return;
            }
            Change::EndpointsChanged(service) if is_bound(&service) => Group::Endpoints(service),
            Change::PodContainersReady(pod, _) | Change::PodGone(pod)
                if self.services_of_template[world.pod(pod).template.index()].iter().any(is_bound) =>
            {
                Group::Pod(pod)
            }
            Change::NodeReady(node, _) | Change::NodeGone(node) if !plan.bindings.is_empty() => Group::Node(node),
            // Addresses ask of a node whether it is Ready, and no more: a new one is not.
            Change::NodeCreated(node) | Change::NodeTaints(node) | Change::NodeLabels(node)
                if self.nodes_are_targets =>
            {
                Group::Node(node)
            }
            _ => return,
        };
        wakes.after_watch(Event::TargetGroup(event));
    }
}

/// Services whose selector matches a template, by template.
fn services_of_templates(templates: &[Arc<PodTemplate>], services: &[Arc<ServiceSpec>]) -> Vec<Vec<ServiceId>> {
    let of = |template: &Arc<PodTemplate>| {
        let matching = services.iter().enumerate().filter(|(_, service)| service.selects(template));
        matching.map(|(index, _)| ServiceId::at(index)).collect()
    };
    templates.iter().map(of).collect()
}

/// A pod was Running at some time. Of any other it is news only to itself that it is not Ready: it was not before.
fn has_run(world: &World, pod: PodId) -> bool {
    world.pod(pod).phase != PodPhase::Pending
}

#[inline(always)]
fn deployment(change: Change, world: &World, wakes: &mut Wakes) {
    let deployment = match change {
        Change::DeploymentChanged(deployment)
        | Change::DeploymentScaled { deployment, .. }
        | Change::DeploymentStatus(deployment, _) => Some(deployment),
        Change::ReplicaSetCreated(set)
        | Change::ReplicaSetStatus(set)
        | Change::ReplicaSetChanged(set)
        | Change::ReplicaSetGone(set)
        | Change::ReplicaSetScaled { replica_set: set, .. } => world.replica_sets[set.index()].deployment,
        Change::PodGone(pod) => world.deployment_of(pod).filter(|&deployment| waits_for_pods(world, deployment)),
        _ => None,
    };
    let is_one = |id: &DeploymentId| world.deployments[id.index()].spec.ordinal().is_none();
    if let Some(deployment) = deployment.filter(is_one) {
        wakes.after_watch(Event::Deployment(kubernetes::deployment::Event::Sync(deployment)));
    }
}

/// A Recreate Deployment looks again when none of its pods exists any more, Failed ones included.
fn waits_for_pods(world: &World, deployment: crate::plan::DeploymentId) -> bool {
    let entry = &world.deployments[deployment.index()];
    entry.spec.strategy == crate::plan::Strategy::Recreate
        && entry.replica_sets.iter().all(|&set| world.replica_sets[set.index()].pods.is_empty())
}

#[inline(always)]
fn replica_set(change: Change, world: &World, wakes: &mut Wakes) {
    use kubernetes::replica_set::Event as Set;
    // Revisions of a StatefulSet are its own controller's.
    let is_one = |set: &ReplicaSetId| {
        let owner = world.replica_sets[set.index()].deployment;
        owner.is_none_or(|id| world.deployments[id.index()].spec.ordinal().is_none())
    };
    let of_pod = |pod: PodId| match world.pod(pod).owner {
        Owner::ReplicaSet(set) => Some(set).filter(is_one),
        Owner::DaemonSet(_) | Owner::Bare => None,
    };
    // A pod that has ended, or is being deleted, counts no more: that it vanishes is no news.
    let counts_no_more = |pod: PodId| world.pod(pod).is_finished() || world.pod(pod).deleting_since.is_some();
    // What makes no difference to a set all of whose calls succeed counts as one more failure for one that is failing.
    let failing = |set: &ReplicaSetId| world.replica_sets[set.index()].status.failure.is_some();
    let event = match change {
        Change::ReplicaSetCreated(set)
        | Change::ReplicaSetChanged(set)
        | Change::ReplicaSetScaled { replica_set: set, .. } => Some(set).filter(is_one).map(Set::Sync),
        Change::ReplicaSetStatus(set) => Some(set).filter(failing).map(Set::Sync),
        Change::PodReady(pod, true) => of_pod(pod).map(|set| {
            let waits = !world.replica_sets[set.index()].min_ready.is_zero();
            if waits { Set::PodReady(set) } else { Set::Sync(set) }
        }),
        Change::PodReady(pod, false) if !has_run(world, pod) => of_pod(pod).filter(failing).map(Set::Sync),
        Change::PodPhase(pod, _) if !world.pod(pod).is_finished() => of_pod(pod).filter(failing).map(Set::Sync),
        Change::PodGone(pod) if counts_no_more(pod) => of_pod(pod).filter(failing).map(Set::Sync),
        Change::PodCreated(pod)
        | Change::PodReady(pod, false)
        | Change::PodPhase(pod, _)
        | Change::PodChanged(pod)
        | Change::PodDeleting(pod, _)
        | Change::PodGone(pod) => of_pod(pod).map(Set::Sync),
        Change::PodBound(pod)
        | Change::PodUnschedulable(pod)
        | Change::PodUnschedulableMessage(pod)
        | Change::PodNominated(pod) => of_pod(pod).filter(failing).map(Set::Sync),
        _ => None,
    };
    if let Some(event) = event {
        wakes.after_watch(Event::ReplicaSet(event));
    }
}

#[inline(always)]
fn stateful_set(change: Change, world: &World, wakes: &mut Wakes) {
    use kubernetes::stateful_set::Event as Set;
    let is_one = |id: &DeploymentId| world.deployments[id.index()].spec.ordinal().is_some();
    let event = match change {
        Change::DeploymentChanged(id)
        | Change::DeploymentScaled { deployment: id, .. }
        | Change::DeploymentStatus(id, _) => Some(id).filter(is_one).map(Set::Sync),
        Change::PodReady(pod, true) => world.stateful_set_of(pod).map(|id| {
            let waits = !world.deployments[id.index()].spec.min_ready.is_zero();
            if waits { Set::PodReady(id) } else { Set::Sync(id) }
        }),
        Change::PodCreated(pod)
        | Change::PodReady(pod, false)
        | Change::PodPhase(pod, _)
        | Change::PodChanged(pod)
        | Change::PodDeleting(pod, _)
        | Change::PodGone(pod) => world.stateful_set_of(pod).map(Set::Sync),
        _ => None,
    };
    if let Some(event) = event {
        wakes.after_watch(Event::StatefulSet(event));
    }
}

#[inline(always)]
fn daemon_set(change: Change, world: &World, wakes: &mut Wakes) {
    use kubernetes::daemon_set::Event as Daemons;
    let event = match change {
        Change::DaemonSetChanged(set, true) => Daemons::Set(set),
        Change::NodeCreated(node) => Daemons::Node(node),
        // A taint that is gone or a label that came may let a pod onto the node.
        Change::NodeTaints(node) | Change::NodeLabels(node)
            if kubernetes::daemon_set::lacking(world, node).next().is_some() =>
        {
            Daemons::Node(node)
        }
        _ => return,
    };
    wakes.after_watch(Event::DaemonSet(event));
}

#[inline(always)]
fn hpa(change: Change, wakes: &mut Wakes) {
    if let Change::HpaChanged(hpa) = change {
        wakes.after_watch(Event::Hpa(kubernetes::hpa::Event::Changed(hpa)));
    }
}

#[inline(always)]
fn metrics_server(change: Change, wakes: &mut Wakes) {
    use kubernetes::metrics_server::Event as Metrics;
    let event = match change {
        Change::ContainerStarted(pod, _) => Metrics::Started(pod),
        Change::ContainerStopped(pod, _) => Metrics::Stopped(pod),
        Change::NodeAlive(node, _) => Metrics::Node(node),
        _ => return,
    };
    wakes.at_once(Event::MetricsServer(event));
}

#[inline(always)]
fn scheduler(change: Change, world: &World, cache_matters: bool, wakes: &mut Wakes) {
    use kubernetes::scheduler::Event as Scheduler;
    let event = match change {
        Change::PodCreated(pod) if world.pod(pod).node.is_none() => Scheduler::PodAdded(pod),
        Change::PodBound(pod) => Scheduler::PodBound(pod),
        Change::PodDeleting(pod, _) => Scheduler::PodDeleting(pod),
        Change::PodGone(pod) => Scheduler::PodGone(pod),
        Change::PodPhase(pod, _)
        | Change::PodContainersReady(pod, _)
        | Change::PodGate(pod, _)
        | Change::PodReady(pod, _)
        | Change::PodChanged(pod)
            if cache_matters && world.pod(pod).node.is_some() =>
        {
            Scheduler::PodStatus(pod)
        }
        Change::NodeCreated(node) => Scheduler::NodeAdded(node),
        Change::NodeTaints(node) => Scheduler::NodeTaints(node),
        Change::NodeLabels(node) => Scheduler::NodeLabels(node),
        Change::NodeGone(node) => Scheduler::NodeGone(node),
        _ => return,
    };
    wakes.after_watch(Event::Scheduler(event));
}

#[inline(always)]
fn kubelet(change: Change, world: &World, wakes: &mut Wakes) {
    use kubernetes::kubelet::Event as Kubelet;
    let event = match change {
        Change::PodBound(pod) => Kubelet::Added(pod),
        Change::PodCreated(pod) if world.pod(pod).node.is_some() => Kubelet::Added(pod),
        Change::PodDeleting(pod, _) if world.pod(pod).node.is_some() => Kubelet::Terminate(pod),
        Change::PodGate(pod, _) => Kubelet::Status(pod),
        Change::VolumeAttached(id) => Kubelet::Volume(world.attachments[id.index()].node),
        // Nothing listens at first, as before; and it is the kubelet that stops it.
        Change::PodProcess(_, Process::Starting | Process::Stopping) => return,
        Change::PodProcess(pod, _) => {
            wakes.at_once(Event::Kubelet(Kubelet::Process(pod)));
            return;
        }
        Change::NodeCreated(node) => {
            wakes.at_once(Event::Kubelet(Kubelet::NodeJoined(node)));
            return;
        }
        Change::NodeAlive(node, _) => {
            wakes.at_once(Event::Kubelet(Kubelet::NodeAlive(node)));
            return;
        }
        _ => return,
    };
    wakes.after_watch(Event::Kubelet(event));
}

#[inline(always)]
fn pod_disruption(change: Change, world: &World, wakes: &mut Wakes) {
    use kubernetes::pod_disruption::Event as Disruption;
    let pod = match change {
        Change::PdbChanged(pdb) | Change::PdbStatus(pdb) => {
            wakes.after_watch(Event::PodDisruption(Disruption::Sync(pdb)));
            return;
        }
        Change::PodChanged(pod) => {
            wakes.after_watch(Event::PodDisruption(Disruption::Target(pod)));
            pod
        }
        Change::PodReady(pod, false) if !has_run(world, pod) => return,
        Change::PodCreated(pod) | Change::PodReady(pod, _) | Change::PodDeleting(pod, _) | Change::PodGone(pod) => pod,
        _ => return,
    };
    for pdb in budgets_of(world, pod) {
        wakes.after_watch(Event::PodDisruption(Disruption::Sync(pdb)));
    }
}

/// Budgets whose selector matches a pod.
fn budgets_of(world: &World, pod: PodId) -> impl Iterator<Item = PdbId> + '_ {
    let template = world.template_of(pod).clone();
    world.pdbs.iter().filter_map(move |pdb| {
        let spec = &pdb.spec;
        let selected = spec.selector.as_ref().is_some_and(|selector| selector.matches(&template.labels));
        (spec.namespace == template.namespace && selected).then_some(pdb.id)
    })
}

#[inline(always)]
fn node_lifecycle(change: Change, plan: &Plan, world: &World, wakes: &mut Wakes) {
    use kubernetes::node_lifecycle::Event as Lifecycle;
    let event = match change {
        Change::NodeCreated(node) | Change::NodeReady(node, _) | Change::NodeConditions(node) => {
            Lifecycle::Conditions(node)
        }
        Change::NodeTaints(node) => Lifecycle::Taints(node),
        Change::NodeLabels(node) => Lifecycle::Labels(node),
        Change::NodeGone(node) => Lifecycle::Gone(node),
        Change::PodBound(pod) if !is_bound_well(plan, world, pod) => Lifecycle::PodBound(pod),
        Change::NodeAlive(node, _) => {
            wakes.at_once(Event::NodeLifecycle(Lifecycle::Alive(node)));
            return;
        }
        _ => return,
    };
    wakes.after_watch(Event::NodeLifecycle(event));
}

/// A pod was bound to a node on which it may stay. It is not Ready yet, unless its kubelet is a simulated one, so that the last pass
/// over nodes has nothing to say of it either.
fn is_bound_well(plan: &Plan, world: &World, pod: PodId) -> bool {
    let node = world.pod(pod).node.map(|node| world.node(node));
    let is_well = |node: &Node| node.gone.is_none() && !kubernetes::node_lifecycle::is_any_evicting(&node.taints);
    plan.flags.kubelet.fixed.is_none() && node.is_some_and(is_well)
}

#[inline(always)]
fn attach_detach(change: Change, world: &World, wakes: &mut Wakes) {
    use kubernetes::attach_detach::Event as Volumes;
    let (Change::PodBound(pod) | Change::PodGone(pod) | Change::PodPhase(pod, _)) = change else { return };
    if !world.template_of(pod).volume_claims.is_empty() {
        wakes.after_watch(Event::AttachDetach(Volumes::Pod(pod)));
    }
}

#[inline(always)]
fn provisioner(change: Change, world: &World, wakes: &mut Wakes) {
    use karpenter::provisioner::Event as Provisioner;
    let event = match change {
        Change::PodUnschedulable(pod) | Change::PodUnschedulableMessage(pod) => Provisioner::Pod(pod),
        // It may be one that Karpenter provisions for again: one that preempts is not.
        Change::PodNominated(pod) | Change::PodChanged(pod) if world.pod(pod).unschedulable => Provisioner::Pod(pod),
        Change::NodeTaints(node) if world.node(node).claim.is_some() && is_disrupted(world, node) => {
            Provisioner::Node(node)
        }
        _ => return,
    };
    wakes.after_watch(Event::Provisioner(event));
}

/// Karpenter is about to remove the node: its pods need another place.
fn is_disrupted(world: &World, node: NodeId) -> bool {
    world.node(node).has_taint(karpenter::cluster::disrupted_taint())
}

#[inline(always)]
fn node_claim(change: Change, world: &World, wakes: &mut Wakes) {
    use karpenter::node_claim::Event as Claim;
    let event = match change {
        Change::ClaimCreated(claim) | Change::ClaimLaunched(claim) | Change::ClaimInitialized(claim) => {
            Some(Claim::Reconcile(claim))
        }
        Change::ClaimNoCapacity(claim) => Some(Claim::Reconcile(claim)),
        Change::NodeCreated(node) | Change::NodeReady(node, _) | Change::NodeTaints(node) => {
            world.node(node).claim.map(Claim::Reconcile)
        }
        // Of its phases only the last ones are pod events; that it vanishes is none.
        Change::PodPhase(pod, _) if !world.pod(pod).is_finished() => None,
        Change::PodBound(pod) | Change::PodDeleting(pod, _) | Change::PodPhase(pod, _) => {
            let claim = world.pod(pod).node.and_then(|node| world.node(node).claim);
            claim.map(|_| Claim::Pod(pod))
        }
        Change::NodePoolChanged(pool) => Some(Claim::Pool(pool)),
        Change::InstanceTerminated(_) => Some(Claim::InstanceGone),
        _ => None,
    };
    if let Some(event) = event {
        wakes.after_watch(Event::NodeClaim(event));
    }
}

#[inline(always)]
fn disruption(change: Change, world: &World, wakes: &mut Wakes) {
    if moves_memo(change, world) {
        wakes.after_watch(Event::Disruption(karpenter::disruption::Event::Unconsolidated));
    }
}

/// What makes consolidation worth computing again (core `state/cluster.go`, callers of `MarkUnconsolidated`): neither a
/// claim that is only created nor its Node, but its launch and its initialization; nothing that the disruption queue did.
pub fn moves_memo(change: Change, world: &World) -> bool {
    match change {
        Change::PodBound(_) | Change::PodGone(_) | Change::NodeGone(_) | Change::NodePoolChanged(_) => true,
        Change::ClaimLaunched(_) | Change::ClaimInitialized(_) => true,
        Change::NodeCreated(node) => world.node(node).claim.is_none(),
        Change::ClaimGone(claim) => world.claim(claim).instance.is_some(),
        Change::ClaimDeleting(claim, _) => world.claim(claim).disruption.is_none(),
        _ => false,
    }
}

#[inline(always)]
fn termination(change: Change, wakes: &mut Wakes) {
    use karpenter::termination::Event as Termination;
    match change {
        Change::ClaimDeleting(claim, _) => wakes.after_watch(Event::Termination(Termination::Reconcile(claim))),
        Change::NodeDeleting(node) => wakes.after_watch(Event::Termination(Termination::NodeDeleting(node))),
        _ => {}
    }
}

#[inline(always)]
fn node_health(change: Change, plan: &Plan, wakes: &mut Wakes) {
    if plan.flags.karpenter.node_repair
        && let Change::NodeReady(node, _) | Change::NodeProblem(node, ..) = change
    {
        wakes.after_watch(Event::NodeHealth(karpenter::health::Event::Look(node)));
    }
}

#[inline(always)]
fn interruption(change: Change, wakes: &mut Wakes) {
    use karpenter::interruption::Event as Interruption;
    match change {
        Change::InstanceInterrupted(instance) => {
            wakes.at_once(Event::Interruption(Interruption::Notice(instance)));
        }
        Change::InstanceRebalance(instance) => {
            wakes.at_once(Event::Interruption(Interruption::Rebalance(instance)));
        }
        Change::InstanceShuttingDown(instance) => {
            wakes.at_once(Event::Interruption(Interruption::StateChange(instance)));
        }
        _ => {}
    }
}

#[inline(always)]
fn cpu_credits(change: Change, plan: &Plan, wakes: &mut Wakes) {
    use aws::credits::Event as Credits;
    let event = match change {
        _ if plan.flags.credits.mode == CreditMode::Off => return,
        Change::InstanceLaunched(instance) => Credits::Launched(instance),
        Change::InstanceShuttingDown(instance) => Credits::Ended(instance),
        _ => return,
    };
    wakes.at_once(Event::CpuCredits(event));
}

/// The recorded launch time runs from the creation of the claim: no watch delay of its own.
#[inline(always)]
fn fleet(change: Change, wakes: &mut Wakes) {
    if let Change::ClaimCreated(claim) = change {
        wakes.at_once(Event::Fleet(aws::fleet::Event::Create(claim)));
    }
}

#[inline(always)]
fn instance(change: Change, wakes: &mut Wakes) {
    use aws::instance::Event as Instance;
    match change {
        Change::InstanceLaunched(instance) => wakes.at_once(Event::Instance(Instance::Launched(instance))),
        Change::InstanceInterrupted(instance) => wakes.at_once(Event::Instance(Instance::Notice(instance))),
        Change::InstanceShuttingDown(instance) => {
            wakes.at_once(Event::Instance(Instance::ShuttingDown(instance)));
        }
        _ => {}
    }
}

#[inline(always)]
fn spot_market(change: Change, plan: &Plan, wakes: &mut Wakes) {
    if let (Change::InstanceLaunched(instance), false) = (change, plan.capacity_pools.all().is_empty()) {
        wakes.at_once(Event::SpotMarket(aws::spot_market::Event::Launched(instance)));
    }
}

#[inline(always)]
fn alb(change: Change, world: &World, wakes: &mut Wakes) {
    use aws::alb::Event as Alb;
    let event = match change {
        // What no target stands for is not checked.
        Change::PodProcess(pod, _) | Change::PodGone(pod) if !world.target_pods.contains(pod) => return,
        Change::TargetRegistered(target) => Alb::Registered(target),
        Change::TargetStateChanged(target, TargetState::Draining) => Alb::Deregistered(target),
        Change::PodProcess(pod, _) => Alb::Process(pod),
        Change::PodGone(pod) => Alb::Process(pod),
        Change::NodeAlive(node, _) => Alb::Node(node),
        Change::FaultChanged(fault, _) => Alb::Fault(fault),
        _ => return,
    };
    wakes.at_once(Event::Alb(event));
}

#[inline(always)]
fn traffic(change: Change, endpoints_route: bool, (plan, world): (&Plan, &World), wakes: &mut Wakes) {
    use super::clients::traffic::Event as Traffic;
    let event = match change {
        Change::TargetRoutable(target, _) | Change::TargetWeight(target, _) => Traffic::Target(target),
        // One that has gone was not routable any more: nobody goes elsewhere but where weights move with time.
        Change::TargetGone(target) if weights_move(plan, world, target) => Traffic::Target(target),
        Change::LoadChanged(app) => Traffic::Load(app),
        Change::EndpointsChanged(service) if endpoints_route => {
            wakes.after_watch(Event::Traffic(Traffic::Endpoints(service)));
            return;
        }
        Change::PodReady(pod, _) | Change::PodDeleting(pod, _) | Change::PodProcess(pod, _) | Change::PodGone(pod) => {
            // Load that does not come through a target group looks at the pods themselves.
            let deployment = world.deployment_of(pod);
            let direct = |app: &crate::plan::App| {
                Some(app.deployment) == deployment && (app.cores.is_some() || app.target_group.is_none())
            };
            let Some(app) = plan.apps.iter().position(direct) else { return };
            if let Some(group) = plan.apps[app].load_group {
                let others = plan.apps.iter().enumerate();
                let others = others.filter(|(index, other)| *index != app && other.load_group == Some(group));
                for (index, _) in others {
                    wakes.at_once(Event::Traffic(Traffic::Pods(crate::plan::AppId::at(index))));
                }
            }
            Traffic::Pods(crate::plan::AppId::at(app))
        }
        _ => return,
    };
    wakes.at_once(Event::Traffic(event));
}

/// Weights of the targets of a group change although no target does: in slow start, and with clients that stick to theirs.
fn weights_move(plan: &Plan, world: &World, target: TargetId) -> bool {
    let group = &plan.target_groups[world.targets[target.index()].group.index()];
    group.stickiness.is_some() || !group.slow_start.is_zero()
}

#[inline(always)]
fn service(change: Change, wakes: &mut Wakes) {
    use super::clients::service::Event as Service;
    let event = match change {
        Change::ContainerStarted(pod, _) | Change::ContainerStopped(pod, _) => Service::Container(pod),
        Change::PodProcess(pod, _) | Change::PodGone(pod) => Service::Process(pod),
        Change::TargetGone(target) => Service::Target(target),
        Change::NodeAlive(node, _) => Service::Node(node),
        Change::NodeThrottled(node, _) => Service::Speed(node),
        Change::FaultChanged(fault, _) => Service::Fault(fault),
        _ => return,
    };
    wakes.at_once(Event::Service(event));
}

/// What clients and the load balancer hand over goes to the applications at once, and their answers to health checks come
/// back so; it is no change of an object and nobody watches it.
pub fn hand_over(routed: Routed) -> Event {
    use super::clients::service::Event as Service;
    match routed {
        Routed::Request(request) => Event::Service(Service::Arrive(request)),
        Routed::Flow(app) => Event::Service(Service::Flow(app)),
        Routed::Answers(app) => Event::Traffic(super::clients::traffic::Event::Answers(app)),
        Routed::Checked(target, node, result) => Event::Alb(aws::alb::Event::Answered(target, node, result)),
        Routed::Strained(pod) => Event::Alb(aws::alb::Event::Process(pod)),
        Routed::Probed(pod, worker, passed) => Event::Kubelet(kubernetes::kubelet::Event::Probed(pod, worker, passed)),
        Routed::ProbesWait(pod) => Event::Kubelet(kubernetes::kubelet::Event::Probe(pod)),
    }
}
