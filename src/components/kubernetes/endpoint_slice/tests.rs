//! What the controller writes, pod by pod.

use super::*;
use crate::plan::{Plan, PodTemplate, ServiceSpec};
use crate::rules::labels::{LabelSelector, Labels};
use crate::world::{DeleteCause, EndpointSlice as Slice, NewNode, NewPod, NodeId, Owner, PodPhase, SliceWrites};
use reconcile::reconcile;
use std::sync::Arc;

fn world() -> (World, PodId) {
    let labels = Labels::from([("app".to_string(), "web".to_string())]);
    let mut plan = Plan::empty(Time::from_unix_seconds(1000), Span::from_secs(60));
    plan.templates.push(Arc::new(PodTemplate { labels: labels.clone(), ..PodTemplate::default() }));
    plan.services.push(Arc::new(ServiceSpec {
        namespace: "default".into(),
        name: "web".into(),
        selector: Some(LabelSelector::from_labels(&labels)),
        ..ServiceSpec::default()
    }));
    let mut world = World::new(&plan);
    let node = world.create_node(NewNode {
        name: "a".into(),
        labels: Labels::new(),
        taints: Vec::new(),
        allocatable: Default::default(),
        capacity: Default::default(),
        claim: None,
        instance: None,
        zone: None,
    });
    let pod =
        world.create_pod(NewPod { template: TemplateId(0), owner: Owner::Bare, ordinal: 1, pinned: None, name: None });
    world.bind_pod(pod, node);
    (world, pod)
}

/// The writes for the Service of the world, applied.
fn sync(world: &mut World, most: usize) -> (SliceWrites, bool) {
    let (spec, slices) = (world.services[0].clone(), world.slices[0].clone());
    let pods: Vec<PodId> = world.living.iter().collect();
    let (writes, missing) = reconcile(&[], world, &spec, &pods, &slices, most);
    world.write_slices(ServiceId(0), writes.clone());
    (writes, missing)
}

fn sizes(slices: &[Slice]) -> Vec<usize> {
    slices.iter().map(|slice| slice.endpoints.len()).collect()
}

#[test]
fn a_terminating_pod_serves_without_being_ready_and_needs_an_address_and_a_node() {
    let (mut world, pod) = world();
    assert!(!sync(&mut world, 100).1);
    assert_eq!(sizes(&world.slices[0]), [0], "no address yet: a slice without endpoints");
    world.assign_address(pod);
    world.set_pod_ready(pod, true);
    let conditions = |world: &mut World| {
        sync(world, 100);
        world.endpoints[0].first().map(|endpoint| (endpoint.ready, endpoint.serving, endpoint.terminating))
    };
    assert_eq!(conditions(&mut world), Some((true, true, false)));
    world.delete_pod(pod, None, DeleteCause::User);
    assert_eq!(conditions(&mut world), Some((false, true, true)));
    world.remove_node(NodeId(0));
    let (writes, missing) = sync(&mut world, 100);
    assert!(missing, "its node is missing: left out and retried");
    assert_eq!(
        (writes.create.len(), writes.update.len(), writes.delete.len()),
        (0, 1, 0),
        "rewritten as the empty one"
    );
    assert!(world.endpoints[0].is_empty());
}

#[test]
fn new_endpoints_fill_changed_slices_then_one_that_takes_them_all_then_new_ones() {
    let (mut world, _) = world();
    let add = |world: &mut World, count: usize| {
        for _ in 0..count {
            let ordinal = world.pods.len() as u32 + 1;
            let new = NewPod { template: TemplateId(0), owner: Owner::Bare, ordinal, pinned: None, name: None };
            let pod = world.create_pod(new);
            world.bind_pod(pod, NodeId(0));
            world.assign_address(pod);
        }
    };
    add(&mut world, 7);
    sync(&mut world, 4);
    assert_eq!(sizes(&world.slices[0]), [4, 3]);
    world.remove_pod(PodId(1));
    world.remove_pod(PodId(2));
    add(&mut world, 1);
    sync(&mut world, 4);
    assert_eq!(sizes(&world.slices[0]), [3, 3], "the gap of the changed slice is filled, not the fuller one");
    add(&mut world, 2);
    sync(&mut world, 4);
    assert_eq!(sizes(&world.slices[0]), [3, 3, 2], "no slice has room for both");
    add(&mut world, 1);
    let (writes, _) = sync(&mut world, 4);
    assert_eq!(sizes(&world.slices[0]), [4, 3, 2], "the fullest that has room");
    assert_eq!((writes.create.len(), writes.update.len()), (0, 1));
}

#[test]
fn changes_count_from_the_address_of_a_pod_on() {
    let (mut world, pod) = world();
    let before = world.slices_version();
    world.set_pod_phase(pod, PodPhase::Running);
    assert_eq!(world.slices_version(), before, "a pod without an address is in no slice");
    let changes: [fn(&mut World, PodId); 5] = [
        |world, pod| world.assign_address(pod),
        |world, pod| world.set_pod_ready(pod, true),
        |world, pod| world.delete_pod(pod, None, DeleteCause::User),
        |world, pod| world.remove_pod(pod),
        |world, _| world.remove_node(NodeId(0)),
    ];
    for change in changes {
        let before = world.slices_version();
        change(&mut world, pod);
        assert!(world.slices_version() > before);
    }
}
