//! What a move is worth to the pools that lose nodes: savings against disruption, and policy Balanced.
//!
//! Source: core `disruption/{balanced,types}.go` of v1.14.0: savings count the cheapest available offering of a
//! replacement's first type, whether it fits its requirements or not. Left out: a node that is no candidate counts with the
//! costs of its pods as they are, not with those that Karpenter last saw.

use super::candidates::{Candidate, price};
use super::simulation::{Move, Scene};
use crate::components::karpenter::cluster::{eviction_cost, is_available, pool_type, zone_named};
use crate::plan::{CapacityType, ConsolidationPolicy, InstanceTypeId, NodePoolId};
use crate::rules::requirements::{CAPACITY_TYPE, INSTANCE_TYPE, ZONE};
use crate::world::{NodeClaim, Owner};
use std::collections::BTreeMap;

/// A move must save at least this share of the cost for each share of the disruption.
/// Source: core `pkg/apis/v1/nodepool.go` (`BalancedK` = 2).
const THRESHOLD: f64 = 1.0 / 2.0;

/// Cost and disruption of a pool.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Totals {
    /// Dollars an hour of all its claims.
    pub cost: f64,
    /// Disruption that all its nodes together would be.
    pub disruption: f64,
}

/// Totals of the pools that have candidates; `all`: before a method's filter. Nothing when no pool is Balanced.
pub fn totals(scene: Scene, all: &[Candidate]) -> BTreeMap<NodePoolId, Totals> {
    let world = scene.world;
    if !is_used(world) {
        return BTreeMap::new();
    }
    let mut totals: BTreeMap<NodePoolId, Totals> = all.iter().map(|one| (one.pool, Totals::default())).collect();
    for claim in world.claims.iter().filter(|claim| claim.gone.is_none()) {
        let Some(total) = totals.get_mut(&claim.pool) else { continue };
        total.cost += claim_price(scene, claim);
        if claim.instance.is_some() {
            let known = all.iter().find(|one| one.claim == claim.id).map(|one| one.reschedule);
            total.disruption += known.unwrap_or_else(|| disruption(scene, claim));
        }
    }
    for (pool, total) in &mut totals {
        if total.cost <= 0.0 {
            total.cost = all.iter().filter(|one| one.pool == *pool).map(|one| one.price).sum();
        }
    }
    totals
}

/// Some pool is Balanced.
pub fn is_used(world: &crate::world::World) -> bool {
    world.node_pools.iter().any(|pool| pool.consolidation_policy == ConsolidationPolicy::Balanced)
}

fn claim_price(scene: Scene, claim: &NodeClaim) -> f64 {
    let label = |key: &str| claim.labels.get(key);
    let id = label(INSTANCE_TYPE).and_then(|name| pool_type(scene.plan, claim.pool, name));
    let zone = label(ZONE).and_then(|name| zone_named(scene.plan, name));
    let kind = label(CAPACITY_TYPE).and_then(|name| CapacityType::ALL.into_iter().find(|kind| kind.name() == name));
    price((scene.plan, scene.world), id, zone, kind)
}

/// One, and what its pods cost, those of DaemonSets excepted.
fn disruption(scene: Scene, claim: &NodeClaim) -> f64 {
    let world = scene.world;
    let node = claim.node.map(|node| world.node(node)).filter(|node| node.gone.is_none());
    let counts = |pod: &crate::world::PodId| {
        let entry = world.pod(*pod);
        !entry.is_finished() && !matches!(entry.owner, Owner::DaemonSet(_))
    };
    let pods = node.into_iter().flat_map(|node| &node.pods).copied().filter(|pod| counts(pod));
    1.0 + pods.map(|pod| eviction_cost(world, pod).max(0.0)).sum::<f64>()
}

/// What a move is thought to save, dollars an hour.
pub fn estimated_savings(scene: Scene, found: &Move) -> f64 {
    let destination: f64 = found.replacements().iter().filter_map(|claim| cheapest(scene, *claim.types.first()?)).sum();
    found.source_cost() - destination
}

fn cheapest(scene: Scene, id: InstanceTypeId) -> Option<f64> {
    let entry = scene.plan.instance_type(id);
    let available = entry.offerings.iter().filter(|offering| is_available(scene.world, entry, offering));
    available.map(|offering| scene.world.prices.known(id, offering).dollars()).reduce(f64::min)
}

/// The share of the cost that is saved for each share of the disruption.
pub fn score(savings: f64, disruption: f64, totals: Totals) -> f64 {
    if totals.cost <= 0.0 || totals.disruption <= 0.0 || savings / totals.cost <= 0.0 {
        return 0.0;
    }
    let share = disruption / totals.disruption;
    if share == 0.0 { f64::INFINITY } else { (savings / totals.cost) / share }
}

/// Such a score is enough.
pub fn is_enough(score: f64) -> bool {
    score >= THRESHOLD
}

/// The score that each Balanced pool gives a move. What is saved is split by what each pool's nodes cost.
pub fn scores(scene: Scene, found: &Move, totals: &BTreeMap<NodePoolId, Totals>) -> BTreeMap<NodePoolId, f64> {
    let mut pools: BTreeMap<NodePoolId, (f64, f64)> = BTreeMap::new();
    for one in &found.candidates {
        let (cost, disruption) = pools.entry(one.pool).or_default();
        *cost += one.price;
        *disruption += one.reschedule;
    }
    let (savings, source, several) = (estimated_savings(scene, found), found.source_cost(), pools.len() > 1);
    let is_balanced =
        |pool: NodePoolId| scene.world.node_pools[pool.index()].consolidation_policy == ConsolidationPolicy::Balanced;
    let scored = pools.into_iter().filter(|(pool, _)| is_balanced(*pool)).map(|(pool, (cost, disruption))| {
        let own = if several && source > 0.0 { savings * (cost / source) } else { savings };
        (pool, score(own, disruption, totals.get(&pool).copied().unwrap_or_default()))
    });
    scored.collect()
}

/// Removing a candidate for nothing would be worth it: if not, no move of it is.
pub fn may_pass(scene: Scene, one: &Candidate, totals: &BTreeMap<NodePoolId, Totals>) -> bool {
    let balanced = scene.world.node_pools[one.pool.index()].consolidation_policy == ConsolidationPolicy::Balanced;
    let total = totals.get(&one.pool).filter(|total| total.cost > 0.0);
    !balanced || total.is_none_or(|&total| is_enough(score(one.price, one.reschedule, total)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_stand_as_upstream_tests_them() {
        let of =
            |savings, disruption, (cost, all)| is_enough(score(savings, disruption, Totals { cost, disruption: all }));
        assert!(of(20.0, 5.0, (100.0, 100.0)) && of(10.0, 10.0, (100.0, 100.0)));
        assert!(!of(5.0, 50.0, (100.0, 100.0)) && of(10.0, 0.0, (100.0, 100.0)));
        assert!(!of(0.0, 1.0, (100.0, 100.0)) && !of(-1.0, 1.0, (100.0, 100.0)));
        assert!(of(7.26, 4.0, (58.08, 90.0)) && !of(2.42, 9.0, (58.08, 90.0)));
        assert!(of(2.42, 9.0, (48.40, 90.0)), "a score of exactly one half is enough");
    }
}
