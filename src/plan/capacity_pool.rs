//! Pools of EC2 capacity: what can be bought of a type (or a family) in a zone, and how often that fails.
//!
//! A run without a spot market has none: then EC2 always sells, unless a scripted fault says otherwise.

use super::ids::{CapacityPoolId, InstanceTypeId, ZoneId};
use super::node_pool::CapacityType;
use super::timing::Distribution;
use crate::engine::Span;
use std::collections::BTreeMap;

/// One pool.
#[derive(Clone, Debug, PartialEq)]
pub struct CapacityPool {
    /// `spot t3.large us-east-1a`; also the key of its draws, so that other pools leave them as they are.
    pub name: String,
    /// How its instances are paid.
    pub capacity_type: CapacityType,
    /// Its zone.
    pub zone: ZoneId,
    /// Its types: entries of one type, or of a family.
    pub types: Vec<InstanceTypeId>,
    /// How long it keeps its capacity from when it has come (back). At the end a shock takes its instances.
    pub lifetime: Distribution,
    /// The chance of each instance to be taken by a shock.
    pub share: f64,
    /// From a shock to the notice of each instance that it takes.
    pub spread: Distribution,
    /// How long it sells nothing after a shock, and in a shortage.
    pub outage: Distribution,
    /// From the end of one shortage to the next. In a shortage it sells nothing; what runs goes on.
    pub plenty: Distribution,
    /// How long one instance runs until it is interrupted alone.
    pub alone: Distribution,
    /// The chance that a rebalance recommendation comes before an interruption.
    pub warned: f64,
    /// So long before.
    pub lead: Distribution,
    /// How long one instance runs until it gets a recommendation that nothing follows.
    pub false_alarm: Distribution,
}

impl CapacityPool {
    /// The key of its draws: FNV-1a of its name.
    pub fn key(&self) -> u64 {
        self.name
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
    }
}

/// How the spot price of a type in a zone moves.
#[derive(Clone, Debug, PartialEq)]
pub struct PriceMoves {
    /// From one change to the next.
    pub every: Distribution,
    /// Standard deviation of a change, of the logarithm.
    pub step: f64,
    /// With each change this part of the distance to the price of the start is made up.
    pub pull: f64,
}

/// All pools, and which of them an offering draws on.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CapacityPools {
    pools: Vec<CapacityPool>,
    index: BTreeMap<(InstanceTypeId, ZoneId, CapacityType), CapacityPoolId>,
}

impl CapacityPools {
    /// These pools.
    pub fn new(pools: Vec<CapacityPool>) -> CapacityPools {
        let entries = pools.iter().enumerate().flat_map(|(index, pool)| {
            pool.types.iter().map(move |&id| ((id, pool.zone, pool.capacity_type), CapacityPoolId::at(index)))
        });
        CapacityPools { index: entries.collect(), pools }
    }

    /// The pools in their order.
    pub fn all(&self) -> &[CapacityPool] {
        &self.pools
    }

    /// One pool.
    pub fn get(&self, id: CapacityPoolId) -> &CapacityPool {
        &self.pools[id.index()]
    }

    /// The pool of an offering; `None`: it never fails.
    pub fn of(&self, id: InstanceTypeId, zone: ZoneId, capacity_type: CapacityType) -> Option<CapacityPoolId> {
        self.index.get(&(id, zone, capacity_type)).copied()
    }
}

/// Which of all runs are made: those in which a pool that holds instances at the start is shocked for the first time within
/// a window, or the others. What such a run stands for is [`World::likelihood`](crate::world::World).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShockCondition {
    /// Start of the window, from the start of the run.
    pub from: Span,
    /// Its end.
    pub to: Span,
    /// Some pool is shocked in it; otherwise none is.
    pub strikes: bool,
}
