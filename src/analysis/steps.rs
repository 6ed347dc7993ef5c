//! Scaling steps up and down, and replacements of what a node took with it.
//!
//! ```text
//!  DeploymentScaled 2 -> 4           ─► step {trigger, the pods in its two places, detection, time to serve, phases}
//!  DeploymentScaled 4 -> 2           ─► step down {victims: deregistered, drained, gone; nodes gone}
//!  notice, failure, disruption, drain ─► replacement {pods displaced, pods that took their place}
//! ```

use super::history::{History, NodeHistory, PodHistory};
use super::phases::{self, PhaseSpan};
use super::places::{Moved, Places, Tenant};
use crate::engine::{Span, Time};
use crate::plan::{ActionKind, AppId, Curve, DeploymentId, Plan};
use crate::record::Recorder;
use crate::world::{Change, DeleteCause, DisruptionReason, NodeId, Owner, PodId, PodPhase, World};
use std::collections::{BTreeMap, BTreeSet};

/// One scaling step upwards: an autoscaler or a user wrote more replicas.
#[derive(Clone, Debug)]
pub struct Step {
    /// Its number, from 1.
    pub number: u32,
    /// What was scaled.
    pub deployment: DeploymentId,
    /// Replicas before.
    pub from: i32,
    /// Replicas after.
    pub to: i32,
    /// When.
    pub trigger: Time,
    /// An autoscaler wrote it.
    pub by_hpa: bool,
    /// The load change that led an autoscaler to it.
    pub load_change: Option<Time>,
    /// An earlier step answered that change already: this one follows from that one, or from what it left undone.
    pub follows: bool,
    /// The pods created because of it, and those that took the place of one that left before it served.
    pub pods: Vec<StepPod>,
    /// The last of its pods is in service; `None`: not all are by the end of the run.
    pub served: Option<Time>,
    /// Fewer were wanted before all of its pods were in service: then the last of those that were let go had still waited.
    pub let_go: Option<Time>,
    /// Replicas of it that were no longer wanted before one served.
    pub unwanted: usize,
    /// Position in `pods` of the one that was last.
    pub critical: Option<usize>,
}

/// A pod of a step.
#[derive(Clone, Debug)]
pub struct StepPod {
    /// Which.
    pub pod: PodId,
    /// When it was in service.
    pub served: Option<Time>,
    /// Deletion was asked for before that: another pod takes its place, or it was let go.
    pub cancelled: bool,
    /// Where its time went, from the trigger until it was in service, or until now if it is not.
    pub phases: Vec<PhaseSpan>,
}

impl Step {
    /// From load change to trigger, of the first step that answers it.
    pub fn detection(&self) -> Option<Span> {
        self.load_change.filter(|_| !self.follows).map(|change| self.trigger - change)
    }

    /// From trigger until the last pod is in service.
    pub fn time_to_serve(&self) -> Option<Span> {
        self.served.map(|served| served - self.trigger)
    }

    /// From trigger until the last of its pods was let go: it would have taken that long at least.
    pub fn broken_off_after(&self) -> Option<Span> {
        self.let_go.map(|at| at - self.trigger)
    }

    /// The pod that was last, with its phases: the critical path.
    pub fn critical_pod(&self) -> Option<&StepPod> {
        self.critical.map(|index| &self.pods[index])
    }
}

/// One scaling step downwards.
#[derive(Clone, Debug)]
pub struct StepDown {
    /// What was scaled.
    pub deployment: DeploymentId,
    /// Replicas before.
    pub from: i32,
    /// Replicas after.
    pub to: i32,
    /// When.
    pub trigger: Time,
    /// An autoscaler wrote it.
    pub by_hpa: bool,
    /// The pods that were deleted because of it.
    pub victims: Vec<PodId>,
    /// Nodes of victims that were consolidated afterwards.
    pub nodes: Vec<NodeId>,
}

/// Pods that a node took with it, and the pods that took their place.
#[derive(Clone, Debug)]
pub struct Replacement {
    /// Which node.
    pub node: NodeId,
    /// Why.
    pub why: Why,
    /// The notice, the failure, or the start of the disruption.
    pub trigger: Time,
    /// Pods that were on it and had to go.
    pub displaced: Vec<PodId>,
    /// The last of them is gone.
    pub gone: Option<Time>,
    /// Pods that took their place.
    pub replacements: Vec<PodId>,
    /// The last of those is in service; `None`: not all are by the end.
    pub served: Option<Time>,
    /// Nobody had to take their place, or those who were to were let go before: fewer were wanted by then.
    pub needless: bool,
}

/// Why a node goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// A spot interruption notice.
    Interruption,
    /// It failed without notice.
    Failure,
    /// Karpenter disrupted it.
    Disruption(DisruptionReason),
    /// A user drained it.
    Drain,
    /// Its deletion was asked for otherwise.
    Deletion,
}

impl Why {
    /// In words.
    pub const fn name(self) -> &'static str {
        match self {
            Why::Interruption => "interruption",
            Why::Failure => "node failure",
            Why::Disruption(reason) => reason.name(),
            Why::Drain => "kubectl drain",
            Why::Deletion => "deletion",
        }
    }
}

impl Replacement {
    /// From the trigger until the last replacement is in service.
    pub fn time_to_replace(&self) -> Option<Span> {
        self.served.map(|served| served - self.trigger)
    }
}

/// What [`steps`] finds.
pub struct Steps {
    /// Steps up.
    pub ups: Vec<Step>,
    /// Steps down.
    pub downs: Vec<StepDown>,
    /// By pod: a rollout made it.
    pub rolled_out: Vec<bool>,
}

/// Steps up, steps down and the pods that a rollout made.
pub fn steps(plan: &Plan, world: &World, recorder: &Recorder, history: &History) -> Steps {
    let sizes = first_sizes(world, recorder);
    let mut book = Book::new(plan, world, &sizes, history);
    for fact in &recorder.facts {
        match fact.change {
            Change::DeploymentChanged(deployment) if is_creation(plan, world, deployment, fact.at) => {
                let size = sizes[deployment.index()];
                if book.places.is_empty(deployment) && size > 0 {
                    book.scaled(plan, fact.at, deployment, (0, size), false);
                }
            }
            Change::DeploymentScaled { deployment, from, to, by } => {
                book.scaled(plan, fact.at, deployment, (from, to), by.is_some());
            }
            Change::PodCreated(pod) => book.created(fact.at, pod),
            Change::PodDeleting(pod, cause) => book.deleting(fact.at, pod, cause),
            Change::PodGone(pod) | Change::PodPhase(pod, PodPhase::Failed | PodPhase::Succeeded) => {
                book.deleting(fact.at, pod, DeleteCause::Forced);
            }
            _ => {}
        }
    }
    let Book { mut ups, mut downs, places, .. } = book;
    for step in &mut ups {
        finish(step, plan, world, history);
    }
    // A node that several steps emptied went with the last of them before it was disrupted.
    let mut taken: BTreeSet<NodeId> = BTreeSet::new();
    for down in downs.iter_mut().rev() {
        down.nodes = nodes_of_victims(world, history, down);
        down.nodes.retain(|&node| taken.insert(node));
    }
    Steps { ups, downs, rolled_out: places.rolled_out }
}

/// A Deployment came to be during the run.
fn is_creation(plan: &Plan, world: &World, deployment: DeploymentId, at: Time) -> bool {
    at > plan.start && world.deployments[deployment.index()].created == at
}

/// The replicas with which each Deployment came to be: those before they were first changed.
fn first_sizes(world: &World, recorder: &Recorder) -> Vec<i32> {
    let mut sizes: Vec<Option<i32>> = vec![None; world.deployments.len()];
    for fact in &recorder.facts {
        if let Change::DeploymentScaled { deployment, from, .. } = fact.change {
            sizes[deployment.index()].get_or_insert(from);
        }
    }
    let known = sizes.into_iter().zip(&world.deployments);
    known.map(|(size, deployment)| size.unwrap_or(deployment.replicas)).collect()
}

/// What is known while the facts are read.
struct Book<'a> {
    ups: Vec<Step>,
    downs: Vec<StepDown>,
    places: Places,
    /// Pods that no longer count as active.
    left: Vec<bool>,
    world: &'a World,
    history: &'a History,
}

impl<'a> Book<'a> {
    fn new(plan: &Plan, world: &'a World, sizes: &[i32], history: &'a History) -> Book<'a> {
        let mut places = Places::new(plan.deployments.len(), world.pods.len());
        let mut initial = vec![0; plan.deployments.len()];
        for pod in history.pods.iter().filter(|pod| pod.initial) {
            if let Some(deployment) = pod.deployment {
                places.settle(deployment, pod.id);
                initial[deployment.index()] += 1;
            }
        }
        let of_start = world.deployments.iter().filter(|deployment| deployment.created <= plan.start);
        for deployment in of_start.map(|deployment| deployment.id).filter(|id| id.index() < plan.deployments.len()) {
            let size = usize::try_from(sizes[deployment.index()]).unwrap_or(0);
            places.open(deployment, size.saturating_sub(initial[deployment.index()]), None);
        }
        Book { ups: Vec::new(), downs: Vec::new(), places, left: vec![false; world.pods.len()], world, history }
    }

    fn scaled(&mut self, plan: &Plan, at: Time, deployment: DeploymentId, (from, to): (i32, i32), by_hpa: bool) {
        let count = usize::try_from(from.abs_diff(to)).unwrap_or(0);
        if to < from {
            let (victims, nodes) = (Vec::new(), Vec::new());
            self.downs.push(StepDown { deployment, from, to, trigger: at, by_hpa, victims, nodes });
            let moved = self.places.close(deployment, count);
            self.note(at, &moved);
        } else {
            self.places.open(deployment, count, Some(self.ups.len()));
            let load_change = load_change(plan, deployment, at).filter(|_| by_hpa);
            let answers = |step: &Step| step.deployment == deployment && step.load_change == load_change;
            let follows = load_change.is_some() && self.ups.iter().any(answers);
            self.ups.push(Step {
                number: u32::try_from(self.ups.len() + 1).unwrap_or(u32::MAX),
                deployment,
                from,
                to,
                trigger: at,
                by_hpa,
                load_change,
                follows,
                pods: Vec::new(),
                served: None,
                let_go: None,
                unwanted: 0,
                critical: None,
            });
        }
    }

    fn tenant(&self, pod: PodId) -> Option<Tenant> {
        let deployment = self.history.pods[pod.index()].deployment?;
        Some(Tenant { pod, owner: self.world.pod(pod).owner, deployment })
    }

    fn created(&mut self, at: Time, pod: PodId) {
        let moved = self.tenant(pod).and_then(|tenant| self.places.created(tenant));
        self.note(at, moved.as_slice());
    }

    fn deleting(&mut self, at: Time, pod: PodId, cause: DeleteCause) {
        if std::mem::replace(&mut self.left[pod.index()], true) {
            return;
        }
        let Some(tenant) = self.tenant(pod) else { return };
        let history = self.history;
        let moved = self.places.left(tenant, cause, |pod| history.pods[pod.index()].serving);
        self.note(at, &moved);
        if cause == DeleteCause::ScaleDown {
            let down = self.downs.iter_mut().rev().find(|down| down.deployment == tenant.deployment);
            if let Some(down) = down {
                down.victims.push(pod);
            }
        }
    }

    /// What moved in the places of steps.
    fn note(&mut self, at: Time, moved: &[Moved]) {
        for &one in moved {
            match one {
                Moved::Taken(step, pod) => {
                    self.ups[step].pods.push(StepPod { pod, served: None, cancelled: false, phases: Vec::new() });
                }
                Moved::Left(step, pod) => {
                    let own = self.ups[step].pods.iter_mut().filter(|entry| entry.pod == pod);
                    own.for_each(|entry| entry.cancelled = true);
                }
                Moved::Closed(step) => {
                    let step = &mut self.ups[step];
                    step.unwanted += 1;
                    // The last place that was taken back; `finish` looks whether that ends the step.
                    step.let_go = Some(at);
                }
            }
        }
    }
}

fn finish(step: &mut Step, plan: &Plan, world: &World, history: &History) {
    for entry in &mut step.pods {
        let pod = &history.pods[entry.pod.index()];
        entry.served = pod.serving.map(|at| at.max(step.trigger));
        let end = entry.served.or(pod.deleting).unwrap_or(plan.until).max(step.trigger);
        entry.phases = phases::of_pod(history, world, pod, step.trigger, end);
    }
    let kept = step.pods.iter().filter(|entry| !entry.cancelled).count();
    let wanted = usize::try_from(step.to - step.from).unwrap_or(0);
    let fewer_wanted = step.let_go.take();
    let unserved = step.pods.iter().any(|entry| !entry.cancelled && entry.served.is_none());
    let open = unserved || kept + step.unwanted < wanted;
    // Pods that were let go while nobody took their place: those that came are not the whole answer.
    let is_let_go = !open && step.unwanted > 0;
    let end = |entry: &StepPod| match entry.served {
        None if entry.cancelled => history.pods[entry.pod.index()].deleting,
        served => served,
    };
    // The pod that is last, or one that is not there yet; of equals the first.
    let counts = step.pods.iter().enumerate().filter(|(_, entry)| is_let_go || !entry.cancelled);
    let key = |entry: &StepPod| end(entry).unwrap_or(Time::MAX);
    let last = counts.max_by_key(|(index, entry)| (key(entry), std::cmp::Reverse(*index))).map(|(index, _)| index);
    let ended = last.and_then(|index| end(&step.pods[index]));
    step.critical = last;
    step.served = ended.filter(|_| !open && !is_let_go);
    step.let_go = if is_let_go { ended.max(fewer_wanted).map(|at| at.max(step.trigger)) } else { None };
}

/// The last corner of the traffic of a Deployment's application before the trigger.
fn load_change(plan: &Plan, deployment: DeploymentId, trigger: Time) -> Option<Time> {
    let app = plan.app_of(deployment)?;
    let mut changes: Vec<Time> = Vec::new();
    for (from, curve) in loads(plan, app) {
        changes.retain(|&at| at < from);
        if from > plan.start {
            changes.push(from);
        }
        changes.extend(corners(curve).into_iter().filter(|&at| at >= from));
    }
    changes.retain(|&at| at <= trigger && at >= plan.start);
    changes.last().copied()
}

/// The curves of an application's load, each with the instant from which it is in force.
fn loads(plan: &Plan, app: AppId) -> Vec<(Time, &Curve)> {
    let entry = &plan.apps[app.index()];
    let mut loads = vec![(plan.start, entry.cores.as_ref().unwrap_or(&entry.traffic))];
    for action in &plan.actions {
        match &action.kind {
            ActionKind::SetLoad(changed, curve) if *changed == app => loads.push((action.at, curve)),
            _ => {}
        }
    }
    loads
}

/// The load of an application at `at`: requests a second, or cores.
pub fn load_at(plan: &Plan, app: AppId, at: Time) -> f64 {
    let loads = loads(plan, app);
    loads.iter().rev().find(|&&(from, _)| from <= at).or(loads.first()).map_or(0.0, |(_, curve)| curve.at(at))
}

/// Does the load of a Deployment begin to climb or fall along a slope at `at`, rather than at one stroke?
pub fn begins_ramp(plan: &Plan, deployment: DeploymentId, at: Time) -> bool {
    let Some(app) = plan.app_of(deployment) else { return false };
    let loads = loads(plan, app);
    let Some((_, curve)) = loads.iter().rev().find(|&&(from, _)| from <= at) else { return false };
    let changes = || curve.points.windows(2).filter(|pair| pair[0].0 == at && pair[0].1 != pair[1].1);
    changes().next().is_some() && changes().all(|pair| pair[1].0 > at)
}

/// Instants at which a curve really changes: a step, or the start of a slope.
pub fn corners(curve: &Curve) -> Vec<Time> {
    let mut changes = Vec::new();
    for pair in curve.points.windows(2) {
        if pair[0].1 != pair[1].1 {
            changes.push(pair[0].0);
        }
    }
    changes.dedup();
    changes
}

fn nodes_of_victims(world: &World, history: &History, down: &StepDown) -> Vec<NodeId> {
    let mut nodes: Vec<NodeId> = down.victims.iter().filter_map(|&pod| world.pod(pod).node).collect();
    nodes.sort_unstable();
    nodes.dedup();
    nodes.retain(|&node| {
        let history = history.node(node);
        let consolidated = history
            .and_then(|node| node.reason)
            .is_some_and(|reason| matches!(reason, DisruptionReason::Empty | DisruptionReason::Underutilized));
        let disrupted = history.and_then(|node| node.disrupted.map(|(at, _)| at).or(node.gone));
        consolidated && disrupted.is_some_and(|at| at >= down.trigger)
    });
    nodes
}

/// Replacements, in order of their triggers.
pub fn replacements(history: &History, world: &World, recorder: &Recorder, steps: &Steps) -> Vec<Replacement> {
    let mut taken: Vec<bool> = steps.rolled_out.clone();
    for entry in steps.ups.iter().flat_map(|step| &step.pods) {
        taken[entry.pod.index()] = true;
    }
    let evicted = first_evictions(history, world, recorder);
    let begun = history.nodes.iter().filter_map(|node| begin(node, &evicted));
    let mut begun: Vec<(Time, Why, NodeId)> = begun.collect();
    begun.sort_by_key(|&(at, _, node)| (at, node));
    let found = begun.into_iter().filter_map(|(trigger, why, node)| {
        let mut displaced = displaced(history, world, node, trigger);
        if why == Why::Drain {
            displaced.retain(|pod| history.pods[pod.index()].cause == Some(DeleteCause::Eviction));
        }
        (!displaced.is_empty()).then(|| replace(history, world, (trigger, why, node), displaced, &mut taken))
    });
    found.collect()
}

/// When an eviction of one of its pods was first asked for, by node.
fn first_evictions(history: &History, world: &World, recorder: &Recorder) -> BTreeMap<NodeId, Time> {
    let granted = history.pods.iter().filter(|pod| pod.cause == Some(DeleteCause::Eviction));
    let granted = granted.filter_map(|pod| Some((pod.deleting?, pod.id)));
    let mut first: BTreeMap<NodeId, Time> = BTreeMap::new();
    for (at, pod) in granted.chain(recorder.refused_evictions.iter().copied()) {
        if let Some(node) = world.pod(pod).node {
            first.entry(node).and_modify(|known| *known = at.min(*known)).or_insert(at);
        }
    }
    first
}

fn begin(node: &NodeHistory, evicted: &BTreeMap<NodeId, Time>) -> Option<(Time, Why, NodeId)> {
    let id = node.node?;
    let disrupted = node.disrupted.map(|(at, reason)| (at, Why::Disruption(reason)));
    let deleting = node.deleting.map(|at| (at, node.reason.map_or(Why::Deletion, Why::Disruption)));
    let interrupted = node.interrupted.map(|at| (at, Why::Interruption));
    let failed = node.failed.map(|at| (at, Why::Failure));
    // Karpenter evicts from nodes that it has chosen before, users from any.
    let drained = evicted.get(&id).map(|&at| (at, Why::Drain));
    let causes = [interrupted, disrupted, deleting, failed, drained];
    causes.into_iter().flatten().min_by_key(|&(at, _)| at).map(|(at, why)| (at, why, id))
}

fn displaced(history: &History, world: &World, node: NodeId, trigger: Time) -> Vec<PodId> {
    let on_it = history.pods.iter().filter(|pod| {
        let entry = world.pod(pod.id);
        let there = entry.node == Some(node) && pod.bound.is_some_and(|bound| bound <= trigger);
        there && matches!(entry.owner, Owner::ReplicaSet(_)) && pod.deleting.is_none_or(|deleting| deleting >= trigger)
    });
    // What a scale-down took anyway, or nobody took by the end, was not displaced.
    let displaced = on_it.filter(|pod| pod.deleting.is_some() && pod.cause != Some(DeleteCause::ScaleDown));
    displaced.map(|pod| pod.id).collect()
}

fn replace(
    history: &History,
    world: &World,
    (trigger, why, node): (Time, Why, NodeId),
    displaced: Vec<PodId>,
    taken: &mut [bool],
) -> Replacement {
    let mut replacements = Vec::new();
    for &old in &displaced {
        let old = &history.pods[old.index()];
        let new = history.pods.iter().find(|pod| {
            let follows = !pod.initial && pod.deployment == old.deployment && pod.deployment.is_some();
            follows && !taken[pod.id.index()] && Some(pod.created) >= old.deleting.max(Some(trigger))
        });
        if let Some(new) = new {
            taken[new.id.index()] = true;
            replacements.push(new.id);
        }
    }
    let ends = |pods: &[PodId], end: fn(&PodHistory) -> Option<Time>| -> Option<Time> {
        let ends: Option<Vec<Time>> = pods.iter().map(|pod| end(&history.pods[pod.index()])).collect();
        ends.and_then(|ends| ends.into_iter().max())
    };
    // Where no pod is missing in the end, a place that nobody took, or whose taker went before it served, was not needed.
    let complete = displaced.iter().all(|&old| !is_short(world, old));
    let let_go = |pod: &PodId| {
        let pod = &history.pods[pod.index()];
        complete && pod.serving.is_none() && pod.deleting.is_some()
    };
    let needed: Vec<PodId> = replacements.iter().copied().filter(|pod| !let_go(pod)).collect();
    let served = ends(&needed, |pod| pod.serving);
    Replacement {
        node,
        why,
        trigger,
        gone: ends(&displaced, |pod| pod.gone),
        served: served.filter(|_| complete || replacements.len() == displaced.len()),
        needless: complete && needed.is_empty(),
        displaced,
        replacements,
    }
}

/// The Deployment of a pod has fewer pods at the end than it wants.
fn is_short(world: &World, pod: PodId) -> bool {
    let Some(deployment) = world.deployment_of(pod) else { return false };
    let entry = &world.deployments[deployment.index()];
    let pods = entry.replica_sets.iter().flat_map(|&set| &world.replica_sets[set.index()].pods);
    let active = pods.filter(|&&pod| world.pod(pod).is_active() && world.pod(pod).deleting_since.is_none());
    (active.count() as i32) < entry.replicas
}
