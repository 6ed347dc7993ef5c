//! The order of victims, rule by rule.

use super::*;
use crate::engine::Span;

const START: Time = Time::from_unix_seconds(1_000_000);

fn old(pod: u32) -> Victim {
    let since = START.back(Span::from_secs(3_600));
    Victim {
        pod: PodId(pod),
        assigned: true,
        phase: PodPhase::Running,
        ready_since: Some(since),
        cost: 0,
        rank: 1,
        restarts: 0,
        sidecar_restarts: 0,
        created: since,
        uid: format!("{pod:016x}"),
    }
}

#[test]
fn victims_by_the_first_difference() {
    let ladder = [
        Victim { assigned: false, phase: PodPhase::Pending, ready_since: None, ..old(0) },
        Victim { phase: PodPhase::Pending, ready_since: None, ..old(1) },
        Victim { ready_since: None, ..old(2) },
        Victim { cost: -5, ..old(3) },
        Victim { rank: 3, ..old(4) },
        Victim { ready_since: Some(START.back(Span::from_secs(60))), ..old(5) },
        Victim { restarts: 4, ..old(6) },
        Victim { sidecar_restarts: 1, ..old(7) },
        Victim { created: START.back(Span::from_secs(3_000)), ..old(0) },
        old(9),
    ];
    // 3000 s and 3600 s lie in one bucket: the smaller UID decides rule 8.
    for (index, first) in ladder.iter().enumerate() {
        for second in &ladder[index + 1..] {
            assert!(goes_before(first, second, START), "{first:?} {second:?}");
            assert!(!goes_before(second, first, START));
        }
    }
    let mut shuffled = ladder.to_vec();
    shuffled.reverse();
    shuffled.rotate_left(3);
    let ids = |victims: &[Victim]| victims.iter().map(|victim| victim.pod).collect::<Vec<_>>();
    assert_eq!(ids(&sorted(shuffled, START)), ids(&ladder));
}

#[test]
fn ages_fall_into_buckets_of_powers_of_two() {
    let bucket = |hours: u64| age_bucket(START.back(Span::from_secs(3_600 * hours)), START);
    assert_eq!(bucket(5), bucket(8));
    assert!(bucket(2) < bucket(5));
    assert_eq!(age_bucket(START, START), -1);
}
