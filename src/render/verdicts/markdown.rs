//! Verdicts as a Markdown table: for `$GITHUB_STEP_SUMMARY`, a pull request, a README.

use super::{fault_sentence, fault_title, outcome};
use crate::analysis::verdicts::Report;
use std::fmt::Write;

/// The table.
pub fn render(reports: &[Report]) -> String {
    let mut out =
        String::from("| scenario | checked | answer | measured | main cause of the tail |\n|---|---|---|---|---|\n");
    for report in reports {
        for fault in &report.faults {
            let name = cell(&report.name);
            let (at, message) = (cell(&fault_title(fault)), cell(&fault_sentence(fault)));
            let _ = writeln!(out, "| {name} | {at} | **not judged** | {message} |  |");
        }
        for one in &report.lines {
            let answer = match outcome(one) {
                "ok" => one.verdict.name().to_string(),
                _ => format!("**{}**, expected {}", one.verdict.name(), one.expected.name()),
            };
            let runs = if one.runs > 1 { format!(", {} runs", one.runs) } else { String::new() };
            let cause = one.cause.as_deref().unwrap_or_default().replace(" of the tail is", "");
            let (name, check) = (cell(&report.name), one.check.replace('|', "\\|"));
            let (measured, cause) = (cell(&one.interval), cell(&cause));
            let _ = writeln!(out, "| {name} | `{check}` | {answer} | {measured}{runs} | {cause} |");
        }
        for remark in &report.remarks {
            let _ = writeln!(out, "| {} | | remark | {} | |", cell(&report.name), cell(remark));
        }
    }
    out
}

/// Text that neither ends its cell nor is taken for HTML. Code between backticks is shown as it stands, so `<` stays there.
fn cell(text: &str) -> String {
    let line = text.replace('|', "\\|").replace(['\n', '\r'], " ");
    let pieces = line.split('`').enumerate();
    let pieces =
        pieces.map(|(index, piece)| if index % 2 == 0 { piece.replace('<', "&lt;") } else { piece.to_string() });
    pieces.collect::<Vec<String>>().join("`")
}

#[cfg(test)]
mod tests {
    use super::super::tests::{example, unread};
    use super::*;

    #[test]
    fn a_row_for_each_line_and_no_cell_breaks_the_table() {
        let text = render(&[example()]);
        assert_eq!(text.lines().count(), 5);
        let bars = |line: &str| line.replace("\\|", "").matches('|').count();
        assert!(text.lines().all(|line| bars(line) == 6), "{text}");
        assert!(text.contains("**fails**, expected holds"), "{text}");
    }

    #[test]
    fn an_error_of_the_files_has_a_row() {
        let row = "| bad | error[E010] at shop/bad.yaml:3:5 | **not judged** | a scenario has no field `rnu` (did you mean `run`?) |  |";
        assert_eq!(render(&[unread()]).lines().nth(2), Some(row));
    }

    #[test]
    fn code_keeps_its_signs() {
        assert_eq!(cell("a < b: `p99 <= 1 | 2` <i>"), "a &lt; b: `p99 <= 1 \\| 2` &lt;i>");
    }
}
