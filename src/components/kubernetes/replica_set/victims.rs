//! Which pods of a ReplicaSet go first when it has too many.
//!
//! Source: `pkg/controller/controller_utils.go` (`ActivePodsWithRanks`), `replica_set.go` (`getPodsToDelete`).

use crate::engine::{Purpose, Random, Time};
use crate::world::{NodeId, Owner, Pod, PodId, PodPhase, ReplicaSetId, World};
use std::sync::Arc;

const POD_UID: Purpose = Purpose::named("pod.uid");
/// The order in which the controller's index yields its pods.
const FOUND: Purpose = Purpose::named("replica_set.found");

/// What decides whether a pod goes before another.
#[derive(Clone, Debug)]
pub struct Victim {
    /// Which.
    pub pod: PodId,
    /// Bound to a node.
    pub assigned: bool,
    /// `status.phase`.
    pub phase: PodPhase,
    /// Last transition of condition Ready if that is True; the zero time if it has none.
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
    pub uid: Uid,
}

/// `metadata.uid`: given, or sixteen hexadecimal digits that are written out only to be compared with a given one.
#[derive(Clone, Debug)]
pub enum Uid {
    /// As the object has it.
    Given(Arc<str>),
    /// Its digits as a number.
    Digits(u64),
}

impl Uid {
    /// Whether it comes first as text.
    fn is_before(&self, other: &Uid) -> bool {
        let text = |uid: &Uid| match uid {
            Uid::Given(text) => text.to_string(),
            Uid::Digits(digits) => format!("{digits:016x}"),
        };
        match (self, other) {
            (Uid::Given(one), Uid::Given(other)) => one < other,
            // As many digits in both: the order of the numbers is that of the texts.
            (Uid::Digits(one), Uid::Digits(other)) => one < other,
            _ => text(self) < text(other),
        }
    }
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
    let mut victims: Vec<Victim> = active.iter().map(|&pod| victim(world, pod, &ranks, random)).collect();
    if let Some(random) = random {
        // The controller finds its pods in no order (`podIndexer.ByIndex`), and of equals it takes what comes.
        victims.sort_by_cached_key(|victim| random.below(FOUND, world.pod(victim.pod).key(), u64::MAX));
    }
    first(victims, surplus, world.now).into_iter().map(|victim| victim.pod).collect()
}

/// Active pods of related sets by node: first those without a node, who count as one, then by the node's position.
pub(super) struct Ranks(Vec<u32>);

impl Ranks {
    fn place(node: Option<NodeId>) -> usize {
        node.map_or(0, |node| node.index() + 1)
    }

    fn of(&self, node: Option<NodeId>) -> u32 {
        self.0.get(Ranks::place(node)).copied().unwrap_or(0)
    }
}

pub(super) fn ranks(world: &World, set: ReplicaSetId) -> Ranks {
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

pub(super) fn victim(world: &World, id: PodId, ranks: &Ranks, random: Option<&Random>) -> Victim {
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
fn uid(world: &World, pod: &Pod, random: Option<&Random>) -> Uid {
    if let Some(uid) = &pod.uid {
        return Uid::Given(uid.clone());
    }
    let word = match (random, pod.owner) {
        (Some(random), _) => random.below(POD_UID, pod.key(), u64::MAX),
        (None, Owner::ReplicaSet(set)) => {
            let number = u64::from(world.replica_sets[set.index()].revision);
            (number * 100_003 + u64::from(pod.ordinal)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
        }
        (None, Owner::DaemonSet(_) | Owner::Bare) => pod.key().wrapping_mul(0x9e37_79b9_7f4a_7c15),
    };
    Uid::Digits(word)
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
    let order = |victim: &Victim| phase_order(victim.phase);
    if order(first) != order(second) {
        return order(first) < order(second);
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

const fn phase_order(phase: PodPhase) -> u8 {
    match phase {
        PodPhase::Pending => 0,
        PodPhase::Unknown => 1,
        PodPhase::Running => 2,
        PodPhase::Succeeded | PodPhase::Failed => 3,
    }
}

/// No time at all first, then the smaller power of two of age, then the smaller UID.
fn is_younger(first: (Time, &Uid), second: (Time, &Uid), now: Time) -> bool {
    if first.0 == Time::ZERO || second.0 == Time::ZERO {
        return first.0 == Time::ZERO || (second.0 != Time::ZERO && first.0 > second.0);
    }
    let (one, other) = (age_bucket(first.0, now), age_bucket(second.0, now));
    if one == other { first.1.is_before(second.1) } else { one < other }
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
