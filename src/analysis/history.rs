//! When each pod, node and target reached each milestone: one pass over the facts.
//!
//! In: the record, the world at the end, the plan. Out: a [`PodHistory`] per pod and a [`NodeHistory`] per node or
//! NodeClaim. Things of the start have no facts: what no fact creates was there at the start, Ready and in service.

use crate::engine::Time;
use crate::plan::{DeploymentId, Plan, ServiceId};
use crate::record::{Fact, Recorder};
use crate::world::{
    Change, ClaimId, DeleteCause, DisruptionReason, InstanceId, NodeId, NodeReadiness, Owner, PodId, Process, TargetId,
    TargetState, World,
};

/// What happened to a pod, and when. `None`: it did not happen.
#[derive(Clone, Debug)]
pub struct PodHistory {
    /// Which.
    pub id: PodId,
    /// Its Deployment.
    pub deployment: Option<DeploymentId>,
    /// It was there at the start.
    pub initial: bool,
    /// Creation.
    pub created: Time,
    /// First found unschedulable.
    pub unschedulable: Option<Time>,
    /// Bound.
    pub bound: Option<Time>,
    /// The sandbox has its address.
    pub address: Option<Time>,
    /// An image pull began.
    pub pulling: Option<Time>,
    /// All images are there.
    pub pulled: Option<Time>,
    /// The last application container started for the first time.
    pub started: Option<Time>,
    /// The application answers.
    pub answering: Option<Time>,
    /// Condition ContainersReady first True.
    pub containers_ready: Option<Time>,
    /// Condition Ready first True.
    pub ready: Option<Time>,
    /// Every change of condition Ready.
    pub ready_changes: Vec<(Time, bool)>,
    /// The first change of its Service's endpoints after readiness; with readiness gates, after it had its address.
    pub endpoint: Option<Time>,
    /// First registered with a target group.
    pub registered: Option<Time>,
    /// First healthy there.
    pub healthy: Option<Time>,
    /// First routable there.
    pub routable: Option<Time>,
    /// Every change of the load balancer's routing to it.
    pub routable_changes: Vec<(Time, bool)>,
    /// The first request reached it.
    pub first_request: Option<Time>,
    /// Deregistered.
    pub deregistered: Option<Time>,
    /// Its target has left the group.
    pub target_gone: Option<Time>,
    /// Deletion was asked for.
    pub deleting: Option<Time>,
    /// Why.
    pub cause: Option<DeleteCause>,
    /// Its last container stopped.
    pub stopped: Option<Time>,
    /// The object vanished.
    pub gone: Option<Time>,
    /// When it is in service in the sense of its Deployment: see [`Serving`].
    pub serving: Option<Time>,
    /// How that is seen.
    pub serving_by: Serving,
}

/// What "in service" means for a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Serving {
    /// The load balancer's first request.
    FirstRequest,
    /// Routable: it has a target group but nobody sends requests.
    Routable,
    /// Ready, and its application answers: it has no target group. Without a readiness probe it is Ready before that.
    Ready,
}

impl PodHistory {
    /// Readiness as the load balancer controller waits for it: with readiness gates Ready itself depends on the target.
    pub fn ready_for_endpoint(&self, gated: bool) -> Option<Time> {
        if gated { self.containers_ready.or(self.ready) } else { self.ready }
    }
}

/// What happened to a node, from its NodeClaim to its end.
#[derive(Clone, Debug)]
pub struct NodeHistory {
    /// Its name: the node's, or the claim's when no node came of it.
    pub name: String,
    /// The node.
    pub node: Option<NodeId>,
    /// The claim.
    pub claim: Option<ClaimId>,
    /// The instance.
    pub instance: Option<InstanceId>,
    /// It was there at the start.
    pub initial: bool,
    /// The claim was created.
    pub claimed: Option<Time>,
    /// The instance was launched.
    pub launched: Option<Time>,
    /// The Node object appeared.
    pub created: Option<Time>,
    /// The claim was registered.
    pub registered: Option<Time>,
    /// First Ready.
    pub ready: Option<Time>,
    /// Every change of condition Ready.
    pub ready_changes: Vec<(Time, bool)>,
    /// Initialised.
    pub initialized: Option<Time>,
    /// The two-minute notice.
    pub interrupted: Option<Time>,
    /// Its machine stopped answering.
    pub failed: Option<Time>,
    /// A disruption command took it, and why.
    pub disrupted: Option<(Time, DisruptionReason)>,
    /// Deletion was asked for (of the claim or the node).
    pub deleting: Option<Time>,
    /// Why.
    pub reason: Option<DisruptionReason>,
    /// It lost its last pod that is no DaemonSet's.
    pub emptied: Option<Time>,
    /// Drained.
    pub drained: Option<Time>,
    /// The instance began to shut down.
    pub stopped: Option<Time>,
    /// The instance was terminated.
    pub terminated: Option<Time>,
    /// The Node object (or a claim without one) vanished.
    pub gone: Option<Time>,
}

impl NodeHistory {
    /// When it begins to exist in any form.
    pub fn begin(&self) -> Option<Time> {
        self.claimed.or(self.launched).or(self.created)
    }
}

/// The histories of everything.
#[derive(Clone, Debug)]
pub struct History {
    /// By pod.
    pub pods: Vec<PodHistory>,
    /// In order of their beginning.
    pub nodes: Vec<NodeHistory>,
    /// Whether a target was there at the start.
    pub initial_targets: Vec<bool>,
    /// Times at which batches closed.
    pub batches: Vec<Time>,
    /// Position in `nodes` of each node.
    of_node: Vec<usize>,
}

impl History {
    /// The history of a node.
    pub fn node(&self, node: NodeId) -> Option<&NodeHistory> {
        self.nodes.get(self.of_node[node.index()])
    }
}

/// Reads the histories out of a record.
pub fn read(plan: &Plan, world: &World, recorder: &Recorder) -> History {
    let mut pods: Vec<PodHistory> = world.pods.iter().map(|pod| blank_pod(plan, world, pod.id)).collect();
    let services_of: Vec<Vec<ServiceId>> = services_of_templates(world);
    let mut initial_targets = vec![true; world.targets.len()];
    let mut batches = Vec::new();
    let mut ready = Vec::new();
    for fact in &recorder.facts {
        match fact.change {
            Change::PodReady(pod, true) => ready.push(pod),
            Change::PodAddress(pod) if is_gated(world, pod) => ready.push(pod),
            Change::EndpointsChanged(service) => {
                ready.retain(|&pod| !note_endpoint(fact.at, service, world, &services_of, &mut pods[pod.index()]));
            }
            Change::BatchClosed(_) => batches.push(fact.at),
            Change::TargetRegistered(target) => initial_targets[target.index()] = false,
            _ => {}
        }
        note_pod(fact, world, &mut pods);
    }
    for (target, _) in initial_targets.iter().enumerate().filter(|&(_, &initial)| initial) {
        let entry = &world.targets[target];
        let pod = &mut pods[entry.pod.index()];
        pod.registered.get_or_insert(entry.registered);
        pod.healthy.get_or_insert(plan.start);
        pod.routable.get_or_insert(plan.start);
        pod.first_request = Some(plan.start);
    }
    for pod in &mut pods {
        finish_pod(plan, world, pod);
    }
    let nodes = nodes(world, recorder, &pods);
    let mut of_node = vec![usize::MAX; world.nodes.len()];
    for (index, history) in nodes.iter().enumerate() {
        if let Some(node) = history.node {
            of_node[node.index()] = index;
        }
    }
    History { pods, nodes, initial_targets, batches, of_node }
}

fn blank_pod(plan: &Plan, world: &World, id: PodId) -> PodHistory {
    let pod = world.pod(id);
    let deployment = world.deployment_of(id);
    PodHistory {
        id,
        deployment,
        initial: true,
        created: pod.created,
        unschedulable: None,
        bound: pod.bound,
        address: None,
        pulling: None,
        pulled: None,
        started: None,
        answering: None,
        containers_ready: None,
        ready: None,
        ready_changes: Vec::new(),
        endpoint: None,
        registered: None,
        healthy: None,
        routable: None,
        routable_changes: Vec::new(),
        first_request: None,
        deregistered: None,
        target_gone: None,
        deleting: pod.deleting_since,
        cause: None,
        stopped: None,
        gone: pod.gone,
        serving: None,
        serving_by: deployment.map_or(Serving::Ready, |deployment| serving_by(plan, world, deployment)),
    }
}

/// How "in service" is seen for the pods of a Deployment.
pub fn serving_by(plan: &Plan, world: &World, deployment: DeploymentId) -> Serving {
    let app = plan.app_of(deployment).map(|app| &plan.apps[app.index()]);
    let with_requests =
        app.is_some_and(|app| app.cores.is_none() && app.traffic.points.iter().any(|&(_, rate)| rate > 0.0));
    let spec = &world.deployments[deployment.index()].spec;
    let template = world.template(spec.template);
    let bound = plan.bindings.iter().any(|binding| {
        plan.services.iter().any(|service| {
            service.name == binding.service_name
                && service.namespace == binding.namespace
                && service.namespace == template.namespace
                && service.selector.as_ref().is_some_and(|selector| selector.matches(&template.labels))
        })
    });
    match (bound, with_requests && app.is_some_and(|app| app.target_group.is_some())) {
        (_, true) => Serving::FirstRequest,
        (true, false) => Serving::Routable,
        (false, false) => Serving::Ready,
    }
}

fn services_of_templates(world: &World) -> Vec<Vec<ServiceId>> {
    let of = |template: &crate::plan::PodTemplate| {
        let selects = |service: &crate::plan::ServiceSpec| {
            service.namespace == template.namespace
                && service.selector.as_ref().is_some_and(|selector| selector.matches(&template.labels))
        };
        let matching = world.services.iter().enumerate().filter(|(_, service)| selects(service));
        matching.map(|(index, _)| ServiceId::at(index)).collect()
    };
    world.templates.iter().map(|template| of(template)).collect()
}

fn is_gated(world: &World, pod: PodId) -> bool {
    !world.template_of(pod).readiness_gates.is_empty()
}

/// The endpoints of a Service were written; true when that was what a ready pod waited for, or it waits no more.
fn note_endpoint(
    at: Time,
    service: ServiceId,
    world: &World,
    services_of: &[Vec<ServiceId>],
    pod: &mut PodHistory,
) -> bool {
    // A gate waits for the target, and the controller registers an address that is not ready yet once the containers are.
    let waits = if is_gated(world, pod.id) { pod.address.is_some() } else { pod.ready.is_some() };
    let serves = services_of[world.pod(pod.id).template.index()].contains(&service);
    if pod.endpoint.is_none() && serves && waits {
        pod.endpoint = Some(at);
    }
    pod.endpoint.is_some() || pod.deleting.is_some_and(|deleting| deleting <= at)
}

fn note_pod(fact: &Fact, world: &World, pods: &mut [PodHistory]) {
    let at = fact.at;
    let pod_of = |target: TargetId| world.targets[target.index()].pod.index();
    match fact.change {
        Change::PodCreated(pod) => pods[pod.index()].initial = false,
        Change::PodUnschedulable(pod) => first(&mut pods[pod.index()].unschedulable, at),
        Change::PodAddress(pod) => first(&mut pods[pod.index()].address, at),
        Change::ImagePulling(pod) => first(&mut pods[pod.index()].pulling, at),
        Change::ImagePulled(pod) => first(&mut pods[pod.index()].pulled, at),
        Change::ContainerStarted(pod, index) => {
            let entry = &mut pods[pod.index()];
            let is_application = usize::from(index) >= world.template_of(pod).init_containers.len();
            if is_application && entry.ready.is_none() {
                entry.started = Some(at);
            }
        }
        Change::ContainerStopped(pod, _) => pods[pod.index()].stopped = Some(at),
        Change::PodProcess(pod, Process::Answering) => first(&mut pods[pod.index()].answering, at),
        Change::PodContainersReady(pod, true) => first(&mut pods[pod.index()].containers_ready, at),
        Change::PodReady(pod, ready) => {
            let entry = &mut pods[pod.index()];
            if ready {
                first(&mut entry.ready, at);
            }
            entry.ready_changes.push((at, ready));
        }
        Change::PodDeleting(pod, cause) => {
            pods[pod.index()].cause.get_or_insert(cause);
        }
        Change::TargetRegistered(target) => first(&mut pods[pod_of(target)].registered, at),
        Change::TargetStateChanged(target, TargetState::Healthy) => first(&mut pods[pod_of(target)].healthy, at),
        Change::TargetStateChanged(target, TargetState::Draining) => pods[pod_of(target)].deregistered = Some(at),
        Change::TargetRoutable(target, routable) => {
            let entry = &mut pods[pod_of(target)];
            if routable {
                first(&mut entry.routable, at);
            }
            entry.routable_changes.push((at, routable));
        }
        Change::TargetInService(target) => first(&mut pods[pod_of(target)].first_request, at),
        Change::TargetGone(target) => pods[pod_of(target)].target_gone = Some(at),
        _ => {}
    }
}

fn first(slot: &mut Option<Time>, at: Time) {
    slot.get_or_insert(at);
}

fn finish_pod(plan: &Plan, world: &World, pod: &mut PodHistory) {
    if pod.initial && pod.bound.is_some_and(|bound| bound <= plan.start) {
        pod.ready.get_or_insert(plan.start);
    }
    pod.serving = match pod.serving_by {
        Serving::FirstRequest => pod.first_request,
        Serving::Routable => pod.routable,
        Serving::Ready => match pod.answering {
            Some(answering) => pod.ready.map(|ready| ready.max(answering)),
            None => pod.ready.filter(|_| world.pod(pod.id).process != Process::Starting),
        },
    };
}

fn nodes(world: &World, recorder: &Recorder, pods: &[PodHistory]) -> Vec<NodeHistory> {
    let mut histories: Vec<NodeHistory> =
        world.claims.iter().map(|claim| node_history(world, Some(claim.id), claim.node)).collect();
    let unclaimed = world.nodes.iter().filter(|node| node.claim.is_none());
    histories.extend(unclaimed.map(|node| node_history(world, None, Some(node.id))));
    let mut of_node = vec![usize::MAX; world.nodes.len()];
    let mut of_claim = vec![usize::MAX; world.claims.len()];
    for (index, history) in histories.iter().enumerate() {
        if let Some(node) = history.node {
            of_node[node.index()] = index;
        }
        if let Some(claim) = history.claim {
            of_claim[claim.index()] = index;
        }
    }
    for fact in &recorder.facts {
        let at = fact.at;
        match fact.change {
            Change::ClaimCreated(claim) => histories[of_claim[claim.index()]].initial = false,
            Change::NodeCreated(node) if of_node[node.index()] != usize::MAX => {
                histories[of_node[node.index()]].initial = false;
            }
            Change::NodeReady(node, readiness) if of_node[node.index()] != usize::MAX => {
                let history = &mut histories[of_node[node.index()]];
                let ready = readiness == NodeReadiness::Ready;
                if ready {
                    first(&mut history.ready, at);
                }
                history.ready_changes.push((at, ready));
            }
            Change::NodeAlive(node, false) if of_node[node.index()] != usize::MAX => {
                first(&mut histories[of_node[node.index()]].failed, at);
            }
            Change::ClaimDisrupted(claim, reason) => {
                histories[of_claim[claim.index()]].disrupted.get_or_insert((at, reason));
            }
            Change::ClaimReleased(claim) => {
                let history = &mut histories[of_claim[claim.index()]];
                if history.deleting.is_none_or(|deleting| deleting > at) {
                    history.disrupted = None;
                }
            }
            Change::ClaimDrained(claim) => first(&mut histories[of_claim[claim.index()]].drained, at),
            _ => {}
        }
    }
    let emptied = emptied(world, pods);
    for history in &mut histories {
        history.emptied = history.node.and_then(|node| emptied[node.index()]);
    }
    histories.sort_by_key(|history| {
        let begin = history.begin().filter(|_| !history.initial);
        (!history.initial, begin, history.node, history.claim)
    });
    histories
}

fn node_history(world: &World, claim: Option<ClaimId>, node: Option<NodeId>) -> NodeHistory {
    let object = node.map(|node| world.node(node));
    let owner = claim.map(|claim| world.claim(claim));
    let instance_id = owner.and_then(|claim| claim.instance).or(object.and_then(|node| node.instance));
    let instance = instance_id.map(|instance| &world.instances[instance.index()]);
    let name = object.map(|node| node.name.to_string()).or(owner.map(|claim| claim.name.to_string()));
    let earliest = |one: Option<Time>, other: Option<Time>| one.into_iter().chain(other).min();
    NodeHistory {
        name: name.unwrap_or_default(),
        node,
        claim,
        instance: instance_id,
        initial: true,
        claimed: owner.map(|claim| claim.created),
        launched: owner.and_then(|claim| claim.launched).or(instance.map(|instance| instance.launched)),
        created: object.map(|node| node.created),
        registered: owner.and_then(|claim| claim.registered),
        ready: None,
        ready_changes: Vec::new(),
        initialized: owner.and_then(|claim| claim.initialized),
        interrupted: instance.and_then(|instance| instance.interrupted),
        failed: None,
        disrupted: None,
        deleting: earliest(owner.and_then(|claim| claim.deleting_since), object.and_then(|node| node.deleting_since)),
        reason: owner.and_then(|claim| claim.deletion_reason),
        emptied: None,
        drained: None,
        stopped: instance.and_then(|instance| instance.stopped),
        terminated: instance.and_then(|instance| instance.terminated),
        gone: object.map_or(owner.and_then(|claim| claim.gone), |node| node.gone),
    }
}

/// When each node lost its last pod that is no DaemonSet's, if it has lost them all.
fn emptied(world: &World, pods: &[PodHistory]) -> Vec<Option<Time>> {
    let mut last: Vec<Option<Time>> = vec![None; world.nodes.len()];
    for pod in pods {
        let entry = world.pod(pod.id);
        if let (Some(node), false) = (entry.node, matches!(entry.owner, Owner::DaemonSet(_))) {
            let slot = &mut last[node.index()];
            *slot = (*slot).max(Some(pod.gone.unwrap_or(Time::MAX)));
        }
    }
    last.into_iter().map(|time| time.filter(|&time| time != Time::MAX)).collect()
}
