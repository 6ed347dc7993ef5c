//! Karpenter disruption: the loop, its methods, the command queue.

use crate::components::Cx;

/// Its memory.
#[derive(Default)]
pub struct Disruption {}

/// Why it may be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// The loop looks again.
    Poll,
    /// Something happened that makes consolidation worth computing again.
    Unconsolidated,
}

impl Disruption {
    /// Schedules the first events.
    pub fn start(&mut self, _cx: &mut Cx) {}

    /// Observe, decide, apply, schedule.
    pub fn handle(&mut self, _cx: &mut Cx, _event: Event) {}
}
