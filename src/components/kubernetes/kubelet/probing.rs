//! Drives the probe workers of a pod.

use super::prober::Worker;
use super::{Deed, Kind, Note, Outcome, PodWorker, Shared, nth_container, probe_of};
use crate::components::Cx;
use crate::engine::{Span, Time};
use crate::plan::{AppId, PodTemplate, Probe, ProbeHandler};
use crate::record::Decision;
use crate::record::decision::{Checked, Tried};
use crate::world::Process;

impl PodWorker {
    fn spec<'t>(&self, template: &'t PodTemplate, worker: usize) -> Option<&'t Probe> {
        let worker = &self.workers[worker];
        probe_of(nth_container(template, worker.container), worker.kind)
    }

    /// When a worker is next due.
    #[inline]
    pub(super) fn next_look(&self, cx: &Cx) -> Option<Time> {
        let template = cx.world.template_of(self.pod);
        let next = |worker: &Worker| {
            let probe = probe_of(nth_container(template, worker.container), worker.kind)?;
            let answers = || {
                // A rehearsed answer changes without anybody saying so, and so does that of an application with too much to do.
                let open = self.kept[worker.container].rehearsal.is_some() || self.waits(cx, probe).is_some();
                (!open).then(|| cx.world.pod(self.pod).process == Process::Answering)
            };
            worker.next(self.shown[worker.container].as_ref(), probe, answers, cx.now)
        };
        self.workers.iter().filter_map(next).min()
    }

    /// Workers that are due: attempts that end, ticks.
    pub(super) fn probe(&mut self, cx: &mut Cx, shared: &mut Shared) {
        for index in 0..self.workers.len() {
            match self.workers[index].attempt() {
                Some(attempt) if attempt.ends <= cx.now => self.end_attempt(cx, shared, index, attempt.outcome),
                Some(_) => {}
                None => {
                    if self.workers[index].wake(cx.now) {
                        self.look(cx, shared, index);
                    }
                }
            }
        }
    }

    /// A worker looks at its container, and probes it if that is called for.
    pub(super) fn look(&mut self, cx: &mut Cx, shared: &mut Shared, index: usize) {
        let template = cx.world.template_of(self.pod).clone();
        let Some(spec) = self.spec(&template, index) else { return };
        loop {
            let shown = self.shown[self.workers[index].container];
            let look = self.workers[index].look(shown.as_ref(), spec, cx.now);
            for value in look.set {
                self.value_set(cx, index, value);
            }
            if look.probe && !self.attempt(cx, shared, index, spec) {
                return;
            }
            if !self.workers[index].settle(cx.now) {
                return;
            }
        }
    }

    /// An attempt ends, by itself or because its container exited.
    pub(super) fn end_attempt(&mut self, cx: &mut Cx, shared: &mut Shared, index: usize, outcome: Outcome) {
        let template = cx.world.template_of(self.pod).clone();
        let Some(spec) = self.spec(&template, index) else { return };
        if let Some(place) = self.asked.iter().position(|&(worker, ..)| worker == index) {
            let (_, request, sent) = self.asked.swap_remove(place);
            cx.world.abandon_probe(request, self.pod, sent);
        }
        let again = !self.conclude(cx, shared, index, spec, outcome);
        if again && !self.attempt(cx, shared, index, spec) {
            return;
        }
        if self.workers[index].settle(cx.now) {
            self.look(cx, shared, index);
        }
    }

    /// The application has answered a probe that waited for it.
    pub(super) fn answered(&mut self, cx: &mut Cx, shared: &mut Shared, index: usize, passed: bool) {
        if let Some(place) = self.asked.iter().position(|&(worker, ..)| worker == index) {
            self.asked.swap_remove(place);
            self.end_attempt(cx, shared, index, if passed { Outcome::Ok } else { Outcome::Fail });
        }
    }

    /// A probe has to wait like a request: one that a worker of the application answers, while it takes long.
    #[inline]
    fn waits(&self, cx: &Cx, probe: &Probe) -> Option<AppId> {
        let asks = matches!(probe.handler, ProbeHandler::Http(_) | ProbeHandler::Grpc)
            && cx.world.pod(self.pod).process == Process::Answering
            && cx.world.is_strained(self.pod);
        if !asks {
            return None;
        }
        let app = cx.world.deployment_of(self.pod).and_then(|deployment| cx.plan.app_of(deployment));
        app.filter(|app| cx.plan.apps[app.index()].probes_wait())
    }

    /// Attempts until one is under way or all are over; true: they are over.
    fn attempt(&mut self, cx: &mut Cx, shared: &mut Shared, index: usize, spec: &Probe) -> bool {
        loop {
            let answer = self.answer(cx, index, spec);
            let attempt = self.workers[index].begin(cx.now, answer);
            if attempt.ends > cx.now {
                return false;
            }
            if self.conclude(cx, shared, index, spec, attempt.outcome) {
                return true;
            }
        }
    }

    /// What an attempt came to; false: it is tried again.
    fn conclude(&mut self, cx: &mut Cx, shared: &mut Shared, index: usize, spec: &Probe, outcome: Outcome) -> bool {
        let worker = &mut self.workers[index];
        let container = worker.container;
        if let Some(attempt) = worker.attempt().filter(|_| self.kept[container].rehearsal.is_some()) {
            let deed = Deed::Attempt(worker.kind, outcome);
            shared.notes.push(Note { at: attempt.began, pod: self.pod, container, run: attempt.run, deed });
        }
        let began = worker.attempt().map(|attempt| attempt.began);
        let Some(value) = worker.end(spec, outcome) else { return false };
        if cx.recorder.explains() {
            self.tell(cx, index, spec, (began.unwrap_or(cx.now), outcome), value);
        }
        if value.is_some() {
            self.value_set(cx, index, value);
        }
        true
    }

    /// For who wants to read it: the attempts in a row that changed a value.
    fn tell(&mut self, cx: &mut Cx, index: usize, spec: &Probe, (at, outcome): (Time, Outcome), value: Option<bool>) {
        let (passed, outcome) = match outcome {
            Outcome::Ok => (true, PASSED),
            Outcome::Fail => (false, "fails"),
            Outcome::Timeout => (false, "no answer in time"),
            Outcome::Error => return,
        };
        self.streaks.retain(|(worker, tried)| *worker != index || (tried.outcome == PASSED) == passed);
        self.streaks.push((index, Tried { at, outcome }));
        if value.is_none() {
            return;
        }
        let (decided, left) = std::mem::take(&mut self.streaks).into_iter().partition(|(worker, _)| *worker == index);
        self.streaks = left;
        let decided: Vec<(usize, Tried)> = decided;
        let worker = &self.workers[index];
        let container = &nth_container(cx.world.template_of(self.pod), worker.container).name;
        let kind = match worker.kind {
            Kind::Startup => "startup",
            Kind::Readiness => "readiness",
            Kind::Liveness => "liveness",
        };
        let first =
            if spec.initial_delay.is_zero() { "at once".into() } else { format!("after {}", spec.initial_delay) };
        let threshold = if passed { spec.success_threshold } else { spec.failure_threshold };
        let checked = Checked {
            pod: self.pod,
            target: None,
            what: format!("{kind} probe of container {container} (asks {first}, then every {})", spec.period),
            attempts: decided.into_iter().map(|(_, tried)| tried).collect(),
            threshold,
            passed,
            consequence: consequence(worker.kind, passed),
        };
        cx.recorder.decide(cx.now, || Decision::Checked(checked));
    }

    /// A value was set: the status follows, and a sync.
    fn value_set(&mut self, cx: &mut Cx, index: usize, value: Option<bool>) {
        let worker = &self.workers[index];
        let (kind, container, run) = (worker.kind, worker.container, worker.run());
        if kind == Kind::Liveness {
            self.requests += u32::from(value == Some(false));
        } else {
            self.value_changed(cx, container, kind, run, value == Some(true));
            self.requests += 1;
        }
    }

    /// What an attempt that begins now comes to, and when.
    fn answer(&mut self, cx: &mut Cx, index: usize, spec: &Probe) -> (Outcome, Span) {
        let worker = &self.workers[index];
        let Some(script) = &self.kept[worker.container].rehearsal else {
            if spec.handler == ProbeHandler::NoPort {
                return (Outcome::Error, Span::ZERO);
            }
            let answers = cx.world.pod(self.pod).process == Process::Answering;
            if let Some(app) = self.waits(cx, spec) {
                let number = u16::try_from(index).unwrap_or(u16::MAX);
                let request = cx.world.send_probe(app, self.pod, number, spec.timeout);
                self.asked.push((index, request, cx.now));
                return (Outcome::Timeout, spec.timeout);
            }
            return (if answers { Outcome::Ok } else { Outcome::Fail }, Span::ZERO);
        };
        let run = self.runs[worker.container].filter(|run| run.number == worker.run() && run.exited.is_none());
        let Some(run) = run else { return (Outcome::Error, Span::ZERO) };
        let age = cx.now.since(run.started);
        let answers = of_run(&script.answers[worker.kind as usize], run.number);
        let answer = answers.into_iter().flatten().rfind(|answer| answer.from <= age);
        let Some(answer) = answer else { return (Outcome::Ok, Span::ZERO) };
        if answer.latency > spec.timeout {
            return (Outcome::Timeout, spec.timeout);
        }
        let outcome = match answer.success {
            Some(true) => Outcome::Ok,
            Some(false) => Outcome::Fail,
            None => Outcome::Error,
        };
        (outcome, answer.latency)
    }

    /// The attempts on a run that exits are errors.
    pub(super) fn abort_attempts(&mut self, cx: &mut Cx, shared: &mut Shared, container: usize, run: u32) {
        for index in 0..self.workers.len() {
            let worker = &self.workers[index];
            let meant = worker.container == container && worker.attempt().is_some_and(|attempt| attempt.run == run);
            if meant && self.kept[container].rehearsal.is_some() {
                self.end_attempt(cx, shared, index, Outcome::Error);
            }
        }
    }
}

/// How the story calls an attempt that passed.
const PASSED: &str = "passes";

/// What a changed value leads to.
const fn consequence(kind: Kind, passed: bool) -> &'static str {
    match (kind, passed) {
        (Kind::Startup, true) => "the container counts as started, its other probes begin",
        (Kind::Readiness, true) => "the container is ready",
        (Kind::Liveness, true) => "the container is alive",
        (Kind::Readiness, false) => "the container is not ready: its pod leaves the endpoints",
        (Kind::Startup | Kind::Liveness, false) => "the kubelet kills and restarts the container",
    }
}

/// The entry of a run; the last one repeats.
pub(super) fn of_run<T>(list: &[T], run: u32) -> Option<&T> {
    list.get(run as usize).or(list.last())
}
