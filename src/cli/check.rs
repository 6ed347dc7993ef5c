//! `kubelapse check`: claims and expectations of scenarios against what the runs measure.

use super::{Failure, ScenarioArguments, print};
use crate::study;
use rayon::prelude::*;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(clap::Args)]
pub struct Arguments {
    /// Scenario files
    #[arg(value_name = "SCENARIO", required = true)]
    scenarios: Vec<PathBuf>,
    #[command(flatten)]
    common: ScenarioArguments,
}

pub fn check(arguments: &Arguments) -> Result<ExitCode, Failure> {
    // Every file is read before the first run, so that all problems show at once.
    let (mut loaded, mut problems) = (Vec::new(), String::new());
    for path in &arguments.scenarios {
        match arguments.common.load(path) {
            Ok(scenario) => loaded.push((path, scenario)),
            Err(Failure::Input(text) | Failure::Output(text)) => problems.push_str(&text),
        }
    }
    if !problems.is_empty() {
        return Err(Failure::Input(problems));
    }
    let checked = arguments.common.check;
    let reports = arguments.common.with_threads(|| {
        let reports = loaded.par_iter().map(|(path, scenario)| {
            let outcome = study::run_once(&scenario.plan, 0, checked);
            study::verdicts(&scenario.plan, &outcome, &path.display().to_string())
        });
        reports.collect::<Vec<_>>()
    })?;
    reports.iter().for_each(|report| print(&report.text));
    let (failed, undecided) = (reports.iter().any(|r| r.failed), reports.iter().any(|r| r.undecided));
    Ok(match (failed, undecided) {
        (true, _) => ExitCode::from(1),
        (false, true) => ExitCode::from(3),
        (false, false) => ExitCode::SUCCESS,
    })
}
