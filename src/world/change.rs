//! Everything that can change in the world, as plain data. The record of a run is a list of these with their times.

use super::ids::{AttachmentId, ClaimId, InstanceId, NodeId, PodId, PriceId, ReplicaSetId, TargetId};
use super::pod::{PodPhase, Process};
use super::rollout::DeploymentReason;
use super::target::TargetState;
use crate::plan::{
    ActionId, AlarmId, AppId, CapacityPoolId, DaemonSetId, DeploymentId, FaultId, HpaId, MicroDollars, NodePoolId,
    NodeProblem, PdbId, ServiceId,
};

/// One change of the world.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Change {
    /// A Deployment's spec changed otherwise than its size (or it was created).
    DeploymentChanged(DeploymentId),
    /// A Deployment's `spec.replicas` changed.
    DeploymentScaled {
        /// Which.
        deployment: DeploymentId,
        /// Replicas before.
        from: i32,
        /// Replicas after.
        to: i32,
        /// The autoscaler that wrote it; `None`: somebody else.
        by: Option<HpaId>,
    },
    /// A Deployment's status (or its revision annotation) changed; the reason of its condition Progressing now.
    DeploymentStatus(DeploymentId, Option<DeploymentReason>),
    /// A ReplicaSet was created.
    ReplicaSetCreated(ReplicaSetId),
    /// A ReplicaSet's `spec.replicas` changed.
    ReplicaSetScaled {
        /// Which.
        replica_set: ReplicaSetId,
        /// Replicas before.
        from: i32,
        /// Replicas after.
        to: i32,
    },
    /// A ReplicaSet's spec or annotations changed otherwise than its size.
    ReplicaSetChanged(ReplicaSetId),
    /// A ReplicaSet's status changed.
    ReplicaSetStatus(ReplicaSetId),
    /// A ReplicaSet was removed.
    ReplicaSetGone(ReplicaSetId),
    /// The API server refused to create a pod of a ReplicaSet.
    PodRefused(ReplicaSetId),
    /// An autoscaler evaluated (facts of the sync are in its status).
    HpaSynced(HpaId),
    /// An autoscaler's spec changed or it was created.
    HpaChanged(HpaId),
    /// A budget's spec changed.
    PdbChanged(PdbId),
    /// A budget's status changed.
    PdbStatus(PdbId),
    /// A pod was created.
    PodCreated(PodId),
    /// Condition PodScheduled became False, Unschedulable.
    PodUnschedulable(PodId),
    /// The message of that condition became another.
    PodUnschedulableMessage(PodId),
    /// `status.nominatedNodeName` changed.
    PodNominated(PodId),
    /// A pod object was written as a whole (labels, status), whether or not that changed anything.
    PodChanged(PodId),
    /// A pod was bound.
    PodBound(PodId),
    /// A pod has its address.
    PodAddress(PodId),
    /// The sandbox of a pod could not be made.
    PodSandboxFailed(PodId),
    /// A pull of an image that the pod waits for began.
    ImagePulling(PodId),
    /// All images of the pod are there.
    ImagePulled(PodId),
    /// A container started (init containers counted first).
    ContainerStarted(PodId, u16),
    /// A container stopped.
    ContainerStopped(PodId, u16),
    /// What the application does changed.
    PodProcess(PodId, Process),
    /// `status.phase` changed.
    PodPhase(PodId, PodPhase),
    /// Condition ContainersReady changed.
    PodContainersReady(PodId, bool),
    /// A readiness gate changed.
    PodGate(PodId, bool),
    /// Condition Ready changed.
    PodReady(PodId, bool),
    /// Deletion of a pod was asked for.
    PodDeleting(PodId, DeleteCause),
    /// The API server failed to delete a pod.
    PodDeletionFailed(PodId),
    /// A pod object vanished.
    PodGone(PodId),
    /// A Service was created or its spec changed.
    ServiceChanged(ServiceId),
    /// The endpoints of a Service changed.
    EndpointsChanged(ServiceId),
    /// An address was registered with a target group.
    TargetRegistered(TargetId),
    /// A target's state changed.
    TargetStateChanged(TargetId, TargetState),
    /// The load balancer began (true) or ceased to send new requests to a target.
    TargetRoutable(TargetId, bool),
    /// The first request reached a target.
    TargetInService(TargetId),
    /// How many load-balancer nodes have a target healthy.
    TargetWeight(TargetId, u32),
    /// A target left its group.
    TargetGone(TargetId),
    /// A volume is attached to a node.
    VolumeAttached(AttachmentId),
    /// A volume is detached from a node.
    VolumeDetached(AttachmentId),
    /// A Node object appeared.
    NodeCreated(NodeId),
    /// Condition Ready of a node changed.
    NodeReady(NodeId, NodeReadiness),
    /// A condition that an agent of the node looks after became False (true), or True again.
    NodeProblem(NodeId, NodeProblem, bool),
    /// The machine of a node has used up its CPU credits and is held at its baseline (true), or not any more.
    NodeThrottled(NodeId, bool),
    /// A heartbeat of a node, or conditions other than Ready, changed.
    NodeConditions(NodeId),
    /// Taints (or cordon) of a node changed.
    NodeTaints(NodeId),
    /// Labels of a node changed.
    NodeLabels(NodeId),
    /// Deletion of a Node object was asked for.
    NodeDeleting(NodeId),
    /// A Node object vanished.
    NodeGone(NodeId),
    /// The machine of a node stopped answering (or answers again).
    NodeAlive(NodeId, bool),
    /// A NodePool changed.
    NodePoolChanged(NodePoolId),
    /// A DaemonSet was applied (true) or deleted.
    DaemonSetChanged(DaemonSetId, bool),
    /// A batch of the provisioner closed with so many pods to place.
    BatchClosed(u32),
    /// A NodeClaim was created.
    ClaimCreated(ClaimId),
    /// A NodeClaim has its instance.
    ClaimLaunched(ClaimId),
    /// The launch of a NodeClaim found no capacity.
    ClaimNoCapacity(ClaimId),
    /// The launch of a NodeClaim was throttled until the AWS SDK gave up.
    ClaimThrottled(ClaimId),
    /// A NodeClaim's node is registered.
    ClaimRegistered(ClaimId),
    /// A NodeClaim is initialised.
    ClaimInitialized(ClaimId),
    /// Condition Consolidatable changed.
    ClaimConsolidatable(ClaimId, bool),
    /// Condition Drifted changed.
    ClaimDrifted(ClaimId, bool),
    /// `status.lastPodEventTime` changed.
    ClaimPodEvent(ClaimId),
    /// A disruption command took a NodeClaim as candidate.
    ClaimDisrupted(ClaimId, DisruptionReason),
    /// A disruption command was given up; its candidate is free again.
    ClaimReleased(ClaimId),
    /// Karpenter has read the rebalance recommendation of a NodeClaim's instance: it publishes an event and does nothing.
    ClaimRebalance(ClaimId),
    /// Deletion of a NodeClaim was asked for.
    ClaimDeleting(ClaimId, DisruptionReason),
    /// The node of a NodeClaim is drained.
    ClaimDrained(ClaimId),
    /// A NodeClaim vanished.
    ClaimGone(ClaimId),
    /// An instance was launched.
    InstanceLaunched(InstanceId),
    /// An instance got the two-minute notice.
    InstanceInterrupted(InstanceId),
    /// EC2 recommends to replace a spot instance: its risk of interruption is elevated.
    InstanceRebalance(InstanceId),
    /// An instance is shutting down.
    InstanceShuttingDown(InstanceId),
    /// An instance is terminated.
    InstanceTerminated(InstanceId),
    /// A pool of EC2 capacity ran out (false) or sells again.
    CapacityChanged(CapacityPoolId, bool),
    /// A spot price moved to this.
    SpotPrice(PriceId, MicroDollars),
    /// An alarm changed its state.
    AlarmChanged(AlarmId, AlarmState),
    /// A scripted action was carried out.
    ActionDone(ActionId),
    /// A fault began (true) or ended.
    FaultChanged(FaultId, bool),
    /// The load of an application was replaced.
    LoadChanged(AppId),
}

impl Change {
    /// Whether it may give Karpenter's disruption or termination something to do. What is not named here may; what is named
    /// concerns neither, or only protects a node: that a claim is not consolidatable any more, or a pod that has no node yet.
    pub(super) const fn moves_cluster(self) -> bool {
        !matches!(
            self,
            Change::PodCreated(_)
                | Change::PodUnschedulable(_)
                | Change::PodUnschedulableMessage(_)
                | Change::PodAddress(_)
                | Change::PodSandboxFailed(_)
                | Change::ImagePulling(_)
                | Change::ImagePulled(_)
                | Change::ContainerStarted(..)
                | Change::ContainerStopped(..)
                | Change::PodProcess(..)
                | Change::PodPhase(_, PodPhase::Pending | PodPhase::Running)
                | Change::PodContainersReady(..)
                | Change::ClaimConsolidatable(_, false)
                | Change::ClaimPodEvent(_)
                | Change::BatchClosed(_)
                | Change::DeploymentScaled { .. }
                | Change::DeploymentStatus(..)
                | Change::ReplicaSetScaled { .. }
                | Change::ReplicaSetStatus(_)
                | Change::HpaSynced(_)
                | Change::HpaChanged(_)
                | Change::ServiceChanged(_)
                | Change::EndpointsChanged(_)
                | Change::TargetRegistered(_)
                | Change::TargetStateChanged(..)
                | Change::TargetRoutable(..)
                | Change::TargetInService(_)
                | Change::TargetWeight(..)
                | Change::TargetGone(_)
                | Change::NodeThrottled(..)
                | Change::NodeConditions(_)
                | Change::AlarmChanged(..)
                | Change::LoadChanged(_)
        )
    }
}

/// Why a pod is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DeleteCause {
    /// Its ReplicaSet became smaller.
    ScaleDown,
    /// Replaced by a newer revision.
    Rollout,
    /// The eviction API (a drain).
    Eviction,
    /// A pod of higher priority needs its place.
    Preemption,
    /// A NoExecute taint.
    Taint,
    /// Its node is gone (pod garbage collection).
    NodeGone,
    /// Its DaemonSet or node no longer wants it.
    DaemonSet,
    /// An operator.
    User,
    /// The end of a termination grace period of its node.
    Forced,
}

impl DeleteCause {
    /// In words.
    pub const fn name(self) -> &'static str {
        match self {
            DeleteCause::ScaleDown => "scale-down",
            DeleteCause::Rollout => "rollout",
            DeleteCause::Eviction => "eviction",
            DeleteCause::Preemption => "preemption",
            DeleteCause::Taint => "taint",
            DeleteCause::NodeGone => "node gone",
            DeleteCause::DaemonSet => "daemon set",
            DeleteCause::User => "user",
            DeleteCause::Forced => "forced",
        }
    }
}

/// Condition Ready of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NodeReadiness {
    /// True.
    Ready,
    /// False, as the kubelet says.
    NotReady,
    /// Unknown: no heartbeat.
    Unknown,
}

impl NodeReadiness {
    /// As the API writes it.
    pub const fn name(self) -> &'static str {
        match self {
            NodeReadiness::Ready => "True",
            NodeReadiness::NotReady => "False",
            NodeReadiness::Unknown => "Unknown",
        }
    }
}

/// Why a NodeClaim is disrupted or deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DisruptionReason {
    /// No pods that would have to move.
    Empty,
    /// Its pods fit elsewhere or on something cheaper.
    Underutilized,
    /// It differs from its NodePool or EC2NodeClass.
    Drifted,
    /// It is as old as `expireAfter`.
    Expired,
    /// A spot interruption notice.
    Interrupted,
    /// Its instance ended without notice.
    InstanceGone,
    /// It never launched or registered.
    NeverJoined,
    /// No capacity.
    InsufficientCapacity,
    /// An operator.
    User,
    /// Node repair.
    Unhealthy,
}

impl DisruptionReason {
    /// In words.
    pub const fn name(self) -> &'static str {
        match self {
            DisruptionReason::Empty => "empty",
            DisruptionReason::Underutilized => "underutilized",
            DisruptionReason::Drifted => "drifted",
            DisruptionReason::Expired => "expired",
            DisruptionReason::Interrupted => "interrupted",
            DisruptionReason::InstanceGone => "instance gone",
            DisruptionReason::NeverJoined => "never joined",
            DisruptionReason::InsufficientCapacity => "insufficient capacity",
            DisruptionReason::User => "user",
            DisruptionReason::Unhealthy => "unhealthy",
        }
    }
}

/// State of an alarm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AlarmState {
    /// Not enough data.
    InsufficientData,
    /// All well.
    Ok,
    /// Breached.
    Alarm,
}

impl AlarmState {
    /// As CloudWatch writes it.
    pub const fn name(self) -> &'static str {
        match self {
            AlarmState::InsufficientData => "INSUFFICIENT_DATA",
            AlarmState::Ok => "OK",
            AlarmState::Alarm => "ALARM",
        }
    }
}
