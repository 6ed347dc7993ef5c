//! Verdicts as JUnit XML, which CI servers show: a suite for a scenario, a case for each claim and expectation. What is
//! undecided is an error, not a failure: nothing was shown to be wrong, nor right. So is what could not be read.

use super::{fault_sentence, fault_title, outcome, sentence, title};
use crate::analysis::verdicts::Report;
use quick_junit::{NonSuccessKind, Report as Document, TestCase, TestCaseStatus, TestSuite};

/// The file.
pub fn render(reports: &[Report]) -> String {
    let mut document = Document::new("kubelapse");
    for report in reports {
        let mut suite = TestSuite::new(report.path.as_str());
        for fault in &report.faults {
            let mut status = TestCaseStatus::non_success(NonSuccessKind::Error);
            status.set_type("bad input").set_message(fault_sentence(fault));
            let mut case = TestCase::new(fault_title(fault), status);
            case.set_classname(report.name.as_str());
            if let Some((file, line, _)) = &fault.place {
                case.extra.insert("file".into(), file.as_str().into());
                case.extra.insert("line".into(), line.to_string().into());
            }
            suite.add_test_case(case);
        }
        for one in &report.lines {
            let status = match outcome(one) {
                "ok" => TestCaseStatus::success(),
                other => {
                    let failed = other == "failed";
                    let kind = if failed { NonSuccessKind::Failure } else { NonSuccessKind::Error };
                    let mut status = TestCaseStatus::non_success(kind);
                    status.set_type(other).set_message(sentence(one)).set_description(one.because.as_str());
                    status
                }
            };
            let mut case = TestCase::new(title(one), status);
            case.set_classname(report.name.as_str()).set_system_out(sentence(one));
            suite.add_test_case(case);
        }
        if !report.remarks.is_empty() {
            suite.set_system_out(report.remarks.join("\n"));
        }
        document.add_test_suite(suite);
    }
    document.to_string().expect("a report in memory can be written as XML")
}

#[cfg(test)]
mod tests {
    use super::super::tests::{example, unread};
    use super::*;

    #[test]
    fn failures_and_errors_are_told_apart() {
        let xml = render(&[example()]);
        assert!(xml.contains("tests=\"3\""), "{xml}");
        assert!(xml.contains("failures=\"1\"") && xml.contains("errors=\"1\""), "{xml}");
        assert!(xml.contains("&lt;immediate&gt;"), "{xml}");
        assert_eq!(xml, render(&[example()]), "no clock, no random identity");
    }

    #[test]
    fn an_error_of_the_files_is_an_error_with_its_place() {
        let xml = render(&[unread()]);
        assert!(xml.contains("tests=\"1\"") && xml.contains("errors=\"1\""), "{xml}");
        assert!(xml.contains("error[E010] at shop/bad.yaml:3:5") && xml.contains("line=\"3\""), "{xml}");
    }
}
