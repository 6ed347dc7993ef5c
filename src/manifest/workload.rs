//! Deployments, StatefulSets and DaemonSets.
//!
//! Source: `pkg/apis/apps/v1/defaults.go`, `pkg/apis/apps/validation`.

use super::common::{Metadata, int_or_percent, metadata, selector};
use super::pod::read_template;
use crate::engine::Span;
use crate::plan::{
    DaemonSetSpec, DeploymentSpec, IntOrPercent, Ordinal, PodController, PodTemplate, Strategy, TemplateId,
};
use crate::rules::labels::LabelSelector;
use crate::scenario::diagnostic::{Diagnostic, Problems};
use crate::scenario::reader::Fields;
use crate::scenario::yaml::Node;

/// The id of a template that is not in a plan yet.
pub const UNPLACED: TemplateId = TemplateId(u32::MAX);

/// What Deployments and StatefulSets begin with, and the other fields of their `spec`.
fn read_workload<'n>(
    node: &'n Node,
    kind: &str,
    problems: &mut Problems,
) -> Option<(Metadata, Fields<'n>, LabelSelector, PodTemplate)> {
    let mut object = Fields::of(node, kind, problems)?;
    let metadata = metadata(&mut object, problems)?;
    object.required("spec", problems)?;
    let mut fields = object.fields("spec", problems)?;
    fields.required("selector", problems);
    let selector = selector(&mut fields, "selector", problems);
    let template_node = fields.required("template", problems)?;
    let template = read_template(template_node, &fields.at("template"), &metadata.namespace, problems)?;
    let selector = selector?;
    check_selector(&selector, &template, template_node, problems);
    Some((metadata, fields, selector, template))
}

/// A Deployment and its pods' template (the spec's id is [`UNPLACED`]).
pub fn read_deployment(node: &Node, problems: &mut Problems) -> Option<(DeploymentSpec, PodTemplate)> {
    let (metadata, mut fields, selector, template) = read_workload(node, "deployment", problems)?;
    let spec = DeploymentSpec {
        namespace: metadata.namespace,
        name: metadata.name,
        replicas: fields.integer_in("replicas", 0, 10_000, problems).unwrap_or(1) as i32,
        selector,
        template: UNPLACED,
        strategy: strategy(&mut fields, problems),
        min_ready: fields.seconds("minReadySeconds", problems).unwrap_or(Span::ZERO),
        progress_deadline: fields.seconds("progressDeadlineSeconds", problems).unwrap_or(Span::from_secs(600)),
        revision_history_limit: fields.integer_in("revisionHistoryLimit", 0, i32::MAX.into(), problems).unwrap_or(10)
            as i32,
        paused: fields.boolean("paused", problems).unwrap_or(false),
    };
    Some((spec, template))
}

/// A StatefulSet and its pods' template (the spec's id is [`UNPLACED`]).
pub fn read_stateful_set(node: &Node, problems: &mut Problems) -> Option<(DeploymentSpec, PodTemplate)> {
    let (metadata, mut fields, selector, mut template) = read_workload(node, "statefulset", problems)?;
    template.controller = PodController::StatefulSet;
    let policies = [("OrderedReady", false), ("Parallel", true)];
    let mut ordinal = Ordinal {
        parallel: fields.choice("podManagementPolicy", &policies, problems).unwrap_or(false),
        ..Ordinal::default()
    };
    if let Some(mut strategy) = fields.fields("updateStrategy", problems) {
        let types = [("RollingUpdate", false), ("OnDelete", true)];
        ordinal.on_delete = strategy.choice("type", &types, problems).unwrap_or(false);
        if let Some(mut rolling) = strategy.fields("rollingUpdate", problems) {
            ordinal.partition = rolling.integer_in("partition", 0, 10_000, problems).unwrap_or(0) as u32;
        }
    }
    if let Some(mut ordinals) = fields.fields("ordinals", problems) {
        ordinal.start = ordinals.integer_in("start", 0, 1_000_000, problems).unwrap_or(0) as u32;
    }
    if let Some(claims) = fields.get("volumeClaimTemplates").filter(|claims| !claims.items().is_empty()) {
        let text =
            format!("StatefulSet {}: volumeClaimTemplates are not modelled: its pods have no volumes", metadata.name);
        problems.push(Diagnostic::note("N101", claims.place, text));
    }
    let spec = DeploymentSpec {
        namespace: metadata.namespace,
        name: metadata.name,
        replicas: fields.integer_in("replicas", 0, 10_000, problems).unwrap_or(1) as i32,
        selector,
        template: UNPLACED,
        strategy: Strategy::Ordinal(ordinal),
        min_ready: fields.seconds("minReadySeconds", problems).unwrap_or(Span::ZERO),
        progress_deadline: Span::from_secs(600),
        revision_history_limit: fields.integer_in("revisionHistoryLimit", 0, i32::MAX.into(), problems).unwrap_or(10)
            as i32,
        paused: false,
    };
    Some((spec, template))
}

fn check_selector(selector: &LabelSelector, template: &PodTemplate, node: &Node, problems: &mut Problems) {
    if selector.is_empty() || !selector.matches(&template.labels) {
        let place = node.get("metadata").unwrap_or(node).place;
        problems.push(
            Diagnostic::error("E017", place, "the selector does not match the labels of the pod template")
                .help("the API server refuses this: let spec.selector.matchLabels be labels of the template"),
        );
    }
}

fn strategy(fields: &mut Fields<'_>, problems: &mut Problems) -> Strategy {
    let quarter = IntOrPercent::Percent(25);
    let default = Strategy::RollingUpdate { max_surge: quarter, max_unavailable: quarter };
    let Some(mut inner) = fields.fields("strategy", problems) else { return default };
    if inner.choice("type", &[("RollingUpdate", false), ("Recreate", true)], problems) == Some(true) {
        if inner.get("rollingUpdate").is_some_and(|rolling| !rolling.is_null()) {
            let place = inner.place_at(&["rollingUpdate"]);
            let message = format!("{}: may not be said when `type` is Recreate", inner.at("rollingUpdate"));
            let help = "leave one of the two out: Recreate ends all pods before it makes new ones";
            problems.push(Diagnostic::error("E015", place, message).label("the API server refuses it").help(help));
        }
        return Strategy::Recreate;
    }
    let Some(mut rolling) = inner.fields("rollingUpdate", problems) else { return default };
    let max_surge = int_or_percent(&mut rolling, "maxSurge", problems).unwrap_or(quarter);
    let max_unavailable = int_or_percent(&mut rolling, "maxUnavailable", problems).unwrap_or(quarter);
    let zero = [IntOrPercent::Int(0), IntOrPercent::Percent(0)];
    if zero.contains(&max_surge) && zero.contains(&max_unavailable) {
        problems.error(
            "E015",
            rolling.place_at(&["maxUnavailable"]),
            "maxSurge and maxUnavailable cannot both be zero",
        );
    }
    Strategy::RollingUpdate { max_surge, max_unavailable }
}

/// A DaemonSet and its pods' template (the spec's id is [`UNPLACED`]).
pub fn read_daemon_set(node: &Node, problems: &mut Problems) -> Option<(DaemonSetSpec, PodTemplate)> {
    let mut object = Fields::of(node, "daemonset", problems)?;
    let metadata = metadata(&mut object, problems)?;
    object.required("spec", problems)?;
    let mut fields = object.fields("spec", problems)?;
    let template = fields.required("template", problems)?;
    let template = read_template(template, &fields.at("template"), &metadata.namespace, problems)?;
    Some((DaemonSetSpec { namespace: metadata.namespace, name: metadata.name, template: UNPLACED }, template))
}

#[cfg(test)]
mod tests {
    use super::super::pod::document;
    use super::*;

    const TEXT: &str = "metadata: {name: w, namespace: n}
spec:
  selector: {matchLabels: {app: w}}
  template:
    metadata: {labels: {app: w}}
    spec: {containers: [{name: c}]}
";

    #[test]
    fn defaults_are_those_of_the_api_server() {
        let (node, mut problems) = document(TEXT);
        let (spec, template) = read_deployment(&node, &mut problems).unwrap();
        let quarter = IntOrPercent::Percent(25);
        assert_eq!(spec.replicas, 1);
        assert_eq!(spec.strategy, Strategy::RollingUpdate { max_surge: quarter, max_unavailable: quarter });
        assert_eq!((spec.progress_deadline, spec.revision_history_limit), (Span::from_secs(600), 10));
        assert_eq!(template.namespace, "n");
        assert!(!problems.has_errors());
    }

    #[test]
    fn a_stateful_set_has_its_own_policies_and_its_volumes_are_a_note() {
        let (node, mut problems) = document(TEXT);
        let (spec, template) = read_stateful_set(&node, &mut problems).unwrap();
        assert_eq!((spec.ordinal(), spec.kind()), (Some(Ordinal::default()), "StatefulSet"));
        assert_eq!(template.controller, PodController::StatefulSet);
        let text = TEXT.replace(
            "spec:\n",
            "spec:\n  podManagementPolicy: Parallel\n  ordinals: {start: 3}\n  updateStrategy: {rollingUpdate: {partition: 2}}\n  \
             volumeClaimTemplates: [{metadata: {name: d}}]\n",
        );
        let (node, mut problems) = document(&text);
        let (spec, _) = read_stateful_set(&node, &mut problems).unwrap();
        assert_eq!(spec.ordinal(), Some(Ordinal { parallel: true, on_delete: false, partition: 2, start: 3 }));
        assert!(!problems.has_errors() && problems.render(false).contains("volumeClaimTemplates are not modelled"));
        let (node, mut problems) = document(&text.replace("Parallel", "Paralel"));
        read_stateful_set(&node, &mut problems);
        assert!(problems.has_errors() && problems.render(false).contains("Parallel"), "{}", problems.render(false));
    }

    #[test]
    fn a_selector_that_misses_its_own_pods_is_refused() {
        let (node, mut problems) = document(&TEXT.replace("labels: {app: w}}", "labels: {app: x}}"));
        read_deployment(&node, &mut problems);
        assert!(problems.render(false).contains("does not match the labels"));
    }
}
