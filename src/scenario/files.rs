//! The only place that reads files: inside the scenario root and nowhere else, all bytes counted into one hash.

use super::diagnostic::{Diagnostic, FileId, Place, Problems, Source, only_nearest};
use super::kind::{self, Kind};
use super::mend::{self, Mend};
use super::reader;
use super::units;
use super::yaml::{self, Node};
use crate::engine::Span;
use crate::plan::Distribution;
use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

/// Most files of a scenario.
const FILES_MAX: usize = 1000;

/// Files of one scenario.
pub struct Files {
    root: PathBuf,
    /// Folder of the scenario as its user wrote it, and as the file system has it: what people are shown begins with the first.
    written: (PathBuf, PathBuf),
    /// Folder of the scenario: relative paths start here.
    base: PathBuf,
    /// Files named by the caller (`--data NAME=FILE`); they may stand anywhere.
    data: BTreeMap<String, PathBuf>,
    /// Names of them that the scenario asks for.
    asked: Vec<String>,
    /// Bytes of everything read, by name.
    read: BTreeMap<String, Arc<[u8]>>,
    /// Words that are read as others.
    mends: Vec<Mend>,
}

/// Why a file cannot be had: code, message, advice.
pub type FileError = (&'static str, String, Option<String>);

impl Files {
    /// The files of a scenario. Without a given root it is the nearest folder above that is named `scenarios`, else the
    /// scenario's own folder.
    ///
    /// # Errors
    /// When the scenario cannot be reached, or stands outside of the root.
    pub fn new(
        scenario: &Path,
        root: Option<&Path>,
        data: BTreeMap<String, PathBuf>,
    ) -> Result<(Files, PathBuf), FileError> {
        let missing = |path: &Path, error: std::io::Error| unreadable(path, &slashed(path), &error);
        let given = scenario.parent().unwrap_or(Path::new("")).to_path_buf();
        let scenario = fs::canonicalize(scenario).map_err(|error| missing(scenario, error))?;
        Files::of((given, scenario), root, data)
    }

    /// The files of a scenario that is not written yet, nor are others `beside` it, by name.
    ///
    /// # Errors
    /// When its folder cannot be reached, or stands outside of the root.
    pub fn with_text(
        scenario: &Path,
        text: &str,
        beside: &[(&str, &str)],
        root: Option<&Path>,
    ) -> Result<(Files, PathBuf), FileError> {
        let given = scenario.parent().unwrap_or(Path::new("")).to_path_buf();
        let folder = if given.as_os_str().is_empty() { Path::new(".") } else { &given };
        let folder = fs::canonicalize(folder).map_err(|error| unreadable(folder, &slashed(folder), &error))?;
        let file = folder.join(scenario.file_name().unwrap_or_default());
        let (mut files, file) = Files::of((given, file), root, BTreeMap::new())?;
        files.read.insert(files.name(&file), text.as_bytes().into());
        for (name, text) in beside {
            files.read.insert(files.name(&folder.join(name)), text.as_bytes().into());
        }
        Ok((files, file))
    }

    fn of(
        (given, scenario): (PathBuf, PathBuf),
        root: Option<&Path>,
        data: BTreeMap<String, PathBuf>,
    ) -> Result<(Files, PathBuf), FileError> {
        let missing = |path: &Path, error: std::io::Error| unreadable(path, &slashed(path), &error);
        let base = scenario.parent().unwrap_or(Path::new("/")).to_path_buf();
        let root = match root {
            Some(root) => fs::canonicalize(root).map_err(|error| missing(root, error))?,
            None => base
                .ancestors()
                .find(|folder| folder.file_name().is_some_and(|name| name == "scenarios"))
                .unwrap_or(&base)
                .to_path_buf(),
        };
        if !scenario.starts_with(&root) {
            return Err(("E002", format!("the scenario stands outside of the root {}", root.display()), None));
        }
        let written = (given, base.clone());
        Ok((Files { root, written, base, data, asked: Vec::new(), read: BTreeMap::new(), mends: Vec::new() }, scenario))
    }

    /// The same files, of which these words are read as others.
    pub(crate) fn with_mends(self, mends: Vec<Mend>) -> Files {
        Files { mends, ..self }
    }

    /// Relative paths start at the folder of this file from now on.
    pub fn stand_in(&mut self, file: &Path) {
        if let Some(folder) = file.parent() {
            self.base = folder.to_path_buf();
        }
    }

    /// Name of a file in the hash: relative to the root, so that it is the same wherever the root stands.
    fn name(&self, path: &Path) -> String {
        slashed(path.strip_prefix(&self.root).unwrap_or(path))
    }

    /// Path for people: from the working directory, as they wrote that of the scenario, so that editors and CI find the file.
    pub fn shown(&self, path: &Path) -> String {
        let (given, folder) = &self.written;
        if !path.starts_with(&self.root) {
            return slashed(path);
        }
        let shared = folder.components().zip(path.components()).take_while(|(a, b)| a == b).count();
        let mut shown = given.clone();
        for _ in folder.components().skip(shared) {
            let up = shown.file_name().is_some();
            if !(up && shown.pop()) {
                shown.push("..");
            }
        }
        shown.extend(path.components().skip(shared));
        // Behind a symbolic link `..` leads elsewhere: then the whole path is said.
        let leads_there = fs::canonicalize(&shown).ok() == fs::canonicalize(path).ok();
        slashed(if leads_there { &shown } else { path })
    }

    /// A path as written in the scenario, made absolute and kept inside the root.
    ///
    /// # Errors
    /// When it leaves the root or does not exist.
    pub fn resolve(&self, written: &str) -> Result<PathBuf, FileError> {
        let leaves = || {
            let help = "only what is below the nearest folder named `scenarios` (or below --root) can be named; bring other \
                        data with --data NAME=FILE";
            ("E002", format!("the path {written} leaves the scenario root"), Some(help.to_string()))
        };
        let mut path = self.base.clone();
        for part in Path::new(written).components() {
            match part {
                Component::CurDir => {}
                Component::Normal(name) => path.push(name),
                Component::ParentDir => {
                    path.pop();
                }
                Component::RootDir | Component::Prefix(_) => return Err(leaves()),
            }
        }
        if !path.starts_with(&self.root) {
            return Err(leaves());
        }
        if self.read.contains_key(&self.name(&path)) {
            return Ok(path);
        }
        let real = fs::canonicalize(&path).map_err(|error| unreadable(&path, &self.shown(&path), &error))?;
        if real.starts_with(&self.root) { Ok(real) } else { Err(leaves()) }
    }

    /// What a path that leads to nothing surely means: another name in the same folder.
    pub(crate) fn meant(&self, written: &str) -> Option<String> {
        let (folder, name) = written.rsplit_once('/').unwrap_or((".", written));
        let siblings = names_in(&self.resolve(folder).ok()?);
        let near = only_nearest(name, &siblings.iter().map(String::as_str).collect::<Vec<_>>())?;
        Some(format!("{}{near}", &written[..written.len() - name.len()]))
    }

    /// The file given by `--data NAME=FILE`.
    ///
    /// # Errors
    /// When no such name was given.
    pub fn data(&mut self, name: &str) -> Result<PathBuf, FileError> {
        self.asked.push(name.to_string());
        self.data
            .get(name)
            .cloned()
            .ok_or_else(|| ("E001", format!("no data named {name}"), Some(format!("give it with --data {name}=FILE"))))
    }

    /// The names of data that were asked for.
    pub fn take_asked(&mut self) -> Vec<String> {
        std::mem::take(&mut self.asked)
    }

    /// The manifests in a folder, sorted by name; a file is itself.
    pub fn manifests(&self, path: &Path) -> Vec<PathBuf> {
        if !path.is_dir() {
            return vec![path.to_path_buf()];
        }
        let is_manifest =
            |name: &String| [".yaml", ".yml", ".json"].iter().any(|end| name.ends_with(end)) && !name.starts_with('.');
        names_in(path)
            .into_iter()
            .filter(is_manifest)
            .map(|name| path.join(name))
            .filter(|file| file.is_file() && fs::canonicalize(file).is_ok_and(|real| real.starts_with(&self.root)))
            .collect()
    }

    /// The bytes of a file, counted into the hash.
    ///
    /// # Errors
    /// When it cannot be read, is no ordinary file, or is too large or one too many.
    pub fn bytes(&mut self, path: &Path, name: &str) -> Result<Arc<[u8]>, FileError> {
        if let Some(bytes) = self.read.get(name) {
            return Ok(bytes.clone());
        }
        if self.read.len() >= FILES_MAX {
            return Err(("E004", format!("more than {FILES_MAX} files"), None));
        }
        let failed = |error: std::io::Error| ("E001", format!("cannot read {}: {error}", self.shown(path)), None);
        let found = fs::metadata(path).map_err(failed)?;
        if !found.is_file() {
            let shown = self.shown(path);
            let what = if found.is_dir() { "a folder" } else { "no ordinary file" };
            let help = if found.is_dir() { instead_of(path, &shown) } else { None };
            return Err(("E001", format!("cannot read {shown}: it is {what}"), help));
        }
        let mut bytes = Vec::new();
        let limit = yaml::FILE_BYTES_MAX as u64 + 1;
        fs::File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes)).map_err(failed)?;
        let bytes: Arc<[u8]> = bytes.into();
        self.read.insert(name.to_string(), bytes.clone());
        Ok(bytes)
    }

    /// Documents of a YAML file.
    pub fn documents(&mut self, path: &Path, asked: Option<Place>, problems: &mut Problems) -> (FileId, Vec<Node>) {
        let name = self.shown(path);
        let bytes = match self.bytes(path, &self.name(path)) {
            Ok(bytes) => bytes,
            Err(error) => {
                report(error, asked, problems);
                return (problems.add_source(name, "".into()), Vec::new());
            }
        };
        match yaml::decode(&bytes) {
            Ok(text) => {
                let file = problems.add_source(name.clone(), text.into());
                let mut documents = yaml::parse(file, text, problems);
                mend::apply(&mut documents, &name, &self.mends);
                (file, documents)
            }
            Err((code, message, at)) => {
                let clean: String = String::from_utf8_lossy(&bytes[..at.min(bytes.len())]).into_owned();
                let file = problems.add_source(name, "".into());
                let line = clean.matches('\n').count() as u32 + 1;
                let column = clean.chars().rev().take_while(|c| *c != '\n').count() as u32 + 1;
                problems.error(code, Place { line, column, ..Place::top(file) }, message);
                (file, Vec::new())
            }
        }
    }

    /// The text of a data file.
    fn text(&mut self, path: &Path) -> Result<String, FileError> {
        let name = self.shown(path);
        let bytes = self.bytes(path, &self.name(path))?;
        yaml::decode(&bytes)
            .map(str::to_string)
            .map_err(|(code, message, _)| (code, format!("{name}: {message}"), None))
    }

    /// A table of a data file: header and rows.
    ///
    /// # Errors
    /// When it cannot be read or is no table.
    pub fn table(&mut self, path: &Path) -> Result<(Vec<String>, Vec<Vec<String>>), FileError> {
        let text = self.text(path)?;
        let mut reader = csv::ReaderBuilder::new().flexible(true).comment(Some(b'#')).from_reader(text.as_bytes());
        let wrong = |error: csv::Error| ("E012", format!("no table: {error}"), None);
        let header = reader.headers().map_err(wrong)?.iter().map(str::to_string).collect();
        let rows = reader
            .records()
            .map(|record| record.map(|record| record.iter().map(str::to_string).collect()))
            .collect::<Result<_, _>>()
            .map_err(wrong)?;
        Ok((header, rows))
    }

    /// Recorded durations: the first column that holds one, seconds or with unit; lines without are passed over.
    fn recorded(&mut self, written: &str) -> Result<Vec<Span>, String> {
        let path = self.resolve(written).map_err(|(_, message, _)| message)?;
        let text = self.text(&path).map_err(|(_, message, _)| message)?;
        let value = |field: &str| match field.trim().parse::<f64>() {
            Ok(seconds) if seconds >= 0.0 && seconds.is_finite() => Some(Span::from_seconds(seconds)),
            _ => units::duration(field).ok(),
        };
        Ok(text.lines().filter_map(|line| line.split(',').find_map(value)).collect())
    }

    /// A distribution, with recorded values from a file if it says so.
    pub fn distribution(&mut self, node: &Node, path: &str, problems: &mut Problems) -> Option<Distribution> {
        let expected = "a duration or distribution such as 3s or lognormal(3s, 0.2)";
        let parse = |text: &str| units::distribution(text, &mut |name| self.recorded(name));
        reader::unit(node, path, expected, parse, problems)
    }

    /// Hash over names and bytes of all files read: FNV-1a, 16 hexadecimal digits.
    pub fn hash(&self) -> String {
        self.hash_with(&[])
    }

    /// The same with fields that were set to other values.
    pub fn hash_with(&self, settings: &[super::vary::Setting]) -> String {
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        let mut feed = |bytes: &[u8]| {
            for &byte in bytes {
                hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
            }
        };
        for (name, bytes) in &self.read {
            feed(name.as_bytes());
            feed(&[0]);
            feed(&(bytes.len() as u64).to_le_bytes());
            feed(bytes);
        }
        for setting in settings {
            feed(setting.field.as_bytes());
            feed(&[1]);
            feed(setting.value.as_bytes());
            feed(&[2]);
        }
        format!("{hash:016x}")
    }
}

/// What to do with a folder that was given for a file, by what lies in it.
fn instead_of(folder: &Path, shown: &str) -> Option<String> {
    const LOOKED_AT: usize = 64;
    const SHOWN: usize = 3;
    if folder.join("timeline.csv").is_file() {
        return Some(format!("it is a recording: `kubelapse replay {shown}`"));
    }
    let names = names_in(folder).into_iter().filter(|name| name.ends_with(".yaml") || name.ends_with(".yml"));
    let small = |name: &String| folder.join(name).metadata().is_ok_and(|found| found.len() < 1 << 20);
    let texts = names
        .take(LOOKED_AT)
        .filter(small)
        .filter_map(|name| Some((fs::read_to_string(folder.join(&name)).ok()?, name)));
    let (mut scenarios, mut has_manifests) = (Vec::new(), false);
    for (text, name) in texts {
        match kind::of_text(&text) {
            Some(Kind::Manifest) => has_manifests = true,
            Some(Kind::Scenario) => scenarios.push(format!("{shown}/{name}")),
            Some(Kind::Study) | None => {}
        }
    }
    if !scenarios.is_empty() {
        scenarios.truncate(SHOWN);
        return Some(format!("give one of its scenarios, such as {}", scenarios.join(", ")));
    }
    has_manifests.then(|| format!("it holds manifests: `kubelapse init --from {shown}` writes a scenario for them"))
}

/// What cannot be opened, why, and what beside it may have been meant.
fn unreadable(path: &Path, shown: &str, error: &std::io::Error) -> FileError {
    let parent = path.parent().map(|parent| if parent.as_os_str().is_empty() { Path::new(".") } else { parent });
    let name = path.file_name().map(|name| name.to_string_lossy().to_string()).unwrap_or_default();
    let siblings = parent.map(names_in).unwrap_or_default();
    let near = super::diagnostic::nearest(&name, siblings.iter().map(String::as_str));
    let reason = match error.kind() {
        std::io::ErrorKind::NotFound => "there is no such file or folder".to_string(),
        _ => error.to_string(),
    };
    ("E001", format!("cannot read {shown}: {reason}"), near.map(|near| format!("did you mean `{near}`?")))
}

/// With forward slashes.
fn slashed(path: &Path) -> String {
    let parts = path.components().filter(|part| *part != Component::CurDir);
    parts.map(|part| part.as_os_str().to_string_lossy()).collect::<Vec<_>>().join("/").replacen("//", "/", 1)
}

/// Notes that a path leads nowhere, with what it surely means.
pub(crate) fn report_path(error: FileError, written: &str, node: &Node, files: &Files, problems: &mut Problems) {
    let (code, message, help) = error;
    let meant = if code == "E001" { files.meant(written) } else { None };
    problems.push(Diagnostic::error(code, node.place, message).maybe_help(help).maybe_meant(meant));
}

/// Notes a file problem at the place that asked for the file.
pub fn report((code, message, help): FileError, asked: Option<Place>, problems: &mut Problems) {
    let diagnostic = match asked {
        Some(place) => Diagnostic::error(code, place, message),
        None => Diagnostic::nowhere(code, message),
    };
    problems.push(diagnostic.maybe_help(help));
}

fn names_in(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().take(10 * FILES_MAX).flatten();
    let mut names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names
}

/// The files as they are shown beside warnings.
pub fn shown_sources(problems: &Problems) -> Vec<Source> {
    problems.sources.clone()
}
