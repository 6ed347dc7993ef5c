//! What one sync of the StatefulSet controller does: pure arithmetic on what it saw.
//!
//! In: the pods of a set by ordinal, its size and policies, its two revisions. Out: calls in batches, each made when the one
//! before has returned. Source: `pkg/controller/statefulset/{stateful_set_control,stateful_set_utils}.go` of Kubernetes 1.34
//! (`updateStatefulSet`, `processReplica`, `processCondemned`, `slowStartBatch`). Left out: the gate MaxUnavailableStatefulSet.

use crate::plan::Ordinal;
use crate::world::{PodId, ReplicaSetId};

/// A pod of the set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Which.
    pub pod: PodId,
    /// The number in its name.
    pub ordinal: u32,
    /// Its revision.
    pub revision: ReplicaSetId,
    /// Its phase is Failed or Succeeded.
    pub finished: bool,
    /// It has a deletionTimestamp.
    pub terminating: bool,
    /// It has been Ready for minReadySeconds, and runs.
    pub available: bool,
}

impl Seen {
    fn is_unavailable(&self) -> bool {
        !self.available || self.terminating
    }
}

/// What is seen of a set.
#[derive(Clone, Debug, PartialEq)]
pub struct View {
    /// Its pods that exist.
    pub pods: Vec<Seen>,
    /// `spec.replicas`.
    pub replicas: u32,
    /// Its policies.
    pub ordinal: Ordinal,
    /// `status.currentRevision`.
    pub current: ReplicaSetId,
    /// That of the present template.
    pub update: ReplicaSetId,
}

/// Why a pod is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Its ordinal is beyond the size.
    ScaleDown,
    /// Its revision is another.
    Update,
    /// It has ended.
    Finished,
}

/// One call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// Creates the pod of an ordinal with the template of a revision.
    Create(u32, ReplicaSetId),
    /// Deletes a pod.
    Delete(PodId, Why),
}

impl View {
    fn pod_at(&self, ordinal: u32) -> Option<&Seen> {
        self.pods.iter().find(|pod| pod.ordinal == ordinal)
    }

    fn range(&self) -> std::ops::Range<u32> {
        self.ordinal.start..self.ordinal.start + self.replicas
    }

    /// The revision with which the pod of an ordinal is made (`newVersionedStatefulSetPod`).
    fn revision_of(&self, ordinal: u32) -> ReplicaSetId {
        let keeps = !self.ordinal.on_delete && ordinal < self.ordinal.start + self.ordinal.partition;
        if keeps { self.current } else { self.update }
    }

    /// Pods beyond the size, the last first.
    fn condemned(&self) -> Vec<Seen> {
        let mut condemned: Vec<Seen> =
            self.pods.iter().filter(|pod| !self.range().contains(&pod.ordinal)).copied().collect();
        condemned.sort_by_key(|pod| std::cmp::Reverse(pod.ordinal));
        condemned
    }

    /// What the set's revision demands once everything else is as it should be: the last pod of another revision goes, if
    /// those after it are available.
    fn update_step(&self) -> Option<Call> {
        if self.ordinal.on_delete {
            return None;
        }
        for index in (self.ordinal.partition.min(self.replicas)..self.replicas).rev() {
            // One that was just made has its revision and is not available.
            let pod = self.pod_at(self.ordinal.start + index)?;
            if pod.revision != self.update && !pod.terminating {
                return Some(Call::Delete(pod.pod, Why::Update));
            }
            if pod.is_unavailable() {
                return None;
            }
        }
        None
    }
}

/// What a sync does: batches of calls, none of them empty.
pub fn decide(view: &View) -> Vec<Vec<Call>> {
    if view.ordinal.parallel {
        return all_at_once(view);
    }
    one_by_one(view).into_iter().map(|call| vec![call]).collect()
}

/// OrderedReady: the first ordinal that is not as it should be is seen to, and nothing else.
fn one_by_one(view: &View) -> Option<Call> {
    for ordinal in view.range() {
        match view.pod_at(ordinal) {
            None => return Some(Call::Create(ordinal, view.revision_of(ordinal))),
            Some(pod) if pod.finished && !pod.terminating => return Some(Call::Delete(pod.pod, Why::Finished)),
            Some(pod) if pod.is_unavailable() => return None,
            Some(_) => {}
        }
    }
    let condemned = view.condemned();
    let first_unavailable = condemned.iter().rev().find(|pod| pod.is_unavailable());
    match condemned.first() {
        Some(pod) if pod.terminating => None,
        Some(pod) if !pod.available && first_unavailable != Some(pod) => None,
        Some(pod) => Some(Call::Delete(pod.pod, Why::ScaleDown)),
        None => view.update_step(),
    }
}

/// Parallel: every ordinal at once, in batches of 1, 2, 4, ...; updates go one by one all the same.
fn all_at_once(view: &View) -> Vec<Vec<Call>> {
    let of = |ordinal: u32| match view.pod_at(ordinal) {
        None => Some(Call::Create(ordinal, view.revision_of(ordinal))),
        Some(pod) if pod.finished && !pod.terminating => Some(Call::Delete(pod.pod, Why::Finished)),
        Some(_) => None,
    };
    let wanted: Vec<Option<Call>> = view.range().map(of).collect();
    let leaving = |pod: &Seen| (!pod.terminating).then_some(Call::Delete(pod.pod, Why::ScaleDown));
    let condemned: Vec<Option<Call>> = view.condemned().iter().map(leaving).collect();
    let mut batches = slow_start(&wanted);
    batches.extend(slow_start(&condemned));
    batches.extend(view.update_step().map(|call| vec![call]));
    batches
}

/// Batches of 1, 2, 4, ... of what there is to look at, those without a call left out.
fn slow_start(all: &[Option<Call>]) -> Vec<Vec<Call>> {
    let (mut batches, mut size, mut rest) = (Vec::new(), 1, all);
    while !rest.is_empty() {
        let (batch, later) = rest.split_at(size.min(rest.len()));
        batches.push(batch.iter().copied().flatten().collect::<Vec<Call>>());
        (size, rest) = (2 * size, later);
    }
    batches.retain(|batch| !batch.is_empty());
    batches
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: ReplicaSetId = ReplicaSetId(0);
    const NEW: ReplicaSetId = ReplicaSetId(1);

    fn pod(ordinal: u32, revision: ReplicaSetId) -> Seen {
        Seen { pod: PodId(ordinal), ordinal, revision, finished: false, terminating: false, available: true }
    }

    fn view(replicas: u32, pods: Vec<Seen>, ordinal: Ordinal) -> View {
        View { pods, replicas, ordinal, current: OLD, update: NEW }
    }

    fn all(count: u32, revision: ReplicaSetId) -> Vec<Seen> {
        (0..count).map(|ordinal| pod(ordinal, revision)).collect()
    }

    const ORDERED: Ordinal = Ordinal { parallel: false, on_delete: false, partition: 0, start: 0 };
    const PARALLEL: Ordinal = Ordinal { parallel: true, ..ORDERED };

    #[test]
    fn ordered_pods_wait_for_those_before_them() {
        let next = |pods: Vec<Seen>| decide(&view(3, pods, ORDERED));
        assert_eq!(next(vec![]), [[Call::Create(0, NEW)]]);
        assert_eq!(next(all(1, NEW)), [[Call::Create(1, NEW)]]);
        let waits = Seen { available: false, ..pod(0, NEW) };
        assert!(next(vec![waits]).is_empty());
        assert!(next(vec![pod(0, NEW), Seen { terminating: true, ..pod(1, NEW) }, pod(2, NEW)]).is_empty());
        assert_eq!(next(vec![pod(0, NEW), pod(2, NEW)]), [[Call::Create(1, NEW)]], "a gap is filled first");
        let ended = Seen { finished: true, available: false, ..pod(0, NEW) };
        assert_eq!(next(vec![ended, pod(1, NEW)]), [[Call::Delete(PodId(0), Why::Finished)]]);
        let shifted = Ordinal { start: 5, ..ORDERED };
        assert_eq!(decide(&view(1, vec![], shifted)), [[Call::Create(5, NEW)]]);
    }

    #[test]
    fn the_last_leaves_first_and_alone() {
        let next = |pods: Vec<Seen>| decide(&view(1, pods, ORDERED));
        assert_eq!(next(all(3, NEW)), [[Call::Delete(PodId(2), Why::ScaleDown)]]);
        let leaving = Seen { terminating: true, ..pod(2, NEW) };
        assert!(next(vec![pod(0, NEW), pod(1, NEW), leaving]).is_empty(), "it waits until that one is gone");
        let ill = |ordinal| Seen { available: false, ..pod(ordinal, NEW) };
        assert_eq!(next(vec![pod(0, NEW), pod(1, NEW), ill(2)]), [[Call::Delete(PodId(2), Why::ScaleDown)]]);
        assert!(next(vec![pod(0, NEW), ill(1), ill(2)]).is_empty(), "only the first that is ill may go");
        assert!(next(vec![ill(0), pod(1, NEW)]).is_empty(), "what stays must be well");
    }

    #[test]
    fn an_update_goes_down_to_the_partition_one_at_a_time() {
        let next = |pods: Vec<Seen>, partition| decide(&view(3, pods, Ordinal { partition, ..ORDERED }));
        assert_eq!(next(all(3, OLD), 0), [[Call::Delete(PodId(2), Why::Update)]]);
        let mut half = all(3, OLD);
        half[2].terminating = true;
        half[2].available = false;
        assert!(next(half.clone(), 0).is_empty());
        half.pop();
        assert_eq!(next(half, 0), [[Call::Create(2, NEW)]]);
        let mut last_is_new = all(3, OLD);
        last_is_new[2].revision = NEW;
        assert_eq!(next(last_is_new.clone(), 0), [[Call::Delete(PodId(1), Why::Update)]]);
        assert!(next(last_is_new.clone(), 2).is_empty());
        assert_eq!(next(vec![pod(0, OLD), pod(2, NEW)], 2), [[Call::Create(1, OLD)]], "below it the old one returns");
        let by_hand = Ordinal { on_delete: true, ..ORDERED };
        assert!(decide(&view(3, last_is_new, by_hand)).is_empty());
        assert_eq!(decide(&view(3, all(2, OLD), by_hand)), [[Call::Create(2, NEW)]]);
    }

    #[test]
    fn parallel_pods_start_slowly_and_leave_at_once() {
        let made = decide(&view(8, vec![], PARALLEL));
        assert_eq!(made.iter().map(Vec::len).collect::<Vec<_>>(), [1, 2, 4, 1]);
        let left = decide(&view(1, all(4, NEW), PARALLEL));
        assert_eq!(left.iter().map(Vec::len).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(left[0], [Call::Delete(PodId(3), Why::ScaleDown)]);
        assert_eq!(decide(&view(4, all(4, OLD), PARALLEL)), [[Call::Delete(PodId(3), Why::Update)]]);
        let mut one_is_ill = all(4, OLD);
        one_is_ill[1].available = false;
        assert_eq!(
            decide(&view(4, one_is_ill, PARALLEL)),
            [[Call::Delete(PodId(3), Why::Update)]],
            "only those after it"
        );
    }
}
