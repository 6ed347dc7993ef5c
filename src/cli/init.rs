//! `kubelapse init`: a first scenario, with manifests to begin with or for manifests that are there.

use super::{Failure, look, output, print, tell};
use crate::scenario::{Problems, kind};
use crate::study::starter;
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::process::ExitCode;

#[derive(clap::Args)]
pub struct Arguments {
    /// Folder to write to [default: this one; with --from the one in which the manifests lie]
    #[arg(value_name = "DIR")]
    folder: Option<PathBuf>,
    /// Manifests that are there already: write a scenario for them, with what they do not say assumed
    #[arg(long, value_name = "MANIFESTS", num_args = 1..)]
    from: Vec<PathBuf>,
}

/// The scenario is called so in every folder.
const SCENARIO: &str = "scenario.yaml";
/// What is written where there are no manifests yet.
const FILES: [(&str, &str); 3] = [
    (SCENARIO, include_str!("starter/scenario.yaml")),
    ("manifests/web.yaml", include_str!("starter/web.yaml")),
    ("manifests/nodes.yaml", include_str!("starter/nodes.yaml")),
];

pub fn init(arguments: &Arguments) -> Result<ExitCode, Failure> {
    if arguments.from.is_empty() {
        let folder = arguments.folder.clone().unwrap_or_default();
        write_new(&folder, &FILES)?;
        print(&next(&folder, &FILES.map(|(name, _)| name)));
        return Ok(ExitCode::SUCCESS);
    }
    let folder = match &arguments.folder {
        Some(folder) => folder.clone(),
        None => common_folder(&arguments.from)?,
    };
    free(&folder, &[SCENARIO])?;
    fs::create_dir_all(&folder).map_err(|error| failed(&folder, &error))?;
    let manifests = named(&folder, &arguments.from)?;
    let starter = starter::derive(&folder.join(SCENARIO), &manifests)
        .map_err(|problems| Failure::Input(problems.render(look())))?;
    tell(&starter.loaded.render_warnings(look()));
    write_new(&folder, &[(SCENARIO, &starter.text)])?;
    print(&next(&folder, &[SCENARIO]));
    Ok(ExitCode::SUCCESS)
}

/// What was written, and what to do now.
fn next(folder: &Path, names: &[&str]) -> String {
    let shown = |name: &str| folder.join(name).display().to_string();
    let written: String = names.iter().map(|name| format!("  {}\n", shown(name))).collect();
    let file = shown(SCENARIO);
    format!("written:\n{written}now:\n  kubelapse run {file}\n  kubelapse explain {file}\n  kubelapse check {file}\n")
}

/// Writes files that are not there yet: all or none.
fn write_new(folder: &Path, files: &[(&str, &str)]) -> Result<(), Failure> {
    let names: Vec<&str> = files.iter().map(|(name, _)| *name).collect();
    free(folder, &names)?;
    for (name, text) in files {
        let path = folder.join(name);
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        parent.map_or(Ok(()), fs::create_dir_all).map_err(|error| failed(&path, &error))?;
        output::replace_file(&path, text.as_bytes()).map_err(|error| failed(&path, &error))?;
    }
    Ok(())
}

/// Nothing that is there is written over.
fn free(folder: &Path, names: &[&str]) -> Result<(), Failure> {
    let taken: Vec<String> = names
        .iter()
        .map(|name| folder.join(name))
        .filter(|path| path.symlink_metadata().is_ok())
        .map(|path| path.display().to_string())
        .collect();
    if taken.is_empty() {
        return Ok(());
    }
    let (is, it) = if taken.len() == 1 { ("is", "it") } else { ("are", "them") };
    Err(Failure::Input(format!(
        "error: {} {is} there already: nothing is written\n  help: give another folder, or move {it} away\n",
        taken.join(", ")
    )))
}

fn failed(path: &Path, error: &std::io::Error) -> Failure {
    Failure::Output(format!("error: cannot write {}: {error}\n", path.display()))
}

fn real(path: &Path) -> Result<PathBuf, Failure> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    fs::canonicalize(path).map_err(|error| {
        let reason = match error.kind() {
            std::io::ErrorKind::NotFound => "there is no such file or folder".to_string(),
            _ => error.to_string(),
        };
        Failure::Input(format!("error: cannot read {}: {reason}\n", path.display()))
    })
}

/// The folder in which all of these lie, as its user would write it.
fn common_folder(paths: &[PathBuf]) -> Result<PathBuf, Failure> {
    let mut common: Option<PathBuf> = None;
    let here = real(Path::new("."))?;
    for path in paths {
        let found = real(path)?;
        // A folder of manifests is named as one; the folder in which the user is has no name from within.
        let around = if found == here { found } else { found.parent().map_or(found.clone(), Path::to_path_buf) };
        common = Some(match common {
            None => around,
            Some(common) => {
                common.components().zip(around.components()).take_while(|(a, b)| a == b).map(|(a, _)| a).collect()
            }
        });
    }
    let common = common.unwrap_or_else(|| here.clone());
    Ok(common.strip_prefix(&here).map_or(common.clone(), Path::to_path_buf))
}

/// How a scenario in `folder` names these manifests. Of a folder that holds more than manifests, each manifest.
fn named(folder: &Path, paths: &[PathBuf]) -> Result<Vec<String>, Failure> {
    let own = real(folder)?;
    let root = own.ancestors().find(|above| above.ends_with("scenarios")).unwrap_or(&own).to_path_buf();
    let (mut names, mut broken) = (Vec::new(), Problems::new());
    for path in paths {
        let found = real(path)?;
        if !found.starts_with(&root) {
            return Err(Failure::Input(format!(
                "error: {} lies outside of {}, and a scenario names only what lies beside or below it\n  help: leave DIR out: \
                 the scenario is written where the manifests lie\n",
                path.display(),
                root.display()
            )));
        }
        if !found.is_dir() {
            names.push(relative(&own, &found));
            continue;
        }
        let (manifests, others) = members(&found, path, &mut broken)?;
        if manifests.is_empty() && !broken.has_errors() {
            return Err(Failure::Input(format!("error: the folder {} holds no manifests\n", path.display())));
        }
        others
            .iter()
            .for_each(|other| tell(&format!("note: {} is no manifest: left out\n", path.join(other).display())));
        if others.is_empty() && found != own {
            names.push(format!("{}/", relative(&own, &found)));
        } else {
            names.extend(manifests.iter().map(|name| relative(&own, &found.join(name))));
        }
    }
    if broken.has_errors() {
        let help = "mend them, or give the manifests one by one behind --from";
        let files = if broken.sources.len() == 1 { "a file is" } else { "some files are" };
        let text = format!("{}nothing is written: {files} no YAML\n  help: {help}\n", broken.render(look()));
        return Err(Failure::Input(text));
    }
    names.dedup();
    Ok(names)
}

/// The YAML and JSON files of a folder by name: manifests, and those that are none. What cannot be read goes to `broken`.
fn members(folder: &Path, shown: &Path, broken: &mut Problems) -> Result<(Vec<String>, Vec<String>), Failure> {
    let entries = fs::read_dir(folder)
        .map_err(|error| Failure::Input(format!("error: cannot read {}: {error}\n", folder.display())))?;
    let mut names: Vec<String> = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.retain(|name| {
        let is_text = [".yaml", ".yml", ".json"].iter().any(|end| name.ends_with(end));
        is_text && !name.starts_with('.') && folder.join(name).is_file()
    });
    names.sort();
    let (mut manifests, mut others) = (Vec::new(), Vec::new());
    for name in names {
        let text = fs::read_to_string(folder.join(&name)).unwrap_or_default();
        match kind::holds_manifests(&shown.join(&name).display().to_string(), &text, broken) {
            Some(true) => manifests.push(name),
            Some(false) => others.push(name),
            None => {}
        }
    }
    Ok((manifests, others))
}

/// A path below or beside a folder, with forward slashes.
fn relative(folder: &Path, path: &Path) -> String {
    let shared = folder.components().zip(path.components()).take_while(|(a, b)| a == b).count();
    let up = folder.components().skip(shared).map(|_| Component::ParentDir);
    let parts: Vec<_> =
        up.chain(path.components().skip(shared)).map(|part| part.as_os_str().to_string_lossy()).collect();
    parts.join("/")
}
