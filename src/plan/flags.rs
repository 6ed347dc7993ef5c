//! Flags of the controllers and version knobs, with their defaults and sources. The one file that holds default constants
//! of control loops.

use crate::engine::{Backoff, Span};
use crate::rules::quantity::Quantity;

/// Flags of all controllers.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Flags {
    /// kube-controller-manager.
    pub hpa: HpaFlags,
    /// Recommender of the Vertical Pod Autoscaler.
    pub vpa: VpaFlags,
    /// Deployment, ReplicaSet, node lifecycle, endpoints, garbage collection.
    pub controllers: ControllerFlags,
    /// metrics-server and cAdvisor.
    pub metrics: MetricsFlags,
    /// kube-scheduler.
    pub scheduler: SchedulerFlags,
    /// kubelet.
    pub kubelet: KubeletFlags,
    /// Karpenter.
    pub karpenter: KarpenterFlags,
    /// AWS Load Balancer Controller.
    pub load_balancer: LoadBalancerFlags,
    /// Adapters of external metrics, and KEDA.
    pub external: ExternalFlags,
    /// What clients meet on the way to an application, and CloudWatch.
    pub serving: ServingFlags,
    /// Spot pools.
    pub spot: SpotFlags,
    /// The EC2 API.
    pub ec2: Ec2Flags,
    /// CPU credits of burstable instances.
    pub credits: CreditFlags,
}

/// Source: `pkg/controller/podautoscaler/config/v1alpha1/defaults.go`.
#[derive(Clone, Debug, PartialEq)]
pub struct HpaFlags {
    /// `--horizontal-pod-autoscaler-sync-period`.
    pub sync_period: Span,
    /// `--horizontal-pod-autoscaler-downscale-stabilization`.
    pub downscale_stabilization: Span,
    /// `--horizontal-pod-autoscaler-tolerance`.
    pub tolerance: f64,
    /// `--horizontal-pod-autoscaler-cpu-initialization-period`.
    pub cpu_initialization_period: Span,
    /// `--horizontal-pod-autoscaler-initial-readiness-delay`.
    pub initial_readiness_delay: Span,
    /// `--concurrent-horizontal-pod-autoscaler-syncs`.
    pub workers: u32,
    /// The informer lists all autoscalers again every sync period; its first time comes so long after the start. `None`:
    /// drawn, or half a period without noise.
    pub resync_phase: Option<Span>,
    /// Gate HPAConfigurableTolerance (off in 1.34).
    pub configurable_tolerance: bool,
    /// Gate HPAScaleToZero (off until 1.36).
    pub scale_to_zero: bool,
    /// Gate PodLevelResources (on from 1.34).
    pub pod_level_resources: bool,
    /// Until 1.32: within tolerance if |1 - ratio| <= tolerance.
    pub legacy_tolerance_test: bool,
    /// Until 1.31: on the way down a missing pod counts as using its request; from 1.32 the larger of request and target.
    pub fill_missing_with_request: bool,
}

impl Default for HpaFlags {
    fn default() -> HpaFlags {
        HpaFlags {
            sync_period: Span::from_secs(15),
            downscale_stabilization: Span::from_secs(300),
            tolerance: 0.1,
            cpu_initialization_period: Span::from_secs(300),
            initial_readiness_delay: Span::from_secs(30),
            workers: 5,
            resync_phase: None,
            configurable_tolerance: false,
            scale_to_zero: false,
            pod_level_resources: true,
            legacy_tolerance_test: false,
            fill_missing_with_request: false,
        }
    }
}

/// Which percentiles of the use become a recommendation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Percentiles {
    /// Of the target.
    pub target: f64,
    /// Of the lower bound.
    pub lower: f64,
    /// Of the upper bound.
    pub upper: f64,
}

/// Source: autoscaler `vertical-pod-autoscaler/pkg/recommender/config/config.go`, `model/aggregations_config.go`.
#[derive(Clone, Debug, PartialEq)]
pub struct VpaFlags {
    /// `--recommender-interval`; zero: no recommendations are made.
    pub period: Span,
    /// `--recommendation-margin-fraction`.
    pub safety_margin: f64,
    /// `--pod-recommendation-min-cpu-millicores`.
    pub pod_min_cpu_millicores: f64,
    /// `--pod-recommendation-min-memory-mb` (MiB, whatever its name says).
    pub pod_min_memory_mb: f64,
    /// `--target-cpu-percentile` and those of the bounds.
    pub cpu_percentiles: Percentiles,
    /// `--target-memory-percentile` and those of the bounds.
    pub memory_percentiles: Percentiles,
    /// `--confidence-interval-cpu`.
    pub cpu_confidence_interval: Span,
    /// `--confidence-interval-memory`.
    pub memory_confidence_interval: Span,
    /// `--cpu-histogram-decay-half-life`.
    pub cpu_half_life: Span,
    /// `--memory-histogram-decay-half-life`.
    pub memory_half_life: Span,
    /// `--memory-aggregation-interval`: one memory peak per container and interval.
    pub memory_interval: Span,
    /// `--oom-bump-up-ratio`.
    pub oom_bump_up_ratio: f64,
    /// `--oom-min-bump-up-bytes`.
    pub oom_min_bump_up: f64,
    /// `--round-cpu-millicores`.
    pub round_cpu_millicores: i64,
    /// `--round-memory-bytes`.
    pub round_memory_bytes: i64,
    /// `--container-recommendation-max-allowed-cpu`.
    pub max_allowed_cpu: Option<Quantity>,
    /// `--container-recommendation-max-allowed-memory`.
    pub max_allowed_memory: Option<Quantity>,
}

impl Default for VpaFlags {
    fn default() -> VpaFlags {
        let percentiles = Percentiles { target: 0.9, lower: 0.5, upper: 0.95 };
        let day = Span::from_secs(24 * 3600);
        VpaFlags {
            period: Span::from_secs(60),
            safety_margin: 0.15,
            pod_min_cpu_millicores: 25.0,
            pod_min_memory_mb: 250.0,
            cpu_percentiles: percentiles,
            memory_percentiles: percentiles,
            cpu_confidence_interval: day,
            memory_confidence_interval: day,
            cpu_half_life: day,
            memory_half_life: day,
            memory_interval: day,
            oom_bump_up_ratio: 1.2,
            oom_min_bump_up: 104_857_600.0,
            round_cpu_millicores: 1,
            round_memory_bytes: 1,
            max_allowed_cpu: None,
            max_allowed_memory: None,
        }
    }
}

/// Source: kube-controller-manager flags; `pkg/controller/nodelifecycle`, `pkg/controller/podgc`.
#[derive(Clone, Debug, PartialEq)]
pub struct ControllerFlags {
    /// `--kube-api-qps` of each controller's own client; 0: unlimited.
    pub client_qps: f64,
    /// `--kube-api-burst`.
    pub client_burst: f64,
    /// How long the ReplicaSet controller's Events take to post, one after the other: each takes a token of its client. A busy
    /// control plane took 14 and 20 ms while it made 33 and 40 pods. Zero: they take none.
    pub event_post: Span,
    /// How a controller's work queue tries again what failed. Source:
    /// `client-go/util/workqueue/default_rate_limiters.go` (`DefaultTypedControllerRateLimiter`).
    pub retry: Backoff,
    /// Failures after which the Deployment controller gives a Deployment up until something changes. Source:
    /// `pkg/controller/deployment/deployment_controller.go` (`maxRetries`).
    pub deployment_retries: u32,
    /// `--node-monitor-period`.
    pub node_monitor_period: Span,
    /// How long a health pass takes: the period is counted from its end (`wait.UntilWithContext`), so that ten periods
    /// are a little more than a grace period of 50 s.
    pub node_monitor_pass: Span,
    /// The controller starts so long after the run does and has seen nothing yet; `None`: it has run since long before.
    pub node_monitor_start: Option<Span>,
    /// `--node-monitor-grace-period` (50 s from 1.32, 40 s before).
    pub node_monitor_grace: Span,
    /// Node startup grace.
    pub node_startup_grace: Span,
    /// `--node-eviction-rate`, nodes a second.
    pub node_eviction_rate: f64,
    /// `--secondary-node-eviction-rate`.
    pub secondary_node_eviction_rate: f64,
    /// `--large-cluster-size-threshold`.
    pub large_cluster_size: u32,
    /// `--unhealthy-zone-threshold`.
    pub unhealthy_zone_threshold: f64,
    /// `--endpoint-updates-batch-period`, zero: no delay.
    pub endpoint_batch_period: Span,
    /// `--max-endpoints-per-slice`.
    pub endpoints_per_slice: u32,
    /// Period of the pod garbage collector.
    pub pod_gc_period: Span,
    /// How long a node must be missing before its pods are deleted.
    pub pod_gc_quarantine: Span,
    /// `tolerationSeconds` added by admission for not-ready and unreachable.
    pub default_toleration: Span,
    /// How long the API server rests before it tries an eviction again that met another one at their budget; zero: evictions
    /// are decided one after the other and never meet.
    pub eviction_retry: Span,
    /// A volume that a dead node never said to be unmounted is detached by force after this
    /// (`attach_detach_controller.go`, `ReconcilerMaxWaitForUnmountDuration`).
    pub volume_unmount_timeout: Span,
}

impl Default for ControllerFlags {
    fn default() -> ControllerFlags {
        ControllerFlags {
            client_qps: 20.0,
            client_burst: 30.0,
            event_post: Span::from_millis(15),
            retry: Backoff { base: Span::from_millis(5), max: Span::from_secs(1_000), qps: 10.0, burst: 100.0 },
            deployment_retries: 15,
            node_monitor_period: Span::from_secs(5),
            node_monitor_pass: Span::from_millis(10),
            node_monitor_start: None,
            node_monitor_grace: Span::from_secs(50),
            node_startup_grace: Span::from_secs(60),
            node_eviction_rate: 0.1,
            secondary_node_eviction_rate: 0.01,
            large_cluster_size: 50,
            unhealthy_zone_threshold: 0.55,
            endpoint_batch_period: Span::ZERO,
            endpoints_per_slice: 100,
            pod_gc_period: Span::from_secs(20),
            pod_gc_quarantine: Span::from_secs(40),
            default_toleration: Span::from_secs(300),
            eviction_retry: Span::ZERO,
            volume_unmount_timeout: Span::from_secs(360),
        }
    }
}

/// Source: metrics-server `manifests/base/deployment.yaml`; cAdvisor `lib/manager/container.go`; kubelet defaults.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricsFlags {
    /// `--metric-resolution`: 15 s in the shipped manifest.
    pub resolution: Span,
    /// Phase of the scrapes after the start; not set: drawn, or half the resolution without noise.
    pub phase: Option<Span>,
    /// cAdvisor housekeeping of a busy container, before jitter.
    pub housekeeping_busy: Span,
    /// And of one that shows no change.
    pub housekeeping_idle: Span,
    /// Largest spread of node scrapes per node, milliseconds.
    pub scrape_spread_per_node: Span,
    /// Largest spread of node scrapes.
    pub scrape_spread_max: Span,
    /// Samples are taken at the scrape itself (a stand-in endpoint without housekeeping).
    pub exact: bool,
    /// With `exact`: the counter grows by the use at the scrape times the time since the last one, and containers never
    /// count as fresh. Source: KWOK `pkg/kwok/server/metrics_resource_usage.go`.
    pub stepwise: bool,
}

impl Default for MetricsFlags {
    fn default() -> MetricsFlags {
        MetricsFlags {
            resolution: Span::from_secs(15),
            phase: None,
            housekeeping_busy: Span::from_secs(10),
            housekeeping_idle: Span::from_secs(15),
            scrape_spread_per_node: Span::from_millis(8),
            scrape_spread_max: Span::from_secs(4),
            exact: false,
            stepwise: false,
        }
    }
}

/// Source: `pkg/scheduler/apis/config/v1/defaults.go`, `backend/queue`.
#[derive(Clone, Debug, PartialEq)]
pub struct SchedulerFlags {
    /// `podInitialBackoffSeconds`.
    pub backoff_initial: Span,
    /// `podMaxBackoffSeconds`.
    pub backoff_max: Span,
    /// How long a pod may stay in the unschedulable pool.
    pub unschedulable_max: Span,
    /// Period of the flush of that pool.
    pub flush_period: Span,
    /// `percentageOfNodesToScore`, 0: adaptive.
    pub percentage_of_nodes_to_score: u32,
    /// Pop from the backoff queue when the active queue is empty (1.33 and later).
    pub pop_from_backoff: bool,
    /// The rotating start index before the first attempt.
    pub start_index: u32,
    /// The first flush so long after the start; `None`: anywhere within a period.
    pub flush_offset: Option<Span>,
    /// The clock stands still while things happen, as it does in recordings: pods of one instant have equal timestamps.
    pub standing_clock: bool,
    /// The next attempt waits until the condition of a pod that cannot be scheduled is written. Source: `schedule_one.go`
    /// (`handleSchedulingFailure`): the call returns before the next attempt.
    pub awaits_conditions: bool,
    /// Rehearsed faults: so many bindings of a pod fail, by its name.
    pub failing_bindings: std::collections::BTreeMap<String, u32>,
}

impl Default for SchedulerFlags {
    fn default() -> SchedulerFlags {
        SchedulerFlags {
            backoff_initial: Span::from_secs(1),
            backoff_max: Span::from_secs(10),
            unschedulable_max: Span::from_secs(300),
            flush_period: Span::from_secs(30),
            percentage_of_nodes_to_score: 0,
            pop_from_backoff: true,
            start_index: 0,
            flush_offset: None,
            standing_clock: false,
            awaits_conditions: false,
            failing_bindings: std::collections::BTreeMap::new(),
        }
    }
}

/// Source: `pkg/kubelet/kubelet.go`, `pleg/generic.go`, `images/`, `kuberuntime`.
#[derive(Clone, Debug, PartialEq)]
pub struct KubeletFlags {
    /// PLEG relist period.
    pub relist_period: Span,
    /// `serializeImagePulls`.
    pub serialize_image_pulls: bool,
    /// `maxParallelImagePulls` when not serialised.
    pub max_parallel_image_pulls: Option<u32>,
    /// First restart backoff.
    pub restart_backoff_initial: Span,
    /// Largest restart backoff.
    pub restart_backoff_max: Span,
    /// Chance that the first readiness probe comes at the relist that sees the container, not one relist later.
    pub first_probe_at_relist: f64,
    /// Lease renewal period.
    pub lease_period: Span,
    /// `nodeStatusUpdateFrequency`: a node's status, with the volumes in use, is written so often.
    pub status_period: Span,
    /// How long a relist takes: it is dated at its beginning, and the next begins a period after its end.
    pub relist_takes: Span,
    /// The first relist so long after the kubelet's start; `None`: drawn, or half a period without noise.
    pub relist_phase: Option<Span>,
    /// After so long an address that a pod has given up goes to another pod of its node, the one that is free for longest
    /// first; `None`: never.
    pub address_cooldown: Option<Span>,
    /// What rehearsed containers do instead of an application, by container name.
    pub rehearsals: std::collections::BTreeMap<String, Rehearsal>,
    /// Kubelets are simulated by a controller with fixed delays (KWOK), which pulls, starts and probes nothing.
    pub fixed: Option<FixedStages>,
}

/// The stages of a simulated kubelet, each counted from the one before. Source: KWOK `kustomize/stage/`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FixedStages {
    /// Bound until the status has a start time.
    pub acknowledged: Span,
    /// Bound until Running.
    pub running: Span,
    /// Running until Ready.
    pub ready: Span,
    /// Deletion asked for until the object is gone.
    pub gone: Span,
    /// The whole second in which the Node object was created until the node is Ready.
    pub node_ready: Span,
    /// Pods are acknowledged one after the other, so far apart.
    pub pace: Span,
    /// The spread of the logarithm by which the write at the end of a stage is late; `None`: it takes an API hop.
    pub lateness: Option<f64>,
}

impl Default for FixedStages {
    /// Stages of the recordings' fake kubelets.
    fn default() -> FixedStages {
        FixedStages {
            acknowledged: Span::ZERO,
            running: Span::from_secs(2),
            ready: Span::from_secs(3),
            gone: Span::from_secs(3),
            node_ready: Span::from_secs(10),
            pace: Span::ZERO,
            lateness: None,
        }
    }
}

/// A container that follows a script. Of a list by run the last entry repeats.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rehearsal {
    /// How long creating a run takes.
    pub create: Vec<Span>,
    /// From kill to exit.
    pub stop: Span,
    /// Back-off after a run, counted from its exit; empty: none.
    pub waits: Vec<Span>,
    /// A run exits by itself so long after its start; zero, or not in the list: never.
    pub exits: Vec<Span>,
    /// Answers to the startup, readiness and liveness probe, by run.
    pub answers: [Vec<Vec<Answer>>; 3],
    /// How long workers of a young kubelet sleep; `None`: drawn.
    pub initial_sleep: Option<Span>,
}

/// How attempts of a probe are answered that begin so long after the start of the run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Answer {
    /// From here on.
    pub from: Span,
    /// Success, failure, or (`None`) an error of the probe itself.
    pub success: Option<bool>,
    /// After so long.
    pub latency: Span,
}

impl Default for KubeletFlags {
    fn default() -> KubeletFlags {
        KubeletFlags {
            relist_period: Span::from_secs(1),
            serialize_image_pulls: true,
            max_parallel_image_pulls: None,
            restart_backoff_initial: Span::from_secs(10),
            restart_backoff_max: Span::from_secs(300),
            first_probe_at_relist: 0.5,
            lease_period: Span::from_secs(10),
            status_period: Span::from_secs(10),
            relist_takes: Span::ZERO,
            relist_phase: None,
            // The VPC CNI waits for 30 s (IP_COOLDOWN_PERIOD, amazon-vpc-cni-k8s `pkg/ipamd/datastore`); with the addresses of a
            // large subnet one seldom comes back while anybody remembers it, so this is a hazard to be asked for.
            address_cooldown: None,
            rehearsals: std::collections::BTreeMap::new(),
            fixed: None,
        }
    }
}

/// Source: karpenter `pkg/operator/options/options.go`, `pkg/controllers/**`; provider `pkg/operator/options`, `pkg/cache`.
#[derive(Clone, Debug, PartialEq)]
pub struct KarpenterFlags {
    /// The release, as (major, minor): (1, 14), or (0, 37) for v1beta1.
    pub version: (u32, u32),
    /// `BATCH_IDLE_DURATION`.
    pub batch_idle: Span,
    /// `BATCH_MAX_DURATION`.
    pub batch_max: Span,
    /// Pods trigger the batcher again after this.
    pub retrigger: Span,
    /// Disruption loop when nothing was done.
    pub disruption_period: Span,
    /// The loop looks first so long after the start; `None`: drawn, or half a period without noise.
    pub disruption_phase: Option<Span>,
    /// Wait before a consolidation command is validated.
    pub validation_delay: Span,
    /// Poll of the disruption queue.
    pub queue_period: Span,
    /// How long the consolidation memo holds.
    pub memo: Span,
    /// Shortest drain.
    pub drain_min: Span,
    /// Poll of a termination while pods remain.
    pub drain_period: Span,
    /// Poll of instance termination.
    pub termination_period: Span,
    /// The cloud provider ends a machine within the call (KWOK): the first answer is that it is not found.
    pub ends_at_once: bool,
    /// The cloud provider gives a machine what its NodeClaim asked for as capacity (KWOK, `kwok/cloudprovider/cloudprovider.go`,
    /// `toNode`): so much of a NodePool's limits it takes, less than its type has.
    pub capacity_is_requests: bool,
    /// Eviction back-off: first and largest.
    pub eviction_backoff: (Span, Span),
    /// Spot prices are read so often (provider `pkg/controllers/providers/pricing`: 12 h).
    pub pricing_period: Span,
    /// A sold-out offering is avoided so long.
    pub unavailable_offering: Span,
    /// Sweep of that cache.
    pub unavailable_sweep: Span,
    /// Pod events on a node within this after the last are not noted.
    pub pod_event_dedupe: Span,
    /// A node that received pods in a plan is protected so long.
    pub nomination: Span,
    /// Launch timeout.
    pub launch_timeout: Span,
    /// Registration timeout.
    pub registration_timeout: Span,
    /// Pause after each patch of a NodeClaim.
    pub patch_pause: Span,
    /// How long the disruption loop takes to start a command: it taints the nodes, writes conditions and creates replacements
    /// before it looks again. Recordings: 20 to 50 ms.
    pub command_start: Span,
    /// Pause of the expiration controller's only worker after each NodeClaim that it deletes. Source: core
    /// `nodeclaim/expiration/controller.go`.
    pub expiration_pause: Span,
    /// Garbage collection of NodeClaims whose instance is gone.
    pub garbage_collection: Span,
    /// Drift is looked at again after this.
    pub drift_period: Span,
    /// From this age on a NodeClaim drifts when its instance type is no longer offered to its pool.
    pub instance_type_drift_age: Span,
    /// A pod so long past its deletion deadline no longer holds up a drain.
    pub stuck_pod: Span,
    /// Shortest and longest time that a disruption command waits for its replacements.
    pub command_timeout: (Span, Span),
    /// Between those, so long for each node that commands hold.
    pub command_timeout_per_node: Span,
    /// The disruption loop after an error: first and longest back-off.
    pub error_backoff: (Span, Span),
    /// `--interruption-queue` is configured.
    pub interruption_queue: bool,
    /// Gate SpotToSpotConsolidation.
    pub spot_to_spot: bool,
    /// Gate NodeRepair.
    pub node_repair: bool,
    /// A node that is unhealthy is tolerated so long (provider `RepairPolicies`: 30 min).
    pub repair_toleration: Span,
    /// One whose accelerators are (10 min).
    pub repair_toleration_accelerators: Span,
    /// While more than this share of a pool's nodes, rounded up, is unhealthy, none is repaired (`allowedUnhealthyPercent`).
    pub repair_share: f64,
    /// Then a node is looked at again after this.
    pub repair_recheck: Span,
    /// `--preference-policy Ignore`.
    pub ignore_preferences: bool,
    /// `--min-values-policy BestEffort`.
    pub min_values_best_effort: bool,
    /// Gate ReservedCapacity.
    pub reserved_capacity: bool,
    /// `vm-memory-overhead-percent`, thousandths.
    pub vm_memory_overhead_millis: u32,
    /// `--reserved-enis`.
    pub reserved_enis: u32,
    /// `ENABLE_PREFIX_DELEGATION` of the VPC CNI. Karpenter does not know of it.
    pub prefix_delegation: bool,
}

impl Default for KarpenterFlags {
    fn default() -> KarpenterFlags {
        KarpenterFlags {
            version: (1, 14),
            batch_idle: Span::from_secs(1),
            batch_max: Span::from_secs(10),
            retrigger: Span::from_secs(10),
            disruption_period: Span::from_secs(10),
            disruption_phase: None,
            validation_delay: Span::from_secs(15),
            queue_period: Span::from_secs(1),
            memo: Span::from_secs(300),
            drain_min: Span::from_secs(5),
            drain_period: Span::from_secs(1),
            termination_period: Span::from_secs(5),
            ends_at_once: false,
            capacity_is_requests: false,
            eviction_backoff: (Span::from_millis(100), Span::from_secs(10)),
            pricing_period: Span::from_secs(43_200),
            unavailable_offering: Span::from_secs(180),
            unavailable_sweep: Span::from_secs(10),
            pod_event_dedupe: Span::from_secs(10),
            nomination: Span::from_secs(20),
            launch_timeout: Span::from_secs(300),
            registration_timeout: Span::from_secs(900),
            patch_pause: Span::from_secs(1),
            command_start: Span::ZERO,
            expiration_pause: Span::from_secs(1),
            garbage_collection: Span::from_secs(120),
            drift_period: Span::from_secs(300),
            instance_type_drift_age: Span::from_secs(3600),
            stuck_pod: Span::from_secs(60),
            command_timeout: (Span::from_secs(600), Span::from_secs(3600)),
            command_timeout_per_node: Span::from_millis(80),
            // client-go `workqueue.DefaultTypedControllerRateLimiter`.
            error_backoff: (Span::from_millis(5), Span::from_secs(1000)),
            interruption_queue: true,
            spot_to_spot: false,
            node_repair: false,
            repair_toleration: Span::from_secs(1_800),
            repair_toleration_accelerators: Span::from_secs(600),
            repair_share: 0.2,
            repair_recheck: Span::from_secs(300),
            ignore_preferences: false,
            min_values_best_effort: false,
            reserved_capacity: true,
            vm_memory_overhead_millis: 75,
            reserved_enis: 0,
            prefix_delegation: false,
        }
    }
}

/// Source: aws-load-balancer-controller `pkg/config`, `controllers/elbv2`, `pkg/aws/throttle/defaults.go`.
#[derive(Clone, Debug, PartialEq)]
pub struct LoadBalancerFlags {
    /// `targetgroupbinding-requeue-duration`.
    pub requeue: Span,
    /// First failure back-off.
    pub backoff_initial: Span,
    /// `targetgroupbinding-max-exponential-backoff-delay`.
    pub backoff_max: Span,
    /// Targets per register or deregister call.
    pub chunk: u32,
    /// `targetgroupbinding-max-concurrent-reconciles`.
    pub workers: u32,
    /// Target cache.
    pub cache: Span,
    /// 3.4 and later: watches pods.
    pub watches_pods: bool,
    /// `enable-endpoint-slices`; otherwise Endpoints.
    pub endpoint_slices: bool,
    /// Feature gate EndpointsFailOpen.
    pub fail_open: bool,
    /// `max-targets-per-target-group`, 0: no limit.
    pub max_targets: u32,
    /// `sync-period`: a binding reconciled or deferred within this is not deferred again.
    pub sync_period: Span,
    /// A skipped reconcile is made in full after this, and up to the second more.
    pub deferral: (Span, Span),
    /// Zones of nodes, and that they are needed, are remembered so long.
    pub zone_memory: Span,
    /// Describe calls a second, and burst.
    pub describe_rate: (f64, f64),
    /// The part of the time from an event to the first accepted change, about 0.7 s, that a single call takes.
    pub call_share: (u64, u64),
    /// A patch that meets another version is tried again after each of these.
    pub conflict_pauses: [Span; 3],
    /// The first reconciles begin so long after the start.
    pub start: Span,
    /// Register and deregister calls a second, and burst.
    pub register_rate: (f64, f64),
    /// Chance that a reconcile fails and waits in its back-off; only with noise.
    pub failure_chance: f64,
}

impl Default for LoadBalancerFlags {
    fn default() -> LoadBalancerFlags {
        LoadBalancerFlags {
            requeue: Span::from_secs(15),
            backoff_initial: Span::from_millis(5),
            backoff_max: Span::from_secs(1000),
            chunk: 200,
            workers: 3,
            cache: Span::from_secs(300),
            watches_pods: false,
            endpoint_slices: true,
            fail_open: true,
            max_targets: 0,
            sync_period: Span::from_secs(10 * 3600),
            deferral: (Span::from_secs(1800), Span::from_secs(900)),
            zone_memory: Span::from_secs(3600),
            describe_rate: (50.0, 200.0),
            // That time is one to three calls of 100 to 300 ms and the watch: 0.2 s each.
            call_share: (2, 7),
            // client-go `util/retry` (`DefaultBackoff`), without its jitter of a tenth.
            conflict_pauses: [Span::from_millis(10), Span::from_millis(50), Span::from_millis(250)],
            // Caches fill before the workers start.
            start: Span::from_secs(1),
            register_rate: (4.0, 20.0),
            // Controller issues 3622, 1960, 4180, 1205: gates stuck for minutes after an error.
            failure_chance: 0.002,
        }
    }
}

/// Source: ELB user guide "Troubleshoot your Application Load Balancers" and "Application Load Balancers" (attributes);
/// CloudWatch publication: Netflix Atlas pull request 1300, Datadog agent pull request 3005.
#[derive(Clone, Debug, PartialEq)]
pub struct ServingFlags {
    /// The load balancer gives up connecting to a target after this: 504.
    pub connect_timeout: Span,
    /// `idle_timeout.timeout_seconds`: the load balancer gives up waiting for an answer: 504.
    pub idle_timeout: Span,
    /// The load balancer learns so much later that an application has closed an idle connection. Not published; assumed: a
    /// packet between two zones takes about half a millisecond, and what was sent before it came is lost.
    pub close_notice: Span,
    /// From SIGTERM to the end of a process of which nothing is said: Apache workers exit within about a second.
    pub stop: Span,
    /// Flow that changes along a ramp is stepped so often.
    pub ramp_step: Span,
    /// CloudWatch: a period is visible so long after its end, at least and at most.
    pub publication: (Span, Span),
    /// How often an agent of CloudWatch scrapes metrics of the cluster. CloudWatch agent, Prometheus: `scrape_interval: 1m`.
    pub scrape_interval: Span,
}

impl Default for ServingFlags {
    fn default() -> ServingFlags {
        ServingFlags {
            connect_timeout: Span::from_secs(10),
            idle_timeout: Span::from_secs(60),
            close_notice: Span::from_millis(1),
            stop: Span::from_secs(1),
            ramp_step: Span::from_secs(1),
            publication: (Span::from_secs(60), Span::from_secs(120)),
            scrape_interval: Span::from_secs(60),
        }
    }
}

/// Source: KEDA `apis/keda/v1alpha1` (`pollingInterval`, `cooldownPeriod`); kube-prometheus-stack (`scrapeInterval`).
#[derive(Clone, Debug, PartialEq)]
pub struct ExternalFlags {
    /// An adapter's source looks at a series so often.
    pub scrape_interval: Span,
    /// A trigger is looked at so often.
    pub polling_interval: Span,
    /// Back to zero so long after a trigger was last active.
    pub cooldown_period: Span,
}

impl Default for ExternalFlags {
    fn default() -> ExternalFlags {
        ExternalFlags {
            scrape_interval: Span::from_secs(30),
            polling_interval: Span::from_secs(30),
            cooldown_period: Span::from_secs(300),
        }
    }
}

/// Where the `spot_market:` of a scenario says nothing else.
#[derive(Clone, Debug, PartialEq)]
pub struct SpotFlags {
    /// So many of an instance's interruptions come with its pool, the others alone (arXiv 2604.16457: 92 %).
    pub together: f64,
    /// The chance of each instance of a pool to be taken by a shock (92 % and 72 % of removals in clusters: two fleets of 2022).
    pub share: f64,
    /// Notices of one shock come within this (arXiv 2604.16457: three minutes).
    pub spread: Span,
    /// Capacity is back after: Weibull shape and scale (three zones of us-east-1, 2023: shapes 0.77 to 0.86, means 20 to 26 min).
    pub outage: (f64, Span),
    /// A scarce pool keeps its capacity so long: Weibull shape and scale (one r5.16xlarge in us-east-1b, 2023).
    pub scarce: (f64, Span),
    /// The share of the time in which a spot pool sells nothing (no rate is published; 2 % is a choice).
    pub shortage: f64,
    /// Of the interruptions so many follow a rebalance recommendation, and of the recommendations so many are followed by an
    /// interruption (aws-node-termination-handler issue 141: 9 of 15 and 9 of 30 in 17 hours).
    pub rebalance: (f64, f64),
    /// How long before: median and sigma of a log-normal distribution (the same nine: 17 min to 8 h 42 min).
    pub rebalance_lead: (Span, f64),
    /// A spot price changes so often, where it moves (price logs of 2021: about three changes a day for each type and zone).
    pub price_change: Span,
    /// Standard deviation of a change, of the logarithm (no distribution is published; 2 % is a choice: spot prices have moved slowly
    /// since 2017).
    pub price_step: f64,
    /// With each change this part of the distance to the price of the start is made up (a choice: so prices stay within a fifth).
    pub price_pull: f64,
}

impl Default for SpotFlags {
    fn default() -> SpotFlags {
        SpotFlags {
            together: 0.92,
            share: 0.92,
            spread: Span::from_secs(180),
            outage: (0.8, Span::from_secs(1_200)),
            scarce: (0.571, Span::from_secs(4_044)),
            shortage: 0.02,
            rebalance: (0.6, 0.3),
            rebalance_lead: (Span::from_secs(5_640), 1.15),
            price_change: Span::from_secs(28_800),
            price_step: 0.02,
            price_pull: 0.05,
        }
    }
}

/// Source: provider `kwok/ec2/ratelimiting.go`, `pkg/batcher`; AWS SDK for Go v2 `aws/retry/{standard,jitter_backoff}.go`; core
/// `pkg/controllers/nodeclaim/lifecycle/controller.go`.
#[derive(Clone, Debug, PartialEq)]
pub struct Ec2Flags {
    /// Calls a second and at once: CreateFleet, DescribeInstances, TerminateInstances. A rate of zero is no limit.
    pub limits: [(f64, f64); 3],
    /// Identical CreateFleet calls: those within the first of the last, and within the second of the first, are one.
    pub fleet_batch: (Span, Span),
    /// The same of the other calls.
    pub batch: (Span, Span),
    /// Attempts of the SDK (`DefaultMaxAttempts`).
    pub sdk_attempts: u32,
    /// Its longest wait (`DefaultMaxBackoff`).
    pub sdk_backoff_max: Span,
    /// Then the queue of NodeClaims: first and longest wait.
    pub requeue: (Span, Span),
}

impl Default for Ec2Flags {
    fn default() -> Ec2Flags {
        Ec2Flags {
            limits: [(5.0, 50.0), (20.0, 100.0), (5.0, 100.0)],
            fleet_batch: (Span::from_millis(35), Span::from_secs(1)),
            batch: (Span::from_millis(100), Span::from_secs(1)),
            sdk_attempts: 3,
            sdk_backoff_max: Span::from_secs(20),
            requeue: (Span::from_secs(1), Span::from_secs(60)),
        }
    }
}

/// What a burstable machine does without credits. Source: EC2 user guide, "Unlimited mode": "T4g, T3a, and T3 instances launch as
/// unlimited by default. T2 instances launch as standard by default"; spot instances likewise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CreditMode {
    /// As AWS launches it where nothing is asked for: a T2 in mode standard, any other in mode unlimited.
    #[default]
    Default,
    /// It computes at its baseline.
    Standard,
    /// It goes on, and the surplus is billed.
    Unlimited,
    /// CPU credits are not counted.
    Off,
}

impl CreditMode {
    /// The surplus of an instance type of that name is billed.
    pub fn is_unlimited(self, instance_type: &str) -> bool {
        match self {
            CreditMode::Default => !instance_type.starts_with("t2."),
            CreditMode::Unlimited => true,
            CreditMode::Standard | CreditMode::Off => false,
        }
    }
}

/// Source: EC2 user guide, "Key concepts for burstable performance instances", "Unlimited mode"; EC2 On-Demand pricing, "T3, T3a,
/// T4g CPU credits".
#[derive(Clone, Debug, PartialEq)]
pub struct CreditFlags {
    /// The mode of burstable machines.
    pub mode: CreditMode,
    /// What a machine can accrue is what it earns in this time.
    pub accrual: Span,
    /// A new T2 has so many credits a vCPU; T3, T3a and T4g have none.
    pub launch_credits: u32,
    /// A vCPU-hour of surplus credits, micro-dollars: T2 and T3.
    pub surplus_price: i64,
    /// The same of T4g.
    pub surplus_price_graviton: i64,
    /// Credits of a machine that may be held at its baseline are counted so often.
    pub period: Span,
    /// Those of any other while they neither overflow nor are billed for good are not; else so often. As often as CloudWatch shows
    /// them.
    pub slow_period: Span,
}

impl Default for CreditFlags {
    fn default() -> CreditFlags {
        CreditFlags {
            mode: CreditMode::Default,
            accrual: Span::from_secs(86_400),
            launch_credits: 30,
            surplus_price: 50_000,
            surplus_price_graviton: 40_000,
            period: Span::from_secs(10),
            slow_period: Span::from_secs(300),
        }
    }
}
