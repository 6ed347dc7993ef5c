//! `pdb.trace`: objects and evictions in; answers, statuses of budgets and cleared conditions out.
//!
//! The objects become those of the world, a StatefulSet a ReplicaSet without Deployment (only its scale counts).

use crate::Case;
use crate::stage::{Component, Names, ORIGIN, Stage, at, items, moment, name, read, templates, text, timestamp};
use kubelapse::components::Event;
use kubelapse::components::kubernetes::pod_disruption::PodDisruption;
use kubelapse::engine::{Span, Time};
use kubelapse::manifest;
use kubelapse::plan::{DeploymentId, DeploymentSpec, PdbId, Plan, Strategy, TemplateId};
use kubelapse::world::{Change, Eviction, EvictionRequest, NewPod, Owner, PdbReason, PodId, ReplicaSetId, World};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// When the controller starts.
const START: f64 = 0.5;

#[derive(Default)]
struct Script {
    names: Names,
    /// Deployments by name, and whether they exist.
    deployments: BTreeMap<String, (DeploymentId, bool)>,
    /// Other controllers by kind and name, and the Deployment that each was written with.
    sets: BTreeMap<String, (ReplicaSetId, Option<String>, bool)>,
    pdbs: BTreeMap<String, PdbId>,
    /// Generations of budgets: of the spec, and of the status.
    generations: BTreeMap<PdbId, (i64, i64)>,
    /// Pods that records name and nobody has written.
    ghosts: Vec<PodId>,
    shown: BTreeMap<PdbId, Value>,
    events: Vec<Value>,
}

/// Replays a case.
pub fn replay(case: &Case) -> Result<(), String> {
    let steps = items(&case.input["steps"]);
    let until = moment(&case.input["until"]);
    let mut plan = Plan::empty(ORIGIN, until - ORIGIN);
    plan.templates = templates(steps)?;
    let mut script = Script::default();
    for object in steps.iter().flat_map(|step| items(&step["deployments"])) {
        let id = DeploymentId::at(plan.deployments.len());
        script.deployments.entry(name(object).to_string()).or_insert_with(|| {
            plan.deployments.push(Arc::new(deployment(name(object))));
            (id, false)
        });
    }
    plan.deployments.push(Arc::new(deployment("")));
    let mut stage = Stage::new(plan);
    let mut controller = PodDisruption::default();
    let mut component = |cx: &mut kubelapse::components::Cx, event: Option<Event>| match event {
        None => controller.start(cx),
        Some(Event::PodDisruption(event)) => controller.handle(cx, event),
        Some(_) => {}
    };
    let mut started = false;
    for step in steps {
        let now = moment(&step["t"]);
        if !started && now > at(START) {
            script.start(&mut stage, &mut component);
            started = true;
        }
        script.run(&mut stage, now, &mut component);
        script.write(&mut stage, step, &mut component)?;
    }
    if !started && until >= at(START) {
        script.start(&mut stage, &mut component);
    }
    script.run(&mut stage, until, &mut component);
    compare(&script.events, items(&case.expect["events"]))
}

fn deployment(name: &str) -> DeploymentSpec {
    DeploymentSpec {
        namespace: "default".into(),
        name: name.into(),
        replicas: 0,
        selector: Default::default(),
        template: TemplateId(0),
        strategy: Strategy::Recreate,
        min_ready: Span::ZERO,
        progress_deadline: Span::from_secs(600),
        revision_history_limit: 10,
        paused: false,
    }
}

impl Script {
    fn start(&mut self, stage: &mut Stage, component: &mut Component) {
        self.run(stage, at(START), component);
        let journal = stage.hand(component, None);
        self.look(&stage.world, &journal);
        self.run(stage, at(START), component);
    }

    /// Deals with everything up to an instant, and notes what that did.
    fn run(&mut self, stage: &mut Stage, until: Time, component: &mut Component) {
        stage.run(until, component, &mut |world, journal| self.look(world, journal));
        self.look(&stage.world, &[]);
    }

    /// Notes conditions that the controller cleared and statuses that changed.
    fn look(&mut self, world: &World, journal: &[Change]) {
        let t = world.now.seconds_from(ORIGIN);
        for change in journal {
            let &Change::PodChanged(pod) = change else { continue };
            self.events.push(json!({"t": t, "cleared": pod_name(world, pod)}));
        }
        for (name, &id) in &self.pdbs {
            let status = status(world, id, self.generations.entry(id).or_default());
            let before = self.shown.insert(id, status.clone());
            if before.is_some_and(|before| before != status) {
                self.events.push(json!({"t": t, "pdb": name, "status": status}));
            }
        }
    }

    /// Writes what a step says, each object by itself.
    fn write(&mut self, stage: &mut Stage, step: &Value, component: &mut Component) -> Result<(), String> {
        let now = stage.world.now;
        for object in items(&step["deployments"]) {
            self.write_deployment(&mut stage.world, object);
            self.run(stage, now, component);
        }
        for (kind, list) in [("ReplicaSet", "replicaSets"), ("StatefulSet", "statefulSets")] {
            for object in items(&step[list]) {
                self.write_set(&mut stage.world, kind, object);
                self.run(stage, now, component);
            }
        }
        for set in items(&step["deleteReplicaSets"]) {
            self.set(&mut stage.world, "ReplicaSet", text(set));
            if let Some(entry) = self.sets.get_mut(&key("ReplicaSet", text(set))) {
                entry.2 = false;
            }
            self.connect(&mut stage.world);
            self.run(stage, now, component);
        }
        for object in items(&step["podDisruptionBudgets"]) {
            self.write_pdb(&mut stage.world, object)?;
            self.run(stage, now, component);
        }
        for object in items(&step["pods"]) {
            let owner = self.owner(&mut stage.world, object);
            self.adopt(&mut stage.world, name(object), owner);
            self.names.write_pod(&mut stage.world, object, owner)?;
            self.run(stage, now, component);
        }
        for ghost in std::mem::take(&mut self.ghosts) {
            stage.world.remove_pod(ghost);
        }
        for pod in items(&step["deletePods"]) {
            if let Some(&pod) = self.names.pods.get(text(pod)) {
                stage.world.remove_pod(pod);
            }
            self.run(stage, now, component);
        }
        for request in items(&step["evict"]) {
            self.evict(&mut stage.world, request);
            self.run(stage, now, component);
        }
        Ok(())
    }

    fn write_deployment(&mut self, world: &mut World, object: &Value) {
        if let Some(entry) = self.deployments.get_mut(name(object)) {
            entry.1 = true;
            world.scale_deployment(entry.0, replicas(object), None);
        }
        self.connect(world);
    }

    /// A controller that is no Deployment; one that was never written does not exist.
    fn set(&mut self, world: &mut World, kind: &str, name: &str) -> ReplicaSetId {
        if let Some(&(id, ..)) = self.sets.get(&key(kind, name)) {
            return id;
        }
        // Made by the nameless Deployment, then let go.
        let id = world.create_replica_set(DeploymentId::at(world.deployments.len() - 1), 0);
        world.replica_sets[id.index()].deployment = None;
        world.replica_sets[id.index()].gone = Some(world.now);
        self.sets.insert(key(kind, name), (id, None, false));
        id
    }

    fn write_set(&mut self, world: &mut World, kind: &str, object: &Value) {
        let id = self.set(world, kind, name(object));
        let owner = controller(object).filter(|owner| owner["kind"] == "Deployment");
        let owner = owner.map(|owner| text(&owner["name"]).to_string());
        self.sets.insert(key(kind, name(object)), (id, owner, true));
        world.scale_replica_set(id, replicas(object));
        self.connect(world);
    }

    /// A controller exists if it and its Deployment were written.
    fn connect(&mut self, world: &mut World) {
        for (id, owner, exists) in self.sets.values() {
            let deployment = owner.as_ref().map(|owner| self.deployments.get(owner));
            let set = &mut world.replica_sets[id.index()];
            let found = match deployment {
                None => true,
                Some(deployment) => deployment.is_some_and(|entry| entry.1),
            };
            set.gone = (!(*exists && found)).then_some(world.now);
            set.deployment = deployment.flatten().map(|entry| entry.0);
        }
    }

    fn owner(&mut self, world: &mut World, object: &Value) -> Owner {
        controller(object)
            .map_or(Owner::Bare, |owner| Owner::ReplicaSet(self.set(world, text(&owner["kind"]), text(&owner["name"]))))
    }

    fn write_pdb(&mut self, world: &mut World, object: &Value) -> Result<(), String> {
        let spec = Arc::new(read(object, manifest::read_pdb)?);
        let generation = object["metadata"]["generation"].as_i64().unwrap_or(0);
        if let Some(&id) = self.pdbs.get(name(object)) {
            self.generations.entry(id).or_default().0 = generation;
            world.update_pdb(id, spec);
            return Ok(());
        }
        let id = world.create_pdb(spec);
        let status = &object["status"];
        let number = |field: &str| status[field].as_i64().and_then(|value| i32::try_from(value).ok()).unwrap_or(0);
        let observed = status["observedGeneration"].as_i64().unwrap_or(0);
        let mut disrupted = Vec::new();
        for (pod, since) in status["disruptedPods"].as_object().into_iter().flatten() {
            disrupted.push((self.pod_or_ghost(world, pod), timestamp(since)));
        }
        let entry = &mut world.pdbs[id.index()];
        entry.current_healthy = number("currentHealthy");
        entry.desired_healthy = number("desiredHealthy");
        entry.expected_pods = number("expectedPods");
        entry.disruptions_allowed = number("disruptionsAllowed");
        entry.disrupted = disrupted;
        entry.observed = observed >= generation;
        self.generations.insert(id, (generation, observed));
        self.shown.insert(id, self::status(world, id, &mut (generation, observed)));
        self.pdbs.insert(name(object).to_string(), id);
        Ok(())
    }

    /// A pod that a record names: it may be written later, or never.
    fn pod_or_ghost(&mut self, world: &mut World, name: &str) -> PodId {
        if let Some(&pod) = self.names.pods.get(name) {
            return pod;
        }
        let (owner, ordinal) = (Owner::Bare, u32::MAX);
        let new = NewPod { template: TemplateId(0), owner, ordinal, pinned: None, name: Some(name.into()) };
        let pod = world.create_pod(new);
        self.names.pods.insert(name.to_string(), pod);
        self.ghosts.push(pod);
        pod
    }

    /// A pod that a record named before is written now.
    fn adopt(&mut self, world: &mut World, name: &str, owner: Owner) {
        let Some(place) = self.ghosts.iter().position(|&ghost| pod_name(world, ghost) == name) else { return };
        let ghost = self.ghosts.remove(place);
        world.pods[ghost.index()].owner = owner;
    }

    fn evict(&mut self, world: &mut World, request: &Value) {
        let name = text(&request["pod"]);
        let options = EvictionRequest {
            dry_run: request["dryRun"].as_bool().unwrap_or(false),
            delete_fails: request["deleteFails"].as_bool().unwrap_or(false),
        };
        let pod = self.names.pods.get(name).copied();
        let answer = pod.map_or(Eviction::NotFound, |pod| world.request_eviction(pod, options));
        let mut event = json!({"t": world.now.seconds_from(ORIGIN), "evict": name});
        event["code"] = json!(match answer {
            Eviction::Granted => 201,
            Eviction::NotFound => 404,
            Eviction::Forbidden => 403,
            Eviction::SeveralBudgets | Eviction::DeleteFailed => 500,
            Eviction::Refused { retry_after } => {
                event["retryAfter"] = json!(retry_after.whole_seconds());
                429
            }
        });
        self.events.push(event);
    }
}

fn key(kind: &str, name: &str) -> String {
    format!("{kind}/{name}")
}

fn replicas(object: &Value) -> i32 {
    object["spec"]["replicas"].as_i64().and_then(|value| i32::try_from(value).ok()).unwrap_or(1)
}

fn controller(object: &Value) -> Option<&Value> {
    items(&object["metadata"]["ownerReferences"]).iter().find(|owner| owner["controller"] == true)
}

fn pod_name(world: &World, pod: PodId) -> String {
    world.pod(pod).bare_name.as_deref().unwrap_or_default().to_string()
}

/// A budget's status as recorded; the generations are the spec's and the status's.
fn status(world: &World, id: PdbId, generations: &mut (i64, i64)) -> Value {
    let pdb = &world.pdbs[id.index()];
    if pdb.observed {
        generations.1 = generations.0;
    }
    let mut status = json!({
        "currentHealthy": pdb.current_healthy,
        "desiredHealthy": pdb.desired_healthy,
        "expectedPods": pdb.expected_pods,
        "disruptionsAllowed": pdb.disruptions_allowed,
        "observedGeneration": generations.1,
        "reason": pdb.reason.map_or("", PdbReason::name),
    });
    if !pdb.disrupted.is_empty() {
        let records = pdb.disrupted.iter();
        let records = records.map(|&(pod, since)| (pod_name(world, pod), json!(since.seconds_from(ORIGIN))));
        status["disruptedPods"] = Value::Object(records.collect());
    }
    status
}

/// The first difference of two lists of events.
fn compare(events: &[Value], expected: &[Value]) -> Result<(), String> {
    for index in 0..events.len().max(expected.len()) {
        let same = match (events.get(index), expected.get(index)) {
            (Some(event), Some(expected)) => alike(event, expected),
            _ => false,
        };
        if !same {
            let show = |event: Option<&Value>| event.map_or("nothing".to_string(), Value::to_string);
            return Err(format!("expected {}, got {}", show(expected.get(index)), show(events.get(index))));
        }
    }
    Ok(())
}

/// Equal but for the last digits of numbers.
fn alike(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => match (one.as_f64(), other.as_f64()) {
            (Some(one), Some(other)) => (one - other).abs() <= 1e-3,
            _ => false,
        },
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len() && one.iter().all(|(key, value)| other.get(key).is_some_and(|o| alike(value, o)))
        }
        _ => one == other,
    }
}
