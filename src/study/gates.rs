//! Claims and expectations of a scenario held against runs: what speaks of one run against the exact one, what speaks of many
//! (percentiles, shares, means) against as many runs with chance as it takes.
//!
//! In: a plan. Out: a [`Report`], one line a claim or expectation, with verdict, interval and main cause.

use super::replications::{self, Control};
use crate::analysis::gate::{self, Gate};
use crate::analysis::runs::Runs;
use crate::analysis::sample::Wanted;
use crate::analysis::verdicts::{Line, Report};
use crate::plan::Plan;
use crate::rules::expectation::{Expectation, Verdict};

/// How many runs a check may make.
#[derive(Clone, Copy, Debug)]
pub enum Length {
    /// So many.
    Fixed(u64),
    /// As many as decide everything, at most so many.
    UntilDecided(u64),
}

/// Does anything in this plan speak of many runs?
pub fn speaks_of_runs(plan: &Plan) -> bool {
    checks(plan).any(|check| check.subject.is_about_runs())
}

/// The checks of claims and the expectations.
pub fn checks(plan: &Plan) -> impl Iterator<Item = &Expectation> {
    plan.claims.iter().map(|claim| &claim.check).chain(&plan.expectations)
}

/// Holds a plan against its claims and expectations.
pub fn report(plan: &Plan, path: &str, length: Length, control: Control) -> Report {
    let exact = checks(plan).any(|check| !check.subject.is_about_runs()).then(|| super::exact(plan, control.check));
    let about_runs = || checks(plan).filter(|check| check.subject.is_about_runs());
    let runs = about_runs().next().is_some().then(|| {
        let plan = Plan { noise: true, ..plan.clone() };
        let mut wanted = Wanted::default();
        // What is judged on the run without chance is told how many of these keep it.
        checks(&plan).for_each(|check| {
            wanted.expectation(check);
        });
        match length {
            Length::Fixed(count) => replications::fixed(&plan, count, wanted, control),
            Length::UntilDecided(budget) => {
                let enough = |runs: &Runs| replications::decided(runs, about_runs());
                replications::sequential(&plan, budget, wanted, control, enough)
            }
        }
    });
    let judged = |check: &Expectation| match (&runs, &exact) {
        (Some(runs), _) if check.subject.is_about_runs() => over_runs(runs, check),
        (runs, Some(exact)) => with_kept(exact.line(check), runs.as_ref(), check),
        _ => unreachable!("one of both was run for each kind of check"),
    };
    let claims = plan.claims.iter().map(|claim| Line {
        claim: Some(claim.text.clone()),
        expected: claim.expect,
        because: claim.because.clone(),
        ..judged(&claim.check)
    });
    let lines: Vec<Line> = claims.chain(plan.expectations.iter().map(judged)).collect();
    // Where nothing speaks of one run, one is made to say what became of actions and faults, or why pods have no node.
    let told = !plan.actions.is_empty() || !plan.faults.is_empty() || lines.iter().any(|line| !line.is_as_expected());
    let remarks = match &exact {
        Some(exact) => exact.remarks(),
        None if runs.is_some() && told => super::exact(plan, control.check).remarks(),
        None => Vec::new(),
    };
    Report {
        name: plan.name.clone(),
        path: path.to_string(),
        headline: exact.as_ref().map(|exact| exact.headline.clone()),
        lines,
        remarks,
        runs: runs.as_ref().map_or(0, |runs| runs.samples.len()),
        interrupted: runs.as_ref().is_some_and(|runs| runs.interrupted),
        seed: plan.seed,
        faults: Vec::new(),
        places: Vec::new(),
    }
}

/// A line about one run that held; where runs with chance were made as well, with how many of them keep it.
fn with_kept(mut line: Line, runs: Option<&Runs>, check: &Expectation) -> Line {
    if let Some((kept, count)) = runs.and_then(|runs| runs.kept(check)).filter(|_| line.verdict == Verdict::Holds) {
        line.explanation += &format!("; kept by {kept} of {count} runs with chance");
    }
    line
}

/// A line for an expectation over these runs.
pub fn over_runs(runs: &Runs, check: &Expectation) -> Line {
    let Gate { text, verdict, estimate, unit, runs: count, explanation, .. } = runs.judge(check);
    let interval = estimate.map_or_else(|| "-".to_string(), |estimate| gate::interval(unit, &estimate));
    Line {
        claim: None,
        check: text,
        verdict,
        expected: Verdict::Holds,
        interval,
        explanation,
        cause: runs.main_cause(check),
        because: String::new(),
        runs: count,
    }
}
