//! PersistentVolumeClaim, PersistentVolume, StorageClass, CSINode: what of them decides where pods may go.

use super::common::{metadata, requirements, texts};
use crate::plan::{StorageClass, Volume, VolumeClaim, Volumes};
use crate::rules::requirement::{NodeOperator, NodeRequirement};
use crate::scenario::diagnostic::Problems;
use crate::scenario::reader::Fields;
use crate::scenario::yaml::Node;
use std::collections::BTreeMap;

/// It serves the volumes of the former in-tree plugin as well.
const EBS_DRIVER: &str = Volumes::EBS;

fn is_deleting(node: &Node) -> bool {
    node.get("metadata").is_some_and(|metadata| metadata.get("deletionTimestamp").is_some())
}

/// Namespace, name and claim.
pub fn read_volume_claim(node: &Node, problems: &mut Problems) -> Option<((String, String), VolumeClaim)> {
    let mut object = Fields::of(node, "persistentvolumeclaim", problems)?;
    let metadata = metadata(&mut object, problems)?;
    let mut spec = object.fields("spec", problems);
    let mut text = |key| spec.as_mut().and_then(|spec| spec.text(key, problems)).unwrap_or_default();
    let (class, volume) = (text("storageClassName"), text("volumeName"));
    let modes = spec.as_mut().map(|spec| texts(spec, "accessModes", problems)).unwrap_or_default();
    let phase = node.get("status").and_then(|status| status.get("phase")).and_then(Node::text);
    let claim = VolumeClaim {
        class,
        volume,
        bound: metadata.annotations.contains_key("pv.kubernetes.io/bind-completed"),
        lost: phase == Some("Lost"),
        deleting: is_deleting(node),
        shared: modes.iter().any(|mode| mode == "ReadWriteMany" || mode == "ReadOnlyMany"),
    };
    Some(((metadata.namespace, metadata.name), claim))
}

/// Name and volume.
pub fn read_volume(node: &Node, problems: &mut Problems) -> Option<(String, Volume)> {
    let mut object = Fields::of(node, "persistentvolume", problems)?;
    let metadata = metadata(&mut object, problems)?;
    let mut volume = Volume { deleting: is_deleting(node), ..Volume::default() };
    if let Some(mut spec) = object.fields("spec", problems) {
        volume.local = spec.get("local").is_some() || spec.get("hostPath").is_some();
        if spec.get("awsElasticBlockStore").is_some() {
            volume.driver = EBS_DRIVER.to_string();
        }
        if let Some(driver) = spec.fields("csi", problems).and_then(|mut csi| csi.text("driver", problems)) {
            volume.driver = driver;
        }
        let required = spec.fields("nodeAffinity", problems);
        if let Some(mut required) = required.and_then(|mut affinity| affinity.fields("required", problems)) {
            let path = required.at("nodeSelectorTerms");
            for term in required.list("nodeSelectorTerms", problems) {
                let Some(mut term) = Fields::of(term, path.clone(), problems) else { continue };
                volume.terms.push(requirements(&mut term, "matchExpressions", false, problems));
            }
        }
    }
    Some((metadata.name, volume))
}

/// Name and class.
pub fn read_storage_class(node: &Node, problems: &mut Problems) -> Option<(String, StorageClass)> {
    let mut object = Fields::of(node, "storageclass", problems)?;
    let metadata = metadata(&mut object, problems)?;
    let mut provisioner = object.text("provisioner", problems).unwrap_or_default();
    if provisioner == "kubernetes.io/aws-ebs" {
        provisioner = EBS_DRIVER.to_string();
    }
    let modes = [("Immediate", true), ("WaitForFirstConsumer", false)];
    let immediate = object.choice("volumeBindingMode", &modes, problems).unwrap_or(true);
    let mut topologies = Vec::new();
    let path = object.at("allowedTopologies");
    for term in object.list("allowedTopologies", problems) {
        let Some(mut term) = Fields::of(term, path.clone(), problems) else { continue };
        let mut expressions = Vec::new();
        for entry in term.list("matchLabelExpressions", problems) {
            let Some(mut entry) = Fields::of(entry, path.clone(), problems) else { continue };
            let key = entry.text("key", problems).unwrap_or_default();
            let values = texts(&mut entry, "values", problems);
            expressions.push(NodeRequirement { key, operator: NodeOperator::In, values, min_values: None });
        }
        topologies.push(expressions);
    }
    let default = metadata.annotations.get("storageclass.kubernetes.io/is-default-class");
    let default = default.is_some_and(|value| value == "true");
    Some((metadata.name, StorageClass { provisioner, immediate, topologies, default }))
}

/// Name of the node, and how many volumes of each driver it can attach.
pub fn read_csi_node(node: &Node, problems: &mut Problems) -> Option<(String, BTreeMap<String, usize>)> {
    let mut object = Fields::of(node, "csinode", problems)?;
    let metadata = metadata(&mut object, problems)?;
    let mut limits = BTreeMap::new();
    if let Some(mut spec) = object.fields("spec", problems) {
        let path = spec.at("drivers");
        for driver in spec.list("drivers", problems) {
            let Some(mut driver) = Fields::of(driver, path.clone(), problems) else { continue };
            let name = driver.text("name", problems).unwrap_or_default();
            let allocatable = driver.fields("allocatable", problems);
            let count = allocatable.and_then(|mut fields| fields.integer_in("count", 0, i64::from(u32::MAX), problems));
            limits.extend(count.and_then(|count| usize::try_from(count).ok()).map(|count| (name, count)));
        }
    }
    Some((metadata.name, limits))
}
