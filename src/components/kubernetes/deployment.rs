//! Deployment controller.

use crate::components::Cx;
use crate::plan::DeploymentId;

/// Its memory.
#[derive(Default)]
pub struct DeploymentController {}

/// Why it may be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// Look at a Deployment again.
    Sync(DeploymentId),
}

impl DeploymentController {
    /// Schedules the first events.
    pub fn start(&mut self, _cx: &mut Cx) {}

    /// Observe, decide, apply, schedule.
    pub fn handle(&mut self, _cx: &mut Cx, _event: Event) {}
}
