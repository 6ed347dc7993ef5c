//! Lost requests in words: what `kubelapse explain --lost-requests` prints, 80 columns of plain text.

use super::text::{in_requests, line, plural, tenths, whole};
use crate::analysis::losses::{Leaving, LossEntry, LossGroup, Story};
use crate::engine::{Span, Time};
use crate::plan::Plan;
use crate::world::{Loss, Process, Tally, TargetState, World};
use std::fmt::Write;

/// Entries of a cause that are told; the rest is counted.
const ENTRIES_MAX: usize = 8;

/// The whole answer.
pub fn page(plan: &Plan, world: &World, groups: &[LossGroup]) -> String {
    let mut out = String::new();
    let mut tally = Tally::default();
    world.ledgers.iter().for_each(|ledger| tally += &ledger.total);
    let (lost, offered) = (tally.lost_all(), tally.offered);
    if lost == 0 {
        line(&mut out, "", &format!("{}: none of {} requests was lost.", plan.name, whole(offered)));
        return out;
    }
    let share = 100.0 * lost as f64 / offered.max(1) as f64;
    let were = if whole(lost) == "1" { "was" } else { "were" };
    let text = format!("{}: {} of {} {were} lost ({share:.2}%).", plan.name, whole(lost), in_requests(offered));
    line(&mut out, "", &text);
    groups.iter().for_each(|group| section(&mut out, plan, world, group));
    if let Some(advice) = advice(plan, world, groups) {
        out.push('\n');
        line(&mut out, "", &advice);
    }
    out
}

/// What the client saw and what that means, with a load balancer between or without one.
const fn meaning(loss: Loss, balanced: bool) -> &'static str {
    match loss {
        Loss::NoTarget if !balanced => "The Service had no ready endpoint: kube-proxy refused them.",
        Loss::TimedOut if !balanced => "The pod did not answer for as long as clients wait.",
        Loss::NoTarget => "The load balancer had nowhere to send them: it answered itself.",
        Loss::Refused => "They were sent to a pod on whose port nothing listened.",
        Loss::Cut => "They were being served when the process of their pod ended.",
        Loss::Unreachable => "They were sent to an address that did not answer: given up after the connect time-out.",
        Loss::TimedOut => "The pod did not answer within the idle time-out of the load balancer.",
        Loss::QueueFull => "All workers of the pod were busy and its queue was full: the application answered 503.",
        Loss::DrainEnded => "They were still being served when the deregistration delay of their target ended.",
        Loss::Closed => {
            "They were sent on an idle connection that the application was just closing: its keep-alive time-out is shorter \
             than the load balancer's idle time-out."
        }
    }
}

fn section(out: &mut String, plan: &Plan, world: &World, group: &LossGroup) {
    let (from, to) = group.window;
    let pods: std::collections::BTreeSet<_> = group.entries.iter().filter_map(|entry| entry.window.place.pod).collect();
    let pods = if pods.is_empty() { String::new() } else { format!(", at {}", plural(pods.len(), "pod")) };
    let app = if plan.apps.len() > 1 { format!(" of {}", plan.apps[group.app.index()].name) } else { String::new() };
    let status = group.loss.status();
    out.push('\n');
    let title =
        format!("{status} {}: {}{app}, {}{pods}", group.loss.name(), in_requests(group.amount), window(plan, from, to));
    line(out, "", &title);
    let balanced = plan.apps[group.app.index()].target_group.is_some();
    line(out, "    ", meaning(group.loss, balanced));
    for id in &group.faults {
        let fault = &plan.faults[id.index()];
        let until = fault.until.map(|until| format!(" until {}", clock(plan, until))).unwrap_or_default();
        let text = format!("fault {}: {}, from {}{until}", id.index() + 1, fault.words(plan), clock(plan, fault.at));
        line(out, "    ", &text);
    }
    for entry in group.entries.iter().take(ENTRIES_MAX) {
        told(out, plan, world, entry);
    }
    let rest = group.entries.iter().skip(ENTRIES_MAX);
    let (count, amount) = rest.fold((0, 0), |(count, sum), entry| (count + 1, sum + entry.window.amount));
    if count > 0 {
        line(out, "  ", &format!("and {} more with {}", plural(count, "window"), in_requests(amount)));
    }
}

fn told(out: &mut String, plan: &Plan, world: &World, entry: &LossEntry) {
    let place = entry.window.place;
    let name = place.pod.map_or("no pod".to_string(), |pod| world.pod_name(pod));
    let address = place.target.map(|target| {
        let target = &world.targets[target.index()];
        format!("{}:{}", target.address, target.port)
    });
    let when = window(plan, entry.window.from, entry.window.to);
    let amount = whole(entry.window.amount);
    let _ = writeln!(out, "  {name:<24} {:<18} {amount:>8}  {when}", address.unwrap_or_default());
    line(out, "    ", &words(plan, world, entry));
}

fn words(plan: &Plan, world: &World, entry: &LossEntry) -> String {
    let balanced = entry.window.place.target.is_some();
    match &entry.story {
        Story::Leaving(leaving) => leaving_words(plan, entry.window.loss, leaving, balanced),
        Story::MachineLost(node, lost) => {
            format!("its machine, node {}, had stopped answering at {}", world.node(*node).name, clock(plan, *lost))
        }
        Story::NotAnswering(process, since) => {
            let what = match process {
                Process::Absent => "its container did not run",
                Process::Starting => "its application was starting",
                Process::Answering => "its application answered",
                Process::Stopping => "its application was being stopped",
                Process::Ended => "its application had ended",
                Process::Vanished => "its machine had gone",
            };
            let sender = if balanced { "the load balancer sent" } else { "clients sent" };
            format!("{what} (since {}), yet {sender} to it", clock(plan, *since))
        }
        Story::Dropped => "a security group dropped what the load balancer sent".to_string(),
        Story::Nowhere(states, _) if states.is_empty() => "no target was registered".to_string(),
        Story::Nowhere(states, heirs) => {
            let counts: Vec<String> = states.iter().map(|(state, count)| format!("{count} {}", state.name())).collect();
            let only = if states.iter().any(|(state, _)| *state == TargetState::Draining) {
                "; what drains or has not passed its first check gets no new requests"
            } else {
                ""
            };
            let reused = match heirs {
                0 => String::new(),
                1 => "; 1 pod came with an address that still drained, and was not registered".to_string(),
                count => format!("; {count} pods came with addresses that still drained, and were not registered"),
            };
            format!("of its targets {} were there{only}{reused}", counts.join(", "))
        }
        Story::Overloaded => "it was sent more than it could serve".to_string(),
        Story::ClosesFirst(keep_alive) => {
            let idle = plan.flags.serving.idle_timeout;
            format!(
                "it closes connections idle for {}, the load balancer only after {}",
                tenths(*keep_alive),
                tenths(idle)
            )
        }
    }
}

/// `balanced`: its requests came through a load balancer.
fn leaving_words(plan: &Plan, loss: Loss, leaving: &Leaving, balanced: bool) -> String {
    let mut text = format!("deleted at {} ({})", clock(plan, leaving.deleting), leaving.cause.name());
    let after = |time: Time, since: Time| {
        if time > since { format!("{} later", tenths(time - since)) } else { "at once".to_string() }
    };
    if let Some(sigterm) = leaving.sigterm {
        let _ = write!(text, ", SIGTERM {}", after(sigterm, leaving.deleting));
    }
    if let Some(ended) = leaving.ended.filter(|_| loss != Loss::Refused) {
        let _ = write!(text, ", gone at {}", clock(plan, ended));
    }
    match leaving.deregistered {
        Some(deregistered) if deregistered >= leaving.deleting => {
            let _ = write!(text, "; deregistered {}", after(deregistered, leaving.deleting));
        }
        None if balanced => text.push_str("; never deregistered"),
        Some(_) | None => {}
    }
    if let (Some(silent), Some(short)) = (leaving.silent, leaving.short_by()) {
        let _ = write!(
            text,
            ", sent to until {}: it would have had to serve for {} more",
            clock(plan, silent),
            tenths(short)
        );
    }
    if balanced && leaving.silent.is_none() {
        text.push_str(", the load balancer went on sending to the end");
    }
    text
}

/// What would have kept requests of pods on their way out.
fn advice(plan: &Plan, world: &World, groups: &[LossGroup]) -> Option<String> {
    let entries = || groups.iter().flat_map(|group| &group.entries);
    let leaving = entries().filter_map(|entry| match &entry.story {
        Story::Leaving(leaving) => Some((entry, leaving.short_by()?)),
        _ => None,
    });
    let pre_stop = |entry: &LossEntry| {
        let pod = entry.window.place.pod?;
        world.template_of(pod).containers.iter().filter_map(|container| container.pre_stop).max()
    };
    let closes_first = |entry: &LossEntry| matches!(entry.story, Story::ClosesFirst(_));
    if groups.iter().flat_map(|group| &group.entries).all(closes_first) && !groups.is_empty() {
        let idle = tenths(plan.flags.serving.idle_timeout);
        return Some(format!("An application that keeps idle connections for longer than {idle} loses none of these."));
    }
    let needed = leaving.map(|(entry, short)| pre_stop(entry).unwrap_or(Span::ZERO) + short).max()?;
    let seconds = needed.micros().div_ceil(1_000_000);
    Some(format!(
        "In this run a preStop of {seconds} s would have covered the propagation. `kubelapse drain` finds the smallest one that \
         holds at a given confidence for {}.",
        plan.name
    ))
}

fn clock(plan: &Plan, at: Time) -> String {
    if at < plan.start { format!("-{}", tenths(plan.start.since(at))) } else { tenths(at.since(plan.start)) }
}

fn window(plan: &Plan, from: Time, to: Time) -> String {
    if from == to {
        format!("at {}", clock(plan, from))
    } else {
        format!("{} to {}", clock(plan, from), clock(plan, to))
    }
}
