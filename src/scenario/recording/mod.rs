//! A recording of a real control plane as a plan: manifests, constants and actions as given, nothing of what came of them.
//!
//! ```text
//!  manifests/*.yaml ──objects.rs──► objects and their later versions ─┐
//!  constants.json ──constants.rs──► flags, stages, latencies ─────────┼─script.rs─► Plan with timed actions
//!  timeline.csv ──given.rs──► actions, scrape instants, node delays ──┘
//!              └────────────► all rows: what a prediction is held against
//! ```
//!
//! Given are the actions with their times, how long each machine took to launch and to become Ready, when metrics were
//! scraped, and the recording's end. Everything else of the timeline only reaches the comparison.

mod audit;
mod constants;
mod given;
mod objects;
mod pairing;
mod script;

pub(crate) use objects::Key;

use super::diagnostic::{Diagnostic, Place, Problems};
use super::files::{self, Files};
use super::{Draft, Source, cluster, units};
use crate::catalog::kwok;
use crate::engine::{Span, Time};
use crate::plan::{InstanceTypeId, Plan};
use crate::record::{RecordedRow, Recording};
use std::path::Path;
use std::sync::Arc;

/// Rows of a timeline, at most.
const ROWS_MAX: usize = 200_000;
/// Recorded times reach so far from the trigger, seconds.
const TIME_MAX: f64 = 86_400.0;
/// The action with which a recording ends.
const END: &str = "end of recording";
/// Requests so long after the last row, microseconds, are not those of a cluster that is being stopped.
const CUT_OFF_MICROS: i64 = 5_000_000;
/// The run begins so long before the first action.
const LEAD: Span = Span::from_secs(2);

/// A recording, and the plan that predicts it.
pub struct Loaded {
    /// What is given.
    pub plan: Plan,
    /// What came of it.
    pub recording: Recording,
    /// What the user should know.
    pub warnings: Vec<Diagnostic>,
    /// All files read.
    pub sources: Vec<Source>,
}

impl Loaded {
    /// The warnings as text, with the lines they are about.
    pub fn render_warnings(&self, look: impl Into<super::diagnostic::Look>) -> String {
        super::render_all(&self.warnings, &self.sources, look)
    }
}

/// Reads a recording.
///
/// # Errors
/// All problems, if any forbids a run.
pub fn load(folder: &Path) -> Result<Loaded, Problems> {
    let mut problems = Problems::new();
    let (files, path) = match Files::new(&folder.join("constants.json"), Some(folder), Default::default()) {
        Ok(found) => found,
        Err(error) => {
            files::report(error, None, &mut problems);
            return Err(problems);
        }
    };
    let shown = std::fs::canonicalize(folder).ok().and_then(|path| path.file_name().map(|name| name.to_owned()));
    let name = shown.map_or_else(|| "recording".to_string(), |name| name.to_string_lossy().into_owned());
    let plan = Plan { name: name.clone(), ..Plan::empty(Time::ZERO, Span::from_secs(1)) };
    let mut draft = Draft {
        plan,
        objects: Default::default(),
        files,
        problems,
        settings: Vec::new(),
        settings_used: Vec::new(),
        first_versions: Vec::new(),
        later: Default::default(),
        check_places: Vec::new(),
        label_values: Default::default(),
    };
    let constants = constants::read(&path, &mut draft);
    let mut rows = read_rows(&mut draft);
    let trigger = read_trigger(&mut draft);
    let audit = audit::read(&mut draft);
    check_end(&rows, audit.last, &mut draft.problems);
    audit.correct(&mut rows);
    if draft.problems.has_errors() {
        return Err(draft.problems);
    }
    let given = given::read(&rows, trigger, &mut draft.problems);
    draft.plan.start = (trigger_at(trigger, given.first)).back(LEAD).whole_second();
    draft.plan.until = trigger_at(trigger, given.last);
    constants::apply(&constants, &given, &mut draft);
    let set = objects::read(&mut draft);
    super::build::place_objects(&mut draft);
    place_instance_types(&mut draft);
    let audit::Audit { slow, refused, rested, sync_ends, sent, .. } = audit;
    let answered = script::write(&given, &set, &constants, sent, &mut draft);
    // An action causes what follows when its request is answered.
    rows.extend(answered.into_iter().map(RecordedRow::request));
    rows.sort_by_key(|row| row.at);
    let Draft { mut plan, files, mut problems, .. } = draft;
    if problems.has_errors() {
        return Err(problems);
    }
    plan.hash = files.hash();
    let warnings = problems.take_warnings();
    plan.remarks = warnings.iter().map(|warning| warning.message.clone()).collect();
    let (timer_lag_ms, end) = (constants.timer_lag_ms, given.last);
    let recording = Recording { name, trigger, rows, timer_lag_ms, slow, refused, rested, sync_ends, end };
    Ok(Loaded { plan, recording, warnings, sources: problems.sources })
}

/// An instant that is so many microseconds from the trigger.
fn trigger_at(trigger: Time, micros: i64) -> Time {
    let span = Span::from_micros(micros.unsigned_abs());
    if micros < 0 { trigger.back(span) } else { trigger + span }
}

fn read_rows(draft: &mut Draft) -> Vec<RecordedRow> {
    let table = draft.files.resolve("timeline.csv").and_then(|path| {
        let bytes = draft.files.bytes(&path, "timeline.csv")?;
        Ok((draft.files.table(&path)?, bytes.ends_with(b"\n")))
    });
    let (header, records) = match table {
        Ok((table, true)) => table,
        Ok((table, false)) => {
            let text = "timeline.csv has been cut off: its last row has no end";
            draft.problems.push(Diagnostic::nowhere("E012", text));
            table
        }
        Err(error) => {
            files::report(error, None, &mut draft.problems);
            return Vec::new();
        }
    };
    let wanted = ["t", "kind", "name", "event", "detail"];
    let columns: Vec<Option<usize>> =
        wanted.iter().map(|name| header.iter().position(|column| column == name)).collect();
    for (name, _) in wanted.iter().zip(&columns).filter(|(_, column)| column.is_none()) {
        draft.problems.push(Diagnostic::nowhere("E011", format!("timeline.csv has no column `{name}`")));
    }
    let field = |record: &[String], index: usize| {
        columns[index].and_then(|column| record.get(column)).cloned().unwrap_or_default()
    };
    let (mut rows, mut wrong) = (Vec::new(), Vec::new());
    for (index, record) in records.iter().take(ROWS_MAX).enumerate() {
        match field(record, 0).parse::<f64>() {
            Ok(at) if at.abs() < TIME_MAX && record.len() == header.len() => rows.push(RecordedRow {
                at: (at * 1e6).round() as i64,
                kind: field(record, 1),
                name: field(record, 2),
                event: field(record, 3),
                detail: field(record, 4),
            }),
            _ => wrong.push(index + 1),
        }
    }
    if let Some(first) = wrong.first() {
        let text = format!(
            "timeline.csv: {} of {} rows are damaged, the first is row {first}: expected {} fields, and in `t` seconds within \
             a day of the trigger",
            wrong.len(),
            records.len(),
            header.len()
        );
        draft.problems.push(Diagnostic::nowhere("E012", text));
    }
    if records.len() > ROWS_MAX {
        draft.problems.push(Diagnostic::nowhere("E004", format!("timeline.csv has more than {ROWS_MAX} rows")));
    }
    if !rows.iter().any(|row| row.kind == "Action") {
        draft.problems.push(Diagnostic::nowhere("E011", "timeline.csv has no row of kind Action: nothing is given"));
    }
    rows.sort_by_key(|row| row.at);
    rows
}

/// A timeline that stops before the requests do, without saying that it ends, has been cut off.
fn check_end(rows: &[RecordedRow], last_request: i64, problems: &mut Problems) {
    let ends = rows.iter().any(|row| row.kind == "Action" && row.detail == END);
    let Some(last) = rows.last().filter(|_| !ends) else { return };
    if last_request - last.at > CUT_OFF_MICROS {
        let seconds = |micros: i64| micros as f64 / 1e6;
        let text = format!(
            "timeline.csv has been cut off: its last row is at {:.1} s, without an action `{END}`, and audit.csv.gz goes on \
             until {:.1} s",
            seconds(last.at),
            seconds(last_request)
        );
        problems.push(Diagnostic::nowhere("E012", text));
    }
}

/// The trigger's date, from `summary.json`: whole seconds are cut where they were cut in the recording.
fn read_trigger(draft: &mut Draft) -> Time {
    let undated = |draft: &mut Draft, why: &str| {
        let text = format!("{why}: whole seconds may be cut elsewhere than recorded");
        draft.problems.push(Diagnostic::warning("W121", Place::top(super::diagnostic::FileId(0)), text));
        Time::from_unix_seconds(super::START)
    };
    let Ok(path) = draft.files.resolve("summary.json") else { return undated(draft, "there is no summary.json") };
    let bytes = match draft.files.bytes(&path, "summary.json") {
        Ok(bytes) => bytes,
        Err(error) => {
            files::report(error, None, &mut draft.problems);
            return Time::from_unix_seconds(super::START);
        }
    };
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let file = draft.problems.add_source("summary.json", text.as_str().into());
    let value: serde_json::Value = match serde_json::from_slice(&bytes) {
        Ok(value) => value,
        Err(error) => {
            constants::report_json(&error, &text, file, &mut draft.problems);
            return Time::from_unix_seconds(super::START);
        }
    };
    match &value["trigger"]["utc"] {
        serde_json::Value::Null => undated(draft, "summary.json does not date the trigger (trigger.utc)"),
        other => other.as_str().and_then(utc_time).unwrap_or_else(|| {
            let text = format!("trigger.utc: expected a time such as 2026-11-23T03:00:00.5+00:00, found {other}");
            draft.problems.error("E012", Place::top(file), text);
            Time::from_unix_seconds(super::START)
        }),
    }
}

/// A time with at most six digits of a second, in UTC.
fn utc_time(text: &str) -> Option<Time> {
    let (whole, rest) = text.split_once('.').unwrap_or((text.trim_end_matches("+00:00").trim_end_matches('Z'), "0"));
    let digits: String = rest.chars().take_while(char::is_ascii_digit).take(6).collect();
    let seconds = units::timestamp(&format!("{whole}Z")).ok()?;
    let micros: u64 = format!("{digits:0<6}").parse().ok()?;
    Some(Time::from_unix_seconds(seconds) + Span::from_micros(micros))
}

/// The provider's types that each pool may use.
fn place_instance_types(draft: &mut Draft) {
    let plan = &mut draft.plan;
    for kind in kwok::instance_types() {
        if plan.node_pools.iter().any(|pool| cluster::may_use(pool, &kind)) {
            plan.instance_types.push(Arc::new(kind));
        }
    }
    for pool in &plan.node_pools {
        let usable = |index: &usize| cluster::may_use(pool, &plan.instance_types[*index]);
        let usable = (0..plan.instance_types.len()).filter(usable).map(InstanceTypeId::at).collect();
        plan.pool_types.push(usable);
    }
}
