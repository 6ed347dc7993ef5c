//! Karpenter provisioner: batches pending pods, packs them, creates NodeClaims.

use crate::components::Cx;
use crate::world::{NodeId, PodId};

/// Its memory.
#[derive(Default)]
pub struct Provisioner {}

/// Why it may be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// A pod is unschedulable (or still is: the 10 s re-trigger).
    Pod(PodId),
    /// Taints of a managed node changed.
    Node(NodeId),
}

impl Provisioner {
    /// Schedules the first events.
    pub fn start(&mut self, _cx: &mut Cx) {}

    /// Observe, decide, apply, schedule.
    pub fn handle(&mut self, _cx: &mut Cx, _event: Event) {}
}
