//! EndpointSlices of Services, and the writes that change them.

use super::World;
use super::change::Change;
use super::ids::{NodeId, PodId};
use super::pod::{Address, Ipv6Address};
use super::target::Endpoint;
use crate::plan::{Protocol, ServiceId, ServiceSpec, ZoneId};
use crate::rules::labels::Labels;
use std::sync::Arc;

/// An address of an endpoint; a slice holds one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum EndpointAddress {
    /// `addressType: IPv4`.
    Ipv4(Address),
    /// `addressType: IPv6`.
    Ipv6(Ipv6Address),
}

/// A port of a slice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointPort {
    /// Name of the Service's port.
    pub name: String,
    /// The number that the pods listen on.
    pub port: u16,
    /// Transport protocol.
    pub protocol: Protocol,
    /// `appProtocol`.
    pub app_protocol: Option<String>,
}

/// One endpoint of a slice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SliceEndpoint {
    /// Its pod.
    pub pod: PodId,
    /// Its address.
    pub address: EndpointAddress,
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
    /// `hostname`, of a pod whose subdomain is the Service.
    pub hostname: Option<Arc<str>>,
    /// `hints.forZones`.
    pub zone_hint: Option<ZoneId>,
    /// `hints.forNodes`.
    pub node_hint: Option<NodeId>,
}

/// An EndpointSlice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointSlice {
    /// `addressType: IPv6`.
    pub ipv6: bool,
    /// Its ports; most writes of a slice leave them, and its labels, as they are.
    pub ports: Arc<[EndpointPort]>,
    /// The Service's labels.
    pub labels: Arc<Labels>,
    /// Label `service.kubernetes.io/headless`.
    pub headless: bool,
    /// Its endpoints.
    pub endpoints: Vec<SliceEndpoint>,
}

/// Writes of one sync.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SliceWrites {
    /// New slices.
    pub create: Vec<EndpointSlice>,
    /// Slices by their position in the Service's list, as they are to be.
    pub update: Vec<(usize, EndpointSlice)>,
    /// Positions of slices that vanish.
    pub delete: Vec<usize>,
}

/// A write of a slice that changes some of its endpoints and leaves the others as they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SliceEdit {
    /// Places of endpoints that leave, in order.
    pub leave: Vec<usize>,
    /// Endpoints that change, by their place before anything leaves.
    pub change: Vec<(usize, SliceEndpoint)>,
    /// Endpoints that join, behind the others.
    pub join: Vec<SliceEndpoint>,
    /// [`EndpointSlice::headless`] from now on.
    pub headless: bool,
}

impl SliceEdit {
    /// It leaves the slice as it is.
    pub fn is_empty(&self) -> bool {
        self.leave.is_empty() && self.change.is_empty() && self.join.is_empty()
    }

    /// Forgets what it does.
    pub fn clear(&mut self) {
        self.leave.clear();
        self.change.clear();
        self.join.clear();
    }

    /// Does that to a slice; then it is empty.
    pub fn apply_to(&mut self, slice: &mut EndpointSlice) {
        slice.headless = self.headless;
        self.change.drain(..).for_each(|(place, endpoint)| slice.endpoints[place] = endpoint);
        self.leave.drain(..).rev().for_each(|place| drop(slice.endpoints.remove(place)));
        slice.endpoints.append(&mut self.join);
    }
}

/// Writes counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SliceWriteCounts {
    /// Slices created.
    pub created: u64,
    /// Slices updated.
    pub updated: u64,
    /// Slices deleted.
    pub deleted: u64,
}

impl World {
    /// Writes a Service's slices; its endpoints are those of the IPv4 slices together, by pod.
    pub fn write_slices(&mut self, service: ServiceId, writes: SliceWrites) {
        if writes == SliceWrites::default() {
            return;
        }
        self.touch_slices();
        let counts = &mut self.slice_writes;
        counts.created += writes.create.len() as u64;
        counts.updated += writes.update.len() as u64;
        counts.deleted += writes.delete.len() as u64;
        let slices = &mut self.slices[service.index()];
        let ports_changed = writes.update.iter().any(|(place, slice)| slices[*place].ports != slice.ports);
        for (place, slice) in writes.update {
            slices[place] = slice;
        }
        let mut place = 0;
        slices.retain(|_| {
            place += 1;
            !writes.delete.contains(&(place - 1))
        });
        slices.extend(writes.create);
        let mut endpoints = Vec::with_capacity(slices.iter().map(|slice| slice.endpoints.len()).sum());
        for slice in slices.iter().filter(|slice| !slice.ipv6) {
            endpoints.extend(slice.endpoints.iter().filter_map(flat));
        }
        endpoints.sort_by_key(|endpoint| endpoint.pod);
        if ports_changed && self.endpoints[service.index()] == endpoints {
            self.push(Change::EndpointsChanged(service));
        }
        self.set_endpoints(service, endpoints);
    }

    /// Changes the only slice of a Service, one of IPv4, and its endpoints with it; `edit` is empty then.
    pub fn edit_slice(&mut self, service: ServiceId, edit: &mut SliceEdit) {
        let [slice] = &mut *self.slices[service.index()] else { return };
        self.slices_version += 1;
        self.slice_writes.updated += 1;
        let endpoints = &mut self.endpoints[service.index()];
        let place_of = |endpoints: &[Endpoint], pod| endpoints.binary_search_by_key(&pod, |endpoint| endpoint.pod);
        for &place in &edit.leave {
            if let Ok(place) = place_of(endpoints, slice.endpoints[place].pod) {
                endpoints.remove(place);
            }
        }
        for endpoint in edit.change.iter().map(|(_, endpoint)| endpoint).chain(&edit.join).filter_map(flat) {
            match place_of(endpoints, endpoint.pod) {
                Ok(place) => endpoints[place] = endpoint,
                Err(place) => endpoints.insert(place, endpoint),
            }
        }
        edit.apply_to(slice);
        debug_assert!(
            slice.endpoints.len() == endpoints.len()
                && slice.endpoints.iter().filter_map(flat).all(|endpoint| endpoints.contains(&endpoint)),
            "the endpoints are those of the slice"
        );
        self.push(Change::EndpointsChanged(service));
    }

    /// Counts the changes of what EndpointSlices are made of, and of slices: of pods with addresses, of nodes as far as they
    /// count, of Services. While it stays, so do the slices that should be.
    pub fn slices_version(&self) -> u64 {
        self.slices_version
    }

    /// [`World::slices_version`] after the last change of that kind that was not of one pod alone.
    pub fn slices_renewed(&self) -> u64 {
        self.slices_renewed
    }

    /// Some of these pods that have changed since a [`World::slices_version`], in their order.
    pub fn pods_moved_since(&self, version: u64, pods: &[PodId]) -> impl Iterator<Item = PodId> {
        let moved = move |pod: &PodId| self.slices_moved.get(pod.index()).is_some_and(|&moved| moved > version);
        pods.iter().copied().filter(moved)
    }

    pub(super) fn touch_slices(&mut self) {
        self.slices_version += 1;
        self.slices_renewed = self.slices_version;
    }

    fn touch_slices_of(&mut self, pod: PodId) {
        self.slices_version += 1;
        if self.slices_moved.len() <= pod.index() {
            self.slices_moved.resize(pod.index() + 1, 0);
        }
        self.slices_moved[pod.index()] = self.slices_version;
    }

    /// A node changes the endpoints of its pods.
    fn touch_slices_on(&mut self, node: NodeId) {
        self.slices_version += 1;
        for place in 0..self.node(node).pods.len() {
            self.touch_slices_of(self.node(node).pods[place]);
        }
    }

    /// Counts a change of something that EndpointSlices are made of; a pod without an address is in none.
    #[inline]
    pub(super) fn note_for_slices(&mut self, change: Change) {
        match change {
            Change::NodeLabels(node) | Change::NodeGone(node) => self.touch_slices_on(node),
            Change::PodChanged(pod) => self.touch_slices_of(pod),
            Change::PodBound(pod)
            | Change::PodAddress(pod)
            | Change::PodPhase(pod, _)
            | Change::PodReady(pod, _)
            | Change::PodDeleting(pod, _)
            | Change::PodGone(pod) => {
                let entry = self.pod(pod);
                if entry.address.is_some() || entry.ipv6.is_some() {
                    self.touch_slices_of(pod);
                }
            }
            _ => {}
        }
    }

    /// How often Services were created or changed.
    pub fn services_version(&self) -> u64 {
        self.services_version
    }

    /// Creates a Service.
    pub fn create_service(&mut self, spec: ServiceSpec) -> ServiceId {
        let id = ServiceId::at(self.services.len());
        self.services.push(Arc::new(spec));
        self.endpoints.push(Vec::new());
        self.slices.push(Vec::new());
        self.services_version += 1;
        self.touch_slices();
        self.push(Change::ServiceChanged(id));
        id
    }

    /// Replaces what a Service says of itself.
    pub fn update_service(&mut self, service: ServiceId, spec: ServiceSpec) {
        self.services[service.index()] = Arc::new(spec);
        self.services_version += 1;
        self.touch_slices();
        self.push(Change::ServiceChanged(service));
    }
}

fn flat(endpoint: &SliceEndpoint) -> Option<Endpoint> {
    let EndpointAddress::Ipv4(address) = endpoint.address else { return None };
    Some(Endpoint {
        pod: endpoint.pod,
        address,
        ready: endpoint.ready,
        serving: endpoint.serving,
        terminating: endpoint.terminating,
        node: endpoint.node,
        zone: endpoint.zone,
    })
}
