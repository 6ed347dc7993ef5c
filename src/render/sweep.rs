//! The results of a sweep: the sentence that answers, a table for the screen, `results.csv`, and a picture: lines for one
//! parameter, a heat map with the feasible region for two.

mod lines;

use super::gate_words;
use super::plot::{AXIS, GRID, INK, caption, drawing, legend};
use super::text::{line, table_cell};
use super::timeline::canvas::{Anchor, Colour, Drawing, fitted, text_width};
use super::timeline::{png, svg};
use crate::analysis::gate::{self, Gate};
use crate::analysis::grid::{Grid, Point};
use crate::analysis::statistics::Estimate;
use crate::analysis::summary::{VERSION, measured};
use crate::rules::expectation::{Unit, Verdict, parse, parse_quantity};
use std::fmt::Write;

/// The screen shows so many points; the file has all.
const ROWS_MAX: usize = 24;
/// The square that marks the answer on a map, and its colour.
const ANSWER: f64 = 10.0;
const ANSWERS: Colour = Colour::hex(0xe8a200);
/// Columns of the screen.
const SCREEN: usize = 80;

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
                [number(estimate.point), number(estimate.low), number(estimate.high)]
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

/// How many runs a point would settle what is undecided; nothing where nothing is.
fn settled_by(grid: &Grid) -> Option<String> {
    let open: Vec<&Point> = grid.points.iter().filter(|point| point.verdict() == Verdict::Undecided).collect();
    let of_point = |point: &&Point| {
        let undecided = point.holds.iter().filter(|gate| gate.verdict == Verdict::Undecided);
        undecided.map(|gate| gate.would_decide).collect::<Option<Vec<u64>>>()?.into_iter().max()
    };
    let needed: Vec<u64> = open.iter().filter_map(of_point).collect();
    let without = open.iter().filter(|point| nothing_measured(point).is_some()).count();
    let nothing = open.iter().find_map(|point| nothing_measured(point)).map_or_else(String::new, |gate| {
        let points = if without == 1 { "1 point" } else { &format!("{without} points") };
        format!(" At {points} no run had anything to measure for {}: there more runs do not help.", gate.text)
    });
    let left = match open.len() - needed.len() - without {
        0 => String::new(),
        1 => " 1 point lies on its bound, or hangs on waits that were broken off: no number of runs is known to settle it."
            .to_string(),
        left => format!(
            " {left} points lie on their bound, or hang on waits that were broken off: no number of runs is known to settle them."
        ),
    };
    let (least, most) = match (needed.iter().min(), needed.iter().max()) {
        (Some(least), Some(most)) => (least, most),
        _ if left.is_empty() => return (without > 0).then(|| nothing.trim_start().to_string()),
        _ => return Some(format!("Undecided:{left}{nothing}")),
    };
    let all = needed.len() == open.len();
    let said = match (needed.len(), least == most) {
        (count, true) if !all => {
            format!("About {most} runs a point would settle {count} of the {} undecided points", open.len())
        }
        (_, true) => format!("About {most} runs a point would settle what is undecided"),
        (count, false) => {
            let whole = if all { "all of them".to_string() } else { format!("{count} of the {}", open.len()) };
            format!(
                "About {least} runs a point would settle the first undecided point, and about {most} would settle {whole}"
            )
        }
    };
    Some(format!("{said} (--runs {most}).{left}{nothing}"))
}

/// What is undecided at a point because no run had anything to measure, such as no step in the window.
fn nothing_measured(point: &Point) -> Option<&Gate> {
    point.holds.iter().find(|gate| gate.verdict == Verdict::Undecided && gate.runs == 0)
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
    if let Some(more) = settled_by(grid) {
        line(&mut out, "", &more);
    }
    out.push('\n');
    screen_table(&mut out, grid);
    out.push('\n');
    line(&mut out, "", &provenance(grid));
    out
}

/// A column of the screen.
struct Column {
    head: String,
    /// The letter that stands for a head that finds no room.
    letter: Option<char>,
    cells: Vec<String>,
    is_parameter: bool,
}

impl Column {
    fn width(&self) -> usize {
        let cells = self.cells.iter().map(|cell| cell.chars().count()).max().unwrap_or(0);
        cells.max(if self.letter.is_some() { 1 } else { self.head.chars().count() })
    }
}

/// Whether what must hold bounds what is measured: the same number, of the same part of a run.
fn is_about(measure: &str, hold: &str) -> bool {
    parse_quantity(measure).ok().zip(parse(hold).ok()).is_some_and(|(measure, hold)| hold.measures_the_same(&measure))
}

/// Parameters, what is measured, what must hold and what is to be small, each once. What is measured and must hold has the bound
/// in its head.
fn columns(grid: &Grid, rows: &[&Point]) -> Vec<Column> {
    let column = |head: &str, is_parameter: bool, cell: &dyn Fn(&Point) -> String| {
        let cells = rows.iter().map(|point| cell(point)).collect();
        Column { head: head.to_string(), letter: None, cells, is_parameter }
    };
    let mut all: Vec<Column> = Vec::new();
    for (index, name) in grid.parameters.iter().enumerate() {
        all.push(column(name, true, &|point| point.values[index].clone()));
    }
    for (index, measure) in grid.measures.iter().enumerate() {
        let hold = grid.holds.iter().find(|hold| is_about(measure, hold));
        all.push(column(hold.unwrap_or(measure), false, &|point| number(&point.measures[index])));
    }
    for (index, hold) in grid.holds.iter().enumerate() {
        if all.iter().all(|column| column.head != *hold) {
            all.push(column(hold, false, &|point| number(&point.holds[index])));
        }
    }
    if let Some(least) = least_column(grid) {
        all.push(column(least, false, &|point| point.minimise.as_ref().map_or_else(String::new, number)));
    }
    all
}

/// One row a point. Where the heads are more than a screen, letters stand for them, and what still finds no room is named below.
fn screen_table(out: &mut String, grid: &Grid) {
    let rows: Vec<&Point> = grid.points.iter().take(ROWS_MAX).collect();
    let mut all = columns(grid, &rows);
    let verdict = if grid.holds.is_empty() { 0 } else { 2 + Verdict::Undecided.name().len() };
    let whole = |all: &[Column]| all.iter().map(|column| column.width() + 2).sum::<usize>() - 2 + verdict;
    for parameters_too in [false, true] {
        if whole(&all) > SCREEN {
            let meant = all.iter_mut().filter(|column| parameters_too || !column.is_parameter);
            meant.zip('a'..='z').for_each(|(column, letter)| column.letter = Some(letter));
        }
    }
    let mut room = SCREEN - verdict;
    let fits = |column: &&Column| {
        let fit = column.width() <= room;
        room = room.saturating_sub(column.width() + 2);
        fit
    };
    let count = all.iter().take_while(fits).count();
    let (shown, left) = all.split_at(count);
    for (letter, column) in shown.iter().filter_map(|column| Some((column.letter?, column))) {
        line(out, &format!("  {letter}  "), &column.head);
    }
    if shown.iter().any(|column| column.letter.is_some()) {
        out.push('\n');
    }
    let row = |text: &dyn Fn(&Column) -> String, end: &str| {
        let columns = shown.iter().map(|column| {
            let (text, width) = (text(column), column.width());
            if column.is_parameter { format!("{text:<width$}") } else { format!("{text:>width$}") }
        });
        let text = columns.collect::<Vec<_>>().join("  ");
        format!("{text}  {end}").trim_end().to_string()
    };
    let head = |column: &Column| column.letter.map_or_else(|| column.head.clone(), String::from);
    let _ = writeln!(out, "{}", row(&head, ""));
    for (number, point) in rows.iter().enumerate() {
        let end = if point.holds.is_empty() { "" } else { point.verdict().name() };
        let _ = writeln!(out, "{}", row(&|column| column.cells[number].clone(), end));
    }
    if shown.iter().any(|column| column.cells.iter().any(|cell| cell == "-")) {
        line(out, "-: ", "nothing to measure, or in fewer runs than a percentile takes: 59 for a p95, 299 for a p99");
    }
    if grid.points.len() > ROWS_MAX {
        line(out, "", &format!("and {} more in results.csv", grid.points.len() - ROWS_MAX));
    }
    if !left.is_empty() {
        let names: Vec<&str> = left.iter().map(|column| column.head.as_str()).collect();
        line(out, "", &format!("in results.csv also: {}", names.join(", ")));
    }
}

fn number(gate: &Gate) -> String {
    gate.estimate.map_or_else(|| "-".to_string(), |estimate| table_cell(gate.unit, estimate.point))
}

fn picture(grid: &Grid) -> Option<Drawing> {
    match grid.parameters.len() {
        1 => lines::draw(grid),
        2 => heat_map(grid),
        _ => None,
    }
}

fn mark(verdict: Verdict) -> Colour {
    match verdict {
        Verdict::Holds => Colour::hex(0x1a7f37),
        Verdict::Undecided => Colour::hex(0xbf8700),
        Verdict::Fails => Colour::hex(0xc0392b),
    }
}

/// Cells coloured by the first measure; what holds is framed, what is undecided dashed.
fn heat_map(grid: &Grid) -> Option<Drawing> {
    let (rows, columns) = (grid.sizes[0], grid.sizes[1]);
    let of = |point: &Point| {
        let gate = point.measures.first().or(point.minimise.as_ref()).or(point.holds.first())?;
        gate.estimate.map(|estimate| (gate.unit, estimate))
    };
    let points = || grid.points.iter().filter_map(of).map(|(_, estimate)| estimate.point);
    let finite = || points().filter(|value| value.is_finite());
    let (low, high) = (finite().reduce(f64::min)?, finite().reduce(f64::max)?);
    let (cell_width, cell_height) = ((740.0 / columns as f64).min(150.0), (420.0 / rows as f64).clamp(22.0, 64.0));
    let (width, height) = (cell_width * columns as f64, cell_height * rows as f64);
    let mut out = drawing((width + 200.0).max(640.0), height + 188.0, &grid.name, &grid.about);
    let shown = grid.measures.first().or(grid.minimise.as_ref()).or(grid.holds.first())?;
    out.text((20.0, 52.0), (12.0, false), Anchor::Start, AXIS, shown.clone());
    let (left, top) = (130.0, 76.0);
    for (number, point) in grid.points.iter().enumerate() {
        let (row, column) = (number / columns, number % columns);
        let (x, y) = (left + cell_width * column as f64, top + cell_height * row as f64);
        let found = of(point);
        let value = found.map_or(f64::NAN, |(_, estimate)| estimate.point);
        let part = if high > low { (value - low) / (high - low) } else { 0.0 };
        let fill = if value.is_finite() { shade(part) } else { GRID };
        let words = found.map_or("-".to_string(), |(unit, estimate)| match estimate {
            // Waits were broken off: it is so much at least.
            Estimate { point, low, .. } if point.is_infinite() && low.is_finite() => {
                format!(">{}", gate::rounded(unit, low))
            }
            _ => gate::rounded(unit, value),
        });
        out.rect(
            [x + 1.0, y + 1.0, cell_width - 2.0, cell_height - 2.0],
            fill,
            format!("{}: {words}", grid.words(point)),
        );
        let ink = if value.is_finite() && part > 0.55 { Colour::hex(0xffffff) } else { INK };
        let middle = (x + cell_width / 2.0, y + cell_height / 2.0 + 4.0);
        let words = fitted(&words, 11.0, false, cell_width - 10.0);
        out.text(middle, (11.0, point.verdict() == Verdict::Holds), Anchor::Middle, ink, words);
        if !grid.holds.is_empty() {
            frame(&mut out, [x + 2.5, y + 2.5, cell_width - 5.0, cell_height - 5.0], point.verdict());
        }
        if grid.minimise.is_some() && grid.best() == Some(point) {
            out.rect([x + cell_width - 16.0, y + 6.0, ANSWER, ANSWER], ANSWERS, "the answer".to_string());
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
    let unit = grid.points.iter().find_map(of).map_or(Unit::Count, |(unit, _)| unit);
    let ends = (format!("{} least", gate::rounded(unit, low)), format!("{} most", gate::rounded(unit, high)));
    let marks = [(shade(0.0), ends.0.as_str()), (shade(1.0), ends.1.as_str())];
    let foot = top + height + 62.0;
    let answer = grid.best().filter(|_| grid.minimise.is_some()).map(|_| (ANSWERS, "the answer"));
    legend(&mut out, left, foot, &marks.into_iter().chain(answer).collect::<Vec<_>>());
    if !grid.holds.is_empty() {
        let (mut x, foot) = (left, foot + 22.0);
        for (verdict, words) in [(Verdict::Holds, "all holds"), (Verdict::Undecided, "undecided")] {
            frame(&mut out, [x + 1.0, foot - 10.0, 20.0, 12.0], verdict);
            out.text((x + 28.0, foot), (12.0, false), Anchor::Start, INK, words);
            x += 28.0 + text_width(words, 12.0, false) + 22.0;
        }
        out.text((x, foot), (12.0, false), Anchor::Start, INK, "no frame: fails");
    }
    Some(out)
}

/// The frame of a point by its verdict: what fails has none.
fn frame(out: &mut Drawing, [x, y, width, height]: [f64; 4], verdict: Verdict) {
    let open = verdict == Verdict::Undecided;
    let corners = [(x, y), (x + width, y), (x + width, y + height), (x, y + height), (x, y)];
    if verdict != Verdict::Fails {
        out.line(corners.to_vec(), mark(verdict), if open { 2.0 } else { 2.5 }, open);
    }
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
    use crate::analysis::statistics::Estimate;

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
    fn what_is_undecided_says_how_many_runs_would_settle_it() {
        let mut grid = grid();
        assert_eq!(settled_by(&grid), None);
        for (point, runs) in grid.points.iter_mut().zip([None, Some(93), Some(93), Some(1_200)]) {
            (point.holds[0].verdict, point.holds[0].would_decide) = (Verdict::Undecided, runs);
        }
        let said = text(&grid).split_whitespace().collect::<Vec<_>>().join(" ");
        let first = "About 93 runs a point would settle the first undecided point, and about 1200 would settle 3 of the 4 \
                     (--runs 1200).";
        assert!(said.contains(first) && said.contains("1 point lies on its bound"), "{said}");
        // The frame of what is undecided is explained below the picture.
        let words = String::from_utf8(svg::render(&heat_map(&grid).unwrap())).unwrap();
        assert!(["all holds", "undecided", "no frame: fails"].iter().all(|said| words.contains(said)));
        grid.points.remove(0);
        grid.points.truncate(2);
        assert_eq!(settled_by(&grid).unwrap(), "About 93 runs a point would settle what is undecided (--runs 93).");
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
    fn heads_are_never_torn_and_what_must_hold_has_a_column() {
        let mut grid = grid();
        assert!(
            text(&grid).contains("min replicas  headroom  p95(time_to_serve) <= 100s  mean(cost)\n"),
            "{}",
            text(&grid)
        );
        grid.measures = vec!["p95(node_termination_after_empty)".into(), "mean(evictions)".into()];
        for point in &mut grid.points {
            let share = Gate { unit: Unit::Share, estimate: Some(Estimate::exact(0.25)), ..point.measures[0].clone() };
            point.measures.push(share);
        }
        let text = text(&grid);
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        for line in [
            "  a  p95(node_termination_after_empty)",
            "  b  mean(evictions)",
            "  c  p95(time_to_serve) <= 100s",
            "  d  mean(cost)",
            "min replicas  headroom      a    b      c        d",
            "3             0            2m  25%     2m  $0.0100  fails",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }

    #[test]
    fn what_is_held_of_a_window_has_a_column_of_its_own() {
        let mut grid = grid();
        let window = "p95(time_to_serve) of window 4m..20m".to_string();
        grid.measures = vec![window, "p95(time_to_serve)".to_string()];
        grid.holds = vec!["p95(time_to_serve)  <= 100s of window 4m..20m".to_string()];
        for point in &mut grid.points {
            let whole = Gate { estimate: Some(Estimate::exact(180.0)), ..point.measures[0].clone() };
            point.measures.push(whole);
        }
        let text = text(&grid);
        assert!(
            text.contains("  a  p95(time_to_serve) <= 100s of window 4m..20m\n  b  p95(time_to_serve)\n"),
            "{text}"
        );
        assert!(text.contains("\n4             0         1m38s  3m  $0.0160  holds\n"), "{text}");
    }

    #[test]
    fn a_point_without_anything_to_measure_does_not_lie_on_its_bound() {
        let mut grid = grid();
        grid.points.truncate(1);
        let hold = Gate {
            text: grid.holds[0].clone(),
            verdict: Verdict::Undecided,
            estimate: None,
            runs: 0,
            ..grid.points[0].holds[0].clone()
        };
        grid.points[0].holds[0] = hold;
        let said = settled_by(&grid).unwrap();
        assert!(said.starts_with("At 1 point no run had anything to measure for p95(time_to_serve) <= 100s"), "{said}");
    }

    #[test]
    fn a_map_marks_the_answer() {
        let words = |grid: &Grid| String::from_utf8(svg::render(&heat_map(grid).unwrap())).unwrap();
        assert!(words(&grid()).matches("the answer").count() >= 2, "the mark and the legend");
        assert!(!words(&Grid { minimise: None, ..grid() }).contains("the answer"));
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
