//! The load balancer: health checks, propagation of registrations, draining.

use crate::components::Cx;
use crate::world::{PodId, TargetId};

/// Its memory.
#[derive(Default)]
pub struct Alb {}

/// Why it may be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// A target was registered.
    Registered(TargetId),
    /// A target was deregistered.
    Deregistered(TargetId),
    /// What an application does changed.
    Process(PodId),
}

impl Alb {
    /// Schedules the first events.
    pub fn start(&mut self, _cx: &mut Cx) {}

    /// Observe, decide, apply, schedule.
    pub fn handle(&mut self, _cx: &mut Cx, _event: Event) {}
}
