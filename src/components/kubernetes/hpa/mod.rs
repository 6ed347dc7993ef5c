//! HorizontalPodAutoscaler controller.
//!
//! ```text
//!  pod_metrics, custom_metrics ──┐                            ┌─► Deployment.replicas
//!  pods (phase, Ready, start)  ──┼─► Sync: read, propose, ────┤
//!  Deployment.replicas, status ──┘    stabilise, limit        └─► HpaStatus (fact HpaSynced)
//! ```
//!
//! Source: `pkg/controller/podautoscaler/horizontal.go` of Kubernetes 1.34. An autoscaler has at most one entry in the work
//! queue (`queue.rs`): it fires a period after the first of these that comes when the former has fired: an edit, an
//! informer resync, its own status write or the end of its sync. A sync (`sync.rs`) is a chain of calls with their delays;
//! `workers` syncs run at a time. Targets other than Deployments are what the world's scale table holds.
//! Left out: the client's own rate limit.

pub mod calculator;
pub mod decision;
pub mod metrics;
pub mod normalize;
mod queue;
mod sync;

use crate::components::Cx;
use crate::engine::{Purpose, Span, Time};
use crate::plan::{HpaId, HpaSpec};
use crate::rules::labels::LabelSelector;
use crate::world::Selected;
use normalize::History;
use queue::WorkQueue;
use std::sync::Arc;
use sync::{Message, Sync};

const PHASE: Purpose = Purpose::named("hpa.phase");
const RESYNC_PHASE: Purpose = Purpose::named("hpa.resync_phase");

/// What the controller keeps of one autoscaler.
#[derive(Default)]
struct Memory {
    history: History,
    /// Namespace and selector it registered at its last evaluation of metrics.
    selector: Option<(String, LabelSelector)>,
    /// The templates that it selects.
    selected: Selected,
    /// What its metrics are called, with the spec that has them.
    names: Option<(Arc<HpaSpec>, Vec<Arc<str>>)>,
    /// The sync in progress.
    sync: Option<Box<Sync>>,
    /// The one before: only its memory is used again.
    ended: Option<Box<Sync>>,
    /// Syncs begun, to key their delays.
    syncs: u64,
    /// What the status last written said beyond its fields.
    message: Message,
}

/// Its memory.
#[derive(Default)]
pub struct Hpa {
    autoscalers: Vec<Memory>,
    queue: WorkQueue,
    /// The first informer resync.
    first_resync: Time,
    /// The resync that is scheduled.
    resync: Option<Time>,
}

/// Why it may be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// The waiting entry of an autoscaler fires.
    Sync(HpaId),
    /// An autoscaler's spec changed.
    Changed(HpaId),
    /// The call that an autoscaler's sync is making returns.
    Returned(HpaId),
    /// The informer lists all autoscalers again.
    Resync,
}

impl Hpa {
    /// Autoscalers that exist at the start have run for long: their entries fire at any phase of the period.
    pub fn start(&mut self, cx: &mut Cx) {
        let flags = &cx.plan.flags.hpa;
        let period = flags.sync_period;
        let phase = flags.resync_phase.unwrap_or_else(|| cx.phase(RESYNC_PHASE, 0, period));
        self.first_resync = cx.now + phase;
        for index in 0..cx.world.hpas.len() {
            let hpa = HpaId::at(index);
            if !cx.world.hpas[index].exists {
                continue;
            }
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
            Event::Sync(hpa) => self.queue.fire(hpa, cx.now),
            Event::Returned(hpa) => self.returned(cx, hpa),
            Event::Resync if self.resync == Some(cx.now) => {
                self.resync = None;
                for index in 0..cx.world.hpas.len() {
                    if cx.world.hpas[index].exists {
                        self.enqueue(cx, HpaId::at(index), period);
                    }
                }
            }
            Event::Resync => {}
        }
        while let Some(hpa) = self.queue.take(cx.plan.flags.hpa.workers) {
            self.begin(cx, hpa);
        }
        self.await_resync(cx);
    }

    /// What a metric of an autoscaler is called.
    fn name_of(&mut self, hpa: HpaId, spec: &Arc<HpaSpec>, metric: usize) -> Arc<str> {
        let names = &mut self.memory(hpa).names;
        if names.as_ref().is_some_and(|(made_from, _)| !Arc::ptr_eq(made_from, spec)) {
            *names = None;
        }
        let all = || spec.metrics.iter().map(|metric| metrics::name_of(metric).into()).collect();
        names.get_or_insert_with(|| (spec.clone(), all())).1[metric].clone()
    }

    #[inline]
    fn memory(&mut self, hpa: HpaId) -> &mut Memory {
        if self.autoscalers.len() <= hpa.index() {
            self.remember_until(hpa);
        }
        &mut self.autoscalers[hpa.index()]
    }

    #[cold]
    fn remember_until(&mut self, last: HpaId) {
        self.autoscalers.resize_with(last.index() + 1, Memory::default);
    }

    /// Adds the entry of an autoscaler unless one is waiting.
    #[inline]
    fn enqueue(&mut self, cx: &mut Cx, hpa: HpaId, after: Span) {
        let at = cx.now + after;
        if self.queue.add_at(hpa, at) {
            cx.at(at, crate::components::Event::Hpa(Event::Sync(hpa)));
        }
    }

    /// A resync matters only to autoscalers whose entry has fired and that nothing has added again: as a sync that ends before it
    /// does.
    fn await_resync(&mut self, cx: &mut Cx) {
        if self.resync.is_some() || !self.queue.has_key_without_entry() {
            return;
        }
        let period = cx.plan.flags.hpa.sync_period;
        let past = cx.now.since(self.first_resync).micros();
        let rounds = if cx.now < self.first_resync { 0 } else { past / period.micros().max(1) + 1 };
        let next = self.first_resync + period * rounds;
        let mut returns = self.autoscalers.iter().filter_map(|memory| memory.sync.as_ref().map(|sync| sync.returns));
        if returns.any(|at| at < next) {
            // There is another look when that call has returned.
            return;
        }
        self.resync = Some(next);
        cx.at(next, crate::components::Event::Hpa(Event::Resync));
    }
}

#[cfg(test)]
mod tests;
