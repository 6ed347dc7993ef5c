//! The world as objects of the API server, and the load balancer's target groups as its API shows them.
//!
//! Left out: slices of a hundred (a Service's endpoints are one object), zones and hints of endpoints.

use super::objects::{Condition, Endpoint, EndpointSet, Endpoints, Kind, Name, Node, Pod, Service, Status};
use super::targets::{Health, Known, Target};
use crate::plan::{Plan, ServiceId, TargetGroupId, TargetPort, TemplateId};
use crate::world::{self, Address, NodeId, NodeReadiness, PodId, TargetId, TargetReason, TargetState, World};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Endpoints by the ports that they have.
type Sets = BTreeMap<Vec<(Arc<str>, u16)>, Vec<Endpoint>>;

/// Names and addresses of pods and names of nodes, made once.
#[derive(Debug, Default)]
pub struct Names {
    pods: Vec<Option<Name>>,
    addresses: Vec<Option<(Address, Arc<str>)>>,
    by_name: BTreeMap<Name, PodId>,
    nodes: BTreeMap<Arc<str>, NodeId>,
}

impl Names {
    /// The name of a pod.
    pub fn of_pod(&mut self, world: &World, id: PodId) -> Name {
        if self.pods.len() <= id.index() {
            self.pods.resize(id.index() + 1, None);
        }
        let Names { pods, by_name, .. } = self;
        let name = pods[id.index()].get_or_insert_with(|| {
            let name = Name::new(world.template_of(id).namespace.as_str(), world.pod_name(id));
            by_name.entry(name.clone()).or_insert(id);
            name
        });
        name.clone()
    }

    /// The text of a pod's address.
    pub fn address(&mut self, pod: PodId, address: Address) -> Arc<str> {
        if self.addresses.len() <= pod.index() {
            self.addresses.resize(pod.index() + 1, None);
        }
        match &self.addresses[pod.index()] {
            Some((known, text)) if *known == address => text.clone(),
            _ => {
                let text = Arc::<str>::from(address.to_string());
                self.addresses[pod.index()] = Some((address, text.clone()));
                text
            }
        }
    }

    /// The pod of a name.
    pub fn pod(&self, name: &Name) -> Option<PodId> {
        self.by_name.get(name).copied()
    }

    /// The node of a name.
    pub fn node(&self, name: &str) -> Option<NodeId> {
        self.nodes.get(name).copied()
    }
}

/// A pod's object; its gates as the world has them.
pub fn pod(world: &World, names: &mut Names, id: PodId) -> Pod {
    let (entry, template) = (world.pod(id), world.template_of(id));
    let nothing = Arc::<str>::from("");
    let condition = |kind: &str, value: bool| Condition {
        kind: kind.into(),
        status: if value { Status::True } else { Status::False },
        reason: nothing.clone(),
        text: nothing.clone(),
        since: None,
    };
    let gates = template.readiness_gates.iter().zip(&entry.gate_conditions);
    let gates = gates.filter_map(|(gate, value)| Some(condition(gate, (*value)?)));
    Pod {
        name: names.of_pod(world, id),
        uid: id.0.to_string().into(),
        created: entry.created.whole_second(),
        node: entry.node.map_or_else(|| nothing.clone(), |node| world.node(node).name.clone()),
        gates: template.readiness_gates.iter().map(|gate| gate.as_str().into()).collect(),
        conditions: std::iter::once(condition("ContainersReady", entry.containers_ready.is_true()))
            .chain(gates)
            .collect(),
        other: nothing.clone(),
    }
}

/// A node's object.
pub fn node(world: &World, names: &mut Names, id: NodeId) -> Node {
    let entry = world.node(id);
    names.nodes.insert(entry.name.clone(), id);
    Node {
        name: Name::new("", entry.name.clone()),
        labels: entry.labels.clone(),
        taints: entry.taints.clone(),
        ready: Some(match entry.readiness {
            NodeReadiness::Ready => Status::True,
            NodeReadiness::NotReady => Status::False,
            NodeReadiness::Unknown => Status::Unknown,
        }),
        provider_id: format!("aws:///zone/{}", instance_id(id)).into(),
        created: entry.created.whole_second(),
        other: "".into(),
    }
}

/// The id of a node's instance, as targets show it.
fn instance_id(id: NodeId) -> String {
    format!("i-{:017x}", id.0)
}

/// A Service's object.
pub fn service(plan: &Plan, id: ServiceId) -> Service {
    Service::of(&plan.services[id.index()], "", |_| "".into())
}

/// A Service's endpoints; those whose ports have the same numbers are a set.
pub fn endpoints(plan: &Plan, world: &World, names: &mut Names, id: ServiceId) -> Endpoints {
    let spec = &plan.services[id.index()];
    // The sets, and which of them the pods of a template belong to.
    let (mut sets, mut of_templates) = (Sets::new(), Vec::<(TemplateId, Vec<(Arc<str>, u16)>)>::new());
    for entry in &world.endpoints[id.index()] {
        let template_id = world.pod(entry.pod).template;
        let endpoint = Endpoint {
            address: Some(names.address(entry.pod, entry.address)),
            ready: Some(entry.ready),
            terminating: entry.terminating,
            pod: Some(names.of_pod(world, entry.pod)),
        };
        let known = of_templates.iter().find(|(template, _)| *template == template_id);
        if let Some(endpoints) = known.and_then(|(_, ports)| sets.get_mut(ports)) {
            endpoints.push(endpoint);
            continue;
        }
        let template = &world.templates[template_id.index()];
        let number = |target: &TargetPort| match target {
            TargetPort::Number(number) => Some(*number),
            TargetPort::Name(name) => {
                let mut ports = template.containers.iter().flat_map(|container| &container.ports);
                ports.find(|port| port.name == *name).map(|port| port.port)
            }
        };
        let ports = spec.ports.iter().filter_map(|port| Some((port.name.as_str().into(), number(&port.target)?)));
        let ports: Vec<_> = ports.collect();
        of_templates.push((template_id, ports.clone()));
        sets.entry(ports).or_default().push(endpoint);
    }
    let sets = sets.into_iter().map(|(ports, endpoints)| EndpointSet { ports, endpoints, other: "".into() });
    Endpoints {
        kind: Kind::EndpointSlice,
        name: Name::new(spec.namespace.as_str(), spec.name.as_str()),
        service: Some(spec.name.as_str().into()),
        is_ipv4: true,
        sets: sets.collect(),
        other: "".into(),
    }
}

/// Address or instance id, and port of a target.
pub fn target(entry: &world::Target) -> Target {
    let id = entry.node.map_or_else(|| entry.address.to_string(), instance_id);
    Target { id: id.into(), port: entry.port }
}

/// The string of a target, without making the target first.
fn key(entry: &world::Target) -> String {
    match entry.node {
        Some(node) => format!("{}:{}", instance_id(node), entry.port),
        None => format!("{}:{}", entry.address, entry.port),
    }
}

/// The newest registration of each target of a group, by its string.
pub fn registrations(world: &World, group: TargetGroupId) -> BTreeMap<String, TargetId> {
    let targets = world.group_targets[group.index()].iter();
    targets.map(|&id| (key(&world.targets[id.index()]), id)).collect()
}

/// What DescribeTargetHealth says of a target.
pub fn known(world: &World, id: TargetId) -> Known {
    let entry = &world.targets[id.index()];
    let text = match (entry.state, entry.reason) {
        (TargetState::Initial, TargetReason::RegistrationInProgress) => "Target registration is in progress",
        (TargetState::Initial, _) => "Initial health checks in progress",
        (TargetState::Unhealthy, _) => "Health checks failed",
        (TargetState::Draining, _) => "Target deregistration is in progress",
        (TargetState::Healthy | TargetState::Unused, _) => "",
    };
    let health = Health { state: entry.state.name().into(), reason: entry.reason.name().into(), text: text.into() };
    Known { target: target(entry), health: Some(health) }
}

/// What it says of one that is not registered.
pub fn unknown(target: Target) -> Known {
    let (state, reason) = (TargetState::Unused.name().into(), TargetReason::NotRegistered.name().into());
    Known { target, health: Some(Health { state, reason, text: "Target is not registered".into() }) }
}
