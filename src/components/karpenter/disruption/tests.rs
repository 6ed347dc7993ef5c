//! The loop's decisions on small clusters.

use super::candidates::Class;
use super::decide::prospect;
use super::*;
use crate::components::karpenter::fixture::{edit_pool, node, small_plan};
use crate::plan::{CapacityType, ConsolidationPolicy, NodePoolId, Plan};
use crate::world::World;

/// A look at a world that does not change.
fn at<T>(plan: &Plan, world: &World, see: impl FnOnce(Scene) -> T) -> T {
    let (catalog, nodes, held) = (Catalog::of(plan), cluster::state_nodes(plan, world), BTreeSet::new());
    see(Scene { plan, world, catalog: &catalog, nodes: &nodes, held: &held, memo: &Default::default() })
}

fn moves(scene: Scene, method: Method) -> Vec<Move> {
    let notes = &mut Notes::default();
    let mut prospect = prospect(scene, method, notes);
    let budgets = budgets::remaining(scene.world, method.budget_reason(), notes);
    decide(scene, method, &mut prospect, budgets, &BTreeSet::new(), notes).expect("a pool is there").moves
}

fn methods(plan: &Plan, world: &World) -> Vec<(Method, usize)> {
    at(plan, world, |scene| {
        let order = Method::order(plan.flags.karpenter.version).iter();
        let found = order.flat_map(|&method| moves(scene, method).into_iter().map(move |found| (method, found)));
        found.map(|(method, found)| (method, found.candidates.len())).collect()
    })
}

#[test]
fn empty_nodes_go_together_within_the_budget() {
    let mut plan = small_plan();
    edit_pool(&mut plan, |pool| pool.budgets = vec![budgets::always("2")]);
    let mut world = World::new(&plan);
    (0..3).for_each(|_| {
        node(&plan, &mut world, "t3.medium", CapacityType::OnDemand, 0);
    });
    assert_eq!(methods(&plan, &world), [(Method::Emptiness, 2)]);
    let pods = node(&plan, &mut world, "t3.medium", CapacityType::OnDemand, 3);
    world.nominate_claim(pods, world.now);
    assert_eq!(methods(&plan, &world)[0], (Method::Emptiness, 2));
}

#[test]
fn a_pass_without_readers_looks_at_fewer_nodes_and_comes_to_the_same() {
    for version in [(0, 37), (1, 4), (1, 6), (1, 14)] {
        let mut plan = small_plan();
        plan.flags.karpenter.version = version;
        let mut world = World::new(&plan);
        let made = [0, 1, 3, 0].map(|pods| node(&plan, &mut world, "t3.large", CapacityType::OnDemand, pods));
        world.set_drifted(made[1], true);
        for &method in Method::order(version) {
            let found = |kept| at(&plan, &world, |scene| prospect(scene, method, &mut Notes::new(kept)).candidates);
            let claims = |kept| found(kept).into_iter().map(|one| one.claim).collect::<Vec<_>>();
            assert_eq!(claims(false), claims(true), "{method:?} of {version:?}");
        }
    }
}

#[test]
fn when_empty_leaves_nodes_with_pods_alone_and_says_so() {
    let mut plan = small_plan();
    edit_pool(&mut plan, |pool| pool.consolidation_policy = ConsolidationPolicy::WhenEmpty);
    let mut world = World::new(&plan);
    node(&plan, &mut world, "t3.large", CapacityType::OnDemand, 1);
    assert_eq!(methods(&plan, &world), []);
    let mut notes = Notes::new(true);
    at(&plan, &world, |scene| prospect(scene, Method::SingleNode, &mut notes));
    let text = notes.verdicts[0].text(&world);
    assert_eq!(text, "NodePool \"default\" has consolidation policy WhenEmpty, but node is not empty");
}

#[test]
fn a_node_that_moved_on_fails_its_validation() {
    let plan = small_plan();
    let mut world = World::new(&plan);
    let first = node(&plan, &mut world, "t3.large", CapacityType::OnDemand, 1);
    let check = |world: &World, found: &Move| {
        at(&plan, world, |scene| validate(scene, Method::SingleNode, found.clone(), &mut Notes::default()).err())
    };
    let found = at(&plan, &world, |scene| moves(scene, Method::SingleNode)).remove(0);
    assert_eq!(check(&world, &found), None, "t3.medium is cheaper");
    let mut later = world.clone();
    later.nominate_claim(first, later.now + Span::from_secs(1));
    assert_eq!(check(&later, &found), Some(Invalid::Churn));
    let mut closed = world.clone();
    Arc::make_mut(&mut closed.node_pools[0]).budgets = vec![budgets::always("0")];
    assert_eq!(check(&closed, &found), Some(Invalid::Budget));
}

#[test]
fn a_pool_over_its_limits_gets_no_replacement() {
    let mut plan = small_plan();
    edit_pool(&mut plan, |pool| {
        let cpu = Some(crate::rules::quantity::Millicores(1));
        pool.limits = Some(crate::rules::resources::ResourceList { cpu, ..Default::default() });
    });
    let mut world = World::new(&plan);
    node(&plan, &mut world, "t3.large", CapacityType::OnDemand, 1);
    let nodes = cluster::state_nodes(&plan, &world);
    let error = exceeded_limit(&world, &nodes, NodePoolId(0));
    assert_eq!(error.as_deref(), Some("resource usage exceeds limit (limit=1m, resource-name=cpu, usage=2)"));
    assert_eq!(methods(&plan, &world), [], "the simulation sees the limits too: t3.medium exceeds what is left");
}

#[test]
fn a_termination_grace_period_lets_drift_pass_what_blocks_the_rest() {
    let mut plan = small_plan();
    edit_pool(&mut plan, |pool| pool.termination_grace_period = Some(Span::from_secs(60)));
    let mut world = World::new(&plan);
    let id = node(&plan, &mut world, "t3.medium", CapacityType::OnDemand, 1);
    let place = world.claim(id).node.expect("it has joined");
    let pod = world.node(place).pods[0];
    let mut template = (**world.template_of(pod)).clone();
    template.annotations.insert("karpenter.sh/do-not-disrupt", "true");
    world.templates[0] = Arc::new(template);
    let candidate = |class| candidates::candidate(&plan, &world, id, class);
    assert!(candidate(Class::Graceful).is_err_and(|why| why.contains("do-not-disrupt")));
    assert!(candidate(Class::Eventual).is_ok());
}

#[test]
fn expired_nodes_of_v1beta1_without_pods_go_together_and_empty_ones_by_policy() {
    let mut plan = small_plan();
    plan.flags.karpenter.version = (0, 37);
    edit_pool(&mut plan, |pool| {
        pool.v1beta1 = true;
        pool.expire_after = Some(Span::from_secs(60));
    });
    let mut world = World::new(&plan);
    (0..2).for_each(|_| {
        node(&plan, &mut world, "t3.medium", CapacityType::OnDemand, 0);
    });
    assert_eq!(methods(&plan, &world), [(Method::EmptyNodes, 2)], "WhenUnderutilized");
    world.now += Span::from_secs(60);
    assert_eq!(methods(&plan, &world)[0], (Method::Expiration, 2));
    Arc::make_mut(&mut world.node_pools[0]).consolidation_policy = ConsolidationPolicy::WhenEmpty;
    assert_eq!(methods(&plan, &world)[1], (Method::Emptiness, 2));
    assert!(!Method::Emptiness.consolidates((0, 37)), "no wait");
}
