//! What Karpenter's controllers see of the cluster: nodes with the machines on their way, and what may be done to pods.
//!
//! Source: core `pkg/controllers/state/{cluster,statenode}.go`, `pkg/utils/pod/scheduling.go`, `pkg/utils/pdb`,
//! `pkg/utils/disruption`, `pkg/cloudprovider/types.go`.

pub mod burdens;
mod catalog;

use crate::engine::Span;
use crate::plan::{
    CapacityType, InstanceType, InstanceTypeId, IntOrPercent, NodePoolId, Offering, PdbSpec, Plan, PodController,
    PodTemplate, ZoneId,
};
use crate::rules::labels::Labels;
use crate::rules::requirements::{HOSTNAME, Requirements};
use crate::rules::resources::Resources;
use crate::rules::taint::{Taint, TaintEffect, tolerated};
use crate::world::{ClaimId, InstanceId, Node, NodeClaim, NodeId, Owner, Pdb, Pod, PodId, World};
use std::borrow::Cow;
use std::sync::{Arc, LazyLock};

use crate::world::offering::DISRUPTED as DISRUPTED_KEY;
pub use crate::world::offering::{Wanted, avoided_until, is_available, is_compatible, unregistered_taint};
pub use catalog::{Catalog, Market, PoolFacts};

/// The annotation that forbids voluntary disruption of a pod or node.
pub const DO_NOT_DISRUPT: &str = "karpenter.sh/do-not-disrupt";

/// The annotation that says how dear a pod is.
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// Asked about for every pod, so made once.
static DISRUPTED: LazyLock<Taint> = LazyLock::new(|| Taint::new(DISRUPTED_KEY, TaintEffect::NoSchedule));

/// The taint of a node that Karpenter is about to remove.
pub fn disrupted_taint() -> &'static Taint {
    &DISRUPTED
}

/// Taints of a node that is still coming up.
#[inline]
pub fn is_ephemeral(taint: &Taint) -> bool {
    let is = |key: &str, effect| taint.effect == effect && *taint.key == *key;
    is("node.kubernetes.io/not-ready", TaintEffect::NoSchedule)
        || is("node.kubernetes.io/not-ready", TaintEffect::NoExecute)
        || is("node.kubernetes.io/unreachable", TaintEffect::NoSchedule)
        || is("node.cloudprovider.kubernetes.io/uninitialized", TaintEffect::NoSchedule)
        || is("karpenter.sh/unregistered", TaintEffect::NoExecute)
        || taint.key.starts_with("readiness.k8s.io/")
}

/// The entry of an instance type in what a pool may use.
pub fn pool_type(plan: &Plan, pool: NodePoolId, name: &str) -> Option<InstanceTypeId> {
    plan.pool_types.get(pool.index())?.iter().copied().find(|&id| plan.instance_type(id).name == name)
}

/// Available offerings of a type that meet the requirements.
pub fn offerings<'a>(
    plan: &'a Plan,
    world: &'a World,
    instance_type: InstanceTypeId,
    requirements: &'a Requirements,
) -> impl Iterator<Item = &'a Offering> {
    let entry = plan.instance_type(instance_type);
    entry
        .offerings
        .iter()
        .filter(move |offering| is_compatible(plan, offering, requirements) && is_available(world, entry, offering))
}

/// Price of the cheapest offering that can be had, dollars an hour; the largest float when there is none.
pub fn cheapest_price(plan: &Plan, world: &World, id: InstanceTypeId, requirements: &Requirements) -> f64 {
    let price = |offering: &Offering| world.prices.known(id, offering).dollars();
    offerings(plan, world, id, requirements).map(price).fold(f64::MAX, f64::min)
}

/// The most expensive offering of the capacity type that would be used: reserved, else spot, else on demand.
pub fn worst_launch_price(plan: &Plan, world: &World, id: InstanceTypeId, requirements: &Requirements) -> f64 {
    let found: Vec<&Offering> = offerings(plan, world, id, requirements).collect();
    CapacityType::ALL
        .into_iter()
        .find_map(|kind| {
            let of_kind = found.iter().filter(|offering| offering.capacity_type == kind);
            of_kind.map(|offering| world.prices.known(id, offering).dollars()).reduce(f64::max)
        })
        .unwrap_or(f64::MAX)
}

/// Sorts types by the price of the cheapest offering that can be had, keeping the order of equals; for each capacity type,
/// whether any of it can be had.
pub fn order_by_price(
    plan: &Plan,
    world: &World,
    types: &mut [InstanceTypeId],
    requirements: &Requirements,
) -> [bool; CapacityType::ALL.len()] {
    let (wanted, mut kinds) = (Wanted::of(plan, requirements), [false; CapacityType::ALL.len()]);
    let mut cheapest = |id: InstanceTypeId| {
        let (entry, mut least) = (plan.instance_type(id), f64::MAX);
        for offering in entry.offerings.iter().filter(|offering| wanted.allows(offering)) {
            if is_available(world, entry, offering) {
                kinds[offering.capacity_type as usize] = true;
                least = least.min(world.prices.known(id, offering).dollars());
            }
        }
        least
    };
    let mut priced: Vec<(f64, InstanceTypeId)> = types.iter().map(|&id| (cheapest(id), id)).collect();
    priced.sort_by(|one, two| one.0.total_cmp(&two.0));
    types.iter_mut().zip(priced).for_each(|(place, (_, id))| *place = id);
    kinds
}

/// Whether the types left still have as many distinct values as `minValues` asks for; else the labels that fall short
/// with the number that is left.
pub fn lacking_min_values(
    catalog: &Catalog,
    types: &[InstanceTypeId],
    requirements: &Requirements,
) -> Vec<(String, u32)> {
    let demanded = requirements.iter().filter_map(|(key, requirement)| Some((key, requirement.min_values?)));
    demanded
        .filter_map(|(key, least)| {
            let values: std::collections::BTreeSet<&str> = types
                .iter()
                .filter_map(|&id| catalog.requirements(id).get(key))
                .flat_map(|requirement| requirement.values.iter().map(|value| &**value))
                .collect();
            let left = u32::try_from(values.len()).unwrap_or(u32::MAX);
            (left < least).then(|| (key.to_string(), left))
        })
        .collect()
}

/// A node, or a machine on its way, as Karpenter plans with it.
#[derive(Clone, Debug)]
pub struct StateNode<'a> {
    /// The Node object, once it is there.
    pub node: Option<NodeId>,
    /// The NodeClaim; `None`: not Karpenter's.
    pub claim: Option<ClaimId>,
    /// Its name: the claim's until it is registered.
    pub name: &'a Arc<str>,
    /// Labels it has or will have.
    pub labels: &'a Labels,
    /// Taints that matter: those that vanish by themselves while it comes up are left out.
    pub taints: Cow<'a, [Taint]>,
    /// Capacity; what the node does not say yet is the type's.
    pub capacity: Cow<'a, Resources>,
    /// Allocatable less what is bound.
    pub free: Resources,
    /// Bound pods.
    pub pods: &'a [PodId],
    /// Initialised, or not Karpenter's.
    pub initialized: bool,
    /// Its pool.
    pub pool: Option<NodePoolId>,
    /// Marked for deletion or being deleted.
    pub leaving: bool,
}

/// All nodes and launched claims, initialised ones first, then by name.
pub fn state_nodes<'a>(plan: &'a Plan, world: &'a World) -> Vec<StateNode<'a>> {
    // The names of a real cluster are random.
    let drawn = |claim: &NodeClaim| plan.known_delays.place_of_name(claim.id.index());
    let place = |machine: &Machine<'a>| (!machine.is_initialized(), machine.claim().map_or(0, drawn), machine.name());
    // Keys are sorted, not the large things that are made in their order.
    let mut placed = Vec::with_capacity(world.nodes.len().min(64));
    placed.extend(machines(world).map(|machine| (place(&machine), machine)));
    placed.sort_by_key(|(place, _)| *place);
    placed.iter().map(|(_, machine)| machine.state(plan, world)).collect()
}

/// What a machine has free for pods.
pub struct Room {
    /// Its claim; `None`: it is not Karpenter's.
    pub claim: Option<ClaimId>,
    /// Allocatable less what is bound.
    pub free: Resources,
}

/// What of [`state_nodes`] tells how much room there is, of machines that do not leave.
pub fn rooms(plan: &Plan, world: &World) -> impl Iterator<Item = Room> {
    let staying = machines(world).filter(|machine| !machine.is_leaving(world));
    staying.map(|machine| Room { claim: machine.claim().map(|claim| claim.id), free: machine.free(plan, world) })
}

/// A launched machine as it is until its node comes.
pub fn before_joining<'a>(plan: &'a Plan, world: &'a World, claim: &'a NodeClaim) -> Option<StateNode<'a>> {
    Some(Machine::Coming(claim, claim.instance?).state(plan, world))
}

/// A launched machine as it is now that its node has come.
pub fn after_joining<'a>(plan: &'a Plan, world: &'a World, claim: &'a NodeClaim) -> Option<StateNode<'a>> {
    Some(Machine::Node(world.node(claim.node?), Some(claim)).state(plan, world))
}

/// All nodes, and claims that were launched and have none.
fn machines(world: &World) -> impl Iterator<Item = Machine<'_>> {
    let present = world.nodes.iter().filter(|node| node.gone.is_none());
    let launched = on_their_way(world).filter_map(|claim| Some(Machine::Coming(claim, claim.instance?)));
    present.map(|node| Machine::Node(node, node.claim.map(|id| world.claim(id)))).chain(launched)
}

/// What a [`StateNode`] is made of.
enum Machine<'a> {
    /// A node with its claim.
    Node(&'a Node, Option<&'a NodeClaim>),
    /// A launched claim without a node.
    Coming(&'a NodeClaim, InstanceId),
}

impl<'a> Machine<'a> {
    fn claim(&self) -> Option<&'a NodeClaim> {
        match *self {
            Machine::Node(_, claim) => claim,
            Machine::Coming(claim, _) => Some(claim),
        }
    }

    fn is_initialized(&self) -> bool {
        matches!(self, Machine::Node(_, claim) if claim.is_none_or(|claim| claim.initialized.is_some()))
    }

    fn is_leaving(&self, world: &World) -> bool {
        match *self {
            Machine::Node(node, _) => is_leaving(world, node.id),
            Machine::Coming(claim, _) => is_claim_leaving(claim),
        }
    }

    /// Allocatable less what is bound.
    fn free(&self, plan: &Plan, world: &World) -> Resources {
        match *self {
            Machine::Node(node, _) => free(plan, world, node, self.is_initialized()),
            Machine::Coming(_, instance) => {
                plan.instance_type(world.instances[instance.index()].instance_type).allocatable.clone()
            }
        }
    }

    /// The claim's until it is registered.
    fn name(&self) -> &'a Arc<str> {
        match *self {
            Machine::Node(node, claim) => {
                claim.filter(|claim| claim.registered.is_none()).map_or(&node.name, |claim| &claim.name)
            }
            Machine::Coming(claim, _) => &claim.name,
        }
    }

    fn state(&self, plan: &'a Plan, world: &'a World) -> StateNode<'a> {
        let initialized = self.is_initialized();
        match *self {
            Machine::Node(node, claim) => StateNode {
                node: Some(node.id),
                claim: node.claim,
                name: self.name(),
                labels: claim.filter(|claim| claim.registered.is_none()).map_or(&*node.labels, |claim| &claim.labels),
                taints: lasting_taints(node, claim, initialized),
                capacity: capacity(plan, world, node, initialized),
                free: self.free(plan, world),
                pods: &node.pods,
                initialized,
                pool: claim.map(|claim| claim.pool),
                leaving: self.is_leaving(world),
            },
            Machine::Coming(claim, instance) => {
                let entry = plan.instance_type(world.instances[instance.index()].instance_type);
                StateNode {
                    node: None,
                    claim: Some(claim.id),
                    name: self.name(),
                    labels: &claim.labels,
                    taints: Cow::Borrowed(&claim.taints),
                    capacity: Cow::Borrowed(machine_capacity(plan, claim, entry)),
                    free: self.free(plan, world),
                    pods: &[],
                    initialized,
                    pool: Some(claim.pool),
                    leaving: self.is_leaving(world),
                }
            }
        }
    }
}

/// NodeClaims without a node.
pub fn on_their_way(world: &World) -> impl Iterator<Item = &NodeClaim> {
    world.claims.iter().filter(|claim| claim.gone.is_none() && claim.node.is_none())
}

/// Marked for deletion, being deleted, or its instance is terminating.
pub fn is_claim_leaving(claim: &NodeClaim) -> bool {
    claim.marked || claim.deleting_since.is_some() || claim.instance_terminating.is_some()
}

/// The type of a node that is not initialised yet: its claim's status says what the node does not.
fn expected_type<'a>(plan: &'a Plan, world: &World, node: &Node, initialized: bool) -> Option<&'a InstanceType> {
    let instance = node.claim.filter(|_| !initialized).and_then(|claim| world.claim(claim).instance)?;
    Some(plan.instance_type(world.instances[instance.index()].instance_type))
}

/// What a machine of that type is said to have.
fn machine_capacity<'a>(plan: &Plan, claim: &'a NodeClaim, entry: &'a InstanceType) -> &'a Resources {
    if plan.flags.karpenter.capacity_is_requests { &claim.requests } else { &entry.capacity }
}

fn capacity<'a>(plan: &'a Plan, world: &'a World, node: &'a Node, initialized: bool) -> Cow<'a, Resources> {
    let claim = node.claim.map(|claim| world.claim(claim));
    match (expected_type(plan, world, node, initialized), claim) {
        (Some(entry), Some(claim)) => filled(&node.capacity, machine_capacity(plan, claim, entry)),
        (Some(_), None) | (None, _) => Cow::Borrowed(&node.capacity),
    }
}

/// Allocatable less what is bound.
fn free(plan: &Plan, world: &World, node: &Node, initialized: bool) -> Resources {
    let mut free = match expected_type(plan, world, node, initialized) {
        Some(entry) => filled(&node.allocatable, &entry.allocatable).into_owned(),
        None => node.allocatable.clone(),
    };
    free -= &node.requested;
    free
}

/// What is zero or missing is taken from `otherwise`.
fn filled<'a>(amounts: &'a Resources, otherwise: &Resources) -> Cow<'a, Resources> {
    let mut filled = Cow::Borrowed(amounts);
    if amounts.cpu.0 == 0 && otherwise.cpu.0 != 0 {
        filled.to_mut().cpu = otherwise.cpu;
    }
    if amounts.memory.0 == 0 && otherwise.memory.0 != 0 {
        filled.to_mut().memory = otherwise.memory;
    }
    if amounts.ephemeral_storage.0 == 0 && otherwise.ephemeral_storage.0 != 0 {
        filled.to_mut().ephemeral_storage = otherwise.ephemeral_storage;
    }
    if amounts.pods == 0 && otherwise.pods != 0 {
        filled.to_mut().pods = otherwise.pods;
    }
    for (name, &amount) in otherwise.extended.iter().filter(|(_, amount)| **amount != 0) {
        if amounts.extended(name) == 0 {
            filled.to_mut().extended.insert(name.clone(), amount);
        }
    }
    filled
}

/// Taints of a node that matter: its claim's until it is registered; without those of starting up until it is initialised.
#[inline]
pub fn lasting_taints<'a>(node: &'a Node, claim: Option<&'a NodeClaim>, initialized: bool) -> Cow<'a, [Taint]> {
    let unregistered = claim.filter(|claim| claim.registered.is_none());
    let mut taints = Cow::Borrowed(unregistered.map_or(&*node.taints, |claim| &*claim.taints));
    if node.unschedulable {
        taints.to_mut().push(Taint::new("node.kubernetes.io/unschedulable", TaintEffect::NoSchedule));
    }
    if let (Some(claim), false) = (claim, initialized) {
        let passes =
            |taint: &Taint| is_ephemeral(taint) || claim.startup_taints.iter().any(|other| other.is_same(taint));
        // Mostly all of them do: those are not copied first.
        if taints.iter().any(passes) {
            taints = Cow::Owned(taints.iter().filter(|taint| !passes(taint)).cloned().collect());
        }
    }
    taints
}

impl StateNode<'_> {
    /// The host name, a topology domain of its own.
    pub fn host_name(&self) -> &str {
        self.labels.get(HOSTNAME).unwrap_or(self.name)
    }
}

/// Marked for deletion, or being deleted: its claim if it has one, else itself.
pub fn is_leaving(world: &World, node: NodeId) -> bool {
    let entry = world.node(node);
    entry.claim.map_or(entry.deleting_since.is_some(), |id| is_claim_leaving(world.claim(id)))
}

/// Every claim has its instance: Karpenter's memory of the cluster is complete.
pub fn is_synced(world: &World) -> bool {
    !world.claims.iter().any(|claim| claim.gone.is_none() && claim.instance.is_none())
}

/// The scheduler has given up on it for now, and it is Karpenter's to find a place for it: also if it is on its way out or
/// has ended without a node. Source: core `pkg/utils/pod/scheduling.go` (`IsProvisionable`).
pub fn is_provisionable(world: &World, pod: PodId) -> bool {
    let entry = world.pod(pod);
    entry.unschedulable
        && entry.gone.is_none()
        && entry.node.is_none()
        && entry.nominated.is_none()
        && !is_of_node(world, pod)
}

/// It would have to run elsewhere if its node went.
#[inline]
pub fn is_reschedulable(world: &World, pod: PodId) -> bool {
    let entry = world.pod(pod);
    let stateful = world.template_of(pod).controller == PodController::StatefulSet;
    (entry.is_active() || (stateful && entry.deleting_since.is_some())) && !is_of_node(world, pod)
}

/// It comes and goes with its node: a DaemonSet's pod, or the mirror of a static pod.
fn is_of_node(world: &World, pod: PodId) -> bool {
    let mirror = world.template_of(pod).controller == PodController::Node;
    mirror || matches!(world.pod(pod).owner, Owner::DaemonSet(_))
}

/// As [`is_reschedulable`], and it could be evicted some day.
pub fn is_currently_reschedulable(world: &World, pod: PodId) -> bool {
    if !is_reschedulable(world, pod) {
        return false;
    }
    // Nobody would try to evict a pod that is on its way out.
    !world.pod(pod).is_active() || (!forbids_disruption(world, pod) && !is_held_forever(world, pod))
}

/// As [`eviction_hold`] for ever; hardly any budget is like that.
fn is_held_forever(world: &World, pod: PodId) -> bool {
    let may_hold = world.pdbs.len() > 1 || world.pdbs.iter().any(|pdb| never_allows(&pdb.spec));
    may_hold && eviction_hold(world, pod, Blocks::Forever).is_some()
}

/// Nothing unavailable, or all available.
fn never_allows(budget: &PdbSpec) -> bool {
    matches!(budget.max_unavailable, Some(IntOrPercent::Int(0) | IntOrPercent::Percent(0)))
        || budget.min_available == Some(IntOrPercent::Percent(100))
}

/// What the annotation of a template's pods says of their disruption.
#[inline]
pub fn do_not_disrupt(template: &PodTemplate) -> Option<&str> {
    template.annotations.get(DO_NOT_DISRUPT)
}

/// Its annotation forbids disruption: `true`, or a duration that has not passed since its start.
#[inline]
pub fn forbids_disruption(world: &World, pod: PodId) -> bool {
    do_not_disrupt(world.template_of(pod)).is_some_and(|value| forbids_by(world, pod, value))
}

/// The annotation says so; hardly any pod has it.
fn forbids_by(world: &World, pod: PodId, value: &str) -> bool {
    if value == "true" {
        return true;
    }
    let Some(span) = duration(value).filter(|span| *span > Span::ZERO) else { return false };
    world.pod(pod).start_time.is_none_or(|start| world.now < start + span)
}

/// A Go duration such as `1h30m`.
fn duration(text: &str) -> Option<Span> {
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    let mut total = Span::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let value: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let unit = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        let seconds = match &rest[..unit] {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" | "μs" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        total += Span::from_seconds(value * seconds);
        rest = &rest[unit..];
    }
    text.ends_with(|letter: char| letter.is_ascii_alphabetic()).then_some(total)
}

/// Budgets that select the pods of a template.
#[inline]
fn budgets_of<'w>(world: &'w World, template: &PodTemplate) -> impl Iterator<Item = &'w Pdb> {
    world.pdbs.iter().filter(move |pdb| {
        pdb.spec.namespace == template.namespace
            && pdb.spec.selector.as_ref().is_some_and(|selector| selector.matches(&template.labels))
    })
}

/// When a budget holds up an eviction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blocks {
    /// It allows no disruption now.
    Now,
    /// It never will: 0 unavailable or 100 % available.
    Forever,
}

/// What holds up the eviction of a pod.
#[derive(Clone, Copy, Debug)]
pub enum Hold<'a> {
    /// One budget.
    Budget(&'a Pdb),
    /// Several budgets select it: nobody can evict it.
    Several,
}

/// What holds up the eviction of a pod. Pods that nobody would try to evict are held up by nothing.
pub fn eviction_hold(world: &World, pod: PodId, when: Blocks) -> Option<Hold<'_>> {
    let evictable = world.pod(pod).is_active() && !forbids_disruption(world, pod);
    if evictable { holds(world.pod(pod), eviction_budget(world, world.template_of(pod))?, when) } else { None }
}

/// What the eviction of a pod of a template has to reckon with.
pub fn eviction_budget<'w>(world: &'w World, template: &PodTemplate) -> Option<Hold<'w>> {
    // Most templates are let go here, before any selector is read.
    if template.controller == PodController::Node || tolerated(&template.tolerations, disrupted_taint()) {
        return None;
    }
    let mut budgets = budgets_of(world, template);
    let budget = budgets.next()?;
    Some(if budgets.next().is_some() { Hold::Several } else { Hold::Budget(budget) })
}

/// Whether that holds up the eviction of a pod which somebody might try.
pub fn holds<'w>(entry: &Pod, budget: Hold<'w>, when: Blocks) -> Option<Hold<'w>> {
    let Hold::Budget(pdb) = budget else { return Some(budget) };
    let unready = entry.ready.status == Some(false) && !entry.ready_unknown;
    if pdb.spec.always_allow_unhealthy && unready {
        return None;
    }
    let blocks = match when {
        Blocks::Now => pdb.disruptions_allowed == 0,
        Blocks::Forever => never_allows(&pdb.spec),
    };
    blocks.then_some(budget)
}

/// The same in the words of the event.
pub fn budget_block(world: &World, pod: PodId, when: Blocks) -> Option<String> {
    let named = |pdb: &Pdb| format!("{}/{}", pdb.spec.namespace, pdb.spec.name);
    match eviction_hold(world, pod, when)? {
        Hold::Budget(pdb) => Some(format!("pdb prevents pod evictions (PodDisruptionBudget=[{}])", named(pdb))),
        Hold::Several => {
            let mut budgets: Vec<&Pdb> = budgets_of(world, world.template_of(pod)).collect();
            budgets.sort_by(|one, two| one.spec.name.cmp(&two.spec.name));
            let all: Vec<String> = budgets.into_iter().map(named).collect();
            Some(format!("eviction does not support multiple PDBs (PodDisruptionBudget(s)=[{}])", all.join(" ")))
        }
    }
}

/// What it costs to evict a pod: 1, more with a deletion cost or priority, within -10 and 10.
#[inline]
pub fn eviction_cost(world: &World, pod: PodId) -> f64 {
    cost_of_eviction(world.template_of(pod))
}

/// The same of a template's pods.
pub fn cost_of_eviction(template: &PodTemplate) -> f64 {
    let written = template.annotations.get(DELETION_COST).map_or(0.0, written_cost);
    let cost = 1.0 + written / 2f64.powi(27) + f64::from(template.priority) / 2f64.powi(25);
    cost.clamp(-10.0, 10.0)
}

fn written_cost(text: &str) -> f64 {
    text.parse().unwrap_or(0.0)
}

/// Zone of a name.
pub fn zone_named(plan: &Plan, name: &str) -> Option<ZoneId> {
    plan.zones.iter().position(|zone| zone == name).map(ZoneId::at)
}

/// Whether a pod tolerates all taints, those of effect PreferNoSchedule included.
#[inline]
pub fn tolerates_all(template: &PodTemplate, taints: &[Taint]) -> bool {
    taints.iter().all(|taint| tolerated(&template.tolerations, taint))
}
