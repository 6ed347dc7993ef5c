//! Offerings that EC2 refused a short while ago: Karpenter's memory of them, shared by its controllers.
//!
//! Source: karpenter-provider-aws `pkg/cache/unavailableofferings.go`: an entry lives for its time to live, but the list of
//! offerings is only made anew when an entry is added or swept, so it counts until the next of either.

use super::World;
use crate::engine::{Span, Time};
use crate::plan::{CapacityType, InstanceType, Offering, Plan, ZoneId};
use crate::rules::requirement::NodeOperator;
use crate::rules::requirements::{CAPACITY_TYPE, RESERVATION_ID, Requirements, ZONE};
use crate::rules::taint::{Taint, TaintEffect};
use std::sync::LazyLock;

/// One offering that is avoided.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    instance_type: String,
    zone: ZoneId,
    capacity_type: CapacityType,
    expires: Time,
    swept: Time,
}

/// Offerings that are avoided for now.
#[derive(Clone, Debug, Default)]
pub struct UnavailableOfferings {
    entries: Vec<Entry>,
}

impl UnavailableOfferings {
    /// Avoids an offering until it has expired and a sweep (or another mark) has come by.
    pub fn mark(&mut self, now: Time, offering: (&str, ZoneId, CapacityType), (expires, swept): (Time, Time)) {
        let (name, zone, capacity_type) = offering;
        self.entries.retain(|entry| {
            let same = entry.instance_type == name && entry.zone == zone && entry.capacity_type == capacity_type;
            entry.expires > now && !same
        });
        self.entries.push(Entry { instance_type: name.to_string(), zone, capacity_type, expires, swept });
    }

    /// Some offering is avoided at `now`.
    pub fn is_any_avoided(&self, now: Time) -> bool {
        self.entries.iter().any(|entry| entry.swept > now)
    }

    /// Whether an offering is avoided at `now`.
    pub fn contains(&self, now: Time, name: &str, zone: ZoneId, capacity_type: CapacityType) -> bool {
        self.entries.iter().any(|entry| {
            entry.swept > now
                && entry.zone == zone
                && entry.capacity_type == capacity_type
                && entry.instance_type == name
        })
    }
}

/// The key of the taint of a node that Karpenter is about to remove.
pub const DISRUPTED: &str = "karpenter.sh/disrupted";

/// Every node of Karpenter's is created with it, so it is made once.
static UNREGISTERED: LazyLock<Taint> =
    LazyLock::new(|| Taint::new("karpenter.sh/unregistered", TaintEffect::NoExecute));

/// The taint of a node that Karpenter has not registered.
pub fn unregistered_taint() -> Taint {
    UNREGISTERED.clone()
}

/// Whether an offering can be bought now, as far as Karpenter knows.
pub fn is_available(world: &World, entry: &InstanceType, offering: &Offering) -> bool {
    let sold_out = world.unavailable_offerings.contains(world.now, &entry.name, offering.zone, offering.capacity_type);
    offering.available && !sold_out
}

/// Whether an offering meets requirements on zone, capacity type and reservation.
pub fn is_compatible(plan: &Plan, offering: &Offering, requirements: &Requirements) -> bool {
    let reservation = match (requirements.get(RESERVATION_ID), offering.reservation) {
        (None, _) => true,
        (Some(wanted), Some(id)) => wanted.has(&plan.reservations[id.index()].name),
        (Some(wanted), None) => matches!(wanted.operator(), NodeOperator::NotIn | NodeOperator::DoesNotExist),
    };
    requirements.allows(ZONE, &plan.zones[offering.zone.index()])
        && requirements.allows(CAPACITY_TYPE, offering.capacity_type.name())
        && reservation
}

/// What requirements ask of an offering: a bit a zone for each capacity type, which spares comparing names. Zones beyond the
/// 64th share bits with the first.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    plan: &'a Plan,
    requirements: &'a Requirements,
    zones: [u64; 3],
    /// Bits are exact: neither zones nor reservations share one.
    pub exact: bool,
}

impl<'a> Wanted<'a> {
    /// Bits of the zones and capacity types that are allowed.
    pub fn of(plan: &'a Plan, requirements: &'a Requirements) -> Wanted<'a> {
        let of_zone = requirements.get(ZONE);
        let allowed = plan.zones.iter().enumerate().filter(|(_, zone)| of_zone.is_none_or(|asked| asked.has(zone)));
        let zones = allowed.fold(0, |zones, (index, _)| zones | bit(index));
        let of_kind = requirements.get(CAPACITY_TYPE);
        let allowed = CapacityType::ALL.map(|kind| of_kind.is_none_or(|asked| asked.has(kind.name())));
        let zones = allowed.map(|allowed| if allowed { zones } else { 0 });
        let exact = plan.zones.len() <= u64::BITS as usize && requirements.get(RESERVATION_ID).is_none();
        Wanted { plan, requirements, zones, exact }
    }

    /// Whether any of some offerings, given as bits, can meet the requirements.
    pub fn meets(&self, offered: &[u64; 3]) -> bool {
        offered.iter().zip(self.zones).any(|(offered, wanted)| offered & wanted != 0)
    }

    /// Whether an offering meets the requirements.
    pub fn allows(&self, offering: &Offering) -> bool {
        let likely = self.zones[offering.capacity_type as usize] & bit(offering.zone.index()) != 0;
        likely && (self.exact || is_compatible(self.plan, offering, self.requirements))
    }
}

/// The bit of a zone.
pub const fn bit(zone: usize) -> u64 {
    1 << (zone % u64::BITS as usize)
}

/// Until when an offering refused at `now` is avoided: its time to live, and the first sweep after it.
pub fn avoided_until(plan: &Plan, now: Time) -> (Time, Time) {
    let flags = &plan.flags.karpenter;
    let expires = now + flags.unavailable_offering;
    let sweep = flags.unavailable_sweep.micros().max(1);
    let since = expires.since(plan.start).micros();
    (expires, plan.start + Span::from_micros(since.div_ceil(sweep) * sweep))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_counts_until_the_sweep_or_until_another_mark_after_its_expiry() {
        let second = Time::from_unix_seconds;
        let mut offerings = UnavailableOfferings::default();
        let a = ("t3.large", ZoneId(0), CapacityType::Spot);
        offerings.mark(second(0), a, (second(180), second(187)));
        assert!(offerings.contains(second(186), a.0, a.1, a.2) && !offerings.contains(second(187), a.0, a.1, a.2));
        assert!(!offerings.contains(second(1), a.0, a.1, CapacityType::OnDemand));
        offerings.mark(second(181), ("m5.large", ZoneId(1), CapacityType::Spot), (second(361), second(367)));
        assert!(!offerings.contains(second(182), a.0, a.1, a.2));
    }
}
