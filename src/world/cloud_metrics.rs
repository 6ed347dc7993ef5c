//! What the load balancer tells CloudWatch of a target group: a datapoint of a metric over a period.
//!
//! In: states of targets, which are counted at each change, and the ledgers of requests. Out: values, or nothing where the load
//! balancer reports nothing. Source: ELB user guide "CloudWatch metrics for your Application Load Balancer".
//!
//! Percentiles of the response time: of single requests from the counts of their latencies; of a flow from the mean latency of
//! each second, weighed by what was served in it.

use super::World;
use super::histogram::Histogram;
use super::ledger::{Loss, REQUEST, Tally};
use super::target::TargetState;
use crate::engine::{Span, Time};
use crate::plan::{AlbMetric, Plan, TargetGroupId};

/// Targets of a group from an instant on. Draining ones are in neither count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostCount {
    since: Time,
    healthy: u32,
    unhealthy: u32,
}

impl World {
    /// A target of a group goes from one state to another; `None`: it has left.
    pub(super) fn count_host(&mut self, group: TargetGroupId, before: TargetState, after: Option<TargetState>) {
        let change = |state: TargetState| i64::from(after == Some(state)) - i64::from(before == state);
        let (healthy, unhealthy) = (change(TargetState::Healthy), change(TargetState::Unhealthy));
        if (healthy, unhealthy) == (0, 0) {
            return;
        }
        let history = &mut self.hosts[group.index()];
        let last = history.last().copied().unwrap_or(HostCount { since: self.now, healthy: 0, unhealthy: 0 });
        let sum = |count: u32, change: i64| (i64::from(count) + change).max(0) as u32;
        let (healthy, unhealthy) = (sum(last.healthy, healthy), sum(last.unhealthy, unhealthy));
        let entry = HostCount { since: self.now, healthy, unhealthy };
        match history.last_mut() {
            Some(last) if last.since == entry.since => *last = entry,
            _ => history.push(entry),
        }
    }

    /// The value of a metric over a period; `None`: missing.
    pub fn datapoint(
        &self,
        plan: &Plan,
        group: TargetGroupId,
        (metric, statistic): (AlbMetric, &str),
        (from, to): (Time, Time),
    ) -> Option<f64> {
        let hosts = &self.hosts[group.index()];
        match metric {
            AlbMetric::HealthyHosts => level(hosts, |count| count.healthy, statistic, from, to),
            AlbMetric::UnhealthyHosts => level(hosts, |count| count.unhealthy, statistic, from, to),
            metric => {
                let targets = || hosts.iter().rev().find(|count| count.since < to).map_or(0, |count| count.healthy);
                of_requests(metric, &self.requests_through(plan, group, (from, to), counts_loss(metric)), targets)
            }
        }
    }

    /// Latencies of single requests through a target group so far.
    pub fn latencies_through(&self, plan: &Plan, group: TargetGroupId) -> Histogram {
        let mut sum = Histogram::default();
        for (app, ledger) in plan.apps.iter().zip(&self.ledgers) {
            if app.target_group == Some(group) {
                sum.merge(&ledger.latencies);
            }
        }
        sum
    }

    /// The response time, seconds, that a share of the requests through a group did not exceed within a period of whole seconds,
    /// as flows know it: every second has one latency. `None`: nothing was served.
    pub fn flow_percentile(
        &self,
        plan: &Plan,
        group: TargetGroupId,
        share: f64,
        (from, to): (Time, Time),
    ) -> Option<f64> {
        let second = |at: Time| at.since(plan.start).whole_seconds() as usize;
        let ledgers = plan.apps.iter().zip(&self.ledgers).filter(|(app, _)| app.target_group == Some(group));
        let bins = ledgers
            .flat_map(|(_, ledger)| ledger.bins.get(second(from)..second(to).min(ledger.bins.len())).unwrap_or(&[]));
        let mut seconds: Vec<(Span, u64)> = bins.filter_map(|bin| Some((bin.mean_latency()?, bin.served))).collect();
        seconds.sort_unstable();
        let rank = share * seconds.iter().map(|&(_, served)| served as f64).sum::<f64>();
        let mut below = 0.0;
        for &(latency, served) in &seconds {
            below += served as f64;
            if below >= rank {
                return Some(latency.seconds());
            }
        }
        seconds.last().map(|&(latency, _)| latency.seconds())
    }

    /// Requests through a target group within a period of whole seconds; what was lost only where somebody asks.
    fn requests_through(&self, plan: &Plan, group: TargetGroupId, (from, to): (Time, Time), losses: bool) -> Tally {
        let mut sum = Tally::default();
        let second = |at: Time| at.since(plan.start).whole_seconds() as usize;
        for (app, ledger) in plan.apps.iter().zip(&self.ledgers) {
            if app.target_group == Some(group) {
                let end = second(to).min(ledger.bins.len());
                let bins = ledger.bins.get(second(from)..end).unwrap_or(&[]).iter();
                if losses {
                    bins.for_each(|bin| sum += bin);
                } else {
                    bins.for_each(|bin| sum.add_without_loss(bin));
                }
            }
        }
        sum
    }
}

/// Statistic of a step function over a period.
fn level(history: &[HostCount], of: fn(&HostCount) -> u32, statistic: &str, from: Time, to: Time) -> Option<f64> {
    let begin = history.partition_point(|count| count.since <= from).saturating_sub(1);
    let (mut area, mut least, mut most) = (0.0, f64::INFINITY, f64::NEG_INFINITY);
    for (index, count) in history.iter().enumerate().skip(begin).take_while(|(_, count)| count.since < to) {
        let end = history.get(index + 1).map_or(to, |next| next.since).min(to);
        let value = f64::from(of(count));
        area += value * end.since(count.since.max(from)).seconds();
        (least, most) = (least.min(value), most.max(value));
    }
    if most < least {
        return None;
    }
    Some(match statistic {
        "Minimum" => least,
        "Maximum" => most,
        _ => area / (to - from).seconds(),
    })
}

/// The metric counts requests that were lost.
fn counts_loss(metric: AlbMetric) -> bool {
    match metric {
        AlbMetric::Requests
        | AlbMetric::RequestsPerTarget
        | AlbMetric::ResponseTime
        | AlbMetric::Target2xx
        | AlbMetric::HealthyHosts
        | AlbMetric::UnhealthyHosts => false,
        AlbMetric::Target5xx
        | AlbMetric::Elb5xx
        | AlbMetric::Elb502
        | AlbMetric::Elb503
        | AlbMetric::Elb504
        | AlbMetric::ConnectionErrors => true,
    }
}

/// A metric of requests; error counts and latencies are only reported when there are any.
fn of_requests(metric: AlbMetric, tally: &Tally, targets: impl Fn() -> u32) -> Option<f64> {
    let whole = |amount: u64| amount as f64 / REQUEST as f64;
    let nonzero = |amount: u64| (amount > 0).then(|| whole(amount));
    let lost = |wanted: fn(Loss) -> bool| {
        let all = Loss::ALL.into_iter().filter(|&loss| wanted(loss));
        nonzero(all.map(|loss| tally.lost[loss as usize]).sum::<u64>())
    };
    match metric {
        // The load balancer reports only while requests flow.
        AlbMetric::Requests => nonzero(tally.offered),
        AlbMetric::RequestsPerTarget => nonzero(tally.offered).map(|count| count / f64::from(targets().max(1))),
        AlbMetric::ResponseTime => tally.mean_latency().map(Span::seconds),
        AlbMetric::Target2xx => nonzero(tally.served),
        AlbMetric::Target5xx => lost(|loss| loss == Loss::QueueFull),
        AlbMetric::Elb5xx => lost(|loss| loss != Loss::QueueFull),
        AlbMetric::Elb502 => lost(|loss| loss.status() == 502),
        AlbMetric::Elb503 => lost(|loss| loss == Loss::NoTarget),
        AlbMetric::Elb504 => lost(|loss| loss.status() == 504),
        AlbMetric::ConnectionErrors => lost(|loss| matches!(loss, Loss::Refused | Loss::Unreachable)),
        AlbMetric::HealthyHosts | AlbMetric::UnhealthyHosts => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_that_is_unhealthy_for_a_part_of_a_minute_counts_in_part() {
        let at = |seconds: u64| Time::from_unix_seconds(1000 + seconds);
        let history = [(0, 0), (40, 1)].map(|(since, unhealthy)| HostCount { since: at(since), healthy: 0, unhealthy });
        let value = |statistic, minute: u64| {
            level(&history, |count| count.unhealthy, statistic, at(minute * 60), at(minute * 60 + 60))
        };
        assert!((value("Average", 0).unwrap() - 20.0 / 60.0).abs() < 1e-12);
        assert_eq!([1, 2].map(|minute| value("Average", minute)), [Some(1.0); 2]);
        assert_eq!(["Minimum", "Maximum"].map(|statistic| value(statistic, 0)), [Some(0.0), Some(1.0)]);
        assert_eq!(level(&[], |count| count.unhealthy, "Average", at(0), at(60)), None);
    }

    #[test]
    fn errors_of_the_load_balancer_are_missing_while_there_are_none() {
        let mut tally = Tally { offered: 3 * REQUEST, served: 2 * REQUEST, ..Tally::default() };
        assert_eq!(of_requests(AlbMetric::Elb502, &tally, || 1), None);
        tally.lost[Loss::Refused as usize] = REQUEST;
        assert_eq!(of_requests(AlbMetric::Elb502, &tally, || 1), Some(1.0));
        assert_eq!(of_requests(AlbMetric::RequestsPerTarget, &tally, || 2), Some(1.5));
    }
}
