//! The runs of a study together: columns of values, verdicts over them, and where their time went.

use super::causes::{self, Attribution};
use super::expectation::decide;
use super::gate::{self, Gate};
use super::observed::{Cut, Observed};
use super::sample::{Sample, Wanted};
use super::statistics::{self, Estimate};
use crate::rules::expectation::{Expectation, Measure, Scope, Statistic, Subject, Verdict};

/// A study's runs.
#[derive(Clone, Debug)]
pub struct Runs {
    /// What was kept.
    pub wanted: Wanted,
    /// One sample a run, in order.
    pub samples: Vec<Sample>,
    /// It was told to stop before its end.
    pub interrupted: bool,
    /// The confidence of its intervals.
    pub level: f64,
}

impl Runs {
    /// The most that the quantity at that position may be in each run; what was broken off before its end is infinite.
    pub fn column(&self, position: usize) -> Vec<Option<f64>> {
        self.samples.iter().map(|sample| sample.values[position].map(Observed::at_most)).collect()
    }

    /// What the quantity at that position is at least, in each run.
    pub fn least(&self, position: usize) -> Vec<Option<f64>> {
        self.samples.iter().map(|sample| sample.values[position].map(|value| value.at_least)).collect()
    }

    /// A percentile of the quantity at that position with its interval, whatever the waits that were broken off would have been;
    /// its point is infinite where it is one of them. `None`: too few runs.
    pub fn percentile(&self, position: usize, percent: f64) -> Option<Estimate> {
        let ends = [self.least(position), self.column(position)].map(|values| {
            let sorted = sorted(values);
            statistics::percentile(&sorted, percent, self.level)
        });
        let [below, above] = ends;
        below.zip(above).map(|(below, above)| below.enclosed(above))
    }

    /// Runs in which the quantity at that position was broken off before its end.
    pub fn broken_off(&self, position: usize, cut: Cut) -> usize {
        let is_cut = |sample: &&Sample| sample.values[position].is_some_and(|value| value.cut == Some(cut));
        self.samples.iter().filter(is_cut).count()
    }

    /// An expectation held against the runs.
    pub fn judge(&self, expectation: &Expectation) -> Gate {
        let position = self.position(expectation);
        let column = |position: usize| self.samples.iter().map(|sample| sample.values[position]).collect();
        let values: Vec<Option<Observed>> = position.map_or_else(Vec::new, column);
        gate::judge_observed(expectation, &values, self.level)
    }

    /// How many runs surely keep a statement about one run, of how many that have something to measure.
    pub fn kept(&self, expectation: &Expectation) -> Option<(usize, usize)> {
        let position = self.position(expectation)?;
        let known: Vec<Observed> = self.samples.iter().filter_map(|sample| sample.values[position]).collect();
        let kept = |value: &&Observed| {
            let ends = (value.at_least, value.at_least, value.at_most());
            decide(expectation, Some(ends), String::new()).verdict == Verdict::Holds
        };
        (!known.is_empty()).then(|| (known.iter().filter(kept).count(), known.len()))
    }

    fn position(&self, expectation: &Expectation) -> Option<usize> {
        self.position_of(expectation.subject.measure(), &expectation.scope)
    }

    /// The column of a quantity.
    pub fn values_of(&self, measure: Measure, scope: &Scope) -> Option<Vec<Option<f64>>> {
        self.position_of(measure, scope).map(|position| self.column(position))
    }

    /// The position of a quantity.
    pub fn position_of(&self, measure: Measure, scope: &Scope) -> Option<usize> {
        self.wanted.quantities.iter().position(|(known, within)| *known == measure && within == scope)
    }

    /// Where the time of an expectation's measure went.
    pub fn attribution(&self, check: &Expectation) -> Option<Attribution> {
        let percent = match check.subject {
            Subject::Statistic(Statistic::Percentile(percent), _) => percent,
            _ => 95.0,
        };
        self.attribution_of(check.subject.measure(), &check.scope, percent)
    }

    /// What takes most of an expectation's measure near its percentile, and of which runs that is known.
    pub fn main_cause(&self, check: &Expectation) -> Option<String> {
        let cause = self.attribution(check)?.main_cause()?;
        Some(cause + &self.of_ended(check.subject.measure(), &check.scope))
    }

    /// ` in the 11 of 60 runs in which it ended`, where that is not in all that have one: what is said of stages is of those.
    pub fn of_ended(&self, measure: Measure, scope: &Scope) -> String {
        let ended = self.stages(measure, scope).map_or(0, |rows| rows.len());
        let known = self.values_of(measure, scope).map_or(0, |values| values.iter().flatten().count());
        if ended < known { format!(" in the {ended} of {known} runs in which it ended") } else { String::new() }
    }

    /// Where the time of a measure went, over the runs in which it came to an end.
    pub fn attribution_of(&self, measure: Measure, scope: &Scope, percent: f64) -> Option<Attribution> {
        causes::attribute(&causes::stages(measure), &self.stages(measure, scope)?, percent)
    }

    /// The stages of each run in which the measure came to an end, in seconds.
    pub fn stages(&self, measure: Measure, scope: &Scope) -> Option<Vec<Vec<f64>>> {
        let position = self.wanted.causes.iter().position(|(known, within)| *known == measure && within == scope)?;
        let seconds = |parts: &Vec<u64>| parts.iter().map(|&micros| micros as f64 / 1e6).collect::<Vec<f64>>();
        Some(self.samples.iter().filter_map(|sample| sample.causes[position].as_ref().map(seconds)).collect())
    }
}

/// The values that there are, in order.
pub fn sorted(values: Vec<Option<f64>>) -> Vec<f64> {
    let mut known: Vec<f64> = values.into_iter().flatten().filter(|value| !value.is_nan()).collect();
    known.sort_by(f64::total_cmp);
    known
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::expectation::parse;

    /// A run of which nothing was measured counts neither way, and of one that was broken off only what is certain does.
    #[test]
    fn runs_that_surely_keep_a_statement_are_counted() {
        let check = parse("time_to_serve <= 2m").unwrap();
        let mut wanted = Wanted::default();
        wanted.expectation(&check);
        let open = |at_least| Some(Observed::cut(at_least, Cut::LetGo));
        let values = [Some(Observed::exact(120.0)), Some(Observed::exact(121.0)), open(20.0), open(200.0), None];
        let samples = values.map(|value| Sample { values: vec![value], ..Sample::default() }).to_vec();
        let runs = Runs { wanted, samples, interrupted: false, level: 0.95 };
        assert_eq!(runs.kept(&check), Some((1, 4)));
        assert_eq!(runs.kept(&parse("time_to_serve >= 1m").unwrap()), Some((3, 4)));
        assert_eq!(runs.kept(&parse("lost_requests == 0").unwrap()), None, "it was not measured");
    }
}
