//! The pod worker: one sync at a time, each on a runtime cache that is newer than the end of the one before.
//!
//! Source: `pkg/kubelet/pod_workers.go`, `kubelet.go` (`SyncPod`), `kuberuntime_manager.go` (`computePodActions`).

use super::prober::Worker;
use super::relists::{Run, reports};
use super::{
    Event, Kind, OfContainer, PROBE_PHASE, PodWorker, Reason, Shared, Step, Sync, event, nth_container, probe_of,
    relists_of,
};
use crate::components::Cx;
use crate::engine::{Span, Time};
use crate::plan::PodTemplate;
use crate::world::{NodeId, PodId, Process};
use std::collections::VecDeque;
use std::sync::Arc;

impl PodWorker {
    /// A pod that waits for its node's network.
    pub(super) fn new(cx: &Cx, pod: PodId, node: NodeId) -> PodWorker {
        let template = cx.world.template_of(pod);
        let count = template.init_containers.len() + template.containers.len();
        let rehearsals = &cx.plan.flags.kubelet.rehearsals;
        let kept = |number: usize| {
            let rehearsal = rehearsals.get(&nth_container(template, number).name).cloned();
            OfContainer { wait: Span::ZERO, crashes: 0, rehearsal, exits: Time::MAX }
        };
        PodWorker {
            pod,
            node,
            network: true,
            sync: Sync::Idle,
            pending: false,
            requests: 0,
            began: false,
            synced: None,
            steps: VecDeque::new(),
            step: None,
            due: Time::MAX,
            relists: relists_of(cx, node),
            relist_due: None,
            relisted: None,
            reported: None,
            sandbox: false,
            runs: vec![None; count],
            seen: vec![None; count],
            seen_sandbox: false,
            kept: (0..count).map(kept).collect(),
            shown: vec![None; count],
            gates: false,
            workers: Vec::new(),
            worker_due: None,
            asked: Vec::new(),
            streaks: Vec::new(),
            deleting: false,
            terminating: false,
            kill_at: Time::MAX,
            pulling: false,
            gone: false,
        }
    }

    /// A pod that was running before the run began: its probes have settled, each at its own phase.
    pub(super) fn take_over(&mut self, cx: &mut Cx) {
        let template = cx.world.template_of(self.pod).clone();
        let entry = cx.world.pod(self.pod);
        let (key, settled) = (entry.key(), entry.process == Process::Answering);
        self.gates = entry.gate_conditions.iter().all(|gate| *gate == Some(true));
        for (index, status) in entry.containers.iter().enumerate() {
            let Some(started) = status.running_since else { continue };
            self.runs[index] = Some(Run { number: status.restarts, started, exited: None });
            self.shown[index] = Some(super::Shown {
                run: status.restarts,
                running: Some(started.whole_second()),
                started: status.started,
                ready: status.ready,
            });
        }
        self.seen = self.runs.clone();
        (self.network, self.began, self.sandbox, self.seen_sandbox) = (false, true, true, true);
        self.synced = Some(cx.now);
        for (container, kind, period) in probes_of(&template) {
            let tick = cx.now + cx.phase(PROBE_PHASE, key, period);
            let run = self.runs[container].map_or(0, |run| run.number);
            self.workers.push(if settled {
                Worker::settled(kind, container, period, tick, run)
            } else {
                Worker::new(kind, container, period, tick.back(period), Span::ZERO)
            });
        }
    }

    /// The node has its network: the first sync.
    pub(super) fn admit(&mut self) {
        self.network = false;
        self.requests += 1;
    }

    /// Deals with requests that came meanwhile, until there are none.
    pub(super) fn settle(&mut self, cx: &mut Cx, shared: &mut Shared) {
        while self.requests > 0 && !self.gone {
            self.requests -= 1;
            match self.sync {
                Sync::Idle => {
                    self.sync = Sync::Waiting;
                    self.try_begin(cx, shared);
                }
                Sync::Waiting | Sync::Running => self.pending = true,
            }
        }
    }

    /// Begins the sync that waits, if the runtime cache is newer than the end of the one before.
    fn try_begin(&mut self, cx: &mut Cx, shared: &mut Shared) {
        // What a relist reports of the pod itself is dated at the report.
        let own = self.reported > self.synced;
        if self.sync == Sync::Waiting && (own || self.relists.is_newer(self.synced, cx.now)) {
            self.begin_sync(cx, shared);
        }
    }

    /// A relist reports, one report after the other.
    pub(super) fn relist(&mut self, cx: &mut Cx, shared: &mut Shared) {
        self.relisted = Some(cx.now);
        let containers: usize = self.seen.iter().zip(&self.runs).map(|(seen, run)| reports(*seen, *run)).sum();
        let count = containers + usize::from(self.sandbox && !self.seen_sandbox);
        self.seen.clone_from(&self.runs);
        self.seen_sandbox = self.sandbox;
        if count > 0 {
            self.reported = Some(cx.now);
        }
        self.try_begin(cx, shared);
        for _ in 0..count {
            let others = std::mem::replace(&mut self.requests, 1);
            self.settle(cx, shared);
            self.requests += others;
        }
    }

    /// Status and pokes; workers if there are none; then kills and starts.
    fn begin_sync(&mut self, cx: &mut Cx, shared: &mut Shared) {
        self.sync = Sync::Running;
        if self.deleting {
            return self.begin_termination(cx, shared);
        }
        let first = !std::mem::replace(&mut self.began, true);
        if first {
            cx.world.set_start_time(self.pod);
            cx.world.set_containers_ready(self.pod, false);
            cx.world.set_pod_ready(self.pod, false);
        }
        self.publish(cx, shared);
        if first {
            self.make_workers(cx);
        }
        self.plan_steps(cx);
        self.next_step(cx, shared);
    }

    /// A worker of a young kubelet sleeps for a random part of its period first.
    fn make_workers(&mut self, cx: &Cx) {
        let template = cx.world.template_of(self.pod).clone();
        let key = cx.world.pod(self.pod).key();
        let age = cx.now.since(cx.world.node(self.node).kubelet_started);
        for (container, kind, period) in probes_of(&template) {
            let rehearsed = self.kept[container].rehearsal.as_ref().and_then(|script| script.initial_sleep);
            let sleep = || rehearsed.unwrap_or_else(|| cx.phase(PROBE_PHASE, key, period));
            let sleep = if period > age { sleep() } else { Span::ZERO };
            self.workers.push(Worker::new(kind, container, period, cx.now, sleep));
        }
    }

    /// What this sync has to do: the sandbox; the next init container; or kills, then starts in the order of the spec.
    fn plan_steps(&mut self, cx: &Cx) {
        let entry = cx.world.pod(self.pod);
        let first = cx.world.template_of(self.pod).init_containers.len();
        if !self.sandbox {
            self.steps.push_back(Step::Volumes);
            self.steps.push_back(Step::Sandbox);
        }
        if let Some(next) = (0..first).find(|&index| !entry.containers[index].ready) {
            return self.steps.push_back(Step::Start(next));
        }
        for index in first..self.seen.len() {
            self.steps.extend(self.kill_reason(index).map(|reason| Step::Kill(index, reason)));
        }
        let init = &cx.world.template_of(self.pod).init_containers;
        for index in 0..self.seen.len() {
            let runs = self.seen[index].is_some_and(|run| run.exited.is_none());
            let stays = runs && (index < first || self.kill_reason(index).is_none());
            // Of the init containers, sidecars that run no more are started again.
            if !stays && init.get(index).is_none_or(|container| container.restartable) {
                self.steps.push_back(Step::Start(index));
            }
        }
    }

    /// A running container whose liveness, else startup probe failed.
    #[inline]
    fn kill_reason(&self, container: usize) -> Option<Reason> {
        let run = self.seen[container].filter(|run| run.exited.is_none())?;
        let failed = |kind| {
            let worker = self.workers.iter().find(|worker| worker.container == container && worker.kind == kind);
            worker.and_then(|worker| worker.value_of(run.number)) == Some(Some(false))
        };
        if failed(Kind::Liveness) { Some(Reason::Liveness) } else { failed(Kind::Startup).then_some(Reason::Startup) }
    }

    /// The sync is over; what was requested meanwhile waits for a newer cache.
    pub(super) fn end_sync(&mut self, cx: &mut Cx) {
        self.synced = Some(cx.now);
        self.step = None;
        self.due = Time::MAX;
        self.sync = if std::mem::take(&mut self.pending) { Sync::Waiting } else { Sync::Idle };
    }

    /// Schedules the next relist and the next look of a worker that matter.
    pub(super) fn arm(&mut self, cx: &mut Cx) {
        let changed = self.seen != self.runs || self.sandbox != self.seen_sandbox;
        let after = self.relisted.map_or(cx.now, |relisted| cx.now.max(relisted + Span::from_micros(1)));
        let report = changed.then(|| self.relists.report_at_or_after(after));
        let newer = self.synced.filter(|_| self.sync == Sync::Waiting).map(|end| self.relists.begun_after(end));
        let relist = [report, newer].into_iter().flatten().min();
        if relist.is_some() && relist != self.relist_due {
            cx.at(relist.unwrap_or(cx.now), event(Event::Relist(self.pod)));
        }
        self.relist_due = relist;
        let next = self.next_look(cx).map(|at| at.max(cx.now));
        if let Some(at) = next.filter(|_| next != self.worker_due) {
            cx.at(at, event(Event::Probe(self.pod)));
        }
        self.worker_due = next;
    }

    /// The machine is back: nothing runs any more, and the kubelet begins anew.
    pub(super) fn restart(&mut self, cx: &mut Cx, shared: &mut Shared) {
        if self.network {
            return;
        }
        self.steps.clear();
        self.step = None;
        self.due = Time::MAX;
        self.pending = false;
        self.sync = Sync::Idle;
        self.worker_due = None;
        self.relist_due = None;
        self.terminating = false;
        self.pulling = false;
        if cx.world.pod(self.pod).address.is_none() {
            (self.sandbox, self.seen_sandbox) = (false, false);
        }
        self.exit_from(cx, shared, 0);
        self.synced = Some(cx.now);
        self.requests = 1;
    }
}

/// Probes of the application containers: startup, liveness, readiness, with their periods.
fn probes_of(template: &Arc<PodTemplate>) -> Vec<(usize, Kind, Span)> {
    let first = template.init_containers.len();
    let mut probes = Vec::new();
    for (index, container) in template.containers.iter().enumerate() {
        for kind in [Kind::Startup, Kind::Liveness, Kind::Readiness] {
            if let Some(probe) = probe_of(container, kind) {
                probes.push((first + index, kind, probe.period));
            }
        }
    }
    probes
}
