//! Which endpoints should be targets.
//!
//! Source: aws-load-balancer-controller 3.2 `pkg/backend/endpoint_resolver.go`, `pkg/k8s/{service_utils,node_utils}.go`.
//! Slices are read in the order of their names; the real order is that of a hash map.

use super::copies::{is_selected, is_suitable};
use super::objects::{
    Binding, Endpoint, EndpointSet, Endpoints, Kind, Name, Node, Objects, Pod, PortReference, Service, ServicePort,
    Status, TargetType,
};
use super::text::Text;
use crate::plan::flags::LoadBalancerFlags;
use std::rc::Rc;

/// A target as it should be: an address or instance, and what is behind it.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    /// Address or instance id.
    pub id: Text,
    /// Port.
    pub port: u16,
    /// What is behind it has the gate of the binding.
    pub is_gated: bool,
    /// Pod or node.
    pub behind: Behind,
}

/// What is behind a target, as the controller saw it.
#[derive(Clone, Debug, PartialEq)]
pub enum Behind {
    /// A pod, for ip targets.
    Pod(Rc<Pod>),
    /// A node.
    Node(Rc<Node>),
}

impl Wanted {
    /// By what targets are matched and ordered.
    pub fn key(&self) -> (&Text, u16) {
        (&self.id, self.port)
    }

    /// A pod as a target of a binding.
    pub fn of_pod(address: &Text, port: u16, pod: &Rc<Pod>, gate: &str) -> Wanted {
        Wanted { id: address.clone(), port, is_gated: pod.has_gate(gate), behind: Behind::Pod(pod.clone()) }
    }

    /// The pod behind a target, if it has the gate of the binding.
    pub fn gated_pod(&self) -> Option<&Rc<Pod>> {
        if self.is_gated { self.pod() } else { None }
    }

    /// The pod behind an ip target.
    pub fn pod(&self) -> Option<&Rc<Pod>> {
        if let Behind::Pod(pod) = &self.behind { Some(pod) } else { None }
    }
}

impl Behind {
    /// Its name.
    pub fn name(&self) -> &Name {
        match self {
            Behind::Pod(pod) => &pod.name,
            Behind::Node(node) => &node.name,
        }
    }

    /// Its creation, milliseconds since 1970: a part of the checkpoint.
    pub fn created_millis(&self) -> u64 {
        let created = match self {
            Behind::Pod(pod) => pod.created,
            Behind::Node(node) => node.created,
        };
        created.whole_second().micros() / 1000
    }
}

/// What was resolved.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Resolved {
    /// What counts.
    pub wanted: Vec<Wanted>,
    /// Something does not count but may count soon without an event that says so (until 3.3).
    pub potentially_ready: bool,
}

/// Why nothing could be resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unresolved {
    /// There is no Service, port or Endpoints object.
    NotFound,
    /// Another error.
    Failed(String),
}

/// What should be the targets of a binding, in no order.
///
/// # Errors
/// They cannot be resolved.
pub fn resolve(copies: &Objects, binding: &Binding, flags: &LoadBalancerFlags) -> Result<Resolved, Unresolved> {
    match binding.spec.target_type {
        None => Err(Unresolved::Failed("targetType is not specified".to_string())),
        Some(TargetType::Ip) => pods(copies, binding, flags),
        Some(TargetType::Instance) => nodes(copies, binding, flags),
    }
}

fn service_of<'c>(copies: &'c Objects, binding: &Binding) -> Result<(&'c Service, &'c ServicePort), Unresolved> {
    let name = Name::new(binding.name.namespace.clone(), binding.spec.service.clone());
    let service = copies.services.get(&name).ok_or(Unresolved::NotFound)?;
    let named = |port: &&ServicePort| match &binding.spec.port {
        PortReference::Number(number) => port.port == *number,
        PortReference::Name(name) => port.name == *name,
    };
    let port = service.ports.iter().find(named).ok_or(Unresolved::NotFound)?;
    Ok((service, port))
}

/// The pods of an ip binding.
///
/// # Errors
/// There is no such Service, port or Endpoints object.
pub fn pods(copies: &Objects, binding: &Binding, flags: &LoadBalancerFlags) -> Result<Resolved, Unresolved> {
    let (service, port) = service_of(copies, binding)?;
    let mut slices = endpoints_of(copies, service, flags).peekable();
    if slices.peek().is_none() && !flags.endpoint_slices {
        return Err(Unresolved::NotFound);
    }
    let (mut resolved, mut unknown) = (Resolved::default(), Vec::new());
    // Up to 3.3 both address families count.
    let slices = slices.filter(|slice| slice.is_ipv4 || !flags.watches_pods || !flags.endpoint_slices);
    for set in slices.flat_map(|slice| &slice.sets) {
        for number in numbers_of(set, port) {
            resolved.wanted.reserve(set.endpoints.len());
            for endpoint in &set.endpoints {
                let (Some(name), Some(address)) = (&endpoint.pod, &endpoint.address) else { continue };
                let pod = copies.pods.get(name);
                let standing = judge(copies, endpoint, pod, &binding.gate);
                let want = |pod| Wanted::of_pod(address, number, pod, &binding.gate);
                match standing {
                    Standing::Counted => resolved.wanted.extend(pod.map(want)),
                    Standing::NodeUnknown => unknown.extend(pod.map(want)),
                    Standing::PotentiallyReady => resolved.potentially_ready |= !flags.watches_pods,
                    Standing::Out => {}
                }
            }
        }
    }
    if resolved.wanted.is_empty() && flags.fail_open {
        resolved.wanted = unknown;
    }
    Ok(resolved)
}

/// The objects that say which endpoints a Service has.
fn endpoints_of<'c>(
    copies: &'c Objects,
    service: &'c Service,
    flags: &LoadBalancerFlags,
) -> impl Iterator<Item = &'c Rc<Endpoints>> {
    let read = if flags.endpoint_slices { Kind::EndpointSlice } else { Kind::Endpoints };
    let of_service = move |entry: &&Rc<Endpoints>| {
        entry.name.namespace == service.name.namespace && entry.service.as_deref() == Some(&*service.name.name)
    };
    copies.endpoints_of(read).values().filter(of_service)
}

/// The numbers that a Service's port has in a set.
fn numbers_of<'s>(set: &'s EndpointSet, port: &'s ServicePort) -> impl Iterator<Item = u16> + use<'s> {
    let named = |(name, _): &&(Rc<str>, u16)| port.name.is_empty() || *name == port.name;
    set.ports.iter().filter(named).map(|&(_, number)| number)
}

/// The only object with endpoints of an ip binding's Service, of one set, and the only number of its port there.
pub fn only_endpoints<'c>(
    copies: &'c Objects,
    binding: &Binding,
    flags: &LoadBalancerFlags,
) -> Option<(&'c Rc<Endpoints>, u16)> {
    if binding.spec.target_type != Some(TargetType::Ip) {
        return None;
    }
    let (service, port) = service_of(copies, binding).ok()?;
    let mut objects = endpoints_of(copies, service, flags);
    let (object, None) = (objects.next()?, objects.next()) else { return None };
    let [set] = &*object.sets else { return None };
    let mut numbers = numbers_of(set, port);
    let (number, None) = (numbers.next()?, numbers.next()) else { return None };
    object.is_ipv4.then_some((object, number))
}

/// How an endpoint stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It counts.
    Counted,
    /// Counts only if nothing else does (fail-open).
    NodeUnknown,
    /// Look again.
    PotentiallyReady,
    /// It does not count.
    Out,
}

/// How an endpoint stands; a node is looked at only for one that is not ready.
pub fn judge(copies: &Objects, endpoint: &Endpoint, pod: Option<&Rc<Pod>>, gate: &str) -> Standing {
    let Some(pod) = pod else { return Standing::PotentiallyReady };
    if endpoint.is_ready() {
        return Standing::Counted;
    }
    if !pod.containers_ready {
        return if pod.has_gate(gate) { Standing::PotentiallyReady } else { Standing::Out };
    }
    match copies.nodes.get(&pod.node).and_then(|node| node.ready) {
        Some(Status::True) if !endpoint.terminating => Standing::Counted,
        Some(Status::Unknown) => Standing::NodeUnknown,
        Some(Status::True | Status::False) | None => Standing::Out,
    }
}

/// The nodes of an instance binding.
///
/// # Errors
/// There is no such Service or port, the Service has no node ports, or a node is no instance.
pub fn nodes(copies: &Objects, binding: &Binding, flags: &LoadBalancerFlags) -> Result<Resolved, Unresolved> {
    let (service, port) = service_of(copies, binding)?;
    if !service.has_node_ports {
        return Err(Unresolved::Failed("service type must be either 'NodePort' or 'LoadBalancer'".to_string()));
    }
    let suits = |node: &&Rc<Node>| is_selected(node, binding) && is_suitable(node);
    let with = |status| {
        let nodes = copies.nodes.values().filter(suits).filter(move |node| node.ready == Some(status));
        let wanted = nodes.map(|node| {
            let id = instance_id(&node.provider_id)?;
            Ok(Wanted { id: id.into(), port: port.node_port, is_gated: false, behind: Behind::Node(node.clone()) })
        });
        wanted.collect::<Result<Vec<_>, Unresolved>>()
    };
    let mut wanted = with(Status::True)?;
    if wanted.is_empty() && flags.fail_open {
        wanted = with(Status::Unknown)?;
    }
    Ok(Resolved { wanted, potentially_ready: false })
}

/// The instance id in a providerID.
fn instance_id(provider_id: &str) -> Result<String, Unresolved> {
    let last = provider_id.rsplit('/').next().unwrap_or_default();
    let hybrid = provider_id.starts_with("eks-hybrid://");
    let valid = last.starts_with(if hybrid { "mi-" } else { "i-" });
    match (valid, hybrid) {
        (true, true) => Ok(format!("hybrid-{last}")),
        (true, false) => Ok(last.to_string()),
        (false, _) => Err(Unresolved::Failed(format!("providerID {provider_id} is invalid"))),
    }
}
