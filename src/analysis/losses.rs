//! Lost requests by cause: in which window, at which pods, and what had happened there.
//!
//! In: the ledgers' windows, the record, the plan. Out: one group a cause and application, with an entry for each window
//! of a pod (or for the whole group, where requests were sent nowhere), its circumstances and the faults in force then.
//! Pure: `render::losses` puts it into words.

use crate::engine::{Span, Time};
use crate::plan::{AppId, FaultId, FaultKind, Plan, TargetGroupId};
use crate::record::Recorder;
use crate::world::{Change, DeleteCause, Loss, LossWindow, NodeId, PodId, Process, TargetId, TargetState, World};

/// A fault that began at an instant and has no end explains what is lost so long after it.
const AFTERMATH: Span = Span::from_secs(300);

/// The losses of one application for one cause.
#[derive(Clone, Debug, PartialEq)]
pub struct LossGroup {
    /// Whose.
    pub app: AppId,
    /// Why.
    pub loss: Loss,
    /// Micro-requests.
    pub amount: u64,
    /// The first and the last loss.
    pub window: (Time, Time),
    /// Where, in order of time.
    pub entries: Vec<LossEntry>,
    /// Faults that were in force within the window, or had begun shortly before it.
    pub faults: Vec<FaultId>,
}

/// One window at one place.
#[derive(Clone, Debug, PartialEq)]
pub struct LossEntry {
    /// When, where, how much.
    pub window: LossWindow,
    /// What had happened there.
    pub story: Story,
}

/// The circumstances of a window.
#[derive(Clone, Debug, PartialEq)]
pub enum Story {
    /// The pod was on its way out.
    Leaving(Leaving),
    /// The machine of the pod had stopped answering.
    MachineLost(NodeId, Time),
    /// The application had not started to answer, or was restarting: since then it has been so.
    NotAnswering(Process, Time),
    /// A security group dropped what the load balancer sent.
    Dropped,
    /// Nothing could be sent anywhere: so many targets were in each state, and so many pods had an address that a target of
    /// another pod, still draining, had given up: it could not be registered.
    Nowhere(Vec<(TargetState, usize)>, usize),
    /// The application was there and had too much to do.
    Overloaded,
    /// The application was there; it closes connections that were idle for so long, the load balancer later.
    ClosesFirst(Span),
}

/// A pod that is being deleted, and what the load balancer knew of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leaving {
    /// Deletion was asked for.
    pub deleting: Time,
    /// Why.
    pub cause: DeleteCause,
    /// SIGTERM, or the end of its process without one.
    pub sigterm: Option<Time>,
    /// Its process had gone.
    pub ended: Option<Time>,
    /// DeregisterTargets was accepted.
    pub deregistered: Option<Time>,
    /// The load balancer ceased to send to it for good.
    pub silent: Option<Time>,
}

impl Leaving {
    /// How much longer it would have had to go on serving.
    pub fn short_by(&self) -> Option<Span> {
        let end = self.sigterm.or(self.ended)?;
        self.silent.filter(|&silent| silent > end).map(|silent| silent - end)
    }
}

/// All losses of a run by cause; causes in the order of [`Loss::ALL`], within an application.
pub fn groups(plan: &Plan, world: &World, recorder: &Recorder) -> Vec<LossGroup> {
    let moments = Moments::read(world, recorder);
    let mut groups = Vec::new();
    for (index, ledger) in world.ledgers.iter().enumerate() {
        let app = AppId::at(index);
        for loss in Loss::ALL {
            let mut windows: Vec<LossWindow> =
                ledger.losses.windows().iter().copied().filter(|window| window.loss == loss).collect();
            windows.sort_by_key(|window| (window.from, window.place));
            let (Some(first), Some(last)) = (windows.first(), windows.iter().map(|window| window.to).max()) else {
                continue;
            };
            let span = (first.from, last);
            let amount = windows.iter().map(|window| window.amount).sum();
            let story =
                |window: LossWindow| LossEntry { window, story: story(plan, world, recorder, &moments, app, &window) };
            let entries = windows.into_iter().map(story).collect();
            groups.push(LossGroup { app, loss, amount, window: span, entries, faults: faults_in(plan, span) });
        }
    }
    groups
}

/// Faults that were in force within a window, or (those of an instant) had begun at most five minutes before it.
fn faults_in(plan: &Plan, (from, to): (Time, Time)) -> Vec<FaultId> {
    let overlaps = |fault: &crate::plan::Fault| {
        let instant =
            matches!(fault.kind, FaultKind::SpotInterruption { .. } | FaultKind::RebalanceRecommendation { .. });
        let end = fault.until.unwrap_or(if instant { fault.at } else { plan.until }) + AFTERMATH;
        fault.at <= to && from <= end
    };
    let hits = plan.faults.iter().enumerate().filter(|(_, fault)| overlaps(fault));
    hits.map(|(index, _)| FaultId::at(index)).collect()
}

/// What a record says of pods and targets, by id.
struct Moments {
    /// Every change of what a pod's application does.
    processes: Vec<Vec<(Time, Process)>>,
    deleting: Vec<Option<(Time, DeleteCause)>>,
    gone: Vec<Option<Time>>,
    /// When the load balancer ceased to send to a target for good.
    silent: Vec<Option<Time>>,
    /// Every change of a target's state.
    states: Vec<Vec<(Time, TargetState)>>,
    /// When a machine last stopped answering, before it was told to.
    lost: Vec<Option<Time>>,
}

impl Moments {
    fn read(world: &World, recorder: &Recorder) -> Moments {
        let mut moments = Moments {
            processes: vec![Vec::new(); world.pods.len()],
            deleting: vec![None; world.pods.len()],
            gone: vec![None; world.pods.len()],
            silent: vec![None; world.targets.len()],
            states: vec![Vec::new(); world.targets.len()],
            lost: vec![None; world.nodes.len()],
        };
        for fact in &recorder.facts {
            match fact.change {
                Change::PodProcess(pod, process) => moments.processes[pod.index()].push((fact.at, process)),
                Change::PodDeleting(pod, cause) => {
                    moments.deleting[pod.index()].get_or_insert((fact.at, cause));
                }
                Change::PodGone(pod) => moments.gone[pod.index()] = Some(fact.at),
                Change::TargetRoutable(target, routable) => {
                    moments.silent[target.index()] = (!routable).then_some(fact.at);
                }
                Change::TargetStateChanged(target, state) => moments.states[target.index()].push((fact.at, state)),
                Change::NodeAlive(node, false) => moments.lost[node.index()] = Some(fact.at),
                _ => {}
            }
        }
        moments
    }

    /// The first time at which the application of a pod came to one of these.
    fn process(&self, pod: PodId, after: Time, wanted: &[Process]) -> Option<Time> {
        let changes = self.processes[pod.index()].iter();
        changes.filter(|(at, process)| *at >= after && wanted.contains(process)).map(|(at, _)| *at).next()
    }

    /// The state of a target at a time: what was there at the start was healthy.
    fn state(&self, plan: &Plan, world: &World, target: TargetId, at: Time) -> Option<TargetState> {
        let entry = &world.targets[target.index()];
        if entry.registered > at || entry.gone.is_some_and(|gone| gone <= at) {
            return None;
        }
        let states = &self.states[target.index()];
        let before = states.partition_point(|(time, _)| *time <= at);
        let first = if entry.registered < plan.start { TargetState::Healthy } else { TargetState::Initial };
        Some(before.checked_sub(1).map_or(first, |index| states[index].1))
    }
}

fn story(plan: &Plan, world: &World, recorder: &Recorder, moments: &Moments, app: AppId, window: &LossWindow) -> Story {
    let group = plan.apps[app.index()].target_group;
    let Some(pod) = window.place.pod else { return nowhere(plan, world, moments, group, window) };
    if matches!(window.loss, Loss::QueueFull | Loss::TimedOut) {
        return Story::Overloaded;
    }
    if let Some(keep_alive) = plan.apps[app.index()].keep_alive.filter(|_| window.loss == Loss::Closed) {
        return Story::ClosesFirst(keep_alive);
    }
    // An address that is gone costs the client its time-out first: what happened lies before that.
    let known = match window.loss {
        Loss::Unreachable => window.from.back(plan.flags.serving.connect_timeout),
        _ => window.from,
    };
    if let Some(group) = group.filter(|_| window.loss == Loss::Unreachable)
        && was_dropped(plan, recorder, group, known)
    {
        return Story::Dropped;
    }
    let node = world.pod(pod).node;
    if let Some((node, lost)) = node.and_then(|node| Some((node, moments.lost[node.index()]?)))
        && lost <= known
        && moments.gone[pod.index()].is_none_or(|gone| gone > lost)
    {
        return Story::MachineLost(node, lost);
    }
    if let Some((deleting, cause)) = moments.deleting[pod.index()].filter(|(at, _)| *at <= known) {
        let target = window.place.target.map(|target| &world.targets[target.index()]);
        return Story::Leaving(Leaving {
            deleting,
            cause,
            sigterm: moments.process(pod, deleting, &[Process::Stopping]),
            ended: moments.process(pod, deleting, &[Process::Ended, Process::Vanished, Process::Absent]),
            deregistered: target.and_then(|target| target.deregistered),
            silent: target.and_then(|target| moments.silent[target.id.index()]),
        });
    }
    let changes = &moments.processes[pod.index()];
    let before = changes.partition_point(|(at, _)| *at <= known);
    let (since, process) =
        before.checked_sub(1).map_or((world.pod(pod).created, Process::Absent), |index| changes[index]);
    Story::NotAnswering(process, since)
}

/// A security group dropped requests to a target group at a time.
fn was_dropped(plan: &Plan, recorder: &Recorder, group: TargetGroupId, at: Time) -> bool {
    let mut active = vec![false; plan.faults.len()];
    for fact in recorder.facts.iter().take_while(|fact| fact.at <= at) {
        if let Change::FaultChanged(fault, value) = fact.change {
            active[fault.index()] = value;
        }
    }
    crate::plan::InForce::new(plan, &active).drops(group, crate::plan::Passage::Request)
}

fn nowhere(plan: &Plan, world: &World, moments: &Moments, group: Option<TargetGroupId>, window: &LossWindow) -> Story {
    let states = [
        TargetState::Healthy,
        TargetState::Unhealthy,
        TargetState::Initial,
        TargetState::Draining,
        TargetState::Unused,
    ];
    let of_group = || world.targets.iter().filter(|target| Some(target.group) == group && target.node.is_none());
    let heir_of = |pod: &crate::world::Pod, target: &crate::world::Target| {
        let drained = target.deregistered.is_some() && target.gone.is_none_or(|gone| gone > pod.created);
        drained && target.pod != pod.id && pod.address == Some(target.address) && target.registered < pod.created
    };
    let was_there =
        |pod: &&crate::world::Pod| pod.created < window.to && pod.gone.is_none_or(|gone| gone > window.from);
    let heirs = world.pods.iter().filter(was_there).filter(|pod| of_group().any(|target| heir_of(pod, target))).count();
    let of_group = world.targets.iter().filter(|target| Some(target.group) == group);
    let state = |target: &crate::world::Target| moments.state(plan, world, target.id, window.from);
    let there: Vec<TargetState> = of_group.filter_map(state).collect();
    let count = |state| (state, there.iter().filter(|&&other| other == state).count());
    Story::Nowhere(states.into_iter().map(count).filter(|(_, count)| *count > 0).collect(), heirs)
}
