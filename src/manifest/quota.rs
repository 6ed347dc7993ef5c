//! ResourceQuota: how many pods a namespace may have. Source: `pkg/quota/v1/evaluator/core/pods.go`.
//!
//! Left out: sums of requests, counts of other objects, quotas with scopes.

use super::common::metadata;
use crate::scenario::diagnostic::{Diagnostic, Problems};
use crate::scenario::reader::Fields;
use crate::scenario::yaml::Node;

/// Namespace and `spec.hard.pods`; nothing if the quota does not limit pods, or only some of them.
pub fn read_pod_quota(node: &Node, problems: &mut Problems) -> Option<(String, u32)> {
    let mut object = Fields::of(node, "resourcequota", problems)?;
    let metadata = metadata(&mut object, problems)?;
    object.required("spec", problems)?;
    let mut fields = object.fields("spec", problems)?;
    if fields.get("scopes").is_some() || fields.get("scopeSelector").is_some() {
        let text = format!("ResourceQuota {} has scopes, which are not modelled: passed over", metadata.name);
        problems.push(Diagnostic::note("N101", node.place, text));
        return None;
    }
    let mut hard = fields.fields("hard", problems)?;
    let limits = ["pods", "count/pods"].map(|key| hard.quantity(key, problems));
    let others = hard.node().entries().iter().filter(|entry| !["pods", "count/pods"].contains(&&*entry.key));
    if let Some(other) = others.into_iter().next() {
        let text = format!("ResourceQuota {}: only `pods` is modelled, not `{}`", metadata.name, other.key);
        problems.push(Diagnostic::note("N101", other.value.place, text));
    }
    let most = limits.into_iter().flatten().map(crate::rules::quantity::Quantity::units_ceil).min()?;
    Some((metadata.namespace, u32::try_from(most).unwrap_or(u32::MAX)))
}

#[cfg(test)]
mod tests {
    use super::super::pod::document;
    use super::*;

    #[test]
    fn the_smallest_limit_of_pods_counts_and_the_rest_is_said_to_be_passed_over() {
        let text =
            "metadata: {name: q, namespace: shop}\nspec: {hard: {pods: \"12\", count/pods: 20, requests.cpu: 4}}\n";
        let (node, mut problems) = document(text);
        assert_eq!(read_pod_quota(&node, &mut problems), Some(("shop".to_string(), 12)));
        assert!(!problems.has_errors());
        assert!(problems.render(false).contains("not `requests.cpu`"));
    }

    #[test]
    fn a_quota_of_some_pods_only_limits_nothing_here() {
        let (node, mut problems) = document("metadata: {name: q}\nspec: {hard: {pods: 3}, scopes: [BestEffort]}\n");
        assert_eq!(read_pod_quota(&node, &mut problems), None);
        assert!(!problems.has_errors());
    }
}
