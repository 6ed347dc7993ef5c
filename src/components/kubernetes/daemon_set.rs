//! DaemonSet controller.
//!
//! ```text
//!  Node object appears, its taints or labels change ─► Node ─► one pod of every DaemonSet that the node suits, pinned to it
//!  a DaemonSet is applied ─► Set ─► one pod on every node that suits it
//! ```
//!
//! Source: `pkg/controller/daemon/daemon_controller.go` (`NodeShouldRunDaemonPod`) of Kubernetes 1.34. The automatic
//! tolerations of a DaemonSet's pods are part of the template.
//! Left out: rolling updates, pods that must leave because labels or taints of their node changed, replacements of pods
//! that failed.

use crate::components::Cx;
use crate::plan::{DaemonSetId, PodTemplate};
use crate::rules::taint::first_untolerated;
use crate::world::{NewPod, Node, NodeId, Owner, World};

/// Its memory.
#[derive(Default)]
pub struct DaemonSetController {
    /// Pods ever created, by DaemonSet; what existed before is counted once.
    created: Vec<Option<u32>>,
}

/// Why it may be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// A node appeared, or its taints or labels changed.
    Node(NodeId),
    /// It was applied: every node is looked at.
    Set(DaemonSetId),
}

impl DaemonSetController {
    /// Nodes that exist at the start are looked at like new ones: a pod that is there already is not created again.
    pub fn start(&mut self, cx: &mut Cx) {
        for index in 0..cx.world.nodes.len() {
            cx.at(cx.now, crate::components::Event::DaemonSet(Event::Node(NodeId::at(index))));
        }
    }

    /// Observe, decide, apply.
    pub fn handle(&mut self, cx: &mut Cx, event: Event) {
        let missing: Vec<(DaemonSetId, NodeId)> = match event {
            Event::Node(node) => lacking(cx.world, node).map(|daemon_set| (daemon_set, node)).collect(),
            Event::Set(daemon_set) => {
                let nodes = (0..cx.world.nodes.len()).map(NodeId::at);
                let lacks = |&node: &NodeId| lacking(cx.world, node).any(|lacking| lacking == daemon_set);
                nodes.filter(lacks).map(|node| (daemon_set, node)).collect()
            }
        };
        for (daemon_set, node) in missing {
            let template = cx.world.daemon_sets[daemon_set.index()].template;
            let ordinal = self.next_ordinal(cx.world, daemon_set);
            let owner = Owner::DaemonSet(daemon_set);
            cx.world.create_pod(NewPod { template, owner, ordinal, pinned: Some(node), name: None });
        }
    }

    fn next_ordinal(&mut self, world: &World, daemon_set: DaemonSetId) -> u32 {
        if self.created.len() <= daemon_set.index() {
            self.created.resize(daemon_set.index() + 1, None);
        }
        let created = self.created[daemon_set.index()].get_or_insert_with(|| {
            let own = world.pods.iter().filter(|pod| pod.owner == Owner::DaemonSet(daemon_set));
            own.map(|pod| pod.ordinal).max().unwrap_or(0)
        });
        *created += 1;
        *created
    }
}

/// DaemonSets that want a pod on a node and have none there.
pub fn lacking(world: &World, node: NodeId) -> impl Iterator<Item = DaemonSetId> + '_ {
    world.present_daemon_sets().filter(move |&daemon_set| {
        let template = world.daemon_sets[daemon_set.index()].template;
        should_run(world.node(node), world.template(template)) && !has_pod(world, daemon_set, node)
    })
}

fn has_pod(world: &World, daemon_set: DaemonSetId, node: NodeId) -> bool {
    let own = |pod: &crate::world::Pod| pod.owner == Owner::DaemonSet(daemon_set) && pod.is_active();
    let bound = || world.node(node).pods.iter().map(|&pod| world.pod(pod)).any(own);
    let mut living = world.living.iter().map(|pod| world.pod(pod));
    bound() || living.any(|pod| own(pod) && pod.node.is_none() && pod.pinned == Some(node))
}

/// Whether a DaemonSet wants a pod on a node: selector, required affinity and taints. A cordon does not matter.
pub fn should_run(node: &Node, template: &PodTemplate) -> bool {
    if node.gone.is_some() || node.deleting_since.is_some() {
        return false;
    }
    let selected = template.node_selector.iter().all(|(key, value)| node.labels.get(key) == Some(value));
    let affine = template
        .affinity
        .node_required
        .as_ref()
        .is_none_or(|terms| terms.iter().any(|term| term.matches(&node.name, &node.labels)));
    selected && affine && first_untolerated(&node.taints, &template.tolerations).is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Queue, Span, Time};
    use crate::plan::{DaemonSetSpec, Plan, TemplateId};
    use crate::record::{Detail, Recorder};
    use crate::rules::taint::{Taint, TaintEffect, Toleration, TolerationOperator};
    use crate::world::NewNode;
    use std::sync::Arc;

    fn node(world: &mut World, name: &str, taints: Vec<Taint>) -> NodeId {
        world.create_node(NewNode {
            name: name.into(),
            labels: [("pool".to_string(), name.to_string())].into(),
            taints,
            allocatable: Default::default(),
            capacity: Default::default(),
            claim: None,
            instance: None,
            zone: None,
        })
    }

    fn plan(template: PodTemplate) -> Plan {
        let mut plan = Plan::empty(Time::from_unix_seconds(1_000), Span::from_secs(60));
        plan.templates.push(Arc::new(template));
        let (namespace, name) = ("default".to_string(), "agent".to_string());
        plan.daemon_sets.push(Arc::new(DaemonSetSpec { namespace, name, template: TemplateId(0) }));
        plan
    }

    #[test]
    fn one_pinned_pod_a_node_however_often_it_looks() {
        let plan = plan(PodTemplate::default());
        let mut world = World::new(&plan);
        let nodes = [node(&mut world, "a", vec![]), node(&mut world, "b", vec![])];
        let (mut queue, mut recorder) = (Queue::new(), Recorder::new(Detail::Facts));
        let (queue, recorder) = (&mut queue, &mut recorder);
        let mut cx = Cx { now: plan.start, plan: &plan, world: &mut world, queue, recorder, random: None };
        let mut controller = DaemonSetController::default();
        for node in [nodes[0], nodes[1], nodes[0]] {
            controller.handle(&mut cx, Event::Node(node));
        }
        let pods: Vec<_> = world.pods.iter().map(|pod| (pod.ordinal, pod.pinned)).collect();
        assert_eq!(pods, [(1, Some(nodes[0])), (2, Some(nodes[1]))]);
    }

    #[test]
    fn one_that_is_applied_late_runs_nowhere_before_and_everywhere_then() {
        let mut plan = plan(PodTemplate::default());
        let set = DaemonSetId(0);
        let kind = crate::plan::ActionKind::Create(crate::plan::Applied::DaemonSet(set));
        plan.actions.push(crate::plan::Action { at: plan.start + Span::from_secs(10), kind });
        let mut world = World::new(&plan);
        let nodes = [node(&mut world, "a", vec![]), node(&mut world, "b", vec![])];
        let (mut queue, mut recorder) = (Queue::new(), Recorder::new(Detail::Facts));
        let mut controller = DaemonSetController::default();
        let mut woken = |world: &mut World, event| {
            let (queue, recorder) = (&mut queue, &mut recorder);
            controller.handle(&mut Cx { now: plan.start, plan: &plan, world, queue, recorder, random: None }, event);
            world.pods.iter().map(|pod| pod.pinned).collect::<Vec<_>>()
        };
        assert_eq!(woken(&mut world, Event::Node(nodes[0])), []);
        world.set_daemon_set(set, true);
        assert_eq!(woken(&mut world, Event::Set(set)), nodes.map(Some));
        world.set_daemon_set(set, false);
        node(&mut world, "c", vec![]);
        assert_eq!(woken(&mut world, Event::Node(NodeId(2))), nodes.map(Some), "it is gone again");
    }

    #[test]
    fn selector_and_untolerated_taints_keep_it_away_and_a_preference_does_not() {
        let wants = PodTemplate {
            node_selector: [("pool".to_string(), "a".to_string())].into(),
            tolerations: vec![Toleration {
                key: "gpu".to_string(),
                operator: TolerationOperator::Exists,
                value: String::new(),
                effect: None,
                seconds: None,
            }],
            ..PodTemplate::default()
        };
        let mut world = World::new(&plan(wants.clone()));
        let runs = |world: &mut World, name: &str, key: &str, effect| {
            let id = node(world, name, vec![Taint::new(key, effect)]);
            should_run(world.node(id), &wants)
        };
        assert!(runs(&mut world, "a", "gpu", TaintEffect::NoExecute));
        assert!(runs(&mut world, "a", "other", TaintEffect::PreferNoSchedule));
        assert!(!runs(&mut world, "a", "other", TaintEffect::NoSchedule));
        assert!(!runs(&mut world, "b", "gpu", TaintEffect::NoExecute));
    }
}
