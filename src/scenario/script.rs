//! `faults:`, `actions:`, `claims:` and `expect:`.

use super::Draft;
use super::build::place_template;
use super::cluster::{CAPACITY_TYPES, find, find_type, find_zone};
use super::curve::{self, CORES, RATE};
use super::diagnostic::Diagnostic;
use super::files;
use super::forms::{ACTIONS, FAULTS, one_of};
use super::later;
use super::reader::{self, Fields};
use super::traffic::USERS;
use super::yaml::{Node, Value};
use crate::engine::Time;
use crate::manifest::{self, Objects, common};
use crate::plan::{
    Action, ActionKind, AppId, Applied, Claim, DaemonSetId, DeploymentId, Fault, FaultKind, HpaId, LoadBalancerCall,
    NodeChoice, NodePoolId, NodeProblem, PdbId, PodCall, PodChoice, Program, SlowPart, TargetGroupId, TemplateId,
};
use crate::rules::expectation::{self, Expectation, Verdict};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Calls of a controller that a fault may make fail.
const POD_CALLS: [(&str, PodCall); 2] = [("create", PodCall::Create), ("delete", PodCall::Delete)];

/// Calls of the load balancer controller, as faults name them.
const LOAD_BALANCER_CALLS: [(&str, Option<LoadBalancerCall>); 4] = [
    ("all", None),
    ("describe", Some(LoadBalancerCall::Describe)),
    ("register", Some(LoadBalancerCall::Register)),
    ("deregister", Some(LoadBalancerCall::Deregister)),
];

/// Programs that can be down.
const PROGRAMS: [(&str, Program); 4] = [
    ("load_balancer_controller", Program::LoadBalancerController),
    ("karpenter", Program::Karpenter),
    ("kube_controller_manager", Program::ControllerManager),
    ("kube_scheduler", Program::Scheduler),
];

/// Parts of a request that a slowdown can be about.
const SLOW_PARTS: [(&str, SlowPart); 3] = [("all", SlowPart::All), ("wait", SlowPart::Wait), ("cpu", SlowPart::Cpu)];

/// `faults:`, in order of time.
pub(crate) fn read_faults(items: &[Node], draft: &mut Draft) {
    for (index, item) in items.iter().enumerate() {
        let path = format!("faults[{index}]");
        let Some(mut fields) = Fields::of(item, path, &mut draft.problems) else { continue };
        let Some(at) = read_at(&mut fields, draft) else { continue };
        let until_node = fields.get("until");
        let mut until = until_node.and_then(|node| draft.instant(node, &fields.at("until")));
        if let Some(span) = fields.duration("for", &mut draft.problems) {
            if let Some(node) = until_node {
                let message = format!("{}: either `for` or `until` says when it ends", fields.path);
                draft.problems.push(Diagnostic::error("E018", node.place, message).label("and `for` as well"));
            }
            until = Some(at + span);
        }
        if until.is_some_and(|until| until <= at) {
            draft.problems.error("E015", item.place, format!("{}: ends before it begins", fields.path));
        }
        let kind = one_of(&mut fields, &FAULTS, &mut draft.problems).and_then(|(key, node)| {
            let path = fields.at(key);
            fault_kind(key, node, &path, draft)
        });
        fields.finish(&mut draft.problems);
        draft.plan.faults.extend(kind.map(|kind| Fault { at, until, kind }));
    }
    draft.plan.faults.sort_by_key(|fault| fault.at);
}

fn read_at(fields: &mut Fields<'_>, draft: &mut Draft) -> Option<Time> {
    let node = fields.required("at", &mut draft.problems)?;
    draft.instant(node, &fields.at("at"))
}

fn fault_kind(key: &str, node: &Node, path: &str, draft: &mut Draft) -> Option<FaultKind> {
    match key {
        "spot_interruption" | "rebalance_recommendation" | "spot_price" | "insufficient_capacity" => {
            let mut factor = 1.0;
            let (mut instance_type, mut zone, mut capacity_type) = (None, None, None);
            if !node.is_null() {
                let mut fields = Fields::of(node, path, &mut draft.problems)?;
                if let Some(node) = fields.get("instance_type") {
                    instance_type = Some(find_type(node, &fields.at("instance_type"), draft)?);
                }
                if let Some(node) = fields.get("zone") {
                    zone = Some(find_zone(node, &fields.at("zone"), draft)?);
                }
                if key == "spot_price" {
                    let node = fields.required("factor", &mut draft.problems)?;
                    factor = factor_of(node, &fields.at("factor"), draft)?;
                }
                if key == "insufficient_capacity" {
                    capacity_type = fields.choice("capacity_type", &CAPACITY_TYPES, &mut draft.problems);
                }
                fields.finish(&mut draft.problems);
            }
            Some(match key {
                "spot_interruption" => FaultKind::SpotInterruption { instance_type, zone },
                "rebalance_recommendation" => FaultKind::RebalanceRecommendation { instance_type, zone },
                "spot_price" => FaultKind::SpotPrice { instance_type, zone, factor },
                _ => FaultKind::InsufficientCapacity { instance_type, zone, capacity_type },
            })
        }
        "node_failure" => node_choice(node, path, draft).map(FaultKind::NodeFailure),
        "node_unhealthy" => node_unhealthy(node, path, draft),
        "health_check_fails" => find_group(node, path, draft).map(FaultKind::HealthCheckFails),
        "security_group_blocks" => security_group(node, path, draft),
        "subnet_full" if node.is_null() => Some(FaultKind::SubnetFull(None)),
        "subnet_full" => find_zone(node, path, draft).map(|zone| FaultKind::SubnetFull(Some(zone))),
        "zone_failure" => find_zone(node, path, draft).map(FaultKind::ZoneFailure),
        "controller_without_permission" => {
            reader::choice(node, path, &LOAD_BALANCER_CALLS, &mut draft.problems).map(FaultKind::ControllerDenied)
        }
        "load_balancer_throttling" => share_of(node, path, draft).map(FaultKind::LoadBalancerThrottling),
        "controller_down" => reader::choice(node, path, &PROGRAMS, &mut draft.problems).map(FaultKind::ControllerDown),
        "slowdown" => {
            let mut fields = Fields::of(node, path, &mut draft.problems)?;
            let service = fields.required("service", &mut draft.problems)?;
            let app = find_app(service, &fields.at("service"), draft)?;
            let factor = fields.required("factor", &mut draft.problems)?;
            let factor = factor_of(factor, &fields.at("factor"), draft)?;
            let part = fields.choice("of", &SLOW_PARTS, &mut draft.problems).unwrap_or_default();
            fields.finish(&mut draft.problems);
            Some(FaultKind::Slowdown(app, factor, part))
        }
        "pod_calls_fail" => reader::choice(node, path, &POD_CALLS, &mut draft.problems).map(FaultKind::PodCallsFail),
        _ => factor_of(node, path, draft).map(FaultKind::SlowRegistry),
    }
}

/// A node: its kubelet says that it is not Ready. Or `{ node: fullest, condition: NetworkingReady }`.
fn node_unhealthy(node: &Node, path: &str, draft: &mut Draft) -> Option<FaultKind> {
    if node.text().is_some() {
        return node_choice(node, path, draft).map(|node| FaultKind::NodeUnhealthy { node, problem: None });
    }
    let mut fields = Fields::of(node, path, &mut draft.problems)?;
    let choice = fields.required("node", &mut draft.problems)?;
    let choice = node_choice(choice, &fields.at("node"), draft);
    let mut conditions = vec![("Ready", None)];
    conditions.extend(NodeProblem::ALL.map(|problem| (problem.condition(), Some(problem))));
    let problem = fields.choice("condition", &conditions, &mut draft.problems).unwrap_or(None);
    fields.finish(&mut draft.problems);
    Some(FaultKind::NodeUnhealthy { node: choice?, problem })
}

fn find_group(node: &Node, path: &str, draft: &mut Draft) -> Option<TargetGroupId> {
    let names: Vec<&str> = draft.plan.target_groups.iter().map(|group| group.name.as_str()).collect();
    find(node, path, "target group", &names, &mut draft.problems).map(TargetGroupId::at)
}

/// A target group by name: everything is dropped. Or `{ target_group: web, only: health_checks }`.
fn security_group(node: &Node, path: &str, draft: &mut Draft) -> Option<FaultKind> {
    if node.text().is_some() {
        let target_group = find_group(node, path, draft)?;
        return Some(FaultKind::SecurityGroupBlocks { target_group, only_checks: false });
    }
    let mut fields = Fields::of(node, path, &mut draft.problems)?;
    let name = fields.required("target_group", &mut draft.problems)?;
    let target_group = find_group(name, &fields.at("target_group"), draft);
    let only_checks = fields.choice("only", &[("health_checks", true)], &mut draft.problems).unwrap_or(false);
    fields.finish(&mut draft.problems);
    Some(FaultKind::SecurityGroupBlocks { target_group: target_group?, only_checks })
}

fn share_of(node: &Node, path: &str, draft: &mut Draft) -> Option<f64> {
    let share = reader::number(node, path, &mut draft.problems)?;
    if (0.0..=1.0).contains(&share) {
        return Some(share);
    }
    reader::out_of_range(node, path, "from 0 to 1", &mut draft.problems);
    None
}

fn factor_of(node: &Node, path: &str, draft: &mut Draft) -> Option<f64> {
    let factor = reader::number(node, path, &mut draft.problems)?;
    if (1e-3..=1e6).contains(&factor) {
        return Some(factor);
    }
    reader::out_of_range(node, path, "from 0.001 to 1e6", &mut draft.problems);
    None
}

fn find_app(node: &Node, path: &str, draft: &mut Draft) -> Option<AppId> {
    let names: Vec<&str> = draft.plan.apps.iter().map(|app| app.name.as_str()).collect();
    find(node, path, "service", &names, &mut draft.problems).map(AppId::at)
}

/// `fullest`, `all`, or the name of a node, which may come up during the run.
fn node_choice(node: &Node, path: &str, draft: &mut Draft) -> Option<NodeChoice> {
    let name = reader::text(node, path, &mut draft.problems)?;
    Some(match name.as_str() {
        "fullest" => NodeChoice::Fullest,
        "all" => NodeChoice::All,
        _ => {
            super::named::check_node(&name, node, path, draft);
            NodeChoice::Named(name)
        }
    })
}

/// The template that each Deployment has once the actions read so far are done.
type Templates = BTreeMap<DeploymentId, TemplateId>;

/// `actions:`, in order of time: each begins with what the earlier ones leave.
pub(crate) fn read_actions(items: &[Node], draft: &mut Draft) {
    let mut timed = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let path = format!("actions[{index}]");
        let Some(mut fields) = Fields::of(item, path, &mut draft.problems) else { continue };
        timed.extend(read_at(&mut fields, draft).map(|at| (at, fields)));
    }
    timed.sort_by_key(|(at, _)| *at);
    let mut templates = Templates::new();
    let mut actions: Vec<Action> = Vec::new();
    for (at, mut fields) in timed {
        if let Some((key, node)) = one_of(&mut fields, &ACTIONS, &mut draft.problems) {
            let path = fields.at(key);
            let found = if key == "apply" {
                apply(node, &path, &mut templates, draft)
            } else {
                action_kind(key, node, &path, at, &mut templates, draft).into_iter().collect()
            };
            actions.extend(found.into_iter().map(|kind| Action { at, kind }));
        }
        fields.finish(&mut draft.problems);
    }
    draft.plan.actions = actions;
}

fn action_kind(
    key: &str,
    node: &Node,
    path: &str,
    at: Time,
    templates: &mut Templates,
    draft: &mut Draft,
) -> Option<ActionKind> {
    match key {
        "delete_node_claim" => return node_choice(node, path, draft).map(ActionKind::DeleteNodeClaim),
        "delete_node" => return node_choice(node, path, draft).map(ActionKind::DeleteNode),
        "cordon" | "uncordon" => {
            return node_choice(node, path, draft).map(|choice| ActionKind::Cordon(choice, key == "cordon"));
        }
        "drain" => return node_choice(node, path, draft).map(ActionKind::Drain),
        "delete" => return later::delete(node, path, draft),
        "delete_pod" if node.text().is_some() => {
            let name = reader::text(node, path, &mut draft.problems)?;
            super::named::check_pod(&name, node, path, draft);
            return Some(ActionKind::DeletePod(PodChoice::Named(name)));
        }
        _ => {}
    }
    let mut fields = Fields::of(node, path, &mut draft.problems)?;
    // What is not among them is told of, also where something else is missing.
    keys_of(key).iter().for_each(|key| _ = fields.get(key));
    let kind = of_fields(key, &mut fields, at, templates, draft);
    fields.finish(&mut draft.problems);
    kind
}

/// The keys of an action.
const fn keys_of(action: &str) -> &'static [&'static str] {
    match action.as_bytes() {
        b"scale" => &["deployment", "statefulset", "replicas"],
        b"rollout" => &["deployment", "statefulset", "image"],
        b"pause" | b"resume" => &["deployment"],
        b"undo" => &["deployment", "statefulset", "to_revision"],
        b"delete_pod" => &["deployment", "statefulset", "count"],
        b"taint_node" | b"untaint_node" => &["node", "key", "value", "effect"],
        b"label_node" | b"annotate_node" => &["node", "key", "value"],
        _ => &["service", "rate", "cores", "users"],
    }
}

fn of_fields(
    key: &str,
    fields: &mut Fields<'_>,
    at: Time,
    templates: &mut Templates,
    draft: &mut Draft,
) -> Option<ActionKind> {
    let path = fields.path.clone();
    Some(match key {
        "scale" => {
            let deployment = find_workload(fields, draft)?;
            fields.required("replicas", &mut draft.problems)?;
            let replicas = fields.integer_in("replicas", 0, 10_000, &mut draft.problems)?;
            ActionKind::ScaleDeployment(deployment, replicas as i32)
        }
        "rollout" => {
            let deployment = find_workload(fields, draft)?;
            rollout(fields, deployment, at, templates, draft)
        }
        "pause" | "resume" => {
            ActionKind::PauseDeployment(find_deployment(fields, draft, "deployment")?, key == "pause")
        }
        "undo" => {
            let deployment = find_workload(fields, draft)?;
            let revision = fields.integer_in("to_revision", 1, i32::MAX.into(), &mut draft.problems);
            ActionKind::RollBack(deployment, revision.map(|revision| revision as u32))
        }
        "delete_pod" => {
            let deployment = find_workload(fields, draft)?;
            let count = fields.integer_in("count", 1, 100_000, &mut draft.problems).unwrap_or(1);
            ActionKind::DeletePod(PodChoice::Oldest(deployment, count as u32))
        }
        "taint_node" | "untaint_node" => {
            let node = fields.required("node", &mut draft.problems)?;
            let choice = node_choice(node, &fields.at("node"), draft)?;
            let taint = common::taint(fields.node(), path, &mut draft.problems)?;
            if key == "taint_node" { ActionKind::TaintNode(choice, taint) } else { ActionKind::Untaint(choice, taint) }
        }
        "label_node" | "annotate_node" => {
            let node = fields.required("node", &mut draft.problems)?;
            let choice = node_choice(node, &fields.at("node"), draft)?;
            let name = fields.required_text("key", &mut draft.problems)?;
            if key == "label_node" {
                ActionKind::LabelNode(choice, name, fields.required_text("value", &mut draft.problems)?)
            } else {
                ActionKind::AnnotateNode(choice, name, fields.text("value", &mut draft.problems))
            }
        }
        _ => return set_load(fields, at, draft),
    })
}

/// `set_load: { service: NAME, rate: LEVEL }`.
fn set_load(fields: &mut Fields<'_>, at: Time, draft: &mut Draft) -> Option<ActionKind> {
    let path = fields.path.clone();
    let service = fields.required("service", &mut draft.problems)?;
    let app = find_app(service, &fields.at("service"), draft)?;
    let measures = [("rate", &RATE), ("cores", &CORES), ("users", &USERS)];
    let mut given = measures.into_iter().filter_map(|(key, measure)| Some((fields.get(key)?, measure)));
    let (Some((node, measure)), None) = (given.next(), given.next()) else {
        let message = format!("{path}: needs exactly one of rate, cores, users");
        draft.problems.error("E018", fields.place(), message);
        return None;
    };
    drop(given);
    let closed = draft.plan.apps[app.index()].clients.think.is_some();
    if closed != (measure.key == USERS.key) && measure.key != CORES.key {
        let of = if closed { "a closed loop: write `users`" } else { "no closed loop: write `rate`" };
        draft.problems.error("E018", node.place, format!("{path}: the traffic of this service is {of}"));
    }
    if measure.key == CORES.key && draft.plan.apps[app.index()].cores.is_none() {
        let message = format!("{path}: this service has no `load`: its CPU follows from its requests");
        draft.problems.push(Diagnostic::error("E018", node.place, message).label("write `rate`"));
    }
    let window = curve::Window { start: at, ..draft.window() };
    let path = fields.at(measure.key);
    let curve = curve::read(node, &path, measure, window, &mut draft.files, &mut draft.problems)?;
    Some(ActionKind::SetLoad(app, curve))
}

/// `deployment: NAME` or `statefulset: NAME`.
fn find_workload(fields: &mut Fields<'_>, draft: &mut Draft) -> Option<DeploymentId> {
    let key = if fields.get("statefulset").is_some() { "statefulset" } else { "deployment" };
    find_deployment(fields, draft, key)
}

fn find_deployment(fields: &mut Fields<'_>, draft: &mut Draft, key: &'static str) -> Option<DeploymentId> {
    let node = fields.required(key, &mut draft.problems)?;
    let kind = if key == "deployment" { "Deployment" } else { "StatefulSet" };
    let of_kind: Vec<(usize, &str)> = (draft.plan.deployments.iter().enumerate())
        .filter(|(_, spec)| spec.kind() == kind)
        .map(|(index, spec)| (index, spec.name.as_str()))
        .collect();
    let names: Vec<&str> = of_kind.iter().map(|&(_, name)| name).collect();
    let found = find(node, &fields.at(key), kind, &names, &mut draft.problems)?;
    Some(DeploymentId::at(of_kind[found].0))
}

/// A new revision: another image as `kubectl set image` writes it, or the same again as `kubectl rollout restart` does.
fn rollout(
    fields: &mut Fields<'_>,
    deployment: DeploymentId,
    at: Time,
    templates: &mut Templates,
    draft: &mut Draft,
) -> ActionKind {
    let first = draft.plan.deployments[deployment.index()].template;
    let mut template = (**draft.plan.template(*templates.get(&deployment).unwrap_or(&first))).clone();
    match (fields.text("image", &mut draft.problems), template.containers.first_mut()) {
        (Some(image), Some(container)) => container.image = image,
        _ => {
            let stamp = at.since(draft.plan.start).decimal();
            template.annotations.insert("kubectl.kubernetes.io/restartedAt", stamp);
        }
    }
    let template = place_template(template, fields.place(), None, &mut draft.plan, &mut draft.problems);
    templates.insert(deployment, template);
    ActionKind::RollOut(deployment, template)
}

/// Whether a document (or a list of them) has that Deployment or StatefulSet without `spec.replicas`.
fn lacks_replicas(document: &Node, (kind, name): (&str, &str)) -> bool {
    let items = document.get("items").map_or(&[][..], Node::items);
    let named = |key: &str, value: &str| document.get(key).and_then(Node::text) == Some(value);
    let is_it = named("kind", kind)
        && document.get("metadata").and_then(|metadata| metadata.get("name")).and_then(Node::text) == Some(name);
    items.iter().any(|item| lacks_replicas(item, (kind, name)))
        || (is_it && document.get("spec").is_some_and(|spec| spec.get("replicas").is_none()))
}

/// `apply: FILE`, a manifest whose objects replace those of the same name or are new.
fn apply(node: &Node, path: &str, templates: &mut Templates, draft: &mut Draft) -> Vec<ActionKind> {
    let Some(written) = reader::text(node, path, &mut draft.problems) else { return Vec::new() };
    let Some(documents) = draft.later.documents(&written) else {
        if let Err(error) = draft.files.resolve(&written) {
            files::report(error, Some(node.place), &mut draft.problems);
        }
        return Vec::new();
    };
    let mut objects = Objects::default();
    for document in &documents {
        manifest::read_document(document, &mut objects, &mut draft.problems);
    }
    let mut kinds = Vec::new();
    let mut unmatched = Vec::new();
    for found in objects.deployments {
        let class = found.at_class(&found.value.1);
        let (mut spec, template) = found.value;
        let is_it = |d: &Arc<crate::plan::DeploymentSpec>| {
            d.kind() == spec.kind() && d.name == spec.name && d.namespace == spec.namespace
        };
        let known = draft.plan.deployments.iter().position(is_it);
        let Some(index) = known else {
            unmatched.push((found.place, spec.name));
            continue;
        };
        if draft.later.creates(spec.kind(), &spec.namespace, &spec.name) {
            kinds.push(ActionKind::Create(Applied::Deployment(DeploymentId::at(index))));
            continue;
        }
        spec.template = place_template(template, class, None, &mut draft.plan, &mut draft.problems);
        let (deployment, keeps_replicas) = (
            DeploymentId::at(index),
            documents.iter().any(|document| lacks_replicas(document, (spec.kind(), &spec.name))),
        );
        templates.insert(deployment, spec.template);
        kinds.push(ActionKind::UpdateDeployment { deployment, spec: Arc::new(spec), keeps_replicas });
    }
    for found in objects.hpas {
        let same = |known: &&Arc<crate::plan::HpaSpec>| {
            known.name == found.value.name && known.namespace == found.value.namespace
        };
        match draft.plan.hpas.iter().position(|known| same(&known)) {
            Some(index) => {
                let (hpa, spec) = (HpaId::at(index), found.value);
                let new = draft.later.creates("HorizontalPodAutoscaler", &spec.namespace, &spec.name);
                kinds.push(if new {
                    ActionKind::Create(Applied::Hpa(hpa))
                } else {
                    ActionKind::UpdateHpa(hpa, Arc::new(spec))
                });
            }
            None => unmatched.push((found.place, found.value.name)),
        }
    }
    for found in objects.pdbs {
        let same = |known: &&Arc<crate::plan::PdbSpec>| {
            known.name == found.value.name && known.namespace == found.value.namespace
        };
        match draft.plan.pdbs.iter().position(|known| same(&known)) {
            Some(index) => {
                let (pdb, spec) = (PdbId::at(index), found.value);
                let new = draft.later.creates("PodDisruptionBudget", &spec.namespace, &spec.name);
                kinds.push(if new {
                    ActionKind::Create(Applied::Pdb(pdb))
                } else {
                    ActionKind::UpdatePdb(pdb, Arc::new(spec))
                });
            }
            None => unmatched.push((found.place, found.value.name)),
        }
    }
    for found in objects.node_pools {
        match draft.plan.node_pools.iter().position(|known| known.name == found.value.name) {
            Some(index) if draft.later.creates("NodePool", "", &found.value.name) => {
                kinds.push(ActionKind::Create(Applied::NodePool(NodePoolId::at(index))));
            }
            Some(index) => {
                let old = &draft.plan.node_pools[index];
                let spec =
                    crate::plan::NodePoolSpec { node_class: old.node_class, v1beta1: old.v1beta1, ..found.value };
                kinds.push(ActionKind::UpdateNodePool(NodePoolId::at(index), Arc::new(spec)));
            }
            None => unmatched.push((found.place, found.value.name)),
        }
    }
    for found in objects.daemon_sets {
        let spec = found.value.0;
        let same =
            |known: &Arc<crate::plan::DaemonSetSpec>| known.name == spec.name && known.namespace == spec.namespace;
        let index = draft.plan.daemon_sets.iter().position(same);
        let new = draft.later.creates("DaemonSet", &spec.namespace, &spec.name);
        match index {
            Some(index) if new => kinds.push(ActionKind::Create(Applied::DaemonSet(DaemonSetId::at(index)))),
            _ => {
                let message = format!(
                    "{path}: DaemonSet {} is there already, and changes of a DaemonSet are not modelled",
                    spec.name
                );
                draft.problems.error("E018", found.place, message);
            }
        }
    }
    for found in objects.pods {
        let index = draft.plan.pods.iter().position(|pod| pod.name == found.value.0);
        let new = draft.later.creates("Pod", &found.value.1.namespace, &found.value.0);
        match index {
            Some(index) if new => kinds.push(ActionKind::Create(Applied::Pod(index))),
            _ => {
                let message = format!("{path}: pod {} is there already, and a pod cannot be changed", found.value.0);
                draft.problems.error("E018", found.place, message);
            }
        }
    }
    for (place, name) in unmatched {
        draft.problems.error("E016", place, format!("{path}: `{name}` does not exist before, so it cannot be changed"));
    }
    if kinds.is_empty() && !draft.problems.has_errors() {
        let message = format!(
            "{path}: the file has no Deployment, StatefulSet, DaemonSet, HorizontalPodAutoscaler, PodDisruptionBudget, NodePool or Pod"
        );
        draft.problems.error("E018", node.place, message);
    }
    kinds
}

/// `claims:`, with the verdict that is expected.
pub(crate) fn read_claims(items: &[Node], draft: &mut Draft) {
    const VERDICTS: [(&str, Verdict); 3] =
        [("holds", Verdict::Holds), ("fails", Verdict::Fails), ("undecided", Verdict::Undecided)];
    for (index, item) in items.iter().enumerate() {
        let Some(mut fields) = Fields::of(item, format!("claims[{index}]"), &mut draft.problems) else { continue };
        let text = fields.required_text("text", &mut draft.problems);
        let check = fields.required("check", &mut draft.problems);
        let check = check.and_then(|node| read_expectation(node, &fields.at("check"), draft));
        let expect = fields.choice("expect", &VERDICTS, &mut draft.problems).unwrap_or(Verdict::Holds);
        let because = fields.text("because", &mut draft.problems).unwrap_or_default();
        fields.finish(&mut draft.problems);
        if let (Some(text), Some(check)) = (text, check) {
            draft.plan.claims.push(Claim { text, check, expect, because });
        }
    }
}

/// `expect:`, a list of statements.
pub(crate) fn read_expectations(items: &[Node], draft: &mut Draft) {
    for (index, item) in items.iter().enumerate() {
        let expectation = read_expectation(item, &format!("expect[{index}]"), draft);
        draft.plan.expectations.extend(expectation);
    }
}

fn read_expectation(node: &Node, path: &str, draft: &mut Draft) -> Option<Expectation> {
    if !matches!(node.value, Value::Scalar(_)) {
        reader::wrong_type(node, path, "a statement such as time_to_serve <= 3m", &mut draft.problems);
        return None;
    }
    match expectation::parse(node.text().unwrap_or("")) {
        Ok(expectation) => {
            draft.check_places.push(node.place);
            check_scope(&expectation, node, path, draft);
            Some(expectation)
        }
        Err(error) => {
            let place = reader::inside(node, error.offset, &draft.problems);
            let help = error.suggestion.map(|suggestion| format!("did you mean `{suggestion}`?"));
            let message = format!("{path}: {} is no expectation", node.describe());
            draft.problems.push(Diagnostic::error("E019", place, message).label(error.message).maybe_help(help));
            None
        }
    }
}

/// A scope must be something that this scenario has.
fn check_scope(expectation: &Expectation, node: &Node, path: &str, draft: &mut Draft) {
    if let Some(name) = &expectation.scope.deployment {
        let names = draft.plan.deployments.iter().map(|deployment| deployment.name.as_str());
        if !names.clone().any(|known| known == name) {
            let message = format!("{path}: there is no Deployment `{name}`");
            let place =
                reader::inside(node, node.text().and_then(|text| text.find(name)).unwrap_or(0), &draft.problems);
            draft.problems.push(Diagnostic::error("E016", place, message).suggest(name, names).missing_object());
        }
    }
    let length = draft.plan.until.since(draft.plan.start).micros();
    if expectation.scope.window.is_some_and(|(from, _)| from >= length) {
        reader::out_of_range(node, path, "a window within the run", &mut draft.problems);
    }
}
