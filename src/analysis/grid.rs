//! The points of a sweep with what was measured at each, and the answer they give.

use super::gate::Gate;
use crate::rules::expectation::Verdict;

/// A point of the grid.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// The value of each parameter.
    pub values: Vec<String>,
    /// What was measured, in the order of [`Grid::measures`].
    pub measures: Vec<Gate>,
    /// What must hold, in the order of [`Grid::holds`].
    pub holds: Vec<Gate>,
    /// What is to be small.
    pub minimise: Option<Gate>,
}

impl Point {
    /// Everything holds, something fails, or something is open.
    pub fn verdict(&self) -> Verdict {
        let has = |verdict| self.holds.iter().any(|gate| gate.verdict == verdict);
        match (has(Verdict::Fails), has(Verdict::Undecided)) {
            (true, _) => Verdict::Fails,
            (false, true) => Verdict::Undecided,
            (false, false) => Verdict::Holds,
        }
    }
}

/// A sweep's result.
#[derive(Clone, Debug, PartialEq)]
pub struct Grid {
    /// The study's name.
    pub name: String,
    /// The question.
    pub about: String,
    /// Hash of study and scenarios.
    pub hash: String,
    /// Seed of all chance.
    pub seed: u64,
    /// Replications a point.
    pub runs: u64,
    /// Names of the parameters.
    pub parameters: Vec<String>,
    /// Number of values of each parameter.
    pub sizes: Vec<usize>,
    /// Texts of what is measured.
    pub measures: Vec<String>,
    /// Texts of what must hold.
    pub holds: Vec<String>,
    /// Text of what is to be small.
    pub minimise: Option<String>,
    /// The points, the last parameter fastest.
    pub points: Vec<Point>,
}

impl Grid {
    /// The point that answers the question: of those that hold, the one with the least of what is to be small; of equals
    /// the first.
    pub fn best(&self) -> Option<&Point> {
        let cost = |point: &Point| {
            let estimate = point.minimise.as_ref().and_then(|gate| gate.estimate);
            estimate.map_or(f64::INFINITY, |estimate| estimate.point)
        };
        let holding = self.points.iter().filter(|point| point.verdict() == Verdict::Holds);
        holding.min_by(|one, other| cost(one).total_cmp(&cost(other)))
    }

    /// The values of a point in words: `min replicas 4, headroom 1`.
    pub fn words(&self, point: &Point) -> String {
        let words = self.parameters.iter().zip(&point.values).map(|(name, value)| format!("{name} {value}"));
        words.collect::<Vec<_>>().join(", ")
    }
}
