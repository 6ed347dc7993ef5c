//! Deployment controller.
//!
//! ```text
//!  Deployment.replicas, spec ──┐               ┌─► ReplicaSet.replicas, annotations
//!  ReplicaSet.status ──────────┼─► Sync ───────┼─► new ReplicaSets, removed old ones
//!  pods that vanish ───────────┘               └─► Deployment.status
//! ```
//!
//! Source: `pkg/controller/deployment` of Kubernetes 1.34. A rollout step that changes the new ReplicaSet ends the sync;
//! the watch event of that write brings the next.
//! A Deployment's own status write wakes it only where that matters (the clean-up after a rollout).
//! Left out: conditions (Progressing and its deadline), rollback, adoption of orphans, the client's rate limit (a sync
//! writes a handful of objects).

pub mod decide;

use crate::components::Cx;
use crate::plan::{DeploymentId, DeploymentSpec, Stage};
use crate::world::{DeploymentStatus, World};
use decide::{Set, View, Write};
use std::sync::Arc;

/// Its memory.
#[derive(Default)]
pub struct DeploymentController {
    /// The spec and size that each Deployment's status answers to (`status.observedGeneration`).
    observed: Vec<Option<(Arc<DeploymentSpec>, i32)>>,
}

/// Why it may be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// Look at a Deployment again.
    Sync(DeploymentId),
}

impl DeploymentController {
    /// Its informers list every Deployment at the start. ReplicaSets that exist carry the annotations of their last
    /// scaling, so that the first change is seen as one.
    pub fn start(&mut self, cx: &mut Cx) {
        for index in 0..cx.world.deployments.len() {
            let deployment = DeploymentId::at(index);
            annotate_existing(cx.world, deployment);
            self.write_status(cx, deployment);
            cx.at(cx.now, crate::components::Event::Deployment(Event::Sync(deployment)));
        }
    }

    /// Observe, decide, apply. There is nothing to schedule: every write comes back as a watch event.
    pub fn handle(&mut self, cx: &mut Cx, event: Event) {
        let Event::Sync(deployment) = event;
        take_over_min_ready(cx.world, deployment);
        let mut view = observe(cx.world, deployment);
        view.complete &= self.has_observed(cx.world, deployment);
        let writes = decide::decide(&view);
        if !writes.is_empty() {
            let (name, replicas) = (cx.world.deployments[deployment.index()].spec.name.clone(), view.replicas);
            cx.explain(|| format!("deployment {name}: wants {replicas}, writes {writes:?}"));
        }
        let annotations = (view.replicas, view.replicas + decide::surge(view.strategy, view.replicas));
        for write in writes {
            apply(cx.world, deployment, write, annotations);
        }
        self.write_status(cx, deployment);
        let entry = &cx.world.deployments[deployment.index()];
        let limit = usize::try_from(entry.spec.revision_history_limit).unwrap_or(0);
        if !view.complete && entry.replica_sets.len() > limit + 1 && is_complete(cx.world, deployment) {
            // Its own status write wakes it once more, and that sync cleans up.
            let hop = cx.delay(Stage::ApiHop, u64::from(deployment.0) << 32 | u64::from(entry.revisions));
            cx.after(hop, crate::components::Event::Deployment(Event::Sync(deployment)));
        }
    }

    fn has_observed(&self, world: &World, deployment: DeploymentId) -> bool {
        let entry = &world.deployments[deployment.index()];
        let observed = self.observed.get(deployment.index()).and_then(Option::as_ref);
        observed.is_some_and(|(spec, replicas)| Arc::ptr_eq(spec, &entry.spec) && *replicas == entry.replicas)
    }

    fn write_status(&mut self, cx: &mut Cx, deployment: DeploymentId) {
        let status = status_of(cx.world, deployment);
        cx.world.set_deployment_status(deployment, status);
        if self.observed.len() <= deployment.index() {
            self.observed.resize(deployment.index() + 1, None);
        }
        let entry = &cx.world.deployments[deployment.index()];
        self.observed[deployment.index()] = Some((entry.spec.clone(), entry.replicas));
    }
}

fn apply(world: &mut World, deployment: DeploymentId, write: Write, (desired, most): (i32, i32)) {
    match write {
        Write::Create(replicas) => {
            let created = world.create_replica_set(deployment, replicas);
            world.annotate_replica_set(created, desired, most);
        }
        Write::Scale(set, replicas) => {
            world.annotate_replica_set(set, desired, most);
            world.scale_replica_set(set, replicas);
        }
        Write::Remove(set) => world.remove_replica_set(set),
    }
}

fn annotate_existing(world: &mut World, deployment: DeploymentId) {
    let entry = &world.deployments[deployment.index()];
    let most = entry.replicas + decide::surge(entry.spec.strategy, entry.replicas);
    let desired = entry.replicas;
    for set in entry.replica_sets.clone() {
        let annotated = world.replica_sets[set.index()].max_annotation != 0;
        if !annotated && world.replica_sets[set.index()].replicas == desired {
            world.annotate_replica_set(set, desired, most);
        }
    }
}

/// The ReplicaSet of the present template has the Deployment's minReadySeconds.
fn take_over_min_ready(world: &mut World, deployment: DeploymentId) {
    let entry = &world.deployments[deployment.index()];
    let min_ready = entry.spec.min_ready;
    let new = entry.replica_sets.iter().copied().find(|&set| has_present_template(world, deployment, set));
    if let Some(set) = new {
        world.set_min_ready(set, min_ready);
    }
}

fn has_present_template(world: &World, deployment: DeploymentId, set: crate::world::ReplicaSetId) -> bool {
    let (present, own) =
        (world.deployments[deployment.index()].spec.template, world.replica_sets[set.index()].template);
    present == own || world.template(present) == world.template(own)
}

fn observe(world: &World, deployment: DeploymentId) -> View {
    let entry = &world.deployments[deployment.index()];
    // Of several sets with the present template the oldest is the new one.
    let new = entry.replica_sets.iter().copied().find(|&set| has_present_template(world, deployment, set));
    let sets = entry.replica_sets.iter().map(|&id| {
        let set = &world.replica_sets[id.index()];
        Set {
            id: Some(id),
            is_new: Some(id) == new,
            replicas: set.replicas,
            status_replicas: set.status.replicas,
            available: set.status.available,
            created: set.created,
            revision: set.revision,
            desired_annotation: set.desired_annotation,
            max_annotation: set.max_annotation,
            has_pods: set.pods.iter().any(|&pod| !world.pod(pod).is_finished()),
        }
    });
    View {
        replicas: entry.replicas,
        strategy: entry.spec.strategy,
        paused: entry.spec.paused,
        revision_history_limit: entry.spec.revision_history_limit,
        complete: is_complete(world, deployment),
        status_replicas: entry.status.replicas,
        now: world.now,
        sets: sets.collect(),
    }
}

/// `DeploymentComplete`, without the generation.
fn is_complete(world: &World, deployment: DeploymentId) -> bool {
    let entry = &world.deployments[deployment.index()];
    let (status, want) = (entry.status, entry.replicas);
    status.updated == want && status.replicas == want && status.available == want
}

fn status_of(world: &World, deployment: DeploymentId) -> DeploymentStatus {
    let mut status = DeploymentStatus::default();
    let entry = &world.deployments[deployment.index()];
    let new = entry.replica_sets.iter().copied().find(|&set| has_present_template(world, deployment, set));
    for &id in &entry.replica_sets {
        let set = &world.replica_sets[id.index()].status;
        status.replicas += set.replicas;
        status.ready += set.ready;
        status.available += set.available;
        status.updated += if Some(id) == new { set.replicas } else { 0 };
    }
    status
}
