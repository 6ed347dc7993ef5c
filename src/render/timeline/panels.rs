//! The panels over the lanes: load, replicas, nodes.

use super::canvas::{Anchor, Colour, Drawing, decimated};
use super::{Axis, LEFT, RIGHT, heading, legend, palette};
use crate::analysis::Sample;
use crate::engine::{Span, Time};
use crate::render::Finished;
use crate::world::{REQUEST, Tally};

/// Capacity beyond so many times the greatest load is cut off, and said in words.
const CAPACITY_MOST: f64 = 4.0;

/// A number for labels: at most three significant digits after the point.
pub fn short(value: f64) -> String {
    let decimals = if value.abs() >= 100.0 || value.fract() == 0.0 { 0 } else { 2 };
    let text = format!("{value:.decimals$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_string() } else { text }
}

/// A vertical scale from zero.
#[derive(Clone, Copy)]
pub(super) struct Scale {
    top: f64,
    bottom: f64,
    most: f64,
}

impl Scale {
    fn y(&self, value: f64) -> f64 {
        self.bottom - (self.bottom - self.top) * (value / self.most).clamp(0.0, 1.0)
    }
}

/// Frame, level grid lines and their numbers; returns the scale.
pub(super) fn frame(drawing: &mut Drawing, (top, height): (f64, f64), most: f64, whole: bool) -> Scale {
    let bottom = top + height;
    let step = nice(most / 3.0, whole);
    let most = (most / step).ceil().max(1.0) * step;
    let scale = Scale { top, bottom, most };
    let mut value = 0.0;
    while value <= most + step * 1e-6 {
        let y = scale.y(value);
        let colour = if value == 0.0 { palette::FRAME } else { palette::GRID };
        drawing.line(vec![(LEFT, y), (RIGHT, y)], colour, 1.0, false);
        drawing.text((LEFT - 8.0, y + 4.0), (11.0, false), Anchor::End, palette::FAINT_INK, short(value));
        value += step;
    }
    scale
}

/// 1, 2 or 5 times a power of ten, at least `rough`.
fn nice(rough: f64, whole: bool) -> f64 {
    let rough = if whole { rough.max(1.0) } else { rough.max(1e-6) };
    // By multiplication alone: logarithms differ in their last bit from one machine to another.
    let mut power = if whole { 1.0 } else { 1e-6 };
    while power * 10.0 <= rough {
        power *= 10.0;
    }
    let power: f64 = format!("{power:.6}").parse().unwrap_or(power);
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|factor| factor * power).find(|&step| step >= rough * 0.999).unwrap_or(rough)
}

/// The corners of a step line through the samples, up to the end of the run.
fn steps(finished: &Finished, axis: &Axis, value: impl Fn(&Sample) -> f64) -> Vec<(f64, f64)> {
    let mut points: Vec<(f64, f64)> = Vec::new();
    for sample in &finished.analysis.series.samples {
        let next = value(sample);
        match points.last().copied() {
            Some((_, last)) if last == next => {}
            Some((_, last)) => points.extend([(axis.x(sample.at), last), (axis.x(sample.at), next)]),
            None => points.push((axis.x(sample.at), next)),
        }
    }
    if let Some(&(_, last)) = points.last() {
        points.push((RIGHT, last));
    }
    decimated(points)
}

fn scaled(points: &[(f64, f64)], scale: &Scale) -> Vec<(f64, f64)> {
    points.iter().map(|&(x, value)| (x, scale.y(value))).collect()
}

pub(super) fn filled(drawing: &mut Drawing, points: &[(f64, f64)], scale: &Scale, fill: Colour) {
    // One polygon for each stretch above zero.
    for stretch in points.chunk_by(|one, other| one.1 > 0.0 && other.1 > 0.0) {
        let (Some(&(first, value)), Some(&(last, _))) = (stretch.first(), stretch.last()) else { continue };
        if value > 0.0 && last > first {
            let mut outline = scaled(stretch, scale);
            outline.extend([(last, scale.bottom), (first, scale.bottom)]);
            drawing.area(outline, fill);
        }
    }
}

fn greatest(points: &[(f64, f64)]) -> f64 {
    points.iter().map(|&(_, value)| value).fold(0.0, f64::max)
}

/// Requests a second over time as a step line, from the ledgers, averaged over two pixels.
fn rates(finished: &Finished, axis: &Axis, amount: impl Fn(&Tally) -> u64) -> Vec<(f64, f64)> {
    let length = (axis.until - axis.start).whole_seconds().max(1);
    let width = (length * 2).div_ceil((RIGHT - LEFT) as u64).max(1);
    let mut points = Vec::new();
    for group in 0..length.div_ceil(width) {
        let (from, to) = (group * width, ((group + 1) * width).min(length));
        let bins = |ledger: &crate::world::Ledger| -> u64 {
            let end = (to as usize).min(ledger.bins.len());
            ledger.bins.get(from as usize..end).unwrap_or_default().iter().map(&amount).sum()
        };
        let sum: u64 = finished.world.ledgers.iter().map(bins).sum();
        let rate = sum as f64 / REQUEST as f64 / (to - from) as f64;
        let x = |second: u64| axis.x(axis.start + Span::from_secs(second));
        points.extend([(x(from), rate), (x(to), rate)]);
    }
    points
}

/// Load against capacity; what is lost and what is slow is shaded.
pub fn load(drawing: &mut Drawing, finished: &Finished, axis: &Axis, top: f64) -> f64 {
    let height = 150.0;
    let offered: u64 = finished.world.ledgers.iter().map(|ledger| ledger.total.offered).sum();
    if offered == 0 {
        return cores(drawing, finished, axis, (top, height));
    }
    heading(drawing, top, "Requests per second", &["what arrives, and what the pods", "in service can take"]);
    let load = rates(finished, axis, |tally| tally.offered);
    let lost = rates(finished, axis, Tally::lost_all);
    let failed_or_slow = rates(finished, axis, |tally| tally.slow + tally.lost_all());
    let capacity = steps(finished, axis, |sample| sample.replicas.iter().map(|replicas| replicas.capacity).sum());
    let most = greatest(&load).max(1e-3);
    // Capacity is drawn whole unless that would make the load a line at the bottom.
    let highest = greatest(&capacity);
    let scale = frame(drawing, (top, height), (most * 1.1).max((highest * 1.04).min(most * CAPACITY_MOST)), false);
    filled(drawing, &load, &scale, palette::STARTING.opacity(0.10));
    filled(drawing, &failed_or_slow, &scale, palette::NOT_READY.opacity(0.55));
    filled(drawing, &lost, &scale, palette::ALARM);
    drawing.line(scaled(&load, &scale), palette::STARTING, 2.0, false);
    if greatest(&capacity) > 0.0 {
        drawing.line(scaled(&capacity, &scale), palette::IN_SERVICE, 2.0, true);
    }
    let beyond = if highest > scale.most { format!("capacity, up to {}", short(highest)) } else { String::new() };
    let entries = [
        (palette::STARTING, "load"),
        (palette::IN_SERVICE, if beyond.is_empty() { "capacity in service" } else { &beyond }),
        (palette::NOT_READY.opacity(0.55), "served late"),
        (palette::ALARM, "lost"),
    ];
    legend(drawing, top + 4.0, &entries);
    top + height
}

/// Load in cores, for applications that are given as such.
fn cores(drawing: &mut Drawing, finished: &Finished, axis: &Axis, (top, height): (f64, f64)) -> f64 {
    let apps: Vec<_> = finished.plan.apps.iter().filter_map(|app| app.cores.as_ref()).collect();
    if apps.is_empty() {
        return top - 26.0;
    }
    heading(drawing, top, "Load in cores", &["what all pods together", "have to do"]);
    let mut times: Vec<Time> = apps.iter().flat_map(|curve| curve.corners()).collect();
    times.extend([axis.start, axis.until]);
    times.retain(|&at| axis.start <= at && at <= axis.until);
    times.sort_unstable();
    times.dedup();
    let total = |at: Time| apps.iter().map(|curve| curve.at(at)).sum::<f64>();
    let both = |&at: &Time| [(axis.x(at), total(at.back(Span::from_micros(1)))), (axis.x(at), total(at))];
    let load = decimated(times.iter().flat_map(both).skip(1).collect());
    let scale = frame(drawing, (top, height), greatest(&load).max(0.1) * 1.1, false);
    filled(drawing, &load, &scale, palette::STARTING.opacity(0.10));
    drawing.line(scaled(&load, &scale), palette::STARTING, 2.0, false);
    legend(drawing, top + 4.0, &[(palette::STARTING, "load")]);
    top + height
}

/// Desired, ready and in service, all Deployments together.
pub fn replicas(drawing: &mut Drawing, finished: &Finished, axis: &Axis, top: f64) -> f64 {
    let height = 110.0;
    let mut explained = vec!["the autoscaler's wish, and", "what the load balancer uses"];
    if finished.plan.deployments.len() > 1 {
        explained.push("(all workloads together)");
    }
    heading(drawing, top, "Replicas", &explained);
    let sum = |value: fn(&crate::analysis::Replicas) -> i32| {
        steps(finished, axis, move |sample| f64::from(sample.replicas.iter().map(value).sum::<i32>()))
    };
    let desired = sum(|replicas| replicas.desired);
    let ready = sum(|replicas| replicas.ready);
    let in_service = sum(|replicas| replicas.in_service);
    let scale = frame(drawing, (top, height), greatest(&desired).max(greatest(&ready)).max(1.0), true);
    filled(drawing, &in_service, &scale, palette::IN_SERVICE.opacity(0.30));
    drawing.line(scaled(&in_service, &scale), palette::IN_SERVICE, 2.0, false);
    drawing.line(scaled(&ready, &scale), palette::NOT_READY, 2.0, true);
    drawing.line(scaled(&desired, &scale), palette::INK, 2.0, false);
    let entries = [
        (palette::INK, "desired"),
        (palette::NOT_READY, "ready (dashed)"),
        (palette::IN_SERVICE.opacity(0.6), "in service"),
    ];
    legend(drawing, top + 4.0, &entries);
    top + height
}

/// How many nodes of a sample.
type Count = fn(&Sample) -> i32;

/// Nodes by state, stacked.
pub fn nodes(drawing: &mut Drawing, finished: &Finished, axis: &Axis, top: f64) -> f64 {
    let height = 80.0;
    heading(drawing, top, "Nodes", &["by state, stacked"]);
    let layers: [(Count, Colour, &str); 4] = [
        (|sample| sample.nodes.total(), palette::TERMINATING, "draining, terminating"),
        (|sample| sample.nodes.total() - sample.nodes.terminating, palette::LAUNCHING, "launching, booting"),
        (|sample| sample.nodes.ready + sample.nodes.not_ready, palette::JOINING, "joined, not ready"),
        (|sample| sample.nodes.ready, palette::NODE_READY, "ready"),
    ];
    let all = steps(finished, axis, |sample| f64::from(sample.nodes.total()));
    let scale = frame(drawing, (top, height), greatest(&all).max(1.0), true);
    for (value, colour, _) in layers {
        let points = steps(finished, axis, |sample| f64::from(value(sample)));
        filled(drawing, &points, &scale, colour);
    }
    drawing.line(scaled(&all, &scale), palette::INK, 1.0, false);
    legend(drawing, top, &layers.map(|(_, colour, name)| (colour, name)));
    top + height
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_are_round() {
        assert_eq!(nice(0.7, false), 1.0);
        assert_eq!(nice(11.0, false), 20.0);
        assert_eq!(nice(0.3, true), 1.0);
        assert_eq!(short(0.5), "0.5");
        assert_eq!(short(120.0), "120");
    }
}
