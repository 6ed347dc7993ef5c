//! `hpa.trace`: one autoscaler controller; the cluster around it changes by steps only.
//!
//! Objects of the steps are put into the world; the controller runs on its own events and is recorded after each sync.

use crate::Case;
use kubelapse::components::kubernetes::hpa::{Event, Hpa};
use kubelapse::components::{Cx, Event as AnyEvent};
use kubelapse::engine::{Queue, Span, Time};
use kubelapse::manifest::{read_hpa, read_pod};
use kubelapse::plan::{Distribution, HpaId, Plan, PodTemplate, Stage, TemplateId};
use kubelapse::record::{Detail, Recorder};
use kubelapse::rules::labels::{LabelSelector, Labels};
use kubelapse::rules::quantity::Quantity;
use kubelapse::scenario::diagnostic::{FileId, Place, Problems};
use kubelapse::scenario::reader;
use kubelapse::scenario::yaml::Node;
use kubelapse::world::{
    Change, Condition, ContainerUsage, HpaCondition, MetricValue, NewPod, Owner, PodId, PodMetrics, PodPhase, World,
};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// 2000-01-01T00:00:00Z.
const ORIGIN: Time = Time::from_unix_seconds(946_684_800);

/// No sync takes longer.
const LONGEST_SYNC: Span = Span::from_secs(600);

/// Replays a case.
pub fn replay(case: &Case) -> Result<(), String> {
    let until = seconds(&case.input["until"])?;
    let plan = plan(&case.input["config"], until)?;
    let mut bench = Bench::new(&plan);
    bench.act(ORIGIN, Hpa::start);
    for step in case.input["steps"].as_array().into_iter().flatten() {
        let at = ORIGIN + seconds(&step["t"])?;
        bench.run_until(at);
        bench.world.now = at;
        bench.step(step)?;
        bench.deliver(at);
    }
    // A sync that has begun may end after the last moment that counts.
    bench.until = ORIGIN + until;
    bench.run_until(ORIGIN + until + LONGEST_SYNC);
    let steps = case.input["steps"].as_array().into_iter().flatten();
    let conflicts = steps.flat_map(|step| step["faults"]["conflicts"].as_array().into_iter().flatten());
    bench.compare(&case.expect["syncs"], conflicts.count() > 0)
}

fn seconds(value: &Value) -> Result<Span, String> {
    value.as_f64().map(Span::from_seconds).ok_or_else(|| format!("{value} is no number"))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn node(value: &Value) -> Node {
    Node::from_json(value, Place::top(FileId(0)))
}

fn duration(value: &Value) -> Result<Span, String> {
    reader::duration(&node(value), "", &mut Problems::new()).ok_or_else(|| format!("{value} is no duration"))
}

fn plan(config: &Value, until: Span) -> Result<Plan, String> {
    let mut plan = Plan::empty(ORIGIN, until);
    let flags = &mut plan.flags.hpa;
    let spans = [
        ("syncPeriod", &mut flags.sync_period),
        ("downscaleStabilization", &mut flags.downscale_stabilization),
        ("cpuInitializationPeriod", &mut flags.cpu_initialization_period),
        ("initialReadinessDelay", &mut flags.initial_readiness_delay),
    ];
    for (name, flag) in spans {
        if !config[name].is_null() {
            *flag = duration(&config[name])?;
        }
    }
    flags.resync_phase = Some(Span::ZERO);
    flags.tolerance = config["tolerance"].as_f64().unwrap_or(flags.tolerance);
    flags.workers = config["workers"].as_u64().map_or(flags.workers, |workers| workers as u32);
    for gate in config["featureGates"].as_array().into_iter().flatten() {
        match text(gate) {
            "HPAConfigurableTolerance" => flags.configurable_tolerance = true,
            "HPAScaleToZero" => flags.scale_to_zero = true,
            other => return Err(format!("gate {other}")),
        }
    }
    let stages = [
        ("getScale", Stage::HpaReadScale),
        ("metrics", Stage::HpaMetrics),
        ("updateScale", Stage::HpaWriteScale),
        ("updateStatus", Stage::HpaWriteStatus),
    ];
    for (name, stage) in stages {
        let latency = &config["latency"][name];
        if !latency.is_null() {
            plan.timings.set(stage, Distribution::Constant(duration(latency)?));
        }
    }
    Ok(plan)
}

/// A timestamp such as `1999-12-31T23:00:10Z`, with or without a fraction.
fn timestamp(value: &Value) -> Option<Time> {
    let (date, time) = value.as_str()?.strip_suffix('Z')?.split_once('T')?;
    let mut date = date.split('-').map(|part| part.parse::<i64>().ok());
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let mut time = time.split(':').map(|part| part.parse::<f64>().ok());
    let (hour, minute, second) = (time.next()??, time.next()??, time.next()??);
    // Days of the civil calendar, years that begin in March.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 719_469;
    Some(
        Time::from_unix_seconds(days.unsigned_abs() * 86_400)
            + Span::from_seconds(hour * 3600.0 + minute * 60.0 + second),
    )
}

fn milli(value: &Value) -> Result<i64, String> {
    let quantity = value.as_str().map_or_else(|| value.to_string(), str::to_string);
    Quantity::parse(&quantity).map(Quantity::milli_value).map_err(|error| format!("{value}: {error:?}"))
}

fn labels(value: &Value) -> Labels {
    value.as_object().into_iter().flatten().map(|(key, value)| (key.clone(), text(value).to_string())).collect()
}

/// `metric` or `metric{selector}`.
fn metric_key(key: &str) -> (String, Option<LabelSelector>) {
    match key.strip_suffix('}').and_then(|key| key.split_once('{')) {
        Some((metric, selector)) => (metric.to_string(), LabelSelector::parse(selector)),
        None => (key.to_string(), None),
    }
}

/// The controller, its world, and what it did.
struct Bench<'p> {
    plan: &'p Plan,
    hpa: Hpa,
    world: World,
    queue: Queue<AnyEvent>,
    recorder: Recorder,
    /// Pods by name, those gone and those with metrics only too, and what steps have said of them.
    pods: BTreeMap<String, (PodId, Map<String, Value>)>,
    syncs: Vec<Value>,
    /// Syncs that begin from then on do not count.
    until: Time,
    conditions: BTreeMap<String, Value>,
}

impl<'p> Bench<'p> {
    fn new(plan: &'p Plan) -> Bench<'p> {
        Bench {
            plan,
            hpa: Hpa::default(),
            world: World::new(plan),
            queue: Queue::new(),
            recorder: Recorder::new(Detail::Facts),
            pods: BTreeMap::new(),
            syncs: Vec::new(),
            until: Time::MAX,
            conditions: BTreeMap::new(),
        }
    }

    fn act(&mut self, now: Time, act: impl FnOnce(&mut Hpa, &mut Cx)) {
        self.world.now = now;
        let mut cx = Cx {
            now,
            plan: self.plan,
            world: &mut self.world,
            queue: &mut self.queue,
            recorder: &mut self.recorder,
            random: None,
        };
        act(&mut self.hpa, &mut cx);
    }

    /// Everything before `end`.
    fn run_until(&mut self, end: Time) {
        while let Some((now, event)) = self.queue.pop() {
            let (true, AnyEvent::Hpa(event)) = (now < end, event) else {
                self.queue.push(now, event);
                return;
            };
            self.act(now, |hpa, cx| hpa.handle(cx, event));
            self.deliver(now);
        }
    }

    /// Wakes the controller for what changed, and records its syncs.
    fn deliver(&mut self, now: Time) {
        let mut journal = Vec::new();
        self.world.take_journal(&mut journal);
        for change in journal {
            match change {
                Change::HpaChanged(id) => self.act(now, |hpa, cx| hpa.handle(cx, Event::Changed(id))),
                Change::HpaSynced(id) => self.record(id),
                _ => {}
            }
        }
    }

    fn step(&mut self, step: &Value) -> Result<(), String> {
        let entries = |key: &str| step[key].as_object().into_iter().flatten();
        for (key, target) in entries("targets") {
            self.target(key, target);
        }
        for (name, pod) in entries("pods") {
            self.pod(name, pod);
        }
        for (name, metrics) in entries("podMetrics") {
            self.pod_metrics(name, metrics)?;
        }
        for (key, values) in entries("podsMetrics") {
            self.pods_metric(key, values)?;
        }
        for (key, value) in entries("objectMetrics") {
            let (object, metric) = key.rsplit_once('/').ok_or("an object metric without object")?;
            let (metric, selector) = metric_key(metric);
            let key = (object.to_string(), metric, selector);
            if value.is_null() {
                self.world.custom_metrics.objects.remove(&key);
            } else {
                self.world.custom_metrics.objects.insert(key, milli(value)?);
            }
        }
        for (metric, series) in entries("externalMetrics") {
            let Some(series) = series.as_array() else {
                self.world.custom_metrics.external.remove(metric);
                continue;
            };
            let series = series.iter().map(|one| Ok((labels(&one["labels"]), milli(&one["value"])?)));
            self.world.custom_metrics.external.insert(metric.clone(), series.collect::<Result<_, String>>()?);
        }
        if let Some(faults) = step["faults"].as_object() {
            let on = |key: &str| faults.get(key).is_some_and(|value| value == true);
            let scales = &mut self.world.scales;
            (scales.fail_get, scales.fail_update) = (on("getScale"), on("updateScale"));
            scales.fail_pod_metrics = on("podMetrics");
            let conflicts = faults.get("conflicts").and_then(Value::as_array).into_iter().flatten();
            scales.conflicts = conflicts.filter_map(Value::as_i64).map(|size| size as i32).collect();
        }
        for (name, hpa) in entries("hpas") {
            self.autoscaler(name, hpa)?;
        }
        Ok(())
    }

    fn target(&mut self, key: &str, target: &Value) {
        let (kind, name) = key.split_once('/').unwrap_or((key, ""));
        let key = ("default".to_string(), kind.to_string(), name.to_string());
        if target.is_null() {
            self.world.scales.targets.remove(&key);
            return;
        }
        let entry = self.world.scales.targets.entry(key).or_default();
        entry.group = match kind {
            "ReplicationController" => "",
            "Rollout" => "example.com",
            _ => "apps",
        }
        .to_string();
        entry.version += 1;
        if let Some(replicas) = target["spec"]["replicas"].as_i64() {
            entry.replicas = replicas as i32;
        }
        if let Some(replicas) = target["status"]["replicas"].as_i64() {
            entry.status_replicas = replicas as i32;
        }
        if let Some(selector) = target["status"]["selector"].as_str() {
            entry.selector = selector.to_string();
        }
    }

    /// The pod of a name; one that does not exist is made with nothing but labels, and does not count as existing.
    fn pod_named(&mut self, name: &str) -> PodId {
        if let Some((pod, _)) = self.pods.get(name) {
            return *pod;
        }
        let template = self.template(None, &Map::new());
        let owner = Owner::Bare;
        let ordinal = self.pods.len() as u32 + 1;
        let pod = self.world.create_pod(NewPod { template, owner, ordinal, pinned: None, name: Some(name.into()) });
        self.world.living.remove(pod);
        self.pods.insert(name.to_string(), (pod, Map::new()));
        pod
    }

    fn template(&mut self, name: Option<&str>, pod: &Map<String, Value>) -> TemplateId {
        let mut object = Value::Object(pod.clone());
        object["metadata"]["name"] = json!(name.unwrap_or("pod"));
        let mut template = read_pod(&node(&object), &mut Problems::new()).unwrap_or_default();
        if pod.get("metadata").is_none_or(|metadata| metadata["labels"].is_null()) {
            template.labels = Labels::from([("app".to_string(), "web".to_string())]);
        }
        self.push_template(template)
    }

    fn push_template(&mut self, template: PodTemplate) -> TemplateId {
        let template = Arc::new(template);
        let known = self.world.templates.iter().position(|known| *known == template);
        TemplateId::at(known.unwrap_or_else(|| {
            self.world.templates.push(template);
            self.world.templates.len() - 1
        }))
    }

    fn pod(&mut self, name: &str, change: &Value) {
        let id = self.pod_named(name);
        let mut object = self.pods[name].1.clone();
        if let Some(change) = change.as_object() {
            object.extend(change.clone());
            self.world.living.insert(id);
        } else {
            // Its metrics may stay, and name containers.
            object.remove("metadata");
            object.remove("status");
            self.world.living.remove(id);
        }
        let template = self.template(Some(name), &object);
        let value = Value::Object(object.clone());
        let status = &value["status"];
        let pod = &mut self.world.pods[id.index()];
        pod.template = template;
        pod.phase = match text(&status["phase"]) {
            "Pending" => PodPhase::Pending,
            "Running" => PodPhase::Running,
            "Failed" => PodPhase::Failed,
            _ => PodPhase::Succeeded,
        };
        pod.start_time = timestamp(&status["startTime"]);
        pod.deleting_since = timestamp(&value["metadata"]["deletionTimestamp"]);
        pod.ready_unknown = status["conditions"]
            .as_array()
            .is_some_and(|all| all.iter().any(|one| one["type"] == "Ready" && one["status"] == "Unknown"));
        let mut conditions = status["conditions"].as_array().into_iter().flatten();
        pod.ready = conditions.find(|condition| condition["type"] == "Ready").map_or(Condition::unset(), |condition| {
            let since = timestamp(&condition["lastTransitionTime"]).unwrap_or(Time::ZERO);
            Condition { status: Some(condition["status"] == "True"), since, exact: since }
        });
        self.pods.insert(name.to_string(), (id, object));
    }

    fn pod_metrics(&mut self, name: &str, metrics: &Value) -> Result<(), String> {
        let pod = self.pod_named(name);
        if metrics.is_null() {
            self.world.set_pod_metrics(pod, None);
            return Ok(());
        }
        let template = self.world.template_of(pod).clone();
        let names: Vec<&str> =
            template.containers.iter().chain(&template.init_containers).map(|entry| entry.name.as_str()).collect();
        let mut containers = Vec::new();
        for (index, container) in metrics["containers"].as_array().into_iter().flatten().enumerate() {
            let position = names.iter().position(|name| *name == container["name"]);
            let amount = |resource: &str| {
                let value = &container["usage"][resource];
                let quantity = value.as_str().map(|text| Quantity::parse(text).map_err(|e| format!("{text}: {e:?}")));
                quantity.transpose()
            };
            containers.push(ContainerUsage {
                container: position.unwrap_or(names.len() + index) as u16,
                cpu_nanocores: amount("cpu")?.map(|cpu| cpu.nanos() as i64),
                memory_bytes: amount("memory")?.map(Quantity::units_ceil),
            });
        }
        let timestamp = timestamp(&metrics["timestamp"]).ok_or("metrics without timestamp")?;
        let window = duration(&metrics["window"])?;
        self.world.set_pod_metrics(pod, Some(PodMetrics { timestamp, window, containers }));
        Ok(())
    }

    fn pods_metric(&mut self, key: &str, values: &Value) -> Result<(), String> {
        let key = metric_key(key);
        let Some(values) = values.as_object() else {
            self.world.custom_metrics.pods.remove(&key);
            return Ok(());
        };
        for (name, value) in values {
            let pod = self.pod_named(name);
            let served = self.world.custom_metrics.pods.entry(key.clone()).or_default();
            if value.is_null() {
                served.remove(&pod);
            } else {
                served.insert(pod, milli(value)?);
            }
        }
        Ok(())
    }

    fn autoscaler(&mut self, name: &str, hpa: &Value) -> Result<(), String> {
        let known = self.world.hpas.iter().find(|known| known.spec.name == name && known.exists).map(|known| known.id);
        if hpa.is_null() {
            if let Some(id) = known {
                self.world.delete_hpa(id);
            }
            return Ok(());
        }
        let object = json!({ "metadata": { "name": name }, "spec": hpa["spec"] });
        let mut problems = Problems::new();
        let spec = read_hpa(&node(&object), &mut problems);
        let spec = Arc::new(spec.ok_or_else(|| format!("{name} cannot be read: {}", problems.render(false)))?);
        match known {
            Some(id) => self.world.update_hpa(id, spec),
            None => {
                self.world.create_hpa(spec);
            }
        }
        Ok(())
    }

    /// What a sync left, in the shape of the record.
    fn record(&mut self, id: HpaId) {
        let hpa = &self.world.hpas[id.index()];
        if hpa.outcome.began >= self.until {
            return;
        }
        let status = &hpa.status;
        let mut conditions = Map::new();
        let all = [
            ("AbleToScale", status.able_to_scale),
            ("ScalingActive", status.scaling_active),
            ("ScalingLimited", status.scaling_limited),
        ];
        for (name, condition) in all {
            if let Some(HpaCondition { status, reason }) = condition {
                let status = if status { "True" } else { "False" };
                conditions.insert(name.to_string(), json!(format!("{status} {}", reason.name())));
            }
        }
        let conditions = Value::Object(conditions);
        let name = hpa.spec.name.clone();
        let mut sync = json!({
            "t": (hpa.outcome.began.seconds_from(ORIGIN) * 100.0).round() / 100.0,
            "hpa": name,
            "current": status.current,
            "desired": status.desired,
        });
        if let Some(to) = hpa.outcome.scaled {
            sync["scaleTo"] = json!(to);
        }
        if !hpa.outcome.why.is_empty() {
            sync["why"] = json!(without_dump(&hpa.outcome.why));
        }
        if !hpa.outcome.events.is_empty() {
            sync["events"] = json!(hpa.outcome.events);
        }
        if !hpa.metrics.is_empty() {
            sync["metrics"] = hpa.metrics.iter().map(metric_value).collect();
        }
        if self.conditions.get(&name).unwrap_or(&json!({})) != &conditions {
            sync["conditions"] = conditions.clone();
        }
        self.conditions.insert(name, conditions);
        self.syncs.push(sync);
    }

    /// `retried`: some writes met conflicts.
    fn compare(&mut self, expected: &Value, retried: bool) -> Result<(), String> {
        let order = |sync: &Value| ((sync["t"].as_f64().unwrap_or(0.0) * 100.0) as i64, text(&sync["hpa"]).to_string());
        self.syncs.sort_by_key(order);
        let expected = expected.as_array().ok_or("nothing expected")?;
        let several = expected.iter().any(|sync| sync.get("hpa").is_some());
        for (index, expected) in expected.iter().enumerate() {
            let Some(found) = self.syncs.get_mut(index) else { return Err(format!("missing: {expected}")) };
            if let (false, Some(found)) = (several, found.as_object_mut()) {
                found.remove("hpa");
            }
            let mut expected = canonical(expected);
            // The pause before a write is tried again is random, and `t` is cut to hundredths.
            let late = |at: &Value| (at.as_f64().unwrap_or(0.0) * 100.0).round() as i64;
            if retried && (late(&expected["t"]) - late(&found["t"])).abs() == 1 {
                expected["t"] = found["t"].clone();
            }
            if !same(&expected, found) {
                return Err(format!("\n    {expected} expected,\n    {found} found"));
            }
        }
        if self.syncs.len() > expected.len() {
            return Err(format!("{} too many: {}", self.syncs.len() - expected.len(), self.syncs[expected.len()]));
        }
        Ok(())
    }
}

fn metric_value(value: &Option<MetricValue>) -> Value {
    let Some(value) = value else { return Value::Null };
    let mut fields = Map::new();
    if let Some(percent) = value.average_utilization {
        fields.insert("averageUtilization".to_string(), json!(percent));
    }
    if let Some(milli) = value.average_value {
        fields.insert("averageValue".to_string(), json!(milli));
    }
    if let Some(milli) = value.value {
        fields.insert("value".to_string(), json!(milli));
    }
    Value::Object(fields)
}

/// The reason without what stands in parentheses after an external metric's name.
fn without_dump(why: &str) -> String {
    match why.strip_prefix("external metric ").and_then(|rest| rest.split_once('(')) {
        Some((name, _)) => format!("external metric {name}() above target"),
        None => why.to_string(),
    }
}

/// An expected record with quantities in thousandths and without what is not compared.
fn canonical(expected: &Value) -> Value {
    let mut record = expected.clone();
    if let Some(why) = expected["why"].as_str() {
        record["why"] = json!(without_dump(why));
    }
    for metric in record.get_mut("metrics").and_then(Value::as_array_mut).into_iter().flatten() {
        for key in ["averageValue", "value"] {
            let Some(quantity) = metric.get(key).and_then(Value::as_str).map(str::to_string) else { continue };
            metric[key] = if quantity == "-9223372036854775808m" {
                json!("any")
            } else {
                json!(Quantity::parse(&quantity).map_or(0, |quantity| (quantity.nanos() / 1_000_000) as i64))
            };
        }
    }
    record
}

fn same(expected: &Value, found: &Value) -> bool {
    match (expected, found) {
        (Value::Object(expected), Value::Object(found)) => {
            expected.len() == found.len()
                && expected.iter().all(|(key, value)| found.get(key).is_some_and(|found| same(value, found)))
        }
        (Value::Array(expected), Value::Array(found)) => {
            expected.len() == found.len() && expected.iter().zip(found).all(|(expected, found)| same(expected, found))
        }
        (Value::Number(expected), Value::Number(found)) => {
            (expected.as_f64().unwrap_or(0.0) - found.as_f64().unwrap_or(0.0)).abs() < 0.005
        }
        (Value::String(any), _) if any == "any" => true,
        _ => expected == found,
    }
}
