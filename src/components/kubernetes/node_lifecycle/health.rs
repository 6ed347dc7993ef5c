//! What the controller remembers of a node's heartbeats, and when it gives a node up.
//!
//! Source: `pkg/controller/nodelifecycle/node_lifecycle_controller.go` (`tryUpdateNodeHealth`).

use crate::engine::{Span, Time};
use crate::world::{Node, NodeReadiness};

/// Memory of one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Health {
    /// Condition Ready as it was saved: its value and its heartbeat; `None`: there was none.
    pub ready: Option<(NodeReadiness, Time)>,
    /// The lease renewal that was saved. A new heartbeat drops it, so that the next pass takes the same lease for a new one.
    pub lease: Option<Time>,
    /// The controller's clock when it last saw a sign of life.
    pub probe: Time,
}

/// How long a node may be silent.
#[derive(Clone, Copy, Debug)]
pub struct Grace {
    /// With a Ready condition.
    pub usual: Span,
    /// Without one.
    pub startup: Span,
}

impl Grace {
    /// The grace of a node.
    pub fn of(&self, node: &Node) -> Span {
        if node.status.ready_exists { self.usual } else { self.startup }
    }
}

/// What a pass at `now` makes of a node.
#[inline]
pub fn observe(saved: Option<Health>, node: &Node, now: Time) -> Health {
    let current = node.status.ready_exists.then_some((node.readiness, node.status.heartbeat));
    let fresh = Health { ready: current, lease: None, probe: now };
    let mut health = match (saved, current) {
        (None, None) => Health { probe: node.created.whole_second(), ..fresh },
        (None, Some(_)) => fresh,
        (Some(saved), None) => Health { ready: None, ..saved },
        (Some(saved), Some((_, heartbeat))) => match saved.ready {
            Some((_, before)) if before == heartbeat => saved,
            _ => fresh,
        },
    };
    let observed = node.renewed_before(now);
    if observed > saved.and_then(|saved| saved.lease) {
        health.lease = observed;
        health.probe = now;
    }
    health
}

/// Passes between the last one and now were left out, because nothing but renewals could have come: what the last of
/// them would have saved. `tick` is the first pass at or after a time.
pub fn catch_up(saved: Health, node: &Node, last_left_out: Time, tick: impl Fn(Time) -> Time) -> Health {
    match node.renewed_before(last_left_out) {
        Some(renewal) if Some(renewal) > saved.lease => {
            Health { lease: Some(renewal), probe: saved.probe.max(tick(renewal)), ..saved }
        }
        _ => saved,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Plan;
    use crate::world::{NewNode, NodeId, Renewals, World};

    fn at(seconds: u64) -> Time {
        Time::from_unix_seconds(1_000_000 + seconds)
    }

    fn node() -> World {
        let mut world = World::new(&Plan::empty(at(0), Span::from_secs(1000)));
        world.now = at(0);
        let node = world.create_node(NewNode {
            name: "a".into(),
            labels: Default::default(),
            taints: Vec::new(),
            allocatable: Default::default(),
            capacity: Default::default(),
            claim: None,
            instance: None,
            zone: None,
        });
        world.begin_lease(node, Renewals { first: at(3), period: Span::from_secs(10), last: at(33) });
        world
    }

    #[test]
    fn a_heartbeat_makes_the_next_pass_take_the_same_lease_for_a_new_one() {
        let mut world = node();
        let health = observe(None, world.node(NodeId(0)), at(40));
        assert_eq!((health.lease, health.probe), (Some(at(33)), at(40)));
        let later = observe(Some(health), world.node(NodeId(0)), at(45));
        assert_eq!(later, health, "nothing new");
        world.now = at(47);
        let status = world.node(NodeId(0)).status;
        world.post_node_status(NodeId(0), NodeReadiness::Ready, status);
        let health = observe(Some(later), world.node(NodeId(0)), at(50));
        assert_eq!((health.lease, health.probe), (None, at(50)));
        let health = observe(Some(health), world.node(NodeId(0)), at(55));
        assert_eq!((health.lease, health.probe), (Some(at(33)), at(55)));
    }

    #[test]
    fn left_out_passes_are_made_up_for() {
        let world = node();
        let node = world.node(NodeId(0));
        let pass = |number: u64| at(1 + 5 * number);
        let tick = |time: Time| (0..).map(pass).find(|pass| *pass >= time).unwrap();
        let mut each = observe(None, node, pass(0));
        let first = each;
        for number in 1..=12 {
            each = observe(Some(each), node, pass(number));
        }
        let made_up = observe(Some(catch_up(first, node, pass(11), tick)), node, pass(12));
        assert_eq!(made_up, each);
    }
}
