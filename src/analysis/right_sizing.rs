//! Right-sizing: the requests of each container beside what the Vertical Pod Autoscaler's recommender would ask for.
//!
//! In: the recommendations at the end of the run. Out: one row a container that was measured. The bounds are far off
//! until about a day of use has been seen, as the recommender means them to be.

use crate::engine::Span;
use crate::plan::Plan;
use crate::world::{RecommendedAmounts, World};

/// The advice for one container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advice<'a> {
    /// Name of the Deployment.
    pub deployment: &'a str,
    /// Name of the container.
    pub container: &'a str,
    /// What it requests now.
    pub request: RecommendedAmounts,
    /// What it should request.
    pub target: RecommendedAmounts,
    /// A request below it is too small.
    pub lower_bound: RecommendedAmounts,
    /// A request above it is wasteful.
    pub upper_bound: RecommendedAmounts,
    /// CPU samples that the advice rests on.
    pub samples: u64,
    /// Time between the first and the last of them.
    pub history: Span,
}

/// The advice for all containers of all Deployments that were measured.
pub fn advice<'a>(plan: &Plan, world: &'a World) -> Vec<Advice<'a>> {
    let modelled = |deployment| plan.app_of(deployment).is_some();
    let entries = world.recommendations.iter().filter(|entry| modelled(entry.deployment));
    entries
        .map(|entry| {
            let deployment = &world.deployments[entry.deployment.index()];
            let containers = &world.template(deployment.spec.template).containers;
            let container = containers.iter().find(|container| container.name == entry.container);
            let request = container
                .map(|container| RecommendedAmounts { cpu: container.requests.cpu, memory: container.requests.memory });
            Advice {
                deployment: &deployment.spec.name,
                container: &entry.container,
                request: request.unwrap_or_default(),
                target: entry.target,
                lower_bound: entry.lower_bound,
                upper_bound: entry.upper_bound,
                samples: entry.samples,
                history: entry.history,
            }
        })
        .collect()
}
