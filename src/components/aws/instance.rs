//! EC2 instances: boot to kubelet registration, notice to reclaim, shutdown.

use crate::components::Cx;
use crate::world::InstanceId;

/// Its memory.
#[derive(Default)]
pub struct Instances {}

/// Why it may be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// An instance was launched.
    Launched(InstanceId),
    /// An instance got the two-minute notice.
    Notice(InstanceId),
    /// An instance is shutting down.
    ShuttingDown(InstanceId),
}

impl Instances {
    /// Schedules the first events.
    pub fn start(&mut self, _cx: &mut Cx) {}

    /// Observe, decide, apply, schedule.
    pub fn handle(&mut self, _cx: &mut Cx, _event: Event) {}
}
