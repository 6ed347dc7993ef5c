//! The objects that the controller watches, reduced to what it reads, and the patches that it sends.
//!
//! What it does not read is kept as a text: a change of it is an event all the same.
//!
//! Source: aws-load-balancer-controller `apis/elbv2/v1beta1/targetgroupbinding_types.go`, `pkg/k8s/pod_info.go`;
//! controller-runtime `pkg/client/patch.go` (merge patches, optimistic lock).

use super::annotations::{Annotations, Second};
use super::text::{Text, hash_of_text};
use crate::engine::{StableHasher, StableState, Time};
use crate::plan::{ServiceSpec, TargetGroupBindingSpec};
use crate::rules::labels::{LabelSelector, Labels};
use crate::rules::taint::Taint;
use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap};
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::rc::Rc;

/// Namespace and name, shared: names are handed on and compared far more often than they are made.
#[derive(Clone, Debug)]
pub struct Name(Rc<Parts>);

/// The parts of a [`Name`].
#[derive(Debug)]
pub struct Parts {
    /// `metadata.namespace`; empty for a Node.
    pub namespace: Rc<str>,
    /// `metadata.name`.
    pub name: Rc<str>,
    /// Hash of the name.
    hash: u64,
}

impl Name {
    /// The name of an object in a namespace.
    pub fn new(namespace: impl Into<Rc<str>>, name: impl Into<Rc<str>>) -> Name {
        let (namespace, name) = (namespace.into(), name.into());
        let hash = hash_of_text(StableHasher::default(), &name).finish();
        Name(Rc::new(Parts { namespace, name, hash }))
    }

    /// A number that names that are alike have in common.
    pub fn hash_value(&self) -> u64 {
        self.hash
    }
}

impl Deref for Name {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

impl PartialEq for Name {
    fn eq(&self, other: &Name) -> bool {
        let same = |one: &Rc<str>, two: &Rc<str>| Rc::ptr_eq(one, two) || one == two;
        let alike = || same(&self.name, &other.name) && same(&self.namespace, &other.namespace);
        Rc::ptr_eq(&self.0, &other.0) || self.hash == other.hash && alike()
    }
}

impl Eq for Name {}

impl Hash for Name {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

impl Ord for Name {
    /// By namespace, then by name. Most names compared are of one namespace, and share its text.
    fn cmp(&self, other: &Name) -> Ordering {
        if Rc::ptr_eq(&self.0, &other.0) {
            return Ordering::Equal;
        }
        let same = Rc::ptr_eq(&self.namespace, &other.namespace);
        let namespaces = if same { Ordering::Equal } else { self.namespace.cmp(&other.namespace) };
        namespaces.then_with(|| self.name.cmp(&other.name))
    }
}

impl PartialOrd for Name {
    fn partial_cmp(&self, other: &Name) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Kinds that are watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// TargetGroupBinding.
    Binding,
    /// Service.
    Service,
    /// EndpointSlice.
    EndpointSlice,
    /// Endpoints, instead of slices where the flag says so.
    Endpoints,
    /// Node.
    Node,
    /// Pod.
    Pod,
}

/// An object of one of the kinds.
#[derive(Clone, Debug, PartialEq)]
pub enum Object {
    /// TargetGroupBinding.
    Binding(Rc<Binding>),
    /// Service.
    Service(Rc<Service>),
    /// EndpointSlice or Endpoints.
    Endpoints(Rc<Endpoints>),
    /// Node.
    Node(Rc<Node>),
    /// Pod.
    Pod(Rc<Pod>),
}

/// `spec.targetType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetType {
    /// Pods by address.
    Ip,
    /// Nodes by instance id.
    Instance,
}

/// A port of a Service as a binding names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PortReference {
    /// `port`.
    Number(u16),
    /// `name`.
    Name(Rc<str>),
}

/// Spec of a TargetGroupBinding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BindingSpec {
    /// All of it as a text: a part of the checkpoint.
    pub text: Text,
    /// `targetGroupARN`.
    pub target_group: Rc<str>,
    /// `targetType`; the webhook sets it, so that it is missing only where there is no webhook.
    pub target_type: Option<TargetType>,
    /// `serviceRef.name`.
    pub service: Rc<str>,
    /// `serviceRef.port`.
    pub port: PortReference,
    /// `nodeSelector`, on top of the default.
    pub node_selector: Option<LabelSelector>,
}

impl BindingSpec {
    /// A spec as users write it.
    pub fn of(spec: &TargetGroupBindingSpec, text: impl Into<Text>) -> BindingSpec {
        let port = spec.service_port.parse().map(PortReference::Number);
        BindingSpec {
            text: text.into(),
            target_group: spec.target_group_reference.as_str().into(),
            target_type: Some(if spec.instance_targets { TargetType::Instance } else { TargetType::Ip }),
            service: spec.service_name.as_str().into(),
            port: port.unwrap_or_else(|_| PortReference::Name(spec.service_port.as_str().into())),
            node_selector: spec.node_selector.clone(),
        }
    }
}

/// Condition Ready of a binding; only a failed cleanup writes it.
#[derive(Clone, Debug, PartialEq)]
pub struct ReadyCondition {
    /// `reason`.
    pub reason: Rc<str>,
    /// `message`.
    pub message: Rc<str>,
    /// `observedGeneration`.
    pub generation: i64,
    /// `lastTransitionTime`.
    pub since: Time,
}

/// A TargetGroupBinding.
#[derive(Clone, Debug, PartialEq)]
pub struct Binding {
    /// Its name.
    pub name: Name,
    /// The pod condition by which it gates pods: it follows from its name.
    pub gate: Rc<str>,
    /// `metadata.resourceVersion`.
    pub version: u64,
    /// `metadata.generation`.
    pub generation: i64,
    /// It has a deletion timestamp.
    pub deleting: bool,
    /// It has the controller's finalizer.
    pub finalizer: bool,
    /// Annotations.
    pub annotations: Annotations,
    /// Its spec.
    pub spec: Rc<BindingSpec>,
    /// `status.observedGeneration`.
    pub observed: Option<i64>,
    /// Condition Ready.
    pub ready: Option<ReadyCondition>,
}

impl Binding {
    /// A binding that nobody has touched yet.
    pub fn new(name: Name, spec: impl Into<Rc<BindingSpec>>) -> Binding {
        Binding {
            gate: format!("target-health.elbv2.k8s.aws/{}", name.name).into(),
            name,
            version: 0,
            generation: 1,
            deleting: false,
            finalizer: false,
            annotations: Annotations::default(),
            spec: spec.into(),
            observed: None,
            ready: None,
        }
    }

    /// The checkpoint; empty where there is none.
    pub fn checkpoint(&self) -> Rc<str> {
        self.annotations.checkpoint.clone().unwrap_or_else(|| "".into())
    }
}

/// A port of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePort {
    /// `name`, may be empty.
    pub name: Rc<str>,
    /// `port`.
    pub port: u16,
    /// `nodePort`, 0 where there is none.
    pub node_port: u16,
    /// The rest of it.
    pub other: Rc<str>,
}

/// A Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Its name.
    pub name: Name,
    /// `spec.type` is NodePort or LoadBalancer.
    pub has_node_ports: bool,
    /// `spec.ports`.
    pub ports: Vec<ServicePort>,
    /// The rest of it.
    pub other: Rc<str>,
}

impl Service {
    /// A Service as users write it, and the rest of it and of each port. Node ports that are not given count from
    /// 30000, the first that the API server may give.
    pub fn of(spec: &ServiceSpec, other: impl Into<Rc<str>>, rest: impl Fn(usize) -> Rc<str>) -> Service {
        let ports = spec.ports.iter().enumerate().map(|(index, port)| ServicePort {
            name: port.name.as_str().into(),
            port: port.port,
            node_port: match spec.node_ports.get(index) {
                Some(0) => 30_000 + u16::try_from(index).unwrap_or(0),
                Some(&number) => number,
                None => 0,
            },
            other: rest(index),
        });
        Service {
            name: Name::new(spec.namespace.as_str(), spec.name.as_str()),
            has_node_ports: !spec.node_ports.is_empty(),
            ports: ports.collect(),
            other: other.into(),
        }
    }
}

/// Ports and endpoints of a slice, or of a subset of Endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointSet {
    /// Name and number of each port.
    pub ports: Rc<[(Rc<str>, u16)]>,
    /// Endpoints; shared, as most of them stay as they are when others change.
    pub endpoints: Vec<Rc<Endpoint>>,
    /// The rest of ports and endpoints, such as zones.
    pub other: Rc<str>,
}

/// An endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The first address; `None`: it has none.
    pub address: Option<Text>,
    /// `conditions.ready`.
    pub ready: Option<bool>,
    /// `conditions.terminating`.
    pub terminating: bool,
    /// `targetRef`, if that is a Pod.
    pub pod: Option<Name>,
}

impl Endpoint {
    /// Ready, or nothing is said of that.
    pub fn is_ready(&self) -> bool {
        self.ready.unwrap_or(true)
    }
}

/// An EndpointSlice, or an Endpoints object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoints {
    /// Which of the two.
    pub kind: Kind,
    /// Its name.
    pub name: Name,
    /// The Service: by label `kubernetes.io/service-name`, or by name.
    pub service: Option<Rc<str>>,
    /// Addresses are of family IPv4.
    pub is_ipv4: bool,
    /// One set of a slice; the subsets of Endpoints.
    pub sets: Vec<EndpointSet>,
    /// The rest of it.
    pub other: Rc<str>,
}

/// A condition's status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// `True`.
    True,
    /// `False`.
    False,
    /// `Unknown`.
    Unknown,
}

impl Status {
    /// True or False.
    pub const fn of(value: bool) -> Status {
        if value { Status::True } else { Status::False }
    }

    /// As the API writes it.
    pub const fn name(self) -> &'static str {
        match self {
            Status::True => "True",
            Status::False => "False",
            Status::Unknown => "Unknown",
        }
    }
}

/// A Node.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Its name.
    pub name: Name,
    /// Labels.
    pub labels: std::sync::Arc<Labels>,
    /// Taints.
    pub taints: Vec<Taint>,
    /// Condition Ready; `None`: it has none.
    pub ready: Option<Status>,
    /// `spec.providerID`.
    pub provider_id: Rc<str>,
    /// `metadata.creationTimestamp`.
    pub created: Time,
    /// The rest of it.
    pub other: Rc<str>,
}

/// A condition of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// `type`.
    pub kind: Rc<str>,
    /// `status`.
    pub status: Status,
    /// `reason`.
    pub reason: Rc<str>,
    /// `message`.
    pub text: Rc<str>,
    /// `lastTransitionTime`.
    pub since: Option<Time>,
}

/// A Pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// Its name.
    pub name: Name,
    /// `metadata.uid`.
    pub uid: Rc<str>,
    /// `metadata.creationTimestamp`.
    pub created: Time,
    /// `spec.nodeName`, may be empty.
    pub node: Rc<str>,
    /// `spec.readinessGates`.
    pub gates: Vec<Rc<str>>,
    /// Condition ContainersReady is True.
    pub containers_ready: bool,
    /// `status.conditions`; of a run's pods only those of gates.
    pub conditions: Vec<Condition>,
    /// The rest of it.
    pub other: Rc<str>,
}

impl Pod {
    /// A condition by type.
    pub fn condition(&self, kind: &str) -> Option<&Condition> {
        self.conditions.iter().find(|condition| is_same(&condition.kind, kind))
    }

    /// Has a readiness gate of that type.
    pub fn has_gate(&self, gate: &str) -> bool {
        self.gates.iter().any(|other| is_same(other, gate))
    }
}

/// Types of conditions are mostly one shared text.
fn is_same(one: &str, two: &str) -> bool {
    std::ptr::eq(one, two) || one == two
}

impl Object {
    /// Kind and name.
    pub fn key(&self) -> (Kind, &Name) {
        match self {
            Object::Binding(binding) => (Kind::Binding, &binding.name),
            Object::Service(service) => (Kind::Service, &service.name),
            Object::Endpoints(endpoints) => (endpoints.kind, &endpoints.name),
            Object::Node(node) => (Kind::Node, &node.name),
            Object::Pod(pod) => (Kind::Pod, &pod.name),
        }
    }
}

/// Objects by name.
#[derive(Clone, Debug, Default)]
pub struct Objects {
    /// TargetGroupBindings.
    pub bindings: BTreeMap<Name, Rc<Binding>>,
    /// Services.
    pub services: BTreeMap<Name, Rc<Service>>,
    /// EndpointSlices.
    pub slices: BTreeMap<Name, Rc<Endpoints>>,
    /// Endpoints.
    pub endpoints: BTreeMap<Name, Rc<Endpoints>>,
    /// Nodes.
    pub nodes: BTreeMap<Rc<str>, Rc<Node>>,
    /// Pods. Who walks through them sorts them.
    pub pods: HashMap<Name, Rc<Pod>, StableState>,
}

impl Objects {
    /// An object.
    pub fn get(&self, kind: Kind, name: &Name) -> Option<Object> {
        match kind {
            Kind::Binding => self.bindings.get(name).cloned().map(Object::Binding),
            Kind::Service => self.services.get(name).cloned().map(Object::Service),
            Kind::EndpointSlice => self.slices.get(name).cloned().map(Object::Endpoints),
            Kind::Endpoints => self.endpoints.get(name).cloned().map(Object::Endpoints),
            Kind::Node => self.nodes.get(&name.name).cloned().map(Object::Node),
            Kind::Pod => self.pods.get(name).cloned().map(Object::Pod),
        }
    }

    /// Puts an object in the place of the one of its name; that is returned.
    pub fn put(&mut self, object: Object) -> Option<Object> {
        match object {
            Object::Binding(new) => exchange(&mut self.bindings, |binding| &binding.name, new).map(Object::Binding),
            Object::Service(new) => exchange(&mut self.services, |service| &service.name, new).map(Object::Service),
            Object::Endpoints(new) => {
                let same_kind = if new.kind == Kind::Endpoints { &mut self.endpoints } else { &mut self.slices };
                exchange(same_kind, |endpoints| &endpoints.name, new).map(Object::Endpoints)
            }
            Object::Node(new) => exchange(&mut self.nodes, |node| &node.name.name, new).map(Object::Node),
            Object::Pod(pod) => self.pods.insert(pod.name.clone(), pod).map(Object::Pod),
        }
    }

    /// The object of its kind and name is like this one.
    pub fn holds(&self, object: &Object) -> bool {
        match object {
            Object::Binding(other) => self.bindings.get(&other.name).is_some_and(|binding| binding == other),
            Object::Service(other) => self.services.get(&other.name).is_some_and(|service| service == other),
            Object::Endpoints(other) => {
                self.endpoints_of(other.kind).get(&other.name).is_some_and(|endpoints| endpoints == other)
            }
            Object::Node(other) => self.nodes.get(&other.name.name).is_some_and(|node| node == other),
            Object::Pod(other) => self.pods.get(&other.name).is_some_and(|pod| pod == other),
        }
    }

    /// The objects of one of the two kinds that say which endpoints a Service has.
    pub fn endpoints_of(&self, kind: Kind) -> &BTreeMap<Name, Rc<Endpoints>> {
        if kind == Kind::Endpoints { &self.endpoints } else { &self.slices }
    }

    /// Takes an object away.
    pub fn remove(&mut self, kind: Kind, name: &Name) -> Option<Object> {
        match kind {
            Kind::Binding => self.bindings.remove(name).map(Object::Binding),
            Kind::Service => self.services.remove(name).map(Object::Service),
            Kind::EndpointSlice => self.slices.remove(name).map(Object::Endpoints),
            Kind::Endpoints => self.endpoints.remove(name).map(Object::Endpoints),
            Kind::Node => self.nodes.remove(&name.name).map(Object::Node),
            Kind::Pod => self.pods.remove(name).map(Object::Pod),
        }
    }
}

/// Puts an object in the place of the one of its name: mostly there is one.
fn exchange<K: Ord + Clone, T>(objects: &mut BTreeMap<K, Rc<T>>, name: impl Fn(&T) -> &K, new: Rc<T>) -> Option<Rc<T>> {
    match objects.get_mut(name(&new)) {
        Some(place) => Some(std::mem::replace(place, new)),
        None => add(objects, name(&new).clone(), new),
    }
}

#[cold]
fn add<K: Ord, T>(objects: &mut BTreeMap<K, Rc<T>>, name: K, new: Rc<T>) -> Option<Rc<T>> {
    objects.insert(name, new)
}

/// A merge patch of a binding: what differs from the copy that it was computed against.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BindingPatch {
    /// Optimistic lock: `metadata.resourceVersion` of the copy.
    pub version: Option<u64>,
    /// Adds or takes away the finalizer.
    pub finalizer: Option<bool>,
    /// Annotation with the checkpoint.
    pub checkpoint: Option<Rc<str>>,
    /// Annotation that says when that was written.
    pub written: Option<Second>,
    /// `status.observedGeneration`.
    pub observed: Option<i64>,
    /// Condition Ready.
    pub ready: Option<ReadyCondition>,
}

impl BindingPatch {
    /// A binding is another after it.
    pub fn changes(&self, binding: &Binding) -> bool {
        self.finalizer.is_some_and(|finalizer| finalizer != binding.finalizer)
            || self.checkpoint.is_some() && self.checkpoint != binding.annotations.checkpoint
            || self.written.is_some() && self.written != binding.annotations.written
            || self.observed.is_some() && self.observed != binding.observed
            || self.ready.is_some() && self.ready != binding.ready
    }
}

/// A strategic merge patch of one condition of a pod: what differs from the copy that it was computed against.
#[derive(Clone, Debug, PartialEq)]
pub struct GatePatch {
    /// Precondition: `metadata.uid`.
    pub uid: Rc<str>,
    /// `type`.
    pub kind: Rc<str>,
    /// `status`.
    pub status: Option<Status>,
    /// `reason`; empty takes it away.
    pub reason: Option<Rc<str>>,
    /// `message`; empty takes it away.
    pub text: Option<Rc<str>>,
    /// `lastTransitionTime`.
    pub since: Option<Time>,
}

/// What a patch did.
#[derive(Clone, Debug, PartialEq)]
pub struct Patched<T> {
    /// The object afterwards.
    pub object: Rc<T>,
    /// It is another than before.
    pub changed: bool,
}

/// Why a patch was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The object does not exist.
    NotFound,
    /// It has another version, or another uid.
    Conflict,
}
