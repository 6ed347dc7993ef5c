//! What the slices of a Service should be: its pods grouped by ports, and the fewest writes that bring the present slices
//! there.
//!
//! Source: staging `endpointslice/{reconciler,utils}.go`, `trafficdist/trafficdist.go`. Where upstream takes map entries
//! in any order, here pods and slices go by their order of creation.

use super::one;
use crate::plan::{Container, PodTemplate, ServicePort, ServiceSpec, TargetPort, TemplateId, ZoneId};
use crate::rules::labels::Labels;
use crate::world::{
    EndpointAddress, EndpointPort, EndpointSlice, Node, NodeId, Pod, PodId, SliceEndpoint, SliceWrites, World,
};
use std::sync::Arc;

/// Pods whose named ports have the same numbers.
struct Group {
    ports: Vec<EndpointPort>,
    /// Those that no slice holds yet.
    endpoints: Vec<SliceEndpoint>,
}

/// The writes for a Service whose selected pods are `pods` (in order), and whether one of them was left out because its
/// node does not exist.
pub fn reconcile(
    zones: &[String],
    world: &World,
    service: &ServiceSpec,
    pods: &[PodId],
    slices: &[EndpointSlice],
    most: usize,
) -> (SliceWrites, bool) {
    let the_long_way = || reconcile_any(zones, world, service, pods, slices, most);
    let result = one::reconcile(zones, world, service, pods, slices, most);
    debug_assert!(result.as_ref().is_none_or(|result| *result == the_long_way()), "the short way is the long way");
    result.unwrap_or_else(the_long_way)
}

fn reconcile_any(
    zones: &[String],
    world: &World,
    service: &ServiceSpec,
    pods: &[PodId],
    slices: &[EndpointSlice],
    most: usize,
) -> (SliceWrites, bool) {
    let mut writes = SliceWrites::default();
    let mut missing = false;
    for (ipv6, supported) in [(false, service.families.ipv4), (true, service.families.ipv6)] {
        let present: Vec<usize> = (0..slices.len()).filter(|&place| slices[place].ipv6 == ipv6).collect();
        if !supported {
            writes.delete.extend(present);
            continue;
        }
        let (groups, left_out) = groups(zones, world, service, pods, ipv6);
        missing |= left_out;
        let mut family = family_writes(service, ipv6, groups, slices, &present, most);
        set_hints(service, slices, &present, &mut family);
        let family = finish(service, family);
        writes.create.extend(family.create);
        writes.update.extend(family.update);
        writes.delete.extend(family.delete);
    }
    (writes, missing)
}

/// The endpoints that should be, by ports.
fn groups(zones: &[String], world: &World, service: &ServiceSpec, pods: &[PodId], ipv6: bool) -> (Vec<Group>, bool) {
    let mut groups: Vec<Group> = Vec::new();
    let mut group_of_template: Vec<(TemplateId, usize)> = Vec::new();
    let mut missing = false;
    for &id in pods {
        let pod = world.pod(id);
        if !is_listed(pod) {
            continue;
        }
        let known = group_of_template.iter().find(|(template, _)| *template == pod.template).map(|(_, group)| *group);
        let group = known.unwrap_or_else(|| {
            let ports = ports_of(service, world.template_of(id));
            let same = groups.iter().position(|group| same_ports(&group.ports, &ports));
            let group = same.unwrap_or(groups.len());
            if group == groups.len() {
                // Most Services have one group.
                let endpoints = Vec::with_capacity(if group == 0 { pods.len() } else { 0 });
                groups.push(Group { ports, endpoints });
            }
            group_of_template.push((pod.template, group));
            group
        });
        let node = pod.node.map(|node| world.node(node)).filter(|node| node.gone.is_none());
        if node.is_none() && !service.publish_not_ready {
            missing = true;
            continue;
        }
        if let Some(endpoint) = endpoint(zones, service, world.template_of(id), pod, node, ipv6) {
            groups[group].endpoints.push(endpoint);
        }
    }
    (groups, missing)
}

/// Terminating pods stay listed; finished ones do not.
pub(super) fn is_listed(pod: &Pod) -> bool {
    pod.gone.is_none() && !pod.is_finished() && (pod.address.is_some() || pod.ipv6.is_some())
}

pub(super) fn endpoint(
    zones: &[String],
    service: &ServiceSpec,
    template: &PodTemplate,
    pod: &Pod,
    node: Option<&Node>,
    ipv6: bool,
) -> Option<SliceEndpoint> {
    let address = if ipv6 { pod.ipv6.map(EndpointAddress::Ipv6) } else { pod.address.map(EndpointAddress::Ipv4) }?;
    let Conditions { ready, serving, terminating } = Conditions::of(service, pod);
    let named = !template.hostname.is_empty() && template.subdomain == service.name;
    Some(SliceEndpoint {
        pod: pod.id,
        address,
        ready,
        serving,
        terminating,
        node: pod.node,
        zone: node.and_then(|node| zone_of(zones, node)),
        hostname: named.then(|| template.hostname.as_str().into()),
        zone_hint: None,
        node_hint: None,
    })
}

/// Conditions of an endpoint.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Conditions {
    pub ready: bool,
    pub serving: bool,
    pub terminating: bool,
}

impl Conditions {
    pub fn of(service: &ServiceSpec, pod: &Pod) -> Conditions {
        let (serving, terminating) = (pod.is_ready(), pod.deleting_since.is_some());
        Conditions { ready: service.publish_not_ready || (serving && !terminating), serving, terminating }
    }
}

#[inline]
pub(super) fn zone_of(zones: &[String], node: &Node) -> Option<ZoneId> {
    node.zone.or_else(|| {
        let label = node.labels.get("topology.kubernetes.io/zone")?;
        zones.iter().position(|zone| zone == label).map(ZoneId::at)
    })
}

/// The ports of a Service as pods of a template have them; one that is not found is left out.
pub fn ports_of(service: &ServiceSpec, template: &PodTemplate) -> Vec<EndpointPort> {
    let port = |port: &ServicePort| {
        Some(EndpointPort {
            name: port.name.clone(),
            port: port_number(port, template)?,
            protocol: port.protocol,
            app_protocol: port.app_protocol.clone(),
        })
    };
    service.ports.iter().filter_map(port).collect()
}

/// Whether those are certain ports, in that order.
pub(super) fn ports_are(service: &ServiceSpec, template: &PodTemplate, present: &[EndpointPort]) -> bool {
    let wanted = service.ports.iter().filter_map(|port| Some((port, port_number(port, template)?)));
    let is = |present: &EndpointPort, (port, number): (&ServicePort, u16)| {
        (present.port, present.protocol) == (number, port.protocol)
            && present.name == port.name
            && present.app_protocol == port.app_protocol
    };
    let mut present = present.iter();
    wanted.into_iter().all(|wanted| present.next().is_some_and(|present| is(present, wanted)))
        && present.next().is_none()
}

fn port_number(port: &ServicePort, template: &PodTemplate) -> Option<u16> {
    let name = match &port.target {
        TargetPort::Number(number) => return Some(*number),
        TargetPort::Name(name) => name,
    };
    let sidecars = template.init_containers.iter().filter(|container| container.restartable);
    let mut ports = template.containers.iter().chain(sidecars).flat_map(|container: &Container| &container.ports);
    ports.find(|other| other.name == *name && other.protocol == port.protocol).map(|other| other.port)
}

/// The order of ports does not matter.
fn same_ports(one: &[EndpointPort], other: &[EndpointPort]) -> bool {
    one.len() == other.len() && one.iter().all(|port| other.contains(port))
}

fn new_slice(service: &ServiceSpec, ipv6: bool, ports: Arc<[EndpointPort]>) -> EndpointSlice {
    let labels = Arc::new(service.labels.clone());
    EndpointSlice { ipv6, ports, labels, headless: service.headless, endpoints: Vec::new() }
}

/// Writes for the slices of one address family; what is deleted and created at once is not merged yet.
fn family_writes(
    service: &ServiceSpec,
    ipv6: bool,
    groups: Vec<Group>,
    slices: &[EndpointSlice],
    present: &[usize],
    most: usize,
) -> SliceWrites {
    let mut writes = SliceWrites::default();
    let mut wanted = vec![false; slices.len()];
    for group in groups {
        let own: Vec<usize> =
            present.iter().copied().filter(|&place| same_ports(&slices[place].ports, &group.ports)).collect();
        own.iter().for_each(|&place| wanted[place] = true);
        group_writes(service, ipv6, group, slices, &own, most, &mut writes);
    }
    writes.delete.extend(present.iter().copied().filter(|&place| !wanted[place]));
    if writes.delete.len() == present.len() && writes.create.is_empty() {
        // A Service without endpoints keeps one slice without ports and endpoints.
        let placeholder = new_slice(service, ipv6, Arc::default());
        match writes.delete[..] {
            [place] if is_placeholder(&slices[place], &placeholder) => writes.delete.clear(),
            _ => writes.create.push(placeholder),
        }
    }
    writes
}

/// Whether a slice is that placeholder already. Labels are compared by value, an absent one being empty, so that the label
/// of a headless Service makes no difference. Source: `placeholderSliceCompare`.
fn is_placeholder(slice: &EndpointSlice, placeholder: &EndpointSlice) -> bool {
    let covers = |one: &Labels, other: &Labels| {
        one.iter().all(|(key, value)| other.get(key).map_or(value.is_empty(), |other| other == value))
    };
    slice.endpoints.is_empty()
        && slice.ports.is_empty()
        && covers(&slice.labels, &placeholder.labels)
        && covers(&placeholder.labels, &slice.labels)
}

/// Endpoints that are gone leave their slice and changed ones are changed in place; then new ones fill the slices that
/// change anyway, the fullest first; then one other slice that takes them all; then new slices.
fn group_writes(
    service: &ServiceSpec,
    ipv6: bool,
    group: Group,
    slices: &[EndpointSlice],
    own: &[usize],
    most: usize,
    writes: &mut SliceWrites,
) {
    let mut unchanged = Vec::new();
    let mut updated: Vec<(usize, EndpointSlice)> = Vec::new();
    let mut found = vec![false; group.endpoints.len()];
    for &place in own {
        let slice = &slices[place];
        let (kept, changed) = keep(slice, &group.endpoints, &mut found);
        let labels_changed = *slice.labels != service.labels;
        if changed && kept.is_empty() {
            writes.delete.push(place);
        } else if changed || labels_changed {
            let endpoints = if changed { kept } else { slice.endpoints.clone() };
            let labels = if labels_changed { Arc::new(service.labels.clone()) } else { slice.labels.clone() };
            let (ports, headless) = (slice.ports.clone(), service.headless);
            updated.push((place, EndpointSlice { ipv6, ports, labels, headless, endpoints }));
        } else {
            unchanged.push(place);
        }
    }
    let new = group.endpoints.into_iter().zip(found).filter(|(_, found)| !found).map(|(endpoint, _)| endpoint);
    let mut left = new.collect::<Vec<SliceEndpoint>>().into_iter().peekable();
    updated.sort_by_key(|(_, slice)| std::cmp::Reverse(slice.endpoints.len()));
    for (_, slice) in &mut updated {
        let room = most.saturating_sub(slice.endpoints.len());
        slice.endpoints.extend(left.by_ref().take(room));
    }
    while left.peek().is_some() {
        let fitting = if left.len() < most { slice_to_fill(slices, &unchanged, left.len(), most) } else { None };
        let mut slice = match fitting {
            Some(place) => slices[place].clone(),
            None => new_slice(service, ipv6, group.ports.as_slice().into()),
        };
        let room = most.saturating_sub(slice.endpoints.len()).max(1);
        slice.endpoints.extend(left.by_ref().take(room));
        match fitting {
            Some(place) => {
                unchanged.retain(|&other| other != place);
                updated.push((place, slice));
            }
            None => writes.create.push(slice),
        }
    }
    writes.update.extend(updated);
}

/// The endpoints of a slice that stay, as they are to be, if that changes anything. They are found, and wanted in no other
/// slice.
fn keep(slice: &EndpointSlice, wanted: &[SliceEndpoint], found: &mut [bool]) -> (Vec<SliceEndpoint>, bool) {
    let mut places = Vec::with_capacity(slice.endpoints.len());
    let mut changed = false;
    let mut next = 0;
    for endpoint in &slice.endpoints {
        // Pods are in order of their ids, and so are most slices.
        let follows = wanted.get(next).is_some_and(|other| other.pod == endpoint.pod);
        let searched = || wanted.binary_search_by_key(&endpoint.pod, |other| other.pod).ok();
        let place = if follows { Some(next) } else { searched() };
        let same = |place: &usize| {
            let other = &wanted[*place];
            other.address == endpoint.address && other.hostname == endpoint.hostname && !found[*place]
        };
        if let Some(place) = place.filter(same) {
            found[place] = true;
            next = place + 1;
            changed |= !is_equal_but_for_hints(&wanted[place], endpoint);
            places.push(place);
        }
    }
    changed |= places.len() != slice.endpoints.len();
    if !changed {
        return (Vec::new(), false);
    }
    // Room for some that may join them: what is new fills the slices that change anyway.
    let mut kept = Vec::with_capacity(places.len() + 8);
    kept.extend(places.into_iter().map(|place| wanted[place].clone()));
    (kept, true)
}

fn is_equal_but_for_hints(one: &SliceEndpoint, other: &SliceEndpoint) -> bool {
    (one.ready, one.serving, one.terminating) == (other.ready, other.serving, other.terminating)
        && (one.node, one.zone) == (other.node, other.zone)
}

/// The slice that is the fullest when it has taken all of `count`.
fn slice_to_fill(slices: &[EndpointSlice], unchanged: &[usize], count: usize, most: usize) -> Option<usize> {
    let mut best: Option<(usize, usize)> = None;
    for &place in unchanged {
        let Some(room) = most.checked_sub(count + slices[place].endpoints.len()) else { continue };
        if room < best.map_or(most, |(room, _)| room) {
            best = Some((room, place));
        }
    }
    best.map(|(_, place)| place)
}

/// Hints of a ready endpoint: its own zone (and node).
fn hinted(service: &ServiceSpec, endpoint: &SliceEndpoint) -> (Option<ZoneId>, Option<NodeId>) {
    let zone = endpoint.zone.filter(|_| service.prefer_close);
    let node = endpoint.node.filter(|_| service.prefer_node);
    (zone, node)
}

/// An endpoint has the hints that it should have.
pub(super) fn has_right_hints(service: &ServiceSpec, endpoint: &SliceEndpoint) -> bool {
    let has = (endpoint.zone_hint, endpoint.node_hint);
    if service.prefer_close { !endpoint.ready || has == hinted(service, endpoint) } else { has == (None, None) }
}

/// Gives an endpoint of a slice that is written its hints.
pub(super) fn set_hints_of(service: &ServiceSpec, endpoint: &mut SliceEndpoint) {
    if endpoint.ready || !service.prefer_close {
        (endpoint.zone_hint, endpoint.node_hint) = hinted(service, endpoint);
    }
}

/// Sets hints. A slice that has others is rewritten.
fn set_hints(service: &ServiceSpec, slices: &[EndpointSlice], present: &[usize], writes: &mut SliceWrites) {
    let is_right = |endpoint: &SliceEndpoint| has_right_hints(service, endpoint);
    for &place in present {
        let written = writes.delete.contains(&place) || writes.update.iter().any(|(other, _)| *other == place);
        if !written && !slices[place].endpoints.iter().all(is_right) {
            writes.update.push((place, slices[place].clone()));
        }
    }
    let written = writes.update.iter_mut().map(|(_, slice)| slice).chain(&mut writes.create);
    for endpoint in written.flat_map(|slice| &mut slice.endpoints) {
        set_hints_of(service, endpoint);
    }
}

/// A slice that would be deleted while another is created is rewritten instead; a Service that is being deleted gets no
/// new slices.
fn finish(service: &ServiceSpec, mut writes: SliceWrites) -> SliceWrites {
    while !writes.delete.is_empty()
        && let Some(slice) = writes.create.pop()
    {
        let place = writes.delete.remove(0);
        writes.update.push((place, slice));
    }
    if service.deleting {
        writes.create.clear();
    }
    writes
}
