//! How a pod gets its CPU, and what its meter shows.
//!
//! In: how many requests compute at a pod, and its flow. Out: the speed of its server, and the rate of its CPU meter. Pods of
//! one node share its CPU by their requests (the kernel's fair scheduler) when together they want more than it has.

use super::process::Standing;
use super::server::{Contender, Work, share_out};
use super::{Event, NANOCORES_PER_MILLICORE, Service};
use crate::components::Cx;
use crate::engine::{Span, Time};
use crate::plan::{App, AppId, Plan};
use crate::world::PodId;
use std::hint::cold_path;

impl Service {
    /// On what terms a pod works: as its application does, and slower while it is cold.
    #[inline(always)]
    pub(super) fn terms(&self, plan: &Plan, app: AppId, pod: PodId, now: Time) -> Work {
        self.terms_of(self.apps[app.index()].work, &plan.apps[app.index()], pod, now)
    }

    /// The same, where it is known how the application does.
    #[inline(always)]
    pub(super) fn terms_of(&self, work: Work, app: &App, pod: PodId, now: Time) -> Work {
        if let Some(warm_up) = &app.demand.warm_up {
            cold_path();
            let age = now.since(self.pods[pod.index()].answers_since);
            return Work { cpu_factor: work.cpu_factor * warm_up.factor(age), ..work };
        }
        work
    }

    /// Gives a pod's server its CPU, and those that share the node theirs if that changes them.
    pub(super) fn balance(&mut self, cx: &mut Cx, pod: PodId) {
        self.balance_as(cx, pod, Standing::of(cx.world, pod));
    }

    /// The same, where it is known how the pod stands: within the loops of requests and of lanes.
    #[inline(always)]
    pub(super) fn balance_as(&mut self, cx: &mut Cx, pod: PodId, standing: Standing) {
        let state = &self.pods[pod.index()];
        let computing = if standing.alive { state.server.demand() } else { 0 };
        let wanted = computing.saturating_add(state.flow_usage).min(state.limit);
        if self.demand(pod, wanted) {
            return self.divide(cx, pod);
        }
        let state = &self.pods[pod.index()];
        let contended = state.node.is_some_and(|node| self.nodes[node.index()].contended);
        self.grant(cx, pod, if contended { state.share } else { wanted }, standing);
    }

    /// Counts what a pod wants of its node. True if the node's CPU has to be divided anew.
    #[inline(always)]
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
    pub(super) fn divide(&mut self, cx: &mut Cx, pod: PodId) {
        let Some(node) = self.pods[pod.index()].node else { return };
        let mut contenders = std::mem::take(&mut self.contenders);
        contenders.clear();
        for &other in &cx.world.node(node).pods {
            let Some(state) = self.pods.get(other.index()) else { continue };
            if state.demand > 0 || other == pod {
                contenders.push(Contender { pod: other, weight: state.weight, demand: state.demand, share: None });
            }
        }
        share_out(self.nodes[node.index()].capacity, &mut contenders);
        for &Contender { pod: other, share, .. } in &contenders {
            let share = share.unwrap_or(0);
            let changed = self.pods[other.index()].share != share;
            if let Some(app) = self.pods[other.index()].app
                && changed
                && other != pod
                && cx.plan.apps[app.index()].mode == crate::plan::TrafficMode::Fluid
            {
                self.flow_soon(cx, app);
            }
            self.grant(cx, other, share, Standing::of(cx.world, other));
        }
        if !contenders.iter().any(|one| one.pod == pod) {
            self.grant(cx, pod, 0, Standing::of(cx.world, pod));
        }
        self.contenders = contenders;
    }

    /// The flow of an application is looked at anew in this instant, once; one that is being looked at divides CPU first.
    pub(super) fn flow_soon(&mut self, cx: &mut Cx, app: AppId) {
        let state = &mut self.apps[app.index()];
        if self.flowing != Some(app) && !std::mem::replace(&mut state.flow_is_due, true) {
            cx.after(Span::ZERO, crate::components::Event::Service(Event::FlowAgain(app)));
        }
    }

    /// A pod gets CPU from now on.
    fn grant(&mut self, cx: &mut Cx, pod: PodId, share: u64, standing: Standing) {
        let state = &mut self.pods[pod.index()];
        state.share = share;
        state.server.set_share(cx.now, if standing.alive { share.saturating_sub(state.flow_usage) } else { 0 });
        if let Some(next) = state.server.next().filter(|_| standing.alive)
            && state.due != Some(next)
            && let Some(timer) = state.timer
        {
            state.due = Some(next);
            cx.set(timer, next);
        }
        self.meter(cx, pod, standing);
    }

    /// The CPU meter runs at the true rate: idle use and what requests compute, at most the limit.
    #[inline(always)]
    fn meter(&mut self, cx: &mut Cx, pod: PodId, standing: Standing) {
        let state = &self.pods[pod.index()];
        let Some(app) = state.app.map(|app| &cx.plan.apps[app.index()]) else { return };
        if app.cores.is_some() && standing.runs {
            return;
        }
        let idle = u64::try_from(app.idle_cpu.0).unwrap_or(0) * NANOCORES_PER_MILLICORE;
        let used = idle + state.server.usage() + state.flow_usage.min(state.share);
        let rate = if standing.runs { used.min(state.limit) } else { 0 };
        let now = cx.now;
        let meter = cx.world.cpu_meter(pod);
        if meter.rate() != rate {
            meter.set(now, rate);
        }
    }
}
