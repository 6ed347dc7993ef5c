//! Verdicts as annotations of GitHub Actions: `::error` and `::warning` lines that show at the scenario's file.

use super::{NOTHING_TO_CHECK, fault_sentence, outcome, sentence, title};
use crate::analysis::verdicts::Report;
use std::fmt::Write;

/// The lines, for what is not as expected.
pub fn render(reports: &[Report]) -> String {
    let mut out = String::new();
    for report in reports {
        for fault in &report.faults {
            let place = match &fault.place {
                Some((file, line, column)) => format!("file={},line={line},col={column}", property(file)),
                None => format!("file={}", property(&report.path)),
            };
            let line = format!("::error {place},title=error {}::{}\n", fault.code, data(&fault_sentence(fault)));
            // A file that several scenarios name is wrong once.
            if !out.contains(&line) {
                out.push_str(&line);
            }
        }
        if report.lines.is_empty() && !report.is_unread() {
            let file = property(&report.path);
            let _ = writeln!(out, "::warning file={file},title=nothing to check::{}", data(NOTHING_TO_CHECK));
        }
        for remark in &report.remarks {
            let _ = writeln!(out, "::warning file={},title=remark::{}", property(&report.path), data(remark));
        }
        for (index, one) in report.lines.iter().enumerate() {
            let level = match outcome(one) {
                "ok" => continue,
                "failed" => "error",
                _ => "warning",
            };
            let place = report.places.get(index).and_then(Option::as_ref);
            // What is asked may stand in another file, which this scenario is based on.
            let whose = place.filter(|(file, ..)| *file != report.path).map(|_| format!("{}: ", report.path));
            let title = property(&(whose.unwrap_or_default() + &title(one)));
            let place = match place {
                Some((file, line, column)) => format!("file={},line={line},col={column}", property(file)),
                None => format!("file={}", property(&report.path)),
            };
            let _ = writeln!(out, "::{level} {place},title={title}::{}", data(&sentence(one)));
        }
    }
    out
}

/// What follows the second `::`.
fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// A property ends at a comma or colon.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::super::tests::{example, unread};
    use super::*;

    #[test]
    fn what_is_wrong_is_an_error_and_what_is_open_a_warning() {
        let text = render(&[example()]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2, "{text}");
        assert!(lines[0].starts_with("::error file=scenarios/shop.yaml,title="), "{text}");
        assert!(lines[1].starts_with("::warning "), "{text}");
        assert!(lines[0].ends_with("41%25 of the tail is boot"), "{text}");
        // An expectation that the scenario has from its base is annotated there, under the scenario's name.
        let based = Report { places: vec![Some(("base.yaml".to_string(), 7, 3)); 9], ..example() };
        let text = render(&[based]);
        assert!(text.starts_with("::error file=base.yaml,line=7,col=3,title=scenarios/shop.yaml%3A "), "{text}");
    }

    #[test]
    fn a_verdict_stands_at_its_statement_where_that_is_known() {
        let places = vec![None, None, Some(("scenarios/base.yaml".to_string(), 12, 5))];
        let text = render(&[Report { places, ..example() }]);
        assert!(text.starts_with("::error file=scenarios/shop.yaml,title="), "{text}");
        assert!(text.contains("\n::warning file=scenarios/base.yaml,line=12,col=5,title="), "{text}");
    }

    #[test]
    fn an_error_stands_at_its_line_and_column() {
        let wanted = "::error file=shop/bad.yaml,line=3,col=5,title=error E010::a scenario has no field `rnu` (did you mean `run`?)\n";
        assert_eq!(render(&[unread()]), wanted);
        assert_eq!(render(&[unread(), unread()]), wanted, "once");
    }
}
