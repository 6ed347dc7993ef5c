//! Gates: an expectation held against many runs. The answer is one of three, with the interval it rests on, and where it
//! stays open with about the number of runs that would settle it.
//!
//! In: an expectation and one value a run. Out: a [`Gate`]. A percentile below its minimum sample is refused: undecided.

use super::expectation::decide;
use super::observed::{Cut, Observed};
use super::statistics::{self, Estimate};
use crate::rules::expectation::{Bound, Expectation, Statistic, Subject, Unit, Verdict};

/// How an expectation came out over many runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Gate {
    /// The expectation as written.
    pub text: String,
    /// The verdict.
    pub verdict: Verdict,
    /// What it rests on; `None`: nothing was measured, or too few runs.
    pub estimate: Option<Estimate>,
    /// The unit of the estimate.
    pub unit: Unit,
    /// Runs that had something to measure.
    pub runs: usize,
    /// About so many runs would settle what is open.
    pub would_decide: Option<u64>,
    /// In words: `2m52s (2m48s to 2m57s), 400 runs`.
    pub explanation: String,
}

impl Gate {
    /// The estimate for people: `2m52s (2m48s to 2m57s)`.
    pub fn interval(&self) -> String {
        self.estimate.map_or_else(|| "-".to_string(), |estimate| interval(self.unit, &estimate))
    }
}

/// A value with its interval for people, rounded to what a reader can use.
pub fn interval(unit: Unit, estimate: &Estimate) -> String {
    let show = |value: f64| rounded(unit, value);
    if estimate.point.is_infinite() && estimate.low.is_finite() {
        return format!("at least {}", show(estimate.low));
    }
    if estimate.low == estimate.point && estimate.high == estimate.point {
        return show(estimate.point);
    }
    match (estimate.low.is_finite(), estimate.high.is_finite()) {
        (true, true) => format!("{} ({} to {})", show(estimate.point), show(estimate.low), show(estimate.high)),
        (true, false) => format!("{} (at least {})", show(estimate.point), show(estimate.low)),
        (false, true) => format!("{} (at most {})", show(estimate.point), show(estimate.high)),
        (false, false) => show(estimate.point),
    }
}

/// A value of a unit with the digits that statistics can vouch for.
pub fn rounded(unit: Unit, value: f64) -> String {
    let to = |step: f64| unit.show((value / step).round() * step);
    match unit {
        Unit::Seconds if value.abs() >= 10.0 => to(0.1),
        Unit::Seconds => to(0.001),
        Unit::Count if value.abs() >= 1_000.0 => to(1.0),
        Unit::Count => to(0.01),
        Unit::Share => to(0.000_1),
        Unit::Dollars => to(0.000_1),
    }
}

/// The same with two digits of `scale` at least, as far as the unit is ever shown.
pub fn resolved(unit: Unit, value: f64, scale: f64) -> String {
    let coarse = match unit {
        Unit::Seconds if scale >= 10.0 => 0.1,
        Unit::Seconds => 0.001,
        Unit::Count if scale >= 1_000.0 => 1.0,
        Unit::Count => 0.01,
        Unit::Share | Unit::Dollars => 0.000_1,
    };
    let fine = if scale > 0.0 { 10_f64.powf(scale.log10().floor() - 1.0) } else { coarse };
    let least = if unit == Unit::Dollars { 1e-6 } else { 1e-5 };
    let step = fine.max(least).min(coarse);
    unit.show((value / step).round() * step)
}

/// Holds an expectation against the values of runs. `None`: that run had nothing to measure.
pub fn judge(expectation: &Expectation, values: &[Option<f64>], level: f64) -> Gate {
    let values: Vec<Option<Observed>> = values.iter().map(|value| value.map(Observed::exact)).collect();
    judge_observed(expectation, &values, level)
}

/// The same with values that may be known from below only: the estimate encloses whatever they may be.
pub fn judge_observed(expectation: &Expectation, values: &[Option<Observed>], level: f64) -> Gate {
    let known: Vec<Observed> = values.iter().flatten().copied().filter(|value| !value.at_least.is_nan()).collect();
    let count = known.len();
    let mut gate = Gate {
        text: expectation.text.clone(),
        verdict: Verdict::Undecided,
        estimate: None,
        unit: expectation.subject.unit(),
        runs: count,
        would_decide: None,
        explanation: String::new(),
    };
    if known.is_empty() {
        let measure = expectation.subject.measure();
        gate.explanation = format!("no {} in any of {} runs: {}", measure.name(), values.len(), measure.absent());
        return gate;
    }
    let runs = if count == values.len() {
        format!("{count} runs")
    } else {
        format!("{count} of {} runs have one", values.len())
    };
    if let Subject::Each(_) = expectation.subject {
        return each(gate, expectation, &known, &runs);
    }
    if let Subject::Statistic(Statistic::Percentile(percent), _) = expectation.subject
        && count < statistics::least_runs(percent)
    {
        let least = statistics::least_runs(percent);
        gate.would_decide = Some(statistics::least_runs_two_sided(percent) as u64);
        gate.explanation = format!("refused: p{percent} needs {least} runs or more, there are {count}");
        return gate;
    }
    let (least, most) = (sorted(&known, |value| value.at_least), sorted(&known, Observed::at_most));
    let (below, above) = (estimate(expectation.subject, &least, level), estimate(expectation.subject, &most, level));
    gate.estimate = below.zip(above).map(|(below, above)| below.enclosed(above));
    let triple = gate.estimate.map(|estimate| (estimate.point, estimate.low, estimate.high));
    gate.verdict = decide(expectation, triple, String::new()).verdict;
    gate.explanation = format!("{}, {runs}", gate.interval());
    gate.explanation += &broken_off(&known);
    if gate.verdict == Verdict::Undecided {
        let is_cut = known.iter().any(|value| value.cut == Some(Cut::RunEnded));
        settle(&mut gate, expectation, (&least, &most), (below, above), is_cut);
    }
    if let Subject::Statistic(Statistic::Max | Statistic::Min, _) = expectation.subject {
        // With confidence 0.95 so large a share of all runs stays within what was seen.
        let within = (1.0 - statistics::LEVEL).powf(1.0 / count as f64);
        let within = rounded(Unit::Share, (within * 1e4).floor() / 1e4);
        gate.explanation = format!("{}; at least {within} of all runs stay within what was seen", gate.explanation);
    }
    gate
}

/// In how many runs the wait was broken off, and by what.
fn broken_off(known: &[Observed]) -> String {
    let runs = |cut: Cut| match known.iter().filter(|value| value.cut == Some(cut)).count() {
        1 => Some("1 run".to_string()),
        0 => None,
        count => Some(format!("{count} runs")),
    };
    let let_go = runs(Cut::LetGo).map(|runs| format!("; in {runs} pods were let go before they served"));
    let ended = runs(Cut::RunEnded).map(|runs| format!("; in {runs} it had not ended when the run did"));
    let_go.into_iter().chain(ended).collect()
}

fn sorted(values: &[Observed], end: fn(Observed) -> f64) -> Vec<f64> {
    let mut ends: Vec<f64> = values.iter().map(|&value| end(value)).collect();
    ends.sort_by(f64::total_cmp);
    ends
}

/// What sorted values say of all runs.
fn estimate(subject: Subject, sorted: &[f64], level: f64) -> Option<Estimate> {
    match subject {
        Subject::Each(_) => None,
        Subject::Statistic(Statistic::Percentile(percent), _) => statistics::percentile(sorted, percent, level),
        Subject::Statistic(Statistic::Mean, _) => Some(statistics::mean(sorted, level)),
        Subject::Statistic(Statistic::Min, _) => Some(Estimate::exact(sorted[0])),
        Subject::Statistic(Statistic::Max, _) => Some(Estimate::exact(sorted[sorted.len() - 1])),
        Subject::Share(_, comparison, bound) => {
            let hits = sorted.iter().filter(|&&value| comparison.is_true(value, bound)).count();
            Some(statistics::share(hits, sorted.len(), level))
        }
    }
}

/// Says what would settle an open answer: more runs, or nothing while waits are broken off, but longer runs where their end does
/// it (`is_cut`).
fn settle(
    gate: &mut Gate,
    expectation: &Expectation,
    ends: (&[f64], &[f64]),
    answers: (Option<Estimate>, Option<Estimate>),
    is_cut: bool,
) {
    let verdict = |answer: Option<Estimate>| {
        let triple = answer.map(|estimate| (estimate.point, estimate.low, estimate.high));
        decide(expectation, triple, String::new()).verdict
    };
    let (below, above) = (verdict(answers.0), verdict(answers.1));
    if below != above && ends.0 != ends.1 {
        gate.explanation += &format!(": counted as ended then it {}, as never ended it {}", said(below), said(above));
        if is_cut {
            gate.explanation += "; a later `until` under `run` would tell";
        }
        return;
    }
    gate.would_decide = would_decide(expectation, ends.1);
    let more = gate.would_decide.map_or_else(
        || "the estimate lies on the bound: no number of runs would settle it".to_string(),
        |count| format!("about {count} runs would settle it"),
    );
    gate.explanation = format!("{}; {more}", gate.explanation);
}

const fn said(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Holds => "holds",
        Verdict::Fails => "fails",
        Verdict::Undecided => "is open",
    }
}

/// A statement about every run.
fn each(mut gate: Gate, expectation: &Expectation, known: &[Observed], runs: &str) -> Gate {
    let verdict = |value: &Observed| {
        let ends = (value.at_least, value.at_least, value.at_most());
        decide(expectation, Some(ends), String::new()).verdict
    };
    let count = |wanted: Verdict| known.iter().filter(|value| verdict(value) == wanted).count();
    let (met, missed) = (count(Verdict::Holds), count(Verdict::Fails));
    let values = sorted(known, Observed::at_most);
    let (low, high) = (sorted(known, |value| value.at_least)[0], values[values.len() - 1]);
    gate.estimate = Some(Estimate { point: statistics::percentile_of(&values, 50.0), low, high });
    gate.verdict = match (met, missed) {
        (_, missed) if missed == known.len() => Verdict::Fails,
        (met, _) if met == known.len() => Verdict::Holds,
        _ => Verdict::Undecided,
    };
    let range = match high.is_finite() {
        true => format!("{} to {}", rounded(gate.unit, low), rounded(gate.unit, high)),
        false => format!("{} or more", rounded(gate.unit, low)),
    };
    let open = known.len() - met - missed;
    let open = if open == 0 { String::new() } else { format!(", open in {open}{}", broken_off(known)) };
    gate.explanation = match gate.verdict {
        Verdict::Holds => format!("{range} in all of {runs}"),
        Verdict::Fails => format!("{range}: met in none of {runs}"),
        Verdict::Undecided => format!("{range}: met in {met} of {runs}{open}; say p95(...) or share(...) to decide"),
    };
    gate
}

/// The nearest bound that the interval touches, in terms of a share of runs or of a mean.
fn would_decide(expectation: &Expectation, known: &[f64]) -> Option<u64> {
    let bounds = match expectation.bound {
        Bound::Compare(_, bound) => vec![bound],
        Bound::Within(low, high) => vec![low, high],
    };
    let count = known.len();
    let needed = |bound: f64| match expectation.subject {
        Subject::Statistic(Statistic::Percentile(percent), _) => {
            let below = known.iter().filter(|&&value| value <= bound).count() as f64 / count as f64;
            statistics::runs_to_tell_percentile(below, percent, count)
        }
        Subject::Share(_, comparison, limit) => {
            let hits = known.iter().filter(|&&value| comparison.is_true(value, limit)).count();
            statistics::runs_to_tell(hits as f64 / count as f64, bound, count)
        }
        _ => {
            let distance = known.iter().sum::<f64>() / count as f64 - bound;
            let runs = 1.96_f64.powi(2) * statistics::variance(known) / (distance * distance);
            (distance != 0.0 && runs.is_finite()).then(|| (runs.ceil() as u64).max(statistics::noticeably_more(count)))
        }
    };
    // The bound that is hardest to tell decides.
    bounds.into_iter().map(needed).try_fold(0, |most, runs| runs.map(|runs| most.max(runs)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::expectation::parse;

    fn gate(text: &str, values: impl Iterator<Item = f64>) -> Gate {
        judge(&parse(text).unwrap(), &values.map(Some).collect::<Vec<_>>(), statistics::LEVEL)
    }

    #[test]
    fn three_answers() {
        let runs = || (1..=1_000).map(f64::from);
        // p95 of 1..=1000 is 950, between 936 and 964.
        assert_eq!(gate("p95(time_to_serve) <= 964s", runs()).verdict, Verdict::Holds);
        assert_eq!(gate("p95(time_to_serve) <= 963s", runs()).verdict, Verdict::Undecided);
        assert_eq!(gate("p95(time_to_serve) < 936s", runs()).verdict, Verdict::Fails);
        assert_eq!(gate("p95(time_to_serve) in 936s..964s", runs()).verdict, Verdict::Holds);
        assert_eq!(gate("p95(time_to_serve) in 940s..960s", runs()).verdict, Verdict::Undecided);
        let open = gate("p95(time_to_serve) <= 955s", runs());
        // z^2 p (1-p) / (0.955 - 0.95)^2 with p = 0.955
        assert_eq!(open.would_decide, Some(6_604), "{}", open.explanation);
    }

    #[test]
    fn too_few_runs_are_refused_and_the_number_is_named() {
        let few = gate("p95(time_to_serve) <= 3m", (0..58).map(f64::from));
        assert_eq!((few.verdict, few.estimate, few.would_decide), (Verdict::Undecided, None, Some(93)));
        assert!(few.explanation.contains("needs 59 runs"), "{}", few.explanation);
    }

    #[test]
    fn a_share_of_none_is_not_nothing() {
        let zeros = |count: usize| std::iter::repeat_n(0.0, count);
        // 0 of 100: up to 3.6 %. 0 of 400: up to 0.92 %.
        assert_eq!(gate("share(lost_requests > 0) <= 1%", zeros(100)).verdict, Verdict::Undecided);
        assert_eq!(gate("share(lost_requests > 0) <= 1%", zeros(400)).verdict, Verdict::Holds);
        assert_eq!(gate("share(lost_requests > 0) <= 1%", std::iter::repeat_n(1.0, 9)).verdict, Verdict::Fails);
    }

    #[test]
    fn what_never_ends_is_longer_than_any_bound() {
        let values = (0..400).map(|run| if run < 360 { 100.0 } else { f64::INFINITY });
        let found = gate("p95(time_to_serve) <= 3m", values);
        assert_eq!(found.verdict, Verdict::Fails, "{}", found.explanation);
        assert!(found.explanation.starts_with("never"), "{}", found.explanation);
    }

    /// Of 400 runs in which 8, 40 or all take their pods back after 20 s or 240 s: what is certain whatever they would have
    /// waited is decided, nothing else.
    #[test]
    fn a_wait_that_is_broken_off_lasts_at_least_as_long() {
        let held = |text: &str, broken_off: usize, at_least: f64| {
            let wait =
                |run| if run < broken_off { Observed::cut(at_least, Cut::LetGo) } else { Observed::exact(100.0) };
            let values: Vec<_> = (0..400).map(|run| Some(wait(run))).collect();
            judge_observed(&parse(text).unwrap(), &values, statistics::LEVEL)
        };
        let verdict = |text: &str, broken_off, at_least| held(text, broken_off, at_least).verdict;
        let p95 = "p95(time_to_serve) <= 3m";
        assert_eq!(verdict(p95, 400, 240.0), Verdict::Fails, "each waited longer than the bound");
        assert_eq!(verdict(p95, 40, 240.0), Verdict::Fails, "a tenth waited longer than the bound");
        assert_eq!(verdict(p95, 8, 240.0), Verdict::Holds, "2 % cannot move a p95");
        assert_eq!(verdict(p95, 400, 20.0), Verdict::Undecided, "nobody knows how long they would have waited");
        assert_eq!(verdict(p95, 40, 20.0), Verdict::Undecided);
        assert_eq!(verdict(p95, 8, 20.0), Verdict::Holds);
        let open = held(p95, 40, 20.0);
        assert_eq!((open.would_decide, open.runs), (None, 400), "more runs would not tell");
        assert!(open.explanation.contains("in 40 runs pods were let go"), "{}", open.explanation);
        let share = "share(time_to_serve > 3m) <= 5%";
        assert_eq!(verdict(share, 40, 20.0), Verdict::Undecided);
        assert_eq!((verdict(share, 40, 240.0), verdict(share, 8, 240.0)), (Verdict::Fails, Verdict::Holds));
        assert_eq!(
            (verdict("mean(time_to_serve) <= 3m", 1, 20.0), verdict("mean(time_to_serve) <= 1m", 1, 20.0)),
            (Verdict::Undecided, Verdict::Fails)
        );
        assert_eq!(
            (verdict("time_to_serve <= 3m", 1, 20.0), verdict("time_to_serve <= 3m", 400, 240.0)),
            (Verdict::Undecided, Verdict::Fails)
        );
        assert_eq!(verdict("time_to_serve >= 10s", 400, 20.0), Verdict::Holds);
        assert_eq!(verdict("max(time_to_serve) <= 3m", 1, 20.0), Verdict::Undecided);
    }

    #[test]
    fn extremes_say_how_much_they_leave_open() {
        let found = gate("max(time_to_serve) <= 3m", (0..400).map(|_| 100.0));
        assert_eq!(found.verdict, Verdict::Holds);
        assert!(found.explanation.contains("at least 99.25% of all runs"), "{}", found.explanation);
    }
}
