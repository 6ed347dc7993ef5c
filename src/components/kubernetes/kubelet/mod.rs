//! Kubelets: from binding to Ready, and from deletion to gone.
//!
//! ```text
//!  NodeJoined ─(NodeReady)─► World::set_node_readiness
//!  Added ─► sandbox ─► pull, start, pull, start ... ─► relist shows it ─► probes ─► World::set_pod_ready
//!  Process ─► a probe that can change something is scheduled        Status ─► World::set_pod_ready
//!  Terminate ─► preStop ─► SIGTERM (Process::Stopping) ─► ended or killed ─(ApiHop)─► World::remove_pod
//! ```
//!
//! Source: `pkg/kubelet/{kubelet,pod_workers}.go`, `pleg/generic.go`, `prober/`, `images/`, `kuberuntime/`. What the
//! application does between start and end is somebody else's (`Pod::process`). Left out: init containers take no time
//! and never fail; probes of sidecars (they count as passed once started); containers of a pod exit together; failing
//! pulls; the 10 ms a probe takes; eviction for pressure; graceful node shutdown.

pub mod probe;
pub mod pulls;

use crate::components::{self, Cx};
use crate::engine::{Purpose, Span, Time};
use crate::plan::{Container, ImageId, PodTemplate, Probe, Stage};
use crate::rules::taint::{Taint, TaintEffect};
use crate::world::{ContainerStatus, NodeId, NodeReadiness, PodId, PodPhase, Process, Renewals, World};
use probe::{Kind, Ticks, Verdict, Worker, delay_is_over, relist_at_or_after, restart_backoff};
use pulls::Pulls;
use std::sync::Arc;

const LEASE: Purpose = Purpose::named("kubelet.lease");
const RELIST: Purpose = Purpose::named("kubelet.relist");
const FIRST_PROBE: Purpose = Purpose::named("kubelet.first_probe");
const PROBE_PHASE: Purpose = Purpose::named("kubelet.probe_phase");

/// A container gets at least this long between SIGTERM and SIGKILL. Source: `minimumGracePeriodInSeconds`.
const GRACE_MIN: Span = Span::from_secs(2);

/// How far a pod has come on its node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// The node has no network yet.
    Network,
    /// Volumes and sandbox.
    Sandbox,
    /// Waits for the image of a container.
    Pull(usize),
    /// A container is being started.
    Start(usize),
    /// An init container is done (or a sidecar runs); a relist shows it.
    Init(usize),
    /// All containers run; a relist shows it.
    Started,
    /// Shown as running.
    Running,
    /// preStop runs.
    PreStop,
    /// SIGTERM was sent.
    Stopping,
    /// The containers have exited; a relist shows it.
    Exited,
    /// Waits for its restart.
    Backoff,
    /// All containers are gone; the object follows.
    Removing,
}

/// What a kubelet keeps of one pod.
struct PodWorker {
    step: Step,
    /// When the step ends; [`Time::MAX`]: somebody else ends it.
    due: Time,
    probes: Vec<Worker>,
    probe_due: Option<Time>,
    probed: Option<Time>,
    terminating: bool,
    /// SIGKILL.
    kill_at: Time,
    /// A pull was noted and its end was not.
    pulling: bool,
    /// Restarts that count for the backoff.
    restarts: u32,
    exited: Time,
}

/// Its memory.
#[derive(Default)]
pub struct Kubelet {
    pods: Vec<Option<Box<PodWorker>>>,
    pulls: Vec<Pulls>,
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
    /// A step of a pod is over.
    Step(PodId),
    /// A probe may change something.
    Probe(PodId),
    /// An image pull of a node ends.
    Pulled(NodeId),
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
            if pod.node.is_none() || pod.gone.is_some() || pod.is_finished() {
                continue;
            }
            if pod.phase == PodPhase::Running && pod.deleting_since.is_none() {
                self.take_over(cx, id);
            } else {
                self.added(cx, id);
            }
        }
    }

    /// Observe, decide, apply, schedule.
    pub fn handle(&mut self, cx: &mut Cx, event: Event) {
        match event {
            Event::Added(pod) => self.added(cx, pod),
            Event::Terminate(pod) => self.terminate(cx, pod),
            Event::Status(pod) => {
                if node_of(cx.world, pod).is_some_and(|node| cx.world.node(node).alive) {
                    publish(cx, pod);
                }
            }
            Event::Process(pod) => self.process_changed(cx, pod),
            Event::NodeJoined(node) => node_joined(cx, node),
            Event::NodeAlive(node) => self.node_alive(cx, node),
            Event::NodeReady(node) => self.node_ready(cx, node),
            Event::Step(pod) => {
                if self.on_living_node(cx, pod) && self.worker(pod).is_some_and(|worker| worker.due == cx.now) {
                    self.step(cx, pod);
                }
            }
            Event::Probe(pod) => {
                if self.on_living_node(cx, pod) && self.worker(pod).is_some_and(|entry| entry.probe_due == Some(cx.now))
                {
                    self.probe(cx, pod);
                }
            }
            Event::Pulled(node) => self.pulled(cx, node),
        }
    }

    fn worker(&mut self, pod: PodId) -> Option<&mut PodWorker> {
        self.pods.get_mut(pod.index()).and_then(Option::as_deref_mut)
    }

    /// The pod exists on a machine that answers; the memory of a pod that is gone is given up.
    fn on_living_node(&mut self, cx: &Cx, pod: PodId) -> bool {
        match node_of(cx.world, pod) {
            Some(node) => cx.world.node(node).alive,
            None => {
                if let Some(entry) = self.pods.get_mut(pod.index()) {
                    *entry = None;
                }
                false
            }
        }
    }

    /// Sets the step of a pod, to end after `span`.
    fn set_step(&mut self, cx: &mut Cx, pod: PodId, step: Step, span: Option<Span>) {
        let due = span.map_or(Time::MAX, |span| cx.now + span);
        let Some(worker) = self.worker(pod) else { return };
        worker.step = step;
        worker.due = due;
        if due < Time::MAX {
            cx.at(due, event(Event::Step(pod)));
        }
    }

    fn insert(&mut self, pod: PodId, step: Step, probes: Vec<Worker>) {
        if self.pods.len() <= pod.index() {
            self.pods.resize_with(pod.index() + 1, || None);
        }
        self.pods[pod.index()] = Some(Box::new(PodWorker {
            step,
            due: Time::MAX,
            probes,
            probe_due: None,
            probed: None,
            terminating: false,
            kill_at: Time::MAX,
            pulling: false,
            restarts: 0,
            exited: Time::ZERO,
        }));
    }

    /// A pod that was running before the run began: its probes have settled, each at its own phase.
    fn take_over(&mut self, cx: &mut Cx, pod: PodId) {
        let key = cx.world.pod(pod).key();
        let now = cx.now;
        let anchor = |period: Span| now + cx.phase(PROBE_PHASE, key, period);
        let mut workers = probes_of(cx.world.template_of(pod), anchor);
        if cx.world.pod(pod).process == Process::Answering {
            workers = workers.into_iter().map(Worker::settled).collect();
        }
        self.insert(pod, Step::Running, workers);
        self.arm_probes(cx, pod);
    }

    fn added(&mut self, cx: &mut Cx, pod: PodId) {
        let Some(node) = node_of(cx.world, pod) else { return };
        if self.worker(pod).is_some() || !cx.world.node(node).alive || cx.world.node(node).gone.is_some() {
            return;
        }
        if cx.world.pod(pod).deleting_since.is_some() {
            return self.terminate(cx, pod);
        }
        let host_network = cx.world.template_of(pod).host_network;
        self.insert(pod, Step::Network, Vec::new());
        if cx.world.node(node).is_ready() || host_network {
            self.begin(cx, pod, node);
        }
    }

    /// The first sync: status, probe workers, sandbox.
    fn begin(&mut self, cx: &mut Cx, pod: PodId, node: NodeId) {
        cx.world.set_start_time(pod);
        cx.world.set_containers_ready(pod, false);
        cx.world.set_pod_ready(pod, false);
        let key = cx.world.pod(pod).key();
        let age = cx.now.since(cx.world.node(node).kubelet_started);
        // A worker of a young kubelet sleeps for a random part of its period first.
        let sleep = |period: Span| if period > age { cx.phase(PROBE_PHASE, key, period) } else { Span::ZERO };
        let now = cx.now;
        let workers = probes_of(cx.world.template_of(pod), |period| now + sleep(period));
        if let Some(worker) = self.worker(pod) {
            worker.probes = workers;
        }
        let span = cx.delay(Stage::PodSandbox, key);
        self.set_step(cx, pod, Step::Sandbox, Some(span));
    }

    /// The present step of a pod is over.
    fn step(&mut self, cx: &mut Cx, pod: PodId) {
        let Some(step) = self.worker(pod).map(|worker| worker.step) else { return };
        match step {
            Step::Network | Step::Pull(_) | Step::Running => {}
            Step::Sandbox => {
                if cx.world.pod(pod).address.is_none() {
                    cx.world.assign_address(pod);
                }
                self.advance(cx, pod, 0);
            }
            Step::Start(container) => self.container_started(cx, pod, container),
            Step::Init(container) => self.advance(cx, pod, container + 1),
            Step::Started => self.shown(cx, pod),
            Step::PreStop => self.send_sigterm(cx, pod),
            Step::Stopping => {
                cx.world.set_process(pod, Process::Ended);
                self.stopped(cx, pod);
            }
            Step::Exited => self.exit_shown(cx, pod),
            Step::Backoff => {
                let first = cx.world.template_of(pod).init_containers.len();
                self.advance(cx, pod, first);
            }
            Step::Removing => {
                cx.world.remove_pod(pod);
                self.pods[pod.index()] = None;
            }
        }
    }

    /// Pulls and starts the containers from `container` on that do not run.
    fn advance(&mut self, cx: &mut Cx, pod: PodId, container: usize) {
        let template = cx.world.template_of(pod).clone();
        let Some(node) = node_of(cx.world, pod) else { return };
        let statuses = &cx.world.pod(pod).containers;
        let next = (container..statuses.len()).find(|&index| statuses[index].running_since.is_none());
        let Some(next) = next else {
            let span = relist_after(cx, node, cx.now) - cx.now;
            return self.set_step(cx, pod, Step::Started, Some(span));
        };
        match missing_image(cx, node, nth_container(&template, next)) {
            Some(image) => {
                self.set_step(cx, pod, Step::Pull(next), None);
                self.pulls_of(node).want(image);
                if self.pulls_of(node).is_running(image) {
                    self.note_pulling(cx, pod);
                }
                self.start_pulls(cx, node);
            }
            None => self.start_container(cx, pod, next),
        }
    }

    fn start_container(&mut self, cx: &mut Cx, pod: PodId, container: usize) {
        let entry = cx.world.pod(pod);
        let run = u64::from(entry.containers[container].restarts) << 8 | container as u64;
        let key = entry.key().wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(run);
        let span = cx.delay(Stage::ContainerStart, key);
        self.set_step(cx, pod, Step::Start(container), Some(span));
    }

    fn container_started(&mut self, cx: &mut Cx, pod: PodId, container: usize) {
        let template = cx.world.template_of(pod).clone();
        let Some(node) = node_of(cx.world, pod) else { return };
        let restarts = cx.world.pod(pod).containers[container].restarts;
        let status = ContainerStatus { running_since: Some(cx.now), started: false, ready: false, restarts };
        cx.world.set_container(pod, container, status);
        if container >= template.init_containers.len() {
            return self.advance(cx, pod, container + 1);
        }
        let done = if template.init_containers[container].restartable {
            ContainerStatus { started: true, ready: true, ..status }
        } else {
            ContainerStatus { running_since: None, ready: true, ..status }
        };
        cx.world.set_container(pod, container, done);
        let span = relist_after(cx, node, cx.now) - cx.now;
        self.set_step(cx, pod, Step::Init(container), Some(span));
    }

    /// The relist that shows the containers: phase, first values, pokes of the readiness workers.
    fn shown(&mut self, cx: &mut Cx, pod: PodId) {
        let template = cx.world.template_of(pod).clone();
        cx.world.set_pod_phase(pod, PodPhase::Running);
        let first = template.init_containers.len();
        for (index, container) in template.containers.iter().enumerate() {
            let status = cx.world.pod(pod).containers[first + index];
            let started = container.startup.is_none();
            let ready = started && container.readiness.is_none();
            cx.world.set_container(pod, first + index, ContainerStatus { started, ready, ..status });
        }
        let flags = &cx.plan.flags.kubelet;
        let restarts: u32 = cx.world.pod(pod).containers.iter().map(|status| status.restarts).sum();
        let key = cx.world.pod(pod).key().wrapping_add(u64::from(restarts) << 48);
        let at_first = cx.chance(FIRST_PROBE, key, flags.first_probe_at_relist);
        let now = cx.now;
        if let Some(worker) = self.worker(pod) {
            for probe in worker.probes.iter_mut().filter(|probe| probe.kind == Kind::Readiness) {
                let period = nth_probe(&template, probe).map_or(flags.relist_period, |spec| spec.period);
                probe.ticks = Ticks::poked(now, flags.relist_period, period, at_first);
            }
        }
        self.set_step(cx, pod, Step::Running, None);
        publish(cx, pod);
        self.arm_probes(cx, pod);
    }

    /// Schedules the next probe that can change something.
    fn arm_probes(&mut self, cx: &mut Cx, pod: PodId) {
        let template = cx.world.template_of(pod).clone();
        let world = &*cx.world;
        let Some(worker) = self.pods.get_mut(pod.index()).and_then(Option::as_deref_mut) else { return };
        let answers = world.pod(pod).process == Process::Answering;
        let from = if worker.probed == Some(cx.now) { cx.now + Span::from_micros(1) } else { cx.now };
        let next = worker
            .probes
            .iter()
            .filter(|probe| !probe.is_at_rest(answers) && is_active(world, pod, worker, probe))
            .filter_map(|probe| {
                let spec = nth_probe(&template, probe)?;
                let started = world.pod(pod).containers[probe.container].running_since?;
                Some(probe.ticks.at_or_after(from.max(started.whole_second() + spec.initial_delay)))
            })
            .min();
        worker.probe_due = next;
        if let Some(next) = next {
            cx.at(next, event(Event::Probe(pod)));
        }
    }

    /// Runs the probes that are due: startup, then liveness, then readiness.
    fn probe(&mut self, cx: &mut Cx, pod: PodId) {
        let template = cx.world.template_of(pod).clone();
        let answers = cx.world.pod(pod).process == Process::Answering;
        let Some(worker) = self.worker(pod) else { return };
        worker.probed = Some(cx.now);
        let mut poked = None;
        for index in 0..worker.probes.len() {
            let probe = &worker.probes[index];
            let Some(spec) = nth_probe(&template, probe) else { continue };
            let status = cx.world.pod(pod).containers[probe.container];
            let delayed = !status.running_since.is_some_and(|started| delay_is_over(spec, started, cx.now));
            let due = probe.ticks.at_or_after(cx.now) == cx.now || poked == Some(probe.container);
            if !due || delayed || probe.hold || !is_active(cx.world, pod, worker, probe) {
                continue;
            }
            let probe = &mut worker.probes[index];
            let container = probe.container;
            if probe.kind == Kind::Readiness && poked == Some(container) {
                probe.ticks = Ticks::every(cx.now, spec.period);
            }
            match (probe.kind, probe.count(spec, answers)) {
                (_, Verdict::None) | (Kind::Liveness, Verdict::Changed(true)) => {}
                (Kind::Startup, Verdict::Changed(true)) => {
                    // The sync that follows pokes the readiness worker at once.
                    poked = Some(container);
                    let ready = nth_container(&template, container).readiness.is_none();
                    cx.world.set_container(pod, container, ContainerStatus { started: true, ready, ..status });
                }
                (Kind::Readiness, Verdict::Changed(ready)) => {
                    if !ready {
                        probe.ticks = Ticks::every(cx.now, spec.period);
                    }
                    cx.world.set_container(pod, container, ContainerStatus { ready, ..status });
                }
                (Kind::Startup | Kind::Liveness, Verdict::Changed(false)) => {
                    let grace = spec.termination_grace.unwrap_or(template.termination_grace);
                    let pre_stop = nth_container(&template, container).pre_stop.unwrap_or(Span::ZERO);
                    publish(cx, pod);
                    return self.stop(cx, pod, grace, pre_stop);
                }
            }
        }
        publish(cx, pod);
        self.arm_probes(cx, pod);
    }

    fn process_changed(&mut self, cx: &mut Cx, pod: PodId) {
        if !self.on_living_node(cx, pod) {
            return;
        }
        let Some((step, terminating)) = self.worker(pod).map(|worker| (worker.step, worker.terminating)) else {
            return;
        };
        if cx.world.pod(pod).process == Process::Ended {
            match step {
                Step::Stopping => return self.stopped(cx, pod),
                Step::Running | Step::Started if !terminating => return self.stopped(cx, pod),
                _ => {}
            }
        }
        self.arm_probes(cx, pod);
    }

    /// Deletion was asked for, or its grace period was shortened.
    fn terminate(&mut self, cx: &mut Cx, pod: PodId) {
        if cx.world.pod(pod).gone.is_some() || cx.world.pod(pod).deleting_since.is_none() {
            return;
        }
        let grace = cx.world.pod(pod).grace;
        if grace.is_zero() {
            // The API server removes the object at once.
            cx.world.remove_pod(pod);
        }
        if !self.on_living_node(cx, pod) {
            return;
        }
        if self.worker(pod).is_none() {
            self.insert(pod, Step::Network, Vec::new());
        }
        let Some(worker) = self.worker(pod) else { return };
        if worker.terminating {
            return self.shorten(cx, pod, grace);
        }
        let was_stopping = matches!(worker.step, Step::PreStop | Step::Stopping);
        worker.terminating = true;
        if was_stopping {
            // Killed for its liveness already: the rest of the way is the same.
            return self.shorten(cx, pod, grace);
        }
        let template = cx.world.template_of(pod).clone();
        let first = template.init_containers.len();
        let running = cx.world.pod(pod).containers[first..].iter().any(|status| status.running_since.is_some());
        if running {
            let pre_stop = template.containers.iter().filter_map(|container| container.pre_stop).max();
            self.stop(cx, pod, grace, pre_stop.unwrap_or(Span::ZERO));
            self.arm_probes(cx, pod);
        } else {
            self.stopped(cx, pod);
        }
    }

    fn shorten(&mut self, cx: &mut Cx, pod: PodId, grace: Span) {
        let end = cx.now + grace;
        let Some(worker) = self.worker(pod) else { return };
        worker.kill_at = worker.kill_at.min(end);
        let step = worker.step;
        if matches!(step, Step::PreStop | Step::Stopping) && worker.due > end {
            self.set_step(cx, pod, step, Some(grace));
        }
    }

    /// preStop, then SIGTERM, within the grace period.
    fn stop(&mut self, cx: &mut Cx, pod: PodId, grace: Span, pre_stop: Span) {
        let kill_at = cx.now + grace;
        if let Some(worker) = self.worker(pod) {
            worker.kill_at = kill_at;
        }
        if pre_stop.is_zero() {
            self.send_sigterm(cx, pod);
        } else {
            self.set_step(cx, pod, Step::PreStop, Some(pre_stop.min(grace)));
        }
    }

    fn send_sigterm(&mut self, cx: &mut Cx, pod: PodId) {
        match cx.world.pod(pod).process {
            Process::Absent | Process::Ended | Process::Vanished => self.stopped(cx, pod),
            Process::Starting | Process::Answering | Process::Stopping => {
                let Some(kill_at) = self.worker(pod).map(|worker| worker.kill_at) else { return };
                cx.world.set_process(pod, Process::Stopping);
                let rest = kill_at.since(cx.now).max(GRACE_MIN);
                self.set_step(cx, pod, Step::Stopping, Some(rest));
            }
        }
    }

    /// The application has ended: its containers stop; then the object goes, or they are restarted.
    fn stopped(&mut self, cx: &mut Cx, pod: PodId) {
        let Some(node) = node_of(cx.world, pod) else { return };
        let now = cx.now;
        let Some(worker) = self.worker(pod) else { return };
        worker.probe_due = None;
        worker.exited = now;
        let terminating = worker.terminating;
        for index in 0..cx.world.pod(pod).containers.len() {
            let status = cx.world.pod(pod).containers[index];
            let init = index < cx.world.template_of(pod).init_containers.len();
            if status.running_since.is_some() && (terminating || !init) {
                cx.world.set_container(pod, index, ContainerStatus { running_since: None, ..status });
            }
        }
        if terminating {
            let hop = cx.delay(Stage::ApiHop, cx.world.pod(pod).key());
            self.set_step(cx, pod, Step::Removing, Some(hop));
        } else {
            let span = relist_after(cx, node, cx.now) - cx.now;
            self.set_step(cx, pod, Step::Exited, Some(span));
        }
    }

    /// The relist that shows the exit: not ready, and a restart when its backoff is over.
    fn exit_shown(&mut self, cx: &mut Cx, pod: PodId) {
        let flags = &cx.plan.flags.kubelet;
        let first = cx.world.template_of(pod).init_containers.len();
        for index in first..cx.world.pod(pod).containers.len() {
            let status = cx.world.pod(pod).containers[index];
            let restarts = status.restarts + 1;
            let next = ContainerStatus { running_since: None, started: false, ready: false, restarts };
            cx.world.set_container(pod, index, next);
        }
        publish(cx, pod);
        let ready_for_long = cx.world.pod(pod).ready.exact;
        let Some(worker) = self.worker(pod) else { return };
        worker.probes.iter_mut().for_each(Worker::new_container);
        if worker.exited.since(ready_for_long) > flags.restart_backoff_max * 2 {
            worker.restarts = 0;
        }
        let wait = restart_backoff(flags.restart_backoff_initial, flags.restart_backoff_max, worker.restarts);
        worker.restarts += 1;
        let span = (worker.exited + wait).since(cx.now);
        self.set_step(cx, pod, Step::Backoff, Some(span));
    }

    fn pulls_of(&mut self, node: NodeId) -> &mut Pulls {
        if self.pulls.len() <= node.index() {
            self.pulls.resize(node.index() + 1, Pulls::default());
        }
        &mut self.pulls[node.index()]
    }

    /// Begins the pulls that may begin.
    fn start_pulls(&mut self, cx: &mut Cx, node: NodeId) {
        while let Some(image) = self.pulls_of(node).next(&cx.plan.flags.kubelet) {
            let key = cx.world.node_key(node).wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(u64::from(image.0));
            let own = cx.plan.images.get(image.index()).and_then(|spec| spec.pull.as_ref());
            let span = match (own, cx.random) {
                (Some(pull), Some(random)) => pull.draw(random, Purpose::named("image.pull"), key),
                (Some(pull), None) => pull.median(),
                (None, _) => cx.delay(Stage::ImagePull, key),
            };
            self.pulls_of(node).begin(image, cx.now + span);
            if span < Span::MAX {
                cx.after(span, event(Event::Pulled(node)));
            }
            for pod in cx.world.node(node).pods.clone() {
                if self.waits_for(cx.world, pod) == Some(image) {
                    self.note_pulling(cx, pod);
                }
            }
        }
    }

    fn note_pulling(&mut self, cx: &mut Cx, pod: PodId) {
        if let Some(worker) = self.worker(pod).filter(|worker| !worker.pulling) {
            worker.pulling = true;
            cx.world.note_pull(pod, false);
        }
    }

    /// The image that a pod waits for.
    fn waits_for(&mut self, world: &World, pod: PodId) -> Option<ImageId> {
        match self.worker(pod)?.step {
            Step::Pull(container) => nth_container(world.template_of(pod), container).image_id,
            _ => None,
        }
    }

    fn pulled(&mut self, cx: &mut Cx, node: NodeId) {
        if !cx.world.node(node).alive {
            return;
        }
        let ended = self.pulls_of(node).ended(cx.now);
        for &image in &ended {
            cx.world.add_node_image(node, image);
        }
        self.start_pulls(cx, node);
        for pod in cx.world.node(node).pods.clone() {
            let Some(image) = self.waits_for(cx.world, pod) else { continue };
            let Some(Step::Pull(container)) = self.worker(pod).map(|worker| worker.step) else { continue };
            if !ended.contains(&image) {
                continue;
            }
            let template = cx.world.template_of(pod).clone();
            let containers = template.init_containers.iter().chain(&template.containers);
            if containers.skip(container).all(|entry| missing_image(cx, node, entry).is_none()) {
                if let Some(worker) = self.worker(pod) {
                    worker.pulling = false;
                }
                cx.world.note_pull(pod, true);
            }
            self.start_container(cx, pod, container);
        }
    }

    fn node_ready(&mut self, cx: &mut Cx, node: NodeId) {
        if !cx.world.node(node).alive || cx.world.node(node).gone.is_some() {
            return;
        }
        let status = cx.world.node(node).status;
        cx.world.post_node_status(node, NodeReadiness::Ready, status);
        for pod in cx.world.node(node).pods.clone() {
            match self.worker(pod).map(|worker| (worker.step, worker.terminating)) {
                None => self.added(cx, pod),
                Some((Step::Network, false)) => self.begin(cx, pod, node),
                Some(_) => {}
            }
        }
    }

    /// A dead machine does nothing more; one that returns starts its pods anew.
    fn node_alive(&mut self, cx: &mut Cx, node: NodeId) {
        let pods = cx.world.node(node).pods.clone();
        if !cx.world.node(node).alive {
            *self.pulls_of(node) = Pulls::default();
            for pod in pods {
                if cx.world.pod(pod).process != Process::Absent {
                    cx.world.set_process(pod, Process::Vanished);
                }
                if let Some(worker) = self.worker(pod) {
                    worker.due = Time::MAX;
                    worker.probe_due = None;
                }
            }
            return;
        }
        for pod in pods {
            cx.world.set_process(pod, if is_started(cx.world, pod) { Process::Ended } else { Process::Absent });
            match self.worker(pod).map(|worker| (worker.step, worker.terminating)) {
                None => self.added(cx, pod),
                Some((_, true)) => self.stopped(cx, pod),
                Some((Step::Network, false)) => {}
                Some((Step::Sandbox, false)) => self.begin(cx, pod, node),
                Some(_) => self.stopped(cx, pod),
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

/// The first relist of a node at or after `time`.
fn relist_after(cx: &Cx, node: NodeId, time: Time) -> Time {
    let period = cx.plan.flags.kubelet.relist_period;
    let phase = cx.phase(RELIST, cx.world.node_key(node), period);
    relist_at_or_after(cx.world.node(node).kubelet_started + phase, period, time)
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
    let span = cx.delay(Stage::NodeReady, cx.world.node_key(node));
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
fn nth_container(template: &PodTemplate, number: usize) -> &Container {
    let first = template.init_containers.len();
    if number < first { &template.init_containers[number] } else { &template.containers[number - first] }
}

fn nth_probe<'t>(template: &'t Arc<PodTemplate>, worker: &Worker) -> Option<&'t Probe> {
    let container = nth_container(template, worker.container);
    match worker.kind {
        Kind::Startup => container.startup.as_ref(),
        Kind::Liveness => container.liveness.as_ref(),
        Kind::Readiness => container.readiness.as_ref(),
    }
}

/// A worker per probe of the application containers: startup, liveness, readiness.
fn probes_of(template: &PodTemplate, anchor: impl Fn(Span) -> Time) -> Vec<Worker> {
    let first = template.init_containers.len();
    let mut workers = Vec::new();
    for (index, container) in template.containers.iter().enumerate() {
        let kinds = [
            (Kind::Startup, &container.startup),
            (Kind::Liveness, &container.liveness),
            (Kind::Readiness, &container.readiness),
        ];
        for (kind, probe) in kinds {
            if let Some(probe) = probe {
                let ticks = Ticks::every(anchor(probe.period), probe.period);
                workers.push(Worker::new(kind, first + index, ticks));
            }
        }
    }
    workers
}

/// The worker probes: its container runs and was shown, startup gates the others, and termination ends all but
/// readiness.
fn is_active(world: &World, pod: PodId, worker: &PodWorker, probe: &Worker) -> bool {
    let status = world.pod(pod).containers[probe.container];
    let phase = match worker.step {
        Step::Running => true,
        Step::PreStop | Step::Stopping => probe.kind == Kind::Readiness,
        _ => false,
    };
    phase && status.running_since.is_some() && (probe.kind == Kind::Startup) != status.started
}

/// Conditions ContainersReady and Ready from the containers and the readiness gates.
fn publish(cx: &mut Cx, pod: PodId) {
    let entry = cx.world.pod(pod);
    if entry.gone.is_some() || entry.node.is_none() || entry.ready.status.is_none() {
        return;
    }
    let first = cx.world.template_of(pod).init_containers.len();
    let ready = entry.containers[first..].iter().all(|status| status.ready);
    let gates = entry.gate_conditions.iter().all(|gate| *gate == Some(true));
    cx.world.set_containers_ready(pod, ready);
    cx.world.set_pod_ready(pod, ready && gates);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::components::kubernetes::testbed::{Testbed, node, plan, probe, template};
    use crate::plan::{Distribution, Image, Plan};
    use crate::rules::quantity::Bytes;
    use crate::world::{Change, DeleteCause};

    fn seconds(seconds: f64) -> Distribution {
        Distribution::Constant(Span::from_seconds(seconds))
    }

    fn one_node(plan: Plan) -> Testbed {
        Testbed::new(plan, |world| {
            Testbed::ready_node(world, node("a", 4000, "x"));
        })
    }

    fn ready_at(testbed: &Testbed, pod: PodId) -> Option<f64> {
        testbed.when(|change| *change == Change::PodReady(pod, true))
    }

    #[test]
    fn from_binding_to_ready_step_by_step() {
        let mut web = template(100);
        web.containers[0].readiness = Some(probe(10));
        web.containers[0].image_id = Some(ImageId(0));
        let mut plan = plan(vec![web]);
        plan.images.push(Image { name: "web".into(), size: Bytes(1 << 20), pull: Some(seconds(5.0)), cached: false });
        plan.timings.set(Stage::PodSandbox, seconds(1.0));
        plan.timings.set(Stage::ContainerStart, seconds(0.25));
        let mut testbed = one_node(plan);
        testbed.app.0 = Span::from_secs(2);
        let (one, two) = (testbed.pod(0), testbed.pod(0));
        testbed.run_to(60.0);
        let when = |change: Change| testbed.when(|other| *other == change);
        assert_eq!(when(Change::PodAddress(one)), Some(1.0));
        assert_eq!(when(Change::ImagePulled(one)), Some(6.0));
        assert_eq!(when(Change::ImagePulled(two)), Some(6.0), "one pull serves both");
        assert_eq!(when(Change::ContainerStarted(one, 0)), Some(6.25));
        // Relists at half seconds: R = 6.5. It answers at 8.25, and is probed at 6.5, 7.5, 8.5.
        assert_eq!(when(Change::PodPhase(one, PodPhase::Running)), Some(6.5));
        assert_eq!(ready_at(&testbed, one), Some(8.5));
        assert_eq!(testbed.world.pod(one).ready.since, testbed.world.now.back(Span::from_secs(52)));
        // The image is there now.
        let three = testbed.pod(0);
        testbed.run_to(70.0);
        assert_eq!(testbed.when(|change| *change == Change::ContainerStarted(three, 0)), Some(61.25));
        assert_eq!(testbed.when(|change| *change == Change::ImagePulling(three)), None);
    }

    #[test]
    fn an_application_that_misses_the_first_probes_waits_for_the_period() {
        let mut web = template(100);
        web.containers[0].readiness = Some(probe(10));
        let mut testbed = one_node(plan(vec![web]));
        testbed.app.0 = Span::from_secs(3);
        let pod = testbed.pod(0);
        testbed.run_to(60.0);
        assert_eq!(ready_at(&testbed, pod), Some(12.5), "probed at 0.5, 1.5, 2.5, then 12.5");
        let events = testbed.events;
        testbed.run_to(3600.0);
        assert_eq!(testbed.events, events, "a probe that keeps succeeding is not an event");
    }

    #[test]
    fn a_startup_probe_gates_readiness_and_its_success_probes_at_once() {
        let mut web = template(100);
        web.containers[0].startup = Some(crate::plan::Probe { failure_threshold: 30, ..probe(4) });
        web.containers[0].readiness = Some(probe(10));
        let mut testbed = one_node(plan(vec![web]));
        testbed.app.0 = Span::from_secs(9);
        let pod = testbed.pod(0);
        testbed.run_to(60.0);
        assert_eq!(ready_at(&testbed, pod), Some(12.0), "startup ticks count from the arrival of the pod");
    }

    #[test]
    fn a_slow_start_under_a_liveness_probe_is_restarted_with_backoff() {
        let mut web = template(100);
        web.containers[0].liveness = Some(probe(1));
        let mut testbed = one_node(plan(vec![web]));
        testbed.app = (Span::from_secs(1000), Span::from_secs(1));
        let pod = testbed.pod(0);
        testbed.run_to(40.0);
        let started: Vec<f64> = testbed
            .log
            .iter()
            .filter(|(_, change)| *change == Change::ContainerStarted(pod, 0))
            .map(|(at, _)| *at)
            .collect();
        // Killed at the third failure (1, 2, 3), gone at 4, restarted at the relist; then after 10 s.
        assert_eq!(started[..2], [0.0, 4.5]);
        assert!((started[2] - 4.5 - 4.0 - 10.0).abs() < 1.6, "{started:?}");
        assert_eq!(testbed.world.pod(pod).containers[0].restarts, 3);
    }

    #[test]
    fn a_pod_stops_through_pre_stop_and_sigterm_within_its_grace() {
        let mut web = template(100);
        web.containers[0].pre_stop = Some(Span::from_secs(5));
        let mut plan = plan(vec![web]);
        plan.timings.set(Stage::ApiHop, seconds(0.02));
        let mut testbed = one_node(plan);
        testbed.app.1 = Span::from_secs(7);
        let (patient, killed) = (testbed.pod(0), testbed.pod(0));
        testbed.run_to(10.0);
        testbed.act(|world| world.delete_pod(patient, None, DeleteCause::User));
        testbed.act(|world| world.delete_pod(killed, Some(Span::from_secs(4)), DeleteCause::User));
        testbed.run_to(60.0);
        let when = |change: Change| testbed.when(|other| *other == change);
        assert_eq!(when(Change::PodProcess(patient, Process::Stopping)), Some(15.02));
        assert_eq!(when(Change::PodProcess(patient, Process::Ended)), Some(22.02));
        assert_eq!(when(Change::PodGone(patient)), Some(22.04));
        assert_eq!(when(Change::PodProcess(killed, Process::Stopping)), Some(14.02), "preStop ends with the grace");
        assert_eq!(when(Change::PodProcess(killed, Process::Ended)), Some(16.02), "and two seconds are left");
    }

    #[test]
    fn a_dead_machine_answers_nothing_and_its_pods_wait_for_the_node_to_go() {
        let web = template(100);
        let mut testbed = one_node(plan(vec![web]));
        let pod = testbed.pod(0);
        testbed.run_to(100.0);
        testbed.act(|world| world.set_node_alive(NodeId(0), false));
        testbed.run_to(200.0);
        assert_eq!(testbed.world.pod(pod).process, Process::Vanished);
        let unknown = testbed.when(|change| *change == Change::NodeReady(NodeId(0), NodeReadiness::Unknown));
        assert!(unknown.is_some_and(|at| (140.0..160.0).contains(&at)), "{unknown:?}");
        assert!(!testbed.world.pod(pod).is_ready());
        testbed.act(|world| world.delete_pod(pod, None, DeleteCause::User));
        testbed.run_to(400.0);
        assert!(testbed.world.pod(pod).is_terminating(), "nobody confirms");
        testbed.act(|world| world.remove_node(NodeId(0)));
        testbed.run_to(500.0);
        let gone = testbed.when(|change| *change == Change::PodGone(pod));
        assert!(gone.is_some_and(|at| (440.0..=460.0).contains(&at)), "{gone:?}");
    }

    #[test]
    fn a_machine_that_returns_starts_its_pods_anew() {
        let mut testbed = one_node(plan(vec![template(100)]));
        let pod = testbed.pod(0);
        testbed.run_to(100.0);
        testbed.act(|world| world.set_node_alive(NodeId(0), false));
        testbed.run_to(200.0);
        testbed.act(|world| world.set_node_alive(NodeId(0), true));
        testbed.run_to(220.0);
        assert!(testbed.world.node(NodeId(0)).is_ready() && testbed.world.pod(pod).is_ready());
        assert_eq!(testbed.world.pod(pod).containers[0].restarts, 1);
        assert!(testbed.world.node(NodeId(0)).taints.is_empty());
    }
}
