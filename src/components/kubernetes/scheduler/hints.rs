//! Queueing hints: whether something that happened may make a rejected pod schedulable.
//!
//! Source: `EventsToRegister` and the hint functions of the filter plugins; `framework/types.go`.

use super::filters::{Plugin, Plugins, matches_node_affinity, ports_conflict};
use super::inter_pod::{matches_affinity, matches_anti_affinity};
use super::view::View;
use crate::plan::{PodTemplate, TemplateId, TopologySpread};
use crate::rules::labels::Labels;
use crate::rules::resources::Resources;
use crate::rules::taint::{Taint, first_untolerated, tolerated};
use crate::world::{Node, NodeId, PodId};
use std::sync::Arc;

/// A node as the scheduler last saw it.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Seen {
    /// Its taints.
    pub taints: Vec<Taint>,
    /// Its cordon.
    pub unschedulable: bool,
    /// Its labels.
    pub labels: Arc<Labels>,
    /// Its room.
    pub allocatable: Resources,
}

impl Seen {
    /// A node as it is.
    pub fn of(node: &Node) -> Seen {
        Seen {
            taints: node.taints.clone(),
            unschedulable: node.unschedulable,
            labels: node.labels.clone(),
            allocatable: node.allocatable.clone(),
        }
    }
}

/// Something that happened in the cluster.
#[derive(Clone, Debug)]
pub enum Happening {
    /// A node appeared.
    NodeAdded(NodeId),
    /// Taints, cordon or labels of a node changed.
    NodeChanged(NodeId, Box<Seen>),
    /// A node vanished.
    NodeGone(NodeId),
    /// A pod was bound.
    PodBound(PodId),
    /// The object of a pod was replaced; it had this template.
    PodChanged(PodId, TemplateId),
    /// A nomination, which pods of at most its priority had to heed, is gone: its pod was bound, vanished, or lost it.
    NominationGone(PodId),
    /// A bound pod vanished, or a binding failed.
    PodGone(PodId),
}

impl Happening {
    /// It happened to this pod.
    pub fn is_of(&self, pod: PodId) -> bool {
        match self {
            Happening::PodBound(other) | Happening::PodChanged(other, _) => *other == pod,
            Happening::NominationGone(other) | Happening::PodGone(other) => *other == pod,
            Happening::NodeAdded(_) | Happening::NodeChanged(..) | Happening::NodeGone(_) => false,
        }
    }
}

/// Whether one of the rejecting plugins finds it useful for a pod.
pub fn useful(view: &View, pod: PodId, plugins: Plugins, happening: &Happening) -> bool {
    plugins.iter().any(|plugin| match happening {
        Happening::NodeAdded(node) => node_added(view, pod, plugin, view.world.node(*node)),
        Happening::NodeChanged(node, before) => node_changed(view, pod, plugin, view.world.node(*node), before),
        Happening::NodeGone(node) => {
            plugin == Plugin::PodTopologySpread && has_spread_keys(view.template(pod), &view.world.node(*node).labels)
        }
        Happening::PodBound(other) => pod_came(view, pod, plugin, *other),
        Happening::PodChanged(other, before) => pod_changed(view, pod, plugin, *other, view.world.template(*before)),
        // A deletion of a pod that no node has.
        Happening::NominationGone(other) => match plugin {
            Plugin::NodeResourcesFit => true,
            Plugin::NodePorts => ports_conflict(view.template(pod), view.template(*other)),
            _ => false,
        },
        Happening::PodGone(other) => pod_went(view, pod, plugin, *other),
    })
}

fn node_added(view: &View, pod: PodId, plugin: Plugin, node: &Node) -> bool {
    let template = view.template(pod);
    match plugin {
        Plugin::NodeUnschedulable => !node.unschedulable,
        Plugin::TaintToleration => first_untolerated(&node.taints, &template.tolerations).is_none(),
        Plugin::NodeAffinity => {
            let pinned = view.world.pod(pod).pinned;
            pinned.is_none_or(|pinned| pinned == node.id) && matches_node_affinity(template, node)
        }
        Plugin::NodeName | Plugin::NodePorts | Plugin::VolumeBinding => true,
        Plugin::NodeResourcesFit => template.requests.fits_in(&node.allocatable),
        Plugin::PodTopologySpread => has_spread_keys(template, &node.labels),
        Plugin::InterPodAffinity => affinity_after_node(template, &node.labels, None),
    }
}

fn node_changed(view: &View, pod: PodId, plugin: Plugin, node: &Node, before: &Seen) -> bool {
    let template = view.template(pod);
    let tolerates = |taints: &[Taint]| first_untolerated(taints, &template.tolerations).is_none();
    let retainted = before.taints != node.taints;
    let uncordoned = before.unschedulable && !node.unschedulable;
    match plugin {
        Plugin::NodeUnschedulable => uncordoned,
        Plugin::TaintToleration => retainted && tolerates(&node.taints) && !tolerates(&before.taints),
        Plugin::PodTopologySpread => {
            let (had, has) = (has_spread_keys(template, &before.labels), has_spread_keys(template, &node.labels));
            let keys = template.topology_spread.iter().map(|constraint| &constraint.topology_key);
            had != has
                || has && (retainted || keys.into_iter().any(|key| before.labels.get(key) != node.labels.get(key)))
        }
        Plugin::NodeAffinity => {
            let matched = || {
                let was = Node { labels: before.labels.clone(), ..node.clone() };
                matches_node_affinity(template, &was)
            };
            retainted
                || uncordoned
                || before.labels != node.labels && matches_node_affinity(template, node) && !matched()
        }
        Plugin::InterPodAffinity => {
            retainted || uncordoned || affinity_after_node(template, &node.labels, Some(&before.labels))
        }
        Plugin::NodeResourcesFit => {
            retainted
                || uncordoned
                || template.requests.fits_in(&node.allocatable)
                    && wants_more(&template.requests, &node.allocatable, &before.allocatable)
        }
        Plugin::NodeName | Plugin::NodePorts => retainted || uncordoned,
        Plugin::VolumeBinding => retainted || uncordoned || before.labels != node.labels,
    }
}

/// Some resource of which `wanted` has any is larger in `one` than in `other`.
fn wants_more(wanted: &Resources, one: &Resources, other: &Resources) -> bool {
    let more = |wanted: i64, one: i64, other: i64| wanted > 0 && one > other;
    more(wanted.pods, one.pods, other.pods)
        || more(wanted.cpu.0, one.cpu.0, other.cpu.0)
        || more(wanted.memory.0, one.memory.0, other.memory.0)
        || more(wanted.ephemeral_storage.0, one.ephemeral_storage.0, other.ephemeral_storage.0)
        || wanted.extended.iter().any(|(name, &amount)| more(amount, one.extended(name), other.extended(name)))
}

fn pod_changed(view: &View, pod: PodId, plugin: Plugin, other: PodId, before: &PodTemplate) -> bool {
    let (template, now) = (view.template(pod), view.template(other));
    let shrank = |wanted: &Resources| wants_more(wanted, &before.requests, &now.requests);
    if other == pod {
        return match plugin {
            Plugin::NodeResourcesFit => shrank(&before.requests),
            Plugin::TaintToleration => tolerates_more(before, now),
            Plugin::PodTopologySpread => {
                spread_changes(template, before, now)
                    || tolerates_more(before, now) && hard_spread(template).any(|constraint| constraint.honor_taints)
            }
            Plugin::NodeUnschedulable => {
                let cordon = super::filters::unschedulable_taint();
                tolerated(&now.tolerations, &cordon) && !tolerated(&before.tolerations, &cordon)
            }
            Plugin::NodeName | Plugin::NodeAffinity | Plugin::NodePorts | Plugin::InterPodAffinity => false,
            Plugin::VolumeBinding => false,
        };
    }
    if view.world.pod(other).node.is_none() {
        return false;
    }
    match plugin {
        Plugin::NodeResourcesFit => shrank(&template.requests),
        Plugin::PodTopologySpread => spread_changes(template, before, now),
        Plugin::InterPodAffinity => {
            let affine = |other: &PodTemplate| matches_affinity(view.plan, template, other);
            let hostile = |other: &PodTemplate| matches_anti_affinity(view.plan, template, other);
            !affine(before) && affine(now) || hostile(before) && !hostile(now)
        }
        Plugin::NodeUnschedulable
        | Plugin::NodeName
        | Plugin::TaintToleration
        | Plugin::NodeAffinity
        | Plugin::VolumeBinding
        | Plugin::NodePorts => false,
    }
}

/// The number of tolerations is another: by that alone upstream notices a change (`extractPodTolerationChange`).
fn tolerates_more(before: &PodTemplate, now: &PodTemplate) -> bool {
    before.tolerations.len() != now.tolerations.len()
}

fn hard_spread(template: &PodTemplate) -> impl Iterator<Item = &TopologySpread> {
    template.topology_spread.iter().filter(|constraint| constraint.hard)
}

/// Some constraint selects one of the two and not the other.
fn spread_changes(template: &PodTemplate, before: &PodTemplate, now: &PodTemplate) -> bool {
    let selects = |constraint: &TopologySpread, labels: &Labels| {
        constraint.selector.as_ref().is_some_and(|selector| selector.matches(labels))
    };
    template.namespace == now.namespace
        && hard_spread(template).any(|one| selects(one, &before.labels) != selects(one, &now.labels))
}

fn has_spread_keys(template: &PodTemplate, labels: &Labels) -> bool {
    hard_spread(template).all(|constraint| labels.contains_key(&constraint.topology_key))
}

fn affinity_after_node(template: &PodTemplate, now: &Labels, before: Option<&Labels>) -> bool {
    let changed = |key: &String| before.is_none_or(|before| before.get(key) != now.get(key));
    let affinity = &template.affinity;
    affinity.pod_required.iter().any(|term| now.contains_key(&term.topology_key) && changed(&term.topology_key))
        || affinity.anti_required.iter().any(|term| match before {
            None => true,
            Some(before) => before.contains_key(&term.topology_key) && changed(&term.topology_key),
        })
}

fn pod_came(view: &View, pod: PodId, plugin: Plugin, other: PodId) -> bool {
    let (template, came) = (view.template(pod), view.template(other));
    match plugin {
        Plugin::PodTopologySpread => spread_counts(template, came),
        Plugin::InterPodAffinity => matches_affinity(view.plan, template, came),
        Plugin::NodeUnschedulable
        | Plugin::NodeName
        | Plugin::TaintToleration
        | Plugin::NodeAffinity
        | Plugin::NodePorts
        | Plugin::VolumeBinding
        | Plugin::NodeResourcesFit => false,
    }
}

fn pod_went(view: &View, pod: PodId, plugin: Plugin, other: PodId) -> bool {
    let (template, went) = (view.template(pod), view.template(other));
    match plugin {
        Plugin::NodeResourcesFit => true,
        Plugin::NodePorts => ports_conflict(template, went),
        Plugin::PodTopologySpread => spread_counts(template, went),
        Plugin::InterPodAffinity => matches_anti_affinity(view.plan, template, went),
        Plugin::NodeUnschedulable | Plugin::NodeName | Plugin::TaintToleration | Plugin::NodeAffinity => false,
        Plugin::VolumeBinding => false,
    }
}

fn spread_counts(template: &PodTemplate, other: &PodTemplate) -> bool {
    let selects = |constraint: &TopologySpread| {
        constraint.selector.as_ref().is_some_and(|selector| selector.matches(&other.labels))
    };
    template.namespace == other.namespace && hard_spread(template).any(selects)
}
