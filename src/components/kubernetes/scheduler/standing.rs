//! How each node stands to the pods of one template: whether it takes them and how well it would do, as far as other
//! nodes have no part in it.
//!
//! kube-scheduler works that out for every node and pod anew, by sixteen goroutines. Pods of one controller ask the same,
//! and from one of them to the next few nodes change: what was worked out is kept with the version of the node
//! ([`Census::versions`]) and worked out again when the node has another. What pods elsewhere have a part in (spreading
//! over domains, affinity, normalisation) is no part of it.
//!
//! [`Census::versions`]: crate::world::census::Census::versions

use super::filters::{Filters, Refusal};
use super::scores::Appraisal;
use crate::world::{NodeId, Owner};

/// How one node that takes a pod stands to it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Standing {
    /// LeastAllocated, 0..100.
    pub least: i32,
    /// Sum of the weights of preferred node affinity that match.
    pub preferred: i32,
    /// Pods on it that a soft constraint by host counts.
    pub held: u32,
    /// PreferNoSchedule taints that the pod does not tolerate.
    pub preferences: u32,
    /// BalancedAllocation, 0..100.
    pub balanced: i32,
}

/// What is kept of one node, each with the version of the node for which it holds; 0: none.
#[derive(Clone, Copy, Debug, Default)]
struct Kept {
    asked: u32,
    /// Why it does not take the pod.
    refusal: Option<Refusal>,
    appraised: u32,
    /// Worked out only where several nodes take the pod.
    standing: Standing,
}

/// The standings of all nodes to the pods of one template and controller.
#[derive(Clone, Debug, Default)]
pub struct Standings {
    owner: Option<Owner>,
    nodes: Vec<Kept>,
}

impl Standings {
    /// For pods of this controller from now on, on a cluster of so many nodes (gone ones included).
    pub fn turn_to(&mut self, owner: Owner, nodes: usize) {
        if self.owner != Some(owner) {
            self.owner = Some(owner);
            self.nodes.clear();
        }
        if self.nodes.len() < nodes {
            self.nodes.resize(nodes, Kept::default());
        }
    }

    /// Why a node does not take the pod now that it has a version.
    #[inline]
    pub fn refusal(&mut self, filters: &Filters, node: NodeId, version: u32) -> Option<Refusal> {
        let kept = &mut self.nodes[node.index()];
        if kept.asked != version {
            kept.ask(filters, node, version);
        }
        kept.refusal
    }

    /// How a node that takes the pod stands now that it has a version.
    #[inline]
    pub fn of<'a>(&mut self, filters: &Filters<'a>, appraisal: &Appraisal<'a>, node: NodeId, version: u32) -> Standing {
        let kept = &mut self.nodes[node.index()];
        if kept.appraised != version {
            kept.standing = appraisal.appraise(filters, node);
            kept.appraised = lasting(filters, node, version);
        }
        kept.standing
    }

    /// Nodes that pods are assumed on are worked out anew.
    pub fn doubt(&mut self, nodes: impl Iterator<Item = NodeId>) {
        nodes.for_each(|node| (self.nodes[node.index()].asked, self.nodes[node.index()].appraised) = (0, 0));
    }
}

impl Kept {
    #[cold]
    #[inline(never)]
    fn ask(&mut self, filters: &Filters, node: NodeId, version: u32) {
        self.refusal = filters.check_node(node).err();
        self.asked = lasting(filters, node, version);
    }
}

/// What pods have a part in that the world does not know on the node yet holds for once only.
fn lasting(filters: &Filters, node: NodeId, version: u32) -> u32 {
    if filters.view.assumed.is_on(node) { 0 } else { version }
}

#[cfg(test)]
mod tests;
