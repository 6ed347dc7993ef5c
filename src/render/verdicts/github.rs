//! Verdicts as annotations of GitHub Actions: `::error` and `::warning` lines that show at the scenario's file.

use super::{outcome, sentence, title};
use crate::analysis::verdicts::Report;
use std::fmt::Write;

/// The lines, for what is not as expected.
pub fn render(reports: &[Report]) -> String {
    let mut out = String::new();
    for report in reports {
        for one in &report.lines {
            let level = match outcome(one) {
                "ok" => continue,
                "failed" => "error",
                _ => "warning",
            };
            let (file, name) = (property(&report.path), property(&title(one)));
            let _ = writeln!(out, "::{level} file={file},title={name}::{}", data(&sentence(one)));
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
    use super::super::tests::example;
    use super::*;

    #[test]
    fn what_is_wrong_is_an_error_and_what_is_open_a_warning() {
        let text = render(&[example()]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2, "{text}");
        assert!(lines[0].starts_with("::error file=scenarios/shop.yaml,title="), "{text}");
        assert!(lines[1].starts_with("::warning "), "{text}");
        assert!(lines[0].ends_with("41%25 of the tail is boot"), "{text}");
    }
}
