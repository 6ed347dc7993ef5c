//! Laws of rollouts: generated strategies, sizes and edits on a shipped scenario's cluster.

use crate::support::shipped;
use kubelapse::engine::Span;
use kubelapse::plan::{
    Action, ActionKind, Curve, DeploymentId, Fault, FaultKind, IntOrPercent, Plan, PodCall, Strategy as Rolling,
    TemplateId,
};
use kubelapse::study::run_once;
use kubelapse::world::{Change, DeleteCause, Owner, PodId, PodPhase, World};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

const WEB: DeploymentId = DeploymentId(0);

fn base() -> &'static Plan {
    static BASE: OnceLock<Plan> = OnceLock::new();
    BASE.get_or_init(|| {
        let mut plan = shipped("scale-up");
        // Nothing but the rollout moves pods: no autoscaler, no load, no node that goes.
        plan.hpas.clear();
        let first = plan.nodes[0].clone();
        plan.nodes =
            (0..4).map(|n| kubelapse::plan::InitialNode { name: format!("node-{n}"), ..first.clone() }).collect();
        for app in &mut plan.apps {
            app.traffic = Curve { points: vec![(plan.start, 0.0)] };
        }
        for pool in &mut plan.node_pools {
            let pool = Arc::make_mut(pool);
            (pool.consolidate_after, pool.expire_after) = (None, None);
        }
        for revision in 1..4 {
            let mut template = (**plan.template(plan.deployments[0].template)).clone();
            template.annotations.insert("revision", revision.to_string());
            plan.templates.push(Arc::new(template));
        }
        plan
    })
}

#[derive(Clone, Debug)]
struct Rollout {
    seed: u64,
    noise: bool,
    replicas: i32,
    recreate: bool,
    scale: Option<(u64, i32)>,
    surge: IntOrPercent,
    unavailable: IntOrPercent,
    min_ready: u64,
    /// When, and to which of the templates.
    revisions: Vec<(u64, usize)>,
    pause: Option<(u64, u64)>,
    undo: Option<u64>,
    fails: Option<(u64, bool)>,
}

fn amounts() -> impl Strategy<Value = IntOrPercent> {
    prop_oneof![(0i32..4).prop_map(IntOrPercent::Int), (0i32..110).prop_map(IntOrPercent::Percent)]
}

fn rollouts() -> impl Strategy<Value = Rollout> {
    let size = (1i32..9, amounts(), amounts(), prop_oneof![Just(0u64), 1u64..20]);
    let kind = (prop::bool::weighted(0.2), prop::option::weighted(0.4, (20u64..500, 1i32..9)));
    let edits = (
        prop::collection::vec((20u64..400, 0usize..4), 1..4),
        prop::option::weighted(0.3, (20u64..400, 1u64..200)),
        prop::option::weighted(0.3, 20u64..500),
        prop::option::weighted(0.3, (20u64..400, any::<bool>())),
    );
    (any::<u64>(), any::<bool>(), size, kind, edits).prop_map(|(seed, noise, size, (recreate, scale), edits)| {
        let ((replicas, surge, unavailable, min_ready), (revisions, pause, undo, fails)) = (size, edits);
        Rollout { seed, noise, replicas, recreate, scale, surge, unavailable, min_ready, revisions, pause, undo, fails }
    })
}

fn template(plan: &Plan, revision: usize) -> TemplateId {
    match revision {
        0 => plan.deployments[0].template,
        other => TemplateId::at(plan.templates.len() - 4 + other),
    }
}

fn plan_of(rollout: &Rollout) -> Plan {
    let mut plan = base().clone();
    (plan.seed, plan.noise) = (rollout.seed, rollout.noise);
    plan.until = plan.start + Span::from_secs(1_500);
    let seconds = |n: u64| plan.start + Span::from_secs(n);
    let mut actions: Vec<Action> = (rollout.revisions.iter())
        .map(|&(at, revision)| Action { at: seconds(at), kind: ActionKind::RollOut(WEB, template(&plan, revision)) })
        .collect();
    if let Some((at, length)) = rollout.pause {
        actions.push(Action { at: seconds(at), kind: ActionKind::PauseDeployment(WEB, true) });
        actions.push(Action { at: seconds(at + length), kind: ActionKind::PauseDeployment(WEB, false) });
    }
    actions.extend(rollout.undo.map(|at| Action { at: seconds(at), kind: ActionKind::RollBack(WEB, None) }));
    if let Some((at, replicas)) = rollout.scale {
        actions.push(Action { at: seconds(at), kind: ActionKind::ScaleDeployment(WEB, replicas) });
    }
    actions.sort_by_key(|action| action.at);
    if let Some((at, creating)) = rollout.fails {
        let call = if creating { PodCall::Create } else { PodCall::Delete };
        let until = Some(seconds(at + 30));
        plan.faults = vec![Fault { at: seconds(at), until, kind: FaultKind::PodCallsFail(call) }];
    } else {
        plan.faults.clear();
    }
    plan.actions = actions;
    let spec = Arc::make_mut(&mut plan.deployments[0]);
    spec.replicas = rollout.replicas;
    spec.min_ready = Span::from_secs(rollout.min_ready);
    spec.strategy = if rollout.recreate {
        Rolling::Recreate
    } else {
        Rolling::RollingUpdate { max_surge: rollout.surge, max_unavailable: rollout.unavailable }
    };
    plan
}

/// How many replicas may be asked for at most, and how many pods have to be available when one is taken away.
fn bounds(rollout: &Rollout) -> (i32, i32) {
    let of_size = |replicas: i32| {
        let part = |value, up: bool| match value {
            IntOrPercent::Int(count) => count,
            IntOrPercent::Percent(percent) => (percent * replicas + if up { 99 } else { 0 }) / 100,
        };
        let (surge, unavailable) = match (part(rollout.surge, true), part(rollout.unavailable, false)) {
            _ if rollout.recreate => (0, replicas),
            (0, 0) => (0, 1),
            (surge, unavailable) => (surge, unavailable.min(replicas)),
        };
        (replicas + surge, replicas - unavailable)
    };
    let (before, after) = (of_size(rollout.replicas), of_size(last_size(rollout)));
    (before.0.max(after.0), before.1.min(after.1))
}

fn last_size(rollout: &Rollout) -> i32 {
    rollout.scale.map_or(rollout.replicas, |(_, replicas)| replicas)
}

/// The Deployment's pods and ReplicaSets as the facts so far leave them.
#[derive(Default)]
struct Seen {
    sizes: BTreeMap<u32, i32>,
    active: BTreeSet<PodId>,
    /// Terminating ones too.
    there: BTreeSet<PodId>,
    ready: BTreeSet<PodId>,
}

impl Seen {
    /// Ready pods. One that is available may be taken instead of one that is Ready for less than minReadySeconds: victims
    /// are ranked by readiness, not by availability.
    fn serving(&self) -> usize {
        self.ready.iter().filter(|pod| self.active.contains(pod)).count()
    }

    fn change(&mut self, change: Change, world: &World) {
        let own = |pod: PodId| world.deployment_of(pod) == Some(WEB);
        match change {
            Change::ReplicaSetScaled { replica_set, to, .. }
                if world.replica_sets[replica_set.index()].deployment == Some(WEB) =>
            {
                self.sizes.insert(replica_set.0, to);
            }
            Change::PodCreated(pod) if own(pod) => {
                self.active.insert(pod);
                self.there.insert(pod);
            }
            Change::PodReady(pod, true) if own(pod) => {
                self.ready.insert(pod);
            }
            Change::PodReady(pod, false) => {
                self.ready.remove(&pod);
            }
            Change::PodDeleting(pod, _) => {
                self.active.remove(&pod);
            }
            Change::PodGone(pod) | Change::PodPhase(pod, PodPhase::Failed | PodPhase::Succeeded) => {
                self.active.remove(&pod);
                self.there.remove(&pod);
            }
            _ => {}
        }
    }
}

/// The pods and ReplicaSets of the start, which no fact tells of.
fn at_the_start(plan: &Plan) -> Seen {
    let mut still = plan.clone();
    (still.until, still.actions) = (plan.start, Vec::new());
    let world = run_once(&still, 0, false).world;
    let own = world.pods.iter().filter(|pod| world.deployment_of(pod.id) == Some(WEB) && pod.is_active());
    let ready = own.clone().filter(|pod| pod.is_ready()).map(|pod| pod.id).collect();
    let sets = world.replica_sets.iter().filter(|set| set.deployment == Some(WEB));
    let active: BTreeSet<PodId> = own.map(|pod| pod.id).collect();
    let sizes = sets.map(|set| (set.id.0, set.replicas)).collect();
    Seen { sizes, there: active.clone(), active, ready }
}

fn check(rollout: &Rollout) -> Result<(), TestCaseError> {
    let plan = plan_of(rollout);
    let mut seen = at_the_start(&plan);
    let outcome = run_once(&plan, 0, false);
    let world = &outcome.world;
    let (most, least) = bounds(rollout);
    let paused = rollout.pause.map(|(at, length)| {
        let seconds = |n: u64| plan.start + Span::from_secs(n);
        // What was ordered before the pause is still carried out a few hops later.
        (seconds(at) + Span::from_secs(2), seconds(at + length))
    });
    for fact in &outcome.recorder.facts {
        let before = seen.serving();
        seen.change(fact.change, world);
        let total: i32 = seen.sizes.values().sum();
        prop_assert!(total <= most, "{total} replicas are asked for at {:?}", fact.at);
        // A pause goes past the wait for old pods: the set of the present template then gets its size at once.
        let waits = rollout.recreate && rollout.pause.is_none();
        if let (true, Change::PodCreated(pod)) = (waits, fact.change) {
            let template = |pod: PodId| world.template(world.pod(pod).template);
            let alone = seen.there.iter().all(|&other| template(other) == template(pod));
            prop_assert!(alone || world.deployment_of(pod) != Some(WEB), "{pod:?} comes before the old ones are gone");
        }
        let Change::PodDeleting(pod, DeleteCause::Rollout | DeleteCause::ScaleDown) = fact.change else { continue };
        let after = seen.serving();
        let least = usize::try_from(least).unwrap_or(0);
        let is_exempt = is_exempt(rollout, &seen);
        prop_assert!(
            after >= least || after == before || is_exempt,
            "{after} of {least} serve after {pod:?} at {:?}",
            fact.at
        );
        let is_paused = paused.is_some_and(|(from, until)| (from..until).contains(&fact.at));
        let failed = rollout.fails.is_some() || rollout.scale.is_some();
        // A new set that has all its pods available takes over even in a pause (`IsSaturated`).
        let own = world.template(world.pod(pod).template);
        let others = seen.ready.iter().filter(|&&other| world.template(world.pod(other).template) != own).count();
        let is_saturated = others as i32 >= rollout.replicas;
        prop_assert!(!is_paused || failed || is_saturated, "{pod:?} is deleted in a pause at {:?}", fact.at);
    }
    settled(rollout, world)
}

/// Upstream itself does not keep maxUnavailable
/// - when deletions fail: pods of a set that shall have none count as available, and others are taken on their account;
/// - between three sets, for the same reason: a set that was just sized to zero has its old status for a few hops
///   (a set that keeps some stops the sync, since its status says that more are available than are wanted);
/// - when the Deployment is resized: the share of each set follows its size, whatever is available.
fn is_exempt(rollout: &Rollout, seen: &Seen) -> bool {
    let deletions_fail = rollout.fails.is_some_and(|(_, creating)| !creating);
    deletions_fail || rollout.scale.is_some() || seen.sizes.len() > 2
}

/// In the end there is one revision, complete, and its status says so.
fn settled(rollout: &Rollout, world: &World) -> Result<(), TestCaseError> {
    let deployment = &world.deployments[WEB.index()];
    let active: Vec<_> =
        world.pods.iter().filter(|pod| pod.is_active() && world.deployment_of(pod.id) == Some(WEB)).collect();
    let replicas = last_size(rollout);
    prop_assert_eq!(active.len() as i32, replicas);
    let present = world.template(deployment.spec.template);
    prop_assert!(active.iter().all(|pod| world.template(pod.template) == present));
    let status = &deployment.status;
    prop_assert_eq!((status.replicas, status.updated, status.available), (replicas, replicas, replicas));
    prop_assert_eq!(
        status.progressing.map(|condition| condition.text()),
        Some("True/NewReplicaSetAvailable".to_string())
    );
    prop_assert_eq!(status.replica_failure, None);
    for set in world.replica_sets.iter().filter(|set| set.gone.is_none()) {
        let pods = set.pods.iter().filter(|&&pod| world.pod(pod).owner == Owner::ReplicaSet(set.id)).count();
        prop_assert_eq!(set.pods.len(), pods);
        prop_assert_eq!(set.status.replicas, set.replicas);
        prop_assert_eq!(set.status.observed_generation, set.generation);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    /// Never more replicas asked for than maxSurge allows, none taken that leaves fewer serving than maxUnavailable
    /// allows, none taken in a pause; Recreate never has two revisions; and in the end every pod is of the last one.
    #[test]
    fn a_rollout_keeps_its_bounds_and_comes_to_its_end(rollout in rollouts()) {
        check(&rollout)?;
    }
}

/// A rollout begins 23 s before the first trigger: each step ends when as many replicas more serve, whatever revision they are
/// of, and what comes after an eviction is a replacement.
#[test]
fn steps_that_overlap_a_rollout_end_when_their_replicas_serve() {
    let mut plan = shipped("scale-up");
    let mut template = (**plan.template(plan.deployments[0].template)).clone();
    template.annotations.insert("revision", "2");
    plan.templates.push(Arc::new(template));
    let next = TemplateId::at(plan.templates.len() - 1);
    plan.actions = vec![Action { at: plan.start + Span::from_secs(300), kind: ActionKind::RollOut(WEB, next) }];
    let outcome = run_once(&plan, 1, false);
    let analysis = kubelapse::analysis::analyze(&plan, &outcome.world, &outcome.recorder);
    assert_eq!(analysis.steps.len(), 2);
    for step in &analysis.steps {
        let kept = step.pods.iter().filter(|pod| !pod.cancelled);
        assert_eq!(kept.count(), (step.to - step.from) as usize, "step {}", step.number);
        assert!(step.time_to_serve().is_some_and(|span| span < Span::from_secs(120)), "step {}", step.number);
    }
    let of_steps: BTreeSet<PodId> = analysis.steps.iter().flat_map(|step| &step.pods).map(|pod| pod.pod).collect();
    assert!(!analysis.replacements.is_empty());
    for one in &analysis.replacements {
        assert_eq!(one.replacements.len(), one.displaced.len());
        assert!(one.time_to_replace().is_some());
        assert!(one.replacements.iter().all(|pod| !of_steps.contains(pod)));
    }
}
