//! Price rules and the order of candidates, alone.

use super::super::budgets;
use super::super::candidates::{Class, candidates};
use super::*;
use crate::components::karpenter::fixture::{edit_pool, node, small_plan};
use crate::rules::requirement::{NodeOperator, NodeRequirement};

fn sorted(plan: &Plan, world: &World) -> Vec<Candidate> {
    let mut found = candidates(plan, world, Class::Graceful);
    sort(&mut found, plan.flags.karpenter.version);
    found
}

#[test]
fn half_empty_nodes_merge_into_what_is_left_without_a_replacement() {
    let plan = small_plan();
    let mut world = World::new(&plan);
    let catalog = Catalog::of(&plan);
    node(&plan, &mut world, "t3.medium", CapacityType::OnDemand, 1);
    node(&plan, &mut world, "t3.medium", CapacityType::OnDemand, 2);
    let scene = Scene { plan: &plan, world: &world, catalog: &catalog };
    let found = sorted(&plan, &world);
    assert_eq!(found[0].pods.len(), 1, "equal prices: the one whose disruption costs less comes first");
    let moved = consolidate(scene, &found[..1]).expect("three pods of 500 m fit into 1930 m");
    assert!(moved.replacements().is_empty());
    assert_eq!(moved.results.existing[0].pods.len(), 1);
}

#[test]
fn a_node_is_only_replaced_by_a_cheaper_one() {
    let plan = small_plan();
    let mut world = World::new(&plan);
    let catalog = Catalog::of(&plan);
    let medium = node(&plan, &mut world, "t3.medium", CapacityType::OnDemand, 3);
    let large = node(&plan, &mut world, "t3.large", CapacityType::OnDemand, 3);
    let scene = Scene { plan: &plan, world: &world, catalog: &catalog };
    let found = sorted(&plan, &world);
    let of = |claim| found.iter().find(|one| one.claim == claim).cloned().expect("a candidate");
    assert!(consolidate(scene, &[of(medium)]).is_err_and(|reason| reason.contains("cheaper")));
    let moved = consolidate(scene, &[of(large)]).expect("t3.medium costs half");
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
    let catalog = Catalog::of(&plan);
    node(&plan, &mut world, "t3.medium", CapacityType::OnDemand, 3);
    let scene = Scene { plan: &plan, world: &world, catalog: &catalog };
    let moved = consolidate(scene, &sorted(&plan, &world)).expect("spot costs 40 %");
    let kinds = moved.replacements()[0].requirements.get(CAPACITY_TYPE).and_then(|kind| kind.single()).cloned();
    assert_eq!(kinds.as_deref(), Some("spot"));
    let mut world = World::new(&plan);
    node(&plan, &mut world, "t3.large", CapacityType::Spot, 3);
    let scene = Scene { plan: &plan, world: &world, catalog: &catalog };
    let refused = consolidate(scene, &sorted(&plan, &world));
    assert!(refused.is_err_and(|reason| reason.contains("disabled")), "the gate is off");
}

#[test]
fn two_nodes_of_a_type_are_not_replaced_by_one_of_the_same() {
    let plan = small_plan();
    let mut world = World::new(&plan);
    let catalog = Catalog::of(&plan);
    node(&plan, &mut world, "t3.medium", CapacityType::OnDemand, 1);
    node(&plan, &mut world, "t3.medium", CapacityType::OnDemand, 1);
    let scene = Scene { plan: &plan, world: &world, catalog: &catalog };
    let mut budgets = budgets::remaining(&world, "Underutilized");
    assert!(multi_node(scene, &sorted(&plan, &world), &mut budgets).0.is_none());
}

#[test]
fn balanced_scores_stand_as_upstream_tests_them() {
    assert!(balanced(20.0, 5.0, (100.0, 100.0)) && balanced(10.0, 10.0, (100.0, 100.0)));
    assert!(!balanced(5.0, 50.0, (100.0, 100.0)) && balanced(10.0, 0.0, (100.0, 100.0)));
    assert!(!balanced(0.0, 1.0, (100.0, 100.0)) && !balanced(-1.0, 1.0, (100.0, 100.0)));
    assert!(balanced(7.26, 4.0, (58.08, 90.0)) && !balanced(2.42, 9.0, (58.08, 90.0)));
    assert!(balanced(2.42, 9.0, (48.40, 90.0)), "a score of exactly one half is enough");
}
