//! `kubelapse run`: one run of a scenario, or many with chance; their files and a one-screen summary.

use super::{Failure, ScenarioArguments, Told, output, print, studies, tell};
use crate::plan::Plan;
use crate::study;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(clap::Args)]
pub struct Arguments {
    /// Scenario file
    #[arg(value_name = "SCENARIO")]
    scenario: PathBuf,
    #[command(flatten)]
    common: ScenarioArguments,
    /// Make so many runs with chance and tell their distribution, to output/<name>-runs/
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    runs: Option<u64>,
    /// Stop when the p95 is known to so much, such as 2% (at most --runs, or 10000)
    #[arg(long, value_name = "SHARE", value_parser = share)]
    precision: Option<f64>,
    /// Make runs in pairs of mirror images: what one draws as u the other draws as 1 - u
    #[arg(long)]
    antithetic: bool,
    /// Folder under which results are written, one folder a scenario
    #[arg(long, value_name = "DIR", default_value = "output")]
    out: PathBuf,
    /// Print only errors
    #[arg(long, short)]
    quiet: bool,
}

pub fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let loaded = arguments.common.load(&arguments.scenario, Told::unless(arguments.quiet, Told::All))?;
    let plan = &loaded.plan;
    let checked = arguments.common.check;
    if arguments.runs.is_some() || arguments.precision.is_some() {
        return run_many(arguments, plan);
    }
    if arguments.antithetic {
        return Err(Failure::Input(
            "error: --antithetic makes pairs of runs: say how many with --runs N\n".to_string(),
        ));
    }
    let (outcome, files, text) = arguments.common.with_threads(|| {
        let outcome = study::run_once(plan, 0, checked);
        let (files, text) = study::report(plan, &outcome);
        (outcome, files, text)
    })?;
    // The committed reference is the run without noise: a run with noise never overwrites it.
    let folder = if plan.noise { format!("{}-seed{}", plan.name, plan.seed) } else { plan.name.clone() };
    let place = arguments.out.join(folder);
    output::replace_folder(&place, &files)
        .map_err(|error| Failure::Output(format!("error: cannot write {}: {error}\n", place.display())))?;
    if let Some(limit) = outcome.limit {
        tell(&format!("warning: the run stopped early: {}\n", study::describe_limit(plan, limit)));
    }
    if !arguments.quiet {
        print(&text);
        print(&output::written(&place, &files));
    }
    Ok(ExitCode::SUCCESS)
}

fn share(text: &str) -> Result<f64, String> {
    let percent = text.strip_suffix('%').and_then(|number| number.parse::<f64>().ok()).map(|percent| percent / 100.0);
    let share = percent.or_else(|| text.parse().ok());
    share.filter(|share| (1e-6..1.0).contains(share)).ok_or_else(|| "expected a share such as 2%".to_string())
}

fn run_many(arguments: &Arguments, plan: &Plan) -> Result<ExitCode, Failure> {
    arguments.common.needs_chance("without chance every run is the same, so there are no many")?;
    let plan = &Plan { noise: true, ..plan.clone() };
    let count = arguments.runs.unwrap_or(10_000);
    let how = (arguments.common.check, arguments.antithetic);
    let (runs, files, text) = arguments.common.with_threads(|| {
        studies::with_progress(count, arguments.quiet, how, |control| {
            let runs = study::many::run(plan, count, arguments.precision, control);
            let (files, text) = study::many::report(plan, &runs);
            (runs, files, text)
        })
    })??;
    if runs.samples.is_empty() {
        return Err(Failure::Input("interrupted before the first run was finished: nothing is written\n".to_string()));
    }
    let place = arguments.out.join(format!("{}-runs", plan.name));
    output::replace_folder(&place, &files)
        .map_err(|error| Failure::Output(format!("error: cannot write {}: {error}\n", place.display())))?;
    if runs.interrupted {
        tell(&format!("interrupted: the {} runs that were finished are kept\n", runs.samples.len()));
    }
    let early = runs.samples.iter().filter(|sample| sample.stopped_early).count();
    if early > 0 {
        tell(&format!("warning: {early} runs were stopped early by a limit\n"));
    }
    if !arguments.quiet {
        print(&text);
        print(&output::written(&place, &files));
    }
    Ok(ExitCode::SUCCESS)
}
