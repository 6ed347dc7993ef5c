//! Runs of a plan: one replication, its report, its verdicts.
//!
//! In: a plan. Out: outcomes and, through analysis and render, bytes and text. Files are the command line's business.

use crate::analysis::explain::Question;
use crate::analysis::{self, expectation};
use crate::components::{Outcome, Sim};
use crate::engine::LimitReached;
use crate::plan::Plan;
use crate::record::Detail;
use crate::render::{self, Finished};
use crate::rules::expectation::Verdict;

/// One replication. With `check` every law of the world is checked after every event.
pub fn run_once(plan: &Plan, replication: u64, check: bool) -> Outcome {
    let mut sim = Sim::new(plan, replication, Detail::Facts);
    if check {
        sim.check_every_event();
    }
    sim.run()
}

/// One replication that keeps its decisions, for `explain`.
pub fn run_explained(plan: &Plan) -> Outcome {
    Sim::new(plan, 0, Detail::Explain).run()
}

/// The decisions that a question asks for, as text.
pub fn explain(plan: &Plan, outcome: &Outcome, question: &Question, asked: &str) -> String {
    let entries = analysis::explain::answer(plan, &outcome.world, &outcome.recorder, question);
    render::explain::page(plan, &outcome.world, &entries, question, asked)
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

/// How the claims and expectations of a scenario came out.
pub struct Verdicts {
    /// For people.
    pub text: String,
    /// A claim's verdict is not the expected one, or an expectation is not met.
    pub failed: bool,
    /// Something could not be decided, and that was not expected.
    pub undecided: bool,
}

/// Holds a run against the claims and expectations of its scenario.
pub fn verdicts(plan: &Plan, outcome: &Outcome, path: &str) -> Verdicts {
    finished(plan, outcome, |finished| judge(finished, path))
}

fn judge(finished: &Finished, path: &str) -> Verdicts {
    let (plan, world, analysis) = (finished.plan, finished.world, finished.analysis);
    let claims = expectation::claims(plan, world, analysis);
    let expectations = expectation::expectations(plan, world, analysis);
    let surprises = claims.iter().filter(|claim| !claim.as_expected()).map(|claim| claim.judgement.verdict);
    let broken = expectations.iter().map(|judgement| judgement.verdict).filter(|verdict| *verdict != Verdict::Holds);
    let open: Vec<Verdict> = surprises.chain(broken).collect();
    let undecided = !open.is_empty() && open.iter().all(|verdict| *verdict == Verdict::Undecided);
    Verdicts { text: render::text::verdict_page(finished, path), failed: !open.is_empty() && !undecided, undecided }
}
