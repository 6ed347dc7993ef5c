//! Applications: start, serving requests, stop.
//!
//! ```text
//!  container starts ─► Starting ─(app.start)─► Answering          World::routed ─► Arrive(request) ─► server ─► ledger
//!  SIGTERM (kubelet: Stopping) ─(app.stop; drains: and nothing in flight)─► Ended
//!  CPU meters of pods ◄─ idle CPU + CPU in use                     World::routed ─► Flow(app) ─► fluid ─► ledger
//! ```
//!
//! Models: a pod with so many workers and a queue, each request first waits (database, network), then computes; CPU is
//! shared equally by the computing requests (M/G/1-PS with a limit), pods of one node share its CPU by their requests
//! (the kernel's fair scheduler) when together they want more than it has. `server` is the request level, `fluid` the
//! flow. Apache httpd `docs/manual/stopping` for what SIGTERM does; ELB "Troubleshoot" for which error the client sees.
//!
//! Left out: CFS quota periods (a limit is a rate), memory.

mod connections;
mod cpu;
mod crowd;
mod flow;
pub mod fluid;
mod inlet;
mod patience;
mod process;
pub mod server;
mod strain;

use crate::components::Cx;
use crate::engine::{Ahead, Purpose, Random, Span, Time, TimerId};
use crate::plan::{App, AppId, Distribution, FaultId, FaultKind, InForce, SlowPart};
use crate::world::{Loss, NodeId, PodId, Prospect, Request, RequestId, TargetId};
use connections::{Connections, Found};
use fluid::{Inlet, Stream};
use inlet::inlet_through;
use patience::{drop_settled, forget_ended, patience};
use process::{Standing, container};
use server::{Needs, Server, Work};

/// CPU without bound, for pods on a node of unknown size.
const UNBOUNDED: u64 = 1 << 50;
const NANOCORES_PER_MILLICORE: u64 = 1_000_000;

/// Its memory.
#[derive(Default)]
pub struct Service {
    pods: Vec<PodState>,
    nodes: Vec<NodeLoad>,
    apps: Vec<AppState>,
    finished: Vec<RequestId>,
    begun: Vec<Span>,
    /// Those among whom CPU was divided last; only their memory is used again.
    contenders: Vec<server::Contender>,
    /// The application whose flow takes up its CPU at this moment.
    flowing: Option<AppId>,
}

/// What it knows of a pod.
#[derive(Clone, Debug, Default)]
struct PodState {
    known: bool,
    app: Option<AppId>,
    node: Option<NodeId>,
    /// CPU limit, nanocores.
    limit: u64,
    /// CPU shares: the request.
    weight: u64,
    server: Server,
    /// CPU that it wants of its node, as counted there.
    demand: u64,
    /// CPU that it gets.
    share: u64,
    /// CPU in use by the flow.
    flow_usage: u64,
    /// Brings `Work`, and when that is due.
    timer: Option<TimerId>,
    due: Option<Time>,
    /// Requests in order of arrival, with the time when the client gives up; ended ones linger until they are in front.
    patience: std::collections::VecDeque<(Time, RequestId)>,
    patience_due: Option<Time>,
    /// With so many of them it is worth looking for those that have ended.
    patience_long: usize,
    /// Idle connections of the load balancer, where the application closes them first.
    connections: Connections,
    /// The process answers, and since when it does.
    answers: bool,
    answers_since: Time,
    start_due: Option<Time>,
    stop_due: Option<Time>,
}

/// CPU that pods want of a node.
#[derive(Clone, Debug, Default)]
struct NodeLoad {
    capacity: u64,
    wanted: u64,
    contended: bool,
}

/// What it knows of an application.
#[derive(Clone, Debug)]
struct AppState {
    /// What a request needs on average.
    needs: Needs,
    /// What requests need where that is drawn, by number.
    drawn: Ahead<Needs>,
    work: Work,
    stream: Stream,
    /// How long its health checks and probes may take, seconds; `None`: it has none that a worker answers.
    check_timeout: Option<f64>,
    /// The pending look at cold processes in a flow.
    warms: Option<Time>,
    /// A `FlowAgain` is pending.
    flow_is_due: bool,
}

/// Why it may be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// A container of a pod started or stopped.
    Container(PodId),
    /// What an application does changed.
    Process(PodId),
    /// A process may have finished its start.
    Started(PodId),
    /// A process may have finished its stop.
    Stopped(PodId),
    /// A request reaches its pod.
    Arrive(RequestId),
    /// Something is due among the requests of a pod.
    Work(PodId),
    /// The client of the oldest request of a pod gives up.
    Patience(PodId),
    /// The load balancer gives up connecting.
    Unreachable(RequestId),
    /// A target left its group.
    Target(TargetId),
    /// A machine stopped answering, or answers again.
    Node(NodeId),
    /// A fault began or ended.
    Fault(FaultId),
    /// The flow of an application changed.
    Flow(AppId),
    /// The CPU changed that pods of an application's flow get.
    FlowAgain(AppId),
    /// A backlog of an application's flow is gone.
    Edge(AppId),
    /// Flows are booked up to now.
    Book,
    /// A machine computes slower, or at full speed again.
    Speed(NodeId),
}

impl Service {
    /// Pods that answer already get their meters, flows their start.
    pub fn start(&mut self, cx: &mut Cx) {
        let state = |app: &App| AppState {
            needs: Needs::new(app.wait_per_request, app.cpu_per_request),
            drawn: Ahead::default(),
            work: Work::new(1.0, app.workers, app.queue),
            stream: Stream::new(cx.plan.start),
            check_timeout: strain::timeout_of(cx.plan, app),
            warms: None,
            flow_is_due: false,
        };
        self.apps = cx.plan.apps.iter().map(state).collect();
        for index in 0..cx.world.pods.len() {
            self.process(cx, PodId::at(index));
        }
        for index in 0..self.apps.len() {
            self.flow(cx, AppId::at(index));
        }
        cx.at(cx.plan.until, crate::components::Event::Service(Event::Book));
        if !cx.plan.alarms.is_empty() {
            cx.after(Span::from_secs(60), crate::components::Event::Service(Event::Book));
        }
    }

    /// Observe, decide, apply, schedule.
    pub fn handle(&mut self, cx: &mut Cx, event: Event) {
        match event {
            Event::Arrive(request) => self.arrive(cx, request),
            Event::Work(pod) => self.work_due(cx, pod),
            Event::Patience(pod) => self.patience(cx, pod),
            Event::Unreachable(request) => {
                cx.world.lose_request(request, Loss::Unreachable);
                cx.world.free_request(request);
            }
            Event::Container(pod) => container(cx, pod),
            Event::Process(pod) => self.process(cx, pod),
            Event::Started(pod) => self.started(cx, pod),
            Event::Stopped(pod) => self.stopped(cx, pod),
            Event::Target(target) => self.target_gone(cx, target),
            Event::Node(node) => {
                for pod in cx.world.node(node).pods.clone() {
                    self.process(cx, pod);
                }
            }
            Event::Speed(node) => self.speed(cx, node),
            Event::Fault(fault) => self.fault(cx, fault),
            Event::Flow(app) => self.flow(cx, app),
            Event::FlowAgain(app) => {
                self.apps[app.index()].flow_is_due = false;
                self.flow(cx, app);
            }
            Event::Edge(app) => {
                if self.apps[app.index()].stream.edge.is_some_and(|edge| cx.now >= edge) {
                    self.flow(cx, app);
                }
            }
            Event::Book => self.book(cx),
        }
    }

    /// Makes sure that a pod has its state.
    #[inline(always)]
    fn know(&mut self, cx: &mut Cx, pod: PodId) {
        let node = cx.world.pod(pod).node;
        if self.pods.get(pod.index()).is_none_or(|state| !state.known || state.node != node) {
            self.learn(cx, pod);
        }
    }

    #[cold]
    fn learn(&mut self, cx: &mut Cx, pod: PodId) {
        let (world, plan) = (&*cx.world, cx.plan);
        if self.pods.len() <= pod.index() {
            self.pods.resize(world.pods.len(), PodState::default());
        }
        let node = world.pod(pod).node;
        let state = &mut self.pods[pod.index()];
        if state.timer.is_none() {
            state.timer = Some(cx.queue.timer(crate::components::Event::Service(Event::Work(pod))));
        }
        let template = world.template_of(pod);
        let nanocores = |cpu: i64| u64::try_from(cpu).unwrap_or(0) * NANOCORES_PER_MILLICORE;
        state.known = true;
        state.app = world.deployment_of(pod).and_then(|deployment| plan.app_of(deployment));
        state.node = node;
        state.limit = template.cpu_limit().map_or(UNBOUNDED, |cpu| nanocores(cpu.0));
        state.weight = template.requests.cpu.0.max(2).unsigned_abs();
        state.server.set_rise(state.app.and_then(|app| plan.apps[app.index()].demand.rise));
        if self.nodes.len() < world.nodes.len() {
            self.nodes.resize(world.nodes.len(), NodeLoad::default());
        }
        if let Some(node) = node {
            let cpu = nanocores(world.node(node).allocatable.cpu.0);
            let capacity = if cpu == 0 { UNBOUNDED } else { cpu };
            self.nodes[node.index()].capacity = capacity.min(world.node(node).cpu_cap.unwrap_or(UNBOUNDED));
            state.limit = state.limit.min(capacity);
        }
    }

    /// A node has more CPU, or less: it is divided anew.
    fn speed(&mut self, cx: &mut Cx, node: NodeId) {
        let entry = cx.world.node(node);
        let Some(load) = self.nodes.get_mut(node.index()) else { return };
        let whole = u64::try_from(entry.allocatable.cpu.0).unwrap_or(0) * NANOCORES_PER_MILLICORE;
        load.capacity = (if whole == 0 { UNBOUNDED } else { whole }).min(entry.cpu_cap.unwrap_or(UNBOUNDED));
        load.contended = load.wanted > load.capacity;
        let is_there = |pod: &PodId| self.pods.get(pod.index()).is_some_and(|state| state.node == Some(node));
        let Some(pod) = entry.pods.iter().copied().find(is_there) else { return };
        self.divide(cx, pod);
        if let Some(app) = self.pods[pod.index()].app
            && cx.plan.apps[app.index()].mode == crate::plan::TrafficMode::Fluid
        {
            self.flow_soon(cx, app);
        }
    }

    /// Something is due among the requests of a pod.
    pub fn work_due(&mut self, cx: &mut Cx, pod: PodId) {
        if self.pods[pod.index()].due.is_some_and(|due| cx.now >= due) {
            self.pods[pod.index()].due = None;
            self.work(cx, pod);
        }
    }

    /// A request reaches its pod.
    pub fn arrive(&mut self, cx: &mut Cx, id: RequestId) {
        let request = *cx.world.request(id);
        self.know(cx, request.pod);
        let app = &cx.plan.apps[request.app.index()];
        match inlet_through(cx, Standing::of(cx.world, request.pod), app, request.target) {
            Inlet::Open if request.check.is_some() && app.mode == crate::plan::TrafficMode::Fluid => {
                return self.check_in_flow(cx, id);
            }
            Inlet::Open => {}
            Inlet::Refused => {
                cx.world.lose_request(id, Loss::Refused);
                cx.world.free_request(id);
                return;
            }
            Inlet::Unreachable => {
                let wait = cx.plan.flags.serving.connect_timeout;
                cx.after(wait, crate::components::Event::Service(Event::Unreachable(id)));
                return;
            }
        }
        if app.keep_alive.is_some() && self.is_closing(cx, request) {
            cx.world.lose_request(id, Loss::Closed);
            cx.world.free_request(id);
            return;
        }
        let of_app = &mut self.apps[request.app.index()];
        let needs = match cx.random {
            Some(random) if app.demand.cpu.is_some() || app.demand.wait.is_some() => {
                of_app.drawn.get(request.number, |number| drawn(random, request.app, app, number))
            }
            _ => of_app.needs,
        };
        let work = self.terms(cx.plan, request.app, request.pod, cx.now);
        let state = &mut self.pods[request.pod.index()];
        let Some(begun) = state.server.accept(cx.now, id, needs, work) else {
            cx.world.lose_request(id, Loss::QueueFull);
            cx.world.free_request(id);
            return;
        };
        if begun && request.check.is_none() {
            cx.world.ledgers[request.app.index()].waits.add(Span::ZERO);
        }
        let due = request.arrived + patience(cx.plan, app);
        state.patience.push_back((due, id));
        if state.patience_due.is_none() {
            state.patience_due = Some(due);
            cx.at(due, crate::components::Event::Service(Event::Patience(request.pod)));
        }
        if begun || state.due.is_none_or(|due| due <= cx.now) {
            self.work(cx, request.pod);
        } else {
            // One more in the queue changes neither the CPU nor what is due next.
            self.strain(cx, request.pod, request.app, work);
        }
    }

    /// A request comes on a connection that the application is just closing. Checks have connections of their own.
    fn is_closing(&mut self, cx: &Cx, request: Request) -> bool {
        let Some(keep_alive) = cx.plan.apps[request.app.index()].keep_alive else { return false };
        if request.target.is_none() || request.check.is_some() {
            return false;
        }
        let (node, notice) = (balancer_node(cx, &request), cx.plan.flags.serving.close_notice);
        let connections = &mut self.pods[request.pod.index()].connections;
        connections.take(cx.now, node, keep_alive, notice) == Found::Closing
    }

    /// Moves a pod's requests on, answers those that ended, and schedules what is due next.
    fn work(&mut self, cx: &mut Cx, pod: PodId) {
        let Some(app) = self.pods[pod.index()].app else { return };
        let standing = Standing::of(cx.world, pod);
        let terms = self.terms(cx.plan, app, pod, cx.now);
        if standing.alive {
            self.pods[pod.index()].server.settle(cx.now, terms, &mut self.finished, &mut self.begun);
        }
        if !self.begun.is_empty() {
            self.begun.drain(..).for_each(|wait| cx.world.ledgers[app.index()].waits.add(wait));
        }
        if !self.finished.is_empty() {
            let App { latency_objective: objective, keep_alive, .. } = cx.plan.apps[app.index()];
            for request in self.finished.drain(..) {
                if let Some(keep_alive) = keep_alive {
                    let node = balancer_node(cx, cx.world.request(request));
                    self.pods[pod.index()].connections.give_back(cx.now, node, keep_alive);
                }
                cx.world.serve_request(request, objective);
                cx.world.free_request(request);
            }
            forget_ended(&mut self.pods[pod.index()], cx.world, cx.plan, pod);
        }
        self.balance_as(cx, pod, standing);
        self.strain(cx, pod, app, terms);
        if self.pods[pod.index()].stop_due.is_some_and(|due| cx.now >= due) {
            self.stopped(cx, pod);
        }
    }

    /// The deregistration delay of a target is over: what is still in flight through it fails.
    fn target_gone(&mut self, cx: &mut Cx, target: TargetId) {
        let entry = &cx.world.targets[target.index()];
        let pods = if entry.node.is_some() { 0..self.pods.len() } else { entry.pod.index()..entry.pod.index() + 1 };
        for index in pods {
            let Some(state) = self.pods.get_mut(index) else { continue };
            let through: Vec<RequestId> =
                state.server.requests().filter(|&request| cx.world.request(request).target == Some(target)).collect();
            for &request in &through {
                cx.world.lose_request(request, Loss::DrainEnded);
            }
            if !through.is_empty() {
                drop_settled(&mut state.server, cx.world);
            }
        }
        for index in 0..self.apps.len() {
            if self.apps[index].stream.lanes.iter().any(|lane| lane.target == Some(target) && lane.share == 0.0) {
                self.integrate(cx, AppId::at(index));
                let lanes = self.apps[index].stream.lanes.iter_mut();
                for lane in lanes.filter(|lane| lane.target == Some(target) && lane.share == 0.0) {
                    lane.lose_backlog(cx.now, &mut cx.world.ledgers[index], Loss::DrainEnded);
                    cx.world.set_outlook(lane.pod, Prospect::Open);
                }
                self.flow(cx, AppId::at(index));
            }
        }
    }

    fn fault(&mut self, cx: &mut Cx, fault: FaultId) {
        let in_force = InForce::new(cx.plan, &cx.world.faults);
        match cx.plan.faults[fault.index()].kind {
            FaultKind::Slowdown(id, ..) => {
                let (wait, cpu) = (in_force.slowdown(id, SlowPart::Wait), in_force.slowdown(id, SlowPart::Cpu));
                self.integrate(cx, id);
                let work = &mut self.apps[id.index()].work;
                (work.wait_factor, work.cpu_factor) = (wait, cpu);
                self.flow(cx, id);
                self.strain_all(cx, id);
            }
            FaultKind::SecurityGroupBlocks { target_group, .. } => self.flow_through(cx, target_group),
            _ => {}
        }
    }
}

const NODE: Purpose = Purpose::named("service.balancer_node");

/// The node of the load balancer at which a request is: clients know them all, and take one by chance.
fn balancer_node(cx: &Cx, request: &Request) -> usize {
    let group = request.target.map(|target| cx.world.targets[target.index()].group);
    let nodes = group.map_or(1, |group| cx.plan.target_groups[group.index()].nodes as usize);
    let key = u64::from(request.app.0) << 48 | request.number ^ u64::from(request.attempt) << 40;
    cx.pick(NODE, key, nodes)
}

const CPU: Purpose = Purpose::named("app.cpu_per_request");
const WAIT: Purpose = Purpose::named("app.wait_per_request");

/// One draw of a distribution; without one, the mean.
#[inline(always)]
fn one_of(distribution: &Option<Distribution>, random: &Random, purpose: Purpose, key: u64, mean: Span) -> Span {
    match distribution {
        Some(distribution) => distribution.draw(random, purpose, key),
        None => mean,
    }
}

/// What a request of that number needs where that is drawn.
#[inline(always)]
fn drawn(random: &Random, id: AppId, app: &App, number: u64) -> Needs {
    let key = u64::from(id.0) << 48 | number;
    let wait = one_of(&app.demand.wait, random, WAIT, key, app.wait_per_request);
    Needs::new(wait, one_of(&app.demand.cpu, random, CPU, key, app.cpu_per_request))
}
