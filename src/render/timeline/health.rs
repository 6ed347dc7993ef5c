//! The panels of what went wrong: scripted faults as bars, and the targets by what the load balancer thinks of them.
//!
//! In: faults of the plan, changes of targets. Out: nothing where there was no fault and no target was ever unhealthy.

use super::canvas::{Anchor, Colour, Drawing, fitted, text_width};
use super::panels::{Scale, filled, frame};
use super::{Axis, LEFT, RIGHT, heading, legend, palette};
use crate::engine::Time;
use crate::render::Finished;
use crate::world::{Change, TargetState};

/// Height of a bar with its gap.
const ROW: f64 = 20.0;
/// Rows of bars at most; further faults are counted in words.
const ROWS: usize = 8;

/// A bar for each fault that strikes within the run.
pub fn faults(drawing: &mut Drawing, finished: &Finished, axis: &Axis, top: f64) -> Option<f64> {
    let plan = finished.plan;
    let struck: Vec<_> = plan.faults.iter().filter(|fault| fault.at < plan.until).collect();
    if struck.is_empty() {
        return None;
    }
    heading(drawing, top, "Faults", &["what the scenario breaks,", "and for how long"]);
    for (row, fault) in struck.iter().take(ROWS).enumerate() {
        let y = top + ROW * row as f64;
        let (from, to) = (axis.x(fault.at), axis.x(fault.until.unwrap_or(fault.at)));
        // What strikes once is a short bar all the same.
        let width = (to - from).max(4.0);
        let words = fault.words(plan);
        drawing.rect([from, y, width, ROW - 5.0], palette::ALARM.opacity(0.45), words.clone());
        let (room_right, length) = (RIGHT - (from + width) - 6.0, text_width(&words, 12.0, false));
        let (x, anchor, room) = if length + 12.0 <= width {
            (from + 6.0, Anchor::Start, width)
        } else if length <= room_right || room_right >= from - LEFT {
            (from + width + 6.0, Anchor::Start, room_right)
        } else {
            (from - 6.0, Anchor::End, from - LEFT - 6.0)
        };
        drawing.text((x, y + 12.0), (12.0, false), anchor, palette::INK, fitted(&words, 12.0, false, room));
    }
    let rows = struck.len().min(ROWS);
    if struck.len() > ROWS {
        let words = format!("and {} more", struck.len() - ROWS);
        drawing.text((RIGHT + 18.0, top + 12.0), (12.0, false), Anchor::Start, palette::FAINT_INK, words);
    }
    // The heading with its two lines needs as much.
    Some(top + (ROW * rows as f64).max(50.0))
}

/// How many targets there are of each kind, from an instant on.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
struct Counts {
    healthy: i32,
    initial: i32,
    unhealthy: i32,
    draining: i32,
    /// Unhealthy ones that requests are sent to.
    failing_open: i32,
}

impl Counts {
    fn total(&self) -> i32 {
        self.healthy + self.initial + self.unhealthy + self.draining
    }

    fn add(&mut self, (state, routable): (Option<TargetState>, bool), sign: i32) {
        match state {
            Some(TargetState::Healthy) => self.healthy += sign,
            Some(TargetState::Initial) => self.initial += sign,
            Some(TargetState::Unhealthy) => self.unhealthy += sign,
            Some(TargetState::Draining) => self.draining += sign,
            Some(TargetState::Unused) | None => {}
        }
        if routable && state == Some(TargetState::Unhealthy) {
            self.failing_open += sign;
        }
    }
}

fn counts(finished: &Finished) -> Vec<(Time, Counts)> {
    let initial = &finished.analysis.history.initial_targets;
    let mut targets: Vec<(Option<TargetState>, bool)> =
        initial.iter().map(|&initial| (initial.then_some(TargetState::Healthy), initial)).collect();
    let mut now = Counts::default();
    targets.iter().for_each(|&target| now.add(target, 1));
    let mut all = vec![(finished.plan.start, now)];
    for fact in &finished.recorder.facts {
        let (Change::TargetRegistered(target)
        | Change::TargetGone(target)
        | Change::TargetStateChanged(target, _)
        | Change::TargetRoutable(target, _)) = fact.change
        else {
            continue;
        };
        let entry = &mut targets[target.index()];
        now.add(*entry, -1);
        match fact.change {
            Change::TargetStateChanged(_, state) => entry.0 = Some(state),
            Change::TargetRoutable(_, routable) => entry.1 = routable,
            Change::TargetGone(_) => *entry = (None, false),
            _ => entry.0 = Some(TargetState::Initial),
        }
        now.add(*entry, 1);
        match all.last_mut() {
            Some(last) if last.0 == fact.at => last.1 = now,
            _ => all.push((fact.at, now)),
        }
    }
    all
}

/// The stretches of time in which no target is healthy and requests are sent to unhealthy ones.
fn open_stretches(counts: &[(Time, Counts)], until: Time) -> Vec<(Time, Time)> {
    let mut stretches: Vec<(Time, Time)> = Vec::new();
    for (index, (at, count)) in counts.iter().enumerate() {
        let end = counts.get(index + 1).map_or(until, |next| next.0);
        if count.healthy > 0 || count.failing_open == 0 {
            continue;
        }
        match stretches.last_mut() {
            Some(last) if last.1 == *at => last.1 = end,
            _ => stretches.push((*at, end)),
        }
    }
    stretches
}

/// How many targets of a count.
type Layer = fn(&Counts) -> i32;

/// Targets by state, stacked; where the load balancer fails open, that is written.
pub fn targets(drawing: &mut Drawing, finished: &Finished, axis: &Axis, top: f64) -> Option<f64> {
    let height = 80.0;
    let counts = counts(finished);
    if counts.iter().all(|(_, count)| count.unhealthy == 0) {
        return None;
    }
    heading(drawing, top, "Targets", &["by what the load balancer", "thinks of them, stacked"]);
    let line = |value: Layer| -> Vec<(f64, f64)> {
        let mut points: Vec<(f64, f64)> = Vec::new();
        for (at, count) in &counts {
            let (x, next) = (axis.x(*at), f64::from(value(count)));
            match points.last().copied() {
                Some((_, last)) if last == next => {}
                Some((_, last)) => points.extend([(x, last), (x, next)]),
                None => points.push((x, next)),
            }
        }
        points.extend(points.last().map(|&(_, last)| (RIGHT, last)));
        points
    };
    let most = counts.iter().map(|(_, count)| count.total()).max().unwrap_or(0);
    let scale: Scale = frame(drawing, (top, height), f64::from(most.max(1)), true);
    let layers: [(Layer, Colour, &str); 4] = [
        (Counts::total, palette::TERMINATING, "draining"),
        (|count| count.healthy + count.unhealthy + count.initial, palette::REGISTERING, "initial"),
        (|count| count.healthy + count.unhealthy, palette::ALARM.opacity(0.75), "unhealthy"),
        (|count| count.healthy, palette::IN_SERVICE, "healthy"),
    ];
    for (value, colour, _) in layers {
        // A layer hides what is below it whole.
        let points = line(value);
        filled(drawing, &points, &scale, palette::WHITE);
        filled(drawing, &points, &scale, colour);
    }
    let mut entries = layers.map(|(_, colour, name)| (colour, name)).to_vec();
    let stretches = open_stretches(&counts, finished.plan.until);
    for &(from, to) in &stretches {
        let (left, right) = (axis.x(from), axis.x(to));
        drawing.line(vec![(left, top), (right, top)], palette::BLACK, 4.0, false);
        let words = "fails open: all targets get requests";
        if text_width(words, 12.0, true) + 12.0 <= right - left {
            drawing.text(((left + right) / 2.0, top + 18.0), (12.0, true), Anchor::Middle, palette::BLACK, words);
        }
    }
    if !stretches.is_empty() {
        entries.push((palette::BLACK, "fails open"));
    }
    legend(drawing, top, &entries);
    Some(top + height.max(17.0 * entries.len() as f64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Span;

    #[test]
    fn it_fails_open_while_nobody_is_healthy_and_some_are_sent_requests() {
        let at = |seconds: u64| Time::ZERO + Span::from_secs(seconds);
        let count = |healthy, unhealthy, failing_open| Counts { healthy, unhealthy, failing_open, ..Counts::default() };
        let counts = [
            (at(0), count(2, 0, 0)),
            (at(10), count(1, 1, 0)),
            (at(20), count(0, 2, 0)),
            (at(21), count(0, 2, 1)),
            (at(22), count(0, 2, 2)),
            (at(40), count(1, 1, 1)),
            (at(50), count(0, 2, 2)),
        ];
        assert_eq!(open_stretches(&counts, at(60)), [(at(21), at(40)), (at(50), at(60))]);
    }
}
