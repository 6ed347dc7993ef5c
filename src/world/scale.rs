//! The scale subresource: what an autoscaler reads and writes of its target, Deployment or anything else.

use super::World;
use crate::plan::HpaId;
use crate::rules::labels::LabelSelector;
use std::collections::{BTreeMap, VecDeque};

/// A scalable object that is not a Deployment of the plan (StatefulSet, Rollout, ...): somebody else makes its pods.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct ScaleTarget {
    /// `spec.replicas`.
    pub replicas: i32,
    /// `status.replicas`.
    pub status_replicas: i32,
    /// `status.selector`, as text.
    pub selector: String,
}

/// Such objects, and what goes wrong when scales are read and written.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Scales {
    /// By namespace, kind and name.
    pub targets: BTreeMap<(String, String, String), ScaleTarget>,
    /// Reading fails.
    pub fail_get: bool,
    /// Writing fails.
    pub fail_update: bool,
    /// The resource metrics API fails.
    pub fail_pod_metrics: bool,
    /// Just before each of the next writes another actor writes the next of these sizes.
    pub conflicts: VecDeque<i32>,
}

/// `status.selector` of a scale.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScaleSelector {
    /// Empty.
    Missing,
    /// Not a selector.
    Invalid,
    /// A selector.
    Labels(LabelSelector),
}

/// A scale as read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scale {
    /// `spec.replicas`.
    pub replicas: i32,
    /// `status.replicas`.
    pub status_replicas: i32,
    /// `status.selector`.
    pub selector: ScaleSelector,
}

/// Why a scale was not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScaleError {
    /// The object changed since it was read.
    Conflict,
    /// Anything else.
    Failed,
}

impl World {
    /// Reads the scale of an autoscaler's target; `None`: it cannot be read.
    pub fn read_scale(&self, hpa: HpaId) -> Option<Scale> {
        let entry = &self.hpas[hpa.index()];
        if self.scales.fail_get {
            return None;
        }
        if let Some(target) = entry.target {
            let target = &self.deployments[target.index()];
            let selector = target.spec.selector.clone();
            let selector = if selector.is_empty() { ScaleSelector::Missing } else { ScaleSelector::Labels(selector) };
            return Some(Scale { replicas: target.replicas, status_replicas: target.status.replicas, selector });
        }
        let target = self.scales.targets.get(&key(&entry.spec))?;
        let selector = match LabelSelector::parse(&target.selector) {
            _ if target.selector.is_empty() => ScaleSelector::Missing,
            None => ScaleSelector::Invalid,
            Some(selector) => ScaleSelector::Labels(selector),
        };
        Some(Scale { replicas: target.replicas, status_replicas: target.status_replicas, selector })
    }

    /// Writes `spec.replicas` of an autoscaler's target.
    ///
    /// # Errors
    /// The write did not succeed.
    pub fn write_scale(&mut self, hpa: HpaId, to: i32) -> Result<(), ScaleError> {
        if self.scales.fail_update {
            return Err(ScaleError::Failed);
        }
        let other = self.scales.conflicts.pop_front();
        let replicas = other.unwrap_or(to);
        let entry = &self.hpas[hpa.index()];
        if let Some(target) = entry.target {
            self.scale_deployment(target, replicas, other.is_none().then_some(hpa));
        } else if let Some(target) = self.scales.targets.get_mut(&key(&self.hpas[hpa.index()].spec)) {
            target.replicas = replicas;
        } else {
            return Err(ScaleError::Failed);
        }
        if other.is_some() { Err(ScaleError::Conflict) } else { Ok(()) }
    }
}

fn key(spec: &crate::plan::HpaSpec) -> (String, String, String) {
    (spec.namespace.clone(), spec.target_kind.clone(), spec.target_name.clone())
}
