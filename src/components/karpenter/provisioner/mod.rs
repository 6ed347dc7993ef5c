//! Karpenter provisioner: batches pending pods, packs them, creates NodeClaims.
//!
//! ```text
//!  PodUnschedulable, its message, every 10 s ───┐
//!  node with the disrupted taint, every 10 s ───┴─► batcher (1 s idle, 10 s at most) ─► all claims launched?
//!        no: the batch is lost, pods come back with their next trigger      yes: solve ─► NodeClaims, nominations
//! ```
//!
//! Source: core `pkg/controllers/provisioning/{controller,provisioner,batcher}.go`. One pass at a time: what triggers during
//! a pass opens a window at its end. Left out: static pools, capacity buffers, volume validation.

pub mod batcher;
pub(in crate::components::karpenter) mod claims;
pub(in crate::components::karpenter) mod existing;
mod kept;
pub mod memo;
pub mod packing;
mod pods;
pub mod pools;
pub mod preferences;
mod refusal;
pub(in crate::components::karpenter) mod told;
pub mod topology;
mod volumes;

use super::cluster::{self, Catalog, disrupted_taint};
use crate::components::{Cx, Event as Any};
use crate::engine::Time;
use crate::plan::{Plan, Stage};
use crate::record::Decision;
use crate::world::{ClaimId, NodeId, PodId, World};
use batcher::Batcher;
use kept::Kept;
use memo::Memo;
use packing::{NewNode, Options, Results, Snapshot, solve_strictly};
use pods::{all_displaced, displaced, waiting};
use pools::exceeds_limits;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Its memory.
#[derive(Default)]
pub struct Provisioner {
    batcher: Batcher,
    catalog: Option<Arc<Catalog>>,
    memo: Memo,
    /// By pod, when it triggers again.
    pods: Vec<Option<Time>>,
    /// When each node triggers again.
    nodes: BTreeMap<NodeId, Time>,
    /// The plan of the pass that is being computed.
    planned: Option<Arc<Results>>,
    /// That of the last pass, for one that sees the same.
    kept: Option<Kept>,
    passes: u64,
}

/// Why it may be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// A pod is unschedulable, or its object changed while it is.
    Pod(PodId),
    /// It may be so ten seconds later still.
    PodAgain(PodId),
    /// Taints of a managed node changed.
    Node(NodeId),
    /// It may have the disrupted taint ten seconds later still.
    NodeAgain(NodeId),
    /// The batch may be full.
    Batch,
    /// The plan is computed.
    Planned,
}

impl Provisioner {
    /// The catalogue of the plan, made once for all of Karpenter.
    pub fn read(&mut self, catalog: Arc<Catalog>) {
        self.catalog = Some(catalog);
    }

    /// Schedules the first events.
    pub fn start(&mut self, cx: &mut Cx) {
        let waiting: Vec<PodId> = cx.world.pods.iter().filter(|pod| pod.unschedulable).map(|pod| pod.id).collect();
        for pod in waiting {
            cx.at(cx.now, Any::Provisioner(Event::Pod(pod)));
        }
    }

    /// Observe, decide, apply, schedule.
    pub fn handle(&mut self, cx: &mut Cx, event: Event) {
        match event {
            Event::Pod(pod) => self.pod(cx, pod),
            Event::PodAgain(pod) if self.pod_again(pod).is_some_and(|again| again <= cx.now) => self.pod(cx, pod),
            Event::Node(node) => self.node(cx, node),
            Event::NodeAgain(node) if self.nodes.get(&node).is_some_and(|&again| again <= cx.now) => {
                self.node(cx, node);
            }
            Event::PodAgain(_) | Event::NodeAgain(_) => {}
            Event::Batch => self.batch(cx),
            Event::Planned => self.planned(cx),
        }
    }

    fn pod(&mut self, cx: &mut Cx, pod: PodId) {
        if cx.world.node_pools.is_empty() || !cluster::is_provisionable(cx.world, pod) {
            if let Some(again) = self.pods.get_mut(pod.index()) {
                *again = None;
            }
            return;
        }
        self.trigger(cx, u64::from(pod.0) << 1);
        if let Some(again) = look_again(cx, self.pod_again(pod)) {
            if self.pods.len() <= pod.index() {
                self.pods.resize(pod.index() + 1, None);
            }
            self.pods[pod.index()] = Some(again);
            cx.at(again, Any::Provisioner(Event::PodAgain(pod)));
        }
    }

    fn pod_again(&self, pod: PodId) -> Option<Time> {
        self.pods.get(pod.index()).copied().flatten()
    }

    fn node(&mut self, cx: &mut Cx, node: NodeId) {
        let entry = cx.world.node(node);
        if entry.gone.is_some() || !entry.has_taint(disrupted_taint()) {
            self.nodes.remove(&node);
            return;
        }
        self.trigger(cx, u64::from(node.0) << 1 | 1);
        if let Some(again) = look_again(cx, self.nodes.get(&node).copied()) {
            self.nodes.insert(node, again);
            cx.at(again, Any::Provisioner(Event::NodeAgain(node)));
        }
    }

    fn trigger(&mut self, cx: &mut Cx, key: u64) {
        let dedupe = cx.plan.flags.karpenter.version >= (1, 0);
        if self.batcher.trigger(key, cx.now, dedupe) {
            self.wait(cx);
        }
    }

    fn wait(&mut self, cx: &mut Cx) {
        let flags = &cx.plan.flags.karpenter;
        if let Some(deadline) = self.batcher.deadline(flags.batch_idle, flags.batch_max) {
            cx.at(deadline, Any::Provisioner(Event::Batch));
        }
    }

    fn batch(&mut self, cx: &mut Cx) {
        let flags = &cx.plan.flags.karpenter;
        match self.batcher.deadline(flags.batch_idle, flags.batch_max) {
            Some(deadline) if deadline <= cx.now => self.batcher.close(),
            Some(_) => return self.wait(cx),
            None => return,
        }
        if !cluster::is_synced(cx.world) {
            cx.explain(|| {
                "Karpenter drops a batch: a NodeClaim has no instance yet; its pods trigger it again".to_string()
            });
            return self.finish(cx);
        }
        let catalog = self.catalog.get_or_insert_with(|| Arc::new(Catalog::of(cx.plan)));
        let tells = cx.recorder.explains();
        let options = Options { settled_only_but: None, tells, memo: self.memo.clone() };
        let (count, results) = plan_pass((cx.plan, cx.world, catalog), options, &mut self.kept);
        if count == 0 {
            return self.finish(cx);
        }
        cx.world.note_batch(count);
        self.passes += 1;
        self.planned = Some(results);
        let span = cx.delay(Stage::KarpenterSolve, self.passes);
        cx.after(span, Any::Provisioner(Event::Planned));
    }

    fn planned(&mut self, cx: &mut Cx) {
        if let Some(results) = self.planned.take() {
            let created = create(cx, &results);
            nominate(cx, &results);
            note_unplaced(cx, &results);
            if cx.recorder.explains() {
                let catalog = self.catalog.get_or_insert_with(|| Arc::new(Catalog::of(cx.plan)));
                let told = told::placements((cx.plan, cx.world, catalog), &results, &created);
                told.into_iter().for_each(|told| cx.recorder.decide(cx.now, || Decision::Placement(told)));
            }
        }
        self.finish(cx);
    }

    fn finish(&mut self, cx: &mut Cx) {
        if self.batcher.finish(cx.now) {
            self.wait(cx);
        }
    }
}

/// When to look at an object again that triggers now, unless an earlier look ahead stays. Karpenter 1.13 came with the priority
/// queue of controller-runtime 0.23 (`priorityqueue.go`, `lockedAddWithOpts`), in which an object is waiting once: news of it
/// take the look to come with them, and the ten seconds begin anew. Before, the earliest look stayed (client-go
/// `delaying_queue.go`, `insert`).
fn look_again(cx: &Cx, ahead: Option<Time>) -> Option<Time> {
    let karpenter = &cx.plan.flags.karpenter;
    let stays = karpenter.version < (1, 13) && ahead.is_some_and(|again| again > cx.now);
    (!stays).then(|| cx.now + karpenter.retrigger)
}

/// One pass: how many pods were considered, and the plan.
pub fn decide(plan: &Plan, world: &World, catalog: &Catalog) -> (u32, Arc<Results>) {
    plan_pass((plan, world, catalog), Options::default(), &mut None)
}

/// As [`decide`], by these rules, with what passes before it have found out, and with the plan of the last one.
fn plan_pass(
    scene @ (plan, world, catalog): (&Plan, &World, &Catalog),
    options: Options,
    kept: &mut Option<Kept>,
) -> (u32, Arc<Results>) {
    let (mut pods, ignored) = waiting(world, &options.memo);
    let waiting = pods.len();
    pods.extend(all_displaced(world));
    // Without a pool nothing is planned, and nobody is told why.
    let none = |ignored| (0, Arc::new(Results { ignored, ..Results::default() }));
    if pods.is_empty() || !world.node_pools.iter().any(|spec| pools::is_eligible(spec)) {
        return none(ignored);
    }
    let keeps = ignored.is_empty();
    let known = (&options.memo, options.tells);
    let same = kept.as_mut().filter(|_| keeps).and_then(|kept| kept.plan_of(scene, known, &pods));
    if let (Some(results), false) = (&same, cfg!(debug_assertions)) {
        return (count(&pods), results.clone());
    }
    let nodes = cluster::state_nodes(plan, world);
    let seen = if keeps { pods.clone() } else { Vec::new() };
    pods.truncate(waiting);
    pods.extend(displaced(world, &nodes));
    list_order(world, &mut pods);
    let nodes = nodes.iter().filter(|node| !node.leaving).collect();
    let (count, memo) = (count(&pods), options.memo.clone());
    let results = solve_strictly(&Snapshot { plan, world, catalog, nodes, pods, options });
    if let Some(same) = same {
        assert!(same.does_the_same(&results), "a plan was kept although something had changed: {same:?} {results:?}");
        return (count, same);
    }
    let results = Arc::new(Results { ignored, ..results });
    *kept = if keeps { Kept::of(world, &memo, &seen, &results) } else { None };
    (count, results)
}

fn count(pods: &[PodId]) -> u32 {
    u32::try_from(pods.len()).unwrap_or(u32::MAX)
}

/// The order of the API's lists: namespace, then name. It only decides who creates a shared topology group.
pub fn list_order(world: &World, pods: &mut [PodId]) {
    let plain = |pod: &PodId| topology::topology_keys(world.template_of(*pod)).next().is_none();
    if !pods.iter().all(plain) {
        pods.sort_by_cached_key(|&pod| (world.template_of(pod).namespace.clone(), world.pod_name(pod)));
    }
}

/// Claims of a plan that may be created: those of pools that are not over their limits already.
pub fn creatable<'a>(plan: &Plan, world: &World, results: &'a Results) -> Vec<&'a NewNode> {
    // Only limits ask what is there already.
    let is_limited = |claim: &NewNode| world.node_pools[claim.pool.index()].limits.is_some();
    let limited = results.claims.iter().any(is_limited);
    let nodes = if limited { cluster::state_nodes(plan, world) } else { Vec::new() };
    results.claims.iter().filter(|claim| !exceeds_limits(world, &nodes, claim.pool)).collect()
}

/// Creates the claims of a plan, all at once; those that were created, in the order of the plan.
fn create(cx: &mut Cx, results: &Results) -> Vec<Option<ClaimId>> {
    if results.claims.is_empty() {
        return Vec::new();
    }
    let allowed: Vec<bool> = {
        let allowed = creatable(cx.plan, cx.world, results);
        let is_allowed = |claim: &NewNode| allowed.iter().any(|&other| std::ptr::eq(other, claim));
        results.claims.iter().map(is_allowed).collect()
    };
    let created = results.claims.iter().zip(allowed).map(|(claim, allowed)| {
        allowed.then(|| {
            let id = cx.world.create_claim(claim.claim(cx.plan, cx.world));
            let leaving = |&pod: &PodId| cx.world.node(cx.world.pod(pod).node?).claim;
            let old: BTreeSet<ClaimId> = claim.pods.iter().filter_map(leaving).collect();
            cx.world.note_replaces(id, old);
            id
        })
    });
    created.collect()
}

/// Protects existing nodes that pods were planned on.
fn nominate(cx: &mut Cx, results: &Results) {
    let until = cx.now + cx.plan.flags.karpenter.nomination;
    for claim in results.existing.iter().filter_map(|placed| placed.claim) {
        cx.world.nominate_claim(claim, until);
    }
}

/// Notes why pods have no node, for those that will ask at the end.
fn note_unplaced(cx: &mut Cx, results: &Results) {
    let now = cx.now;
    let unplaced = &mut cx.recorder.unplaced;
    for (pod, refusals) in &results.errors {
        unplaced.insert(*pod, (now, told::first_refusal(refusals).into()));
    }
    for (pod, why) in &results.ignored {
        unplaced.insert(*pod, (now, why.clone().into()));
    }
}

#[cfg(test)]
mod tests;
