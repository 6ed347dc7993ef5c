//! `kubelapse run`: one run of a scenario, its files and a one-screen summary.

use super::{Failure, ScenarioArguments, output, print, tell};
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
    /// Folder under which results are written, one folder a scenario
    #[arg(long, value_name = "DIR", default_value = "output")]
    out: PathBuf,
    /// Print only errors
    #[arg(long, short)]
    quiet: bool,
}

pub fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let loaded = arguments.common.load(&arguments.scenario)?;
    let plan = &loaded.plan;
    let checked = arguments.common.check;
    let (outcome, files, text) = arguments.common.with_threads(|| {
        let outcome = study::run_once(plan, 0, checked);
        let (files, text) = study::report(plan, &outcome);
        (outcome, files, text)
    })?;
    // The committed reference is the run without noise: a run with noise never overwrites it.
    let folder = if plan.noise { format!("{}-runs", plan.name) } else { plan.name.clone() };
    let place = arguments.out.join(folder);
    output::replace_folder(&place, &files)
        .map_err(|error| Failure::Output(format!("error: cannot write {}: {error}\n", place.display())))?;
    if let Some(limit) = outcome.limit {
        tell(&format!("warning: the run stopped early: {}\n", study::describe_limit(plan, limit)));
    }
    if !arguments.quiet {
        print(&text);
        print(&format!("\nwritten to {}/: timeline.svg, timeline.png, CSV files, summary.json\n", place.display()));
    }
    Ok(ExitCode::SUCCESS)
}
