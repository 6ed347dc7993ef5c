//! What the volumes of a pod ask of a node, and what is wrong with them.
//!
//! Source: core `provisioning/scheduling/volumetopology.go`, `pkg/scheduling/volumeusage.go`. Left out: ephemeral volumes,
//! drivers that an operator of Karpenter excludes.

use crate::plan::{PodTemplate, VolumeClaim, Volumes};
use crate::rules::requirements::{HOSTNAME, Requirements};
use std::collections::{BTreeMap, BTreeSet};

/// Claims of a pod with their names; `None`: it is not there.
fn claims<'a>(
    volumes: &'a Volumes,
    template: &'a PodTemplate,
) -> impl Iterator<Item = ((String, String), Option<&'a VolumeClaim>)> {
    template.volume_claims.iter().map(|name| {
        let key = (template.namespace.clone(), name.clone());
        let claim = volumes.claims.get(&key);
        (key, claim)
    })
}

/// Alternatives, any of which a node must meet; none at all: volumes ask nothing.
pub fn alternatives(volumes: &Volumes, template: &PodTemplate) -> Vec<Requirements> {
    let mut all = vec![Requirements::new()];
    let mut any = false;
    for (_, claim) in claims(volumes, template) {
        // What cannot be found out asks nothing; pending pods were refused before.
        let Some(own) = claim.map(|claim| of_claim(volumes, claim)) else { return Vec::new() };
        if own.is_empty() {
            continue;
        }
        any = true;
        let pairs = || all.iter().flat_map(|one| own.iter().map(move |two| (one, two)));
        let merged = |(one, two): (&Requirements, &Requirements)| {
            let mut both = one.clone();
            both.add_all(two);
            both
        };
        let compatible: Vec<Requirements> = pairs().filter(|(one, two)| one.intersects(two)).map(merged).collect();
        // When no pair fits they are kept all the same, to fail later (as upstream).
        all = if compatible.is_empty() { pairs().map(merged).collect() } else { compatible };
    }
    if any { all } else { Vec::new() }
}

fn of_claim(volumes: &Volumes, claim: &VolumeClaim) -> Vec<Requirements> {
    let mut all = Vec::new();
    if !claim.volume.is_empty() {
        let Some(volume) = volumes.volumes.get(&claim.volume) else { return all };
        for term in volume.terms.iter().filter(|term| !term.is_empty()) {
            let moves = |key: &str| volume.local && key == HOSTNAME;
            let kept: Vec<_> = term.iter().filter(|requirement| !moves(&requirement.key)).cloned().collect();
            all.push(Requirements::of(&kept));
        }
    } else if let Some(class) = volumes.classes.get(&claim.class) {
        all.extend(class.topologies.iter().filter(|term| !term.is_empty()).map(|term| Requirements::of(term)));
    }
    all
}

/// Labels that any volume asks for.
pub fn keys(volumes: &Volumes) -> impl Iterator<Item = &str> {
    let of_volumes = volumes.volumes.values().flat_map(|volume| &volume.terms);
    let of_classes = volumes.classes.values().flat_map(|class| &class.topologies);
    of_volumes.chain(of_classes).flatten().map(|requirement| requirement.key.as_str())
}

/// Distinct claims by driver, each attached once.
pub type Attached = BTreeMap<String, BTreeSet<(String, String)>>;

/// What a pod attaches; `None`: its volume is gone, so it goes to no existing node.
pub fn attached(volumes: &Volumes, template: &PodTemplate) -> Option<Attached> {
    let mut all = Attached::new();
    for (key, claim) in claims(volumes, template) {
        let Some(claim) = claim else { continue };
        let driver = if claim.volume.is_empty() {
            volumes.classes.get(&claim.class).map_or("", |class| &class.provisioner)
        } else {
            &volumes.volumes.get(&claim.volume)?.driver
        };
        if !driver.is_empty() {
            all.entry(driver.to_string()).or_default().insert(key);
        }
    }
    Some(all)
}

/// Whether a node would attach more than it can.
pub fn exceeds(limits: &BTreeMap<String, usize>, one: &Attached, two: &Attached) -> bool {
    limits.iter().any(|(driver, &limit)| {
        let of = |attached: &Attached| attached.get(driver).cloned().unwrap_or_default();
        of(one).union(&of(two)).count() > limit
    })
}

/// Why Karpenter does not even try to place a pod with such volumes.
pub fn refusal(volumes: &Volumes, template: &PodTemplate) -> Option<String> {
    claims(volumes, template).find_map(|((_, name), claim)| match claim {
        None => volumes.complete.then(|| format!("PersistentVolumeClaim {name} is missing")),
        Some(claim) => flaw(volumes, claim).map(|flaw| format!("PersistentVolumeClaim {name} {flaw}")),
    })
}

fn flaw(volumes: &Volumes, claim: &VolumeClaim) -> Option<&'static str> {
    if claim.deleting {
        return Some("is being deleted");
    }
    if claim.lost {
        return Some("has lost its volume");
    }
    if !claim.volume.is_empty() {
        return match volumes.volumes.get(&claim.volume) {
            None => Some("is bound to a volume that is missing"),
            Some(volume) if volume.deleting => Some("is bound to a volume that is being deleted"),
            Some(_) => (!claim.bound).then_some("is not bound yet"),
        };
    }
    if claim.class.is_empty() {
        return Some("is unbound and has no storage class");
    }
    match volumes.classes.get(&claim.class) {
        None => Some("has a storage class that is missing"),
        Some(class) => class.immediate.then_some("waits for its volume (binding mode Immediate)"),
    }
}
