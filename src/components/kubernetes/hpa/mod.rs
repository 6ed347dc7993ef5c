//! HorizontalPodAutoscaler controller.
//!
//! ```text
//!  pod_metrics, custom_metrics ──┐                            ┌─► Deployment.replicas
//!  pods (phase, Ready, start)  ──┼─► Sync: read, propose, ────┤
//!  Deployment.replicas, status ──┘    stabilise, limit        └─► HpaStatus (fact HpaSynced)
//! ```
//!
//! Source: `pkg/controller/podautoscaler/horizontal.go` of Kubernetes 1.34. One pending entry an autoscaler: it fires
//! every sync period, and an edit neither advances nor postpones it. A sync takes no time, so its period is exactly the
//! sync period and the resync ticks of the informer never come first.
//! Left out: targets other than Deployments (they answer FailedGetScale), conflicts when the scale is written, the queue
//! for workers.

pub mod calculator;
pub mod metrics;
pub mod normalize;

use crate::components::Cx;
use crate::engine::{Purpose, Span, Time};
use crate::plan::flags::HpaFlags;
use crate::plan::{HpaId, HpaSpec};
use crate::rules::labels::LabelSelector;
use crate::world::{HpaCondition, HpaReason, HpaStatus, MetricValue, World};
use metrics::{Evaluated, Reader, templates_selected};
use normalize::{Bounds, History, Normalized, Recommendation};

const PHASE: Purpose = Purpose::named("hpa.phase");

/// What the controller keeps of one autoscaler.
#[derive(Default)]
struct Memory {
    /// The pending entry fires at this time.
    pending: Option<Time>,
    history: History,
    /// Namespace and selector it registered at its last evaluation of metrics.
    selector: Option<(String, LabelSelector)>,
}

/// Its memory.
#[derive(Default)]
pub struct Hpa {
    autoscalers: Vec<Memory>,
}

/// Why it may be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// The pending entry of an autoscaler fires.
    Sync(HpaId),
    /// An autoscaler's spec changed.
    Changed(HpaId),
}

impl Hpa {
    /// Autoscalers that exist at the start have run for long: their entries fire at any phase of the period.
    pub fn start(&mut self, cx: &mut Cx) {
        let period = cx.plan.flags.hpa.sync_period;
        for index in 0..cx.world.hpas.len() {
            let hpa = HpaId::at(index);
            let phase = cx.phase(PHASE, u64::from(hpa.0), period);
            self.enqueue(cx, hpa, phase);
        }
    }

    /// Observe, decide, apply, schedule.
    pub fn handle(&mut self, cx: &mut Cx, event: Event) {
        let period = cx.plan.flags.hpa.sync_period;
        match event {
            Event::Changed(hpa) => self.enqueue(cx, hpa, period),
            Event::Sync(hpa) => {
                if self.memory(hpa).pending != Some(cx.now) {
                    return;
                }
                self.memory(hpa).pending = None;
                self.sync(cx, hpa);
                self.enqueue(cx, hpa, period);
            }
        }
    }

    fn memory(&mut self, hpa: HpaId) -> &mut Memory {
        if self.autoscalers.len() <= hpa.index() {
            self.autoscalers.resize_with(hpa.index() + 1, Memory::default);
        }
        &mut self.autoscalers[hpa.index()]
    }

    /// Adds the entry of an autoscaler unless one is pending.
    fn enqueue(&mut self, cx: &mut Cx, hpa: HpaId, after: Span) {
        let at = cx.now + after;
        let memory = self.memory(hpa);
        if memory.pending.is_none() {
            memory.pending = Some(at);
            cx.at(at, crate::components::Event::Hpa(Event::Sync(hpa)));
        }
    }

    fn sync(&mut self, cx: &mut Cx, hpa: HpaId) {
        let now = cx.now;
        let before = cx.world.hpas[hpa.index()].status;
        let Some((reader, selector)) = Reader::new(cx.world, &cx.plan.flags.hpa, hpa, now) else {
            let condition = Some(HpaCondition { status: false, reason: HpaReason::FailedGetScale });
            cx.world.set_hpa_status(hpa, HpaStatus { able_to_scale: condition, ..before });
            return;
        };
        let mut history = std::mem::take(&mut self.memory(hpa).history);
        let decision = decide(&reader, &mut history, || self.evaluate(&reader, hpa, selector));
        if let (Some(to), Some(behavior)) = (decision.scale_to, &reader.spec.behavior) {
            history.store_event(now, behavior, reader.current, to);
        }
        let (spec, pods) = (cx.world.hpas[hpa.index()].spec.clone(), reader.pods.len());
        let target = cx.world.hpas[hpa.index()].target;
        self.memory(hpa).history = history;
        cx.explain(|| decision.explain(&spec, pods, now));
        if let (Some(to), Some(target)) = (decision.scale_to, target) {
            cx.world.scale_deployment(target, to, Some(hpa));
        }
        let status = decision.status(now, before);
        cx.world.set_hpa_metrics(hpa, decision.metric_values());
        cx.world.set_hpa_status(hpa, status);
    }

    /// Evaluates all metrics, after the selector was registered and found to be its own.
    fn evaluate(&mut self, reader: &Reader, hpa: HpaId, selector: &LabelSelector) -> Result<Vec<Evaluated>, HpaReason> {
        if selector.is_empty() {
            return Err(HpaReason::InvalidSelector);
        }
        self.memory(hpa).selector = Some((reader.spec.namespace.clone(), selector.clone()));
        if self.is_ambiguous(reader.world, reader, hpa) {
            return Err(HpaReason::AmbiguousSelector);
        }
        Ok(reader.spec.metrics.iter().map(|metric| reader.evaluate(metric)).collect())
    }

    fn is_ambiguous(&self, world: &World, reader: &Reader, hpa: HpaId) -> bool {
        let others = self.autoscalers.iter().enumerate().filter(|(index, _)| *index != hpa.index());
        let mut rivals = others.filter_map(|(_, memory)| memory.selector.as_ref());
        rivals.any(|(namespace, selector)| {
            let selected = templates_selected(world, namespace, selector);
            reader.pods.iter().any(|pod| selected[world.pod(pod.id).template.index()])
        })
    }
}

/// Why the count is what it is.
#[derive(Clone, Debug, PartialEq)]
enum Path {
    /// At zero, and zero is not allowed: switched off.
    Disabled,
    /// Above maxReplicas.
    AboveMax,
    /// Below minReplicas.
    BelowMin,
    /// No usable metrics.
    Failed(HpaReason),
    /// A proposal, and what became of it.
    Proposed(i32, Normalized),
}

/// The outcome of a sync.
pub struct Decision {
    /// `spec.replicas` as read.
    current: i32,
    /// The size to be written, if it differs.
    pub scale_to: Option<i32>,
    /// Reason text of the rescale, from the raw proposal.
    pub why: String,
    path: Path,
    metrics: Vec<Evaluated>,
}

/// One sync of `reconcileAutoscaler`. `evaluate` is only called when metrics matter.
pub fn decide(
    reader: &Reader,
    history: &mut History,
    evaluate: impl FnOnce() -> Result<Vec<Evaluated>, HpaReason>,
) -> Decision {
    let (spec, current, now) = (reader.spec, reader.current, reader.now);
    if history.recommendations.is_empty() {
        history.recommendations.push(Recommendation { replicas: current, at: now });
    }
    let fixed =
        |path, scale_to, why: &str| Decision { current, scale_to, why: why.to_string(), path, metrics: Vec::new() };
    if current == 0 && spec.min_replicas != 0 {
        return fixed(Path::Disabled, None, "");
    }
    if current > spec.max_replicas {
        let why = "Current number of replicas above Spec.MaxReplicas";
        return fixed(Path::AboveMax, Some(spec.max_replicas), why);
    }
    if current < spec.min_replicas {
        let why = "Current number of replicas below Spec.MinReplicas";
        return fixed(Path::BelowMin, Some(spec.min_replicas), why);
    }
    let metrics = match evaluate() {
        Ok(metrics) => metrics,
        Err(reason) => return fixed(Path::Failed(reason), None, ""),
    };
    let (proposal, metric) = match combine(&metrics, current) {
        Ok((proposal, metric)) => (proposal, metric),
        Err(reason) => return Decision { metrics, ..fixed(Path::Failed(reason), None, "") },
    };
    let why = if proposal > current {
        format!("{metric} above target")
    } else if proposal < current {
        "All metrics below target".to_string()
    } else {
        String::new()
    };
    let normalized = normalize(reader.flags, spec, history, now, proposal, current);
    let scale_to = (normalized.replicas != current).then_some(normalized.replicas);
    Decision { current, scale_to, why, path: Path::Proposed(proposal, normalized), metrics }
}

fn normalize(
    flags: &HpaFlags,
    spec: &HpaSpec,
    history: &mut History,
    now: Time,
    proposal: i32,
    current: i32,
) -> Normalized {
    let bounds = Bounds { current, min: spec.min_replicas, max: spec.max_replicas };
    match &spec.behavior {
        None => history.normalize_legacy(now, proposal, bounds, flags.downscale_stabilization),
        Some(behavior) => {
            history.normalize_with_behavior(now, proposal, bounds, behavior, flags.downscale_stabilization)
        }
    }
}

/// The largest proposal and its metric. A broken metric blocks scaling down, never up.
///
/// # Errors
/// The reason of the first metric that failed, if the others do not carry the sync.
pub fn combine(metrics: &[Evaluated], current: i32) -> Result<(i32, String), HpaReason> {
    let (mut replicas, mut name) = (0, "");
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
                name = &metric.name;
            }
            Ok(_) => {}
        }
    }
    if failures >= metrics.len() || (failures > 0 && replicas < current) {
        return Err(failed.unwrap_or(HpaReason::InvalidMetricSourceType));
    }
    // The controller starts its comparison from zero: a negative proposal becomes zero.
    Ok(if replicas > 0 { (replicas, name.to_string()) } else { (0, String::new()) })
}

impl Decision {
    fn status(&self, now: Time, before: HpaStatus) -> HpaStatus {
        let condition = |status, reason| Some(HpaCondition { status, reason });
        let able = |reason| condition(true, reason);
        let mut status = HpaStatus { current: self.current, proposal: None, stabilized: None, ..before };
        status.utilization = self.metrics.iter().find_map(|metric| metric.result.as_ref().ok()?.utilization);
        status.samples = self.metrics.iter().find_map(|metric| metric.samples);
        match &self.path {
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
            Path::Proposed(proposal, normalized) => {
                status.proposal = Some(*proposal);
                status.stabilized = Some(normalized.stabilized);
                status.desired = normalized.replicas;
                status.able_to_scale = able(normalized.able);
                status.scaling_active = able(HpaReason::ValidMetricFound);
                let limited = normalized.replicas != normalized.stabilized;
                status.scaling_limited = condition(limited, normalized.limit);
            }
        }
        if self.scale_to.is_some() {
            status.able_to_scale = able(HpaReason::SucceededRescale);
            status.last_scale = Some(now.whole_second());
        }
        status
    }

    fn metric_values(&self) -> Vec<Option<MetricValue>> {
        let value = |metric: &Evaluated| {
            let proposal = metric.result.as_ref().ok()?;
            Some(MetricValue {
                average_utilization: proposal.utilization,
                average_value: proposal.average_value,
                value: proposal.value,
            })
        };
        self.metrics.iter().map(value).collect()
    }

    fn explain(&self, spec: &HpaSpec, pods: usize, now: Time) -> String {
        let mut lines = vec![format!("hpa {}: {} replicas, {pods} pods match", spec.name, self.current)];
        lines.extend(self.metrics.iter().map(|metric| explain_metric(metric, now)));
        lines.push(match &self.path {
            Path::Disabled => "the target has 0 replicas and minReplicas is not 0: autoscaling is off".to_string(),
            Path::AboveMax => format!("above maxReplicas {}", spec.max_replicas),
            Path::BelowMin => format!("below minReplicas {}", spec.min_replicas),
            Path::Failed(reason) => format!("no usable metrics: {}", reason.name()),
            Path::Proposed(proposal, normalized) => format!(
                "proposal {proposal}, stabilised {} ({}), limited {} ({})",
                normalized.stabilized,
                normalized.able.name(),
                normalized.replicas,
                normalized.limit.name()
            ),
        });
        lines.push(match self.scale_to {
            Some(to) => format!("scales {} to {to}: {}", self.current, self.why),
            None => format!("stays at {}", self.current),
        });
        lines.join("; ")
    }
}

fn explain_metric(metric: &Evaluated, now: Time) -> String {
    let proposal = match &metric.result {
        Err(invalid) => return format!("{}: {}", metric.name, invalid.name()),
        Ok(proposal) => proposal,
    };
    let mut text = metric.name.clone();
    if let Some(percent) = proposal.utilization {
        text += &format!(" {percent} %");
    } else if let Some(value) = proposal.average_value.or(proposal.value) {
        text += &format!(" {value}m");
    }
    if let Some((oldest, newest)) = metric.samples {
        text += &format!(" (samples {} to {} old)", now.since(newest), now.since(oldest));
    }
    text += &format!(", ratio {:.4}", proposal.ratio);
    if let Some(groups) = &proposal.groups {
        let (unready, missing, ignored) = (groups.unready.len(), groups.missing.len(), groups.ignored.len());
        text += &format!(", {} ready, {unready} unready, {missing} missing, {ignored} ignored", groups.ready);
    }
    if let Some(refilled) = proposal.refilled {
        text += &format!(", ratio with unready and missing pods {refilled:.4}");
    }
    text + &format!(", proposes {}", proposal.replicas)
}

#[cfg(test)]
mod tests;
