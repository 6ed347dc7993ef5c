//! Workload objects: Deployment, DaemonSet, HorizontalPodAutoscaler, PodDisruptionBudget, Service.
//!
//! Defaults are those of the API server; sources: `pkg/apis/apps/v1/defaults.go`, `pkg/apis/autoscaling/v2/defaults.go`,
//! `pkg/apis/policy/v1`.

use super::ids::TemplateId;
use super::pod::Protocol;
use crate::engine::Span;
use crate::rules::labels::{LabelSelector, Labels};
use crate::rules::quantity::Quantity;

/// A count or a percentage of something, as `maxSurge` and PDBs write it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IntOrPercent {
    /// So many.
    Int(i32),
    /// So many hundredths.
    Percent(i32),
}

/// A Deployment; or a StatefulSet, which differs in how it keeps its pods ([`Strategy::Ordinal`]).
#[derive(Clone, Debug, PartialEq)]
pub struct DeploymentSpec {
    /// `metadata.namespace`.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
    /// `spec.replicas`, default 1.
    pub replicas: i32,
    /// `spec.selector`.
    pub selector: LabelSelector,
    /// `spec.template`.
    pub template: TemplateId,
    /// `spec.strategy`.
    pub strategy: Strategy,
    /// `spec.minReadySeconds`.
    pub min_ready: Span,
    /// `spec.progressDeadlineSeconds`, default 600 s.
    pub progress_deadline: Span,
    /// `spec.revisionHistoryLimit`, default 10.
    pub revision_history_limit: i32,
    /// `spec.paused`.
    pub paused: bool,
}

/// How a Deployment or a StatefulSet replaces its pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// Old and new side by side. Defaults 25 % and 25 %.
    RollingUpdate {
        /// Extra pods allowed, rounded up.
        max_surge: IntOrPercent,
        /// Pods that may be missing, rounded down.
        max_unavailable: IntOrPercent,
    },
    /// All old pods go first.
    Recreate,
    /// It is a StatefulSet: pods have ordinals.
    Ordinal(Ordinal),
}

/// How a StatefulSet keeps its pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Ordinal {
    /// `podManagementPolicy: Parallel`: pods do not wait for each other when they are made or removed.
    pub parallel: bool,
    /// `updateStrategy.type: OnDelete`: a pod has the new template when somebody else has deleted the old one.
    pub on_delete: bool,
    /// `updateStrategy.rollingUpdate.partition`: pods below keep the old template.
    pub partition: u32,
    /// `ordinals.start`.
    pub start: u32,
}

impl DeploymentSpec {
    /// How its pods are kept, if it is a StatefulSet.
    pub const fn ordinal(&self) -> Option<Ordinal> {
        match self.strategy {
            Strategy::Ordinal(ordinal) => Some(ordinal),
            Strategy::RollingUpdate { .. } | Strategy::Recreate => None,
        }
    }

    /// Its kind, as manifests write it.
    pub const fn kind(&self) -> &'static str {
        if self.ordinal().is_some() { "StatefulSet" } else { "Deployment" }
    }

    /// Its kind, as kubectl writes it before a name.
    pub const fn word(&self) -> &'static str {
        if self.ordinal().is_some() { "statefulset" } else { "deployment" }
    }
}

/// A DaemonSet.
#[derive(Clone, Debug, PartialEq)]
pub struct DaemonSetSpec {
    /// `metadata.namespace`.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
    /// `spec.template`.
    pub template: TemplateId,
}

/// A HorizontalPodAutoscaler (autoscaling/v2).
#[derive(Clone, Debug, PartialEq)]
pub struct HpaSpec {
    /// `metadata.namespace`.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
    /// `scaleTargetRef.apiVersion`.
    pub target_version: String,
    /// `scaleTargetRef.kind`.
    pub target_kind: String,
    /// `scaleTargetRef.name`.
    pub target_name: String,
    /// `minReplicas`, default 1.
    pub min_replicas: i32,
    /// `maxReplicas`.
    pub max_replicas: i32,
    /// `metrics`, default cpu utilisation 80 %.
    pub metrics: Vec<MetricSpec>,
    /// `behavior`, both directions filled in by the API server as soon as any part of it is given; `None`: the legacy
    /// path without policies.
    pub behavior: Option<Behavior>,
}

impl HpaSpec {
    /// The group that the target's kind is looked for in, whatever version of it is named; `None`: `apiVersion` is none.
    /// Source: apimachinery `pkg/runtime/schema/group_version.go` (`ParseGroupVersion`).
    pub fn target_group(&self) -> Option<&str> {
        match self.target_version.split_once('/') {
            None => Some(""),
            Some((group, version)) => (!version.contains('/')).then_some(group),
        }
    }

    /// Whether this is what it scales: a kind is known by its group, so `extensions/v1beta1` has no Deployment and
    /// `apps/v1beta1` has. Source: `pkg/controller/podautoscaler/horizontal.go` (`reconcileAutoscaler`, `RESTMappings`).
    pub fn scales(&self, spec: &DeploymentSpec) -> bool {
        self.target_group() == Some("apps") && self.names(spec)
    }

    /// Whether this has the kind and the name of what it scales.
    pub fn names(&self, spec: &DeploymentSpec) -> bool {
        self.target_kind == spec.kind() && self.target_name == spec.name && self.namespace == spec.namespace
    }
}

/// One metric of an HPA.
#[derive(Clone, Debug, PartialEq)]
pub enum MetricSpec {
    /// `Resource`.
    Resource {
        /// `cpu`, `memory`, ...
        name: String,
        /// What is aimed at.
        target: MetricTarget,
    },
    /// `ContainerResource`.
    ContainerResource {
        /// Which container.
        container: String,
        /// `cpu`, `memory`, ...
        name: String,
        /// What is aimed at.
        target: MetricTarget,
    },
    /// `Pods`.
    Pods {
        /// Metric name.
        metric: String,
        /// Metric selector.
        selector: Option<LabelSelector>,
        /// What is aimed at.
        target: MetricTarget,
    },
    /// `Object`.
    Object {
        /// `Kind.group/name` of the described object.
        object: String,
        /// Metric name.
        metric: String,
        /// Metric selector.
        selector: Option<LabelSelector>,
        /// What is aimed at.
        target: MetricTarget,
    },
    /// `External`.
    External {
        /// Metric name.
        metric: String,
        /// Metric selector.
        selector: Option<LabelSelector>,
        /// What is aimed at.
        target: MetricTarget,
    },
    /// A `type` that the controller does not know.
    Unknown(String),
}

impl MetricSpec {
    /// Aims at a share of what pods request.
    pub fn is_utilization(&self) -> bool {
        match self {
            MetricSpec::Resource { target, .. } | MetricSpec::ContainerResource { target, .. } => {
                target.average_utilization.is_some()
            }
            MetricSpec::Pods { .. }
            | MetricSpec::Object { .. }
            | MetricSpec::External { .. }
            | MetricSpec::Unknown(_) => false,
        }
    }
}

/// The target of a metric: the fields as written.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct MetricTarget {
    /// `type`: Utilization, Value or AverageValue.
    pub kind: String,
    /// `averageUtilization`, percent.
    pub average_utilization: Option<i32>,
    /// `averageValue`.
    pub average_value: Option<Quantity>,
    /// `value`.
    pub value: Option<Quantity>,
}

/// `spec.behavior` after defaulting.
#[derive(Clone, Debug, PartialEq)]
pub struct Behavior {
    /// Upwards. Defaults: window 0, Max of 100 % and 4 pods per 15 s.
    pub scale_up: ScalingRules,
    /// Downwards. Defaults: window of the controller's flag, 100 % per 15 s.
    pub scale_down: ScalingRules,
}

/// Rules of one direction.
#[derive(Clone, Debug, PartialEq)]
pub struct ScalingRules {
    /// `stabilizationWindowSeconds`; `None`: the controller's flag.
    pub stabilization_window: Option<Span>,
    /// `selectPolicy`.
    pub select: SelectPolicy,
    /// `policies`.
    pub policies: Vec<ScalingPolicy>,
    /// `tolerance` (gate HPAConfigurableTolerance).
    pub tolerance: Option<Quantity>,
}

/// `selectPolicy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SelectPolicy {
    /// The largest change.
    Max,
    /// The smallest change.
    Min,
    /// No change in this direction.
    Disabled,
}

/// One policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScalingPolicy {
    /// True: percent of the replicas; false: pods.
    pub percent: bool,
    /// So much.
    pub value: i32,
    /// `periodSeconds`.
    pub period: Span,
}

/// A PodDisruptionBudget.
#[derive(Clone, Debug, PartialEq)]
pub struct PdbSpec {
    /// `metadata.namespace`.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
    /// `spec.selector`; `None` selects nothing.
    pub selector: Option<LabelSelector>,
    /// `minAvailable`.
    pub min_available: Option<IntOrPercent>,
    /// `maxUnavailable`.
    pub max_unavailable: Option<IntOrPercent>,
    /// `unhealthyPodEvictionPolicy: AlwaysAllow` (default IfHealthyBudget).
    pub always_allow_unhealthy: bool,
}

impl PdbSpec {
    /// Whether pods of a template count.
    pub fn matches(&self, template: &super::pod::PodTemplate) -> bool {
        self.namespace == template.namespace
            && self.selector.as_ref().is_some_and(|selector| selector.matches(&template.labels))
    }
}

/// A Service.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ServiceSpec {
    /// `metadata.namespace`.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
    /// `spec.selector`; `None`: endpoints are somebody else's.
    pub selector: Option<LabelSelector>,
    /// `spec.ports`.
    pub ports: Vec<ServicePort>,
    /// `publishNotReadyAddresses`.
    pub publish_not_ready: bool,
    /// `trafficDistribution: PreferClose`, or PreferSameZone, or PreferSameNode.
    pub prefer_close: bool,
    /// `trafficDistribution: PreferSameNode`.
    pub prefer_node: bool,
    /// `metadata.labels`: its EndpointSlices carry them too.
    pub labels: Labels,
    /// `clusterIP: None`.
    pub headless: bool,
    /// `type: ExternalName`: no endpoints.
    pub external_name: bool,
    /// `ipFamilies` as the API server defaults them.
    pub families: Families,
    /// `nodePort` of each port (0: given by the API server) of a Service of type NodePort or LoadBalancer; else empty.
    pub node_ports: Vec<u16>,
    /// It has a deletionTimestamp.
    pub deleting: bool,
}

impl ServiceSpec {
    /// Whether its selector matches the pods of a template.
    pub fn selects(&self, template: &super::pod::PodTemplate) -> bool {
        self.namespace == template.namespace
            && self.selector.as_ref().is_some_and(|selector| selector.matches(&template.labels))
    }
}

/// Address families.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Families {
    /// IPv4.
    pub ipv4: bool,
    /// IPv6.
    pub ipv6: bool,
}

impl Default for Families {
    fn default() -> Families {
        Families { ipv4: true, ipv6: false }
    }
}

/// A port of a Service.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ServicePort {
    /// Name, may be empty.
    pub name: String,
    /// `port`.
    pub port: u16,
    /// `targetPort`.
    pub target: TargetPort,
    /// `protocol`.
    pub protocol: Protocol,
    /// `appProtocol`.
    pub app_protocol: Option<String>,
}

/// `targetPort`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetPort {
    /// By number.
    Number(u16),
    /// By name of a container port.
    Name(String),
}

impl Default for TargetPort {
    fn default() -> TargetPort {
        TargetPort::Number(80)
    }
}
