//! A histogram of durations: counts in buckets whose width grows with their value, 64 to each doubling.
//!
//! Its size is bounded however many values it counts, and a quantile is within one part in 64 of the exact one.

use crate::engine::Span;

/// Buckets to a doubling, as a power of two.
const FINE_BITS: u32 = 6;
const FINE: u64 = 1 << FINE_BITS;

/// Counts of durations.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
}

impl Histogram {
    /// Counts one value.
    #[inline(always)]
    pub fn add(&mut self, value: Span) {
        let bucket = bucket(value.micros());
        if self.counts.len() <= bucket {
            self.counts.resize(bucket + 1, 0);
        }
        self.counts[bucket] += 1;
        self.total += 1;
    }

    /// Counts what another has counted.
    pub fn merge(&mut self, other: &Histogram) {
        if self.counts.len() < other.counts.len() {
            self.counts.resize(other.counts.len(), 0);
        }
        self.counts.iter_mut().zip(&other.counts).for_each(|(count, other)| *count += other);
        self.total += other.total;
    }

    /// What was counted since it stood as `earlier`.
    pub fn since(&self, earlier: &Histogram) -> Histogram {
        let before = earlier.counts.iter().copied().chain(std::iter::repeat(0));
        let counts = self.counts.iter().zip(before).map(|(count, before)| count.saturating_sub(before)).collect();
        Histogram { counts, total: self.total.saturating_sub(earlier.total) }
    }

    /// Values counted.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Values of more than zero.
    pub fn above_zero(&self) -> u64 {
        self.total - self.counts.first().copied().unwrap_or(0)
    }

    /// The value that the share `p` of all values does not exceed, evenly within its bucket; `None`: nothing was counted.
    pub fn quantile(&self, p: f64) -> Option<Span> {
        let rank = (p * self.total as f64).clamp(0.0, self.total as f64);
        let mut below = 0;
        for (index, &count) in self.counts.iter().enumerate().filter(|(_, count)| **count > 0) {
            if (below + count) as f64 >= rank {
                let (low, width) = bounds(index);
                let within = (rank - below as f64) / count as f64;
                return Some(Span::from_micros(low + ((width - 1) as f64 * within).round() as u64));
            }
            below += count;
        }
        None
    }
}

#[inline]
fn bucket(micros: u64) -> usize {
    if micros < FINE {
        return micros as usize;
    }
    let shift = 63 - micros.leading_zeros() - FINE_BITS;
    // The highest bit of the value is that of FINE after the shift.
    (u64::from(shift) * FINE + (micros >> shift)) as usize
}

/// Smallest value of a bucket, and how many whole values it holds.
fn bounds(bucket: usize) -> (u64, u64) {
    let bucket = bucket as u64;
    if bucket < 2 * FINE {
        return (bucket, 1);
    }
    let shift = bucket / FINE - 1;
    ((bucket - shift * FINE) << shift, 1 << shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_follow_one_another_without_a_gap() {
        let mut next = 0;
        for index in 0..2_000 {
            let (low, width) = bounds(index);
            assert_eq!(low, next, "bucket {index}");
            assert_eq!((bucket(low), bucket(low + width - 1)), (index, index));
            assert!(width == 1 || width * FINE <= low, "a bucket is at most a part in 64 of its value");
            next = low + width;
        }
    }

    #[test]
    fn what_was_counted_since_then_is_what_came_since_then() {
        let (mut early, mut late) = (Histogram::default(), Histogram::default());
        (0..500).for_each(|value| early.add(Span::from_micros(value)));
        (700..9_000).for_each(|value| late.add(Span::from_micros(value)));
        let mut both = early.clone();
        both.merge(&late);
        assert_eq!(both.since(&early), late);
        assert_eq!(both.since(&both).quantile(0.5), None);
    }

    #[test]
    fn quantiles_are_within_a_bucket_of_the_exact_ones() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.quantile(0.5), None);
        (0..=100_000).for_each(|value| histogram.add(Span::from_micros(value)));
        for p in [0.0, 0.5, 0.95, 0.99, 1.0] {
            let (found, exact) = (histogram.quantile(p).unwrap().micros() as f64, p * 1e5);
            assert!((found - exact).abs() <= exact / 64.0 + 1.0, "{p}: {found}");
        }
        assert_eq!((histogram.total(), histogram.above_zero()), (100_001, 100_000));
    }
}
