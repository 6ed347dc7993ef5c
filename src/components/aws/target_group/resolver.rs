//! Which endpoints should be targets.
//!
//! Source: aws-load-balancer-controller 3.2 `pkg/backend/endpoint_resolver.go`, `pkg/k8s/{service_utils,node_utils}.go`.
//! Slices are read in the order of their names; the real order is that of a hash map.

use super::checkpoint;
use super::copies::{is_selected, is_suitable};
use super::objects::{
    Binding, BindingSpec, Endpoint, Kind, Name, Node, Objects, Pod, PortReference, Service, ServicePort, Status,
    TargetType,
};
use super::targets::sort_by_key;
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

/// What was resolved for a binding.
#[derive(Clone, Debug)]
pub struct Resolution {
    /// What counts, in the order of targets, each once.
    pub wanted: Rc<[Wanted]>,
    /// See [`Resolved::potentially_ready`].
    pub potentially_ready: bool,
    /// The checkpoint of it.
    pub checkpoint: Rc<str>,
}

/// What was resolved since a copy changed, with the bindings and their specs. A binding is reconciled again as soon as its own
/// patches come back: then nothing else is new.
#[derive(Clone, Debug, Default)]
pub struct Resolutions(Vec<(Name, Rc<BindingSpec>, Resolution)>);

impl Resolutions {
    /// A copy of something else than a binding changed: everything is resolved anew.
    pub fn forget(&mut self) {
        self.0.clear();
    }

    /// What should be the targets of a binding; nothing if it has no type of targets.
    ///
    /// # Errors
    /// They cannot be resolved.
    pub fn resolve(
        &mut self,
        copies: &Objects,
        binding: &Binding,
        flags: &LoadBalancerFlags,
    ) -> Result<Resolution, Unresolved> {
        // A binding's gate follows from its name: name and spec are all of it that counts.
        let known = self.0.iter().position(|(name, ..)| *name == binding.name);
        if let Some((_, _, resolution)) = known.map(|place| &self.0[place]).filter(|(_, spec, _)| *spec == binding.spec)
        {
            debug_assert!(resolve(copies, binding, flags).is_ok_and(|anew| anew.checkpoint == resolution.checkpoint));
            return Ok(resolution.clone());
        }
        let resolution = resolve(copies, binding, flags)?;
        let entry = (binding.name.clone(), binding.spec.clone(), resolution.clone());
        match known {
            Some(place) => self.0[place] = entry,
            None => self.0.push(entry),
        }
        Ok(resolution)
    }
}

fn resolve(copies: &Objects, binding: &Binding, flags: &LoadBalancerFlags) -> Result<Resolution, Unresolved> {
    let resolved = match binding.spec.target_type {
        None => Err(Unresolved::Failed("targetType is not specified".to_string())),
        Some(TargetType::Ip) => pods(copies, binding, flags),
        Some(TargetType::Instance) => nodes(copies, binding, flags),
    };
    let Resolved { mut wanted, potentially_ready } = resolved?;
    let checkpoint = checkpoint::checkpoint(binding, &wanted);
    sort_by_key(&mut wanted, Wanted::key);
    Ok(Resolution { wanted: wanted.into(), potentially_ready, checkpoint })
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
    let read = if flags.endpoint_slices { Kind::EndpointSlice } else { Kind::Endpoints };
    let of_service = |entry: &&Rc<super::objects::Endpoints>| {
        entry.kind == read
            && entry.name.namespace == service.name.namespace
            && entry.service.as_deref() == Some(&*service.name.name)
    };
    let mut slices = copies.endpoints.values().filter(of_service).peekable();
    if slices.peek().is_none() && !flags.endpoint_slices {
        return Err(Unresolved::NotFound);
    }
    let (mut resolved, mut unknown) = (Resolved::default(), Vec::new());
    // Up to 3.3 both address families count.
    let slices = slices.filter(|slice| slice.is_ipv4 || !flags.watches_pods || !flags.endpoint_slices);
    for set in slices.flat_map(|slice| &slice.sets) {
        for (_, number) in set.ports.iter().filter(|(name, _)| port.name.is_empty() || *name == port.name) {
            resolved.wanted.reserve(set.endpoints.len());
            for endpoint in &set.endpoints {
                let (Some(name), Some(address)) = (&endpoint.pod, &endpoint.address) else { continue };
                let pod = copies.pods.get(name);
                let standing = judge(copies, endpoint, pod, &binding.gate);
                let want = |pod: &Rc<Pod>| {
                    let behind = Behind::Pod(pod.clone());
                    Wanted { id: address.clone(), port: *number, behind }
                };
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

/// How an endpoint stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Counted,
    /// Counts only if nothing else does (fail-open).
    NodeUnknown,
    /// Look again.
    PotentiallyReady,
    Out,
}

fn judge(copies: &Objects, endpoint: &Endpoint, pod: Option<&Rc<Pod>>, gate: &str) -> Standing {
    let Some(pod) = pod else { return Standing::PotentiallyReady };
    if endpoint.ready.unwrap_or(true) {
        return Standing::Counted;
    }
    if !pod.has_containers_ready() {
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
            Ok(Wanted { id: id.into(), port: port.node_port, behind: Behind::Node(node.clone()) })
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
