//! Karpenter termination: taint, drain by tiers, delete the instance, remove finalizers.
//!
//! ```text
//!  ClaimDeleting ─► disrupted taint ─► tier by tier: evictions (100 ms to 10 s back-off) ─► empty and 5 s passed
//!      ─► volumes of the drained pods detached (from 1.0) ─► TerminateInstances ─ every 5 s ─► terminated ─► Node and NodeClaim gone
//!  never registered ─────────────► TerminateInstances        Node not Ready and instance gone ─► gone at once
//! ```
//!
//! Source: core `pkg/controllers/node/termination/{controller.go,terminator/{terminator,eviction}.go}`,
//! `nodeclaim/lifecycle/termination.go`. Left out: rate limits of these queues, the 100 ms batching of
//! TerminateInstances.

use super::cluster::{DO_NOT_DISRUPT, disrupted_taint, forbids_disruption};
use crate::components::{Cx, Event as Any};
use crate::engine::{Purpose, Span, Time};
use crate::plan::{PdbId, Plan};
use crate::rules::taint::tolerated;
use crate::world::ec2_api::{self, Ec2Call};
use crate::world::{
    ClaimId, DeleteCause, DisruptionReason, Eviction, InstanceId, InstanceState, NodeId, Owner, PodId, Selected, World,
};
use std::collections::BTreeMap;

const RETRY: Purpose = Purpose::named("ec2.retry");
/// Whether all evictions of an instant meet at their budget. How often they do is a choice: recordings show both, and too few
/// of either to count. It matters only where `controllers.eviction_retry` is set, as replays do.
const MEETING: Purpose = Purpose::named("eviction.meeting");
const ALL_MEET: f64 = 0.5;
/// How long each then rests.
const JITTER: Purpose = Purpose::named("eviction.jitter");
/// Rests are told apart by so many steps.
const CONFLICT_STEPS: u64 = 11;

/// Its memory.
#[derive(Default)]
pub struct Termination {
    /// By claim, while it is drained.
    drains: Vec<Option<Drain>>,
    /// Pods in the eviction queue with the number of refusals.
    evictions: BTreeMap<PodId, u32>,
    /// When each budget last granted an eviction, and how many requests came at that very instant since.
    granted: BTreeMap<PdbId, (Time, u32)>,
    /// How much later than others of its instant an eviction comes that met another one.
    jitters: BTreeMap<PodId, Span>,
    /// How often EC2 refused calls for a NodeClaim in a row.
    refusals: BTreeMap<ClaimId, u32>,
    /// Templates whose pods tolerate a drain.
    tolerant: Selected,
    /// Pods of the last pass over a node, with their tiers: only the memory is used again.
    pods: Vec<(u8, PodId)>,
}

#[derive(Clone, Copy, Debug)]
struct Drain {
    /// When the drain began, whole seconds.
    began: Time,
    /// The next look that is scheduled.
    next: Time,
    drained: bool,
    /// The version of the cluster in which pods hold it up and nothing is left to ask for, and until when that can be said.
    rests: Option<(u64, Time)>,
    /// That it waits for volumes was told.
    told: bool,
}

/// Why it may be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// Look at a NodeClaim that is being deleted.
    Reconcile(ClaimId),
    /// Ask for the eviction of a pod.
    Evict(PodId),
    /// Somebody deleted a Node object: its NodeClaim goes with it.
    NodeDeleting(NodeId),
}

impl Termination {
    /// Schedules the first events.
    pub fn start(&mut self, cx: &mut Cx) {
        let leaving = cx.world.claims.iter().filter(|claim| claim.gone.is_none() && claim.deleting_since.is_some());
        let leaving: Vec<ClaimId> = leaving.map(|claim| claim.id).collect();
        for claim in leaving {
            cx.at(cx.now, Any::Termination(Event::Reconcile(claim)));
        }
    }

    /// Observe, decide, apply, schedule.
    pub fn handle(&mut self, cx: &mut Cx, event: Event) {
        match event {
            Event::Reconcile(claim) => self.reconcile(cx, claim),
            Event::Evict(pod) => self.evict(cx, pod),
            Event::NodeDeleting(node) => {
                if let Some(claim) = cx.world.node(node).claim {
                    cx.world.delete_claim(claim, DisruptionReason::User);
                }
            }
        }
    }

    fn drain_of(&mut self, id: ClaimId) -> &mut Option<Drain> {
        if self.drains.len() <= id.index() {
            self.drains.resize(id.index() + 1, None);
        }
        &mut self.drains[id.index()]
    }

    fn reconcile(&mut self, cx: &mut Cx, id: ClaimId) {
        let claim = cx.world.claim(id);
        if claim.gone.is_some() {
            *self.drain_of(id) = None;
            return;
        }
        if claim.deleting_since.is_none() {
            return;
        }
        let began = cx.now.whole_second();
        let fresh = Drain { began, next: Time::ZERO, drained: false, rests: None, told: false };
        let &mut Drain { drained: is_drained, rests, .. } = self.drain_of(id).get_or_insert(fresh);
        let same = |(version, until): (u64, Time)| version == cx.world.cluster_version() && cx.now < until;
        let rests = rests.is_some_and(same) && deadline(cx.world, id).is_none();
        if rests && !cfg!(debug_assertions) {
            return self.look_again(cx, id, cx.plan.flags.karpenter.drain_period);
        }
        let node = claim.node.filter(|&node| cx.world.node(node).gone.is_none());
        let (Some(node), Some(_)) = (node, claim.registered) else { return self.terminate(cx, id) };
        let instance = claim.instance.map(|instance| cx.world.instances[instance.index()].state);
        if !cx.world.node(node).is_ready() && matches!(instance, None | Some(InstanceState::Terminated)) {
            return self.finish(cx, id);
        }
        if claim.instance_terminating.is_some() {
            return self.terminate(cx, id);
        }
        if is_drained {
            return self.await_volumes(cx, id, node);
        }
        cx.world.delete_node(node);
        if !cx.world.node(node).taints.contains(disrupted_taint()) {
            cx.world.add_taint(node, disrupted_taint().clone());
        }
        let before = (cx.world.cluster_version(), self.evictions.len());
        self.drain(cx, id, node);
        debug_assert!(
            !rests || before == (cx.world.cluster_version(), self.evictions.len()),
            "a drain would have done something while it rested"
        );
    }

    /// One pass over the pods of the node.
    fn drain(&mut self, cx: &mut Cx, id: ClaimId, node: NodeId) {
        let deadline = deadline(cx.world, id);
        if let Some(deadline) = deadline {
            force(cx, node, deadline);
        }
        let mut pods = std::mem::take(&mut self.pods);
        pods.clear();
        let tolerant = &mut self.tolerant;
        tolerant.refresh(&cx.world.templates, |template| tolerated(&template.tolerations, disrupted_taint()));
        let present = cx.world.node(node).pods.iter().copied();
        let tolerates = |pod: PodId| tolerant.has(cx.world.pod(pod).template.index());
        let holding = present.filter(|&pod| !tolerates(pod) && may_hold_up(cx.plan, cx.world, pod, cx.now));
        pods.extend(holding.map(|pod| (tier(cx.world, pod), pod)));
        let first = pods.iter().map(|&(tier, _)| tier).min();
        for &(tier, pod) in &pods {
            if Some(tier) != first {
                continue;
            }
            let entry = cx.world.pod(pod);
            let waits = entry.deleting_since.is_none() && !forbids_disruption(cx.world, pod);
            if waits && !self.evictions.contains_key(&pod) {
                self.evictions.insert(pod, 0);
                cx.at(cx.now, Any::Termination(Event::Evict(pod)));
            }
        }
        let is_empty = pods.is_empty();
        let rests_until = if deadline.is_some() { None } else { rests_until(cx, &pods) };
        self.pods = pods;
        let flags = &cx.plan.flags.karpenter;
        let least = if flags.version >= (1, 10) { flags.drain_min } else { Span::ZERO };
        let began = self.drain_of(id).map_or(cx.now, |drain| drain.began);
        if is_empty && cx.now >= began + least {
            if let Some(drain) = self.drain_of(id) {
                drain.drained = true;
            }
            cx.world.note_drained(id);
            return self.await_volumes(cx, id, node);
        }
        let version = cx.world.cluster_version();
        if let Some(drain) = self.drain_of(id) {
            drain.rests = rests_until.filter(|_| !is_empty).map(|until| (version, until));
        }
        self.look_again(cx, id, cx.plan.flags.karpenter.drain_period);
    }

    /// The volumes of the pods that were drained have to be detached first, or a pod that mounts them elsewhere waits for
    /// minutes; until the termination grace period of the node is over.
    fn await_volumes(&mut self, cx: &mut Cx, id: ClaimId, node: NodeId) {
        let over = deadline(cx.world, id).is_some_and(|deadline| cx.now >= deadline);
        let held = held_volumes(cx.plan, cx.world, node);
        if over || held.is_empty() || cx.plan.flags.karpenter.version < (1, 0) {
            return self.terminate(cx, id);
        }
        if let Some(drain) = self.drain_of(id)
            && !std::mem::replace(&mut drain.told, true)
        {
            let Cx { recorder, world, now, .. } = cx;
            recorder.explain(*now, || {
                let name = &world.node(node).name;
                format!(
                    "node {name}: AwaitingVolumeDetachment, its instance is kept until {} is detached",
                    held.join(", ")
                )
            });
        }
        self.look_again(cx, id, cx.plan.flags.karpenter.drain_period);
    }

    /// TerminateInstances, again every five seconds until EC2 knows the instance no more.
    fn terminate(&mut self, cx: &mut Cx, id: ClaimId) {
        let Some(instance) = cx.world.claim(id).instance else { return self.finish(cx, id) };
        match cx.world.instances[instance.index()].state {
            InstanceState::Terminated => self.finish(cx, id),
            InstanceState::Running | InstanceState::ShuttingDown => {
                if !self.is_admitted(cx, id, instance) {
                    return;
                }
                cx.world.stop_instance(instance);
                cx.world.note_instance_terminating(id);
                let flags = &cx.plan.flags.karpenter;
                if flags.ends_at_once {
                    return self.finish(cx, id);
                }
                self.look_again(cx, id, flags.termination_period);
            }
        }
    }

    /// The instance is described and, if it runs, terminated; false: EC2 refuses a call for now, and it is made again later.
    fn is_admitted(&mut self, cx: &mut Cx, id: ClaimId, instance: InstanceId) -> bool {
        let runs = cx.world.instances[instance.index()].state == InstanceState::Running;
        let mut calls = vec![Ec2Call::DescribeInstances];
        calls.extend(runs.then_some(Ec2Call::TerminateInstances));
        let Some(refused) = calls.into_iter().find(|&call| !cx.world.call_ec2_together(cx.plan, call)) else {
            self.refusals.remove(&id);
            return true;
        };
        let refusals = self.refusals.entry(id).or_default();
        *refusals += 1;
        let (refusals, key) = (*refusals, cx.world.claim(id).key());
        let uniform = cx.random.map_or(0.5, |random| random.uniform(RETRY, key ^ u64::from(refusals) << 52 ^ 1 << 51));
        let (span, by_sdk) = ec2_api::wait(cx.plan, refusals, uniform);
        if !by_sdk {
            let name = cx.world.claim(id).name.clone();
            cx.explain(|| format!("NodeClaim {name}: {} is throttled, tried again after {span}", refused.name()));
        }
        self.look_again(cx, id, span);
        false
    }

    /// The finalizers go: Node and NodeClaim vanish.
    fn finish(&mut self, cx: &mut Cx, id: ClaimId) {
        *self.drain_of(id) = None;
        if let Some(node) = cx.world.claim(id).node {
            cx.world.remove_node(node);
        }
        cx.world.remove_claim(id);
    }

    fn look_again(&mut self, cx: &mut Cx, id: ClaimId, span: Span) {
        let Some(drain) = self.drain_of(id) else { return };
        if drain.next <= cx.now {
            drain.next = cx.now + span;
            cx.after(span, Any::Termination(Event::Reconcile(id)));
        }
    }

    fn evict(&mut self, cx: &mut Cx, pod: PodId) {
        let Some(&refusals) = self.evictions.get(&pod) else { return };
        if self.meets_another(cx, pod) {
            let (rest, jitter) = conflict_rest(cx, pod);
            self.jitters.insert(pod, jitter);
            cx.recorder.rested_evictions.push((cx.now + rest + jitter, pod, rest + jitter));
            return cx.after(rest + jitter, Any::Termination(Event::Evict(pod)));
        }
        let entry = cx.world.pod(pod);
        let answer = if entry.gone.is_some() || entry.deleting_since.is_some() {
            Eviction::NotFound
        } else {
            cx.world.evict_pod(pod)
        };
        match answer {
            Eviction::Granted | Eviction::NotFound => {
                self.evictions.remove(&pod);
            }
            Eviction::Refused { .. } | Eviction::Forbidden | Eviction::SeveralBudgets | Eviction::DeleteFailed => {
                if refusals == 0 {
                    let (world, now) = (&*cx.world, cx.now);
                    cx.recorder.explain(now, || {
                        let (name, why) = (world.pod_name(pod), world.why_refused(pod, answer));
                        format!("Karpenter's eviction of pod {name} is refused: {why}; it tries again")
                    });
                }
                cx.recorder.refused_evictions.push((cx.now, pod));
                self.evictions.insert(pod, refusals.saturating_add(1));
                // Karpenter's queue brings together again what came apart by milliseconds.
                let apart = self.jitters.remove(&pod).unwrap_or(Span::ZERO);
                let span = backoff(cx.plan.flags.karpenter.eviction_backoff, refusals).saturating_sub(apart);
                cx.after(span, Any::Termination(Event::Evict(pod)));
            }
        }
    }
}

impl Termination {
    /// Requests of one instant are decided in parallel: one that read the budget before another was granted cannot write it,
    /// and the API server tries it again after a rest. Which ones do is a race of milliseconds; here it is every second one,
    /// the share that recordings of drains show, or by chance all of an instant, as quick clients do. Source:
    /// `pkg/registry/core/pod/storage/eviction.go` (`EvictionsRetry`).
    fn meets_another(&mut self, cx: &mut Cx, pod: PodId) -> bool {
        if cx.plan.flags.controllers.eviction_retry.is_zero() || cx.world.pod(pod).deleting_since.is_some() {
            return false;
        }
        let template = cx.world.template_of(pod);
        let Some(budget) = cx.world.pdbs.iter().find(|pdb| pdb.spec.matches(template)) else { return false };
        let (id, allowed) = (budget.id, budget.disruptions_allowed);
        match self.granted.get_mut(&id).filter(|(at, _)| *at == cx.now) {
            Some((_, later)) => {
                *later += 1;
                *later % 2 == 1 || (cx.random.is_some() && cx.chance(MEETING, cx.now.micros(), ALL_MEET))
            }
            None => {
                if allowed > 0 {
                    self.granted.insert(id, (cx.now, 0));
                }
                false
            }
        }
    }
}

/// How long the API server rests at least before it tries an eviction again, and how much longer: up to a twentieth less or
/// more than the plan says, so that those that met do not meet again. Source: `eviction.go` (`EvictionsRetry`, jitter 0.1).
fn conflict_rest(cx: &Cx, pod: PodId) -> (Span, Span) {
    let rest = cx.plan.flags.controllers.eviction_retry;
    let steps = CONFLICT_STEPS as usize;
    let step =
        cx.random.map_or(pod.index() % steps, |_| cx.pick(JITTER, cx.world.pod(pod).key() ^ cx.now.micros(), steps));
    let jitter = Span::from_micros(rest.micros() / 10);
    (rest.saturating_sub(jitter.half()), Span::from_micros(jitter.micros() * step as u64 / CONFLICT_STEPS))
}

/// Claims whose volumes are attached to a node and are not those of pods that a drain leaves alone.
fn held_volumes(plan: &Plan, world: &World, node: NodeId) -> Vec<String> {
    let stays = |pod: PodId, claim: &(String, String)| {
        world.needs_volume(pod, claim) && !is_drainable(plan, world, pod, world.now)
    };
    let pods = &world.node(node).pods;
    let attached = world.attachments_of(node).filter(|one| !pods.iter().any(|&pod| stays(pod, &one.claim)));
    attached.map(|one| one.claim.1.clone()).collect()
}

/// First back-off, doubled with each refusal up to the largest.
fn backoff((first, largest): (Span, Span), refusals: u32) -> Span {
    (first * (1_u64 << refusals.min(40))).min(largest)
}

/// When the node's grace period ends.
fn deadline(world: &World, id: ClaimId) -> Option<Time> {
    let claim = world.claim(id);
    let since = claim.deleting_since?.whole_second();
    let own = claim.termination_grace_period.map(|period| since + period);
    [own, claim.end_by].into_iter().flatten().min()
}

/// Pods whose own grace period would not end before the deadline are deleted now, whatever protects them.
fn force(cx: &mut Cx, node: NodeId, deadline: Time) {
    for pod in drainable(cx.plan, cx.world, node, cx.now).collect::<Vec<_>>() {
        let entry = cx.world.pod(pod);
        let grace = cx.world.template_of(pod).termination_grace;
        if cx.now > deadline.back(grace) && entry.deleting_since.is_none() {
            let left = deadline.since(cx.now).max(Span::from_secs(1));
            cx.world.delete_pod(pod, Some(left), DeleteCause::Forced);
        }
    }
}

/// Pods that hold up the drain.
fn drainable(plan: &Plan, world: &World, node: NodeId, now: Time) -> impl Iterator<Item = PodId> {
    let pods = world.node(node).pods.iter().copied();
    pods.filter(move |&pod| is_drainable(plan, world, pod, now))
}

fn is_drainable(plan: &Plan, world: &World, pod: PodId, now: Time) -> bool {
    may_hold_up(plan, world, pod, now) && !tolerated(&world.template_of(pod).tolerations, disrupted_taint())
}

/// A pod holds up the drain if it does not tolerate it: it has not ended, and its end is not overdue.
fn may_hold_up(plan: &Plan, world: &World, pod: PodId, now: Time) -> bool {
    !world.pod(pod).is_finished() && overdue_after(plan, world, pod).is_none_or(|end| now <= end)
}

/// After which instant the end of a pod that is being deleted is overdue.
fn overdue_after(plan: &Plan, world: &World, pod: PodId) -> Option<Time> {
    let entry = world.pod(pod);
    Some(entry.deleting_since?.whole_second() + entry.grace + plan.flags.karpenter.stuck_pod)
}

/// Until when the clock alone changes nothing about pods that hold up a drain; `None`: it may at any time.
fn rests_until(cx: &Cx, pods: &[(u8, PodId)]) -> Option<Time> {
    let mut until = Time::MAX;
    for &(_, pod) in pods {
        let annotation = cx.world.template_of(pod).annotations.get(DO_NOT_DISRUPT);
        if annotation.is_some_and(|value| value != "true") {
            return None;
        }
        if let Some(end) = overdue_after(cx.plan, cx.world, pod) {
            until = until.min(end + Span::from_micros(1));
        }
    }
    Some(until)
}

/// The order of a drain: workloads, daemons, critical workloads, critical daemons.
#[inline]
pub fn tier(world: &World, pod: PodId) -> u8 {
    let class = world.template_of(pod).priority_class.as_deref();
    let critical = matches!(class, Some("system-cluster-critical" | "system-node-critical"));
    let daemon = matches!(world.pod(pod).owner, Owner::DaemonSet(_));
    u8::from(critical) * 2 + u8::from(daemon)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::components::karpenter::fixture::{add_template, pods, small_plan, template};
    use crate::world::NewPod;

    #[test]
    fn workloads_go_before_daemons_and_critical_pods_last() {
        let mut plan = small_plan();
        let mut critical = template(100, 64);
        critical.priority_class = Some("system-node-critical".to_string());
        let plain = add_template(&mut plan, template(100, 64));
        let critical = add_template(&mut plan, critical);
        let mut world = World::new(&plan);
        let daemon = Owner::DaemonSet(crate::plan::DaemonSetId(0));
        let mut tier_of = |template, owner| {
            let pod = world.create_pod(NewPod { template, owner, ordinal: 1, pinned: None, name: None });
            tier(&world, pod)
        };
        let order = [(plain, Owner::Bare), (plain, daemon), (critical, Owner::Bare), (critical, daemon)];
        let tiers: Vec<u8> = order.into_iter().map(|(template, owner)| tier_of(template, owner)).collect();
        assert_eq!(tiers, [0, 1, 2, 3]);
    }

    #[test]
    fn the_back_off_doubles_from_100_ms_to_10_s() {
        let range = (Span::from_millis(100), Span::from_secs(10));
        let spans: Vec<u64> = [0, 1, 6, 7, 63].into_iter().map(|n| backoff(range, n).micros() / 1_000).collect();
        assert_eq!(spans, [100, 200, 6_400, 10_000, 10_000]);
    }

    #[test]
    fn of_evictions_that_come_with_a_granted_one_every_second_meets_it() {
        let mut plan = small_plan();
        let plain = add_template(&mut plan, template(100, 64));
        plan.flags.controllers.eviction_retry = Span::from_millis(525);
        plan.pdbs.push(std::sync::Arc::new(crate::plan::PdbSpec {
            namespace: plan.templates[plain.index()].namespace.clone(),
            name: "all".into(),
            selector: Some(Default::default()),
            min_available: None,
            max_unavailable: None,
            always_allow_unhealthy: false,
        }));
        let mut world = World::new(&plan);
        let pods = pods(&mut world, plain, 4);
        let (mut queue, mut recorder) =
            (crate::engine::Queue::<Any>::new(), crate::record::Recorder::new(crate::record::Detail::Facts));
        let mut termination = Termination::default();
        let mut meets = |allowed: i32, now: Time| -> Vec<bool> {
            world.set_pdb_status(PdbId(0), 4, 4 - allowed, 4, allowed);
            let (world, queue, recorder) = (&mut world, &mut queue, &mut recorder);
            let mut cx = Cx { now, plan: &plan, world, queue, recorder, random: None };
            pods.iter().map(|&pod| termination.meets_another(&mut cx, pod)).collect()
        };
        let start = Time::from_unix_seconds(1_000);
        assert_eq!(meets(1, start), [false, true, false, true]);
        assert_eq!(meets(0, start + Span::from_secs(10)), [false; 4], "nothing is granted that one could meet");
        assert_eq!(meets(1, start + Span::from_secs(20)), [false, true, false, true]);
    }
}
