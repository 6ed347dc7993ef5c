//! Where the workloads of autoscalers stand when the run begins: in the middle of a cluster's life, not at its creation.
//!
//! In: Deployments and their autoscalers, and what fields were set to for this run. Out: replicas at the start. A Deployment that
//! leaves `replicas` to its autoscaler begins at `minReplicas` at least, and so does one whose `minReplicas` is set for a study or
//! by `--set`: the question is then what would be if it were so, not how it comes to be so. A Deployment that writes fewer than its
//! autoscaler's `minReplicas` begins with those, is scaled up at the first sync, and that is said.

use super::Draft;
use super::diagnostic::{Diagnostic, Place};
use super::yaml::Node;
use crate::plan::{DeploymentId, HpaSpec};
use std::sync::Arc;

/// Sets replicas at the start; `services` are those of the scenario, which may say them.
pub(crate) fn begin(services: Option<&Node>, draft: &mut Draft) {
    for index in 0..draft.plan.hpas.len() {
        let hpa = draft.plan.hpas[index].clone();
        let Some(deployment) = scaled(&hpa, draft) else { continue };
        let spec = &draft.plan.deployments[deployment.index()];
        let (name, replicas) = (spec.name.clone(), spec.replicas);
        // Of a Deployment at zero the autoscaler is off.
        if replicas == 0 || replicas >= hpa.min_replicas || is_said_for_this_run(&name, draft) {
            continue;
        }
        if min_is_set(&hpa, draft) || !(says_replicas(&hpa, draft) || is_said_by(services, &hpa)) {
            Arc::make_mut(&mut draft.plan.deployments[deployment.index()]).replicas = hpa.min_replicas;
            continue;
        }
        // With errors, what the Deployment says may not have been read.
        if draft.problems.has_errors() {
            continue;
        }
        let place = place_of(&hpa, draft);
        let text = format!(
            "{} {name} begins with {replicas} replicas, below minReplicas {} of its autoscaler: the run begins with that step",
            hpa.target_kind, hpa.min_replicas
        );
        let help = format!(
            "to begin there write services: {{ {name}: {{ replicas: {} }} }}; to leave it out of a statement, `of window 1m..20m`",
            hpa.min_replicas
        );
        draft.problems.push(Diagnostic::note("N111", place, text).help(help));
    }
}

fn scaled(hpa: &HpaSpec, draft: &Draft) -> Option<DeploymentId> {
    draft.plan.deployments.iter().position(|spec| hpa.scales(spec)).map(DeploymentId::at)
}

/// Whether this run alone is given a number of replicas.
fn is_said_for_this_run(name: &str, draft: &Draft) -> bool {
    draft.settings.iter().any(|(setting, _)| match setting.manifest() {
        Some((_, of, path)) => of == name && path == "spec.replicas",
        None => setting.field == format!("services.{name}.replicas"),
    })
}

fn min_is_set(hpa: &HpaSpec, draft: &Draft) -> bool {
    let wanted = ("HorizontalPodAutoscaler", hpa.name.as_str(), "spec.minReplicas");
    draft.settings.iter().any(|(setting, _)| setting.manifest() == Some(wanted))
}

/// Whether the manifest of what is scaled says how many replicas there are.
fn says_replicas(hpa: &HpaSpec, draft: &Draft) -> bool {
    let found = draft.objects.deployments.iter().find(|found| hpa.scales(&found.value.0));
    found.is_some_and(|found| found.references.place_of("replicas").is_some())
}

/// Whether the scenario says how many replicas there are.
fn is_said_by(services: Option<&Node>, hpa: &HpaSpec) -> bool {
    let names = [hpa.target_name.clone(), format!("{}/{}", hpa.namespace, hpa.target_name)];
    names.iter().any(|name| services.and_then(|all| all.get(name)?.get("replicas")).is_some())
}

fn place_of(hpa: &HpaSpec, draft: &Draft) -> Place {
    let found =
        draft.objects.hpas.iter().find(|found| found.value.name == hpa.name && found.value.namespace == hpa.namespace);
    found.map_or(draft.problems_place(), |found| found.references.place_of("minReplicas").unwrap_or(found.place))
}
