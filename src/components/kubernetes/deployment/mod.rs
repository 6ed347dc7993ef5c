//! Deployment controller.
//!
//! ```text
//!  Deployment.replicas, spec ──┐               ┌─► ReplicaSet.replicas, annotations, revision
//!  ReplicaSet.status ──────────┼─► Sync ───────┼─► new ReplicaSets, removed old ones
//!  pods that vanish ───────────┘               ├─► Deployment.status, conditions
//!                                              └─► Due: the progress deadline, or a refused write is tried again
//! ```
//!
//! Source: `pkg/controller/deployment` of Kubernetes 1.34. A rollout step that changes the new ReplicaSet ends the sync;
//! the watch event of that write brings the next. Every write of the Deployment's own status does so too.
//! Left out: the rollback annotation of old clients (a rollback writes the old template), adoption of orphans, annotations
//! that users give a Deployment, the client's rate limit (a sync writes a handful of objects).

pub mod decide;
pub mod status;

use crate::components::Cx;
use crate::engine::{Retries, Span, Time};
use crate::plan::DeploymentId;
use crate::world::{DeploymentCondition, DeploymentReason, ReplicaSetId, World};
use decide::{Set, View, Write};
use status::Requeue;
use std::borrow::Cow;

/// A `progressDeadlineSeconds` that means none. Source: `util/deployment_util.go` (`HasProgressDeadline`).
const NO_DEADLINE: Span = Span::from_secs(i32::MAX as u64);

/// Its memory.
#[derive(Default)]
pub struct DeploymentController {
    retries: Retries,
    /// What the last sync saw: only its memory is used again.
    seen: Vec<Set>,
}

/// Why it may be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// Look at a Deployment again.
    Sync(DeploymentId),
    /// A delayed look is due.
    Due(DeploymentId),
}

impl DeploymentController {
    /// Its informers list every Deployment at the start. One that has its ReplicaSet has been rolled out long ago.
    pub fn start(&mut self, cx: &mut Cx) {
        for index in 0..cx.world.deployments.len() {
            let deployment = DeploymentId::at(index);
            let entry = &cx.world.deployments[index];
            if !entry.exists || entry.spec.ordinal().is_some() {
                continue;
            }
            settle(cx.world, deployment);
            wake(cx, cx.now, Event::Sync(deployment));
        }
    }

    /// Observe, decide, apply, schedule.
    pub fn handle(&mut self, cx: &mut Cx, event: Event) {
        match event {
            Event::Sync(deployment) => self.sync(cx, deployment),
            Event::Due(deployment) => {
                if self.retries.is_due(deployment.index(), cx.now) {
                    wake(cx, cx.now, Event::Sync(deployment));
                }
            }
        }
    }

    fn sync(&mut self, cx: &mut Cx, deployment: DeploymentId) {
        let view = observe(cx.world, deployment, std::mem::take(&mut self.seen));
        let outcome = decide::decide(&view);
        if outcome.writes.iter().any(|write| !matches!(write, Write::Status(..))) {
            let (world, now) = (&*cx.world, cx.now);
            cx.recorder.explain(now, || told(world, deployment, view.replicas, &outcome.writes));
        }
        let annotations = decide::annotations(&view);
        for write in outcome.writes {
            apply(cx.world, deployment, write, annotations, view.min_ready);
        }
        self.seen = view.sets;
        self.look_again(cx, deployment, outcome.requeue, outcome.conflict);
    }

    /// What failed is tried again, a few times (`handleErr`); a rollout in progress is looked at when its deadline is over.
    fn look_again(&mut self, cx: &mut Cx, deployment: DeploymentId, requeue: Requeue, failed: bool) {
        let (key, flags) = (deployment.index(), &cx.plan.flags.controllers);
        let at = match requeue {
            Requeue::At(at) => Some(at),
            Requeue::RateLimited => Some(self.retries.fail(key, cx.now, flags.retry)),
            Requeue::No if failed && self.retries.failures(key) < flags.deployment_retries => {
                Some(self.retries.fail(key, cx.now, flags.retry))
            }
            Requeue::No => None,
        };
        if let Some(at) = at.filter(|&at| self.retries.add(key, at)) {
            wake(cx, at, Event::Due(deployment));
        }
        if !failed || at.is_none() {
            self.retries.forget(key);
        }
    }
}

fn wake(cx: &mut Cx, at: Time, event: Event) {
    cx.at(at, crate::components::Event::Deployment(event));
}

fn apply(world: &mut World, deployment: DeploymentId, write: Write, annotations: (i32, i32), min_ready: Span) {
    let (desired, most) = annotations;
    match write {
        Write::Create { replicas, revision } => {
            let created = world.create_replica_set(deployment, replicas);
            world.annotate_replica_set(created, revision, desired, most);
        }
        Write::Scale(set, replicas) => world.resize_replica_set(set, replicas, desired, most),
        Write::Revise(set, revision) => world.revise_replica_set(set, revision, min_ready),
        Write::Remove(set) => world.remove_replica_set(set),
        Write::Status(revision, status) => world.set_deployment_status(deployment, revision, status),
    }
}

/// A Deployment whose ReplicaSet exists when the run begins: annotations and status are those of its last rollout.
fn settle(world: &mut World, deployment: DeploymentId) {
    let Some(&newest) = world.deployments[deployment.index()].replica_sets.last() else { return };
    let (desired, most) = decide::annotations(&observe(world, deployment, Vec::new()));
    for set in world.deployments[deployment.index()].replica_sets.clone() {
        let entry = &world.replica_sets[set.index()];
        if entry.max_annotation == 0 && entry.replicas == desired {
            world.annotate_replica_set(set, entry.revision, desired, most);
        }
    }
    let view = observe(world, deployment, Vec::new());
    let mut status = status::calculate(&view, &view.sets, view.status);
    if view.progress_deadline.is_some() && status.progressing.is_none() {
        let done = status::is_complete(&view, &status);
        let reason = if done { DeploymentReason::NewReplicaSetAvailable } else { DeploymentReason::ReplicaSetUpdated };
        status.progressing = Some(DeploymentCondition::new(Some(true), reason, world.now));
    }
    let revision = world.replica_sets[newest.index()].revision_annotation;
    world.set_deployment_status(deployment, revision, status);
}

fn has_present_template(world: &World, deployment: DeploymentId, set: ReplicaSetId) -> bool {
    let (present, own) =
        (world.deployments[deployment.index()].spec.template, world.replica_sets[set.index()].template);
    present == own || world.template(present) == world.template(own)
}

/// What a sync sees, in the memory of `sets`.
fn observe(world: &World, deployment: DeploymentId, mut sets: Vec<Set>) -> View {
    let entry = &world.deployments[deployment.index()];
    let mut ids = Cow::Borrowed(&entry.replica_sets[..]);
    if ids.len() > 1 {
        let created = |id: ReplicaSetId| world.replica_sets[id.index()].created.whole_second();
        ids.to_mut().sort_by_cached_key(|&id| (created(id), world.replica_set_name(id)));
    }
    // Of several sets with the present template the oldest is the new one.
    let new = ids.iter().copied().find(|&set| has_present_template(world, deployment, set));
    sets.clear();
    sets.extend(ids.iter().map(|&id| {
        let set = &world.replica_sets[id.index()];
        Set {
            id: Some(id),
            is_new: Some(id) == new,
            replicas: set.replicas,
            min_ready: set.min_ready,
            status_replicas: set.status.replicas,
            ready: set.status.ready,
            available: set.status.available,
            failure: set.status.failure,
            observed: set.status.observed_generation >= set.generation,
            revision: set.revision_annotation,
            desired_annotation: set.desired_annotation,
            max_annotation: set.max_annotation,
            has_pods: set.pods.iter().any(|&pod| !world.pod(pod).is_finished()),
        }
    }));
    View {
        replicas: entry.replicas,
        strategy: entry.spec.strategy,
        paused: entry.spec.paused,
        min_ready: entry.spec.min_ready,
        revision_history_limit: entry.spec.revision_history_limit,
        progress_deadline: Some(entry.spec.progress_deadline).filter(|&deadline| deadline != NO_DEADLINE),
        generation: entry.generation,
        revision: entry.revision,
        status: entry.status,
        now: world.now,
        sets,
    }
}

/// What a sync writes, in a sentence.
fn told(world: &World, deployment: DeploymentId, wanted: i32, writes: &[Write]) -> String {
    let set = |set: &ReplicaSetId| format!("replicaset/{}", world.replica_set_name(*set));
    let told = writes.iter().filter_map(|write| match write {
        Write::Create { replicas, revision } => Some(format!("creates revision {revision} with {replicas}")),
        Write::Scale(one, to) => Some(format!("sets {} to {to}", set(one))),
        Write::Revise(one, revision) => Some(format!("makes {} revision {revision}", set(one))),
        Write::Remove(one) => Some(format!("removes {}", set(one))),
        Write::Status(..) => None,
    });
    let name = &world.deployments[deployment.index()].spec.name;
    format!("deployment/{name} wants {wanted} replicas: {}", told.collect::<Vec<_>>().join(", "))
}
