//! The cluster of a case of the scheduler: nodes, pods and what they refer to, put into a plan and a world.

use kubelapse::components::kubernetes::scheduler::view::{Assumed, Cluster, View};
use kubelapse::engine::{Span, Time};
use kubelapse::manifest;
use kubelapse::manifest::common;
use kubelapse::plan::{Image, ImageId, Plan, PodTemplate, TemplateId, pod::normalized_image_name};
use kubelapse::rules::labels::{LabelSelector, Labels};
use kubelapse::rules::quantity::Bytes;
use kubelapse::rules::resources::Resources;
use kubelapse::rules::taint::Taint;
use kubelapse::scenario::diagnostic::{FileId, Place, Problems};
use kubelapse::scenario::reader::Fields;
use kubelapse::scenario::yaml::Node as Tree;
use kubelapse::world::{DeleteCause, NewNode, NewPod, NodeId, Owner, PodId, World};
use serde_json::Value;
use std::sync::Arc;

/// 2000-01-01T00:00:00Z, where the clock of the cases stands or starts.
pub const ORIGIN: Time = Time::from_unix_seconds(946_684_800);

/// A cluster.
pub struct Bed {
    /// What the run is given.
    pub plan: Plan,
    /// Everything that exists.
    pub world: World,
    /// Names of pods as `namespace/name`, by id.
    pub names: Vec<String>,
    /// Pending pods that are nominated to a node.
    pub nominated: Vec<(PodId, NodeId)>,
}

/// The items of a list; none if it is absent.
pub fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// A text; empty if it is absent.
pub fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_string()
}

/// The texts of a list.
pub fn texts(value: &Value) -> Vec<String> {
    items(value).iter().map(text).collect()
}

/// Reads a value with one of the readers of manifests.
pub fn read<T>(value: &Value, reader: impl FnOnce(&Tree, &mut Problems) -> Option<T>) -> Result<T, String> {
    let mut problems = Problems::new();
    let found = reader(&Tree::from_json(value, Place::top(FileId(0))), &mut problems);
    match found {
        Some(found) if !problems.has_errors() => Ok(found),
        _ => Err(problems.render(false)),
    }
}

fn field<T>(value: &Value, reader: impl FnOnce(&mut Fields<'_>, &mut Problems) -> T) -> Result<T, String> {
    read(value, |tree, problems| Fields::of(tree, "object", problems).map(|mut fields| reader(&mut fields, problems)))
}

fn labels(object: &Value) -> Result<Labels, String> {
    field(&object["metadata"], |fields, problems| common::labels(fields, "labels", problems))
}

/// Taints of a node.
pub fn taints(node: &Value) -> Result<Vec<Taint>, String> {
    if node["spec"].is_null() {
        return Ok(Vec::new());
    }
    field(&node["spec"], |fields, problems| common::taints(fields, "taints", problems))
}

fn allocatable(node: &Value) -> Result<Resources, String> {
    field(&node["status"], |fields, problems| common::resources(fields, "allocatable", problems).amounts())
}

/// A node as its object says.
pub fn new_node(node: &Value) -> Result<NewNode, String> {
    let room = allocatable(node)?;
    Ok(NewNode {
        name: text(&node["metadata"]["name"]).into(),
        labels: labels(node)?,
        taints: taints(node)?,
        allocatable: room.clone(),
        capacity: room,
        claim: None,
        instance: None,
        zone: None,
    })
}

impl Bed {
    /// Nodes, pods and everything else of a case; the pod to schedule is not among them.
    pub fn new(input: &Value) -> Result<Bed, String> {
        let mut plan = Plan::empty(ORIGIN, Span::from_secs(3600));
        for namespace in items(&input["namespaces"]) {
            plan.namespaces.insert(text(&namespace["metadata"]["name"]), labels(namespace)?);
        }
        // An object without a spec selects nothing.
        for service in items(&input["services"]).iter().filter(|service| !service["spec"].is_null()) {
            plan.services.push(Arc::new(read(service, manifest::read_service)?));
        }
        for budget in items(&input["podDisruptionBudgets"]) {
            plan.pdbs.push(Arc::new(read(budget, manifest::read_pdb)?));
        }
        let world = World::new(&plan);
        let mut bed = Bed { plan, world, names: Vec::new(), nominated: Vec::new() };
        for node in items(&input["nodes"]) {
            bed.add_node(node)?;
        }
        for pod in items(&input["pods"]) {
            bed.add_pod(input, pod)?;
        }
        for (index, budget) in items(&input["podDisruptionBudgets"]).iter().enumerate() {
            let status = &budget["status"];
            let disrupted = status["disruptedPods"].as_object().into_iter().flatten();
            let namespace = text(&budget["metadata"]["namespace"]);
            let disrupted = disrupted.filter_map(|(name, _)| bed.pod(&format!("{namespace}/{name}")));
            let disrupted = disrupted.map(|pod| (pod, ORIGIN)).collect();
            let entry = &mut bed.world.pdbs[index];
            entry.disruptions_allowed = status["disruptionsAllowed"].as_i64().unwrap_or(0) as i32;
            entry.disrupted = disrupted;
        }
        Ok(bed)
    }

    fn image(&mut self, name: &str, size: i64) -> ImageId {
        let known = self.plan.images.iter().position(|image| image.name == name);
        ImageId::at(known.unwrap_or_else(|| {
            self.plan.images.push(Image { name: name.to_string(), size: Bytes(size), pull: None, cached: false });
            self.plan.images.len() - 1
        }))
    }

    /// Creates a node.
    pub fn add_node(&mut self, node: &Value) -> Result<NodeId, String> {
        let id = self.world.create_node(new_node(node)?);
        self.world.set_unschedulable(id, node["spec"]["unschedulable"] == true);
        for image in items(&node["status"]["images"]) {
            for name in texts(&image["names"]) {
                let image = self.image(&name, image["sizeBytes"].as_i64().unwrap_or(0));
                self.world.add_node_image(id, image);
            }
        }
        Ok(id)
    }

    /// Replaces a node by what it is now.
    pub fn replace_node(&mut self, id: NodeId, node: &Value) -> Result<(), String> {
        let (labels, taints, allocatable) = (labels(node)?, taints(node)?, allocatable(node)?);
        let unschedulable = node["spec"]["unschedulable"] == true;
        self.world.update_node(id, labels, taints, unschedulable, allocatable);
        Ok(())
    }

    /// A pod's template, one of its own.
    pub fn template(&mut self, pod: &Value) -> Result<TemplateId, String> {
        let mut template: PodTemplate = read(pod, manifest::read_pod)?;
        for container in template.init_containers.iter_mut().chain(&mut template.containers) {
            let name = normalized_image_name(&container.image);
            container.image_id = self.plan.images.iter().position(|image| image.name == name).map(ImageId::at);
        }
        let template = Arc::new(template);
        self.plan.templates.push(template.clone());
        self.world.templates.push(template);
        Ok(TemplateId::at(self.plan.templates.len() - 1))
    }

    /// Creates a pod: bound, nominated, terminating as its object says.
    pub fn add_pod(&mut self, input: &Value, pod: &Value) -> Result<PodId, String> {
        let template = self.template(pod)?;
        self.add_pod_of(input, pod, template)
    }

    /// Creates a pod whose template was read before.
    pub fn add_pod_of(&mut self, input: &Value, pod: &Value, template: TemplateId) -> Result<PodId, String> {
        let ordinal = self.world.pods.len() as u32 + 1;
        let new = NewPod {
            template,
            owner: Owner::Bare,
            ordinal,
            pinned: None,
            name: Some(text(&pod["metadata"]["name"]).into()),
        };
        let id = self.world.create_pod(new);
        self.names.push(format!("{}/{}", text(&pod["metadata"]["namespace"]), text(&pod["metadata"]["name"])));
        if let Some(selector) = controller_selector(input, pod)? {
            self.world.controller_selectors.insert(id, selector);
        }
        if let Some(node) = self.node(&text(&pod["spec"]["nodeName"])) {
            self.world.bind_pod(id, node);
            if let Some(start) = pod["status"]["startTime"].as_str() {
                self.world.pods[id.index()].start_time = Some(moment(start)?);
            }
            if !pod["metadata"]["deletionTimestamp"].is_null() {
                let mut conditions = items(&pod["status"]["conditions"]).iter();
                let preempted = conditions.any(|entry| entry["reason"] == "PreemptionByScheduler");
                let cause = if preempted { DeleteCause::Preemption } else { DeleteCause::User };
                self.world.delete_pod(id, None, cause);
            }
        } else if let Some(node) = self.node(&text(&pod["status"]["nominatedNodeName"])) {
            self.world.nominate_pod(id, Some(node));
            self.nominated.push((id, node));
        }
        Ok(id)
    }

    /// A node that exists, by name.
    pub fn node(&self, name: &str) -> Option<NodeId> {
        self.world.nodes.iter().find(|node| node.gone.is_none() && &*node.name == name).map(|node| node.id)
    }

    /// A pod that exists, by namespace and name.
    pub fn pod(&self, name: &str) -> Option<PodId> {
        let mut pods = self.world.pods.iter().zip(&self.names);
        pods.find(|(pod, other)| pod.gone.is_none() && *other == name).map(|(pod, _)| pod.id)
    }

    /// Name of a node.
    pub fn node_name(&self, node: NodeId) -> String {
        self.world.node(node).name.to_string()
    }

    /// What a cycle sees.
    pub fn view<'a>(&'a self, cluster: &'a Cluster, assumed: &'a Assumed) -> View<'a> {
        View { plan: &self.plan, world: &self.world, cluster, assumed, nominated: &self.nominated }
    }
}

/// The selector of the listed ReplicaSet or StatefulSet that controls a pod.
fn controller_selector(input: &Value, pod: &Value) -> Result<Option<LabelSelector>, String> {
    let owners = items(&pod["metadata"]["ownerReferences"]).iter();
    for owner in owners.filter(|owner| owner["controller"] == true && owner["apiVersion"] == "apps/v1") {
        let list = match owner["kind"].as_str() {
            Some("ReplicaSet") => &input["replicaSets"],
            Some("StatefulSet") => &input["statefulSets"],
            _ => continue,
        };
        let same = |set: &&Value| {
            set["metadata"]["name"] == owner["name"] && set["metadata"]["namespace"] == pod["metadata"]["namespace"]
        };
        if let Some(set) = items(list).iter().find(same) {
            return field(&set["spec"], |fields, problems| common::selector(fields, "selector", problems));
        }
    }
    Ok(None)
}

/// A timestamp of the API.
pub fn moment(text: &str) -> Result<Time, String> {
    let number = |range: std::ops::Range<usize>| text.get(range).and_then(|part| part.parse::<i64>().ok());
    let parts = [number(0..4), number(5..7), number(8..10), number(11..13), number(14..16), number(17..19)];
    let [Some(year), Some(month), Some(day), Some(hour), Some(minute), Some(second)] = parts else {
        return Err(format!("{text} is no time"));
    };
    // Days since 1970 by the civil calendar, years beginning in March.
    let (shifted, months) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let era = shifted.div_euclid(400);
    let of_era = shifted.rem_euclid(400);
    let day_of_year = (153 * months + 2) / 5 + day - 1;
    let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + day_of_year - 719_468;
    let seconds = days * 86_400 + hour * 3600 + minute * 60 + second;
    Ok(Time::from_unix_seconds(u64::try_from(seconds).map_err(|_| format!("{text} is before 1970"))?))
}
