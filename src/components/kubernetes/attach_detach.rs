//! The attach-detach controller, with the CSI attacher behind it.
//!
//! ```text
//!  PodBound ─► volume nowhere else ─(volume.attach)─► attached: the kubelet goes on
//!           └► still attached to another node: waits (Multi-Attach error)
//!  PodGone ─► the node's next status says that it is not in use ─(volume.detach)─► detached
//!          └► the node is dead: six minutes, then by force
//! ```
//!
//! Source: `pkg/controller/volume/attachdetach/{reconciler,attach_detach_controller}.go`; EBS CSI driver, `docs/faq.md`. Left
//! out: how many volumes an instance can hold, the taint out-of-service.

use crate::components::{Cx, Event as Any};
use crate::engine::{Purpose, Time};
use crate::plan::Stage;
use crate::world::volume::ClaimKey;
use crate::world::{AttachmentId, NodeId, PodId, World};
use std::collections::BTreeSet;

const STATUS: Purpose = Purpose::named("kubelet.volumes_in_use");

/// Its memory.
#[derive(Default)]
pub struct AttachDetach {
    /// Pods whose volume is attached elsewhere, told of once.
    blocked: BTreeSet<PodId>,
}

/// Why it may be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// A pod with volumes was bound, has finished or is gone.
    Pod(PodId),
    /// A volume is attached.
    Attached(AttachmentId),
    /// The status of the node says whether it is in use.
    Status(AttachmentId),
    /// A volume is detached.
    Detached(AttachmentId),
    /// A dead node has kept a volume for too long.
    Force(AttachmentId),
}

fn event(event: Event) -> Any {
    Any::AttachDetach(event)
}

impl AttachDetach {
    /// Schedules the first events: volumes of pods that are bound and do not have them.
    pub fn start(&mut self, cx: &mut Cx) {
        let lacking = cx.world.living.iter().filter(|&pod| !cx.world.has_its_volumes(pod));
        for pod in lacking.collect::<Vec<PodId>>() {
            self.pod(cx, pod);
        }
    }

    /// Observe, decide, apply, schedule.
    pub fn handle(&mut self, cx: &mut Cx, event: Event) {
        match event {
            Event::Pod(pod) => self.pod(cx, pod),
            Event::Attached(id) => {
                cx.world.note_attached(id);
                // Its pod may have gone meanwhile.
                release(cx, id);
            }
            Event::Status(id) => status(cx, id),
            Event::Detached(id) => self.detached(cx, id),
            Event::Force(id) => {
                let entry = &cx.world.attachments[id.index()];
                let timeout = cx.plan.flags.controllers.volume_unmount_timeout;
                let due = entry.unneeded.is_some_and(|since| cx.now >= since + timeout);
                if due && entry.detached.is_none() && !entry.detaching {
                    detach(cx, id);
                }
            }
        }
    }

    fn pod(&mut self, cx: &mut Cx, pod: PodId) {
        let Some(node) = cx.world.pod(pod).node else { return };
        for claim in cx.world.attachable_claims(cx.world.template_of(pod)) {
            if cx.world.needs_volume(pod, &claim) {
                self.attach(cx, pod, &claim, node);
            } else if let Some(id) = cx.world.attachment(&claim, node).map(|one| one.id) {
                self.blocked.remove(&pod);
                release(cx, id);
            }
        }
    }

    /// The volume comes to the node of the pod, unless another node has it.
    fn attach(&mut self, cx: &mut Cx, pod: PodId, claim: &ClaimKey, node: NodeId) {
        if let Some(entry) = cx.world.attachment(claim, node) {
            let (id, detaching) = (entry.id, entry.detaching);
            if !detaching {
                cx.world.set_attachment_needed(id, true);
            }
            return;
        }
        let shared = cx.world.volumes.claims.get(claim).is_some_and(|claim| claim.shared);
        let elsewhere = cx.world.attachments.iter().find(|one| one.detached.is_none() && one.claim == *claim);
        if let Some(other) = elsewhere.filter(|_| !shared).map(|one| one.node) {
            if self.blocked.insert(pod) {
                let Cx { recorder, world, now, .. } = cx;
                recorder.explain(*now, || {
                    let (pod, other) = (world.pod_name(pod), &world.node(other).name);
                    format!("pod {pod}: FailedAttachVolume, {} is still attached to node {other}", claim.1)
                });
            }
            return;
        }
        self.blocked.remove(&pod);
        let id = cx.world.create_attachment(claim.clone(), node);
        let span = cx.delay(Stage::VolumeAttach, key(cx.world, id));
        cx.after(span, event(Event::Attached(id)));
    }

    /// Whoever waited for it may have it now.
    fn detached(&mut self, cx: &mut Cx, id: AttachmentId) {
        cx.world.note_detached(id);
        let claim = cx.world.attachments[id.index()].claim.clone();
        let waiting = cx.world.living.iter().filter(|&pod| cx.world.needs_volume(pod, &claim));
        for pod in waiting.collect::<Vec<PodId>>() {
            if let Some(node) = cx.world.pod(pod).node {
                self.attach(cx, pod, &claim, node);
            }
        }
    }
}

/// The key of the draws of an attachment.
fn key(world: &World, id: AttachmentId) -> u64 {
    world.node_key(world.attachments[id.index()].node) ^ u64::from(id.0) << 32
}

fn is_needed(world: &World, id: AttachmentId) -> bool {
    let entry = &world.attachments[id.index()];
    world.node(entry.node).pods.iter().any(|&pod| world.needs_volume(pod, &entry.claim))
}

/// When no pod of the node needs the volume, the node's next status will say that it is not in use.
fn release(cx: &mut Cx, id: AttachmentId) {
    let entry = &cx.world.attachments[id.index()];
    if entry.attached.is_none() || entry.detaching || entry.unneeded.is_some() || is_needed(cx.world, id) {
        return;
    }
    cx.world.set_attachment_needed(id, false);
    let span = cx.phase(STATUS, key(cx.world, id), cx.plan.flags.kubelet.status_period);
    cx.after(span, event(Event::Status(id)));
}

/// A machine that does not answer never says that a volume is not in use.
fn status(cx: &mut Cx, id: AttachmentId) {
    let entry = &cx.world.attachments[id.index()];
    let Some(since) = entry.unneeded.filter(|_| !entry.detaching && entry.detached.is_none()) else { return };
    let node = cx.world.node(entry.node);
    if node.alive && node.gone.is_none() {
        return detach(cx, id);
    }
    let at: Time = since + cx.plan.flags.controllers.volume_unmount_timeout;
    let Cx { recorder, world, now, .. } = cx;
    recorder.explain(*now, || {
        let entry = &world.attachments[id.index()];
        let node = &world.node(entry.node).name;
        format!("{} stays attached to node {node}, which died before it said that it is unmounted", entry.claim.1)
    });
    cx.at(at, event(Event::Force(id)));
}

fn detach(cx: &mut Cx, id: AttachmentId) {
    cx.world.begin_detachment(id);
    let span = cx.delay(Stage::VolumeDetach, key(cx.world, id));
    cx.after(span, event(Event::Detached(id)));
}
