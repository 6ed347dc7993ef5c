//! The command line: arguments in, exit code out. One file a command.
//!
//! Exit codes: 0 held, 1 an expectation failed, 2 bad input or usage, 3 undecided. stdout is the result, stderr is
//! progress and diagnostics. A broken pipe is success: the reader has seen enough.

mod check;
mod compare;
mod drain;
mod explain;
mod init;
mod output;
mod rare;
mod replay;
mod run;
mod studies;
mod sweep;

use crate::engine::Span;
use crate::scenario::diagnostic::{Diagnostic, Look};
use crate::scenario::vary::Setting;
use crate::scenario::{self, LoadOptions, Loaded, Problems, Severity, render_all};
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::collections::BTreeSet;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The time-lapse simulator of Kubernetes autoscaling on AWS.
///
/// Point it at a scenario: your manifests plus what they do not say. It tells, without a cluster, how long until new pods
/// serve traffic, at what cost, and what breaks on the way down.
#[derive(Parser)]
#[command(name = "kubelapse", version, max_term_width = 100, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Write a first scenario with manifests to begin with, or with `--from` one for manifests that you have
    Init(init::Arguments),
    /// Run a scenario, once or `--runs N` times, and write timeline, charts and CSV to output/<name>/
    Run(run::Arguments),
    /// Hold scenarios against their `claims:` and `expect:`; for CI
    Check(check::Arguments),
    /// How two scenarios differ, run by run under the same chance
    Compare(compare::Arguments),
    /// What if: a study over a grid of settings; goes on where it was killed
    Sweep(sweep::Arguments),
    /// Why: what the controllers saw and decided, over the whole run or about one thing
    Explain(explain::Arguments),
    /// The smallest preStop and grace period with which pods on their way out lose no request
    Drain(drain::Arguments),
    /// How likely a bad run is, by way of a spot pool that is lost: rare events, without waiting for them
    Rare(rare::Arguments),
    /// Predict a recording of a real control plane, event by event, and say how far off that is
    Replay(replay::Arguments),
}

/// What every command that reads a scenario takes.
#[derive(Args, Clone)]
struct ScenarioArguments {
    /// Folder that paths in the scenario may not leave [default: the nearest folder named `scenarios`]
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// Chance: `off` is the exact timeline of medians, `on` draws every delay [default: what the scenario says]
    #[arg(long, value_name = "WHICH")]
    noise: Option<Noise>,
    /// Seed of all chance [default: what the scenario says]
    #[arg(long, value_name = "N", allow_hyphen_values = true, value_parser = seed)]
    seed: Option<u64>,
    /// End of the run, such as 20m [default: what the scenario says]
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true, value_parser = scenario::parse_until)]
    until: Option<Span>,
    /// A data file from elsewhere that the scenario names as NAME
    #[arg(long, value_name = "NAME=FILE", value_parser = named_file)]
    data: Vec<(String, PathBuf)>,
    /// Give a field another value, such as services.shop.workers=20 or Deployment/shop.spec.replicas=4
    #[arg(long, value_name = "FIELD=VALUE", value_parser = setting)]
    set: Vec<Setting>,
    /// Take warnings as errors, so that a misspelt label stops a CI job too
    #[arg(long)]
    strict: bool,
    /// Check every law of the simulated world after every event (slow)
    #[arg(long)]
    check: bool,
    /// Threads [default: one a core]; results are the same for any number
    #[arg(long, value_name = "N", allow_hyphen_values = true, value_parser = threads)]
    threads: Option<usize>,
}

/// What is told of files that can be read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Told {
    /// Warnings and notes.
    All,
    /// Warnings, and how many notes there are: they stand before the answer to another question.
    Warnings,
    /// Nothing.
    Errors,
}

impl Told {
    const fn unless(quiet: bool, told: Told) -> Told {
        if quiet { Told::Errors } else { told }
    }
}

#[derive(Clone, Copy, ValueEnum)]
enum Noise {
    On,
    Off,
}

impl ScenarioArguments {
    fn load_options(&self) -> LoadOptions {
        LoadOptions {
            root: self.root.clone(),
            noise: self.noise.map(|noise| matches!(noise, Noise::On)),
            seed: self.seed,
            until: self.until,
            data: self.data.iter().cloned().collect(),
            set: self.set.clone(),
        }
    }

    /// Refuses `--noise off` where chance is what the command is about.
    fn needs_chance(&self, why: &str) -> Result<(), Failure> {
        match self.noise {
            Some(Noise::Off) => Err(Failure::Input(format!("error: {why}: leave out --noise off\n"))),
            Some(Noise::On) | None => Ok(()),
        }
    }

    /// Reads a scenario; its diagnostics go to stderr.
    fn load(&self, path: &Path, told: Told) -> Result<Loaded, Failure> {
        let mut loaded = self.load_all(&[(path, &[])], told)?;
        Ok(loaded.swap_remove(0))
    }

    /// Reads several, each with settings of its own behind those of all: all errors at once and before anything else,
    /// and nothing twice.
    fn load_all(&self, wanted: &[(&Path, &[Setting])], told: Told) -> Result<Vec<Loaded>, Failure> {
        let (read, text) = self.read_all(wanted, told);
        let all: Result<Vec<Loaded>, Problems> = read.into_iter().collect();
        let all = all.map_err(|_| Failure::Input(text.clone()))?;
        self.no_unasked_data(&all)?;
        tell(&text);
        Ok(all)
    }

    /// A name of data that nothing asks for is misspelt.
    fn no_unasked_data<'l>(&self, loaded: impl IntoIterator<Item = &'l Loaded>) -> Result<(), Failure> {
        match scenario::unasked_data(&self.load_options(), loaded) {
            Some(problems) => Err(Failure::Input(problems.render(look()))),
            None => Ok(()),
        }
    }

    /// What became of each, and what is to be told of all of them, with the number of errors as last line.
    fn read_all(&self, wanted: &[(&Path, &[Setting])], told: Told) -> (Vec<Result<Loaded, Problems>>, String) {
        let (mut all, mut errors, mut others, mut notes) = (Vec::new(), Vec::new(), Vec::new(), BTreeSet::new());
        let is_note = |one: &&Diagnostic| one.severity == Severity::Note;
        for (path, own) in wanted {
            let mut options = self.load_options();
            options.set.extend_from_slice(own);
            let read = scenario::load(path, &options);
            let read = if self.strict { read.and_then(Loaded::without_warnings) } else { read };
            match &read {
                Ok(loaded) if told == Told::Warnings => {
                    let warnings = loaded.warnings.iter().filter(|one| !is_note(one));
                    others.push(render_all(warnings, &loaded.sources, look()));
                    notes.extend(loaded.warnings.iter().filter(is_note).map(|one| one.message.clone()));
                }
                Ok(loaded) => others.push(loaded.render_warnings(look())),
                Err(problems) => {
                    errors.push(problems.render_errors(look()));
                    others.push(problems.render_others(look()));
                }
            }
            all.push(read);
        }
        let (mut text, count) = scenario::without_repeats(errors.iter().map(String::as_str));
        if told != Told::Errors {
            text += &scenario::without_repeats(others.iter().map(String::as_str)).0;
        }
        if !notes.is_empty() {
            let notes = if notes.len() == 1 { "1 note".to_string() } else { format!("{} notes", notes.len()) };
            text += &format!("{notes} on what is assumed or left out: `kubelapse check` shows them\n");
        }
        if count > 0 {
            text += &scenario::counted(count);
        }
        (all, text)
    }

    /// Runs `work` on as many threads as asked for.
    fn with_threads<R: Send>(&self, work: impl FnOnce() -> R + Send) -> Result<R, Failure> {
        let threads = self.threads.unwrap_or(0);
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        let pool = pool.map_err(|error| Failure::Input(format!("error: cannot start {threads} threads: {error}\n")))?;
        Ok(pool.install(work))
    }
}

/// Why a command ends early.
enum Failure {
    /// The user's doing: exit 2 with this text.
    Input(String),
    /// A file or folder could not be written: exit 2 with this text.
    Output(String),
}

fn duration(text: &str) -> Result<Span, String> {
    scenario::parse_duration(text)
}

fn seed(text: &str) -> Result<u64, String> {
    whole_number(text, 0, i64::MAX.unsigned_abs())
}

fn threads(text: &str) -> Result<usize, String> {
    whole_number(text, 1, 1_024).map(|number| number as usize)
}

fn whole_number(text: &str, least: u64, most: u64) -> Result<u64, String> {
    let number = text.parse().ok().filter(|number| (least..=most).contains(number));
    number.ok_or_else(|| format!("expected a whole number from {least} to {most}"))
}

fn setting(text: &str) -> Result<Setting, String> {
    let (field, value) = text.split_once('=').ok_or("expected FIELD=VALUE, such as services.shop.workers=20")?;
    Ok(Setting { field: field.trim().to_string(), value: value.trim().to_string() })
}

fn named_file(text: &str) -> Result<(String, PathBuf), String> {
    let (name, file) = text.split_once('=').ok_or("expected NAME=FILE, such as flash-crowd=data/crowd.csv")?;
    Ok((name.to_string(), PathBuf::from(file)))
}

/// Colours and width of diagnostics: those of the terminal that stderr is, if it is one; `COLUMNS` counts more.
fn look() -> Look {
    let stderr = std::io::stderr();
    let said = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok()).filter(|columns| *columns > 0);
    let seen = || terminal_size::terminal_size_of(&stderr).map(|(width, _)| usize::from(width.0));
    let width = said.or_else(seen).map(|width: usize| width.max(COLUMNS_LEAST));
    Look { color: stderr.is_terminal() && std::env::var_os("NO_COLOR").is_none(), width }
}

/// Nothing is folded narrower than that.
const COLUMNS_LEAST: usize = 40;

/// Writes to stderr; if that fails there is nobody left to tell.
fn tell(text: &str) {
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}

/// Writes the result to stdout. A closed pipe is not an error.
fn print(text: &str) {
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
}

/// Parses the arguments of the process and does what they say.
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let usage = error.use_stderr();
            let _ = error.print();
            return if usage { ExitCode::from(2) } else { ExitCode::SUCCESS };
        }
    };
    let result = match arguments.command {
        Command::Init(arguments) => init::init(&arguments),
        Command::Run(arguments) => run::run(&arguments),
        Command::Check(arguments) => check::check(&arguments),
        Command::Compare(arguments) => compare::compare(&arguments),
        Command::Sweep(arguments) => sweep::sweep(&arguments),
        Command::Explain(arguments) => explain::explain(&arguments),
        Command::Drain(arguments) => drain::drain(&arguments),
        Command::Rare(arguments) => rare::rare(&arguments),
        Command::Replay(arguments) => replay::replay(&arguments),
    };
    result.unwrap_or_else(|failure| {
        let (Failure::Input(text) | Failure::Output(text)) = failure;
        tell(&text);
        ExitCode::from(2)
    })
}
