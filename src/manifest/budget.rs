//! PodDisruptionBudget. Source: `k8s.io/api/policy/v1/types.go`, `pkg/apis/policy/validation`.

use super::common::{int_or_percent, metadata, selector};
use crate::plan::PdbSpec;
use crate::scenario::diagnostic::Problems;
use crate::scenario::reader::Fields;
use crate::scenario::yaml::Node;

/// A PodDisruptionBudget.
pub fn read_pdb(node: &Node, problems: &mut Problems) -> Option<PdbSpec> {
    let mut object = Fields::of(node, "pdb", problems)?;
    let metadata = metadata(&mut object, problems)?;
    object.required("spec", problems)?;
    let mut fields = object.fields("spec", problems)?;
    let policy = [("IfHealthyBudget", false), ("AlwaysAllow", true)];
    let spec = PdbSpec {
        namespace: metadata.namespace,
        name: metadata.name,
        selector: selector(&mut fields, "selector", problems),
        min_available: int_or_percent(&mut fields, "minAvailable", problems),
        max_unavailable: int_or_percent(&mut fields, "maxUnavailable", problems),
        always_allow_unhealthy: fields.choice("unhealthyPodEvictionPolicy", &policy, problems).unwrap_or(false),
    };
    if spec.min_available.is_some() && spec.max_unavailable.is_some() {
        problems.error("E018", fields.place(), "minAvailable and maxUnavailable exclude each other");
    }
    Some(spec)
}
