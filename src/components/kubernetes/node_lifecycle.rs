//! Node lifecycle, taint eviction and pod garbage collection.
//!
//! ```text
//!  Conditions ─► NoSchedule taints          Alive(false) ─► Pass at which the lease is too old ─► Ready Unknown,
//!  Pass (5 s, only while it can matter) ─► NoExecute queues ─► TaintPass (0.1 s) ─► World::add_taint    pods not Ready
//!  Taints, PodBound ─► Evict(pod) ─► World::delete_pod     Gone(node) ─► Collect ─► World::remove_pod
//! ```
//!
//! Source: `pkg/controller/nodelifecycle/node_lifecycle_controller.go`, `pkg/controller/tainteviction`,
//! `pkg/controller/podgc`. Left out: pressure conditions, the 5 min status heartbeat (leases come more often).

use crate::components::{self, Cx};
use crate::engine::{Purpose, Span, Time};
use crate::plan::Plan;
use crate::rules::taint::{Taint, TaintEffect, Toleration};
use crate::world::{DeleteCause, Node, NodeId, NodeReadiness, PodId, World};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

const PASS: Purpose = Purpose::named("node_lifecycle.pass");
const LEASE: Purpose = Purpose::named("kubelet.lease");
const TAINT_ORDER: Purpose = Purpose::named("node_lifecycle.taint_order");
const GARBAGE: Purpose = Purpose::named("pod_gc.pass");

/// Period of the tainting pass. Source: `scheduler.NodeEvictionPeriod`.
const TAINT_PERIOD: Span = Span::from_millis(100);
const NOT_READY: &str = "node.kubernetes.io/not-ready";
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";
const EXCLUDED: &str = "node.kubernetes.io/exclude-disruption";
const ZONE_LABELS: [&str; 2] = ["topology.kubernetes.io/region", "topology.kubernetes.io/zone"];

/// How much of a zone is not Ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disruption {
    /// Little.
    Normal,
    /// More than two nodes, and a large share.
    Partial,
    /// All of it.
    Full,
}

/// The queue and the token bucket (burst 1) of one zone.
struct Zone {
    waiting: Vec<NodeId>,
    tokens: f64,
    since: Time,
    rate: f64,
}

/// Its memory.
#[derive(Default)]
pub struct NodeLifecycle {
    /// Health passes are whole periods from here.
    origin: Time,
    garbage_origin: Time,
    /// By node: when the controller saw the last renewal of a machine that has died.
    heartbeats: BTreeMap<NodeId, Time>,
    zones: BTreeMap<[String; 2], Zone>,
    /// All zones are fully disrupted: nothing is tainted or evicted.
    all_disrupted: bool,
    /// Heartbeats before this do not count.
    floor: Time,
    pass: Option<Time>,
    taint_pass: Option<Time>,
    evictions: BTreeMap<PodId, Time>,
}

/// Why it may be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// Conditions of a node changed: NoSchedule taints follow.
    Conditions(NodeId),
    /// Taints of a node changed: evictions follow.
    Taints(NodeId),
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
        // The controller has run since long before.
        self.origin = cx.now.back(cx.plan.initial_age).whole_second() + cx.phase(PASS, 0, flags.node_monitor_period);
        self.garbage_origin = cx.now.back(cx.plan.initial_age) + cx.phase(GARBAGE, 0, flags.pod_gc_period);
        for index in 0..cx.world.nodes.len() {
            let node = NodeId::at(index);
            if cx.world.node(node).gone.is_some() {
                continue;
            }
            if !cx.world.node(node).alive {
                self.alive_changed(cx, node);
            }
            follow_conditions(cx.world, node);
        }
        self.arm_pass(cx);
    }

    /// Observe, decide, apply, schedule.
    pub fn handle(&mut self, cx: &mut Cx, event: Event) {
        match event {
            Event::Conditions(node) => {
                follow_conditions(cx.world, node);
                self.arm_pass(cx);
            }
            Event::Taints(node) => {
                follow_conditions(cx.world, node);
                for pod in cx.world.node(node).pods.clone() {
                    self.schedule_eviction(cx, pod);
                }
            }
            Event::Gone(node) => {
                self.heartbeats.remove(&node);
                self.collect_later(cx, node);
            }
            Event::PodBound(pod) => {
                self.schedule_eviction(cx, pod);
                let gone = cx.world.pod(pod).node.filter(|&node| cx.world.node(node).gone.is_some());
                if let Some(node) = gone {
                    self.collect_later(cx, node);
                }
            }
            Event::Alive(node) => self.alive_changed(cx, node),
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
                if self.evictions.get(&pod) == Some(&cx.now) {
                    self.evictions.remove(&pod);
                    evict(cx.world, pod);
                }
            }
            Event::Collect(node) => collect(cx.world, node),
        }
    }

    /// The controller's clock when it saw the last renewal decides, not the renewal.
    fn alive_changed(&mut self, cx: &mut Cx, node: NodeId) {
        if cx.world.node(node).alive {
            self.heartbeats.remove(&node);
        } else {
            let entry = cx.world.node(node);
            let period = cx.plan.flags.kubelet.lease_period;
            let first = entry.kubelet_started + cx.phase(LEASE, cx.world.node_key(node), period);
            let renewed = if first > cx.now { entry.created } else { last_tick(first, period, cx.now) };
            let seen = next_tick(self.origin, pass_period(cx.plan), renewed);
            self.heartbeats.insert(node, seen);
        }
        self.arm_pass(cx);
    }

    /// Schedules the next health pass at which something can change.
    fn arm_pass(&mut self, cx: &mut Cx) {
        let flags = &cx.plan.flags.controllers;
        let period = pass_period(cx.plan);
        let soon = next_tick(self.origin, period, cx.now + Span::from_micros(1));
        let unsettled = |node: &Node| node.gone.is_none() && (!node.is_ready() || has_execute_taint(node));
        let mut next = cx.world.nodes.iter().any(unsettled).then_some(soon);
        for (&node, &seen) in &self.heartbeats {
            if cx.world.node(node).is_ready() {
                let at = detection(seen.max(self.floor), self.origin, period, flags.node_monitor_grace).max(soon);
                next = Some(next.map_or(at, |next| next.min(at)));
            }
        }
        let Some(at) = next else { return };
        if self.pass.is_none_or(|pass| pass > at || pass < cx.now) {
            self.pass = Some(at);
            cx.at(at, event(Event::Pass));
        }
    }

    fn health_pass(&mut self, cx: &mut Cx) {
        let grace = cx.plan.flags.controllers.node_monitor_grace;
        for index in 0..cx.world.nodes.len() {
            let node = NodeId::at(index);
            let entry = cx.world.node(node);
            if entry.gone.is_some() {
                continue;
            }
            let silent = self.heartbeats.get(&node).is_some_and(|&seen| cx.now.since(seen.max(self.floor)) > grace);
            if silent && entry.readiness != NodeReadiness::Unknown {
                let was_ready = entry.is_ready();
                cx.world.set_node_readiness(node, NodeReadiness::Unknown);
                if was_ready {
                    mark_pods_not_ready(cx.world, node);
                }
            }
            if !self.all_disrupted {
                self.queue_execute_taint(cx, node);
            }
        }
        self.update_zones(cx);
        self.arm_tainting(cx);
    }

    /// Puts a node that is not Ready into its zone's queue; swaps or removes the taint of one that has it.
    fn queue_execute_taint(&mut self, cx: &mut Cx, node: NodeId) {
        let zone = self.zone(cx, node);
        zone.waiting.retain(|&other| other != node);
        let Some((wanted, other)) = execute_taints(cx.world.node(node).readiness) else {
            for key in [NOT_READY, UNREACHABLE] {
                cx.world.remove_taint(node, &Taint::new(key, TaintEffect::NoExecute));
            }
            return;
        };
        if cx.world.node(node).has_taint(&other) {
            cx.world.add_taint(node, wanted);
            cx.world.remove_taint(node, &other);
        } else if !cx.world.node(node).has_taint(&wanted) {
            zone.waiting.push(node);
        }
    }

    fn zone(&mut self, cx: &Cx, node: NodeId) -> &mut Zone {
        let rate = cx.plan.flags.controllers.node_eviction_rate;
        let zone = self.zones.entry(zone_of(cx.world.node(node)));
        zone.or_insert_with(|| Zone { waiting: Vec::new(), tokens: 1.0, since: cx.now, rate })
    }

    /// States of the zones at the end of a pass, and their rates.
    fn update_zones(&mut self, cx: &mut Cx) {
        let states = zone_states(cx.plan, cx.world);
        let all = !states.is_empty() && states.iter().all(|(_, state, _)| *state == Disruption::Full);
        if all && !self.all_disrupted {
            for index in 0..cx.world.nodes.len() {
                for key in [NOT_READY, UNREACHABLE] {
                    cx.world.remove_taint(NodeId::at(index), &Taint::new(key, TaintEffect::NoExecute));
                }
            }
        }
        if self.all_disrupted && !all {
            self.floor = cx.now;
        }
        self.all_disrupted = all;
        let flags = &cx.plan.flags.controllers;
        for (name, state, size) in states {
            let rate = match state {
                _ if all => 0.0,
                Disruption::Normal | Disruption::Full => flags.node_eviction_rate,
                Disruption::Partial if size > flags.large_cluster_size as usize => flags.secondary_node_eviction_rate,
                Disruption::Partial => 0.0,
            };
            if let Some(zone) = self.zones.get_mut(&name) {
                zone.refill(cx.now);
                zone.rate = rate;
                if all {
                    zone.waiting.clear();
                }
            }
        }
    }

    /// Taints as many waiting nodes as the zones' buckets allow.
    fn tainting_pass(&mut self, cx: &mut Cx) {
        for zone in self.zones.values_mut() {
            zone.refill(cx.now);
            while zone.rate > 0.0 && zone.tokens >= 1.0 - 1e-9 && !zone.waiting.is_empty() {
                let first = zone.waiting.first().map_or(0, |&node| cx.world.node_key(node));
                let index = cx.pick(TAINT_ORDER, first, zone.waiting.len());
                let node = zone.waiting.remove(index);
                let entry = cx.world.node(node);
                if let Some((wanted, _)) = execute_taints(entry.readiness).filter(|_| entry.gone.is_none()) {
                    zone.tokens -= 1.0;
                    cx.world.add_taint(node, wanted);
                }
            }
        }
        self.arm_tainting(cx);
    }

    /// Schedules the first tainting pass for which a bucket has a token.
    fn arm_tainting(&mut self, cx: &mut Cx) {
        let ready = |zone: &Zone| {
            let missing = (1.0 - zone.tokens).max(0.0) / zone.rate;
            zone.since + Span::from_seconds(missing)
        };
        let waiting = self.zones.values().filter(|zone| zone.rate > 0.0 && !zone.waiting.is_empty());
        let Some(at) = waiting.map(ready).min() else { return };
        let at = next_tick(self.origin, TAINT_PERIOD, at.max(cx.now + Span::from_micros(1)));
        if self.taint_pass.is_none_or(|pass| pass > at || pass < cx.now) {
            self.taint_pass = Some(at);
            cx.at(at, event(Event::TaintPass));
        }
    }

    /// A deletion that is scheduled is only cancelled or brought forward to now.
    fn schedule_eviction(&mut self, cx: &mut Cx, pod: PodId) {
        let entry = cx.world.pod(pod);
        let Some(node) = entry.node.filter(|_| entry.gone.is_none()) else {
            self.evictions.remove(&pod);
            return;
        };
        match time_until_eviction(&cx.world.node(node).taints, &cx.world.template_of(pod).tolerations) {
            None => {
                self.evictions.remove(&pod);
            }
            Some(span) if span.is_zero() => {
                self.evictions.remove(&pod);
                evict(cx.world, pod);
            }
            Some(span) => {
                if let Entry::Vacant(entry) = self.evictions.entry(pod) {
                    entry.insert(cx.now + span);
                    cx.after(span, event(Event::Evict(pod)));
                }
            }
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

impl Zone {
    fn refill(&mut self, now: Time) {
        self.tokens = (self.tokens + now.since(self.since).seconds() * self.rate).min(1.0);
        self.since = now;
    }
}

/// From the beginning of a health pass to that of the next.
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

/// The NoExecute taint that a node should have, and the one it should not.
fn execute_taints(readiness: NodeReadiness) -> Option<(Taint, Taint)> {
    let taint = |key| Taint::new(key, TaintEffect::NoExecute);
    match readiness {
        NodeReadiness::Ready => None,
        NodeReadiness::NotReady => Some((taint(NOT_READY), taint(UNREACHABLE))),
        NodeReadiness::Unknown => Some((taint(UNREACHABLE), taint(NOT_READY))),
    }
}

fn has_execute_taint(node: &Node) -> bool {
    let ours = |taint: &Taint| taint.key == NOT_READY || taint.key == UNREACHABLE;
    node.taints.iter().any(|taint| taint.effect == TaintEffect::NoExecute && ours(taint))
}

/// NoSchedule taints follow the conditions and the cordon.
fn follow_conditions(world: &mut World, node: NodeId) {
    let entry = world.node(node);
    if entry.gone.is_some() {
        return;
    }
    let wanted = [
        (NOT_READY, entry.readiness == NodeReadiness::NotReady),
        (UNREACHABLE, entry.readiness == NodeReadiness::Unknown),
        (UNSCHEDULABLE, entry.unschedulable),
    ];
    for (key, wanted) in wanted {
        let taint = Taint::new(key, TaintEffect::NoSchedule);
        if !wanted {
            world.remove_taint(node, &taint);
        } else if !world.node(node).has_taint(&taint) {
            world.add_taint(node, taint);
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

fn zone_of(node: &Node) -> [String; 2] {
    ZONE_LABELS.map(|label| node.labels.get(label).cloned().unwrap_or_default())
}

/// State and size of each zone that has nodes.
fn zone_states(plan: &Plan, world: &World) -> Vec<([String; 2], Disruption, usize)> {
    let mut counts: BTreeMap<[String; 2], (usize, usize)> = BTreeMap::new();
    for node in world.nodes.iter().filter(|node| node.gone.is_none() && !node.labels.contains_key(EXCLUDED)) {
        let (ready, not_ready) = counts.entry(zone_of(node)).or_default();
        if node.is_ready() { *ready += 1 } else { *not_ready += 1 }
    }
    let threshold = plan.flags.controllers.unhealthy_zone_threshold;
    counts
        .into_iter()
        .map(|(zone, (ready, not_ready))| (zone, disruption(ready, not_ready, threshold), ready + not_ready))
        .collect()
}

/// State of a zone. Source: `ComputeZoneState`.
pub fn disruption(ready: usize, not_ready: usize, threshold: f64) -> Disruption {
    let share = not_ready as f64 / (not_ready + ready).max(1) as f64;
    if ready == 0 && not_ready > 0 {
        Disruption::Full
    } else if not_ready > 2 && share >= threshold {
        Disruption::Partial
    } else {
        Disruption::Normal
    }
}

/// How long a pod may stay under these taints: `None` for ever, zero if one is not tolerated, otherwise the smallest
/// tolerationSeconds in use.
pub fn time_until_eviction(taints: &[Taint], tolerations: &[Toleration]) -> Option<Span> {
    let mut least: Option<Span> = None;
    for taint in taints.iter().filter(|taint| taint.effect == TaintEffect::NoExecute) {
        let Some(used) = tolerations.iter().find(|toleration| toleration.tolerates(taint)) else {
            return Some(Span::ZERO);
        };
        if let Some(seconds) = used.seconds {
            let span = Span::from_secs(u64::try_from(seconds).unwrap_or(0));
            least = Some(least.map_or(span, |least| least.min(span)));
        }
    }
    least
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

    #[test]
    fn tolerations_delay_and_the_shortest_counts() {
        let taint = |key| Taint::new(key, TaintEffect::NoExecute);
        let toleration = |key: &str, seconds| Toleration {
            key: key.into(),
            exists: true,
            value: String::new(),
            effect: None,
            seconds,
        };
        let both = [taint(NOT_READY), taint("x")];
        let tolerations = [toleration(NOT_READY, Some(300)), toleration("x", Some(60))];
        assert_eq!(time_until_eviction(&both, &tolerations), Some(Span::from_secs(60)));
        assert_eq!(time_until_eviction(&both, &tolerations[..1]), Some(Span::ZERO));
        assert_eq!(time_until_eviction(&both[..1], &[toleration("", None)]), None);
        assert_eq!(time_until_eviction(&both[..1], &[toleration(NOT_READY, Some(-5))]), Some(Span::ZERO));
        assert_eq!(time_until_eviction(&[Taint::new("y", TaintEffect::NoSchedule)], &[]), None);
    }

    #[test]
    fn zones_are_partly_disrupted_from_three_nodes_and_the_threshold_on() {
        assert_eq!(disruption(2, 2, 0.55), Disruption::Normal);
        assert_eq!(disruption(2, 3, 0.55), Disruption::Partial);
        assert_eq!(disruption(3, 3, 0.55), Disruption::Normal);
        assert_eq!(disruption(0, 1, 0.55), Disruption::Full);
    }
}
