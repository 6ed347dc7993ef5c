//! NodePool v1, and v1beta1 converted to it with a warning for everything that today's API rejects.
//!
//! Source: Karpenter `pkg/apis/v1/nodepool.go`; v0.37 `pkg/apis/v1beta1/nodepool.go`, `nodepool_conversion.go`.

use super::common::{duration_or_never, labels, metadata, requirements, resources, taints, texts};
use super::node_class::{AUTO_MODE, auto_class_name};
use crate::engine::Span;
use crate::plan::{Budget, ConsolidationPolicy, NodePoolSpec};
use crate::scenario::diagnostic::{Diagnostic, Problems};
use crate::scenario::reader::{self, Fields};
use crate::scenario::yaml::Node;

const MONTH: Span = Span::from_secs(720 * 3600);
const OLD_NAME: &str = "WhenUnderutilized";

/// A NodePool of either version.
pub fn read_node_pool(node: &Node, problems: &mut Problems) -> Option<NodePoolSpec> {
    let mut object = Fields::of(node, "nodepool", problems)?;
    let beta = is_beta(&mut object, problems);
    let metadata = metadata(&mut object, problems)?;
    object.required("spec", problems)?;
    let mut fields = object.fields("spec", problems)?;
    fields.required("template", problems)?;
    let mut template = fields.fields("template", problems)?;
    let mut meta = template.fields("metadata", problems);
    template.required("spec", problems)?;
    let mut spec = template.fields("spec", problems)?;
    spec.required("nodeClassRef", problems)?;
    let mut reference = spec.fields("nodeClassRef", problems)?;
    let mut node_class_name = reference.required_text("name", problems)?;
    if reference.get("group").and_then(Node::text) == Some(AUTO_MODE) {
        node_class_name = auto_class_name(&node_class_name);
    }
    let mut pool = NodePoolSpec {
        name: metadata.name,
        labels: meta.as_mut().map(|meta| labels(meta, "labels", problems)).unwrap_or_default(),
        annotations: meta.as_mut().map(|meta| labels(meta, "annotations", problems)).unwrap_or_default(),
        requirements: requirements(&mut spec, "requirements", true, problems),
        taints: taints(&mut spec, "taints", problems),
        startup_taints: taints(&mut spec, "startupTaints", problems),
        node_class_name,
        node_class: None,
        expire_after: duration_or_never(&mut spec, "expireAfter", problems).unwrap_or(Some(MONTH)),
        termination_grace_period: spec.duration("terminationGracePeriod", problems),
        limits: fields.get("limits").is_some().then(|| limits(&mut fields, problems)),
        weight: fields.integer_in("weight", 1, 100, problems).unwrap_or(0) as i32,
        replicas: fields.integer_in("replicas", 0, 10_000, problems).map(|count| count as i32),
        consolidation_policy: ConsolidationPolicy::WhenEmptyOrUnderutilized,
        consolidate_after: Some(Span::ZERO),
        budgets: vec![default_budget()],
        v1beta1: false,
        usable: !is_deleting(node)
            && object.fields("status", problems).is_none_or(|mut status| is_ready(&mut status, problems)),
    };
    if let Some(kubelet) = spec.get("kubelet") {
        let text = "kubelet settings of a NodePool are not read: since v1 they stand in the EC2NodeClass";
        problems.push(Diagnostic::warning("W114", kubelet.place, text).help("move them to spec.kubelet of the class"));
    }
    if let Some(disruption) = fields.fields("disruption", problems) {
        read_disruption(disruption, &mut pool, beta, problems);
    }
    Some(pool)
}

/// It has a deletionTimestamp.
fn is_deleting(node: &Node) -> bool {
    node.get("metadata").and_then(|metadata| metadata.get("deletionTimestamp")).is_some()
}

/// Ready is what the validation of the pool and its EC2NodeClass add up to. No conditions: as if all were well.
fn is_ready(status: &mut Fields<'_>, problems: &mut Problems) -> bool {
    let path = status.at("conditions");
    let mut seen: Vec<(String, bool)> = Vec::new();
    for condition in status.list("conditions", problems) {
        let Some(mut condition) = Fields::of(condition, path.clone(), problems) else { continue };
        if let Some(kind) = condition.text("type", problems) {
            seen.push((kind, condition.text("status", problems).as_deref() == Some("True")));
        }
    }
    let of = |wanted: &str| seen.iter().find(|(kind, _)| kind == wanted).map(|(_, holds)| *holds);
    let parts = [of("ValidationSucceeded"), of("NodeClassReady")];
    of("Ready").unwrap_or_else(|| parts == [None, None] || parts == [Some(true), Some(true)])
}

fn limits(fields: &mut Fields<'_>, problems: &mut Problems) -> crate::rules::resources::ResourceList {
    resources(fields, "limits", problems)
}

fn default_budget() -> Budget {
    Budget { nodes: "10%".to_string(), schedule: None, duration: None, reasons: None }
}

/// Whether the object is v1beta1; that alone is worth a warning.
pub(super) fn is_beta(object: &mut Fields<'_>, problems: &mut Problems) -> bool {
    let Some(node) = object.get("apiVersion") else { return false };
    let Some(version) = node.text().filter(|version| version.ends_with("/v1beta1")) else { return false };
    problems.push(
        Diagnostic::warning("W110", node.place, format!("{version} is not served by Karpenter 1.1 and later"))
            .label("converted to v1 here")
            .help("write the v1 form; this one is read as Karpenter's own conversion does, with the exceptions noted"),
    );
    true
}

fn read_disruption(mut fields: Fields<'_>, pool: &mut NodePoolSpec, beta: bool, problems: &mut Problems) {
    const POLICIES: [(&str, ConsolidationPolicy); 3] = [
        ("WhenEmpty", ConsolidationPolicy::WhenEmpty),
        ("WhenEmptyOrUnderutilized", ConsolidationPolicy::WhenEmptyOrUnderutilized),
        ("Balanced", ConsolidationPolicy::Balanced),
    ];
    let mut underutilized = beta;
    if let Some(node) = fields.get("consolidationPolicy") {
        underutilized = node.text() == Some(OLD_NAME);
        if underutilized {
            old_policy(node, beta, problems);
        } else if let Some(policy) = reader::choice(node, &fields.at("consolidationPolicy"), &POLICIES, problems) {
            pool.consolidation_policy = policy;
        }
    }
    if let Some(after) = duration_or_never(&mut fields, "consolidateAfter", problems) {
        pool.consolidate_after = after;
        if beta && underutilized && after.is_some() {
            let place = fields.get("consolidateAfter").map_or(fields.place(), |node| node.place);
            problems.push(
                Diagnostic::warning("W111", place, "v1beta1 rejects consolidateAfter with WhenUnderutilized")
                    .label("the only value it allows here is Never")
                    .help("v1 allows it with every policy: it is kept as written, because that is what is meant"),
            );
        }
    }
    if let Some(after) = duration_or_never(&mut fields, "expireAfter", problems) {
        expiry(&mut fields, after, pool, beta, problems);
    }
    if fields.get("budgets").is_some() {
        pool.budgets = budgets(&mut fields, problems);
    }
}

fn old_policy(node: &Node, beta: bool, problems: &mut Problems) {
    let message = format!("{OLD_NAME} does not exist in v1");
    let help = "write WhenEmptyOrUnderutilized";
    problems.push(if beta {
        Diagnostic::warning("W112", node.place, message).label("read as WhenEmptyOrUnderutilized").help(help)
    } else {
        Diagnostic::error("E014", node.place, message).label("unknown value").help(help)
    });
}

fn expiry(fields: &mut Fields<'_>, after: Option<Span>, pool: &mut NodePoolSpec, beta: bool, problems: &mut Problems) {
    let place = fields.get("expireAfter").map_or(fields.place(), |node| node.place);
    let help = "move it to spec.template.spec.expireAfter; there it ends nodes at that age, outside of all budgets";
    if beta {
        pool.expire_after = after;
        let message = "expireAfter has left spec.disruption in v1";
        problems
            .push(Diagnostic::warning("W113", place, message).label("read as expireAfter of the template").help(help));
    } else {
        let message = "v1 has no spec.disruption.expireAfter: the API server refuses or drops it";
        problems.push(Diagnostic::warning("W113", place, message).label("ignored").help(help));
    }
}

fn budgets(fields: &mut Fields<'_>, problems: &mut Problems) -> Vec<Budget> {
    let path = fields.at("budgets");
    let mut found = Vec::new();
    for (index, item) in fields.list("budgets", problems).iter().enumerate() {
        let Some(mut inner) = Fields::of(item, format!("{path}[{index}]"), problems) else { continue };
        let nodes = inner.text("nodes", problems).unwrap_or_else(|| "10%".to_string());
        let digits = nodes.strip_suffix('%').unwrap_or(&nodes);
        let percent_fits = !nodes.ends_with('%') || digits.parse::<u32>().is_ok_and(|percent| percent <= 100);
        if digits.parse::<u32>().is_err() || !percent_fits {
            let place = inner.get("nodes").map_or(inner.place(), |node| node.place);
            problems.error("E015", place, format!("{}: `{nodes}` is neither a count nor a percentage", inner.path));
            continue;
        }
        let schedule = inner.text("schedule", problems);
        let duration = inner.duration("duration", problems);
        if schedule.is_some() != duration.is_some() {
            problems.error("E018", inner.place(), format!("{}: schedule and duration go together", inner.path));
        }
        let reasons = inner.get("reasons").is_some().then(|| texts(&mut inner, "reasons", problems));
        found.push(Budget { nodes, schedule, duration, reasons });
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::pod::document;
    use super::*;

    const V1: &str = "apiVersion: karpenter.sh/v1
metadata: {name: p}
spec: {template: {spec: {nodeClassRef: {group: karpenter.k8s.aws, kind: EC2NodeClass, name: c}, requirements: []}}}
";

    #[test]
    fn defaults_of_v1() {
        let (node, mut problems) = document(V1);
        let pool = read_node_pool(&node, &mut problems).unwrap();
        assert_eq!(pool.expire_after, Some(Span::from_secs(2_592_000)));
        assert_eq!(pool.consolidate_after, Some(Span::ZERO));
        assert_eq!(pool.consolidation_policy, ConsolidationPolicy::WhenEmptyOrUnderutilized);
        assert_eq!(pool.budgets, vec![default_budget()]);
        assert_eq!(problems.render(false), "");
    }

    #[test]
    fn the_old_policy_is_an_error_in_v1() {
        let text =
            V1.replace("spec: {template", "spec: {disruption: {consolidationPolicy: WhenUnderutilized}, template");
        let (node, mut problems) = document(&text);
        read_node_pool(&node, &mut problems);
        assert!(problems.has_errors());
    }
}
