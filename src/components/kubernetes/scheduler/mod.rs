//! kube-scheduler.
//!
//! ```text
//!  PodAdded ─► queue ─► attempt ─(SchedulerAttempt)─► Outcome ─► assume ─(SchedulerBind)─► Bind ─► World::bind_pod
//!               ▲  ▲      reads world, assumed pods     │
//!               │  └─ Tick (backoff), Flush (30 s)      └► World::mark_unschedulable, preemption: World::delete_pod
//!               └──── NodeAdded, NodeTaints, NodeLabels, NodeGone, PodBound, PodGone: queueing hints
//! ```
//!
//! One attempt at a time; a decision is made on the state at the start of the attempt. Source:
//! `pkg/scheduler/{schedule_one,eventhandlers}.go`, `backend/queue`, `framework/plugins`. Left out: volumes, dynamic
//! resources, extenders, several profiles; the decision reads the world itself, not a cache that lags by a watch event.

pub mod decide;
pub mod filters;
pub mod hints;
pub mod inter_pod;
pub mod preemption;
pub mod queue;
pub mod scores;
pub mod spread;
pub mod view;

use crate::components::{self, Cx};
use crate::engine::{Purpose, Span, Time};
use crate::plan::{Plan, Stage};
use crate::world::{DeleteCause, NodeId, PodId, World};
use decide::{Decision, decide};
use hints::{Happening, Seen, useful};
use queue::{Place, SchedulingQueue};
use std::collections::BTreeMap;
use view::{Assumed, Cluster, View};

const TIE: Purpose = Purpose::named("scheduler.tie");
const FLUSH: Purpose = Purpose::named("scheduler.flush");
const PREEMPTION_OFFSET: Purpose = Purpose::named("scheduler.preemption.offset");

/// The attempt in progress.
struct Attempt {
    pod: PodId,
    decision: Decision,
    /// What happened since it began.
    happenings: Vec<Happening>,
}

/// Its memory.
#[derive(Default)]
pub struct Scheduler {
    queue: SchedulingQueue,
    attempt: Option<Attempt>,
    /// Pods whose binding is on its way.
    binding: BTreeMap<PodId, NodeId>,
    assumed: Assumed,
    nominated: Vec<(PodId, NodeId)>,
    cluster: Cluster,
    cluster_is_stale: bool,
    /// Nodes as they were last seen, by id.
    seen: Vec<Option<Seen>>,
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
    /// A pod was bound.
    PodBound(PodId),
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
    /// The attempt in progress is over.
    Outcome,
    /// The binding of a pod returns.
    Bind(PodId),
    /// The backoff queues are looked through.
    Tick,
    /// The pool is looked through.
    Flush,
}

impl Scheduler {
    /// Queues what is pending.
    pub fn start(&mut self, cx: &mut Cx) {
        self.cluster_is_stale = true;
        self.start_index = cx.plan.flags.scheduler.start_index as usize;
        self.flush_origin = cx.now + cx.phase(FLUSH, 0, cx.plan.flags.scheduler.flush_period);
        self.seen = cx.world.nodes.iter().map(|node| node.gone.is_none().then(|| Seen::of(node))).collect();
        for index in 0..cx.world.pods.len() {
            self.pod_added(cx, PodId::at(index));
        }
        self.try_next(cx);
    }

    /// Observe, decide, apply, schedule.
    pub fn handle(&mut self, cx: &mut Cx, event: Event) {
        match event {
            Event::PodAdded(pod) => self.pod_added(cx, pod),
            Event::PodBound(pod) => {
                if !self.binding.contains_key(&pod) {
                    self.queue.forget(pod);
                }
                self.happen(cx, Happening::PodBound(pod));
            }
            Event::PodDeleting(pod) => {
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
            Event::Outcome => self.outcome(cx),
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

    fn pod_added(&mut self, cx: &mut Cx, id: PodId) {
        let pod = cx.world.pod(id);
        if pod.node.is_none() && pod.is_active() && matches!(self.queue.place(id), None | Some(Place::Gated)) {
            let priority = cx.world.template_of(id).priority;
            self.queue.add(id, priority, pod.gates > 0, cx.now);
        }
    }

    fn pod_gone(&mut self, cx: &mut Cx, pod: PodId) {
        let held = cx.world.pod(pod).node.is_some() || self.nominated.iter().any(|(other, _)| *other == pod);
        self.nominated.retain(|(other, _)| *other != pod);
        if !self.is_busy_with(pod) {
            self.queue.forget(pod);
        }
        if held {
            self.happen(cx, Happening::PodGone(pod));
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
            self.queue.move_useful(flags, cx.now, |pod, plugins| useful(&view, pod, plugins, &happening));
        }
        if let Some(attempt) = &mut self.attempt {
            attempt.happenings.push(happening);
        }
    }

    fn refresh(&mut self, cx: &Cx) {
        if self.cluster_is_stale || self.cluster.templates.len() != cx.world.templates.len() {
            self.cluster = Cluster::of(cx.world);
            self.cluster_is_stale = false;
        }
    }

    /// Begins the next attempt if none is in progress.
    fn try_next(&mut self, cx: &mut Cx) {
        while self.attempt.is_none() {
            let Some(pod) = self.queue.pop(&cx.plan.flags.scheduler) else { return };
            if !cx.world.pod(pod).is_active() || cx.world.pod(pod).node.is_some() {
                self.queue.forget(pod);
                continue;
            }
            self.refresh(cx);
            let view = view(cx.plan, cx.world, &self.cluster, &self.assumed, &self.nominated);
            let decision = decide(&view, pod, self.start_index);
            self.start_index = decision.next_start;
            let span = cx.delay(Stage::SchedulerAttempt, self.attempt_key(cx, pod));
            self.attempt = Some(Attempt { pod, decision, happenings: Vec::new() });
            cx.after(span, components::Event::Scheduler(Event::Outcome));
        }
    }

    fn attempt_key(&self, cx: &Cx, pod: PodId) -> u64 {
        let attempt = u64::from(self.queue.attempts(pod));
        cx.world.pod(pod).key().wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(attempt)
    }

    /// The attempt is over: assume and bind, or back to the queue.
    fn outcome(&mut self, cx: &mut Cx) {
        let Some(Attempt { pod, decision, happenings }) = self.attempt.take() else { return };
        if !cx.world.pod(pod).is_active() {
            self.queue.forget(pod);
            self.happen(cx, Happening::PodGone(pod));
        } else if decision.nodes == 0 {
            cx.explain(|| "no nodes available to schedule pods".to_string());
            cx.world.mark_unschedulable(pod);
            self.queue.error(&cx.plan.flags.scheduler, pod, cx.now);
        } else if decision.best.is_empty() {
            self.unschedulable(cx, pod, &decision, &happenings);
        } else {
            let key = cx.world.pod(pod).key();
            let node = decision.best[cx.pick(TIE, key, decision.best.len())];
            self.assumed.add(pod, node);
            self.binding.insert(pod, node);
            let span = cx.delay(Stage::SchedulerBind, self.attempt_key(cx, pod));
            cx.after(span, components::Event::Scheduler(Event::Bind(pod)));
        }
    }

    fn unschedulable(&mut self, cx: &mut Cx, pod: PodId, decision: &Decision, happenings: &[Happening]) {
        self.refresh(cx);
        let plugins = decision.rejectors();
        let view = view(cx.plan, cx.world, &self.cluster, &self.assumed, &self.nominated);
        let useful = happenings.iter().any(|happening| useful(&view, pod, plugins, happening));
        let key = cx.world.pod(pod).key();
        let offset = cx.pick(PREEMPTION_OFFSET, key, decision.refused.len().max(1));
        let result = preemption::preempt(&view, pod, decision, offset);
        let name = || cx.world.pod_name(pod);
        let text = || format!("{}: {} {}", name(), decision.message(&view, pod), result.message);
        cx.recorder.explain(cx.now, text);
        cx.world.mark_unschedulable(pod);
        self.queue.failed(&cx.plan.flags.scheduler, pod, plugins, useful, cx.now);
        self.apply_preemption(cx, pod, result);
    }

    /// Victims are deleted, the node is nominated; pods of lower priority nominated there lose it.
    fn apply_preemption(&mut self, cx: &mut Cx, pod: PodId, result: preemption::Result) {
        let nominate = |scheduler: &mut Scheduler, cx: &mut Cx, pod: PodId, node: Option<NodeId>| {
            scheduler.nominated.retain(|(other, _)| *other != pod);
            scheduler.nominated.extend(node.map(|node| (pod, node)));
            cx.world.nominate_pod(pod, node);
        };
        match result.outcome {
            preemption::Outcome::Keep => {}
            preemption::Outcome::Clear => nominate(self, cx, pod, None),
            preemption::Outcome::Nominate { node, victims } => {
                let priority = cx.world.template_of(pod).priority;
                let on_node = self.nominated.iter().filter(|(_, place)| *place == node).map(|(other, _)| *other);
                let lower: Vec<PodId> =
                    on_node.filter(|&other| cx.world.template_of(other).priority < priority).collect();
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
        self.queue.forget(pod);
        self.nominated.retain(|(other, _)| *other != pod);
        if cx.world.pod(pod).is_active() && cx.world.pod(pod).node.is_none() {
            cx.world.bind_pod(pod, node);
        } else {
            self.happen(cx, Happening::PodGone(pod));
        }
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

fn view<'a>(
    plan: &'a Plan,
    world: &'a World,
    cluster: &'a Cluster,
    assumed: &'a Assumed,
    nominated: &'a [(PodId, NodeId)],
) -> View<'a> {
    View { plan, world, cluster, assumed, nominated }
}

/// Places pods on a world that no scheduler watches; its picture of the nodes is taken once.
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
        let view = view(plan, world, &self.cluster, &self.assumed, &[]);
        let decision = decide(&view, pod, self.start_index);
        self.start_index = decision.next_start;
        decision.best.first().copied()
    }
}

/// Where a pod would go on the world as it is: the first of the best nodes. Used to place the pods of the initial state.
pub fn place(plan: &Plan, world: &World, pod: PodId) -> Option<NodeId> {
    Placer::new(world).place(plan, world, pod)
}
