//! `kubelapse init`: a first scenario, with manifests to begin with or for manifests that are there.

use super::{Failure, look, output, print, tell};
use crate::scenario::{Problems, counted, kind};
use crate::study::starter::{self, Found};
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::process::ExitCode;

#[derive(clap::Args)]
pub struct Arguments {
    /// Folder to write to [default: the working directory; with --from the folder that holds what is named there]
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
    let was_there = folder.exists();
    fs::create_dir_all(&folder).map_err(|error| failed(&folder, &error))?;
    write_for(&folder, &arguments.from).inspect_err(|_| {
        // Only an empty folder can be removed so, and one that stays harms nobody.
        if !was_there {
            let _ = fs::remove_dir(&folder);
        }
    })
}

/// Derives a scenario for these manifests and writes it to a folder that is there.
fn write_for(folder: &Path, paths: &[PathBuf]) -> Result<ExitCode, Failure> {
    let manifests = named(folder, paths)?;
    let starter = starter::derive(&folder.join(SCENARIO), &manifests)
        // Of what is judged before region and zones are known only errors are certain.
        .map_err(|problems| Failure::Input(problems.render_errors(look()) + &counted(problems.error_count())))?;
    tell(&starter.loaded.render_warnings(look()));
    for (file, why) in &starter.left_out {
        tell(&format!("note: {} is left out: {why}\n", folder.join(file).display()));
    }
    if starter.loaded.plan.node_pools.is_empty() {
        tell(
            "note: no NodePool is among these manifests: the nodes of the start stay the only ones\n  \
              help: name yours behind --from as well, and nodes come and go\n",
        );
    }
    starter.without_node.iter().for_each(|words| tell(&format!("warning: {words}\n")));
    for words in &starter.broken {
        tell(&format!("warning: left out of `expect:`, as it does not hold: {words}\n"));
    }
    if !starter.without_node.is_empty() {
        tell(
            "help: where a manifest is wrong, mend it, remove what is written here, and call init again: loads follow from requests\n",
        );
    }
    let mut files = vec![(SCENARIO, starter.text.as_str())];
    files.extend(starter.assumed.iter().map(|(name, text)| (*name, text.as_str())));
    write_new(folder, &files)?;
    let names: Vec<&str> = files.iter().map(|(name, _)| *name).collect();
    print(&next(folder, &names));
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
            std::io::ErrorKind::NotFound => {
                "there is no such file or folder\n  help: the folder to write to stands before --from: \
                 `kubelapse init DIR --from MANIFESTS...`"
                    .to_string()
            }
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
fn named(folder: &Path, paths: &[PathBuf]) -> Result<Vec<Found>, Failure> {
    let own = real(folder)?;
    let root = own.ancestors().find(|above| above.ends_with("scenarios")).unwrap_or(&own).to_path_buf();
    let (mut all, mut broken) = (Vec::new(), Problems::new());
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
            all.push(Found { whole: None, files: vec![relative(&own, &found)] });
            continue;
        }
        let mut members = Members::default();
        members.gather(&found, path, &mut broken)?;
        if members.manifests.is_empty() && !broken.has_errors() {
            tell(&members.notes());
            return Err(Failure::Input(format!("error: the folder {} holds no manifests\n", path.display())));
        }
        tell(&members.notes());
        let is_flat = members.others.is_empty() && members.manifests.iter().all(|file| file.parent() == Some(&found));
        let whole = (is_flat && found != own).then(|| format!("{}/", relative(&own, &found)));
        all.push(Found { whole, files: members.manifests.iter().map(|file| relative(&own, file)).collect() });
    }
    if broken.has_errors() {
        let help = "mend them, or give the manifests one by one behind --from";
        let files = if broken.sources.len() == 1 { "a file is" } else { "some files are" };
        let text = format!("{}nothing is written: {files} no YAML\n  help: {help}\n", broken.render(look()));
        return Err(Failure::Input(text));
    }
    Ok(all)
}

/// What is in a folder and in those below it.
#[derive(Default)]
struct Members {
    manifests: Vec<PathBuf>,
    /// YAML and JSON that is no manifest, as its user would write it.
    others: Vec<String>,
    /// What is worth a sentence of its own.
    remarks: Vec<String>,
}

/// So many files that are no manifests are named; more are counted.
const NAMED_MAX: usize = 4;

impl Members {
    /// By name: first the files of a folder, then those of the folders in it.
    fn gather(&mut self, folder: &Path, shown: &Path, broken: &mut Problems) -> Result<(), Failure> {
        let entries = fs::read_dir(folder)
            .map_err(|error| Failure::Input(format!("error: cannot read {}: {error}\n", shown.display())))?;
        let mut names: Vec<String> =
            entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.retain(|name| !name.starts_with('.'));
        names.sort();
        if names.iter().any(|name| name == "Chart.yaml") {
            let (at, help) = (shown.display(), "`helm template` writes the manifests that it stands for");
            self.remarks.push(format!("note: {at} is a Helm chart: left out\n  help: {help}\n"));
            self.others.push(shown.display().to_string());
            return Ok(());
        }
        let is_text = |name: &&String| [".yaml", ".yml", ".json"].iter().any(|end| name.ends_with(end));
        for name in names.iter().filter(is_text).filter(|name| folder.join(name).is_file()) {
            self.look_at(&folder.join(name), &shown.join(name), broken);
        }
        for name in names.iter().filter(|name| folder.join(name).is_dir() && !folder.join(name).is_symlink()) {
            self.gather(&folder.join(name), &shown.join(name), broken)?;
        }
        Ok(())
    }

    fn look_at(&mut self, file: &Path, shown: &Path, broken: &mut Problems) {
        let at = shown.display().to_string();
        if shown.file_stem().is_some_and(|name| name == "kustomization") {
            let help =
                format!("`kubectl kustomize {}` writes what it makes of them", shown.with_file_name("").display());
            self.remarks.push(format!("note: {at} changes manifests: left out\n  help: {help}\n"));
            self.others.push(at);
            return;
        }
        let text = fs::read_to_string(file).unwrap_or_default();
        match kind::holds_manifests(&at, &text) {
            Ok(true) => self.manifests.push(file.to_path_buf()),
            Ok(false) => self.others.push(at),
            Err(_) if text.contains("{{") => {
                self.remarks.push(format!(
                    "note: {at} is a template: left out\n  help: render it first, as with `helm template`\n"
                ));
                self.others.push(at);
            }
            Err(problems) => broken.adopt_all(&problems),
        }
    }

    /// What was left out.
    fn notes(&self) -> String {
        let is_told = |other: &&String| self.remarks.iter().any(|remark| remark.contains(&format!("note: {other} ")));
        let rest: Vec<&String> = self.others.iter().filter(|other| !is_told(other)).collect();
        let named = rest.iter().take(NAMED_MAX).map(|other| format!("note: {other} is no manifest: left out\n"));
        let more = rest.len().saturating_sub(NAMED_MAX);
        let more = (more > 0).then(|| format!("note: {more} further files are no manifests: left out\n"));
        self.remarks.iter().cloned().chain(named).chain(more).collect()
    }
}

/// A path below or beside a folder, with forward slashes.
fn relative(folder: &Path, path: &Path) -> String {
    let shared = folder.components().zip(path.components()).take_while(|(a, b)| a == b).count();
    let up = folder.components().skip(shared).map(|_| Component::ParentDir);
    let parts: Vec<_> =
        up.chain(path.components().skip(shared)).map(|part| part.as_os_str().to_string_lossy()).collect();
    parts.join("/")
}
