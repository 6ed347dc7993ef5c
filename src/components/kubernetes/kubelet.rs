//! Kubelets: from binding to Ready, and from deletion to gone.

use crate::components::Cx;
use crate::world::{NodeId, PodId};

/// Its memory.
#[derive(Default)]
pub struct Kubelet {}

/// Why it may be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// A pod was bound to the node.
    Added(PodId),
    /// A pod of the node is being deleted.
    Terminate(PodId),
    /// A condition that Ready depends on was written by somebody else.
    Status(PodId),
    /// What the application does changed.
    Process(PodId),
    /// A kubelet registered its node.
    NodeJoined(NodeId),
    /// The machine died or came back.
    NodeAlive(NodeId),
}

impl Kubelet {
    /// Schedules the first events.
    pub fn start(&mut self, _cx: &mut Cx) {}

    /// Observe, decide, apply, schedule.
    pub fn handle(&mut self, _cx: &mut Cx, _event: Event) {}
}
