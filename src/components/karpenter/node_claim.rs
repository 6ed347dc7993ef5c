//! Karpenter NodeClaim lifecycle: registration, initialisation, liveness, expiration, consolidatable, drift, lost instances.
//!
//! ```text
//!  Node appears ─► unregistered taint off, Registered ─ 1 s ─► Ready, startup taints gone ─► Initialized
//!  pod bound, finished, terminating ─► lastPodEventTime (10 s dedupe) ─ consolidateAfter ─► Consolidatable
//!  5 min without instance, 15 min without Node, expireAfter, instance gone ─► NodeClaim deleted
//!  NodePool edited ─► Drifted
//! ```
//!
//! Source: core `pkg/controllers/nodeclaim/{lifecycle,disruption,podevents,expiration,garbagecollection}`. The launch itself
//! is `aws::fleet`. Stored times are whole seconds, so windows end up to one second early. Left out: node repair, drift of
//! AMI, subnets and security groups, registration hooks.

use super::cluster::{self, is_compatible, is_ephemeral, unregistered_taint};
use crate::components::{Cx, Event as Any};
use crate::engine::random::Purpose;
use crate::engine::{Span, Time};
use crate::plan::{ConsolidationPolicy, NodePoolId, NodePoolSpec, Plan};
use crate::rules::requirements::{INSTANCE_TYPE, NODE_POOL, Requirements};
use crate::rules::taint::Taint;
use crate::world::{ClaimId, DisruptionReason, InstanceState, NodeClaim, Owner, PodId, World};
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

/// Which of several claims that expire at one instant is first.
const EXPIRED: Purpose = Purpose::named("node_claim.expired");

/// Labels of nodes, which all of them share.
static REGISTERED: LazyLock<Arc<str>> = LazyLock::new(|| "karpenter.sh/registered".into());
static INITIALIZED: LazyLock<Arc<str>> = LazyLock::new(|| "karpenter.sh/initialized".into());
static TRUE: LazyLock<Arc<str>> = LazyLock::new(|| "true".into());

/// Its memory.
#[derive(Default)]
pub struct NodeClaims {
    /// By claim.
    claims: Vec<OfClaim>,
    /// What was seen of each pod: bound, finished, terminating.
    seen: Vec<Seen>,
    /// The expiration controller has one worker, which rests until then.
    expiration_rests: Option<Time>,
    /// The garbage collector's next look.
    collect_at: Option<Time>,
    asked: Asked,
}

/// What is kept of one claim.
#[derive(Clone, Debug, Default)]
struct OfClaim {
    /// It was patched and rests until then.
    rests: Option<Time>,
    /// Why its condition Initialized is Unknown, as last written.
    obstacle: Option<Obstacle>,
    /// The next look that is scheduled.
    next: Option<Time>,
}

/// What pools ask of their nodes, and which claims are otherwise, with the spec that says so: another spec is looked at
/// anew. Labels of a claim are what they are from its launch on.
#[derive(Debug, Default)]
pub struct Asked {
    pools: BTreeMap<NodePoolId, (Arc<NodePoolSpec>, Requirements)>,
    claims: Vec<Option<(Arc<NodePoolSpec>, Option<Drift>)>>,
}

impl Asked {
    fn of(&mut self, pool: NodePoolId, spec: &Arc<NodePoolSpec>) -> &Requirements {
        let found = || (spec.clone(), Requirements::of(&spec.requirements));
        let known = self.pools.entry(pool).or_insert_with(found);
        if !Arc::ptr_eq(&known.0, spec) {
            *known = found();
        }
        &known.1
    }

    /// How a launched claim differs from its pool.
    fn difference(&mut self, claim: &NodeClaim, pool: &Arc<NodePoolSpec>) -> Option<Drift> {
        let known = self.claims.get(claim.id.index()).and_then(Option::as_ref);
        if let Some((_, found)) = known.filter(|(spec, _)| Arc::ptr_eq(spec, pool)) {
            let found = found.clone();
            debug_assert_eq!(found, self.difference_now(claim, pool), "labels changed after the launch");
            return found;
        }
        let found = self.difference_now(claim, pool);
        if self.claims.len() <= claim.id.index() {
            self.claims.resize(claim.id.index() + 1, None);
        }
        self.claims[claim.id.index()] = Some((pool.clone(), found.clone()));
        found
    }

    fn difference_now(&mut self, claim: &NodeClaim, pool: &Arc<NodePoolSpec>) -> Option<Drift> {
        if claim.made_from.is_made_differently(pool) {
            return Some(Drift::NodePool);
        }
        (!self.of(claim.pool, pool).met_by_labels(&claim.labels)).then_some(Drift::Requirements)
    }
}

/// What pods have been through; each step is one pod event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Seen {
    bound: bool,
    finished: bool,
    terminating: bool,
}

/// Why it may be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// Look at a NodeClaim again.
    Reconcile(ClaimId),
    /// Something happened to a pod on a managed node.
    Pod(PodId),
    /// A NodePool changed.
    Pool(NodePoolId),
    /// An instance is gone: the garbage collector will have something to do.
    InstanceGone,
    /// The garbage collector runs.
    Collect,
}

impl NodeClaims {
    /// Schedules the first events. Pods that are bound at the start are no news.
    pub fn start(&mut self, cx: &mut Cx) {
        self.seen = cx.world.pods.iter().map(|pod| observe(cx.world, pod.id)).collect();
        let claims: Vec<ClaimId> = cx.world.claims.iter().map(|claim| claim.id).collect();
        for claim in claims {
            self.reconcile(cx, claim);
        }
    }

    /// Observe, decide, apply, schedule.
    pub fn handle(&mut self, cx: &mut Cx, event: Event) {
        match event {
            Event::Reconcile(claim) => self.reconcile(cx, claim),
            Event::Pod(pod) => self.pod(cx, pod),
            Event::Pool(pool) => {
                let of_pool = cx.world.claims.iter().filter(|claim| claim.gone.is_none() && claim.pool == pool);
                let claims: Vec<ClaimId> = of_pool.map(|claim| claim.id).collect();
                for claim in claims {
                    self.reconcile(cx, claim);
                }
            }
            Event::InstanceGone => self.schedule_collection(cx),
            Event::Collect => self.collect(cx),
        }
    }

    fn reconcile(&mut self, cx: &mut Cx, id: ClaimId) {
        let now = cx.now;
        let kept = self.of(id);
        kept.next = kept.next.filter(|&next| next > now);
        if !cx.world.claim(id).is_active() {
            kept.rests = None;
            return;
        }
        let is_resting = kept.rests.is_some_and(|until| now < until);
        if !is_resting && self.advance(cx, id) {
            self.of(id).rests = Some(now + cx.plan.flags.karpenter.patch_pause);
        }
        match overdue(cx, id) {
            Some(DisruptionReason::Expired) if self.expire(cx, id) => return,
            Some(DisruptionReason::Expired) | None => {}
            Some(reason) => return cx.world.delete_claim(id, reason),
        }
        let before = cx.world.claim(id).drifted;
        let again = refresh_conditions(cx.plan, cx.world, id, &mut self.asked);
        if let (None, Some(_)) = (before, cx.world.claim(id).drifted)
            && let Some(why) = drift(cx.plan, cx.world, cx.world.claim(id), &mut self.asked)
        {
            let name = cx.world.claim(id).name.clone();
            cx.explain(|| format!("Karpenter finds that NodeClaim {name} has drifted: {}", why.reason()));
        }
        // The lifecycle controller rests after a patch; what came meanwhile is seen at the end of the rest.
        let rested = self.of(id).rests;
        let deadlines = deadlines(cx, id).into_iter().flatten().chain(again).chain(rested);
        if let Some(next) = deadlines.filter(|&at| at > cx.now).min() {
            self.look_again(cx, id, next);
        }
    }

    /// Deletes an expired claim, or another one that expired at the same instant and comes first; whether it was this one. The
    /// controller's only worker rests after each: others wait.
    fn expire(&mut self, cx: &mut Cx, id: ClaimId) -> bool {
        let rests = self.expiration_rests.filter(|&until| cx.now < until);
        let until = rests.unwrap_or(cx.now + cx.plan.flags.karpenter.expiration_pause);
        if rests.is_none() {
            let ends = |claim: &NodeClaim| claim.expire_after.map(|after| claim.created.whole_second() + after);
            let end = ends(cx.world.claim(id));
            let equals = cx.world.claims.iter().filter(|claim| claim.is_active() && ends(claim) == end);
            let equals: Vec<ClaimId> = equals.map(|claim| claim.id).collect();
            let first = equals[cx.pick(EXPIRED, cx.world.claim(id).key(), equals.len())];
            self.expiration_rests = Some(until);
            cx.world.delete_claim(first, DisruptionReason::Expired);
            if first == id {
                return true;
            }
        }
        self.look_again(cx, id, until);
        false
    }

    /// Registration, then initialisation or what stands in its way, at most one of them at a time; true when something was
    /// written.
    fn advance(&mut self, cx: &mut Cx, id: ClaimId) -> bool {
        let claim = cx.world.claim(id);
        let Some(node) = claim.node.filter(|&node| cx.world.node(node).gone.is_none()) else { return false };
        if claim.launched.is_none() || claim.initialized.is_some() {
            return false;
        }
        let obstacle = obstacle(cx.world, claim);
        if claim.registered.is_none() {
            cx.world.remove_taint(node, &unregistered_taint());
            cx.world.set_node_label(node, REGISTERED.clone(), TRUE.clone());
            cx.world.register_claim(id);
            let kept = &mut self.of(id).obstacle;
            *kept = obstacle.or(kept.take());
            return true;
        }
        match obstacle {
            None => {
                self.of(id).obstacle = None;
                cx.world.set_node_label(node, INITIALIZED.clone(), TRUE.clone());
                cx.world.initialize_claim(id);
                true
            }
            Some(obstacle) => {
                let kept = &mut self.of(id).obstacle;
                let is_new = kept.as_ref() != Some(&obstacle);
                *kept = Some(obstacle);
                is_new
            }
        }
    }

    fn of(&mut self, id: ClaimId) -> &mut OfClaim {
        if self.claims.len() <= id.index() {
            self.claims.resize_with(id.index() + 1, OfClaim::default);
        }
        &mut self.claims[id.index()]
    }

    fn look_again(&mut self, cx: &mut Cx, id: ClaimId, at: Time) {
        let next = &mut self.of(id).next;
        if at > cx.plan.until || next.is_some_and(|next| next > cx.now && next <= at) {
            return;
        }
        *next = Some(at);
        cx.at(at, Any::NodeClaim(Event::Reconcile(id)));
    }

    /// A pod event: bound, finished or terminating for the first time.
    fn pod(&mut self, cx: &mut Cx, pod: PodId) {
        if self.seen.len() < cx.world.pods.len() {
            self.seen.resize(cx.world.pods.len(), Seen::default());
        }
        let seen = observe(cx.world, pod);
        if std::mem::replace(&mut self.seen[pod.index()], seen) == seen {
            return;
        }
        if let Some(id) = note_pod_event(cx.plan, cx.world, pod) {
            self.reconcile(cx, id);
        }
    }

    /// The next run of the garbage collector, on its two-minute grid.
    fn schedule_collection(&mut self, cx: &mut Cx) {
        if self.collect_at.is_some_and(|at| at > cx.now) {
            return;
        }
        let period = cx.plan.flags.karpenter.garbage_collection;
        let runs = cx.now.since(cx.plan.start).micros() / period.micros().max(1) + 1;
        let at = cx.plan.start + period * runs;
        self.collect_at = Some(at);
        cx.at(at, Any::NodeClaim(Event::Collect));
    }

    fn collect(&mut self, cx: &mut Cx) {
        self.collect_at = None;
        let is_gone = |claim: &&NodeClaim| {
            let instance = claim.instance.map(|id| cx.world.instances[id.index()].state);
            claim.is_active() && claim.registered.is_some() && instance == Some(InstanceState::Terminated)
        };
        let gone: Vec<ClaimId> = cx.world.claims.iter().filter(is_gone).map(|claim| claim.id).collect();
        for id in gone {
            let node = cx.world.claim(id).node.map(|node| cx.world.node(node));
            if node.is_some_and(|node| node.gone.is_none() && node.is_ready()) {
                self.schedule_collection(cx);
            } else {
                cx.world.delete_claim(id, DisruptionReason::InstanceGone);
            }
        }
    }
}

/// Something happened to a pod on a managed node: the claim that notes it now, if one does. DaemonSet pods are no event,
/// nor is what follows another within ten seconds.
pub fn note_pod_event(plan: &Plan, world: &mut World, pod: PodId) -> Option<ClaimId> {
    let entry = world.pod(pod);
    let id = entry.node.and_then(|node| world.node(node).claim)?;
    let claim = world.claim(id);
    let dedupe = plan.flags.karpenter.pod_event_dedupe;
    let recent = claim.last_pod_event.is_some_and(|last| world.now < last + dedupe);
    if matches!(entry.owner, Owner::DaemonSet(_)) || claim.gone.is_some() || recent {
        return None;
    }
    world.note_pod_event(id);
    Some(id)
}

fn observe(world: &World, pod: PodId) -> Seen {
    let entry = world.pod(pod);
    Seen { bound: entry.node.is_some(), finished: entry.is_finished(), terminating: entry.deleting_since.is_some() }
}

/// What keeps a registered claim from being initialized, in the order in which it is looked for. Each that is written is a
/// patch, after which the controller rests. Source: `nodeclaim/lifecycle/initialization.go`.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Obstacle {
    NotReady,
    StartupTaint(Taint),
    EphemeralTaint(Taint),
    Resource(String),
}

/// The first obstacle; `None`: it is initialized.
fn obstacle(world: &World, claim: &NodeClaim) -> Option<Obstacle> {
    let Some(node) = claim.node.map(|node| world.node(node)) else { return Some(Obstacle::NotReady) };
    if !node.is_ready() {
        return Some(Obstacle::NotReady);
    }
    let startup = claim.startup_taints.iter().find(|startup| node.has_taint(startup));
    let lacking =
        claim.requests.extended.iter().find(|(name, wanted)| **wanted != 0 && node.allocatable.extended(name) == 0);
    startup
        .map(|taint| Obstacle::StartupTaint(taint.clone()))
        .or_else(|| node.taints.iter().find(|taint| is_ephemeral(taint)).cloned().map(Obstacle::EphemeralTaint))
        .or_else(|| lacking.map(|(name, _)| Obstacle::Resource(name.clone())))
}

/// When the claim must be looked at though nothing changes: timeouts and expiry.
fn deadlines(cx: &Cx, id: ClaimId) -> [Option<Time>; 3] {
    let claim = cx.world.claim(id);
    let flags = &cx.plan.flags.karpenter;
    let created = claim.created.whole_second();
    let waits_for_launch = claim.launched.is_none() && flags.version >= (1, 7);
    let expires = claim.expire_after.filter(|_| !cx.world.node_pools[claim.pool.index()].v1beta1);
    [
        waits_for_launch.then(|| created + flags.launch_timeout),
        claim.registered.is_none().then(|| created + flags.registration_timeout),
        expires.map(|after| created + after),
    ]
}

/// Why the claim has to go by now.
fn overdue(cx: &Cx, id: ClaimId) -> Option<DisruptionReason> {
    let claim = cx.world.claim(id);
    let flags = &cx.plan.flags.karpenter;
    let age = cx.now.since(claim.created.whole_second());
    let late = (claim.launched.is_none() && flags.version >= (1, 7) && age >= flags.launch_timeout)
        || (claim.registered.is_none() && age >= flags.registration_timeout);
    if late {
        return Some(DisruptionReason::NeverJoined);
    }
    let graceful = cx.world.node_pools[claim.pool.index()].v1beta1;
    let expired = !graceful && claim.expire_after.is_some_and(|after| age >= after);
    expired.then_some(DisruptionReason::Expired)
}

/// Whether the claim may be consolidated at `now`, and when that may change by itself.
pub fn consolidatable(claim: &NodeClaim, pool: &NodePoolSpec, now: Time) -> (bool, Option<Time>) {
    let Some(initialized) = claim.initialized else { return (false, None) };
    // v1beta1: `consolidateAfter` counts with WhenEmpty only.
    let immediate = pool.v1beta1 && pool.consolidation_policy != ConsolidationPolicy::WhenEmpty;
    let after = if immediate { Some(Span::ZERO) } else { pool.consolidate_after };
    let Some(after) = after else { return (false, None) };
    let from = claim.last_pod_event.unwrap_or_else(|| initialized.whole_second());
    let at = from + after;
    (now >= at, (now < at).then_some(at))
}

/// Conditions Drifted and Consolidatable of a claim, as they are now; the moment when Consolidatable may change by itself.
/// A claim that is being deleted, or has lost the label of its pool, keeps what it has.
pub fn refresh_conditions(plan: &Plan, world: &mut World, id: ClaimId, asked: &mut Asked) -> Option<Time> {
    let claim = world.claim(id);
    if !claim.is_active() || !claim.labels.contains_key(NODE_POOL) {
        return None;
    }
    let drifted = drift(plan, world, claim, asked).is_some();
    let pool = &world.node_pools[claim.pool.index()];
    // Static pools are never consolidated: nobody looks.
    let looked_at = pool.replicas.is_none().then(|| consolidatable(claim, pool, world.now));
    world.set_drifted(id, drifted);
    let (holds, again) = looked_at?;
    world.set_consolidatable(id, holds);
    again
}

/// Why a claim is not what its pool and the cloud ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Drift {
    /// The template of its pool was changed in more than requirements.
    NodePool,
    /// Its labels do not meet the requirements of its pool.
    Requirements,
    /// Its pool no longer knows its instance type in that zone and of that capacity type.
    InstanceTypeNotFound,
    /// The cloud provider's reason.
    Provider(Arc<str>),
}

impl Drift {
    /// The condition's reason.
    pub fn reason(&self) -> &str {
        match self {
            Drift::NodePool => "NodePoolDrifted",
            Drift::Requirements => "RequirementsDrifted",
            Drift::InstanceTypeNotFound => "InstanceTypeNotFound",
            Drift::Provider(reason) => reason,
        }
    }
}

/// The first reason that holds. An instance type is only looked for once the claim is older than an hour.
pub fn drift(plan: &Plan, world: &World, claim: &NodeClaim, asked: &mut Asked) -> Option<Drift> {
    claim.launched?;
    let pool = &world.node_pools[claim.pool.index()];
    if let Some(difference) = asked.difference(claim, pool) {
        return Some(difference);
    }
    let old = world.now > claim.created.whole_second() + plan.flags.karpenter.instance_type_drift_age;
    if old && !is_known(plan, claim, &Requirements::of_labels(&claim.labels)) {
        return Some(Drift::InstanceTypeNotFound);
    }
    claim.provider_drift.clone().map(Drift::Provider)
}

/// Its pool has an offering of its type that meets its labels, to be had or not.
fn is_known(plan: &Plan, claim: &NodeClaim, labels: &Requirements) -> bool {
    let id = claim.labels.get(INSTANCE_TYPE).and_then(|name| cluster::pool_type(plan, claim.pool, name));
    id.is_some_and(|id| plan.instance_type(id).offerings.iter().any(|one| is_compatible(plan, one, labels)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::components::karpenter::fixture::{edit_pool, node, small_plan};
    use crate::plan::CapacityType;
    use crate::rules::requirement::{NodeOperator, NodeRequirement};

    #[test]
    fn the_window_runs_from_the_whole_second_of_the_last_pod_event() {
        let mut plan = small_plan();
        edit_pool(&mut plan, |pool| pool.consolidate_after = Some(Span::from_secs(30)));
        let mut world = World::new(&plan);
        let id = node(&plan, &mut world, "t3.medium", CapacityType::OnDemand, 0);
        world.now = plan.start + Span::from_millis(10_900);
        world.note_pod_event(id);
        let at = plan.start + Span::from_secs(40);
        let pool = &plan.node_pools[0];
        assert_eq!(consolidatable(world.claim(id), pool, world.now), (false, Some(at)));
        assert_eq!(consolidatable(world.claim(id), pool, at), (true, None));
        let never = NodePoolSpec { consolidate_after: None, ..(**pool).clone() };
        assert_eq!(consolidatable(world.claim(id), &never, at), (false, None));
        let old = NodePoolSpec { v1beta1: true, ..(**pool).clone() };
        assert!(consolidatable(world.claim(id), &old, world.now).0, "WhenUnderutilized of v1beta1 knows no delay");
    }

    #[test]
    fn a_claim_drifts_for_the_first_reason_that_holds() {
        let mut plan = small_plan();
        let mut world = World::new(&plan);
        let id = node(&plan, &mut world, "t3.medium", CapacityType::OnDemand, 0);
        let mut asked = Asked::default();
        let mut why = |plan: &Plan, world: &World| drift(plan, world, world.claim(id), &mut asked);
        assert_eq!(why(&plan, &world), None);
        world.note_provider_drift(id, Some("AMIDrift".into()));
        assert_eq!(why(&plan, &world), Some(Drift::Provider("AMIDrift".into())));
        plan.pool_types[0].clear();
        world.now = plan.start + Span::from_secs(3600);
        assert_eq!(why(&plan, &world), Some(Drift::Provider("AMIDrift".into())), "not looked for in the first hour");
        world.now += Span::from_secs(1);
        assert_eq!(why(&plan, &world), Some(Drift::InstanceTypeNotFound));
        let large = NodeRequirement::new("node.kubernetes.io/instance-type", NodeOperator::In, &["t3.large"]);
        Arc::make_mut(&mut world.node_pools[0]).requirements.push(large);
        assert_eq!(why(&plan, &world), Some(Drift::Requirements));
        Arc::make_mut(&mut world.node_pools[0]).expire_after = Some(Span::from_secs(60));
        assert_eq!(why(&plan, &world), Some(Drift::NodePool));
    }
}
