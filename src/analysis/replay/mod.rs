//! A run against a recording of a real control plane: what happened in both, in one form, and how they differ.
//!
//! ```text
//!  Recording (rows) ──observed.rs───┐
//!                                   ├─► Timeline: happenings, and what must be equal ──compare.rs──► Comparison
//!  World, Recorder ───predicted.rs──┘
//! ```
//! Names are given at random in a cluster, so things are told apart by their place in the order of their kind.

mod causes;
pub mod compare;
mod observed;
mod predicted;

pub use compare::{Chain, Comparison, KindResult, ListResult, Noise, Row, Side, compare};
pub use observed::observed;
pub use predicted::{LOOK_KNOWN, predicted};

use crate::engine::{Span, Time};
use crate::plan::{NodeChoice, Plan};
use std::collections::{BTreeMap, BTreeSet};

/// What can happen in a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The recorder's script did something. Detail: its words.
    Action,
    /// An autoscaler reconciled.
    Synced,
    /// And was done: its status was written.
    SyncEnded,
    /// `spec.replicas` of a Deployment changed. Detail: from and to.
    Scaled,
    /// A pod was created.
    PodCreated,
    /// The scheduler found no place for a pod.
    PodUnschedulable,
    /// A pod was bound. Detail: its node.
    PodScheduled,
    /// A pod's kubelet took notice of it.
    PodAcknowledged,
    /// A pod runs.
    PodRunning,
    /// A pod is Ready.
    PodReady,
    /// An eviction of a pod was refused.
    EvictionRefused,
    /// Deletion of a pod was asked for. Detail: who did it, if that was no controller of its own.
    PodDeleting,
    /// A pod is gone.
    PodGone,
    /// Karpenter's provisioner closed a batch.
    BatchClosed,
    /// A NodeClaim was created. Detail: requests and how many types.
    ClaimCreated,
    /// It has its instance. Detail: the type.
    ClaimLaunched,
    /// Its node is registered.
    ClaimRegistered,
    /// It is initialized.
    ClaimInitialized,
    /// It may be consolidated.
    ClaimConsolidatable,
    /// Deletion of a NodeClaim was asked for.
    ClaimDeleting,
    /// It is gone.
    ClaimGone,
    /// A Node object appeared. Detail: its type.
    NodeCreated,
    /// A node is Ready.
    NodeReady,
    /// Its taints changed.
    NodeTaints,
    /// Deletion of a Node was asked for.
    NodeDeleting,
    /// It is gone.
    NodeGone,
    /// A disruption command started. Subject: its reason. Detail: decision, candidates, replacement.
    Command,
}

impl Kind {
    /// Kinds that are compared, in the order of a report.
    pub const COMPARED: [Kind; 21] = [
        Kind::Synced,
        Kind::Scaled,
        Kind::PodCreated,
        Kind::PodScheduled,
        Kind::PodAcknowledged,
        Kind::PodRunning,
        Kind::PodReady,
        Kind::PodDeleting,
        Kind::PodGone,
        Kind::BatchClosed,
        Kind::ClaimCreated,
        Kind::ClaimLaunched,
        Kind::ClaimRegistered,
        Kind::ClaimInitialized,
        Kind::ClaimDeleting,
        Kind::ClaimGone,
        Kind::NodeCreated,
        Kind::NodeReady,
        Kind::NodeDeleting,
        Kind::NodeGone,
        Kind::Command,
    ];

    /// In words, and counted from what.
    pub const fn name(self) -> (&'static str, &'static str) {
        match self {
            Kind::Action => ("action", ""),
            Kind::Synced => ("autoscaler sync", "end of that before"),
            Kind::SyncEnded => ("autoscaler sync ended", ""),
            Kind::Scaled => ("replicas changed", "the sync, the action"),
            Kind::PodCreated => ("pod created", "scale, loss, action"),
            Kind::PodUnschedulable => ("pod unschedulable", ""),
            Kind::PodScheduled => ("pod scheduled", "created, node ready"),
            Kind::PodAcknowledged => ("pod acknowledged", "scheduled, turn"),
            Kind::PodRunning => ("pod running", "acknowledged"),
            Kind::PodReady => ("pod ready", "running"),
            Kind::EvictionRefused => ("eviction refused", ""),
            Kind::PodDeleting => ("pod deleting", "scale, drain, taint"),
            Kind::PodGone => ("pod gone", "deleting"),
            Kind::BatchClosed => ("batch closed", "last pending pod"),
            Kind::ClaimCreated => ("claim created", "batch, command"),
            Kind::ClaimLaunched => ("claim launched", "created"),
            Kind::ClaimRegistered => ("claim registered", "node created"),
            Kind::ClaimInitialized => ("claim initialized", "node ready, look"),
            Kind::ClaimConsolidatable => ("consolidatable", ""),
            Kind::ClaimDeleting => ("claim deleting", "command, its look"),
            Kind::ClaimGone => ("claim gone", "node gone"),
            Kind::NodeCreated => ("node created", "launched"),
            Kind::NodeReady => ("node ready", "node created"),
            Kind::NodeTaints => ("taints changed", ""),
            Kind::NodeDeleting => ("node deleting", "claim deleting"),
            Kind::NodeGone => ("node gone", "last pod gone"),
            Kind::Command => ("disruption command", "consolidatable"),
        }
    }
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Happening {
    /// Microseconds since the trigger.
    pub at: i64,
    /// What.
    pub kind: Kind,
    /// To what: a name that is used for nothing else.
    pub subject: String,
    /// What else is known.
    pub detail: String,
}

/// Something so near to a boundary that it may lie on its other side, and all that follows a period of a loop later.
#[derive(Clone, Debug, PartialEq)]
pub struct Near {
    /// Microseconds since the trigger.
    pub at: i64,
    /// How far off the boundary is, as a part of how far off it may be.
    pub distance: f64,
    /// What was near to what.
    pub words: String,
    /// Of the loop.
    pub period: Span,
}

/// All that happened, in order of time, and what of it must be equal.
#[derive(Clone, Debug, Default)]
pub struct Timeline {
    /// In order.
    pub happenings: Vec<Happening>,
    /// Changes of `spec.replicas`.
    pub scales: Vec<String>,
    /// NodeClaims, batch by batch.
    pub batches: Vec<String>,
    /// Disruption commands.
    pub commands: Vec<String>,
    /// Evicted pods of each node that lost any, largest first.
    pub evicted: Vec<String>,
    /// What is there at the end.
    pub ended: Vec<String>,
    /// Decisions near a boundary.
    pub near: Vec<Near>,
    /// Evictions that rested in the API server because they met another one: until when, whose, and for how long,
    /// microseconds.
    pub rests: Vec<(i64, String, i64)>,
}

/// Wherever an action says how many pods a node of Karpenter's held, there is one that holds as many.
pub fn agrees_with_actions(plan: &Plan, timeline: &Timeline, trigger: Time) -> bool {
    let said = plan.actions.iter().filter_map(|action| Some((action.at, action.kind.node()?)));
    let mut meant = BTreeSet::new();
    said.filter_map(|(at, choice)| match choice {
        // Later the same name is the same node, whatever it holds.
        NodeChoice::Recorded { claim, pods } if meant.insert(*claim) => Some((at, (*pods)?)),
        _ => None,
    })
    .all(|(at, pods)| {
        let until = at.micros() as i64 - trigger.micros() as i64;
        timeline.pods_by_node(until).values().any(|&count| count == pods)
    })
}

/// NodeClaims that are created within so many microseconds of each other belong to one batch.
const BATCH_MICROS: i64 = 1_000_000;

/// All pods must be Ready for so long, microseconds.
const STEP_MICROS: i64 = 1_000_000;

impl Timeline {
    /// Sorts happenings and reads from them what must be equal.
    fn of(mut happenings: Vec<Happening>) -> Timeline {
        happenings.sort_by_key(|one| one.at);
        keep_fruitful_batches(&mut happenings);
        let of_kind = |kind: Kind| happenings.iter().filter(move |one| one.kind == kind);
        let scales = of_kind(Kind::Scaled).map(|one| format!("{} {}", one.subject, one.detail)).collect();
        let batches = batches(&happenings);
        let commands = commands(&happenings);
        let (evicted, ended) = (evicted(&happenings), ended(&happenings));
        Timeline { scales, batches, commands, evicted, ended, happenings, near: Vec::new(), rests: Vec::new() }
    }

    /// When after the trigger the last pod that was not Ready became so, and none was created in the second after: steps of a
    /// rollout follow each other within milliseconds, and which comes first is a race.
    pub fn all_ready(&self) -> Vec<i64> {
        let (mut unready, mut times): (BTreeSet<&str>, Vec<i64>) = (BTreeSet::new(), Vec::new());
        for one in &self.happenings {
            match one.kind {
                Kind::PodCreated => {
                    unready.insert(&one.subject);
                    times.pop_if(|ready| one.at - *ready < STEP_MICROS);
                }
                Kind::PodDeleting | Kind::PodGone => drop(unready.remove(one.subject.as_str())),
                Kind::PodReady if unready.remove(one.subject.as_str()) && unready.is_empty() && one.at > 0 => {
                    times.push(one.at);
                }
                _ => {}
            }
        }
        times
    }

    /// Pods bound to each node and not being deleted, just before `until`.
    fn pods_by_node(&self, until: i64) -> BTreeMap<&str, u32> {
        let mut node_of = BTreeMap::new();
        for one in self.happenings.iter().take_while(|one| one.at < until) {
            match one.kind {
                Kind::PodScheduled => drop(node_of.insert(one.subject.as_str(), one.detail.as_str())),
                Kind::PodDeleting | Kind::PodGone => drop(node_of.remove(one.subject.as_str())),
                _ => {}
            }
        }
        node_of.into_values().fold(BTreeMap::new(), |mut counts, node| {
            *counts.entry(node).or_insert(0) += 1;
            counts
        })
    }

    /// A command that was validated before it started: those of consolidation.
    fn is_validated(&self, command: &Happening) -> bool {
        matches!(command.subject.as_str(), "empty" | "underutilized")
    }

    /// Of one kind, in order of time.
    pub fn of_kind(&self, kind: Kind) -> impl Iterator<Item = &Happening> {
        self.happenings.iter().filter(move |one| one.kind == kind)
    }
}

/// Only batches from which NodeClaims came count: the provisioner also looks again while pods wait for their nodes.
fn keep_fruitful_batches(happenings: &mut Vec<Happening>) {
    let claims: Vec<i64> = happenings.iter().filter(|one| one.kind == Kind::ClaimCreated).map(|one| one.at).collect();
    let closes: Vec<i64> = happenings.iter().filter(|one| one.kind == Kind::BatchClosed).map(|one| one.at).collect();
    let next_after = |at: i64| closes.iter().copied().find(|&close| close > at).unwrap_or(i64::MAX);
    happenings.retain(|one| {
        let until = (one.at + BATCH_MICROS).min(next_after(one.at));
        one.kind != Kind::BatchClosed || claims.iter().any(|&claim| claim >= one.at - 10_000 && claim < until)
    });
}

fn batches(happenings: &[Happening]) -> Vec<String> {
    let mut batches: Vec<(i64, Vec<&str>)> = Vec::new();
    for one in happenings.iter().filter(|one| one.kind == Kind::ClaimCreated) {
        match batches.last_mut().filter(|(at, _)| one.at - *at < BATCH_MICROS) {
            Some((_, batch)) => batch.push(&one.detail),
            None => batches.push((one.at, vec![&one.detail])),
        }
    }
    let text = |(_, mut batch): (i64, Vec<&str>)| {
        batch.sort_unstable();
        batch.join("; ")
    };
    batches.into_iter().map(text).collect()
}

/// Commands that start together for one reason are one line: a pass may give each empty node a command of its own.
fn commands(happenings: &[Happening]) -> Vec<String> {
    let mut lines: Vec<(i64, &str, Vec<&str>)> = Vec::new();
    for one in happenings.iter().filter(|one| one.kind == Kind::Command) {
        match lines.last_mut().filter(|(at, reason, _)| one.at - *at < BATCH_MICROS && *reason == one.subject) {
            Some((_, _, all)) => all.push(&one.detail),
            None => lines.push((one.at, &one.subject, vec![&one.detail])),
        }
    }
    let text = |(_, reason, mut all): (i64, &str, Vec<&str>)| {
        all.sort_unstable();
        format!("{reason}: {}", all.join("; "))
    };
    lines.into_iter().map(text).collect()
}

fn evicted(happenings: &[Happening]) -> Vec<String> {
    let (mut node_of, mut counts) = (BTreeMap::new(), BTreeMap::new());
    for one in happenings {
        match one.kind {
            Kind::PodScheduled => drop(node_of.insert(one.subject.as_str(), one.detail.as_str())),
            Kind::PodDeleting if !one.detail.is_empty() => {
                let node = node_of.get(one.subject.as_str()).copied().unwrap_or("");
                *counts.entry((node, one.detail.as_str())).or_insert(0_u32) += 1;
            }
            _ => {}
        }
    }
    let mut lines: Vec<(u32, &str)> = counts.into_iter().map(|((_, why), count)| (count, why)).collect();
    lines.sort_unstable_by(|a, b| b.cmp(a));
    lines.into_iter().map(|(count, why)| format!("{count} by {why}")).collect()
}

/// Pods, Ready pods, nodes and NodeClaims at the end.
fn ended(happenings: &[Happening]) -> Vec<String> {
    let (mut pods, mut ready, mut nodes, mut claims) =
        (BTreeSet::new(), BTreeSet::new(), BTreeMap::new(), BTreeSet::new());
    let mut sizes = BTreeMap::new();
    for one in happenings {
        let subject = one.subject.as_str();
        match one.kind {
            Kind::Scaled => drop(sizes.insert(subject, one.detail.rsplit(' ').next().unwrap_or(""))),
            Kind::PodCreated => drop(pods.insert(subject)),
            Kind::PodReady => drop(ready.insert(subject)),
            Kind::PodDeleting => drop(ready.remove(subject)),
            Kind::PodGone => {
                pods.remove(subject);
                ready.remove(subject);
            }
            Kind::ClaimCreated => drop(claims.insert(subject)),
            Kind::ClaimGone => drop(claims.remove(subject)),
            Kind::NodeCreated => drop(nodes.insert(subject, one.detail.as_str())),
            Kind::NodeGone => drop(nodes.remove(subject)),
            _ => {}
        }
    }
    let mut types: Vec<&str> = nodes.values().copied().collect();
    types.sort_unstable();
    let types = if types.is_empty() { "none".to_string() } else { types.join(", ") };
    let mut lines = vec![
        format!("pods: {}, ready: {}", pods.len(), ready.len()),
        format!("nodes: {types}"),
        format!("claims: {}", claims.len()),
    ];
    lines.extend(sizes.iter().map(|(name, size)| format!("{name}: {size} replicas")));
    lines
}
