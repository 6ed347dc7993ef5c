//! Simulated kubelets: a controller moves pods through stages of fixed length, as KWOK does. Nothing is pulled, started or
//! probed; a pod that is deleted is gone after its stage, whatever its grace period.
//!
//! ```text
//!  bound ─ acknowledged ─► start time ─ running ─► address, container, Running ─ ready ─► Ready      deleted ─ gone ─► gone
//! ```
//!
//! Source: KWOK `kustomize/stage/pod/general`, `pkg/kwok/controllers/pod_controller.go`. Left out: jitter, Jobs that complete,
//! init containers (they are passed over).

use super::{Event, event};
use crate::components::Cx;
use crate::engine::{Purpose, Span, Time};
use crate::plan::flags::FixedStages;
use crate::plan::{Distribution, Stage};
use crate::world::{ContainerStatus, NodeId, NodeReadiness, PodId, PodPhase, Process};

const LATENESS: Purpose = Purpose::named("kubelet.fixed.lateness");

/// The stage that a pod waits for, and when it is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Acknowledged,
    Running,
    Ready,
    Gone,
}

/// Pods on their way, by pod.
#[derive(Default)]
pub struct Fixed {
    next: Vec<Option<(Next, Time)>>,
    /// When the next pod can be acknowledged.
    free: Time,
}

impl Fixed {
    /// Deals with what concerns pods and machines; false: the node's own affairs are left to the ordinary kubelet.
    pub fn handle(&mut self, cx: &mut Cx, event: Event, stages: FixedStages) -> bool {
        match event {
            Event::NodeJoined(_) => return false,
            Event::NodeReady(node) => node_ready(cx, node),
            Event::Added(pod) if self.get(pod).is_none() => {
                let turn = self.free.max(cx.now);
                self.free = turn + stages.pace;
                self.wait(cx, pod, Next::Acknowledged, stages.acknowledged + turn.since(cx.now));
            }
            Event::Terminate(pod) => self.terminate(cx, pod, stages),
            Event::Stage(pod) => {
                if let Some((stage, at)) = self.get(pod)
                    && at == cx.now
                    && cx.world.pod(pod).gone.is_none()
                {
                    self.pass(cx, pod, stage, stages);
                }
            }
            _ => {}
        }
        true
    }

    fn get(&self, pod: PodId) -> Option<(Next, Time)> {
        self.next.get(pod.index()).copied().flatten()
    }

    fn wait(&mut self, cx: &mut Cx, pod: PodId, stage: Next, span: Span) {
        if self.next.len() <= pod.index() {
            self.next.resize(pod.index() + 1, None);
        }
        let at = cx.now + span;
        self.next[pod.index()] = Some((stage, at));
        cx.at(at, event(Event::Stage(pod)));
    }

    fn terminate(&mut self, cx: &mut Cx, pod: PodId, stages: FixedStages) {
        let entry = cx.world.pod(pod);
        if entry.gone.is_some() || entry.deleting_since.is_none() || matches!(self.get(pod), Some((Next::Gone, _))) {
            return;
        }
        if entry.grace.is_zero() {
            return cx.world.remove_pod(pod);
        }
        let late = stages.lateness.map_or(Span::ZERO, |_| write(cx, pod, stages, Next::Gone));
        self.wait(cx, pod, Next::Gone, stages.gone + late);
    }

    fn pass(&mut self, cx: &mut Cx, pod: PodId, stage: Next, stages: FixedStages) {
        match stage {
            Next::Acknowledged => {
                cx.world.acknowledge_pod(pod);
                let rest = Span::from_micros(stages.running.micros().saturating_sub(stages.acknowledged.micros()));
                self.wait(cx, pod, Next::Running, rest + write(cx, pod, stages, Next::Running));
            }
            Next::Running => {
                cx.world.assign_address(pod);
                self.run(cx, pod, false);
                cx.world.set_pod_phase(pod, PodPhase::Running);
                cx.world.set_process(pod, Process::Answering);
                self.wait(cx, pod, Next::Ready, stages.ready + write(cx, pod, stages, Next::Ready));
            }
            Next::Ready => {
                self.run(cx, pod, true);
                cx.world.set_containers_ready(pod, true);
                for gate in 0..cx.world.template_of(pod).readiness_gates.len() {
                    cx.world.set_gate(pod, gate, true);
                }
                cx.world.set_pod_ready(pod, true);
                self.next[pod.index()] = None;
            }
            Next::Gone => {
                self.next[pod.index()] = None;
                cx.world.set_process(pod, Process::Ended);
                cx.world.remove_pod(pod);
            }
        }
    }

    /// All containers run, and are ready or not.
    fn run(&self, cx: &mut Cx, pod: PodId, ready: bool) {
        let first = cx.world.template_of(pod).init_containers.len();
        for index in first..cx.world.pod(pod).containers.len() {
            let since = cx.world.pod(pod).containers[index].running_since.or(Some(cx.now));
            let status = ContainerStatus { running_since: since, started: true, ready, restarts: 0 };
            cx.world.set_container(pod, index, status);
        }
    }
}

/// A stage ends with a write to the API server.
fn write(cx: &Cx, pod: PodId, stages: FixedStages, stage: Next) -> Span {
    let key = cx.world.pod(pod).key();
    match (stages.lateness, cx.random) {
        (Some(sigma), Some(random)) => {
            let median = cx.plan.timings.median(Stage::ApiHop);
            Distribution::Lognormal { median, sigma }.draw(random, LATENESS, key ^ (stage as u64) << 56)
        }
        (None, _) | (_, None) => cx.delay(Stage::ApiHop, key),
    }
}

fn node_ready(cx: &mut Cx, node: NodeId) {
    let entry = cx.world.node(node);
    if entry.gone.is_none() && entry.deleting_since.is_none() {
        let status = entry.status;
        cx.world.post_node_status(node, NodeReadiness::Ready, status);
    }
}

/// How long a node takes from now to Ready, where its kubelet is simulated or that is known.
pub fn ready_after(cx: &Cx, node: NodeId) -> Option<Span> {
    let entry = cx.world.node(node);
    let delays = &cx.plan.known_delays;
    let known = match entry.claim {
        Some(claim) => cx.world.known_machine(cx.plan, claim).and_then(|machine| delays.ready[machine]),
        None => delays.ready_of_node.get(&*entry.name).copied(),
    };
    let stages = cx.plan.flags.kubelet.fixed;
    known.or_else(|| stages.map(|stages| (entry.created.whole_second() + stages.node_ready).since(cx.now)))
}
