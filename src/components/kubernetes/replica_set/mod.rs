//! ReplicaSet controller.
//!
//! ```text
//!  ReplicaSet.replicas ─┐                ┌─► pods created: batches of 1, 2, 4, ... (slow start)
//!  pods of the set ─────┼─► Sync ────────┼─► pods deleted: victims by rank, all at once
//!  minReadySeconds ─────┘                ├─► ReplicaSet.status, condition ReplicaFailure
//!                                        └─► Due: the next pod becomes available, or a failed sync is tried again
//! ```
//!
//! Source: `pkg/controller/replicaset/{replica_set,replica_set_utils}.go` of Kubernetes 1.34. All calls go through one
//! client with a token bucket; the sync ends when they have returned. Meanwhile the set is left alone, as the work queue
//! and expectations demand, and the status tells what was seen when the sync began. The first batch with a call that
//! fails is the last of its sync, which is tried again after a back-off that doubles; watch events do not wait for it.
//! The Events that tell of calls go through the same bucket, one after the other (`events.rs`). Left out: adoption of orphans,
//! conflicts of status writes.

pub mod victims;

mod events;
mod ranking;

use crate::components::Cx;
use crate::engine::{Retries, Time, TokenBucket};
use crate::plan::{FaultKind, PodCall, Stage};
use crate::record::Decision;
use crate::world::{DeleteCause, FailureReason, NewPod, Owner, PodId, ReplicaSetId, ReplicaSetStatus, World};
use events::EventSink;
pub use victims::choose_victims;

/// Pods that one sync creates or deletes at most. Source: `replica_set.go` (`BurstReplicas`).
const BURST_REPLICAS: usize = 500;

/// What a sync saw of a set when it began.
#[derive(Clone, Debug, Default)]
struct Seen {
    /// `metadata.generation`.
    generation: u32,
    /// Active pods.
    active: Vec<PodId>,
    /// Last transitions of those that are Ready.
    ready_since: Vec<Time>,
}

/// A sync whose calls are on their way.
#[derive(Clone, Debug)]
struct Round {
    seen: Seen,
    /// Calls that have not been made yet, of the present batch.
    calls: usize,
    /// Creations beyond the present batch.
    later: usize,
    /// Size of the present batch.
    batch: usize,
    /// A call has failed.
    failure: Option<FailureReason>,
    /// Something happened meanwhile: the set is looked at again when the sync has ended.
    dirty: bool,
}

/// What it keeps of one set.
#[derive(Clone, Debug, Default)]
struct Memory {
    round: Option<Round>,
    /// Batches ever begun: keys the draws.
    batches: u64,
}

/// Its memory.
#[derive(Default)]
pub struct ReplicaSetController {
    sets: Vec<Memory>,
    client: TokenBucket,
    sink: EventSink,
    retries: Retries,
    /// What a sync saw that has ended: only its memory is used again.
    ended: Seen,
}

/// Why it may be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// Look at a ReplicaSet again.
    Sync(ReplicaSetId),
    /// A pod of a ReplicaSet with minReadySeconds became Ready.
    PodReady(ReplicaSetId),
    /// A delayed look is due.
    Due(ReplicaSetId),
    /// A creation that waited for the client's rate limit.
    Create(ReplicaSetId),
    /// A deletion that waited for the client's rate limit.
    Delete(PodId),
    /// All calls of a batch have returned.
    Returned(ReplicaSetId),
}

impl ReplicaSetController {
    /// Its informers list every ReplicaSet at the start; their statuses are as old as they are.
    pub fn start(&mut self, cx: &mut Cx) {
        for index in 0..cx.world.replica_sets.len() {
            let set = ReplicaSetId::at(index);
            let owner = cx.world.replica_sets[index].deployment;
            if owner.is_some_and(|id| cx.world.deployments[id.index()].spec.ordinal().is_some()) {
                continue;
            }
            let status = status_of(cx.world, set, &see(cx.world, set, Seen::default()), None, cx.now);
            cx.world.set_replica_set_status(set, status);
            wake(cx, cx.now, Event::Sync(set));
        }
    }

    /// Observe, decide, apply, schedule.
    pub fn handle(&mut self, cx: &mut Cx, event: Event) {
        match event {
            Event::Sync(set) => self.sync(cx, set),
            Event::PodReady(set) => {
                let at = cx.now + cx.world.replica_sets[set.index()].min_ready;
                self.look_again(cx, set, at);
                wake(cx, cx.now, Event::Sync(set));
            }
            Event::Due(set) => {
                if self.retries.is_due(set.index(), cx.now) {
                    wake(cx, cx.now, Event::Sync(set));
                }
            }
            Event::Create(set) => {
                let failure = create(cx, set);
                self.call_made(cx, set, failure);
            }
            Event::Delete(pod) => {
                let Owner::ReplicaSet(set) = cx.world.pod(pod).owner else { return };
                let failure = delete(cx, set, pod);
                self.call_made(cx, set, failure);
            }
            Event::Returned(set) => self.returned(cx, set),
        }
    }

    fn memory(&mut self, set: ReplicaSetId) -> &mut Memory {
        if self.sets.len() <= set.index() {
            self.sets.resize(set.index() + 1, Memory::default());
        }
        &mut self.sets[set.index()]
    }

    fn sync(&mut self, cx: &mut Cx, set: ReplicaSetId) {
        let entry = &cx.world.replica_sets[set.index()];
        if entry.gone.is_some() {
            self.retries.forget(set.index());
            return;
        }
        let want = usize::try_from(entry.replicas).unwrap_or(0);
        if let Some(round) = &mut self.memory(set).round {
            round.dirty = true;
            return;
        }
        let seen = see(cx.world, set, std::mem::take(&mut self.ended));
        let active = seen.active.len();
        if active == want {
            self.finish(cx, set, &seen, None);
            self.ended = seen;
            return;
        }
        let missing = want.saturating_sub(active).min(BURST_REPLICAS);
        let victims = if active > want {
            let surplus = (active - want).min(BURST_REPLICAS);
            choose_victims(cx.world, set, seen.active.clone(), surplus, cx.random)
        } else {
            Vec::new()
        };
        self.memory(set).round = Some(Round { seen, calls: 0, later: missing, batch: 0, failure: None, dirty: false });
        if missing > 0 {
            self.next_batch(cx, set);
        } else {
            let (world, random) = (&*cx.world, cx.random);
            cx.recorder.decide(cx.now, || Decision::ScaleDown(ranking::explained(world, set, &victims, random)));
            self.begin_batch(cx, set, victims.len(), |cx, index, at| match at {
                None => delete(cx, set, victims[index]),
                Some(at) => {
                    wake(cx, at, Event::Delete(victims[index]));
                    None
                }
            });
        }
    }

    /// Begins the next batch of creations: twice the last one, all calls at once.
    fn next_batch(&mut self, cx: &mut Cx, set: ReplicaSetId) {
        let Some(round) = &mut self.memory(set).round else { return };
        let batch = (2 * round.batch).max(1).min(round.later);
        round.batch = batch;
        round.later -= batch;
        self.begin_batch(cx, set, batch, |cx, _, at| match at {
            None => create(cx, set),
            Some(at) => {
                wake(cx, at, Event::Create(set));
                None
            }
        });
    }

    /// Makes the calls that the client lets through at once, and schedules the others.
    fn begin_batch(
        &mut self,
        cx: &mut Cx,
        set: ReplicaSetId,
        calls: usize,
        mut call: impl FnMut(&mut Cx, usize, Option<Time>) -> Option<FailureReason>,
    ) {
        self.memory(set).batches += 1;
        let times: Vec<Time> = (0..calls).map(|_| self.reserve(cx)).collect();
        let (mut failure, mut waiting) = (None, 0);
        for (index, at) in times.into_iter().enumerate() {
            let at = Some(at).filter(|&at| at > cx.now);
            waiting += usize::from(at.is_some());
            let failed = call(cx, index, at);
            if at.is_none() && failed.is_none() {
                self.sink.note(cx.now, set);
            }
            failure = failed.or(failure);
        }
        let Some(round) = &mut self.memory(set).round else { return };
        round.calls = waiting;
        round.failure = round.failure.or(failure);
        if waiting == 0 {
            self.batch_made(cx, set);
        }
    }

    /// When the client lets the next call through.
    fn reserve(&mut self, cx: &Cx) -> Time {
        let flags = &cx.plan.flags.controllers;
        self.sink.post(cx.now, flags, &mut self.client);
        self.client.reserve(cx.now, flags.client_qps, flags.client_burst)
    }

    fn call_made(&mut self, cx: &mut Cx, set: ReplicaSetId, failure: Option<FailureReason>) {
        if failure.is_none() {
            self.sink.note(cx.now, set);
        }
        let Some(round) = &mut self.memory(set).round else { return };
        round.failure = round.failure.or(failure);
        round.calls = round.calls.saturating_sub(1);
        if round.calls == 0 {
            self.batch_made(cx, set);
        }
    }

    /// All calls of a batch have been made: they return after a hop.
    fn batch_made(&mut self, cx: &mut Cx, set: ReplicaSetId) {
        let hop = cx.delay(Stage::ApiHop, u64::from(set.0) << 32 | self.memory(set).batches);
        wake(cx, cx.now + hop, Event::Returned(set));
    }

    fn returned(&mut self, cx: &mut Cx, set: ReplicaSetId) {
        let Some(round) = &self.memory(set).round else { return };
        if round.later > 0 && round.failure.is_none() {
            return self.next_batch(cx, set);
        }
        if let Some(round) = self.memory(set).round.take() {
            self.finish(cx, set, &round.seen, round.failure);
            self.ended = round.seen;
            if round.dirty {
                wake(cx, cx.now, Event::Sync(set));
            }
        }
    }

    /// The end of a sync: the status, then the next look.
    fn finish(&mut self, cx: &mut Cx, set: ReplicaSetId, seen: &Seen, failure: Option<FailureReason>) {
        let entry = &cx.world.replica_sets[set.index()];
        let (gone, min_ready) = (entry.gone.is_some(), entry.min_ready);
        let status = status_of(cx.world, set, seen, failure, cx.now);
        if !gone && entry.status != status {
            self.reserve(cx);
            cx.world.set_replica_set_status(set, status);
        }
        if failure.is_some() {
            let at = self.retries.fail(set.index(), cx.now, cx.plan.flags.controllers.retry);
            return self.look_again(cx, set, at);
        }
        self.retries.forget(set.index());
        if !min_ready.is_zero() && status.ready != status.available {
            let times = seen.ready_since.iter().filter(|since| **since != Time::ZERO).map(|&since| since + min_ready);
            let next = times.filter(|&at| at > cx.now).min();
            self.look_again(cx, set, next.unwrap_or(cx.now + min_ready));
        }
    }

    /// A look at that time, unless an earlier one is scheduled.
    fn look_again(&mut self, cx: &mut Cx, set: ReplicaSetId, at: Time) {
        if self.retries.add(set.index(), at) {
            wake(cx, at, Event::Due(set));
        }
    }
}

fn wake(cx: &mut Cx, at: Time, event: Event) {
    cx.at(at, crate::components::Event::ReplicaSet(event));
}

/// What there is of a set, in the memory of what was seen before.
fn see(world: &World, set: ReplicaSetId, mut seen: Seen) -> Seen {
    let entry = &world.replica_sets[set.index()];
    seen.generation = entry.generation;
    seen.active.clear();
    seen.ready_since.clear();
    for &id in &entry.pods {
        let pod = world.pod(id);
        if !pod.is_active() {
            continue;
        }
        seen.active.push(id);
        if pod.is_ready() {
            seen.ready_since.push(pod.ready.since);
        }
    }
    seen
}

/// The status that tells what a sync saw, and whether it failed.
fn status_of(
    world: &World,
    set: ReplicaSetId,
    seen: &Seen,
    failure: Option<FailureReason>,
    now: Time,
) -> ReplicaSetStatus {
    let entry = &world.replica_sets[set.index()];
    let available =
        |since: &&Time| entry.min_ready.is_zero() || (**since != Time::ZERO && **since + entry.min_ready <= now);
    ReplicaSetStatus {
        replicas: count(seen.active.len()),
        ready: count(seen.ready_since.len()),
        available: count(seen.ready_since.iter().filter(available).count()),
        observed_generation: seen.generation,
        // The first reason stays until a sync succeeds.
        failure: failure.map(|reason| entry.status.failure.unwrap_or(reason)),
    }
}

fn count(length: usize) -> i32 {
    i32::try_from(length).unwrap_or(i32::MAX)
}

/// A fault makes the controller's calls of that kind fail.
fn is_failing(cx: &Cx, call: PodCall) -> bool {
    let mut faults = cx.plan.faults.iter().zip(&cx.world.faults);
    faults.any(|(fault, &active)| active && fault.kind == FaultKind::PodCallsFail(call))
}

fn create(cx: &mut Cx, set: ReplicaSetId) -> Option<FailureReason> {
    let entry = &cx.world.replica_sets[set.index()];
    let (template, ordinal) = (entry.template, entry.created_pods + 1);
    let admitted = cx.world.quota_admits_pod(&cx.world.template(template).namespace);
    if is_failing(cx, PodCall::Create) || !admitted {
        let name = cx.world.replica_set_name(set);
        cx.explain(|| {
            format!("replicaset/{name}: FailedCreate, {}", if admitted { "the call fails" } else { "exceeded quota" })
        });
        cx.world.note_refused_pod(set);
        return Some(FailureReason::FailedCreate);
    }
    cx.world.create_pod(NewPod { template, owner: Owner::ReplicaSet(set), ordinal, pinned: None, name: None });
    None
}

/// A pod that is gone or terminating already is no failure.
fn delete(cx: &mut Cx, set: ReplicaSetId, pod: PodId) -> Option<FailureReason> {
    if is_failing(cx, PodCall::Delete) {
        cx.world.note_failed_deletion(pod);
        return Some(FailureReason::FailedDelete);
    }
    let world = &mut *cx.world;
    if !world.pod(pod).is_active() {
        return None;
    }
    let entry = &world.replica_sets[set.index()];
    let replaced = entry.deployment.is_some_and(|deployment| {
        let present = world.deployments[deployment.index()].spec.template;
        present != entry.template && world.template(present) != world.template(entry.template)
    });
    world.delete_pod(pod, None, if replaced { DeleteCause::Rollout } else { DeleteCause::ScaleDown });
    None
}

#[cfg(test)]
mod tests;
