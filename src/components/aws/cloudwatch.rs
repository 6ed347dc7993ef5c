//! CloudWatch: metrics of the load balancer, and alarms.
//!
//! ```text
//!  World::datapoint (host counts, ledgers) ─(publication)─► alarm: M of the last N ─► World::set_alarm
//!  World::cluster_metric ─(a scrape a minute)─► samples of a period ┘
//! ```
//!
//! Source: CloudWatch user guide "Using Amazon CloudWatch alarms" (M of N, missing data), "Scraping Prometheus metrics with the
//! CloudWatch agent" (a scrape a minute by default, counters as differences between scrapes). Publication takes 60 to 120 s.
//!
//! Left out: other metrics of other namespaces (always missing), Prometheus summaries, alarm actions, the fewer samples from
//! which CloudWatch takes no percentile. Without alarms nothing here is an event.

use crate::components::Cx;
use crate::engine::{Purpose, Span};
use crate::plan::{
    AlarmId, AlarmSpec, AlbMetric, Comparison, Metric, MetricKind, MissingData, find_metric, percentile,
};
use crate::world::{AlarmState, Histogram};
use std::collections::VecDeque;

const PUBLICATION: Purpose = Purpose::named("cloudwatch.publication");
const SCRAPE: Purpose = Purpose::named("cloudwatch.scrape");

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
    /// Values that had to be taken when their period ended, of periods that are not visible yet.
    taken: VecDeque<Option<f64>>,
    /// Latencies as they stood when the last period ended.
    latencies: Histogram,
    /// What scrapes of the present period found.
    samples: Vec<f64>,
    /// What the last scrape found: counters go on as differences.
    counter: Option<f64>,
}

/// What an alarm watches.
#[derive(Clone, Copy, Debug)]
enum Watched {
    /// A metric of the load balancer that can be told later on.
    LoadBalancer(AlbMetric),
    /// A percentile of the response time.
    ResponseTime(f64),
    /// A metric of the cluster.
    Cluster(&'static Metric),
    /// Nothing that is known here.
    Nothing,
}

/// Why it may be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// A period of an alarm is visible.
    Period(AlarmId),
    /// A period of an alarm ends.
    Ends(AlarmId),
    /// An agent scrapes what an alarm watches.
    Scrape(AlarmId),
}

impl CloudWatch {
    /// Schedules the first period of every alarm.
    pub fn start(&mut self, cx: &mut Cx) {
        self.alarms = vec![Watch::default(); cx.plan.alarms.len()];
        for index in 0..cx.plan.alarms.len() {
            let id = AlarmId::at(index);
            self.schedule(cx, id);
            match watched(&cx.plan.alarms[index]) {
                Watched::Cluster(_) => {
                    let phase = cx.phase(SCRAPE, u64::from(id.0), cx.plan.flags.serving.scrape_interval);
                    cx.after(phase, crate::components::Event::CloudWatch(Event::Scrape(id)));
                    self.await_end(cx, id, 0);
                }
                Watched::ResponseTime(_) => self.await_end(cx, id, 0),
                Watched::LoadBalancer(_) | Watched::Nothing => {}
            }
        }
    }

    /// Observe, decide, apply, schedule.
    pub fn handle(&mut self, cx: &mut Cx, event: Event) {
        match event {
            Event::Period(alarm) => self.period(cx, alarm),
            Event::Ends(alarm) => self.ends(cx, alarm),
            Event::Scrape(alarm) => self.scrape(cx, alarm),
        }
    }

    fn await_end(&mut self, cx: &mut Cx, id: AlarmId, passed: u64) {
        let end = cx.plan.start + period_of(&cx.plan.alarms[id.index()]) * (passed + 1);
        cx.at(end, crate::components::Event::CloudWatch(Event::Ends(id)));
    }

    /// Takes what cannot be found out later: the percentile of a period, the statistic of its samples.
    fn ends(&mut self, cx: &mut Cx, id: AlarmId) {
        let alarm = &cx.plan.alarms[id.index()];
        let period = period_of(alarm);
        let watch = &mut self.alarms[id.index()];
        let point = match (watched(alarm), alarm.target_group) {
            (Watched::ResponseTime(share), Some(group)) => {
                let now = cx.world.latencies_through(cx.plan, group);
                let point = now.since(&watch.latencies).quantile(share).map(Span::seconds);
                watch.latencies = now;
                point
            }
            _ => statistic_of(&alarm.statistic, &mut std::mem::take(&mut watch.samples)),
        };
        watch.taken.push_back(point);
        self.await_end(cx, id, cx.now.since(cx.plan.start).micros() / period.micros());
    }

    fn scrape(&mut self, cx: &mut Cx, id: AlarmId) {
        let alarm = &cx.plan.alarms[id.index()];
        let Watched::Cluster(metric) = watched(alarm) else { return };
        let watch = &mut self.alarms[id.index()];
        let value = cx.world.cluster_metric(cx.plan, metric, &alarm.dimensions);
        let before = std::mem::replace(&mut watch.counter, value);
        let sample = match metric.kind {
            MetricKind::Counter => value.zip(before).map(|(value, before)| value - before),
            MetricKind::Gauge | MetricKind::Summary => value,
        };
        watch.samples.extend(sample);
        cx.after(cx.plan.flags.serving.scrape_interval, crate::components::Event::CloudWatch(Event::Scrape(id)));
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
        let watch = &mut self.alarms[id.index()];
        let point = match (watched(alarm), alarm.target_group) {
            (Watched::LoadBalancer(metric), Some(group)) => {
                cx.world.datapoint(cx.plan, group, (metric, &alarm.statistic), (from, from + period))
            }
            (Watched::ResponseTime(share), Some(group)) => {
                let single = watch.taken.pop_front().flatten();
                single.or_else(|| cx.world.flow_percentile(cx.plan, group, share, (from, from + period)))
            }
            (Watched::Cluster(_), _) => watch.taken.pop_front().flatten(),
            (Watched::LoadBalancer(_) | Watched::ResponseTime(_) | Watched::Nothing, _) => None,
        };
        watch.periods += 1;
        watch.points.push(point);
        if let Some(state) = evaluate(alarm, &watch.points) {
            cx.world.set_alarm(id, state);
        }
        self.schedule(cx, id);
    }
}

fn watched(alarm: &AlarmSpec) -> Watched {
    if alarm.namespace != AlbMetric::NAMESPACE {
        let metric = find_metric(&alarm.metric).filter(|metric| metric.kind != MetricKind::Summary);
        return metric.map_or(Watched::Nothing, Watched::Cluster);
    }
    match (AlbMetric::named(&alarm.metric), percentile(&alarm.statistic)) {
        (Some(AlbMetric::ResponseTime), Some(share)) => Watched::ResponseTime(share),
        (Some(metric), _) => Watched::LoadBalancer(metric),
        (None, _) => Watched::Nothing,
    }
}

/// A statistic of the samples of a period; `None`: there are none.
fn statistic_of(statistic: &str, samples: &mut [f64]) -> Option<f64> {
    samples.sort_unstable_by(f64::total_cmp);
    let (least, most) = (*samples.first()?, *samples.last()?);
    let (count, sum) = (samples.len() as f64, samples.iter().sum::<f64>());
    Some(match statistic {
        "Minimum" => least,
        "Maximum" => most,
        "Sum" => sum,
        "SampleCount" => count,
        other => match percentile(other) {
            Some(share) => samples[((share * count).ceil() as usize).saturating_sub(1).min(samples.len() - 1)],
            None => sum / count,
        },
    })
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
            dimensions: Vec::new(),
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
