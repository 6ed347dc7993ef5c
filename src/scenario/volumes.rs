//! PersistentVolumeClaims, PersistentVolumes and StorageClasses of the manifests into the plan.
//!
//! What manifests often lack is assumed, with a note: a class makes EBS volumes for their first consumer, a volume that is not
//! there is made. A claim that binds at once has its volume before the run begins, in the zone that its name chooses.
//! Source: EKS's class gp2; csi external-provisioner `pkg/controller/topology.go` for the zone.

use super::Draft;
use super::diagnostic::{Diagnostic, Place, suggestion};
use crate::manifest::common::Found;
use crate::plan::{Plan, PodTemplate, StorageClass, Volume, VolumeClaim, Volumes};
use crate::rules::requirement::{NodeOperator, NodeRequirement};
use crate::rules::requirements::{ZONE, normalized};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Puts the volumes into the plan; claims that no manifest describes are passed over.
pub(crate) fn place(draft: &mut Draft) {
    let Draft { plan, objects, problems, .. } = draft;
    for Found { value: (name, class), .. } in &objects.storage_classes {
        plan.volumes.classes.insert(name.clone(), class.clone());
    }
    for Found { value: (name, volume), .. } in &objects.volumes {
        plan.volumes.volumes.insert(name.clone(), volume.clone());
    }
    let default = plan.volumes.classes.iter().find(|(_, class)| class.default).map(|(name, _)| name.clone());
    for Found { value: (key, claim), place, .. } in &objects.volume_claims {
        let mut claim = claim.clone();
        if !claim.volume.is_empty() && !plan.volumes.volumes.contains_key(&claim.volume) {
            let text = format!(
                "PersistentVolume {} of claim {} is not among the manifests: it is made for its first pod",
                claim.volume, key.1
            );
            problems.push(Diagnostic::note("N108", *place, text));
            claim.volume.clear();
        }
        claim.bound = !claim.volume.is_empty();
        if claim.class.is_empty() {
            claim.class = default.clone().unwrap_or_else(|| "gp2".to_string());
        }
        if claim.volume.is_empty() && !plan.volumes.classes.contains_key(&claim.class) {
            let text = format!(
                "StorageClass {} is not among the manifests: taken to make EBS volumes for their first consumer",
                claim.class
            );
            let known = suggestion(&claim.class, plan.volumes.classes.keys().map(String::as_str));
            problems.push(Diagnostic::note("N108", *place, text).maybe_help(known));
            let class = StorageClass { provisioner: Volumes::EBS.to_string(), ..StorageClass::default() };
            plan.volumes.classes.insert(claim.class.clone(), class);
        }
        if claim.volume.is_empty() && plan.volumes.classes[&claim.class].immediate {
            bind_at_once(key, &mut claim, plan);
        }
        plan.volumes.claims.insert(key.clone(), claim);
    }
    drop_unknown(draft);
}

/// The volume of a claim with binding mode Immediate is made before any pod: in the zone that its name chooses.
fn bind_at_once(key: &(String, String), claim: &mut VolumeClaim, plan: &mut Plan) {
    let class = &plan.volumes.classes[&claim.class];
    let allowed = |zone: &&String| {
        let is_zone = |requirement: &&NodeRequirement| normalized(&requirement.key) == ZONE;
        class.topologies.is_empty()
            || class.topologies.iter().any(|term| term.iter().filter(is_zone).all(|one| one.values.contains(zone)))
    };
    let zones: BTreeSet<&String> = plan.zones.iter().filter(allowed).collect();
    let driver = class.provisioner.clone();
    let zone = (!zones.is_empty()).then(|| zones.iter().nth(chosen(&key.1, zones.len()))).flatten();
    let zonal = zone.filter(|_| Volumes::is_attached(&driver));
    let terms = zonal.map(|zone| vec![NodeRequirement::new(ZONE, NodeOperator::In, &[zone])]);
    let made = Volume { driver, terms: terms.into_iter().collect(), ..Volume::default() };
    claim.volume = format!("pvc-{}-{}", key.0, key.1);
    claim.bound = true;
    plan.volumes.volumes.insert(claim.volume.clone(), made);
}

/// The place in the list of zones: the hash of the name, or of what stands before its number, plus that number.
fn chosen(name: &str, zones: usize) -> usize {
    let numbered = name.rsplit_once('-').and_then(|(stem, number)| Some((stem, number.parse::<u32>().ok()?)));
    let (hashed, index) = match numbered {
        // Of `claim-set-number` the set counts: the claims of a pod come to one zone.
        Some((stem, number)) => (stem.rsplit_once('-').map_or(stem, |(_, set)| set), number),
        None => (name, 0),
    };
    // FNV-1.
    let hash = hashed.bytes().fold(0x811c_9dc5_u32, |hash, byte| hash.wrapping_mul(0x0100_0193) ^ u32::from(byte));
    hash.wrapping_add(index) as usize % zones.max(1)
}

/// A pod that mounts a claim which no manifest describes is taken to do without.
pub(crate) fn drop_unknown(draft: &mut Draft) {
    let Draft { plan, problems, .. } = draft;
    let mut missing: BTreeSet<(String, String)> = BTreeSet::new();
    for template in &mut plan.templates {
        let is_known = |name: &String| plan.volumes.claims.contains_key(&(template.namespace.clone(), name.clone()));
        if template.volume_claims.iter().all(is_known) {
            continue;
        }
        let lost = template.volume_claims.iter().filter(|name| !is_known(name)).cloned();
        let lost: Vec<String> = lost.collect();
        missing.extend(lost.iter().map(|name| (template.namespace.clone(), name.clone())));
        Arc::make_mut(template).volume_claims.retain(|name| !lost.contains(name));
    }
    let objects = &draft.objects;
    let deployments = objects.deployments.iter().map(|found| (&found.value.1, found.place));
    let daemon_sets = objects.daemon_sets.iter().map(|found| (&found.value.1, found.place));
    let pods = objects.pods.iter().map(|found| (&found.value.1, found.place));
    let mounting: Vec<(&PodTemplate, Place)> = deployments.chain(daemon_sets).chain(pods).collect();
    for (namespace, name) in missing {
        let mounts = |template: &PodTemplate| template.namespace == namespace && template.volume_claims.contains(&name);
        // What only an applied manifest mounts has no place here.
        let Some(&(_, place)) = mounting.iter().find(|(template, _)| mounts(template)) else { continue };
        let text = format!("PersistentVolumeClaim {name} is not among the manifests: the volume is passed over");
        let known = plan.volumes.claims.keys().filter(|(other, _)| *other == namespace).map(|(_, name)| name.as_str());
        problems.push(Diagnostic::note("N108", place, text).maybe_help(suggestion(&name, known)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of a StatefulSet's claims each goes to the next zone, and both claims of one pod to the same; the hash is FNV-1 with
    /// offset 2166136261 and prime 16777619.
    #[test]
    fn names_choose_zones_as_the_provisioner_does() {
        let zones = |name: &str| chosen(name, 3);
        assert_eq!(zones("data-web-1"), (zones("data-web-0") + 1) % 3);
        assert_eq!(zones("data-web-2"), zones("logs-web-2"));
        let fnv1 = "web".bytes().fold(2_166_136_261_u32, |hash, byte| hash.wrapping_mul(16_777_619) ^ u32::from(byte));
        assert_eq!(zones("data-web-0"), fnv1 as usize % 3);
    }
}
