//! What a plan's instance types and pools are to Karpenter: requirements, usable types, offerings as bits.
//!
//! In: the plan, once; the offerings that are sold out at an instant. Out: requirement sets made once instead of for each
//! plan, and questions about offerings answered without comparing names. Source: core `pkg/cloudprovider/types.go`
//! (`InstanceType.Requirements`, `Offerings`), `provisioning/scheduling/nodeclaimtemplate.go`.

use crate::plan::{InstanceType, InstanceTypeId, NodePoolId, NodePoolSpec, Offering, Plan};
use crate::rules::requirements::{
    CAPACITY_TYPE, INSTANCE_TYPE, NODE_CLASS, NODE_POOL, Requirement, Requirements, ZONE,
};
use crate::world::World;
use crate::world::offering::{Wanted, bit, is_available};
use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

thread_local! {
    /// The catalogue that was made last.
    static LAST: RefCell<Option<Arc<Catalog>>> = const { RefCell::new(None) };
}

/// Instance types and pools of a plan, looked at once.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    /// What it was made from, beside the specs of its pools.
    types: Vec<Arc<InstanceType>>,
    zones: Vec<String>,
    pool_types: Vec<Vec<InstanceTypeId>>,
    requirements: Vec<Requirements>,
    offered: Vec<Offered>,
    pools: Vec<PoolFacts>,
}

/// What follows from a pool's spec alone.
#[derive(Clone, Debug)]
pub struct PoolFacts {
    spec: Arc<NodePoolSpec>,
    /// Requirements of its nodes, its labels included.
    pub requirements: Requirements,
    /// Types that meet them, in the provider's order, whether or not they can be had now.
    pub types: Vec<InstanceTypeId>,
}

impl Catalog {
    /// The catalogue of a plan.
    pub fn of(plan: &Plan) -> Catalog {
        let mut catalog = Catalog {
            types: plan.instance_types.clone(),
            zones: plan.zones.clone(),
            pool_types: plan.pool_types.clone(),
            requirements: plan.instance_types.iter().map(|entry| type_requirements(plan, entry)).collect(),
            offered: plan.instance_types.iter().map(|entry| Offered::of(&entry.offerings)).collect(),
            pools: Vec::new(),
        };
        let pools = plan.node_pools.iter().enumerate();
        catalog.pools = pools.map(|(index, spec)| catalog.facts(plan, NodePoolId::at(index), spec)).collect();
        catalog
    }

    /// The same, which replications of one plan have in common.
    pub fn shared(plan: &Plan) -> Arc<Catalog> {
        LAST.with_borrow_mut(|last| match last {
            Some(catalog) if catalog.is_of(plan) => catalog.clone(),
            _ => last.insert(Arc::new(Catalog::of(plan))).clone(),
        })
    }

    /// It would be made of the same again: who edits a type or a pool makes a new one.
    fn is_of(&self, plan: &Plan) -> bool {
        let same_types = self.types.iter().zip(&plan.instance_types).all(|(one, two)| Arc::ptr_eq(one, two));
        let same_pools = self.pools.iter().zip(&plan.node_pools).all(|(facts, spec)| Arc::ptr_eq(&facts.spec, spec));
        self.types.len() == plan.instance_types.len()
            && self.pools.len() == plan.node_pools.len()
            && same_types
            && same_pools
            && self.zones == plan.zones
            && self.pool_types == plan.pool_types
    }

    /// Requirements of a type: its labels, its name, the zones and capacity types of all its offerings.
    pub fn requirements(&self, instance_type: InstanceTypeId) -> &Requirements {
        &self.requirements[instance_type.index()]
    }

    /// What follows from the present spec of a pool.
    pub fn pool(&self, plan: &Plan, world: &World, pool: NodePoolId) -> Cow<'_, PoolFacts> {
        let spec = &world.node_pools[pool.index()];
        match self.pools.get(pool.index()).filter(|facts| Arc::ptr_eq(&facts.spec, spec)) {
            Some(facts) => Cow::Borrowed(facts),
            None => Cow::Owned(self.facts(plan, pool, spec)),
        }
    }

    fn facts(&self, plan: &Plan, pool: NodePoolId, spec: &Arc<NodePoolSpec>) -> PoolFacts {
        let mut requirements = Requirements::of(&spec.requirements);
        requirements.add_all(&Requirements::of_labels(&spec.labels));
        requirements.add(NODE_POOL, Requirement::any_of([spec.name.as_str()]));
        requirements.add(NODE_CLASS, Requirement::any_of([spec.node_class_name.as_str()]));
        let all = plan.pool_types.get(pool.index()).map_or(&[][..], Vec::as_slice);
        let usable = |id: &InstanceTypeId| self.requirements(*id).intersects(&requirements);
        let types = all.iter().copied().filter(usable).collect();
        PoolFacts { spec: spec.clone(), requirements, types }
    }
}

fn type_requirements(plan: &Plan, entry: &InstanceType) -> Requirements {
    let mut requirements = Requirements::of_labels(&entry.labels);
    requirements.add_all(&Requirements::of(&entry.requirements));
    requirements.replace(INSTANCE_TYPE, Requirement::any_of([entry.name.as_str()]));
    let zones = entry.offerings.iter().map(|offering| plan.zones[offering.zone.index()].as_str());
    requirements.replace(ZONE, Requirement::any_of(zones));
    let kinds = entry.offerings.iter().map(|offering| offering.capacity_type.name());
    requirements.replace(CAPACITY_TYPE, Requirement::any_of(kinds));
    requirements
}

/// Offerings of a type: a bit a zone, for each capacity type. Zones beyond the 64th share bits with the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Offered {
    zones: [u64; 3],
}

impl Offered {
    fn of(offerings: &[Offering]) -> Offered {
        let mut offered = Offered::default();
        for offering in offerings.iter().filter(|offering| offering.available) {
            offered.zones[offering.capacity_type as usize] |= bit(offering.zone.index());
        }
        offered
    }
}

/// Offerings that can be had at an instant.
pub struct Market<'a> {
    plan: &'a Plan,
    world: &'a World,
    catalog: &'a Catalog,
    /// Types with something sold out.
    changed: BTreeMap<InstanceTypeId, Offered>,
}

impl<'a> Market<'a> {
    /// The market of this instant.
    pub fn of(plan: &'a Plan, world: &'a World, catalog: &'a Catalog) -> Market<'a> {
        let mut changed = BTreeMap::new();
        if world.unavailable_offerings.is_any_avoided(world.now) {
            for (index, entry) in plan.instance_types.iter().enumerate() {
                let left = entry.offerings.iter().filter(|offering| is_available(world, entry, offering));
                let offered = Offered::of(&left.copied().collect::<Vec<Offering>>());
                if offered != catalog.offered[index] {
                    changed.insert(InstanceTypeId::at(index), offered);
                }
            }
        }
        Market { plan, world, catalog, changed }
    }

    /// Nothing that is on offer as a rule is sold out.
    pub fn is_whole(&self) -> bool {
        self.changed.is_empty()
    }

    /// Whether a type has an offering that can be had and meets the requirements.
    pub fn is_offered(&self, id: InstanceTypeId, wanted: &Wanted) -> bool {
        let offered = self.changed.get(&id).unwrap_or(&self.catalog.offered[id.index()]);
        let likely = wanted.meets(&offered.zones);
        likely && (wanted.exact || self.is_truly_offered(id, wanted))
    }

    fn is_truly_offered(&self, id: InstanceTypeId, wanted: &Wanted) -> bool {
        let entry = self.plan.instance_type(id);
        entry.offerings.iter().any(|offering| wanted.allows(offering) && is_available(self.world, entry, offering))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::components::karpenter::fixture::{edit_pool, only_type, small_plan};

    #[test]
    fn replications_of_a_plan_share_a_catalogue_until_a_type_a_zone_or_a_pool_is_another() {
        let mut plan = small_plan();
        let first = Catalog::shared(&plan);
        assert!(Arc::ptr_eq(&first, &Catalog::shared(&plan.clone())));
        let edits: [fn(&mut Plan); 4] = [
            |plan| edit_pool(plan, |pool| pool.weight += 1),
            |plan| only_type(plan, "other", 1_000, 10),
            |plan| plan.zones[0] = "c".to_string(),
            |plan| plan.pool_types[0].clear(),
        ];
        for edit in edits {
            let before = Catalog::shared(&plan);
            edit(&mut plan);
            assert!(!Arc::ptr_eq(&before, &Catalog::shared(&plan)));
        }
    }
}
