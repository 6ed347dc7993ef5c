//! kube-scheduler.

use crate::components::Cx;
use crate::world::{NodeId, PodId};

/// Its memory.
#[derive(Default)]
pub struct Scheduler {}

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
}

impl Scheduler {
    /// Schedules the first events.
    pub fn start(&mut self, _cx: &mut Cx) {}

    /// Observe, decide, apply, schedule.
    pub fn handle(&mut self, _cx: &mut Cx, _event: Event) {}
}

/// Where a pod would go on the world as it is: the first of the best nodes. Used to place the pods of the initial state.
pub fn place(_plan: &crate::plan::Plan, _world: &crate::world::World, _pod: PodId) -> Option<NodeId> {
    None
}
