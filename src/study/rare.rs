//! Rare events: how likely a run comes out badly by way of a spot pool that is lost, though that seldom happens.
//!
//! ```text
//!  plan ─┬─ runs in which a pool is lost within the window ─► weight: the chance of that ─┐
//!        └─ runs in which none is                          ─► weight: the chance of that ─┴─► chance of the event, interval
//! ```
//!
//! Importance sampling on the times of shocks: the first shock of the pools that hold instances at the start is drawn from
//! its law under the condition that one falls into the window, and every run stands for the chance of that condition
//! ([`World::likelihood`](crate::world::World)). Everything else is drawn as ever. `analysis::rare` weighs the runs and says
//! when too few stand behind an answer. Source: Asmussen and Glynn, Stochastic Simulation, chapter V.

use super::replications::Control;
use crate::analysis::rare::{Answer, Question, weigh};
use crate::analysis::{self, expectation};
use crate::components::Sim;
use crate::plan::{Plan, ShockCondition};
use crate::record::Detail;
use crate::rules::expectation::{Expectation, Verdict};
use rayon::prelude::*;
use std::sync::atomic::Ordering;

/// One run in so many is made without a loss.
const SPARED: u64 = 4;

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No pool that can be lost holds an instance at the start.
    NothingToLose,
    /// It was told to stop before a run of each kind was finished.
    NoRuns,
}

/// Finds the answer.
///
/// # Errors
/// Nothing can be lost, or nothing was finished.
pub fn rare(plan: &Plan, question: Question, control: Control) -> Result<Answer, Refusal> {
    let with = |strikes: bool| {
        let (from, to) = question.window;
        Plan { noise: true, shock_condition: Some(ShockCondition { from, to, strikes }), ..plan.clone() }
    };
    let spared_count = (question.runs / SPARED).max(1);
    let struck_count = question.runs.saturating_sub(spared_count).max(1);
    // Whether anything can be lost shows in the first run.
    let first = results(&with(true), question.event, 1, Control { done: &|| (), ..control });
    if first.first().is_some_and(|(likelihood, _)| *likelihood <= 0.0) {
        return Err(Refusal::NothingToLose);
    }
    let struck = results(&with(true), question.event, struck_count, control);
    let spared = results(&with(false), question.event, spared_count, control);
    if struck.is_empty() || spared.is_empty() {
        return Err(Refusal::NoRuns);
    }
    let interrupted = ((struck.len() + spared.len()) as u64) < struck_count + spared_count;
    Ok(weigh(&struck, &spared, interrupted))
}

/// What each run stands for and whether the event came about in it, up to the first that was not made.
fn results(plan: &Plan, event: &Expectation, count: u64, control: Control) -> Vec<(f64, bool)> {
    let run = |number: u64| {
        if control.stop.load(Ordering::Relaxed) {
            return None;
        }
        let mut sim = Sim::new(plan, number, Detail::Facts);
        if control.check {
            sim.check_every_event();
        }
        let outcome = sim.run();
        let analysis = analysis::analyze(plan, &outcome.world, &outcome.recorder);
        let judged = expectation::judge_run(event, plan, &outcome.world, &analysis);
        (control.done)();
        Some((outcome.world.likelihood, judged.verdict == Verdict::Holds))
    };
    let all: Vec<Option<(f64, bool)>> = (0..count).into_par_iter().map(run).collect();
    all.into_iter().map_while(|result| result).collect()
}
