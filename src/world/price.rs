//! Spot prices that move: what EC2 asks now, and what Karpenter believes.
//!
//! In: steps of the price process, scripted changes, Karpenter's refreshes. Out: the price of an offering now and as it is known;
//! running spot instances pay the new price from then on. A spot price never exceeds the price on demand. Source: EC2 user guide,
//! "Spot Instance pricing history"; provider `pkg/providers/pricing`. Where nothing moves, the table is empty and the plan's prices
//! hold.

use super::{Change, InstanceState, PriceId, World};
use crate::plan::{CapacityType, FaultKind, InForce, InstanceTypeId, MicroDollars, Offering, Plan, ZoneId};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The spot price of a type in a zone.
#[derive(Clone, Debug, PartialEq)]
pub struct Price {
    /// Its id.
    pub id: PriceId,
    /// `m5.large/us-east-1a`.
    pub name: Arc<str>,
    /// One of the entries of the type.
    pub instance_type: InstanceTypeId,
    /// The zone.
    pub zone: ZoneId,
    /// At the start.
    base: MicroDollars,
    /// On demand.
    most: MicroDollars,
    /// The logarithm of what the process has made of it.
    pub walk: f64,
    /// Now.
    pub actual: MicroDollars,
    /// As Karpenter read it last.
    pub known: MicroDollars,
}

/// All of them.
#[derive(Clone, Debug, Default)]
pub struct Prices {
    prices: Vec<Price>,
    index: BTreeMap<(InstanceTypeId, ZoneId), PriceId>,
}

impl Prices {
    /// Those of the plan, if any can move.
    pub fn of(plan: &Plan) -> Prices {
        let mut all = Prices::default();
        let scripted = plan.faults.iter().any(|fault| matches!(fault.kind, FaultKind::SpotPrice { .. }));
        if plan.price_moves.is_none() && !scripted {
            return all;
        }
        let mut known: BTreeMap<(&str, ZoneId), PriceId> = BTreeMap::new();
        for (number, entry) in plan.instance_types.iter().enumerate() {
            let of = |kind: CapacityType| entry.offerings.iter().filter(move |one| one.capacity_type == kind);
            for offering in of(CapacityType::Spot) {
                let zone = offering.zone;
                let on_demand = of(CapacityType::OnDemand).find(|other| other.zone == zone).map(|other| other.price);
                let id = *known.entry((entry.name.as_str(), zone)).or_insert_with(|| {
                    let id = PriceId::at(all.prices.len());
                    let (base, most) = (offering.price, on_demand.unwrap_or(MicroDollars(i64::MAX)));
                    let instance_type = InstanceTypeId::at(number);
                    let name = format!("{}/{}", entry.name, plan.zones[zone.index()]).into();
                    let (actual, known) = (base, base);
                    all.prices.push(Price { id, name, instance_type, zone, base, most, walk: 0.0, actual, known });
                    id
                });
                all.index.insert((InstanceTypeId::at(number), zone), id);
            }
        }
        all
    }

    /// All prices that can move.
    pub fn all(&self) -> &[Price] {
        &self.prices
    }

    /// One of them.
    pub fn get(&self, id: PriceId) -> &Price {
        &self.prices[id.index()]
    }

    fn find(&self, id: InstanceTypeId, offering: &Offering) -> Option<&Price> {
        if self.prices.is_empty() || offering.capacity_type != CapacityType::Spot {
            return None;
        }
        self.index.get(&(id, offering.zone)).map(|&id| self.get(id))
    }

    /// What EC2 asks for an offering now.
    pub fn actual(&self, id: InstanceTypeId, offering: &Offering) -> MicroDollars {
        self.find(id, offering).map_or(offering.price, |price| price.actual)
    }

    /// What Karpenter believes that it costs.
    pub fn known(&self, id: InstanceTypeId, offering: &Offering) -> MicroDollars {
        self.find(id, offering).map_or(offering.price, |price| price.known)
    }
}

impl World {
    /// The process moves a price; its logarithm is this much above that of the start now.
    pub fn walk_price(&mut self, plan: &Plan, id: PriceId, walk: f64) {
        self.prices.prices[id.index()].walk = walk;
        self.reprice(plan, id);
    }

    /// A price is what the process and scripted changes make of it; who runs pays it from now on.
    pub fn reprice(&mut self, plan: &Plan, id: PriceId) {
        let price = self.prices.get(id).clone();
        let name = |id: InstanceTypeId| &plan.instance_type(id).name;
        let scripted = InForce::new(plan, &self.faults).price_factor(|of, zone| {
            zone.is_none_or(|zone| zone == price.zone) && of.is_none_or(|of| name(of) == name(price.instance_type))
        });
        let asked = (price.base.0 as f64 * price.walk.exp() * scripted).round() as i64;
        let actual = MicroDollars(asked.clamp(1, price.most.0.max(1)));
        if actual == price.actual {
            return;
        }
        self.prices.prices[id.index()].actual = actual;
        let now = self.now;
        for instance in &mut self.instances {
            let pays = instance.state == InstanceState::Running
                && instance.capacity_type == CapacityType::Spot
                && instance.zone == price.zone
                && name(instance.instance_type) == name(price.instance_type);
            if pays && instance.price != actual {
                self.bill.end(instance.price, now);
                instance.paid_before.push((now, instance.price));
                instance.price = actual;
                self.bill.begin(actual, now);
            }
        }
        self.push(Change::SpotPrice(id, actual));
    }

    /// Karpenter reads the prices of now.
    pub fn learn_prices(&mut self) {
        self.prices.prices.iter_mut().for_each(|price| price.known = price.actual);
    }
}
