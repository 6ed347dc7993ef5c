//! `kubelapse compare`: how two scenarios differ, run by run under the same chance. `--set` is of both, `--set-b` of B alone.

use super::{Failure, ScenarioArguments, Told, output, print, setting, studies, tell};
use crate::render::compare as page;
use crate::scenario::vary::Setting;
use crate::study::what_if;
use std::path::{Path, PathBuf};
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
    /// Give a field of B alone another value (--set gives it to both): compare A A --set-b FIELD=VALUE
    #[arg(long, value_name = "FIELD=VALUE", value_parser = setting)]
    set_b: Vec<Setting>,
    /// Pairs of runs
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u64).range(2..=10_000_000))]
    runs: u64,
    /// Show all measures, those that are equal or not told apart as well
    #[arg(long)]
    all: bool,
    /// Write the differences as CSV
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// Show no progress, and of what is wrong only errors
    #[arg(long, short)]
    quiet: bool,
}

pub fn compare(arguments: &Arguments) -> Result<ExitCode, Failure> {
    arguments.common.needs_chance(
        "`compare` sets pairs of runs against each other that draw the same chance; of two exact runs each is told by `kubelapse run`",
    )?;
    let wanted: [(&Path, &[Setting]); 2] = [(&arguments.first, &[]), (&arguments.second, &arguments.set_b)];
    let mut plans = arguments
        .common
        .load_all(&wanted, Told::unless(arguments.quiet, Told::Warnings))?
        .into_iter()
        .map(|loaded| loaded.plan);
    let (Some(first), Some(second)) = (plans.next(), plans.next()) else { unreachable!("two were read") };
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
    let words = |settings: &[Setting]| -> Vec<String> {
        settings.iter().map(|setting| format!("{}={}", setting.field, setting.value)).collect()
    };
    let (both, of_second) = (words(&arguments.common.set), words(&arguments.set_b));
    let sides = page::Sides { first: &first.name, second: &second.name, both: &both, of_second: &of_second };
    print(&page::text(&sides, runs, &differences, arguments.all));
    if let Some(path) = &arguments.csv {
        let table = page::table((&first.hash, &second.hash), first.seed, &differences);
        output::replace_file(path, &table)
            .map_err(|error| Failure::Output(format!("error: cannot write {}: {error}\n", path.display())))?;
    }
    Ok(ExitCode::SUCCESS)
}
