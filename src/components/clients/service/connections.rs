//! Idle connections of the load balancer to a pod, and the race in which an application closes one that is just used again.
//!
//! In: requests through targets and their ends. Out: Loss::Closed (502). Each node of the load balancer keeps connections of
//! its own and uses the one first that was used last. An application whose keep-alive time-out is below the load balancer's
//! idle time-out closes first, and the load balancer hears of it a moment later: what it sends in that moment meets a closed
//! connection, and the client an error. ELB user guide, "Troubleshoot your Application Load Balancers" (HTTP 502: the target
//! closed the connection with a request outstanding; keep-alive shorter than the idle time-out).
//!
//! Left out: that an application closes idle connections at SIGTERM, limits of requests a connection, flows (no single
//! request, no race).

use crate::engine::{Span, Time};
use std::collections::VecDeque;

/// What a request finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// A connection that is open, or a new one.
    Open,
    /// One that the application has just closed.
    Closing,
}

/// Idle connections to one pod, by the node of the load balancer that has them.
#[derive(Clone, Debug, Default)]
pub struct Connections {
    /// Since when each is idle, ascending.
    idle: Vec<VecDeque<Time>>,
}

impl Connections {
    /// A node of the load balancer sends a request. The application closes what was idle for `keep_alive`, of which the load
    /// balancer hears `notice` later.
    pub fn take(&mut self, now: Time, node: usize, keep_alive: Span, notice: Span) -> Found {
        let Some(idle) = self.idle.get_mut(node) else { return Found::Open };
        let Some(since) = idle.pop_back() else { return Found::Open };
        let quiet = now.since(since);
        if quiet < keep_alive {
            return Found::Open;
        }
        // The others are idle for longer still.
        idle.retain(|&other| now.since(other) < keep_alive + notice);
        if quiet < keep_alive + notice { Found::Closing } else { Found::Open }
    }

    /// A request has ended: its connection is idle from now on.
    pub fn give_back(&mut self, now: Time, node: usize, keep_alive: Span) {
        if self.idle.len() <= node {
            self.idle.resize(node + 1, VecDeque::new());
        }
        let idle = &mut self.idle[node];
        // Those that were not needed for so long are closed on both sides.
        while idle.front().is_some_and(|&since| now.since(since) > keep_alive * 2) {
            idle.pop_front();
        }
        idle.push_back(now);
    }

    /// The process has gone, and all connections with it.
    pub fn clear(&mut self) {
        self.idle.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_connection_used_last_is_used_first_and_only_the_moment_after_its_end_fails() {
        let at = |millis: u64| Time::from_unix_seconds(100) + Span::from_millis(millis);
        let (keep_alive, notice) = (Span::from_secs(5), Span::from_millis(1));
        let mut connections = Connections::default();
        let mut take = |now, given: &[(u64, usize)], node| {
            connections.clear();
            given.iter().for_each(|&(millis, node)| connections.give_back(at(millis), node, keep_alive));
            connections.take(at(now), node, keep_alive, notice)
        };
        assert_eq!(take(5000, &[], 0), Found::Open, "a new connection");
        assert_eq!(take(4999, &[(0, 0)], 0), Found::Open);
        assert_eq!(take(5000, &[(0, 0)], 0), Found::Closing);
        assert_eq!(take(5001, &[(0, 0)], 0), Found::Open, "the load balancer knows, and opens a new one");
        assert_eq!(take(5000, &[(0, 0), (1, 0)], 0), Found::Open, "the one used last is fresh");
        assert_eq!(take(5000, &[(0, 0)], 1), Found::Open, "another node has none");
    }
}
