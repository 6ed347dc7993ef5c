//! Reconciles that have nothing to do: what was resolved is what the checkpoint says already.
//!
//! In: a binding and what was resolved for it. Out: whether its reconcile is skipped; a full one is made later instead.
//!
//! Source: aws-load-balancer-controller `pkg/targetgroupbinding/resource_manager.go`.

use super::objects::{Binding, Name, Pod, Status};
use super::outside::Note;
use super::reconcile::Work;
use super::resolver::Wanted;
use crate::plan::flags::LoadBalancerFlags;
use std::rc::Rc;

/// What was resolved for a binding is what its checkpoint says already: its reconcile would be skipped. Mostly it was woken by
/// the checkpoint that its last reconcile wrote.
pub(super) fn is_done(binding: &Binding, work: &mut Work) -> bool {
    if binding.deleting || !binding.finalizer {
        return false;
    }
    let Some(checkpoint) = &binding.annotations.checkpoint else { return false };
    let Some(known) = work.resolutions.known(work.copies, binding, work.flags) else { return false };
    let pods = known.wanted.iter().filter_map(Wanted::pod);
    known.checkpoint == *checkpoint && !known.potentially_ready && !has_gate_to_flip(pods, &binding.gate, work.flags)
}

/// From 3.4 on a gate that was written and is not True keeps a reconcile from being skipped.
pub(super) fn has_gate_to_flip<'p>(
    mut pods: impl Iterator<Item = &'p Rc<Pod>>,
    gate: &str,
    flags: &LoadBalancerFlags,
) -> bool {
    let flips = |pod: &Pod| pod.condition(gate).is_some_and(|condition| condition.status != Status::True);
    flags.watches_pods && pods.any(|pod| flips(pod))
}

/// A reconcile has nothing to do.
pub(super) fn skip(name: &Name, work: &mut Work) {
    work.outside.note(name, Note::Skip);
    let (delay, jitter) = work.flags.deferral;
    let delay = || delay + work.outside.deferral_jitter(name, jitter);
    work.deferred.skipped(name, work.now, delay, work.flags.sync_period);
}
