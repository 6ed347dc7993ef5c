//! What happened: the stream of facts that every output is made of.
//!
//! In: one change of the world at a time. Out: an append-only list of facts, plus the few values that a change does not
//! carry and that outputs need (what an autoscaler saw). Charts, CSV, summaries and checks are readers of this list.

pub mod decision;
pub mod recording;

pub use decision::Decision;
pub use recording::{RecordedRow, Recording};

use crate::engine::{Span, Time};
use crate::plan::{ActionId, FaultId, HpaId, NodePoolId};
use crate::world::{Change, HpaStatus, NodeId, PodId, World};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// One fact.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fact {
    /// When.
    pub at: Time,
    /// What.
    pub change: Change,
}

/// What Karpenter's disruption says of a node or a NodePool, as its events would.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Of what.
    pub subject: Subject,
    /// What it comes to.
    pub kind: VerdictKind,
    /// Why.
    pub reason: Reason,
}

/// What a verdict is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// A node.
    Node(NodeId),
    /// A NodePool.
    Pool(NodePoolId),
}

/// Kinds of verdicts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum VerdictKind {
    /// Event DisruptionBlocked: it is no candidate, or its pods would find no place.
    Blocked,
    /// Event Unconsolidatable.
    Unconsolidatable,
    /// Event ConsolidationRejected: the validation failed.
    Rejected,
}

/// Why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// In the words of the event.
    Text(String),
    /// These pods would not be scheduled; `true`: one of them only on a node that is not initialized.
    Unplaced(Vec<PodId>, bool),
}

impl Verdict {
    /// The text of the event.
    pub fn text(&self, world: &World) -> String {
        match &self.reason {
            Reason::Text(text) => text.clone(),
            Reason::Unplaced(pods, uninitialized) => {
                let names: Vec<String> = pods.iter().map(|&pod| world.pod_name(pod)).collect();
                let how = if *uninitialized { " but on nodes that are not initialized" } else { "" };
                format!("Not all pods would schedule, there is no place for {}{how}", names.join(", "))
            }
        }
    }
}

/// A scripted action that found nothing, or less than it meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shortfall {
    /// When.
    pub at: Time,
    /// Which.
    pub action: ActionId,
    /// It did nothing at all.
    pub in_vain: bool,
    /// Why.
    pub why: String,
}

impl Shortfall {
    /// `in vain` or `in part`.
    pub const fn words(&self) -> &'static str {
        if self.in_vain { "in vain" } else { "in part" }
    }
}

/// How much is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// Facts only.
    Facts,
    /// Facts and the explanations of decisions.
    Explain,
}

/// The record of a run.
#[derive(Clone, Debug)]
pub struct Recorder {
    detail: Detail,
    /// All facts, in order.
    pub facts: Vec<Fact>,
    /// What each sync of an autoscaler saw and did.
    pub hpa_syncs: Vec<(Time, HpaId, HpaStatus)>,
    /// Evictions that the API server refused, in order.
    pub refused_evictions: Vec<(Time, PodId)>,
    /// Scripted actions that found nothing, or less than they meant.
    pub shortfalls: Vec<Shortfall>,
    /// Faults that found nothing to hit.
    pub idle_faults: Vec<(Time, FaultId)>,
    /// Evictions that met another one at their budget: until when the API server rests before it tries them again, and how
    /// long.
    pub rested_evictions: Vec<(Time, PodId, Span)>,
    /// Pods for which Karpenter, or without NodePools the scheduler, had no node when it last tried: when, and why.
    pub unplaced: BTreeMap<PodId, (Time, Cow<'static, str>)>,
    /// Explanations of decisions, in order.
    pub explanations: Vec<(Time, String)>,
    /// Decisions with all that their controllers saw, in order.
    pub decisions: Vec<(Time, Decision)>,
    /// What disruption said of nodes and pools, each time it said something else; only with explanations.
    pub verdicts: Vec<(Time, Verdict)>,
    latest: BTreeMap<(Subject, VerdictKind), usize>,
    /// When each thing was last said of a pool.
    said: Vec<(Verdict, Time)>,
}

/// What is said of a pool again and again counts as one until it was not said for so long.
const SILENCE: Span = Span::from_secs(60);

impl Recorder {
    /// An empty record.
    pub fn new(detail: Detail) -> Recorder {
        Recorder {
            detail,
            // A short run has about so many: it need not move them as they come.
            facts: Vec::with_capacity(1024),
            hpa_syncs: Vec::new(),
            refused_evictions: Vec::new(),
            shortfalls: Vec::new(),
            idle_faults: Vec::new(),
            rested_evictions: Vec::new(),
            unplaced: BTreeMap::new(),
            explanations: Vec::new(),
            decisions: Vec::new(),
            verdicts: Vec::new(),
            latest: BTreeMap::new(),
            said: Vec::new(),
        }
    }

    /// Explanations are kept.
    pub fn explains(&self) -> bool {
        self.detail == Detail::Explain
    }

    /// How a scripted action fell short, if it did; in vain comes first.
    pub fn shortfall_of(&self, action: ActionId) -> Option<&Shortfall> {
        self.shortfalls.iter().filter(|one| one.action == action).min_by_key(|one| !one.in_vain)
    }

    /// Adds a verdict, if they are kept and it is not what was said last. Of a pool several things are said in each pass, one
    /// a reason for disruption.
    pub fn judge(&mut self, at: Time, verdict: &Verdict) {
        if self.explains() && matches!(verdict.subject, Subject::Pool(_)) {
            let Some((_, last)) = self.said.iter_mut().find(|(said, _)| said == verdict) else {
                self.said.push((verdict.clone(), at));
                self.verdicts.push((at, verdict.clone()));
                return;
            };
            let silent = at.since(std::mem::replace(last, at));
            if silent > SILENCE {
                self.verdicts.push((at, verdict.clone()));
            }
            return;
        }
        let key = (verdict.subject, verdict.kind);
        let known = self.latest.get(&key).is_some_and(|&index| self.verdicts[index].1.reason == verdict.reason);
        if self.explains() && !known {
            self.latest.insert(key, self.verdicts.len());
            self.verdicts.push((at, verdict.clone()));
        }
    }

    /// Adds a fact.
    pub fn push(&mut self, at: Time, change: Change, world: &World) {
        if let Change::HpaSynced(hpa) = change {
            self.hpa_syncs.push((at, hpa, world.hpas[hpa.index()].status));
        }
        self.facts.push(Fact { at, change });
    }

    /// Adds an explanation, if they are kept.
    pub fn explain(&mut self, at: Time, text: impl FnOnce() -> String) {
        if self.detail == Detail::Explain {
            self.keep_explanation(at, text);
        }
    }

    /// Out of the way of runs that keep none, as is [`Self::keep_decision`]: what makes a text is long.
    #[cold]
    #[inline(never)]
    fn keep_explanation(&mut self, at: Time, text: impl FnOnce() -> String) {
        self.explanations.push((at, text()));
    }

    /// Adds a decision, if they are kept.
    pub fn decide(&mut self, at: Time, decision: impl FnOnce() -> Decision) {
        if self.detail == Detail::Explain {
            self.keep_decision(at, decision);
        }
    }

    #[cold]
    #[inline(never)]
    fn keep_decision(&mut self, at: Time, decision: impl FnOnce() -> Decision) {
        self.decisions.push((at, decision()));
    }
}
