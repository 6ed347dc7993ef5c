//! Charts of many runs: the distribution with its band and its logarithmic tail, phases at p50, p95 and p99, and replicas
//! over time as a fan.

use super::{provenance, subject};
use crate::analysis::Phase;
use crate::analysis::gate::rounded;
use crate::analysis::runs::Runs;
use crate::analysis::sample::FAN_POINTS;
use crate::analysis::statistics::{self, percentile_ranks};
use crate::plan::Plan;
use crate::render::plot::{Frame, INK, PALETTE, Tick, caption, drawing, legend, short, ticks};
use crate::render::timeline::breakdown;
use crate::render::timeline::canvas::{Anchor, Colour, Drawing, text_width};
use crate::render::timeline::{png, svg};
use crate::rules::expectation::{Bound, Comparison, Expectation, Measure, Scope, Unit};

const BLUE: Colour = Colour::hex(0x1f6fb4);
const RED: Colour = Colour::hex(0xc0392b);
/// Bounds in one picture, at most.
const BOUNDS_MAX: usize = 4;

/// The charts that these runs have data for, each as SVG and PNG.
pub fn files(plan: &Plan, runs: &Runs) -> Vec<(String, Vec<u8>)> {
    let about = provenance(plan, runs);
    let measure = subject(runs);
    let drawings = [
        ("distribution", measure.and_then(|measure| distribution(plan, runs, measure))),
        ("phases", measure.and_then(|measure| phases(runs, measure))),
        ("replicas", fan(plan, runs)),
    ];
    let mut files = Vec::new();
    for (name, mut drawing) in drawings.into_iter().filter_map(|(name, drawing)| Some((name, drawing?))) {
        caption(&mut drawing, &about);
        files.push((format!("{name}.svg"), svg::render(&drawing)));
        files.push((format!("{name}.png"), png::render(&drawing, &about)));
    }
    files
}

/// A bound of a picture: where it begins, if it does, where it ends, and the check that sets it.
type Limit = (Option<f64>, f64, String);

/// The bounds that the scenario sets to a measure.
fn bounds(plan: &Plan, measure: Measure) -> Vec<Limit> {
    let checks = plan.claims.iter().map(|claim| &claim.check).chain(&plan.expectations);
    let of_measure = |check: &&Expectation| check.subject.measure() == measure && check.subject.unit() == Unit::Seconds;
    let found = checks.filter(of_measure).filter_map(|check| match check.bound {
        Bound::Compare(Comparison::Less | Comparison::LessOrEqual, bound) => Some((None, bound, check.text.clone())),
        Bound::Within(low, high) => Some((Some(low), high, check.text.clone())),
        Bound::Compare(..) => None,
    });
    found.take(BOUNDS_MAX).collect()
}

/// Left the share of runs that are done by then, right the share that are not, on a logarithmic scale.
fn distribution(plan: &Plan, runs: &Runs, measure: Measure) -> Option<Drawing> {
    let mut known: Vec<f64> = runs.values_of(measure, &Scope::default())?.into_iter().flatten().collect();
    known.retain(|value| !value.is_nan());
    known.sort_by(f64::total_cmp);
    // Runs in which it never came to be count among all runs: the curve then ends below all of them.
    let (count, ended) = (known.len(), known.iter().filter(|value| value.is_finite()).count());
    if ended < 2 {
        return None;
    }
    let words = measure.name().replace('_', " ");
    let title = format!("{}: {words}", plan.name);
    let mut out = drawing(1_000.0, 400.0, &title, "the share of runs by time, with the band of confidence");
    let limits = bounds(plan, measure);
    let ends = limits.iter().flat_map(|(low, high, _)| low.iter().chain([high])).copied();
    let ends = ends.chain([known[0], known[ended - 1]]);
    let (first, last) = (ends.clone().fold(f64::INFINITY, f64::min), ends.fold(f64::MIN, f64::max));
    let pad = ((last - first) * 0.04).max(0.5);
    let range = (first - pad, last + pad);
    let floor = (0.5 / count as f64).log10();
    let left = Frame::new([60.0, 60.0, 420.0, 260.0], range, (0.0, 100.0));
    let right = Frame::new([550.0, 60.0, 420.0, 260.0], range, (floor, 0.0));
    let times = ticks(Unit::Seconds, range, 6);
    let shares: Vec<Tick> = [0.0, 25.0, 50.0, 75.0, 95.0].map(|share| (share, format!("{share:.0} %"))).into();
    left.draw(&mut out, (&words, &times), ("share of runs that are done by then", &shares));
    let decade = |power: i32| (-f64::from(power), format!("{} %", short(100.0 * 10_f64.powi(-power))));
    let decades: Vec<Tick> = (0..=(-floor).floor() as i32).map(decade).collect();
    right.draw(&mut out, (&words, &times), ("share of runs that take longer, in powers of ten", &decades));
    // At each rank the band is what the ranks of that percentile enclose; where there are none it is open to the edge.
    let points = 200.min(ended);
    let ranks: Vec<usize> = (1..=points).map(|point| (point * ended / points).max(1)).collect();
    let (mut low, mut high) = (Vec::new(), Vec::new());
    for &rank in &ranks {
        let percent = (rank as f64 - 0.5) / count as f64 * 100.0;
        let (from, to) = percentile_ranks(count, percent, runs.level);
        low.push((from.map_or(f64::NEG_INFINITY, |rank| known[rank - 1]), percent));
        high.push((to.map_or(f64::INFINITY, |rank| known[rank - 1]), percent));
    }
    let exceeds = |percent: f64| ((100.0 - percent) / 100.0).max(0.5 / count as f64).log10();
    let band = |frame: &Frame, value: &dyn Fn(f64) -> f64| {
        let there = low.iter().map(|&(x, percent)| frame.at(x, value(percent)));
        there.chain(high.iter().rev().map(|&(x, percent)| frame.at(x, value(percent)))).collect::<Vec<_>>()
    };
    out.area(band(&left, &|percent| percent), BLUE.opacity(0.18));
    out.area(band(&right, &exceeds), BLUE.opacity(0.18));
    let line = |frame: &Frame, value: &dyn Fn(f64) -> f64| {
        let at = |&rank: &usize| frame.at(known[rank - 1], value((rank as f64 - 0.5) / count as f64 * 100.0));
        ranks.iter().map(at).collect::<Vec<_>>()
    };
    let curves = [line(&left, &|percent| percent), line(&right, &exceeds)];
    curves.iter().for_each(|curve| out.line(curve.clone(), BLUE, 2.0, false));
    let mut taken: [Vec<Area>; 2] = curves.map(|curve| curve.windows(2).map(|pair| around(pair[0], pair[1])).collect());
    if count >= statistics::least_runs(95.0) {
        // As high as the curve is there: at the middle of its run.
        let rank = (count * 95).div_ceil(100);
        let share = (rank as f64 - 0.5) / count as f64;
        let words = mark_percentile(&mut out, (&left, &right), known[rank - 1], share);
        taken.iter_mut().zip(words).for_each(|(taken, words)| taken.extend(words));
    }
    mark_bounds(&mut out, [&left, &right], range, &limits, &mut taken);
    let never = if ended < count { format!(", {} of them broken off", count - ended) } else { String::new() };
    let confidence = format!("{:.0} % band of each percentile", runs.level * 100.0);
    legend(&mut out, 60.0, 372.0, &[(BLUE, &format!("{count} runs{never}")), (BLUE.opacity(0.18), &confidence)]);
    Some(out)
}

/// A rectangle: left, top, width, height.
type Area = [f64; 4];

/// The rectangle with these corners.
fn around((x, y): (f64, f64), (other_x, other_y): (f64, f64)) -> Area {
    [x.min(other_x), y.min(other_y), (x - other_x).abs(), (y - other_y).abs()]
}

fn meet(one: &Area, other: &Area) -> bool {
    (0..2).all(|side| one[side] <= other[side] + other[side + 2] && other[side] <= one[side] + one[side + 2])
}

/// Upright lines at the bounds with the checks that set them. Words stand beside their line where they lie on nothing else.
fn mark_bounds(
    out: &mut Drawing,
    frames: [&Frame; 2],
    range: (f64, f64),
    limits: &[Limit],
    taken: &mut [Vec<Area>; 2],
) {
    let mut drawn: Vec<f64> = Vec::new();
    for (low, limit, text) in limits {
        for bound in low.iter().chain([limit]) {
            let new = !drawn.contains(bound);
            drawn.push(*bound);
            for frame in frames.into_iter().filter(|_| new) {
                let (x, top, bottom) = frame.vertical(*bound);
                out.line(vec![(x, top), (x, bottom)], RED, 1.5, true);
            }
        }
        for (frame, low) in frames.into_iter().filter_map(|frame| Some((frame, (*low)?))) {
            let ((from, top, bottom), (to, ..)) = (frame.vertical(low), frame.vertical(*limit));
            out.rect([from, top, to - from, bottom - top], RED.opacity(0.06), text.clone());
        }
    }
    let tops = [false, true];
    for (_, limit, text) in limits {
        let width = text_width(text, 11.0, false);
        for ((frame, taken), from_top) in frames.into_iter().zip(taken.iter_mut()).zip(tops) {
            let area = beside(frame, range, *limit, width, (from_top, taken));
            taken.push(area);
            out.rect(area, Colour::hex(0xffffff).opacity(0.85), "");
            out.text((area[0] + 2.0, area[1] + 11.0), (11.0, false), Anchor::Start, RED, text.clone());
        }
    }
}

/// Where words so wide find room beside the line at a value: the first row from the top or the foot in which they meet
/// nothing, at either side; else the first.
fn beside(frame: &Frame, range: (f64, f64), value: f64, width: f64, (from_top, taken): (bool, &[Area])) -> Area {
    const ROW: f64 = 15.0;
    let (x, top, bottom) = frame.vertical(value);
    let (first, last) = (frame.at(range.0, 0.0).0, frame.at(range.1, 0.0).0);
    let rows = ((bottom - top - 10.0) / ROW) as usize;
    let place = |row: usize, after: bool| {
        let down = ROW * row as f64;
        let y = if from_top { top + 3.0 + down } else { bottom - 19.0 - down };
        [if after { x + 3.0 } else { x - width - 7.0 }, y, width + 4.0, 14.0]
    };
    let is_inside = |area: &Area| area[0] >= first && area[0] + area[2] <= last;
    let all = (0..rows).flat_map(|row| [from_top, !from_top].map(|after| place(row, after))).filter(is_inside);
    let free = all.clone().find(|area| !taken.iter().any(|other| meet(area, other)));
    free.or_else(|| all.clone().next()).unwrap_or_else(|| place(0, x - first < last - x))
}

/// A mark with its value where 95 of 100 runs are done: above the curve on either side. Out: where its words are, by panel.
fn mark_percentile(out: &mut Drawing, (left, right): (&Frame, &Frame), value: f64, share: f64) -> [Vec<Area>; 2] {
    if !value.is_finite() {
        return [Vec::new(), Vec::new()];
    }
    let words = format!("p95 {}", rounded(Unit::Seconds, value));
    let width = text_width(&words, 12.0, true);
    let (x, y) = left.at(value, 100.0 * share);
    let (edge, top, _) = left.vertical(f64::MIN);
    out.rect([x - 4.0, y - 4.0, 8.0, 8.0], INK, words.clone());
    // Left of the mark the panel is empty, if there is room.
    let (at, anchor) =
        if x - edge > width + 16.0 { ((x - 6.0, y - 6.0), Anchor::End) } else { ((edge, top - 8.0), Anchor::Start) };
    out.text(at, (12.0, true), anchor, INK, words.clone());
    let of_words = |(x, y): (f64, f64), anchor: Anchor| {
        let from = if anchor == Anchor::Start { x } else { x - width };
        vec![[from, y - 11.0, width, 14.0]]
    };
    let in_left = of_words(at, anchor);
    let (x, y) = right.at(value, (1.0 - share).log10());
    out.rect([x - 4.0, y - 4.0, 8.0, 8.0], INK, words.clone());
    let (end, ..) = right.vertical(f64::MAX);
    let (at, anchor) = if end - x > width + 16.0 { (x + 9.0, Anchor::Start) } else { (x - 9.0, Anchor::End) };
    out.text((at, y - 4.0), (12.0, true), anchor, INK, words);
    [in_left, of_words((at, y - 4.0), anchor)]
}

/// A part of a bar.
struct Part {
    name: String,
    colour: Colour,
    length: f64,
}

/// Phases stacked, in the runs around p50, p95 and p99; what is too short to be seen is "other", so that each bar ends where
/// its number is.
fn phases(runs: &Runs, measure: Measure) -> Option<Drawing> {
    let whole = Scope::default();
    let count = runs.stages(measure, &whole)?.len();
    let shown: Vec<f64> = [50.0, 95.0, 99.0].into_iter().filter(|&p| count >= statistics::least_runs(p)).collect();
    let found: Vec<_> =
        shown.iter().filter_map(|&percent| Some((percent, runs.attribution_of(measure, &whole, percent)?))).collect();
    let longest = found.iter().map(|(_, one)| one.tail_total).fold(0.0, f64::max);
    let (_, first) = found.first()?;
    let kept: Vec<usize> = (0..first.stages.len())
        .filter(|&index| found.iter().any(|(_, one)| one.tail[index] >= longest * 0.01))
        .collect();
    let bars: Vec<(f64, f64, Vec<Part>)> = found
        .iter()
        .map(|(percent, one)| (*percent, one.tail_total, parts(&one.stages, &one.tail, &kept, one.tail_total)))
        .collect();
    let mut entries: Vec<(Colour, String)> = Vec::new();
    for part in bars.iter().flat_map(|(_, _, parts)| parts) {
        match entries.iter_mut().find(|(colour, _)| *colour == part.colour) {
            Some((_, names)) if names.split(", ").any(|name| name == part.name) => {}
            Some((_, names)) => *names += &format!(", {}", part.name),
            None => entries.push((part.colour, part.name.clone())),
        }
    }
    let below = 60.0 + 44.0 * bars.len() as f64;
    let rows = legend_rows(&entries, 900.0);
    let mut out = drawing(
        1_000.0,
        below + 66.0 + 20.0 * rows.len() as f64,
        &format!("Where the {} goes", measure.name().replace('_', " ")),
        "stages of the critical path at percentiles",
    );
    let frame = Frame::new([60.0, 60.0, 900.0, 44.0 * bars.len() as f64], (0.0, longest * 1.12), (0.0, 1.0));
    frame.draw(&mut out, ("", &ticks(Unit::Seconds, (0.0, longest * 1.12), 7)), ("", &[]));
    for (row, (percent, total, parts)) in bars.iter().enumerate() {
        bar(&mut out, &frame, 66.0 + 44.0 * row as f64, (*percent, *total), parts);
    }
    for (row, entries) in rows.iter().enumerate() {
        let entries: Vec<(Colour, &str)> = entries.iter().map(|(colour, name)| (*colour, name.as_str())).collect();
        legend(&mut out, 60.0, below + 46.0 + 20.0 * row as f64, &entries);
    }
    Some(out)
}

/// The parts of a bar, to its whole length.
fn parts(stages: &[&str], lengths: &[f64], kept: &[usize], total: f64) -> Vec<Part> {
    let seen = |index: usize| lengths[index].max(0.0);
    let sum: f64 = kept.iter().map(|&index| seen(index)).sum();
    // Estimates near a percentile may come out a little below nothing; the others are then a little too long.
    let fit = if sum > total && sum > 0.0 { total / sum } else { 1.0 };
    let part = |&index: &usize| Part {
        name: stages[index].to_string(),
        colour: colour(stages[index], index),
        length: seen(index) * fit,
    };
    let mut parts: Vec<Part> = kept.iter().map(part).filter(|part| part.length > 0.0).collect();
    if total - sum * fit > total * 1e-6 {
        parts.push(Part { name: "other".to_string(), colour: OTHER, length: total - sum * fit });
    }
    parts
}

fn bar(out: &mut Drawing, frame: &Frame, top: f64, (percent, total): (f64, f64), parts: &[Part]) {
    out.text((52.0, top + 21.0), (12.0, true), Anchor::End, INK, format!("p{percent}"));
    let mut from = 0.0;
    for part in parts {
        let (x, to) = (frame.at(from, 0.0).0, frame.at(from + part.length, 0.0).0);
        let time = rounded(Unit::Seconds, (part.length * 10.0).round() / 10.0);
        let gap = if to - x > 3.0 { 1.0 } else { 0.0 };
        out.rect([x, top, (to - x - gap).max(0.0), 32.0], part.colour, format!("{} at p{percent}: {time}", part.name));
        let words = [format!("{} {time}", part.name), time];
        if let Some(words) = words.into_iter().find(|words| text_width(words, 11.0, false) + 8.0 < to - x) {
            let Colour(red, green, blue, _) = part.colour;
            let light = 0.299 * f64::from(red) + 0.587 * f64::from(green) + 0.114 * f64::from(blue) > 125.0;
            let ink = if light { Colour::hex(0x000000) } else { Colour::hex(0xffffff) };
            out.text((f64::midpoint(x, to), top + 20.0), (11.0, false), Anchor::Middle, ink, words);
        }
        from += part.length;
    }
    let end = (frame.at(from, 0.0).0 + 6.0, top + 20.0);
    out.text(end, (12.0, true), Anchor::Start, INK, rounded(Unit::Seconds, total));
}

/// Entries of a legend in rows that fit.
fn legend_rows(entries: &[(Colour, String)], width: f64) -> Vec<Vec<(Colour, String)>> {
    let mut rows: Vec<Vec<(Colour, String)>> = vec![Vec::new()];
    let mut used = 0.0;
    for (colour, name) in entries {
        let wide = 40.0 + text_width(name, 12.0, false);
        if used + wide > width && used > 0.0 {
            rows.push(Vec::new());
            used = 0.0;
        }
        used += wide;
        if let Some(row) = rows.last_mut() {
            row.push((*colour, name.clone()));
        }
    }
    rows
}

const OTHER: Colour = Colour::hex(0xe4e7eb);

/// The colour of a stage: that of the same phase in the picture of one run.
fn colour(stage: &str, index: usize) -> Colour {
    let phase = Phase::ALL.into_iter().find(|phase| phase.name() == stage);
    phase.map_or(PALETTE[(5 + index) % PALETTE.len()], breakdown::colour)
}

/// Replicas in service over time: the middle, and where half and where nine tenths of the runs lie.
fn fan(plan: &Plan, runs: &Runs) -> Option<Drawing> {
    let columns: Vec<Vec<u16>> = (0..FAN_POINTS)
        .map(|point| {
            let mut column: Vec<u16> =
                runs.samples.iter().filter_map(|sample| sample.fan.get(point).copied()).collect();
            column.sort_unstable();
            column
        })
        .collect();
    let most = columns.iter().filter_map(|column| column.last()).max().copied().filter(|&most| most > 0)?;
    let length = plan.until.since(plan.start).seconds() / 60.0;
    let together = if plan.deployments.len() > 1 { ", all workloads together" } else { "" };
    let title = format!("{}: replicas in service{together}", plan.name);
    let mut out = drawing(1_000.0, 400.0, &title, "replicas in service over time in all runs");
    let frame = Frame::new([60.0, 60.0, 900.0, 260.0], (0.0, length), (0.0, f64::from(most) * 1.05));
    let step = (f64::from(most) / 5.0).ceil().max(1.0);
    let counts = (0..=(f64::from(most) / step) as u32).map(|tick| f64::from(tick) * step);
    let counts: Vec<Tick> = counts.map(|count| (count, short(count))).collect();
    let times: Vec<Tick> = ticks(Unit::Seconds, (0.0, length * 60.0), 8);
    let times: Vec<Tick> = times.into_iter().map(|(second, words)| (second / 60.0, words)).collect();
    frame.draw(&mut out, ("after the start", &times), ("", &counts));
    let at = |point: usize, percent: f64| {
        let column = &columns[point];
        let rank = (percent / 100.0 * column.len() as f64).ceil() as usize;
        let value = column[rank.clamp(1, column.len()) - 1];
        frame.at(length * point as f64 / (FAN_POINTS - 1) as f64, f64::from(value))
    };
    for (low, high, opacity) in [(5.0, 95.0, 0.18), (25.0, 75.0, 0.30)] {
        let upper = (0..FAN_POINTS).map(|point| at(point, high));
        let lower = (0..FAN_POINTS).rev().map(|point| at(point, low));
        out.area(upper.chain(lower).collect(), BLUE.opacity(opacity));
    }
    out.line((0..FAN_POINTS).map(|point| at(point, 50.0)).collect(), BLUE, 2.0, false);
    let marks = [(BLUE, "median"), (BLUE.opacity(0.45), "half of the runs"), (BLUE.opacity(0.18), "nine tenths")];
    legend(&mut out, 60.0, 372.0, &marks);
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_ends_where_its_number_is() {
        let stages = ["boot", "binding", "readiness"];
        let sum = |lengths: [f64; 3], total| -> f64 {
            parts(&stages, &lengths, &[0, 2], total).iter().map(|p| p.length).sum()
        };
        assert!((sum([20.0, 0.4, 30.0], 50.4) - 50.4).abs() < 1e-9, "what is not shown is other");
        assert!((sum([20.0, -0.4, 30.0], 49.6) - 49.6).abs() < 1e-9, "less than nothing shortens the others");
        assert_eq!(
            parts(&stages, &[20.0, 0.4, 30.0], &[0, 2], 50.4).last().map(|part| part.name.as_str()),
            Some("other")
        );
    }

    #[test]
    fn a_range_has_both_of_its_bounds() {
        let checks = ["p95(time_to_serve) in 2m..3m", "time_to_serve <= 4m", "time_to_serve >= 1m"];
        let start = crate::engine::Time::from_unix_seconds(0);
        let plan = Plan {
            expectations: checks.iter().map(|text| crate::rules::expectation::parse(text).unwrap()).collect(),
            ..Plan::empty(start, crate::engine::Span::from_secs(60))
        };
        let found: Vec<_> = bounds(&plan, Measure::TimeToServe).into_iter().map(|(low, high, _)| (low, high)).collect();
        assert_eq!(found, [(Some(120.0), 180.0), (None, 240.0)]);
    }

    #[test]
    fn phases_have_the_colours_of_the_timeline() {
        for phase in Phase::ALL {
            assert_eq!(colour(phase.name(), 0), breakdown::colour(phase), "{}", phase.name());
        }
    }
}
