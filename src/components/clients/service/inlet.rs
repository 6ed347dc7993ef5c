//! What a new connection to a pod meets: a listener, nothing that listens, or nobody.

use super::fluid::Inlet;
use super::process::Standing;
use crate::components::Cx;
use crate::plan::{App, InForce, Passage};
use crate::world::TargetId;
use std::hint::cold_path;

/// What a new connection through a target to a pod that stands so meets.
#[inline(always)]
pub(super) fn inlet_through(cx: &Cx, pod: Standing, app: &App, target: Option<TargetId>) -> Inlet {
    if !cx.plan.faults.is_empty() {
        cold_path();
        let group = target.map(|target| cx.world.targets[target.index()].group);
        let in_force = InForce::new(cx.plan, &cx.world.faults);
        if group.is_some_and(|group| in_force.drops(group, Passage::Request)) {
            return Inlet::Unreachable;
        }
    }
    pod.inlet(app)
}
