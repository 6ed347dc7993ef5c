//! `workload.trace`: the Deployment and ReplicaSet controllers, a script of edits and a scripted kubelet.

use crate::Case;
use crate::stage::{ORIGIN, items, moment, read, text, timestamp};
use crate::turns::{Entry, Running, Script, Turn, Turns, merge_patch};
use kubelapse::engine::{Span, Time};
use kubelapse::manifest;
use kubelapse::plan::{
    DeploymentId, DeploymentSpec, Distribution, Fault, FaultId, FaultKind, Plan, PodCall, PodTemplate, Stage,
    TemplateId,
};
use kubelapse::world::{
    Change, Condition, ContainerStatus, DeleteCause, NewNode, NewPod, NodeId, Owner, PodId, PodObject, PodPhase,
    ReplicaSetId, World,
};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// How old the ReplicaSets are that exist before the controllers.
const AGE: Span = Span::from_secs(24 * 3600);

#[derive(Clone, Copy)]
enum Deed {
    Step(usize),
    Fault(FaultId, bool),
    Bind(PodId),
    Run(PodId),
    Ready(PodId),
    Gone(PodId),
}

struct Workload<'c> {
    steps: &'c [Value],
    /// The Deployment as each step leaves it.
    specs: Vec<Option<Arc<DeploymentSpec>>>,
    kubelet: &'c Value,
    hashes: &'c Value,
    nodes: Vec<NodeId>,
    /// Numbers of the ReplicaSets, by id.
    numbers: Vec<u64>,
    states: Vec<(Time, String)>,
}

/// Replays a case.
pub fn replay(case: &Case) -> Result<(), String> {
    let input = &case.input;
    let steps = items(&input["steps"]);
    let mut plan = plan(input)?;
    let specs = specs(&mut plan, input, steps)?;
    add_sets(&mut plan, input)?;
    let mut world = World::new(&plan);
    let mut script = Workload {
        steps,
        specs,
        kubelet: &input["kubelet"],
        hashes: &input["hashes"],
        nodes: Vec::new(),
        numbers: Vec::new(),
        states: Vec::new(),
    };
    script.populate(&mut world, input)?;
    let until = moment(&input["until"]);
    let faults: Vec<(Time, Option<Time>)> = plan.faults.iter().map(|fault| (fault.at, fault.until)).collect();
    let running = if input["replicaSets"].is_null() { Running::Deployments } else { Running::Sets };
    let mut turns = Turns::new(plan, world, script, running);
    let mut fault = 0;
    for (index, step) in steps.iter().enumerate() {
        turns.schedule(moment(&step["t"]), Deed::Step(index));
        if !step["fail"].is_null() {
            let id = FaultId::at(fault);
            turns.schedule(faults[fault].0, Deed::Fault(id, true));
            turns.schedule(faults[fault].1.unwrap_or(until), Deed::Fault(id, false));
            fault += 1;
        }
    }
    turns.start();
    turns.run(until);
    let exact = input["victims"] == "exact";
    compare("facts", &facts(&turns, exact), &expected_facts(items(&case.expect["facts"]), exact))?;
    compare("status", &last_of_each(&turns.script.states), &last_of_each(&expected_states(&case.expect["status"])))
}

fn plan(input: &Value) -> Result<Plan, String> {
    let mut plan = Plan::empty(ORIGIN, Span::from_secs(3600));
    plan.timings.set(Stage::ApiHop, Distribution::Constant(Span::ZERO));
    plan.flags.controllers.client_qps = 0.0;
    if let Some(quota) = input["quota"].as_u64() {
        plan.pod_quotas.insert("default".into(), quota as u32);
    }
    for step in items(&input["steps"]).iter().filter(|step| !step["fail"].is_null()) {
        let begin = moment(&step["t"]);
        let until = Some(begin + Span::from_seconds(step["for"].as_f64().unwrap_or(0.0)));
        let call = if step["fail"] == "create" { PodCall::Create } else { PodCall::Delete };
        plan.faults.push(Fault { at: begin, until, kind: FaultKind::PodCallsFail(call) });
    }
    Ok(plan)
}

/// Places a template in the plan, each once.
pub fn place(plan: &mut Plan, template: PodTemplate) -> TemplateId {
    let known = plan.templates.iter().position(|known| **known == template);
    TemplateId::at(known.unwrap_or_else(|| {
        plan.templates.push(Arc::new(template));
        plan.templates.len() - 1
    }))
}

/// Reads the Deployment of the start into the plan, and what each step makes of it.
fn specs(plan: &mut Plan, input: &Value, steps: &[Value]) -> Result<Vec<Option<Arc<DeploymentSpec>>>, String> {
    let mut object = input["deployment"].clone();
    if object.is_null() {
        return Ok(vec![None; steps.len()]);
    }
    let spec = |plan: &mut Plan, object: &Value| {
        let (mut spec, template) = read(object, manifest::read_deployment)?;
        spec.template = place(plan, template);
        Ok::<_, String>(Arc::new(spec))
    };
    let first = spec(plan, &object)?;
    plan.deployments.push(first);
    let mut specs = Vec::new();
    for step in steps {
        let patched = !step["deployment"].is_null();
        if patched {
            merge_patch(&mut object, &step["deployment"]);
        }
        specs.push(if patched { Some(spec(plan, &object)?) } else { None });
    }
    Ok(specs)
}

fn is_lone(set: &Value) -> bool {
    set["owner"].is_null()
}

/// The ReplicaSets that exist before: their owners and their pods' templates.
fn add_sets(plan: &mut Plan, input: &Value) -> Result<(), String> {
    let sets = input["replicaSets"].as_object();
    if sets.is_some() {
        place(plan, PodTemplate::default());
    }
    let sets: Vec<&Value> = sets.into_iter().flatten().map(|(_, set)| set).collect();
    let owners: BTreeSet<&str> = sets.iter().map(|set| text(&set["owner"])).collect();
    for owner in owners {
        let spec = DeploymentSpec {
            namespace: "default".into(),
            name: owner.into(),
            replicas: 0,
            selector: Default::default(),
            template: TemplateId(0),
            strategy: kubelapse::plan::Strategy::Recreate,
            min_ready: Span::ZERO,
            progress_deadline: Span::from_secs(600),
            revision_history_limit: 10,
            paused: true,
        };
        plan.deployments.push(Arc::new(spec));
    }
    for pod in sets.iter().flat_map(|set| items(&set["pods"])) {
        place(plan, pod_template(pod)?);
    }
    Ok(())
}

/// The template of a pod that is given without one: containers are those that have a status.
fn pod_template(pod: &Value) -> Result<PodTemplate, String> {
    let named = |statuses: &Value| -> Vec<Value> {
        items(statuses).iter().map(|status| json!({"name": status["name"], "image": "app:v1"})).collect()
    };
    let mut containers = named(&pod["status"]["containerStatuses"]);
    if containers.is_empty() {
        containers.push(json!({"name": "c", "image": "app:v1"}));
    }
    let mut sidecars = named(&pod["status"]["initContainerStatuses"]);
    sidecars.iter_mut().for_each(|sidecar| sidecar["restartPolicy"] = json!("Always"));
    let metadata = json!({"name": "pod", "namespace": "default", "annotations": pod["metadata"]["annotations"]});
    let spec = json!({"containers": containers, "initContainers": sidecars});
    read(&json!({"metadata": metadata, "spec": spec}), manifest::read_pod)
}

fn node(world: &mut World, name: &str) -> NodeId {
    if let Some(node) = world.nodes.iter().find(|node| &*node.name == name) {
        return node.id;
    }
    world.create_node(NewNode {
        name: name.into(),
        labels: Default::default(),
        taints: Vec::new(),
        allocatable: Default::default(),
        capacity: Default::default(),
        claim: None,
        instance: None,
        zone: None,
    })
}

/// The UID of the k-th pod of the N-th ReplicaSet.
pub fn uid(number: u64, ordinal: u32) -> Arc<str> {
    let word = (number * 100_003 + u64::from(ordinal)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    format!("{word:016x}").into()
}

impl Workload<'_> {
    /// Nodes, and what is older than the controllers.
    fn populate(&mut self, world: &mut World, input: &Value) -> Result<(), String> {
        world.now = ORIGIN.back(AGE);
        for number in 1..=input["kubelet"]["nodes"].as_u64().unwrap_or(1) {
            self.nodes.push(node(world, &format!("n{number}")));
        }
        let sets = input["replicaSets"].as_object().into_iter().flatten();
        let mut sets: Vec<(u64, &Value)> =
            sets.map(|(name, set)| (name.trim_start_matches("rs").parse().unwrap_or(0), set)).collect();
        sets.sort_by_key(|set| set.0);
        for (number, set) in sets {
            let owner = world.deployments.iter().position(|owner| owner.spec.name == text(&set["owner"]));
            let id = world.create_replica_set(DeploymentId::at(owner.unwrap_or(0)), 0);
            let entry = &mut world.replica_sets[id.index()];
            entry.replicas = set["replicas"].as_i64().unwrap_or(1) as i32;
            entry.min_ready = Span::from_seconds(set["minReadySeconds"].as_f64().unwrap_or(0.0));
            self.numbers.push(number);
            for pod in items(&set["pods"]) {
                self.add_pod(world, id, pod)?;
            }
            if is_lone(set) {
                let entry = &mut world.replica_sets[id.index()];
                let owner = entry.deployment.take().ok_or("a set that was just created")?;
                world.deployments[owner.index()].replica_sets.retain(|&other| other != id);
            }
        }
        world.now = ORIGIN;
        self.states.clear();
        Ok(())
    }

    fn add_pod(&mut self, world: &mut World, set: ReplicaSetId, object: &Value) -> Result<(), String> {
        let wanted = pod_template(object)?;
        let template = world.templates.iter().position(|known| **known == wanted).ok_or("an unknown template")?;
        let ordinal = world.replica_sets[set.index()].created_pods + 1;
        let template = TemplateId::at(template);
        let new = NewPod { template, owner: Owner::ReplicaSet(set), ordinal, pinned: None, name: None };
        let id = world.create_pod(new);
        if let Some(name) = object["spec"]["nodeName"].as_str() {
            let node = node(world, name);
            world.bind_pod(id, node);
        }
        let own_uid = object["metadata"]["uid"].as_str().map(Arc::from);
        let pod = &mut world.pods[id.index()];
        pod.uid = Some(own_uid.unwrap_or_else(|| uid(self.numbers[set.index()], ordinal)));
        let created = &object["metadata"]["creationTimestamp"];
        pod.created = if created.is_null() { ORIGIN.back(AGE) } else { timestamp(created) };
        pod.phase = phase(text(&object["status"]["phase"]));
        if !object["metadata"]["deletionTimestamp"].is_null() {
            pod.deleting_since = Some(ORIGIN.back(Span::from_secs(1)));
        }
        for condition in items(&object["status"]["conditions"]).iter().filter(|one| one["type"] == "Ready") {
            let since = &condition["lastTransitionTime"];
            let since = if since.is_null() { Time::ZERO } else { timestamp(since) };
            pod.ready = Condition { status: Some(condition["status"] == "True"), since, exact: since };
        }
        let statuses = items(&object["status"]["initContainerStatuses"]).iter();
        let statuses = statuses.chain(items(&object["status"]["containerStatuses"]));
        for (container, status) in pod.containers.iter_mut().zip(statuses) {
            container.restarts = status["restartCount"].as_u64().unwrap_or(0) as u32;
        }
        Ok(())
    }

    fn number(&self, set: ReplicaSetId) -> u64 {
        self.numbers.get(set.index()).copied().unwrap_or(set.index() as u64 + 1)
    }

    fn set_named(&self, world: &World, name: &str) -> Option<ReplicaSetId> {
        let mut ids = world.replica_sets.iter().map(|set| set.id);
        ids.find(|&set| format!("rs{}", self.number(set)) == name)
    }

    /// The pod called `rsN-k`, if it exists.
    fn pod_named(&self, world: &World, name: &str) -> Option<PodId> {
        let (set, ordinal) = name.rsplit_once('-')?;
        let owner = Owner::ReplicaSet(self.set_named(world, set)?);
        let ordinal: u32 = ordinal.parse().ok()?;
        let same = |pod: &PodId| world.pod(*pod).owner == owner && world.pod(*pod).ordinal == ordinal;
        world.living.iter().find(same)
    }

    /// A kubelet rule of a pod in seconds; `None`: never.
    fn rule(&self, world: &World, pod: PodId, key: &str) -> Option<f64> {
        let image = world.template_of(pod).containers.first().map_or("", |container| container.image.as_str());
        let own = &self.kubelet["images"][image];
        let rules = if own.is_null() { self.kubelet } else { own };
        rules[key].as_f64()
    }

    fn step(&mut self, world: &mut World, index: usize) {
        let step = &self.steps[index];
        if let Some(spec) = &self.specs[index] {
            world.update_deployment(DeploymentId(0), spec.clone());
        }
        if let (Some(set), Some(replicas)) = (step["replicaSet"].as_str(), step["replicas"].as_i64())
            && let Some(set) = self.set_named(world, set)
        {
            world.scale_replica_set(set, replicas as i32);
        }
        if let Some(quota) = step["quota"].as_i64() {
            world.pod_quotas.remove("default");
            if let Ok(quota) = u32::try_from(quota) {
                world.pod_quotas.insert("default".into(), quota);
            }
        }
        if let Some(pod) = step["pod"].as_str().and_then(|name| self.pod_named(world, name)) {
            self.edit_pod(world, pod, step);
        }
    }

    fn edit_pod(&self, world: &mut World, pod: PodId, step: &Value) {
        let is_set = |key: &str| step.get(key).is_some_and(|value| !value.is_null() && value != false);
        if is_set("gone") {
            return world.remove_pod(pod);
        }
        if is_set("delete") {
            return world.delete_pod(pod, None, DeleteCause::User);
        }
        if let Some(cost) = step["cost"].as_str() {
            world.set_deletion_cost(pod, cost);
        }
        let entry = &mut world.pods[pod.index()];
        if let Some(restarts) = step["restarts"].as_u64()
            && let Some(ContainerStatus { restarts: count, .. }) = entry.containers.last_mut()
        {
            *count = restarts as u32;
        }
        let object = PodObject {
            template: entry.template,
            node: None,
            phase: step["phase"].as_str().map_or(entry.phase, phase),
            ready: step["ready"].as_bool().or(entry.ready.status),
            deleting: entry.deleting_since.is_some(),
            disruption_target: entry.disruption_target_since,
            address: entry.address,
            ipv6: entry.ipv6,
        };
        world.write_pod(pod, object);
    }
}

fn phase(text: &str) -> PodPhase {
    match text {
        "Running" => PodPhase::Running,
        "Succeeded" => PodPhase::Succeeded,
        "Failed" => PodPhase::Failed,
        "Unknown" => PodPhase::Unknown,
        _ => PodPhase::Pending,
    }
}

impl Script for Workload<'_> {
    type Deed = Deed;

    fn act(&mut self, world: &mut World, deed: Deed) -> Vec<(Time, Deed)> {
        let acts = |pod: PodId, phase: PodPhase| world.pod(pod).is_active() && world.pod(pod).phase == phase;
        match deed {
            Deed::Step(index) => self.step(world, index),
            Deed::Fault(fault, active) => world.set_fault(fault, active),
            Deed::Gone(pod) => world.remove_pod(pod),
            Deed::Bind(pod) => {
                if world.pod(pod).is_active() && world.pod(pod).node.is_none() {
                    let node = self.nodes[(world.pod(pod).ordinal as usize - 1) % self.nodes.len()];
                    world.bind_pod(pod, node);
                }
            }
            Deed::Run(pod) => {
                if acts(pod, PodPhase::Pending) && world.pod(pod).node.is_some() {
                    world.set_pod_phase(pod, PodPhase::Running);
                }
            }
            Deed::Ready(pod) => {
                if acts(pod, PodPhase::Running) {
                    world.set_pod_ready(pod, true);
                }
            }
        }
        Vec::new()
    }

    fn hear(&mut self, world: &mut World, change: Change) -> Vec<(Time, Deed)> {
        let now = world.now;
        match change {
            Change::ReplicaSetCreated(set) => {
                self.numbers.push(set.index() as u64 + 1);
                let hash = text(&self.hashes[format!("rs{}", set.index() + 1)]);
                world.replica_sets[set.index()].given_name = Some(format!("web-{hash}").into());
                Vec::new()
            }
            Change::PodCreated(pod) => {
                let Owner::ReplicaSet(set) = world.pod(pod).owner else { return Vec::new() };
                let ordinal = world.pod(pod).ordinal;
                world.pods[pod.index()].uid = Some(uid(self.number(set), ordinal));
                let stagger = self.rule(world, pod, "stagger").unwrap_or(0.0) * f64::from(ordinal - 1);
                let deeds = [
                    (self.rule(world, pod, "bind"), Deed::Bind(pod)),
                    (self.rule(world, pod, "run"), Deed::Run(pod)),
                    (self.rule(world, pod, "ready").map(|after| after + stagger), Deed::Ready(pod)),
                ];
                let after = |(after, deed): (Option<f64>, Deed)| Some((now + Span::from_seconds(after?), deed));
                deeds.into_iter().filter_map(after).collect()
            }
            Change::PodDeleting(pod, _) if world.pod(pod).gone.is_none() => {
                let gone = self.rule(world, pod, "gone");
                gone.map(|after| (now + Span::from_seconds(after), Deed::Gone(pod))).into_iter().collect()
            }
            _ => Vec::new(),
        }
    }

    fn look(&mut self, world: &World) {
        if self.hashes.is_object() {
            self.states.push((world.now, deployment_state(world)));
            return;
        }
        for set in &world.replica_sets {
            let status = &set.status;
            let failure = status.failure.map_or(String::new(), |reason| format!("True/{}", reason.name()));
            let counts = format!("replicas {} ready {} available {}", status.replicas, status.ready, status.available);
            self.states.push((world.now, format!("rs{} {counts} failure {failure}", self.number(set.id))));
        }
    }
}

fn deployment_state(world: &World) -> String {
    let status = &world.deployments[0].status;
    let text = |condition: Option<kubelapse::world::DeploymentCondition>| {
        condition.map_or(String::new(), |condition| condition.text())
    };
    let failure = status.replica_failure.map_or(String::new(), |reason| format!("True/{}", reason.name()));
    format!(
        "web replicas {} updated {} ready {} available {} progressing {} available {} failure {failure}",
        status.replicas,
        status.updated,
        status.ready,
        status.available,
        text(status.progressing),
        text(status.availability)
    )
}

fn expected_states(status: &Value) -> Vec<(Time, String)> {
    let state = |entry: &Value| {
        let number = |key: &str| entry[key].as_i64().unwrap_or(0);
        let (replicas, ready, available) = (number("replicas"), number("ready"), number("available"));
        let failure = text(&entry["replicaFailure"]);
        match entry["rs"].as_str() {
            Some(rs) => format!("{rs} replicas {replicas} ready {ready} available {available} failure {failure}"),
            None => format!(
                "web replicas {replicas} updated {} ready {ready} available {available} progressing {} available {} \
                 failure {failure}",
                number("updated"),
                text(&entry["progressing"]),
                text(&entry["availableCondition"])
            ),
        }
    };
    items(status).iter().map(|entry| (moment(&entry["t"]), state(entry))).collect()
}

/// The last state of each object at each instant, where it differs from the one before.
fn last_of_each(states: &[(Time, String)]) -> Vec<String> {
    let mut last: BTreeMap<(Time, &str), &str> = BTreeMap::new();
    for (time, state) in states {
        last.insert((*time, state.split(' ').next().unwrap_or_default()), state);
    }
    let mut present: BTreeMap<&str, &str> = BTreeMap::new();
    let mut changes = Vec::new();
    for ((time, object), state) in last {
        if present.insert(object, state) != Some(state) {
            changes.push(format!("{:.3} {state}", time.seconds_from(ORIGIN)));
        }
    }
    changes
}

/// Facts, those of one instant by ReplicaSet.
fn facts(turns: &Turns<Workload<'_>>, exact: bool) -> Vec<String> {
    let mut facts: Vec<(Time, u64, String)> = Vec::new();
    let mut index = 0;
    while index < turns.log.len() {
        let entry = &turns.log[index];
        let number = entry.number;
        let same = turns.log[index..].iter().take_while(|other| other.number == number).count();
        let calls = &turns.log[index..index + same];
        match calls.iter().map(|call| call.turn).find(|turn| *turn != Turn::None) {
            Some(Turn::Deployment(_)) => {
                for change in calls.iter().filter(|call| call.turn != Turn::None).flat_map(|call| &call.changes) {
                    facts.extend(scale_fact(turns, entry.at, *change));
                }
            }
            Some(Turn::Set(set)) => facts.extend(pod_fact(turns, set, calls, exact)),
            _ => {}
        }
        index += same;
    }
    facts.sort_by_key(|fact| (fact.0, fact.1));
    facts.into_iter().map(|(time, _, fact)| format!("{:.3} {fact}", time.seconds_from(ORIGIN))).collect()
}

fn scale_fact(turns: &Turns<Workload<'_>>, at: Time, change: Change) -> Option<(Time, u64, String)> {
    let number = |set: ReplicaSetId| turns.script.number(set);
    Some(match change {
        Change::ReplicaSetCreated(set) => {
            // What the size was at first is in the log only as what it was before the next change.
            let entry = &turns.world.replica_sets[set.index()];
            let template = &turns.world.templates[entry.template.index()];
            let image = template.containers.first().map_or("", |container| container.image.as_str());
            let mut later = turns.log.iter().flat_map(|entry| &entry.changes);
            let first = later.find_map(|change| match change {
                Change::ReplicaSetScaled { replica_set, from, .. } if *replica_set == set => Some(*from),
                _ => None,
            });
            let to = first.unwrap_or(entry.replicas);
            (at, number(set), format!("rs{} scale {image} to {to}", number(set)))
        }
        Change::ReplicaSetScaled { replica_set: set, from, to } => {
            (at, number(set), format!("rs{} scale from {from} to {to}", number(set)))
        }
        Change::ReplicaSetGone(set) => (at, number(set), format!("rs{} remove", number(set))),
        _ => return None,
    })
}

/// What one sync of a ReplicaSet did with its pods.
fn pod_fact(
    turns: &Turns<Workload<'_>>,
    set: ReplicaSetId,
    calls: &[Entry],
    exact: bool,
) -> Option<(Time, u64, String)> {
    let (mut created, mut batches, mut failed, mut deleted) = (0, Vec::new(), false, Vec::new());
    for call in calls.iter().filter(|call| call.turn != Turn::None) {
        let count = |wanted: fn(&Change) -> bool| call.changes.iter().filter(|change| wanted(change)).count();
        let made = count(|change| matches!(change, Change::PodCreated(_)));
        let refused = count(|change| matches!(change, Change::PodRefused(_)));
        if made + refused > 0 {
            batches.push(made + refused);
        }
        created += made;
        failed |= refused > 0;
        for change in &call.changes {
            if let Change::PodDeleting(pod, DeleteCause::ScaleDown | DeleteCause::Rollout) = change {
                deleted.push(turns.world.pod(*pod).ordinal);
            }
        }
    }
    let (at, number) = (calls.first()?.at, turns.script.number(set));
    let fact = if !batches.is_empty() {
        format!("rs{number} create {created} in {batches:?} failed {failed}")
    } else if !deleted.is_empty() {
        deleted.sort_unstable();
        let pods = if exact { format!("{deleted:?}") } else { String::new() };
        format!("rs{number} delete {} {pods}", deleted.len())
    } else {
        return None;
    };
    Some((at, number, fact))
}

fn expected_facts(expected: &[Value], exact: bool) -> Vec<String> {
    let mut facts: Vec<(Time, u64, String)> = Vec::new();
    for fact in expected {
        let rs = text(&fact["rs"]);
        let number = rs.trim_start_matches("rs").parse().unwrap_or(0);
        let count = fact["n"].as_u64().unwrap_or(0);
        let words = match text(&fact["k"]) {
            "scale" if fact["from"].is_null() => format!("scale {} to {}", text(&fact["image"]), fact["to"]),
            "scale" => format!("scale from {} to {}", fact["from"], fact["to"]),
            "create" => {
                let batches: Vec<u64> = items(&fact["batches"]).iter().filter_map(Value::as_u64).collect();
                format!("create {count} in {batches:?} failed {}", fact["failed"] == true)
            }
            "delete" => {
                let ordinal = |pod: &Value| text(pod).rsplit('-').next().and_then(|last| last.parse::<u32>().ok());
                let mut pods: Vec<u32> = items(&fact["pods"]).iter().filter_map(ordinal).collect();
                pods.sort_unstable();
                format!("delete {count} {}", if exact { format!("{pods:?}") } else { String::new() })
            }
            other => other.to_string(),
        };
        facts.push((moment(&fact["t"]), number, format!("{rs} {words}")));
    }
    facts.sort_by_key(|fact| (fact.0, fact.1));
    facts.into_iter().map(|(time, _, fact)| format!("{:.3} {fact}", time.seconds_from(ORIGIN))).collect()
}

/// The first difference of two lists.
pub fn compare(what: &str, found: &[String], expected: &[String]) -> Result<(), String> {
    let differs = (0..found.len().max(expected.len())).find(|&index| found.get(index) != expected.get(index));
    differs.map_or(Ok(()), |index| {
        let before = index.checked_sub(1).and_then(|before| expected.get(before));
        let show = |lines: &[String]| lines.get(index).cloned().unwrap_or("nothing".into());
        Err(format!(
            "{what}\n    after    {}\n    expected {}\n    found    {}",
            before.map_or("nothing", String::as_str),
            show(expected),
            show(found)
        ))
    })
}
