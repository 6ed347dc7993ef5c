//! Fields that an API requires, beyond those that the readers of the kinds ask for: the API server refuses an object without.
//!
//! In: an object of a known kind. Out: a problem for each field that it lacks. Source: apps/v1 and core/v1 validation of Kubernetes
//! 1.34; CRDs of Karpenter 1.14 `pkg/apis/v1/nodepool.go` and of the AWS provider `pkg/apis/v1/ec2nodeclass.go` (v1beta1, which is
//! converted, required fewer). Left out: formats.

use crate::scenario::diagnostic::{Diagnostic, Problems};
use crate::scenario::yaml::{Node, Value};

/// Kind, path of the object that lacks it, field, and whether v1beta1 required it too.
const REQUIRED: [(&str, &[&str], &str, bool); 8] = [
    ("DaemonSet", &["spec"], "selector", true),
    ("NodePool", &["spec", "template", "spec"], "requirements", true),
    ("NodePool", &["spec", "template", "spec", "nodeClassRef"], "group", false),
    ("NodePool", &["spec", "template", "spec", "nodeClassRef"], "kind", false),
    ("EC2NodeClass", &["spec"], "amiSelectorTerms", false),
    ("EC2NodeClass", &["spec"], "subnetSelectorTerms", true),
    ("EC2NodeClass", &["spec"], "securityGroupSelectorTerms", true),
    ("StorageClass", &[], "provisioner", true),
];

/// Looks for what an object of a kind lacks.
pub fn check(kind: &str, object: &Node, problems: &mut Problems) {
    let version = object.get("apiVersion").and_then(Node::text).unwrap_or_default();
    let beta = version.ends_with("/v1beta1");
    let required = REQUIRED.iter().filter(|(of, _, _, always)| *of == kind && (*always || !beta));
    for (_, path, field, _) in required {
        let Some(owner) = path.iter().try_fold(object, |node, key| node.get(key)) else { continue };
        let lacks = match owner.get(field).map(|node| &node.value) {
            None | Some(Value::Null) => "is required",
            Some(Value::Sequence(items)) if items.is_empty() && field.ends_with("Terms") => "needs at least one term",
            Some(_) => continue,
        };
        let name = path.iter().chain([field]).copied().collect::<Vec<_>>().join(".");
        say(kind, owner, &format!("{name} {lacks}"), field, problems);
    }
    let Some(spec) = object.get("spec").filter(|_| kind == "EC2NodeClass" && !beta) else { return };
    if spec.get("role").is_some() == spec.get("instanceProfile").is_some() {
        say(kind, spec, "spec needs one of role and instanceProfile, and not both", "role", problems);
    }
}

fn say(kind: &str, owner: &Node, what: &str, key: &str, problems: &mut Problems) {
    let message = format!("{kind}: {what}");
    let said = Diagnostic::error("E011", owner.place, message).help("the API server refuses it");
    problems.push(said.about_key(owner.place, key));
}
