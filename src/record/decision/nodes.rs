//! What Karpenter and EC2 decide about nodes, as it is told: where pods are to go, what was bought, which nodes go.

use crate::engine::Time;
use crate::plan::{CapacityType, InstanceTypeId, MicroDollars, NodePoolId, ZoneId};
use crate::world::{ClaimId, DisruptionReason, NodeId, PodId};
use std::sync::Arc;

/// Where a pass of the provisioner puts pods.
#[derive(Clone, Debug, PartialEq)]
pub enum Placement {
    /// On a new NodeClaim.
    New(Planned),
    /// On a node that exists or is on its way.
    Existing {
        /// Its name, or that of its NodeClaim.
        name: Arc<str>,
        /// The node.
        node: Option<NodeId>,
        /// Its claim.
        claim: Option<ClaimId>,
        /// It is initialised; otherwise it is still on its way.
        initialized: bool,
        /// The pods.
        pods: Vec<PodId>,
    },
    /// Nowhere.
    Nowhere(Unplaced),
}

impl Placement {
    /// The pods.
    pub fn pods(&self) -> &[PodId] {
        match self {
            Placement::New(planned) => &planned.pods,
            Placement::Existing { pods, .. } => pods,
            Placement::Nowhere(unplaced) => std::slice::from_ref(&unplaced.pod),
        }
    }

    /// Both say the same of the same node and of much the same pods, or find no place for the same pod.
    pub fn repeats(&self, other: &Placement) -> bool {
        match (self, other) {
            (
                Placement::Existing { name, initialized, pods, .. },
                Placement::Existing { name: again, initialized: then, pods: others, .. },
            ) => name == again && initialized == then && pods == others,
            (Placement::Nowhere(one), Placement::Nowhere(other)) => one == other,
            _ => false,
        }
    }
}

/// A NodeClaim that a pass wants.
#[derive(Clone, Debug, PartialEq)]
pub struct Planned {
    /// As it was created; `None`: the limits of its pool did not allow it.
    pub claim: Option<ClaimId>,
    /// Its pool.
    pub pool: NodePoolId,
    /// Its pods.
    pub pods: Vec<PodId>,
    /// Why nodes that exist did not take the first of them, and how many.
    pub nodes: Vec<(&'static str, usize)>,
    /// Pools that come before its pool, and why they do not take the first of its pods.
    pub passed_over: Vec<(NodePoolId, &'static str)>,
    /// How many instance types it may become.
    pub options: usize,
    /// How many its pool allows.
    pub allowed: usize,
    /// The cheapest ways to have one of them, dearer ones last.
    pub cheapest: Vec<Offer>,
    /// Types of the catalogue that it may not become, by why.
    pub out: Vec<Out>,
}

/// Instance types that are no option, for one reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Out {
    /// Why.
    pub why: String,
    /// How many.
    pub count: usize,
    /// The cheapest of them.
    pub example: InstanceTypeId,
}

/// One way to have an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    /// The type.
    pub instance_type: InstanceTypeId,
    /// Where.
    pub zone: ZoneId,
    /// How it is paid.
    pub capacity_type: CapacityType,
    /// For how much an hour.
    pub price: MicroDollars,
}

/// A pod that no node and no pool takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unplaced {
    /// The pod.
    pub pod: PodId,
    /// Why, for each pool that was asked.
    pub pools: Vec<(NodePoolId, &'static str)>,
    /// Why it is not even tried, or what else stands in the way.
    pub why: Option<String>,
}

/// A call of CreateFleet and its answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Launch {
    /// For which claim.
    pub claim: ClaimId,
    /// Ways to launch that the call listed.
    pub listed: usize,
    /// What was launched.
    pub launched: Option<Offer>,
    /// What had no capacity.
    pub refused: Vec<Offer>,
    /// What would do and was not asked for, because it had no capacity a short while ago.
    pub avoided: Vec<Offer>,
    /// Until when the refused ones are not asked for again.
    pub until: Time,
}

/// How far a disruption command is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It was found, and is looked at again then.
    Found(Time),
    /// It is carried out.
    Started,
    /// It is not valid any more, for that reason.
    GivenUp(&'static str),
}

/// A command of Karpenter's disruption.
#[derive(Clone, Debug, PartialEq)]
pub struct Disruption {
    /// How far it is.
    pub stage: Stage,
    /// The method that found it.
    pub method: &'static str,
    /// Why the nodes go.
    pub reason: DisruptionReason,
    /// The nodes that go.
    pub removed: Vec<Removed>,
    /// The claims that come instead: their types, and the cheapest of them.
    pub replacements: Vec<(usize, Option<Offer>)>,
    /// The claims as they were created.
    pub created: Vec<ClaimId>,
    /// Nodes that take pods.
    pub takers: Vec<Arc<str>>,
}

/// A node that goes.
#[derive(Clone, Debug, PartialEq)]
pub struct Removed {
    /// The node.
    pub node: NodeId,
    /// Its claim.
    pub claim: ClaimId,
    /// What it costs an hour, dollars.
    pub price: f64,
    /// Pods that have to move.
    pub pods: Vec<PodId>,
}
