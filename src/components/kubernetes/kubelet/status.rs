//! The published status of a pod: computed by a sync from the runtime cache, or changed at once by a probe.
//!
//! Source: `pkg/kubelet/{kubelet_pods.go,status/status_manager.go,prober/prober_manager.go}`.

use super::{Kind, PodWorker, Shared, Shown};
use crate::components::Cx;
use crate::engine::Purpose;
use crate::world::{ContainerStatus, PodPhase};

const FIRST_PROBE: Purpose = Purpose::named("kubelet.first_probe");

impl PodWorker {
    /// Computes and writes the status, and pokes the readiness workers of containers that are not ready. A poked worker
    /// reads the status as it was if it is faster than the writer.
    pub(super) fn publish(&mut self, cx: &mut Cx, shared: &mut Shared) {
        let mut next = std::mem::take(&mut shared.shown);
        next.clear();
        next.extend((0..self.seen.len()).map(|index| self.compute(index)));
        let poked = |shown: &Option<Shown>| shown.is_some_and(|shown| shown.started && !shown.ready);
        let mut pokes = std::mem::take(&mut shared.pokes);
        pokes.clear();
        pokes.extend((0..next.len()).filter(|&index| poked(&next[index])));
        // Who is the first matters only to workers that are poked and to what was asked for meanwhile.
        let matters = !pokes.is_empty() || self.requests > 0;
        let written_first = matters && self.is_written_first(cx);
        if !written_first {
            self.poke(cx, shared, &pokes);
            // What a faster worker asks for is one request with what is pending; a slower one comes after the sync.
            self.pending |= std::mem::take(&mut self.requests) > 0;
        }
        std::mem::swap(&mut self.shown, &mut next);
        shared.shown = next;
        if !written_first && !pokes.is_empty() {
            self.heed_faster_workers(cx);
        }
        self.write(cx);
        if written_first {
            self.poke(cx, shared, &pokes);
        }
        shared.pokes = pokes;
    }

    /// The status is written before poked workers read it.
    fn is_written_first(&self, cx: &Cx) -> bool {
        let restarts: u32 = cx.world.pod(self.pod).containers.iter().map(|status| status.restarts).sum();
        let key = cx.world.pod(self.pod).key().wrapping_add(u64::from(restarts) << 48);
        cx.chance(FIRST_PROBE, key, cx.plan.flags.kubelet.first_probe_at_relist)
    }

    fn poke(&mut self, cx: &mut Cx, shared: &mut Shared, containers: &[usize]) {
        for index in 0..self.workers.len() {
            let worker = &mut self.workers[index];
            let meant = worker.kind == Kind::Readiness && containers.contains(&worker.container);
            if meant && worker.poke(cx.now) {
                self.look(cx, shared, index);
            }
        }
    }

    /// A container's status from the runtime cache and the values of its workers.
    fn compute(&self, container: usize) -> Option<Shown> {
        let run = self.seen[container]?;
        let value = |kind: Kind| {
            let mut workers =
                self.workers.iter().filter(|worker| worker.container == container && !worker.is_stopped());
            workers.find(|worker| worker.kind == kind).map(|worker| worker.value_of(run.number) == Some(Some(true)))
        };
        let runs = run.exited.is_none();
        let started = runs && value(Kind::Startup).unwrap_or(true);
        Some(Shown {
            run: run.number,
            running: runs.then(|| run.started.whole_second()),
            started,
            ready: started && value(Kind::Readiness).unwrap_or(true),
        })
    }

    /// A poked worker that was faster than the writer has its say.
    fn heed_faster_workers(&mut self, cx: &Cx) {
        let first = cx.world.template_of(self.pod).init_containers.len();
        for index in first..self.shown.len() {
            let ready = self.compute(index).is_some_and(|shown| shown.ready);
            if let Some(shown) = &mut self.shown[index] {
                shown.ready = ready;
            }
        }
    }

    /// Writes what is shown.
    fn write(&mut self, cx: &mut Cx) {
        let first = cx.world.template_of(self.pod).init_containers.len();
        (first..self.shown.len()).for_each(|index| self.write_container(cx, index));
        if self.shown[first..].iter().any(Option::is_some) {
            cx.world.set_pod_phase(self.pod, PodPhase::Running);
        }
        self.gates = gates_are_true(cx, self);
        self.write_conditions(cx);
    }

    fn write_container(&mut self, cx: &mut Cx, container: usize) {
        let status = cx.world.pod(self.pod).containers[container];
        let (started, ready) = self.shown[container].map_or((false, false), |shown| (shown.started, shown.ready));
        cx.world.set_container(self.pod, container, ContainerStatus { started, ready, ..status });
    }

    /// Conditions ContainersReady and Ready, from the containers and the readiness gates.
    fn write_conditions(&self, cx: &mut Cx) {
        let ready = self.containers_are_ready(cx);
        cx.world.set_containers_ready(self.pod, ready);
        cx.world.set_pod_ready(self.pod, ready && self.gates);
    }

    fn containers_are_ready(&self, cx: &Cx) -> bool {
        let first = cx.world.template_of(self.pod).init_containers.len();
        self.shown[first..].iter().all(|shown| shown.is_some_and(|shown| shown.ready))
    }

    /// A startup or readiness value changed: the status of that run follows at once.
    pub(super) fn value_changed(&mut self, cx: &mut Cx, container: usize, kind: Kind, run: u32, value: bool) {
        let Some(shown) = self.shown[container].as_mut().filter(|shown| shown.run == run) else { return };
        match kind {
            Kind::Startup => shown.started = value,
            Kind::Readiness => shown.ready = value,
            Kind::Liveness => return,
        }
        self.write_container(cx, container);
        if kind == Kind::Readiness {
            self.write_conditions(cx);
        }
    }

    /// Somebody wrote a readiness gate: a sync follows if Ready is out of date.
    pub(super) fn gate_written(&mut self, cx: &mut Cx) {
        let ready = self.containers_are_ready(cx) && gates_are_true(cx, self);
        if self.began && ready != cx.world.pod(self.pod).is_ready() {
            self.requests += 1;
        }
    }
}

fn gates_are_true(cx: &Cx, worker: &PodWorker) -> bool {
    cx.world.pod(worker.pod).gate_conditions.iter().all(|gate| *gate == Some(true))
}
