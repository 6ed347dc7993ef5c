//! ReplicaSet controller: as many pods as the ReplicaSet wants.
//!
//! ```text
//!  ReplicaSet spec, pods ─► Sync ─► too few:  slow-start rounds of 1, 2, 4, … creations ─► pods
//!                                ─► too many: victims by rank, all at once              ─► deletions
//!                                ─► status (replicas, ready, available)
//! ```
//!
//! Models `pkg/controller/replicaset/replica_set.go` and `pkg/controller/controller_utils.go` of Kubernetes 1.34: slow
//! start, at most 500 pods a sync, the client's token bucket shared by all ReplicaSets, the order of victims. A round of
//! calls that is under way plays the part of the expectations: nothing else is done to that ReplicaSet until it ends.
//! Left out: adoption and release of pods by label, events.

use crate::components::{Cx, Event as AnyEvent};
use crate::engine::{Purpose, Random, Span, Time};
use crate::plan::Stage;
use crate::world::{DeleteCause, NewPod, Owner, Pod, PodId, PodPhase, ReplicaSetId, ReplicaSetStatus, World};
use std::cmp::Ordering;
use std::collections::BTreeMap;

/// `burstReplicas`: pods created or deleted in one sync at most.
const BURST_REPLICAS: i32 = 500;
const UID: Purpose = Purpose::named("pod.uid");

/// Calls that are under way for a ReplicaSet.
#[derive(Clone, Copy, Debug, Default)]
struct Round {
    /// Creations not yet begun.
    left: i32,
    /// Size of the next slow-start batch.
    batch: i32,
    /// Calls that have not returned.
    outstanding: i32,
    /// Batches begun, to key draws.
    batches: u32,
}

/// Its memory.
#[derive(Default)]
pub struct ReplicaSetController {
    rounds: BTreeMap<ReplicaSetId, Round>,
    bucket: TokenBucket,
}

/// Why it may be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// Look at a ReplicaSet again.
    Sync(ReplicaSetId),
    /// A creation that waited for the client's rate limit is sent.
    Create(ReplicaSetId),
    /// A deletion that waited for the client's rate limit is sent.
    Delete(PodId),
    /// A call returns.
    Returned(ReplicaSetId),
}

impl ReplicaSetController {
    /// Looks at every ReplicaSet once.
    pub fn start(&mut self, cx: &mut Cx) {
        for index in 0..cx.world.replica_sets.len() {
            cx.after(Span::ZERO, AnyEvent::ReplicaSet(Event::Sync(ReplicaSetId::at(index))));
        }
    }

    /// Observe, decide, apply, schedule.
    pub fn handle(&mut self, cx: &mut Cx, event: Event) {
        match event {
            Event::Sync(set) => self.sync(cx, set),
            Event::Create(set) => create(cx, set),
            Event::Delete(pod) => cx.world.delete_pod(pod, None, delete_cause(cx.world, pod)),
            Event::Returned(set) => self.returned(cx, set),
        }
    }

    fn sync(&mut self, cx: &mut Cx, set: ReplicaSetId) {
        if cx.world.replica_sets[set.index()].gone.is_some() {
            return;
        }
        if !self.rounds.contains_key(&set) {
            let active: Vec<PodId> = active_pods(cx.world, set).map(|pod| pod.id).collect();
            let difference = cx.world.replica_sets[set.index()].replicas - active.len() as i32;
            match difference.cmp(&0) {
                Ordering::Greater => {
                    self.rounds.insert(set, Round { left: difference.min(BURST_REPLICAS), batch: 1, ..Round::default() });
                    self.next_batch(cx, set);
                }
                Ordering::Less => self.delete(cx, set, (-difference).min(BURST_REPLICAS)),
                Ordering::Equal => {}
            }
        }
        write_status(cx, set);
    }

    /// Begins the next slow-start batch: its calls go out together, each when the client's bucket has a token.
    fn next_batch(&mut self, cx: &mut Cx, set: ReplicaSetId) {
        let Some(round) = self.rounds.get_mut(&set) else { return };
        let size = round.batch.min(round.left);
        round.left -= size;
        round.batch *= 2;
        round.outstanding = size;
        round.batches += 1;
        let hop = cx.delay(Stage::ApiHop, 5 << 56 | u64::from(set.0) << 24 | u64::from(round.batches));
        for _ in 0..size {
            let wait = self.bucket.take(cx);
            if wait.is_zero() {
                create(cx, set);
            } else {
                cx.after(wait, AnyEvent::ReplicaSet(Event::Create(set)));
            }
            cx.after(wait + hop, AnyEvent::ReplicaSet(Event::Returned(set)));
        }
    }

    fn delete(&mut self, cx: &mut Cx, set: ReplicaSetId, count: i32) {
        let victims = victims(cx.world, cx.random, set, count as usize, cx.now);
        cx.explain(|| {
            let names: Vec<String> = victims.iter().map(|&pod| pod.0.to_string()).collect();
            format!("replica set {} is {count} too large and deletes pods {}", set.0, names.join(", "))
        });
        self.rounds.insert(set, Round { outstanding: count, ..Round::default() });
        let hop = cx.delay(Stage::ApiHop, 6 << 56 | u64::from(set.0));
        for pod in victims {
            let wait = self.bucket.take(cx);
            if wait.is_zero() {
                cx.world.delete_pod(pod, None, delete_cause(cx.world, pod));
            } else {
                cx.after(wait, AnyEvent::ReplicaSet(Event::Delete(pod)));
            }
            cx.after(wait + hop, AnyEvent::ReplicaSet(Event::Returned(set)));
        }
    }

    /// One call returned: the last of a batch begins the next, the last of a round looks again.
    fn returned(&mut self, cx: &mut Cx, set: ReplicaSetId) {
        let Some(round) = self.rounds.get_mut(&set) else { return };
        round.outstanding -= 1;
        if round.outstanding > 0 {
            return;
        }
        if round.left > 0 {
            self.next_batch(cx, set);
        } else {
            self.rounds.remove(&set);
            self.sync(cx, set);
        }
    }
}

/// The token bucket of a controller's API client (`--kube-api-qps`, `--kube-api-burst`).
#[derive(Default)]
struct TokenBucket {
    /// When the bucket would be full again.
    full_at: Time,
}

impl TokenBucket {
    /// Takes a token: how long the call waits for it.
    fn take(&mut self, cx: &Cx) -> Span {
        let flags = &cx.plan.flags.controllers;
        if flags.client_qps <= 0.0 {
            return Span::ZERO;
        }
        let token = Span::from_seconds(1.0 / flags.client_qps);
        let burst = Span::from_seconds(flags.client_burst / flags.client_qps);
        self.full_at = self.full_at.max(cx.now) + token;
        (self.full_at - cx.now).saturating_sub(burst)
    }
}

fn create(cx: &mut Cx, set: ReplicaSetId) {
    let entry = &cx.world.replica_sets[set.index()];
    if entry.gone.is_none() {
        let (template, ordinal) = (entry.template, entry.created_pods + 1);
        let owner = Owner::ReplicaSet(set);
        cx.world.create_pod(NewPod { template, owner, ordinal, pinned: None, name: None });
    }
}

/// A pod of an old revision goes because of the rollout.
fn delete_cause(world: &World, pod: PodId) -> DeleteCause {
    let Owner::ReplicaSet(set) = world.pod(pod).owner else { return DeleteCause::ScaleDown };
    let entry = &world.replica_sets[set.index()];
    let current = entry.deployment.map(|deployment| world.deployments[deployment.index()].spec.template);
    if current.is_none_or(|template| template == entry.template) { DeleteCause::ScaleDown } else { DeleteCause::Rollout }
}

fn active_pods(world: &World, set: ReplicaSetId) -> impl Iterator<Item = &Pod> {
    world.replica_sets[set.index()].pods.iter().map(|&pod| world.pod(pod)).filter(|pod| pod.is_active())
}

/// Writes the status; comes back when a Ready pod becomes available.
fn write_status(cx: &mut Cx, set: ReplicaSetId) {
    let min_ready = cx.world.replica_sets[set.index()].min_ready;
    let mut status = ReplicaSetStatus::default();
    let mut next: Option<Time> = None;
    for pod in active_pods(cx.world, set) {
        status.replicas += 1;
        if pod.is_ready() {
            status.ready += 1;
            let available = pod.ready.since + min_ready;
            if available <= cx.now {
                status.available += 1;
            } else {
                next = Some(next.map_or(available, |next| next.min(available)));
            }
        }
    }
    cx.world.set_replica_set_status(set, status);
    if let Some(at) = next {
        cx.at(at, AnyEvent::ReplicaSet(Event::Sync(set)));
    }
}

/// What the order of victims looks at.
struct Candidate {
    pod: PodId,
    assigned: bool,
    phase: u8,
    ready: bool,
    cost: i32,
    rank: usize,
    ready_time: Time,
    restarts: (u32, u32),
    created: Time,
    uid: String,
}

/// The pods to delete first: `getPodsToDelete` with `ActivePodsWithRanks`.
pub fn victims(world: &World, random: Option<&Random>, set: ReplicaSetId, count: usize, now: Time) -> Vec<PodId> {
    let pods: Vec<&Pod> = active_pods(world, set).collect();
    if count >= pods.len() {
        return pods.iter().map(|pod| pod.id).collect();
    }
    let related = active_pods_by_node(world, set);
    let candidate = |pod: &&Pod| {
        let template = world.template(pod.template);
        let sidecars = template.init_containers.len();
        let most = |statuses: &[crate::world::ContainerStatus]| statuses.iter().map(|c| c.restarts).max().unwrap_or(0);
        Candidate {
            pod: pod.id,
            assigned: pod.node.is_some(),
            phase: match pod.phase {
                PodPhase::Pending => 0,
                PodPhase::Running | PodPhase::Succeeded | PodPhase::Failed => 2,
            },
            ready: pod.is_ready(),
            cost: pod.deletion_cost,
            rank: pod.node.map_or(0, |node| related.get(&node).copied().unwrap_or(0)),
            ready_time: if pod.is_ready() { pod.ready.since } else { Time::ZERO },
            restarts: (most(&pod.containers[sidecars..]), most(&pod.containers[..sidecars])),
            created: pod.created.whole_second(),
            uid: uid(world, random, pod),
        }
    };
    let mut candidates: Vec<Candidate> = pods.iter().map(candidate).collect();
    merge_sort(&mut candidates, |one, other| before(one, other, now));
    candidates.into_iter().take(count).map(|candidate| candidate.pod).collect()
}

/// Active pods of the ReplicaSets of the same owner, counted by node. A ReplicaSet without owner has no ranks.
fn active_pods_by_node(world: &World, set: ReplicaSetId) -> BTreeMap<crate::world::NodeId, usize> {
    let mut counts = BTreeMap::new();
    let Some(deployment) = world.replica_sets[set.index()].deployment else { return counts };
    for &related in &world.deployments[deployment.index()].replica_sets {
        for node in active_pods(world, related).filter_map(|pod| pod.node) {
            *counts.entry(node).or_insert(0) += 1;
        }
    }
    counts
}

/// `metadata.uid`: as given, else derived from ReplicaSet and ordinal; with noise it is drawn, as the API server does.
fn uid(world: &World, random: Option<&Random>, pod: &Pod) -> String {
    if let Some(uid) = &pod.uid {
        return uid.to_string();
    }
    if let Some(random) = random {
        return format!("{:016x}", random.below(UID, pod.key(), u64::MAX));
    }
    let Owner::ReplicaSet(set) = pod.owner else { return format!("{:016x}", pod.ordinal) };
    let entry = &world.replica_sets[set.index()];
    let number = if entry.deployment.is_some() { entry.revision } else { entry.id.0 + 1 };
    let scrambled = (u64::from(number) * 100_003 + u64::from(pod.ordinal)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    format!("{scrambled:016x}")
}

/// Whether `one` is deleted before `other`. Not transitive, as upstream: rule 6 jumps to the UID past rule 7.
fn before(one: &Candidate, other: &Candidate, now: Time) -> bool {
    if one.assigned != other.assigned {
        return !one.assigned;
    }
    if one.phase != other.phase {
        return one.phase < other.phase;
    }
    if one.ready != other.ready {
        return !one.ready;
    }
    if one.cost != other.cost {
        return one.cost < other.cost;
    }
    if one.rank != other.rank {
        return one.rank > other.rank;
    }
    if one.ready && one.ready_time != other.ready_time {
        if one.ready_time == Time::ZERO || other.ready_time == Time::ZERO {
            return one.ready_time == Time::ZERO;
        }
        return younger(one, other, one.ready_time, other.ready_time, now);
    }
    if one.restarts != other.restarts {
        return one.restarts > other.restarts;
    }
    one.created != other.created && younger(one, other, one.created, other.created, now)
}

/// The smaller bucket of age first, in one bucket the smaller UID.
fn younger(one: &Candidate, other: &Candidate, first: Time, second: Time, now: Time) -> bool {
    match age_bucket(first, now).cmp(&age_bucket(second, now)) {
        Ordering::Equal => one.uid < other.uid,
        order => order == Ordering::Less,
    }
}

/// floor(log2(age in nanoseconds)), -1 for an age of zero or less.
fn age_bucket(since: Time, now: Time) -> i64 {
    let nanos = u128::from(now.since(since).micros()) * 1_000;
    if nanos == 0 { -1 } else { i64::from(nanos.ilog2()) }
}

/// A stable merge sort that accepts any relation: the order of victims is not transitive, and the standard library's sort
/// may panic on such a one.
fn merge_sort<T>(items: &mut Vec<T>, before: impl Fn(&T, &T) -> bool + Copy) {
    if items.len() < 2 {
        return;
    }
    let mut right = items.split_off(items.len() / 2);
    merge_sort(items, before);
    merge_sort(&mut right, before);
    let (mut left, mut right) = (std::mem::take(items).into_iter().peekable(), right.into_iter().peekable());
    while let (Some(one), Some(other)) = (left.peek(), right.peek()) {
        let next = if before(other, one) { right.next() } else { left.next() };
        items.extend(next);
    }
    items.extend(left);
    items.extend(right);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_of_age_are_powers_of_two() {
        let now = Time::from_unix_seconds(1_000_000);
        let bucket = |hours: u64| age_bucket(now.back(Span::from_secs(hours * 3600)), now);
        assert_eq!(bucket(5), bucket(8));
        assert_ne!(bucket(2), bucket(5));
        assert_eq!(age_bucket(now, now), -1);
    }

    #[test]
    fn a_sort_without_a_total_order_neither_panics_nor_loses_anything() {
        let mut items: Vec<u32> = (0..100).collect();
        merge_sort(&mut items, |one, other| (one * 7 + other * 3) % 5 < 2);
        items.sort_unstable();
        assert_eq!(items, (0..100).collect::<Vec<_>>());
    }

    fn candidate(pod: u32, change: impl Fn(&mut Candidate)) -> Candidate {
        let mut candidate = Candidate {
            pod: PodId(pod),
            assigned: true,
            phase: 2,
            ready: true,
            cost: 0,
            rank: 1,
            ready_time: Time::from_unix_seconds(100),
            restarts: (0, 0),
            created: Time::from_unix_seconds(90),
            uid: format!("{pod:016x}"),
        };
        change(&mut candidate);
        candidate
    }

    #[test]
    fn the_first_difference_decides() {
        let now = Time::from_unix_seconds(5_000);
        let plain = candidate(1, |_| {});
        let first = [
            candidate(2, |c| c.assigned = false),
            candidate(3, |c| c.phase = 0),
            candidate(4, |c| c.ready = false),
            candidate(5, |c| c.cost = -1),
            candidate(6, |c| c.rank = 2),
            candidate(7, |c| c.ready_time = Time::from_unix_seconds(4_900)),
            candidate(8, |c| c.restarts = (3, 0)),
            candidate(9, |c| c.created = Time::from_unix_seconds(4_000)),
        ];
        for earlier in &first {
            assert!(before(earlier, &plain, now), "pod {}", earlier.pod.0);
            assert!(!before(&plain, earlier, now), "pod {}", earlier.pod.0);
        }
        // Both were created 4900 s ago, give or take: one bucket, so the smaller UID goes first.
        let near = candidate(0, |c| c.ready_time = Time::from_unix_seconds(120));
        assert!(before(&near, &plain, now));
    }
}
