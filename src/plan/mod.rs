//! What a run is given: typed, immutable, ids assigned, curves compiled. Shared by all replications.
//!
//! The scenario reader makes a plan from a user's files; conformance tests make one from a recorded case. Nothing here
//! can fail any more: every reference was checked.

pub mod action;
pub mod app;
pub mod capacity_pool;
pub mod clients;
pub mod external;
pub mod fault;
pub mod flags;
pub mod ids;
pub mod load_balancer;
pub mod metric;
pub mod node_pool;
pub mod objective;
pub mod pod;
pub mod script;
pub mod timing;
pub mod volume;
pub mod work;
pub mod workload;

pub use app::{App, Curve, Drains, TrafficMode};
pub use capacity_pool::{CapacityPool, CapacityPools, PriceMoves, ShockCondition};
pub use clients::{Clients, Retries};
pub use external::{Activation, ExternalMetric};
pub use fault::{InForce, LoadBalancerCall, NodeProblem, Passage, Program, SlowPart};
pub use flags::Flags;
pub use ids::*;
pub use load_balancer::{
    AlarmSpec, Comparison, HealthCheck, MissingData, RoutingAlgorithm, Stickiness, TargetGroup, TargetGroupBindingSpec,
};
pub use metric::{AlbMetric, METRICS, Metric, MetricKind, find_metric, percentile};
pub use node_pool::{
    AmiFamily, Budget, CapacityType, ConsolidationPolicy, InstanceType, MicroDollars, NodeClassSpec, NodePoolSpec,
    Offering, Reservation,
};
pub use objective::ErrorBudget;
pub use pod::{
    Affinity, Container, ContainerPort, Image, PodAffinityTerm, PodController, PodTemplate, Probe, ProbeHandler,
    Protocol, RestartPolicy, TopologySpread,
};
pub use script::{
    Action, ActionKind, Applied, Claim, Fault, FaultKind, InitialNode, InitialPod, NodeChoice, PodCall, PodChoice,
};
pub use timing::{Distribution, Stage, Timings};
pub use volume::{StorageClass, Volume, VolumeClaim, Volumes};
pub use work::{Demand, Rise, WarmUp};
pub use workload::{
    Behavior, DaemonSetSpec, DeploymentSpec, Families, HpaSpec, IntOrPercent, MetricSpec, MetricTarget, Ordinal,
    PdbSpec, ScalingPolicy, ScalingRules, SelectPolicy, ServicePort, ServiceSpec, Strategy, TargetPort,
};

use crate::engine::{Limits, Span, Time};
use crate::rules::labels::Labels;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Everything a run is given.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Name of the scenario.
    pub name: String,
    /// Hash of the scenario and all files it reads (hexadecimal, 16 digits).
    pub hash: String,
    /// The scenario's zero on the clock of [`Time`], a whole second.
    pub start: Time,
    /// The run ends here, this instant included.
    pub until: Time,
    /// Seed of all chance.
    pub seed: u64,
    /// False: `noise: off`, the exact timeline: medians, half phases, lowest ordinals.
    pub noise: bool,
    /// Limits of the run.
    pub limits: Limits,
    /// Flags of the controllers and version knobs.
    pub flags: Flags,
    /// Delays.
    pub timings: Timings,
    /// AWS region, for names and prices.
    pub region: String,
    /// Zone names.
    pub zones: Vec<String>,
    /// Labels of namespaces that exist.
    pub namespaces: BTreeMap<String, Labels>,
    /// Value of each PriorityClass.
    pub priority_classes: BTreeMap<String, i32>,
    /// Pod templates.
    pub templates: Vec<Arc<PodTemplate>>,
    /// Images that templates name.
    pub images: Vec<Image>,
    /// Deployments at the start.
    pub deployments: Vec<Arc<DeploymentSpec>>,
    /// DaemonSets.
    pub daemon_sets: Vec<Arc<DaemonSetSpec>>,
    /// Autoscalers at the start.
    pub hpas: Vec<Arc<HpaSpec>>,
    /// Budgets at the start.
    pub pdbs: Vec<Arc<PdbSpec>>,
    /// `spec.hard.pods` of ResourceQuotas, by namespace.
    pub pod_quotas: BTreeMap<String, u32>,
    /// Services.
    pub services: Vec<Arc<ServiceSpec>>,
    /// NodePools at the start.
    pub node_pools: Vec<Arc<NodePoolSpec>>,
    /// EC2NodeClasses.
    pub node_classes: Vec<Arc<NodeClassSpec>>,
    /// Instance types, as the default NodeClass of the plan sees them.
    pub instance_types: Vec<Arc<InstanceType>>,
    /// Types per NodePool (positions in `instance_types`), in the provider's order; a class may change allocatable, so
    /// two pools may hold different entries of one type.
    pub pool_types: Vec<Vec<InstanceTypeId>>,
    /// Capacity reservations that offerings draw on.
    pub reservations: Vec<Reservation>,
    /// Pools of EC2 capacity that can fail by themselves.
    pub capacity_pools: CapacityPools,
    /// How spot prices move by themselves; `None`: they do not.
    pub price_moves: Option<PriceMoves>,
    /// Only runs with, or only runs without, an early shock of a pool are made.
    pub shock_condition: Option<ShockCondition>,
    /// Persistent volumes and their claims.
    pub volumes: Volumes,
    /// Target groups.
    pub target_groups: Vec<TargetGroup>,
    /// TargetGroupBindings.
    pub bindings: Vec<TargetGroupBindingSpec>,
    /// Load models and traffic.
    pub apps: Vec<App>,
    /// Metrics from outside the cluster.
    pub external_metrics: Vec<ExternalMetric>,
    /// Deployments that a trigger takes from and to zero.
    pub activations: Vec<Activation>,
    /// Alarms.
    pub alarms: Vec<AlarmSpec>,
    /// Metrics of the cluster that the series hold.
    pub metrics: Vec<&'static Metric>,
    /// Nodes that exist at the start.
    pub nodes: Vec<InitialNode>,
    /// Bare pods that exist at the start.
    pub pods: Vec<InitialPod>,
    /// Scripted faults in order of time.
    pub faults: Vec<Fault>,
    /// Scripted actions in order of time.
    pub actions: Vec<Action>,
    /// What somebody claims, with the expected verdicts.
    pub claims: Vec<Claim>,
    /// What the scenario must keep.
    pub expectations: Vec<crate::rules::expectation::Expectation>,
    /// What of the requests must succeed, over which period.
    pub error_budget: ErrorBudget,
    /// Remarks for the user made while the plan was built (what was converted, assumed, skipped).
    pub remarks: Vec<String>,
    /// Objects of the start (initial nodes, their pods, Deployments) are this much older than the start.
    pub initial_age: Span,
    /// Delays of single machines that are known.
    pub known_delays: timing::KnownDelays,
}

impl Plan {
    /// A plan with nothing in it that runs from `start` for `length`, without noise.
    pub fn empty(start: Time, length: Span) -> Plan {
        Plan {
            name: "empty".to_string(),
            hash: "0".repeat(16),
            start,
            until: start + length,
            seed: 1,
            noise: false,
            limits: Limits::default(),
            flags: Flags::default(),
            timings: Timings::none(),
            region: "us-east-1".to_string(),
            zones: Vec::new(),
            namespaces: BTreeMap::new(),
            priority_classes: BTreeMap::new(),
            templates: Vec::new(),
            images: Vec::new(),
            deployments: Vec::new(),
            daemon_sets: Vec::new(),
            hpas: Vec::new(),
            pdbs: Vec::new(),
            pod_quotas: BTreeMap::new(),
            services: Vec::new(),
            node_pools: Vec::new(),
            node_classes: Vec::new(),
            instance_types: Vec::new(),
            pool_types: Vec::new(),
            reservations: Vec::new(),
            capacity_pools: CapacityPools::default(),
            price_moves: None,
            shock_condition: None,
            volumes: Volumes::default(),
            target_groups: Vec::new(),
            bindings: Vec::new(),
            apps: Vec::new(),
            external_metrics: Vec::new(),
            activations: Vec::new(),
            alarms: Vec::new(),
            metrics: Vec::new(),
            nodes: Vec::new(),
            pods: Vec::new(),
            faults: Vec::new(),
            actions: Vec::new(),
            claims: Vec::new(),
            expectations: Vec::new(),
            error_budget: ErrorBudget::default(),
            remarks: Vec::new(),
            initial_age: Span::from_secs(360),
            known_delays: timing::KnownDelays::default(),
        }
    }

    /// The pod template of an id.
    pub fn template(&self, id: TemplateId) -> &Arc<PodTemplate> {
        &self.templates[id.index()]
    }

    /// The load model of a Deployment's pods.
    pub fn app_of(&self, deployment: DeploymentId) -> Option<AppId> {
        self.apps.iter().position(|app| app.deployment == deployment).map(AppId::at)
    }

    /// The object is applied during the run and is not there at its start.
    pub fn is_applied_later(&self, object: Applied) -> bool {
        self.actions.iter().any(|action| matches!(action.kind, ActionKind::Create(created) if created == object))
    }

    /// The instance type of an id.
    pub fn instance_type(&self, id: InstanceTypeId) -> &Arc<InstanceType> {
        &self.instance_types[id.index()]
    }
}
