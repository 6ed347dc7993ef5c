//! Karpenter termination: taint, drain by tiers, delete the instance, remove finalizers.

use crate::components::Cx;
use crate::world::ClaimId;

/// Its memory.
#[derive(Default)]
pub struct Termination {}

/// Why it may be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// Look at a NodeClaim that is being deleted.
    Reconcile(ClaimId),
}

impl Termination {
    /// Schedules the first events.
    pub fn start(&mut self, _cx: &mut Cx) {}

    /// Observe, decide, apply, schedule.
    pub fn handle(&mut self, _cx: &mut Cx, _event: Event) {}
}
