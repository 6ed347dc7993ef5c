//! The picture of a run: stacked panels on one time axis.
//!
//! ```text
//!  title, one sentence                               mod.rs     axis, markers
//!  load, capacity, lost requests                     panels.rs
//!  faults; targets by state, if any was unhealthy    health.rs
//!  replicas: desired, ready, in service
//!  nodes by state
//!  a lane per node and pod, critical path marked     lanes.rs
//!  where the time of each step went                  breakdown.rs
//! ```
//! One drawing of simple shapes (`canvas.rs`); `svg.rs` and `png.rs` write it.

pub(in crate::render) mod breakdown;
pub mod canvas;
mod health;
mod lanes;
mod panels;
pub mod png;
pub mod svg;

use super::Finished;
use super::headline::headline;
use super::text::{plural, tenths};
use crate::analysis::{Step, Why};
use crate::engine::{Span, Time};
use crate::plan::{ActionId, DeploymentId};
use canvas::{Anchor, Colour, Drawing, fitted, text_width};

/// Width of the picture.
const WIDTH: f64 = 1_600.0;
/// Left end of the time axis.
const LEFT: f64 = 290.0;
/// Right end of the time axis.
const RIGHT: f64 = 1_400.0;
/// Left and right edge of texts.
const EDGE: f64 = 24.0;

/// Colours: those of Okabe and Ito, which people with any colour vision tell apart, with tints of them.
mod palette {
    use super::Colour;
    pub const INK: Colour = Colour::hex(0x1f2933);
    pub const FAINT_INK: Colour = Colour::hex(0x616e7c);
    pub const GRID: Colour = Colour::hex(0xe4e7eb);
    pub const FRAME: Colour = Colour::hex(0xcbd2d9);
    pub const BLACK: Colour = Colour::hex(0x000000);
    pub const WHITE: Colour = Colour::hex(0xffffff);
    pub const PENDING: Colour = Colour::hex(0xbcc4cc);
    pub const LAUNCHING: Colour = Colour::hex(0xcfc1e6);
    pub const BOOTING: Colour = Colour::hex(0xa48fcf);
    pub const JOINING: Colour = Colour::hex(0x7a62b3);
    pub const NODE_READY: Colour = Colour::hex(0xd5dde5);
    pub const PULLING: Colour = Colour::hex(0x56b4e9);
    pub const STARTING: Colour = Colour::hex(0x0072b2);
    pub const NOT_READY: Colour = Colour::hex(0xe69f00);
    pub const REGISTERING: Colour = Colour::hex(0xf0e442);
    pub const IN_SERVICE: Colour = Colour::hex(0x009e73);
    pub const TERMINATING: Colour = Colour::hex(0xcc79a7);
    pub const ALARM: Colour = Colour::hex(0xd55e00);
}

/// Maps time to pixels.
#[derive(Clone, Copy)]
struct Axis {
    start: Time,
    until: Time,
}

impl Axis {
    fn x(&self, at: Time) -> f64 {
        let length = (self.until - self.start).seconds().max(1e-6);
        LEFT + (RIGHT - LEFT) * at.clamp(self.start, self.until).since(self.start).seconds() / length
    }

    /// Round distances between ticks, about ten of them.
    fn ticks(&self) -> Vec<Time> {
        const STEPS: [u64; 15] = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1_800, 3_600, 7_200, 21_600, 86_400];
        let length = (self.until - self.start).whole_seconds();
        let step = STEPS.into_iter().find(|step| length / step <= 12).unwrap_or((length / 10).max(1));
        (0..=length / step).map(|number| self.start + Span::from_secs(number * step)).collect()
    }
}

/// An upright line with words.
struct Marker {
    at: Time,
    words: String,
    colour: Colour,
    /// The lower the more important.
    rank: u8,
}

/// Draws a run.
pub fn draw(finished: &Finished) -> Drawing {
    let plan = finished.plan;
    let axis = Axis { start: plan.start, until: plan.until };
    let mut drawing = Drawing {
        width: WIDTH,
        height: 0.0,
        title: format!("{}: {}", plan.name, headline(finished)),
        description: finished.provenance(),
        shapes: Vec::new(),
    };
    drawing.rect([0.0, 0.0, WIDTH, 0.0], palette::WHITE, "");
    drawing.text((EDGE, 42.0), (25.0, true), Anchor::Start, palette::INK, plan.name.clone());
    let sentence = fitted(&headline(finished), 17.0, false, WIDTH - 2.0 * EDGE);
    drawing.text((EDGE, 70.0), (17.0, false), Anchor::Start, palette::INK, sentence);

    let markers = markers(finished);
    let placed = place(&markers, &axis);
    let rows = placed.iter().flatten().max().map_or(0, |row| row + 1);
    let mut y = 92.0 + rows as f64 * 18.0;
    // What lies behind everything is put in front of the list when the height is known.
    let behind = drawing.shapes.len();
    let top = y;
    y = panels::load(&mut drawing, finished, &axis, y) + 26.0;
    y = health::faults(&mut drawing, finished, &axis, y).map_or(y, |y| y + 26.0);
    y = health::targets(&mut drawing, finished, &axis, y).map_or(y, |y| y + 26.0);
    y = panels::replicas(&mut drawing, finished, &axis, y) + 26.0;
    y = panels::nodes(&mut drawing, finished, &axis, y);
    tick_labels(&mut drawing, &axis, y + 16.0);
    let gap = (y + 4.0, y + 22.0);
    y = lanes::draw(&mut drawing, finished, &axis, y + 42.0);
    tick_labels(&mut drawing, &axis, y + 16.0);
    let bottom = y;
    mark(&mut drawing, &axis, &markers, &placed, &[(top, gap.0), (gap.1, bottom)]);
    y = breakdown::draw(&mut drawing, finished, y + 50.0);
    let height = (y + 44.0).ceil();
    drawing.text((EDGE, height - 16.0), (12.0, false), Anchor::Start, palette::FAINT_INK, finished.provenance());
    drawing.height = height;
    drawing.shapes[0] =
        canvas::Shape::Rect { area: [0.0, 0.0, WIDTH, height], fill: palette::WHITE, tip: String::new() };
    let (title, description) = (String::new(), String::new());
    let mut grid = Drawing { width: WIDTH, height, title, description, shapes: Vec::new() };
    for tick in axis.ticks() {
        let x = axis.x(tick);
        grid.line(vec![(x, top), (x, gap.0)], palette::GRID, 1.0, false);
        grid.line(vec![(x, gap.1), (x, bottom)], palette::GRID, 1.0, false);
    }
    drawing.shapes.splice(behind..behind, grid.shapes);
    drawing
}

fn tick_labels(drawing: &mut Drawing, axis: &Axis, y: f64) {
    for tick in axis.ticks() {
        let label = tick.since(axis.start).to_string();
        drawing.text((axis.x(tick), y), (12.0, false), Anchor::Middle, palette::FAINT_INK, label);
    }
}

/// A panel's heading on the left, with a line that explains it.
fn heading(drawing: &mut Drawing, y: f64, title: &str, explanation: &[&str]) {
    drawing.text((EDGE, y + 14.0), (14.0, true), Anchor::Start, palette::INK, title);
    for (row, text) in explanation.iter().enumerate() {
        let at = (EDGE, y + 32.0 + 16.0 * row as f64);
        drawing.text(at, (12.0, false), Anchor::Start, palette::FAINT_INK, *text);
    }
}

/// A legend on the right: a swatch and a word a row.
fn legend(drawing: &mut Drawing, y: f64, entries: &[(Colour, &str)]) {
    for (row, &(colour, text)) in entries.iter().enumerate() {
        let top = y + 17.0 * row as f64;
        drawing.rect([RIGHT + 18.0, top, 14.0, 11.0], colour, "");
        drawing.text((RIGHT + 40.0, top + 10.0), (12.0, false), Anchor::Start, palette::INK, text);
    }
}

/// Actions of users that are marked, at most.
const ACTIONS_MAX: usize = 12;

fn markers(finished: &Finished) -> Vec<Marker> {
    let plan = finished.plan;
    let mut markers = load_changes(finished);
    // Where several Deployments scale each label says of which it speaks.
    let (ups, downs) = (&finished.analysis.steps, &finished.analysis.steps_down);
    let scaled = ups.iter().map(|step| step.deployment).chain(downs.iter().map(|down| down.deployment));
    let several = scaled.collect::<std::collections::BTreeSet<_>>().len() > 1;
    let whose = |deployment: DeploymentId| {
        if several { format!("{} ", plan.deployments[deployment.index()].name) } else { String::new() }
    };
    let acted = plan.actions.iter().enumerate().filter(|(_, action)| action.at < plan.until);
    let acted: Vec<Marker> = acted
        .filter_map(|(index, action)| {
            let mut words = action.words(plan)?;
            if let Some(short) = finished.recorder.shortfall_of(ActionId::at(index)) {
                words += &format!(" ({})", short.words());
            }
            Some(Marker { at: action.at, words, colour: palette::INK, rank: 0 })
        })
        .collect();
    // What a user did is said once, by the action, unless there are too many of them.
    let is_told = |by_hpa: bool| by_hpa || acted.len() > ACTIONS_MAX;
    let few = finished.analysis.steps.len() <= 3;
    for step in finished.analysis.steps.iter().filter(|step| is_told(step.by_hpa)) {
        // Of many triggers the first explains what the others are.
        let (from, to, whose) = (step.from, step.to, whose(step.deployment));
        let full = few || step.number == 1;
        let words =
            if full { format!("trigger: {whose}{from} → {to} replicas") } else { format!("{whose}{from} → {to}") };
        markers.push(Marker { at: step.trigger, words, colour: palette::BLACK, rank: if full { 1 } else { 2 } });
    }
    for down in finished.analysis.steps_down.iter().filter(|down| is_told(down.by_hpa)) {
        let words = format!("scale-down: {}{} → {}", whose(down.deployment), down.from, down.to);
        markers.push(Marker { at: down.trigger, words, colour: palette::TERMINATING, rank: 3 });
    }
    let ended = |why| matches!(why, Why::Interruption | Why::Failure);
    for one in finished.analysis.replacements.iter().filter(|one| ended(one.why)) {
        let words = match one.why {
            Why::Interruption => "spot interruption notice".to_string(),
            other => other.name().to_string(),
        };
        markers.push(Marker { at: one.trigger, words, colour: palette::ALARM, rank: 0 });
    }
    markers.extend(drains(finished));
    if acted.len() <= ACTIONS_MAX {
        markers.extend(acted);
    }
    for &(at, alarm) in &finished.analysis.totals.alarms {
        let words = format!("alarm {}", plan.alarms[alarm].name);
        markers.push(Marker { at, words, colour: palette::ALARM, rank: 4 });
    }
    markers.sort_by_key(|marker| (marker.at, marker.rank));
    markers.dedup_by(|later, earlier| later.at == earlier.at && later.words == earlier.words);
    markers
}

/// Changes of load; of several services each says of which it speaks, unless all change alike.
fn load_changes(finished: &Finished) -> Vec<Marker> {
    let plan = finished.plan;
    let mut found: Vec<(Time, String, Vec<&str>)> = Vec::new();
    for app in &plan.apps {
        let curve = app.cores.as_ref().unwrap_or(&app.traffic);
        let changes = crate::analysis::steps::corners(curve);
        if changes.len() > 12 {
            continue;
        }
        for at in changes.into_iter().filter(|&at| at > plan.start && at < plan.until) {
            let words = load_words(curve, at, app.cores.is_some());
            match found.iter_mut().find(|(time, known, _)| (*time, known) == (at, &words)) {
                Some((.., names)) => names.push(&app.name),
                None => found.push((at, words, vec![&app.name])),
            }
        }
    }
    let marker = |(at, words, names): (Time, String, Vec<&str>)| {
        let words = if names.len() == plan.apps.len() { words } else { format!("{} {words}", names.join(", ")) };
        Marker { at, words, colour: palette::FAINT_INK, rank: 1 }
    };
    found.into_iter().map(marker).collect()
}

/// Nodes that Karpenter removes, and how many pods have to move: nodes that go at one time for one reason together.
fn drains(finished: &Finished) -> Vec<Marker> {
    let mut by: std::collections::BTreeMap<(Time, &str), (usize, usize)> = std::collections::BTreeMap::new();
    let displaced = |node: &crate::analysis::NodeHistory| {
        // What a user drained before has moved already.
        let moved = |one: &&crate::analysis::Replacement| Some(one.node) == node.node && one.why != Why::Drain;
        let of_node = finished.analysis.replacements.iter().filter(moved);
        of_node.map(|one| one.displaced.len()).sum::<usize>()
    };
    for node in &finished.analysis.history.nodes {
        if let Some((at, reason)) = node.disrupted {
            let (nodes, pods) = by.entry((at, reason.name())).or_default();
            (*nodes, *pods) = (*nodes + 1, *pods + displaced(node));
        }
    }
    let marker = |((at, reason), (nodes, pods)): ((Time, &str), (usize, usize))| {
        let moving = if pods == 0 { String::new() } else { format!(", {} to move", plural(pods, "pod")) };
        let words = format!("Karpenter drains {} ({reason}){moving}", plural(nodes, "node"));
        Marker { at, words, colour: palette::TERMINATING, rank: 3 }
    };
    by.into_iter().map(marker).collect()
}

fn load_words(curve: &crate::plan::Curve, at: Time, cores: bool) -> String {
    let unit = if cores { " cores" } else { "/s" };
    let before = curve.at(at.back(Span::from_micros(1)));
    let after = curve.at(at);
    if (before - after).abs() > 1e-3 * before.abs().max(after.abs()) {
        format!("load {} → {}{unit}", panels::short(before), panels::short(after))
    } else {
        "load begins to change".to_string()
    }
}

/// The row of each marker's label, counted from the panels up; `None`: no room, its line stands alone. There are more rows where
/// what a picture is about would go without words.
fn place(markers: &[Marker], axis: &Axis) -> Vec<Option<usize>> {
    const ROWS: std::ops::RangeInclusive<usize> = 5..=12;
    let without = |placed: &[Option<usize>]| {
        markers.iter().zip(placed).filter(|(marker, row)| marker.rank <= 2 && row.is_none()).count()
    };
    let all = ROWS.map(|rows| place_in(rows, markers, axis));
    all.min_by_key(|placed| without(placed)).unwrap_or_default()
}

fn place_in(most: usize, markers: &[Marker], axis: &Axis) -> Vec<Option<usize>> {
    let mut labelled: Vec<usize> = (0..markers.len()).collect();
    loop {
        let extent = |&index: &usize| (axis.x(markers[index].at), text_width(&markers[index].words, 12.0, true) + 5.0);
        let extents: Vec<(f64, f64)> = labelled.iter().map(extent).collect();
        let rows = canvas::staircase(&extents);
        let Some(crowded) = rows.iter().position(|&row| row >= most) else {
            let mut placed = vec![None; markers.len()];
            labelled.iter().zip(rows).for_each(|(&index, row)| placed[index] = Some(row));
            return placed;
        };
        // The least important of those that crowd each other goes without words.
        let mut end = extents[crowded].0;
        let chain = (crowded..labelled.len()).take_while(|&other| {
            let (x, width) = extents[other];
            let joined = x <= end + 10.0;
            end = end.max(x + width);
            joined
        });
        let worst = chain.max_by_key(|&other| (markers[labelled[other]].rank, other)).unwrap_or(crowded);
        labelled.remove(worst);
    }
}

fn mark(drawing: &mut Drawing, axis: &Axis, markers: &[Marker], placed: &[Option<usize>], stretches: &[(f64, f64)]) {
    let top = stretches.first().map_or(0.0, |&(top, _)| top);
    for (marker, row) in markers.iter().zip(placed) {
        let x = axis.x(marker.at);
        let label = row.map(|row| top - 12.0 - 18.0 * row as f64);
        let flag = label.map(|y| (y - 10.0, top));
        for (from, to) in flag.into_iter().chain(stretches.iter().copied()) {
            drawing.line(vec![(x, from), (x, to)], marker.colour.opacity(0.75), 1.0, true);
        }
        if let Some(y) = label {
            let words = fitted(&marker.words, 12.0, true, WIDTH - 8.0 - x);
            drawing.text((x + 5.0, y), (12.0, true), Anchor::Start, marker.colour, words);
        }
    }
}

/// `2 pods in 1m58.4s`, for tooltips and labels.
fn step_words(step: &Step) -> String {
    let pods = plural(step.pods.iter().filter(|pod| !pod.cancelled).count(), "pod");
    if let Some(span) = step.broken_off_after() {
        return format!(
            "{}, let go {} after the trigger before all served",
            plural(step.pods.len(), "pod"),
            tenths(span)
        );
    }
    match step.time_to_serve() {
        Some(span) => format!("{pods} in service {} after the trigger", tenths(span)),
        None => format!("{pods}, not all in service by the end"),
    }
}
