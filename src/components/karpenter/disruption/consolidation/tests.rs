//! Price rules and the order of candidates, alone.

use super::super::budgets;
use super::super::candidates::{Class, candidates};
use super::super::method::Method;
use super::*;
use crate::components::karpenter::cluster::{Catalog, state_nodes};
use crate::components::karpenter::fixture::{edit_pool, node, small_plan};
use crate::components::karpenter::provisioner::memo::Memo;
use crate::plan::Plan;
use crate::rules::requirement::{NodeOperator, NodeRequirement};
use crate::world::{ClaimId, World};

fn sorted(plan: &Plan, world: &World) -> Vec<Candidate> {
    let mut found = candidates(
        (plan, &Memo::default()),
        world,
        &BTreeSet::new(),
        Class::Graceful,
        &mut Notes::default(),
        |_, _, _| true,
    );
    Method::SingleNode.sort(world, plan.flags.karpenter.version, &mut found);
    found
}

fn at<T>(plan: &Plan, world: &World, see: impl FnOnce(Scene) -> T) -> T {
    let (catalog, nodes, held) = (Catalog::of(plan), state_nodes(plan, world), BTreeSet::new());
    see(Scene { plan, world, catalog: &catalog, nodes: &nodes, held: &held, memo: &Default::default() })
}

/// What becomes of candidates, or why nothing does.
fn outcome(plan: &Plan, world: &World, candidates: &[Candidate]) -> Result<Move, String> {
    let mut notes = Notes::new(true);
    let found = at(plan, world, |scene| consolidate(scene, candidates, &Bound::default(), &mut notes))
        .expect("a pool is there");
    found.ok_or_else(|| notes.verdicts[0].text(world))
}

#[test]
fn half_empty_nodes_merge_into_what_is_left_without_a_replacement() {
    let plan = small_plan();
    let mut world = World::new(&plan);
    node(&plan, &mut world, "t3.medium", CapacityType::OnDemand, 1);
    node(&plan, &mut world, "t3.medium", CapacityType::OnDemand, 2);
    let found = sorted(&plan, &world);
    assert_eq!(found[0].pods.len(), 1, "equal prices: the one whose disruption costs less comes first");
    let moved = outcome(&plan, &world, &found[..1]).expect("three pods of 500 m fit into 1930 m");
    assert!(moved.replacements().is_empty());
    assert_eq!(moved.results.existing[0].pods.len(), 1);
}

#[test]
fn a_node_is_only_replaced_by_a_cheaper_one() {
    let plan = small_plan();
    let mut world = World::new(&plan);
    let medium = node(&plan, &mut world, "t3.medium", CapacityType::OnDemand, 3);
    let large = node(&plan, &mut world, "t3.large", CapacityType::OnDemand, 3);
    let found = sorted(&plan, &world);
    let of = |claim: ClaimId| found.iter().find(|one| one.claim == claim).cloned().expect("a candidate");
    let refused = outcome(&plan, &world, &[of(medium)]);
    assert_eq!(refused.err().as_deref(), Some("Can't replace with a cheaper node"));
    let moved = outcome(&plan, &world, &[of(large)]).expect("t3.medium costs half");
    let types: Vec<&str> =
        moved.replacements()[0].types.iter().map(|&id| plan.instance_type(id).name.as_str()).collect();
    assert_eq!(types, ["t3.medium"]);
}

#[test]
fn an_on_demand_node_becomes_spot_and_spot_only_when_both_are_allowed() {
    let mut plan = small_plan();
    let both = NodeRequirement::new(CAPACITY_TYPE, NodeOperator::In, &["spot", "on-demand"]);
    edit_pool(&mut plan, |pool| pool.requirements = vec![both]);
    let mut world = World::new(&plan);
    node(&plan, &mut world, "t3.medium", CapacityType::OnDemand, 3);
    let moved = outcome(&plan, &world, &sorted(&plan, &world)).expect("spot costs 40 %");
    let kinds = moved.replacements()[0].requirements.get(CAPACITY_TYPE).and_then(|kind| kind.single()).cloned();
    assert_eq!(kinds.as_deref(), Some("spot"));
    let mut world = World::new(&plan);
    node(&plan, &mut world, "t3.large", CapacityType::Spot, 3);
    let refused = outcome(&plan, &world, &sorted(&plan, &world));
    assert!(refused.is_err_and(|reason| reason.contains("disabled")), "the gate is off");
}

#[test]
fn two_nodes_of_a_type_are_not_replaced_by_one_of_the_same() {
    let plan = small_plan();
    let mut world = World::new(&plan);
    node(&plan, &mut world, "t3.medium", CapacityType::OnDemand, 1);
    node(&plan, &mut world, "t3.medium", CapacityType::OnDemand, 1);
    let notes = &mut Notes::default();
    let mut budgets = budgets::remaining(&world, "Underutilized", notes);
    let found = sorted(&plan, &world);
    let (moved, constrained) =
        at(&plan, &world, |scene| multi_node(scene, &found, &mut budgets, &BTreeMap::new(), notes))
            .expect("a pool is there");
    assert!(moved.is_none() && !constrained);
}

#[test]
fn pools_take_turns_and_those_not_reached_before_come_first() {
    let plan = small_plan();
    let mut world = World::new(&plan);
    (0..3).for_each(|_| {
        node(&plan, &mut world, "t3.medium", CapacityType::OnDemand, 1);
    });
    let mut found = sorted(&plan, &world);
    found[2].pool = NodePoolId(1);
    let order = |first: &[NodePoolId]| {
        let order = interleave(found.clone(), &first.iter().copied().collect());
        order.iter().map(|one| one.pool.0).collect::<Vec<_>>()
    };
    assert_eq!(order(&[]), [0, 1, 0]);
    assert_eq!(order(&[NodePoolId(1)]), [1, 0, 0]);
}
