//! InterPodAffinity: the filter of required terms and the score of preferred ones.
//!
//! Source: `pkg/scheduler/framework/plugins/interpodaffinity/{plugin,filtering,scoring}.go`.

use super::reading::Selection;
use super::view::{Column, View};
use crate::plan::{Plan, PodAffinityTerm, PodTemplate};
use crate::world::id_set::NodeSet;
use crate::world::{Node, NodeId, PodId};
use std::borrow::Cow;

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

/// What the affinity terms of a template select, and which terms of others select it.
#[derive(Clone, Debug)]
pub struct Reading {
    /// What all required affinity terms together select.
    required: Selection,
    /// The template is among them.
    itself: bool,
    /// What each required anti-affinity term selects.
    anti: Vec<Selection>,
    /// Required anti-affinity terms of others that select the template: the topology key, whose.
    existing_anti: Vec<(String, Selection)>,
    /// Terms that count in the score, its own and those of others: the topology key, the pods that count, the weight.
    weighted: Vec<(String, Selection, i64)>,
}

impl Reading {
    /// Of the template at a position.
    pub fn of(view: &View, index: usize) -> Reading {
        let (plan, world) = (view.plan, view.world);
        let template = &world.templates[index];
        let affinity = &template.affinity;
        let all =
            |other: &PodTemplate| affinity.pod_required.iter().all(|term| selects(plan, term, template, other, true));
        let of_term = |term| Selection::of(world, |other| selects(plan, term, template, other, true));
        let mut existing_anti = Vec::new();
        for (other, of_other) in world.templates.iter().enumerate().filter(|_| view.cluster.any_anti_required) {
            let terms = of_other.affinity.anti_required.iter();
            for term in terms.filter(|term| selects(plan, term, of_other, template, false)) {
                existing_anti.push((term.topology_key.clone(), Selection::only(world, other)));
            }
        }
        Reading {
            required: if affinity.pod_required.is_empty() { Selection::default() } else { Selection::of(world, all) },
            itself: all(template),
            anti: affinity.anti_required.iter().map(of_term).collect(),
            existing_anti,
            weighted: weighted_terms(view, template),
        }
    }
}

/// Pods counted by domain of one topology key.
#[derive(Clone)]
struct Tally<'a> {
    view: View<'a>,
    column: &'a Column,
    /// The pods that count.
    selection: &'a Selection,
    counts: Counts<'a>,
}

#[derive(Clone)]
enum Counts<'a> {
    /// By domain.
    Domains(Vec<i64>),
    /// Each node is a domain of its own and is counted when it is asked for: nodes that hold some; pods that come and
    /// leave in a trial.
    Asked(Cow<'a, NodeSet>, Vec<(NodeId, i64)>),
}

impl<'a> Tally<'a> {
    /// Counts now, for each domain.
    fn by_domain(view: &View<'a>, key: &str, selection: &'a Selection) -> Tally<'a> {
        let column = view.cluster.column(key);
        let mut counts = vec![0; column.count];
        let mut add = |domain: Option<usize>, by: i64| {
            if let Some(domain) = domain {
                counts[domain] += by;
            }
        };
        let census = view.world.census();
        let by_kind = view.is_current() && !column.by_host;
        for class in selection.classes(census) {
            if by_kind {
                for (kind, count) in census.by_kind(class) {
                    add(column.of_kind(census, kind, key), i64::from(count.pods));
                }
                continue;
            }
            for node in census.classes()[class as usize].nodes.iter().filter(|&node| view.lists(node)) {
                let held = census.on(node).iter().find(|held| held.class == class);
                add(column.of(node), held.map_or(0, |held| i64::from(held.count.pods)));
            }
        }
        for &(pod, node) in view.assumed.all() {
            if view.lists(node) && selection.has(view.template_index(pod)) {
                add(column.of(node), 1);
            }
        }
        Tally { view: *view, column, selection, counts: Counts::Domains(counts) }
    }

    /// Counts a node when it is asked for, if no other node is in its domain.
    fn asked(view: &View<'a>, key: &str, selection: &'a Selection) -> Tally<'a> {
        let column = view.cluster.column(key);
        if !column.single || !column.by_host {
            return Tally::by_domain(view, key, selection);
        }
        let census = view.world.census();
        let classes: Vec<u32> = selection.classes(census).collect();
        let counts = Counts::Asked(census.nodes_of(&classes), Vec::new());
        Tally { view: *view, column, selection, counts }
    }

    fn add(&mut self, node: NodeId, template: usize, by: i64) {
        if let Some(domain) = self.column.of(node).filter(|_| self.selection.has(template)) {
            match &mut self.counts {
                Counts::Domains(counts) => counts[domain] += by,
                Counts::Asked(_, changes) => changes.push((node, by)),
            }
        }
    }

    fn at(&self, node: NodeId) -> i64 {
        if let Counts::Asked(nodes, changes) = &self.counts
            && !(nodes.contains(node) || self.view.assumed.is_on(node) || !changes.is_empty())
        {
            return 0;
        }
        let Some(domain) = self.column.of(node) else { return 0 };
        match &self.counts {
            Counts::Domains(counts) => counts[domain],
            Counts::Asked(nodes, changes) => {
                let changed = changes.iter().filter(|(other, _)| *other == node).map(|(_, by)| by);
                self.on(nodes, node) + changed.sum::<i64>()
            }
        }
    }

    /// Adds what is counted, by a weight, to the sums of nodes.
    fn add_to(&self, feasible: &[NodeId], weight: i64, sums: &mut [i64]) {
        let sums = sums.iter_mut().zip(feasible);
        match &self.counts {
            Counts::Domains(counts) => {
                sums.for_each(|(sum, &node)| *sum += self.column.of(node).map_or(0, |domain| weight * counts[domain]));
            }
            Counts::Asked(..) => sums.for_each(|(sum, &node)| *sum += weight * self.at(node)),
        }
    }

    /// Pods that count on a node now.
    fn on(&self, nodes: &NodeSet, node: NodeId) -> i64 {
        let (holds, assumes) = (nodes.contains(node), self.view.assumed.is_on(node));
        if !(holds || assumes) || !self.view.lists(node) {
            return 0;
        }
        let held = self.view.world.census().on(node).iter().filter(|held| self.selection.has(held.template.index()));
        let assumed = self.view.assumed.on(node).iter();
        held.map(|held| i64::from(held.count.pods)).sum::<i64>()
            + assumed.filter(|&&pod| self.selection.has(self.view.template_index(pod))).count() as i64
    }

    /// Some pod counts in some domain, before any trial.
    fn is_any(&self) -> bool {
        let nodes = match &self.counts {
            Counts::Domains(counts) => return counts.iter().any(|&count| count > 0),
            Counts::Asked(nodes, _) => nodes,
        };
        let holds = |node: NodeId| self.view.lists(node) && self.column.of(node).is_some();
        let mut assumed = self.view.assumed.all().iter();
        nodes.iter().any(holds)
            || assumed.any(|&(pod, node)| self.selection.has(self.view.template_index(pod)) && holds(node))
    }

    /// No domain has any.
    fn is_nowhere(&self) -> bool {
        match &self.counts {
            Counts::Domains(counts) => counts.iter().all(|&count| count <= 0),
            Counts::Asked(..) => !self.is_any(),
        }
    }
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
        let reading = &view.reading(pod).inter_pod;
        let own =
            affinity.pod_required.iter().map(|term| Tally::by_domain(view, &term.topology_key, &reading.required));
        let anti = affinity.anti_required.iter().zip(&reading.anti);
        let existing = reading.existing_anti.iter().map(|(key, selection)| Tally::asked(view, key, selection));
        let mut state = Required {
            own: own.collect(),
            own_anti: anti.map(|(term, selection)| Tally::asked(view, &term.topology_key, selection)).collect(),
            existing_anti: existing.collect(),
            itself: reading.itself,
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

/// Normalised scores of the feasible nodes; `None`: the plugin has nothing to say.
pub fn scores(view: &View, pod: PodId, feasible: &[NodeId]) -> Option<Vec<i64>> {
    let template = view.template(pod);
    let affinity = &template.affinity;
    let own_preferred = !(affinity.pod_preferred.is_empty() && affinity.anti_preferred.is_empty());
    if !own_preferred && !view.cluster.any_score_terms {
        return None;
    }
    let weighted = view.reading(pod).inter_pod.weighted.iter();
    let terms: Vec<(Tally, i64)> =
        weighted.map(|(key, selection, weight)| (Tally::asked(view, key, selection), *weight)).collect();
    if !terms.iter().any(|(tally, _)| tally.is_any()) {
        return None;
    }
    let mut raw = vec![0; feasible.len()];
    terms.iter().for_each(|(tally, weight)| tally.add_to(feasible, *weight, &mut raw));
    let (minimum, maximum) = (raw.iter().min().copied().unwrap_or(0), raw.iter().max().copied().unwrap_or(0));
    let spread = maximum - minimum;
    let rule = |score: i64| if spread > 0 { (100.0 * ((score - minimum) as f64 / spread as f64)) as i64 } else { 0 };
    Some(raw.into_iter().map(rule).collect())
}

/// The preferred terms of a template, and the preferred (and required) ones of others that select it.
fn weighted_terms(view: &View, template: &PodTemplate) -> Vec<(String, Selection, i64)> {
    let mut terms = Vec::new();
    let (plan, world) = (view.plan, view.world);
    let mut own = |term: &PodAffinityTerm, weight: i64| {
        let selection = Selection::of(world, |other| selects(plan, term, template, other, true));
        if !selection.is_empty() {
            terms.push((term.topology_key.clone(), selection, weight));
        }
    };
    template.affinity.pod_preferred.iter().for_each(|(weight, term)| own(term, i64::from(*weight)));
    template.affinity.anti_preferred.iter().for_each(|(weight, term)| own(term, -i64::from(*weight)));
    for (index, other) in world.templates.iter().enumerate().filter(|_| view.cluster.any_score_terms) {
        let mut theirs = |term: &PodAffinityTerm, weight: i64| {
            if selects(plan, term, other, template, false) {
                terms.push((term.topology_key.clone(), Selection::only(world, index), weight));
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

/// A pod of `other` matches all required anti-affinity terms of `template`: what upstream asks before it tries a pod again
/// (`podMatchesAllAffinityTerms`), though one that matches keeps pods apart.
pub fn matches_anti_affinity(plan: &Plan, template: &PodTemplate, other: &PodTemplate) -> bool {
    let terms = &template.affinity.anti_required;
    !terms.is_empty() && terms.iter().all(|term| selects(plan, term, template, other, true))
}
