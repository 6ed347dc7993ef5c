//! Chances too small to count: importance sampling and multilevel splitting, each with what it does not know.
//!
//! ```text
//!  importance: draws from a law under which it is common, each hit weighed by the ratio of the two laws
//!  splitting : P(reach the top) = P(level 1) * P(level 2 | level 1) * ..., the same effort at each level
//! ```
//! In: what a draw or a stretch of the process gives, keyed by its number. Out: an estimate, and whether to believe it.
//! Source: Asmussen and Glynn, Stochastic Simulation, chapters V and VI.
//! `kubelapse rare` weighs runs with the first; splitting is for users of the library.

use super::statistics::{Estimate, LEVEL, normal_quantile, share};
use crate::engine::Span;
use crate::rules::expectation::{Expectation, Verdict};

/// Fewest effective hits that are believed.
pub const LEAST_EFFECTIVE: f64 = 100.0;

/// The estimate of a small chance.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rare {
    /// The chance with its interval.
    pub chance: Estimate,
    /// Hits it is worth: the squared sum of weights over the sum of their squares.
    pub effective_hits: f64,
}

impl Rare {
    /// Enough hits of comparable weight stand behind it; few heavy ones would feign a narrow interval.
    pub fn is_trusted(&self) -> bool {
        self.effective_hits >= LEAST_EFFECTIVE
    }
}

/// Importance sampling over `count` draws. `draw` gives the logarithm of the ratio of the true law to that drawn from, if
/// the event came about.
pub fn importance(count: u64, draw: impl Fn(u64) -> Option<f64>) -> Rare {
    let weights = (0..count).filter_map(draw).map(f64::exp);
    let (sum, squares) = weights.fold((0.0, 0.0), |(sum, squares), weight| (sum + weight, squares + weight * weight));
    let runs = count.max(1) as f64;
    let point = sum / runs;
    let deviation = ((squares / runs - point * point).max(0.0) / runs).sqrt();
    Rare { chance: around(point, deviation), effective_hits: if squares > 0.0 { sum * sum / squares } else { 0.0 } }
}

/// Fixed-effort splitting through `levels` levels. `advance` runs a copy of a state at one level until it reaches the next
/// (then its state there) or has failed; its last argument is a number of its own for each stretch.
pub fn splitting<S>(levels: u32, effort: u64, start: S, advance: impl Fn(&S, u32, u64) -> Option<S>) -> Rare {
    let mut entrances = vec![start];
    let (mut point, mut relative, mut least) = (1.0, 0.0, f64::INFINITY);
    for level in 0..levels {
        let from = |number: u64| &entrances[(number % entrances.len() as u64) as usize];
        let stretches =
            (0..effort).filter_map(|number| advance(from(number), level, u64::from(level) * effort + number));
        let reached: Vec<S> = stretches.collect();
        let share = reached.len() as f64 / effort.max(1) as f64;
        if reached.is_empty() {
            return Rare { chance: Estimate { point: 0.0, low: 0.0, high: f64::INFINITY }, effective_hits: 0.0 };
        }
        point *= share;
        relative += (1.0 - share) / (share * effort as f64);
        least = least.min(reached.len() as f64);
        entrances = reached;
    }
    Rare { chance: around(point, point * relative.sqrt()), effective_hits: least }
}

fn around(point: f64, deviation: f64) -> Estimate {
    let half = normal_quantile(1.0 - (1.0 - LEVEL) / 2.0) * deviation;
    Estimate { point, low: (point - half).max(0.0), high: point + half }
}

/// What is asked.
#[derive(Clone, Copy)]
pub struct Question<'a> {
    /// The event: it comes about in a run of which this is true.
    pub event: &'a Expectation,
    /// A pool is lost between these two, from the start of the run.
    pub window: (Span, Span),
    /// Runs, all together.
    pub runs: u64,
}

/// What came out.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The chance that a pool that holds nodes is lost in the window.
    pub struck: f64,
    /// The chance of the event in a run with such a loss.
    pub given: Estimate,
    /// The chance of both, with the hits that stand behind it.
    pub both: Rare,
    /// Its interval is that of a share: every loss stands for the same chance. Then it holds however few the hits are.
    pub is_exact: bool,
    /// Runs with a loss, and those of them with the event.
    pub struck_runs: (u64, u64),
    /// Runs without a loss, and those of them with the event.
    pub spared_runs: (u64, u64),
    /// The chance of the event in a run without a loss.
    pub spared: Estimate,
    /// Ordinary runs that would know the chance of both as well; `None`: it was never seen.
    pub worth: Option<f64>,
    /// It was told to stop before its end.
    pub interrupted: bool,
}

impl Answer {
    /// Whether both come about in at most such a share of runs. The interval decides where it is to be believed.
    pub fn within(&self, bound: f64) -> Verdict {
        let never_seen = self.struck_runs.1 == 0;
        let high = if never_seen { self.given.high * self.struck } else { self.both.chance.high };
        let is_known = self.is_exact || self.both.is_trusted();
        match (high <= bound, self.both.chance.low > bound) {
            (true, _) if is_known || never_seen => Verdict::Holds,
            (_, true) if is_known => Verdict::Fails,
            _ => Verdict::Undecided,
        }
    }
}

/// Draws of about equal weight.
fn are_equal(sum: f64, squares: f64, count: usize) -> bool {
    sum * sum >= 0.95 * count as f64 * squares
}

/// Weighs runs: what each stands for, and whether the event came about in it.
pub fn weigh(struck: &[(f64, bool)], spared: &[(f64, bool)], interrupted: bool) -> Answer {
    let hits = |runs: &[(f64, bool)]| runs.iter().filter(|(_, hit)| *hit).count();
    let both = importance(struck.len() as u64, |run| {
        let (likelihood, hit) = struck[run as usize];
        hit.then(|| likelihood.ln())
    });
    let chance = struck.iter().map(|(likelihood, _)| likelihood).sum::<f64>() / struck.len() as f64;
    let given = share(hits(struck), struck.len(), LEVEL);
    let deviation = (both.chance.high - both.chance.point) / 1.96;
    let point = both.chance.point;
    // Runs of equal weight are a share of a known chance: its interval is exact, however few they are. One hit is equal to
    // itself: all that were drawn must be alike.
    let squares = struck.iter().map(|(likelihood, _)| likelihood * likelihood).sum::<f64>();
    let is_exact = are_equal(chance * struck.len() as f64, squares, struck.len())
        && both.effective_hits >= 0.95 * hits(struck) as f64;
    let exact = Estimate { point, low: given.low * chance, high: given.high * chance };
    let both = Rare { chance: if is_exact { exact } else { both.chance }, ..both };
    Answer {
        struck: chance,
        given,
        worth: (deviation > 0.0).then(|| point * (1.0 - point) / (deviation * deviation)),
        both,
        is_exact,
        struck_runs: (struck.len() as u64, hits(struck) as u64),
        spared_runs: (spared.len() as u64, hits(spared) as u64),
        spared: share(hits(spared), spared.len(), LEVEL),
        interrupted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Purpose, Random};

    /// Oracle 33: the tail of Erlang(5, 1) beyond 20 and beyond 30, within 5 % at 1e5 runs.
    #[test]
    fn importance_sampling_hits_the_tail_of_erlang() {
        let purpose = Purpose::named("erlang");
        for (bound, truth) in [(20.0, 1.694_47e-5), (30.0, 3.624_30e-9)] {
            // Exponential stages slowed down until their sum is the bound in the mean.
            let rate = 5.0 / bound;
            let found = importance(100_000, |run| {
                let random = Random::new(33, run);
                let stage = |stage: u64| -random.uniform(purpose, stage).ln() / rate;
                let sum: f64 = (0..5).map(stage).sum();
                (sum > bound).then(|| -5.0 * rate.ln() - (1.0 - rate) * sum)
            });
            assert!((found.chance.point / truth - 1.0).abs() < 0.05, "{bound}: {found:?}");
            assert!(found.is_trusted(), "{found:?}");
        }
        // Without the other law there is no hit, and nothing is believed.
        let plain = importance(1_000, |run| {
            let random = Random::new(33, run);
            let sum: f64 = (0..5).map(|stage| -random.uniform(purpose, stage).ln()).sum();
            (sum > 30.0).then_some(0.0)
        });
        assert!(!plain.is_trusted());
    }

    /// Oracle 34: P(a queue at rho 0.5 reaches 20 before 0 from 1) = (1/rho - 1) / (rho^-20 - 1) = 9.5367e-7.
    #[test]
    fn splitting_finds_the_overflow_of_a_queue() {
        let found = splitting(19, 4_000, 1_u32, |&length, level, stretch| {
            let random = Random::new(34, stretch);
            let (mut length, mut step) = (length, 0);
            while length > 0 && length < level + 2 {
                step += 1;
                // An arrival comes first with chance rho / (1 + rho).
                length =
                    if random.uniform(Purpose::named("queue"), step) < 1.0 / 3.0 { length + 1 } else { length - 1 };
            }
            (length > 0).then_some(length)
        });
        let (truth, estimate) = (9.536_7e-7, found.chance);
        let deviation = (estimate.high - estimate.point) / 1.96;
        assert!((estimate.point - truth).abs() < 3.29 * deviation, "{found:?}");
        assert!(deviation < 0.1 * truth && found.is_trusted(), "{found:?}");
    }

    #[test]
    fn runs_of_equal_weight_are_a_share_times_the_chance_of_a_loss() {
        let struck: Vec<(f64, bool)> = (0..400).map(|run| (1e-4, run % 4 == 0)).collect();
        let spared = vec![(0.9999, false); 100];
        let answer = weigh(&struck, &spared, false);
        assert!((answer.struck - 1e-4).abs() < 1e-12);
        assert!((answer.both.chance.point - 0.25e-4).abs() < 1e-12);
        assert!((answer.both.effective_hits - 100.0).abs() < 1e-6);
        assert_eq!((answer.struck_runs, answer.spared_runs), ((400, 100), (100, 0)));
        // A share of a quarter of 400 has a deviation of 0.02165; seen as rarely as 0.25e-4 it takes 5.3 million runs.
        let worth = answer.worth.unwrap();
        assert!((worth / 5.333e6 - 1.0).abs() < 1e-3, "{worth}");
    }

    /// Sixty of 75 losses lead to the event: too few hits for two digits of its chance, yet far beyond a twentieth of that.
    #[test]
    fn the_interval_decides_a_gate_where_every_loss_stands_for_the_same() {
        let struck = |hits: usize| (0..75).map(|run| (1e-2, run < hits)).collect::<Vec<(f64, bool)>>();
        let within = |hits: usize, bound: f64| weigh(&struck(hits), &[(0.99, false)], false).within(bound);
        assert!(!weigh(&struck(60), &[(0.99, false)], false).both.is_trusted());
        assert_eq!(
            [within(60, 5e-4), within(60, 1e-2), within(60, 8e-3)],
            [Verdict::Fails, Verdict::Holds, Verdict::Undecided]
        );
        assert_eq!([within(0, 1e-2), within(0, 1e-6)], [Verdict::Holds, Verdict::Undecided]);
        // One light hit among heavy runs says nothing of the heavy ones.
        let uneven: Vec<(f64, bool)> =
            (0..75).map(|run| (if run == 0 { 1e-6 } else { 1e-2 * f64::from(run) }, run == 0)).collect();
        assert_eq!(weigh(&uneven, &[(0.99, false)], false).within(0.5), Verdict::Undecided);
    }

    #[test]
    fn few_heavy_runs_are_not_believed() {
        let struck: Vec<(f64, bool)> = (0..400).map(|run| (if run == 0 { 1e-2 } else { 1e-6 }, run < 200)).collect();
        let answer = weigh(&struck, &[(0.99, false)], false);
        assert!(!answer.both.is_trusted(), "{:?}", answer.both);
    }
}
