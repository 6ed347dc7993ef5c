//! What a user should know of his own actions after a run: those that found nothing, that did not end, or that were undone.
//!
//! In: the plan and the record. Out: sentences, for the screen and `summary.json`.

use crate::engine::Time;
use crate::plan::{ActionKind, DeploymentId, Plan};
use crate::record::Recorder;
use crate::world::{Change, NodeId, PodId, World};
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
    let unfinished = unfinished_drains(plan, world, recorder);
    actions.chain(faults).chain(unfinished).chain(taken_back(plan, world, recorder)).collect()
}

/// Drains of which pods were left at the end, because their budgets allowed no eviction.
fn unfinished_drains(plan: &Plan, world: &World, recorder: &Recorder) -> Vec<String> {
    let mut left: BTreeMap<NodeId, (Time, BTreeSet<PodId>)> = BTreeMap::new();
    for &(at, id) in &recorder.refused_evictions {
        let pod = world.pod(id);
        let stays = pod.gone.is_none() && pod.deleting_since.is_none();
        // What Karpenter drains are nodes on their way out.
        if let Some(node) = pod.node.filter(|&node| stays && world.node(node).deleting_since.is_none()) {
            left.entry(node).or_insert((at, BTreeSet::new())).1.insert(id);
        }
    }
    let tell = |(node, (began, pods)): (NodeId, (Time, BTreeSet<PodId>))| {
        let mut drains = plan.actions.iter().filter(|action| matches!(action.kind, ActionKind::Drain(_)));
        let when = drains.rfind(|action| action.at <= began).map_or(began, |action| action.at).since(plan.start);
        let budgets = world.pdbs.iter().filter(|pdb| pods.iter().any(|&pod| pdb.spec.matches(world.template_of(pod))));
        let budgets: Vec<String> = budgets.map(|pdb| format!("{}/{}", pdb.spec.namespace, pdb.spec.name)).collect();
        let names: Vec<_> = pods.iter().take(NAMES_MAX).map(|&pod| world.pod_name(pod)).collect();
        let more = if pods.len() > NAMES_MAX { format!(" and {} more", pods.len() - NAMES_MAX) } else { String::new() };
        format!(
            "drain of node {} at {when}: it had not ended, {}{more} stayed, since PodDisruptionBudget {} allowed no eviction",
            world.node(node).name,
            names.join(", "),
            budgets.join(" or ")
        )
    };
    left.into_iter().map(tell).collect()
}

/// More names than this are counted.
const NAMES_MAX: usize = 3;

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
