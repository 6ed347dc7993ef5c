//! Two timelines held against each other.
//!
//! Things of one kind are paired in order of time. An error is the difference of two delays, each counted from the event's
//! own cause in its own timeline, so that an early deviation is not counted again for all that follows from it. What follows
//! from the whole chain is judged by itself.

use super::causes::{Class, cause_at, writes_before};
use super::{Happening, Kind, Near, Timeline};
use std::collections::BTreeMap;

/// A deletion may be read so much before its request is answered, microseconds.
const REST_SLACK: i64 = 60_000;

/// A list that must be equal.
#[derive(Clone, Debug)]
pub struct ListResult {
    /// What.
    pub name: &'static str,
    /// As recorded.
    pub observed: Vec<String>,
    /// As predicted.
    pub predicted: Vec<String>,
}

impl ListResult {
    /// Equal.
    pub fn holds(&self) -> bool {
        self.observed == self.predicted
    }
}

/// A happening as one of the timelines has it.
#[derive(Clone, Debug, PartialEq)]
pub struct Side {
    /// Seconds since the trigger.
    pub at: f64,
    /// Seconds since its own cause.
    pub delay: f64,
    /// To what it happened.
    pub subject: String,
    /// What else is known.
    pub detail: String,
}

/// A happening beside what it is held against.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// As recorded.
    pub recorded: Option<Side>,
    /// As predicted.
    pub predicted: Option<Side>,
}

/// One kind of happening.
#[derive(Clone, Debug)]
pub struct KindResult {
    /// Which.
    pub kind: Kind,
    /// Pairs.
    pub matched: usize,
    /// Recorded and not predicted.
    pub missing: usize,
    /// Predicted and not recorded.
    pub extra: usize,
    /// Errors of the pairs in seconds, without sign, ascending.
    pub errors: Vec<f64>,
    /// The largest error, its recorded time and its two delays, seconds.
    pub worst: Option<(f64, f64, f64)>,
    /// Seconds.
    pub tolerance: f64,
    /// Recorded delays that are longer than that, by no more than requests to the recording machine's API server took meanwhile.
    pub excused: usize,
    /// Errors beyond what is allowed.
    pub outside: usize,
    /// All of them: pairs, and what has no partner.
    pub rows: Vec<Row>,
}

impl KindResult {
    /// Nothing is missing or extra, and no error is larger than what is allowed.
    pub fn holds(&self) -> bool {
        self.missing + self.extra + self.outside == 0
    }

    /// The largest error.
    pub fn largest(&self) -> f64 {
        self.errors.last().copied().unwrap_or(0.0)
    }

    /// The error that so many of a hundred are not above.
    pub fn percentile(&self, percent: usize) -> f64 {
        let rank = (self.errors.len() * percent).div_ceil(100).max(1) - 1;
        self.errors.get(rank).copied().unwrap_or(0.0)
    }
}

/// A time that a whole chain leads to.
#[derive(Clone, Debug)]
pub struct Chain {
    /// From where to where.
    pub name: &'static str,
    /// As recorded, seconds.
    pub observed: Option<f64>,
    /// As predicted, seconds.
    pub predicted: Option<f64>,
    /// Seconds.
    pub tolerance: f64,
    /// What was near a boundary, for which a period more is allowed.
    pub boundary: Option<Near>,
}

impl Chain {
    /// Both or neither came to it, within the tolerance.
    pub fn holds(&self) -> bool {
        match (self.observed, self.predicted) {
            (Some(observed), Some(predicted)) => (observed - predicted).abs() <= self.tolerance,
            (None, None) => true,
            _ => false,
        }
    }
}

/// How a prediction and a recording differ.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// What must be equal.
    pub lists: Vec<ListResult>,
    /// Delays by kind.
    pub kinds: Vec<KindResult>,
    /// Whole chains.
    pub chains: Vec<Chain>,
}

impl Comparison {
    /// Everything is inside its tolerance.
    pub fn holds(&self) -> bool {
        self.lists.iter().all(ListResult::holds)
            && self.kinds.iter().all(KindResult::holds)
            && self.chains.iter().all(Chain::holds)
    }

    /// How much is not inside: lists, whole chains, kinds, the heaviest first.
    pub fn wrong(&self) -> (usize, usize, usize) {
        let lists = self.lists.iter().filter(|one| !one.holds()).count();
        let chains = self.chains.iter().filter(|one| !one.holds()).count();
        (lists, chains, self.kinds.iter().filter(|one| !one.holds()).count())
    }

    /// All errors in seconds, ascending.
    pub fn errors(&self) -> Vec<f64> {
        let mut errors: Vec<f64> = self.kinds.iter().flat_map(|kind| kind.errors.iter().copied()).collect();
        errors.sort_by(f64::total_cmp);
        errors
    }

    /// Matched, missing and extra, all kinds together.
    pub fn totals(&self) -> (usize, usize, usize) {
        let sum = |count: fn(&KindResult) -> usize| self.kinds.iter().map(count).sum();
        (sum(|kind| kind.matched), sum(|kind| kind.missing), sum(|kind| kind.extra))
    }
}

/// How quiet the recording machine was.
#[derive(Clone, Debug, Default)]
pub struct Noise {
    /// Lag of timers, 99th percentile.
    pub timer_lag_ms: f64,
    /// Stretches in which requests took longer than in quiet, microseconds since the trigger, apart and in order.
    slow: Vec<(i64, i64)>,
}

impl Noise {
    /// Of timers that lag so much and slow requests from and to, microseconds since the trigger.
    pub fn new(timer_lag_ms: f64, mut requests: Vec<(i64, i64)>) -> Noise {
        requests.sort_unstable();
        let mut slow: Vec<(i64, i64)> = Vec::new();
        for (from, to) in requests {
            match slow.last_mut().filter(|last| last.1 >= from) {
                Some(last) => last.1 = last.1.max(to),
                None => slow.push((from, to)),
            }
        }
        Noise { timer_lag_ms, slow }
    }

    /// How much of the time between a cause and its effect the API server was slow, seconds.
    fn slow_seconds(&self, from: i64, to: i64) -> f64 {
        let first = self.slow.partition_point(|&(_, end)| end <= from);
        let inside = self.slow[first..].iter().take_while(|&&(begin, _)| begin < to);
        inside.map(|&(begin, end)| end.min(to) - begin.max(from)).sum::<i64>() as f64 / 1e6
    }
}

/// Holds a prediction against a recording that ends so many microseconds after the trigger.
pub fn compare(observed: &Timeline, predicted: &Timeline, noise: &Noise, end: i64) -> Comparison {
    // Not every recorder writes down that a kubelet took notice.
    let written = |kind: &Kind| *kind != Kind::PodAcknowledged || observed.of_kind(*kind).next().is_some();
    let kinds = Kind::COMPARED.into_iter().filter(written);
    let kinds = kinds.map(|kind| compare_kind(observed, predicted, kind, noise, end));
    let kinds = kinds.filter(|kind| kind.matched + kind.missing + kind.extra > 0).collect();
    let list = |name, of: fn(&Timeline) -> &Vec<String>| ListResult {
        name,
        observed: of(observed).clone(),
        predicted: of(predicted).clone(),
    };
    let lists = vec![
        list("scale changes", |timeline| &timeline.scales),
        list("NodeClaims per batch", |timeline| &timeline.batches),
        list("disruption commands", |timeline| &timeline.commands),
        list("pods evicted per node", |timeline| &timeline.evicted),
        list("final state", |timeline| &timeline.ended),
    ];
    let seconds = |times: Vec<i64>| -> Vec<f64> { times.into_iter().map(|at| at as f64 / 1e6).collect() };
    let all_ready = [observed, predicted].map(|timeline| seconds(timeline.all_ready()));
    let of_kind = |kind: Kind| {
        let after = |timeline: &Timeline| timeline.of_kind(kind).map(|one| one.at).filter(|&at| at > 0).collect();
        [observed, predicted].map(|timeline| seconds(after(timeline)))
    };
    let near = &predicted.near;
    let mut chains = worst_chain("trigger to scale changes", of_kind(Kind::Scaled), near);
    chains.extend(worst_chain("trigger to all pods ready", all_ready, near));
    chains.extend(worst_chain("trigger to nodes gone", of_kind(Kind::NodeGone), near));
    Comparison { lists, kinds, chains }
}

/// Of times that belong to each other, the last and, if another is farther off, that too.
fn worst_chain(name: &'static str, [observed, predicted]: [Vec<f64>; 2], near: &[Near]) -> Vec<Chain> {
    let length = observed.len().max(predicted.len());
    let chain = |index: usize| {
        let (observed, predicted) = (observed.get(index).copied(), predicted.get(index).copied());
        let tolerance = (observed.or(predicted).unwrap_or(0.0) * 0.03).max(3.0);
        let plain = Chain { name, observed, predicted, tolerance, boundary: None };
        let until = observed.zip(predicted).map_or(f64::NEG_INFINITY, |(real, ours)| real.max(ours));
        // What was nearest to a boundary, of all before.
        let before = near.iter().filter(|near| near.at as f64 / 1e6 <= until && near.at > 0);
        match before.min_by(|a, b| a.distance.total_cmp(&b.distance)) {
            Some(near) if !plain.holds() => {
                let (period, boundary) = (near.period.seconds(), Some(near.clone()));
                Chain { tolerance: tolerance + period, boundary, ..plain }
            }
            _ => plain,
        }
    };
    let off = |index: &usize| {
        let chain = chain(*index);
        chain.observed.zip(chain.predicted).map_or(f64::INFINITY, |(real, ours)| (real - ours).abs() / chain.tolerance)
    };
    let worst = (0..length).max_by(|a, b| off(a).total_cmp(&off(b)));
    let last = length.checked_sub(1);
    let mut indices: Vec<usize> = worst.into_iter().chain(last).collect();
    indices.sort_unstable();
    indices.dedup();
    indices.into_iter().map(chain).collect()
}

/// What of a kind is told apart by more than its place in the order: things that have names, and why pods are deleted.
fn group(one: &Happening) -> &str {
    match one.kind {
        Kind::Synced | Kind::Scaled => &one.subject,
        Kind::PodDeleting => &one.detail,
        _ => "",
    }
}

/// Happenings of a kind that belong together, each with its place in the order of the kind, and those without partner.
type Pairs<'a> = (Vec<[(usize, &'a Happening); 2]>, [Vec<&'a Happening>; 2]);

fn pairs<'a>(observed: &'a Timeline, predicted: &'a Timeline, kind: Kind) -> Pairs<'a> {
    let mut groups: BTreeMap<&str, [Vec<(usize, &Happening)>; 2]> = BTreeMap::new();
    for (side, timeline) in [observed, predicted].into_iter().enumerate() {
        for (number, one) in timeline.of_kind(kind).enumerate() {
            groups.entry(group(one)).or_default()[side].push((number, one));
        }
    }
    let (mut paired, mut single) = (Vec::new(), [Vec::new(), Vec::new()]);
    for [seen, meant] in groups.into_values() {
        let length = seen.len().min(meant.len());
        paired.extend(seen.iter().zip(&meant).map(|(&one, &other)| [one, other]));
        single[0].extend(seen[length..].iter().map(|(_, one)| *one));
        single[1].extend(meant[length..].iter().map(|(_, one)| *one));
    }
    (paired, single)
}

fn compare_kind(observed: &Timeline, predicted: &Timeline, kind: Kind, noise: &Noise, end: i64) -> KindResult {
    let (paired, single) = pairs(observed, predicted, kind);
    let tolerance = Class::of(kind).tolerance(noise.timer_lag_ms);
    // Whether something falls just before or just after the end of the recording is within the tolerance.
    let counted = |all: &[&Happening]| all.iter().filter(|one| (end - one.at) as f64 / 1e6 > tolerance).count();
    let mut result = KindResult {
        kind,
        matched: paired.len(),
        missing: counted(&single[0]),
        extra: counted(&single[1]),
        errors: Vec::with_capacity(paired.len()),
        worst: None,
        tolerance,
        excused: 0,
        outside: 0,
        rows: Vec::with_capacity(paired.len()),
    };
    let side = |timeline: &Timeline, one: &Happening, number: usize| {
        let (at, cause) = (one.at as f64 / 1e6, cause_at(timeline, one, number));
        let delay = (one.at - cause - rested(timeline, one, cause)) as f64 / 1e6;
        (cause, Side { at, delay, subject: one.subject.clone(), detail: one.detail.clone() })
    };
    let [missing, extra] = &single;
    let alone = |timeline: &Timeline, all: &[&Happening]| -> Vec<Side> {
        all.iter().map(|one| side(timeline, one, usize::MAX).1).collect()
    };
    let (missing, extra) = (alone(observed, missing), alone(predicted, extra));
    let mut furthest = f64::NEG_INFINITY;
    for [(number, one), (other_number, other)] in paired {
        let (cause, recorded) = side(observed, one, number);
        let (_, meant) = side(predicted, other, other_number);
        let (real, ours) = (recorded.delay, meant.delay);
        let mut error = (ours - real).abs();
        if kind == Kind::Command {
            // Its loop looks since the cluster began, which is so long before the trigger in both.
            error = error.min((meant.at - recorded.at).abs());
        }
        if error > tolerance {
            let excused = real > ours && error - tolerance <= noise.slow_seconds(cause - writes_before(kind), one.at);
            result.excused += usize::from(excused);
            result.outside += usize::from(!excused);
        }
        if error > furthest {
            furthest = error;
            result.worst = Some((one.at as f64 / 1e6, real, ours));
        }
        result.errors.push(error);
        result.rows.push(Row { recorded: Some(recorded), predicted: Some(meant) });
    }
    result.rows.extend(missing.into_iter().map(|one| Row { recorded: Some(one), predicted: None }));
    result.rows.extend(extra.into_iter().map(|one| Row { recorded: None, predicted: Some(one) }));
    result.errors.sort_by(f64::total_cmp);
    result
}

/// How long an eviction has rested since its cause because it met another one: which ones do is a race of milliseconds.
fn rested(timeline: &Timeline, one: &Happening, cause: i64) -> i64 {
    if one.kind != Kind::PodDeleting {
        return 0;
    }
    let counts =
        |(until, pod, _): &&(i64, String, i64)| *pod == one.subject && *until > cause && *until <= one.at + REST_SLACK;
    let rests: i64 = timeline.rests.iter().filter(counts).map(|(.., micros)| micros).sum();
    // The rest may have begun before its cause, as where the one before it rested as well.
    rests.min(one.at - cause).max(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Span;

    fn timeline(rows: &[(f64, Kind, &str, &str)]) -> Timeline {
        let one = |&(at, kind, subject, detail): &(f64, Kind, &str, &str)| Happening {
            at: (at * 1e6).round() as i64,
            kind,
            subject: subject.to_string(),
            detail: detail.to_string(),
        };
        Timeline::of(rows.iter().map(one).collect())
    }

    fn outside(observed: &Timeline, predicted: &Timeline, noise: &Noise, kind: Kind) -> (usize, usize, usize) {
        let result = compare_kind(observed, predicted, kind, noise, 100_000_000);
        (result.outside, result.excused, result.missing + result.extra)
    }

    #[test]
    fn slow_requests_excuse_what_is_late_by_no_more_than_they_took() {
        let ready = |at: f64| timeline(&[(10.0, Kind::PodRunning, "a", ""), (at, Kind::PodReady, "a", "")]);
        let (late, plain) = (ready(14.0), ready(13.0));
        let slow = |seconds: f64| Noise::new(1.0, vec![(11_000_000, 11_000_000 + (seconds * 1e6) as i64)]);
        assert_eq!(outside(&late, &plain, &Noise::default(), Kind::PodReady), (1, 0, 0));
        assert_eq!(outside(&late, &plain, &slow(0.4), Kind::PodReady), (1, 0, 0), "a second late, 0.5 s allowed");
        assert_eq!(outside(&late, &plain, &slow(0.6), Kind::PodReady), (0, 1, 0));
        assert_eq!(outside(&plain, &late, &slow(0.6), Kind::PodReady), (1, 0, 0), "early is not explained by it");
        let lagging = Noise::new(31.0, Vec::new());
        assert_eq!(outside(&late, &plain, &lagging, Kind::PodReady), (0, 0, 0), "1.5 s on a noisy machine");
        let twice = Noise::new(1.0, vec![(11_000_000, 11_300_000), (11_200_000, 11_400_000)]);
        assert_eq!(outside(&late, &plain, &twice, Kind::PodReady), (1, 0, 0), "requests at a time count once");
    }

    #[test]
    fn a_refused_eviction_is_counted_from_its_refusal() {
        let drain = |refused: f64, evicted: f64| {
            timeline(&[
                (0.0, Kind::NodeDeleting, "n", ""),
                (refused, Kind::EvictionRefused, "a", ""),
                (evicted, Kind::PodDeleting, "a", "eviction"),
            ])
        };
        let plain = drain(10.0, 20.0);
        assert_eq!(outside(&drain(12.0, 22.0), &plain, &Noise::default(), Kind::PodDeleting), (0, 0, 0));
        assert_eq!(outside(&drain(12.0, 24.0), &plain, &Noise::default(), Kind::PodDeleting), (1, 0, 0));
    }

    #[test]
    fn an_eviction_that_met_another_is_compared_without_its_rest() {
        let evicted = |at: f64, rest: Option<f64>| {
            let rows = [(10.0, Kind::EvictionRefused, "a", ""), (at, Kind::PodDeleting, "a", "eviction")];
            let rests = rest.map(|rest| ((at * 1e6) as i64, "a".to_string(), (rest * 1e6) as i64));
            Timeline { rests: rests.into_iter().collect(), ..timeline(&rows) }
        };
        let quiet = Noise::default();
        let plain = evicted(20.0, None);
        assert_eq!(outside(&evicted(20.63, None), &plain, &quiet, Kind::PodDeleting), (1, 0, 0));
        assert_eq!(outside(&evicted(20.63, Some(0.5)), &plain, &quiet, Kind::PodDeleting), (0, 0, 0));
        assert_eq!(outside(&plain, &evicted(20.63, Some(0.5)), &quiet, Kind::PodDeleting), (0, 0, 0), "either way");
    }

    #[test]
    fn a_look_is_late_by_the_writes_before_it() {
        let initialized =
            |at: f64| timeline(&[(10.0, Kind::NodeReady, "n", ""), (at, Kind::ClaimInitialized, "c", "")]);
        let (late, plain) = (initialized(11.7), initialized(11.02));
        let slow = Noise::new(1.0, vec![(10_100_000, 10_500_000)]);
        assert_eq!(outside(&late, &plain, &Noise::default(), Kind::ClaimInitialized), (1, 0, 0));
        assert_eq!(outside(&late, &plain, &slow, Kind::ClaimInitialized), (0, 1, 0), "before the look at 11");
    }

    #[test]
    fn a_pod_that_waits_for_a_worker_is_counted_from_the_pod_before_it() {
        let names = ["a", "b", "c", "d", "e", "f"];
        let acknowledged = |each: f64| {
            let bound = names.map(|name| (0.0, Kind::PodScheduled, name, "node"));
            let mut rows = bound.to_vec();
            let turn = |index: usize| (1 + index / 4) as f64 * each;
            rows.extend(names.iter().enumerate().map(|(at, &name)| (turn(at), Kind::PodAcknowledged, name, "")));
            timeline(&rows)
        };
        let (quick, slow, slower) = (acknowledged(0.1), acknowledged(0.55), acknowledged(0.65));
        assert_eq!(outside(&slow, &quick, &Noise::default(), Kind::PodAcknowledged), (0, 0, 0), "half a second each");
        assert_eq!(outside(&slower, &quick, &Noise::default(), Kind::PodAcknowledged), (6, 0, 0));
    }

    #[test]
    fn a_wait_for_a_look_is_counted_from_the_look_and_a_missed_look_is_found() {
        let replaced = |initialized: f64, deleting: f64| {
            timeline(&[
                (0.0, Kind::Command, "underutilized", ""),
                (initialized, Kind::ClaimInitialized, "new", ""),
                (deleting, Kind::ClaimDeleting, "old", ""),
            ])
        };
        let plain = replaced(26.9, 27.0);
        assert_eq!(outside(&replaced(26.1, 27.05), &plain, &Noise::default(), Kind::ClaimDeleting), (0, 0, 0));
        assert_eq!(outside(&replaced(25.9, 27.05), &plain, &Noise::default(), Kind::ClaimDeleting), (1, 0, 0));
    }

    #[test]
    fn the_period_of_an_autoscaler_runs_from_the_end_of_a_sync() {
        let syncs = |ended: Option<f64>, next: f64| {
            let mut rows = vec![(70.0, Kind::Synced, "hpa", ""), (next, Kind::Synced, "hpa", "")];
            rows.extend(ended.map(|at| (at, Kind::SyncEnded, "hpa", "")));
            // Its own end is no cause of it.
            rows.push((next + 0.02, Kind::SyncEnded, "hpa", ""));
            timeline(&rows)
        };
        let plain = syncs(Some(70.02), 85.02);
        let synced = |recorded: &Timeline| outside(recorded, &plain, &Noise::default(), Kind::Synced);
        assert_eq!(synced(&syncs(Some(70.32), 85.32)), (0, 0, 0), "it took longer");
        assert_eq!(synced(&syncs(Some(70.02), 85.32)), (1, 0, 0), "it did not");
        assert_eq!(synced(&syncs(None, 85.03)), (0, 0, 0), "its end is not known");
    }

    #[test]
    fn what_falls_beside_the_end_is_neither_missing_nor_extra() {
        let syncs = |last: f64| timeline(&[(70.0, Kind::Synced, "hpa", ""), (last, Kind::Synced, "hpa", "")]);
        let none = timeline(&[(70.0, Kind::Synced, "hpa", "")]);
        assert_eq!(outside(&syncs(99.95), &none, &Noise::default(), Kind::Synced), (0, 0, 0));
        assert_eq!(outside(&syncs(85.0), &none, &Noise::default(), Kind::Synced), (0, 0, 1));
        assert_eq!(outside(&none, &syncs(85.0), &Noise::default(), Kind::Synced), (0, 0, 1));
    }

    #[test]
    fn a_sync_period_more_is_allowed_only_after_a_value_near_a_boundary() {
        let near = |at: i64| Near {
            at: at * 1_000_000,
            distance: 0.4,
            words: "web was near 77 %".into(),
            period: Span::from_secs(15),
        };
        let times = || [vec![30.0], vec![45.0]];
        assert!(!worst_chain("", times(), &[])[0].holds());
        assert!(!worst_chain("", times(), &[near(50)])[0].holds(), "it came later");
        let allowed = &worst_chain("", times(), &[near(30)])[0];
        assert!(allowed.holds() && allowed.boundary.is_some());
        assert!(!worst_chain("", [vec![30.0], vec![60.0]], &[near(30)])[0].holds(), "one period, not two");
        assert!(worst_chain("", [vec![30.0], vec![31.0]], &[near(30)])[0].boundary.is_none(), "not needed, not said");
    }
}
