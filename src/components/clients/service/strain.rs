//! When health checks have to wait like requests, and how a check fares in a flow.
//!
//! In: how much is in flight at a pod, and how fast it goes. Out: World::set_strained, which makes the load balancer send
//! its checks, and the kubelet its probes, as requests. While a pod answers soon, a check is no event: its outcome is known.

use super::fluid::Lane;
use super::server::Work;
use super::{Inlet, Service};
use crate::components::Cx;
use crate::engine::Span;
use crate::plan::{App, AppId, Plan, Probe, ProbeHandler, TrafficMode};
use crate::world::{Loss, PodId, REQUEST, RequestId};

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
        let group = spec.target_group.map(|group| &cx.plan.target_groups[group.index()]);
        let timeout = match request.target {
            Some(_) => group.map(|group| group.health_check.timeout.seconds()),
            // A probe says itself how long it waits.
            None => request.check.map(f64::from),
        };
        let room = (u64::from(spec.workers) + u64::from(spec.queue)) * REQUEST;
        let (delay, full) = lane.map_or((0.0, false), |lane| (lane.delay(), lane.backlog >= room));
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
pub(super) fn tell_of_lane(cx: &mut Cx, timeout: f64, rate: f64, lane: &Lane) {
    let grows = lane.inlet == Inlet::Open && lane.arriving(rate) > lane.capacity;
    tell(cx, lane.pod, timeout, lane.delay(), grows);
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
