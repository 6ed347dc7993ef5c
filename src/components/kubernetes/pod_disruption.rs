//! Disruption controller: PodDisruptionBudget status.

use crate::components::Cx;
use crate::plan::PdbId;

/// Its memory.
#[derive(Default)]
pub struct PodDisruption {}

/// Why it may be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// Look at a budget again.
    Sync(PdbId),
}

impl PodDisruption {
    /// Schedules the first events.
    pub fn start(&mut self, _cx: &mut Cx) {}

    /// Observe, decide, apply, schedule.
    pub fn handle(&mut self, _cx: &mut Cx, _event: Event) {}
}
