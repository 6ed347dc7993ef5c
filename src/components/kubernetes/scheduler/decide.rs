//! One scheduling cycle for one pod, as a pure function: filter, score, choose.
//!
//! Source: `pkg/scheduler/schedule_one.go` (`schedulePod`, `findNodesThatFitPod`, `prioritizeNodes`).

use super::filters::{Filters, Plugin, Plugins, Refusal, Trial};
use super::scores::{Appraisal, PluginScores, Sums, add_scores};
use super::standing::{Standing, Standings};
use super::view::View;
use crate::engine::StableHasher;
use crate::rules::requirement::NodeOperator;
use crate::world::{NodeId, PodId};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};

/// Fewer nodes than this are all tried. Source: `minFeasibleNodesToFind`.
const ALL_NODES_BELOW: usize = 100;
/// The smallest percentage. Source: `minFeasibleNodesPercentageToFind`.
const PERCENTAGE_MIN: usize = 5;

/// What is said of a pod where there is no node at all. Source: `ErrNoNodesAvailable`.
pub const NO_NODES: &str = "no nodes available to schedule pods";

/// What a cycle found.
#[derive(Clone, Debug, Default)]
pub struct Decision {
    /// The pod as a whole was turned down by its node affinity: no node is both named and there.
    pub conflict: bool,
    /// Nodes that were tried and failed.
    pub refused: Vec<(NodeId, Refusal)>,
    /// Nodes that were not tried because the pod names others.
    pub ruled_out: usize,
    /// Nodes that passed, in the order in which they were tried.
    pub feasible: Vec<NodeId>,
    /// Somebody wants to know the scores of each plugin.
    pub tells: bool,
    /// Scores; empty when there was no need to score, or nobody wants to know.
    pub scores: Vec<PluginScores>,
    /// Their sums, by feasible node.
    pub total: Vec<i64>,
    /// The nodes of the highest total, in node order.
    pub best: Vec<NodeId>,
    /// Nodes feasible or refused.
    pub evaluated: usize,
    /// Where the next cycle starts.
    pub next_start: usize,
    /// Nodes that exist.
    pub nodes: usize,
}

impl Decision {
    /// Plugins that refused a node: whose hints are asked later.
    pub fn rejectors(&self) -> Plugins {
        let mut plugins = Plugins::default();
        self.refused.iter().for_each(|(_, refusal)| plugins.insert(refusal.plugin));
        if self.ruled_out > 0 || self.conflict {
            plugins.insert(Plugin::NodeAffinity);
        }
        plugins
    }

    /// It says the same as another one of a pod that no node takes.
    pub fn is_same(&self, other: &Decision) -> bool {
        let plain = |one: &Decision| (one.conflict, one.ruled_out, one.evaluated, one.next_start, one.nodes);
        self.feasible.is_empty()
            && other.feasible.is_empty()
            && self.refused == other.refused
            && plain(self) == plain(other)
    }

    /// A number for [`Decision::message`], equal for equal messages of one pod: of the refusals only how many there are of
    /// each kind matters.
    pub fn message_number(&self) -> u64 {
        let mut hasher = StableHasher::default();
        let one = |(_, refusal): &(NodeId, Refusal)| {
            let mut hasher = StableHasher::default();
            hasher.write_u64(refusal.number());
            hasher.finish()
        };
        let refusals = self.refused.iter().map(one).fold(0, u64::wrapping_add);
        (self.nodes, self.conflict, self.ruled_out, refusals).hash(&mut hasher);
        hasher.finish()
    }

    /// What `kubectl describe` shows, without what preemption says.
    pub fn message(&self, view: &View, pod: PodId) -> String {
        if self.nodes == 0 {
            return NO_NODES.to_string();
        }
        if self.conflict {
            return format!("0/{} nodes are available: pod affinity terms conflict.", self.nodes);
        }
        let template = view.template(pod);
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for (_, refusal) in &self.refused {
            refusal.reasons(template).into_iter().for_each(|reason| *counts.entry(reason).or_insert(0) += 1);
        }
        if self.ruled_out > 0 {
            counts.insert("node(s) didn't satisfy plugin(s) [NodeAffinity]".to_string(), self.ruled_out);
        }
        let mut reasons: Vec<String> = counts.into_iter().map(|(reason, count)| format!("{count} {reason}")).collect();
        reasons.sort();
        format!("0/{} nodes are available: {}.", self.nodes, reasons.join(", "))
    }
}

/// How many feasible nodes are enough. `percentage` 0: adaptive.
pub fn feasible_target(nodes: usize, percentage: u32) -> usize {
    if nodes < ALL_NODES_BELOW {
        return nodes;
    }
    let percentage = match percentage as usize {
        0 => 50_usize.saturating_sub(nodes / 125).max(PERCENTAGE_MIN),
        given => given.min(100),
    };
    (nodes * percentage / 100).max(ALL_NODES_BELOW)
}

/// One cycle. `start` is the rotating start index into the node order.
pub fn decide(view: &View, pod: PodId, start: usize) -> Decision {
    decide_for(view, pod, start, true)
}

/// The same; `tells`: with the scores of each plugin.
pub fn decide_for(view: &View, pod: PodId, start: usize, tells: bool) -> Decision {
    let filters = Filters::new(*view, pod);
    let mut decision = Decision { next_start: start, tells, ..Decision::default() };
    let named = named_nodes(view, pod);
    let nodes = view.order();
    decision.nodes = nodes.len();
    let candidates = match &named {
        Named::All => nodes,
        Named::Conflict => {
            decision.conflict = true;
            return decision;
        }
        Named::Some(names) => {
            let listed: Vec<NodeId> = match names[..] {
                [only] => Some(only).filter(|&node| view.lists(node)).into_iter().collect(),
                _ => nodes.iter().copied().filter(|node| names.contains(node)).collect(),
            };
            decision.ruled_out = decision.nodes - listed.len();
            Cow::Owned(listed)
        }
    };
    if nominated_passes(view, &filters, pod, &mut decision) {
        return decision;
    }
    let search = Search { view, filters: &filters, pod };
    search.find_feasible(&candidates, start, &mut decision);
    if decision.nodes > 0 {
        decision.next_start = (start + decision.evaluated) % decision.nodes;
    }
    match decision.feasible.len() {
        0 => {}
        1 => decision.best = decision.feasible.clone(),
        _ => {
            let appraisal = Appraisal::new(view, pod);
            let standings = search.standings(&appraisal, &decision.feasible);
            choose(view, pod, appraisal, &standings, &mut decision);
        }
    }
    decision
}

/// The search for nodes that take the pod.
struct Search<'s, 'a> {
    view: &'s View<'a>,
    filters: &'s Filters<'a>,
    pod: PodId,
}

impl<'a> Search<'_, 'a> {
    /// Tries nodes until enough are feasible.
    fn find_feasible(&self, candidates: &[NodeId], start: usize, decision: &mut Decision) {
        let count = candidates.len();
        let target = feasible_target(count, self.view.plan.flags.scheduler.percentage_of_nodes_to_score);
        let (feasible, refused) = (&mut decision.feasible, &mut decision.refused);
        let mut found = Found { target, most: target.min(count), feasible, refused };
        let (before, after) = candidates.split_at(if count > 0 { start % count } else { 0 });
        let mut kept = self.view.standings(self.pod);
        match &mut kept {
            Some(kept) => found.is_full(self, after, kept) || found.is_full(self, before, kept),
            None => after.iter().chain(before).any(|&node| found.has_enough(node, self.check(node))),
        };
        decision.evaluated = decision.feasible.len() + decision.refused.len();
    }

    /// A node of which nothing is kept.
    fn check(&self, node: NodeId) -> Result<(), Refusal> {
        check_nominated(self.view, self.filters, self.pod, node)?;
        self.filters.check_node(node)?;
        self.filters.check_place(node)
    }

    /// How feasible nodes stand: asked only where there are several.
    fn standings(&self, appraisal: &Appraisal<'a>, feasible: &[NodeId]) -> Vec<Standing> {
        let versions = self.view.world.census().versions();
        let nodes = feasible.iter();
        match &mut self.view.standings(self.pod) {
            Some(kept) => nodes.map(|&node| kept.of(self.filters, appraisal, node, versions[node.index()])).collect(),
            None => nodes.map(|&node| appraisal.appraise(self.filters, node)).collect(),
        }
    }
}

/// What the search has found so far.
struct Found<'d> {
    target: usize,
    /// Nodes that can be feasible at most.
    most: usize,
    feasible: &'d mut Vec<NodeId>,
    refused: &'d mut Vec<(NodeId, Refusal)>,
}

impl Found<'_> {
    /// Adds what a node said; true if it is feasible and there were enough before.
    #[inline]
    fn has_enough(&mut self, node: NodeId, said: Result<(), Refusal>) -> bool {
        match said {
            Ok(()) if self.feasible.len() == self.target => return true,
            Ok(()) => self.admit(node),
            Err(refusal) => self.refused.push((node, refusal)),
        }
        false
    }

    /// Many pods find no node at all: room is made for the first that is found.
    #[inline]
    fn admit(&mut self, node: NodeId) {
        if self.feasible.is_empty() {
            self.feasible.reserve_exact(self.most);
        }
        self.feasible.push(node);
    }

    /// Most pods are refused by no node or by many.
    fn refuse(&mut self, node: NodeId, refusal: Refusal, more: usize) {
        if self.refused.len() == self.refused.capacity() {
            self.refused.reserve(more);
        }
        self.refused.push((node, refusal));
    }

    /// Tries nodes of which is known how they stood; true if there are enough.
    fn is_full(&mut self, search: &Search, nodes: &[NodeId], kept: &mut Standings) -> bool {
        let filters = search.filters;
        let versions = search.view.world.census().versions();
        let (is_nominated, has_place) = (!search.view.nominated.is_empty(), filters.has_place());
        for &node in nodes {
            if is_nominated && let Err(refusal) = check_nominated(search.view, filters, search.pod, node) {
                self.refused.push((node, refusal));
                continue;
            }
            if let Some(refusal) = kept.refusal(filters, node, versions[node.index()]) {
                self.refuse(node, refusal, nodes.len());
                continue;
            }
            if has_place && let Err(refusal) = filters.check_place(node) {
                self.refused.push((node, refusal));
                continue;
            }
            if self.feasible.len() == self.target {
                return true;
            }
            self.admit(node);
        }
        false
    }
}

/// The pod's own nominated node is tried first and taken without scoring.
fn nominated_passes(view: &View, filters: &Filters, pod: PodId, decision: &mut Decision) -> bool {
    let Some(node) = view.world.pod(pod).nominated else { return false };
    let passes = || {
        check_nominated(view, filters, pod, node)?;
        filters.check_node(node)?;
        filters.check_place(node)
    };
    if view.world.node(node).gone.is_some() || passes().is_err() {
        return false;
    }
    decision.feasible = vec![node];
    decision.best = vec![node];
    decision.evaluated = 1;
    true
}

/// Pods of equal or higher priority that are nominated to the node count as if they were there; without them the pod
/// has to fit as well.
fn check_nominated(view: &View, filters: &Filters, pod: PodId, node: NodeId) -> Result<(), Refusal> {
    if view.nominated.iter().all(|(_, place)| *place != node) {
        return Ok(());
    }
    let added = nominated_on(view, pod, node);
    if added.is_empty() {
        return Ok(());
    }
    filters.check_trial(view.world.node(node), Trial { added: &added, ..Trial::default() })
}

/// Other pending pods of at least the pod's priority that are nominated to a node.
pub fn nominated_on(view: &View, pod: PodId, node: NodeId) -> Vec<PodId> {
    let priority = view.template(pod).priority;
    let others = view.nominated.iter().filter(|(other, place)| *place == node && *other != pod);
    others.map(|(other, _)| *other).filter(|&other| view.template(other).priority >= priority).collect()
}

/// Nodes that required node affinity names by `metadata.name`.
enum Named {
    All,
    Conflict,
    Some(Vec<NodeId>),
}

/// Source: `nodeaffinity.PreFilter`: only if every term names nodes; within a term the names must agree.
fn named_nodes(view: &View, pod: PodId) -> Named {
    if let Some(pinned) = view.world.pod(pod).pinned {
        return Named::Some(vec![pinned]);
    }
    let Some(terms) = &view.template(pod).affinity.node_required else { return Named::All };
    let mut names: Vec<&String> = Vec::new();
    for term in terms {
        let mut of_term: Option<Vec<&String>> = None;
        let fields = term.fields.iter();
        for field in fields.filter(|field| field.key == "metadata.name" && field.operator == NodeOperator::In) {
            of_term = Some(match of_term {
                None => field.values.iter().collect(),
                Some(before) => before.into_iter().filter(|name| field.values.contains(name)).collect(),
            });
        }
        let Some(of_term) = of_term else { return Named::All };
        names.extend(of_term);
    }
    if terms.is_empty() {
        return Named::All;
    }
    if names.is_empty() {
        return Named::Conflict;
    }
    let listed = view.nodes().filter(|node| names.iter().any(|name| ***name == *node.name));
    Named::Some(listed.map(|node| node.id).collect())
}

fn choose<'a>(view: &View<'a>, pod: PodId, appraisal: Appraisal<'a>, standings: &[Standing], decision: &mut Decision) {
    let mut sums = Sums::new(standings.len(), decision.tells);
    add_scores(view, pod, appraisal, &decision.feasible, standings, &mut sums);
    (decision.total, decision.scores) = sums.finish();
    let highest = decision.total.iter().fold(i64::MIN, |highest, &total| total.max(highest));
    for (&node, &total) in decision.feasible.iter().zip(&decision.total) {
        if total == highest {
            decision.best.push(node);
        }
    }
    decision.best.sort_unstable();
}
