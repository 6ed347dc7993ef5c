//! What several kinds share: metadata, label selectors, resource lists, requirements, taints, tolerations.

use super::references::References;
use crate::engine::Span;
use crate::plan::{IntOrPercent, PodTemplate, Protocol};
use crate::rules::labels::{LabelOperator, LabelRequirement, LabelSelector, Labels};
use crate::rules::quantity::{Bytes, Millicores, Quantity};
use crate::rules::requirement::{NodeOperator, NodeRequirement};
use crate::rules::resources::ResourceList;
use crate::rules::taint::{Taint, TaintEffect, Toleration, TolerationOperator};
use crate::scenario::diagnostic::{Diagnostic, Place, Problems, nearest};
use crate::scenario::reader::{self, Fields};
use crate::scenario::yaml::Node;

/// An object with the place where it was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Found<T> {
    /// The object.
    pub value: T,
    /// Where its name stands.
    pub place: Place,
    /// Where it names other objects, or asks values of them.
    pub references: References,
}

impl<T> Found<T> {
    /// Where a field has this value; its name, if that is not known.
    pub fn at(&self, field: &str, value: &str) -> Place {
        self.references.place(field, value).unwrap_or(self.place)
    }

    /// Where the priority class of its pods is asked for.
    pub fn at_class(&self, template: &PodTemplate) -> Place {
        template.priority_class.as_ref().map_or(self.place, |class| self.at("priorityClassName", class))
    }
}

/// `metadata`.
#[derive(Clone, Debug, PartialEq)]
pub struct Metadata {
    /// `name`.
    pub name: String,
    /// `namespace`, `default` if absent.
    pub namespace: String,
    /// `labels`.
    pub labels: Labels,
    /// `annotations`.
    pub annotations: Labels,
    /// Where the name stands.
    pub place: Place,
}

/// Reads `metadata` of an object.
pub fn metadata(object: &mut Fields<'_>, problems: &mut Problems) -> Option<Metadata> {
    let node = object.required("metadata", problems)?;
    let mut fields = Fields::of(node, object.at("metadata"), problems)?;
    let name_node = fields.required("name", problems)?;
    let name = reader::strict_text(name_node, &fields.at("name"), problems)?;
    Some(Metadata {
        name,
        namespace: fields.text("namespace", problems).unwrap_or_else(|| "default".to_string()),
        labels: labels(&mut fields, "labels", problems),
        annotations: labels(&mut fields, "annotations", problems),
        place: name_node.place,
    })
}

/// A map of texts; empty if absent.
pub fn labels(fields: &mut Fields<'_>, key: &'static str, problems: &mut Problems) -> Labels {
    let path = fields.at(key);
    let Some(node) = fields.get(key) else { return Labels::new() };
    labels_of(node, &path, problems)
}

/// A map of texts.
pub fn labels_of(node: &Node, path: &str, problems: &mut Problems) -> Labels {
    if Fields::of(node, path, problems).is_none() {
        return Labels::new();
    }
    let mut labels = Labels::new();
    for entry in node.entries() {
        let value = if entry.value.is_null() {
            Some(String::new())
        } else {
            reader::strict_text(&entry.value, &format!("{path}.{}", entry.key), problems)
        };
        if let Some(value) = value {
            labels.insert(entry.key.to_string(), value);
        }
    }
    labels
}

/// `protocol` of a port.
pub const PROTOCOLS: [(&str, Protocol); 3] = [("TCP", Protocol::Tcp), ("UDP", Protocol::Udp), ("SCTP", Protocol::Sctp)];

/// A list of texts.
pub fn texts(fields: &mut Fields<'_>, key: &'static str, problems: &mut Problems) -> Vec<String> {
    let path = fields.at(key);
    let items = fields.list(key, problems);
    items.iter().filter_map(|item| reader::strict_text(item, &path, problems)).collect()
}

/// A label selector, `None` if absent.
pub fn selector(fields: &mut Fields<'_>, key: &'static str, problems: &mut Problems) -> Option<LabelSelector> {
    let mut inner = fields.fields(key, problems)?;
    let mut selector = LabelSelector::from_labels(&labels(&mut inner, "matchLabels", problems));
    let path = inner.at("matchExpressions");
    for item in inner.list("matchExpressions", problems) {
        let Some(mut expression) = Fields::of(item, path.clone(), problems) else { continue };
        const OPERATORS: [(&str, LabelOperator); 4] = [
            ("In", LabelOperator::In),
            ("NotIn", LabelOperator::NotIn),
            ("Exists", LabelOperator::Exists),
            ("DoesNotExist", LabelOperator::DoesNotExist),
        ];
        let key = expression.required_text("key", problems);
        let operator = expression.choice("operator", &OPERATORS, problems);
        let values = texts(&mut expression, "values", problems);
        if let (Some(key), Some(operator)) = (key, operator) {
            selector.requirements.push(LabelRequirement { key, operator, values });
        }
    }
    Some(selector)
}

/// A resource list; empty if absent.
pub fn resources(fields: &mut Fields<'_>, key: &'static str, problems: &mut Problems) -> ResourceList {
    let path = fields.at(key);
    fields.get(key).map_or_else(ResourceList::default, |node| resources_of(node, &path, problems))
}

/// A resource list.
pub fn resources_of(node: &Node, path: &str, problems: &mut Problems) -> ResourceList {
    let mut list = ResourceList::default();
    if Fields::of(node, path, problems).is_none() {
        return list;
    }
    for entry in node.entries() {
        let path = format!("{path}.{}", entry.key);
        let Some(quantity) = reader::quantity(&entry.value, &path, problems) else { continue };
        // A thousandth of the largest number leaves room for sums over a whole cluster.
        let largest = i64::MAX / 1_000_000;
        if quantity.nanos() < 0 || quantity.units_ceil() > largest {
            reader::out_of_range(&entry.value, &path, "from 0 to 9e12 (9P for bytes)", problems);
            continue;
        }
        say_slip(&entry.key, &entry.value, quantity, &path, problems);
        match &*entry.key {
            "cpu" => list.cpu = Some(Millicores(quantity.milli_ceil())),
            "memory" => list.memory = Some(Bytes(quantity.units_ceil())),
            "ephemeral-storage" => list.ephemeral_storage = Some(Bytes(quantity.units_ceil())),
            "pods" => list.pods = Some(quantity.units_ceil()),
            other => {
                list.extended.insert(other.to_string(), quantity.units_ceil());
            }
        }
    }
    list
}

/// Thousandths of a byte and millions of CPUs: `m` for `Mi`, and `M` for `m`. Of the first the API server warns as well.
fn say_slip(resource: &str, node: &Node, quantity: Quantity, path: &str, problems: &mut Problems) {
    let (Some(text), of_bytes) = (node.text(), ["memory", "ephemeral-storage"].contains(&resource)) else { return };
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let (label, unit) = if of_bytes && quantity.nanos() % 1_000_000_000 != 0 {
        ("a fraction of a byte", "Mi")
    } else if resource == "cpu" && quantity.units_ceil() >= 1_000_000 && text != digits {
        ("more CPUs than there are", "m")
    } else {
        return;
    };
    let warning = Diagnostic::warning("W169", node.place, format!("{path}: {resource} of {text}")).label(label);
    problems.push(warning.help(format!("did you mean `{digits}{unit}`?")));
}

const NODE_OPERATORS: [(&str, NodeOperator); 8] = [
    ("In", NodeOperator::In),
    ("NotIn", NodeOperator::NotIn),
    ("Exists", NodeOperator::Exists),
    ("DoesNotExist", NodeOperator::DoesNotExist),
    ("Gt", NodeOperator::Gt),
    ("Lt", NodeOperator::Lt),
    ("Gte", NodeOperator::Gte),
    ("Lte", NodeOperator::Lte),
];

/// A list of requirements on node labels. `karpenter` allows all operators and `minValues`.
pub fn requirements(
    fields: &mut Fields<'_>,
    key: &'static str,
    karpenter: bool,
    problems: &mut Problems,
) -> Vec<NodeRequirement> {
    let path = fields.at(key);
    let operators = if karpenter { &NODE_OPERATORS[..] } else { &NODE_OPERATORS[..6] };
    let mut found = Vec::new();
    for (index, item) in fields.list(key, problems).iter().enumerate() {
        let Some(mut inner) = Fields::of(item, format!("{path}[{index}]"), problems) else { continue };
        let key = inner.required_text("key", problems);
        let operator_node = inner.required("operator", problems);
        let operator = operator_node.and_then(|node| reader::choice(node, &inner.at("operator"), operators, problems));
        let values = texts(&mut inner, "values", problems);
        let min_values = inner.integer_in("minValues", 1, 50, problems).filter(|_| karpenter).map(|count| count as u32);
        let (Some(key), Some(operator)) = (key.map(known_label), operator) else { continue };
        check_values(operator, &values, inner.place(), &inner.path, problems);
        if karpenter {
            say_misspelt_label(&key, inner.place(), problems);
        }
        found.push(NodeRequirement { key, operator, values, min_values });
    }
    found
}

/// EKS Auto Mode has labels of its own for what Karpenter's say. Source: EKS guide, "Create a Node Pool for EKS Auto Mode".
pub fn known_label(key: String) -> String {
    match key.strip_prefix("eks.amazonaws.com/instance-") {
        Some(rest) => format!("karpenter.k8s.aws/instance-{rest}"),
        None => key,
    }
}

/// Labels that nodes of Karpenter on AWS have. Source: karpenter `pkg/apis/v1/labels.go`, provider `pkg/apis/v1/labels.go`.
pub const NODE_LABELS: [&str; 39] = [
    "kubernetes.io/arch",
    "kubernetes.io/os",
    "kubernetes.io/hostname",
    "node.kubernetes.io/instance-type",
    "node.kubernetes.io/windows-build",
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
    "topology.k8s.aws/zone-id",
    "karpenter.sh/capacity-type",
    "karpenter.sh/nodepool",
    "karpenter.k8s.aws/ec2nodeclass",
    "karpenter.k8s.aws/capacity-reservation-id",
    "karpenter.k8s.aws/capacity-reservation-type",
    "karpenter.k8s.aws/capacity-reservation-interruptible",
    "karpenter.k8s.aws/instance-accelerator-count",
    "karpenter.k8s.aws/instance-accelerator-manufacturer",
    "karpenter.k8s.aws/instance-accelerator-name",
    "karpenter.k8s.aws/instance-capability-flex",
    "karpenter.k8s.aws/instance-category",
    "karpenter.k8s.aws/instance-cpu",
    "karpenter.k8s.aws/instance-cpu-manufacturer",
    "karpenter.k8s.aws/instance-cpu-sustained-clock-speed-mhz",
    "karpenter.k8s.aws/instance-ebs-bandwidth",
    "karpenter.k8s.aws/instance-encryption-in-transit-supported",
    "karpenter.k8s.aws/instance-family",
    "karpenter.k8s.aws/instance-generation",
    "karpenter.k8s.aws/instance-gpu-count",
    "karpenter.k8s.aws/instance-gpu-manufacturer",
    "karpenter.k8s.aws/instance-gpu-memory",
    "karpenter.k8s.aws/instance-gpu-name",
    "karpenter.k8s.aws/instance-hypervisor",
    "karpenter.k8s.aws/instance-local-nvme",
    "karpenter.k8s.aws/instance-memory",
    "karpenter.k8s.aws/instance-network-bandwidth",
    "karpenter.k8s.aws/instance-size",
    "karpenter.k8s.aws/instance-tenancy",
    "karpenter.k8s.aws/instance-type",
    "karpenter.k8s.aws/placement-group-id",
    "karpenter.k8s.aws/placement-group-partition",
];

/// A label of these domains that no node has, and that is nearly one: a NodePool that asks for it gets other nodes than meant.
fn say_misspelt_label(key: &str, place: Place, problems: &mut Problems) {
    let Some((domain, name)) = key.split_once('/').filter(|_| !NODE_LABELS.contains(&key)) else { return };
    let names = NODE_LABELS.iter().filter_map(|label| label.strip_prefix(domain)?.strip_prefix('/'));
    if let Some(near) = nearest(name, names) {
        let text = format!("no node has the label `{key}`");
        problems.push(Diagnostic::warning("W133", place, text).help(format!("did you mean `{domain}/{near}`?")));
    }
}

fn check_values(operator: NodeOperator, values: &[String], place: Place, path: &str, problems: &mut Problems) {
    let wrong = match operator {
        NodeOperator::In | NodeOperator::NotIn => values.is_empty().then_some("needs at least one value"),
        NodeOperator::Exists | NodeOperator::DoesNotExist => (!values.is_empty()).then_some("takes no values"),
        NodeOperator::Gt | NodeOperator::Lt | NodeOperator::Gte | NodeOperator::Lte => {
            let integers = values.iter().filter(|value| value.parse::<i64>().is_ok()).count();
            (values.len() != 1 || integers != 1).then_some("needs exactly one whole number")
        }
    };
    if let Some(wrong) = wrong {
        problems.error("E015", place, format!("{path}: operator {} {wrong}", operator.name()));
    }
}

const EFFECTS: [(&str, TaintEffect); 3] = [
    ("NoSchedule", TaintEffect::NoSchedule),
    ("PreferNoSchedule", TaintEffect::PreferNoSchedule),
    ("NoExecute", TaintEffect::NoExecute),
];

/// A list of taints.
pub fn taints(fields: &mut Fields<'_>, key: &'static str, problems: &mut Problems) -> Vec<Taint> {
    let path = fields.at(key);
    let items = fields.list(key, problems);
    items.iter().enumerate().filter_map(|(index, item)| taint(item, format!("{path}[{index}]"), problems)).collect()
}

/// A taint.
pub fn taint(node: &Node, path: String, problems: &mut Problems) -> Option<Taint> {
    let mut fields = Fields::of(node, path, problems)?;
    let key = fields.required_text("key", problems);
    fields.required("effect", problems)?;
    let effect = fields.choice("effect", &EFFECTS, problems);
    let value = fields.text("value", problems).unwrap_or_default();
    Some(Taint { key: key?.into(), value: value.into(), effect: effect? })
}

const OPERATORS: [(&str, TolerationOperator); 4] = [
    ("Equal", TolerationOperator::Equal),
    ("Exists", TolerationOperator::Exists),
    ("Lt", TolerationOperator::Lt),
    ("Gt", TolerationOperator::Gt),
];

/// A list of tolerations.
pub fn tolerations(fields: &mut Fields<'_>, problems: &mut Problems) -> Vec<Toleration> {
    let path = fields.at("tolerations");
    let mut found = Vec::new();
    for (index, item) in fields.list("tolerations", problems).iter().enumerate() {
        let Some(mut inner) = Fields::of(item, format!("{path}[{index}]"), problems) else { continue };
        let effect = match inner.get("effect") {
            Some(node) if node.text() == Some("") => None,
            Some(_) => inner.choice("effect", &EFFECTS, problems),
            None => None,
        };
        let operator = inner.choice("operator", &OPERATORS, problems).unwrap_or_default();
        found.push(Toleration {
            key: inner.text("key", problems).unwrap_or_default(),
            operator,
            value: inner.text("value", problems).unwrap_or_default(),
            effect,
            seconds: inner.integer("tolerationSeconds", problems),
        });
    }
    found
}

/// A count or a percentage.
pub fn int_or_percent(fields: &mut Fields<'_>, key: &'static str, problems: &mut Problems) -> Option<IntOrPercent> {
    let path = fields.at(key);
    let node = fields.get(key)?;
    if let Some(percent) = node.text().and_then(|text| text.strip_suffix('%')) {
        match percent.parse::<i32>() {
            Ok(percent) if percent >= 0 => return Some(IntOrPercent::Percent(percent)),
            _ => {
                reader::wrong_type(node, &path, "a count or a percentage such as 25%", problems);
                return None;
            }
        }
    }
    let count = reader::integer_in(node, &path, 0, i64::from(i32::MAX), problems)?;
    Some(IntOrPercent::Int(count as i32))
}

/// A Go duration, or `Never` (as `None` inside).
pub fn duration_or_never(fields: &mut Fields<'_>, key: &'static str, problems: &mut Problems) -> Option<Option<Span>> {
    let node = fields.get(key)?;
    if node.text() == Some("Never") {
        return Some(None);
    }
    let path = fields.at(key);
    let expected = "a duration such as 30s, or Never";
    reader::unit(node, &path, expected, crate::scenario::units::duration, problems).map(Some)
}

/// Adds a remark.
pub fn remark(code: &'static str, place: Place, text: impl Into<String>, problems: &mut Problems) {
    problems.push(Diagnostic::note(code, place, text));
}
