//! Which pods a pass places: those that wait, and those of nodes that are leaving.
//!
//! Source: core `pkg/controllers/provisioning/provisioner.go` (`GetPendingPods`, `Validate`), `Provisioner.Schedule`.

use super::memo::Memo;
use crate::components::karpenter::cluster::{self, StateNode};
use crate::plan::TemplateId;
use crate::world::{PodId, World};

/// Pods that wait for a place, with refusals of validation.
pub fn waiting(world: &World, memo: &Memo) -> (Vec<PodId>, Vec<(PodId, String)>) {
    let mut ignored = Vec::new();
    let mut pods: Vec<PodId> = Vec::new();
    // Pods that wait are mostly of one template.
    let mut sound: Option<TemplateId> = None;
    for id in world.unschedulable.iter().filter(|&pod| cluster::is_provisionable(world, pod)) {
        let origin = world.pod(id).template;
        if sound == Some(origin) {
            pods.push(id);
            continue;
        }
        match memo.refusal(&world.volumes, world.template(origin)) {
            None => {
                sound = Some(origin);
                pods.push(id);
            }
            Some(reason) => ignored.push((id, reason)),
        }
    }
    (pods, ignored)
}

/// Pods that need another place because their nodes are leaving, in the order of the nodes' objects.
pub fn all_displaced(world: &World) -> impl Iterator<Item = PodId> {
    let leaving = world.nodes.iter().filter(|node| node.gone.is_none() && cluster::is_leaving(world, node.id));
    let pods = leaving.flat_map(|node| node.pods.iter().copied());
    pods.filter(|&pod| cluster::is_currently_reschedulable(world, pod))
}

/// The same of nodes as a pass sees them, in their order.
pub fn displaced(world: &World, nodes: &[StateNode]) -> impl Iterator<Item = PodId> {
    let leaving = nodes.iter().filter(|node| node.leaving).flat_map(|node| node.pods.iter().copied());
    leaving.filter(|&pod| cluster::is_currently_reschedulable(world, pod))
}
