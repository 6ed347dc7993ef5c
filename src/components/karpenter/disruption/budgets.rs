//! Disruption budgets of NodePools.
//!
//! Source: core `pkg/apis/v1/nodepool.go` (`GetAllowedDisruptionsByReason`), `disruption/helpers.go`.

use super::notes::Notes;
use crate::components::karpenter::cluster::is_leaving;
use crate::engine::{Span, Time};
use crate::plan::{Budget, NodePoolId};
use crate::record::Reason;
use crate::rules::requirements::NODE_POOL;
use crate::rules::schedule::Schedule;
use crate::world::World;

/// No budget is active.
pub const UNLIMITED: i64 = i32::MAX as i64;

/// Disruptions that the budgets of a pool of `total` nodes allow for a reason at `now`.
pub fn allowed(budgets: &[Budget], reason: &str, total: i64, now: Time) -> i64 {
    let mut least = UNLIMITED;
    for budget in budgets {
        let Some(active) = is_active(budget, now) else { return 0 };
        let concerns = budget.reasons.as_ref().is_none_or(|reasons| reasons.iter().any(|one| one == reason));
        if active && concerns {
            least = least.min(nodes(&budget.nodes, total));
        }
    }
    least
}

/// Whether a budget holds at `now`; `None`: its schedule cannot be read.
fn is_active(budget: &Budget, now: Time) -> Option<bool> {
    if budget.schedule.is_none() && budget.duration.is_none() {
        return Some(true);
    }
    // A duration without schedule is a schedule that cannot be read.
    let schedule = Schedule::parse(budget.schedule.as_deref()?)?;
    let duration = budget.duration.unwrap_or(Span::ZERO);
    Some(schedule.is_open(now.since(Time::ZERO).whole_seconds(), duration.whole_seconds()))
}

/// A number, or a share of the total rounded up.
fn nodes(text: &str, total: i64) -> i64 {
    match text.strip_suffix('%') {
        Some(percent) => percent.parse::<i64>().map_or(0, |percent| (percent * total + 99) / 100),
        None => text.parse().unwrap_or(0),
    }
}

/// What is left of the budgets of each pool, for one reason.
#[derive(Clone, Debug)]
pub struct Remaining {
    by_pool: Vec<i64>,
}

impl Remaining {
    /// Takes one disruption of a pool; false when none is left.
    pub fn take(&mut self, pool: NodePoolId) -> bool {
        let left = &mut self.by_pool[pool.index()];
        let any = *left > 0;
        *left -= i64::from(any);
        any
    }

    /// How many are left.
    pub fn left(&self, pool: NodePoolId) -> i64 {
        self.by_pool[pool.index()]
    }

    /// How many are left in all pools.
    pub fn total(&self) -> i64 {
        self.by_pool.iter().fold(0, |sum, left| sum.saturating_add(*left))
    }

    /// None is left.
    pub fn is_exhausted(&self, pool: NodePoolId) -> bool {
        self.left(pool) <= 0
    }
}

/// Budgets of all pools less what is being disrupted. A node counts while it is initialised and its instance is not
/// being terminated; it is being disrupted when it is not Ready or marked for deletion.
pub fn remaining(world: &World, reason: &str, notes: &mut Notes) -> Remaining {
    let mut totals = vec![(0_i64, 0_i64); world.node_pools.len()];
    for node in world.nodes.iter().filter(|node| node.gone.is_none()) {
        let Some(claim) = node.claim.map(|id| world.claim(id)).filter(|claim| claim.gone.is_none()) else { continue };
        let counts = claim.initialized.is_some() && claim.instance_terminating.is_none();
        if !counts || !node.labels.contains_key(NODE_POOL) {
            continue;
        }
        let (total, disrupting) = &mut totals[claim.pool.index()];
        *total += 1;
        *disrupting += i64::from(!node.is_ready() || is_leaving(world, node.id));
    }
    let mut by_pool = Vec::with_capacity(totals.len());
    for (index, (pool, (total, disrupting))) in world.node_pools.iter().zip(totals).enumerate() {
        let allowed = allowed(&pool.budgets, reason, total, world.now);
        by_pool.push((allowed - disrupting).max(0));
        if total > 0 && allowed == 0 {
            let why = || format!("No allowed disruptions for disruption reason {reason} due to blocking budget");
            notes.pool_blocked(NodePoolId::at(index), || Reason::Text(why()));
        } else if allowed > 0 && disrupting >= allowed {
            let nodes = if disrupting == 1 { "node is" } else { "nodes are" };
            let why = || {
                format!(
                    "{disrupting} {nodes} leaving or not Ready, the budget for {reason} allows {allowed} of {total}"
                )
            };
            notes.used_up(NodePoolId::at(index), || Reason::Text(why()));
        }
    }
    Remaining { by_pool }
}

/// A budget without schedule.
pub fn always(nodes: &str) -> Budget {
    Budget { nodes: nodes.to_string(), schedule: None, duration: None::<Span>, reasons: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2000-01-01T10:00:00Z, a Saturday.
    const NOW: Time = Time::from_unix_seconds(946_720_800);

    #[test]
    fn a_tenth_of_the_nodes_rounded_up() {
        let budgets = [always("10%")];
        let allow = |total| allowed(&budgets, "Empty", total, NOW);
        assert_eq!([0, 1, 10, 11, 20, 21].map(allow), [0, 1, 1, 2, 2, 3]);
        assert_eq!(allowed(&[], "Empty", 10, NOW), UNLIMITED);
        assert_eq!(allowed(&[always("5"), always("90%")], "Empty", 10, NOW), 5, "the least of several");
    }

    #[test]
    fn reasons_and_schedules_decide_which_budgets_count() {
        let drift = Budget { reasons: Some(vec!["Drifted".to_string()]), ..always("0") };
        assert_eq!(allowed(&[drift.clone(), always("3")], "Empty", 10, NOW), 3);
        assert_eq!(allowed(&[drift, always("3")], "Drifted", 10, NOW), 0);
        let closed =
            Budget { schedule: Some("0 10 * * *".to_string()), duration: Some(Span::from_secs(3600)), ..always("0") };
        assert_eq!(allowed(std::slice::from_ref(&closed), "Empty", 10, NOW), 0);
        assert_eq!(allowed(&[closed], "Empty", 10, NOW + Span::from_secs(3600)), UNLIMITED);
        let broken = Budget { schedule: Some("0 0 * * 7".to_string()), duration: Some(Span::ZERO), ..always("9") };
        assert_eq!(allowed(&[always("5"), broken], "Empty", 10, NOW), 0, "a schedule that cannot be read allows none");
    }
}
