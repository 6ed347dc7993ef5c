//! Topology: spread constraints, pod affinity and anti-affinity, counted by domain while pods are placed.
//!
//! Source: core `provisioning/scheduling/{topology,topologygroup,topologynodefilter,topologydomaingroup}.go`. Domains are
//! tried in order of their names where upstream iterates over a map.

use super::preferences;
use crate::components::karpenter::cluster::{StateNode, tolerates_all};
use crate::plan::{PodAffinityTerm, PodTemplate, TopologySpread};
use crate::rules::labels::{LabelOperator, LabelRequirement, LabelSelector, Labels};
use crate::rules::requirement::NodeOperator;
use crate::rules::requirements::{HOSTNAME, Requirement, Requirements};
use crate::rules::taint::{Taint, Toleration, tolerated};
use crate::world::{PodId, World};
use std::collections::{BTreeMap, BTreeSet};

/// What kind of rule a group holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Spread,
    Affinity,
    AntiAffinity,
}

/// What makes two rules one group.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct GroupKey {
    topology_key: String,
    kind: Kind,
    namespaces: Vec<String>,
    max_skew: i32,
    selector: Option<LabelSelector>,
    honor_affinity: bool,
    honor_taints: bool,
    tolerations: Vec<Toleration>,
    filter_keys: Vec<Vec<String>>,
}

/// Which nodes count for a spread.
#[derive(Clone, Debug, Default)]
struct NodeFilter {
    alternatives: Vec<Requirements>,
    honor_affinity: bool,
    honor_taints: bool,
    tolerations: Vec<Toleration>,
}

impl NodeFilter {
    fn matches(&self, taints: &[Taint], requirements: &Requirements, undefined: bool) -> bool {
        let affine = !self.honor_affinity
            || self.alternatives.is_empty()
            || self.alternatives.iter().any(|alternative| requirements.compatible(alternative, undefined));
        let tolerant = !self.honor_taints || taints.iter().all(|taint| tolerated(&self.tolerations, taint));
        affine && tolerant
    }
}

/// One rule, shared by the pods that have it.
#[derive(Clone, Debug)]
struct Group {
    key: GroupKey,
    min_domains: Option<i32>,
    filter: NodeFilter,
    domains: BTreeMap<String, i32>,
    empty: BTreeSet<String>,
    owners: BTreeSet<PodId>,
}

impl Group {
    fn selects(&self, template: &PodTemplate) -> bool {
        self.key.namespaces.contains(&template.namespace)
            && self.key.selector.as_ref().is_some_and(|selector| selector.matches(&template.labels))
    }

    fn counts(&self, template: &PodTemplate, taints: &[Taint], requirements: &Requirements, undefined: bool) -> bool {
        self.selects(template) && self.filter.matches(taints, requirements, undefined)
    }

    fn register(&mut self, domain: &str) {
        if !self.domains.contains_key(domain) {
            self.domains.insert(domain.to_string(), 0);
            self.empty.insert(domain.to_string());
        }
    }

    fn record(&mut self, domain: &str) {
        *self.domains.entry(domain.to_string()).or_insert(0) += 1;
        self.empty.remove(domain);
    }

    fn next(&self, template: &PodTemplate, pod: &Requirement, node: &Requirement) -> Requirement {
        match self.key.kind {
            Kind::Spread => self.next_spread(self.selects(template), pod, node),
            Kind::Affinity => self.next_affinity(self.selects(template), pod, node),
            Kind::AntiAffinity => {
                Requirement::any_of(self.empty.iter().filter(|domain| node.has(domain) && pod.has(domain)).cloned())
            }
        }
    }

    fn next_spread(&self, selects_itself: bool, pod: &Requirement, node: &Requirement) -> Requirement {
        let least = self.least(pod);
        let best = self
            .domains
            .iter()
            .filter(|(domain, _)| node.has(domain))
            .map(|(domain, &count)| (count + i32::from(selects_itself), domain))
            .filter(|(count, _)| count - least <= self.key.max_skew)
            .min_by_key(|&(count, _)| count);
        best.map_or_else(Requirement::absent, |(_, domain)| Requirement::any_of([domain.clone()]))
    }

    /// The smallest count over the domains that the pod may use; zero for hosts, one can always be added.
    fn least(&self, pod: &Requirement) -> i32 {
        if self.key.topology_key == HOSTNAME {
            return 0;
        }
        let supported: Vec<i32> =
            self.domains.iter().filter(|(domain, _)| pod.has(domain)).map(|(_, &count)| count).collect();
        let number = i32::try_from(supported.len()).unwrap_or(i32::MAX);
        if self.min_domains.is_some_and(|wanted| number < wanted) {
            return 0;
        }
        supported.into_iter().min().unwrap_or(i32::MAX)
    }

    fn next_affinity(&self, selects_itself: bool, pod: &Requirement, node: &Requirement) -> Requirement {
        let occupied = self.domains.iter().filter(|(domain, count)| **count > 0 && pod.has(domain) && node.has(domain));
        let mut options: BTreeSet<String> = occupied.map(|(domain, _)| domain.clone()).collect();
        let none_suits = || !self.domains.iter().any(|(domain, count)| *count > 0 && pod.has(domain));
        if options.is_empty() && selects_itself && (self.domains.len() == self.empty.len() || none_suits()) {
            options.extend(self.domains.keys().find(|domain| pod.has(domain) && node.has(domain)).cloned());
            if options.is_empty() {
                options.extend(self.domains.keys().find(|domain| pod.has(domain)).cloned());
            }
        }
        Requirement::any_of(options)
    }
}

/// Domains of a label with the taints of the pools that offer them.
pub type Universe = BTreeMap<String, Vec<Vec<Taint>>>;

/// Where the pods of a pass stand in the domains.
pub struct Topology<'a> {
    world: &'a World,
    namespaces: &'a BTreeMap<String, Labels>,
    /// Domains by label.
    universe: BTreeMap<String, Universe>,
    nodes: Vec<(Labels, String, Vec<Taint>)>,
    excluded: BTreeSet<PodId>,
    groups: Vec<Group>,
    inverse: Vec<Group>,
}

impl<'a> Topology<'a> {
    /// Topology before any pod of the pass is placed. `excluded`: the pods to be placed.
    pub fn new(
        world: &'a World,
        namespaces: &'a BTreeMap<String, Labels>,
        universe: BTreeMap<String, Universe>,
        nodes: &[StateNode],
        excluded: BTreeSet<PodId>,
    ) -> Topology<'a> {
        let nodes =
            nodes.iter().map(|node| (node.labels.clone(), node.host_name().to_string(), node.taints.clone())).collect();
        let mut topology =
            Topology { world, namespaces, universe, nodes, excluded, groups: Vec::new(), inverse: Vec::new() };
        topology.count_repulsion_of_bound_pods();
        topology
    }

    /// Required anti-affinity of running pods keeps others away.
    fn count_repulsion_of_bound_pods(&mut self) {
        let world = self.world;
        for node in world.nodes.iter().filter(|node| node.gone.is_none()) {
            for &pod in &node.pods {
                let template = world.template_of(pod);
                if template.affinity.anti_required.is_empty()
                    || self.excluded.contains(&pod)
                    || !world.pod(pod).is_active()
                {
                    continue;
                }
                for term in &template.affinity.anti_required {
                    let index = self.inverse_group(template, term);
                    let domain = domain_of(&node.labels, &node.name, &term.topology_key);
                    if let Some(domain) = domain {
                        self.inverse[index].record(&domain);
                    }
                    self.inverse[index].owners.insert(pod);
                }
            }
        }
    }

    fn inverse_group(&mut self, template: &PodTemplate, term: &PodAffinityTerm) -> usize {
        let key = affinity_key(Kind::AntiAffinity, template, term, self.namespaces);
        if let Some(index) = self.inverse.iter().position(|group| group.key == key) {
            return index;
        }
        let mut group = self.empty_group(key, template, NodeFilter::default(), None);
        for (labels, host, _) in &self.nodes {
            if let Some(domain) = domain_of(labels, host, &group.key.topology_key) {
                group.register(&domain);
            }
        }
        self.inverse.push(group);
        self.inverse.len() - 1
    }

    fn empty_group(&self, key: GroupKey, template: &PodTemplate, filter: NodeFilter, min: Option<i32>) -> Group {
        let mut group = Group {
            key,
            min_domains: min,
            filter,
            domains: BTreeMap::new(),
            empty: BTreeSet::new(),
            owners: BTreeSet::new(),
        };
        for (domain, taints) in self.universe.get(&group.key.topology_key).into_iter().flatten() {
            let usable = !group.filter.honor_taints || taints.iter().any(|taints| tolerates_all(template, taints));
            if usable {
                group.register(domain);
            }
        }
        group
    }

    /// A pod joins the pass, or its preferences changed.
    pub fn update(&mut self, pod: PodId, template: &PodTemplate) {
        for group in &mut self.groups {
            group.owners.remove(&pod);
        }
        for term in &template.affinity.anti_required {
            let index = self.inverse_group(template, term);
            self.inverse[index].owners.insert(pod);
        }
        for spread in &template.topology_spread {
            let (key, filter) = spread_key(template, spread);
            self.join(pod, key, filter, spread.min_domains, template);
        }
        let affinity = &template.affinity;
        let attract = affinity.pod_required.iter().chain(affinity.pod_preferred.iter().map(|(_, term)| term));
        for term in attract {
            let key = affinity_key(Kind::Affinity, template, term, self.namespaces);
            self.join(pod, key, NodeFilter::default(), None, template);
        }
        let repel = affinity.anti_required.iter().chain(affinity.anti_preferred.iter().map(|(_, term)| term));
        for term in repel {
            let key = affinity_key(Kind::AntiAffinity, template, term, self.namespaces);
            self.join(pod, key, NodeFilter::default(), None, template);
        }
    }

    fn join(
        &mut self,
        pod: PodId,
        key: GroupKey,
        filter: NodeFilter,
        min_domains: Option<i32>,
        template: &PodTemplate,
    ) {
        let index = self.groups.iter().position(|group| group.key == key).unwrap_or_else(|| {
            let mut group = self.empty_group(key, template, filter, min_domains);
            self.count(&mut group);
            self.groups.push(group);
            self.groups.len() - 1
        });
        self.groups[index].owners.insert(pod);
    }

    /// Pods that run already.
    fn count(&self, group: &mut Group) {
        for (labels, host, taints) in &self.nodes {
            let domain = domain_of(labels, host, &group.key.topology_key);
            let counts = group.filter.matches(taints, &Requirements::of_labels(labels), false);
            if let (Some(domain), true) = (domain, counts) {
                group.register(&domain);
            }
        }
        for node in self.world.nodes.iter().filter(|node| node.gone.is_none()) {
            let Some(domain) = domain_of(&node.labels, &node.name, &group.key.topology_key) else { continue };
            if !group.filter.matches(&node.taints, &Requirements::of_labels(&node.labels), false) {
                continue;
            }
            for &pod in &node.pods {
                let template = self.world.template_of(pod);
                // A selector that is absent selects every pod here, and none in the pass (as upstream).
                let selected = group.key.selector.as_ref().is_none_or(|selector| selector.matches(&template.labels));
                let counts = group.key.namespaces.contains(&template.namespace) && selected;
                if counts && self.world.pod(pod).is_active() && !self.excluded.contains(&pod) {
                    group.record(&domain);
                }
            }
        }
    }

    /// A new host.
    pub fn register_host(&mut self, host: &str) {
        for group in self.groups.iter_mut().chain(&mut self.inverse) {
            if group.key.topology_key == HOSTNAME {
                group.register(host);
            }
        }
        let hosts = self.universe.entry(HOSTNAME.to_string()).or_default();
        hosts.entry(host.to_string()).or_insert_with(|| vec![Vec::new()]);
    }

    /// What the rules ask of a node that a pod might go to, by label; `None`: no domain is left.
    pub fn demands(
        &self,
        pod: (PodId, &PodTemplate),
        taints: &[Taint],
        strict: &Requirements,
        node: &Requirements,
        undefined: bool,
    ) -> Option<Requirements> {
        let mut demands = Requirements::new();
        let own = self.groups.iter().filter(|group| group.owners.contains(&pod.0));
        let others = self.inverse.iter().filter(|group| group.counts(pod.1, taints, node, undefined));
        for group in own.chain(others) {
            let key = &group.key.topology_key;
            let any = Requirement::exists();
            let domains = group.next(pod.1, strict.get(key).unwrap_or(&any), node.get(key).unwrap_or(&any));
            if domains.is_empty() {
                return None;
            }
            demands.add(key, domains);
        }
        let left = demands.iter().all(|(_, domains)| !domains.is_empty());
        left.then_some(demands)
    }

    /// A pod was placed.
    pub fn record(
        &mut self,
        pod: (PodId, &PodTemplate),
        taints: &[Taint],
        requirements: &Requirements,
        undefined: bool,
    ) {
        for group in &mut self.groups {
            if !group.counts(pod.1, taints, requirements, undefined) {
                continue;
            }
            let Some(domains) = requirements.get(&group.key.topology_key) else { continue };
            match group.key.kind {
                Kind::AntiAffinity => concrete(domains).iter().for_each(|domain| group.record(domain)),
                Kind::Spread | Kind::Affinity => {
                    if let Some(domain) = domains.single() {
                        group.record(domain);
                    }
                }
            }
        }
        for group in self.inverse.iter_mut().filter(|group| group.owners.contains(&pod.0)) {
            if let Some(domains) = requirements.get(&group.key.topology_key) {
                concrete(domains).iter().for_each(|domain| group.record(domain));
            }
        }
    }
}

/// Values of a set; a complement lists none.
fn concrete(requirement: &Requirement) -> Vec<String> {
    if requirement.operator() == NodeOperator::In { requirement.values.iter().cloned().collect() } else { Vec::new() }
}

fn domain_of(labels: &Labels, host: &str, key: &str) -> Option<String> {
    labels.get(key).cloned().or_else(|| (key == HOSTNAME).then(|| host.to_string()))
}

fn affinity_key(
    kind: Kind,
    template: &PodTemplate,
    term: &PodAffinityTerm,
    namespaces: &BTreeMap<String, Labels>,
) -> GroupKey {
    let mut names: BTreeSet<String> = term.namespaces.iter().cloned().collect();
    if let Some(selector) = &term.namespace_selector {
        names.extend(namespaces.iter().filter(|(_, labels)| selector.matches(labels)).map(|(name, _)| name.clone()));
    } else if names.is_empty() {
        names.insert(template.namespace.clone());
    }
    GroupKey {
        topology_key: term.topology_key.clone(),
        kind,
        namespaces: names.into_iter().collect(),
        max_skew: i32::MAX,
        selector: term.selector.clone(),
        honor_affinity: false,
        honor_taints: false,
        tolerations: Vec::new(),
        filter_keys: Vec::new(),
    }
}

fn spread_key(template: &PodTemplate, spread: &TopologySpread) -> (GroupKey, NodeFilter) {
    let mut selector = spread.selector.clone();
    if let Some(selector) = &mut selector {
        for key in &spread.match_label_keys {
            if let Some(value) = template.labels.get(key) {
                let values = vec![value.clone()];
                selector.requirements.push(LabelRequirement { key: key.clone(), operator: LabelOperator::In, values });
            }
        }
    }
    let alternatives = match &template.affinity.node_required {
        None => vec![Requirements::of_labels(&template.node_selector)],
        Some(terms) => terms
            .iter()
            .map(|term| {
                let mut alternative = Requirements::of_labels(&template.node_selector);
                alternative.add_all(&Requirements::of(&term.expressions));
                alternative
            })
            .collect(),
    };
    let filter_keys =
        alternatives.iter().map(|alternative| alternative.iter().map(|(key, _)| key.clone()).collect()).collect();
    let key = GroupKey {
        topology_key: spread.topology_key.clone(),
        kind: Kind::Spread,
        namespaces: vec![template.namespace.clone()],
        max_skew: spread.max_skew,
        selector,
        honor_affinity: spread.honor_affinity,
        honor_taints: spread.honor_taints,
        tolerations: template.tolerations.clone(),
        filter_keys,
    };
    let filter = NodeFilter {
        alternatives,
        honor_affinity: spread.honor_affinity,
        honor_taints: spread.honor_taints,
        tolerations: template.tolerations.clone(),
    };
    (key, filter)
}

/// Labels that the rules of a pod speak of.
pub fn topology_keys(template: &PodTemplate) -> impl Iterator<Item = &str> {
    let affinity = &template.affinity;
    let terms = affinity
        .pod_required
        .iter()
        .chain(&affinity.anti_required)
        .chain(affinity.pod_preferred.iter().map(|(_, term)| term))
        .chain(affinity.anti_preferred.iter().map(|(_, term)| term));
    terms
        .map(|term| term.topology_key.as_str())
        .chain(template.topology_spread.iter().map(|spread| spread.topology_key.as_str()))
}

/// Strict requirements of a pod: those that relaxation never drops.
pub fn strict(template: &PodTemplate) -> Requirements {
    preferences::requirements(template, false)
}
