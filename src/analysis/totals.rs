//! Sums over a run: nodes, money, interruptions, alarms, evictions.

use super::churn::Churn;
use super::history::History;
use crate::engine::{Span, Time};
use crate::plan::{CapacityType, MicroDollars, Plan};
use crate::record::Recorder;
use crate::world::{AlarmState, Change, DeleteCause, Instance, Owner, REQUEST, World};
use std::collections::BTreeMap;

/// Sums over a run.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Totals {
    /// Instances launched during the run.
    pub nodes_launched: u64,
    /// Instances terminated (shutting down at least) during the run.
    pub nodes_terminated: u64,
    /// Time that instances were paid for during the run.
    pub node_time: Span,
    /// Cost during the run.
    pub cost: MicroDollars,
    /// Of that, what surplus CPU credits cost.
    pub surplus_cost: MicroDollars,
    /// Time paid for and cost, by NodePool (`-` for none) and capacity type.
    pub cost_by: BTreeMap<(String, &'static str), (Span, MicroDollars)>,
    /// What it cost that nodes were replaced, by reason.
    pub churn_by: BTreeMap<&'static str, Churn>,
    /// Instances launched on demand during the run.
    pub on_demand_launched: u64,
    /// The first and the last time that Karpenter disrupted a node of its own will.
    pub disruptions: Option<(Time, Time)>,
    /// Most nodes that were being drained at one time.
    pub draining_max: u64,
    /// Interruption notices.
    pub interruptions: u64,
    /// Times an alarm went to ALARM: when, and position in the plan.
    pub alarms: Vec<(Time, usize)>,
    /// Pods evicted.
    pub evictions: u64,
    /// Launches that found no capacity.
    pub launch_failures: u64,
    /// Launches that the EC2 API throttled until the SDK gave up.
    pub launches_throttled: u64,
    /// Pods waiting for a node at the end.
    pub unscheduled: u64,
    /// Pods that a scale-down took while they waited for a node.
    pub let_go_unscheduled: u64,
}

/// Adds everything up.
pub fn sum(plan: &Plan, world: &World, recorder: &Recorder, history: &History) -> Totals {
    let mut totals = Totals::default();
    let mut draining = std::collections::BTreeSet::new();
    for fact in &recorder.facts {
        match fact.change {
            Change::InstanceLaunched(id) => {
                totals.nodes_launched += 1;
                let kind = world.instances[id.index()].capacity_type;
                totals.on_demand_launched += u64::from(kind == CapacityType::OnDemand);
            }
            Change::ClaimDisrupted(..) => {
                let first = totals.disruptions.map_or(fact.at, |(first, _)| first);
                totals.disruptions = Some((first, fact.at));
            }
            Change::ClaimDeleting(id, _) if world.claim(id).node.is_some() => {
                draining.insert(id);
                totals.draining_max = totals.draining_max.max(draining.len() as u64);
            }
            Change::ClaimDrained(id) | Change::ClaimGone(id) => {
                draining.remove(&id);
            }
            Change::InstanceShuttingDown(_) => totals.nodes_terminated += 1,
            Change::InstanceInterrupted(_) => totals.interruptions += 1,
            Change::AlarmChanged(alarm, AlarmState::Alarm) => totals.alarms.push((fact.at, alarm.index())),
            Change::ClaimNoCapacity(_) => totals.launch_failures += 1,
            Change::ClaimThrottled(_) => totals.launches_throttled += 1,
            _ => {}
        }
    }
    totals.evictions = history.pods.iter().filter(|pod| pod.cause == Some(DeleteCause::Eviction)).count() as u64;
    let waiting =
        |pod: &&crate::world::Pod| pod.is_active() && pod.node.is_none() && !matches!(pod.owner, Owner::DaemonSet(_));
    totals.unscheduled = world.pods.iter().filter(waiting).count() as u64;
    let let_go = |pod: &&super::PodHistory| {
        let waited = pod.unschedulable.is_some() && pod.bound.is_none();
        waited && pod.cause == Some(DeleteCause::ScaleDown)
    };
    totals.let_go_unscheduled = history.pods.iter().filter(let_go).count() as u64;
    for instance in &world.instances {
        let cost = cost(plan, instance);
        let pool = instance.claim.map(|claim| world.node_pools[world.claim(claim).pool.index()].name.clone());
        let entry = totals.cost_by.entry((pool.unwrap_or_else(|| "-".to_string()), capacity(instance.capacity_type)));
        let (time, dollars) = entry.or_default();
        *time += paid(plan, instance);
        dollars.0 += cost.0;
        totals.cost.0 += cost.0;
        totals.surplus_cost.0 += instance.surplus().0;
        totals.node_time += paid(plan, instance);
    }
    totals
}

const fn capacity(capacity_type: CapacityType) -> &'static str {
    capacity_type.name()
}

/// The time an instance was paid for within the run.
pub fn paid(plan: &Plan, instance: &Instance) -> Span {
    instance.stopped.unwrap_or(plan.until).since(instance.launched.max(plan.start))
}

/// What an instance cost within the run: its bill at the end less its bill at the start.
pub fn cost(plan: &Plan, instance: &Instance) -> MicroDollars {
    let end = MicroDollars(instance.cost(plan.until).0 + instance.surplus().0);
    if instance.launched >= plan.start {
        return end;
    }
    let before = Instance { stopped: instance.stopped.map(|at| at.min(plan.start)), ..instance.clone() };
    MicroDollars(end.0 - before.cost(plan.start).0)
}

/// What the nodes of the start would have cost, had all of them been kept until the end.
pub fn cost_of_keeping(plan: &Plan, world: &World) -> MicroDollars {
    let initial = world.instances.iter().filter(|instance| instance.launched <= plan.start);
    let kept = initial.map(|instance| cost(plan, &Instance { stopped: None, ..instance.clone() }).0);
    MicroDollars(kept.sum())
}

/// A cost for each million of requests that were served; `None` where none was.
pub fn per_million(world: &World, cost: MicroDollars) -> Option<f64> {
    let served: u64 = world.ledgers.iter().map(|ledger| ledger.total.served).sum();
    (served > 0).then(|| cost.dollars() / (served as f64 / REQUEST as f64 / 1e6))
}
