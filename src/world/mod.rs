//! The world: everything that exists, and the only functions that change it.
//!
//! It plays the API server and AWS's own state. It has no policy and lets no time pass: components read it and call the
//! functions here; each change is put into the journal, from which the record is written and the wiring wakes whoever
//! watches. Ids are positions and are never reused; what is gone stays in its arena with the time at which it went.

pub mod advice;
pub mod bill;
pub mod capacity;
pub mod census;
mod change;
pub mod check;
pub mod cloud_metrics;
mod cluster_metrics;
pub mod credits;
pub mod custom_metrics;
pub mod ec2_api;
pub mod endpoint_slice;
pub mod eviction;
pub mod headcount;
pub mod histogram;
pub mod id_set;
pub mod ids;
mod known;
pub mod ledger;
pub mod losses;
pub mod node;
pub mod node_status;
pub mod offering;
pub mod pod;
pub mod price;
pub mod request;
pub mod rollout;
pub mod room;
pub mod scale;
mod selected;
pub mod target;
pub mod usage;
pub mod volume;
pub mod workload;

pub use advice::{Recommendation, RecommendedAmounts};
pub use bill::Bill;
use cloud_metrics::HostCount;

pub use change::{AlarmState, Change, DeleteCause, DisruptionReason, NodeReadiness};
pub use custom_metrics::CustomMetrics;
pub use endpoint_slice::{
    EndpointAddress, EndpointPort, EndpointSlice, SliceEdit, SliceEndpoint, SliceWriteCounts, SliceWrites,
};
pub use eviction::{Eviction, EvictionRequest};
pub use headcount::Headcount;
pub use histogram::Histogram;
pub use id_set::{NodeSet, PodSet};
pub use ids::*;
pub use ledger::{Ledger, Loss, REQUEST, Tally};
pub use losses::{LossPlace, LossWindow, Losses};
pub use node::{Instance, InstanceState, NewClaim, NewNode, Node, NodeClaim};
pub use node_status::{NodeStatus, Renewals};
pub use offering::UnavailableOfferings;
pub use pod::{Address, ContainerStatus, Ipv6Address, NewPod, Owner, Pod, PodObject, PodPhase, Process};
pub use request::{Answer, CheckError, Flow, Outlook, Prospect, Request, RequestId, Requests, Routed, Sent, Share};
pub use rollout::{
    Deployment, DeploymentCondition, DeploymentReason, DeploymentStatus, FailureReason, ReplicaSet, ReplicaSetStatus,
};
pub use scale::{Scale, ScaleError, ScaleSelector, ScaleTarget, ScaleVersion, Scales};
pub use selected::Selected;
pub use target::{Endpoint, Target, TargetReason, TargetState};
pub use usage::CpuMeter;
pub use workload::{
    ContainerUsage, Hpa, HpaCondition, HpaOutcome, HpaReason, HpaStatus, MetricValue, Pdb, PdbReason, PodMetrics,
};

use crate::engine::{Span, Time};
use crate::plan::{
    ActionId, AlarmId, Applied, DaemonSetId, DaemonSetSpec, FaultId, NodePoolId, NodePoolSpec, Plan, PodTemplate,
    ServiceSpec, TemplateId, Volumes,
};
use std::sync::Arc;

/// A condition: status and last transition, whole seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Condition {
    /// True or False; `None`: the condition is absent.
    pub status: Option<bool>,
    /// Last transition, cut to the second.
    pub since: Time,
    /// The same instant uncut.
    pub exact: Time,
}

impl Condition {
    /// An absent condition.
    pub const fn unset() -> Condition {
        Condition { status: None, since: Time::ZERO, exact: Time::ZERO }
    }

    /// Is it True?
    pub fn is_true(&self) -> bool {
        self.status == Some(true)
    }

    /// Sets it; true if that changed anything.
    fn set(&mut self, status: bool, now: Time) -> bool {
        if self.status == Some(status) {
            return false;
        }
        *self = Condition { status: Some(status), since: now.whole_second(), exact: now };
        true
    }
}

/// Counters for conservation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Pods ever created.
    pub pods_created: u64,
    /// Pods whose objects have vanished.
    pub pods_gone: u64,
}

/// Everything that exists.
#[derive(Clone, Debug)]
pub struct World {
    /// The present instant; set by the engine before each event.
    pub now: Time,
    /// Pod templates of the plan.
    pub templates: Vec<Arc<PodTemplate>>,
    /// Pods.
    pub pods: Vec<Pod>,
    /// Pods whose objects exist, in order of creation.
    pub living: PodSet,
    /// Those of them that the scheduler found no node for, and has not bound since.
    pub unschedulable: PodSet,
    /// CPU meters of pods, by pod.
    pub cpu: Vec<CpuMeter>,
    /// Nodes.
    pub nodes: Vec<Node>,
    /// NodeClaims.
    pub claims: Vec<NodeClaim>,
    /// NodeClaims ever created, by pool.
    pub claims_of_pool: Vec<u32>,
    /// Instances.
    pub instances: Vec<Instance>,
    /// What they cost together.
    pub bill: Bill,
    /// NodePools as they are now.
    pub node_pools: Vec<Arc<NodePoolSpec>>,
    /// Deployments.
    pub deployments: Vec<Deployment>,
    /// DaemonSets.
    pub daemon_sets: Vec<Arc<DaemonSetSpec>>,
    /// Those that do not exist yet, or no more.
    pub absent_daemon_sets: std::collections::BTreeSet<DaemonSetId>,
    /// ReplicaSets.
    pub replica_sets: Vec<ReplicaSet>,
    /// Pods that may exist at most (a ResourceQuota's `pods`), by namespace.
    pub pod_quotas: std::collections::BTreeMap<String, u32>,
    /// Autoscalers.
    pub hpas: Vec<Hpa>,
    /// Scalable objects beside the Deployments.
    pub scales: Scales,
    /// Budgets.
    pub pdbs: Vec<Pdb>,
    /// Services.
    pub services: Vec<Arc<ServiceSpec>>,
    /// Endpoints by Service.
    pub endpoints: Vec<Vec<Endpoint>>,
    /// EndpointSlices by Service.
    pub slices: Vec<Vec<EndpointSlice>>,
    /// Writes of EndpointSlices so far.
    pub slice_writes: SliceWriteCounts,
    /// Targets.
    pub targets: Vec<Target>,
    /// Targets of each group that have not left it.
    pub group_targets: Vec<Vec<TargetId>>,
    /// Pods that were registered as targets, whatever became of them.
    pub target_pods: PodSet,
    /// How many targets of each group were healthy and unhealthy, over time.
    hosts: Vec<Vec<HostCount>>,
    /// What the Vertical Pod Autoscaler recommends.
    advice: advice::Advice,
    /// Resource metrics by pod.
    pod_metrics: Vec<Option<PodMetrics>>,
    /// Pods for which they are served.
    pub measured: PodSet,
    /// Custom and external metrics.
    pub custom_metrics: CustomMetrics,
    /// Requests by application.
    pub ledgers: Vec<Ledger>,
    /// Requests on their way.
    pub requests: Requests,
    /// Load offered to each application: cores if its load is given so, else requests a second.
    pub loads: Vec<crate::plan::Curve>,
    /// Fluid traffic by application.
    pub flows: Vec<Flow>,
    /// States of alarms.
    pub alarms: Vec<AlarmState>,
    /// Faults that are in force.
    pub faults: Vec<bool>,
    /// Pools of EC2 capacity, as in the plan.
    pub capacity_pools: Vec<capacity::PoolState>,
    /// The chance of the condition under which this run was drawn; 1 without one. What is counted in such runs is worth so much.
    pub likelihood: f64,
    /// Offerings that Karpenter believes sold out.
    pub unavailable_offerings: UnavailableOfferings,
    /// Spot prices that move.
    pub prices: price::Prices,
    /// What the EC2 API admits.
    pub ec2: ec2_api::Ec2Api,
    /// Persistent volumes as they are now.
    pub volumes: Arc<Volumes>,
    /// Which of them are attached to which nodes.
    pub attachments: Vec<volume::Attachment>,
    /// Counters for conservation.
    pub counts: Counts,
    /// Selectors of controllers that run elsewhere (StatefulSets, lone ReplicaSets), by the pod they own.
    pub controller_selectors: std::collections::BTreeMap<PodId, crate::rules::labels::LabelSelector>,
    census: census::Census,
    headcounts: headcount::Headcounts,
    services_version: u64,
    next_address: u32,
    /// How long an address rests; `None`: none is given twice.
    address_cooldown: Option<Span>,
    /// Addresses that pods of a node have given up, and since when.
    free_addresses: Vec<(NodeId, Address, Time)>,
    cluster_version: u64,
    candidates_version: u64,
    /// Changes so far of what EndpointSlices are made of.
    slices_version: u64,
    /// That of the last change that was not of one pod alone.
    slices_renewed: u64,
    /// That of the last change of each pod; shorter than the list of pods.
    slices_moved: Vec<u64>,
    /// How often the spec of a pod was replaced.
    pod_edits: u64,
    journal: Vec<Change>,
}

impl World {
    /// The world before anything is in it but the objects of the plan (no pods, no nodes).
    pub fn new(plan: &Plan) -> World {
        let created = plan.start.back(plan.initial_age);
        World {
            now: plan.start,
            templates: plan.templates.clone(),
            pods: Vec::new(),
            living: PodSet::default(),
            unschedulable: PodSet::default(),
            cpu: Vec::new(),
            nodes: Vec::new(),
            claims: Vec::new(),
            claims_of_pool: vec![0; plan.node_pools.len()],
            instances: Vec::new(),
            bill: Bill::default(),
            node_pools: (plan.node_pools.iter().enumerate())
                .map(|(index, spec)| {
                    let later = plan.is_applied_later(Applied::NodePool(NodePoolId::at(index)));
                    if later { Arc::new(NodePoolSpec { usable: false, ..(**spec).clone() }) } else { spec.clone() }
                })
                .collect(),
            deployments: plan
                .deployments
                .iter()
                .enumerate()
                .map(|(index, spec)| {
                    let id = crate::plan::DeploymentId::at(index);
                    let mut entry = Deployment::new(id, spec.clone(), created);
                    if plan.is_applied_later(Applied::Deployment(id)) {
                        (entry.exists, entry.replicas) = (false, 0);
                    }
                    entry
                })
                .collect(),
            daemon_sets: plan.daemon_sets.clone(),
            absent_daemon_sets: (0..plan.daemon_sets.len())
                .map(DaemonSetId::at)
                .filter(|&id| plan.is_applied_later(Applied::DaemonSet(id)))
                .collect(),
            replica_sets: Vec::new(),
            pod_quotas: plan.pod_quotas.clone(),
            hpas: plan
                .hpas
                .iter()
                .enumerate()
                .map(|(index, spec)| Hpa {
                    id: crate::plan::HpaId::at(index),
                    spec: spec.clone(),
                    target: plan
                        .deployments
                        .iter()
                        .position(|deployment| spec.scales(deployment))
                        .map(crate::plan::DeploymentId::at),
                    created,
                    status: HpaStatus::default(),
                    metrics: Vec::new(),
                    exists: !plan.is_applied_later(Applied::Hpa(crate::plan::HpaId::at(index))),
                    version: 0,
                    outcome: HpaOutcome::default(),
                })
                .collect(),
            scales: Scales::default(),
            pdbs: plan
                .pdbs
                .iter()
                .enumerate()
                .map(|(index, spec)| Pdb {
                    id: crate::plan::PdbId::at(index),
                    spec: if plan.is_applied_later(Applied::Pdb(crate::plan::PdbId::at(index))) {
                        // It selects nothing before it is there.
                        Arc::new(crate::plan::PdbSpec { selector: None, ..(**spec).clone() })
                    } else {
                        spec.clone()
                    },
                    current_healthy: 0,
                    desired_healthy: 0,
                    expected_pods: 0,
                    disruptions_allowed: 0,
                    disrupted: Vec::new(),
                    observed: false,
                    reason: None,
                })
                .collect(),
            services: plan.services.clone(),
            endpoints: vec![Vec::new(); plan.services.len()],
            slices: vec![Vec::new(); plan.services.len()],
            slice_writes: SliceWriteCounts::default(),
            targets: Vec::new(),
            group_targets: vec![Vec::new(); plan.target_groups.len()],
            target_pods: PodSet::default(),
            hosts: vec![Vec::new(); plan.target_groups.len()],
            advice: advice::Advice::default(),
            pod_metrics: Vec::new(),
            measured: PodSet::default(),
            custom_metrics: CustomMetrics::default(),
            ledgers: plan.apps.iter().map(|_| Ledger::lasting(plan.start, plan.until.since(plan.start))).collect(),
            requests: Requests::new(plan),
            loads: plan.apps.iter().map(|app| app.cores.as_ref().unwrap_or(&app.traffic).clone()).collect(),
            flows: vec![Flow::default(); plan.apps.len()],
            alarms: vec![AlarmState::InsufficientData; plan.alarms.len()],
            faults: vec![false; plan.faults.len()],
            capacity_pools: plan
                .capacity_pools
                .all()
                .iter()
                .map(|pool| capacity::PoolState::named(&pool.name))
                .collect(),
            likelihood: 1.0,
            unavailable_offerings: UnavailableOfferings::default(),
            prices: price::Prices::of(plan),
            ec2: ec2_api::Ec2Api::default(),
            volumes: Arc::new(plan.volumes.clone()),
            attachments: Vec::new(),
            counts: Counts::default(),
            controller_selectors: std::collections::BTreeMap::new(),
            census: census::Census::default(),
            headcounts: Default::default(),
            services_version: 0,
            next_address: 0x10,
            address_cooldown: plan.flags.kubelet.address_cooldown,
            free_addresses: Vec::new(),
            cluster_version: 0,
            candidates_version: 0,
            slices_version: 0,
            slices_renewed: 0,
            slices_moved: Vec::new(),
            pod_edits: 0,
            journal: Vec::new(),
        }
    }

    /// A pod.
    #[inline]
    pub fn pod(&self, id: PodId) -> &Pod {
        &self.pods[id.index()]
    }

    /// A node.
    #[inline]
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.index()]
    }

    /// A NodeClaim.
    pub fn claim(&self, id: ClaimId) -> &NodeClaim {
        &self.claims[id.index()]
    }

    /// The template of an id.
    #[inline]
    pub fn template(&self, id: TemplateId) -> &Arc<PodTemplate> {
        &self.templates[id.index()]
    }

    /// The template of a pod.
    #[inline]
    pub fn template_of(&self, pod: PodId) -> &Arc<PodTemplate> {
        &self.templates[self.pods[pod.index()].template.index()]
    }

    /// The Deployment that a pod belongs to.
    #[inline]
    pub fn deployment_of(&self, pod: PodId) -> Option<crate::plan::DeploymentId> {
        match self.pods[pod.index()].owner {
            Owner::ReplicaSet(id) => self.replica_sets[id.index()].deployment,
            _ => None,
        }
    }

    /// DaemonSets that exist.
    pub fn present_daemon_sets(&self) -> impl Iterator<Item = DaemonSetId> + '_ {
        (0..self.daemon_sets.len()).map(DaemonSetId::at).filter(|id| !self.absent_daemon_sets.contains(id))
    }

    /// A DaemonSet is applied (true) or deleted.
    pub fn set_daemon_set(&mut self, id: DaemonSetId, exists: bool) {
        let changed = if exists { self.absent_daemon_sets.remove(&id) } else { self.absent_daemon_sets.insert(id) };
        if changed {
            self.push(Change::DaemonSetChanged(id, exists));
        }
    }

    /// Edits a NodePool.
    pub fn update_node_pool(&mut self, pool: NodePoolId, spec: Arc<NodePoolSpec>) {
        self.node_pools[pool.index()] = spec;
        self.push(Change::NodePoolChanged(pool));
    }

    /// An alarm changes its state.
    pub fn set_alarm(&mut self, alarm: AlarmId, state: AlarmState) {
        if self.alarms[alarm.index()] != state {
            self.alarms[alarm.index()] = state;
            self.push(Change::AlarmChanged(alarm, state));
        }
    }

    /// A fault begins or ends.
    pub fn set_fault(&mut self, fault: FaultId, active: bool) {
        self.faults[fault.index()] = active;
        self.push(Change::FaultChanged(fault, active));
    }

    /// Notes that an action was carried out.
    pub fn note_action(&mut self, action: ActionId) {
        self.push(Change::ActionDone(action));
    }

    /// Notes that a batch of the provisioner closed.
    pub fn note_batch(&mut self, pods: u32) {
        self.push(Change::BatchClosed(pods));
    }

    /// Anything has changed since the last [`World::take_journal`].
    pub fn has_changes(&self) -> bool {
        !self.journal.is_empty()
    }

    /// Takes what has changed since the last call; the memory of `into`, if that is empty, serves what changes next.
    pub fn take_journal(&mut self, into: &mut Vec<Change>) {
        if into.is_empty() {
            std::mem::swap(into, &mut self.journal);
        } else {
            into.append(&mut self.journal);
        }
    }

    /// Counts the changes of pods, nodes, NodeClaims, NodePools and budgets that Karpenter's disruption and termination may act
    /// upon: while it stays, neither finds more to do at any one time than it found before.
    pub fn cluster_version(&self) -> u64 {
        self.cluster_version
    }

    /// As [`World::cluster_version`], but of those changes alone that may make a node a candidate for Karpenter's disruption, or give
    /// budgets of NodePools more room. Whether every claim has its instance is not counted.
    pub fn candidates_version(&self) -> u64 {
        self.candidates_version
    }

    /// Counts how often somebody has replaced a pod's spec: while it stays, every pod is of the template that it came with.
    pub fn pod_edits(&self) -> u64 {
        self.pod_edits
    }

    /// Something changed that the journal does not tell.
    fn touch_cluster(&mut self) {
        self.cluster_version += 1;
        self.candidates_version += 1;
    }

    /// Of the changes that move the cluster, those that may make a node a candidate, or leave a node with the disrupted taint that
    /// nobody needs. The others make a node busier, or are of one that is not initialized yet.
    #[inline]
    fn may_make_candidates(&self, change: Change) -> bool {
        let is_coming =
            |node: NodeId| self.node(node).claim.is_some_and(|claim| self.claim(claim).initialized.is_none());
        match change {
            Change::PodBound(_)
            | Change::PodNominated(_)
            | Change::PodGate(..)
            | Change::NodeCreated(_)
            | Change::ClaimCreated(_)
            | Change::InstanceLaunched(_)
            | Change::ClaimLaunched(_)
            | Change::ClaimRegistered(_) => false,
            // Only some budgets let a pod go because it is not Ready.
            Change::PodReady(_, ready) => !ready && self.pdbs.iter().any(|pdb| pdb.spec.always_allow_unhealthy),
            // A budget that has begun to allow something is counted where it is written.
            Change::PdbStatus(_) => false,
            Change::NodeReady(node, _) | Change::NodeLabels(node) => !is_coming(node),
            Change::NodeTaints(node) => self.node(node).taints.iter().any(|taint| *taint.key == *offering::DISRUPTED),
            _ => true,
        }
    }

    #[inline(always)]
    fn push(&mut self, change: Change) {
        if change.moves_cluster() {
            self.cluster_version += 1;
            self.candidates_version += u64::from(self.may_make_candidates(change));
        }
        self.note_for_slices(change);
        self.journal.push(change);
    }
}
