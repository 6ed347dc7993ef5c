//! A pass that found no candidate finds none again while what it reads stays as it was: then the loop need not look.
//!
//! In: the world after a pass that had nothing to weigh. Out: whether the next one may be spared. What a pass reads is the
//! cluster, whose changes are counted ([`World::cluster_version`]), its own memory, and the clock. Where the clock alone could
//! change the answer (schedules of budgets, durations of annotations, pools of v1beta1 with their age), no pass is spared; of
//! a nomination it is known when it ends.

use crate::components::karpenter::cluster::DO_NOT_DISRUPT;
use crate::engine::Time;
use crate::plan::Plan;
use crate::world::World;

/// A cluster in which there was nothing to disrupt.
#[derive(Clone, Copy, Debug)]
pub struct Calm {
    version: u64,
    /// The first instant at which the clock could change the answer.
    until: Time,
}

impl Calm {
    /// Calm from now on; `None`: the clock may end it at any time.
    pub fn of(plan: &Plan, world: &World) -> Option<Calm> {
        if plan.flags.karpenter.version < (1, 0) || world.node_pools.iter().any(|pool| pool.v1beta1) {
            return None;
        }
        let budgets = world.node_pools.iter().flat_map(|pool| &pool.budgets);
        let timed = |value: &String| value != "true";
        let lasting = |template: &crate::plan::PodTemplate| template.annotations.get(DO_NOT_DISRUPT).is_some_and(timed);
        let scheduled = budgets.into_iter().any(|budget| budget.schedule.is_some());
        if scheduled || world.templates.iter().any(|template| lasting(template)) {
            return None;
        }
        let nominated = world.claims.iter().filter(|claim| claim.gone.is_none()).map(|claim| claim.nominated_until);
        let until = nominated.filter(|&until| until > world.now).min().unwrap_or(Time::MAX);
        Some(Calm { version: world.cluster_version(), until })
    }

    /// It still holds.
    pub fn holds(&self, world: &World) -> bool {
        self.version == world.cluster_version() && world.now < self.until
    }
}
