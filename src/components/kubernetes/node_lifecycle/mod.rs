//! Node lifecycle, taint eviction and pod garbage collection.
//!
//! ```text
//!  Conditions, cordon ─► NoSchedule taints   Pass (5 s, only while it can matter): no sign of life ─► Ready Unknown, pods
//!  not Ready; not Ready ─► zones' queues ─► TaintPass (0.1 s) ─► World::add_taint (NoExecute)
//!  Taints, PodBound ─► Evict(pod) ─► World::delete_pod       Gone(node) ─► Collect ─► World::remove_pod
//! ```
//!
//! Source: `pkg/controller/nodelifecycle/node_lifecycle_controller.go`, `pkg/controller/tainteviction`,
//! `pkg/controller/podgc`. Left out: reconciled labels, failing writes, the 5 min status heartbeat (leases come more often).

pub mod eviction;
pub mod health;
mod places;
pub mod zones;

use crate::components::{self, Cx};
use crate::engine::{Purpose, Span, Time};
use crate::plan::Plan;
use crate::rules::taint::{Taint, TaintEffect};
use crate::world::{DeleteCause, Node, NodeId, NodeReadiness, NodeSet, PodId, World};
pub use eviction::is_any_evicting;
use eviction::{Evictions, Order, stay};
use health::{Grace, Health};
use places::Places;
use zones::{Turn, Zones};

const PASS: Purpose = Purpose::named("node_lifecycle.pass");
const TAINT_ORDER: Purpose = Purpose::named("node_lifecycle.taint_order");
const GARBAGE: Purpose = Purpose::named("pod_gc.pass");

/// Period of the tainting pass. Source: `scheduler.NodeEvictionPeriod`.
const TAINT_PERIOD: Span = Span::from_millis(100);
const NOT_READY: &str = "node.kubernetes.io/not-ready";
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
/// How the keys of its own taints begin.
const OWN_TAINTS: &str = "node.kubernetes.io/";

/// Its memory.
#[derive(Default)]
pub struct NodeLifecycle {
    started: bool,
    /// Health passes are whole periods from here.
    origin: Time,
    /// Tainting passes are tenths of a second from here.
    taint_origin: Time,
    garbage_origin: Time,
    /// Nodes that a pass has seen, those that are gone included: none comes back.
    known: NodeSet,
    /// By node.
    health: Vec<Option<Health>>,
    zones: Zones,
    places: Places,
    /// Nodes of the last health pass with their NoExecute taints: only the memory is used again.
    nodes: Vec<(NodeId, [bool; 2])>,
    /// Something happened that the next pass has to look at.
    touched: bool,
    passed: Option<Time>,
    pass: Option<Time>,
    taint_pass: Option<Time>,
    evictions: Evictions,
}

/// Why it may be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// The controller starts.
    Start,
    /// Conditions of a node changed: NoSchedule taints follow.
    Conditions(NodeId),
    /// Taints of a node changed: evictions follow.
    Taints(NodeId),
    /// Labels of a node changed: it may be in another zone.
    Labels(NodeId),
    /// A Node object vanished.
    Gone(NodeId),
    /// A pod was bound.
    PodBound(PodId),
    /// A machine died or came back.
    Alive(NodeId),
    /// A health pass that can matter.
    Pass,
    /// A tainting pass that can matter.
    TaintPass,
    /// The toleration of a pod has run out.
    Evict(PodId),
    /// The pods of a vanished node are collected.
    Collect(NodeId),
}

fn event(event: Event) -> components::Event {
    components::Event::NodeLifecycle(event)
}

impl NodeLifecycle {
    /// Schedules the first events.
    pub fn start(&mut self, cx: &mut Cx) {
        let flags = &cx.plan.flags.controllers;
        self.garbage_origin = cx.now.back(cx.plan.initial_age) + cx.phase(GARBAGE, 0, flags.pod_gc_period);
        if let Some(span) = flags.node_monitor_start {
            return cx.after(span, event(Event::Start));
        }
        // The controller has run since long before.
        self.origin = cx.now.back(cx.plan.initial_age).whole_second() + cx.phase(PASS, 0, flags.node_monitor_period);
        self.taint_origin = self.origin.back(flags.node_monitor_pass);
        let (period, rate) = (pass_period(cx.plan), flags.node_eviction_rate);
        let passed = last_tick(self.origin, period, cx.now);
        self.passed = Some(passed);
        for node in living(cx.world) {
            let entry = cx.world.node(node);
            let health = health::observe(None, entry, passed);
            let seen = health.lease.map_or(passed, |renewal| next_tick(self.origin, period, renewal));
            self.known.insert(node);
            self.note_health(node, Health { probe: health.probe.min(seen), ..health });
            let zone = self.places.zone_of(&mut self.zones, entry);
            self.zones.open(zone, rate, self.origin);
        }
        let counts = self.places.counts(&mut self.zones, cx.world);
        self.zones.turn(counts, flags, passed);
        self.begin(cx);
    }

    /// Takes up what the informers' caches hold.
    fn begin(&mut self, cx: &mut Cx) {
        self.started = true;
        for node in living(cx.world) {
            follow_conditions(cx.world, node);
            self.schedule_evictions(cx, node);
        }
        self.arm_pass(cx);
    }

    /// Observe, decide, apply, schedule.
    pub fn handle(&mut self, cx: &mut Cx, event: Event) {
        if !self.started && event != Event::Start {
            return;
        }
        match event {
            Event::Start => {
                self.taint_origin = cx.now;
                self.origin = cx.now + cx.plan.flags.controllers.node_monitor_pass;
                self.touched = true;
                self.begin(cx);
            }
            Event::Conditions(node) => {
                follow_conditions(cx.world, node);
                self.touched = true;
                self.arm_pass(cx);
            }
            Event::Taints(node) => {
                follow_conditions(cx.world, node);
                self.schedule_evictions(cx, node);
                self.arm_pass(cx);
            }
            Event::Gone(node) => {
                self.touched = true;
                self.arm_pass(cx);
                self.collect_later(cx, node);
            }
            Event::PodBound(pod) => self.pod_bound(cx, pod),
            Event::Labels(_) | Event::Alive(_) => self.arm_pass(cx),
            Event::Pass => {
                if self.pass == Some(cx.now) {
                    self.pass = None;
                    self.health_pass(cx);
                    self.arm_pass(cx);
                }
            }
            Event::TaintPass => {
                if self.taint_pass == Some(cx.now) {
                    self.taint_pass = None;
                    self.tainting_pass(cx);
                }
            }
            Event::Evict(pod) => {
                if self.evictions.is_due(pod, cx.now) {
                    evict(cx.world, pod);
                }
            }
            Event::Collect(node) => collect(cx.world, node),
        }
    }

    fn health_of(&self, node: NodeId) -> Option<&Health> {
        self.health.get(node.index()).and_then(Option::as_ref)
    }

    fn note_health(&mut self, node: NodeId, health: Health) {
        if self.health.len() <= node.index() {
            self.health.resize(node.index() + 1, None);
        }
        self.health[node.index()] = Some(health);
    }

    /// Schedules the next health pass at which something can change.
    fn arm_pass(&mut self, cx: &mut Cx) {
        let period = pass_period(cx.plan);
        let soon = next_tick(self.origin, period, cx.now + Span::from_micros(1));
        if self.pass == Some(soon) {
            return;
        }
        let at = if self.touched { Some(soon) } else { self.next_change(cx, soon) };
        let Some(at) = at else { return };
        if self.pass.is_none_or(|pass| pass > at || pass < cx.now) {
            self.pass = Some(at);
            cx.at(at, event(Event::Pass));
        }
    }

    /// The first pass that can find some node otherwise than the last one left it; nothing comes sooner than the next pass.
    fn next_change(&self, cx: &Cx, soon: Time) -> Option<Time> {
        let mut first: Option<Time> = None;
        for node in cx.world.nodes.iter().filter(|node| node.gone.is_none()) {
            let Some(at) = self.next_look(cx.plan, node, cx.now) else { continue };
            if at <= soon {
                return Some(soon);
            }
            first = Some(first.map_or(at, |first| first.min(at)));
        }
        first
    }

    /// The first pass that can find a node otherwise than the last one left it; `None`: its lease is renewed for ever.
    fn next_look(&self, plan: &Plan, node: &Node, now: Time) -> Option<Time> {
        let period = pass_period(plan);
        let health = self.health_of(node.id).filter(|_| self.known.contains(node.id));
        let settled = |health: &&Health| {
            let lease = node.renewals.is_empty() || health.lease.is_some();
            lease && self.is_settled(node)
        };
        let Some(health) = health.filter(settled) else { return Some(Time::ZERO) };
        let begun = node.renewals.iter().filter(|renewals| renewals.first <= now);
        if begun.clone().any(|renewals| renewals.last == Time::MAX) {
            return None;
        }
        let last = begun.filter_map(|renewals| renewals.before(Time::MAX)).max().unwrap_or(Time::ZERO);
        let seen = if last > Time::ZERO { next_tick(self.origin, period, last) } else { Time::ZERO };
        Some(detection(health.probe.max(seen), self.origin, period, grace(plan).of(node)))
    }

    /// A pass that finds the conditions of a node as they are leaves its taints and its place in a queue as they are: it is Ready
    /// and was found so, or not Ready, tainted and queued in its zone.
    fn is_settled(&self, node: &Node) -> bool {
        match (node.readiness, execute_taints(node)) {
            (NodeReadiness::Ready, [false, false]) => true,
            (NodeReadiness::NotReady, [true, false]) => {
                let zone = self.places.known_zone(node);
                node.status.ready_exists && zone.is_some_and(|zone| self.zones.has_queued(zone, node.id))
            }
            _ => false,
        }
    }

    fn health_pass(&mut self, cx: &mut Cx) {
        let flags = &cx.plan.flags.controllers;
        let (now, period, rate) = (cx.now, pass_period(cx.plan), flags.node_eviction_rate);
        self.touched = false;
        let mut nodes = std::mem::take(&mut self.nodes);
        nodes.clear();
        let living = cx.world.nodes.iter().filter(|node| node.gone.is_none());
        nodes.extend(living.map(|node| (node.id, execute_taints(node))));
        for &(node, taints) in &nodes {
            let zone = self.places.zone_of(&mut self.zones, cx.world.node(node));
            self.zones.open(zone, rate, now);
            if self.known.insert(node) {
                self.mark_reachable(cx.world, node, taints);
            }
        }
        for &(node, taints) in &nodes {
            let mut saved = self.health_of(node).copied();
            if self.passed.is_some_and(|passed| now > passed + period) {
                let left_out = now.back(period);
                let tick = |time| next_tick(self.origin, period, time);
                saved = saved.map(|saved| health::catch_up(saved, cx.world.node(node), left_out, tick));
            }
            self.look_at_node(cx, node, taints, saved);
        }
        self.passed = Some(now);
        let counts = self.places.counts(&mut self.zones, cx.world);
        match self.zones.turn(counts, flags, now) {
            Turn::None => {}
            // What the nodes were tainted with when the pass began is taken off.
            Turn::Entered => nodes.iter().for_each(|&(node, taints)| self.mark_reachable(cx.world, node, taints)),
            Turn::Left => self.health.iter_mut().flatten().for_each(|health| health.probe = now),
        }
        self.nodes = nodes;
        self.arm_tainting(cx);
    }

    /// Gives a silent node up, and queues, swaps or takes off its NoExecute taint.
    fn look_at_node(&mut self, cx: &mut Cx, node: NodeId, taints: [bool; 2], saved: Option<Health>) {
        let now = cx.now;
        let entry = cx.world.node(node);
        let mut health = health::observe(saved, entry, now);
        let silent = now > health.probe + grace(cx.plan).of(entry);
        if silent && !(entry.status.ready_exists && entry.readiness == NodeReadiness::Unknown) {
            let (was_ready, lease) = (entry.is_ready(), entry.renewed_before(now));
            cx.world.lose_node(node);
            let heartbeat = cx.world.node(node).status.heartbeat;
            health = Health { ready: Some((NodeReadiness::Unknown, heartbeat)), lease, ..health };
            if was_ready {
                mark_pods_not_ready(cx.world, node);
            }
        }
        self.note_health(node, health);
        if !cx.world.node(node).status.ready_exists {
            return;
        }
        let [not_ready, unreachable] = taints;
        let (own, other, has_own, has_other) = match cx.world.node(node).readiness {
            NodeReadiness::Ready => return self.mark_reachable(cx.world, node, taints),
            NodeReadiness::NotReady => (NOT_READY, UNREACHABLE, not_ready, unreachable),
            NodeReadiness::Unknown => (UNREACHABLE, NOT_READY, unreachable, not_ready),
        };
        if has_other {
            cx.world.add_taint(node, Taint::new(own, TaintEffect::NoExecute));
            cx.world.remove_taint_of(node, other, TaintEffect::NoExecute);
        } else {
            let zone = self.places.zone_of(&mut self.zones, cx.world.node(node));
            let zone = self.zones.get(zone);
            if !has_own {
                zone.forget(node);
            }
            zone.add(node, now);
        }
    }

    /// Takes off the NoExecute taints that a node was seen with, and takes it out of its queue.
    fn mark_reachable(&mut self, world: &mut World, node: NodeId, seen: [bool; 2]) {
        let [not_ready, unreachable] = seen;
        if unreachable {
            world.remove_taint_of(node, UNREACHABLE, TaintEffect::NoExecute);
        }
        if not_ready {
            world.remove_taint_of(node, NOT_READY, TaintEffect::NoExecute);
        }
        self.zones.forget(node);
    }

    /// Taints as many waiting nodes as the zones' buckets allow. A node that needs no taint any more costs a token too.
    fn tainting_pass(&mut self, cx: &mut Cx) {
        for place in 0..self.zones.count() {
            let zone = self.zones.nth(place);
            loop {
                let heads = zone.heads();
                let Some(&first) = heads.first() else { break };
                if !zone.limiter.try_accept(cx.now) {
                    break;
                }
                let node = heads[cx.pick(TAINT_ORDER, cx.world.node_key(first), heads.len())];
                zone.done(node);
                let entry = cx.world.node(node);
                let (own, other) = match entry.readiness {
                    _ if entry.gone.is_some() => continue,
                    NodeReadiness::Ready => continue,
                    NodeReadiness::NotReady => (NOT_READY, UNREACHABLE),
                    NodeReadiness::Unknown => (UNREACHABLE, NOT_READY),
                };
                cx.world.add_taint(node, Taint::new(own, TaintEffect::NoExecute));
                cx.world.remove_taint_of(node, other, TaintEffect::NoExecute);
            }
        }
        self.arm_tainting(cx);
    }

    /// Schedules the first tainting pass for which a bucket may have a token.
    fn arm_tainting(&mut self, cx: &mut Cx) {
        let Some(at) = self.zones.not_before() else { return };
        let at = next_tick(self.taint_origin, TAINT_PERIOD, at.max(cx.now + Span::from_micros(1)));
        if self.taint_pass.is_none_or(|pass| pass > at || pass < cx.now) {
            self.taint_pass = Some(at);
            cx.at(at, event(Event::TaintPass));
        }
    }

    /// A pod that appears on a node that was not Ready at the last pass is not Ready.
    fn pod_bound(&mut self, cx: &mut Cx, pod: PodId) {
        self.schedule_eviction(cx, pod);
        let Some(node) = cx.world.pod(pod).node.filter(|_| cx.world.pod(pod).gone.is_none()) else { return };
        if cx.world.node(node).gone.is_some() {
            return self.collect_later(cx, node);
        }
        let saved = self.health_of(node).and_then(|health| health.ready);
        if saved.is_some_and(|(readiness, _)| readiness != NodeReadiness::Ready) && cx.world.pod(pod).is_ready() {
            cx.world.set_pod_ready(pod, false);
        }
    }

    fn schedule_evictions(&mut self, cx: &mut Cx, node: NodeId) {
        if self.evictions.is_empty() && !is_any_evicting(&cx.world.node(node).taints) {
            return;
        }
        for pod in cx.world.node(node).pods.clone() {
            self.schedule_eviction(cx, pod);
        }
    }

    /// The taints of a Node that is gone are forgotten, but that cancels nothing.
    fn schedule_eviction(&mut self, cx: &mut Cx, pod: PodId) {
        let entry = cx.world.pod(pod);
        let Some(node) = entry.node.filter(|_| entry.gone.is_none()) else { return self.evictions.forget(pod) };
        let node = cx.world.node(node);
        if node.gone.is_some() || (self.evictions.is_empty() && !is_any_evicting(&node.taints)) {
            return;
        }
        let stay = stay(&node.taints, &cx.world.template_of(pod).tolerations);
        match self.evictions.schedule(pod, stay, cx.now) {
            Order::None => {}
            Order::Now => evict(cx.world, pod),
            Order::At(at) => cx.at(at, event(Event::Evict(pod))),
        }
    }

    /// The collector notices the missing node at its next pass and acts at the pass after the quarantine.
    fn collect_later(&mut self, cx: &mut Cx, node: NodeId) {
        let flags = &cx.plan.flags.controllers;
        let noticed = next_tick(self.garbage_origin, flags.pod_gc_period, cx.now);
        let at = next_tick(self.garbage_origin, flags.pod_gc_period, noticed + flags.pod_gc_quarantine);
        cx.at(at, event(Event::Collect(node)));
    }
}

/// Nodes whose objects exist.
fn living(world: &World) -> Vec<NodeId> {
    world.nodes.iter().filter(|node| node.gone.is_none()).map(|node| node.id).collect()
}

fn grace(plan: &Plan) -> Grace {
    let flags = &plan.flags.controllers;
    Grace { usual: flags.node_monitor_grace, startup: flags.node_startup_grace }
}

/// From one health pass to the next.
fn pass_period(plan: &Plan) -> Span {
    plan.flags.controllers.node_monitor_period + plan.flags.controllers.node_monitor_pass
}

/// The first tick at or after `time` of a loop that began at `origin`.
fn next_tick(origin: Time, period: Span, time: Time) -> Time {
    let period = period.max(Span::from_micros(1));
    origin + period * time.since(origin).micros().div_ceil(period.micros())
}

/// The last tick at or before `time`.
fn last_tick(origin: Time, period: Span, time: Time) -> Time {
    let period = period.max(Span::from_micros(1));
    origin + period * (time.since(origin).micros() / period.micros())
}

/// The first health pass that finds the renewal noticed at `seen` older than the grace period.
pub fn detection(seen: Time, origin: Time, period: Span, grace: Span) -> Time {
    next_tick(origin, period, seen + grace + Span::from_micros(1))
}

/// Has the NoExecute taints not-ready and unreachable.
fn execute_taints(node: &Node) -> [bool; 2] {
    if node.taints.is_empty() {
        return [false; 2];
    }
    [NOT_READY, UNREACHABLE].map(|key| node.has_taint_of(key, TaintEffect::NoExecute))
}

/// NoSchedule taints follow the conditions and the cordon.
fn follow_conditions(world: &mut World, node: NodeId) {
    let entry = world.node(node);
    if entry.gone.is_some() {
        return;
    }
    let (status, readiness) = (entry.status, entry.readiness);
    let well = status.is_well() && readiness == NodeReadiness::Ready && !entry.unschedulable;
    let is_own = |taint: &Taint| taint.effect == TaintEffect::NoSchedule && taint.key.starts_with(OWN_TAINTS);
    if well && !entry.taints.iter().any(is_own) {
        return;
    }
    let wanted = [
        (NOT_READY, status.ready_exists && readiness == NodeReadiness::NotReady),
        (UNREACHABLE, status.ready_exists && readiness == NodeReadiness::Unknown),
        ("node.kubernetes.io/memory-pressure", status.memory_pressure),
        ("node.kubernetes.io/disk-pressure", status.disk_pressure),
        ("node.kubernetes.io/pid-pressure", status.pid_pressure),
        ("node.kubernetes.io/network-unavailable", status.network_unavailable),
        ("node.kubernetes.io/unschedulable", entry.unschedulable),
    ];
    for (key, wanted) in wanted {
        if !wanted {
            world.remove_taint_of(node, key, TaintEffect::NoSchedule);
        } else if !world.node(node).has_taint_of(key, TaintEffect::NoSchedule) {
            world.add_taint(node, Taint::new(key, TaintEffect::NoSchedule));
        }
    }
}

fn mark_pods_not_ready(world: &mut World, node: NodeId) {
    for pod in world.node(node).pods.clone() {
        if world.pod(pod).is_ready() {
            world.set_pod_ready(pod, false);
        }
    }
}

fn evict(world: &mut World, pod: PodId) {
    if world.pod(pod).gone.is_none() && world.pod(pod).deleting_since.is_none() {
        world.delete_pod(pod, None, DeleteCause::Taint);
    }
}

/// Deletes the pods of a vanished node at once.
fn collect(world: &mut World, node: NodeId) {
    if world.node(node).gone.is_none() {
        return;
    }
    for pod in world.node(node).pods.clone() {
        world.delete_pod(pod, Some(Span::ZERO), DeleteCause::NodeGone);
        world.remove_pod(pod);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: f64) -> Time {
        Time::from_unix_seconds(1_000) + Span::from_seconds(seconds)
    }

    #[test]
    fn a_hard_stop_is_detected_after_forty_to_sixty_seconds() {
        let (period, grace, lease) = (Span::from_millis(5010), Span::from_secs(50), Span::from_secs(10));
        let (mut shortest, mut longest, mut sum) = (f64::MAX, 0.0_f64, 0.0);
        for died in 0..1000 {
            // Death at any moment of the lease period, renewals at any offset to the passes.
            for offset in 0..50 {
                let renewal = at(f64::from(offset) * 0.1 + 0.05);
                let died = renewal + Span::from_millis(died * 10);
                let seen = next_tick(at(0.0), period, last_tick(renewal, lease, died));
                let took = (detection(seen, at(0.0), period, grace) - died).seconds();
                shortest = shortest.min(took);
                longest = longest.max(took);
                sum += took;
            }
        }
        // 50 s less the age of the renewal, plus the time until a pass noticed it; ten passes later it is too old.
        assert!((40.0..41.0).contains(&shortest), "{shortest}");
        assert!((54.0..=60.0).contains(&longest), "{longest}");
        let mean = sum / 50_000.0;
        assert!((47.0..48.5).contains(&mean), "{mean}");
        // A pass that takes no time would need an eleventh.
        assert_eq!(detection(at(0.0), at(0.0), Span::from_secs(5), grace), at(55.0));
    }
}
