//! Single syncs with known answers.

use super::*;

const ROLLING: Strategy =
    Strategy::RollingUpdate { max_surge: IntOrPercent::Percent(25), max_unavailable: IntOrPercent::Percent(25) };

fn set(id: u32, is_new: bool, replicas: i32, available: i32) -> Set {
    Set {
        id: Some(ReplicaSetId(id)),
        is_new,
        replicas,
        min_ready: Span::ZERO,
        status_replicas: replicas,
        ready: available,
        available,
        failure: None,
        observed: true,
        revision: id + 1,
        desired_annotation: 10,
        max_annotation: 13,
        has_pods: replicas > 0,
    }
}

const NOW: Time = Time::from_unix_seconds(1_000);

/// A Deployment whose status is what its sets add up to, and whose progress is not watched.
fn view(replicas: i32, sets: Vec<Set>) -> View {
    let mut view = View {
        replicas,
        strategy: ROLLING,
        paused: false,
        min_ready: Span::ZERO,
        revision_history_limit: 10,
        progress_deadline: None,
        generation: 1,
        revision: sets.iter().filter(|set| set.is_new).map(|set| set.revision).max().unwrap_or(0),
        status: DeploymentStatus::default(),
        now: NOW,
        sets,
    };
    view.status = status::calculate(&view, &view.sets, view.status);
    view
}

/// What a sync writes beside the status.
fn decide(view: &View) -> Vec<Write> {
    let writes = super::decide(view).writes;
    writes.into_iter().filter(|write| !matches!(write, Write::Status(..))).collect()
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
    assert_eq!(
        decide(&view(10, vec![old])),
        [Write::Create { replicas: 3, revision: 2 }, Write::Scale(ReplicaSetId(0), 8)]
    );
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
    assert_eq!(decide(&recreate), [Write::Create { replicas: 10, revision: 2 }]);
}

#[test]
fn old_sets_beyond_the_history_are_removed() {
    let mut done = view(10, vec![set(0, false, 0, 0), set(1, false, 0, 0), set(2, true, 10, 10)]);
    done.revision_history_limit = 1;
    assert_eq!(decide(&done), [Write::Remove(ReplicaSetId(0))]);
    done.sets[0].observed = false;
    assert_eq!(decide(&done), [], "its controller has not seen its present size");
    done.sets[0].observed = true;
    done.generation = 2;
    assert_eq!(decide(&done), [], "the status answers to an older spec");
}

fn progressing(reason: DeploymentReason, seconds_ago: u64) -> Option<DeploymentCondition> {
    Some(DeploymentCondition::new(Some(true), reason, NOW.back(Span::from_secs(seconds_ago))))
}

#[test]
fn a_rollback_revises_the_old_set_and_is_refused_its_second_write() {
    let mut view = view(10, vec![set(0, true, 0, 0), set(1, false, 10, 10)]);
    view.revision = 2;
    let outcome = super::decide(&view);
    assert_eq!((outcome.writes, outcome.conflict), (vec![Write::Revise(ReplicaSetId(0), 3)], true));
    view.sets[0].revision = 3;
    view.status.updated = 10;
    let outcome = super::decide(&view);
    assert!(matches!(outcome.writes[0], Write::Status(3, _)), "then the Deployment's own revision");
    assert_eq!(outcome.writes[1], Write::Scale(ReplicaSetId(0), 3));
    assert!(outcome.conflict, "the status was written already");
}

#[test]
fn a_status_that_was_written_once_is_refused_the_second_time() {
    let mut view = view(10, vec![set(0, false, 10, 10)]);
    view.progress_deadline = Some(Span::from_secs(600));
    view.status.progressing = progressing(DeploymentReason::NewReplicaSetAvailable, 100);
    let outcome = super::decide(&view);
    let Write::Status(2, status) = outcome.writes[1] else { panic!("{:?}", outcome.writes) };
    assert_eq!(status.progressing.unwrap().reason, DeploymentReason::NewReplicaSetCreated);
    assert_eq!(status.updated, 0, "no set of the new template was counted yet");
    assert!(outcome.conflict);
}

#[test]
fn the_deadline_is_looked_at_late_and_strictly() {
    let mut stuck = view(10, vec![set(0, false, 8, 8), set(1, true, 5, 0)]);
    stuck.progress_deadline = Some(Span::from_secs(600));
    stuck.revision = 2;
    let after = |seconds: u64| {
        let mut view = stuck.clone();
        view.status.progressing = progressing(DeploymentReason::ReplicaSetUpdated, seconds);
        super::decide(&view)
    };
    assert_eq!(after(500).requeue, Requeue::At(NOW + Span::from_secs(101)));
    assert_eq!(after(600).requeue, Requeue::RateLimited);
    let Write::Status(_, status) = after(601).writes[0] else { panic!("nothing was written") };
    assert_eq!(status.progressing.unwrap().text(), "False/ProgressDeadlineExceeded");
}

#[test]
fn a_pause_is_noted_and_stops_the_deadline() {
    let mut view = view(10, vec![set(0, false, 8, 8), set(1, true, 5, 0)]);
    (view.progress_deadline, view.revision, view.paused) = (Some(Span::from_secs(600)), 2, true);
    view.status.progressing = progressing(DeploymentReason::ReplicaSetUpdated, 601);
    let Write::Status(_, paused) = super::decide(&view).writes[0] else { panic!("nothing was written") };
    assert_eq!(paused.progressing.unwrap().text(), "Unknown/DeploymentPaused");
    view.paused = false;
    view.status = paused;
    let Write::Status(_, resumed) = super::decide(&view).writes[0] else { panic!("nothing was written") };
    assert_eq!(resumed.progressing.unwrap().text(), "Unknown/DeploymentResumed");
    assert_eq!(resumed.progressing.unwrap().updated, NOW);
}

#[test]
fn deletions_that_fail_stop_the_old_sets_from_shrinking() {
    // Three are wanted and five available: upstream refuses to "shrink" by minus two and leaves all old sets alone.
    let mut sets = vec![set(0, false, 3, 5), set(1, false, 6, 6), set(2, true, 4, 4)];
    assert_eq!(decide(&view(10, sets.clone())), []);
    sets[0].available = 3;
    assert_eq!(decide(&view(10, sets)), [Write::Scale(ReplicaSetId(0), 0), Write::Scale(ReplicaSetId(1), 4)]);
}
