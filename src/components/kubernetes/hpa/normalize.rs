//! From a raw proposal to a count: stabilisation, rate limits, bounds, and the memory that they need.
//!
//! Source: `pkg/controller/podautoscaler/horizontal.go` (`stabilizeRecommendation*`, `convertDesiredReplicas*`,
//! `storeScaleEvent`).

use super::calculator::ceil_replicas;
use crate::engine::{Span, Time};
use crate::plan::{Behavior, ScalingRules, SelectPolicy};
use crate::world::HpaReason;

/// Limits of growth when `spec.behavior` is absent. Source: `horizontal.go` (`scaleUpLimitFactor`, `scaleUpLimitMinimum`).
const SCALE_UP_LIMIT_FACTOR: f64 = 2.0;
const SCALE_UP_LIMIT_MINIMUM: f64 = 4.0;

/// A raw proposal and when it was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recommendation {
    /// Replicas.
    pub replicas: i32,
    /// When.
    pub at: Time,
}

/// A rescale that happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScaleEvent {
    /// By how many replicas, absolute.
    pub change: i32,
    /// When.
    pub at: Time,
    /// Older than every policy period when last looked at.
    pub outdated: bool,
}

/// What the controller remembers of an autoscaler.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct History {
    /// Raw proposals.
    pub recommendations: Vec<Recommendation>,
    /// Rescales upwards.
    pub up: Vec<ScaleEvent>,
    /// Rescales downwards.
    pub down: Vec<ScaleEvent>,
}

/// The bounds and the present size.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// `spec.replicas` of the target.
    pub current: i32,
    /// `minReplicas`.
    pub min: i32,
    /// `maxReplicas`.
    pub max: i32,
}

/// What became of a proposal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Normalized {
    /// After stabilisation.
    pub stabilized: i32,
    /// Reason of AbleToScale.
    pub able: HpaReason,
    /// The count to be written.
    pub replicas: i32,
    /// Reason of ScalingLimited.
    pub limit: HpaReason,
    /// The earlier proposal that decided, if one did: the youngest of equal ones.
    pub held_by: Option<Recommendation>,
}

impl History {
    /// Without `spec.behavior`: the largest proposal of the window, then bounds.
    pub fn normalize_legacy(&mut self, now: Time, proposal: i32, bounds: Bounds, window: Span) -> Normalized {
        let stabilized = self.stabilize_legacy(now, proposal, window);
        let held_by = self.holder(now.back(window), stabilized, proposal);
        let able = if stabilized == proposal { HpaReason::ReadyForNewScale } else { HpaReason::ScaleDownStabilized };
        let (replicas, limit) = limit_legacy(stabilized, bounds);
        Normalized { stabilized, able, replicas, limit, held_by }
    }

    /// The youngest earlier proposal, not older than `cutoff`, that made `stabilized` of another `proposal`.
    fn holder(&self, cutoff: Time, stabilized: i32, proposal: i32) -> Option<Recommendation> {
        if stabilized == proposal {
            return None;
        }
        let holds = |entry: &&Recommendation| entry.replicas == stabilized && entry.at >= cutoff;
        self.recommendations.iter().filter(holds).max_by_key(|entry| entry.at).copied()
    }

    fn stabilize_legacy(&mut self, now: Time, proposal: i32, window: Span) -> i32 {
        let cutoff = now.back(window);
        let mut highest = proposal;
        let mut expired = None;
        for (index, entry) in self.recommendations.iter().enumerate() {
            if entry.at < cutoff {
                expired = Some(index);
            } else {
                highest = highest.max(entry.replicas);
            }
        }
        self.remember(expired, Recommendation { replicas: proposal, at: now });
        highest
    }

    /// With `spec.behavior`: windows of both directions, then policies, then bounds.
    pub fn normalize_with_behavior(
        &mut self,
        now: Time,
        proposal: i32,
        bounds: Bounds,
        behavior: &Behavior,
        downscale_stabilization: Span,
    ) -> Normalized {
        let up_window = behavior.scale_up.stabilization_window.unwrap_or(Span::ZERO);
        let down_window = behavior
            .scale_down
            .stabilization_window
            .unwrap_or(Span::from_secs(downscale_stabilization.whole_seconds()));
        let stabilized = self.stabilize_both(now, proposal, bounds.current, up_window, down_window);
        let able = if stabilized == proposal {
            HpaReason::ReadyForNewScale
        } else if proposal >= bounds.current {
            HpaReason::ScaleUpStabilized
        } else {
            HpaReason::ScaleDownStabilized
        };
        let held_by = self.holder(now.back(up_window.max(down_window)), stabilized, proposal);
        let (replicas, limit) = self.limit_rate(now, stabilized, bounds, behavior);
        Normalized { stabilized, able, replicas, limit, held_by }
    }

    fn stabilize_both(&mut self, now: Time, proposal: i32, current: i32, up_window: Span, down_window: Span) -> i32 {
        let (up_cutoff, down_cutoff) = (now.back(up_window), now.back(down_window));
        let (mut up, mut down) = (proposal, proposal);
        let mut expired = None;
        for (index, entry) in self.recommendations.iter().enumerate() {
            if entry.at > up_cutoff {
                up = up.min(entry.replicas);
            }
            if entry.at > down_cutoff {
                down = down.max(entry.replicas);
            }
            if entry.at < up_cutoff && entry.at < down_cutoff {
                expired = Some(index);
            }
        }
        self.remember(expired, Recommendation { replicas: proposal, at: now });
        current.max(up).min(down)
    }

    fn remember(&mut self, expired: Option<usize>, entry: Recommendation) {
        match expired {
            Some(index) => self.recommendations[index] = entry,
            None => self.recommendations.push(entry),
        }
    }

    fn limit_rate(&self, now: Time, desired: i32, bounds: Bounds, behavior: &Behavior) -> (i32, HpaReason) {
        let Bounds { current, min, max } = bounds;
        if desired > current {
            let limit = self.up_limit(now, current, &behavior.scale_up).max(current);
            let (upper, reason) =
                if max > limit { (limit, HpaReason::ScaleUpLimit) } else { (max, HpaReason::TooManyReplicas) };
            if desired > upper {
                return (upper, reason);
            }
        } else if desired < current {
            let limit = self.down_limit(now, current, &behavior.scale_down).min(current);
            let (lower, reason) =
                if min < limit { (limit, HpaReason::ScaleDownLimit) } else { (min, HpaReason::TooFewReplicas) };
            if desired < lower {
                return (lower, reason);
            }
        }
        (desired, HpaReason::DesiredWithinRange)
    }

    /// The size at the start of a policy's period, as the events tell.
    fn start_of(&self, now: Time, current: i32, period: Span) -> i32 {
        let cutoff = now.back(period);
        let sum = |events: &[ScaleEvent]| {
            events.iter().filter(|event| event.at > cutoff).fold(0i32, |sum, event| sum.wrapping_add(event.change))
        };
        current.wrapping_sub(sum(&self.up)).wrapping_add(sum(&self.down))
    }

    fn up_limit(&self, now: Time, current: i32, rules: &ScalingRules) -> i32 {
        let limits = rules.policies.iter().map(|policy| {
            let start = self.start_of(now, current, policy.period);
            if policy.percent {
                ceil_replicas(f64::from(start) * (1.0 + f64::from(policy.value) / 100.0))
            } else {
                start.wrapping_add(policy.value)
            }
        });
        match rules.select {
            SelectPolicy::Disabled => current,
            SelectPolicy::Min => limits.fold(i32::MAX, i32::min),
            SelectPolicy::Max => limits.fold(i32::MIN, i32::max),
        }
    }

    fn down_limit(&self, now: Time, current: i32, rules: &ScalingRules) -> i32 {
        let limits = rules.policies.iter().map(|policy| {
            let start = self.start_of(now, current, policy.period);
            if policy.percent {
                ceil_replicas((f64::from(start) * (1.0 - f64::from(policy.value) / 100.0)).trunc())
            } else {
                start.wrapping_sub(policy.value)
            }
        });
        match rules.select {
            SelectPolicy::Disabled => current,
            SelectPolicy::Min => limits.fold(i32::MIN, i32::max),
            SelectPolicy::Max => limits.fold(i32::MAX, i32::min),
        }
    }

    /// Remembers a rescale that succeeded (only with `spec.behavior`).
    pub fn store_event(&mut self, now: Time, behavior: &Behavior, from: i32, to: i32) {
        let (events, rules) =
            if to > from { (&mut self.up, &behavior.scale_up) } else { (&mut self.down, &behavior.scale_down) };
        let longest = rules.policies.iter().map(|policy| policy.period).max().unwrap_or(Span::ZERO);
        let cutoff = now.back(longest);
        for event in events.iter_mut().filter(|event| event.at < cutoff) {
            event.outdated = true;
        }
        let entry = ScaleEvent { change: (to - from).abs(), at: now, outdated: false };
        match events.iter().rposition(|event| event.outdated) {
            Some(index) => events[index] = entry,
            None => events.push(entry),
        }
    }
}

fn limit_legacy(desired: i32, bounds: Bounds) -> (i32, HpaReason) {
    let growth = ceil_replicas((SCALE_UP_LIMIT_FACTOR * f64::from(bounds.current)).max(SCALE_UP_LIMIT_MINIMUM));
    let (upper, reason) =
        if bounds.max > growth { (growth, HpaReason::ScaleUpLimit) } else { (bounds.max, HpaReason::TooManyReplicas) };
    if desired < bounds.min {
        (bounds.min, HpaReason::TooFewReplicas)
    } else if desired > upper {
        (upper, reason)
    } else {
        (desired, HpaReason::DesiredWithinRange)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::ScalingPolicy;

    fn at(seconds: u64) -> Time {
        Time::from_unix_seconds(1_000_000 + seconds)
    }

    fn policy(percent: bool, value: i32, seconds: u64) -> ScalingPolicy {
        ScalingPolicy { percent, value, period: Span::from_secs(seconds) }
    }

    fn rules(policies: Vec<ScalingPolicy>, window: u64) -> ScalingRules {
        ScalingRules {
            stabilization_window: Some(Span::from_secs(window)),
            select: SelectPolicy::Max,
            policies,
            tolerance: None,
        }
    }

    fn default_behavior() -> Behavior {
        Behavior {
            scale_up: rules(vec![policy(true, 100, 15), policy(false, 4, 15)], 0),
            scale_down: rules(vec![policy(true, 100, 15)], 300),
        }
    }

    /// Sizes after syncs every 15 s with the same proposal.
    fn path(behavior: Option<&Behavior>, from: i32, proposal: i32, syncs: u64) -> Vec<i32> {
        let mut history = History::default();
        let mut current = from;
        (0..syncs)
            .map(|sync| {
                let now = at(15 * sync);
                let bounds = Bounds { current, min: 1, max: 1_000 };
                let window = Span::from_secs(300);
                let result = match behavior {
                    None => history.normalize_legacy(now, proposal, bounds, window),
                    Some(behavior) => history.normalize_with_behavior(now, proposal, bounds, behavior, window),
                };
                if let Some(behavior) = behavior.filter(|_| result.replicas != current) {
                    history.store_event(now, behavior, current, result.replicas);
                }
                current = result.replicas;
                current
            })
            .collect()
    }

    #[test]
    fn oracle_6_growth_without_behavior() {
        assert_eq!(path(None, 1, 200, 7), [4, 8, 16, 32, 64, 128, 200]);
    }

    #[test]
    fn oracle_7_growth_by_the_default_policies() {
        let behavior = default_behavior();
        assert_eq!(path(Some(&behavior), 1, 200, 7), [5, 10, 20, 40, 80, 160, 200]);
        assert_eq!(path(Some(&behavior), 10, 100, 4), [20, 40, 80, 100]);
    }

    #[test]
    fn ten_percent_a_minute_is_rounded_up_in_doubles() {
        let mut behavior = default_behavior();
        behavior.scale_up = rules(vec![policy(true, 10, 60)], 0);
        let sizes = path(Some(&behavior), 100, 1_000, 6);
        assert_eq!(sizes, [111, 111, 111, 111, 123, 123], "an event exactly one period old no longer counts");
        assert_eq!(path(Some(&behavior), 50, 1_000, 1), [56]);
    }

    #[test]
    fn going_down_is_limited_from_the_start_of_the_period_and_cut() {
        let mut behavior = default_behavior();
        behavior.scale_down = rules(vec![policy(true, 50, 60)], 0);
        let mut history = History::default();
        history.down.push(ScaleEvent { change: 12, at: at(0), outdated: false });
        let bounds = Bounds { current: 100, min: 1, max: 200 };
        let result = history.normalize_with_behavior(at(30), 1, bounds, &behavior, Span::ZERO);
        assert_eq!((result.replicas, result.limit), (56, HpaReason::ScaleDownLimit));
        let limit = |current, percent| {
            History::default().down_limit(at(0), current, &rules(vec![policy(true, percent, 60)], 0))
        };
        assert_eq!((limit(100, 90), limit(10, 90)), (9, 0));
    }

    #[test]
    fn select_policies_choose_the_smallest_change_or_none() {
        let mut behavior = default_behavior();
        behavior.scale_up.select = SelectPolicy::Min;
        assert_eq!(path(Some(&behavior), 10, 100, 1), [14]);
        behavior.scale_up.select = SelectPolicy::Disabled;
        assert_eq!(path(Some(&behavior), 10, 100, 1), [10]);
    }

    #[test]
    fn oracle_8_nothing_shrinks_before_300_s_after_the_last_higher_proposal() {
        let mut history = History::default();
        let mut current = 10;
        let mut changes = Vec::new();
        for sync in 0..40u64 {
            let proposal = [10, 9, 8].get(sync as usize).copied().unwrap_or(4);
            let bounds = Bounds { current, min: 1, max: 100 };
            let result = history.normalize_legacy(at(15 * sync), proposal, bounds, Span::from_secs(300));
            if result.replicas != current {
                changes.push((15 * sync, result.replicas));
                current = result.replicas;
            }
        }
        // The entry of t = 0 still counts at exactly 300 s, so the first sync after it is the one at 315 s.
        assert_eq!(changes, [(315, 9), (330, 8), (345, 4)]);
    }

    #[test]
    fn with_behavior_an_entry_exactly_one_window_old_no_longer_counts() {
        let behavior = default_behavior();
        let mut history =
            History { recommendations: vec![Recommendation { replicas: 10, at: at(0) }], ..History::default() };
        let bounds = Bounds { current: 10, min: 1, max: 100 };
        let early = history.normalize_with_behavior(at(299), 4, bounds, &behavior, Span::from_secs(300));
        assert_eq!((early.replicas, early.able), (10, HpaReason::ScaleDownStabilized));
        let late = history.normalize_with_behavior(at(300), 4, bounds, &behavior, Span::from_secs(300));
        assert_eq!((late.replicas, late.able), (4, HpaReason::ReadyForNewScale));
    }

    #[test]
    fn expired_entries_are_overwritten_so_that_memory_stays_bounded() {
        let mut history = History::default();
        for sync in 0..1_000 {
            let bounds = Bounds { current: 5, min: 1, max: 9 };
            history.normalize_legacy(at(15 * sync), 5, bounds, Span::from_secs(300));
        }
        assert!(history.recommendations.len() <= 22, "{}", history.recommendations.len());
        let behavior = default_behavior();
        for sync in 0..10 {
            history.store_event(at(20 * sync), &behavior, 1, 2);
        }
        assert_eq!(history.up.len(), 1);
    }
}
