//! The flow of an application through its pods: lanes, their rates, and when to look again.
//!
//! In: World::flows, processes, slowdowns. Out: what `fluid` books in the ledger.

use super::fluid::{self, LINE, Lane, Rating, Terms};
use super::inlet::inlet_through;
use super::process::Standing;
use super::server::Work;
use super::{Event, Service, crowd, patience, server, strain};
use crate::components::Cx;
use crate::engine::{Span, Time};
use crate::plan::{App, AppId, TargetGroupId};
use crate::world::Prospect;
use std::hint::cold_path;

impl Service {
    pub(super) fn flow_through(&mut self, cx: &mut Cx, group: TargetGroupId) {
        for index in 0..self.apps.len() {
            if cx.plan.apps[index].target_group == Some(group) {
                self.flow(cx, AppId::at(index));
            }
        }
    }

    pub(super) fn book(&mut self, cx: &mut Cx) {
        for index in 0..self.apps.len() {
            self.integrate(cx, AppId::at(index));
        }
        let period = Span::from_secs(60);
        if !cx.plan.alarms.is_empty() && cx.now + period < cx.plan.until {
            cx.after(period, crate::components::Event::Service(Event::Book));
        }
    }

    pub(super) fn integrate(&mut self, cx: &mut Cx, app: AppId) {
        let spec = &cx.plan.apps[app.index()];
        let terms = Terms {
            objective: spec.latency_objective,
            connect_timeout: cx.plan.flags.serving.connect_timeout,
            origin: cx.plan.start,
            until: cx.plan.until,
        };
        let stream = &mut self.apps[app.index()].stream;
        stream.integrate(cx.now, terms, &mut cx.world.ledgers[app.index()]);
        debug_assert!(stream.lanes.iter().all(|lane| strain::keeps_its_word(cx.world, cx.plan, spec, lane)));
    }

    /// Books the flow of an application until now and takes up what is true from now on.
    pub(super) fn flow(&mut self, cx: &mut Cx, app: AppId) {
        if cx.plan.apps[app.index()].mode != crate::plan::TrafficMode::Fluid {
            return;
        }
        self.integrate(cx, app);
        self.flowing = Some(app);
        self.adopt_lanes(cx, app);
        let state = &mut self.apps[app.index()];
        let course = Course::new(&cx.plan.apps[app.index()], state.work, state.stream.rate);
        let (timeout, mut lanes) = (state.check_timeout, std::mem::take(&mut state.stream.lanes));
        for lane in &mut lanes {
            self.load_lane(cx, course, lane);
        }
        self.flowing = None;
        for index in 0..lanes.len() {
            let (before, rest) = lanes.split_at_mut(index);
            let Some(lane) = rest.first_mut() else { break };
            self.rate_lane(cx, course, lane, before.last());
            if let Some(timeout) = timeout {
                strain::tell_of_lane(cx, course.spec, timeout, course.rate, lane);
            }
        }
        self.apps[app.index()].stream.lanes = lanes;
        self.look_again(cx, app);
        let stream = &mut self.apps[app.index()].stream;
        let edge = stream.lanes.iter().filter_map(|lane| lane.empties(cx.now, stream.rate)).min();
        let before = std::mem::replace(&mut stream.edge, edge);
        if let Some(edge) = edge.filter(|&edge| before != Some(edge) || edge <= cx.now) {
            cx.at(edge, crate::components::Event::Service(Event::Edge(app)));
        }
    }

    /// While a process is cold its capacity grows.
    pub(super) fn look_again(&mut self, cx: &mut Cx, app: AppId) {
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
    pub(super) fn adopt_lanes(&mut self, cx: &mut Cx, app: AppId) {
        let flow = &cx.world.flows[app.index()];
        let stream = &mut self.apps[app.index()].stream;
        stream.rate = flow.rate;
        // Those in front that go on in their places stay there.
        let shares = flow.shares.iter();
        let kept = stream.lanes.iter().zip(shares).take_while(|(lane, share)| lane.pod == share.pod).count();
        for (lane, share) in stream.lanes.iter_mut().zip(&flow.shares[..kept]) {
            (lane.share, lane.target) = (share.share, share.target);
        }
        if kept == stream.lanes.len() && kept == flow.shares.len() {
            return;
        }
        let mut before = std::mem::take(&mut stream.before);
        before.extend(stream.lanes.drain(kept..));
        for share in &flow.shares[kept..] {
            let lane = match before.iter().position(|lane| lane.pod == share.pod) {
                Some(index) => before.swap_remove(index).with_share(share.target, share.share),
                None => Lane::new(share.pod, share.target, share.share),
            };
            stream.lanes.push(lane);
        }
        let mut released = Vec::new();
        before.sort_by_key(|lane| lane.pod);
        for lane in before.drain(..) {
            if lane.backlog > 0 {
                stream.lanes.push(lane.with_share(lane.target, 0.0));
            } else {
                released.push(lane.pod);
            }
        }
        stream.before = before;
        for pod in released {
            // Nothing waits there any more: a check is answered at once, until the flow leads there again.
            cx.world.set_outlook(pod, Prospect::InTime(Time::MAX));
            self.pods[pod.index()].flow_usage = 0;
            self.balance(cx, pod);
        }
    }

    /// What a lane wants of its node.
    fn load_lane(&mut self, cx: &mut Cx, course: Course, lane: &mut Lane) {
        let pod = lane.pod;
        self.know(cx, pod);
        let standing = Standing::of(cx.world, pod);
        lane.serves = standing.serves;
        lane.inlet = inlet_through(cx, standing, course.spec, lane.target);
        let limit = self.pods[pod.index()].limit;
        let wanted = if !standing.serves {
            0
        } else {
            let arriving = lane.arriving(course.rate);
            let terms = self.terms_of(course.work, course.spec, pod, cx.now);
            let (cpu, _) = course.cpu_of(terms.cpu_factor, arriving, limit);
            let line = lane.backlog > LINE && cpu > 0.0;
            if line { limit } else { ((arriving * cpu * server::CORE as f64) as u64).min(limit) }
        };
        let state = &mut self.pods[pod.index()];
        if std::mem::replace(&mut state.flow_usage, wanted) != wanted || lane.rated.is_none() {
            self.balance_as(cx, pod, standing);
        }
    }

    /// What a lane can serve, now that the CPU is divided: as much as the one before it, where that is on the same terms.
    fn rate_lane(&self, cx: &Cx, course: Course, lane: &mut Lane, before: Option<&Lane>) {
        let pod = &self.pods[lane.pod.index()];
        let contended = pod.node.is_some_and(|node| self.nodes[node.index()].contended);
        let Course { spec, work, rate, .. } = course;
        let terms = self.terms_of(work, spec, lane.pod, cx.now);
        let rating = Rating {
            // While there is a backlog the wait is in it, not in the formula of the steady state.
            arriving: if lane.backlog > LINE { f64::INFINITY } else { lane.arriving(rate) },
            cores: if contended { pod.share } else { pod.limit },
            wait: course.wait * terms.wait_factor,
            cpu_factor: terms.cpu_factor,
            serves: lane.serves,
        };
        if lane.rated == Some(rating) {
            return;
        }
        if let Some(before) = before.filter(|before| before.rated == Some(rating)) {
            return lane.rate_as(before);
        }
        lane.rated = Some(rating);
        let Rating { arriving, cores, wait, serves, .. } = rating;
        let (cpu, time) = course.cpu_of(terms.cpu_factor, arriving, cores);
        let workers = f64::from(spec.workers.max(1));
        let by_cpu = cores as f64 / server::CORE as f64 / cpu;
        let by_workers = workers / (wait + cpu);
        lane.capacity = if serves { by_cpu.min(by_workers).min(1e9) } else { 0.0 };
        let room = workers + f64::from(spec.queue);
        let time = time.unwrap_or_else(|| fluid::sojourn(arriving, Span::from_seconds(cpu), cores, room));
        lane.latency = Span::from_seconds(wait) + time;
        lane.limit(spec.workers.max(1).into(), spec.queue.into(), patience(cx.plan, spec));
    }
}

/// What all lanes of a flow have in common.
#[derive(Clone, Copy)]
struct Course<'a> {
    /// The application.
    spec: &'a App,
    /// On what terms its pods work, if they are warm.
    work: Work,
    /// Requests a second.
    rate: f64,
    /// What a request usually waits and computes, seconds.
    wait: f64,
    cpu: f64,
}

impl Course<'_> {
    fn new(spec: &App, work: Work, rate: f64) -> Course<'_> {
        let (wait, cpu) = (spec.wait_per_request.seconds(), spec.cpu_per_request.seconds());
        Course { spec, work, rate, wait, cpu }
    }

    /// CPU that a request of a lane needs, seconds: more under a slowdown, in a cold process, and with those beside it; and how
    /// long it computes, where that follows from the crowd.
    #[inline(always)]
    fn cpu_of(&self, factor: f64, arriving: f64, cores: u64) -> (f64, Option<Span>) {
        let cpu = self.cpu * factor;
        if let Some(rise) = self.spec.demand.rise {
            cold_path();
            return match crowd::steady(arriving, cpu, cores, rise) {
                Some((cpu, time)) => (cpu, Some(time)),
                None => (cpu * rise.factor(f64::from(self.spec.workers.max(1))), None),
            };
        }
        (cpu, None)
    }
}
