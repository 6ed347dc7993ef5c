//! Persistent volumes during a run: where claims are bound, and which nodes their volumes are attached to.
//!
//! In: the volumes of the plan; bindings by the scheduler, attachments by the attach-detach controller. Out: what a volume
//! asks of nodes now, and whether a pod has its volumes. Source: `k8s.io/api/storage/v1` (VolumeAttachment).

use super::{AttachmentId, Change, NodeId, PodId, World};
use crate::engine::Time;
use crate::plan::{PodTemplate, Volume, VolumeClaim, Volumes};
use crate::rules::requirement::{NodeOperator, NodeRequirement};
use crate::rules::requirements::ZONE;
use std::sync::Arc;

/// Namespace and name of a PersistentVolumeClaim.
pub type ClaimKey = (String, String);

/// A VolumeAttachment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// Its id.
    pub id: AttachmentId,
    /// The claim whose volume it is.
    pub claim: ClaimKey,
    /// The node.
    pub node: NodeId,
    /// When it was attached.
    pub attached: Option<Time>,
    /// When it was found that no pod of the node needs it any more.
    pub unneeded: Option<Time>,
    /// The detachment was asked for: it cannot be used again.
    pub detaching: bool,
    /// When it was detached: the object is gone.
    pub detached: Option<Time>,
}

impl World {
    /// Claims of a pod whose volumes are attached to its node (EBS), as opposed to mounted over the network.
    pub fn attachable_claims(&self, template: &PodTemplate) -> Vec<ClaimKey> {
        let keys = template.volume_claims.iter().map(|name| (template.namespace.clone(), name.clone()));
        keys.filter(|key| {
            let driver = self.volumes.claims.get(key).map(|claim| self.volumes.driver_of(claim));
            driver.is_some_and(Volumes::is_attached)
        })
        .collect()
    }

    /// The volumes of a pod's claims that wait for their first consumer are made where its node is; true if there are any.
    pub fn bind_volumes(&mut self, pod: PodId, node: NodeId) -> bool {
        let template = self.template_of(pod).clone();
        let zone = self.node(node).labels.get(ZONE).map(str::to_string);
        let mut bound = false;
        for name in &template.volume_claims {
            let key = (template.namespace.clone(), name.clone());
            let Some(claim) = self.volumes.claims.get(&key).filter(|claim| claim.volume.is_empty()) else { continue };
            let driver = self.volumes.driver_of(claim).to_string();
            let zonal = zone.as_ref().filter(|_| Volumes::is_attached(&driver));
            let terms = zonal.map(|zone| vec![NodeRequirement::new(ZONE, NodeOperator::In, &[zone])]);
            let volume = format!("pvc-{}-{}", key.0, key.1);
            let made = Volume { driver, terms: terms.into_iter().collect(), ..Volume::default() };
            let known = Arc::make_mut(&mut self.volumes);
            known.volumes.insert(volume.clone(), made);
            if let Some(claim) = known.claims.get_mut(&key) {
                *claim = VolumeClaim { volume, bound: true, ..claim.clone() };
            }
            bound = true;
        }
        if bound {
            self.touch_templates(&template);
        }
        bound
    }

    /// What was found out from templates that share a claim with this one counts no more.
    fn touch_templates(&mut self, bound: &PodTemplate) {
        for template in &mut self.templates {
            let shares = template.volume_claims.iter().any(|name| bound.volume_claims.contains(name));
            if template.namespace == bound.namespace && shares {
                *template = Arc::new((**template).clone());
            }
        }
    }

    /// The attachment of a claim's volume to a node, if it exists.
    pub fn attachment(&self, claim: &ClaimKey, node: NodeId) -> Option<&Attachment> {
        self.attachments.iter().rev().find(|one| one.detached.is_none() && one.node == node && one.claim == *claim)
    }

    /// Attachments of a node that exist.
    pub fn attachments_of(&self, node: NodeId) -> impl Iterator<Item = &Attachment> {
        self.attachments.iter().filter(move |one| one.detached.is_none() && one.node == node)
    }

    /// A VolumeAttachment is created; the volume is on its way.
    pub fn create_attachment(&mut self, claim: ClaimKey, node: NodeId) -> AttachmentId {
        let id = AttachmentId::at(self.attachments.len());
        let (attached, unneeded, detached) = (None, None, None);
        self.attachments.push(Attachment { id, claim, node, attached, unneeded, detaching: false, detached });
        id
    }

    /// It is attached.
    pub fn note_attached(&mut self, id: AttachmentId) {
        let now = self.now;
        let entry = &mut self.attachments[id.index()];
        if entry.attached.is_none() && entry.detached.is_none() {
            entry.attached = Some(now);
            self.push(Change::VolumeAttached(id));
        }
    }

    /// Pods of its node need it no more, or need it again.
    pub fn set_attachment_needed(&mut self, id: AttachmentId, needed: bool) {
        let now = self.now;
        let entry = &mut self.attachments[id.index()];
        if needed {
            entry.unneeded = None;
        } else {
            entry.unneeded.get_or_insert(now);
        }
    }

    /// Its detachment was asked for.
    pub fn begin_detachment(&mut self, id: AttachmentId) {
        self.attachments[id.index()].detaching = true;
    }

    /// It is detached; the object is gone.
    pub fn note_detached(&mut self, id: AttachmentId) {
        let now = self.now;
        let entry = &mut self.attachments[id.index()];
        if entry.detached.is_none() {
            entry.detached = Some(now);
            self.push(Change::VolumeDetached(id));
        }
    }

    /// A pod that is bound needs the volume of a claim: its containers have not all ended.
    pub fn needs_volume(&self, pod: PodId, claim: &ClaimKey) -> bool {
        let (entry, template) = (self.pod(pod), self.template_of(pod));
        entry.gone.is_none()
            && !entry.is_finished()
            && entry.node.is_some()
            && template.namespace == claim.0
            && template.volume_claims.contains(&claim.1)
    }

    /// All volumes of a pod are attached to its node.
    pub fn has_its_volumes(&self, pod: PodId) -> bool {
        let template = self.template_of(pod);
        if template.volume_claims.is_empty() {
            return true;
        }
        let Some(node) = self.pod(pod).node else { return true };
        let is_there = |claim: &ClaimKey| self.attachment(claim, node).is_some_and(|one| one.attached.is_some());
        self.attachable_claims(template).iter().all(is_there)
    }
}
