//! The common case without a list of what should be: a Service of IPv4 with one slice, whose pods all have the ports of that
//! slice and no names of hosts. Mostly nothing of it changed, or a pod or two.
//!
//! It comes to the same writes as the long way of `reconcile`, or says that it cannot tell.

use super::reconcile::{Conditions, endpoint, has_right_hints, is_listed, ports_are, set_hints_of, zone_of};
use crate::plan::{PodTemplate, ServiceSpec, TemplateId};
use crate::world::{EndpointAddress, EndpointSlice, Node, Pod, PodId, SliceEndpoint, SliceWrites, World};

/// How one looks at pods.
struct Look<'l> {
    zones: &'l [String],
    world: &'l World,
    service: &'l ServiceSpec,
    slice: &'l EndpointSlice,
    /// Selected pods.
    pods: &'l [PodId],
    /// The last template that was found to be such a one; some pod is listed.
    template: Option<(TemplateId, &'l PodTemplate)>,
    /// A pod was left out because its node does not exist.
    missing: bool,
}

/// A pod that should have an endpoint: it has an address.
#[derive(Clone, Copy)]
struct Wanted<'w> {
    pod: &'w Pod,
    template: &'w PodTemplate,
    node: Option<&'w Node>,
}

/// What becomes of an endpoint of the slice.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Leaves,
    Stays,
    /// It stays and changes.
    Changes,
}

/// What is found of a slice.
struct Found {
    /// By selected pod: it is in the slice and stays there.
    stays: Vec<bool>,
    /// By endpoint of the slice.
    fates: Vec<Fate>,
    /// So many stay.
    count: usize,
    /// One of them changed, or others leave.
    changed: bool,
}

/// The writes for a Service whose selected pods are `pods` (in order), and whether one of them was left out; `None`: the common
/// case is not given.
pub fn reconcile(
    zones: &[String],
    world: &World,
    service: &ServiceSpec,
    pods: &[PodId],
    slices: &[EndpointSlice],
    most: usize,
) -> Option<(SliceWrites, bool)> {
    let [slice] = slices else { return None };
    if !service.families.ipv4 || service.families.ipv6 || slice.ipv6 || *slice.labels != service.labels {
        return None;
    }
    let mut look = Look { zones, world, service, slice, pods, template: None, missing: false };
    let found = look.at_slice()?;
    let mut joining = Vec::new();
    if found.count < pods.len() {
        for (&pod, _) in pods.iter().zip(&found.stays).filter(|(_, stays)| !**stays) {
            joining.extend(look.at_anew(pod)?);
        }
    }
    look.template?;
    if !found.changed && joining.is_empty() {
        let right = slice.endpoints.iter().all(|endpoint| has_right_hints(service, endpoint));
        return right.then(|| (SliceWrites::default(), look.missing));
    }
    if found.changed && found.count == 0 || found.count + joining.len() > most || joining.len() >= most {
        return None;
    }
    let update = vec![(0, look.changed_slice(&found, &joining)?)];
    Some((SliceWrites { update, ..SliceWrites::default() }, look.missing))
}

impl<'l> Look<'l> {
    /// Which endpoints of the slice stay.
    fn at_slice(&mut self) -> Option<Found> {
        let slice = self.slice;
        let fates = Vec::with_capacity(slice.endpoints.len());
        let mut found = Found { stays: vec![false; self.pods.len()], fates, count: 0, changed: false };
        let mut next = 0;
        for present in &slice.endpoints {
            let mut fate = Fate::Leaves;
            if let Some(place) = self.place_of(present, next) {
                if found.stays[place] {
                    return None;
                }
                let wanted = self.at(present.pod)?;
                let same = |wanted: &Wanted| {
                    wanted.pod.address.map(EndpointAddress::Ipv4) == Some(present.address) && present.hostname.is_none()
                };
                if let Some(wanted) = wanted.filter(same) {
                    found.stays[place] = true;
                    found.count += 1;
                    next = place + 1;
                    fate = if self.is_as_it_should_be(present, wanted) { Fate::Stays } else { Fate::Changes };
                    found.changed |= fate == Fate::Changes;
                }
            }
            found.fates.push(fate);
        }
        found.changed |= found.count != self.slice.endpoints.len();
        Some(found)
    }

    /// The place among the selected pods. They are in order of their ids, and so are most slices.
    fn place_of(&self, present: &SliceEndpoint, next: usize) -> Option<usize> {
        let follows = self.pods.get(next) == Some(&present.pod);
        if follows { Some(next) } else { self.pods.binary_search(&present.pod).ok() }
    }

    /// Whether a pod that has no endpoint, or another one, should have one; `None`: the common case is not given.
    fn at_anew(&mut self, id: PodId) -> Option<Option<Wanted<'l>>> {
        self.at(id)
    }

    /// Whether a pod should have an endpoint; `None`: the common case is not given. Asked for every pod of every sync.
    #[inline(always)]
    fn at(&mut self, id: PodId) -> Option<Option<Wanted<'l>>> {
        let pod = self.world.pod(id);
        if !is_listed(pod) {
            return Some(None);
        }
        let template = match self.template {
            Some((known, template)) if known == pod.template => template,
            _ => self.fitting_template(pod)?,
        };
        let node = pod.node.map(|node| self.world.node(node)).filter(|node| node.gone.is_none());
        if node.is_none() && !self.service.publish_not_ready {
            self.missing = true;
            return Some(None);
        }
        Some(pod.address.is_some().then_some(Wanted { pod, template, node }))
    }

    /// The template of a pod, if its pods have the ports of the slice and no names of hosts.
    fn fitting_template(&mut self, pod: &Pod) -> Option<&'l PodTemplate> {
        let template = self.world.template_of(pod.id);
        let fits = template.hostname.is_empty() && ports_are(self.service, template, &self.slice.ports);
        self.template = fits.then_some((pod.template, template));
        fits.then_some(template)
    }

    fn is_as_it_should_be(&self, present: &SliceEndpoint, wanted: Wanted) -> bool {
        let Conditions { ready, serving, terminating } = Conditions::of(self.service, wanted.pod);
        (present.ready, present.serving, present.terminating) == (ready, serving, terminating)
            && present.node == wanted.pod.node
            && present.zone == wanted.node.and_then(|node| zone_of(self.zones, node))
    }

    /// The slice as it is to be: those that stay, then those that join.
    fn changed_slice(&mut self, found: &Found, joining: &[Wanted]) -> Option<EndpointSlice> {
        let Look { zones, service, slice, .. } = *self;
        let endpoint = |wanted: &Wanted| endpoint(zones, service, wanted.template, wanted.pod, wanted.node, false);
        let mut endpoints = Vec::with_capacity(found.count + joining.len());
        for (present, fate) in slice.endpoints.iter().zip(&found.fates) {
            match fate {
                Fate::Leaves => {}
                Fate::Stays => endpoints.push(present.clone()),
                Fate::Changes => endpoints.push(endpoint(&self.at_anew(present.pod)??)?),
            }
        }
        if found.changed && service.prefer_close {
            // Those that only see others join them keep the hints that they have.
            endpoints.iter_mut().for_each(|endpoint| (endpoint.zone_hint, endpoint.node_hint) = (None, None));
        }
        endpoints.extend(joining.iter().filter_map(endpoint));
        endpoints.iter_mut().for_each(|endpoint| set_hints_of(service, endpoint));
        let headless = if found.changed { service.headless } else { slice.headless };
        Some(EndpointSlice {
            ipv6: false,
            ports: slice.ports.clone(),
            labels: slice.labels.clone(),
            headless,
            endpoints,
        })
    }
}
