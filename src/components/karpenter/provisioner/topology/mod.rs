//! Topology: spread constraints, pod affinity and anti-affinity, counted by domain while pods are placed.
//!
//! In: nodes, bound pods, the pods of the pass as they join or give up wishes. Out: what the rules ask of a node that a pod
//! might go to. Source: core `provisioning/scheduling/{topology,topologydomaingroup}.go`.

mod group;

use crate::components::karpenter::cluster::{Catalog, StateNode, tolerates_all};
use crate::plan::{NodePoolId, Plan, PodAffinityTerm, PodTemplate, TemplateId, TopologySpread};
use crate::rules::labels::{LabelOperator, LabelRequirement, Labels};
use crate::rules::requirements::{HOSTNAME, NODE_CLASS, NODE_POOL, Requirement, Requirements};
use crate::rules::taint::Taint;
use crate::world::{PodId, World};
use group::{Group, GroupKey, Kind, NodeFilter};
use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Domains of a label with the taints of the pools that offer them.
pub type Universe = BTreeMap<Arc<str>, Vec<Vec<Taint>>>;

/// Domains of a label: what the types of every pool offer.
pub fn universe(plan: &Plan, world: &World, catalog: &Catalog, pools: &[NodePoolId], key: &str) -> Universe {
    let mut universe = Universe::new();
    for &pool in pools {
        let facts = catalog.pool(plan, world, pool);
        // These two labels are not part of a pool's template.
        let of_pool = facts.requirements.get(key).filter(|_| key != NODE_POOL && key != NODE_CLASS);
        let types = plan.pool_types.get(pool.index()).map_or(&[][..], Vec::as_slice);
        let mut domains: BTreeSet<Arc<str>> = BTreeSet::new();
        for &id in types {
            let both = match (of_pool, catalog.requirements(id).get(key)) {
                (Some(one), Some(two)) => one.intersection(two),
                (Some(one), None) | (None, Some(one)) => one.clone(),
                (None, None) => continue,
            };
            // Values that are excluded are listed too (as upstream).
            domains.extend(both.values.iter().cloned());
        }
        domains.extend(of_pool.filter(|one| !one.complement).into_iter().flat_map(|one| one.values.iter().cloned()));
        for domain in domains {
            universe.entry(domain).or_default().push(world.node_pools[pool.index()].taints.clone());
        }
    }
    universe
}

/// Some template, of whatever pods, has required anti-affinity.
pub fn may_repel(world: &World) -> bool {
    world.templates.iter().any(|template| !template.affinity.anti_required.is_empty())
}

/// A pod as topology sees it.
#[derive(Clone, Copy)]
pub struct Subject<'a> {
    /// The pod.
    pub id: PodId,
    /// The template that it came with: namespace and labels never change.
    pub origin: TemplateId,
    /// What is left of its wishes.
    pub template: &'a PodTemplate,
    /// Requirements that relaxation never drops.
    pub strict: &'a Requirements,
}

/// Positions of groups, in ascending order.
type Members = Arc<[usize]>;

/// Which groups the pods of a template have, or are counted by.
#[derive(Clone, Debug, Default)]
struct Membership {
    groups: Members,
    inverse: Members,
}

/// Where the pods of a pass stand in the domains.
pub struct Topology<'a> {
    world: &'a World,
    namespaces: &'a BTreeMap<String, Labels>,
    /// Domains by label.
    universe: BTreeMap<Arc<str>, Universe>,
    nodes: &'a [&'a StateNode<'a>],
    /// The pods to be placed.
    pods: &'a [PodId],
    /// The same in order of their ids; found out when the first rule counts pods.
    excluded: OnceCell<Vec<PodId>>,
    groups: Vec<Group>,
    /// Required anti-affinity, as it concerns others.
    inverse: Vec<Group>,
    owned: BTreeMap<PodId, Membership>,
    /// Groups that pods of a template have before they give anything up.
    joined: BTreeMap<TemplateId, Membership>,
    /// Groups that count pods of a template, and how many groups there were when that was found out.
    selected: BTreeMap<TemplateId, (usize, usize, Membership)>,
}

impl<'a> Topology<'a> {
    /// Topology before any pod of the pass is placed. `pods`: those to be placed.
    pub fn new(
        world: &'a World,
        namespaces: &'a BTreeMap<String, Labels>,
        universe: BTreeMap<Arc<str>, Universe>,
        nodes: &'a [&'a StateNode<'a>],
        pods: &'a [PodId],
    ) -> Topology<'a> {
        let mut topology = Topology {
            world,
            namespaces,
            universe,
            nodes,
            pods,
            excluded: OnceCell::new(),
            groups: Vec::new(),
            inverse: Vec::new(),
            owned: BTreeMap::new(),
            joined: BTreeMap::new(),
            selected: BTreeMap::new(),
        };
        topology.count_repulsion_of_bound_pods();
        topology
    }

    fn is_excluded(&self, pod: PodId) -> bool {
        let sorted = || {
            let mut sorted = self.pods.to_vec();
            sorted.sort_unstable();
            sorted
        };
        self.excluded.get_or_init(sorted).binary_search(&pod).is_ok()
    }

    /// There is no rule: any pod may go anywhere.
    pub fn is_free(&self) -> bool {
        self.groups.is_empty() && self.inverse.is_empty()
    }

    /// Required anti-affinity of running pods keeps others away, and while they are being deleted it still does.
    fn count_repulsion_of_bound_pods(&mut self) {
        let world = self.world;
        if !may_repel(world) {
            return;
        }
        for node in world.nodes.iter().filter(|node| node.gone.is_none()) {
            for &pod in &node.pods {
                let template = world.template_of(pod);
                if template.affinity.anti_required.is_empty() || self.is_excluded(pod) || world.pod(pod).is_finished() {
                    continue;
                }
                for term in &template.affinity.anti_required {
                    let index = self.inverse_group(template, term);
                    if let Some(domain) = node.labels.get(&term.topology_key) {
                        self.inverse[index].record(domain);
                    }
                }
            }
        }
    }

    fn inverse_group(&mut self, template: &PodTemplate, term: &PodAffinityTerm) -> usize {
        let key = affinity_key(Kind::AntiAffinity, template, term, self.namespaces);
        if let Some(index) = self.inverse.iter().position(|group| group.key == key) {
            return index;
        }
        let group = self.empty_group(key, template, NodeFilter::default(), None);
        self.inverse.push(group);
        self.inverse.len() - 1
    }

    fn empty_group(&self, key: GroupKey, template: &PodTemplate, filter: NodeFilter, min: Option<i32>) -> Group {
        // What upstream hands over for rules without a policy, of affinity, counts as Honor where domains are made known
        // (`TopologyDomainGroup.ForEachDomain`), though not where pods are counted.
        let honors = filter.honor_taints || key.kind != Kind::Spread;
        let mut group = Group::new(key, filter, min);
        for (domain, taints) in self.universe.get(&group.key.topology_key).into_iter().flatten() {
            let usable = !honors || taints.iter().any(|taints| tolerates_all(template, taints));
            if usable {
                group.register(domain);
            }
        }
        group
    }

    /// A pod joins the pass, or its preferences changed.
    pub fn update(&mut self, pod: PodId, origin: TemplateId, template: &PodTemplate, relaxed: bool) {
        if topology_keys(template).next().is_none() {
            self.owned.remove(&pod);
            return;
        }
        let known = if relaxed { None } else { self.joined.get(&origin).cloned() };
        let mut found = known.unwrap_or_else(|| self.join(template));
        if !relaxed {
            self.joined.insert(origin, found.clone());
        }
        // What it kept away from before, it still does.
        if let Some(before) = self.owned.get(&pod) {
            let all: BTreeSet<usize> = before.inverse.iter().chain(found.inverse.iter()).copied().collect();
            found.inverse = all.into_iter().collect();
        }
        self.owned.insert(pod, found);
    }

    /// The groups of a template's rules; those that are new are counted.
    fn join(&mut self, template: &PodTemplate) -> Membership {
        let affinity = &template.affinity;
        let mut inverse: BTreeSet<usize> = BTreeSet::new();
        for term in &affinity.anti_required {
            inverse.insert(self.inverse_group(template, term));
        }
        let mut groups: BTreeSet<usize> = BTreeSet::new();
        for spread in &template.topology_spread {
            let (key, filter) = spread_key(template, spread);
            groups.insert(self.group(key, filter, spread.min_domains, template));
        }
        let attract = affinity.pod_required.iter().chain(affinity.pod_preferred.iter().map(|(_, term)| term));
        let repel = affinity.anti_required.iter().chain(affinity.anti_preferred.iter().map(|(_, term)| term));
        let attract = attract.map(|term| (Kind::Affinity, term));
        for (kind, term) in attract.chain(repel.map(|term| (Kind::AntiAffinity, term))) {
            let key = affinity_key(kind, template, term, self.namespaces);
            groups.insert(self.group(key, NodeFilter::default(), None, template));
        }
        Membership { groups: groups.into_iter().collect(), inverse: inverse.into_iter().collect() }
    }

    fn group(&mut self, key: GroupKey, filter: NodeFilter, min: Option<i32>, template: &PodTemplate) -> usize {
        self.groups.iter().position(|group| group.key == key).unwrap_or_else(|| {
            let mut group = self.empty_group(key, template, filter, min);
            self.count(&mut group);
            self.groups.push(group);
            self.groups.len() - 1
        })
    }

    /// Pods that run already.
    fn count(&self, group: &mut Group) {
        for state in self.nodes {
            let Some(node) = state.node.map(|id| self.world.node(id)) else { continue };
            let domain = state.labels.get(&group.key.topology_key);
            if let (Some(domain), true) = (domain, group.filter.matches_node(&node.taints, &node.labels)) {
                group.register(domain);
            }
        }
        for node in self.world.nodes.iter().filter(|node| node.gone.is_none() && !node.pods.is_empty()) {
            let Some(domain) = domain_of(&node.labels, &node.name, &group.key.topology_key) else { continue };
            if !group.filter.matches_node(&node.taints, &node.labels) {
                continue;
            }
            for &pod in &node.pods {
                let template = self.world.template_of(pod);
                // A selector that is absent selects every pod here, and none in the pass (as upstream).
                let selected = group.key.selector.as_ref().is_none_or(|selector| selector.matches(&template.labels));
                let counts = group.key.namespaces.contains(&template.namespace) && selected;
                if counts && self.world.pod(pod).is_active() && !self.is_excluded(pod) {
                    group.record(domain);
                }
            }
        }
    }

    /// A host that pods may go to.
    pub fn register_host(&mut self, host: &str) {
        for group in self.groups.iter_mut().chain(&mut self.inverse) {
            if &*group.key.topology_key == HOSTNAME {
                group.register(host);
            }
        }
    }

    /// Finds out which groups count a pod, before it is tried.
    pub fn prepare(&mut self, origin: TemplateId, template: &PodTemplate) {
        let (groups, inverse) = (self.groups.len(), self.inverse.len());
        if self.is_free() {
            return;
        }
        if self.selected.get(&origin).is_some_and(|found| found.0 == groups && found.1 == inverse) {
            return;
        }
        let those = |all: &[Group]| -> Members {
            all.iter().enumerate().filter(|(_, group)| group.selects(template)).map(|(index, _)| index).collect()
        };
        let membership = Membership { groups: those(&self.groups), inverse: those(&self.inverse) };
        self.selected.insert(origin, (groups, inverse, membership));
    }

    /// Groups that count a pod.
    fn counting(&self, origin: TemplateId) -> &Membership {
        &self.selected.get(&origin).expect("a pod is prepared before it is tried").2
    }

    /// What the rules ask of a node that a pod might go to, by label; `None`: no domain is left.
    pub fn demands(&self, pod: Subject, node: &Requirements) -> Option<Requirements> {
        let mut demands = Requirements::new();
        if self.is_free() {
            return Some(demands);
        }
        let counting = self.counting(pod.origin);
        let own = self.owned.get(&pod.id).map_or(&[][..], |owned| &owned.groups);
        let own = own.iter().map(|&index| (&self.groups[index], counting.groups.contains(&index)));
        let others = counting.inverse.iter().map(|&index| (&self.inverse[index], true));
        let any = Requirement::exists();
        for (group, counted) in own.chain(others) {
            let key = &group.key.topology_key;
            let domains = group.next(counted, pod.strict.get(key).unwrap_or(&any), node.get(key).unwrap_or(&any));
            if domains.is_empty() {
                return None;
            }
            demands.add(key, domains);
        }
        Some(demands)
    }

    /// A pod was placed.
    pub fn record(&mut self, pod: Subject, taints: &[Taint], requirements: &Requirements) {
        if self.is_free() {
            return;
        }
        let counting = self.counting(pod.origin).groups.clone();
        for &index in counting.iter() {
            let group = &mut self.groups[index];
            let Some(domains) = requirements.get(&group.key.topology_key) else { continue };
            if !group.filter.matches_planned(taints, requirements) {
                continue;
            }
            match group.key.kind {
                Kind::AntiAffinity => record_all(group, domains),
                Kind::Spread | Kind::Affinity => {
                    if let Some(domain) = domains.single() {
                        group.record(domain);
                    }
                }
            }
        }
        let owned = self.owned.get(&pod.id).map(|owned| owned.inverse.clone()).unwrap_or_default();
        for &index in owned.iter() {
            let group = &mut self.inverse[index];
            if let Some(domains) = requirements.get(&group.key.topology_key) {
                record_all(group, domains);
            }
        }
    }
}

/// Every domain where the pod could still come to be (of a complement, as upstream, the values that it excludes).
fn record_all(group: &mut Group, domains: &Requirement) {
    domains.values.iter().for_each(|domain| group.record(domain));
}

fn domain_of<'a>(labels: &'a Labels, host: &'a str, key: &str) -> Option<&'a str> {
    labels.get(key).or_else(|| (key == HOSTNAME).then_some(host))
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
        topology_key: term.topology_key.as_str().into(),
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
                let values = vec![value.to_string()];
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
        topology_key: spread.topology_key.as_str().into(),
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
