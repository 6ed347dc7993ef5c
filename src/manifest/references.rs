//! Where an object names something else, or asks a value of it: known once all objects are read, and then pointed at.
//!
//! In: an object of a manifest. Out: the fields that are checked against other objects, each with its value and place. A field is named
//! by its last key (`topologyKey`), a name within a reference by the reference (`scaleTargetRef`), a label that is asked of nodes by
//! the label.

use crate::scenario::diagnostic::Place;
use crate::scenario::yaml::{Node, Value};

/// Fields whose value names something, or is judged against something else.
const FIELDS: [&str; 10] = [
    "apiVersion",
    "maxUnavailable",
    "minAvailable",
    "topologyKey",
    "priorityClassName",
    "replicas",
    "minReplicas",
    "targetGroupARN",
    "targetGroupName",
    "targetPort",
];
/// Objects whose `name` is that of another object.
const REFERENCES: [&str; 3] = ["scaleTargetRef", "nodeClassRef", "serviceRef"];
/// Where an autoscaler names a metric (`metric`), and the container of which it counts one (`container`).
const METRICS: [&str; 3] = ["resource", "containerResource", "metric"];

/// Where labels are asked of pods: each as `selector`, by its key, at its value.
const SELECTORS: [&str; 2] = ["selector", "matchLabels"];

/// Fields of one object with their values and places.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct References(Vec<(Box<str>, Box<str>, Place)>);

impl References {
    /// Those of an object.
    pub fn of(object: &Node) -> References {
        let mut found = References::default();
        found.look("", object);
        found
    }

    /// Where a field has this value.
    pub fn place(&self, field: &str, value: &str) -> Option<Place> {
        self.0.iter().find(|(own, of, _)| &**own == field && &**of == value).map(|(.., place)| *place)
    }

    /// Where a field stands that an object has once.
    pub fn place_of(&self, field: &str) -> Option<Place> {
        self.0.iter().find(|(own, ..)| &**own == field).map(|(.., place)| *place)
    }

    fn keep(&mut self, field: &str, node: &Node) {
        if let Some(text) = node.text() {
            self.0.push((field.into(), text.into(), node.place));
        }
    }

    fn look(&mut self, owner: &str, node: &Node) {
        match &node.value {
            Value::Sequence(items) => items.iter().for_each(|item| self.look(owner, item)),
            Value::Mapping(entries) => {
                // A requirement: `{ key: LABEL, operator: In, values: [...] }`.
                let label = node.get("key").and_then(Node::text);
                for entry in entries {
                    match (&*entry.key, label) {
                        ("name", _) if REFERENCES.contains(&owner) => self.keep(owner, &entry.value),
                        ("name", _) if METRICS.contains(&owner) => self.keep("metric", &entry.value),
                        ("container", _) if owner == "containerResource" => self.keep("container", &entry.value),
                        ("port", _) if owner == "serviceRef" => self.keep("serviceRef.port", &entry.value),
                        ("values", Some(label)) => entry.value.items().iter().for_each(|item| self.keep(label, item)),
                        (label, _) if SELECTORS.contains(&owner) && entry.value.text().is_some() => {
                            self.0.push(("selector".into(), label.into(), entry.value.place));
                        }
                        (label, _) if owner == "nodeSelector" => self.keep(label, &entry.value),
                        (field, _) if FIELDS.contains(&field) => self.keep(field, &entry.value),
                        (field, _) => self.look(field, &entry.value),
                    }
                }
            }
            Value::Null | Value::Scalar(_) => {}
        }
    }
}
