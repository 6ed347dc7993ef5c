//! Metrics from outside the cluster: the adapter that serves them to autoscalers, and triggers that switch on from zero.
//!
//! ```text
//!  curve of the plan ─► Refresh (every scrape interval) ─► external metrics API ─► autoscalers
//!                   └─► Poll (every polling interval) ─► Deployment.replicas 0 -> 1, and to 0 after the cooldown
//! ```
//!
//! Sources: Prometheus Adapter (queries on demand: what it serves is as old as its source's scrape interval, and as
//! smooth as the window of its rate); KEDA `pkg/scaling/scale_handler.go`, `executor/scale_scaledobjects.go` (activation
//! above a threshold, cooldown to zero; from 1 on the autoscaler does the work, from live values). Left out: discovery of
//! new series, fallback, pausing.

use crate::components::{self, Cx};
use crate::engine::{Purpose, Span, Time};
use crate::plan::ExternalMetric;

const REFRESH_PHASE: Purpose = Purpose::named("external_metrics.phase");
const POLL_PHASE: Purpose = Purpose::named("external_metrics.poll_phase");

/// Its memory.
#[derive(Default)]
pub struct ExternalMetrics {
    /// What was served last, by series.
    served: Vec<Option<i64>>,
    /// When each trigger was last active.
    active: Vec<Option<Time>>,
}

/// Why it may be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// A series is looked at.
    Refresh(u32),
    /// A trigger is looked at.
    Poll(u32),
}

impl ExternalMetrics {
    /// Series have been served for long; triggers are looked at from any phase on.
    pub fn start(&mut self, cx: &mut Cx) {
        let plan = cx.plan;
        self.served = vec![None; plan.external_metrics.len()];
        self.active = vec![None; plan.activations.len()];
        for (index, metric) in (0..).zip(&plan.external_metrics) {
            let phase = cx.phase(REFRESH_PHASE, u64::from(index), metric.every);
            self.serve(cx, index, (cx.now + phase).back(metric.every));
            cx.after(phase, components::Event::ExternalMetrics(Event::Refresh(index)));
        }
        for (index, trigger) in (0..).zip(&plan.activations) {
            let phase = cx.phase(POLL_PHASE, u64::from(index), trigger.poll);
            cx.after(phase, components::Event::ExternalMetrics(Event::Poll(index)));
        }
    }

    /// Observe, decide, apply, schedule.
    pub fn handle(&mut self, cx: &mut Cx, event: Event) {
        match event {
            Event::Refresh(index) => {
                self.serve(cx, index, cx.now);
                let every = cx.plan.external_metrics[index as usize].every;
                cx.after(every, components::Event::ExternalMetrics(event));
            }
            Event::Poll(index) => {
                self.poll(cx, index as usize);
                cx.after(cx.plan.activations[index as usize].poll, components::Event::ExternalMetrics(event));
            }
        }
    }

    /// Serves what a series was at `at`, beside the other series of its name.
    fn serve(&mut self, cx: &mut Cx, index: u32, at: Time) {
        let metrics = &cx.plan.external_metrics;
        let metric = &metrics[index as usize];
        self.served[index as usize] = Some((shown(metric, at) * 1000.0).ceil() as i64);
        let same = metrics.iter().zip(&self.served).filter(|(other, _)| other.name == metric.name);
        let series = same.filter_map(|(other, value)| Some((other.labels.clone(), (*value)?))).collect();
        cx.world.custom_metrics.external.insert(metric.name.clone(), series);
    }

    fn poll(&mut self, cx: &mut Cx, index: usize) {
        let trigger = &cx.plan.activations[index];
        let value = cx.plan.external_metrics[trigger.metric].value.at(cx.now);
        if value > trigger.threshold {
            self.active[index] = Some(cx.now);
        }
        let size = cx.world.deployments[trigger.deployment.index()].replicas;
        let quiet = self.active[index].map_or(trigger.cooldown, |active| cx.now.since(active));
        let Some(to) = decide(size, value > trigger.threshold, quiet, trigger.cooldown, trigger.replicas) else {
            return;
        };
        cx.explain(|| {
            let name = &cx.plan.deployments[trigger.deployment.index()].name;
            let metric = &cx.plan.external_metrics[trigger.metric].name;
            format!(
                "trigger {metric} is {value} (active above {}): deployment/{name} {size} -> {to}",
                trigger.threshold
            )
        });
        cx.world.scale_deployment(trigger.deployment, to, None);
    }
}

/// The size that a trigger writes: from zero as soon as it is active, to zero when it has been quiet for the cooldown.
pub fn decide(size: i32, active: bool, quiet: Span, cooldown: Span, replicas: i32) -> Option<i32> {
    match (size, active) {
        (0, true) => Some(replicas.max(1)),
        (1.., false) if quiet >= cooldown => Some(0),
        _ => None,
    }
}

/// The value, or its mean over the window as the scrapes in it have seen it.
fn shown(metric: &ExternalMetric, at: Time) -> f64 {
    let scrapes = metric.window.micros() / metric.every.micros().max(1) + 1;
    let sum: f64 = (0..scrapes).map(|back| metric.value.at(at.back(metric.every * back))).sum();
    sum / scrapes as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Queue;
    use crate::plan::{Activation, Curve, DeploymentId, DeploymentSpec, Plan, Strategy, TemplateId};
    use crate::record::{Detail, Recorder};
    use crate::rules::labels::{LabelSelector, Labels};
    use crate::world::World;
    use std::sync::Arc;

    const START: Time = Time::from_unix_seconds(1_000_000);

    /// 0, and 400 from the 100th to the 200th second.
    fn plan() -> Plan {
        let mut plan = Plan::empty(START, Span::from_secs(3_600));
        let at = |second| START + Span::from_secs(second);
        let points = vec![(at(0), 0.0), (at(100), 0.0), (at(100), 400.0), (at(200), 400.0), (at(200), 0.0)];
        let series = |labels: &[(&str, &str)], every| ExternalMetric {
            name: "queue".to_string(),
            labels: labels.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect::<Labels>(),
            value: Curve { points: points.clone() },
            every: Span::from_secs(every),
            window: Span::ZERO,
        };
        plan.external_metrics = vec![series(&[("name", "a")], 30), series(&[("name", "b")], 60)];
        plan.deployments.push(Arc::new(DeploymentSpec {
            namespace: "default".to_string(),
            name: "worker".to_string(),
            replicas: 0,
            selector: LabelSelector::default(),
            template: TemplateId(0),
            strategy: Strategy::Recreate,
            min_ready: Span::ZERO,
            progress_deadline: Span::from_secs(600),
            revision_history_limit: 10,
            paused: false,
        }));
        let (poll, cooldown) = (Span::from_secs(30), Span::from_secs(300));
        let deployment = DeploymentId(0);
        plan.activations.push(Activation { deployment, metric: 0, threshold: 5.0, replicas: 0, poll, cooldown });
        plan
    }

    /// What is served (sum over the series) and the size, after everything up to each of these seconds.
    fn run(plan: &Plan, seconds: &[u64]) -> Vec<(i64, i32)> {
        let (mut world, mut queue, mut recorder) = (World::new(plan), Queue::new(), Recorder::new(Detail::Facts));
        let mut adapter = ExternalMetrics::default();
        let (world, queue, recorder) = (&mut world, &mut queue, &mut recorder);
        adapter.start(&mut Cx { now: START, plan, world, queue, recorder, random: None });
        let mut seen = Vec::new();
        for &second in seconds {
            while let Some((now, event)) = queue.pop() {
                if now > START + Span::from_secs(second) {
                    queue.push(now, event);
                    break;
                }
                let components::Event::ExternalMetrics(event) = event else { panic!("{event:?}") };
                world.now = now;
                adapter.handle(&mut Cx { now, plan, world, queue, recorder, random: None }, event);
            }
            let served = world.custom_metrics.external["queue"].iter().map(|(_, value)| value / 1000).sum();
            seen.push((served, world.deployments[0].replicas));
        }
        seen
    }

    #[test]
    fn a_series_is_as_old_as_its_source_looks() {
        // Looked at at 15, 45, ... and 30, 90, ... without noise; polled at 15, 45, ...
        let seen = run(&plan(), &[99, 104, 105, 149, 150, 209]);
        assert_eq!(seen.iter().map(|(served, _)| *served).collect::<Vec<_>>(), [0, 0, 400, 400, 800, 800]);
        let mut plan = plan();
        plan.external_metrics.truncate(1);
        plan.external_metrics[0].window = Span::from_secs(90);
        assert_eq!(run(&plan, &[105, 135]).iter().map(|(served, _)| *served).collect::<Vec<_>>(), [100, 200]);
    }

    #[test]
    fn a_trigger_takes_from_zero_at_its_next_poll_and_back_after_the_cooldown() {
        let sizes = run(&plan(), &[104, 105, 494, 495]).iter().map(|(_, size)| *size).collect::<Vec<_>>();
        assert_eq!(sizes, [0, 1, 1, 0], "last active at 195 s");
    }

    #[test]
    fn between_one_and_many_the_autoscaler_does_the_work() {
        let (cooldown, long) = (Span::from_secs(300), Span::from_secs(301));
        assert_eq!(decide(7, true, Span::ZERO, cooldown, 1), None);
        assert_eq!(decide(7, false, Span::from_secs(299), cooldown, 1), None);
        assert_eq!(decide(7, false, long, cooldown, 1), Some(0));
        assert_eq!(decide(0, false, long, cooldown, 1), None);
        assert_eq!(decide(0, true, Span::ZERO, cooldown, 3), Some(3));
    }
}
