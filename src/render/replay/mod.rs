//! A prediction beside its recording: one screen of text, and a picture.

pub mod picture;

use crate::analysis::replay::{Comparison, KindResult, ListResult, Row, Side};
use crate::analysis::summary::VERSION;
use crate::plan::Plan;
use crate::record::Recording;
use std::fmt::Write;

/// Lines of a list that are shown where it differs.
const SHOWN: usize = 6;

/// The screen.
///
/// `runs`: until a node held as many pods as an action says; `draw`: of what is chance in a real cluster.
pub fn screen(recording: &Recording, comparison: &Comparison, runs: Option<usize>, draw: Option<u64>) -> String {
    let mut out = String::new();
    let verdict = if comparison.holds() { "inside tolerance" } else { "OUTSIDE tolerance" };
    let (matched, missing, extra) = comparison.totals();
    let _ = writeln!(out, "{}: {verdict}", recording.name);
    let _ = writeln!(out, "{matched} events matched, {missing} missing, {extra} extra");
    match runs {
        Some(1) => {}
        Some(runs) => {
            let _ = writeln!(out, "run {runs}: the first in which a node held as many pods as an action says");
        }
        None => {
            let _ = writeln!(out, "in no run did a node hold as many pods as an action says");
        }
    }
    if let Some(draw) = draw {
        let _ = writeln!(out, "draw {draw} of what Kubernetes leaves to chance: the first of equals led farther off");
    }
    out.push('\n');
    for list in &comparison.lists {
        list_lines(&mut out, list);
    }
    for chain in &comparison.chains {
        let time = |value: Option<f64>| value.map_or("never".to_string(), |value| format!("{value:.1} s"));
        if chain.observed.is_some() || chain.predicted.is_some() {
            let _ = writeln!(
                out,
                "{} {:<26} recorded {:>8}  predicted {:>8}  +-{:.1} s",
                mark(chain.holds()),
                chain.name,
                time(chain.observed),
                time(chain.predicted),
                chain.tolerance
            );
            if let Some(near) = &chain.boundary {
                let (more, at, words) = (near.period.seconds(), near.at as f64 / 1e6, &near.words);
                let _ = writeln!(out, "    {more:.0} s more, for at {at:.1} s {words}");
            }
        }
    }
    let _ = writeln!(out, "\n  event              counted from      pairs   -/+ median    p95    max allow");
    for kind in &comparison.kinds {
        kind_line(&mut out, kind);
    }
    let legend = "pairs: recorded events with the predicted one of each; -/+: recorded and not predicted / predicted and not \
                  recorded; median, p95, max: how far off the delays of pairs are, and what they are allowed, in seconds";
    super::text::line(&mut out, "  ", legend);
    out
}

/// The line with which the table begins, as other tables do.
pub fn provenance(plan: &Plan) -> String {
    format!("# kubelapse {VERSION}, recording {}, hash {}\n", plan.name, plan.hash)
}

/// All happenings in order of time, recorded beside predicted.
pub fn table(comparison: &Comparison) -> String {
    let mut rows: Vec<(f64, &KindResult, &Row)> = Vec::new();
    for kind in &comparison.kinds {
        let at = |row: &Row| row.recorded.as_ref().or(row.predicted.as_ref()).map_or(0.0, |side| side.at);
        rows.extend(kind.rows.iter().map(|row| (at(row), kind, row)));
    }
    rows.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut writer = csv::Writer::from_writer(Vec::new());
    let mut write = |record: [String; 10]| writer.write_record(record).expect("memory takes a record");
    write(COLUMNS.map(str::to_string));
    for (_, kind, row) in rows {
        let number = |side: &Option<Side>, of: fn(&Side) -> f64| {
            side.as_ref().map_or_else(String::new, |side| format!("{:.3}", of(side)))
        };
        let text = |side: &Option<Side>, of: fn(&Side) -> &String| {
            side.as_ref().map_or_else(String::new, |side| of(side).clone())
        };
        let (recorded, predicted) = (&row.recorded, &row.predicted);
        let error = recorded.as_ref().zip(predicted.as_ref()).map(|(real, ours)| ours.delay - real.delay);
        write([
            kind.kind.name().0.to_string(),
            number(recorded, |side| side.at),
            number(predicted, |side| side.at),
            number(recorded, |side| side.delay),
            number(predicted, |side| side.delay),
            error.map_or_else(String::new, |error| format!("{error:.3}")),
            text(recorded, |side| &side.subject),
            text(predicted, |side| &side.subject),
            text(recorded, |side| &side.detail),
            text(predicted, |side| &side.detail),
        ]);
    }
    String::from_utf8(writer.into_inner().expect("memory takes the end")).unwrap_or_default()
}

/// Columns of the table.
pub const COLUMNS: [&str; 10] = [
    "event",
    "recorded_at",
    "predicted_at",
    "recorded_delay",
    "predicted_delay",
    "error",
    "recorded_subject",
    "predicted_subject",
    "recorded_detail",
    "predicted_detail",
];

fn mark(holds: bool) -> &'static str {
    if holds { " " } else { "!" }
}

fn list_lines(out: &mut String, list: &ListResult) {
    let count = list.observed.len();
    if list.holds() {
        let words = if count == 0 { "none, as recorded".to_string() } else { format!("{count}, all equal") };
        let _ = writeln!(out, "  {:<26} {words}", list.name);
        return;
    }
    let _ = writeln!(out, "! {:<26} {count} recorded, {} predicted", list.name, list.predicted.len());
    let longest = count.max(list.predicted.len());
    let differing = (0..longest).filter(|&index| list.observed.get(index) != list.predicted.get(index));
    for index in differing.take(SHOWN) {
        let cut = |text: Option<&String>| text.map_or("nothing".to_string(), |text| text.chars().take(66).collect());
        let _ = writeln!(out, "    recorded  {}", cut(list.observed.get(index)));
        let _ = writeln!(out, "    predicted {}", cut(list.predicted.get(index)));
    }
}

fn kind_line(out: &mut String, kind: &KindResult) {
    let (name, from) = kind.kind.name();
    let off = if kind.missing + kind.extra == 0 { String::new() } else { format!("-{}+{}", kind.missing, kind.extra) };
    let _ = writeln!(
        out,
        "{} {name:<19}{from:<19}{:>5} {off:>5} {:>6.2} {:>6.2} {:>6.2} {:>6.2}",
        mark(kind.holds()),
        kind.matched,
        kind.percentile(50),
        kind.percentile(95),
        kind.largest(),
        kind.tolerance
    );
    if kind.excused > 0 {
        let _ = writeln!(out, "    {} longer than that by no more than requests were slow meanwhile", kind.excused);
    }
    if !kind.holds()
        && let Some((at, real, ours)) = kind.worst
    {
        let _ = writeln!(out, "    worst at {at:.2} s: {real:.2} s recorded, {ours:.2} s predicted");
    }
}
