//! An attempt as `explain` tells it: for that only, and never on the way of an ordinary run.

use super::decide::Decision;
use super::filters::Plugin;
use super::preemption;
use crate::engine::Time;
use crate::record::decision::{Attempt, Ended, Rejected, Scored};
use crate::world::{NodeId, PodId, World};
use std::collections::BTreeMap;

/// Nodes whose scores are told.
const BEST: usize = 3;

/// An attempt that ended on a node.
pub fn placed(world: &World, pod: PodId, began: Time, decision: &Decision, node: NodeId) -> Attempt {
    let nominated = world.pod(pod).nominated == Some(node) && decision.evaluated == 1;
    let ended = Ended::Node { node, equals: decision.best.len(), nominated };
    told(world, pod, began, decision, ended)
}

/// An attempt that found no node. `says`: the message of its event.
pub fn refused(
    world: &World,
    pod: PodId,
    began: Time,
    decision: &Decision,
    (says, outcome): (String, &preemption::Outcome),
) -> Attempt {
    let preempts = match outcome {
        preemption::Outcome::Nominate { node, victims } => Some((*node, victims.clone())),
        preemption::Outcome::Keep | preemption::Outcome::Clear => None,
    };
    told(world, pod, began, decision, Ended::Nowhere { says, preempts })
}

fn told(world: &World, pod: PodId, began: Time, decision: &Decision, ended: Ended) -> Attempt {
    let passed = decision.feasible.len();
    let best = best(decision, &ended);
    Attempt { pod, began, nodes: decision.nodes, rejected: rejected(world, pod, decision), passed, best, ended }
}

/// Nodes by reason, in the order in which the event counts them.
fn rejected(world: &World, pod: PodId, decision: &Decision) -> Vec<Rejected> {
    let template = world.template_of(pod);
    let mut by: BTreeMap<String, (&'static str, Vec<NodeId>)> = BTreeMap::new();
    for (node, refusal) in &decision.refused {
        for reason in refusal.reasons(template) {
            by.entry(reason).or_insert_with(|| (refusal.plugin.name(), Vec::new())).1.push(*node);
        }
    }
    let tried = by.into_iter().map(|(reason, (plugin, nodes))| {
        let count = nodes.len();
        Rejected { plugin, reason, nodes, count }
    });
    let named = (decision.ruled_out > 0).then(|| Rejected {
        plugin: Plugin::NodeAffinity.name(),
        reason: "node(s) didn't satisfy plugin(s) [NodeAffinity]".to_string(),
        nodes: Vec::new(),
        count: decision.ruled_out,
    });
    let mut all: Vec<Rejected> = tried.chain(named).collect();
    all.sort_by_cached_key(|one| format!("{} {}", one.count, one.reason));
    all
}

/// The chosen node, then the best of the others.
fn best(decision: &Decision, ended: &Ended) -> Vec<Scored> {
    let Ended::Node { node: chosen, .. } = ended else { return Vec::new() };
    let mut order: Vec<usize> = (0..decision.total.len()).collect();
    order.sort_by_key(|&index| {
        let node = decision.feasible[index];
        (node != *chosen, std::cmp::Reverse(decision.total[index]), node)
    });
    let scored = |&index: &usize| {
        let of_plugin = decision.scores.iter().map(|(scorer, values)| {
            let weight = scorer.weight();
            (scorer.name(), values[index] / weight, weight)
        });
        Scored { node: decision.feasible[index], scores: of_plugin.collect(), total: decision.total[index] }
    };
    order.iter().take(BEST).map(scored).collect()
}
