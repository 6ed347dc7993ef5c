//! PodTopologySpread: the filter of hard constraints and the score of soft ones.
//!
//! Source: `pkg/scheduler/framework/plugins/podtopologyspread/{common,filtering,scoring}.go`.

use super::filters::{matches_node_affinity, tolerates_node};
use super::reading::{Selection, Verdict};
use super::standing::Standing;
use super::view::{Column, NO_DOMAIN, View};
use crate::plan::{PodTemplate, TopologySpread};
use crate::rules::labels::LabelSelector;
use crate::world::census::HOSTNAME_LABEL;
use crate::world::id_set::NodeSet;
use crate::world::{Node, NodeId, Owner, PodId, World};
use std::borrow::Cow;

const ZONE_LABEL: &str = "topology.kubernetes.io/zone";
/// `matchLabelKeys` of Deployments: the ReplicaSet controller's label, which templates do not carry.
const TEMPLATE_HASH: &str = "pod-template-hash";

/// What the spread constraints of a template select.
#[derive(Clone, Debug)]
pub struct Reading {
    /// By constraint: namespace, selector and `matchLabelKeys` fit.
    constraints: Vec<Selection>,
    /// What all Services select that select the template, for the default constraints; whether one of them selects
    /// anything at all.
    defaults: (Selection, bool),
}

impl Reading {
    /// Of one template.
    pub fn of(world: &World, template: &PodTemplate) -> Reading {
        let of_constraint = |constraint: &TopologySpread| {
            let same = |key: &String, other: &PodTemplate| {
                template.labels.get(key).is_none_or(|value| other.labels.get(key) == Some(value))
            };
            Selection::of(world, |other| {
                other.namespace == template.namespace
                    && constraint.selector.as_ref().is_some_and(|selector| selector.matches(&other.labels))
                    && constraint.match_label_keys.iter().all(|key| same(key, other))
            })
        };
        let constraints: Vec<Selection> = template.topology_spread.iter().map(of_constraint).collect();
        let defaults =
            if constraints.is_empty() { default_selection(world, template, None) } else { Default::default() };
        Reading { constraints, defaults }
    }
}

/// The pods that the default constraints count: those that all Services (and a controller that runs elsewhere) select
/// that select the template; whether one of these selectors is not empty.
fn default_selection(world: &World, template: &PodTemplate, controller: Option<&LabelSelector>) -> (Selection, bool) {
    let services = world.services.iter().filter(|service| service.namespace == template.namespace);
    let selectors: Vec<&LabelSelector> = services
        .filter_map(|service| service.selector.as_ref())
        .filter(|selector| selector.matches(&template.labels))
        .chain(controller)
        .collect();
    let all = |other: &PodTemplate| selectors.iter().all(|selector| selector.matches(&other.labels));
    let selection = Selection::of(world, |other| other.namespace == template.namespace && all(other));
    (selection, selectors.iter().any(|selector| !selector.is_empty()))
}

/// Which existing pods a constraint counts.
#[derive(Clone, Debug)]
struct Counted<'a> {
    /// Their templates.
    selection: Cow<'a, Selection>,
    /// The classes of pods that count.
    classes: Vec<u32>,
    /// Nodes that hold some, for a constraint that counts by host.
    nodes: Option<Cow<'a, NodeSet>>,
    /// Only pods of this controller (`pod-template-hash`).
    owner: Option<Owner>,
    /// An empty selector counts nobody.
    nobody: bool,
}

impl<'a> Counted<'a> {
    fn new(world: &'a World, selection: Cow<'a, Selection>, owner: Option<Owner>, nobody: bool) -> Counted<'a> {
        let census = world.census();
        let of_owner = |class: &u32| owner.is_none_or(|owner| owner == census.classes()[*class as usize].owner);
        let classes = selection.classes(census).filter(of_owner).collect();
        Counted { selection, classes, nodes: None, owner, nobody }
    }

    /// To be asked for single nodes.
    fn by_host(mut self, world: &'a World) -> Counted<'a> {
        self.nodes = Some(world.census().nodes_of(&self.classes));
        self
    }

    /// Terminating pods do not count.
    fn counts(&self, world: &World, id: PodId) -> bool {
        let pod = world.pod(id);
        !self.nobody
            && self.selection.has(pod.template.index())
            && pod.deleting_since.is_none()
            && self.owner.is_none_or(|owner| owner == pod.owner)
    }

    /// In a trial terminating pods count, and an empty selector counts everybody (`updateWithPod`).
    fn counts_in_trials(&self, world: &World, id: PodId) -> bool {
        let pod = world.pod(id);
        self.selection.has(pod.template.index()) && self.owner.is_none_or(|owner| owner == pod.owner)
    }

    fn on(&self, view: &View, node: NodeId) -> i64 {
        if self.nobody {
            return 0;
        }
        let mut count = 0;
        if self.nodes.as_ref().is_none_or(|nodes| nodes.contains(node)) {
            let counts = |class: u32| match self.classes[..] {
                [only] => class == only,
                _ => self.classes.contains(&class),
            };
            let held = view.world.census().on(node).iter().filter(|held| counts(held.class));
            count = held.map(|held| held.count.staying()).sum();
        }
        if view.assumed.is_on(node) {
            count += view.assumed.on(node).iter().filter(|&&pod| self.counts(view.world, pod)).count() as i64;
        }
        count
    }

    /// Bound pods on all nodes of a kind.
    fn of_kind(&self, world: &World, kind: u32) -> i64 {
        if self.nobody {
            return 0;
        }
        self.classes.iter().map(|&class| world.census().of_kind(class, kind).staying()).sum()
    }
}

/// One hard constraint with what it counted.
#[derive(Clone)]
struct Hard<'a> {
    constraint: &'a TopologySpread,
    column: &'a Column,
    counted: Counted<'a>,
    /// Pods by domain; `None`: no eligible node there.
    domains: Vec<Option<i64>>,
    /// The pod matches its own selector.
    itself: i64,
    /// Smallest count, or 0 with too few domains.
    minimum: i64,
}

impl Hard<'_> {
    fn find_minimum(&mut self) {
        let present = self.domains.iter().flatten();
        let needed = i64::from(self.constraint.min_domains.unwrap_or(1));
        self.minimum = if (present.clone().count() as i64) < needed {
            0
        } else {
            present.copied().min().unwrap_or(i64::from(i32::MAX))
        };
    }
}

/// The filter's state of one cycle.
#[derive(Clone, Default)]
pub struct HardSpread<'a> {
    constraints: Vec<Hard<'a>>,
}

/// Why the filter refuses.
pub enum SpreadRefusal {
    /// A label of a constraint is missing.
    MissingLabel,
    /// The skew would be too large.
    Skew,
}

impl<'a> HardSpread<'a> {
    /// Counts for a pod.
    pub fn new(view: &View<'a>, pod: PodId) -> HardSpread<'a> {
        let template: &'a PodTemplate = view.template(pod);
        let hard = template.topology_spread.iter().enumerate().filter(|(_, constraint)| constraint.hard);
        let mut constraints: Vec<Hard> = hard.map(|(index, _)| hard_constraint(view, pod, index)).collect();
        if constraints.is_empty() {
            return HardSpread { constraints };
        }
        if can_ask_kinds(view, pod) && !constraints.iter().any(|entry| entry.column.by_host) {
            count_hard_by_kind(view, pod, template, &mut constraints);
        } else {
            count_hard_by_node(view, template, &mut constraints);
        }
        constraints.iter_mut().for_each(Hard::find_minimum);
        HardSpread { constraints }
    }

    /// Nothing to do for this pod.
    pub fn is_empty(&self) -> bool {
        self.constraints.is_empty()
    }

    /// A pod comes to a node (1) or leaves it (-1) in a trial.
    pub fn change(&mut self, view: &View, template: &PodTemplate, node: &Node, pod: PodId, by: i64) {
        if self.constraints.iter().any(|entry| entry.column.of(node.id).is_none()) {
            return;
        }
        for entry in &mut self.constraints {
            if entry.counted.counts_in_trials(view.world, pod) && is_eligible(template, entry.constraint, node) {
                let domain = entry.column.of(node.id).unwrap_or(0);
                *entry.domains[domain].get_or_insert(0) += by;
                entry.find_minimum();
            }
        }
    }

    /// Whether the pod may go to a node.
    pub fn check(&self, node: NodeId) -> Result<(), SpreadRefusal> {
        for entry in &self.constraints {
            let domain = entry.column.of(node).ok_or(SpreadRefusal::MissingLabel)?;
            let count = entry.domains[domain].unwrap_or(0);
            if count + entry.itself - entry.minimum > i64::from(entry.constraint.max_skew) {
                return Err(SpreadRefusal::Skew);
            }
        }
        Ok(())
    }
}

fn hard_constraint<'a>(view: &View<'a>, pod: PodId, index: usize) -> Hard<'a> {
    let template: &'a PodTemplate = view.template(pod);
    let constraint = &template.topology_spread[index];
    let column = view.cluster.column(&constraint.topology_key);
    let itself = constraint.selector.as_ref().is_some_and(|selector| selector.matches(&template.labels));
    Hard {
        constraint,
        column,
        counted: counted(view, pod, template, index),
        domains: vec![None; column.count],
        itself: i64::from(itself),
        minimum: 0,
    }
}

fn counted<'a>(view: &View<'a>, pod: PodId, template: &'a PodTemplate, index: usize) -> Counted<'a> {
    let constraint = &template.topology_spread[index];
    let by_hash = constraint.match_label_keys.iter().any(|key| key == TEMPLATE_HASH);
    let owner = (by_hash && !template.labels.contains_key(TEMPLATE_HASH)).then(|| view.world.pod(pod).owner);
    let keys = constraint.match_label_keys.iter().any(|key| template.labels.contains_key(key)) || owner.is_some();
    let nobody = constraint.selector.as_ref().is_some_and(LabelSelector::is_empty) && !keys;
    let selection = &view.reading(pod).spread.constraints[index];
    Counted::new(view.world, Cow::Borrowed(selection), owner, nobody)
}

/// What the constraints of a pod count can be added up by kind of node instead of by node.
fn can_ask_kinds(view: &View, pod: PodId) -> bool {
    view.is_current() && view.cluster.templates[view.template_index(pod)].by_kind
}

fn count_hard_by_node(view: &View, template: &PodTemplate, constraints: &mut [Hard]) {
    for node in view.nodes() {
        if constraints.iter().any(|entry| entry.column.of(node.id).is_none()) {
            continue;
        }
        for entry in constraints.iter_mut().filter(|entry| is_eligible(template, entry.constraint, node)) {
            let domain = entry.column.of(node.id).unwrap_or(0);
            *entry.domains[domain].get_or_insert(0) += entry.counted.on(view, node.id);
        }
    }
}

fn count_hard_by_kind(view: &View, pod: PodId, template: &PodTemplate, constraints: &mut [Hard]) {
    let census = view.world.census();
    // Who looks at single nodes is not counted by kind.
    let Some(verdicts) = view.verdicts(pod) else { return };
    for (id, _) in census.kinds() {
        let lacks_key = |entry: &Hard| !entry.column.knows_kind(census, id, &entry.constraint.topology_key);
        if constraints.iter().any(lacks_key) {
            continue;
        }
        let verdict = verdicts.of(id);
        for entry in constraints.iter_mut().filter(|entry| is_eligible_kind(verdict, entry.constraint)) {
            let domain = entry.column.of_kind(census, id, &entry.constraint.topology_key).unwrap_or(0);
            *entry.domains[domain].get_or_insert(0) += entry.counted.of_kind(view.world, id);
        }
    }
    for &(other, node) in view.assumed.all() {
        let node = view.world.node(node);
        if !view.lists(node.id) || constraints.iter().any(|entry| entry.column.of(node.id).is_none()) {
            continue;
        }
        for entry in constraints.iter_mut().filter(|entry| is_eligible(template, entry.constraint, node)) {
            let domain = entry.column.of(node.id).unwrap_or(0);
            *entry.domains[domain].get_or_insert(0) += i64::from(entry.counted.counts(view.world, other));
        }
    }
}

/// All nodes of a kind count for the constraint, or none.
fn is_eligible_kind(verdict: Verdict, constraint: &TopologySpread) -> bool {
    (!constraint.honor_affinity || verdict.matches) && (!constraint.honor_taints || verdict.tolerates)
}

/// The node counts for the constraint.
fn is_eligible(template: &PodTemplate, constraint: &TopologySpread, node: &Node) -> bool {
    (!constraint.honor_affinity || matches_node_affinity(template, node))
        && (!constraint.honor_taints || tolerates_node(template, node))
}

/// One soft constraint, the pod's own or a default.
struct Soft<'a> {
    key: &'a str,
    by_host: bool,
    max_skew: i64,
    column: &'a Column,
    counted: Counted<'a>,
    own: Option<&'a TopologySpread>,
    weight: f64,
    /// Pods by domain; `None`: no feasible node there.
    domains: Vec<Option<i64>>,
}

/// The soft constraints of a pod in one cycle.
pub struct SoftSpread<'a> {
    constraints: Vec<Soft<'a>>,
    /// They are the system's.
    defaulted: bool,
    /// The only one by host.
    by_host: Option<usize>,
    /// The pod's constraints can be counted by kind of node.
    by_kind: bool,
    pod: PodId,
}

impl<'a> SoftSpread<'a> {
    /// Of a pod.
    pub fn new(view: &View<'a>, pod: PodId) -> SoftSpread<'a> {
        let (constraints, defaulted) = soft_constraints(view, pod, view.template(pod));
        let mut by_host = (0..constraints.len()).filter(|&index| constraints[index].by_host);
        let only = by_host.next().filter(|_| by_host.next().is_none());
        SoftSpread { constraints, defaulted, by_host: only, by_kind: can_ask_kinds(view, pod), pod }
    }

    /// Pods on a node that the constraint by host counts.
    pub fn held(&self, view: &View, node: NodeId) -> u32 {
        let count = self.by_host.map_or(0, |index| self.constraints[index].counted.on(view, node));
        u32::try_from(count).unwrap_or(0)
    }

    /// Normalised scores of the feasible nodes; `None`: the plugin has nothing to say.
    pub fn scores(mut self, view: &View, feasible: &[NodeId], standings: &[Standing]) -> Option<Cells> {
        let (soft, template) = (&mut self.constraints, view.template(self.pod));
        if soft.is_empty() {
            return None;
        }
        // Nodes that lack a key of the pod's own constraints are left out.
        let ignores = !self.defaulted && !soft.iter().all(|entry| entry.column.whole);
        let lacks_key = |&node: &NodeId| soft.iter().any(|entry| entry.column.of(node).is_none());
        let ignored: Vec<bool> = if ignores { feasible.iter().map(lacks_key).collect() } else { Vec::new() };
        let scored = feasible.len() - ignored.iter().filter(|ignored| **ignored).count();
        for entry in soft.iter_mut() {
            weigh(entry, feasible, &ignored, scored);
        }
        if self.by_kind {
            count_soft_by_kind(view, self.pod, template, soft, self.defaulted);
        } else {
            for node in view.nodes() {
                count_soft(template, soft, self.defaulted, node, &|counted| counted.on(view, node.id));
            }
        }
        let cells = if view.is_current() { self.cells(feasible, standings, &ignored) } else { None };
        let cells = cells.unwrap_or_else(|| {
            let constraints = self.constraints.iter();
            let score = |(index, &node): (usize, &NodeId)| {
                let shares = constraints.clone().filter_map(|entry| entry.share_on(view, node));
                let ignored = ignored.get(index) == Some(&true);
                (!ignored).then(|| rounded(shares.fold(0.0, |sum, share| sum + share)))
            };
            let values = feasible.iter().enumerate().map(score).collect();
            Raw { of_node: (0..feasible.len() as u32).collect(), values }
        });
        Some(cells.normalise())
    }

    /// Nodes in the same domains that hold the same number of pods are one cell: the score of each cell is formed once.
    /// `None`: there would be too many, or what is counted on a node is not known.
    fn cells(&self, feasible: &[NodeId], standings: &[Standing], ignored: &[bool]) -> Option<Raw> {
        let held = standings.iter().fold(0, |most, standing| standing.held.max(most));
        // The last digit of each constraint stands for nodes without its key.
        let digits = |index: usize, entry: &Soft| match (entry.by_host, self.by_host == Some(index)) {
            (true, true) => Some(held as usize + 2),
            (true, false) => None,
            (false, _) => Some(entry.column.count + 1),
        };
        let soft = self.constraints.iter().enumerate();
        let digits: Option<Vec<usize>> = soft.map(|(index, entry)| digits(index, entry)).collect();
        let digits = digits?;
        let count = digits.iter().try_fold(1, |count: usize, &radix| count.checked_mul(radix))?;
        if count > feasible.len() {
            return None;
        }
        let mut of_node = vec![0_u32; feasible.len()];
        for (entry, &radix) in self.constraints.iter().zip(&digits) {
            entry.add_digits(radix as u32, feasible, standings, &mut of_node);
        }
        let mut present = vec![false; count];
        if ignored.is_empty() {
            of_node.iter().for_each(|&cell| present[cell as usize] = true);
        } else {
            let kept = of_node.iter().zip(ignored).filter(|(_, ignored)| !**ignored);
            kept.for_each(|(&cell, _)| present[cell as usize] = true);
        }
        let score = |(cell, present): (usize, bool)| present.then(|| self.score_of_cell(cell, &digits));
        let values = present.into_iter().enumerate().map(score).collect();
        Some(Raw { of_node, values })
    }

    fn score_of_cell(&self, cell: usize, digits: &[usize]) -> i64 {
        let mut place: usize = digits.iter().product();
        let mut sum = 0.0;
        for (entry, &radix) in self.constraints.iter().zip(digits) {
            place /= radix;
            let digit = cell / place % radix;
            if digit + 1 < radix {
                let count = if entry.by_host { digit as i64 } else { entry.domains[digit].unwrap_or(0) };
                sum += entry.share(count);
            }
        }
        rounded(sum)
    }
}

/// Scores of cells, and the cell of each feasible node.
pub struct Cells {
    of_node: Vec<u32>,
    values: Vec<i64>,
}

impl Cells {
    /// The score of each feasible node.
    pub fn scores(&self) -> impl Iterator<Item = i64> + '_ {
        self.of_node.iter().map(|&cell| self.values[cell as usize])
    }
}

/// The same before normalisation; `None`: no node that is not ignored.
struct Raw {
    of_node: Vec<u32>,
    values: Vec<Option<i64>>,
}

impl Raw {
    /// 100 x (max + min - score) div max over the nodes that are not ignored; these get 0.
    fn normalise(self) -> Cells {
        let present = || self.values.iter().flatten().copied();
        let (minimum, maximum) = (present().min().unwrap_or(0), present().max().unwrap_or(0));
        let rule = |score: i64| if maximum == 0 { 100 } else { 100 * (maximum + minimum - score) / maximum };
        let values = self.values.iter().map(|score| score.map_or(0, rule)).collect();
        Cells { of_node: self.of_node, values }
    }
}

/// Adds what each constraint counts on a node to the node's domain, if some feasible node is in it.
fn count_soft(
    template: &PodTemplate,
    soft: &mut [Soft],
    defaulted: bool,
    node: &Node,
    count_of: &dyn Fn(&Counted) -> i64,
) {
    if !defaulted && soft.iter().any(|entry| entry.column.of(node.id).is_none()) {
        return;
    }
    for entry in soft.iter_mut().filter(|entry| !entry.by_host) {
        let eligible = match entry.own {
            Some(constraint) => is_eligible(template, constraint, node),
            None => matches_node_affinity(template, node),
        };
        let Some(domain) = entry.column.of(node.id).filter(|_| eligible) else { continue };
        if let Some(count) = &mut entry.domains[domain] {
            *count += count_of(&entry.counted);
        }
    }
}

/// The same for all nodes, by their kinds; then the pods whose binding is on its way.
fn count_soft_by_kind(view: &View, pod: PodId, template: &PodTemplate, soft: &mut [Soft], defaulted: bool) {
    let census = view.world.census();
    // Who looks at single nodes is not counted by kind.
    let Some(verdicts) = view.verdicts(pod) else { return };
    for (id, _) in census.kinds() {
        if !defaulted && soft.iter().any(|entry| !entry.column.knows_kind(census, id, entry.key)) {
            continue;
        }
        let verdict = verdicts.of(id);
        for entry in soft.iter_mut().filter(|entry| !entry.by_host) {
            let eligible = entry.own.map_or(verdict.matches, |constraint| is_eligible_kind(verdict, constraint));
            let Some(domain) = entry.column.of_kind(census, id, entry.key).filter(|_| eligible) else { continue };
            if let Some(count) = &mut entry.domains[domain] {
                *count += entry.counted.of_kind(view.world, id);
            }
        }
    }
    for &(other, node) in view.assumed.all() {
        if view.lists(node) {
            let count_of = |counted: &Counted| i64::from(counted.counts(view.world, other));
            count_soft(template, soft, defaulted, view.world.node(node), &count_of);
        }
    }
}

/// Counts the domains of the feasible nodes. Nodes without a zone are one more domain together.
fn weigh(entry: &mut Soft, feasible: &[NodeId], ignored: &[bool], scored: usize) {
    let mut size = scored;
    if !entry.by_host {
        // The last stands for nodes without the key.
        let none = entry.domains.len();
        let mut seen = vec![false; none + 1];
        if ignored.is_empty() {
            feasible.iter().for_each(|&node| seen[entry.column.at(node).min(none as u32) as usize] = true);
        } else {
            let kept = feasible.iter().zip(ignored).filter(|(_, ignored)| !**ignored);
            kept.for_each(|(&node, _)| seen[entry.column.at(node).min(none as u32) as usize] = true);
        }
        size = seen.iter().filter(|seen| **seen).count();
        entry.domains.iter_mut().zip(&seen).filter(|(_, seen)| **seen).for_each(|(count, _)| *count = Some(0));
    }
    entry.weight = (size as f64 + 2.0).ln();
}

impl Soft<'_> {
    /// Appends the constraint's digit to the cell of each node.
    fn add_digits(&self, radix: u32, feasible: &[NodeId], standings: &[Standing], cells: &mut [u32]) {
        let nodes = cells.iter_mut().zip(feasible).zip(standings);
        match (self.by_host, self.column.whole) {
            (true, true) => nodes.for_each(|((cell, _), standing)| *cell = *cell * radix + standing.held),
            (true, false) => nodes.for_each(|((cell, &node), standing)| {
                let digit = if self.column.at(node) == NO_DOMAIN { radix - 1 } else { standing.held };
                *cell = *cell * radix + digit;
            }),
            (false, _) => {
                nodes.for_each(|((cell, &node), _)| *cell = *cell * radix + self.column.at(node).min(radix - 1))
            }
        }
    }

    fn share(&self, count: i64) -> f64 {
        count as f64 * self.weight + (self.max_skew - 1) as f64
    }

    /// What the constraint adds to the score of a node; nothing where the key is missing.
    fn share_on(&self, view: &View, node: NodeId) -> Option<f64> {
        let domain = self.column.of(node)?;
        Some(self.share(if self.by_host { self.counted.on(view, node) } else { self.domains[domain].unwrap_or(0) }))
    }
}

/// `f64::round` of a number that is not negative, without a call: halves go up.
fn rounded(sum: f64) -> i64 {
    let whole = sum as i64;
    whole + i64::from(sum - whole as f64 >= 0.5)
}

/// The pod's soft constraints, or the system's defaults (true) for a pod without any constraint that a Service or a
/// ReplicaSet selects.
fn soft_constraints<'a>(view: &View<'a>, pod: PodId, template: &'a PodTemplate) -> (Vec<Soft<'a>>, bool) {
    let world = view.world;
    let make = |key: &'a str, max_skew: i32, counted: Counted<'a>, own| {
        let (column, by_host) = (view.cluster.column(key), key == HOSTNAME_LABEL);
        let domains = if by_host { Vec::new() } else { vec![None; column.count] };
        let counted = if by_host { counted.by_host(world) } else { counted };
        Soft { key, by_host, max_skew: i64::from(max_skew), column, counted, own, weight: 0.0, domains }
    };
    if !template.topology_spread.is_empty() {
        let own = template.topology_spread.iter().enumerate().filter(|(_, constraint)| !constraint.hard);
        let soft = own.map(|(index, entry)| {
            make(&entry.topology_key, entry.max_skew, counted(view, pod, template, index), Some(entry))
        });
        return (soft.collect(), false);
    }
    let (selection, selected) = match world.controller_selectors.get(&pod) {
        None => {
            let (selection, selected) = &view.reading(pod).spread.defaults;
            (Cow::Borrowed(selection), *selected)
        }
        controller => {
            let (selection, selected) = default_selection(world, template, controller);
            (Cow::Owned(selection), selected)
        }
    };
    let owner = Some(world.pod(pod).owner).filter(|owner| matches!(owner, Owner::ReplicaSet(_)));
    if owner.is_none() && !selected {
        return (Vec::new(), true);
    }
    let counted = Counted::new(world, selection, owner, false);
    (vec![make(HOSTNAME_LABEL, 3, counted.clone(), None), make(ZONE_LABEL, 5, counted, None)], true)
}

#[cfg(test)]
mod tests {
    #[test]
    fn rounding_is_that_of_the_standard_library() {
        for sum in [0.0, 0.49999999999999994, 0.5, 1.5, 2.4999999999999996, 2.5, 1e9 + 0.5, 4503599627370495.5] {
            assert_eq!(super::rounded(sum), f64::round(sum) as i64, "{sum}");
        }
    }

    use super::super::decide::decide;
    use super::super::view::{Assumed, Cluster};
    use super::*;
    use crate::components::kubernetes::testbed::{self, Testbed, node, plan, template};
    use crate::engine::Span;
    use crate::rules::labels::Labels;
    use crate::rules::taint::{Taint, TaintEffect};
    use crate::world::DeleteCause;

    #[test]
    fn counting_by_kind_of_node_decides_as_counting_by_node_does() {
        let zone = "topology.kubernetes.io/zone";
        let labels = |name: &str| Labels::from([("app".to_string(), name.to_string())]);
        let mut templates = vec![template(10), template(10), template(10)];
        for (template, name) in templates.iter_mut().zip(["web", "web", "db"]) {
            template.labels = labels(name);
        }
        let selector = LabelSelector::from_labels(&labels("web"));
        let spread = |hard, max_skew| TopologySpread {
            max_skew,
            topology_key: zone.into(),
            hard,
            selector: Some(selector.clone()),
            min_domains: None,
            honor_affinity: true,
            honor_taints: true,
            match_label_keys: Vec::new(),
        };
        templates[0].topology_spread = vec![spread(true, 2)];
        templates[1].topology_spread = vec![spread(false, 1)];
        let near = |key: &str| crate::plan::PodAffinityTerm {
            selector: Some(selector.clone()),
            topology_key: key.into(),
            namespaces: Default::default(),
            namespace_selector: None,
        };
        templates[2].affinity.pod_preferred = vec![(10, near(zone)), (5, near("kubernetes.io/hostname"))];
        templates[2].affinity.pod_required = vec![near(zone)];
        let plan = plan(templates);
        let mut world = World::new(&plan);
        for index in 0..9 {
            let node = Testbed::ready_node(&mut world, node(&format!("n{index}"), 1000, ["x", "y", "z"][index % 3]));
            if index % 4 == 0 {
                world.add_taint(node, Taint::new("k", TaintEffect::NoSchedule));
            }
        }
        let assumed_node = NodeId(1);
        for index in 0..60_u32 {
            let pod = testbed::new_pod(&mut world, index % 3);
            let mut assumed = Assumed::default();
            let guest = testbed::new_pod(&mut world, (index + 1) % 3);
            assumed.add(guest, assumed_node);
            let (cluster, outdated) = (Cluster::of(&world), Cluster::of(&world).outdated());
            let decision = |cluster: &Cluster| {
                let view = View { plan: &plan, world: &world, cluster, assumed: &assumed, nominated: &[] };
                decide(&view, pod, 0)
            };
            let by_kind = decision(&cluster);
            let by_node = decision(&outdated);
            assert_eq!(by_kind.feasible, by_node.feasible, "pod {index}");
            assert_eq!(by_kind.refused, by_node.refused, "pod {index}");
            assert_eq!(by_kind.scores, by_node.scores, "pod {index}");
            world.bind_pod(pod, NodeId(index * 7 % 9));
            if index % 5 == 0 {
                world.delete_pod(pod, Some(Span::from_secs(30)), DeleteCause::User);
            }
        }
    }
}
