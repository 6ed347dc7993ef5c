//! The content of `summary.json`: keys in a fixed order, decimals without float noise.

use super::expectation::{ClaimJudgement, Judgement, claims, expectations};
use super::right_sizing;
use super::steps::{Replacement, Step, StepDown};
use super::{Analysis, Churn, churn, totals};
use crate::engine::{LimitReached, Span, Time};
use crate::plan::{MicroDollars, Plan};
use crate::world::{Loss, PodId, RecommendedAmounts, Tally, World};
use serde_json::{Map, Value, json};

/// The version of this program, written into every file.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The summary of one run.
pub fn summary(
    plan: &Plan,
    world: &World,
    analysis: &Analysis,
    (events, event_hash): (u64, u64),
    limit: Option<LimitReached>,
) -> Value {
    let from_start = |at: Time| at_seconds(plan, at);
    let downs = analysis.steps_down.iter().map(|down| down_value(plan, world, analysis, down));
    let mut value = json!({
        "generator": "kubelapse",
        "version": VERSION,
        "scenario": plan.name,
        "hash": plan.hash,
        "seed": plan.seed,
        "noise": plan.noise,
        "length_s": decimal(plan.until - plan.start),
        "events": events,
        "event_hash": format!("{event_hash:016x}"),
        "stopped_early": limit.map(|limit| stopped(plan, limit)),
        "steps": analysis.steps.iter().map(|step| step_value(plan, world, step)).collect::<Vec<_>>(),
        "steps_down": downs.collect::<Vec<_>>(),
        "replacements": analysis.replacements.iter().map(|one| replacement(plan, world, one)).collect::<Vec<_>>(),
        "requests": requests(plan, world),
        "nodes": {
            "launched": analysis.totals.nodes_launched,
            "terminated": analysis.totals.nodes_terminated,
            "launches_without_capacity": analysis.totals.launch_failures,
            "node_seconds": decimal(analysis.totals.node_time),
            "interruptions": analysis.totals.interruptions,
        },
        "pods": {
            "evicted": analysis.totals.evictions,
            "waiting_for_a_node_at_the_end": analysis.totals.unscheduled,
            "let_go_without_a_node": analysis.totals.let_go_unscheduled,
        },
        "cost": cost(world, analysis),
        "right_sizing": right_sizing::advice(plan, world).iter().map(advice).collect::<Vec<_>>(),
        "alarms": analysis.totals.alarms.iter().map(|&(at, alarm)| {
            json!({ "at_s": from_start(at), "alarm": plan.alarms[alarm].name })
        }).collect::<Vec<_>>(),
        "claims": claims(plan, world, analysis).iter().map(claim).collect::<Vec<_>>(),
        "expectations": expectations(plan, world, analysis).iter().map(judged).collect::<Vec<_>>(),
        "remarks": plan.remarks.iter().chain(&analysis.remarks).collect::<Vec<_>>(),
    });
    if analysis.totals.launches_throttled > 0 {
        value["nodes"]["launches_throttled"] = analysis.totals.launches_throttled.into();
    }
    if analysis.totals.surplus_cost.0 > 0 {
        value["cost"]["surplus_cpu_credits"] = millionths(analysis.totals.surplus_cost.0.into());
    }
    value
}

/// A span as a JSON number of seconds with at most six decimals.
pub fn decimal(span: Span) -> Value {
    millionths(span.micros().into())
}

/// So many millionths as a JSON number: whole where it is whole, otherwise the shortest decimal.
pub fn millionths(amount: i128) -> Value {
    if amount % 1_000_000 == 0 {
        return i64::try_from(amount / 1_000_000).map_or(Value::Null, Value::from);
    }
    // A decimal with six places is printed back as it stands: the shortest text that reads as the same float.
    Value::from(amount as f64 / 1e6)
}

/// A measured value as a JSON number with at most six decimals; `null` for what never ends.
pub fn measured(value: f64) -> Value {
    if value.is_finite() { millionths((value * 1e6).round() as i128) } else { Value::Null }
}

fn at_seconds(plan: &Plan, at: Time) -> Value {
    millionths(i128::from(at.micros()) - i128::from(plan.start.micros()))
}

fn stopped(plan: &Plan, limit: LimitReached) -> Value {
    let (what, at) = match limit {
        LimitReached::Events(at) => ("too many events", at),
        LimitReached::SameInstant(at) => ("too many events at one instant", at),
        LimitReached::Pods(at) => ("too many pods", at),
    };
    json!({ "because": what, "at_s": at_seconds(plan, at) })
}

fn names(world: &World, pods: impl Iterator<Item = PodId>) -> Vec<String> {
    pods.map(|pod| world.pod_name(pod)).collect()
}

fn step_value(plan: &Plan, world: &World, step: &Step) -> Value {
    let phases = step.critical_pod().map(|pod| {
        let lengths = pod.phases.iter().filter(|span| !span.length().is_zero());
        lengths.map(|span| (span.phase.name().to_string(), decimal(span.length()))).collect::<Map<_, _>>()
    });
    json!({
        "step": step.number,
        "deployment": plan.deployments[step.deployment.index()].name,
        "from": step.from,
        "to": step.to,
        "load_change_s": step.load_change.map(|at| at_seconds(plan, at)),
        "trigger_s": at_seconds(plan, step.trigger),
        "by": if step.by_hpa { "hpa" } else { "user" },
        "detection_s": step.detection().map(decimal),
        "served_s": step.served.map(|at| at_seconds(plan, at)),
        "time_to_serve_s": step.time_to_serve().map(decimal),
        "let_go_after_s": step.broken_off_after().map(decimal),
        "pods": names(world, step.pods.iter().map(|pod| pod.pod)),
        "critical_pod": step.critical_pod().map(|pod| world.pod_name(pod.pod)),
        "critical_path_s": phases,
    })
}

fn down_value(plan: &Plan, world: &World, analysis: &Analysis, down: &StepDown) -> Value {
    let latest = |value: fn(&super::PodHistory) -> Option<Time>| {
        let pods = down.victims.iter().map(|pod| &analysis.history.pods[pod.index()]);
        pods.filter_map(value).max().map(|at| at_seconds(plan, at))
    };
    let nodes = down.nodes.iter().filter_map(|&node| analysis.history.node(node));
    json!({
        "deployment": plan.deployments[down.deployment.index()].name,
        "from": down.from,
        "to": down.to,
        "trigger_s": at_seconds(plan, down.trigger),
        "by": if down.by_hpa { "hpa" } else { "user" },
        "pods": names(world, down.victims.iter().copied()),
        "deregistered_s": latest(|pod| pod.deregistered),
        "drained_s": latest(|pod| pod.target_gone),
        "pods_gone_s": latest(|pod| pod.gone),
        "nodes": nodes.clone().map(|node| node.name.clone()).collect::<Vec<_>>(),
        "nodes_gone_s": nodes.filter_map(|node| node.gone).max().map(|at| at_seconds(plan, at)),
    })
}

fn replacement(plan: &Plan, world: &World, one: &Replacement) -> Value {
    json!({
        "node": world.node(one.node).name.to_string(),
        "why": one.why.name(),
        "trigger_s": at_seconds(plan, one.trigger),
        "pods": names(world, one.displaced.iter().copied()),
        "pods_gone_s": one.gone.map(|at| at_seconds(plan, at)),
        "replacements": names(world, one.replacements.iter().copied()),
        "served_s": one.served.map(|at| at_seconds(plan, at)),
        "time_to_replace_s": one.time_to_replace().map(decimal),
    })
}

fn requests(plan: &Plan, world: &World) -> Value {
    let apps = plan.apps.iter().zip(&world.ledgers);
    Value::Object(apps.map(|(app, ledger)| (app.name.clone(), tally(plan, &ledger.total, ledger.in_flight))).collect())
}

fn tally(plan: &Plan, tally: &Tally, in_flight: u64) -> Value {
    let by_status = [502_u16, 503, 504].map(|status| {
        let of_status = Loss::ALL.iter().filter(|loss| loss.status() == status);
        (status.to_string(), millionths(of_status.map(|&loss| i128::from(tally.lost[loss as usize])).sum()))
    });
    let by_cause =
        Loss::possible(plan).map(|loss| (loss.name().to_string(), millionths(tally.lost[loss as usize].into())));
    json!({
        "offered": millionths(tally.offered.into()),
        "served": millionths(tally.served.into()),
        "slow": millionths(tally.slow.into()),
        "lost": millionths(tally.lost_all().into()),
        "in_flight_at_the_end": millionths(in_flight.into()),
        "lost_by_status": by_status.into_iter().collect::<Map<_, _>>(),
        "lost_by_cause": by_cause.collect::<Map<_, _>>(),
        "mean_latency_s": tally.mean_latency().map(decimal),
    })
}

fn cost(world: &World, analysis: &Analysis) -> Value {
    let totals = &analysis.totals;
    let dollars = |amount: MicroDollars| millionths(amount.0.into());
    let parts = totals.cost_by.iter().map(|((pool, capacity_type), (time, cost))| {
        json!({
            "node_pool": pool,
            "capacity_type": capacity_type,
            "node_seconds": decimal(*time),
            "dollars": dollars(*cost),
        })
    });
    let churn = |churn: &Churn| {
        json!({
            "nodes": churn.nodes,
            "dollars": dollars(churn.cost),
            "overlap_s": decimal(churn.overlap),
            "overlap_dollars": dollars(churn.overlap_cost),
        })
    };
    let reasons = totals.churn_by.iter().map(|(reason, one)| {
        let mut one = churn(one);
        one["reason"] = Value::from(*reason);
        one
    });
    let mut replaced = churn(&churn::total(&totals.churn_by));
    replaced["by"] = reasons.collect();
    json!({
        "dollars": dollars(totals.cost),
        "dollars_per_million_served": totals::per_million(world, totals.cost).map(measured),
        "by": parts.collect::<Vec<_>>(),
        "churn": replaced,
    })
}

fn advice(advice: &right_sizing::Advice) -> Value {
    let amounts = |amounts: &RecommendedAmounts| {
        let (cpu, memory) = (amounts.cpu.map(|cpu| cpu.0), amounts.memory.map(|memory| memory.0));
        json!({ "cpu_millicores": cpu, "memory_bytes": memory })
    };
    json!({
        "deployment": advice.deployment,
        "container": advice.container,
        "request": amounts(&advice.request),
        "limit": amounts(&advice.limit),
        "target": amounts(&advice.target),
        "lower_bound": amounts(&advice.lower_bound),
        "upper_bound": amounts(&advice.upper_bound),
        "samples": advice.samples,
        "history_s": decimal(advice.history),
    })
}

fn judged(judgement: &Judgement) -> Value {
    json!({
        "expectation": judgement.text,
        "verdict": judgement.verdict.name(),
        "measured": judgement.measured.map(measured),
        "explanation": judgement.explanation,
    })
}

fn claim(claim: &ClaimJudgement) -> Value {
    json!({
        "claim": claim.claim,
        "check": claim.judgement.text,
        "verdict": claim.judgement.verdict.name(),
        "expected": claim.expected.name(),
        "as_expected": claim.as_expected(),
        "measured": claim.judgement.measured.map(measured),
        "explanation": claim.judgement.explanation,
        "because": claim.because,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::played;

    #[test]
    fn decimals_carry_no_float_noise() {
        assert_eq!(decimal(Span::from_micros(138_100_001)).to_string(), "138.100001");
        assert_eq!(decimal(Span::from_secs(138)).to_string(), "138");
        assert_eq!(millionths(-1_500_000).to_string(), "-1.5");
        assert_eq!(measured(0.1 + 0.2).to_string(), "0.3");
        assert_eq!(measured(f64::INFINITY), Value::Null);
    }

    #[test]
    fn the_summary_adds_up() {
        let run = played::run();
        let value = summary(&run.plan, &run.world, &run.analysis(), (7, 9), None);
        let step = &value["steps"][0];
        let sum: f64 = step["critical_path_s"].as_object().unwrap().values().filter_map(Value::as_f64).sum();
        assert!((sum - step["time_to_serve_s"].as_f64().unwrap()).abs() < 1e-9);
        let requests = &value["requests"]["wordpress"];
        let number = |key: &str| requests[key].as_f64().unwrap();
        assert_eq!(number("offered"), number("served") + number("lost") + number("in_flight_at_the_end"));
        assert_eq!(value["claims"][0]["verdict"], "holds");
        assert_eq!(value["event_hash"], "0000000000000009");
        let keys: Vec<&String> = value.as_object().unwrap().keys().collect();
        assert_eq!(keys[..5], ["generator", "version", "scenario", "hash", "seed"]);
    }
}
