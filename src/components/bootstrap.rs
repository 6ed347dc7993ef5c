//! The state at the start of a run: nodes that are Ready, Deployments whose pods run, targets that are healthy.
//!
//! In: the plan. Out: a world in which everything the plan says exists has existed for `Plan::initial_age`.

use crate::plan::Plan;
use crate::world::World;

/// Fills the world with the initial state.
pub fn populate(plan: &Plan, world: &mut World) {
    world.now = plan.start.back(plan.initial_age);
}
