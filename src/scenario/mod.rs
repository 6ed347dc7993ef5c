//! From text to a plan: everything a user can get wrong is found and said here.
//!
//! In: a scenario file and the manifests it names. Out: a checked [`Plan`] with its warnings, or every problem at once.
//!
//! ```text
//! bytes --files--> text --yaml--> tree --reader, units--> typed sections --\
//!                                      --manifest-------> objects ---------> build --> Plan
//! ```

pub mod apps;
mod autoscalers;
pub mod build;
pub mod cluster;
pub mod controllers;
pub mod curve;
pub mod diagnostic;
pub mod external;
pub mod files;
mod forms;
pub mod kind;
pub(crate) mod later;
pub(crate) mod mend;
mod named;
pub(crate) mod reach;
pub mod reader;
pub mod recording;
pub mod script;
pub mod spot_market;
pub(crate) mod standing;
pub mod study;
pub mod traffic;
pub mod units;
pub mod vary;
pub mod volumes;
pub mod yaml;

pub use diagnostic::{Diagnostic, Problems, Severity, Source, counted, render_all, without_repeats};
pub use units::timings;

use crate::engine::{Span, Time};
use crate::manifest::Objects;
use crate::plan::{Flags, Plan};
use curve::Window;
use files::Files;
use kind::Kind;
use reader::Fields;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use yaml::Node;

/// The end of a run as the command line gives it, within the same bounds as in a file.
///
/// # Errors
/// What is wrong with the text, in words.
pub fn parse_until(text: &str) -> Result<Span, String> {
    let until = parse_duration(text)?;
    let fits = !until.is_zero() && until <= UNTIL_MAX;
    fits.then_some(until).ok_or_else(|| format!("a run takes {UNTIL_RANGE}"))
}

/// What a run may take, in words.
const UNTIL_RANGE: &str = "more than 0s and at most 30d";
/// Longest run.
const UNTIL_MAX: Span = Span::from_secs(30 * 86_400);
/// 2026-01-05T00:00:00Z, a Monday.
const START: u64 = 1_767_571_200;

/// What the command line says; it wins over the file.
#[derive(Clone, Debug, Default)]
pub struct LoadOptions {
    /// `--root`: files may be read below this folder; else below the nearest folder named `scenarios`.
    pub root: Option<PathBuf>,
    /// `--noise`.
    pub noise: Option<bool>,
    /// `--seed`.
    pub seed: Option<u64>,
    /// `--until`.
    pub until: Option<Span>,
    /// `--data NAME=FILE`.
    pub data: BTreeMap<String, PathBuf>,
    /// `--set FIELD=VALUE`, in order.
    pub set: Vec<vary::Setting>,
}

impl Loaded {
    /// The region that its files name beside the scenario's own keys, and what names it.
    pub fn region_named(&self) -> Option<(&'static str, &'static str)> {
        crate::catalog::region::named_in(self.sources.iter().map(|source| &*source.text))
    }

    /// The warnings as text, with the lines they are about.
    pub fn render_warnings(&self, look: impl Into<diagnostic::Look>) -> String {
        render_all(&self.warnings, &self.sources, look)
    }

    /// The same, unless there is any warning: then its warnings are errors.
    ///
    /// # Errors
    /// All warnings and notes, those as errors.
    pub fn without_warnings(mut self) -> Result<Loaded, Problems> {
        let is_warning = |one: &&mut Diagnostic| one.severity == Severity::Warning;
        let warnings = self.warnings.iter_mut().filter(is_warning);
        let count = warnings.map(|one| one.severity = Severity::Error).count();
        if count == 0 { Ok(self) } else { Err(Problems::of(self.sources, self.warnings)) }
    }
}

/// A duration as users write it, such as `1h30m` or `500ms`.
///
/// # Errors
/// What is wrong with the text, in words.
pub fn parse_duration(text: &str) -> Result<Span, String> {
    units::duration(text).map_err(|error| match error.help {
        Some(help) => format!("{} ({help})", error.message),
        None => error.message,
    })
}

/// A scenario that can run.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The plan.
    pub plan: Plan,
    /// What its author should know, sorted.
    pub warnings: Vec<Diagnostic>,
    /// All files read; [`render_all`] needs them.
    pub sources: Vec<Source>,
    /// Names of data that it wants from outside.
    pub data: Vec<String>,
    /// File, line and column of the check of each claim, then of each expectation, where it stands in a file.
    pub check_places: Vec<Option<(String, u32, u32)>>,
}

/// Everything at hand while a scenario becomes a plan.
pub(crate) struct Draft {
    pub(crate) plan: Plan,
    pub(crate) objects: Objects,
    pub(crate) files: Files,
    pub(crate) problems: Problems,
    /// Fields of manifests that are given other values, and whether each was found.
    pub(crate) settings: Vec<(vary::Setting, Node)>,
    pub(crate) settings_used: Vec<bool>,
    /// Objects of a recording that were read: later versions are actions.
    pub(crate) first_versions: Vec<Option<recording::Key>>,
    /// What actions apply that is not there at the start.
    pub(crate) later: later::Later,
    /// Where claims and expectations stand.
    pub(crate) check_places: Vec<diagnostic::Place>,
    /// Values that labels have on instance types of the catalogue, whether a pool may use those or not.
    pub(crate) label_values: reach::LabelValues,
}

impl Draft {
    pub(crate) fn window(&self) -> Window {
        Window { start: self.plan.start, until: self.plan.until }
    }

    /// The beginning of the scenario, for problems that belong to no field.
    pub(crate) fn problems_place(&self) -> diagnostic::Place {
        diagnostic::Place::top(diagnostic::FileId(0))
    }

    /// An instant of the run.
    pub(crate) fn instant(&mut self, node: &Node, path: &str) -> Option<Time> {
        let at = self.plan.start + reader::duration(node, path, &mut self.problems)?;
        if at > self.plan.until {
            let until = self.plan.until.since(self.plan.start);
            reader::out_of_range(node, path, &format!("within the run, which ends at {until}"), &mut self.problems);
            return None;
        }
        Some(at)
    }
}

/// Reads a scenario with everything it names.
///
/// # Errors
/// All problems of all files, if any of them forbids a run.
pub fn load(path: &Path, options: &LoadOptions) -> Result<Loaded, Problems> {
    read_mended(path, &|| Files::new(path, options.root.as_deref(), options.data.clone()), options)
}

/// The same of a text that is not written to its path yet, nor are the files `beside` it, by name.
///
/// # Errors
/// As for [`load`].
pub fn load_text(path: &Path, text: &str, beside: &[(&str, &str)], options: &LoadOptions) -> Result<Loaded, Problems> {
    read_mended(path, &|| Files::with_text(path, text, beside, options.root.as_deref()), options)
}

type Found = Result<(Files, PathBuf), files::FileError>;

fn read_mended(path: &Path, find: &dyn Fn() -> Found, options: &LoadOptions) -> Result<Loaded, Problems> {
    let remarks = |loaded: Loaded| Problems::of(loaded.sources, loaded.warnings);
    mend::read(|mends| read_files(path, find(), mends, options), remarks)
}

fn read_files(path: &Path, found: Found, mends: Vec<mend::Mend>, options: &LoadOptions) -> Result<Loaded, Problems> {
    let mut problems = Problems::new();
    let (mut files, file) = match found {
        Ok((files, file)) => (files.with_mends(mends), file),
        Err(error) => {
            files::report(error, None, &mut problems);
            return Err(problems);
        }
    };
    let (id, mut documents) = files.documents(&file, None, &mut problems);
    if documents.first().is_some_and(|own| !kind::is(Kind::Scenario, own, &files.shown(&file), &mut problems)) {
        return Err(problems);
    }
    let base = documents.first().and_then(|own| base_of(own, &mut files, &mut problems));
    if let (Some(base), Some(own)) = (base, documents.first_mut()) {
        *own = base;
    }
    let settings = vary::parse(&options.set, &mut problems);
    if let Some(scenario) = documents.first_mut() {
        vary::make_room(scenario, &settings);
        let of_scenario = |setting: &vary::Setting| setting.manifest().is_none().then(|| setting.field.clone());
        vary::apply(scenario, &settings, of_scenario, &mut problems);
    }
    let Some(scenario) = documents.first() else {
        if !problems.has_errors() {
            problems.error("E011", diagnostic::Place::top(id), "the scenario is empty");
        }
        return Err(problems);
    };
    if let Some(second) = documents.get(1) {
        problems.error("E005", second.place, "a scenario is one document, a second begins here");
    }
    let stem = path.file_stem().map_or_else(|| "scenario".to_string(), |stem| stem.to_string_lossy().to_string());
    let plan = Plan::empty(Time::from_unix_seconds(START), Span::from_secs(1200));
    let plan = Plan { name: stem, timings: timings("default").expect("the default preset exists"), ..plan };
    let settings_used = settings.iter().map(|(setting, _)| setting.manifest().is_none()).collect();
    let mut draft = Draft {
        plan,
        objects: Objects::default(),
        files,
        problems,
        settings,
        settings_used,
        first_versions: Vec::new(),
        later: later::Later::default(),
        check_places: Vec::new(),
        label_values: reach::LabelValues::new(),
    };
    read_scenario(scenario, &mut draft, options);
    report_unused_settings(&mut draft);
    let Draft { mut plan, mut files, mut problems, check_places, .. } = draft;
    if problems.has_errors() {
        return Err(problems);
    }
    plan.hash = files.hash_with(&options.set);
    let data = files.take_asked();
    let warnings = problems.take_warnings();
    // Of an action or fault that finds nothing the run says so itself.
    let told = warnings.iter().filter(|warning| !named::CODES.contains(&warning.code));
    plan.remarks = told.map(|warning| warning.message.clone()).collect();
    let check_places = check_places.into_iter().map(|place| problems.named(place)).collect();
    Ok(Loaded { plan, warnings, sources: problems.sources, data, check_places })
}

/// Data given by `--data NAME=FILE` that none of these scenarios names.
pub fn unasked_data<'l>(options: &LoadOptions, loaded: impl IntoIterator<Item = &'l Loaded>) -> Option<Problems> {
    let asked: Vec<&str> = loaded.into_iter().flat_map(|loaded| &loaded.data).map(String::as_str).collect();
    let mut problems = Problems::new();
    for name in options.data.keys().filter(|name| !asked.contains(&name.as_str())) {
        let help = diagnostic::suggestion(name, asked.iter().copied());
        let help = help
            .unwrap_or_else(|| "data from outside is named by a curve's `data:`; this scenario names none".to_string());
        let message = format!("--data {name}: nothing in the scenario asks for data of that name");
        problems.push(Diagnostic::nowhere("E016", message).help(help));
    }
    problems.has_errors().then_some(problems)
}

/// The scenario that a file with `base:` describes: its base, and upon it what the file itself says. Paths of both are
/// relative to the base.
fn base_of(own: &Node, files: &mut Files, problems: &mut Problems) -> Option<Node> {
    let node = own.get("base")?;
    let written = reader::text(node, "base", problems)?;
    let found = match files.resolve(&written) {
        Ok(path) => path,
        Err(error) => {
            files::report_path(error, &written, node, files, problems);
            return None;
        }
    };
    let (_, mut documents) = files.documents(&found, Some(node.place), problems);
    let base = documents.first_mut()?;
    if !kind::is(Kind::Scenario, base, &files.shown(&found), problems) {
        return None;
    }
    let mut upon = own.clone();
    if let yaml::Value::Mapping(entries) = &mut upon.value {
        entries.retain(|entry| &*entry.key != "base");
    }
    // Its own name, or that of the file: never the base's, whose results it would overwrite.
    if let yaml::Value::Mapping(entries) = &mut base.value {
        entries.retain(|entry| &*entry.key != "name");
    }
    files.stand_in(&found);
    vary::overlay(base, &upon);
    Some(base.clone())
}

/// A field of a manifest that is not there.
fn report_unused_settings(draft: &mut Draft) {
    let unused = draft.settings.iter().zip(&draft.settings_used).filter(|(_, used)| !**used);
    for ((setting, node), _) in unused {
        let message = format!("{}: the scenario has no such manifest", setting.field);
        let Some((kind, name, _)) = setting.manifest() else { continue };
        let names = draft.objects.names();
        let help = diagnostic::suggestion(&format!("{kind}/{name}"), names.iter().map(String::as_str));
        let help = help.unwrap_or_else(|| {
            "write it as Kind/name.path, such as HorizontalPodAutoscaler/shop.spec.minReplicas".to_string()
        });
        let place = vary::key_place(setting, node);
        let place = diagnostic::Place { end: place.start + (kind.len() + name.len()) as u32 + 1, ..place };
        draft.problems.push(Diagnostic::error("E016", place, message).help(help));
    }
}

/// Gives fields of a manifest the values that they are set to.
fn vary_manifest(document: &mut Node, draft: &mut Draft) {
    if draft.settings.is_empty() {
        return;
    }
    let kind = document.get("kind").and_then(Node::text).unwrap_or_default().to_string();
    let name = document.get("metadata").and_then(|metadata| metadata.get("name")).and_then(Node::text);
    let name = name.unwrap_or_default().to_string();
    let about = |setting: &vary::Setting| {
        let (of_kind, of_name, path) = setting.manifest()?;
        (of_kind == kind && of_name == name).then(|| path.to_string())
    };
    for used in vary::apply(document, &draft.settings, about, &mut draft.problems) {
        draft.settings_used[used] = true;
    }
}

fn read_scenario(node: &Node, draft: &mut Draft, options: &LoadOptions) {
    let Some(mut fields) = Fields::of_file(node, Kind::Scenario, &mut draft.problems) else { return };
    read_name(&mut fields, draft);
    fields.get("about");
    read_run(fields.get("run"), draft, options);
    let cluster = cluster::read(fields.get("cluster"), draft);
    if let Some(controllers) = fields.get("controllers") {
        let mut flags: Flags = draft.plan.flags.clone();
        controllers::read(controllers, &mut flags, &mut draft.problems);
        draft.plan.flags = flags;
    }
    read_manifests(&mut fields, draft);
    if let Some(timings) = fields.get("timings") {
        apps::read_timings(timings, draft);
    }
    let groups = fields.get("target_groups");
    if let Some(groups) = groups {
        apps::read_target_groups(groups, draft);
    }
    later::read_applied(fields.get("actions").map_or(&[][..], Node::items), draft);
    build::place_objects(draft);
    cluster::place(cluster, draft);
    volumes::place(draft);
    if let Some(market) = fields.get("spot_market") {
        spot_market::read(market, draft);
    }
    if let Some(images) = fields.get("images") {
        apps::read_images(images, draft);
    }
    let (services, traffic, load) = (fields.get("services"), fields.get("traffic"), fields.get("load"));
    apps::read_apps(services, traffic, load, draft);
    standing::begin(services, draft);
    // What names a group may be among what could not be read.
    if let Some(groups) = groups.filter(|_| !draft.problems.has_errors()) {
        apps::say_unused_groups(groups, draft);
    }
    external::read_metrics(fields.list("external_metrics", &mut draft.problems), draft);
    autoscalers::check_metrics(draft);
    external::read_watched(fields.list("metrics", &mut draft.problems), draft);
    if let Some(activations) = fields.get("activations") {
        external::read_activations(activations, draft);
    }
    script::read_faults(fields.list("faults", &mut draft.problems), draft);
    script::read_actions(fields.list("actions", &mut draft.problems), draft);
    volumes::drop_unknown(draft);
    reach::check(draft);
    read_error_budget(fields.get("error_budget"), draft);
    script::read_claims(fields.list("claims", &mut draft.problems), draft);
    script::read_expectations(fields.list("expect", &mut draft.problems), draft);
    fields.finish(&mut draft.problems);
}

/// The name is the folder that results go to.
fn read_name(fields: &mut Fields<'_>, draft: &mut Draft) {
    let Some(node) = fields.get("name") else { return };
    let Some(name) = reader::text(node, "name", &mut draft.problems) else { return };
    let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    if !plain || name.is_empty() || name.len() > 64 || name.starts_with('.') {
        let message = "name: a name is made of letters, digits, -, _ and .";
        draft.problems.error("E015", node.place, message);
    }
    draft.plan.name = name;
}

fn read_run(node: Option<&Node>, draft: &mut Draft, options: &LoadOptions) {
    let plan = &mut draft.plan;
    let problems = &mut draft.problems;
    let mut length = Span::from_secs(1200);
    if let Some(mut fields) = node.and_then(|node| Fields::of(node, "run", problems)) {
        if let Some(node) = fields.get("start") {
            let expected = "a timestamp such as 2026-01-05T00:00:00Z";
            if let Some(seconds) = reader::unit(node, "run.start", expected, units::timestamp, problems) {
                plan.start = Time::from_unix_seconds(seconds);
            }
        }
        if let Some(until) = fields.duration("until", problems) {
            length = until;
            if until.is_zero() || until > UNTIL_MAX {
                let node = fields.get("until").unwrap_or(fields.node());
                reader::out_of_range(node, "run.until", UNTIL_RANGE, problems);
            }
        }
        if let Some(noise) = fields.on_or_off("noise", problems) {
            plan.noise = noise;
        }
        if let Some(seed) = fields.integer_in("seed", 0, i64::MAX, problems) {
            plan.seed = seed.unsigned_abs();
        }
        fields.finish(problems);
    }
    plan.noise = options.noise.unwrap_or(plan.noise);
    plan.seed = options.seed.unwrap_or(plan.seed);
    plan.until = plan.start + options.until.unwrap_or(length).min(UNTIL_MAX);
}

/// `error_budget:`, the objective of the service.
fn read_error_budget(node: Option<&Node>, draft: &mut Draft) {
    let Some(mut fields) = node.and_then(|node| Fields::of(node, "error_budget", &mut draft.problems)) else { return };
    let budget = &mut draft.plan.error_budget;
    if let Some(node) = fields.get("objective") {
        let expected = "a share such as 99.9%";
        let path = fields.at("objective");
        match reader::unit(node, &path, expected, units::share, &mut draft.problems) {
            Some(share) if share > 0.0 && share < 1.0 => budget.objective = share,
            Some(_) => reader::out_of_range(node, &path, "above 0% and below 100%", &mut draft.problems),
            None => {}
        }
    }
    if let Some(period) = fields.duration("period", &mut draft.problems) {
        budget.period = period;
        if period < Span::from_secs(3_600) {
            let node = fields.get("period").unwrap_or(fields.node());
            reader::out_of_range(node, "error_budget.period", "at least 1h", &mut draft.problems);
        }
    }
    fields.finish(&mut draft.problems);
}

fn read_manifests(fields: &mut Fields<'_>, draft: &mut Draft) {
    for item in fields.list("manifests", &mut draft.problems) {
        let Some(written) = reader::text(item, "manifests", &mut draft.problems) else { continue };
        let found = match draft.files.resolve(&written) {
            Ok(path) => draft.files.manifests(&path),
            Err(error) => {
                files::report_path(error, &written, item, &draft.files, &mut draft.problems);
                draft.problems.is_unread = true;
                continue;
            }
        };
        if found.is_empty() {
            draft.problems.error("E001", item.place, format!("the folder {written} holds no manifests"));
            draft.problems.is_unread = true;
        }
        for path in found {
            let before = draft.problems.error_count();
            let (_, mut documents) = draft.files.documents(&path, Some(item.place), &mut draft.problems);
            draft.problems.is_unread |= draft.problems.error_count() > before;
            for document in &mut documents {
                vary_manifest(document, draft);
                crate::manifest::read_document(document, &mut draft.objects, &mut draft.problems);
            }
        }
    }
}

#[cfg(test)]
mod tests;
