//! Commands under way: candidates are deleted once every replacement is initialised, or given back.
//!
//! Source: core `disruption/queue.go`. Each command is looked at once a second from its start. A command that finishes in
//! the very look that finds it too old counts as failed, though its nodes are deleted.

use crate::components::Cx;
use crate::components::karpenter::cluster::disrupted_taint;
use crate::engine::{Span, Time};
use crate::world::{ClaimId, DisruptionReason};
use std::collections::BTreeSet;

/// A command.
#[derive(Clone, Debug)]
pub struct Command {
    /// Its number, from 1.
    pub id: u64,
    /// Why.
    pub reason: DisruptionReason,
    /// Claims to delete.
    pub candidates: Vec<ClaimId>,
    /// Claims to wait for; `true`: was initialised once.
    pub replacements: Vec<(ClaimId, bool)>,
    /// When it started.
    pub started: Time,
    /// When it is looked at next.
    pub next: Time,
}

/// Where a command stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Replacements are not there yet.
    Waiting,
    /// Its nodes are being deleted.
    Succeeded,
    /// Its nodes are free again.
    Failed,
}

/// All commands under way.
#[derive(Clone, Debug, Default)]
pub struct Commands {
    all: Vec<Command>,
    started: u64,
}

impl Commands {
    /// Claims that commands hold.
    pub fn held(&self) -> BTreeSet<ClaimId> {
        self.all.iter().flat_map(|command| command.candidates.iter().copied()).collect()
    }

    /// Those under way.
    pub fn under_way(&self) -> &[Command] {
        &self.all
    }

    /// Adds one and says its number; it is looked at at once.
    pub fn add(
        &mut self,
        now: Time,
        reason: DisruptionReason,
        candidates: Vec<ClaimId>,
        replacements: Vec<ClaimId>,
    ) -> u64 {
        self.started += 1;
        let replacements = replacements.into_iter().map(|claim| (claim, false)).collect();
        self.all.push(Command { id: self.started, reason, candidates, replacements, started: now, next: now });
        self.started
    }

    /// When one has to be looked at.
    pub fn next(&self) -> Option<Time> {
        self.all.iter().map(|command| command.next).min()
    }

    /// Looks at those that are due; where each of them stands.
    pub fn look(&mut self, cx: &mut Cx) -> Vec<(u64, Standing)> {
        let is_due = |command: &&Command| command.next <= cx.now;
        let due: Vec<u64> = self.all.iter().filter(is_due).map(|command| command.id).collect();
        let mut standings = Vec::new();
        for id in due {
            let timeout = timeout(cx, self.all.iter().map(|command| command.candidates.len()).sum());
            let Some(index) = self.all.iter().position(|command| command.id == id) else { continue };
            let command = &mut self.all[index];
            let standing = look(cx, command, timeout);
            standings.push((id, standing));
            if standing == Standing::Waiting {
                command.next = cx.now + cx.plan.flags.karpenter.queue_period;
                continue;
            }
            let command = self.all.remove(index);
            if standing == Standing::Failed {
                release(cx, &command);
            }
        }
        standings
    }
}

/// How long a command may take while the queue holds so many nodes.
fn timeout(cx: &Cx, held: usize) -> Span {
    let flags = &cx.plan.flags.karpenter;
    let (least, most) = flags.command_timeout;
    if flags.version >= (1, 7) { (flags.command_timeout_per_node * held as u64).clamp(least, most) } else { least }
}

fn look(cx: &mut Cx, command: &mut Command, timeout: Span) -> Standing {
    for (claim, initialized) in command.replacements.iter_mut().filter(|(_, initialized)| !*initialized) {
        if cx.world.claim(*claim).gone.is_some() {
            return Standing::Failed;
        }
        *initialized = cx.world.claim(*claim).initialized.is_some();
    }
    let ready = command.replacements.iter().all(|(_, initialized)| *initialized);
    if ready {
        for &claim in &command.candidates {
            cx.world.delete_claim(claim, command.reason);
        }
    }
    if cx.now.since(command.started) > timeout {
        Standing::Failed
    } else if ready {
        Standing::Succeeded
    } else {
        Standing::Waiting
    }
}

/// Gives candidates back: untainted, unmarked.
fn release(cx: &mut Cx, command: &Command) {
    for &claim in &command.candidates {
        let entry = cx.world.claim(claim);
        if entry.gone.is_some() {
            continue;
        }
        if let Some(node) = entry.node.filter(|&node| cx.world.node(node).deleting_since.is_none()) {
            cx.world.remove_taint(node, disrupted_taint());
        }
        cx.world.set_disruption(claim, None);
    }
}
