//! Clients: arrivals and routing of requests.
//!
//! ```text
//!  World::loads ─► arrivals ─► routing over routable targets ─► World::route_request / set_flow ─► applications
//!                                       └─ nowhere to go: Loss::NoTarget
//! ```
//!
//! Models: evenly spaced or random arrivals at the rate of a curve, users in a closed loop and retries (`reactions`); the
//! load balancer's choice of a target: round robin (smooth and weighted when nodes of the load balancer disagree or a target
//! starts slowly), least outstanding requests, weighted random. ELB user guide, "Target groups" (routing algorithms, slow
//! start, cross-zone load balancing: when it is off, every zone that has targets gets the same share). Without a target
//! group: all ready endpoints of the Service alike, as kube-proxy does. Load given as cores only moves CPU meters.
//!
//! Left out: how long clients go on to a zone that has lost its targets (DNS, 60 s), anomaly detection of weighted
//! random.

mod arrivals;
mod choice;
mod reactions;
mod routes;
mod sticky;

use crate::components::Cx;
use crate::engine::{Ahead, Purpose, Time, TimerId};
use crate::plan::{App, AppId, ServiceId, TrafficMode};
use crate::world::{Answer, Loss, PodId, Process, RequestId, Sent, Share, TargetId};
use arrivals::Arrivals;
use choice::choose;
use reactions::Reactions;
use routes::{Route, is_loaded, leads_alike, pods_behind, pods_of, routes, service_of, shares};
use std::collections::VecDeque;
use sticky::Sticky;

const ARRIVAL: Purpose = Purpose::named("traffic.arrival");

/// Its memory.
#[derive(Default)]
pub struct Traffic {
    apps: Vec<AppTraffic>,
    answers: Vec<Answer>,
    /// Only their memory is used again.
    routes_before: Vec<Route>,
    shares: Vec<Share>,
}

/// What it knows of an application.
struct AppTraffic {
    arrivals: Arrivals,
    /// Brings `Next`.
    timer: TimerId,
    /// When the pending `Next` is due.
    due: Option<Time>,
    /// Requests that have arrived so far: keys their draws.
    number: u64,
    /// What the integral of the rate must grow by until the next arrival, by number.
    gaps: Ahead<f64>,
    /// Users of a closed loop, and retries.
    reactions: Reactions,
    /// Requests held for a pod, with the time when that ends.
    held: VecDeque<(Time, RequestId)>,
    routes: Vec<Route>,
    /// All routes have the same weight.
    even: bool,
    /// The route after the one used last.
    pointer: usize,
    /// Target (or pod) used last: the pointer survives a change of the routes.
    last: Option<u32>,
    /// Requests sent to node targets: spreads them over the pods behind.
    behind: usize,
    /// The mean rate of the present step of the flow.
    rate: f64,
    /// A pending `Refresh`.
    refresh: bool,
    /// Clients with cookies, where the target group has sticky sessions.
    sticky: Option<Sticky>,
}

impl AppTraffic {
    /// Requests go on with the new routes where they were with those of before.
    fn keep_turn(&mut self, routes: &mut [Route]) {
        if self.routes.iter().any(|before| before.credit != 0.0) {
            for route in routes.iter_mut() {
                let before = self.routes.iter().find(|before| before.key() == route.key());
                route.credit = before.map_or(0.0, |before| before.credit);
            }
        }
        self.even = routes.windows(2).all(|pair| pair[0].weight == pair[1].weight);
        self.pointer = self.last.map_or(0, |last| routes.partition_point(|route| route.key() <= last));
    }
}

/// Why it may be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// The next request of an application arrives, or its rate changes.
    Next(AppId),
    /// A target became or ceased to be routable, or its weight changed.
    Target(TargetId),
    /// Endpoints of a Service changed.
    Endpoints(ServiceId),
    /// Pods that get their load without a target group changed.
    Pods(AppId),
    /// The load of an application was replaced.
    Load(AppId),
    /// Shares of targets in slow start grow.
    Refresh(AppId),
    /// Clients that react have got answers.
    Answers(AppId),
}

impl Traffic {
    /// Schedules the first events.
    pub fn start(&mut self, cx: &mut Cx) {
        for index in 0..cx.plan.apps.len() {
            let id = AppId::at(index);
            let need = need(cx, id, 0, 0.5);
            let timer = cx.queue.timer(crate::components::Event::Traffic(Event::Next(id)));
            self.apps.push(AppTraffic {
                timer,
                arrivals: Arrivals::new(cx.world.loads[index].clone(), cx.now, need),
                due: None,
                number: 0,
                gaps: Ahead::default(),
                reactions: Reactions::default(),
                held: VecDeque::new(),
                routes: Vec::new(),
                even: true,
                pointer: 0,
                last: None,
                behind: 0,
                rate: 0.0,
                refresh: false,
                sticky: None,
            });
            let group = cx.plan.apps[index].target_group.map(|group| &cx.plan.target_groups[group.index()]);
            if let Some(spec) = group.and_then(|group| group.stickiness) {
                let (routes, _) = routes(cx.plan, cx.world, &cx.plan.apps[index], Vec::new());
                self.apps[index].sticky = Some(Sticky::new(cx, id, spec, &routes));
            }
            self.count_users(cx, id);
            self.rerouted(cx, id);
            self.schedule(cx, id);
        }
    }

    /// Observe, decide, apply, schedule.
    pub fn handle(&mut self, cx: &mut Cx, event: Event) {
        match event {
            Event::Next(app) => self.next(cx, app),
            Event::Target(target) => {
                let group = cx.world.targets[target.index()].group;
                self.rerouted_where(cx, |app| app.target_group == Some(group));
            }
            Event::Endpoints(service) => {
                let behind_nodes = |app: &App| {
                    app.target_group.is_some_and(|group| {
                        let mut bindings = cx.plan.bindings.iter().filter(|binding| binding.target_group == group);
                        bindings.any(|binding| binding.instance_targets)
                    })
                };
                for (index, app) in cx.plan.apps.iter().enumerate() {
                    let direct = app.target_group.is_none();
                    if behind_nodes(app) || direct && service_of(cx.plan, cx.world, app) == Some(service) {
                        self.rerouted(cx, AppId::at(index));
                    }
                }
            }
            Event::Pods(app) => self.rerouted(cx, app),
            Event::Load(app) => {
                let curve = cx.world.loads[app.index()].clone();
                self.apps[app.index()].arrivals.replace(cx.now, curve);
                self.apps[app.index()].due = None;
                self.count_users(cx, app);
                self.schedule(cx, app);
            }
            Event::Refresh(app) => {
                self.apps[app.index()].refresh = false;
                self.rerouted(cx, app);
            }
            Event::Answers(app) => self.answered(cx, app),
        }
    }

    /// The next request of an application arrives, or its rate changes.
    pub fn next(&mut self, cx: &mut Cx, id: AppId) {
        let state = &mut self.apps[id.index()];
        if state.due.is_none_or(|due| cx.now < due) {
            return;
        }
        state.due = None;
        let app = &cx.plan.apps[id.index()];
        if app.mode == TrafficMode::Requests && app.cores.is_none() {
            // Without anything else the event is the arrival.
            let arrival = !has_more(app) || state.arrivals.next().is_some_and(|at| at <= cx.now);
            if app.clients.think.is_none() && arrival {
                state.number += 1;
                let gap = |number| need(cx, id, number, 1.0);
                let need = state.gaps.get(state.number, gap);
                state.arrivals.arrived(cx.now, need);
                state.reactions.tried();
                let sent = Sent { app: id, number: state.number, attempt: 0 };
                self.send(cx, sent, None);
            }
            if has_more(app) {
                self.more(cx, id);
            }
        }
        self.schedule(cx, id);
    }

    /// What is due beside arrivals: users and retries, and the end of patience with requests that are held.
    fn more(&mut self, cx: &mut Cx, id: AppId) {
        let clients = &cx.plan.apps[id.index()].clients;
        if self.apps[id.index()].reactions.changes.is_some_and(|at| at <= cx.now) {
            self.count_users(cx, id);
        }
        while let Some(sent) = self.apps[id.index()].reactions.take(cx.now, id, clients) {
            if sent.attempt == 0 {
                self.apps[id.index()].reactions.tried();
            }
            self.send(cx, sent, None);
        }
        while let Some(&(_, request)) = self.apps[id.index()].held.front().filter(|(until, _)| *until <= cx.now) {
            self.apps[id.index()].held.pop_front();
            cx.world.lose_request(request, Loss::NoTarget);
            cx.world.free_request(request);
        }
    }

    /// The number of users is what the curve says.
    fn count_users(&mut self, cx: &mut Cx, id: AppId) {
        let Some(think) = &cx.plan.apps[id.index()].clients.think else { return };
        let state = &mut self.apps[id.index()];
        let (users, end) = state.arrivals.step(cx.plan.start, cx.plan.flags.serving.ramp_step);
        state.reactions.populate(cx, id, think, users);
        state.reactions.changes = end;
    }

    /// Clients look at their answers.
    fn answered(&mut self, cx: &mut Cx, id: AppId) {
        let mut answers = std::mem::take(&mut self.answers);
        cx.world.take_answers(id, &mut answers);
        for answer in answers.drain(..) {
            self.apps[id.index()].reactions.answered(cx, id, &cx.plan.apps[id.index()].clients, answer);
        }
        self.answers = answers;
        self.schedule(cx, id);
    }

    /// The next arrival, or the next step of the flow.
    fn schedule(&mut self, cx: &mut Cx, id: AppId) {
        let app = &cx.plan.apps[id.index()];
        let state = &mut self.apps[id.index()];
        let before = state.due;
        if app.mode == TrafficMode::Requests && app.cores.is_none() {
            state.due = if app.clients.think.is_some() { None } else { state.arrivals.next() };
            if has_more(app) {
                let held = state.held.front().map(|&(until, _)| until);
                state.due = [state.due, state.reactions.next(), held].into_iter().flatten().min();
            }
        } else {
            let (rate, end) = state.arrivals.step(cx.plan.start, cx.plan.flags.serving.ramp_step);
            state.rate = rate.max(0.0);
            state.due = end;
            self.flow(cx, id);
        }
        let due = self.apps[id.index()].due.filter(|&due| due <= cx.plan.until && before != Some(due));
        if let Some(due) = due {
            cx.set(self.apps[id.index()].timer, due);
        }
    }

    fn rerouted_where(&mut self, cx: &mut Cx, wanted: impl Fn(&App) -> bool) {
        for index in 0..cx.plan.apps.len() {
            if wanted(&cx.plan.apps[index]) {
                self.rerouted(cx, AppId::at(index));
            }
        }
    }

    /// Looks anew where requests of an application can go.
    fn rerouted(&mut self, cx: &mut Cx, id: AppId) {
        let app = &cx.plan.apps[id.index()];
        if app.cores.is_some() {
            self.flow(cx, id);
            return;
        }
        let (mut routes, mut ramps) = routes(cx.plan, cx.world, app, std::mem::take(&mut self.routes_before));
        let state = &mut self.apps[id.index()];
        if let Some(sticky) = state.sticky.as_mut().filter(|_| app.mode == TrafficMode::Fluid && !routes.is_empty()) {
            ramps |= sticky.weigh(cx.now, &mut routes);
        }
        // A flow takes no turns.
        if app.mode == TrafficMode::Requests {
            state.keep_turn(&mut routes);
        }
        let same = leads_alike(&state.routes, &routes);
        self.routes_before = std::mem::replace(&mut state.routes, routes);
        self.release(cx, id);
        let state = &mut self.apps[id.index()];
        if ramps && !state.refresh {
            state.refresh = true;
            cx.after(cx.plan.flags.serving.ramp_step, crate::components::Event::Traffic(Event::Refresh(id)));
        }
        if !same {
            self.flow(cx, id);
        } else if cfg!(debug_assertions) && app.mode == TrafficMode::Fluid {
            let shares = shares(cx.plan, cx.world, &state.routes, Vec::new());
            assert_eq!(shares, cx.world.flows[id.index()].shares, "the same routes make the same flow");
        }
    }

    /// What was held goes to the pods that there are now.
    fn release(&mut self, cx: &mut Cx, id: AppId) {
        if self.apps[id.index()].routes.is_empty() {
            return;
        }
        while let Some((_, request)) = self.apps[id.index()].held.pop_front() {
            let crate::world::Request { number, attempt, .. } = *cx.world.request(request);
            self.send(cx, Sent { app: id, number, attempt }, Some(request));
        }
    }

    /// Sends one request, perhaps one that was held.
    fn send(&mut self, cx: &mut Cx, sent: Sent, held: Option<RequestId>) {
        let id = sent.app;
        let state = &mut self.apps[id.index()];
        if state.routes.is_empty() {
            let hold = cx.plan.apps[id.index()].clients.hold;
            if hold.is_zero() {
                cx.world.refuse_request(sent);
            } else {
                let request = cx.world.hold_request(sent);
                state.held.push_back((cx.now + hold, request));
            }
            return;
        }
        let (pod, target) = self.route(cx, sent);
        if let Some(target) = target {
            cx.world.note_in_service(target);
        }
        match held {
            Some(request) => cx.world.give_request(request, pod, target),
            None => {
                cx.world.route_request(sent, pod, target);
            }
        }
    }

    /// Where a request goes: to the target that its client's cookie names, else by the algorithm.
    fn route(&mut self, cx: &Cx, sent: Sent) -> (PodId, Option<TargetId>) {
        let id = sent.app;
        let state = &mut self.apps[id.index()];
        let group = cx.plan.apps[id.index()].target_group.map(|group| &cx.plan.target_groups[group.index()]);
        let client = state.sticky.as_mut().map(|sticky| sticky.client(cx, sent.number));
        let held =
            state.sticky.as_ref().zip(client).and_then(|(sticky, client)| sticky.held(client, cx.now, &state.routes));
        let index = held.unwrap_or_else(|| choose(state, cx, sent, group));
        let route = state.routes[index];
        if held.is_none() {
            state.pointer = index + 1;
            state.last = Some(route.key());
            if let Some((sticky, client)) = state.sticky.as_mut().zip(client) {
                sticky.give(client, cx.now, &route);
            }
        }
        let Some(node) = route.node else { return (route.pod, route.target) };
        let pods = pods_behind(cx.plan, cx.world, route, node);
        state.behind += 1;
        (pods.get(state.behind % pods.len().max(1)).copied().unwrap_or(route.pod), route.target)
    }

    /// Tells applications the present flow, or moves the meters of pods whose load is given as cores.
    fn flow(&mut self, cx: &mut Cx, id: AppId) {
        let app = &cx.plan.apps[id.index()];
        let state = &self.apps[id.index()];
        if app.cores.is_some() {
            share_cores(cx, app, state.rate);
        } else if app.mode == TrafficMode::Fluid {
            let shares = shares(cx.plan, cx.world, &state.routes, std::mem::take(&mut self.shares));
            cx.world.set_flow(id, state.rate, &shares);
            self.shares = shares;
            if state.rate > 0.0 {
                for target in state.routes.iter().filter(|route| route.weight > 0.0).filter_map(|route| route.target) {
                    cx.world.note_in_service(target);
                }
            }
        }
    }
}

/// Something may be due beside arrivals.
fn has_more(app: &App) -> bool {
    app.clients.react() || !app.clients.hold.is_zero()
}

/// Key of the draws of a request.
fn key(app: AppId, number: u64) -> u64 {
    u64::from(app.0) << 48 | number
}

/// What the integral of the rate must grow by until the next arrival.
#[inline(always)]
fn need(cx: &Cx, app: AppId, number: u64, even: f64) -> f64 {
    let variation = cx.plan.apps[app.index()].clients.variation;
    match cx.random {
        Some(random) => arrivals::gap(variation, random.uniform(ARRIVAL, key(app, number))),
        None => even,
    }
}

/// Load as cores: shared by the ready pods, each at most its limit, or one core without a limit.
fn share_cores(cx: &mut Cx, app: &App, cores: f64) {
    let pods: Vec<PodId> = pods_of(cx.world, app).collect();
    let shares =
        |other: &&App| std::ptr::eq(*other, app) || (app.load_group.is_some() && other.load_group == app.load_group);
    let sharing = cx.plan.apps.iter().filter(shares);
    let loaded: usize =
        sharing.map(|other| pods_of(cx.world, other).filter(|&pod| is_loaded(cx.world, pod)).count()).sum();
    for pod in pods {
        let lives = cx.world.pod(pod).node.is_none_or(|node| cx.world.node(node).alive);
        let process = cx.world.pod(pod).process;
        let runs = lives && matches!(process, Process::Starting | Process::Answering | Process::Stopping);
        let idle = app.idle_cpu.0 as f64 / 1e3;
        let limit = cx.world.template_of(pod).cpu_limit().map_or(1.0, |cpu| cpu.0 as f64 / 1e3);
        let cores = match (runs, is_loaded(cx.world, pod)) {
            (false, _) => 0.0,
            (true, true) if let Some(cap) = app.cores_per_pod => (cores / loaded as f64).min(cap).min(limit.max(cap)),
            (true, false) => idle.min(limit),
            (true, true) => (idle + cores / loaded as f64).min(limit),
        };
        let (now, rate) = (cx.now, (cores * 1e9).round() as u64);
        let meter = cx.world.cpu_meter(pod);
        if meter.rate() != rate {
            meter.set(now, rate);
        }
    }
}

#[cfg(test)]
mod tests;
