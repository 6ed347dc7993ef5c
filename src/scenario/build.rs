//! Objects into the plan: ids assigned, names resolved, admission done.

use super::diagnostic::{Diagnostic, Place, Problems, nearest};
use super::{Draft, autoscalers};
use crate::engine::Span;
use crate::manifest::common::Found;
use crate::manifest::namespace::NAME_LABEL;
use crate::manifest::node_class::{AUTO_MODE, auto_class};
use crate::manifest::pod::SYSTEM_CLASSES;
use crate::manifest::{admit, admit_daemon};
use crate::plan::{
    DeploymentSpec, HealthCheck, Image, InitialPod, IntOrPercent, NodeClassId, Plan, PodTemplate, RoutingAlgorithm,
    TargetGroup, TargetGroupId, TemplateId,
};
use crate::rules::labels::{LabelOperator, LabelRequirement, LabelSelector, Labels};
use crate::rules::quantity::Bytes;
use std::sync::Arc;

/// Puts all objects of the manifests into the plan.
pub(crate) fn place_objects(draft: &mut Draft) {
    place_names(draft);
    let objects = &draft.objects;
    let default_class = objects.priority_classes.iter().find(|class| class.value.global_default);
    let default_class = default_class.map(|class| class.value.name.clone());
    for found in objects.deployments.clone() {
        let place = found.at_class(&found.value.1);
        let (mut spec, template) = found.value;
        spec.template = place_template(template, place, default_class.as_deref(), &mut draft.plan, &mut draft.problems);
        draft.plan.deployments.push(Arc::new(spec));
    }
    for found in draft.objects.daemon_sets.clone() {
        let place = found.at_class(&found.value.1);
        let (mut spec, mut template) = found.value;
        admit_daemon(&mut template);
        spec.template = place_template(template, place, default_class.as_deref(), &mut draft.plan, &mut draft.problems);
        draft.plan.daemon_sets.push(Arc::new(spec));
    }
    for found in draft.objects.pods.clone() {
        let place = found.at_class(&found.value.1);
        let (name, template) = found.value;
        let template = place_template(template, place, default_class.as_deref(), &mut draft.plan, &mut draft.problems);
        draft.plan.pods.push(InitialPod { name, template, node: None });
    }
    let plan = &mut draft.plan;
    plan.pdbs = draft.objects.pdbs.iter().map(|found| Arc::new(found.value.clone())).collect();
    for found in &draft.objects.pod_quotas {
        let (namespace, most) = &found.value;
        let smallest = plan.pod_quotas.entry(namespace.clone()).or_insert(*most);
        *smallest = (*smallest).min(*most);
    }
    plan.services = draft.objects.services.iter().map(|found| Arc::new(found.value.clone())).collect();
    plan.node_classes = draft.objects.node_classes.iter().map(|found| Arc::new(found.value.clone())).collect();
    autoscalers::place(draft);
    place_pools(draft);
    place_bindings(draft);
    place_alarms(draft);
    say_lonely_services(draft);
    say_lonely_budgets(draft);
    say_blocking_budgets(draft);
}

/// A Service that selects no pod of any template is legal, and nearly always a misspelt label.
fn say_lonely_services(draft: &mut Draft) {
    let Draft { plan, objects, problems, .. } = draft;
    for found in &objects.services {
        let service = &found.value;
        let selects = plan.templates.iter().any(|template| service.selects(template));
        if service.selector.is_some() && !service.external_name && !selects {
            let text = format!("Service {} selects no pod of any manifest", service.name);
            let near = near_label(service.selector.as_ref(), &service.namespace, plan);
            let place = selector_place(found, near.as_ref());
            let help = near.map_or_else(
                || "its selector must equal labels of the pod template, in the same namespace".to_string(),
                |(_, help)| help,
            );
            problems.push(Diagnostic::warning("W132", place, text).label("it selects nothing").help(help));
        }
    }
}

/// A PodDisruptionBudget that counts no pod of any template protects nothing.
fn say_lonely_budgets(draft: &mut Draft) {
    let Draft { plan, objects, problems, .. } = draft;
    for found in &objects.pdbs {
        let budget = &found.value;
        if plan.templates.iter().any(|template| budget.matches(template)) {
            continue;
        }
        let text = format!("PodDisruptionBudget {} selects no pod of any manifest", budget.name);
        let near = near_label(budget.selector.as_ref(), &budget.namespace, plan);
        let place = selector_place(found, near.as_ref());
        let help = near.map_or_else(
            || "its selector must match labels of the pod template, in the same namespace".to_string(),
            |(_, help)| help,
        );
        problems.push(Diagnostic::warning("W142", place, text).label("it protects nothing").help(help));
    }
}

/// A PodDisruptionBudget that never allows an eviction is legal, and holds up whatever drains nodes.
fn say_blocking_budgets(draft: &mut Draft) {
    let Draft { plan, objects, problems, .. } = draft;
    for found in &objects.pdbs {
        let budget = &found.value;
        let counted = || plan.deployments.iter().filter(|spec| budget.matches(&plan.templates[spec.template.index()]));
        let most = |spec: &DeploymentSpec| {
            let scaling = plan.hpas.iter().filter(|hpa| hpa.scales(spec)).map(|hpa| hpa.max_replicas);
            scaling.max().unwrap_or(0).max(spec.replicas)
        };
        let replicas: i32 = counted().map(|spec| most(spec)).fold(0, i32::saturating_add);
        let (field, said) = match (budget.max_unavailable, budget.min_available) {
            (Some(IntOrPercent::Int(0) | IntOrPercent::Percent(0)), _) => {
                ("maxUnavailable", "maxUnavailable is 0".to_string())
            }
            (_, Some(IntOrPercent::Percent(100..))) => ("minAvailable", "minAvailable is 100%".to_string()),
            (_, Some(IntOrPercent::Int(least))) if least >= replicas => {
                ("minAvailable", format!("minAvailable is {least}, and there are never more than {replicas}"))
            }
            _ => continue,
        };
        // One that counts nothing is told as that.
        let Some(one) = counted().next() else { continue };
        let text = format!("PodDisruptionBudget {} never allows an eviction of {}: {said}", budget.name, one.name);
        let help = "no drain ends before its nodes do: no consolidation or drift of them, and a spot node goes down with its pods; \
                    write maxUnavailable: 1";
        let place = found.references.place_of(field).unwrap_or(found.place);
        problems.push(Diagnostic::warning("W170", place, text).label("it allows nothing").help(help));
    }
}

/// The label of a pod of the namespace that a selector nearly asks for.
fn near_label<'s>(
    selector: Option<&'s LabelSelector>,
    namespace: &str,
    plan: &Plan,
) -> Option<(&'s LabelRequirement, String)> {
    let templates = plan.templates.iter().filter(|template| template.namespace == namespace);
    let labels: Vec<(&str, &str)> = templates.flat_map(|template| &template.labels).collect();
    let near = |asked: &'s LabelRequirement| {
        let wanted = asked.values.first().filter(|_| asked.operator == LabelOperator::In)?;
        let of_key = labels.iter().filter(|(key, _)| *key == asked.key).map(|&(_, value)| value);
        if let Some(value) = nearest(wanted, of_key).filter(|near| near != wanted) {
            return Some((asked, format!("did you mean `{}: {value}`?", asked.key)));
        }
        let of_value = labels.iter().filter(|(_, value)| value == wanted).map(|&(key, _)| key);
        let key = nearest(&asked.key, of_value).filter(|near| *near != asked.key)?;
        Some((asked, format!("did you mean `{key}: {wanted}`?")))
    };
    selector?.requirements.iter().find_map(near)
}

/// Where the label stands that is nearly one of pods; else where the selector begins.
fn selector_place<T>(found: &Found<T>, near: Option<&(&LabelRequirement, String)>) -> Place {
    let of_label = near.and_then(|(asked, _)| found.references.place("selector", &asked.key));
    of_label.or_else(|| found.references.place_of("selector")).unwrap_or(found.place)
}

fn place_names(draft: &mut Draft) {
    let Draft { plan, objects, .. } = draft;
    plan.priority_classes.extend(SYSTEM_CLASSES.map(|(name, value)| (name.to_string(), value)));
    for found in &objects.priority_classes {
        plan.priority_classes.insert(found.value.name.clone(), found.value.value);
    }
    for found in &objects.namespaces {
        plan.namespaces.insert(found.value.0.clone(), found.value.1.clone());
    }
    let used = (objects.deployments.iter().map(|found| &found.value.0.namespace))
        .chain(objects.daemon_sets.iter().map(|found| &found.value.0.namespace))
        .chain(objects.pods.iter().map(|found| &found.value.1.namespace))
        .chain(objects.services.iter().map(|found| &found.value.namespace));
    for name in used.cloned().chain(["default".to_string(), "kube-system".to_string()]).collect::<Vec<_>>() {
        let labels = Labels::from([(NAME_LABEL.to_string(), name.clone())]);
        plan.namespaces.entry(name).or_insert(labels);
    }
}

/// Admits a template and gives it an id; its images join the plan's.
pub(crate) fn place_template(
    mut template: PodTemplate,
    place: Place,
    default_class: Option<&str>,
    plan: &mut Plan,
    problems: &mut Problems,
) -> TemplateId {
    if let Some(class) = &template.priority_class
        && !plan.priority_classes.contains_key(class)
    {
        let classes = plan.priority_classes.keys().map(String::as_str);
        let message = format!("there is no PriorityClass `{class}`");
        // They usually live with whoever runs the cluster, not beside the workloads.
        let help = format!(
            "add it to the manifests as `kubectl get priorityclass {class} -o yaml` has it: apiVersion: \
             scheduling.k8s.io/v1, kind: PriorityClass, metadata: {{ name: {class} }}, value: 1000"
        );
        let problem = Diagnostic::error("E016", place, message).label("its pods ask for it").suggest(class, classes);
        let problem = if problem.meant.is_some() { problem } else { problem.help(help) };
        problems.push(problem.missing_object());
    }
    admit(&mut template, &plan.priority_classes, default_class, plan.flags.controllers.default_toleration);
    template.requests = template.count();
    for container in template.init_containers.iter_mut().chain(&mut template.containers) {
        if container.image.is_empty() {
            continue;
        }
        let known = plan.images.iter().position(|image| image.name == container.image);
        let index = known.unwrap_or_else(|| {
            let name = container.image.clone();
            plan.images.push(Image { name, size: Bytes(0), pull: None, cached: false });
            plan.images.len() - 1
        });
        container.image_id = Some(crate::plan::ImageId::at(index));
    }
    plan.templates.push(Arc::new(template));
    TemplateId::at(plan.templates.len() - 1)
}

fn place_pools(draft: &mut Draft) {
    let Draft { plan, objects, problems, .. } = draft;
    for found in &objects.node_pools {
        let mut pool = found.value.clone();
        let is_known = plan.node_classes.iter().any(|class| class.name == pool.node_class_name);
        if !is_known && pool.node_class_name.starts_with(AUTO_MODE) {
            let text =
                format!("NodePool {} is one of EKS Auto Mode: its nodes are taken to run Bottlerocket", pool.name);
            problems.push(Diagnostic::note("N128", found.place, text).help("the fee of Auto Mode is in no price"));
            plan.node_classes.push(Arc::new(auto_class(&pool.node_class_name)));
        }
        let class = plan.node_classes.iter().position(|class| class.name == pool.node_class_name);
        if class.is_none() {
            let message =
                format!("NodePool {} names EC2NodeClass `{}`, which is not there", pool.name, pool.node_class_name);
            let names = plan.node_classes.iter().map(|class| class.name.as_str());
            let place = found.at("nodeClassRef", &pool.node_class_name);
            problems
                .push(Diagnostic::error("E016", place, message).suggest(&pool.node_class_name, names).missing_object());
        }
        pool.node_class = class.map(NodeClassId::at);
        pool.v1beta1 = plan.flags.karpenter.version < (1, 0);
        if let Some(place) = found.references.place("apiVersion", "karpenter.sh/v1").filter(|_| pool.v1beta1) {
            let (major, minor) = plan.flags.karpenter.version;
            let text = format!("NodePool {}: Karpenter {major}.{minor} has no karpenter.sh/v1", pool.name);
            let help =
                "v1 came with 1.0: set cluster.karpenter to the version that you run, or write karpenter.sh/v1beta1";
            problems.push(Diagnostic::warning("W145", place, text).label("its API server refuses this").help(help));
        }
        plan.node_pools.push(Arc::new(pool));
    }
}

fn place_bindings(draft: &mut Draft) {
    let Draft { plan, objects, problems, .. } = draft;
    for found in &objects.bindings {
        let mut binding = found.value.clone();
        let named = |field| found.references.place(field, &binding.target_group_reference);
        let place = named("targetGroupARN").or(named("targetGroupName")).unwrap_or(found.place);
        binding.target_group = target_group(&binding.target_group_reference, place, plan, problems);
        if !plan.services.iter().any(|s| s.name == binding.service_name && s.namespace == binding.namespace) {
            let message = format!(
                "TargetGroupBinding {} names Service `{}`, which is not in namespace {}",
                binding.name, binding.service_name, binding.namespace
            );
            let names = plan.services.iter().map(|service| service.name.as_str());
            let place = found.at("serviceRef", &binding.service_name);
            problems
                .push(Diagnostic::error("E016", place, message).suggest(&binding.service_name, names).missing_object());
        }
        plan.bindings.push(binding);
    }
}

/// The target group that a name or ARN means.
fn target_group(reference: &str, place: Place, plan: &mut Plan, problems: &mut Problems) -> TargetGroupId {
    let names_it = |name: &str| reference.split('/').any(|part| part == name);
    if let Some(index) = plan.target_groups.iter().position(|group| names_it(&group.name)) {
        return TargetGroupId::at(index);
    }
    match plan.target_groups.len() {
        0 => {
            let name = reference.rsplit('/').nth(1).unwrap_or(reference).to_string();
            let text = format!("target_groups: does not describe `{name}`: the defaults of AWS are assumed");
            problems.push(Diagnostic::note("N103", place, text));
            plan.target_groups.push(default_target_group(name, plan.zones.len()));
        }
        1 => {
            let text = format!("`{reference}` is taken to be the only target group, {}", plan.target_groups[0].name);
            problems.push(Diagnostic::note("N103", place, text));
        }
        _ => {
            let message = format!("target_groups: none is named by `{reference}`");
            let names = plan.target_groups.iter().map(|group| group.name.as_str());
            problems.push(Diagnostic::error("E016", place, message).suggest(reference, names));
        }
    }
    TargetGroupId(0)
}

/// A target group as AWS makes it.
pub(crate) fn default_target_group(name: String, zones: usize) -> TargetGroup {
    TargetGroup {
        name,
        deregistration_delay: Span::from_secs(300),
        health_check: HealthCheck {
            path: "/".to_string(),
            interval: Span::from_secs(30),
            timeout: Span::from_secs(5),
            healthy_threshold: 5,
            unhealthy_threshold: 2,
        },
        slow_start: Span::ZERO,
        algorithm: RoutingAlgorithm::RoundRobin,
        stickiness: None,
        cross_zone: true,
        nodes: zones.max(1) as u32,
        zones: Vec::new(),
    }
}

fn place_alarms(draft: &mut Draft) {
    let Draft { plan, objects, problems, .. } = draft;
    for Found { value: alarm, place, .. } in &objects.alarms {
        let mut spec = alarm.spec.clone();
        if crate::manifest::alarm::is_of_cluster(&spec) {
            plan.alarms.push(spec);
            continue;
        }
        let named = alarm.target_group.as_deref().and_then(|value| {
            plan.target_groups.iter().position(|group| value.split('/').any(|part| part == group.name))
        });
        spec.target_group = named.or((!plan.target_groups.is_empty()).then_some(0)).map(TargetGroupId::at);
        if let (None, Some(group)) = (named, plan.target_groups.first()) {
            let text = format!("alarm {} is taken to watch target group {}", spec.name, group.name);
            problems.push(Diagnostic::note("N104", *place, text));
        }
        plan.alarms.push(spec);
    }
}
