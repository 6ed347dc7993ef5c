//! What a new connection to a pod meets: a listener, nothing that listens, or nobody.

use super::fluid::Inlet;
use super::process::alive;
use crate::components::Cx;
use crate::plan::{App, InForce, Passage};
use crate::world::{PodId, Process, TargetId, World};

/// What a new connection to a pod through a target meets.
#[inline(always)]
pub(super) fn inlet_through(cx: &Cx, pod: PodId, app: &App, target: Option<TargetId>) -> Inlet {
    if !cx.plan.faults.is_empty() {
        let group = target.map(|target| cx.world.targets[target.index()].group);
        let in_force = InForce::new(cx.plan, &cx.world.faults);
        if group.is_some_and(|group| in_force.drops(group, Passage::Request)) {
            return Inlet::Unreachable;
        }
    }
    inlet(cx.world, pod, Some(app))
}

/// What a new connection to a pod meets.
#[inline]
pub(super) fn inlet(world: &World, pod: PodId, app: Option<&App>) -> Inlet {
    let entry = world.pod(pod);
    if !alive(world, pod) || entry.gone.is_some() {
        return Inlet::Unreachable;
    }
    match entry.process {
        Process::Answering => Inlet::Open,
        Process::Stopping if app.is_some_and(App::keeps_listening) => Inlet::Open,
        Process::Absent | Process::Starting | Process::Stopping | Process::Ended => Inlet::Refused,
        Process::Vanished => Inlet::Unreachable,
    }
}
