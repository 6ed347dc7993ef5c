//! Scripted actions of operators, and faults.

use crate::components::Cx;
use crate::plan::{ActionId, FaultId};

/// Its memory.
#[derive(Default)]
pub struct Script {}

/// Why it may be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// A scripted action is due.
    Action(ActionId),
    /// A fault begins.
    Begin(FaultId),
    /// A fault ends.
    End(FaultId),
}

impl Script {
    /// Schedules the first events.
    pub fn start(&mut self, _cx: &mut Cx) {}

    /// Observe, decide, apply, schedule.
    pub fn handle(&mut self, _cx: &mut Cx, _event: Event) {}
}
