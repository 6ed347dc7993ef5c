//! Commands and reasons in the words of a case.

use crate::karpenter_cluster::{Cluster, amounts, items, text};
use kubelapse::components::karpenter::cluster::{cheapest_price, is_provisionable};
use kubelapse::components::karpenter::disruption::balanced::{Totals, estimated_savings, scores};
use kubelapse::components::karpenter::disruption::notes::Notes;
use kubelapse::components::karpenter::disruption::simulation::{Move, Scene};
use kubelapse::components::karpenter::provisioner::packing::NewNode;
use kubelapse::plan::{InstanceTypeId, NodePoolId};
use kubelapse::record::{Reason, Subject, VerdictKind};
use kubelapse::rules::requirements::{INSTANCE_TYPE, NODE_CLASS, NODE_POOL};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Numbers are the same but for the rounding of their decimal form.
pub fn number_differs(wanted: &Value, found: f64) -> bool {
    let Some(wanted) = wanted.as_f64() else { return !(wanted == "+Inf" && found == f64::INFINITY) };
    (wanted - found).abs() > 1e-12 * wanted.abs().max(1.0)
}

/// The last reason that was given for each node or pool.
pub fn last_reasons(cluster: &Cluster, notes: &Notes, kind: VerdictKind) -> BTreeMap<String, Reason> {
    let of_kind = notes.verdicts.iter().filter(|verdict| verdict.kind == kind);
    let named = of_kind.map(|verdict| {
        let name = match verdict.subject {
            Subject::Node(node) => cluster.world.node(node).name.to_string(),
            Subject::Pool(pool) => format!("nodepool/{}", cluster.world.node_pools[pool.index()].name),
        };
        (name, verdict.reason.clone())
    });
    named.collect()
}

/// Reasons by node.
pub fn compare_reasons(
    cluster: &Cluster,
    wanted: &Value,
    notes: &Notes,
    kind: VerdictKind,
    what: &str,
) -> Result<(), String> {
    let found = last_reasons(cluster, notes, kind);
    let wanted = wanted.as_object().cloned().unwrap_or_default();
    let names: BTreeSet<&String> = found.keys().chain(wanted.keys()).collect();
    for name in names {
        let wanted = wanted.get(name).cloned().unwrap_or_default();
        let (same, found) = match found.get(name) {
            None => (false, Value::Null),
            Some(Reason::Text(text)) => (wanted == json!(text), json!(text)),
            Some(Reason::Unplaced(pods, uninitialized)) => {
                let mut names: Vec<String> = pods.iter().map(|&pod| cluster.full_name(pod)).collect();
                names.sort();
                let count = wanted["unschedulablePods"].as_u64();
                let same = match count {
                    Some(count) => count == names.len() as u64,
                    None => {
                        wanted["unschedulable"] == json!(names)
                            && (wanted["uninitialized"] == json!(true)) == *uninitialized
                    }
                };
                (same, json!({"unschedulable": names, "uninitialized": uninitialized}))
            }
        };
        if !same {
            return Err(format!("{what} {name}: {wanted} expected, {found} found"));
        }
    }
    Ok(())
}

/// Commands of a method (in any order), or of a pass.
pub fn compare_commands(
    cluster: &Cluster,
    scene: Scene,
    wanted: &Value,
    moves: &[&Move],
    totals: Option<&BTreeMap<NodePoolId, Totals>>,
    as_set: bool,
) -> Result<(), String> {
    // Commands of one pass are started at once: their order says nothing.
    let mut wanted = items(wanted).to_vec();
    wanted.sort_by_key(|command| text(&command["nodes"][0]));
    let mut moves = moves.to_vec();
    moves.sort_by(|one, two| one.candidates[0].name.cmp(&two.candidates[0].name));
    if wanted.len() != moves.len() {
        let found: Vec<Value> = moves.iter().map(|found| nodes_of(found, false)).collect();
        let wanted: Vec<&Value> = wanted.iter().map(|command| &command["nodes"]).collect();
        return Err(format!("commands for {wanted:?} expected, for {found:?} found"));
    }
    for (wanted, found) in wanted.iter().zip(moves) {
        compare_command(cluster, scene, wanted, found, totals, as_set)?;
    }
    Ok(())
}

fn nodes_of(found: &Move, as_set: bool) -> Value {
    let mut names: Vec<String> = found.candidates.iter().map(|one| one.name.to_string()).collect();
    if as_set {
        names.sort();
    }
    json!(names)
}

/// One command.
pub fn compare_command(
    cluster: &Cluster,
    scene: Scene,
    wanted: &Value,
    found: &Move,
    totals: Option<&BTreeMap<NodePoolId, Totals>>,
    as_set: bool,
) -> Result<(), String> {
    let mut nodes = wanted["nodes"].clone();
    if let (true, Some(names)) = (as_set, nodes.as_array_mut()) {
        names.sort_by_key(text);
    }
    let decision = if found.replacements().is_empty() { "delete" } else { "replace" };
    let (pods, unschedulable) = places(cluster, found);
    let or_empty = |key: &str, empty: Value| wanted.get(key).cloned().unwrap_or(empty);
    for (what, wanted, found) in [
        ("nodes", nodes, nodes_of(found, as_set)),
        ("decision", wanted["decision"].clone(), json!(decision)),
        ("pods", or_empty("pods", json!({})), pods),
        ("unschedulable", or_empty("unschedulable", json!([])), unschedulable),
    ] {
        if wanted != found {
            return Err(format!("{what}: {wanted} expected, {found} found"));
        }
    }
    let savings = estimated_savings(scene, found);
    if !wanted["savings"].is_null() && number_differs(&wanted["savings"], savings) {
        return Err(format!("savings: {} expected, {savings} found", wanted["savings"]));
    }
    if let Some(totals) = totals {
        let found = scores(scene, found, totals);
        let wanted = wanted["score"].as_object().cloned().unwrap_or_default();
        let same = |(pool, score): (&NodePoolId, &f64)| {
            let wanted = wanted.get(&cluster.world.node_pools[pool.index()].name);
            wanted.is_some_and(|wanted| !number_differs(wanted, *score))
        };
        if wanted.len() != found.len() || !found.iter().all(same) {
            return Err(format!("score: {wanted:?} expected, {found:?} found"));
        }
    }
    let replacements = items(&wanted["replacements"]);
    if replacements.len() != found.replacements().len() {
        return Err(format!("{} replacements expected, {} found", replacements.len(), found.replacements().len()));
    }
    replacements.iter().zip(found.replacements()).try_for_each(|(wanted, found)| replacement(cluster, wanted, found))
}

/// Where the simulation put each pod, and pods that wait and fit nowhere.
fn places(cluster: &Cluster, found: &Move) -> (Value, Value) {
    let mut pods = Map::new();
    for placed in &found.results.existing {
        pods.extend(placed.pods.iter().map(|&pod| (cluster.full_name(pod), json!(&*placed.name))));
    }
    for (index, claim) in found.results.claims.iter().enumerate() {
        pods.extend(claim.pods.iter().map(|&pod| (cluster.full_name(pod), json!(format!("+{index}")))));
    }
    let failed = found.results.errors.iter().map(|(pod, _)| *pod);
    let waiting = failed.filter(|&pod| is_provisionable(&cluster.world, pod));
    let mut waiting: Vec<String> = waiting.map(|pod| cluster.full_name(pod)).collect();
    waiting.sort();
    (Value::Object(pods), json!(waiting))
}

fn replacement(cluster: &Cluster, wanted: &Value, found: &NewNode) -> Result<(), String> {
    let (plan, world) = (&cluster.plan, &cluster.world);
    let pool = &world.node_pools[found.pool.index()].name;
    if wanted["nodePool"] != json!(pool) {
        return Err(format!("nodePool: {} expected, {pool} found", wanted["nodePool"]));
    }
    let claim = found.claim(plan, world);
    let name = |id: InstanceTypeId| plan.instance_type(id).name.as_str();
    let types: Vec<&str> = claim.instance_types.iter().map(|&id| name(id)).collect();
    let expected: Vec<String> = items(&wanted["instanceTypes"]).iter().map(text).collect();
    let sets = (expected.iter().map(String::as_str).collect::<BTreeSet<_>>(), types.iter().copied().collect());
    if sets.0 != sets.1 {
        let missing: Vec<&&str> = sets.0.difference(&sets.1).collect();
        let extra: Vec<&&str> = sets.1.difference(&sets.0).collect();
        return Err(format!("instanceTypes: {missing:?} missing, {extra:?} too many"));
    }
    // Types of equal price may change places.
    let price = |wanted: &str| {
        let id = claim.instance_types.iter().copied().find(|&id| name(id) == wanted);
        id.map_or(f64::MAX, |id| cheapest_price(plan, world, id, &claim.requirements))
    };
    let prices = |names: Vec<&str>| names.into_iter().map(price).collect::<Vec<f64>>();
    if prices(expected.iter().map(String::as_str).collect()) != prices(types.clone()) {
        return Err(format!("order of instanceTypes: {expected:?} expected, {types:?} found"));
    }
    let least = found.requirements.get(INSTANCE_TYPE).and_then(|requirement| requirement.min_values);
    if wanted["minInstanceTypes"].as_u64() != least.map(u64::from) {
        return Err(format!("minInstanceTypes: {} expected, {least:?} found", wanted["minInstanceTypes"]));
    }
    let written = claim.requirements.written();
    let mut requirements: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
    let shown = written.iter().filter(|one| ![NODE_POOL, NODE_CLASS].contains(&one.key.as_str()));
    for one in shown {
        let mut values = one.values.clone();
        values.sort();
        let mut entry = json!({"operator": format!("{:?}", one.operator)});
        if !values.is_empty() {
            entry["values"] = json!(values);
        }
        if let Some(least) = one.min_values {
            entry["minValues"] = json!(least);
        }
        requirements.entry(&one.key).or_default().push(entry);
    }
    let mut expected = wanted["requirements"].clone();
    for list in expected.as_object_mut().into_iter().flat_map(Map::values_mut) {
        for entry in list.as_array_mut().into_iter().flatten() {
            if let Some(values) = entry["values"].as_array_mut() {
                values.sort_by_key(text);
            } else if let Some(entry) = entry.as_object_mut() {
                entry.remove("values");
            }
        }
    }
    if expected != json!(requirements) {
        return Err(format!("requirements: {expected} expected, {} found", json!(requirements)));
    }
    let mut requests = amounts(&wanted["requests"])?;
    let mut own = found.requests.clone();
    requests.extended.retain(|_, amount| *amount != 0);
    own.extended.retain(|_, amount| *amount != 0);
    if requests != own {
        return Err(format!("requests: {requests:?} expected, {own:?} found"));
    }
    Ok(())
}
