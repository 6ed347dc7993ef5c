//! The actions of a recording as actions of a plan: each is paired with the manifest that it sent.
//!
//! An action says in words what the recorder did: `apply hpa`, `total load := 4.2 cores`, `delete NodeClaim web-1 (node n,
//! 5 pods)`. `apply` sends the next manifest of that name, other changes send the next merge patch (`pairing.rs`).

use super::audit::Sent;
use super::constants::Constants;
use super::given::{Given, owner_of};
use super::objects::{File, Key, key_of, merged, resource_of};
use super::pairing;
use super::trigger_at;
use crate::engine::{Span, Time};
use crate::manifest;
use crate::plan::{
    Action, ActionKind, App, AppId, Applied, Curve, DaemonSetId, DeploymentId, HpaId, NodeChoice, NodePoolId, PdbId,
    PodChoice, TrafficMode,
};
use crate::rules::labels::Labels;
use crate::rules::quantity::Millicores;
use crate::scenario::Draft;
use crate::scenario::apps::default_app;
use crate::scenario::build::place_template;
use crate::scenario::diagnostic::{Diagnostic, Place};
use crate::scenario::yaml::Node;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

/// From the recorder's call to the object's change.
const WRITE: Span = Span::from_millis(10);

/// The request of an action is received so soon after the action was written down, or before.
const LATE_MICROS: i64 = 10_000_000;
const EARLY_MICROS: i64 = 100_000;

/// From an autoscaler that is there to its first sync, beyond the period.
const NOTICE: Span = Span::from_millis(38);
/// A controller takes notice of an autoscaler within so much.
const NOTICE_MAX: Span = Span::from_secs(2);

/// Kinds whose changes change no decision of such a cluster: KWOK's class only has the delay before a Node appears, which is
/// given for each machine, and Karpenter copies nothing of a NodeClaim to its Node after registration.
const WITHOUT_EFFECT: [&str; 4] = ["Service", "Namespace", "KWOKNodeClass", "NodeClaim"];

/// What is known while the script is written.
struct Writer<'a> {
    given: &'a Given,
    draft: &'a mut Draft,
    files: &'a [File],
    objects: BTreeMap<Key, Value>,
    actions: Vec<Action>,
    /// What the recorder sent and no action has been found for.
    sent: Vec<Sent>,
    /// When the API server had answered what actions sent, microseconds from the trigger.
    answered: Vec<i64>,
}

/// Writes the actions into the plan; when the API server had answered those whose requests are known, microseconds from the
/// trigger.
pub fn write(given: &Given, files: &[File], constants: &Constants, requests: Vec<Sent>, draft: &mut Draft) -> Vec<i64> {
    let trigger = given.trigger;
    let loads: Vec<(i64, f64)> = given.actions.iter().filter_map(|(at, words)| Some((*at, load(words)?))).collect();
    place_apps(&loads, constants, draft);
    let words: Vec<&str> = given.actions.iter().map(|(_, words)| words.as_str()).collect();
    let sent = pairing::pair(&words, files);
    let (objects, actions, answered) = (BTreeMap::new(), Vec::new(), Vec::new());
    let mut writer = Writer { given, draft, files, objects, actions, sent: requests, answered };
    for ((at, words), file) in given.actions.iter().zip(&sent) {
        let at = trigger_at(trigger, *at);
        if words == "end of recording" {
            continue;
        }
        if let Some(cores) = load(words) {
            let curve = Curve { points: vec![(at, cores)] };
            for app in 0..writer.draft.plan.apps.len() {
                writer.actions.push(Action { at, kind: ActionKind::SetLoad(AppId::at(app), curve.clone()) });
            }
            continue;
        }
        if let Some(index) = *file {
            writer.send(&files[index], at, words);
            continue;
        }
        match writer.without_file(words) {
            Some(kinds) => {
                let at = writer.answer(at, |sent| sent.verb != "patch" && words.contains(&sent.name));
                writer.actions.extend(kinds.into_iter().map(|kind| Action { at, kind }));
            }
            None => {
                let text = format!("the action `{words}` has no manifest and is not known: passed over");
                writer.draft.problems.push(Diagnostic::warning("W124", writer.draft.problems_place(), text));
            }
        }
    }
    let Writer { actions, answered, .. } = writer;
    for pool in draft.plan.node_pools.iter().filter(|pool| pool.replicas.is_some()) {
        let text = format!("NodePool {} is static (`replicas`): the nodes that it keeps are not modelled", pool.name);
        draft.problems.push(Diagnostic::warning("W129", draft.problems_place(), text));
    }
    let unsent = |index: &usize| !sent.contains(&Some(*index));
    for file in (0..files.len()).filter(unsent).map(|index| &files[index]) {
        let text = format!("no action sends the manifest `{}`: it is there from the start", file.stem);
        draft.problems.push(Diagnostic::warning("W125", file.place, text));
    }
    draft.plan.actions = actions;
    draft.plan.actions.sort_by_key(|action| action.at);
    answered
}

/// `total load := 4.2 cores`.
pub(super) fn load(words: &str) -> Option<f64> {
    let (what, rest) = words.split_once(":=")?;
    let cores: f64 = rest.split_whitespace().next()?.parse().ok()?;
    (what.trim() == "total load" && (0.0..1e6).contains(&cores)).then_some(cores)
}

/// The load model of what autoscalers scale, or of the only Deployment.
fn place_apps(loads: &[(i64, f64)], constants: &Constants, draft: &mut Draft) {
    if loads.is_empty() {
        return;
    }
    let plan = &mut draft.plan;
    let scaled = |index: &usize| {
        let spec = &plan.deployments[*index];
        plan.hpas.iter().any(|hpa| hpa.scales(spec))
    };
    let mut targets: Vec<usize> = (0..plan.deployments.len()).filter(scaled).collect();
    if targets.is_empty() {
        targets.extend((!plan.deployments.is_empty()).then_some(0));
    }
    let several = targets.len() > 1;
    for index in targets {
        let deployment = DeploymentId::at(index);
        plan.apps.push(App {
            cores: Some(Curve::default()),
            cores_per_pod: Some(constants.cores_per_pod),
            load_group: several.then_some(0),
            idle_cpu: Millicores(constants.idle_millicores),
            mode: TrafficMode::Fluid,
            ..default_app(&plan.deployments[index].name, deployment, constants.memory)
        });
    }
    if several {
        let text = "several Deployments are scaled: all their ready pods share the load";
        draft.problems.push(Diagnostic::note("N126", draft.problems_place(), text));
    }
}

impl Writer<'_> {
    /// Actions that send no manifest: deletions, cordons, drains.
    fn without_file(&mut self, words: &str) -> Option<Vec<ActionKind>> {
        let mut parts = words.split([' ', ',']).filter(|part| !part.is_empty());
        let (verb, kind, name) = (parts.next()?.to_lowercase(), parts.next()?, parts.next());
        let kind = kind.to_lowercase();
        let cordon = |choice, cordoned| vec![ActionKind::Cordon(choice, cordoned)];
        match (verb.as_str(), kind.trim_end_matches('s'), name) {
            ("delete", "nodeclaim", Some(name)) => Some(vec![ActionKind::DeleteNodeClaim(self.node(name, words))]),
            ("delete", "node", Some(name)) => Some(vec![ActionKind::DeleteNode(self.node(name, words))]),
            ("cordon" | "uncordon", "node", Some(name)) => Some(cordon(self.node(name, words), verb == "cordon")),
            ("drain", "node", Some(name)) => Some(vec![ActionKind::Drain(self.node(name, words))]),
            // `cordon NAME`, as kubectl has it.
            ("cordon" | "uncordon", _, _) if self.is_node(&kind) => {
                Some(cordon(self.node(&kind, words), verb == "cordon"))
            }
            ("drain", _, _) if self.is_node(&kind) => Some(vec![ActionKind::Drain(self.node(&kind, words))]),
            ("delete", "pod", Some(_)) => Some(self.deleted_pods(words)),
            ("delete", kind, name) => {
                let found = self.named(kind, name);
                found.map(|object| vec![ActionKind::Delete(object)])
            }
            _ => None,
        }
    }

    fn is_node(&self, name: &str) -> bool {
        self.given.claim_of(name).is_some() || self.draft.plan.nodes.iter().any(|node| node.name == name)
    }

    /// Every pod whose name the words say: a bare one by its name, one of a Deployment by its place among those made.
    fn deleted_pods(&mut self, words: &str) -> Vec<ActionKind> {
        let plan = &self.draft.plan;
        let mut found = Vec::new();
        for word in words.split([' ', ',', '(', ')']).skip(2) {
            if let Some(index) = plan.pods.iter().position(|pod| pod.name == word) {
                found.push(ActionKind::Delete(Applied::Pod(index)));
                continue;
            }
            // A StatefulSet's pod has the same name for ever.
            let stateful = word.rsplit_once('-').filter(|(_, ordinal)| ordinal.parse::<u32>().is_ok());
            let is_set = |owner: &str| plan.deployments.iter().any(|one| one.ordinal().is_some() && one.name == owner);
            if stateful.is_some_and(|(owner, _)| is_set(owner)) {
                found.push(ActionKind::DeletePod(PodChoice::Named(word.to_string())));
                continue;
            }
            let deployment = owner_of(word).and_then(|owner| plan.deployments.iter().position(|one| one.name == owner));
            if let Some(index) = deployment
                && let Some(place) = self.given.pod_of(word, &plan.deployments[index].name)
            {
                found.push(ActionKind::DeletePod(PodChoice::Recorded(DeploymentId::at(index), place)));
            }
        }
        if found.is_empty() {
            let text = format!("no pod that the action `{words}` means is known: passed over");
            self.draft.problems.push(Diagnostic::warning("W124", self.draft.problems_place(), text));
        }
        found
    }

    /// An object by its kind, in the singular or as kubectl shortens it, and name; without a name the first.
    fn named(&self, kind: &str, name: Option<&str>) -> Option<Applied> {
        let plan = &self.draft.plan;
        let is = |own: &str| name.is_none_or(|name| name == own);
        match kind {
            "deployment" | "deploy" | "statefulset" | "st" => {
                let word = if kind.starts_with('d') { "deployment" } else { "statefulset" };
                let found = plan.deployments.iter().position(|one| one.word() == word && is(&one.name));
                found.map(|index| Applied::Deployment(DeploymentId::at(index)))
            }
            "hpa" | "horizontalpodautoscaler" => {
                plan.hpas.iter().position(|one| is(&one.name)).map(|index| Applied::Hpa(HpaId::at(index)))
            }
            "pdb" | "poddisruptionbudget" => {
                plan.pdbs.iter().position(|one| is(&one.name)).map(|index| Applied::Pdb(PdbId::at(index)))
            }
            "nodepool" => {
                let found = plan.node_pools.iter().position(|one| is(&one.name));
                found.map(|index| Applied::NodePool(NodePoolId::at(index)))
            }
            _ => None,
        }
    }

    /// The node that a name means: one of the manifests by its name, one of Karpenter's by its place in the recording and,
    /// where the action says so, by how many pods it holds.
    fn node(&self, name: &str, words: &str) -> NodeChoice {
        let pods = words.split(['(', ',', ' ', ')']).collect::<Vec<_>>();
        let count =
            pods.windows(2).find(|pair| matches!(pair[1], "pods" | "pod")).and_then(|pair| pair[0].parse().ok());
        match self.given.claim_of(name) {
            Some(claim) => NodeChoice::Recorded { claim, pods: count },
            None => NodeChoice::Named(name.to_string()),
        }
    }

    /// Sends a manifest.
    fn send(&mut self, file: &File, at: Time, words: &str) {
        for (place, document) in &file.documents {
            let key = file.patch.clone().or_else(|| key_of(document));
            let Some(key) = key else { continue };
            let patched = file.patch.is_some();
            // What no action has sent before its patch is there from the start.
            let whole = || {
                let documents = self.files.iter().filter(|file| file.patch.is_none()).flat_map(|file| &file.documents);
                documents.map(|(_, whole)| whole).find(|whole| patched && key_of(whole).as_ref() == Some(&key)).cloned()
            };
            let before = self.objects.get(&key).cloned().or_else(whole);
            let now = match &before {
                Some(before) if patched => merged(before, document),
                None if patched => merged(&Value::Null, document),
                _ => document.clone(),
            };
            let new = before.is_none() && !patched;
            let resource = resource_of(&key.0);
            let at = self.answer(at, |sent| sent.name == key.2 && Some(sent.resource.as_str()) == resource);
            let at = if new { self.there(&key, at) } else { at };
            let kinds = if new {
                self.created(&key)
            } else {
                let before = before.unwrap_or(Value::Null);
                self.changed(&key, &before, &now, document, *place, words)
            };
            self.objects.insert(key, now);
            self.actions.extend(kinds.into_iter().map(|kind| Action { at, kind }));
        }
    }

    /// When the API server had answered the first such request of an action at `at`; shortly after it, where none is known.
    fn answer(&mut self, at: Time, is: impl Fn(&Sent) -> bool) -> Time {
        let acted = at.micros() as i64 - self.given.trigger.micros() as i64;
        let soon = acted - EARLY_MICROS..acted + LATE_MICROS;
        match self.sent.iter().position(|sent| soon.contains(&sent.from) && is(sent)) {
            Some(index) => {
                let answered = self.sent.remove(index).to;
                self.answered.push(answered);
                trigger_at(self.given.trigger, answered)
            }
            None => at + WRITE,
        }
    }

    fn index(&self, key: &Key) -> Option<Applied> {
        let (kind, namespace, name) = key;
        let plan = &self.draft.plan;
        let same = |own_namespace: &str, own: &str| own == name && own_namespace == namespace;
        match kind.as_str() {
            "Deployment" | "StatefulSet" => {
                let is_it =
                    |one: &Arc<crate::plan::DeploymentSpec>| one.kind() == kind && same(&one.namespace, &one.name);
                let found = plan.deployments.iter().position(is_it);
                found.map(|index| Applied::Deployment(DeploymentId::at(index)))
            }
            "HorizontalPodAutoscaler" => {
                let found = plan.hpas.iter().position(|one| same(&one.namespace, &one.name));
                found.map(|index| Applied::Hpa(HpaId::at(index)))
            }
            "PodDisruptionBudget" => {
                let found = plan.pdbs.iter().position(|one| same(&one.namespace, &one.name));
                found.map(|index| Applied::Pdb(PdbId::at(index)))
            }
            "NodePool" => {
                let found = plan.node_pools.iter().position(|one| one.name == *name);
                found.map(|index| Applied::NodePool(NodePoolId::at(index)))
            }
            "DaemonSet" => {
                let found = plan.daemon_sets.iter().position(|one| same(&one.namespace, &one.name));
                found.map(|index| Applied::DaemonSet(DaemonSetId::at(index)))
            }
            "Node" => plan.nodes.iter().position(|one| one.name == *name).map(Applied::Node),
            "Pod" => plan.pods.iter().position(|one| one.name == *name).map(Applied::Pod),
            _ => None,
        }
    }

    /// When an object is there. An autoscaler's first sync is given, and comes a period after the controller takes notice.
    fn there(&self, key: &Key, at: Time) -> Time {
        let trigger = self.given.trigger;
        let sent = at.micros() as i64 - trigger.micros() as i64;
        let sync = self.given.first_sync(&key.2, sent).filter(|_| key.0 == "HorizontalPodAutoscaler");
        let noticed = sync.map(|sync| trigger_at(trigger, sync).back(self.draft.plan.flags.hpa.sync_period + NOTICE));
        noticed.filter(|noticed| noticed.since(at) <= NOTICE_MAX).map_or(at, |noticed| noticed.max(at))
    }

    fn created(&self, key: &Key) -> Vec<ActionKind> {
        self.index(key).map(ActionKind::Create).into_iter().collect()
    }

    /// An object has another version.
    fn changed(
        &mut self,
        key: &Key,
        before: &Value,
        now: &Value,
        sent: &Value,
        place: Place,
        words: &str,
    ) -> Vec<ActionKind> {
        if key.0 == "Node" {
            let mut kinds = self.node_changed(&key.2, before, now, words, place);
            kinds.extend(removed(sent, &self.node(&key.2, words)));
            return kinds;
        }
        let Some(object) = self.index(key) else {
            if !WITHOUT_EFFECT.contains(&key.0.as_str()) {
                let text = format!("a change of {} {} is not modelled: passed over", key.0, key.2);
                self.draft.problems.push(Diagnostic::warning("W127", place, text));
            }
            return Vec::new();
        };
        let node = Node::from_json(now, place);
        let Draft { plan, problems, .. } = &mut *self.draft;
        let kind = match object {
            Applied::Deployment(deployment) => {
                let ordinal = plan.deployments[deployment.index()].ordinal();
                let read = if ordinal.is_some() { manifest::read_stateful_set } else { manifest::read_deployment };
                read(&node, problems).map(|(mut spec, template)| {
                    spec.template = place_template(template, place, None, plan, problems);
                    let keeps_replicas = sent["spec"]["replicas"].is_null();
                    ActionKind::UpdateDeployment { deployment, spec: Arc::new(spec), keeps_replicas }
                })
            }
            Applied::Hpa(hpa) => {
                manifest::read_hpa(&node, problems).map(|spec| ActionKind::UpdateHpa(hpa, Arc::new(spec)))
            }
            Applied::Pdb(pdb) => {
                manifest::read_pdb(&node, problems).map(|spec| ActionKind::UpdatePdb(pdb, Arc::new(spec)))
            }
            Applied::NodePool(pool) => manifest::read_node_pool(&node, problems).map(|mut spec| {
                spec.node_class = plan.node_pools[pool.index()].node_class;
                spec.v1beta1 = plan.node_pools[pool.index()].v1beta1;
                ActionKind::UpdateNodePool(pool, Arc::new(spec))
            }),
            Applied::DaemonSet(_) | Applied::Node(_) | Applied::Pod(_) => {
                let text = format!("a change of {} {} is not modelled: passed over", key.0, key.2);
                problems.push(Diagnostic::warning("W127", place, text));
                None
            }
        };
        kind.into_iter().collect()
    }

    /// Taints and the cordon of a node; one of Karpenter's has its own taints beside those that a patch knows of.
    fn node_changed(&mut self, name: &str, before: &Value, now: &Value, words: &str, place: Place) -> Vec<ActionKind> {
        let choice = self.node(name, words);
        let mut taints = |value: &Value| {
            let node = Node::from_json(&value["spec"], place);
            let fields = crate::scenario::reader::Fields::of(&node, "spec", &mut self.draft.problems);
            fields.map_or_else(Vec::new, |mut fields| {
                manifest::common::taints(&mut fields, "taints", &mut self.draft.problems)
            })
        };
        let there = |value: &Value| value["spec"].is_object();
        let old = if there(before) { taints(before) } else { Vec::new() };
        let new = if there(now) { taints(now) } else { Vec::new() };
        let mut kinds = Vec::new();
        for taint in new.iter().filter(|taint| !old.contains(taint)) {
            kinds.push(ActionKind::TaintNode(choice.clone(), taint.clone()));
        }
        for taint in old.iter().filter(|taint| !new.contains(taint)) {
            kinds.push(ActionKind::Untaint(choice.clone(), taint.clone()));
        }
        let cordoned = |value: &Value| value["spec"]["unschedulable"].as_bool().unwrap_or(false);
        if cordoned(before) != cordoned(now) {
            kinds.push(ActionKind::Cordon(choice.clone(), cordoned(now)));
        }
        let entries = |value: &Value, what: &str| -> Labels {
            let entries = value["metadata"][what].as_object().into_iter().flatten();
            entries.filter_map(|(key, value)| Some((key.as_str(), value.as_str()?))).collect()
        };
        let (old, new) = (entries(before, "labels"), entries(now, "labels"));
        for (key, value) in new.iter().filter(|(key, value)| old.get(key) != Some(value)) {
            kinds.push(ActionKind::LabelNode(choice.clone(), key.to_string(), value.to_string()));
        }
        let (old, new) = (entries(before, "annotations"), entries(now, "annotations"));
        let gone = old.keys().filter(|key| !new.contains_key(key)).map(|key| (key.to_string(), None));
        let set = new.iter().filter(|(key, value)| old.get(key) != Some(value));
        let set = set.map(|(key, value)| (key.to_string(), Some(value.to_string())));
        for (key, value) in gone.chain(set) {
            kinds.push(ActionKind::AnnotateNode(choice.clone(), key, value));
        }
        kinds
    }
}

/// What a merge patch takes away by a null, of a node whose object no manifest knows.
fn removed(patch: &Value, choice: &NodeChoice) -> Vec<ActionKind> {
    let annotations = patch["metadata"]["annotations"].as_object().into_iter().flatten();
    let nulls = annotations.filter(|(_, value)| value.is_null()).map(|(key, _)| key.clone());
    let mut kinds: Vec<ActionKind> = nulls.map(|key| ActionKind::AnnotateNode(choice.clone(), key, None)).collect();
    if patch["spec"].get("unschedulable").is_some_and(|value| !value.as_bool().unwrap_or(false)) {
        kinds.push(ActionKind::Cordon(choice.clone(), false));
    }
    kinds
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loads_are_read_from_the_words_of_an_action() {
        assert_eq!(load("total load := 4.2 cores"), Some(4.2));
        assert_eq!(load("PDB minAvailable := 9"), None);
        assert_eq!(load("total load := -1 cores"), None);
        assert_eq!(load("total load := NaN cores"), None);
    }
}
