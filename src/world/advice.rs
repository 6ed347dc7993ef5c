//! Right-sizing advice: what the Vertical Pod Autoscaler's recommender makes of the use it has seen.

use super::World;
use crate::engine::Span;
use crate::plan::DeploymentId;
use crate::rules::quantity::{Bytes, Millicores};
use std::sync::{Arc, LazyLock};

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

type Make = Box<dyn FnOnce() -> Vec<Recommendation> + Send>;

/// What the recommender says, made when somebody first asks: most runs end without that.
#[derive(Clone, Debug, Default)]
pub struct Advice(Option<Arc<LazyLock<Vec<Recommendation>, Make>>>);

impl World {
    /// The recommender will say what `make` says: the recommendations for all Deployments, in their order, and by container
    /// name. Nobody watches them: there is no change to record.
    pub fn advise(&mut self, make: impl FnOnce() -> Vec<Recommendation> + Send + 'static) {
        let make: Make = Box::new(make);
        self.advice = Advice(Some(Arc::new(LazyLock::new(make))));
    }

    /// All recommendations, by Deployment and container name.
    pub fn recommendations(&self) -> &[Recommendation] {
        self.advice.0.as_ref().map_or(&[], |made| made)
    }

    /// The recommendations for a Deployment's containers, by container name.
    pub fn recommendations_of(&self, deployment: DeploymentId) -> &[Recommendation] {
        let all = self.recommendations();
        let start = all.partition_point(|entry| entry.deployment < deployment);
        let end = all.partition_point(|entry| entry.deployment <= deployment);
        &all[start..end]
    }
}
