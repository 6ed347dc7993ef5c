//! Verdicts as a Markdown table: for `$GITHUB_STEP_SUMMARY`, a pull request, a README.

use super::{fault_sentence, fault_title, outcome};
use crate::analysis::verdicts::{Line, Report};
use crate::rules::expectation::Verdict;
use std::fmt::Write;

/// How it came out as a whole, the table, and the claims.
pub fn render(reports: &[Report]) -> String {
    let mut out = summary(reports);
    out.push_str("| scenario | checked | answer | measured | main cause of the tail |\n|---|---|---|---|---|\n");
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
            let runs = match one.runs {
                0 => String::new(),
                1 => ", one run".to_string(),
                runs => format!(", {runs} runs"),
            };
            let cause = one.cause.as_deref().unwrap_or_default().replace(" of the tail is", "");
            let (name, check) = (cell(&report.name), one.check.replace('|', "\\|"));
            // What is undecided says how many runs would settle it.
            let measured = match one.verdict {
                Verdict::Undecided => cell(&one.explanation),
                Verdict::Holds | Verdict::Fails => format!("{}{runs}", cell(&one.interval)),
            };
            let _ = writeln!(out, "| {name} | `{check}` | {answer} | {measured} | {} |", cell(&cause));
        }
        for remark in &report.remarks {
            let _ = writeln!(out, "| {} | | remark | {} | |", cell(&report.name), cell(remark));
        }
    }
    out + &claimed(reports)
}

/// The claims in their authors' words, and by what each is put to the test.
fn claimed(reports: &[Report]) -> String {
    let mut out = String::new();
    for report in reports {
        for one in &report.lines {
            if let Some(claim) = &one.claim {
                let _ = writeln!(out, "- {}, `{}`: {}", cell(&report.name), one.check, cell(claim));
            }
        }
    }
    if out.is_empty() { out } else { format!("\nWhat is claimed:\n\n{out}") }
}

/// How many came out as expected: what a reader of a pull request wants to know first.
fn summary(reports: &[Report]) -> String {
    let lines: Vec<&Line> = reports.iter().flat_map(|report| &report.lines).collect();
    let unread = reports.iter().filter(|report| report.is_unread()).count();
    let others = lines.iter().filter(|line| outcome(line) != "ok").count();
    let failing = lines.iter().filter(|line| line.verdict == Verdict::Fails).count();
    let mut said = Vec::new();
    if unread > 0 {
        said.push(format!("**{unread} of {} scenarios could not be judged.**", reports.len()));
    }
    let open = lines.iter().filter(|line| outcome(line) == "undecided").count();
    match (lines.len(), others) {
        (0, _) => {}
        (1, 0) => said.push("The one check came out as expected.".to_string()),
        (all, 0) => {
            let verb = |count: usize, one, many| format!("{count} {}", if count == 1 { one } else { many });
            let (hold, fail) = (verb(all - failing, "holds", "hold"), verb(failing, "fails", "fail"));
            said.push(format!("All {all} checks came out as expected: {hold}, {fail}."));
        }
        (all, _) => {
            let wrong = others - open;
            if wrong > 0 {
                said.push(format!("**{wrong} of {all} checks did not come out as expected.**"));
            }
            if open > 0 {
                said.push(format!("**{open} of {all} checks are undecided.**"));
            }
        }
    }
    if said.is_empty() { String::new() } else { said.join(" ") + "\n\n" }
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
        let (table, claims) = text.split_once("\n\nWhat is claimed:\n\n").expect("a table and a list");
        assert_eq!(table.lines().count(), 7);
        let bars = |line: &str| line.replace("\\|", "").matches('|').count();
        assert!(table.lines().skip(2).all(|line| bars(line) == 6), "{text}");
        assert!(text.contains("**fails**, expected holds"), "{text}");
        assert!(
            text.starts_with("**1 of 3 checks did not come out as expected.** **1 of 3 checks are undecided.**\n\n| "),
            "{text}"
        );
        assert_eq!(claims, "- shop, `p95(pod_termination) <= 1s`: \"quick\" \\| &lt;immediate>\n");
    }

    /// A claim that fails as its author expects is no bad news, and one run is not many.
    #[test]
    fn what_fails_as_expected_is_told_so() {
        let mut report = example();
        report.lines[0].expected = Verdict::Fails;
        report.lines[0].runs = 1;
        report.lines.truncate(2);
        let text = render(&[report]);
        assert!(text.starts_with("All 2 checks came out as expected: 1 holds, 1 fails.\n\n"), "{text}");
        assert!(text.contains("| fails | 2m52s (2m48s to 2m57s), one run |"), "{text}");
    }

    #[test]
    fn an_error_of_the_files_has_a_row() {
        let row = "| bad | error[E010] at shop/bad.yaml:3:5 | **not judged** | a scenario has no field `rnu` (did you mean `run`?) |  |";
        assert_eq!(render(&[unread()]).lines().nth(4), Some(row));
    }

    #[test]
    fn code_keeps_its_signs() {
        assert_eq!(cell("a < b: `p99 <= 1 | 2` <i>"), "a &lt; b: `p99 <= 1 \\| 2` &lt;i>");
    }
}
