//! What no simulation can find: known from amounts alone, before anything is simulated.
//!
//! In: candidates that are spot instances, where spot is not replaced by spot (`SpotToSpotConsolidation` off, the default).
//! Then all their pods must fit on nodes that exist; where those have too little free, that ends the question. Out: whether
//! they stay for sure. Only asked where nobody reads why. Source: core `disruption/consolidation.go`
//! (`computeConsolidation`).

use super::candidates::Candidate;
use super::simulation::Scene;
use super::start::Counted;
use crate::components::karpenter::cluster::{Room, is_currently_reschedulable, rooms};
use crate::components::karpenter::provisioner::existing::is_settled;
use crate::components::karpenter::provisioner::{claims, pools, topology};
use crate::plan::{CapacityType, NodePoolId, PodTemplate, TemplateId};
use crate::rules::requirements::CAPACITY_TYPE;
use crate::world::{ClaimId, PodId, PodPhase};
use std::cell::OnceCell;

/// What is the same for all candidates of a pass, found out when the first of them asks.
#[derive(Default)]
pub struct Bound {
    /// Whatever came in the place of spot instances would be spot again, which is refused.
    refuses_spot: OnceCell<bool>,
    /// Machines that may take pods.
    takers: OnceCell<Vec<Taker>>,
}

/// A machine that may take pods.
struct Taker {
    room: Room,
    /// Its `consolidateAfter` has passed: it takes any pod.
    is_settled: bool,
}

impl Bound {
    /// Whether the candidates stay for sure: they could only go for nothing, and their pods have no room elsewhere.
    pub fn must_stay(&self, scene: Scene, candidates: &[Candidate]) -> bool {
        let goes = |claim: ClaimId| candidates.iter().any(|one| one.claim == claim);
        let moving = candidates.iter().flat_map(|one| &one.pods).copied();
        candidates.iter().all(|one| one.capacity_type == Some(CapacityType::Spot))
            && self.refuses_spot(scene)
            && self.lacks_room(scene, goes, moving)
    }

    /// The same of one node that was not weighed.
    pub fn keeps(&self, scene: Scene, one: &Counted) -> bool {
        let moving = scene.world.node(one.node).pods.iter().copied();
        one.is_spot && self.refuses_spot(scene) && self.lacks_room(scene, |claim| claim == one.claim, moving)
    }

    fn refuses_spot(&self, scene: Scene) -> bool {
        *self.refuses_spot.get_or_init(|| replaces_spot_by_spot(scene))
    }

    fn takers(&self, Scene { plan, world, .. }: Scene) -> &[Taker] {
        let taker = |room: Room| Taker { is_settled: is_settled(world, room.claim, world.now), room };
        self.takers.get_or_init(|| rooms(plan, world).map(taker).collect())
    }

    /// Some pod fits on none of the nodes that stay, even if they took nothing else; or all of those together take fewer pods
    /// than there are, even if each were as small as the smallest in every respect. `goes`: the node of a claim does. `moving`:
    /// pods of those that go.
    fn lacks_room(&self, scene: Scene, goes: impl Fn(ClaimId) -> bool, moving: impl Iterator<Item = PodId>) -> bool {
        let Scene { plan, world, .. } = scene;
        let stays = || self.takers(scene).iter().filter(|taker| !taker.room.claim.is_some_and(&goes));
        let (mut count, mut smallest, mut all_picky) = (0, [i64::MAX; 4], true);
        // Neighbours are mostly alike: what was found of one goes for the next.
        let mut before: Option<(TemplateId, bool)> = None;
        for pod in moving.filter(|&pod| is_currently_reschedulable(world, pod)) {
            let picky = plan.flags.karpenter.version >= (1, 14) && world.pod(pod).phase != PodPhase::Pending;
            count += 1;
            let kind = (world.pod(pod).template, picky);
            if before.replace(kind) == Some(kind) {
                continue;
            }
            let requests = &world.template_of(pod).requests;
            let has_room = |taker: &Taker| claims::fits(requests, &taker.room.free) && (!picky || taker.is_settled);
            if !stays().any(has_room) {
                return true;
            }
            all_picky &= picky;
            smallest.iter_mut().zip(claims::amounts(requests)).for_each(|(least, asked)| *least = (*least).min(asked));
        }
        let takers = stays().filter(|taker| !all_picky || taker.is_settled);
        let most = takers
            .fold(0_i64, |sum, taker| sum.saturating_add(most_pods(&smallest, &claims::amounts(&taker.room.free))));
        most < count
    }
}

/// Whatever new claim came of spot instances would be spot again, which is refused.
fn replaces_spot_by_spot(scene: Scene) -> bool {
    let Scene { plan, world, catalog, .. } = scene;
    if plan.flags.karpenter.spot_to_spot || !plan.reservations.is_empty() {
        return false;
    }
    let spot = CapacityType::Spot;
    let eligible = || (0..world.node_pools.len()).filter(|&index| pools::is_eligible(&world.node_pools[index]));
    let sells_spot =
        |index| catalog.pool(plan, world, NodePoolId::at(index)).requirements.allows(CAPACITY_TYPE, spot.name());
    eligible().next().is_some()
        && eligible().all(sells_spot)
        && !world.templates.iter().any(|template| may_choose(template))
}

/// Pods of a template might want one capacity type only.
fn may_choose(template: &PodTemplate) -> bool {
    let affinity = &template.affinity;
    let terms = affinity.node_required.iter().flatten().chain(affinity.node_preferred.iter().map(|(_, term)| term));
    !template.volume_claims.is_empty()
        || template.node_selector.contains_key(CAPACITY_TYPE)
        || terms.flat_map(|term| &term.expressions).any(|asked| asked.key == CAPACITY_TYPE)
        || topology::topology_keys(template).any(|key| key == CAPACITY_TYPE)
}

/// How many pods that ask for so much fit into what is free.
fn most_pods(asked: &[i64; 4], free: &[i64; 4]) -> i64 {
    if free.iter().any(|&free| free < 0) {
        return 0;
    }
    let limits = asked.iter().zip(free).filter(|(asked, _)| **asked > 0).map(|(asked, free)| free / asked);
    limits.min().unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::candidates::{Class, candidate};
    use super::*;
    use crate::components::karpenter::cluster::{Catalog, state_nodes};
    use crate::components::karpenter::fixture::{edit_pool, node, small_plan};
    use crate::components::karpenter::provisioner::memo::Memo;
    use crate::plan::Plan;
    use crate::world::World;
    use std::collections::BTreeSet;

    /// Whether the first of two nodes with so many pods of half a core each has to stay; a node has room for three.
    fn stays(plan: &Plan, kind: CapacityType, [own, other]: [u32; 2]) -> bool {
        let mut world = World::new(plan);
        let claim = node(plan, &mut world, "t3.medium", kind, own);
        node(plan, &mut world, "t3.medium", CapacityType::Spot, other);
        let (catalog, nodes, held, memo) =
            (Catalog::of(plan), state_nodes(plan, &world), BTreeSet::new(), Memo::default());
        let scene = Scene { plan, world: &world, catalog: &catalog, nodes: &nodes, held: &held, memo: &memo };
        let one = candidate(plan, &world, claim, Class::Graceful).expect("nothing holds it");
        Bound::default().must_stay(scene, &[one])
    }

    #[test]
    fn a_spot_node_stays_where_its_pods_have_no_room() {
        let mut plan = small_plan();
        edit_pool(&mut plan, |pool| pool.requirements.clear());
        let spot = CapacityType::Spot;
        assert!(!stays(&plan, spot, [1, 2]) && !stays(&plan, spot, [3, 0]), "there is room");
        assert!(stays(&plan, spot, [1, 3]), "not for one");
        assert!(stays(&plan, spot, [3, 2]), "for one, not for three");
        assert!(!stays(&plan, CapacityType::OnDemand, [3, 3]), "it may become a spot node");
        plan.flags.karpenter.spot_to_spot = true;
        assert!(!stays(&plan, spot, [3, 3]), "it may become another spot node");
    }

    #[test]
    fn a_pod_that_wants_no_spot_node_may_get_another() {
        let mut plan = small_plan();
        edit_pool(&mut plan, |pool| pool.requirements.clear());
        let template = std::sync::Arc::make_mut(&mut plan.templates[0]);
        template.node_selector.insert(CAPACITY_TYPE, "on-demand");
        assert!(!stays(&plan, CapacityType::Spot, [3, 3]));
    }
}
