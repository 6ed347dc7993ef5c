//! What a node of the load balancer thinks of a target after a check, and when its next checks are: arithmetic alone.
//!
//! In: outcomes, thresholds, the grid. Out: views and ticks. Source: ELB user guide "Health checks for your target groups" (one
//! success admits a new target, the healthy threshold is for unhealthy ones).

use crate::engine::{Span, Time};
use crate::plan::HealthCheck;

/// What a node thinks of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum View {
    Initial,
    Healthy,
    Unhealthy,
}

/// The next verdict of a node: (view, checks in a row against it).
pub(super) fn judge(view: View, streak: u32, success: bool, check: &HealthCheck) -> (View, u32) {
    match (view, success) {
        (View::Initial | View::Healthy, true) => (View::Healthy, 0),
        (View::Initial | View::Healthy, false) if streak + 1 >= check.unhealthy_threshold => (View::Unhealthy, 0),
        (View::Initial | View::Healthy, false) => (view, streak + 1),
        (View::Unhealthy, true) if streak + 1 >= check.healthy_threshold => (View::Healthy, 0),
        (View::Unhealthy, true) => (View::Unhealthy, streak + 1),
        (View::Unhealthy, false) => (View::Unhealthy, 0),
    }
}

/// The first instant of a grid after `now`.
pub(super) fn next_tick(grid: Time, now: Time, interval: Span) -> Time {
    if now < grid {
        return grid;
    }
    if now - grid < interval {
        return grid + interval;
    }
    let period = interval.micros().max(1);
    grid + interval * ((now - grid).micros() / period + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(healthy: u32, unhealthy: u32) -> HealthCheck {
        HealthCheck {
            path: "/".into(),
            interval: Span::from_secs(30),
            timeout: Span::from_secs(5),
            healthy_threshold: healthy,
            unhealthy_threshold: unhealthy,
        }
    }

    /// Checks until the view is `wanted`, all with the same outcome.
    fn checks_until(mut view: View, wanted: View, success: bool, check: &HealthCheck) -> u32 {
        let (mut streak, mut count) = (0, 0);
        while view != wanted {
            (view, streak) = judge(view, streak, success, check);
            count += 1;
        }
        count
    }

    #[test]
    fn one_success_admits_a_new_target_and_thresholds_rule_the_rest() {
        let aws = check(5, 2);
        assert_eq!(checks_until(View::Initial, View::Healthy, true, &aws), 1);
        assert_eq!(checks_until(View::Initial, View::Unhealthy, false, &aws), 2);
        assert_eq!(checks_until(View::Healthy, View::Unhealthy, false, &aws), 2);
        assert_eq!(checks_until(View::Unhealthy, View::Healthy, true, &aws), 5);
    }

    #[test]
    fn a_contrary_check_starts_the_count_again() {
        let aws = check(3, 2);
        assert_eq!(judge(View::Healthy, 1, true, &aws), (View::Healthy, 0));
        assert_eq!(judge(View::Unhealthy, 2, false, &aws), (View::Unhealthy, 0));
        assert_eq!(judge(View::Initial, 0, false, &aws), (View::Initial, 1));
    }

    #[test]
    fn ticks_stay_on_their_grid() {
        let (grid, interval) = (Time::from_unix_seconds(107), Span::from_secs(30));
        let tick = |now| next_tick(grid, Time::from_unix_seconds(now), interval);
        assert_eq!(tick(100), Time::from_unix_seconds(107));
        assert_eq!(tick(107), Time::from_unix_seconds(137));
        assert_eq!(tick(200), Time::from_unix_seconds(227));
    }
}
