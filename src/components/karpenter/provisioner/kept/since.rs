//! What has happened to the machines of a kept plan since, as far as that leaves the plan as it is.
//!
//! In: machines whose nodes have come, or that were launched, and the pods of the plan. Out: whether a pass would place the pods as
//! before. A machine whose node has come is to pods that wait for it mostly what it was: the labels and taints of its claim, the
//! room of its type less what daemons take. One that was launched stands at the end of those that are tried, and what no other took
//! when it was bought, no other takes now. Pods that ask for more than room, taints and labels (ports, volumes, hosts) are
//! planned anew.

use super::{Kept, State};
use crate::components::karpenter::cluster::{self, StateNode};
use crate::components::karpenter::provisioner::memo::Memo;
use crate::components::karpenter::provisioner::packing::{self, NewNode, Placed, Results, Work};
use crate::components::karpenter::provisioner::topology::Topology;
use crate::components::karpenter::provisioner::{existing, preferences};
use crate::plan::{Plan, PodTemplate};
use crate::rules::requirements::HOSTNAME;
use crate::world::{ClaimId, NodeClaim, PodId, World};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What a look at a kept plan reads.
type Scene<'a> = (&'a Plan, &'a World, &'a Memo);

/// One machine is bought for all pods that none takes, and those that take the others are tried before any that is launched later.
pub(super) fn buys_for_the_rest(results: &Results) -> bool {
    let ready = |placed: &Placed| placed.initialized;
    results.claims.len() == 1
        && results.errors.is_empty()
        && results.relaxed.is_empty()
        && results.existing.iter().all(ready)
}

/// Templates of the pods, if none asks for more than nodes say of themselves whatever they are called.
fn plain_templates(world: &World, pods: &[PodId]) -> Option<Vec<Arc<PodTemplate>>> {
    let concerned = packing::concerned(world, pods);
    let plain = world.volumes.attach_limits.is_empty() && concerned.iter().all(|template| is_plain(template));
    plain.then_some(concerned)
}

/// Pods of a template ask nodes for room, tolerated taints and labels, and for nothing else.
fn is_plain(template: &PodTemplate) -> bool {
    preferences::host_ports(template).is_empty() && !preferences::may_name_hosts(template)
}

/// The place of a machine that is not initialised among those that are tried, before and after its claim is registered.
fn place<'w>(plan: &Plan, world: &'w World, claim: &'w NodeClaim, registered: bool) -> (u64, &'w Arc<str>) {
    let node = claim.node.filter(|_| registered);
    (plan.known_delays.place_of_name(claim.id.index()), node.map_or(&claim.name, |node| &world.node(node).name))
}

impl Kept {
    /// The machines of these claims, whose nodes have come since, are to the pods of the plan what they were.
    pub(super) fn are_as_before(&self, (plan, world, memo): Scene, pods: &[PodId], come: &[ClaimId]) -> bool {
        // Why others are refused may have to do with the limits of pools, and those count what nodes have.
        let Some(concerned) = plain_templates(world, pods).filter(|_| self.results.errors.is_empty()) else {
            return false;
        };
        let keys = memo.keys(&world.volumes, &concerned);
        let room = |state: &StateNode| existing::room(world, state, &self.pools.daemons);
        let is_as_before = |&id: &ClaimId| {
            let claim = world.claim(id);
            let states = (cluster::before_joining(plan, world, claim), cluster::after_joining(plan, world, claim));
            let (Some(before), Some(now)) = states else { return false };
            let mut asked = keys.iter().filter(|key| ***key != *HOSTNAME);
            !now.initialized
                && !now.leaving
                && before.taints == now.taints
                && asked.all(|key| before.labels.get(key) == now.labels.get(key))
                && room(&before) == room(&now)
        };
        come.iter().all(is_as_before) && self.are_tried_as_before(plan, world, come)
    }

    /// The plan that follows the one that bought a machine, if the one that was launched since takes all of its pods.
    pub(super) fn with_launched(
        &self,
        (plan, world, memo): Scene,
        bought: &NewNode,
        pods: &[PodId],
        id: ClaimId,
    ) -> Option<Results> {
        let concerned = plain_templates(world, pods)?;
        let claim = world.claim(id);
        let state = cluster::before_joining(plan, world, claim).filter(|state| !state.leaving)?;
        let topology = Topology::new(world, &plan.namespaces, BTreeMap::new(), &[], &[]);
        let mut machine = existing::node(world, &state, &self.pools.daemons, (memo, &concerned));
        for &pod in &bought.pods {
            let origin = world.pod(pod).template;
            let wishes = memo.wishes((plan, &world.volumes), origin, world.template(origin));
            let work = Work { id: pod, origin, wishes };
            let requirements = machine.takes(&topology, &work).ok()?;
            machine.add(&work, requirements);
        }
        let placed =
            Placed { node: None, claim: Some(id), name: claim.name.clone(), initialized: false, pods: machine.pods };
        let existing = self.results.existing.iter().cloned().chain([placed]).collect();
        Some(Results { existing, ..Results::default() })
    }

    /// Machines that are not initialised are tried by name, and their names change with their nodes.
    fn are_tried_as_before(&self, plan: &Plan, world: &World, come: &[ClaimId]) -> bool {
        let mut places = Vec::new();
        for machine in &self.machines {
            let Some(claim) = machine.claim.map(|id| world.claim(id)).filter(|claim| claim.initialized.is_none())
            else {
                continue;
            };
            let was_registered = match &machine.state {
                State::Coming(coming) => coming.registered,
                State::Launched => false,
                State::Leaving | State::Version(_) => continue,
            };
            let is_registered = was_registered || come.binary_search(&claim.id).is_ok() && claim.registered.is_some();
            places.push((place(plan, world, claim, was_registered), place(plan, world, claim, is_registered)));
        }
        places.sort_unstable();
        places.is_sorted_by(|one, two| one.1 <= two.1)
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::packing::Options;
    use super::super::super::plan_pass;
    use super::*;
    use crate::components::karpenter::cluster::Catalog;
    use crate::components::karpenter::fixture::{pods, small_plan};
    use crate::plan::{CapacityType, TemplateId};
    use crate::rules::resources::Resources;
    use crate::rules::taint::{Taint, TaintEffect};
    use crate::world::NewNode as Joined;

    #[test]
    fn pods_wait_for_the_machine_that_was_bought_for_them_until_its_node_is_another_than_expected() {
        let plan = small_plan();
        let catalog = Catalog::of(&plan);
        let mut world = World::new(&plan);
        let waiting = pods(&mut world, TemplateId(0), 2);
        let (options, mut kept) = (Options::default(), None);
        let (_, plan_of_purchase) = plan_pass((&plan, &world, &catalog), options.clone(), &mut kept);
        let bought = plan_of_purchase.claims[0].claim(&plan, &world);
        let (id, labels) = (bought.instance_types[0], bought.labels.clone());
        let mut kept = kept.expect("it buys one machine for all");
        let mut waits_for = |world: &World| {
            let plan = kept.plan_of((&plan, world, &catalog), (&options.memo, false), &waiting)?;
            plan.existing.iter().map(|placed| placed.claim).next().flatten()
        };
        assert_eq!(waits_for(&world), None, "a machine is bought");
        let claim = world.create_claim(bought);
        let entry = plan.instance_type(id);
        let mut offerings = entry.offerings.iter();
        let offering = offerings.find(|one| one.capacity_type == CapacityType::OnDemand).expect("the pool wants it");
        let instance = world.launch_instance(Some(claim), id, offering.zone, offering.capacity_type, offering.price);
        world.launch_claim(claim, instance, labels);
        assert_eq!(waits_for(&world), Some(claim));
        let joined = |allocatable: &Resources, taints: Vec<Taint>| {
            let mut world = world.clone();
            let labels = world.claim(claim).labels.clone();
            world.create_node(Joined {
                name: "ip-10-0-0-1".into(),
                labels,
                taints,
                allocatable: allocatable.clone(),
                capacity: entry.capacity.clone(),
                claim: Some(claim),
                instance: Some(instance),
                zone: Some(offering.zone),
            });
            world.register_claim(claim);
            world
        };
        let mut less = entry.allocatable.clone();
        less.pods -= 1;
        let taint = Taint::new("dedicated", TaintEffect::NoSchedule);
        assert_eq!(waits_for(&joined(&less, vec![])), None, "it has less room");
        assert_eq!(waits_for(&joined(&entry.allocatable, vec![taint])), None, "it keeps pods away");
        assert_eq!(waits_for(&joined(&entry.allocatable, vec![])), Some(claim));
    }
}
