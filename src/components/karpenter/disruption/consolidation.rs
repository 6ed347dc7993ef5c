//! What could be saved: price rules, the search over several nodes at once, and one node after the other.
//!
//! Source: core `disruption/{consolidation,multinodeconsolidation,singlenodeconsolidation}.go`. Left out: the wall-clock
//! deadlines of the searches (60 s and 3 min), which these clusters never reach.

use super::balanced::{self, Totals};
use super::bound::Bound;
use super::budgets::Remaining;
use super::candidates::Candidate;
use super::notes::Notes;
use super::simulation::{Failure, Move, Scene, Simulation, simulate};
use crate::components::karpenter::cluster::{lacking_min_values, offerings, worst_launch_price};
use crate::components::karpenter::provisioner::packing::NewNode;
use crate::plan::{CapacityType, InstanceTypeId, NodePoolId};
use crate::record::Reason;
use crate::rules::requirements::{CAPACITY_TYPE, Requirement};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Candidates that one multi-node command may hold at most. Source: core `multinodeconsolidation.go`.
const MULTI_NODE_MAX: usize = 100;
/// Types that a single spot node must be able to become for another spot node. Source: core `consolidation.go`.
const SPOT_TO_SPOT_TYPES: usize = 15;

/// Whether the candidates can go, and for what; `Ok(None)`: they cannot, and a single one is told why.
///
/// # Errors
/// Nothing could be simulated.
pub fn consolidate(
    scene: Scene,
    candidates: &[Candidate],
    bound: &Bound,
    notes: &mut Notes,
) -> Result<Option<Move>, Failure> {
    let stays = !notes.are_kept() && bound.must_stay(scene, candidates);
    if stays && !cfg!(debug_assertions) {
        return Ok(None);
    }
    let Simulation { mut results, unplaced, uninitialized } = match simulate(scene, candidates, true) {
        Ok(simulation) => simulation,
        Err(Failure::Deleting) => return Ok(None),
        Err(failure) => return Err(failure),
    };
    let found = if !unplaced.is_empty() {
        Err(Reason::Unplaced(unplaced, uninitialized))
    } else if results.claims.len() > 1 {
        Err(Reason::Text(format!("Can't remove without creating {} candidates", results.claims.len())))
    } else {
        match results.claims.first_mut() {
            None => Ok(()),
            Some(claim) => cheaper(scene, claim, candidates).map_err(Reason::Text),
        }
    };
    debug_assert!(!stays || found.is_err(), "a node that must stay could go");
    match found {
        Ok(()) => Ok(Some(Move { candidates: candidates.to_vec(), results })),
        Err(reason) => {
            if let [one] = candidates {
                notes.unconsolidatable(one.node, || reason);
            }
            Ok(None)
        }
    }
}

/// Price rules: what is left of the replacement's types must be cheaper than what it replaces.
fn cheaper(scene: Scene, claim: &mut NewNode, candidates: &[Candidate]) -> Result<(), String> {
    let current: f64 = candidates.iter().map(|candidate| candidate.price).sum();
    let spot = CapacityType::Spot.name();
    let all_spot = candidates.iter().all(|candidate| candidate.capacity_type == Some(CapacityType::Spot));
    if all_spot && claim.requirements.allows(CAPACITY_TYPE, spot) {
        return spot_to_spot(scene, claim, current, candidates.len() == 1);
    }
    keep_cheaper(scene, claim, current)?;
    // A replacement that may be either must not fall back to the dearer kind when spot is sold out.
    let on_demand = claim.requirements.allows(CAPACITY_TYPE, CapacityType::OnDemand.name());
    if on_demand && claim.requirements.allows(CAPACITY_TYPE, spot) {
        claim.requirements.add(CAPACITY_TYPE, Requirement::any_of([spot]));
    }
    Ok(())
}

/// A single spot node only becomes another where there is much to choose from, so that it does not move again at once.
fn spot_to_spot(scene: Scene, claim: &mut NewNode, current: f64, single: bool) -> Result<(), String> {
    if !scene.plan.flags.karpenter.spot_to_spot {
        return Err("SpotToSpotConsolidation is disabled, can't replace a spot node with a spot node".to_string());
    }
    claim.requirements.add(CAPACITY_TYPE, Requirement::any_of([CapacityType::Spot.name()]));
    let NewNode { types, requirements, .. } = &mut *claim;
    types.retain(|&id| offerings(scene.plan, scene.world, id, requirements).next().is_some());
    keep_cheaper(scene, claim, current)?;
    if !single {
        return Ok(());
    }
    let count = claim.types.len();
    if count < SPOT_TO_SPOT_TYPES {
        return Err(format!(
            "SpotToSpotConsolidation requires {SPOT_TO_SPOT_TYPES} cheaper instance type options than the current \
             candidate to consolidate, got {count}"
        ));
    }
    let suffices =
        |keep: &usize| lacking_min_values(scene.catalog, &claim.types[..*keep], &claim.requirements).is_empty();
    let keep = (SPOT_TO_SPOT_TYPES..count).find(suffices).unwrap_or(count);
    claim.types.truncate(keep);
    Ok(())
}

/// Keeps types that would be launched for less.
fn keep_cheaper(scene: Scene, claim: &mut NewNode, price: f64) -> Result<(), String> {
    let NewNode { types, requirements, .. } = claim;
    types.retain(|&id| worst_launch_price(scene.plan, scene.world, id, requirements) < price);
    if types.is_empty() {
        return Err("Can't replace with a cheaper node".to_string());
    }
    let lacking: Vec<String> =
        lacking_min_values(scene.catalog, types, requirements).into_iter().map(|(key, _)| key).collect();
    if lacking.is_empty() {
        return Ok(());
    }
    let labels = lacking.join(" ");
    Err(format!("Filtering by price: minValues requirement is not met for label(s) (label(s)=[{labels}])"))
}

/// The largest prefix of the sorted candidates that a binary search finds removable together; the flag says whether
/// budgets kept some of them out.
///
/// # Errors
/// Nothing could be simulated.
pub fn multi_node(
    scene: Scene,
    sorted: &[Candidate],
    budgets: &mut Remaining,
    totals: &BTreeMap<NodePoolId, Totals>,
    notes: &mut Notes,
) -> Result<(Option<Move>, bool), Failure> {
    let chosen: Vec<&Candidate> = sorted.iter().filter(|one| budgets.take(one.pool)).collect();
    let constrained = chosen.len() < sorted.len();
    if chosen.len() < 2 {
        return Ok((None, constrained));
    }
    let chosen: Vec<Candidate> = chosen.into_iter().take(MULTI_NODE_MAX + 1).cloned().collect();
    let (mut low, mut high) = (1_usize, MULTI_NODE_MAX.min(chosen.len() - 1));
    let (mut saved, bound) = (None, Bound::default());
    while low <= high {
        let middle = usize::midpoint(low, high);
        let found = consolidate(scene, &chosen[..=middle], &bound, notes)?.and_then(|found| sensible(scene, found));
        match found.filter(|found| is_approved(scene, found, totals)) {
            Some(found) => {
                saved = Some(found);
                low = middle + 1;
            }
            None => high = middle - 1,
        }
    }
    Ok((saved, constrained))
}

/// Every Balanced pool that loses nodes finds the move worth it.
fn is_approved(scene: Scene, found: &Move, totals: &BTreeMap<NodePoolId, Totals>) -> bool {
    balanced::scores(scene, found, totals).into_values().all(balanced::is_enough)
}

/// A replacement must not be of a type that is removed, unless it is cheaper than the cheapest of those.
fn sensible(scene: Scene, mut found: Move) -> Option<Move> {
    let Some(claim) = found.results.claims.first_mut() else { return Some(found) };
    let name = |id: InstanceTypeId| &scene.plan.instance_type(id).name;
    let mut ceiling = f64::MAX;
    for &id in &claim.types {
        let removed = found.candidates.iter().filter(|one| one.instance_type.is_some_and(|own| name(own) == name(id)));
        let prices: Vec<f64> = removed.map(|one| one.price).collect();
        // Offerings that are gone have no price: only if none of the nodes has one, nothing can be cheaper.
        let least = prices.iter().copied().filter(|&price| price > 0.0).reduce(f64::min);
        if !prices.is_empty() {
            ceiling = ceiling.min(least.unwrap_or(0.0));
        }
    }
    keep_cheaper(scene, claim, ceiling).ok().map(|()| found)
}

/// One of each pool in turn, keeping the order within a pool; pools in `first` come first.
pub fn interleave(sorted: Vec<Candidate>, first: &BTreeSet<NodePoolId>) -> Vec<Candidate> {
    // Where there is one pool, they are in order.
    if first.is_empty() && sorted.windows(2).all(|two| two[0].pool == two[1].pool) {
        return sorted;
    }
    let mut pools: Vec<(NodePoolId, VecDeque<Candidate>)> = first.iter().map(|&pool| (pool, VecDeque::new())).collect();
    for candidate in sorted {
        match pools.iter_mut().find(|(pool, _)| *pool == candidate.pool) {
            Some((_, queue)) => queue.push_back(candidate),
            None => pools.push((candidate.pool, VecDeque::from([candidate]))),
        }
    }
    let mut out = Vec::new();
    while pools.iter().any(|(_, queue)| !queue.is_empty()) {
        out.extend(pools.iter_mut().filter_map(|(_, queue)| queue.pop_front()));
    }
    out
}

/// The first candidate that has budget and can go for something cheaper; the flag says whether budgets kept some of those
/// before it.
pub fn single_node(
    scene: Scene,
    candidates: &[Candidate],
    budgets: &Remaining,
    totals: &BTreeMap<NodePoolId, Totals>,
    notes: &mut Notes,
) -> (Option<Move>, bool) {
    let (mut constrained, bound) = (false, Bound::default());
    for candidate in candidates {
        if budgets.is_exhausted(candidate.pool) {
            constrained = true;
            continue;
        }
        if !balanced::may_pass(scene, candidate, totals) {
            continue;
        }
        // What could not be simulated is only logged: the next one may do.
        let found = consolidate(scene, std::slice::from_ref(candidate), &bound, notes).unwrap_or(None);
        if let Some(found) = found.filter(|found| is_approved(scene, found, totals)) {
            return (Some(found), constrained);
        }
    }
    (None, constrained)
}

/// The first drifted (or expired) candidate that has budget and whose pods all find a place, on as many new nodes as that
/// takes. Those without pods come first.
///
/// # Errors
/// Nothing could be simulated.
pub fn replace_one(
    scene: Scene,
    sorted: &[Candidate],
    budgets: &Remaining,
    notes: &mut Notes,
) -> Result<Option<Move>, Failure> {
    let (empty, others): (Vec<&Candidate>, Vec<&Candidate>) = sorted.iter().partition(|one| one.pods.is_empty());
    for candidate in empty.into_iter().chain(others).filter(|one| !budgets.is_exhausted(one.pool)) {
        let simulation = match simulate(scene, std::slice::from_ref(candidate), false) {
            Ok(simulation) => simulation,
            Err(Failure::Deleting) => continue,
            Err(failure) => return Err(failure),
        };
        let Simulation { results, unplaced, uninitialized } = simulation;
        if unplaced.is_empty() {
            return Ok(Some(Move { candidates: vec![candidate.clone()], results }));
        }
        notes.blocked(candidate.node, || Reason::Unplaced(unplaced, uninitialized));
    }
    Ok(None)
}

/// Until 1.4: all drifted (or expired) candidates without pods at once, within the budget.
pub fn remove_empty(sorted: &[Candidate], budgets: &mut Remaining) -> Option<Move> {
    let empty = sorted.iter().filter(|one| one.pods.is_empty() && budgets.take(one.pool));
    let candidates: Vec<Candidate> = empty.cloned().collect();
    (!candidates.is_empty()).then(|| Move { candidates, results: Default::default() })
}

#[cfg(test)]
mod tests;
