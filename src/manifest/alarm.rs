//! CloudWatch alarms of a CloudFormation template, with or without its `Resources:`.
//!
//! Source: CloudFormation resource `AWS::CloudWatch::Alarm`; CloudWatch "Using Amazon CloudWatch alarms".

use super::common::Found;
use super::references::References;
use crate::engine::Span;
use crate::plan::{AlarmSpec, AlbMetric, Comparison, MetricKind, MissingData, find_metric};
use crate::scenario::diagnostic::{Diagnostic, Problems, suggestion};
use crate::scenario::reader::Fields;
use crate::scenario::yaml::Node;

/// An alarm with the target group that its dimensions name.
#[derive(Clone, Debug, PartialEq)]
pub struct AlarmObject {
    /// The alarm; its target group is found by the scenario.
    pub spec: AlarmSpec,
    /// Value of the dimension `TargetGroup`, if it is a plain text.
    pub target_group: Option<String>,
}

/// True for a mapping that looks like a CloudFormation template or like a piece of its resources.
pub fn is_template(node: &Node) -> bool {
    node.get("Resources").is_some() || node.entries().iter().any(|entry| resource_type(&entry.value).is_some())
}

fn resource_type(node: &Node) -> Option<&str> {
    node.get("Type").and_then(Node::text).filter(|kind| kind.starts_with("AWS::"))
}

/// All alarms of a template. Other resources are foreign.
pub fn read_template(node: &Node, problems: &mut Problems) -> Vec<Found<AlarmObject>> {
    let resources = node.get("Resources").unwrap_or(node);
    let mut found = Vec::new();
    for entry in resources.entries() {
        if resource_type(&entry.value) != Some("AWS::CloudWatch::Alarm") {
            continue;
        }
        if let Some(alarm) = read_alarm(&entry.value, &entry.key, problems) {
            found.push(Found { value: alarm, place: entry.key_place, references: References::default() });
        }
    }
    found
}

fn read_alarm(node: &Node, id: &str, problems: &mut Problems) -> Option<AlarmObject> {
    const COMPARISONS: [(&str, Comparison); 4] = [
        ("GreaterThanOrEqualToThreshold", Comparison::GreaterOrEqual),
        ("GreaterThanThreshold", Comparison::Greater),
        ("LessThanThreshold", Comparison::Less),
        ("LessThanOrEqualToThreshold", Comparison::LessOrEqual),
    ];
    const MISSING: [(&str, MissingData); 4] = [
        ("missing", MissingData::Missing),
        ("notBreaching", MissingData::NotBreaching),
        ("breaching", MissingData::Breaching),
        ("ignore", MissingData::Ignore),
    ];
    let mut resource = Fields::of(node, id, problems)?;
    resource.required("Properties", problems)?;
    let mut fields = resource.fields("Properties", problems)?;
    for key in ["EvaluationPeriods", "Threshold", "ComparisonOperator"] {
        fields.required(key, problems)?;
    }
    let statistic = fields.text("Statistic", problems).or_else(|| fields.text("ExtendedStatistic", problems));
    let evaluation_periods = fields.integer_in("EvaluationPeriods", 1, 10_000, problems)? as u32;
    let datapoints = fields.integer_in("DatapointsToAlarm", 1, i64::from(evaluation_periods), problems);
    let spec = AlarmSpec {
        name: fields.text("AlarmName", problems).unwrap_or_else(|| id.to_string()),
        metric: fields.required_text("MetricName", problems)?,
        namespace: fields.required_text("Namespace", problems)?,
        statistic: statistic.unwrap_or_else(|| "Average".to_string()),
        period: Span::from_secs(fields.integer_in("Period", 1, 86_400, problems).unwrap_or(60).unsigned_abs()),
        evaluation_periods,
        datapoints_to_alarm: datapoints.map_or(evaluation_periods, |count| count as u32),
        threshold: fields.number("Threshold", problems)?,
        comparison: fields.choice("ComparisonOperator", &COMPARISONS, problems)?,
        missing: fields.choice("TreatMissingData", &MISSING, problems).unwrap_or(MissingData::Missing),
        target_group: None,
        dimensions: dimensions(&mut fields, problems),
    };
    tell_limits(&spec, node, problems);
    let target_group = spec.dimensions.iter().find(|(name, _)| name == "TargetGroup").map(|(_, value)| value.clone());
    if fields.get("Dimensions").is_none() {
        let message = format!("alarm {} has no dimensions: it would watch nothing in AWS", spec.name);
        let help = match is_of_cluster(&spec) {
            true => "give it the dimensions that the agent publishes; here all label sets are added up",
            false => "give it Dimensions LoadBalancer and TargetGroup; here the scenario's target group is assumed",
        };
        problems.push(Diagnostic::warning("W130", node.place, message).help(help));
    }
    Some(AlarmObject { spec, target_group })
}

/// It watches a metric that an exporter of the cluster has and an agent scrapes: a number, not a summary.
pub fn is_of_cluster(spec: &AlarmSpec) -> bool {
    let number = |metric: &str| find_metric(metric).is_some_and(|found| found.kind != MetricKind::Summary);
    spec.namespace != AlbMetric::NAMESPACE && number(&spec.metric)
}

/// What of an alarm is not evaluated as it stands.
fn tell_limits(spec: &AlarmSpec, node: &Node, problems: &mut Problems) {
    let AlarmSpec { name, metric, namespace, statistic, .. } = spec;
    if is_of_cluster(spec) {
        if let Some(real) = find_metric(metric).filter(|found| found.name != metric) {
            let message = format!("alarm {name}: no version exports {metric}, it watches {}", real.name);
            problems.push(Diagnostic::note("N110", node.place, message));
        }
        return;
    }
    let known = AlbMetric::named(metric).filter(|_| namespace == AlbMetric::NAMESPACE);
    let (message, help) = match known {
        Some(known) if known.has(statistic) => return,
        Some(known) => (
            format!("alarm {name}: {statistic} of {metric} is not modelled, {} stands in for it", known.statistic()),
            None,
        ),
        None => {
            let names = AlbMetric::ALL.iter().map(|metric| metric.name());
            let real = find_metric(metric).map(|found| format!("its name is {}", found.name));
            (
                format!("alarm {name}: {namespace} {metric} has no data here, it is always missing"),
                real.or_else(|| suggestion(metric, names)),
            )
        }
    };
    problems.push(Diagnostic::warning("W131", node.place, message).maybe_help(help));
}

/// Dimensions with plain values: names with references to other resources say nothing here.
fn dimensions(fields: &mut Fields<'_>, problems: &mut Problems) -> Vec<(String, String)> {
    let text = |item: &Node, key| item.get(key).and_then(Node::text).map(str::to_string);
    let items = fields.list("Dimensions", problems);
    items.iter().filter_map(|item| Some((text(item, "Name")?, text(item, "Value")?))).collect()
}
