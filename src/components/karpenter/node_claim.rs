//! Karpenter NodeClaim lifecycle: launch, registration, initialisation, liveness, expiration, consolidatable.

use crate::components::Cx;
use crate::plan::NodePoolId;
use crate::world::{ClaimId, PodId};

/// Its memory.
#[derive(Default)]
pub struct NodeClaims {}

/// Why it may be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// Look at a NodeClaim again.
    Reconcile(ClaimId),
    /// Something happened to a pod on a managed node.
    Pod(PodId),
    /// A NodePool changed.
    Pool(NodePoolId),
}

impl NodeClaims {
    /// Schedules the first events.
    pub fn start(&mut self, _cx: &mut Cx) {}

    /// Observe, decide, apply, schedule.
    pub fn handle(&mut self, _cx: &mut Cx, _event: Event) {}
}
