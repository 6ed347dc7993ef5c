//! The cluster without the candidates: where would their pods go?
//!
//! In: candidates. Out: the provisioner's plan for their pods, those that wait and those of nodes that leave, and which of
//! them would find no place.
//!
//! Source: core `disruption/helpers.go` (`SimulateScheduling`). Left out: the devices of dynamic resource allocation.

use super::candidates::Candidate;
use crate::components::karpenter::cluster::{self, Catalog, StateNode};
use crate::components::karpenter::provisioner::memo::Memo;
use crate::components::karpenter::provisioner::packing::{NewNode, Options, Results, Snapshot, solve};
use crate::components::karpenter::provisioner::{list_order, pools, preferences};
use crate::plan::Plan;
use crate::world::{ClaimId, PodId, PodPhase, World};
use std::collections::BTreeSet;

/// What the methods read.
#[derive(Clone, Copy)]
pub struct Scene<'a> {
    /// The plan of the run.
    pub plan: &'a Plan,
    /// The world.
    pub world: &'a World,
    /// Requirements of instance types.
    pub catalog: &'a Catalog,
    /// Nodes as Karpenter plans with them.
    pub nodes: &'a [StateNode<'a>],
    /// Claims that commands have taken.
    pub held: &'a BTreeSet<ClaimId>,
    /// What simulations before have found out.
    pub memo: &'a Memo,
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

    /// What the nodes to remove cost an hour.
    pub fn source_cost(&self) -> f64 {
        self.candidates.iter().map(|one| one.price).sum()
    }
}

/// What a simulation came to.
#[derive(Clone, Debug)]
pub struct Simulation {
    /// The plan.
    pub results: Results,
    /// Pods that run now and would find no place; a place on a node that is not initialised is none.
    pub unplaced: Vec<PodId>,
    /// Some of those have a place on such a node.
    pub uninitialized: bool,
}

/// Why nothing could be simulated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// A candidate is being deleted already.
    Deleting,
    /// No pool can make nodes.
    NoPools,
}

impl Failure {
    /// The text of the error.
    pub const fn text(self) -> &'static str {
        match self {
            Failure::Deleting => "candidate is deleting",
            Failure::NoPools => "creating scheduler, no nodepools found",
        }
    }
}

/// Where the pods of the candidates would go. `consolidating`: nodes whose `consolidateAfter` still runs take none of them.
///
/// # Errors
/// Nothing can be said.
pub fn simulate(scene: Scene, candidates: &[Candidate], consolidating: bool) -> Result<Simulation, Failure> {
    let Scene { plan, world, catalog, nodes, .. } = scene;
    let is_candidate = |node: &StateNode| candidates.iter().any(|one| Some(one.claim) == node.claim);
    if nodes.iter().any(|node| node.leaving && is_candidate(node)) {
        return Err(Failure::Deleting);
    }
    if !world.node_pools.iter().any(|pool| pools::is_eligible(pool)) {
        return Err(Failure::NoPools);
    }
    let leaving = || nodes.iter().filter(|node| node.leaving).flat_map(|node| node.pods.iter().copied());
    let pods = pods_to_place(world, candidates, leaving());
    let active = nodes.iter().filter(|node| !node.leaving && !is_candidate(node)).collect();
    let mut options = Options { settled_only_but: None, tells: false, memo: scene.memo.clone() };
    if consolidating && plan.flags.karpenter.version >= (1, 14) {
        let pending = pods.iter().copied().filter(|&pod| world.pod(pod).phase == PodPhase::Pending);
        options.settled_only_but = Some(pending.chain(leaving()).collect());
    }
    let results = solve(&Snapshot { plan, world, catalog, nodes: active, pods, options });
    let leaving: BTreeSet<PodId> = leaving().collect();
    let early = results.existing.iter().filter(|placed| !placed.initialized).flat_map(|placed| &placed.pods);
    let early: Vec<PodId> = early.copied().filter(|pod| !leaving.contains(pod)).collect();
    let failed = results.errors.iter().map(|(pod, _)| *pod).chain(early.iter().copied());
    let unplaced: Vec<PodId> = failed.filter(|&pod| !cluster::is_provisionable(world, pod)).collect();
    let uninitialized = early.iter().any(|pod| unplaced.contains(pod));
    Ok(Simulation { results, unplaced, uninitialized })
}

/// Pods that wait, then those of the candidates, then those of leaving nodes.
fn pods_to_place(world: &World, candidates: &[Candidate], leaving: impl Iterator<Item = PodId>) -> Vec<PodId> {
    let is_movable = |pod: &PodId| cluster::is_currently_reschedulable(world, *pod);
    let waits =
        |pod: &PodId| cluster::is_provisionable(world, *pod) && preferences::refusal(world.template_of(*pod)).is_none();
    let mut pods: Vec<PodId> = world.living.iter().filter(waits).collect();
    list_order(world, &mut pods);
    for candidate in candidates {
        let mut own: Vec<PodId> = candidate.pods.iter().copied().filter(is_movable).collect();
        list_order(world, &mut own);
        pods.extend(own);
    }
    pods.extend(leaving.filter(is_movable));
    pods
}
