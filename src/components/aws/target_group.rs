//! AWS Load Balancer Controller: the TargetGroupBinding reconciler.

use crate::components::Cx;
use crate::plan::BindingId;

/// Its memory.
#[derive(Default)]
pub struct TargetGroupController {}

/// Why it may be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// Endpoints of a binding's Service changed.
    Endpoints(BindingId),
}

impl TargetGroupController {
    /// Schedules the first events.
    pub fn start(&mut self, _cx: &mut Cx) {}

    /// Observe, decide, apply, schedule.
    pub fn handle(&mut self, _cx: &mut Cx, _event: Event) {}
}
