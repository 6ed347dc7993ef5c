//! Two scenarios under common random numbers: differences run by run, their interval, and what the pairing won.

use super::gate::rounded;
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
        let show = |value: f64| match (value > 0.0, value < 0.0) {
            (true, _) => format!("+{}", rounded(unit, value)),
            (_, true) => format!("-{}", rounded(unit, -value)),
            _ => rounded(unit, 0.0),
        };
        if self.differing == 0 {
            return show(0.0);
        }
        let Estimate { point, low, high } = self.difference;
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
            variance_ratio: if spread > 0.0 { own / spread } else { f64::INFINITY },
        });
    }
    found
}
