//! Runs of a plan: one replication, its report, its verdicts.
//!
//! In: a plan. Out: outcomes and, through analysis and render, bytes and text. Files are the command line's business.

use crate::components::{Outcome, Sim};
use crate::engine::LimitReached;
use crate::plan::Plan;
use crate::record::Detail;

/// One replication. With `check` every law of the world is checked after every event.
pub fn run_once(plan: &Plan, replication: u64, check: bool) -> Outcome {
    let mut sim = Sim::new(plan, replication, Detail::Facts);
    if check {
        sim.check_every_event();
    }
    sim.run()
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
