//! Drift of static pools: new nodes for drifted ones, one for one, without a look at their pods.
//!
//! Source: core `disruption/staticdrift.go`, `state/statenodepool.go`. Which of several drifted nodes go first is arbitrary
//! upstream: here by name.

use super::budgets::Remaining;
use super::candidates::Candidate;
use super::simulation::{Move, Scene};
use crate::components::karpenter::cluster::{lacking_min_values, order_by_price};
use crate::components::karpenter::provisioner::packing::{NewNode, Results};
use crate::plan::{InstanceTypeId, NodePoolId};
use crate::rules::requirements::{NODE_CLASS, NODE_POOL, Requirement, Requirements};
use crate::rules::resources::Resources;
use crate::world::NodeClaim;
use std::collections::BTreeMap;

/// A move for each drifted node that budget and node limit of its pool allow, unless the pool is still too large.
pub fn decide(scene: Scene, candidates: &[Candidate], budgets: &Remaining) -> Vec<Move> {
    let mut by_pool: BTreeMap<NodePoolId, Vec<&Candidate>> = BTreeMap::new();
    for candidate in candidates {
        by_pool.entry(candidate.pool).or_default().push(candidate);
    }
    let mut moves = Vec::new();
    for (pool, of_pool) in by_pool {
        let spec = &scene.world.node_pools[pool.index()];
        let existing = || scene.world.claims.iter().filter(|claim| claim.gone.is_none() && claim.pool == pool);
        let runs = |claim: &&NodeClaim| !claim.marked && claim.is_active() && claim.instance_terminating.is_none();
        let running = existing().filter(runs).count();
        if budgets.is_exhausted(pool) || running as i64 > i64::from(spec.replicas.unwrap_or(0)) {
            continue;
        }
        let limit = spec.limits.as_ref().and_then(|limits| limits.extended.get("nodes").copied()).unwrap_or(i64::MAX);
        let room = (limit - existing().count() as i64).clamp(0, budgets.left(pool));
        let chosen = of_pool.into_iter().take(usize::try_from(room).unwrap_or(0));
        moves.extend(chosen.map(|one| Move {
            candidates: vec![one.clone()],
            results: Results { claims: vec![claim_of(scene, pool)], ..Results::default() },
        }));
    }
    moves
}

/// A claim as the pool describes it: any of its types will do.
fn claim_of(scene: Scene, pool: NodePoolId) -> NewNode {
    let spec = &scene.world.node_pools[pool.index()];
    let mut requirements = Requirements::of(&spec.requirements);
    requirements.add_all(&Requirements::of_labels(&spec.labels));
    requirements.add(NODE_POOL, Requirement::any_of([spec.name.clone()]));
    requirements.add(NODE_CLASS, Requirement::any_of([spec.node_class_name.clone()]));
    let mut labels = spec.labels.clone();
    labels.insert(NODE_POOL, spec.name.as_str());
    labels.insert(NODE_CLASS, spec.node_class_name.as_str());
    NewNode {
        pool,
        requirements,
        types: Vec::new(),
        requests: Resources::default(),
        labels,
        pods: Vec::new(),
        min_values_relaxed: false,
    }
}

/// The types that the cloud provider finds for a claim that names none.
pub fn types_of(scene: Scene, claim: &NewNode) -> Vec<InstanceTypeId> {
    let all = scene.plan.pool_types.get(claim.pool.index()).map_or(&[][..], Vec::as_slice);
    let fits = |id: &InstanceTypeId| scene.catalog.requirements(*id).intersects(&claim.requirements);
    let mut types: Vec<InstanceTypeId> = all.iter().copied().filter(fits).collect();
    order_by_price(scene.plan, scene.world, &mut types, &claim.requirements);
    if lacking_min_values(scene.catalog, &types, &claim.requirements).is_empty() { types } else { Vec::new() }
}
