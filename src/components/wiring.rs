//! Which change wakes which component, after what delay: the one place that knows two components at once.
//!
//! One function a watching component, each an exhaustive match over [`Change`] by what that component's real informers
//! watch; a table (`watchers.rs`) says which of them a change is shown to. A wake that is already on its way is not sent
//! twice: ten changes within one watch delay make one look.

mod on_the_way;
mod watchers;

use super::Event;
use super::{aws, karpenter, kubernetes};
use crate::engine::{Queue, Random, Span, Time};
use crate::plan::flags::CreditMode;
use crate::plan::{
    BindingId, DeploymentId, FaultKind, PdbId, Plan, PodTemplate, Program, ServiceId, ServiceSpec, Stage,
};
use crate::world::{Change, ClaimId, Owner, PodId, ReplicaSetId, Routed, TargetState, World};
use on_the_way::OnTheWay;
use std::sync::Arc;
use watchers::{Watcher, Watchers, watchers_of};

/// Wakes that are on their way, and who watches what.
pub struct Wiring {
    on_the_way: OnTheWay<Event>,
    /// Services whose selector matches a template, by template.
    services_of_template: Vec<Vec<ServiceId>>,
    /// Bindings of a service.
    bindings_of_service: Vec<Vec<BindingId>>,
    /// Some pods may preempt others, or want host ports: the order of the scheduler's cache can matter.
    cache_matters: bool,
    /// Some binding registers nodes.
    nodes_are_targets: bool,
    scratch: Wakes,
}

/// A wake to be sent: the event and how long the watch takes.
type Wakes = Vec<(Span, Event)>;

/// Stands for the delay of one watch until it is known that a change wakes anybody: most changes wake nobody.
const WATCH: Span = Span::MAX;

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
        Wiring {
            on_the_way: OnTheWay::default(),
            services_of_template,
            bindings_of_service,
            cache_matters,
            nodes_are_targets: plan.bindings.iter().any(|binding| binding.instance_targets),
            scratch: Wakes::new(),
        }
    }

    /// A wake has arrived: the next change sends a new one.
    pub fn delivered(&mut self, event: &Event) {
        if may_be_wake(event) {
            self.on_the_way.remove(event);
        }
    }

    /// Sends the wakes of one change.
    pub fn wake(
        &mut self,
        change: Change,
        now: Time,
        plan: &Plan,
        world: &World,
        random: Option<&Random>,
        queue: &mut Queue<Event>,
    ) {
        if let Change::ServiceChanged(_) = change {
            self.services_of_template = services_of_templates(&world.templates, &world.services);
            self.bindings_of_service.resize_with(world.services.len(), Vec::new);
        }
        let watchers = watchers_of(change);
        if watchers.is_empty() && !cfg!(debug_assertions) {
            return;
        }
        let mut wakes = std::mem::take(&mut self.scratch);
        for watcher in watchers {
            self.ask(watcher, change, (plan, world), &mut wakes);
        }
        debug_assert!(self.others_sleep(watchers, change, (plan, world)), "{change:?} wakes who does not watch it");
        let mut watch = None;
        for &(span, ref event) in &wakes {
            debug_assert!(may_be_wake(event), "{event:?} counts as one on its way");
            if !self.on_the_way.insert(event) {
                continue;
            }
            let drawn = || plan.timings.delay(Stage::ApiHop, random, subject(change, world));
            let span = if span == WATCH { *watch.get_or_insert_with(drawn) } else { span };
            queue.push(now + span, *event);
        }
        wakes.clear();
        self.scratch = wakes;
    }

    /// What one watcher makes of a change.
    fn ask(&self, watcher: Watcher, change: Change, (plan, world): (&Plan, &World), wakes: &mut Wakes) {
        let hop = WATCH;
        match watcher {
            Watcher::Deployment => deployment(change, world, hop, wakes),
            Watcher::ReplicaSet => replica_set(change, world, hop, wakes),
            Watcher::StatefulSet => stateful_set(change, world, hop, wakes),
            Watcher::DaemonSet => daemon_set(change, world, hop, wakes),
            Watcher::Hpa => hpa(change, hop, wakes),
            Watcher::MetricsServer => metrics_server(change, wakes),
            Watcher::Scheduler => scheduler(change, world, self.cache_matters, hop, wakes),
            Watcher::Kubelet => kubelet(change, world, hop, wakes),
            Watcher::EndpointSlice => self.endpoint_slice(change, world, hop, wakes),
            Watcher::PodDisruption => pod_disruption(change, world, hop, wakes),
            Watcher::NodeClaim => node_claim(change, world, hop, wakes),
            Watcher::NodeLifecycle => node_lifecycle(change, hop, wakes),
            Watcher::AttachDetach => attach_detach(change, world, hop, wakes),
            Watcher::Provisioner => provisioner(change, world, hop, wakes),
            Watcher::Disruption => disruption(change, world, hop, wakes),
            Watcher::Termination => termination(change, hop, wakes),
            Watcher::NodeHealth => node_health(change, plan, hop, wakes),
            Watcher::Interruption => interruption(change, wakes),
            Watcher::Fleet => fleet(change, wakes),
            Watcher::Instance => instance(change, wakes),
            Watcher::CpuCredits => cpu_credits(change, plan, wakes),
            Watcher::SpotMarket => spot_market(change, plan, wakes),
            Watcher::TargetGroup => self.target_group(change, plan, world, hop, wakes),
            Watcher::Alb => alb(change, wakes),
            Watcher::Traffic => traffic(change, plan, world, hop, wakes),
            Watcher::Service => service(change, wakes),
        }
    }

    /// Nobody else would be woken: what [`watchers_of`] says is all.
    fn others_sleep(&self, watchers: Watchers, change: Change, of: (&Plan, &World)) -> bool {
        let mut wakes = Wakes::new();
        let others = Watcher::ALL.iter().filter(|&&watcher| !watchers.has(watcher));
        others.for_each(|&watcher| self.ask(watcher, change, of, &mut wakes));
        wakes.is_empty()
    }

    fn endpoint_slice(&self, change: Change, world: &World, hop: Span, wakes: &mut Wakes) {
        use kubernetes::endpoint_slice::Event as Slices;
        let event = match change {
            Change::ServiceChanged(service) => Slices::Service(service),
            // Its labels may have been others before.
            Change::PodChanged(pod) => Slices::Pod(pod),
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
        wakes.push((hop, Event::EndpointSlice(event)));
    }

    fn target_group(&self, change: Change, plan: &Plan, world: &World, hop: Span, wakes: &mut Wakes) {
        use aws::target_group::Event as Group;
        let is_bound = |service: &ServiceId| !self.bindings_of_service[service.index()].is_empty();
        let event = match change {
            Change::FaultChanged(fault, down) => {
                if plan.faults[fault.index()].kind == FaultKind::ControllerDown(Program::LoadBalancerController) {
                    wakes.push((Span::ZERO, Event::TargetGroup(if down { Group::Stopped } else { Group::Started })));
                }
                return;
            }
            Change::EndpointsChanged(service) if is_bound(&service) => Group::Endpoints(service),
            Change::PodContainersReady(pod, _) | Change::PodGone(pod)
                if self.services_of_template[world.pod(pod).template.index()].iter().any(is_bound) =>
            {
                Group::Pod(pod)
            }
            Change::NodeCreated(node) | Change::NodeReady(node, _) | Change::NodeGone(node)
                if !plan.bindings.is_empty() =>
            {
                Group::Node(node)
            }
            // Addresses ask of a node whether it is Ready, and no more.
            Change::NodeTaints(node) | Change::NodeLabels(node) if self.nodes_are_targets => Group::Node(node),
            _ => return,
        };
        wakes.push((hop, Event::TargetGroup(event)));
    }
}

/// False for events that only their own component schedules, such as requests, samples and health checks. They are most of
/// all events, and nobody looks whether they are on their way.
fn may_be_wake(event: &Event) -> bool {
    use super::clients::{service::Event as Service, traffic::Event as Traffic};
    use aws::{alb::Event as Alb, target_group::Event as Group};
    use karpenter::{disruption::Event as Disruption, provisioner::Event as Provisioner};
    use kubernetes::{
        endpoint_slice::Event as Slices, hpa::Event as Hpa, kubelet::Event as Kubelet,
        metrics_server::Event as Metrics, node_lifecycle::Event as Lifecycle, replica_set::Event as Set,
        scheduler::Event as Scheduler, stateful_set::Event as StatefulSet,
    };
    !matches!(
        event,
        Event::Traffic(Traffic::Next(_) | Traffic::Answers(_) | Traffic::Refresh(_))
            | Event::Service(
                Service::Arrive(_) | Service::Work(_) | Service::Edge(_) | Service::Flow(_) | Service::FlowAgain(_)
            )
            | Event::Alb(Alb::Check(..) | Alb::TimedOut(..) | Alb::Answered(..) | Alb::Known(_))
            | Event::TargetGroup(Group::Wake | Group::Answer(_))
            | Event::MetricsServer(Metrics::Scrape | Metrics::Publish)
            | Event::Hpa(Hpa::Sync(_) | Hpa::Returned(_))
            | Event::Scheduler(
                Scheduler::Attempt | Scheduler::Outcome | Scheduler::Written | Scheduler::Bind(_) | Scheduler::Tick
            )
            | Event::Kubelet(Kubelet::Relist(_) | Kubelet::Step(_) | Kubelet::Probe(_) | Kubelet::Sync(_))
            | Event::EndpointSlice(Slices::Due(_) | Slices::Sync(_))
            | Event::NodeLifecycle(Lifecycle::Pass | Lifecycle::TaintPass)
            | Event::StatefulSet(StatefulSet::Batch(_))
            | Event::ReplicaSet(Set::Create(_) | Set::Delete(_) | Set::Returned(_))
            | Event::Provisioner(
                Provisioner::PodAgain(_) | Provisioner::NodeAgain(_) | Provisioner::Batch | Provisioner::Planned
            )
            | Event::Disruption(Disruption::Poll | Disruption::Queue)
            | Event::CloudWatch(_)
            | Event::VpaRecommender(_)
    )
}

/// Services whose selector matches a template, by template.
fn services_of_templates(templates: &[Arc<PodTemplate>], services: &[Arc<ServiceSpec>]) -> Vec<Vec<ServiceId>> {
    let of = |template: &Arc<PodTemplate>| {
        let matching = services.iter().enumerate().filter(|(_, service)| service.selects(template));
        matching.map(|(index, _)| ServiceId::at(index)).collect()
    };
    templates.iter().map(of).collect()
}

/// What a change is about: the key of its watch delay, so that changes of other objects never shift it.
fn subject(change: Change, world: &World) -> u64 {
    let pod = |pod: PodId, kind: u64| world.pod(pod).key() ^ kind << 56;
    let claim = |claim: ClaimId, kind: u64| 1 << 62 | world.claim(claim).key() ^ kind << 48;
    let other = |kind: u64, id: u32| 1 << 63 | kind << 40 | u64::from(id);
    match change {
        Change::PodCreated(id) => pod(id, 1),
        Change::PodUnschedulable(id) => pod(id, 2),
        Change::PodNominated(id) => pod(id, 3),
        Change::PodBound(id) => pod(id, 4),
        Change::PodChanged(id) => pod(id, 11),
        Change::PodUnschedulableMessage(id) => pod(id, 12),
        Change::PodAddress(id) | Change::PodSandboxFailed(id) | Change::ImagePulling(id) | Change::ImagePulled(id) => {
            pod(id, 5)
        }
        Change::ContainerStarted(id, _) | Change::ContainerStopped(id, _) | Change::PodProcess(id, _) => pod(id, 6),
        Change::PodPhase(id, _) | Change::PodContainersReady(id, _) | Change::PodGate(id, _) => pod(id, 7),
        Change::PodReady(id, _) => pod(id, 8),
        Change::PodDeleting(id, _) | Change::PodDeletionFailed(id) => pod(id, 9),
        Change::PodGone(id) => pod(id, 10),
        Change::ClaimCreated(id) | Change::ClaimLaunched(id) | Change::ClaimNoCapacity(id) => claim(id, 1),
        Change::ClaimThrottled(id) => claim(id, 6),
        Change::ClaimRegistered(id) | Change::ClaimInitialized(id) => claim(id, 2),
        Change::ClaimConsolidatable(id, _) | Change::ClaimDrifted(id, _) | Change::ClaimPodEvent(id) => claim(id, 3),
        Change::ClaimDisrupted(id, _) | Change::ClaimReleased(id) | Change::ClaimRebalance(id) => claim(id, 4),
        Change::ClaimDeleting(id, _) | Change::ClaimDrained(id) | Change::ClaimGone(id) => claim(id, 5),
        Change::NodeCreated(id) | Change::NodeGone(id) | Change::NodeDeleting(id) => other(1, id.0),
        Change::NodeReady(id, _) | Change::NodeAlive(id, _) | Change::NodeConditions(id) => other(2, id.0),
        Change::NodeProblem(id, ..) => other(19, id.0),
        Change::NodeThrottled(id, _) => other(20, id.0),
        Change::SpotPrice(id, _) => other(21, id.0),
        Change::NodeTaints(id) | Change::NodeLabels(id) => other(3, id.0),
        Change::DeploymentChanged(id)
        | Change::DeploymentScaled { deployment: id, .. }
        | Change::DeploymentStatus(id, _) => other(4, id.0),
        Change::ReplicaSetCreated(id)
        | Change::ReplicaSetScaled { replica_set: id, .. }
        | Change::ReplicaSetChanged(id)
        | Change::ReplicaSetStatus(id)
        | Change::PodRefused(id)
        | Change::ReplicaSetGone(id) => other(5, id.0),
        Change::HpaSynced(id) | Change::HpaChanged(id) => other(6, id.0),
        Change::PdbChanged(id) | Change::PdbStatus(id) => other(7, id.0),
        Change::EndpointsChanged(id) | Change::ServiceChanged(id) => other(8, id.0),
        Change::TargetRegistered(id)
        | Change::TargetStateChanged(id, _)
        | Change::TargetRoutable(id, _)
        | Change::TargetWeight(id, _)
        | Change::TargetInService(id)
        | Change::TargetGone(id) => other(9, id.0),
        Change::InstanceLaunched(id)
        | Change::InstanceInterrupted(id)
        | Change::InstanceRebalance(id)
        | Change::InstanceShuttingDown(id)
        | Change::InstanceTerminated(id) => other(10, id.0),
        Change::NodePoolChanged(id) => other(11, id.0),
        Change::DaemonSetChanged(id, _) => other(22, id.0),
        Change::BatchClosed(_) => other(12, 0),
        Change::AlarmChanged(id, _) => other(13, id.0),
        Change::ActionDone(id) => other(14, id.0),
        Change::FaultChanged(id, _) => other(15, id.0),
        Change::LoadChanged(id) => other(16, id.0),
        Change::CapacityChanged(id, _) => other(17, id.0),
        Change::VolumeAttached(id) | Change::VolumeDetached(id) => other(18, id.0),
    }
}

fn deployment(change: Change, world: &World, hop: Span, wakes: &mut Wakes) {
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
        wakes.push((hop, Event::Deployment(kubernetes::deployment::Event::Sync(deployment))));
    }
}

/// A Recreate Deployment looks again when none of its pods exists any more, Failed ones included.
fn waits_for_pods(world: &World, deployment: crate::plan::DeploymentId) -> bool {
    let entry = &world.deployments[deployment.index()];
    entry.spec.strategy == crate::plan::Strategy::Recreate
        && entry.replica_sets.iter().all(|&set| world.replica_sets[set.index()].pods.is_empty())
}

fn replica_set(change: Change, world: &World, hop: Span, wakes: &mut Wakes) {
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
    wakes.extend(event.map(|event| (hop, Event::ReplicaSet(event))));
}

fn stateful_set(change: Change, world: &World, hop: Span, wakes: &mut Wakes) {
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
    wakes.extend(event.map(|event| (hop, Event::StatefulSet(event))));
}

fn daemon_set(change: Change, world: &World, hop: Span, wakes: &mut Wakes) {
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
    wakes.push((hop, Event::DaemonSet(event)));
}

fn hpa(change: Change, hop: Span, wakes: &mut Wakes) {
    if let Change::HpaChanged(hpa) = change {
        wakes.push((hop, Event::Hpa(kubernetes::hpa::Event::Changed(hpa))));
    }
}

fn metrics_server(change: Change, wakes: &mut Wakes) {
    use kubernetes::metrics_server::Event as Metrics;
    let event = match change {
        Change::ContainerStarted(pod, _) => Metrics::Started(pod),
        Change::ContainerStopped(pod, _) => Metrics::Stopped(pod),
        Change::NodeAlive(node, _) => Metrics::Node(node),
        _ => return,
    };
    wakes.push((Span::ZERO, Event::MetricsServer(event)));
}

fn scheduler(change: Change, world: &World, cache_matters: bool, hop: Span, wakes: &mut Wakes) {
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
    wakes.push((hop, Event::Scheduler(event)));
}

fn kubelet(change: Change, world: &World, hop: Span, wakes: &mut Wakes) {
    use kubernetes::kubelet::Event as Kubelet;
    let event = match change {
        Change::PodBound(pod) => Kubelet::Added(pod),
        Change::PodCreated(pod) if world.pod(pod).node.is_some() => Kubelet::Added(pod),
        Change::PodDeleting(pod, _) if world.pod(pod).node.is_some() => Kubelet::Terminate(pod),
        Change::PodGate(pod, _) => Kubelet::Status(pod),
        Change::VolumeAttached(id) => Kubelet::Volume(world.attachments[id.index()].node),
        Change::PodProcess(pod, _) => {
            wakes.push((Span::ZERO, Event::Kubelet(Kubelet::Process(pod))));
            return;
        }
        Change::NodeCreated(node) => {
            wakes.push((Span::ZERO, Event::Kubelet(Kubelet::NodeJoined(node))));
            return;
        }
        Change::NodeAlive(node, _) => {
            wakes.push((Span::ZERO, Event::Kubelet(Kubelet::NodeAlive(node))));
            return;
        }
        _ => return,
    };
    wakes.push((hop, Event::Kubelet(event)));
}

fn pod_disruption(change: Change, world: &World, hop: Span, wakes: &mut Wakes) {
    use kubernetes::pod_disruption::Event as Disruption;
    let pod = match change {
        Change::PdbChanged(pdb) | Change::PdbStatus(pdb) => {
            wakes.push((hop, Event::PodDisruption(Disruption::Sync(pdb))));
            return;
        }
        Change::PodChanged(pod) => {
            wakes.push((hop, Event::PodDisruption(Disruption::Target(pod))));
            pod
        }
        Change::PodCreated(pod) | Change::PodReady(pod, _) | Change::PodDeleting(pod, _) | Change::PodGone(pod) => pod,
        _ => return,
    };
    for pdb in budgets_of(world, pod) {
        wakes.push((hop, Event::PodDisruption(Disruption::Sync(pdb))));
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

fn node_lifecycle(change: Change, hop: Span, wakes: &mut Wakes) {
    use kubernetes::node_lifecycle::Event as Lifecycle;
    let event = match change {
        Change::NodeCreated(node) | Change::NodeReady(node, _) | Change::NodeConditions(node) => {
            Lifecycle::Conditions(node)
        }
        Change::NodeTaints(node) => Lifecycle::Taints(node),
        Change::NodeGone(node) => Lifecycle::Gone(node),
        Change::PodBound(pod) => Lifecycle::PodBound(pod),
        Change::NodeAlive(node, _) => {
            wakes.push((Span::ZERO, Event::NodeLifecycle(Lifecycle::Alive(node))));
            return;
        }
        _ => return,
    };
    wakes.push((hop, Event::NodeLifecycle(event)));
}

fn attach_detach(change: Change, world: &World, hop: Span, wakes: &mut Wakes) {
    use kubernetes::attach_detach::Event as Volumes;
    let (Change::PodBound(pod) | Change::PodGone(pod) | Change::PodPhase(pod, _)) = change else { return };
    if !world.template_of(pod).volume_claims.is_empty() {
        wakes.push((hop, Event::AttachDetach(Volumes::Pod(pod))));
    }
}

fn provisioner(change: Change, world: &World, hop: Span, wakes: &mut Wakes) {
    use karpenter::provisioner::Event as Provisioner;
    let event = match change {
        Change::PodUnschedulable(pod) | Change::PodUnschedulableMessage(pod) => Provisioner::Pod(pod),
        // It may be one that Karpenter provisions for again: one that preempts is not.
        Change::PodNominated(pod) | Change::PodChanged(pod) if world.pod(pod).unschedulable => Provisioner::Pod(pod),
        Change::NodeTaints(node) if world.node(node).claim.is_some() => Provisioner::Node(node),
        _ => return,
    };
    wakes.push((hop, Event::Provisioner(event)));
}

fn node_claim(change: Change, world: &World, hop: Span, wakes: &mut Wakes) {
    use karpenter::node_claim::Event as Claim;
    let event = match change {
        Change::ClaimCreated(claim) | Change::ClaimLaunched(claim) | Change::ClaimInitialized(claim) => {
            Some(Claim::Reconcile(claim))
        }
        Change::ClaimNoCapacity(claim) => Some(Claim::Reconcile(claim)),
        Change::NodeCreated(node) | Change::NodeReady(node, _) | Change::NodeTaints(node) => {
            world.node(node).claim.map(Claim::Reconcile)
        }
        Change::PodBound(pod) | Change::PodDeleting(pod, _) | Change::PodPhase(pod, _) | Change::PodGone(pod) => {
            let claim = world.pod(pod).node.and_then(|node| world.node(node).claim);
            claim.map(|_| Claim::Pod(pod))
        }
        Change::NodePoolChanged(pool) => Some(Claim::Pool(pool)),
        Change::InstanceTerminated(_) => Some(Claim::InstanceGone),
        _ => None,
    };
    if let Some(event) = event {
        wakes.push((hop, Event::NodeClaim(event)));
    }
}

fn disruption(change: Change, world: &World, hop: Span, wakes: &mut Wakes) {
    if moves_memo(change, world) {
        wakes.push((hop, Event::Disruption(karpenter::disruption::Event::Unconsolidated)));
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

fn termination(change: Change, hop: Span, wakes: &mut Wakes) {
    use karpenter::termination::Event as Termination;
    match change {
        Change::ClaimDeleting(claim, _) => wakes.push((hop, Event::Termination(Termination::Reconcile(claim)))),
        Change::NodeDeleting(node) => wakes.push((hop, Event::Termination(Termination::NodeDeleting(node)))),
        _ => {}
    }
}

fn node_health(change: Change, plan: &Plan, hop: Span, wakes: &mut Wakes) {
    if plan.flags.karpenter.node_repair
        && let Change::NodeReady(node, _) | Change::NodeProblem(node, ..) = change
    {
        wakes.push((hop, Event::NodeHealth(karpenter::health::Event::Look(node))));
    }
}

fn interruption(change: Change, wakes: &mut Wakes) {
    use karpenter::interruption::Event as Interruption;
    match change {
        Change::InstanceInterrupted(instance) => {
            wakes.push((Span::ZERO, Event::Interruption(Interruption::Notice(instance))));
        }
        Change::InstanceRebalance(instance) => {
            wakes.push((Span::ZERO, Event::Interruption(Interruption::Rebalance(instance))));
        }
        Change::InstanceShuttingDown(instance) => {
            wakes.push((Span::ZERO, Event::Interruption(Interruption::StateChange(instance))));
        }
        _ => {}
    }
}

fn cpu_credits(change: Change, plan: &Plan, wakes: &mut Wakes) {
    use aws::credits::Event as Credits;
    let event = match change {
        _ if plan.flags.credits.mode == CreditMode::Off => return,
        Change::InstanceLaunched(instance) => Credits::Launched(instance),
        Change::InstanceShuttingDown(instance) => Credits::Ended(instance),
        _ => return,
    };
    wakes.push((Span::ZERO, Event::CpuCredits(event)));
}

/// The recorded launch time runs from the creation of the claim: no watch delay of its own.
fn fleet(change: Change, wakes: &mut Wakes) {
    if let Change::ClaimCreated(claim) = change {
        wakes.push((Span::ZERO, Event::Fleet(aws::fleet::Event::Create(claim))));
    }
}

fn instance(change: Change, wakes: &mut Wakes) {
    use aws::instance::Event as Instance;
    match change {
        Change::InstanceLaunched(instance) => wakes.push((Span::ZERO, Event::Instance(Instance::Launched(instance)))),
        Change::InstanceInterrupted(instance) => wakes.push((Span::ZERO, Event::Instance(Instance::Notice(instance)))),
        Change::InstanceShuttingDown(instance) => {
            wakes.push((Span::ZERO, Event::Instance(Instance::ShuttingDown(instance))));
        }
        _ => {}
    }
}

fn spot_market(change: Change, plan: &Plan, wakes: &mut Wakes) {
    if let (Change::InstanceLaunched(instance), false) = (change, plan.capacity_pools.all().is_empty()) {
        wakes.push((Span::ZERO, Event::SpotMarket(aws::spot_market::Event::Launched(instance))));
    }
}

fn alb(change: Change, wakes: &mut Wakes) {
    use aws::alb::Event as Alb;
    let event = match change {
        Change::TargetRegistered(target) => Alb::Registered(target),
        Change::TargetStateChanged(target, TargetState::Draining) => Alb::Deregistered(target),
        Change::PodProcess(pod, _) => Alb::Process(pod),
        Change::PodGone(pod) => Alb::Process(pod),
        Change::NodeAlive(node, _) => Alb::Node(node),
        Change::FaultChanged(fault, _) => Alb::Fault(fault),
        _ => return,
    };
    wakes.push((Span::ZERO, Event::Alb(event)));
}

fn traffic(change: Change, plan: &Plan, world: &World, hop: Span, wakes: &mut Wakes) {
    use super::clients::traffic::Event as Traffic;
    let event = match change {
        Change::TargetRoutable(target, _) | Change::TargetWeight(target, _) | Change::TargetGone(target) => {
            Traffic::Target(target)
        }
        Change::LoadChanged(app) => Traffic::Load(app),
        Change::EndpointsChanged(service) => {
            wakes.push((hop, Event::Traffic(Traffic::Endpoints(service))));
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
                    wakes.push((Span::ZERO, Event::Traffic(Traffic::Pods(crate::plan::AppId::at(index)))));
                }
            }
            Traffic::Pods(crate::plan::AppId::at(app))
        }
        _ => return,
    };
    wakes.push((Span::ZERO, Event::Traffic(event)));
}

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
    wakes.push((Span::ZERO, Event::Service(event)));
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
