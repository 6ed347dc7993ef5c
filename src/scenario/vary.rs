//! Variations of a scenario: what a file that names a `base:` says otherwise, and single fields set to other values.
//!
//! ```text
//!  base tree + own tree ─► overlay: mappings are merged key by key, everything else is replaced
//!  field = value        ─► services.shop.cpu_per_request=200ms, or of a manifest: HorizontalPodAutoscaler/shop.spec.minReplicas=4
//! ```
//! A field is named by its path; keys that hold dots (`instance.boot`) are found, items of a list are `[0]`.

use super::diagnostic::{Diagnostic, Place, Problems, suggestion};
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

/// Sets a field of a tree. A list item must exist; the last key of a mapping may be new.
///
/// # Errors
/// Which part of the path is not there, and what is.
pub fn set(tree: &mut Node, path: &str, value: &Node) -> Result<(), (String, Option<String>)> {
    if path.is_empty() {
        *tree = value.clone();
        return Ok(());
    }
    if let Some(rest) = path.strip_prefix('[') {
        let (number, rest) = rest.split_once(']').unwrap_or((rest, ""));
        let Value::Sequence(items) = &mut tree.value else {
            return Err((format!("`[{number}]` asks for an item, but here is {}", tree.describe()), None));
        };
        let count = items.len();
        let item = number.parse::<usize>().ok().and_then(|index| items.get_mut(index));
        let item =
            item.ok_or_else(|| (format!("there is no item [{number}]: the list has {count}, from [0]"), None))?;
        return set(item, rest.strip_prefix('.').unwrap_or(rest), value);
    }
    let described = tree.describe();
    let place = tree.place;
    let Value::Mapping(entries) = &mut tree.value else {
        return Err((format!("`{path}` asks for a field, but here is {described}"), None));
    };
    // The longest key that is there: keys may hold dots themselves.
    let fits = |key: &str| {
        path.strip_prefix(key).is_some_and(|rest| rest.is_empty() || rest.starts_with('.') || rest.starts_with('['))
    };
    let found = entries.iter_mut().filter(|entry| fits(&entry.key)).max_by_key(|entry| entry.key.len());
    if let Some(entry) = found {
        let rest = &path[entry.key.len()..];
        return set(&mut entry.value, rest.strip_prefix('.').unwrap_or(rest), value);
    }
    // A field below one that is not written: `services.shop.start` where there are no services yet.
    let first = path.split(['.', '[']).next().unwrap_or(path);
    let rest = &path[first.len()..];
    if !rest.is_empty() {
        let known: Vec<&str> = entries.iter().map(|entry| &*entry.key).collect();
        let near = super::diagnostic::nearest(first, known.iter().copied());
        if near.is_some() || rest.starts_with('[') {
            return Err((format!("there is no `{first}` here"), suggestion(first, known.iter().copied())));
        }
        let mut fresh = Node { place, value: Value::Mapping(Vec::new()) };
        set(&mut fresh, rest.trim_start_matches('.'), value)?;
        entries.push(Entry { key: first.into(), key_place: value.place, value: fresh });
        return Ok(());
    }
    entries.push(Entry { key: path.into(), key_place: value.place, value: value.clone() });
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
        if let Err((message, help)) = set(tree, &path, value) {
            let message = format!("{}: {message}", setting.field);
            problems.push(Diagnostic::error("E016", value.place, message).maybe_help(help));
        }
    }
    used
}

/// The values of settings as trees, each a source of its own so that a problem with it can be shown.
pub fn parse(settings: &[Setting], problems: &mut Problems) -> Vec<(Setting, Node)> {
    let mut parsed = Vec::new();
    for setting in settings {
        let source = problems.add_source(format!("set {}", setting.field), setting.value.as_str().into());
        let node = super::yaml::parse_one(source, &setting.value, problems);
        let node = node.unwrap_or(Node { place: Place::top(source), value: Value::Null });
        parsed.push((setting.clone(), node));
    }
    parsed
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
        set(&mut base, "timings.instance.boot", &value).unwrap();
        set(&mut base, "list[1].at", &value).unwrap();
        set(&mut base, "services.shop.start", &value).unwrap();
        assert_eq!(base.get("timings").unwrap().get("instance.boot").unwrap().text(), Some("9s"));
        assert_eq!(base.get("timings").unwrap().entries().len(), 1);
        assert_eq!(base.get("list").unwrap().items()[1].get("at").unwrap().text(), Some("9s"));
        assert_eq!(base.get("services").unwrap().get("shop").unwrap().get("start").unwrap().text(), Some("9s"));
        assert!(set(&mut base, "list[2].at", &value).unwrap_err().0.contains("the list has 2"));
        let (_, help) = set(&mut base, "timigs.x", &value).unwrap_err();
        assert!(help.unwrap().contains("timings"));
    }

    #[test]
    fn a_manifest_is_named_by_kind_and_name() {
        let setting = |field: &str| Setting { field: field.to_string(), value: String::new() };
        let hpa = setting("HorizontalPodAutoscaler/word.press.spec.minReplicas");
        assert_eq!(hpa.manifest(), Some(("HorizontalPodAutoscaler", "word.press", "spec.minReplicas")));
        assert_eq!(setting("services.shop.start").manifest(), None);
    }
}
