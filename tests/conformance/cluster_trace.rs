//! `cluster.trace`: autoscaler, Deployments, ReplicaSets, budgets and scheduler together; nodes, kubelets, metrics and users
//! are a script.

use crate::Case;
use crate::scheduler_cluster::new_node;
use crate::stage::{ORIGIN, items, moment, name, read, text};
use crate::turns::{Running, Script, Turns, merge_patch};
use crate::workload_trace::{compare, place, uid};
use kubelapse::engine::{Span, Time};
use kubelapse::manifest;
use kubelapse::plan::{DeploymentId, DeploymentSpec, Distribution, HpaId, HpaSpec, Plan, Stage};
use kubelapse::world::{
    Change, ContainerUsage, DeleteCause, HpaCondition, NodeReadiness, Owner, PodId, PodMetrics, PodObject, PodPhase,
    World,
};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

#[derive(Clone, Copy)]
enum Deed {
    CreateHpa(usize),
    Step(usize),
    Run(PodId),
    Ready(PodId),
    Gone(PodId),
    Scrape,
}

/// What a step does to a Deployment or to an autoscaler.
enum Edit {
    None,
    /// The new spec, and whether its size was written.
    Deployment(DeploymentId, Arc<DeploymentSpec>, bool),
    Hpa(HpaId, Arc<HpaSpec>),
}

struct Cluster<'c> {
    input: &'c Value,
    edits: Vec<Edit>,
    hpas: Vec<Arc<HpaSpec>>,
    /// Since when a pod is Running.
    running: BTreeMap<PodId, Time>,
    /// Counts of this instant, by what is counted, and their nodes.
    counts: BTreeMap<String, (Value, BTreeMap<String, u64>)>,
    /// Sizes, autoscalers and budgets as they were at the end of the instant before.
    sizes: Vec<i32>,
    statuses: BTreeMap<String, Value>,
    scaled: BTreeMap<String, (i32, i32)>,
    facts: Vec<String>,
    with_nodes: bool,
}

/// Replays a case.
pub fn replay(case: &Case) -> Result<(), String> {
    let input = &case.input;
    let mut plan = Plan::empty(ORIGIN, Span::from_secs(3600));
    plan.timings.set(Stage::ApiHop, Distribution::Constant(Span::ZERO));
    plan.flags.controllers.client_qps = 0.0;
    plan.flags.scheduler.flush_offset = Some(Span::ZERO);
    plan.flags.scheduler.standing_clock = true;
    for (class, value) in input["priorityClasses"].as_object().into_iter().flatten() {
        plan.priority_classes.insert(class.clone(), value.as_i64().unwrap_or(0) as i32);
    }
    for budget in items(&input["pdbs"]) {
        plan.pdbs.push(Arc::new(read(budget, manifest::read_pdb)?));
    }
    let (edits, hpas) = objects(&mut plan, input)?;
    let mut world = World::new(&plan);
    for node in items(&input["nodes"]) {
        add_node(&mut world, node)?;
    }
    let expected = items(&case.expect["facts"]);
    let with_nodes = expected.iter().any(|fact| !fact["nodes"].is_null());
    let script = Cluster {
        input,
        edits,
        hpas,
        running: BTreeMap::new(),
        counts: BTreeMap::new(),
        sizes: Vec::new(),
        statuses: BTreeMap::new(),
        scaled: BTreeMap::new(),
        facts: Vec::new(),
        with_nodes,
    };
    let mut turns = Turns::new(plan, world, script, Running::All);
    for index in 0..turns.script.hpas.len() {
        turns.schedule(ORIGIN, Deed::CreateHpa(index));
    }
    for (index, step) in items(&input["steps"]).iter().enumerate() {
        turns.schedule(moment(&step["t"]), Deed::Step(index));
    }
    turns.schedule(moment(&input["world"]["scrape"]["offset"]), Deed::Scrape);
    turns.script.keep_statuses(&turns.world);
    turns.start();
    turns.run(moment(&input["until"]));
    let wanted = expected.iter().map(|fact| line(moment(&fact["t"]), fact, with_nodes)).collect::<Vec<_>>();
    let sorted = |mut lines: Vec<String>| {
        lines.sort();
        lines
    };
    compare("facts", &sorted(std::mem::take(&mut turns.script.facts)), &sorted(wanted))
}

/// Reads Deployments and autoscalers, and what the steps make of them.
fn objects(plan: &mut Plan, input: &Value) -> Result<(Vec<Edit>, Vec<Arc<HpaSpec>>), String> {
    let mut deployments: Vec<Value> = items(&input["deployments"]).to_vec();
    let mut hpas: Vec<Value> = items(&input["hpas"]).to_vec();
    for object in &deployments {
        let spec = deployment(plan, object)?;
        plan.deployments.push(spec);
    }
    let first = hpas.iter().map(|object| read(object, manifest::read_hpa).map(Arc::new));
    let first = first.collect::<Result<Vec<_>, String>>()?;
    let mut edits = Vec::new();
    for step in items(&input["steps"]) {
        let place = |objects: &[Value], key: &str| objects.iter().position(|object| name(object) == text(&step[key]));
        edits.push(if let Some(index) = place(&deployments, "deployment") {
            merge_patch(&mut deployments[index], &step["patch"]);
            let sized = !step["patch"]["spec"]["replicas"].is_null();
            Edit::Deployment(DeploymentId::at(index), deployment(plan, &deployments[index])?, sized)
        } else if let Some(index) = place(&hpas, "hpa") {
            merge_patch(&mut hpas[index], &step["patch"]);
            Edit::Hpa(HpaId::at(index), Arc::new(read(&hpas[index], manifest::read_hpa)?))
        } else {
            Edit::None
        });
    }
    Ok((edits, first))
}

fn deployment(plan: &mut Plan, object: &Value) -> Result<Arc<DeploymentSpec>, String> {
    let (mut spec, mut template) = read(object, manifest::read_deployment)?;
    manifest::admit(&mut template, &plan.priority_classes, None, plan.flags.controllers.default_toleration);
    spec.template = place(plan, template);
    Ok(Arc::new(spec))
}

fn add_node(world: &mut World, object: &Value) -> Result<(), String> {
    let mut object = object.clone();
    object["metadata"]["labels"]["kubernetes.io/hostname"] = object["metadata"]["name"].clone();
    let node = world.create_node(new_node(&object)?);
    world.set_node_readiness(node, NodeReadiness::Ready);
    Ok(())
}

impl Cluster<'_> {
    fn span(&self, key: &str) -> Span {
        Span::from_seconds(self.input["world"][key].as_f64().unwrap_or(0.0))
    }

    fn step(&mut self, world: &mut World, index: usize) {
        match &self.edits[index] {
            Edit::None => {}
            Edit::Deployment(id, spec, sized) => {
                let replicas = if *sized { spec.replicas } else { world.deployments[id.index()].replicas };
                world.update_deployment(*id, Arc::new(DeploymentSpec { replicas, ..(**spec).clone() }));
            }
            Edit::Hpa(id, spec) => world.update_hpa(*id, spec.clone()),
        }
        let step = &items(&self.input["steps"])[index];
        if !step["addNode"].is_null() {
            add_node(world, &step["addNode"]).expect("a node of a recording is readable");
        }
        // Pods are listed by name, that is by the name of their Deployment first.
        let named = |world: &World, key: &str| {
            let mut there = world.nodes.iter().filter(|node| node.gone.is_none());
            let node = there.find(|node| &*node.name == text(&step[key]))?;
            let mut pods = node.pods.clone();
            pods.sort_by_cached_key(|&pod| {
                (world.deployment_of(pod).map(|id| world.deployments[id.index()].spec.name.clone()), pod)
            });
            Some((node.id, pods))
        };
        if let Some((node, pods)) = named(world, "removeNode") {
            world.remove_node(node);
            pods.into_iter().for_each(|pod| world.remove_pod(pod));
        }
        if let Some((node, pods)) = named(world, "drain") {
            world.set_unschedulable(node, true);
            for pod in pods {
                if !world.pod(pod).is_terminating() {
                    world.delete_pod(pod, None, DeleteCause::User);
                }
            }
        }
    }

    /// New samples of everything that has run for long enough.
    fn scrape(&self, world: &mut World) {
        let scrape = &self.input["world"]["scrape"];
        let warmup = Span::from_seconds(scrape["warmup"].as_f64().unwrap_or(0.0));
        let window = Span::from_seconds(scrape["window"].as_f64().unwrap_or(0.0));
        let idle = self.input["world"]["idle"].as_f64().unwrap_or(0.0);
        let living: Vec<PodId> = world.living.iter().collect();
        for &pod in &living {
            world.set_pod_metrics(pod, None);
        }
        for (deployment, load) in self.input["load"].as_object().into_iter().flatten() {
            let Some(owner) = world.deployments.iter().find(|entry| entry.spec.name == *deployment) else { continue };
            let id = Some(owner.id);
            let own: Vec<PodId> = living.iter().copied().filter(|&pod| world.deployment_of(pod) == id).collect();
            let serves = |pod: &&PodId| world.pod(**pod).is_ready() && !world.pod(**pod).is_terminating();
            let count = own.iter().filter(serves).count();
            let share = (load_at(load, world.now.seconds_from(ORIGIN)) / count.max(1) as f64).floor();
            let mut samples = Vec::new();
            for pod in &own {
                let ran = self.running.get(pod).is_some_and(|since| *since + warmup <= world.now);
                if !ran || world.pod(*pod).phase != PodPhase::Running {
                    continue;
                }
                let limit = world.template_of(*pod).containers[0].limits.cpu.map_or(f64::MAX, |cpu| cpu.0 as f64);
                let used = if serves(&pod) { share.min(limit) } else { idle };
                samples.push((*pod, used as i64 * 1_000_000));
            }
            for (pod, cpu) in samples {
                let usage = ContainerUsage { container: 0, cpu_nanocores: Some(cpu), memory_bytes: None };
                let timestamp = world.now.whole_second();
                world.set_pod_metrics(pod, Some(PodMetrics { timestamp, window, containers: vec![usage] }));
            }
        }
    }

    fn run(&mut self, world: &mut World, pod: PodId) -> Vec<(Time, Deed)> {
        let entry = world.pod(pod);
        if !entry.is_active() || entry.phase != PodPhase::Pending {
            return Vec::new();
        }
        let object = PodObject {
            template: entry.template,
            node: None,
            phase: PodPhase::Running,
            ready: Some(false),
            deleting: false,
            disruption_target: entry.disruption_target_since,
            address: None,
            ipv6: None,
        };
        world.pods[pod.index()].start_time = entry.bound.map(Time::whole_second);
        world.write_pod(pod, object);
        self.running.insert(pod, world.now);
        let image = &world.template_of(pod).containers[0].image;
        let after = self.input["world"]["readyByImage"][image].as_f64();
        let after = after.unwrap_or_else(|| self.input["world"]["ready"].as_f64().unwrap_or(0.0));
        if after < 0.0 { Vec::new() } else { vec![(world.now + Span::from_seconds(after), Deed::Ready(pod))] }
    }

    /// Counts something that happened to a pod.
    fn count(&mut self, world: &World, pod: PodId, mut fact: Value, node: bool) {
        let entry = world.pod(pod);
        if let Owner::ReplicaSet(set) = entry.owner {
            fact["rs"] = json!(format!("rs{}", set.index() + 1));
        }
        let place = entry.node.or(entry.nominated).filter(|_| node);
        let counted = self.counts.entry(fact.to_string()).or_insert((fact, BTreeMap::new()));
        let n = counted.0["n"].as_u64().unwrap_or(0);
        counted.0["n"] = json!(n + 1);
        if let Some(node) = place {
            *counted.1.entry(world.node(node).name.to_string()).or_insert(0) += 1;
        }
    }

    fn tell(&mut self, now: Time, fact: &Value) {
        self.facts.push(line(now, fact, self.with_nodes));
    }

    /// Autoscalers and budgets as facts tell them.
    fn statuses_of(world: &World) -> BTreeMap<String, Value> {
        let mut statuses = BTreeMap::new();
        for hpa in &world.hpas {
            let status = &hpa.status;
            let mut fact = json!({
                "k": "hpa", "hpa": hpa.spec.name, "current": status.current, "desired": status.desired,
            });
            if let Some(percent) = status.utilization {
                fact["utilization"] = json!(percent);
            }
            let conditions = [
                ("able", status.able_to_scale),
                ("active", status.scaling_active),
                ("limited", status.scaling_limited),
            ];
            for (key, condition) in conditions {
                if let Some(HpaCondition { status, reason }) = condition {
                    fact[key] = json!(format!("{}/{}", if status { "True" } else { "False" }, reason.name()));
                }
            }
            statuses.insert(format!("hpa {}", hpa.spec.name), fact);
        }
        for pdb in &world.pdbs {
            let fact = json!({
                "k": "pdb", "pdb": pdb.spec.name, "allowed": pdb.disruptions_allowed, "healthy": pdb.current_healthy,
                "desired": pdb.desired_healthy, "expected": pdb.expected_pods,
            });
            statuses.insert(format!("pdb {}", pdb.spec.name), fact);
        }
        statuses
    }

    fn keep_statuses(&mut self, world: &World) {
        self.statuses = Cluster::statuses_of(world);
    }
}

/// The load at so many seconds: linear between points; of two points at one time the later holds from then on.
fn load_at(load: &Value, seconds: f64) -> f64 {
    let points: Vec<(f64, f64)> =
        items(load).iter().map(|point| (point[0].as_f64().unwrap_or(0.0), point[1].as_f64().unwrap_or(0.0))).collect();
    let next = points.iter().position(|point| point.0 > seconds).unwrap_or(points.len());
    match (next.checked_sub(1).map(|before| points[before]), points.get(next)) {
        (None, None) => 0.0,
        (None, Some(point)) => point.1,
        (Some(point), None) => point.1,
        (Some(before), Some(after)) => before.1 + (after.1 - before.1) * (seconds - before.0) / (after.0 - before.0),
    }
}

impl Script for Cluster<'_> {
    type Deed = Deed;

    fn act(&mut self, world: &mut World, deed: Deed) -> Vec<(Time, Deed)> {
        match deed {
            Deed::CreateHpa(index) => {
                let spec = self.hpas[index].clone();
                world.create_hpa(spec);
            }
            Deed::Step(index) => self.step(world, index),
            Deed::Run(pod) => return self.run(world, pod),
            Deed::Ready(pod) => {
                if world.pod(pod).is_active() {
                    world.set_pod_ready(pod, true);
                }
            }
            Deed::Gone(pod) => world.remove_pod(pod),
            Deed::Scrape => {
                self.scrape(world);
                let period = Span::from_seconds(self.input["world"]["scrape"]["period"].as_f64().unwrap_or(15.0));
                return vec![(world.now + period, Deed::Scrape)];
            }
        }
        Vec::new()
    }

    fn hear(&mut self, world: &mut World, change: Change) -> Vec<(Time, Deed)> {
        let now = world.now;
        let mut deeds = Vec::new();
        match change {
            Change::PodCreated(pod) => {
                if let Owner::ReplicaSet(set) = world.pod(pod).owner {
                    let ordinal = world.pod(pod).ordinal;
                    world.pods[pod.index()].uid = Some(uid(set.index() as u64 + 1, ordinal));
                }
                self.count(world, pod, json!({"k": "create"}), false);
            }
            Change::PodBound(pod) => {
                self.count(world, pod, json!({"k": "bind"}), true);
                deeds.push((now + self.span("run"), Deed::Run(pod)));
            }
            Change::PodReady(pod, true) => self.count(world, pod, json!({"k": "ready"}), false),
            Change::PodUnschedulable(pod) => self.count(world, pod, json!({"k": "unschedulable"}), false),
            Change::PodNominated(pod) if world.pod(pod).nominated.is_some() => {
                self.count(world, pod, json!({"k": "nominate"}), true);
            }
            Change::PodDeleting(pod, cause) => {
                let by = match cause {
                    DeleteCause::Preemption => "scheduler",
                    DeleteCause::User => "drain",
                    _ => "replicaset",
                };
                self.count(world, pod, json!({"k": "delete", "by": by}), true);
                if world.pod(pod).gone.is_none() {
                    deeds.push((now + self.span("gone"), Deed::Gone(pod)));
                }
            }
            Change::PodGone(pod) => self.count(world, pod, json!({"k": "gone"}), true),
            Change::DeploymentScaled { deployment, from, to, by: Some(_) } => {
                let name = world.deployments[deployment.index()].spec.name.clone();
                let from = self.scaled.get(&name).map_or(from, |scaled| scaled.0);
                self.scaled.insert(name, (from, to));
            }
            _ => {}
        }
        deeds
    }

    fn look(&mut self, world: &World) {
        let now = world.now;
        for (mut fact, nodes) in std::mem::take(&mut self.counts).into_values() {
            if !nodes.is_empty() {
                fact["nodes"] =
                    nodes.into_iter().map(|(node, count)| (node, json!(count))).collect::<Map<_, _>>().into();
            }
            self.tell(now, &fact);
        }
        for (deployment, (from, to)) in std::mem::take(&mut self.scaled) {
            self.tell(now, &json!({"k": "scale", "deployment": deployment, "from": from, "to": to}));
        }
        for set in &world.replica_sets {
            let before = self.sizes.get(set.id.index()).copied();
            if before != Some(set.replicas) {
                let owner = set.deployment.map(|owner| world.deployments[owner.index()].spec.name.clone());
                let rs = format!("rs{}", set.id.index() + 1);
                let from = before.unwrap_or(0);
                self.tell(now, &json!({"k": "rs", "deployment": owner, "rs": rs, "from": from, "to": set.replicas}));
            }
        }
        self.sizes = world.replica_sets.iter().map(|set| set.replicas).collect();
        let statuses = Cluster::statuses_of(world);
        for (key, status) in &statuses {
            let created = status["k"] == "hpa" && !self.statuses.contains_key(key);
            if !created && self.statuses.get(key) != Some(status) {
                self.tell(now, status);
            }
        }
        self.statuses = statuses;
    }
}

/// A fact as text: in order of time, then of kind and name.
fn line(at: Time, fact: &Value, with_nodes: bool) -> String {
    const KINDS: [&str; 11] =
        ["gone", "ready", "hpa", "scale", "rs", "create", "delete", "nominate", "unschedulable", "bind", "pdb"];
    let rank = KINDS.iter().position(|kind| *kind == text(&fact["k"])).unwrap_or(KINDS.len());
    let compared = |key: &str| key != "t" && (with_nodes || key != "nodes");
    let sorted = |value: &Value| match value {
        Value::Object(fields) => format!("{:?}", fields.iter().collect::<BTreeMap<_, _>>()),
        other => other.to_string(),
    };
    let fields = fact.as_object().into_iter().flatten().filter(|(key, _)| compared(key));
    let fields: BTreeMap<&String, String> = fields.map(|(key, value)| (key, sorted(value))).collect();
    let fields: Vec<String> = fields.into_iter().map(|(key, value)| format!("{key} {value}")).collect();
    format!("{:10.3} {rank:02} {}", at.seconds_from(ORIGIN), fields.join(", "))
}
