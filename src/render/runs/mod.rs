//! The results of many runs: one screen of text, `runs.csv`, `summary.json` and the charts of their distribution.
//!
//! In: the runs and what they are held against. Out: text and bytes.

pub mod charts;

use super::text::{line, table_cell, tenths};
use crate::analysis::error_budget::{ALERTS, Budget};
use crate::analysis::gate::{self, Gate};
use crate::analysis::observed::{Cut, Observed};
use crate::analysis::runs::{Runs, sorted};
use crate::analysis::statistics;
use crate::analysis::summary::{VERSION, measured};
use crate::engine::Span;
use crate::plan::Plan;
use crate::rules::expectation::{Expectation, Measure, Scope, Unit};
use serde_json::{Map, Value, json};
use std::fmt::Write;

/// The line that every file carries.
pub fn provenance(plan: &Plan, runs: &Runs) -> String {
    let (name, hash, seed, count) = (&plan.name, &plan.hash, plan.seed, runs.samples.len());
    format!("kubelapse {VERSION}, scenario {name}, hash {hash}, seed {seed}, {count} runs")
}

/// The duration that the study is about: to serve, else to replace, else a termination.
pub fn subject(runs: &Runs) -> Option<Measure> {
    let whole = Scope::default();
    let measures =
        [Measure::TimeToServe, Measure::TimeToReplace, Measure::PodTermination, Measure::NodeTerminationAfterEmpty];
    let seen = |measure: &Measure| {
        let values = runs.values_of(*measure, &whole);
        values.is_some_and(|values| values.iter().flatten().count() * 2 > values.len())
    };
    measures.into_iter().find(seen)
}

/// The files: `runs.csv`, `summary.json`, `distribution`, `phases` and `replicas` as SVG and PNG.
pub fn files(plan: &Plan, runs: &Runs, gates: &[Gate]) -> Vec<(String, Vec<u8>)> {
    let mut files = vec![
        ("runs.csv".to_string(), table(plan, runs)),
        ("summary.json".to_string(), format!("{:#}\n", summary(plan, runs, gates)).into_bytes()),
    ];
    files.extend(charts::files(plan, runs));
    files
}

/// One row a run, one column a measure.
fn table(plan: &Plan, runs: &Runs) -> Vec<u8> {
    let mut out = format!("# {}\nrun", provenance(plan, runs));
    runs.wanted.quantities.iter().for_each(|(measure, scope)| {
        let _ = write!(out, ",{}{}", measure.name(), scope_words(scope).replace(' ', "_"));
    });
    out.push('\n');
    for (number, sample) in runs.samples.iter().enumerate() {
        let _ = write!(out, "{number}");
        for value in &sample.values {
            let sign = |value: &Observed| if value.is_open() { ">" } else { "" };
            let cell = value.map(|value| format!("{}{}", sign(&value), measured(value.at_least)));
            let _ = write!(out, ",{}", cell.unwrap_or_default());
        }
        out.push('\n');
    }
    out.into_bytes()
}

fn scope_words(scope: &Scope) -> String {
    let step = scope.step.map(|step| format!(" of step {step}")).unwrap_or_default();
    let deployment = scope.deployment.as_ref().map(|name| format!(" of {name}")).unwrap_or_default();
    let window = scope.window.map(|(from, to)| format!(" of {}s..{}s", from / 1_000_000, to / 1_000_000));
    format!("{step}{deployment}{}", window.unwrap_or_default())
}

fn estimate_value(estimate: Option<statistics::Estimate>) -> Value {
    estimate.map_or(Value::Null, |estimate| {
        json!({ "value": measured(estimate.point), "low": measured(estimate.low), "high": measured(estimate.high) })
    })
}

fn summary(plan: &Plan, runs: &Runs, gates: &[Gate]) -> Value {
    let mut measures = Map::new();
    for (position, (measure, scope)) in runs.wanted.quantities.iter().enumerate() {
        let known = sorted(runs.column(position));
        if known.is_empty() {
            continue;
        }
        let at = |percent: f64| estimate_value(runs.percentile(position, percent));
        let least = statistics::mean(&sorted(runs.least(position)), runs.level);
        let mut value = json!({
            "runs": known.len(),
            "mean": estimate_value(Some(least.enclosed(statistics::mean(&known, runs.level)))),
            "min": measured(known[0]),
            "p50": at(50.0),
            "p95": at(95.0),
            "p99": at(99.0),
            "max": measured(known[known.len() - 1]),
        });
        for (name, cut) in [("broken_off", Cut::LetGo), ("unfinished", Cut::RunEnded)] {
            if runs.broken_off(position, cut) > 0 {
                value[name] = json!(runs.broken_off(position, cut));
            }
        }
        measures.insert(format!("{}{}", measure.name(), scope_words(scope)), value);
    }
    let main =
        subject(runs).and_then(|measure| runs.attribution_of(measure, &Scope::default(), 95.0).map(|a| (measure, a)));
    let attribution = main.map(|(measure, found)| {
        let stage = |index: usize| {
            json!({
                "stage": found.stages[index],
                "mean_s": measured(found.mean[index]),
                "at_p95_s": measured(found.tail[index]),
                "longest_in": measured(found.longest_in[index]),
            })
        };
        let stages: Vec<Value> = (0..found.stages.len()).filter(|&i| found.mean[i] > 0.0).map(stage).collect();
        json!({ "of": measure.name(), "p95_s": measured(found.tail_total), "stages": stages })
    });
    let gate = |gate: &Gate| {
        json!({
            "expectation": gate.text,
            "verdict": gate.verdict.name(),
            "estimate": estimate_value(gate.estimate),
            "runs": gate.runs,
            "would_decide": gate.would_decide,
            "explanation": gate.explanation,
        })
    };
    json!({
        "generator": "kubelapse",
        "version": VERSION,
        "scenario": plan.name,
        "hash": plan.hash,
        "seed": plan.seed,
        "runs": runs.samples.len(),
        "interrupted": runs.interrupted,
        "confidence": measured(runs.level),
        "stopped_early": runs.samples.iter().filter(|sample| sample.stopped_early).count(),
        "measures": measures,
        "attribution": attribution,
        "error_budget": budget_value(plan, runs),
        "expectations": gates.iter().map(gate).collect::<Vec<_>>(),
    })
}

fn budget_value(plan: &Plan, runs: &Runs) -> Value {
    let alerts = ALERTS.iter().enumerate().map(|(index, alert)| {
        let (share, median) = fired(runs, index);
        json!({ "alert": alert.name, "share_of_runs": measured(share), "median_at_s": median })
    });
    let mean = |value: fn(&Budget) -> f64| {
        let values: Vec<f64> = runs.samples.iter().map(|sample| value(&sample.budget)).collect();
        estimate_value((!values.is_empty()).then(|| statistics::mean(&values, runs.level)))
    };
    json!({
        "objective": measured(plan.error_budget.objective),
        "period_days": measured(plan.error_budget.period.seconds() / 86_400.0),
        "lost": mean(|budget| budget.lost),
        "slow": mean(|budget| budget.slow),
        "minutes_in_violation": mean(|budget| f64::from(budget.seconds_in_violation) / 60.0),
        "share_of_budget": mean(|budget| budget.share),
        "alerts": alerts.collect::<Vec<_>>(),
    })
}

/// In which share of the runs an alert would have fired, and in which second in the middle one.
fn fired(runs: &Runs, alert: usize) -> (f64, Option<u32>) {
    let mut times: Vec<u32> = runs.samples.iter().filter_map(|sample| sample.budget.fired[alert]).collect();
    times.sort_unstable();
    (times.len() as f64 / runs.samples.len().max(1) as f64, times.get(times.len().saturating_sub(1) / 2).copied())
}

/// The sentence a person would say: `p95 time to serve 2m52s (2m48s to 2m57s); 41% of the tail is boot`.
pub fn headline(runs: &Runs) -> Option<String> {
    let measure = subject(runs)?;
    let position = runs.position_of(measure, &Scope::default())?;
    let words = measure.name().replace('_', " ");
    let Some(estimate) = runs.percentile(position, 95.0) else {
        let known = sorted(runs.column(position)).len();
        return Some(format!("{known} runs are too few for a p95 of the {words}: it takes 59"));
    };
    let cause = runs.attribution_of(measure, &Scope::default(), 95.0).and_then(|found| found.main_cause());
    let ended = runs.of_ended(measure, &Scope::default());
    let cause = cause.map(|cause| format!("; {cause}{ended}")).unwrap_or_default();
    Some(format!("p95 {words} {}{cause}", gate::interval(Unit::Seconds, &estimate)))
}

/// What the runs lost: `every run lost requests, 1927 in the middle one and 3031 at most`; `None`: there were no requests.
fn lost(runs: &Runs) -> Option<String> {
    let known = sorted(runs.column(runs.position_of(Measure::LostRequests, &Scope::default())?));
    let (all, most) = (known.len(), *known.last()?);
    let some = known.iter().filter(|&&lost| lost > 0.0).count();
    let [most, middle] = [most, known[all / 2]].map(|lost| table_cell(Unit::Count, lost));
    Some(match some {
        0 => "no run lost a request".to_string(),
        some if some == all => format!("every run lost requests, {middle} in the middle one and {most} at most"),
        some => format!("{some} of {all} runs lost requests, {most} at most"),
    })
}

/// One screen.
pub fn text(plan: &Plan, runs: &Runs, checks: &[(&Expectation, Gate)]) -> String {
    let mut out = String::new();
    let count = runs.samples.len();
    let head = headline(runs).unwrap_or_else(|| "no scaling".to_string());
    let lost = lost(runs).map(|lost| format!("; {lost}")).unwrap_or_default();
    line(&mut out, "", &format!("{}: {head}{lost}.", plan.name));
    if runs.interrupted {
        line(&mut out, "", &format!("Interrupted: these are the {count} runs that were finished."));
    }
    let _ = writeln!(out, "\n{:<32}{:>12}{:>12}{:>12}{:>12}", format!("{count} runs"), "median", "p95", "p99", "worst");
    let whole = Scope::default();
    for measure in [
        Measure::Detection,
        Measure::TimeToServe,
        Measure::TimeToReplace,
        Measure::PodTermination,
        Measure::NodeTerminationAfterEmpty,
        Measure::LostRequests,
        Measure::SlowRequests,
        Measure::NodesMax,
        Measure::Cost,
    ] {
        let Some(position) = runs.position_of(measure, &whole) else { continue };
        let (least, known) = (sorted(runs.least(position)), sorted(runs.column(position)));
        let Some(last) = known.len().checked_sub(1) else { continue };
        // Of a wait that was broken off it is told how long it was by then.
        let show = |(least, most): (f64, f64)| match most.is_finite() {
            true => table_cell(measure.unit(), most),
            false => format!(">{}", table_cell(measure.unit(), least)),
        };
        let at = |percent: f64| {
            let found = |values| statistics::percentile(values, percent, runs.level).map(|found| found.point);
            found(&least).zip(found(&known)).map_or_else(|| "-".to_string(), show)
        };
        let name = measure.name().replace('_', " ");
        let worst = show((least[last], known[last]));
        let _ = writeln!(out, "  {name:<30}{:>12}{:>12}{:>12}{worst:>12}", at(50.0), at(95.0), at(99.0));
    }
    footnotes(&mut out, plan);
    phases(&mut out, runs);
    budget(&mut out, plan, runs);
    verdicts(&mut out, checks);
    out.push('\n');
    line(&mut out, "", &provenance(plan, runs));
    out
}

/// What the signs of the table mean, where it has them.
fn footnotes(out: &mut String, plan: &Plan) {
    let table = &out[out.rfind("\n\n").unwrap_or(0)..];
    let has = |is: fn(&str) -> bool| table.lines().any(|line| line.split_whitespace().skip(1).any(is));
    let (dash, open) = (has(|cell| cell == "-"), has(|cell| cell.starts_with('>')));
    if open {
        let until = tenths(plan.until.since(plan.start));
        line(out, "  >: ", &format!("at least: the run ended ({until}), or its pods were let go, before it did"));
    }
    if dash {
        let least = statistics::least_runs(99.0).max(statistics::least_runs(95.0));
        let words = format!(
            "fewer runs have one than that takes: {} for a p95, {least} for a p99",
            statistics::least_runs(95.0)
        );
        line(out, "  -: ", &words);
    }
}

fn phases(out: &mut String, runs: &Runs) {
    let found = subject(runs).and_then(|measure| runs.attribution_of(measure, &Scope::default(), 95.0));
    let Some(found) = found else { return };
    let _ = writeln!(out, "\n{:<32}{:>9}{:>9}", "Where the time goes", "mean", "at p95");
    let ended = subject(runs).map(|measure| runs.of_ended(measure, &Scope::default())).unwrap_or_default();
    if !ended.is_empty() {
        line(out, "  ", ended.trim_start());
    }
    let all: f64 = found.mean.iter().sum();
    for index in (0..found.stages.len()).filter(|&index| found.mean[index] >= all * 0.005) {
        let (mean, tail) = (found.mean[index], found.tail[index]);
        let bar = "█".repeat((tail / found.tail_total * 24.0).round().max(0.0) as usize);
        let (name, share) = (found.stages[index], tail / found.tail_total * 100.0);
        let text = format!("  {name:<30}{mean:>8.1}s{tail:>8.1}s {share:>3.0}% {bar}");
        let _ = writeln!(out, "{}", text.trim_end());
    }
}

fn budget(out: &mut String, plan: &Plan, runs: &Runs) {
    let count = runs.samples.len().max(1) as f64;
    let mean = |value: fn(&Budget) -> f64| runs.samples.iter().map(|sample| value(&sample.budget)).sum::<f64>() / count;
    let lost = mean(|budget| budget.lost);
    if lost == 0.0 {
        return;
    }
    let minutes = mean(|budget| f64::from(budget.seconds_in_violation) / 60.0);
    let share = mean(|budget| budget.share) * 100.0;
    out.push('\n');
    let (period, objective) = (plan.error_budget.period, Unit::Share.show(plan.error_budget.objective));
    let words = format!(
        "{lost:.0} requests lost in {minutes:.1} min, {share:.2}% of what {objective} over {} allows (means of all runs)",
        period_text(period)
    );
    line(out, "Error budget: ", &words);
    for (index, alert) in ALERTS.iter().enumerate() {
        let (share, median) = fired(runs, index);
        if let Some(second) = median {
            let at = Unit::Seconds.show(f64::from(second));
            line(
                out,
                "  - ",
                &format!("{} would have fired in {:.0}% of the runs, at {at}", alert.name, share * 100.0),
            );
        }
    }
}

/// The period of a budget: in days where it is some, else as a duration.
fn period_text(period: Span) -> String {
    match (period.whole_seconds() / 86_400, period.whole_seconds() % 86_400) {
        (1, 0) => "a day".to_string(),
        (days, 0) => format!("{days} days"),
        _ => Unit::Seconds.show(period.seconds()),
    }
}

fn verdicts(out: &mut String, checks: &[(&Expectation, Gate)]) {
    if checks.is_empty() {
        return;
    }
    out.push_str("\nClaims and expectations\n");
    for (_, gate) in checks {
        line(out, &format!("  {:<9} ", gate.verdict.name()), &format!("{}: {}", gate.text, gate.explanation));
    }
}
