//! `kubelapse replay`: predicts a recording of a real control plane and says how far off the prediction is.

use super::{Failure, look, output, print, tell};
use crate::scenario::recording;
use crate::{render, study};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(clap::Args)]
pub struct Arguments {
    /// Folder of a recording: manifests/, constants.json, timeline.csv, best with summary.json
    #[arg(value_name = "RECORDING")]
    recording: PathBuf,
    /// Folder under which the picture and the table of both timelines are written, one folder a recording
    #[arg(long, value_name = "DIR", default_value = "output/replays")]
    out: PathBuf,
    /// Write neither picture nor table
    #[arg(long)]
    no_picture: bool,
}

pub fn replay(arguments: &Arguments) -> Result<ExitCode, Failure> {
    is_recording(&arguments.recording)?;
    let loaded = recording::load(&arguments.recording).map_err(|problems| Failure::Input(problems.render(look())))?;
    tell(&loaded.render_warnings(look()));
    let replayed = study::replay::replay(&loaded.plan, &loaded.recording);
    if let Some(limit) = replayed.outcome.limit {
        tell(&format!("warning: the run stopped early: {}\n", study::describe_limit(&loaded.plan, limit)));
    }
    print(&render::replay::screen(&loaded.recording, &replayed.comparison, replayed.runs, replayed.draw));
    if !arguments.no_picture {
        let place = arguments.out.join(&loaded.recording.name);
        output::replace_folder(&place, &study::replay::files(&loaded.plan, &loaded.recording, &replayed))
            .map_err(|error| Failure::Output(format!("error: cannot write {}: {error}\n", place.display())))?;
        print(&format!("\nboth timelines: {}/replay.svg, replay.png, replay.csv\n", place.display()));
    }
    Ok(if replayed.comparison.holds() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// Says what a recording is, where the folder is something else.
fn is_recording(folder: &Path) -> Result<(), Failure> {
    const NEEDED: [&str; 3] = ["manifests/", "constants.json", "timeline.csv"];
    let missing: Vec<&str> = NEEDED.into_iter().filter(|name| !folder.join(name).exists()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let place = folder.display();
    Err(Failure::Input(if folder.is_dir() {
        format!(
            "error: {place} is not a recording folder; it needs {}\n  not there: {}\n  help: docs/recordings.md describes them\n",
            NEEDED.join(", "),
            missing.join(", ")
        )
    } else if folder.exists() {
        format!("error: {place} is a file, not a folder: a recording is a folder with {}\n", NEEDED.join(", "))
    } else {
        format!("error: there is no folder {place}: a recording is one with {}\n", NEEDED.join(", "))
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_without_a_summary_is_a_recording() {
        let folder = std::env::temp_dir().join(format!("recording-without-summary-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("manifests")).expect("a folder");
        std::fs::write(folder.join("constants.json"), "{}").expect("a file");
        let without_timeline = is_recording(&folder);
        std::fs::write(folder.join("timeline.csv"), "").expect("a file");
        let whole = is_recording(&folder);
        std::fs::remove_dir_all(&folder).expect("the folder goes");
        assert!(matches!(without_timeline, Err(Failure::Input(said)) if said.contains("not there: timeline.csv\n")));
        assert!(whole.is_ok());
    }

    #[test]
    fn a_file_is_said_to_be_one() {
        let said = is_recording(&Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml"));
        assert!(matches!(said, Err(Failure::Input(said)) if said.contains("is a file, not a folder")));
    }
}
