//! Many runs of one plan: replications in parallel, their samples in order.
//!
//! ```text
//!  plan, numbers ─► one Sim a replication, on all threads ─► Sample ─► in the order of the numbers
//! ```
//! A replication is a function of plan and number, so samples do not depend on the number of threads. When it is told to
//! stop, the runs are kept that are finished without a gap: those before the first one that is not. (All that happen to
//! be finished would favour quick ones.)

use crate::analysis::runs::Runs;
use crate::analysis::sample::{self, Sample, Wanted};
use crate::analysis::statistics::LEVEL;
use crate::components::Sim;
use crate::engine::Span;
use crate::plan::Plan;
use crate::record::Detail;
use crate::rules::expectation::{Expectation, Verdict};
use rayon::prelude::*;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

/// First look of a study that decides for itself how long it is.
pub const FIRST_LOOK: u64 = 100;

/// How a study is told to stop, and tells how far it is.
#[derive(Clone, Copy)]
pub struct Control<'a> {
    /// True: no further run is begun.
    pub stop: &'a AtomicBool,
    /// Called after each run.
    pub done: &'a (dyn Fn() + Sync),
    /// Every law of the world is checked after every event.
    pub check: bool,
    /// Runs 2k and 2k+1 are mirror images: what one draws as u the other draws as 1 - u.
    pub antithetic: bool,
}

/// One replication and what is kept of it.
pub(super) fn sample(plan: &Plan, number: u64, wanted: &Wanted, control: Control) -> Sample {
    let mut sim = if control.antithetic {
        Sim::antithetic(plan, number / 2, number % 2 == 1, Detail::Facts)
    } else {
        Sim::new(plan, number, Detail::Facts)
    };
    sim.without_hash();
    if control.check {
        sim.check_every_event();
    }
    let outcome = sim.run();
    let taken = sample::take(wanted, plan, &outcome.world, &outcome.recorder);
    Sample { stopped_early: outcome.limit.is_some(), ..taken }
}

/// The samples of these replications, in order, up to the first that was not run.
pub fn replicate(plan: &Plan, numbers: Range<u64>, wanted: &Wanted, control: Control) -> Vec<Sample> {
    let plan = &without_advice(plan);
    let runs = numbers.into_par_iter().map(|number| {
        if control.stop.load(Ordering::Relaxed) {
            return None;
        }
        let sample = sample(plan, number, wanted, control);
        (control.done)();
        Some(sample)
    });
    runs.collect::<Vec<_>>().into_iter().map_while(|sample| sample).collect()
}

/// The same plan without the recommender of sizes: it changes nothing in a run, and no sample keeps what it says.
pub(super) fn without_advice(plan: &Plan) -> Plan {
    let mut plan = plan.clone();
    plan.flags.vpa.period = Span::ZERO;
    plan
}

/// As many runs as asked for.
pub fn fixed(plan: &Plan, count: u64, wanted: Wanted, control: Control) -> Runs {
    let samples = replicate(plan, 0..count, &wanted, control);
    let interrupted = (samples.len() as u64) < count;
    Runs { wanted, samples, interrupted, level: LEVEL }
}

/// Runs until `enough` is said of them, looking only when their number has doubled, at most `budget`. Each look has a chance
/// to mislead, so each is given its part of what the level leaves (Bonferroni).
pub fn sequential(plan: &Plan, budget: u64, wanted: Wanted, control: Control, enough: impl Fn(&Runs) -> bool) -> Runs {
    let budget = budget.max(1);
    let mut looks = vec![FIRST_LOOK.min(budget)];
    while let Some(&last) = looks.last().filter(|&&last| last < budget) {
        looks.push((last * 2).min(budget));
    }
    let level = 1.0 - (1.0 - LEVEL) / looks.len() as f64;
    let mut runs = Runs { wanted, samples: Vec::new(), interrupted: false, level };
    for look in looks {
        let from = runs.samples.len() as u64;
        let more = replicate(plan, from..look, &runs.wanted, control);
        runs.samples.extend(more);
        runs.interrupted = (runs.samples.len() as u64) < look;
        if runs.interrupted || enough(&runs) {
            break;
        }
    }
    runs
}

/// All of these are decided.
pub fn decided<'a>(runs: &Runs, mut expectations: impl Iterator<Item = &'a Expectation>) -> bool {
    expectations.all(|expectation| runs.judge(expectation).verdict != Verdict::Undecided)
}

/// Every estimate of these is as sharp as asked for: half its interval is at most that share of it.
pub fn precise<'a>(runs: &Runs, relative: f64, mut expectations: impl Iterator<Item = &'a Expectation>) -> bool {
    expectations.all(|expectation| {
        let gate = runs.judge(expectation);
        // Nothing measured will not become sharper.
        gate.runs == 0 || gate.estimate.is_some_and(|estimate| estimate.relative_half_width() <= relative)
    })
}
