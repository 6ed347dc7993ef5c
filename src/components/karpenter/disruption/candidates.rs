//! Nodes that may be disrupted, and what that would cost.
//!
//! Source: core `disruption/types.go` (`NewCandidate`), `state/statenode.go` (`ValidateNodeDisruptable`,
//! `ValidatePodsDisruptable`), `utils/disruption`.

use crate::components::karpenter::cluster::{
    self, DO_NOT_DISRUPT, budget_block, eviction_cost, forbids_disruption, is_reschedulable,
};
use crate::plan::{CapacityType, InstanceTypeId, NodePoolId, Plan};
use crate::rules::requirements::{CAPACITY_TYPE, INSTANCE_TYPE, ZONE};
use crate::world::{ClaimId, NodeClaim, NodeId, PodId, World};
use std::sync::Arc;

/// What may stop a disruption.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Pods that may not be moved always stop it.
    Graceful,
    /// They do not when the claim has a termination grace period.
    Eventual,
}

/// A node that may be disrupted.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Its claim.
    pub claim: ClaimId,
    /// Its node.
    pub node: NodeId,
    /// Its name.
    pub name: Arc<str>,
    /// Its pool.
    pub pool: NodePoolId,
    /// Its type, as the pool has it.
    pub instance_type: Option<InstanceTypeId>,
    /// How it is paid.
    pub capacity_type: Option<CapacityType>,
    /// Type, zone and capacity type are known from its labels.
    pub labelled: bool,
    /// Price an hour, dollars; 0 when it is unknown.
    pub price: f64,
    /// One, and the costs of evicting its pods.
    pub reschedule: f64,
    /// The cost that was compared until 1.13: all pods, less as the node nears its expiry.
    pub legacy: f64,
    /// Pods that would have to move.
    pub pods: Vec<PodId>,
}

impl Candidate {
    /// Nothing of weight runs there.
    pub fn is_empty(&self, version: (u32, u32)) -> bool {
        if version >= (1, 14) { self.reschedule <= 1.0 } else { self.pods.is_empty() }
    }

    /// What is saved for each unit of disruption.
    pub fn savings_ratio(&self) -> f64 {
        self.price / self.reschedule
    }
}

/// All candidates of a class, by name.
pub fn candidates(plan: &Plan, world: &World, class: Class) -> Vec<Candidate> {
    among(plan, world, class, |_| true)
}

/// Candidates of a class, by name, among the claims that are worth looking at.
pub fn among(plan: &Plan, world: &World, class: Class, concerned: impl Fn(&NodeClaim) -> bool) -> Vec<Candidate> {
    let nodes = world.nodes.iter().filter(|node| node.gone.is_none());
    let nodes = nodes.filter(|node| node.claim.is_some_and(|claim| concerned(world.claim(claim))));
    let mut found: Vec<Candidate> = nodes.filter_map(|node| candidate(plan, world, node.id, class).ok()).collect();
    found.sort_by(|one, two| one.name.cmp(&two.name));
    found
}

/// A node as candidate, or why it is none.
///
/// # Errors
/// The first thing that blocks its disruption, in words.
pub fn candidate(plan: &Plan, world: &World, id: NodeId, class: Class) -> Result<Candidate, String> {
    let node = world.node(id);
    let claim = node.claim.map(|claim| world.claim(claim)).ok_or("it is not managed by Karpenter")?;
    if claim.disruption.is_some() {
        return Err("it is being disrupted already".to_string());
    }
    if claim.initialized.is_none() {
        return Err("it is not initialized".to_string());
    }
    if claim.marked || claim.deleting_since.is_some() || node.deleting_since.is_some() {
        return Err("it is deleting or marked for deletion".to_string());
    }
    if claim.nominated_until > world.now {
        return Err("it is nominated for a pending pod".to_string());
    }
    if world.node_pools[claim.pool.index()].annotations.get(DO_NOT_DISRUPT).is_some_and(|value| value == "true") {
        return Err("disruption is blocked through its annotation".to_string());
    }
    let lenient = class == Class::Eventual && claim.termination_grace_period.is_some();
    if !lenient {
        for &pod in &node.pods {
            if world.pod(pod).is_active() && forbids_disruption(world, pod) {
                return Err(format!("pod {} has the annotation {DO_NOT_DISRUPT}", world.pod_name(pod)));
            }
        }
        if let Some(reason) = node.pods.iter().find_map(|&pod| budget_block(world, pod)) {
            return Err(reason);
        }
    }
    Ok(weigh(plan, world, id))
}

/// Prices and costs of a managed node, whether or not it may be disrupted.
pub fn weigh(plan: &Plan, world: &World, id: NodeId) -> Candidate {
    let node = world.node(id);
    let claim_id = node.claim.expect("a managed node has a claim");
    let claim = world.claim(claim_id);
    let label = |key: &str| node.labels.get(key);
    let instance_type = label(INSTANCE_TYPE).and_then(|name| cluster::pool_type(plan, claim.pool, name));
    let zone = label(ZONE).and_then(|name| cluster::zone_named(plan, name));
    let kinds = [CapacityType::Reserved, CapacityType::Spot, CapacityType::OnDemand];
    let kind = label(CAPACITY_TYPE).and_then(|name| kinds.into_iter().find(|kind| kind.name() == name));
    let offering = instance_type.and_then(|id| {
        let offerings = &plan.instance_type(id).offerings;
        offerings.iter().find(|offering| Some(offering.zone) == zone && Some(offering.capacity_type) == kind)
    });
    let pods: Vec<PodId> = node.pods.iter().copied().filter(|&pod| is_reschedulable(world, pod)).collect();
    let reschedule = 1.0 + pods.iter().map(|&pod| eviction_cost(world, pod).max(0.0)).sum::<f64>();
    let all = node.pods.iter().filter(|&&pod| world.pod(pod).is_active());
    let legacy = all.map(|&pod| eviction_cost(world, pod)).sum::<f64>() * remaining_life(world, claim_id);
    Candidate {
        claim: claim_id,
        node: id,
        name: node.name.clone(),
        pool: claim.pool,
        instance_type,
        capacity_type: kind,
        labelled: label(INSTANCE_TYPE).is_some() && label(ZONE).is_some() && kind.is_some(),
        price: offering.map_or(0.0, |offering| offering.price.dollars()),
        reschedule,
        legacy,
        pods,
    }
}

/// The share of its life that a claim has before it; 1 without expiry.
fn remaining_life(world: &World, id: ClaimId) -> f64 {
    let claim = world.claim(id);
    let Some(life) = claim.expire_after else { return 1.0 };
    let age = world.now.since(claim.created.whole_second()).seconds();
    ((life.seconds() - age) / life.seconds()).clamp(0.0, 1.0)
}
