//! `kubelapse sweep`: a study over a grid of settings; killed at any instant, it goes on where it was.

use super::{Failure, ScenarioArguments, look, output, print, studies, tell};
use crate::render::sweep as page;
use crate::scenario::study;
use crate::study::{sweep, what_if};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(clap::Args)]
pub struct Arguments {
    /// Study file
    #[arg(value_name = "STUDY")]
    study: PathBuf,
    #[command(flatten)]
    common: ScenarioArguments,
    /// Replications a point [default: what the study says]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    runs: Option<u64>,
    /// Folder under which results are written, one folder a study
    #[arg(long, value_name = "DIR", default_value = "output")]
    out: PathBuf,
    /// Print only errors
    #[arg(long, short)]
    quiet: bool,
}

pub fn sweep(arguments: &Arguments) -> Result<ExitCode, Failure> {
    arguments
        .common
        .needs_chance("a point of a sweep is many runs with chance; one exact run is told by `kubelapse run`")?;
    let read = study::load(&arguments.study, arguments.common.root.as_deref());
    let wrong = |problems: crate::scenario::Problems| Failure::Input(problems.render(look()));
    let read = read.map_err(wrong)?;
    let prepared = what_if::prepare(read, arguments.runs, &arguments.common.load_options()).map_err(wrong)?;
    let place = arguments.out.join(format!("{}-sweep", prepared.study.name));
    let journal_path = arguments.out.join(format!(".{}-sweep.journal", prepared.study.name));
    let failed =
        |error: io::Error| Failure::Output(format!("error: cannot write {}: {error}\n", journal_path.display()));
    let (journal, finished) = open(&journal_path, &prepared).map_err(failed)?;
    let (all, known) = (prepared.size.points as u64 * prepared.size.runs, finished.runs());
    if known > 0 && !arguments.quiet {
        tell(&format!("going on with a sweep that was interrupted: {known} of {all} runs are done\n"));
    }
    let append = |line: &str| (&journal).write_all(line.as_bytes());
    let how = (arguments.common.check, false);
    let grid = arguments.common.with_threads(|| {
        studies::with_progress(all - known, arguments.quiet, how, |control| prepared.run(finished, control, append))
    })??;
    let Some(grid) = grid.map_err(failed)? else {
        let text = "interrupted: what is finished is kept; the same command goes on with it\n";
        return Err(Failure::Input(text.to_string()));
    };
    let files = page::files(&grid);
    output::replace_folder(&place, &files)
        .map_err(|error| Failure::Output(format!("error: cannot write {}: {error}\n", place.display())))?;
    drop(journal);
    // If this fails the next sweep of the same study finds all done, and writes the same.
    let _ = std::fs::remove_file(&journal_path);
    if !arguments.quiet {
        print(&page::text(&grid));
        print(&output::written(&place, &files));
    }
    Ok(ExitCode::SUCCESS)
}

/// The journal, cut to what is whole, and what it holds.
fn open(path: &Path, prepared: &what_if::Prepared) -> io::Result<(File, sweep::Finished)> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let (finished, whole) = sweep::resume(&text, &prepared.key, prepared.size);
    file.set_len(whole as u64)?;
    file.seek(SeekFrom::End(0))?;
    if whole == 0 {
        file.write_all(sweep::head(&prepared.key).as_bytes())?;
    }
    Ok((file, finished))
}
