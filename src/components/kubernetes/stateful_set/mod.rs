//! StatefulSet controller.
//!
//! ```text
//!  spec, revisions ──┐              ┌─► pods created and deleted by ordinal (`decide.rs`), a batch at a time
//!  pods of the set ──┼─► Sync ──────┼─► a revision for a new template; the update revision becomes the current one
//!  minReadySeconds ──┘              ├─► status
//!                                   └─► Due: a pod becomes available, or a failed sync is tried again
//! ```
//!
//! A pod that goes comes back under its name. Source: `pkg/controller/statefulset/{stateful_set,stateful_set_control}.go` of
//! Kubernetes 1.34. Revisions are ReplicaSets of the world that no ReplicaSet controller looks after; their pods carry the names
//! of the set. Calls go through one client with a token bucket; a batch ends when its calls have returned, and meanwhile the set
//! is left alone, as its work queue demands. Left out: volume claims, removal of old revisions, adoption of orphans.

pub mod decide;

use crate::components::Cx;
use crate::engine::{Retries, Time, TokenBucket};
use crate::plan::{DeploymentId, FaultKind, Ordinal, PodCall, Stage};
use crate::world::{DeleteCause, DeploymentStatus, NewPod, Owner, PodPhase, ReplicaSetId, World};
use decide::{Call, Seen, View, Why, decide};
use std::collections::VecDeque;

/// After a pod became Ready its set is looked at so much later than minReadySeconds. Source: `stateful_set.go` (`updatePod`).
const SKEW: crate::engine::Span = crate::engine::Span::from_secs(1);

/// A sync whose calls are under way.
#[derive(Debug, Default)]
struct Round {
    /// Batches that have not been made.
    batches: VecDeque<Vec<Call>>,
    /// The first of them waits for the client; otherwise calls are on their way.
    waits: bool,
    /// Something happened meanwhile.
    dirty: bool,
}

/// Its memory.
#[derive(Default)]
pub struct StatefulSetController {
    rounds: Vec<Option<Round>>,
    client: TokenBucket,
    retries: Retries,
    /// Batches ever made: keys the draws.
    batches: u64,
}

/// Why it may be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// Look at a StatefulSet again.
    Sync(DeploymentId),
    /// A pod of a StatefulSet with minReadySeconds became Ready.
    PodReady(DeploymentId),
    /// A delayed look is due.
    Due(DeploymentId),
    /// The client lets the next calls through, or the last ones have returned.
    Batch(DeploymentId),
}

impl StatefulSetController {
    /// Its informers list every StatefulSet at the start.
    pub fn start(&mut self, cx: &mut Cx) {
        for index in 0..cx.world.deployments.len() {
            if cx.world.deployments[index].exists && ordinal(cx.world, DeploymentId::at(index)).is_some() {
                wake(cx, cx.now, Event::Sync(DeploymentId::at(index)));
            }
        }
    }

    /// Observe, decide, apply, schedule.
    pub fn handle(&mut self, cx: &mut Cx, event: Event) {
        match event {
            Event::Sync(set) => self.sync(cx, set),
            Event::PodReady(set) => {
                let at = cx.now + cx.world.deployments[set.index()].spec.min_ready + SKEW;
                self.look_again(cx, set, at);
                self.sync(cx, set);
            }
            Event::Due(set) => {
                if self.retries.is_due(set.index(), cx.now) {
                    self.sync(cx, set);
                }
            }
            Event::Batch(set) => self.batch(cx, set),
        }
    }

    fn round(&mut self, set: DeploymentId) -> &mut Option<Round> {
        if self.rounds.len() <= set.index() {
            self.rounds.resize_with(set.index() + 1, || None);
        }
        &mut self.rounds[set.index()]
    }

    fn sync(&mut self, cx: &mut Cx, set: DeploymentId) {
        let Some(ordinal) = ordinal(cx.world, set).filter(|_| cx.world.deployments[set.index()].exists) else { return };
        if let Some(round) = self.round(set) {
            round.dirty = true;
            return;
        }
        let update = update_revision(cx, set);
        if cx.world.deployments[set.index()].current_revision.is_none() {
            cx.world.set_current_revision(set, update);
        }
        let view = observe(cx.world, set, ordinal, update, cx.now);
        let batches: VecDeque<Vec<Call>> = decide(&view).into();
        if !batches.is_empty() {
            let (world, now) = (&*cx.world, cx.now);
            cx.recorder.explain(now, || told(world, set, batches.iter().flatten()));
        }
        *self.round(set) = Some(Round { batches, waits: false, dirty: false });
        self.batch(cx, set);
    }

    /// Makes the calls of the next batch, or ends the sync.
    fn batch(&mut self, cx: &mut Cx, set: DeploymentId) {
        let flags = &cx.plan.flags.controllers;
        let (qps, burst) = (flags.client_qps, flags.client_burst);
        let Some(round) = self.round(set) else { return };
        let Some(next) = round.batches.front() else { return self.finish(cx, set, false) };
        if !std::mem::replace(&mut round.waits, true) {
            let calls = next.len();
            let at = (0..calls).map(|_| self.client.reserve(cx.now, qps, burst)).max().unwrap_or(cx.now);
            if at > cx.now {
                return wake(cx, at, Event::Batch(set));
            }
        }
        let Some(round) = self.round(set) else { return };
        round.waits = false;
        let calls = round.batches.pop_front().unwrap_or_default();
        if calls.into_iter().any(|call| !make(cx, set, call)) {
            return self.finish(cx, set, true);
        }
        self.batches += 1;
        let hop = cx.delay(Stage::ApiHop, 1 << 61 | u64::from(set.0) << 32 | self.batches);
        wake(cx, cx.now + hop, Event::Batch(set));
    }

    /// The end of a sync: the status, then the next look.
    fn finish(&mut self, cx: &mut Cx, set: DeploymentId, failed: bool) {
        let Some(ordinal) = ordinal(cx.world, set) else { return };
        let dirty = self.round(set).take().is_some_and(|round| round.dirty);
        let update = update_revision(cx, set);
        let view = observe(cx.world, set, ordinal, update, cx.now);
        let status = status_of(cx.world, set, &view);
        let entry = &cx.world.deployments[set.index()];
        let want = entry.replicas;
        // `completeRollingUpdate`.
        if !ordinal.on_delete && (status.updated, status.ready, status.replicas) == (want, want, want) {
            cx.world.set_current_revision(set, update);
        }
        let entry = &cx.world.deployments[set.index()];
        let (min_ready, revision) = (entry.spec.min_ready, cx.world.replica_sets[update.index()].revision_annotation);
        if entry.status != status || entry.revision != revision {
            let flags = &cx.plan.flags.controllers;
            self.client.reserve(cx.now, flags.client_qps, flags.client_burst);
            cx.world.set_deployment_status(set, revision, status);
        }
        if failed {
            let at = self.retries.fail(set.index(), cx.now, cx.plan.flags.controllers.retry);
            self.look_again(cx, set, at);
        } else {
            self.retries.forget(set.index());
            if !min_ready.is_zero() && status.available != want {
                self.look_again(cx, set, cx.now + min_ready);
            }
        }
        if dirty {
            wake(cx, cx.now, Event::Sync(set));
        }
    }

    /// A look at that time, unless an earlier one is scheduled.
    fn look_again(&mut self, cx: &mut Cx, set: DeploymentId, at: Time) {
        if self.retries.add(set.index(), at) {
            wake(cx, at, Event::Due(set));
        }
    }
}

fn wake(cx: &mut Cx, at: Time, event: Event) {
    cx.at(at, crate::components::Event::StatefulSet(event));
}

fn ordinal(world: &World, set: DeploymentId) -> Option<Ordinal> {
    world.deployments[set.index()].spec.ordinal()
}

/// The revision of the present template, made if there is none; one that was there before is the newest again.
fn update_revision(cx: &mut Cx, set: DeploymentId) -> ReplicaSetId {
    let world = &*cx.world;
    let entry = &world.deployments[set.index()];
    let present = entry.spec.template;
    let is_same = |id: &ReplicaSetId| {
        let own = world.replica_sets[id.index()].template;
        own == present || world.template(own) == world.template(present)
    };
    let found = entry.replica_sets.iter().copied().find(is_same);
    let newest =
        entry.replica_sets.iter().map(|id| world.replica_sets[id.index()].revision_annotation).max().unwrap_or(0);
    match found.filter(|id| newest > 0 && world.replica_sets[id.index()].revision_annotation == newest) {
        Some(found) => found,
        None => {
            let revision = found.unwrap_or_else(|| cx.world.create_replica_set(set, 0));
            cx.world.annotate_replica_set(revision, newest + 1, 0, 0);
            revision
        }
    }
}

/// The pods of a set.
fn observe(world: &World, set: DeploymentId, ordinal: Ordinal, update: ReplicaSetId, now: Time) -> View {
    let entry = &world.deployments[set.index()];
    let min_ready = entry.spec.min_ready;
    let revisions = entry.replica_sets.iter().map(|id| &world.replica_sets[id.index()]);
    let pods = revisions.flat_map(|revision| revision.pods.iter().map(move |&pod| (revision.id, pod)));
    let seen = pods.filter_map(|(revision, id)| {
        let pod = world.pod(id);
        let ready = pod.phase == PodPhase::Running && pod.is_ready();
        Some(Seen {
            pod: id,
            ordinal: world.pod_ordinal(id)?,
            revision,
            finished: pod.is_finished(),
            terminating: pod.deleting_since.is_some(),
            available: ready && (min_ready.is_zero() || pod.ready.since + min_ready <= now),
        })
    });
    let (pods, current) = (seen.collect(), entry.current_revision.unwrap_or(update));
    View { pods, replicas: u32::try_from(entry.replicas).unwrap_or(0), ordinal, current, update }
}

/// `computeReplicaStatus`.
fn status_of(world: &World, set: DeploymentId, view: &View) -> DeploymentStatus {
    let entry = &world.deployments[set.index()];
    let count = |is: &dyn Fn(&Seen) -> bool| view.pods.iter().filter(|pod| is(pod)).count() as i32;
    let ready = |pod: &Seen| world.pod(pod.pod).phase == PodPhase::Running && world.pod(pod.pod).is_ready();
    DeploymentStatus {
        replicas: count(&|_| true),
        updated: count(&|pod| !pod.terminating && pod.revision == view.update),
        ready: count(&ready),
        available: count(&|pod| pod.available),
        observed_generation: entry.generation,
        ..DeploymentStatus::default()
    }
}

/// A fault makes the controller's calls of that kind fail.
fn is_failing(cx: &Cx, call: PodCall) -> bool {
    let mut faults = cx.plan.faults.iter().zip(&cx.world.faults);
    faults.any(|(fault, &active)| active && fault.kind == FaultKind::PodCallsFail(call))
}

/// Makes a call; false if it fails.
fn make(cx: &mut Cx, set: DeploymentId, call: Call) -> bool {
    match call {
        Call::Create(ordinal, revision) => {
            let entry = &cx.world.replica_sets[revision.index()];
            let (template, number) = (entry.template, entry.created_pods + 1);
            let admitted = cx.world.quota_admits_pod(&cx.world.template(template).namespace);
            if is_failing(cx, PodCall::Create) || !admitted {
                cx.world.note_refused_pod(revision);
                return false;
            }
            let name = Some(pod_name(cx.world, set, ordinal).into());
            let owner = Owner::ReplicaSet(revision);
            cx.world.create_pod(NewPod { template, owner, ordinal: number, pinned: None, name });
        }
        Call::Delete(pod, why) => {
            if is_failing(cx, PodCall::Delete) {
                cx.world.note_failed_deletion(pod);
                return false;
            }
            let is_there = cx.world.pod(pod).gone.is_none() && cx.world.pod(pod).deleting_since.is_none();
            let cause = if why == Why::ScaleDown { DeleteCause::ScaleDown } else { DeleteCause::Rollout };
            if is_there {
                cx.world.delete_pod(pod, None, cause);
            }
        }
    }
    true
}

/// The name of the pod of an ordinal.
pub fn pod_name(world: &World, set: DeploymentId, ordinal: u32) -> String {
    format!("{}-{ordinal}", world.deployments[set.index()].spec.name)
}

/// What a sync does, in a sentence.
fn told<'a>(world: &World, set: DeploymentId, calls: impl Iterator<Item = &'a Call>) -> String {
    let entry = &world.deployments[set.index()];
    let told = calls.map(|call| match call {
        Call::Create(ordinal, _) => format!("creates {}", pod_name(world, set, *ordinal)),
        Call::Delete(pod, Why::ScaleDown) => format!("removes {}", world.pod_name(*pod)),
        Call::Delete(pod, Why::Update) => format!("replaces {}, which has another revision", world.pod_name(*pod)),
        Call::Delete(pod, Why::Finished) => format!("replaces {}, which has ended", world.pod_name(*pod)),
    });
    format!(
        "statefulset/{} wants {} replicas: {}",
        entry.spec.name,
        entry.replicas,
        told.collect::<Vec<_>>().join(", ")
    )
}
