//! `kubelapse compare`: how two scenarios differ, run by run under the same chance.

use super::{Failure, ScenarioArguments, output, print, studies, tell};
use crate::render::compare as page;
use crate::study::what_if;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(clap::Args)]
pub struct Arguments {
    /// The scenario that is compared with
    #[arg(value_name = "A")]
    first: PathBuf,
    /// The scenario that is compared
    #[arg(value_name = "B")]
    second: PathBuf,
    #[command(flatten)]
    common: ScenarioArguments,
    /// Pairs of runs
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u64).range(2..=10_000_000))]
    runs: u64,
    /// Write the differences as CSV
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// Show no progress
    #[arg(long, short)]
    quiet: bool,
}

pub fn compare(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let (first, second) = (arguments.common.load(&arguments.first), arguments.common.load(&arguments.second));
    let (first, second) = match (first, second) {
        (Ok(first), Ok(second)) => (first.plan, second.plan),
        (first, second) => {
            let text = |failure: Failure| {
                let (Failure::Input(text) | Failure::Output(text)) = failure;
                text
            };
            return Err(Failure::Input([first.err(), second.err()].into_iter().flatten().map(text).collect()));
        }
    };
    let how = (arguments.common.check, false);
    let (runs, differences) = arguments.common.with_threads(|| {
        studies::with_progress(2 * arguments.runs, arguments.quiet, how, |control| {
            what_if::compare(&first, &second, arguments.runs, control)
        })
    })??;
    if runs < 2 {
        return Err(Failure::Input("interrupted before two pairs of runs were finished\n".to_string()));
    }
    if studies::stopped() {
        tell(&format!("interrupted: the {runs} pairs of runs that were finished are kept\n"));
    }
    print(&page::text((&first.name, &second.name), runs, &differences));
    if let Some(path) = &arguments.csv {
        let table = page::table((&first.hash, &second.hash), first.seed, &differences);
        output::replace_file(path, &table)
            .map_err(|error| Failure::Output(format!("error: cannot write {}: {error}\n", path.display())))?;
    }
    Ok(ExitCode::SUCCESS)
}
