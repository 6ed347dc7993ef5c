//! ReplicaSet controller.
//!
//! ```text
//!  ReplicaSet.replicas ─┐                ┌─► pods created: batches of 1, 2, 4, ... (slow start)
//!  pods of the set ─────┼─► Sync ────────┼─► pods deleted: victims by rank, all at once
//!  minReadySeconds ─────┘                └─► ReplicaSet.status
//! ```
//!
//! Source: `pkg/controller/replicaset/replica_set.go`, `pkg/controller/controller_utils.go` of Kubernetes 1.34. All calls
//! go through one client with a token bucket. While the calls of a round are on their way the set is left alone, as
//! expectations demand.
//! Left out: quota and API errors (every call succeeds), event writes from the same bucket, adoption of orphans.

mod ranking;

use crate::components::Cx;
use crate::engine::{Purpose, Random, Span, Time};
use crate::plan::Stage;
use crate::record::Decision;
use crate::world::{DeleteCause, NewPod, NodeId, Owner, Pod, PodId, PodPhase, ReplicaSetId, ReplicaSetStatus, World};

/// Pods that one sync creates or deletes at most. Source: `replica_set.go` (`BurstReplicas`).
const BURST_REPLICAS: usize = 500;
const POD_UID: Purpose = Purpose::named("pod.uid");

/// A token bucket, as one theoretical arrival time: a call may go as soon as it is at most `burst - 1` intervals ahead.
#[derive(Clone, Copy, Debug, Default)]
pub struct TokenBucket {
    next: Time,
}

impl TokenBucket {
    /// Takes a token; when the call may go.
    pub fn reserve(&mut self, now: Time, qps: f64, burst: f64) -> Time {
        if qps <= 0.0 {
            return now;
        }
        let interval = Span::from_seconds(1.0 / qps);
        let tolerance = interval * ((burst.max(1.0) as u64) - 1);
        let full = self.next.max(now);
        self.next = full + interval;
        full.back(tolerance).max(now)
    }
}

/// Calls of one set that are on their way.
#[derive(Clone, Copy, Debug, Default)]
struct Round {
    /// Calls that have not been made yet, of the present batch.
    calls: usize,
    /// Creations beyond the present batch.
    later: usize,
    /// Size of the present batch.
    batch: usize,
    /// When the present batch has returned; the next begins.
    returns: Time,
}

/// What it keeps of one set.
#[derive(Clone, Copy, Debug, Default)]
struct Memory {
    round: Option<Round>,
    /// Batches ever begun: keys the draws.
    batches: u64,
    /// The next look for pods that become available.
    check: Option<Time>,
}

/// Its memory.
#[derive(Default)]
pub struct ReplicaSetController {
    sets: Vec<Memory>,
    client: TokenBucket,
}

/// Why it may be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// Look at a ReplicaSet again.
    Sync(ReplicaSetId),
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
            let (status, _) = status_of(cx.world, set, cx.now);
            cx.world.set_replica_set_status(set, status);
            wake(cx, cx.now, Event::Sync(set));
        }
    }

    /// Observe, decide, apply, schedule.
    pub fn handle(&mut self, cx: &mut Cx, event: Event) {
        match event {
            Event::Sync(set) => self.sync(cx, set),
            Event::Create(set) => {
                create(cx.world, set);
                self.call_made(cx, set);
            }
            Event::Delete(pod) => {
                let Owner::ReplicaSet(set) = cx.world.pod(pod).owner else { return };
                delete(cx.world, set, pod);
                self.call_made(cx, set);
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
        if cx.world.replica_sets[set.index()].gone.is_some() {
            return;
        }
        if self.memory(set).round.is_some() {
            return;
        }
        let entry = &cx.world.replica_sets[set.index()];
        let active: Vec<PodId> = entry.pods.iter().copied().filter(|&pod| cx.world.pod(pod).is_active()).collect();
        let want = usize::try_from(entry.replicas).unwrap_or(0);
        if active.len() < want {
            let missing = (want - active.len()).min(BURST_REPLICAS);
            self.memory(set).round = Some(Round { later: missing, ..Round::default() });
            self.next_batch(cx, set);
        } else if active.len() > want {
            let surplus = (active.len() - want).min(BURST_REPLICAS);
            self.delete_surplus(cx, set, active, surplus);
        }
        // The status is written when the calls of the round have been made.
        if self.memory(set).round.is_none() {
            self.write_status(cx, set);
        }
    }

    /// Begins the next batch of creations: twice the last one, all calls at once.
    fn next_batch(&mut self, cx: &mut Cx, set: ReplicaSetId) {
        let memory = self.memory(set);
        memory.batches += 1;
        let Some(round) = &mut memory.round else { return };
        round.batch = (2 * round.batch).max(1).min(round.later);
        round.later -= round.batch;
        let (batch, number) = (round.batch, memory.batches);
        let times = self.reserve(cx, batch);
        let last = times.last().copied().unwrap_or(cx.now);
        let hop = cx.delay(Stage::ApiHop, u64::from(set.0) << 32 | number);
        let at_once = times.iter().take_while(|&&at| at == cx.now).count();
        for _ in 0..at_once {
            create(cx.world, set);
        }
        for &at in &times[at_once..] {
            wake(cx, at, Event::Create(set));
        }
        if let Some(round) = &mut self.memory(set).round {
            round.calls = batch - at_once;
            round.returns = last + hop;
            if at_once == batch {
                self.batch_done(cx, set);
            }
        }
    }

    fn delete_surplus(&mut self, cx: &mut Cx, set: ReplicaSetId, active: Vec<PodId>, surplus: usize) {
        let victims = choose_victims(cx.world, set, active, surplus, cx.random);
        let (world, random) = (&*cx.world, cx.random);
        cx.recorder.decide(cx.now, || Decision::ScaleDown(ranking::explained(world, set, &victims, random)));
        let times = self.reserve(cx, victims.len());
        let mut waiting = 0;
        for (&pod, at) in victims.iter().zip(times) {
            if at == cx.now {
                delete(cx.world, set, pod);
            } else {
                wake(cx, at, Event::Delete(pod));
                waiting += 1;
            }
        }
        if waiting > 0 {
            self.memory(set).round = Some(Round { calls: waiting, ..Round::default() });
        }
    }

    fn reserve(&mut self, cx: &Cx, calls: usize) -> Vec<Time> {
        let flags = &cx.plan.flags.controllers;
        (0..calls).map(|_| self.client.reserve(cx.now, flags.client_qps, flags.client_burst)).collect()
    }

    fn call_made(&mut self, cx: &mut Cx, set: ReplicaSetId) {
        let Some(round) = &mut self.memory(set).round else { return };
        round.calls = round.calls.saturating_sub(1);
        if round.calls == 0 {
            self.batch_done(cx, set);
        }
    }

    /// All calls of a batch have been made: the next one follows when they have returned.
    fn batch_done(&mut self, cx: &mut Cx, set: ReplicaSetId) {
        let Some(round) = self.memory(set).round else { return };
        if round.later > 0 {
            wake(cx, round.returns, Event::Returned(set));
        } else {
            self.memory(set).round = None;
            wake(cx, cx.now, Event::Sync(set));
        }
    }

    fn returned(&mut self, cx: &mut Cx, set: ReplicaSetId) {
        let due = self.memory(set).round.is_some_and(|round| round.later > 0 && round.returns == cx.now);
        if due {
            self.next_batch(cx, set);
        }
    }

    fn write_status(&mut self, cx: &mut Cx, set: ReplicaSetId) {
        let (status, next) = status_of(cx.world, set, cx.now);
        if cx.world.replica_sets[set.index()].status != status {
            self.reserve(cx, 1);
            cx.world.set_replica_set_status(set, status);
        }
        let memory = self.memory(set);
        if let Some(at) = next.filter(|&at| memory.check.is_none_or(|check| check <= cx.now || at < check)) {
            memory.check = Some(at);
            wake(cx, at, Event::Sync(set));
        }
    }
}

fn wake(cx: &mut Cx, at: Time, event: Event) {
    cx.at(at, crate::components::Event::ReplicaSet(event));
}

fn create(world: &mut World, set: ReplicaSetId) {
    let entry = &world.replica_sets[set.index()];
    let ordinal = entry.created_pods + 1;
    let template = entry.template;
    world.create_pod(NewPod { template, owner: Owner::ReplicaSet(set), ordinal, pinned: None, name: None });
}

fn delete(world: &mut World, set: ReplicaSetId, pod: PodId) {
    if !world.pod(pod).is_active() {
        return;
    }
    let entry = &world.replica_sets[set.index()];
    let replaced = entry.deployment.is_some_and(|deployment| {
        let present = world.deployments[deployment.index()].spec.template;
        present != entry.template && world.template(present) != world.template(entry.template)
    });
    world.delete_pod(pod, None, if replaced { DeleteCause::Rollout } else { DeleteCause::ScaleDown });
}

/// The status of a set, and when the next of its pods becomes available.
fn status_of(world: &World, set: ReplicaSetId, now: Time) -> (ReplicaSetStatus, Option<Time>) {
    let entry = &world.replica_sets[set.index()];
    let mut status = ReplicaSetStatus { failure: entry.status.failure, ..ReplicaSetStatus::default() };
    let mut next = None::<Time>;
    for pod in entry.pods.iter().map(|&pod| world.pod(pod)).filter(|pod| pod.is_active()) {
        status.replicas += 1;
        if !pod.is_ready() {
            continue;
        }
        status.ready += 1;
        let available = pod.ready.since + entry.min_ready;
        if available <= now {
            status.available += 1;
        } else {
            next = Some(next.map_or(available, |next| next.min(available)));
        }
    }
    (status, next)
}

/// What decides whether a pod goes before another.
#[derive(Clone, Debug)]
pub struct Victim {
    /// Which.
    pub pod: PodId,
    /// Bound to a node.
    pub assigned: bool,
    /// `status.phase`.
    pub phase: PodPhase,
    /// Last transition of condition Ready if that is True.
    pub ready_since: Option<Time>,
    /// `controller.kubernetes.io/pod-deletion-cost`.
    pub cost: i32,
    /// Active pods of related sets on its node.
    pub rank: u32,
    /// Most restarts of a regular container.
    pub restarts: u32,
    /// Most restarts of a restartable init container.
    pub sidecar_restarts: u32,
    /// `metadata.creationTimestamp`.
    pub created: Time,
    /// `metadata.uid`.
    pub uid: String,
}

/// The `surplus` pods that go first. Without a choice to make there is no order.
pub fn choose_victims(
    world: &World,
    set: ReplicaSetId,
    active: Vec<PodId>,
    surplus: usize,
    random: Option<&Random>,
) -> Vec<PodId> {
    if surplus >= active.len() {
        return active;
    }
    let ranks = ranks(world, set);
    let victims = active.iter().map(|&pod| victim(world, pod, &ranks, random)).collect();
    first(victims, surplus, world.now).into_iter().map(|victim| victim.pod).collect()
}

/// Active pods of related sets by node: first those without a node, who count as one, then by the node's position.
struct Ranks(Vec<u32>);

impl Ranks {
    fn place(node: Option<NodeId>) -> usize {
        node.map_or(0, |node| node.index() + 1)
    }

    fn of(&self, node: Option<NodeId>) -> u32 {
        self.0.get(Ranks::place(node)).copied().unwrap_or(0)
    }
}

fn ranks(world: &World, set: ReplicaSetId) -> Ranks {
    let mut ranks = vec![0; world.nodes.len() + 1];
    let Some(deployment) = world.replica_sets[set.index()].deployment else { return Ranks(ranks) };
    for &related in &world.deployments[deployment.index()].replica_sets {
        let pods = world.replica_sets[related.index()].pods.iter().map(|&pod| world.pod(pod));
        for pod in pods.filter(|pod| pod.is_active()) {
            ranks[Ranks::place(pod.node)] += 1;
        }
    }
    Ranks(ranks)
}

fn victim(world: &World, id: PodId, ranks: &Ranks, random: Option<&Random>) -> Victim {
    let pod = world.pod(id);
    let template = world.template_of(id);
    let (inits, containers) = pod.containers.split_at(template.init_containers.len().min(pod.containers.len()));
    let sidecars = inits.iter().zip(&template.init_containers).filter(|(_, init)| init.restartable);
    Victim {
        pod: id,
        assigned: pod.node.is_some(),
        phase: pod.phase,
        ready_since: pod.is_ready().then_some(pod.ready.since),
        cost: pod.deletion_cost,
        rank: ranks.of(pod.node),
        restarts: containers.iter().map(|container| container.restarts).max().unwrap_or(0),
        sidecar_restarts: sidecars.map(|(container, _)| container.restarts).max().unwrap_or(0),
        created: pod.created.whole_second(),
        uid: uid(world, pod, random),
    }
}

/// `metadata.uid`: given, drawn, or (without noise) a fixed scrambling of owner and ordinal.
fn uid(world: &World, pod: &Pod, random: Option<&Random>) -> String {
    if let Some(uid) = &pod.uid {
        return uid.to_string();
    }
    let word = match (random, pod.owner) {
        (Some(random), _) => random.below(POD_UID, pod.key(), u64::MAX),
        (None, Owner::ReplicaSet(set)) => {
            let number = u64::from(world.replica_sets[set.index()].revision);
            (number * 100_003 + u64::from(pod.ordinal)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
        }
        (None, Owner::DaemonSet(_) | Owner::Bare) => pod.key().wrapping_mul(0x9e37_79b9_7f4a_7c15),
    };
    format!("{word:016x}")
}

/// The first `count` as `ActivePodsWithRanks` compares. That order is not transitive, so this is a plain merge sort, which
/// ends whatever the comparison says. Positions are moved about, not the pods themselves, and no further than asked for.
fn first(victims: Vec<Victim>, count: usize, now: Time) -> Vec<Victim> {
    let mut order: Vec<usize> = (0..victims.len()).collect();
    merge_sort(&mut order, count, &mut Vec::with_capacity(victims.len()), &|first, second| {
        goes_before(&victims[first], &victims[second], now)
    });
    order.truncate(count);
    let mut victims: Vec<Option<Victim>> = victims.into_iter().map(Some).collect();
    order.into_iter().filter_map(|position| victims[position].take()).collect()
}

/// All of them in order.
#[cfg(test)]
fn sorted(victims: Vec<Victim>, now: Time) -> Vec<Victim> {
    let count = victims.len();
    first(victims, count, now)
}

/// Puts the first `count` in order; what lies behind them is of no meaning.
fn merge_sort(order: &mut [usize], count: usize, merged: &mut Vec<usize>, goes_before: &impl Fn(usize, usize) -> bool) {
    if order.len() < 2 {
        return;
    }
    let (left, right) = order.split_at_mut(order.len() / 2);
    merge_sort(left, count, merged, goes_before);
    merge_sort(right, count, merged, goes_before);
    merged.clear();
    let (mut first, mut second) =
        (left.iter().copied().take(count).peekable(), right.iter().copied().take(count).peekable());
    while let (true, Some(&one), Some(&other)) = (merged.len() < count, first.peek(), second.peek()) {
        merged.extend(if goes_before(other, one) { second.next() } else { first.next() });
    }
    let rest = count.saturating_sub(merged.len());
    merged.extend(first.chain(second).take(rest));
    order[..merged.len()].copy_from_slice(merged);
}

/// Whether `first` is deleted before `second`.
pub fn goes_before(first: &Victim, second: &Victim, now: Time) -> bool {
    if first.assigned != second.assigned {
        return !first.assigned;
    }
    let pending = |victim: &Victim| victim.phase == PodPhase::Pending;
    if pending(first) != pending(second) {
        return pending(first);
    }
    if first.ready_since.is_some() != second.ready_since.is_some() {
        return first.ready_since.is_none();
    }
    if first.cost != second.cost {
        return first.cost < second.cost;
    }
    if first.rank != second.rank {
        return first.rank > second.rank;
    }
    if let (Some(one), Some(other)) = (first.ready_since, second.ready_since)
        && one != other
    {
        return is_younger((one, &first.uid), (other, &second.uid), now);
    }
    if first.restarts != second.restarts {
        return first.restarts > second.restarts;
    }
    if first.sidecar_restarts != second.sidecar_restarts {
        return first.sidecar_restarts > second.sidecar_restarts;
    }
    first.created != second.created && is_younger((first.created, &first.uid), (second.created, &second.uid), now)
}

/// No time at all first, then the smaller power of two of age, then the smaller UID.
fn is_younger(first: (Time, &str), second: (Time, &str), now: Time) -> bool {
    if first.0 == Time::ZERO || second.0 == Time::ZERO {
        return first.0 == Time::ZERO || (second.0 != Time::ZERO && first.0 > second.0);
    }
    let (one, other) = (age_bucket(first.0, now), age_bucket(second.0, now));
    if one == other { first.1 < second.1 } else { one < other }
}

/// Whole part of the binary logarithm of the age in nanoseconds; -1 for no age. Upstream takes it of a double, which
/// rounds up near a power of two only where a double no longer holds single microseconds.
fn age_bucket(since: Time, now: Time) -> i64 {
    let micros = now.since(since).micros();
    let exact = micros.checked_mul(1_000).filter(|nanos| *nanos < 1 << 52);
    match exact {
        Some(0) => -1,
        Some(nanos) => i64::from(nanos.ilog2()),
        None => (micros as f64 * 1_000.0).log2() as i64,
    }
}

#[cfg(test)]
mod tests;
