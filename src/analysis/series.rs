//! Quantities over time, rebuilt from the facts: replicas of each Deployment and nodes by state.

use super::history::{History, Serving};
use crate::engine::Time;
use crate::plan::{App, DeploymentId, Plan};
use crate::record::Recorder;
use crate::world::{Change, NodeReadiness, PodId, Process, World};

/// Replicas of a Deployment.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub struct Replicas {
    /// `spec.replicas`.
    pub desired: i32,
    /// Pods that exist and are not being deleted.
    pub existing: i32,
    /// Ready ones.
    pub ready: i32,
    /// Ones in service.
    pub in_service: i32,
    /// Requests a second that those in service can serve.
    pub capacity: f64,
}

/// Nodes by state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct NodeStates {
    /// NodeClaims without a Node object.
    pub launching: i32,
    /// Node objects that are not Ready.
    pub not_ready: i32,
    /// Ready.
    pub ready: i32,
    /// Being drained or terminated.
    pub terminating: i32,
}

impl NodeStates {
    /// All of them.
    pub const fn total(&self) -> i32 {
        self.launching + self.not_ready + self.ready + self.terminating
    }
}

/// The state from an instant on.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Since when.
    pub at: Time,
    /// By Deployment.
    pub replicas: Vec<Replicas>,
    /// Nodes.
    pub nodes: NodeStates,
}

/// The states of a run, one for each instant at which anything changed, the start included.
#[derive(Clone, Debug)]
pub struct Series {
    /// In order of time; each holds until the next.
    pub samples: Vec<Sample>,
}

impl Series {
    /// The state at `at`.
    pub fn at(&self, at: Time) -> &Sample {
        let after = self.samples.partition_point(|sample| sample.at <= at);
        &self.samples[after.saturating_sub(1)]
    }
}

#[derive(Clone, Copy, Default)]
struct PodState {
    active: bool,
    ready: bool,
    routable: bool,
    first_request: bool,
    /// Its application does not answer yet.
    starting: bool,
}

impl PodState {
    fn in_service(self, serving: Serving) -> bool {
        match serving {
            Serving::FirstRequest => self.routable && self.first_request,
            Serving::Routable => self.routable,
            Serving::Ready => self.ready && self.active && !self.starting,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum NodeState {
    Absent,
    Launching,
    NotReady,
    Ready,
    Terminating,
}

/// Micro-requests a second that a pod serves at most by itself, millicores that it asks for, and seconds of CPU a request.
#[derive(Clone, Copy, Default)]
struct PodCapacity {
    alone: u64,
    requested: u64,
    cpu: f64,
}

/// Pods of a Deployment that are in service on a node.
#[derive(Clone, Copy)]
struct InService {
    deployment: usize,
    pods: u64,
    /// Micro-requests a second.
    capacity: u64,
}

struct Replay<'a> {
    world: &'a World,
    history: &'a History,
    pods: Vec<PodState>,
    /// By position in `History::nodes`.
    nodes: Vec<NodeState>,
    of_node: Vec<Option<usize>>,
    of_claim: Vec<Option<usize>>,
    /// What one pod serves and needs, by Deployment.
    pod_capacity: Vec<PodCapacity>,
    /// By node, and for pods without one: pods in service by Deployment, and what they can serve together.
    in_service: Vec<Vec<InService>>,
    /// Micro-requests a second that the pods in service can serve, by Deployment.
    capacity: Vec<u64>,
    now: Sample,
}

/// Rebuilds the series.
pub fn read(plan: &Plan, world: &World, recorder: &Recorder, history: &History) -> Series {
    let mut replay = Replay::new(plan, world, history);
    let mut samples = vec![replay.now.clone()];
    for fact in &recorder.facts {
        if !replay.apply(fact.change) {
            continue;
        }
        replay.now.at = fact.at;
        match samples.last_mut() {
            Some(last) if last.at == fact.at => last.clone_from(&replay.now),
            Some(last) if last.replicas == replay.now.replicas && last.nodes == replay.now.nodes => {}
            _ => samples.push(replay.now.clone()),
        }
    }
    Series { samples }
}

impl<'a> Replay<'a> {
    fn new(plan: &Plan, world: &'a World, history: &'a History) -> Replay<'a> {
        let mut of_node = vec![None; world.nodes.len()];
        let mut of_claim = vec![None; world.claims.len()];
        for (index, node) in history.nodes.iter().enumerate() {
            if let Some(id) = node.node {
                of_node[id.index()] = Some(index);
            }
            if let Some(id) = node.claim {
                of_claim[id.index()] = Some(index);
            }
        }
        let capacity = |deployment: usize| {
            let app = plan.app_of(DeploymentId::at(deployment));
            app.map_or_else(PodCapacity::default, |app| pod_capacity(&plan.apps[app.index()], world))
        };
        let mut replay = Replay {
            world,
            history,
            pods: vec![PodState::default(); world.pods.len()],
            nodes: vec![NodeState::Absent; history.nodes.len()],
            of_node,
            of_claim,
            pod_capacity: (0..plan.deployments.len()).map(capacity).collect(),
            in_service: vec![Vec::new(); world.nodes.len() + 1],
            capacity: vec![0; plan.deployments.len()],
            now: Sample {
                at: plan.start,
                replicas: vec![Replicas::default(); plan.deployments.len()],
                nodes: NodeStates::default(),
            },
        };
        for (entry, spec) in replay.now.replicas.iter_mut().zip(&plan.deployments) {
            entry.desired = spec.replicas;
        }
        replay.populate(plan);
        replay
    }

    /// What was there at the start.
    fn populate(&mut self, plan: &Plan) {
        for (index, node) in self.history.nodes.iter().enumerate().filter(|(_, node)| node.initial) {
            self.node(index, if node.node.is_some() { NodeState::Ready } else { NodeState::Launching });
        }
        for pod in self.history.pods.iter().filter(|pod| pod.initial) {
            let bound = pod.bound.is_some_and(|bound| bound <= plan.start);
            self.pod(pod.id, |state| *state = PodState { active: true, ready: bound, ..*state });
        }
        for (target, _) in self.history.initial_targets.iter().enumerate().filter(|&(_, &initial)| initial) {
            let pod = self.world.targets[target].pod;
            self.pod(pod, |state| *state = PodState { routable: true, first_request: true, ..*state });
        }
    }

    fn pod(&mut self, pod: PodId, change: impl FnOnce(&mut PodState)) -> bool {
        let Some(deployment) = self.history.pods[pod.index()].deployment else { return false };
        let serving = self.history.pods[pod.index()].serving_by;
        let state = &mut self.pods[pod.index()];
        let before = *state;
        change(state);
        let after = *state;
        let entry = &mut self.now.replicas[deployment.index()];
        let difference = |of: fn(PodState) -> bool| i32::from(of(after)) - i32::from(of(before));
        entry.existing += difference(|state| state.active);
        entry.ready += difference(|state| state.ready && state.active);
        let (was, is) = (before.in_service(serving), after.in_service(serving));
        entry.in_service += i32::from(is) - i32::from(was);
        if was != is {
            self.count_in_service(pod, deployment.index(), is);
        }
        true
    }

    /// A pod comes into service or leaves it: what its node can serve is divided anew.
    fn count_in_service(&mut self, pod: PodId, deployment: usize, is: bool) {
        let node = self.world.pod(pod).node;
        let here = &mut self.in_service[node.map_or(self.world.nodes.len(), crate::world::NodeId::index)];
        match here.iter_mut().find(|entry| entry.deployment == deployment) {
            Some(entry) if is => entry.pods += 1,
            Some(entry) => entry.pods -= 1,
            None => here.push(InService { deployment, pods: 1, capacity: 0 }),
        }
        let of = |entry: &InService| self.pod_capacity[entry.deployment];
        let asked: u64 = here.iter().map(|entry| entry.pods * of(entry).requested.max(1)).sum();
        let cores = node.map_or(f64::INFINITY, |node| self.world.node(node).allocatable.cpu.0 as f64 / 1_000.0);
        for entry in here {
            let one = self.pod_capacity[entry.deployment];
            // When all want more than there is, a pod gets the part that it asked for.
            let part = (entry.pods * one.requested.max(1)) as f64 / asked.max(1) as f64;
            let by_node = if one.cpu > 0.0 && cores > 0.0 { cores * part / one.cpu * 1e6 } else { f64::INFINITY };
            let capacity = (entry.pods * one.alone).min(by_node as u64);
            let before = std::mem::replace(&mut entry.capacity, capacity);
            let total = &mut self.capacity[entry.deployment];
            *total = *total - before + capacity;
            self.now.replicas[entry.deployment].capacity = *total as f64 / 1e6;
        }
    }

    fn node(&mut self, index: usize, state: NodeState) -> bool {
        let before = std::mem::replace(&mut self.nodes[index], state);
        let counts = &mut self.now.nodes;
        for (state, change) in [(before, -1), (state, 1)] {
            match state {
                NodeState::Absent => {}
                NodeState::Launching => counts.launching += change,
                NodeState::NotReady => counts.not_ready += change,
                NodeState::Ready => counts.ready += change,
                NodeState::Terminating => counts.terminating += change,
            }
        }
        before != state
    }

    fn apply(&mut self, change: Change) -> bool {
        let pod_of = |target: crate::world::TargetId| self.world.targets[target.index()].pod;
        match change {
            Change::DeploymentScaled { deployment, to, .. } => {
                self.now.replicas[deployment.index()].desired = to;
                true
            }
            Change::PodCreated(pod) => self.pod(pod, |state| state.active = true),
            Change::PodReady(pod, ready) => self.pod(pod, |state| state.ready = ready),
            Change::PodProcess(pod, process) => self.pod(pod, |state| state.starting = process == Process::Starting),
            Change::PodDeleting(pod, _) => self.pod(pod, |state| state.active = false),
            Change::PodGone(pod) => self.pod(pod, |state| *state = PodState::default()),
            Change::TargetRoutable(target, routable) => self.pod(pod_of(target), |state| state.routable = routable),
            Change::TargetInService(target) => self.pod(pod_of(target), |state| state.first_request = true),
            Change::TargetGone(target) => self.pod(pod_of(target), |state| state.routable = false),
            Change::ClaimCreated(claim) => {
                self.of_claim[claim.index()].is_some_and(|i| self.node(i, NodeState::Launching))
            }
            Change::NodeCreated(node) => self.of_node[node.index()].is_some_and(|i| self.node(i, NodeState::NotReady)),
            Change::NodeReady(node, readiness) => self.of_node[node.index()].is_some_and(|index| {
                let state = if readiness == NodeReadiness::Ready { NodeState::Ready } else { NodeState::NotReady };
                let ends = matches!(self.nodes[index], NodeState::Terminating | NodeState::Absent);
                !ends && self.node(index, state)
            }),
            Change::NodeDeleting(node) => self.of_node[node.index()].is_some_and(|index| self.end(index)),
            Change::ClaimDeleting(claim, _) => self.of_claim[claim.index()].is_some_and(|index| self.end(index)),
            Change::NodeGone(node) => self.of_node[node.index()].is_some_and(|i| self.node(i, NodeState::Absent)),
            Change::ClaimGone(claim) => self.of_claim[claim.index()].is_some_and(|i| self.node(i, NodeState::Absent)),
            _ => false,
        }
    }

    fn end(&mut self, index: usize) -> bool {
        self.nodes[index] != NodeState::Absent && self.node(index, NodeState::Terminating)
    }
}

/// What one pod serves: as many as its workers turn over, and no more than its CPU limit allows. Its node may allow less.
fn pod_capacity(app: &App, world: &World) -> PodCapacity {
    let template = world.template(world.deployments[app.deployment.index()].spec.template);
    let busy = (app.cpu_per_request + app.wait_per_request).seconds();
    let by_workers = if busy > 0.0 { f64::from(app.workers.max(1)) / busy } else { f64::INFINITY };
    let cpu = app.cpu_per_request.seconds();
    let limit = template.cpu_limit().map(|limit| limit.0 as f64 / 1_000.0);
    let by_cpu = limit.filter(|_| cpu > 0.0).map_or(f64::INFINITY, |cores| cores / cpu);
    let alone = by_workers.min(by_cpu);
    let alone = if alone.is_finite() { (alone * 1e6).min(1e15) as u64 } else { 0 };
    PodCapacity { alone, requested: template.requests.cpu.0.unsigned_abs(), cpu }
}
