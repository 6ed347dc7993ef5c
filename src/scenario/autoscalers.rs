//! Autoscalers into the plan: what they scale, and whether they can ever read what they count.
//!
//! In: the autoscalers of the manifests, the templates of what they scale, `external_metrics:`. Out: Plan::hpas, errors of what no run
//! can hold, and warnings of metrics that fail or mean little: an autoscaler that reads nothing is silent in a cluster, too, but
//! for a condition that nobody looks at.

use super::Draft;
use super::diagnostic::{Diagnostic, Place, Problems, suggestion};
use crate::manifest::common::Found;
use crate::plan::{Container, DeploymentId, HpaSpec, MetricSpec, MetricTarget, Plan, PodTemplate};
use crate::rules::resources::ResourceList;
use std::sync::Arc;

/// Replicas of one workload that a run may begin with, and that it may ever want: a bound of memory, far above what Kubernetes is
/// built for.
const REPLICAS_AT_START_MAX: i32 = 10_000;
const REPLICAS_MAX: i32 = 1_000_000;

/// Puts the autoscalers into the plan.
pub(crate) fn place(draft: &mut Draft) {
    let Draft { plan, objects, problems, .. } = draft;
    for found in &objects.hpas {
        let hpa = &found.value;
        let target = found.at("scaleTargetRef", &hpa.target_name);
        if !["Deployment", "StatefulSet"].contains(&hpa.target_kind.as_str()) {
            let text =
                format!("HorizontalPodAutoscaler {} scales a {}, which is not modelled", hpa.name, hpa.target_kind);
            problems.push(Diagnostic::warning("W150", target, text));
        } else if hpa.target_group() != Some("apps") {
            let text = format!(
                "HorizontalPodAutoscaler {} scales a {} of {}, which no cluster has: it fails with FailedGetScale",
                hpa.name,
                hpa.target_kind,
                if hpa.target_version.is_empty() { "no apiVersion" } else { &hpa.target_version }
            );
            let help = "write scaleTargetRef: { apiVersion: apps/v1, ... }";
            problems.push(Diagnostic::warning("W150", target, text).help(help));
        } else if !plan.deployments.iter().any(|deployment| hpa.names(deployment)) {
            let message = format!(
                "HorizontalPodAutoscaler {} scales {} `{}`, which is not in namespace {}",
                hpa.name, hpa.target_kind, hpa.target_name, hpa.namespace
            );
            let same = plan.deployments.iter().filter(|deployment| deployment.kind() == hpa.target_kind);
            let names = same.map(|deployment| deployment.name.as_str());
            problems.push(Diagnostic::error("E016", target, message).suggest(&hpa.target_name, names).missing_object());
        }
        if hpa.min_replicas == 0 && !plan.flags.hpa.scale_to_zero {
            let message = format!("HorizontalPodAutoscaler {}: minReplicas 0 needs the gate HPAScaleToZero", hpa.name);
            let help = "write minReplicas: 1, or controllers: { hpa.scale_to_zero: true } (on from Kubernetes 1.37)";
            let place = found.references.place_of("minReplicas").unwrap_or(found.place);
            problems.push(Diagnostic::error("E015", place, message).help(help));
        }
        for (field, value, most) in
            [("minReplicas", hpa.min_replicas, REPLICAS_AT_START_MAX), ("maxReplicas", hpa.max_replicas, REPLICAS_MAX)]
        {
            if value > most {
                let message = format!("HorizontalPodAutoscaler {}: no run goes beyond {field}: {most}", hpa.name);
                let place = found.references.place_of(field).unwrap_or(found.place);
                problems.push(Diagnostic::error("E015", place, message).label("more than is simulated"));
            }
        }
        plan.hpas.push(Arc::new(hpa.clone()));
    }
}

/// Warns of metrics that an autoscaler can never read, and of memory of which nothing is said.
pub(crate) fn check_metrics(draft: &mut Draft) {
    let Draft { plan, objects, problems, .. } = draft;
    for found in &objects.hpas {
        let Some(target) = plan.deployments.iter().position(|deployment| found.value.scales(deployment)) else {
            continue;
        };
        let look = Look { plan, found, target: DeploymentId::at(target) };
        for metric in &found.value.metrics {
            look.at(metric, problems);
        }
    }
}

/// One autoscaler, and what it scales.
struct Look<'a> {
    plan: &'a Plan,
    found: &'a Found<HpaSpec>,
    target: DeploymentId,
}

impl Look<'_> {
    fn at(&self, metric: &MetricSpec, problems: &mut Problems) {
        match metric {
            MetricSpec::Resource { name, target } => self.resource(name, None, target, problems),
            MetricSpec::ContainerResource { container, name, target } => {
                self.resource(name, Some(container), target, problems);
            }
            MetricSpec::Pods { metric, .. } => self.unserved(metric, "FailedGetPodsMetric", problems),
            MetricSpec::Object { metric, .. } => self.unserved(metric, "FailedGetObjectMetric", problems),
            MetricSpec::External { metric, .. } => self.external(metric, problems),
            MetricSpec::Unknown(_) => {}
        }
    }

    fn template(&self) -> &PodTemplate {
        &self.plan.templates[self.plan.deployments[self.target.index()].template.index()]
    }

    /// Where the autoscaler names a metric, or a container.
    fn place(&self, field: &str, name: &str) -> Place {
        self.found.at(field, name)
    }

    fn name(&self) -> &str {
        &self.found.value.name
    }

    /// That it fails, and what comes of that.
    fn fails(&self, place: Place, text: String, reason: &str, help: String, problems: &mut Problems) {
        let label = format!("{reason}: it never scales by this");
        problems.push(Diagnostic::warning("W167", place, text).label(label).help(help));
    }

    fn resource(&self, resource: &str, container: Option<&str>, target: &MetricTarget, problems: &mut Problems) {
        let place = self.place("metric", resource);
        let (name, template) = (self.name(), self.template());
        if !["cpu", "memory"].contains(&resource) {
            let text = format!("HorizontalPodAutoscaler {name} counts {resource}, which metrics-server does not serve");
            let help = "it serves cpu and memory".to_string();
            return self.fails(place, text, "FailedGetResourceMetric", help, problems);
        }
        let sidecars = template.init_containers.iter().filter(|init| init.restartable);
        let all: Vec<&Container> = template.containers.iter().chain(sidecars).collect();
        if let Some(wanted) = container.filter(|wanted| all.iter().all(|one| one.name != **wanted)) {
            let place = self.place("container", wanted);
            let text = format!(
                "HorizontalPodAutoscaler {name} counts {resource} of a container `{wanted}` that its pods lack"
            );
            let names = all.iter().map(|one| one.name.as_str());
            let help = suggestion(wanted, names.clone())
                .unwrap_or_else(|| format!("their containers are {}", names.collect::<Vec<_>>().join(", ")));
            return self.fails(place, text, "FailedGetContainerResourceMetric", help, problems);
        }
        let by_request = target.average_utilization.is_some() && target.average_value.is_none();
        let of_pod =
            self.plan.flags.hpa.pod_level_resources && container.is_none() && !template.pod_requests.is_empty();
        let mut counted = all.into_iter().filter(|one| container.is_none_or(|wanted| wanted == one.name));
        if let Some(lacking) = counted.find(|one| by_request && !of_pod && !has(&one.requests, resource)) {
            let text = format!(
                "HorizontalPodAutoscaler {name} aims at a utilization of {resource}, and container {} has no request for it",
                lacking.name
            );
            let reason =
                if container.is_some() { "FailedGetContainerResourceMetric" } else { "FailedGetResourceMetric" };
            let help = format!("add resources.requests.{resource} to it, or aim at an averageValue");
            return self.fails(place, text, reason, help, problems);
        }
        if resource == "memory" {
            self.say_unknown_memory(place, problems);
        }
    }

    /// Memory is a number of the scenario; without it, what pods have asked for.
    fn say_unknown_memory(&self, place: Place, problems: &mut Problems) {
        let app = self.plan.app_of(self.target).map(|app| &self.plan.apps[app.index()]);
        if app.is_some_and(|app| app.memory_is_given) {
            return;
        }
        let (name, deployment) = (self.name(), &self.plan.deployments[self.target.index()].name);
        let text =
            format!("HorizontalPodAutoscaler {name} counts memory, and how much pods of {deployment} use is not said");
        let label = match app {
            Some(_) => "they are taken to use all that they request",
            None => "they are taken to use 64Mi each",
        };
        let help = format!("write services: {{ {deployment}: {{ memory: 300Mi }} }}, as `kubectl top pods` shows it");
        problems.push(Diagnostic::warning("W168", place, text).label(label).help(help));
    }

    /// Metrics of pods and objects come from an adapter.
    fn unserved(&self, metric: &str, reason: &str, problems: &mut Problems) {
        let text = format!(
            "HorizontalPodAutoscaler {} counts {metric}, which an adapter of the custom metrics API would serve: none is modelled",
            self.name()
        );
        let help = "write it as an External metric here, and its values under external_metrics".to_string();
        self.fails(self.place("metric", metric), text, reason, help, problems);
    }

    fn external(&self, metric: &str, problems: &mut Problems) {
        let known = self.plan.external_metrics.iter().map(|known| known.name.as_str());
        if known.clone().any(|name| name == metric) {
            return;
        }
        let text =
            format!("HorizontalPodAutoscaler {} counts {metric}, of which external_metrics says nothing", self.name());
        let help = suggestion(metric, known)
            .unwrap_or_else(|| format!("write external_metrics: [{{ name: {metric}, value: 100 }}]"));
        self.fails(self.place("metric", metric), text, "FailedGetExternalMetric", help, problems);
    }
}

fn has(requests: &ResourceList, resource: &str) -> bool {
    if resource == "cpu" { requests.cpu.is_some() } else { requests.memory.is_some() }
}
