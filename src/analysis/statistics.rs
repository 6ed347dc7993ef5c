//! What a number of independent runs says about all runs: percentiles with distribution-free intervals, shares, means, and
//! how many runs it takes.
//!
//! ```text
//!  n, percentile, level ─► ranks of the ordered sample that enclose it (binomial, no assumption about its shape)
//!  hits of n            ─► Clopper-Pearson interval of a share
//!  sample               ─► mean with Student's interval
//! ```
//! Source: Hahn and Meeker, Statistical Intervals, chapters 5 and 6. Left out: densities, bootstraps.

/// The confidence of every interval.
pub const LEVEL: f64 = 0.95;

/// A value with what chance leaves open.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// The best guess.
    pub point: f64,
    /// It is hardly smaller.
    pub low: f64,
    /// It is hardly larger.
    pub high: f64,
}

impl Estimate {
    /// A value that is certain.
    pub const fn exact(point: f64) -> Estimate {
        Estimate { point, low: point, high: point }
    }

    /// What holds whether the truth is this estimate or `above`: the values of which both are made are known from below only.
    pub fn enclosed(self, above: Estimate) -> Estimate {
        Estimate { point: above.point, low: self.low.min(above.low), high: self.high.max(above.high) }
    }

    /// Half the width of the interval as a share of the point.
    pub fn relative_half_width(&self) -> f64 {
        let width = self.high - self.low;
        if width == 0.0 { 0.0 } else { width / 2.0 / self.point.abs() }
    }
}

/// Natural logarithm of n!.
fn log_factorial(number: usize) -> f64 {
    if number < 16 {
        return (2..=number).map(|factor| (factor as f64).ln()).sum();
    }
    // Stirling's series; the first term left out is below 1e-11.
    let x = number as f64 + 1.0;
    let series = 1.0 / (12.0 * x) - 1.0 / (360.0 * x.powi(3)) + 1.0 / (1_260.0 * x.powi(5));
    (x - 0.5) * x.ln() - x + 0.5 * (2.0 * std::f64::consts::PI).ln() + series
}

/// Chance of exactly `hits` in `count` trials.
fn binomial(hits: usize, count: usize, chance: f64) -> f64 {
    if chance <= 0.0 || chance >= 1.0 {
        let certain = if chance <= 0.0 { 0 } else { count };
        return if hits == certain { 1.0 } else { 0.0 };
    }
    let ways = log_factorial(count) - log_factorial(hits) - log_factorial(count - hits);
    (ways + hits as f64 * chance.ln() + (count - hits) as f64 * (-chance).ln_1p()).exp()
}

/// Chance of at most `hits` in `count` trials.
pub fn binomial_at_most(hits: usize, count: usize, chance: f64) -> f64 {
    if hits >= count {
        return 1.0;
    }
    if chance <= 0.0 || chance >= 1.0 {
        return if chance <= 0.0 { 1.0 } else { 0.0 };
    }
    // The shorter tail is summed, from its largest term outwards, until nothing is added any more.
    let odds = chance / (1.0 - chance);
    let below = (hits as f64) < count as f64 * chance;
    let (mut sum, mut at) = (0.0, if below { hits } else { hits + 1 });
    let mut term = binomial(at, count, chance);
    while term > sum * 1e-17 && term > 0.0 {
        sum += term;
        if below {
            if at == 0 {
                break;
            }
            term *= at as f64 / ((count - at + 1) as f64 * odds);
            at -= 1;
        } else {
            if at == count {
                break;
            }
            term *= (count - at) as f64 * odds / (at + 1) as f64;
            at += 1;
        }
    }
    if below { sum.min(1.0) } else { (1.0 - sum).max(0.0) }
}

/// Fewest runs of which a percentile may be told at all: with that confidence one of them lies beyond it.
pub fn least_runs(percent: f64) -> usize {
    let extreme = (percent / 100.0).max(1.0 - percent / 100.0);
    // A tiny allowance: 0.95 is no binary fraction.
    ((1.0 - LEVEL).ln() / extreme.ln() - 1e-9).ceil() as usize
}

/// Fewest runs that enclose a percentile from both sides: between their smallest and their largest lies, with that
/// confidence, so large a share of all runs (Wilks).
pub fn least_runs_two_sided(percent: f64) -> usize {
    let share = (percent / 100.0).max(1.0 - percent / 100.0);
    let confidence =
        |count: usize| 1.0 - share.powi(count as i32) - count as f64 * (1.0 - share) * share.powi(count as i32 - 1);
    (2..).find(|&count| confidence(count) >= LEVEL).unwrap_or(usize::MAX)
}

/// The ranks, from 1, of the ordered sample between which the percentile lies with at least this confidence, as much on
/// either side. `None`: the sample is too small to bound that side.
pub fn percentile_ranks(count: usize, percent: f64, level: f64) -> (Option<usize>, Option<usize>) {
    let (share, tail) = (percent / 100.0, (1.0 - level) / 2.0);
    // The distribution function rises: both ranks by bisection.
    let least = |reaches: &dyn Fn(usize) -> bool| {
        let (mut from, mut to) = (0, count);
        while from < to {
            let middle = (from + to) / 2;
            if reaches(middle) { to = middle } else { from = middle + 1 }
        }
        from
    };
    let low = least(&|hits| binomial_at_most(hits, count, share) > tail);
    let high = least(&|hits| binomial_at_most(hits, count, share) >= 1.0 - tail) + 1;
    ((low >= 1).then_some(low), (high <= count).then_some(high))
}

/// The smallest value that at least so many percent of a sorted sample do not exceed.
pub fn percentile_of(sorted: &[f64], percent: f64) -> f64 {
    let rank = (percent / 100.0 * sorted.len() as f64 - 1e-9).ceil() as usize;
    sorted[rank.clamp(1, sorted.len()) - 1]
}

/// A percentile of a sorted sample with its interval; an end that the sample is too small to bound is infinite. `None`:
/// fewer runs than [`least_runs`].
pub fn percentile(sorted: &[f64], percent: f64, level: f64) -> Option<Estimate> {
    if sorted.len() < least_runs(percent) {
        return None;
    }
    let two_sided = sorted.len() >= least_runs_two_sided(percent);
    let (low, high) = percentile_ranks(sorted.len(), percent, level);
    let value = |rank: Option<usize>, open: f64| rank.map_or(open, |rank| sorted[rank - 1]);
    let (mut low, mut high) = (value(low, f64::NEG_INFINITY), value(high, f64::INFINITY));
    if !two_sided {
        (low, high) = if percent >= 50.0 { (low, f64::INFINITY) } else { (f64::NEG_INFINITY, high) };
    }
    Some(Estimate { point: percentile_of(sorted, percent), low, high })
}

/// A share with its Clopper-Pearson interval: never less confident than it says.
pub fn share(hits: usize, count: usize, level: f64) -> Estimate {
    let tail = (1.0 - level) / 2.0;
    let bisect = |above: &dyn Fn(f64) -> bool| {
        let (mut from, mut to) = (0.0_f64, 1.0_f64);
        for _ in 0..60 {
            let middle = (from + to) / 2.0;
            if above(middle) { to = middle } else { from = middle }
        }
        (from + to) / 2.0
    };
    let low = if hits == 0 { 0.0 } else { bisect(&|p| 1.0 - binomial_at_most(hits - 1, count, p) >= tail) };
    let high = if hits == count { 1.0 } else { bisect(&|p| binomial_at_most(hits, count, p) <= tail) };
    Estimate { point: hits as f64 / count as f64, low, high }
}

/// A mean with Student's interval; of a single run without bounds.
pub fn mean(values: &[f64], level: f64) -> Estimate {
    let count = values.len() as f64;
    let point = values.iter().sum::<f64>() / count;
    if !point.is_finite() {
        return Estimate::exact(point);
    }
    if values.len() < 2 {
        return Estimate { point, low: f64::NEG_INFINITY, high: f64::INFINITY };
    }
    let half = student_quantile(1.0 - (1.0 - level) / 2.0, count - 1.0) * (variance(values) / count).sqrt();
    Estimate { point, low: point - half, high: point + half }
}

/// Unbiased variance.
pub fn variance(values: &[f64]) -> f64 {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (count - 1.0).max(1.0)
}

/// Quantile of the normal distribution (Acklam's approximation, relative error below 1.2e-9).
pub fn normal_quantile(share: f64) -> f64 {
    const A: [f64; 6] = [
        -3.969_683_028_665_376e1,
        2.209_460_984_245_205e2,
        -2.759_285_104_469_687e2,
        1.383_577_518_672_69e2,
        -3.066_479_806_614_716e1,
        2.506_628_277_459_239,
    ];
    const B: [f64; 5] = [
        -5.447_609_879_822_406e1,
        1.615_858_368_580_409e2,
        -1.556_989_798_598_866e2,
        6.680_131_188_771_972e1,
        -1.328_068_155_288_572e1,
    ];
    const C: [f64; 6] = [
        -7.784_894_002_430_293e-3,
        -3.223_964_580_411_365e-1,
        -2.400_758_277_161_838,
        -2.549_732_539_343_734,
        4.374_664_141_464_968,
        2.938_163_982_698_783,
    ];
    const D: [f64; 4] =
        [7.784_695_709_041_462e-3, 3.224_671_290_700_398e-1, 2.445_134_137_142_996, 3.754_408_661_907_416];
    let polynomial = |coefficients: &[f64], x: f64| coefficients.iter().fold(0.0, |sum, c| sum * x + c);
    if share < 0.024_25 {
        let q = (-2.0 * share.ln()).sqrt();
        return polynomial(&C, q) / (polynomial(&D, q) * q + 1.0);
    }
    if share > 1.0 - 0.024_25 {
        return -normal_quantile(1.0 - share);
    }
    let q = share - 0.5;
    let r = q * q;
    polynomial(&A, r) * q / (polynomial(&B, r) * r + 1.0)
}

/// Quantile of Student's distribution (Hill's expansion about the normal; to three digits from four degrees on).
fn student_quantile(share: f64, degrees: f64) -> f64 {
    match degrees as u64 {
        1 => return (std::f64::consts::PI * (share - 0.5)).tan(),
        2 => {
            let a = 4.0 * share * (1.0 - share);
            return 2.0 * (share - 0.5) * (2.0 / a).sqrt();
        }
        _ => {}
    }
    let z = normal_quantile(share);
    let terms = [
        (z.powi(3) + z) / 4.0,
        (5.0 * z.powi(5) + 16.0 * z.powi(3) + 3.0 * z) / 96.0,
        (3.0 * z.powi(7) + 19.0 * z.powi(5) + 17.0 * z.powi(3) - 15.0 * z) / 384.0,
        (79.0 * z.powi(9) + 776.0 * z.powi(7) + 1_482.0 * z.powi(5) - 1_920.0 * z.powi(3) - 945.0 * z) / 92_160.0,
    ];
    terms.iter().rev().fold(0.0, |sum, term| (sum + term) / degrees) + z
}

/// About so many runs would tell a share from a bound; `None`: it lies on the bound.
pub fn runs_to_tell(share: f64, bound: f64, count: usize) -> Option<u64> {
    let distance = (share - bound).abs();
    let z = normal_quantile(1.0 - (1.0 - LEVEL) / 2.0);
    // Hits of none or of all: the spread of the bound itself.
    let spread = if share <= 0.0 || share >= 1.0 { bound * (1.0 - bound) } else { share * (1.0 - share) };
    let runs = z * z * spread / (distance * distance);
    (distance > 0.0 && runs.is_finite()).then(|| (runs.ceil() as u64).max(noticeably_more(count)))
}

/// A tenth more runs than were made, rounded up to two digits: a sample that is undecided needs more than itself, and one run
/// more would not tell.
pub fn noticeably_more(count: usize) -> u64 {
    let runs = count as u64 + (count as u64).div_ceil(10).max(1);
    let unit = 10_u64.pow(runs.ilog10().saturating_sub(1));
    runs.div_ceil(unit) * unit
}

/// The same of a percentile that such a share of the runs does not exceed: fewer than enclose it have no end on one side.
pub fn runs_to_tell_percentile(below: f64, percent: f64, count: usize) -> Option<u64> {
    let told = runs_to_tell(below, percent / 100.0, count)?;
    Some(told.max(least_runs_two_sided(percent) as u64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Purpose, Random};

    #[test]
    fn ranks_are_those_of_the_specification() {
        assert_eq!(percentile_ranks(1_000, 95.0, 0.95), (Some(936), Some(964)));
        assert_eq!(percentile_ranks(1_000, 99.0, 0.95), (Some(983), Some(997)));
        assert_eq!(percentile_ranks(10_000, 99.0, 0.95), (Some(9_880), Some(9_920)));
        let cover = |low: usize, high: usize, share| {
            binomial_at_most(high - 1, 1_000, share) - binomial_at_most(low - 1, 1_000, share)
        };
        assert!((cover(936, 964, 0.95) - 0.958).abs() < 5e-4);
        assert!((cover(983, 997, 0.99) - 0.976).abs() < 5e-4);
    }

    /// Sixty runs all below the bound do not tell a p95: 93 do (0.95^93 + 93 * 0.05 * 0.95^92 < 0.05).
    #[test]
    fn as_many_runs_as_enclose_a_percentile_are_asked_for() {
        assert_eq!(runs_to_tell_percentile(1.0, 95.0, 60), Some(93));
        assert_eq!(runs_to_tell_percentile(1.0, 99.0, 300), Some(473));
        assert_eq!(runs_to_tell_percentile(0.95, 95.0, 60), None, "on the bound");
        assert!(runs_to_tell_percentile(0.93, 95.0, 100) > Some(500));
    }

    #[test]
    fn a_percentile_is_refused_below_its_minimum() {
        assert_eq!([95.0, 99.0, 99.9].map(least_runs), [59, 299, 2_995]);
        assert_eq!([95.0, 99.0].map(least_runs_two_sided), [93, 473]);
        let sample = |count: u32| (1..=count).map(f64::from).collect::<Vec<_>>();
        assert_eq!(percentile(&sample(58), 95.0, LEVEL), None);
        assert_eq!(percentile(&sample(59), 95.0, LEVEL).map(|estimate| estimate.high), Some(f64::INFINITY));
        assert!(percentile(&sample(93), 95.0, LEVEL).is_some_and(|estimate| estimate.high == 93.0));
        assert!(percentile(&sample(93), 5.0, LEVEL).is_some_and(|estimate| estimate.low == 1.0));
    }

    /// Oracle 38: 1 000 repeated studies contain a known p95 between 93.6 and 96.4 % of the time.
    #[test]
    fn intervals_of_p95_cover_it_as_often_as_they_say() {
        let purpose = Purpose::named("coverage");
        for count in [200_u64, 400] {
            let covered = (0..1_000).filter(|&study| {
                let random = Random::new(38, study);
                let mut sample: Vec<f64> = (0..count).map(|run| -random.uniform(purpose, run).ln()).collect();
                sample.sort_by(f64::total_cmp);
                // The p95 of an exponential variable of mean 1.
                let truth = 20.0_f64.ln();
                percentile(&sample, 95.0, LEVEL).is_some_and(|found| found.low <= truth && truth <= found.high)
            });
            let share = covered.count() as f64 / 1_000.0;
            assert!((0.936..=0.964).contains(&share), "{count}: {share}");
        }
    }

    #[test]
    fn shares_are_clopper_and_pearson() {
        let close = |found: Estimate, low: f64, high: f64| {
            assert!((found.low - low).abs() < 5e-5 && (found.high - high).abs() < 5e-5, "{found:?}");
        };
        // scipy.stats.binomtest(k, n).proportion_ci(method="exact")
        close(share(0, 100, 0.95), 0.0, 0.03622);
        close(share(5, 100, 0.95), 0.01643, 0.11283);
        close(share(100, 100, 0.95), 0.96378, 1.0);
    }

    #[test]
    fn means_are_student_s() {
        let found = mean(&[1.0, 2.0, 3.0, 4.0, 5.0], 0.95);
        // t(0.975, 4) = 2.7764, standard error 0.70711
        assert!((found.low - (3.0 - 1.96324)).abs() < 5e-3, "{found:?}");
        assert!((student_quantile(0.975, 10.0) - 2.2281).abs() < 1e-3);
        assert!((normal_quantile(0.975) - 1.959_964).abs() < 1e-6);
        assert!((normal_quantile(0.01) + 2.326_348).abs() < 1e-6);
    }

    #[test]
    fn the_sample_that_decides_grows_with_the_square() {
        let wide = runs_to_tell(0.02, 0.01, 10).unwrap();
        let narrow = runs_to_tell(0.02, 0.015, 10).unwrap();
        assert!((narrow as f64 / wide as f64 - 4.0).abs() < 0.01);
        assert_eq!(runs_to_tell(0.01, 0.01, 10), None);
    }

    /// At the edge the normal approximation says that fewer runs would do than were made.
    #[test]
    fn an_open_answer_asks_for_a_tenth_more_runs_at_least() {
        assert_eq!(
            [0, 1, 5, 93, 400, 1_000, 1_234, 10_001].map(noticeably_more),
            [1, 2, 6, 110, 440, 1_100, 1_400, 12_000]
        );
        let edge = |count| runs_to_tell(0.02, 0.05, count);
        assert_eq!([edge(84), edge(93), edge(440)], [Some(93), Some(110), Some(490)]);
    }
}
