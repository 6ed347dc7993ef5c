//! `scheduler.decide`: one cycle for one pod on a cluster that stands still.

use crate::Case;
use crate::scheduler_cluster::{Bed, items, text, texts};
use kubelapse::components::kubernetes::scheduler::decide::{Decision, decide};
use kubelapse::components::kubernetes::scheduler::message;
use kubelapse::components::kubernetes::scheduler::preemption::preempt;
use kubelapse::components::kubernetes::scheduler::queue::SchedulingQueue;
use kubelapse::components::kubernetes::scheduler::view::{Assumed, Cluster, View};
use kubelapse::plan::flags::SchedulerFlags;
use kubelapse::world::PodId;
use serde_json::Value;
use std::collections::BTreeMap;

/// Replays a case.
pub fn replay(case: &Case) -> Result<(), String> {
    let (input, expect) = (&case.input, &case.expect);
    let mut bed = Bed::new(input)?;
    let pod = bed.add_pod(input, &input["pod"])?;
    bed.nominated.retain(|(other, _)| *other != pod);
    let (cluster, assumed) = (Cluster::of(&bed.world), Assumed::default());
    let view = bed.view(&cluster, &assumed);
    let mut queue = SchedulingQueue::default();
    queue.add(
        &view.plan.flags.scheduler,
        pod,
        view.template(pod).priority,
        view.world.pod(pod).gates > 0,
        view.world.now,
    );
    let active = queue.pop(&SchedulerFlags::default()).is_some();
    if !active || expect["result"] == "gated" {
        return same("gated", &!active, &(expect["result"] == "gated"));
    }
    let decision = decide(&view, pod, input["startIndex"].as_u64().unwrap_or(0) as usize);
    compare_refusals(&bed, &view, pod, &decision, expect)?;
    if expect["result"] == "scheduled" {
        return compare_scheduled(&bed, &decision, expect);
    }
    same("feasible", &decision.feasible.len(), &0)?;
    let preempted = preempt(&view, pod, &decision, 0);
    same("message", &message(&view, pod, &decision, &preempted), &text(&expect["message"]))?;
    let mut plugins: Vec<String> = decision.rejectors().iter().map(|plugin| plugin.name().to_string()).collect();
    plugins.sort();
    same("plugins", &plugins, &texts(&expect["unschedulablePlugins"]))
}

/// An error if a value is not what was expected.
pub fn same<T: PartialEq + std::fmt::Debug>(what: &str, found: &T, expected: &T) -> Result<(), String> {
    if found == expected { Ok(()) } else { Err(format!("{what}: {expected:?} expected, {found:?} found")) }
}

/// Node, plugin, resolvable, reasons.
type Row = (String, String, bool, Vec<String>);

fn compare_refusals(bed: &Bed, view: &View, pod: PodId, decision: &Decision, expect: &Value) -> Result<(), String> {
    let mut wanted: Vec<Row> = Vec::new();
    for group in items(&expect["refused"]) {
        let (plugin, resolvable) = (text(&group["plugin"]), group["code"] == "Unschedulable");
        let row = |node| (node, plugin.clone(), resolvable, texts(&group["reasons"]));
        wanted.extend(texts(&group["nodes"]).into_iter().map(row));
    }
    let template = view.template(pod);
    let row = |(node, refusal): &(_, kubelapse::components::kubernetes::scheduler::filters::Refusal)| {
        (bed.node_name(*node), refusal.plugin.name().to_string(), refusal.resolvable, refusal.reasons(template))
    };
    let mut found: Vec<Row> = decision.refused.iter().map(row).collect();
    wanted.sort();
    found.sort();
    same("refused", &found, &wanted)
}

fn compare_scheduled(bed: &Bed, decision: &Decision, expect: &Value) -> Result<(), String> {
    let mut order: Vec<usize> = (0..decision.feasible.len()).collect();
    order.sort_by_key(|&index| bed.node_name(decision.feasible[index]));
    let feasible = order.iter().map(|&index| bed.node_name(decision.feasible[index])).collect();
    same("feasible", &feasible, &texts(&expect["feasible"]))?;
    let numbers = |value: &Value| items(value).iter().filter_map(Value::as_i64).collect::<Vec<i64>>();
    let scores = expect["scores"].as_object().into_iter().flatten();
    let wanted: BTreeMap<String, Vec<i64>> = scores.map(|(name, values)| (name.clone(), numbers(values))).collect();
    let sorted = |values: &[i64]| order.iter().filter_map(|&index| values.get(index).copied()).collect::<Vec<i64>>();
    let found = decision.scores.iter().map(|(scorer, values)| (scorer.name().to_string(), sorted(values)));
    same("scores", &found.collect(), &wanted)?;
    same("total", &sorted(&decision.total), &numbers(&expect["total"]))?;
    let mut best: Vec<String> = decision.best.iter().map(|&node| bed.node_name(node)).collect();
    best.sort();
    same("best", &best, &texts(&expect["best"]))?;
    if let Some(evaluated) = expect["evaluated"].as_u64() {
        same("evaluated", &(decision.evaluated as u64), &evaluated)?;
        same("nextStartIndex", &Some(decision.next_start as u64), &expect["nextStartIndex"].as_u64())?;
    }
    Ok(())
}
