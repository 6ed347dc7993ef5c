//! Zones: how disrupted they are, and at which rate their nodes may be tainted.
//!
//! Source: `pkg/controller/nodelifecycle/node_lifecycle_controller.go` (`handleDisruption`, `ComputeZoneState`),
//! `scheduler/rate_limited_queue.go`, `client-go/util/flowcontrol/throttle.go`, `golang.org/x/time/rate`.

use crate::engine::{Span, Time};
use crate::plan::flags::ControllerFlags;
use crate::world::NodeId;
use std::collections::BTreeSet;

/// Region and zone.
pub type ZoneName<'n> = [&'n str; 2];

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

/// State of a zone. The share is compared in single precision. Source: `ComputeZoneState`.
pub fn disruption(ready: usize, not_ready: usize, threshold: f64) -> Disruption {
    let share = not_ready as f32 / (not_ready + ready).max(1) as f32;
    if ready == 0 && not_ready > 0 {
        Disruption::Full
    } else if not_ready > 2 && share >= threshold as f32 {
        Disruption::Partial
    } else {
        Disruption::Normal
    }
}

/// A token bucket of one token; its rate is a single precision number of tokens a second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limiter {
    rate: f32,
    tokens: f64,
    last: Time,
}

impl Limiter {
    /// A full bucket.
    pub fn new(rate: f64, now: Time) -> Limiter {
        Limiter { rate: rate as f32, tokens: 1.0, last: now }
    }

    fn never(&self) -> bool {
        self.rate <= 0.0
    }

    /// Takes a token if there is one. A try that fails leaves the bucket as it was.
    pub fn try_accept(&mut self, now: Time) -> bool {
        if self.never() {
            return false;
        }
        let rate = f64::from(self.rate);
        let tokens = (self.tokens + now.since(self.last).seconds() * rate).min(1.0) - 1.0;
        // What is missing is a wait, cut to whole nanoseconds.
        if tokens < 0.0 && (-tokens / rate * 1e9).floor() > 0.0 {
            return false;
        }
        *self = Limiter { tokens, last: now, ..*self };
        true
    }

    /// A time before which there is no token; `None`: there never is.
    fn not_before(&self) -> Option<Time> {
        let missing = (1.0 - self.tokens).max(0.0) / f64::from(self.rate);
        (!self.never()).then(|| (self.last + Span::from_seconds(missing)).back(Span::from_millis(1)))
    }

    /// Another rate: an empty bucket stays empty. A limiter that never accepts says that its rate is 1.
    fn swap(&mut self, rate: f64, now: Time) {
        let said = if self.never() { 1.0 } else { self.rate };
        if said == rate as f32 {
            return;
        }
        let mut limiter = Limiter::new(rate, now);
        if !limiter.never() && !self.try_accept(now) {
            limiter.try_accept(now);
        }
        *self = limiter;
    }
}

/// The queue of one zone.
#[derive(Clone, Debug)]
pub struct Zone {
    /// `None`: no pass has looked at the zone as a whole yet.
    state: Option<Disruption>,
    /// The controller knows of nodes in it.
    known: bool,
    /// Waiting nodes and since when.
    queue: Vec<(Time, NodeId)>,
    /// Nodes that were queued and not forgotten since, tainted ones too.
    members: BTreeSet<NodeId>,
    /// Its limiter.
    pub limiter: Limiter,
}

impl Zone {
    fn new(known: bool, rate: f64, now: Time) -> Zone {
        let limiter = Limiter::new(rate, now);
        Zone { state: None, known, queue: Vec::new(), members: BTreeSet::new(), limiter }
    }

    /// Queues a node, once until it is forgotten.
    pub fn add(&mut self, node: NodeId, now: Time) {
        if self.members.insert(node) {
            self.queue.push((now, node));
        }
    }

    /// A node was queued and not forgotten since.
    fn has(&self, node: NodeId) -> bool {
        self.members.contains(&node)
    }

    /// Takes a node out of the queue.
    #[inline]
    pub fn forget(&mut self, node: NodeId) {
        if !self.members.is_empty() && self.members.remove(&node) {
            self.queue.retain(|(_, other)| *other != node);
        }
    }

    /// Nodes that wait longest.
    pub fn heads(&self) -> Vec<NodeId> {
        let first = self.queue.iter().map(|(since, _)| *since).min();
        self.queue.iter().filter(|(since, _)| Some(*since) == first).map(|(_, node)| *node).collect()
    }

    /// A node was dealt with: it is not queued again until it is forgotten.
    pub fn done(&mut self, node: NodeId) {
        self.queue.retain(|(_, other)| *other != node);
    }
}

/// All zones.
#[derive(Debug, Default)]
pub struct Zones {
    /// By number: the order in which they were named first.
    zones: Vec<Zone>,
    names: Vec<[String; 2]>,
    /// Their numbers in order of region and zone.
    order: Vec<usize>,
}

/// What a pass decided on all zones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Nothing special.
    None,
    /// All zones are fully disrupted now: nothing is tainted.
    Entered,
    /// They no longer are.
    Left,
}

impl Zones {
    /// The number of a zone.
    pub fn number_of(&mut self, name: ZoneName) -> usize {
        let same = |known: &[String; 2]| [known[0].as_str(), known[1].as_str()] == name;
        self.names.iter().position(same).unwrap_or_else(|| {
            let number = self.names.len();
            let place = self.order.partition_point(|&other| self.names[other].each_ref().map(String::as_str) < name);
            self.order.insert(place, number);
            self.names.push(name.map(str::to_string));
            self.zones.push(Zone::new(false, 0.0, Time::ZERO));
            number
        })
    }

    /// A node was seen in a zone: a zone that is not known begins with an empty queue and a full bucket.
    pub fn open(&mut self, zone: usize, rate: f64, now: Time) {
        if !self.zones[zone].known {
            self.zones[zone] = Zone::new(true, rate, now);
        }
    }

    /// A zone by its number.
    pub fn get(&mut self, zone: usize) -> &mut Zone {
        &mut self.zones[zone]
    }

    /// A node was queued in a zone and not forgotten since.
    pub fn has_queued(&self, zone: usize, node: NodeId) -> bool {
        self.zones[zone].has(node)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.zones.len()
    }

    /// A zone by its place in the order of region and zone.
    pub fn nth(&mut self, place: usize) -> &mut Zone {
        &mut self.zones[self.order[place]]
    }

    /// Forgets a node wherever it waits.
    pub fn forget(&mut self, node: NodeId) {
        self.zones.iter_mut().for_each(|zone| zone.forget(node));
    }

    /// No tainting pass before this can do anything; `None`: none at all.
    pub fn not_before(&self) -> Option<Time> {
        let waiting = self.zones.iter().filter(|zone| !zone.queue.is_empty());
        waiting.filter_map(|zone| zone.limiter.not_before()).min()
    }

    /// The end of a health pass: states and rates of the zones, by Ready and not Ready nodes of each; zones without nodes
    /// have no state.
    pub fn turn(&mut self, counts: &[(usize, usize)], flags: &ControllerFlags, now: Time) -> Turn {
        let state =
            |(ready, not_ready): &(usize, usize)| disruption(*ready, *not_ready, flags.unhealthy_zone_threshold);
        let all = counts.iter().filter(|count| has_nodes(count)).all(|count| state(count) == Disruption::Full);
        let mut all_were = true;
        for &number in &self.order {
            let zone = &mut self.zones[number];
            if zone.known && !has_nodes(&counts[number]) {
                zone.known = false;
            } else if zone.known && zone.state != Some(Disruption::Full) {
                all_were = false;
                break;
            }
        }
        if all && all_were {
            return Turn::None;
        }
        for (zone, count) in self.zones.iter_mut().zip(counts).filter(|(zone, _)| zone.known) {
            let new = if all { Disruption::Full } else { state(count) };
            if all {
                zone.limiter.swap(0.0, now);
            } else if all_were || zone.state != Some(new) {
                zone.limiter.swap(rate(new, count.0 + count.1, flags), now);
            }
            zone.state = Some(new);
        }
        match (all, all_were) {
            (true, _) => Turn::Entered,
            (false, true) => Turn::Left,
            (false, false) => Turn::None,
        }
    }
}

fn has_nodes(&(ready, not_ready): &(usize, usize)) -> bool {
    ready + not_ready > 0
}

fn rate(state: Disruption, size: usize, flags: &ControllerFlags) -> f64 {
    match state {
        Disruption::Normal | Disruption::Full => flags.node_eviction_rate,
        Disruption::Partial if size > flags.large_cluster_size as usize => flags.secondary_node_eviction_rate,
        Disruption::Partial => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: f64) -> Time {
        Time::from_unix_seconds(1_000) + Span::from_seconds(seconds)
    }

    #[test]
    fn zones_are_partly_disrupted_from_three_nodes_and_the_threshold_on() {
        assert_eq!(disruption(2, 2, 0.55), Disruption::Normal);
        assert_eq!(disruption(2, 3, 0.55), Disruption::Partial);
        assert_eq!(disruption(3, 3, 0.55), Disruption::Normal);
        assert_eq!(disruption(0, 1, 0.55), Disruption::Full);
        assert_eq!(disruption(9, 11, 0.55), Disruption::Partial, "11 of 20 is 0.55 in single precision too");
    }

    #[test]
    fn a_tenth_a_second_is_a_little_more_and_a_hundredth_a_little_less() {
        let mut tenth = Limiter::new(0.1, at(0.0));
        assert!(tenth.try_accept(at(0.0)) && !tenth.try_accept(at(9.9)) && tenth.try_accept(at(10.0)));
        let mut hundredth = Limiter::new(0.01, at(0.0));
        assert!(hundredth.try_accept(at(0.0)) && !hundredth.try_accept(at(100.0)) && hundredth.try_accept(at(100.1)));
    }

    #[test]
    fn a_new_rate_keeps_an_empty_bucket_empty() {
        let mut limiter = Limiter::new(0.1, at(0.0));
        limiter.swap(0.01, at(1.0));
        assert!(limiter.try_accept(at(1.0)), "it was full");
        limiter.swap(0.1, at(2.0));
        assert!(!limiter.try_accept(at(11.9)) && limiter.try_accept(at(12.0)));
        limiter.swap(0.0, at(20.0));
        limiter.swap(1.0, at(30.0));
        assert!(!limiter.try_accept(at(1000.0)), "a limiter that never accepts says its rate is 1");
        limiter.swap(0.1, at(1000.0));
        assert!(!limiter.try_accept(at(1000.0)) && limiter.try_accept(at(1010.0)));
    }
}
