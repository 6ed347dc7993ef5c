//! The plan: which pod goes to which node, and which nodes to buy. A pure function of a snapshot.
//!
//! ```text
//!  pods, largest first ─► existing nodes, by name ─► claims of this pass, fewest pods first ─► pools, by weight
//!                              │ nothing fits: relax one preference, try again; else back of the queue
//!                              ▼
//!            Results: pods per existing node, new claims with their types in order of price, errors
//! ```
//!
//! Source: core `provisioning/scheduling/{scheduler,queue}.go`. The parts: `existing` and `claims` say whether a pod fits,
//! `pools` what may be opened, `topology` where rules about other pods allow it. Left out: node
//! overlays; a claim's types are kept in the provider's order until the end.

use super::claims::{self, OpenClaim};
use super::existing::{self, Existing};
use super::memo::{Memo, Pools};
use super::pools;
use super::preferences::{self, Wishes};
pub use super::refusal::{Refusal, Unmet};
use super::topology::{self, Topology, Universe};
use crate::components::karpenter::cluster::{Catalog, Market, StateNode, order_by_price};
use crate::plan::{CapacityType, InstanceTypeId, NodePoolId, Plan, PodTemplate, TemplateId};
use crate::rules::labels::Labels;
use crate::rules::requirements::{CAPACITY_TYPE, HOSTNAME, INSTANCE_TYPE, Requirement, Requirements, normalized};
use crate::rules::resources::{ResourceList, Resources};
use crate::rules::sort::sort_slice;
use crate::rules::taint::{Taint, TaintEffect, tolerated};
use crate::world::{ClaimId, NewClaim, NodeId, PodId, World};
use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// Rules of a pass.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Simulating a consolidation: nodes whose `consolidateAfter` still runs take no pods but these.
    pub settled_only_but: Option<BTreeSet<PodId>>,
    /// Somebody wants to read who was asked first: [`Results::asked`].
    pub tells: bool,
    /// What passes before it have found out.
    pub memo: Memo,
}

/// Who was asked for a pod before it was given up, or a claim was opened for it.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    /// Why nodes that exist do not take it.
    pub nodes: Vec<Refusal>,
    /// Why pools do not.
    pub pools: Vec<(NodePoolId, Refusal)>,
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
    pub nodes: Vec<&'a StateNode<'a>>,
    /// Pods to place, in the order of the API's lists.
    pub pods: Vec<PodId>,
    /// Rules.
    pub options: Options,
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
        let offered = order_by_price(plan, world, &mut types, &self.requirements);
        let kinds = CapacityType::ALL.into_iter().filter(|&kind| offered[kind as usize]);
        let kinds: Vec<&str> = kinds.map(CapacityType::name).collect();
        let mut requirements = self.requirements.clone();
        if !kinds.is_empty() {
            requirements.add(CAPACITY_TYPE, Requirement::any_of(kinds));
        }
        requirements.remove(INSTANCE_TYPE);
        NewClaim {
            pool: self.pool,
            requirements: requirements.as_written(),
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
    /// Who was asked for pods that no node took; only with [`Options::tells`].
    pub asked: BTreeMap<PodId, Asked>,
}

impl Results {
    /// A plan that buys nothing does the same: the same pods wait for the same machines, whatever those are called by now.
    pub fn does_the_same(&self, other: &Results) -> bool {
        let alike = |(one, two): (&Placed, &Placed)| {
            let same = if one.claim.is_some() { one.claim == two.claim } else { one.node == two.node };
            same && one.pods == two.pods
        };
        self.claims.is_empty()
            && other.claims.is_empty()
            && self.existing.len() == other.existing.len()
            && self.existing.iter().zip(&other.existing).all(alike)
            && (&self.errors, &self.ignored) == (&other.errors, &other.ignored)
            && self.relaxed.keys().eq(other.relaxed.keys())
    }
}

/// A pod of the pass and what is left of its wishes.
pub struct Work {
    /// The pod.
    pub id: PodId,
    /// The template that it came with.
    pub origin: TemplateId,
    /// What it asks for.
    pub wishes: Arc<Wishes>,
}

impl Work {
    /// As topology sees it.
    pub fn subject(&self) -> topology::Subject<'_> {
        let Wishes { template, strict, .. } = &*self.wishes;
        topology::Subject { id: self.id, origin: self.origin, template, strict }
    }
}

/// What does not change while pods are placed.
pub struct Scene<'a> {
    /// The plan of the run.
    pub plan: &'a Plan,
    /// The world.
    pub world: &'a World,
    /// Requirements of instance types.
    pub catalog: &'a Catalog,
    /// Offerings that can be had.
    pub market: Market<'a>,
    /// Instances that each reservation has left for claims of this pass.
    pub left: Vec<u32>,
    /// A pod that could use a reservation waits for it.
    pub waits_for_reservations: bool,
}

struct Scheduler<'a> {
    scene: Scene<'a>,
    topology: Topology<'a>,
    /// By node, once it may have room for a pod.
    existing: Vec<Option<Box<Existing<'a>>>>,
    memo: &'a Memo,
    /// Templates whose rules count.
    concerned: &'a [Arc<PodTemplate>],
    /// The wishes of the last pod, and whether it was exempt: existing nodes before this position do not take such a pod, and
    /// will not, for they only get fuller.
    refused: Option<(Arc<Wishes>, bool, usize)>,
    pools: Arc<Pools>,
    /// By template: `minValues` was lowered for the claim that was opened last.
    lowered: Vec<bool>,
    nodes: &'a [&'a StateNode<'a>],
    /// What is left of the limits of each pool; found out when the first claim is opened.
    remaining: OnceCell<BTreeMap<NodePoolId, ResourceList>>,
    claims: Vec<OpenClaim>,
    /// Positions of claims in the order in which they are tried.
    order: Vec<usize>,
    exempt: Option<&'a BTreeSet<PodId>>,
    tolerate_preferences: bool,
    errors: BTreeMap<PodId, Vec<Refusal>>,
    relaxed: BTreeMap<PodId, Arc<PodTemplate>>,
    /// For the pod at hand; `None`: nobody wants to read it.
    asking: Option<Asked>,
    asked: BTreeMap<PodId, Asked>,
}

/// Places the pods of a snapshot. What a reservation could take but has no room for goes elsewhere (simulations).
pub fn solve(snapshot: &Snapshot) -> Results {
    place(snapshot, false)
}

/// As [`solve`], but what a reservation could take waits for it (provisioning).
pub fn solve_strictly(snapshot: &Snapshot) -> Results {
    place(snapshot, true)
}

fn place(snapshot: &Snapshot, waits_for_reservations: bool) -> Results {
    if snapshot.pods.is_empty() {
        return Results::default();
    }
    let concerned = concerned(snapshot.world, &snapshot.pods);
    let mut scheduler = Scheduler::new(snapshot, &concerned);
    scheduler.scene.waits_for_reservations = waits_for_reservations;
    let pods = scheduler.join(snapshot);
    scheduler.run(&pods);
    scheduler.results()
}

/// Labels that pods of these templates ask existing nodes for.
pub fn asked_keys<'a>(templates: impl Iterator<Item = &'a PodTemplate>) -> BTreeSet<Arc<str>> {
    let mut keys: BTreeSet<&str> = BTreeSet::from([HOSTNAME]);
    for template in templates {
        keys.extend(template.node_selector.keys());
        let affinity = &template.affinity;
        let terms = affinity.node_required.iter().flatten().chain(affinity.node_preferred.iter().map(|(_, term)| term));
        keys.extend(terms.flat_map(|term| &term.expressions).map(|expression| expression.key.as_str()));
        keys.extend(topology::topology_keys(template));
    }
    keys.into_iter().flat_map(|key| [key, normalized(key)]).map(Arc::from).collect()
}

/// Templates whose rules count in a pass: those of its pods, and of bound pods that keep others away; in the order of
/// their ids.
pub(super) fn concerned(world: &World, pods: &[PodId]) -> Vec<Arc<PodTemplate>> {
    let mut distinct: Vec<TemplateId> = pods.iter().map(|&pod| world.pod(pod).template).collect();
    distinct.dedup();
    if topology::may_repel(world) {
        let bound = world.nodes.iter().filter(|node| node.gone.is_none()).flat_map(|node| &node.pods);
        let repelling = bound.filter(|&&pod| !world.template_of(pod).affinity.anti_required.is_empty());
        distinct.extend(repelling.map(|&pod| world.pod(pod).template));
    }
    distinct.sort_unstable();
    distinct.dedup();
    distinct.into_iter().map(|id| world.template(id).clone()).collect()
}

/// Domains of each label that rules of templates name.
fn universe(
    (plan, world, catalog): (&Plan, &World, &Catalog),
    templates: &[Arc<PodTemplate>],
) -> BTreeMap<Arc<str>, Universe> {
    let keys: BTreeSet<&str> = templates.iter().flat_map(|template| topology::topology_keys(template)).collect();
    if keys.is_empty() {
        return BTreeMap::new();
    }
    let pools = pools::offering(plan, world);
    keys.into_iter().map(|key| (key.into(), topology::universe(plan, world, catalog, &pools, key))).collect()
}

impl<'a> Scheduler<'a> {
    fn new(snapshot: &'a Snapshot<'a>, concerned: &'a [Arc<PodTemplate>]) -> Scheduler<'a> {
        let (plan, world, catalog) = (snapshot.plan, snapshot.world, snapshot.catalog);
        let left = plan.reservations.iter().map(|reservation| reservation.left).collect();
        let market = Market::of(plan, world, catalog);
        let scene = Scene { plan, world, catalog, market, left, waits_for_reservations: false };
        let memo = &snapshot.options.memo;
        let found = memo.pools(plan, world, catalog, &scene.market);
        let universe = universe((plan, world, catalog), concerned);
        let topology = Topology::new(world, &plan.namespaces, universe, &snapshot.nodes, &snapshot.pods);
        let soft = |taint: &Taint| taint.effect == TaintEffect::PreferNoSchedule;
        let eligible = world.node_pools.iter().filter(|spec| pools::is_eligible(spec));
        let tolerate_preferences = eligible.flat_map(|spec| &spec.taints).any(soft);
        Scheduler {
            scene,
            topology,
            existing: snapshot.nodes.iter().map(|_| None).collect(),
            memo,
            concerned,
            refused: None,
            lowered: Vec::new(),
            pools: found,
            nodes: &snapshot.nodes,
            remaining: OnceCell::new(),
            claims: Vec::new(),
            order: Vec::new(),
            exempt: snapshot.options.settled_only_but.as_ref(),
            tolerate_preferences,
            errors: BTreeMap::new(),
            relaxed: BTreeMap::new(),
            asking: snapshot.options.tells.then(Asked::default),
            asked: BTreeMap::new(),
        }
    }

    /// The pods of the pass in the order in which they are placed; their rules are counted from now on.
    fn join(&mut self, snapshot: &Snapshot) -> Vec<Work> {
        let world = self.scene.world;
        let memo = &snapshot.options.memo;
        let mut pods: Vec<Work> = Vec::with_capacity(snapshot.pods.len());
        for &id in &snapshot.pods {
            let origin = world.pod(id).template;
            // Neighbours are mostly of one template.
            let wishes = match pods.last().filter(|before| before.origin == origin) {
                Some(before) => before.wishes.clone(),
                None => memo.wishes((self.scene.plan, &world.volumes), origin, world.template(origin)),
            };
            self.topology.update(id, origin, &wishes.rules, false);
            pods.push(Work { id, origin, wishes });
        }
        if !self.topology.is_free() {
            for node in self.nodes {
                self.topology.register_host(node.host_name());
            }
        }
        pods.sort_by(|one, two| order(world, one, two));
        pods
    }

    fn run(&mut self, pods: &[Work]) {
        // Pods that are to be tried again, with the length of the queue when they joined it.
        let mut queue: VecDeque<(usize, usize)> = VecDeque::new();
        for (index, left) in (0..pods.len()).rev().enumerate() {
            if !self.try_place(&pods[index]) {
                queue.push_back((index, left + queue.len() + 1));
            }
        }
        while let Some((index, _)) = queue.pop_front().filter(|&(_, length)| length != queue.len() + 1) {
            if !self.try_place(&pods[index]) {
                queue.push_back((index, queue.len() + 1));
            }
        }
    }

    /// Whether a pod has a place now; else why not is noted.
    fn try_place(&mut self, pod: &Work) -> bool {
        match self.place(pod) {
            Ok(()) => {
                self.errors.remove(&pod.id);
                true
            }
            Err(refusals) => {
                self.errors.insert(pod.id, refusals);
                self.topology.update(pod.id, pod.origin, &pod.wishes.rules, false);
                false
            }
        }
    }

    /// Places one pod, giving up its preferences one by one.
    fn place(&mut self, pod: &Work) -> Result<(), Vec<Refusal>> {
        if pod.wishes.template.claims_devices {
            return Err(vec![Refusal::Devices]);
        }
        let waits = |refusals: &[Refusal]| refusals.contains(&Refusal::Reserved);
        let mut last = match self.add(pod) {
            Ok(()) => return Ok(()),
            Err(refused) if waits(&refused) => return Err(refused),
            Err(refused) => refused,
        };
        let ignored = self.scene.plan.flags.karpenter.ignore_preferences;
        let mut template = (*pod.wishes.template).clone();
        while preferences::relax(&mut template, self.tolerate_preferences).is_some() {
            let wishes = Arc::new(Wishes::of(Arc::new(template.clone()), &self.scene.world.volumes, ignored));
            self.topology.update(pod.id, pod.origin, &wishes.rules, true);
            let relaxed = Work { id: pod.id, origin: pod.origin, wishes };
            match self.add(&relaxed) {
                Ok(()) => {
                    self.relaxed.insert(pod.id, relaxed.wishes.template.clone());
                    return Ok(());
                }
                Err(refused) if waits(&refused) => return Err(refused),
                Err(refused) => last = refused,
            }
        }
        Err(last)
    }

    fn add(&mut self, pod: &Work) -> Result<(), Vec<Refusal>> {
        self.topology.prepare(pod.origin, &pod.wishes.template);
        self.asking = self.asking.take().map(|_| Asked::default());
        if self.add_to_existing(pod) {
            return Ok(());
        }
        let claims = &self.claims;
        sort_slice(&mut self.order, |&one, &two| claims[one].pods.len() < claims[two].pods.len());
        for &index in &self.order {
            let claim = &self.claims[index];
            let template = &self.pools.templates[claim.template];
            if let Some(grown) = claim.takes(&self.scene, &self.topology, template, pod) {
                self.claims[index].grow(&mut self.scene, pod, grown);
                let requirements = &self.claims[index].requirements;
                self.topology.record(pod.subject(), &template.spec.taints, requirements);
                return Ok(());
            }
        }
        let opened = self.open(pod);
        if let Some(asking) = self.asking.take() {
            self.asked.insert(pod.id, asking);
            self.asking = Some(Asked::default());
        }
        opened
    }

    fn add_to_existing(&mut self, pod: &Work) -> bool {
        let exempt = self.exempt.is_none_or(|exempt| exempt.contains(&pod.id));
        let first = self.first_to_ask(pod, exempt);
        let mut taker = self.nodes.len();
        for index in first..self.nodes.len() {
            match self.add_to_node(index, pod, exempt) {
                Ok(()) => {
                    taker = index;
                    break;
                }
                Err(refusal) => self.asking.iter_mut().for_each(|asking| asking.nodes.push(refusal)),
            }
        }
        match &mut self.refused {
            Some((wishes, of_exempt, before)) if Arc::ptr_eq(wishes, &pod.wishes) && *of_exempt == exempt => {
                *before = taker;
            }
            other => *other = Some((pod.wishes.clone(), exempt, taker)),
        }
        taker < self.nodes.len()
    }

    fn add_to_node(&mut self, index: usize, pod: &Work, exempt: bool) -> Result<(), Refusal> {
        let (world, state) = (self.scene.world, self.nodes[index]);
        if !exempt && !existing::is_settled(world, state.claim, world.now) {
            return Err(Refusal::Unsettled);
        }
        let entry = &mut self.existing[index];
        // Daemons that are still to come leave no more room than there is.
        if entry.is_none() && !claims::fits(&pod.wishes.template.requests, &state.free) {
            return Err(Refusal::Resources);
        }
        let made = || Box::new(existing::node(world, state, &self.pools.daemons, (self.memo, self.concerned)));
        let node = entry.get_or_insert_with(made);
        let requirements = node.takes(&self.topology, pod)?;
        node.add(pod, requirements);
        if !self.topology.is_free() {
            self.topology.record(pod.subject(), &state.taints, node.requirements());
        }
        Ok(())
    }

    /// The first existing node that may take a pod: those before it refused the last one, which wished for the same. Rules about
    /// other pods may change their mind, and who wants to read why hears of all of them.
    fn first_to_ask(&self, pod: &Work, exempt: bool) -> usize {
        let alike = |(wishes, of_exempt, _): &&(Arc<Wishes>, bool, usize)| {
            Arc::ptr_eq(wishes, &pod.wishes) && *of_exempt == exempt
        };
        let free = self.asking.is_none() && self.topology.is_free();
        let first = self.refused.as_ref().filter(|_| free).filter(alike).map_or(0, |&(_, _, first)| first);
        let refuses = |node: &Existing| node.takes(&self.topology, pod).is_err();
        let known = self.existing[..first].iter().flatten();
        debug_assert!(!exempt || known.clone().all(|node| refuses(node)), "a node takes a pod that it refused before");
        first
    }

    /// Opens a claim of the first pool that takes the pod.
    fn open(&mut self, pod: &Work) -> Result<(), Vec<Refusal>> {
        let mut refusals = Vec::new();
        let pools = self.pools.clone();
        for (index, template) in pools.templates.iter().enumerate() {
            self.note_pool(index, refusals.last().copied());
            let mut groups = template.groups.to_vec();
            if let Some(remaining) = self.remaining().get(&template.pool) {
                if remaining.extended.get("nodes") == Some(&0) {
                    refusals.push(Refusal::NodeLimit);
                    continue;
                }
                let plan = self.scene.plan;
                for group in &mut groups {
                    group.types.retain(|&id| pools::within_limits(&plan.instance_type(id).capacity, remaining));
                }
                groups.retain(|group| !group.types.is_empty());
                if groups.is_empty() {
                    refusals.push(Refusal::Limits);
                    continue;
                }
            }
            let host = self.next_host();
            let mut requirements = template.requirements.clone();
            if let Some(host) = &host {
                requirements.add(HOSTNAME, Requirement::only(host.clone()));
            }
            let fresh = OpenClaim::new(index, requirements, groups);
            match fresh.opens(&self.scene, &self.topology, template, pod) {
                Ok(grown) => {
                    let mut claim = fresh;
                    claim.grow(&mut self.scene, pod, grown);
                    self.charge_limits(&claim);
                    self.lowered.resize(pools.templates.len(), false);
                    self.lowered[index] = claim.is_relaxed(template);
                    host.iter().for_each(|host| self.topology.register_host(host));
                    self.topology.record(pod.subject(), &template.spec.taints, &claim.requirements);
                    self.order.push(self.claims.len());
                    self.claims.push(claim);
                    return Ok(());
                }
                Err(Refusal::Taint) => {
                    let tolerations = &pod.wishes.template.tolerations;
                    let repelled = template.spec.taints.iter().filter(|taint| !tolerated(tolerations, taint));
                    refusals.extend(repelled.map(|_| Refusal::Taint));
                }
                Err(Refusal::Reserved) => {
                    refusals.push(Refusal::Reserved);
                    self.note_pool(index + 1, Some(Refusal::Reserved));
                    return Err(refusals);
                }
                Err(refusal) => refusals.push(refusal),
            }
        }
        self.note_pool(pools.templates.len(), refusals.last().copied());
        Err(refusals)
    }

    /// The host that the next claim stands for, where somebody asks for one.
    fn next_host(&self) -> Option<Arc<str>> {
        let mut concerned = self.concerned.iter();
        let is_asked_for = !self.topology.is_free() || concerned.any(|template| preferences::may_name_hosts(template));
        is_asked_for.then(|| format!("hostname-placeholder-{:04}", self.claims.len() + 1).into())
    }

    /// For who wants to read it: what the pool before position `next` said.
    fn note_pool(&mut self, next: usize, said: Option<Refusal>) {
        if let (Some(asking), Some(before), Some(said)) = (&mut self.asking, next.checked_sub(1), said) {
            asking.pools.push((self.pools.templates[before].pool, said));
        }
    }

    fn remaining(&self) -> &BTreeMap<NodePoolId, ResourceList> {
        self.remaining.get_or_init(|| pools::remaining_limits(self.scene.world, self.nodes.iter().copied()))
    }

    /// A pool's limits lose the largest capacity among the types of a new claim.
    fn charge_limits(&mut self, claim: &OpenClaim) {
        let pool = self.pools.templates[claim.template].pool;
        self.remaining();
        let Some(remaining) = self.remaining.get_mut().and_then(|remaining| remaining.get_mut(&pool)) else { return };
        let plan = self.scene.plan;
        let largest = claim.types().fold(Resources::default(), |sum, id| sum.max(&plan.instance_type(id).capacity));
        pools::subtract(remaining, &largest);
    }

    fn results(self) -> Results {
        let mut results = Results { relaxed: self.relaxed, asked: self.asked, ..Results::default() };
        let world = self.scene.world;
        for node in self.existing.into_iter().flatten().filter(|node| !node.pods.is_empty()) {
            results.existing.push(Placed {
                node: node.state.node,
                claim: node.state.claim,
                name: node.state.node.map_or(node.state.name, |id| &world.node(id).name).clone(),
                initialized: node.state.initialized,
                pods: node.pods,
            });
        }
        results.errors = self.errors.into_iter().collect();
        let mut claims: Vec<Option<OpenClaim>> = self.claims.into_iter().map(Some).collect();
        for index in self.order {
            let Some(claim) = claims[index].take() else { continue };
            let template = &self.pools.templates[claim.template];
            match claims::finished(&self.scene, template, self.lowered[claim.template], claim) {
                Ok(claim) => results.claims.push(claim),
                Err(pods) => {
                    results.errors.extend(pods.into_iter().map(|pod| (pod, vec![Refusal::TruncatedMinValues])));
                }
            }
        }
        results
    }
}

/// Largest first: cpu, memory, then the oldest, then by uid.
fn order(world: &World, one: &Work, two: &Work) -> std::cmp::Ordering {
    let (first, second) = (world.pod(one.id), world.pod(two.id));
    let key = |work: &Work| (work.wishes.template.requests.cpu, work.wishes.template.requests.memory);
    key(two)
        .cmp(&key(one))
        .then_with(|| first.created.whole_second().cmp(&second.created.whole_second()))
        .then_with(|| first.uid.cmp(&second.uid))
        .then_with(|| first.key().cmp(&second.key()))
        .then_with(|| one.id.cmp(&two.id))
}
