//! `explain` on shipped scenarios: what it shows agrees with what the run did, and costs an ordinary run nothing.

use crate::support::shipped;
use kubelapse::analysis::explain::{self, Question};
use kubelapse::record::Decision;
use kubelapse::study;
use kubelapse::world::{Change, DeleteCause};

#[test]
fn every_removed_pod_is_explained_and_every_new_size_too() {
    let plan = shipped("scale-down");
    let outcome = study::run_explained(&plan);
    let facts = &outcome.recorder.facts;
    let removed = facts.iter().filter(|fact| matches!(fact.change, Change::PodDeleting(_, DeleteCause::ScaleDown)));
    let (mut sizes, mut victims) = (Vec::new(), 0);
    for (_, decision) in &outcome.recorder.decisions {
        match decision {
            Decision::Hpa(sync) => sizes.extend(sync.scale_to),
            Decision::ScaleDown(choice) => victims += choice.victims.len(),
        }
    }
    assert_eq!(victims, removed.count());
    let written = facts.iter().filter_map(|fact| match fact.change {
        Change::DeploymentScaled { to, by: Some(_), .. } => Some(to),
        _ => None,
    });
    assert_eq!(sizes, written.collect::<Vec<_>>());
    let text = study::explain(&plan, &outcome, &Question::default(), "why");
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
}

#[test]
fn explanations_change_nothing_and_an_ordinary_run_keeps_none() {
    let plan = shipped("scale-down");
    let (ordinary, explained) = (study::run_once(&plan, 0, false), study::run_explained(&plan));
    assert_eq!(ordinary.event_hash, explained.event_hash);
    assert!(ordinary.recorder.decisions.is_empty() && ordinary.recorder.explanations.is_empty());
}

#[test]
fn things_are_found_by_their_names() {
    let plan = shipped("scale-down");
    let outcome = study::run_explained(&plan);
    let world = &outcome.world;
    assert!(explain::hpa_named(world, "wordpress").is_some());
    let pod = explain::pod_named(world, "wordpress-r1-1").expect("the first pod");
    assert_eq!(world.pod_name(pod), "wordpress-r1-1");
    let node = world.pod(pod).node.expect("it has a node");
    assert_eq!(explain::node_named(world, &world.node(node).name), Some(node));
    assert!(explain::pod_named(world, "wordpress").is_none());
}
