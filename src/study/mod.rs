//! Runs of a plan: one replication, its report, its verdicts.
//!
//! In: a plan. Out: outcomes and, through analysis and render, bytes and text. Files are the command line's business.

pub mod drain;
pub mod gates;
pub mod many;
pub mod rare;
pub mod replay;
pub mod replications;
pub mod starter;
pub mod sweep;
pub mod what_if;

use crate::analysis::explain::Question;
use crate::analysis::verdicts::{Line, Report};
use crate::analysis::{self, expectation};
use crate::components::{Outcome, Sim};
use crate::engine::LimitReached;
use crate::plan::Plan;
use crate::record::Detail;
use crate::render::{self, Finished};
use crate::rules::expectation::{Expectation, Verdict};

/// One replication. With `check` every law of the world is checked after every event.
pub fn run_once(plan: &Plan, replication: u64, check: bool) -> Outcome {
    let mut sim = Sim::new(plan, replication, Detail::Facts);
    if check {
        sim.check_every_event();
    }
    sim.run()
}

/// One replication that keeps its decisions, for `explain`.
pub fn run_explained(plan: &Plan, replication: u64) -> Outcome {
    Sim::new(plan, replication, Detail::Explain).run()
}

/// The decisions that a question asks for, as text.
pub fn explain(plan: &Plan, outcome: &Outcome, question: &Question, asked: &str) -> String {
    let entries = analysis::explain::answer(plan, &outcome.world, &outcome.recorder, question);
    render::explain::page(plan, &outcome.world, &entries, question, asked)
}

/// The requests that a run lost, by cause, as text.
pub fn explain_losses(plan: &Plan, outcome: &Outcome) -> String {
    let groups = analysis::losses::groups(plan, &outcome.world, &outcome.recorder);
    render::losses::page(plan, &outcome.world, &groups)
}

/// In words, where and why a run stopped early.
pub fn describe_limit(plan: &Plan, limit: LimitReached) -> String {
    match limit {
        LimitReached::Events(at) => {
            format!("{} events were handled at {} s", plan.limits.events_max, at.decimal_from(plan.start))
        }
        LimitReached::SameInstant(at) => {
            let most = plan.limits.same_instant_events_max;
            format!("{most} events happened at {} s without time passing", at.decimal_from(plan.start))
        }
        LimitReached::Pods(at) => {
            format!("more than {} pods existed at {} s", plan.limits.pods_max, at.decimal_from(plan.start))
        }
    }
}

/// A run with its analysis, handed to `work`.
fn finished<R>(plan: &Plan, outcome: &Outcome, work: impl FnOnce(&Finished) -> R) -> R {
    let analysis = analysis::analyze(plan, &outcome.world, &outcome.recorder);
    work(&Finished {
        plan,
        world: &outcome.world,
        recorder: &outcome.recorder,
        analysis: &analysis,
        events: outcome.events,
        event_hash: outcome.event_hash,
        limit: outcome.limit,
    })
}

/// A file of a result: its name and its bytes.
pub type File = (String, Vec<u8>);

/// The files of a run, and the screen that sums it up.
pub fn report(plan: &Plan, outcome: &Outcome) -> (Vec<File>, String) {
    finished(plan, outcome, |finished| (render::files(finished), render::text::summary(finished)))
}

/// Pods that had no node at the end of a run, those of a kind together, and why: a text each.
pub(crate) fn without_node(plan: &Plan, outcome: &Outcome) -> Vec<String> {
    finished(plan, outcome, all_without_node)
}

fn all_without_node(finished: &Finished) -> Vec<String> {
    render::waiting::told(finished, &Default::default())
}

/// The run that speaks of one run only: its headline, a line for each thing that is checked of it, and pods without a node.
pub(crate) struct Exact<'p> {
    plan: &'p Plan,
    outcome: Outcome,
    analysis: analysis::Analysis,
    headline: String,
    without_node: Vec<String>,
}

pub(crate) fn exact(plan: &Plan, check: bool) -> Exact<'_> {
    let outcome = run_once(plan, 0, check);
    let said = |finished: &Finished| (render::headline::headline(finished), all_without_node(finished));
    let (headline, without_node) = finished(plan, &outcome, said);
    let analysis = analysis::analyze(plan, &outcome.world, &outcome.recorder);
    Exact { plan, outcome, analysis, headline, without_node }
}

impl Exact<'_> {
    fn line(&self, check: &Expectation) -> Line {
        line(check, self.plan, &self.outcome, &self.analysis)
    }

    /// What a user should know, and which pods had no node at the end, and why.
    fn remarks(&self) -> Vec<String> {
        self.analysis.remarks.iter().chain(&self.without_node).cloned().collect()
    }
}

/// How the claims and expectations of a scenario came out in one run.
pub struct Verdicts {
    /// For people.
    pub text: String,
    /// A claim's verdict is not the expected one, or an expectation is not met.
    pub failed: bool,
    /// Something could not be decided, and that was not expected.
    pub undecided: bool,
}

/// Holds one run against the claims and expectations of its scenario.
pub fn verdicts(plan: &Plan, outcome: &Outcome, path: &str) -> Verdicts {
    let analysis = analysis::analyze(plan, &outcome.world, &outcome.recorder);
    let headline = finished(plan, outcome, render::headline::headline);
    let judged = |check: &Expectation| line(check, plan, outcome, &analysis);
    let claims = plan.claims.iter().map(|claim| Line {
        claim: Some(claim.text.clone()),
        expected: claim.expect,
        because: claim.because.clone(),
        ..judged(&claim.check)
    });
    let report = Report {
        name: plan.name.clone(),
        path: path.to_string(),
        headline: Some(headline),
        lines: claims.chain(plan.expectations.iter().map(judged)).collect(),
        remarks: analysis.remarks.clone(),
        runs: 0,
        interrupted: false,
        seed: plan.seed,
        faults: Vec::new(),
        places: Vec::new(),
    };
    let (text, failed) = (render::verdicts::page(&report), report.failed());
    Verdicts { text, failed, undecided: report.undecided() && !failed }
}

/// An expectation held against one run.
fn line(check: &Expectation, plan: &Plan, outcome: &Outcome, analysis: &analysis::Analysis) -> Line {
    let judgement = expectation::judge_run(check, plan, &outcome.world, analysis);
    let unit = check.subject.unit();
    let run = if plan.noise { "of one run" } else { "of one run, without chance" };
    let said = judgement.explanation.contains(run) || judgement.measured.is_none();
    let mark = if judgement.explanation.contains(", ") { "; " } else { " " };
    let explanation = if said { judgement.explanation } else { judgement.explanation + mark + run };
    Line {
        claim: None,
        check: judgement.text,
        verdict: judgement.verdict,
        expected: Verdict::Holds,
        interval: judgement.measured.map_or_else(|| "-".to_string(), |value| unit.show(value)),
        explanation,
        cause: None,
        because: String::new(),
        runs: 1,
    }
}
