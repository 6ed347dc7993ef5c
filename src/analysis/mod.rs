//! From what happened to what it means: steps and their phases, requests, cost, expectations.
//!
//! ```text
//!  Plan + World at the end + Recorder ─► history (milestones) ─► steps, phases, replacements ─► totals, measures
//!                                    └─► series (replicas and nodes over time)               └─► verdicts, summary
//! ```
//! Pure: the same record gives the same analysis. Nothing here writes or draws; that is `render`.

pub mod causes;
pub mod churn;
pub mod error_budget;
pub mod expectation;
pub mod explain;
pub mod exported;
pub mod gate;
pub mod grid;
pub mod history;
pub mod losses;
pub mod observed;
pub mod paired;
pub mod phases;
mod places;
#[cfg(test)]
pub(crate) mod played;
pub mod rare;
pub mod remarks;
pub mod replay;
pub mod right_sizing;
pub mod runs;
pub mod sample;
pub mod series;
pub mod statistics;
pub mod steps;
pub mod summary;
pub mod totals;
pub mod verdicts;
pub mod worst;

pub use churn::Churn;
pub use history::{History, NodeHistory, PodHistory, Serving};
pub use phases::{Phase, PhaseSpan};
pub use series::{NodeStates, Replicas, Sample, Series};
pub use steps::{Replacement, Step, StepDown, StepPod, Why};
pub use totals::Totals;

use crate::plan::Plan;
use crate::record::Recorder;
use crate::world::World;

/// Everything that is found out about one run.
#[derive(Clone, Debug)]
pub struct Analysis {
    /// When each thing reached each milestone.
    pub history: History,
    /// Scaling steps upwards.
    pub steps: Vec<Step>,
    /// Scaling steps downwards.
    pub steps_down: Vec<StepDown>,
    /// Nodes that took pods with them, and what took their place.
    pub replacements: Vec<Replacement>,
    /// Replicas and nodes over time.
    pub series: Series,
    /// Requests, nodes, money.
    pub totals: Totals,
    /// Actions that found nothing or were undone, in words.
    pub remarks: Vec<String>,
}

/// Analyses a finished run.
pub fn analyze(plan: &Plan, world: &World, recorder: &Recorder) -> Analysis {
    let history = history::read(plan, world, recorder);
    let steps = steps::steps(plan, world, recorder, &history);
    let replacements = steps::replacements(&history, world, recorder, &steps);
    let steps::Steps { ups: steps, downs: steps_down, .. } = steps;
    let series = series::read(plan, world, recorder, &history);
    let mut totals = totals::sum(plan, world, recorder, &history);
    totals.churn_by = churn::by_reason(plan, world, &replacements);
    let remarks = remarks::remarks(plan, world, recorder);
    Analysis { history, steps, steps_down, replacements, series, totals, remarks }
}
