//! A pass as `explain` tells it: why each pod goes where it goes, and why other instance types are no option. For that only,
//! and never on the way of an ordinary run.

use super::packing::{Asked, NewNode, Refusal, Results, Unmet};
use crate::components::karpenter::cluster::{Catalog, offerings};
use crate::plan::{InstanceTypeId, MicroDollars, NodePoolId, Plan};
use crate::record::decision::{Offer, Out, Placement, Planned, Unplaced};
use crate::rules::requirements::Requirements;
use crate::rules::resources::Resources;
use crate::world::offering::is_compatible;
use crate::world::{ClaimId, World};
use std::collections::BTreeMap;

/// Offers that are told.
const CHEAPEST: usize = 3;
/// Types that a claim may list at most: where it lists as many, dearer ones were cut.
const MAX_INSTANCE_TYPES: usize = 600;

/// What tells have at hand.
type Scene<'a> = (&'a Plan, &'a World, &'a Catalog);

/// Everything a pass decided. `created`: the claims that were created, by position in the plan.
pub fn placements(scene: Scene, results: &Results, created: &[Option<ClaimId>]) -> Vec<Placement> {
    let mut all: Vec<Placement> = Vec::new();
    for placed in &results.existing {
        all.push(Placement::Existing {
            name: placed.name.clone(),
            node: placed.node,
            claim: placed.claim,
            initialized: placed.initialized,
            pods: placed.pods.clone(),
        });
    }
    for (claim, &created) in results.claims.iter().zip(created) {
        let asked = claim.pods.first().and_then(|pod| results.asked.get(pod));
        all.push(Placement::New(planned(scene, claim, created, asked)));
    }
    for (pod, refusals) in &results.errors {
        let asked = results.asked.get(pod);
        let pools: Vec<(NodePoolId, &'static str)> =
            asked.map_or_else(Vec::new, |asked| asked.pools.iter().map(|&(pool, why)| (pool, words(why))).collect());
        let why = pools.is_empty().then(|| first_refusal(refusals).to_string());
        all.push(Placement::Nowhere(Unplaced { pod: *pod, pools, why }));
    }
    for (pod, why) in &results.ignored {
        all.push(Placement::Nowhere(Unplaced { pod: *pod, pools: Vec::new(), why: Some(why.clone()) }));
    }
    all
}

fn planned(scene: Scene, claim: &NewNode, created: Option<ClaimId>, asked: Option<&Asked>) -> Planned {
    let (plan, world, _) = scene;
    let mut nodes: BTreeMap<&'static str, usize> = BTreeMap::new();
    for &refusal in asked.iter().flat_map(|asked| &asked.nodes) {
        *nodes.entry(words(refusal)).or_insert(0) += 1;
    }
    let pools = asked.map_or(&[][..], |asked| &asked.pools);
    Planned {
        claim: created,
        pool: claim.pool,
        pods: claim.pods.clone(),
        nodes: nodes.into_iter().collect(),
        passed_over: pools.iter().map(|&(pool, why)| (pool, words(why))).collect(),
        options: claim.types.len(),
        allowed: plan.pool_types.get(claim.pool.index()).map_or(0, Vec::len),
        cheapest: cheapest(plan, world, &claim.types, &claim.requirements, CHEAPEST),
        out: outs(scene, claim),
    }
}

/// The cheapest offer of each of the types that come first in order of price.
pub fn cheapest(
    plan: &Plan,
    world: &World,
    types: &[InstanceTypeId],
    requirements: &Requirements,
    count: usize,
) -> Vec<Offer> {
    let offer = |&id: &InstanceTypeId| {
        let cheapest = offerings(plan, world, id, requirements).min_by_key(|one| world.prices.known(id, one))?;
        let (zone, capacity_type, price) = (cheapest.zone, cheapest.capacity_type, world.prices.known(id, cheapest));
        Some(Offer { instance_type: id, zone, capacity_type, price })
    };
    let mut offers: Vec<Offer> = types.iter().filter_map(offer).collect();
    offers.sort_by_key(|offer| offer.price);
    offers.truncate(count);
    offers
}

/// Types of the pool that are no option for a claim, by why, the most first.
fn outs(scene: Scene, claim: &NewNode) -> Vec<Out> {
    let plan = scene.0;
    let price = |id: InstanceTypeId| plan.instance_type(id).offerings.iter().map(|offering| offering.price).min();
    let mut by: BTreeMap<String, (usize, InstanceTypeId, Option<MicroDollars>)> = BTreeMap::new();
    let all = plan.pool_types.get(claim.pool.index()).map_or(&[][..], Vec::as_slice);
    for &id in all.iter().filter(|id| !claim.types.contains(id)) {
        let entry = by.entry(why_out(scene, claim, id)).or_insert((0, id, price(id)));
        entry.0 += 1;
        let cheaper = price(id).is_some_and(|price| entry.2.is_none_or(|other| price < other));
        if cheaper {
            (entry.1, entry.2) = (id, price(id));
        }
    }
    let mut outs: Vec<Out> = by.into_iter().map(|(why, (count, example, _))| Out { why, count, example }).collect();
    outs.sort_by_key(|out| std::cmp::Reverse(out.count));
    outs
}

/// The first thing that keeps a type out: the pool, the pods, what can be had, size, limits.
fn why_out((plan, world, catalog): Scene, claim: &NewNode, id: InstanceTypeId) -> String {
    let of_type = catalog.requirements(id);
    let clash = |asked: &Requirements| {
        let one = |key: &str| {
            let (asked, own) = (asked.get(key), of_type.get(key));
            asked.zip(own).is_some_and(|(asked, own)| !asked.overlaps(own))
        };
        asked.iter().map(|(key, _)| key.to_string()).find(|key| one(key))
    };
    if let Some(key) = clash(&catalog.pool(plan, world, claim.pool).requirements) {
        return format!("the NodePool's requirement on {key}");
    }
    if let Some(key) = clash(&claim.requirements) {
        return format!("what the pods ask of {key}");
    }
    if offerings(plan, world, id, &claim.requirements).next().is_none() {
        let known = plan.instance_type(id).offerings.iter();
        let sold_out = known.clone().any(|offering| is_compatible(plan, offering, &claim.requirements));
        let why =
            if sold_out { "no capacity, as launches found" } else { "not offered in these zones and capacity types" };
        return why.to_string();
    }
    if let Some(short) = short_of(&claim.requests, &plan.instance_type(id).allocatable) {
        return format!("too little {short}");
    }
    if claim.types.len() >= MAX_INSTANCE_TYPES {
        return format!("dearer than the {MAX_INSTANCE_TYPES} that a NodeClaim may list");
    }
    let limited = world.node_pools[claim.pool.index()].limits.is_some();
    if limited { "the NodePool's limits" } else { "a DaemonSet that would run there, or a host port" }.to_string()
}

/// The first resource of which there is too little.
fn short_of(requests: &Resources, available: &Resources) -> Option<String> {
    let pairs = [
        ("cpu", requests.cpu.0, available.cpu.0),
        ("memory", requests.memory.0, available.memory.0),
        ("room for pods", requests.pods, available.pods),
        ("ephemeral storage", requests.ephemeral_storage.0, available.ephemeral_storage.0),
    ];
    let plain = pairs.into_iter().find(|(_, wanted, there)| wanted > there).map(|(name, ..)| name.to_string());
    let mut extended = requests.extended.iter();
    plain.or_else(|| extended.find(|(name, wanted)| **wanted > available.extended(name)).map(|(name, _)| name.clone()))
}

/// The first of the refusals, in words.
pub fn first_refusal(refusals: &[Refusal]) -> &'static str {
    refusals.first().copied().map_or("no NodePool has a usable instance type", words)
}

/// A refusal in words, with what no type met.
const fn words(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::Types(Unmet { requirements: true, .. }) => "no instance type meets its requirements",
        Refusal::Types(Unmet { offering: true, .. }) => "no instance type can be had as it asks",
        Refusal::Types(Unmet { resources: true, .. }) => "no instance type is large enough",
        Refusal::Types(_) => "no instance type meets all it asks for at once",
        other => other.name(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::components::karpenter::fixture::{add_template, edit_pool, pods, small_plan, template};
    use crate::components::karpenter::provisioner::packing::Options;
    use crate::components::karpenter::provisioner::plan_pass;
    use crate::plan::TemplateId;
    use crate::rules::requirement::{NodeOperator, NodeRequirement};

    /// What a pass over pods of one template tells.
    fn told(plan: &Plan, template: TemplateId, count: u32) -> Vec<Placement> {
        let mut world = World::new(plan);
        pods(&mut world, template, count);
        let catalog = Catalog::of(plan);
        let options = Options { tells: true, ..Options::default() };
        let (_, results) = plan_pass((plan, &world, &catalog), options, &mut None);
        placements((plan, &world, &catalog), &results, &[None])
    }

    #[test]
    fn each_type_that_is_no_option_has_the_first_reason_that_keeps_it_out() {
        let mut plan = small_plan();
        let family = NodeRequirement::new("karpenter.k8s.aws/instance-category", NodeOperator::In, &["t"]);
        edit_pool(&mut plan, |pool| pool.requirements.push(family));
        let large = add_template(&mut plan, template(3_000, 64));
        let told = told(&plan, large, 1);
        let [Placement::New(planned)] = told.as_slice() else { panic!("{told:?}") };
        let all = plan.pool_types[0].len();
        assert_eq!(planned.options + planned.out.iter().map(|out| out.count).sum::<usize>(), all);
        let counted = |why: &str| planned.out.iter().find(|out| out.why == why).map_or(0, |out| out.count);
        let small = |id: &InstanceTypeId| plan.instance_type(*id).allocatable.cpu.0 < 3_000;
        assert_eq!(counted("too little cpu"), plan.pool_types[0].iter().filter(|id| small(id)).count());
        assert!(planned.cheapest.is_sorted_by_key(|offer| offer.price) && !planned.cheapest.is_empty());
    }

    #[test]
    fn a_pod_that_nothing_takes_hears_of_every_pool() {
        let mut plan = small_plan();
        let huge = add_template(&mut plan, template(900_000, 64));
        let told = told(&plan, huge, 1);
        let [Placement::Nowhere(unplaced)] = told.as_slice() else { panic!("{told:?}") };
        assert_eq!(unplaced.pools, [(NodePoolId(0), "no instance type is large enough")]);
    }
}
