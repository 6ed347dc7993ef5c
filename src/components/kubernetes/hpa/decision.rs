//! What a sync decides: from the size of the target and the metrics to a new size, a status, events and an explanation.
//!
//! Source: `pkg/controller/podautoscaler/horizontal.go` (`reconcileAutoscaler`, `computeReplicasForMetrics`).

use super::metrics::Evaluated;
use super::normalize::{Bounds, History, Normalized};
use crate::engine::Time;
use crate::plan::flags::HpaFlags;
use crate::plan::{HpaId, HpaSpec, MetricSpec};
use crate::record::decision::{HpaCourse, HpaDecision, MetricResult, MetricSeen, PodGroups};
use crate::world::{HpaCondition, HpaOutcome, HpaReason, HpaStatus, MetricValue};
use std::sync::Arc;

/// Why the count is what it is.
#[derive(Clone, Debug, PartialEq)]
enum Path {
    /// The target cannot be read.
    Unreadable,
    /// At zero, and zero is not allowed: switched off.
    Disabled,
    /// Above maxReplicas.
    AboveMax,
    /// Below minReplicas.
    BelowMin,
    /// No usable metrics.
    Failed(HpaReason),
    /// A proposal, the metric that made it, and what became of it.
    Proposed(i32, Arc<str>, Normalized),
}

/// The outcome of a sync.
#[derive(Clone, Debug)]
pub struct Decision {
    /// `spec.replicas` as read.
    pub current: i32,
    /// The size to be written, if it differs.
    pub scale_to: Option<i32>,
    path: Path,
    /// The metrics in the order of the spec.
    pub metrics: Vec<Evaluated>,
}

impl Decision {
    fn of(path: Path, current: i32, metrics: Vec<Evaluated>) -> Decision {
        Decision { current, scale_to: None, path, metrics }
    }

    /// The target cannot be read: only the condition changes.
    pub fn unreadable() -> Decision {
        Decision::of(Path::Unreadable, 0, Vec::new())
    }

    /// The selector is of no use.
    pub fn failed(current: i32, reason: HpaReason) -> Decision {
        Decision::of(Path::Failed(reason), current, Vec::new())
    }

    /// Sizes that are decided without metrics.
    pub fn without_metrics(spec: &HpaSpec, current: i32) -> Option<Decision> {
        let fixed = |path, to| Some(Decision { scale_to: Some(to), ..Decision::of(path, current, Vec::new()) });
        if current == 0 && spec.min_replicas != 0 {
            return Some(Decision::of(Path::Disabled, current, Vec::new()));
        }
        if current > spec.max_replicas {
            return fixed(Path::AboveMax, spec.max_replicas);
        }
        if current < spec.min_replicas {
            return fixed(Path::BelowMin, spec.min_replicas);
        }
        None
    }

    /// The metrics' proposals, stabilised and limited.
    pub fn of_metrics(
        flags: &HpaFlags,
        spec: &HpaSpec,
        history: &mut History,
        now: Time,
        current: i32,
        metrics: Vec<Evaluated>,
    ) -> Decision {
        let (proposal, metric) = match combine(&metrics, current) {
            Ok(best) => best,
            Err(reason) => return Decision::of(Path::Failed(reason), current, metrics),
        };
        let bounds = Bounds { current, min: spec.min_replicas, max: spec.max_replicas };
        let window = flags.downscale_stabilization;
        let normalized = match &spec.behavior {
            None => history.normalize_legacy(now, proposal, bounds, window),
            Some(behavior) => history.normalize_with_behavior(now, proposal, bounds, behavior, window),
        };
        let scale_to = (normalized.replicas != current).then_some(normalized.replicas);
        Decision { scale_to, ..Decision::of(Path::Proposed(proposal, metric, normalized), current, metrics) }
    }

    /// Reason text of the rescale, from the raw proposal.
    fn why(&self) -> String {
        match &self.path {
            Path::AboveMax => "Current number of replicas above Spec.MaxReplicas".to_string(),
            Path::BelowMin => "Current number of replicas below Spec.MinReplicas".to_string(),
            Path::Proposed(proposal, metric, _) if *proposal > self.current => format!("{metric} above target"),
            Path::Proposed(proposal, ..) if *proposal < self.current => "All metrics below target".to_string(),
            Path::Proposed(..) | Path::Unreadable | Path::Disabled | Path::Failed(_) => String::new(),
        }
    }

    /// The events of the sync, after those of the selector.
    pub fn tell(&self, written: bool, outcome: &mut HpaOutcome) {
        outcome.events.extend(self.metrics.iter().filter(|one| one.result.is_err()).map(|one| one.reason.name()));
        match self.path {
            Path::Unreadable => outcome.events.push("FailedGetScale"),
            Path::Failed(_) => outcome.events.push("FailedComputeMetricsReplicas"),
            Path::Disabled | Path::AboveMax | Path::BelowMin | Path::Proposed(..) => {}
        }
        match self.scale_to {
            Some(_) if !written => outcome.events.push("FailedRescale"),
            Some(to) => {
                outcome.events.push("SuccessfulRescale");
                outcome.scaled = Some(to);
                outcome.why = self.why();
            }
            None => {}
        }
    }

    /// The status to be written.
    pub fn status(&self, now: Time, before: HpaStatus, written: bool) -> HpaStatus {
        let condition = |status, reason| Some(HpaCondition { status, reason });
        let able = |reason| condition(true, reason);
        if self.path == Path::Unreadable {
            return HpaStatus { able_to_scale: condition(false, HpaReason::FailedGetScale), ..before };
        }
        let mut status = HpaStatus { current: self.current, proposal: None, stabilized: None, ..before };
        status.utilization = self.metrics.iter().find_map(|metric| metric.result.as_ref().ok()?.utilization);
        status.samples = self.metrics.iter().find_map(|metric| metric.samples);
        match &self.path {
            Path::Unreadable => {}
            Path::Disabled => {
                status.desired = 0;
                status.able_to_scale = able(HpaReason::SucceededGetScale);
                status.scaling_active = condition(false, HpaReason::ScalingDisabled);
            }
            Path::AboveMax | Path::BelowMin => status.desired = self.scale_to.unwrap_or(self.current),
            Path::Failed(reason) => {
                status.able_to_scale = able(HpaReason::SucceededGetScale);
                status.scaling_active = condition(false, *reason);
            }
            Path::Proposed(proposal, _, normalized) => {
                status.proposal = Some(*proposal);
                status.stabilized = Some(normalized.stabilized);
                status.desired = normalized.replicas;
                status.able_to_scale = able(normalized.able);
                status.scaling_active = able(HpaReason::ValidMetricFound);
                let limited = normalized.replicas != normalized.stabilized;
                status.scaling_limited = condition(limited, normalized.limit);
            }
        }
        if !written {
            status.desired = before.desired;
            status.able_to_scale = condition(false, HpaReason::FailedUpdateScale);
        } else if self.scale_to.is_some() {
            status.able_to_scale = able(HpaReason::SucceededRescale);
            status.last_scale = Some(now.whole_second());
        }
        status
    }

    /// `status.currentMetrics`; `None`: they stay as they are.
    pub fn metric_values(&self) -> Option<impl Iterator<Item = Option<MetricValue>>> {
        let value = |metric: &Evaluated| {
            let proposal = metric.result.as_ref().ok()?;
            Some(MetricValue {
                average_utilization: proposal.utilization,
                average_value: proposal.average_value,
                value: proposal.value,
            })
        };
        (self.path != Path::Unreadable).then(|| self.metrics.iter().map(value))
    }

    /// What the messages of the conditions say beyond their reasons: a message that changes is a status that changes.
    pub fn message(&self) -> Arc<str> {
        match &self.path {
            Path::Proposed(_, metric, _) => metric.clone(),
            Path::Failed(_) => {
                let failed = self.metrics.iter().filter(|metric| metric.result.is_err()).count();
                let first = self.metrics.iter().find_map(|metric| Some((&metric.name, metric.result.as_ref().err()?)));
                format!("{failed} of {}, {first:?}", self.metrics.len()).into()
            }
            Path::Unreadable | Path::Disabled | Path::AboveMax | Path::BelowMin => Arc::default(),
        }
    }

    /// All of it, for `explain`.
    pub fn explained(&self, hpa: HpaId, spec: &HpaSpec, began: Time, pods: usize) -> HpaDecision {
        let course = match &self.path {
            Path::Unreadable => HpaCourse::Unreadable,
            Path::Disabled => HpaCourse::Disabled,
            Path::AboveMax => HpaCourse::AboveMax(spec.max_replicas),
            Path::BelowMin => HpaCourse::BelowMin(spec.min_replicas),
            Path::Failed(reason) => HpaCourse::Failed(*reason),
            Path::Proposed(proposal, metric, normalized) => HpaCourse::Proposed {
                proposal: *proposal,
                metric: metric.to_string(),
                stabilized: normalized.stabilized,
                able: normalized.able,
                held_by: normalized.held_by.map(|entry| (entry.replicas, entry.at)),
                replicas: normalized.replicas,
                limit: normalized.limit,
            },
        };
        HpaDecision {
            hpa,
            began,
            current: (self.path != Path::Unreadable).then_some(self.current),
            pods,
            metrics: self.metrics.iter().zip(&spec.metrics).map(|(metric, spec)| seen(metric, spec)).collect(),
            course,
            scale_to: self.scale_to,
            why: self.why(),
        }
    }
}

/// The largest proposal and its metric. A broken metric blocks scaling down, never up.
///
/// # Errors
/// The reason of the first metric that failed, if the others do not carry the sync.
pub fn combine(metrics: &[Evaluated], current: i32) -> Result<(i32, Arc<str>), HpaReason> {
    let (mut replicas, mut name) = (0, None);
    let mut failed = None;
    let mut failures = 0;
    for metric in metrics {
        match &metric.result {
            Err(_) => {
                failed = failed.or(Some(metric.reason));
                failures += 1;
            }
            Ok(proposal) if replicas == 0 || proposal.replicas > replicas => {
                replicas = proposal.replicas;
                name = Some(&metric.name);
            }
            Ok(_) => {}
        }
    }
    if failures >= metrics.len() || (failures > 0 && replicas < current) {
        return Err(failed.unwrap_or(HpaReason::InvalidMetricSourceType));
    }
    // The controller starts its comparison from zero: a negative proposal becomes zero.
    Ok((replicas.max(0), name.filter(|_| replicas > 0).cloned().unwrap_or_default()))
}

fn seen(metric: &Evaluated, spec: &MetricSpec) -> MetricSeen {
    let result = metric.result.as_ref().map_err(|invalid| invalid.name()).map(|proposal| MetricResult {
        ratio: proposal.ratio,
        refilled: proposal.refilled,
        tolerated: proposal.tolerated,
        groups: proposal.groups.as_ref().map(|groups| PodGroups {
            ready: groups.ready,
            unready: groups.unready.clone(),
            missing: groups.missing.clone(),
            ignored: groups.ignored.clone(),
        }),
        replicas: proposal.replicas,
    });
    let value = metric.result.as_ref().ok().map(|proposal| {
        let milli = proposal.average_value.or(proposal.value).map(shown_milli);
        proposal.utilization.map(|percent| format!("{percent} %")).or(milli).unwrap_or_default()
    });
    MetricSeen {
        name: metric.name.to_string(),
        value: value.unwrap_or_default(),
        target: target_of(spec),
        samples: metric.samples,
        at: metric.at,
        result,
    }
}

/// Thousandths as people read them.
pub fn shown_milli(milli: i64) -> String {
    if milli % 1000 == 0 { (milli / 1000).to_string() } else { format!("{milli}m") }
}

/// What a metric aims at, as the API writes it.
fn target_of(metric: &MetricSpec) -> String {
    let target = match metric {
        MetricSpec::Resource { target, .. }
        | MetricSpec::ContainerResource { target, .. }
        | MetricSpec::Pods { target, .. }
        | MetricSpec::Object { target, .. }
        | MetricSpec::External { target, .. } => target,
        MetricSpec::Unknown(_) => return String::new(),
    };
    let amount = target.average_value.or(target.value).map(|amount| shown_milli(amount.milli_value()));
    amount.or(target.average_utilization.map(|percent| format!("{percent} %"))).unwrap_or_default()
}
