//! Where requests of an application can go: the routable targets of its group, or the ready endpoints of its Service.
//!
//! ELB user guide, "Target groups": slow start, and cross-zone load balancing (when it is off, every zone that has targets gets
//! the same share). Without a target group: all ready endpoints of the Service alike, as kube-proxy does.

use crate::engine::{Span, Time};
use crate::plan::{App, Plan, ServiceId, TargetGroup, ZoneId};
use crate::world::{NodeId, PodId, Share, Target, TargetId, World};

/// Somewhere a request can go.
#[derive(Clone, Copy, Debug)]
pub(super) struct Route {
    pub(super) pod: PodId,
    pub(super) target: Option<TargetId>,
    pub(super) node: Option<NodeId>,
    /// The zone whose nodes of the load balancer alone reach it; `None`: all do.
    pub(super) zone: Option<ZoneId>,
    pub(super) weight: f64,
    /// Credit of smooth weighted round robin.
    pub(super) credit: f64,
}

impl Route {
    pub(super) fn key(&self) -> u32 {
        self.target.map_or(self.pod.0, |target| target.0)
    }
}

/// A flow over these routes goes the same way as one over those. Where a route leads that ends at a node, endpoints tell.
pub(super) fn leads_alike(these: &[Route], those: &[Route]) -> bool {
    let alike = |(this, that): (&Route, &Route)| {
        let ends = |route: &Route| (route.pod, route.target);
        ends(this) == ends(that) && this.weight == that.weight && this.node.is_none() && that.node.is_none()
    };
    these.len() == those.len() && these.iter().zip(those).all(alike)
}

/// Where requests of an application can go now, in the memory of `chosen`, and whether a weight grows with time.
pub(super) fn routes(plan: &Plan, world: &World, app: &App, mut chosen: Vec<Route>) -> (Vec<Route>, bool) {
    chosen.clear();
    let Some(id) = app.target_group else {
        let route = |pod| Route { pod, target: None, node: None, zone: None, weight: 1.0, credit: 0.0 };
        chosen.extend(direct_pods(plan, world, app).into_iter().map(route));
        return (chosen, false);
    };
    let group = &plan.target_groups[id.index()];
    let of_group = &world.group_targets[id.index()];
    let routable = || of_group.iter().map(|target| &world.targets[target.index()]).filter(|target| target.routable);
    let ramp = |target: &Target| slow_start(group, target, world.now);
    let starting = !group.slow_start.is_zero() && routable().any(|target| ramp(target).is_some());
    // Slow start has no effect while nobody is outside it.
    let ramps = starting && routable().any(|target| ramp(target).is_none());
    chosen.reserve(of_group.len());
    for target in routable() {
        let zone = if group.cross_zone { None } else { zone_of(world, target) };
        let mut weight = f64::from(target.weight.max(1));
        if ramps {
            weight *= ramp(target).unwrap_or(1.0);
        }
        let (pod, node) = (target.pod, target.node);
        chosen.push(Route { pod, target: Some(target.id), node, zone, weight, credit: 0.0 });
    }
    if !group.cross_zone {
        share_zones(&mut chosen);
    }
    (chosen, starting)
}

/// The zone of a target: its node's.
pub(super) fn zone_of(world: &World, target: &Target) -> Option<ZoneId> {
    let node = target.node.or(world.pod(target.pod).node)?;
    world.node(node).zone
}

/// Every zone that has targets gets the same share, which its targets divide by their weights.
pub(super) fn share_zones(routes: &mut [Route]) {
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
pub(super) fn slow_start(group: &TargetGroup, target: &Target, now: Time) -> Option<f64> {
    let since = target.healthy_since.filter(|_| !group.slow_start.is_zero())?;
    let passed = now.since(since);
    // Its first requests come within the first step: a share of zero would keep it out for good.
    let least = Span::from_secs(1).min(group.slow_start);
    (passed < group.slow_start).then(|| passed.max(least).seconds() / group.slow_start.seconds())
}

/// Pods that get requests without a target group: ready endpoints, or ready pods if there is no Service.
pub(super) fn direct_pods(plan: &Plan, world: &World, app: &App) -> Vec<PodId> {
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
pub(super) fn service_of(plan: &Plan, world: &World, app: &App) -> Option<ServiceId> {
    let spec = &world.deployments[app.deployment.index()].spec;
    let template = world.template(spec.template);
    let selects = |service: &&std::sync::Arc<crate::plan::ServiceSpec>| {
        let selector = service.selector.as_ref();
        service.namespace == template.namespace && selector.is_some_and(|selector| selector.matches(&template.labels))
    };
    plan.services.iter().position(|service| selects(&service)).map(ServiceId::at)
}

/// All pods of an application.
pub(super) fn pods_of<'a>(world: &'a World, app: &App) -> impl Iterator<Item = PodId> + 'a {
    let sets = world.deployments[app.deployment.index()].replica_sets.iter();
    sets.flat_map(|set| world.replica_sets[set.index()].pods.iter().copied())
}

/// Ready and not on its way out.
pub(super) fn is_loaded(world: &World, pod: PodId) -> bool {
    world.pod(pod).is_ready() && world.pod(pod).deleting_since.is_none()
}

/// Pods to which a node passes requests: those on it, else all.
pub(super) fn pods_behind(plan: &Plan, world: &World, route: Route, node: NodeId) -> Vec<PodId> {
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

/// Two routes lead to one pod.
fn leads_twice(routes: &[Route]) -> bool {
    // Pods of an application mostly are of close numbers: then a mark for each needs no memory of its own.
    const WORDS: usize = 8;
    let (first, last) =
        routes.iter().fold((u32::MAX, 0), |(first, last), Route { pod, .. }| (first.min(pod.0), last.max(pod.0)));
    if last.saturating_sub(first) < 64 * WORDS as u32 {
        let mut marks = [0_u64; WORDS];
        return routes.iter().any(|route| {
            let place = route.pod.0 - first;
            let (word, mark) = (&mut marks[place as usize / 64], 1 << (place % 64));
            std::mem::replace(word, *word | mark) & mark != 0
        });
    }
    let mut seen: Vec<PodId> = routes.iter().map(|route| route.pod).collect();
    seen.sort_unstable();
    seen.windows(2).any(|pair| pair[0] == pair[1])
}

/// Adds to what a pod gets.
fn add(shares: &mut Vec<Share>, new: Share) {
    match shares.iter_mut().find(|other| other.pod == new.pod) {
        Some(other) => *other = Share { share: other.share + new.share, ..new },
        None => shares.push(new),
    }
}

/// Shares of a flow, in the memory of `shares`: one entry a pod, adding up to 1.
pub(super) fn shares(plan: &Plan, world: &World, routes: &[Route], mut shares: Vec<Share>) -> Vec<Share> {
    let total: f64 = routes.iter().map(|route| route.weight).sum();
    shares.clear();
    shares.reserve(routes.len());
    // Only nodes, or an address registered again while it drains, lead to a pod twice.
    let merge = !routes.is_sorted_by(|one, two| one.pod < two.pod) && leads_twice(routes)
        || routes.iter().any(|route| route.node.is_some());
    for route in routes.iter().filter(|route| route.weight > 0.0) {
        let (target, share) = (route.target, route.weight / total);
        match route.node {
            None if merge => add(&mut shares, Share { pod: route.pod, target, share }),
            None => shares.push(Share { pod: route.pod, target, share }),
            Some(node) => {
                let pods = pods_behind(plan, world, *route, node);
                let share = share / pods.len() as f64;
                pods.into_iter().for_each(|pod| add(&mut shares, Share { pod, target, share }));
            }
        }
    }
    shares
}
