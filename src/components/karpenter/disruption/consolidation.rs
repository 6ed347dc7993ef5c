//! What could be saved: simulations without candidates, price rules, and the search over several nodes at once.
//!
//! Source: core `disruption/{helpers,consolidation,multinodeconsolidation,singlenodeconsolidation,balanced_scoring}.go`.
//! Left out: the wall-clock deadlines of the searches (60 s and 3 min), which these clusters never reach.

use super::budgets::Remaining;
use super::candidates::{Candidate, weigh};
use crate::components::karpenter::cluster::{
    self, Catalog, cheapest_price, lacking_min_values, order_by_price, worst_launch_price,
};
use crate::components::karpenter::provisioner::list_order;
use crate::components::karpenter::provisioner::packing::{NewNode, Options, Results, Snapshot, solve};
use crate::plan::{CapacityType, ConsolidationPolicy, InstanceTypeId, NodePoolId, Plan};
use crate::rules::requirements::{CAPACITY_TYPE, Requirement};
use crate::world::{PodId, World};
use std::collections::BTreeSet;

/// Candidates that one multi-node command may hold at most.
const MULTI_NODE_MAX: usize = 100;
/// Types that a single spot node must be able to become for another spot node.
const SPOT_TO_SPOT_TYPES: usize = 15;

/// What a simulation reads.
#[derive(Clone, Copy)]
pub struct Scene<'a> {
    /// The plan of the run.
    pub plan: &'a Plan,
    /// The world.
    pub world: &'a World,
    /// Requirements of instance types.
    pub catalog: &'a Catalog,
}

/// Nodes to remove and what replaces them.
#[derive(Clone, Debug)]
pub struct Move {
    /// Nodes to remove.
    pub candidates: Vec<Candidate>,
    /// Where their pods go.
    pub results: Results,
}

impl Move {
    /// Claims to create first.
    pub fn replacements(&self) -> &[NewNode] {
        &self.results.claims
    }
}

/// Where the pods of the candidates would go; `None`: a candidate is being deleted already. The flag says whether all of
/// them found a place.
pub fn simulate(scene: Scene, candidates: &[Candidate], consolidating: bool) -> Option<(Results, bool)> {
    let Scene { plan, world, catalog } = scene;
    let leaving = |candidate: &Candidate| {
        let claim = world.claim(candidate.claim);
        claim.gone.is_some() || claim.deleting_since.is_some()
    };
    if candidates.iter().any(leaving) {
        return None;
    }
    let all = cluster::state_nodes(plan, world);
    let is_candidate = |node: Option<crate::world::NodeId>| candidates.iter().any(|one| Some(one.node) == node);
    let waiting = world.pods.iter().filter(|pod| pod.gone.is_none() && cluster::is_provisionable(world, pod.id));
    let mut pods: Vec<PodId> = waiting.map(|pod| pod.id).collect();
    let pending: BTreeSet<PodId> = pods.iter().copied().collect();
    let leaving = all.iter().filter(|node| node.leaving && !is_candidate(node.node)).flat_map(|node| node.pods);
    let leaving: Vec<PodId> = leaving.copied().filter(|&pod| cluster::is_currently_reschedulable(world, pod)).collect();
    let mut exempt = pending.clone();
    exempt.extend(&leaving);
    pods.extend(&leaving);
    let moving = candidates.iter().flat_map(|candidate| candidate.pods.iter().copied());
    pods.extend(moving.filter(|&pod| cluster::is_currently_reschedulable(world, pod)));
    list_order(world, &mut pods);
    let nodes = all.iter().filter(|node| !node.leaving && !is_candidate(node.node)).cloned().collect();
    let restrict = consolidating && plan.flags.karpenter.version >= (1, 14);
    let options = Options { settled_only_but: restrict.then(|| exempt.clone()) };
    let results = solve(&Snapshot { plan, world, catalog, nodes, pods, options });
    let placed = results.errors.iter().all(|(pod, _)| pending.contains(pod));
    let early = results.existing.iter().filter(|placed| !placed.initialized).flat_map(|placed| &placed.pods);
    let complete = placed && early.clone().all(|pod| exempt.contains(pod));
    Some((results, complete))
}

/// Whether the candidates can go, and for what.
///
/// # Errors
/// Why they cannot, in words.
pub fn consolidate(scene: Scene, candidates: &[Candidate]) -> Result<Move, String> {
    let (mut results, complete) = simulate(scene, candidates, true).ok_or("a candidate is being deleted")?;
    if !complete {
        return Err("not all pods would schedule".to_string());
    }
    if results.claims.is_empty() {
        return Ok(Move { candidates: candidates.to_vec(), results });
    }
    if results.claims.len() > 1 {
        return Err(format!("its pods would need {} new nodes", results.claims.len()));
    }
    let current: f64 = candidates.iter().map(|candidate| candidate.price).sum();
    cheaper(scene, &mut results.claims[0], candidates, current)?;
    Ok(Move { candidates: candidates.to_vec(), results })
}

/// Price rules: what is left of the replacement's types must be cheaper than what it replaces.
fn cheaper(scene: Scene, claim: &mut NewNode, candidates: &[Candidate], current: f64) -> Result<(), String> {
    let Scene { plan, world, catalog } = scene;
    order_by_price(plan, world, &mut claim.types, &claim.requirements);
    let spot = CapacityType::Spot.name();
    let all_spot = candidates.iter().all(|candidate| candidate.capacity_type == Some(CapacityType::Spot));
    let between_spot = all_spot && claim.requirements.allows(CAPACITY_TYPE, spot);
    if between_spot {
        if !plan.flags.karpenter.spot_to_spot {
            return Err("spot-to-spot consolidation is disabled".to_string());
        }
        claim.requirements.add(CAPACITY_TYPE, Requirement::any_of([spot]));
        claim.types.retain(|&id| cheapest_price(plan, world, id, &claim.requirements) < f64::MAX);
    }
    claim.types.retain(|&id| worst_launch_price(plan, world, id, &claim.requirements) < current);
    if claim.types.is_empty() {
        return Err("it cannot be replaced with a cheaper node".to_string());
    }
    if !lacking_min_values(catalog, &claim.types, &claim.requirements).is_empty() {
        return Err("cheaper types do not meet minValues".to_string());
    }
    if between_spot && candidates.len() == 1 {
        if claim.types.len() < SPOT_TO_SPOT_TYPES {
            let count = claim.types.len();
            return Err(format!(
                "spot-to-spot consolidation needs {SPOT_TO_SPOT_TYPES} cheaper types, there are {count}"
            ));
        }
        let mut keep = SPOT_TO_SPOT_TYPES;
        while keep < claim.types.len()
            && !lacking_min_values(catalog, &claim.types[..keep], &claim.requirements).is_empty()
        {
            keep += 1;
        }
        claim.types.truncate(keep);
    }
    // A replacement that may be either must not fall back to the dearer kind when spot is sold out.
    let on_demand = claim.requirements.allows(CAPACITY_TYPE, CapacityType::OnDemand.name());
    if on_demand && claim.requirements.allows(CAPACITY_TYPE, spot) {
        claim.requirements.add(CAPACITY_TYPE, Requirement::any_of([spot]));
    }
    Ok(())
}

/// The largest prefix of the sorted candidates that a binary search finds removable together.
pub fn multi_node(scene: Scene, sorted: &[Candidate], budgets: &mut Remaining) -> (Option<Move>, bool) {
    let mut constrained = false;
    let mut chosen: Vec<Candidate> = Vec::new();
    for candidate in sorted {
        if budgets.take(candidate.pool) {
            chosen.push(candidate.clone());
        } else {
            constrained = true;
        }
    }
    let most = chosen.len().min(MULTI_NODE_MAX + 1);
    if chosen.len() < 2 {
        return (None, constrained);
    }
    let (mut low, mut high) = (1_usize, most - 1);
    let mut saved = None;
    while low <= high {
        let middle = usize::midpoint(low, high);
        let found = consolidate(scene, &chosen[..=middle]).ok().and_then(|found| sensible(scene, found));
        match found.filter(|found| is_worthwhile(scene, found)) {
            Some(found) => {
                saved = Some(found);
                low = middle + 1;
            }
            None => high = middle - 1,
        }
    }
    (saved, constrained)
}

/// A replacement must not be of a type that is removed, unless it is cheaper than the cheapest of those.
fn sensible(scene: Scene, mut found: Move) -> Option<Move> {
    let Some(claim) = found.results.claims.first_mut() else { return Some(found) };
    let name = |id: InstanceTypeId| &scene.plan.instance_type(id).name;
    let mut ceiling = f64::MAX;
    for &id in &claim.types {
        let removed = found.candidates.iter().filter(|one| one.instance_type.is_some_and(|own| name(own) == name(id)));
        ceiling = removed.map(|one| one.price).fold(ceiling, f64::min);
    }
    claim.types.retain(|&id| worst_launch_price(scene.plan, scene.world, id, &claim.requirements) < ceiling);
    (!claim.types.is_empty()).then_some(found)
}

/// Candidates in the order of the method: the best saving first, or the least disruption before 1.14.
pub fn sort(candidates: &mut [Candidate], version: (u32, u32)) {
    if version >= (1, 14) {
        candidates.sort_by(|one, two| two.savings_ratio().total_cmp(&one.savings_ratio()));
    } else {
        candidates.sort_by(|one, two| one.legacy.total_cmp(&two.legacy));
    }
}

/// One of each pool in turn, keeping the order within a pool.
pub fn interleave(sorted: Vec<Candidate>) -> Vec<Candidate> {
    let mut pools: Vec<(NodePoolId, std::collections::VecDeque<Candidate>)> = Vec::new();
    for candidate in sorted {
        match pools.iter_mut().find(|(pool, _)| *pool == candidate.pool) {
            Some((_, queue)) => queue.push_back(candidate),
            None => pools.push((candidate.pool, std::collections::VecDeque::from([candidate]))),
        }
    }
    let mut out = Vec::new();
    while pools.iter().any(|(_, queue)| !queue.is_empty()) {
        out.extend(pools.iter_mut().filter_map(|(_, queue)| queue.pop_front()));
    }
    out
}

/// Every pool of policy Balanced that loses nodes approves of the move.
pub fn is_worthwhile(scene: Scene, found: &Move) -> bool {
    let Scene { plan, world, .. } = scene;
    let removed: f64 = found.candidates.iter().map(|one| one.price).sum();
    let replacement: f64 = found
        .replacements()
        .iter()
        .filter_map(|claim| Some(cheapest_price(plan, world, *claim.types.first()?, &claim.requirements)))
        .sum();
    let pools: BTreeSet<NodePoolId> = found.candidates.iter().map(|one| one.pool).collect();
    pools.into_iter().all(|pool| {
        if world.node_pools[pool.index()].consolidation_policy != ConsolidationPolicy::Balanced {
            return true;
        }
        let own = || found.candidates.iter().filter(|one| one.pool == pool);
        let price: f64 = own().map(|one| one.price).sum();
        let share = if removed > 0.0 { price / removed } else { 0.0 };
        let totals = totals(plan, world, pool);
        balanced(price - replacement * share, own().map(|one| one.reschedule).sum(), totals)
    })
}

/// Cost and disruption of all nodes of a pool.
fn totals(plan: &Plan, world: &World, pool: NodePoolId) -> (f64, f64) {
    let of_pool = world
        .nodes
        .iter()
        .filter(|node| node.gone.is_none() && node.claim.is_some_and(|claim| world.claim(claim).pool == pool));
    of_pool
        .map(|node| weigh(plan, world, node.id))
        .fold((0.0, 0.0), |(cost, disruption), node| (cost + node.price, disruption + node.reschedule))
}

/// The share of the cost saved is at least half the share of the disruption caused.
pub fn balanced(savings: f64, disruption: f64, (total_cost, total_disruption): (f64, f64)) -> bool {
    if savings <= 0.0 || total_cost <= 0.0 || total_disruption <= 0.0 {
        return false;
    }
    if disruption <= 0.0 {
        return true;
    }
    (savings / total_cost) / (disruption / total_disruption) >= 0.5
}

#[cfg(test)]
mod tests;
