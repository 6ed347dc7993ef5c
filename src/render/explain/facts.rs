//! What happens between decisions, a line each.

use super::Page;
use crate::engine::{Span, Time};
use crate::render::describe::describe;
use crate::world::{
    Change, ClaimId, DeleteCause, DisruptionReason, InstanceId, NodeId, NodeReadiness, PodId, Process, TargetId,
};

impl Page<'_> {
    /// A change in a sentence; `None`: it says nothing to people.
    pub(super) fn happened(&self, at: Time, change: Change) -> Option<String> {
        Some(match change {
            Change::PodCreated(_)
            | Change::PodBound(_)
            | Change::PodAddress(_)
            | Change::ImagePulling(_)
            | Change::ImagePulled(_)
            | Change::ContainerStarted(..)
            | Change::ContainerStopped(..)
            | Change::PodProcess(..)
            | Change::PodReady(..)
            | Change::PodGate(..)
            | Change::PodDeleting(..)
            | Change::PodGone(_) => return self.of_pod(change),
            Change::VolumeAttached(_)
            | Change::VolumeDetached(_)
            | Change::NodeCreated(_)
            | Change::NodeReady(..)
            | Change::NodeProblem(..)
            | Change::NodeThrottled(..)
            | Change::NodeAlive(..)
            | Change::NodeGone(_)
            | Change::InstanceInterrupted(_)
            | Change::InstanceRebalance(_)
            | Change::InstanceShuttingDown(_)
            | Change::InstanceTerminated(_) => return self.of_machine(change),
            Change::ClaimThrottled(_)
            | Change::ClaimRegistered(_)
            | Change::ClaimInitialized(_)
            | Change::ClaimConsolidatable(..)
            | Change::ClaimPodEvent(_)
            | Change::ClaimReleased(_)
            | Change::ClaimRebalance(_)
            | Change::ClaimDeleting(..)
            | Change::ClaimDrained(_)
            | Change::ClaimGone(_) => return self.of_claim(at, change),
            Change::TargetRegistered(_)
            | Change::TargetStateChanged(..)
            | Change::TargetRoutable(..)
            | Change::TargetInService(_)
            | Change::TargetGone(_) => return self.of_target(change),
            other => {
                let row = describe(other, self.world);
                let to = if row.to.is_empty() { String::new() } else { format!(" {}", row.to) };
                format!("{} {}{to}", row.object, row.what)
            }
        })
    }

    fn of_pod(&self, change: Change) -> Option<String> {
        let name = |pod: PodId| format!("pod {}", self.world.pod_name(pod));
        let node = |pod: PodId| self.world.pod(pod).node.map_or(String::new(), |node| self.node(node));
        Some(match change {
            Change::PodCreated(pod) => match self.world.owner_name(pod) {
                Some(owner) => format!("{owner} creates {}", name(pod)),
                None => format!("{} is created", name(pod)),
            },
            Change::PodBound(pod) => format!("{} is bound to node {}", name(pod), node(pod)),
            Change::PodAddress(pod) => {
                let address = self.world.pod(pod).address.map_or(String::new(), |address| address.to_string());
                format!("{} has its sandbox and the address {address}", name(pod))
            }
            Change::ImagePulling(pod) => format!("the kubelet pulls images for {}", name(pod)),
            Change::ImagePulled(pod) => format!("the images of {} are there", name(pod)),
            Change::ContainerStarted(pod, _) => format!("container {} of {} starts", self.container(change), name(pod)),
            Change::ContainerStopped(pod, _) => format!("container {} of {} ends", self.container(change), name(pod)),
            Change::PodProcess(pod, process) => match process {
                Process::Answering => format!("the application in {} answers", name(pod)),
                Process::Stopping => format!("the application in {} gets SIGTERM", name(pod)),
                Process::Starting | Process::Absent | Process::Ended | Process::Vanished => return None,
            },
            Change::PodReady(pod, true) => format!("{} is Ready", name(pod)),
            Change::PodReady(pod, false) => format!("{} is not Ready any more", name(pod)),
            Change::PodGate(pod, value) => format!("the readiness gate of {} is {value}", name(pod)),
            Change::PodDeleting(pod, cause) => format!("{} is to go: {}", name(pod), self.cause(pod, cause)),
            Change::PodGone(pod) => format!("{} is gone", name(pod)),
            _ => return None,
        })
    }

    fn container(&self, change: Change) -> String {
        let row = describe(change, self.world);
        if row.to.is_empty() { row.from } else { row.to }
    }

    /// Why a pod is deleted.
    fn cause(&self, pod: PodId, cause: DeleteCause) -> String {
        let (entry, world) = (self.world.pod(pod), self.world);
        // Karpenter evicts only from nodes that it takes away; whoever evicted before that was somebody else.
        let before = |at: Option<Time>| at.is_some_and(|at| entry.deleting_since.is_none_or(|since| at <= since));
        let node = entry.node.map(|node| world.node(node));
        let claim = node.and_then(|node| node.claim).map(|claim| world.claim(claim));
        let leaving = claim.filter(|claim| before(claim.deleting_since)).and_then(|claim| claim.deletion_reason);
        let leaves = node.is_some_and(|node| before(node.deleting_since));
        match (cause, leaving) {
            (DeleteCause::ScaleDown, _) => "its ReplicaSet became smaller".to_string(),
            (DeleteCause::Rollout, _) => "it is of an old revision".to_string(),
            (DeleteCause::Eviction, Some(why)) => format!("evicted, its node is drained ({})", why.name()),
            (DeleteCause::Eviction, None) if leaves => "evicted, its node is deleted".to_string(),
            (DeleteCause::Eviction, None) => "evicted (kubectl drain)".to_string(),
            (DeleteCause::Preemption, _) => "a pod of higher priority needs its place".to_string(),
            (DeleteCause::Taint, _) => "a taint of its node that it does not tolerate".to_string(),
            (DeleteCause::NodeGone, _) => "its node is gone".to_string(),
            (DeleteCause::Forced, _) => "its node's termination grace period ends".to_string(),
            (other, _) => other.name().to_string(),
        }
    }

    fn of_machine(&self, change: Change) -> Option<String> {
        let of_instance = |instance: InstanceId| {
            let claim = self.world.instances[instance.index()].claim;
            let node = claim.and_then(|claim| self.world.claim(claim).node).map(|node| self.node(node));
            let claim = claim.map(|claim| format!("NodeClaim {}", self.world.claim(claim).name));
            node.map(|node| format!("node {node}"))
                .or(claim)
                .unwrap_or_else(|| format!("instance/{}", instance.index() + 1))
        };
        Some(match change {
            Change::NodeCreated(node) => {
                let entry = self.world.node(node);
                let claim = entry.claim.map(|claim| format!(" (NodeClaim {})", self.world.claim(claim).name));
                format!("node {} joins the cluster{}", entry.name, claim.unwrap_or_default())
            }
            Change::NodeReady(node, NodeReadiness::Ready) => format!("node {} is Ready", self.node(node)),
            Change::NodeReady(node, NodeReadiness::NotReady) => format!("node {} is not Ready", self.node(node)),
            Change::NodeReady(node, NodeReadiness::Unknown) => {
                format!("node {} sends no heartbeats: its condition Ready becomes Unknown", self.node(node))
            }
            Change::NodeProblem(node, problem, present) => {
                let status = if present { "False" } else { "True" };
                format!("condition {} of node {} is {status}", problem.condition(), self.node(node))
            }
            Change::NodeThrottled(node, true) => {
                format!("node {} has used up its CPU credits: it computes at its baseline", self.node(node))
            }
            Change::NodeThrottled(node, false) => format!("node {} has CPU credits again", self.node(node)),
            Change::NodeAlive(node, true) => format!("the machine of node {} answers again", self.node(node)),
            Change::NodeAlive(node, false) => format!("the machine of node {} stops answering", self.node(node)),
            Change::NodeGone(node) => format!("node {} is gone", self.node(node)),
            Change::VolumeAttached(id) => {
                let volume = &self.world.attachments[id.index()];
                format!("volume {} is attached to node {}", volume.claim.1, self.node(volume.node))
            }
            Change::VolumeDetached(id) => {
                let volume = &self.world.attachments[id.index()];
                format!("volume {} is detached from node {}", volume.claim.1, self.node(volume.node))
            }
            Change::InstanceInterrupted(instance) => {
                format!("EC2 gives notice: the spot instance of {} ends in two minutes", of_instance(instance))
            }
            Change::InstanceRebalance(instance) => {
                format!(
                    "EC2 recommends to replace the spot instance of {}: it may be interrupted",
                    of_instance(instance)
                )
            }
            Change::InstanceShuttingDown(instance) => format!("the instance of {} shuts down", of_instance(instance)),
            Change::InstanceTerminated(instance) => format!("the instance of {} is terminated", of_instance(instance)),
            _ => return None,
        })
    }

    fn of_claim(&self, at: Time, change: Change) -> Option<String> {
        let node = |claim: ClaimId| self.node_of(claim);
        Some(match change {
            Change::ClaimThrottled(claim) => {
                let name = &self.world.claim(claim).name;
                format!(
                    "EC2 throttles CreateFleet for NodeClaim {name} (RequestLimitExceeded): it is tried again later"
                )
            }
            Change::ClaimRegistered(claim) => format!("Karpenter registers {}", node(claim)),
            Change::ClaimInitialized(claim) => format!("{} is initialized: Karpenter counts on it", node(claim)),
            Change::ClaimPodEvent(claim) => {
                let after = self.clock_of_consolidation(claim)?;
                let until = self.clock(at.whole_second() + after);
                format!("a pod came to or left {}: consolidateAfter {after} runs anew, until {until}", node(claim))
            }
            Change::ClaimConsolidatable(claim, true) => {
                let after = self.clock_of_consolidation(claim)?;
                format!("consolidateAfter {after} is over: {} may be consolidated", node(claim))
            }
            Change::ClaimConsolidatable(..) => return None,
            Change::ClaimReleased(claim) => format!("Karpenter gives up its plan for {}", node(claim)),
            Change::ClaimRebalance(claim) => {
                format!("Karpenter publishes the recommendation as an event of {} and does nothing more", node(claim))
            }
            Change::ClaimDeleting(claim, why) => {
                let then = if self.world.claim(claim).node.is_some() { ", it is tainted and drained" } else { "" };
                format!("{} is to go ({}){then}", node(claim), deletion(why))
            }
            Change::ClaimDrained(claim) => format!("{} is drained", node(claim)),
            Change::ClaimGone(claim) => format!("NodeClaim {} is gone", self.world.claim(claim).name),
            _ => return None,
        })
    }

    fn node_of(&self, claim: ClaimId) -> String {
        let entry = self.world.claim(claim);
        let node: Option<NodeId> = entry.node;
        node.map_or_else(|| format!("NodeClaim {}", entry.name), |node| format!("node {}", self.node(node)))
    }

    /// `consolidateAfter` of a claim's pool, where its clock matters.
    fn clock_of_consolidation(&self, claim: ClaimId) -> Option<Span> {
        let pool = &self.world.node_pools[self.world.claim(claim).pool.index()];
        pool.consolidate_after.filter(|after| !after.is_zero())
    }

    fn of_target(&self, change: Change) -> Option<String> {
        let name = |target: TargetId| {
            let entry = &self.world.targets[target.index()];
            format!("target {}:{}", entry.address, entry.port)
        };
        Some(match change {
            Change::TargetRegistered(target) => {
                let entry = &self.world.targets[target.index()];
                let group = &self.plan.target_groups[entry.group.index()].name;
                format!(
                    "{} is registered with target group {group} for pod {}",
                    name(target),
                    self.world.pod_name(entry.pod)
                )
            }
            Change::TargetStateChanged(target, state) => format!("{} is {}", name(target), state.name()),
            Change::TargetRoutable(target, true) if self.unhealthy.contains(&target) => {
                format!("{} gets requests though unhealthy: its group has no healthy target (fail-open)", name(target))
            }
            Change::TargetRoutable(target, true) => format!("the load balancer may send requests to {}", name(target)),
            Change::TargetRoutable(target, false) => format!("{} gets no new requests", name(target)),
            Change::TargetInService(target) => format!("the first request reaches {}", name(target)),
            Change::TargetGone(target) => format!("{} has left its group", name(target)),
            _ => return None,
        })
    }
}

/// Why a NodeClaim is deleted.
const fn deletion(why: DisruptionReason) -> &'static str {
    match why {
        DisruptionReason::Interrupted => "its spot instance has notice",
        DisruptionReason::InstanceGone => "its instance ended without notice",
        DisruptionReason::NeverJoined => "it was not launched or its node did not join in time",
        DisruptionReason::InsufficientCapacity => "no capacity",
        DisruptionReason::Expired => "expireAfter is over",
        other => other.name(),
    }
}
