//! Loads over time: steps, ramps, spikes, waves, daily schedules and recorded traces, compiled to one piecewise-linear
//! curve.

use super::diagnostic::{Diagnostic, Problems};
use super::files::{Files, report};
use super::reader::{self, Fields};
use super::units;
use super::yaml::{Node, Value};
use crate::engine::{Span, Time};
use crate::plan::Curve;

/// Most points of a curve.
const POINTS_MAX: usize = 200_000;

/// What the levels of a curve are called and how they are read.
pub struct Measure {
    /// Field name of a step.
    pub key: &'static str,
    /// For messages.
    pub expected: &'static str,
    /// The reader of one level.
    pub parse: fn(&str) -> Result<f64, units::UnitError>,
}

/// Requests a second.
pub const RATE: Measure = Measure { key: "rate", expected: "a rate such as 8/s or 480/min", parse: units::rate };
/// Cores.
pub const CORES: Measure = Measure { key: "cores", expected: "a number of cores such as 1.5 or 500m", parse: cores };

fn cores(text: &str) -> Result<f64, units::UnitError> {
    use crate::rules::quantity::Quantity;
    match Quantity::parse(text) {
        Ok(quantity) if quantity.nanos() >= 0 && quantity.as_f64() <= 1e7 => Ok(quantity.as_f64()),
        _ => Err(units::UnitError::new(0, "write it like 1.5 or 500m")),
    }
}

/// Start and end of the run: pieces of a curve are written relative to the start.
#[derive(Clone, Copy)]
pub struct Window {
    /// The scenario's zero.
    pub start: Time,
    /// The end.
    pub until: Time,
}

struct Builder<'b> {
    window: Window,
    measure: &'b Measure,
    points: Vec<(Time, f64)>,
    level: f64,
    /// Where the last piece ends.
    busy: Time,
}

/// A curve: one level for ever, or a list of pieces.
pub fn read(
    node: &Node,
    path: &str,
    measure: &Measure,
    window: Window,
    files: &mut Files,
    problems: &mut Problems,
) -> Option<Curve> {
    if let Value::Scalar(_) = node.value {
        let level = reader::unit(node, path, measure.expected, measure.parse, problems)?;
        return Some(Curve { points: vec![(window.start, level)] });
    }
    let items = reader::list(node, path, problems);
    if items.is_empty() {
        return None;
    }
    let mut builder = Builder { window, measure, points: Vec::new(), level: 0.0, busy: window.start };
    for (index, item) in items.iter().enumerate() {
        let next = items.get(index + 1).and_then(|next| next.get("at")).and_then(Node::text);
        let next = next.and_then(|text| units::duration(text).ok()).map_or(window.until, |at| window.start + at);
        builder.piece(item, format!("{path}[{index}]"), next.min(window.until), files, problems);
    }
    if builder.points.len() > POINTS_MAX {
        problems.error("E004", node.place, format!("{path}: the curve has more than {POINTS_MAX} points"));
        return None;
    }
    Some(Curve { points: builder.points })
}

impl Builder<'_> {
    fn piece(&mut self, node: &Node, path: String, end: Time, files: &mut Files, problems: &mut Problems) {
        let Some(mut fields) = Fields::of(node, path, problems) else { return };
        let at = self.window.start + fields.duration("at", problems).unwrap_or(Span::ZERO);
        if at < self.busy {
            let message = format!("{}: begins before the piece above has ended", fields.path);
            problems.push(Diagnostic::error("E018", node.place, message).help("write the pieces in order of `at`"));
            return;
        }
        if at > self.window.until {
            let message = format!("{}: begins after the end of the run", fields.path);
            problems.push(Diagnostic::warning("W140", node.place, message));
        }
        let lasting = fields.duration("for", problems).map(|span| at + span);
        let over = fields.duration("over", problems);
        let step = fields.get(self.measure.key);
        let shapes = ["ramp_to", "spike", "sine", "schedule", "trace", "data"];
        let shape = shapes.into_iter().find_map(|key| fields.get(key).map(|node| (key, node)));
        let scale = fields.number("scale", problems).unwrap_or(1.0).clamp(0.0, 1e9);
        let every = fields.duration("every", problems).unwrap_or(Span::from_secs(60)).max(Span::from_millis(1));
        let column = fields.text("column", problems);
        match (step, shape) {
            (Some(level), None) => {
                if let Some(level) = self.read_level(level, &fields.at(self.measure.key), problems) {
                    self.step(at, level);
                }
            }
            (None, Some((key, node))) => {
                let path = fields.at(key);
                match key {
                    "ramp_to" => self.ramp(node, &path, at, over, problems),
                    "spike" => self.spike(node, &path, at, lasting, problems),
                    "sine" => self.sine(node, &path, at, lasting.unwrap_or(end), problems),
                    "schedule" => self.schedule(node, &path, at, lasting.unwrap_or(end), problems),
                    _ => {
                        let trace = Trace { is_data: key == "data", scale, every, column };
                        self.trace(node, &path, (at, lasting.unwrap_or(end)), &trace, files, problems);
                    }
                }
            }
            (None, None) | (Some(_), Some(_)) => {
                let choices = format!("{}, {}", self.measure.key, shapes.join(", "));
                problems.error("E018", node.place, format!("{}: needs exactly one of {choices}", fields.path));
            }
        }
        fields.finish(problems);
    }

    fn read_level(&self, node: &Node, path: &str, problems: &mut Problems) -> Option<f64> {
        reader::unit(node, path, self.measure.expected, self.measure.parse, problems)
    }

    fn put(&mut self, at: Time, level: f64) {
        // One more than allowed is enough to be refused.
        if self.points.len() <= POINTS_MAX {
            self.points.push((at, level));
        }
        self.level = level;
        self.busy = at;
    }

    fn step(&mut self, at: Time, level: f64) {
        if at > self.window.start {
            let before = self.level;
            self.put(at, before);
        }
        self.put(at, level);
    }

    fn ramp(&mut self, node: &Node, path: &str, at: Time, over: Option<Span>, problems: &mut Problems) {
        let Some(over) = over.filter(|over| !over.is_zero()) else {
            problems.error("E011", node.place, format!("{path}: needs `over`, the length of the ramp"));
            return;
        };
        if let Some(level) = self.read_level(node, path, problems) {
            let before = self.level;
            self.put(at, before);
            self.put(at + over, level);
        }
    }

    fn spike(&mut self, node: &Node, path: &str, at: Time, end: Option<Time>, problems: &mut Problems) {
        let Some(end) = end else {
            problems.error("E011", node.place, format!("{path}: needs `for`, the length of the spike"));
            return;
        };
        if let Some(level) = self.read_level(node, path, problems) {
            let before = self.level;
            self.step(at, level);
            self.put(end, level);
            self.put(end, before);
        }
    }

    /// A wave around a mean, beginning at its mean; cut at zero.
    fn sine(&mut self, node: &Node, path: &str, at: Time, end: Time, problems: &mut Problems) {
        let Some(mut fields) = Fields::of(node, path, problems) else { return };
        let mut level = |key| {
            let node = fields.required(key, problems)?;
            reader::unit(node, &fields.at(key), self.measure.expected, self.measure.parse, problems)
        };
        let (mean, amplitude) = (level("mean"), level("amplitude"));
        fields.required("period", problems);
        let period = fields.duration("period", problems).filter(|period| !period.is_zero());
        fields.finish(problems);
        let (Some(mean), Some(amplitude), Some(period)) = (mean, amplitude, period) else { return };
        let value = |time: Time| {
            let turn = time.since(at).seconds() / period.seconds();
            (mean + amplitude * (turn * std::f64::consts::TAU).sin()).max(0.0)
        };
        let pitch = Span::from_micros((period.micros() / 64).max(1));
        let count = end.since(at).micros() / pitch.micros();
        if count as usize > POINTS_MAX / 2 {
            reader::out_of_range(node, path, "slow enough: the curve would have too many points", problems);
            return;
        }
        self.step(at, value(at));
        for index in 1..=count {
            let time = at + pitch * index;
            self.put(time, value(time));
        }
    }

    /// Levels by time of day (UTC), each until the next.
    fn schedule(&mut self, node: &Node, path: &str, at: Time, end: Time, problems: &mut Problems) {
        const DAY: u64 = 86_400;
        let mut levels = Vec::new();
        for entry in node.entries() {
            let clock = entry.key.split_once(':').and_then(|(hour, minute)| {
                let (hour, minute) = (hour.parse::<u64>().ok()?, minute.parse::<u64>().ok()?);
                (hour < 24 && minute < 60).then_some(hour * 3600 + minute * 60)
            });
            let Some(second) = clock else {
                problems.error("E013", entry.key_place, format!("{path}: write times of day like \"08:00\""));
                continue;
            };
            levels.extend(self.read_level(&entry.value, path, problems).map(|level| (second, level)));
        }
        levels.sort_by_key(|&(second, _)| second);
        if levels.is_empty() {
            reader::wrong_type(node, path, "a mapping such as { \"08:00\": 30/s, \"20:00\": 8/s }", problems);
            return;
        }
        let begin = at.micros() / 1_000_000;
        let now = levels.iter().rev().find(|&&(second, _)| second <= begin % DAY).or(levels.last());
        self.step(at, now.map_or(0.0, |&(_, level)| level));
        for day in begin / DAY..=end.micros() / 1_000_000 / DAY {
            for &(second, level) in &levels {
                let time = Time::from_unix_seconds(day * DAY + second);
                if time > at && time <= end {
                    self.step(time, level);
                }
            }
        }
    }

    /// A recorded series: each row holds for `every`.
    fn trace(
        &mut self,
        node: &Node,
        path: &str,
        (at, end): (Time, Time),
        trace: &Trace,
        files: &mut Files,
        problems: &mut Problems,
    ) {
        let Some(name) = reader::text(node, path, problems) else { return };
        let found = if trace.is_data { files.data(&name) } else { files.resolve(&name) };
        let table = found.and_then(|file| files.table(&file));
        let (header, rows) = match table {
            Ok(table) => table,
            Err(error) => return report(error, Some(node.place), problems),
        };
        let column = match &trace.column {
            None => header.len().saturating_sub(1),
            Some(name) => match header.iter().position(|column| column == name) {
                Some(column) => column,
                None => {
                    let help = super::diagnostic::suggestion(name, header.iter().map(String::as_str));
                    let message = format!("{path}: the file has no column `{name}`");
                    problems.push(Diagnostic::error("E016", node.place, message).maybe_help(help));
                    return;
                }
            },
        };
        let mut time = at;
        for (index, row) in rows.iter().enumerate() {
            let value = row.get(column).and_then(|field| field.trim().parse::<f64>().ok());
            let Some(count) = value.filter(|value| value.is_finite() && *value >= 0.0) else {
                problems.error("E012", node.place, format!("{path}: row {} of the file holds no count", index + 1));
                return;
            };
            if time > end || self.points.len() > POINTS_MAX {
                break;
            }
            self.step(time, (count * trace.scale / trace.every.seconds()).min(1e7));
            time += trace.every;
        }
    }
}

/// How a recorded series is read.
struct Trace {
    is_data: bool,
    scale: f64,
    every: Span,
    column: Option<String>,
}
