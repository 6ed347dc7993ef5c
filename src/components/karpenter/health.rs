//! Karpenter node repair (gate NodeRepair): unhealthy nodes are deleted by force.
//!
//! ```text
//!  a condition is as a repair policy says ─ toleration (30 min, accelerators 10 min) ─► NodeClaim deleted, all waits over
//!  more than a fifth of the pool's nodes unhealthy ─► nothing; looked at again every 5 min
//! ```
//!
//! Neither budgets nor PodDisruptionBudgets nor do-not-disrupt count. Source: core `pkg/controllers/node/health/controller.go`,
//! provider `pkg/cloudprovider/cloudprovider.go` (`RepairPolicies`). Left out: NodeClaims without a pool, as none are made here.

use crate::components::{Cx, Event as Any};
use crate::engine::Time;
use crate::plan::flags::KarpenterFlags;
use crate::plan::{NodePoolId, NodeProblem};
use crate::world::{ClaimId, DisruptionReason, Node, NodeId, NodeReadiness, World};
use std::collections::BTreeMap;

/// Its memory.
#[derive(Default)]
pub struct NodeHealth {
    /// The next look at a node that is scheduled.
    next: BTreeMap<NodeId, Time>,
}

/// Why it may be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// Conditions of a node changed, or a toleration is over.
    Look(NodeId),
}

/// What is to be done with a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repair {
    /// It is healthy.
    Healthy,
    /// It is unhealthy, and tolerated until then.
    Tolerated(Time),
    /// So many of so many nodes of its pool are unhealthy: too many.
    Blocked {
        /// Nodes with a condition that a policy names.
        unhealthy: usize,
        /// Nodes of the pool.
        of: usize,
    },
    /// It is deleted.
    Delete,
}

impl NodeHealth {
    /// Schedules the first events.
    pub fn start(&mut self, cx: &mut Cx) {
        if cx.plan.flags.karpenter.node_repair {
            let nodes: Vec<NodeId> = cx.world.nodes.iter().map(|node| node.id).collect();
            nodes.into_iter().for_each(|node| self.look(cx, node));
        }
    }

    /// Observe, decide, apply, schedule.
    pub fn handle(&mut self, cx: &mut Cx, event: Event) {
        let Event::Look(node) = event;
        if cx.plan.flags.karpenter.node_repair {
            self.look(cx, node);
        }
    }

    fn look(&mut self, cx: &mut Cx, node: NodeId) {
        let Some(claim) = cx.world.node(node).claim.filter(|&claim| cx.world.claim(claim).is_active()) else { return };
        match decide(&cx.plan.flags.karpenter, cx.world, node, claim) {
            Repair::Healthy => {}
            Repair::Tolerated(until) => self.look_again(cx, node, until),
            Repair::Blocked { unhealthy, of } => {
                let Cx { recorder, world, now, .. } = cx;
                recorder.explain(*now, || {
                    let name = &world.node(node).name;
                    let pool = &world.node_pools[world.claim(claim).pool.index()].name;
                    format!(
                        "node {name}: NodeRepairBlocked, {unhealthy} of {of} nodes of NodePool {pool} are unhealthy"
                    )
                });
                let again = cx.now + cx.plan.flags.karpenter.repair_recheck;
                self.look_again(cx, node, again);
            }
            Repair::Delete => {
                let (flags, entry) = (&cx.plan.flags.karpenter, cx.world.node(node));
                let why = unhealthy(flags, entry).map_or("", |(why, _)| why);
                let name = entry.name.clone();
                cx.explain(|| format!("node {name}: Karpenter repairs it, {why} for as long as that is tolerated"));
                cx.world.end_by(claim, cx.now);
                cx.world.delete_claim(claim, DisruptionReason::Unhealthy);
            }
        }
    }

    fn look_again(&mut self, cx: &mut Cx, node: NodeId, at: Time) {
        if self.next.get(&node).is_some_and(|&next| next > cx.now && next <= at) {
            return;
        }
        self.next.insert(node, at);
        cx.at(at, Any::NodeHealth(Event::Look(node)));
    }
}

/// What the condition that is over first says and when it is, of those that a policy names.
fn unhealthy(flags: &KarpenterFlags, node: &Node) -> Option<(&'static str, Time)> {
    let ready = match node.readiness {
        NodeReadiness::Ready => None,
        NodeReadiness::NotReady => Some("condition Ready is False"),
        NodeReadiness::Unknown => Some("condition Ready is Unknown"),
    };
    let ready = ready.map(|why| (why, node.readiness_since + flags.repair_toleration));
    let problems = node.problems.iter().map(|&(problem, since)| {
        let tolerated = match problem {
            NodeProblem::AcceleratedHardware => flags.repair_toleration_accelerators,
            NodeProblem::Storage | NodeProblem::Networking | NodeProblem::Kernel | NodeProblem::ContainerRuntime => {
                flags.repair_toleration
            }
        };
        (problem.words(), since + tolerated)
    });
    ready.into_iter().chain(problems).min_by_key(|(_, over)| *over)
}

/// Whether a node is repaired now.
pub fn decide(flags: &KarpenterFlags, world: &World, node: NodeId, claim: ClaimId) -> Repair {
    let Some((_, over)) = unhealthy(flags, world.node(node)) else { return Repair::Healthy };
    if world.now < over {
        return Repair::Tolerated(over);
    }
    let (sick, of) = count(flags, world, world.claim(claim).pool);
    let allowed = (of as f64 * flags.repair_share).ceil() as usize;
    if sick > allowed { Repair::Blocked { unhealthy: sick, of } } else { Repair::Delete }
}

/// Unhealthy nodes of a pool, however long they are, and all of them.
fn count(flags: &KarpenterFlags, world: &World, pool: NodePoolId) -> (usize, usize) {
    let of_pool = |node: &&Node| node.gone.is_none() && node.claim.is_some_and(|claim| world.claim(claim).pool == pool);
    let nodes = world.nodes.iter().filter(of_pool);
    nodes.fold((0, 0), |(sick, all), node| (sick + usize::from(unhealthy(flags, node).is_some()), all + 1))
}
