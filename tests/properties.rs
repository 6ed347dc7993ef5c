//! Laws that hold for any scenario: generated variants of a shipped one.

use crate::support::shipped;
use kubelapse::engine::{Span, Time};
use kubelapse::plan::flags::CreditMode;
use kubelapse::plan::{
    Curve, Fault, FaultKind, IntOrPercent, NodeChoice, NodePoolId, NodePoolSpec, NodeProblem, PdbSpec, Plan,
    TrafficMode,
};
use kubelapse::rules::taint::{Taint, TaintEffect};
use kubelapse::study::run_once;
use proptest::prelude::*;
use std::sync::{Arc, OnceLock};

fn base() -> &'static Plan {
    static BASE: OnceLock<Plan> = OnceLock::new();
    BASE.get_or_init(|| shipped("scale-up"))
}

/// What varies from one generated scenario to the next.
#[derive(Clone, Debug)]
struct Variant {
    seed: u64,
    noise: bool,
    fluid: bool,
    minutes: u64,
    replicas: i32,
    max_replicas: i32,
    nodes: usize,
    rates: Vec<(u64, u32)>,
    budget: Option<(bool, i32)>,
    grace_seconds: u64,
    consolidate_after: Option<u64>,
    expire_after: Option<u64>,
    faults: Vec<(u64, u8, u64)>,
}

fn variants() -> impl Strategy<Value = Variant> {
    let load = (1u64..12, 1i32..8, 0i32..16, 0usize..4, prop::collection::vec((0u64..700, 0u32..40), 1..5));
    let policy = (
        prop::option::of((any::<bool>(), 0i32..5)),
        0u64..90,
        prop::option::weighted(0.9, 0u64..120),
        prop::option::weighted(0.3, 420u64..900),
        prop::collection::vec((0u64..600, 0u8..9, 1u64..300), 0..3),
    );
    (any::<u64>(), any::<bool>(), any::<bool>(), load, policy).prop_map(|(seed, noise, fluid, load, policy)| {
        let (minutes, replicas, extra, nodes, rates) = load;
        let (budget, grace_seconds, consolidate_after, expire_after, faults) = policy;
        Variant {
            seed,
            noise,
            fluid,
            minutes,
            replicas,
            max_replicas: replicas + extra,
            nodes,
            rates,
            budget,
            grace_seconds,
            consolidate_after,
            expire_after,
            faults,
        }
    })
}

/// The plan of a variant.
fn plan_of(variant: &Variant) -> Plan {
    let mut plan = base().clone();
    let seconds = |n: u64| plan.start + Span::from_secs(n);
    plan.seed = variant.seed;
    // What is off by default is on in some of them.
    plan.flags.credits.mode = [CreditMode::Off, CreditMode::Unlimited, CreditMode::Standard][variant.seed as usize % 3];
    plan.flags.karpenter.node_repair = variant.seed.is_multiple_of(2);
    plan.flags.karpenter.repair_toleration = Span::from_secs(60);
    if variant.seed.is_multiple_of(5) {
        plan.flags.ec2.limits = [(0.05, 1.0); 3];
    }
    plan.noise = variant.noise;
    plan.until = seconds(variant.minutes * 60);
    let mut points: Vec<(Time, f64)> = variant.rates.iter().map(|&(at, rate)| (seconds(at), f64::from(rate))).collect();
    points.sort_by_key(|&(at, _)| at);
    plan.faults = variant.faults.iter().map(|&fault| scripted(&plan, fault)).collect();
    plan.faults.sort_by_key(|fault| fault.at);
    let first = plan.nodes.first().cloned().expect("the base has a node");
    plan.nodes = (0..variant.nodes)
        .map(|n| kubelapse::plan::InitialNode { name: format!("node-{n}"), ..first.clone() })
        .collect();
    for app in &mut plan.apps {
        app.mode = if variant.fluid { TrafficMode::Fluid } else { TrafficMode::Requests };
        app.traffic = Curve { points: points.clone() };
    }
    for deployment in &mut plan.deployments {
        Arc::make_mut(deployment).replicas = variant.replicas;
    }
    for hpa in &mut plan.hpas {
        let hpa = Arc::make_mut(hpa);
        hpa.min_replicas = 1;
        hpa.max_replicas = variant.max_replicas;
    }
    for template in &mut plan.templates {
        Arc::make_mut(template).termination_grace = Span::from_secs(variant.grace_seconds);
    }
    for pool in &mut plan.node_pools {
        let pool = Arc::make_mut(pool);
        pool.consolidate_after = variant.consolidate_after.map(Span::from_secs);
        pool.expire_after = variant.expire_after.map(Span::from_secs);
    }
    plan.pdbs = variant.budget.map(|budget| Arc::new(budget_of(&plan, budget))).into_iter().collect();
    plan
}

fn budget_of(plan: &Plan, (minimum, value): (bool, i32)) -> PdbSpec {
    let deployment = &plan.deployments[0];
    let value = IntOrPercent::Int(value);
    PdbSpec {
        namespace: deployment.namespace.clone(),
        name: "generated".to_string(),
        selector: Some(deployment.selector.clone()),
        min_available: minimum.then_some(value),
        max_unavailable: (!minimum).then_some(value),
        always_allow_unhealthy: false,
    }
}

fn scripted(plan: &Plan, (at, kind, length): (u64, u8, u64)) -> Fault {
    let at = plan.start + Span::from_secs(at);
    let kind = match kind {
        0 => FaultKind::SpotInterruption { instance_type: None, zone: None },
        1 => FaultKind::NodeFailure(NodeChoice::Fullest),
        2 => FaultKind::InsufficientCapacity { instance_type: None, zone: None, capacity_type: None },
        3 => FaultKind::SlowRegistry(3.0),
        4 => FaultKind::RebalanceRecommendation { instance_type: None, zone: None },
        5 => FaultKind::SpotPrice { instance_type: None, zone: None, factor: 1.0 + length as f64 / 100.0 },
        6 => FaultKind::NodeUnhealthy { node: NodeChoice::Fullest, problem: None },
        7 => FaultKind::NodeUnhealthy { node: NodeChoice::All, problem: Some(NodeProblem::Kernel) },
        _ => FaultKind::Slowdown(kubelapse::plan::AppId(0), 2.5, kubelapse::plan::SlowPart::All),
    };
    Fault { at, until: Some(at + Span::from_secs(length)), kind }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Pods, requests, capacity and instances are conserved: the debug build checks the laws as it goes, and all of them
    /// at the end; a broken one panics.
    #[test]
    fn every_law_holds_in_generated_scenarios(variant in variants()) {
        let plan = plan_of(&variant);
        let outcome = run_once(&plan, 0, false);
        prop_assert!(outcome.limit.is_none(), "{:?}", outcome.limit);
        prop_assert!(outcome.recorder.facts.windows(2).all(|pair| pair[0].at <= pair[1].at), "time never goes back");
        for ledger in &outcome.world.ledgers {
            let total = &ledger.total;
            prop_assert_eq!(total.offered, total.served + total.lost_all() + ledger.in_flight);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_same_run_twice_is_the_same_run(variant in variants()) {
        let plan = plan_of(&variant);
        let (one, two) = (run_once(&plan, 3, false), run_once(&plan, 3, false));
        prop_assert_eq!(one.event_hash, two.event_hash);
        prop_assert_eq!(one.recorder.facts, two.recorder.facts);
    }

    /// Draws are keyed by what they are for: a pool that nobody can use changes nothing at all.
    #[test]
    fn an_unused_node_pool_changes_nothing(variant in variants()) {
        let plan = plan_of(&variant);
        let mut wider = plan.clone();
        let taint = Taint::new("nobody-tolerates-this", TaintEffect::NoSchedule);
        let first: &NodePoolSpec = &plan.node_pools[0];
        wider.node_pools.push(Arc::new(NodePoolSpec { name: "unused".to_string(), taints: vec![taint], ..first.clone() }));
        wider.pool_types.push(plan.pool_types[0].clone());
        let (one, two) = (run_once(&plan, 0, false), run_once(&wider, 0, false));
        prop_assert_eq!(one.recorder.facts, two.recorder.facts);
        prop_assert!(two.world.claims.iter().all(|claim| claim.pool == NodePoolId(0)));
    }
}
