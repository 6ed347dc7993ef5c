//! How the work of a request varies: from request to request, with the load of its pod, and with the age of the process.
//!
//! Loads are averages, so the mean of a distribution of work counts where nothing is drawn: without noise and in a flow.

use super::timing::{Distribution, normal_cdf};
use crate::engine::Span;

/// How the work of a request varies around [`App::cpu_per_request`](super::App::cpu_per_request) and
/// [`App::wait_per_request`](super::App::wait_per_request), which are its means.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Demand {
    /// CPU of single requests; `None`: all need the mean.
    pub cpu: Option<Distribution>,
    /// Time without CPU of single requests; `None`: all need the mean.
    pub wait: Option<Distribution>,
    /// More CPU a request when many compute at once.
    pub rise: Option<Rise>,
    /// More CPU a request after the process has started.
    pub warm_up: Option<WarmUp>,
}

/// Requests need more CPU the more of them compute in their pod (context switches, caches, locks, collection of garbage):
/// nothing more for one alone, `by` more when `at` or more compute, in proportion between.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rise {
    /// Part of the CPU that is added at most.
    pub by: f64,
    /// Requests computing at which all of it is added, at least two.
    pub at: u32,
}

impl Rise {
    /// CPU is needed so many times when `computing` requests compute.
    pub fn factor(&self, computing: f64) -> f64 {
        1.0 + self.by * ((computing - 1.0) / f64::from(self.at.max(2) - 1)).clamp(0.0, 1.0)
    }
}

/// A process that has just started needs more CPU a request (code not compiled yet, caches empty): `factor` times as much
/// at first, in a straight line down to once.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WarmUp {
    /// CPU is needed so many times at first, at least once.
    pub factor: f64,
    /// When it is warm.
    pub lasts: Span,
}

impl WarmUp {
    /// CPU is needed so many times by a process that has answered for `age`.
    pub fn factor(&self, age: Span) -> f64 {
        let left = 1.0 - age.seconds() / self.lasts.seconds().max(1e-6);
        1.0 + (self.factor - 1.0) * left.max(0.0)
    }
}

impl Distribution {
    /// The mean; [`Span::MAX`] if it may never happen.
    pub fn mean(&self) -> Span {
        match self {
            Distribution::Constant(span) => *span,
            Distribution::Uniform(low, high) => Span::from_seconds((low.seconds() + high.seconds()) / 2.0),
            Distribution::Normal { mean, sd } => {
                // Of what is cut at zero.
                let (mean, sd) = (mean.seconds(), sd.seconds().max(1e-12));
                let density = (-(mean / sd).powi(2) / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt();
                Span::from_seconds(mean * normal_cdf(mean / sd) + sd * density)
            }
            Distribution::Lognormal { median, sigma } => {
                Span::from_seconds(median.seconds() * (sigma * sigma / 2.0).exp())
            }
            Distribution::Exponential { mean } => *mean,
            Distribution::Weibull { shape, scale } => Span::from_seconds(scale.seconds() * gamma(1.0 + 1.0 / shape)),
            Distribution::Mixture(parts) => {
                let means = parts.iter().map(|(weight, part)| (*weight, part.mean()));
                means.clone().find(|(weight, mean)| *weight > 0.0 && *mean >= Span::MAX).map_or_else(
                    || Span::from_seconds(means.map(|(weight, mean)| weight * mean.seconds()).sum()),
                    |(_, never)| never,
                )
            }
            Distribution::Empirical(values) => {
                let sum: f64 = values.iter().map(|value| value.seconds()).sum();
                Span::from_seconds(sum / values.len().max(1) as f64)
            }
            Distribution::Never => Span::MAX,
        }
    }
}

/// The gamma function of a number of at least 1, by Lanczos' approximation (g = 7, nine terms; relative error about 1e-15).
fn gamma(x: f64) -> f64 {
    const TERMS: [f64; 9] = [
        0.999_999_999_999_809_9,
        676.520_368_121_885_1,
        -1_259.139_216_722_402_8,
        771.323_428_777_653_1,
        -176.615_029_162_140_6,
        12.507_343_278_686_905,
        -0.138_571_095_265_720_12,
        9.984_369_578_019_572e-6,
        1.505_632_735_149_311_6e-7,
    ];
    let x = x - 1.0;
    let base = x + 7.5;
    let sum = (1..9).fold(TERMS[0], |sum, index| sum + TERMS[index] / (x + index as f64));
    (2.0 * std::f64::consts::PI).sqrt() * base.powf(x + 0.5) * (-base).exp() * sum
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Span = Span::from_secs(1);

    #[test]
    fn means_are_what_the_quantiles_average_to() {
        let all = [
            Distribution::Constant(SECOND),
            Distribution::Uniform(SECOND, Span::from_secs(3)),
            Distribution::Normal { mean: SECOND, sd: SECOND },
            Distribution::Lognormal { median: SECOND, sigma: 0.8 },
            Distribution::Exponential { mean: SECOND },
            Distribution::Weibull { shape: 1.5, scale: SECOND },
            Distribution::Empirical(vec![SECOND, SECOND, Span::from_secs(4)]),
            Distribution::Mixture(vec![
                (0.9, Distribution::Constant(SECOND)),
                (0.1, Distribution::Exponential { mean: Span::from_secs(30) }),
            ]),
        ];
        for distribution in all {
            let count = 20_000;
            let points = (0..count).map(|index| (f64::from(index) + 0.5) / f64::from(count));
            let average = points.map(|p| distribution.quantile(p).seconds()).sum::<f64>() / f64::from(count);
            let mean = distribution.mean().seconds();
            assert!((mean / average - 1.0).abs() < 2e-3, "{distribution:?}: {mean}, by its quantiles {average}");
        }
        let half = Distribution::Mixture(vec![(0.5, Distribution::Constant(SECOND)), (0.5, Distribution::Never)]);
        assert_eq!((half.mean(), Distribution::Never.mean()), (Span::MAX, Span::MAX));
    }

    #[test]
    fn demand_rises_with_load_and_falls_with_age_in_straight_lines() {
        let rise = Rise { by: 0.25, at: 21 };
        assert_eq!([0.0, 1.0, 11.0, 21.0, 500.0].map(|count| rise.factor(count)), [1.0, 1.0, 1.125, 1.25, 1.25]);
        let warm_up = WarmUp { factor: 3.0, lasts: Span::from_secs(60) };
        assert_eq!([0, 30, 60, 900].map(|age| warm_up.factor(Span::from_secs(age))), [3.0, 2.0, 1.0, 1.0]);
    }
}
