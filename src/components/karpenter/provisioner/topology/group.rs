//! One topology rule, shared by the pods that have it: counts by domain, and the domains that a pod may go to.
//!
//! Source: core `provisioning/scheduling/{topologygroup,topologynodefilter}.go`. Domains are tried in order of their names
//! where upstream iterates over a map.

use crate::plan::PodTemplate;
use crate::rules::labels::{LabelSelector, Labels};
use crate::rules::requirements::{HOSTNAME, Requirement, Requirements};
use crate::rules::taint::{Taint, Toleration, tolerated};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What kind of rule a group holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Spread evenly.
    Spread,
    /// Go where such pods are.
    Affinity,
    /// Keep away from such pods.
    AntiAffinity,
}

/// What makes two rules one group.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct GroupKey {
    /// The label whose values are the domains.
    pub topology_key: Arc<str>,
    /// Kind.
    pub kind: Kind,
    /// Namespaces of the pods that count.
    pub namespaces: Vec<String>,
    /// How uneven a spread may be.
    pub max_skew: i32,
    /// Pods that count; `None`: none in the pass, all of those that run (as upstream).
    pub selector: Option<LabelSelector>,
    /// `nodeAffinityPolicy: Honor`.
    pub honor_affinity: bool,
    /// `nodeTaintsPolicy: Honor`.
    pub honor_taints: bool,
    /// Tolerations of the pod.
    pub tolerations: Vec<Toleration>,
    /// Labels that its node selector and each required term name.
    pub filter_keys: Vec<Vec<Arc<str>>>,
}

/// Which nodes count for a spread.
#[derive(Clone, Debug, Default)]
pub struct NodeFilter {
    /// Any of these must be met.
    pub alternatives: Vec<Requirements>,
    /// If so.
    pub honor_affinity: bool,
    /// The pod must tolerate the taints of the node.
    pub honor_taints: bool,
    /// Tolerations of the pod.
    pub tolerations: Vec<Toleration>,
}

impl NodeFilter {
    fn matches(&self, taints: &[Taint], meets: impl Fn(&Requirements) -> bool) -> bool {
        let affine = !self.honor_affinity || self.alternatives.is_empty() || self.alternatives.iter().any(meets);
        affine && (!self.honor_taints || taints.iter().all(|taint| tolerated(&self.tolerations, taint)))
    }

    /// Whether a node with these labels counts.
    pub fn matches_node(&self, taints: &[Taint], labels: &Labels) -> bool {
        self.matches(taints, |alternative| alternative.met_by_labels(labels))
    }

    /// Whether a node with these requirements counts. Labels that it may still get do not help it (as upstream).
    pub fn matches_planned(&self, taints: &[Taint], requirements: &Requirements) -> bool {
        self.matches(taints, |alternative| requirements.compatible(alternative, false))
    }
}

/// One rule, shared by the pods that have it.
#[derive(Clone, Debug)]
pub struct Group {
    /// What makes it this group.
    pub key: GroupKey,
    /// `minDomains` of the pod that created it.
    pub min_domains: Option<i32>,
    /// Nodes that count.
    pub filter: NodeFilter,
    /// Pods by domain.
    domains: BTreeMap<Arc<str>, i32>,
    /// Domains without such a pod.
    empty: BTreeSet<Arc<str>>,
}

impl Group {
    /// A group that knows no domain.
    pub fn new(key: GroupKey, filter: NodeFilter, min_domains: Option<i32>) -> Group {
        Group { key, min_domains, filter, domains: BTreeMap::new(), empty: BTreeSet::new() }
    }

    /// Whether a pod counts, by its namespace and labels.
    pub fn selects(&self, template: &PodTemplate) -> bool {
        self.key.namespaces.contains(&template.namespace)
            && self.key.selector.as_ref().is_some_and(|selector| selector.matches(&template.labels))
    }

    /// A domain exists.
    pub fn register(&mut self, domain: &str) {
        if !self.domains.contains_key(domain) {
            let domain: Arc<str> = domain.into();
            self.domains.insert(domain.clone(), 0);
            self.empty.insert(domain);
        }
    }

    /// A pod is in a domain.
    pub fn record(&mut self, domain: &str) {
        match self.domains.get_mut(domain) {
            Some(count) => *count += 1,
            None => {
                self.domains.insert(domain.into(), 1);
            }
        }
        self.empty.remove(domain);
    }

    fn count(&self, domain: &str) -> i32 {
        self.domains.get(domain).copied().unwrap_or(0)
    }

    /// Domains of a node, of those that are known here.
    fn known<'a>(&'a self, node: &'a Requirement) -> Box<dyn Iterator<Item = (&'a Arc<str>, i32)> + 'a> {
        if node.complement {
            let allowed = self.domains.iter().filter(|(domain, _)| node.has(domain));
            return Box::new(allowed.map(|(domain, &count)| (domain, count)));
        }
        Box::new(
            node.values.iter().filter_map(|domain| self.domains.get_key_value(domain)).map(|(d, &count)| (d, count)),
        )
    }

    /// Domains that a pod may go to on a node. `counted`: the pod itself counts.
    pub fn next(&self, counted: bool, pod: &Requirement, node: &Requirement) -> Requirement {
        // The host of a node that does not exist yet is known to nobody.
        let host = node.single().filter(|_| &*self.key.topology_key == HOSTNAME);
        let chosen = |fits: bool| if fits { node.clone() } else { Requirement::absent() };
        match (self.key.kind, host) {
            (Kind::Spread, Some(host)) => chosen(self.count(host) + i32::from(counted) <= self.key.max_skew),
            (Kind::Spread, None) => self.next_spread(counted, pod, node),
            (Kind::Affinity, Some(host)) => {
                chosen(pod.has(host) && (self.count(host) > 0 || (counted && self.is_first(pod))))
            }
            (Kind::Affinity, None) => self.next_affinity(counted, pod, node),
            (Kind::AntiAffinity, Some(host)) => chosen(self.count(host) == 0),
            (Kind::AntiAffinity, None) if !node.complement => {
                let free = |domain: &&Arc<str>| self.empty.contains(*domain) && pod.has(domain);
                Requirement::any_of(node.values.iter().filter(free).cloned())
            }
            (Kind::AntiAffinity, None) => {
                Requirement::any_of(self.empty.iter().filter(|domain| node.has(domain) && pod.has(domain)).cloned())
            }
        }
    }

    fn next_spread(&self, counted: bool, pod: &Requirement, node: &Requirement) -> Requirement {
        let least = self.least(pod);
        let best = self
            .known(node)
            .map(|(domain, count)| (count + i32::from(counted), domain))
            .filter(|(count, _)| count - least <= self.key.max_skew)
            .min_by_key(|&(count, _)| count);
        best.map_or_else(Requirement::absent, |(_, domain)| Requirement::any_of([domain.clone()]))
    }

    /// The smallest count over the domains that the pod may use; zero for hosts, one can always be added.
    fn least(&self, pod: &Requirement) -> i32 {
        if &*self.key.topology_key == HOSTNAME {
            return 0;
        }
        let supported = self.domains.iter().filter(|(domain, _)| pod.has(domain)).map(|(_, &count)| count);
        let (number, least) = supported.fold((0, i32::MAX), |(number, least), count| (number + 1, least.min(count)));
        if self.min_domains.is_some_and(|wanted| number < wanted) { 0 } else { least }
    }

    fn next_affinity(&self, counted: bool, pod: &Requirement, node: &Requirement) -> Requirement {
        let occupied = self.known(node).filter(|&(domain, count)| count > 0 && pod.has(domain));
        let mut options: Vec<Arc<str>> = occupied.map(|(domain, _)| domain.clone()).collect();
        if options.is_empty() && counted && self.is_first(pod) {
            options.extend(self.domains.keys().find(|domain| pod.has(domain) && node.has(domain)).cloned());
            if options.is_empty() {
                options.extend(self.domains.keys().find(|domain| pod.has(domain)).cloned());
            }
        }
        Requirement::any_of(options)
    }

    /// There is no pod yet that one with these domains could join.
    fn is_first(&self, pod: &Requirement) -> bool {
        self.domains.len() == self.empty.len()
            || !self.domains.iter().any(|(domain, &count)| count > 0 && pod.has(domain))
    }
}
