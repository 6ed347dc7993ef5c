//! `controllers:`, the flags of the controllers by name, and what a version of Kubernetes, Karpenter or the load balancer
//! controller means for them.

use super::diagnostic::{Diagnostic, Problems, suggestion};
use super::reader::{self, Fields};
use super::yaml::{Node, Value};
use crate::engine::Span;
use crate::plan::Flags;

/// A value that a flag can have.
trait FlagValue: Sized {
    fn read(node: &Node, path: &str, problems: &mut Problems) -> Option<Self>;
}

impl FlagValue for Span {
    fn read(node: &Node, path: &str, problems: &mut Problems) -> Option<Span> {
        reader::duration(node, path, problems)
    }
}

impl FlagValue for Option<Span> {
    fn read(node: &Node, path: &str, problems: &mut Problems) -> Option<Option<Span>> {
        reader::duration(node, path, problems).map(Some)
    }
}

impl FlagValue for f64 {
    fn read(node: &Node, path: &str, problems: &mut Problems) -> Option<f64> {
        let value = reader::number(node, path, problems)?;
        if (0.0..=1e9).contains(&value) {
            return Some(value);
        }
        reader::out_of_range(node, path, "from 0 to 1e9", problems);
        None
    }
}

impl FlagValue for u32 {
    fn read(node: &Node, path: &str, problems: &mut Problems) -> Option<u32> {
        reader::integer_in(node, path, 0, 1_000_000_000, problems).map(|value| value as u32)
    }
}

impl FlagValue for Option<u32> {
    fn read(node: &Node, path: &str, problems: &mut Problems) -> Option<Option<u32>> {
        reader::integer_in(node, path, 1, 1_000_000, problems).map(|value| Some(value as u32))
    }
}

impl FlagValue for bool {
    fn read(node: &Node, path: &str, problems: &mut Problems) -> Option<bool> {
        reader::boolean(node, path, problems)
    }
}

macro_rules! flags {
    ($($group:ident: $($field:ident)*;)*) => {
        /// Names of all flags.
        pub const NAMES: &[&str] = &[$($(concat!(stringify!($group), ".", stringify!($field)),)*)*];

        /// Sets a flag by name; false if there is none.
        fn set(flags: &mut Flags, name: &str, node: &Node, path: &str, problems: &mut Problems) -> bool {
            $($(if name == concat!(stringify!($group), ".", stringify!($field)) {
                if let Some(value) = FlagValue::read(node, path, problems) {
                    flags.$group.$field = value;
                }
                return true;
            })*)*
            false
        }
    };
}

flags! {
    hpa: sync_period downscale_stabilization tolerance cpu_initialization_period initial_readiness_delay workers
        resync_phase configurable_tolerance scale_to_zero pod_level_resources legacy_tolerance_test
        fill_missing_with_request;
    controllers: client_qps client_burst event_post node_monitor_period node_monitor_grace node_startup_grace node_eviction_rate
        secondary_node_eviction_rate large_cluster_size unhealthy_zone_threshold endpoint_batch_period
        endpoints_per_slice pod_gc_period pod_gc_quarantine default_toleration eviction_retry;
    metrics: resolution phase housekeeping_busy housekeeping_idle scrape_spread_per_node scrape_spread_max exact stepwise;
    scheduler: backoff_initial backoff_max unschedulable_max flush_period percentage_of_nodes_to_score
        pop_from_backoff start_index;
    kubelet: relist_period serialize_image_pulls max_parallel_image_pulls restart_backoff_initial restart_backoff_max
        first_probe_at_relist lease_period;
    karpenter: batch_idle batch_max retrigger disruption_period disruption_phase ends_at_once validation_delay queue_period memo drain_min
        capacity_is_requests drain_period termination_period pricing_period unavailable_offering unavailable_sweep pod_event_dedupe
        nomination
        launch_timeout registration_timeout patch_pause command_start expiration_pause interruption_queue spot_to_spot ignore_preferences
        node_repair repair_toleration repair_toleration_accelerators repair_recheck
        min_values_best_effort reserved_capacity vm_memory_overhead_millis reserved_enis;
    external: scrape_interval polling_interval cooldown_period;
    load_balancer: requeue backoff_initial backoff_max chunk workers cache watches_pods fail_open max_targets sync_period;
}

/// Periods of loops: zero would make a loop without end.
const PERIODS: [&str; 14] = [
    "external.scrape_interval",
    "external.polling_interval",
    "hpa.sync_period",
    "controllers.node_monitor_period",
    "controllers.pod_gc_period",
    "metrics.resolution",
    "scheduler.flush_period",
    "kubelet.relist_period",
    "kubelet.lease_period",
    "karpenter.disruption_period",
    "karpenter.queue_period",
    "karpenter.termination_period",
    "karpenter.drain_period",
    "load_balancer.requeue",
];

/// Reads `controllers:`, flat (`hpa.sync_period: 15s`) or nested (`hpa: { sync_period: 15s }`).
pub fn read(node: &Node, flags: &mut Flags, problems: &mut Problems) {
    if !matches!(node.value, Value::Mapping(_)) {
        reader::wrong_type(node, "controllers", "a mapping of flags", problems);
    }
    for entry in node.entries() {
        if matches!(entry.value.value, Value::Mapping(_)) {
            for inner in entry.value.entries() {
                read_flag(&format!("{}.{}", entry.key, inner.key), inner, flags, problems);
            }
        } else {
            read_flag(&entry.key, entry, flags, problems);
        }
    }
}

fn read_flag(name: &str, entry: &super::yaml::Entry, flags: &mut Flags, problems: &mut Problems) {
    let path = format!("controllers.{name}");
    if !set(flags, name, &entry.value, &path, problems) {
        let group = name.split('.').next().unwrap_or(name);
        let before = name.strip_suffix(&*entry.key).unwrap_or_default();
        let help = suggestion(name, NAMES.iter().copied())
            .or_else(|| suggestion("", NAMES.iter().copied().filter(|known| known.starts_with(&format!("{group}.")))));
        let diagnostic = Diagnostic::error("E010", entry.key_place, format!("there is no flag `{name}`"));
        problems.push(
            diagnostic.label("unknown flag").suggest(name, NAMES.iter().copied()).maybe_help(help).meant_behind(before),
        );
        return;
    }
    let short = reader::unit(&entry.value, &path, "", super::units::duration, &mut Problems::new());
    if PERIODS.contains(&name) && short.is_some_and(|span| span < Span::from_millis(10)) {
        reader::out_of_range(&entry.value, &path, "at least 10ms", problems);
    }
}

/// A version such as `1.34` or `"1.14"`.
pub fn version(node: &Node, path: &str, problems: &mut Problems) -> Option<(u32, u32)> {
    let text = node.text().unwrap_or("");
    let mut parts = text.strip_prefix('v').unwrap_or(text).split('.').map(str::parse::<u32>);
    match (parts.next(), parts.next()) {
        (Some(Ok(major)), Some(Ok(minor))) if major < 100 && minor < 1000 => Some((major, minor)),
        _ => {
            reader::wrong_type(node, path, "a version such as \"1.34\"", problems);
            None
        }
    }
}

/// Versions whose differences are known, oldest and newest of each line.
type Known = [((u32, u32), (u32, u32))];
const KUBERNETES: &Known = &[((1, 27), (1, 37))];
const KARPENTER: &Known = &[((0, 32), (0, 37)), ((1, 0), (1, 14))];
const LOAD_BALANCER_CONTROLLER: &Known = &[((2, 0), (2, 17)), ((3, 0), (3, 4))];

/// A version of one of the programs that differ by version; one that is not known is warned of.
pub fn known_version(fields: &mut Fields<'_>, key: &'static str, problems: &mut Problems) -> Option<(u32, u32)> {
    let known = match key {
        "kubernetes" => KUBERNETES,
        "karpenter" => KARPENTER,
        _ => LOAD_BALANCER_CONTROLLER,
    };
    let node = fields.get(key)?;
    let path = fields.at(key);
    let (major, minor) = version(node, &path, problems)?;
    if !known.iter().any(|(oldest, newest)| (*oldest..=*newest).contains(&(major, minor))) {
        let lines = known.iter().map(|((major, from), (_, to))| format!("{major}.{from} to {major}.{to}"));
        let text = format!("{path}: {major}.{minor} is not known here: it behaves as the nearest version that is");
        let help = format!("known are {}", lines.collect::<Vec<_>>().join(" and "));
        problems.push(Diagnostic::warning("W144", node.place, text).help(help));
    }
    Some((major, minor))
}

/// What a version of Kubernetes changes.
pub fn apply_kubernetes((major, minor): (u32, u32), flags: &mut Flags) {
    let at_least = |wanted| (major, minor) >= (1, wanted);
    flags.hpa.legacy_tolerance_test = !at_least(33);
    flags.hpa.fill_missing_with_request = !at_least(32);
    flags.hpa.configurable_tolerance = at_least(35);
    flags.hpa.scale_to_zero = at_least(37);
    flags.hpa.pod_level_resources = at_least(34);
    flags.scheduler.pop_from_backoff = at_least(33);
    if !at_least(32) {
        flags.controllers.node_monitor_grace = Span::from_secs(40);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> (Flags, Problems) {
        let mut problems = Problems::new();
        let file = problems.add_source("s.yaml", text.into());
        let node = super::super::yaml::parse_one(file, text, &mut problems).unwrap();
        let mut flags = Flags::default();
        read(&node, &mut flags, &mut problems);
        (flags, problems)
    }

    #[test]
    fn flags_are_set_flat_or_nested_and_unknown_ones_are_errors() {
        let (flags, problems) = read_text("hpa.sync_period: 30s\nkarpenter: { spot_to_spot: true, batch_max: 5s }\n");
        assert_eq!(problems.render(false), "");
        assert_eq!(flags.hpa.sync_period, Span::from_secs(30));
        assert!(flags.karpenter.spot_to_spot);
        assert_eq!(flags.karpenter.batch_max, Span::from_secs(5));
        assert!(read_text("hpa.sync_perod: 30s\n").1.render(false).contains("did you mean `hpa.sync_period`?"));
        assert!(read_text("hpa.sync_period: 0s\n").1.has_errors(), "a loop without pause would never end");
    }

    #[test]
    fn the_default_version_changes_nothing() {
        let mut flags = Flags::default();
        apply_kubernetes((1, 34), &mut flags);
        assert_eq!(flags, Flags::default());
        apply_kubernetes((1, 31), &mut flags);
        assert_eq!(flags.controllers.node_monitor_grace, Span::from_secs(40));
        assert!(flags.hpa.legacy_tolerance_test && flags.hpa.fill_missing_with_request);
    }
}
