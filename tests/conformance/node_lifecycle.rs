//! `node.lifecycle`: scripted kubelets and pods in; what the controllers wrote about each node and its pods out.

use crate::Case;
use crate::stage::{Component, ORIGIN, Stage, items, moment, template, text};
use kubelapse::components::kubernetes::node_lifecycle::NodeLifecycle;
use kubelapse::components::{Cx, Event};
use kubelapse::engine::{Span, Time};
use kubelapse::plan::{Plan, PodTemplate, TemplateId};
use kubelapse::rules::labels::Labels;
use kubelapse::rules::taint::{Taint, TaintEffect};
use kubelapse::world::{
    Change, DeleteCause, NewNode, NewPod, NodeId, NodeReadiness, NodeStatus, Owner, PodId, Renewals, World,
};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Later than every recording.
const NEVER: Span = Span::from_secs(1_000_000_000);

/// Something that the script does.
enum Act<'c> {
    Create(&'c Value),
    Status(&'c str, &'c Value),
    Cordon(&'c str, bool),
    Taint(&'c str, &'c Value),
    DeleteNode(&'c str),
    CreatePod(&'c Value, TemplateId),
    DeletePod(&'c str),
}

#[derive(Default)]
struct Script {
    nodes: BTreeMap<String, NodeId>,
    pods: BTreeMap<String, PodId>,
    taints: BTreeMap<NodeId, BTreeSet<String>>,
    deleted: BTreeSet<PodId>,
    /// By node.
    timelines: BTreeMap<NodeId, Vec<Value>>,
}

/// Replays a case.
pub fn replay(case: &Case) -> Result<(), String> {
    let until = moment(&case.input["until"]);
    let mut plan = plan(&case.input["config"], until);
    let mut acts = acts(&case.input, &mut plan)?;
    acts.sort_by_key(|(time, _)| *time);
    let mut stage = Stage::new(plan);
    let mut controller = NodeLifecycle::default();
    let mut component = |cx: &mut Cx, event: Option<Event>| match event {
        None => controller.start(cx),
        Some(Event::NodeLifecycle(event)) => controller.handle(cx, event),
        Some(_) => {}
    };
    let mut script = Script::default();
    stage.world.now = ORIGIN;
    stage.hand(&mut component, None);
    for (time, act) in acts {
        script.run(&mut stage, time.min(until), &mut component);
        if time <= until {
            script.act(&mut stage.world, &act);
        }
    }
    script.run(&mut stage, until, &mut component);
    script.compare(&stage.world, &case.expect["timelines"])
}

fn plan(config: &Value, until: Time) -> Plan {
    let span = |key: &str| Span::from_seconds(config[key].as_f64().unwrap_or(0.0));
    let number = |key: &str| config[key].as_f64().unwrap_or(0.0);
    let mut plan = Plan::empty(ORIGIN, until - ORIGIN);
    let flags = &mut plan.flags.controllers;
    flags.node_monitor_start = Some(span("start"));
    flags.node_monitor_period = span("monitorPeriod");
    flags.node_monitor_pass = span("passTakes");
    flags.node_monitor_grace = span("gracePeriod");
    flags.node_startup_grace = span("startupGracePeriod");
    flags.node_eviction_rate = number("evictionRate");
    flags.secondary_node_eviction_rate = number("secondaryEvictionRate");
    flags.large_cluster_size = number("largeClusterThreshold") as u32;
    flags.unhealthy_zone_threshold = number("unhealthyZoneThreshold");
    // Pod garbage collection did not run.
    flags.pod_gc_quarantine = NEVER;
    plan
}

fn acts<'c>(input: &'c Value, plan: &mut Plan) -> Result<Vec<(Time, Act<'c>)>, String> {
    let mut acts = Vec::new();
    for node in items(&input["nodes"]) {
        let name = text(&node["name"]);
        acts.push((moment(&node["created"]), Act::Create(node)));
        for status in items(&node["status"]).iter().filter(|status| status["t"] != node["created"]) {
            acts.push((moment(&status["t"]), Act::Status(name, status)));
        }
        for cordon in items(&node["cordon"]) {
            acts.push((moment(&cordon["t"]), Act::Cordon(name, cordon["on"] == true)));
        }
        acts.extend(items(&node["taint"]).iter().map(|taint| (moment(&taint["t"]), Act::Taint(name, taint))));
        if !node["deleted"].is_null() {
            acts.push((moment(&node["deleted"]), Act::DeleteNode(name)));
        }
    }
    for pod in items(&input["pods"]) {
        let spec = json!({"containers": [{"name": "c"}], "tolerations": pod["tolerations"]});
        let object = json!({"metadata": {"name": pod["name"]}, "spec": spec});
        let template: PodTemplate = template(&object)?;
        plan.templates.push(Arc::new(template));
        let template = TemplateId(plan.templates.len() as u32 - 1);
        acts.push((moment(&pod["created"]), Act::CreatePod(pod, template)));
        if !pod["deleted"].is_null() {
            acts.push((moment(&pod["deleted"]), Act::DeletePod(text(&pod["name"]))));
        }
    }
    Ok(acts)
}

/// `key:Effect`.
fn taint(value: &Value) -> Taint {
    let (key, effect) = text(value).rsplit_once(':').unwrap_or_default();
    let effect = match effect {
        "NoSchedule" => TaintEffect::NoSchedule,
        "PreferNoSchedule" => TaintEffect::PreferNoSchedule,
        _ => TaintEffect::NoExecute,
    };
    Taint::new(key, effect)
}

impl Script {
    fn run(&mut self, stage: &mut Stage, until: Time, component: &mut Component) {
        stage.run(until, component, &mut |world, journal| self.look(world, journal));
    }

    fn act(&mut self, world: &mut World, act: &Act) {
        match act {
            Act::Create(node) => self.create(world, node),
            Act::Status(name, status) => post(world, self.nodes[*name], status),
            Act::Cordon(name, on) => world.set_unschedulable(self.nodes[*name], *on),
            Act::Taint(name, written) => {
                let taint = taint(&written["taint"]);
                if written["remove"] == true {
                    world.remove_taint(self.nodes[*name], &taint);
                } else {
                    world.add_taint(self.nodes[*name], taint);
                }
            }
            Act::DeleteNode(name) => world.remove_node(self.nodes[*name]),
            Act::CreatePod(pod, template) => self.create_pod(world, pod, *template),
            Act::DeletePod(name) => {
                if let Some(&pod) = self.pods.get(*name) {
                    world.remove_pod(pod);
                }
            }
        }
        self.taints = world.nodes.iter().map(|node| (node.id, taints(world, node.id))).collect();
    }

    fn create(&mut self, world: &mut World, node: &Value) {
        let mut labels = Labels::new();
        if !text(&node["zone"]).is_empty() {
            labels.insert("topology.kubernetes.io/zone", text(&node["zone"]));
            labels.insert("topology.kubernetes.io/region", "r");
        }
        for (key, value) in node["labels"].as_object().into_iter().flatten() {
            labels.insert(key.clone(), text(value).to_string());
        }
        let id = world.create_node(NewNode {
            name: text(&node["name"]).into(),
            labels,
            taints: items(&node["taints"]).iter().map(taint).collect(),
            allocatable: Default::default(),
            capacity: Default::default(),
            claim: None,
            instance: None,
            zone: None,
        });
        self.nodes.insert(text(&node["name"]).to_string(), id);
        self.timelines.insert(id, Vec::new());
        for lease in items(&node["lease"]) {
            let (first, last) = (moment(&lease[0]), moment(&lease[1]));
            let period = Span::from_seconds(lease[2].as_f64().unwrap_or(0.0));
            world.begin_lease(id, Renewals { first, period, last });
        }
        world.nodes[id.index()].status.ready_exists = false;
        for status in items(&node["status"]).iter().filter(|status| status["t"] == node["created"]) {
            post(world, id, status);
        }
    }

    fn create_pod(&mut self, world: &mut World, pod: &Value, template: TemplateId) {
        let name = Some(text(&pod["name"]).into());
        let ordinal = self.pods.len() as u32 + 1;
        let id = world.create_pod(NewPod { template, owner: Owner::Bare, ordinal, pinned: None, name });
        if let Some(ready) = pod["ready"].as_str() {
            world.set_pod_ready(id, ready == "True");
        }
        if let Some(&node) = self.nodes.get(text(&pod["node"])) {
            world.bind_pod(id, node);
        }
        self.pods.insert(text(&pod["name"]).to_string(), id);
    }

    /// Notes what the controllers have written.
    fn look(&mut self, world: &World, journal: &[Change]) {
        let t = world.now.seconds_from(ORIGIN);
        for change in journal {
            match *change {
                Change::NodeReady(node, readiness) => {
                    self.note(node, json!({"t": t, "what": "ready", "value": readiness.name()}));
                }
                Change::PodReady(pod, ready) => {
                    let value = if ready { "True" } else { "False" };
                    self.note_pod(world, pod, json!({"t": t, "what": "podReady", "value": value}));
                }
                Change::PodDeleting(pod, DeleteCause::Taint) if self.deleted.insert(pod) => {
                    self.note_pod(world, pod, json!({"t": t, "what": "delete"}));
                }
                Change::NodeTaints(node) => self.look_at_taints(world, node),
                _ => {}
            }
        }
    }

    fn look_at_taints(&mut self, world: &World, node: NodeId) {
        let t = world.now.seconds_from(ORIGIN);
        let now = taints(world, node);
        let before = self.taints.insert(node, now.clone()).unwrap_or_default();
        for value in now.difference(&before) {
            self.note(node, json!({"t": t, "what": "taint", "value": value}));
        }
        for value in before.difference(&now) {
            self.note(node, json!({"t": t, "what": "untaint", "value": value}));
        }
    }

    fn note_pod(&mut self, world: &World, pod: PodId, mut event: Value) {
        let Some(node) = world.pod(pod).node else { return };
        let (pod, node_name) = (world.pod_name(pod), world.node(node).name.clone());
        event["pod"] = match pod.strip_suffix(&*node_name) {
            Some(prefix) if prefix.ends_with('-') => json!(format!("{prefix}{}", class(&node_name))),
            _ => json!(pod),
        };
        self.note(node, event);
    }

    fn note(&mut self, node: NodeId, event: Value) {
        self.timelines.entry(node).or_default().push(event);
    }

    /// Timelines of nodes of one class are compared as multisets.
    fn compare(&self, world: &World, expected: &Value) -> Result<(), String> {
        let mut classes: BTreeMap<&str, Vec<Vec<String>>> = BTreeMap::new();
        for (&node, timeline) in &self.timelines {
            classes.entry(class(&world.node(node).name)).or_default().push(sorted(timeline));
        }
        for (class, timelines) in &mut classes {
            timelines.sort();
            let mut expected: Vec<Vec<String>> =
                items(&expected[*class]).iter().map(|timeline| sorted(items(timeline))).collect();
            expected.sort();
            for (timeline, expected) in timelines.iter().zip(&expected) {
                if timeline != expected {
                    return Err(format!("{class}: expected {}, got {}", expected.join("; "), timeline.join("; ")));
                }
            }
            if timelines.len() != expected.len() {
                return Err(format!("{class}: another number of nodes"));
            }
        }
        Ok(())
    }
}

fn class(node: &str) -> &str {
    node.split('-').next().unwrap_or_default()
}

/// A timeline in words; order within an instant has no meaning.
fn sorted(timeline: &[Value]) -> Vec<String> {
    let words = |event: &Value| {
        let t = event["t"].as_f64().unwrap_or(0.0);
        format!("{t:010.3} {} {} {}", text(&event["what"]), text(&event["pod"]), text(&event["value"]))
    };
    let mut words: Vec<String> = timeline.iter().map(words).collect();
    words.sort();
    words
}

fn taints(world: &World, node: NodeId) -> BTreeSet<String> {
    let taints = world.node(node).taints.iter();
    taints.map(|taint| format!("{}:{}", taint.key, taint.effect.name())).collect()
}

/// The kubelet posts its status; conditions that it does not name stay.
fn post(world: &mut World, node: NodeId, status: &Value) {
    let readiness = match text(&status["ready"]) {
        "True" => NodeReadiness::Ready,
        "Unknown" => NodeReadiness::Unknown,
        _ => NodeReadiness::NotReady,
    };
    let before = world.node(node).status;
    let other = |kind: &str, before: bool| status["other"][kind].as_str().map_or(before, |value| value == "True");
    let status = NodeStatus {
        memory_pressure: other("MemoryPressure", before.memory_pressure),
        disk_pressure: other("DiskPressure", before.disk_pressure),
        pid_pressure: other("PIDPressure", before.pid_pressure),
        network_unavailable: other("NetworkUnavailable", before.network_unavailable),
        ..before
    };
    world.post_node_status(node, readiness, status);
}
