//! Wakes: events that say "look again" to who watches what has changed, each sent once while it is on its way.
//!
//! In: the events that watchers make of a change. Out: events in the queue, after the delay of a watch or at once.

use super::on_the_way::OnTheWay;
use crate::components::{Event, aws, clients, karpenter, kubernetes};
use crate::engine::{Queue, Random, Span, Time};
use crate::plan::{Plan, Stage};
use crate::world::{Change, ClaimId, PodId, World};

/// Sends the wakes of one change.
pub struct Wakes<'a> {
    change: Change,
    now: Time,
    of: (&'a Plan, &'a World),
    random: Option<&'a Random>,
    queue: &'a mut Queue<Event>,
    on_the_way: &'a mut OnTheWay,
    /// The delay of the watch, drawn when the first wake needs it: most changes wake nobody.
    watch: Option<Span>,
}

impl<'a> Wakes<'a> {
    /// None yet.
    #[inline]
    pub fn new(
        change: Change,
        now: Time,
        of: (&'a Plan, &'a World),
        random: Option<&'a Random>,
        queue: &'a mut Queue<Event>,
        on_the_way: &'a mut OnTheWay,
    ) -> Wakes<'a> {
        Wakes { change, now, of, random, queue, on_the_way, watch: None }
    }

    /// It sees the change in this instant.
    #[inline(always)]
    pub fn at_once(&mut self, event: Event) {
        match Wake::of(&event) {
            Some(wake) => self.send_at_once(wake, event),
            None => unlisted(event),
        }
    }

    /// It sees the change when its watch brings it.
    #[inline(always)]
    pub fn after_watch(&mut self, event: Event) {
        match Wake::of(&event) {
            Some(wake) => self.send_after_watch(wake, event),
            None => unlisted(event),
        }
    }

    #[inline(never)]
    fn send_at_once(&mut self, wake: Wake, event: Event) {
        if self.on_the_way.insert(wake) {
            self.queue.push(self.now, event);
        }
    }

    #[inline(never)]
    fn send_after_watch(&mut self, wake: Wake, event: Event) {
        if self.on_the_way.insert(wake) {
            let (plan, world) = self.of;
            let drawn = || plan.timings.delay(Stage::ApiHop, self.random, subject(self.change, world));
            let delay = *self.watch.get_or_insert_with(drawn);
            self.queue.push(self.now + delay, event);
        }
    }
}

/// A wake that would be lost: a defect of this program.
#[cold]
fn unlisted(event: Event) -> ! {
    panic!("{event:?} is sent as a wake, and the table of wakes does not list it")
}

/// What a wake is: its kind, and the number of what it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wake {
    pub(super) kind: Kind,
    pub(super) about: u32,
}

macro_rules! wakes {
    ($($kind:ident: $component:ident($event:pat) about $about:expr;)*) => {
        /// Of which kind a wake is.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[allow(missing_docs, reason = "each is named after its event")]
        pub(super) enum Kind {
            $($kind,)*
        }

        /// So many kinds there are.
        pub(super) const KINDS: usize = [$(Kind::$kind),*].len();

        impl Wake {
            /// A word that no other wake has.
            #[inline]
            pub fn word(self) -> u64 {
                (self.kind as u64) << 32 | u64::from(self.about)
            }

            /// What an event is as a wake; `None`: it is none, but one that only its own component schedules, such as requests,
            /// samples and health checks. They are most of all events, and nobody looks whether they are on their way.
            #[inline(always)]
            pub fn of(event: &Event) -> Option<Wake> {
                match *event {
                    $(Event::$component($event) => Some(Wake { kind: Kind::$kind, about: $about }),)*
                    _ => None,
                }
            }
        }
    };
}

wakes! {
    EndpointSliceService: EndpointSlice(kubernetes::endpoint_slice::Event::Service(id)) about id.0;
    EndpointSlicePod: EndpointSlice(kubernetes::endpoint_slice::Event::Pod(id)) about id.0;
    TargetGroupStopped: TargetGroup(aws::target_group::Event::Stopped) about 0;
    TargetGroupStarted: TargetGroup(aws::target_group::Event::Started) about 0;
    TargetGroupEndpoints: TargetGroup(aws::target_group::Event::Endpoints(id)) about id.0;
    TargetGroupPod: TargetGroup(aws::target_group::Event::Pod(id)) about id.0;
    TargetGroupNode: TargetGroup(aws::target_group::Event::Node(id)) about id.0;
    DeploymentSync: Deployment(kubernetes::deployment::Event::Sync(id)) about id.0;
    ReplicaSetSync: ReplicaSet(kubernetes::replica_set::Event::Sync(id)) about id.0;
    ReplicaSetPodReady: ReplicaSet(kubernetes::replica_set::Event::PodReady(id)) about id.0;
    StatefulSetSync: StatefulSet(kubernetes::stateful_set::Event::Sync(id)) about id.0;
    StatefulSetPodReady: StatefulSet(kubernetes::stateful_set::Event::PodReady(id)) about id.0;
    DaemonSetSet: DaemonSet(kubernetes::daemon_set::Event::Set(id)) about id.0;
    DaemonSetNode: DaemonSet(kubernetes::daemon_set::Event::Node(id)) about id.0;
    HpaChanged: Hpa(kubernetes::hpa::Event::Changed(id)) about id.0;
    MetricsServerStarted: MetricsServer(kubernetes::metrics_server::Event::Started(id)) about id.0;
    MetricsServerStopped: MetricsServer(kubernetes::metrics_server::Event::Stopped(id)) about id.0;
    MetricsServerNode: MetricsServer(kubernetes::metrics_server::Event::Node(id)) about id.0;
    SchedulerPodAdded: Scheduler(kubernetes::scheduler::Event::PodAdded(id)) about id.0;
    SchedulerPodBound: Scheduler(kubernetes::scheduler::Event::PodBound(id)) about id.0;
    SchedulerPodDeleting: Scheduler(kubernetes::scheduler::Event::PodDeleting(id)) about id.0;
    SchedulerPodGone: Scheduler(kubernetes::scheduler::Event::PodGone(id)) about id.0;
    SchedulerPodStatus: Scheduler(kubernetes::scheduler::Event::PodStatus(id)) about id.0;
    SchedulerNodeAdded: Scheduler(kubernetes::scheduler::Event::NodeAdded(id)) about id.0;
    SchedulerNodeTaints: Scheduler(kubernetes::scheduler::Event::NodeTaints(id)) about id.0;
    SchedulerNodeLabels: Scheduler(kubernetes::scheduler::Event::NodeLabels(id)) about id.0;
    SchedulerNodeGone: Scheduler(kubernetes::scheduler::Event::NodeGone(id)) about id.0;
    KubeletAdded: Kubelet(kubernetes::kubelet::Event::Added(id)) about id.0;
    KubeletTerminate: Kubelet(kubernetes::kubelet::Event::Terminate(id)) about id.0;
    KubeletStatus: Kubelet(kubernetes::kubelet::Event::Status(id)) about id.0;
    KubeletVolume: Kubelet(kubernetes::kubelet::Event::Volume(id)) about id.0;
    KubeletProcess: Kubelet(kubernetes::kubelet::Event::Process(id)) about id.0;
    KubeletNodeJoined: Kubelet(kubernetes::kubelet::Event::NodeJoined(id)) about id.0;
    KubeletNodeAlive: Kubelet(kubernetes::kubelet::Event::NodeAlive(id)) about id.0;
    PodDisruptionSync: PodDisruption(kubernetes::pod_disruption::Event::Sync(id)) about id.0;
    PodDisruptionTarget: PodDisruption(kubernetes::pod_disruption::Event::Target(id)) about id.0;
    NodeLifecycleConditions: NodeLifecycle(kubernetes::node_lifecycle::Event::Conditions(id)) about id.0;
    NodeLifecycleTaints: NodeLifecycle(kubernetes::node_lifecycle::Event::Taints(id)) about id.0;
    NodeLifecycleLabels: NodeLifecycle(kubernetes::node_lifecycle::Event::Labels(id)) about id.0;
    NodeLifecycleGone: NodeLifecycle(kubernetes::node_lifecycle::Event::Gone(id)) about id.0;
    NodeLifecyclePodBound: NodeLifecycle(kubernetes::node_lifecycle::Event::PodBound(id)) about id.0;
    NodeLifecycleAlive: NodeLifecycle(kubernetes::node_lifecycle::Event::Alive(id)) about id.0;
    AttachDetachPod: AttachDetach(kubernetes::attach_detach::Event::Pod(id)) about id.0;
    ProvisionerPod: Provisioner(karpenter::provisioner::Event::Pod(id)) about id.0;
    ProvisionerNode: Provisioner(karpenter::provisioner::Event::Node(id)) about id.0;
    NodeClaimReconcile: NodeClaim(karpenter::node_claim::Event::Reconcile(id)) about id.0;
    NodeClaimPod: NodeClaim(karpenter::node_claim::Event::Pod(id)) about id.0;
    NodeClaimPool: NodeClaim(karpenter::node_claim::Event::Pool(id)) about id.0;
    NodeClaimInstanceGone: NodeClaim(karpenter::node_claim::Event::InstanceGone) about 0;
    DisruptionUnconsolidated: Disruption(karpenter::disruption::Event::Unconsolidated) about 0;
    TerminationReconcile: Termination(karpenter::termination::Event::Reconcile(id)) about id.0;
    TerminationNodeDeleting: Termination(karpenter::termination::Event::NodeDeleting(id)) about id.0;
    NodeHealthLook: NodeHealth(karpenter::health::Event::Look(id)) about id.0;
    InterruptionNotice: Interruption(karpenter::interruption::Event::Notice(id)) about id.0;
    InterruptionRebalance: Interruption(karpenter::interruption::Event::Rebalance(id)) about id.0;
    InterruptionStateChange: Interruption(karpenter::interruption::Event::StateChange(id)) about id.0;
    CpuCreditsLaunched: CpuCredits(aws::credits::Event::Launched(id)) about id.0;
    CpuCreditsEnded: CpuCredits(aws::credits::Event::Ended(id)) about id.0;
    FleetCreate: Fleet(aws::fleet::Event::Create(id)) about id.0;
    InstanceLaunched: Instance(aws::instance::Event::Launched(id)) about id.0;
    InstanceNotice: Instance(aws::instance::Event::Notice(id)) about id.0;
    InstanceShuttingDown: Instance(aws::instance::Event::ShuttingDown(id)) about id.0;
    SpotMarketLaunched: SpotMarket(aws::spot_market::Event::Launched(id)) about id.0;
    AlbRegistered: Alb(aws::alb::Event::Registered(id)) about id.0;
    AlbDeregistered: Alb(aws::alb::Event::Deregistered(id)) about id.0;
    AlbProcess: Alb(aws::alb::Event::Process(id)) about id.0;
    AlbNode: Alb(aws::alb::Event::Node(id)) about id.0;
    AlbFault: Alb(aws::alb::Event::Fault(id)) about id.0;
    TrafficTarget: Traffic(clients::traffic::Event::Target(id)) about id.0;
    TrafficLoad: Traffic(clients::traffic::Event::Load(id)) about id.0;
    TrafficEndpoints: Traffic(clients::traffic::Event::Endpoints(id)) about id.0;
    TrafficPods: Traffic(clients::traffic::Event::Pods(id)) about id.0;
    ServiceContainer: Service(clients::service::Event::Container(id)) about id.0;
    ServiceProcess: Service(clients::service::Event::Process(id)) about id.0;
    ServiceTarget: Service(clients::service::Event::Target(id)) about id.0;
    ServiceNode: Service(clients::service::Event::Node(id)) about id.0;
    ServiceSpeed: Service(clients::service::Event::Speed(id)) about id.0;
    ServiceFault: Service(clients::service::Event::Fault(id)) about id.0;
}

/// What a change is about: the key of its watch delay, so that changes of other objects never shift it.
fn subject(change: Change, world: &World) -> u64 {
    let pod = |pod: PodId, kind: u64| world.pod(pod).key() ^ kind << 56;
    let claim = |claim: ClaimId, kind: u64| 1 << 62 | world.claim(claim).key() ^ kind << 48;
    let other = |kind: u64, id: u32| 1 << 63 | kind << 40 | u64::from(id);
    match change {
        Change::PodCreated(id) => pod(id, 1),
        Change::PodUnschedulable(id) => pod(id, 2),
        Change::PodNominated(id) => pod(id, 3),
        Change::PodBound(id) => pod(id, 4),
        Change::PodChanged(id) => pod(id, 11),
        Change::PodUnschedulableMessage(id) => pod(id, 12),
        Change::PodAddress(id) | Change::PodSandboxFailed(id) | Change::ImagePulling(id) | Change::ImagePulled(id) => {
            pod(id, 5)
        }
        Change::ContainerStarted(id, _) | Change::ContainerStopped(id, _) | Change::PodProcess(id, _) => pod(id, 6),
        Change::PodPhase(id, _) | Change::PodContainersReady(id, _) | Change::PodGate(id, _) => pod(id, 7),
        Change::PodReady(id, _) => pod(id, 8),
        Change::PodDeleting(id, _) | Change::PodDeletionFailed(id) => pod(id, 9),
        Change::PodGone(id) => pod(id, 10),
        Change::ClaimCreated(id) | Change::ClaimLaunched(id) | Change::ClaimNoCapacity(id) => claim(id, 1),
        Change::ClaimThrottled(id) => claim(id, 6),
        Change::ClaimRegistered(id) | Change::ClaimInitialized(id) => claim(id, 2),
        Change::ClaimConsolidatable(id, _) | Change::ClaimDrifted(id, _) | Change::ClaimPodEvent(id) => claim(id, 3),
        Change::ClaimDisrupted(id, _) | Change::ClaimReleased(id) | Change::ClaimRebalance(id) => claim(id, 4),
        Change::ClaimDeleting(id, _) | Change::ClaimDrained(id) | Change::ClaimGone(id) => claim(id, 5),
        Change::NodeCreated(id) | Change::NodeGone(id) | Change::NodeDeleting(id) => other(1, id.0),
        Change::NodeReady(id, _) | Change::NodeAlive(id, _) | Change::NodeConditions(id) => other(2, id.0),
        Change::NodeProblem(id, ..) => other(19, id.0),
        Change::NodeThrottled(id, _) => other(20, id.0),
        Change::SpotPrice(id, _) => other(21, id.0),
        Change::NodeTaints(id) | Change::NodeLabels(id) => other(3, id.0),
        Change::DeploymentChanged(id)
        | Change::DeploymentScaled { deployment: id, .. }
        | Change::DeploymentStatus(id, _) => other(4, id.0),
        Change::ReplicaSetCreated(id)
        | Change::ReplicaSetScaled { replica_set: id, .. }
        | Change::ReplicaSetChanged(id)
        | Change::ReplicaSetStatus(id)
        | Change::PodRefused(id)
        | Change::ReplicaSetGone(id) => other(5, id.0),
        Change::HpaSynced(id) | Change::HpaChanged(id) => other(6, id.0),
        Change::PdbChanged(id) | Change::PdbStatus(id) => other(7, id.0),
        Change::EndpointsChanged(id) | Change::ServiceChanged(id) => other(8, id.0),
        Change::TargetRegistered(id)
        | Change::TargetStateChanged(id, _)
        | Change::TargetRoutable(id, _)
        | Change::TargetWeight(id, _)
        | Change::TargetInService(id)
        | Change::TargetGone(id) => other(9, id.0),
        Change::InstanceLaunched(id)
        | Change::InstanceInterrupted(id)
        | Change::InstanceRebalance(id)
        | Change::InstanceShuttingDown(id)
        | Change::InstanceTerminated(id) => other(10, id.0),
        Change::NodePoolChanged(id) => other(11, id.0),
        Change::DaemonSetChanged(id, _) => other(22, id.0),
        Change::BatchClosed(_) => other(12, 0),
        Change::AlarmChanged(id, _) => other(13, id.0),
        Change::ActionDone(id) => other(14, id.0),
        Change::FaultChanged(id, _) => other(15, id.0),
        Change::LoadChanged(id) => other(16, id.0),
        Change::CapacityChanged(id, _) => other(17, id.0),
        Change::VolumeAttached(id) | Change::VolumeDetached(id) => other(18, id.0),
    }
}
