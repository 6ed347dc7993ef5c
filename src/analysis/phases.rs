//! Where a pod's wait went: a chain of phases that sums to the whole, to the microsecond.
//!
//! In: the milestones of a pod and of the node it came to. Out: one span per phase. A milestone that is missing, or
//! earlier than the one before it, gives its phase no time; none is ever negative.

use super::history::{History, PodHistory, Serving};
use crate::engine::{Span, Time};
use crate::rules::expectation::Measure;
use crate::world::World;

/// A part of a pod's wait with one cause, in causal order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// Trigger until the pod exists.
    ReplicaSet,
    /// Until it is bound, or found unschedulable.
    Scheduling,
    /// Until the provisioner's batch closed.
    Batching,
    /// Until the NodeClaim exists.
    Planning,
    /// Until the instance is launched.
    Launch,
    /// Until the Node object exists.
    Boot,
    /// Until the NodeClaim is registered.
    Registration,
    /// Until the node is Ready.
    NodeReady,
    /// Until the pod is bound.
    Binding,
    /// Until the pod has its address.
    Sandbox,
    /// Until its images are there.
    ImagePull,
    /// Until its containers have started.
    ContainerStart,
    /// Until it is Ready; the application's own start is in here.
    Readiness,
    /// Until the endpoints are written.
    Endpoint,
    /// Until its target is registered.
    TargetRegistration,
    /// Until the target is healthy.
    HealthCheck,
    /// Until the first request reaches it.
    FirstRequest,
}

impl Phase {
    /// All phases in order.
    pub const ALL: [Phase; 17] = [
        Phase::ReplicaSet,
        Phase::Scheduling,
        Phase::Batching,
        Phase::Planning,
        Phase::Launch,
        Phase::Boot,
        Phase::Registration,
        Phase::NodeReady,
        Phase::Binding,
        Phase::Sandbox,
        Phase::ImagePull,
        Phase::ContainerStart,
        Phase::Readiness,
        Phase::Endpoint,
        Phase::TargetRegistration,
        Phase::HealthCheck,
        Phase::FirstRequest,
    ];

    /// In words.
    pub const fn name(self) -> &'static str {
        match self {
            Phase::ReplicaSet => "replica set",
            Phase::Scheduling => "scheduling",
            Phase::Batching => "batching",
            Phase::Planning => "launch planning",
            Phase::Launch => "launch",
            Phase::Boot => "boot",
            Phase::Registration => "registration",
            Phase::NodeReady => "node ready",
            Phase::Binding => "binding",
            Phase::Sandbox => "sandbox",
            Phase::ImagePull => "image pull",
            Phase::ContainerStart => "container start",
            Phase::Readiness => "readiness",
            Phase::Endpoint => "endpoint",
            Phase::TargetRegistration => "target registration",
            Phase::HealthCheck => "health check",
            Phase::FirstRequest => "first request",
        }
    }

    /// In words, of a step of a workload of that kind: what makes the pods of a StatefulSet is no ReplicaSet, and where a step has
    /// not served, its last wait may be for a node that nobody makes.
    pub fn name_for(self, kind: &str, served: bool) -> &'static str {
        match self {
            Phase::ReplicaSet if kind == "StatefulSet" => "stateful set",
            Phase::Batching if !served => "waiting for a node",
            _ => self.name(),
        }
    }

    /// The measure of this phase on the critical path.
    pub const fn measure(self) -> Measure {
        match self {
            Phase::ReplicaSet => Measure::PhaseReplicaSet,
            Phase::Scheduling => Measure::PhaseScheduling,
            Phase::Batching => Measure::PhaseBatching,
            Phase::Planning => Measure::PhasePlanning,
            Phase::Launch => Measure::PhaseLaunch,
            Phase::Boot => Measure::PhaseBoot,
            Phase::Registration => Measure::PhaseRegistration,
            Phase::NodeReady => Measure::PhaseNodeReady,
            Phase::Binding => Measure::PhaseBinding,
            Phase::Sandbox => Measure::PhaseSandbox,
            Phase::ImagePull => Measure::PhaseImagePull,
            Phase::ContainerStart => Measure::PhaseContainerStart,
            Phase::Readiness => Measure::PhaseReadiness,
            Phase::Endpoint => Measure::PhaseEndpoint,
            Phase::TargetRegistration => Measure::PhaseTargetRegistration,
            Phase::HealthCheck => Measure::PhaseHealthCheck,
            Phase::FirstRequest => Measure::PhaseFirstRequest,
        }
    }
}

/// A phase of one pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PhaseSpan {
    /// Which.
    pub phase: Phase,
    /// From.
    pub start: Time,
    /// To.
    pub end: Time,
}

impl PhaseSpan {
    /// Its length.
    pub fn length(&self) -> Span {
        self.end - self.start
    }
}

/// The phases of a pod from `trigger` to `end`: as many as there are, the empty ones included.
pub fn of_pod(history: &History, world: &World, pod: &PodHistory, trigger: Time, end: Time) -> Vec<PhaseSpan> {
    chain(trigger, end, &milestones(history, world, pod))
}

/// Telescopes milestones: each phase ends at its milestone, but not before the one before it and not after `end`.
/// The last phase that happened at all ends at `end`.
pub fn chain(trigger: Time, end: Time, milestones: &[(Phase, Option<Time>)]) -> Vec<PhaseSpan> {
    let mut now = trigger;
    let mut phases: Vec<PhaseSpan> = milestones
        .iter()
        .map(|&(phase, milestone)| {
            let start = now;
            now = milestone.map_or(now, |at| at.clamp(now, end.max(now)));
            PhaseSpan { phase, start, end: now }
        })
        .collect();
    if now < end {
        // Nothing is known of the rest: it belongs to the first phase whose milestone is missing after the last one
        // that happened.
        let reached = milestones.iter().rposition(|(_, milestone)| milestone.is_some());
        let open = reached.map_or(0, |index| (index + 1).min(phases.len().saturating_sub(1)));
        if let Some(phase) = phases.get_mut(open) {
            phase.end = end;
        }
        for phase in phases.iter_mut().skip(open + 1) {
            (phase.start, phase.end) = (end, end);
        }
    }
    phases
}

fn milestones(history: &History, world: &World, pod: &PodHistory) -> Vec<(Phase, Option<Time>)> {
    let node = world.pod(pod.id).node.and_then(|node| history.node(node));
    // Only a node that came while the pod waited is part of its wait.
    let new = node.filter(|node| {
        let waited = pod.unschedulable.is_some() && !node.initial;
        waited && node.ready.is_none_or(|ready| ready > pod.created)
    });
    let claimed = new.and_then(|node| node.claimed);
    let batch = pod.unschedulable.filter(|&at| claimed.is_none_or(|claimed| claimed >= at)).and_then(|at| {
        let closed = history.batches.iter().copied().find(|&batch| batch >= at);
        // Of a pod that never had a node: from the first batch on Karpenter looked for one in vain.
        let in_vain = pod.bound.is_none() && claimed.is_none();
        closed.filter(|&batch| in_vain || new.is_some() && claimed.is_none_or(|claimed| batch <= claimed))
    });
    let gated = !world.template_of(pod.id).readiness_gates.is_empty();
    let ready = match pod.serving_by {
        // Nobody asks whether its application answers but those who send requests.
        Serving::Ready => pod.serving.or(pod.ready),
        Serving::FirstRequest | Serving::Routable => pod.ready_for_endpoint(gated),
    };
    vec![
        (Phase::ReplicaSet, Some(pod.created)),
        (Phase::Scheduling, if new.is_some() { pod.unschedulable } else { pod.bound.or(pod.unschedulable) }),
        (Phase::Batching, batch),
        (Phase::Planning, claimed),
        (Phase::Launch, new.and_then(|node| node.launched)),
        (Phase::Boot, new.and_then(|node| node.created)),
        (Phase::Registration, new.and_then(|node| node.registered)),
        (Phase::NodeReady, new.and_then(|node| node.ready)),
        (Phase::Binding, pod.bound),
        (Phase::Sandbox, pod.address),
        (Phase::ImagePull, pod.pulled),
        (Phase::ContainerStart, pod.started),
        (Phase::Readiness, ready),
        (Phase::Endpoint, pod.endpoint),
        (Phase::TargetRegistration, pod.registered),
        (Phase::HealthCheck, pod.healthy),
        (Phase::FirstRequest, pod.serving),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn phases_telescope_whatever_the_milestones(
            offsets in prop::collection::vec(prop::option::of(0u64..500_000_000), 17),
            trigger in 0u64..300_000_000,
            length in 0u64..300_000_000,
        ) {
            let (trigger, end) = (Time::from_micros(trigger), Time::from_micros(trigger + length));
            let milestones: Vec<_> =
                Phase::ALL.into_iter().zip(offsets.into_iter().map(|at| at.map(Time::from_micros))).collect();
            let phases = chain(trigger, end, &milestones);
            prop_assert_eq!(phases.len(), 17);
            let mut now = trigger;
            for phase in &phases {
                prop_assert_eq!(phase.start, now);
                prop_assert!(phase.end >= phase.start);
                now = phase.end;
            }
            prop_assert_eq!(now, end);
            let sum: u64 = phases.iter().map(|phase| phase.length().micros()).sum();
            prop_assert_eq!(sum, length);
        }
    }

    #[test]
    fn what_is_missing_takes_no_time() {
        let second = Time::from_unix_seconds;
        let phases = chain(
            second(10),
            second(20),
            &[
                (Phase::ReplicaSet, Some(second(11))),
                (Phase::Batching, None),
                (Phase::Launch, Some(second(5))),
                (Phase::Readiness, Some(second(18))),
                (Phase::FirstRequest, Some(second(20))),
            ],
        );
        let lengths: Vec<u64> = phases.iter().map(|phase| phase.length().whole_seconds()).collect();
        assert_eq!(lengths, [1, 0, 0, 7, 2]);
    }

    #[test]
    fn every_phase_can_be_measured() {
        let names: Vec<&str> = Phase::ALL.iter().map(|phase| phase.measure().name()).collect();
        assert!(names.iter().all(|name| name.starts_with("phase.")));
        let phases = Measure::ALL.iter().filter(|measure| measure.name().starts_with("phase.")).count();
        assert_eq!(phases, Phase::ALL.len());
    }
}
