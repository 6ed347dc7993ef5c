//! The scale subresource: what an autoscaler reads and writes of its target, Deployment or anything else.

use super::World;
use super::rollout::DeploymentStatus;
use crate::plan::{DeploymentId, DeploymentSpec, HpaId, HpaSpec};
use crate::rules::labels::LabelSelector;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// A scalable object that is no Deployment or StatefulSet of the plan (Rollout, ...): somebody else makes its pods.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct ScaleTarget {
    /// Group of its API.
    pub group: String,
    /// `spec.replicas`.
    pub replicas: i32,
    /// `status.replicas`.
    pub status_replicas: i32,
    /// `status.selector`, as text.
    pub selector: String,
    /// `metadata.resourceVersion`: whoever changes the object raises it.
    pub version: u64,
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
#[derive(Clone, Debug, PartialEq)]
pub enum ScaleSelector {
    /// Empty.
    Missing,
    /// Not a selector.
    Invalid,
    /// A selector.
    Labels(LabelSelector),
    /// That of a Deployment, which is not empty.
    OfDeployment(Arc<DeploymentSpec>),
}

impl ScaleSelector {
    /// The selector, if it is one.
    pub fn labels(&self) -> Option<&LabelSelector> {
        match self {
            ScaleSelector::Missing | ScaleSelector::Invalid => None,
            ScaleSelector::Labels(selector) => Some(selector),
            ScaleSelector::OfDeployment(spec) => Some(&spec.selector),
        }
    }
}

/// A scale as read.
#[derive(Clone, Debug, PartialEq)]
pub struct Scale {
    /// `spec.replicas`.
    pub replicas: i32,
    /// `status.replicas`.
    pub status_replicas: i32,
    /// `status.selector`.
    pub selector: ScaleSelector,
    /// State of the object as read: a write that carries another one meets a conflict.
    pub version: ScaleVersion,
}

/// The state in which an object was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScaleVersion {
    /// Of a Deployment of the plan: its size and its status, which its controllers write too.
    Deployment(i32, DeploymentStatus),
    /// Of anything else.
    Object(u64),
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
    /// The Deployment of the plan that a spec names, which was an autoscaler's when its sync began and mostly still is.
    fn scale_deployment_of(&self, hpa: HpaId, spec: &Arc<HpaSpec>) -> Option<DeploymentId> {
        let searched = || self.deployments.iter().find(|entry| spec.scales(&entry.spec)).map(|entry| entry.id);
        let known = self.hpas.get(hpa.index()).filter(|entry| Arc::ptr_eq(&entry.spec, spec));
        let target = known.and_then(|entry| entry.target);
        debug_assert!(target.is_none() || target == searched(), "a Deployment keeps its name");
        target.or_else(searched)
    }

    /// Reads the scale of the target that an autoscaler's spec names; `None`: it cannot be read.
    pub fn read_scale(&self, hpa: HpaId, spec: &Arc<HpaSpec>) -> Option<Scale> {
        if self.scales.fail_get {
            return None;
        }
        if let Some(target) = self.scale_deployment_of(hpa, spec) {
            let target = &self.deployments[target.index()];
            let selector = if target.spec.selector.is_empty() {
                ScaleSelector::Missing
            } else {
                ScaleSelector::OfDeployment(target.spec.clone())
            };
            let version = ScaleVersion::Deployment(target.replicas, target.status);
            let (replicas, status_replicas) = (target.replicas, target.status.replicas);
            return Some(Scale { replicas, status_replicas, selector, version });
        }
        let target = self.scales.targets.get(&key(spec)).filter(|target| spec.target_group() == Some(&target.group))?;
        let selector = match LabelSelector::parse(&target.selector) {
            _ if target.selector.is_empty() => ScaleSelector::Missing,
            None => ScaleSelector::Invalid,
            Some(selector) => ScaleSelector::Labels(selector),
        };
        let version = ScaleVersion::Object(target.version);
        Some(Scale { replicas: target.replicas, status_replicas: target.status_replicas, selector, version })
    }

    /// Writes `spec.replicas` of the target that an autoscaler's spec names, which was read in the state `read`.
    ///
    /// # Errors
    /// The write did not succeed.
    pub fn write_scale(
        &mut self,
        hpa: HpaId,
        spec: &Arc<HpaSpec>,
        read: ScaleVersion,
        to: i32,
    ) -> Result<(), ScaleError> {
        if self.scales.fail_update {
            return Err(ScaleError::Failed);
        }
        let other = self.scales.conflicts.pop_front();
        let replicas = other.unwrap_or(to);
        let conflict = if let Some(target) = self.scale_deployment_of(hpa, spec) {
            let entry = &self.deployments[target.index()];
            let changed = other.is_none() && read != ScaleVersion::Deployment(entry.replicas, entry.status);
            if !changed {
                self.scale_deployment(target, replicas, other.is_none().then_some(hpa));
            }
            changed
        } else if let Some(target) = self.scales.targets.get_mut(&key(spec)) {
            let changed = other.is_none() && read != ScaleVersion::Object(target.version);
            if !changed {
                target.replicas = replicas;
                target.version += 1;
            }
            changed
        } else {
            return Err(ScaleError::Failed);
        };
        if conflict || other.is_some() { Err(ScaleError::Conflict) } else { Ok(()) }
    }
}

fn key(spec: &HpaSpec) -> (String, String, String) {
    (spec.namespace.clone(), spec.target_kind.clone(), spec.target_name.clone())
}
