//! Clients: arrivals and routing of requests.

use crate::components::Cx;
use crate::plan::AppId;
use crate::world::TargetId;

/// Its memory.
#[derive(Default)]
pub struct Traffic {}

/// Why it may be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// The next request of an application arrives, or its rate changes.
    Next(AppId),
    /// A target became or ceased to be routable.
    Target(TargetId),
}

impl Traffic {
    /// Schedules the first events.
    pub fn start(&mut self, _cx: &mut Cx) {}

    /// Observe, decide, apply, schedule.
    pub fn handle(&mut self, _cx: &mut Cx, _event: Event) {}
}
