//! What the controller reads: the target, its pods, and the metrics APIs.
//!
//! Source: `pkg/controller/podautoscaler/metrics/client.go`.

use super::calculator::{
    Invalid, PerPod, PodView, Proposal, Readiness, Requests, Sample, Tally, Tolerances, missing_percent, shared_value,
};
use crate::engine::{Span, Time};
use crate::plan::flags::HpaFlags;
use crate::plan::{HpaSpec, MetricSpec, MetricTarget, PodTemplate};
use crate::rules::labels::LabelSelector;
use crate::world::{HpaReason, PodId, PodMetrics, Scale, Selected, World};
use std::sync::Arc;

/// Window of custom metrics that state none. Source: `metrics/client.go` (`metricServerDefaultMetricWindow`).
const CUSTOM_METRIC_WINDOW: Span = Span::from_secs(60);

/// What a sync reads with.
pub struct Reader<'a> {
    /// Everything that exists.
    pub world: &'a World,
    /// Flags of the controller.
    pub flags: &'a HpaFlags,
    /// The present instant.
    pub now: Time,
    /// The autoscaler's spec.
    pub spec: &'a HpaSpec,
    /// `spec.replicas` of the target.
    pub current: i32,
    /// `status.replicas` of the target.
    pub status_replicas: i32,
    /// Templates that the selector matches.
    selected: &'a Selected,
}

/// One evaluated metric.
#[derive(Clone, Debug)]
pub struct Evaluated {
    /// What the reason of a rescale calls it.
    pub name: Arc<str>,
    /// What came of it.
    pub result: Result<Proposal, Invalid>,
    /// Reason of ScalingActive if it failed.
    pub reason: HpaReason,
    /// Oldest and newest sample read.
    pub samples: Option<(Time, Time)>,
    /// When it was answered.
    pub at: Time,
}

impl<'a> Reader<'a> {
    /// Reads with the scale of an autoscaler's target, where it is known which templates the target selects.
    pub fn new(
        world: &'a World,
        flags: &'a HpaFlags,
        spec: &'a HpaSpec,
        now: Time,
        scale: &Scale,
        selected: &'a Selected,
    ) -> Reader<'a> {
        let (current, status_replicas) = (scale.replicas, scale.status_replicas);
        Reader { world, flags, now, spec, current, status_replicas, selected }
    }

    /// Pods that the selector matches, in order of their ids.
    fn pods(&self) -> impl Iterator<Item = PodView<'a>> + use<'a> {
        let (world, selected) = (self.world, self.selected);
        let chosen = world.living.iter().map(|pod| world.pod(pod)).filter(|pod| selected.has(pod.template.index()));
        chosen.map(|pod| PodView {
            id: pod.id,
            template: world.template(pod.template),
            phase: pod.phase,
            deleting: pod.deleting_since.is_some(),
            start_time: pod.start_time,
            ready: pod.ready.status.map(|status| (status, pod.ready.since)),
            ready_unknown: pod.ready_unknown,
        })
    }

    /// Evaluates one metric, which is called `name`.
    pub fn evaluate(&self, name: Arc<str>, metric: &MetricSpec) -> Evaluated {
        let (mut samples, at) = (None, self.now);
        let (reason, result) = match metric {
            MetricSpec::Resource { name, target } => {
                (HpaReason::FailedGetResourceMetric, self.resource(name, None, target, &mut samples))
            }
            MetricSpec::ContainerResource { container, name, target } => (
                HpaReason::FailedGetContainerResourceMetric,
                self.resource(name, Some(container), target, &mut samples),
            ),
            MetricSpec::Pods { metric, selector, target } => {
                (HpaReason::FailedGetPodsMetric, self.pods_metric(metric, selector.as_ref(), target))
            }
            MetricSpec::Object { object, metric, selector, target } => {
                (HpaReason::FailedGetObjectMetric, self.object(object, metric, selector.as_ref(), target))
            }
            MetricSpec::External { metric, selector, target } => {
                (HpaReason::FailedGetExternalMetric, self.external(metric, selector.as_ref(), target))
            }
            MetricSpec::Unknown(_) => (HpaReason::InvalidMetricSourceType, Err(Invalid::Source)),
        };
        Evaluated { name, result, reason, samples, at }
    }

    fn per_pod(&self) -> PerPod {
        PerPod { current: self.current, tolerances: self.tolerances() }
    }

    fn readiness(&self) -> Readiness {
        Readiness {
            now: self.now,
            cpu_initialization_period: self.flags.cpu_initialization_period,
            initial_readiness_delay: self.flags.initial_readiness_delay,
        }
    }

    /// The flag, or what `behavior` says per direction when that gate is on.
    fn tolerances(&self) -> Tolerances {
        let flag = self.flags.tolerance;
        let mut tolerances = Tolerances { down: flag, up: flag, legacy: self.flags.legacy_tolerance_test };
        if let Some(behavior) = self.spec.behavior.as_ref().filter(|_| self.flags.configurable_tolerance) {
            tolerances.down = behavior.scale_down.tolerance.map_or(flag, |tolerance| tolerance.as_approximate_f64());
            tolerances.up = behavior.scale_up.tolerance.map_or(flag, |tolerance| tolerance.as_approximate_f64());
        }
        tolerances
    }

    fn resource(
        &self,
        resource: &str,
        container: Option<&str>,
        target: &MetricTarget,
        samples: &mut Option<(Time, Time)>,
    ) -> Result<Proposal, Invalid> {
        let requests = target.average_utilization.filter(|_| target.average_value.is_none()).map(|percent| {
            let missing = missing_percent(percent, self.flags.fill_missing_with_request);
            Requests::new(container, resource, self.flags.pod_level_resources, missing)
        });
        let tally = self.tally(resource, container, Tally::new(resource == "cpu", self.readiness(), requests));
        *samples = tally.as_ref().ok().and_then(Tally::ages);
        if let Some(average) = target.average_value {
            self.per_pod().average_value(tally?, average.milli_value())
        } else if let Some(percent) = target.average_utilization {
            self.per_pod().utilization(tally?, percent)
        } else {
            Err(Invalid::Target)
        }
    }

    /// The resource metrics API, summed over containers (or of one container, which every pod then has to show).
    fn tally<'b>(
        &'b self,
        resource: &str,
        container: Option<&str>,
        mut tally: Tally<'b>,
    ) -> Result<Tally<'b>, Invalid> {
        if self.world.scales.fail_pod_metrics {
            return Err(Invalid::NoMetrics);
        }
        let amount = Amount::of(resource);
        for pod in self.pods() {
            let sample = match self.world.metrics_of(pod.id) {
                Some(metrics) => self.sample(pod.id, metrics, amount, container)?,
                None => None,
            };
            tally.pod(&pod, sample);
        }
        if !self.world.measured.is_within(&self.world.living) {
            self.tally_gone(&mut tally, amount, container)?;
        }
        Ok(tally)
    }

    /// Pods that are gone may still be served.
    #[cold]
    fn tally_gone(&self, tally: &mut Tally, amount: Amount, container: Option<&str>) -> Result<(), Invalid> {
        let gone = self.world.measured.iter().filter(|&id| !self.world.living.contains(id));
        for id in gone.filter(|&id| self.selected.has(self.world.pod(id).template.index())) {
            let Some(metrics) = self.world.metrics_of(id) else { continue };
            if let Some(sample) = self.sample(id, metrics, amount, container)? {
                tally.gone(&sample);
            }
        }
        Ok(())
    }

    /// What the metrics of a pod say of a resource; `None`: anything is lacking. Asked for every pod of every sync.
    #[inline(always)]
    fn sample(
        &self,
        pod: PodId,
        metrics: &PodMetrics,
        amount: Amount,
        container: Option<&str>,
    ) -> Result<Option<Sample>, Invalid> {
        let position = container.map(|name| self.position(pod, metrics, name)).transpose()?;
        let value = usage_milli(metrics, amount, position);
        Ok(value.map(|value| Sample { value, timestamp: metrics.timestamp, window: metrics.window }))
    }

    /// Where in its pod a container stands that the metrics of the pod have to show. Most metrics are of whole pods.
    #[inline(never)]
    fn position(&self, pod: PodId, metrics: &PodMetrics, name: &str) -> Result<usize, Invalid> {
        let template = self.world.template_of(pod);
        let mut containers = template.containers.iter().chain(&template.init_containers);
        let position = containers.position(|entry| entry.name == name).ok_or(Invalid::NoContainer)?;
        let shown = metrics.containers.iter().any(|usage| usize::from(usage.container) == position);
        if shown { Ok(position) } else { Err(Invalid::NoContainer) }
    }

    fn pods_metric(
        &self,
        metric: &str,
        selector: Option<&LabelSelector>,
        target: &MetricTarget,
    ) -> Result<Proposal, Invalid> {
        let average = target.average_value.ok_or(Invalid::Target)?;
        let key = (metric.to_string(), selector.cloned());
        let served = self.world.custom_metrics.pods.get(&key).ok_or(Invalid::NoMetrics)?;
        let of_target =
            |pod: &PodId| self.world.pods.get(pod.index()).is_some_and(|pod| self.selected.has(pod.template.index()));
        let sample = |value| Sample { value, timestamp: self.now, window: CUSTOM_METRIC_WINDOW };
        let served = served.iter().filter(|(pod, _)| of_target(pod));
        let mut tally = Tally::new(false, self.readiness(), None);
        tally.join(self.pods(), served.map(|(&pod, &value)| (pod, sample(value))));
        self.per_pod().average_value(tally, average.milli_value())
    }

    /// An object's target goes by its `type`.
    fn object(
        &self,
        object: &str,
        metric: &str,
        selector: Option<&LabelSelector>,
        target: &MetricTarget,
    ) -> Result<Proposal, Invalid> {
        // A Namespace is always the autoscaler's own, whatever name is written.
        let own = format!("Namespace/{}", self.spec.namespace);
        let object = if object.starts_with("Namespace/") { own } else { object.to_string() };
        let key = (object, metric.to_string(), selector.cloned());
        let value = self.world.custom_metrics.objects.get(&key).copied().ok_or(Invalid::NoMetrics);
        match (target.kind.as_str(), target.value, target.average_value) {
            ("Value", Some(whole), _) => self.per_pod().whole_value(self.pods(), value?, whole.milli_value()),
            ("AverageValue", _, Some(average)) => {
                Ok(shared_value(value?, average.milli_value(), self.status_replicas, &self.tolerances()))
            }
            _ => Err(Invalid::Target),
        }
    }

    /// An external target goes by the field that is set, averageValue first. Series are added.
    fn external(
        &self,
        metric: &str,
        selector: Option<&LabelSelector>,
        target: &MetricTarget,
    ) -> Result<Proposal, Invalid> {
        let series = self.world.custom_metrics.external.get(metric).ok_or(Invalid::NoMetrics)?;
        let chosen = series.iter().filter(|(labels, _)| selector.is_none_or(|selector| selector.matches(labels)));
        let values: Vec<i64> = chosen.map(|&(_, value)| value).collect();
        if values.is_empty() {
            return Err(Invalid::NoMetrics);
        }
        if let Some(average) = target.average_value {
            // A sum that is negative on the way counts as one too large for its type, whatever made it so.
            let added = |sum: i64, &value: &i64| Some(sum.wrapping_add(value)).filter(|sum| *sum >= 0);
            let sum = values.iter().try_fold(0i64, added);
            let (replicas, tolerances) = (self.status_replicas, self.tolerances());
            let mut proposal = shared_value(sum.unwrap_or(i64::MAX), average.milli_value(), replicas, &tolerances);
            // Of an external metric the proposal is bounded before it is made whole.
            if !proposal.tolerated
                && sum.unwrap_or(i64::MAX) as f64 / average.milli_value() as f64 > f64::from(i32::MAX)
            {
                proposal.replicas = i32::MAX;
            }
            if sum.is_none() {
                // A sum that saturates is reported as it is, not divided by the replicas.
                proposal.average_value = Some(i64::MAX);
            }
            return Ok(proposal);
        }
        let whole = target.value.ok_or(Invalid::Target)?;
        let sum = values.iter().fold(0i64, |sum, &value| sum.wrapping_add(value));
        self.per_pod().whole_value(self.pods(), sum, whole.milli_value())
    }
}

/// What the reason of a rescale calls a metric.
pub fn name_of(metric: &MetricSpec) -> String {
    let of_resource = |name: &str, target: &MetricTarget, kind: &str| {
        if target.average_value.is_some() {
            format!("{name} resource")
        } else if target.average_utilization.is_some() {
            format!("{name} {kind} utilization (percentage of request)")
        } else {
            format!("{name} {kind}")
        }
    };
    match metric {
        MetricSpec::Resource { name, target } => of_resource(name, target, "resource"),
        MetricSpec::ContainerResource { name, target, .. } => of_resource(name, target, "container resource"),
        MetricSpec::Pods { metric, .. } => format!("pods metric {metric}"),
        MetricSpec::Object { object, metric, target, .. } if target.kind == "Value" && target.value.is_some() => {
            let kind = object.split(['.', '/']).next().unwrap_or(object);
            format!("{kind} metric {metric}")
        }
        MetricSpec::Object { metric, .. } | MetricSpec::External { metric, .. } => {
            format!("external metric {metric}(nil)")
        }
        MetricSpec::Unknown(kind) => kind.clone(),
    }
}

/// Whether a metric is asked for at all: one without the field that its target needs fails before that.
pub fn is_asked(metric: &MetricSpec) -> bool {
    match metric {
        MetricSpec::Resource { target, .. } | MetricSpec::ContainerResource { target, .. } => {
            target.average_value.is_some() || target.average_utilization.is_some()
        }
        MetricSpec::Pods { .. } => true,
        MetricSpec::Object { target, .. } => match target.kind.as_str() {
            "Value" => target.value.is_some(),
            "AverageValue" => target.average_value.is_some(),
            _ => false,
        },
        MetricSpec::External { target, .. } => target.average_value.is_some() || target.value.is_some(),
        MetricSpec::Unknown(_) => false,
    }
}

/// Whether a selector in a namespace matches the pods of a template.
pub fn selects(template: &PodTemplate, namespace: &str, selector: &LabelSelector) -> bool {
    template.namespace == namespace && selector.matches(&template.labels)
}

/// Templates in a namespace that a selector matches, by template.
pub fn templates_selected(world: &World, namespace: &str, selector: &LabelSelector) -> Vec<bool> {
    world.templates.iter().map(|template| selects(template, namespace, selector)).collect()
}

/// What the metrics of a container say of a resource.
#[derive(Clone, Copy, Debug)]
enum Amount {
    Cpu,
    Memory,
    /// They say nothing of it.
    Unknown,
}

impl Amount {
    fn of(resource: &str) -> Amount {
        match resource {
            "cpu" => Amount::Cpu,
            "memory" => Amount::Memory,
            _ => Amount::Unknown,
        }
    }
}

/// Usage in milli-units, each container rounded up; `None` if anything is lacking.
#[inline]
fn usage_milli(metrics: &PodMetrics, amount: Amount, container: Option<usize>) -> Option<i64> {
    let mut sum = None;
    for usage in &metrics.containers {
        if container.is_some_and(|position| position != usize::from(usage.container)) {
            continue;
        }
        let value = match amount {
            Amount::Cpu => usage.cpu_nanocores.map(|nanos| (nanos + 999_999).div_euclid(1_000_000)),
            Amount::Memory => usage.memory_bytes.map(|bytes| bytes.saturating_mul(1000)),
            Amount::Unknown => None,
        }?;
        sum = Some(sum.unwrap_or(0) + value);
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::ContainerUsage;

    #[test]
    fn nanocores_round_up_and_a_lacking_value_drops_the_pod() {
        let usage = |container, cpu| ContainerUsage { container, cpu_nanocores: cpu, memory_bytes: Some(5) };
        let containers = vec![usage(0, Some(1_000_001)), usage(1, Some(2_000_000))];
        let mut metrics = PodMetrics { timestamp: Time::ZERO, window: Span::from_secs(15), containers };
        let of = |metrics: &PodMetrics, resource, container| usage_milli(metrics, Amount::of(resource), container);
        assert_eq!(of(&metrics, "cpu", None), Some(4));
        assert_eq!(of(&metrics, "cpu", Some(1)), Some(2));
        assert_eq!(of(&metrics, "cpu", Some(7)), None);
        assert_eq!(of(&metrics, "memory", None), Some(10_000));
        assert_eq!(of(&metrics, "nvidia.com/gpu", None), None);
        metrics.containers[0].cpu_nanocores = None;
        assert_eq!(of(&metrics, "cpu", None), None);
        metrics.containers.clear();
        assert_eq!(of(&metrics, "cpu", None), None);
    }
}
