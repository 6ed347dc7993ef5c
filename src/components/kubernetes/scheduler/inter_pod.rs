//! InterPodAffinity: the filter of required terms and the score of preferred ones.
//!
//! Source: `pkg/scheduler/framework/plugins/interpodaffinity/{plugin,filtering,scoring}.go`.

use super::view::{Column, View};
use crate::plan::{Plan, PodAffinityTerm, PodTemplate};
use crate::world::{Node, NodeId, PodId};

/// `hardPodAffinityWeight`.
const HARD_WEIGHT: i64 = 1;

/// Whether a term of a pod of `owner` selects pods of `other`. For the incoming pod's own terms a namespace selector
/// was first expanded to the namespaces that exist and is then put to an empty label set as well.
fn selects(plan: &Plan, term: &PodAffinityTerm, owner: &PodTemplate, other: &PodTemplate, own: bool) -> bool {
    let Some(selector) = &term.selector else { return false };
    let named = if term.namespaces.is_empty() && term.namespace_selector.is_none() {
        other.namespace == owner.namespace
    } else {
        term.namespaces.contains(&other.namespace)
    };
    let empty = crate::rules::labels::Labels::new();
    let by_label = term.namespace_selector.as_ref().is_some_and(|selector| {
        let labels = plan.namespaces.get(&other.namespace);
        if own {
            selector.matches(&empty) || labels.is_some_and(|labels| selector.matches(labels))
        } else {
            selector.matches(labels.unwrap_or(&empty))
        }
    });
    (named || by_label) && selector.matches(&other.labels)
}

/// Pods counted by domain of one topology key.
#[derive(Clone)]
struct Tally<'a> {
    view: View<'a>,
    column: &'a Column,
    /// By template of the other pod: it counts.
    templates: Vec<bool>,
    counts: Counts,
}

#[derive(Clone)]
enum Counts {
    /// By domain.
    Domains(Vec<i64>),
    /// Each node is a domain of its own and is counted when it is asked for; pods that come and leave in a trial.
    Asked(Vec<(NodeId, i64)>),
}

impl<'a> Tally<'a> {
    /// Counts now, for each domain.
    fn by_domain(view: &View<'a>, key: &str, templates: Vec<bool>) -> Tally<'a> {
        let column = view.cluster.column(key);
        let mut counts = vec![0; column.count];
        let mut add = |domain: Option<usize>, by: i64| {
            if let Some(domain) = domain {
                counts[domain] += by;
            }
        };
        let census = view.world.census();
        let by_kind = view.is_current() && !column.by_host;
        for &class in classes(view, &templates) {
            if by_kind {
                for (kind, count) in census.by_kind(class) {
                    add(column.of_kind(census.kind(kind), key), i64::from(count.pods));
                }
                continue;
            }
            for &node in census.classes()[class as usize].nodes.iter().filter(|&&node| view.lists(node)) {
                let held = census.on(node).iter().find(|held| held.class == class);
                add(column.of(node), held.map_or(0, |held| i64::from(held.count.pods)));
            }
        }
        for &(pod, node) in view.assumed.all() {
            if view.lists(node) && templates[view.template_index(pod)] {
                add(column.of(node), 1);
            }
        }
        Tally { view: *view, column, templates, counts: Counts::Domains(counts) }
    }

    /// Counts a node when it is asked for, if no other node is in its domain.
    fn asked(view: &View<'a>, key: &str, templates: Vec<bool>) -> Tally<'a> {
        let column = view.cluster.column(key);
        if !column.single || !column.by_host {
            return Tally::by_domain(view, key, templates);
        }
        Tally { view: *view, column, templates, counts: Counts::Asked(Vec::new()) }
    }

    fn add(&mut self, node: NodeId, template: usize, by: i64) {
        if let Some(domain) = self.column.of(node).filter(|_| self.templates[template]) {
            match &mut self.counts {
                Counts::Domains(counts) => counts[domain] += by,
                Counts::Asked(changes) => changes.push((node, by)),
            }
        }
    }

    fn at(&self, node: NodeId) -> i64 {
        let Some(domain) = self.column.of(node) else { return 0 };
        match &self.counts {
            Counts::Domains(counts) => counts[domain],
            Counts::Asked(changes) => {
                let changed = changes.iter().filter(|(other, _)| *other == node).map(|(_, by)| by);
                self.on(node) + changed.sum::<i64>()
            }
        }
    }

    /// Pods that count on a node now.
    fn on(&self, node: NodeId) -> i64 {
        if !self.view.lists(node) {
            return 0;
        }
        let held = self.view.world.census().on(node).iter().filter(|held| self.templates[held.template.index()]);
        let assumed = self.view.assumed.on(node).iter();
        held.map(|held| i64::from(held.count.pods)).sum::<i64>()
            + assumed.filter(|&&pod| self.templates[self.view.template_index(pod)]).count() as i64
    }

    /// Some pod counts in some domain, before any trial.
    fn is_any(&self) -> bool {
        if let Counts::Domains(counts) = &self.counts {
            return counts.iter().any(|&count| count > 0);
        }
        let holds = |node: NodeId| self.view.lists(node) && self.column.of(node).is_some();
        let census = self.view.world.census();
        let mut of_class =
            classes(&self.view, &self.templates).flat_map(|&class| &census.classes()[class as usize].nodes);
        let mut assumed = self.view.assumed.all().iter();
        of_class.any(|&node| holds(node))
            || assumed.any(|&(pod, node)| self.templates[self.view.template_index(pod)] && holds(node))
    }

    /// No domain has any.
    fn is_nowhere(&self) -> bool {
        match &self.counts {
            Counts::Domains(counts) => counts.iter().all(|&count| count <= 0),
            Counts::Asked(_) => !self.is_any(),
        }
    }
}

/// The classes of pods of these templates.
fn classes<'v>(view: &View<'v>, templates: &'v [bool]) -> impl Iterator<Item = &'v u32> + use<'v> {
    let census = view.world.census();
    let counted = templates.iter().enumerate().filter(|(_, counts)| **counts);
    counted.flat_map(|(template, _)| census.classes_of(template))
}

/// The filter's state of one cycle.
#[derive(Clone, Default)]
pub struct Required<'a> {
    own: Vec<Tally<'a>>,
    own_anti: Vec<Tally<'a>>,
    existing_anti: Vec<Tally<'a>>,
    /// The pod matches all its own affinity terms.
    itself: bool,
    /// There is something to do for this pod on the bound pods.
    active: bool,
}

/// Why the filter refuses.
pub enum AffinityRefusal {
    /// The pod's own affinity.
    Own,
    /// Its own anti-affinity.
    OwnAnti,
    /// Anti-affinity of pods that are there.
    ExistingAnti,
}

impl<'a> Required<'a> {
    /// Counts for a pod.
    pub fn new(view: &View<'a>, pod: PodId) -> Required<'a> {
        let template: &'a PodTemplate = view.template(pod);
        let affinity = &template.affinity;
        if affinity.pod_required.is_empty() && affinity.anti_required.is_empty() && !view.cluster.any_anti_required {
            return Required::default();
        }
        let plan = view.plan;
        let others = &view.world.templates;
        let all =
            |other: &PodTemplate| affinity.pod_required.iter().all(|term| selects(plan, term, template, other, true));
        let every: Vec<bool> = others.iter().map(|other| all(other)).collect();
        let own = affinity.pod_required.iter().map(|term| Tally::by_domain(view, &term.topology_key, every.clone()));
        let anti = affinity.anti_required.iter().map(|term| {
            let matching = others.iter().map(|other| selects(plan, term, template, other, true)).collect();
            Tally::asked(view, &term.topology_key, matching)
        });
        let mut state = Required {
            own: own.collect(),
            own_anti: anti.collect(),
            existing_anti: existing_anti(view, template),
            itself: all(template),
            active: true,
        };
        let barred = state.existing_anti.iter().any(Tally::is_any);
        state.active = barred || !state.own.is_empty() || !state.own_anti.is_empty();
        state
    }

    /// Nothing to do for this pod: then nominated pods do not count either.
    pub fn is_empty(&self) -> bool {
        !self.active
    }

    /// A pod comes to a node (1) or leaves it (-1) in a trial.
    pub fn change(&mut self, view: &View, node: &Node, pod: PodId, by: i64) {
        self.count(node.id, view.template_index(pod), by);
    }

    fn count(&mut self, node: NodeId, template: usize, by: i64) {
        let tallies = self.own.iter_mut().chain(&mut self.own_anti).chain(&mut self.existing_anti);
        tallies.for_each(|tally| tally.add(node, template, by));
    }

    /// Whether the pod may go to a node.
    pub fn check(&self, node: NodeId) -> Result<(), AffinityRefusal> {
        if !self.active {
            return Ok(());
        }
        let has_keys = self.own.iter().all(|tally| tally.column.of(node).is_some());
        if !self.own.is_empty() {
            let near = has_keys && self.own.iter().all(|tally| tally.at(node) > 0);
            let nowhere = || self.own.iter().all(Tally::is_nowhere);
            if !(near || has_keys && self.itself && nowhere()) {
                return Err(AffinityRefusal::Own);
            }
        }
        if self.own_anti.iter().any(|tally| tally.at(node) > 0) {
            return Err(AffinityRefusal::OwnAnti);
        }
        if self.existing_anti.iter().any(|tally| tally.at(node) > 0) {
            return Err(AffinityRefusal::ExistingAnti);
        }
        Ok(())
    }
}

/// One tally per required anti-affinity term of any template that selects the incoming pod.
fn existing_anti<'a>(view: &View<'a>, template: &PodTemplate) -> Vec<Tally<'a>> {
    let mut tallies = Vec::new();
    for (index, other) in view.world.templates.iter().enumerate() {
        for term in &other.affinity.anti_required {
            if selects(view.plan, term, other, template, false) {
                let mut templates = vec![false; view.world.templates.len()];
                templates[index] = true;
                tallies.push(Tally::asked(view, &term.topology_key, templates));
            }
        }
    }
    tallies
}

/// A preferred (or, of existing pods, required) term: the pods that count, the weight.
struct Weighted<'a> {
    tally: Tally<'a>,
    weight: i64,
}

/// Normalised scores of the feasible nodes; `None`: the plugin has nothing to say.
pub fn scores(view: &View, pod: PodId, feasible: &[NodeId]) -> Option<Vec<i64>> {
    let template = view.template(pod);
    let affinity = &template.affinity;
    let own_preferred = !(affinity.pod_preferred.is_empty() && affinity.anti_preferred.is_empty());
    if !own_preferred && !view.cluster.any_score_terms {
        return None;
    }
    let terms = weighted_terms(view, template);
    if !terms.iter().any(|term| term.tally.is_any()) {
        return None;
    }
    let sum = |node: NodeId| -> i64 { terms.iter().map(|term| term.weight * term.tally.at(node)).sum() };
    let raw: Vec<i64> = feasible.iter().map(|&node| sum(node)).collect();
    let (minimum, maximum) = (raw.iter().min().copied().unwrap_or(0), raw.iter().max().copied().unwrap_or(0));
    let spread = maximum - minimum;
    let rule = |score: i64| if spread > 0 { (100.0 * ((score - minimum) as f64 / spread as f64)) as i64 } else { 0 };
    Some(raw.into_iter().map(rule).collect())
}

fn weighted_terms<'a>(view: &View<'a>, template: &PodTemplate) -> Vec<Weighted<'a>> {
    let mut terms = Vec::new();
    let mut push = |key: &str, templates: Vec<bool>, weight: i64| {
        if templates.contains(&true) {
            terms.push(Weighted { tally: Tally::asked(view, key, templates), weight });
        }
    };
    let others = &view.world.templates;
    let mut own = |term: &PodAffinityTerm, weight: i64| {
        let matching = others.iter().map(|other| selects(view.plan, term, template, other, true)).collect();
        push(&term.topology_key, matching, weight);
    };
    template.affinity.pod_preferred.iter().for_each(|(weight, term)| own(term, i64::from(*weight)));
    template.affinity.anti_preferred.iter().for_each(|(weight, term)| own(term, -i64::from(*weight)));
    for (index, other) in others.iter().enumerate() {
        let mut theirs = |term: &PodAffinityTerm, weight: i64| {
            if selects(view.plan, term, other, template, false) {
                let mut only = vec![false; others.len()];
                only[index] = true;
                push(&term.topology_key, only, weight);
            }
        };
        other.affinity.pod_required.iter().for_each(|term| theirs(term, HARD_WEIGHT));
        other.affinity.pod_preferred.iter().for_each(|(weight, term)| theirs(term, i64::from(*weight)));
        other.affinity.anti_preferred.iter().for_each(|(weight, term)| theirs(term, -i64::from(*weight)));
    }
    terms
}

/// A pod of `other` matches all required affinity terms of `template`.
pub fn matches_affinity(plan: &Plan, template: &PodTemplate, other: &PodTemplate) -> bool {
    let terms = &template.affinity.pod_required;
    !terms.is_empty() && terms.iter().all(|term| selects(plan, term, template, other, true))
}

/// A pod of `other` matches a required anti-affinity term of `template`.
pub fn matches_anti_affinity(plan: &Plan, template: &PodTemplate, other: &PodTemplate) -> bool {
    template.affinity.anti_required.iter().any(|term| selects(plan, term, template, other, true))
}
