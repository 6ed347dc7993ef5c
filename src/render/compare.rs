//! The difference of two scenarios: a table for the screen and `differences.csv`.

use super::text::line;
use crate::analysis::gate::rounded;
use crate::analysis::paired::Difference;
use crate::analysis::summary::{VERSION, measured};
use std::fmt::Write;

/// The screen: 80 columns.
pub fn text(names: (&str, &str), runs: usize, differences: &[Difference]) -> String {
    let mut out = String::new();
    let same = differences.iter().all(|one| one.differing == 0);
    let (first, second) = names;
    let head = if same {
        format!("{first} and {second} are the same in each of {runs} runs: every measure differs by exactly 0.")
    } else {
        format!("{second} less {first}, run by run over {runs} pairs of runs with the same chance.")
    };
    line(&mut out, "", &head);
    out.push('\n');
    let _ = writeln!(out, "{:<20}{:>9} {:>9}  {:<30} {:>7}", "mean", "first", "second", "difference", "runs");
    for one in differences.iter().filter(|one| !same && (one.first != 0.0 || one.second != 0.0)) {
        let unit = one.measure.unit();
        let name: String = one.measure.name().replace('_', " ").chars().take(19).collect();
        let (first, second, words) = (rounded(unit, one.first), rounded(unit, one.second), one.words());
        // So many times fewer runs than with chances of their own.
        let won = match one.variance_ratio {
            ratio if ratio.is_infinite() => String::new(),
            ratio if ratio >= 10.0 => format!("/{ratio:.0}"),
            ratio => format!("/{ratio:.1}"),
        };
        let _ = writeln!(out, "{}", format!("{name:<20}{first:>9} {second:>9}  {words:<30} {won:>7}").trim_end());
    }
    if same {
        out.truncate(out.trim_end().rfind('\n').map_or(out.len(), |end| end + 1));
    } else {
        out.push('\n');
        let note = "Differences with 95 % intervals of their mean. /4 in the last column: pairing took a quarter of the \
                    runs that separate chances would.";
        line(&mut out, "", note);
    }
    out
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
