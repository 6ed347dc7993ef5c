//! A command as `explain` tells it: which nodes go, what they cost, what comes instead, where their pods go.

use super::method::Method;
use super::simulation::Move;
use crate::components::karpenter::provisioner::told::cheapest;
use crate::plan::Plan;
use crate::record::decision::{Disruption, Removed, Stage};
use crate::world::{ClaimId, World};

/// A command at a stage of its life. `created`: its replacements, once they exist.
pub fn command(
    plan: &Plan,
    world: &World,
    (method, found): (Method, &Move),
    stage: Stage,
    created: &[ClaimId],
) -> Disruption {
    let removed = found.candidates.iter().map(|one| Removed {
        node: one.node,
        claim: one.claim,
        price: one.price,
        pods: one.pods.clone(),
    });
    let replacement = |new: &crate::components::karpenter::provisioner::packing::NewNode| {
        (new.types.len(), cheapest(plan, world, &new.types, &new.requirements, 1).first().copied())
    };
    Disruption {
        stage,
        method: method.title(),
        reason: method.reason(),
        removed: removed.collect(),
        replacements: found.replacements().iter().map(replacement).collect(),
        created: created.to_vec(),
        takers: found.results.existing.iter().map(|placed| placed.name.clone()).collect(),
    }
}
