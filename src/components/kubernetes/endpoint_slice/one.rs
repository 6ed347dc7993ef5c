//! The common case without a list of what should be: a Service of IPv4 with one slice, whose pods all have the ports of that
//! slice and no names of hosts. Mostly nothing of it changed, or a pod or two.
//!
//! It comes to the same writes as the long way of `reconcile`, or says that it cannot tell.

use super::reconcile::{Conditions, endpoint, has_right_hints, is_listed, ports_are, set_hints_of, zone_of};
use crate::plan::{PodTemplate, ServiceSpec, TemplateId};
use crate::world::{EndpointAddress, EndpointSlice, Node, Pod, PodId, SliceEdit, SliceEndpoint, SliceWrites, World};

/// So many pods that moved are few.
const FEW: usize = 16;

/// How one looks at pods.
pub struct Look<'l> {
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
    let mut look = Look::new(zones, world, service, slice, pods);
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

/// The same where the slice was as it should be and only pods have changed since, few of them: those are looked at, and what
/// is to be done to the slice is put into `edit`. Whether one of them was left out.
pub fn reconcile_moved(
    look: &mut Look,
    moved: impl Iterator<Item = PodId>,
    most: usize,
    edit: &mut SliceEdit,
) -> Option<bool> {
    let (slice, service) = (look.slice, look.service);
    if !service.families.ipv4 || service.families.ipv6 || slice.ipv6 || service.prefer_close || service.prefer_node {
        return None;
    }
    for (count, id) in moved.enumerate() {
        // Many are found faster in one walk.
        if count == FEW {
            return None;
        }
        let wanted = look.at_anew(id)?;
        let mut joining = wanted;
        if let Some(place) = slice.endpoints.iter().position(|present| present.pod == id) {
            let present = &slice.endpoints[place];
            match wanted.filter(|wanted| is_of(present, wanted)) {
                None => edit.leave.push(place),
                Some(wanted) => {
                    joining = None;
                    if !look.is_as_it_should_be(present, wanted) {
                        edit.change.push((place, look.endpoint(&wanted)?));
                    }
                }
            }
        }
        if let Some(wanted) = joining {
            edit.join.push(look.endpoint(&wanted)?);
        }
    }
    edit.leave.sort_unstable();
    let (stay, join) = (slice.endpoints.len() - edit.leave.len(), edit.join.len());
    let changed = !edit.leave.is_empty() || !edit.change.is_empty();
    edit.headless = if changed { service.headless } else { slice.headless };
    (!(changed && stay == 0) && stay + join <= most && join < most).then_some(look.missing)
}

/// An endpoint stands for a pod as it should be listed.
fn is_of(present: &SliceEndpoint, wanted: &Wanted) -> bool {
    wanted.pod.address.map(EndpointAddress::Ipv4) == Some(present.address) && present.hostname.is_none()
}

impl<'l> Look<'l> {
    /// How one looks at the pods of a Service with this slice.
    pub fn new(
        zones: &'l [String],
        world: &'l World,
        service: &'l ServiceSpec,
        slice: &'l EndpointSlice,
        pods: &'l [PodId],
    ) -> Look<'l> {
        Look { zones, world, service, slice, pods, template: None, missing: false }
    }

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
                if let Some(wanted) = wanted.filter(|wanted| is_of(present, wanted)) {
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

    /// The endpoint of a pod, without hints.
    fn endpoint(&self, wanted: &Wanted) -> Option<SliceEndpoint> {
        endpoint(self.zones, self.service, wanted.template, wanted.pod, wanted.node, false)
    }

    /// The slice as it is to be: those that stay, then those that join.
    fn changed_slice(&mut self, found: &Found, joining: &[Wanted]) -> Option<EndpointSlice> {
        let Look { service, slice, .. } = *self;
        let mut endpoints = Vec::with_capacity(found.count + joining.len());
        for (present, fate) in slice.endpoints.iter().zip(&found.fates) {
            match fate {
                Fate::Leaves => {}
                Fate::Stays => endpoints.push(present.clone()),
                Fate::Changes => {
                    let wanted = self.at_anew(present.pod)??;
                    endpoints.push(self.endpoint(&wanted)?);
                }
            }
        }
        if found.changed && service.prefer_close {
            // Those that only see others join them keep the hints that they have.
            endpoints.iter_mut().for_each(|endpoint| (endpoint.zone_hint, endpoint.node_hint) = (None, None));
        }
        endpoints.extend(joining.iter().filter_map(|wanted| self.endpoint(wanted)));
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
