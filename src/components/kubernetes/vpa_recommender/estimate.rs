//! From histories to a recommendation: percentile, margin, confidence, minimum, rounding, policy.
//!
//! Source: `pkg/recommender/logic/estimator.go`, `recommender.go`, `model/types.go`; `pkg/utils/vpa/capping.go`. Each
//! step cuts its result to a whole number of millicores or bytes.

use super::histogram::nanoseconds;
use super::math::power;
use super::model::{History, amount, scaled};
use crate::engine::{Span, Time};
use crate::plan::flags::{Percentiles, VpaFlags};
use crate::rules::quantity::Quantity;
use std::collections::BTreeMap;

/// An amount of each resource, absent where it is not controlled or not limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Amounts {
    /// CPU.
    pub cpu: Option<Quantity>,
    /// Memory.
    pub memory: Option<Quantity>,
}

/// The recommendation for the containers of one name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContainerRecommendation {
    /// The request to set.
    pub target: Amounts,
    /// A request below it is too small.
    pub lower_bound: Amounts,
    /// A request above it is wasteful.
    pub upper_bound: Amounts,
    /// The target before the policy.
    pub uncapped_target: Amounts,
}

/// An entry of `spec.resourcePolicy.containerPolicies`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerPolicy {
    /// `containerName`; `*`: all containers without an entry of their own.
    pub container: String,
    /// `mode: Off`: no recommendation.
    pub off: bool,
    /// `controlledResources` has `cpu`.
    pub controls_cpu: bool,
    /// `controlledResources` has `memory`.
    pub controls_memory: bool,
    /// `minAllowed`.
    pub min_allowed: Amounts,
    /// `maxAllowed`.
    pub max_allowed: Amounts,
}

/// How a bound spreads while there is little history: x (1 + multiplier / confidence)^exponent.
#[derive(Clone, Copy)]
struct Spread {
    multiplier: f64,
    exponent: i32,
}

const LOWER: Spread = Spread { multiplier: 0.001, exponent: -2 };
const UPPER: Spread = Spread { multiplier: 1.0, exponent: 1 };

/// How much history there is: days with a sample a minute, for an interval of a day.
pub fn confidence(history: &History, interval: Span) -> f64 {
    let (first, last) = history.span();
    let lifespan = nanoseconds(first, last) / nanoseconds(Time::ZERO, Time::ZERO + interval);
    let samples = history.samples as f64 / minutes(interval);
    lifespan.min(samples)
}

/// Whole minutes plus the rest, the way Go adds them.
fn minutes(span: Span) -> f64 {
    let minute = 60_000_000;
    (span.micros() / minute) as f64 + (span.micros() % minute * 1_000) as f64 / 60e9
}

/// Amounts before minimum and policy: target, lower bound, upper bound.
fn estimate(percentiles: &Percentiles, margin: f64, confidence: f64, at: impl Fn(f64) -> f64) -> [i64; 3] {
    let with_margin = |percentile: f64| {
        let base = amount(at(percentile));
        base + scaled(base, margin)
    };
    let spread = |base: i64, spread: Spread| scaled(base, power(1.0 + spread.multiplier / confidence, spread.exponent));
    [
        with_margin(percentiles.target),
        spread(with_margin(percentiles.lower), LOWER),
        spread(with_margin(percentiles.upper), UPPER),
    ]
}

/// Millicores of a container: target, lower bound, upper bound.
pub fn cpu_estimates(history: &History, flags: &VpaFlags) -> [i64; 3] {
    let confidence = confidence(history, flags.cpu_confidence_interval);
    let millicores = |percentile| history.cpu.percentile(percentile) * 1000.0;
    estimate(&flags.cpu_percentiles, flags.safety_margin, confidence, millicores)
}

/// Bytes of a container: target, lower bound, upper bound.
pub fn memory_estimates(history: &History, flags: &VpaFlags) -> [i64; 3] {
    let confidence = confidence(history, flags.memory_confidence_interval);
    let bytes = |percentile| history.memory.percentile(percentile);
    estimate(&flags.memory_percentiles, flags.safety_margin, confidence, bytes)
}

/// The least that each of so many containers of a pod gets: millicores and bytes.
pub fn minimum(flags: &VpaFlags, containers: usize) -> (i64, i64) {
    let fraction = 1.0 / containers as f64;
    let cpu = amount(flags.pod_min_cpu_millicores * 0.001 * 1000.0);
    let memory = amount(flags.pod_min_memory_mb * 1024.0 * 1024.0);
    (scaled(cpu, fraction), scaled(memory, fraction))
}

/// Up to a multiple. A scale that makes no sense changes nothing.
fn rounded_up(value: i64, scale: i64) -> i64 {
    if scale <= 1 { value } else { ((value as f64 / scale as f64).ceil() as i64).saturating_mul(scale) }
}

/// The entry for a container: its own, else that of `*`.
fn policy_of<'p>(policies: &'p [ContainerPolicy], container: &str) -> Option<&'p ContainerPolicy> {
    let own = policies.iter().find(|policy| policy.container == container);
    // Of several for all the last holds.
    own.or_else(|| policies.iter().rfind(|policy| policy.container == "*"))
}

/// A quantity between two limits, of which zero is none and the upper one has the last word.
fn capped(value: Option<Quantity>, least: Option<Quantity>, most: Option<Quantity>) -> Option<Quantity> {
    let set = |limit: Option<Quantity>| limit.filter(|&limit| limit != Quantity::default());
    let value = value?;
    let value = set(least).map_or(value, |least| value.max(least));
    Some(set(most).map_or(value, |most| value.min(most)))
}

/// Applies a policy and the recommender's own maximum, which holds where the policy has none.
fn cap(amounts: Amounts, policy: Option<&ContainerPolicy>, flags: &VpaFlags) -> Amounts {
    let least = policy.map(|policy| policy.min_allowed).unwrap_or_default();
    let most = policy.map(|policy| policy.max_allowed).unwrap_or_default();
    Amounts {
        cpu: capped(amounts.cpu, least.cpu, most.cpu.or(flags.max_allowed_cpu)),
        memory: capped(amounts.memory, least.memory, most.memory.or(flags.max_allowed_memory)),
    }
}

/// The recommendation for one container.
fn recommend_container(
    history: &History,
    policy: Option<&ContainerPolicy>,
    (min_cpu, min_memory): (i64, i64),
    flags: &VpaFlags,
) -> ContainerRecommendation {
    let cpu = cpu_estimates(history, flags);
    let memory = memory_estimates(history, flags);
    let amounts = |which: usize| Amounts {
        cpu: policy
            .is_none_or(|policy| policy.controls_cpu)
            .then(|| Quantity::milli(rounded_up(cpu[which].max(min_cpu), flags.round_cpu_millicores))),
        memory: policy
            .is_none_or(|policy| policy.controls_memory)
            .then(|| Quantity::whole(rounded_up(memory[which].max(min_memory), flags.round_memory_bytes))),
    };
    let capped = |which: usize| cap(amounts(which), policy, flags);
    ContainerRecommendation {
        target: capped(0),
        lower_bound: capped(1),
        upper_bound: capped(2),
        uncapped_target: amounts(0),
    }
}

/// Recommendations for the containers of a workload, by name, those that are switched off left out.
pub fn recommend(
    histories: &BTreeMap<String, History>,
    policies: &[ContainerPolicy],
    flags: &VpaFlags,
) -> BTreeMap<String, ContainerRecommendation> {
    let on = |name: &str| !policy_of(policies, name).is_some_and(|policy| policy.off);
    let least = minimum(flags, histories.keys().filter(|name| on(name)).count());
    let entries = histories.iter().filter(|(name, _)| on(name));
    entries
        .map(|(name, history)| {
            let policy = policy_of(policies, name);
            (name.clone(), recommend_container(history, policy, least, flags))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::model::Workload;
    use super::*;

    /// A day's multiples of a steady use of 400m and 500 MiB, a sample a minute.
    fn steady(minutes: u64) -> BTreeMap<String, History> {
        let flags = VpaFlags::default();
        let mut workload = Workload::default();
        workload.add_container(&flags, 1, 1, "app");
        let start = Time::from_unix_seconds(946_684_800);
        for minute in 0..=minutes {
            let at = start + Span::from_secs(60 * minute);
            workload.add_cpu(1, "app", at, 400);
            workload.add_memory(&flags, 1, "app", at, 500 << 20);
        }
        workload.merged(&flags)
    }

    #[test]
    fn percentile_and_margin_are_cut_one_after_the_other() {
        let [target, ..] = cpu_estimates(&steady(60)["app"], &VpaFlags::default());
        // 400m falls into the bucket that ends at 414.307m: 414 + trunc(414 x 0.15 = 62.1).
        assert_eq!(target, 476);
        let [target, ..] = memory_estimates(&steady(60)["app"], &VpaFlags::default());
        assert_eq!(target, 628_694_953);
    }

    #[test]
    fn bounds_close_in_as_history_grows() {
        let flags = VpaFlags::default();
        for (hours, lower, upper) in [(12, 474, 1428), (24, 475, 952), (168, 475, 544)] {
            let histories = steady(hours * 60);
            let [target, low, high] = cpu_estimates(&histories["app"], &flags);
            assert_eq!((target, low, high), (476, lower, upper), "{hours} h: x3, x2, x1.14");
            let share = memory_estimates(&histories["app"], &flags).map(|bytes| bytes as f64 / 628_694_953.0);
            let days = hours as f64 / 24.0;
            assert!((share[1] - (1.0 + 0.001 / days).powi(-2)).abs() < 1e-8);
            assert!((share[2] - (1.0 + 1.0 / days)).abs() < 1e-8);
        }
    }

    #[test]
    fn few_samples_limit_the_confidence_too() {
        let mut history = steady(1440)["app"].clone();
        assert_eq!(confidence(&history, Span::from_secs(86_400)), 1.0);
        history.samples = 144;
        assert_eq!(confidence(&history, Span::from_secs(86_400)), 0.1);
    }

    #[test]
    fn without_history_the_bounds_are_the_minimum_and_the_largest_amount() {
        let flags = VpaFlags::default();
        let one_sample = steady(0);
        assert_eq!(cpu_estimates(&one_sample["app"], &flags), [476, 0, 100_000_000_000_000]);
        let never = BTreeMap::from([("app".to_string(), History::new(&flags))]);
        let least = Amounts { cpu: Some(Quantity::milli(25)), memory: Some(Quantity::whole(250 << 20)) };
        let entry = &recommend(&never, &[], &flags)["app"];
        assert_eq!((entry.target, entry.lower_bound, entry.upper_bound), (least, least, least));
    }

    #[test]
    fn containers_share_the_minimum_of_the_pod() {
        let flags = VpaFlags::default();
        assert_eq!(minimum(&flags, 1), (25, 262_144_000));
        assert_eq!(minimum(&flags, 2), (12, 131_072_000));
        assert_eq!(minimum(&flags, 3), (8, 87_381_333));
        let off = |container: &str| ContainerPolicy {
            container: container.to_string(),
            off: true,
            controls_cpu: true,
            controls_memory: true,
            min_allowed: Amounts::default(),
            max_allowed: Amounts::default(),
        };
        let never = ["app", "side"].map(|name| (name.to_string(), History::new(&flags)));
        let answer = recommend(&BTreeMap::from(never), &[off("app")], &flags);
        assert_eq!(answer.keys().collect::<Vec<_>>(), ["side"]);
        assert_eq!(answer["side"].target.cpu, Some(Quantity::milli(25)), "the other one has it all");
    }

    #[test]
    fn the_policy_caps_all_but_the_uncapped_target() {
        let mut flags = VpaFlags { max_allowed_cpu: Some(Quantity::milli(100)), ..VpaFlags::default() };
        flags.max_allowed_memory = Some(Quantity::whole(400 << 20));
        let policy = ContainerPolicy {
            container: "*".to_string(),
            off: false,
            controls_cpu: true,
            controls_memory: true,
            min_allowed: Amounts { cpu: Some(Quantity::milli(450)), memory: Some(Quantity::default()) },
            max_allowed: Amounts { cpu: Some(Quantity::milli(470)), memory: None },
        };
        let entry = recommend(&steady(1440), std::slice::from_ref(&policy), &flags)["app"];
        assert_eq!(entry.target.cpu, Some(Quantity::milli(470)), "the policy's maximum, not the recommender's own");
        assert_eq!(entry.target.memory, Some(Quantity::whole(400 << 20)), "zero is no limit");
        assert_eq!(entry.uncapped_target.cpu, Some(Quantity::milli(476)));
        let memory_only = ContainerPolicy { controls_cpu: false, container: "app".to_string(), ..policy };
        assert_eq!(recommend(&steady(1440), &[memory_only], &flags)["app"].target.cpu, None);
    }

    #[test]
    fn rounding_goes_up() {
        assert_eq!(rounded_up(476, 1), 476);
        assert_eq!(rounded_up(476, 50), 500);
        assert_eq!(rounded_up(500, 50), 500);
        assert_eq!(rounded_up(0, 50), 0);
        assert_eq!(rounded_up(7, 0), 7);
    }
}
