//! Variations of a scenario: what a file that names a `base:` says otherwise, and single fields set to other values.
//!
//! ```text
//!  base tree + own tree ─► overlay: mappings are merged key by key, everything else is replaced
//!  field = value        ─► services.shop.cpu_per_request=200ms, or of a manifest: HorizontalPodAutoscaler/shop.spec.minReplicas=4
//! ```
//! A field is named by its path; keys that hold dots (`instance.boot`) are found, items of a list are `[0]`.

use super::diagnostic::{COMMAND_LINE, Diagnostic, Place, Problems, suggestion};
use super::yaml::{Entry, Node, Value};

/// A field and the value that it is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The path: of the scenario, or `Kind/name` and the path within that manifest.
    pub field: String,
    /// The value, as YAML.
    pub value: String,
}

impl Setting {
    /// Kind and name of the manifest that it is about, and the path within it.
    pub fn manifest(&self) -> Option<(&str, &str, &str)> {
        let (kind, rest) = self.field.split_once('/')?;
        let end = rest.find(".spec").or_else(|| rest.find(".metadata")).or_else(|| rest.find('.'))?;
        (!kind.contains('.')).then(|| (kind, &rest[..end], &rest[end + 1..]))
    }
}

/// `over` laid upon `base`: mappings key by key, anything else as a whole.
pub fn overlay(base: &mut Node, over: &Node) {
    let Value::Mapping(entries) = &mut base.value else {
        *base = over.clone();
        return;
    };
    if !matches!(over.value, Value::Mapping(_)) {
        *base = over.clone();
        return;
    }
    for entry in over.entries() {
        match entries.iter_mut().find(|known| known.key == entry.key) {
            Some(known) => overlay(&mut known.value, &entry.value),
            None => entries.push(entry.clone()),
        }
    }
}

/// Traffic in its short form (`shop: 8/s`, `shop: [...]`) is written out where a setting names a field beside its curve
/// (`traffic.shop.mode`).
pub fn make_room(scenario: &mut Node, settings: &[(Setting, Node)]) {
    let Value::Mapping(sections) = &mut scenario.value else { return };
    let Some(traffic) = sections.iter_mut().find(|section| &*section.key == "traffic") else { return };
    let Value::Mapping(services) = &mut traffic.value.value else { return };
    for service in services {
        let field = format!("traffic.{}.", service.key);
        let short = matches!(service.value.value, Value::Scalar(_) | Value::Sequence(_));
        if short && settings.iter().any(|(setting, _)| setting.field.starts_with(&field)) {
            let place = service.value.place;
            let curve = std::mem::replace(&mut service.value, Node { place, value: Value::Null });
            let entry = Entry { key: "curve".into(), key_place: place, value: curve };
            service.value.value = Value::Mapping(vec![entry]);
        }
    }
}

/// A part of a path that is not there.
#[derive(Debug)]
pub struct Missing {
    /// Where the setting names it.
    pub place: Place,
    /// What is wrong with it.
    pub message: String,
    /// What it could be instead.
    pub help: Option<String>,
}

/// Where a setting names its field.
pub fn key_place(setting: &Setting, value: &Node) -> Place {
    Place { end: setting.field.len() as u32, ..Place::top(value.place.file) }
}

/// The first bytes of what is left of a path, as a place of the setting that ends with it.
fn part(field: Place, path: &str, length: usize) -> Place {
    let start = field.end.saturating_sub(path.len() as u32);
    Place { start, end: start + length as u32, column: start + 1, ..field }
}

/// Sets a field of a tree. A list item must exist; the last key of a mapping may be new.
///
/// # Errors
/// Which part of the path is not there, and what is.
pub fn set(tree: &mut Node, path: &str, value: &Node, field: Place) -> Result<(), Missing> {
    let missing = |length: usize, message: String, help: Option<String>| {
        let place = part(field, path, length);
        Err(Missing { place, message, help })
    };
    if path.is_empty() {
        *tree = value.clone();
        return Ok(());
    }
    if let Some(rest) = path.strip_prefix('[') {
        let (number, rest) = rest.split_once(']').unwrap_or((rest, ""));
        let Value::Sequence(items) = &mut tree.value else {
            let message = format!("`[{number}]` asks for an item, but here is {}", tree.describe());
            return missing(number.len() + 2, message, None);
        };
        let count = items.len();
        let item = number.parse::<usize>().ok().and_then(|index| items.get_mut(index));
        let Some(item) = item else {
            let message = format!("there is no item [{number}]: the list has {count}, from [0]");
            return missing(number.len() + 2, message, None);
        };
        return set(item, rest.strip_prefix('.').unwrap_or(rest), value, field);
    }
    let described = tree.describe();
    let place = tree.place;
    let Value::Mapping(entries) = &mut tree.value else {
        return missing(path.len(), format!("`{path}` asks for a field, but here is {described}"), None);
    };
    // The longest key that is there: keys may hold dots themselves.
    let fits = |key: &str| {
        path.strip_prefix(key).is_some_and(|rest| rest.is_empty() || rest.starts_with('.') || rest.starts_with('['))
    };
    let found = entries.iter_mut().filter(|entry| fits(&entry.key)).max_by_key(|entry| entry.key.len());
    if let Some(entry) = found {
        let rest = &path[entry.key.len()..];
        return set(&mut entry.value, rest.strip_prefix('.').unwrap_or(rest), value, field);
    }
    // A field below one that is not written: `services.shop.start` where there are no services yet.
    let first = path.split(['.', '[']).next().unwrap_or(path);
    let rest = &path[first.len()..];
    if !rest.is_empty() {
        let known: Vec<&str> = entries.iter().map(|entry| &*entry.key).collect();
        let near = super::diagnostic::nearest(first, known.iter().copied());
        if near.is_some() || rest.starts_with('[') {
            let help = suggestion(first, known.iter().copied());
            return missing(first.len(), format!("there is no `{first}` here"), help);
        }
        let mut fresh = Node { place, value: Value::Mapping(Vec::new()) };
        set(&mut fresh, rest.trim_start_matches('.'), value, field)?;
        entries.push(Entry { key: first.into(), key_place: part(field, path, first.len()), value: fresh });
        return Ok(());
    }
    let key_place = part(field, path, path.len());
    entries.push(Entry { key: path.into(), key_place, value: value.clone() });
    Ok(())
}

/// Sets what settings say of this tree; `what` chooses them and gives the path. Returns which were used.
pub fn apply(
    tree: &mut Node,
    settings: &[(Setting, Node)],
    what: impl Fn(&Setting) -> Option<String>,
    problems: &mut Problems,
) -> Vec<usize> {
    let mut used = Vec::new();
    for (index, (setting, value)) in settings.iter().enumerate() {
        let Some(path) = what(setting) else { continue };
        used.push(index);
        if let Err(missing) = set(tree, &path, value, key_place(setting, value)) {
            let message = format!("{}: {}", setting.field, missing.message);
            problems.push(Diagnostic::error("E016", missing.place, message).maybe_help(missing.help));
        }
    }
    used
}

/// The values of settings as trees, each with its setting as source so that a problem with either side can be shown.
pub fn parse(settings: &[Setting], problems: &mut Problems) -> Vec<(Setting, Node)> {
    let mut parsed = Vec::new();
    for setting in settings {
        let source = problems.add_source(COMMAND_LINE, format!("{}={}", setting.field, setting.value).into());
        let (bytes, characters) = (setting.field.len() as u32 + 1, setting.field.chars().count() as u32 + 1);
        let mut own = Problems::new();
        let node = super::yaml::parse_one(source, &setting.value, &mut own);
        for problem in own.sorted() {
            let place = problem.place.map(|place| place.behind(bytes, characters));
            problems.push(Diagnostic { place, ..problem.clone() });
        }
        let mut node = node.unwrap_or(Node { place: Place::top(source), value: Value::Null });
        move_behind(&mut node, bytes, characters);
        parsed.push((setting.clone(), node));
    }
    parsed
}

fn move_behind(node: &mut Node, bytes: u32, characters: u32) {
    node.place = node.place.behind(bytes, characters);
    match &mut node.value {
        Value::Sequence(items) => items.iter_mut().for_each(|item| move_behind(item, bytes, characters)),
        Value::Mapping(entries) => entries.iter_mut().for_each(|entry| {
            entry.key_place = entry.key_place.behind(bytes, characters);
            move_behind(&mut entry.value, bytes, characters);
        }),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::yaml;

    fn tree(text: &str) -> Node {
        let mut problems = Problems::new();
        let file = problems.add_source("test", text.into());
        yaml::parse_one(file, text, &mut problems).unwrap()
    }

    #[test]
    fn an_overlay_merges_mappings_and_replaces_the_rest() {
        let mut base = tree("services: { shop: { workers: 10, start: 3s } }\nmanifests: [a, b]\n");
        overlay(&mut base, &tree("services: { shop: { start: 9s } }\nmanifests: [c]\nname: x\n"));
        let shop = base.get("services").unwrap().get("shop").unwrap();
        assert_eq!((shop.get("workers").unwrap().text(), shop.get("start").unwrap().text()), (Some("10"), Some("9s")));
        assert_eq!(base.get("manifests").unwrap().items().len(), 1);
        assert_eq!(base.get("name").unwrap().text(), Some("x"));
    }

    #[test]
    fn fields_are_found_by_path() {
        let text = "timings: { instance.boot: 3s }\nlist: [{ at: 1s }, { at: 2s }]\n";
        let mut base = tree(text);
        let value = tree("9s");
        let field = |path: &str| Place { end: path.len() as u32, ..Place::top(value.place.file) };
        let set = |tree: &mut Node, path: &str, value: &Node| super::set(tree, path, value, field(path));
        set(&mut base, "timings.instance.boot", &value).unwrap();
        set(&mut base, "list[1].at", &value).unwrap();
        set(&mut base, "services.shop.start", &value).unwrap();
        assert_eq!(base.get("timings").unwrap().get("instance.boot").unwrap().text(), Some("9s"));
        assert_eq!(base.get("timings").unwrap().entries().len(), 1);
        assert_eq!(base.get("list").unwrap().items()[1].get("at").unwrap().text(), Some("9s"));
        assert_eq!(base.get("services").unwrap().get("shop").unwrap().get("start").unwrap().text(), Some("9s"));
        assert!(set(&mut base, "list[2].at", &value).unwrap_err().message.contains("the list has 2"));
        let missing = set(&mut base, "timigs.x", &value).unwrap_err();
        assert!(missing.help.unwrap().contains("timings"));
        assert_eq!((missing.place.start, missing.place.end), (0, 6), "the caret is under the key that is wrong");
        let missing = set(&mut base, "list[2].at", &value).unwrap_err();
        assert_eq!((missing.place.start, missing.place.end), (4, 7));
    }

    #[test]
    fn a_manifest_is_named_by_kind_and_name() {
        let setting = |field: &str| Setting { field: field.to_string(), value: String::new() };
        let hpa = setting("HorizontalPodAutoscaler/word.press.spec.minReplicas");
        assert_eq!(hpa.manifest(), Some(("HorizontalPodAutoscaler", "word.press", "spec.minReplicas")));
        assert_eq!(setting("services.shop.start").manifest(), None);
    }
}
