//! ReplicaSet controller.

use crate::components::Cx;
use crate::world::ReplicaSetId;

/// Its memory.
#[derive(Default)]
pub struct ReplicaSetController {}

/// Why it may be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// Look at a ReplicaSet again.
    Sync(ReplicaSetId),
}

impl ReplicaSetController {
    /// Schedules the first events.
    pub fn start(&mut self, _cx: &mut Cx) {}

    /// Observe, decide, apply, schedule.
    pub fn handle(&mut self, _cx: &mut Cx, _event: Event) {}
}
