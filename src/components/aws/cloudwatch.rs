//! CloudWatch: metrics of the load balancer, and alarms.
//!
//! ```text
//!  World::datapoint (host counts, ledgers) ─(publication)─► alarm: M of the last N ─► World::set_alarm
//! ```
//!
//! Source: CloudWatch user guide "Using Amazon CloudWatch alarms" (M of N, missing data). Publication takes 60 to 120 s.
//!
//! Left out: metrics of other namespaces (always missing), alarm actions.
//! Without alarms nothing here is an event.

use crate::components::Cx;
use crate::engine::{Purpose, Span, Time};
use crate::plan::{AlarmId, AlarmSpec, AlbMetric, Comparison, MissingData};
use crate::world::AlarmState;

const PUBLICATION: Purpose = Purpose::named("cloudwatch.publication");

/// Its memory.
#[derive(Default)]
pub struct CloudWatch {
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
}

impl CloudWatch {
    /// Schedules the first period of every alarm.
    pub fn start(&mut self, cx: &mut Cx) {
        self.alarms = vec![Watch::default(); cx.plan.alarms.len()];
        for index in 0..cx.plan.alarms.len() {
            self.schedule(cx, AlarmId::at(index));
        }
    }

    /// Observe, decide, apply, schedule.
    pub fn handle(&mut self, cx: &mut Cx, event: Event) {
        match event {
            Event::Period(alarm) => self.period(cx, alarm),
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
        let point = datapoint(cx, alarm, from, from + period);
        let watch = &mut self.alarms[id.index()];
        watch.periods += 1;
        watch.points.push(point);
        if let Some(state) = evaluate(alarm, &watch.points) {
            cx.world.set_alarm(id, state);
        }
        self.schedule(cx, id);
    }
}

/// The value of an alarm's metric over a period; `None`: missing.
fn datapoint(cx: &Cx, alarm: &AlarmSpec, from: Time, to: Time) -> Option<f64> {
    let metric = AlbMetric::named(&alarm.metric).filter(|_| alarm.namespace == AlbMetric::NAMESPACE)?;
    cx.world.datapoint(cx.plan, alarm.target_group?, (metric, &alarm.statistic), (from, to))
}

fn period_of(alarm: &AlarmSpec) -> Span {
    alarm.period.max(Span::from_secs(1))
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
    use crate::plan::TargetGroupId;

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
        let (alarm, points) = (alarm(MissingData::Missing), [Some(20.0 / 60.0), Some(1.0), Some(1.0)]);
        assert_eq!(evaluate(&alarm, &points[..2]), Some(AlarmState::Ok));
        assert_eq!(evaluate(&alarm, &points), Some(AlarmState::Alarm));
    }

    #[test]
    fn m_of_n_need_not_follow_one_another() {
        let alarm = AlarmSpec { evaluation_periods: 4, datapoints_to_alarm: 2, ..alarm(MissingData::Missing) };
        assert_eq!(evaluate(&alarm, &[Some(2.0), Some(0.0), Some(0.0), Some(2.0)]), Some(AlarmState::Alarm));
        assert_eq!(evaluate(&alarm, &[Some(2.0), Some(0.0), Some(0.0), Some(0.0)]), Some(AlarmState::Ok));
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
}
