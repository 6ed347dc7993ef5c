//! Persistent volumes as far as they decide where pods may go.
//!
//! Source: `k8s.io/api/core/v1` (PersistentVolumeClaim, PersistentVolume), `k8s.io/api/storage/v1` (StorageClass, CSINode).

use crate::rules::requirement::NodeRequirement;
use std::collections::BTreeMap;

/// Everything about volumes that is known of a cluster.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Volumes {
    /// All claims of the cluster are here: a pod that names another one cannot be placed.
    pub complete: bool,
    /// Claims by namespace and name.
    pub claims: BTreeMap<(String, String), VolumeClaim>,
    /// Volumes by name.
    pub volumes: BTreeMap<String, Volume>,
    /// Storage classes by name.
    pub classes: BTreeMap<String, StorageClass>,
    /// Volumes that a node can attach, by node and driver (CSINode).
    pub attach_limits: BTreeMap<String, BTreeMap<String, usize>>,
}

/// A PersistentVolumeClaim.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VolumeClaim {
    /// `spec.storageClassName`.
    pub class: String,
    /// `spec.volumeName`.
    pub volume: String,
    /// It carries the annotation `pv.kubernetes.io/bind-completed`.
    pub bound: bool,
    /// Phase Lost.
    pub lost: bool,
    /// It is being deleted.
    pub deleting: bool,
    /// Several nodes may have it at once (access mode ReadWriteMany or ReadOnlyMany).
    pub shared: bool,
}

/// A PersistentVolume.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Volume {
    /// Its CSI driver; empty: none.
    pub driver: String,
    /// On a disk of one host: another host means another disk.
    pub local: bool,
    /// Required terms of its node affinity, any of which must be met.
    pub terms: Vec<Vec<NodeRequirement>>,
    /// It is being deleted.
    pub deleting: bool,
}

/// A StorageClass.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StorageClass {
    /// What makes its volumes.
    pub provisioner: String,
    /// `volumeBindingMode: Immediate` (the default): volumes are made before a pod is placed.
    pub immediate: bool,
    /// `allowedTopologies`, any of which must be met.
    pub topologies: Vec<Vec<NodeRequirement>>,
    /// Claims that name no class get this one.
    pub default: bool,
}

impl Volumes {
    /// The CSI driver of EBS.
    pub const EBS: &str = "ebs.csi.aws.com";

    /// The driver of a claim's volume, or of its class before it has one; empty: none.
    pub fn driver_of(&self, claim: &VolumeClaim) -> &str {
        match self.volumes.get(&claim.volume) {
            Some(volume) => &volume.driver,
            None => self.classes.get(&claim.class).map_or("", |class| &class.provisioner),
        }
    }

    /// Volumes of this driver are attached to one machine and lie in its zone; others (EFS, FSx, S3) are mounted over the
    /// network from anywhere, or are part of the machine.
    pub fn is_attached(driver: &str) -> bool {
        driver == Volumes::EBS
    }

    /// What the volumes of a template ask of nodes: for each claim alternatives, any of which must be met.
    pub fn terms_of<'v>(
        &'v self,
        template: &'v super::PodTemplate,
    ) -> impl Iterator<Item = &'v [Vec<NodeRequirement>]> + use<'v> {
        let claims = template.volume_claims.iter().filter_map(|name| {
            let claim = self.claims.get(&(template.namespace.clone(), name.clone()))?;
            match self.volumes.get(&claim.volume) {
                Some(volume) => Some(&volume.terms[..]),
                None => self.classes.get(&claim.class).map(|class| &class.topologies[..]),
            }
        });
        claims.filter(|terms| !terms.is_empty())
    }
}
