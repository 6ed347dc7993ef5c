//! What a scheduling cycle sees: the world, pods that are assumed or nominated, and facts that are computed once.

use super::filters::unschedulable_taint;
use super::reading::{Reading, Verdicts};
use super::standing::Standings;
use crate::plan::{Affinity, Plan, PodTemplate};
use crate::rules::labels::Labels;
use crate::rules::resources::ResourceList;
use crate::rules::taint::tolerated;
use crate::world::census::{Census, HOSTNAME_LABEL, NodeKind};
use crate::world::id_set::NodeSet;
use crate::world::{Node, NodeId, PodId, World};
use std::borrow::Cow;
use std::cell::{OnceCell, RefMut};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A container that asks for no CPU counts as this much in LeastAllocated. Source: `pkg/scheduler/util/pod_resources.go`.
pub const DEFAULT_MILLI_CPU: i64 = 100;
/// And for no memory as this many bytes.
pub const DEFAULT_MEMORY: i64 = 200 << 20;

/// The label of a node's zone and region.
const ZONE_LABEL: &str = "topology.kubernetes.io/zone";
const REGION_LABEL: &str = "topology.kubernetes.io/region";

/// The domain of nodes without the label.
pub const NO_DOMAIN: u32 = u32::MAX;

/// Facts of one pod template.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct TemplateFacts {
    /// CPU and memory that defaults add to the request of a pod that is there, for LeastAllocated.
    pub surplus: (i64, i64),
    /// And to that of the incoming pod.
    pub own_surplus: (i64, i64),
    /// It has required anti-affinity.
    pub anti_required: bool,
    /// It has terms that count in the score of other pods.
    pub score_terms: bool,
    /// It has host ports.
    pub ports: bool,
    /// It tolerates the taint that stands for a cordon.
    pub tolerates_cordon: bool,
    /// Its node selector and affinity judge nodes of a kind alike: they name neither nodes nor hosts.
    pub by_kind: bool,
}

/// The nodes in the order in which they are tried, their topology domains, and facts of templates.
#[derive(Clone, Debug, Default)]
pub struct Cluster {
    /// Nodes, zones interleaved.
    pub order: Vec<NodeId>,
    /// By node: it is in the order.
    listed: Vec<bool>,
    /// By node: its labels when this was taken.
    labels: Vec<Arc<Labels>>,
    /// That of the census when this was taken.
    generation: u64,
    columns: Vec<(String, Column)>,
    /// By template.
    pub templates: Vec<TemplateFacts>,
    /// What each template asks, as soon as one of its pods is tried.
    readings: Vec<OnceCell<Box<Reading>>>,
    /// Changes of Services until this was taken.
    services_version: u64,
    /// Some template has required anti-affinity.
    pub any_anti_required: bool,
    /// Some template has terms that count in others' scores.
    pub any_score_terms: bool,
    /// Some template gets default requests.
    pub any_surplus: bool,
}

/// The domain of each node for one topology key.
#[derive(Clone, Debug, Default)]
pub struct Column {
    /// By node id; [`NO_DOMAIN`] without the label.
    pub domain: Vec<u32>,
    /// Number of domains.
    pub count: usize,
    /// Domain of each value.
    values: BTreeMap<String, u32>,
    /// No two nodes are in one domain.
    pub single: bool,
    /// Every node is in one.
    pub whole: bool,
    /// It is that of the host's name, which kinds of nodes do not know.
    pub by_host: bool,
    /// Domain of each kind of node that there was when this was taken.
    of_kind: Vec<u32>,
}

impl Column {
    /// Domain of a node.
    #[inline]
    pub fn of(&self, node: NodeId) -> Option<usize> {
        self.domain.get(node.index()).filter(|&&domain| domain != NO_DOMAIN).map(|&domain| domain as usize)
    }

    /// Domain of a node, or [`NO_DOMAIN`].
    #[inline]
    pub fn at(&self, node: NodeId) -> u32 {
        self.domain.get(node.index()).copied().unwrap_or(NO_DOMAIN)
    }

    /// Domain of the nodes of a kind; not for that of the host's name.
    pub fn of_kind(&self, census: &Census, kind: u32, key: &str) -> Option<usize> {
        let domain = match self.of_kind.get(kind as usize) {
            Some(&domain) => domain,
            None => self.find_kind(census.kind(kind), key),
        };
        (domain != NO_DOMAIN).then_some(domain as usize)
    }

    /// The nodes of a kind have a domain.
    pub fn knows_kind(&self, census: &Census, kind: u32, key: &str) -> bool {
        if self.by_host {
            census.kind(kind).labels.contains_key(key)
        } else {
            self.of_kind(census, kind, key).is_some()
        }
    }

    /// The column of a key for these nodes; what is known of their kinds stays as long as values are of the same domains.
    fn renew(&mut self, world: &World, order: &[NodeId], key: &str) {
        let mut known: BTreeMap<&str, u32> = BTreeMap::new();
        let mut labelled = 0;
        self.domain.clear();
        self.domain.resize(world.nodes.len(), NO_DOMAIN);
        for &node in order {
            if let Some(value) = world.node(node).labels.get(key) {
                let next = known.len() as u32;
                labelled += 1;
                self.domain[node.index()] = *known.entry(value).or_insert(next);
            }
        }
        self.count = known.len();
        (self.single, self.whole) = (self.count == labelled, labelled == order.len());
        self.by_host = key == HOSTNAME_LABEL;
        // Kinds of nodes know no names of hosts.
        let named = if self.by_host { BTreeMap::new() } else { known };
        let are_same = |((one, at), (two, other)): ((&String, &u32), (&&str, &u32))| one == two && at == other;
        if self.values.len() != named.len() || !self.values.iter().zip(&named).all(are_same) {
            self.values = named.into_iter().map(|(value, domain)| (value.to_string(), domain)).collect();
            self.of_kind.clear();
        }
        self.learn_kinds(world.census(), key);
    }

    /// Kinds of nodes that came since.
    fn learn_kinds(&mut self, census: &Census, key: &str) {
        for kind in &census.all_kinds()[self.of_kind.len()..] {
            let domain = self.find_kind(kind, key);
            self.of_kind.push(domain);
        }
    }

    fn find_kind(&self, kind: &NodeKind, key: &str) -> u32 {
        // No name of a host is known by kind.
        let value = if self.by_host { None } else { kind.labels.get(key) };
        value.and_then(|value| self.values.get(value)).copied().unwrap_or(NO_DOMAIN)
    }
}

impl Cluster {
    /// The cluster as the world has it now.
    pub fn of(world: &World) -> Cluster {
        let mut cluster = Cluster::default();
        cluster.renew(world);
        cluster
    }

    /// The same, of one that was taken earlier: what is known of templates stays as long as they do.
    pub fn renew(&mut self, world: &World) {
        if self.is_outdated(world) {
            self.templates = world.templates.iter().map(|template| template_facts(template)).collect();
            self.readings = vec![OnceCell::new(); self.templates.len()];
            self.services_version = world.services_version();
        }
        if self.is_in_place(world) {
            self.learn_kinds(world);
            debug_assert!(self.is_as_anew(world), "a node that moved was taken for one that stayed");
            return;
        }
        let facts = &self.templates;
        self.any_anti_required = facts.iter().any(|facts| facts.anti_required);
        self.any_score_terms = facts.iter().any(|facts| facts.score_terms);
        self.any_surplus = facts.iter().any(|facts| facts.surplus != (0, 0) || facts.own_surplus != (0, 0));
        self.order = node_order(world);
        self.listed = vec![false; world.nodes.len()];
        self.order.iter().for_each(|node| self.listed[node.index()] = true);
        let new = self.labels.len().min(world.nodes.len());
        self.learn_labels(world);
        self.labels.extend(world.nodes[new..].iter().map(|node| node.labels.clone()));
        self.generation = world.census().generation();
        let mut before = std::mem::take(&mut self.columns);
        for key in world.templates.iter().flat_map(|template| topology_keys(template)) {
            self.add_column(world, key, &mut before);
        }
        self.add_column(world, ZONE_LABEL, &mut before);
        self.add_column(world, HOSTNAME_LABEL, &mut before);
    }

    /// Learns of labels that move no node before anybody says that they changed: it stays as it is but for the kinds that it knows.
    pub fn follow(&mut self, world: &World) {
        if self.generation != world.census().generation() && self.is_in_place(world) {
            self.learn_kinds(world);
        }
    }

    /// The same nodes are where they were when this was taken, whatever other labels they have got.
    fn is_in_place(&self, world: &World) -> bool {
        let keys = || self.columns.iter().map(|(key, _)| key.as_str()).chain([ZONE_LABEL, REGION_LABEL]);
        let stays = |&node: &NodeId| {
            let (entry, before) = (world.node(node), &self.labels[node.index()]);
            let same = Arc::ptr_eq(before, &entry.labels);
            let is_key = |name: &str| keys().any(|key| key == name);
            entry.gone.is_none() && (same || !before.differing(&entry.labels).any(is_key))
        };
        let present = world.nodes.iter().filter(|node| node.gone.is_none()).count();
        let has_column = |key: &str| self.columns.iter().any(|(name, _)| name == key);
        world.nodes.len() == self.listed.len()
            && present == self.order.len()
            && self.order.iter().all(stays)
            && has_column(HOSTNAME_LABEL)
            && world.templates.iter().flat_map(|template| topology_keys(template)).all(has_column)
    }

    /// Kinds of nodes that came since, where every node is in its place.
    fn learn_kinds(&mut self, world: &World) {
        self.generation = world.census().generation();
        self.learn_labels(world);
        self.columns.iter_mut().for_each(|(key, column)| column.learn_kinds(world.census(), key));
    }

    /// Labels of nodes that were there when this was taken.
    fn learn_labels(&mut self, world: &World) {
        for (known, node) in
            self.labels.iter_mut().zip(&world.nodes).filter(|(known, node)| !Arc::ptr_eq(known, &node.labels))
        {
            known.clone_from(&node.labels);
        }
    }

    /// It is what it would be if it were taken now.
    fn is_as_anew(&self, world: &World) -> bool {
        let anew = Cluster::of(world);
        let same = |one: &Column, two: &Column| one.domain == two.domain && one.of_kind == two.of_kind;
        let mut columns = self.columns.iter().zip(&anew.columns);
        self.order == anew.order && self.listed == anew.listed && columns.all(|((_, one), (_, two))| same(one, two))
    }

    /// Templates or Services are no longer those for which it was taken.
    pub fn is_outdated(&self, world: &World) -> bool {
        self.templates.len() != world.templates.len() || self.services_version != world.services_version()
    }

    /// As if a node had changed since: nothing is asked by kind of node.
    #[cfg(test)]
    pub fn outdated(self) -> Cluster {
        Cluster { generation: u64::MAX, ..self }
    }

    /// The column of a key that some template (or the default spreading) uses.
    pub fn column(&self, key: &str) -> &Column {
        static EMPTY: Column = Column {
            domain: Vec::new(),
            count: 0,
            values: BTreeMap::new(),
            single: true,
            whole: false,
            by_host: false,
            of_kind: Vec::new(),
        };
        self.columns.iter().find(|(name, _)| name == key).map_or(&EMPTY, |(_, column)| column)
    }

    /// Adds the column of a key, made of that among those of `before`.
    fn add_column(&mut self, world: &World, key: &str, before: &mut Vec<(String, Column)>) {
        if self.columns.iter().any(|(name, _)| name == key) {
            return;
        }
        let (name, mut column) = match before.iter().position(|(name, _)| name == key) {
            Some(position) => before.swap_remove(position),
            None => (key.to_string(), Column::default()),
        };
        column.renew(world, &self.order, key);
        self.columns.push((name, column));
    }
}

/// Labels whose values are the domains of some rule about other pods.
fn topology_keys(template: &PodTemplate) -> impl Iterator<Item = &str> {
    let affinity = &template.affinity;
    let terms = affinity.pod_required.iter().chain(&affinity.anti_required);
    let preferred = affinity.pod_preferred.iter().chain(&affinity.anti_preferred).map(|(_, term)| term);
    let keys = terms.chain(preferred).map(|term| &term.topology_key);
    keys.chain(template.topology_spread.iter().map(|constraint| &constraint.topology_key)).map(String::as_str)
}

/// Zones in order of first appearance; the first node of every zone, then the second, and so on.
///
/// Source: `pkg/scheduler/backend/cache/node_tree.go`.
pub fn node_order(world: &World) -> Vec<NodeId> {
    let mut zones: Vec<(&str, &str, Vec<NodeId>)> = Vec::new();
    for node in world.nodes.iter().filter(|node| node.gone.is_none()) {
        let label = |key| node.labels.get(key).unwrap_or_default();
        let (region, zone) = (label(REGION_LABEL), label(ZONE_LABEL));
        match zones.iter_mut().find(|entry| (entry.0, entry.1) == (region, zone)) {
            Some(entry) => entry.2.push(node.id),
            None => zones.push((region, zone, vec![node.id])),
        }
    }
    let longest = zones.iter().map(|(_, _, nodes)| nodes.len()).max().unwrap_or(0);
    (0..longest).flat_map(|index| zones.iter().filter_map(move |(_, _, nodes)| nodes.get(index).copied())).collect()
}

fn template_facts(template: &PodTemplate) -> TemplateFacts {
    let Affinity { pod_required, pod_preferred, anti_required, anti_preferred, .. } = &template.affinity;
    TemplateFacts {
        surplus: surplus(template),
        own_surplus: own_surplus(template),
        anti_required: !anti_required.is_empty(),
        score_terms: !(pod_required.is_empty() && pod_preferred.is_empty() && anti_preferred.is_empty()),
        ports: host_ports(template).next().is_some(),
        tolerates_cordon: !template.tolerations.is_empty() && tolerated(&template.tolerations, &unschedulable_taint()),
        by_kind: judges_kinds(template),
    }
}

/// Neither the node selector nor required node affinity looks at a node's name or its host's.
fn judges_kinds(template: &PodTemplate) -> bool {
    let mut terms = template.affinity.node_required.iter().flatten();
    !template.node_selector.contains_key(HOSTNAME_LABEL)
        && terms.all(|term| {
            term.fields.is_empty() && term.expressions.iter().all(|expression| expression.key != HOSTNAME_LABEL)
        })
}

/// What the template's containers request of CPU and memory, with defaults for what they leave out, and its overhead.
fn filled(template: &PodTemplate) -> (i64, i64) {
    let cpu = |asked: &ResourceList| Some(asked.cpu.map_or(DEFAULT_MILLI_CPU, |cpu| cpu.0));
    let memory = |asked: &ResourceList| Some(asked.memory.map_or(DEFAULT_MEMORY, |memory| memory.0));
    let overhead = template.overhead.amounts();
    let cpu = template.containers_request(cpu).unwrap_or(0) + overhead.cpu.0;
    (cpu, template.containers_request(memory).unwrap_or(0) + overhead.memory.0)
}

/// What defaults add to the request of the incoming pod: its pod-level requests do not count in LeastAllocated.
fn own_surplus(template: &PodTemplate) -> (i64, i64) {
    let ((cpu, memory), real) = (filled(template), template.count());
    (cpu - real.cpu.0, memory - real.memory.0)
}

/// What they add to the request of a pod that is there. With pod-level requests a default counts only for a resource
/// that neither the pod nor any of its containers asks for.
fn surplus(template: &PodTemplate) -> (i64, i64) {
    if template.pod_requests.is_empty() {
        return own_surplus(template);
    }
    let containers = || template.init_containers.iter().chain(&template.containers).map(|entry| &entry.requests);
    let cpu = template.pod_requests.cpu.is_some() || containers().any(|requests| requests.cpu.is_some());
    let memory = template.pod_requests.memory.is_some() || containers().any(|requests| requests.memory.is_some());
    (if cpu { 0 } else { DEFAULT_MILLI_CPU }, if memory { 0 } else { DEFAULT_MEMORY })
}

/// Host ports of a pod: port, protocol and address.
pub fn host_ports(template: &PodTemplate) -> impl Iterator<Item = (u16, crate::plan::Protocol, &str)> {
    let sidecars = template.init_containers.iter().filter(|container| container.restartable);
    sidecars
        .chain(&template.containers)
        .flat_map(|container| &container.ports)
        .filter(|port| port.host_port > 0)
        .map(|port| (port.host_port, port.protocol, port.host_ip.as_str()))
}

/// A host port that is in use; no address counts as every address.
pub type UsedPort = (u16, crate::plan::Protocol, String);

/// The entries of a pod in its node's used ports.
pub fn used_ports(template: &PodTemplate) -> impl Iterator<Item = UsedPort> {
    let address = |address: &str| if address.is_empty() { "0.0.0.0" } else { address }.to_string();
    host_ports(template).map(move |(port, protocol, ip)| (port, protocol, address(ip)))
}

/// Pods that have a node in the scheduler's memory but not yet in the API server, by node.
#[derive(Clone, Debug, Default)]
pub struct Assumed {
    by_node: Vec<Vec<PodId>>,
    /// Nodes on which some are.
    nodes: NodeSet,
    all: Vec<(PodId, NodeId)>,
    /// All pods of a node in the order of the scheduler's cache, which decides between equal victims of preemption.
    order: Vec<Vec<PodId>>,
    /// Used host ports of each node as the cache has them: a set, so that the first of several pods that share an entry
    /// takes it along when it leaves. Source: `framework/types.go` (`HostPortInfo.Remove`, `updateUsedPorts`).
    ports: Vec<Vec<UsedPort>>,
    /// The entries with which a pod came.
    ports_of: BTreeMap<PodId, Vec<UsedPort>>,
}

impl Assumed {
    /// The pods assumed on a node.
    pub fn on(&self, node: NodeId) -> &[PodId] {
        self.by_node.get(node.index()).map_or(&[], Vec::as_slice)
    }

    /// Some pod is assumed on the node.
    #[inline]
    pub fn is_on(&self, node: NodeId) -> bool {
        self.nodes.contains(node)
    }

    /// All assumed pods with their nodes.
    pub fn all(&self) -> &[(PodId, NodeId)] {
        &self.all
    }

    /// A pod of a node appears, or changes: it goes to the end of the node's list.
    ///
    /// Source: `framework/types.go` (`NodeInfo.AddPod`); an update is a removal and an addition.
    #[inline]
    pub fn list(&mut self, world: &World, pod: PodId, node: NodeId) {
        if self.order.len() <= node.index() {
            self.order.resize(node.index() + 1, Vec::new());
            self.ports.resize(node.index() + 1, Vec::new());
        }
        let pods = &mut self.order[node.index()];
        match pods.iter().rposition(|&other| other == pod) {
            Some(position) => {
                // The last takes its place, and it comes last.
                let last = pods.len() - 1;
                pods.swap(position, last);
                if let Some(ports) = self.ports_of.remove(&pod) {
                    free_ports(&mut self.ports[node.index()], &ports);
                }
            }
            None => pods.push(pod),
        }
        let template = world.template_of(pod);
        if host_ports(template).next().is_some() {
            let ports: Vec<UsedPort> = used_ports(template).collect();
            take_ports(&mut self.ports[node.index()], &ports);
            self.ports_of.insert(pod, ports);
        }
    }

    /// A pod leaves a node: the last of the list takes its place (`NodeInfo.RemovePod`).
    pub fn unlist(&mut self, pod: PodId, node: NodeId) {
        let Some(pods) = self.order.get_mut(node.index()) else { return };
        if let Some(position) = pods.iter().position(|&other| other == pod) {
            pods.swap_remove(position);
            if let Some(ports) = self.ports_of.remove(&pod) {
                free_ports(&mut self.ports[node.index()], &ports);
            }
        }
    }

    /// Used host ports of a node as the cache has them; `None`: it has not heard of any pod there.
    pub fn ports_on(&self, node: NodeId) -> Option<&[UsedPort]> {
        self.order.get(node.index()).filter(|pods| !pods.is_empty())?;
        self.ports.get(node.index()).map(Vec::as_slice)
    }

    /// The place of a pod in the list of its node; unknown ones come last.
    pub fn position(&self, pod: PodId, node: NodeId) -> usize {
        let pods = self.order.get(node.index());
        pods.and_then(|pods| pods.iter().position(|&other| other == pod)).unwrap_or(usize::MAX)
    }

    /// Takes room on a node.
    pub fn add(&mut self, pod: PodId, node: NodeId) {
        if self.by_node.len() <= node.index() {
            self.by_node.resize(node.index() + 1, Vec::new());
        }
        self.by_node[node.index()].push(pod);
        self.nodes.insert(node);
        self.all.push((pod, node));
    }

    /// Gives it back; true if it had it.
    pub fn remove(&mut self, pod: PodId, node: NodeId) -> bool {
        let Some(pods) = self.by_node.get_mut(node.index()) else { return false };
        let before = pods.len();
        pods.retain(|&other| other != pod);
        if pods.is_empty() {
            self.nodes.remove(node);
        }
        self.all.retain(|entry| *entry != (pod, node));
        before != pods.len()
    }
}

/// Adds entries to a set of used ports.
pub fn take_ports(used: &mut Vec<UsedPort>, ports: &[UsedPort]) {
    for port in ports {
        if !used.contains(port) {
            used.push(port.clone());
        }
    }
}

/// Takes entries out of a set of used ports, whoever else has them.
pub fn free_ports(used: &mut Vec<UsedPort>, ports: &[UsedPort]) {
    used.retain(|port| !ports.contains(port));
}

/// Everything a cycle reads.
#[derive(Clone, Copy)]
pub struct View<'a> {
    /// What the run was given.
    pub plan: &'a Plan,
    /// Everything that exists.
    pub world: &'a World,
    /// Node order, domains, facts of templates.
    pub cluster: &'a Cluster,
    /// Assumed pods.
    pub assumed: &'a Assumed,
    /// Pending pods that have nominated a node.
    pub nominated: &'a [(PodId, NodeId)],
}

impl<'a> View<'a> {
    /// Pods that count on a node: bound ones that have not finished, then assumed ones.
    pub fn pods_on(&self, node: &'a Node) -> impl Iterator<Item = PodId> + use<'a> {
        let bound = node.pods.iter().copied().filter(move |pod| !node.released.contains(pod));
        bound.chain(self.assumed.on(node.id).iter().copied())
    }

    /// The template of a pod.
    pub fn template(&self, pod: PodId) -> &'a PodTemplate {
        self.world.template_of(pod)
    }

    /// What the template of a pod asks.
    pub fn reading(&self, pod: PodId) -> &'a Reading {
        let template = self.template_index(pod);
        self.cluster.readings[template].get_or_init(|| Box::new(Reading::of(self, template)))
    }

    /// How the nodes stood to pods like this one; `None`: for this pod nothing is kept.
    pub fn standings(&self, pod: PodId) -> Option<RefMut<'a, Standings>> {
        let world = self.world;
        let entry = world.pod(pod);
        let facts = &self.cluster.templates[entry.template.index()];
        if facts.ports || entry.pinned.is_some() || !self.is_current() || world.controller_selectors.contains_key(&pod)
        {
            return None;
        }
        let mut standings = self.reading(pod).standings.borrow_mut();
        standings.turn_to(entry.owner, world.nodes.len());
        standings.doubt(self.assumed.all().iter().map(|&(_, node)| node));
        Some(standings)
    }

    /// What kinds of nodes are to a pod; `None`: its template looks at single nodes.
    pub fn verdicts(&self, pod: PodId) -> Option<Verdicts<'a>> {
        let template = self.template_index(pod);
        let by_kind = self.cluster.templates[template].by_kind;
        by_kind.then(|| Verdicts::new(self.reading(pod), self.template(pod), self.world.census()))
    }

    /// Position of a pod's template.
    pub fn template_index(&self, pod: PodId) -> usize {
        self.world.pod(pod).template.index()
    }

    /// No node has appeared, vanished or got other labels since the cluster was taken: kinds of nodes can be asked.
    pub fn is_current(&self) -> bool {
        self.cluster.generation == self.world.census().generation()
    }

    /// The node is among those of the cycle.
    pub fn lists(&self, node: NodeId) -> bool {
        self.cluster.listed.get(node.index()) == Some(&true) && self.world.census().kind_of(node).is_some()
    }

    /// Nodes that exist, in the order of the cycle.
    pub fn order(&self) -> Cow<'a, [NodeId]> {
        if self.is_current() {
            return Cow::Borrowed(&self.cluster.order);
        }
        Cow::Owned(self.nodes().map(|node| node.id).collect())
    }

    /// Nodes that exist, in the order of the cycle.
    pub fn nodes(&self) -> impl Iterator<Item = &'a Node> + use<'a> {
        let world = self.world;
        self.cluster.order.iter().map(move |&node| world.node(node)).filter(|node| node.gone.is_none())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::components::kubernetes::testbed::{self, node, plan, template};
    use crate::rules::quantity::Millicores;

    #[test]
    fn nodes_are_tried_zone_by_zone_in_turn() {
        let mut world = World::new(&plan(Vec::new()));
        for (name, zone) in [("a1", "a"), ("a2", "a"), ("b1", "b"), ("a3", "a"), ("b2", "b")] {
            world.create_node(node(name, 1000, zone));
        }
        let names: Vec<&str> = node_order(&world).into_iter().map(|id| &*world.node(id).name).collect();
        assert_eq!(names, ["a1", "b1", "a2", "b2", "a3"]);
    }

    #[test]
    fn a_shared_host_port_is_free_when_its_first_holder_leaves_and_taken_again_by_an_update_of_the_other() {
        let mut holder = template(10);
        let port = crate::plan::ContainerPort { host_port: 443, ..Default::default() };
        holder.containers[0].ports.push(port);
        let mut world = World::new(&plan(vec![holder]));
        let (node, pods) = (NodeId(0), [0, 0].map(|_| testbed::new_pod(&mut world, 0)));
        let mut cache = Assumed::default();
        pods.iter().for_each(|&pod| cache.list(&world, pod, node));
        assert_eq!(cache.ports_on(node).map(<[UsedPort]>::len), Some(1));
        cache.unlist(pods[0], node);
        assert_eq!(cache.ports_on(node), Some(&[][..]));
        cache.list(&world, pods[1], node);
        assert_eq!(cache.ports_on(node).map(<[UsedPort]>::len), Some(1));
    }

    #[test]
    fn missing_requests_count_as_defaults_and_pod_level_ones_not_for_the_incoming_pod() {
        let mut bare = template(300);
        bare.containers[0].requests.memory = None;
        assert_eq!(surplus(&bare), (0, DEFAULT_MEMORY));
        assert_eq!(own_surplus(&bare), (0, DEFAULT_MEMORY));
        bare.pod_requests.cpu = Some(Millicores(1000));
        assert_eq!(surplus(&bare), (0, DEFAULT_MEMORY));
        assert_eq!(own_surplus(&bare), (-700, DEFAULT_MEMORY));
    }
}
