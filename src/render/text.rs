//! The one-screen summary: 80 columns, plain text.

use super::Finished;
use super::headline::{after_load_change, headline};
use super::verdicts::because;
use super::waiting::{self, no_node};
use crate::analysis::expectation::{claims, expectations};
use crate::analysis::gate::rounded;
use crate::analysis::right_sizing::{Advice, advice};
use crate::analysis::steps::Why;
use crate::analysis::totals::per_million;
use crate::analysis::worst::{WINDOW, Worst, worst};
use crate::analysis::{Churn, Replacement, Step, StepDown, churn};
use crate::engine::{Span, Time};
use crate::plan::MetricSpec;
use crate::rules::expectation::{Expectation, Unit, Verdict};
use crate::rules::quantity::{Bytes, Millicores};
use crate::world::{Loss, PodId, REQUEST};
use std::collections::BTreeMap;
use std::fmt::Write;

const WIDTH: usize = 80;
const BAR: usize = 34;
/// Longer lists are cut: the summary is one screen, the tables have everything.
pub(super) const LINES_MAX: usize = 6;

/// A span for people: to a tenth of a second, below a second to ten milliseconds.
pub fn tenths(span: Span) -> String {
    let unit = if span < Span::from_secs(1) { 10_000 } else { 100_000 };
    Span::from_micros((span.micros() + unit / 2) / unit * unit).to_string()
}

/// `1 pod`, `2 pods`.
pub fn plural(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

/// Micro-requests as requests, to whole ones: a flow has parts of them, and a part of one is nobody's. A few are told apart.
pub fn whole(amount: u64) -> String {
    let few = amount < REQUEST && amount > 0;
    if few {
        format!("{:.1}", (amount as f64 / REQUEST as f64).max(0.1))
    } else {
        ((amount + REQUEST / 2) / REQUEST).to_string()
    }
}

/// The same with its noun: `1 request`, `2.4 requests`.
pub fn in_requests(amount: u64) -> String {
    match whole(amount).as_str() {
        "1" => "1 request".to_string(),
        count => format!("{count} requests"),
    }
}

/// The summary for the terminal.
pub fn summary(finished: &Finished) -> String {
    let mut out = String::new();
    let plan = finished.plan;
    line(&mut out, "", &format!("{}: {}.", plan.name, headline(finished)));
    if let Some(limit) = finished.limit {
        line(&mut out, "", &format!("The run was stopped early: {limit:?}."));
    }
    steps(&mut out, finished);
    let analysis = finished.analysis;
    let downs = analysis.steps_down.iter().take(LINES_MAX);
    let downs: Vec<String> = downs.map(|down| step_down(finished, down)).collect();
    section(&mut out, &downs, analysis.steps_down.len());
    let lost = analysis.replacements.iter().take(LINES_MAX);
    let lost: Vec<String> = lost.map(|one| replacement(finished, one)).collect();
    section(&mut out, &lost, analysis.replacements.len());
    requests(&mut out, finished);
    nodes(&mut out, finished);
    right_sizing(&mut out, finished);
    verdicts(&mut out, finished);
    let remarks = || analysis.remarks.iter().chain(&plan.remarks);
    if remarks().next().is_some() {
        out.push_str("\nRemarks\n");
        remarks().for_each(|remark| line(&mut out, "  - ", remark));
    }
    out.push('\n');
    chance(&mut out, finished);
    line(&mut out, "", &finished.provenance());
    out
}

/// What a run without chance leaves open.
fn chance(out: &mut String, finished: &Finished) {
    let (plan, analysis) = (finished.plan, finished.analysis);
    let of_runs = |check: &Expectation| check.subject.is_about_runs();
    let gates = plan.claims.iter().map(|claim| &claim.check).chain(&plan.expectations).any(of_runs);
    let moved = !analysis.steps.is_empty() || !analysis.steps_down.is_empty() || !analysis.replacements.is_empty();
    if plan.noise || !(gates || moved) {
        return;
    }
    let more =
        if gates { "tells how it scatters and decides what speaks of many runs" } else { "tells how it scatters" };
    line(out, "", &format!("Every delay here is at its median: `--runs 200` {more}."));
    out.push('\n');
}

/// Wraps `text` at 80 columns; further lines are indented as the first one's prefix is wide.
pub(super) fn line(out: &mut String, prefix: &str, text: &str) {
    let indent = " ".repeat(prefix.chars().count());
    let mut current = prefix.to_string();
    let mut empty = true;
    for word in text.split_whitespace() {
        if !empty && current.chars().count() + 1 + word.chars().count() > WIDTH {
            out.push_str(current.trim_end());
            out.push('\n');
            current.clone_from(&indent);
            empty = true;
        }
        if !empty {
            current.push(' ');
        }
        current.push_str(word);
        empty = false;
    }
    out.push_str(current.trim_end());
    out.push('\n');
}

/// A text in lines of so many columns, broken between words; a longer word is cut with an ellipsis.
pub(super) fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        let word = shortened(word, width);
        match lines.last_mut() {
            Some(last) if last.chars().count() + 1 + word.chars().count() <= width => *last += &format!(" {word}"),
            _ => lines.push(word),
        }
    }
    lines
}

/// At most so many characters; what is cut ends in an ellipsis.
pub(super) fn shortened(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_string();
    }
    let kept: String = text.chars().take(width.saturating_sub(1)).collect();
    format!("{kept}…")
}

/// A value in a column of values: dollars with as many digits in every row.
pub(super) fn table_cell(unit: Unit, value: f64) -> String {
    match unit {
        Unit::Dollars if value.is_finite() && (value == 0.0 || value.abs() >= 0.000_1) => format!("${value:.4}"),
        _ => rounded(unit, value),
    }
}

fn at(finished: &Finished, time: Time) -> String {
    tenths(time.since(finished.plan.start))
}

/// Two steps are shown in full; of more the longest, and a line for each.
fn steps(out: &mut String, finished: &Finished) {
    let steps = &finished.analysis.steps;
    if steps.len() <= 2 {
        steps.iter().for_each(|step| step_up(out, finished, step));
        return;
    }
    let lines: Vec<String> = steps.iter().take(2 * LINES_MAX).map(|step| step_line(finished, step)).collect();
    section(out, &lines, steps.len());
    let ended = |step: &Step| step.time_to_serve().or(step.broken_off_after());
    let wait = |step: &Step| (ended(step).unwrap_or(Span::MAX), std::cmp::Reverse(step.number));
    if let Some(longest) = steps.iter().max_by_key(|step| wait(step)) {
        out.push_str("\nThe longest of them:");
        step_up(out, finished, longest);
    }
}

fn section(out: &mut String, lines: &[String], all: usize) {
    if !lines.is_empty() {
        out.push('\n');
    }
    lines.iter().for_each(|text| line(out, "", text));
    if all > lines.len() {
        line(out, "", &format!("and {} more", all - lines.len()));
    }
}

fn step_line(finished: &Finished, step: &Step) -> String {
    let name = &finished.plan.deployments[step.deployment.index()].name;
    let most = step.critical_pod().and_then(|pod| pod.phases.iter().max_by_key(|span| span.length()));
    let whole: u64 = step.critical_pod().map_or(0, |pod| pod.phases.iter().map(|span| span.length().micros()).sum());
    let kind = finished.plan.deployments[step.deployment.index()].kind();
    let most = most.map(|span| {
        let share = span.length().micros() as f64 / whole.max(1) as f64;
        let word = if share > 0.5 { "mostly" } else { "of that" };
        format!(", {word} {:.0}% {}", share * 100.0, span.phase.name_for(kind, step.served.is_some()))
    });
    let most = most.unwrap_or_default();
    let served = step.time_to_serve().map(|span| format!("served in {}", tenths(span)));
    let served =
        served.or_else(|| step.broken_off_after().map(|span| format!("let go unserved after {}", tenths(span))));
    let served = served.unwrap_or_else(|| "not served".to_string());
    format!(
        "Step {}: {name} {} -> {} at {}{}, {served}{most}",
        step.number,
        step.from,
        step.to,
        at(finished, step.trigger),
        by_whom(step.by_hpa)
    )
}

/// Said where it was not an autoscaler.
const fn by_whom(by_hpa: bool) -> &'static str {
    if by_hpa { "" } else { " by a user" }
}

fn step_up(out: &mut String, finished: &Finished, step: &Step) {
    let name = &finished.plan.deployments[step.deployment.index()].name;
    let detection = step.detection().map(|span| format!(", {} {}", tenths(span), after_load_change(finished, step)));
    let title = format!(
        "Step {}: {name} {} -> {} at {}{}{}",
        step.number,
        step.from,
        step.to,
        at(finished, step.trigger),
        by_whom(step.by_hpa),
        detection.unwrap_or_default()
    );
    out.push('\n');
    line(out, "", &title);
    let Some(critical) = step.critical_pod() else {
        line(out, "  ", "no pod was created for it");
        return;
    };
    let total: u64 = critical.phases.iter().map(|span| span.length().micros()).sum();
    let kind = finished.plan.deployments[step.deployment.index()].kind();
    for span in critical.phases.iter().filter(|span| !span.length().is_zero()) {
        let offset = (span.start - step.trigger).micros();
        let bar = bar(offset, span.length().micros(), total);
        let share = 100.0 * span.length().micros() as f64 / total.max(1) as f64;
        let (name, length) = (span.phase.name_for(kind, step.served.is_some()), tenths(span.length()));
        let _ = writeln!(out, "  {name:<20}{length:>9} {share:>4.0}%  {bar}");
    }
    let state = match (step.served, step.let_go) {
        (Some(_), _) => "time to serve",
        (None, Some(_)) => "until it was let go",
        (None, None) => "so far (not served)",
    };
    let _ = writeln!(
        out,
        "  {state:<20}{:>9}        {}",
        tenths(Span::from_micros(total)),
        finished.world.pod_name(critical.pod)
    );
    without_node(out, finished, step);
}

/// Why pods of a step never had a node.
fn without_node(out: &mut String, finished: &Finished, step: &Step) {
    let waited = |pod: &PodId| finished.analysis.history.pods[pod.index()].bound.is_none();
    let unplaced = &finished.recorder.unplaced;
    let pods: Vec<PodId> = step.pods.iter().map(|entry| entry.pod).filter(waited).collect();
    let why = pods.iter().find_map(|pod| unplaced.get(pod));
    if let (None, Some(end)) = (step.served, step.let_go) {
        let (when, count) = (at(finished, end), plural(step.unwanted, "pod"));
        let text = format!("{count} let go by {when}, before they served: fewer were wanted");
        line(out, "  ", &text);
    }
    if let Some((tried, why)) = why {
        line(out, "  ", &no_node(finished, &pods, *tried, why));
    }
}

/// A bar that begins where the phase begins: eighths of a column at its end.
fn bar(offset: u64, length: u64, total: u64) -> String {
    let eighths = |amount: u64| (u128::from(amount) * (BAR as u128) * 8 / u128::from(total.max(1))) as usize;
    let start = eighths(offset) / 8;
    let end = eighths(offset + length).max(start * 8 + 1);
    let (full, rest) = ((end / 8).saturating_sub(start), end % 8);
    let part = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"][rest];
    format!("{}{}{}", " ".repeat(start), "█".repeat(full), part)
}

fn step_down(finished: &Finished, down: &StepDown) -> String {
    let name = &finished.plan.deployments[down.deployment.index()].name;
    let pods = down.victims.iter().map(|pod| &finished.analysis.history.pods[pod.index()]);
    let gone = pods.clone().filter_map(|pod| pod.gone).max();
    let drained = pods.filter_map(|pod| pod.target_gone).max();
    let nodes = down.nodes.iter().filter_map(|&node| finished.analysis.history.node(node)?.gone);
    let (count, last) = (nodes.clone().count(), nodes.max());
    let after = |what: &str, time: Option<Time>| {
        time.map(|time| format!(", {what} after {}", tenths(time.since(down.trigger)))).unwrap_or_default()
    };
    format!(
        "Down: {name} {} -> {} at {}{}{}{}{}",
        down.from,
        down.to,
        at(finished, down.trigger),
        by_whom(down.by_hpa),
        after("pods gone", gone),
        after("targets drained", drained),
        after(&format!("{} gone", plural(count, "node")), last),
    )
}

fn replacement(finished: &Finished, one: &Replacement) -> String {
    let end = match one.time_to_replace() {
        Some(span) => format!("replacements in service after {}", tenths(span)),
        None if one.needless && !one.replacements.is_empty() => {
            "those that took their place were let go before they served".to_string()
        }
        None if one.needless => "no replacement was needed".to_string(),
        None => "replacements were not all in service by the end".to_string(),
    };
    let pods = plural(one.displaced.len(), "pod");
    let node = &finished.world.node(one.node).name;
    let (when, why) = (at(finished, one.trigger), one.why.name());
    match one.why {
        Why::Interruption | Why::Failure => format!("Lost: node {node} with {pods} at {when} ({why}); {end}"),
        Why::Disruption(_) | Why::Deletion | Why::Drain => {
            format!("Moved: {pods} off node {node} at {when} (drained: {why}); {end}")
        }
    }
}

fn requests(out: &mut String, finished: &Finished) {
    let apps = finished.plan.apps.iter().zip(&finished.world.ledgers);
    let apps: Vec<_> = apps.filter(|(_, ledger)| ledger.total.offered > 0).collect();
    if apps.is_empty() {
        return;
    }
    let _ = writeln!(
        out,
        "\n{:<22}{:>11}{:>11}{:>11}{:>11}{:>12}",
        "Requests", "offered", "served", "slow", "lost", "latency"
    );
    for (app, ledger) in apps {
        let total = &ledger.total;
        let latency = total.mean_latency().map(|span| Span::from_millis(span.micros() / 1_000).to_string());
        let name = shortened(&app.name, 19);
        let cells = [total.offered, total.served, total.slow, total.lost_all()].map(whole);
        let [offered, served, slow, lost] = cells;
        let latency = latency.unwrap_or_default();
        let _ = writeln!(out, "  {name:<20}{offered:>11}{served:>11}{slow:>11}{lost:>11}{latency:>12}");
        if ledger.in_flight > 0 {
            let _ = writeln!(out, "    {:<20}{:>9}", "open at the end", whole(ledger.in_flight));
        }
        for loss in Loss::ALL.into_iter().filter(|&loss| total.lost[loss as usize] > 0) {
            let cause = format!("{} {}", loss.status(), loss.name());
            let _ = writeln!(out, "    {cause:<51}{:>11}", whole(total.lost[loss as usize]));
        }
        if let Some(Worst { second, lost, ended }) = worst(&ledger.bins) {
            let from = tenths(Span::from_secs(second as u64));
            let share = 100.0 * lost as f64 / ended as f64;
            let lost = whole(lost);
            let worst =
                format!("in the worst {WINDOW} s, from {from} on, {lost} were lost: {share:.0}% of all that ended");
            line(out, "    ", &worst);
        }
    }
}

/// What it cost that nodes were replaced.
fn churn_line(out: &mut String, by: &BTreeMap<&'static str, Churn>) {
    let Churn { nodes, cost, overlap, overlap_cost } = churn::total(by);
    if nodes == 0 {
        return;
    }
    let reasons: Vec<String> = by.iter().map(|(reason, one)| format!("{} {reason}", one.nodes)).collect();
    let text = format!(
        "{} launched to replace others ({}): ${:.4}, of which ${:.4} for the {} in which both were paid",
        plural(nodes as usize, "node"),
        reasons.join(", "),
        cost.dollars(),
        overlap_cost.dollars(),
        tenths(overlap)
    );
    line(out, "Churn: ", &text);
}

fn nodes(out: &mut String, finished: &Finished) {
    let totals = &finished.analysis.totals;
    out.push('\n');
    let mut text = format!(
        "{} launched, {} terminated, {:.0} node seconds, ${:.4}",
        plural(totals.nodes_launched as usize, "node"),
        totals.nodes_terminated,
        totals.node_time.seconds(),
        totals.cost.dollars()
    );
    let parts = totals.cost_by.iter().filter(|(_, (_, dollars))| dollars.0 > 0);
    let parts: Vec<String> = parts
        .map(|((pool, kind), (_, dollars))| {
            let pool = if pool == "-" { "no pool" } else { pool };
            format!("{pool} {kind} ${:.4}", dollars.dollars())
        })
        .collect();
    if parts.len() > 1 {
        let _ = write!(text, " ({})", parts.join(", "));
    }
    if let Some(dollars) = per_million(finished.world, totals.cost) {
        let _ = write!(text, ", ${dollars:.2} per million requests");
    }
    if totals.surplus_cost.0 > 0 {
        let _ = write!(text, "; of that surplus CPU credits ${:.4}", totals.surplus_cost.dollars());
    }
    line(out, "Nodes: ", &text);
    churn_line(out, &totals.churn_by);
    let counts = [
        (totals.interruptions, "interruption"),
        (totals.evictions, "eviction"),
        (totals.launch_failures, "launch without capacity"),
        (totals.unscheduled, "pod without a node at the end"),
        (totals.let_go_unscheduled, "pod let go that waited for a node"),
        (totals.alarms.len() as u64, "alarm"),
    ];
    let noted: Vec<String> = counts
        .into_iter()
        .filter(|&(count, _)| count > 0)
        .map(|(count, what)| match what {
            "launch without capacity" if count > 1 => format!("{count} launches without capacity"),
            "pod without a node at the end" if count > 1 => format!("{count} pods without a node at the end"),
            "pod let go that waited for a node" if count > 1 => format!("{count} pods let go that waited for a node"),
            _ => plural(count as usize, what),
        })
        .collect();
    if !noted.is_empty() {
        line(out, "Also: ", &noted.join(", "));
    }
    waiting::section(out, finished);
    for &(time, alarm) in &totals.alarms {
        line(out, "  - ", &format!("alarm {} at {}", finished.plan.alarms[alarm].name, at(finished, time)));
    }
}

/// Requests beside what the recommender would ask for; memory in MiB.
fn right_sizing(out: &mut String, finished: &Finished) {
    let advice = advice(finished.plan, finished.world);
    if advice.is_empty() {
        if finished.limit.is_some() && !finished.plan.apps.is_empty() {
            line(out, "\nRight-sizing: ", "no advice, the run was stopped before any use was measured");
        }
        return;
    }
    let title = "Right-sizing";
    let _ = writeln!(out, "\n{title:<36}{:>10}{:>10}{:>12}{:>12}", "cpu now", "advised", "memory now", "advised");
    let (mut no_memory, mut above) = (false, false);
    for one in advice.iter().take(LINES_MAX) {
        let name = shortened(&format!("{} {}", one.deployment, one.container), 33);
        let cpu = |cpu: Option<Millicores>| cpu.map_or("-".to_string(), |cpu| cpu.to_string());
        let memory = |memory: Option<Bytes>| memory.map_or("-".to_string(), |memory| format!("{}Mi", memory.0 >> 20));
        let mark = |above: bool| if above { "*" } else { "" };
        let (now, target, (cpu_above, memory_above)) = (one.request, one.target, one.above_limit());
        let advised_cpu = cpu(target.cpu) + mark(cpu_above);
        let advised_memory = memory(target.memory) + mark(memory_above);
        let (cpu, memory) = (cpu(now.cpu), memory(now.memory));
        let _ = writeln!(out, "  {name:<34}{cpu:>10}{advised_cpu:>10}{memory:>12}{advised_memory:>12}");
        (no_memory, above) = (no_memory || target.memory.is_none(), above || cpu_above || memory_above);
    }
    if advice.len() > LINES_MAX {
        line(out, "  ", &format!("and {} more in summary.json", advice.len() - LINES_MAX));
    }
    if above {
        line(out, "  * ", "above the limit, which caps what could be seen: raise the limit with the request");
    }
    let scaled = |one: &Advice| {
        let own = finished.plan.hpas.iter().filter(|hpa| hpa.target_name == one.deployment);
        own.flat_map(|hpa| &hpa.metrics).any(MetricSpec::is_utilization)
    };
    if advice.iter().take(LINES_MAX).any(scaled) {
        let words = "An autoscaler that aims at a utilization counts by requests: others change each of its decisions. Try them \
                     with --set, and its target with them.";
        line(out, "  ", words);
    }
    if no_memory {
        line(out, "  - ", "no advice: `memory:` under `services:` does not say how much is used");
    }
}

/// How a claim is marked: what is open is not yet wrong.
pub(super) fn sign(as_expected: bool, verdict: Verdict) -> &'static str {
    match (as_expected, verdict) {
        (true, _) => "ok ",
        (false, Verdict::Undecided) => "open ",
        (false, Verdict::Holds | Verdict::Fails) => "NOT AS EXPECTED ",
    }
}

fn verdicts(out: &mut String, finished: &Finished) {
    let (plan, world, analysis) = (finished.plan, finished.world, finished.analysis);
    let claims = claims(plan, world, analysis);
    if !claims.is_empty() {
        out.push_str("\nClaims\n");
    }
    for claim in &claims {
        let judgement = &claim.judgement;
        let sign = sign(claim.as_expected(), judgement.verdict);
        let verdict = judgement.verdict.name();
        line(
            out,
            "  ",
            &format!("{sign} \"{}\": {verdict} ({}: {})", claim.claim, judgement.text, judgement.explanation),
        );
        if let Some(because) = because(&claim.because, claim.expected, claim.as_expected()) {
            line(out, "      ", &because);
        }
    }
    let expectations = expectations(plan, world, analysis);
    if !expectations.is_empty() {
        out.push_str("\nExpectations\n");
    }
    for judgement in &expectations {
        let text = format!("{}: {}", judgement.text, judgement.explanation);
        line(out, &format!("  {:<9} ", judgement.verdict.name()), &text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::played;

    #[test]
    fn fits_eighty_columns_and_says_what_happened() {
        let run = played::run();
        let analysis = run.analysis();
        let finished = Finished {
            plan: &run.plan,
            world: &run.world,
            recorder: &run.recorder,
            analysis: &analysis,
            events: 0,
            event_hash: 0,
            limit: None,
        };
        let text = summary(&finished);
        for line in text.lines() {
            assert!(line.chars().count() <= WIDTH, "{line}");
        }
        let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(
            words.starts_with(
                "scale-up: without chance, 816 of 16200 requests lost (5.0%, all with 503 queue full); replacements served \
                 32.5s after the notice; 2 new pods served 1m58.4s after the trigger (2m50.9s after the load changed). "
            ),
            "{text}"
        );
        assert!(text.contains("image pull"), "{text}");
        assert!(text.contains("holds"), "{text}");
    }

    #[test]
    fn bars_lie_end_to_end() {
        assert_eq!(bar(0, 50, 100), "█".repeat(BAR / 2));
        assert_eq!(bar(50, 50, 100).chars().filter(|&c| c == ' ').count(), BAR / 2);
        assert_eq!(bar(0, 0, 100), "▏");
    }
}
