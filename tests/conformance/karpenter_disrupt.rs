//! `karpenter.disrupt`: what each disruption method decides on a snapshot, and the loop with its queue over time.

mod answer;
mod trace;

use crate::Case;
use crate::karpenter_cluster::{Cluster, items, text};
use answer::{compare_commands, compare_reasons, number_differs};
use kubelapse::components::karpenter::cluster::{Catalog, state_nodes};
use kubelapse::components::karpenter::disruption::balanced::Totals;
use kubelapse::components::karpenter::disruption::budgets::{Remaining, remaining};
use kubelapse::components::karpenter::disruption::candidates::{Class, candidate};
use kubelapse::components::karpenter::disruption::decide::{Decision, decide, prospect};
use kubelapse::components::karpenter::disruption::method::Method;
use kubelapse::components::karpenter::disruption::notes::Notes;
use kubelapse::components::karpenter::disruption::simulation::{Move, Scene};
use kubelapse::components::karpenter::node_claim;
use kubelapse::plan::NodePoolId;
use kubelapse::record::VerdictKind;
use kubelapse::world::ClaimId;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Replays a case.
pub fn replay(case: &Case) -> Result<(), String> {
    let catalogue = case.input["catalogue"].as_str().map(|name| format!("{name}.json"));
    let mut cluster = Cluster::read(case, catalogue)?;
    refresh(&mut cluster);
    if case.input["steps"].is_null() { plan(case, &cluster) } else { trace::replay(case, cluster) }
}

/// Conditions of all claims as they are now.
fn refresh(cluster: &mut Cluster) {
    for index in 0..cluster.world.claims.len() {
        node_claim::refresh_conditions(&cluster.plan, &mut cluster.world, ClaimId::at(index), &mut Default::default());
    }
}

/// Every method by itself.
fn plan(case: &Case, cluster: &Cluster) -> Result<(), String> {
    let (catalog, held) = (Catalog::of(&cluster.plan), BTreeSet::new());
    let nodes = state_nodes(&cluster.plan, &cluster.world);
    let scene = Scene {
        plan: &cluster.plan,
        world: &cluster.world,
        catalog: &catalog,
        nodes: &nodes,
        held: &held,
        memo: &Default::default(),
    };
    compare_nodes(cluster, &case.expect["nodes"])?;
    let unseen = items(&case.input["unseenNodePools"]).iter().filter_map(|name| cluster.pool(name.as_str()?));
    let unseen: BTreeSet<NodePoolId> = unseen.collect();
    let expected = items(&case.expect["methods"]);
    let is_static = |method: &Value| method["type"] == "static";
    if !expected.iter().any(is_static)
        && !prospect(scene, Method::StaticDrift, &mut Notes::default()).candidates.is_empty()
    {
        return Err("static drift has candidates".to_string());
    }
    for wanted in expected {
        let first = wanted["any_of"].get(0).unwrap_or(wanted);
        let method = match (text(&first["method"]).as_str(), text(&first["type"]).as_str()) {
            ("Empty", _) => Method::Emptiness,
            ("Drifted", "static") => Method::StaticDrift,
            ("Drifted", _) => Method::Drift,
            (_, "multi") => Method::MultiNode,
            _ => Method::SingleNode,
        };
        let seen = Seen::of(scene, method, &unseen);
        let options = wanted["any_of"].as_array();
        let options: Vec<&Value> = options.map_or_else(|| vec![wanted], |options| options.iter().collect());
        let differences: Vec<String> =
            options.iter().filter_map(|one| seen.compare(cluster, scene, one).err()).collect();
        if differences.len() == options.len() {
            return Err(format!("{method:?}: {}", differences[0]));
        }
    }
    Ok(())
}

/// What a method sees and does.
struct Seen {
    method: Method,
    candidates: Vec<String>,
    order: Vec<String>,
    totals: BTreeMap<NodePoolId, Totals>,
    filter: Notes,
    computing: Notes,
    budgets: Remaining,
    outcome: Option<Result<Decision, &'static str>>,
}

impl Seen {
    fn of(scene: Scene, method: Method, unseen: &BTreeSet<NodePoolId>) -> Seen {
        let (mut filter, mut computing) = (Notes::new(true), Notes::new(true));
        let mut prospect = prospect(scene, method, &mut filter);
        let budgets = remaining(scene.world, method.budget_reason(), &mut Notes::default());
        let names = |list: &[_]| {
            list.iter()
                .map(|one: &kubelapse::components::karpenter::disruption::candidates::Candidate| one.name.to_string())
                .collect()
        };
        let mut order = prospect.candidates.clone();
        method.sort(scene.world, scene.plan.flags.karpenter.version, &mut order);
        let (candidates, order, totals) = (names(&prospect.candidates), names(&order), prospect.totals.clone());
        let outcome = (!prospect.candidates.is_empty()).then(|| {
            decide(scene, method, &mut prospect, budgets.clone(), unseen, &mut computing)
                .map_err(|failure| failure.text())
        });
        Seen { method, candidates, order, totals, filter, computing, budgets, outcome }
    }

    fn compare(&self, cluster: &Cluster, scene: Scene, wanted: &Value) -> Result<(), String> {
        let differ =
            |what: &str, wanted: &Value, found: Value| Err(format!("{what}: {wanted} expected, {found} found"));
        let or = |key: &str, other: Value| wanted.get(key).cloned().unwrap_or(other);
        let names = |value: &Value| items(value).iter().map(text).collect::<Vec<_>>();
        if names(&wanted["candidates"]) != self.candidates {
            return differ("candidates", &wanted["candidates"], json!(self.candidates));
        }
        compare_reasons(cluster, &or("rejected", json!({})), &self.filter, VerdictKind::Unconsolidatable, "rejected")?;
        let Some(outcome) = &self.outcome else { return Ok(()) };
        for (name, allowed) in wanted["budgets"].as_object().into_iter().flatten() {
            let left = cluster.pool(name).map(|pool| self.budgets.left(pool));
            if left != allowed.as_i64() {
                return differ("budgets", &wanted["budgets"], json!(left));
            }
        }
        if !wanted["order"].is_null() && names(&wanted["order"]) != self.order {
            return differ("order", &wanted["order"], json!(self.order));
        }
        self.compare_totals(cluster, &wanted["totals"])?;
        compare_reasons(cluster, &or("blocked", json!({})), &self.computing, VerdictKind::Blocked, "blocked")?;
        let kind = VerdictKind::Unconsolidatable;
        compare_reasons(cluster, &or("unconsolidatable", json!({})), &self.computing, kind, "unconsolidatable")?;
        let error = outcome.as_ref().err().copied().unwrap_or_default();
        if error != text(&wanted["error"]) {
            return differ("error", &wanted["error"], json!(error));
        }
        let none = Decision::default();
        let decision = outcome.as_ref().unwrap_or(&none);
        let consolidated = self.method.consolidates(scene.plan.flags.karpenter.version) && decision.exhausted;
        if consolidated != (wanted["consolidated"] == json!(true)) {
            return differ("consolidated", &wanted["consolidated"], json!(consolidated));
        }
        let moves: Vec<&Move> = decision.moves.iter().collect();
        let scored = matches!(self.method, Method::MultiNode | Method::SingleNode).then_some(&self.totals);
        compare_commands(cluster, scene, &wanted["commands"], &moves, scored, false)
    }

    fn compare_totals(&self, cluster: &Cluster, wanted: &Value) -> Result<(), String> {
        for (name, total) in wanted.as_object().into_iter().flatten() {
            let found = cluster.pool(name).and_then(|pool| self.totals.get(&pool)).copied().unwrap_or_default();
            if number_differs(&total["cost"], found.cost) || number_differs(&total["disruption"], found.disruption) {
                return Err(format!("totals of {name}: {total} expected, {found:?} found"));
            }
        }
        Ok(())
    }
}

/// Claims that have an instance: candidates or why they are none, prices, costs, conditions.
fn compare_nodes(cluster: &Cluster, expected: &Value) -> Result<(), String> {
    let (plan, world) = (&cluster.plan, &cluster.world);
    let mut found = Map::new();
    for claim in world.claims.iter().filter(|claim| claim.instance.is_some()) {
        let mut entry = Map::new();
        let graceful = candidate(plan, world, claim.id, Class::Graceful);
        let eventual = candidate(plan, world, claim.id, Class::Eventual);
        if let Err(why) = &graceful {
            entry.insert("blocked".to_string(), json!(why));
            if eventual.is_ok() {
                entry.insert("eventual".to_string(), json!(true));
            }
        }
        if let Ok(one) = graceful.or(eventual) {
            for (key, value) in [("price", one.price), ("reschedule", one.reschedule), ("cost", one.legacy)] {
                entry.insert(key.to_string(), json!(value));
            }
            if one.is_empty(plan.flags.karpenter.version) {
                entry.insert("empty".to_string(), json!(true));
            }
        }
        if claim.consolidatable.is_some() {
            entry.insert("consolidatable".to_string(), json!(true));
        }
        if claim.drifted.is_some() {
            let why = node_claim::drift(plan, world, claim, &mut Default::default());
            entry.insert("drifted".to_string(), json!(why.as_ref().map_or("", |why| why.reason())));
        }
        found.insert(claim.name.to_string(), Value::Object(entry));
    }
    let wanted = expected.as_object().cloned().unwrap_or_default();
    for name in found.keys().chain(wanted.keys()) {
        let (one, two) =
            (&wanted.get(name).cloned().unwrap_or_default(), &found.get(name).cloned().unwrap_or_default());
        let keys: BTreeSet<&String> = [one, two].into_iter().filter_map(Value::as_object).flat_map(Map::keys).collect();
        for key in keys {
            let same = match two[key].as_f64() {
                Some(number) => !number_differs(&one[key], number),
                None => one[key] == two[key],
            };
            if !same {
                return Err(format!("{key} of {name}: {} expected, {} found", one[key], two[key]));
            }
        }
    }
    Ok(())
}
