//! Which criterion chose each victim, in words: for `explain` only.

use super::victims::{Victim, choose_victims, goes_before, ranks, victim};
use crate::engine::Random;
use crate::record::decision::ScaleDown;
use crate::world::{PodId, PodPhase, ReplicaSetId, World};

/// The choice of `victims`, which are about to be deleted, among the active pods of a set.
pub fn explained(world: &World, set: ReplicaSetId, victims: &[PodId], random: Option<&Random>) -> ScaleDown {
    let pods = &world.replica_sets[set.index()].pods;
    let active: Vec<PodId> = pods.iter().copied().filter(|&pod| world.pod(pod).is_active()).collect();
    let ranks = ranks(world, set);
    let order = if victims.len() < active.len() {
        choose_victims(world, set, active.clone(), victims.len() + 1, random)
    } else {
        Vec::new()
    };
    let spared = order.into_iter().find(|pod| !victims.contains(pod)).or_else(|| {
        // All but one go: the last one is the one that stays.
        active.iter().copied().find(|pod| !victims.contains(pod))
    });
    let next = spared.map(|pod| victim(world, pod, &ranks, random));
    let criterion = |pod: PodId| {
        let pod = victim(world, pod, &ranks, random);
        next.as_ref().map_or_else(|| "all pods go".to_string(), |next| criterion(&pod, next, world))
    };
    let victims = victims.iter().map(|&pod| (pod, criterion(pod))).collect();
    ScaleDown { replica_set: set, active: active.len(), victims, spared }
}

/// The first difference between a victim and the pod that stays.
fn criterion(gone: &Victim, stays: &Victim, world: &World) -> String {
    let pending = |victim: &Victim| victim.phase == PodPhase::Pending;
    if gone.assigned != stays.assigned {
        "has no node yet".to_string()
    } else if pending(gone) != pending(stays) {
        "is Pending, the next one is not".to_string()
    } else if gone.ready_since.is_some() != stays.ready_since.is_some() {
        "is not Ready, the next one is".to_string()
    } else if gone.cost != stays.cost {
        format!("pod-deletion-cost {}, the next one has {}", gone.cost, stays.cost)
    } else if gone.rank != stays.rank {
        let text = format!("its node holds {} pods of this Deployment, that of the next one {}", gone.rank, stays.rank);
        text.replace("holds 1 pods", "holds 1 pod")
    } else if gone.ready_since != stays.ready_since {
        "Ready for a shorter time (ages compare by powers of two, then by UID)".to_string()
    } else if gone.restarts != stays.restarts || gone.sidecar_restarts != stays.sidecar_restarts {
        "its containers restarted more often".to_string()
    } else if goes_before(gone, stays, world.now) {
        "created later (ages compare by powers of two, then by UID)".to_string()
    } else {
        "equal to the next one by every rule: any of them could go".to_string()
    }
}
