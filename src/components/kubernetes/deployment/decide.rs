//! What one sync of the Deployment controller does to its ReplicaSets: pure arithmetic.
//!
//! Source: `pkg/controller/deployment/{sync,rolling,recreate}.go`, `util/deployment_util.go`.

use crate::engine::Time;
use crate::plan::{IntOrPercent, Strategy};
use crate::world::ReplicaSetId;

/// What is seen of a ReplicaSet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Set {
    /// Which; `None` while this sync creates it.
    pub id: Option<ReplicaSetId>,
    /// It has the Deployment's present template.
    pub is_new: bool,
    /// `spec.replicas`.
    pub replicas: i32,
    /// `status.replicas`.
    pub status_replicas: i32,
    /// `status.availableReplicas`.
    pub available: i32,
    /// When it was created.
    pub created: Time,
    /// Its number among the Deployment's.
    pub revision: u32,
    /// Annotation desired-replicas; 0: absent.
    pub desired_annotation: i32,
    /// Annotation max-replicas; 0: absent.
    pub max_annotation: i32,
    /// Pods of it exist that are neither Failed nor Succeeded, terminating ones included.
    pub has_pods: bool,
}

/// What is seen of a Deployment.
#[derive(Clone, Debug, PartialEq)]
pub struct View {
    /// `spec.replicas`.
    pub replicas: i32,
    /// `spec.strategy`.
    pub strategy: Strategy,
    /// `spec.paused`.
    pub paused: bool,
    /// `spec.revisionHistoryLimit`.
    pub revision_history_limit: i32,
    /// `status.replicas`, `updatedReplicas` and `availableReplicas` are all `spec.replicas`.
    pub complete: bool,
    /// `status.replicas`.
    pub status_replicas: i32,
    /// The present instant.
    pub now: Time,
    /// Its ReplicaSets.
    pub sets: Vec<Set>,
}

/// One write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Write {
    /// Creates the ReplicaSet of the present template with so many replicas.
    Create(i32),
    /// Sets a ReplicaSet's size (and its annotations).
    Scale(ReplicaSetId, i32),
    /// Removes an old ReplicaSet without pods.
    Remove(ReplicaSetId),
}

/// A count or a percentage of `total`, rounded up or down (`GetScaledValueFromIntOrPercent`).
pub fn scaled_value(value: IntOrPercent, total: i32, round_up: bool) -> i32 {
    match value {
        IntOrPercent::Int(count) => count,
        IntOrPercent::Percent(percent) => {
            let exact = f64::from(percent) * f64::from(total) / 100.0;
            (if round_up { exact.ceil() } else { exact.floor() }) as i32
        }
    }
}

/// Surge and unavailable pods that a rollout may have (`ResolveFenceposts`): never both zero.
pub fn resolve_fenceposts(max_surge: IntOrPercent, max_unavailable: IntOrPercent, desired: i32) -> (i32, i32) {
    let surge = scaled_value(max_surge, desired, true);
    let unavailable = scaled_value(max_unavailable, desired, false);
    if surge == 0 && unavailable == 0 { (0, 1) } else { (surge, unavailable) }
}

/// `MaxSurge`.
pub fn surge(strategy: Strategy, replicas: i32) -> i32 {
    match strategy {
        Strategy::Recreate => 0,
        Strategy::RollingUpdate { max_surge, max_unavailable } => {
            resolve_fenceposts(max_surge, max_unavailable, replicas).0
        }
    }
}

/// `MaxUnavailable`.
fn unavailable(strategy: Strategy, replicas: i32) -> i32 {
    match strategy {
        Strategy::Recreate => 0,
        Strategy::RollingUpdate { .. } if replicas == 0 => 0,
        Strategy::RollingUpdate { max_surge, max_unavailable } => {
            resolve_fenceposts(max_surge, max_unavailable, replicas).1.min(replicas)
        }
    }
}

/// One sync (`syncDeployment`).
pub fn decide(view: &View) -> Vec<Write> {
    let mut sync = Sync { view, sets: view.sets.clone(), writes: Vec::new() };
    sync.sets.sort_by_key(|set| (set.created, set.id));
    if view.paused {
        sync.scale();
        sync.clean_up();
    } else if sync.is_scaling_event() {
        sync.scale();
    } else {
        match view.strategy {
            Strategy::Recreate => sync.recreate(),
            Strategy::RollingUpdate { .. } => sync.roll(),
        }
    }
    sync.writes
}

/// A sync in progress: ReplicaSets oldest first, as the writes so far leave them.
struct Sync<'a> {
    view: &'a View,
    sets: Vec<Set>,
    writes: Vec<Write>,
}

impl Sync<'_> {
    /// `spec.replicas` changed since the annotations of an active ReplicaSet were written.
    fn is_scaling_event(&self) -> bool {
        let annotated = |set: &&Set| set.replicas > 0 && set.max_annotation != 0;
        self.sets.iter().filter(annotated).any(|set| set.desired_annotation != self.view.replicas)
    }

    fn new_set(&self) -> Option<usize> {
        self.sets.iter().position(|set| set.is_new)
    }

    fn total(&self) -> i32 {
        self.sets.iter().map(|set| set.replicas).sum()
    }

    fn set_size(&mut self, index: usize, replicas: i32) {
        let set = &mut self.sets[index];
        if set.replicas == replicas {
            return;
        }
        set.replicas = replicas;
        if let Some(id) = set.id {
            self.writes.push(Write::Scale(id, replicas));
        }
    }

    /// Scaling outside of a rollout step: one active set takes it all, several share in proportion.
    fn scale(&mut self) {
        let active: Vec<usize> = (0..self.sets.len()).filter(|&index| self.sets[index].replicas > 0).collect();
        let newest_or = |sync: &Self| sync.new_set().or(sync.sets.len().checked_sub(1));
        match (active.as_slice(), newest_or(self)) {
            ([], Some(index)) => self.set_size(index, self.view.replicas),
            ([], None) => {}
            (&[index], _) => self.set_size(index, self.view.replicas),
            _ if self.is_saturated() => {
                let new = self.new_set();
                for index in active.into_iter().filter(|&index| Some(index) != new) {
                    self.set_size(index, 0);
                }
            }
            _ if self.view.strategy != Strategy::Recreate => self.scale_in_proportion(active),
            _ => {}
        }
    }

    /// The new set is as large as wanted, and available.
    fn is_saturated(&self) -> bool {
        let want = self.view.replicas;
        self.new_set().is_some_and(|index| {
            let set = &self.sets[index];
            set.replicas == want && set.desired_annotation == want && set.available == want
        })
    }

    fn scale_in_proportion(&mut self, mut active: Vec<usize>) {
        let want = self.view.replicas;
        let allowed = if want > 0 { want + surge(self.view.strategy, want) } else { 0 };
        let to_add = allowed - active.iter().map(|&index| self.sets[index].replicas).sum::<i32>();
        // Sets are oldest first: a stable sort keeps that order among equals when shrinking.
        if to_add > 0 {
            active.reverse();
        }
        active.sort_by_key(|&index| std::cmp::Reverse(self.sets[index].replicas));
        let mut added = 0;
        let mut sizes = Vec::new();
        for &index in &active {
            let share = self.proportion(&self.sets[index], to_add, added);
            sizes.push(self.sets[index].replicas + share);
            added += share;
        }
        if let (Some(first), true) = (sizes.first_mut(), to_add != 0) {
            *first = (*first + to_add - added).max(0);
        }
        for (&index, size) in active.iter().zip(sizes) {
            // Annotations are written even if the size stays.
            self.sets[index].replicas = size;
            if let Some(id) = self.sets[index].id {
                self.writes.push(Write::Scale(id, size));
            }
        }
    }

    /// `GetReplicaSetProportion`.
    fn proportion(&self, set: &Set, to_add: i32, added: i32) -> i32 {
        if set.replicas == 0 || to_add == 0 || to_add == added {
            return 0;
        }
        let allowed = to_add - added;
        let fraction = self.fraction(set);
        if to_add > 0 { fraction.min(allowed) } else { fraction.max(allowed) }
    }

    fn fraction(&self, set: &Set) -> i32 {
        let want = self.view.replicas;
        if want == 0 {
            return -set.replicas;
        }
        let size = want + surge(self.view.strategy, want);
        let before = if set.max_annotation != 0 { set.max_annotation } else { self.view.status_replicas };
        if before == 0 {
            return 0;
        }
        // Rust's round, like Go's RoundToInt32, goes half away from zero.
        (f64::from(set.replicas.wrapping_mul(size)) / f64::from(before)).round() as i32 - set.replicas
    }

    /// The new set, created if it does not exist yet.
    fn ensure_new_set(&mut self) -> usize {
        if let Some(index) = self.new_set() {
            return index;
        }
        self.sets.push(Set {
            id: None,
            is_new: true,
            replicas: 0,
            status_replicas: 0,
            available: 0,
            created: self.view.now,
            revision: u32::MAX,
            desired_annotation: self.view.replicas,
            max_annotation: 0,
            has_pods: false,
        });
        let index = self.sets.len() - 1;
        let replicas = self.new_replicas(index);
        self.sets[index].replicas = replicas;
        self.writes.push(Write::Create(replicas));
        index
    }

    /// `NewRSNewReplicas`.
    fn new_replicas(&self, index: usize) -> i32 {
        let (want, present) = (self.view.replicas, self.sets[index].replicas);
        match self.view.strategy {
            Strategy::Recreate => want,
            Strategy::RollingUpdate { max_surge, .. } => {
                let most = want + scaled_value(max_surge, want, true);
                let total = self.total();
                if total >= most { present } else { present + (most - total).min(want - present) }
            }
        }
    }

    fn roll(&mut self) {
        let created = self.new_set().is_none();
        let new = self.ensure_new_set();
        let present = self.sets[new].replicas;
        if !created && present != self.view.replicas {
            let size = if present > self.view.replicas { self.view.replicas } else { self.new_replicas(new) };
            self.set_size(new, size);
            if size != present {
                return;
            }
        }
        if !self.shrink_old(new) && self.view.complete {
            self.clean_up();
        }
    }

    /// `reconcileOldReplicaSets`: unhealthy pods first, then healthy ones as availability permits. True if any shrank.
    fn shrink_old(&mut self, new: usize) -> bool {
        let old: Vec<usize> = (0..self.sets.len()).filter(|&index| index != new).collect();
        let writes = self.writes.len();
        let min_available = self.view.replicas - unavailable(self.view.strategy, self.view.replicas);
        let new_unavailable = self.sets[new].replicas - self.sets[new].available;
        let budget = self.total() - min_available - new_unavailable;
        if budget <= 0 || old.iter().all(|&index| self.sets[index].replicas == 0) {
            return false;
        }
        let mut removed = 0;
        for &index in &old {
            let Set { replicas, available, .. } = self.sets[index];
            if removed < budget && replicas > 0 && replicas != available {
                let count = (budget - removed).min(replicas - available).max(0);
                self.set_size(index, replicas - count);
                removed += count;
            }
        }
        let spare = self.sets.iter().map(|set| set.available).sum::<i32>() - min_available;
        let mut removed = 0;
        for &index in &old {
            let replicas = self.sets[index].replicas;
            if removed < spare && replicas > 0 {
                let count = (spare - removed).min(replicas);
                self.set_size(index, replicas - count);
                removed += count;
            }
        }
        self.writes.len() > writes
    }

    fn recreate(&mut self) {
        let new = self.new_set();
        let old: Vec<usize> = (0..self.sets.len()).filter(|&index| Some(index) != new).collect();
        let writes = self.writes.len();
        for &index in &old {
            self.set_size(index, 0);
        }
        let gone = |set: &Set| set.status_replicas == 0 && !set.has_pods;
        if self.writes.len() > writes || !old.iter().all(|&index| gone(&self.sets[index])) {
            return;
        }
        let new = self.ensure_new_set();
        self.set_size(new, self.view.replicas);
        if self.view.complete {
            self.clean_up();
        }
    }

    /// Removes the oldest of more old sets than the history may keep, unless they have pods.
    fn clean_up(&mut self) {
        let mut old: Vec<&Set> = self.sets.iter().filter(|set| !set.is_new).collect();
        old.sort_by_key(|set| set.revision);
        let surplus = old.len().saturating_sub(usize::try_from(self.view.revision_history_limit).unwrap_or(0));
        let empty = |set: &&&Set| set.replicas == 0 && set.status_replicas == 0;
        let removed = old.iter().take(surplus).filter(empty).filter_map(|set| set.id.map(Write::Remove));
        let removed: Vec<Write> = removed.collect();
        self.writes.extend(removed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROLLING: Strategy =
        Strategy::RollingUpdate { max_surge: IntOrPercent::Percent(25), max_unavailable: IntOrPercent::Percent(25) };

    fn set(id: u32, is_new: bool, replicas: i32, available: i32) -> Set {
        Set {
            id: Some(ReplicaSetId(id)),
            is_new,
            replicas,
            status_replicas: replicas,
            available,
            created: Time::from_unix_seconds(100 + u64::from(id)),
            revision: id + 1,
            desired_annotation: 10,
            max_annotation: 13,
            has_pods: replicas > 0,
        }
    }

    fn view(replicas: i32, sets: Vec<Set>) -> View {
        View {
            replicas,
            strategy: ROLLING,
            paused: false,
            revision_history_limit: 10,
            complete: false,
            status_replicas: sets.iter().map(|set| set.status_replicas).sum(),
            now: Time::from_unix_seconds(1_000),
            sets,
        }
    }

    #[test]
    fn fenceposts() {
        let percent = IntOrPercent::Percent;
        assert_eq!(resolve_fenceposts(percent(0), percent(0), 0), (0, 1));
        assert_eq!(resolve_fenceposts(percent(39), percent(39), 10), (4, 3));
        assert_eq!(resolve_fenceposts(percent(25), percent(25), 10), (3, 2));
    }

    #[test]
    fn agreement_means_no_writes() {
        assert_eq!(decide(&view(10, vec![set(0, true, 10, 10)])), []);
        let mut unannotated = set(0, true, 10, 10);
        (unannotated.desired_annotation, unannotated.max_annotation) = (0, 0);
        assert_eq!(decide(&view(10, vec![unannotated])), []);
    }

    #[test]
    fn a_single_set_takes_the_new_size() {
        assert_eq!(decide(&view(14, vec![set(0, true, 10, 4)])), [Write::Scale(ReplicaSetId(0), 14)]);
        assert_eq!(decide(&view(0, vec![set(0, true, 10, 4)])), [Write::Scale(ReplicaSetId(0), 0)]);
    }

    #[test]
    fn a_rollout_of_ten_has_up_to_13_pods_and_at_least_8_available() {
        let old = set(0, false, 10, 10);
        // The sync that creates the new set goes on to shrink the old one.
        assert_eq!(decide(&view(10, vec![old])), [Write::Create(3), Write::Scale(ReplicaSetId(0), 8)]);
        let waiting = vec![set(0, false, 8, 8), set(1, true, 3, 0)];
        // 11 of 13: the new one grows first, and the sync ends there.
        assert_eq!(decide(&view(10, waiting)), [Write::Scale(ReplicaSetId(1), 5)]);
        let full = vec![set(0, false, 8, 8), set(1, true, 5, 0)];
        assert_eq!(decide(&view(10, full)), [], "8 are available, none may go");
        let progress = vec![set(0, false, 8, 8), set(1, true, 5, 2)];
        assert_eq!(decide(&view(10, progress)), [Write::Scale(ReplicaSetId(0), 6)]);
    }

    #[test]
    fn unhealthy_old_pods_go_first() {
        let sets = vec![set(0, false, 10, 7), set(1, true, 3, 0)];
        assert_eq!(decide(&view(10, sets)), [Write::Scale(ReplicaSetId(0), 8)], "two may go, both unhealthy");
    }

    #[test]
    fn a_resize_during_a_rollout_is_shared_in_proportion() {
        // 10 replicas, 13 pods as 8 + 5; now 20: surge 5, 25 pods: round(8 x 25 / 13) = 15, the rest to the other.
        let sets = vec![set(0, false, 8, 8), set(1, true, 5, 0)];
        let expected = [Write::Scale(ReplicaSetId(0), 15), Write::Scale(ReplicaSetId(1), 10)];
        assert_eq!(decide(&view(20, sets)), expected);
        // Equal sizes: what is left over goes to the newer one when growing, to the older one when shrinking.
        let equal = |desired: i32| {
            let mut sets = vec![set(0, false, 4, 4), set(1, true, 4, 0)];
            sets.iter_mut().for_each(|set| (set.desired_annotation, set.max_annotation) = (6, 8));
            decide(&View { strategy: ROLLING, ..view(desired, sets) })
        };
        assert_eq!(equal(7), [Write::Scale(ReplicaSetId(1), 5), Write::Scale(ReplicaSetId(0), 4)]);
        assert_eq!(equal(5), [Write::Scale(ReplicaSetId(0), 3), Write::Scale(ReplicaSetId(1), 4)]);
    }

    #[test]
    fn pause_stops_rollouts_but_not_scaling() {
        let mut paused = view(12, vec![set(0, false, 10, 10)]);
        paused.paused = true;
        assert_eq!(decide(&paused), [Write::Scale(ReplicaSetId(0), 12)]);
    }

    #[test]
    fn recreate_waits_for_every_old_pod() {
        let mut recreate = view(10, vec![set(0, false, 10, 10)]);
        recreate.strategy = Strategy::Recreate;
        assert_eq!(decide(&recreate), [Write::Scale(ReplicaSetId(0), 0)]);
        recreate.sets[0].replicas = 0;
        assert_eq!(decide(&recreate), []);
        recreate.sets[0].status_replicas = 0;
        assert_eq!(decide(&recreate), [], "terminating pods still exist");
        recreate.sets[0].has_pods = false;
        assert_eq!(decide(&recreate), [Write::Create(10)]);
    }

    #[test]
    fn old_sets_beyond_the_history_are_removed() {
        let mut done = view(10, vec![set(0, false, 0, 0), set(1, false, 0, 0), set(2, true, 10, 10)]);
        done.revision_history_limit = 1;
        assert_eq!(decide(&done), []);
        done.complete = true;
        assert_eq!(decide(&done), [Write::Remove(ReplicaSetId(0))]);
    }
}
