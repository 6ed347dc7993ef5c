//! Applications: start, serving requests, stop.

use crate::components::Cx;
use crate::world::PodId;

/// Its memory.
#[derive(Default)]
pub struct Service {}

/// Why it may be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// A container of a pod started or stopped.
    Container(PodId),
    /// What an application does changed.
    Process(PodId),
}

impl Service {
    /// Schedules the first events.
    pub fn start(&mut self, _cx: &mut Cx) {}

    /// Observe, decide, apply, schedule.
    pub fn handle(&mut self, _cx: &mut Cx, _event: Event) {}
}
