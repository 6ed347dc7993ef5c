//! Verdicts for people and for CI: a page of text, JUnit XML, GitHub annotations, a Markdown table.
//!
//! In: reports. Out: text. One file a format.

pub mod github;
pub mod junit;
pub mod markdown;

use super::text::{line, sign, tenths};
use crate::analysis::verdicts::{Fault, Line, Report};
use crate::engine::Span;
use crate::rules::expectation::{Measure, Scope, Statistic, Subject, Verdict, parse};

/// What is said of a scenario that has neither claims nor expectations.
const NOTHING_TO_CHECK: &str = "its files can be read, and there is nothing to check: it has neither `expect:` nor `claims:`. \
                                Write what must hold, such as `expect: [time_to_serve <= 3m, lost_requests == 0]`; \
                                docs/scenario.md lists what can be asked.";

/// The page that `check` prints for one scenario, 80 columns.
pub fn page(report: &Report) -> String {
    let mut out = String::new();
    if report.is_unread() {
        let count = report.faults.len();
        let errors = if count == 1 { "an error".to_string() } else { format!("{count} errors") };
        line(&mut out, "", &format!("{}: not judged, its files have {errors}", report.path));
        return out + "\n";
    }
    if report.lines.is_empty() {
        line(&mut out, "", &format!("{}: {}", report.path, NOTHING_TO_CHECK));
        return out + "\n";
    }
    let mut head = claimed(report);
    let exact = report.headline.clone().unwrap_or_default();
    if !exact.is_empty() {
        head = if head.is_empty() { exact } else { format!("{head}; {exact}") };
    }
    if report.runs > 0 {
        let sharp = if report.interrupted { ", interrupted" } else { "" };
        let runs = format!("{} runs with chance, seed {}{sharp}", report.runs, report.seed);
        head = if head.is_empty() { runs } else { format!("{head}; {runs}") };
    }
    line(&mut out, "", &format!("{}: {head}", report.path));
    let (claims, expectations): (Vec<&Line>, Vec<&Line>) = report.lines.iter().partition(|l| l.claim.is_some());
    if !claims.is_empty() {
        out.push_str("\nClaims\n");
    }
    for one in claims {
        let sign = sign(one.is_as_expected(), one.verdict);
        let (claim, verdict) = (one.claim.as_deref().unwrap_or_default(), one.verdict.name());
        line(&mut out, "  ", &format!("{sign} \"{claim}\": {verdict} ({}: {})", one.check, one.explanation));
        more(&mut out, "      ", one);
    }
    if !expectations.is_empty() {
        out.push_str("\nExpectations\n");
    }
    for one in expectations {
        line(&mut out, &format!("  {:<9} ", one.verdict.name()), &format!("{}: {}", one.check, one.explanation));
        more(&mut out, "            ", one);
    }
    if !report.remarks.is_empty() {
        out.push_str("\nRemarks\n");
        report.remarks.iter().for_each(|remark| line(&mut out, "  - ", remark));
    }
    if let Some(hint) = hint(&report.lines) {
        out.push('\n');
        line(&mut out, "", &hint);
    }
    out.push('\n');
    out
}

/// The line under several pages: how many scenarios came out how, and which did not come out as expected.
pub fn total(reports: &[Report]) -> Option<String> {
    if reports.len() < 2 {
        return None;
    }
    let named = |what: fn(&Report) -> bool, words: &str| {
        let paths: Vec<&str> =
            reports.iter().filter(|report| what(report)).map(|report| report.path.as_str()).collect();
        (!paths.is_empty()).then(|| format!("{} {words}: {}", paths.len(), paths.join(", ")))
    };
    let fine = |report: &&Report| !report.is_unread() && !report.failed() && !report.undecided();
    let mut told = vec![format!("{} as expected", reports.iter().filter(fine).count())];
    told.extend(named(Report::failed, "not as expected"));
    told.extend(named(|report| report.undecided() && !report.failed(), "undecided"));
    told.extend(named(Report::is_unread, "not judged"));
    let mut out = String::new();
    line(&mut out, "", &format!("{} scenarios: {}", reports.len(), told.join("; ")));
    Some(out)
}

/// What the claims and expectations are about, as measured: `median time to serve 2m1.2s (1m57.5s to 2m7.3s)`.
fn claimed(report: &Report) -> String {
    let mut told: Vec<String> = Vec::new();
    for one in report.lines.iter().filter(|one| one.interval != "-") {
        let Ok(check) = parse(&one.check) else { continue };
        let words = match check.subject {
            Subject::Each(measure) => spaced(measure),
            Subject::Statistic(Statistic::Percentile(50.0), measure) => format!("median {}", spaced(measure)),
            Subject::Statistic(statistic, measure) => format!("{} {}", statistic_name(statistic), spaced(measure)),
            Subject::Share(..) => continue,
        };
        let text = format!("{words}{} {}", scope_words(&check.scope), one.interval);
        if !told.contains(&text) && told.len() < 3 {
            told.push(text);
        }
    }
    told.join(", ")
}

/// What part of a run a value is of: ` of web`, ` of step 2`.
fn scope_words(scope: &Scope) -> String {
    let mut words = scope.step.map_or_else(String::new, |step| format!(" of step {step}"));
    words += &scope.deployment.as_ref().map_or_else(String::new, |name| format!(" of {name}"));
    let clock = |micros: u64| tenths(Span::from_micros(micros));
    words + &scope.window.map_or_else(String::new, |(from, to)| format!(" from {} to {}", clock(from), clock(to)))
}

fn spaced(measure: Measure) -> String {
    measure.name().replace('_', " ")
}

fn statistic_name(statistic: Statistic) -> String {
    match statistic {
        Statistic::Percentile(percent) => format!("p{percent}"),
        Statistic::Mean => "mean".to_string(),
        Statistic::Min => "least".to_string(),
        Statistic::Max => "most".to_string(),
    }
}

/// What held in one run alone may come out otherwise in the next: all that did, and what to ask instead of the first.
fn hint(lines: &[Line]) -> Option<String> {
    let mut names: Vec<&'static str> = Vec::new();
    let mut question: Option<String> = None;
    for one in lines.iter().filter(|one| one.runs == 1 && one.verdict == Verdict::Holds) {
        let Some(Subject::Each(measure)) = parse(&one.check).ok().map(|check| check.subject) else { continue };
        let name = measure.name();
        if !names.contains(&name) {
            names.push(name);
        }
        question = question.or_else(|| one.check.strip_prefix(name).and_then(|bound| asked_of_many(name, bound)));
    }
    let (last, others) = names.split_last()?;
    let subject =
        if others.is_empty() { format!("{last} is") } else { format!("{} and {last} are", others.join(", ")) };
    let question = question.unwrap_or_else(|| "p95(...) or share(...) asks it of many runs with chance".to_string());
    Some(format!("{subject} of one run; {question}."))
}

/// The same question to many runs. A share is of a comparison; a range is asked of a percentile.
fn asked_of_many(name: &str, bound: &str) -> Option<String> {
    let (bound, scope) = bound.find(" of ").map_or((bound, ""), |at| bound.split_at(at));
    let share = format!("share({name}{bound}) >= 95%{scope}");
    if parse(&share).is_ok() {
        return Some(format!("{share} asks whether 95 of 100 runs with chance keep it"));
    }
    let percentile = format!("p95({name}){bound}{scope}");
    parse(&percentile).is_ok().then(|| format!("{percentile} asks it of the 95th percentile of many runs with chance"))
}

fn more(out: &mut String, indent: &str, one: &Line) {
    let because = because(&one.because, one.expected, one.is_as_expected());
    for text in [one.cause.as_deref(), because.as_deref()].into_iter().flatten().filter(|text| !text.is_empty()) {
        line(out, indent, text);
    }
}

/// Why its author expects a verdict; where another has come, that it is only that.
pub(super) fn because(reason: &str, expected: Verdict, as_expected: bool) -> Option<String> {
    match (reason, as_expected) {
        ("", _) => None,
        (reason, true) => Some(reason.to_string()),
        (reason, false) => Some(format!("expected was \"{}\", because: {reason}", expected.name())),
    }
}

/// In a word, how a line is to be taken: `ok`, `failed`, `undecided`.
fn outcome(one: &Line) -> &'static str {
    match (one.is_as_expected(), one.verdict) {
        (true, _) => "ok",
        (false, Verdict::Undecided) => "undecided",
        (false, Verdict::Holds | Verdict::Fails) => "failed",
    }
}

/// What was checked, in a line.
fn title(one: &Line) -> String {
    one.claim.as_ref().map_or_else(|| one.check.clone(), |claim| format!("\"{claim}\" ({})", one.check))
}

/// What came of it, in a sentence.
fn sentence(one: &Line) -> String {
    let expected = if one.is_as_expected() { String::new() } else { format!(", expected {}", one.expected.name()) };
    let cause = one.cause.as_ref().map(|cause| format!("; {cause}")).unwrap_or_default();
    format!("{}{expected}: {}{cause}", one.verdict.name(), one.explanation)
}

/// An error of a scenario's files, with what to do.
fn fault_sentence(fault: &Fault) -> String {
    let help = fault.help.as_ref().map(|help| format!(" ({help})")).unwrap_or_default();
    format!("{}{help}", fault.message)
}

/// `error[E010] at shop.yaml:3:5`, and what it is of if it is of no file.
fn fault_title(fault: &Fault) -> String {
    let place = fault.place.as_ref().map(|(file, line, column)| format!(" at {file}:{line}:{column}"));
    format!("error[{}]{}", fault.code, place.unwrap_or_default())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn example() -> Report {
        let line = Line {
            claim: None,
            check: "p95(time_to_serve) <= 3m".to_string(),
            verdict: Verdict::Holds,
            expected: Verdict::Holds,
            interval: "2m52s (2m48s to 2m57s)".to_string(),
            explanation: "2m52s (2m48s to 2m57s), 400 runs".to_string(),
            cause: Some("41% of the tail is boot".to_string()),
            because: String::new(),
            runs: 400,
        };
        let failed = Line {
            claim: Some("\"quick\" | <immediate>".to_string()),
            check: "p95(pod_termination) <= 1s".to_string(),
            verdict: Verdict::Fails,
            because: "preStop sleeps".to_string(),
            ..line.clone()
        };
        let open = Line { verdict: Verdict::Undecided, check: "mean(cost) < $1".to_string(), ..line.clone() };
        let name = "shop".to_string();
        let path = "scenarios/shop.yaml".to_string();
        let lines = vec![failed, line, open];
        let report = Report::of_unread(name, path, Vec::new());
        Report { lines, runs: 400, seed: 1, ..report }
    }

    /// A scenario with one error.
    pub(crate) fn unread() -> Report {
        let place = Some(("shop/bad.yaml".to_string(), 3, 5));
        let help = Some("did you mean `run`?".to_string());
        let fault = Fault { place, code: "E010", message: "a scenario has no field `rnu`".to_string(), help };
        Report::of_unread("bad".to_string(), "shop/bad.yaml".to_string(), vec![fault])
    }

    #[test]
    fn a_page_fits_eighty_columns_and_says_what_is_wrong() {
        let text = page(&example());
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        assert!(text.contains("NOT AS EXPECTED") && text.contains("41% of the tail is boot"), "{text}");
        assert!(text.contains("  expected was \"holds\", because: preStop sleeps\n"), "it did not come so: {text}");
        let mut expected = example();
        expected.lines[0].expected = Verdict::Fails;
        assert!(page(&expected).contains("  preStop sleeps\n"), "{}", page(&expected));
        let head: Vec<&str> = text.lines().take_while(|line| !line.is_empty()).collect();
        let claimed = "scenarios/shop.yaml: p95 pod termination 2m52s (2m48s to 2m57s), p95 time to serve";
        assert!(head.join(" ").starts_with(claimed), "what is claimed comes first: {text}");
        assert!(head.join(" ").ends_with("; 400 runs with chance, seed 1"), "{text}");
    }

    #[test]
    fn the_head_says_of_what_a_value_is() {
        let mut report = example();
        report.lines.truncate(2);
        report.lines[0].check = "replicas_max <= 8 of deployment web".to_string();
        report.lines[1].check = "p95(time_to_serve) <= 3m of step 2 of window 5m..10m".to_string();
        let text = page(&report).split_whitespace().collect::<Vec<_>>().join(" ");
        let said = "replicas max of web 2m52s (2m48s to 2m57s), p95 time to serve of step 2 from 5m to 10m 2m52s";
        assert!(text.contains(said), "{text}");
    }

    #[test]
    fn a_scenario_that_asks_nothing_is_told_what_to_write() {
        let report = Report { lines: Vec::new(), runs: 0, ..example() };
        let text = page(&report);
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        let flat = text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(flat.contains("nothing to check") && flat.contains("`expect: [time_to_serve <= 3m"), "{text}");
        assert!(github::render(&[report]).starts_with("::warning file=scenarios/shop.yaml,title=nothing to check::"));
    }

    #[test]
    fn a_duration_of_one_run_is_answered_with_a_question_to_many_once() {
        let mut report = example();
        assert!(!page(&report).contains("of one run"), "these are decided by many runs");
        for line in &mut report.lines {
            line.check = "time_to_serve <= 2m".to_string();
            line.runs = 1;
        }
        let text = page(&report);
        assert_eq!(text.matches("share(time_to_serve <= 2m) >= 95% asks").count(), 1, "{text}");
        report.lines.iter_mut().for_each(|line| line.check = "time_to_serve in 2m..3m".to_string());
        let text = page(&report).split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(text.matches("p95(time_to_serve) in 2m..3m asks it of the 95th percentile").count(), 1, "{text}");
    }

    #[test]
    fn whatever_held_in_one_run_alone_is_named() {
        let mut report = example();
        let checks = ["lost_requests == 0", "cost <= $3", "time_to_serve <= 2m"];
        for (line, check) in report.lines.iter_mut().zip(checks) {
            (line.check, line.runs, line.verdict) = (check.to_string(), 1, Verdict::Holds);
        }
        report.lines[1].verdict = Verdict::Fails;
        let text = page(&report).split_whitespace().collect::<Vec<_>>().join(" ");
        let said = "lost_requests and time_to_serve are of one run; share(lost_requests == 0) >= 95% asks whether";
        assert!(text.contains(said), "{text}");
        report.lines[0].check = "lost_requests == 0 of deployment web".to_string();
        let text = page(&report).split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(text.contains("; share(lost_requests == 0) >= 95% of deployment web asks whether"), "{text}");
    }

    /// A gate may hold because an action did nothing: each form says so.
    #[test]
    fn what_did_nothing_is_told_wherever_verdicts_are() {
        let remark = "cordon of node nope-9 at 2m: there is no node nope-9 then";
        let report = Report { remarks: vec![remark.to_string()], ..example() };
        assert!(page(&report).contains(&format!("Remarks\n  - {remark}\n")), "{}", page(&report));
        let reports = [report];
        let notice = format!("::warning file=scenarios/shop.yaml,title=remark::{remark}\n");
        assert!(github::render(&reports).contains(&notice), "{}", github::render(&reports));
        assert!(markdown::render(&reports).contains(&format!("\n| shop | | remark | {remark} | |\n")));
        assert!(junit::render(&reports).contains(&format!("<system-out>{remark}</system-out>")));
    }

    #[test]
    fn a_report_fails_by_what_is_wrong_and_is_undecided_by_what_is_open() {
        let report = example();
        assert!(report.failed() && report.undecided());
        let open = Report { lines: report.lines[1..].to_vec(), ..report };
        assert!(!open.failed() && open.undecided());
    }
}
