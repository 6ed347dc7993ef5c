//! What one sync of the Deployment controller writes: pure arithmetic on what it saw.
//!
//! In: a Deployment and its ReplicaSets. Out: writes in order, and when to look again. A sync reads once and writes
//! several times; a second write of an object that it has not read again is refused (conflict) and ends the sync.
//! Source: `pkg/controller/deployment/{deployment_controller,sync,rolling,recreate}.go`, `util/deployment_util.go`.

use super::status::{self, Requeue};
use crate::engine::{Span, Time};
use crate::plan::{IntOrPercent, Strategy};
use crate::world::{DeploymentCondition, DeploymentReason, DeploymentStatus, FailureReason, ReplicaSetId};
use std::borrow::Cow;

/// What is seen of a ReplicaSet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Set {
    /// Which; `None` while this sync creates it.
    pub id: Option<ReplicaSetId>,
    /// It has the Deployment's present template.
    pub is_new: bool,
    /// `spec.replicas`.
    pub replicas: i32,
    /// `spec.minReadySeconds`.
    pub min_ready: Span,
    /// `status.replicas`.
    pub status_replicas: i32,
    /// `status.readyReplicas`.
    pub ready: i32,
    /// `status.availableReplicas`.
    pub available: i32,
    /// Condition ReplicaFailure.
    pub failure: Option<FailureReason>,
    /// The status answers to the present spec.
    pub observed: bool,
    /// Annotation revision; 0: absent.
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
    /// `spec.minReadySeconds`.
    pub min_ready: Span,
    /// `spec.revisionHistoryLimit`.
    pub revision_history_limit: i32,
    /// `spec.progressDeadlineSeconds`; `None`: progress is not watched.
    pub progress_deadline: Option<Span>,
    /// `metadata.generation`.
    pub generation: u32,
    /// Annotation revision.
    pub revision: u32,
    /// `status`.
    pub status: DeploymentStatus,
    /// The present instant.
    pub now: Time,
    /// Its ReplicaSets, oldest first (whole seconds; by name within a second).
    pub sets: Vec<Set>,
}

/// One write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Write {
    /// Creates the ReplicaSet of the present template with so many replicas, as that revision.
    Create {
        /// Its size.
        replicas: i32,
        /// Its revision.
        revision: u32,
    },
    /// Sets a ReplicaSet's size and its annotations.
    Scale(ReplicaSetId, i32),
    /// Makes a ReplicaSet that exists already that revision, with the Deployment's minReadySeconds.
    Revise(ReplicaSetId, u32),
    /// Removes an old ReplicaSet without pods.
    Remove(ReplicaSetId),
    /// Writes the Deployment's revision annotation and status.
    Status(u32, DeploymentStatus),
}

/// What a sync comes to.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// What it wrote.
    pub writes: Vec<Write>,
    /// When it wants to be run again.
    pub requeue: Requeue,
    /// A write was refused: it is tried again after a back-off.
    pub conflict: bool,
}

/// A write was refused: the object has changed since it was read.
struct Conflict;

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
        Strategy::Recreate | Strategy::Ordinal(_) => 0,
        Strategy::RollingUpdate { max_surge, max_unavailable } => {
            resolve_fenceposts(max_surge, max_unavailable, replicas).0
        }
    }
}

/// `MaxUnavailable`.
pub fn unavailable(strategy: Strategy, replicas: i32) -> i32 {
    match strategy {
        Strategy::Recreate | Strategy::Ordinal(_) => 0,
        Strategy::RollingUpdate { .. } if replicas == 0 => 0,
        Strategy::RollingUpdate { max_surge, max_unavailable } => {
            resolve_fenceposts(max_surge, max_unavailable, replicas).1.min(replicas)
        }
    }
}

/// One sync (`syncDeployment`).
pub fn decide(view: &View) -> Outcome {
    let mut sync = Sync {
        view,
        sets: Cow::Borrowed(&view.sets),
        status: view.status,
        revision: view.revision,
        is_stale: false,
        writes: Vec::new(),
        requeue: Requeue::No,
    };
    let conflict = sync.run().is_err();
    Outcome { writes: sync.writes, requeue: sync.requeue, conflict }
}

/// A sync in progress.
struct Sync<'a> {
    view: &'a View,
    /// ReplicaSets oldest first, as the writes so far leave them.
    sets: Cow<'a, [Set]>,
    /// The status in its hands: what was read, with conditions that it has set since.
    status: DeploymentStatus,
    /// The revision annotation in its hands.
    revision: u32,
    /// The Deployment has been written since it was read.
    is_stale: bool,
    writes: Vec<Write>,
    requeue: Requeue,
}

impl Sync<'_> {
    fn run(&mut self) -> Result<(), Conflict> {
        self.note_pause()?;
        if self.view.paused {
            self.revise()?;
            return self.resize();
        }
        if self.revise()? {
            // Both what follows and the look for a scaling event revise the set: the second write is refused.
            return Err(Conflict);
        }
        if self.is_scaling_event() {
            return self.resize();
        }
        match self.view.strategy {
            Strategy::Recreate | Strategy::Ordinal(_) => self.recreate(),
            Strategy::RollingUpdate { .. } => self.roll(),
        }
    }

    /// `UpdateStatus`.
    fn write_status(&mut self, status: DeploymentStatus) -> Result<(), Conflict> {
        if self.is_stale {
            return Err(Conflict);
        }
        self.status = status;
        self.is_stale = true;
        self.writes.push(Write::Status(self.revision, status));
        Ok(())
    }

    fn set_progressing(&mut self, status: Option<bool>, reason: DeploymentReason) {
        self.status.progressing = Some(DeploymentCondition::new(status, reason, self.view.now));
    }

    /// A pause stops the clock of the progress deadline (`checkPausedConditions`).
    fn note_pause(&mut self) -> Result<(), Conflict> {
        let reason = self.status.progressing.map(|condition| condition.reason);
        if self.view.progress_deadline.is_none() || reason == Some(DeploymentReason::ProgressDeadlineExceeded) {
            return Ok(());
        }
        let is_noted = reason == Some(DeploymentReason::DeploymentPaused);
        if self.view.paused == is_noted {
            return Ok(());
        }
        let reason =
            if self.view.paused { DeploymentReason::DeploymentPaused } else { DeploymentReason::DeploymentResumed };
        self.set_progressing(None, reason);
        self.write_status(self.status)
    }

    /// Sees to it that the set of the present template, if it exists, is the newest revision (`getNewReplicaSet`). True if
    /// that set was written.
    fn revise(&mut self) -> Result<bool, Conflict> {
        let Some(index) = self.new_set() else { return Ok(false) };
        let Set { id, revision, min_ready, .. } = self.sets[index];
        let newest = revision.max(self.next_revision());
        if (revision, min_ready) != (newest, self.view.min_ready) {
            self.sets.to_mut()[index].revision = newest;
            self.sets.to_mut()[index].min_ready = self.view.min_ready;
            self.writes.extend(id.map(|id| Write::Revise(id, newest)));
            return Ok(true);
        }
        let is_unknown = self.view.progress_deadline.is_some() && self.status.progressing.is_none();
        if is_unknown {
            self.set_progressing(Some(true), DeploymentReason::FoundNewReplicaSet);
        }
        if is_unknown || self.revision != revision {
            self.revision = revision;
            self.write_status(self.status)?;
        }
        Ok(false)
    }

    /// One more than the newest of the old sets.
    fn next_revision(&self) -> u32 {
        1 + self.sets.iter().filter(|set| !set.is_new).map(|set| set.revision).max().unwrap_or(0)
    }

    /// `spec.replicas` changed since the annotations of an active ReplicaSet were written.
    fn is_scaling_event(&self) -> bool {
        let annotated = |set: &&Set| set.replicas > 0 && (set.desired_annotation, set.max_annotation) != (0, 0);
        self.sets.iter().filter(annotated).any(|set| set.desired_annotation != self.view.replicas)
    }

    fn new_set(&self) -> Option<usize> {
        self.sets.iter().position(|set| set.is_new)
    }

    fn old_sets(&self) -> Vec<usize> {
        (0..self.sets.len()).filter(|&index| !self.sets[index].is_new).collect()
    }

    fn total(&self) -> i32 {
        self.sets.iter().map(|set| set.replicas).sum()
    }

    fn set_size(&mut self, index: usize, replicas: i32) {
        let set = &mut self.sets.to_mut()[index];
        if set.replicas == replicas {
            return;
        }
        set.replicas = replicas;
        if let Some(id) = set.id {
            self.writes.push(Write::Scale(id, replicas));
        }
    }

    /// Outside of a rollout, or paused (`sync`).
    fn resize(&mut self) -> Result<(), Conflict> {
        let seen = self.sets.clone();
        self.scale();
        if self.view.paused {
            self.clean_up();
        }
        let status = status::calculate(self.view, &seen, self.status);
        if status == self.status { Ok(()) } else { self.write_status(status) }
    }

    /// `syncRolloutStatus`. The status tells of the sets as they were when the sync began.
    fn finish(&mut self, seen: &[Set]) -> Result<(), Conflict> {
        let status = status::of_rollout(self.view, seen, self.status);
        if status == self.status {
            self.requeue = status::requeue(self.view, &self.status);
            return Ok(());
        }
        self.write_status(status)
    }

    /// One active set takes it all, several share in proportion.
    fn scale(&mut self) {
        let active: Vec<usize> = (0..self.sets.len()).filter(|&index| self.sets[index].replicas > 0).collect();
        let newest_or = |sync: &Self| sync.new_set().or(sync.sets.len().checked_sub(1));
        match (active.as_slice(), newest_or(self)) {
            ([], Some(index)) => self.set_size(index, self.view.replicas),
            ([], None) => {}
            (&[index], _) => self.set_size(index, self.view.replicas),
            _ if self.is_saturated() => {
                for index in self.old_sets() {
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
        let annotations = annotations(self.view);
        for (&index, size) in active.iter().zip(sizes) {
            let set = &mut self.sets.to_mut()[index];
            // Annotations are written even if the size stays.
            let same =
                (set.replicas, set.desired_annotation, set.max_annotation) == (size, annotations.0, annotations.1);
            set.replicas = size;
            if let Some(id) = set.id.filter(|_| !same) {
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
        let before = if set.max_annotation != 0 { set.max_annotation } else { self.status.replicas };
        if before == 0 {
            return 0;
        }
        // Rust's round, like Go's RoundToInt32, goes half away from zero.
        (f64::from(set.replicas.wrapping_mul(size)) / f64::from(before)).round() as i32 - set.replicas
    }

    /// The new set, created if it does not exist yet.
    fn ensure_new_set(&mut self) -> Result<usize, Conflict> {
        if let Some(index) = self.new_set() {
            return Ok(index);
        }
        let (desired_annotation, max_annotation) = annotations(self.view);
        let index = self.sets.len();
        let revision = self.next_revision();
        self.sets.to_mut().push(Set {
            id: None,
            is_new: true,
            replicas: 0,
            min_ready: self.view.min_ready,
            status_replicas: 0,
            ready: 0,
            available: 0,
            failure: None,
            observed: false,
            revision,
            desired_annotation,
            max_annotation,
            has_pods: false,
        });
        let replicas = self.new_replicas(index);
        self.sets.to_mut()[index].replicas = replicas;
        self.writes.push(Write::Create { replicas, revision });
        let watched = self.view.progress_deadline.is_some();
        if watched {
            self.set_progressing(Some(true), DeploymentReason::NewReplicaSetCreated);
        }
        if watched || self.revision != revision {
            self.revision = revision;
            self.write_status(self.status)?;
        }
        Ok(index)
    }

    /// `NewRSNewReplicas`.
    fn new_replicas(&self, index: usize) -> i32 {
        let (want, present) = (self.view.replicas, self.sets[index].replicas);
        match self.view.strategy {
            Strategy::Recreate | Strategy::Ordinal(_) => want,
            Strategy::RollingUpdate { max_surge, .. } => {
                let most = want + scaled_value(max_surge, want, true);
                let total = self.total();
                if total >= most { present } else { present + (most - total).min(want - present) }
            }
        }
    }

    fn roll(&mut self) -> Result<(), Conflict> {
        let new = self.ensure_new_set()?;
        let seen = self.sets.clone();
        let present = self.sets[new].replicas;
        if present != self.view.replicas {
            let size = if present > self.view.replicas { self.view.replicas } else { self.new_replicas(new) };
            self.set_size(new, size);
            if size != present {
                return self.finish(&seen);
            }
        }
        if !self.shrink_old(new) && status::is_complete(self.view, &self.status) {
            self.clean_up();
        }
        self.finish(&seen)
    }

    /// `reconcileOldReplicaSets`: unhealthy pods first, then healthy ones as availability permits. True if that succeeded
    /// and any shrank.
    fn shrink_old(&mut self, new: usize) -> bool {
        let old = self.old_sets();
        let min_available = self.view.replicas - unavailable(self.view.strategy, self.view.replicas);
        let new_unavailable = self.sets[new].replicas - self.sets[new].available;
        let budget = self.total() - min_available - new_unavailable;
        if budget <= 0 || old.iter().all(|&index| self.sets[index].replicas == 0) {
            return false;
        }
        // Of old sets only those that want pods at this moment are looked at (`FilterActiveReplicaSets`).
        let active: Vec<usize> = old.iter().copied().filter(|&index| self.sets[index].replicas > 0).collect();
        let mut removed = 0;
        for &index in &old {
            let Set { replicas, available, .. } = self.sets[index];
            if removed < budget && replicas > 0 && replicas != available {
                let count = (budget - removed).min(replicas - available);
                if count < 0 {
                    // More are available than wanted: deletions fail or are on their way. Upstream gives up here.
                    return false;
                }
                self.set_size(index, replicas - count);
                removed += count;
            }
        }
        let available = active.iter().chain([&new]).map(|&index| self.sets[index].available).sum::<i32>();
        let spare = available - min_available;
        let mut surplus = 0;
        for &index in &old {
            let replicas = self.sets[index].replicas;
            if surplus < spare && replicas > 0 {
                let count = (spare - surplus).min(replicas);
                self.set_size(index, replicas - count);
                surplus += count;
            }
        }
        removed + surplus > 0
    }

    fn recreate(&mut self) -> Result<(), Conflict> {
        let seen = self.sets.clone();
        let old = self.old_sets();
        let writes = self.writes.len();
        for &index in &old {
            self.set_size(index, 0);
        }
        let runs = |set: &Set| set.status_replicas > 0 || set.has_pods;
        if self.writes.len() > writes || old.iter().any(|&index| runs(&seen[index])) {
            return self.finish(&seen);
        }
        let new = self.ensure_new_set()?;
        let seen = self.sets.clone();
        self.set_size(new, self.view.replicas);
        if status::is_complete(self.view, &self.status) {
            self.clean_up();
        }
        self.finish(&seen)
    }

    /// Removes the oldest of more old sets than the history may keep, unless they have pods.
    fn clean_up(&mut self) {
        let mut old: Vec<&Set> = self.sets.iter().filter(|set| !set.is_new).collect();
        old.sort_by_key(|set| set.revision);
        let surplus = old.len().saturating_sub(usize::try_from(self.view.revision_history_limit).unwrap_or(0));
        let empty = |set: &&&Set| set.replicas == 0 && set.status_replicas == 0 && set.observed;
        let removed = old.iter().take(surplus).filter(empty).filter_map(|set| set.id.map(Write::Remove));
        let removed: Vec<Write> = removed.collect();
        self.writes.extend(removed);
    }
}

/// Annotations desired-replicas and max-replicas as they are written now.
pub fn annotations(view: &View) -> (i32, i32) {
    (view.replicas, view.replicas + surge(view.strategy, view.replicas))
}

#[cfg(test)]
mod tests;
