//! EndpointSlice controller.
//!
//! ```text
//!  PodReady, PodAddress, PodDeleting, PodGone ─► Pod ─(batch period)─► Due ─┐
//!  ServiceChanged ─► Service ──────────────────────────────────────────────►├─► Sync(service)
//!                    a pod's node is missing: 1, 2, 4 ... s later ─► Due ───┘       │ reads pods, nodes, slices
//!                                                                                   └► World::write_slices, edit_slice
//! ```
//!
//! Source: `pkg/controller/endpointslice/endpointslice_controller.go`, staging `endpointslice`. Left out: topology mode
//! Auto, the limit of ten retries a second, failures of writes, and the sync of a stale slice: the answer to a write comes
//! before its watch event.

mod one;
pub mod reconcile;

use crate::components::{self, Cx};
use crate::engine::{Span, Time};
use crate::plan::{PodTemplate, ServiceId, ServiceSpec, TemplateId};
use crate::world::{Address, EndpointSlice as Slice, Ipv6Address, PodId, SliceEdit, SliceWrites, World};
use one::{Look, reconcile_moved};
use reconcile::is_listed;

/// Retries of a sync that left out a pod whose node does not exist. Source: `maxRetries`.
const RETRIES_MAX: u32 = 15;
/// First and largest wait before a retry. Source: `defaultSyncBackOff`, `maxSyncBackOff`.
const RETRY: (Span, Span) = (Span::from_secs(1), Span::from_secs(1000));

/// What the controller keeps of one Service.
#[derive(Default)]
struct Known {
    /// Selected pods whose objects exist, by id.
    pods: Vec<PodId>,
    /// Pods that ceased to be such since the last sync.
    left: Vec<PodId>,
    /// It waits for a worker.
    queued: bool,
    /// The one entry of the delaying queue; a later request does not move it.
    due: Option<Time>,
    /// Syncs in a row that met a missing node.
    retries: u32,
    /// [`World::slices_version`] for which its slices are as they should be, unless other pods are selected since.
    settled: Option<u64>,
}

/// What the informer's last object of a pod said.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Seen {
    template: TemplateId,
    ready: bool,
    addresses: (Option<Address>, Option<Ipv6Address>),
    deleting: bool,
}

impl Seen {
    fn of(world: &World, pod: PodId) -> Option<Seen> {
        let entry = world.pod(pod);
        entry.gone.is_none().then(|| Seen {
            template: entry.template,
            ready: entry.is_ready(),
            addresses: (entry.address, entry.ipv6),
            deleting: entry.deleting_since.is_some(),
        })
    }
}

/// Its memory.
#[derive(Default)]
pub struct EndpointSlice {
    services: Vec<Known>,
    /// By pod.
    seen: Vec<Option<Seen>>,
    /// Services that select a template, by template; empty when Services or templates changed.
    selecting: Vec<Vec<ServiceId>>,
    /// Changes of Services until then.
    services_version: u64,
    /// What a sync does to a slice: only the memory is used again.
    edit: SliceEdit,
}

/// Why it may be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// A pod appeared, changed or vanished.
    Pod(PodId),
    /// A Service was created or changed.
    Service(ServiceId),
    /// A batch period or a retry delay is over.
    Due(ServiceId),
    /// A worker takes a Service.
    Sync(ServiceId),
}

fn event(event: Event) -> components::Event {
    components::Event::EndpointSlice(event)
}

impl EndpointSlice {
    /// Brings all Services up to date. Their pods appear to it now, each a request of its own.
    pub fn start(&mut self, cx: &mut Cx) {
        self.seen = (0..cx.world.pods.len()).map(|index| Seen::of(cx.world, PodId::at(index))).collect();
        for index in 0..cx.world.services.len() {
            let service = ServiceId::at(index);
            self.list(cx.world, service);
            self.sync(cx, service);
            if !cx.plan.flags.controllers.endpoint_batch_period.is_zero() && !self.services[index].pods.is_empty() {
                self.pod_changed_for(cx, service);
            }
        }
    }

    /// Observe, decide, apply, schedule.
    pub fn handle(&mut self, cx: &mut Cx, event: Event) {
        match event {
            Event::Pod(pod) => self.pod_changed(cx, pod),
            Event::Service(service) => {
                self.list(cx.world, service);
                self.queue(cx, service);
            }
            Event::Due(service) => {
                if self.services[service.index()].due == Some(cx.now) {
                    self.services[service.index()].due = None;
                    self.queue(cx, service);
                }
            }
            Event::Sync(service) => {
                self.services[service.index()].queued = false;
                self.sync(cx, service);
            }
        }
    }

    /// The pods that a Service selects.
    fn list(&mut self, world: &World, service: ServiceId) {
        if self.services.len() <= service.index() {
            self.services.resize_with(service.index() + 1, Known::default);
        }
        let spec = &world.services[service.index()];
        let selected = |pod: &PodId| spec.selects(world.template_of(*pod));
        let known = &mut self.services[service.index()];
        known.pods = world.living.iter().filter(selected).collect();
        known.settled = None;
    }

    /// Services are asked to sync if something of the pod changed that may change their endpoints; of the labels only what
    /// joins a Service or leaves it. A pod that is being deleted changes with every write. Source: `podEndpointsChanged`.
    fn pod_changed(&mut self, cx: &mut Cx, pod: PodId) {
        if self.seen.len() <= pod.index() {
            self.seen.resize(pod.index() + 1, None);
        }
        let now = Seen::of(cx.world, pod);
        let before = std::mem::replace(&mut self.seen[pod.index()], now);
        let changed = match (before, now) {
            (Some(before), Some(now)) => {
                before.deleting || now.deleting || before.ready != now.ready || before.addresses != now.addresses
            }
            (None, None) => return,
            _ => true,
        };
        let (template_before, template) = (before.map(|seen| seen.template), now.map(|seen| seen.template));
        if !changed && template_before == template {
            return;
        }
        self.refresh(cx.world);
        let mut last = None;
        loop {
            // Mostly there is one Service, and the pod stays where it is.
            let next_of = |template: TemplateId| {
                let mut services = self.selecting[template.index()].iter().copied();
                services.find(|&service| Some(service) > last)
            };
            let (had, has) = (template_before.and_then(next_of), template.and_then(next_of));
            let Some(service) = had.into_iter().chain(has).min() else { return };
            self.joins_or_leaves(cx, pod, service, (had == Some(service), has == Some(service)), changed);
            last = Some(service);
        }
    }

    /// A pod that a Service selected or not, and now selects or not.
    fn joins_or_leaves(&mut self, cx: &mut Cx, pod: PodId, service: ServiceId, (was, is): (bool, bool), changed: bool) {
        let Some(known) = self.services.get_mut(service.index()) else { return };
        let before = known.pods.len();
        match known.pods.binary_search(&pod) {
            Ok(place) if !is => known.left.push(known.pods.remove(place)),
            Err(place) if is => {
                known.pods.insert(place, pod);
                known.left.retain(|&other| other != pod);
            }
            _ => {}
        }
        if known.pods.len() != before && is_listed(cx.world.pod(pod)) {
            known.settled = None;
        }
        if known.settled.is_none() {
            known.left.clear();
        }
        if changed || was != is {
            self.pod_changed_for(cx, service);
        }
    }

    /// Which Services select which templates.
    fn refresh(&mut self, world: &World) {
        if self.selecting.len() == world.templates.len() && self.services_version == world.services_version() {
            return;
        }
        let of = |template: &PodTemplate| {
            let selects = |id: &usize| world.services[*id].selects(template);
            (0..world.services.len()).filter(selects).map(ServiceId::at).collect()
        };
        self.selecting = world.templates.iter().map(|template| of(template)).collect();
        self.services_version = world.services_version();
    }

    fn pod_changed_for(&mut self, cx: &mut Cx, service: ServiceId) {
        let batch = cx.plan.flags.controllers.endpoint_batch_period;
        if batch.is_zero() { self.queue(cx, service) } else { self.queue_after(cx, service, batch) }
    }

    /// Requests while one waits for a worker are one.
    fn queue(&mut self, cx: &mut Cx, service: ServiceId) {
        if !std::mem::replace(&mut self.services[service.index()].queued, true) {
            cx.at(cx.now, event(Event::Sync(service)));
        }
    }

    /// A request that waits keeps its time if it is the earlier one.
    fn queue_after(&mut self, cx: &mut Cx, service: ServiceId, span: Span) {
        let at = cx.now + span;
        let known = &mut self.services[service.index()];
        if known.due.is_none_or(|due| due > at) {
            known.due = Some(at);
            cx.at(at, event(Event::Due(service)));
        }
    }

    fn sync(&mut self, cx: &mut Cx, service: ServiceId) {
        let known = &self.services[service.index()];
        let spec = &cx.world.services[service.index()];
        if spec.selector.is_none() || spec.external_name {
            return;
        }
        let most = (cx.plan.flags.controllers.endpoints_per_slice as usize).max(1);
        let slices = &cx.world.slices[service.index()];
        let decide = || reconcile::reconcile(&cx.plan.zones, cx.world, spec, &known.pods, slices, most);
        if known.settled == Some(cx.world.slices_version()) {
            debug_assert_eq!(decide(), (SliceWrites::default(), false), "nothing changed since the last sync");
            self.services[service.index()].retries = 0;
            return;
        }
        if let Some(missing) =
            known.settled.and_then(|since| edit_for_moved(cx, spec, known, slices, since, &mut self.edit))
        {
            debug_assert_eq!(
                decide(),
                (as_writes(self.edit.clone(), slices), missing),
                "the short way is the long way"
            );
            if !self.edit.is_empty() {
                cx.world.edit_slice(service, &mut self.edit);
            }
            return self.synced(cx, service, missing, true);
        }
        let (writes, missing) = decide();
        let settles = leaves_nothing(spec, slices, &writes);
        cx.world.write_slices(service, writes);
        self.synced(cx, service, missing, settles);
    }

    /// A sync is over; the same again would write nothing if `settles`, unless a node was missing: then it is tried again.
    fn synced(&mut self, cx: &mut Cx, service: ServiceId, missing: bool, settles: bool) {
        let known = &mut self.services[service.index()];
        known.left.clear();
        known.settled = (settles && !missing).then(|| cx.world.slices_version());
        if !missing || known.retries >= RETRIES_MAX {
            known.retries = 0;
            return;
        }
        let (first, largest) = RETRY;
        let delay = (first * (1 << known.retries)).min(largest);
        known.retries += 1;
        self.queue_after(cx, service, delay);
    }
}

/// What a sync does where only pods have changed since the last one, put into `edit`, and whether one of them is left out; `None`:
/// everything has to be looked at.
fn edit_for_moved(
    cx: &Cx,
    service: &ServiceSpec,
    known: &Known,
    slices: &[Slice],
    since: u64,
    edit: &mut SliceEdit,
) -> Option<bool> {
    let [slice] = slices else { return None };
    if cx.world.slices_renewed() > since {
        return None;
    }
    edit.clear();
    let most = (cx.plan.flags.controllers.endpoints_per_slice as usize).max(1);
    let mut look = Look::new(&cx.plan.zones, cx.world, service, slice, &known.pods);
    let moved = known.left.iter().copied().chain(cx.world.pods_moved_since(since, &known.pods));
    reconcile_moved(&mut look, moved, most, edit)
}

/// A write of the first slice as a whole.
fn as_writes(mut edit: SliceEdit, slices: &[Slice]) -> SliceWrites {
    let Some(slice) = slices.first().filter(|_| !edit.is_empty()) else { return SliceWrites::default() };
    let mut slice = slice.clone();
    edit.apply_to(&mut slice);
    SliceWrites { update: vec![(0, slice)], ..SliceWrites::default() }
}

/// The same sync again would write nothing. The only slice that is written as a whole is as it should be; of several, and of
/// hints, more may be to write.
fn leaves_nothing(service: &ServiceSpec, slices: &[Slice], writes: &SliceWrites) -> bool {
    let SliceWrites { create, update, delete } = writes;
    let has_hints = service.prefer_close || service.prefer_node;
    create.is_empty() && delete.is_empty() && (update.is_empty() || slices.len() == 1 && !has_hints)
}

#[cfg(test)]
mod tests;
