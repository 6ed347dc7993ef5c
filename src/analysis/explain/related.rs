//! What belongs to the story of a thing: which decisions, facts and verdicts concern it.
//!
//! A pod's story tells of the NodeClaim that was bought for it until it has its node; a node's tells of the pods that came to
//! it and were driven off it; a target's tells when its pod became ready and was deleted.

use super::{Machine, Question};
use crate::engine::Time;
use crate::record::decision::Placement;
use crate::record::{Decision, Recorder, Subject, Verdict};
use crate::world::{Change, ClaimId, DeleteCause, NodeId, NodeReadiness, PodId, TargetId, World};
use std::collections::{BTreeMap, BTreeSet};

/// A question with what follows from it.
pub struct Story<'a> {
    world: &'a World,
    question: &'a Question,
    /// Claims that were bought for the pod, each with the time until which it concerns the pod.
    bought: Vec<(ClaimId, Time)>,
    /// Pods that were not Ready before that moment: that they are not is no news.
    ready_since: BTreeMap<PodId, Time>,
    start: Time,
}

impl<'a> Story<'a> {
    /// The story that a question asks for.
    pub fn of(start: Time, world: &'a World, recorder: &Recorder, question: &'a Question) -> Story<'a> {
        let mut bought = Vec::new();
        if let Some(pod) = question.pod {
            let until = world.pod(pod).bound.unwrap_or(Time::MAX);
            let planned = recorder.decisions.iter().filter_map(|(_, decision)| match decision {
                Decision::Placement(Placement::New(planned)) if planned.pods.contains(&pod) => planned.claim,
                _ => None,
            });
            let claims: BTreeSet<ClaimId> = planned.collect();
            bought.extend(claims.into_iter().map(|claim| (claim, until)));
        }
        let mut ready_since = BTreeMap::new();
        for fact in &recorder.facts {
            if let Change::PodReady(pod, true) = fact.change {
                ready_since.entry(pod).or_insert(fact.at);
            }
        }
        Story { world, question, bought, ready_since, start }
    }

    /// Whether a pod's condition Ready may have been True before: it was there at the start, or it became Ready.
    fn was_ready(&self, pod: PodId, at: Time) -> bool {
        let first = self.ready_since.get(&pod);
        first.map_or_else(|| self.world.pod(pod).bound.is_none_or(|bound| bound < self.start), |&first| first <= at)
    }

    /// Whether a decision belongs to it.
    pub fn has_decision(&self, decision: &Decision) -> bool {
        let Question { pod, node, targets, hpa, at } = self.question;
        if !self.question.is_about_a_thing() {
            let broad = at.is_some() && hpa.is_none();
            return match decision {
                Decision::Hpa(_) | Decision::ScaleDown(_) => self.is_of_autoscaler(decision),
                Decision::Scheduling(_) | Decision::Placement(_) | Decision::Launch(_) => broad,
                Decision::Disruption(_) | Decision::Checked(_) => broad,
            };
        }
        let of_pod = pod.is_some_and(|pod| self.of_pod(pod, decision));
        let of_node = node.is_some_and(|node| self.of_node(node, decision));
        let of_target = !targets.is_empty() && self.of_targets(decision);
        let wanted = (pod.is_none() || of_pod) && (node.is_none() || of_node) && (targets.is_empty() || of_target);
        wanted && self.is_of_autoscaler(decision)
    }

    fn is_of_autoscaler(&self, decision: &Decision) -> bool {
        let Some(hpa) = self.question.hpa else { return true };
        match decision {
            Decision::Hpa(sync) => sync.hpa == hpa,
            Decision::ScaleDown(choice) => {
                let target = self.world.hpas[hpa.index()].target;
                target.is_some() && self.world.replica_sets[choice.replica_set.index()].deployment == target
            }
            Decision::Scheduling(_) | Decision::Placement(_) | Decision::Launch(_) => false,
            Decision::Disruption(_) | Decision::Checked(_) => false,
        }
    }

    fn of_pod(&self, pod: PodId, decision: &Decision) -> bool {
        match decision {
            Decision::Launch(launch) => self.bought.iter().any(|(claim, _)| *claim == launch.claim),
            Decision::Checked(checked) => checked.pod == pod,
            other => other.pods().contains(&pod),
        }
    }

    fn of_node(&self, machine: Machine, decision: &Decision) -> bool {
        let is_node = |node: Option<NodeId>| node.is_some() && node == machine.node;
        let is_claim = |claim: Option<ClaimId>| claim.is_some() && claim == machine.claim;
        match decision {
            Decision::Hpa(_) | Decision::Checked(_) => false,
            Decision::ScaleDown(choice) => choice.victims.iter().any(|(pod, _)| is_node(self.world.pod(*pod).node)),
            // A DaemonSet's pod goes to its node or nowhere: that it is bound says all.
            Decision::Scheduling(attempt) => self.world.pod(attempt.pod).pinned.is_none() && is_node(attempt.node()),
            Decision::Placement(Placement::New(planned)) => is_claim(planned.claim),
            Decision::Placement(Placement::Existing { node, claim, .. }) => is_node(*node) || is_claim(*claim),
            Decision::Placement(Placement::Nowhere(_)) => false,
            Decision::Launch(launch) => is_claim(Some(launch.claim)),
            Decision::Disruption(command) => {
                let removed = command.removed.iter().any(|one| is_claim(Some(one.claim)));
                removed || command.created.iter().any(|&claim| is_claim(Some(claim)))
            }
        }
    }

    fn of_targets(&self, decision: &Decision) -> bool {
        let Decision::Checked(checked) = decision else { return false };
        let meant = |target: TargetId| self.question.targets.contains(&target);
        match checked.target {
            Some((target, _)) => meant(target),
            None => self.has_target_of(checked.pod),
        }
    }

    fn has_target_of(&self, pod: PodId) -> bool {
        self.question.targets.iter().any(|target| self.world.targets[target.index()].pod == pod)
    }

    /// Whether a verdict belongs to it: those on a node, and those on its pool while it exists.
    pub fn has_verdict(&self, at: Time, verdict: &Verdict) -> bool {
        if !self.question.is_about_a_thing() {
            return self.question.at.is_some() && self.question.hpa.is_none();
        }
        let Some(machine) = self.question.node.filter(|_| self.question.pod.is_none()) else { return false };
        let leaves = |claim: ClaimId| self.world.claim(claim).deleting_since.is_some_and(|since| since <= at);
        match verdict.subject {
            // That it leaves is told already.
            Subject::Node(node) => machine.node == Some(node) && !machine.claim.is_some_and(leaves),
            Subject::Pool(pool) => machine.claim.is_some_and(|claim| {
                let claim = self.world.claim(claim);
                claim.pool == pool && claim.created <= at && claim.gone.is_none_or(|gone| at <= gone)
            }),
        }
    }

    /// Whether a fact belongs to it.
    pub fn has_fact(&self, at: Time, change: Change) -> bool {
        let Question { pod, node, targets, hpa, .. } = self.question;
        if hpa.is_some() {
            return false;
        }
        if !self.question.is_about_a_thing() {
            return self.question.at.is_some() && is_cause(change);
        }
        if let Change::PodReady(pod, false) = change
            && !self.was_ready(pod, at)
        {
            return false;
        }
        let of_pod = pod.is_none_or(|pod| self.pod_fact(pod, at, change));
        let of_node = node.is_none_or(|node| self.node_fact(node, at, change));
        of_pod && of_node && (targets.is_empty() || self.target_fact(change))
    }

    fn pod_fact(&self, pod: PodId, at: Time, change: Change) -> bool {
        let bought = |claim: Option<ClaimId>| {
            claim.is_some_and(|claim| self.bought.iter().any(|&(one, until)| one == claim && at <= until))
        };
        let own = |node: NodeId| self.world.pod(pod).node == Some(node);
        let deleted = |claim: ClaimId| self.world.claim(claim).node.is_some_and(own);
        let alive = self.world.pod(pod).gone.is_none_or(|gone| at <= gone);
        match change {
            Change::PodCreated(one)
            | Change::PodBound(one)
            | Change::PodAddress(one)
            | Change::ImagePulling(one)
            | Change::ImagePulled(one)
            | Change::ContainerStarted(one, _)
            | Change::ContainerStopped(one, _)
            | Change::PodProcess(one, _)
            | Change::PodReady(one, _)
            | Change::PodGate(one, _)
            | Change::PodDeleting(one, _)
            | Change::PodDeletionFailed(one)
            | Change::PodGone(one) => one == pod,
            Change::NodeCreated(node) | Change::NodeReady(node, NodeReadiness::Ready) => {
                bought(self.world.node(node).claim)
            }
            Change::NodeAlive(node, _) | Change::NodeReady(node, _) => own(node) && alive,
            Change::NodeThrottled(node, _) => own(node) && alive,
            Change::VolumeAttached(id) | Change::VolumeDetached(id) => {
                let volume = &self.world.attachments[id.index()];
                let template = self.world.template_of(pod);
                // Also that another node gives up what the pod waits for.
                alive && volume.claim.0 == template.namespace && template.volume_claims.contains(&volume.claim.1)
            }
            Change::ClaimThrottled(claim) => bought(Some(claim)),
            Change::ClaimDeleting(claim, _) => bought(Some(claim)) || (deleted(claim) && alive),
            other => self.registration(other).is_some_and(|target| self.world.targets[target.index()].pod == pod),
        }
    }

    fn registration(&self, change: Change) -> Option<TargetId> {
        match change {
            Change::TargetRegistered(target)
            | Change::TargetStateChanged(target, _)
            | Change::TargetRoutable(target, _)
            | Change::TargetInService(target)
            | Change::TargetGone(target) => Some(target),
            _ => None,
        }
    }

    fn target_fact(&self, change: Change) -> bool {
        match change {
            Change::PodReady(pod, _)
            | Change::PodDeleting(pod, _)
            | Change::PodProcess(pod, _)
            | Change::PodGate(pod, _) => self.has_target_of(pod),
            other => self.registration(other).is_some_and(|target| self.question.targets.contains(&target)),
        }
    }

    fn node_fact(&self, machine: Machine, at: Time, change: Change) -> bool {
        let is_node = |node: NodeId| machine.node == Some(node);
        let driven_off = |pod: PodId, cause: DeleteCause| {
            self.world.pod(pod).node.is_some_and(is_node)
                && !matches!(cause, DeleteCause::ScaleDown | DeleteCause::Rollout | DeleteCause::DaemonSet)
        };
        match change {
            Change::NodeCreated(node) | Change::NodeReady(node, _) | Change::NodeGone(node) => is_node(node),
            Change::NodeProblem(node, ..) | Change::NodeThrottled(node, _) => is_node(node),
            // A machine that is stopped does not answer either.
            Change::VolumeDetached(id) => is_node(self.world.attachments[id.index()].node),
            Change::NodeAlive(node, alive) => is_node(node) && (alive || !self.is_stopped(machine, at)),
            Change::PodBound(pod) => {
                let entry = self.world.pod(pod);
                entry.pinned.is_some() && entry.node.is_some_and(is_node)
            }
            Change::PodDeleting(pod, cause) => driven_off(pod, cause),
            Change::ClaimThrottled(claim)
            | Change::ClaimRegistered(claim)
            | Change::ClaimInitialized(claim)
            | Change::ClaimConsolidatable(claim, _)
            | Change::ClaimDrifted(claim, false)
            | Change::ClaimReleased(claim)
            | Change::ClaimRebalance(claim)
            | Change::ClaimDeleting(claim, _)
            | Change::ClaimDrained(claim)
            | Change::ClaimGone(claim) => machine.claim == Some(claim),
            Change::ClaimPodEvent(claim) => {
                let leaves = self.world.claim(claim).deleting_since.is_some_and(|since| since <= at);
                machine.claim == Some(claim) && !leaves
            }
            Change::InstanceInterrupted(instance)
            | Change::InstanceRebalance(instance)
            | Change::InstanceShuttingDown(instance)
            | Change::InstanceTerminated(instance) => {
                let claim = self.world.instances[instance.index()].claim;
                claim.is_some() && claim == machine.claim
            }
            _ => false,
        }
    }
}

impl Story<'_> {
    fn is_stopped(&self, machine: Machine, at: Time) -> bool {
        let instance = machine.claim.and_then(|claim| self.world.claim(claim).instance);
        instance.is_some_and(|id| self.world.instances[id.index()].stopped.is_some_and(|stopped| stopped <= at))
    }
}

/// Something from outside, or that sets much in motion.
const fn is_cause(change: Change) -> bool {
    matches!(
        change,
        Change::ClaimDeleting(..)
            | Change::InstanceInterrupted(_)
            | Change::NodeAlive(_, false)
            | Change::NodeProblem(_, _, true)
            | Change::NodeThrottled(_, true)
            | Change::FaultChanged(..)
            | Change::ActionDone(_)
            | Change::LoadChanged(_)
    )
}
