//! `cluster:`, the region with its zones and prices, the instance types, and the nodes that exist at the start.

use super::Draft;
use super::controllers;
use super::diagnostic::{Diagnostic, Place, nearest};
use super::reader::{self, Fields};
use super::yaml::Node;
use crate::catalog::{self, Device, Market, PriceOverride, Row, region};
use crate::engine::Span;
use crate::manifest::common;
use crate::plan::flags::{CreditMode, FixedStages};
use crate::plan::{
    AmiFamily, CapacityType, InitialNode, InstanceType, InstanceTypeId, NodeClassId, NodeClassSpec, NodePoolId,
    NodePoolSpec, Plan, ZoneId,
};
use crate::rules::labels::Labels;
use crate::rules::quantity::Bytes;
use crate::rules::requirement::NodeRequirement;
use crate::rules::requirements::{CAPACITY_TYPE, INSTANCE_TYPE};
use crate::rules::resources::ResourceList;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What is kept of the section until the manifests are known.
pub(crate) struct Cluster<'n> {
    market: Market,
    own_types: Vec<Row>,
    nodes: &'n [Node],
}

/// Capacity types by name.
pub(crate) const CAPACITY_TYPES: [(&str, CapacityType); 2] =
    [("spot", CapacityType::Spot), ("on-demand", CapacityType::OnDemand)];

/// `cpu_credits`.
const CREDIT_MODES: [(&str, CreditMode); 4] = [
    ("default", CreditMode::Default),
    ("standard", CreditMode::Standard),
    ("unlimited", CreditMode::Unlimited),
    ("off", CreditMode::Off),
];

/// Reads the section; nodes wait for [`place`].
pub(crate) fn read<'n>(node: Option<&'n Node>, draft: &mut Draft) -> Cluster<'n> {
    let problems = &mut draft.problems;
    let plan = &mut draft.plan;
    let fields = node.and_then(|node| Fields::of(node, "cluster", problems));
    let mut cluster = Cluster { market: Market::new(&plan.region, 0), own_types: Vec::new(), nodes: &[] };
    if let Some(mut fields) = fields {
        if let Some(version) = controllers::known_version(&mut fields, "kubernetes", problems) {
            controllers::apply_kubernetes(version, &mut plan.flags);
        }
        if let Some(version) = controllers::known_version(&mut fields, "karpenter", problems) {
            plan.flags.karpenter.version = version;
        }
        if let Some(version) = controllers::known_version(&mut fields, "load_balancer_controller", problems) {
            plan.flags.load_balancer.watches_pods = version >= (3, 4);
        }
        if let Some(region) = fields.text("region", problems) {
            plan.region = region;
        }
        for item in fields.list("zones", problems) {
            let Some(zone) = reader::text(item, "cluster.zones", problems) else { continue };
            if plan.zones.contains(&zone) {
                problems.error("E021", item.place, format!("cluster.zones: {zone} is there twice"));
            } else if plan.zones.len() < 64 {
                plan.zones.push(zone);
            }
        }
        plan.initial_age = fields.duration("age", problems).unwrap_or(plan.initial_age);
        let factor = fields.number("price_factor", problems);
        if let Some(factor) = factor.filter(|factor| !(1e-6..=1e3).contains(factor)) {
            let node = fields.get("price_factor").unwrap_or(fields.node());
            reader::out_of_range(node, &format!("cluster.price_factor {factor}"), "from 1e-6 to 1000", problems);
        }
        cluster.market.price_factor = factor.unwrap_or(1.0).clamp(1e-6, 1e3);
        let region = fields.get("region");
        if let Some(node) = region
            && let Some(meant) = check_region(node, plan, factor.is_some(), problems)
        {
            plan.region = meant.to_string();
        }
        let zones = fields.get("zones").map_or(&[][..], Node::items);
        zones.iter().for_each(|zone| check_zone(zone, &plan.region, region.is_some(), problems));
        for (index, item) in fields.list("instance_types", problems).iter().enumerate() {
            let row = own_type(item, format!("cluster.instance_types[{index}]"), problems);
            cluster.own_types.extend(row);
        }
        if let Some(prices) = fields.get("prices") {
            read_prices(prices, &mut cluster, problems);
        }
        if let Some(prefixes) = fields.boolean("prefix_delegation", problems) {
            plan.flags.karpenter.prefix_delegation = prefixes;
        }
        plan.flags.kubelet.address_cooldown = fields.duration("address_cooldown", problems);
        if let Some(mode) = fields.choice("cpu_credits", &CREDIT_MODES, problems) {
            plan.flags.credits.mode = mode;
        }
        if let Some(limits) = fields.get("ec2_limits") {
            read_limits(limits, &mut plan.flags.ec2.limits, problems);
        }
        if let Some(node) = fields.get("simulated_kubelets") {
            plan.flags.kubelet.fixed = simulated_kubelets(node, problems);
        }
        cluster.nodes = fields.list("nodes", problems);
        fields.finish(problems);
    }
    if plan.zones.is_empty() {
        plan.zones = ["a", "b", "c"].map(|letter| format!("{}{letter}", plan.region)).to_vec();
    }
    cluster.market.region.clone_from(&plan.region);
    cluster.market.zones = plan.zones.len();
    cluster
}

/// A region that AWS does not have, or one whose prices are not known. The one that is meant by one that is nearly it, so that
/// nothing else is said of its zones.
fn check_region(node: &Node, plan: &Plan, has_factor: bool, problems: &mut super::Problems) -> Option<&'static str> {
    let region = &*plan.region;
    if region::is_region(region) {
        if !has_factor && region != "us-east-1" {
            let text = format!("prices of {region} are not known: those of us-east-1 are taken");
            let help = "set cluster.price_factor or cluster.prices";
            problems.push(Diagnostic::note("N102", node.place, text).help(help));
        }
        return None;
    }
    // Nobody names a region of his own like one of AWS and leaves its zones to us.
    if let Some(meant) = nearest(region, region::REGIONS).filter(|_| plan.zones.is_empty()) {
        let message = format!("cluster.region: there is no region `{region}`");
        let said = Diagnostic::error("E016", node.place, message).label("unknown region");
        problems.push(said.suggest(region, region::REGIONS));
        return Some(meant);
    }
    let prices = if has_factor { "" } else { "; prices are those of us-east-1" };
    let text = format!("no region `{region}` of AWS is known here: it is taken as one of your own{prices}");
    let help = match nearest(region, region::REGIONS) {
        Some(near) => format!("did you mean `{near}`?"),
        None => "the zones are those that `zones` names; set cluster.price_factor or cluster.prices".to_string(),
    };
    problems.push(Diagnostic::warning("W138", node.place, text).label("unknown region").help(help));
    None
}

/// A zone that lies in another region, or whose name is nearly that of one in this region.
fn check_zone(node: &Node, region: &str, is_said: bool, problems: &mut super::Problems) {
    let Some(zone) = node.text().filter(|zone| !zone.starts_with(region)) else { return };
    // A misspelt region is told at its own place, not at each of its zones.
    let meant = if region::REGIONS.contains(&region) { None } else { nearest(region, region::REGIONS) };
    if meant.is_some_and(|meant| zone.starts_with(meant)) {
        return;
    }
    let of_other = region::REGIONS.into_iter().find(|other| {
        zone.strip_prefix(other).is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_lowercase() || c == '-'))
    });
    let own = ["a", "b", "c", "d", "e", "f"].map(|letter| format!("{region}{letter}"));
    let near = nearest(zone, own.iter().map(String::as_str));
    let default = if is_said { "" } else { ", the default" };
    let (text, help) = match (of_other, near) {
        (Some(other), _) => {
            let text = format!("zone {zone} is of region {other}, and `region` is {region}{default}");
            (text, format!("write region: {other}"))
        }
        (None, Some(near)) => (format!("region {region} has no zone `{zone}`"), format!("did you mean `{near}`?")),
        // Made up, and meant so.
        (None, None) => return,
    };
    problems.push(Diagnostic::warning("W139", node.place, text).label("not of the region").help(help));
}

/// `ec2_limits`: off, or rate and burst by call.
fn read_limits(node: &Node, limits: &mut [(f64, f64); 3], problems: &mut super::Problems) {
    if matches!(node.text(), Some("off" | "false")) {
        *limits = [(0.0, 0.0); 3];
        return;
    }
    let Some(mut fields) = Fields::of(node, "cluster.ec2_limits", problems) else { return };
    let keys = ["create_fleet", "describe_instances", "terminate_instances"];
    for (key, (rate, burst)) in keys.into_iter().zip(limits) {
        let Some(mut bucket) = fields.fields(key, problems) else { continue };
        let mut positive = |key: &'static str, high: f64, value: &mut f64| {
            let Some(found) = bucket.number(key, problems) else { return };
            if (1e-3..=high).contains(&found) {
                *value = found;
            } else {
                let node = bucket.get(key).unwrap_or(bucket.node());
                reader::out_of_range(node, &bucket.at(key), &format!("from 0.001 to {high}"), problems);
            }
        };
        positive("rate", 1e4, rate);
        positive("burst", 1e5, burst);
        bucket.finish(problems);
    }
    fields.finish(problems);
}

/// `simulated_kubelets: true`, or the lengths of their stages.
fn simulated_kubelets(node: &Node, problems: &mut super::Problems) -> Option<FixedStages> {
    match node.text() {
        Some("true") => return Some(FixedStages::default()),
        Some("false") => return None,
        _ => {}
    }
    let mut fields = Fields::of(node, "cluster.simulated_kubelets", problems)?;
    let mut stages = FixedStages::default();
    let all: [(&'static str, &mut Span); 6] = [
        ("acknowledged", &mut stages.acknowledged),
        ("running", &mut stages.running),
        ("ready", &mut stages.ready),
        ("gone", &mut stages.gone),
        ("node_ready", &mut stages.node_ready),
        ("pace", &mut stages.pace),
    ];
    for (key, stage) in all {
        *stage = fields.duration(key, problems).unwrap_or(*stage);
    }
    fields.finish(problems);
    Some(stages)
}

fn read_prices(node: &Node, cluster: &mut Cluster<'_>, problems: &mut super::Problems) {
    if Fields::of(node, "cluster.prices", problems).is_none() {
        return;
    }
    for entry in node.entries() {
        let name = &*entry.key;
        let own = cluster.own_types.iter().any(|row| row.name == name);
        if !own && catalog::find(name).is_none() {
            problems.push(unknown_type(name, entry.key_place, &[]));
            continue;
        }
        let path = format!("cluster.prices.{name}");
        let price = |node: &Node, problems: &mut super::Problems| {
            let value = reader::number(node, &path, problems)?;
            if (0.0..=1e4).contains(&value) {
                return Some(value);
            }
            reader::out_of_range(node, &path, "from 0 to 10000 USD an hour", problems);
            None
        };
        let mut own = PriceOverride::default();
        if entry.value.text().is_some() {
            own.on_demand = price(&entry.value, problems);
        } else if let Some(mut fields) = Fields::of(&entry.value, path.clone(), problems) {
            own.on_demand = fields.get("on_demand").and_then(|node| price(node, problems));
            own.spot = fields.get("spot").and_then(|node| price(node, problems));
            fields.finish(problems);
        }
        cluster.market.overrides.insert(name.to_string(), own);
    }
}

/// A type of the user's own.
fn own_type(node: &Node, path: String, problems: &mut super::Problems) -> Option<Row> {
    let mut fields = Fields::of(node, path, problems)?;
    for key in ["cpu", "memory", "price"] {
        fields.required(key, problems);
    }
    let name = fields.required_text("name", problems);
    let vcpus = fields.integer_in("cpu", 1, 1024, problems);
    let memory = fields.quantity("memory", problems).map(|memory| memory.units_ceil() >> 20);
    let arch = fields.choice("arch", &[("amd64", "amd64"), ("arm64", "arm64")], problems).unwrap_or("amd64");
    let price = fields.number("price", problems);
    let spot = fields.number("spot_price", problems);
    let row = Row {
        name: name.unwrap_or_default(),
        arch: arch.to_string(),
        vcpus: vcpus.unwrap_or(1) as u32,
        memory_mib: memory.unwrap_or(0).clamp(0, 1 << 30) as u32,
        interfaces: fields.integer_in("network_interfaces", 1, 64, problems).unwrap_or(4) as u32,
        addresses: fields.integer_in("addresses_per_interface", 1, 64, problems).unwrap_or(15) as u32,
        price: price.unwrap_or(0.0).clamp(0.0, 1e4),
        network_mbps: fields.integer_in("network_mbps", 1, 10_000_000, problems).map(|value| value as u32),
        ebs_mbps: None,
        hypervisor: "nitro".to_string(),
        cpu_vendor: fields.text("cpu_manufacturer", problems).unwrap_or_else(|| "intel".to_string()),
        spot_saving: match (price, spot) {
            (Some(price), Some(spot)) if price > 0.0 => Some((1.0 - spot / price).clamp(0.0, 1.0) * 100.0),
            _ => None,
        },
        interruption_band: None,
        local_nvme_gb: fields
            .quantity("local_nvme", problems)
            .map(|size| (size.units_ceil() / 1_000_000_000).clamp(0, 1 << 30) as u32),
        clock_mhz: None,
        encrypts: true,
        gpu: fields.integer_in("gpus", 1, 64, problems).map(|count| Device {
            manufacturer: "nvidia".to_string(),
            name: "custom".to_string(),
            count: count as u32,
            size: 0,
        }),
        accelerator: None,
        pods: fields.integer_in("pods", 0, 10_000, problems),
    };
    fields.finish(problems);
    (!row.name.is_empty()).then_some(row)
}

fn unknown_type(name: &str, place: super::diagnostic::Place, own: &[Row]) -> Diagnostic {
    let known = own.iter().chain(catalog::rows()).map(|row| row.name.as_str());
    Diagnostic::error("E016", place, format!("there is no instance type `{name}`"))
        .label("unknown type")
        .suggest(name, known)
}

/// The class of nodes that no pool owns.
fn default_class() -> NodeClassSpec {
    NodeClassSpec {
        name: "default".to_string(),
        family: AmiFamily::Al2023,
        max_pods: None,
        pods_per_core: None,
        kube_reserved: ResourceList::default(),
        system_reserved: ResourceList::default(),
        eviction_hard: Labels::new(),
        volume: Bytes(20 << 30),
        raid0: false,
    }
}

/// Puts instance types and nodes into the plan, once pools and classes are there.
pub(crate) fn place(cluster: Cluster<'_>, draft: &mut Draft) {
    let plan = &mut draft.plan;
    let rows: Vec<&Row> = {
        let own = |name: &str| cluster.own_types.iter().any(|row| row.name == name);
        cluster.own_types.iter().chain(catalog::rows().iter().filter(|row| !own(&row.name))).collect()
    };
    let classes = plan.node_classes.clone();
    // Only types that a pool may use, or that a node at the start has: a run carries no more than it needs.
    let named: Vec<&str> = cluster.nodes.iter().filter_map(|node| node.get("instance_type")?.text()).collect();
    let mut known: BTreeMap<(usize, &str), InstanceTypeId> = BTreeMap::new();
    for pool in plan.node_pools.clone() {
        let mut usable = Vec::new();
        for row in pool.node_class.iter().flat_map(|_| &rows) {
            let class = pool.node_class.map_or(0, NodeClassId::index);
            let seen = catalog::instance_type(row, &classes[class], &plan.flags.karpenter, &cluster.market);
            if plan.pool_types.is_empty() {
                for (key, value) in &seen.labels {
                    draft.label_values.entry(key.to_string()).or_default().insert(value.to_string());
                }
            }
            let may_use = may_use(&pool, &seen);
            if may_use || named.contains(&seen.name.as_str()) {
                let id = *known.entry((class, &row.name)).or_insert_with(|| {
                    plan.instance_types.push(Arc::new(seen));
                    InstanceTypeId::at(plan.instance_types.len() - 1)
                });
                usable.extend(may_use.then_some(id));
            }
        }
        let estimated = usable.iter().filter(|id| plan.instance_types[id.index()].spot_price_is_estimate).count();
        // Where the pool is written.
        let place = draft.objects.node_pools.iter().find(|found| found.value.name == pool.name);
        let place = place.map_or(super::diagnostic::Place::top(super::diagnostic::FileId(0)), |found| found.place);
        if estimated > 0 && takes_spot(&pool) {
            let text = format!(
                "NodePool {}: spot prices of {estimated} of its {} instance types are estimates (on demand less the median \
                 saving of the family, or of the category)",
                pool.name,
                usable.len()
            );
            draft.problems.push(Diagnostic::note("N105", place, text).help("set cluster.prices to know better"));
        }
        if let Some(text) = pool.node_class.and_then(|id| of_addresses(plan, &pool, &classes[id.index()], &usable)) {
            let help =
                "EKS recommends kubelet.maxPods 110 below 30 vCPUs and 250 from there on, with prefix delegation";
            draft.problems.push(Diagnostic::note("N109", place, text).help(help));
        }
        plan.pool_types.push(usable);
    }
    for (index, item) in cluster.nodes.iter().enumerate() {
        place_nodes(item, format!("cluster.nodes[{index}]"), &cluster, &rows, draft);
    }
    let plan = &mut draft.plan;
    for pod in &mut plan.pods {
        let wanted = plan.templates[pod.template.index()].node_name.as_deref();
        pod.node = wanted.and_then(|wanted| plan.nodes.iter().position(|node| node.name == wanted));
    }
}

/// The pool may buy spot instances.
fn takes_spot(pool: &NodePoolSpec) -> bool {
    let spot = Labels::from([(CAPACITY_TYPE.to_string(), CapacityType::Spot.name().to_string())]);
    pool.requirements.iter().filter(|one| one.key == CAPACITY_TYPE).all(|one| one.matches(&spot))
}

/// What is odd about the pods that nodes of a pool take and the addresses that they have.
fn of_addresses(
    plan: &crate::plan::Plan,
    pool: &NodePoolSpec,
    class: &NodeClassSpec,
    types: &[InstanceTypeId],
) -> Option<String> {
    let flags = &plan.flags.karpenter;
    if flags.prefix_delegation {
        let unchanged = class.max_pods.is_none() && class.family != AmiFamily::Windows && !types.is_empty();
        return unchanged.then(|| {
            format!(
                "NodePool {}: prefix delegation lets its nodes take no more pods, as EC2NodeClass {} sets no kubelet.maxPods",
                pool.name, class.name
            )
        });
    }
    let max_pods = class.max_pods?;
    let kinds = types.iter().map(|id| &plan.instance_types[id.index()]);
    let short = |kind: &&Arc<InstanceType>| kind.capacity.pods > kind.interface_pods(flags.reserved_enis);
    let worst = kinds.filter(short).min_by_key(|kind| kind.addresses(flags.reserved_enis, false))?;
    let addresses = worst.addresses(flags.reserved_enis, false);
    Some(format!(
        "NodePool {}: kubelet.maxPods is {max_pods}, but {} has {addresses} addresses for pods without prefix delegation",
        pool.name, worst.name
    ))
}

/// Whether a type's own labels leave it open to a pool. What a type does not say, a launch may still decide.
pub(crate) fn may_use(pool: &NodePoolSpec, kind: &InstanceType) -> bool {
    let mut labels = kind.labels.clone();
    labels.insert("node.kubernetes.io/instance-type", kind.name.as_str());
    let decided = |requirement: &&NodeRequirement| labels.contains_key(&requirement.key);
    pool.requirements.iter().filter(decided).all(|requirement| requirement.matches(&labels))
}

fn place_nodes(node: &Node, path: String, cluster: &Cluster<'_>, rows: &[&Row], draft: &mut Draft) {
    let Some(mut fields) = Fields::of(node, path, &mut draft.problems) else { return };
    let pool = fields.get("node_pool").and_then(|node| find_pool(node, &fields.at("node_pool"), draft));
    let type_node = fields.required("instance_type", &mut draft.problems);
    let instance_type = type_node.and_then(|node| type_of(node, pool, cluster, rows, draft));
    let zone = fields.get("zone").and_then(|node| find_zone(node, &fields.at("zone"), draft));
    let problems = &mut draft.problems;
    let capacity_type = fields.choice("capacity_type", &CAPACITY_TYPES, problems).unwrap_or(CapacityType::OnDemand);
    let count = fields.integer_in("count", 1, 10_000, problems).unwrap_or(1) as usize;
    if let (Some(pool), Some(id), Some(node)) = (pool, instance_type, type_node) {
        say_drifted(&draft.plan, pool, id, (capacity_type, node.place), problems);
    }
    let name = fields.text("name", problems);
    let labels = common::labels(&mut fields, "labels", problems);
    let mut taints = common::taints(&mut fields, "taints", problems);
    let unschedulable = fields.boolean("unschedulable", problems).unwrap_or(false);
    let images = common::texts(&mut fields, "images", problems);
    fields.finish(problems);
    let plan = &mut draft.plan;
    if let Some(pool) = pool {
        // What the pool puts on its nodes; startup taints are gone from a node that is initialised.
        for taint in &plan.node_pools[pool.index()].taints {
            if !taints.iter().any(|own| own.is_same(taint)) {
                taints.push(taint.clone());
            }
        }
    }
    let prefix = match (&name, pool) {
        (Some(name), _) => name.clone(),
        (None, Some(pool)) => format!("{}-initial", plan.node_pools[pool.index()].name),
        (None, None) => "node".to_string(),
    };
    let start = format!("{prefix}-");
    let taken = plan.nodes.iter().filter(|node| node.name.starts_with(&start)).count();
    let mut names: BTreeSet<String> = plan.nodes.iter().map(|node| node.name.clone()).collect();
    for index in 0..count {
        let mut node_name = prefix.clone();
        if count > 1 || name.is_none() {
            let number = index + 1 + if name.is_some() { 0 } else { taken };
            node_name = format!("{prefix}-{number:02}");
        }
        if !names.insert(node_name.clone()) {
            draft.problems.error("E021", node.place, format!("a node named {node_name} is there twice"));
            return;
        }
        plan.nodes.push(InitialNode {
            name: node_name,
            node_pool: pool,
            instance_type,
            zone: Some(zone.unwrap_or(ZoneId::at(index % plan.zones.len()))),
            capacity_type,
            labels: labels.clone(),
            taints: taints.clone(),
            allocatable: None,
            unschedulable,
            images: images.iter().map(|image| (image.clone(), Bytes(0))).collect(),
        });
    }
    if plan.nodes.len() > 20_000 {
        draft.problems.error("E015", node.place, "more than 20000 nodes at the start");
    }
}

/// A node whose pool does not ask for such nodes has drifted when the run begins, and is replaced at once.
fn say_drifted(
    plan: &crate::plan::Plan,
    pool: NodePoolId,
    id: InstanceTypeId,
    (capacity_type, place): (CapacityType, Place),
    problems: &mut super::Problems,
) {
    let (pool, kind) = (&plan.node_pools[pool.index()], plan.instance_type(id));
    let mut labels = kind.labels.clone();
    labels.insert(INSTANCE_TYPE, kind.name.as_str());
    labels.insert(CAPACITY_TYPE, capacity_type.name());
    let unmet = |asked: &&NodeRequirement| labels.contains_key(&asked.key) && !asked.matches(&labels);
    let Some(asked) = pool.requirements.iter().find(unmet) else { return };
    let has = labels.get(&asked.key).unwrap_or_default();
    let is = if asked.key == INSTANCE_TYPE { String::new() } else { format!(" and its nodes have {has}") };
    let text = format!("NodePool {} does not ask for {} {}s", pool.name, capacity_type.name(), kind.name);
    let values = asked.values.join(", ");
    let help = format!(
        "{} is {:?} [{values}]{is}: these nodes have drifted, and Karpenter replaces them",
        asked.key, asked.operator
    );
    problems.push(Diagnostic::warning("W146", place, text).help(help));
}

fn type_of(
    node: &Node,
    pool: Option<NodePoolId>,
    cluster: &Cluster<'_>,
    rows: &[&Row],
    draft: &mut Draft,
) -> Option<InstanceTypeId> {
    let plan = &mut draft.plan;
    let name = reader::text(node, "instance_type", &mut draft.problems)?;
    let Some(row) = rows.iter().find(|row| row.name == name) else {
        draft.problems.push(unknown_type(&name, node.place, &cluster.own_types));
        return None;
    };
    if let Some(pool) = pool {
        // A node may be of a type that its pool would not choose today.
        let of_pool = plan.pool_types[pool.index()].iter().copied().find(|&id| plan.instance_type(id).name == name);
        let known = || plan.instance_types.iter().position(|kind| kind.name == name).map(InstanceTypeId::at);
        return of_pool.or_else(known);
    }
    let known = plan.instance_types.iter().position(|known| known.name == name);
    Some(InstanceTypeId::at(known.unwrap_or_else(|| {
        let class = plan.node_classes.first().map_or_else(default_class, |class| (**class).clone());
        let seen = catalog::instance_type(row, &class, &plan.flags.karpenter, &cluster.market);
        plan.instance_types.push(Arc::new(seen));
        plan.instance_types.len() - 1
    })))
}

fn find_pool(node: &Node, path: &str, draft: &mut Draft) -> Option<NodePoolId> {
    let names: Vec<&str> = draft.plan.node_pools.iter().map(|pool| pool.name.as_str()).collect();
    find(node, path, "NodePool", &names, &mut draft.problems).map(NodePoolId::at)
}

/// A zone by name.
pub(crate) fn find_zone(node: &Node, path: &str, draft: &mut Draft) -> Option<ZoneId> {
    let names: Vec<&str> = draft.plan.zones.iter().map(String::as_str).collect();
    find(node, path, "zone", &names, &mut draft.problems).map(ZoneId::at)
}

/// An instance type of the plan by name.
pub(crate) fn find_type(node: &Node, path: &str, draft: &mut Draft) -> Option<InstanceTypeId> {
    let plan = &mut draft.plan;
    let of_plan = |plan: &crate::plan::Plan, name: &str| plan.instance_types.iter().position(|kind| kind.name == name);
    if let Some(name) = node.text()
        && of_plan(plan, name).is_none()
        && let Some(row) = catalog::find(name)
    {
        // A type that nobody in this plan uses: known, and without effect.
        let market = Market::new(&plan.region, plan.zones.len());
        let seen = catalog::instance_type(row, &default_class(), &plan.flags.karpenter, &market);
        plan.instance_types.push(Arc::new(seen));
    }
    let own = plan.instance_types.iter().map(|kind| kind.name.as_str());
    let names: Vec<&str> = own.chain(catalog::rows().iter().map(|row| &*row.name)).collect();
    find(node, path, "instance type", &names, &mut draft.problems).map(InstanceTypeId::at)
}

/// The position of a name in a list; a problem with a suggestion if it is not there.
pub(crate) fn find(
    node: &Node,
    path: &str,
    what: &str,
    names: &[&str],
    problems: &mut super::Problems,
) -> Option<usize> {
    let name = reader::text(node, path, problems)?;
    let found = names.iter().position(|known| *known == name);
    if found.is_none() {
        let problem = Diagnostic::error("E016", node.place, format!("{path}: there is no {what} `{name}`"))
            .label(format!("unknown {what}"))
            .suggest(&name, names.iter().copied());
        // Kinds of objects are written with a capital, and manifests hold them.
        let is_object = what.starts_with(|first: char| first.is_ascii_uppercase());
        problems.push(if is_object { problem.missing_object() } else { problem });
    }
    found
}
