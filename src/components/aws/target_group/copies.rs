//! The controller's own copies of objects, and which bindings a change of them puts into the work queue.
//!
//! Source: aws-load-balancer-controller `controllers/elbv2/eventhandlers/{endpointslices,endpoints,service,node,pod}.go`,
//! `pkg/backend/endpoint_utils.go` (suitable nodes).

use super::api_server::Delivery;
use super::objects::{Binding, Endpoints, Kind, Name, Node, Object, Objects, Pod, Service, Status, TargetType};
use crate::plan::flags::LoadBalancerFlags;
use crate::rules::labels::Labels;
use crate::rules::taint::{Taint, TaintEffect};
use std::rc::Rc;

/// Prefixes of gates that name a binding. Source: `pkg/targetgroupbinding/utils.go`.
const GATE_PREFIXES: [&str; 2] = ["target-health.elbv2.k8s.aws/", "target-health.alb.ingress.k8s.aws/"];

/// Labels whose presence keeps a node out. Source: `pkg/backend/endpoint_utils.go`.
const EXCLUDED: [&str; 3] = [
    "node-role.kubernetes.io/master",
    "node.kubernetes.io/exclude-from-external-load-balancers",
    "alpha.service-controller.kubernetes.io/exclude-balancer",
];

/// Takes a delivery into the copies; `wake` is told the bindings that it puts into the queue, in order.
pub fn deliver(copies: &mut Objects, delivery: Delivery, flags: &LoadBalancerFlags, wake: &mut impl FnMut(&Name)) {
    let (kind, old, new) = match delivery {
        Delivery::Written(object) => (object.key().0, copies.put(object.clone()), Some(object)),
        Delivery::Gone(kind, name) => {
            let old = copies.remove(kind, &name);
            if kind == Kind::Binding {
                wake(&name);
            }
            (kind, old, None)
        }
    };
    match (kind, old, new) {
        (Kind::Binding, _, new) => new.iter().for_each(|new| wake(new.key().1)),
        (Kind::Service, old, new) => after_service(copies, as_service(&old), as_service(&new), wake),
        (Kind::EndpointSlice | Kind::Endpoints, old, new) => {
            let read = if flags.endpoint_slices { Kind::EndpointSlice } else { Kind::Endpoints };
            if kind == read {
                after_endpoints(copies, as_endpoints(&old), as_endpoints(&new), wake);
            }
        }
        (Kind::Node, old, new) => after_node(copies, as_node(&old), as_node(&new), wake),
        (Kind::Pod, old, new) if flags.watches_pods => after_pod(as_pod(&old), as_pod(&new), wake),
        (Kind::Pod, ..) => {}
    }
}

fn as_service(object: &Option<Object>) -> Option<&Service> {
    if let Some(Object::Service(service)) = object { Some(service) } else { None }
}

fn as_endpoints(object: &Option<Object>) -> Option<&Endpoints> {
    if let Some(Object::Endpoints(endpoints)) = object { Some(endpoints) } else { None }
}

fn as_node(object: &Option<Object>) -> Option<&Node> {
    if let Some(Object::Node(node)) = object { Some(node) } else { None }
}

fn as_pod(object: &Option<Object>) -> Option<&Pod> {
    if let Some(Object::Pod(pod)) = object { Some(pod) } else { None }
}

/// Wakes the bindings of a type that refer to a Service.
fn wake_bindings_of(copies: &Objects, namespace: &str, service: &str, kind: TargetType, wake: &mut impl FnMut(&Name)) {
    let of = |binding: &Binding| {
        &*binding.name.namespace == namespace
            && &*binding.spec.service == service
            && binding.spec.target_type == Some(kind)
    };
    copies.bindings.values().filter(|binding| of(binding)).for_each(|binding| wake(&binding.name));
}

/// Services wake instance bindings: created, deleted, other ports.
fn after_service(copies: &Objects, old: Option<&Service>, new: Option<&Service>, wake: &mut impl FnMut(&Name)) {
    let Some(service) = new.or(old) else { return };
    if old.zip(new).is_some_and(|(old, new)| old.ports == new.ports) {
        return;
    }
    wake_bindings_of(copies, &service.name.namespace, &service.name.name, TargetType::Instance, wake);
}

/// Endpoints wake ip bindings: created, deleted, other ports or endpoints.
fn after_endpoints(copies: &Objects, old: Option<&Endpoints>, new: Option<&Endpoints>, wake: &mut impl FnMut(&Name)) {
    let Some(endpoints) = new.or(old) else { return };
    if old.zip(new).is_some_and(|(old, new)| old.sets == new.sets) {
        return;
    }
    let Some(service) = &endpoints.service else { return };
    wake_bindings_of(copies, &endpoints.name.namespace, service, TargetType::Ip, wake);
}

/// Nodes wake instance bindings when that can change their targets.
fn after_node(copies: &Objects, old: Option<&Node>, new: Option<&Node>, wake: &mut impl FnMut(&Name)) {
    let status = |node: Option<&Node>| node.and_then(|node| node.ready).unwrap_or(Status::False);
    let wakes = |binding: &Binding| {
        let suits = |node: Option<&Node>| node.is_some_and(|node| is_selected(node, binding) && is_suitable(node));
        match (suits(old), suits(new)) {
            (false, false) => false,
            (true, true) => status(old) != status(new),
            (true, false) => status(old) != Status::False,
            (false, true) => status(new) != Status::False,
        }
    };
    let of_instances = |binding: &&Rc<Binding>| binding.spec.target_type == Some(TargetType::Instance);
    let woken = copies.bindings.values().filter(of_instances).filter(|binding| wakes(binding));
    woken.for_each(|binding| wake(&binding.name));
}

/// From 3.4 on pods wake the bindings that their gates name.
fn after_pod(old: Option<&Pod>, new: Option<&Pod>, wake: &mut impl FnMut(&Name)) {
    let Some(pod) = new.or(old) else { return };
    let unread = |old: &Pod, new: &Pod| Pod { other: new.other.clone(), ..old.clone() } == *new;
    if old.zip(new).is_some_and(|(old, new)| unread(old, new)) {
        return;
    }
    let names = pod.gates.iter().filter_map(|gate| GATE_PREFIXES.iter().find_map(|prefix| gate.strip_prefix(prefix)));
    let names = names.filter(|name| is_subdomain(name));
    names.for_each(|name| wake(&Name::new(pod.name.namespace.clone(), name)));
}

/// A name that an object can have (RFC 1123).
fn is_subdomain(name: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let label = |label: &str| {
        let ends = [label.bytes().next(), label.bytes().last()];
        ends.iter().all(|end| end.is_some_and(letter)) && label.bytes().all(|byte| letter(byte) || byte == b'-')
    };
    name.len() <= 253 && name.split('.').all(label)
}

/// The default selector and the binding's own hold for a node.
pub fn is_selected(node: &Node, binding: &Binding) -> bool {
    let fargate = |labels: &Labels| labels.get("eks.amazonaws.com/compute-type").is_some_and(|kind| kind == "fargate");
    !EXCLUDED.iter().any(|label| node.labels.contains_key(label))
        && !fargate(&node.labels)
        && binding.spec.node_selector.as_ref().is_none_or(|selector| selector.matches(&node.labels))
}

/// No autoscaler is about to remove the node.
pub fn is_suitable(node: &Node) -> bool {
    let is_disrupted =
        |taint: &Taint| *taint.key == *"karpenter.sh/disrupted" && taint.effect == TaintEffect::NoSchedule;
    !node.taints.iter().any(|taint| *taint.key == *"ToBeDeletedByClusterAutoscaler" || is_disrupted(taint))
}
