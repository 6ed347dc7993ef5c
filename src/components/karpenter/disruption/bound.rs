//! What no simulation can find: known from amounts alone, before anything is simulated.
//!
//! In: candidates that are spot instances, where spot is not replaced by spot (`SpotToSpotConsolidation` off, the default).
//! Then all their pods must fit on nodes that exist; a pod that is too large for what each of those has free ends the
//! question. Only asked where nobody reads why not. Source: core `disruption/consolidation.go` (`computeConsolidation`).

use super::candidates::Candidate;
use super::simulation::Scene;
use crate::components::karpenter::cluster::{StateNode, is_currently_reschedulable};
use crate::components::karpenter::provisioner::existing::is_settled;
use crate::components::karpenter::provisioner::{claims, pools, topology};
use crate::plan::{CapacityType, NodePoolId, PodTemplate};
use crate::rules::requirements::CAPACITY_TYPE;
use crate::world::{PodId, PodPhase};

/// Whether the candidates stay for sure: they could only go for nothing, and some pod of theirs has no room elsewhere.
pub fn must_stay(scene: Scene, candidates: &[Candidate]) -> bool {
    wants_no_replacement(scene, candidates)
        && candidates.iter().flat_map(|one| &one.pods).any(|&pod| is_too_large(scene, candidates, pod))
}

/// Whatever new claim came of it would be spot again, which is refused.
fn wants_no_replacement(scene: Scene, candidates: &[Candidate]) -> bool {
    let Scene { plan, world, catalog, .. } = scene;
    if plan.flags.karpenter.spot_to_spot || !plan.reservations.is_empty() {
        return false;
    }
    let spot = CapacityType::Spot;
    let eligible = || (0..world.node_pools.len()).filter(|&index| pools::is_eligible(&world.node_pools[index]));
    let sells_spot =
        |index| catalog.pool(plan, world, NodePoolId::at(index)).requirements.allows(CAPACITY_TYPE, spot.name());
    candidates.iter().all(|one| one.capacity_type == Some(spot))
        && eligible().next().is_some()
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

/// No node that stays has room for a pod of the candidates, even if it took nothing else.
fn is_too_large(scene: Scene, candidates: &[Candidate], pod: PodId) -> bool {
    let Scene { plan, world, nodes, .. } = scene;
    if !is_currently_reschedulable(world, pod) {
        return false;
    }
    let requests = &world.template_of(pod).requests;
    let picky = plan.flags.karpenter.version >= (1, 14) && world.pod(pod).phase != PodPhase::Pending;
    let goes = |node: &StateNode| candidates.iter().any(|one| Some(one.claim) == node.claim);
    let has_room = |node: &StateNode| {
        !node.leaving
            && claims::fits(requests, &node.free)
            && !goes(node)
            && (!picky || is_settled(world, node, world.now))
    };
    !nodes.iter().any(has_room)
}
