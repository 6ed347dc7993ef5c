//! What a user should know after a run: of his own actions, those that found nothing, that did not end, or that were undone; and
//! pods that budgets kept on a node until its end.
//!
//! In: the plan and the record. Out: sentences, for the screen and `summary.json`.

use crate::engine::Time;
use crate::plan::{DeploymentId, Plan};
use crate::record::Recorder;
use crate::world::{Change, DeleteCause, NodeId, PodId, World};
use std::collections::{BTreeMap, BTreeSet};

/// The remarks on a finished run.
pub fn remarks(plan: &Plan, world: &World, recorder: &Recorder) -> Vec<String> {
    let at = |at: Time| at.since(plan.start);
    let actions = recorder.shortfalls.iter().filter_map(|one| {
        let words = plan.actions[one.action.index()].words(plan)?;
        Some(format!("{words} at {}: {}", at(one.at), one.why))
    });
    let faults = recorder.idle_faults.iter().map(|(when, id)| {
        let words = plan.faults[id.index()].words(plan);
        format!("fault at {}, {words}: it found nothing that it could hit", at(*when))
    });
    actions.chain(faults).chain(taken_back(plan, world, recorder)).chain(kept_on_nodes(plan, world, recorder)).collect()
}

/// Pods of nodes that Karpenter drained whose eviction was refused, and never granted. Of a drain by hand its action says so.
fn kept_on_nodes(plan: &Plan, world: &World, recorder: &Recorder) -> Vec<String> {
    if recorder.refused_evictions.is_empty() {
        return Vec::new();
    }
    let (mut left, mut stopped) = (BTreeSet::new(), BTreeMap::new());
    for fact in &recorder.facts {
        match fact.change {
            Change::PodDeleting(_, DeleteCause::NodeGone | DeleteCause::Forced) => {}
            Change::PodDeleting(pod, _) => {
                left.insert(pod);
            }
            Change::NodeAlive(node, false) => {
                stopped.entry(node).or_insert(fact.at);
            }
            _ => {}
        }
    }
    let mut kept: BTreeMap<NodeId, (Time, BTreeSet<PodId>)> = BTreeMap::new();
    for &(at, pod) in recorder.refused_evictions.iter().filter(|(_, pod)| !left.contains(pod)) {
        if let Some(node) = world.pod(pod).node.filter(|&node| world.node(node).deleting_since.is_some()) {
            kept.entry(node).or_insert_with(|| (at, BTreeSet::new())).1.insert(pod);
        }
    }
    let since = |at: Time| at.since(plan.start);
    let told = |(node, (first, pods)): (NodeId, (Time, BTreeSet<PodId>))| {
        let budgets = world.pdbs.iter().filter(|pdb| pods.iter().any(|&pod| pdb.spec.matches(world.template_of(pod))));
        let budgets: Vec<&str> = budgets.map(|pdb| &*pdb.spec.name).collect();
        // The deletion behind an eviction may fail as well.
        if budgets.is_empty() {
            return None;
        }
        let (count, they, were, are) = match pods.len() {
            1 => ("a pod".to_string(), "it", "was", "is"),
            count => (format!("{count} pods"), "they", "were", "are"),
        };
        let end = match stopped.get(&node) {
            Some(&at) => format!("{they} ended with the machine at {}", since(at)),
            None if pods.iter().all(|&pod| world.pod(pod).deleting_since.is_some()) => {
                format!("{they} {were} deleted by force")
            }
            None => format!("{they} {are} there to the end of the run"),
        };
        let (budgets, name, first) = (budgets.join(" and "), &world.node(node).name, since(first));
        Some(format!(
            "PodDisruptionBudget {budgets} refused the eviction of {count} of node {name} from {first} on; {end}"
        ))
    };
    kept.into_iter().filter_map(told).collect()
}

/// Sizes that a user wrote and that an autoscaler replaced in the other direction.
fn taken_back(plan: &Plan, world: &World, recorder: &Recorder) -> Vec<String> {
    let mut written: Vec<Option<(Time, i32, i32)>> = vec![None; plan.deployments.len()];
    let mut found = Vec::new();
    for fact in &recorder.facts {
        let Change::DeploymentScaled { deployment, from, to, by } = fact.change else { continue };
        let Some(last) = written.get_mut(deployment.index()) else { continue };
        match (by, *last) {
            (None, _) => *last = Some((fact.at, from, to)),
            (Some(hpa), Some((when, before, size))) => {
                *last = None;
                if (size > before) == (to < from) {
                    let (name, hpa) = (name(plan, deployment), &world.hpas[hpa.index()].spec.name);
                    let (when, now) = (when.since(plan.start), fact.at.since(plan.start));
                    found.push(format!(
                        "the {size} replicas of {name} that a user wrote at {when} did not last: autoscaler {hpa} wrote {to} at {now}"
                    ));
                }
            }
            (Some(_), None) => {}
        }
    }
    found
}

fn name(plan: &Plan, deployment: DeploymentId) -> &str {
    &plan.deployments[deployment.index()].name
}
