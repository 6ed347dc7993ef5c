//! Attempts of the scheduler, and the probes and health checks that decided.

use super::{NAMES_MAX, Page};
use crate::engine::Time;
use crate::record::decision::{Attempt, Checked, Ended, Scored};
use crate::render::text::plural;

impl Page<'_> {
    /// An attempt; `again`: how often it ended the same way in a row, and when for the last time.
    pub(super) fn attempt(&mut self, at: Time, attempt: &Attempt, again: Option<(usize, Time)>) {
        let pod = self.world.pod_name(attempt.pod);
        match &attempt.ended {
            Ended::Node { node, .. } => {
                let text = format!("kube-scheduler puts pod {pod} on node {}", self.node(*node));
                self.heading(at, &text);
            }
            Ended::Nowhere { says, preempts } => {
                let times = again.map(|(count, last)| format!(" ({count} times, until {})", self.clock(last)));
                let text = format!("kube-scheduler finds no node for pod {pod}{}", times.unwrap_or_default());
                self.heading(at, &text);
                self.fact("its event", &format!("FailedScheduling: {says}"));
                if let Some((node, victims)) = preempts {
                    let (node, victims) = (self.node(*node), self.names(victims));
                    self.fact("preempts", &format!("deletes {victims} on node {node}, and waits until that is gone"));
                }
            }
        }
        self.rejected(attempt);
        self.chosen(attempt);
    }

    fn rejected(&mut self, attempt: &Attempt) {
        for (index, one) in attempt.rejected.iter().enumerate() {
            let label = if index == 0 { "rejected" } else { "" };
            let who = if one.nodes.is_empty() { String::new() } else { format!(": {}", self.nodes(&one.nodes)) };
            let reason = one.reason.strip_prefix("node(s) ").unwrap_or(&one.reason);
            self.fact(label, &format!("{} by {} ({reason}){who}", plural(one.count, "node"), one.plugin));
        }
    }

    fn chosen(&mut self, attempt: &Attempt) {
        let Ended::Node { equals, nominated, .. } = attempt.ended else { return };
        if nominated {
            self.fact("why", "pods were deleted there to make room for it: no other node is asked");
            return;
        }
        if attempt.best.is_empty() {
            let others = attempt.nodes - attempt.passed;
            let text = if others == 0 { "it is the only node" } else { "it is the only node that passes" };
            self.fact("why", text);
            return;
        }
        let tie = if equals > 1 { format!("; {equals} share the highest score, one is drawn") } else { String::new() };
        self.fact("why", &format!("the best of {} that pass{tie}", plural(attempt.passed, "node")));
        for (index, scored) in attempt.best.iter().enumerate() {
            let label = if index == 0 { "scores" } else { "" };
            let text = format!("{} at {}: {}", scored.total, self.node(scored.node), sum(scored));
            self.fact(label, &text);
        }
        let untold = attempt.passed - attempt.best.len();
        if untold > 0 {
            self.fact("", &format!("and {untold} more that score no better than the last of these"));
        }
    }

    /// Probes, or health checks of these nodes of the load balancer, that decided.
    pub(super) fn checked(&mut self, at: Time, checked: &Checked, nodes: &[usize]) {
        let who = match checked.target {
            Some((target, _)) => {
                let entry = &self.world.targets[target.index()];
                format!("target {}:{}", entry.address, entry.port)
            }
            None => format!("pod {}", self.world.pod_name(checked.pod)),
        };
        let verb = if checked.passed { "passes" } else { "fails" };
        self.heading(at, &format!("{who} {verb}: {}", checked.consequence));
        let nodes: Vec<String> = nodes.iter().map(ToString::to_string).collect();
        let by = match nodes.as_slice() {
            [] => String::new(),
            [one] => format!(" of load-balancer node {one}"),
            several => format!(" of load-balancer nodes {}", several.join(", ")),
        };
        self.fact("asked by", &format!("{}{by}", checked.what));
        let skipped = checked.attempts.len().saturating_sub(NAMES_MAX);
        let told = checked.attempts.iter().skip(skipped);
        let told: Vec<String> = told.map(|tried| format!("{} {}", self.clock(tried.at), tried.outcome)).collect();
        let earlier = if skipped > 0 { format!("{skipped} more, then ") } else { String::new() };
        self.fact("attempts", &format!("{earlier}{}; it takes {} in a row", told.join(", "), checked.threshold));
    }
}

/// `TaintToleration 100 x 3 + NodeResourcesFit 45`: what each plugin gives times its weight.
fn sum(scored: &Scored) -> String {
    let terms = scored.scores.iter().map(|(plugin, score, weight)| match weight {
        1 => format!("{plugin} {score}"),
        weight => format!("{plugin} {score} x {weight}"),
    });
    terms.collect::<Vec<_>>().join(" + ")
}
