//! What it cost that nodes were replaced: the nodes that were launched for it, and the time for which both were paid.
//!
//! In: the claims of the world, who replaces whom, and the pods that moved. Out: sums by reason. A node counts as a replacement
//! when a disruption command or a pass of the provisioner created it for pods of a node that was to go, or when the first pods
//! that took the place of such a node's pods run there. The whole of its cost within the run counts, however long it stays.

use super::steps::{Replacement, Why};
use super::totals::cost;
use crate::engine::{Span, Time};
use crate::plan::{MicroDollars, Plan};
use crate::world::{ClaimId, DisruptionReason, Instance, NodeClaim, World};
use std::collections::{BTreeMap, BTreeSet};

/// Sums over replacements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Churn {
    /// Nodes launched to replace others.
    pub nodes: u64,
    /// What they cost during the run.
    pub cost: MicroDollars,
    /// How long a replacement was paid for while a node that it replaces was still paid for.
    pub overlap: Span,
    /// What the replacements cost in that time.
    pub overlap_cost: MicroDollars,
}

impl Churn {
    fn add(&mut self, other: Churn) {
        self.nodes += other.nodes;
        self.cost.0 += other.cost.0;
        self.overlap += other.overlap;
        self.overlap_cost.0 += other.overlap_cost.0;
    }
}

/// The churn of a run by the reason for which nodes went.
pub fn by_reason(plan: &Plan, world: &World, replacements: &[Replacement]) -> BTreeMap<&'static str, Churn> {
    let mut by = BTreeMap::<&'static str, Churn>::new();
    let drained: BTreeSet<ClaimId> = (replacements.iter().filter(|one| one.why == Why::Drain))
        .filter_map(|one| world.node(one.node).claim)
        .collect();
    for (new, old) in replaced(world, replacements) {
        let Some(instance) = instance(world, new).filter(|instance| instance.launched >= plan.start) else { continue };
        let old: Vec<&NodeClaim> = old.iter().map(|&id| world.claim(id)).collect();
        let reason = old.iter().find_map(|claim| {
            let own = claim.deletion_reason.or(claim.disruption).map(DisruptionReason::name);
            // Karpenter finds a node empty that somebody drained: that is not why its pods needed another.
            if drained.contains(&claim.id) { Some(Why::Drain.name()) } else { own }
        });
        let Some(reason) = reason else { continue };
        let ends = old.iter().filter_map(|claim| Some(end(instance_of(world, claim)?, plan)));
        let until = ends.max().unwrap_or(instance.launched).min(end(instance, plan));
        let overlap = until.since(instance.launched);
        let paid = instance.paid_until(until.max(instance.launched));
        let overlap_cost = MicroDollars(i64::try_from((paid + 1_800_000_000) / 3_600_000_000).unwrap_or(i64::MAX));
        let cost = cost(plan, instance);
        by.entry(reason).or_default().add(Churn { nodes: 1, cost, overlap, overlap_cost });
    }
    by
}

/// All reasons together.
pub fn total(by: &BTreeMap<&'static str, Churn>) -> Churn {
    by.values().fold(Churn::default(), |mut sum, one| {
        sum.add(*one);
        sum
    })
}

/// Who replaces whom.
fn replaced(world: &World, replacements: &[Replacement]) -> BTreeMap<ClaimId, BTreeSet<ClaimId>> {
    let mut all = BTreeMap::<ClaimId, BTreeSet<ClaimId>>::new();
    for claim in world.claims.iter().filter(|claim| !claim.replaces.is_empty()) {
        all.entry(claim.id).or_default().extend(&claim.replaces);
    }
    for one in replacements {
        let Some(old) = world.node(one.node).claim else { continue };
        for pod in &one.replacements {
            let node = world.pod(*pod).node.and_then(|node| world.node(node).claim);
            if let Some(new) = node.filter(|&new| new != old && world.claim(new).created >= one.trigger) {
                all.entry(new).or_default().insert(old);
            }
        }
    }
    all
}

fn instance(world: &World, claim: ClaimId) -> Option<&Instance> {
    instance_of(world, world.claim(claim))
}

fn instance_of<'w>(world: &'w World, claim: &NodeClaim) -> Option<&'w Instance> {
    claim.instance.map(|id| &world.instances[id.index()])
}

fn end(instance: &Instance, plan: &Plan) -> Time {
    instance.stopped.unwrap_or(plan.until)
}
