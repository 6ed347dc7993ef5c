//! What is kept of decisions against decisions that know nothing of any before: random clusters, random changes.

use super::super::decide::{Decision, decide};
use super::super::view::{Assumed, Cluster, View};
use crate::components::kubernetes::testbed::{self, Testbed, node, template};
use crate::engine::Span;
use crate::plan::{
    Container, ContainerPort, DeploymentId, DeploymentSpec, Plan, PodAffinityTerm, PodTemplate, ServiceSpec, Strategy,
    TemplateId, TopologySpread,
};
use crate::rules::labels::{LabelSelector, Labels};
use crate::rules::quantity::Millicores;
use crate::rules::requirement::{NodeOperator, NodeRequirement, NodeSelectorTerm};
use crate::rules::resources::Resources;
use crate::rules::taint::{Taint, TaintEffect};
use crate::world::{DeleteCause, NewPod, NodeId, Owner, PodId, PodPhase, ReplicaSetId, World};
use proptest::prelude::*;
use std::sync::Arc;

const ZONE: &str = "topology.kubernetes.io/zone";
const HOST: &str = "kubernetes.io/hostname";

fn labels(name: &str) -> Labels {
    Labels::from([("app".to_string(), name.to_string())])
}

fn selector(name: &str) -> Option<LabelSelector> {
    Some(LabelSelector::from_labels(&labels(name)))
}

fn spread(hard: bool, key: &str, max_skew: i32, name: &str) -> TopologySpread {
    TopologySpread {
        max_skew,
        topology_key: key.into(),
        hard,
        selector: selector(name),
        min_domains: None,
        honor_affinity: true,
        honor_taints: hard,
        match_label_keys: Vec::new(),
    }
}

fn near(key: &str, name: &str) -> PodAffinityTerm {
    PodAffinityTerm {
        selector: selector(name),
        topology_key: key.into(),
        namespaces: Default::default(),
        namespace_selector: None,
    }
}

fn in_zones(zones: &[&str]) -> NodeSelectorTerm {
    NodeSelectorTerm { expressions: vec![NodeRequirement::new(ZONE, NodeOperator::In, zones)], fields: Vec::new() }
}

/// One template for each way in which a node can matter to a pod.
fn templates() -> Vec<PodTemplate> {
    let named = |name: &str, cpu: i64| PodTemplate { labels: labels(name), ..template(cpu) };
    let mut all: Vec<PodTemplate> = ["a", "a", "b", "b", "a", "b", "a", "b", "c"].map(|name| named(name, 100)).to_vec();
    all[1].topology_spread = vec![spread(true, ZONE, 2, "a"), spread(false, HOST, 1, "a")];
    all[2].topology_spread =
        vec![spread(false, HOST, 1, "b"), spread(false, HOST, 2, "a"), spread(false, ZONE, 1, "b")];
    all[3].affinity.anti_required = vec![near(HOST, "b")];
    all[4].affinity.pod_preferred = vec![(50, near(ZONE, "b"))];
    all[4].affinity.node_preferred = vec![(30, in_zones(&["x"])), (20, in_zones(&["x", "y"]))];
    all[5].node_selector = labels("special");
    all[5].tolerations.clear();
    all[6].containers[0].requests.extended.insert("example.com/card".to_string(), 1);
    all[7].containers[0].ports = vec![ContainerPort { host_port: 443, ..ContainerPort::default() }];
    all[8].containers = vec![Container { name: "bare".to_string(), ..Container::default() }];
    all[8].priority = 5;
    all
}

fn deployment(index: usize) -> Arc<DeploymentSpec> {
    Arc::new(DeploymentSpec {
        namespace: String::new(),
        name: format!("app-{index}"),
        replicas: 0,
        selector: LabelSelector::default(),
        template: TemplateId::at(index),
        strategy: Strategy::Recreate,
        min_ready: Span::ZERO,
        progress_deadline: Span::from_secs(600),
        revision_history_limit: 10,
        paused: false,
    })
}

/// A cluster that changes, with what a scheduler keeps of it.
struct Rig {
    plan: Plan,
    world: World,
    kept: Cluster,
    generation: u64,
    assumed: Assumed,
    nominated: Vec<(PodId, NodeId)>,
    /// Pods with the nodes that were chosen for them, in the scheduler's memory only.
    binding: Vec<(PodId, NodeId)>,
    start: usize,
}

impl Rig {
    fn new(nodes: usize) -> Rig {
        let mut plan = testbed::plan(templates());
        plan.deployments = (0..plan.templates.len()).map(deployment).collect();
        let mut world = World::new(&plan);
        (0..plan.deployments.len()).for_each(|index| {
            world.create_replica_set(DeploymentId::at(index), 0);
        });
        let mut rig = Rig {
            plan,
            kept: Cluster::of(&world),
            generation: 0,
            world,
            assumed: Assumed::default(),
            nominated: Vec::new(),
            binding: Vec::new(),
            start: 0,
        };
        (0..nodes).for_each(|index| rig.add_node(index));
        rig
    }

    fn add_node(&mut self, index: usize) {
        let mut new = node(&format!("n{index}"), 400 + 200 * (index as i64 % 3), ["x", "y", "z"][index % 3]);
        if index.is_multiple_of(4) {
            new.labels.extend(labels("special"));
            new.allocatable.extended.insert("example.com/card".to_string(), 2);
        }
        if index % 7 == 5 {
            new.labels.remove([ZONE, HOST][index % 2]);
        }
        Testbed::ready_node(&mut self.world, new);
    }

    fn node(&self, number: usize) -> NodeId {
        NodeId::at(number % self.world.nodes.len())
    }

    fn pod(&self, number: usize) -> Option<PodId> {
        let mut there = self.world.living.iter();
        let count = self.world.living.len();
        (count > 0).then(|| there.nth(number % count)).flatten()
    }

    fn decision(&self, cluster: &Cluster, pod: PodId) -> Decision {
        let (plan, world, assumed) = (&self.plan, &self.world, &self.assumed);
        decide(&View { plan, world, cluster, assumed, nominated: &self.nominated }, pod, self.start)
    }

    /// A pod is decided on with and without what is kept, and then bound, assumed, nominated or left.
    fn try_pod(&mut self, kind: usize, then: usize) -> Result<(), TestCaseError> {
        let template = TemplateId::at(kind % self.plan.templates.len());
        let set = ReplicaSetId::at(template.index());
        let owner = if then.is_multiple_of(5) { Owner::Bare } else { Owner::ReplicaSet(set) };
        let ordinal = self.world.pods.len() as u32 + 1;
        let pod = self.world.create_pod(NewPod { template, owner, ordinal, pinned: None, name: None });
        if self.kept.is_outdated(&self.world) || self.generation != self.world.census().generation() {
            self.kept.renew(&self.world);
            self.generation = self.world.census().generation();
        }
        let seen = |decision: Decision| {
            let Decision { refused, feasible, scores, total, best, evaluated, next_start, .. } = decision;
            (refused, feasible, scores, total, best, evaluated, next_start)
        };
        let fresh = Cluster::of(&self.world);
        let with = self.decision(&self.kept, pod);
        let (best, next_start) = (with.best.clone(), with.next_start);
        let with = seen(with);
        prop_assert_eq!(&with, &seen(self.decision(&fresh, pod)), "template {}, by kind", template.0);
        let plain = fresh.outdated();
        prop_assert_eq!(&with, &seen(self.decision(&plain, pod)), "template {}, node by node", template.0);
        self.start = next_start;
        match best.get(then % best.len().max(1)) {
            Some(&node) if then % 3 < 2 => self.world.bind_pod(pod, node),
            Some(&node) if then % 3 == 2 && then.is_multiple_of(2) => {
                self.assumed.add(pod, node);
                self.assumed.list(&self.world, pod, node);
                self.binding.push((pod, node));
            }
            _ => {
                let node = self.node(then);
                self.nominated = vec![(pod, node)];
                self.world.nominate_pod(pod, Some(node));
            }
        }
        Ok(())
    }

    /// The oldest binding under way succeeds or fails.
    fn end_binding(&mut self, succeeds: bool) {
        if self.binding.is_empty() {
            return;
        }
        let (pod, node) = self.binding.remove(0);
        self.assumed.remove(pod, node);
        if succeeds && self.world.pod(pod).is_active() && self.world.pod(pod).node.is_none() {
            self.world.bind_pod(pod, node);
        } else {
            self.assumed.unlist(pod, node);
        }
    }

    fn change_pod(&mut self, what: usize, number: usize) {
        let Some(pod) = self.pod(number) else { return };
        match what {
            0 => self.world.delete_pod(pod, Some(Span::from_secs(30)), DeleteCause::User),
            1 => {
                self.binding.retain(|&(other, node)| other != pod || !self.assumed.remove(pod, node));
                self.nominated.retain(|(other, _)| *other != pod);
                self.world.remove_pod(pod);
            }
            2 => self.world.set_pod_phase(pod, PodPhase::Succeeded),
            _ => self.world.update_pod(pod, TemplateId::at(number % self.plan.templates.len())),
        }
    }

    fn change_node(&mut self, what: usize, number: usize) {
        let node = self.node(number);
        if self.world.node(node).gone.is_some() {
            return;
        }
        let effects = [TaintEffect::PreferNoSchedule, TaintEffect::NoSchedule, TaintEffect::NoExecute];
        let taint = Taint::new("k", effects[number % 3]);
        match what {
            0 => self.world.add_taint(node, taint),
            1 => self.world.remove_taint(node, &taint),
            2 => self.world.set_unschedulable(node, number.is_multiple_of(2)),
            3 => self.world.set_node_label(node, ZONE, ["x", "y", "w"][number % 3]),
            4 => {
                let entry = self.world.node(node);
                let (labels, taints, cordon) = ((*entry.labels).clone(), entry.taints.clone(), entry.unschedulable);
                let more = Millicores(300 + number as i64 % 500);
                let allocatable = Resources { cpu: more, ..entry.allocatable.clone() };
                self.world.update_node(node, labels, taints, cordon, allocatable);
            }
            _ => self.world.remove_node(node),
        }
    }

    fn step(&mut self, (kind, one, other): (u8, u16, u16)) -> Result<(), TestCaseError> {
        let (one, other) = (usize::from(one), usize::from(other));
        match kind % 16 {
            0..=7 => self.try_pod(one, other)?,
            8 if !self.binding.is_empty() => self.end_binding(!one.is_multiple_of(4)),
            8 | 9 => self.change_pod(0, other),
            10 | 11 => self.change_pod(one % 4, other),
            12 | 13 => self.change_node(one % 5, other),
            14 if one.is_multiple_of(4) => {
                self.world.create_service(ServiceSpec { selector: selector("a"), ..ServiceSpec::default() });
            }
            14 if one % 4 == 1 => self.change_node(5, other),
            _ => self.add_node(self.world.nodes.len()),
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn decisions_with_what_is_kept_are_those_without(
        nodes in prop_oneof![9 => 1..12_usize, 1 => 101..110_usize],
        steps in prop::collection::vec(any::<(u8, u16, u16)>(), 1..60),
    ) {
        let mut rig = Rig::new(nodes);
        for step in steps {
            rig.step(step)?;
        }
    }
}
