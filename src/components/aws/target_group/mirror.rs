//! The world as objects of the API server, and the load balancer's target groups as its API shows them.
//!
//! Left out: slices of a hundred (a Service's endpoints are one object), zones and hints of endpoints.

use super::objects::{Condition, Endpoint, EndpointSet, Endpoints, Kind, Name, Node, Pod, Service, Status};
use super::targets::{Health, Known, Target};
use super::text::Text;
use crate::engine::StableState;
use crate::plan::{Plan, PodTemplate, ServiceId, ServiceSpec, TargetGroupId, TargetPort};
use crate::world::{self, Address, NodeId, NodeReadiness, PodId, TargetId, TargetReason, TargetState, World};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

/// Names and numbers of ports.
type Ports = Rc<[(Rc<str>, u16)]>;

/// Names and addresses of pods, names of nodes, targets and what is said of them, made once: none of it ever changes.
#[derive(Debug, Default)]
pub struct Names {
    pods: Vec<Option<Name>>,
    addresses: Vec<Option<(Address, Text)>>,
    /// The endpoint of each pod as it was shown last, and its address.
    endpoints: Vec<Option<(Address, Rc<Endpoint>)>>,
    /// Pods that were shown as an endpoint for the first time lately.
    appeared: VecDeque<PodId>,
    by_name: HashMap<Name, PodId, StableState>,
    /// The namespace of the pod that was named last: mostly all have the same.
    namespace: Option<Rc<str>>,
    nodes: BTreeMap<Rc<str>, NodeId>,
    /// Names of nodes' objects and what their cloud provider calls them.
    nodes_named: Vec<Option<(Name, Rc<str>)>>,
    targets: Vec<Option<Target>>,
    /// Types of conditions, and other words that many pods have in common.
    words: Vec<Rc<str>>,
    healths: Vec<((TargetState, TargetReason), Rc<Health>)>,
    /// The registrations of each group that was asked about, and of which targets they were made.
    registrations: Vec<(Vec<TargetId>, Rc<Registrations>)>,
    /// What endpoints of each Service have in common.
    services: Vec<Option<ServiceNames>>,
}

impl Names {
    /// A word of which there are few.
    pub fn word(&mut self, text: &str) -> Rc<str> {
        let known = self.words.iter().find(|word| ***word == *text).cloned();
        known.unwrap_or_else(|| {
            self.words.push(text.into());
            self.words[self.words.len() - 1].clone()
        })
    }

    /// The name of a pod.
    pub fn of_pod(&mut self, world: &World, id: PodId) -> Name {
        if self.pods.len() <= id.index() {
            self.pods.resize(id.index() + 1, None);
        }
        let Names { pods, by_name, namespace, .. } = self;
        let name = pods[id.index()].get_or_insert_with(|| {
            let own = world.template_of(id).namespace.as_str();
            let shared = namespace.take().filter(|last| **last == *own).unwrap_or_else(|| own.into());
            let name = Name::new(namespace.insert(shared).clone(), world.pod_name(id));
            by_name.entry(name.clone()).or_insert(id);
            name
        });
        name.clone()
    }

    /// The name of a node, and what its cloud provider calls it.
    fn of_node(&mut self, world: &World, id: NodeId) -> (Name, Rc<str>) {
        if self.nodes_named.len() <= id.index() {
            self.nodes_named.resize(id.index() + 1, None);
        }
        let Names { nodes, nodes_named, .. } = self;
        let named = nodes_named[id.index()].get_or_insert_with(|| {
            let name = Name::new("", &*world.node(id).name);
            nodes.insert(name.name.clone(), id);
            (name, instance_id("aws:///zone/", id).into())
        });
        named.clone()
    }

    /// The text of a pod's address.
    pub fn address(&mut self, pod: PodId, address: Address) -> Text {
        if self.addresses.len() <= pod.index() {
            self.addresses.resize(pod.index() + 1, None);
        }
        match &self.addresses[pod.index()] {
            Some((known, text)) if *known == address => text.clone(),
            _ => {
                let text = address.with_text(|text| Text::from(text));
                self.addresses[pod.index()] = Some((address, text.clone()));
                text
            }
        }
    }

    /// A pod as an endpoint: the one that was shown before, while nothing of it has changed.
    #[inline]
    fn endpoint(&mut self, world: &World, entry: &world::Endpoint) -> Rc<Endpoint> {
        if let Some(Some((address, shown))) = self.endpoints.get(entry.pod.index()) {
            let conditions = (Some(entry.ready), entry.terminating);
            if *address == entry.address && (shown.ready, shown.terminating) == conditions {
                return shown.clone();
            }
        }
        self.new_endpoint(world, entry)
    }

    #[inline(never)]
    fn new_endpoint(&mut self, world: &World, entry: &world::Endpoint) -> Rc<Endpoint> {
        let place = entry.pod.index();
        if self.endpoints.len() <= place {
            self.endpoints.resize(place + 1, None);
        }
        if self.endpoints[place].is_none() {
            self.appeared.push_back(entry.pod);
        }
        let endpoint = Rc::new(Endpoint {
            address: Some(self.address(entry.pod, entry.address)),
            ready: Some(entry.ready),
            terminating: entry.terminating,
            pod: Some(self.of_pod(world, entry.pod)),
        });
        self.endpoints[place] = Some((entry.address, endpoint.clone()));
        endpoint
    }

    /// The next of the pods that were shown as an endpoint for the first time lately.
    pub fn next_appeared(&mut self) -> Option<PodId> {
        self.appeared.pop_front()
    }

    /// A target by address or instance id, and port.
    #[inline]
    pub fn target(&mut self, world: &World, id: TargetId) -> Target {
        if self.targets.len() <= id.index() {
            self.targets.resize(id.index() + 1, None);
        }
        if let Some(known) = &self.targets[id.index()] {
            return known.clone();
        }
        let entry = &world.targets[id.index()];
        let text = entry.node.map(|node| Text::from(instance_id("", node)));
        // A pod's address is one text wherever it is shown, so that comparisons need not look into it.
        let text = text.unwrap_or_else(|| self.address(entry.pod, entry.address));
        let target = Target { id: text, port: entry.port };
        self.targets[id.index()] = Some(target.clone());
        target
    }

    fn health(&mut self, state: TargetState, reason: TargetReason) -> Rc<Health> {
        let known = self.healths.iter().find(|(said, _)| *said == (state, reason));
        known.map(|(_, health)| health.clone()).unwrap_or_else(|| {
            let health = Rc::new(health(state, reason));
            self.healths.push(((state, reason), health.clone()));
            health
        })
    }

    /// What DescribeTargetHealth says of a target that is registered so.
    pub fn known(&mut self, world: &World, target: &Target, id: TargetId) -> Known {
        let entry = &world.targets[id.index()];
        let health = self.health(entry.state, entry.reason);
        Known { target: target.clone(), health: Some(health) }
    }

    /// The newest registration of each target of a group.
    pub fn registrations(&mut self, world: &World, group: TargetGroupId) -> Rc<Registrations> {
        if self.registrations.len() <= group.index() {
            self.registrations.resize_with(group.index() + 1, Default::default);
        }
        // What a registration is never changes: they are as before while they are the same ones.
        let present = &world.group_targets[group.index()];
        if self.registrations[group.index()].0 == *present {
            return self.registrations[group.index()].1.clone();
        }
        let mut registrations = std::mem::take(&mut self.registrations);
        let (of_these, known) = &mut registrations[group.index()];
        let all = Rc::make_mut(known);
        if all.0.len() == of_these.len() && !present.starts_with(of_these) {
            let mut left = present.iter().peekable();
            of_these.retain(|id| left.next_if_eq(&id).is_some());
            if of_these.len() < all.0.len() {
                // Ids ascend in the order of registration.
                all.0.retain(|registered| of_these.binary_search(&registered.id).is_ok());
            }
        }
        // Where one stood before another of the same target, that may show again: all of them are looked at.
        let new = present.strip_prefix(&**of_these).unwrap_or_else(|| {
            of_these.clear();
            all.0.clear();
            present
        });
        new.iter().for_each(|&id| all.put(self.target(world, id), id));
        of_these.extend(new);
        let known = known.clone();
        self.registrations = registrations;
        known
    }

    /// What a Service's endpoints have in common.
    fn service(&mut self, spec: &ServiceSpec, id: ServiceId) -> &mut ServiceNames {
        if self.services.len() <= id.index() {
            self.services.resize_with(id.index() + 1, || None);
        }
        self.services[id.index()].get_or_insert_with(|| ServiceNames {
            name: Name::new(spec.namespace.as_str(), spec.name.as_str()),
            nothing: "".into(),
            ports: Vec::new(),
        })
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

/// What endpoints of a Service have in common.
#[derive(Debug)]
struct ServiceNames {
    name: Name,
    nothing: Rc<str>,
    /// The ports as the pods of each template have them.
    ports: Vec<(Arc<PodTemplate>, Ports)>,
}

impl ServiceNames {
    fn ports_of(&mut self, spec: &ServiceSpec, template: &Arc<PodTemplate>) -> Ports {
        let known = self.ports.iter().find(|(known, _)| Arc::ptr_eq(known, template));
        known.map(|(_, ports)| ports.clone()).unwrap_or_else(|| {
            let ports = ports_of(spec, template);
            self.ports.push((template.clone(), ports.clone()));
            ports
        })
    }
}

/// Registrations in the order of their targets.
#[derive(Clone, Debug, Default)]
pub struct Registrations(Vec<Registered>);

/// A registration. The beginning of its target's id tells it from most others.
#[derive(Clone, Debug)]
struct Registered {
    beginning: u128,
    target: Target,
    id: TargetId,
}

impl Registrations {
    /// A registration that is newer than all others.
    fn put(&mut self, target: Target, id: TargetId) {
        let place = self.place_of(&target);
        let new = Registered { beginning: target.id.beginning(), target, id };
        match place {
            Ok(place) => self.0[place] = new,
            Err(place) => self.0.insert(place, new),
        }
    }

    fn place_of(&self, target: &Target) -> Result<usize, usize> {
        let beginning = target.id.beginning();
        self.0.binary_search_by(|other| {
            let differ = other.beginning != beginning && other.beginning != 0 && beginning != 0;
            if differ { other.beginning.cmp(&beginning) } else { other.target.order(target) }
        })
    }

    /// The registration of a target.
    pub fn get(&self, target: &Target) -> Option<TargetId> {
        let place = self.place_of(target).ok()?;
        Some(self.0[place].id)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (&Target, TargetId)> {
        self.0.iter().map(|registered| (&registered.target, registered.id))
    }

    /// Their targets.
    pub fn targets(&self) -> impl Iterator<Item = &Target> {
        self.0.iter().map(|registered| &registered.target)
    }
}

/// A pod's object; its gates as the world has them.
pub fn pod(world: &World, names: &mut Names, id: PodId) -> Pod {
    let (entry, template) = (world.pod(id), world.template_of(id));
    let (name, nothing) = (names.of_pod(world, id), names.word(""));
    let gates: Vec<Rc<str>> = template.readiness_gates.iter().map(|gate| names.word(gate)).collect();
    let condition = |(kind, value): (&Rc<str>, &Option<bool>)| {
        let (status, nothing) = (Status::of((*value)?), nothing.clone());
        Some(Condition { kind: kind.clone(), status, reason: nothing.clone(), text: nothing, since: None })
    };
    Pod {
        // A name may come back, as that of a Deployment that is deleted and applied anew.
        uid: id.0.to_string().into(),
        created: entry.created.whole_second(),
        node: entry.node.map_or_else(|| nothing.clone(), |node| names.of_node(world, node).0.name.clone()),
        containers_ready: entry.containers_ready.is_true(),
        conditions: gates.iter().zip(&entry.gate_conditions).filter_map(condition).collect(),
        gates,
        other: nothing,
        name,
    }
}

/// A node's object.
pub fn node(world: &World, names: &mut Names, id: NodeId) -> Node {
    let entry = world.node(id);
    let (name, provider_id) = names.of_node(world, id);
    Node {
        name,
        labels: entry.labels.clone(),
        taints: entry.taints.clone(),
        ready: Some(match entry.readiness {
            NodeReadiness::Ready => Status::True,
            NodeReadiness::NotReady => Status::False,
            NodeReadiness::Unknown => Status::Unknown,
        }),
        provider_id,
        created: entry.created.whole_second(),
        other: names.word(""),
    }
}

/// The id of a node's instance, as targets show it: 17 hexadecimal digits. One is made for each node: general formatting
/// would be most of the cost.
fn instance_id(before: &str, id: NodeId) -> String {
    let mut text = String::with_capacity(before.len() + 19);
    text.push_str(before);
    text.push_str("i-000000000");
    text.extend((0..8).rev().filter_map(|place| char::from_digit(id.0 >> (4 * place) & 0xf, 16)));
    text
}

/// A Service's object.
pub fn service(plan: &Plan, id: ServiceId) -> Service {
    Service::of(&plan.services[id.index()], "", |_| "".into())
}

/// A Service's endpoints; those whose ports have the same numbers are a set.
pub fn endpoints(plan: &Plan, world: &World, names: &mut Names, id: ServiceId) -> Endpoints {
    let spec = &plan.services[id.index()];
    let entries = &world.endpoints[id.index()];
    // Most Services have one set, and their pods one template.
    let template = |entry: &world::Endpoint| world.pod(entry.pod).template;
    let mut sets = Vec::with_capacity(1);
    for alike in entries.chunk_by(|one, next| template(one) == template(next)) {
        let service = names.service(spec, id);
        let ports = service.ports_of(spec, &world.templates[template(&alike[0]).index()]);
        let set = set_with(&mut sets, ports, entries.len(), &service.nothing);
        sets[set].endpoints.extend(alike.iter().map(|entry| names.endpoint(world, entry)));
    }
    sets.sort_by(|one, other| one.ports.cmp(&other.ports));
    let ServiceNames { name, nothing, .. } = names.service(spec, id);
    Endpoints {
        kind: Kind::EndpointSlice,
        name: name.clone(),
        service: Some(name.name.clone()),
        is_ipv4: true,
        sets,
        other: nothing.clone(),
    }
}

/// The place of the set with certain ports: a new one if there is none. The first has room for `most` endpoints.
fn set_with(sets: &mut Vec<EndpointSet>, ports: Ports, most: usize, nothing: &Rc<str>) -> usize {
    sets.iter().position(|set| set.ports == ports).unwrap_or_else(|| {
        let endpoints = Vec::with_capacity(if sets.is_empty() { most } else { 0 });
        sets.push(EndpointSet { ports, endpoints, other: nothing.clone() });
        sets.len() - 1
    })
}

/// The ports of a Service as pods of a template have them; one that no container has is left out.
fn ports_of(spec: &ServiceSpec, template: &PodTemplate) -> Ports {
    let number = |target: &TargetPort| match target {
        TargetPort::Number(number) => Some(*number),
        TargetPort::Name(name) => {
            let mut ports = template.containers.iter().flat_map(|container| &container.ports);
            ports.find(|port| port.name == *name).map(|port| port.port)
        }
    };
    let ports = spec.ports.iter().filter_map(|port| Some((port.name.as_str().into(), number(&port.target)?)));
    ports.collect()
}

fn health(state: TargetState, reason: TargetReason) -> Health {
    let text = match (state, reason) {
        (TargetState::Initial, TargetReason::RegistrationInProgress) => "Target registration is in progress",
        (TargetState::Initial, _) => "Initial health checks in progress",
        (TargetState::Unhealthy, _) => "Health checks failed",
        (TargetState::Draining, _) => "Target deregistration is in progress",
        (TargetState::Unused, _) => "Target is in an Availability Zone that is not enabled for the load balancer",
        (TargetState::Healthy, _) => "",
    };
    Health { state: state.name().into(), reason: reason.name().into(), text: text.into() }
}

/// What it says of one that is not registered.
pub fn unknown(target: Target) -> Known {
    let (state, reason) = (TargetState::Unused.name().into(), TargetReason::NotRegistered.name().into());
    let health = Health { state, reason, text: "Target is not registered".into() };
    Known { target, health: Some(health.into()) }
}
