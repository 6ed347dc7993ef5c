//! The status that a sync of the Deployment controller comes to: counts, conditions, the progress deadline.
//!
//! Source: `pkg/controller/deployment/{progress,sync}.go`, `util/deployment_util.go`. A condition whose status and reason
//! stay is left as it is, but for Progressing, which is stamped anew by every progress.

use super::decide::{Set, View, unavailable};
use crate::engine::{Span, Time};
use crate::world::{DeploymentCondition, DeploymentReason, DeploymentStatus};

/// The look at the deadline comes so late. Source: `progress.go` (`requeueStuckDeployment`).
const DEADLINE_LATE: Span = Span::from_secs(1);

/// When a sync wants to be run again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Requeue {
    /// Not by itself.
    No,
    /// After the back-off of one more failure.
    RateLimited,
    /// At that time.
    At(Time),
}

/// `calculateStatus`: `before` with the sets' counts and the condition Available.
pub fn calculate(view: &View, sets: &[Set], before: DeploymentStatus) -> DeploymentStatus {
    let sum = |of: fn(&Set) -> i32| sets.iter().map(of).sum::<i32>();
    let available = sum(|set| set.available);
    let mut status = DeploymentStatus {
        replicas: sum(|set| set.status_replicas),
        updated: sets.iter().filter(|set| set.is_new).map(|set| set.status_replicas).sum(),
        ready: sum(|set| set.ready),
        available,
        unavailable: (sum(|set| set.replicas) - available).max(0),
        observed_generation: view.generation,
        ..before
    };
    let enough = available >= view.replicas - unavailable(view.strategy, view.replicas);
    let reason =
        if enough { DeploymentReason::MinimumReplicasAvailable } else { DeploymentReason::MinimumReplicasUnavailable };
    set_condition(&mut status.availability, DeploymentCondition::new(Some(enough), reason, view.now));
    status
}

/// `SetDeploymentCondition`.
fn set_condition(condition: &mut Option<DeploymentCondition>, new: DeploymentCondition) {
    if condition.is_none_or(|old| (old.status, old.reason) != (new.status, new.reason)) {
        *condition = Some(new);
    }
}

/// `DeploymentComplete`.
pub fn is_complete(view: &View, status: &DeploymentStatus) -> bool {
    let want = view.replicas;
    (status.updated, status.replicas, status.available) == (want, want, want)
        && status.observed_generation >= view.generation
}

/// `syncRolloutStatus`: also the conditions Progressing and ReplicaFailure.
pub fn of_rollout(view: &View, sets: &[Set], before: DeploymentStatus) -> DeploymentStatus {
    let mut status = calculate(view, sets, before);
    if view.progress_deadline.is_none() {
        status.progressing = None;
    }
    let is_done = status.replicas == status.updated
        && before.progressing.is_some_and(|old| old.reason == DeploymentReason::NewReplicaSetAvailable);
    if let (Some(deadline), false) = (view.progress_deadline, is_done) {
        let condition = |status, reason| DeploymentCondition::new(Some(status), reason, view.now);
        if is_complete(view, &status) {
            set_condition(&mut status.progressing, condition(true, DeploymentReason::NewReplicaSetAvailable));
        } else if has_progressed(&before, &status) {
            status.progressing = Some(condition(true, DeploymentReason::ReplicaSetUpdated));
        } else if has_timed_out(status.progressing, deadline, view.now) {
            set_condition(&mut status.progressing, condition(false, DeploymentReason::ProgressDeadlineExceeded));
        }
    }
    let failure = |is_new: bool| sets.iter().filter(|set| set.is_new || !is_new).find_map(|set| set.failure);
    status.replica_failure = failure(true).or_else(|| failure(false));
    status
}

/// `DeploymentProgressing`.
fn has_progressed(before: &DeploymentStatus, after: &DeploymentStatus) -> bool {
    after.updated > before.updated
        || after.replicas - after.updated < before.replicas - before.updated
        || after.ready > before.ready
        || after.available > before.available
}

/// `DeploymentTimedOut`.
fn has_timed_out(condition: Option<DeploymentCondition>, deadline: Span, now: Time) -> bool {
    condition.is_some_and(|condition| match condition.reason {
        DeploymentReason::NewReplicaSetAvailable => false,
        DeploymentReason::ProgressDeadlineExceeded => true,
        _ => condition.updated + deadline < now,
    })
}

/// `requeueStuckDeployment`, when a sync found nothing to write.
pub fn requeue(view: &View, status: &DeploymentStatus) -> Requeue {
    let (Some(deadline), Some(condition)) = (view.progress_deadline, status.progressing) else { return Requeue::No };
    if is_complete(view, status) || condition.reason == DeploymentReason::ProgressDeadlineExceeded {
        return Requeue::No;
    }
    let due = condition.updated + deadline;
    // A rollout that was complete once cannot time out any more: upstream looks again up to ten times a second until all
    // pods are back, and each time finds nothing. What changes wakes the Deployment anyway.
    if due < view.now && condition.reason == DeploymentReason::NewReplicaSetAvailable {
        return Requeue::No;
    }
    if due < view.now + DEADLINE_LATE { Requeue::RateLimited } else { Requeue::At(due + DEADLINE_LATE) }
}
