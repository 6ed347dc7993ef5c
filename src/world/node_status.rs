//! What kubelets post of their nodes: status and lease renewals.

use super::World;
use super::change::{Change, NodeReadiness};
use super::ids::NodeId;
use super::node::Node;
use crate::engine::{Span, Time};
use crate::plan::NodeProblem;

/// A Node's status beside Ready's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeStatus {
    /// Condition Ready exists; without it `readiness` reads as not Ready.
    pub ready_exists: bool,
    /// `lastHeartbeatTime` of Ready, whole seconds: the kubelet's last post.
    pub heartbeat: Time,
    /// MemoryPressure is True.
    pub memory_pressure: bool,
    /// DiskPressure is True.
    pub disk_pressure: bool,
    /// PIDPressure is True.
    pub pid_pressure: bool,
    /// NetworkUnavailable is True.
    pub network_unavailable: bool,
}

impl NodeStatus {
    /// No condition but Ready stands in the way of pods.
    pub const fn is_well(&self) -> bool {
        !(self.memory_pressure || self.disk_pressure || self.pid_pressure || self.network_unavailable)
    }
}

/// A lease is renewed at `first` and then every `period`, the last time not after `last`. Renewals that go on are no
/// events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Renewals {
    /// The first.
    pub first: Time,
    /// From one to the next.
    pub period: Span,
    /// None comes later than this.
    pub last: Time,
}

impl Renewals {
    /// The last renewal at or before `time`.
    pub fn before(&self, time: Time) -> Option<Time> {
        let end = time.min(self.last);
        let period = self.period.max(Span::from_micros(1));
        (end >= self.first).then(|| self.first + period * (end.since(self.first).micros() / period.micros()))
    }
}

impl Node {
    /// The last renewal of its lease at or before `time`.
    pub fn renewed_before(&self, time: Time) -> Option<Time> {
        self.renewals.iter().filter_map(|renewals| renewals.before(time)).max()
    }
}

impl World {
    /// A kubelet begins to renew its node's lease.
    pub fn begin_lease(&mut self, node: NodeId, renewals: Renewals) {
        self.nodes[node.index()].renewals.push(renewals);
    }

    /// A kubelet posts its node's status: a heartbeat, Ready, and what else it says.
    pub fn post_node_status(&mut self, node: NodeId, readiness: NodeReadiness, status: NodeStatus) {
        let heartbeat = self.now.whole_second();
        let entry = &mut self.nodes[node.index()];
        let appears = !entry.status.ready_exists && entry.readiness == readiness;
        let before = std::mem::replace(&mut entry.status, NodeStatus { ready_exists: true, heartbeat, ..status });
        if entry.readiness != readiness {
            self.set_node_readiness(node, readiness);
        } else if appears || before != self.nodes[node.index()].status {
            self.push(Change::NodeConditions(node));
        }
    }

    /// A condition that an agent of the node looks after becomes False, or True again.
    pub fn set_problem(&mut self, node: NodeId, problem: NodeProblem, present: bool) {
        let now = self.now.whole_second();
        let problems = &mut self.nodes[node.index()].problems;
        if problems.iter().any(|(other, _)| *other == problem) == present {
            return;
        }
        if present {
            problems.push((problem, now));
        } else {
            problems.retain(|(other, _)| *other != problem);
        }
        self.push(Change::NodeProblem(node, problem, present));
    }

    /// The node lifecycle controller gives up a node: Ready and the pressure conditions become Unknown.
    pub fn lose_node(&mut self, node: NodeId) {
        let entry = &mut self.nodes[node.index()];
        if !entry.status.ready_exists {
            // The condition is new; its heartbeat is the node's creation.
            entry.status.heartbeat = entry.created.whole_second();
        }
        entry.status.ready_exists = true;
        entry.status.memory_pressure = false;
        entry.status.disk_pressure = false;
        entry.status.pid_pressure = false;
        self.set_node_readiness(node, NodeReadiness::Unknown);
    }
}
