//! Deployment controller: the ReplicaSet of the newest template grows, the others shrink, and sizes are passed on.
//!
//! ```text
//!  Deployment spec, ReplicaSet status ─► Sync ─► sizes of ReplicaSets, a new ReplicaSet for a new template ─► status
//! ```
//!
//! Models `pkg/controller/deployment/{sync,rolling,recreate,progress}.go` and `util/deployment_util.go` of Kubernetes 1.34:
//! a scaling event is passed on in proportion, a rolling update keeps to surge and unavailability, Recreate waits until no
//! old pod is left, history is kept to its limit. Left out: conditions, rollback by revision, hash collisions.

use crate::components::{Cx, Event as AnyEvent};
use crate::engine::Span;
use crate::plan::{DeploymentId, DeploymentSpec, IntOrPercent, Strategy};
use crate::world::{DeploymentStatus, ReplicaSet, ReplicaSetId, World};

/// It has no memory of its own: everything is in the objects.
#[derive(Default)]
pub struct DeploymentController {}

/// Why it may be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// Look at a Deployment again.
    Sync(DeploymentId),
}

impl DeploymentController {
    /// Annotates what exists already and looks at every Deployment once.
    pub fn start(&mut self, cx: &mut Cx) {
        for index in 0..cx.world.deployments.len() {
            let id = DeploymentId::at(index);
            for set in cx.world.deployments[index].replica_sets.clone() {
                annotate(cx.world, id, set);
            }
            cx.after(Span::ZERO, AnyEvent::Deployment(Event::Sync(id)));
        }
    }

    /// Observe, decide, apply, schedule.
    pub fn handle(&mut self, cx: &mut Cx, event: Event) {
        let Event::Sync(id) = event;
        let entry = &cx.world.deployments[id.index()];
        let spec = entry.spec.clone();
        if spec.paused || is_scaling(cx.world, id) {
            scale(cx.world, id);
        } else {
            match spec.strategy {
                Strategy::RollingUpdate { .. } => roll(cx.world, id),
                Strategy::Recreate => recreate(cx.world, id),
            }
        }
        write_status(cx.world, id);
    }
}

/// What a Deployment's ReplicaSets are, at one sync.
struct Sets {
    /// The one of the present template.
    new: Option<ReplicaSetId>,
    /// The others, oldest first.
    old: Vec<ReplicaSetId>,
}

fn sets(world: &World, id: DeploymentId) -> Sets {
    let entry = &world.deployments[id.index()];
    let is_new = |set: &&ReplicaSetId| world.replica_sets[set.index()].template == entry.spec.template;
    // The oldest with an equal template is the new one, as FindNewReplicaSet says.
    let new = entry.replica_sets.iter().find(is_new).copied();
    let old = entry.replica_sets.iter().copied().filter(|set| Some(*set) != new).collect();
    Sets { new, old }
}

fn get(world: &World, set: ReplicaSetId) -> &ReplicaSet {
    &world.replica_sets[set.index()]
}

fn sum(world: &World, sets: impl IntoIterator<Item = ReplicaSetId>) -> i32 {
    sets.into_iter().map(|set| get(world, set).replicas).sum()
}

/// Surge and unavailability in pods: surge rounds up, unavailability down, and both zero means one unavailable.
pub fn fenceposts(surge: IntOrPercent, unavailable: IntOrPercent, replicas: i32) -> (i32, i32) {
    let scaled = |value, up: bool| match value {
        IntOrPercent::Int(count) => count,
        IntOrPercent::Percent(percent) => {
            let product = i64::from(percent) * i64::from(replicas);
            let rounded = if up { (product + 99).div_euclid(100) } else { product.div_euclid(100) };
            i32::try_from(rounded).unwrap_or(i32::MAX)
        }
    };
    let (surge, unavailable) = (scaled(surge, true), scaled(unavailable, false));
    if surge == 0 && unavailable == 0 { (0, 1) } else { (surge, unavailable) }
}

fn max_surge(spec: &DeploymentSpec, replicas: i32) -> i32 {
    match spec.strategy {
        Strategy::RollingUpdate { max_surge, max_unavailable } => fenceposts(max_surge, max_unavailable, replicas).0,
        Strategy::Recreate => 0,
    }
}

fn max_unavailable(spec: &DeploymentSpec, replicas: i32) -> i32 {
    match spec.strategy {
        Strategy::RollingUpdate { max_surge, max_unavailable } if replicas > 0 => {
            fenceposts(max_surge, max_unavailable, replicas).1.min(replicas)
        }
        Strategy::RollingUpdate { .. } | Strategy::Recreate => 0,
    }
}

/// Writes the annotations that a later scaling event is measured against.
fn annotate(world: &mut World, id: DeploymentId, set: ReplicaSetId) {
    let entry = &world.deployments[id.index()];
    let (desired, surge) = (entry.replicas, max_surge(&entry.spec, entry.replicas));
    world.annotate_replica_set(set, desired, desired + surge);
}

fn resize(world: &mut World, id: DeploymentId, set: ReplicaSetId, replicas: i32) -> bool {
    let changed = get(world, set).replicas != replicas;
    annotate(world, id, set);
    world.scale_replica_set(set, replicas);
    changed
}

/// A scaling event: some active ReplicaSet was sized for another count of the Deployment.
fn is_scaling(world: &World, id: DeploymentId) -> bool {
    let entry = &world.deployments[id.index()];
    let stale = |set: &ReplicaSetId| {
        let set = get(world, *set);
        set.replicas > 0 && set.desired_annotation != entry.replicas
    };
    entry.replica_sets.iter().any(stale)
}

/// Passes a new size on: to the only active ReplicaSet, or in proportion to all.
fn scale(world: &mut World, id: DeploymentId) {
    let Sets { new, old } = sets(world, id);
    let wanted = world.deployments[id.index()].replicas;
    let all: Vec<ReplicaSetId> = old.iter().copied().chain(new).collect();
    let active: Vec<ReplicaSetId> = all.iter().copied().filter(|set| get(world, *set).replicas > 0).collect();
    if active.len() <= 1 {
        let only = active.first().copied().or(new).or(old.last().copied());
        if let Some(only) = only {
            resize(world, id, only, wanted);
        }
        return;
    }
    let saturated = new.is_some_and(|set| {
        let set = get(world, set);
        set.replicas == wanted && set.desired_annotation == wanted && set.status.available == wanted
    });
    if saturated {
        for set in old.into_iter().filter(|set| active.contains(set)) {
            resize(world, id, set, 0);
        }
    } else if matches!(world.deployments[id.index()].spec.strategy, Strategy::RollingUpdate { .. }) {
        scale_in_proportion(world, id, active);
    }
}

fn scale_in_proportion(world: &mut World, id: DeploymentId, mut active: Vec<ReplicaSetId>) {
    let entry = &world.deployments[id.index()];
    let wanted = entry.replicas;
    let allowed = if wanted > 0 { wanted + max_surge(&entry.spec, wanted) } else { 0 };
    let to_add = allowed - sum(world, active.iter().copied());
    // Largest first; of equals the newest when growing, the oldest when shrinking.
    active.sort_by_key(|set| {
        let age = if to_add > 0 { -i64::from(set.0) } else { i64::from(set.0) };
        (std::cmp::Reverse(get(world, *set).replicas), age)
    });
    let mut added = 0;
    let mut sizes: Vec<i32> = active
        .iter()
        .map(|set| {
            let set = get(world, *set);
            let share = proportion(set, wanted, allowed, to_add, added, world.deployments[id.index()].status.replicas);
            added += share;
            set.replicas + share
        })
        .collect();
    if let (Some(first), true) = (sizes.first_mut(), to_add != 0) {
        *first = (*first + to_add - added).max(0);
    }
    for (set, size) in active.into_iter().zip(sizes) {
        resize(world, id, set, size);
    }
}

/// `GetReplicaSetProportion`.
fn proportion(set: &ReplicaSet, wanted: i32, allowed: i32, to_add: i32, added: i32, status_replicas: i32) -> i32 {
    if set.replicas == 0 || to_add == 0 || to_add == added {
        return 0;
    }
    let fraction = if wanted == 0 {
        -set.replicas
    } else {
        let base = if set.max_annotation > 0 { set.max_annotation } else { status_replicas.max(1) };
        let size = f64::from(set.replicas) * f64::from(allowed) / f64::from(base);
        size.round() as i32 - set.replicas
    };
    if to_add > 0 { fraction.min(to_add - added) } else { fraction.max(to_add - added) }
}

/// `NewRSNewReplicas`.
fn new_size(world: &World, id: DeploymentId, current: i32) -> i32 {
    let entry = &world.deployments[id.index()];
    match entry.spec.strategy {
        Strategy::Recreate => entry.replicas,
        Strategy::RollingUpdate { .. } => {
            let most = entry.replicas + max_surge(&entry.spec, entry.replicas);
            let total = sum(world, entry.replica_sets.iter().copied());
            if total >= most { current } else { current + (most - total).min(entry.replicas - current) }
        }
    }
}

fn create_new(world: &mut World, id: DeploymentId) -> ReplicaSetId {
    let size = new_size(world, id, 0);
    let set = world.create_replica_set(id, size);
    annotate(world, id, set);
    set
}

/// A rolling update: a resize of the new ReplicaSet ends the sync; a creation goes on to the old ones.
fn roll(world: &mut World, id: DeploymentId) {
    let new = match sets(world, id).new {
        None => create_new(world, id),
        Some(set) => {
            let (wanted, size) = (world.deployments[id.index()].replicas, get(world, set).replicas);
            let target = if size > wanted { wanted } else { new_size(world, id, size) };
            if resize(world, id, set, target) {
                return;
            }
            set
        }
    };
    let old = sets(world, id).old;
    if sum(world, old.iter().copied()) > 0 {
        shrink_old(world, id, new, &old);
    }
    if sum(world, old.iter().copied()) == 0 {
        forget_history(world, id, &old);
    }
}

fn shrink_old(world: &mut World, id: DeploymentId, new: ReplicaSetId, old: &[ReplicaSetId]) {
    let entry = &world.deployments[id.index()];
    let least = entry.replicas - max_unavailable(&entry.spec, entry.replicas);
    let all = sum(world, old.iter().copied().chain([new]));
    let new_unavailable = get(world, new).replicas - get(world, new).status.available;
    let budget = all - least - new_unavailable;
    if budget <= 0 {
        return;
    }
    // Unhealthy old pods first: they serve nothing.
    let mut removed = 0;
    for &set in old {
        let (size, available) = (get(world, set).replicas, get(world, set).status.available);
        let down = (budget - removed).min(size - available);
        if size > 0 && down > 0 {
            resize(world, id, set, size - down);
            removed += down;
        }
    }
    let available: i32 = old.iter().chain([&new]).map(|set| get(world, *set).status.available).sum();
    let mut down_left = available - least;
    for &set in old {
        let size = get(world, set).replicas;
        let down = size.min(down_left);
        if down > 0 {
            resize(world, id, set, size - down);
            down_left -= down;
        }
    }
}

/// All old pods go before the first new one comes.
fn recreate(world: &mut World, id: DeploymentId) {
    let Sets { new, old } = sets(world, id);
    let mut shrunk = false;
    for &set in &old {
        shrunk |= get(world, set).replicas > 0 && resize(world, id, set, 0);
    }
    if shrunk {
        return;
    }
    let still_there = |set: &ReplicaSetId| get(world, *set).pods.iter().any(|&pod| !world.pod(pod).is_finished());
    if old.iter().any(still_there) {
        return;
    }
    let new = new.unwrap_or_else(|| create_new(world, id));
    let wanted = world.deployments[id.index()].replicas;
    resize(world, id, new, wanted);
    forget_history(world, id, &old);
}

/// Keeps `revisionHistoryLimit` old ReplicaSets, the newest of them.
fn forget_history(world: &mut World, id: DeploymentId, old: &[ReplicaSetId]) {
    let limit = usize::try_from(world.deployments[id.index()].spec.revision_history_limit).unwrap_or(0);
    let idle = |set: &&ReplicaSetId| get(world, **set).replicas == 0 && get(world, **set).pods.is_empty();
    let idle: Vec<ReplicaSetId> = old.iter().filter(idle).copied().collect();
    for set in idle.iter().take(old.len().saturating_sub(limit)) {
        world.remove_replica_set(*set);
    }
}

fn write_status(world: &mut World, id: DeploymentId) {
    let Sets { new, .. } = sets(world, id);
    let mut status = DeploymentStatus::default();
    for &set in &world.deployments[id.index()].replica_sets {
        let counted = get(world, set).status;
        status.replicas += counted.replicas;
        status.ready += counted.ready;
        status.available += counted.available;
        if Some(set) == new {
            status.updated = counted.replicas;
        }
    }
    world.set_deployment_status(id, status);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn surge_rounds_up_and_unavailability_down() {
        let percent = |surge, unavailable, replicas| {
            fenceposts(IntOrPercent::Percent(surge), IntOrPercent::Percent(unavailable), replicas)
        };
        assert_eq!(percent(0, 0, 0), (0, 1));
        assert_eq!(percent(39, 39, 10), (4, 3));
        assert_eq!(percent(25, 25, 10), (3, 2));
        assert_eq!(fenceposts(IntOrPercent::Int(0), IntOrPercent::Percent(10), 5), (0, 1));
    }
}
