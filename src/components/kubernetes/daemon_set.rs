//! DaemonSet controller.

use crate::components::Cx;
use crate::world::NodeId;

/// Its memory.
#[derive(Default)]
pub struct DaemonSetController {}

/// Why it may be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// A node appeared.
    Node(NodeId),
}

impl DaemonSetController {
    /// Schedules the first events.
    pub fn start(&mut self, _cx: &mut Cx) {}

    /// Observe, decide, apply, schedule.
    pub fn handle(&mut self, _cx: &mut Cx, _event: Event) {}
}
