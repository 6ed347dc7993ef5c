//! What is there at the start, and what happens by script: nodes and pods, faults, actions.

use super::fault::{LoadBalancerCall, NodeProblem, Program, SlowPart};
use super::ids::{AppId, DeploymentId, InstanceTypeId, NodePoolId, TargetGroupId, TemplateId, ZoneId};
use super::node_pool::CapacityType;
use super::workload::DeploymentSpec;
use super::{Curve, HpaSpec, NodePoolSpec, PdbSpec};
use crate::engine::Time;
use crate::rules::labels::Labels;
use crate::rules::quantity::Bytes;
use crate::rules::resources::Resources;
use crate::rules::taint::Taint;
use std::sync::Arc;

/// A node that exists at the start, Ready and (when it belongs to a pool) initialised.
#[derive(Clone, Debug, PartialEq)]
pub struct InitialNode {
    /// Its name.
    pub name: String,
    /// The pool that owns it; `None`: not Karpenter's.
    pub node_pool: Option<NodePoolId>,
    /// Its type, if it has one.
    pub instance_type: Option<InstanceTypeId>,
    /// Its zone, if it has one.
    pub zone: Option<ZoneId>,
    /// How it is paid.
    pub capacity_type: CapacityType,
    /// Labels beyond those of pool and type.
    pub labels: Labels,
    /// Taints.
    pub taints: Vec<Taint>,
    /// Allocatable, if it differs from the type's.
    pub allocatable: Option<Resources>,
    /// Cordoned.
    pub unschedulable: bool,
    /// Images on it beyond the cached ones, with sizes.
    pub images: Vec<(String, Bytes)>,
}

/// A bare pod that exists at the start.
#[derive(Clone, Debug, PartialEq)]
pub struct InitialPod {
    /// Its name.
    pub name: String,
    /// Its spec.
    pub template: TemplateId,
    /// Bound to this node (position in `Plan::nodes`), Running and Ready.
    pub node: Option<usize>,
}

/// A scripted action of an operator.
#[derive(Clone, Debug)]
pub struct Action {
    /// When.
    pub at: Time,
    /// What.
    pub kind: ActionKind,
}

/// An object of the plan that an operator applies during the run: it does not exist before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// A Deployment.
    Deployment(DeploymentId),
    /// An autoscaler.
    Hpa(super::HpaId),
    /// A budget.
    Pdb(super::PdbId),
    /// A NodePool.
    NodePool(NodePoolId),
    /// A DaemonSet.
    DaemonSet(super::DaemonSetId),
    /// A Node without a NodeClaim (position in `Plan::nodes`); its kubelet makes it Ready.
    Node(usize),
    /// A bare pod (position in `Plan::pods`).
    Pod(usize),
}

/// What an operator does.
#[derive(Clone, Debug)]
pub enum ActionKind {
    /// `kubectl apply` of an object that is not there yet.
    Create(Applied),
    /// `kubectl delete` of such an object.
    Delete(Applied),
    /// `kubectl cordon` (true) or `uncordon` of a node.
    Cordon(NodeChoice, bool),
    /// `kubectl drain --ignore-daemonsets`: a cordon, and then evictions, tried again until they are granted.
    Drain(NodeChoice),
    /// `kubectl delete pod`.
    DeletePod(PodChoice),
    /// Annotates a node, or takes the annotation away.
    AnnotateNode(NodeChoice, String, Option<String>),
    /// Takes a taint from a node.
    Untaint(NodeChoice, Taint),
    /// Labels a node: key and value.
    LabelNode(NodeChoice, String, String),
    /// `kubectl scale`.
    ScaleDeployment(DeploymentId, i32),
    /// Applies a Deployment: the whole new spec.
    UpdateDeployment {
        /// Which.
        deployment: DeploymentId,
        /// The new spec.
        spec: Arc<DeploymentSpec>,
        /// It says nothing of `replicas`: they stay as they are.
        keeps_replicas: bool,
    },
    /// `kubectl set image` or `kubectl rollout restart`: another pod template.
    RollOut(DeploymentId, TemplateId),
    /// `kubectl rollout pause` (true) or `resume`.
    PauseDeployment(DeploymentId, bool),
    /// `kubectl rollout undo` to a revision; `None`: to the last but one.
    RollBack(DeploymentId, Option<u32>),
    /// Edits an HPA (position in `Plan::hpas`).
    UpdateHpa(super::HpaId, Arc<HpaSpec>),
    /// Edits a budget.
    UpdatePdb(super::PdbId, Arc<PdbSpec>),
    /// Edits a NodePool.
    UpdateNodePool(NodePoolId, Arc<NodePoolSpec>),
    /// Deletes the NodeClaim of a node by name, or of the node with the most pods.
    DeleteNodeClaim(NodeChoice),
    /// Deletes a Node object.
    DeleteNode(NodeChoice),
    /// Adds a taint to a node.
    TaintNode(NodeChoice, Taint),
    /// Replaces the load of an app from now on.
    SetLoad(AppId, Curve),
}

impl ActionKind {
    /// The node that it is about.
    pub fn node(&self) -> Option<&NodeChoice> {
        match self {
            ActionKind::DeleteNodeClaim(choice)
            | ActionKind::DeleteNode(choice)
            | ActionKind::TaintNode(choice, _)
            | ActionKind::Untaint(choice, _)
            | ActionKind::Cordon(choice, _)
            | ActionKind::Drain(choice)
            | ActionKind::AnnotateNode(choice, ..)
            | ActionKind::LabelNode(choice, ..) => Some(choice),
            _ => None,
        }
    }
}

/// Which pods an action means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PodChoice {
    /// By name.
    Named(String),
    /// So many of a Deployment's, the oldest first.
    Oldest(DeploymentId, u32),
    /// The one that a Deployment made so many pods after its first, as a recording knows it.
    Recorded(DeploymentId, u32),
}

/// Which node an action means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeChoice {
    /// By name.
    Named(String),
    /// The one with the most pods that are no DaemonSet's; ties by name.
    Fullest,
    /// Every node.
    All,
    /// One of Karpenter's nodes that a recording calls by a name given at random: that of the NodeClaim made so many claims
    /// after the first or, where it is known how many pods it held, the one that holds as many when it is first meant.
    Recorded {
        /// Place of its NodeClaim in the order of creation.
        claim: u32,
        /// Pods on it at that time.
        pods: Option<u32>,
    },
}

/// A scripted fault.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    /// When it begins.
    pub at: Time,
    /// When it ends; `None`: a single instant, or until the end of the run.
    pub until: Option<Time>,
    /// What goes wrong.
    pub kind: FaultKind,
}

/// What can go wrong.
#[derive(Clone, Debug, PartialEq)]
pub enum FaultKind {
    /// EC2 gives the two-minute notice to every spot instance of a pool (type and zone; `None`: any).
    SpotInterruption {
        /// Only this type.
        instance_type: Option<InstanceTypeId>,
        /// Only this zone.
        zone: Option<ZoneId>,
    },
    /// EC2 recommends to replace spot instances of a pool (type and zone; `None`: any); nothing else happens to them.
    RebalanceRecommendation {
        /// Only this type.
        instance_type: Option<InstanceTypeId>,
        /// Only this zone.
        zone: Option<ZoneId>,
    },
    /// Spot prices of a type and a zone (`None`: any) are so many times what they were, at most the price on demand.
    SpotPrice {
        /// Only this type.
        instance_type: Option<InstanceTypeId>,
        /// Only this zone.
        zone: Option<ZoneId>,
        /// How many times.
        factor: f64,
    },
    /// A node fails without notice: kubelet and pods stop answering.
    NodeFailure(NodeChoice),
    /// A node is unhealthy while it lasts: its kubelet reports that it is not Ready, or an agent that something is wrong.
    NodeUnhealthy {
        /// Which.
        node: NodeChoice,
        /// What; `None`: Ready itself.
        problem: Option<NodeProblem>,
    },
    /// No capacity for matching offerings while it lasts.
    InsufficientCapacity {
        /// Only this type.
        instance_type: Option<InstanceTypeId>,
        /// Only this zone.
        zone: Option<ZoneId>,
        /// Only this capacity type.
        capacity_type: Option<CapacityType>,
    },
    /// The application answers health checks with an error.
    HealthCheckFails(TargetGroupId),
    /// A security group drops what comes from the load balancer to targets of a group.
    SecurityGroupBlocks {
        /// Whose targets.
        target_group: TargetGroupId,
        /// Only health checks, which have a port of their own.
        only_checks: bool,
    },
    /// The subnets of a zone (`None`: all) have no free address: sandboxes fail, and launches do.
    SubnetFull(Option<ZoneId>),
    /// A zone is lost: its machines stop answering and none is launched there.
    ZoneFailure(ZoneId),
    /// IAM denies a call (`None`: all calls) to the load balancer controller.
    ControllerDenied(Option<LoadBalancerCall>),
    /// This share of the calls to the load balancer's API is throttled.
    LoadBalancerThrottling(f64),
    /// A program with controllers is down, between two leaders or while it restarts.
    ControllerDown(Program),
    /// Requests, or a part of them, take so many times as long.
    Slowdown(AppId, f64, SlowPart),
    /// Image pulls take so many times as long.
    SlowRegistry(f64),
    /// The ReplicaSet controller's calls of this kind fail.
    PodCallsFail(PodCall),
}

/// What a controller asks the API server to do with a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PodCall {
    /// Create it.
    Create,
    /// Delete it.
    Delete,
}

/// What somebody claims about the system, and what we expect the verdict to be.
#[derive(Clone, Debug, PartialEq)]
pub struct Claim {
    /// The claim in its author's words.
    pub text: String,
    /// The statement that is checked.
    pub check: crate::rules::expectation::Expectation,
    /// The verdict that is expected.
    pub expect: crate::rules::expectation::Verdict,
    /// Why.
    pub because: String,
}
