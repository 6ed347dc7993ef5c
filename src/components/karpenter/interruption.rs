//! Karpenter interruption poller.

use crate::components::Cx;
use crate::world::InstanceId;

/// Its memory.
#[derive(Default)]
pub struct Interruption {}

/// Why it may be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// EC2 gave an instance its two-minute notice.
    Notice(InstanceId),
    /// EC2 says that an instance is shutting down.
    StateChange(InstanceId),
}

impl Interruption {
    /// Schedules the first events.
    pub fn start(&mut self, _cx: &mut Cx) {}

    /// Observe, decide, apply, schedule.
    pub fn handle(&mut self, _cx: &mut Cx, _event: Event) {}
}
