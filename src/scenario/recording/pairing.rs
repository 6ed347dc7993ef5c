//! Which manifest an action of a recording sent. In: the words of the actions and the files, both in the order in which things
//! were done. Out: for each action its file. Not every action sends one, and words are free, so the pairing that keeps the
//! order and in which words and files fit each other best is taken.

use super::objects::File;
use super::script::load;
use serde_json::Value;

/// A patch fits whatever changes something; the more so the more of it the words name.
const PATCH: u32 = 4;
/// The words name the object.
const NAME: u32 = 4;
/// The words name its kind.
const KIND: u32 = 2;
/// The words name a field or a value; of several so many count.
const FIELDS_MAX: u32 = 3;
/// `apply NAME` with the file of that name.
const APPLIED: u32 = 12;
/// `apply` with the file of another name, and another action with a whole object.
const OBJECT: u32 = 2;

/// The file of each action.
pub fn pair(actions: &[&str], files: &[File]) -> Vec<Option<usize>> {
    // best[a][f]: of the pairings of the actions from `a` and the files from `f` on.
    let mut best = vec![vec![0_u32; files.len() + 1]; actions.len() + 1];
    let fits: Vec<Vec<u32>> = actions.iter().map(|words| files.iter().map(|file| fit(words, file)).collect()).collect();
    for action in (0..actions.len()).rev() {
        for file in (0..files.len()).rev() {
            let together = match fits[action][file] {
                0 => 0,
                fit => fit + best[action + 1][file + 1],
            };
            best[action][file] = together.max(best[action + 1][file]).max(best[action][file + 1]);
        }
    }
    let mut found = vec![None; actions.len()];
    let (mut action, mut file) = (0, 0);
    while action < actions.len() && file < files.len() {
        let fit = fits[action][file];
        if fit > 0 && best[action][file] == fit + best[action + 1][file + 1] {
            found[action] = Some(file);
            (action, file) = (action + 1, file + 1);
        } else if best[action][file] == best[action][file + 1] {
            file += 1;
        } else {
            action += 1;
        }
    }
    found
}

/// How well an action and a file go together; zero: not at all.
fn fit(words: &str, file: &File) -> u32 {
    let lower = words.to_lowercase();
    let said: Vec<&str> = lower.split(|c: char| !(c.is_alphanumeric() || "-./_".contains(c))).collect();
    let says = |word: &str| said.contains(&word.to_lowercase().as_str());
    let verb = said.first().copied().unwrap_or("");
    if load(words).is_some() || words == "end of recording" || ["delete", "drain"].contains(&verb) {
        return 0;
    }
    let Some((kind, _, name)) = &file.patch else {
        let applied = words.strip_prefix("apply ").is_some_and(|name| file.stem == name.trim());
        return match verb {
            "apply" | "create" if applied => APPLIED,
            "cordon" | "uncordon" | "taint" | "scale" => 0,
            _ => OBJECT,
        };
    };
    let unschedulable = |document: &Value| document["spec"].get("unschedulable").is_some();
    if verb.ends_with("cordon") && !(kind == "Node" && file.documents.iter().any(|(_, one)| unschedulable(one))) {
        return 0;
    }
    if verb == "apply" {
        return 1;
    }
    let mut fields = Vec::new();
    file.documents.iter().for_each(|(_, document)| leaves(document, &mut fields));
    let fields = fields.iter().filter(|field| says(field)).count() as u32;
    let short = |kind: &str| {
        match kind {
            "PodDisruptionBudget" => "PDB",
            "HorizontalPodAutoscaler" => "HPA",
            other => other,
        }
        .to_string()
    };
    PATCH + NAME * u32::from(says(name)) + KIND * u32::from(says(kind) || says(&short(kind))) + fields.min(FIELDS_MAX)
}

/// Names of members and values of a tree.
fn leaves(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => members.iter().for_each(|(name, value)| {
            found.push(name.clone());
            leaves(value, found);
        }),
        Value::Array(items) => items.iter().for_each(|item| leaves(item, found)),
        Value::Null => {}
        Value::String(text) => found.push(text.clone()),
        other => found.push(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::diagnostic::{FileId, Place};
    use serde_json::json;

    fn files(all: &[(&str, &str, Value)]) -> Vec<File> {
        let place = Place::top(FileId(0));
        let one = |(stem, kind, document): &(&str, &str, Value)| File {
            stem: stem.to_string(),
            patch: (!kind.is_empty()).then(|| (kind.to_string(), "default".into(), "web".into())),
            documents: vec![(place, document.clone())],
            place,
        };
        all.iter().map(one).collect()
    }

    #[test]
    fn an_action_sends_the_manifest_of_its_name_and_a_change_its_patch() {
        let files = files(&[
            ("nodepool", "", json!({})),
            ("deployment", "", json!({})),
            ("patch", "Deployment", json!({"spec": {"replicas": 5}})),
            ("pdb", "", json!({})),
        ]);
        assert_eq!(pair(&["apply pdb"], &files), [Some(3)]);
        assert_eq!(pair(&["scale 24 -> 5"], &files), [Some(2)]);
        assert_eq!(pair(&["apply something", "apply pdb"], &files), [Some(0), Some(3)]);
        assert_eq!(pair(&["total load := 4 cores", "delete Node web", "end of recording"], &files), [None; 3]);
    }

    #[test]
    fn an_action_that_sends_nothing_takes_no_patch_of_another() {
        let files = files(&[
            ("patch", "Node", json!({"spec": {"unschedulable": true}})),
            ("patch", "Deployment", json!({"spec": {"replicas": 12}})),
            ("patch", "PodDisruptionBudget", json!({"spec": {"minAvailable": 9}})),
        ]);
        let actions = ["cordon web", "restart the scheduler", "scale 6 -> 12", "PDB minAvailable := 9"];
        assert_eq!(pair(&actions, &files), [Some(0), None, Some(1), Some(2)]);
        let actions = ["cordon web", "wait", "scale 6 -> 12", "uncordon web"];
        assert_eq!(pair(&actions, &files[1..2]), [None, None, Some(0), None], "nobody patched the node");
    }
}
