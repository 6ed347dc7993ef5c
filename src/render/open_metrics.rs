//! `metrics.txt`: what a scrape at the end of the run would have brought, in the exposition format of Prometheus and OpenMetrics.
//!
//! In: the exported metrics of the cluster, the last visible datapoints of CloudWatch, and the requests. Out: text that
//! `promtool check metrics` accepts. Metrics of CloudWatch keep their names as labels: their own spelling is none of
//! Prometheus'. A counter is declared with its suffix `_total`, as Prometheus reads it.

use super::Finished;
use crate::analysis::exported::{Moment, Point, QUANTILES, Value, points, quantile, visible};
use crate::plan::{AlbMetric, METRICS, MetricKind, TargetGroupId};
use crate::world::{Loss, REQUEST};
use std::fmt::Write;

/// The file.
pub fn render(finished: &Finished) -> Vec<u8> {
    let Finished { plan, world, recorder, analysis, .. } = *finished;
    let mut out = String::new();
    head(&mut out, "kubelapse_run_info", MetricKind::Gauge, "The run that this file is of.");
    let version = crate::analysis::summary::VERSION.to_string();
    let labels = [
        ("version", version),
        ("scenario", plan.name.clone()),
        ("hash", plan.hash.clone()),
        ("seed", plan.seed.to_string()),
        ("noise", if plan.noise { "on" } else { "off" }.to_string()),
    ];
    sample(&mut out, "kubelapse_run_info", &labels, 1.0);
    let moment = Moment { plan, world, recorder, analysis, at: plan.until };
    for metric in METRICS {
        let points = points(&metric, moment);
        if !points.is_empty() {
            head(&mut out, metric.name, metric.kind, metric.help);
            points.iter().for_each(|point| write_point(&mut out, metric.name, point));
        }
    }
    cloudwatch(&mut out, finished);
    requests(&mut out, finished);
    out.push_str("# EOF\n");
    out.into_bytes()
}

fn head(out: &mut String, name: &str, kind: MetricKind, help: &str) {
    let kind = match kind {
        MetricKind::Gauge => "gauge",
        MetricKind::Counter => "counter",
        MetricKind::Summary => "summary",
    };
    line(out, format_args!("# HELP {name} {help}"));
    // What ends like a part of a summary and is none passes promtool only without a type. Karpenter has such a gauge.
    if kind == "summary" || !name.ends_with("_count") {
        line(out, format_args!("# TYPE {name} {kind}"));
    }
}

fn line(out: &mut String, text: std::fmt::Arguments) {
    writeln!(out, "{text}").expect("memory takes all lines");
}

fn sample(out: &mut String, name: &str, labels: &[(&str, String)], value: f64) {
    let escaped = |text: &str| text.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n");
    let labels: Vec<String> = labels.iter().map(|(key, value)| format!("{key}=\"{}\"", escaped(value))).collect();
    let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
    line(out, format_args!("{name}{labels} {}", super::csv::decimal(value)));
}

fn write_point(out: &mut String, name: &str, point: &Point) {
    let durations = match &point.value {
        Value::Number(value) => return sample(out, name, &point.labels, *value),
        Value::Durations(durations) => durations,
    };
    for share in QUANTILES {
        if let Some(value) = quantile(durations, share) {
            let labels = [&point.labels[..], &[("quantile", share.to_string())]].concat();
            sample(out, name, &labels, value);
        }
    }
    sample(out, &format!("{name}_sum"), &point.labels, durations.iter().sum());
    sample(out, &format!("{name}_count"), &point.labels, durations.len() as f64);
}

fn cloudwatch(out: &mut String, finished: &Finished) {
    let plan = finished.plan;
    let mut named = false;
    for (index, group) in plan.target_groups.iter().enumerate() {
        for metric in AlbMetric::ALL {
            let Some(value) = visible(plan, finished.world, TargetGroupId::at(index), metric, plan.until) else {
                continue;
            };
            if !std::mem::replace(&mut named, true) {
                let help = "The last datapoint of one minute that CloudWatch shows.";
                head(out, "cloudwatch_datapoint", MetricKind::Gauge, help);
            }
            let labels = [
                ("namespace", AlbMetric::NAMESPACE.to_string()),
                ("metric_name", metric.name().to_string()),
                ("statistic", metric.statistic().to_string()),
                ("target_group", group.name.clone()),
            ];
            sample(out, "cloudwatch_datapoint", &labels, value);
        }
    }
}

fn requests(out: &mut String, finished: &Finished) {
    let apps = || finished.plan.apps.iter().zip(&finished.world.ledgers);
    if apps().next().is_none() {
        return;
    }
    let whole = |amount: u64| amount as f64 / REQUEST as f64;
    head(out, "kubelapse_requests_total", MetricKind::Counter, "Requests by what became of them.");
    for (app, ledger) in apps() {
        let mut outcome = |outcome: &str, cause: &str, amount: u64| {
            let labels = [("app", app.name.clone()), ("outcome", outcome.to_string()), ("cause", cause.to_string())];
            sample(out, "kubelapse_requests_total", &labels, whole(amount));
        };
        outcome("served", "", ledger.total.served);
        Loss::possible(finished.plan).for_each(|loss| outcome("lost", loss.name(), ledger.total.lost[loss as usize]));
    }
    head(out, "kubelapse_requests_in_flight", MetricKind::Gauge, "Requests without an answer yet.");
    for (app, ledger) in apps() {
        sample(out, "kubelapse_requests_in_flight", &[("app", app.name.clone())], whole(ledger.in_flight));
    }
    head(out, "kubelapse_request_duration_seconds", MetricKind::Summary, "Time until requests were answered.");
    for (app, ledger) in apps() {
        let name = [("app", app.name.clone())];
        for share in QUANTILES {
            if let Some(value) = ledger.latencies.quantile(share) {
                let labels = [&name[..], &[("quantile", share.to_string())]].concat();
                sample(out, "kubelapse_request_duration_seconds", &labels, value.seconds());
            }
        }
        let sum = ledger.total.latency as f64 / REQUEST as f64 / 1e6;
        sample(out, "kubelapse_request_duration_seconds_sum", &name, sum);
        sample(out, "kubelapse_request_duration_seconds_count", &name, whole(ledger.total.served));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::played;

    /// What `promtool check metrics` looks at: names, help and type before samples, one block a metric, suffixes by type,
    /// no label set twice.
    #[test]
    fn the_file_is_what_promtool_accepts() {
        let run = played::run();
        let analysis = run.analysis();
        let (plan, world, recorder) = (&run.plan, &run.world, &run.recorder);
        let finished = Finished { plan, world, recorder, analysis: &analysis, events: 0, event_hash: 0, limit: None };
        let text = String::from_utf8(render(&finished)).unwrap();
        let mut lines = text.lines().peekable();
        let mut families: Vec<&str> = Vec::new();
        let mut samples: Vec<&str> = Vec::new();
        while let Some(line) = lines.next().filter(|line| *line != "# EOF") {
            let (family, help) = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' ')).unwrap();
            let kind = lines.next_if(|line| line.starts_with("# TYPE ")).unwrap_or("# TYPE - untyped");
            let kind = kind.rsplit(' ').next().unwrap();
            assert!(!help.is_empty() && !families.contains(&family), "{family}");
            assert!(family.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'), "{family}");
            assert_eq!(kind == "counter", family.ends_with("_total"), "{family}");
            let reserved = ["_sum", "_count", "_bucket"].iter().any(|suffix| family.ends_with(suffix));
            assert_eq!(kind == "untyped", reserved, "{family}");
            families.push(family);
            while let Some(line) = lines.next_if(|line| !line.starts_with('#')) {
                let (sample, value) = line.rsplit_once(' ').unwrap();
                let name = sample.split('{').next().unwrap();
                let of_summary =
                    kind == "summary" && ["_sum", "_count"].iter().any(|end| name == format!("{family}{end}"));
                assert!(name == family || of_summary, "{line}");
                assert!(value.parse::<f64>().is_ok_and(f64::is_finite) && !samples.contains(&sample), "{line}");
                samples.push(sample);
            }
        }
        assert!(text.ends_with("# EOF\n") && lines.next().is_none(), "nothing follows the end");
        assert!(
            families.contains(&"karpenter_pods_startup_duration_seconds") && families.contains(&"cloudwatch_datapoint")
        );
    }
}
