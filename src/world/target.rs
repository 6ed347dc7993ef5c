//! Endpoints of Services and targets of target groups.

use super::World;
use super::change::Change;
use super::ids::{NodeId, PodId, TargetId};
use super::pod::Address;
use crate::engine::Time;
use crate::plan::{ServiceId, TargetGroupId, ZoneId};

/// One endpoint of a Service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Its pod.
    pub pod: PodId,
    /// Its address.
    pub address: Address,
    /// `conditions.ready`.
    pub ready: bool,
    /// `conditions.serving`.
    pub serving: bool,
    /// `conditions.terminating`.
    pub terminating: bool,
    /// Its node.
    pub node: Option<NodeId>,
    /// The node's zone.
    pub zone: Option<ZoneId>,
}

/// State of a target as `describe-target-health` shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TargetState {
    /// Registering, or first checks not finished.
    Initial,
    /// In rotation.
    Healthy,
    /// Out of rotation.
    Unhealthy,
    /// Deregistered, requests in flight finish.
    Draining,
    /// Not registered, or in a zone that is not enabled: no checks, no requests.
    Unused,
}

impl TargetState {
    /// As the API writes it.
    pub const fn name(self) -> &'static str {
        match self {
            TargetState::Initial => "initial",
            TargetState::Healthy => "healthy",
            TargetState::Unhealthy => "unhealthy",
            TargetState::Draining => "draining",
            TargetState::Unused => "unused",
        }
    }
}

/// Reason of a target's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TargetReason {
    /// None.
    None,
    /// `Elb.RegistrationInProgress`.
    RegistrationInProgress,
    /// `Elb.InitialHealthChecking`.
    InitialHealthChecking,
    /// `Target.ResponseCodeMismatch`.
    ResponseCodeMismatch,
    /// `Target.Timeout`.
    Timeout,
    /// `Target.FailedHealthChecks`.
    FailedHealthChecks,
    /// `Target.DeregistrationInProgress`.
    DeregistrationInProgress,
    /// `Target.NotRegistered`.
    NotRegistered,
    /// `Target.NotInUse`: its zone is not enabled for the load balancer.
    NotInUse,
}

impl TargetReason {
    /// As the API writes it.
    pub const fn name(self) -> &'static str {
        match self {
            TargetReason::None => "",
            TargetReason::RegistrationInProgress => "Elb.RegistrationInProgress",
            TargetReason::InitialHealthChecking => "Elb.InitialHealthChecking",
            TargetReason::ResponseCodeMismatch => "Target.ResponseCodeMismatch",
            TargetReason::Timeout => "Target.Timeout",
            TargetReason::FailedHealthChecks => "Target.FailedHealthChecks",
            TargetReason::DeregistrationInProgress => "Target.DeregistrationInProgress",
            TargetReason::NotRegistered => "Target.NotRegistered",
            TargetReason::NotInUse => "Target.NotInUse",
        }
    }
}

/// One registration of an address with a target group.
#[derive(Clone, Debug)]
pub struct Target {
    /// Its id: order of registration.
    pub id: TargetId,
    /// Its group.
    pub group: TargetGroupId,
    /// The pod behind the address when it was registered.
    pub pod: PodId,
    /// Address.
    pub address: Address,
    /// Port.
    pub port: u16,
    /// State.
    pub state: TargetState,
    /// Why.
    pub reason: TargetReason,
    /// When RegisterTargets was accepted.
    pub registered: Time,
    /// When it last became healthy.
    pub healthy_since: Option<Time>,
    /// When DeregisterTargets was accepted.
    pub deregistered: Option<Time>,
    /// The load balancer sends new requests to it.
    pub routable: bool,
    /// When the first request reached it.
    pub in_service: Option<Time>,
    /// When it left the group.
    pub gone: Option<Time>,
    /// Load-balancer nodes that have it healthy: its weight in routing.
    pub weight: u32,
    /// Requests in flight through it.
    pub outstanding: u32,
    /// The node, for a target of type instance; `pod` is then any pod of the Service.
    pub node: Option<NodeId>,
    /// Each time that it became unhealthy, and the reason then.
    failures: Vec<(Time, TargetReason)>,
}

impl Target {
    /// Why it was unhealthy at a time.
    pub fn reason_at(&self, at: Time) -> TargetReason {
        let index = self.failures.partition_point(|(since, _)| *since <= at);
        index.checked_sub(1).map_or(TargetReason::None, |index| self.failures[index].1)
    }
}

impl World {
    /// A target lies in a zone in which its load balancer has a node: that of its machine.
    pub fn is_in_enabled_zone(&self, zones: &[ZoneId], target: TargetId) -> bool {
        let entry = &self.targets[target.index()];
        let node = entry.node.or(self.pod(entry.pod).node);
        let zone = node.and_then(|node| self.node(node).zone);
        zones.is_empty() || zone.is_none_or(|zone| zones.contains(&zone))
    }

    /// Writes a Service's endpoints.
    pub fn set_endpoints(&mut self, service: ServiceId, endpoints: Vec<Endpoint>) {
        if self.endpoints[service.index()] != endpoints {
            self.endpoints[service.index()] = endpoints;
            self.push(Change::EndpointsChanged(service));
        }
    }

    /// RegisterTargets accepts an address.
    pub fn register_target(&mut self, group: TargetGroupId, pod: PodId, address: Address, port: u16) -> TargetId {
        let id = TargetId::at(self.targets.len());
        self.targets.push(Target {
            id,
            group,
            pod,
            address,
            port,
            state: TargetState::Initial,
            reason: TargetReason::RegistrationInProgress,
            registered: self.now,
            healthy_since: None,
            deregistered: None,
            routable: false,
            in_service: None,
            gone: None,
            weight: 0,
            outstanding: 0,
            node: None,
            failures: Vec::new(),
        });
        self.group_targets[group.index()].push(id);
        self.target_pods.insert(pod);
        self.push(Change::TargetRegistered(id));
        id
    }

    /// RegisterTargets accepts a node; `pod` is any pod of the Service behind it.
    pub fn register_node_target(&mut self, group: TargetGroupId, node: NodeId, pod: PodId, port: u16) -> TargetId {
        // Nodes have addresses of a range of their own, beside those of pods.
        let id = self.register_target(group, pod, Address(0x0a80_0000 + node.0), port);
        self.targets[id.index()].node = Some(node);
        id
    }

    /// How many load-balancer nodes have a target healthy.
    pub fn set_target_weight(&mut self, target: TargetId, weight: u32) {
        if self.targets[target.index()].weight != weight {
            self.targets[target.index()].weight = weight;
            self.push(Change::TargetWeight(target, weight));
        }
    }

    /// A target's state and reason.
    pub fn set_target_state(&mut self, target: TargetId, state: TargetState, reason: TargetReason) {
        let now = self.now;
        let entry = &mut self.targets[target.index()];
        entry.reason = reason;
        if entry.state != state {
            let (group, before) = (entry.group, std::mem::replace(&mut entry.state, state));
            match state {
                TargetState::Healthy => entry.healthy_since = Some(now),
                TargetState::Draining => entry.deregistered = Some(now),
                TargetState::Unhealthy => entry.failures.push((now, reason)),
                _ => {}
            }
            self.count_host(group, before, Some(state));
            self.push(Change::TargetStateChanged(target, state));
        }
    }

    /// The load balancer begins or ceases to send new requests to a target.
    pub fn set_routable(&mut self, target: TargetId, routable: bool) {
        if self.targets[target.index()].routable != routable {
            self.targets[target.index()].routable = routable;
            self.push(Change::TargetRoutable(target, routable));
        }
    }

    /// The first request reaches a target.
    pub fn note_in_service(&mut self, target: TargetId) {
        if self.targets[target.index()].in_service.is_none() {
            self.targets[target.index()].in_service = Some(self.now);
            self.push(Change::TargetInService(target));
        }
    }

    /// A target leaves its group.
    pub fn remove_target(&mut self, target: TargetId) {
        let entry = &mut self.targets[target.index()];
        if entry.gone.is_none() {
            entry.gone = Some(self.now);
            let (group, state) = (entry.group, entry.state);
            self.group_targets[group.index()].retain(|&other| other != target);
            self.count_host(group, state, None);
            self.push(Change::TargetGone(target));
        }
    }
}
