//! CloudWatch: metrics of the load balancer, and alarms.

use crate::components::Cx;
use crate::plan::AlarmId;

/// Its memory.
#[derive(Default)]
pub struct CloudWatch {}

/// Why it may be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// A period of an alarm ends.
    Period(AlarmId),
}

impl CloudWatch {
    /// Schedules the first events.
    pub fn start(&mut self, _cx: &mut Cx) {}

    /// Observe, decide, apply, schedule.
    pub fn handle(&mut self, _cx: &mut Cx, _event: Event) {}
}
