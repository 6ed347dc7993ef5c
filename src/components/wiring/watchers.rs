//! Who may watch a change: a table, so that a change is not shown to everybody.
//!
//! In: a change. Out: the watchers whose own function may be woken by it are asked, in the order in which they are.

use crate::world::{Change, TargetState};

macro_rules! watchers {
    ($($watcher:ident),* $(,)?) => {
        /// Who watches, in the order in which a change wakes them.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Watcher {
            $($watcher,)*
        }

        impl Watcher {
            /// All of them, in their order.
            pub const ALL: &[Watcher] = &[$(Watcher::$watcher),*];
        }
    };
}

watchers! {
    Deployment,
    ReplicaSet,
    StatefulSet,
    DaemonSet,
    Hpa,
    MetricsServer,
    Scheduler,
    Kubelet,
    EndpointSlice,
    PodDisruption,
    // Karpenter reads a node as it was written; what the node controller makes of the same news is a write that comes later.
    NodeClaim,
    NodeLifecycle,
    AttachDetach,
    Provisioner,
    Disruption,
    Termination,
    NodeHealth,
    Interruption,
    Fleet,
    Instance,
    CpuCredits,
    SpotMarket,
    TargetGroup,
    Alb,
    Traffic,
    Service,
}

/// Who asks watchers.
pub trait Ask {
    /// Asks one of them.
    fn ask(&mut self, watcher: Watcher);
}

/// Some watchers: one bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Watchers(u32);

impl Watchers {
    /// Those who may watch a change.
    pub fn of(change: Change) -> Watchers {
        let mut watchers = Watchers::default();
        ask_watchers(change, &mut watchers);
        watchers
    }

    /// Whether one is among them.
    pub fn has(self, watcher: Watcher) -> bool {
        self.0 & 1 << watcher as u32 != 0
    }
}

impl Ask for Watchers {
    fn ask(&mut self, watcher: Watcher) {
        self.0 |= 1 << watcher as u32;
    }
}

/// Asks those who may watch a change, in their order. A bound, which spares the walk through everybody: each watcher's own
/// function says whether it is woken and with what. Builds with assertions take the whole walk and check that it finds nobody
/// else. Where somebody is asked it is known what has changed: of his own function only that case is left there.
#[inline(always)]
pub fn ask_watchers(change: Change, by: &mut impl Ask) {
    use Watcher::*;
    macro_rules! all {
        ($($watcher:ident),* $(,)?) => {{ $(by.ask($watcher);)* }};
    }
    match change {
        Change::DeploymentChanged(_) | Change::DeploymentScaled { .. } | Change::DeploymentStatus(..) => {
            all!(Deployment, StatefulSet)
        }
        Change::ReplicaSetCreated(_)
        | Change::ReplicaSetScaled { .. }
        | Change::ReplicaSetChanged(_)
        | Change::ReplicaSetStatus(_) => all!(Deployment, ReplicaSet),
        Change::ReplicaSetGone(_) => all!(Deployment),
        Change::HpaChanged(_) => all!(Hpa),
        Change::PdbChanged(_) | Change::PdbStatus(_) => all!(PodDisruption),
        Change::PodCreated(_) => all!(ReplicaSet, StatefulSet, Scheduler, Kubelet, EndpointSlice, PodDisruption),
        Change::PodUnschedulable(_) | Change::PodUnschedulableMessage(_) | Change::PodNominated(_) => {
            all!(ReplicaSet, Provisioner)
        }
        Change::PodChanged(_) => {
            all!(ReplicaSet, StatefulSet, Scheduler, EndpointSlice, PodDisruption, Provisioner)
        }
        Change::PodBound(_) => {
            all!(ReplicaSet, Scheduler, Kubelet, NodeClaim, NodeLifecycle, AttachDetach, Disruption)
        }
        Change::PodAddress(_) => all!(EndpointSlice),
        Change::ContainerStarted(..) | Change::ContainerStopped(..) => all!(MetricsServer, Service),
        Change::PodProcess(..) => all!(Kubelet, Alb, Traffic, Service),
        Change::PodPhase(..) => all!(ReplicaSet, StatefulSet, Scheduler, NodeClaim, AttachDetach),
        Change::PodContainersReady(..) => all!(Scheduler, TargetGroup),
        Change::PodGate(..) => all!(Scheduler, Kubelet),
        Change::PodReady(..) => all!(ReplicaSet, StatefulSet, Scheduler, EndpointSlice, PodDisruption, Traffic),
        Change::PodDeleting(..) => {
            all!(ReplicaSet, StatefulSet, Scheduler, Kubelet, EndpointSlice, PodDisruption, NodeClaim, Traffic)
        }
        Change::PodGone(_) => all!(
            Deployment,
            ReplicaSet,
            StatefulSet,
            Scheduler,
            EndpointSlice,
            PodDisruption,
            AttachDetach,
            Disruption,
            TargetGroup,
            Alb,
            Traffic,
            Service,
        ),
        Change::ServiceChanged(_) => all!(EndpointSlice),
        Change::EndpointsChanged(_) => all!(TargetGroup, Traffic),
        Change::TargetRegistered(_) | Change::TargetStateChanged(_, TargetState::Draining) => all!(Alb),
        Change::TargetRoutable(..) | Change::TargetWeight(..) | Change::LoadChanged(_) => all!(Traffic),
        Change::TargetGone(_) => all!(Traffic, Service),
        Change::VolumeAttached(_) => all!(Kubelet),
        Change::NodeCreated(_) => {
            all!(DaemonSet, Scheduler, Kubelet, NodeClaim, NodeLifecycle, Disruption, TargetGroup)
        }
        Change::NodeReady(..) => all!(NodeClaim, NodeLifecycle, NodeHealth, TargetGroup),
        Change::NodeProblem(..) => all!(NodeHealth),
        Change::NodeThrottled(..) => all!(Service),
        Change::NodeConditions(_) => all!(NodeLifecycle),
        Change::NodeTaints(_) => all!(DaemonSet, Scheduler, NodeClaim, NodeLifecycle, Provisioner, TargetGroup),
        Change::NodeLabels(_) => all!(DaemonSet, Scheduler, NodeLifecycle, TargetGroup),
        Change::NodeDeleting(_) => all!(Termination),
        Change::NodeGone(_) => all!(Scheduler, NodeLifecycle, Disruption, TargetGroup),
        Change::NodeAlive(..) => all!(MetricsServer, Kubelet, NodeLifecycle, Alb, Service),
        Change::NodePoolChanged(_) => all!(NodeClaim, Disruption),
        Change::DaemonSetChanged(..) => all!(DaemonSet),
        Change::ClaimCreated(_) => all!(NodeClaim, Fleet),
        Change::ClaimLaunched(_) | Change::ClaimInitialized(_) => all!(NodeClaim, Disruption),
        Change::ClaimNoCapacity(_) | Change::InstanceTerminated(_) => all!(NodeClaim),
        Change::ClaimDeleting(..) => all!(Disruption, Termination),
        Change::ClaimGone(_) => all!(Disruption),
        Change::InstanceLaunched(_) => all!(Instance, CpuCredits, SpotMarket),
        Change::InstanceInterrupted(_) => all!(Interruption, Instance),
        Change::InstanceRebalance(_) => all!(Interruption),
        Change::InstanceShuttingDown(_) => all!(Interruption, Instance, CpuCredits),
        Change::FaultChanged(..) => all!(TargetGroup, Alb, Service),
        Change::PodRefused(_)
        | Change::HpaSynced(_)
        | Change::PodSandboxFailed(_)
        | Change::ImagePulling(_)
        | Change::ImagePulled(_)
        | Change::PodDeletionFailed(_)
        | Change::TargetStateChanged(..)
        | Change::TargetInService(_)
        | Change::VolumeDetached(_)
        | Change::BatchClosed(_)
        | Change::ClaimThrottled(_)
        | Change::ClaimRegistered(_)
        | Change::ClaimConsolidatable(..)
        | Change::ClaimDrifted(..)
        | Change::ClaimPodEvent(_)
        | Change::ClaimDisrupted(..)
        | Change::ClaimReleased(_)
        | Change::ClaimRebalance(_)
        | Change::ClaimDrained(_)
        | Change::CapacityChanged(..)
        | Change::SpotPrice(..)
        | Change::AlarmChanged(..)
        | Change::ActionDone(_) => all!(),
    }
}
