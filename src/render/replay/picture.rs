//! Both timelines in one picture: pods and nodes over time, and a lane for each kind of event, recorded above predicted.

use crate::analysis::replay::{Comparison, Kind, Timeline};
use crate::record::Recording;
use crate::render::timeline::canvas::{Anchor, Colour, Drawing, Shape};

const WIDTH: f64 = 1_600.0;
const LEFT: f64 = 240.0;
const RIGHT: f64 = 1_560.0;
const EDGE: f64 = 24.0;
const CHART: f64 = 130.0;
const LANE: f64 = 30.0;

// Okabe and Ito: people with any colour vision tell them apart.
const RECORDED: Colour = Colour::hex(0x0072b2);
const PREDICTED: Colour = Colour::hex(0xd55e00);
const INK: Colour = Colour::hex(0x1f2933);
const FAINT_INK: Colour = Colour::hex(0x616e7c);
const GRID: Colour = Colour::hex(0xe4e7eb);
const FRAME: Colour = Colour::hex(0xcbd2d9);
const WHITE: Colour = Colour::hex(0xffffff);
const ALARM: Colour = Colour::hex(0xcc0000);

/// Seconds from the trigger to pixels.
#[derive(Clone, Copy)]
struct Axis {
    from: f64,
    to: f64,
}

impl Axis {
    fn x(self, at: f64) -> f64 {
        LEFT + (RIGHT - LEFT) * ((at - self.from) / (self.to - self.from).max(1e-6)).clamp(0.0, 1.0)
    }

    fn ticks(self) -> Vec<f64> {
        const STEPS: [f64; 12] = [1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1_800.0, 3_600.0];
        let length = self.to - self.from;
        let step = STEPS.into_iter().find(|step| length / step <= 16.0).unwrap_or(length / 10.0);
        let first = (self.from / step).ceil() as i64;
        (first..).map(|number| number as f64 * step).take_while(|&at| at <= self.to).take(64).collect()
    }
}

/// Draws a prediction beside its recording.
pub fn draw(recording: &Recording, observed: &Timeline, predicted: &Timeline, comparison: &Comparison) -> Drawing {
    let times = observed.happenings.iter().chain(&predicted.happenings).map(|one| one.at as f64 / 1e6);
    let (from, to) = times.fold((0.0_f64, 1.0_f64), |(from, to), at| (from.min(at), to.max(at)));
    let axis = Axis { from: from.floor(), to: to.ceil() };
    let verdict = if comparison.holds() { "inside tolerance" } else { "outside tolerance" };
    let (matched, missing, extra) = comparison.totals();
    let sentence = format!("{matched} events matched, {missing} missing, {extra} extra: {verdict}");
    let mut drawing = Drawing {
        width: WIDTH,
        height: 0.0,
        title: format!("{}: recorded and predicted", recording.name),
        description: sentence.clone(),
        shapes: Vec::new(),
    };
    drawing.rect([0.0, 0.0, WIDTH, 0.0], WHITE, "");
    drawing.text((EDGE, 42.0), (25.0, true), Anchor::Start, INK, recording.name.clone());
    drawing.text((EDGE, 70.0), (17.0, false), Anchor::Start, INK, sentence);
    for (index, (colour, words)) in
        [(RECORDED, "recorded: a real control plane"), (PREDICTED, "predicted")].into_iter().enumerate()
    {
        let x = RIGHT - 420.0 + 260.0 * index as f64;
        drawing.rect([x, 32.0, 16.0, 12.0], colour, "");
        drawing.text((x + 24.0, 43.0), (14.0, false), Anchor::Start, INK, words);
    }
    let grid_at = drawing.shapes.len();
    let top = 96.0;
    let mut y = top;
    y = chart(&mut drawing, axis, y, "pods ready", [observed, predicted].map(pods_ready)) + 22.0;
    y = chart(&mut drawing, axis, y, "nodes ready", [observed, predicted].map(nodes_ready)) + 22.0;
    y = lanes(&mut drawing, axis, y, observed, predicted, comparison);
    let mut grid = Drawing { shapes: Vec::new(), title: String::new(), description: String::new(), ..drawing };
    for at in axis.ticks() {
        let colour = if at == 0.0 { FAINT_INK } else { GRID };
        grid.line(vec![(axis.x(at), top), (axis.x(at), y)], colour, 1.0, at == 0.0);
    }
    drawing.shapes.splice(grid_at..grid_at, grid.shapes);
    for at in axis.ticks() {
        let label = if at == 0.0 { "trigger".to_string() } else { format!("{at} s") };
        drawing.text((axis.x(at), y + 16.0), (12.0, false), Anchor::Middle, FAINT_INK, label);
    }
    drawing.height = (y + 36.0).ceil();
    let area = [0.0, 0.0, WIDTH, drawing.height];
    drawing.shapes[0] = Shape::Rect { area, fill: WHITE, tip: String::new() };
    drawing
}

/// Steps of a count over time.
type Steps = Vec<(f64, f64)>;

fn steps(timeline: &Timeline, change: impl Fn(Kind, &str) -> i32) -> Steps {
    let mut count = 0;
    let mut steps = Vec::new();
    for one in &timeline.happenings {
        let by = change(one.kind, &one.subject);
        if by != 0 {
            count += by;
            steps.push((one.at as f64 / 1e6, f64::from(count)));
        }
    }
    steps
}

fn pods_ready(timeline: &Timeline) -> Steps {
    let ready: std::collections::BTreeSet<&str> =
        timeline.of_kind(Kind::PodReady).map(|one| one.subject.as_str()).collect();
    steps(timeline, |kind, subject| match kind {
        Kind::PodReady => 1,
        Kind::PodDeleting if ready.contains(subject) => -1,
        _ => 0,
    })
}

fn nodes_ready(timeline: &Timeline) -> Steps {
    let ready: std::collections::BTreeSet<&str> =
        timeline.of_kind(Kind::NodeReady).map(|one| one.subject.as_str()).collect();
    steps(timeline, |kind, subject| match kind {
        Kind::NodeReady => 1,
        Kind::NodeGone if ready.contains(subject) => -1,
        _ => 0,
    })
}

fn chart(drawing: &mut Drawing, axis: Axis, top: f64, title: &str, [recorded, predicted]: [Steps; 2]) -> f64 {
    drawing.text((EDGE, top + 14.0), (14.0, true), Anchor::Start, INK, title);
    let most = recorded.iter().chain(&predicted).map(|&(_, count)| count).fold(1.0, f64::max);
    let bottom = top + CHART;
    let height = |count: f64| bottom - (CHART - 8.0) * count / most;
    drawing.line(vec![(LEFT, bottom), (RIGHT, bottom)], FRAME, 1.0, false);
    for count in [most, 0.0] {
        drawing.text((LEFT - 10.0, height(count) + 4.0), (12.0, false), Anchor::End, FAINT_INK, format!("{count}"));
    }
    for (steps, colour, width) in [(&recorded, RECORDED, 4.0), (&predicted, PREDICTED, 1.5)] {
        let mut points = vec![(LEFT, bottom)];
        for &(at, count) in steps {
            let (x, y) = (axis.x(at), points.last().map_or(bottom, |last| last.1));
            points.extend([(x, y), (x, height(count))]);
        }
        points.push((RIGHT, points.last().map_or(bottom, |last| last.1)));
        drawing.line(points, colour, width, false);
    }
    bottom
}

fn lanes(
    drawing: &mut Drawing,
    axis: Axis,
    top: f64,
    observed: &Timeline,
    predicted: &Timeline,
    comparison: &Comparison,
) -> f64 {
    let mut y = top;
    for result in &comparison.kinds {
        let (name, _) = result.kind.name();
        let colour = if result.holds() { INK } else { ALARM };
        drawing.text((EDGE, y + 19.0), (13.0, false), Anchor::Start, colour, name);
        let count = if result.missing + result.extra == 0 {
            format!("{}", result.matched)
        } else {
            format!("{} -{} +{}", result.matched, result.missing, result.extra)
        };
        drawing.text((LEFT - 10.0, y + 19.0), (12.0, false), Anchor::End, FAINT_INK, count);
        drawing.line(vec![(LEFT, y + LANE), (RIGHT, y + LANE)], GRID, 1.0, false);
        for (timeline, colour, offset) in [(observed, RECORDED, 4.0), (predicted, PREDICTED, 15.0)] {
            for one in timeline.of_kind(result.kind) {
                let at = one.at as f64 / 1e6;
                let tip = format!("{at:.2} s  {} {}", one.subject, one.detail);
                drawing.rect([axis.x(at) - 1.5, y + offset, 3.0, 10.0], colour.opacity(0.75), tip);
            }
        }
        y += LANE;
    }
    y
}
