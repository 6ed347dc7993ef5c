//! One sync: a chain of calls, each of which takes its time and sees the cluster at its end.
//!
//! ```text
//!  read the scale ─► one metric after the other ─► write the scale, if the count changes ─► write the status, if it changes
//!                                                   └─ failed: read the scale; conflict: write again, five times in all
//! ```
//!
//! The autoscaler's spec and status are those of the moment a worker took it up; `spec.replicas` and `status.replicas`
//! those of the read at the start; pods those of the end of each metric's call. What reads the clock (history, events,
//! ages) reads the time reached so far. Source: `horizontal.go` (`reconcileAutoscaler`), client-go `util/retry/util.go`.

use super::decision::Decision;
use super::metrics::{Evaluated, Reader, is_asked, selects, templates_selected};
use super::normalize::Recommendation;
use super::{Event, Hpa, Memory};
use crate::components::Cx;
use crate::engine::{Span, Time};
use crate::plan::{HpaId, HpaSpec, Stage};
use crate::record::Decision as Explained;
use crate::rules::labels::LabelSelector;
use crate::world::{
    Hpa as Autoscaler, HpaOutcome, HpaReason, HpaStatus, MetricValue, Scale, ScaleError, ScaleSelector, Selected, World,
};
use std::sync::Arc;

/// Attempts to write a scale in spite of conflicts, and the mean time between two. Source: client-go
/// `util/retry/util.go` (`DefaultRetry`: five steps of 10 ms, jitter 0.1).
const WRITE_ATTEMPTS: u32 = 5;
const WRITE_RETRY: Span = Span::from_micros(10_500);

/// The call that is being made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    ReadScale,
    Metric,
    WriteScale { attempt: u32 },
    ReadAgain { attempt: u32, error: ScaleError },
    WriteStatus,
}

/// A sync in progress.
#[derive(Debug)]
pub struct Sync {
    spec: Arc<HpaSpec>,
    version: u32,
    before: HpaStatus,
    metrics_before: Vec<Option<MetricValue>>,
    began: Time,
    call: Call,
    /// When that returns.
    pub(super) returns: Time,
    /// Calls made, to key their delays.
    calls: u32,
    scale: Option<Scale>,
    metrics: Vec<Evaluated>,
    decision: Option<Decision>,
    /// Why the scale could not be written.
    failed: Option<ScaleError>,
    status: HpaStatus,
    outcome: HpaOutcome,
}

impl Sync {
    fn of(entry: &Autoscaler, now: Time) -> Sync {
        Sync {
            spec: entry.spec.clone(),
            version: entry.version,
            before: entry.status,
            metrics_before: entry.metrics.clone(),
            began: now,
            call: Call::ReadScale,
            returns: now,
            calls: 0,
            scale: None,
            metrics: Vec::new(),
            decision: None,
            failed: None,
            status: entry.status,
            outcome: HpaOutcome::default(),
        }
    }

    /// Takes an autoscaler up, in the memory of a sync that has ended: field by field, as a sync is too large to be moved.
    fn taking_up(entry: &Autoscaler, now: Time, former: Option<Box<Sync>>) -> Box<Sync> {
        let Some(mut sync) = former else { return Box::new(Sync::of(entry, now)) };
        let Sync { spec, version, before, metrics_before, began, call, returns, calls, .. } = &mut *sync;
        spec.clone_from(&entry.spec);
        (*version, *before) = (entry.version, entry.status);
        metrics_before.clone_from(&entry.metrics);
        (*began, *call, *returns, *calls) = (now, Call::ReadScale, now, 0);
        let Sync { scale, metrics, decision, failed, status, outcome, .. } = &mut *sync;
        (*scale, *failed, *status, *outcome) = (None, None, entry.status, HpaOutcome::default());
        // The metrics of the former are with its decision.
        *metrics = decision.take().map(|decision| decision.metrics).unwrap_or_default();
        metrics.clear();
        sync
    }
}

/// What a status said beyond its fields when it was last written.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Message {
    text: Arc<str>,
    failed: Option<ScaleError>,
}

impl Hpa {
    /// A worker takes up an autoscaler.
    pub(super) fn begin(&mut self, cx: &mut Cx, hpa: HpaId) {
        if !cx.world.hpas[hpa.index()].exists {
            let memory = self.memory(hpa);
            memory.history = Default::default();
            self.queue.done(hpa);
            return;
        }
        let memory = self.memory(hpa);
        let sync = Sync::taking_up(&cx.world.hpas[hpa.index()], cx.now, memory.ended.take());
        memory.syncs += 1;
        self.make(cx, hpa, sync, Span::ZERO);
    }

    /// Makes the next call of a sync, after a pause; calls that take no time are made at once.
    fn make(&mut self, cx: &mut Cx, hpa: HpaId, mut sync: Box<Sync>, pause: Span) {
        let asked = |metric| sync.spec.metrics.get(metric).is_some_and(is_asked);
        let stage = match sync.call {
            Call::ReadScale | Call::ReadAgain { .. } => Some(Stage::HpaReadScale),
            Call::Metric => asked(sync.metrics.len()).then_some(Stage::HpaMetrics),
            Call::WriteScale { .. } => Some(Stage::HpaWriteScale),
            Call::WriteStatus => Some(Stage::HpaWriteStatus),
        };
        sync.calls += 1;
        let key = u64::from(hpa.0) << 40 | self.memory(hpa).syncs << 8 | u64::from(sync.calls);
        let takes = pause + stage.map_or(Span::ZERO, |stage| cx.delay(stage, key));
        sync.returns = cx.now + takes;
        self.memory(hpa).sync = Some(sync);
        if takes.is_zero() {
            self.returned(cx, hpa);
        } else {
            cx.after(takes, crate::components::Event::Hpa(Event::Returned(hpa)));
        }
    }

    /// The call that a sync is making returns.
    pub(super) fn returned(&mut self, cx: &mut Cx, hpa: HpaId) {
        let Some(sync) = self.memory(hpa).sync.take() else { return };
        match sync.call {
            Call::ReadScale => self.scale_read(cx, hpa, sync),
            Call::Metric => self.metric_read(cx, hpa, sync),
            Call::WriteScale { attempt } => self.scale_written(cx, hpa, sync, attempt),
            Call::ReadAgain { attempt, error } => self.scale_read_again(cx, hpa, sync, attempt, error),
            Call::WriteStatus => {
                let written = cx.world.set_hpa_status(hpa, sync.version, sync.status);
                self.end(cx, hpa, sync, written);
            }
        }
    }

    fn scale_read(&mut self, cx: &mut Cx, hpa: HpaId, mut sync: Box<Sync>) {
        let Some(scale) = cx.world.read_scale(hpa, &sync.spec) else {
            return self.decided(cx, hpa, sync, Decision::unreadable());
        };
        let (current, now) = (scale.replicas, cx.now);
        let recommendations = &mut self.memory(hpa).history.recommendations;
        if recommendations.is_empty() {
            recommendations.push(Recommendation { replicas: current, at: now });
        }
        let spec = sync.spec.clone();
        if let Some(decision) = Decision::without_metrics(&spec, current) {
            sync.scale = Some(scale);
            return self.decided(cx, hpa, sync, decision);
        }
        let selected = self.register(cx, hpa, &spec, &scale.selector);
        sync.scale = Some(scale);
        if let Err((event, reason)) = selected {
            sync.outcome.events.push(event);
            return self.decided(cx, hpa, sync, Decision::failed(current, reason));
        }
        sync.call = Call::Metric;
        self.make(cx, hpa, sync, Span::ZERO);
    }

    /// Registers the selector of an autoscaler; an error is the event and the reason why it cannot go on.
    fn register(
        &mut self,
        cx: &Cx,
        hpa: HpaId,
        spec: &HpaSpec,
        selector: &ScaleSelector,
    ) -> Result<(), (&'static str, HpaReason)> {
        let selector = match selector {
            ScaleSelector::Labels(selector) => selector,
            ScaleSelector::OfDeployment(spec) => &spec.selector,
            ScaleSelector::Missing => return Err(("SelectorRequired", HpaReason::InvalidSelector)),
            ScaleSelector::Invalid => return Err(("InvalidSelector", HpaReason::InvalidSelector)),
        };
        let memory = self.memory(hpa);
        let is_known = |(namespace, known): &(String, LabelSelector)| *namespace == spec.namespace && known == selector;
        if !memory.selector.as_ref().is_some_and(is_known) {
            // One that was deleted since the sync began is not registered again, or it would be a rival for ever.
            let exists = cx.world.hpas[hpa.index()].exists;
            memory.selector = exists.then(|| (spec.namespace.clone(), selector.clone()));
            memory.selected = Selected::default();
        }
        if self.is_ambiguous(cx.world, hpa, spec, selector) {
            return Err(("AmbiguousSelector", HpaReason::AmbiguousSelector));
        }
        Ok(())
    }

    /// Whether several autoscalers' selectors match pods that this one's matches. Its own is one of them if it is registered.
    fn is_ambiguous(&self, world: &World, hpa: HpaId, spec: &HpaSpec, selector: &LabelSelector) -> bool {
        let others = self.autoscalers.iter().enumerate().filter(|(index, _)| *index != hpa.index());
        let rivals = others.filter_map(|(_, memory): (usize, &Memory)| memory.selector.as_ref());
        let mut rivals = rivals.peekable();
        let own_is_registered = self.autoscalers.get(hpa.index()).is_some_and(|memory| memory.selector.is_some());
        if rivals.peek().is_none() {
            return false;
        }
        let own = templates_selected(world, &spec.namespace, selector);
        let matching = rivals.filter(|(namespace, selector)| {
            let both: Vec<bool> = templates_selected(world, namespace, selector)
                .into_iter()
                .zip(&own)
                .map(|(rival, own)| rival && *own)
                .collect();
            // Mostly no template is shared, and no pod needs to be looked at.
            both.contains(&true) && world.living.iter().any(|pod| both[world.pod(pod).template.index()])
        });
        matching.take(2).count() + usize::from(own_is_registered) > 1
    }

    /// The answer about one metric; the next one is asked for, or the sync decides.
    fn metric_read(&mut self, cx: &mut Cx, hpa: HpaId, mut sync: Box<Sync>) {
        if sync.metrics.len() < sync.spec.metrics.len() {
            let name = self.name_of(hpa, &sync.spec, sync.metrics.len());
            let Some(scale) = &sync.scale else { return };
            let (world, spec, selected) = (&*cx.world, &sync.spec, &mut self.memory(hpa).selected);
            if let Some(selector) = scale.selector.labels() {
                selected.refresh(&world.templates, |template| selects(template, &spec.namespace, selector));
            }
            let reader = Reader::new(world, &cx.plan.flags.hpa, spec, cx.now, scale, selected);
            let evaluated = reader.evaluate(name, &spec.metrics[sync.metrics.len()]);
            sync.metrics.push(evaluated);
        }
        if sync.metrics.len() < sync.spec.metrics.len() {
            return self.make(cx, hpa, sync, Span::ZERO);
        }
        let Some(current) = sync.scale.as_ref().map(|scale| scale.replicas) else { return };
        let metrics = std::mem::take(&mut sync.metrics);
        let history = &mut self.memory(hpa).history;
        let decision = Decision::of_metrics(&cx.plan.flags.hpa, &sync.spec, history, cx.now, current, metrics);
        self.decided(cx, hpa, sync, decision);
    }

    fn decided(&mut self, cx: &mut Cx, hpa: HpaId, mut sync: Box<Sync>, decision: Decision) {
        let (world, selected) = (&*cx.world, &self.memory(hpa).selected);
        cx.recorder.decide(cx.now, || {
            // Without metrics nobody has looked at pods.
            let read = world.living.iter().filter(|_| !decision.metrics.is_empty());
            let pods = read.filter(|&pod| selected.has(world.pod(pod).template.index())).count();
            Explained::Hpa(decision.explained(hpa, &sync.spec, sync.began, pods))
        });
        let scales = decision.scale_to.is_some();
        sync.decision = Some(decision);
        if scales {
            sync.call = Call::WriteScale { attempt: 1 };
            self.make(cx, hpa, sync, Span::ZERO);
        } else {
            self.conclude(cx, hpa, sync);
        }
    }

    fn scale_written(&mut self, cx: &mut Cx, hpa: HpaId, mut sync: Box<Sync>, attempt: u32) {
        let (Some(to), Some(scale)) = (sync.decision.as_ref().and_then(|one| one.scale_to), &sync.scale) else {
            return;
        };
        match cx.world.write_scale(hpa, &sync.spec, scale.version, to) {
            Ok(()) => {
                let current = sync.decision.as_ref().map_or(to, |decision| decision.current);
                if let Some(behavior) = &sync.spec.behavior {
                    self.memory(hpa).history.store_event(cx.now, behavior, current, to);
                }
                self.conclude(cx, hpa, sync);
            }
            Err(error) => {
                sync.call = Call::ReadAgain { attempt, error };
                self.make(cx, hpa, sync, Span::ZERO);
            }
        }
    }

    /// After a failed write the scale is read again, whatever the error; after a conflict it is written again.
    fn scale_read_again(&mut self, cx: &mut Cx, hpa: HpaId, mut sync: Box<Sync>, attempt: u32, error: ScaleError) {
        if let (Some(read), Some(scale)) = (cx.world.read_scale(hpa, &sync.spec), &mut sync.scale) {
            scale.version = read.version;
        }
        if error == ScaleError::Conflict && attempt < WRITE_ATTEMPTS {
            sync.call = Call::WriteScale { attempt: attempt + 1 };
            return self.make(cx, hpa, sync, WRITE_RETRY);
        }
        sync.failed = Some(error);
        self.conclude(cx, hpa, sync);
    }

    /// The status follows from the decision; it is written if it says something new.
    fn conclude(&mut self, cx: &mut Cx, hpa: HpaId, mut sync: Box<Sync>) {
        let Some(decision) = &sync.decision else { return };
        let written = sync.failed.is_none();
        decision.tell(written, &mut sync.outcome);
        sync.status = decision.status(cx.now, sync.before, written);
        let message = Message { text: decision.message(), failed: sync.failed };
        let same = sync.status.is_same_in_api(&sync.before)
            && decision.metric_values().is_none_or(|values| values.eq(sync.metrics_before.iter().copied()))
            && self.memory(hpa).message == message;
        if same {
            // Nothing is written, but what the sync saw is kept for the record.
            cx.world.set_hpa_status(hpa, sync.version, sync.status);
            self.end(cx, hpa, sync, true);
        } else {
            sync.call = Call::WriteStatus;
            self.make(cx, hpa, sync, Span::ZERO);
        }
    }

    /// The end of a sync: it leaves a fact, and the autoscaler's next turn comes after a period.
    fn end(&mut self, cx: &mut Cx, hpa: HpaId, mut sync: Box<Sync>, written: bool) {
        if !written {
            sync.outcome.events.push("FailedUpdateStatus");
        } else if let Some(decision) = sync.decision.as_ref().filter(|_| sync.call == Call::WriteStatus) {
            // One that is not written says the same as the last that was: message and values are those already remembered.
            let message = Message { text: decision.message(), failed: sync.failed };
            self.memory(hpa).message = message;
            if let Some(values) = decision.metric_values() {
                cx.world.set_hpa_metrics(hpa, values);
            }
        }
        let outcome = HpaOutcome { began: sync.began, ..std::mem::take(&mut sync.outcome) };
        cx.world.set_hpa_outcome(hpa, outcome);
        self.memory(hpa).ended = Some(sync);
        cx.world.note_hpa_sync(hpa);
        self.enqueue(cx, hpa, cx.plan.flags.hpa.sync_period);
        self.queue.done(hpa);
    }
}
