//! Nodes that may be disrupted, and what that would cost.
//!
//! Source: core `disruption/types.go` (`NewCandidate`), `state/statenode.go` (`ValidateNodeDisruptable`,
//! `ValidatePodsDisruptable`), `utils/disruption`.

use super::balanced;
use super::method::Method;
use super::notes::{Notes, sentence};
use crate::components::karpenter::cluster::burdens::{Burden, Burdens};
use crate::components::karpenter::cluster::{
    Blocks, DO_NOT_DISRUPT, budget_block, eviction_hold, forbids_disruption, holds, is_leaving, is_reschedulable,
};
use crate::components::karpenter::provisioner::memo::{Memo, NodeOffering};
use crate::plan::{CapacityType, InstanceTypeId, NodePoolId, Plan, ZoneId};
use crate::rules::requirements::NODE_POOL;
use crate::world::{ClaimId, NodeClaim, NodeId, PodId, World};
use std::collections::BTreeSet;
use std::sync::Arc;

/// What may stop a disruption.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Pods that may not be moved always stop it.
    Graceful,
    /// They do not when the claim has a termination grace period.
    Eventual,
}

impl Class {
    /// Pods of a claim's node stop nothing of this class.
    fn is_lenient(self, claim: &NodeClaim) -> bool {
        self == Class::Eventual && claim.termination_grace_period.is_some()
    }
}

/// A node that may be disrupted.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Its claim.
    pub claim: ClaimId,
    /// Its node.
    pub node: NodeId,
    /// Its name.
    pub name: Arc<str>,
    /// Its pool.
    pub pool: NodePoolId,
    /// Its type, as the pool has it.
    pub instance_type: Option<InstanceTypeId>,
    /// How it is paid.
    pub capacity_type: Option<CapacityType>,
    /// It has a label for it.
    pub has_capacity_type: bool,
    /// It has a label for its zone.
    pub has_zone: bool,
    /// Price an hour, dollars; 0 when it is unknown.
    pub price: f64,
    /// One, and the costs of evicting its pods.
    pub reschedule: f64,
    /// The cost that was compared until 1.13: all pods, less as the node nears its expiry.
    pub legacy: f64,
    /// Pods that would have to move.
    pub pods: Vec<PodId>,
}

impl Candidate {
    /// Nothing of weight runs there.
    pub fn is_empty(&self, version: (u32, u32)) -> bool {
        if version >= (1, 14) { self.reschedule <= 1.0 } else { self.pods.is_empty() }
    }

    /// What is saved for each unit of disruption.
    pub fn savings_ratio(&self) -> f64 {
        self.price / self.reschedule
    }
}

/// Managed nodes that may be disrupted, by name. `held`: claims that commands have taken already. `matters`: whether a claim
/// with its node need be looked at; asked only where nobody reads why others are none.
pub fn candidates(
    (plan, memo): (&Plan, &Memo),
    world: &World,
    held: &BTreeSet<ClaimId>,
    class: Class,
    notes: &mut Notes,
    matters: impl Fn(&NodeClaim, NodeId, &Burdens) -> bool,
) -> Vec<Candidate> {
    let burdens = memo.burdens(world);
    let known = (plan, memo, &*burdens);
    let mut found: Vec<Candidate> = if notes.are_kept() {
        let launched = launched(world).filter(|claim| !held.contains(&claim.id));
        launched.filter_map(|claim| noted(known, world, (claim, class), notes)).collect()
    } else {
        let nodes = disruptable((plan, &burdens), world, held, class, matters);
        nodes.map(|(claim, node)| weigh(known, world, claim.id, node)).collect()
    };
    found.sort_by(|one, two| one.name.cmp(&two.name));
    found
}

fn launched(world: &World) -> impl Iterator<Item = &NodeClaim> {
    world.claims.iter().filter(|claim| claim.gone.is_none() && claim.instance.is_some())
}

/// Nodes that are candidates, where nobody reads why others are none. `held`, `matters`: as above.
pub fn disruptable<'w>(
    (plan, burdens): (&'w Plan, &'w Burdens),
    world: &'w World,
    held: &'w BTreeSet<ClaimId>,
    class: Class,
    matters: impl Fn(&NodeClaim, NodeId, &Burdens) -> bool + 'w,
) -> impl Iterator<Item = (&'w NodeClaim, NodeId)> {
    let holds = Holds::new(world, burdens);
    launched(world).filter(|claim| !held.contains(&claim.id)).filter_map(move |claim| {
        let node = node_of(world, claim.id).filter(|&node| matters(claim, node, burdens))?;
        let is_free = class.is_lenient(claim) || !holds.any(node);
        (is_free && hindrance(plan, world, claim, node).is_none()).then_some((claim, node))
    })
}

/// A claim as candidate; else it is noted why it is none.
fn noted(
    known: (&Plan, &Memo, &Burdens),
    world: &World,
    (claim, class): (&NodeClaim, Class),
    notes: &mut Notes,
) -> Option<Candidate> {
    let judged = judged(known, world, claim.id, !class.is_lenient(claim));
    if let (Err(block), Some(node)) = (&judged, node_of(world, claim.id)) {
        notes.blocked(node, || sentence(block));
    }
    judged.ok()
}

fn node_of(world: &World, claim: ClaimId) -> Option<NodeId> {
    world.claim(claim).node.filter(|&node| world.node(node).gone.is_none())
}

/// Whether one of some methods may have a candidate: false only where none has one, and cheap to ask. `held` as above.
pub fn are_possible(
    world: &World,
    burdens: &Burdens,
    held: &BTreeSet<ClaimId>,
    methods: impl DoubleEndedIterator<Item = Method> + Clone,
) -> bool {
    // The totals of a Balanced pool are read from all of them.
    let counts_all = balanced::is_used(world);
    let holds = Holds::new(world, burdens);
    launched(world).any(|claim| {
        if claim.initialized.is_none() || claim.nominated_until > world.now || held.contains(&claim.id) {
            return false;
        }
        let Some(node) = node_of(world, claim.id).filter(|&node| !is_leaving(world, node)) else { return false };
        let wanted = |method: &Method| counts_all || method.may_accept(world, burdens, claim, node);
        // The last of them ask the least.
        let mut wanting = methods.clone().rev().filter(wanted).peekable();
        if wanting.peek().is_none() {
            return false;
        }
        let lenient =
            claim.termination_grace_period.is_some() && wanting.any(|method| method.class() == Class::Eventual);
        lenient || !holds.any(node)
    })
}

/// The node of a launched claim as candidate, or why it is none.
///
/// # Errors
/// The first thing that blocks its disruption, in the words of Karpenter's events.
pub fn candidate(plan: &Plan, world: &World, id: ClaimId, class: Class) -> Result<Candidate, String> {
    let memo = Memo::default();
    judged((plan, &memo, &memo.burdens(world)), world, id, !class.is_lenient(world.claim(id)))
}

fn judged(
    known @ (plan, ..): (&Plan, &Memo, &Burdens),
    world: &World,
    id: ClaimId,
    asks_pods: bool,
) -> Result<Candidate, String> {
    let claim = world.claim(id);
    let node = node_of(world, id).ok_or("nodeclaim does not have an associated node")?;
    if let Some(hindrance) = hindrance(plan, world, claim, node) {
        return Err(hindrance.text(&world.node_pools[claim.pool.index()].name));
    }
    if let Some(block) = asks_pods.then(|| pod_block(world, &world.node(node).pods)).flatten() {
        return Err(block);
    }
    Ok(weigh(known, world, id, node))
}

/// What is said of a node itself that forbids its disruption.
enum Hindrance {
    NotInitialized,
    Leaving,
    Nominated,
    Annotated,
    NoLabel,
    NoTypes,
}

impl Hindrance {
    fn text(self, pool: &str) -> String {
        match self {
            Hindrance::NotInitialized => "node isn't initialized".to_string(),
            Hindrance::Leaving => "node is deleting or marked for deletion".to_string(),
            Hindrance::Nominated => "node is nominated for a pending pod".to_string(),
            Hindrance::Annotated => format!("disruption is blocked through the {DO_NOT_DISRUPT:?} annotation"),
            Hindrance::NoLabel => format!("node doesn't have required label (label={NODE_POOL})"),
            Hindrance::NoTypes => format!("nodepool not found (NodePool={pool})"),
        }
    }
}

/// The first thing about a node itself that forbids its disruption.
fn hindrance(plan: &Plan, world: &World, claim: &NodeClaim, node_id: NodeId) -> Option<Hindrance> {
    let node = world.node(node_id);
    if claim.initialized.is_none() {
        return Some(Hindrance::NotInitialized);
    }
    if is_leaving(world, node_id) {
        return Some(Hindrance::Leaving);
    }
    if claim.nominated_until > world.now {
        return Some(Hindrance::Nominated);
    }
    if node.annotations.get(DO_NOT_DISRUPT).is_some_and(|value| value == "true") {
        return Some(Hindrance::Annotated);
    }
    if !node.labels.contains_key(NODE_POOL) {
        return Some(Hindrance::NoLabel);
    }
    plan.pool_types.get(claim.pool.index()).is_none_or(Vec::is_empty).then_some(Hindrance::NoTypes)
}

/// Whether a node is not empty for sure, in the sense of any version of [`Candidate::is_empty`]: cheap to ask.
pub fn is_occupied(world: &World, burdens: &Burdens, node: NodeId) -> bool {
    let mut pods = world.node(node).pods.iter();
    pods.any(|&pod| is_reschedulable(world, pod) && burdens.of(world.pod(pod).template).cost >= 0.5)
}

/// Whether the pods of nodes forbid something: as [`pod_block`], without a word.
struct Holds<'w> {
    world: &'w World,
    burdens: &'w Burdens,
    /// A budget that allows something holds nothing up, unless there are several.
    may_hold: bool,
}

impl<'w> Holds<'w> {
    fn new(world: &'w World, burdens: &'w Burdens) -> Holds<'w> {
        let may_hold = world.pdbs.len() > 1 || world.pdbs.iter().any(|pdb| pdb.disruptions_allowed == 0);
        Holds { world, burdens, may_hold }
    }

    /// Whether some pods of a node do. Most classes of pods forbid nothing, whatever becomes of each pod.
    fn any(&self, node: NodeId) -> bool {
        let Holds { world, burdens, may_hold } = *self;
        let budget = |burden: &Burden| if may_hold { burden.budget(world) } else { None };
        let weighs = |burden: &Burden| burden.annotated || budget(burden).is_some();
        let mut held = world.census().on(node).iter();
        let any = held.any(|held| held.count.staying() > 0 && weighs(burdens.of(held.template)))
            && world.node(node).pods.iter().any(|&pod| {
                let (entry, burden) = (world.pod(pod), burdens.of(world.pod(pod).template));
                let by_budget = || budget(burden).is_some_and(|budget| holds(entry, budget, Blocks::Now).is_some());
                entry.is_active() && ((burden.annotated && forbids_disruption(world, pod)) || by_budget())
            });
        debug_assert_eq!(any, pod_block(world, &world.node(node).pods).is_some());
        any
    }
}

/// What the pods of a node forbid: first annotations, then budgets, each by name of the pod.
fn pod_block(world: &World, pods: &[PodId]) -> Option<String> {
    let name = |pod: PodId| (world.template_of(pod).namespace.as_str(), world.pod_name(pod));
    let first = |holds: &dyn Fn(PodId) -> bool| {
        pods.iter().copied().filter(|&pod| holds(pod)).min_by(|&one, &two| name(one).cmp(&name(two)))
    };
    if let Some(pod) = first(&|pod| world.pod(pod).is_active() && forbids_disruption(world, pod)) {
        let (namespace, pod) = name(pod);
        return Some(format!("pod has {DO_NOT_DISRUPT:?} annotation (Pod={namespace}/{pod})"));
    }
    let held = first(&|pod| eviction_hold(world, pod, Blocks::Now).is_some());
    held.and_then(|pod| budget_block(world, pod, Blocks::Now))
}

/// Prices and costs of a managed node, whether or not it may be disrupted.
fn weigh((plan, memo, burdens): (&Plan, &Memo, &Burdens), world: &World, id: ClaimId, node_id: NodeId) -> Candidate {
    let (claim, node) = (world.claim(id), world.node(node_id));
    let NodeOffering { instance_type, zone, capacity_type, has_capacity_type, has_zone } =
        memo.offering(plan, world, claim.pool, node_id);
    let mut pods: Vec<PodId> = Vec::with_capacity(node.pods.len());
    // Sums begin where those of iterators do.
    let (mut moved, mut all) = (-0.0, -0.0);
    for &pod in &node.pods {
        let cost = burdens.of(world.pod(pod).template).cost;
        all += cost;
        if is_reschedulable(world, pod) {
            moved += cost.max(0.0);
            pods.push(pod);
        }
    }
    Candidate {
        claim: id,
        node: node_id,
        name: node.name.clone(),
        pool: claim.pool,
        instance_type,
        capacity_type,
        has_capacity_type,
        has_zone,
        price: price((plan, world), instance_type, zone, capacity_type),
        reschedule: 1.0 + moved,
        legacy: all * remaining_life(world, id),
        pods,
    }
}

/// Price of a type in a zone, to be had now or not; 0 when it is unknown.
pub fn price(
    (plan, world): (&Plan, &World),
    id: Option<InstanceTypeId>,
    zone: Option<ZoneId>,
    kind: Option<CapacityType>,
) -> f64 {
    let Some(id) = id else { return 0.0 };
    let offerings = plan.instance_type(id).offerings.iter();
    let mut fitting = offerings.filter(|one| Some(one.zone) == zone && Some(one.capacity_type) == kind);
    fitting.next().map_or(0.0, |offering| world.prices.known(id, offering).dollars())
}

/// The share of its life that a claim has before it; 1 without expiry.
fn remaining_life(world: &World, id: ClaimId) -> f64 {
    let claim = world.claim(id);
    let Some(life) = claim.expire_after else { return 1.0 };
    let age = world.now.since(claim.created.whole_second()).seconds();
    ((life.seconds() - age) / life.seconds()).clamp(0.0, 1.0)
}
