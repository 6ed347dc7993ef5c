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
use crate::analysis::rare::{Rare, importance};
use crate::analysis::statistics::{Estimate, LEVEL, share};
use crate::analysis::{self, expectation};
use crate::components::Sim;
use crate::engine::Span;
use crate::plan::{Plan, ShockCondition};
use crate::record::Detail;
use crate::rules::expectation::{Expectation, Verdict};
use rayon::prelude::*;
use std::sync::atomic::Ordering;

/// One run in so many is made without a loss.
const SPARED: u64 = 4;

/// What is asked.
#[derive(Clone, Copy)]
pub struct Question<'a> {
    /// The event: it comes about in a run of which this is true.
    pub event: &'a Expectation,
    /// A pool is lost between these two, from the start of the run.
    pub window: (Span, Span),
    /// Runs, all together.
    pub runs: u64,
}

/// What came out.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The chance that a pool that holds nodes is lost in the window.
    pub struck: f64,
    /// The chance of the event in a run with such a loss.
    pub given: Estimate,
    /// The chance of both, with the hits that stand behind it.
    pub both: Rare,
    /// Runs with a loss, and those of them with the event.
    pub struck_runs: (u64, u64),
    /// Runs without a loss, and those of them with the event.
    pub spared_runs: (u64, u64),
    /// The chance of the event in a run without a loss.
    pub spared: Estimate,
    /// Ordinary runs that would know the chance of both as well; `None`: it was never seen.
    pub worth: Option<f64>,
    /// It was told to stop before its end.
    pub interrupted: bool,
}

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
    let struck = results(&with(true), question.event, struck_count, control);
    if struck.first().is_some_and(|(likelihood, _)| *likelihood <= 0.0) {
        return Err(Refusal::NothingToLose);
    }
    let spared = results(&with(false), question.event, spared_count, control);
    if struck.is_empty() || spared.is_empty() {
        return Err(Refusal::NoRuns);
    }
    let interrupted = ((struck.len() + spared.len()) as u64) < struck_count + spared_count;
    Ok(weigh(&struck, &spared, interrupted))
}

fn weigh(struck: &[(f64, bool)], spared: &[(f64, bool)], interrupted: bool) -> Answer {
    let hits = |runs: &[(f64, bool)]| runs.iter().filter(|(_, hit)| *hit).count();
    let both = importance(struck.len() as u64, |run| {
        let (likelihood, hit) = struck[run as usize];
        hit.then(|| likelihood.ln())
    });
    let chance = struck.iter().map(|(likelihood, _)| likelihood).sum::<f64>() / struck.len() as f64;
    let given = share(hits(struck), struck.len(), LEVEL);
    let deviation = (both.chance.high - both.chance.point) / 1.96;
    let point = both.chance.point;
    Answer {
        struck: chance,
        given,
        worth: (deviation > 0.0).then(|| point * (1.0 - point) / (deviation * deviation)),
        both,
        struck_runs: (struck.len() as u64, hits(struck) as u64),
        spared_runs: (spared.len() as u64, hits(spared) as u64),
        spared: share(hits(spared), spared.len(), LEVEL),
        interrupted,
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_of_equal_weight_are_a_share_times_the_chance_of_a_loss() {
        let struck: Vec<(f64, bool)> = (0..400).map(|run| (1e-4, run % 4 == 0)).collect();
        let spared = vec![(0.9999, false); 100];
        let answer = weigh(&struck, &spared, false);
        assert!((answer.struck - 1e-4).abs() < 1e-12);
        assert!((answer.both.chance.point - 0.25e-4).abs() < 1e-12);
        assert!((answer.both.effective_hits - 100.0).abs() < 1e-6);
        assert_eq!((answer.struck_runs, answer.spared_runs), ((400, 100), (100, 0)));
        // A share of a quarter of 400 has a deviation of 0.02165; seen as rarely as 0.25e-4 it takes 5.3 million runs.
        let worth = answer.worth.unwrap();
        assert!((worth / 5.333e6 - 1.0).abs() < 1e-3, "{worth}");
    }

    #[test]
    fn few_heavy_runs_are_not_believed() {
        let struck: Vec<(f64, bool)> = (0..400).map(|run| (if run == 0 { 1e-2 } else { 1e-6 }, run < 200)).collect();
        let answer = weigh(&struck, &[(0.99, false)], false);
        assert!(!answer.both.is_trusted(), "{:?}", answer.both);
    }
}
