//! Karpenter disruption: the loop, its methods, the command queue.
//!
//! ```text
//!  every 10 s ─► Emptiness ─► Drift ─► Multi-node ─► Single-node      (the order depends on the version)
//!                   │            │         └──────┬──────┘
//!                   └─ 15 s ─────┼──────── 15 s ──┘ validation, the loop waits
//!                                ▼
//!  start: disrupted taint, replacements, mark, nominate ─► queue, every 1 s: replacements Initialized? ─► ClaimDeleting
//!                                                             a replacement is lost: everything is given back
//! ```
//!
//! Source: core `pkg/controllers/disruption/{controller,emptiness,drift,consolidation,queue,validation}.go`. Nothing is
//! consolidated again until something moved (or five minutes passed): the memo. Left out: static pools, capacity buffers,
//! the computing time of the loop. Pools of v1beta1 expire here: with a budget and a replacement.

pub mod budgets;
pub mod candidates;
pub mod consolidation;

use super::cluster::{self, Catalog, disrupted_taint};
use super::provisioner::pools::exceeds_limits;
use crate::components::{Cx, Event as Any};
use crate::engine::{Purpose, Span, Time};
use crate::plan::ConsolidationPolicy;
use crate::world::{ClaimId, DisruptionReason, NodeClaim, World};
use candidates::{Candidate, Class};
use consolidation::{Move, Scene};
use std::collections::BTreeMap;

const PHASE: Purpose = Purpose::named("karpenter.disruption");

/// A way to disrupt nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Method {
    /// v1beta1: nodes past `expireAfter`, one at a time, with replacement.
    Expiration,
    /// Nodes that differ from their pool, one at a time, with replacement.
    Drift,
    /// Nodes without pods, all at once.
    Emptiness,
    /// Several nodes for at most one.
    MultiNode,
    /// One node for at most one.
    SingleNode,
}

impl Method {
    /// The order of a release.
    const fn order(version: (u32, u32)) -> [Method; 5] {
        use Method::{Drift, Emptiness, Expiration, MultiNode, SingleNode};
        if version.0 == 0 || version.1 < 5 {
            [Expiration, Drift, Emptiness, MultiNode, SingleNode]
        } else {
            [Expiration, Emptiness, Drift, MultiNode, SingleNode]
        }
    }

    /// What the claims are told.
    pub const fn reason(self) -> DisruptionReason {
        match self {
            Method::Expiration => DisruptionReason::Expired,
            Method::Drift => DisruptionReason::Drifted,
            Method::Emptiness => DisruptionReason::Empty,
            Method::MultiNode | Method::SingleNode => DisruptionReason::Underutilized,
        }
    }

    /// The reason that budgets name.
    const fn budget_reason(self) -> &'static str {
        match self {
            Method::Expiration => "Expired",
            Method::Drift => "Drifted",
            Method::Emptiness => "Empty",
            Method::MultiNode | Method::SingleNode => "Underutilized",
        }
    }

    const fn class(self) -> Class {
        match self {
            Method::Expiration | Method::Drift => Class::Eventual,
            Method::Emptiness | Method::MultiNode | Method::SingleNode => Class::Graceful,
        }
    }

    /// Whether a claim may pass the filter, whatever runs on it: most do not, and this is cheap to ask.
    fn concerns(self, world: &World, claim: &NodeClaim) -> bool {
        match self {
            Method::Expiration => world.node_pools[claim.pool.index()].v1beta1,
            Method::Drift => claim.drifted.is_some(),
            Method::Emptiness | Method::MultiNode | Method::SingleNode => claim.consolidatable.is_some(),
        }
    }

    /// The filter of the method.
    fn accepts(self, world: &World, version: (u32, u32), candidate: &Candidate) -> bool {
        let claim = world.claim(candidate.claim);
        let pool = &world.node_pools[candidate.pool.index()];
        let waits = claim.consolidatable.is_some() && (pool.consolidate_after.is_some() || pool.v1beta1);
        let empty = candidate.is_empty(version);
        match self {
            Method::Expiration => {
                let age = world.now.since(claim.created.whole_second());
                pool.v1beta1 && claim.expire_after.is_some_and(|after| age >= after)
            }
            Method::Drift => claim.drifted.is_some() && !(empty && matches!(version, (1, 5 | 6))),
            Method::Emptiness => empty && waits && pool.replicas.is_none(),
            Method::MultiNode | Method::SingleNode => {
                let policy = pool.consolidation_policy != ConsolidationPolicy::WhenEmpty;
                !empty && waits && policy && candidate.labelled && pool.replicas.is_none()
            }
        }
    }
}

/// A command that waits for its validation.
#[derive(Clone, Debug)]
struct Pending {
    method: usize,
    found: Move,
    at: Time,
}

/// A command in the queue.
#[derive(Clone, Debug)]
struct Command {
    reason: DisruptionReason,
    candidates: Vec<ClaimId>,
    replacements: Vec<ClaimId>,
    started: Time,
}

/// What a method came to.
enum Found {
    Nothing,
    Start(Move),
    Validate(Move),
}

/// Its memory.
#[derive(Default)]
pub struct Disruption {
    catalog: Option<Catalog>,
    /// When the loop looks next.
    poll_at: Time,
    validating: Option<Pending>,
    commands: Vec<Command>,
    /// When the queue is polled next.
    queue_at: Time,
    /// Counts what makes consolidation worth computing again.
    state: u64,
    state_since: Time,
    /// The state in which each method found nothing.
    memo: BTreeMap<Method, u64>,
}

/// Why it may be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// The loop looks again.
    Poll,
    /// Something happened that makes consolidation worth computing again.
    Unconsolidated,
    /// The wait before validation is over.
    Validate,
    /// The queue looks at its commands.
    Queue,
}

impl Disruption {
    /// Schedules the first events.
    pub fn start(&mut self, cx: &mut Cx) {
        self.state = 1;
        self.state_since = cx.now;
        if !cx.plan.node_pools.is_empty() {
            self.poll_at = cx.now + cx.phase(PHASE, 0, cx.plan.flags.karpenter.disruption_period);
            cx.at(self.poll_at, Any::Disruption(Event::Poll));
        }
    }

    /// Observe, decide, apply, schedule.
    pub fn handle(&mut self, cx: &mut Cx, event: Event) {
        match event {
            Event::Poll => {
                if cx.now >= self.poll_at && self.validating.is_none() {
                    self.pass(cx, 0);
                }
            }
            Event::Unconsolidated => self.moved(cx.now),
            Event::Validate => {
                if let Some(pending) = self.validating.take_if(|pending| pending.at <= cx.now) {
                    self.validate(cx, pending);
                }
            }
            Event::Queue => self.poll_queue(cx),
        }
    }

    fn moved(&mut self, now: Time) {
        self.state += 1;
        self.state_since = now;
    }

    fn poll_after(&mut self, cx: &mut Cx, span: Span) {
        self.poll_at = cx.now + span;
        cx.at(self.poll_at, Any::Disruption(Event::Poll));
    }

    /// The methods in order, from the `first`.
    fn pass(&mut self, cx: &mut Cx, first: usize) {
        let flags = &cx.plan.flags.karpenter;
        if !cluster::is_synced(cx.world) {
            return self.poll_after(cx, flags.queue_period);
        }
        if cx.now.since(self.state_since) >= flags.memo {
            self.moved(cx.now);
        }
        let order = Method::order(flags.version);
        // Nothing changes while methods find nothing: candidates of a class are looked at once.
        let mut seen = None;
        for (index, &method) in order.iter().enumerate().skip(first) {
            match self.compute(cx, method, &mut seen) {
                Found::Nothing => {}
                Found::Start(found) => {
                    let again = self.begin(cx, method, &found);
                    return self.poll_after(cx, again);
                }
                Found::Validate(found) => {
                    let at = cx.now + flags.validation_delay;
                    self.validating = Some(Pending { method: index, found, at });
                    return cx.at(at, Any::Disruption(Event::Validate));
                }
            }
        }
        self.poll_after(cx, flags.disruption_period);
    }

    fn compute(&mut self, cx: &mut Cx, method: Method, seen: &mut Option<Vec<Candidate>>) -> Found {
        let version = cx.plan.flags.karpenter.version;
        let remembers = matches!(method, Method::Emptiness | Method::MultiNode | Method::SingleNode);
        if remembers && self.memo.get(&method) == Some(&self.state) {
            return Found::Nothing;
        }
        let look = || {
            let concerned = |claim: &NodeClaim| method.concerns(cx.world, claim);
            candidates::among(cx.plan, cx.world, method.class(), concerned)
        };
        let accepted = |candidate: &&Candidate| method.accepts(cx.world, version, candidate);
        let all: Vec<Candidate> = match method.class() {
            Class::Graceful => seen.get_or_insert_with(look).iter().filter(accepted).cloned().collect(),
            Class::Eventual => look().iter().filter(accepted).cloned().collect(),
        };
        if all.is_empty() {
            return Found::Nothing;
        }
        let catalog = self.catalog.get_or_insert_with(|| Catalog::of(cx.plan));
        let scene = Scene { plan: cx.plan, world: cx.world, catalog };
        let mut notes = Vec::new();
        let (found, constrained) = decide(scene, method, all, &mut notes);
        for note in notes {
            cx.explain(|| note);
        }
        match found {
            Some(found) if remembers => Found::Validate(found),
            Some(found) => Found::Start(found),
            None => {
                if remembers && !constrained {
                    self.memo.insert(method, self.state);
                }
                Found::Nothing
            }
        }
    }

    /// Fifteen seconds later: is it still true?
    fn validate(&mut self, cx: &mut Cx, pending: Pending) {
        let method = Method::order(cx.plan.flags.karpenter.version)[pending.method];
        let catalog = self.catalog.get_or_insert_with(|| Catalog::of(cx.plan));
        let scene = Scene { plan: cx.plan, world: cx.world, catalog };
        match still_holds(scene, method, pending.found) {
            Ok(found) => {
                let again = self.begin(cx, method, &found);
                self.poll_after(cx, again);
            }
            Err(reason) => {
                cx.explain(|| format!("karpenter: a {} command was given up: {reason}", method.reason().name()));
                self.pass(cx, pending.method + 1);
            }
        }
    }

    /// Taints, creates replacements, marks, nominates, enqueues. When the loop is to look again: at once, or later when the
    /// command could not begin.
    fn begin(&mut self, cx: &mut Cx, method: Method, found: &Move) -> Span {
        let nodes = cluster::state_nodes(cx.plan, cx.world);
        if found.replacements().iter().any(|claim| exceeds_limits(cx.world, &nodes, claim.pool)) {
            cx.explain(|| "karpenter: a replacement would exceed the limits of its NodePool".to_string());
            return cx.plan.flags.karpenter.disruption_period;
        }
        let names: Vec<String> = found.candidates.iter().map(|one| one.name.to_string()).collect();
        let count = found.replacements().len();
        cx.explain(|| {
            let reason = method.reason().name();
            let with = if count == 0 { "deleted".to_string() } else { format!("replaced by {count} new") };
            format!("karpenter: {} {with}: {reason}", names.join(", "))
        });
        for candidate in &found.candidates {
            cx.world.add_taint(candidate.node, disrupted_taint());
        }
        let replacements: Vec<ClaimId> =
            found.replacements().iter().map(|claim| cx.world.create_claim(claim.claim())).collect();
        for candidate in &found.candidates {
            cx.world.set_disruption(candidate.claim, Some(method.reason()));
        }
        let until = cx.now + cx.plan.flags.karpenter.nomination;
        for claim in found.results.existing.iter().filter_map(|placed| placed.claim) {
            cx.world.nominate_claim(claim, until);
        }
        self.commands.push(Command {
            reason: method.reason(),
            candidates: found.candidates.iter().map(|one| one.claim).collect(),
            replacements,
            started: cx.now,
        });
        self.queue_at = cx.now;
        cx.at(cx.now, Any::Disruption(Event::Queue));
        Span::ZERO
    }

    /// Deletes the candidates of commands whose replacements are there, and frees those of commands that failed.
    fn poll_queue(&mut self, cx: &mut Cx) {
        if cx.now < self.queue_at {
            return;
        }
        let held: usize = self.commands.iter().map(|command| command.candidates.len()).sum();
        let (least, most) = cx.plan.flags.karpenter.command_timeout;
        let scaled = Span::from_millis(80) * held as u64;
        let timeout = if cx.plan.flags.karpenter.version >= (1, 7) { scaled.clamp(least, most) } else { least };
        for command in std::mem::take(&mut self.commands) {
            let replacement = |id: &ClaimId| cx.world.claim(*id);
            let lost = command.replacements.iter().any(|id| !replacement(id).is_active());
            let ready = command.replacements.iter().all(|id| replacement(id).initialized.is_some());
            if lost || (!ready && cx.now >= command.started + timeout) {
                release(cx, &command);
            } else if ready {
                for &claim in &command.candidates {
                    cx.world.delete_claim(claim, command.reason);
                }
            } else {
                self.commands.push(command);
            }
        }
        if !self.commands.is_empty() {
            self.queue_at = cx.now + cx.plan.flags.karpenter.queue_period;
            cx.at(self.queue_at, Any::Disruption(Event::Queue));
        }
    }
}

/// Gives candidates back: untainted, unmarked.
fn release(cx: &mut Cx, command: &Command) {
    for &claim in &command.candidates {
        if !cx.world.claim(claim).is_active() {
            continue;
        }
        if let Some(node) = cx.world.claim(claim).node {
            cx.world.remove_taint(node, &disrupted_taint());
        }
        cx.world.set_disruption(claim, None);
    }
}

/// What a method does with its candidates; the flag says whether budgets kept it from more.
fn decide(scene: Scene, method: Method, all: Vec<Candidate>, notes: &mut Vec<String>) -> (Option<Move>, bool) {
    let mut budgets = budgets::remaining(scene.world, method.budget_reason());
    let version = scene.plan.flags.karpenter.version;
    match method {
        Method::Emptiness => {
            let before = all.len();
            let kept: Vec<Candidate> = all.into_iter().filter(|one| budgets.take(one.pool)).collect();
            let constrained = kept.len() < before;
            ((!kept.is_empty()).then(|| Move { candidates: kept, results: Default::default() }), constrained)
        }
        Method::Drift | Method::Expiration => {
            let mut sorted = all;
            sorted.sort_by_key(|one| {
                let claim = scene.world.claim(one.claim);
                (!one.pods.is_empty(), claim.drifted.unwrap_or(claim.created).whole_second())
            });
            (one_by_one(scene, sorted, &mut budgets, notes, false), false)
        }
        Method::MultiNode => {
            let mut sorted = all;
            consolidation::sort(&mut sorted, version);
            consolidation::multi_node(scene, &sorted, &mut budgets)
        }
        Method::SingleNode => {
            let mut sorted = all;
            consolidation::sort(&mut sorted, version);
            let constrained = sorted.iter().any(|one| budgets.is_exhausted(one.pool));
            let sorted = consolidation::interleave(sorted);
            (one_by_one(scene, sorted, &mut budgets, notes, true), constrained)
        }
    }
}

/// The first candidate that has budget and whose pods all find a place (cheaper, when consolidating).
fn one_by_one(
    scene: Scene,
    sorted: Vec<Candidate>,
    budgets: &mut budgets::Remaining,
    notes: &mut Vec<String>,
    consolidating: bool,
) -> Option<Move> {
    for candidate in sorted {
        let name = candidate.name.clone();
        if budgets.is_exhausted(candidate.pool) {
            notes.push(format!("karpenter: {name} stays: the disruption budget of its NodePool is used up"));
            continue;
        }
        let found = if consolidating {
            consolidation::consolidate(scene, std::slice::from_ref(&candidate))
        } else {
            match consolidation::simulate(scene, std::slice::from_ref(&candidate), false) {
                Some((results, true)) => Ok(Move { candidates: vec![candidate], results }),
                Some((_, false)) => Err("not all pods would schedule".to_string()),
                None => Err("it is being deleted".to_string()),
            }
        };
        match found {
            Ok(found) if !consolidating || consolidation::is_worthwhile(scene, &found) => return Some(found),
            Ok(_) => notes.push(format!("karpenter: {name} stays: the saving is not worth the disruption")),
            Err(reason) => notes.push(format!("karpenter: {name} stays: {reason}")),
        }
    }
    None
}

/// The validation of a command.
fn still_holds(scene: Scene, method: Method, planned: Move) -> Result<Move, String> {
    let Scene { plan, world, .. } = scene;
    let version = plan.flags.karpenter.version;
    let mut budgets = budgets::remaining(world, method.budget_reason());
    let mut valid = Vec::new();
    for one in &planned.candidates {
        let fresh = candidates::candidate(plan, world, one.node, method.class());
        match fresh.ok().filter(|fresh| method.accepts(world, version, fresh)) {
            Some(fresh) if world.node(one.node).gone.is_none() && budgets.take(fresh.pool) => valid.push(fresh),
            _ if method == Method::Emptiness => {}
            Some(_) => return Err(format!("budgets no longer allow the disruption of {}", one.name)),
            None => return Err(format!("{} is no longer a candidate", one.name)),
        }
    }
    if method == Method::Emptiness {
        let found = Move { candidates: valid, results: planned.results };
        return if found.candidates.is_empty() { Err("no node is empty any more".to_string()) } else { Ok(found) };
    }
    let Some((results, true)) = consolidation::simulate(scene, &valid, true) else {
        return Err("not all pods would schedule any more".to_string());
    };
    if results.claims.len() != planned.replacements().len() {
        return Err(format!("{} new nodes are needed now", results.claims.len()));
    }
    let same = |one: &super::provisioner::packing::NewNode, two: &super::provisioner::packing::NewNode| {
        one.types.iter().all(|id| two.types.contains(id))
    };
    if !planned.replacements().iter().zip(&results.claims).all(|(one, two)| same(one, two)) {
        return Err("the replacement would be another one now".to_string());
    }
    Ok(planned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::components::karpenter::fixture::{edit_pool, node, small_plan};
    use crate::plan::{CapacityType, Plan};

    fn methods(plan: &Plan, world: &World) -> Vec<(Method, usize)> {
        let catalog = Catalog::of(plan);
        let scene = Scene { plan, world, catalog: &catalog };
        Method::order(plan.flags.karpenter.version)
            .into_iter()
            .filter_map(|method| {
                let mut all = candidates::candidates(plan, world, method.class());
                all.retain(|one| method.accepts(world, plan.flags.karpenter.version, one));
                let found = (!all.is_empty()).then(|| decide(scene, method, all, &mut Vec::new()).0)??;
                Some((method, found.candidates.len()))
            })
            .collect()
    }

    #[test]
    fn empty_nodes_go_together_within_the_budget() {
        let mut plan = small_plan();
        edit_pool(&mut plan, |pool| pool.budgets = vec![budgets::always("2")]);
        let mut world = World::new(&plan);
        (0..3).for_each(|_| {
            node(&plan, &mut world, "t3.medium", CapacityType::OnDemand, 0);
        });
        assert_eq!(methods(&plan, &world), [(Method::Emptiness, 2)]);
        let pods = node(&plan, &mut world, "t3.medium", CapacityType::OnDemand, 3);
        world.nominate_claim(pods, world.now);
        assert_eq!(methods(&plan, &world)[0], (Method::Emptiness, 2));
    }

    #[test]
    fn when_empty_leaves_nodes_with_pods_alone() {
        let mut plan = small_plan();
        edit_pool(&mut plan, |pool| pool.consolidation_policy = ConsolidationPolicy::WhenEmpty);
        let mut world = World::new(&plan);
        node(&plan, &mut world, "t3.large", CapacityType::OnDemand, 1);
        assert_eq!(methods(&plan, &world), []);
    }

    #[test]
    fn a_node_that_moved_on_fails_its_validation() {
        let plan = small_plan();
        let mut world = World::new(&plan);
        let first = node(&plan, &mut world, "t3.large", CapacityType::OnDemand, 1);
        let catalog = Catalog::of(&plan);
        let scene = Scene { plan: &plan, world: &world, catalog: &catalog };
        let all = candidates::candidates(&plan, &world, Class::Graceful);
        let (found, _) = decide(scene, Method::SingleNode, all, &mut Vec::new());
        let found = found.expect("t3.medium is cheaper");
        assert!(still_holds(scene, Method::SingleNode, found.clone()).is_ok());
        let mut later = world.clone();
        later.nominate_claim(first, later.now + Span::from_secs(1));
        let scene = Scene { world: &later, ..scene };
        assert!(still_holds(scene, Method::SingleNode, found).is_err());
    }

    #[test]
    fn a_pool_over_its_limits_gets_no_replacement() {
        let mut plan = small_plan();
        edit_pool(&mut plan, |pool| {
            let cpu = Some(crate::rules::quantity::Millicores(1));
            pool.limits = Some(crate::rules::resources::ResourceList { cpu, ..Default::default() });
        });
        let mut world = World::new(&plan);
        node(&plan, &mut world, "t3.large", CapacityType::OnDemand, 1);
        let nodes = cluster::state_nodes(&plan, &world);
        assert!(exceeds_limits(&world, &nodes, crate::plan::NodePoolId(0)));
        assert_eq!(methods(&plan, &world), [], "the simulation sees the limits too: t3.medium exceeds what is left");
    }

    #[test]
    fn drift_comes_first_until_1_4_and_after_emptiness_since() {
        assert_eq!(Method::order((1, 4))[1], Method::Drift);
        assert_eq!(Method::order((1, 14))[1], Method::Emptiness);
    }
}
