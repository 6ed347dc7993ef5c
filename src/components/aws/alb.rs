//! The load balancer: health checks, propagation of registrations, draining.
//!
//! ```text
//!  TargetRegistered ─(TargetRegistration)─► known ─(FirstHealthCheck)─► check at each node, every interval
//!  check ─► verdict of that node ─► World: weight, state, routable     PodProcess, NodeAlive, faults ─► checks resume
//!  Draining ─(TargetDeregistration)─► not routable ─(deregistration_delay)─► gone
//! ```
//!
//! Source: ELB user guide "Health checks for your target groups" (one success admits a new target, the healthy
//! threshold is for unhealthy ones; each load-balancer node checks by itself), "Target groups" (deregistration delay,
//! fail-open).
//!
//! A check whose outcome is known is not an event: while a node has the target healthy and the application answers, its
//! checks rest; whatever could change the outcome makes them resume at the next tick of that node's grid. A check of a pod
//! that takes long to answer (World::is_strained) is a request to it like any other: it waits for a worker, computes, and
//! fails when the time-out is over before its answer comes, or when the queue is full; where a flow says how it would fare
//! (World::prospect) it need not be sent. That a time-out is over is an event only where a request is on its way or somebody
//! sees a difference.
//!
//! Left out: thresholds of target-group health, the CPU of checks that find an idle worker, the time that checks of
//! instance targets take, the loss of load-balancer nodes together with their zone.

mod judge;

use crate::components::Cx;
use crate::engine::{Purpose, Span, Time};
use crate::plan::{AppId, FaultId, FaultKind, HealthCheck, InForce, Passage, Stage, TargetGroupId};
use crate::record::Decision;
use crate::record::decision::{Checked, Tried};
use crate::world::{
    CheckError, NodeId, PodId, Process, Prospect, RequestId, Target, TargetId, TargetReason, TargetState, World,
};
use judge::{View, judge, next_tick};
use std::collections::BTreeMap;

/// Its memory.
#[derive(Default)]
pub struct Alb {
    targets: Vec<Checks>,
    /// Targets of each pod that are or were checked, by group and registration.
    of_pods: Vec<Vec<TargetId>>,
    /// Groups that route to unhealthy targets because no other is left.
    open: Vec<bool>,
    /// Checks in a row of a target by a node, only while somebody wants to read them.
    streaks: BTreeMap<(TargetId, usize), Vec<Tried>>,
}

/// The checks of one target.
#[derive(Clone, Debug, Default)]
struct Checks {
    /// By load-balancer node; empty until the registration is known there.
    nodes: Vec<NodeChecks>,
}

/// The checks of one target by one load-balancer node.
#[derive(Clone, Copy, Debug, PartialEq)]
struct NodeChecks {
    /// An instant of its grid: that of its newest check, once there was one.
    grid: Time,
    /// The pending check.
    due: Option<Time>,
    view: View,
    /// The check that is not answered yet: when it was sent, and the request that it is to the application.
    waits: Option<(Time, Option<RequestId>)>,
    /// Checks in a row that contradict the view.
    streak: u32,
    reason: TargetReason,
}

/// Outcome of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// 200.
    Success,
    /// Refused, or another status: known at once.
    Failure(TargetReason),
    /// No answer: known after the time-out.
    Silence,
    /// The application will tell: it takes long to answer.
    Open,
}

/// Why it may be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// A target was registered.
    Registered(TargetId),
    /// A registration has reached all nodes of the load balancer.
    Known(TargetId),
    /// A node's check is due.
    Check(TargetId, u16),
    /// A node's check has timed out.
    TimedOut(TargetId, u16),
    /// The application answered a node's check.
    Answered(TargetId, u16, Result<(), CheckError>),
    /// A target was deregistered.
    Deregistered(TargetId),
    /// A deregistration has reached all nodes of the load balancer.
    Silent(TargetId),
    /// The deregistration delay is over.
    Drained(TargetId),
    /// What an application does changed.
    Process(PodId),
    /// A machine stopped answering, or answers again.
    Node(NodeId),
    /// A fault began or ended.
    Fault(FaultId),
}

/// How the story calls a check that passed.
const PASSED: &str = "passes";

const GRID: Purpose = Purpose::named("target.grid");

impl Alb {
    /// Targets that are healthy already have their grids and no pending checks.
    pub fn start(&mut self, cx: &mut Cx) {
        self.open = vec![false; cx.plan.target_groups.len()];
        for index in 0..cx.world.targets.len() {
            let target = TargetId::at(index);
            if cx.world.targets[index].state != TargetState::Healthy || self.leave_unused(cx, target) {
                continue;
            }
            let group = cx.world.targets[index].group;
            let (interval, count) = (check_of(cx, group).interval, nodes(cx, group));
            self.checks(target).nodes = (0..count)
                .map(|node| NodeChecks {
                    grid: cx.now + cx.phase(GRID, key(cx.world, target, node), interval),
                    due: None,
                    waits: None,
                    view: View::Healthy,
                    streak: 0,
                    reason: TargetReason::None,
                })
                .collect();
            self.list(cx.world, target);
            self.publish(cx, target);
            self.resume(cx, target);
        }
    }

    /// Observe, decide, apply, schedule.
    pub fn handle(&mut self, cx: &mut Cx, event: Event) {
        match event {
            Event::Registered(target) => {
                let delay = cx.delay(Stage::TargetRegistration, key(cx.world, target, 0));
                cx.after(delay, crate::components::Event::Alb(Event::Known(target)));
            }
            Event::Known(target) => self.known(cx, target),
            Event::Check(target, node) => self.check(cx, target, usize::from(node)),
            Event::TimedOut(target, node) => self.timed_out(cx, target, node),
            Event::Answered(target, node, answer) => self.answered(cx, target, node, answer),
            Event::Deregistered(target) => {
                let delay = cx.delay(Stage::TargetDeregistration, key(cx.world, target, 0));
                let group = &cx.plan.target_groups[cx.world.targets[target.index()].group.index()];
                if delay < group.deregistration_delay {
                    cx.after(delay, crate::components::Event::Alb(Event::Silent(target)));
                }
                cx.after(group.deregistration_delay, crate::components::Event::Alb(Event::Drained(target)));
            }
            Event::Silent(target) => self.silence(cx, target),
            Event::Drained(target) => {
                self.silence(cx, target);
                cx.world.remove_target(target);
            }
            Event::Process(pod) => {
                for place in 0..self.of_pods.get(pod.index()).map_or(0, Vec::len) {
                    self.resume(cx, self.of_pods[pod.index()][place]);
                }
            }
            Event::Node(node) => {
                let pods = cx.world.node(node).pods.clone();
                self.resume_where(cx, |target| match target.node {
                    Some(of) => of == node,
                    None => pods.contains(&target.pod),
                });
            }
            Event::Fault(fault) => {
                if let FaultKind::HealthCheckFails(group) | FaultKind::SecurityGroupBlocks { target_group: group, .. } =
                    cx.plan.faults[fault.index()].kind
                {
                    self.resume_where(cx, |target| target.group == group);
                }
            }
        }
    }

    fn checks(&mut self, target: TargetId) -> &mut Checks {
        if self.targets.len() <= target.index() {
            self.targets.resize(target.index() + 1, Checks::default());
        }
        &mut self.targets[target.index()]
    }

    /// A node's checks of a target, once its registration is known there.
    #[inline]
    fn state(&mut self, target: TargetId, node: usize) -> Option<&mut NodeChecks> {
        self.targets.get_mut(target.index())?.nodes.get_mut(node)
    }

    /// A target is going to be checked. One that stands for a pod is listed with it.
    fn list(&mut self, world: &World, target: TargetId) {
        let entry = &world.targets[target.index()];
        if entry.node.is_some() {
            return;
        }
        if self.of_pods.len() <= entry.pod.index() {
            self.of_pods.resize(entry.pod.index() + 1, Vec::new());
        }
        let key = |id: &TargetId| (world.targets[id.index()].group, *id);
        let targets = &mut self.of_pods[entry.pod.index()];
        if let Err(place) = targets.binary_search_by_key(&key(&target), key) {
            targets.insert(place, target);
        }
    }

    /// No node of the load balancer is there for a target in a zone that is not enabled: it is neither checked nor used.
    fn leave_unused(&mut self, cx: &mut Cx, target: TargetId) -> bool {
        let zones = &cx.plan.target_groups[cx.world.targets[target.index()].group.index()].zones;
        if cx.world.is_in_enabled_zone(zones, target) {
            return false;
        }
        self.silence(cx, target);
        cx.world.set_target_state(target, TargetState::Unused, TargetReason::NotInUse);
        true
    }

    /// The nodes of the load balancer know the target: their first checks follow.
    fn known(&mut self, cx: &mut Cx, target: TargetId) {
        if !is_checked(cx.world, target) || self.leave_unused(cx, target) {
            return;
        }
        cx.world.set_target_state(target, TargetState::Initial, TargetReason::InitialHealthChecking);
        self.list(cx.world, target);
        let group = cx.world.targets[target.index()].group;
        let (interval, count) = (check_of(cx, group).interval, nodes(cx, group));
        let grids: Vec<Time> = (0..count)
            .map(|node| cx.now + cx.delay(Stage::FirstHealthCheck, key(cx.world, target, node)).min(interval))
            .collect();
        let reason = TargetReason::InitialHealthChecking;
        self.checks(target).nodes = (grids.iter())
            .map(|&grid| NodeChecks { grid, due: Some(grid), waits: None, view: View::Initial, streak: 0, reason })
            .collect();
        for (node, grid) in (0..).zip(grids) {
            cx.at(grid, crate::components::Event::Alb(Event::Check(target, node)));
        }
    }

    fn check(&mut self, cx: &mut Cx, target: TargetId, node: usize) {
        let now = cx.now;
        let Some(state) = self.state(target, node) else { return };
        let Some(due) = state.due.take_if(|due| *due <= now) else { return };
        state.grid = due;
        if !is_checked(cx.world, target) {
            return;
        }
        match outcome(cx, target) {
            Outcome::Success => self.verdict(cx, target, node, Ok(())),
            Outcome::Failure(reason) => self.verdict(cx, target, node, Err(reason)),
            Outcome::Silence => self.miss(cx, target, node),
            Outcome::Open => self.ask(cx, target, node),
        }
    }

    /// The application would have to tell, unless it is known what it would say.
    fn ask(&mut self, cx: &mut Cx, target: TargetId, node: usize) {
        match foreseen(cx, target) {
            Prospect::Open => self.wait(cx, target, node, true),
            Prospect::InTime(_) => self.verdict(cx, target, node, Ok(())),
            Prospect::Late(_) => self.miss(cx, target, node),
        }
    }

    /// A check will not be answered in time. Where nobody sees a difference when its time is over, it counts at once.
    fn miss(&mut self, cx: &mut Cx, target: TargetId, node: usize) {
        let check = check_of(cx, cx.world.targets[target.index()].group);
        let Some(state) = self.state(target, node) else { return };
        let (view, streak) = judge(state.view, state.streak, false, check);
        let is_said = view != View::Unhealthy || state.reason == TargetReason::Timeout;
        if view != state.view || !is_said {
            return self.wait(cx, target, node, false);
        }
        state.streak = streak;
        if cx.recorder.explains() {
            self.tell(cx, (target, node), (cx.now + check.timeout, Err(TargetReason::Timeout)), None);
        }
        self.arm(cx, target, node, check.interval);
    }

    /// A check is on its way; what comes of it, its answer or the time-out will tell.
    fn wait(&mut self, cx: &mut Cx, target: TargetId, node: usize, reaches: bool) {
        let entry = &cx.world.targets[target.index()];
        let (pod, check) = (entry.pod, check_of(cx, entry.group));
        let number = u16::try_from(node).unwrap_or(u16::MAX);
        let app = if reaches { app_of(cx, pod) } else { None };
        let request = app.map(|app| cx.world.send_check(app, pod, target, number));
        let Some(state) = self.state(target, node) else { return };
        state.waits = Some((cx.now, request));
        cx.after(check.timeout, crate::components::Event::Alb(Event::TimedOut(target, number)));
        self.arm(cx, target, node, check.interval);
    }

    fn timed_out(&mut self, cx: &mut Cx, target: TargetId, number: u16) {
        let node = usize::from(number);
        // Mostly the answer has come: there is nothing to look up.
        let Some(state) = self.state(target, node).filter(|state| state.waits.is_some()) else { return };
        let timeout = check_of(cx, cx.world.targets[target.index()].group).timeout;
        let Some((sent, request)) = state.waits.take_if(|(sent, _)| *sent + timeout <= cx.now) else { return };
        if let Some(request) = request {
            cx.world.abandon_check(request, target, number, sent);
        }
        self.verdict(cx, target, node, Err(TargetReason::Timeout));
    }

    fn answered(&mut self, cx: &mut Cx, target: TargetId, number: u16, answer: Result<(), CheckError>) {
        let node = usize::from(number);
        let Some(state) = self.state(target, node) else { return };
        if state.waits.take().is_some() {
            let reason = |error| match error {
                CheckError::Status => TargetReason::ResponseCodeMismatch,
                CheckError::Connection => TargetReason::FailedHealthChecks,
            };
            self.verdict(cx, target, node, answer.map_err(reason));
        }
    }

    /// A check has its outcome: the node's view may change, and the next check is armed unless its outcome is known.
    fn verdict(&mut self, cx: &mut Cx, target: TargetId, node: usize, result: Result<(), TargetReason>) {
        if !is_checked(cx.world, target) {
            return;
        }
        let check = check_of(cx, cx.world.targets[target.index()].group);
        let Some(state) = self.state(target, node) else { return };
        let before = *state;
        (state.view, state.streak) = judge(state.view, state.streak, result.is_ok(), check);
        state.reason = match (state.view, result) {
            (View::Healthy, _) => TargetReason::None,
            (View::Unhealthy, Err(reason)) => reason,
            (View::Unhealthy, Ok(())) | (View::Initial, _) => state.reason,
        };
        let changed = (state.view, state.reason) != (before.view, before.reason);
        let view = state.view;
        let rests = state.view == View::Healthy && state.streak == 0;
        if !rests || outcome(cx, target) != Outcome::Success {
            self.arm(cx, target, node, check.interval);
        }
        if cx.recorder.explains() {
            self.tell(cx, (target, node), (cx.now, result), (view != before.view).then_some(before.view));
        }
        if changed {
            self.publish(cx, target);
        }
    }

    /// For who wants to read it: the checks in a row that changed a node's view. `before`: it changed from that.
    fn tell(
        &mut self,
        cx: &mut Cx,
        key: (TargetId, usize),
        (at, result): (Time, Result<(), TargetReason>),
        before: Option<View>,
    ) {
        let outcome = result.map_or_else(TargetReason::name, |()| PASSED);
        let streak = self.streaks.entry(key).or_default();
        streak.retain(|tried| (tried.outcome == PASSED) == result.is_ok());
        streak.push(Tried { at, outcome });
        let Some(before) = before else { return };
        let attempts = std::mem::take(streak);
        let entry = &cx.world.targets[key.0.index()];
        let check = check_of(cx, entry.group);
        let threshold = match (before, result) {
            (View::Initial, Ok(())) => 1,
            (_, Ok(())) => check.healthy_threshold,
            (_, Err(_)) => check.unhealthy_threshold,
        };
        let checked = Checked {
            pod: entry.pod,
            target: Some((key.0, key.1 + 1)),
            what: format!("health checks (every {})", check.interval),
            attempts,
            threshold,
            passed: result.is_ok(),
            consequence: if result.is_ok() { "this node sends it requests" } else { "this node sends it none" },
        };
        cx.recorder.decide(cx.now, || Decision::Checked(checked));
    }

    /// Schedules a node's next check, on its grid.
    fn arm(&mut self, cx: &mut Cx, target: TargetId, node: usize, interval: Span) {
        let Some(state) = self.state(target, node).filter(|state| state.due.is_none()) else { return };
        let tick = next_tick(state.grid, cx.now, interval);
        state.due = Some(tick);
        let node = u16::try_from(node).unwrap_or(u16::MAX);
        cx.at(tick, crate::components::Event::Alb(Event::Check(target, node)));
    }

    fn resume_where(&mut self, cx: &mut Cx, wanted: impl Fn(&Target) -> bool) {
        let chosen: Vec<TargetId> = (cx.world.group_targets.iter().flatten())
            .copied()
            .filter(|target| wanted(&cx.world.targets[target.index()]))
            .collect();
        for target in chosen {
            self.resume(cx, target);
        }
    }

    /// The outcome of checks may have changed: those that rest although the outcome contradicts the view are due again.
    fn resume(&mut self, cx: &mut Cx, target: TargetId) {
        if !is_checked(cx.world, target) {
            return;
        }
        let success = outcome(cx, target) == Outcome::Success;
        let interval = check_of(cx, cx.world.targets[target.index()].group).interval;
        for node in 0.. {
            let Some(state) = self.state(target, node) else { return };
            if !(success && state.view == View::Healthy && state.streak == 0) {
                self.arm(cx, target, node, interval);
            }
        }
    }

    /// A deregistered target gets no new requests any more.
    fn silence(&mut self, cx: &mut Cx, target: TargetId) {
        self.checks(target).nodes.clear();
        cx.world.set_target_weight(target, 0);
        cx.world.set_routable(target, false);
    }

    /// What the nodes think becomes the state that everybody sees: the first node's, and the weight of all.
    fn publish(&mut self, cx: &mut Cx, target: TargetId) {
        let checks = self.checks(target);
        let Some(first) = checks.nodes.first().copied() else { return };
        let weight = checks.nodes.iter().filter(|node| node.view == View::Healthy).count();
        let state = match first.view {
            View::Initial => TargetState::Initial,
            View::Healthy => TargetState::Healthy,
            View::Unhealthy => TargetState::Unhealthy,
        };
        cx.world.set_target_state(target, state, first.reason);
        cx.world.set_target_weight(target, u32::try_from(weight).unwrap_or(u32::MAX));
        let group = cx.world.targets[target.index()].group;
        if weight > 0 {
            cx.world.set_routable(target, true);
        } else if !self.open[group.index()] {
            cx.world.set_routable(target, false);
        }
        self.fail_open(cx, group);
    }

    /// If every target that has a verdict is unhealthy, all of them get requests; otherwise only healthy ones.
    fn fail_open(&mut self, cx: &mut Cx, group: TargetGroupId) {
        let world = &*cx.world;
        let targets = world.group_targets[group.index()].iter().map(|target| &world.targets[target.index()]);
        let mut judged = targets.filter(|target| has_verdict(target)).peekable();
        let open = judged.peek().is_some() && judged.clone().all(|target| target.weight == 0);
        let was_open = std::mem::replace(&mut self.open[group.index()], open);
        if !open && !was_open {
            return;
        }
        let judged: Vec<TargetId> = judged.map(|target| target.id).collect();
        for target in judged {
            let routable = open || cx.world.targets[target.index()].weight > 0;
            cx.world.set_routable(target, routable);
        }
    }
}

/// What a check of a target would find now.
fn outcome(cx: &Cx, target: TargetId) -> Outcome {
    let entry = &cx.world.targets[target.index()];
    if !cx.plan.faults.is_empty() {
        let in_force = InForce::new(cx.plan, &cx.world.faults);
        if in_force.drops(entry.group, Passage::Check) {
            return Outcome::Silence;
        }
        if in_force.fails_checks(entry.group) {
            return Outcome::Failure(TargetReason::ResponseCodeMismatch);
        }
    }
    if let Some(node) = entry.node {
        // kube-proxy of a living node finds a pod somewhere.
        return if cx.world.node(node).alive { Outcome::Success } else { Outcome::Silence };
    }
    let pod = cx.world.pod(entry.pod);
    if pod.gone.is_some() || pod.node.is_some_and(|node| !cx.world.node(node).alive) {
        return Outcome::Silence;
    }
    match pod.process {
        Process::Answering if cx.world.is_strained(entry.pod) => Outcome::Open,
        Process::Answering => Outcome::Success,
        Process::Stopping if keeps_listening(cx, entry.pod) => Outcome::Success,
        Process::Absent | Process::Starting | Process::Stopping | Process::Ended => {
            Outcome::Failure(TargetReason::FailedHealthChecks)
        }
        Process::Vanished => Outcome::Silence,
    }
}

/// What is known of a check that is sent now to an application that takes long to answer: nothing if something else is to
/// happen at this instant, before the check would be there.
fn foreseen(cx: &mut Cx, target: TargetId) -> Prospect {
    let entry = &cx.world.targets[target.index()];
    let drops = || InForce::new(cx.plan, &cx.world.faults).drops(entry.group, Passage::Request);
    if !cx.queue.is_past(cx.now) || (!cx.plan.faults.is_empty() && drops()) {
        return Prospect::Open;
    }
    cx.world.prospect(entry.pod)
}

/// The application of a pod.
fn app_of(cx: &Cx, pod: PodId) -> Option<AppId> {
    cx.world.deployment_of(pod).and_then(|deployment| cx.plan.app_of(deployment))
}

/// The application of a pod goes on accepting connections after SIGTERM.
fn keeps_listening(cx: &Cx, pod: PodId) -> bool {
    app_of(cx, pod).is_some_and(|app| cx.plan.apps[app.index()].keeps_listening())
}

/// Registered and not deregistered.
fn is_checked(world: &World, target: TargetId) -> bool {
    let entry = &world.targets[target.index()];
    entry.gone.is_none() && entry.deregistered.is_none()
}

/// Healthy or unhealthy: neither initial nor draining.
fn has_verdict(target: &Target) -> bool {
    matches!(target.state, TargetState::Healthy | TargetState::Unhealthy) && target.deregistered.is_none()
}

fn check_of<'p>(cx: &Cx<'p>, group: TargetGroupId) -> &'p HealthCheck {
    &cx.plan.target_groups[group.index()].health_check
}

/// Nodes of the load balancer that check a target: all, or those of its zone without cross-zone balancing.
fn nodes(cx: &Cx, group: TargetGroupId) -> u16 {
    let spec = &cx.plan.target_groups[group.index()];
    let zones = if spec.cross_zone { 1 } else { cx.plan.zones.len().max(1) };
    u16::try_from((spec.nodes as usize / zones).max(1)).unwrap_or(u16::MAX)
}

/// The key of draws for a target at a node of the load balancer: pod (or node), group, node.
fn key(world: &World, target: TargetId, node: u16) -> u64 {
    let entry = &world.targets[target.index()];
    let behind = entry.node.map_or_else(|| world.pod(entry.pod).key(), |node| 4 << 60 | u64::from(node.0));
    behind ^ u64::from(node) << 16 ^ u64::from(entry.group.0) << 24
}
