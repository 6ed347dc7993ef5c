//! Karpenter's algebra of requirements: sets of label values, their complements, and integer bounds.
//!
//! Source: core `pkg/scheduling/requirement.go`, `requirements.go`. `In` is a set, `NotIn` the complement of one,
//! `Exists` the complement of the empty set, `DoesNotExist` the empty set; bounds are inclusive.

use super::labels::Labels;
use super::requirement::{NodeOperator, NodeRequirement};
use super::values::Values;
use std::sync::Arc;

/// Name of the node's host.
pub const HOSTNAME: &str = "kubernetes.io/hostname";
/// Availability zone.
pub const ZONE: &str = "topology.kubernetes.io/zone";
/// Instance type.
pub const INSTANCE_TYPE: &str = "node.kubernetes.io/instance-type";
/// Spot, on-demand, reserved.
pub const CAPACITY_TYPE: &str = "karpenter.sh/capacity-type";
/// The NodePool that owns a node.
pub const NODE_POOL: &str = "karpenter.sh/nodepool";
/// The EC2NodeClass of a node.
pub const NODE_CLASS: &str = "karpenter.k8s.aws/ec2nodeclass";
/// A capacity reservation.
pub const RESERVATION_ID: &str = "karpenter.k8s.aws/capacity-reservation-id";

/// What is well known may be undefined on a node that does not exist yet. Source: core `pkg/apis/v1/labels.go`, AWS provider
/// `pkg/apis/v1/labels.go`, both of 1.14.
pub fn is_well_known(key: &str) -> bool {
    const NAMES: [&str; 9] = [
        NODE_POOL,
        CAPACITY_TYPE,
        ZONE,
        "topology.kubernetes.io/region",
        INSTANCE_TYPE,
        "node.kubernetes.io/windows-build",
        "kubernetes.io/arch",
        "kubernetes.io/os",
        "topology.k8s.aws/zone-id",
    ];
    const AWS: [&str; 5] = [
        "capacity-reservation-id",
        "capacity-reservation-type",
        "capacity-reservation-interruptible",
        "placement-group-id",
        "placement-group-partition",
    ];
    const INSTANCE: [&str; 22] = [
        "hypervisor",
        "encryption-in-transit-supported",
        "category",
        "capability-flex",
        "family",
        "generation",
        "size",
        "local-nvme",
        "cpu",
        "cpu-manufacturer",
        "cpu-sustained-clock-speed-mhz",
        "memory",
        "ebs-bandwidth",
        "network-bandwidth",
        "gpu-name",
        "gpu-manufacturer",
        "gpu-count",
        "gpu-memory",
        "accelerator-name",
        "accelerator-manufacturer",
        "accelerator-count",
        "tenancy",
    ];
    let is_of_aws =
        |rest: &str| AWS.contains(&rest) || rest.strip_prefix("instance-").is_some_and(|rest| INSTANCE.contains(&rest));
    NAMES.contains(&key) || key.strip_prefix("karpenter.k8s.aws/").is_some_and(is_of_aws)
}

/// A label that a pod may not ask for: Karpenter's own domains beyond the well-known names, and the host name.
pub fn is_restricted(key: &str) -> bool {
    let domain = key.split_once('/').map_or("", |(domain, _)| domain);
    let of = |owner: &str| domain == owner || domain.strip_suffix(owner).is_some_and(|rest| rest.ends_with('.'));
    !is_well_known(key) && (key == HOSTNAME || of("karpenter.sh") || of("karpenter.k8s.aws"))
}

/// Labels that have a deprecated name, with those.
const DEPRECATED: [(&str, &[&str]); 5] = [
    (ZONE, &["failure-domain.beta.kubernetes.io/zone", "topology.ebs.csi.aws.com/zone"]),
    ("topology.kubernetes.io/region", &["failure-domain.beta.kubernetes.io/region"]),
    ("kubernetes.io/arch", &["beta.kubernetes.io/arch"]),
    ("kubernetes.io/os", &["beta.kubernetes.io/os"]),
    (INSTANCE_TYPE, &["beta.kubernetes.io/instance-type"]),
];

/// Deprecated names of a label become the present one.
pub fn normalized(key: &str) -> &str {
    match key {
        "failure-domain.beta.kubernetes.io/zone" | "topology.ebs.csi.aws.com/zone" => ZONE,
        "failure-domain.beta.kubernetes.io/region" => "topology.kubernetes.io/region",
        "beta.kubernetes.io/arch" => "kubernetes.io/arch",
        "beta.kubernetes.io/os" => "kubernetes.io/os",
        "beta.kubernetes.io/instance-type" => INSTANCE_TYPE,
        other => other,
    }
}

/// The values of one label that are allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    /// The values listed are those that are not allowed.
    pub complement: bool,
    /// Listed values.
    pub values: Values,
    /// At least, if the value is an integer.
    pub at_least: Option<i64>,
    /// At most, if the value is an integer.
    pub at_most: Option<i64>,
    /// So many distinct values must remain among instance types.
    pub min_values: Option<u32>,
}

impl Requirement {
    /// Any value, but one (`Exists`).
    pub fn exists() -> Requirement {
        Requirement { complement: true, values: Values::none(), at_least: None, at_most: None, min_values: None }
    }

    /// No value (`DoesNotExist`).
    pub fn absent() -> Requirement {
        Requirement { complement: false, ..Requirement::exists() }
    }

    /// Exactly one of these (`In`).
    pub fn any_of<I: IntoIterator<Item = S>, S: Into<Arc<str>>>(values: I) -> Requirement {
        Requirement { values: values.into_iter().map(Into::into).collect(), ..Requirement::absent() }
    }

    /// Exactly this.
    pub fn only(value: impl Into<Arc<str>>) -> Requirement {
        Requirement { values: Values::one(value.into()), ..Requirement::absent() }
    }

    /// What a manifest says.
    pub fn of(written: &NodeRequirement) -> Requirement {
        let bound = || written.values.first().and_then(|value| value.parse::<i64>().ok());
        let mut requirement = match written.operator {
            NodeOperator::In => Requirement::any_of(written.values.iter().map(String::as_str)),
            NodeOperator::NotIn => {
                Requirement { complement: true, ..Requirement::any_of(written.values.iter().map(String::as_str)) }
            }
            NodeOperator::Exists => Requirement::exists(),
            NodeOperator::DoesNotExist => Requirement::absent(),
            NodeOperator::Gt => {
                Requirement { at_least: bound().map(|bound| bound.saturating_add(1)), ..Requirement::exists() }
            }
            NodeOperator::Lt => {
                Requirement { at_most: bound().map(|bound| bound.saturating_sub(1)), ..Requirement::exists() }
            }
            NodeOperator::Gte => Requirement { at_least: bound(), ..Requirement::exists() },
            NodeOperator::Lte => Requirement { at_most: bound(), ..Requirement::exists() },
        };
        requirement.min_values = written.min_values;
        requirement
    }

    /// The operator that would say so; bounds count as `Exists`.
    pub fn operator(&self) -> NodeOperator {
        match (self.complement, self.values.is_empty()) {
            (true, true) => NodeOperator::Exists,
            (true, false) => NodeOperator::NotIn,
            (false, true) => NodeOperator::DoesNotExist,
            (false, false) => NodeOperator::In,
        }
    }

    /// Nothing is allowed.
    pub fn is_empty(&self) -> bool {
        !self.complement && self.values.is_empty()
    }

    /// The only allowed value.
    pub fn single(&self) -> Option<&Arc<str>> {
        if !self.complement && self.values.len() == 1 { self.values.first() } else { None }
    }

    /// A value that is allowed: the first listed, or the smallest number that is not excluded (upstream draws one).
    pub fn any_value(&self) -> Option<String> {
        if !self.complement {
            return self.values.first().map(ToString::to_string);
        }
        let low = self.at_least.unwrap_or(0).max(0);
        (low..=low.saturating_add(self.values.len() as i64)).map(|n| n.to_string()).find(|value| self.has(value))
    }

    /// Whether a value is allowed.
    pub fn has(&self, value: &str) -> bool {
        self.values.contains(value) != self.complement && within(value, self.at_least, self.at_most)
    }

    /// Both at once.
    pub fn intersection(&self, other: &Requirement) -> Requirement {
        let at_least = self.at_least.max(other.at_least);
        let at_most = match (self.at_most, other.at_most) {
            (Some(one), Some(two)) => Some(one.min(two)),
            (one, two) => one.or(two),
        };
        let min_values = self.min_values.max(other.min_values);
        if matches!((at_least, at_most), (Some(low), Some(high)) if low > high) {
            return Requirement { min_values, ..Requirement::absent() };
        }
        let complement = self.complement && other.complement;
        let bounded = |value: &str| within(value, at_least, at_most);
        let values = match (self.complement, other.complement) {
            (true, true) => self.values.union(&other.values).filtered(bounded),
            (true, false) => other.values.filtered(|value| !self.values.contains(value) && bounded(value)),
            (false, true) => self.values.filtered(|value| !other.values.contains(value) && bounded(value)),
            (false, false) => self.values.filtered(|value| other.values.contains(value) && bounded(value)),
        };
        let (at_least, at_most) = if complement { (at_least, at_most) } else { (None, None) };
        Requirement { complement, values, at_least, at_most, min_values }
    }

    /// One value that the other allows too: the intersection is this requirement. Most labels of nodes are of this kind.
    fn is_within(&self, other: &Requirement) -> bool {
        let free = !self.complement && self.at_least.is_none() && self.at_most.is_none();
        free && self.min_values >= other.min_values && self.values.iter().all(|value| other.has(value))
    }

    /// Whether the intersection allows anything, without building it.
    pub fn overlaps(&self, other: &Requirement) -> bool {
        let low = self.at_least.max(other.at_least);
        let high = match (self.at_most, other.at_most) {
            (Some(one), Some(two)) => Some(one.min(two)),
            (one, two) => one.or(two),
        };
        if matches!((low, high), (Some(low), Some(high)) if low > high) {
            return false;
        }
        match (self.complement, other.complement) {
            (true, true) => true,
            (true, false) => other.values.iter().any(|value| !self.values.contains(value) && within(value, low, high)),
            (false, true) => self.values.iter().any(|value| !other.values.contains(value) && within(value, low, high)),
            (false, false) => self.values.iter().any(|value| other.values.contains(value) && within(value, low, high)),
        }
    }

    /// It has a bound.
    fn is_bounded(&self) -> bool {
        self.at_least.is_some() || self.at_most.is_some()
    }

    /// As manifests write it: one entry, or two when there are bounds on both sides.
    pub fn written(&self, key: &str) -> Vec<NodeRequirement> {
        let one = |operator, values: Vec<String>| NodeRequirement {
            key: key.to_string(),
            operator,
            values,
            min_values: self.min_values,
        };
        let mut out = Vec::new();
        if let Some(bound) = self.at_least {
            out.push(one(NodeOperator::Gte, vec![bound.to_string()]));
        }
        if let Some(bound) = self.at_most {
            out.push(one(NodeOperator::Lte, vec![bound.to_string()]));
        }
        // Upstream writes nothing else beside a bound: values excluded within it are lost.
        if out.is_empty() {
            out.push(one(self.operator(), self.values.iter().map(ToString::to_string).collect()));
        }
        out
    }
}

/// Values that are no integers fail a bound.
#[inline]
fn within(value: &str, at_least: Option<i64>, at_most: Option<i64>) -> bool {
    if at_least.is_none() && at_most.is_none() {
        return true;
    }
    let Ok(value) = value.parse::<i64>() else { return false };
    at_least.is_none_or(|low| value >= low) && at_most.is_none_or(|high| value <= high)
}

/// Requirements by label. A copy shares the memory until one of both changes.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Requirements {
    /// In order of the labels.
    entries: Arc<Vec<(Arc<str>, Requirement)>>,
}

impl Requirements {
    /// No requirement at all.
    pub fn new() -> Requirements {
        Requirements::default()
    }

    /// One `In` per label.
    pub fn of_labels(labels: &Labels) -> Requirements {
        // Labels are sorted, and hardly ever has one a name of old.
        if labels.keys().all(|key| std::ptr::eq(normalized(key), key)) {
            let entries = labels.texts().map(|(key, value)| (key.clone(), Requirement::only(value.clone())));
            return Requirements { entries: Arc::new(entries.collect()) };
        }
        let mut requirements = Requirements::new();
        for (key, value) in labels {
            requirements.add(key, Requirement::only(value));
        }
        requirements
    }

    /// What a label map says of some keys only.
    pub fn of_some_labels<'a>(labels: &Labels, keys: impl IntoIterator<Item = &'a Arc<str>>) -> Requirements {
        let found = keys.into_iter().filter_map(|key| Some((key.clone(), of_label(labels, key)?)));
        let mut entries: Vec<(Arc<str>, Requirement)> = found.collect();
        entries.sort_by(|one, two| one.0.cmp(&two.0));
        entries.dedup_by(|one, two| one.0 == two.0);
        Requirements { entries: Arc::new(entries) }
    }

    /// What manifests say.
    pub fn of(written: &[NodeRequirement]) -> Requirements {
        let mut requirements = Requirements::new();
        for entry in written {
            requirements.add(&entry.key, Requirement::of(entry));
        }
        requirements
    }

    fn find(&self, key: &str) -> Result<usize, usize> {
        self.entries.binary_search_by(|(other, _)| (**other).cmp(key))
    }

    /// Adds a requirement to what is there already.
    pub fn add(&mut self, key: &str, requirement: Requirement) {
        let key = normalized(key);
        match self.find(key) {
            Ok(index) => {
                let both = self.entries[index].1.intersection(&requirement);
                if self.entries[index].1 != both {
                    Arc::make_mut(&mut self.entries)[index].1 = both;
                }
            }
            Err(index) => Arc::make_mut(&mut self.entries).insert(index, (key.into(), requirement)),
        }
    }

    /// Adds all of `other`.
    pub fn add_all(&mut self, other: &Requirements) {
        if self.is_empty() {
            *self = other.clone();
            return;
        }
        for (key, requirement) in other.entries.iter() {
            match self.find(key) {
                Ok(index) if self.entries[index].1.is_within(requirement) => {}
                Ok(_) => self.add(key, requirement.clone()),
                Err(index) => {
                    Arc::make_mut(&mut self.entries).insert(index, (key.clone(), requirement.clone()));
                }
            }
        }
    }

    /// Forgets a label.
    pub fn remove(&mut self, key: &str) {
        if let Ok(index) = self.find(key) {
            Arc::make_mut(&mut self.entries).remove(index);
        }
    }

    /// Puts a requirement in the place of what was there.
    pub fn replace(&mut self, key: &str, requirement: Requirement) {
        match self.find(key) {
            Ok(index) => Arc::make_mut(&mut self.entries)[index].1 = requirement,
            Err(index) => Arc::make_mut(&mut self.entries).insert(index, (key.into(), requirement)),
        }
    }

    /// The requirement on a label, if there is one.
    pub fn get(&self, key: &str) -> Option<&Requirement> {
        // There are few: going through them by length finds one sooner than halving them does.
        self.entries.iter().find(|(other, _)| **other == *key).map(|(_, requirement)| requirement)
    }

    /// Whether a label may have a value.
    pub fn allows(&self, key: &str, value: &str) -> bool {
        self.get(key).is_none_or(|requirement| requirement.has(value))
    }

    /// All, by label.
    pub fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Requirement)> {
        self.entries.iter().map(|(key, requirement)| (key, requirement))
    }

    /// There is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// As manifests write them.
    pub fn written(&self) -> Vec<NodeRequirement> {
        self.entries.iter().flat_map(|(key, requirement)| requirement.written(key)).collect()
    }

    /// What is left of them once they are written down: [`Requirements::of`] what [`Requirements::written`] says.
    pub fn as_written(&self) -> Requirements {
        let loses = |requirement: &Requirement| requirement.is_bounded() && !requirement.values.is_empty();
        let mut left = self.clone();
        if self.entries.iter().any(|(_, requirement)| loses(requirement)) {
            let entries = Arc::make_mut(&mut left.entries).iter_mut();
            let bounded = entries.filter(|(_, requirement)| requirement.is_bounded());
            bounded.for_each(|(_, requirement)| requirement.values = Values::none());
        }
        left
    }

    /// Both are the same memory, hence equal.
    pub fn is_same(&self, other: &Requirements) -> bool {
        Arc::ptr_eq(&self.entries, &other.entries)
    }

    /// Some requirement has `minValues`.
    pub fn has_min_values(&self) -> bool {
        self.entries.iter().any(|(_, requirement)| requirement.min_values.is_some())
    }

    /// Those that `before` lacks, or has otherwise.
    pub fn changed_since(&self, before: &Requirements) -> Requirements {
        if self.is_same(before) {
            return Requirements::new();
        }
        let changed = self.entries.iter().filter(|(key, requirement)| before.get(key) != Some(requirement));
        Requirements { entries: Arc::new(changed.cloned().collect()) }
    }

    /// Whether shared labels overlap; where both sides only exclude values, that is enough.
    pub fn intersects(&self, other: &Requirements) -> bool {
        let few_are_own = self.entries.len() <= other.entries.len();
        let (few, many) = if few_are_own { (self, other) } else { (other, self) };
        few.entries.iter().all(|(key, requirement)| many.get(key).is_none_or(|against| meets(requirement, against)))
    }

    /// Whether a node with these requirements can take a pod with those of `pod`: each label that the pod asks for must
    /// be defined here (or be well known, for a node that does not exist yet), unless the pod only excludes values.
    pub fn compatible(&self, pod: &Requirements, allow_undefined_well_known: bool) -> bool {
        pod.entries.iter().all(|(key, requirement)| match self.get(key) {
            Some(own) => meets(requirement, own),
            None => (allow_undefined_well_known && is_well_known(key)) || excludes_only(requirement),
        })
    }

    /// Whether labels have a value for each of these, and one that suits: to add these to the labels would change nothing.
    pub fn are_said_by(&self, labels: &Labels) -> bool {
        let says = |(key, requirement): &(Arc<str>, Requirement)| {
            requirement.min_values.is_none()
                && matches!(value_of(labels, key), Some(Ok(value)) if requirement.has(value))
        };
        self.entries.iter().all(says)
    }

    /// Whether a node with these labels can take a pod that asks so.
    pub fn met_by_labels(&self, labels: &Labels) -> bool {
        self.entries.iter().all(|(key, requirement)| match value_of(labels, key) {
            Some(Ok(value)) => requirement.has(value),
            // No value, as no label, suits what only excludes values.
            Some(Err(Contradiction)) | None => excludes_only(requirement),
        })
    }
}

/// Two names of one label have different values.
struct Contradiction;

/// The value of a label in a map, deprecated names included.
fn value_of<'l>(labels: &'l Labels, key: &str) -> Option<Result<&'l str, Contradiction>> {
    let names = DEPRECATED.iter().find(|(name, _)| *name == key).map_or(&[][..], |(_, names)| names);
    let mut found = std::iter::once(key).chain(names.iter().copied()).filter_map(|name| labels.get(name));
    let value = found.next()?;
    Some(if found.all(|other| other == value) { Ok(value) } else { Err(Contradiction) })
}

/// What a label map says of a label; names that disagree leave no value.
fn of_label(labels: &Labels, key: &str) -> Option<Requirement> {
    let value = value_of(labels, key)?;
    Some(value.map_or_else(|Contradiction| Requirement::absent(), Requirement::only))
}

/// Both overlap, or both only exclude values.
fn meets(one: &Requirement, two: &Requirement) -> bool {
    one.overlaps(two) || (excludes_only(one) && excludes_only(two))
}

fn excludes_only(requirement: &Requirement) -> bool {
    matches!(requirement.operator(), NodeOperator::NotIn | NodeOperator::DoesNotExist)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn requirement(operator: NodeOperator, values: &[&str]) -> Requirement {
        Requirement::of(&NodeRequirement::new("k", operator, values))
    }

    #[test]
    fn complements_and_bounds_intersect_as_sets_do() {
        let not_in = requirement(NodeOperator::NotIn, &["a"]);
        let within = requirement(NodeOperator::In, &["a", "b"]);
        assert_eq!(not_in.intersection(&within), requirement(NodeOperator::In, &["b"]));
        let greater = requirement(NodeOperator::Gt, &["3"]);
        let less = requirement(NodeOperator::Lt, &["5"]);
        let between = greater.intersection(&less);
        assert!(between.has("4") && !between.has("3") && !between.has("5") && !between.has("x"));
        assert!(
            greater.intersection(&requirement(NodeOperator::Lt, &["4"])).is_empty(),
            "nothing lies between 3 and 4"
        );
        let numbers = requirement(NodeOperator::In, &["2", "4", "x"]).intersection(&greater);
        assert_eq!(numbers, requirement(NodeOperator::In, &["4"]), "bounds vanish from a concrete set");
    }

    #[test]
    fn what_is_written_down_is_read_again_without_exceptions_within_bounds() {
        let mut requirements = Requirements::new();
        for (key, operator, values) in [
            ("arch", NodeOperator::In, &["arm64", "amd64"][..]),
            ("cpu", NodeOperator::Gt, &["3"]),
            ("cpu", NodeOperator::Lte, &["16"]),
            ("cpu", NodeOperator::NotIn, &["8"]),
            ("family", NodeOperator::NotIn, &["t3"]),
            ("team", NodeOperator::Exists, &[]),
            ("gpu", NodeOperator::DoesNotExist, &[]),
        ] {
            requirements.add(key, Requirement::of(&NodeRequirement::new(key, operator, values)));
        }
        requirements.replace("size", Requirement { min_values: Some(2), ..Requirement::exists() });
        let written = requirements.as_written();
        assert_eq!(written, Requirements::of(&requirements.written()));
        assert!(written.allows("cpu", "8") && !requirements.allows("cpu", "8") && !written.allows("cpu", "17"));
        assert!(written.as_written().is_same(&written));
    }

    #[test]
    fn overlap_agrees_with_the_intersection() {
        let all = [
            requirement(NodeOperator::In, &["a"]),
            requirement(NodeOperator::In, &["1", "7"]),
            requirement(NodeOperator::NotIn, &["a", "1"]),
            requirement(NodeOperator::Exists, &[]),
            requirement(NodeOperator::DoesNotExist, &[]),
            requirement(NodeOperator::Gt, &["1"]),
            requirement(NodeOperator::Lte, &["1"]),
        ];
        for one in &all {
            for two in &all {
                assert_eq!(one.overlaps(two), !one.intersection(two).is_empty(), "{one:?} {two:?}");
            }
        }
    }

    #[test]
    fn undefined_labels_are_compatible_only_when_well_known_or_excluded() {
        let node = Requirements::new();
        let pod =
            |key: &str, operator, values: &[&str]| Requirements::of(&[NodeRequirement::new(key, operator, values)]);
        assert!(node.compatible(&pod(ZONE, NodeOperator::In, &["a"]), true));
        assert!(!node.compatible(&pod(ZONE, NodeOperator::In, &["a"]), false), "existing nodes have all their labels");
        assert!(!node.compatible(&pod("team", NodeOperator::In, &["a"]), true));
        assert!(node.compatible(&pod("team", NodeOperator::NotIn, &["a"]), false));
        assert!(node.compatible(&pod("team", NodeOperator::DoesNotExist, &[]), false));
        assert!(!node.compatible(&pod("team", NodeOperator::Exists, &[]), false));
    }

    #[test]
    fn old_names_mean_the_new_ones_and_own_domains_are_restricted() {
        let mut requirements = Requirements::new();
        requirements.add("failure-domain.beta.kubernetes.io/zone", Requirement::any_of(["a"]));
        assert!(requirements.get(ZONE).is_some());
        assert!(is_restricted("karpenter.sh/other") && is_restricted(HOSTNAME) && is_restricted("x.karpenter.sh/y"));
        assert!(!is_restricted(CAPACITY_TYPE) && !is_restricted("team"));
        for known in [
            "capacity-reservation-type",
            "capacity-reservation-interruptible",
            "placement-group-id",
            "instance-tenancy",
        ] {
            assert!(is_well_known(&format!("karpenter.k8s.aws/{known}")), "{known}");
        }
        let later = "karpenter.k8s.aws/instance-nitro-enclaves-supported";
        assert!(!is_well_known(later) && is_restricted(later), "1.14 does not know it");
    }
}
