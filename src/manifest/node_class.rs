//! EC2NodeClass v1 and v1beta1.
//!
//! Source: karpenter-provider-aws `pkg/apis/v1/ec2nodeclass.go`. Left out: subnets and security groups (every zone of the
//! scenario is taken to be selected), user data.

use super::common::{labels, metadata, resources};
use super::node_pool::is_beta;
use crate::plan::{AmiFamily, NodeClassSpec};
use crate::rules::labels::Labels;
use crate::rules::quantity::Bytes;
use crate::rules::resources::ResourceList;
use crate::scenario::diagnostic::Problems;
use crate::scenario::reader::Fields;
use crate::scenario::yaml::Node;

const GI: i64 = 1 << 30;
const FAMILIES: [(&str, AmiFamily); 7] = [
    ("AL2", AmiFamily::Al2),
    ("AL2023", AmiFamily::Al2023),
    ("Bottlerocket", AmiFamily::Bottlerocket),
    ("Windows2019", AmiFamily::Windows),
    ("Windows2022", AmiFamily::Windows),
    ("Windows2025", AmiFamily::Windows),
    ("Custom", AmiFamily::Custom),
];

/// An EC2NodeClass of either version.
pub fn read_node_class(node: &Node, problems: &mut Problems) -> Option<NodeClassSpec> {
    let mut object = Fields::of(node, "ec2nodeclass", problems)?;
    is_beta(&mut object, problems);
    let metadata = metadata(&mut object, problems)?;
    object.required("spec", problems)?;
    let mut fields = object.fields("spec", problems)?;
    let family = family(&mut fields, problems);
    let mut class = NodeClassSpec {
        name: metadata.name,
        family,
        max_pods: None,
        pods_per_core: None,
        kube_reserved: ResourceList::default(),
        system_reserved: ResourceList::default(),
        eviction_hard: Labels::new(),
        volume: volume(&mut fields, family, problems),
        raid0: fields.choice("instanceStorePolicy", &[("RAID0", true)], problems).unwrap_or(false),
    };
    if let Some(mut kubelet) = fields.fields("kubelet", problems) {
        class.max_pods = kubelet.integer_in("maxPods", 0, 10_000, problems);
        class.pods_per_core = kubelet.integer_in("podsPerCore", 0, 10_000, problems);
        class.kube_reserved = resources(&mut kubelet, "kubeReserved", problems);
        class.system_reserved = resources(&mut kubelet, "systemReserved", problems);
        class.eviction_hard = labels(&mut kubelet, "evictionHard", problems);
    }
    Some(class)
}

/// API group of EKS Auto Mode: Karpenter run by AWS.
pub const AUTO_MODE: &str = "eks.amazonaws.com";

/// The name of a class of Auto Mode, which may have the same name as an EC2NodeClass.
pub fn auto_class_name(name: &str) -> String {
    format!("{AUTO_MODE}/{name}")
}

/// A NodeClass of EKS Auto Mode: Bottlerocket, with 80 GiB for pods if it does not say otherwise. Source: EKS guide, "Create a
/// Node Class for Amazon EKS".
pub fn read_auto_class(node: &Node, problems: &mut Problems) -> Option<NodeClassSpec> {
    let mut object = Fields::of(node, "nodeclass", problems)?;
    let name = metadata(&mut object, problems)?.name;
    let storage = object.fields("spec", problems).and_then(|mut spec| spec.fields("ephemeralStorage", problems));
    let size = storage.and_then(|mut storage| storage.quantity("size", problems));
    let class = auto_class(&auto_class_name(&name));
    let volume = size.map_or(class.volume, |size| Bytes(size.units_ceil().clamp(0, 1 << 50)));
    Some(NodeClassSpec { volume, ..class })
}

/// The class of Auto Mode that every such cluster has.
pub fn auto_class(name: &str) -> NodeClassSpec {
    NodeClassSpec {
        name: name.to_string(),
        family: AmiFamily::Bottlerocket,
        max_pods: None,
        pods_per_core: None,
        kube_reserved: ResourceList::default(),
        system_reserved: ResourceList::default(),
        eviction_hard: Labels::new(),
        volume: Bytes(80 * GI),
        raid0: false,
    }
}

fn family(fields: &mut Fields<'_>, problems: &mut Problems) -> AmiFamily {
    if let Some(family) = fields.choice("amiFamily", &FAMILIES, problems) {
        return family;
    }
    let terms = fields.list("amiSelectorTerms", problems);
    let alias = terms.iter().find_map(|term| term.get("alias")).and_then(Node::text);
    let name = alias.map(|alias| alias.split('@').next().unwrap_or(alias));
    let known = name.and_then(|name| FAMILIES.iter().find(|(family, _)| family.eq_ignore_ascii_case(name)));
    match (known, alias) {
        (Some(&(_, family)), _) => family,
        (None, Some(alias)) => {
            problems.error("E014", fields.place(), format!("the AMI alias `{alias}` names no family"));
            AmiFamily::Al2023
        }
        (None, None) if terms.is_empty() => AmiFamily::Al2023,
        (None, None) => AmiFamily::Custom,
    }
}

/// Size of the volume that pods' local storage is on.
fn volume(fields: &mut Fields<'_>, family: AmiFamily, problems: &mut Problems) -> Bytes {
    let (device, default) = match family {
        AmiFamily::Al2 | AmiFamily::Al2023 => (Some("/dev/xvda"), 20),
        AmiFamily::Bottlerocket => (Some("/dev/xvdb"), 20),
        AmiFamily::Windows => (Some("/dev/sda1"), 50),
        AmiFamily::Custom => (None, 20),
    };
    let path = fields.at("blockDeviceMappings");
    let mut size = None;
    for item in fields.list("blockDeviceMappings", problems) {
        let Some(mut mapping) = Fields::of(item, path.clone(), problems) else { continue };
        let name = mapping.text("deviceName", problems);
        let root = mapping.boolean("rootVolume", problems).unwrap_or(false);
        let Some(mut ebs) = mapping.fields("ebs", problems) else { continue };
        let wanted = root || device.is_none() || name.as_deref() == device;
        if let Some(quantity) = ebs.quantity("volumeSize", problems).filter(|_| wanted) {
            size = Some(Bytes(quantity.units_ceil().clamp(0, 1 << 50)));
        }
    }
    size.unwrap_or(Bytes(default * GI))
}

#[cfg(test)]
mod tests {
    use super::super::pod::document;
    use super::*;

    #[test]
    fn the_family_comes_from_the_alias_or_the_field() {
        let read = |spec: &str| {
            let (node, mut problems) = document(&format!("metadata: {{name: c}}\nspec: {spec}"));
            read_node_class(&node, &mut problems).unwrap()
        };
        assert_eq!(read("{amiSelectorTerms: [{alias: al2023@latest}]}").family, AmiFamily::Al2023);
        assert_eq!(read("{amiFamily: AL2}").family, AmiFamily::Al2);
        let own = read(
            "{amiSelectorTerms: [{alias: bottlerocket@v1.2}], kubelet: {maxPods: 110}, blockDeviceMappings: \
             [{deviceName: /dev/xvda, ebs: {volumeSize: 4Gi}}, {deviceName: /dev/xvdb, ebs: {volumeSize: 100Gi}}]}",
        );
        assert_eq!((own.family, own.max_pods, own.volume), (AmiFamily::Bottlerocket, Some(110), Bytes(100 << 30)));
    }
}
