//! The ways to disrupt nodes: their order, what they are called, which candidates they take.
//!
//! Source: core `disruption/controller.go` (`NewMethods`), and `ShouldDisrupt` of each method.

use super::candidates::{Candidate, Class, is_occupied};
use super::notes::Notes;
use crate::components::karpenter::cluster::burdens::Burdens;
use crate::components::karpenter::provisioner::memo::NodeOffering;
use crate::plan::{ConsolidationPolicy, NodePoolSpec};
use crate::record::Reason;
use crate::rules::requirements::{CAPACITY_TYPE, INSTANCE_TYPE, ZONE};
use crate::world::{DisruptionReason, NodeClaim, NodeId, World};

/// A way to disrupt nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Method {
    /// v1beta1: nodes past `expireAfter`, one at a time, with replacement.
    Expiration,
    /// Nodes without pods, all at once.
    Emptiness,
    /// v1beta1: the same for pools whose policy is not WhenEmpty.
    EmptyNodes,
    /// Nodes of static pools that differ from their pool, one for one.
    StaticDrift,
    /// Nodes that differ from their pool, one at a time, with replacement.
    Drift,
    /// Several nodes for at most one.
    MultiNode,
    /// One node for at most one.
    SingleNode,
}

impl Method {
    /// How many there are.
    pub const COUNT: usize = Method::SingleNode as usize + 1;

    /// The order of a release.
    pub const fn order(version: (u32, u32)) -> &'static [Method] {
        use Method::{Drift, Emptiness, EmptyNodes, Expiration, MultiNode, SingleNode, StaticDrift};
        match version {
            (0, _) => &[Expiration, Drift, Emptiness, EmptyNodes, MultiNode, SingleNode],
            (1, 0..5) => &[Drift, Emptiness, MultiNode, SingleNode],
            (1, 5..8) => &[Emptiness, Drift, MultiNode, SingleNode],
            _ => &[Emptiness, StaticDrift, Drift, MultiNode, SingleNode],
        }
    }

    /// What the claims are told.
    pub const fn reason(self) -> DisruptionReason {
        match self {
            Method::Expiration => DisruptionReason::Expired,
            Method::StaticDrift | Method::Drift => DisruptionReason::Drifted,
            Method::Emptiness | Method::EmptyNodes => DisruptionReason::Empty,
            Method::MultiNode | Method::SingleNode => DisruptionReason::Underutilized,
        }
    }

    /// As people call it.
    pub const fn title(self) -> &'static str {
        match self {
            Method::Expiration => "expiration",
            Method::StaticDrift | Method::Drift => "drift",
            Method::Emptiness | Method::EmptyNodes => "emptiness",
            Method::MultiNode => "multi-node consolidation",
            Method::SingleNode => "single-node consolidation",
        }
    }

    /// The reason that budgets name.
    pub const fn budget_reason(self) -> &'static str {
        match self {
            Method::Expiration => "Expired",
            Method::StaticDrift | Method::Drift => "Drifted",
            Method::Emptiness | Method::EmptyNodes => "Empty",
            Method::MultiNode | Method::SingleNode => "Underutilized",
        }
    }

    /// What may stop it.
    pub const fn class(self) -> Class {
        match self {
            Method::Expiration | Method::StaticDrift | Method::Drift => Class::Eventual,
            Method::Emptiness | Method::EmptyNodes | Method::MultiNode | Method::SingleNode => Class::Graceful,
        }
    }

    /// Its commands wait fifteen seconds and are validated, and it remembers that it found nothing.
    pub fn consolidates(self, version: (u32, u32)) -> bool {
        match self {
            Method::Emptiness => version >= (1, 0),
            Method::EmptyNodes | Method::MultiNode | Method::SingleNode => true,
            Method::Expiration | Method::StaticDrift | Method::Drift => false,
        }
    }

    /// Whether a claim may pass the filter, whatever runs on its node: most do not, and this is cheap to ask.
    pub fn concerns(self, world: &World, claim: &NodeClaim) -> bool {
        match self {
            Method::Expiration => world.node_pools[claim.pool.index()].v1beta1,
            Method::StaticDrift | Method::Drift => claim.drifted.is_some(),
            Method::Emptiness | Method::EmptyNodes | Method::MultiNode | Method::SingleNode => {
                claim.consolidatable.is_some()
            }
        }
    }

    /// As [`Method::concerns`], with what runs on the claim's node: where this says no, the filter of the method does.
    pub fn may_accept(self, world: &World, burdens: &Burdens, claim: &NodeClaim, node: NodeId) -> bool {
        self.concerns(world, claim) && !(self.wants_empty() && is_occupied(world, burdens, node))
    }

    /// It takes nodes on which nothing of weight runs, and no others.
    pub const fn wants_empty(self) -> bool {
        matches!(self, Method::Emptiness | Method::EmptyNodes)
    }

    /// The filter of the method.
    pub fn accepts(self, world: &World, version: (u32, u32), candidate: &Candidate, notes: &mut Notes) -> bool {
        let claim = world.claim(candidate.claim);
        let pool = &world.node_pools[candidate.pool.index()];
        let fixed = pool.replicas.is_some();
        match self {
            Method::Expiration => {
                let age = world.now.since(claim.created.whole_second());
                pool.v1beta1 && claim.expire_after.is_some_and(|after| age >= after)
            }
            Method::StaticDrift => fixed && claim.drifted.is_some(),
            Method::Drift => {
                let left_to_emptiness = candidate.is_empty(version) && matches!(version, (1, 5 | 6));
                !fixed && claim.drifted.is_some() && !left_to_emptiness
            }
            Method::Emptiness | Method::EmptyNodes if fixed => false,
            Method::Emptiness if !pool.v1beta1 => {
                let enabled = pool.consolidate_after.is_some();
                if !enabled {
                    let text = || format!("NodePool {:?} has consolidation disabled", pool.name);
                    notes.unconsolidatable(candidate.node, || Reason::Text(text()));
                }
                enabled && candidate.is_empty(version) && claim.consolidatable.is_some()
            }
            Method::Emptiness | Method::EmptyNodes => {
                let when_empty = pool.consolidation_policy == ConsolidationPolicy::WhenEmpty;
                let own = pool.v1beta1 && when_empty == (self == Method::Emptiness);
                own && candidate.is_empty(version) && claim.consolidatable.is_some()
            }
            Method::MultiNode | Method::SingleNode if fixed => false,
            Method::MultiNode | Method::SingleNode => match turned_down(world, version, candidate) {
                Some(Turned::Because(text)) => {
                    notes.unconsolidatable(candidate.node, || Reason::Text(text));
                    false
                }
                Some(Turned::Quietly) => false,
                None => claim.consolidatable.is_some(),
            },
        }
    }

    /// Whether consolidation of one or several nodes takes a node that such was bought for, if pods run there: the filter of both
    /// turns down none of it.
    pub fn consolidates_plainly(pool: &NodePoolSpec, offering: NodeOffering) -> bool {
        pool.replicas.is_none()
            && offering.instance_type.is_some()
            && offering.has_capacity_type
            && offering.has_zone
            && (pool.consolidate_after.is_some() || pool.v1beta1)
            && pool.consolidation_policy != ConsolidationPolicy::WhenEmpty
    }

    /// Candidates in its order: the best saving first (or the least disruption before 1.14), the longest drifted first.
    pub fn sort(self, world: &World, version: (u32, u32), candidates: &mut [Candidate]) {
        match self {
            Method::StaticDrift => {}
            Method::Expiration | Method::Drift => candidates.sort_by_key(|one| {
                let claim = world.claim(one.claim);
                claim.drifted.unwrap_or(claim.created).whole_second()
            }),
            Method::Emptiness | Method::EmptyNodes | Method::MultiNode | Method::SingleNode => {
                if version >= (1, 14) {
                    candidates.sort_by(|one, two| two.savings_ratio().total_cmp(&one.savings_ratio()));
                } else {
                    candidates.sort_by(|one, two| one.legacy.total_cmp(&two.legacy));
                }
            }
        }
    }
}

/// Why a candidate is none for consolidation.
enum Turned {
    /// Emptiness will see to it: nobody is told.
    Quietly,
    /// In the words of the event.
    Because(String),
}

fn turned_down(world: &World, version: (u32, u32), candidate: &Candidate) -> Option<Turned> {
    let pool = &world.node_pools[candidate.pool.index()];
    let name = &pool.name;
    let because = |text: String| Some(Turned::Because(text));
    if candidate.instance_type.is_none() {
        let label = world.node(candidate.node).labels.get(INSTANCE_TYPE).unwrap_or_default();
        return because(format!("Instance Type {label:?} not found"));
    }
    if !candidate.has_capacity_type {
        return because(format!("Node does not have label {CAPACITY_TYPE:?}"));
    }
    if !candidate.has_zone {
        return because(format!("Node does not have label {ZONE:?}"));
    }
    if pool.consolidate_after.is_none() && !pool.v1beta1 {
        return because(format!("NodePool {name:?} has consolidation disabled"));
    }
    if candidate.is_empty(version) {
        return Some(Turned::Quietly);
    }
    if pool.consolidation_policy == ConsolidationPolicy::WhenEmpty {
        return because(format!("NodePool {name:?} has consolidation policy WhenEmpty, but node is not empty"));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drift_comes_first_until_1_4_and_after_emptiness_since() {
        assert_eq!(Method::order((0, 37))[..2], [Method::Expiration, Method::Drift]);
        assert_eq!(Method::order((1, 4))[0], Method::Drift);
        assert_eq!(Method::order((1, 5))[..2], [Method::Emptiness, Method::Drift]);
        assert_eq!(Method::order((1, 14))[..3], [Method::Emptiness, Method::StaticDrift, Method::Drift]);
    }
}
