//! Node lifecycle, taint eviction and pod garbage collection.

use crate::components::Cx;
use crate::world::{NodeId, PodId};

/// Its memory.
#[derive(Default)]
pub struct NodeLifecycle {}

/// Why it may be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// Conditions of a node changed: NoSchedule taints follow.
    Conditions(NodeId),
    /// Taints of a node changed: evictions follow.
    Taints(NodeId),
    /// A Node object vanished.
    Gone(NodeId),
    /// A pod was bound.
    PodBound(PodId),
}

impl NodeLifecycle {
    /// Schedules the first events.
    pub fn start(&mut self, _cx: &mut Cx) {}

    /// Observe, decide, apply, schedule.
    pub fn handle(&mut self, _cx: &mut Cx, _event: Event) {}
}
