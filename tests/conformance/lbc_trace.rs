//! `lbc.trace`: objects that change at given times and a scripted load balancer; what the controller asks of it and what
//! it writes.

use crate::Case;
use crate::lbc_elbv2::{Elbv2, action_name};
use crate::stage::{ORIGIN, items, moment, read, text, timestamp};
use kubelapse::components::aws::target_group::api_server::ApiServer;
use kubelapse::components::aws::target_group::controller::Controller;
use kubelapse::components::aws::target_group::objects::{
    Binding, BindingPatch, BindingSpec, Condition, Endpoint, EndpointSet, Endpoints, GatePatch, Kind, Name, Node,
    Object, Patched, Pod, PortReference, Refused, Service, Status,
};
use kubelapse::components::aws::target_group::outside::{Action, AwsError, Call, Note, Outcome, Outside};
use kubelapse::components::aws::target_group::targets::Target;
use kubelapse::engine::{Span, Time};
use kubelapse::manifest;
use kubelapse::plan::flags::LoadBalancerFlags;
use kubelapse::scenario::reader::Fields;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::rc::Rc;

/// A call that will be answered.
struct Pending {
    began: Time,
    ends: Time,
    binding: Name,
    call: Call,
    error: Option<AwsError>,
}

/// The scripted surroundings.
struct Surroundings {
    now: Time,
    latency: Span,
    api: ApiServer,
    networking_errors: Vec<(Time, Time)>,
    cidrs: Vec<(IpAddr, u32)>,
    notes: Vec<(Time, Name, Value)>,
    /// Checkpoints of each binding in the order in which they came.
    checkpoints: BTreeMap<Name, Vec<Rc<str>>>,
}

/// Replays a case.
pub fn replay(case: &Case) -> Result<(), String> {
    let input = &case.input;
    let mut around = Surroundings::new(input);
    let mut elbv2 = Elbv2::new(&input["aws"]);
    for object in items(&input["objects"]) {
        around.apply(object)?;
    }
    let flags = flags(&input["flags"]);
    let mut controller = Controller::start(flags.clone(), around.api.list(), ORIGIN);
    let mut pending: Vec<Pending> = Vec::new();
    let mut steps = items(&input["steps"]).iter().peekable();
    let end = moment(&input["end"]);
    loop {
        let step = steps.peek().map(|step| moment(&step["t"]));
        let answer = pending.iter().map(|call| call.ends).min();
        let Some(now) = [step, around.api.due(), answer, controller.due()].into_iter().flatten().min() else { break };
        if now >= end {
            break;
        }
        around.now = now;
        if step == Some(now) {
            let step = steps.next().unwrap_or(&Value::Null);
            if step["restart"] == true {
                controller = Controller::start(flags.clone(), around.api.list(), now);
            }
            around.step(step, &mut elbv2)?;
        } else if let Some(delivery) = around.api.take(now) {
            controller.deliver(delivery);
        } else if let Some(place) = pending.iter().position(|call| call.ends == now) {
            let call = pending.remove(place);
            let answer = call.error.clone().map_or_else(|| elbv2.end(now, &call.call), Err);
            around.notes.push((call.began, call.binding.clone(), called(&call, answer.as_ref().err())));
            controller.answer(now, &call.binding, answer, &mut around);
        }
        controller.run(now, &mut around);
        while let Some((binding, call)) = controller.next_call() {
            let (takes, error) = elbv2.begin(now, &call);
            pending.push(Pending { began: now, ends: now + takes, binding, call, error });
        }
    }
    compare(&around.notes, &case.expect)
}

fn flags(input: &Value) -> LoadBalancerFlags {
    let span = |key: &str| Span::from_seconds(input[key].as_f64().unwrap_or(0.0));
    let number = |key: &str| input[key].as_u64().and_then(|value| u32::try_from(value).ok()).unwrap_or(0);
    LoadBalancerFlags {
        workers: number("targetgroupbinding-max-concurrent-reconciles"),
        backoff_max: span("targetgroupbinding-max-exponential-backoff-delay"),
        requeue: span("targetgroupbinding-requeue-duration"),
        max_targets: number("max-targets-per-target-group"),
        endpoint_slices: input["enable-endpoint-slices"].as_bool().unwrap_or(true),
        fail_open: input["endpoints-fail-open"].as_bool().unwrap_or(true),
        ..LoadBalancerFlags::default()
    }
}

impl Surroundings {
    fn new(input: &Value) -> Surroundings {
        let window = |entry: &Value| (moment(&entry["from"]), moment(&entry["until"]));
        let cidr = |entry: &Value| {
            let (address, bits) = text(entry).split_once('/')?;
            Some((address.parse().ok()?, bits.parse().ok()?))
        };
        Surroundings {
            now: ORIGIN,
            latency: Span::from_seconds(input["watchLatency"].as_f64().unwrap_or(0.0)),
            api: ApiServer::with_spacing(Span::from_micros(1)),
            networking_errors: items(&input["networkingErrors"]).iter().map(window).collect(),
            cidrs: items(&input["aws"]["vpcCIDRs"]).iter().filter_map(cidr).collect(),
            notes: Vec::new(),
            checkpoints: BTreeMap::new(),
        }
    }

    fn step(&mut self, step: &Value, elbv2: &mut Elbv2) -> Result<(), String> {
        for object in items(&step["apply"]) {
            self.apply(object)?;
        }
        for reference in items(&step["delete"]) {
            let parts: Vec<&str> = text(reference).splitn(3, '/').collect();
            let &[kind, namespace, name] = parts.as_slice() else { return Err(format!("{reference} is no object")) };
            let kind = kind_of(kind).ok_or("an unknown kind")?;
            self.api.delete(self.now, self.latency, kind, &Name::new(namespace, name));
        }
        if !step["aws"].is_null() {
            elbv2.change(self.now, &step["aws"]);
        }
        Ok(())
    }

    /// Creates or replaces an object; what others wrote is kept where the recording kept it.
    fn apply(&mut self, value: &Value) -> Result<(), String> {
        let metadata = &value["metadata"];
        let kind = kind_of(text(&value["kind"])).ok_or("an unknown kind")?;
        let name = Name::new(text(&metadata["namespace"]), text(&metadata["name"]));
        let stored = self.api.stored();
        let given = (!metadata["creationTimestamp"].is_null()).then(|| timestamp(&metadata["creationTimestamp"]));
        let created = given.unwrap_or_else(|| self.now.whole_second());
        let object = match kind {
            Kind::Binding => Object::Binding(Rc::new(binding(value, name.clone(), stored.bindings.get(&name))?)),
            Kind::Service => Object::Service(Rc::new(service(value)?)),
            Kind::EndpointSlice => Object::Endpoints(Rc::new(slice(value, name))),
            Kind::Endpoints => Object::Endpoints(Rc::new(legacy_endpoints(value, name))),
            Kind::Node => {
                let created = stored.nodes.get(&name.name).map_or(created, |node| node.created);
                Object::Node(Rc::new(node(value, name, created)?))
            }
            Kind::Pod => Object::Pod(Rc::new(pod(value, created, stored.pods.get(&name).cloned(), name)?)),
        };
        self.api.write(self.now, self.latency, object);
        Ok(())
    }

    fn label(&mut self, binding: &Name, value: &Rc<str>) -> String {
        if value.is_empty() {
            return String::new();
        }
        let known = self.checkpoints.entry(binding.clone()).or_default();
        let place = known.iter().position(|other| other == value).unwrap_or_else(|| {
            known.push(value.clone());
            known.len() - 1
        });
        format!("c{}", place + 1)
    }
}

fn kind_of(text: &str) -> Option<Kind> {
    Some(match text {
        "TargetGroupBinding" => Kind::Binding,
        "Service" => Kind::Service,
        "EndpointSlice" => Kind::EndpointSlice,
        "Endpoints" => Kind::Endpoints,
        "Node" => Kind::Node,
        "Pod" => Kind::Pod,
        _ => return None,
    })
}

fn binding(value: &Value, name: Name, stored: Option<&Rc<Binding>>) -> Result<Binding, String> {
    let written = read(value, manifest::read_binding)?;
    let spec = &value["spec"];
    let mut spec = BindingSpec::of(&written, sorted(spec).to_string());
    if value["spec"]["targetType"].is_null() {
        spec.target_type = None;
    }
    if let Some(port) = value["spec"]["serviceRef"]["port"].as_str() {
        spec.port = PortReference::Name(port.into());
    }
    let metadata = &value["metadata"];
    let mut binding = stored.map_or_else(
        || Binding {
            deleting: !metadata["deletionTimestamp"].is_null(),
            finalizer: items(&metadata["finalizers"]).iter().any(|finalizer| finalizer == "elbv2.k8s.aws/resources"),
            generation: metadata["generation"].as_i64().unwrap_or(1),
            observed: value["status"]["observedGeneration"].as_i64(),
            ..Binding::new(name, spec.clone())
        },
        |stored| (**stored).clone(),
    );
    binding.spec = spec.into();
    let annotations = metadata["annotations"].as_object().into_iter().flatten();
    binding.annotations.extend(annotations.map(|(key, value)| (key.as_str().into(), text(value).into())));
    Ok(binding)
}

/// With the keys of all objects in order.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(object) => {
            let entries: BTreeMap<&String, Value> = object.iter().map(|(key, value)| (key, sorted(value))).collect();
            Value::Object(entries.into_iter().map(|(key, value)| (key.clone(), value)).collect::<Map<_, _>>())
        }
        Value::Array(items) => Value::Array(items.iter().map(sorted).collect()),
        other => other.clone(),
    }
}

fn service(value: &Value) -> Result<Service, String> {
    let spec = read(value, manifest::read_service)?;
    let ports = &value["spec"]["ports"];
    Ok(Service::of(&spec, value.to_string(), |index| ports[index].to_string().into()))
}

fn slice(value: &Value, name: Name) -> Endpoints {
    let namespace = name.namespace.clone();
    let endpoint = |entry: &Value| Endpoint {
        address: entry["addresses"][0].as_str().map(Into::into),
        ready: entry["conditions"]["ready"].as_bool(),
        terminating: entry["conditions"]["terminating"] == true,
        pod: reference(&entry["targetRef"], &namespace),
    };
    let set = EndpointSet {
        ports: ports(&value["ports"]),
        endpoints: items(&value["endpoints"]).iter().map(endpoint).map(Rc::new).collect(),
        other: json!([value["ports"], value["endpoints"]]).to_string().into(),
    };
    Endpoints {
        kind: Kind::EndpointSlice,
        service: value["metadata"]["labels"]["kubernetes.io/service-name"].as_str().map(Into::into),
        is_ipv4: value["addressType"] == "IPv4",
        sets: vec![set],
        other: value.to_string().into(),
        name,
    }
}

fn legacy_endpoints(value: &Value, name: Name) -> Endpoints {
    let set = |subset: &Value| {
        let endpoint = |entry: &Value, ready| Endpoint {
            address: entry["ip"].as_str().map(Into::into),
            ready: Some(ready),
            terminating: false,
            pod: reference(&entry["targetRef"], &name.namespace),
        };
        let ready = items(&subset["addresses"]).iter().map(|entry| endpoint(entry, true));
        let unready = items(&subset["notReadyAddresses"]).iter().map(|entry| endpoint(entry, false));
        EndpointSet {
            ports: ports(&subset["ports"]),
            endpoints: ready.chain(unready).map(Rc::new).collect(),
            other: subset.to_string().into(),
        }
    };
    Endpoints {
        kind: Kind::Endpoints,
        service: Some(name.name.clone()),
        is_ipv4: true,
        sets: items(&value["subsets"]).iter().map(set).collect(),
        other: value.to_string().into(),
        name: name.clone(),
    }
}

fn ports(value: &Value) -> Rc<[(Rc<str>, u16)]> {
    let number = |port: &Value| port["port"].as_u64().and_then(|port| u16::try_from(port).ok()).unwrap_or(0);
    items(value).iter().map(|port| (text(&port["name"]).into(), number(port))).collect()
}

fn reference(value: &Value, namespace: &Rc<str>) -> Option<Name> {
    let other = value["namespace"].as_str().filter(|namespace| !namespace.is_empty());
    let namespace = other.map_or_else(|| namespace.clone(), Into::into);
    (value["kind"] == "Pod").then(|| Name::new(namespace, text(&value["name"])))
}

fn node(value: &Value, name: Name, created: Time) -> Result<Node, String> {
    let taints = |node: &kubelapse::scenario::yaml::Node, problems: &mut _| {
        let mut fields = Fields::of(node, "spec", problems)?;
        Some(manifest::common::taints(&mut fields, "taints", problems))
    };
    let labels = value["metadata"]["labels"].as_object().into_iter().flatten();
    let ready = items(&value["status"]["conditions"]).iter().find(|condition| condition["type"] == "Ready");
    Ok(Node {
        labels: std::sync::Arc::new(labels.map(|(key, value)| (key.clone(), text(value).to_string())).collect()),
        taints: if value["spec"].is_null() { Vec::new() } else { read(&value["spec"], taints)? },
        ready: ready.map(|condition| status(&condition["status"])),
        provider_id: text(&value["spec"]["providerID"]).into(),
        other: value.to_string().into(),
        created,
        name,
    })
}

fn pod(value: &Value, created: Time, stored: Option<Rc<Pod>>, name: Name) -> Result<Pod, String> {
    let template = read(value, manifest::read_pod)?;
    let condition = |entry: &Value| Condition {
        kind: text(&entry["type"]).into(),
        status: status(&entry["status"]),
        reason: text(&entry["reason"]).into(),
        text: text(&entry["message"]).into(),
        since: (!entry["lastTransitionTime"].is_null()).then(|| timestamp(&entry["lastTransitionTime"])),
    };
    let mut conditions: Vec<Condition> = items(&value["status"]["conditions"]).iter().map(condition).collect();
    let written = |condition: &&Condition| condition.kind.starts_with("target-health.");
    let kept = stored.iter().flat_map(|pod| &pod.conditions).filter(written).cloned();
    conditions.extend(kept);
    let is_true = |condition: &Condition| &*condition.kind == "ContainersReady" && condition.status == Status::True;
    Ok(Pod {
        containers_ready: conditions.iter().any(is_true),
        uid: stored.as_ref().map_or_else(|| text(&value["metadata"]["uid"]).into(), |pod| pod.uid.clone()),
        created: stored.as_ref().map_or(created, |pod| pod.created),
        node: text(&value["spec"]["nodeName"]).into(),
        gates: template.readiness_gates.iter().map(|gate| gate.as_str().into()).collect(),
        other: value.to_string().into(),
        conditions,
        name,
    })
}

fn status(value: &Value) -> Status {
    match text(value) {
        "True" => Status::True,
        "Unknown" => Status::Unknown,
        _ => Status::False,
    }
}

impl Outside for Surroundings {
    fn patch_binding(&mut self, name: &Name, patch: &BindingPatch) -> Result<Patched<Binding>, Refused> {
        self.api.patch_binding(self.now, self.latency, name, patch)
    }

    fn patch_pod(&mut self, name: &Name, patch: &GatePatch) -> Result<Patched<Pod>, Refused> {
        self.api.patch_pod(self.now, self.latency, name, patch)
    }

    fn networking_succeeds(&mut self) -> bool {
        !self.networking_errors.iter().any(|&(from, until)| from <= self.now && self.now < until)
    }

    fn is_in_vpc(&self, address: &str) -> Option<bool> {
        let address: IpAddr = address.parse().ok()?;
        let bits = |address: IpAddr| match address {
            IpAddr::V4(address) => (u128::from(u32::from(address)) << 96, false),
            IpAddr::V6(address) => (u128::from(address), true),
        };
        let inside = |&(network, length): &(IpAddr, u32)| {
            let ((network, one), (address, other)) = (bits(network), bits(address));
            one == other && (network ^ address).checked_shr(128 - length).unwrap_or(0) == 0
        };
        Some(self.cidrs.iter().any(inside))
    }

    fn deferral_jitter(&mut self, _name: &Name, _max: Span) -> Span {
        Span::ZERO
    }

    fn note(&mut self, name: &Name, note: Note) {
        let entry = match note {
            Note::Start => json!({"do": "start"}),
            Note::Finalizer(added) => json!({"do": "finalizer", "value": if added { "add" } else { "remove" }}),
            Note::Gate { pod, condition, changed } => {
                let mut entry = json!({"do": "gate", "pod": &*pod.name, "status": condition.status.name()});
                put(&mut entry, "reason", &condition.reason);
                put(&mut entry, "text", &condition.text);
                with_noop(entry, changed)
            }
            Note::Checkpoint { value, changed, deferred } => {
                let mut entry = json!({"do": "checkpoint", "value": self.label(name, &value)});
                put(&mut entry, "by", if deferred { "deferred" } else { "" });
                with_noop(entry, changed)
            }
            Note::Status { binding, changed } => {
                let mut entry = json!({"do": "status"});
                if let Some(generation) = binding.observed {
                    entry["generation"] = json!(generation);
                }
                put(&mut entry, "reason", binding.ready.as_ref().map_or("", |ready| &ready.reason));
                with_noop(entry, changed)
            }
            Note::Event(reason) => {
                let normal = reason.name() == "SuccessfullyReconciled";
                json!({"do": "event", "reason": reason.name(), "status": if normal { "Normal" } else { "Warning" }})
            }
            Note::Skip => json!({"do": "skip"}),
            Note::Done(Outcome::Ok) => json!({"do": "done", "result": "ok"}),
            Note::Done(Outcome::Error) => json!({"do": "done", "result": "error"}),
            Note::Done(Outcome::Panic) => json!({"do": "done", "result": "panic"}),
            Note::Done(Outcome::Requeue(after)) => {
                json!({"do": "done", "result": "requeue", "after": after.seconds()})
            }
        };
        self.notes.push((self.now, name.clone(), entry));
    }
}

/// A field that is left out when it is empty.
fn put(entry: &mut Value, key: &str, text: &str) {
    if !text.is_empty() {
        entry[key] = json!(text);
    }
}

fn with_noop(mut entry: Value, changed: bool) -> Value {
    if !changed {
        entry["noop"] = json!(true);
    }
    entry
}

fn called(call: &Pending, error: Option<&AwsError>) -> Value {
    let mut entry = json!({"do": action_name(&call.call.action)});
    let mut targets: Vec<String> = match &call.call.action {
        Action::Describe(targets) => targets.iter().flat_map(|targets| targets.iter()).map(Target::key).collect(),
        Action::Deregister(targets) => targets.iter().map(Target::key).collect(),
        Action::Register(targets) => {
            let zone = |zone: &Option<Rc<str>>| zone.as_ref().map(|zone| format!("@{zone}")).unwrap_or_default();
            targets.iter().map(|target| target.target.key() + &zone(&target.zone)).collect()
        }
    };
    targets.sort();
    if call.call.action != Action::Describe(None) {
        entry["targets"] = json!(targets);
    }
    if call.ends != call.began {
        entry["end"] = json!(call.ends.seconds_from(ORIGIN));
    }
    put(&mut entry, "error", error.map_or("", |error| &error.code));
    entry
}

/// Compares the list of each binding.
fn compare(notes: &[(Time, Name, Value)], expect: &Value) -> Result<(), String> {
    let grain = Span::from_seconds(expect["precision"].as_f64().unwrap_or(1e-6)).micros().max(1);
    let mut found: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for (at, name, entry) in notes {
        let mut entry = entry.clone();
        entry["t"] = json!(at.seconds_from(ORIGIN));
        found.entry(format!("{}/{}", name.namespace, name.name)).or_default().push(entry);
    }
    let nothing = Vec::new();
    let expected: BTreeMap<&String, &Value> = expect["trace"].as_object().into_iter().flatten().collect();
    if let Some(other) = found.keys().find(|name| !expected.contains_key(name)) {
        return Err(format!("{other} is not expected"));
    }
    for (binding, entries) in expected {
        let expected = normal(items(entries), grain);
        let found = normal(found.get(binding).unwrap_or(&nothing), grain);
        let (expected, found) = unordered_cleanups(expected, found);
        let differs = (0..expected.len().max(found.len())).find(|&index| expected.get(index) != found.get(index));
        if let Some(index) = differs {
            let show = |list: &[String]| list.get(index).cloned().unwrap_or_else(|| "nothing".to_string());
            return Err(format!("{binding} entry {index}: {} expected, {} found", show(&expected), show(&found)));
        }
    }
    Ok(())
}

/// Entries as texts: times cut to the grain, gates of one instant in order of their pods.
fn normal(entries: &[Value], grain: u64) -> Vec<Value> {
    let mut entries: Vec<Value> = entries.iter().map(sorted).collect();
    for entry in &mut entries {
        for key in ["t", "end", "after"] {
            if let Some(seconds) = entry[key].as_f64() {
                let micros = (seconds * 1e6).round() as u64;
                entry[key] = json!(micros / grain * grain);
            } else if let Some(object) = entry.as_object_mut() {
                object.remove(key);
            }
        }
    }
    for run in entries.chunk_by_mut(|one, other| one["do"] == "gate" && other["do"] == "gate" && one["t"] == other["t"])
    {
        run.sort_by_key(|entry| text(&entry["pod"]).to_string());
    }
    entries.iter().map(sorted).collect()
}

/// The order in which a cleanup of more than one chunk deregisters is that of a hash map: sizes and union are compared.
fn unordered_cleanups(expected: Vec<Value>, found: Vec<Value>) -> (Vec<String>, Vec<String>) {
    let texts = |entries: Vec<Value>| entries.iter().map(Value::to_string).collect::<Vec<String>>();
    let union = |mut entries: Vec<Value>| {
        for run in entries.chunk_by_mut(|one, other| one["do"] == "deregister" && other["do"] == "deregister") {
            if run.len() > 1 {
                let mut all: Vec<String> =
                    run.iter().flat_map(|entry| items(&entry["targets"])).map(|target| text(target).into()).collect();
                all.sort();
                let sizes: Vec<usize> = run.iter().map(|entry| items(&entry["targets"]).len()).collect();
                for (entry, size) in run.iter_mut().zip(sizes) {
                    entry["targets"] = json!([size, all]);
                }
            }
        }
        entries
    };
    let (one, other) = (texts(expected.clone()), texts(found.clone()));
    if one == other { (one, other) } else { (texts(union(expected)), texts(union(found))) }
}
