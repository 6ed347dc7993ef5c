//! What an operator does, in words: for headlines and pictures.

use super::{Action, ActionKind, Applied, Plan, PodChoice};

impl Action {
    /// What is done, in words; `None`: a change of the load, which is told as such.
    pub fn words(&self, plan: &Plan) -> Option<String> {
        let deployment = |id: super::DeploymentId| &plan.deployments[id.index()].name;
        Some(match &self.kind {
            ActionKind::SetLoad(..) => return None,
            ActionKind::Create(what) => format!("{} created", applied(plan, *what)),
            ActionKind::Delete(what) => format!("{} deleted", applied(plan, *what)),
            ActionKind::Cordon(node, true) => format!("cordon of {}", node.words()),
            ActionKind::Cordon(node, false) => format!("uncordon of {}", node.words()),
            ActionKind::Drain(node) => format!("drain of {}", node.words()),
            ActionKind::DeletePod(PodChoice::Named(name)) => format!("deletion of pod {name}"),
            ActionKind::DeletePod(PodChoice::Oldest(id, count)) => {
                format!("deletion of {count} of the pods of {}", deployment(*id))
            }
            ActionKind::DeletePod(PodChoice::Recorded(id, _)) => format!("deletion of a pod of {}", deployment(*id)),
            ActionKind::AnnotateNode(node, key, _) => format!("annotation {key} of {}", node.words()),
            ActionKind::Untaint(node, taint) => format!("taint {} taken from {}", taint.key, node.words()),
            ActionKind::LabelNode(node, key, _) => format!("label {key} of {}", node.words()),
            ActionKind::ScaleDeployment(id, count) => format!("{} scaled to {count}", deployment(*id)),
            ActionKind::UpdateDeployment { deployment: id, .. } => format!("{} applied", deployment(*id)),
            ActionKind::RollOut(id, _) => format!("rollout of {}", deployment(*id)),
            ActionKind::PauseDeployment(id, true) => format!("rollout of {} paused", deployment(*id)),
            ActionKind::PauseDeployment(id, false) => format!("rollout of {} resumed", deployment(*id)),
            ActionKind::RollBack(id, _) => format!("rollback of {}", deployment(*id)),
            ActionKind::UpdateHpa(id, _) => format!("autoscaler {} applied", plan.hpas[id.index()].name),
            ActionKind::UpdatePdb(id, _) => format!("budget {} applied", plan.pdbs[id.index()].name),
            ActionKind::UpdateNodePool(id, _) => format!("NodePool {} applied", plan.node_pools[id.index()].name),
            ActionKind::DeleteNodeClaim(node) => format!("deletion of the NodeClaim of {}", node.words()),
            ActionKind::DeleteNode(node) => format!("deletion of {}", node.words()),
            ActionKind::TaintNode(node, taint) => format!("taint {} on {}", taint.key, node.words()),
        })
    }
}

fn applied(plan: &Plan, what: Applied) -> String {
    match what {
        Applied::Deployment(id) => format!("Deployment {}", plan.deployments[id.index()].name),
        Applied::Hpa(id) => format!("autoscaler {}", plan.hpas[id.index()].name),
        Applied::Pdb(id) => format!("budget {}", plan.pdbs[id.index()].name),
        Applied::NodePool(id) => format!("NodePool {}", plan.node_pools[id.index()].name),
        Applied::DaemonSet(id) => format!("DaemonSet {}", plan.daemon_sets[id.index()].name),
        Applied::Node(index) => format!("node {}", plan.nodes[index].name),
        Applied::Pod(index) => format!("pod {}", plan.pods[index].name),
    }
}
