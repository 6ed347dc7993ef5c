//! Recommender of the Vertical Pod Autoscaler: which requests the use that was seen asks for.
//!
//! ```text
//! metrics API --(every minute)--> histories of cpu and memory --> percentile, margin, bounds --> World::recommendations
//! ```
//!
//! Source: `vertical-pod-autoscaler/pkg/recommender` of kubernetes/autoscaler 1.8. One recommendation per container of
//! each Deployment that has a load model, as if a VerticalPodAutoscaler without a policy selected its pods; nothing is
//! applied (`updateMode: Off`). Pods of one ReplicaSet have equal labels, so each revision has histories of its own.
//!
//! Left out: checkpoints and history from Prometheus (a run starts with no history), the garbage collection of
//! histories older than 8 days, whole cores, limit ranges. No container of this world is killed for its memory, so no
//! kill is reported; [`model::Workload::record_oom`] is what it would call.

pub mod estimate;
pub mod histogram;
mod math;
pub mod model;

use crate::components::{self, Cx};
use crate::engine::Purpose;
use crate::plan::DeploymentId;
use crate::plan::flags::VpaFlags;
use crate::rules::quantity::{Bytes, Millicores};
use crate::world::{PodId, Recommendation, RecommendedAmounts, World};
use estimate::Amounts;
use model::{History, Workload};
use std::collections::BTreeSet;

/// Its memory: what the pods of each Deployment have used.
#[derive(Default)]
pub struct VpaRecommender {
    workloads: Vec<(DeploymentId, Workload)>,
}

/// Why it may be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// `--recommender-interval` has passed.
    Tick,
}

impl VpaRecommender {
    /// Schedules the first events: none if there is no load model.
    pub fn start(&mut self, cx: &mut Cx) {
        let deployments: BTreeSet<DeploymentId> = cx.plan.apps.iter().map(|app| app.deployment).collect();
        self.workloads = deployments.into_iter().map(|deployment| (deployment, Workload::default())).collect();
        let period = cx.plan.flags.vpa.period;
        if self.workloads.is_empty() || period.is_zero() {
            return;
        }
        let phase = cx.phase(Purpose::named("vpa_recommender.phase"), 0, period);
        cx.after(phase, components::Event::VpaRecommender(Event::Tick));
    }

    /// Observe, decide, apply, schedule.
    pub fn handle(&mut self, cx: &mut Cx, event: Event) {
        match event {
            Event::Tick => {}
        }
        let flags = &cx.plan.flags.vpa;
        for (deployment, workload) in &mut self.workloads {
            observe(workload, *deployment, cx.world, flags);
            let recommendations = decide(workload, *deployment, flags);
            cx.world.set_recommendations(*deployment, recommendations);
        }
        cx.after(flags.period, components::Event::VpaRecommender(Event::Tick));
    }
}

/// Reads the metrics of a Deployment's pods and forgets the pods that have gone.
fn observe(workload: &mut Workload, deployment: DeploymentId, world: &World, flags: &VpaFlags) {
    let mut existing = BTreeSet::new();
    for &replica_set in &world.deployments[deployment.index()].replica_sets {
        for &pod in &world.replica_sets[replica_set.index()].pods {
            existing.insert(pod.0);
            observe_pod(workload, pod, replica_set.0, world, flags);
        }
    }
    workload.retain_pods(|pod| existing.contains(&pod));
}

/// Reads what the metrics API serves for a pod. What it served before is recognised by its time.
fn observe_pod(workload: &mut Workload, pod: PodId, label_set: u32, world: &World, flags: &VpaFlags) {
    let containers = &world.template_of(pod).containers;
    for container in containers {
        workload.add_container(flags, pod.0, label_set, &container.name);
    }
    let Some(metrics) = world.metrics_of(pod) else { return };
    for usage in &metrics.containers {
        let Some(container) = containers.get(usize::from(usage.container)) else { continue };
        if let Some(nanocores) = usage.cpu_nanocores {
            // The API serves nanocores; the recommender asks for millicores, which round up.
            let millicores = nanocores.div_euclid(1_000_000) + i64::from(nanocores.rem_euclid(1_000_000) != 0);
            workload.add_cpu(pod.0, &container.name, metrics.timestamp, millicores);
        }
        if let Some(bytes) = usage.memory_bytes {
            workload.add_memory(flags, pod.0, &container.name, metrics.timestamp, bytes);
        }
    }
}

/// The recommendations for the containers that were measured, by name.
fn decide(workload: &mut Workload, deployment: DeploymentId, flags: &VpaFlags) -> Vec<Recommendation> {
    let histories = workload.merged(flags);
    let recommended = estimate::recommend(&histories, &[], flags);
    let measured = recommended.into_iter().filter(|(name, _)| histories[name].samples > 0);
    measured
        .map(|(container, entry)| {
            let history = &histories[&container];
            let (first, last) = history.span();
            Recommendation {
                deployment,
                target: amounts(entry.target, history),
                lower_bound: amounts(entry.lower_bound, history),
                upper_bound: amounts(entry.upper_bound, history),
                samples: history.samples,
                history: last.since(first),
                container,
            }
        })
        .collect()
}

/// Whole millicores and bytes; memory that nobody measured has no amount.
fn amounts(amounts: Amounts, history: &History) -> RecommendedAmounts {
    let memory = amounts.memory.filter(|_| !history.memory.is_empty());
    RecommendedAmounts {
        cpu: amounts.cpu.map(|cpu| Millicores(cpu.milli_ceil())),
        memory: memory.map(|memory| Bytes(memory.units_ceil())),
    }
}
