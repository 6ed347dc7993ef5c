//! The difference of two scenarios: a table for the screen and `differences.csv`.

use super::text::{line, table_cell, wrapped};
use crate::analysis::paired::Difference;
use crate::analysis::summary::{VERSION, measured};
use crate::rules::expectation::Measure;
use std::fmt::Write;

/// Measures that people ask for, in that order.
const ASKED_FIRST: [Measure; 8] = [
    Measure::TimeToServe,
    Measure::TimeToReplace,
    Measure::Detection,
    Measure::LostRequests,
    Measure::SlowRequests,
    Measure::MeanLatency,
    Measure::Cost,
    Measure::NodesMax,
];

/// What the first sentence tells of them before the others.
const TOLD_FIRST: [Measure; 4] = [Measure::TimeToServe, Measure::TimeToReplace, Measure::LostRequests, Measure::Cost];

/// What is compared.
#[derive(Clone, Copy, Debug)]
pub struct Sides<'a> {
    /// The scenario that is compared with.
    pub first: &'a str,
    /// The scenario that is compared.
    pub second: &'a str,
    /// Fields set on both sides, as `field=value`.
    pub both: &'a [String],
    /// Fields set on the second alone.
    pub of_second: &'a [String],
}

/// The screen: 80 columns.
pub fn text(sides: &Sides, runs: usize, differences: &[Difference], all: bool) -> String {
    let mut out = String::new();
    let same = differences.iter().all(|one| one.differing == 0);
    let head = if same {
        format!("A and B are the same in each of {runs} runs: every measure differs by exactly 0.")
    } else {
        format!(
            "From A to B {}. Over {runs} pairs of runs, each pair with the same chance.",
            changes(differences, runs)
        )
    };
    line(&mut out, "", &head);
    out.push('\n');
    line(&mut out, "  A  ", sides.first);
    let with = if sides.of_second.is_empty() { String::new() } else { format!(" with {}", sides.of_second.join(", ")) };
    line(&mut out, "  B  ", &format!("{}{with}", sides.second));
    if !sides.both.is_empty() {
        line(&mut out, "  both with ", &sides.both.join(", "));
    }
    if same {
        if !sides.both.is_empty() && sides.of_second.is_empty() {
            out.push('\n');
            line(&mut out, "", "--set changes both sides; --set-b FIELD=VALUE changes B alone.");
        }
        return out;
    }
    out.push('\n');
    let known: Vec<&Difference> = differences.iter().filter(|one| one.first != 0.0 || one.second != 0.0).collect();
    let mut shown = if all { known.clone() } else { asked_first(&known) };
    // Nothing is told apart: then what there is.
    if shown.is_empty() {
        shown.clone_from(&known);
    }
    table_of(&mut out, &shown);
    out.push('\n');
    // A run without a step has no time to serve, and one whose wait was broken off no end of it.
    let few = shown.iter().filter(|one| one.pairs < runs);
    let few: Vec<String> = few.map(|one| format!("{} {}", one.measure.name().replace('_', " "), one.pairs)).collect();
    if !few.is_empty() {
        line(
            &mut out,
            "",
            &format!("Of fewer pairs, those in which both sides could be measured: {}.", few.join(", ")),
        );
        out.push('\n');
    }
    if shown.len() < known.len() {
        let rest = known.len() - shown.len();
        line(
            &mut out,
            "",
            &format!("{rest} further measures are equal, not told apart, or parts of these: --all shows them."),
        );
        out.push('\n');
    }
    let open = shown.iter().any(|one| one.verdict() == "not told apart");
    let open = if open { "; where that holds 0, the two are not told apart" } else { "" };
    let note = format!(
        "Means of a run, and what B has more (+) or less (-) than A with its 95 % interval{open}. /4 under runs: the same \
         chance on both sides took a quarter of the runs that separate chances would; - where nothing scatters."
    );
    line(&mut out, "", &note);
    out
}

/// What becomes more and what less, of what people ask for, in a sentence.
fn changes(differences: &[Difference], runs: usize) -> String {
    const TOLD: usize = 3;
    let known: Vec<&Difference> = differences.iter().filter(|one| one.first != 0.0 || one.second != 0.0).collect();
    let mut apart = asked_first(&known);
    apart.retain(|one| matches!(one.verdict(), "more" | "less"));
    apart.sort_by_key(|one| TOLD_FIRST.iter().position(|measure| *measure == one.measure).unwrap_or(TOLD_FIRST.len()));
    let told: Vec<String> = apart
        .into_iter()
        .take(TOLD)
        .map(|one| {
            let (name, unit) = (one.measure.name().replace('_', " "), one.measure.unit());
            let way = if one.difference.point > 0.0 { "rise" } else { "fall" };
            let end = if name.ends_with('s') { "" } else { "s" };
            let few = if one.pairs < runs { format!(" (in {} pairs)", one.pairs) } else { String::new() };
            format!("{name} {way}{end} from {} to {}{few}", table_cell(unit, one.first), table_cell(unit, one.second))
        })
        .collect();
    match told.split_last() {
        None => "no measure changes by more than these runs scatter".to_string(),
        Some((only, [])) => only.clone(),
        Some((last, others)) => format!("{} and {last}", others.join(", ")),
    }
}

/// What people ask for, and then whatever else is told apart; phases and details are for `--all`.
fn asked_first<'d>(known: &[&'d Difference]) -> Vec<&'d Difference> {
    let place = |one: &Difference| ASKED_FIRST.iter().position(|measure| *measure == one.measure);
    let told_apart = |one: &Difference| matches!(one.verdict(), "more" | "less");
    let is_part = |one: &Difference| one.measure.name().starts_with("phase.");
    let mut first: Vec<&Difference> =
        known.iter().copied().filter(|one| place(one).is_some() && one.differing > 0).collect();
    first.sort_by_key(|one| place(one));
    let rest = known.iter().copied().filter(|one| place(one).is_none() && told_apart(one) && !is_part(one));
    first.extend(rest);
    first
}

/// One row a measure; a name that is too long goes on in the next line.
fn table_of(out: &mut String, shown: &[&Difference]) {
    let mut rows = vec![["mean", "A", "B", "from A to B", "runs"].map(str::to_string)];
    rows.extend(shown.iter().map(|one| {
        let unit = one.measure.unit();
        let (first, second) = (table_cell(unit, one.first), table_cell(unit, one.second));
        [one.measure.name().replace('_', " "), first, second, one.words(), saved(one.variance_ratio)]
    }));
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let [first, second, difference, runs] = [1, 2, 3, 4].map(width);
    let name_width = 80_usize.saturating_sub(first + second + difference + runs + 7).clamp(12, width(0).max(12));
    for [name, one, other, words, won] in &rows {
        let mut names = wrapped(name, name_width).into_iter();
        let name = names.next().unwrap_or_default();
        let text = format!("{name:<name_width$} {one:>first$} {other:>second$}  {words:<difference$} {won:>runs$}");
        let _ = writeln!(out, "{}", text.trim_end());
        names.for_each(|more| out.push_str(&format!("  {more}\n")));
    }
}

/// So many times fewer runs than with chances of their own.
fn saved(ratio: f64) -> String {
    match ratio {
        ratio if !ratio.is_finite() => "-".to_string(),
        ratio if ratio >= 1_000.0 => "/>999".to_string(),
        ratio if ratio >= 10.0 => format!("/{ratio:.0}"),
        ratio => format!("/{ratio:.1}"),
    }
}

/// `differences.csv`.
pub fn table(hashes: (&str, &str), seed: u64, differences: &[Difference]) -> Vec<u8> {
    let (first, second) = hashes;
    let mut out = format!("# kubelapse {VERSION}, hashes {first} and {second}, seed {seed}\n");
    out.push_str("measure,first,second,difference,low,high,pairs,differing,variance_ratio\n");
    for one in differences {
        let number = |value: f64| if value.is_finite() { measured(value).to_string() } else { String::new() };
        let cells = [one.first, one.second, one.difference.point, one.difference.low, one.difference.high].map(number);
        let (name, ratio) = (one.measure.name(), number(one.variance_ratio));
        let _ = writeln!(out, "{name},{},{},{},{ratio}", cells.join(","), one.pairs, one.differing);
    }
    out.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::statistics::Estimate;

    fn one(measure: Measure, (point, low, high): (f64, f64, f64), variance_ratio: f64) -> Difference {
        let difference = Estimate { point, low, high };
        Difference { measure, first: 110.0, second: 110.0 + point, difference, differing: 4, pairs: 4, variance_ratio }
    }

    fn sides<'a>(both: &'a [String], of_second: &'a [String]) -> Sides<'a> {
        Sides { first: "shop", second: "shop", both, of_second }
    }

    #[test]
    fn the_page_fits_and_says_what_was_set_on_which_side() {
        let differences = [
            one(Measure::NodeTerminationAfterEmpty, (-691.6, -700.1, -684.5), 1.93),
            one(Measure::LaunchesWithoutCapacity, (3.0, 3.0, 3.0), f64::INFINITY),
        ];
        let (both, of_second) = (["run.until=20m".to_string()], ["services.shop.workers=20".to_string()]);
        let text = text(&sides(&both, &of_second), 200, &differences, false);
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        assert!(text.contains("B  shop with services.shop.workers=20\n  both with run.until=20m\n"), "{text}");
        for name in ["node termination after", "\n  empty\n", "launches without", "\n  capacity\n"] {
            assert!(text.contains(name), "{name} is cut:\n{text}");
        }
        assert!(text.lines().any(|line| line.starts_with("launches") && line.ends_with('-')), "{text}");
    }

    #[test]
    fn the_first_sentence_says_what_changes_and_how() {
        let differences = [
            one(Measure::TimeToServe, (-10.0, -12.0, -8.0), 2.0),
            one(Measure::LostRequests, (3.0, -1.0, 7.0), 2.0),
            one(Measure::Cost, (5.0, 4.0, 6.0), 2.0),
        ];
        let page = text(&sides(&[], &[]), 4, &differences, false);
        let head = page.split("\n\n").next().unwrap().replace('\n', " ");
        let wanted = "From A to B time to serve falls from 1m50s to 1m40s and cost rises from $110.0000 to $115.0000. Over 4 \
                      pairs of runs, each pair with the same chance.";
        assert_eq!(head, wanted);
    }

    #[test]
    fn what_rests_on_fewer_pairs_says_on_how_many() {
        let differences = [
            Difference { pairs: 33, ..one(Measure::TimeToServe, (-10.0, -12.0, -8.0), 2.0) },
            Difference { pairs: 200, ..one(Measure::Cost, (5.0, 4.0, 6.0), 2.0) },
        ];
        let page = text(&sides(&[], &[]), 200, &differences, false).split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(page.contains("from 1m50s to 1m40s (in 33 pairs) and cost rises"), "{page}");
        assert!(page.contains("both sides could be measured: time to serve 33. Means"), "{page}");
    }

    #[test]
    fn what_people_ask_for_comes_first_and_the_rest_is_behind_a_flag() {
        let differences = [
            one(Measure::Steps, (1.0, 1.0, 1.0), 2.0),
            one(Measure::Evictions, (0.1, -1.0, 1.2), 2.0),
            one(Measure::PhaseBoot, (3.0, 2.0, 4.0), 2.0),
            one(Measure::Cost, (0.1, -0.1, 0.2), 2.0),
        ];
        let page = |all| text(&sides(&[], &[]), 200, &differences, all);
        let names = |page: &str| -> Vec<String> {
            let rows = page.split("\n\n").find(|part| part.starts_with("mean")).unwrap().lines().skip(1);
            rows.map(|row| row.split_whitespace().next().unwrap().to_string()).collect()
        };
        assert_eq!(names(&page(false)), ["cost", "steps"]);
        assert!(page(false).contains("2 further measures"), "{}", page(false));
        assert_eq!(names(&page(true)), ["steps", "evictions", "phase.boot", "cost"]);
    }

    #[test]
    fn what_is_set_on_both_sides_makes_no_difference_and_the_page_says_so() {
        let same = [Difference { differing: 0, ..one(Measure::Cost, (0.0, 0.0, 0.0), f64::INFINITY) }];
        let both = ["services.shop.workers=20".to_string()];
        assert!(text(&sides(&both, &[]), 4, &same, false).contains("--set-b FIELD=VALUE changes B alone"));
        assert!(!text(&sides(&both, &both), 4, &same, false).contains("--set-b"));
    }
}
