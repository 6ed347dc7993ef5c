//! EC2 CreateFleet.
//!
//! ```text
//!  ClaimCreated ─► Create ─► capacity type: reserved, else spot, else on demand ─► overrides by price ─► capacity?
//!      yes ─ node_claim.launch ─► Answer: instance, Launched        no ─ fleet.error ─► Answer: NodeClaim deleted
//!  throttled (RequestLimitExceeded) ─ back-off of the SDK, then of the queue ─► Again
//! ```
//!
//! Source: provider `pkg/providers/instance/instance.go`, `filter/filter.go`, `pkg/batcher/createfleet.go`,
//! `pkg/cache/unavailableofferings.go`. The recorded time from NodeClaim to Launched holds the 35 ms of batching and the
//! call. With equal pool depths price-capacity-optimized takes the cheapest. Left out: subnets and how many addresses
//! they have, launch templates, reservations' counts, errors other than want of capacity and throttling.

use crate::components::{Cx, Event as Any};
use crate::engine::{Purpose, Time};
use crate::plan::{CapacityType, FaultKind, InForce, InstanceTypeId, MicroDollars, Plan, Stage, ZoneId};
use crate::record::Decision;
use crate::record::decision::{Launch, Offer};
use crate::rules::requirements::{CAPACITY_TYPE, INSTANCE_TYPE, ZONE};
use crate::world::ec2_api::{self, Ec2Call};
use crate::world::offering::{Wanted, avoided_until, is_available, is_compatible};
use crate::world::{ClaimId, DisruptionReason, NodeClaim, World};
use std::collections::BTreeMap;

const RETRY: Purpose = Purpose::named("ec2.retry");

/// Types that one call lists at most.
const MAX_TYPES: usize = 60;

/// Its memory.
#[derive(Default)]
pub struct Fleet {
    /// Calls that have not returned.
    calls: BTreeMap<ClaimId, Answer>,
    /// Calls that others may still join, or that EC2 refuses for now; the newest last.
    batches: Vec<Batch>,
    /// How often the call for a NodeClaim was refused.
    refusals: BTreeMap<ClaimId, u32>,
}

/// NodeClaims of which one call is made.
#[derive(Clone, Debug)]
struct Batch {
    members: Vec<ClaimId>,
    opened: Time,
    joined: Time,
    admitted: bool,
}

/// Why it may be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// A NodeClaim wants an instance.
    Create(ClaimId),
    /// The call for a NodeClaim returns.
    Answer(ClaimId),
    /// A call that was refused is tried again; its first NodeClaim.
    Again(ClaimId),
}

/// One way to launch an instance.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Override {
    /// The type.
    pub instance_type: InstanceTypeId,
    /// The zone.
    pub zone: ZoneId,
    /// How it is paid.
    pub capacity_type: CapacityType,
    /// Its price.
    pub price: MicroDollars,
}

/// What EC2 answers: the instance it launched, and the overrides that had no capacity.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    /// The override that had capacity.
    pub launched: Option<Override>,
    /// Those tried before it.
    pub refused: Vec<Override>,
    /// How many the call listed.
    pub listed: usize,
}

impl Fleet {
    /// Schedules the first events.
    pub fn start(&mut self, cx: &mut Cx) {
        let waiting: Vec<ClaimId> = cx
            .world
            .claims
            .iter()
            .filter(|claim| claim.is_active() && claim.instance.is_none())
            .map(|claim| claim.id)
            .collect();
        for claim in waiting {
            cx.at(cx.now, Any::Fleet(Event::Create(claim)));
        }
    }

    /// Observe, decide, apply, schedule.
    pub fn handle(&mut self, cx: &mut Cx, event: Event) {
        match event {
            Event::Create(claim) => self.request(cx, claim),
            Event::Again(claim) => {
                if let Some(batch) = self.batches.iter().position(|batch| batch.members.first() == Some(&claim)) {
                    self.attempt(cx, batch);
                }
            }
            Event::Answer(claim) => self.answer(cx, claim),
        }
    }

    /// A NodeClaim joins a call that is like its own, or begins one.
    fn request(&mut self, cx: &mut Cx, id: ClaimId) {
        let (idle, most) = cx.plan.flags.ec2.fleet_batch;
        let now = cx.now;
        self.batches.retain(|batch| !batch.admitted || now <= batch.joined + idle);
        let claim = cx.world.claim(id);
        let is_like = |other: &ClaimId| {
            let other = cx.world.claim(*other);
            other.pool == claim.pool
                && other.labels == claim.labels
                && other.requirements == claim.requirements
                && other.instance_types == claim.instance_types
        };
        let open = self.batches.iter().rposition(|batch| {
            now <= batch.joined + idle && now <= batch.opened + most && batch.members.first().is_some_and(is_like)
        });
        let Some(open) = open else {
            self.batches.push(Batch { members: vec![id], opened: now, joined: now, admitted: false });
            return self.attempt(cx, self.batches.len() - 1);
        };
        self.batches[open].joined = now;
        if self.batches[open].admitted {
            return self.create(cx, id);
        }
        self.batches[open].members.push(id);
    }

    /// The call is made. Where EC2 refuses it, it is made again later: by the SDK, and when that gives up by the queue.
    fn attempt(&mut self, cx: &mut Cx, index: usize) {
        let members = self.batches[index].members.clone();
        let waiting: Vec<ClaimId> = members.iter().copied().filter(|&id| cx.world.claim(id).is_active()).collect();
        let Some(&first) = waiting.first() else {
            self.batches.remove(index);
            return;
        };
        if cx.world.call_ec2(cx.plan, Ec2Call::CreateFleet) {
            self.batches[index].admitted = true;
            self.refusals.retain(|id, _| !waiting.contains(id));
            return waiting.into_iter().for_each(|id| self.create(cx, id));
        }
        let refusals = self.refusals.entry(first).or_default();
        *refusals += 1;
        let (refusals, key) = (*refusals, cx.world.claim(first).key());
        let uniform = cx.random.map_or(0.5, |random| random.uniform(RETRY, key ^ u64::from(refusals) << 52));
        let (span, by_sdk) = ec2_api::wait(cx.plan, refusals, uniform);
        self.batches[index].members.clone_from(&waiting);
        if !by_sdk {
            for &id in &waiting {
                self.refusals.insert(id, refusals);
                cx.world.note_throttled(id);
            }
        }
        cx.after(span, Any::Fleet(Event::Again(first)));
    }

    fn create(&mut self, cx: &mut Cx, id: ClaimId) {
        let claim = cx.world.claim(id);
        if !claim.is_active() || claim.instance.is_some() || self.calls.contains_key(&id) {
            return;
        }
        let overrides = overrides(cx.plan, cx.world, claim);
        let answer = decide(&overrides, |entry| has_capacity(cx.plan, cx.world, entry));
        let known = cx.world.known_machine(cx.plan, id).and_then(|machine| cx.plan.known_delays.launch[machine]);
        let span = match known.filter(|_| answer.launched.is_some()) {
            Some(launch) => (claim.created + launch).since(cx.now),
            None if answer.launched.is_some() => cx.delay(Stage::NodeClaimLaunch, claim.key()),
            None => cx.delay(Stage::FleetError, claim.key()),
        };
        self.calls.insert(id, answer);
        cx.after(span, Any::Fleet(Event::Answer(id)));
    }

    fn answer(&mut self, cx: &mut Cx, id: ClaimId) {
        let Some(answer) = self.calls.remove(&id) else { return };
        for refused in &answer.refused {
            let name = &cx.plan.instance_type(refused.instance_type).name;
            let until = avoided_until(cx.plan, cx.now);
            let offering = (name.as_str(), refused.zone, refused.capacity_type);
            cx.world.unavailable_offerings.mark(cx.now, offering, until);
        }
        if !cx.world.claim(id).is_active() {
            return;
        }
        let (plan, world) = (cx.plan, &*cx.world);
        cx.recorder.decide(cx.now, || Decision::Launch(told(plan, world, id, &answer)));
        let Some(launched) = answer.launched else {
            cx.world.note_no_capacity(id);
            cx.world.delete_claim(id, DisruptionReason::InsufficientCapacity);
            return;
        };
        let entry = cx.plan.instance_type(launched.instance_type);
        let zone = cx.plan.zones[launched.zone.index()].as_str();
        let mut labels = entry.labels.clone();
        labels.insert(INSTANCE_TYPE, entry.name.as_str());
        labels.insert(ZONE, zone);
        labels.insert(CAPACITY_TYPE, launched.capacity_type.name());
        let Override { instance_type, zone, capacity_type, price } = launched;
        let instance = cx.world.launch_instance(Some(id), instance_type, zone, capacity_type, price);
        cx.world.launch_claim(id, instance, labels);
    }
}

/// What a call for a NodeClaim lists: one capacity type, types that are cheapest first, each zone that offers them.
pub fn overrides(plan: &Plan, world: &World, claim: &NodeClaim) -> Vec<Override> {
    let wanted = Wanted::of(plan, &claim.requirements);
    // Mostly one for each zone.
    let mut all: Vec<Override> = Vec::with_capacity(claim.instance_types.len() * plan.zones.len());
    for &id in &claim.instance_types {
        let entry = plan.instance_type(id);
        let usable =
            entry.offerings.iter().filter(|offering| wanted.allows(offering) && is_available(world, entry, offering));
        all.extend(usable.map(|offering| Override {
            instance_type: id,
            zone: offering.zone,
            capacity_type: offering.capacity_type,
            price: world.prices.known(id, offering),
        }));
    }
    let types = claim.instance_types.iter().copied();
    let exotics: Vec<InstanceTypeId> = types.filter(|&id| plan.instance_type(id).is_exotic()).collect();
    let exotic = |entry: &Override| exotics.contains(&entry.instance_type);
    let flexible = !claim.requirements.has_min_values();
    if flexible && !exotics.is_empty() && !all.iter().all(exotic) {
        all.retain(|entry| !exotic(entry));
    }
    let of = |kind: CapacityType| all.iter().filter(move |entry| entry.capacity_type == kind);
    let cheapest = of(CapacityType::OnDemand).map(|entry| entry.price).min();
    let spot_is_possible = of(CapacityType::Spot).next().is_some();
    if let (true, true, Some(cheapest)) = (flexible, spot_is_possible, cheapest) {
        all.retain(|entry| entry.capacity_type != CapacityType::Spot || entry.price <= cheapest);
    }
    let Some(kind) = all.iter().map(|entry| entry.capacity_type).min() else { return all };
    all.retain(|entry| entry.capacity_type == kind);
    all.sort_by_key(|entry| entry.price);
    let mut types: Vec<InstanceTypeId> = Vec::new();
    all.retain(|entry| {
        if !types.contains(&entry.instance_type) && types.len() < MAX_TYPES {
            types.push(entry.instance_type);
        }
        types.contains(&entry.instance_type)
    });
    // EC2 goes by the prices of now.
    for entry in &mut all {
        let offerings = plan.instance_type(entry.instance_type).offerings.iter();
        let mut same = offerings.filter(|one| one.zone == entry.zone && one.capacity_type == entry.capacity_type);
        entry.price = same.next().map_or(entry.price, |one| world.prices.actual(entry.instance_type, one));
    }
    all.sort_by_key(|entry| entry.price);
    all
}

/// The first override with capacity; those before it are refused.
pub fn decide(overrides: &[Override], has_capacity: impl Fn(&Override) -> bool) -> Answer {
    let first = overrides.iter().position(has_capacity);
    Answer {
        launched: first.map(|index| overrides[index]),
        refused: overrides[..first.unwrap_or(overrides.len())].to_vec(),
        listed: overrides.len(),
    }
}

/// A call and its answer, for `explain`.
fn told(plan: &Plan, world: &World, id: ClaimId, answer: &Answer) -> Launch {
    let offer = |entry: &Override| Offer {
        instance_type: entry.instance_type,
        zone: entry.zone,
        capacity_type: entry.capacity_type,
        price: entry.price,
    };
    let claim = world.claim(id);
    let mut avoided = Vec::new();
    for &id in &claim.instance_types {
        let entry = plan.instance_type(id);
        let compatible = entry.offerings.iter().filter(|offering| is_compatible(plan, offering, &claim.requirements));
        let sold_out = compatible.filter(|one| one.available && !is_available(world, entry, one));
        avoided.extend(sold_out.map(|offering| Offer {
            instance_type: id,
            zone: offering.zone,
            capacity_type: offering.capacity_type,
            price: world.prices.known(id, offering),
        }));
    }
    let refused: Vec<Offer> = answer.refused.iter().map(offer).collect();
    // What this call found sold out is remembered already.
    avoided.retain(|offer| !refused.contains(offer));
    let until = avoided_until(plan, world.now).0;
    let launched = answer.launched.as_ref().map(offer);
    Launch { claim: id, listed: answer.listed, launched, refused, avoided, until }
}

/// Its pool sells, no scripted want of capacity that holds now matches, its zone is there and has addresses left: a call
/// that meets `InsufficientFreeAddressesInSubnet` is one without capacity to Karpenter (provider `pkg/errors/errors.go`).
fn has_capacity(plan: &Plan, world: &World, entry: &Override) -> bool {
    let Override { instance_type, zone, capacity_type, .. } = *entry;
    if !world.sells(plan, instance_type, zone, capacity_type) {
        return false;
    }
    let name = |id: InstanceTypeId| &plan.instance_type(id).name;
    let in_force = InForce::new(plan, &world.faults);
    if in_force.has_lost(entry.zone) || in_force.lacks_addresses(Some(entry.zone)) {
        return false;
    }
    !plan.faults.iter().zip(&world.faults).any(|(fault, &active)| {
        let FaultKind::InsufficientCapacity { instance_type, zone, capacity_type } = fault.kind else { return false };
        active
            && instance_type.is_none_or(|id| name(id) == name(entry.instance_type))
            && zone.is_none_or(|zone| zone == entry.zone)
            && capacity_type.is_none_or(|kind| kind == entry.capacity_type)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(kind: CapacityType, price: i64) -> Override {
        Override { instance_type: InstanceTypeId(0), zone: ZoneId(0), capacity_type: kind, price: MicroDollars(price) }
    }

    #[test]
    fn the_cheapest_override_with_capacity_is_launched_and_cheaper_ones_are_refused() {
        let all = [entry(CapacityType::Spot, 1), entry(CapacityType::Spot, 2), entry(CapacityType::Spot, 3)];
        let answer = decide(&all, |entry| entry.price.0 >= 2);
        assert_eq!((answer.launched, answer.refused.len()), (Some(all[1]), 1));
        let none = decide(&all, |_| false);
        assert_eq!((none.launched, none.refused.len()), (None, 3));
    }
}
