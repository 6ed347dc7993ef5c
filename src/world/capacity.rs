//! Which pools of EC2 sell nothing now.

use super::{Change, World};
use crate::plan::{CapacityPoolId, CapacityType, InstanceTypeId, Plan, ZoneId};
use std::sync::Arc;

/// Why a pool sells nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Want {
    /// A shock took its instances, and its capacity has not come back.
    Shock,
    /// A shortage; what runs goes on.
    Shortage,
}

/// What is the matter with a pool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PoolState {
    /// Its name in the plan.
    pub name: Arc<str>,
    shock: bool,
    shortage: bool,
}

impl PoolState {
    /// A pool that sells.
    pub fn named(name: &str) -> PoolState {
        PoolState { name: name.into(), shock: false, shortage: false }
    }

    /// It has capacity to sell.
    pub fn sells(&self) -> bool {
        !self.shock && !self.shortage
    }
}

impl World {
    /// A pool begins or ceases to want capacity for that reason.
    pub fn set_pool_want(&mut self, pool: CapacityPoolId, want: Want, holds: bool) {
        let state = &mut self.capacity_pools[pool.index()];
        let before = state.sells();
        match want {
            Want::Shock => state.shock = holds,
            Want::Shortage => state.shortage = holds,
        }
        let now = state.sells();
        if before != now {
            self.push(Change::CapacityChanged(pool, now));
        }
    }

    /// EC2 has capacity of that offering, as far as its pool goes.
    pub fn sells(&self, plan: &Plan, id: InstanceTypeId, zone: ZoneId, capacity_type: CapacityType) -> bool {
        let pool = plan.capacity_pools.of(id, zone, capacity_type);
        pool.is_none_or(|pool| self.capacity_pools[pool.index()].sells())
    }
}
