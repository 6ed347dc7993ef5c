//! `constants.json`: versions, command lines, delays of the fake kubelets, metrics source, lag of the machine.

use super::given::Given;
use crate::engine::Span;
use crate::plan::flags::FixedStages;
use crate::plan::{Distribution, Flags, Stage, Timings};
use crate::scenario::diagnostic::{Diagnostic, FileId, Place, Problems};
use crate::scenario::files;
use crate::scenario::{Draft, controllers, units};
use serde_json::Value;
use std::path::Path;

/// Latencies of the recording machine in a quiet moment: 5 to 50 ms a hop, by its README; here its quick end, as its audit log
/// shows them in a run without other jobs.
const LATENCIES: [(Stage, u64); 9] = [
    (Stage::ApiHop, 25),
    (Stage::SchedulerAttempt, 2),
    (Stage::SchedulerBind, 10),
    (Stage::KarpenterSolve, 8),
    (Stage::NodeClaimLaunch, 30),
    (Stage::HpaReadScale, 3),
    (Stage::HpaMetrics, 5),
    (Stage::HpaWriteScale, 5),
    (Stage::HpaWriteStatus, 5),
];
/// Creating a Node object after the registration delay.
const NODE_CREATION: Span = Span::from_millis(30);
/// KWOK's acknowledgements of many pods come so far apart: forty took 0.27 s in a quiet recording.
const ACKNOWLEDGEMENT: Span = Span::from_millis(7);
/// Karpenter's disruption loop first looks so long after the recorder begins to watch, and every ten seconds from then on.
const KARPENTER_LAG: Span = Span::from_millis(220);
/// A pass of that loop takes so long in quiet, and the next is ten seconds after its end.
const KARPENTER_PASS: Span = Span::from_millis(5);
/// Starting a command takes the loop so long: between 20 and 50 ms in the recordings at hand.
const COMMAND_START: Span = Span::from_millis(40);
/// The node controller's first pass comes so long after that: between 1.8 and 3.2 s in the recordings at hand.
const NODE_MONITOR_LAG: Span = Span::from_millis(2_600);
/// Evictions that meet at one budget: half a second, and up to a tenth more. Source: `eviction.go` (`EvictionsRetry`).
const EVICTION_RETRY: Span = Span::from_millis(525);
/// Longest delay that is believed.
const DELAY_MAX: f64 = 86_400.0;

/// What a recording says of its cluster.
pub struct Constants {
    /// Lag of timers, 99th percentile.
    pub timer_lag_ms: f64,
    /// A pod takes at most so many cores, and uses so many while it runs and is not ready.
    pub cores_per_pod: f64,
    /// Millicores.
    pub idle_millicores: i64,
    /// Resident memory.
    pub memory: i64,
    stages: FixedStages,
    registration: Span,
    termination: Span,
    flags: Flags,
}

/// Reads the file.
pub fn read(path: &Path, draft: &mut Draft) -> Constants {
    let mut constants = Constants {
        timer_lag_ms: 0.0,
        cores_per_pod: 1.0,
        idle_millicores: 5,
        memory: 200 << 20,
        stages: FixedStages::default(),
        registration: Span::ZERO,
        termination: Span::ZERO,
        flags: Flags::default(),
    };
    let bytes = match draft.files.bytes(path, "constants.json") {
        Ok(bytes) => bytes,
        Err(error) => {
            files::report(error, None, &mut draft.problems);
            return constants;
        }
    };
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let file = draft.problems.add_source(draft.files.shown(path), text.as_str().into());
    let value: Value = match serde_json::from_slice(&bytes) {
        Ok(value) => value,
        Err(error) => {
            report_json(&error, &text, file, &mut draft.problems);
            return constants;
        }
    };
    let place = Place::top(file);
    let kubelet = &value["fake_kubelet"];
    let span =
        |key: &str, default: Span, problems: &mut Problems| seconds(&kubelet[key], key, default, place, problems);
    let problems = &mut draft.problems;
    let stages = &mut constants.stages;
    stages.acknowledged = span("pod_ack_s", stages.acknowledged, problems);
    stages.running = span("bound_to_running_s", stages.running, problems);
    stages.ready = span("running_to_ready_s", stages.ready, problems);
    stages.gone = span("deletion_to_gone_s", stages.gone, problems);
    if let Some(after) = kubelet["node_ready"].as_str().and_then(|text| text.split_once('+')) {
        stages.node_ready = units::duration(&after.1.replace(' ', "")).unwrap_or(stages.node_ready);
    }
    constants.registration = span("node_registration_delay_s", Span::ZERO, problems);
    constants.termination = span("instance_termination_s", Span::ZERO, problems);
    let number = |value: &Value, default: f64| value.as_f64().filter(|v| (0.0..1e9).contains(v)).unwrap_or(default);
    constants.timer_lag_ms = number(&value["machine"]["timer_lag_ms"]["p99"], 0.0);
    constants.cores_per_pod = number(&value["load"]["cap_cores_per_pod"], 1.0);
    constants.idle_millicores = (number(&value["load"]["idle_cores_running_not_ready"], 0.005) * 1e3).round() as i64;
    constants.memory = number(&value["metrics"]["memory_bytes"], 209_715_200.0) as i64;
    read_flags(&value, place, &mut constants.flags, problems);
    constants
}

/// A file that is no JSON, at the place where it ceases to be.
pub fn report_json(error: &serde_json::Error, text: &str, file: FileId, problems: &mut Problems) {
    let (line, column) = (error.line().max(1), error.column().max(1));
    let before: usize = text.split_inclusive('\n').take(line - 1).map(str::len).sum();
    let start = (before + column - 1).min(text.len()) as u32;
    let place = Place { start, end: start, line: line as u32, column: column as u32, ..Place::top(file) };
    problems.error("E010", place, format!("no JSON: {error}"));
}

fn seconds(value: &Value, key: &str, default: Span, place: Place, problems: &mut Problems) -> Span {
    match value {
        Value::Null => default,
        value => match value.as_f64().filter(|seconds| (0.0..=DELAY_MAX).contains(seconds)) {
            Some(seconds) => Span::from_seconds(seconds),
            None => {
                problems.error("E012", place, format!("fake_kubelet.{key}: expected seconds, found {value}"));
                default
            }
        },
    }
}

/// Versions first, then what the command lines say.
fn read_flags(value: &Value, place: Place, flags: &mut Flags, problems: &mut Problems) {
    let version = |text: &str| -> Option<(u32, u32)> {
        let mut parts = text.trim_start_matches('v').split(['.', ' ', '-']).map(str::parse::<u32>);
        Some((parts.next()?.ok()?, parts.next()?.ok()?))
    };
    if let Some(kubernetes) = value["versions"]["kubernetes"].as_str().and_then(version) {
        controllers::apply_kubernetes(kubernetes, flags);
    }
    if let Some(karpenter) = value["versions"]["karpenter_core"].as_str().and_then(version) {
        flags.karpenter.version = karpenter;
    }
    let defaults = &value["hpa_defaults_not_on_command_line"];
    for (key, flag) in HPA_DEFAULTS {
        if let Some(number) = defaults[key].as_f64() {
            set(flag, &number.to_string(), place, flags, problems);
        }
    }
    for program in ["kube-controller-manager", "metrics-server", "kube-scheduler"] {
        for argument in value["flags"][program].as_array().map_or(&[][..], Vec::as_slice) {
            let Some((flag, text)) = argument.as_str().and_then(|text| text.trim_start_matches('-').split_once('='))
            else {
                continue;
            };
            set(flag, text, place, flags, problems);
        }
    }
    let karpenter = &value["flags"]["karpenter"];
    for argument in karpenter["args"].as_array().map_or(&[][..], Vec::as_slice) {
        if let Some((flag, text)) = argument.as_str().and_then(|text| text.trim_start_matches('-').split_once('=')) {
            set(flag, text, place, flags, problems);
        }
    }
    for (name, text) in karpenter["env"].as_object().into_iter().flatten() {
        set(&name.to_lowercase().replace('_', "-"), text.as_str().unwrap_or(""), place, flags, problems);
    }
    let source = value["metrics"]["counter_source"].as_str();
    flags.metrics.exact = true;
    flags.metrics.stepwise = source == Some("kwok");
    if let Some(other) = source.filter(|source| !["exact", "kwok"].contains(source)) {
        let text = format!("metrics.counter_source `{other}` is not known: counters are taken to be exact");
        problems.push(Diagnostic::warning("W122", place, text));
    }
}

const HPA_DEFAULTS: [(&str, &str); 5] = [
    ("sync_period_s", "horizontal-pod-autoscaler-sync-period"),
    ("tolerance", "horizontal-pod-autoscaler-tolerance"),
    ("cpu_initialization_period_s", "horizontal-pod-autoscaler-cpu-initialization-period"),
    ("initial_readiness_delay_s", "horizontal-pod-autoscaler-initial-readiness-delay"),
    ("downscale_stabilization_s", "horizontal-pod-autoscaler-downscale-stabilization"),
];

/// Flags by which no decision changes: addresses, credentials, files, logs.
const PLUMBING: [&str; 20] = [
    "kubeconfig",
    "authentication-kubeconfig",
    "authorization-kubeconfig",
    "bind-address",
    "secure-port",
    "cert-dir",
    "leader-elect",
    "use-service-account-credentials",
    "service-account-private-key-file",
    "root-ca-file",
    "kubelet-preferred-address-types",
    "kubelet-port",
    "v",
    "system-namespace",
    "disable-leader-election",
    "metrics-port",
    "health-probe-port",
    "log-level",
    "cpu-requests",
    "karpenter-service",
];

fn set(flag: &str, text: &str, place: Place, flags: &mut Flags, problems: &mut Problems) {
    if PLUMBING.contains(&flag) {
        return;
    }
    if flag == "feature-gates" {
        for (gate, on) in text.split(',').filter_map(|gate| gate.split_once('=')) {
            match gate {
                "SpotToSpotConsolidation" => flags.karpenter.spot_to_spot = on == "true",
                "NodeRepair" => flags.karpenter.node_repair = on == "true",
                "ReservedCapacity" => flags.karpenter.reserved_capacity = on == "true",
                "HPAConfigurableTolerance" => flags.hpa.configurable_tolerance = on == "true",
                "HPAScaleToZero" => flags.hpa.scale_to_zero = on == "true",
                _ => unknown(&format!("feature gate {gate}={on}"), place, problems),
            }
        }
        return;
    }
    let bare_seconds = text.parse::<f64>().ok().filter(|value| (0.0..=DELAY_MAX).contains(value));
    let span = bare_seconds.map(Span::from_seconds).or_else(|| units::duration(text).ok());
    let number = bare_seconds;
    let (hpa, node, karpenter) = (&mut flags.hpa, &mut flags.controllers, &mut flags.karpenter);
    let target = match flag {
        "horizontal-pod-autoscaler-sync-period" => &mut hpa.sync_period,
        "horizontal-pod-autoscaler-downscale-stabilization" => &mut hpa.downscale_stabilization,
        "horizontal-pod-autoscaler-cpu-initialization-period" => &mut hpa.cpu_initialization_period,
        "horizontal-pod-autoscaler-initial-readiness-delay" => &mut hpa.initial_readiness_delay,
        "node-monitor-period" => &mut node.node_monitor_period,
        "node-monitor-grace-period" => &mut node.node_monitor_grace,
        "node-startup-grace-period" => &mut node.node_startup_grace,
        "endpoint-updates-batch-period" | "endpointslice-updates-batch-period" => &mut node.endpoint_batch_period,
        "metric-resolution" => &mut flags.metrics.resolution,
        "batch-idle-duration" => &mut karpenter.batch_idle,
        "batch-max-duration" => &mut karpenter.batch_max,
        "preference-policy" => return karpenter.ignore_preferences = text == "Ignore",
        "min-values-policy" => return karpenter.min_values_best_effort = text == "BestEffort",
        "horizontal-pod-autoscaler-tolerance" => return hpa.tolerance = number.unwrap_or(hpa.tolerance),
        "concurrent-horizontal-pod-autoscaler-syncs" => {
            return hpa.workers = number.unwrap_or(5.0).max(1.0) as u32;
        }
        "kube-api-qps" => return node.client_qps = number.unwrap_or(node.client_qps),
        "kube-api-burst" => return node.client_burst = number.unwrap_or(node.client_burst),
        "node-eviction-rate" => return node.node_eviction_rate = number.unwrap_or(node.node_eviction_rate),
        _ => return unknown(&format!("--{flag}={text}"), place, problems),
    };
    match span.filter(|span| *span >= Span::from_millis(10) || !flag.contains("period") || flag.starts_with("endpoint"))
    {
        Some(span) => *target = span,
        None => problems.error("E012", place, format!("--{flag}={text}: expected a duration such as 15s")),
    }
}

fn unknown(what: &str, place: Place, problems: &mut Problems) {
    problems.push(Diagnostic::note("N120", place, format!("{what} is not modelled: passed over")));
}

/// Flags, stages and latencies into the plan.
pub fn apply(constants: &Constants, given: &Given, draft: &mut Draft) {
    let plan = &mut draft.plan;
    plan.flags = constants.flags.clone();
    let flags = &mut plan.flags;
    flags.kubelet.fixed = Some(FixedStages { pace: ACKNOWLEDGEMENT, ..constants.stages });
    flags.kubelet.lease_period = Span::from_secs(10);
    flags.vpa.period = Span::ZERO;
    flags.karpenter.interruption_queue = false;
    // KWOK makes machines itself: no account limits it.
    flags.ec2.limits = [(0.0, 0.0); 3];
    flags.metrics.phase = given.scrape_phase(super::trigger_at, plan.start, flags.metrics.resolution);
    let first = super::trigger_at(given.trigger, given.first);
    let watching = super::trigger_at(given.trigger, given.watching);
    flags.karpenter.disruption_phase = Some((watching + KARPENTER_LAG).since(plan.start));
    flags.karpenter.disruption_period += KARPENTER_PASS;
    flags.karpenter.command_start = COMMAND_START;
    flags.karpenter.ends_at_once = constants.termination.is_zero();
    flags.karpenter.capacity_is_requests = true;
    flags.controllers.eviction_retry = EVICTION_RETRY;
    flags.scheduler.awaits_conditions = true;
    flags.controllers.node_monitor_start = Some((first + NODE_MONITOR_LAG).since(plan.start));
    let mut timings = Timings::none();
    for (stage, milliseconds) in LATENCIES {
        timings.set(stage, Distribution::Constant(Span::from_millis(milliseconds)));
    }
    timings.set(Stage::InstanceBoot, Distribution::Constant(constants.registration + NODE_CREATION));
    timings.set(Stage::InstanceTermination, Distribution::Constant(constants.termination));
    plan.timings = timings;
    plan.zones = crate::catalog::kwok::ZONES.map(str::to_string).to_vec();
    plan.initial_age = Span::ZERO;
    plan.known_delays = given.delays.clone();
}
