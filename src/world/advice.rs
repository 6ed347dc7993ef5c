//! Right-sizing advice: what the Vertical Pod Autoscaler's recommender makes of the use it has seen.

use super::World;
use crate::engine::Span;
use crate::plan::DeploymentId;
use crate::rules::quantity::{Bytes, Millicores};

/// The present recommendation for one container of a Deployment's pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recommendation {
    /// Whose pods.
    pub deployment: DeploymentId,
    /// Name of the container.
    pub container: String,
    /// The request to set.
    pub target: RecommendedAmounts,
    /// A request below it is too small.
    pub lower_bound: RecommendedAmounts,
    /// A request above it is wasteful. Far off until about a day of history is there.
    pub upper_bound: RecommendedAmounts,
    /// CPU samples of all pods it rests on.
    pub samples: u64,
    /// Time between the first and the last of them.
    pub history: Span,
}

/// Amounts of a recommendation; `None`: that resource was never measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct RecommendedAmounts {
    /// CPU.
    pub cpu: Option<Millicores>,
    /// Memory.
    pub memory: Option<Bytes>,
}

impl World {
    /// Replaces the recommendations for a Deployment's containers. Nobody watches them: there is no change to record.
    pub fn set_recommendations(&mut self, deployment: DeploymentId, recommendations: Vec<Recommendation>) {
        let start = self.recommendations.partition_point(|entry| entry.deployment < deployment);
        let end = self.recommendations.partition_point(|entry| entry.deployment <= deployment);
        self.recommendations.splice(start..end, recommendations);
    }

    /// The recommendations for a Deployment's containers, by container name.
    pub fn recommendations_of(&self, deployment: DeploymentId) -> &[Recommendation] {
        let start = self.recommendations.partition_point(|entry| entry.deployment < deployment);
        let end = self.recommendations.partition_point(|entry| entry.deployment <= deployment);
        &self.recommendations[start..end]
    }
}
