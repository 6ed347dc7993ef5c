//! The picture of a sweep over one parameter: a panel for each measure with its band of confidence, and for what must hold
//! its bound and a mark at each point.
//!
//! In: a grid. Out: a drawing. A band without an end, since the runs were too few for one, fades out.

use super::{is_about, mark};
use crate::analysis::gate::Gate;
use crate::analysis::grid::{Grid, Point};
use crate::render::plot::{AXIS, Frame, Tick, drawing, legend, ticks};
use crate::render::timeline::canvas::{Anchor, Colour, Drawing};
use crate::rules::expectation::{Bound, Verdict, parse};

const BLUE: Colour = Colour::hex(0x1f6fb4);
const RED: Colour = Colour::hex(0xc0392b);
const BAND: f64 = 0.18;
/// Panels, at most.
const PANELS_MAX: usize = 4;
/// An open band is drawn in so many steps.
const FADES: usize = 8;
/// Points nearer to one another than this part of the axis are set at equal distances.
const NEAR: f64 = 0.03;
/// Values are the same to the eye where they differ by less than this part.
const EQUAL: f64 = 0.005;

/// What one panel shows.
struct Panel<'g> {
    title: &'g str,
    gate: Box<dyn Fn(&'g Point) -> Option<&'g Gate> + 'g>,
    /// What must hold of it: the places among all that must hold, with the texts.
    holds: Vec<(usize, &'g str)>,
}

/// The panels: what is measured, what must hold and is not measured anyway, then what is to be least.
fn panels(grid: &Grid) -> Vec<Panel<'_>> {
    let holds: Vec<(usize, &str)> = grid.holds.iter().map(String::as_str).enumerate().collect();
    let of = |title: &str| holds.iter().copied().filter(|(_, hold)| is_about(title, hold)).collect::<Vec<_>>();
    let measured = grid.measures.iter().enumerate().map(|(index, title)| Panel {
        title,
        gate: Box::new(move |point: &Point| point.measures.get(index)),
        holds: of(title),
    });
    let alone = holds.iter().filter(|(_, hold)| !grid.measures.iter().any(|title| is_about(title, hold)));
    let alone = alone.map(|&(index, hold)| Panel {
        title: hold,
        gate: Box::new(move |point: &Point| point.holds.get(index)),
        holds: vec![(index, hold)],
    });
    let least = grid.minimise.iter().filter(|least| !grid.measures.contains(least));
    let least =
        least.map(|title| Panel { title, gate: Box::new(|point: &Point| point.minimise.as_ref()), holds: Vec::new() });
    measured.chain(alone).chain(least).take(PANELS_MAX).collect()
}

/// The picture; `None`: there is nothing to draw.
pub(super) fn draw(grid: &Grid) -> Option<Drawing> {
    let panels = panels(grid);
    if panels.is_empty() || grid.points.len() < 2 {
        return None;
    }
    let (xs, range, below) = places(grid);
    let shown: Vec<Vec<Seen>> = panels.iter().map(|panel| seen(grid, panel, &xs)).collect();
    let deep = |seen: &Vec<Seen>| if seen.is_empty() { 34.0 } else { 260.0 };
    let height = 100.0 + shown.iter().map(deep).sum::<f64>();
    let mut out = drawing(900.0, height, &grid.name, &grid.about);
    out.text((20.0, 48.0), (12.0, false), Anchor::Start, AXIS, grid.about.clone());
    let words: Vec<Tick> = xs.iter().zip(&grid.points).map(|(&x, point)| (x, point.values[0].clone())).collect();
    let (mut open, mut top) = (false, 82.0);
    for (panel, seen) in panels.iter().zip(&shown) {
        open |= draw_panel(&mut out, panel, seen, [90.0, top, 780.0, 180.0], (range, &below, &words));
        top += deep(seen);
    }
    let marks = [Verdict::Holds, Verdict::Undecided, Verdict::Fails].map(|verdict| (mark(verdict), verdict.name()));
    let mut entries = vec![(BLUE.opacity(BAND), "95 % interval")];
    if open {
        entries.push((BLUE.opacity(0.08), "fading: no end, too few runs"));
    }
    if shown.iter().flatten().any(|one| one.verdict.is_some()) {
        entries.extend(marks);
    }
    legend(&mut out, 90.0, height - 26.0, &entries);
    Some(out)
}

/// Where the points stand, the ends of the axis and its words.
fn places(grid: &Grid) -> (Vec<f64>, (f64, f64), String) {
    let count = grid.points.len();
    let written: Vec<&str> = grid.points.iter().map(|point| point.values[0].as_str()).collect();
    let name = &grid.parameters[0];
    let ends =
        |xs: &[f64]| (xs.iter().copied().fold(f64::INFINITY, f64::min), xs.iter().copied().fold(f64::MIN, f64::max));
    if let Some(xs) = numbers(&written) {
        let (first, last) = ends(&xs);
        // A line that turns back would be no line: values out of order stand as they are written.
        let least = NEAR * (last - first);
        let (up, down) =
            (xs.windows(2).all(|two| two[1] - two[0] >= least), xs.windows(2).all(|two| two[0] - two[1] >= least));
        if (up || down) && last > first {
            return (xs, (first, last), name.clone());
        }
    }
    let xs: Vec<f64> = (0..count).map(|index| index as f64).collect();
    (xs, (0.0, (count - 1) as f64), format!("{name} (not to scale)"))
}

/// Values as numbers if they can be set against one another: all of one unit, or all durations (`30s` is 30, `1m` is 60).
fn numbers(values: &[&str]) -> Option<Vec<f64>> {
    let split = |value: &str| {
        let end = value.find(|c: char| !(c.is_ascii_digit() || ".-".contains(c))).unwrap_or(value.len());
        let number: f64 = value[..end].parse().ok()?;
        let unit = value[end..].trim().to_string();
        (!unit.contains(|c: char| c.is_ascii_digit())).then_some((number, unit))
    };
    let parts: Vec<(f64, String)> = values.iter().map(|value| split(value)).collect::<Option<_>>()?;
    if parts.windows(2).all(|two| two[0].1 == two[1].1) {
        return Some(parts.into_iter().map(|(number, _)| number).collect());
    }
    let seconds = |(number, unit): &(f64, String)| match unit.as_str() {
        "ms" => Some(number * 0.001),
        "s" => Some(*number),
        "m" => Some(number * 60.0),
        "h" => Some(number * 3_600.0),
        _ => None,
    };
    parts.iter().map(seconds).collect()
}

/// A point of a panel: its place, the three numbers of its estimate, and the verdict on what must hold of it.
struct Seen<'g> {
    row: [f64; 4],
    gate: &'g Gate,
    verdict: Option<Verdict>,
}

/// The points of a panel that have a number.
fn seen<'g>(grid: &'g Grid, panel: &Panel<'g>, xs: &[f64]) -> Vec<Seen<'g>> {
    let of = |(point, &x): (&'g Point, &f64)| {
        let gate = (panel.gate)(point)?;
        let estimate = gate.estimate.filter(|estimate| estimate.point.is_finite())?;
        // The worst of what must hold is what a mark shows.
        let rank = |verdict: &Verdict| match verdict {
            Verdict::Fails => 2,
            Verdict::Undecided => 1,
            Verdict::Holds => 0,
        };
        let verdict = panel.holds.iter().map(|&(at, _)| point.holds[at].verdict).max_by_key(rank);
        // Nothing that is measured is ever less than nothing, but the interval of a mean does not know that.
        let low = if estimate.low.is_finite() { estimate.low.max(estimate.point.min(0.0)) } else { estimate.low };
        Some(Seen { row: [x, low, estimate.point, estimate.high], gate, verdict })
    };
    grid.points.iter().zip(xs).filter_map(of).collect()
}

/// Draws one panel; says whether its band is open anywhere.
fn draw_panel<'g>(
    out: &mut Drawing,
    panel: &Panel<'g>,
    seen: &[Seen<'g>],
    area: [f64; 4],
    (range, below, words): ((f64, f64), &str, &[Tick]),
) -> bool {
    let Some(first) = seen.first() else {
        let words = format!("{}: too few runs, or nothing to measure, at every point", panel.title);
        out.text((area[0] - 40.0, area[1] - 10.0), (11.0, true), Anchor::Start, AXIS, words);
        return false;
    };
    let found: Vec<[f64; 4]> = seen.iter().map(|one| one.row).collect();
    let levels: Vec<(f64, &str)> =
        panel.holds.iter().flat_map(|&(_, text)| bounds(text).into_iter().map(move |bound| (bound, text))).collect();
    let values = found.iter().flat_map(|row| row[1..].iter().copied()).chain(levels.iter().map(|&(bound, _)| bound));
    let finite = || values.clone().filter(|value| value.is_finite());
    let (low, high) = (finite().fold(f64::INFINITY, f64::min), finite().fold(f64::MIN, f64::max));
    let open = found.iter().any(|row| row[1].is_infinite() || row[3].is_infinite());
    let (foot, top) = extent(low, high, open);
    let frame = Frame::new(area, range, (foot, top));
    frame.draw(out, (below, words), (panel.title, &ticks(first.gate.unit, (foot, top), 5)));
    if foot > 0.0 {
        frame.broken(out);
    }
    band(out, &frame, &found, (foot, top));
    levels.iter().for_each(|&(bound, text)| frame.level(out, bound, text, RED));
    out.line(found.iter().map(|row| frame.at(row[0], row[2])).collect(), BLUE, 2.0, false);
    for one in seen {
        let (x, y) = frame.at(one.row[0], one.row[2]);
        let interval = one.gate.interval();
        let (colour, half, tip) = match one.verdict {
            Some(verdict) => (mark(verdict), 4.5, format!("{}: {interval}", verdict.name())),
            None => (BLUE, 3.0, interval),
        };
        out.rect([x - half, y - half, 2.0 * half, 2.0 * half], colour, tip);
    }
    open
}

/// The bounds in the text of an expectation.
fn bounds(text: &str) -> Vec<f64> {
    match parse(text).map(|check| check.bound) {
        Ok(Bound::Compare(_, bound)) => vec![bound],
        Ok(Bound::Within(low, high)) => vec![low, high],
        Err(_) => Vec::new(),
    }
}

/// Foot and top of the axis: from zero, unless all values are so far from it that their differences would vanish. What differs by
/// less than anybody reads is a level line.
fn extent(low: f64, high: f64, open: bool) -> (f64, f64) {
    let near = (EQUAL * high..0.2 * high).contains(&(high - low)) && high > low;
    let (foot, spread) = if low < 0.0 || near { (low - 0.25 * (high - low), high - low) } else { (0.0, high) };
    let room = if open { 0.35 } else { 0.1 };
    let top = high + room * spread;
    if top > foot { (foot, top) } else { (foot, foot + 1.0) }
}

/// The band between neighbours; where one of them has no end it fades towards the edge.
fn band(out: &mut Drawing, frame: &Frame, found: &[[f64; 4]], (foot, top): (f64, f64)) {
    for pair in found.windows(2) {
        let (one, other) = (pair[0], pair[1]);
        for (side, edge) in [(1, foot), (3, top)] {
            let corner = |row: [f64; 4], part: f64, end: f64| frame.at(row[0], row[2] + (end - row[2]) * part);
            if one[side].is_finite() && other[side].is_finite() {
                let corners = [corner(one, 0.0, 0.0), corner(other, 0.0, 0.0)];
                let ends = [corner(other, 1.0, other[side]), corner(one, 1.0, one[side])];
                out.area(corners.into_iter().chain(ends).collect(), BLUE.opacity(BAND));
                continue;
            }
            let ends = [one, other].map(|row| if row[side].is_finite() { row[side] } else { edge });
            for fade in 0..FADES {
                let (from, to) = (fade as f64 / FADES as f64, (fade + 1) as f64 / FADES as f64);
                let near = [corner(one, from, ends[0]), corner(other, from, ends[1])];
                let far = [corner(other, to, ends[1]), corner(one, to, ends[0])];
                let opacity = BAND * (1.0 - fade as f64 / FADES as f64);
                out.area(near.into_iter().chain(far).collect(), BLUE.opacity(opacity));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::statistics::Estimate;
    use crate::render::timeline::canvas::Shape;
    use crate::rules::expectation::Unit;

    fn grid(high: f64) -> Grid {
        let gate = |text: &str, unit, value: f64, high: f64, verdict| Gate {
            text: text.to_string(),
            verdict,
            estimate: Some(Estimate { point: value, low: value * 0.9, high }),
            unit,
            runs: 60,
            would_decide: None,
            explanation: String::new(),
        };
        let point = |setting: &str, seconds: f64, verdict| Point {
            values: vec![setting.to_string()],
            measures: vec![
                gate("p95(time_to_serve)", Unit::Seconds, seconds, high, verdict),
                gate("mean(cost)", Unit::Dollars, 0.000_1 * seconds / 60.0, 0.000_11 * seconds / 60.0, verdict),
            ],
            holds: vec![gate("p95(time_to_serve) <= 2m", Unit::Seconds, seconds, high, verdict)],
            minimise: None,
        };
        Grid {
            name: "wait".to_string(),
            about: "How long should an idle node be kept?".to_string(),
            hash: "0".repeat(16),
            seed: 1,
            runs: 60,
            parameters: vec!["consolidateAfter".to_string()],
            sizes: vec![3],
            measures: vec!["p95(time_to_serve)".to_string(), "mean(cost)".to_string()],
            holds: vec!["p95(time_to_serve) <= 2m".to_string()],
            minimise: None,
            points: vec![
                point("30s", 150.0, Verdict::Fails),
                point("1m", 121.0, Verdict::Undecided),
                point("2m", 60.0, Verdict::Holds),
            ],
        }
    }

    /// Squares of the colours of verdicts in the panels, without the legend's.
    fn marked(drawing: &Drawing) -> usize {
        let colours = [Verdict::Holds, Verdict::Undecided, Verdict::Fails].map(mark);
        let small = |shape: &&Shape| matches!(shape, Shape::Rect { area, fill, .. } if area[2] == 9.0 && colours.contains(fill));
        drawing.shapes.iter().filter(small).count()
    }

    #[test]
    fn marks_stand_on_what_is_held_alone_and_durations_in_their_order() {
        let drawing = draw(&grid(160.0)).unwrap();
        assert_eq!(marked(&drawing), 3, "the cost is held to nothing");
        let (xs, _, _) = places(&grid(160.0));
        assert_eq!(xs, [30.0, 60.0, 120.0]);
    }

    #[test]
    fn a_band_without_an_end_fades_instead_of_ending_at_the_line() {
        let areas =
            |high| draw(&grid(high)).unwrap().shapes.iter().filter(|shape| matches!(shape, Shape::Area { .. })).count();
        assert_eq!(areas(160.0), 8, "two panels, two gaps, above and below");
        assert_eq!(areas(f64::INFINITY), 6 + 2 * FADES);
    }

    #[test]
    fn only_values_of_one_kind_are_set_to_scale() {
        assert_eq!(numbers(&["30s", "1m", "1h"]), Some(vec![30.0, 60.0, 3_600.0]));
        assert_eq!(numbers(&["250m", "500m"]), Some(vec![250.0, 500.0]));
        assert_eq!(numbers(&["1Gi", "1500Mi"]), None);
        assert_eq!(numbers(&["500m", "1"]), None, "half a core and one");
        assert_eq!(numbers(&["1m30s"]), None);
    }

    #[test]
    fn an_axis_begins_at_zero_or_is_broken() {
        assert_eq!(extent(60.0, 150.0, false).0, 0.0);
        let (foot, _) = extent(100.0, 110.0, false);
        assert!(foot > 90.0 && foot < 100.0);
        // A cost that is the same everywhere: its axis does not spread what nobody can read.
        assert_eq!(extent(0.04840, 0.04841, false).0, 0.0);
    }

    #[test]
    fn no_band_goes_below_zero() {
        let mut grid = grid(160.0);
        grid.points[0].measures[0].estimate = Some(Estimate { point: 0.5, low: -0.5, high: 1.5 });
        let xs = places(&grid).0;
        assert_eq!(seen(&grid, &panels(&grid)[0], &xs)[0].row[1], 0.0);
    }

    /// What is held of a window is another number than that of the whole run: it has a panel of its own.
    #[test]
    fn what_is_held_of_a_window_is_not_marked_on_the_whole_run() {
        let mut grid = grid(160.0);
        grid.holds = vec!["p95(time_to_serve) <= 2m of window 4m..20m".to_string()];
        let panels = panels(&grid);
        assert_eq!(
            panels.iter().map(|panel| panel.title).collect::<Vec<_>>(),
            ["p95(time_to_serve)", "mean(cost)", &grid.holds[0]]
        );
        assert!(panels[0].holds.is_empty());
    }
}
