//! An attempt of the scheduler as it is told: who refused the pod, how the best of the others scored, how it ended.

use crate::engine::Time;
use crate::world::{NodeId, PodId};

/// One attempt.
#[derive(Clone, Debug, PartialEq)]
pub struct Attempt {
    /// For which pod.
    pub pod: PodId,
    /// When it began.
    pub began: Time,
    /// Nodes that exist.
    pub nodes: usize,
    /// Nodes by the reason for which they were rejected, in the order of the event; one may have several.
    pub rejected: Vec<Rejected>,
    /// Nodes that were tried and passed.
    pub passed: usize,
    /// The best of them, the chosen one first; empty when there was no need to score.
    pub best: Vec<Scored>,
    /// How it ended.
    pub ended: Ended,
}

/// Nodes that were rejected for one reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// The plugin.
    pub plugin: &'static str,
    /// Its reason, in the words of the event.
    pub reason: String,
    /// The nodes; empty if they were not even tried.
    pub nodes: Vec<NodeId>,
    /// How many.
    pub count: usize,
}

/// A node with its scores.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scored {
    /// The node.
    pub node: NodeId,
    /// Plugins with what they give, 0 to 100, and their weights.
    pub scores: Vec<(&'static str, i64, i64)>,
    /// The weighted sum.
    pub total: i64,
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Ended {
    /// On a node.
    Node {
        /// The node.
        node: NodeId,
        /// How many nodes had the highest score.
        equals: usize,
        /// Its victims had left this node for the pod: no other was asked.
        nominated: bool,
    },
    /// Nowhere.
    Nowhere {
        /// The message of its event.
        says: String,
        /// Where pods of lower priority are deleted for it.
        preempts: Option<(NodeId, Vec<PodId>)>,
    },
}

impl Attempt {
    /// Pods that are deleted for it.
    pub fn victims(&self) -> &[PodId] {
        match &self.ended {
            Ended::Nowhere { preempts: Some((_, victims)), .. } => victims,
            Ended::Nowhere { preempts: None, .. } | Ended::Node { .. } => &[],
        }
    }

    /// The node it ended on, or is to end on.
    pub const fn node(&self) -> Option<NodeId> {
        match &self.ended {
            Ended::Node { node, .. } | Ended::Nowhere { preempts: Some((node, _)), .. } => Some(*node),
            Ended::Nowhere { preempts: None, .. } => None,
        }
    }

    /// Both found no place, for the same pod and the same reasons.
    pub fn repeats(&self, other: &Attempt) -> bool {
        let waits = |attempt: &Attempt| matches!(attempt.ended, Ended::Nowhere { preempts: None, .. });
        waits(self) && self.pod == other.pod && self.ended == other.ended
    }
}
