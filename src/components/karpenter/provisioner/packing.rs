//! The plan: which pod goes to which node, and which nodes to buy. A pure function of a snapshot.
//!
//! ```text
//!  pods, largest first ─► existing nodes, by name ─► claims of this pass, fewest pods first ─► pools, by weight
//!                              │ nothing fits: relax one preference, try again; else back of the queue
//!                              ▼
//!            Results: pods per existing node, new claims with their types in order of price, errors
//! ```
//!
//! Source: core `provisioning/scheduling/{scheduler,nodeclaim,existingnode,nodeclaimtemplate,queue}.go`. Left out: volumes,
//! reservations, dynamic resources, node overlays; a claim's types are kept in the provider's order until the end.

use super::preferences::{self, HostPort};
use super::topology::{self, Topology, Universe};
use crate::components::karpenter::cluster::{
    self, Catalog, StateNode, is_available, is_compatible, lacking_min_values, order_by_price, tolerates_all,
};
use crate::engine::Time;
use crate::plan::{InstanceTypeId, NodePoolId, NodePoolSpec, Plan, PodTemplate};
use crate::rules::labels::Labels;
use crate::rules::requirements::{
    CAPACITY_TYPE, HOSTNAME, INSTANCE_TYPE, NODE_CLASS, NODE_POOL, Requirement, Requirements, is_well_known,
};
use crate::rules::resources::{ResourceList, Resources};
use crate::rules::sort::sort_slice;
use crate::rules::taint::{Taint, TaintEffect, tolerated};
use crate::world::{ClaimId, NewClaim, NodeId, Owner, PodId, World};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// Types that a claim may list at most.
const MAX_INSTANCE_TYPES: usize = 600;

/// Rules of a pass.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Simulating a consolidation: nodes whose `consolidateAfter` still runs take no pods but these.
    pub settled_only_but: Option<BTreeSet<PodId>>,
}

/// What a pass looks at.
pub struct Snapshot<'a> {
    /// The plan of the run.
    pub plan: &'a Plan,
    /// The world at this instant.
    pub world: &'a World,
    /// Requirements of instance types.
    pub catalog: &'a Catalog,
    /// Nodes that may take pods, in the order in which they are tried.
    pub nodes: Vec<StateNode>,
    /// Pods to place, in the order of the API's lists.
    pub pods: Vec<PodId>,
    /// Rules.
    pub options: Options,
}

/// What no instance type met. When all is false, each was met by some type, but by none at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unmet {
    /// The labels asked for.
    pub requirements: bool,
    /// Allocatable, with an offering that can be had.
    pub resources: bool,
    /// An offering that can be had.
    pub offering: bool,
}

/// Why a node, claim or pool does not take a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A taint.
    Taint,
    /// A host port is taken.
    HostPort,
    /// Not enough is free.
    Resources,
    /// Labels do not meet the pod's requirements.
    Requirements,
    /// Spread, affinity or anti-affinity leaves no domain.
    Topology,
    /// No instance type is left.
    Types(Unmet),
    /// Too few distinct values are left for `minValues`.
    MinValues,
    /// The types that a claim may list do not suffice for `minValues`: the claim was dropped.
    TruncatedMinValues,
    /// The limits of the pool.
    Limits,
    /// The limit on the number of nodes of the pool is exactly used up.
    NodeLimit,
    /// Its `consolidateAfter` still runs.
    Unsettled,
}

impl Refusal {
    /// In words.
    pub const fn name(self) -> &'static str {
        match self {
            Refusal::Taint => "a taint is not tolerated",
            Refusal::HostPort => "a host port is taken",
            Refusal::Resources => "not enough is free",
            Refusal::Requirements => "labels do not meet its requirements",
            Refusal::Topology => "topology leaves no domain",
            Refusal::Types(_) => "no available instance type fits",
            Refusal::MinValues | Refusal::TruncatedMinValues => "minValues cannot be met",
            Refusal::Limits | Refusal::NodeLimit => "the limits of the pool are used up",
            Refusal::Unsettled => "its consolidateAfter still runs",
        }
    }
}

/// An existing node (or a launched claim without node) that got pods.
#[derive(Clone, Debug)]
pub struct Placed {
    /// The node.
    pub node: Option<NodeId>,
    /// Its claim.
    pub claim: Option<ClaimId>,
    /// Its name.
    pub name: Arc<str>,
    /// It is initialised.
    pub initialized: bool,
    /// Pods in the order in which they were placed.
    pub pods: Vec<PodId>,
}

/// A claim to be created.
#[derive(Clone, Debug)]
pub struct NewNode {
    /// Its pool.
    pub pool: NodePoolId,
    /// Requirements.
    pub requirements: Requirements,
    /// Types in order of price.
    pub types: Vec<InstanceTypeId>,
    /// What its pods and daemons request.
    pub requests: Resources,
    /// Labels.
    pub labels: Labels,
    /// Its pods.
    pub pods: Vec<PodId>,
    /// `minValues` was lowered for the claim of its pool that was opened last.
    pub min_values_relaxed: bool,
}

impl NewNode {
    /// The claim to create: its types in order of price, and with which capacity types they can be had.
    pub fn claim(&self, plan: &Plan, world: &World) -> NewClaim {
        let mut types = self.types.clone();
        order_by_price(plan, world, &mut types, &self.requirements);
        let offerings = types.iter().flat_map(|&id| cluster::offerings(plan, world, id, &self.requirements));
        let kinds: BTreeSet<&str> = offerings.map(|offering| offering.capacity_type.name()).collect();
        let mut requirements = self.requirements.clone();
        if !kinds.is_empty() {
            requirements.add(CAPACITY_TYPE, Requirement::any_of(kinds));
        }
        let requirements = requirements.iter().filter(|(key, _)| *key != INSTANCE_TYPE);
        NewClaim {
            pool: self.pool,
            requirements: requirements.flat_map(|(key, requirement)| requirement.written(key)).collect(),
            instance_types: types,
            requests: self.requests.clone(),
            labels: self.labels.clone(),
        }
    }
}

/// The plan of a pass.
#[derive(Clone, Debug, Default)]
pub struct Results {
    /// Claims to create.
    pub claims: Vec<NewNode>,
    /// Pods on existing nodes.
    pub existing: Vec<Placed>,
    /// Pods without a place, with the last reason of each pool.
    pub errors: Vec<(PodId, Vec<Refusal>)>,
    /// What was left of the wishes of pods that found a place only after they gave some up.
    pub relaxed: BTreeMap<PodId, Arc<PodTemplate>>,
    /// Pods that ask for what may not be asked, and what that is.
    pub ignored: Vec<(PodId, String)>,
}

/// Places the pods of a snapshot.
pub fn solve(snapshot: &Snapshot) -> Results {
    let mut scheduler = Scheduler::new(snapshot);
    scheduler.run(snapshot);
    scheduler.results()
}

/// Fits as upstream counts: nothing fits where any amount is negative.
fn fits(requests: &Resources, total: &Resources) -> bool {
    let amounts = [total.cpu.0, total.memory.0, total.ephemeral_storage.0, total.pods];
    amounts.iter().all(|&amount| amount >= 0)
        && total.extended.values().all(|&amount| amount >= 0)
        && requests.fits_in(total)
}

/// A template with its requirements, those that can be relaxed included, and without them.
type Asked = (Arc<PodTemplate>, Arc<Requirements>, Arc<Requirements>);

struct Work {
    id: PodId,
    template: Arc<PodTemplate>,
    requirements: Arc<Requirements>,
    strict: Arc<Requirements>,
    ports: Vec<HostPort>,
}

struct Existing {
    state: StateNode,
    requirements: Requirements,
    free: Resources,
    ports: Vec<HostPort>,
    settled: bool,
    pods: Vec<PodId>,
}

/// Types that the same daemons run on.
#[derive(Clone)]
struct DaemonGroup {
    overhead: Resources,
    ports: Vec<HostPort>,
    types: Vec<InstanceTypeId>,
}

struct Template {
    pool: NodePoolId,
    spec: Arc<NodePoolSpec>,
    requirements: Requirements,
    groups: Vec<DaemonGroup>,
    min_values_relaxed: bool,
}

#[derive(Clone)]
struct OpenClaim {
    template: usize,
    requirements: Requirements,
    requests: Resources,
    groups: Vec<DaemonGroup>,
    ports: Vec<HostPort>,
    pods: Vec<PodId>,
}

struct Scheduler<'a> {
    plan: &'a Plan,
    world: &'a World,
    catalog: &'a Catalog,
    topology: Topology<'a>,
    existing: Vec<Existing>,
    templates: Vec<Template>,
    remaining: BTreeMap<NodePoolId, ResourceList>,
    claims: Vec<OpenClaim>,
    opened: usize,
    exempt: Option<BTreeSet<PodId>>,
    tolerate_preferences: bool,
    errors: BTreeMap<PodId, Vec<Refusal>>,
    relaxed: BTreeMap<PodId, Arc<PodTemplate>>,
}

impl<'a> Scheduler<'a> {
    fn new(snapshot: &Snapshot<'a>) -> Scheduler<'a> {
        let (plan, world, catalog) = (snapshot.plan, snapshot.world, snapshot.catalog);
        let daemons: Vec<Arc<PodTemplate>> =
            world.daemon_sets.iter().map(|set| world.template(set.template).clone()).collect();
        let templates = templates(plan, world, catalog, &daemons);
        let keys: BTreeSet<&str> =
            snapshot.pods.iter().flat_map(|&pod| topology::topology_keys(world.template_of(pod))).collect();
        let repelling = world.nodes.iter().filter(|node| node.gone.is_none()).flat_map(|node| &node.pods);
        let keys = keys.into_iter().chain(repelling.flat_map(|&pod| {
            world.template_of(pod).affinity.anti_required.iter().map(|term| term.topology_key.as_str())
        }));
        let universe = keys.map(|key| (key.to_string(), universe(plan, world, catalog, &templates, key))).collect();
        let excluded = snapshot.pods.iter().copied().collect();
        let topology = Topology::new(world, &plan.namespaces, universe, &snapshot.nodes, excluded);
        let remaining = remaining_limits(world, &snapshot.nodes);
        let existing = snapshot.nodes.iter().map(|node| existing_node(world, node, &daemons)).collect();
        let prefers = |template: &Template| {
            template.spec.taints.iter().any(|taint| taint.effect == TaintEffect::PreferNoSchedule)
        };
        let tolerate_preferences = templates.iter().any(prefers);
        let exempt = snapshot.options.settled_only_but.clone();
        Scheduler {
            plan,
            world,
            catalog,
            topology,
            existing,
            templates,
            remaining,
            claims: Vec::new(),
            opened: 0,
            exempt,
            tolerate_preferences,
            errors: BTreeMap::new(),
            relaxed: BTreeMap::new(),
        }
    }

    fn run(&mut self, snapshot: &Snapshot) {
        let mut cache: BTreeMap<u32, Asked> = BTreeMap::new();
        let mut pods = Vec::new();
        for &id in &snapshot.pods {
            let template = self.world.pod(id).template;
            let (template, requirements, strict) = cache.entry(template.0).or_insert_with(|| {
                let mut template = self.world.template(template).clone();
                if self.plan.flags.karpenter.ignore_preferences {
                    preferences::without_preferences(Arc::make_mut(&mut template));
                }
                let requirements = Arc::new(preferences::requirements(&template, true));
                let strict = Arc::new(topology::strict(&template));
                (template, requirements, strict)
            });
            self.topology.update(id, template);
            pods.push(Work {
                id,
                template: template.clone(),
                requirements: requirements.clone(),
                strict: strict.clone(),
                ports: preferences::host_ports(template),
            });
        }
        pods.sort_by(|one, two| self.order(one, two));
        let mut queue: VecDeque<usize> = (0..pods.len()).collect();
        let mut length_at_push: Vec<Option<usize>> = vec![None; pods.len()];
        while let Some(index) = queue.pop_front() {
            if length_at_push[index] == Some(queue.len() + 1) {
                break;
            }
            match self.place(&pods[index]) {
                Ok(()) => {
                    self.errors.remove(&pods[index].id);
                }
                Err(refusals) => {
                    self.errors.insert(pods[index].id, refusals);
                    self.topology.update(pods[index].id, &pods[index].template);
                    queue.push_back(index);
                    length_at_push[index] = Some(queue.len());
                }
            }
        }
    }

    /// Largest first: cpu, memory, then the oldest, then by uid.
    fn order(&self, one: &Work, two: &Work) -> std::cmp::Ordering {
        let (first, second) = (self.world.pod(one.id), self.world.pod(two.id));
        let key = |work: &Work| (work.template.requests.cpu, work.template.requests.memory);
        key(two)
            .cmp(&key(one))
            .then_with(|| first.created.whole_second().cmp(&second.created.whole_second()))
            .then_with(|| first.uid.cmp(&second.uid))
            .then_with(|| first.key().cmp(&second.key()))
            .then_with(|| one.id.cmp(&two.id))
    }

    /// Places one pod, giving up its preferences one by one.
    fn place(&mut self, pod: &Work) -> Result<(), Vec<Refusal>> {
        let refused = match self.add(pod) {
            Ok(()) => return Ok(()),
            Err(refused) => refused,
        };
        let mut template = (*pod.template).clone();
        let mut last = refused;
        while preferences::relax(&mut template, self.tolerate_preferences).is_some() {
            self.topology.update(pod.id, &template);
            let relaxed = Work {
                id: pod.id,
                requirements: Arc::new(preferences::requirements(&template, true)),
                strict: Arc::new(topology::strict(&template)),
                ports: pod.ports.clone(),
                template: Arc::new(template.clone()),
            };
            match self.add(&relaxed) {
                Ok(()) => {
                    self.relaxed.insert(pod.id, relaxed.template);
                    return Ok(());
                }
                Err(refused) => last = refused,
            }
        }
        Err(last)
    }

    fn add(&mut self, pod: &Work) -> Result<(), Vec<Refusal>> {
        if self.add_to_existing(pod) {
            return Ok(());
        }
        sort_slice(&mut self.claims, |one, two| one.pods.len() < two.pods.len());
        for index in 0..self.claims.len() {
            if let Ok(next) = self.trial(&self.claims[index], pod, false) {
                self.claims[index] = next;
                let template = &self.templates[self.claims[index].template];
                let requirements = &self.claims[index].requirements;
                self.topology.record((pod.id, &pod.template), &template.spec.taints, requirements, true);
                return Ok(());
            }
        }
        self.open(pod)
    }

    fn add_to_existing(&mut self, pod: &Work) -> bool {
        let exempt = self.exempt.as_ref().is_none_or(|exempt| exempt.contains(&pod.id));
        for index in 0..self.existing.len() {
            let node = &self.existing[index];
            if !exempt && !node.settled {
                continue;
            }
            let Ok(requirements) = self.existing_trial(node, pod) else { continue };
            let node = &mut self.existing[index];
            node.free -= &pod.template.requests;
            node.ports.extend(pod.ports.iter().cloned());
            node.pods.push(pod.id);
            node.requirements = requirements;
            let (taints, requirements) = (&node.state.taints, &node.requirements);
            self.topology.record((pod.id, &pod.template), taints, requirements, false);
            return true;
        }
        false
    }

    /// Whether an existing node takes a pod: taints, host ports, what is free, labels, topology.
    fn existing_trial(&self, node: &Existing, pod: &Work) -> Result<Requirements, Refusal> {
        if !fits(&pod.template.requests, &node.free) {
            return Err(Refusal::Resources);
        }
        if !tolerates_all(&pod.template, &node.state.taints) {
            return Err(Refusal::Taint);
        }
        if preferences::any_clash(&pod.ports, &node.ports) {
            return Err(Refusal::HostPort);
        }
        if !node.requirements.compatible(&pod.requirements, false) {
            return Err(Refusal::Requirements);
        }
        let mut requirements = node.requirements.clone();
        requirements.add_all(&pod.requirements);
        let who = (pod.id, &*pod.template);
        let demands = self.topology.demands(who, &node.state.taints, &pod.strict, &requirements, false);
        let demands = demands.filter(|demands| requirements.compatible(demands, false)).ok_or(Refusal::Topology)?;
        requirements.add_all(&demands);
        Ok(requirements)
    }

    /// A claim with one more pod, if it takes it.
    fn trial(&self, claim: &OpenClaim, pod: &Work, opening: bool) -> Result<OpenClaim, Refusal> {
        let taints = &self.templates[claim.template].spec.taints;
        if !tolerates_all(&pod.template, taints) {
            return Err(Refusal::Taint);
        }
        if !claim.requirements.compatible(&pod.requirements, true) {
            return Err(Refusal::Requirements);
        }
        let mut requirements = claim.requirements.clone();
        requirements.add_all(&pod.requirements);
        let who = (pod.id, &*pod.template);
        let demands = self.topology.demands(who, taints, &pod.strict, &requirements, true);
        let demands = demands.filter(|demands| requirements.compatible(demands, true)).ok_or(Refusal::Topology)?;
        requirements.add_all(&demands);
        let mut requests = claim.requests.clone();
        requests += &pod.template.requests;
        let changed = opening || requirements != claim.requirements;
        let groups = self.keep_types(claim, pod, &requests, changed.then_some(&requirements));
        let kept: Vec<InstanceTypeId> = groups.iter().flat_map(|group| group.types.iter().copied()).collect();
        if kept.is_empty() {
            return Err(Refusal::Types(self.unmet(claim, pod, &requests, &requirements)));
        }
        for (key, left) in lacking_min_values(self.catalog, &kept, &requirements) {
            if !(opening && self.plan.flags.karpenter.min_values_best_effort) {
                return Err(Refusal::MinValues);
            }
            if let Some(requirement) = requirements.get(&key) {
                let relaxed = Requirement { min_values: Some(left), ..requirement.clone() };
                requirements.replace(&key, relaxed);
            }
        }
        let mut next = OpenClaim { requirements, requests, groups, ..claim.clone() };
        next.ports.extend(pod.ports.iter().cloned());
        next.pods.push(pod.id);
        Ok(next)
    }

    /// Types of each daemon group that still fit. `requirements`: `None` when they did not change.
    fn keep_types(
        &self,
        claim: &OpenClaim,
        pod: &Work,
        requests: &Resources,
        requirements: Option<&Requirements>,
    ) -> Vec<DaemonGroup> {
        let mut groups = Vec::new();
        for group in &claim.groups {
            let ports = &pod.ports;
            if preferences::any_clash(ports, &group.ports) || preferences::any_clash(ports, &claim.ports) {
                continue;
            }
            let mut total = requests.clone();
            total += &group.overhead;
            let keeps = |id: &InstanceTypeId| {
                let entry = self.plan.instance_type(*id);
                fits(&total, &entry.allocatable)
                    && requirements.is_none_or(|requirements| {
                        self.catalog.requirements(*id).intersects(requirements) && self.is_offered(*id, requirements)
                    })
            };
            let types: Vec<InstanceTypeId> = group.types.iter().copied().filter(keeps).collect();
            if !types.is_empty() {
                groups.push(DaemonGroup { types, ..group.clone() });
            }
        }
        groups
    }

    /// What none of the types of a claim met.
    fn unmet(&self, claim: &OpenClaim, pod: &Work, requests: &Resources, requirements: &Requirements) -> Unmet {
        let mut unmet = Unmet { requirements: true, resources: true, offering: true };
        for group in &claim.groups {
            if preferences::any_clash(&pod.ports, &group.ports) || preferences::any_clash(&pod.ports, &claim.ports) {
                continue;
            }
            let mut total = requests.clone();
            total += &group.overhead;
            for &id in &group.types {
                let offered = self.is_offered(id, requirements);
                unmet.requirements &= !self.catalog.requirements(id).intersects(requirements);
                unmet.offering &= !offered;
                unmet.resources &= !(offered && fits(&total, &self.plan.instance_type(id).allocatable));
            }
        }
        unmet
    }

    fn is_offered(&self, id: InstanceTypeId, requirements: &Requirements) -> bool {
        is_offered(self.plan, self.world, id, requirements)
    }

    /// Opens a claim of the first pool that takes the pod.
    fn open(&mut self, pod: &Work) -> Result<(), Vec<Refusal>> {
        let mut refusals = Vec::new();
        for index in 0..self.templates.len() {
            let template = &self.templates[index];
            let mut groups = template.groups.clone();
            if let Some(remaining) = self.remaining.get(&template.pool) {
                if remaining.extended.get("nodes") == Some(&0) {
                    refusals.push(Refusal::NodeLimit);
                    continue;
                }
                for group in &mut groups {
                    group.types.retain(|&id| within_limits(&self.plan.instance_type(id).capacity, remaining));
                }
                groups.retain(|group| !group.types.is_empty());
                if groups.is_empty() {
                    refusals.push(Refusal::Limits);
                    continue;
                }
            }
            let host = format!("hostname-placeholder-{:04}", self.opened + 1);
            let mut requirements = template.requirements.clone();
            requirements.add(HOSTNAME, Requirement::any_of([host.clone()]));
            self.topology.register_host(&host);
            let fresh = OpenClaim {
                template: index,
                requirements,
                requests: Resources::default(),
                groups,
                ports: Vec::new(),
                pods: Vec::new(),
            };
            match self.trial(&fresh, pod, true) {
                Ok(claim) => {
                    self.opened += 1;
                    self.charge_limits(&claim);
                    self.templates[index].min_values_relaxed = self.is_relaxed(&claim);
                    let taints = &self.templates[index].spec.taints;
                    self.topology.record((pod.id, &pod.template), taints, &claim.requirements, true);
                    self.claims.push(claim);
                    return Ok(());
                }
                Err(Refusal::Taint) => {
                    let taints = self.templates[index].spec.taints.iter();
                    let repelled = taints.filter(|taint| !tolerated(&pod.template.tolerations, taint));
                    refusals.extend(repelled.map(|_| Refusal::Taint));
                }
                Err(refusal) => refusals.push(refusal),
            }
        }
        Err(refusals)
    }

    /// Some `minValues` of a claim is less than its pool asks for.
    fn is_relaxed(&self, claim: &OpenClaim) -> bool {
        self.templates[claim.template].requirements.iter().any(|(key, asked)| {
            asked.min_values > claim.requirements.get(key).and_then(|requirement| requirement.min_values)
        })
    }

    /// A pool's limits lose the largest capacity among the types of a new claim.
    fn charge_limits(&mut self, claim: &OpenClaim) {
        let pool = self.templates[claim.template].pool;
        let Some(remaining) = self.remaining.get_mut(&pool) else { return };
        let types = claim.groups.iter().flat_map(|group| &group.types);
        let largest = types.fold(Resources::default(), |sum, &id| sum.max(&self.plan.instance_type(id).capacity));
        subtract(remaining, &largest);
    }

    fn results(self) -> Results {
        let mut results = Results { relaxed: self.relaxed, ..Results::default() };
        for node in self.existing.into_iter().filter(|node| !node.pods.is_empty()) {
            results.existing.push(Placed {
                node: node.state.node,
                claim: node.state.claim,
                name: node.state.name,
                initialized: node.state.initialized,
                pods: node.pods,
            });
        }
        results.errors = self.errors.into_iter().collect();
        for claim in self.claims {
            let template = &self.templates[claim.template];
            let mut requirements = claim.requirements;
            requirements.remove(HOSTNAME);
            let mut types: Vec<InstanceTypeId> =
                claim.groups.iter().flat_map(|group| group.types.iter().copied()).collect();
            order_by_price(self.plan, self.world, &mut types, &requirements);
            types.truncate(MAX_INSTANCE_TYPES);
            let broken = !lacking_min_values(self.catalog, &types, &requirements).is_empty();
            if broken && !self.plan.flags.karpenter.min_values_best_effort {
                results.errors.extend(claim.pods.iter().map(|&pod| (pod, vec![Refusal::TruncatedMinValues])));
                continue;
            }
            let overheads = claim.groups.iter().map(|group| &group.overhead);
            let mut requests = claim.requests;
            if let Some(least) = overheads.cloned().reduce(|one, two| minimum(&one, &two)) {
                requests += &least;
            }
            let labels = claim_labels(&template.spec, &requirements);
            results.claims.push(NewNode {
                pool: template.pool,
                requirements,
                types,
                requests,
                labels,
                pods: claim.pods,
                min_values_relaxed: template.min_values_relaxed,
            });
        }
        results
    }
}

fn is_offered(plan: &Plan, world: &World, id: InstanceTypeId, requirements: &Requirements) -> bool {
    let entry = plan.instance_type(id);
    entry
        .offerings
        .iter()
        .any(|offering| is_compatible(plan, offering, requirements) && is_available(world, entry, offering))
}

/// Labels of a claim: the pool's, and a value for each requirement on a label that is not well known.
fn claim_labels(spec: &NodePoolSpec, requirements: &Requirements) -> Labels {
    let mut labels = spec.labels.clone();
    labels.insert(NODE_POOL.to_string(), spec.name.clone());
    labels.insert(NODE_CLASS.to_string(), spec.node_class_name.clone());
    for (key, requirement) in requirements.iter().filter(|(key, _)| !is_well_known(key)) {
        if let Some(value) = requirement.any_value() {
            labels.insert(key.clone(), value);
        }
    }
    labels
}

/// One template per pool that has usable types: weight descending, then name descending.
fn templates(plan: &Plan, world: &World, catalog: &Catalog, daemons: &[Arc<PodTemplate>]) -> Vec<Template> {
    let mut pools: Vec<(NodePoolId, Arc<NodePoolSpec>)> =
        world.node_pools.iter().enumerate().map(|(index, spec)| (NodePoolId::at(index), spec.clone())).collect();
    pools.retain(|(_, spec)| spec.replicas.is_none() && spec.ready);
    pools.sort_by(|one, two| two.1.weight.cmp(&one.1.weight).then_with(|| two.1.name.cmp(&one.1.name)));
    let mut templates = Vec::new();
    for (pool, spec) in pools {
        let mut requirements = Requirements::of(&spec.requirements);
        requirements.add_all(&Requirements::of_labels(&spec.labels));
        requirements.add(NODE_POOL, Requirement::any_of([spec.name.clone()]));
        requirements.add(NODE_CLASS, Requirement::any_of([spec.node_class_name.clone()]));
        let all = plan.pool_types.get(pool.index()).map_or(&[][..], Vec::as_slice);
        let usable = |id: &InstanceTypeId| {
            catalog.requirements(*id).intersects(&requirements) && is_offered(plan, world, *id, &requirements)
        };
        let types: Vec<InstanceTypeId> = all.iter().copied().filter(usable).collect();
        let lacking = !lacking_min_values(catalog, &types, &requirements).is_empty();
        if types.is_empty() || (lacking && !plan.flags.karpenter.min_values_best_effort) {
            continue;
        }
        let groups = daemon_groups(catalog, &spec, &requirements, types, daemons);
        templates.push(Template { pool, spec, requirements, groups, min_values_relaxed: false });
    }
    templates
}

/// Types grouped by the daemons that would run on them.
fn daemon_groups(
    catalog: &Catalog,
    spec: &NodePoolSpec,
    requirements: &Requirements,
    types: Vec<InstanceTypeId>,
    daemons: &[Arc<PodTemplate>],
) -> Vec<DaemonGroup> {
    let mut registered = requirements.clone();
    registered.add("karpenter.sh/registered", Requirement::any_of(["true"]));
    registered.add("karpenter.sh/initialized", Requirement::any_of(["true"]));
    let tolerant: Vec<&Arc<PodTemplate>> =
        daemons.iter().filter(|daemon| daemon_tolerates(daemon, &spec.taints)).collect();
    let alternatives: Vec<Vec<Requirements>> = tolerant.iter().map(|daemon| daemon_alternatives(daemon)).collect();
    let demanding = alternatives.iter().any(|alternatives| alternatives.iter().any(|one| one.iter().next().is_some()));
    let mut groups: Vec<(Vec<bool>, Vec<InstanceTypeId>)> = Vec::new();
    for id in types {
        let runs: Vec<bool> = if demanding {
            let mut node = registered.clone();
            node.add_all(catalog.requirements(id));
            alternatives.iter().map(|any| any.iter().any(|one| node.compatible(one, true))).collect()
        } else {
            vec![true; tolerant.len()]
        };
        match groups.iter_mut().find(|(other, _)| *other == runs) {
            Some((_, types)) => types.push(id),
            None => groups.push((runs, vec![id])),
        }
    }
    groups
        .into_iter()
        .map(|(runs, types)| {
            let mut group = DaemonGroup { overhead: Resources::default(), ports: Vec::new(), types };
            for (daemon, _) in tolerant.iter().zip(runs).filter(|(_, runs)| *runs) {
                group.overhead += &daemon.requests;
                group.ports.extend(preferences::host_ports(daemon));
            }
            group
        })
        .collect()
}

fn daemon_tolerates(daemon: &PodTemplate, taints: &[Taint]) -> bool {
    taints.iter().all(|taint| taint.effect == TaintEffect::PreferNoSchedule || tolerated(&daemon.tolerations, taint))
}

/// Node selector with each required term in turn.
fn daemon_alternatives(daemon: &PodTemplate) -> Vec<Requirements> {
    let selector = Requirements::of_labels(&daemon.node_selector);
    match &daemon.affinity.node_required {
        Some(terms) if !terms.is_empty() => terms
            .iter()
            .map(|term| {
                let mut requirements = selector.clone();
                requirements.add_all(&Requirements::of(&term.expressions));
                requirements
            })
            .collect(),
        _ => vec![selector],
    }
}

/// A node with what daemons that are still to come will take.
fn existing_node(world: &World, state: &StateNode, daemons: &[Arc<PodTemplate>]) -> Existing {
    let mut requirements = Requirements::of_labels(&state.labels);
    requirements.replace(HOSTNAME, Requirement::any_of([state.host_name()]));
    let runs = |daemon: &&Arc<PodTemplate>| {
        daemon_tolerates(daemon, &state.taints)
            && daemon_alternatives(daemon).iter().any(|one| requirements.compatible(one, false))
    };
    let mut expected = Resources::default();
    for daemon in daemons.iter().filter(runs) {
        expected += &daemon.requests;
    }
    let mut ports = Vec::new();
    for &pod in state.pods.iter().filter(|&&pod| !world.pod(pod).is_finished()) {
        if matches!(world.pod(pod).owner, Owner::DaemonSet(_)) {
            expected -= &world.template_of(pod).requests;
        }
        ports.extend(preferences::host_ports(world.template_of(pod)));
    }
    let mut free = state.free.clone();
    free -= &Resources::default().max(&expected);
    let settled = is_settled(world, state, world.now);
    Existing { state: state.clone(), requirements, free, ports, settled, pods: Vec::new() }
}

/// Its `consolidateAfter` has passed since the last pod event: it may take the pods of a consolidation.
fn is_settled(world: &World, state: &StateNode, now: Time) -> bool {
    let (Some(claim), Some(pool)) = (state.claim.map(|id| world.claim(id)), state.pool) else { return true };
    let spec = &world.node_pools[pool.index()];
    let (Some(after), Some(initialized), false) = (spec.consolidate_after, claim.initialized, spec.v1beta1) else {
        return true;
    };
    now >= claim.last_pod_event.unwrap_or_else(|| initialized.whole_second()) + after
}

/// Domains of a label: what the types of every pool offer.
fn universe(plan: &Plan, world: &World, catalog: &Catalog, templates: &[Template], key: &str) -> Universe {
    let mut universe = Universe::new();
    for template in templates {
        let of_pool = template.requirements.get(key);
        let types = plan.pool_types.get(template.pool.index()).map_or(&[][..], Vec::as_slice);
        let mut domains: BTreeSet<String> = BTreeSet::new();
        for &id in types {
            let of_type = catalog.requirements(id).get(key);
            let both = match (of_pool, of_type) {
                (Some(one), Some(two)) => one.intersection(two),
                (Some(one), None) | (None, Some(one)) => one.clone(),
                (None, None) => continue,
            };
            if !both.complement {
                domains.extend(both.values);
            }
        }
        domains.extend(of_pool.filter(|one| !one.complement).into_iter().flat_map(|one| one.values.iter().cloned()));
        for domain in domains {
            universe.entry(domain).or_default().push(world.node_pools[template.pool.index()].taints.clone());
        }
    }
    universe
}

/// What is left of the limits of each pool.
fn remaining_limits(world: &World, nodes: &[StateNode]) -> BTreeMap<NodePoolId, ResourceList> {
    let mut remaining = BTreeMap::new();
    for (index, spec) in world.node_pools.iter().enumerate() {
        let Some(limits) = &spec.limits else { continue };
        let mut left = limits.clone();
        for node in nodes.iter().filter(|node| node.pool == Some(NodePoolId::at(index))) {
            subtract(&mut left, &node.capacity);
            if let Some(nodes) = left.extended.get_mut("nodes") {
                *nodes -= 1;
            }
        }
        remaining.insert(NodePoolId::at(index), left);
    }
    remaining
}

fn subtract(list: &mut ResourceList, amounts: &Resources) {
    if let Some(cpu) = &mut list.cpu {
        cpu.0 -= amounts.cpu.0;
    }
    if let Some(memory) = &mut list.memory {
        memory.0 -= amounts.memory.0;
    }
    if let Some(storage) = &mut list.ephemeral_storage {
        storage.0 -= amounts.ephemeral_storage.0;
    }
    if let Some(pods) = &mut list.pods {
        *pods -= amounts.pods;
    }
    for (name, left) in &mut list.extended {
        *left -= amounts.extended(name);
    }
}

/// No amount exceeds what is left.
fn within_limits(amounts: &Resources, left: &ResourceList) -> bool {
    left.cpu.is_none_or(|limit| amounts.cpu <= limit)
        && left.memory.is_none_or(|limit| amounts.memory <= limit)
        && left.ephemeral_storage.is_none_or(|limit| amounts.ephemeral_storage <= limit)
        && left.pods.is_none_or(|limit| amounts.pods <= limit)
        && left.extended.iter().all(|(name, &limit)| amounts.extended(name) <= limit)
}

/// Whether the nodes of a pool exceed its limits already, so that nothing may be created.
pub fn exceeds_limits(world: &World, nodes: &[StateNode], pool: NodePoolId) -> bool {
    exceeded_limit(world, nodes, pool).is_some()
}

/// The limit of a pool that its nodes exceed already, in the words of the error.
pub fn exceeded_limit(world: &World, nodes: &[StateNode], pool: NodePoolId) -> Option<String> {
    let limits = world.node_pools[pool.index()].limits.as_ref()?;
    let mut used = Resources::default();
    for node in nodes.iter().filter(|node| node.pool == Some(pool) && !node.leaving) {
        used += &node.capacity;
        *used.extended.entry("nodes".to_string()).or_insert(0) += 1;
    }
    let named = |name: &str, limit: String, used: String| {
        format!("resource usage exceeds limit (limit={limit}, resource-name={name}, usage={used})")
    };
    let cpu = limits.cpu.filter(|limit| used.cpu > *limit);
    let memory = limits.memory.filter(|limit| used.memory > *limit);
    let storage = limits.ephemeral_storage.filter(|limit| used.ephemeral_storage > *limit);
    let pods = limits.pods.filter(|limit| used.pods > *limit);
    let other = limits.extended.iter().find(|(name, limit)| used.extended(name) > **limit);
    cpu.map(|limit| named("cpu", limit.to_string(), used.cpu.to_string()))
        .or_else(|| memory.map(|limit| named("memory", limit.to_string(), used.memory.to_string())))
        .or_else(|| storage.map(|l| named("ephemeral-storage", l.to_string(), used.ephemeral_storage.to_string())))
        .or_else(|| pods.map(|limit| named("pods", limit.to_string(), used.pods.to_string())))
        .or_else(|| other.map(|(name, limit)| named(name, limit.to_string(), used.extended(name).to_string())))
}

fn minimum(one: &Resources, two: &Resources) -> Resources {
    let names: BTreeSet<&String> = one.extended.keys().chain(two.extended.keys()).collect();
    Resources {
        cpu: one.cpu.min(two.cpu),
        memory: one.memory.min(two.memory),
        ephemeral_storage: one.ephemeral_storage.min(two.ephemeral_storage),
        pods: one.pods.min(two.pods),
        extended: names.into_iter().map(|name| (name.clone(), one.extended(name).min(two.extended(name)))).collect(),
    }
}

/// Pods that a pass places: those that wait, and those on nodes that are leaving; with refusals of validation.
pub fn pods_to_place(world: &World, nodes: &[StateNode]) -> (Vec<PodId>, Vec<(PodId, String)>) {
    let mut ignored = Vec::new();
    let mut pods: Vec<PodId> = Vec::new();
    for pod in world.pods.iter().filter(|pod| pod.gone.is_none() && cluster::is_provisionable(world, pod.id)) {
        match preferences::refusal(world.template(pod.template)) {
            None => pods.push(pod.id),
            Some(reason) => ignored.push((pod.id, reason)),
        }
    }
    let leaving = nodes.iter().filter(|node| node.leaving).flat_map(|node| node.pods.iter().copied());
    pods.extend(leaving.filter(|&pod| cluster::is_currently_reschedulable(world, pod)));
    (pods, ignored)
}
