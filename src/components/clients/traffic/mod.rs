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
mod reactions;
mod sticky;

use crate::components::Cx;
use crate::engine::{Purpose, Span, Time};
use crate::plan::{App, AppId, Plan, RoutingAlgorithm, ServiceId, TargetGroup, TrafficMode, ZoneId};
use crate::world::{Answer, Loss, NodeId, PodId, Process, RequestId, Sent, Share, Target, TargetId, World};
use arrivals::Arrivals;
use reactions::Reactions;
use std::collections::VecDeque;
use sticky::Sticky;

const ARRIVAL: Purpose = Purpose::named("traffic.arrival");
const CHOICE: Purpose = Purpose::named("traffic.choice");

/// Its memory.
#[derive(Default)]
pub struct Traffic {
    apps: Vec<AppTraffic>,
    answers: Vec<Answer>,
}

/// What it knows of an application.
struct AppTraffic {
    arrivals: Arrivals,
    /// When the pending `Next` is due.
    due: Option<Time>,
    /// Requests that have arrived so far: keys their draws.
    number: u64,
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

/// Somewhere a request can go.
#[derive(Clone, Copy, Debug)]
struct Route {
    pod: PodId,
    target: Option<TargetId>,
    node: Option<NodeId>,
    /// The zone whose nodes of the load balancer alone reach it; `None`: all do.
    zone: Option<ZoneId>,
    weight: f64,
    /// Credit of smooth weighted round robin.
    credit: f64,
}

impl Route {
    fn key(&self) -> u32 {
        self.target.map_or(self.pod.0, |target| target.0)
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
            self.apps.push(AppTraffic {
                arrivals: Arrivals::new(cx.world.loads[index].clone(), cx.now, need),
                due: None,
                number: 0,
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
                let (routes, _) = routes(cx.plan, cx.world, &cx.plan.apps[index]);
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
                let named: Vec<bool> = (cx.plan.apps.iter())
                    .map(|app| behind_nodes(app) || service_of(cx.plan, cx.world, app) == Some(service))
                    .collect();
                for (index, named) in named.into_iter().enumerate() {
                    if named {
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

    fn next(&mut self, cx: &mut Cx, id: AppId) {
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
                let need = need(cx, id, state.number, 1.0);
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
            cx.at(due, crate::components::Event::Traffic(Event::Next(id)));
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
        let (mut routes, mut ramps) = routes(cx.plan, cx.world, app);
        let state = &mut self.apps[id.index()];
        if let Some(sticky) = state.sticky.as_mut().filter(|_| app.mode == TrafficMode::Fluid && !routes.is_empty()) {
            ramps |= sticky.weigh(cx.now, &mut routes);
        }
        for route in &mut routes {
            let before = state.routes.iter().find(|before| before.key() == route.key());
            route.credit = before.map_or(0.0, |before| before.credit);
        }
        state.even = routes.windows(2).all(|pair| pair[0].weight == pair[1].weight);
        state.pointer = state.last.map_or(0, |last| routes.partition_point(|route| route.key() <= last));
        state.routes = routes;
        self.release(cx, id);
        let state = &mut self.apps[id.index()];
        if ramps && !state.refresh {
            state.refresh = true;
            cx.after(cx.plan.flags.serving.ramp_step, crate::components::Event::Traffic(Event::Refresh(id)));
        }
        self.flow(cx, id);
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
            let shares = shares(cx.plan, cx.world, &state.routes);
            cx.world.set_flow(id, state.rate, &shares);
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
fn need(cx: &Cx, app: AppId, number: u64, even: f64) -> f64 {
    let variation = cx.plan.apps[app.index()].clients.variation;
    cx.random.map_or(even, |random| arrivals::gap(variation, random.uniform(ARRIVAL, key(app, number))))
}

/// The route of the next request (position).
fn choose(state: &mut AppTraffic, cx: &Cx, sent: Sent, group: Option<&TargetGroup>) -> usize {
    let count = state.routes.len();
    let next = if state.pointer < count { state.pointer } else { 0 };
    let key = key(sent.app, sent.number) ^ u64::from(sent.attempt) << 56;
    match group.map(|group| group.algorithm) {
        // kube-proxy in its default mode picks by chance.
        None if cx.random.is_some() => cx.pick(CHOICE, key, count),
        None => next,
        Some(RoutingAlgorithm::LeastOutstandingRequests) => {
            // Without cross-zone balancing the request is at a node of some zone already.
            let is_zonal = group.is_some_and(|group| !group.cross_zone);
            let at = if is_zonal { smooth(&mut state.routes, next) } else { next };
            let zone = state.routes[at].zone;
            let reachable = |index: &usize| state.routes[*index].zone == zone;
            let outstanding = |index: &usize| {
                let target = state.routes[*index].target;
                target.map_or(0, |target| cx.world.targets[target.index()].outstanding)
            };
            (at..count).chain(0..at).filter(reachable).min_by_key(outstanding).unwrap_or(at)
        }
        Some(RoutingAlgorithm::WeightedRandom) if cx.random.is_some() => {
            let uniform = cx.random.map_or(0.0, |random| random.uniform(CHOICE, key));
            by_weight(&state.routes, uniform)
        }
        Some(RoutingAlgorithm::RoundRobin | RoutingAlgorithm::WeightedRandom) if state.even => next,
        Some(RoutingAlgorithm::RoundRobin | RoutingAlgorithm::WeightedRandom) => smooth(&mut state.routes, next),
    }
}

/// The route at `uniform` of the sum of weights.
fn by_weight(routes: &[Route], uniform: f64) -> usize {
    let mut left = uniform * routes.iter().map(|route| route.weight).sum::<f64>();
    for (index, route) in routes.iter().enumerate() {
        left -= route.weight;
        if left < 0.0 {
            return index;
        }
    }
    routes.len().saturating_sub(1)
}

/// Smooth weighted round robin: every route earns its weight, the richest is served and pays for all.
fn smooth(routes: &mut [Route], next: usize) -> usize {
    let total: f64 = routes.iter().map(|route| route.weight).sum();
    routes.iter_mut().for_each(|route| route.credit += route.weight);
    let count = routes.len();
    let mut best = next;
    for index in (next..count).chain(0..next) {
        if routes[index].credit > routes[best].credit {
            best = index;
        }
    }
    routes[best].credit -= total;
    best
}

/// Where requests of an application can go now, and whether a weight grows with time.
fn routes(plan: &Plan, world: &World, app: &App) -> (Vec<Route>, bool) {
    let Some(id) = app.target_group else {
        let route = |pod| Route { pod, target: None, node: None, zone: None, weight: 1.0, credit: 0.0 };
        return (direct_pods(plan, world, app).into_iter().map(route).collect(), false);
    };
    let group = &plan.target_groups[id.index()];
    let routable = || world.group_targets[id.index()].iter().map(|target| &world.targets[target.index()]);
    let starting = |target: &Target| slow_start(group, target, world.now).is_some();
    // Slow start has no effect while nobody is outside it.
    let settled = routable().any(|target| target.routable && !starting(target));
    let weight = |target: &Target| {
        let ramp = slow_start(group, target, world.now).filter(|_| settled).unwrap_or(1.0);
        f64::from(target.weight.max(1)) * ramp
    };
    let mut chosen: Vec<Route> = routable()
        .filter(|target| target.routable)
        .map(|target| Route {
            pod: target.pod,
            target: Some(target.id),
            node: target.node,
            zone: zone_of(world, target).filter(|_| !group.cross_zone),
            weight: weight(target),
            credit: 0.0,
        })
        .collect();
    if !group.cross_zone {
        share_zones(&mut chosen);
    }
    let ramps = routable().any(|target| target.routable && starting(target));
    (chosen, ramps)
}

/// The zone of a target: its node's.
fn zone_of(world: &World, target: &Target) -> Option<ZoneId> {
    let node = target.node.or(world.pod(target.pod).node)?;
    world.node(node).zone
}

/// Every zone that has targets gets the same share, which its targets divide by their weights.
fn share_zones(routes: &mut [Route]) {
    let mut sums: Vec<(Option<ZoneId>, f64)> = Vec::new();
    for route in routes.iter() {
        match sums.iter_mut().find(|(zone, _)| *zone == route.zone) {
            Some((_, sum)) => *sum += route.weight,
            None => sums.push((route.zone, route.weight)),
        }
    }
    for route in routes {
        let sum = sums.iter().find(|(zone, _)| *zone == route.zone).map_or(1.0, |&(_, sum)| sum);
        route.weight /= sum;
    }
}

/// The part of its share that a target in slow start gets; `None`: it is not in slow start.
fn slow_start(group: &TargetGroup, target: &Target, now: Time) -> Option<f64> {
    let since = target.healthy_since.filter(|_| !group.slow_start.is_zero())?;
    let passed = now.since(since);
    // Its first requests come within the first step: a share of zero would keep it out for good.
    let least = Span::from_secs(1).min(group.slow_start);
    (passed < group.slow_start).then(|| passed.max(least).seconds() / group.slow_start.seconds())
}

/// Pods that get requests without a target group: ready endpoints, or ready pods if there is no Service.
fn direct_pods(plan: &Plan, world: &World, app: &App) -> Vec<PodId> {
    let mut pods: Vec<PodId> = match service_of(plan, world, app) {
        Some(service) => {
            let endpoints = world.endpoints[service.index()].iter();
            endpoints.filter(|endpoint| endpoint.ready).map(|endpoint| endpoint.pod).collect()
        }
        None => pods_of(world, app).filter(|&pod| is_loaded(world, pod)).collect(),
    };
    pods.sort_unstable();
    pods
}

/// The first Service that selects the pods of an application.
fn service_of(plan: &Plan, world: &World, app: &App) -> Option<ServiceId> {
    let spec = &world.deployments[app.deployment.index()].spec;
    let template = world.template(spec.template);
    let selects = |service: &&std::sync::Arc<crate::plan::ServiceSpec>| {
        let selector = service.selector.as_ref();
        service.namespace == template.namespace && selector.is_some_and(|selector| selector.matches(&template.labels))
    };
    plan.services.iter().position(|service| selects(&service)).map(ServiceId::at)
}

/// All pods of an application.
fn pods_of<'a>(world: &'a World, app: &App) -> impl Iterator<Item = PodId> + 'a {
    let sets = world.deployments[app.deployment.index()].replica_sets.iter();
    sets.flat_map(|set| world.replica_sets[set.index()].pods.iter().copied())
}

/// Ready and not on its way out.
fn is_loaded(world: &World, pod: PodId) -> bool {
    world.pod(pod).is_ready() && world.pod(pod).deleting_since.is_none()
}

/// Pods to which a node passes requests: those on it, else all.
fn pods_behind(plan: &Plan, world: &World, route: Route, node: NodeId) -> Vec<PodId> {
    let group = route.target.map(|target| world.targets[target.index()].group);
    let ready = plan.bindings.iter().filter(|binding| Some(binding.target_group) == group).flat_map(|binding| {
        let named = |service: &std::sync::Arc<crate::plan::ServiceSpec>| {
            service.namespace == binding.namespace && service.name == binding.service_name
        };
        let service = plan.services.iter().position(named);
        service.map_or(&[][..], |service| &world.endpoints[service]).iter().filter(|endpoint| endpoint.ready)
    });
    let all: Vec<_> = ready.collect();
    let here: Vec<PodId> = all.iter().filter(|point| point.node == Some(node)).map(|point| point.pod).collect();
    if here.is_empty() { all.iter().map(|point| point.pod).collect() } else { here }
}

/// Shares of a flow: one entry a pod, adding up to 1.
fn shares(plan: &Plan, world: &World, routes: &[Route]) -> Vec<Share> {
    let total: f64 = routes.iter().map(|route| route.weight).sum();
    let mut shares: Vec<Share> = Vec::with_capacity(routes.len());
    let mut add =
        |pod: PodId, target, share: f64, merge: bool| match shares.iter_mut().find(|other| merge && other.pod == pod) {
            Some(other) => *other = Share { target, share: other.share + share, ..*other },
            None => shares.push(Share { pod, target, share }),
        };
    // Only nodes, or an address registered again while it drains, lead to a pod twice.
    let mut seen: Vec<PodId> = routes.iter().map(|route| route.pod).collect();
    seen.sort_unstable();
    let merge = seen.windows(2).any(|pair| pair[0] == pair[1]) || routes.iter().any(|route| route.node.is_some());
    for route in routes.iter().filter(|route| route.weight > 0.0) {
        let share = route.weight / total;
        match route.node {
            None => add(route.pod, route.target, share, merge),
            Some(node) => {
                let pods = pods_behind(plan, world, *route, node);
                for &pod in &pods {
                    add(pod, route.target, share / pods.len() as f64, merge);
                }
            }
        }
    }
    shares
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
