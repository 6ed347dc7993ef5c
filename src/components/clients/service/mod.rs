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
//! Left out: CFS quota periods (a limit is a rate), connection keep-alive, memory.

mod crowd;
pub mod fluid;
pub mod server;
mod strain;

use crate::components::Cx;
use crate::engine::{Purpose, Span, Time};
use crate::plan::{App, AppId, Distribution, FaultId, FaultKind, InForce, Passage, Plan, SlowPart, TargetGroupId};
use crate::world::{Loss, NodeId, PodId, Process, Request, RequestId, TargetId, World};
use fluid::{Inlet, Lane, Stream, Terms};
use server::{Needs, Server, Work, share_out};

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
    /// The earliest pending `Work` event.
    due: Option<Time>,
    /// Requests in order of arrival, with the time when the client gives up; ended ones linger until they are in front.
    patience: std::collections::VecDeque<(Time, RequestId)>,
    patience_due: Option<Time>,
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
    work: Work,
    stream: Stream,
    /// The pending look at cold processes in a flow.
    warms: Option<Time>,
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
            work: Work::new(1.0, app.workers, app.queue),
            stream: Stream::new(cx.plan.start),
            warms: None,
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
            Event::Work(pod) => {
                self.know(cx.world, cx.plan, pod);
                if self.pods[pod.index()].due.is_some_and(|due| cx.now >= due) {
                    self.pods[pod.index()].due = None;
                    self.work(cx, pod);
                }
            }
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
            Event::Edge(app) => {
                if self.apps[app.index()].stream.edge.is_some_and(|edge| cx.now >= edge) {
                    self.flow(cx, app);
                }
            }
            Event::Book => self.book(cx),
        }
    }

    /// Makes sure that a pod has its state.
    fn know(&mut self, world: &World, plan: &Plan, pod: PodId) {
        if self.pods.len() <= pod.index() {
            self.pods.resize(world.pods.len(), PodState::default());
        }
        let node = world.pod(pod).node;
        let state = &mut self.pods[pod.index()];
        if state.known && state.node == node {
            return;
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
            cx.after(Span::ZERO, crate::components::Event::Service(Event::Flow(app)));
        }
    }

    fn arrive(&mut self, cx: &mut Cx, id: RequestId) {
        let request = *cx.world.request(id);
        self.know(cx.world, cx.plan, request.pod);
        let app = &cx.plan.apps[request.app.index()];
        match inlet_through(cx, request.pod, app, request.target) {
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
        let needs = needs(cx, app, &request).unwrap_or(self.apps[request.app.index()].needs);
        let work = self.terms(cx.plan, request.app, request.pod, cx.now);
        let state = &mut self.pods[request.pod.index()];
        match state.server.accept(cx.now, id, needs, work) {
            Some(true) if request.check.is_none() => cx.world.ledgers[request.app.index()].waits.add(Span::ZERO),
            Some(_) => {}
            None => {
                cx.world.lose_request(id, Loss::QueueFull);
                cx.world.free_request(id);
                return;
            }
        }
        let due = request.arrived + patience(cx.plan, app);
        state.patience.push_back((due, id));
        if state.patience_due.is_none() {
            state.patience_due = Some(due);
            cx.at(due, crate::components::Event::Service(Event::Patience(request.pod)));
        }
        self.work(cx, request.pod);
    }

    /// Moves a pod's requests on, answers those that ended, and schedules what is due next.
    fn work(&mut self, cx: &mut Cx, pod: PodId) {
        let Some(app) = self.pods[pod.index()].app else { return };
        let mut finished = std::mem::take(&mut self.finished);
        if alive(cx.world, pod) {
            let work = self.terms(cx.plan, app, pod, cx.now);
            let server = &mut self.pods[pod.index()].server;
            server.settle(cx.now, work, &mut finished, &mut self.begun);
        }
        self.begun.drain(..).for_each(|wait| cx.world.ledgers[app.index()].waits.add(wait));
        let objective = cx.plan.apps[app.index()].latency_objective;
        for request in finished.drain(..) {
            cx.world.serve_request(request, objective);
            cx.world.free_request(request);
        }
        self.finished = finished;
        forget_ended(&mut self.pods[pod.index()], cx.world, pod);
        self.balance(cx, pod);
        self.strain(cx, pod, app);
        if self.pods[pod.index()].stop_due.is_some_and(|due| cx.now >= due) {
            self.stopped(cx, pod);
        }
    }

    /// On what terms a pod works: as its application does, and slower while it is cold.
    fn terms(&self, plan: &Plan, app: AppId, pod: PodId, now: Time) -> Work {
        let work = self.apps[app.index()].work;
        let Some(warm_up) = &plan.apps[app.index()].demand.warm_up else { return work };
        let age = now.since(self.pods[pod.index()].answers_since);
        Work { cpu_factor: work.cpu_factor * warm_up.factor(age), ..work }
    }

    /// Gives a pod's server its CPU, and those that share the node theirs if that changes them.
    fn balance(&mut self, cx: &mut Cx, pod: PodId) {
        let state = &self.pods[pod.index()];
        let computing = if alive(cx.world, pod) { state.server.demand() } else { 0 };
        let wanted = computing.saturating_add(self.flow_demand(pod)).min(state.limit);
        let again = self.demand(pod, wanted);
        let state = &self.pods[pod.index()];
        let contended = state.node.is_some_and(|node| self.nodes[node.index()].contended);
        if again {
            self.divide(cx, pod);
        } else {
            let share = if contended { state.share } else { wanted };
            self.grant(cx, pod, share);
        }
    }

    fn flow_demand(&self, pod: PodId) -> u64 {
        self.pods[pod.index()].flow_usage
    }

    /// Counts what a pod wants of its node. True if the node's CPU has to be divided anew.
    fn demand(&mut self, pod: PodId, wanted: u64) -> bool {
        let state = &mut self.pods[pod.index()];
        let before = std::mem::replace(&mut state.demand, wanted);
        let Some(node) = state.node else { return false };
        let load = &mut self.nodes[node.index()];
        load.wanted = load.wanted - before + wanted;
        let crowded = load.wanted > load.capacity;
        let again = crowded || load.contended;
        load.contended = crowded;
        again && before != wanted
    }

    /// Divides a node's CPU among its pods.
    fn divide(&mut self, cx: &mut Cx, pod: PodId) {
        let Some(node) = self.pods[pod.index()].node else { return };
        let there: Vec<PodId> = (cx.world.node(node).pods.iter().copied())
            .filter(|&other| other == pod || self.pods.get(other.index()).is_some_and(|state| state.demand > 0))
            .collect();
        let contenders: Vec<(u64, u64)> =
            (there.iter()).map(|other| (self.pods[other.index()].weight, self.pods[other.index()].demand)).collect();
        let shares = share_out(self.nodes[node.index()].capacity, &contenders);
        for (&other, share) in there.iter().zip(shares) {
            let changed = self.pods[other.index()].share != share;
            if let Some(app) = self.pods[other.index()].app
                && changed
                && other != pod
                && cx.plan.apps[app.index()].mode == crate::plan::TrafficMode::Fluid
            {
                cx.after(Span::ZERO, crate::components::Event::Service(Event::Flow(app)));
            }
            self.grant(cx, other, share);
        }
        if !there.contains(&pod) {
            self.grant(cx, pod, 0);
        }
    }

    /// A pod gets CPU from now on.
    fn grant(&mut self, cx: &mut Cx, pod: PodId, share: u64) {
        let state = &mut self.pods[pod.index()];
        state.share = share;
        let lives = alive(cx.world, pod);
        state.server.set_share(cx.now, if lives { share.saturating_sub(state.flow_usage) } else { 0 });
        if let Some(next) = state.server.next().filter(|_| lives)
            && state.due.is_none_or(|due| next < due)
        {
            state.due = Some(next);
            cx.at(next, crate::components::Event::Service(Event::Work(pod)));
        }
        self.meter(cx, pod);
    }

    /// The CPU meter runs at the true rate: idle use and what requests compute, at most the limit.
    fn meter(&mut self, cx: &mut Cx, pod: PodId) {
        let state = &self.pods[pod.index()];
        let Some(app) = state.app.map(|app| &cx.plan.apps[app.index()]) else { return };
        if app.cores.is_some() && runs(cx.world, pod) {
            return;
        }
        let idle = u64::try_from(app.idle_cpu.0).unwrap_or(0) * NANOCORES_PER_MILLICORE;
        let used = idle + state.server.usage() + state.flow_usage.min(state.share);
        let rate = if runs(cx.world, pod) { used.min(state.limit) } else { 0 };
        let now = cx.now;
        let meter = cx.world.cpu_meter(pod);
        if meter.rate() != rate {
            meter.set(now, rate);
        }
    }

    /// What the application of a pod does may have changed.
    fn process(&mut self, cx: &mut Cx, pod: PodId) {
        self.know(cx.world, cx.plan, pod);
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
    fn cut(&mut self, cx: &mut Cx, pod: PodId) {
        let state = &mut self.pods[pod.index()];
        for request in state.server.requests() {
            cx.world.lose_request(request, Loss::Cut);
            cx.world.free_request(request);
        }
        state.server.clear();
        state.patience.clear();
        let Some(app) = state.app else { return };
        self.integrate(cx, app);
        let ledger = &mut cx.world.ledgers[app.index()];
        for lane in self.apps[app.index()].stream.lanes.iter_mut().filter(|lane| lane.pod == pod) {
            lane.lose_backlog(cx.now, ledger, Loss::Cut);
        }
        self.pods[pod.index()].flow_usage = 0;
        self.balance(cx, pod);
    }

    fn started(&mut self, cx: &mut Cx, pod: PodId) {
        let state = &mut self.pods[pod.index()];
        if state.start_due.is_some_and(|due| cx.now >= due) && cx.world.pod(pod).process == Process::Starting {
            state.start_due = None;
            if alive(cx.world, pod) {
                cx.world.set_process(pod, Process::Answering);
            }
        }
    }

    /// The process goes when its time is over and, if it drains, nothing is in flight.
    fn stopped(&mut self, cx: &mut Cx, pod: PodId) {
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
    fn backlog_left(&mut self, cx: &mut Cx, app: AppId, pod: PodId) -> Option<Span> {
        self.integrate(cx, app);
        let stream = &self.apps[app.index()].stream;
        let lane = stream.lanes.iter().find(|lane| lane.pod == pod && lane.backlog > 0)?;
        let empties = lane.empties(cx.now, stream.rate).map_or(Span::from_secs(1), |at| at - cx.now);
        Some(empties.max(Span::from_millis(1)))
    }

    /// Clients give up on requests that were here too long; the application works on, unless they are still queued.
    fn patience(&mut self, cx: &mut Cx, pod: PodId) {
        let state = &mut self.pods[pod.index()];
        if state.patience_due.is_none_or(|due| cx.now < due) {
            return;
        }
        state.patience_due = None;
        let mut gave_up = false;
        while let Some(&(due, request)) = state.patience.front() {
            let waits = still_here(cx.world, cx.plan, pod, due, request);
            if waits && due > cx.now {
                state.patience_due = Some(due);
                cx.at(due, crate::components::Event::Service(Event::Patience(pod)));
                break;
            }
            state.patience.pop_front();
            if waits {
                cx.world.lose_request(request, Loss::TimedOut);
                gave_up = true;
            }
        }
        if gave_up {
            drop_settled(&mut state.server, cx.world);
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
                let ledger = &mut cx.world.ledgers[index];
                let lanes = self.apps[index].stream.lanes.iter_mut();
                for lane in lanes.filter(|lane| lane.target == Some(target) && lane.share == 0.0) {
                    lane.lose_backlog(cx.now, ledger, Loss::DrainEnded);
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

    fn flow_through(&mut self, cx: &mut Cx, group: TargetGroupId) {
        for index in 0..self.apps.len() {
            if cx.plan.apps[index].target_group == Some(group) {
                self.flow(cx, AppId::at(index));
            }
        }
    }

    fn book(&mut self, cx: &mut Cx) {
        for index in 0..self.apps.len() {
            self.integrate(cx, AppId::at(index));
        }
        let period = Span::from_secs(60);
        if !cx.plan.alarms.is_empty() && cx.now + period < cx.plan.until {
            cx.after(period, crate::components::Event::Service(Event::Book));
        }
    }

    fn integrate(&mut self, cx: &mut Cx, app: AppId) {
        let spec = &cx.plan.apps[app.index()];
        let terms = Terms {
            objective: spec.latency_objective,
            connect_timeout: cx.plan.flags.serving.connect_timeout,
            origin: cx.plan.start,
            until: cx.plan.until,
        };
        self.apps[app.index()].stream.integrate(cx.now, terms, &mut cx.world.ledgers[app.index()]);
    }

    /// Books the flow of an application until now and takes up what is true from now on.
    fn flow(&mut self, cx: &mut Cx, app: AppId) {
        if cx.plan.apps[app.index()].mode != crate::plan::TrafficMode::Fluid {
            return;
        }
        self.integrate(cx, app);
        self.adopt_lanes(cx, app);
        let lanes = self.apps[app.index()].stream.lanes.len();
        for lane in 0..lanes {
            self.load_lane(cx, app, lane);
        }
        for lane in 0..lanes {
            self.rate_lane(cx, app, lane);
            self.strain_lane(cx, app, lane);
        }
        self.look_again(cx, app);
        let stream = &mut self.apps[app.index()].stream;
        let edge = stream.lanes.iter().filter_map(|lane| lane.empties(cx.now, stream.rate)).min();
        let before = std::mem::replace(&mut stream.edge, edge);
        if let Some(edge) = edge.filter(|&edge| before != Some(edge) || edge <= cx.now) {
            cx.at(edge, crate::components::Event::Service(Event::Edge(app)));
        }
    }

    /// While a process is cold its capacity grows.
    fn look_again(&mut self, cx: &mut Cx, app: AppId) {
        let Some(warm_up) = &cx.plan.apps[app.index()].demand.warm_up else { return };
        let state = &mut self.apps[app.index()];
        let cold = |lane: &Lane| cx.now.since(self.pods[lane.pod.index()].answers_since) < warm_up.lasts;
        if state.warms.is_none_or(|at| at <= cx.now) && state.stream.lanes.iter().any(cold) {
            let at = cx.now + cx.plan.flags.serving.ramp_step;
            state.warms = Some(at);
            cx.at(at, crate::components::Event::Service(Event::Flow(app)));
        }
    }

    /// The lanes of the present flow, and those of before that still have backlog.
    fn adopt_lanes(&mut self, cx: &mut Cx, app: AppId) {
        let flow = &cx.world.flows[app.index()];
        let stream = &mut self.apps[app.index()].stream;
        stream.rate = flow.rate;
        let same = stream.lanes.len() == flow.shares.len()
            && stream.lanes.iter().zip(&flow.shares).all(|(lane, share)| lane.pod == share.pod);
        if same {
            for (lane, share) in stream.lanes.iter_mut().zip(&flow.shares) {
                lane.share = share.share;
                lane.target = share.target;
            }
            return;
        }
        let mut before = std::mem::take(&mut stream.lanes);
        for share in &flow.shares {
            let lane = match before.iter().position(|lane| lane.pod == share.pod) {
                Some(index) => before.swap_remove(index).with_share(share.target, share.share),
                None => Lane::new(share.pod, share.target, share.share),
            };
            stream.lanes.push(lane);
        }
        let mut released = Vec::new();
        before.sort_by_key(|lane| lane.pod);
        for lane in before {
            if lane.backlog > 0 {
                stream.lanes.push(lane.with_share(lane.target, 0.0));
            } else {
                released.push(lane.pod);
            }
        }
        for pod in released {
            self.pods[pod.index()].flow_usage = 0;
            self.balance(cx, pod);
        }
    }

    /// What a lane wants of its node.
    fn load_lane(&mut self, cx: &mut Cx, app: AppId, lane: usize) {
        let state = &self.apps[app.index()];
        let spec = &cx.plan.apps[app.index()];
        let entry = state.stream.lanes[lane];
        self.know(cx.world, cx.plan, entry.pod);
        let inlet = inlet_through(cx, entry.pod, spec, entry.target);
        let state = &mut self.apps[app.index()];
        state.stream.lanes[lane].inlet = inlet;
        let arriving = if inlet == Inlet::Open { state.stream.rate * entry.share } else { 0.0 };
        let limit = self.pods[entry.pod.index()].limit;
        let (cpu, _) = self.lane_cpu(cx, app, entry.pod, arriving, limit);
        let wanted = arriving * cpu * server::CORE as f64;
        let works = alive(cx.world, entry.pod)
            && matches!(cx.world.pod(entry.pod).process, Process::Answering | Process::Stopping);
        let wanted = match (works, entry.backlog > 10) {
            (false, _) => 0,
            (true, true) if cpu > 0.0 => limit,
            (true, _) => (wanted as u64).min(limit),
        };
        self.pods[entry.pod.index()].flow_usage = wanted;
        self.balance(cx, entry.pod);
    }

    /// CPU that a request of a lane needs, seconds: more under a slowdown, in a cold process, and with those beside it; and
    /// how long it computes, where that follows from the crowd.
    fn lane_cpu(&self, cx: &Cx, app: AppId, pod: PodId, arriving: f64, cores: u64) -> (f64, Option<Span>) {
        let spec = &cx.plan.apps[app.index()];
        let cpu = spec.cpu_per_request.seconds() * self.terms(cx.plan, app, pod, cx.now).cpu_factor;
        let Some(rise) = spec.demand.rise else { return (cpu, None) };
        match crowd::steady(arriving, cpu, cores, rise) {
            Some((cpu, time)) => (cpu, Some(time)),
            None => (cpu * rise.factor(f64::from(spec.workers.max(1))), None),
        }
    }

    /// What a lane can serve, now that the CPU is divided.
    fn rate_lane(&mut self, cx: &mut Cx, app: AppId, lane: usize) {
        let spec = &cx.plan.apps[app.index()];
        let state = &self.apps[app.index()];
        let (rate, entry) = (state.stream.rate, state.stream.lanes[lane]);
        let pod = &self.pods[entry.pod.index()];
        let contended = pod.node.is_some_and(|node| self.nodes[node.index()].contended);
        let cores = if contended { pod.share } else { pod.limit };
        let wait = spec.wait_per_request.seconds() * state.work.wait_factor;
        let arriving = if entry.inlet == Inlet::Open { rate * entry.share } else { 0.0 };
        // While there is a backlog the wait is in it, not in the formula of the steady state.
        let arriving = if entry.backlog > 10 { f64::INFINITY } else { arriving };
        let (cpu, time) = self.lane_cpu(cx, app, entry.pod, arriving, cores);
        let lane = &mut self.apps[app.index()].stream.lanes[lane];
        let works = alive(cx.world, lane.pod)
            && matches!(cx.world.pod(lane.pod).process, Process::Answering | Process::Stopping);
        let workers = f64::from(spec.workers.max(1));
        let by_cpu = cores as f64 / server::CORE as f64 / cpu;
        let by_workers = workers / (wait + cpu);
        lane.capacity = if works { by_cpu.min(by_workers).min(1e9) } else { 0.0 };
        let room = workers + f64::from(spec.queue);
        let time = time.unwrap_or_else(|| fluid::sojourn(arriving, Span::from_seconds(cpu), cores, room));
        lane.latency = Span::from_seconds(wait) + time;
        lane.limit(spec.workers.max(1).into(), spec.queue.into(), patience(cx.plan, spec));
    }
}

const START: Purpose = Purpose::named("app.start");
const STOP: Purpose = Purpose::named("app.stop");
const CPU: Purpose = Purpose::named("app.cpu_per_request");
const WAIT: Purpose = Purpose::named("app.wait_per_request");

/// One draw for a run of a pod's process.
fn draw(cx: &Cx, distribution: &crate::plan::Distribution, purpose: Purpose, pod: PodId) -> Span {
    let entry = cx.world.pod(pod);
    let restarts: u32 = entry.containers.iter().map(|container| container.restarts).sum();
    // Restarts are far above the ordinals of pods in the key.
    let key = entry.key() ^ (u64::from(restarts) << 24);
    cx.random.map_or_else(|| distribution.median(), |random| distribution.draw(random, purpose, key))
}

/// The process exists and uses CPU.
fn runs(world: &World, pod: PodId) -> bool {
    let entry = world.pod(pod);
    alive(world, pod)
        && entry.gone.is_none()
        && matches!(entry.process, Process::Starting | Process::Answering | Process::Stopping)
}

/// The machine of a pod answers.
fn alive(world: &World, pod: PodId) -> bool {
    world.pod(pod).node.is_none_or(|node| world.node(node).alive)
}

/// What a new connection to a pod through a target meets.
fn inlet_through(cx: &Cx, pod: PodId, app: &App, target: Option<TargetId>) -> Inlet {
    let group = target.map(|target| cx.world.targets[target.index()].group);
    let in_force = InForce::new(cx.plan, &cx.world.faults);
    if group.is_some_and(|group| in_force.drops(group, Passage::Request)) {
        return Inlet::Unreachable;
    }
    inlet(cx.world, pod, Some(app))
}

/// What a new connection to a pod meets.
fn inlet(world: &World, pod: PodId, app: Option<&App>) -> Inlet {
    let entry = world.pod(pod);
    if !alive(world, pod) || entry.gone.is_some() {
        return Inlet::Unreachable;
    }
    match entry.process {
        Process::Answering => Inlet::Open,
        Process::Stopping if app.is_some_and(App::keeps_listening) => Inlet::Open,
        Process::Absent | Process::Starting | Process::Stopping | Process::Ended => Inlet::Refused,
        Process::Vanished => Inlet::Unreachable,
    }
}

/// A container of a pod started or stopped: when all application containers run, the process starts.
fn container(cx: &mut Cx, pod: PodId) {
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

/// Whether a request of the patience list is still unanswered at this pod; its slot may belong to another by now.
fn still_here(world: &World, plan: &Plan, pod: PodId, due: Time, id: RequestId) -> bool {
    let request = world.request(id);
    let patience = patience(plan, &plan.apps[request.app.index()]);
    !request.settled && request.pod == pod && request.arrived + patience == due
}

/// How long clients wait for an answer: the load balancer's idle timeout, or less of their own.
fn patience(plan: &Plan, app: &App) -> Span {
    let idle = plan.flags.serving.idle_timeout;
    app.clients.timeout.map_or(idle, |timeout| timeout.min(idle))
}

/// What a request needs where that is drawn; `None`: as all do.
fn needs(cx: &Cx, app: &App, request: &Request) -> Option<Needs> {
    let random = cx.random?;
    if app.demand.cpu.is_none() && app.demand.wait.is_none() {
        return None;
    }
    let key = u64::from(request.app.0) << 48 | request.number;
    let drawn = |distribution: &Option<Distribution>, purpose, mean| {
        distribution.as_ref().map_or(mean, |distribution| distribution.draw(random, purpose, key))
    };
    let wait = drawn(&app.demand.wait, WAIT, app.wait_per_request);
    Some(Needs::new(wait, drawn(&app.demand.cpu, CPU, app.cpu_per_request)))
}

/// Takes requests that have ended from the front of the patience list.
fn forget_ended(state: &mut PodState, world: &World, pod: PodId) {
    while let Some(&(_, id)) = state.patience.front() {
        let request = world.request(id);
        if !request.settled && request.pod == pod {
            break;
        }
        state.patience.pop_front();
    }
}

/// Queued requests whose clients have gone leave the queue.
fn drop_settled(server: &mut Server, world: &mut World) {
    server.drop_queued(|request| {
        let gone = world.request(request).settled;
        if gone {
            world.free_request(request);
        }
        gone
    });
}
