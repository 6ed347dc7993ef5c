//! What nothing can ever meet: labels and values that no node has, ports that no container and no Service has.
//!
//! In: the objects and the plan with its catalogue. Out: warnings. All of it is legal, and nearly always misspelt: pods wait for
//! a node that cannot come, or clients are answered 503. Labels that users make themselves are known where NodePools and nodes at the
//! start give them. Left out: labels that only together are on no node.

use super::Draft;
use super::diagnostic::{Diagnostic, Place, Problems, nearest, suggestion};
use crate::manifest::References;
use crate::manifest::common::{Found, NODE_LABELS};
use crate::plan::{ActionKind, Plan, PodTemplate, ServiceSpec, TargetPort};
use crate::rules::requirement::{NodeOperator, NodeRequirement};
use crate::rules::requirements::{HOSTNAME, NODE_POOL, ZONE, is_restricted, is_well_known, normalized};
use std::collections::{BTreeMap, BTreeSet};

/// Values that labels of nodes may have, by label.
pub(crate) type LabelValues = BTreeMap<String, BTreeSet<String>>;

/// What Karpenter writes on its nodes about itself.
const RECORDS: [&str; 2] = ["karpenter.sh/registered", "karpenter.sh/initialized"];

/// Warns of all of it.
pub(crate) fn check(draft: &mut Draft) {
    let Draft { objects, problems, plan, label_values, .. } = draft;
    let values = values(plan, label_values);
    let keys = keys(plan, &values);
    let deployments = objects.deployments.iter().map(|found| (&found.value.1, asker(found, &found.value.0.name)));
    let daemons = objects.daemon_sets.iter().map(|found| (&found.value.1, asker(found, &found.value.0.name)));
    let pods = objects.pods.iter().map(|found| (&found.value.1, asker(found, &found.value.0)));
    let own = OwnLabels::of(plan);
    for (template, asker) in deployments.clone().chain(pods.clone()) {
        own.say(template, asker, problems);
    }
    for (template, asker) in deployments.chain(daemons).chain(pods) {
        say_topology(template, asker, &keys, problems);
        say_values(&asked(template), asker, &values, problems);
    }
    for found in &objects.node_pools {
        let asked: Vec<&NodeRequirement> = found.value.requirements.iter().collect();
        say_values(&asked, asker(found, &found.value.name), &values, problems);
    }
    for found in &objects.services {
        say_named_ports(found, plan, problems);
    }
    for found in &objects.bindings {
        let binding = &found.value;
        let named = |service: &&Found<ServiceSpec>| {
            service.value.name == binding.service_name && service.value.namespace == binding.namespace
        };
        let Some(service) = objects.services.iter().find(named) else { continue };
        let has = |port: &crate::plan::ServicePort| {
            port.name == binding.service_port || port.port.to_string() == binding.service_port
        };
        if !service.value.ports.iter().any(has) {
            let text = format!(
                "TargetGroupBinding {}: Service {} has no port {}",
                binding.name, service.value.name, binding.service_port
            );
            let place = found.at("serviceRef.port", &binding.service_port);
            problems.push(
                Diagnostic::warning("W137", place, text).help("nothing will be registered with its target group"),
            );
        }
    }
}

/// The object that asks for something.
#[derive(Clone, Copy)]
struct Asker<'o> {
    name: &'o str,
    place: Place,
    references: &'o References,
}

impl Asker<'_> {
    fn at(&self, field: &str, value: &str) -> Place {
        self.references.place(field, value).unwrap_or(self.place)
    }
}

fn asker<'o, T>(found: &'o Found<T>, name: &'o str) -> Asker<'o> {
    Asker { name, place: found.place, references: &found.references }
}

/// What is known of labels whose values are not for users to choose.
fn values(plan: &Plan, of_types: &LabelValues) -> LabelValues {
    let mut values = of_types.clone();
    let mut put = |key: &str, all: &[&str]| {
        values.entry(key.to_string()).or_default().extend(all.iter().map(ToString::to_string));
    };
    put("karpenter.sh/capacity-type", &["spot", "on-demand", "reserved"]);
    put("kubernetes.io/os", &["linux", "windows"]);
    put("kubernetes.io/arch", &["amd64", "arm64"]);
    put("topology.kubernetes.io/region", &[&plan.region]);
    let zones: Vec<&str> = plan.zones.iter().map(String::as_str).collect();
    if !zones.is_empty() {
        put(ZONE, &zones);
    }
    // What nodes at the start say of themselves is so.
    for (key, value) in plan.nodes.iter().flat_map(|node| &node.labels) {
        if let Some(known) = values.get_mut(normalized(key)) {
            known.insert(value.to_string());
        }
    }
    values
}

/// Labels that some node may have.
fn keys<'p>(plan: &'p Plan, values: &'p LabelValues) -> BTreeSet<&'p str> {
    let mut keys: BTreeSet<&str> = NODE_LABELS.into_iter().chain([HOSTNAME]).collect();
    keys.extend(values.keys().map(String::as_str));
    for pool in &plan.node_pools {
        keys.extend(pool.labels.keys());
        keys.extend(pool.requirements.iter().map(|one| one.key.as_str()));
    }
    keys.extend(plan.nodes.iter().flat_map(|node| node.labels.keys()));
    for action in &plan.actions {
        if let ActionKind::LabelNode(_, key, _) = &action.kind {
            keys.insert(key);
        }
    }
    keys
}

fn say_topology(template: &PodTemplate, asker: Asker, keys: &BTreeSet<&str>, problems: &mut Problems) {
    let affinity = &template.affinity;
    let preferred = affinity.pod_preferred.iter().chain(&affinity.anti_preferred).map(|(_, term)| term);
    let terms = affinity.pod_required.iter().chain(&affinity.anti_required).chain(preferred);
    let asked = template.topology_spread.iter().map(|spread| &spread.topology_key);
    let asked: BTreeSet<&String> = asked.chain(terms.map(|term| &term.topology_key)).collect();
    for key in asked.into_iter().filter(|key| !keys.contains(normalized(key))) {
        let help = nearest(key, keys.iter().copied()).map(|near| format!("did you mean `{near}`?"));
        let text = format!("{}: no node can have the label `{key}` of its topologyKey", asker.name);
        problems.push(Diagnostic::warning("W134", asker.at("topologyKey", key), text).maybe_help(help));
    }
}

/// What a template asks of the labels of nodes.
fn asked(template: &PodTemplate) -> Vec<NodeRequirement> {
    let selected = template.node_selector.iter();
    let selected = selected.map(|(key, value)| NodeRequirement::new(key, NodeOperator::In, &[value]));
    let required = template.affinity.node_required.iter().flatten();
    let preferred = template.affinity.node_preferred.iter().map(|(_, term)| term);
    selected.chain(required.chain(preferred).flat_map(|term| &term.expressions).cloned()).collect()
}

fn say_values(
    asked: &[impl std::borrow::Borrow<NodeRequirement>],
    asker: Asker,
    values: &LabelValues,
    problems: &mut Problems,
) {
    for one in asked.iter().map(std::borrow::Borrow::borrow).filter(|one| one.operator == NodeOperator::In) {
        let Some(known) = values.get(normalized(&one.key)) else { continue };
        let unmet: Vec<&String> = one.values.iter().filter(|value| !known.contains(*value)).collect();
        let none = unmet.len() == one.values.len();
        for value in unmet {
            let text = format!("{}: no node can have `{}: {value}`", asker.name, one.key);
            let near = nearest(value, known.iter().map(String::as_str)).map(|near| format!("did you mean `{near}`?"));
            let few = || (known.len() <= 24).then(|| format!("known here: {}", join(known)));
            let label = if none { "so no node can meet it" } else { "others of its values can be met" };
            problems.push(
                Diagnostic::warning("W135", asker.at(&one.key, value), text).label(label).maybe_help(near.or_else(few)),
            );
        }
    }
}

/// Labels that users make, with the values that nodes may have; `None`: any.
struct OwnLabels<'p> {
    values: BTreeMap<&'p str, Option<BTreeSet<&'p str>>>,
    /// There is something that could be a node.
    has_nodes: bool,
}

impl<'p> OwnLabels<'p> {
    fn of(plan: &'p Plan) -> OwnLabels<'p> {
        let mut values: BTreeMap<&str, Option<BTreeSet<&str>>> = BTreeMap::new();
        let mut put = |key: &'p str, value: Option<&'p str>| match (
            values.entry(key).or_insert_with(|| Some(BTreeSet::new())),
            value,
        ) {
            (Some(known), Some(value)) => _ = known.insert(value),
            (known, _) => *known = value.map(|value| BTreeSet::from([value])).filter(|_| known.is_some()),
        };
        for pool in &plan.node_pools {
            put(NODE_POOL, Some(&pool.name));
            pool.labels.iter().for_each(|(key, value)| put(key, Some(value)));
            for one in &pool.requirements {
                match one.operator {
                    NodeOperator::In => one.values.iter().for_each(|value| put(&one.key, Some(value))),
                    // Karpenter gives the label the value that the pod asks for.
                    _ => put(&one.key, None),
                }
            }
        }
        plan.nodes.iter().flat_map(|node| &node.labels).for_each(|(key, value)| put(key, Some(value)));
        for action in &plan.actions {
            if let ActionKind::LabelNode(_, key, _) = &action.kind {
                put(key, None);
            }
        }
        OwnLabels { values, has_nodes: !plan.node_pools.is_empty() || !plan.nodes.is_empty() }
    }

    /// Warns of what a template's pods must find on their node, and nothing that could be a node has.
    fn say(&self, template: &PodTemplate, asker: Asker, problems: &mut Problems) {
        let selected = template.node_selector.iter();
        let selected = selected.map(|(key, value)| NodeRequirement::new(key, NodeOperator::In, &[value]));
        // Of several terms one is enough.
        let terms = template.affinity.node_required.iter().flatten();
        let required = terms.clone().filter(|_| terms.clone().count() == 1).flat_map(|term| &term.expressions).cloned();
        let must_have = |one: &NodeRequirement| {
            let key = normalized(&one.key);
            // In domains that belong to Karpenter nobody makes labels of his own: what is not one of its own is misspelt.
            let is_made = key == HOSTNAME || NODE_LABELS.contains(&key) || RECORDS.contains(&key);
            let own = key == NODE_POOL || !(is_well_known(key) || is_restricted(key) && is_made);
            own && matches!(one.operator, NodeOperator::In | NodeOperator::Exists)
        };
        for one in selected.chain(required).filter(must_have).filter(|_| self.has_nodes) {
            let known = self.values.get(one.key.as_str());
            let near = match known {
                Some(None) => continue,
                Some(Some(known)) => {
                    if one.operator == NodeOperator::Exists
                        || one.values.iter().any(|value| known.contains(value.as_str()))
                    {
                        continue;
                    }
                    one.values.first().and_then(|value| suggestion(value, known.iter().copied()))
                }
                None => {
                    let labels = self.values.keys().copied().chain(NODE_LABELS);
                    nearest(&one.key, labels).map(|near| format!("did you mean `{near}`?"))
                }
            };
            let value = one.values.join(" or ");
            let wanted = if value.is_empty() { one.key.clone() } else { format!("{}: {value}", one.key) };
            let text = format!("{}: no NodePool and no node at the start has the label `{wanted}`", asker.name);
            let place = one.values.first().map_or(asker.place, |value| asker.at(&one.key, value));
            let help = near.unwrap_or_else(|| {
                "give it to a NodePool (spec.template.metadata.labels), or to a node (cluster.nodes, `labels`)"
                    .to_string()
            });
            problems.push(Diagnostic::warning("W143", place, text).label("its pods find no node").help(help));
        }
    }
}

fn join(values: &BTreeSet<String>) -> String {
    values.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
}

/// A `targetPort` by name that no container of the pods has: the endpoint would have no port.
fn say_named_ports(found: &Found<ServiceSpec>, plan: &Plan, problems: &mut Problems) {
    let service = &found.value;
    let selected: Vec<_> = plan.templates.iter().filter(|template| service.selects(template)).collect();
    for port in &service.ports {
        let TargetPort::Name(wanted) = &port.target else { continue };
        let containers =
            selected.iter().flat_map(|template| template.containers.iter().chain(&template.init_containers));
        let names: BTreeSet<&str> = containers
            .flat_map(|container| &container.ports)
            .filter(|known| known.protocol == port.protocol && !known.name.is_empty())
            .map(|known| known.name.as_str())
            .collect();
        if selected.is_empty() || names.contains(wanted.as_str()) {
            continue;
        }
        let text = format!("Service {}: no container of its pods has a port named `{wanted}`", service.name);
        let help = suggestion(wanted, names.iter().copied());
        let help = help.unwrap_or_else(|| "give the containerPort that name, or write its number".to_string());
        problems.push(
            Diagnostic::warning("W136", found.at("targetPort", wanted), text)
                .label("its endpoints will have no port")
                .help(help),
        );
    }
}
