//! What a run takes from an error budget: requests lost and slow, minutes in violation, and which burn-rate alerts would have
//! fired and when.
//!
//! In: the ledger's seconds and the load at the start. Out: a [`Budget`]. Source: the SRE Workbook, chapter 5, "multiwindow,
//! multi-burn-rate alerts": 14.4 over 1 h and 5 min (2 % of a 30-day budget), 6 over 6 h and 30 min (5 %), 1 over 3 d and
//! 6 h (10 %); with another objective the same factors of its own rate. Before the run the service is taken to have answered the
//! load of the first second without an error.

use super::steps::load_at;
use crate::engine::Span;
use crate::plan::{ErrorBudget, Plan};
use crate::world::{REQUEST, Tally, World};

/// A burn-rate alert.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Alert {
    /// Its name.
    pub name: &'static str,
    /// So many times faster than the objective allows is the budget spent.
    pub burn: f64,
    /// The window that shows that it matters.
    pub long: Span,
    /// The window that shows that it still goes on.
    pub short: Span,
}

/// The alerts of the SRE Workbook.
pub const ALERTS: [Alert; 3] = [
    Alert { name: "page: 14.4x over 1 h", burn: 14.4, long: Span::from_secs(3_600), short: Span::from_secs(300) },
    Alert { name: "page: 6x over 6 h", burn: 6.0, long: Span::from_secs(21_600), short: Span::from_secs(1_800) },
    Alert { name: "ticket: 1x over 3 d", burn: 1.0, long: Span::from_secs(259_200), short: Span::from_secs(21_600) },
];

/// The share of a period's budget that a burn rate spends within a window.
pub fn share_spent(burn: f64, window: Span, period: Span) -> f64 {
    burn * window.seconds() / period.seconds()
}

/// The share of a period's budget that so many lost requests are, at that rate of requests.
pub fn share_lost(lost: f64, objective: f64, period: Span, rate: f64) -> f64 {
    let budget = (1.0 - objective) * period.seconds() * rate;
    if budget > 0.0 { lost / budget } else { 0.0 }
}

/// What one run took.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Budget {
    /// Requests lost.
    pub lost: f64,
    /// Requests answered late.
    pub slow: f64,
    /// Seconds in which more was lost than the objective allows.
    pub seconds_in_violation: u32,
    /// Share of the period's budget, at the mean rate of the run.
    pub share: f64,
    /// The second in which each of [`ALERTS`] would have fired.
    pub fired: [Option<u32>; 3],
}

/// All applications together.
pub fn of_run(plan: &Plan, world: &World) -> Budget {
    let seconds = plan.until.since(plan.start).whole_seconds() as usize;
    let mut bins = vec![Tally::default(); seconds + 1];
    for ledger in &world.ledgers {
        bins.iter_mut().zip(&ledger.bins).for_each(|(sum, bin)| *sum += bin);
    }
    let with_traffic = plan.apps.iter().enumerate().filter(|(_, app)| app.cores.is_none());
    let rate: f64 = with_traffic.map(|(app, _)| load_at(plan, crate::plan::AppId::at(app), plan.start)).sum();
    let requests = |amount: u64| amount as f64 / REQUEST as f64;
    let lost: Vec<f64> = bins.iter().map(|bin| requests(bin.lost_all())).collect();
    let done: Vec<f64> = bins.iter().map(|bin| requests(bin.lost_all() + bin.served)).collect();
    let ErrorBudget { objective, period } = plan.error_budget;
    let violated = lost.iter().zip(&done).filter(|(lost, done)| **lost > (1.0 - objective) * **done && **lost > 0.0);
    let (all_lost, offered) = (lost.iter().sum(), bins.iter().map(|bin| requests(bin.offered)).sum::<f64>());
    let mean_rate = offered / (seconds.max(1)) as f64;
    Budget {
        lost: all_lost,
        slow: bins.iter().map(|bin| requests(bin.slow)).sum(),
        seconds_in_violation: violated.count() as u32,
        share: share_lost(all_lost, objective, period, mean_rate),
        fired: ALERTS.map(|alert| fires(&lost, &done, rate, &alert, objective)),
    }
}

/// The first second in which both windows burn too fast.
fn fires(lost: &[f64], done: &[f64], rate_before: f64, alert: &Alert, objective: f64) -> Option<u32> {
    let summed = |values: &[f64]| {
        let mut sum = 0.0;
        std::iter::once(0.0)
            .chain(values.iter().map(|value| {
                sum += value;
                sum
            }))
            .collect::<Vec<f64>>()
    };
    let (lost, done) = (summed(lost), summed(done));
    let burn = |end: usize, window: Span| {
        let width = window.whole_seconds() as usize;
        let from = end.saturating_sub(width);
        let before = width.saturating_sub(end) as f64 * rate_before;
        let all = done[end] - done[from] + before;
        if all > 0.0 { (lost[end] - lost[from]) / all / (1.0 - objective) } else { 0.0 }
    };
    let second = (1..lost.len()).find(|&end| burn(end, alert.long) > alert.burn && burn(end, alert.short) > alert.burn);
    second.map(|end| end as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OBJECTIVE: f64 = 0.999;
    const PERIOD: Span = Span::from_secs(30 * 86_400);

    /// Oracle 39.
    #[test]
    fn the_budget_spent_is_burn_times_window_over_period() {
        let close = |found: f64, expected: f64| assert!((found - expected).abs() < 1e-12, "{found}");
        let spent = ALERTS.map(|alert| share_spent(alert.burn, alert.long, PERIOD));
        spent.into_iter().zip([0.02, 0.05, 0.1]).for_each(|(found, expected)| close(found, expected));
        let share = share_lost(45_000.0, 0.999, PERIOD, 1_000.0);
        assert!((share - 0.017_361).abs() < 1e-6, "{share}");
    }

    #[test]
    fn an_alert_fires_when_both_windows_burn() {
        // 100 requests a second, before the run as well; from second 600 on one in ten is lost: 100 times the objective.
        let lost: Vec<f64> = (0..1_200).map(|second| if second < 600 { 0.0 } else { 10.0 }).collect();
        let done = vec![100.0; 1_200];
        // An hour's window exceeds 14.4 / 1000 after 0.0144 * 3600 / 0.1 = 518.4 s.
        assert_eq!(fires(&lost, &done, 100.0, &ALERTS[0], OBJECTIVE), Some(600 + 519));
        assert_eq!(fires(&lost[..1_100], &done[..1_100], 100.0, &ALERTS[0], OBJECTIVE), None);
        assert_eq!(fires(&vec![0.0; 1_200], &done, 100.0, &ALERTS[0], OBJECTIVE), None);
    }
}
