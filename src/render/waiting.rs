//! Why pods have no node: what Karpenter, or without NodePools the scheduler, said last.
//!
//! In: the pods and what was noted of them. Out: lines of the summary, pods of a kind together. Where labels are the cause, those
//! that are asked for and that no NodePool gives are named.

use super::Finished;
use super::text::{LINES_MAX, line, plural, tenths};
use crate::engine::Time;
use crate::plan::{NodePoolSpec, Plan, PodTemplate};
use crate::rules::requirement::{NodeOperator, NodeRequirement};
use crate::rules::requirements::{Requirements, is_well_known, normalized};
use crate::world::PodId;
use std::collections::{BTreeMap, BTreeSet};

/// What Karpenter says where labels are the cause (`Refusal::Requirements`).
const LABELS: &str = "labels do not meet its requirements";

/// Who had no node for these pods, and why; they are of one kind.
pub fn no_node(finished: &Finished, pods: &[PodId], tried: Time, why: &str) -> String {
    let plan = finished.plan;
    let who = if plan.node_pools.is_empty() { "The scheduler" } else { "Karpenter" };
    let tried = tenths(tried.since(plan.start));
    let labels = pods.first().filter(|_| why == LABELS);
    let labels = labels.and_then(|&pod| unmet(plan, finished.world.template_of(pod)));
    let why = labels.as_deref().unwrap_or(why);
    format!("{who} had no node for {} (last tried at {tried}): {why}", plural(pods.len(), "pod"))
}

/// Pods without a node at the end, those of a kind together: pods of a step are told of there.
pub fn section(out: &mut String, finished: &Finished) {
    let of_steps = finished.analysis.steps.iter().flat_map(|step| &step.pods).map(|entry| entry.pod);
    let told = told(finished, &of_steps.collect());
    for words in told.iter().take(LINES_MAX) {
        line(out, "  - ", words);
    }
    if told.len() > LINES_MAX {
        line(out, "  - ", &format!("and {} more", told.len() - LINES_MAX));
    }
}

/// The same of all pods but some, a text each.
pub fn told(finished: &Finished, but: &BTreeSet<PodId>) -> Vec<String> {
    let mut kinds: BTreeMap<(String, &str), (Vec<PodId>, Time)> = BTreeMap::new();
    for (&pod, (tried, why)) in &finished.recorder.unplaced {
        let entry = finished.world.pod(pod);
        if !entry.is_active() || entry.node.is_some() || but.contains(&pod) {
            continue;
        }
        let deployment = finished.world.deployment_of(pod).map(|id| finished.plan.deployments[id.index()].name.clone());
        let whose = deployment.unwrap_or_else(|| finished.world.pod_name(pod));
        let (pods, last) = kinds.entry((whose, why)).or_insert((Vec::new(), *tried));
        pods.push(pod);
        *last = (*last).max(*tried);
    }
    let words = |((whose, why), (pods, tried)): (&(String, &str), &(Vec<PodId>, Time))| {
        format!("{whose}: {}", no_node(finished, pods, *tried, why))
    };
    kinds.iter().map(words).collect()
}

/// The labels that keep a pod off every NodePool.
fn unmet(plan: &Plan, template: &PodTemplate) -> Option<String> {
    let selected = template.node_selector.iter();
    let mut asked: Vec<NodeRequirement> =
        selected.map(|(key, value)| NodeRequirement::new(key, NodeOperator::In, &[value])).collect();
    // Karpenter takes the first term; others only where it cannot be met.
    asked.extend(template.affinity.node_required.iter().flatten().take(1).flat_map(|term| term.expressions.clone()));
    let missed = |pool: &NodePoolSpec| asked.iter().find(|one| !gives(pool, one)).map(words);
    let mut by: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for pool in &plan.node_pools {
        by.entry(missed(pool)?).or_default().push(&pool.name);
    }
    let parts: Vec<String> = match by.len() {
        1 => by.keys().map(|label| format!("no NodePool gives {label}")).collect(),
        _ => by.iter().map(|(label, pools)| format!("{} without {label}", pools.join(", "))).collect(),
    };
    (!parts.is_empty()).then(|| parts.join("; "))
}

/// Nodes of a pool may have a label that is asked for.
fn gives(pool: &NodePoolSpec, asked: &NodeRequirement) -> bool {
    let mut of_pool = Requirements::of(&pool.requirements);
    of_pool.add_all(&Requirements::of_labels(&pool.labels));
    of_pool.compatible(&Requirements::of(std::slice::from_ref(asked)), is_well_known(normalized(&asked.key)))
}

fn words(asked: &NodeRequirement) -> String {
    let (key, values) = (&asked.key, asked.values.join(" or "));
    match asked.operator {
        NodeOperator::In if asked.values.len() == 1 => format!("`{key}: {values}`"),
        NodeOperator::In => format!("`{key}` ({values})"),
        NodeOperator::Exists => format!("`{key}`"),
        other => format!("`{key}` ({} {values})", other.name()),
    }
}
