//! DefaultPreemption: which pods of lower priority would have to go, and on which node.
//!
//! Source: `pkg/scheduler/framework/preemption/preemption.go`, `plugins/defaultpreemption/default_preemption.go`.

use super::decide::{Decision, nominated_on};
use super::filters::{Filters, Trial};
use super::view::{UsedPort, View, free_ports, take_ports, used_ports};
use crate::engine::{StableHasher, Time};
use crate::world::{Node, NodeId, PodId};
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};

/// `minCandidateNodesPercentage` and `minCandidateNodesAbsolute`.
const CANDIDATES_PERCENTAGE: usize = 10;
const CANDIDATES_MIN: usize = 100;
const UNHELPFUL: &str = "Preemption is not helpful for scheduling";
const NO_VICTIMS: &str = "No preemption victims found for incoming pod";
const PREFIX: &str = "no new claims to deallocate, preemption:";

/// What preemption did.
pub struct Result {
    /// What becomes of the pod's nomination.
    pub outcome: Outcome,
    /// What it says in the pod's event.
    pub says: Says,
    /// The dry runs that would help.
    pub candidates: Vec<Candidate>,
}

impl Result {
    /// The nodes that may be chosen: kube-scheduler takes any of them.
    pub fn equals(&self, view: &View) -> Vec<NodeId> {
        let best = self.candidates.iter().map(|candidate| rank(view, candidate)).min();
        let equal = self.candidates.iter().filter(|candidate| Some(rank(view, candidate)) == best);
        equal.map(|candidate| candidate.node).collect()
    }
}

/// What preemption says in the pod's event: put into words when somebody reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Says {
    /// It found victims: nothing.
    Nothing,
    /// The pod may not preempt.
    NotEligible(&'static str),
    /// No node was looked at.
    NotFound,
    /// Why none of so many nodes helps, with the number of nodes for each reason.
    Nowhere(usize, Reasons),
}

/// Reasons with the number of nodes; the usual ones without words.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Reasons {
    /// Nodes on which nobody's leaving helps.
    unhelpful: usize,
    /// Nodes on which nobody is less important.
    without_victims: usize,
    /// What filters say.
    others: BTreeMap<String, usize>,
}

impl Reasons {
    fn add(&mut self, text: String) {
        match text.as_str() {
            NO_VICTIMS => self.without_victims += 1,
            _ => *self.others.entry(text).or_insert(0) += 1,
        }
    }

    fn texts(&self) -> Vec<String> {
        let usual = [(UNHELPFUL, self.unhelpful), (NO_VICTIMS, self.without_victims)];
        let others = self.others.iter().map(|(reason, &count)| (reason.as_str(), count));
        let all = usual.into_iter().filter(|(_, count)| *count > 0).chain(others);
        let mut texts: Vec<String> = all.map(|(reason, count)| format!("{count} {reason}")).collect();
        texts.sort();
        texts
    }
}

impl Says {
    /// A number for the words, equal for equal words.
    pub fn number(&self) -> u64 {
        let mut hasher = StableHasher::default();
        match self {
            Says::Nothing => {}
            Says::NotEligible(text) => text.hash(&mut hasher),
            Says::NotFound => 1_u64.hash(&mut hasher),
            Says::Nowhere(nodes, reasons) => {
                nodes.hash(&mut hasher);
                reasons.hash(&mut hasher);
            }
        }
        hasher.finish()
    }

    /// In words.
    pub fn text(&self) -> String {
        match self {
            Says::Nothing => String::new(),
            Says::NotEligible(text) => format!("{PREFIX} not eligible due to {text}."),
            Says::NotFound => "not found".to_string(),
            Says::Nowhere(nodes, reasons) => {
                format!("{PREFIX} 0/{nodes} nodes are available: {}.", reasons.texts().join(", "))
            }
        }
    }
}

/// Pending pods of lower priority that lose their nomination to a node when `pod` preempts there.
pub fn outranked(view: &View, pod: PodId, node: NodeId) -> Vec<PodId> {
    let priority = view.template(pod).priority;
    let on_node = view.nominated.iter().filter(|(_, place)| *place == node).map(|(other, _)| *other);
    on_node.filter(|&other| view.template(other).priority < priority).collect()
}

/// What becomes of the pod's nomination.
pub enum Outcome {
    /// The pod may not preempt now.
    Keep,
    /// No node can be made free.
    Clear,
    /// These pods are deleted, this node is nominated.
    Nominate {
        /// The node.
        node: NodeId,
        /// Its victims.
        victims: Vec<PodId>,
    },
}

/// A node on which preemption helps.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// The node.
    pub node: NodeId,
    /// Who would have to go, most important first.
    pub victims: Vec<PodId>,
    /// How many of them violate a budget.
    pub violations: usize,
}

/// PostFilter for a pod that no node took. `offset`: where among the refused nodes the dry runs begin.
pub fn preempt(view: &View, pod: PodId, decision: &Decision, offset: usize) -> Result {
    let template = view.template(pod);
    let keep = |text| Result { outcome: Outcome::Keep, says: Says::NotEligible(text), candidates: Vec::new() };
    if !template.preempts {
        return keep("preemptionPolicy=Never");
    }
    if waits_for_victims(view, pod, decision) {
        return keep("a terminating pod on the nominated node");
    }
    if decision.conflict {
        return Result { outcome: Outcome::Clear, says: Says::NotFound, candidates: Vec::new() };
    }
    let resolvable = || decision.refused.iter().filter(|(_, refusal)| refusal.resolvable);
    let count = resolvable().count();
    let mut reasons = Reasons { unhelpful: decision.nodes - count, ..Reasons::default() };
    if !is_any_lower(view, template.priority) {
        // Nobody is less important anywhere: no dry run can help.
        reasons.without_victims = count;
        let says = Says::Nowhere(decision.nodes, reasons);
        return Result { outcome: Outcome::Clear, says, candidates: Vec::new() };
    }
    let potential: Vec<NodeId> = resolvable().map(|(node, _)| *node).collect();
    let candidates = dry_runs(view, pod, &potential, offset, &mut reasons);
    let chosen = candidates.iter().min_by_key(|candidate| rank(view, candidate)).cloned();
    match chosen {
        Some(Candidate { node, victims, .. }) => {
            Result { outcome: Outcome::Nominate { node, victims }, says: Says::Nothing, candidates }
        }
        None => Result { outcome: Outcome::Clear, says: Says::Nowhere(decision.nodes, reasons), candidates },
    }
}

/// A victim of lower priority is still terminating on the nominated node, which is not hopeless now.
fn waits_for_victims(view: &View, pod: PodId, decision: &Decision) -> bool {
    let Some(node) = view.world.pod(pod).nominated else { return false };
    let hopeless = decision.refused.iter().any(|(other, refusal)| *other == node && !refusal.resolvable);
    let priority = view.template(pod).priority;
    !hopeless
        && view.world.node(node).pods.iter().any(|&other| {
            let there = view.world.pod(other);
            there.is_terminating() && there.preempted && view.template(other).priority < priority
        })
}

fn dry_runs(view: &View, pod: PodId, potential: &[NodeId], offset: usize, reasons: &mut Reasons) -> Vec<Candidate> {
    let count = potential.len();
    let wanted = (count * CANDIDATES_PERCENTAGE / 100).max(CANDIDATES_MIN).min(count);
    let mut candidates: Vec<Candidate> = Vec::new();
    let filters = Filters::new(*view, pod);
    for index in 0..count {
        let node = view.world.node(potential[(offset + index) % count]);
        match dry_run(view, &filters, pod, node) {
            Ok(candidate) => candidates.push(candidate),
            Err(texts) => texts.into_iter().for_each(|text| reasons.add(text)),
        }
        if candidates.len() >= wanted && candidates.iter().any(|candidate| candidate.violations == 0) {
            break;
        }
    }
    candidates
}

/// Some pod of lower priority counts on some node.
fn is_any_lower(view: &View, priority: i32) -> bool {
    let mut classes = view.world.census().classes().iter();
    let is_lower = |template: crate::plan::TemplateId| view.world.template(template).priority < priority;
    let mut assumed = view.assumed.all().iter();
    classes.any(|class| is_lower(class.template) && class.nodes.iter().any(|node| view.lists(node)))
        || assumed.any(|&(other, node)| view.template(other).priority < priority && view.lists(node))
}

/// Takes all lower-priority pods off the node and puts back as many as fit.
fn dry_run(view: &View, filters: &Filters, pod: PodId, node: &Node) -> std::result::Result<Candidate, Vec<String>> {
    let priority = view.template(pod).priority;
    let mut lower: Vec<PodId> = view.pods_on(node).filter(|&other| view.template(other).priority < priority).collect();
    if lower.is_empty() {
        return Err(vec![NO_VICTIMS.to_string()]);
    }
    let nominated = nominated_on(view, pod, node.id);
    let fits = |removed: &[PodId], ports: &[UsedPort]| {
        let ports = Some(ports);
        if !nominated.is_empty() {
            filters.check_trial(node, Trial { added: &nominated, removed, ports })?;
        }
        filters.check_trial(node, Trial { added: &[], removed, ports })
    };
    let ports_of = |other: PodId| used_ports(view.template(other)).collect::<Vec<_>>();
    let mut ports = filters.used_ports(node);
    lower.iter().for_each(|&other| free_ports(&mut ports, &ports_of(other)));
    fits(&lower, &ports).map_err(|refusal| refusal.reasons(view.template(pod)))?;
    lower.sort_by_key(|&other| (importance(view, other), view.assumed.position(other, node.id)));
    let violating = violations(view, &lower);
    let (first, second): (Vec<PodId>, Vec<PodId>) = lower.iter().partition(|other| violating.contains(other));
    let mut removed = lower.clone();
    for &other in first.iter().chain(&second) {
        let without: Vec<PodId> = removed.iter().copied().filter(|&victim| victim != other).collect();
        take_ports(&mut ports, &ports_of(other));
        if fits(&without, &ports).is_ok() {
            removed = without;
        } else {
            free_ports(&mut ports, &ports_of(other));
        }
    }
    let violations = removed.iter().filter(|victim| violating.contains(victim)).count();
    Ok(Candidate { node: node.id, victims: removed, violations })
}

/// Higher priority first, then the earlier start; a pod that has not started starts now.
fn importance(view: &View, pod: PodId) -> (Reverse<i32>, Time) {
    (Reverse(view.template(pod).priority), view.world.pod(pod).start_time.unwrap_or(view.world.now))
}

/// Pods whose eviction would violate a budget; budgets are charged in order of importance.
fn violations(view: &View, pods: &[PodId]) -> Vec<PodId> {
    let mut allowed: Vec<i32> = view.world.pdbs.iter().map(|pdb| pdb.disruptions_allowed).collect();
    let mut violating = Vec::new();
    for &pod in pods {
        let template = view.template(pod);
        let mut violates = false;
        for (pdb, left) in view.world.pdbs.iter().zip(&mut allowed) {
            let selector = pdb.spec.selector.as_ref().filter(|selector| !selector.is_empty());
            let selected = selector.is_some_and(|selector| selector.matches(&template.labels));
            let disrupted = pdb.disrupted.iter().any(|(other, _)| *other == pod);
            if selected && pdb.spec.namespace == template.namespace && !template.labels.is_empty() && !disrupted {
                *left -= 1;
                violates |= *left < 0;
            }
        }
        if violates {
            violating.push(pod);
        }
    }
    violating
}

/// Order of choice: fewest violations, lowest highest priority, lowest sum of priorities, fewest victims, latest of the
/// earliest starts among the most important victims.
fn rank(view: &View, candidate: &Candidate) -> (usize, i32, i64, usize, Reverse<Time>) {
    let priority = |pod: &PodId| view.template(*pod).priority;
    let highest = candidate.victims.iter().map(priority).max().unwrap_or(i32::MIN);
    let sum = candidate.victims.iter().map(|pod| i64::from(priority(pod)) + (1 << 31)).sum();
    let top = candidate.victims.iter().filter(|pod| priority(pod) == highest);
    let start = top.map(|&pod| importance(view, pod).1).min().unwrap_or(Time::MAX);
    (candidate.violations, highest, sum, candidate.victims.len(), Reverse(start))
}
