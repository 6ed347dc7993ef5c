//! Scripted actions of operators, and faults.
//!
//! ```text
//!  plan.actions ─► World (scale, update, delete, taint, load)
//!  plan.faults ─► World::set_fault; machines interrupted or dead
//! ```
//!
//! An action is what `kubectl` or a console would have done at that instant; one that names nothing does nothing.
//! Faults that last are flags in the world which the components concerned read; faults of an instant act here.

use crate::components::Cx;
use crate::engine::Span;
use crate::plan::{
    ActionId, ActionKind, Applied, CapacityType, DeploymentId, DeploymentSpec, FaultId, FaultKind, InstanceTypeId,
    NodeChoice, NodeProblem, Plan, PodChoice, ZoneId,
};
use crate::record::Shortfall;
use crate::world::{
    DeleteCause, DisruptionReason, Eviction, InstanceId, InstanceState, NewPod, NodeId, NodeReadiness, Owner, PodId,
    World,
};
use std::collections::BTreeMap;

/// Its memory.
#[derive(Default)]
pub struct Script {
    /// The nodes that recorded names turned out to mean.
    recorded: BTreeMap<u32, NodeId>,
    /// Pods of which a drain waits for the eviction, which was refused, and whose drain that is.
    held_up: BTreeMap<PodId, ActionId>,
}

/// Why it may be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// A scripted action is due.
    Action(ActionId),
    /// A fault begins.
    Begin(FaultId),
    /// A fault ends.
    End(FaultId),
    /// `kubectl drain` asks for an eviction, perhaps again.
    Evict(PodId),
}

/// `kubectl drain` asks again so long after a refusal. Source: `k8s.io/kubectl/pkg/drain/drain.go` (`evictPods`).
const DRAIN_RETRY: Span = Span::from_secs(5);

impl Script {
    /// Schedules everything that is scripted.
    pub fn start(&mut self, cx: &mut Cx) {
        for (index, action) in cx.plan.actions.iter().enumerate() {
            cx.at(action.at, crate::components::Event::Script(Event::Action(ActionId::at(index))));
        }
        for (index, fault) in cx.plan.faults.iter().enumerate() {
            cx.at(fault.at, crate::components::Event::Script(Event::Begin(FaultId::at(index))));
            if let Some(until) = fault.until {
                cx.at(until, crate::components::Event::Script(Event::End(FaultId::at(index))));
            }
        }
    }

    /// Observe, decide, apply, schedule.
    pub fn handle(&mut self, cx: &mut Cx, event: Event) {
        match event {
            Event::Action(action) => self.act(cx, action),
            Event::Begin(fault) => begin(cx, fault),
            Event::End(fault) => end(cx, fault),
            Event::Evict(pod) => self.evict(cx, pod, None),
        }
    }

    fn act(&mut self, cx: &mut Cx, id: ActionId) {
        if let Some((in_vain, why)) = falls_short(cx, &cx.plan.actions[id.index()].kind) {
            cx.recorder.shortfalls.push(Shortfall { at: cx.now, action: id, in_vain, why });
        }
        match &cx.plan.actions[id.index()].kind {
            ActionKind::ScaleDeployment(deployment, replicas) => {
                cx.world.scale_deployment(*deployment, *replicas, None)
            }
            ActionKind::UpdateDeployment { deployment, spec, keeps_replicas } => {
                let replicas =
                    if *keeps_replicas { cx.world.deployments[deployment.index()].replicas } else { spec.replicas };
                cx.world.edit_deployment(*deployment, |own| *own = DeploymentSpec { replicas, ..(**spec).clone() });
            }
            ActionKind::RollOut(deployment, template) => {
                cx.world.edit_deployment(*deployment, |spec| spec.template = *template);
            }
            ActionKind::PauseDeployment(deployment, paused) => {
                cx.world.edit_deployment(*deployment, |spec| spec.paused = *paused);
            }
            ActionKind::RollBack(deployment, revision) => {
                let done = cx.world.roll_back_deployment(*deployment, *revision);
                if let Err(why) = done {
                    cx.explain(|| format!("rollback: {why}"));
                    let why = format!("kubectl refuses it, {why}");
                    cx.recorder.shortfalls.push(Shortfall { at: cx.now, action: id, in_vain: true, why });
                }
            }
            ActionKind::UpdateHpa(hpa, spec) => cx.world.update_hpa(*hpa, spec.clone()),
            ActionKind::UpdatePdb(pdb, spec) => cx.world.update_pdb(*pdb, spec.clone()),
            ActionKind::UpdateNodePool(pool, spec) => cx.world.update_node_pool(*pool, spec.clone()),
            ActionKind::DeleteNodeClaim(choice) => {
                for node in self.chosen(cx.plan, cx.world, choice) {
                    if let Some(claim) = cx.world.node(node).claim {
                        cx.world.delete_claim(claim, DisruptionReason::User);
                    }
                }
            }
            ActionKind::DeleteNode(choice) => {
                self.chosen(cx.plan, cx.world, choice).into_iter().for_each(|node| cx.world.delete_node(node))
            }
            ActionKind::TaintNode(choice, taint) => {
                self.chosen(cx.plan, cx.world, choice)
                    .into_iter()
                    .for_each(|node| cx.world.add_taint(node, taint.clone()));
            }
            ActionKind::SetLoad(app, load) => cx.world.set_load(*app, load.clone()),
            ActionKind::Create(object) => create(cx, *object),
            ActionKind::Delete(object) => delete(cx, *object),
            ActionKind::Cordon(choice, cordoned) => {
                self.chosen(cx.plan, cx.world, choice)
                    .into_iter()
                    .for_each(|node| cx.world.set_unschedulable(node, *cordoned));
            }
            ActionKind::Drain(choice) => {
                self.chosen(cx.plan, cx.world, choice).into_iter().for_each(|node| self.drain(cx, id, node))
            }
            ActionKind::DeletePod(choice) => {
                let pods = chosen_pods(cx.world, choice);
                pods.into_iter().for_each(|pod| cx.world.delete_pod(pod, None, DeleteCause::User));
            }
            ActionKind::AnnotateNode(choice, key, value) => {
                let nodes = self.chosen(cx.plan, cx.world, choice);
                nodes.into_iter().for_each(|node| cx.world.set_node_annotation(node, key, value.as_deref()));
            }
            ActionKind::LabelNode(choice, key, value) => {
                self.chosen(cx.plan, cx.world, choice)
                    .into_iter()
                    .for_each(|node| cx.world.set_node_label(node, key.as_str(), value.as_str()));
            }
            ActionKind::Untaint(choice, taint) => {
                self.chosen(cx.plan, cx.world, choice).into_iter().for_each(|node| cx.world.remove_taint(node, taint));
            }
        }
        cx.world.note_action(id);
    }

    /// The nodes that a choice means now; a recorded name means the same node ever after.
    fn chosen(&mut self, plan: &Plan, world: &World, choice: &NodeChoice) -> Vec<NodeId> {
        let NodeChoice::Recorded { claim, .. } = choice else { return chosen(plan, world, choice) };
        if let Some(&node) = self.recorded.get(claim) {
            return if world.node(node).gone.is_none() { vec![node] } else { Vec::new() };
        }
        let taken: Vec<NodeId> = self.recorded.values().copied().collect();
        let found = chosen(plan, world, choice).into_iter().find(|node| !taken.contains(node));
        if let Some(node) = found {
            self.recorded.insert(*claim, node);
        }
        found.into_iter().collect()
    }
    /// `kubectl drain --ignore-daemonsets`.
    fn drain(&mut self, cx: &mut Cx, action: ActionId, node: NodeId) {
        cx.world.set_unschedulable(node, true);
        let pods = cx.world.node(node).pods.clone();
        let own = |pod: &PodId| !matches!(cx.world.pod(*pod).owner, Owner::DaemonSet(_));
        let pods: Vec<PodId> = pods.iter().copied().filter(own).collect();
        let (name, count) = (&cx.world.node(node).name, pods.len());
        cx.recorder.explain(cx.now, || {
            let evictions = if count == 1 { "1 pod".to_string() } else { format!("{count} pods") };
            format!("kubectl drain: node {name} takes no new pods, and the eviction of {evictions} is asked for")
        });
        for pod in pods {
            self.evict(cx, pod, Some(action));
        }
    }

    /// Asks for an eviction: for the first time, on behalf of that drain, or again.
    fn evict(&mut self, cx: &mut Cx, pod: PodId, first_of: Option<ActionId>) {
        if cx.world.pod(pod).gone.is_some() || cx.world.pod(pod).deleting_since.is_some() {
            self.held_up.remove(&pod);
            return;
        }
        let answer = cx.world.evict_pod(pod);
        match answer {
            Eviction::Granted | Eviction::NotFound => _ = self.held_up.remove(&pod),
            Eviction::Refused { .. } => {
                if let Some(action) = first_of {
                    self.held_up.insert(pod, action);
                    let text = |world: &World| told(world, pod, answer, &format!("it asks again every {DRAIN_RETRY}"));
                    cx.recorder.explain(cx.now, || text(cx.world));
                }
                cx.recorder.refused_evictions.push((cx.now, pod));
                cx.after(DRAIN_RETRY, crate::components::Event::Script(Event::Evict(pod)));
            }
            Eviction::Forbidden | Eviction::SeveralBudgets | Eviction::DeleteFailed => {
                cx.recorder.explain(cx.now, || told(cx.world, pod, answer, "that is an error, with which it ends"));
                let action = first_of.or(self.held_up.remove(&pod));
                let Some(action) = action.filter(|id| cx.recorder.shortfalls.iter().all(|one| one.action != *id))
                else {
                    return;
                };
                let why = format!(
                    "kubectl could not evict {}, {}",
                    cx.world.pod_name(pod),
                    cx.world.why_refused(pod, answer)
                );
                cx.recorder.shortfalls.push(Shortfall { at: cx.now, action, in_vain: false, why });
            }
        }
    }

    /// Drains that have not ended when the run does fell short.
    pub fn conclude(&mut self, cx: &mut Cx) {
        let mut left: BTreeMap<ActionId, Vec<PodId>> = BTreeMap::new();
        for (&pod, &action) in &self.held_up {
            if cx.world.pod(pod).gone.is_none() && cx.world.pod(pod).deleting_since.is_none() {
                left.entry(action).or_default().push(pod);
            }
        }
        for (action, pods) in left {
            let at = cx.plan.actions[action.index()].at;
            let why = not_ended(cx.world, &pods);
            cx.recorder.shortfalls.push(Shortfall { at, action, in_vain: false, why });
        }
    }
}

/// What becomes of an eviction that is refused to `kubectl drain`.
fn told(world: &World, pod: PodId, answer: Eviction, then: &str) -> String {
    let node = world.pod(pod).node.map_or("", |node| &world.node(node).name);
    let (name, why) = (world.pod_name(pod), world.why_refused(pod, answer));
    format!("kubectl drain of node {node}: the eviction of pod {name} is refused: {why}; {then}")
}

/// More names than this are counted.
const NAMES_MAX: usize = 3;

/// Why a drain has not ended: these pods stay.
fn not_ended(world: &World, pods: &[PodId]) -> String {
    let budgets = world.pdbs.iter().filter(|pdb| pods.iter().any(|&pod| pdb.spec.matches(world.template_of(pod))));
    let budgets: Vec<String> = budgets.map(|pdb| format!("{}/{}", pdb.spec.namespace, pdb.spec.name)).collect();
    let names: Vec<_> = pods.iter().take(NAMES_MAX).map(|&pod| world.pod_name(pod)).collect();
    let more = if pods.len() > NAMES_MAX { format!(" and {} more", pods.len() - NAMES_MAX) } else { String::new() };
    let budgets = budgets.join(" or ");
    format!(
        "it had not ended, {}{more} stayed, since PodDisruptionBudget {budgets} allowed no eviction",
        names.join(", ")
    )
}

/// Why an action finds less now than it means, and whether it finds nothing.
fn falls_short(cx: &Cx, kind: &ActionKind) -> Option<(bool, String)> {
    let nodes = kind.node().filter(|choice| !matches!(choice, NodeChoice::Recorded { .. }));
    if let Some(choice) = nodes.filter(|choice| chosen(cx.plan, cx.world, choice).is_empty()) {
        let why = match choice {
            NodeChoice::Named(name) => format!("there is no node {name} then"),
            NodeChoice::Fullest | NodeChoice::All | NodeChoice::Recorded { .. } => "there is no node then".to_string(),
        };
        return Some((true, why));
    }
    let ActionKind::DeletePod(choice) = kind else { return None };
    let found = chosen_pods(cx.world, choice).len();
    match choice {
        PodChoice::Named(name) if found == 0 => Some((true, format!("there is no pod {name} then"))),
        PodChoice::Oldest(_, count) if found < *count as usize => {
            let pods = if found == 1 { "pod" } else { "pods" };
            Some((found == 0, format!("it has {found} {pods} then")))
        }
        PodChoice::Named(_) | PodChoice::Oldest(..) | PodChoice::Recorded(..) => None,
    }
}

/// The pods that a choice means now.
fn chosen_pods(world: &World, choice: &PodChoice) -> Vec<PodId> {
    let of = |deployment: DeploymentId| {
        let own = world.pods.iter().map(|pod| pod.id);
        own.filter(move |&pod| world.deployment_of(pod) == Some(deployment))
    };
    let is_there = |pod: &PodId| world.pod(*pod).gone.is_none() && world.pod(*pod).deleting_since.is_none();
    match choice {
        PodChoice::Named(name) => {
            world.living.iter().filter(|pod| is_there(pod) && world.pod_name(*pod) == *name).collect()
        }
        PodChoice::Oldest(deployment, count) => of(*deployment).filter(is_there).take(*count as usize).collect(),
        PodChoice::Recorded(deployment, place) => {
            of(*deployment).nth(*place as usize).filter(is_there).into_iter().collect()
        }
    }
}

/// `kubectl apply` of an object that was not there.
fn create(cx: &mut Cx, object: Applied) {
    match object {
        Applied::Deployment(deployment) => cx.world.create_deployment(deployment),
        Applied::Hpa(hpa) => cx.world.apply_hpa(hpa),
        Applied::Pdb(pdb) => cx.world.update_pdb(pdb, cx.plan.pdbs[pdb.index()].clone()),
        Applied::NodePool(pool) => cx.world.update_node_pool(pool, cx.plan.node_pools[pool.index()].clone()),
        Applied::DaemonSet(set) => cx.world.set_daemon_set(set, true),
        Applied::Pod(index) => {
            let pod = &cx.plan.pods[index];
            let ordinal = index as u32 + 1;
            let (template, name) = (pod.template, Some(pod.name.as_str().into()));
            cx.world.create_pod(NewPod { template, owner: Owner::Bare, ordinal, pinned: None, name });
        }
        Applied::Node(index) => {
            let spec = &cx.plan.nodes[index];
            let allocatable = spec.allocatable.clone().unwrap_or_default();
            let mut labels = spec.labels.clone();
            labels.insert_missing("kubernetes.io/hostname", spec.name.as_str());
            let node = cx.world.create_node(crate::world::NewNode {
                name: spec.name.as_str().into(),
                labels,
                taints: spec.taints.clone(),
                capacity: allocatable.clone(),
                allocatable,
                claim: None,
                instance: None,
                zone: spec.zone,
            });
            cx.world.set_unschedulable(node, spec.unschedulable);
        }
    }
}

/// `kubectl delete` of it. A Deployment takes its pods along; what a deleted budget selected is free.
fn delete(cx: &mut Cx, object: Applied) {
    match object {
        Applied::Deployment(deployment) => cx.world.scale_deployment(deployment, 0, None),
        Applied::Hpa(hpa) => cx.world.delete_hpa(hpa),
        Applied::Pdb(pdb) => {
            let spec = crate::plan::PdbSpec { selector: None, ..(*cx.world.pdbs[pdb.index()].spec).clone() };
            cx.world.update_pdb(pdb, std::sync::Arc::new(spec));
        }
        Applied::NodePool(pool) => {
            let spec = crate::plan::NodePoolSpec { usable: false, ..(*cx.world.node_pools[pool.index()]).clone() };
            cx.world.update_node_pool(pool, std::sync::Arc::new(spec));
            let of_pool = cx.world.claims.iter().filter(|claim| claim.is_active() && claim.pool == pool);
            let claims: Vec<_> = of_pool.map(|claim| claim.id).collect();
            claims.into_iter().for_each(|claim| cx.world.delete_claim(claim, DisruptionReason::User));
        }
        Applied::DaemonSet(set) => {
            cx.world.set_daemon_set(set, false);
            let own = cx.world.living.iter().filter(|&pod| cx.world.pod(pod).owner == Owner::DaemonSet(set));
            let pods: Vec<_> = own.collect();
            pods.into_iter().for_each(|pod| cx.world.delete_pod(pod, None, DeleteCause::User));
        }
        Applied::Pod(index) => {
            let choice = PodChoice::Named(cx.plan.pods[index].name.clone());
            let pods = chosen_pods(cx.world, &choice);
            pods.into_iter().for_each(|pod| cx.world.delete_pod(pod, None, DeleteCause::User));
        }
        Applied::Node(index) => {
            let name = NodeChoice::Named(cx.plan.nodes[index].name.clone());
            chosen(cx.plan, cx.world, &name).into_iter().for_each(|node| cx.world.delete_node(node));
        }
    }
}

fn begin(cx: &mut Cx, id: FaultId) {
    cx.world.set_fault(id, true);
    let fault = &cx.plan.faults[id.index()];
    let plan = cx.plan;
    cx.explain(|| format!("fault {} begins: {}", id.index() + 1, fault.words(plan)));
    // Whether a fault that means particular machines hits any.
    let mut hits = true;
    match &fault.kind {
        FaultKind::SpotInterruption { instance_type, zone } => {
            let hit = spot_instances(cx, *instance_type, *zone);
            hits = !hit.is_empty();
            hit.into_iter().for_each(|instance| cx.world.interrupt_instance(instance));
        }
        FaultKind::RebalanceRecommendation { instance_type, zone } => {
            let hit = spot_instances(cx, *instance_type, *zone);
            hits = !hit.is_empty();
            hit.into_iter().for_each(|instance| cx.world.recommend_rebalance(instance));
        }
        FaultKind::SpotPrice { .. } => reprice(cx),
        FaultKind::NodeFailure(choice) => {
            let hit = chosen(cx.plan, cx.world, choice);
            hits = !hit.is_empty();
            for node in hit {
                fail(cx, node, fault.until.is_none());
            }
        }
        FaultKind::NodeUnhealthy { node, problem } => {
            let hit = chosen(cx.plan, cx.world, node);
            hits = !hit.is_empty();
            for node in hit {
                set_health(cx, node, *problem, false);
            }
        }
        FaultKind::ZoneFailure(zone) => {
            for node in nodes_in(cx.world, *zone) {
                fail(cx, node, fault.until.is_none());
            }
        }
        FaultKind::InsufficientCapacity { .. }
        | FaultKind::HealthCheckFails(_)
        | FaultKind::SecurityGroupBlocks { .. }
        | FaultKind::SubnetFull(_)
        | FaultKind::ControllerDenied(_)
        | FaultKind::LoadBalancerThrottling(_)
        | FaultKind::ControllerDown(_)
        | FaultKind::Slowdown(..)
        | FaultKind::SlowRegistry(_)
        | FaultKind::PodCallsFail(_) => {}
    }
    if !hits {
        cx.recorder.idle_faults.push((cx.now, id));
    }
}

/// All spot prices are what they ought to be now.
fn reprice(cx: &mut Cx) {
    let prices: Vec<_> = cx.world.prices.all().iter().map(|price| price.id).collect();
    prices.into_iter().for_each(|price| cx.world.reprice(cx.plan, price));
}

/// Running spot instances of a type and a zone.
fn spot_instances(cx: &Cx, of: Option<InstanceTypeId>, zone: Option<ZoneId>) -> Vec<InstanceId> {
    let hit = cx.world.instances.iter().filter(|instance| {
        instance.state == InstanceState::Running
            && instance.capacity_type == CapacityType::Spot
            && of.is_none_or(|of| is_type(cx, of, instance.instance_type))
            && zone.is_none_or(|zone| zone == instance.zone)
    });
    hit.map(|instance| instance.id).collect()
}

/// A machine stops answering. A failure that ends is a machine that hangs; one without end is a machine that is lost.
fn fail(cx: &mut Cx, node: NodeId, lost: bool) {
    cx.world.set_node_alive(node, false);
    if let Some(instance) = cx.world.node(node).instance.filter(|_| lost) {
        cx.world.stop_instance(instance);
    }
}

/// A node's kubelet, or the agent that looks after a condition, says that something is wrong, or that it is well again.
fn set_health(cx: &mut Cx, node: NodeId, problem: Option<NodeProblem>, well: bool) {
    if let Some(problem) = problem {
        return cx.world.set_problem(node, problem, !well);
    }
    let entry = cx.world.node(node);
    // A machine that does not answer says nothing.
    if entry.alive && entry.gone.is_none() {
        let status = entry.status;
        let readiness = if well { NodeReadiness::Ready } else { NodeReadiness::NotReady };
        cx.world.post_node_status(node, readiness, status);
    }
}

fn end(cx: &mut Cx, id: FaultId) {
    cx.world.set_fault(id, false);
    let fault = &cx.plan.faults[id.index()];
    let plan = cx.plan;
    cx.explain(|| format!("fault {} ends: {}", id.index() + 1, fault.words(plan)));
    if matches!(fault.kind, FaultKind::SpotPrice { .. }) {
        reprice(cx);
    }
    if let FaultKind::NodeUnhealthy { problem, .. } = &fault.kind {
        for node in self_healing(cx.world, *problem) {
            set_health(cx, node, *problem, true);
        }
    }
    let back = match &fault.kind {
        FaultKind::NodeFailure(choice) => failed(cx.world, choice),
        FaultKind::ZoneFailure(zone) => {
            let mut back = failed(cx.world, &NodeChoice::All);
            back.retain(|&node| cx.world.node(node).zone == Some(*zone));
            back
        }
        _ => Vec::new(),
    };
    back.into_iter().for_each(|node| cx.world.set_node_alive(node, true));
}

fn nodes_in(world: &World, zone: ZoneId) -> Vec<NodeId> {
    let there = world.nodes.iter().filter(|node| node.gone.is_none() && node.zone == Some(zone));
    there.map(|node| node.id).collect()
}

/// Two entries of the catalogue may be one type as two node classes see it.
fn is_type(cx: &Cx, wanted: crate::plan::InstanceTypeId, entry: crate::plan::InstanceTypeId) -> bool {
    wanted == entry || cx.plan.instance_type(wanted).name == cx.plan.instance_type(entry).name
}

/// The nodes that a choice means now.
fn chosen(plan: &Plan, world: &World, choice: &NodeChoice) -> Vec<NodeId> {
    let there = || world.nodes.iter().filter(|node| node.gone.is_none());
    match choice {
        NodeChoice::Named(name) => there().filter(|node| *node.name == **name).map(|node| node.id).collect(),
        NodeChoice::All => there().map(|node| node.id).collect(),
        NodeChoice::Recorded { claim, pods } => {
            let held = |node: NodeId| world.node(node).pods.iter().filter(|pod| world.pod(**pod).is_active()).count();
            let machines = world.known_machines(plan);
            let mut managed: Vec<(i64, i64, NodeId)> = there()
                .filter_map(|node| {
                    let off = pods.map_or(0, |pods| (held(node.id) as i64 - i64::from(pods)).abs());
                    let machine = machines[node.claim?.index()].map_or(i64::MAX, |machine| machine as i64);
                    Some((off, (machine.saturating_sub(i64::from(*claim))).abs(), node.id))
                })
                .collect();
            managed.sort_unstable();
            managed.into_iter().map(|(_, _, node)| node).collect()
        }
        NodeChoice::Fullest => {
            let counted = |node: NodeId| {
                let pods = world.node(node).pods.iter();
                pods.filter(|pod| !matches!(world.pod(**pod).owner, Owner::DaemonSet(_))).count()
            };
            let fullest = there().min_by_key(|node| (std::cmp::Reverse(counted(node.id)), node.name.clone()));
            fullest.map(|node| node.id).into_iter().collect()
        }
    }
}

/// The nodes that are unhealthy in that way.
fn self_healing(world: &World, problem: Option<NodeProblem>) -> Vec<NodeId> {
    let is_unhealthy = |node: &&crate::world::Node| match problem {
        Some(problem) => node.problems.iter().any(|(other, _)| *other == problem),
        None => node.alive && node.readiness == NodeReadiness::NotReady,
    };
    let there = world.nodes.iter().filter(|node| node.gone.is_none());
    there.filter(is_unhealthy).map(|node| node.id).collect()
}

/// The nodes that a failure hit and that can come back.
fn failed(world: &World, choice: &NodeChoice) -> Vec<NodeId> {
    let runs = |node: &crate::world::Node| {
        node.instance.is_none_or(|instance| world.instances[instance.index()].state == InstanceState::Running)
    };
    let dead = world.nodes.iter().filter(|node| node.gone.is_none() && !node.alive && runs(node));
    let named = |node: &&crate::world::Node| match choice {
        NodeChoice::Named(name) => *node.name == **name,
        NodeChoice::Fullest | NodeChoice::All | NodeChoice::Recorded { .. } => true,
    };
    dead.filter(named).map(|node| node.id).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::components::Event as Any;
    use crate::engine::{Queue, Time};
    use crate::plan::{Fault, MicroDollars, Plan, ZoneId};
    use crate::record::{Detail, Recorder};
    use crate::rules::labels::Labels;
    use crate::rules::resources::Resources;
    use crate::world::NewNode;
    use std::sync::Arc;

    const START: Time = Time::from_unix_seconds(1_000);

    fn add_node(world: &mut World, name: &str, instance: Option<crate::world::InstanceId>) -> NodeId {
        let allocatable = Resources { pods: 10, ..Resources::default() };
        let (labels, capacity) = (Labels::new(), allocatable.clone());
        let new = NewNode {
            name: name.into(),
            labels,
            taints: Vec::new(),
            allocatable,
            capacity,
            claim: None,
            instance,
            zone: None,
        };
        world.create_node(new)
    }

    #[test]
    fn the_fullest_node_is_the_one_with_most_pods_and_ties_go_by_name() {
        let mut plan = Plan::empty(START, Span::from_secs(10));
        plan.templates.push(Arc::default());
        let mut world = World::new(&plan);
        let nodes = ["c", "b", "a"].map(|name| add_node(&mut world, name, None));
        assert_eq!(chosen(&plan, &world, &NodeChoice::Fullest), [nodes[2]]);
        for ordinal in 1..3 {
            let template = crate::plan::TemplateId(0);
            let pod = world.create_pod(NewPod { template, owner: Owner::Bare, ordinal, pinned: None, name: None });
            world.bind_pod(pod, nodes[ordinal as usize - 1]);
        }
        assert_eq!(chosen(&plan, &world, &NodeChoice::Fullest), [nodes[1]], "b and c have one each");
        assert_eq!(chosen(&plan, &world, &NodeChoice::Named("c".into())), [nodes[0]]);
    }

    #[test]
    fn rollouts_keep_the_size_of_now_and_an_undo_goes_back_one_revision() {
        use crate::plan::{ActionKind as Kind, DeploymentId, Strategy, TemplateId};
        let mut plan = Plan::empty(START, Span::from_secs(10));
        plan.templates.push(Arc::default());
        plan.templates.push(Arc::new(crate::plan::PodTemplate { priority: 1, ..Default::default() }));
        let spec = DeploymentSpec {
            namespace: "default".into(),
            name: "web".into(),
            replicas: 2,
            selector: Default::default(),
            template: TemplateId(0),
            strategy: Strategy::Recreate,
            min_ready: Span::ZERO,
            progress_deadline: Span::from_secs(600),
            revision_history_limit: 10,
            paused: false,
        };
        plan.deployments.push(Arc::new(spec.clone()));
        let web = DeploymentId(0);
        let kinds = [
            Kind::RollOut(web, TemplateId(1)),
            Kind::RollOut(web, TemplateId(1)),
            Kind::PauseDeployment(web, true),
            Kind::RollBack(web, None),
            Kind::PauseDeployment(web, false),
            Kind::RollBack(web, None),
            Kind::UpdateDeployment { deployment: web, spec: Arc::new(spec), keeps_replicas: true },
        ];
        plan.actions.extend(kinds.map(|kind| crate::plan::Action { at: START, kind }));
        let mut world = World::new(&plan);
        let first = world.create_replica_set(web, 2);
        world.annotate_replica_set(first, 1, 2, 2);
        world.scale_deployment(web, 7, None);
        let (mut queue, mut recorder) = (Queue::<Any>::new(), Recorder::new(Detail::Facts));
        let mut seen = Vec::new();
        for index in 0..plan.actions.len() {
            let (queue, recorder) = (&mut queue, &mut recorder);
            let mut cx = Cx { now: START, plan: &plan, world: &mut world, queue, recorder, random: None };
            Script::default().handle(&mut cx, Event::Action(ActionId::at(index)));
            if index == 0 {
                let second = world.create_replica_set(web, 0);
                world.annotate_replica_set(second, 2, 7, 7);
            }
            let entry = &world.deployments[0];
            assert_eq!((entry.replicas, entry.spec.replicas), (7, 7));
            seen.push((entry.spec.template.0, entry.spec.paused, entry.generation));
        }
        // The second rollout changes nothing, the first undo is refused in the pause; what is applied is there already.
        let expected =
            [(1, false, 3), (1, false, 3), (1, true, 4), (1, true, 4), (1, false, 5), (0, false, 6), (0, false, 6)];
        assert_eq!(seen, expected);
    }

    #[test]
    fn a_spot_interruption_hits_running_spot_instances_of_the_zone_and_a_failed_machine_stops() {
        let mut plan = Plan::empty(START, Span::from_secs(10));
        let kinds = [
            FaultKind::SpotInterruption { instance_type: None, zone: Some(ZoneId(1)) },
            FaultKind::NodeFailure(NodeChoice::Named("n".into())),
        ];
        plan.faults.extend(kinds.map(|kind| Fault { at: START, until: None, kind }));
        let mut world = World::new(&plan);
        let launches = [(1, CapacityType::Spot), (1, CapacityType::OnDemand), (0, CapacityType::Spot)];
        let instances = launches.map(|(zone, capacity)| {
            let kind = crate::plan::InstanceTypeId(0);
            world.launch_instance(None, kind, ZoneId(zone), capacity, MicroDollars(1))
        });
        let node = add_node(&mut world, "n", Some(instances[1]));
        let (mut queue, mut recorder) = (Queue::<Any>::new(), Recorder::new(Detail::Facts));
        let (queue, recorder) = (&mut queue, &mut recorder);
        let mut cx = Cx { now: START, plan: &plan, world: &mut world, queue, recorder, random: None };
        let mut script = Script::default();
        script.handle(&mut cx, Event::Begin(FaultId(0)));
        script.handle(&mut cx, Event::Begin(FaultId(1)));
        let noticed = instances.map(|instance| world.instances[instance.index()].interrupted.is_some());
        assert_eq!(noticed, [true, false, false]);
        assert!(!world.node(node).alive);
        assert_eq!(world.instances[instances[1].index()].state, InstanceState::ShuttingDown);
        assert_eq!(world.faults, [true, true]);
    }
}
