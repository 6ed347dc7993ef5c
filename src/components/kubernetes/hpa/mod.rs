//! HorizontalPodAutoscaler controller.
//!
//! ```text
//!  pod_metrics, custom_metrics ──┐                            ┌─► Deployment.replicas
//!  pods (phase, Ready, start)  ──┼─► Sync: read, propose, ────┤
//!  Deployment.replicas, status ──┘    stabilise, limit        └─► HpaStatus (fact HpaSynced)
//! ```
//!
//! Source: `pkg/controller/podautoscaler/horizontal.go` of Kubernetes 1.34. One pending entry an autoscaler: it fires
//! every sync period, and an edit neither advances nor postpones it. A sync takes no time but that between attempts to
//! write, so its period is the sync period and the resync ticks of the informer never come first.
//! Targets other than Deployments are what the world's scale table holds. A write of the scale that meets a conflict is
//! tried again as client-go does. Left out: the time that calls take, and the queue for workers.

pub mod calculator;
pub mod metrics;
pub mod normalize;

use crate::components::Cx;
use crate::engine::{Purpose, Span, Time};
use crate::plan::flags::HpaFlags;
use crate::plan::{HpaId, HpaSpec};
use crate::rules::labels::LabelSelector;
use crate::world::{HpaCondition, HpaOutcome, HpaReason, HpaStatus, MetricValue, ScaleError, ScaleSelector, World};
use metrics::{Evaluated, Reader, templates_selected};
use normalize::{Bounds, History, Normalized, Recommendation};

const PHASE: Purpose = Purpose::named("hpa.phase");
/// Attempts to write a scale in spite of conflicts, and the mean time between two. Source: client-go
/// `util/retry/util.go` (`DefaultRetry`: five steps of 10 ms, jitter 0.1).
const WRITE_ATTEMPTS: u64 = 5;
const WRITE_RETRY: Span = Span::from_micros(10_500);

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
            Event::Changed(hpa) if cx.world.hpas[hpa.index()].exists => self.enqueue(cx, hpa, period),
            Event::Changed(hpa) => self.memory(hpa).selector = None,
            Event::Sync(hpa) => {
                if self.memory(hpa).pending != Some(cx.now) {
                    return;
                }
                self.memory(hpa).pending = None;
                if !cx.world.hpas[hpa.index()].exists {
                    self.memory(hpa).history = History::default();
                    return;
                }
                let took = self.sync(cx, hpa);
                self.enqueue(cx, hpa, took + period);
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

    /// One reconciliation; how long it took.
    fn sync(&mut self, cx: &mut Cx, hpa: HpaId) -> Span {
        let now = cx.now;
        let before = cx.world.hpas[hpa.index()].status;
        let Some(scale) = cx.world.read_scale(hpa) else {
            let condition = Some(HpaCondition { status: false, reason: HpaReason::FailedGetScale });
            let outcome = HpaOutcome { events: vec![HpaReason::FailedGetScale.name()], ..HpaOutcome::default() };
            cx.world.set_hpa_outcome(hpa, outcome);
            cx.world.set_hpa_status(hpa, HpaStatus { able_to_scale: condition, ..before });
            return Span::ZERO;
        };
        let reader = Reader::new(cx.world, &cx.plan.flags.hpa, hpa, now, &scale);
        let mut history = std::mem::take(&mut self.memory(hpa).history);
        let mut outcome = HpaOutcome::default();
        let decision =
            decide(&reader, &mut history, || self.evaluate(&reader, hpa, &scale.selector, &mut outcome.events));
        let (spec, pods) = (cx.world.hpas[hpa.index()].spec.clone(), reader.pods.len());
        cx.explain(|| decision.explain(&spec, pods, now));
        let (mut took, mut written) = (Span::ZERO, true);
        if let Some(to) = decision.scale_to {
            (took, written) = write_scale(cx.world, hpa, to);
        }
        if let (true, Some(to), Some(behavior)) = (written, decision.scale_to, &spec.behavior) {
            history.store_event(now + took, behavior, decision.current, to);
        }
        self.memory(hpa).history = history;
        decision.tell(written, &mut outcome);
        let status = decision.status(now + took, before, written);
        cx.world.set_hpa_metrics(hpa, decision.metric_values());
        cx.world.set_hpa_outcome(hpa, outcome);
        cx.world.set_hpa_status(hpa, status);
        took
    }

    /// Evaluates all metrics, after the selector was registered and found to be its own.
    fn evaluate(
        &mut self,
        reader: &Reader,
        hpa: HpaId,
        selector: &ScaleSelector,
        events: &mut Vec<&'static str>,
    ) -> Result<Vec<Evaluated>, HpaReason> {
        let selector = match selector {
            ScaleSelector::Labels(selector) => selector,
            ScaleSelector::Missing => {
                events.push("SelectorRequired");
                return Err(HpaReason::InvalidSelector);
            }
            ScaleSelector::Invalid => {
                events.push("InvalidSelector");
                return Err(HpaReason::InvalidSelector);
            }
        };
        self.memory(hpa).selector = Some((reader.spec.namespace.clone(), selector.clone()));
        if self.is_ambiguous(reader.world, reader, hpa) {
            events.push("AmbiguousSelector");
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

/// Writes a scale, again after each conflict; how long that took and whether it succeeded.
fn write_scale(world: &mut World, hpa: HpaId, to: i32) -> (Span, bool) {
    for attempt in 0..WRITE_ATTEMPTS {
        match world.write_scale(hpa, to) {
            Ok(()) => return (WRITE_RETRY * attempt, true),
            Err(ScaleError::Failed) => return (WRITE_RETRY * attempt, false),
            Err(ScaleError::Conflict) => {}
        }
    }
    (WRITE_RETRY * (WRITE_ATTEMPTS - 1), false)
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
    /// The events of the sync, after those of the selector.
    fn tell(&self, written: bool, outcome: &mut HpaOutcome) {
        outcome.events.extend(self.metrics.iter().filter(|one| one.result.is_err()).map(|one| one.reason.name()));
        if matches!(self.path, Path::Failed(_)) {
            outcome.events.push("FailedComputeMetricsReplicas");
        }
        match self.scale_to {
            Some(_) if !written => outcome.events.push("FailedRescale"),
            Some(to) => {
                outcome.events.push("SuccessfulRescale");
                outcome.scaled = Some(to);
                outcome.why.clone_from(&self.why);
            }
            None => {}
        }
    }

    fn status(&self, now: Time, before: HpaStatus, written: bool) -> HpaStatus {
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
        if !written {
            status.desired = before.desired;
            status.able_to_scale = condition(false, HpaReason::FailedUpdateScale);
        } else if self.scale_to.is_some() {
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
