//! Packing decisions on tiny clusters.

use super::*;
use crate::components::karpenter::fixture::{self, pods, pool, small_plan, template};
use crate::engine::Span;
use crate::plan::TemplateId;

fn planned(plan: &Plan, world: &World) -> Arc<Results> {
    decide(plan, world, &Catalog::of(plan)).1
}

/// Oracle 26: 7 910 m of allocatable CPU less 150 m of daemons hold fifteen pods of 500 m: 100 pods take seven nodes.
#[test]
fn identical_pods_fill_as_few_nodes_as_their_requests_allow() {
    let mut plan = small_plan();
    fixture::only_type(&mut plan, "eight", 7_910, 58);
    let daemon = fixture::add_template(&mut plan, template(150, 16));
    fixture::add_daemon_set(&mut plan, daemon);
    let web = fixture::add_template(&mut plan, template(500, 64));
    let mut world = World::new(&plan);
    pods(&mut world, web, 100);
    let results = planned(&plan, &world);
    assert!(results.errors.is_empty());
    let mut sizes: Vec<usize> = results.claims.iter().map(|claim| claim.pods.len()).collect();
    sizes.sort_unstable();
    assert_eq!(sizes.len(), 7);
    assert!(sizes.iter().all(|&size| size <= 15) && sizes.iter().sum::<usize>() == 100);
}

#[test]
fn pod_slots_bind_when_requests_are_small() {
    let mut plan = small_plan();
    fixture::only_type(&mut plan, "eight", 7_910, 58);
    let web = fixture::add_template(&mut plan, template(100, 8));
    let mut world = World::new(&plan);
    pods(&mut world, web, 59);
    assert_eq!(planned(&plan, &world).claims.len(), 2);
}

#[test]
fn the_heavier_pool_wins_and_among_equals_the_later_name() {
    let mut plan = small_plan();
    let first = pool(&mut plan, "alpha", 0);
    let second = pool(&mut plan, "beta", 0);
    let web = fixture::add_template(&mut plan, template(500, 64));
    let mut world = World::new(&plan);
    pods(&mut world, web, 1);
    // The pool of the plan is called "default", which comes after both.
    assert_eq!(planned(&plan, &world).claims[0].pool.0, 0);
    let heavy = pool(&mut plan, "a-heavy", 10);
    let mut world = World::new(&plan);
    pods(&mut world, web, 1);
    assert_eq!(planned(&plan, &world).claims[0].pool, heavy);
    assert!(first != second);
}

#[test]
fn types_come_cheapest_first_and_sold_out_offerings_do_not_count() {
    let plan = small_plan();
    let mut world = World::new(&plan);
    pods(&mut world, TemplateId(0), 1);
    let names = |world: &World| -> Vec<String> {
        let results = planned(&plan, world);
        results.claims[0].types.iter().map(|&id| plan.instance_type(id).name.clone()).collect()
    };
    assert_eq!(names(&world), ["t3.medium", "t3.large", "t3.xlarge"]);
    for zone in 0..2 {
        for kind in [crate::plan::CapacityType::Spot, crate::plan::CapacityType::OnDemand] {
            let until = world.now + Span::from_secs(180);
            let offering = ("t3.medium", crate::plan::ZoneId(zone), kind);
            world.unavailable_offerings.mark(world.now, offering, (until, until));
        }
    }
    assert_eq!(names(&world), ["t3.large", "t3.xlarge"]);
}

#[test]
fn limits_and_taints_leave_pods_without_a_place() {
    let mut plan = small_plan();
    fixture::edit_pool(&mut plan, |pool| {
        let cpu = Some(crate::rules::quantity::Millicores(3_000));
        pool.limits = Some(crate::rules::resources::ResourceList { cpu, ..Default::default() });
    });
    let mut world = World::new(&plan);
    pods(&mut world, TemplateId(0), 12);
    let results = planned(&plan, &world);
    // A claim is charged with the largest capacity among its types: of those within the limit, two cores.
    assert_eq!(results.claims.len(), 1);
    assert!(results.errors.iter().all(|(_, refusals)| refusals == &[packing::Refusal::Limits]));
    assert_eq!(results.errors.len(), 12 - results.claims[0].pods.len());
}

#[test]
fn zones_are_used_evenly_under_a_spread_constraint() {
    let mut plan = small_plan();
    let mut spread = template(1_500, 64);
    spread.labels.insert("app", "web");
    spread.topology_spread.push(fixture::zone_spread("app", "web"));
    let web = fixture::add_template(&mut plan, spread);
    let mut world = World::new(&plan);
    pods(&mut world, web, 4);
    let results = planned(&plan, &world);
    let mut zones: Vec<String> = results
        .claims
        .iter()
        .flat_map(|claim| {
            let zone = claim.requirements.get(crate::rules::requirements::ZONE).and_then(|zone| zone.single());
            vec![zone.expect("pinned").to_string(); claim.pods.len()]
        })
        .collect();
    zones.sort();
    assert_eq!(zones, ["a", "a", "b", "b"]);
}

#[test]
fn pods_that_repel_each_other_in_a_zone_wait_for_the_next_batch() {
    let mut plan = small_plan();
    let mut lone = template(500, 64);
    lone.labels.insert("app", "web");
    lone.affinity.anti_required.push(fixture::zone_repulsion("app", "web"));
    let web = fixture::add_template(&mut plan, lone);
    let mut world = World::new(&plan);
    pods(&mut world, web, 2);
    let results = planned(&plan, &world);
    assert_eq!((results.claims.len(), results.errors.len()), (1, 1));
    assert_eq!(results.errors[0].1, [packing::Refusal::Topology]);
}

/// One instance is reserved: the second claim waits for it when provisioning, and goes elsewhere in a simulation.
#[test]
fn a_taken_reservation_is_waited_for_only_when_provisioning() {
    let mut plan = small_plan();
    fixture::only_type(&mut plan, "eight", 7_910, 58);
    let entry = std::sync::Arc::make_mut(&mut plan.instance_types[0]);
    let reserved = crate::plan::Offering {
        capacity_type: crate::plan::CapacityType::Reserved,
        reservation: Some(crate::plan::ReservationId(0)),
        ..entry.offerings[0]
    };
    entry.offerings.push(reserved);
    fixture::edit_pool(&mut plan, |pool| pool.requirements.clear());
    plan.reservations.push(crate::plan::Reservation { name: "cr-1".to_string(), left: 1 });
    let web = fixture::add_template(&mut plan, template(5_000, 64));
    let mut world = World::new(&plan);
    let pods = pods(&mut world, web, 2);
    let results = planned(&plan, &world);
    assert_eq!(results.claims.len(), 1);
    let kind = results.claims[0].requirements.get(crate::rules::requirements::CAPACITY_TYPE);
    assert_eq!(kind.and_then(|kind| kind.single()).map(|kind| &**kind), Some("reserved"));
    assert_eq!(results.errors, [(pods[1], vec![packing::Refusal::Reserved])]);
    let catalog = Catalog::of(&plan);
    let options = packing::Options::default();
    let snapshot = Snapshot { plan: &plan, world: &world, catalog: &catalog, nodes: vec![], pods, options };
    assert_eq!(packing::solve(&snapshot).claims.len(), 2, "the second is bought");
}

/// A volume in two zones may go to either; one in another zone leaves none.
#[test]
fn volumes_pin_the_zone_of_the_node_that_is_bought() {
    use crate::plan::{Volume, VolumeClaim};
    use crate::rules::requirement::{NodeOperator, NodeRequirement};
    let zone = crate::rules::requirements::ZONE;
    let mut plan = small_plan();
    let term = |zones: &[&str]| vec![NodeRequirement::new(zone, NodeOperator::In, zones)];
    for (name, terms) in [("either", vec![term(&["b"]), term(&["a"])]), ("a", vec![term(&["a"])])] {
        let volume = Volume { terms, driver: "ebs.csi.aws.com".to_string(), ..Volume::default() };
        plan.volumes.volumes.insert(name.to_string(), volume);
        let claim = VolumeClaim { volume: name.to_string(), bound: true, ..VolumeClaim::default() };
        plan.volumes.claims.insert(("default".to_string(), name.to_string()), claim);
    }
    let zone_of = |claims: &[&str]| {
        let mut plan = plan.clone();
        let mut mounts = template(500, 64);
        mounts.volume_claims = claims.iter().map(ToString::to_string).collect();
        let web = fixture::add_template(&mut plan, mounts);
        let mut world = World::new(&plan);
        pods(&mut world, web, 1);
        let results = planned(&plan, &world);
        results.claims[0].requirements.get(zone).and_then(|zone| zone.single()).map(ToString::to_string)
    };
    assert_eq!(zone_of(&["either"]).as_deref(), Some("b"), "the first term that works");
    assert_eq!(zone_of(&["either", "a"]).as_deref(), Some("a"), "where both can be had");
}

/// A pod without a node that is being deleted, or has ended, still gets a place, as long as the object exists.
#[test]
fn pods_on_their_way_out_without_a_node_are_provisioned_for() {
    use crate::world::PodPhase;
    let plan = small_plan();
    let mut world = World::new(&plan);
    let all = pods(&mut world, TemplateId(0), 3);
    world.pods[all[0].index()].deleting_since = Some(world.now);
    world.pods[all[1].index()].phase = PodPhase::Failed;
    world.delete_pod(all[2], None, crate::world::DeleteCause::User);
    let provisionable: Vec<bool> = all.iter().map(|&pod| cluster::is_provisionable(&world, pod)).collect();
    assert_eq!(provisionable, [true, true, false]);
}

/// Only pools that nodes are created of keep their nodes from taking pods of a consolidation.
#[test]
fn nodes_of_static_and_unusable_pools_are_settled() {
    use crate::plan::{CapacityType, NodePoolSpec};
    let settled = |edit: fn(&mut NodePoolSpec)| {
        let mut plan = small_plan();
        fixture::edit_pool(&mut plan, |pool| pool.consolidate_after = Some(Span::from_secs(600)));
        fixture::edit_pool(&mut plan, edit);
        let mut world = World::new(&plan);
        fixture::node(&plan, &mut world, "t3.medium", CapacityType::OnDemand, 1);
        let nodes = crate::components::karpenter::cluster::state_nodes(&plan, &world);
        existing::is_settled(&world, nodes[0].claim, world.now)
    };
    assert!(!settled(|_| {}), "its ten minutes run");
    assert!(settled(|pool| pool.replicas = Some(1)));
    assert!(settled(|pool| pool.usable = false));
}

/// News of a pod that waits make Karpenter look at once. From 1.13 on they take the look to come with them; before, it stays.
#[test]
fn ten_seconds_begin_anew_when_there_is_news_of_a_pod() {
    let closed = |version| -> Vec<u64> {
        let mut plan = small_plan();
        plan.flags.karpenter.version = version;
        let too_large = fixture::add_template(&mut plan, template(500_000, 64));
        let mut world = World::new(&plan);
        let pod = pods(&mut world, too_large, 1)[0];
        let start = world.now;
        let mut queue = crate::engine::Queue::new();
        let mut recorder = crate::record::Recorder::new(crate::record::Detail::Facts);
        [0, 4].into_iter().for_each(|at| queue.push(start + Span::from_secs(at), Any::Provisioner(Event::Pod(pod))));
        let (mut provisioner, mut journal, mut closed) = (Provisioner::default(), Vec::new(), Vec::new());
        while let Some((now, Any::Provisioner(event))) =
            queue.pop().filter(|(now, _)| now.since(start).seconds() < 22.0)
        {
            world.now = now;
            let mut cx =
                Cx { now, plan: &plan, world: &mut world, queue: &mut queue, recorder: &mut recorder, random: None };
            provisioner.handle(&mut cx, event);
            world.take_journal(&mut journal);
            let count =
                journal.drain(..).filter(|change| matches!(change, crate::world::Change::BatchClosed(_))).count();
            closed.extend(std::iter::repeat_n(now.since(start).whole_seconds(), count));
        }
        closed
    };
    assert_eq!(closed((1, 14)), [1, 5, 15]);
    assert_eq!(closed((1, 12)), [1, 5, 11, 21]);
}
