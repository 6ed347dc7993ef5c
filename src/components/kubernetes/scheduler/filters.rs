//! The default filters, in their order, for one pod on one node.
//!
//! Source: `pkg/scheduler/framework/plugins/{nodeunschedulable,nodename,tainttoleration,nodeaffinity,nodeports,
//! noderesources,volumebinding,podtopologyspread,interpodaffinity}`. Left out: limits of volumes a node, dynamic resources.

use super::inter_pod::{AffinityRefusal, Required};
use super::reading::{Verdict, Verdicts, untolerated_preferences};
use super::spread::{HardSpread, SpreadRefusal};
use super::view::{UsedPort, View, host_ports, used_ports};
use crate::plan::{PodTemplate, Protocol};
use crate::rules::labels::Labels;
use crate::rules::requirement::NodeRequirement;
use crate::rules::requirements::normalized;
use crate::rules::taint::{Taint, TaintEffect, first_untolerated};
use crate::world::room::{Amounts, amounts};
use crate::world::{Node, NodeId, PodId};

/// The plugins that can refuse a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Plugin {
    /// Cordoned nodes.
    NodeUnschedulable,
    /// `spec.nodeName`.
    NodeName,
    /// Taints.
    TaintToleration,
    /// Node affinity and nodeSelector.
    NodeAffinity,
    /// Host ports.
    NodePorts,
    /// Resources.
    NodeResourcesFit,
    /// Where its volumes are, or may be made.
    VolumeBinding,
    /// Hard spread constraints.
    PodTopologySpread,
    /// Required pod affinity and anti-affinity.
    InterPodAffinity,
}

impl Plugin {
    /// All, in the order in which they run.
    pub const ALL: [Plugin; 9] = [
        Plugin::NodeUnschedulable,
        Plugin::NodeName,
        Plugin::TaintToleration,
        Plugin::NodeAffinity,
        Plugin::NodePorts,
        Plugin::NodeResourcesFit,
        Plugin::VolumeBinding,
        Plugin::PodTopologySpread,
        Plugin::InterPodAffinity,
    ];

    /// As kube-scheduler names it.
    pub const fn name(self) -> &'static str {
        match self {
            Plugin::NodeUnschedulable => "NodeUnschedulable",
            Plugin::NodeName => "NodeName",
            Plugin::TaintToleration => "TaintToleration",
            Plugin::NodeAffinity => "NodeAffinity",
            Plugin::NodePorts => "NodePorts",
            Plugin::NodeResourcesFit => "NodeResourcesFit",
            Plugin::VolumeBinding => "VolumeBinding",
            Plugin::PodTopologySpread => "PodTopologySpread",
            Plugin::InterPodAffinity => "InterPodAffinity",
        }
    }
}

/// A set of plugins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Plugins(u16);

impl Plugins {
    /// Adds one.
    pub fn insert(&mut self, plugin: Plugin) {
        self.0 |= 1 << plugin as u16;
    }

    /// Is it in the set?
    pub fn contains(self, plugin: Plugin) -> bool {
        self.0 & 1 << plugin as u16 != 0
    }

    /// Those in the set, in the order in which they run.
    pub fn iter(self) -> impl Iterator<Item = Plugin> {
        Plugin::ALL.into_iter().filter(move |&plugin| self.contains(plugin))
    }
}

/// Why a node was refused. `Copy`, so that a thousand refusals cost nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Refusal {
    /// The first filter that said no.
    pub plugin: Plugin,
    /// Removing pods may help (`Unschedulable`), or cannot (`UnschedulableAndUnresolvable`).
    pub resolvable: bool,
    /// Which of the plugin's reasons: a bit set for resources (pods, cpu, memory, ephemeral storage, then the pod's
    /// extended resources by name), otherwise a number.
    reasons: u32,
}

const PODS: u32 = 1;
const CPU: u32 = 2;
const MEMORY: u32 = 4;
const STORAGE: u32 = 8;
const EXTENDED: u32 = 4;

impl Refusal {
    fn of(plugin: Plugin, resolvable: bool, reasons: u32) -> Refusal {
        Refusal { plugin, resolvable, reasons }
    }

    /// A number, equal for equal refusals.
    pub fn number(self) -> u64 {
        u64::from(self.reasons) << 32 | (self.plugin as u64) << 1 | u64::from(self.resolvable)
    }

    /// The reasons in words, sorted.
    pub fn reasons(self, template: &PodTemplate) -> Vec<String> {
        let text = match (self.plugin, self.reasons) {
            (Plugin::NodeUnschedulable, _) => "node(s) were unschedulable",
            (Plugin::NodeName, _) => "node(s) didn't match the requested node name",
            (Plugin::TaintToleration, _) => "node(s) had untolerated taint(s)",
            (Plugin::NodeAffinity, _) => "node(s) didn't match Pod's node affinity/selector",
            (Plugin::NodePorts, _) => "node(s) didn't have free ports for the requested pod ports",
            (Plugin::NodeResourcesFit, set) => return resource_reasons(set, template),
            (Plugin::VolumeBinding, _) => "node(s) had volume node affinity conflict",
            (Plugin::PodTopologySpread, 0) => {
                "node(s) didn't match pod topology spread constraints (missing required label)"
            }
            (Plugin::PodTopologySpread, _) => "node(s) didn't match pod topology spread constraints",
            (Plugin::InterPodAffinity, 0) => "node(s) didn't match pod affinity rules",
            (Plugin::InterPodAffinity, 1) => "node(s) didn't match pod anti-affinity rules",
            (Plugin::InterPodAffinity, _) => "node(s) didn't satisfy existing pods anti-affinity rules",
        };
        vec![text.to_string()]
    }
}

fn resource_reasons(set: u32, template: &PodTemplate) -> Vec<String> {
    let named = [(PODS, "Too many pods"), (CPU, "Insufficient cpu"), (MEMORY, "Insufficient memory")];
    let mut reasons: Vec<String> =
        named.iter().filter(|(bit, _)| set & bit != 0).map(|(_, text)| text.to_string()).collect();
    if set & STORAGE != 0 {
        reasons.push("Insufficient ephemeral-storage".to_string());
    }
    let extended = template.requests.extended.keys().enumerate();
    let missing = extended.filter(|(index, _)| set & 1 << (EXTENDED + *index as u32).min(31) != 0);
    reasons.extend(missing.map(|(_, name)| format!("Insufficient {name}")));
    reasons.sort();
    reasons
}

/// The filters' state of one cycle: counted once, put to every node.
#[derive(Clone)]
pub struct Filters<'a> {
    /// What the cycle sees.
    pub view: View<'a>,
    template: &'a PodTemplate,
    /// What it requests of what every node has.
    wants: Amounts,
    ports: bool,
    volumes: bool,
    tolerates_cordon: bool,
    pinned: Option<NodeId>,
    /// What taints, selector and node affinity say to kinds of nodes; `None`: they look at single nodes.
    kinds: Option<Verdicts<'a>>,
    spread: HardSpread<'a>,
    affinity: Required<'a>,
}

/// Pods that come to a node and leave it in a trial (nominated pods, victims of preemption).
#[derive(Clone, Copy, Default)]
pub struct Trial<'t> {
    /// Pods that come.
    pub added: &'t [PodId],
    /// Pods that leave.
    pub removed: &'t [PodId],
    /// Used host ports when the latter have left; `None`: as they are.
    pub ports: Option<&'t [UsedPort]>,
}

impl<'a> Filters<'a> {
    /// PreFilter of all plugins.
    pub fn new(view: View<'a>, pod: PodId) -> Filters<'a> {
        let template = view.template(pod);
        let facts = &view.cluster.templates[view.template_index(pod)];
        Filters {
            view,
            template,
            wants: amounts(&template.requests),
            ports: facts.ports,
            volumes: view.world.volumes.terms_of(template).next().is_some(),
            tolerates_cordon: facts.tolerates_cordon,
            pinned: view.world.pod(pod).pinned,
            kinds: view.verdicts(pod),
            spread: HardSpread::new(&view, pod),
            affinity: Required::new(&view, pod),
        }
    }

    /// What the filters say of a node that nothing elsewhere has a part in: all but the last ones.
    ///
    /// # Errors
    /// The first refusal.
    pub fn check_node(&self, node: NodeId) -> Result<(), Refusal> {
        self.check_alone(node)?;
        if self.ports || self.view.assumed.is_on(node) || !self.template.requests.extended.is_empty() {
            return self.check_room(self.view.world.node(node), Trial::default());
        }
        let room = self.view.world.census().room(node);
        let (mut missing, mut hopeless) = (0, false);
        for (index, &want) in self.wants.iter().enumerate() {
            if want > 0 && want > room.allocatable[index] - room.requested[index] {
                missing |= 1 << index;
                hopeless |= want > room.allocatable[index];
            }
        }
        if missing == 0 { Ok(()) } else { Err(Refusal::of(Plugin::NodeResourcesFit, !hopeless, missing)) }
    }

    /// What the filters say that look beyond the node: at volumes, which are bound while nodes stay as they are, and at
    /// pods elsewhere.
    ///
    /// # Errors
    /// The first refusal.
    pub fn check_place(&self, node: NodeId) -> Result<(), Refusal> {
        if self.volumes {
            self.check_volumes(self.view.world.node(node))?;
        }
        if self.spread.is_empty() && self.affinity.is_empty() {
            return Ok(());
        }
        self.check_topology(&self.spread, &self.affinity, node)
    }

    /// These have something to say.
    pub fn has_place(&self) -> bool {
        self.volumes || !(self.spread.is_empty() && self.affinity.is_empty())
    }

    /// All filters in order, with pods added to and removed from the node.
    ///
    /// # Errors
    /// The first refusal.
    pub fn check_trial(&self, node: &Node, trial: Trial) -> Result<(), Refusal> {
        self.check_alone(node.id)?;
        self.check_room(node, trial)?;
        if self.volumes {
            self.check_volumes(node)?;
        }
        let (mut spread, mut affinity) = (self.spread.clone(), self.affinity.clone());
        let moves = trial.added.iter().map(|&pod| (pod, 1)).chain(trial.removed.iter().map(|&pod| (pod, -1)));
        for (pod, by) in moves {
            spread.change(&self.view, self.template, node, pod, by);
            affinity.change(&self.view, node, pod, by);
        }
        self.check_topology(&spread, &affinity, node.id)
    }

    /// What depends on the node alone.
    #[inline]
    fn check_alone(&self, node: NodeId) -> Result<(), Refusal> {
        let (template, census) = (self.template, self.view.world.census());
        if census.is_cordoned(node) && !self.tolerates_cordon {
            return Err(Refusal::of(Plugin::NodeUnschedulable, false, 0));
        }
        if template.node_name.as_deref().is_some_and(|name| name != &*self.view.world.node(node).name) {
            return Err(Refusal::of(Plugin::NodeName, false, 0));
        }
        let (tolerates, matches) = match self.verdict(node) {
            Some(verdict) => (verdict.tolerates, verdict.matches),
            None => {
                let node = self.view.world.node(node);
                (tolerates_node(template, node), matches_node_affinity(template, node))
            }
        };
        if !tolerates {
            return Err(Refusal::of(Plugin::TaintToleration, false, 0));
        }
        if !matches || self.pinned.is_some_and(|pinned| pinned != node) {
            return Err(Refusal::of(Plugin::NodeAffinity, false, 0));
        }
        Ok(())
    }

    /// What the node's kind is to the pod, if kinds are asked.
    fn verdict(&self, node: NodeId) -> Option<Verdict> {
        let kinds = self.kinds?;
        self.view.world.census().kind_of(node).map(|kind| kinds.of(kind))
    }

    /// PreferNoSchedule taints of a node that the pod does not tolerate.
    pub fn preferences(&self, node: NodeId) -> u32 {
        let asked = || untolerated_preferences(self.template, &self.view.world.node(node).taints);
        self.verdict(node).map_or_else(asked, |verdict| verdict.preferences)
    }

    /// Host ports, then resources.
    fn check_room(&self, node: &Node, trial: Trial) -> Result<(), Refusal> {
        let assumed = self.view.assumed.on(node.id);
        if self.ports {
            let used = trial.ports.map_or_else(|| self.used_ports(node), <[UsedPort]>::to_vec);
            if !self.ports_are_free(&used, trial.added) {
                return Err(Refusal::of(Plugin::NodePorts, true, 0));
            }
        }
        let want = &self.template.requests;
        let room = self.view.world.census().room(node.id);
        let mut free = room.allocatable;
        let mut take = |resources: &Amounts, by: i64| {
            free.iter_mut().zip(resources).for_each(|(free, amount)| *free -= by * amount);
        };
        let requests = |pod: PodId| amounts(&self.view.template(pod).requests);
        take(&room.requested, 1);
        assumed.iter().chain(trial.added).for_each(|&pod| take(&requests(pod), 1));
        trial.removed.iter().for_each(|&pod| take(&requests(pod), -1));
        let (mut missing, mut hopeless) = (0, false);
        let mut test = |bit: u32, request: i64, free: i64, allocatable: i64| {
            if request > 0 && request > free {
                missing |= bit;
                hopeless |= request > allocatable;
            }
        };
        for (index, bit) in [PODS, CPU, MEMORY, STORAGE].into_iter().enumerate() {
            test(bit, self.wants[index], free[index], room.allocatable[index]);
        }
        for (index, (name, request)) in want.extended.iter().enumerate() {
            let sum = |pods: &[PodId]| -> i64 {
                pods.iter().map(|&pod| self.view.template(pod).requests.extended(name)).sum()
            };
            let allocatable = node.allocatable.extended(name);
            let taken = node.requested.extended(name) + sum(assumed) + sum(trial.added) - sum(trial.removed);
            test(1 << (EXTENDED + index as u32).min(31), *request, allocatable - taken, allocatable);
        }
        if missing == 0 { Ok(()) } else { Err(Refusal::of(Plugin::NodeResourcesFit, !hopeless, missing)) }
    }

    /// Each volume can be had there.
    fn check_volumes(&self, node: &Node) -> Result<(), Refusal> {
        let meets = |requirement: &NodeRequirement| match normalized(&requirement.key) {
            key if key == requirement.key => requirement.matches(&node.labels),
            key => NodeRequirement { key: key.to_string(), ..requirement.clone() }.matches(&node.labels),
        };
        let can_be_had = |terms: &[Vec<NodeRequirement>]| terms.iter().any(|term| term.iter().all(meets));
        if self.view.world.volumes.terms_of(self.template).all(can_be_had) {
            return Ok(());
        }
        Err(Refusal::of(Plugin::VolumeBinding, false, 0))
    }

    /// The used host ports of a node: what the cache has, of pods that are still there. Empty for a pod without ports.
    pub fn used_ports(&self, node: &Node) -> Vec<UsedPort> {
        if !self.ports {
            return Vec::new();
        }
        let has_ports = |pod: &PodId| self.view.cluster.templates[self.view.template_index(*pod)].ports;
        let there = self.view.pods_on(node).filter(has_ports);
        let mut used: Vec<UsedPort> = there.flat_map(|pod| used_ports(self.view.template(pod))).collect();
        if let Some(cached) = self.view.assumed.ports_on(node.id) {
            used.retain(|port| cached.contains(port));
        }
        used
    }

    fn ports_are_free(&self, used: &[UsedPort], added: &[PodId]) -> bool {
        let conflicts = |pod: PodId| ports_conflict(self.template, self.view.template(pod));
        let is_taken = |wanted: (u16, Protocol, &str)| {
            used.iter().any(|(port, protocol, address)| port_conflict(wanted, (*port, *protocol, address)))
        };
        !added.iter().copied().any(conflicts) && !host_ports(self.template).any(is_taken)
    }

    fn check_topology(&self, spread: &HardSpread, affinity: &Required, node: NodeId) -> Result<(), Refusal> {
        spread.check(node).map_err(|refusal| match refusal {
            SpreadRefusal::MissingLabel => Refusal::of(Plugin::PodTopologySpread, false, 0),
            SpreadRefusal::Skew => Refusal::of(Plugin::PodTopologySpread, true, 1),
        })?;
        affinity.check(node).map_err(|refusal| match refusal {
            AffinityRefusal::Own => Refusal::of(Plugin::InterPodAffinity, false, 0),
            AffinityRefusal::OwnAnti => Refusal::of(Plugin::InterPodAffinity, true, 1),
            AffinityRefusal::ExistingAnti => Refusal::of(Plugin::InterPodAffinity, true, 2),
        })
    }
}

/// The taint that stands for a cordon.
pub fn unschedulable_taint() -> Taint {
    Taint::new("node.kubernetes.io/unschedulable", TaintEffect::NoSchedule)
}

/// No NoSchedule or NoExecute taint keeps the pod away.
pub fn tolerates_node(template: &PodTemplate, node: &Node) -> bool {
    tolerates(template, &node.taints)
}

/// The same for taints.
pub fn tolerates(template: &PodTemplate, taints: &[Taint]) -> bool {
    taints.is_empty() || first_untolerated(taints, &template.tolerations).is_none()
}

/// nodeSelector and required node affinity.
pub fn matches_node_affinity(template: &PodTemplate, node: &Node) -> bool {
    matches_labels(template, &node.name, &node.labels)
}

/// The same for a name and labels.
pub fn matches_labels(template: &PodTemplate, name: &str, labels: &Labels) -> bool {
    template.node_selector.iter().all(|(key, value)| labels.get(key) == Some(value))
        && template
            .affinity
            .node_required
            .as_ref()
            .is_none_or(|terms| terms.iter().any(|term| term.matches(name, labels)))
}

/// Two pods want one host port.
pub fn ports_conflict(one: &PodTemplate, other: &PodTemplate) -> bool {
    host_ports(one).any(|port| host_ports(other).any(|other| port_conflict(port, other)))
}

/// Port, protocol and address exclude each other.
fn port_conflict(one: (u16, Protocol, &str), other: (u16, Protocol, &str)) -> bool {
    let any = |address: &str| address.is_empty() || address == "0.0.0.0";
    one.0 == other.0 && one.1 == other.1 && (any(one.2) || any(other.2) || one.2 == other.2)
}
