//! What a pod is to be: the typed form of a PodSpec with the metadata that matters. Immutable, shared by its pods.
//!
//! Source of the fields and their defaults: `k8s.io/api/core/v1/types.go`, `pkg/apis/core/v1/defaults.go`.

use super::ids::ImageId;
use crate::engine::Span;
use crate::rules::labels::{LabelSelector, Labels};
use crate::rules::quantity::{Bytes, Millicores};
use crate::rules::requirement::NodeSelectorTerm;
use crate::rules::resources::{ResourceList, Resources};
use crate::rules::taint::Toleration;

/// A pod template: labels and spec.
#[derive(Clone, Debug, PartialEq)]
pub struct PodTemplate {
    /// Namespace of its pods.
    pub namespace: String,
    /// Labels of its pods.
    pub labels: Labels,
    /// Annotations of its pods.
    pub annotations: Labels,
    /// Init containers in order; those with `restartable` are sidecars.
    pub init_containers: Vec<Container>,
    /// Application containers.
    pub containers: Vec<Container>,
    /// `spec.resources`: pod-level requests and limits.
    pub pod_requests: ResourceList,
    /// Pod-level limits.
    pub pod_limits: ResourceList,
    /// `spec.overhead`.
    pub overhead: ResourceList,
    /// `spec.nodeSelector`.
    pub node_selector: Labels,
    /// Node, pod and anti-affinity.
    pub affinity: Affinity,
    /// Tolerations, those of API admission included.
    pub tolerations: Vec<Toleration>,
    /// `topologySpreadConstraints`.
    pub topology_spread: Vec<TopologySpread>,
    /// `priorityClassName`.
    pub priority_class: Option<String>,
    /// Priority after admission.
    pub priority: i32,
    /// False for `preemptionPolicy: Never`.
    pub preempts: bool,
    /// `schedulingGates`, names.
    pub scheduling_gates: Vec<String>,
    /// `readinessGates`, condition types.
    pub readiness_gates: Vec<String>,
    /// `terminationGracePeriodSeconds`, default 30 s.
    pub termination_grace: Span,
    /// `restartPolicy`.
    pub restart_policy: RestartPolicy,
    /// `hostNetwork`.
    pub host_network: bool,
    /// `hostname`, may be empty.
    pub hostname: String,
    /// `subdomain`, may be empty.
    pub subdomain: String,
    /// Names of the persistent volume claims it mounts.
    pub volume_claims: Vec<String>,
    /// It has resource claims: devices of dynamic resource allocation.
    pub claims_devices: bool,
    /// `spec.nodeName` of a bare pod.
    pub node_name: Option<String>,
    /// What the scheduler counts: containers, sidecars, init peaks, overhead, one pod slot. See [`PodTemplate::count`].
    pub requests: Resources,
    /// Whose pod it is, where that changes what may be done to it.
    pub controller: PodController,
}

/// Controllers that Karpenter tells apart by `metadata.ownerReferences`, besides DaemonSets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PodController {
    /// Any other, or none.
    #[default]
    Other,
    /// A StatefulSet: a pod must be gone before its successor is made, so one that terminates will need a place.
    StatefulSet,
    /// A kubelet: a mirror pod of a static pod.
    Node,
}

impl Default for PodTemplate {
    fn default() -> PodTemplate {
        PodTemplate {
            namespace: "default".to_string(),
            labels: Labels::new(),
            annotations: Labels::new(),
            init_containers: Vec::new(),
            containers: Vec::new(),
            pod_requests: ResourceList::default(),
            pod_limits: ResourceList::default(),
            overhead: ResourceList::default(),
            node_selector: Labels::new(),
            affinity: Affinity::default(),
            tolerations: Vec::new(),
            topology_spread: Vec::new(),
            priority_class: None,
            priority: 0,
            preempts: true,
            scheduling_gates: Vec::new(),
            readiness_gates: Vec::new(),
            termination_grace: Span::from_secs(30),
            restart_policy: RestartPolicy::Always,
            host_network: false,
            hostname: String::new(),
            subdomain: String::new(),
            volume_claims: Vec::new(),
            claims_devices: false,
            node_name: None,
            requests: Resources::default(),
            controller: PodController::Other,
        }
    }
}

impl PodTemplate {
    /// The request that scheduler and Karpenter count: max(containers + sidecars, running init peaks) per resource,
    /// pod-level values instead where given, plus overhead, plus one pod slot.
    ///
    /// Source: component-helpers `resource/helpers.go` `PodRequests`.
    pub fn count(&self) -> Resources {
        let mut running = Resources::default();
        for container in &self.containers {
            running += &container.requests.amounts();
        }
        let mut sidecars = Resources::default();
        let mut peak = Resources::default();
        for container in &self.init_containers {
            let mut during = container.requests.amounts();
            if container.restartable {
                running += &during;
                sidecars += &during;
                during = sidecars.clone();
            } else {
                during += &sidecars;
            }
            peak = peak.max(&during);
        }
        let mut requests = running.max(&peak);
        if let Some(cpu) = self.pod_requests.cpu {
            requests.cpu = cpu;
        }
        if let Some(memory) = self.pod_requests.memory {
            requests.memory = memory;
        }
        let huge = self.pod_requests.extended.iter().filter(|(name, _)| name.starts_with("hugepages-"));
        requests.extended.extend(huge.map(|(name, amount)| (name.clone(), *amount)));
        requests += &self.overhead.amounts();
        requests.pods = 1;
        requests
    }

    /// What containers and init containers together request of one resource; `None`: none of them requests it. Source:
    /// `component-helpers/resource/helpers.go` (`AggregateContainerRequests`).
    pub fn containers_request(&self, amount: impl Fn(&ResourceList) -> Option<i64>) -> Option<i64> {
        let mut entries = self.containers.iter().chain(&self.init_containers);
        entries.find(|entry| amount(&entry.requests).is_some())?;
        let amount = |entry: &Container| amount(&entry.requests).unwrap_or(0);
        let (mut running, mut sidecars, mut peak) = (self.containers.iter().map(amount).sum::<i64>(), 0, 0);
        for init in &self.init_containers {
            if init.restartable {
                running += amount(init);
                sidecars += amount(init);
                peak = peak.max(sidecars);
            } else {
                peak = peak.max(sidecars + amount(init));
            }
        }
        Some(running.max(peak))
    }

    /// CPU that all containers together may use; `None`: as much as the node has.
    pub fn cpu_limit(&self) -> Option<Millicores> {
        if self.pod_limits.cpu.is_some() {
            return self.pod_limits.cpu;
        }
        self.containers
            .iter()
            .map(|container| container.limits.cpu.map(|cpu| cpu.0))
            .sum::<Option<i64>>()
            .map(Millicores)
    }
}

/// One container.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Container {
    /// Name.
    pub name: String,
    /// Image as written.
    pub image: String,
    /// The image in `Plan::images`.
    pub image_id: Option<ImageId>,
    /// Init container with `restartPolicy: Always`.
    pub restartable: bool,
    /// `resources.requests`, limits copied into missing requests as the API server does.
    pub requests: ResourceList,
    /// `resources.limits`.
    pub limits: ResourceList,
    /// Container ports.
    pub ports: Vec<ContainerPort>,
    /// Probes.
    pub startup: Option<Probe>,
    /// Readiness probe.
    pub readiness: Option<Probe>,
    /// Liveness probe.
    pub liveness: Option<Probe>,
    /// `lifecycle.preStop` as a sleep: its length in whole seconds. Exec `sleep N` and the sleep action are read.
    pub pre_stop: Option<Span>,
}

/// A port of a container.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct ContainerPort {
    /// Name, may be empty.
    pub name: String,
    /// `containerPort`.
    pub port: u16,
    /// `hostPort`, 0 for none.
    pub host_port: u16,
    /// `hostIP`, empty for all.
    pub host_ip: String,
    /// TCP, UDP or SCTP.
    pub protocol: Protocol,
}

/// Transport protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// The default.
    #[default]
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

/// A probe. Defaults: delay 0, period 10 s, timeout 1 s, success 1, failure 3 (`pkg/apis/core/v1/defaults.go`).
#[derive(Clone, Debug, PartialEq)]
pub struct Probe {
    /// What is asked.
    pub handler: ProbeHandler,
    /// `initialDelaySeconds`.
    pub initial_delay: Span,
    /// `periodSeconds`.
    pub period: Span,
    /// `timeoutSeconds`.
    pub timeout: Span,
    /// `successThreshold`.
    pub success_threshold: u32,
    /// `failureThreshold`.
    pub failure_threshold: u32,
    /// `terminationGracePeriodSeconds` of the probe.
    pub termination_grace: Option<Span>,
}

/// What a probe asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProbeHandler {
    /// HTTP GET of a path.
    Http(String),
    /// Connects to a port.
    Tcp,
    /// Runs a command.
    Exec,
    /// gRPC health check.
    Grpc,
    /// A port by a name that the container does not have: each attempt is an error, and sets nothing.
    NoPort,
}

/// `restartPolicy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum RestartPolicy {
    /// The default, and the only one a Deployment may have.
    #[default]
    Always,
    /// Only after a failure.
    OnFailure,
    /// Never.
    Never,
}

/// Affinity of a pod.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Affinity {
    /// Required node terms, ORed; `None`: no requirement.
    pub node_required: Option<Vec<NodeSelectorTerm>>,
    /// Preferred node terms with weights.
    pub node_preferred: Vec<(i32, NodeSelectorTerm)>,
    /// Required pod affinity, all of them.
    pub pod_required: Vec<PodAffinityTerm>,
    /// Preferred pod affinity with weights.
    pub pod_preferred: Vec<(i32, PodAffinityTerm)>,
    /// Required pod anti-affinity.
    pub anti_required: Vec<PodAffinityTerm>,
    /// Preferred pod anti-affinity with weights.
    pub anti_preferred: Vec<(i32, PodAffinityTerm)>,
}

/// A pod affinity term.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PodAffinityTerm {
    /// Which pods; `None` selects none.
    pub selector: Option<LabelSelector>,
    /// Namespaces by name.
    pub namespaces: Vec<String>,
    /// Namespaces by label; `None`: not given.
    pub namespace_selector: Option<LabelSelector>,
    /// Node label that spans a domain.
    pub topology_key: String,
}

/// A topology spread constraint.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TopologySpread {
    /// Largest allowed difference.
    pub max_skew: i32,
    /// Node label that spans a domain.
    pub topology_key: String,
    /// True: DoNotSchedule; false: ScheduleAnyway.
    pub hard: bool,
    /// Which pods count; `None` selects none.
    pub selector: Option<LabelSelector>,
    /// `minDomains`, default 1.
    pub min_domains: Option<i32>,
    /// `nodeAffinityPolicy: Honor` (the default).
    pub honor_affinity: bool,
    /// `nodeTaintsPolicy: Honor` (default Ignore).
    pub honor_taints: bool,
    /// `matchLabelKeys`.
    pub match_label_keys: Vec<String>,
}

/// The name under which nodes list an image: without a tag, `latest`.
///
/// Source: `pkg/scheduler/framework/plugins/imagelocality/image_locality.go` (`normalizedImageName`).
pub fn normalized_image_name(name: &str) -> String {
    if name.rfind(':') <= name.rfind('/') { format!("{name}:latest") } else { name.to_string() }
}

/// A container image and what pulling it costs.
#[derive(Clone, Debug, PartialEq)]
pub struct Image {
    /// As manifests write it.
    pub name: String,
    /// Size on a node, for ImageLocality.
    pub size: Bytes,
    /// How long a pull takes, when it differs from the timing `image.pull`.
    pub pull: Option<super::timing::Distribution>,
    /// Already on every node (part of the machine image).
    pub cached: bool,
}
