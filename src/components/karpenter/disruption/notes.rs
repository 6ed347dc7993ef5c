//! What the loop has to say of nodes and pools: the events that Karpenter would publish, kept only when asked for.
//!
//! Source: core `disruption/events/events.go`.

use super::method::Method;
use super::simulation::Move;
use crate::plan::NodePoolId;
use crate::record::{Reason, Subject, Verdict, VerdictKind};
use crate::world::NodeId;

/// Verdicts of a pass, in the order in which they were given.
#[derive(Clone, Debug, Default)]
pub struct Notes {
    kept: bool,
    /// All of them; empty when nobody asks.
    pub verdicts: Vec<Verdict>,
    /// Commands that were started, with their numbers; empty when nobody asks.
    pub started: Vec<(u64, Method, Move)>,
    /// What no event of Karpenter says, and people ask: budgets that are used up by disruptions under way.
    pub used_up: Vec<Verdict>,
}

impl Notes {
    /// Keeps verdicts, or not.
    pub fn new(kept: bool) -> Notes {
        Notes { kept, verdicts: Vec::new(), started: Vec::new(), used_up: Vec::new() }
    }

    /// Somebody reads them.
    pub fn are_kept(&self) -> bool {
        self.kept
    }

    /// It is no candidate, or its pods find no place.
    pub fn blocked(&mut self, node: NodeId, reason: impl FnOnce() -> Reason) {
        self.add(Subject::Node(node), VerdictKind::Blocked, reason);
    }

    /// It cannot be consolidated.
    pub fn unconsolidatable(&mut self, node: NodeId, reason: impl FnOnce() -> Reason) {
        self.add(Subject::Node(node), VerdictKind::Unconsolidatable, reason);
    }

    /// The validation of its command failed.
    pub fn rejected(&mut self, node: NodeId, reason: impl FnOnce() -> Reason) {
        self.add(Subject::Node(node), VerdictKind::Rejected, reason);
    }

    /// The budgets of a pool allow nothing.
    pub fn pool_blocked(&mut self, pool: NodePoolId, reason: impl FnOnce() -> Reason) {
        self.add(Subject::Pool(pool), VerdictKind::Blocked, reason);
    }

    /// The budgets of a pool allow disruptions, but as many are under way.
    pub fn used_up(&mut self, pool: NodePoolId, reason: impl FnOnce() -> Reason) {
        if self.kept {
            self.used_up.push(Verdict { subject: Subject::Pool(pool), kind: VerdictKind::Blocked, reason: reason() });
        }
    }

    /// A command was started.
    pub fn started(&mut self, id: u64, method: Method, found: &Move) {
        if self.kept {
            self.started.push((id, method, found.clone()));
        }
    }

    fn add(&mut self, subject: Subject, kind: VerdictKind, reason: impl FnOnce() -> Reason) {
        if self.kept {
            self.verdicts.push(Verdict { subject, kind, reason: reason() });
        }
    }
}

/// The first letter large, as events begin.
pub fn sentence(text: &str) -> Reason {
    let mut letters = text.chars();
    let first = letters.next().map(|letter| letter.to_ascii_uppercase());
    Reason::Text(first.into_iter().chain(letters).collect())
}
