//! `metrics.window`: pages of kubelets in, answers of the resource metrics API out.

use crate::Case;
use kubelapse::components::kubernetes::metrics_server::storage::{Answer, Sample, Storage, decode_seconds};
use kubelapse::engine::{Span, Time};
use kubelapse::rules::quantity::Quantity;
use serde_json::Value;
use std::collections::BTreeMap;

/// 2000-01-01T00:00:00Z.
const ORIGIN: u64 = 946_684_800;

/// Containers by name, numbered.
#[derive(Default)]
struct Names<'c>(BTreeMap<&'c str, u16>);

impl<'c> Names<'c> {
    fn number(&mut self, name: &'c str) -> u16 {
        let next = self.0.len() as u16;
        *self.0.entry(name).or_insert(next)
    }
}

/// Replays a case.
pub fn replay(case: &Case) -> Result<(), String> {
    let resolution = Span::from_seconds(case.input["metricResolution"].as_f64().ok_or("no resolution")?);
    let (mut pods, mut nodes) = (Storage::default(), Storage::default());
    let mut names = Names::default();
    let scrapes = case.input["scrapes"].as_array().ok_or("no scrapes")?;
    let expected = case.expect["scrapes"].as_array().ok_or("nothing expected")?;
    if scrapes.len() != expected.len() {
        return Err("another number of scrapes".to_string());
    }
    for (scrape, expected) in scrapes.iter().zip(expected) {
        let (mut of_pods, mut of_nodes) = (Vec::new(), Vec::new());
        for (node, page) in scrape["nodes"].as_object().into_iter().flatten() {
            if page["failed"] == true {
                continue;
            }
            for container in page["containers"].as_array().into_iter().flatten() {
                let number = names.number(text(&container["container"]));
                of_pods.push(sample(text(&container["pod"]), number, container));
            }
            if page["node"].is_object() {
                of_nodes.push(sample(node.as_str(), 0, &page["node"]));
            }
        }
        pods.store(&of_pods, resolution);
        nodes.store(&of_nodes, resolution);
        let answers = pods.pods().filter_map(|pod| Some((*pod, pods.answer(pod)?)));
        compare_pods(&answers.collect(), &expected["pods"], &names).map_err(|e| format!("t {}: {e}", expected["t"]))?;
        let answers = nodes.pods().filter_map(|node| Some((*node, nodes.answer_node(node)?)));
        compare_nodes(&answers.collect(), &expected["nodes"]).map_err(|e| format!("t {}: {e}", expected["t"]))?;
    }
    Ok(())
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn sample<'c>(pod: &'c str, container: u16, line: &'c Value) -> Sample<&'c str> {
    let instant =
        |value: &Value| value.as_f64().map(|seconds| Time::from_unix_seconds(ORIGIN) + Span::from_seconds(seconds));
    Sample {
        pod,
        container,
        start: line["start"].as_f64().map(|start| decode_seconds(ORIGIN as f64 + start)),
        timestamp: instant(&line["memTs"]).or(instant(&line["ts"])).unwrap_or(Time::ZERO),
        cpu_nanos: line["cpu"].as_f64().map_or(0, decode_seconds).unsigned_abs(),
        memory: line["memory"].as_f64().unwrap_or(0.0) as u64,
    }
}

/// A duration as Go writes it.
fn go_duration(nanos: i64) -> String {
    let seconds = nanos % 60_000_000_000;
    let mut text = format!("{}.{:09}", seconds / 1_000_000_000, seconds % 1_000_000_000);
    text = text.trim_end_matches('0').trim_end_matches('.').to_string() + "s";
    let minutes = nanos / 60_000_000_000;
    match (minutes / 60, minutes % 60) {
        (0, 0) => text,
        (0, minutes) => format!("{minutes}m{text}"),
        (hours, minutes) => format!("{hours}h{minutes}m{text}"),
    }
}

fn same_time(answer: &Answer, expected: &Value) -> Result<(), String> {
    let found = answer.timestamp.map(|at| at.seconds_from(Time::from_unix_seconds(ORIGIN)));
    let same = match (found, expected["timestamp"].as_f64()) {
        (Some(found), Some(expected)) => (found - expected).abs() < 1e-6,
        (found, expected) => found.is_none() && expected.is_none(),
    };
    if !same || text(&expected["window"]) != go_duration(answer.window) {
        let (at, window) = (&expected["timestamp"], &expected["window"]);
        return Err(format!("{at} and {window} expected, {found:?} and {} found", go_duration(answer.window)));
    }
    Ok(())
}

fn same_usage(cpu: u64, memory: u64, expected: &Value) -> Result<(), String> {
    let nanos = |value: &Value| Quantity::parse(text(value)).map(Quantity::nanos).map_err(|e| format!("{e:?}"));
    if nanos(&expected["cpu"])? != i128::from(cpu) || nanos(&expected["memory"])? != i128::from(memory) * 1_000_000_000
    {
        return Err(format!("{expected} expected, {cpu}n and {memory} found"));
    }
    Ok(())
}

fn compare_pods(answers: &BTreeMap<&str, Answer>, expected: &Value, names: &Names) -> Result<(), String> {
    let empty = serde_json::Map::new();
    let expected = expected.as_object().unwrap_or(&empty);
    if !answers.keys().copied().eq(expected.keys().map(String::as_str)) {
        return Err(format!("answers for {:?} expected, {:?} found", expected.keys(), answers.keys()));
    }
    for (pod, answer) in answers {
        let expected = &expected[*pod];
        same_time(answer, expected).map_err(|error| format!("{pod}: {error}"))?;
        let containers = expected["containers"].as_object().unwrap_or(&empty);
        if containers.len() != answer.containers.len() {
            return Err(format!("{pod}: {} containers expected", containers.len()));
        }
        for (name, usage) in containers {
            let number = names.0.get(name.as_str()).copied();
            let found = answer.containers.iter().find(|(container, ..)| Some(*container) == number);
            let &(_, cpu, memory) = found.ok_or_else(|| format!("{pod}: no {name}"))?;
            same_usage(cpu, memory, usage).map_err(|error| format!("{pod} {name}: {error}"))?;
        }
    }
    Ok(())
}

fn compare_nodes(answers: &BTreeMap<&str, Answer>, expected: &Value) -> Result<(), String> {
    let empty = serde_json::Map::new();
    let expected = expected.as_object().unwrap_or(&empty);
    if !answers.keys().copied().eq(expected.keys().map(String::as_str)) {
        return Err(format!("answers for nodes {:?} expected, {:?} found", expected.keys(), answers.keys()));
    }
    for (node, answer) in answers {
        same_time(answer, &expected[*node]).map_err(|error| format!("{node}: {error}"))?;
        let (_, cpu, memory) = answer.containers[0];
        same_usage(cpu, memory, &expected[*node]["usage"]).map_err(|error| format!("{node}: {error}"))?;
    }
    Ok(())
}
