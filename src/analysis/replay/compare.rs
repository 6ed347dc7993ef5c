//! Two timelines held against each other.
//!
//! Things of one kind are paired in order of time. An error is the difference of two delays, each counted from the event's
//! own cause in its own timeline, so that an early deviation is not counted again for all that follows from it. What follows
//! from the whole chain is judged by itself.

use super::{Happening, Kind, Timeline};

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
    /// Errors beyond that in stretches in which the recording machine was slow, within what a noisy run is allowed.
    pub excused: usize,
    /// Errors beyond what is allowed.
    pub outside: usize,
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

/// What an error may be.
#[derive(Clone, Copy)]
enum Class {
    /// A constant of a controller.
    Constant,
    /// Ends on a whole second.
    WholeSecond,
    /// Anything else.
    Other,
    /// Waits for the next tick of a loop whose phase nobody knows: its period of 1 s comes on top.
    Tick,
    /// Comes of everything before.
    Chain,
}

impl Class {
    fn of(kind: Kind) -> Class {
        match kind {
            Kind::Synced | Kind::BatchClosed => Class::Constant,
            Kind::NodeReady | Kind::NodeGone => Class::WholeSecond,
            Kind::Command => Class::Chain,
            // The disruption queue looks at its commands every second; a claim's controller rests a second after each write.
            Kind::ClaimDeleting | Kind::ClaimInitialized => Class::Tick,
            _ => Class::Other,
        }
    }

    fn tolerance(self, lag_ms: f64, at: f64) -> f64 {
        match self {
            Class::Constant => 0.1 + lag_ms / 1e3,
            Class::WholeSecond => 1.1,
            Class::Other if lag_ms > 30.0 => 1.5,
            Class::Other => 0.5,
            Class::Tick => 1.0 + Class::Other.tolerance(lag_ms, at),
            Class::Chain => (at.abs() * 0.03).max(3.0),
        }
    }
}

/// What errors may be while the recording machine was slow, seconds: what a noisy run is allowed.
const SLOW_TOLERANCE: f64 = 1.5;

/// How quiet the recording machine was.
#[derive(Clone, Debug, Default)]
pub struct Noise {
    /// Lag of timers, 99th percentile.
    pub timer_lag_ms: f64,
    /// Stretches in which requests took long, microseconds since the trigger.
    pub slow: Vec<(i64, i64)>,
}

impl Noise {
    /// Some request was slow between a cause and its effect.
    fn is_slow(&self, from: i64, to: i64) -> bool {
        self.slow.iter().any(|&(begin, end)| begin <= to && end >= from)
    }
}

/// Where a delay is counted from.
enum Cause {
    /// The latest of these kinds, of whatever subject.
    Latest(&'static [Kind]),
    /// The latest of the first kinds, or of the second ones of the same subject.
    LatestOrOwn(&'static [Kind], Kind),
    /// That of the same subject.
    Own(Kind),
    /// That of the same place in the order of its kind.
    Nth(Kind),
    /// The trigger.
    Trigger,
}

fn cause_of(one: &Happening) -> Cause {
    match one.kind {
        Kind::Synced => Cause::Latest(&[Kind::Synced]),
        Kind::Scaled => Cause::Latest(&[Kind::Synced, Kind::Action]),
        Kind::PodCreated => Cause::Latest(&[Kind::Scaled, Kind::PodDeleting, Kind::Action]),
        Kind::PodScheduled => Cause::LatestOrOwn(&[Kind::NodeReady, Kind::PodGone], Kind::PodCreated),
        Kind::PodRunning => Cause::Own(Kind::PodScheduled),
        Kind::PodReady => Cause::Own(Kind::PodRunning),
        Kind::PodDeleting if one.detail == "eviction" => Cause::Latest(&[Kind::NodeDeleting, Kind::PodDeleting]),
        Kind::PodDeleting => Cause::Latest(&[Kind::Scaled, Kind::Action, Kind::PodReady]),
        Kind::PodGone => Cause::Own(Kind::PodDeleting),
        Kind::BatchClosed => Cause::Latest(&[Kind::PodUnschedulable, Kind::NodeDeleting]),
        Kind::ClaimCreated => Cause::Latest(&[Kind::BatchClosed, Kind::Command]),
        Kind::ClaimLaunched => Cause::Own(Kind::ClaimCreated),
        Kind::ClaimRegistered => Cause::Nth(Kind::NodeCreated),
        Kind::ClaimInitialized => Cause::Latest(&[Kind::NodeReady, Kind::NodeTaints]),
        Kind::ClaimDeleting => Cause::Latest(&[Kind::Action, Kind::Command, Kind::ClaimInitialized]),
        Kind::ClaimGone => Cause::Latest(&[Kind::NodeGone]),
        Kind::NodeCreated if one.detail == "static" => Cause::Latest(&[Kind::Action]),
        Kind::NodeCreated => Cause::Nth(Kind::ClaimLaunched),
        Kind::NodeReady => Cause::Own(Kind::NodeCreated),
        Kind::NodeDeleting => Cause::Latest(&[Kind::ClaimDeleting, Kind::Action]),
        Kind::NodeGone => Cause::LatestOrOwn(&[Kind::PodGone], Kind::NodeDeleting),
        Kind::Command | Kind::Action | Kind::PodUnschedulable | Kind::NodeTaints => Cause::Trigger,
    }
}

/// A recorder reads watches one after the other: a cause may seem to come so much after its effect, microseconds.
const SLACK: i64 = 60_000;

/// When the cause of a happening was; the trigger if there is none.
fn cause_at(timeline: &Timeline, one: &Happening, number: usize) -> i64 {
    let until = one.at + SLACK;
    let before = || timeline.happenings.iter().rev().skip_while(|other| other.at > until);
    let latest = |kinds: &[Kind]| {
        let own = |other: &&Happening| {
            // Equal kinds follow each other: only what came strictly earlier can be a cause.
            kinds.contains(&other.kind) && (other.kind != one.kind || other.at < one.at)
        };
        before().find(own).map(|other| other.at)
    };
    let of_subject =
        |kind: Kind| before().find(|other| other.kind == kind && other.subject == one.subject).map(|other| other.at);
    match cause_of(one) {
        Cause::Latest(kinds) => latest(kinds),
        Cause::LatestOrOwn(kinds, kind) => latest(kinds).max(of_subject(kind)),
        Cause::Own(kind) => of_subject(kind),
        Cause::Nth(kind) => timeline.of_kind(kind).nth(number).map(|other| other.at),
        Cause::Trigger => None,
    }
    .unwrap_or(0)
}

/// Holds a prediction against a recording.
pub fn compare(observed: &Timeline, predicted: &Timeline, noise: &Noise) -> Comparison {
    let kinds = Kind::COMPARED.into_iter().map(|kind| compare_kind(observed, predicted, kind, noise));
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
    let mut chains = worst_chain("trigger to scale changes", of_kind(Kind::Scaled));
    chains.extend(worst_chain("trigger to all pods ready", all_ready));
    chains.extend(worst_chain("trigger to nodes gone", of_kind(Kind::NodeGone)));
    Comparison { lists, kinds, chains }
}

/// Of times that belong to each other, the last and, if another is farther off, that too.
fn worst_chain(name: &'static str, [observed, predicted]: [Vec<f64>; 2]) -> Vec<Chain> {
    let length = observed.len().max(predicted.len());
    let chain = |index: usize| {
        let (observed, predicted) = (observed.get(index).copied(), predicted.get(index).copied());
        let tolerance = (observed.or(predicted).unwrap_or(0.0) * 0.03).max(3.0);
        Chain { name, observed, predicted, tolerance }
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

fn compare_kind(observed: &Timeline, predicted: &Timeline, kind: Kind, noise: &Noise) -> KindResult {
    let (seen, meant): (Vec<_>, Vec<_>) = (observed.of_kind(kind).collect(), predicted.of_kind(kind).collect());
    let matched = seen.len().min(meant.len());
    let class = Class::of(kind);
    let mut result = KindResult {
        kind,
        matched,
        missing: seen.len() - matched,
        extra: meant.len() - matched,
        errors: Vec::with_capacity(matched),
        worst: None,
        tolerance: class.tolerance(noise.timer_lag_ms, 0.0),
        excused: 0,
        outside: 0,
    };
    let mut furthest = f64::NEG_INFINITY;
    for (number, (one, other)) in seen.iter().zip(&meant).enumerate() {
        let cause = cause_at(observed, one, number);
        let real = (one.at - cause) as f64 / 1e6;
        let ours = (other.at - cause_at(predicted, other, number)) as f64 / 1e6;
        let error = (ours - real).abs();
        let tolerance = class.tolerance(noise.timer_lag_ms, one.at as f64 / 1e6);
        if matches!(class, Class::Chain) {
            result.tolerance = result.tolerance.max(tolerance);
        }
        if error > tolerance {
            let excused = matches!(class, Class::Other) && error <= SLOW_TOLERANCE && noise.is_slow(cause, one.at);
            result.excused += usize::from(excused);
            result.outside += usize::from(!excused);
        }
        if error - tolerance > furthest {
            furthest = error - tolerance;
            result.worst = Some((one.at as f64 / 1e6, real, ours));
        }
        result.errors.push(error);
    }
    result.errors.sort_by(f64::total_cmp);
    result
}
