//! DaemonSet controller: one pod of each DaemonSet on every node that it wants.
//!
//! ```text
//!  Node appears ─► Node ─► for each DaemonSet that fits: a pod pinned to that node ─► scheduler ─► kubelet
//! ```
//!
//! Models `pkg/controller/daemon/daemon_controller.go` (`nodeShouldRunDaemonPod`): node selector, required node affinity
//! and taints decide; resources do not. Pods go with their node: drains leave them, the kubelet's end takes them.
//! Left out: rolling updates of DaemonSets.

use crate::components::Cx;
use crate::plan::{DaemonSetId, PodTemplate};
use crate::rules::taint::first_untolerated;
use crate::world::{NewPod, Node, NodeId, Owner, World};

/// Its memory: pods ever created, by DaemonSet.
#[derive(Default)]
pub struct DaemonSetController {
    created: Vec<u32>,
}

/// Why it may be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// A node appeared.
    Node(NodeId),
}

impl DaemonSetController {
    /// Counts the pods that exist already.
    pub fn start(&mut self, cx: &mut Cx) {
        self.created = vec![0; cx.world.daemon_sets.len()];
        for pod in &cx.world.pods {
            if let Owner::DaemonSet(id) = pod.owner {
                self.created[id.index()] += 1;
            }
        }
    }

    /// Observe, decide, apply, schedule.
    pub fn handle(&mut self, cx: &mut Cx, event: Event) {
        let Event::Node(node) = event;
        for index in 0..cx.world.daemon_sets.len() {
            let owner = Owner::DaemonSet(DaemonSetId::at(index));
            let template = cx.world.daemon_sets[index].template;
            let wanted = should_run(cx.world.template(template), cx.world.node(node));
            if !wanted || has_pod(cx.world, owner, node) {
                continue;
            }
            self.created[index] += 1;
            let ordinal = self.created[index];
            cx.world.create_pod(NewPod { template, owner, ordinal, pinned: Some(node), name: None });
        }
    }
}

fn has_pod(world: &World, owner: Owner, node: NodeId) -> bool {
    world.pods.iter().any(|pod| pod.owner == owner && pod.pinned == Some(node) && pod.gone.is_none())
}

/// Whether a DaemonSet with this template has a pod on this node.
pub fn should_run(template: &PodTemplate, node: &Node) -> bool {
    let selected = template.node_selector.iter().all(|(key, value)| node.labels.get(key) == Some(value));
    let terms = template.affinity.node_required.as_ref();
    let required = terms.is_none_or(|terms| terms.iter().any(|term| term.matches(&node.name, &node.labels)));
    node.gone.is_none() && selected && required && first_untolerated(&node.taints, &template.tolerations).is_none()
}
