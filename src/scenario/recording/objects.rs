//! The manifests of a recording: whole objects and merge patches, in the order of their file names.

use crate::manifest;
use crate::manifest::common::{Found, resources};
use crate::plan::{AmiFamily, CapacityType, InitialNode, NodeClassSpec};
use crate::rules::labels::Labels;
use crate::rules::quantity::Bytes;
use crate::rules::resources::ResourceList;
use crate::scenario::Draft;
use crate::scenario::diagnostic::{Diagnostic, Place, Problems};
use crate::scenario::files;
use crate::scenario::reader::Fields;
use crate::scenario::yaml::{Node, Value as Yaml};
use serde_json::{Map, Value};

/// Kind, namespace and name.
pub type Key = (String, String, String);

/// What one file does.
pub struct File {
    /// Its name without number and ending: what the action calls it.
    pub stem: String,
    /// What it is a merge patch of.
    pub patch: Option<Key>,
    /// Its documents as JSON, with their places.
    pub documents: Vec<(Place, Value)>,
    /// Its beginning.
    pub place: Place,
}

/// Plural resource names in URLs with their kinds.
const RESOURCES: [(&str, &str); 11] = [
    ("deployments", "Deployment"),
    ("statefulsets", "StatefulSet"),
    ("daemonsets", "DaemonSet"),
    ("nodes", "Node"),
    ("poddisruptionbudgets", "PodDisruptionBudget"),
    ("horizontalpodautoscalers", "HorizontalPodAutoscaler"),
    ("nodepools", "NodePool"),
    ("nodeclaims", "NodeClaim"),
    ("services", "Service"),
    ("pods", "Pod"),
    ("kwoknodeclasses", "KWOKNodeClass"),
];
/// Kinds of which there is one in the cluster, whatever namespace their manifest says.
pub const CLUSTER_WIDE: [&str; 4] = ["Node", "NodePool", "NodeClaim", "KWOKNodeClass"];

/// Reads all manifests; the first version of each object becomes part of the plan.
pub fn read(draft: &mut Draft) -> Vec<File> {
    let folder = match draft.files.resolve("manifests") {
        Ok(folder) => folder,
        Err(error) => {
            files::report(error, None, &mut draft.problems);
            return Vec::new();
        }
    };
    let mut found = Vec::new();
    for path in draft.files.manifests(&folder) {
        let name = path.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let stem = name.trim_start_matches(|c: char| c.is_ascii_digit()).trim_start_matches('-').to_string();
        let (file, documents) = draft.files.documents(&path, None, &mut draft.problems);
        let text = draft.problems.sources[file.0 as usize].text.clone();
        let first = text.lines().next().unwrap_or("");
        let patch = first.strip_prefix("# merge patch ");
        let place = Place::top(file);
        if patch.is_none() && first.starts_with('#') && first.contains(" patch /") {
            let message = format!(
                "only merge patches are read, not `{}`: it is passed over",
                first.trim_start_matches('#').trim()
            );
            draft.problems.push(Diagnostic::warning("W123", place, message));
            continue;
        }
        let patch = patch.map(|url| (url.trim().to_string(), target(url.trim())));
        if let Some((url, None)) = &patch {
            let message = format!("a merge patch of {url}: that resource is not modelled, the patch is passed over");
            draft.problems.push(Diagnostic::warning("W123", place, message));
            continue;
        }
        let patch = patch.and_then(|(_, target)| target);
        let json = documents.iter().filter(|node| !node.is_null()).map(|node| (node.place, to_json(node))).collect();
        if patch.is_none() {
            for document in &documents {
                read_first(document, draft);
            }
        }
        found.push(File { stem, patch, documents: json, place });
    }
    found
}

/// What a URL such as `/apis/apps/v1/namespaces/default/deployments/web` names.
fn target(url: &str) -> Option<Key> {
    let parts: Vec<&str> = url.trim_matches('/').split('/').collect();
    let namespace = parts.iter().position(|part| *part == "namespaces").and_then(|index| parts.get(index + 1));
    let (index, kind) = parts.iter().enumerate().find_map(|(index, part)| {
        RESOURCES.iter().find(|(plural, _)| plural == part).map(|(_, kind)| (index, *kind))
    })?;
    Some((kind.to_string(), namespace.unwrap_or(&"default").to_string(), parts.get(index + 1)?.to_string()))
}

/// The plural name in URLs of a kind.
pub fn resource_of(kind: &str) -> Option<&'static str> {
    RESOURCES.iter().find(|(_, own)| *own == kind).map(|(plural, _)| *plural)
}

/// Kind, namespace and name of an object.
pub fn key_of(value: &Value) -> Option<Key> {
    let kind = value["kind"].as_str()?;
    let namespace = value["metadata"]["namespace"].as_str().filter(|_| !CLUSTER_WIDE.contains(&kind));
    let name = value["metadata"]["name"].as_str()?;
    Some((kind.to_string(), namespace.unwrap_or("default").to_string(), name.to_string()))
}

/// An object as it is first applied.
fn read_first(document: &Node, draft: &mut Draft) {
    let name = document.get("metadata").and_then(|metadata| metadata.get("name")).and_then(Node::text);
    match (document.get("kind").and_then(Node::text), name) {
        (Some("Node"), Some(name)) => {
            if !draft.plan.nodes.iter().any(|node| node.name == name) {
                let node = read_node(document, name.to_string(), &mut draft.problems);
                draft.plan.nodes.extend(node);
            }
        }
        (Some("KWOKNodeClass"), Some(name)) => {
            if !draft.objects.node_classes.iter().any(|class| class.value.name == name) {
                draft.objects.node_classes.push(Found {
                    value: class(name),
                    place: document.place,
                    references: Default::default(),
                });
            }
        }
        _ => {
            // A later version of an object is an action, not an object that is there twice.
            let key = key_of(&to_json(document));
            if key.is_none() || !draft.first_versions.contains(&key) {
                draft.first_versions.push(key);
                manifest::read_document(document, &mut draft.objects, &mut draft.problems);
            }
        }
    }
}

/// The class of simulated machines: types, capacity and prices are the provider's own.
fn class(name: &str) -> NodeClassSpec {
    NodeClassSpec {
        name: name.to_string(),
        family: AmiFamily::Custom,
        max_pods: None,
        pods_per_core: None,
        kube_reserved: ResourceList::default(),
        system_reserved: ResourceList::default(),
        eviction_hard: Labels::new(),
        volume: Bytes(20 << 30),
        raid0: false,
    }
}

fn read_node(document: &Node, name: String, problems: &mut Problems) -> Option<InitialNode> {
    let mut object = Fields::of(document, "node", problems)?;
    let mut metadata = object.fields("metadata", problems)?;
    let labels = manifest::common::labels(&mut metadata, "labels", problems);
    let (mut taints, mut unschedulable) = (Vec::new(), false);
    if let Some(mut spec) = object.fields("spec", problems) {
        taints = manifest::common::taints(&mut spec, "taints", problems);
        unschedulable = spec.boolean("unschedulable", problems).unwrap_or(false);
    }
    let mut status = object.fields("status", problems)?;
    let capacity = resources(&mut status, "capacity", problems).amounts();
    let allocatable = resources(&mut status, "allocatable", problems).amounts();
    let given = allocatable.pods > 0 || allocatable.cpu.0 > 0;
    Some(InitialNode {
        name,
        node_pool: None,
        instance_type: None,
        zone: None,
        capacity_type: CapacityType::OnDemand,
        labels,
        taints,
        allocatable: Some(if given { allocatable } else { capacity }),
        unschedulable,
        images: Vec::new(),
    })
}

/// A tree as JSON: what stands without quotes and looks like a number or a truth value is one.
pub fn to_json(node: &Node) -> Value {
    match &node.value {
        Yaml::Null => Value::Null,
        Yaml::Sequence(items) => Value::Array(items.iter().map(to_json).collect()),
        Yaml::Mapping(entries) => {
            Value::Object(entries.iter().map(|entry| (entry.key.to_string(), to_json(&entry.value))).collect())
        }
        Yaml::Scalar(scalar) if scalar.quoted => Value::String(scalar.text.to_string()),
        Yaml::Scalar(scalar) => match &*scalar.text {
            "true" => Value::Bool(true),
            "false" => Value::Bool(false),
            text => match (text.parse::<i64>(), text.parse::<f64>()) {
                (Ok(number), _) => number.into(),
                (_, Ok(number)) if number.is_finite() => number.into(),
                _ => Value::String(text.to_string()),
            },
        },
    }
}

/// RFC 7386: members of the patch replace, null removes, objects are merged.
pub fn merged(target: &Value, patch: &Value) -> Value {
    let Value::Object(changes) = patch else { return patch.clone() };
    let mut result = target.as_object().cloned().unwrap_or_else(Map::new);
    for (key, change) in changes {
        if change.is_null() {
            result.remove(key);
        } else {
            let before = result.get(key).cloned().unwrap_or(Value::Null);
            result.insert(key.clone(), merged(&before, change));
        }
    }
    Value::Object(result)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Cases of RFC 7386, appendix A.
    #[test]
    fn merge_patches_follow_the_rfc() {
        let cases = [
            (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": "b", "b": "c"}), json!({"a": null}), json!({"b": "c"})),
            (json!({"a": {"b": "c"}}), json!({"a": {"b": "d", "c": null}}), json!({"a": {"b": "d"}})),
            (json!({"a": [{"b": "c"}]}), json!({"a": [1]}), json!({"a": [1]})),
            (json!({}), json!({"a": {"bb": {"ccc": null}}}), json!({"a": {"bb": {}}})),
        ];
        for (target, patch, expected) in cases {
            assert_eq!(merged(&target, &patch), expected, "{target} with {patch}");
        }
    }

    #[test]
    fn urls_name_objects() {
        let key = |kind: &str, namespace: &str, name: &str| Some((kind.into(), namespace.into(), name.into()));
        assert_eq!(target("/apis/apps/v1/namespaces/shop/deployments/web"), key("Deployment", "shop", "web"));
        assert_eq!(target("/api/v1/nodes/static-0"), key("Node", "default", "static-0"));
        assert_eq!(target("/apis/apps/v1/namespaces/shop/deployments/web/scale"), key("Deployment", "shop", "web"));
        assert_eq!(target("/api/v1/secrets/x"), None);
        assert_eq!(target("/apis/apps/v1/deployments"), None);
    }
}
