//! A machine whose node has come is, to pods that wait for it, mostly what it was before: the labels and taints of its claim, the
//! room of its type less what daemons take.
//!
//! In: the machines of a kept plan whose nodes have come since, and the pods of the plan. Out: whether a pass would place these
//! pods as it did before. Pods that ask for more than room, taints and labels (ports, volumes, hosts) are planned anew.

use super::{Kept, State};
use crate::components::karpenter::cluster::{self, StateNode};
use crate::components::karpenter::provisioner::memo::Memo;
use crate::components::karpenter::provisioner::{existing, packing, preferences};
use crate::plan::{Plan, PodTemplate};
use crate::rules::requirements::HOSTNAME;
use crate::world::{ClaimId, NodeClaim, PodId, World};
use std::sync::Arc;

/// Pods of a template ask nodes for room, tolerated taints and labels, and for nothing else.
fn is_plain(template: &PodTemplate) -> bool {
    let affinity = &template.affinity;
    let terms = affinity.node_required.iter().flatten().chain(affinity.node_preferred.iter().map(|(_, term)| term));
    let mut expressions = terms.flat_map(|term| &term.expressions);
    template.volume_claims.is_empty()
        && preferences::host_ports(template).is_empty()
        && !template.node_selector.contains_key(HOSTNAME)
        && !expressions.any(|expression| expression.key == HOSTNAME)
}

/// The place of a machine that is not initialised among those that are tried, before and after its claim is registered.
fn place<'w>(plan: &Plan, world: &'w World, claim: &'w NodeClaim, registered: bool) -> (u64, &'w Arc<str>) {
    let node = claim.node.filter(|_| registered);
    (plan.known_delays.place_of_name(claim.id.index()), node.map_or(&claim.name, |node| &world.node(node).name))
}

impl Kept {
    /// The machines of these claims, whose nodes have come since, are to the pods of the plan what they were.
    pub(super) fn are_as_before(
        &self,
        (plan, world): (&Plan, &World),
        memo: &Memo,
        pods: &[PodId],
        come: &[ClaimId],
    ) -> bool {
        let concerned = packing::concerned(world, pods);
        if !world.volumes.attach_limits.is_empty() || !concerned.iter().all(|template| is_plain(template)) {
            return false;
        }
        let keys = memo.keys(&world.volumes, &concerned);
        let room = |state: &StateNode| existing::room(world, state, &self.pools.daemons);
        let is_as_before = |&id: &ClaimId| {
            let claim = world.claim(id);
            let Some([before, now]) = cluster::before_and_after_joining(plan, world, claim) else { return false };
            let mut asked = keys.iter().filter(|key| ***key != *HOSTNAME);
            !now.initialized
                && !now.leaving
                && before.taints == now.taints
                && asked.all(|key| before.labels.get(key) == now.labels.get(key))
                && room(&before) == room(&now)
        };
        come.iter().all(is_as_before) && self.are_tried_as_before(plan, world, come)
    }

    /// Machines that are not initialised are tried by name, and their names change with their nodes.
    fn are_tried_as_before(&self, plan: &Plan, world: &World, come: &[ClaimId]) -> bool {
        let mut places = Vec::new();
        for machine in &self.machines {
            let Some(claim) = machine.claim.map(|id| world.claim(id)).filter(|claim| claim.initialized.is_none()) else {
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
