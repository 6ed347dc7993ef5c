//! `scheduler.preempt`: cycles that preempt, one after another, while the API server does what it does between them.

use crate::Case;
use crate::scheduler_cluster::{Bed, items, text, texts};
use crate::scheduler_decide::same;
use kubelapse::components::kubernetes::scheduler::decide::decide;
use kubelapse::components::kubernetes::scheduler::message;
use kubelapse::components::kubernetes::scheduler::preemption::{Candidate, Outcome, outranked, preempt};
use kubelapse::components::kubernetes::scheduler::view::{Assumed, Cluster};
use kubelapse::world::{DeleteCause, NodeId, PodId};
use serde_json::Value;
use std::collections::BTreeMap;

/// Replays a case.
pub fn replay(case: &Case) -> Result<(), String> {
    let input = &case.input;
    let mut bed = Bed::new(input)?;
    let mut assumed = Assumed::default();
    let bound = bed.world.pods.iter().filter_map(|pod| Some((pod.id, pod.node?)));
    bound.for_each(|(pod, node)| assumed.list(&bed.world, pod, node));
    let mut expected = items(&case.expect["cycles"]).iter();
    let first = bed.add_pod(input, &input["pod"])?;
    let mut pods = vec![first];
    let mut steps = items(&input["then"]).iter();
    loop {
        for pod in pods.drain(..) {
            let Some(expect) = expected.next() else { return Ok(()) };
            cycle(&mut bed, &mut assumed, pod, expect).map_err(|error| format!("{}: {error}", expect["pod"]))?;
            if items(&expect["nodes"]).len() > 1 {
                return Ok(());
            }
        }
        let Some(step) = steps.next() else { break };
        for name in texts(&step["gone"]) {
            let pod = bed.pod(&name).ok_or_else(|| format!("{name} does not exist"))?;
            if let Some(node) = bed.world.pod(pod).node {
                assumed.unlist(pod, node);
            }
            bed.world.remove_pod(pod);
            bed.nominated.retain(|(other, _)| *other != pod);
        }
        if !step["pod"].is_null() {
            pods.push(bed.add_pod(input, &step["pod"])?);
        }
        if let Some(name) = step["retry"].as_str() {
            pods.push(bed.pod(name).ok_or_else(|| format!("{name} does not exist"))?);
        }
    }
    expected.next().map_or(Ok(()), |missing| Err(format!("no cycle for {}", missing["pod"])))
}

fn sorted(mut texts: Vec<String>) -> Vec<String> {
    texts.sort();
    texts
}

fn cycle(bed: &mut Bed, assumed: &mut Assumed, pod: PodId, expect: &Value) -> Result<(), String> {
    same("pod", &bed.names[pod.index()], &text(&expect["pod"]))?;
    let cluster = Cluster::of(&bed.world);
    let view = bed.view(&cluster, assumed);
    let decision = decide(&view, pod, 0);
    let names = |nodes: &[NodeId]| sorted(nodes.iter().map(|&node| bed.node_name(node)).collect());
    if let Some(&node) = decision.best.first() {
        same("result", &"scheduled".to_string(), &text(&expect["result"]))?;
        same("nodes", &names(&decision.best), &sorted(texts(&expect["nodes"])))?;
        bed.nominated.retain(|(other, _)| *other != pod);
        bed.world.bind_pod(pod, node);
        assumed.list(&bed.world, pod, node);
        return Ok(());
    }
    let preempted = preempt(&view, pod, &decision, 0);
    same("message", &message(&view, pod, &decision, &preempted), &text(&expect["message"]))?;
    compare_candidates(bed, &preempted.candidates, &expect["candidates"])?;
    let equals = preempted.equals(&view);
    match preempted.outcome {
        Outcome::Keep | Outcome::Clear => {
            same("result", &"unschedulable".to_string(), &text(&expect["result"]))?;
            if matches!(preempted.outcome, Outcome::Clear) {
                nominate(bed, pod, None);
            }
            let kept = bed.world.pod(pod).nominated.map(|node| bed.node_name(node));
            same("nominatedNodeName", &kept.unwrap_or_default(), &text(&expect["nominatedNodeName"]))
        }
        Outcome::Nominate { node, victims } => {
            same("result", &"nominated".to_string(), &text(&expect["result"]))?;
            same("nodes", &names(&equals), &sorted(texts(&expect["nodes"])))?;
            let lower = outranked(&view, pod, node);
            if equals.len() == 1 {
                let cleared = lower.iter().map(|other| bed.names[other.index()].clone()).collect();
                same("cleared", &sorted(cleared), &sorted(texts(&expect["cleared"])))?;
            }
            lower.into_iter().for_each(|other| nominate(bed, other, None));
            for victim in victims {
                if !bed.world.pod(victim).is_terminating() {
                    assumed.list(&bed.world, victim, node);
                }
                bed.world.delete_pod(victim, None, DeleteCause::Preemption);
            }
            nominate(bed, pod, Some(node));
            Ok(())
        }
    }
}

fn nominate(bed: &mut Bed, pod: PodId, node: Option<NodeId>) {
    bed.nominated.retain(|(other, _)| *other != pod);
    bed.nominated.extend(node.map(|node| (pod, node)));
    bed.world.nominate_pod(pod, node);
}

fn compare_candidates(bed: &Bed, found: &[Candidate], expected: &Value) -> Result<(), String> {
    type Runs = BTreeMap<String, (Vec<String>, u64)>;
    let name = |pod: &PodId| bed.names[pod.index()].clone();
    let run = |candidate: &Candidate| {
        let victims = sorted(candidate.victims.iter().map(name).collect());
        (bed.node_name(candidate.node), (victims, candidate.violations as u64))
    };
    let found: Runs = found.iter().map(run).collect();
    let wanted =
        expected.as_object().into_iter().flatten().map(|(node, run)| {
            (node.clone(), (sorted(texts(&run["victims"])), run["violations"].as_u64().unwrap_or(0)))
        });
    same("candidates", &found, &wanted.collect())
}
