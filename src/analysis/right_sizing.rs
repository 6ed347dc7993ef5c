//! Right-sizing: the requests of each container beside what the Vertical Pod Autoscaler's recommender would ask for.
//!
//! In: the recommendations at the end of the run. Out: one row a container that was measured. The bounds are far off
//! until about a day of use has been seen, as the recommender means them to be. Where the scenario does not say how much memory
//! an application takes there is none to advise: the run takes it to be what is requested.

use crate::engine::Span;
use crate::plan::Plan;
use crate::rules::resources::ResourceList;
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
    /// Its limits.
    pub limit: RecommendedAmounts,
    /// What it should request; of memory nothing unless the scenario says how much is used.
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

impl Advice<'_> {
    /// What should be requested is more than the limit allows: (cpu, memory).
    pub fn above_limit(&self) -> (bool, bool) {
        let cpu = self.target.cpu.zip(self.limit.cpu).is_some_and(|(target, limit)| target > limit);
        let memory = self.target.memory.zip(self.limit.memory).is_some_and(|(target, limit)| target > limit);
        (cpu, memory)
    }
}

/// The advice for all containers of all Deployments that were measured.
pub fn advice<'a>(plan: &Plan, world: &'a World) -> Vec<Advice<'a>> {
    let modelled = |deployment| plan.app_of(deployment).is_some();
    let entries = world.recommendations().iter().filter(|entry| modelled(entry.deployment));
    entries
        .map(|entry| {
            let deployment = &world.deployments[entry.deployment.index()];
            let containers = &world.template(deployment.spec.template).containers;
            let container = containers.iter().find(|container| container.name == entry.container);
            let of = |list: &ResourceList| RecommendedAmounts { cpu: list.cpu, memory: list.memory };
            // Of the memory of further containers no scenario says anything.
            let first = containers.first().is_some_and(|container| container.name == entry.container);
            let app = plan.app_of(entry.deployment).map(|app| &plan.apps[app.index()]);
            let known = first && app.is_some_and(|app| app.memory_is_given);
            let told = |amounts: RecommendedAmounts| RecommendedAmounts {
                memory: amounts.memory.filter(|_| known),
                ..amounts
            };
            Advice {
                deployment: &deployment.spec.name,
                container: &entry.container,
                request: container.map(|container| of(&container.requests)).unwrap_or_default(),
                limit: container.map(|container| of(&container.limits)).unwrap_or_default(),
                target: told(entry.target),
                lower_bound: told(entry.lower_bound),
                upper_bound: told(entry.upper_bound),
                samples: entry.samples,
                history: entry.history,
            }
        })
        .collect()
}
