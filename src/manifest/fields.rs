//! The names of fields: what `kubectl apply` would refuse is said before anything is made of it.
//!
//! In: an object of a known kind. Out: a problem for each field that its API does not know. One that is nearly another
//! field's name is an error, since whoever wrote it meant that field; any other is a warning, since it may be of a newer
//! API. The table is `fields.txt`.

use crate::scenario::diagnostic::{Diagnostic, Place, Problems, nearest};
use crate::scenario::yaml::{Entry, Node, Value};
use std::collections::BTreeMap;
use std::sync::OnceLock;

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holds {
    /// A value, or anything: not looked into.
    Anything,
    /// An object of that type, or a list of them.
    Type(&'static str),
}

type Types = BTreeMap<&'static str, BTreeMap<&'static str, Holds>>;

fn types() -> &'static Types {
    static TYPES: OnceLock<Types> = OnceLock::new();
    TYPES.get_or_init(|| {
        let (mut types, mut name) = (Types::new(), "");
        for line in include_str!("fields.txt").lines().filter(|line| !line.starts_with('#')) {
            let mut rest = line;
            // A line that is indented goes on with the type before.
            if let Some((first, fields)) = line.split_once(": ").filter(|_| !line.starts_with(' ')) {
                (name, rest) = (first, fields);
            }
            let fields = rest.split_whitespace().map(|field| match field.split_once(':') {
                Some((field, "*")) => (field, Holds::Anything),
                Some((field, of)) => (field, Holds::Type(of)),
                None => (field, Holds::Anything),
            });
            types.entry(name).or_default().extend(fields);
        }
        types
    })
}

/// Looks through an object of a kind.
pub fn check(kind: &str, object: &Node, problems: &mut Problems) {
    if let Some((&kind, _)) = types().get_key_value(kind) {
        look(kind, kind, object, problems);
    }
}

fn look(kind: &str, of: &str, node: &Node, problems: &mut Problems) {
    let Some(fields) = types().get(of) else { return };
    match &node.value {
        Value::Sequence(_) => node.items().iter().for_each(|item| look(kind, of, item, problems)),
        Value::Mapping(_) => {
            for entry in node.entries() {
                match fields.get(&*entry.key) {
                    Some(Holds::Type(of)) => look(kind, of, &entry.value, problems),
                    Some(Holds::Anything) => {}
                    None => unknown(kind, of, entry, node.place, fields.keys().copied(), problems),
                }
            }
        }
        Value::Scalar(_) | Value::Null => {}
    }
}

fn unknown(
    kind: &str,
    of: &str,
    entry: &Entry,
    owner: Place,
    known: impl Iterator<Item = &'static str>,
    problems: &mut Problems,
) {
    let within = if kind == of { String::new() } else { format!(" ({of})") };
    let (key, place) = (&*entry.key, entry.key_place);
    let message = format!("{kind} has no field `{key}` here{within}");
    let known: Vec<&str> = known.collect();
    let said = match nearest(key, known.iter().copied()) {
        Some(near) => Diagnostic::error("E010", place, message).suggest(key, known).about_key(owner, near),
        None => Diagnostic::warning("W116", place, message).help("passed over; the API server would refuse it"),
    };
    problems.push(said.label("unknown field"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_that_is_named_is_there() {
        for (name, fields) in types() {
            for (field, holds) in fields {
                if let Holds::Type(of) = holds {
                    assert!(types().contains_key(of), "{name}.{field} is a {of}");
                }
            }
        }
        let deployment = &types()["DeploymentSpec"];
        assert_eq!(deployment["template"], Holds::Type("PodTemplateSpec"));
        assert_eq!(types()["PodSpec"]["containers"], Holds::Type("Container"));
        assert!(super::super::KINDS.iter().all(|(_, kind)| *kind == "List" || types().contains_key(kind)));
    }
}
