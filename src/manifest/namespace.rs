//! Namespace: only its labels matter.

use super::common::metadata;
use crate::rules::labels::Labels;
use crate::scenario::diagnostic::Problems;
use crate::scenario::reader::Fields;
use crate::scenario::yaml::Node;

/// The label that the API server puts on every namespace.
pub const NAME_LABEL: &str = "kubernetes.io/metadata.name";

/// Name and labels of a Namespace.
pub fn read_namespace(node: &Node, problems: &mut Problems) -> Option<(String, Labels)> {
    let mut object = Fields::of(node, "namespace", problems)?;
    let mut metadata = metadata(&mut object, problems)?;
    metadata.labels.insert(NAME_LABEL, metadata.name.as_str());
    Some((metadata.name, metadata.labels))
}
