//! Kubernetes, Karpenter, load balancer controller and CloudFormation objects, one file a kind.
//!
//! In: documents of unmodified manifests, YAML or JSON. Out: the plan's types with what the API server fills in. Fields
//! and kinds that make no difference to a run are passed over; what an API rejects today is reported.

pub mod alarm;
pub mod autoscaler;
pub mod binding;
pub mod budget;
pub mod common;
mod fields;
pub mod namespace;
pub mod node_class;
pub mod node_pool;
pub mod pod;
pub mod priority_class;
pub mod quota;
pub mod references;
mod required;
pub mod service;
pub mod volume;
pub mod workload;

pub use alarm::AlarmObject;
pub use autoscaler::read_hpa;
pub use binding::read_binding;
pub use budget::read_pdb;
pub use common::{Found, labels};
pub use namespace::read_namespace;
pub use node_class::read_node_class;
pub use node_pool::read_node_pool;
pub use pod::{admit, admit_daemon, read_pod};
pub use priority_class::{PriorityClass, read_priority_class};
pub use quota::read_pod_quota;
pub use references::References;
pub use service::read_service;
pub use workload::{read_daemon_set, read_deployment, read_stateful_set};

use crate::plan::{
    DaemonSetSpec, DeploymentSpec, HpaSpec, NodeClassSpec, NodePoolSpec, PdbSpec, PodTemplate, ServiceSpec,
    StorageClass, TargetGroupBindingSpec, Volume, VolumeClaim,
};
use crate::rules::labels::Labels;
use crate::scenario::diagnostic::{Diagnostic, Place, Problems, nearest};
use crate::scenario::yaml::{Node, Value};
use node_class::AUTO_MODE;
use std::collections::BTreeMap;

/// All objects of a set of manifests, in the order read.
#[derive(Clone, Debug, Default)]
pub struct Objects {
    /// Namespaces with their labels.
    pub namespaces: Vec<Found<(String, Labels)>>,
    /// Priority classes.
    pub priority_classes: Vec<Found<PriorityClass>>,
    /// Deployments with their templates.
    pub deployments: Vec<Found<(DeploymentSpec, PodTemplate)>>,
    /// DaemonSets with their templates.
    pub daemon_sets: Vec<Found<(DaemonSetSpec, PodTemplate)>>,
    /// Bare pods with their names.
    pub pods: Vec<Found<(String, PodTemplate)>>,
    /// Autoscalers.
    pub hpas: Vec<Found<HpaSpec>>,
    /// Budgets.
    pub pdbs: Vec<Found<PdbSpec>>,
    /// Namespaces with how many pods a ResourceQuota allows them.
    pub pod_quotas: Vec<Found<(String, u32)>>,
    /// Services.
    pub services: Vec<Found<ServiceSpec>>,
    /// TargetGroupBindings.
    pub bindings: Vec<Found<TargetGroupBindingSpec>>,
    /// NodePools.
    pub node_pools: Vec<Found<NodePoolSpec>>,
    /// EC2NodeClasses.
    pub node_classes: Vec<Found<NodeClassSpec>>,
    /// PersistentVolumeClaims by namespace and name.
    pub volume_claims: Vec<Found<((String, String), VolumeClaim)>>,
    /// PersistentVolumes with their names.
    pub volumes: Vec<Found<(String, Volume)>>,
    /// StorageClasses with their names.
    pub storage_classes: Vec<Found<(String, StorageClass)>>,
    /// CloudWatch alarms.
    pub alarms: Vec<Found<AlarmObject>>,
    /// Kind, namespace and name of everything read, to find what is there twice.
    seen: BTreeMap<(String, String, String), Place>,
}

impl Objects {
    /// Everything read, as `Kind/name`.
    pub fn names(&self) -> Vec<String> {
        self.seen.keys().map(|(kind, _, name)| format!("{kind}/{name}")).collect()
    }

    /// An object of that kind, namespace and name was read.
    pub fn has(&self, key: &(String, String, String)) -> bool {
        self.seen.contains_key(key)
    }
}

/// Objects of that kind are read.
pub fn is_modelled(kind: &str) -> bool {
    KINDS.iter().any(|(_, name)| *name == kind)
}

/// Group and kind of what is read.
const KINDS: [(&str, &str); 17] = [
    ("", "Namespace"),
    ("", "Pod"),
    ("", "Service"),
    ("", "ResourceQuota"),
    ("", "PersistentVolumeClaim"),
    ("", "PersistentVolume"),
    ("storage.k8s.io", "StorageClass"),
    ("apps", "Deployment"),
    ("apps", "StatefulSet"),
    ("apps", "DaemonSet"),
    ("autoscaling", "HorizontalPodAutoscaler"),
    ("policy", "PodDisruptionBudget"),
    ("scheduling.k8s.io", "PriorityClass"),
    ("elbv2.k8s.aws", "TargetGroupBinding"),
    ("karpenter.sh", "NodePool"),
    ("karpenter.k8s.aws", "EC2NodeClass"),
    ("", "List"),
];

/// Reads one document into `objects`.
pub fn read_document(node: &Node, objects: &mut Objects, problems: &mut Problems) {
    match node.value {
        Value::Null => return,
        Value::Mapping(_) => {}
        Value::Scalar(_) | Value::Sequence(_) => {
            problems.error(
                "E020",
                node.place,
                format!("expected an object with apiVersion and kind, found {}", node.describe()),
            );
            return;
        }
    }
    let Some(kind) = node.get("kind").and_then(Node::text) else {
        if alarm::is_template(node) {
            objects.alarms.extend(alarm::read_template(node, problems));
        } else {
            let place = Place { end: node.place.start, ..node.place };
            let message = "this is neither a Kubernetes object (no `kind`) nor a CloudFormation template";
            problems.error("E020", place, message);
        }
        return;
    };
    if kind.ends_with("List") && node.get("items").is_some() {
        for item in node.get("items").map_or(&[][..], Node::items) {
            read_document(item, objects, problems);
        }
        return;
    }
    let version = node.get("apiVersion").and_then(Node::text);
    let kind_place = node.get("kind").map_or(node.place, |node| node.place);
    let group = version.unwrap_or("").rsplit_once('/').map_or("", |(group, _)| group);
    if (group, kind) == (AUTO_MODE, "NodeClass") {
        let class = node_class::read_auto_class(node, problems);
        objects.node_classes.extend(class.map(|value| Found {
            value,
            place: kind_place,
            references: References::of(node),
        }));
        let text = "a NodeClass of EKS Auto Mode is read as an EC2NodeClass with Bottlerocket; its fee is in no price";
        problems.push(Diagnostic::note("N128", kind_place, text));
        return;
    }
    let Some(&(known_group, _)) = KINDS.iter().find(|(_, name)| *name == kind) else {
        problems.push(unknown_kind(kind, version.map(|_| group), kind_place));
        return;
    };
    if let Some(version) = node.get("apiVersion").filter(|_| group != known_group) {
        problems.push(unknown_group(kind, group, known_group, version.place));
        return;
    }
    if version.is_none() {
        let place = Place { end: node.place.start, ..node.place };
        problems.error("E011", place, format!("{kind} lacks `apiVersion`"));
        return;
    }
    read_known(kind, node, objects, problems);
}

/// A kind that is not read. None of the groups that are has one that is nearly a kind of theirs: there it is misspelt, and the API
/// server refuses it.
fn unknown_kind(kind: &str, group: Option<&str>, place: Place) -> Diagnostic {
    let of_group =
        || KINDS.iter().filter(|(known, name)| Some(*known) == group && *name != "List").map(|(_, name)| *name);
    if nearest(kind, of_group()).is_some() {
        let message = format!("its API group has no kind `{kind}`");
        return Diagnostic::error("E014", place, message).label("unknown kind").suggest(kind, of_group());
    }
    // An object of a group of which nothing is read is what it says.
    let is_foreign = group.is_some_and(|group| KINDS.iter().all(|(known, _)| *known != group));
    let near = nearest(kind, KINDS.iter().map(|(_, name)| *name)).filter(|_| !is_foreign);
    let near = near.map(|near| format!("did you mean `{near}`?"));
    let keda = (kind == "ScaledObject").then(|| {
        "what KEDA does from and to zero is `activations:` in a scenario, between one and many an HPA on `external_metrics:`".to_string()
    });
    Diagnostic::note("N101", place, format!("{kind} is not modelled: passed over")).maybe_help(near.or(keda))
}

/// A kind that is read, of another group than it is read from.
fn unknown_group(kind: &str, group: &str, known: &str, version: Place) -> Diagnostic {
    if !group.is_empty() && nearest(group, [known]).is_some() {
        let message = format!("there is no API group `{group}` with a {kind}");
        return Diagnostic::error("E014", version, message)
            .label("unknown group")
            .help(format!("did you mean `{known}`?"));
    }
    Diagnostic::note("N101", version, format!("{kind} of API group `{group}` is not modelled: passed over"))
}

fn read_known(kind: &str, node: &Node, objects: &mut Objects, problems: &mut Problems) {
    let metadata = node.get("metadata");
    let text = |key| metadata.and_then(|metadata| metadata.get(key)).and_then(Node::text).map(str::to_string);
    let place = metadata.and_then(|metadata| metadata.get("name")).map_or(node.place, |name| name.place);
    let name = text("name").unwrap_or_default();
    let key = (kind.to_string(), text("namespace").unwrap_or_else(|| "default".to_string()), name.clone());
    if let Some(first) = objects.seen.get(&key) {
        problems.push(
            Diagnostic::error("E021", place, format!("{kind} {name} is there twice"))
                .label("again")
                .related(*first, "first"),
        );
        return;
    }
    objects.seen.insert(key, place);
    fields::check(kind, node, problems);
    required::check(kind, node, problems);
    let at = (place, node);
    fn keep<T>(list: &mut Vec<Found<T>>, value: Option<T>, (place, node): (Place, &Node)) {
        list.extend(value.map(|value| Found { value, place, references: References::of(node) }));
    }
    match kind {
        "Namespace" => keep(&mut objects.namespaces, read_namespace(node, problems), at),
        "Pod" => keep(&mut objects.pods, read_pod(node, problems).map(|pod| (name, pod)), at),
        "Service" => keep(&mut objects.services, read_service(node, problems), at),
        "Deployment" => keep(&mut objects.deployments, read_deployment(node, problems), at),
        "StatefulSet" => keep(&mut objects.deployments, read_stateful_set(node, problems), at),
        "DaemonSet" => keep(&mut objects.daemon_sets, read_daemon_set(node, problems), at),
        "HorizontalPodAutoscaler" => keep(&mut objects.hpas, read_hpa(node, problems), at),
        "PodDisruptionBudget" => keep(&mut objects.pdbs, read_pdb(node, problems), at),
        "ResourceQuota" => keep(&mut objects.pod_quotas, read_pod_quota(node, problems), at),
        "PersistentVolumeClaim" => keep(&mut objects.volume_claims, volume::read_volume_claim(node, problems), at),
        "PersistentVolume" => keep(&mut objects.volumes, volume::read_volume(node, problems), at),
        "StorageClass" => keep(&mut objects.storage_classes, volume::read_storage_class(node, problems), at),
        "PriorityClass" => keep(&mut objects.priority_classes, read_priority_class(node, problems), at),
        "TargetGroupBinding" => keep(&mut objects.bindings, read_binding(node, problems), at),
        "NodePool" => keep(&mut objects.node_pools, read_node_pool(node, problems), at),
        "EC2NodeClass" => keep(&mut objects.node_classes, read_node_class(node, problems), at),
        _ => {}
    }
}
