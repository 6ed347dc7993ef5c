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
//! Source: core `pkg/controllers/disruption/{controller,queue}.go`. Nothing is consolidated again until something moved (or
//! five minutes passed): the memo. Left out: capacity buffers, the computing time of the loop. Pools of v1beta1 expire here:
//! with a budget and a replacement.

pub mod balanced;
mod bound;
pub mod budgets;
mod calm;
pub mod candidates;
pub mod consolidation;
pub mod decide;
pub mod method;
pub mod notes;
pub mod queue;
pub mod simulation;
mod start;
pub mod static_drift;
mod told;

use super::cluster::{self, Catalog, disrupted_taint, is_leaving};
use super::provisioner::memo::Memo;
use super::provisioner::pools::exceeded_limit;
use crate::components::{Cx, Event as Any};
use crate::engine::{Purpose, Span, Time};
use crate::record::Decision as Told;
use crate::record::decision::Stage;
use crate::world::{ClaimId, NewClaim, Node, NodeClaim, NodeId};
use budgets::Remaining;
use calm::Calm;
use candidates::{are_possible, is_occupied};
use decide::{Decision, Invalid, decide, rejection, validate};
use method::Method;
use notes::Notes;
use queue::{Commands, Standing};
use simulation::{Failure, Move, Scene};
use start::Start;
use std::cell::OnceCell;
use std::collections::BTreeSet;
use std::sync::Arc;

const PHASE: Purpose = Purpose::named("karpenter.disruption");
/// The order in which candidates come.
const ORDER: Purpose = Purpose::named("karpenter.disruption.order");

/// A command that waits for its validation.
#[derive(Clone, Debug)]
struct Pending {
    method: Method,
    found: Move,
    at: Time,
}

/// Its memory.
#[derive(Default)]
pub struct Disruption {
    catalog: Option<Arc<Catalog>>,
    /// What its simulations have found out.
    passes: Memo,
    /// When the loop looks next.
    poll_at: Time,
    validating: Option<Pending>,
    commands: Commands,
    /// Counts what makes consolidation worth computing again.
    state: u64,
    state_since: Time,
    /// The state in which each method found nothing.
    memo: [Option<u64>; Method::COUNT],
    /// Which methods had candidates to weigh in this pass.
    weighed: [bool; Method::COUNT],
    /// The last pass had nothing to weigh, or weighed in vain what it will not weigh again.
    calm: Option<Calm>,
    /// The last pass ended with it.
    error: Option<String>,
    /// Passes in a row that ended with an error.
    errors: u32,
    notes: Notes,
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
    /// The catalogue of the plan, made once for all of Karpenter.
    pub fn read(&mut self, catalog: Arc<Catalog>) {
        self.catalog = Some(catalog);
    }

    /// Schedules the first events.
    pub fn start(&mut self, cx: &mut Cx) {
        self.moved(cx.now);
        if !cx.plan.node_pools.is_empty() {
            let flags = &cx.plan.flags.karpenter;
            let phase = flags.disruption_phase.unwrap_or_else(|| cx.phase(PHASE, 0, flags.disruption_period));
            self.poll_after(cx, phase);
        }
    }

    /// Observe, decide, apply, schedule.
    pub fn handle(&mut self, cx: &mut Cx, event: Event) {
        match event {
            Event::Poll => {
                if cx.now >= self.poll_at && self.validating.is_none() {
                    self.look(cx);
                }
            }
            Event::Unconsolidated => self.moved(cx.now),
            Event::Validate => {
                if let Some(pending) = self.validating.take_if(|pending| pending.at <= cx.now) {
                    self.validated(cx, pending);
                }
            }
            Event::Queue => {
                self.look_at_commands(cx);
            }
        }
    }

    /// When the loop looks next.
    pub fn next_look(&self) -> Time {
        self.poll_at
    }

    /// Until when the loop waits for a validation, if it does.
    pub fn waits_until(&self) -> Option<Time> {
        self.validating.as_ref().map(|pending| pending.at)
    }

    /// The error with which the last pass ended.
    pub fn error(&self) -> Option<&str> {
        self.error.as_deref()
    }

    /// What was said in the last pass; nothing unless explanations are kept.
    pub fn notes(&self) -> &Notes {
        &self.notes
    }

    /// Commands under way.
    pub fn commands(&self) -> &Commands {
        &self.commands
    }

    fn catalog_of(&mut self, cx: &Cx) -> Arc<Catalog> {
        self.catalog.get_or_insert_with(|| Arc::new(Catalog::of(cx.plan))).clone()
    }

    fn moved(&mut self, now: Time) {
        self.state += 1;
        self.state_since = now;
        self.calm = self.calm.filter(|calm| !calm.recalls);
    }

    /// The present state: a new one whenever nothing has moved for five minutes.
    fn present_state(&mut self, cx: &Cx) -> u64 {
        if cx.now.since(self.state_since) >= cx.plan.flags.karpenter.memo {
            self.moved(cx.now);
        }
        self.state
    }

    fn poll_after(&mut self, cx: &mut Cx, span: Span) {
        self.poll_at = cx.now + span;
        cx.at(self.poll_at, Any::Disruption(Event::Poll));
    }

    /// One pass of the loop.
    pub fn look(&mut self, cx: &mut Cx) {
        if self.is_calm(cx) {
            return self.poll_after(cx, cx.plan.flags.karpenter.disruption_period);
        }
        self.notes = Notes::new(cx.recorder.explains());
        self.error = None;
        if !cluster::is_synced(cx.world) {
            let again = cx.plan.flags.karpenter.queue_period;
            return self.poll_after(cx, again);
        }
        self.clear_taints(cx);
        self.weighed = Default::default();
        let acts = self.has_prospects(cx) && self.go_through(cx, Method::order(cx.plan.flags.karpenter.version)[0]);
        if !acts {
            self.finish(cx, cx.plan.flags.karpenter.disruption_period);
        }
        // What was weighed in vain is not weighed again while its method rests.
        let rests = || methods(cx).all(|method| !self.weighed[method as usize] || self.rests(cx, method));
        let spares = !acts && !cx.recorder.explains() && rests();
        let recalls = || methods(cx).any(|method| self.remembers(cx, method));
        self.calm = if spares { Calm::of(cx.plan, cx.world, recalls()) } else { None };
    }

    /// A pass would find as little as the last one did.
    fn is_calm(&mut self, cx: &Cx) -> bool {
        let fresh = cx.now.since(self.state_since) < cx.plan.flags.karpenter.memo;
        let lasts = |calm: Calm| (fresh || !calm.recalls) && calm.holds(cx.world);
        let calm = self.calm.is_some_and(lasts) && cluster::is_synced(cx.world);
        debug_assert!(!calm || self.would_rest(cx), "the cluster changed, and its version did not");
        calm
    }

    /// Whether a pass has nothing to do and nothing to weigh.
    fn would_rest(&mut self, cx: &Cx) -> bool {
        self.weighed = Default::default();
        let order = Method::order(cx.plan.flags.karpenter.version);
        let mut rests = |method| self.compute(cx, method, &mut None).is_ok_and(|moves| moves.is_empty());
        order.iter().all(|&method| rests(method)) && !self.weighed.contains(&true) && cluster::is_synced(cx.world)
    }

    /// Whether some method may find candidates in this pass: where none does, there is nothing to go through, unless somebody
    /// wants to read why.
    fn has_prospects(&self, cx: &Cx) -> bool {
        if cx.recorder.explains() {
            return true;
        }
        let mut looks = [false; Method::COUNT];
        methods(cx).for_each(|method| looks[method as usize] = !self.rests(cx, method));
        let (burdens, held) = (self.passes.burdens(cx.world), self.commands.held());
        are_possible(cx.world, &burdens, &held, methods(cx).filter(|&method| looks[method as usize]))
    }

    /// Nodes that no command holds lose the taint that a failed start has left on them.
    fn clear_taints(&self, cx: &mut Cx) {
        let (taint, world) = (disrupted_taint(), &cx.world);
        if !world.nodes.iter().any(|node| node.gone.is_none() && node.has_taint(taint)) {
            return;
        }
        let held = self.commands.held();
        let left_over = |node: &&Node| {
            node.gone.is_none()
                && node.has_taint(taint)
                && node.deleting_since.is_none()
                && node.claim.is_some_and(|claim| !held.contains(&claim))
                && !is_leaving(world, node.id)
        };
        let nodes: Vec<NodeId> = world.nodes.iter().filter(left_over).map(|node| node.id).collect();
        for node in nodes {
            cx.world.remove_taint(node, taint);
        }
    }

    /// The methods in order, from `first`, until one has something to do, or fails; false: nothing comes of it.
    fn go_through(&mut self, cx: &mut Cx, first: Method) -> bool {
        let order = Method::order(cx.plan.flags.karpenter.version);
        let mut earlier = None;
        for &method in order.iter().skip_while(|&&method| method != first) {
            let moves = match self.compute(cx, method, &mut earlier) {
                Ok(moves) => moves,
                Err(error) => {
                    self.fail(cx, method, &format!("computing disruption decision, {error}"));
                    return true;
                }
            };
            if moves.is_empty() {
                continue;
            }
            if method.consolidates(cx.plan.flags.karpenter.version) {
                let at = cx.now + cx.plan.flags.karpenter.validation_delay;
                self.validating = moves.into_iter().next().map(|found| Pending { method, found, at });
                if let Some(pending) = &self.validating {
                    tell(cx, (method, &pending.found), Stage::Found(at), &[]);
                }
                cx.at(at, Any::Disruption(Event::Validate));
            } else {
                self.begin(cx, method, &moves);
            }
            return true;
        }
        false
    }

    fn finish(&mut self, cx: &mut Cx, again: Span) {
        self.errors = 0;
        self.publish(cx);
        self.poll_after(cx, again);
    }

    /// A pass that failed is repeated soon, later each time.
    fn fail(&mut self, cx: &mut Cx, method: Method, error: &str) {
        let reason = method.budget_reason().to_lowercase();
        let error = format!("disrupting, {error} ({reason}=reason)");
        cx.explain(|| format!("Karpenter's disruption fails: {error}"));
        let (first, longest) = cx.plan.flags.karpenter.error_backoff;
        let again = (first * 2_u64.pow(self.errors.min(20))).min(longest);
        self.errors += 1;
        self.error = Some(error);
        self.publish(cx);
        self.poll_after(cx, again);
    }

    /// What was said goes into the record.
    fn publish(&self, cx: &mut Cx) {
        let now = cx.now;
        for verdict in self.notes.verdicts.iter().chain(&self.notes.used_up) {
            cx.recorder.judge(now, verdict);
        }
    }

    /// What a method would do. `earlier`: what multi-node consolidation started from in this pass; nothing has changed since,
    /// and single-node consolidation starts from the same.
    fn compute(&mut self, cx: &Cx, method: Method, earlier: &mut Option<Start>) -> Result<Vec<Move>, &'static str> {
        if self.is_idle(cx, method) {
            return Ok(Vec::new());
        }
        let mut notes = std::mem::take(&mut self.notes);
        let decision = self.decide(cx, method, earlier, &mut notes);
        self.notes = notes;
        decision.map(|decision| decision.moves)
    }

    /// Whether a method would find nothing for sure: no claim is of its kind, or no node of one is empty where that is asked for,
    /// or it rests. Then candidates need not be weighed, unless somebody wants to read why they are none.
    fn is_idle(&self, cx: &Cx, method: Method) -> bool {
        if cx.recorder.explains() {
            return false;
        }
        let burdens = OnceCell::new();
        let is_busy = |node: NodeId| is_occupied(cx.world, burdens.get_or_init(|| self.passes.burdens(cx.world)), node);
        let may_take = |one: &NodeClaim| {
            one.gone.is_none()
                && method.concerns(cx.world, one)
                && !(method.wants_empty() && one.node.is_some_and(is_busy))
        };
        self.rests(cx, method) || !cx.world.claims.iter().any(may_take)
    }

    /// Nothing moved since a method found nothing. Several nodes at once are nothing either where budgets leave less than
    /// two; but what is weighed for them is what single nodes start from.
    fn rests(&self, cx: &Cx, method: Method) -> bool {
        let lonely = || {
            let single = self.remembers(cx, Method::SingleNode);
            single && budgets::remaining(cx.world, method.budget_reason(), &mut Notes::default()).total() < 2
        };
        self.remembers(cx, method) || (method == Method::MultiNode && lonely())
    }

    /// A method found nothing, and nothing moved since.
    fn remembers(&self, cx: &Cx, method: Method) -> bool {
        let flags = &cx.plan.flags.karpenter;
        method.consolidates(flags.version)
            && self.memo[method as usize] == Some(self.state)
            && cx.now.since(self.state_since) < flags.memo
    }

    fn decide(
        &mut self,
        cx: &Cx,
        method: Method,
        earlier: &mut Option<Start>,
        notes: &mut Notes,
    ) -> Result<Decision, &'static str> {
        let (catalog, held, memo) = (self.catalog_of(cx), self.commands.held(), self.passes.clone());
        let scene = Scene { plan: cx.plan, world: cx.world, catalog: &catalog, nodes: &[], held: &held, memo: &memo };
        let same = earlier.take().filter(|_| method == Method::SingleNode && !notes.are_kept());
        let mut start = same.unwrap_or_else(|| Start::of(cx, scene, method, notes));
        let decision = self.decide_from(cx, scene, method, &mut start, notes);
        *earlier = (method == Method::MultiNode).then_some(start);
        decision
    }

    fn decide_from(
        &mut self,
        cx: &Cx,
        scene: Scene,
        method: Method,
        start: &mut Start,
        notes: &mut Notes,
    ) -> Result<Decision, &'static str> {
        let Some(budgets) = start.budgets.clone() else { return Ok(Decision::default()) };
        self.weighed[method as usize] = true;
        let remembers = method.consolidates(cx.plan.flags.karpenter.version);
        if remembers {
            let state = self.present_state(cx);
            if self.memo[method as usize] == Some(state) {
                return Ok(Decision::default());
            }
        }
        let decision = match start.unweighed(cx, scene, method) {
            Some(decision) => decision,
            None => weigh(cx, scene, method, (start, budgets), notes).map_err(|error| error.text())?,
        };
        if decision.exhausted && remembers {
            let state = self.present_state(cx);
            self.memo[method as usize] = Some(state);
        }
        Ok(decision)
    }

    /// Fifteen seconds later: is it still true?
    fn validated(&mut self, cx: &mut Cx, pending: Pending) {
        let Pending { method, found, .. } = pending;
        let why = match self.check(cx, method, &found) {
            Ok(found) => return self.begin(cx, method, &[found]),
            Err(Invalid::Failed(failure)) => {
                // As upstream spells it.
                let error = format!("validating consolidation, simluating scheduling, {}", failure.text());
                return self.fail(cx, method, &format!("computing disruption decision, {error}"));
            }
            Err(why) => why.name(),
        };
        tell(cx, (method, &found), Stage::GivenUp(why), &[]);
        let order = Method::order(cx.plan.flags.karpenter.version);
        match order.iter().skip_while(|&&one| one != method).nth(1) {
            Some(&next) if self.go_through(cx, next) => {}
            _ => self.finish(cx, cx.plan.flags.karpenter.disruption_period),
        }
    }

    /// What is left of a command.
    fn check(&mut self, cx: &Cx, method: Method, found: &Move) -> Result<Move, Invalid> {
        let catalog = self.catalog_of(cx);
        let (nodes, held) = (cluster::state_nodes(cx.plan, cx.world), self.commands.held());
        let memo = self.passes.clone();
        let scene =
            Scene { plan: cx.plan, world: cx.world, catalog: &catalog, nodes: &nodes, held: &held, memo: &memo };
        let checked = validate(scene, method, found.clone(), &mut self.notes);
        // The command of several nodes is empty by then, and empty nodes are not told: one alone is.
        if let (Err(why), Method::SingleNode) = (&checked, method) {
            for one in &found.candidates {
                self.notes.rejected(one.node, || rejection(scene, found, *why));
            }
        }
        checked
    }

    /// Starts commands; the loop looks again when their writes have been made.
    fn begin(&mut self, cx: &mut Cx, method: Method, moves: &[Move]) {
        let errors: Vec<String> =
            moves.iter().filter_map(|found| self.start_command(cx, method, found).err()).collect();
        if errors.is_empty() {
            let flags = &cx.plan.flags.karpenter;
            // Writes of replacements are the last: the look that follows them at once finds the cluster not synced.
            let replaces = moves.iter().any(|found| !found.replacements().is_empty());
            let unsynced = if replaces && !flags.command_start.is_zero() { flags.queue_period } else { Span::ZERO };
            self.finish(cx, flags.command_start + unsynced);
        } else {
            let all: Vec<String> = errors.iter().map(|error| format!("disrupting candidates, {error}")).collect();
            self.fail(cx, method, &format!("disrupting candidates, {}", all.join("; ")));
        }
    }

    /// Taints, creates replacements, marks, nominates, enqueues. When a replacement may not be created, the taints stay until
    /// the next pass.
    fn start_command(&mut self, cx: &mut Cx, method: Method, found: &Move) -> Result<(), String> {
        for candidate in &found.candidates {
            cx.world.add_taint(candidate.node, disrupted_taint().clone());
        }
        let replacements = self.create_replacements(cx, found)?;
        tell(cx, (method, found), Stage::Started, &replacements);
        for candidate in &found.candidates {
            cx.world.set_disruption(candidate.claim, Some(method.reason()));
        }
        let until = cx.now + cx.plan.flags.karpenter.nomination;
        for claim in found.results.existing.iter().filter_map(|placed| placed.claim) {
            cx.world.nominate_claim(claim, until);
        }
        let candidates: Vec<ClaimId> = found.candidates.iter().map(|one| one.claim).collect();
        replacements.iter().for_each(|&new| cx.world.note_replaces(new, candidates.iter().copied()));
        let id = self.commands.add(cx.now, method.reason(), candidates, replacements);
        self.notes.started(id, method, found);
        cx.at(cx.now, Any::Disruption(Event::Queue));
        Ok(())
    }

    /// Creates the replacements that the limits of their pools allow.
    fn create_replacements(&mut self, cx: &mut Cx, found: &Move) -> Result<Vec<ClaimId>, String> {
        let (new, errors) = self.new_claims(cx, found);
        let created = new.into_iter().map(|claim| cx.world.create_claim(claim)).collect();
        if errors.is_empty() {
            Ok(created)
        } else {
            Err(format!("launching replacement nodeclaim, {}", errors.join("; ")))
        }
    }

    /// Claims to create, and why others are not.
    fn new_claims(&mut self, cx: &Cx, found: &Move) -> (Vec<NewClaim>, Vec<String>) {
        if found.replacements().is_empty() {
            return (Vec::new(), Vec::new());
        }
        let catalog = self.catalog_of(cx);
        let (nodes, held) = (cluster::state_nodes(cx.plan, cx.world), BTreeSet::new());
        let memo = self.passes.clone();
        let scene =
            Scene { plan: cx.plan, world: cx.world, catalog: &catalog, nodes: &nodes, held: &held, memo: &memo };
        let (mut claims, mut errors) = (Vec::new(), Vec::new());
        for replacement in found.replacements() {
            if let Some(error) = exceeded_limit(cx.world, &nodes, replacement.pool) {
                errors.push(format!("creating node claim, {error}"));
                continue;
            }
            let mut claim = replacement.claim(cx.plan, cx.world);
            if claim.instance_types.is_empty() {
                claim.instance_types = static_drift::types_of(scene, replacement);
            }
            claims.push(claim);
        }
        (claims, errors)
    }

    /// The queue looks at the commands that are due; where each of them stands.
    pub fn look_at_commands(&mut self, cx: &mut Cx) -> Vec<(u64, Standing)> {
        let under_way = self.commands.under_way().len();
        let standings = self.commands.look(cx);
        // Claims that no command holds any more may be candidates again.
        self.calm = self.calm.filter(|_| self.commands.under_way().len() == under_way);
        if let Some(next) = self.commands.next() {
            cx.at(next, Any::Disruption(Event::Queue));
        }
        standings
    }
}

/// The methods in their order.
fn methods(cx: &Cx) -> impl DoubleEndedIterator<Item = Method> + Clone {
    Method::order(cx.plan.flags.karpenter.version).iter().copied()
}

/// What a method makes of its candidates once they are weighed.
fn weigh(
    cx: &Cx,
    scene: Scene,
    method: Method,
    (start, budgets): (&mut Start, Remaining),
    notes: &mut Notes,
) -> Result<Decision, Failure> {
    let prospect = start.weigh(cx, scene, method, notes);
    // Only simulations need the nodes.
    let simulates = match method {
        Method::Emptiness | Method::EmptyNodes => false,
        Method::MultiNode => prospect.candidates.len() > 1 && budgets.total() > 1,
        Method::SingleNode => budgets.total() > 0,
        Method::Expiration | Method::StaticDrift | Method::Drift => true,
    };
    let nodes = if simulates { cluster::state_nodes(cx.plan, cx.world) } else { Vec::new() };
    let scene = Scene { nodes: &nodes, ..scene };
    decide(scene, method, prospect, budgets, &BTreeSet::new(), notes)
}

/// A command goes into the record, if somebody reads it.
fn tell(cx: &mut Cx, command: (Method, &Move), stage: Stage, created: &[ClaimId]) {
    let (plan, world) = (cx.plan, &*cx.world);
    cx.recorder.decide(cx.now, || Told::Disruption(told::command(plan, world, command, stage, created)));
}

#[cfg(test)]
mod tests;
