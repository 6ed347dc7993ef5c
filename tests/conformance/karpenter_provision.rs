//! `karpenter.provision`: one pass of the provisioner on a snapshot.

use crate::Case;
use crate::karpenter_cluster::{Cluster, amounts, items, text};
use kubelapse::components::karpenter::cluster::Catalog;
use kubelapse::components::karpenter::provisioner::packing::{NewNode, Refusal, Results};
use kubelapse::components::karpenter::provisioner::{creatable, decide};
use kubelapse::engine::Span;
use kubelapse::plan::PodTemplate;
use kubelapse::rules::requirement::NodeRequirement;
use kubelapse::rules::requirements::INSTANCE_TYPE;
use kubelapse::rules::resources::Resources;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// Replays a case.
pub fn replay(case: &Case) -> Result<(), String> {
    let catalogue = case.input["catalogue"].as_str().map(|name| format!("catalogues/{name}.json"));
    let cluster = Cluster::read(case, catalogue)?;
    let catalog = Catalog::of(&cluster.plan);
    let (_, results) = decide(&cluster.plan, &cluster.world, &catalog);
    let answer = Answer::of(&cluster, &results);
    if let Some(options) = case.expect["any_of"].as_array() {
        let found: Vec<Result<(), String>> = options.iter().map(|option| answer.compare(option)).collect();
        return if found.iter().any(Result::is_ok) { Ok(()) } else { found.into_iter().next().unwrap_or(Ok(())) };
    }
    answer.compare(&case.expect)
}

struct Claim {
    pods: Value,
    requests: Resources,
    shape: Value,
    types: BTreeSet<String>,
}

/// What the pass decided, in the words of a case.
struct Answer {
    claims: Vec<Claim>,
    existing: Value,
    errors: Value,
    ignored: Value,
    relaxed: Value,
}

fn reason(refusal: &Refusal) -> String {
    let plain = match refusal {
        Refusal::Taint => "taint",
        Refusal::Requirements => "requirements",
        Refusal::Topology => "topology",
        Refusal::MinValues => "minValues",
        Refusal::TruncatedMinValues => "truncatedMinValues",
        Refusal::Limits => "limits",
        Refusal::NodeLimit => "nodeLimit",
        Refusal::HostPort => "hostPort",
        Refusal::Resources => "resources",
        Refusal::Unsettled => "unsettled",
        Refusal::Reserved => "reserved",
        Refusal::Volume => "volume",
        Refusal::Devices => "dra",
        Refusal::Types(unmet) => {
            let all =
                [(unmet.requirements, "requirements"), (unmet.resources, "resources"), (unmet.offering, "offering")];
            let named: Vec<&str> = all.iter().filter(|(unmet, _)| *unmet).map(|(_, name)| *name).collect();
            let named = if named.is_empty() { "pair resources+offering".to_string() } else { named.join(", ") };
            return format!("types: {named}");
        }
    };
    plain.to_string()
}

fn lost(before: &PodTemplate, after: &PodTemplate) -> Value {
    let terms = |template: &PodTemplate| template.affinity.node_required.as_ref().map_or(0, Vec::len);
    let (old, new) = (&before.affinity, &after.affinity);
    let counts = [
        ("requiredNodeAffinity", terms(before) - terms(after)),
        ("preferredPodAffinity", old.pod_preferred.len() - new.pod_preferred.len()),
        ("preferredPodAntiAffinity", old.anti_preferred.len() - new.anti_preferred.len()),
        ("preferredNodeAffinity", old.node_preferred.len() - new.node_preferred.len()),
        ("topologySpread", before.topology_spread.len() - after.topology_spread.len()),
        ("preferNoSchedule", after.tolerations.len() - before.tolerations.len()),
    ];
    counts.into_iter().filter(|(_, count)| *count > 0).map(|(name, count)| (name.to_string(), json!(count))).collect()
}

fn written(requirement: &NodeRequirement) -> Value {
    let mut values = requirement.values.clone();
    values.sort();
    let mut entry = json!({"key": requirement.key, "operator": format!("{:?}", requirement.operator)});
    if !values.is_empty() {
        entry["values"] = json!(values);
    }
    if let Some(least) = requirement.min_values {
        entry["minValues"] = json!(least);
    }
    entry
}

fn span_text(value: Option<Span>) -> Value {
    value.map_or(Value::Null, |span| json!(span.whole_seconds()))
}

/// A Go duration of hours, minutes and seconds, as seconds.
fn seconds(value: &Value) -> Value {
    let Some(text) = value.as_str() else { return Value::Null };
    let (mut total, mut number) = (0_u64, String::new());
    for letter in text.chars() {
        let unit = match letter {
            'h' => 3600,
            'm' => 60,
            's' => 1,
            digit => {
                number.push(digit);
                continue;
            }
        };
        total += unit * number.parse::<u64>().unwrap_or(0);
        number.clear();
    }
    if text == "Never" { Value::Null } else { json!(total) }
}

fn taint_list(taints: &[kubelapse::rules::taint::Taint]) -> Value {
    let entry =
        |taint: &kubelapse::rules::taint::Taint| json!([&*taint.key, &*taint.value, format!("{:?}", taint.effect)]);
    taints.iter().map(entry).collect()
}

fn expected_taints(value: &Value) -> Value {
    let entry = |taint: &Value| json!([text(&taint["key"]), text(&taint["value"]), text(&taint["effect"])]);
    items(value).iter().map(entry).collect()
}

fn shape(cluster: &Cluster, node: &NewNode) -> Value {
    let spec = &cluster.world.node_pools[node.pool.index()];
    let claim = node.claim(&cluster.plan, &cluster.world);
    let mut requirements: Vec<Value> = claim.requirements.written().iter().map(written).collect();
    let mut of_type = json!({"key": INSTANCE_TYPE, "operator": "In"});
    if let Some(least) = node.requirements.get(INSTANCE_TYPE).and_then(|requirement| requirement.min_values) {
        of_type["minValues"] = json!(least);
    }
    requirements.push(of_type);
    requirements.sort_by_key(|entry| (text(&entry["key"]), text(&entry["operator"])));
    json!({
        "nodePool": spec.name,
        "requirements": requirements,
        "labels": node.labels,
        "taints": taint_list(&spec.taints),
        "startupTaints": taint_list(&spec.startup_taints),
        "expireAfter": span_text(spec.expire_after),
        "terminationGracePeriod": span_text(spec.termination_grace_period),
        "minValuesRelaxed": node.min_values_relaxed,
    })
}

impl Answer {
    fn of(cluster: &Cluster, results: &Results) -> Answer {
        let claims = creatable(&cluster.plan, &cluster.world, results);
        let claims = claims.into_iter().map(|node| Claim {
            pods: json!(cluster.names(&node.pods)),
            requests: node.requests.clone(),
            shape: shape(cluster, node),
            types: node.types.iter().map(|&id| cluster.plan.instance_type(id).name.clone()).collect(),
        });
        let existing = results.existing.iter().map(|node| (node.name.to_string(), json!(cluster.names(&node.pods))));
        let mut errors = Map::new();
        for (pod, refusals) in &results.errors {
            let reasons: Vec<String> = refusals.iter().map(reason).collect();
            let reasons = if reasons.is_empty() { vec!["noTypes".to_string()] } else { reasons };
            errors.insert(cluster.pod(*pod).to_string(), json!(reasons));
        }
        let relaxed = results
            .relaxed
            .iter()
            .map(|(&pod, after)| (cluster.pod(pod).to_string(), lost(cluster.world.template_of(pod), after)));
        let mut ignored: Vec<&str> = results.ignored.iter().map(|(pod, _)| cluster.pod(*pod)).collect();
        ignored.sort_unstable();
        Answer {
            claims: claims.collect(),
            existing: Value::Object(existing.collect()),
            errors: Value::Object(errors),
            ignored: json!(ignored),
            relaxed: Value::Object(relaxed.collect()),
        }
    }

    fn compare(&self, expect: &Value) -> Result<(), String> {
        let empty = json!({});
        let or_empty = |key: &str| expect.get(key).unwrap_or(&empty).clone();
        let wanted: Vec<&Value> = items(&expect["nodeClaims"]).iter().collect();
        let mut left: Vec<&Claim> = self.claims.iter().collect();
        for claim in &wanted {
            let Some(index) = left.iter().position(|found| found.pods == claim["pods"]) else {
                let found: Vec<&Value> = self.claims.iter().map(|claim| &claim.pods).collect();
                return Err(format!("a claim for {} expected, there are {found:?}", claim["pods"]));
            };
            let found = left.remove(index);
            let index = claim["shape"].as_u64().unwrap_or(0) as usize;
            compare_claim(found, claim, &expect["shapes"][index])?;
        }
        if let Some(extra) = left.first() {
            return Err(format!("no claim for {} expected", extra.pods));
        }
        let ignored = expect.get("ignored").cloned().unwrap_or_else(|| json!([]));
        for (what, found, wanted) in [
            ("existing", &self.existing, or_empty("existing")),
            ("podErrors", &self.errors, or_empty("podErrors")),
            ("relaxed", &self.relaxed, or_empty("relaxed")),
            ("ignored", &self.ignored, ignored),
        ] {
            if *found != wanted {
                return Err(format!("{what}: {wanted} expected, {found} found"));
            }
        }
        Ok(())
    }
}

fn compare_claim(found: &Claim, claim: &Value, shape: &Value) -> Result<(), String> {
    let mut requests = amounts(&claim["requests"])?;
    requests.extended.retain(|_, amount| *amount != 0);
    let mut own = found.requests.clone();
    own.extended.retain(|_, amount| *amount != 0);
    if own != requests {
        return Err(format!("requests of {}: {requests:?} expected, {own:?} found", claim["pods"]));
    }
    let types: BTreeSet<String> = items(&shape["instanceTypes"]).iter().map(text).collect();
    if types != found.types {
        let missing: Vec<&String> = types.difference(&found.types).collect();
        let extra: Vec<&String> = found.types.difference(&types).collect();
        return Err(format!("types of {}: {missing:?} missing, {extra:?} too many", claim["pods"]));
    }
    let mut labels = found.shape["labels"].clone();
    for key in items(&shape["labelsAny"]).iter().filter_map(Value::as_str) {
        let removed = labels.as_object_mut().and_then(|labels| labels.remove(key));
        removed.ok_or_else(|| format!("label {key} is missing"))?;
    }
    for (what, found, wanted) in [
        ("nodePool", &found.shape["nodePool"], shape["nodePool"].clone()),
        ("labels", &labels, shape["labels"].clone()),
        ("requirements", &found.shape["requirements"], shape["requirements"].clone()),
        ("taints", &found.shape["taints"], expected_taints(&shape["taints"])),
        ("startupTaints", &found.shape["startupTaints"], expected_taints(&shape["startupTaints"])),
        ("expireAfter", &found.shape["expireAfter"], seconds(&shape["expireAfter"])),
        ("grace", &found.shape["terminationGracePeriod"], seconds(&shape["terminationGracePeriod"])),
        ("minValuesRelaxed", &found.shape["minValuesRelaxed"], json!(shape["minValuesRelaxed"] == json!(true))),
    ] {
        if *found != wanted {
            return Err(format!("{what} of {}: {wanted} expected, {found} found", claim["pods"]));
        }
    }
    Ok(())
}
