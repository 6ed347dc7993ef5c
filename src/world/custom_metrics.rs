//! Metrics that somebody else's adapter serves: custom metrics of pods and objects, and external metrics.

use super::ids::PodId;
use crate::rules::labels::{LabelSelector, Labels};
use std::collections::BTreeMap;

/// What the custom and external metrics APIs serve; values in milli-units. An absent entry answers "not found".
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct CustomMetrics {
    /// By metric and metric selector: value of each pod.
    pub pods: BTreeMap<(String, Option<LabelSelector>), BTreeMap<PodId, i64>>,
    /// By object (`Kind.group/name`), metric and metric selector.
    pub objects: BTreeMap<(String, String, Option<LabelSelector>), i64>,
    /// By metric: series with their labels.
    pub external: BTreeMap<String, Vec<(Labels, i64)>>,
}
