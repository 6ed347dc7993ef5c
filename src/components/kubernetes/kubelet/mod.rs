//! Kubelets: from binding to Ready, and from deletion to gone.
//!
//! ```text
//!  Added, Terminate, Status, relist reports, probe results ─► request ─(a newer runtime cache)─► sync ─► status, pokes,
//!  kills, starts ─► end ─► what was requested meanwhile          Probe ─► workers ─► World::set_container, set_pod_ready
//!  NodeJoined ─(NodeReady)─► World::post_node_status             Process ─► exits       terminated ─(ApiHop)─► gone
//! ```
//!
//! Source: `pkg/kubelet/{kubelet,pod_workers}.go`, `pleg/generic.go`, `prober/`, `images/`, `kuberuntime/`. What the
//! application does between start and end is somebody else's (`Pod::process`), or a rehearsal. Probes answer at once, unless
//! the application says that they wait (`App::probes_wait`) and the pod takes long to answer (`World::is_strained`): then a probe
//! by HTTP or gRPC is a request like any other, which waits for a worker and may time out. Left out: init containers take no
//! time and never fail; probes of sidecars (they count as passed once started); without a rehearsal containers of a pod exit
//! together; failing pulls; the sync that every pod makes each minute or so; eviction for pressure; graceful node shutdown.

mod fixed;
mod pod_worker;
pub mod prober;
mod probing;
pub mod pulls;
pub mod relists;
mod runtime;
mod status;

use crate::components::{self, Cx};
use crate::engine::{Purpose, Span, Time};
use crate::plan::flags::Rehearsal;
use crate::plan::{Container, ImageId, PodTemplate, Probe, Stage};
use crate::record::decision::Tried;
use crate::rules::taint::{Taint, TaintEffect};
use crate::world::{NodeId, NodeReadiness, PodId, PodPhase, Process, Renewals, RequestId, World};
use prober::{Kind, Outcome, Shown, Worker};
use pulls::Pulls;
use relists::{Relists, Run};
use std::collections::VecDeque;

const LEASE: Purpose = Purpose::named("kubelet.lease");
const RELIST: Purpose = Purpose::named("kubelet.relist");
const PROBE_PHASE: Purpose = Purpose::named("kubelet.probe_phase");

/// Where the one sync of a pod stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sync {
    /// None was asked for.
    Idle,
    /// One waits for a newer runtime cache.
    Waiting,
    /// One is under way.
    Running,
}

/// Something that a sync does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Volumes that are attached to the node have to come.
    Volumes,
    /// Other volumes and the sandbox.
    Sandbox,
    /// A container that does not run is to be started.
    Start(usize),
    /// Its image is being pulled.
    Pull(usize),
    /// It is being created.
    Create(usize),
    /// A container is to be killed.
    Kill(usize, Reason),
    /// A rehearsed container stops.
    Stop(usize),
    /// preStop runs.
    PreStop,
    /// SIGTERM was sent.
    Stopping,
    /// The containers of a deleted pod stop.
    Terminate,
    /// All are gone; the object follows.
    Removing,
}

/// Why a container is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Its liveness probe failed.
    Liveness,
    /// Its startup probe failed.
    Startup,
    /// The pod is deleted.
    Deleted,
}

/// What a rehearsed container did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    /// An attempt of a probe ended so; its time is its beginning.
    Attempt(Kind, Outcome),
    /// A run began.
    Start,
    /// A run ended.
    Exit,
    /// A kill began.
    Kill(Reason),
}

/// A line of the log of rehearsed containers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Note {
    /// When.
    pub at: Time,
    /// Its pod.
    pub pod: PodId,
    /// Its container.
    pub container: usize,
    /// Which run.
    pub run: u32,
    /// What happened.
    pub deed: Deed,
}

/// What a kubelet keeps of one pod.
struct PodWorker {
    pod: PodId,
    node: NodeId,
    /// It waits for the node's network.
    network: bool,
    sync: Sync,
    /// A request that came while one waits or runs.
    pending: bool,
    /// Requests that came while something is dealt with.
    requests: u32,
    /// The first sync began.
    began: bool,
    /// When the last sync ended.
    synced: Option<Time>,
    steps: VecDeque<Step>,
    step: Option<Step>,
    /// When the step ends; [`Time::MAX`]: somebody else ends it.
    due: Time,
    relists: Relists,
    relist_due: Option<Time>,
    relisted: Option<Time>,
    /// When a relist last reported something of the pod.
    reported: Option<Time>,
    sandbox: bool,
    /// The runtime's containers, and as the last relist saw them.
    runs: Vec<Option<Run>>,
    seen: Vec<Option<Run>>,
    seen_sandbox: bool,
    /// What else is kept of them.
    kept: Vec<OfContainer>,
    /// The published status of containers.
    shown: Vec<Option<Shown>>,
    /// The readiness gates are True in the published status.
    gates: bool,
    workers: Vec<Worker>,
    worker_due: Option<Time>,
    /// Probes that the application has not answered yet: worker, request, when it was sent.
    asked: Vec<(usize, RequestId, Time)>,
    /// The attempts in a row of each probe worker, only while somebody wants to read them.
    streaks: Vec<(usize, Tried)>,
    deleting: bool,
    terminating: bool,
    /// SIGKILL.
    kill_at: Time,
    /// A pull was noted and its end was not.
    pulling: bool,
    gone: bool,
}

/// What is kept of a container beside its runs.
struct OfContainer {
    /// Back-off after the last exit.
    wait: Span,
    /// Crashes that count for the next one.
    crashes: u32,
    /// A script.
    rehearsal: Option<Rehearsal>,
    /// When it exits by that script.
    exits: Time,
}

/// What all pods share.
#[derive(Default)]
struct Shared {
    pulls: Vec<Pulls>,
    notes: Vec<Note>,
    /// A status that was replaced, and containers that were poked: only their memory is used again.
    shown: Vec<Option<Shown>>,
    pokes: Vec<usize>,
}

/// Its memory.
#[derive(Default)]
pub struct Kubelet {
    pods: Vec<Option<Box<PodWorker>>>,
    shared: Shared,
    fixed: fixed::Fixed,
}

/// Why it may be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// A pod was bound to the node.
    Added(PodId),
    /// A pod of the node is being deleted.
    Terminate(PodId),
    /// A condition that Ready depends on was written by somebody else.
    Status(PodId),
    /// What the application does changed.
    Process(PodId),
    /// A kubelet registered its node.
    NodeJoined(NodeId),
    /// The machine died or came back.
    NodeAlive(NodeId),
    /// The node's network is up.
    NodeReady(NodeId),
    /// A pod is to be synced: a back-off is over, or it was long ago.
    Sync(PodId),
    /// A relist has something to report, or a sync waits for it.
    Relist(PodId),
    /// A step of a sync is over.
    Step(PodId),
    /// A probe may change something.
    Probe(PodId),
    /// The application answered the probe of a worker: in good order or not.
    Probed(PodId, u16, bool),
    /// A rehearsed container exits.
    Exit(PodId),
    /// An image pull of a node ends.
    Pulled(NodeId),
    /// A stage of a simulated kubelet is over.
    Stage(PodId),
    /// A volume was attached to a node.
    Volume(NodeId),
}

fn event(event: Event) -> components::Event {
    components::Event::Kubelet(event)
}

impl Kubelet {
    /// Takes over the pods that run already.
    pub fn start(&mut self, cx: &mut Cx) {
        for index in 0..cx.world.nodes.len() {
            let node = cx.world.node(NodeId::at(index));
            if node.gone.is_none() && node.alive {
                renew_lease(cx, NodeId::at(index));
            }
        }
        for index in 0..cx.world.pods.len() {
            let id = PodId::at(index);
            let pod = cx.world.pod(id);
            if pod.node.is_none() || pod.gone.is_some() || pod.is_finished() || cx.plan.flags.kubelet.fixed.is_some() {
                continue;
            }
            if pod.phase == PodPhase::Running && pod.deleting_since.is_none() {
                self.insert(cx, id);
                self.with(cx, id, |worker, cx, _| worker.take_over(cx));
            } else {
                self.added(cx, id);
            }
        }
    }

    /// Observe, decide, apply, schedule.
    pub fn handle(&mut self, cx: &mut Cx, event: Event) {
        if let Some(stages) = cx.plan.flags.kubelet.fixed
            && self.fixed.handle(cx, event, stages)
        {
            return;
        }
        match event {
            // Only simulated kubelets have stages.
            Event::Stage(_) => {}
            Event::Added(pod) => self.added(cx, pod),
            Event::Terminate(pod) => self.terminate(cx, pod),
            Event::Status(pod) => self.with(cx, pod, |worker, cx, _| worker.gate_written(cx)),
            Event::Process(pod) => self.with(cx, pod, PodWorker::process_changed),
            Event::NodeJoined(node) => node_joined(cx, node),
            Event::NodeAlive(node) => self.node_alive(cx, node),
            Event::NodeReady(node) => self.node_ready(cx, node),
            Event::Sync(pod) => self.with(cx, pod, |worker, _, _| worker.requests += u32::from(worker.began)),
            Event::Relist(pod) => self.with(cx, pod, |worker, cx, shared| {
                if worker.relist_due == Some(cx.now) {
                    worker.relist(cx, shared);
                }
            }),
            Event::Step(pod) => self.with(cx, pod, |worker, cx, shared| {
                if worker.due == cx.now {
                    worker.step_over(cx, shared);
                }
            }),
            Event::Probe(pod) => self.with(cx, pod, |worker, cx, shared| {
                if worker.worker_due == Some(cx.now) {
                    worker.probe(cx, shared);
                }
            }),
            Event::Probed(pod, worker, passed) => self.with(cx, pod, |kubelet, cx, shared| {
                kubelet.answered(cx, shared, usize::from(worker), passed);
            }),
            Event::Exit(pod) => self.with(cx, pod, PodWorker::rehearsed_exit),
            Event::Pulled(node) => self.pulled(cx, node),
            Event::Volume(node) => {
                for pod in cx.world.node(node).pods.clone() {
                    self.with(cx, pod, PodWorker::volumes_came);
                }
            }
        }
    }

    /// What rehearsed containers did since the last call.
    pub fn take_notes(&mut self) -> Vec<Note> {
        std::mem::take(&mut self.shared.notes)
    }

    /// Lets a pod's worker act if the pod exists on a machine that answers; the memory of a pod that is gone is given up.
    fn with(&mut self, cx: &mut Cx, pod: PodId, act: impl FnOnce(&mut PodWorker, &mut Cx, &mut Shared)) {
        let Some(slot) = self.pods.get_mut(pod.index()) else { return };
        let Some(node) = node_of(cx.world, pod) else {
            *slot = None;
            return;
        };
        if !cx.world.node(node).alive {
            return;
        }
        let Some(mut worker) = slot.take() else { return };
        act(&mut worker, cx, &mut self.shared);
        worker.settle(cx, &mut self.shared);
        if !worker.gone {
            worker.arm(cx);
            self.pods[pod.index()] = Some(worker);
        }
    }

    fn worker(&self, pod: PodId) -> Option<&PodWorker> {
        self.pods.get(pod.index()).and_then(Option::as_deref)
    }

    fn insert(&mut self, cx: &Cx, pod: PodId) {
        let Some(node) = node_of(cx.world, pod) else { return };
        if self.pods.len() <= pod.index() {
            self.pods.resize_with(pod.index() + 1, || None);
        }
        self.pods[pod.index()] = Some(Box::new(PodWorker::new(cx, pod, node)));
    }

    fn added(&mut self, cx: &mut Cx, pod: PodId) {
        let Some(node) = node_of(cx.world, pod) else { return };
        if self.worker(pod).is_some() || !cx.world.node(node).alive || cx.world.node(node).gone.is_some() {
            return;
        }
        if cx.world.pod(pod).deleting_since.is_some() {
            return self.terminate(cx, pod);
        }
        self.insert(cx, pod);
        if cx.world.node(node).is_ready() || cx.world.template_of(pod).host_network {
            self.with(cx, pod, |worker, _, _| worker.admit());
        }
    }

    /// Deletion was asked for, or its grace period was shortened.
    fn terminate(&mut self, cx: &mut Cx, pod: PodId) {
        if cx.world.pod(pod).gone.is_some() || cx.world.pod(pod).deleting_since.is_none() {
            return;
        }
        if cx.world.pod(pod).grace.is_zero() {
            // The API server removes the object at once.
            cx.world.remove_pod(pod);
        }
        if self.worker(pod).is_none() {
            self.insert(cx, pod);
        }
        self.with(cx, pod, PodWorker::delete);
    }

    /// Begins the pulls that may begin, and goes on with the pods whose image is there.
    fn pulled(&mut self, cx: &mut Cx, node: NodeId) {
        if !cx.world.node(node).alive {
            return;
        }
        let ended = self.shared.pulls_of(node).ended(cx.now);
        for &image in &ended {
            cx.world.add_node_image(node, image);
        }
        self.shared.start_pulls(cx, node);
        for pod in cx.world.node(node).pods.clone() {
            let waits_for = self.worker(pod).and_then(|worker| worker.image(cx.world));
            if waits_for.is_some_and(|image| ended.contains(&image)) {
                self.with(cx, pod, PodWorker::image_is_there);
            } else if waits_for.is_some_and(|image| self.shared.pulls_of(node).is_running(image)) {
                self.with(cx, pod, |worker, cx, _| worker.note_pulling(cx));
            }
        }
    }

    fn node_ready(&mut self, cx: &mut Cx, node: NodeId) {
        if !cx.world.node(node).alive || cx.world.node(node).gone.is_some() {
            return;
        }
        let status = cx.world.node(node).status;
        cx.world.post_node_status(node, NodeReadiness::Ready, status);
        for pod in cx.world.node(node).pods.clone() {
            match self.worker(pod).map(|worker| worker.network && !worker.deleting) {
                None => self.added(cx, pod),
                Some(true) => self.with(cx, pod, |worker, _, _| worker.admit()),
                Some(false) => {}
            }
        }
    }

    /// A dead machine does nothing more; one that returns starts its pods anew.
    fn node_alive(&mut self, cx: &mut Cx, node: NodeId) {
        let pods = cx.world.node(node).pods.clone();
        if !cx.world.node(node).alive {
            *self.shared.pulls_of(node) = Pulls::default();
            for pod in pods {
                if cx.world.pod(pod).process != Process::Absent {
                    cx.world.set_process(pod, Process::Vanished);
                }
            }
            return;
        }
        for pod in pods {
            cx.world.set_process(pod, if is_started(cx.world, pod) { Process::Ended } else { Process::Absent });
            if self.worker(pod).is_none() {
                self.added(cx, pod);
            } else {
                self.with(cx, pod, PodWorker::restart);
            }
        }
        renew_lease(cx, node);
        let hop = cx.delay(Stage::ApiHop, cx.world.node_key(node));
        cx.after(hop, event(Event::NodeReady(node)));
    }
}

/// The node of a pod whose object exists.
fn node_of(world: &World, pod: PodId) -> Option<NodeId> {
    world.pod(pod).node.filter(|_| world.pod(pod).gone.is_none())
}

fn is_started(world: &World, pod: PodId) -> bool {
    world.pod(pod).containers.iter().any(|status| status.running_since.is_some())
}

/// The relists of a node.
fn relists_of(cx: &Cx, node: NodeId) -> Relists {
    let flags = &cx.plan.flags.kubelet;
    let phase = flags.relist_phase.unwrap_or_else(|| cx.phase(RELIST, cx.world.node_key(node), flags.relist_period));
    Relists {
        first: cx.world.node(node).kubelet_started + phase,
        every: flags.relist_period + flags.relist_takes,
        takes: flags.relist_takes,
    }
}

/// The lease of a node is renewed for as long as its kubelet lives.
fn renew_lease(cx: &mut Cx, node: NodeId) {
    let period = cx.plan.flags.kubelet.lease_period;
    let first = cx.world.node(node).kubelet_started + cx.phase(LEASE, cx.world.node_key(node), period);
    // After an outage the next renewal comes at once.
    let first = if cx.world.node(node).renewals.is_empty() { first } else { cx.now };
    cx.world.begin_lease(node, Renewals { first, period, last: Time::MAX });
}

/// Admission taints a node that registers not Ready; it is Ready when its network is up.
fn node_joined(cx: &mut Cx, node: NodeId) {
    renew_lease(cx, node);
    if cx.world.node(node).is_ready() {
        return;
    }
    cx.world.add_taint(node, Taint::new("node.kubernetes.io/not-ready", TaintEffect::NoSchedule));
    let span = fixed::ready_after(cx, node).unwrap_or_else(|| cx.delay(Stage::NodeReady, cx.world.node_key(node)));
    if span < Span::MAX {
        cx.after(span, event(Event::NodeReady(node)));
    }
}

/// The image of a container if it has to be pulled.
fn missing_image(cx: &Cx, node: NodeId, container: &Container) -> Option<ImageId> {
    let cached = |image: &ImageId| cx.plan.images.get(image.index()).is_none_or(|spec| spec.cached);
    container.image_id.filter(|image| !cached(image) && !cx.world.node(node).images.contains(image))
}

/// A container by its number, init containers counted first.
#[inline]
fn nth_container(template: &PodTemplate, number: usize) -> &Container {
    let first = template.init_containers.len();
    if number < first { &template.init_containers[number] } else { &template.containers[number - first] }
}

#[inline]
fn probe_of(container: &Container, kind: Kind) -> Option<&Probe> {
    match kind {
        Kind::Startup => container.startup.as_ref(),
        Kind::Liveness => container.liveness.as_ref(),
        Kind::Readiness => container.readiness.as_ref(),
    }
}

#[cfg(test)]
mod tests;
