//! EC2 CreateFleet.

use crate::components::Cx;
use crate::world::ClaimId;

/// Its memory.
#[derive(Default)]
pub struct Fleet {}

/// Why it may be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// The call for a NodeClaim returns.
    Answer(ClaimId),
}

impl Fleet {
    /// Schedules the first events.
    pub fn start(&mut self, _cx: &mut Cx) {}

    /// Observe, decide, apply, schedule.
    pub fn handle(&mut self, _cx: &mut Cx, _event: Event) {}
}
