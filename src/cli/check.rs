//! `kubelapse check`: claims and expectations of scenarios against what the runs measure.

use super::{Failure, ScenarioArguments, Told, output, print, studies, tell};
use crate::analysis::verdicts::{Fault, Report};
use crate::render::verdicts::{self, github, junit, markdown};
use crate::scenario::vary::Setting;
use crate::scenario::{Loaded, Problems};
use crate::study::gates::{self, Length};
use rayon::prelude::*;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(clap::Args)]
pub struct Arguments {
    /// Scenario files
    #[arg(value_name = "SCENARIO", required = true)]
    scenarios: Vec<PathBuf>,
    #[command(flatten)]
    common: ScenarioArguments,
    /// Runs with chance for what speaks of many runs [default: until all is decided]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    runs: Option<u64>,
    /// Most runs, where their number is not given
    #[arg(long, value_name = "N", default_value_t = 3_200, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    runs_max: u64,
    /// Write the verdicts as JUnit XML
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Write the verdicts as a Markdown table, such as to $GITHUB_STEP_SUMMARY
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// Print annotations of GitHub Actions for what is not as expected
    #[arg(long)]
    github: bool,
    /// Show no progress, and of what is wrong only errors
    #[arg(long, short)]
    quiet: bool,
}

pub fn check(arguments: &Arguments) -> Result<ExitCode, Failure> {
    // Every file is read before the first run, so that all problems show at once.
    let wanted: Vec<(&Path, &[Setting])> = arguments.scenarios.iter().map(|path| (path.as_path(), &[][..])).collect();
    let (read, told) = arguments.common.read_all(&wanted, Told::unless(arguments.quiet, Told::All));
    tell(&told);
    if read.iter().all(Result::is_ok) {
        arguments.common.no_unasked_data(read.iter().flatten())?;
    }
    let read: Vec<(&PathBuf, Result<Loaded, Problems>)> = arguments.scenarios.iter().zip(read).collect();
    let length = arguments.runs.map_or(Length::UntilDecided(arguments.runs_max), Length::Fixed);
    let plans = || read.iter().filter_map(|(_, read)| read.as_ref().ok()).map(|loaded| &loaded.plan);
    let most = plans().filter(|plan| gates::speaks_of_runs(plan)).count() as u64
        * arguments.runs.unwrap_or(arguments.runs_max);
    let checked = (arguments.common.check, false);
    let reports = arguments.common.with_threads(|| {
        studies::with_progress(most, arguments.quiet || most == 0, checked, |control| {
            let report = |(path, read): &(&PathBuf, Result<Loaded, Problems>)| match read {
                Ok(loaded) => {
                    let report = gates::report(&loaded.plan, &path.display().to_string(), length, control);
                    Report { places: loaded.check_places.clone(), ..report }
                }
                Err(problems) => unread(path, problems),
            };
            read.par_iter().map(report).collect::<Vec<Report>>()
        })
    })??;
    reports.iter().for_each(|report| print(&verdicts::page(report)));
    verdicts::total(&reports).into_iter().for_each(|total| print(&total));
    if studies::stopped() {
        tell("interrupted: the verdicts rest on the runs that were finished\n");
    }
    if arguments.github {
        print(&github::render(&reports));
    }
    write(arguments.junit.as_deref(), || junit::render(&reports))?;
    write(arguments.markdown.as_deref(), || markdown::render(&reports))?;
    Ok(ExitCode::from(exit_code(&reports)))
}

/// Bad input counts most: of what could not be read nothing is known.
fn exit_code(reports: &[Report]) -> u8 {
    let any = |what: fn(&Report) -> bool| reports.iter().any(what);
    match (any(Report::is_unread), any(Report::failed), any(Report::undecided)) {
        (true, ..) => 2,
        (_, true, _) => 1,
        (_, _, true) => 3,
        (false, false, false) => 0,
    }
}

/// A scenario that cannot run, with each of its errors.
fn unread(path: &Path, problems: &Problems) -> Report {
    let name = path.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
    let errors = problems.errors().map(|(error, source)| Fault {
        place: source.zip(error.place).map(|(source, place)| (source.path.clone(), place.line, place.column)),
        code: error.code,
        message: error.message.clone(),
        help: error.help.clone(),
    });
    Report::of_unread(name, path.display().to_string(), errors.collect())
}

fn write(path: Option<&Path>, text: impl Fn() -> String) -> Result<(), Failure> {
    let Some(path) = path else { return Ok(()) };
    output::replace_file(path, text().as_bytes())
        .map_err(|error| Failure::Output(format!("error: cannot write {}: {error}\n", path.display())))
}
