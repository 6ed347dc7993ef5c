//! PriorityClass. Source: `k8s.io/api/scheduling/v1/types.go`.

use super::common::metadata;
use crate::scenario::diagnostic::Problems;
use crate::scenario::reader::Fields;
use crate::scenario::yaml::Node;

/// A PriorityClass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PriorityClass {
    /// `metadata.name`.
    pub name: String,
    /// `value`.
    pub value: i32,
    /// `globalDefault`.
    pub global_default: bool,
    /// `preemptionPolicy: Never`.
    pub never_preempts: bool,
}

/// A PriorityClass.
pub fn read_priority_class(node: &Node, problems: &mut Problems) -> Option<PriorityClass> {
    let mut object = Fields::of(node, "priorityclass", problems)?;
    let metadata = metadata(&mut object, problems)?;
    object.required("value", problems)?;
    let policy = [("PreemptLowerPriority", false), ("Never", true)];
    Some(PriorityClass {
        name: metadata.name,
        value: object.integer_in("value", i32::MIN.into(), 2_000_001_000, problems)? as i32,
        global_default: object.boolean("globalDefault", problems).unwrap_or(false),
        never_preempts: object.choice("preemptionPolicy", &policy, problems).unwrap_or(false),
    })
}
