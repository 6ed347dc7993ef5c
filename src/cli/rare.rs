//! `kubelapse rare`: the chance of an event that seldom happens, by way of a spot pool that is lost.

use super::{Failure, ScenarioArguments, Told, print, studies};
use crate::analysis::rare::{Answer, Question};
use crate::engine::Span;
use crate::render::rare::page;
use crate::rules::expectation::{self, Expectation, Verdict};
use crate::scenario;
use crate::study::rare::{Refusal, rare as study};
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(clap::Args)]
pub struct Arguments {
    /// Scenario file, with a `spot_market:` and spot nodes at the start
    #[arg(value_name = "SCENARIO")]
    scenario: PathBuf,
    /// The event: what is true of a run in which it comes about, such as 'lost_requests > 100'
    #[arg(value_name = "EVENT", value_parser = event)]
    event: Expectation,
    /// When the pool is lost, such as 5m..10m [default: at any time of the run]
    #[arg(long, value_name = "FROM..TO", value_parser = span)]
    during: Option<(Span, Span)>,
    /// Runs; a quarter of them are made without a loss
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(4..=10_000_000))]
    runs: u64,
    /// Gate: both a loss and the event happen in at most this share of runs, such as 0.1%
    #[arg(long, value_name = "SHARE", value_parser = share)]
    at_most: Option<f64>,
    #[command(flatten)]
    common: ScenarioArguments,
    /// Show no progress
    #[arg(long, short)]
    quiet: bool,
}

fn event(text: &str) -> Result<Expectation, String> {
    let parsed = expectation::parse(text).map_err(|error| error.to_string())?;
    if parsed.subject.is_about_runs() {
        return Err("expected a statement about one run, such as lost_requests > 100".to_string());
    }
    Ok(parsed)
}

fn span(text: &str) -> Result<(Span, Span), String> {
    let (from, to) = text.split_once("..").ok_or("expected FROM..TO, such as 5m..10m")?;
    let (from, to) = (scenario::parse_duration(from.trim())?, scenario::parse_duration(to.trim())?);
    if from < to { Ok((from, to)) } else { Err("the window ends before it begins".to_string()) }
}

fn share(text: &str) -> Result<f64, String> {
    let percent = text.strip_suffix('%').and_then(|number| number.trim().parse::<f64>().ok());
    let share = percent.map(|percent| percent / 100.0).or_else(|| text.parse().ok());
    share.filter(|share| (0.0..1.0).contains(share)).ok_or_else(|| "expected a share such as 0.1%".to_string())
}

pub fn rare(arguments: &Arguments) -> Result<ExitCode, Failure> {
    arguments.common.needs_chance("`rare` asks how often chance leads to the event")?;
    let loaded = arguments.common.load(&arguments.scenario, Told::unless(arguments.quiet, Told::Warnings))?;
    let plan = &loaded.plan;
    let length = plan.until.since(plan.start);
    let window = arguments.during.unwrap_or((Span::ZERO, length));
    refuse_after(window, length)?;
    let question = Question { event: &arguments.event, window, runs: arguments.runs };
    let how = (arguments.common.check, false);
    let answer = arguments.common.with_threads(|| {
        studies::with_progress(arguments.runs, arguments.quiet, how, |control| study(plan, question, control))
    })??;
    let answer = answer.map_err(|refusal| Failure::Input(refused(refusal)))?;
    print(&page(plan, question, &answer, arguments.at_most));
    Ok(verdict(&answer, arguments.at_most))
}

/// A loss after the end of the run would leave no trace in it, and yet count as one without the event.
fn refuse_after(window: (Span, Span), length: Span) -> Result<(), Failure> {
    let what = match window {
        (from, _) if from >= length => "begins",
        (_, to) if to > length => "ends",
        _ => return Ok(()),
    };
    let help = "see `run.until`, or give --until";
    Err(Failure::Input(format!("error: --during {what} after the end of the run, which lasts {length}: {help}\n")))
}

fn refused(refusal: Refusal) -> String {
    match refusal {
        Refusal::NothingToLose => "error: no spot pool that can be lost holds a node at the start\n  help: give the scenario a \
                                   `spot_market:` and `cluster.nodes` with `capacity_type: spot`; with `together: 0%` pools \
                                   are never lost as a whole\n"
            .to_string(),
        Refusal::NoRuns => "interrupted before runs of both kinds were finished\n".to_string(),
    }
}

/// 0 known (and within the bound), 1 beyond it, 3 not known well enough.
fn verdict(answer: &Answer, at_most: Option<f64>) -> ExitCode {
    let is_known = answer.both.is_trusted() || answer.struck_runs.1 == 0;
    ExitCode::from(match at_most.map(|bound| answer.within(bound)) {
        None if is_known => 0,
        Some(Verdict::Holds) => 0,
        Some(Verdict::Fails) => 1,
        None | Some(Verdict::Undecided) => 3,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_are_asked_for_within_the_run_only() {
        let refused = |window: &str| refuse_after(span(window).unwrap(), Span::from_secs(1_200)).is_err();
        assert_eq!(["15m..30m", "20m..21m", "15m..20m", "0s..20m"].map(refused), [true, true, false, false]);
    }
}
