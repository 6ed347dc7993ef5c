//! The safe-drain calculator's answer: a table that is a chart, and what it comes to; 80 columns of plain text.

use super::text::{line, tenths};
use crate::engine::Span;
use crate::plan::Plan;
use crate::world::REQUEST;
use std::fmt::Write;

/// Columns of the bars.
const BAR: usize = 32;

/// A row of the chart.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Row {
    /// preStop.
    pub pre_stop: Span,
    /// Mean of the micro-requests lost in a run.
    pub mean: f64,
    /// What 95 % of the runs do not exceed, micro-requests.
    pub p95: u64,
    /// Runs that lost nothing.
    pub clean: u64,
    /// Of so many.
    pub runs: u64,
    /// It holds.
    pub holds: bool,
}

/// The table: one row a preStop; the bar is the mean, its shadow reaches to the 95th percentile.
pub fn chart(rows: &[Row]) -> String {
    let most = rows.iter().map(|row| row.mean.max(row.p95 as f64)).fold(1.0, f64::max);
    let mut out = format!("{:>8} {:>9} {:>8}  {:<BAR$} {:>12}\n", "preStop", "lost", "p95", "", "runs without");
    let smallest = rows.iter().position(|row| row.holds);
    for (index, row) in rows.iter().enumerate() {
        let columns = |amount: f64| (amount / most * BAR as f64).round() as usize;
        let (solid, whole) = (columns(row.mean), columns(row.p95 as f64));
        let bar = "█".repeat(solid) + &"░".repeat(whole.saturating_sub(solid));
        let mark = if smallest == Some(index) { " <" } else { "" };
        let (mean, p95) = (requests(row.mean), requests(row.p95 as f64));
        let clean = format!("{}/{}", row.clean, row.runs);
        let text = format!("{:>8} {mean:>9} {p95:>8}  {bar:<BAR$} {clean:>12}{mark}", row.pre_stop.to_string());
        let _ = writeln!(out, "{}", text.trim_end());
    }
    out
}

/// Micro-requests as requests, to a tenth where that says something.
pub fn requests(amount: f64) -> String {
    let whole = amount / REQUEST as f64;
    match whole {
        0.0 => "0".to_string(),
        ..0.05 => "<0.1".to_string(),
        ..100.0 => format!("{whole:.1}"),
        _ => format!("{whole:.0}"),
    }
}

/// Paragraphs of at most 80 columns.
pub fn paragraphs(texts: &[String]) -> String {
    let mut out = String::new();
    for text in texts {
        out.push('\n');
        line(&mut out, "", text);
    }
    out
}

/// How to write it into the pod template, whose first container is named so; a longer grace period that is there stays.
pub fn manifest(container: &str, pre_stop: Span, grace: Span, present: Span) -> String {
    let sleep = if pre_stop.is_zero() {
        String::new()
    } else {
        let seconds = pre_stop.whole_seconds();
        let hook = format!("lifecycle: {{ preStop: {{ sleep: {{ seconds: {seconds} }} }} }}");
        format!("    containers:\n      - name: {container}\n        {hook}\n")
    };
    let enough =
        if present > grace { format!(" # as it is; {} is enough", grace.whole_seconds()) } else { String::new() };
    let seconds = grace.max(present).whole_seconds();
    format!("  spec:\n    terminationGracePeriodSeconds: {seconds}{enough}\n{sleep}")
}

/// A time of the run.
pub fn clock(plan: &Plan, at: crate::engine::Time) -> String {
    tenths(at.since(plan.start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_longer_grace_period_that_is_there_stays_and_a_shorter_one_grows() {
        let lines = |present: u64| manifest("web", Span::from_secs(15), Span::from_secs(18), Span::from_secs(present));
        assert!(lines(60).contains("terminationGracePeriodSeconds: 60 # as it is; 18 is enough\n"), "{}", lines(60));
        assert!(lines(10).contains("terminationGracePeriodSeconds: 18\n"), "{}", lines(10));
        let hook = "      - name: web\n        lifecycle: { preStop: { sleep: { seconds: 15 } } }\n";
        assert!(lines(18).ends_with(hook), "{}", lines(18));
    }
}
