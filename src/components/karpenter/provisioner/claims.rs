//! Claims of a pass: whether one takes a pod, what is left of its types when it does, and what is created in the end.
//!
//! Source: core `provisioning/scheduling/{nodeclaim,nodeclaimtemplate}.go`. Whether types fit is asked in the cheapest order:
//! first against the largest and smallest of each group, and of the requirements only those that changed.

use super::packing::{NewNode, Refusal, Scene, Unmet, Work};
use super::pools::{self, DaemonGroup, Template};
use super::preferences::{self, HostPort};
use super::topology::Topology;
use crate::components::karpenter::cluster::{Wanted, lacking_min_values, order_by_price, tolerates_all};
use crate::plan::{CapacityType, InstanceTypeId, NodePoolSpec, ReservationId};
use crate::rules::labels::Labels;
use crate::rules::requirements::{
    CAPACITY_TYPE, HOSTNAME, NODE_CLASS, NODE_POOL, RESERVATION_ID, Requirement, Requirements, ZONE, is_well_known,
};
use crate::rules::resources::Resources;
use crate::world::PodId;
use std::collections::BTreeSet;

/// Types that a claim may list at most.
const MAX_INSTANCE_TYPES: usize = 600;

/// Fits as upstream counts: nothing fits where any amount is negative.
#[inline]
pub fn fits(requests: &Resources, total: &Resources) -> bool {
    amounts(total).iter().all(|&amount| amount >= 0)
        && total.extended.values().all(|&amount| amount >= 0)
        && requests.fits_in(total)
}

/// CPU, memory, storage, pod slots.
pub type Amounts = [i64; 4];

/// Of resources, those that every node has.
pub const fn amounts(of: &Resources) -> Amounts {
    [of.cpu.0, of.memory.0, of.ephemeral_storage.0, of.pods]
}

#[inline]
fn within(requests: &Amounts, total: &Amounts) -> bool {
    requests.iter().zip(total).all(|(&request, &amount)| request <= 0 || request <= amount)
}

/// What the smallest and the largest of a group's types have left for pods, each resource by itself.
#[derive(Clone, Copy)]
struct Bounds {
    least: Amounts,
    most: Amounts,
}

impl Bounds {
    fn of(scene: &Scene, group: &DaemonGroup) -> Bounds {
        let overhead = amounts(&group.overhead.requests);
        let mut bounds = Bounds { least: [i64::MAX; 4], most: [i64::MIN; 4] };
        for &id in &group.types {
            let allocatable = amounts(&scene.plan.instance_type(id).allocatable);
            for (index, (amount, overhead)) in allocatable.into_iter().zip(overhead).enumerate() {
                bounds.least[index] = bounds.least[index].min(amount - overhead);
                bounds.most[index] = bounds.most[index].max(amount - overhead);
            }
        }
        bounds
    }
}

/// A claim that takes pods of the pass.
pub struct OpenClaim {
    /// Position of its pool's template.
    pub template: usize,
    /// What is left of its requirements.
    pub requirements: Requirements,
    /// What its pods request.
    requests: Resources,
    groups: Vec<DaemonGroup>,
    /// Of each group; empty until the first pod is in.
    bounds: Vec<Bounds>,
    ports: Vec<HostPort>,
    /// Reservations that it holds one instance of, each.
    held: Vec<ReservationId>,
    /// Its pods, in the order in which they came.
    pub pods: Vec<PodId>,
}

/// What a claim becomes with one more pod.
pub struct Grown {
    requirements: Requirements,
    requests: Resources,
    /// `None`: every type is left.
    groups: Option<Vec<DaemonGroup>>,
    /// Reservations that it holds.
    held: Vec<ReservationId>,
}

impl OpenClaim {
    /// A claim without pods.
    pub fn new(template: usize, requirements: Requirements, groups: Vec<DaemonGroup>) -> OpenClaim {
        let requests = Resources::default();
        let (bounds, ports, held, pods) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        OpenClaim { template, requirements, requests, groups, bounds, ports, held, pods }
    }

    /// Types that are left.
    pub fn types(&self) -> impl Iterator<Item = InstanceTypeId> {
        self.groups.iter().flat_map(|group| group.types.iter().copied())
    }

    /// The claim with one more pod, if it takes it.
    pub fn takes(&self, scene: &Scene, topology: &Topology, template: &Template, pod: &Work) -> Option<Grown> {
        let mut requests = amounts(&self.requests);
        let more = amounts(&pod.wishes.template.requests);
        requests.iter_mut().zip(more).for_each(|(sum, more)| *sum += more);
        let hopeless = !self.bounds.iter().any(|bounds| within(&requests, &bounds.most));
        if hopeless { None } else { self.fit(scene, topology, template, pod, false).ok() }
    }

    /// The claim with its first pod.
    ///
    /// # Errors
    /// Why it does not take it.
    pub fn opens(&self, scene: &Scene, topology: &Topology, template: &Template, pod: &Work) -> Result<Grown, Refusal> {
        self.fit(scene, topology, template, pod, true)
    }

    fn fit(
        &self,
        scene: &Scene,
        topology: &Topology,
        template: &Template,
        pod: &Work,
        opening: bool,
    ) -> Result<Grown, Refusal> {
        let wishes = &*pod.wishes;
        if !tolerates_all(&wishes.template, &template.spec.taints) {
            return Err(Refusal::Taint);
        }
        if !self.requirements.compatible(&wishes.requirements, true) {
            return Err(Refusal::Requirements);
        }
        let mut base = self.requirements.clone();
        base.add_all(&wishes.requirements);
        if wishes.volumes.is_empty() {
            return self.fit_base(scene, topology, pod, base, opening);
        }
        let mut last = Refusal::Volume;
        for alternative in &wishes.volumes {
            if !base.compatible(alternative, true) {
                last = Refusal::Volume;
                continue;
            }
            let mut requirements = base.clone();
            requirements.add_all(alternative);
            match self.fit_base(scene, topology, pod, requirements, opening) {
                Ok(grown) => return Ok(grown),
                Err(refusal) => last = refusal,
            }
        }
        Err(last)
    }

    /// As `fit`, with the requirements of the pod and of its volumes in.
    fn fit_base(
        &self,
        scene: &Scene,
        topology: &Topology,
        pod: &Work,
        mut requirements: Requirements,
        opening: bool,
    ) -> Result<Grown, Refusal> {
        let wishes = &*pod.wishes;
        let demands = topology.demands(pod.subject(), &requirements);
        let demands = demands.filter(|demands| requirements.compatible(demands, true)).ok_or(Refusal::Topology)?;
        requirements.add_all(&demands);
        let mut requests = self.requests.clone();
        requests += &wishes.template.requests;
        let groups = self.keep_types(scene, pod, &requests, &requirements);
        let types: Vec<InstanceTypeId> = groups.as_ref().map_or_else(Vec::new, |groups| types_of(groups).collect());
        if groups.is_some() && types.is_empty() {
            return Err(Refusal::Types(self.unmet(scene, pod, &requests, &requirements)));
        }
        if requirements.has_min_values() {
            let types = if groups.is_some() { types } else { self.types().collect() };
            for (key, left) in lacking_min_values(scene.catalog, &types, &requirements) {
                if !(opening && scene.plan.flags.karpenter.min_values_best_effort) {
                    return Err(Refusal::MinValues);
                }
                if let Some(requirement) = requirements.get(&key) {
                    let relaxed = Requirement { min_values: Some(left), ..requirement.clone() };
                    requirements.replace(&key, relaxed);
                }
            }
        }
        let held = self.reserve(scene, groups.as_deref().unwrap_or(&self.groups), &requirements)?;
        Ok(Grown { requirements, requests, groups, held })
    }

    /// Reservations that it would hold: all that it may still use and that have room.
    fn reserve(
        &self,
        scene: &Scene,
        groups: &[DaemonGroup],
        requirements: &Requirements,
    ) -> Result<Vec<ReservationId>, Refusal> {
        let plan = scene.plan;
        if plan.reservations.is_empty() || !plan.flags.karpenter.reserved_capacity {
            return Ok(Vec::new());
        }
        let wanted = Wanted::of(plan, requirements);
        let usable: BTreeSet<ReservationId> = types_of(groups)
            .flat_map(|id| &plan.instance_type(id).offerings)
            .filter(|offering| offering.available && wanted.allows(offering))
            .filter_map(|offering| offering.reservation)
            .collect();
        let has_room = |id: &ReservationId| self.held.contains(id) || scene.left[id.index()] > 0;
        let held: Vec<ReservationId> = usable.iter().copied().filter(has_room).collect();
        let waits = held.is_empty() && (!usable.is_empty() || !self.held.is_empty());
        if waits && scene.waits_for_reservations { Err(Refusal::Reserved) } else { Ok(held) }
    }

    /// Some port of the pod is taken, by a pod or by a daemon of the group.
    fn clashes(&self, pod: &Work, group: &DaemonGroup) -> bool {
        let ports = &pod.wishes.ports;
        preferences::any_clash(ports, &group.overhead.ports) || preferences::any_clash(ports, &self.ports)
    }

    /// Types of each daemon group that still fit; `None`: all of them.
    fn keep_types(
        &self,
        scene: &Scene,
        pod: &Work,
        requests: &Resources,
        requirements: &Requirements,
    ) -> Option<Vec<DaemonGroup>> {
        let changed = requirements.changed_since(&self.requirements);
        let places = [ZONE, CAPACITY_TYPE, RESERVATION_ID];
        let wanted = places.iter().any(|key| changed.get(key).is_some()).then(|| Wanted::of(scene.plan, requirements));
        let keeps = |id: InstanceTypeId| {
            (changed.is_empty() || scene.catalog.requirements(id).intersects(&changed))
                && wanted.as_ref().is_none_or(|wanted| scene.market.is_offered(id, wanted))
        };
        let plain = amounts(requests);
        let mut kept: Vec<Option<Vec<InstanceTypeId>>> = Vec::with_capacity(self.groups.len());
        for (index, group) in self.groups.iter().enumerate() {
            if self.clashes(pod, group) {
                kept.push(Some(Vec::new()));
                continue;
            }
            let extended = !requests.extended.is_empty() || !group.overhead.requests.extended.is_empty();
            let roomy = !extended && self.bounds.get(index).is_some_and(|bounds| within(&plain, &bounds.least));
            if roomy && changed.is_empty() {
                kept.push(None);
                continue;
            }
            let mut total = requests.clone();
            total += &group.overhead.requests;
            let sums = amounts(&total);
            let fits = |id: InstanceTypeId| {
                let allocatable = &scene.plan.instance_type(id).allocatable;
                if extended { fits(&total, allocatable) } else { within(&sums, &amounts(allocatable)) }
            };
            let left = group.types.iter().copied().filter(|&id| (roomy || fits(id)) && keeps(id));
            let left: Vec<InstanceTypeId> = left.collect();
            kept.push((left.len() < group.types.len()).then_some(left));
        }
        if kept.iter().all(Option::is_none) {
            return None;
        }
        let groups = self.groups.iter().zip(kept).filter_map(|(group, kept)| match kept {
            None => Some(group.clone()),
            Some(types) if types.is_empty() => None,
            Some(types) => Some(DaemonGroup { overhead: group.overhead.clone(), types }),
        });
        Some(groups.collect())
    }

    /// What none of the types of a claim met.
    fn unmet(&self, scene: &Scene, pod: &Work, requests: &Resources, requirements: &Requirements) -> Unmet {
        let mut unmet = Unmet { requirements: true, resources: true, offering: true };
        let wanted = Wanted::of(scene.plan, requirements);
        for group in self.groups.iter().filter(|group| !self.clashes(pod, group)) {
            let mut total = requests.clone();
            total += &group.overhead.requests;
            for &id in &group.types {
                let offered = scene.market.is_offered(id, &wanted);
                unmet.requirements &= !scene.catalog.requirements(id).intersects(requirements);
                unmet.offering &= !offered;
                unmet.resources &= !(offered && fits(&total, &scene.plan.instance_type(id).allocatable));
            }
        }
        unmet
    }

    /// The pod is in.
    pub fn grow(&mut self, scene: &mut Scene, pod: &Work, grown: Grown) {
        for id in grown.held.iter().filter(|id| !self.held.contains(id)) {
            scene.left[id.index()] -= 1;
        }
        for id in self.held.iter().filter(|id| !grown.held.contains(id)) {
            scene.left[id.index()] += 1;
        }
        self.held = grown.held;
        self.requirements = grown.requirements;
        self.requests = grown.requests;
        let changed = grown.groups.is_some() || self.pods.is_empty();
        if let Some(groups) = grown.groups {
            self.groups = groups;
        }
        if changed {
            self.bounds = self.groups.iter().map(|group| Bounds::of(scene, group)).collect();
        }
        self.ports.extend(pod.wishes.ports.iter().cloned());
        self.pods.push(pod.id);
    }

    /// Some `minValues` is less than its pool asks for.
    pub fn is_relaxed(&self, template: &Template) -> bool {
        let demanding = template.requirements.iter().filter(|(_, asked)| asked.min_values.is_some());
        demanding.into_iter().any(|(key, asked)| {
            asked.min_values > self.requirements.get(key).and_then(|requirement| requirement.min_values)
        })
    }
}

fn types_of(groups: &[DaemonGroup]) -> impl Iterator<Item = InstanceTypeId> {
    groups.iter().flat_map(|group| group.types.iter().copied())
}

/// The claim as it is created. `lowered`: `minValues` was, for the claim of its pool that was opened last.
///
/// # Errors
/// Its pods, when the types that a claim may list do not suffice for `minValues`.
pub fn finished(scene: &Scene, template: &Template, lowered: bool, claim: OpenClaim) -> Result<NewNode, Vec<PodId>> {
    let (plan, world) = (scene.plan, scene.world);
    let mut types: Vec<InstanceTypeId> = claim.types().collect();
    let mut requirements = claim.requirements;
    requirements.remove(HOSTNAME);
    if !claim.held.is_empty() {
        // Drift follows when the instance leaves its reservation.
        requirements.replace(CAPACITY_TYPE, Requirement::any_of([CapacityType::Reserved.name()]));
        let names = claim.held.iter().map(|id| plan.reservations[id.index()].name.as_str());
        requirements.add(RESERVATION_ID, Requirement::any_of(names));
    }
    order_by_price(plan, world, &mut types, &requirements);
    types.truncate(MAX_INSTANCE_TYPES);
    let broken = !lacking_min_values(scene.catalog, &types, &requirements).is_empty();
    if broken && !plan.flags.karpenter.min_values_best_effort {
        return Err(claim.pods);
    }
    let overheads = claim.groups.iter().map(|group| &group.overhead.requests);
    let mut requests = claim.requests;
    if let Some(least) = overheads.cloned().reduce(|one, two| pools::minimum(&one, &two)) {
        requests += &least;
    }
    let labels = claim_labels(&template.spec, &requirements);
    Ok(NewNode {
        pool: template.pool,
        requirements,
        types,
        requests,
        labels,
        pods: claim.pods,
        min_values_relaxed: lowered,
    })
}

/// Labels of a claim: the pool's, and a value for each requirement on a label that is not well known.
fn claim_labels(spec: &NodePoolSpec, requirements: &Requirements) -> Labels {
    let mut labels = spec.labels.clone();
    labels.insert(NODE_POOL, spec.name.as_str());
    labels.insert(NODE_CLASS, spec.node_class_name.as_str());
    for (key, requirement) in requirements.iter().filter(|(key, _)| !is_well_known(key)) {
        if let Some(value) = requirement.any_value() {
            labels.insert(key.clone(), value);
        }
    }
    labels
}
