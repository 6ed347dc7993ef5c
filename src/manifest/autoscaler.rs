//! HorizontalPodAutoscaler v2, and v1 as the API server converts it.
//!
//! Source: `pkg/apis/autoscaling/v2/defaults.go`, `pkg/apis/autoscaling/v1/conversion.go`.

use super::common::{metadata, selector};
use crate::engine::Span;
use crate::plan::{Behavior, HpaSpec, MetricSpec, MetricTarget, ScalingPolicy, ScalingRules, SelectPolicy};
use crate::rules::labels::LabelSelector;
use crate::scenario::diagnostic::{Diagnostic, Problems};
use crate::scenario::reader::{self, Fields};
use crate::scenario::yaml::Node;

/// A HorizontalPodAutoscaler.
pub fn read_hpa(node: &Node, problems: &mut Problems) -> Option<HpaSpec> {
    let mut object = Fields::of(node, "hpa", problems)?;
    let metadata = metadata(&mut object, problems)?;
    object.required("spec", problems)?;
    let mut fields = object.fields("spec", problems)?;
    say_other_version(node.get("apiVersion").and_then(Node::text), fields.node(), problems);
    fields.required("scaleTargetRef", problems)?;
    let mut target = fields.fields("scaleTargetRef", problems)?;
    let target_version = target.text("apiVersion", problems).unwrap_or_default();
    let target_kind = target.required_text("kind", problems)?;
    let target_name = target.required_text("name", problems)?;
    fields.required("maxReplicas", problems)?;
    let max_replicas = fields.integer_in("maxReplicas", 1, i32::MAX.into(), problems)?;
    let min_replicas = fields.integer_in("minReplicas", 0, i32::MAX.into(), problems).unwrap_or(1);
    if min_replicas > max_replicas {
        let message = format!("minReplicas {min_replicas} is more than maxReplicas {max_replicas}");
        problems.error("E015", fields.place_at(&["minReplicas"]), message);
    }
    let metrics = if let Some(percent) = fields.integer_in("targetCPUUtilizationPercentage", 1, 1_000_000, problems) {
        vec![cpu_utilization(percent as i32)]
    } else {
        metrics(&mut fields, problems)
    };
    Some(HpaSpec {
        namespace: metadata.namespace,
        name: metadata.name,
        target_version,
        target_kind,
        target_name,
        min_replicas: min_replicas as i32,
        max_replicas: max_replicas as i32,
        metrics: if metrics.is_empty() { vec![cpu_utilization(80)] } else { metrics },
        behavior: fields.fields("behavior", problems).map(|behavior| read_behavior(behavior, problems)),
    })
}

/// v1 knows a percentage of CPU, everything since v2beta1 a list of metrics: of the other one's fields the API server says that it
/// does not know them.
fn say_other_version(version: Option<&str>, spec: &Node, problems: &mut Problems) {
    let (foreign, help): (&[&str], _) = match version {
        Some("autoscaling/v1") => (&["metrics", "behavior"], "write apiVersion: autoscaling/v2"),
        Some("autoscaling/v2") => {
            let help = "write metrics: [{ type: Resource, resource: { name: cpu, target: { type: Utilization, \
                        averageUtilization: 70 } } }]";
            (&["targetCPUUtilizationPercentage"], help)
        }
        _ => return,
    };
    for entry in spec.entries().iter().filter(|entry| foreign.contains(&&*entry.key)) {
        let message = format!("{} has no field `{}`", version.unwrap_or_default(), entry.key);
        problems.push(Diagnostic::error("E010", entry.key_place, message).label("of another version").help(help));
    }
}

fn cpu_utilization(percent: i32) -> MetricSpec {
    let target =
        MetricTarget { kind: "Utilization".to_string(), average_utilization: Some(percent), ..MetricTarget::default() };
    MetricSpec::Resource { name: "cpu".to_string(), target }
}

fn metrics(fields: &mut Fields<'_>, problems: &mut Problems) -> Vec<MetricSpec> {
    let path = fields.at("metrics");
    let items = fields.list("metrics", problems);
    let read = |(index, item)| metric(item, format!("{path}[{index}]"), problems);
    items.iter().enumerate().filter_map(read).collect()
}

fn metric(node: &Node, path: String, problems: &mut Problems) -> Option<MetricSpec> {
    let mut fields = Fields::of(node, path, problems)?;
    let kind = fields.required_text("type", problems)?;
    let key = match kind.as_str() {
        "Resource" => "resource",
        "ContainerResource" => "containerResource",
        "Pods" => "pods",
        "Object" => "object",
        "External" => "external",
        _ => return Some(MetricSpec::Unknown(kind)),
    };
    fields.required(key, problems)?;
    let mut source = fields.fields(key, problems)?;
    source.required("target", problems)?;
    let aims = source.fields("target", problems)?;
    // One that is there and wrong has been told already.
    let said = |key| aims.node().get(key).is_some_and(|node| !node.is_null());
    let has = (said("averageUtilization"), said("averageValue"), said("value"));
    let target = target(aims, problems);
    let lacks = match (key, has) {
        ("resource" | "containerResource", (false, false, _)) => Some("`averageUtilization` or `averageValue`"),
        ("pods", (_, false, _)) => Some("`averageValue`"),
        ("object" | "external", (_, false, false)) => Some("`value` or `averageValue`"),
        _ => None,
    };
    if let Some(lacks) = lacks {
        problems.error("E011", source.place(), format!("{}: needs {lacks}", source.at("target")));
    }
    if key == "resource" {
        return Some(MetricSpec::Resource { name: source.required_text("name", problems)?, target });
    }
    if key == "containerResource" {
        let name = source.required_text("name", problems)?;
        return Some(MetricSpec::ContainerResource {
            container: source.required_text("container", problems)?,
            name,
            target,
        });
    }
    let (metric, selector) = identifier(&mut source, problems)?;
    Some(match key {
        "pods" => MetricSpec::Pods { metric, selector, target },
        "external" => MetricSpec::External { metric, selector, target },
        _ => {
            source.required("describedObject", problems)?;
            let mut described = source.fields("describedObject", problems)?;
            let kind = described.required_text("kind", problems)?;
            let version = described.text("apiVersion", problems).unwrap_or_default();
            let name = described.required_text("name", problems)?;
            let group = version.split_once('/').map_or(String::new(), |(group, _)| format!(".{group}"));
            MetricSpec::Object { object: format!("{kind}{group}/{name}"), metric, selector, target }
        }
    })
}

fn identifier(source: &mut Fields<'_>, problems: &mut Problems) -> Option<(String, Option<LabelSelector>)> {
    source.required("metric", problems)?;
    let mut metric = source.fields("metric", problems)?;
    Some((metric.required_text("name", problems)?, selector(&mut metric, "selector", problems)))
}

fn target(mut fields: Fields<'_>, problems: &mut Problems) -> MetricTarget {
    MetricTarget {
        kind: fields.required_text("type", problems).unwrap_or_default(),
        average_utilization: utilization(&mut fields, problems),
        average_value: fields.quantity("averageValue", problems),
        value: fields.quantity("value", problems),
    }
}

/// A percentage: nearly everybody has once written 0.7 for it.
fn utilization(fields: &mut Fields<'_>, problems: &mut Problems) -> Option<i32> {
    let node = fields.get("averageUtilization")?;
    let part = node.text().and_then(|text| text.parse::<f64>().ok()).filter(|part| 0.0 < *part && *part < 1.0);
    let Some(part) = part else {
        return fields.integer_in("averageUtilization", 1, i32::MAX.into(), problems).map(|percent| percent as i32);
    };
    let message = format!("{}: expected percent, found `{part}`", fields.at("averageUtilization"));
    let help = format!("write {:.0} for {:.0} %", part * 100.0, part * 100.0);
    problems.push(Diagnostic::error("E012", node.place, message).label("expected a whole number").help(help));
    None
}

/// `spec.behavior`: as soon as any of it is given, both directions are filled in.
fn read_behavior(mut fields: Fields<'_>, problems: &mut Problems) -> Behavior {
    let period = Span::from_secs(15);
    let all = ScalingPolicy { percent: true, value: 100, period };
    let four = ScalingPolicy { percent: false, value: 4, period };
    let up = ScalingRules {
        stabilization_window: Some(Span::ZERO),
        select: SelectPolicy::Max,
        policies: vec![four, all],
        tolerance: None,
    };
    let down =
        ScalingRules { stabilization_window: None, select: SelectPolicy::Max, policies: vec![all], tolerance: None };
    Behavior {
        scale_up: rules(&mut fields, "scaleUp", up, problems),
        scale_down: rules(&mut fields, "scaleDown", down, problems),
    }
}

fn rules(fields: &mut Fields<'_>, key: &'static str, mut rules: ScalingRules, problems: &mut Problems) -> ScalingRules {
    const SELECT: [(&str, SelectPolicy); 3] =
        [("Max", SelectPolicy::Max), ("Min", SelectPolicy::Min), ("Disabled", SelectPolicy::Disabled)];
    let Some(mut inner) = fields.fields(key, problems) else { return rules };
    if let Some(seconds) = inner.integer_in("stabilizationWindowSeconds", 0, 3600, problems) {
        rules.stabilization_window = Some(Span::from_secs(seconds.unsigned_abs()));
    }
    rules.select = inner.choice("selectPolicy", &SELECT, problems).unwrap_or(rules.select);
    rules.tolerance = inner.quantity("tolerance", problems);
    let path = inner.at("policies");
    let mut policies = Vec::new();
    for (index, item) in inner.list("policies", problems).iter().enumerate() {
        policies.extend(policy(item, format!("{path}[{index}]"), problems));
    }
    if !policies.is_empty() {
        rules.policies = policies;
    }
    rules
}

fn policy(node: &Node, path: String, problems: &mut Problems) -> Option<ScalingPolicy> {
    let mut fields = Fields::of(node, path, problems)?;
    let kind = fields.required("type", problems)?;
    for key in ["value", "periodSeconds"] {
        fields.required(key, problems)?;
    }
    let percent = reader::choice(kind, &fields.at("type"), &[("Percent", true), ("Pods", false)], problems);
    let value = fields.integer_in("value", 1, i32::MAX.into(), problems);
    let period = fields.integer_in("periodSeconds", 1, 1800, problems);
    Some(ScalingPolicy { percent: percent?, value: value? as i32, period: Span::from_secs(period?.unsigned_abs()) })
}

#[cfg(test)]
mod tests {
    use super::super::pod::document;
    use super::*;

    fn read(text: &str) -> HpaSpec {
        let (node, mut problems) = document(text);
        let spec = read_hpa(&node, &mut problems);
        assert_eq!(problems.render(false), "");
        spec.unwrap()
    }

    #[test]
    fn without_metrics_cpu_of_80_percent_and_no_behavior() {
        let spec = read("metadata: {name: h}\nspec: {scaleTargetRef: {kind: Deployment, name: w}, maxReplicas: 5}");
        assert_eq!(spec.metrics, vec![cpu_utilization(80)]);
        assert_eq!((spec.min_replicas, spec.behavior), (1, None));
        let old = "metadata: {name: h}\nspec: {scaleTargetRef: {kind: Deployment, name: w}, maxReplicas: 5, \
                   targetCPUUtilizationPercentage: 60}";
        assert_eq!(read(old).metrics, vec![cpu_utilization(60)]);
    }

    #[test]
    fn sizes_are_any_that_the_api_server_takes() {
        let text = "metadata: {name: h}\nspec: {scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: w}, \
                    minReplicas: 20000, maxReplicas: 2147483647}";
        let spec = read(text);
        assert_eq!((spec.min_replicas, spec.max_replicas), (20_000, i32::MAX));
    }

    #[test]
    fn a_target_is_looked_for_in_its_group_and_not_in_its_version() {
        let group = |version: &str| {
            let target = format!("{{apiVersion: \"{version}\", kind: Deployment, name: w}}");
            let spec = read(&format!("metadata: {{name: h}}\nspec: {{scaleTargetRef: {target}, maxReplicas: 5}}"));
            spec.target_group().map(str::to_string)
        };
        assert_eq!(group("apps/v1").as_deref(), Some("apps"));
        assert_eq!(group("apps/v1beta1").as_deref(), Some("apps"));
        assert_eq!(group("extensions/v1beta1").as_deref(), Some("extensions"));
        assert_eq!(group("v1").as_deref(), Some(""));
        assert_eq!(group("").as_deref(), Some(""));
        assert_eq!(group("apps/v1/v2"), None);
    }

    #[test]
    fn any_behavior_fills_in_both_directions() {
        let spec = read(
            "metadata: {name: h}\nspec: {scaleTargetRef: {kind: Deployment, name: w}, maxReplicas: 5, \
             behavior: {scaleDown: {stabilizationWindowSeconds: 60}}}",
        );
        let behavior = spec.behavior.unwrap();
        assert_eq!(behavior.scale_down.stabilization_window, Some(Span::from_secs(60)));
        assert_eq!(behavior.scale_down.policies.len(), 1);
        assert_eq!(behavior.scale_up.stabilization_window, Some(Span::ZERO));
        let up: Vec<(bool, i32)> = behavior.scale_up.policies.iter().map(|p| (p.percent, p.value)).collect();
        assert_eq!(up, [(false, 4), (true, 100)]);
    }
}
