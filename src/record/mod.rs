//! What happened: the stream of facts that every output is made of.
//!
//! In: one change of the world at a time. Out: an append-only list of facts, plus the few values that a change does not
//! carry and that outputs need (what an autoscaler saw). Charts, CSV, summaries and checks are readers of this list.

pub mod decision;

pub use decision::Decision;

use crate::engine::Time;
use crate::plan::HpaId;
use crate::world::{Change, HpaStatus, World};

/// One fact.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fact {
    /// When.
    pub at: Time,
    /// What.
    pub change: Change,
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
    /// Explanations of decisions, in order.
    pub explanations: Vec<(Time, String)>,
    /// Decisions with all that their controllers saw, in order.
    pub decisions: Vec<(Time, Decision)>,
}

impl Recorder {
    /// An empty record.
    pub fn new(detail: Detail) -> Recorder {
        Recorder { detail, facts: Vec::new(), hpa_syncs: Vec::new(), explanations: Vec::new(), decisions: Vec::new() }
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
            self.explanations.push((at, text()));
        }
    }

    /// Adds a decision, if they are kept.
    pub fn decide(&mut self, at: Time, decision: impl FnOnce() -> Decision) {
        if self.detail == Detail::Explain {
            self.decisions.push((at, decision()));
        }
    }
}
