//! HorizontalPodAutoscaler controller.

use crate::components::Cx;
use crate::plan::HpaId;

/// Its memory.
#[derive(Default)]
pub struct Hpa {}

/// Why it may be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// The pending entry of an autoscaler fires.
    Sync(HpaId),
    /// An autoscaler's spec changed.
    Changed(HpaId),
}

impl Hpa {
    /// Schedules the first events.
    pub fn start(&mut self, _cx: &mut Cx) {}

    /// Observe, decide, apply, schedule.
    pub fn handle(&mut self, _cx: &mut Cx, _event: Event) {}
}
