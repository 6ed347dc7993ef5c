//! Disruption controller: PodDisruptionBudget status.
//!
//! ```text
//!  pods that a budget matches ──┐
//!  replicas of their owners ────┼─► Sync ─► currentHealthy, desiredHealthy, expectedPods, disruptionsAllowed
//!  evictions (disruptedPods) ───┘      └─► a look when the oldest record expires
//!  a pod that was evicted but not deleted ─► Target ─► its condition DisruptionTarget is cleared
//! ```
//!
//! Source: `pkg/controller/disruption/disruption.go` of Kubernetes 1.34.
//! Left out: custom resources with a scale.

use crate::components::Cx;
use crate::engine::{Span, Time};
use crate::plan::{DeploymentId, IntOrPercent, PdbId, PdbSpec};
use crate::world::{Owner, Pod, PodId, ReplicaSetId, Selected, World};
use std::sync::Arc;

/// How long an evicted pod that still runs counts as disrupted. Source: `disruption.go` (`DeletionTimeout`).
const DELETION_TIMEOUT: Span = Span::from_secs(120);
/// The look at an expired record comes so late. Source: `disruption.go` (a scheduled resync just after the deadline).
const EXPIRY_LATE: Span = Span::from_millis(5);

/// Its memory.
#[derive(Default)]
pub struct PodDisruption {
    /// The scheduled look of each budget.
    checks: Vec<Option<Time>>,
    /// Templates that each budget matches, with the spec that says so.
    matched: Vec<Option<(Arc<PdbSpec>, Selected)>>,
    /// The owners of the pods of the budget that was looked at last, and what gives those their size: only the memory is used again.
    owners: Vec<Owner>,
    scaled: Vec<Scaled>,
}

/// What gives a pod's controller its size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scaled {
    Deployment(DeploymentId),
    ReplicaSet(ReplicaSetId),
}

/// Why it may be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// Look at a budget again.
    Sync(PdbId),
    /// A record of an evicted pod expires.
    Expiry(PdbId),
    /// A pod may carry the condition DisruptionTarget without being deleted.
    Target(PodId),
}

impl PodDisruption {
    /// Budgets that exist at the start have their status already.
    pub fn start(&mut self, cx: &mut Cx) {
        for index in 0..cx.world.pdbs.len() {
            self.sync(cx, PdbId::at(index));
        }
        for pod in cx.world.living.iter().collect::<Vec<_>>() {
            clear_stale_target(cx, pod);
        }
    }

    /// Observe, decide, apply, schedule.
    pub fn handle(&mut self, cx: &mut Cx, event: Event) {
        match event {
            Event::Sync(pdb) => self.sync(cx, pdb),
            Event::Target(pod) => clear_stale_target(cx, pod),
            Event::Expiry(pdb) => {
                if self.check(pdb).is_some_and(|at| at <= cx.now) {
                    *self.check(pdb) = None;
                    self.sync(cx, pdb);
                }
            }
        }
    }

    fn check(&mut self, pdb: PdbId) -> &mut Option<Time> {
        if self.checks.len() <= pdb.index() {
            self.checks.resize(pdb.index() + 1, None);
        }
        &mut self.checks[pdb.index()]
    }

    /// Templates that a budget matches.
    fn matched<'m>(known: &'m mut Vec<Option<(Arc<PdbSpec>, Selected)>>, world: &World, pdb: PdbId) -> &'m Selected {
        let spec = &world.pdbs[pdb.index()].spec;
        if known.len() <= pdb.index() {
            known.resize(pdb.index() + 1, None);
        }
        let known = &mut known[pdb.index()];
        if known.as_ref().is_some_and(|(made_from, _)| !Arc::ptr_eq(made_from, spec)) {
            *known = None;
        }
        let (_, selected) = known.get_or_insert_with(|| (spec.clone(), Selected::default()));
        selected.refresh(&world.templates, |template| spec.matches(template));
        selected
    }

    fn sync(&mut self, cx: &mut Cx, pdb: PdbId) {
        let PodDisruption { matched, owners, scaled, .. } = self;
        let selected = PodDisruption::matched(matched, cx.world, pdb);
        let entry = &cx.world.pdbs[pdb.index()];
        let (disrupted, recheck) = still_disrupted(cx.world, selected, &entry.disrupted, cx.now);
        owners.clear();
        let (mut matching, mut healthy) = (0, 0);
        for (template, headcount) in cx.world.headcounts() {
            if selected.has(template.index()) {
                owners.push(headcount.owner);
                matching += headcount.existing as usize;
                healthy += headcount.healthy as usize;
            }
        }
        healthy -= held_back(cx.world, &disrupted, cx.now);
        debug_assert_eq!(
            (matching, healthy),
            recount(cx.world, selected, &disrupted, cx.now),
            "the headcounts are right"
        );
        let scale = || scale_of_owners(cx.world, owners, scaled);
        let status = decide(&entry.spec, count(matching), count(healthy), scale);
        match status {
            // The records stay as they were, and nothing looks at their expiry.
            None => return cx.world.fail_pdb(pdb),
            Some(status) => {
                cx.world.set_disrupted(pdb, disrupted);
                let Status { healthy, desired, expected, allowed } = status;
                cx.world.set_pdb_status(pdb, healthy, desired, expected, allowed);
            }
        }
        if let Some(at) = recheck.filter(|&at| self.check(pdb).is_none_or(|check| check <= cx.now || at < check)) {
            *self.check(pdb) = Some(at);
            cx.at(at, crate::components::Event::PodDisruption(Event::Expiry(pdb)));
        }
    }
}

/// A pod that was to be disrupted and is not deleted is no target any more after the timeout.
fn clear_stale_target(cx: &mut Cx, pod: PodId) {
    let entry = cx.world.pod(pod);
    let Some(since) = entry.disruption_target_since else { return };
    if entry.gone.is_some() || entry.deleting_since.is_some() || entry.is_finished() {
        return;
    }
    if since + DELETION_TIMEOUT <= cx.now {
        cx.world.clear_disruption_target(pod);
    } else {
        cx.at(since + DELETION_TIMEOUT, crate::components::Event::PodDisruption(Event::Target(pod)));
    }
}

/// A budget's counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// `currentHealthy`.
    pub healthy: i32,
    /// `desiredHealthy`.
    pub desired: i32,
    /// `expectedPods`.
    pub expected: i32,
    /// `disruptionsAllowed`.
    pub allowed: i32,
}

/// The status of a budget from its matching pods, the healthy ones among them and the scale of their controllers
/// (`getExpectedPodCount`, `updatePdbStatus`). `None`: a controller cannot be found.
pub fn decide(spec: &PdbSpec, matching: i32, healthy: i32, scale: impl FnOnce() -> Option<i32>) -> Option<Status> {
    let (expected, desired) = match (spec.max_unavailable, spec.min_available) {
        (Some(value), _) => {
            let expected = scale()?;
            (expected, (expected - rounded_up(value, expected)).max(0))
        }
        (None, Some(IntOrPercent::Int(count))) => (matching, count),
        (None, Some(percent)) => {
            let expected = scale()?;
            (expected, rounded_up(percent, expected))
        }
        (None, None) => (0, 0),
    };
    let allowed = if expected <= 0 { 0 } else { (healthy - desired).max(0) };
    Some(Status { healthy, desired, expected, allowed })
}

fn rounded_up(value: IntOrPercent, total: i32) -> i32 {
    match value {
        IntOrPercent::Int(count) => count,
        IntOrPercent::Percent(percent) => (f64::from(percent) * f64::from(total) / 100.0).ceil() as i32,
    }
}

fn count(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

/// A record keeps a pod from counting as healthy until its timeout, that instant excluded.
fn holds_back((_, at): (PodId, Time), now: Time) -> bool {
    at + DELETION_TIMEOUT > now
}

/// Ready pods that do not count as healthy because of their records; those are of pods that match and are not to be deleted.
fn held_back(world: &World, disrupted: &[(PodId, Time)], now: Time) -> usize {
    let holds = |record: &&(PodId, Time)| holds_back(**record, now) && world.pod(record.0).is_ready();
    let is_first = |(place, record): &(usize, &(PodId, Time))| {
        let mut earlier = disrupted[..*place].iter();
        !earlier.any(|other| other.0 == record.0 && holds_back(*other, now))
    };
    disrupted.iter().enumerate().filter(|(_, record)| holds(record)).filter(is_first).count()
}

/// Pods that match and those of them that are healthy, counted one by one.
fn recount(world: &World, selected: &Selected, disrupted: &[(PodId, Time)], now: Time) -> (usize, usize) {
    let recorded = |pod: &Pod| disrupted.iter().any(|&record| record.0 == pod.id && holds_back(record, now));
    let is_healthy = |pod: &&Pod| pod.is_ready() && pod.deleting_since.is_none() && !recorded(pod);
    let matching = || world.living.iter().map(|pod| world.pod(pod)).filter(|pod| selected.has(pod.template.index()));
    (matching().count(), matching().filter(is_healthy).count())
}

/// Records of selected pods that exist without deletion and are not older than the timeout, and when the next one expires.
fn still_disrupted(
    world: &World,
    selected: &Selected,
    records: &[(PodId, Time)],
    now: Time,
) -> (Vec<(PodId, Time)>, Option<Time>) {
    let exists = |pod: PodId| {
        let entry = world.pod(pod);
        entry.gone.is_none() && entry.deleting_since.is_none() && selected.has(entry.template.index())
    };
    let holds = |&&(pod, at): &&(PodId, Time)| exists(pod) && at + DELETION_TIMEOUT >= now;
    let kept: Vec<(PodId, Time)> = records.iter().filter(holds).copied().collect();
    let next = kept.iter().map(|&(_, at)| at + DELETION_TIMEOUT + EXPIRY_LATE).min();
    (kept, next)
}

/// Sum of the scales of pods' controllers, each once; pods without controller add nothing. `counted` is memory for it.
fn scale_of_owners(world: &World, owners: &[Owner], counted: &mut Vec<Scaled>) -> Option<i32> {
    // Few: looking through them is cheaper than a tree.
    counted.clear();
    let mut total = 0i32;
    for owner in owners {
        let id = match *owner {
            Owner::ReplicaSet(id) => id,
            Owner::Bare => continue,
            // A DaemonSet has no scale.
            Owner::DaemonSet(_) => return None,
        };
        let set = &world.replica_sets[id.index()];
        if set.gone.is_some() {
            return None;
        }
        let (scaled, replicas) = match set.deployment {
            Some(id) => (Scaled::Deployment(id), world.deployments[id.index()].replicas),
            None => (Scaled::ReplicaSet(id), set.replicas),
        };
        if !counted.contains(&scaled) {
            counted.push(scaled);
            total = total.saturating_add(replicas);
        }
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Queue;
    use crate::plan::{Plan, PodTemplate, TemplateId};
    use crate::record::{Detail, Recorder};
    use crate::rules::labels::LabelSelector;
    use crate::world::{NewNode, NewPod, NodeId, PodPhase};
    use std::sync::Arc;

    fn spec(max_unavailable: Option<IntOrPercent>, min_available: Option<IntOrPercent>) -> PdbSpec {
        PdbSpec {
            namespace: "default".to_string(),
            name: "pdb".to_string(),
            selector: Some(LabelSelector::default()),
            min_available,
            max_unavailable,
            always_allow_unhealthy: false,
        }
    }

    #[test]
    fn percentages_round_up() {
        let quarter = spec(Some(IntOrPercent::Percent(25)), None);
        let status = decide(&quarter, 10, 10, || Some(10)).unwrap();
        assert_eq!((status.desired, status.allowed), (7, 3));
        let majority = spec(None, Some(IntOrPercent::Percent(51)));
        assert_eq!(decide(&majority, 7, 7, || Some(7)).unwrap().desired, 4);
    }

    #[test]
    fn expected_pods_are_the_owners_scale_or_the_matching_pods() {
        let unavailable = spec(Some(IntOrPercent::Int(1)), None);
        let status = decide(&unavailable, 3, 3, || Some(5)).unwrap();
        assert_eq!((status.expected, status.desired, status.allowed), (5, 4, 0));
        let available = spec(None, Some(IntOrPercent::Int(2)));
        let status = decide(&available, 3, 3, || None).unwrap();
        assert_eq!((status.expected, status.desired, status.allowed), (3, 2, 1));
        assert_eq!(decide(&unavailable, 3, 3, || None), None, "a controller that is gone");
        assert_eq!(decide(&spec(Some(IntOrPercent::Int(9)), None), 0, 0, || Some(0)).unwrap().allowed, 0);
    }

    #[test]
    fn the_status_is_there_at_the_start_and_records_expire() {
        let mut plan = Plan::empty(Time::from_unix_seconds(1_000), Span::from_secs(600));
        plan.templates.push(Arc::new(PodTemplate::default()));
        plan.pdbs.push(Arc::new(spec(None, Some(IntOrPercent::Int(1)))));
        let mut world = World::new(&plan);
        let resources = Default::default();
        world.create_node(NewNode {
            name: "n".into(),
            labels: Default::default(),
            taints: Vec::new(),
            allocatable: Default::default(),
            capacity: resources,
            claim: None,
            instance: None,
            zone: None,
        });
        for ordinal in 1..=2 {
            let new = NewPod { template: TemplateId(0), owner: Owner::Bare, ordinal, pinned: None, name: None };
            let pod = world.create_pod(new);
            world.bind_pod(pod, NodeId(0));
            world.set_pod_phase(pod, PodPhase::Running);
            world.set_pod_ready(pod, true);
        }
        let (mut queue, mut recorder) = (Queue::new(), Recorder::new(Detail::Facts));
        let mut component = PodDisruption::default();
        let mut at = |seconds_millis: u64, world: &mut World, act: &mut dyn FnMut(&mut PodDisruption, &mut Cx)| {
            let now = Time::from_micros(seconds_millis * 1_000);
            world.now = now;
            let (queue, recorder) = (&mut queue, &mut recorder);
            act(&mut component, &mut Cx { now, plan: &plan, world, queue, recorder, random: None });
            queue.pop().map(|(at, _)| at)
        };
        at(1_000_000, &mut world, &mut |component, cx| component.start(cx));
        let pdb = &world.pdbs[0];
        assert!(pdb.observed);
        assert_eq!((pdb.current_healthy, pdb.expected_pods, pdb.disruptions_allowed), (2, 2, 1));
        // An eviction whose deletion never came: the record holds the pod back for two minutes.
        world.set_disrupted(PdbId(0), vec![(PodId(0), Time::from_unix_seconds(1_010))]);
        let next = at(1_010_700, &mut world, &mut |component, cx| component.handle(cx, Event::Sync(PdbId(0))));
        assert_eq!(world.pdbs[0].current_healthy, 1);
        assert_eq!(next, Some(Time::from_micros(1_130_005_000)));
        at(1_130_005, &mut world, &mut |component, cx| component.handle(cx, Event::Expiry(PdbId(0))));
        assert_eq!((world.pdbs[0].current_healthy, world.pdbs[0].disrupted.len()), (2, 0));
    }
}
