//! Spot pools: shocks that interrupt the instances of a type in a zone together.
//!
//! ```text
//!  noise and a rate ─► Poisson shocks per pool (type, zone) ─► each running spot instance: notice with a given chance
//! ```
//!
//! Source: arXiv 2604.16457: more than 92 % of co-interruptions in one type and zone fall within three minutes, so the pool
//! has the clock, not the instance. Off by default, and without noise. Scripted interruptions come from the script.

use crate::components::{Cx, Event as Any};
use crate::engine::{Purpose, Span};
use crate::plan::{CapacityType, InstanceTypeId, ZoneId};
use crate::world::{InstanceId, InstanceState};
use std::collections::BTreeMap;

const SHOCK: Purpose = Purpose::named("spot.shock");
const MEMBER: Purpose = Purpose::named("spot.member");

/// Its memory: shocks so far, by pool.
#[derive(Default)]
pub struct SpotMarket {
    shocks: BTreeMap<u32, u32>,
}

/// Why it may be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// A shock strikes the pool (type and zone position).
    Shock(u32),
}

impl SpotMarket {
    /// Schedules the first events.
    pub fn start(&mut self, cx: &mut Cx) {
        let zones = cx.plan.zones.len();
        for (index, entry) in cx.plan.instance_types.iter().enumerate() {
            let spot = entry.offerings.iter().filter(|offering| offering.capacity_type == CapacityType::Spot);
            for offering in spot {
                let pool = u32::try_from(index * zones + offering.zone.index()).unwrap_or(u32::MAX);
                self.next(cx, pool);
            }
        }
    }

    /// Observe, decide, apply, schedule.
    pub fn handle(&mut self, cx: &mut Cx, event: Event) {
        let Event::Shock(pool) = event;
        let zones = cx.plan.zones.len();
        let instance_type = InstanceTypeId::at(pool as usize / zones);
        let zone = ZoneId::at(pool as usize % zones);
        let struck = self.shocks.get(&pool).copied().unwrap_or(0);
        let members: Vec<InstanceId> = cx
            .world
            .instances
            .iter()
            .filter(|instance| {
                instance.state == InstanceState::Running
                    && instance.capacity_type == CapacityType::Spot
                    && instance.instance_type == instance_type
                    && instance.zone == zone
            })
            .map(|instance| instance.id)
            .collect();
        for instance in members {
            let claim = cx.world.instances[instance.index()].claim;
            let key = claim.map_or(u64::from(instance.0), |claim| cx.world.claim(claim).key());
            let key = key ^ (u64::from(struck) << 16);
            if cx.chance(MEMBER, key, cx.plan.flags.spot.shock_share) {
                cx.world.interrupt_instance(instance);
            }
        }
        self.next(cx, pool);
    }

    /// Exponential times between shocks.
    fn next(&mut self, cx: &mut Cx, pool: u32) {
        let rate = cx.plan.flags.spot.shocks_per_hour;
        let (Some(random), true) = (cx.random, rate > 0.0) else { return };
        let number = self.shocks.entry(pool).or_insert(0);
        *number += 1;
        let uniform = random.uniform(SHOCK, u64::from(pool) << 32 | u64::from(*number));
        let span = Span::from_seconds(-uniform.ln() * 3600.0 / rate);
        if cx.now + span <= cx.plan.until {
            cx.after(span, Any::SpotMarket(Event::Shock(pool)));
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::engine::{Purpose, Random};

    /// Oracle 31: twenty instances, each lost with chance 0.02: independent losses vary by 0.392, a common shock twenty
    /// times as much.
    #[test]
    fn a_common_shock_varies_as_many_times_more_as_there_are_instances() {
        let (random, runs, share) = (Random::new(31, 0), 40_000_u64, 0.02);
        let purpose = Purpose::named("spot.shock");
        let variance = |lost: Vec<f64>| {
            let mean = lost.iter().sum::<f64>() / lost.len() as f64;
            lost.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / lost.len() as f64
        };
        let common =
            variance((0..runs).map(|run| if random.uniform(purpose, run) < share { 20.0 } else { 0.0 }).collect());
        let apart = variance(
            (0..runs)
                .map(|run| (0..20).filter(|n| random.uniform(purpose, run * 20 + n) < share).count() as f64)
                .collect(),
        );
        assert!((common - 7.84).abs() < 0.9, "{common}");
        assert!((apart - 0.392).abs() < 0.02, "{apart}");
    }
}
