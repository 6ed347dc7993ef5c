//! What each method does with its candidates, and whether it still would fifteen seconds later. Pure functions of a scene.
//!
//! Source: core `disruption/{emptiness,drift,validation}.go`, and `ComputeCommands` of each method.

use super::balanced::{self, Totals};
use super::budgets::{self, Remaining};
use super::candidates::{Candidate, candidates};
use super::consolidation;
use super::method::Method;
use super::notes::Notes;
use super::simulation::{Failure, Move, Scene, Simulation, simulate};
use super::static_drift;
use crate::components::karpenter::cluster::burdens::Burdens;
use crate::plan::NodePoolId;
use crate::record::Reason;
use crate::world::NodeClaim;
use std::collections::{BTreeMap, BTreeSet};

/// What a method starts from.
#[derive(Clone, Debug)]
pub struct Prospect {
    /// Candidates that it accepts, by name.
    pub candidates: Vec<Candidate>,
    /// Totals of the pools, when one is Balanced.
    pub totals: BTreeMap<NodePoolId, Totals>,
}

/// What a method came to.
#[derive(Clone, Debug, Default)]
pub struct Decision {
    /// Commands, before their validation.
    pub moves: Vec<Move>,
    /// There was nothing to do and no budget stood in the way: it need not look again until something moves.
    pub exhausted: bool,
}

/// The candidates of a method.
pub fn prospect(scene: Scene, method: Method, notes: &mut Notes) -> Prospect {
    let version = scene.plan.flags.karpenter.version;
    // The totals of a Balanced pool count all candidates.
    let counts_all = method.consolidates(version) && balanced::is_used(scene.world);
    let may_accept =
        |claim: &NodeClaim, node, burdens: &Burdens| counts_all || method.may_accept(scene.world, burdens, claim, node);
    let mut candidates =
        candidates((scene.plan, scene.memo), scene.world, scene.held, method.class(), notes, may_accept);
    let totals = if method.consolidates(version) { balanced::totals(scene, &candidates) } else { BTreeMap::new() };
    candidates.retain(|one| method.accepts(scene.world, version, one, notes));
    Prospect { candidates, totals }
}

/// What a method does; several nodes at once leave the candidates as they were, but sorted. `first`: pools that single-node
/// consolidation did not reach the last time, because it took longer than three minutes; where computing takes no time there
/// are none.
///
/// # Errors
/// Nothing could be simulated: the pass ends.
pub fn decide(
    scene: Scene,
    method: Method,
    prospect: &mut Prospect,
    mut budgets: Remaining,
    first: &BTreeSet<NodePoolId>,
    notes: &mut Notes,
) -> Result<Decision, Failure> {
    let version = scene.plan.flags.karpenter.version;
    let Prospect { candidates: sorted, totals } = prospect;
    method.sort(scene.world, version, sorted);
    let (found, constrained) = match method {
        Method::Emptiness | Method::EmptyNodes => {
            let (kept, left): (Vec<Candidate>, Vec<Candidate>) =
                std::mem::take(sorted).into_iter().partition(|one| budgets.take(one.pool));
            let found = (!kept.is_empty()).then(|| Move { candidates: kept, results: Default::default() });
            (found, !left.is_empty())
        }
        Method::StaticDrift => {
            let moves = static_drift::decide(scene, sorted, &budgets);
            return Ok(Decision { moves, exhausted: false });
        }
        Method::Drift | Method::Expiration => {
            let empty = if version < (1, 5) { consolidation::remove_empty(sorted, &mut budgets) } else { None };
            match empty {
                Some(found) => (Some(found), true),
                None => (consolidation::replace_one(scene, sorted, &budgets, notes)?, true),
            }
        }
        Method::MultiNode => consolidation::multi_node(scene, sorted, &mut budgets, totals, notes)?,
        Method::SingleNode => {
            let sorted = consolidation::interleave(std::mem::take(sorted), first);
            consolidation::single_node(scene, &sorted, &budgets, totals, notes)
        }
    };
    let exhausted = found.is_none() && !constrained;
    Ok(Decision { moves: found.into_iter().collect(), exhausted })
}

/// Why a command is no longer valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Invalid {
    /// Candidates are none any more.
    Churn,
    /// Budgets do not allow it any more.
    Budget,
    /// Its pods would go elsewhere.
    Scheduling,
    /// It could not be simulated: the pass ends.
    Failed(Failure),
}

impl Invalid {
    /// As events name it.
    pub const fn name(self) -> &'static str {
        match self {
            Invalid::Churn => "churn",
            Invalid::Budget => "budget",
            Invalid::Scheduling => "scheduling",
            Invalid::Failed(_) => "unknown",
        }
    }
}

/// Is a command still right? Emptiness keeps what is, the others give up as a whole.
///
/// # Errors
/// Why it is not.
pub fn validate(scene: Scene, method: Method, planned: Move, notes: &mut Notes) -> Result<Move, Invalid> {
    let valid = still_candidates(scene, method, &planned, notes)?;
    if matches!(method, Method::Emptiness | Method::EmptyNodes) {
        return Ok(Move { candidates: valid, results: planned.results });
    }
    let Simulation { results, unplaced, .. } = simulate(scene, &valid, true).map_err(Invalid::Failed)?;
    let same = match (results.claims.as_slice(), planned.replacements()) {
        ([], []) => true,
        ([now], [then]) => then.types.iter().all(|id| now.types.contains(id)),
        _ => false,
    };
    if !unplaced.is_empty() || !same {
        return Err(Invalid::Scheduling);
    }
    still_candidates(scene, method, &planned, notes)?;
    Ok(planned)
}

/// The candidates of a command as they are now, within fresh budgets.
fn still_candidates(
    scene: Scene,
    method: Method,
    planned: &Move,
    notes: &mut Notes,
) -> Result<Vec<Candidate>, Invalid> {
    let mut fresh = prospect(scene, method, notes).candidates;
    fresh.retain(|one| planned.candidates.iter().any(|then| then.claim == one.claim));
    let lenient = method == Method::Emptiness;
    if fresh.is_empty() || (!lenient && fresh.len() < planned.candidates.len()) {
        return Err(Invalid::Churn);
    }
    let mut budgets = budgets::remaining(scene.world, method.budget_reason(), notes);
    let within: Vec<Candidate> = fresh.iter().filter(|one| budgets.take(one.pool)).cloned().collect();
    if within.is_empty() || (!lenient && within.len() < fresh.len()) {
        return Err(Invalid::Budget);
    }
    Ok(within)
}

/// The event of a command that failed its validation.
pub fn rejection(scene: Scene, planned: &Move, why: Invalid) -> Reason {
    let names: Vec<&str> = planned.candidates.iter().map(|one| &*one.name).collect();
    let names = names.join(", ");
    let what = match planned.replacements().len() {
        0 => format!("delete: [{names}]"),
        1 => format!("replace: [{names}] -> [1 replacement]"),
        count => format!("replace: [{names}] -> [{count} replacements]"),
    };
    let savings = balanced::estimated_savings(scene, planned);
    Reason::Text(format!("Consolidation rejected: {what}, reason: {} (savings: ${savings:.2})", why.name()))
}
