//! kube-scheduler.
//!
//! ```text
//!  PodAdded ─► queue ─► Attempt ─(SchedulerAttempt)─► Outcome ─► assume ─(SchedulerBind)─► Bind ─► World::bind_pod
//!               ▲  ▲      reads world, assumed pods     │
//!               │  └─ Tick (backoff), Flush (30 s)      └► World::mark_unschedulable, preemption: World::delete_pod
//!               └──── NodeAdded, NodeTaints, NodeLabels, NodeGone, PodBound, PodGone: queueing hints
//! ```
//!
//! One attempt at a time; a decision is made on the state at the start of the attempt. Source:
//! `pkg/scheduler/{schedule_one,eventhandlers}.go`, `backend/queue`, `framework/plugins`. Left out: dynamic
//! resources, extenders, several profiles; the decision reads the world itself, not a cache that lags by a watch event.

pub mod decide;
pub mod filters;
pub mod heap;
pub mod hints;
pub mod inter_pod;
pub mod preemption;
pub mod queue;
pub mod reading;
mod repeated;
pub mod scores;
pub mod spread;
pub mod standing;
mod told;
pub mod view;

use crate::components::{self, Cx};
use crate::engine::{Purpose, Span, Time};
use crate::plan::{Plan, Stage, TemplateId};
use crate::record::Decision as Told;
use crate::world::{DeleteCause, NodeId, PodId, World};
use decide::{Decision, NO_NODES, decide_for};
use filters::Plugins;
use hints::{Happening, Seen, useful};
use queue::{Place, SchedulingQueue};
use repeated::{Inputs, Refused};
use std::collections::{BTreeMap, BTreeSet};
use view::{Assumed, Cluster, View};

const TIE: Purpose = Purpose::named("scheduler.tie");
const FLUSH: Purpose = Purpose::named("scheduler.flush");
const PREEMPTION_OFFSET: Purpose = Purpose::named("scheduler.preemption.offset");

/// The attempt in progress.
struct Attempt {
    pod: PodId,
    began: Time,
    /// `None`: the pod has left the queue, and nothing was looked at yet.
    decision: Option<Decision>,
    /// What that was made from, as far as it can be kept.
    inputs: Option<Inputs>,
    /// What happened since the pod left the queue.
    happenings: Vec<Happening>,
}

/// An attempt that is over, as [`Scheduler::keep_history`] keeps it.
#[derive(Clone, Debug, PartialEq)]
pub struct Tried {
    /// When it began.
    pub at: Time,
    /// For which pod.
    pub pod: PodId,
    /// How it ended.
    pub result: TriedResult,
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq)]
pub enum TriedResult {
    /// On a node; true: the binding failed.
    Node(NodeId, bool),
    /// Nowhere, for these plugins.
    Unschedulable(Plugins),
}

/// Its memory.
#[derive(Default)]
pub struct Scheduler {
    queue: SchedulingQueue,
    attempt: Option<Attempt>,
    /// The last decision, if it found no node.
    refused: Option<Refused>,
    /// The condition of a pod is being written: the next attempt waits for the answer.
    writing: bool,
    /// Pods whose binding is on its way.
    binding: BTreeMap<PodId, NodeId>,
    assumed: Assumed,
    nominated: Vec<(PodId, NodeId)>,
    cluster: Cluster,
    cluster_is_stale: bool,
    /// Nodes as they were last seen, by id.
    seen: Vec<Option<Seen>>,
    /// Templates of pods as they were last seen, by id.
    seen_templates: Vec<TemplateId>,
    /// Bindings that failed on purpose, by pod.
    failed_bindings: BTreeMap<PodId, u32>,
    /// Pods that were bound while they were nominated, until the watch says so.
    bound_nominated: BTreeSet<PodId>,
    /// Attempts with their outcomes, if somebody asked for them.
    history: Option<Vec<Tried>>,
    start_index: usize,
    /// The next tick that is scheduled.
    tick: Option<Time>,
    flush_origin: Time,
    flush: Option<Time>,
}

/// Why it may be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// A pod without node appeared.
    PodAdded(PodId),
    /// A pod's object was replaced.
    PodUpdated(PodId),
    /// A pod was bound.
    PodBound(PodId),
    /// The status of a pod that has a node changed.
    PodStatus(PodId),
    /// A pod is being deleted.
    PodDeleting(PodId),
    /// A pod vanished.
    PodGone(PodId),
    /// A node appeared.
    NodeAdded(NodeId),
    /// Taints or cordon of a node changed.
    NodeTaints(NodeId),
    /// Labels of a node changed.
    NodeLabels(NodeId),
    /// A node vanished.
    NodeGone(NodeId),
    /// The pod that was taken from the queue is tried.
    Attempt,
    /// The attempt in progress is over.
    Outcome,
    /// The binding of a pod returns.
    Bind(PodId),
    /// The backoff queues are looked through.
    Tick,
    /// The pool is looked through.
    Flush,
    /// The condition of a pod that cannot be scheduled is written.
    Written,
}

impl Scheduler {
    /// Queues what is pending.
    pub fn start(&mut self, cx: &mut Cx) {
        self.cluster_is_stale = true;
        self.start_index = cx.plan.flags.scheduler.start_index as usize;
        let phase = || cx.phase(FLUSH, 0, cx.plan.flags.scheduler.flush_period);
        self.flush_origin = cx.now + cx.plan.flags.scheduler.flush_offset.unwrap_or_else(phase);
        self.seen = cx.world.nodes.iter().map(|node| node.gone.is_none().then(|| Seen::of(node))).collect();
        for index in 0..cx.world.pods.len() {
            let pod = &cx.world.pods[index];
            if let (Some(node), None) = (pod.node, pod.gone) {
                self.assumed.list(cx.world, pod.id, node);
            }
            self.seen_templates.push(pod.template);
            self.pod_added(cx, PodId::at(index));
        }
        self.try_next(cx);
    }

    /// Observe, decide, apply, schedule.
    pub fn handle(&mut self, cx: &mut Cx, event: Event) {
        match event {
            Event::PodAdded(pod) => self.pod_added(cx, pod),
            Event::PodUpdated(pod) => self.pod_updated(cx, pod),
            Event::PodBound(pod) => {
                if !self.binding.contains_key(&pod) {
                    self.queue.forget(pod);
                }
                self.relist(cx, pod);
                if self.bound_nominated.remove(&pod) {
                    self.happen(cx, Happening::NominationGone(pod));
                }
                self.happen(cx, Happening::PodBound(pod));
            }
            Event::PodStatus(pod) => return self.relist(cx, pod),
            Event::PodDeleting(pod) => {
                self.relist(cx, pod);
                // A pending pod that is being deleted is never tried again; a bound one keeps its room until it is gone.
                if cx.world.pod(pod).node.is_none() && !self.is_busy_with(pod) {
                    self.queue.forget(pod);
                }
            }
            Event::PodGone(pod) => self.pod_gone(cx, pod),
            Event::NodeAdded(node) => {
                self.cluster_is_stale = true;
                self.see(cx, node);
                self.happen(cx, Happening::NodeAdded(node));
            }
            Event::NodeTaints(node) => self.node_changed(cx, node),
            Event::NodeLabels(node) => {
                self.cluster_is_stale = true;
                self.node_changed(cx, node);
            }
            Event::NodeGone(node) => {
                self.cluster_is_stale = true;
                self.happen(cx, Happening::NodeGone(node));
            }
            Event::Attempt => self.attempt(cx),
            Event::Outcome => self.outcome(cx),
            Event::Written => self.writing = false,
            Event::Bind(pod) => self.bind(cx, pod),
            Event::Tick => {
                if self.tick.is_some_and(|tick| tick <= cx.now) {
                    self.tick = None;
                }
                self.queue.release(&cx.plan.flags.scheduler, cx.now);
            }
            Event::Flush => {
                self.flush = None;
                self.queue.flush(&cx.plan.flags.scheduler, cx.now);
            }
        }
        self.try_next(cx);
        self.arm(cx);
    }

    fn is_busy_with(&self, pod: PodId) -> bool {
        self.attempt.as_ref().is_some_and(|attempt| attempt.pod == pod) || self.binding.contains_key(&pod)
    }

    /// The cache's order of pods on a node follows what it hears of them.
    fn relist(&mut self, cx: &Cx, pod: PodId) {
        if let (Some(node), None) = (cx.world.pod(pod).node, cx.world.pod(pod).gone) {
            self.assumed.list(cx.world, pod, node);
        }
    }

    /// A pod's object was replaced: its own attempts and those of others may look different now.
    fn pod_updated(&mut self, cx: &mut Cx, pod: PodId) {
        let now = cx.world.pod(pod).template;
        self.seen_templates.resize(cx.world.pods.len().max(self.seen_templates.len()), now);
        let before = std::mem::replace(&mut self.seen_templates[pod.index()], now);
        self.relist(cx, pod);
        self.pod_added(cx, pod);
        self.happen(cx, Happening::PodChanged(pod, before));
    }

    fn pod_added(&mut self, cx: &mut Cx, id: PodId) {
        let pod = cx.world.pod(id);
        while self.seen_templates.len() <= id.index() {
            let next = PodId::at(self.seen_templates.len());
            self.seen_templates.push(cx.world.pod(next).template);
        }
        if pod.node.is_none() && pod.is_active() && matches!(self.queue.place(id), None | Some(Place::Gated)) {
            let priority = cx.world.template_of(id).priority;
            self.queue.add(&cx.plan.flags.scheduler, id, priority, pod.gates > 0, cx.now);
        }
    }

    fn pod_gone(&mut self, cx: &mut Cx, pod: PodId) {
        if let Some(node) = cx.world.pod(pod).node {
            self.assumed.unlist(pod, node);
        }
        let was_nominated = self.nominated.iter().any(|(other, _)| *other == pod);
        self.nominated.retain(|(other, _)| *other != pod);
        if !self.is_busy_with(pod) {
            self.queue.forget(pod);
        }
        if cx.world.pod(pod).node.is_some() {
            self.happen(cx, Happening::PodGone(pod));
        } else if was_nominated {
            self.happen(cx, Happening::NominationGone(pod));
        }
    }

    fn see(&mut self, cx: &Cx, node: NodeId) -> Option<Seen> {
        if self.seen.len() <= node.index() {
            self.seen.resize(node.index() + 1, None);
        }
        self.seen[node.index()].replace(Seen::of(cx.world.node(node)))
    }

    fn node_changed(&mut self, cx: &mut Cx, node: NodeId) {
        if let Some(before) = self.see(cx, node) {
            self.happen(cx, Happening::NodeChanged(node, Box::new(before)));
        }
    }

    /// Asks the hints of the pods in the pool, and keeps it for the pod that is being tried.
    fn happen(&mut self, cx: &mut Cx, happening: Happening) {
        if !self.queue.pool_is_empty() {
            self.refresh(cx);
            let view = view(cx.plan, cx.world, &self.cluster, &self.assumed, &self.nominated);
            let flags = &cx.plan.flags.scheduler;
            let heeds = |pod: PodId| match happening {
                Happening::NominationGone(other) => view.template(pod).priority <= view.template(other).priority,
                _ => true,
            };
            // Pods of one template that were turned down alike hear the same, unless it happened to one of them.
            let mut last: Option<(TemplateId, Plugins, bool)> = None;
            self.queue.move_useful(flags, cx.now, |pod, plugins| {
                let entry = view.world.pod(pod);
                let alone = entry.pinned.is_some() || happening.is_of(pod);
                if let Some((template, others, says)) = last.filter(|_| !alone)
                    && (template, others) == (entry.template, plugins)
                {
                    debug_assert_eq!(says, heeds(pod) && useful(&view, pod, plugins, &happening));
                    return says;
                }
                let says = heeds(pod) && useful(&view, pod, plugins, &happening);
                if !alone {
                    last = Some((entry.template, plugins, says));
                }
                says
            });
        }
        if let Some(attempt) = &mut self.attempt {
            attempt.happenings.push(happening);
        }
    }

    fn refresh(&mut self, cx: &Cx) {
        if self.cluster_is_stale || self.cluster.is_outdated(cx.world) {
            self.cluster.renew(cx.world);
            self.cluster_is_stale = false;
        } else {
            self.cluster.follow(cx.world);
        }
    }

    /// Takes the next pod from the queue unless one is being tried.
    #[inline]
    fn try_next(&mut self, cx: &mut Cx) {
        if self.attempt.is_none()
            && !self.writing
            && let Some(pod) = self.queue.pop(&cx.plan.flags.scheduler)
        {
            self.attempt = Some(Attempt { pod, began: cx.now, decision: None, inputs: None, happenings: Vec::new() });
            cx.at(cx.now, components::Event::Scheduler(Event::Attempt));
        }
    }

    /// Decides where the pod may go; one that is being deleted is let go (`skipPodSchedule`).
    fn attempt(&mut self, cx: &mut Cx) {
        let Some(pod) = self.attempt.as_ref().filter(|attempt| attempt.decision.is_none()).map(|attempt| attempt.pod)
        else {
            return;
        };
        if !cx.world.pod(pod).is_active() || cx.world.pod(pod).node.is_some() {
            self.queue.forget(pod);
            self.attempt = None;
            return;
        }
        self.refresh(cx);
        let view = view(cx.plan, cx.world, &self.cluster, &self.assumed, &self.nominated);
        let (start, tells) = (self.start_index, cx.recorder.explains());
        let inputs = if tells { None } else { Inputs::of(&view, pod, start) };
        let decision = match self.refused.take_if(|refused| Some(&refused.inputs) == inputs.as_ref()) {
            Some(Refused { decision, .. }) => {
                debug_assert!(decision.is_same(&decide_for(&view, pod, start, tells)), "a node changed unnoticed");
                decision
            }
            None => decide_for(&view, pod, start, tells),
        };
        self.start_index = decision.next_start;
        let span = cx.delay(Stage::SchedulerAttempt, self.attempt_key(cx, pod));
        if let Some(attempt) = &mut self.attempt {
            attempt.began = cx.now;
            attempt.decision = Some(decision);
            attempt.inputs = inputs;
        }
        cx.after(span, components::Event::Scheduler(Event::Outcome));
    }

    fn attempt_key(&self, cx: &Cx, pod: PodId) -> u64 {
        let attempt = u64::from(self.queue.attempts(pod));
        cx.world.pod(pod).key().wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(attempt)
    }

    /// The attempt is over: assume and bind, or back to the queue.
    fn outcome(&mut self, cx: &mut Cx) {
        let Some(Attempt { pod, began, decision: Some(decision), inputs, happenings }) = self.attempt.take() else {
            return;
        };
        if decision.best.is_empty()
            && let Some(history) = &mut self.history
        {
            history.push(Tried { at: began, pod, result: TriedResult::Unschedulable(decision.rejectors()) });
        }
        if !cx.world.pod(pod).is_active() && decision.best.is_empty() {
            self.queue.forget(pod);
        } else if decision.nodes == 0 {
            let says = (NO_NODES.to_string(), &preemption::Outcome::Keep);
            let world = &*cx.world;
            cx.recorder.decide(cx.now, || Told::Scheduling(told::refused(world, pod, began, &decision, says)));
            self.write(cx, pod, 0);
            cx.world.mark_unschedulable(pod, 0);
            if cx.plan.node_pools.is_empty() {
                cx.recorder.unplaced.insert(pod, (cx.now, NO_NODES.into()));
            }
            self.queue.error(&cx.plan.flags.scheduler, pod, cx.now);
        } else if decision.best.is_empty() {
            self.unschedulable(cx, (pod, began), &decision, &happenings);
            self.refused = Refused::of(inputs, decision);
        } else {
            let key = cx.world.pod(pod).key();
            let node = decision.best[cx.pick(TIE, key, decision.best.len())];
            let world = &*cx.world;
            cx.recorder.decide(cx.now, || Told::Scheduling(told::placed(world, pod, began, &decision, node)));
            self.assumed.add(pod, node);
            self.assumed.list(cx.world, pod, node);
            self.nominated.retain(|(other, _)| *other != pod);
            if let Some(history) = &mut self.history {
                history.push(Tried { at: began, pod, result: TriedResult::Node(node, false) });
            }
            self.binding.insert(pod, node);
            let mut span = cx.delay(Stage::SchedulerBind, self.attempt_key(cx, pod));
            // A volume that waited for this pod is made where it goes, before it is bound (PreBind of VolumeBinding).
            if !cx.world.template_of(pod).volume_claims.is_empty() && cx.world.bind_volumes(pod, node) {
                span += cx.delay(Stage::VolumeProvision, key);
            }
            cx.after(span, components::Event::Scheduler(Event::Bind(pod)));
        }
    }

    fn unschedulable(
        &mut self,
        cx: &mut Cx,
        (pod, began): (PodId, Time),
        decision: &Decision,
        happenings: &[Happening],
    ) {
        self.refresh(cx);
        let plugins = decision.rejectors();
        let view = view(cx.plan, cx.world, &self.cluster, &self.assumed, &self.nominated);
        let useful = happenings.iter().any(|happening| useful(&view, pod, plugins, happening));
        let key = cx.world.pod(pod).key();
        let offset = cx.pick(PREEMPTION_OFFSET, key, decision.refused.len().max(1));
        let result = preemption::preempt(&view, pod, decision, offset);
        cx.recorder.decide(cx.now, || {
            let says = (message(&view, pod, decision, &result), &result.outcome);
            Told::Scheduling(told::refused(view.world, pod, began, decision, says))
        });
        // Where Karpenter buys no nodes nobody else says why a pod waits.
        let why = cx.plan.node_pools.is_empty().then(|| decision.message(&view, pod));
        let says = decision.message_number() ^ result.says.number();
        self.write(cx, pod, says);
        cx.world.mark_unschedulable(pod, says);
        if let Some(why) = why {
            cx.recorder.unplaced.insert(pod, (cx.now, why.into()));
        }
        self.queue.failed(&cx.plan.flags.scheduler, pod, plugins, useful, cx.now);
        self.apply_preemption(cx, pod, result);
    }

    /// A condition that says something new is written before the next pod is tried (`handleSchedulingFailure`), so that what
    /// happens meanwhile finds some pods tried already, which are tried once more than the others and wait for longer.
    fn write(&mut self, cx: &mut Cx, pod: PodId, says: u64) {
        let entry = cx.world.pod(pod);
        let is_said = entry.unschedulable && entry.unschedulable_message == says;
        if cx.plan.flags.scheduler.awaits_conditions && !is_said {
            self.writing = true;
            let span = cx.delay(Stage::SchedulerBind, self.attempt_key(cx, pod));
            cx.after(span, components::Event::Scheduler(Event::Written));
        }
    }

    /// Victims are deleted, the node is nominated; pods of lower priority nominated there lose it.
    fn apply_preemption(&mut self, cx: &mut Cx, pod: PodId, result: preemption::Result) {
        let nominate = |scheduler: &mut Scheduler, cx: &mut Cx, pod: PodId, node: Option<NodeId>| {
            let before = scheduler.nominated.len();
            scheduler.nominated.retain(|(other, _)| *other != pod);
            let was_nominated = scheduler.nominated.len() < before;
            scheduler.nominated.extend(node.map(|node| (pod, node)));
            cx.world.nominate_pod(pod, node);
            // Whoever heeded it is asked, the pod itself as well (`hasNominatedNodeNameChanged`). One that was moved waits for
            // its victims at any rate.
            if was_nominated && node.is_none() {
                scheduler.happen(cx, Happening::NominationGone(pod));
            }
        };
        match result.outcome {
            preemption::Outcome::Keep => {}
            preemption::Outcome::Clear => nominate(self, cx, pod, None),
            preemption::Outcome::Nominate { node, victims } => {
                let view = view(cx.plan, cx.world, &self.cluster, &self.assumed, &self.nominated);
                let lower = preemption::outranked(&view, pod, node);
                lower.into_iter().for_each(|other| nominate(self, cx, other, None));
                for victim in victims {
                    if let Some(node) = self.binding.remove(&victim) {
                        self.assumed.remove(victim, node);
                        self.queue.forget(victim);
                    }
                    cx.world.delete_pod(victim, None, DeleteCause::Preemption);
                }
                nominate(self, cx, pod, Some(node));
            }
        }
    }

    /// The binding returns. It fails if the pod has vanished or is being deleted.
    fn bind(&mut self, cx: &mut Cx, pod: PodId) {
        let Some(node) = self.binding.remove(&pod) else { return };
        self.assumed.remove(pod, node);
        let possible = cx.world.pod(pod).is_active() && cx.world.pod(pod).node.is_none();
        if possible && !self.fails_on_purpose(cx, pod) {
            self.queue.forget(pod);
            if cx.world.pod(pod).nominated.is_some() {
                self.bound_nominated.insert(pod);
            }
            cx.world.bind_pod(pod, node);
            return;
        }
        self.assumed.unlist(pod, node);
        let own = self.history.iter_mut().flatten().rev().find(|tried| tried.pod == pod);
        if let Some(tried) = own {
            tried.result = TriedResult::Node(node, true);
        }
        self.happen(cx, Happening::PodGone(pod));
        if possible {
            self.queue.error(&cx.plan.flags.scheduler, pod, cx.now);
        } else {
            self.queue.forget(pod);
        }
    }

    fn fails_on_purpose(&mut self, cx: &Cx, pod: PodId) -> bool {
        let failing = &cx.plan.flags.scheduler.failing_bindings;
        let wanted = if failing.is_empty() { None } else { failing.get(&cx.world.pod_name(pod)) };
        let Some(&wanted) = wanted else { return false };
        let failed = self.failed_bindings.entry(pod).or_insert(0);
        *failed += 1;
        *failed <= wanted
    }

    /// Keeps attempts and their outcomes from now on.
    pub fn keep_history(&mut self) {
        self.history.get_or_insert_default();
    }

    /// The attempts that are over, if they are kept, in order of their ends.
    pub fn history(&self) -> &[Tried] {
        self.history.as_deref().unwrap_or_default()
    }

    /// Schedules the next tick and flush, if they can matter.
    fn arm(&mut self, cx: &mut Cx) {
        if let Some(next) = self.queue.next_tick() {
            let next = next.max(cx.now.whole_second() + if next > cx.now { Span::ZERO } else { Span::from_secs(1) });
            if self.tick.is_none_or(|tick| tick > next) {
                self.tick = Some(next);
                cx.at(next, components::Event::Scheduler(Event::Tick));
            }
        }
        if self.flush.is_none() && !self.queue.pool_is_empty() {
            let period = cx.plan.flags.scheduler.flush_period.micros().max(1);
            let passed = cx.now.since(self.flush_origin).micros() / period;
            let next = if cx.now < self.flush_origin {
                self.flush_origin
            } else {
                self.flush_origin + Span::from_micros((passed + 1) * period)
            };
            self.flush = Some(next);
            cx.at(next, components::Event::Scheduler(Event::Flush));
        }
    }
}

/// What the event of an unschedulable pod says: the filters, then preemption unless it found victims.
pub fn message(view: &View, pod: PodId, decision: &Decision, preempted: &preemption::Result) -> String {
    let mut text = decision.message(view, pod);
    if decision.nodes > 0 && preempted.says != preemption::Says::Nothing {
        text.push(' ');
        text.push_str(&preempted.says.text());
    }
    text
}

fn view<'a>(
    plan: &'a Plan,
    world: &'a World,
    cluster: &'a Cluster,
    assumed: &'a Assumed,
    nominated: &'a [(PodId, NodeId)],
) -> View<'a> {
    View { plan, world, cluster, assumed, nominated }
}

/// Places pods on a world that no scheduler watches (those of the initial state); its picture of the nodes is taken once.
pub struct Placer {
    cluster: Cluster,
    assumed: Assumed,
    start_index: usize,
}

impl Placer {
    /// For the nodes and templates that are there now.
    pub fn new(world: &World) -> Placer {
        Placer { cluster: Cluster::of(world), assumed: Assumed::default(), start_index: 0 }
    }

    /// Where a pod would go: the first of the best nodes.
    pub fn place(&mut self, plan: &Plan, world: &World, pod: PodId) -> Option<NodeId> {
        if self.cluster.is_outdated(world) {
            self.cluster.renew(world);
        }
        let view = view(plan, world, &self.cluster, &self.assumed, &[]);
        let decision = decide_for(&view, pod, self.start_index, false);
        self.start_index = decision.next_start;
        decision.best.first().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::decide::decide;
    use super::*;
    use crate::components::kubernetes::testbed::{self, Testbed, node, plan, template};
    use crate::plan::{PodTemplate, TopologySpread};
    use crate::rules::labels::{LabelSelector, Labels};
    use crate::rules::taint::{Taint, TaintEffect};
    use crate::world::Change;

    fn bound(testbed: &Testbed, pod: PodId) -> Option<f64> {
        testbed.when(|change| *change == Change::PodBound(pod))
    }

    /// A decision for a new pod of the last template, on a world that `populate` makes.
    fn decision(templates: Vec<PodTemplate>, populate: impl FnOnce(&mut World)) -> (Decision, String) {
        let last = templates.len() as u32 - 1;
        let plan = plan(templates);
        let mut world = World::new(&plan);
        populate(&mut world);
        let pod = testbed::new_pod(&mut world, last);
        let (cluster, assumed) = (Cluster::of(&world), Assumed::default());
        let view = view(&plan, &world, &cluster, &assumed, &[]);
        let decision = decide(&view, pod, 0);
        let message = decision.message(&view, pod);
        (decision, message)
    }

    #[test]
    fn an_attempt_and_a_binding_take_their_time_and_room_counts_from_the_outcome_on() {
        let mut plan = plan(vec![template(600)]);
        let constant = |millis| crate::plan::Distribution::Constant(Span::from_millis(millis));
        plan.timings.set(Stage::SchedulerAttempt, constant(3));
        plan.timings.set(Stage::SchedulerBind, constant(10));
        let mut testbed = Testbed::new(plan, |world| {
            Testbed::ready_node(world, node("a", 1000, "x"));
            Testbed::ready_node(world, node("b", 1000, "x"));
        });
        let (one, two, three) = (testbed.pod(0), testbed.pod(0), testbed.pod(0));
        testbed.run_to(1.0);
        assert_eq!(bound(&testbed, one), Some(0.013));
        assert_eq!(bound(&testbed, two), Some(0.016), "tried while the first is bound, and not on its node");
        assert_eq!(bound(&testbed, three), None);
        assert_ne!(testbed.world.pod(one).node, testbed.world.pod(two).node);
        assert!(testbed.world.pod(three).unschedulable);
        let said = testbed.waiting_for().pop().unwrap_or_default();
        let expected = "pod-3: 0/2 nodes are available: 2 Insufficient cpu. no new claims to deallocate, preemption: \
                        0/2 nodes are available: 2 No preemption victims found for incoming pod.";
        assert_eq!(said, expected);
        // Room appears: an idle scheduler does not wait for the backoff.
        testbed.act(|world| world.delete_pod(one, Some(Span::ZERO), DeleteCause::User));
        testbed.run_to(2.0);
        assert!(bound(&testbed, three).is_some_and(|at| at < 1.1));
    }

    #[test]
    fn the_next_attempt_waits_until_a_new_condition_is_written() {
        let second_is_bound = |awaits: bool| {
            let mut plan = plan(vec![template(1600), template(600)]);
            let constant = |millis| crate::plan::Distribution::Constant(Span::from_millis(millis));
            plan.timings.set(Stage::SchedulerAttempt, constant(3));
            plan.timings.set(Stage::SchedulerBind, constant(10));
            plan.flags.scheduler.awaits_conditions = awaits;
            let mut testbed = Testbed::new(plan, |world| {
                Testbed::ready_node(world, node("a", 1000, "x"));
            });
            testbed.pod(0);
            let small = testbed.pod(1);
            testbed.run_to(1.0);
            bound(&testbed, small)
        };
        assert_eq!(second_is_bound(false), Some(0.016));
        assert_eq!(second_is_bound(true), Some(0.026), "ten milliseconds later: the write of the first");
    }

    #[test]
    fn a_new_node_takes_pods_when_its_last_taint_is_gone() {
        let mut plan = plan(vec![template(600)]);
        plan.timings.set(Stage::NodeReady, crate::plan::Distribution::Constant(Span::from_secs(20)));
        plan.timings.set(Stage::ApiHop, crate::plan::Distribution::Constant(Span::from_millis(20)));
        let mut testbed = Testbed::new(plan, |world| {
            Testbed::ready_node(world, node("full", 100, "x"));
        });
        let pod = testbed.pod(0);
        testbed.run_to(10.0);
        testbed.act(|world| world.create_node(node("new", 1000, "x")));
        testbed.run_to(29.9);
        assert_eq!(bound(&testbed, pod), None);
        testbed.run_to(31.0);
        let at = bound(&testbed, pod);
        assert!(at.is_some_and(|at| (30.0..30.1).contains(&at)), "{at:?}");
    }

    #[test]
    fn without_any_node_the_error_backoff_runs_its_course() {
        let mut testbed = Testbed::new(plan(vec![template(600)]), |_| {});
        let pod = testbed.pod(0);
        // Attempts at 0, 2, 5, 10 (ends 1, 4, 9; let go at the second after): the node appears just after one.
        testbed.run_to(5.5);
        testbed.act(|world| Testbed::ready_node(world, node("a", 1000, "x")));
        testbed.run_to(9.9);
        assert_eq!(bound(&testbed, pod), None, "no event shortens it");
        testbed.run_to(12.0);
        assert_eq!(bound(&testbed, pod), Some(10.0));
    }

    #[test]
    fn refusals_are_counted_by_reason_and_sorted_as_text() {
        let (decision, message) = decision(vec![template(100)], |world| {
            for (name, cpu) in [("a", 50), ("b", 1000), ("c", 1000)] {
                Testbed::ready_node(world, node(name, cpu, "x"));
            }
            world.add_taint(NodeId(1), Taint::new("k", TaintEffect::NoExecute));
            world.set_unschedulable(NodeId(2), true);
        });
        assert_eq!(decision.feasible, []);
        let expected = "0/3 nodes are available: 1 Insufficient cpu, 1 node(s) had untolerated taint(s), \
                        1 node(s) were unschedulable.";
        assert_eq!(message, expected);
        assert!(decision.refused.iter().all(|(_, refusal)| !refusal.resolvable), "50m can never hold 100m");
    }

    #[test]
    fn the_emptier_node_wins_and_equals_are_all_best() {
        let (decision, _) = decision(vec![template(100)], |world| {
            for name in ["a", "b", "c"] {
                Testbed::ready_node(world, node(name, 1000, "x"));
            }
            let pod = testbed::new_pod(world, 0);
            world.bind_pod(pod, NodeId(0));
        });
        assert_eq!(decision.best, [NodeId(1), NodeId(2)]);
        // Least 94 against 89, balanced alike within a point, taints 300 each.
        assert!(decision.total[0] < decision.total[1]);
    }

    #[test]
    fn a_hard_spread_refuses_the_fuller_zone_and_a_missing_label() {
        let labels = Labels::from([("app".to_string(), "web".to_string())]);
        let mut web = template(10);
        web.topology_spread.push(TopologySpread {
            max_skew: 1,
            topology_key: "topology.kubernetes.io/zone".into(),
            hard: true,
            selector: Some(LabelSelector::from_labels(&labels)),
            min_domains: None,
            honor_affinity: true,
            honor_taints: false,
            match_label_keys: Vec::new(),
        });
        web.labels = labels;
        let (decision, message) = decision(vec![web], |world| {
            Testbed::ready_node(world, node("a", 1000, "x"));
            Testbed::ready_node(world, node("b", 1000, "y"));
            let mut bare = node("c", 1000, "z");
            bare.labels = Labels::new();
            Testbed::ready_node(world, bare);
            let pod = testbed::new_pod(world, 0);
            world.bind_pod(pod, NodeId(0));
        });
        assert_eq!(decision.feasible, [NodeId(1)]);
        let expected = "0/3 nodes are available: 1 node(s) didn't match pod topology spread constraints, \
                        1 node(s) didn't match pod topology spread constraints (missing required label).";
        assert_eq!(message, expected);
    }

    #[test]
    fn preemption_deletes_the_least_important_and_the_pod_follows_when_they_are_gone() {
        let (low, mut high) = (template(600), template(900));
        high.priority = 1000;
        let mut testbed = Testbed::new(plan(vec![low, high]), |world| {
            Testbed::ready_node(world, node("a", 1000, "x"));
        });
        let victim = testbed.pod(0);
        testbed.run_to(10.0);
        let preemptor = testbed.pod(1);
        testbed.run_to(10.5);
        assert!(testbed.world.pod(victim).is_terminating() && testbed.world.pod(victim).disruption_target);
        assert_eq!(testbed.world.pod(preemptor).nominated, Some(NodeId(0)));
        testbed.run_to(15.0);
        assert_eq!(bound(&testbed, preemptor), Some(11.0), "the victim took one second to stop");
    }

    #[test]
    fn a_pod_of_a_daemon_set_goes_to_its_node_or_nowhere() {
        let (decision, message) = decision(vec![template(100)], |world| {
            Testbed::ready_node(world, node("a", 1000, "x"));
            Testbed::ready_node(world, node("b", 1000, "x"));
        });
        assert_eq!((decision.feasible.len(), message.is_empty()), (2, false));
        let plan = plan(vec![template(2000)]);
        let mut world = World::new(&plan);
        Testbed::ready_node(&mut world, node("a", 1000, "x"));
        let there = Testbed::ready_node(&mut world, node("b", 1000, "x"));
        let pod = testbed::new_pod(&mut world, 0);
        world.pods[pod.index()].pinned = Some(there);
        let (cluster, assumed) = (Cluster::of(&world), Assumed::default());
        let view = view(&plan, &world, &cluster, &assumed, &[]);
        let expected =
            "0/2 nodes are available: 1 Insufficient cpu, 1 node(s) didn't satisfy plugin(s) [NodeAffinity].";
        assert_eq!(decide(&view, pod, 0).message(&view, pod), expected);
    }

    #[test]
    fn large_clusters_are_searched_in_part() {
        let table = [99, 100, 500, 1000, 2500, 5000, 10_000].map(|nodes| decide::feasible_target(nodes, 0));
        assert_eq!(table, [99, 100, 230, 420, 750, 500, 500]);
    }

    #[test]
    fn a_message_has_the_number_of_its_words() {
        let with = |cpu: &[i64], tainted: usize| {
            decision(vec![template(600)], |world| {
                for (index, &cpu) in cpu.iter().enumerate() {
                    let taints =
                        if index < tainted { vec![Taint::new("busy", TaintEffect::NoSchedule)] } else { vec![] };
                    Testbed::ready_node(
                        world,
                        crate::world::NewNode { taints, ..node(&format!("n{index}"), cpu, "x") },
                    );
                }
            })
        };
        let told = [with(&[100], 0), with(&[200], 0), with(&[100], 1), with(&[100, 100], 0), with(&[100, 300], 1)];
        for (one, words) in &told {
            for (other, others) in &told {
                assert_eq!(one.message_number() == other.message_number(), words == others, "{words} {others}");
            }
        }
        assert_eq!(told[0].1, told[1].1, "how much is missing is not said");
    }
}
