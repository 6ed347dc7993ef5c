//! `explain`: what it shows agrees with what the run did, reads as a story (golden pages of small scenarios whose delays are
//! all fixed), and costs an ordinary run nothing.

use crate::support::{SHIPPED, shipped, written};
use kubelapse::analysis::explain::{self, Machine, Question};
use kubelapse::components::Outcome;
use kubelapse::plan::Plan;
use kubelapse::record::Decision;
use kubelapse::record::decision::{Ended, Placement};
use kubelapse::study;
use kubelapse::world::{Change, DeleteCause};
use std::sync::LazyLock;

/// The shipped scenarios, explained.
static RUNS: LazyLock<Vec<(&str, Plan, Outcome)>> = LazyLock::new(|| {
    let run = |name: &'static str| {
        let plan = shipped(name);
        let outcome = study::run_explained(&plan, 0);
        (name, plan, outcome)
    };
    SHIPPED.into_iter().map(run).collect()
});

fn scale_down() -> &'static (&'static str, Plan, Outcome) {
    RUNS.iter().find(|(name, ..)| *name == "scale-down").expect("it is shipped")
}

#[test]
fn every_removed_pod_is_explained_and_every_new_size_too() {
    let (_, plan, outcome) = scale_down();
    let facts = &outcome.recorder.facts;
    let removed = facts.iter().filter(|fact| matches!(fact.change, Change::PodDeleting(_, DeleteCause::ScaleDown)));
    let (mut sizes, mut victims) = (Vec::new(), 0);
    for (_, decision) in &outcome.recorder.decisions {
        match decision {
            Decision::Hpa(sync) => sizes.extend(sync.scale_to),
            Decision::ScaleDown(choice) => victims += choice.victims.len(),
            _ => {}
        }
    }
    assert_eq!(victims, removed.count());
    let written = facts.iter().filter_map(|fact| match fact.change {
        Change::DeploymentScaled { to, by: Some(_), .. } => Some(to),
        _ => None,
    });
    assert_eq!(sizes, written.collect::<Vec<_>>());
    let text = study::explain(plan, outcome, &Question::default(), "why");
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
}

#[test]
fn explanations_change_nothing_and_an_ordinary_run_keeps_none() {
    let (_, plan, explained) = scale_down();
    let ordinary = study::run_once(plan, 0, false);
    assert_eq!(ordinary.event_hash, explained.event_hash);
    assert!(ordinary.recorder.decisions.is_empty() && ordinary.recorder.explanations.is_empty());
}

#[test]
fn things_are_found_by_their_names() {
    let world = &scale_down().2.world;
    assert!(explain::hpa_named(world, "wordpress").is_some());
    let pod = explain::pods_named(world, "wordpress-r1-1")[0];
    assert_eq!(world.pod_name(pod), "wordpress-r1-1");
    let node = world.pod(pod).node.expect("it has a node");
    let machine = Machine { node: Some(node), claim: world.node(node).claim };
    assert_eq!(explain::node_named(world, &world.node(node).name), Some(machine));
    assert!(explain::pods_named(world, "wordpress").is_empty());
    let address = world.pod(pod).address.expect("it has an address");
    let targets = explain::targets_named(world, &address.to_string());
    assert!(!targets.is_empty() && targets == explain::targets_named(world, "wordpress-r1-1"));
    assert!(explain::targets_named(world, "10.9.9.9").is_empty());
}

/// Every binding, every wait, every NodeClaim and every launch of the shipped scenarios has its decision, and no other has.
#[test]
fn every_binding_wait_claim_and_launch_has_its_decision() {
    for (name, _, outcome) in &*RUNS {
        let (world, facts) = (&outcome.world, &outcome.recorder.facts);
        let decisions = || outcome.recorder.decisions.iter().map(|(_, decision)| decision);
        let of_facts = |wanted: &dyn Fn(Change) -> bool| facts.iter().filter(|fact| wanted(fact.change)).count();
        let placed = decisions().filter_map(|decision| match decision {
            Decision::Scheduling(attempt) => match attempt.ended {
                Ended::Node { node, .. } => Some((attempt.pod, node)),
                Ended::Nowhere { .. } => None,
            },
            _ => None,
        });
        let bound = facts.iter().filter_map(|fact| match fact.change {
            Change::PodBound(pod) => Some((pod, world.pod(pod).node.expect("a bound pod has its node"))),
            _ => None,
        });
        let (mut placed, mut bound): (Vec<_>, Vec<_>) = (placed.collect(), bound.collect());
        placed.sort_unstable();
        bound.sort_unstable();
        assert_eq!(placed, bound, "{name}: bindings");
        let waiting = |decision: &&Decision| match decision {
            Decision::Scheduling(attempt) => matches!(attempt.ended, Ended::Nowhere { .. }),
            _ => false,
        };
        let waits = of_facts(&|change| matches!(change, Change::PodUnschedulable(_)));
        assert!(waits <= decisions().filter(waiting).count() && (waits > 0 || *name == "scale-down"), "{name}: waits");
        let planned = decisions().flat_map(|decision| match decision {
            Decision::Placement(Placement::New(planned)) => planned.claim.into_iter().collect(),
            Decision::Disruption(command) => command.created.clone(),
            _ => Vec::new(),
        });
        let created = of_facts(&|change| matches!(change, Change::ClaimCreated(_)));
        assert_eq!(planned.count(), created, "{name}: claims");
        let launches =
            decisions().filter(|decision| matches!(decision, Decision::Launch(one) if one.launched.is_some()));
        assert_eq!(
            launches.count(),
            of_facts(&|change| matches!(change, Change::ClaimLaunched(_))),
            "{name}: launches"
        );
    }
}

/// What every thing of a run is told, in 80 columns and in the order of time.
#[test]
fn every_story_of_the_shipped_scenarios_fits_and_is_in_order() {
    for (name, plan, outcome) in &*RUNS {
        let world = &outcome.world;
        let pods = world.pods.iter().map(|pod| Question { pod: Some(pod.id), ..Question::default() });
        let machine = |node: &kubelapse::world::Node| Machine { node: Some(node.id), claim: node.claim };
        let nodes = world.nodes.iter().map(|node| Question { node: Some(machine(node)), ..Question::default() });
        let targets = world.targets.iter().map(|one| Question { targets: vec![one.id], ..Question::default() });
        for question in pods.chain(nodes).chain(targets) {
            let entries = explain::answer(plan, world, &outcome.recorder, &question);
            assert!(entries.is_sorted_by_key(|(at, _)| *at), "{name}: {question:?}");
            let text = study::explain(plan, outcome, &question, "why");
            assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        }
    }
}

/// A small scenario with fixed delays, explained.
fn explained(name: &str, manifests: &str, scenario: &str) -> (Plan, Outcome) {
    let scenario = scenario.replace("TIMINGS\n", include_str!("explain/timings.yaml"));
    let plan = written(&format!("explain-{name}"), manifests, &scenario);
    let outcome = study::run_explained(&plan, 0);
    (plan, outcome)
}

/// Holds the story of things against a page that people have read. `KUBELAPSE_PAGES=DIR` writes the pages as they are now.
fn assert_page(name: &str, golden: &str, (plan, outcome): &(Plan, Outcome), questions: &[(&str, &str)]) {
    let world = &outcome.world;
    let pages = questions.iter().map(|&(kind, name)| {
        let mut question = Question::default();
        match kind {
            "pod" => question.pod = explain::pods_named(world, name).first().copied(),
            "node" => question.node = Some(explain::node_named(world, name).expect("a node")),
            _ => question.targets = explain::targets_named(world, name),
        }
        study::explain(plan, outcome, &question, &format!("{kind}/{name}"))
    });
    let text = pages.collect::<Vec<_>>().join("\n");
    if let Some(folder) = std::env::var_os("KUBELAPSE_PAGES") {
        std::fs::write(std::path::Path::new(&folder).join(format!("{name}.txt")), &text).unwrap();
    }
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    assert_eq!(text, golden, "{text}");
}

/// Kubernetes's event of a pod that waits, why this pool, why these types, what EC2 had no capacity for, what came instead,
/// and the checks that put the pod into service and out of it.
#[test]
fn a_pod_that_waits_for_a_node_that_cannot_be_bought_at_first() {
    let run =
        explained("shortage", include_str!("explain/shortage.manifests.yaml"), include_str!("explain/shortage.yaml"));
    let questions = [("pod", "web-r1-2"), ("node", "general-01"), ("target", "web-r1-2")];
    assert_page("shortage", include_str!("explain/shortage.txt"), &run, &questions);
}

/// Scores per plugin with their sum, and a pod that takes another's place.
#[test]
fn a_pod_among_several_nodes_and_one_that_preempts_it() {
    let run = explained("busy", include_str!("explain/busy.manifests.yaml"), include_str!("explain/busy.yaml"));
    let questions = [("pod", "web-r1-1"), ("pod", "urgent-r1-3"), ("node", "large")];
    assert_page("busy", include_str!("explain/busy.txt"), &run, &questions);
}

/// A liveness probe that is less patient than the application.
#[test]
fn a_container_that_its_liveness_probe_kills() {
    let run = explained("crash", include_str!("explain/crash.manifests.yaml"), include_str!("explain/crash.yaml"));
    assert_page("crash", include_str!("explain/crash.txt"), &run, &[("pod", "slow-r1-1")]);
}

/// do-not-disrupt, a PodDisruptionBudget, a disruption budget, a clock, a price: why nodes stay, and why one goes.
#[test]
fn nodes_that_are_consolidated_and_nodes_that_are_not() {
    let run = explained("idle", include_str!("explain/idle.manifests.yaml"), include_str!("explain/idle.yaml"));
    let questions = [("node", "pinned"), ("node", "guarded"), ("node", "big"), ("node", "right")];
    assert_page("idle", include_str!("explain/idle.txt"), &run, &questions);
}
