//! What an operator applies or deletes during a run: objects that are not there at the start, and their end.
//!
//! In: the manifests that `apply` actions name. Out: their new objects among those of the plan, each with the action that
//! creates it. Objects that exist already are changed by `script.rs`.

use super::diagnostic::Diagnostic;
use super::recording::Key;
use super::yaml::Node;
use super::{Draft, reader, units};
use crate::manifest;
use crate::plan::{ActionKind, Applied, DaemonSetId, DeploymentId, HpaId, NodePoolId, PdbId, Plan};
use std::collections::BTreeMap;

/// Kinds that may come during a run.
const KINDS: [&str; 7] =
    ["Deployment", "StatefulSet", "DaemonSet", "HorizontalPodAutoscaler", "PodDisruptionBudget", "NodePool", "Pod"];
/// Kinds that make no difference before something refers to them: they may as well be there from the start.
const HARMLESS: [&str; 3] = ["Namespace", "PriorityClass", "EC2NodeClass"];

/// What is applied during the run.
#[derive(Default)]
pub(crate) struct Later {
    /// Documents of each file, as the action names it.
    documents: BTreeMap<String, Vec<Node>>,
    /// Objects that are not there yet.
    new: Vec<Key>,
}

impl Later {
    /// The documents of a file that was read already.
    pub(crate) fn documents(&mut self, written: &str) -> Option<Vec<Node>> {
        self.documents.get(written).cloned()
    }

    /// Whether an object is not there yet; from now on it is.
    pub(crate) fn creates(&mut self, kind: &str, namespace: &str, name: &str) -> bool {
        let found = self.new.iter().position(|(own_kind, own_namespace, own_name)| {
            own_kind == kind && own_name == name && (own_namespace == namespace || kind == "NodePool")
        });
        found.map(|index| self.new.swap_remove(index)).is_some()
    }
}

fn key_of(document: &Node) -> Option<Key> {
    let metadata = document.get("metadata")?;
    let namespace = metadata.get("namespace").and_then(Node::text).unwrap_or("default").to_string();
    Some((document.get("kind")?.text()?.to_string(), namespace, metadata.get("name")?.text()?.to_string()))
}

/// Objects in the order of their lists.
fn objects(document: &Node) -> Vec<&Node> {
    match document.get("items") {
        Some(items) => items.items().iter().flat_map(objects).collect(),
        None => vec![document],
    }
}

/// Reads the files of all `apply` actions; what the manifests do not have yet is added to the objects of the plan.
pub(crate) fn read_applied(items: &[Node], draft: &mut Draft) {
    let mut timed: Vec<&Node> = items.iter().collect();
    // The first file in time has the version with which an object begins; a time that cannot be read is reported later.
    timed.sort_by_key(|item| item.get("at").and_then(Node::text).and_then(|at| units::duration(at).ok()));
    for item in timed {
        let Some(node) = item.get("apply") else { continue };
        let Some(written) = node.text().map(str::to_string) else { continue };
        if draft.later.documents.contains_key(&written) {
            continue;
        }
        // What cannot be found is reported where the action is read.
        let Ok(path) = draft.files.resolve(&written) else { continue };
        let (_, documents) = draft.files.documents(&path, Some(node.place), &mut draft.problems);
        for object in documents.iter().flat_map(objects) {
            let Some(key) = key_of(object).filter(|key| !draft.objects.has(key)) else { continue };
            let kind = key.0.as_str();
            if KINDS.contains(&kind) || HARMLESS.contains(&kind) {
                manifest::read_document(object, &mut draft.objects, &mut draft.problems);
                draft.later.new.extend((!HARMLESS.contains(&kind)).then_some(key));
            } else if manifest::is_modelled(kind) {
                let message = format!("a {kind} cannot come during a run");
                let help = "list its file under `manifests`: it is there from the start then";
                draft.problems.push(Diagnostic::error("E018", object.place, message).help(help));
            }
        }
        draft.later.documents.insert(written, documents);
    }
}

/// `delete: Kind/name`.
pub(crate) fn delete(node: &Node, path: &str, draft: &mut Draft) -> Option<ActionKind> {
    let written = reader::text(node, path, &mut draft.problems)?;
    let object = written.split_once('/').and_then(|(kind, name)| find(kind, name, &draft.plan));
    if object.is_none() {
        let names = names(&draft.plan);
        let message = format!("{path}: there is no `{written}`; what can be deleted is named as Kind/name");
        let names = names.iter().map(String::as_str);
        let problem = Diagnostic::error("E016", node.place, message).suggest(&written, names);
        draft.problems.push(problem.missing_object());
    }
    object.map(ActionKind::Delete)
}

fn names(plan: &Plan) -> Vec<String> {
    let deployments = plan.deployments.iter().map(|one| format!("{}/{}", one.kind(), one.name));
    let hpas = plan.hpas.iter().map(|one| format!("HorizontalPodAutoscaler/{}", one.name));
    let pdbs = plan.pdbs.iter().map(|one| format!("PodDisruptionBudget/{}", one.name));
    let pools = plan.node_pools.iter().map(|one| format!("NodePool/{}", one.name));
    let daemons = plan.daemon_sets.iter().map(|one| format!("DaemonSet/{}", one.name));
    let pods = plan.pods.iter().map(|one| format!("Pod/{}", one.name));
    deployments.chain(hpas).chain(pdbs).chain(pools).chain(daemons).chain(pods).collect()
}

fn find(kind: &str, name: &str, plan: &Plan) -> Option<Applied> {
    match kind {
        "Deployment" | "StatefulSet" => {
            let found = plan.deployments.iter().position(|one| one.name == name && one.kind() == kind);
            found.map(|index| Applied::Deployment(DeploymentId::at(index)))
        }
        "HorizontalPodAutoscaler" => {
            let found = plan.hpas.iter().position(|one| one.name == name);
            found.map(|index| Applied::Hpa(HpaId::at(index)))
        }
        "PodDisruptionBudget" => {
            let found = plan.pdbs.iter().position(|one| one.name == name);
            found.map(|index| Applied::Pdb(PdbId::at(index)))
        }
        "NodePool" => {
            let found = plan.node_pools.iter().position(|one| one.name == name);
            found.map(|index| Applied::NodePool(NodePoolId::at(index)))
        }
        "DaemonSet" => {
            let found = plan.daemon_sets.iter().position(|one| one.name == name);
            found.map(|index| Applied::DaemonSet(DaemonSetId::at(index)))
        }
        "Pod" => plan.pods.iter().position(|one| one.name == name).map(Applied::Pod),
        _ => None,
    }
}
