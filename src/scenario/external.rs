//! `external_metrics:`, `activations:` and `metrics:`: metrics from outside the cluster, what they take from and to zero, and
//! those of the cluster that the series shall hold.

use super::Draft;
use super::apps::find_deployment;
use super::cluster::find;
use super::curve::{self, Measure};
use super::diagnostic::Diagnostic;
use super::reader::{self, Fields};
use super::units::UnitError;
use super::yaml::Node;
use crate::engine::Span;
use crate::plan::{Activation, AlbMetric, ExternalMetric, METRICS, find_metric};
use crate::rules::quantity::Quantity;

/// The value of a metric.
const VALUE: Measure = Measure { key: "value", expected: "a quantity such as 400 or 1.5", parse: value };
/// Shortest period of a loop.
const PERIOD_MIN: Span = Span::from_millis(10);

fn value(text: &str) -> Result<f64, UnitError> {
    match Quantity::parse(text) {
        Ok(quantity) if (0.0..=1e12).contains(&quantity.as_f64()) => Ok(quantity.as_f64()),
        _ => Err(UnitError::new(0, "write it like 400, 1.5 or 250m, at most 1e12")),
    }
}

/// `external_metrics:`, a list of series.
pub(crate) fn read_metrics(items: &[Node], draft: &mut Draft) {
    for (index, item) in items.iter().enumerate() {
        let window = draft.window();
        let Some(mut fields) = Fields::of(item, format!("external_metrics[{index}]"), &mut draft.problems) else {
            continue;
        };
        let name = fields.required_text("name", &mut draft.problems);
        let node = fields.required("value", &mut draft.problems);
        let path = fields.at("value");
        let curve =
            node.and_then(|node| curve::read(node, &path, &VALUE, window, &mut draft.files, &mut draft.problems));
        let problems = &mut draft.problems;
        let default = draft.plan.flags.external.scrape_interval;
        let every = period(&mut fields, "every", problems).unwrap_or(default);
        let window = fields.duration("window", problems).unwrap_or(Span::ZERO);
        let labels = crate::manifest::labels(&mut fields, "labels", problems);
        fields.finish(problems);
        if let (Some(name), Some(value)) = (name, curve) {
            draft.plan.external_metrics.push(ExternalMetric { name, labels, value, every, window });
        }
    }
}

/// `metrics:`, names of metrics that exporters of the cluster have.
pub(crate) fn read_watched(items: &[Node], draft: &mut Draft) {
    for (index, item) in items.iter().enumerate() {
        let problems = &mut draft.problems;
        let Some(name) = reader::text(item, &format!("metrics[{index}]"), problems) else { continue };
        let Some(metric) = find_metric(&name) else {
            let message = match AlbMetric::named(&name) {
                Some(_) => format!("metrics: {name} is in series.csv for every target group"),
                None => format!("metrics: no exporter of the cluster has a metric `{name}`"),
            };
            let known = METRICS.iter().map(|metric| metric.name);
            problems.push(Diagnostic::error("E016", item.place, message).suggest(&name, known));
            continue;
        };
        if metric.name != name {
            let message = format!("no version exports {name}: it is reported under its real name, {}", metric.name);
            problems.push(Diagnostic::note("N110", item.place, message));
        }
        if !draft.plan.metrics.contains(&metric) {
            draft.plan.metrics.push(metric);
        }
    }
}

/// `activations:`, by Deployment.
pub(crate) fn read_activations(node: &Node, draft: &mut Draft) {
    if Fields::of(node, "activations", &mut draft.problems).is_none() {
        return;
    }
    for entry in node.entries() {
        let path = format!("activations.{}", entry.key);
        let deployment = find_deployment(&entry.key, entry.key_place, "activations", draft);
        let Some(mut fields) = Fields::of(&entry.value, path, &mut draft.problems) else { continue };
        let problems = &mut draft.problems;
        let names: Vec<&str> = draft.plan.external_metrics.iter().map(|metric| metric.name.as_str()).collect();
        let metric = fields.required("metric", problems);
        let metric = metric.and_then(|node| find(node, &fields.at("metric"), "external metric", &names, problems));
        let threshold = fields.number("threshold", problems).unwrap_or(0.0);
        let replicas = fields.integer_in("replicas", 1, 10_000, problems).unwrap_or(1) as i32;
        let flags = &draft.plan.flags.external;
        let poll = period(&mut fields, "poll", problems).unwrap_or(flags.polling_interval);
        let cooldown = fields.duration("cooldown", problems).unwrap_or(flags.cooldown_period);
        fields.finish(problems);
        if let (Some(deployment), Some(metric)) = (deployment, metric) {
            draft.plan.activations.push(Activation { deployment, metric, threshold, replicas, poll, cooldown });
        }
    }
}

/// A period of a loop: zero would make a loop without end.
fn period(fields: &mut Fields<'_>, key: &'static str, problems: &mut super::Problems) -> Option<Span> {
    let period = fields.duration(key, problems)?;
    if period < PERIOD_MIN {
        let node = fields.get(key).unwrap_or(fields.node());
        reader::out_of_range(node, &fields.at(key), "at least 10ms", problems);
        return None;
    }
    Some(period)
}
