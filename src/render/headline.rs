//! The sentence that says how a run came out: what was added, or what left, or what was replaced, and what it took away
//! from requests.
//!
//! In: a finished run. Out: one sentence without its full stop.

use super::Finished;
use super::text::{in_requests, plural, tenths};
use crate::analysis::steps::{Why, begins_ramp};
use crate::analysis::totals::cost_of_keeping;
use crate::analysis::{Replacement, Step};
use crate::engine::Span;
use crate::plan::ActionId;
use crate::world::{Loss, Tally};

/// One sentence that says how the run came out.
pub fn headline(finished: &Finished) -> String {
    let analysis = finished.analysis;
    let mut tally = Tally::default();
    finished.world.ledgers.iter().for_each(|ledger| tally += &ledger.total);
    // Nodes that were taken away come before what was meant.
    let mut parts: Vec<String> = replaced(finished, true).into_iter().collect();
    if !analysis.steps.is_empty() {
        parts.push(grown(finished));
    } else if parts.is_empty() && !analysis.steps_down.is_empty() {
        parts.push(shrunk(finished));
    } else if parts.is_empty() {
        parts.extend(replaced(finished, false));
    }
    parts.extend(acted(finished));
    if parts.is_empty() {
        parts.push("no scaling".to_string());
    }
    if let Some(lost) = lost(&tally) {
        let first = tally.lost_all() as f64 >= GRAVE * tally.offered as f64;
        parts.insert(if first { 0 } else { parts.len() }, lost);
    }
    let chance = if finished.plan.noise { "" } else { "without chance, " };
    format!("{chance}{}", parts.join("; "))
}

/// From this share of the requests on, what was lost is the first thing to be said.
const GRAVE: f64 = 0.01;

/// `1927 of 157140 requests lost (1.2%, most with 503 queue full)`; `None`: there were no requests.
fn lost(tally: &Tally) -> Option<String> {
    let all = tally.lost_all();
    if tally.offered == 0 || all == 0 {
        return (tally.offered > 0).then(|| "0 requests lost".to_string());
    }
    let percent = match 100.0 * all as f64 / tally.offered as f64 {
        percent @ ..0.1 => format!("{percent:.2}%"),
        percent @ ..10.0 => format!("{percent:.1}%"),
        percent => format!("{percent:.0}%"),
    };
    let (cause, amount) = Loss::ALL.into_iter().zip(tally.lost).max_by_key(|&(_, amount)| amount)?;
    let share = match amount {
        amount if amount == all => "all ",
        amount if amount * 2 > all => "most ",
        _ => "many ",
    };
    let (count, offered) = (in_requests(all), in_requests(tally.offered));
    let count = count.split(' ').next().unwrap_or_default();
    Some(format!("{count} of {offered} lost ({percent}, {share}with {} {})", cause.status(), cause.name()))
}

/// `after the load changed`, or `after the ramp began` where the load goes along a slope.
pub fn after_load_change(finished: &Finished, step: &Step) -> &'static str {
    let ramp = step.load_change.is_some_and(|at| begins_ramp(finished.plan, step.deployment, at));
    if ramp { "after the ramp began" } else { "after the load changed" }
}

/// What operators did: `rollout of shop at 5m`.
fn acted(finished: &Finished) -> Option<String> {
    let plan = finished.plan;
    let short = |index: usize| finished.recorder.shortfall_of(ActionId::at(index));
    let done: Vec<(usize, String)> = (plan.actions.iter().enumerate())
        .filter(|(_, action)| action.at < plan.until)
        .filter_map(|(index, action)| {
            Some((index, format!("{} at {}", action.words(plan)?, tenths(action.at.since(plan.start)))))
        })
        .collect();
    let (told, others) = done.split_at(done.len().min(TOLD_MAX));
    let told: Vec<String> = (told.iter())
        .map(|(index, words)| short(*index).map_or(words.clone(), |one| format!("{words} {}", one.words())))
        .collect();
    let vain = others.iter().filter(|(index, _)| short(*index).is_some_and(|one| one.in_vain)).count();
    let vain = match (vain, others.len()) {
        (0, _) => String::new(),
        (1, 1) => " in vain".to_string(),
        (vain, all) if vain == all => ", all in vain".to_string(),
        (vain, _) => format!(", {vain} of them in vain"),
    };
    let more =
        if others.is_empty() { String::new() } else { format!(" and {}{vain}", plural(others.len(), "more action")) };
    (!told.is_empty()).then(|| told.join(", ") + &more)
}

/// More actions than this are counted.
const TOLD_MAX: usize = 2;

fn grown(finished: &Finished) -> String {
    let steps = &finished.analysis.steps;
    let pods: usize = steps.iter().map(|step| step.pods.iter().filter(|pod| !pod.cancelled).count()).sum();
    let served: Option<Vec<Span>> = steps.iter().map(Step::time_to_serve).collect();
    match served.as_deref() {
        Some([span]) => {
            let detection = steps[0].detection().map(|detection| {
                format!(" ({} {})", tenths(detection + *span), after_load_change(finished, &steps[0]))
            });
            let detection = detection.unwrap_or_default();
            format!("{} served {} after the trigger{detection}", plural(pods, "new pod"), tenths(*span))
        }
        Some(spans) => {
            let longest = tenths(spans.iter().max().copied().unwrap_or_default());
            let (pods, steps) = (plural(pods, "new pod"), plural(steps.len(), "step"));
            format!("{pods} in {steps} served at most {longest} after their trigger")
        }
        None => {
            let let_go = steps.iter().filter(|step| step.let_go.is_some()).count();
            let open = steps.iter().filter(|step| step.served.is_none()).count() - let_go;
            let of = plural(steps.len(), "scaling step");
            let end = match (open, let_go) {
                (0, _) => "let go before all of its pods served".to_string(),
                (_, 0) => "not served by the end".to_string(),
                _ => format!("not served ({let_go} of them let go before)"),
            };
            format!("{} of {of} {end}", open + let_go)
        }
    }
}

/// Pods that left, nodes that went with them, and what that saved.
fn shrunk(finished: &Finished) -> String {
    let analysis = finished.analysis;
    let (mut pods, mut longest) = (0, Some(Span::ZERO));
    for down in &analysis.steps_down {
        for pod in &down.victims {
            let gone = analysis.history.pods[pod.index()].gone.map(|gone| gone.since(down.trigger));
            (pods, longest) = (pods + 1, longest.zip(gone).map(|(most, span)| most.max(span)));
        }
    }
    let steps = plural(analysis.steps_down.len(), "step");
    let within =
        longest.map_or_else(|| ", not all of them by the end".to_string(), |span| format!(" within {}", tenths(span)));
    let mut out = format!("{} left in {steps}{within}", plural(pods, "pod"));
    let nodes = analysis.totals.nodes_terminated as usize;
    if nodes > 0 {
        let (kept, paid) = (cost_of_keeping(finished.plan, finished.world).dollars(), analysis.totals.cost.dollars());
        out += &format!(", {} terminated", plural(nodes, "node"));
        if kept - paid >= 0.000_05 {
            out += &format!(" (saves ${:.4} of ${kept:.4})", kept - paid);
        }
    }
    out
}

/// Pods that a node took with it, or that had to move.
fn replaced(finished: &Finished, by_force: bool) -> Option<String> {
    let forced = |one: &&Replacement| matches!(one.why, Why::Interruption | Why::Failure) == by_force;
    let meant: Vec<&Replacement> = finished.analysis.replacements.iter().filter(forced).collect();
    let (first, nodes) = (meant.first()?, meant.len());
    let served: Option<Vec<Span>> = meant.iter().map(|one| one.time_to_replace()).collect();
    let longest = served.map(|spans| tenths(spans.into_iter().max().unwrap_or_default()));
    if !by_force {
        let pods: usize = meant.iter().map(|one| one.displaced.len()).sum();
        let end = longest
            .map_or_else(|| ", not all in service again by the end".to_string(), |span| format!(" within {span}"));
        return Some(format!("{} moved off {}{end}", plural(pods, "pod"), drained(nodes, first.why)));
    }
    let after = match first.why {
        Why::Interruption => "after the notice",
        Why::Failure | Why::Disruption(_) | Why::Deletion | Why::Drain => "after the node was lost",
    };
    Some(longest.map_or_else(
        || format!("replacements of {} were not all in service by the end", plural(nodes, "lost node")),
        |span| format!("replacements served {}{span} {after}", if nodes > 1 { "at most " } else { "" }),
    ))
}

fn drained(nodes: usize, why: Why) -> String {
    format!("{} ({})", plural(nodes, "drained node"), why.name())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::REQUEST;

    #[test]
    fn losses_are_told_with_their_share_and_main_cause() {
        let mut tally = Tally::default();
        assert_eq!(lost(&tally), None, "nobody asked");
        tally.offered = 7_200 * REQUEST;
        assert_eq!(lost(&tally).as_deref(), Some("0 requests lost"));
        tally.lost[Loss::Unreachable as usize] = 77 * REQUEST;
        assert_eq!(lost(&tally).as_deref(), Some("77 of 7200 requests lost (1.1%, all with 504 address gone)"));
        tally.lost[Loss::NoTarget as usize] = 923 * REQUEST;
        assert_eq!(lost(&tally).as_deref(), Some("1000 of 7200 requests lost (14%, most with 503 no target)"));
    }
}
