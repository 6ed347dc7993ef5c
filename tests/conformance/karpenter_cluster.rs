//! A cluster as the Karpenter cases write it: instance types, pools, nodes with their claims, pods.

use crate::{Case, text_beside};
use kubelapse::engine::{Span, Time};
use kubelapse::manifest::{budget, common, namespace, node_pool, pod, volume, workload};
use kubelapse::plan::{
    CapacityType, DaemonSetId, InstanceType, InstanceTypeId, MicroDollars, NodePoolId, NodePoolSpec, Offering, Plan,
    PodTemplate, Reservation, ReservationId, TemplateId, ZoneId,
};
use kubelapse::rules::labels::Labels;
use kubelapse::rules::requirement::{NodeOperator, NodeRequirement};
use kubelapse::rules::resources::Resources;
use kubelapse::rules::taint::Taint;
use kubelapse::scenario::diagnostic::{FileId, Place, Problems};
use kubelapse::scenario::yaml::Node;
use kubelapse::world::{ClaimId, NewClaim, NewNode, NewPod, NodeId, NodeReadiness, Owner, PodId, PodPhase, World};
use serde_json::{Value, json};
use std::sync::Arc;

/// What a case becomes.
pub struct Cluster {
    /// Everything that is given.
    pub plan: Plan,
    /// The snapshot.
    pub world: World,
    /// Names of pods, by id.
    pub pods: Vec<String>,
}

pub fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

pub fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_string()
}

fn node_of(value: &Value) -> Node {
    Node::from_json(value, Place::top(FileId(0)))
}

/// Reads with a reader of manifests.
fn read<T>(value: &Value, reader: impl FnOnce(&Node, &mut Problems) -> Option<T>) -> Result<T, String> {
    let mut problems = Problems::new();
    problems.add_source("case", "".into());
    let found = reader(&node_of(value), &mut problems);
    found.filter(|_| !problems.has_errors()).ok_or_else(|| problems.render(false))
}

pub fn amounts(value: &Value) -> Result<Resources, String> {
    if value.is_null() {
        return Ok(Resources::default());
    }
    read(value, |node, problems| Some(common::resources_of(node, "resources", problems))).map(|list| list.amounts())
}

fn labels(value: &Value) -> Labels {
    value.as_object().into_iter().flatten().map(|(key, value)| (key.clone(), text(value))).collect()
}

fn taints(value: &Value) -> Result<Vec<Taint>, String> {
    let reader = |node: &Node, problems: &mut Problems| common::taint(node, "taint".to_string(), problems);
    items(value).iter().map(|entry| read(entry, reader)).collect()
}

/// RFC 3339 in UTC, whole seconds.
pub fn moment(value: &Value) -> Option<Time> {
    let text = value.as_str()?;
    let part = |from: usize, to: usize| text.get(from..to)?.parse::<i64>().ok();
    let (year, month, day) = (part(0, 4)?, part(5, 7)?, part(8, 10)?);
    let years = if month <= 2 { year - 1 } else { year };
    let days = years * 365 + years / 4 - years / 100 + years / 400 + (153 * ((month + 9) % 12) + 2) / 5 + day - 719_469;
    let seconds = days * 86_400 + part(11, 13)? * 3600 + part(14, 16)? * 60 + part(17, 19)?;
    Some(Time::from_unix_seconds(seconds.unsigned_abs()))
}

/// The hash of the template that a claim carries is not its pool's; only told where both are of one version. A pool whose
/// hash is given has no version but the one given.
fn is_hashed_differently(pool: &Value, claim: &Value) -> bool {
    let (hash, version) = ("karpenter.sh/nodepool-hash", "karpenter.sh/nodepool-hash-version");
    let of_pool = pool[hash].as_str().unwrap_or("hash");
    let default = if pool[hash].is_null() { "v3" } else { "" };
    let version_of_pool = pool[version].as_str().unwrap_or(default);
    claim[hash].as_str().unwrap_or(of_pool) != of_pool && claim[version].as_str().unwrap_or("v3") == version_of_pool
}

/// A duration, or Never.
fn span(value: &Value) -> Result<Option<Span>, String> {
    if value == "Never" {
        return Ok(None);
    }
    let reader =
        |node: &Node, problems: &mut Problems| kubelapse::scenario::reader::duration(node, "duration", problems);
    read(value, reader).map(Some)
}

fn zone(plan: &mut Plan, name: &str) -> ZoneId {
    let found = plan.zones.iter().position(|zone| zone == name);
    ZoneId::at(found.unwrap_or_else(|| {
        plan.zones.push(name.to_string());
        plan.zones.len() - 1
    }))
}

fn capacity_type(name: &str) -> CapacityType {
    match name {
        "spot" => CapacityType::Spot,
        "reserved" => CapacityType::Reserved,
        _ => CapacityType::OnDemand,
    }
}

/// The reservation of an offering: of several reports of what it has left, the least counts.
fn reservation(plan: &mut Plan, offering: &Value) -> Option<ReservationId> {
    let name = offering["reservationID"].as_str()?;
    let left = u32::try_from(offering["reserved"].as_u64().unwrap_or(0)).unwrap_or(u32::MAX);
    let found = plan.reservations.iter().position(|reservation| reservation.name == name);
    let index = found.unwrap_or_else(|| {
        plan.reservations.push(Reservation { name: name.to_string(), left });
        plan.reservations.len() - 1
    });
    plan.reservations[index].left = plan.reservations[index].left.min(left);
    Some(ReservationId::at(index))
}

fn is_sold_out(patterns: &[Value], parts: [&str; 3]) -> bool {
    let meets = |pattern: &str| pattern.split('/').zip(parts).all(|(wanted, part)| wanted == "*" || wanted == part);
    patterns.iter().filter_map(Value::as_str).any(meets)
}

fn allocatable(entry: &Value, capacity: &Resources) -> Result<Resources, String> {
    if !entry["allocatable"].is_null() {
        return amounts(&entry["allocatable"]);
    }
    let mut left = capacity.clone();
    for part in ["kubeReserved", "systemReserved", "evictionThreshold"] {
        left -= &amounts(&entry["overhead"][part])?;
    }
    // Memory set aside as huge pages is not to be had as memory.
    let huge = capacity.extended.iter().filter(|(name, _)| name.starts_with("hugepages-"));
    left.memory.0 -= huge.map(|(_, bytes)| bytes).sum::<i64>();
    Ok(Resources::default().max(&left))
}

fn instance_type(plan: &mut Plan, entry: &Value, sold_out: &[Value]) -> Result<InstanceType, String> {
    let name = text(&entry["name"]);
    let capacity = amounts(&entry["capacity"])?;
    let several = entry["multiLabels"].as_object().into_iter().flatten().map(|(key, values)| {
        let values: Vec<&str> = items(values).iter().filter_map(Value::as_str).collect();
        NodeRequirement::new(key, NodeOperator::In, &values)
    });
    let absent = items(&entry["absent"]).iter().filter_map(Value::as_str);
    let absent = absent.map(|key| NodeRequirement::new(key, NodeOperator::DoesNotExist, &[]));
    let mut offerings = Vec::new();
    for offering in items(&entry["offerings"]) {
        let (place, kind) = (text(&offering["zone"]), text(&offering["capacityType"]));
        offerings.push(Offering {
            zone: zone(plan, &place),
            capacity_type: capacity_type(&kind),
            price: MicroDollars::from_dollars(offering["price"].as_f64().unwrap_or_default()),
            available: offering["available"] != json!(false) && !is_sold_out(sold_out, [&name, &place, &kind]),
            reservation: reservation(plan, offering),
        });
    }
    Ok(InstanceType {
        labels: labels(&entry["labels"]),
        requirements: several.chain(absent).collect(),
        allocatable: allocatable(entry, &capacity)?,
        vcpus: u32::try_from(capacity.cpu.0 / 1000).unwrap_or(0),
        capacity,
        offerings,
        name,
        network_interfaces: 1,
        addresses_per_interface: 1,
        network_mbps: 0,
        burst_baseline_millis: 0,
        spot_price_is_estimate: false,
    })
}

/// The list of instance types of a case: catalogue and its own.
fn read_types(case: &Case, catalogue: Option<String>, plan: &mut Plan) -> Result<(), String> {
    let input = &case.input;
    let mut all: Vec<Value> = Vec::new();
    if let Some(name) = catalogue {
        let list: Value = serde_json::from_str(&text_beside(&case.folder, &name)).map_err(|error| error.to_string())?;
        let only = input["only"].as_array();
        let kept = |entry: &&Value| only.is_none_or(|names| names.contains(&entry["name"]));
        all.extend(items(&list).iter().filter(kept).cloned());
    }
    all.extend(items(&input["instanceTypes"]).iter().cloned());
    for entry in &all {
        let entry = instance_type(plan, entry, items(&input["unavailable"]))?;
        plan.instance_types.push(Arc::new(entry));
    }
    Ok(())
}

fn read_pools(input: &Value, plan: &mut Plan) -> Result<(), String> {
    for written in items(&input["nodePools"]) {
        let pool = node_pool(written)?;
        let allowed = &input["poolInstanceTypes"][&pool.name];
        let offers = |id: &InstanceTypeId| {
            let name = &plan.instance_types[id.index()].name;
            allowed.as_array().is_none_or(|names| names.iter().any(|entry| entry == name))
        };
        let types = (0..plan.instance_types.len()).map(InstanceTypeId::at).filter(offers).collect();
        plan.pool_types.push(types);
        plan.node_pools.push(Arc::new(pool));
    }
    // A pool that is gone has no types and takes nothing: to its nodes that is the same.
    for name in items(&input["nodes"]).iter().filter_map(|node| node["nodePool"].as_str()) {
        if !plan.node_pools.iter().any(|pool| pool.name == name) {
            let gone = json!({"metadata": {"name": name}, "spec": {"disruption": {"consolidateAfter": "Never"}}});
            let gone = NodePoolSpec { usable: false, ..node_pool(&gone)? };
            plan.pool_types.push(Vec::new());
            plan.node_pools.push(Arc::new(gone));
        }
    }
    Ok(())
}

/// A pool as written.
pub fn node_pool(written: &Value) -> Result<NodePoolSpec, String> {
    let mut full = written.clone();
    let template = &mut full["spec"]["template"]["spec"];
    if template["nodeClassRef"].is_null() {
        template["nodeClassRef"] = json!({"group": "karpenter.k8s.aws", "kind": "EC2NodeClass", "name": "default"});
    }
    if let Some(object) = full["metadata"].as_object_mut() {
        object.remove("annotations");
    }
    // The API server knows an upper bound of `minValues` that the controller does not.
    let mut least = Vec::new();
    for entry in full["spec"]["template"]["spec"]["requirements"].as_array_mut().into_iter().flatten() {
        least.push(entry["minValues"].as_u64().and_then(|count| u32::try_from(count).ok()));
        entry.as_object_mut().map(|entry| entry.remove("minValues"));
    }
    let mut pool: NodePoolSpec = read(&full, node_pool::read_node_pool)?;
    pool.requirements.iter_mut().zip(least).for_each(|(requirement, least)| requirement.min_values = least);
    Ok(pool)
}

/// A pod as written, once for each that it stands for.
fn single_pods(list: &[Value]) -> Vec<Value> {
    let mut all = Vec::new();
    for written in list {
        let Some(count) = written["count"].as_u64() else {
            all.push(written.clone());
            continue;
        };
        for index in 0..count {
            let mut one = written.clone();
            one["metadata"]["name"] = json!(format!("{}-{index}", text(&written["metadata"]["name"])));
            if let Some(uid) = written["metadata"]["uid"].as_str() {
                one["metadata"]["uid"] = json!(format!("{uid}-{index}"));
            }
            all.push(one);
        }
    }
    all
}

fn pod_template(written: &Value) -> Result<PodTemplate, String> {
    let mut full = written.clone();
    for list in ["containers", "initContainers"] {
        for (index, container) in full["spec"][list].as_array_mut().into_iter().flatten().enumerate() {
            if container["name"].is_null() {
                container["name"] = json!(format!("{list}-{index}").to_lowercase());
            }
            if container["image"].is_null() {
                container["image"] = json!("image");
            }
        }
    }
    if let Some(object) = full.as_object_mut() {
        object.remove("status");
        object.remove("count");
    }
    let mut template = read(&full, pod::read_pod)?;
    // Nobody but the kubelet owns pods in the name of a node, and it says so.
    if items(&written["metadata"]["ownerReferences"]).iter().any(|owner| owner["kind"] == "Node") {
        template.annotations.insert("kubernetes.io/config.mirror".to_string(), "case".to_string());
    }
    template.priority = written["spec"]["priority"].as_i64().and_then(|value| i32::try_from(value).ok()).unwrap_or(0);
    Ok(template)
}

impl Cluster {
    /// Reads a case. `catalogue`: the file of the instance types beside it.
    pub fn read(case: &Case, catalogue: Option<String>) -> Result<Cluster, String> {
        let input = &case.input;
        let now = moment(&input["now"]).ok_or("`now` is no time")?;
        let mut plan = Plan::empty(now, Span::from_secs(3600));
        read_types(case, catalogue, &mut plan)?;
        read_pools(input, &mut plan)?;
        for written in items(&input["namespaces"]) {
            let (name, labels) = read(written, namespace::read_namespace)?;
            plan.namespaces.insert(name, labels);
        }
        let bound = items(&input["nodes"]).iter().flat_map(|node| items(&node["pods"]));
        let own = |pod: &Value| pod["metadata"]["namespace"].as_str().unwrap_or("default").to_string();
        for name in bound.chain(items(&input["pods"])).map(own) {
            plan.namespaces.entry(name).or_default();
        }
        for written in items(&input["pdbs"]) {
            // A text that is no share, as only a fake API server takes it, limits nothing.
            let mut written = written.clone();
            for key in ["maxUnavailable", "minAvailable"] {
                if written["spec"][key].as_str().is_some_and(|text| !text.ends_with('%')) {
                    written["spec"].as_object_mut().and_then(|spec| spec.remove(key));
                }
            }
            plan.pdbs.push(Arc::new(read(&written, budget::read_pdb)?));
        }
        plan.volumes.complete = true;
        for written in items(&input["persistentVolumeClaims"]) {
            plan.volumes.claims.extend([read(written, volume::read_volume_claim)?]);
        }
        for written in items(&input["persistentVolumes"]) {
            plan.volumes.volumes.extend([read(written, volume::read_volume)?]);
        }
        for written in items(&input["storageClasses"]) {
            plan.volumes.classes.extend([read(written, volume::read_storage_class)?]);
        }
        for written in items(&input["csiNodes"]) {
            plan.volumes.attach_limits.extend([read(written, volume::read_csi_node)?]);
        }
        for written in items(&input["daemonSets"]) {
            let mut full = written.clone();
            let containers =
                pod_template(&json!({"metadata": {"name": "t"}, "spec": written["spec"]["template"]["spec"]}));
            let mut template = containers?;
            full["spec"]["template"]["spec"]["containers"] = json!([{"name": "c", "image": "i"}]);
            full["spec"]["template"]["spec"]["initContainers"] = json!([]);
            let (mut spec, _) = read(&full, workload::read_daemon_set)?;
            template.namespace = spec.namespace.clone();
            template.labels = labels(&written["spec"]["template"]["metadata"]["labels"]);
            plan.templates.push(Arc::new(template));
            spec.template = TemplateId::at(plan.templates.len() - 1);
            plan.daemon_sets.push(Arc::new(spec));
        }
        let options = &input["options"];
        plan.flags.karpenter.ignore_preferences = options["preferencePolicy"] == "Ignore";
        plan.flags.karpenter.reserved_capacity = options["featureGates"]["ReservedCapacity"] != json!(false);
        plan.flags.karpenter.min_values_best_effort = options["minValuesPolicy"] == "BestEffort";
        plan.flags.karpenter.spot_to_spot = options["featureGates"]["SpotToSpotConsolidation"] == json!(true);
        let mut world = World::new(&plan);
        for (entry, written) in world.pdbs.iter_mut().zip(items(&input["pdbs"])) {
            let allowed = written["status"]["disruptionsAllowed"].as_i64().unwrap_or(0);
            entry.disruptions_allowed = i32::try_from(allowed).unwrap_or(i32::MAX);
        }
        let mut cluster = Cluster { plan, world, pods: Vec::new() };
        for written in items(&input["nodes"]) {
            let pools = items(&input["nodePools"]);
            let pool = pools.iter().find(|pool| pool["metadata"]["name"] == written["nodePool"]);
            let mut written = written.clone();
            written["poolAnnotations"] = pool.map_or(Value::Null, |pool| pool["metadata"]["annotations"].clone());
            cluster.add_node(&written)?;
        }
        for written in single_pods(items(&input["pods"])) {
            let name = written["spec"]["nodeName"].as_str();
            let node = name.and_then(|name| cluster.world.nodes.iter().find(|node| &*node.name == name));
            let node = node.map(|node| node.id);
            cluster.add_pod(&written, node, name.is_some())?;
        }
        Ok(cluster)
    }

    fn owner(&self, written: &Value) -> Owner {
        let owners = items(&written["metadata"]["ownerReferences"]);
        let set = owners.iter().find(|owner| owner["kind"] == "DaemonSet").map(|owner| text(&owner["name"]));
        set.map_or(Owner::Bare, |name| {
            let index =
                self.plan.daemon_sets.iter().position(|set| set.name == name).unwrap_or(self.plan.daemon_sets.len());
            Owner::DaemonSet(DaemonSetId::at(index))
        })
    }

    /// A pod, bound or not.
    pub fn add_pod(&mut self, written: &Value, node: Option<NodeId>, bound: bool) -> Result<PodId, String> {
        let template = pod_template(written)?;
        let id = TemplateId::at(self.world.templates.len());
        self.world.templates.push(Arc::new(template));
        let name = text(&written["metadata"]["name"]);
        let ordinal = u32::try_from(self.pods.len() + 1).unwrap_or(u32::MAX);
        let bare = Some(name.as_str().into());
        let owner = self.owner(written);
        let pod = self.world.create_pod(NewPod { template: id, owner, ordinal, pinned: None, name: bare });
        let (status, now) = (&written["status"], self.world.now);
        let scheduled = items(&status["conditions"]).iter().find(|condition| condition["type"] == "PodScheduled");
        let waits = |condition: &Value| condition["reason"] == "Unschedulable" && condition["status"] == "False";
        let waits = if status["conditions"].is_null() { !bound } else { scheduled.is_some_and(waits) };
        if waits && !bound {
            self.world.mark_unschedulable(pod, 0);
        }
        if let Some(node) = node {
            self.world.bind_pod(pod, node);
            if status["phase"] != "Pending" {
                self.world.set_pod_phase(pod, PodPhase::Running);
            }
            let ready = items(&status["conditions"]).iter().find(|condition| condition["type"] == "Ready");
            if status["conditions"].is_null() || ready.is_some() {
                self.world.set_pod_ready(pod, ready.is_none_or(|condition| condition["status"] == "True"));
            }
        }
        match status["phase"].as_str() {
            Some("Succeeded") => self.world.set_pod_phase(pod, PodPhase::Succeeded),
            Some("Failed") => self.world.set_pod_phase(pod, PodPhase::Failed),
            _ => {}
        }
        let entry = &mut self.world.pods[pod.index()];
        entry.uid = Some(written["metadata"]["uid"].as_str().unwrap_or(&name).into());
        entry.created = moment(&written["metadata"]["creationTimestamp"]).unwrap_or(now);
        entry.deleting_since = moment(&written["metadata"]["deletionTimestamp"]);
        entry.start_time = moment(&status["startTime"]);
        entry.nominated = status["nominatedNodeName"].as_str().map(|_| NodeId::at(0));
        self.pods.push(name);
        Ok(pod)
    }

    fn node_labels(&self, written: &Value, entry: Option<&InstanceType>, pool: Option<&NodePoolSpec>) -> Labels {
        let mut all = entry.map(|entry| entry.labels.clone()).unwrap_or_default();
        let mut put = |key: &str, value: &Value| {
            if let Some(value) = value.as_str().filter(|value| !value.is_empty()) {
                all.insert(key.to_string(), value.to_string());
            }
        };
        put("node.kubernetes.io/instance-type", &written["instanceType"]);
        put("topology.kubernetes.io/zone", &written["zone"]);
        put("karpenter.sh/capacity-type", &written["capacityType"]);
        if let Some(pool) = pool {
            put("karpenter.sh/nodepool", &json!(pool.name));
            put("karpenter.k8s.aws/ec2nodeclass", &json!(pool.node_class_name));
            all.extend(pool.labels.clone());
        }
        for (key, value) in labels(&written["labels"]) {
            if &*value == "-" {
                all.remove(&key);
            } else {
                all.insert(key, value);
            }
        }
        all
    }

    /// The NodeClaim of a node, launched.
    fn add_claim(&mut self, written: &Value, pool: NodePoolId, labels: &Labels, typed: InstanceTypeId) -> ClaimId {
        let launched = written["state"] != "created";
        let plan = &mut self.plan;
        let zone = zone(plan, &text(&written["zone"]));
        let kind = capacity_type(&text(&written["capacityType"]));
        let entry = plan.instance_type(typed);
        let offering = entry.offerings.iter().find(|one| one.zone == zone && one.capacity_type == kind);
        let price = offering.map(|offering| offering.price).unwrap_or_default();
        let claim = self.world.create_claim(NewClaim {
            pool,
            requirements: Default::default(),
            instance_types: vec![typed],
            requests: Resources::default(),
            labels: labels.clone(),
        });
        if launched {
            let instance = self.world.launch_instance(Some(claim), typed, zone, kind, price);
            self.world.launch_claim(claim, instance, labels.clone());
        }
        let name = written["claim"].as_str().or(written["name"].as_str()).unwrap_or_default();
        self.world.claims[claim.index()].name = name.into();
        claim
    }

    /// A node of a case with its claim and its pods.
    pub fn add_node(&mut self, written: &Value) -> Result<(), String> {
        let state = written["state"].as_str().unwrap_or("initialized");
        let type_name = text(&written["instanceType"]);
        let typed = self.plan.instance_types.iter().position(|entry| entry.name == type_name).map(InstanceTypeId::at);
        let entry = typed.map(|id| self.plan.instance_types[id.index()].clone());
        let pool_name = text(&written["nodePool"]);
        let pool = self.plan.node_pools.iter().position(|pool| pool.name == pool_name).map(NodePoolId::at);
        let spec = pool.map(|id| self.plan.node_pools[id.index()].clone());
        let mut all = self.node_labels(written, entry.as_deref(), spec.as_deref());
        let mut claim = None;
        let or_pool = |key: &str, of_pool: &dyn Fn(&NodePoolSpec) -> Vec<Taint>| {
            if written[key].is_null() {
                Ok(spec.as_deref().map(of_pool).unwrap_or_default())
            } else {
                taints(&written[key])
            }
        };
        let claim_taints = or_pool("claimTaints", &|pool| pool.taints.clone())?;
        let startup = or_pool("startupTaints", &|pool| pool.startup_taints.clone())?;
        if let Some(pool) = pool {
            let typed = match typed {
                Some(typed) => typed,
                None => self.unknown_type(written)?,
            };
            let id = self.add_claim(written, pool, &all, typed);
            let entry = &mut self.world.claims[id.index()];
            entry.taints = claim_taints.clone();
            entry.startup_taints = startup.clone();
            entry.marked = written["marked"] == json!(true);
            entry.deleting_since = (written["deleting"] == json!(true)).then_some(self.plan.start);
            let terminating = written["conditions"]["InstanceTerminating"] == "True";
            entry.instance_terminating = terminating.then_some(self.plan.start);
            claim = Some(id);
            self.claim_spec(written, id)?;
        }
        if state == "launched" || state == "created" {
            if let Some(claim) = claim {
                self.claim_conditions(written, claim);
            }
            return Ok(());
        }
        let mut node_taints = if written["taints"].is_null() { claim_taints } else { taints(&written["taints"])? };
        if state != "initialized" {
            node_taints.extend(startup);
        }
        if state == "joined" && claim.is_some() {
            node_taints.push(kubelapse::components::karpenter::cluster::unregistered_taint());
        }
        let name = text(&written["name"]);
        all.insert_missing("kubernetes.io/hostname", name.as_str());
        for (key, states) in [
            ("karpenter.sh/registered", &["registered", "initialized"][..]),
            ("karpenter.sh/initialized", &["initialized"][..]),
        ] {
            if claim.is_some() && states.contains(&state) {
                all.insert(key.to_string(), "true".to_string());
            }
        }
        let of_type = |pick: fn(&InstanceType) -> &Resources| entry.as_deref().map(|entry| pick(entry).clone());
        let capacity = if written["capacity"].is_null() {
            of_type(|entry| &entry.capacity).unwrap_or_default()
        } else {
            amounts(&written["capacity"])?
        };
        let allocatable = match (written["allocatable"].is_null(), written["capacity"].is_null()) {
            (false, _) => amounts(&written["allocatable"])?,
            (true, false) => capacity.clone(),
            (true, true) => of_type(|entry| &entry.allocatable).unwrap_or_default(),
        };
        let zone = written["zone"].as_str().map(|name| zone(&mut self.plan, name));
        let instance = claim.and_then(|claim| self.world.claim(claim).instance);
        let node = self.world.create_node(NewNode {
            name: name.as_str().into(),
            labels: all,
            taints: node_taints,
            allocatable,
            capacity,
            claim,
            instance,
            zone,
        });
        if written["notReady"] != json!(true) {
            self.world.set_node_readiness(node, NodeReadiness::Ready);
        }
        if claim.is_none() && (written["deleting"] == json!(true) || written["marked"] == json!(true)) {
            self.world.nodes[node.index()].deleting_since = Some(self.plan.start);
        }
        if let Some(claim) = claim.filter(|_| state != "joined") {
            self.world.register_claim(claim);
            if state == "initialized" {
                self.world.initialize_claim(claim);
            }
        }
        for (key, value) in labels(&written["annotations"]) {
            self.world.set_node_annotation(node, &key, Some(&value));
        }
        if let Some(claim) = claim {
            self.claim_conditions(written, claim);
        }
        for pod in single_pods(items(&written["pods"])) {
            self.add_pod(&pod, Some(node), true)?;
        }
        Ok(())
    }

    /// What else is written of a claim.
    fn claim_spec(&mut self, written: &Value, id: ClaimId) -> Result<(), String> {
        let start = self.plan.start;
        let entry = &mut self.world.claims[id.index()];
        if is_hashed_differently(&written["poolAnnotations"], &written["annotations"]) {
            Arc::make_mut(&mut entry.made_from).annotations.insert("made-from".to_string(), "other".to_string());
        }
        entry.created = moment(&written["created"]).unwrap_or(start.back(Span::from_secs(3600)));
        entry.last_pod_event = moment(&written["lastPodEventTime"]);
        entry.provider_drift = written["drifted"].as_str().map(Into::into);
        if written["nominated"] == json!(true) {
            entry.nominated_until = start + self.plan.flags.karpenter.nomination;
        }
        for (key, field) in
            [("expireAfter", &mut entry.expire_after), ("terminationGracePeriod", &mut entry.termination_grace_period)]
        {
            if !written[key].is_null() {
                *field = span(&written[key])?;
            }
        }
        Ok(())
    }

    /// Conditions of a claim, with the times at which they came.
    fn claim_conditions(&mut self, written: &Value, id: ClaimId) {
        let entry = &mut self.world.claims[id.index()];
        let created = entry.created;
        let since = |kind: &str| moment(&written["conditionTimes"][kind]).unwrap_or(created);
        let given = |kind: &str| (written["conditions"][kind] == "True").then(|| since(kind));
        entry.launched = entry.launched.map(|_| since("Launched"));
        entry.registered = entry.registered.map(|_| since("Registered"));
        entry.initialized = entry.initialized.map(|_| since("Initialized"));
        entry.consolidatable = given("Consolidatable");
        entry.drifted = given("Drifted");
        entry.instance_terminating = given("InstanceTerminating");
    }

    /// A type that the catalogue does not have: no pool can be asked for it.
    fn unknown_type(&mut self, written: &Value) -> Result<InstanceTypeId, String> {
        let entry = json!({"name": written["instanceType"], "capacity": written["capacity"]});
        let entry = instance_type(&mut self.plan, &entry, &[])?;
        self.plan.instance_types.push(Arc::new(entry));
        Ok(InstanceTypeId::at(self.plan.instance_types.len() - 1))
    }

    /// A claim has its instance.
    pub fn launch(&mut self, claim: ClaimId, written: &Value) -> Result<(), String> {
        let plan = &mut self.plan;
        let zone = zone(plan, &text(&written["zone"]));
        let kind = capacity_type(&text(&written["capacityType"]));
        let found = plan.instance_types.iter().position(|entry| written["instanceType"] == json!(entry.name));
        let typed = found.map(InstanceTypeId::at).ok_or("no such type")?;
        let entry = plan.instance_type(typed).clone();
        let labels = self.node_labels(written, Some(&entry), None);
        let instance = self.world.launch_instance(Some(claim), typed, zone, kind, MicroDollars::default());
        self.world.launch_claim(claim, instance, labels);
        Ok(())
    }

    /// A pool by its name.
    pub fn pool(&self, name: &str) -> Option<NodePoolId> {
        self.plan.node_pools.iter().position(|pool| pool.name == name).map(NodePoolId::at)
    }

    /// Namespace and name of a pod.
    pub fn full_name(&self, pod: PodId) -> String {
        format!("{}/{}", self.world.template_of(pod).namespace, self.pod(pod))
    }

    /// Name of a pod.
    pub fn pod(&self, pod: PodId) -> &str {
        &self.pods[pod.index()]
    }

    /// Names of pods.
    pub fn names(&self, pods: &[PodId]) -> Vec<&str> {
        pods.iter().map(|&pod| self.pod(pod)).collect()
    }
}
