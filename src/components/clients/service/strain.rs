//! When health checks have to wait like requests, and how a check fares in a flow.
//!
//! In: how much is in flight at a pod, and how fast it goes. Out: World::set_strained, which makes the load balancer send
//! its checks, and the kubelet its probes, as requests. While a pod answers soon, a check is no event: its outcome is known.

use super::fluid::Lane;
use super::server::Work;
use super::{Inlet, Service};
use crate::components::Cx;
use crate::engine::{Span, Time};
use crate::plan::{App, AppId, Plan, Probe, ProbeHandler, TrafficMode};
use crate::world::{Loss, Outlook, PodId, Prospect, REQUEST, RequestId, World};

/// Micro-requests by which a lane may differ after a second from what its rates come to: it is booked in whole ones.
const ROUNDING: f64 = 10.0;
/// Nothing is known beforehand for longer, microseconds: a day.
const AHEAD_MOST: f64 = 86_400e6;

impl Service {
    /// A pod may answer sooner or later than before. The delay of one more request is estimated from below by the CPU
    /// and by the workers; it only decides whether checks are simulated, never how they end.
    pub(super) fn strain(&self, cx: &mut Cx, pod: PodId, app: AppId, work: Work) {
        let spec = &cx.plan.apps[app.index()];
        let Some(timeout) = self.apps[app.index()].check_timeout else { return };
        if spec.mode == TrafficMode::Fluid {
            return;
        }
        let state = &self.pods[pod.index()];
        let wait = spec.wait_per_request.seconds() * work.wait_factor;
        let cpu = spec.cpu_per_request.seconds() * work.cpu_factor;
        let (in_flight, workers) = (state.server.in_flight(), spec.workers.max(1) as usize);
        // A pod that computes nothing at the moment has no share of a contended node: its next request would get one.
        let contended = state.demand > 0 && state.node.is_some_and(|node| self.nodes[node.index()].contended);
        let cores = if contended { state.share } else { state.limit } as f64 / super::server::CORE as f64;
        let requests = (in_flight + 1) as f64;
        let by_cpu = if cpu > 0.0 { cpu.max(requests * cpu / cores.max(1e-9)) } else { 0.0 };
        let by_workers = requests * (wait + cpu) / workers as f64;
        let full = in_flight >= workers + spec.queue as usize;
        tell(cx, pod, timeout, wait + by_cpu.max(by_workers), full);
    }

    /// All pods of an application may answer sooner or later than before.
    pub(super) fn strain_all(&self, cx: &mut Cx, app: AppId) {
        for index in 0..self.pods.len() {
            if self.pods[index].app == Some(app) {
                let pod = PodId::at(index);
                self.strain(cx, pod, app, self.terms(cx.plan, app, pod, cx.now));
            }
        }
    }

    /// A health check reaches a pod that is served by a flow: it is answered at once if it would be in time.
    pub(super) fn check_in_flow(&mut self, cx: &mut Cx, id: RequestId) {
        let request = *cx.world.request(id);
        let spec = &cx.plan.apps[request.app.index()];
        // Nothing is booked for it: how the lane stands by now is a formula.
        let stream = &self.apps[request.app.index()].stream;
        let lane = stream.lanes.iter().find(|lane| lane.pod == request.pod);
        let lane = lane.map(|lane| lane.at(cx.now.since(stream.since), stream.rate));
        let timeout = match request.target {
            Some(_) => timeout_of_group(cx.plan, spec),
            // A probe says itself how long it waits.
            None => request.check.map(f64::from),
        };
        let (delay, full) = lane.map_or((0.0, false), |lane| (lane.delay(), lane.backlog >= places(spec)));
        if full {
            cx.world.lose_request(id, Loss::QueueFull);
        } else if delay < timeout.unwrap_or(f64::INFINITY) {
            cx.world.serve_request(id, spec.latency_objective);
        } else if let (Some(target), Some(node)) = (request.target, request.check) {
            cx.world.abandon_check(id, target, node, request.arrived);
        } else {
            cx.world.abandon_probe(id, request.pod, request.arrived);
        }
        cx.world.free_request(id);
    }
}

/// The same for a lane of a flow: its latency and its backlog are known. A backlog that grows will be long enough.
#[inline]
pub(super) fn tell_of_lane(cx: &mut Cx, app: &App, timeout: f64, rate: f64, lane: &Lane) {
    let grows = lane.inlet == Inlet::Open && lane.arriving(rate) > lane.capacity;
    tell(cx, lane.pod, timeout, lane.delay(), grows);
    if cx.world.is_strained(lane.pod) {
        let timeout = timeout_of_group(cx.plan, app);
        let outlook = timeout.map(|timeout| outlook(lane, cx.now, rate, timeout, places(app) as f64));
        cx.world.set_outlook(lane.pod, outlook.unwrap_or_default());
    }
}

/// How the load balancer's checks of a lane will fare until its flow changes, and how long that is sure: near the time-out and
/// near a full queue each has to be seen.
fn outlook(lane: &Lane, now: Time, rate: f64, timeout: f64, places: f64) -> Outlook {
    if lane.backlog > lane.room {
        // It is slower than before, and what has no room any more is about to go.
        return Outlook::default();
    }
    let (backlog, growth) = (lane.backlog as f64, lane.arriving(rate) - lane.capacity);
    // In micro-requests, of which as many come and go in a microsecond as requests in a second.
    let in_time = timeout * lane.capacity * REQUEST as f64;
    let limit = in_time - lane.latency.seconds() * lane.capacity * REQUEST as f64;
    let slack = in_time / 100.0;
    let sure = (slack / ROUNDING * 1e6).min(AHEAD_MOST);
    let fills = if lane.room as f64 > places - slack { places - slack - backlog } else { f64::INFINITY };
    let full = match growth {
        growth if growth > 0.0 => fills / growth,
        _ if fills > 0.0 => f64::INFINITY,
        _ => 0.0,
    };
    let after = |micros: f64| now + Span::from_seconds(micros.min(sure).max(0.0) / 1e6);
    let over = backlog - limit;
    let first = match over {
        over if over > slack => {
            Prospect::Late(after(full.min(if growth < 0.0 { (over - slack) / -growth } else { sure })))
        }
        over if over < -slack => {
            Prospect::InTime(after(full.min(if growth > 0.0 { (-over - slack) / growth } else { sure })))
        }
        _ => Prospect::Open,
    };
    // A backlog that grows is too long from some time on, if there is room for it; one that shrinks is short enough.
    let (turns, then) = match growth {
        growth if growth > 0.0 && over <= slack && lane.room as f64 > limit + slack => {
            (after((slack - over) / growth), Prospect::Late(after(full)))
        }
        growth if growth < 0.0 && over >= -slack && limit > slack => {
            (after((over + slack) / -growth), Prospect::InTime(after(sure)))
        }
        _ => (Time::MAX, Prospect::Open),
    };
    Outlook { first, turns, then }
}

/// What was said of the checks of a lane has come true, now that it is booked.
pub(super) fn keeps_its_word(world: &World, plan: &Plan, app: &App, lane: &Lane) -> bool {
    let is_late = timeout_of_group(plan, app).is_some_and(|timeout| lane.delay() >= timeout);
    let is_full = lane.backlog >= places(app);
    match world.prospect(lane.pod) {
        Prospect::Open => true,
        Prospect::InTime(_) => !is_late && !is_full,
        Prospect::Late(_) => is_late && !is_full,
    }
}

/// How long the load balancer's checks of an application may take, seconds.
fn timeout_of_group(plan: &Plan, app: &App) -> Option<f64> {
    let group = &plan.target_groups[app.target_group?.index()];
    Some(group.health_check.timeout.seconds())
}

/// Micro-requests that a pod has room for, at its workers and in its queue.
fn places(app: &App) -> u64 {
    (u64::from(app.workers) + u64::from(app.queue)) * REQUEST
}

/// How long a health check of an application, or a probe that one of its workers answers, may take at most, seconds.
pub(super) fn timeout_of(plan: &Plan, app: &App) -> Option<f64> {
    let group = app.target_group.map(|group| plan.target_groups[group.index()].health_check.timeout);
    let template = &plan.templates[plan.deployments[app.deployment.index()].template.index()];
    let probes = template.containers.iter().flat_map(|container| [&container.liveness, &container.readiness]);
    let asks =
        |probe: &&Probe| app.probes_wait() && matches!(probe.handler, ProbeHandler::Http(_) | ProbeHandler::Grpc);
    let timeouts = probes.flatten().filter(asks).map(|probe| probe.timeout);
    timeouts.chain(group).min().map(Span::seconds)
}

/// Tells the load balancer whether checks of a pod have to wait: when a request would take more than half of the time that
/// a check may take, until it takes less than a quarter of it; and when it is full or will soon be slow.
#[inline]
fn tell(cx: &mut Cx, pod: PodId, timeout: f64, delay: f64, soon: bool) {
    if soon || delay > timeout / 2.0 {
        cx.world.set_strained(pod, true);
    } else if delay < timeout / 4.0 {
        cx.world.set_strained(pod, false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_beforehand_of_checks_is_what_the_lane_comes_to() {
        let (now, timeout, places) = (Time::from_unix_seconds(1000), 5.0, 60 * REQUEST);
        let (mut late, mut in_time, mut open, mut turned) = (0, 0, 0, 0);
        let amounts = [0, 1, 20, 38, 39, 40, 41, 42, 45, 59, 60, 200].map(|requests| requests * REQUEST);
        for (backlog, rate) in
            amounts.iter().flat_map(|&backlog| [0.0, 7.9, 8.0, 8.1, 20.0].map(|rate| (backlog, rate)))
        {
            for room in [places, 55 * REQUEST] {
                let mut lane = Lane::new(PodId(0), None, 1.0);
                (lane.capacity, lane.latency, lane.backlog, lane.room) = (8.0, Span::from_millis(100), backlog, room);
                let outlook = outlook(&lane, now, rate, timeout, places as f64);
                for after in (0..600).map(Span::from_secs) {
                    let then = lane.at(after, rate);
                    let (is_late, is_full) = (then.delay() >= timeout, then.backlog >= places);
                    let said = outlook.at(now + after);
                    turned += usize::from(now + after >= outlook.turns && said != Prospect::Open);
                    match said {
                        Prospect::Late(_) => late += usize::from(is_late && !is_full),
                        Prospect::InTime(_) => in_time += usize::from(!is_late && !is_full),
                        Prospect::Open => {
                            open += 1;
                            continue;
                        }
                    }
                    assert!(
                        !is_full && is_late == matches!(said, Prospect::Late(_)),
                        "{outlook:?} of {lane:?} with {rate} after {after}"
                    );
                }
            }
        }
        assert!(late > 1000 && in_time > 1000 && open > 1000, "all of them happen: {late}, {in_time}, {open}");
        assert!(turned > 1000, "what happens later is known as well: {turned}");
    }
}
