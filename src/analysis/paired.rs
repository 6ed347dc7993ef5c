//! Two scenarios under common random numbers: differences run by run, their interval, and what the pairing won.

use super::gate::resolved;
use super::runs::Runs;
use super::statistics::{self, Estimate};
use crate::rules::expectation::{Measure, Unit};

/// How a measure differs.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// The measure.
    pub measure: Measure,
    /// Mean of the first.
    pub first: f64,
    /// Mean of the second.
    pub second: f64,
    /// Mean of second less first, run by run.
    pub difference: Estimate,
    /// Runs in which they differ at all.
    pub differing: usize,
    /// Pairs of runs in which both could be measured.
    pub pairs: usize,
    /// How many times fewer runs it takes than with chances of their own; infinite if nothing differs.
    pub variance_ratio: f64,
}

impl Difference {
    /// Larger, smaller, or not told apart.
    pub fn verdict(&self) -> &'static str {
        match (self.difference.low > 0.0, self.difference.high < 0.0, self.differing) {
            (_, _, 0) => "equal",
            (true, _, _) => "more",
            (_, true, _) => "less",
            _ => "not told apart",
        }
    }

    /// The difference with its sign and its interval.
    pub fn words(&self) -> String {
        let unit: Unit = self.measure.unit();
        let Estimate { point, low, high } = self.difference;
        let scale = point.abs().max(low.abs()).max(high.abs());
        let zero = resolved(unit, 0.0, scale);
        let show = |value: f64| match resolved(unit, value.abs(), scale) {
            text if text == zero => text,
            text => format!("{}{text}", if value > 0.0 { '+' } else { '-' }),
        };
        if self.differing == 0 {
            return show(0.0);
        }
        // Where nothing scatters the interval is the point.
        if show(low) == show(high) {
            return show(point);
        }
        format!("{} ({} to {})", show(point), show(low), show(high))
    }
}

/// The differences of all measures that both have.
pub fn differences(first: &Runs, second: &Runs) -> Vec<Difference> {
    let mut found = Vec::new();
    for (position, (measure, _)) in first.wanted.quantities.iter().enumerate() {
        let pairs: Vec<(f64, f64)> = first
            .column(position)
            .into_iter()
            .zip(second.column(position))
            .filter_map(|(one, other)| Some((one?, other?)))
            .filter(|(one, other)| one.is_finite() && other.is_finite())
            .collect();
        if pairs.is_empty() {
            continue;
        }
        let (ones, others): (Vec<f64>, Vec<f64>) = pairs.iter().copied().unzip();
        let apart: Vec<f64> = pairs.iter().map(|(one, other)| other - one).collect();
        let spread = statistics::variance(&apart);
        let own = statistics::variance(&ones) + statistics::variance(&others);
        found.push(Difference {
            measure: *measure,
            first: statistics::mean(&ones, first.level).point,
            second: statistics::mean(&others, first.level).point,
            difference: statistics::mean(&apart, first.level),
            differing: apart.iter().filter(|value| **value != 0.0).count(),
            pairs: pairs.len(),
            variance_ratio: ratio(own, spread, statistics::mean(&ones, first.level).point),
        });
    }
    found
}

/// Sums of rounded numbers leave a variance of about nothing where there is none.
fn ratio(own: f64, spread: f64, size: f64) -> f64 {
    if spread > 1e-12 * (own + size * size) { own / spread } else { f64::INFINITY }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(measure: Measure, point: f64, low: f64, high: f64) -> String {
        let difference = Estimate { point, low, high };
        let (first, second, variance_ratio) = (1.0, 1.0 + point, 1.0);
        Difference { measure, first, second, difference, differing: 3, pairs: 9, variance_ratio }.words()
    }

    #[test]
    fn a_small_difference_is_told_with_its_own_digits_and_nothing_has_no_sign() {
        assert_eq!(words(Measure::LostShare, 0.000_031, -0.000_002, 0.000_064), "+0.003% (0% to +0.006%)");
        assert_eq!(words(Measure::Cost, -0.000_004, -0.000_006, -0.000_002), "-$0.000004 (-$0.000006 to -$0.000002)");
        assert_eq!(words(Measure::TimeToServe, -10.72, -12.4, -8.91), "-10.7s (-12.4s to -8.9s)");
        assert_eq!(words(Measure::NodesMax, 2.0, 2.0, 2.0), "+2");
    }

    #[test]
    fn a_difference_that_does_not_scatter_has_no_ratio() {
        assert!(ratio(3.0, 1e-28, 100.0).is_infinite());
        assert!(ratio(0.0, 0.0, 0.0).is_infinite());
        assert_eq!(ratio(4.0, 1.0, 100.0), 4.0);
    }
}
