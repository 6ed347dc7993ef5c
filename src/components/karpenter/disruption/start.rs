//! What a method starts from in a pass: nodes that it may take, and the budgets of their pools.
//!
//! In: a scene. Out: candidates; or, where that may do, nodes that are counted and not weighed. Consolidation mostly finds that all of
//! them stay, and that is known without prices and costs of evictions: a pool has no budget left, less than two nodes can go
//! together, or pods have no room elsewhere (`bound`). Only where nobody reads why.

use super::ORDER;
use super::bound::Bound;
use super::budgets::{self, Remaining};
use super::candidates::{Candidate, disruptable, is_occupied};
use super::decide::{Decision, Prospect, decide, prospect};
use super::method::Method;
use super::notes::Notes;
use super::simulation::Scene;
use crate::components::Cx;
use crate::components::karpenter::cluster::burdens::Burdens;
use crate::components::karpenter::cluster::state_nodes;
use crate::plan::{CapacityType, NodePoolId};
use crate::world::{ClaimId, NodeClaim, NodeId};
use std::collections::BTreeSet;

/// A node that consolidation takes for sure, before it is weighed.
#[derive(Clone, Copy, Debug)]
pub struct Counted {
    /// Its claim.
    pub claim: ClaimId,
    /// The node.
    pub node: NodeId,
    /// Its pool.
    pub pool: NodePoolId,
    /// It is a spot instance.
    pub is_spot: bool,
}

/// What a method starts from in a pass.
pub struct Start {
    /// `None`: of some nodes only weighing tells whether the method takes them.
    counted: Option<Vec<Counted>>,
    /// As soon as they are weighed.
    prospect: Option<Prospect>,
    /// `None`: there are no candidates.
    pub budgets: Option<Remaining>,
}

impl Start {
    /// What a method starts from now.
    pub fn of(cx: &Cx, scene: Scene, method: Method, notes: &mut Notes) -> Start {
        let counted = if notes.are_kept() { None } else { counted(scene, method) };
        let prospect = if counted.is_none() { Some(weighed(cx, scene, method, notes)) } else { None };
        let mut start = Start { counted, prospect, budgets: None };
        if start.count() > 0 {
            start.budgets = Some(budgets::remaining(cx.world, method.budget_reason(), notes));
        }
        start
    }

    /// How many candidates there are.
    pub fn count(&self) -> usize {
        let weighed = || self.prospect.as_ref().map_or(0, |prospect| prospect.candidates.len());
        self.counted.as_ref().map_or_else(weighed, Vec::len)
    }

    /// Candidates with what they cost.
    pub fn weigh(&mut self, cx: &Cx, scene: Scene, method: Method, notes: &mut Notes) -> &mut Prospect {
        self.prospect.get_or_insert_with(|| weighed(cx, scene, method, notes))
    }

    /// What a method decides that finds nothing for sure; `None`: its candidates have to be weighed.
    pub fn unweighed(&self, cx: &Cx, scene: Scene, method: Method) -> Option<Decision> {
        let (nodes, budgets) = (self.counted.as_ref()?, self.budgets.as_ref()?);
        let exhausted = match method {
            Method::MultiNode => {
                let mut left = budgets.clone();
                let chosen = nodes.iter().filter(|one| left.take(one.pool)).count();
                (chosen < 2).then_some(chosen == nodes.len())
            }
            Method::SingleNode => {
                let bound = Bound::default();
                let mut open = nodes.iter().filter(|one| !budgets.is_exhausted(one.pool));
                let closed = nodes.iter().any(|one| budgets.is_exhausted(one.pool));
                open.all(|one| bound.keeps(scene, one)).then_some(!closed)
            }
            _ => None,
        }?;
        debug_assert!(self.is_found_by_weighing(cx, scene, method, exhausted), "what was only counted could go");
        Some(Decision { exhausted, ..Decision::default() })
    }

    /// Candidates that are weighed are as many, and come to the same.
    fn is_found_by_weighing(&self, cx: &Cx, scene: Scene, method: Method, exhausted: bool) -> bool {
        let Some(budgets) = self.budgets.clone() else { return false };
        let notes = &mut Notes::default();
        let mut prospect = weighed(cx, scene, method, notes);
        let count = prospect.candidates.len();
        let nodes = state_nodes(scene.plan, scene.world);
        let found = decide(Scene { nodes: &nodes, ..scene }, method, &mut prospect, budgets, &BTreeSet::new(), notes);
        count == self.count() && found.is_ok_and(|found| found.moves.is_empty() && found.exhausted == exhausted)
    }
}

/// The candidates of a method. They come in no order (`DeepCopyNodes` goes through a map), and the sort of a method leaves equals as
/// they come.
fn weighed(cx: &Cx, scene: Scene, method: Method, notes: &mut Notes) -> Prospect {
    let mut prospect = prospect(scene, method, notes);
    if let Some(random) = cx.random {
        let key = |one: &Candidate| random.below(ORDER, cx.world.claim(one.claim).key(), u64::MAX);
        prospect.candidates.sort_by_cached_key(key);
    }
    prospect
}

/// The nodes that consolidation takes; `None`: of some that has to be found out.
fn counted(scene: Scene, method: Method) -> Option<Vec<Counted>> {
    let Scene { plan, world, held, memo, .. } = scene;
    if !matches!(method, Method::MultiNode | Method::SingleNode) || super::balanced::is_used(world) {
        return None;
    }
    let burdens = memo.burdens(world);
    let concerns = |claim: &NodeClaim, _, _: &Burdens| method.concerns(world, claim);
    let nodes = disruptable((plan, &burdens), world, held, method.class(), concerns);
    let count = |(claim, node): (&NodeClaim, NodeId)| {
        let offering = memo.offering(plan, world, claim.pool, node);
        let is_taken = Method::consolidates_plainly(&world.node_pools[claim.pool.index()], offering);
        let is_spot = offering.capacity_type == Some(CapacityType::Spot);
        let counted = Counted { claim: claim.id, node, pool: claim.pool, is_spot };
        (is_taken && is_occupied(world, &burdens, node)).then_some(counted)
    };
    nodes.map(count).collect()
}
