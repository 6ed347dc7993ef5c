//! The load balancer's choice among the routes: round robin (smooth and weighted when nodes of the load balancer disagree or a
//! target starts slowly), least outstanding requests, weighted random. ELB user guide, "Target groups" (routing algorithms).

use super::routes::Route;
use super::{AppTraffic, key};
use crate::components::Cx;
use crate::engine::Purpose;
use crate::plan::{RoutingAlgorithm, TargetGroup};
use crate::world::Sent;

const CHOICE: Purpose = Purpose::named("traffic.choice");

/// The route of the next request (position).
pub(super) fn choose(state: &mut AppTraffic, cx: &Cx, sent: Sent, group: Option<&TargetGroup>) -> usize {
    let count = state.routes.len();
    if count == 1 {
        return 0;
    }
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
pub(super) fn by_weight(routes: &[Route], uniform: f64) -> usize {
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
pub(super) fn smooth(routes: &mut [Route], next: usize) -> usize {
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
