//! Charts of many runs: the distribution with its band and its logarithmic tail, phases at p50, p95 and p99, and replicas
//! over time as a fan.

use super::{provenance, subject};
use crate::analysis::runs::Runs;
use crate::analysis::sample::FAN_POINTS;
use crate::analysis::statistics::{self, percentile_ranks};
use crate::plan::Plan;
use crate::render::plot::{Frame, INK, PALETTE, caption, drawing, legend};
use crate::render::timeline::canvas::{Anchor, Colour, Drawing};
use crate::render::timeline::{png, svg};
use crate::rules::expectation::{Bound, Comparison, Measure, Scope};

const BLUE: Colour = Colour::hex(0x1f6fb4);
const RED: Colour = Colour::hex(0xc0392b);

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

/// The bound that the scenario sets to a measure, if it sets one.
fn bound(plan: &Plan, measure: Measure) -> Option<f64> {
    let checks = plan.claims.iter().map(|claim| &claim.check).chain(&plan.expectations);
    let mut bounds = checks.filter(|check| check.subject.measure() == measure).filter_map(|check| match check.bound {
        Bound::Compare(Comparison::Less | Comparison::LessOrEqual, bound) => Some(bound),
        Bound::Within(_, high) => Some(high),
        Bound::Compare(..) => None,
    });
    bounds.next()
}

/// Left the share of runs that are done by then, right the share that are not, on a logarithmic scale.
fn distribution(plan: &Plan, runs: &Runs, measure: Measure) -> Option<Drawing> {
    let mut known: Vec<f64> = runs.values_of(measure, &Scope::default())?.into_iter().flatten().collect();
    known.retain(|value| value.is_finite());
    known.sort_by(f64::total_cmp);
    let count = known.len();
    if count < 2 {
        return None;
    }
    let words = measure.name().replace('_', " ");
    let title = format!("{}: {words}", plan.name);
    let mut out = drawing(1_000.0, 400.0, &title, "the share of runs by time, with the band of confidence");
    let limit = bound(plan, measure);
    let (first, last) = (known[0], known[count - 1].max(limit.unwrap_or(0.0)));
    let pad = ((last - first) * 0.04).max(0.5);
    let range = (first - pad, last + pad);
    let floor = (0.5 / count as f64).log10();
    let left = Frame::new([60.0, 60.0, 420.0, 260.0], range, (0.0, 100.0));
    let right = Frame::new([550.0, 60.0, 420.0, 260.0], range, (floor, 0.0));
    left.draw(&mut out, &format!("{words}, s"), "% of runs that are done", &[0.0, 25.0, 50.0, 75.0, 95.0, 100.0], "");
    let decades: Vec<f64> = (0..=(-floor).floor() as i32).map(|power| -f64::from(power)).collect();
    right.draw_log(&mut out, &format!("{words}, s"), "share of runs that take longer", &decades);
    // At each rank the band is what the ranks of that percentile enclose.
    let points = 200.min(count);
    let ranks: Vec<usize> = (1..=points).map(|point| (point * count / points).max(1)).collect();
    let (mut low, mut high) = (Vec::new(), Vec::new());
    for &rank in &ranks {
        let percent = (rank as f64 - 0.5) / count as f64 * 100.0;
        let (from, to) = percentile_ranks(count, percent, runs.level);
        low.push((known[from.map_or(0, |rank| rank - 1)], percent));
        high.push((known[to.map_or(count - 1, |rank| rank - 1)], percent));
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
    out.line(line(&left, &|percent| percent), BLUE, 2.0, false);
    out.line(line(&right, &exceeds), BLUE, 2.0, false);
    if let Some(limit) = limit {
        for frame in [&left, &right] {
            let (x, top, bottom) = frame.vertical(limit);
            out.line(vec![(x, top), (x, bottom)], RED, 1.5, true);
            out.text((x - 4.0, top + 12.0), (11.0, false), Anchor::End, RED, "the bound");
        }
    }
    let confidence = format!("{:.0} % band of each percentile", runs.level * 100.0);
    legend(&mut out, 60.0, 372.0, &[(BLUE, &format!("{count} runs")), (BLUE.opacity(0.18), &confidence)]);
    Some(out)
}

/// Phases stacked, in the runs around p50, p95 and p99.
fn phases(runs: &Runs, measure: Measure) -> Option<Drawing> {
    let whole = Scope::default();
    let count = runs.stages(measure, &whole)?.len();
    let shown: Vec<f64> = [50.0, 95.0, 99.0].into_iter().filter(|&p| count >= statistics::least_runs(p)).collect();
    let found: Vec<_> = shown.iter().filter_map(|&percent| runs.attribution_of(measure, &whole, percent)).collect();
    let longest = found.iter().map(|one| one.tail_total).fold(0.0, f64::max);
    let first = found.first()?;
    let kept: Vec<usize> =
        (0..first.stages.len()).filter(|&index| found.iter().any(|one| one.tail[index] >= longest * 0.005)).collect();
    let height = 130.0 + 44.0 * found.len() as f64 + 20.0 * kept.len().div_ceil(4) as f64;
    let title = format!("Where the {} goes", measure.name().replace('_', " "));
    let mut out = drawing(1_000.0, height, &title, "stages of the critical path at percentiles");
    let frame = Frame::new([60.0, 60.0, 900.0, 44.0 * found.len() as f64], (0.0, longest * 1.08), (0.0, 1.0));
    frame.draw(&mut out, "s", "", &[], "");
    for (row, (one, percent)) in found.iter().zip(&shown).enumerate() {
        let top = 66.0 + 44.0 * row as f64;
        out.text((52.0, top + 21.0), (12.0, true), Anchor::End, INK, format!("p{percent}"));
        let mut from = 0.0;
        for &index in &kept {
            let length = one.tail[index].max(0.0);
            let (x, to) = (frame.at(from, 0.0).0, frame.at(from + length, 0.0).0);
            let tip = format!("{} at p{percent}: {length:.1} s", one.stages[index]);
            out.rect([x, top, (to - x).max(0.0), 32.0], colour(index), tip);
            if to - x > 34.0 {
                let middle = (f64::midpoint(x, to), top + 20.0);
                out.text(middle, (11.0, false), Anchor::Middle, Colour::hex(0xffffff), format!("{length:.0}"));
            }
            from += length;
        }
        let total = format!("{:.1} s", one.tail_total);
        out.text((frame.at(from, 0.0).0 + 6.0, top + 20.0), (12.0, true), Anchor::Start, INK, total);
    }
    let top = 60.0 + 44.0 * found.len() as f64 + 52.0;
    for (place, &index) in kept.iter().enumerate() {
        let (x, y) = (60.0 + 225.0 * (place % 4) as f64, top + 20.0 * (place / 4) as f64);
        legend(&mut out, x, y, &[(colour(index), first.stages[index])]);
    }
    Some(out)
}

fn colour(index: usize) -> Colour {
    PALETTE[index % PALETTE.len()]
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
    let title = format!("{}: replicas in service", plan.name);
    let mut out = drawing(1_000.0, 400.0, &title, "replicas in service over time in all runs");
    let frame = Frame::new([60.0, 60.0, 900.0, 260.0], (0.0, length), (0.0, f64::from(most) * 1.05));
    let step = (f64::from(most) / 5.0).ceil().max(1.0);
    let ticks: Vec<f64> = (0..=(f64::from(most) / step) as u32).map(|tick| f64::from(tick) * step).collect();
    frame.draw(&mut out, "minutes after the start", "replicas in service", &ticks, "");
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
