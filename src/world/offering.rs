//! Offerings that EC2 refused a short while ago: Karpenter's memory of them, shared by its controllers.
//!
//! Source: karpenter-provider-aws `pkg/cache/unavailableofferings.go`: an entry lives for its time to live, but the list of
//! offerings is only made anew when an entry is added or swept, so it counts until the next of either.

use crate::engine::Time;
use crate::plan::{CapacityType, ZoneId};

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
