//! `endpointslice.trace`: nodes, Services and pods in; slices by group of ports, and counted writes, out.

use crate::Case;
use crate::stage::{Component, Names, ORIGIN, Stage, at, items, moment, name, read, templates, text};
use kubelapse::components::kubernetes::endpoint_slice::EndpointSlice;
use kubelapse::components::{Cx, Event};
use kubelapse::engine::{Span, Time};
use kubelapse::manifest;
use kubelapse::plan::{Plan, Protocol, ServiceId, ServiceSpec};
use kubelapse::world::{EndpointAddress, Owner, SliceEndpoint, SliceWriteCounts, World};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// When the controller starts.
const START: f64 = 0.5;

/// What is compared of a group: sizes of its slices, and its endpoints by pod.
type Groups = BTreeMap<String, (Vec<usize>, BTreeMap<String, Value>)>;

#[derive(Default)]
struct Script {
    names: Names,
    services: BTreeMap<String, ServiceId>,
    /// Names of the plan's zones.
    zones: Vec<String>,
    /// The instant that was looked at last, and what there was before it.
    instant: Option<Time>,
    before: (BTreeMap<String, Groups>, SliceWriteCounts),
    latest: (BTreeMap<String, Groups>, SliceWriteCounts),
    changes: Vec<Value>,
}

/// Replays a case.
pub fn replay(case: &Case) -> Result<(), String> {
    let steps = items(&case.input["steps"]);
    let until = moment(&case.input["until"]);
    let mut plan = Plan::empty(ORIGIN, until - ORIGIN);
    plan.templates = templates(steps)?;
    plan.zones = zones(steps);
    let controllers = &mut plan.flags.controllers;
    controllers.endpoint_batch_period = Span::from_seconds(case.input["batchPeriod"].as_f64().unwrap_or(0.0));
    controllers.endpoints_per_slice = case.input["maxEndpointsPerSlice"].as_u64().unwrap_or(100) as u32;
    let mut script = Script { zones: plan.zones.clone(), ..Script::default() };
    for object in steps.first().into_iter().flat_map(|step| items(&step["services"])) {
        script.services.insert(name(object).to_string(), ServiceId::at(plan.services.len()));
        plan.services.push(read(object, manifest::read_service)?.into());
    }
    let mut stage = Stage::new(plan);
    let mut controller = EndpointSlice::default();
    let mut component = |cx: &mut Cx, event: Option<Event>| match event {
        None => controller.start(cx),
        Some(Event::EndpointSlice(event)) => controller.handle(cx, event),
        Some(_) => {}
    };
    let mut started = false;
    let ends = steps.iter().map(|step| moment(&step["t"])).chain([until]);
    for (now, step) in ends.zip(steps.iter().map(Some).chain([None])) {
        if !started && now >= at(START) {
            script.run(&mut stage, at(START), &mut component);
            stage.hand(&mut component, None);
            script.look(&stage.world);
            script.run(&mut stage, at(START), &mut component);
            started = true;
        }
        script.run(&mut stage, now, &mut component);
        if let Some(step) = step {
            script.write(&mut stage, step, &mut component)?;
        }
    }
    compare(&script.changes, items(&case.expect["changes"]))
}

fn zone(node: &Value) -> &str {
    text(&node["metadata"]["labels"]["topology.kubernetes.io/zone"])
}

fn zones(steps: &[Value]) -> Vec<String> {
    let nodes = steps.iter().flat_map(|step| items(&step["nodes"]));
    let names: std::collections::BTreeSet<String> = nodes.map(|node| zone(node).to_string()).collect();
    names.into_iter().filter(|name| !name.is_empty()).collect()
}

impl Script {
    /// Deals with everything up to an instant.
    fn run(&mut self, stage: &mut Stage, until: Time, component: &mut Component) {
        stage.run(until, component, &mut |world, _| self.look(world));
    }

    /// Writes what a step says, each object by itself.
    fn write(&mut self, stage: &mut Stage, step: &Value, component: &mut Component) -> Result<(), String> {
        let now = stage.world.now;
        for node in items(&step["nodes"]) {
            write_node(&mut self.names, &mut stage.world, node);
            self.run(stage, now, component);
        }
        for node in items(&step["deleteNodes"]) {
            let id = self.names.node(&mut stage.world, text(node));
            stage.world.remove_node(id);
            self.run(stage, now, component);
        }
        for service in items(&step["services"]) {
            let spec = read(service, manifest::read_service)?;
            self.write_service(&mut stage.world, name(service), spec);
            self.run(stage, now, component);
        }
        for pod in items(&step["pods"]) {
            self.names.write_pod(&mut stage.world, pod, Owner::Bare)?;
            self.run(stage, now, component);
        }
        for pod in items(&step["deletePods"]) {
            if let Some(&pod) = self.names.pods.get(text(pod)) {
                stage.world.remove_pod(pod);
            }
            self.run(stage, now, component);
        }
        Ok(())
    }

    fn write_service(&mut self, world: &mut World, name: &str, spec: ServiceSpec) {
        match self.services.get(name) {
            Some(&service) => world.update_service(service, spec),
            None => {
                self.services.insert(name.to_string(), world.create_service(spec));
            }
        }
    }

    /// Notes what this instant has written so far.
    fn look(&mut self, world: &World) {
        if self.instant != Some(world.now) {
            self.before = self.latest.clone();
            self.instant = Some(world.now);
        }
        if world.slice_writes == self.latest.1 {
            return;
        }
        let groups = self.services.iter().map(|(name, &id)| (name.clone(), groups(world, &self.zones, id))).collect();
        self.latest = (groups, world.slice_writes);
        let (shown, before) = &self.before;
        let counts = &self.latest.1;
        let counted = [
            ("create", counts.created - before.created),
            ("update", counts.updated - before.updated),
            ("delete", counts.deleted - before.deleted),
        ];
        let counted = counted.into_iter().filter(|(_, count)| *count > 0);
        let writes: Map<String, Value> = counted.map(|(key, count)| (key.to_string(), json!(count))).collect();
        let mut services = Map::new();
        for (name, groups) in &self.latest.0 {
            let changed = changed_groups(shown.get(name).unwrap_or(&Groups::new()), groups);
            if !changed.is_empty() {
                services.insert(name.clone(), Value::Object(changed));
            }
        }
        let change = json!({"t": world.now.seconds_from(ORIGIN), "writes": writes, "services": services});
        self.changes.retain(|other| other["t"] != change["t"]);
        self.changes.push(change);
    }
}

/// Creates or replaces a node; one that was missing until now is the one its pods are bound to.
fn write_node(names: &mut Names, world: &mut World, object: &Value) {
    let id = names.node(world, name(object));
    let labels = object["metadata"]["labels"].as_object().into_iter().flatten();
    let labels = labels.map(|(key, value)| (key.clone(), text(value).to_string())).collect();
    world.nodes[id.index()].gone = None;
    world.update_node(id, labels, Vec::new(), false, Default::default());
}

/// The groups of a Service's slices by the key of a recording.
fn groups(world: &World, zones: &[String], service: ServiceId) -> Groups {
    let spec = &world.services[service.index()];
    let mut groups = Groups::new();
    for slice in &world.slices[service.index()] {
        let place = |name: &str| spec.ports.iter().position(|port| port.name == name);
        let mut ports: Vec<_> = slice.ports.iter().collect();
        ports.sort_by_key(|port| place(&port.name));
        let ports = ports.iter().map(|port| format!("{}:{}/{}", port.name, port.port, protocol(port.protocol)));
        let family = if slice.ipv6 { "IPv6" } else { "IPv4" };
        let key = format!("{family} {}", ports.collect::<Vec<_>>().join(","));
        let (sizes, endpoints) = groups.entry(key).or_default();
        sizes.push(slice.endpoints.len());
        let shown = slice.endpoints.iter().map(|endpoint| (world.pod_name(endpoint.pod), show(world, zones, endpoint)));
        endpoints.extend(shown);
    }
    groups.values_mut().for_each(|(sizes, _)| sizes.sort_by_key(|&size| std::cmp::Reverse(size)));
    groups
}

const fn protocol(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "TCP",
        Protocol::Udp => "UDP",
        Protocol::Sctp => "SCTP",
    }
}

fn show(world: &World, zones: &[String], endpoint: &SliceEndpoint) -> Value {
    let address = match endpoint.address {
        EndpointAddress::Ipv4(address) => address.to_string(),
        EndpointAddress::Ipv6(address) => std::net::Ipv6Addr::from(address.0).to_string(),
    };
    let fields = [
        ("addresses", Some(json!([address]))),
        ("ready", Some(json!(endpoint.ready))),
        ("serving", Some(json!(endpoint.serving))),
        ("terminating", Some(json!(endpoint.terminating))),
        ("node", endpoint.node.map(|node| json!(*world.node(node).name))),
        ("zone", endpoint.zone.map(|zone| json!(zones[zone.index()]))),
        ("hostname", endpoint.hostname.as_deref().map(|name| json!(name))),
        ("hints", endpoint.zone_hint.map(|zone| json!([zones[zone.index()]]))),
    ];
    let fields = fields.into_iter().filter_map(|(key, value)| Some((key.to_string(), value?)));
    Value::Object(fields.collect())
}

/// Groups that changed: sizes, and the endpoints that are new, changed or gone.
fn changed_groups(before: &Groups, now: &Groups) -> Map<String, Value> {
    let mut changed = Map::new();
    for (key, (sizes, endpoints)) in now {
        let (old_sizes, old) = before.get(key).cloned().unwrap_or_default();
        let mut shown = Map::new();
        for (pod, endpoint) in endpoints.iter().filter(|(pod, endpoint)| old.get(*pod) != Some(endpoint)) {
            shown.insert(pod.clone(), endpoint.clone());
        }
        for pod in old.keys().filter(|pod| !endpoints.contains_key(*pod)) {
            shown.insert(pod.clone(), Value::Null);
        }
        if *sizes != old_sizes || !shown.is_empty() {
            let mut group = json!({"sizes": sizes});
            if !shown.is_empty() {
                group["endpoints"] = Value::Object(shown);
            }
            changed.insert(key.clone(), group);
        }
    }
    for key in before.keys().filter(|key| !now.contains_key(*key)) {
        changed.insert(key.clone(), Value::Null);
    }
    changed
}

/// The first difference. A recording that leaves the writes out does not ask for them.
fn compare(changes: &[Value], expected: &[Value]) -> Result<(), String> {
    for index in 0..changes.len().max(expected.len()) {
        let (change, expected) = (changes.get(index), expected.get(index));
        let same = match (change, expected) {
            (Some(change), Some(expected)) => {
                let near = |value: &Value| (value["t"].as_f64().unwrap_or(-1.0) * 1e6).round();
                let writes = expected["writes"].is_null() || change["writes"] == expected["writes"];
                near(change) == near(expected) && writes && change["services"] == expected["services"]
            }
            _ => false,
        };
        if !same {
            let show = |value: Option<&Value>| value.map_or("nothing".to_string(), Value::to_string);
            return Err(format!("expected {}, got {}", show(expected), show(change)));
        }
    }
    Ok(())
}
