//! What a file is: a scenario, a study, or a manifest. One sentence for a file that was given to the wrong command, in the place of
//! one for each of its fields.
//!
//! In: the tree of a file. Out: its kind, told by the keys that only that kind has.

use super::diagnostic::{Diagnostic, Place, Problems};
use super::yaml::{self, Node};

/// What a file can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// What `run` and most commands take.
    Scenario,
    /// What `sweep` takes.
    Study,
    /// An object of Kubernetes, or a template of CloudFormation.
    Manifest,
}

impl Kind {
    /// What it is called, for messages.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Kind::Scenario => "a scenario",
            Kind::Study => "a study",
            Kind::Manifest => "a manifest",
        }
    }
}

/// What a tree is, and the key that tells; a scenario has no key that it must have.
fn of(node: &Node) -> (Kind, Option<Place>) {
    let place = |key: &str| node.entries().iter().find(|entry| &*entry.key == key).map(|entry| entry.key_place);
    let any = |keys: &[&str]| keys.iter().find_map(|key| place(key));
    if let (Some(kind), Some(_)) = (place("kind"), place("apiVersion")) {
        return (Kind::Manifest, Some(kind));
    }
    if let Some(template) = any(&["AWSTemplateFormatVersion", "Resources"]) {
        return (Kind::Manifest, Some(template));
    }
    match any(&["vary", "measure", "hold", "minimise"]) {
        Some(study) => (Kind::Study, Some(study)),
        None => {
            (Kind::Scenario, any(&["manifests", "cluster", "services", "traffic", "load", "run", "expect", "claims"]))
        }
    }
}

/// What a text is, by its first document; `None` where no key tells, or it is no YAML.
pub fn of_text(text: &str) -> Option<Kind> {
    let mut problems = Problems::new();
    let file = problems.add_source("", text.into());
    let documents = yaml::parse(file, text, &mut problems);
    let (kind, place) = of(documents.first()?);
    place.filter(|_| !problems.has_errors()).map(|_| kind)
}

/// True if every document of a text is a manifest, and there is one.
///
/// # Errors
/// What is wrong with a text that says that it holds manifests, and is no YAML.
pub fn holds_manifests(shown: &str, text: &str) -> Result<bool, Problems> {
    let mut problems = Problems::new();
    let file = problems.add_source(shown, text.into());
    let documents = yaml::parse(file, text, &mut problems);
    if problems.has_errors() {
        let says = |key: &str| text.lines().any(|line| line.starts_with(key));
        return if says("apiVersion:") && says("kind:") { Err(problems) } else { Ok(false) };
    }
    let mut written = documents.iter().filter(|document| !document.is_null()).peekable();
    Ok(written.peek().is_some() && written.all(|document| of(document).0 == Kind::Manifest))
}

/// True if the tree is of the kind that is wanted; else the problem is noted, with what to do instead.
pub fn is(wanted: Kind, node: &Node, shown: &str, problems: &mut Problems) -> bool {
    let (found, place) = of(node);
    let Some(place) = place.filter(|_| found != wanted) else { return true };
    let help = match (wanted, found) {
        (_, Kind::Study) => format!("run it with `kubelapse sweep {shown}`"),
        (_, Kind::Scenario) => {
            format!(
                "run it with `kubelapse run {shown}`; a study names it as its `base:` and says what to vary, see docs/studies.md"
            )
        }
        (_, Kind::Manifest) => {
            format!("name it under `manifests:` of a scenario; `kubelapse init --from {shown}` writes one")
        }
    };
    let message = format!("{shown} is {}, and {} is wanted here", found.name(), wanted.name());
    let label = format!("{} begins so", found.name());
    let label = if found == Kind::Manifest { label } else { format!("only {} has this", found.name()) };
    problems.push(Diagnostic::error("E008", place, message).label(label).help(help));
    false
}
