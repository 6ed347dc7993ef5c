//! EndpointSlice controller.

use crate::components::Cx;
use crate::plan::ServiceId;

/// Its memory.
#[derive(Default)]
pub struct EndpointSlice {}

/// Why it may be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// Look at a Service again.
    Sync(ServiceId),
}

impl EndpointSlice {
    /// Schedules the first events.
    pub fn start(&mut self, _cx: &mut Cx) {}

    /// Observe, decide, apply, schedule.
    pub fn handle(&mut self, _cx: &mut Cx, _event: Event) {}
}
