//! The places of each Deployment: as many as it wants replicas, each held by a pod, or vacant.
//!
//! ```text
//!  scaled up        ─► places of that step, vacant until pods are created
//!  rollout          ─► a pod of the new revision takes the place of one of the old, whichever comes or goes first
//!  evicted, deleted ─► the ReplicaSet's next pod takes the place, and with it whatever the place waited for
//!  scaled down      ─► vacant places first, then those of the pods that are chosen
//! ```
//! What a rollout keeps above the wanted size is spare: it has no place until it takes over one.

use crate::plan::DeploymentId;
use crate::world::{DeleteCause, Owner, PodId};
use std::collections::{BTreeMap, VecDeque};

/// What becomes of the place of a pod, or of a place without one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moved {
    /// A pod took a place that a step opened and nobody served in yet.
    Taken(usize, PodId),
    /// A pod left such a place before it served.
    Left(usize, PodId),
    /// Such a place is not wanted any more.
    Closed(usize),
}

/// Why a place has no pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Because {
    /// It was opened.
    Opened,
    /// A rollout deleted its pod.
    RolledOut,
    /// Its pod was evicted, deleted or lost: its owner makes another.
    Lost(Owner),
}

/// The places of one Deployment.
#[derive(Clone, Debug, Default)]
struct OfDeployment {
    /// The step that waits for a pod to serve there, by place.
    places: Vec<Option<usize>>,
    held: BTreeMap<PodId, usize>,
    /// Places without a pod, in the order in which they became so.
    vacant: VecDeque<(usize, Because)>,
    /// How many of them lost their pod: mostly none, and then nobody looks through the others.
    lost: usize,
    spare: Vec<PodId>,
    /// Places that a scale-down took back and whose pods are still to be chosen.
    owed: usize,
}

/// A pod as the places see it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tenant {
    pub pod: PodId,
    pub owner: Owner,
    pub deployment: DeploymentId,
}

/// All of them.
#[derive(Clone, Debug)]
pub(super) struct Places {
    of: Vec<OfDeployment>,
    /// Pods that a rollout made.
    pub rolled_out: Vec<bool>,
}

impl Places {
    pub(super) fn new(deployments: usize, pods: usize) -> Places {
        Places { of: vec![OfDeployment::default(); deployments], rolled_out: vec![false; pods] }
    }

    /// A pod of the start has its place.
    pub(super) fn settle(&mut self, deployment: DeploymentId, pod: PodId) {
        let own = &mut self.of[deployment.index()];
        own.held.insert(pod, own.places.len());
        own.places.push(None);
    }

    /// Nobody is there and nobody is awaited.
    pub(super) fn is_empty(&self, deployment: DeploymentId) -> bool {
        let own = &self.of[deployment.index()];
        own.spare.is_empty() && own.vacant.is_empty() && own.held.is_empty()
    }

    /// So many more are wanted.
    pub(super) fn open(&mut self, deployment: DeploymentId, count: usize, step: Option<usize>) {
        let own = &mut self.of[deployment.index()];
        for _ in 0..count {
            own.vacant.push_back((own.places.len(), Because::Opened));
            own.places.push(step);
        }
    }

    /// So many fewer are wanted: places without a pod go at once, the newest first.
    pub(super) fn close(&mut self, deployment: DeploymentId, count: usize) -> Vec<Moved> {
        let own = &mut self.of[deployment.index()];
        let vacant = own.vacant.len().min(count);
        own.owed += count - vacant;
        let gone = own.vacant.split_off(own.vacant.len() - vacant);
        own.lost -= gone.iter().filter(|(_, because)| matches!(because, Because::Lost(_))).count();
        gone.into_iter().filter_map(|(place, _)| own.places[place].take().map(Moved::Closed)).collect()
    }

    /// A pod came to be: it takes the place of the one that its owner lost, or one that nobody holds, or is spare.
    pub(super) fn created(&mut self, new: Tenant) -> Option<Moved> {
        let own = &mut self.of[new.deployment.index()];
        let of_owner = |&(_, because): &(usize, Because)| because == Because::Lost(new.owner);
        let of_nobody = |&(_, because): &(usize, Because)| !matches!(because, Because::Lost(_));
        let lost = if own.lost > 0 { own.vacant.iter().position(of_owner) } else { None };
        let found = lost.or_else(|| own.vacant.iter().position(of_nobody)).unwrap_or(0);
        match own.vacant.remove(found) {
            Some((place, because)) => {
                own.lost -= usize::from(matches!(because, Because::Lost(_)));
                self.rolled_out[new.pod.index()] = because == Because::RolledOut;
                own.take(place, new.pod)
            }
            None => {
                self.rolled_out[new.pod.index()] = true;
                own.spare.push(new.pod);
                None
            }
        }
    }

    /// A pod goes. `serves`: when a pod serves first, if it ever does; the spare one that is first takes over.
    pub(super) fn left<K: Ord>(
        &mut self,
        old: Tenant,
        cause: DeleteCause,
        serves: impl Fn(PodId) -> Option<K>,
    ) -> Vec<Moved> {
        let own = &mut self.of[old.deployment.index()];
        let by_owner = matches!(cause, DeleteCause::ScaleDown | DeleteCause::Rollout);
        let mut moved = Vec::new();
        if by_owner && own.lost > 0 {
            // Who deletes pods makes up for none.
            for (_, because) in own.vacant.iter_mut().filter(|(_, because)| *because == Because::Lost(old.owner)) {
                *because = Because::RolledOut;
                own.lost -= 1;
            }
        }
        if let Some(place) = own.held.remove(&old.pod) {
            if serves(old.pod).is_some() {
                own.places[place] = None;
            }
            moved.extend(own.places[place].map(|step| Moved::Left(step, old.pod)));
            let closes = by_owner && own.owed > 0 && (cause == DeleteCause::ScaleDown || own.spare.is_empty());
            if closes {
                own.owed -= 1;
                moved.extend(own.places[place].take().map(Moved::Closed));
            } else {
                own.lost += usize::from(!by_owner);
                own.vacant.push_back((place, if by_owner { Because::RolledOut } else { Because::Lost(old.owner) }));
            }
        } else if let Some(index) = own.spare.iter().position(|&pod| pod == old.pod) {
            own.spare.remove(index);
        }
        own.take_over(serves, &mut moved);
        moved
    }
}

impl OfDeployment {
    fn take(&mut self, place: usize, pod: PodId) -> Option<Moved> {
        self.held.insert(pod, place);
        self.places[place].map(|step| Moved::Taken(step, pod))
    }

    /// Spare pods take the places that a rollout left.
    fn take_over<K: Ord>(&mut self, serves: impl Fn(PodId) -> Option<K>, moved: &mut Vec<Moved>) {
        let of_rollout = |&(_, because): &(usize, Because)| because == Because::RolledOut;
        while !self.spare.is_empty()
            && let Some(index) = self.vacant.iter().position(of_rollout)
        {
            let key = |&pod: &PodId| (serves(pod).is_none(), serves(pod), pod);
            let Some(pod) = self.spare.iter().copied().min_by_key(key) else { return };
            self.spare.retain(|&other| other != pod);
            if let Some((place, _)) = self.vacant.remove(index) {
                moved.extend(self.take(place, pod));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::ReplicaSetId;

    const WEB: DeploymentId = DeploymentId(0);

    fn pod(number: u32, set: u32) -> Tenant {
        Tenant { pod: PodId(number), owner: Owner::ReplicaSet(ReplicaSetId(set)), deployment: WEB }
    }

    /// Two pods of the first revision, a surge pod of the second, and a step by one.
    fn rolling() -> Places {
        let mut places = Places::new(1, 10);
        places.settle(WEB, PodId(0));
        places.settle(WEB, PodId(1));
        assert_eq!(places.created(pod(2, 1)), None);
        places.open(WEB, 1, Some(7));
        places
    }

    fn serves(first: u32) -> impl Fn(PodId) -> Option<u32> {
        move |pod: PodId| (pod.0 < first).then_some(pod.0)
    }

    #[test]
    fn a_pod_of_the_new_revision_stands_for_one_of_the_old_that_never_served() {
        let mut places = rolling();
        assert_eq!(places.created(pod(3, 0)), Some(Moved::Taken(7, PodId(3))));
        let moved = places.left(pod(3, 0), DeleteCause::Rollout, serves(3));
        assert_eq!(moved, [Moved::Left(7, PodId(3)), Moved::Taken(7, PodId(2))]);
        assert!(places.rolled_out[2]);
    }

    #[test]
    fn what_comes_after_an_eviction_is_of_no_step() {
        let mut places = rolling();
        assert_eq!(places.created(pod(3, 1)), Some(Moved::Taken(7, PodId(3))));
        // One that served was evicted: its place, not the step's, is taken.
        assert_eq!(places.left(pod(3, 1), DeleteCause::Eviction, serves(9)), []);
        assert_eq!(places.created(pod(4, 1)), None);
        assert!(!places.rolled_out[4]);
        // One that had not served yet: the step waits for the one that comes instead.
        places.open(WEB, 1, Some(8));
        assert_eq!(places.created(pod(5, 1)), Some(Moved::Taken(8, PodId(5))));
        assert_eq!(places.left(pod(5, 1), DeleteCause::User, serves(5)), [Moved::Left(8, PodId(5))]);
        assert_eq!(places.created(pod(6, 1)), Some(Moved::Taken(8, PodId(6))));
    }

    #[test]
    fn its_own_replica_set_replaces_a_lost_pod_while_a_step_waits() {
        let mut places = Places::new(1, 10);
        places.settle(WEB, PodId(0));
        places.open(WEB, 1, Some(7));
        assert_eq!(places.left(pod(0, 0), DeleteCause::Eviction, serves(1)), []);
        assert_eq!(places.created(pod(1, 1)), Some(Moved::Taken(7, PodId(1))));
        assert_eq!(places.created(pod(2, 0)), None);
        assert!(!places.rolled_out[2]);
    }

    #[test]
    fn fewer_are_wanted_vacant_places_first() {
        let mut places = rolling();
        places.open(WEB, 1, Some(8));
        assert_eq!(places.created(pod(3, 0)), Some(Moved::Taken(7, PodId(3))));
        assert_eq!(places.close(WEB, 2), [Moved::Closed(8)]);
        let moved = places.left(pod(3, 0), DeleteCause::ScaleDown, serves(3));
        assert_eq!(moved, [Moved::Left(7, PodId(3)), Moved::Closed(7)]);
    }
}
