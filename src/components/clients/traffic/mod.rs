//! Clients: arrivals and routing of requests.
//!
//! ```text
//!  World::loads ─► arrivals ─► routing over routable targets ─► World::route_request / set_flow ─► applications
//!                                       └─ nowhere to go: Loss::NoTarget
//! ```
//!
//! Models: evenly spaced or Poisson arrivals at the rate of a curve; the load balancer's choice of a target: round
//! robin (smooth and weighted when nodes of the load balancer disagree or a target starts slowly), least outstanding
//! requests, weighted random. ELB user guide, "Target groups" (routing algorithms, slow start, cross-zone load balancing:
//! when it is off, every zone that has targets gets the same share). Without a target group: all ready endpoints of the
//! Service alike, as kube-proxy does. Load given as cores only moves CPU meters.
//!
//! Left out: how long clients go on to a zone that has lost its targets (DNS, 60 s), anomaly detection of weighted
//! random.

mod arrivals;
mod sticky;

use crate::components::Cx;
use crate::engine::{Purpose, Span, Time};
use crate::plan::{App, AppId, Plan, RoutingAlgorithm, ServiceId, TargetGroup, TrafficMode, ZoneId};
use crate::world::{NodeId, PodId, Process, Share, Target, TargetId, World};
use arrivals::Arrivals;
use sticky::Sticky;

const ARRIVAL: Purpose = Purpose::named("traffic.arrival");
const CHOICE: Purpose = Purpose::named("traffic.choice");

/// Its memory.
#[derive(Default)]
pub struct Traffic {
    apps: Vec<AppTraffic>,
}

/// What it knows of an application.
struct AppTraffic {
    arrivals: Arrivals,
    /// When the pending `Next` is due.
    due: Option<Time>,
    /// Requests sent so far: keys their draws.
    number: u64,
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
                self.schedule(cx, app);
            }
            Event::Refresh(app) => {
                self.apps[app.index()].refresh = false;
                self.rerouted(cx, app);
            }
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
            state.number += 1;
            let need = need(cx, id, state.number, 1.0);
            state.arrivals.arrived(cx.now, need);
            self.send(cx, id);
        }
        self.schedule(cx, id);
    }

    /// The next arrival, or the next step of the flow.
    fn schedule(&mut self, cx: &mut Cx, id: AppId) {
        let app = &cx.plan.apps[id.index()];
        let state = &mut self.apps[id.index()];
        if app.mode == TrafficMode::Requests && app.cores.is_none() {
            state.due = state.arrivals.next();
        } else {
            let (rate, end) = state.arrivals.step(cx.plan.start, cx.plan.flags.serving.ramp_step);
            state.rate = rate.max(0.0);
            state.due = end;
            self.flow(cx, id);
        }
        if let Some(due) = self.apps[id.index()].due.filter(|&due| due <= cx.plan.until) {
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
        if ramps && !state.refresh {
            state.refresh = true;
            cx.after(cx.plan.flags.serving.ramp_step, crate::components::Event::Traffic(Event::Refresh(id)));
        }
        self.flow(cx, id);
    }

    /// Sends one request.
    fn send(&mut self, cx: &mut Cx, id: AppId) {
        let state = &mut self.apps[id.index()];
        if state.routes.is_empty() {
            cx.world.refuse_request(id);
            return;
        }
        let group = cx.plan.apps[id.index()].target_group.map(|group| &cx.plan.target_groups[group.index()]);
        let client = state.sticky.as_mut().map(|sticky| sticky.client(cx, state.number));
        let held =
            state.sticky.as_ref().zip(client).and_then(|(sticky, client)| sticky.held(client, cx.now, &state.routes));
        let index = held.unwrap_or_else(|| choose(state, cx, id, group));
        let route = state.routes[index];
        if held.is_none() {
            state.pointer = index + 1;
            state.last = Some(route.key());
            if let Some((sticky, client)) = state.sticky.as_mut().zip(client) {
                sticky.give(client, cx.now, &route);
            }
        }
        let pod = match route.node {
            None => route.pod,
            Some(node) => {
                let pods = pods_behind(cx.plan, cx.world, route, node);
                state.behind += 1;
                pods.get(state.behind % pods.len().max(1)).copied().unwrap_or(route.pod)
            }
        };
        if let Some(target) = route.target {
            cx.world.note_in_service(target);
        }
        cx.world.route_request(id, pod, route.target);
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

/// What the integral of the rate must grow by until the next arrival.
fn need(cx: &Cx, app: AppId, number: u64, even: f64) -> f64 {
    let key = u64::from(app.0) << 48 | number;
    cx.random.map_or(even, |random| -(-random.uniform(ARRIVAL, key)).ln_1p())
}

/// The route of the next request (position).
fn choose(state: &mut AppTraffic, cx: &Cx, id: AppId, group: Option<&TargetGroup>) -> usize {
    let count = state.routes.len();
    let next = if state.pointer < count { state.pointer } else { 0 };
    let key = u64::from(id.0) << 48 | state.number;
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
    let loaded = pods.iter().filter(|&&pod| is_loaded(cx.world, pod)).count();
    for pod in pods {
        let lives = cx.world.pod(pod).node.is_none_or(|node| cx.world.node(node).alive);
        let process = cx.world.pod(pod).process;
        let runs = lives && matches!(process, Process::Starting | Process::Answering | Process::Stopping);
        let idle = app.idle_cpu.0 as f64 / 1e3;
        let limit = cx.world.template_of(pod).cpu_limit().map_or(1.0, |cpu| cpu.0 as f64 / 1e3);
        let cores = match (runs, is_loaded(cx.world, pod)) {
            (false, _) => 0.0,
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
