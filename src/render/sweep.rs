//! The results of a sweep: the sentence that answers, a table for the screen, `results.csv`, and a picture: lines for one
//! parameter, a heat map with the feasible region for two.

use super::gate_words;
use super::plot::{AXIS, Frame, GRID, INK, caption, drawing, legend, round_ticks, short};
use super::text::line;
use super::timeline::canvas::{Anchor, Colour, Drawing, fitted};
use super::timeline::{png, svg};
use crate::analysis::gate::{self, Gate};
use crate::analysis::grid::{Grid, Point};
use crate::analysis::statistics::Estimate;
use crate::analysis::summary::{VERSION, measured};
use crate::rules::expectation::{Unit, Verdict};
use std::fmt::Write;

const BLUE: Colour = Colour::hex(0x1f6fb4);
/// The screen shows so many points; the file has all.
const ROWS_MAX: usize = 24;

/// The line that every file carries.
pub fn provenance(grid: &Grid) -> String {
    let (name, hash, seed, runs) = (&grid.name, &grid.hash, grid.seed, grid.runs);
    format!("kubelapse {VERSION}, study {name}, hash {hash}, seed {seed}, {runs} runs a point")
}

/// `results.csv` and the picture.
pub fn files(grid: &Grid) -> Vec<(String, Vec<u8>)> {
    let mut files = vec![("results.csv".to_string(), table(grid).into_bytes())];
    if let Some(mut drawing) = picture(grid) {
        let about = provenance(grid);
        caption(&mut drawing, &about);
        files.push(("sweep.svg".to_string(), svg::render(&drawing)));
        files.push(("sweep.png".to_string(), png::render(&drawing, &about)));
    }
    files
}

fn table(grid: &Grid) -> String {
    let mut out = format!("# {}\npoint", provenance(grid));
    grid.parameters.iter().for_each(|name| out.push_str(&format!(",{}", cell(name))));
    for text in grid.measures.iter().chain(least_column(grid)) {
        let _ = write!(out, ",{},{},{}", cell(text), cell(&format!("{text} low")), cell(&format!("{text} high")));
    }
    grid.holds.iter().for_each(|text| out.push_str(&format!(",{}", cell(text))));
    out.push_str(",verdict\n");
    for (number, point) in grid.points.iter().enumerate() {
        let _ = write!(out, "{number}");
        point.values.iter().for_each(|value| out.push_str(&format!(",{}", cell(value))));
        for gate in point.measures.iter().chain(point.minimise.iter().filter(|_| least_column(grid).is_some())) {
            let number = |value: f64| if value.is_finite() { measured(value).to_string() } else { String::new() };
            let cells = gate.estimate.map_or([String::new(), String::new(), String::new()], |estimate| {
                let point = if estimate.point.is_finite() { number(estimate.point) } else { "never".to_string() };
                [point, number(estimate.low), number(estimate.high)]
            });
            let _ = write!(out, ",{}", cells.join(","));
        }
        point.holds.iter().for_each(|gate| out.push_str(&format!(",{}", gate.verdict.name())));
        let _ = writeln!(out, ",{}", point.verdict().name());
    }
    out
}

/// What is to be small, if it is not measured anyway.
fn least_column(grid: &Grid) -> Option<&String> {
    grid.minimise.as_ref().filter(|least| !grid.measures.contains(least))
}

fn cell(text: &str) -> String {
    if text.contains([',', '"', '\n']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_string() }
}

/// The sentence that answers the question.
pub fn answer(grid: &Grid) -> String {
    let count = |verdict| grid.points.iter().filter(|point| point.verdict() == verdict).count();
    let (holding, open, all) = (count(Verdict::Holds), count(Verdict::Undecided), grid.points.len());
    if grid.holds.is_empty() {
        return grid.best().filter(|_| grid.minimise.is_some()).map_or_else(
            || format!("{all} points measured."),
            |best| format!("The least {} is at {}: {}.", least(grid), grid.words(best), of(best.minimise.as_ref())),
        );
    }
    let wish = grid.holds.join(" and ");
    let open = if open > 0 { format!(" ({open} undecided with {} runs each)", grid.runs) } else { String::new() };
    match (grid.best(), &grid.minimise) {
        (None, _) => format!("None of {all} points is sure to keep {wish}{open}."),
        (Some(best), Some(least)) => format!(
            "{holding} of {all} points keep {wish}{open}; the least {least} among them, {}, is at {}.",
            of(best.minimise.as_ref()),
            grid.words(best)
        ),
        (Some(best), None) => {
            format!("{holding} of {all} points keep {wish}{open}; the first is {}.", grid.words(best))
        }
    }
}

fn least(grid: &Grid) -> &str {
    grid.minimise.as_deref().unwrap_or_default()
}

fn of(gate: Option<&Gate>) -> String {
    gate.map(gate_words).unwrap_or_default()
}

/// The screen.
pub fn text(grid: &Grid) -> String {
    let mut out = String::new();
    if !grid.about.is_empty() {
        line(&mut out, "", &grid.about);
    }
    line(&mut out, "", &answer(grid));
    out.push('\n');
    let shown: Vec<&String> = grid.measures.iter().chain(least_column(grid)).collect();
    let columns = (80usize.saturating_sub(12 + 14 * grid.parameters.len()) / 16).clamp(1, shown.len().max(1));
    let head: String = grid.parameters.iter().map(|name| format!("{:<14}", cut(name, 13))).collect();
    let heads: String = shown.iter().take(columns).map(|text| format!("{:>16}", cut(text, 15))).collect();
    let _ = writeln!(out, "{}", format!("{head}{heads}  ").trim_end());
    for point in grid.points.iter().take(ROWS_MAX) {
        let values: String = point.values.iter().map(|value| format!("{:<14}", cut(value, 13))).collect();
        let gates = point.measures.iter().chain(&point.minimise).take(columns);
        let cells: String = gates.map(|gate| format!("{:>16}", number(gate))).collect();
        let verdict = if point.holds.is_empty() { "" } else { point.verdict().name() };
        let _ = writeln!(out, "{}", format!("{values}{cells}  {verdict}").trim_end());
    }
    if grid.points.len() > ROWS_MAX {
        line(&mut out, "", &format!("and {} more in results.csv", grid.points.len() - ROWS_MAX));
    }
    out.push('\n');
    line(&mut out, "", &provenance(grid));
    out
}

fn cut(text: &str, width: usize) -> String {
    text.chars().take(width).collect()
}

fn number(gate: &Gate) -> String {
    gate.estimate.map_or_else(|| "-".to_string(), |estimate| gate::rounded(gate.unit, estimate.point))
}

fn picture(grid: &Grid) -> Option<Drawing> {
    match grid.parameters.len() {
        1 => lines(grid),
        2 => heat_map(grid),
        _ => None,
    }
}

/// What a parameter's value is as a number: `30s` is 30.
fn numeric(value: &str) -> Option<f64> {
    let end = value.find(|c: char| !(c.is_ascii_digit() || ".-".contains(c))).unwrap_or(value.len());
    value[..end].parse().ok()
}

/// One panel for each measure, with its band.
fn lines(grid: &Grid) -> Option<Drawing> {
    let measures: Vec<usize> = (0..grid.measures.len()).take(3).collect();
    if measures.is_empty() || grid.points.len() < 2 {
        return None;
    }
    let height = 100.0 + 260.0 * measures.len() as f64;
    let mut out = drawing(900.0, height, &grid.name, &grid.about);
    let written: Option<Vec<f64>> = grid.points.iter().map(|point| numeric(&point.values[0])).collect();
    let xs = written.unwrap_or_else(|| (0..grid.points.len()).map(|index| index as f64).collect());
    let range = (xs.iter().copied().fold(f64::INFINITY, f64::min), xs.iter().copied().fold(f64::MIN, f64::max));
    for &index in &measures {
        let found: Vec<(f64, Estimate, Verdict)> = grid
            .points
            .iter()
            .zip(&xs)
            .filter_map(|(point, &x)| Some((x, point.measures[index].estimate?, point.verdict())))
            .filter(|(_, estimate, _)| estimate.point.is_finite())
            .collect();
        let end = |value: f64, point: f64| if value.is_finite() { value } else { point };
        let low = found.iter().map(|(_, e, _)| end(e.low, e.point)).fold(f64::INFINITY, f64::min);
        let high = found.iter().map(|(_, e, _)| end(e.high, e.point)).fold(f64::MIN, f64::max);
        if found.is_empty() {
            continue;
        }
        let pad = ((high - low) * 0.1).max(high.abs() * 0.01).max(1e-9);
        let top = 70.0 + 260.0 * index as f64;
        let frame = Frame::new([80.0, top, 780.0, 180.0], range, (low - pad, high + pad));
        let ticks = round_ticks((low - pad, high + pad), 5);
        frame.draw(&mut out, &grid.parameters[0], &grid.measures[index], &ticks, "");
        let upper = found.iter().map(|(x, e, _)| frame.at(*x, end(e.high, e.point)));
        let lower = found.iter().rev().map(|(x, e, _)| frame.at(*x, end(e.low, e.point)));
        out.area(upper.chain(lower).collect(), BLUE.opacity(0.18));
        out.line(found.iter().map(|(x, e, _)| frame.at(*x, e.point)).collect(), BLUE, 2.0, false);
        for (x, estimate, verdict) in &found {
            let (x, y) = frame.at(*x, estimate.point);
            out.rect([x - 4.0, y - 4.0, 8.0, 8.0], mark(*verdict), verdict.name());
        }
    }
    if !grid.holds.is_empty() {
        let marks = [Verdict::Holds, Verdict::Undecided, Verdict::Fails].map(|verdict| (mark(verdict), verdict.name()));
        legend(&mut out, 80.0, height - 26.0, &marks);
    }
    Some(out)
}

fn mark(verdict: Verdict) -> Colour {
    match verdict {
        Verdict::Holds => Colour::hex(0x1a7f37),
        Verdict::Undecided => Colour::hex(0xbf8700),
        Verdict::Fails => Colour::hex(0xc0392b),
    }
}

/// Cells coloured by the first measure; what holds is framed, what fails is crossed by its colour's mark.
fn heat_map(grid: &Grid) -> Option<Drawing> {
    let (rows, columns) = (grid.sizes[0], grid.sizes[1]);
    let of = |point: &Point| {
        let gate = point.measures.first().or(point.minimise.as_ref()).or(point.holds.first())?;
        gate.estimate.map(|estimate| (gate.unit, estimate.point))
    };
    let finite = || grid.points.iter().filter_map(of).map(|(_, value)| value).filter(|value| value.is_finite());
    let (low, high) = (finite().reduce(f64::min)?, finite().reduce(f64::max)?);
    let (cell_width, cell_height) = ((740.0 / columns as f64).min(150.0), (420.0 / rows as f64).clamp(22.0, 64.0));
    let (width, height) = (cell_width * columns as f64, cell_height * rows as f64);
    let mut out = drawing((width + 200.0).max(640.0), height + 170.0, &grid.name, &grid.about);
    let shown = grid.measures.first().or(grid.minimise.as_ref()).or(grid.holds.first())?;
    out.text((20.0, 52.0), (12.0, false), Anchor::Start, AXIS, format!("{shown}; framed in green: all holds"));
    let (left, top) = (130.0, 76.0);
    for (number, point) in grid.points.iter().enumerate() {
        let (row, column) = (number / columns, number % columns);
        let (x, y) = (left + cell_width * column as f64, top + cell_height * row as f64);
        let (unit, value) = of(point).unwrap_or((Unit::Count, f64::NAN));
        let part = if high > low { (value - low) / (high - low) } else { 0.0 };
        let fill = if value.is_finite() { shade(part) } else { GRID };
        let words = if value.is_nan() { "-".to_string() } else { gate::rounded(unit, value) };
        out.rect(
            [x + 1.0, y + 1.0, cell_width - 2.0, cell_height - 2.0],
            fill,
            format!("{}: {words}", grid.words(point)),
        );
        let ink = if value.is_finite() && part > 0.55 { Colour::hex(0xffffff) } else { INK };
        let middle = (x + cell_width / 2.0, y + cell_height / 2.0 + 4.0);
        let words = fitted(&words, 11.0, false, cell_width - 10.0);
        out.text(middle, (11.0, point.verdict() == Verdict::Holds), Anchor::Middle, ink, words);
        if !grid.holds.is_empty() && point.verdict() != Verdict::Fails {
            let corners =
                [(x, y), (x + cell_width, y), (x + cell_width, y + cell_height), (x, y + cell_height), (x, y)];
            let inner =
                corners.map(|(cx, cy)| (cx + if cx > x { -2.5 } else { 2.5 }, cy + if cy > y { -2.5 } else { 2.5 }));
            let open = point.verdict() == Verdict::Undecided;
            out.line(inner.to_vec(), mark(point.verdict()), if open { 1.0 } else { 2.5 }, open);
        }
        if column == 0 {
            out.text((left - 8.0, middle.1), (12.0, false), Anchor::End, INK, point.values[0].clone());
        }
        if row + 1 == rows {
            out.text((middle.0, top + height + 18.0), (12.0, false), Anchor::Middle, INK, point.values[1].clone());
        }
    }
    out.text((left - 8.0, top - 8.0), (12.0, true), Anchor::End, AXIS, grid.parameters[0].clone());
    out.text((left + width, top + height + 38.0), (12.0, true), Anchor::End, AXIS, grid.parameters[1].clone());
    let ends = (format!("{} least", short(low)), format!("{} most", short(high)));
    let marks = [(shade(0.0), ends.0.as_str()), (shade(1.0), ends.1.as_str()), (mark(Verdict::Holds), "holds")];
    legend(&mut out, left, top + height + 62.0, &marks);
    Some(out)
}

/// From pale to dark blue.
fn shade(part: f64) -> Colour {
    let part = part.clamp(0.0, 1.0);
    let mix = |from: f64, to: f64| (from + (to - from) * part).round() as u8;
    Colour(mix(234.0, 12.0), mix(243.0, 62.0), mix(250.0, 120.0), 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid() -> Grid {
        let gate = |value: f64, verdict| Gate {
            text: "p95(time_to_serve)".to_string(),
            verdict,
            estimate: Some(Estimate { point: value, low: value - 2.0, high: value + 2.0 }),
            unit: Unit::Seconds,
            runs: 100,
            would_decide: None,
            explanation: String::new(),
        };
        let point = |replicas: &str, headroom: &str, seconds: f64, cost: f64| {
            let verdict = if seconds <= 98.0 { Verdict::Holds } else { Verdict::Fails };
            let minimise = Gate { unit: Unit::Dollars, estimate: Some(Estimate::exact(cost)), ..gate(0.0, verdict) };
            Point {
                values: vec![replicas.to_string(), headroom.to_string()],
                measures: vec![gate(seconds, verdict)],
                holds: vec![gate(seconds, verdict)],
                minimise: Some(minimise),
            }
        };
        let points = vec![
            point("3", "0", 120.0, 0.010),
            point("3", "1", 97.0, 0.018),
            point("4", "0", 98.0, 0.016),
            point("4", "1", 60.0, 0.024),
        ];
        Grid {
            name: "spare".to_string(),
            about: "How much room?".to_string(),
            hash: "0".repeat(16),
            seed: 1,
            runs: 100,
            parameters: vec!["min replicas".to_string(), "headroom".to_string()],
            sizes: vec![2, 2],
            measures: vec!["p95(time_to_serve)".to_string()],
            holds: vec!["p95(time_to_serve) <= 100s".to_string()],
            minimise: Some("mean(cost)".to_string()),
            points,
        }
    }

    #[test]
    fn the_answer_is_the_cheapest_point_that_holds() {
        let said = answer(&grid());
        let expected = "3 of 4 points keep p95(time_to_serve) <= 100s; the least mean(cost) among them, $0.016, is at \
                        min replicas 4, headroom 0.";
        assert_eq!(said, expected);
        let none = Grid { points: vec![grid().points[0].clone()], ..grid() };
        assert!(answer(&none).starts_with("None of 1 points"), "{}", answer(&none));
    }

    #[test]
    fn the_table_has_a_row_a_point_and_the_screen_fits() {
        let table = table(&grid());
        assert_eq!(table.lines().count(), 6);
        let last = table.lines().last().unwrap();
        assert_eq!(last, "3,4,1,60,58,62,0.024,0.024,0.024,holds,holds");
        assert!(text(&grid()).lines().all(|line| line.chars().count() <= 80), "{}", text(&grid()));
        if let Ok(folder) = std::env::var("KUBELAPSE_LOOK") {
            for (name, bytes) in files(&grid()) {
                std::fs::write(format!("{folder}/{name}"), bytes).unwrap();
            }
        }
    }

    #[test]
    fn two_parameters_are_a_map_and_one_is_a_line() {
        let names = |grid: &Grid| files(grid).into_iter().map(|(name, _)| name).collect::<Vec<_>>();
        assert_eq!(names(&grid()), ["results.csv", "sweep.svg", "sweep.png"]);
        let one = Grid { parameters: vec!["headroom".to_string()], sizes: vec![4], ..grid() };
        assert_eq!(names(&one).len(), 3);
        let three = Grid { parameters: vec![String::new(); 3], sizes: vec![1, 2, 2], ..grid() };
        assert_eq!(names(&three), ["results.csv"]);
    }
}
