//! CloudWatch: metrics of the load balancer, and alarms.
//!
//! ```text
//!  targets (TargetStateChanged) ─► host counts over time ─┐
//!  ledgers (requests, latency, errors) ───────────────────┴─► datapoint ─(publication)─► alarm ─► World::set_alarm
//! ```
//!
//! Source: ELB user guide "CloudWatch metrics for your Application Load Balancer" (what is reported when);
//! CloudWatch user guide "Using Amazon CloudWatch alarms" (M of N, missing data). Publication takes 60 to 120 s.
//!
//! Left out: percentiles (the average stands in), metrics of other namespaces (always missing), alarm actions.
//! Without alarms nothing here is an event.

use crate::components::Cx;
use crate::engine::{Purpose, Span, Time};
use crate::plan::{AlarmId, AlarmSpec, Comparison, MissingData, TargetGroupId};
use crate::world::{AlarmState, Loss, REQUEST, Tally, TargetState, World};

const PUBLICATION: Purpose = Purpose::named("cloudwatch.publication");

/// Its memory.
#[derive(Default)]
pub struct CloudWatch {
    /// Host counts of each group: (since, healthy, unhealthy).
    hosts: Vec<Vec<(Time, u32, u32)>>,
    /// By alarm.
    alarms: Vec<Watch>,
}

/// One alarm's memory.
#[derive(Clone, Debug, Default)]
struct Watch {
    /// Periods evaluated.
    periods: u64,
    /// Datapoints of the periods so far.
    points: Vec<Option<f64>>,
}

/// Why it may be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// A period of an alarm is visible.
    Period(AlarmId),
    /// Targets of a group changed their states.
    Hosts(TargetGroupId),
}

impl CloudWatch {
    /// Schedules the first period of every alarm.
    pub fn start(&mut self, cx: &mut Cx) {
        self.hosts = vec![Vec::new(); cx.plan.target_groups.len()];
        self.alarms = vec![Watch::default(); cx.plan.alarms.len()];
        if cx.plan.alarms.is_empty() {
            return;
        }
        for index in 0..self.hosts.len() {
            self.count(cx, TargetGroupId::at(index));
        }
        for index in 0..cx.plan.alarms.len() {
            self.schedule(cx, AlarmId::at(index));
        }
    }

    /// Observe, decide, apply, schedule.
    pub fn handle(&mut self, cx: &mut Cx, event: Event) {
        match event {
            Event::Hosts(group) => self.count(cx, group),
            Event::Period(alarm) => self.period(cx, alarm),
        }
    }

    fn count(&mut self, cx: &Cx, group: TargetGroupId) {
        let of = |state| {
            let targets = cx.world.group_targets[group.index()].iter();
            targets.filter(|target| cx.world.targets[target.index()].state == state).count() as u32
        };
        let entry = (cx.now, of(TargetState::Healthy), of(TargetState::Unhealthy));
        let history = &mut self.hosts[group.index()];
        match history.last_mut() {
            Some(last) if last.0 == cx.now => *last = entry,
            _ => history.push(entry),
        }
    }

    fn schedule(&mut self, cx: &mut Cx, id: AlarmId) {
        let (least, most) = cx.plan.flags.serving.publication;
        let number = self.alarms[id.index()].periods;
        let key = u64::from(id.0) << 32 | number;
        let lag = least + cx.phase(PUBLICATION, key, most.saturating_sub(least));
        let end = cx.plan.start + period_of(&cx.plan.alarms[id.index()]) * (number + 1);
        cx.at(end + lag, crate::components::Event::CloudWatch(Event::Period(id)));
    }

    fn period(&mut self, cx: &mut Cx, id: AlarmId) {
        let alarm = &cx.plan.alarms[id.index()];
        let period = period_of(alarm);
        let from = cx.plan.start + period * self.alarms[id.index()].periods;
        let point = self.datapoint(cx, alarm, from, from + period);
        let watch = &mut self.alarms[id.index()];
        watch.periods += 1;
        watch.points.push(point);
        if let Some(state) = evaluate(alarm, &watch.points) {
            cx.world.set_alarm(id, state);
        }
        self.schedule(cx, id);
    }

    /// The value of an alarm's metric over a period; `None`: missing.
    fn datapoint(&self, cx: &Cx, alarm: &AlarmSpec, from: Time, to: Time) -> Option<f64> {
        let group = alarm.target_group?;
        let hosts = &self.hosts[group.index()];
        match alarm.metric.as_str() {
            "HealthyHostCount" => level(hosts.iter().map(|&(at, healthy, _)| (at, healthy)), alarm, from, to),
            "UnHealthyHostCount" => level(hosts.iter().map(|&(at, _, unhealthy)| (at, unhealthy)), alarm, from, to),
            metric => {
                let tally = requests(cx, group, from, to);
                let targets = || hosts.iter().rev().find(|entry| entry.0 < to).map_or(0, |entry| entry.1);
                requests_metric(metric, &tally, targets)
            }
        }
    }
}

fn period_of(alarm: &AlarmSpec) -> Span {
    alarm.period.max(Span::from_secs(1))
}

/// Statistic of a step function over a period.
fn level(history: impl Iterator<Item = (Time, u32)>, alarm: &AlarmSpec, from: Time, to: Time) -> Option<f64> {
    let history: Vec<(Time, u32)> = history.collect();
    let begin = history.partition_point(|&(at, _)| at <= from).saturating_sub(1);
    let (mut area, mut least, mut most) = (0.0, f64::INFINITY, f64::NEG_INFINITY);
    for (index, &(at, value)) in history.iter().enumerate().skip(begin).take_while(|(_, entry)| entry.0 < to) {
        let end = history.get(index + 1).map_or(to, |next| next.0).min(to);
        let value = f64::from(value);
        area += value * end.since(at.max(from)).seconds();
        (least, most) = (least.min(value), most.max(value));
    }
    if most < least {
        return None;
    }
    Some(match alarm.statistic.as_str() {
        "Minimum" => least,
        "Maximum" => most,
        _ => area / (to - from).seconds(),
    })
}

/// Requests through a target group within a period.
fn requests(cx: &Cx, group: TargetGroupId, from: Time, to: Time) -> Tally {
    let mut sum = Tally::default();
    let second = |at: Time| at.since(cx.plan.start).whole_seconds() as usize;
    for (app, ledger) in cx.plan.apps.iter().zip(ledgers(cx.world)) {
        if app.target_group == Some(group) {
            let end = second(to).min(ledger.bins.len());
            ledger.bins.get(second(from)..end).unwrap_or(&[]).iter().for_each(|bin| sum += bin);
        }
    }
    sum
}

fn ledgers(world: &World) -> impl Iterator<Item = &crate::world::Ledger> {
    world.ledgers.iter()
}

/// A metric of requests; error counts and latencies are only reported when there are any.
fn requests_metric(metric: &str, tally: &Tally, targets: impl Fn() -> u32) -> Option<f64> {
    let whole = |amount: u64| amount as f64 / REQUEST as f64;
    let lost = |wanted: fn(Loss) -> bool| {
        let all = Loss::ALL.into_iter().filter(|&loss| wanted(loss));
        all.map(|loss| tally.lost[loss as usize]).sum::<u64>()
    };
    let nonzero = |amount: u64| (amount > 0).then(|| whole(amount));
    let by_target = |loss: Loss| loss == Loss::QueueFull;
    match metric {
        // The load balancer reports only while requests flow.
        "RequestCount" => nonzero(tally.offered),
        "RequestCountPerTarget" => nonzero(tally.offered).map(|count| count / f64::from(targets().max(1))),
        "TargetResponseTime" => tally.mean_latency().map(Span::seconds),
        "HTTPCode_Target_5XX_Count" => nonzero(lost(by_target)),
        "HTTPCode_Target_2XX_Count" => nonzero(tally.served),
        "HTTPCode_ELB_5XX_Count" => nonzero(lost(|loss| loss != Loss::QueueFull)),
        "HTTPCode_ELB_502_Count" => nonzero(lost(|loss| loss.status() == 502)),
        "HTTPCode_ELB_503_Count" => nonzero(lost(|loss| loss == Loss::NoTarget)),
        "HTTPCode_ELB_504_Count" => nonzero(lost(|loss| loss.status() == 504)),
        "TargetConnectionErrorCount" => nonzero(lost(|loss| matches!(loss, Loss::Refused | Loss::Unreachable))),
        _ => None,
    }
}

/// The state of an alarm after its latest datapoint; `None`: it stays.
///
/// The last N real datapoints of a slightly longer range decide; only if there are fewer, missing ones are filled in.
fn evaluate(alarm: &AlarmSpec, points: &[Option<f64>]) -> Option<AlarmState> {
    let needed = alarm.evaluation_periods.max(1) as usize;
    let to_alarm = (alarm.datapoints_to_alarm.max(1) as usize).min(needed);
    let range = points.len().saturating_sub(needed + 2);
    let real: Vec<f64> = points[range..].iter().rev().copied().flatten().take(needed).collect();
    let breaching = real.iter().filter(|&&value| breaches(alarm, value)).count();
    let missing = needed - real.len();
    if points.len() < needed && missing > 0 && alarm.missing != MissingData::Breaching {
        // Before the first N periods have passed there is nothing to fill in.
        return (!real.is_empty() && breaching < to_alarm && breaching < real.len()).then_some(AlarmState::Ok);
    }
    let alarms = |count: usize| if count >= to_alarm { AlarmState::Alarm } else { AlarmState::Ok };
    if missing == 0 {
        return Some(alarms(breaching));
    }
    match alarm.missing {
        MissingData::Breaching => Some(alarms(breaching + missing)),
        MissingData::NotBreaching => Some(alarms(breaching)),
        MissingData::Ignore => (breaching >= to_alarm).then_some(AlarmState::Alarm),
        MissingData::Missing if real.is_empty() => Some(AlarmState::InsufficientData),
        MissingData::Missing if breaching >= to_alarm || breaching == real.len() => Some(AlarmState::Alarm),
        MissingData::Missing => Some(AlarmState::Ok),
    }
}

fn breaches(alarm: &AlarmSpec, value: f64) -> bool {
    match alarm.comparison {
        Comparison::GreaterOrEqual => value >= alarm.threshold,
        Comparison::Greater => value > alarm.threshold,
        Comparison::Less => value < alarm.threshold,
        Comparison::LessOrEqual => value <= alarm.threshold,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alarm(missing: MissingData) -> AlarmSpec {
        AlarmSpec {
            name: "UnhealthyHosts".into(),
            metric: "UnHealthyHostCount".into(),
            namespace: "AWS/ApplicationELB".into(),
            statistic: "Average".into(),
            period: Span::from_secs(60),
            evaluation_periods: 2,
            datapoints_to_alarm: 2,
            threshold: 1.0,
            comparison: Comparison::GreaterOrEqual,
            missing,
            target_group: Some(TargetGroupId(0)),
        }
    }

    #[test]
    fn two_full_minutes_are_needed_and_the_first_partial_one_does_not_count() {
        let alarm = alarm(MissingData::Missing);
        let at = |seconds: u64| Time::from_unix_seconds(1000 + seconds);
        let history = [(at(0), 0), (at(40), 1)];
        let points: Vec<Option<f64>> =
            (0..4).map(|minute| level(history.into_iter(), &alarm, at(minute * 60), at(minute * 60 + 60))).collect();
        assert!((points[0].unwrap() - 20.0 / 60.0).abs() < 1e-12);
        assert_eq!(points[1..], [Some(1.0); 3]);
        assert_eq!(evaluate(&alarm, &points[..2]), Some(AlarmState::Ok));
        assert_eq!(evaluate(&alarm, &points[..3]), Some(AlarmState::Alarm));
    }

    #[test]
    fn missing_data_is_treated_as_the_alarm_says() {
        let state = |missing| evaluate(&alarm(missing), &[None, None, None, None]);
        assert_eq!(state(MissingData::Missing), Some(AlarmState::InsufficientData));
        assert_eq!(state(MissingData::NotBreaching), Some(AlarmState::Ok));
        assert_eq!(state(MissingData::Breaching), Some(AlarmState::Alarm));
        assert_eq!(state(MissingData::Ignore), None);
        let gap = [Some(2.0), None, Some(2.0)];
        assert_eq!(evaluate(&alarm(MissingData::NotBreaching), &gap), Some(AlarmState::Alarm), "two real points exist");
    }

    #[test]
    fn errors_of_the_load_balancer_are_missing_while_there_are_none() {
        let mut tally = Tally { offered: 3 * REQUEST, served: 2 * REQUEST, ..Tally::default() };
        assert_eq!(requests_metric("HTTPCode_ELB_502_Count", &tally, || 1), None);
        tally.lost[Loss::Refused as usize] = REQUEST;
        assert_eq!(requests_metric("HTTPCode_ELB_502_Count", &tally, || 1), Some(1.0));
        assert_eq!(requests_metric("RequestCount", &tally, || 1), Some(3.0));
    }
}
