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
        uid: Uid::Digits(u64::from(pod)),
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

#[test]
fn the_first_few_are_those_of_the_whole_order() {
    let victim = |number: u32| Victim {
        pod: PodId(number),
        assigned: true,
        phase: PodPhase::Running,
        ready_since: Some(START.back(Span::from_secs(u64::from(number * 7919 % 977) * 60))),
        cost: 0,
        rank: number % 3,
        restarts: number % 2,
        sidecar_restarts: 0,
        created: START.back(Span::from_secs(90_000)),
        uid: Uid::Digits(u64::from(number.wrapping_mul(0x9e37_79b9))),
    };
    let victims: Vec<Victim> = (0..200).map(victim).collect();
    let ids = |victims: &[Victim]| victims.iter().map(|victim| victim.pod).collect::<Vec<_>>();
    let whole = ids(&sorted(victims.clone(), START));
    for count in [1, 2, 50, 199, 200] {
        assert_eq!(ids(&first(victims.clone(), count, START)), whole[..count], "{count}");
    }
}

#[test]
fn ages_fall_into_powers_of_two_of_nanoseconds() {
    let now = Time::from_unix_seconds(1_000_000_000);
    for seconds in [1u64, 2, 549, 550, 4_397, 4_399, 35_184, 35_185, 4_503_599, 4_503_600, 40_000_000] {
        assert_eq!(
            age_bucket(now.back(Span::from_secs(seconds)), now),
            (seconds as f64 * 1e9).log2() as i64,
            "{seconds}"
        );
    }
    assert_eq!(age_bucket(now, now), -1);
}

#[test]
fn digits_and_texts_are_ordered_as_texts() {
    let (digits, same) = (Uid::Digits(0x1f), Uid::Given("000000000000001f".into()));
    assert!(!digits.is_before(&same) && !same.is_before(&digits));
    assert!(Uid::Digits(0x1f).is_before(&Uid::Digits(0x20)) && digits.is_before(&Uid::Given("1".into())));
    assert!(Uid::Given("0-a".into()).is_before(&Uid::Given("0-b".into())));
}
