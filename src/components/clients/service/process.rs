//! The life of an application's process: it starts with its containers, answers, and stops.
//!
//! In: containers that start or stop, SIGTERM, machines that die. Out: World::set_process, and what was in flight at a process
//! that goes is cut off. Apache httpd `docs/manual/stopping` for what SIGTERM does.

use super::{Event, Inlet, Service};
use crate::components::Cx;
use crate::engine::{Purpose, Span, Time};
use crate::plan::{App, AppId};
use crate::world::{Loss, PodId, Process, Prospect, World};
use std::hint::cold_path;

const START: Purpose = Purpose::named("app.start");
const STOP: Purpose = Purpose::named("app.stop");

impl Service {
    /// What the application of a pod does may have changed.
    pub(super) fn process(&mut self, cx: &mut Cx, pod: PodId) {
        self.know(cx, pod);
        let process = cx.world.pod(pod).process;
        let app = self.pods[pod.index()].app.map(|id| &cx.plan.apps[id.index()]);
        let state = &mut self.pods[pod.index()];
        match process {
            Process::Starting if state.start_due.is_none() => {
                let span = app.map_or(Span::ZERO, |app| draw(cx, &app.start, START, pod));
                if span < Span::MAX {
                    state.start_due = Some(cx.now + span);
                    cx.after(span, crate::components::Event::Service(Event::Started(pod)));
                }
            }
            Process::Stopping if state.stop_due.is_none() => {
                let span = app.map_or(cx.plan.flags.serving.stop, |app| draw(cx, &app.stop, STOP, pod));
                if span < Span::MAX {
                    state.stop_due = Some(cx.now + span);
                    cx.after(span, crate::components::Event::Service(Event::Stopped(pod)));
                }
            }
            Process::Starting | Process::Answering | Process::Stopping => {}
            Process::Absent | Process::Ended | Process::Vanished => {
                state.start_due = None;
                state.stop_due = None;
                self.cut(cx, pod);
            }
        }
        if process != Process::Starting {
            self.pods[pod.index()].start_due = None;
        }
        if process == Process::Answering && !self.pods[pod.index()].answers {
            // A process that answers from the beginning is warm.
            self.pods[pod.index()].answers_since = if cx.now > cx.plan.start { cx.now } else { Time::ZERO };
        }
        self.pods[pod.index()].answers = process == Process::Answering;
        let Some(id) = self.pods[pod.index()].app else { return };
        self.work(cx, pod);
        let in_flow = self.apps[id.index()].stream.lanes.iter().any(|lane| lane.pod == pod);
        if in_flow {
            self.flow(cx, id);
        }
    }

    /// Everything in flight at a pod is cut off.
    pub(super) fn cut(&mut self, cx: &mut Cx, pod: PodId) {
        let state = &mut self.pods[pod.index()];
        for request in state.server.requests() {
            cx.world.lose_request(request, Loss::Cut);
            cx.world.free_request(request);
        }
        state.server.clear();
        state.patience.clear();
        state.connections.clear();
        let Some(app) = state.app else { return };
        self.integrate(cx, app);
        let ledger = &mut cx.world.ledgers[app.index()];
        for lane in self.apps[app.index()].stream.lanes.iter_mut().filter(|lane| lane.pod == pod) {
            lane.lose_backlog(cx.now, ledger, Loss::Cut);
        }
        cx.world.set_outlook(pod, Prospect::Open);
        self.pods[pod.index()].flow_usage = 0;
        self.balance(cx, pod);
    }

    pub(super) fn started(&mut self, cx: &mut Cx, pod: PodId) {
        let state = &mut self.pods[pod.index()];
        if state.start_due.is_some_and(|due| cx.now >= due) && cx.world.pod(pod).process == Process::Starting {
            state.start_due = None;
            if alive(cx.world, pod) {
                cx.world.set_process(pod, Process::Answering);
            }
        }
    }

    /// The process goes when its time is over and, if it drains, nothing is in flight.
    pub(super) fn stopped(&mut self, cx: &mut Cx, pod: PodId) {
        if self.pods[pod.index()].stop_due.is_none_or(|due| cx.now < due)
            || cx.world.pod(pod).process != Process::Stopping
            || !alive(cx.world, pod)
        {
            return;
        }
        let app = self.pods[pod.index()].app;
        if app.is_some_and(|app| cx.plan.apps[app.index()].finishes()) {
            if self.pods[pod.index()].server.in_flight() > 0 {
                return;
            }
            if let Some(left) = app.and_then(|app| self.backlog_left(cx, app, pod)) {
                cx.after(left, crate::components::Event::Service(Event::Stopped(pod)));
                return;
            }
        }
        self.pods[pod.index()].stop_due = None;
        cx.world.set_process(pod, Process::Ended);
    }

    /// How long until it is worth looking again whether the backlog of a pod is gone; `None`: it is.
    pub(super) fn backlog_left(&mut self, cx: &mut Cx, app: AppId, pod: PodId) -> Option<Span> {
        self.integrate(cx, app);
        let stream = &self.apps[app.index()].stream;
        let lane = stream.lanes.iter().find(|lane| lane.pod == pod && lane.backlog > 0)?;
        let empties = lane.empties(cx.now, stream.rate).map_or(Span::from_secs(1), |at| at - cx.now);
        Some(empties.max(Span::from_millis(1)))
    }
}

/// One draw for a run of a pod's process.
pub(super) fn draw(cx: &Cx, distribution: &crate::plan::Distribution, purpose: Purpose, pod: PodId) -> Span {
    let entry = cx.world.pod(pod);
    let restarts: u32 = entry.containers.iter().map(|container| container.restarts).sum();
    // Restarts are far above the ordinals of pods in the key.
    let key = entry.key() ^ (u64::from(restarts) << 24);
    cx.random.map_or_else(|| distribution.median(), |random| distribution.draw(random, purpose, key))
}

/// How a pod stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Standing {
    /// Its machine answers.
    pub alive: bool,
    /// Its process exists and uses CPU.
    pub runs: bool,
    /// Its process serves what comes.
    pub serves: bool,
    /// It exists, and what its process does.
    exists: bool,
    process: Process,
}

impl Standing {
    /// Now.
    #[inline(always)]
    pub(super) fn of(world: &World, pod: PodId) -> Standing {
        let entry = world.pod(pod);
        let alive = entry.node.is_none_or(|node| world.node(node).alive);
        let serves = matches!(entry.process, Process::Answering | Process::Stopping);
        let (exists, process) = (entry.gone.is_none(), entry.process);
        let runs = alive && exists && (serves || process == Process::Starting);
        Standing { alive, runs, serves: alive && serves, exists, process }
    }

    /// What a new connection to it meets.
    #[inline(always)]
    pub fn inlet(&self, app: &App) -> Inlet {
        if !self.alive || !self.exists {
            cold_path();
            return Inlet::Unreachable;
        }
        match self.process {
            Process::Answering => Inlet::Open,
            Process::Stopping if app.keeps_listening() => Inlet::Open,
            Process::Absent | Process::Starting | Process::Stopping | Process::Ended => Inlet::Refused,
            Process::Vanished => Inlet::Unreachable,
        }
    }
}

/// The machine of a pod answers.
#[inline]
pub(super) fn alive(world: &World, pod: PodId) -> bool {
    world.pod(pod).node.is_none_or(|node| world.node(node).alive)
}

/// A container of a pod started or stopped: when all application containers run, the process starts.
pub(super) fn container(cx: &mut Cx, pod: PodId) {
    let entry = cx.world.pod(pod);
    let init = cx.world.template_of(pod).init_containers.len();
    let run = entry.containers.iter().skip(init).all(|container| container.running_since.is_some());
    match (entry.process, run) {
        (Process::Absent | Process::Ended, true) if entry.gone.is_none() && !entry.is_terminating() => {
            cx.world.set_process(pod, Process::Starting);
        }
        (Process::Starting | Process::Answering, false) => cx.world.set_process(pod, Process::Absent),
        _ => {}
    }
}
