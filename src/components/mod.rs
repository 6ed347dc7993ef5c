//! The control loops, one file or folder a component, all of the same shape, and the one match that runs them.
//!
//! ```text
//!  queue.pop() ─► Sim::step ─► match event { Hpa(e) => components.hpa.handle(&mut cx, e), … }
//!                                      │ observe  reads cx.world
//!                                      │ decide   a pure function
//!                                      │ apply    cx.world.scale_deployment(…) ─► a Change in the world's journal
//!                                      │ schedule cx.after(span, Event::Sync)
//!                                      ▼
//!              journal ─► recorder (facts) ─► wiring::wake: who watches that, after what delay ─► queue
//! ```
//!
//! Components never import one another: they meet in the [`World`], as the real ones meet in the API server.
//! A wake says "look again", never "the value is now 7".

pub mod aws;
pub mod bootstrap;
pub mod clients;
pub mod karpenter;
pub mod kubernetes;
pub mod script;
pub mod sim;
pub mod wiring;

pub use sim::{Outcome, Sim};

use crate::engine::{Purpose, Queue, Random, Span, Time, TimerId};
use crate::plan::{InForce, Plan, Program, Stage};
use crate::record::Recorder;
use crate::world::World;
use std::hint::cold_path;

/// Everything that can happen, by the component that handles it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// HorizontalPodAutoscaler controller.
    Hpa(kubernetes::hpa::Event),
    /// cAdvisor, kubelet summary and metrics-server.
    MetricsServer(kubernetes::metrics_server::Event),
    /// Deployment controller.
    Deployment(kubernetes::deployment::Event),
    /// ReplicaSet controller.
    ReplicaSet(kubernetes::replica_set::Event),
    /// DaemonSet controller.
    DaemonSet(kubernetes::daemon_set::Event),
    /// kube-scheduler.
    Scheduler(kubernetes::scheduler::Event),
    /// Kubelets.
    Kubelet(kubernetes::kubelet::Event),
    /// EndpointSlice controller.
    EndpointSlice(kubernetes::endpoint_slice::Event),
    /// Disruption controller (PodDisruptionBudget status).
    PodDisruption(kubernetes::pod_disruption::Event),
    /// Node lifecycle, taint eviction, pod garbage collection.
    NodeLifecycle(kubernetes::node_lifecycle::Event),
    /// Karpenter provisioner.
    Provisioner(karpenter::provisioner::Event),
    /// Karpenter NodeClaim lifecycle, expiration, pod events, drift.
    NodeClaim(karpenter::node_claim::Event),
    /// Karpenter disruption loop and queue.
    Disruption(karpenter::disruption::Event),
    /// Karpenter termination: drain and delete.
    Termination(karpenter::termination::Event),
    /// Karpenter interruption poller.
    Interruption(karpenter::interruption::Event),
    /// EC2 CreateFleet.
    Fleet(aws::fleet::Event),
    /// Spot pools: shocks and notices.
    SpotMarket(aws::spot_market::Event),
    /// EC2 instances: boot, shutdown.
    Instance(aws::instance::Event),
    /// AWS Load Balancer Controller: TargetGroupBinding reconciler.
    TargetGroup(aws::target_group::Event),
    /// The load balancer: health checks, propagation, draining.
    Alb(aws::alb::Event),
    /// CloudWatch metrics and alarms.
    CloudWatch(aws::cloudwatch::Event),
    /// Clients that send requests.
    Traffic(clients::traffic::Event),
    /// Applications that serve them.
    Service(clients::service::Event),
    /// Scripted actions and faults.
    Script(script::Event),
    /// Recommender of the Vertical Pod Autoscaler.
    VpaRecommender(kubernetes::vpa_recommender::Event),
    /// External metrics, and triggers from zero.
    ExternalMetrics(kubernetes::external_metrics::Event),
    /// Attach-detach controller.
    AttachDetach(kubernetes::attach_detach::Event),
    /// Karpenter node repair.
    NodeHealth(karpenter::health::Event),
    /// CPU credits of burstable instances.
    CpuCredits(aws::credits::Event),
    /// StatefulSet controller.
    StatefulSet(kubernetes::stateful_set::Event),
}

// A queue entry is time + sequence + event: small events are fast events.
const _: () = assert!(size_of::<Event>() <= 12);

/// What a component may touch while it handles an event.
pub struct Cx<'a> {
    /// The present instant.
    pub now: Time,
    /// What the run was given.
    pub plan: &'a Plan,
    /// Everything that exists.
    pub world: &'a mut World,
    /// Events to come.
    pub queue: &'a mut Queue<Event>,
    /// The record.
    pub recorder: &'a mut Recorder,
    /// Chance; `None` without noise.
    pub random: Option<&'a Random>,
}

impl Cx<'_> {
    /// Schedules an event after `span`.
    pub fn after(&mut self, span: Span, event: Event) {
        self.queue.push(self.now + span, event);
    }

    /// Schedules an event at `at` (now, if that is past).
    pub fn at(&mut self, at: Time, event: Event) {
        self.queue.push(at.max(self.now), event);
    }

    /// Sets a timer to `at` (now, if that is past), in place of what it was set to.
    #[inline]
    pub fn set(&mut self, timer: TimerId, at: Time) {
        self.queue.set(timer, at.max(self.now));
    }

    /// One delay of a stage for the entity with that key: a draw, or the median without noise.
    pub fn delay(&self, stage: Stage, key: u64) -> Span {
        self.plan.timings.delay(stage, self.random, key)
    }

    /// The phase of a periodic loop: uniform over its period, or half of it without noise.
    pub fn phase(&self, purpose: Purpose, key: u64, period: Span) -> Span {
        match self.random {
            None => period.half(),
            Some(random) => Span::from_micros(random.below(purpose, key, period.micros())),
        }
    }

    /// One of `count` equals: uniform, or the first without noise.
    pub fn pick(&self, purpose: Purpose, key: u64, count: usize) -> usize {
        self.random.map_or(0, |random| random.below(purpose, key, count as u64) as usize)
    }

    /// Whether something of that chance happens; never below one half without noise.
    pub fn chance(&self, purpose: Purpose, key: u64, probability: f64) -> bool {
        self.random.map_or(probability >= 0.5, |random| random.uniform(purpose, key) < probability)
    }

    /// Explains a decision, for `explain`; the text is only made when somebody wants it.
    pub fn explain(&mut self, text: impl FnOnce() -> String) {
        let now = self.now;
        self.recorder.explain(now, text);
    }
}

/// The program that a component is part of, where that program can be down as a whole. The load balancer controller sees
/// to itself: it loses its memory.
fn program_of(event: Event) -> Option<Program> {
    match event {
        Event::Hpa(_)
        | Event::Deployment(_)
        | Event::ReplicaSet(_)
        | Event::StatefulSet(_)
        | Event::DaemonSet(_)
        | Event::EndpointSlice(_)
        | Event::PodDisruption(_)
        | Event::AttachDetach(_)
        | Event::NodeLifecycle(_) => Some(Program::ControllerManager),
        Event::Scheduler(_) => Some(Program::Scheduler),
        Event::Provisioner(_)
        | Event::NodeClaim(_)
        | Event::Disruption(_)
        | Event::Termination(_)
        | Event::NodeHealth(_)
        | Event::Interruption(_) => Some(Program::Karpenter),
        Event::MetricsServer(_)
        | Event::Kubelet(_)
        | Event::Fleet(_)
        | Event::SpotMarket(_)
        | Event::Instance(_)
        | Event::CpuCredits(_)
        | Event::TargetGroup(_)
        | Event::Alb(_)
        | Event::CloudWatch(_)
        | Event::Traffic(_)
        | Event::Service(_)
        | Event::Script(_)
        | Event::VpaRecommender(_)
        | Event::ExternalMetrics(_) => None,
    }
}

/// All components.
#[derive(Default)]
pub struct Components {
    /// HorizontalPodAutoscaler controller.
    pub hpa: kubernetes::hpa::Hpa,
    /// cAdvisor, kubelet summary and metrics-server.
    pub metrics_server: kubernetes::metrics_server::MetricsServer,
    /// Deployment controller.
    pub deployment: kubernetes::deployment::DeploymentController,
    /// ReplicaSet controller.
    pub replica_set: kubernetes::replica_set::ReplicaSetController,
    /// StatefulSet controller.
    pub stateful_set: kubernetes::stateful_set::StatefulSetController,
    /// DaemonSet controller.
    pub daemon_set: kubernetes::daemon_set::DaemonSetController,
    /// kube-scheduler.
    pub scheduler: kubernetes::scheduler::Scheduler,
    /// Kubelets.
    pub kubelet: kubernetes::kubelet::Kubelet,
    /// EndpointSlice controller.
    pub endpoint_slice: kubernetes::endpoint_slice::EndpointSlice,
    /// Disruption controller.
    pub pod_disruption: kubernetes::pod_disruption::PodDisruption,
    /// Node lifecycle, taint eviction, pod garbage collection.
    pub node_lifecycle: kubernetes::node_lifecycle::NodeLifecycle,
    /// Attach-detach controller.
    pub attach_detach: kubernetes::attach_detach::AttachDetach,
    /// Karpenter provisioner.
    pub provisioner: karpenter::provisioner::Provisioner,
    /// Karpenter NodeClaim lifecycle.
    pub node_claim: karpenter::node_claim::NodeClaims,
    /// Karpenter disruption loop and queue.
    pub disruption: karpenter::disruption::Disruption,
    /// Karpenter termination.
    pub termination: karpenter::termination::Termination,
    /// Karpenter node repair.
    pub node_health: karpenter::health::NodeHealth,
    /// Karpenter interruption poller.
    pub interruption: karpenter::interruption::Interruption,
    /// EC2 CreateFleet.
    pub fleet: aws::fleet::Fleet,
    /// Spot pools.
    pub spot_market: aws::spot_market::SpotMarket,
    /// EC2 instances.
    pub instance: aws::instance::Instances,
    /// CPU credits.
    pub cpu_credits: aws::credits::CpuCredits,
    /// AWS Load Balancer Controller.
    pub target_group: aws::target_group::TargetGroupController,
    /// The load balancer.
    pub alb: aws::alb::Alb,
    /// CloudWatch.
    pub cloudwatch: aws::cloudwatch::CloudWatch,
    /// Clients.
    pub traffic: clients::traffic::Traffic,
    /// Applications.
    pub service: clients::service::Service,
    /// Scripted actions and faults.
    pub script: script::Script,
    /// Recommender of the Vertical Pod Autoscaler.
    pub vpa_recommender: kubernetes::vpa_recommender::VpaRecommender,
    /// External metrics, and triggers from zero.
    pub external_metrics: kubernetes::external_metrics::ExternalMetrics,
}

impl Components {
    /// Every component schedules its first events. The world holds the initial state already.
    pub fn start(&mut self, cx: &mut Cx) {
        if !cx.plan.node_pools.is_empty() {
            let catalog = karpenter::cluster::Catalog::shared(cx.plan);
            self.provisioner.read(catalog.clone());
            self.disruption.read(catalog);
        }
        self.hpa.start(cx);
        self.metrics_server.start(cx);
        self.deployment.start(cx);
        self.replica_set.start(cx);
        self.stateful_set.start(cx);
        self.daemon_set.start(cx);
        self.scheduler.start(cx);
        self.kubelet.start(cx);
        self.endpoint_slice.start(cx);
        self.pod_disruption.start(cx);
        self.node_lifecycle.start(cx);
        self.attach_detach.start(cx);
        self.provisioner.start(cx);
        self.node_claim.start(cx);
        self.disruption.start(cx);
        self.termination.start(cx);
        self.node_health.start(cx);
        self.interruption.start(cx);
        self.fleet.start(cx);
        self.spot_market.start(cx);
        self.instance.start(cx);
        self.cpu_credits.start(cx);
        self.target_group.start(cx);
        self.alb.start(cx);
        self.cloudwatch.start(cx);
        self.traffic.start(cx);
        self.service.start(cx);
        self.script.start(cx);
        self.vpa_recommender.start(cx);
        self.external_metrics.start(cx);
    }

    /// The run is over; `early`: a limit has stopped it, and what is computed in its last minutes is computed now.
    pub fn conclude(&mut self, cx: &mut Cx, early: bool) {
        self.cpu_credits.conclude(cx);
        self.script.conclude(cx);
        if early {
            self.vpa_recommender.conclude(cx);
        }
    }

    /// Hands an event to its component. What comes for a program that is down waits until it is back: it then looks at
    /// everything anew.
    #[inline(always)]
    pub fn handle(&mut self, cx: &mut Cx, event: &Event) {
        if !cx.plan.faults.is_empty() {
            cold_path();
            if let Some(program) = program_of(*event)
                && let Some(until) = InForce::new(cx.plan, &cx.world.faults).is_down(program)
            {
                if let Some(until) = until {
                    cx.at(until, *event);
                }
                return;
            }
        }
        match *event {
            Event::Hpa(event) => self.hpa.handle(cx, event),
            Event::MetricsServer(event) => self.metrics_server.handle(cx, event),
            Event::Deployment(event) => self.deployment.handle(cx, event),
            Event::ReplicaSet(event) => self.replica_set.handle(cx, event),
            Event::StatefulSet(event) => self.stateful_set.handle(cx, event),
            Event::DaemonSet(event) => self.daemon_set.handle(cx, event),
            Event::Scheduler(event) => self.scheduler.handle(cx, event),
            Event::Kubelet(event) => self.kubelet.handle(cx, event),
            Event::EndpointSlice(event) => self.endpoint_slice.handle(cx, event),
            Event::PodDisruption(event) => self.pod_disruption.handle(cx, event),
            Event::NodeLifecycle(event) => self.node_lifecycle.handle(cx, event),
            Event::AttachDetach(event) => self.attach_detach.handle(cx, event),
            Event::Provisioner(event) => self.provisioner.handle(cx, event),
            Event::NodeClaim(event) => self.node_claim.handle(cx, event),
            Event::Disruption(event) => self.disruption.handle(cx, event),
            Event::Termination(event) => self.termination.handle(cx, event),
            Event::NodeHealth(event) => self.node_health.handle(cx, event),
            Event::Interruption(event) => self.interruption.handle(cx, event),
            Event::Fleet(event) => self.fleet.handle(cx, event),
            Event::SpotMarket(event) => self.spot_market.handle(cx, event),
            Event::Instance(event) => self.instance.handle(cx, event),
            Event::CpuCredits(event) => self.cpu_credits.handle(cx, event),
            Event::TargetGroup(event) => self.target_group.handle(cx, event),
            Event::Alb(event) => self.alb.handle(cx, event),
            Event::CloudWatch(event) => self.cloudwatch.handle(cx, event),
            Event::Traffic(event) => self.traffic.handle(cx, event),
            Event::Service(event) => self.service.handle(cx, event),
            Event::Script(event) => self.script.handle(cx, event),
            Event::VpaRecommender(event) => self.vpa_recommender.handle(cx, event),
            Event::ExternalMetrics(event) => self.external_metrics.handle(cx, event),
        }
    }
}
