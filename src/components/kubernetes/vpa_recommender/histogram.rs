//! Histograms with growing buckets whose samples lose half of their weight in each half-life.
//!
//! Source: `pkg/recommender/util/histogram.go`, `histogram_options.go`, `decaying_histogram.go`. No sample is ever
//! made lighter: a newer one weighs more, by 2^(age of the reference / half-life), and only when those weights grow too
//! large is everything scaled back. What is below `EPSILON` counts as empty, so the scale matters.
//!
//! In: samples with their times. Out: percentiles. Samples come every minute and most runs end without a question, so they
//! go to their buckets ([`Histogram::settle`]) when somebody looks, or when they are many.

use super::math::{exp2, ln, power, power_of_two};
use crate::engine::{Span, Time};

/// A bucket with less weight is empty.
const EPSILON: f64 = 0.0001;

/// So many samples wait for their buckets at most.
const PENDING_MAX: usize = 1024;

/// When a sample is more half-lives after the reference, the reference moves.
const MAX_DECAY_EXPONENT: u64 = 100;

/// Go's zero time, 0001-01-01: `Time.Round` counts multiples from there.
const ZERO_TIME_BEFORE_UNIX: u64 = 62_135_596_800 * 1_000_000;

/// Where the buckets begin: bucket 0 is `0..first`, each next one is wider by a ratio.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Buckets {
    count: usize,
    first: f64,
    ratio: f64,
    /// Natural logarithm of the ratio.
    ln_ratio: f64,
}

impl Buckets {
    /// Buckets up to a largest value.
    pub fn new(largest: f64, first: f64, ratio: f64) -> Buckets {
        let ln_ratio = ln(ratio);
        let count = (ln(largest * (ratio - 1.0) / first + 1.0) / ln_ratio).ceil() as usize + 1;
        Buckets { count, first, ratio, ln_ratio }
    }

    /// Those of CPU, in cores.
    pub fn cpu() -> Buckets {
        Buckets::new(1000.0, 0.01, 1.05)
    }

    /// Those of memory, in bytes.
    pub fn memory() -> Buckets {
        Buckets::new(1e12, 1e7, 1.05)
    }

    /// The bucket of a value.
    pub fn find(&self, value: f64) -> usize {
        if value < self.first {
            return 0;
        }
        let bucket = (ln(value * (self.ratio - 1.0) / self.first + 1.0) / self.ln_ratio) as usize;
        bucket.min(self.count - 1)
    }

    /// Where a bucket starts.
    pub fn start(&self, bucket: usize) -> f64 {
        if bucket == 0 {
            return 0.0;
        }
        let exponent = i32::try_from(bucket).unwrap_or(i32::MAX);
        self.first * (power(self.ratio, exponent) - 1.0) / (self.ratio - 1.0)
    }
}

/// A sample that waits for its bucket.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Sample {
    value: f64,
    weight: f64,
    at: Time,
    /// It takes back an equal one.
    is_withdrawal: bool,
}

/// A decaying histogram.
#[derive(Clone, Debug, PartialEq)]
pub struct Histogram {
    buckets: Buckets,
    half_life: Span,
    /// A multiple of the half-life; `None`: never set, long before any sample.
    reference: Option<Time>,
    /// The factor of the samples of one time: many are of the same.
    factor: Option<(Time, f64)>,
    /// Samples that are in no bucket yet, as they came.
    pending: Vec<Sample>,
    /// By bucket; empty until the first one is filled.
    weights: Vec<f64>,
    total: f64,
    /// The first bucket that is not empty, or the last of all.
    lowest: usize,
    /// The last bucket that is not empty, or the first of all.
    highest: usize,
}

impl Histogram {
    /// An empty one.
    pub fn new(buckets: Buckets, half_life: Span) -> Histogram {
        Histogram {
            buckets,
            half_life,
            reference: None,
            factor: None,
            pending: Vec::new(),
            weights: Vec::new(),
            total: 0.0,
            lowest: buckets.count - 1,
            highest: 0,
        }
    }

    /// True when no bucket has weight, of a histogram that is settled.
    pub fn is_empty(&self) -> bool {
        debug_assert!(self.pending.is_empty(), "samples are in no bucket yet");
        self.weights.get(self.lowest).is_none_or(|&weight| weight < EPSILON)
    }

    /// Adds a sample of that time.
    #[inline]
    pub fn add(&mut self, value: f64, weight: f64, at: Time) {
        self.put_off(Sample { value, weight, at, is_withdrawal: false });
    }

    /// Takes back a sample that was added with that time.
    pub fn subtract(&mut self, value: f64, weight: f64, at: Time) {
        self.put_off(Sample { value, weight, at, is_withdrawal: true });
    }

    #[inline]
    fn put_off(&mut self, sample: Sample) {
        if self.pending.len() >= PENDING_MAX {
            self.settle();
        }
        self.pending.push(sample);
    }

    /// Puts all samples into their buckets: before anybody looks at those.
    pub fn settle(&mut self) {
        if self.pending.is_empty() {
            return;
        }
        self.make_buckets();
        let mut pending = std::mem::take(&mut self.pending);
        for Sample { value, weight, at, is_withdrawal } in pending.drain(..) {
            if is_withdrawal {
                self.withdraw(value, weight, at);
            } else {
                self.put(value, weight, at);
            }
        }
        self.pending = pending;
    }

    fn make_buckets(&mut self) {
        self.weights.resize(self.buckets.count, 0.0);
    }

    fn put(&mut self, value: f64, weight: f64, at: Time) {
        let weight = weight * self.decay_factor(at);
        let bucket = self.buckets.find(value);
        self.weights[bucket] += weight;
        self.total += weight;
        if self.weights[bucket] >= EPSILON {
            self.lowest = self.lowest.min(bucket);
            self.highest = self.highest.max(bucket);
        }
    }

    fn withdraw(&mut self, value: f64, weight: f64, at: Time) {
        let weight = weight * self.decay_factor(at);
        let bucket = self.buckets.find(value);
        self.total = less(self.total, weight);
        self.weights[bucket] = less(self.weights[bucket], weight);
        self.skip_empty();
    }

    /// Adds all samples of another histogram. The older of the two references moves to the younger: the other one is
    /// changed for good, as upstream, since what is below epsilon depends on it.
    pub fn merge(&mut self, other: &mut Histogram) {
        self.settle();
        other.settle();
        self.make_buckets();
        if self.reference < other.reference {
            self.move_reference(other.reference);
        } else if other.reference < self.reference {
            other.move_reference(self.reference);
        }
        for bucket in other.lowest..=other.highest {
            self.weights[bucket] += other.weights[bucket];
        }
        self.total += other.total;
        self.lowest = self.lowest.min(other.lowest);
        self.highest = self.highest.max(other.highest);
    }

    /// The end of the bucket in which the cumulated weight reaches that share of the total (of the last bucket its
    /// start); zero when empty. The histogram has to be settled.
    pub fn percentile(&self, percentile: f64) -> f64 {
        if self.is_empty() {
            return 0.0;
        }
        let threshold = percentile * self.total;
        let mut sum = 0.0;
        let mut bucket = self.lowest;
        while bucket < self.highest {
            sum += self.weights[bucket];
            if sum >= threshold {
                break;
            }
            bucket += 1;
        }
        self.buckets.start((bucket + 1).min(self.buckets.count - 1))
    }

    /// How much more a sample of that time weighs than one of the reference.
    fn decay_factor(&mut self, at: Time) -> f64 {
        if let Some((_, factor)) = self.factor.filter(|(of, _)| *of == at) {
            return factor;
        }
        let reference = match self.reference {
            Some(reference) if at <= reference + self.half_life * MAX_DECAY_EXPONENT => reference,
            _ => self.move_reference(Some(at)).unwrap_or(at),
        };
        let factor = exp2(nanoseconds(reference, at) / nanoseconds(Time::ZERO, Time::ZERO + self.half_life));
        self.factor = Some((at, factor));
        factor
    }

    /// Moves the reference to a time, rounded to a half-life, and scales the weights by a power of two.
    fn move_reference(&mut self, to: Option<Time>) -> Option<Time> {
        let to = to.map(|to| rounded(to, self.half_life));
        if let (Some(from), Some(to)) = (self.reference, to) {
            let half_lives = nanoseconds(to, from) / nanoseconds(Time::ZERO, Time::ZERO + self.half_life);
            self.scale(power_of_two((half_lives + 0.5).floor() as i64));
        }
        self.reference = to;
        self.factor = None;
        to
    }

    fn scale(&mut self, factor: f64) {
        for bucket in self.lowest..=self.highest {
            self.weights[bucket] *= factor;
        }
        self.total *= factor;
        self.skip_empty();
    }

    fn skip_empty(&mut self) {
        while self.lowest < self.buckets.count - 1 && self.weights[self.lowest] < EPSILON {
            self.lowest += 1;
        }
        while self.highest > 0 && self.weights[self.highest] < EPSILON {
            self.highest -= 1;
        }
    }
}

/// A weight less another; what is left below epsilon is nothing.
fn less(value: f64, by: f64) -> f64 {
    let left = value - by;
    if left < EPSILON { 0.0 } else { left }
}

/// Signed nanoseconds between two instants, as Go's `Duration` has them.
pub fn nanoseconds(from: Time, to: Time) -> f64 {
    let micros = to.micros() as i64 - from.micros() as i64;
    micros.saturating_mul(1_000) as f64
}

/// The nearest multiple of a span since 0001-01-01, halves up.
fn rounded(at: Time, unit: Span) -> Time {
    if unit.is_zero() {
        return at;
    }
    let rest = at.micros().saturating_add(ZERO_TIME_BEFORE_UNIX) % unit.micros();
    if rest < unit.micros() - rest {
        at.back(Span::from_micros(rest))
    } else {
        at + Span::from_micros(unit.micros() - rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Span = Span::from_secs(86_400);

    const START: Time = Time::from_unix_seconds(946_684_800);

    fn day(number: u64) -> Time {
        START + DAY * number
    }

    #[test]
    fn buckets_grow_by_five_percent() {
        let cpu = Buckets::cpu();
        let millicores = |bucket| (cpu.start(bucket) * 1000.0) as i64;
        assert_eq!([0, 1, 2, 3].map(millicores), [0, 10, 20, 31]);
        assert_eq!([0.0, 0.009_999, 0.01, 0.02, 0.021].map(|cores| cpu.find(cores)), [0, 0, 1, 1, 2]);
        let memory = Buckets::memory();
        let bytes = |bucket| memory.start(bucket) as i64;
        assert_eq!(
            [0, 1, 2, 3].map(bytes),
            [0, 10_000_000, 20_499_999, 31_524_999],
            "cut, of doubles a shade too small"
        );
        assert_eq!(memory.find(9_999_999.0), 0);
        assert_eq!(memory.find(1e7), 1);
        assert_eq!(cpu.find(1e9), cpu.count - 1, "what is beyond the largest value falls into the last bucket");
        assert!(cpu.start(cpu.count - 1) >= 1000.0);
        assert!(memory.start(memory.count - 1) >= 1e12);
    }

    #[test]
    fn a_percentile_is_the_end_of_the_bucket_that_reaches_it() {
        let mut histogram = Histogram::new(Buckets::cpu(), DAY);
        assert_eq!(histogram.percentile(0.9), 0.0, "empty");
        for _ in 0..9 {
            histogram.add(0.015, 1.0, day(0));
        }
        histogram.add(5.0, 1.0, day(0));
        histogram.settle();
        assert_eq!(histogram.percentile(0.0), histogram.buckets.start(2));
        assert_eq!(histogram.percentile(0.9), histogram.buckets.start(2));
        let high = histogram.buckets.find(5.0);
        assert_eq!(histogram.percentile(0.901), histogram.buckets.start(high + 1));
        histogram.add(2000.0, 100.0, day(0));
        histogram.settle();
        assert_eq!(histogram.percentile(0.9), histogram.buckets.start(histogram.buckets.count - 1));
    }

    #[test]
    fn a_sample_loses_half_of_its_weight_in_a_half_life() {
        let mut histogram = Histogram::new(Buckets::cpu(), DAY);
        for _ in 0..3 {
            histogram.add(0.015, 1.0, day(0));
        }
        histogram.add(5.0, 1.0, day(1));
        histogram.settle();
        let high = histogram.buckets.find(5.0);
        assert_eq!(histogram.percentile(0.6), histogram.buckets.start(2), "3 against 2");
        histogram.add(5.0, 1.0, day(1));
        histogram.settle();
        assert_eq!(histogram.percentile(0.43), histogram.buckets.start(high + 1), "3 against 4");
    }

    #[test]
    fn the_reference_moves_when_weights_grow_too_large() {
        let mut histogram = Histogram::new(Buckets::cpu(), DAY);
        histogram.add(5.0, 1.0, day(0));
        histogram.add(0.015, 1.0, day(100));
        histogram.settle();
        assert_eq!(histogram.reference, Some(day(0)));
        histogram.add(0.015, 1.0, day(101));
        histogram.settle();
        assert_eq!(histogram.reference, Some(day(101)));
        assert_eq!(histogram.total, 1.5, "1 of now, 1/2 of yesterday, nothing of 101 days ago");
        assert_eq!(histogram.lowest, histogram.highest, "5 cores are forgotten");
    }

    #[test]
    fn a_sample_that_is_taken_back_leaves_nothing() {
        let mut histogram = Histogram::new(Buckets::memory(), DAY);
        histogram.add(3e8, 1.0, day(1));
        histogram.subtract(3e8, 1.0, day(1));
        histogram.settle();
        assert!(histogram.is_empty());
        assert_eq!(histogram.percentile(1.0), 0.0);
    }

    #[test]
    fn when_samples_go_to_their_buckets_matters_to_nobody() {
        let [mut at_once, mut late] = [(), ()].map(|()| Histogram::new(Buckets::cpu(), DAY));
        for number in 0..3 * PENDING_MAX as u64 {
            let (value, at) = ((number % 97) as f64 / 50.0, START + Span::from_secs(number * 977));
            at_once.add(value, 0.1, at);
            at_once.settle();
            late.add(value, 0.1, at);
            if number % 5 == 0 {
                at_once.subtract(value, 0.1, at);
                at_once.settle();
                late.subtract(value, 0.1, at);
            }
        }
        assert!(!late.pending.is_empty() && late.pending.len() <= PENDING_MAX);
        late.settle();
        assert_eq!(at_once, late);
    }

    #[test]
    fn merging_aligns_the_references() {
        let mut old = Histogram::new(Buckets::cpu(), DAY);
        old.add(5.0, 1.0, day(0));
        let mut new = Histogram::new(Buckets::cpu(), DAY);
        new.add(0.015, 1.0, day(2));
        let mut sum = Histogram::new(Buckets::cpu(), DAY);
        sum.merge(&mut new);
        sum.merge(&mut old);
        assert_eq!(sum.total, 1.25);
        assert_eq!(old.reference, Some(day(2)));
        let mut never = Histogram::new(Buckets::cpu(), DAY);
        sum.merge(&mut never);
        assert_eq!(sum.total, 1.25);
    }
}
