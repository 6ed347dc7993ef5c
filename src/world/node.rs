//! Nodes, NodeClaims and EC2 instances.

use super::World;
use super::change::{Change, DisruptionReason, NodeReadiness};
use super::ids::{ClaimId, InstanceId, NodeId, PodId};
use super::node_status::{NodeStatus, Renewals};
use super::rollout::push_numbered;
use crate::engine::{Span, Time};
use crate::plan::{CapacityType, ImageId, InstanceTypeId, MicroDollars, NodePoolId, NodePoolSpec, NodeProblem, ZoneId};
use crate::rules::labels::Labels;
use crate::rules::requirements::Requirements;
use crate::rules::resources::Resources;
use crate::rules::taint::{Taint, TaintEffect};
use std::sync::Arc;

/// A Node object and its machine.
#[derive(Clone, Debug)]
pub struct Node {
    /// Its id: order of creation.
    pub id: NodeId,
    /// `metadata.name`.
    pub name: Arc<str>,
    /// Labels: who keeps a copy of them shares the memory until they change.
    pub labels: Arc<Labels>,
    /// Annotations.
    pub annotations: Labels,
    /// Taints in order.
    pub taints: Vec<Taint>,
    /// Cordoned.
    pub unschedulable: bool,
    /// `status.allocatable`.
    pub allocatable: Resources,
    /// `status.capacity`.
    pub capacity: Resources,
    /// Sum of the requests of bound pods that have not finished.
    pub requested: Resources,
    /// Bound pods whose objects exist.
    pub pods: Vec<PodId>,
    /// Those of them whose requests no longer count (finished).
    pub released: Vec<PodId>,
    /// Condition Ready.
    pub readiness: NodeReadiness,
    /// Its last transition, whole seconds.
    pub readiness_since: Time,
    /// When the object was created.
    pub created: Time,
    /// When deletion was asked for.
    pub deleting_since: Option<Time>,
    /// When the object vanished.
    pub gone: Option<Time>,
    /// Its NodeClaim.
    pub claim: Option<ClaimId>,
    /// Its machine.
    pub instance: Option<InstanceId>,
    /// Its zone.
    pub zone: Option<ZoneId>,
    /// The machine and its kubelet answer.
    pub alive: bool,
    /// Images on it beyond those cached everywhere.
    pub images: Vec<ImageId>,
    /// When the kubelet (and its probe manager and relist clock) started.
    pub kubelet_started: Time,
    /// What else its status says.
    pub status: NodeStatus,
    /// When its lease is renewed.
    pub renewals: Vec<Renewals>,
    /// Conditions beside Ready that are False, and since when (whole seconds).
    pub problems: Vec<(NodeProblem, Time)>,
    /// CPU that its machine computes with for now, nanocores, where that is less than all of it.
    pub cpu_cap: Option<u64>,
    /// CPU that pods used on it that are gone, nanoseconds.
    pub cpu_of_gone: u128,
}

impl Node {
    /// Allocatable less what bound pods request.
    pub fn free(&self) -> Resources {
        let mut free = self.allocatable.clone();
        free -= &self.requested;
        free
    }

    /// Has a taint of that key and effect.
    pub fn has_taint(&self, taint: &Taint) -> bool {
        self.has_taint_of(&taint.key, taint.effect)
    }

    /// The same for a taint that nobody has made.
    #[inline]
    pub fn has_taint_of(&self, key: &str, effect: TaintEffect) -> bool {
        self.taints.iter().any(|other| other.effect == effect && *other.key == *key)
    }

    /// Condition Ready is True.
    pub fn is_ready(&self) -> bool {
        self.readiness == NodeReadiness::Ready
    }
}

/// What a new node is.
#[derive(Clone, Debug)]
pub struct NewNode {
    /// Its name.
    pub name: Arc<str>,
    /// Labels.
    pub labels: Labels,
    /// Taints at registration.
    pub taints: Vec<Taint>,
    /// Allocatable.
    pub allocatable: Resources,
    /// Capacity.
    pub capacity: Resources,
    /// Its NodeClaim.
    pub claim: Option<ClaimId>,
    /// Its machine.
    pub instance: Option<InstanceId>,
    /// Its zone.
    pub zone: Option<ZoneId>,
}

/// A NodeClaim.
#[derive(Clone, Debug)]
pub struct NodeClaim {
    /// Its id: order of creation.
    pub id: ClaimId,
    /// `metadata.name`.
    pub name: Arc<str>,
    /// Its NodePool.
    pub pool: NodePoolId,
    /// The pool as it was when the claim was made.
    pub made_from: Arc<NodePoolSpec>,
    /// Its number among the pool's, from 1; keys its random draws together with the pool.
    pub ordinal: u32,
    /// `metadata.creationTimestamp` before it is cut.
    pub created: Time,
    /// `spec.requirements`, instance types excepted.
    pub requirements: Requirements,
    /// Instance-type options in price order.
    pub instance_types: Vec<InstanceTypeId>,
    /// `spec.resources.requests`.
    pub requests: Resources,
    /// Labels.
    pub labels: Labels,
    /// Taints.
    pub taints: Vec<Taint>,
    /// Startup taints.
    pub startup_taints: Vec<Taint>,
    /// `spec.expireAfter`; `None`: never.
    pub expire_after: Option<Span>,
    /// `spec.terminationGracePeriod`.
    pub termination_grace_period: Option<Span>,
    /// Annotation `karpenter.sh/nodeclaim-termination-timestamp`, where it was set before its deletion.
    pub end_by: Option<Time>,
    /// Its machine (`status.providerID`).
    pub instance: Option<InstanceId>,
    /// Its node.
    pub node: Option<NodeId>,
    /// Condition Launched since.
    pub launched: Option<Time>,
    /// Nodes that it was created to replace.
    pub replaces: Vec<ClaimId>,
    /// Condition Registered since.
    pub registered: Option<Time>,
    /// Condition Initialized since.
    pub initialized: Option<Time>,
    /// Condition Consolidatable since.
    pub consolidatable: Option<Time>,
    /// Condition Drifted since.
    pub drifted: Option<Time>,
    /// Why the cloud provider says that it has drifted (`AMIDrift`), if it does.
    pub provider_drift: Option<Arc<str>>,
    /// `status.lastPodEventTime`, whole seconds.
    pub last_pod_event: Option<Time>,
    /// A disruption command holds it.
    pub disruption: Option<DisruptionReason>,
    /// Marked for deletion in Karpenter's memory.
    pub marked: bool,
    /// Nominated for pods until.
    pub nominated_until: Time,
    /// When deletion was asked for.
    pub deleting_since: Option<Time>,
    /// Why.
    pub deletion_reason: Option<DisruptionReason>,
    /// Condition InstanceTerminating since.
    pub instance_terminating: Option<Time>,
    /// When the object vanished.
    pub gone: Option<Time>,
}

impl NodeClaim {
    /// The key of its random draws: pool and ordinal.
    pub fn key(&self) -> u64 {
        u64::from(self.pool.0) << 32 | u64::from(self.ordinal)
    }

    /// Exists and is not being deleted.
    pub fn is_active(&self) -> bool {
        self.gone.is_none() && self.deleting_since.is_none()
    }
}

/// What a new NodeClaim is.
#[derive(Clone, Debug)]
pub struct NewClaim {
    /// Its NodePool.
    pub pool: NodePoolId,
    /// Requirements, instance types excepted.
    pub requirements: Requirements,
    /// Instance-type options in price order.
    pub instance_types: Vec<InstanceTypeId>,
    /// Requests.
    pub requests: Resources,
    /// Labels.
    pub labels: Labels,
}

/// Life of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InstanceState {
    /// Running (or about to: `pending` is part of the boot).
    Running,
    /// Shutting down: it serves nothing and is no longer paid.
    ShuttingDown,
    /// Gone.
    Terminated,
}

/// An EC2 instance.
#[derive(Clone, Debug)]
pub struct Instance {
    /// Its id: order of launch.
    pub id: InstanceId,
    /// Its NodeClaim; `None`: a machine that Karpenter does not own.
    pub claim: Option<ClaimId>,
    /// Its type.
    pub instance_type: InstanceTypeId,
    /// Its zone.
    pub zone: ZoneId,
    /// How it is paid.
    pub capacity_type: CapacityType,
    /// Price an hour.
    pub price: MicroDollars,
    /// When it was launched (paid from here).
    pub launched: Time,
    /// State.
    pub state: InstanceState,
    /// Prices that it paid before, each with the time until which it did.
    pub paid_before: Vec<(Time, MicroDollars)>,
    /// CPU credits of a burstable machine, where they are counted.
    pub credits: Option<super::credits::Credits>,
    /// When EC2 recommended to replace it.
    pub rebalance: Option<Time>,
    /// When it got a notice.
    pub interrupted: Option<Time>,
    /// When it began to shut down (paid until here).
    pub stopped: Option<Time>,
    /// When it was gone.
    pub terminated: Option<Time>,
}

impl Instance {
    /// What it pays from its launch until then if it runs for so long, micro-dollars an hour times microseconds.
    pub fn paid_until(&self, end: Time) -> i128 {
        let (mut from, mut sum) = (self.launched, 0);
        for &(until, price) in self.paid_before.iter().filter(|&&(until, _)| until < end) {
            sum += i128::from(price.0) * i128::from(until.since(from).micros());
            from = until;
        }
        let last = self.paid_before.iter().find(|&&(until, _)| until >= end).map_or(self.price, |&(_, price)| price);
        sum + i128::from(last.0) * (i128::from(end.micros()) - i128::from(from.micros()))
    }

    /// Cost until `now`: per second, at least 60 s. Source: EC2 "On-Demand Pricing", per-second billing for Linux.
    pub fn cost(&self, now: Time) -> MicroDollars {
        let end = self.stopped.unwrap_or(now).max(self.launched);
        let micro = self.paid_until(end.max(self.launched + Span::from_secs(60)));
        MicroDollars(i64::try_from((micro + 1_800_000_000) / 3_600_000_000).unwrap_or(i64::MAX))
    }
}

/// The name of a pool's claim, its number with two digits at least.
fn claim_name(pool: &str, ordinal: u32) -> String {
    let mut name = String::with_capacity(pool.len() + 4);
    name.push_str(pool);
    push_numbered(&mut name, if ordinal < 10 { "-0" } else { "-" }, ordinal);
    name
}

impl World {
    /// Creates a Node object, not Ready.
    pub fn create_node(&mut self, new: NewNode) -> NodeId {
        let id = NodeId::at(self.nodes.len());
        let annotations = new.claim.map(|claim| self.claims[claim.index()].made_from.annotations.clone());
        self.nodes.push(Node {
            id,
            name: new.name,
            labels: Arc::new(new.labels),
            annotations: annotations.unwrap_or_default(),
            taints: new.taints,
            unschedulable: false,
            allocatable: new.allocatable,
            capacity: new.capacity,
            requested: Resources::default(),
            pods: Vec::new(),
            released: Vec::new(),
            readiness: NodeReadiness::NotReady,
            readiness_since: self.now.whole_second(),
            created: self.now,
            deleting_since: None,
            gone: None,
            claim: new.claim,
            instance: new.instance,
            zone: new.zone,
            alive: true,
            images: Vec::new(),
            kubelet_started: self.now,
            status: NodeStatus {
                ready_exists: true,
                heartbeat: self.now.whole_second(),
                memory_pressure: false,
                disk_pressure: false,
                pid_pressure: false,
                network_unavailable: false,
            },
            renewals: Vec::new(),
            problems: Vec::new(),
            cpu_cap: None,
            cpu_of_gone: 0,
        });
        if let Some(claim) = new.claim {
            self.claims[claim.index()].node = Some(id);
        }
        self.count_node(id, true);
        self.push(Change::NodeCreated(id));
        id
    }

    /// Condition Ready of a node.
    pub fn set_node_readiness(&mut self, node: NodeId, readiness: NodeReadiness) {
        let now = self.now.whole_second();
        let entry = &mut self.nodes[node.index()];
        if entry.readiness != readiness {
            entry.readiness = readiness;
            entry.readiness_since = now;
            self.push(Change::NodeReady(node, readiness));
        }
    }

    /// The machine stops answering, or answers again.
    pub fn set_node_alive(&mut self, node: NodeId, alive: bool) {
        let now = self.now;
        if self.nodes[node.index()].alive != alive {
            let entry = &mut self.nodes[node.index()];
            entry.alive = alive;
            if !alive {
                // What a dead machine would have renewed later never happens.
                entry.renewals.iter_mut().for_each(|renewals| renewals.last = renewals.last.min(now));
            }
            self.push(Change::NodeAlive(node, alive));
        }
    }

    /// Adds (or replaces the value of) a taint.
    pub fn add_taint(&mut self, node: NodeId, taint: Taint) {
        let entry = &mut self.nodes[node.index()];
        match entry.taints.iter_mut().find(|other| other.is_same(&taint)) {
            Some(other) if *other == taint => return,
            Some(other) => *other = taint,
            None => entry.taints.push(taint),
        }
        self.count_node(node, false);
        self.push(Change::NodeTaints(node));
    }

    /// Removes a taint of that key and effect.
    pub fn remove_taint(&mut self, node: NodeId, taint: &Taint) {
        self.remove_taint_of(node, &taint.key, taint.effect);
    }

    /// The same for a taint that nobody has made.
    #[inline]
    pub fn remove_taint_of(&mut self, node: NodeId, key: &str, effect: TaintEffect) {
        if self.nodes[node.index()].has_taint_of(key, effect) {
            self.nodes[node.index()].taints.retain(|other| other.effect != effect || *other.key != *key);
            self.count_node(node, false);
            self.push(Change::NodeTaints(node));
        }
    }

    /// Cordons or uncordons.
    pub fn set_unschedulable(&mut self, node: NodeId, unschedulable: bool) {
        if self.nodes[node.index()].unschedulable != unschedulable {
            self.nodes[node.index()].unschedulable = unschedulable;
            self.note_room(node);
            self.push(Change::NodeTaints(node));
        }
    }

    /// The key of a node's random draws: its NodeClaim's, so that other nodes never shift them.
    pub fn node_key(&self, node: NodeId) -> u64 {
        self.node(node).claim.map_or(1 << 63 | u64::from(node.0), |claim| self.claim(claim).key())
    }

    /// An image was pulled to a node.
    pub fn add_node_image(&mut self, node: NodeId, image: ImageId) {
        let images = &mut self.nodes[node.index()].images;
        if !images.contains(&image) {
            images.push(image);
            if self.nodes[node.index()].gone.is_none() {
                self.count_images(node, &[image], true);
            }
        }
    }

    /// Sets a label. Texts that several nodes share are quickly compared.
    pub fn set_node_label<T: AsRef<str> + Into<Arc<str>>>(&mut self, node: NodeId, key: T, value: T) {
        let entry = &mut self.nodes[node.index()];
        if entry.labels.get(key.as_ref()) != Some(value.as_ref()) {
            // Whoever has seen the labels keeps them, so that they are others from now on.
            entry.labels = Arc::new(entry.labels.with(key, value));
            self.count_node(node, true);
            self.push(Change::NodeLabels(node));
        }
    }

    /// Sets an annotation, or takes it away.
    pub fn set_node_annotation(&mut self, node: NodeId, key: &str, value: Option<&str>) {
        let annotations = &mut self.nodes[node.index()].annotations;
        match value {
            Some(value) => annotations.insert(key, value),
            None => annotations.remove(key),
        };
        self.push(Change::NodeLabels(node));
    }

    /// Somebody replaces what a Node object says of itself.
    pub fn update_node(
        &mut self,
        node: NodeId,
        labels: crate::rules::labels::Labels,
        taints: Vec<Taint>,
        unschedulable: bool,
        allocatable: Resources,
    ) {
        let entry = &mut self.nodes[node.index()];
        let relabelled = *entry.labels != labels;
        let retainted = entry.taints != taints || entry.unschedulable != unschedulable;
        let resized = entry.allocatable != allocatable;
        if relabelled {
            entry.labels = Arc::new(labels);
        }
        entry.taints = taints;
        entry.unschedulable = unschedulable;
        entry.allocatable = allocatable;
        self.count_node(node, relabelled);
        // One update is one event, whatever it changed.
        if relabelled || resized {
            self.push(Change::NodeLabels(node));
        } else if retainted {
            self.push(Change::NodeTaints(node));
        }
    }

    /// Asks for deletion of a Node object. With a NodeClaim the finalizer keeps it; otherwise it vanishes.
    pub fn delete_node(&mut self, node: NodeId) {
        let entry = &mut self.nodes[node.index()];
        if entry.gone.is_some() || entry.deleting_since.is_some() {
            return;
        }
        entry.deleting_since = Some(self.now);
        let finalizer = entry.claim.is_some_and(|claim| self.claims[claim.index()].registered.is_some());
        self.push(Change::NodeDeleting(node));
        if !finalizer {
            self.remove_node(node);
        }
    }

    /// The Node object vanishes. Its pods stay until somebody removes them.
    pub fn remove_node(&mut self, node: NodeId) {
        let entry = &mut self.nodes[node.index()];
        if entry.gone.is_none() {
            entry.gone = Some(self.now);
            let images = entry.images.clone();
            self.count_images(node, &images, false);
            self.count_node(node, true);
            self.push(Change::NodeGone(node));
        }
    }

    /// Creates a NodeClaim.
    pub fn create_claim(&mut self, new: NewClaim) -> ClaimId {
        let id = ClaimId::at(self.claims.len());
        let pool = self.node_pools[new.pool.index()].clone();
        self.claims_of_pool[new.pool.index()] += 1;
        let ordinal = self.claims_of_pool[new.pool.index()];
        self.claims.push(NodeClaim {
            id,
            name: claim_name(&pool.name, ordinal).into(),
            pool: new.pool,
            made_from: pool.clone(),
            ordinal,
            created: self.now,
            requirements: new.requirements,
            instance_types: new.instance_types,
            requests: new.requests,
            labels: new.labels,
            taints: pool.taints.clone(),
            startup_taints: pool.startup_taints.clone(),
            expire_after: pool.expire_after,
            termination_grace_period: pool.termination_grace_period,
            end_by: None,
            instance: None,
            node: None,
            launched: None,
            replaces: Vec::new(),
            registered: None,
            initialized: None,
            consolidatable: None,
            drifted: None,
            provider_drift: None,
            last_pod_event: None,
            disruption: None,
            marked: false,
            nominated_until: Time::ZERO,
            deleting_since: None,
            deletion_reason: None,
            instance_terminating: None,
            gone: None,
        });
        self.push(Change::ClaimCreated(id));
        id
    }

    /// Notes what a NodeClaim was created to replace; nothing of the API, so nobody is told.
    pub fn note_replaces(&mut self, claim: ClaimId, old: impl IntoIterator<Item = ClaimId>) {
        self.claims[claim.index()].replaces.extend(old);
    }

    /// The NodeClaim has its instance: Launched.
    pub fn launch_claim(&mut self, claim: ClaimId, instance: InstanceId, labels: Labels) {
        let now = self.now;
        let entry = &mut self.claims[claim.index()];
        entry.instance = Some(instance);
        entry.launched = Some(now);
        entry.labels.merge(labels);
        self.push(Change::ClaimLaunched(claim));
    }

    /// The launch found no capacity.
    pub fn note_no_capacity(&mut self, claim: ClaimId) {
        self.push(Change::ClaimNoCapacity(claim));
    }

    /// The launch was throttled; it is tried again.
    pub fn note_throttled(&mut self, claim: ClaimId) {
        self.push(Change::ClaimThrottled(claim));
    }

    /// Condition Registered.
    pub fn register_claim(&mut self, claim: ClaimId) {
        self.claims[claim.index()].registered = Some(self.now);
        self.push(Change::ClaimRegistered(claim));
    }

    /// Condition Initialized.
    pub fn initialize_claim(&mut self, claim: ClaimId) {
        self.claims[claim.index()].initialized = Some(self.now);
        self.push(Change::ClaimInitialized(claim));
    }

    /// Condition Consolidatable.
    pub fn set_consolidatable(&mut self, claim: ClaimId, value: bool) {
        let now = self.now;
        let entry = &mut self.claims[claim.index()];
        if entry.consolidatable.is_some() != value {
            entry.consolidatable = value.then_some(now);
            self.push(Change::ClaimConsolidatable(claim, value));
        }
    }

    /// Condition Drifted.
    pub fn set_drifted(&mut self, claim: ClaimId, value: bool) {
        let now = self.now;
        let entry = &mut self.claims[claim.index()];
        if entry.drifted.is_some() != value {
            entry.drifted = value.then_some(now);
            self.push(Change::ClaimDrifted(claim, value));
        }
    }

    /// The cloud provider finds that a machine is no longer what its EC2NodeClass asks for, or that it is again.
    pub fn note_provider_drift(&mut self, claim: ClaimId, reason: Option<Arc<str>>) {
        self.claims[claim.index()].provider_drift = reason;
    }

    /// `status.lastPodEventTime` = now, cut to the second.
    pub fn note_pod_event(&mut self, claim: ClaimId) {
        self.claims[claim.index()].last_pod_event = Some(self.now.whole_second());
        self.push(Change::ClaimPodEvent(claim));
    }

    /// Protects a claim's node from disruption until.
    pub fn nominate_claim(&mut self, claim: ClaimId, until: Time) {
        let entry = &mut self.claims[claim.index()];
        entry.nominated_until = entry.nominated_until.max(until);
    }

    /// A disruption command takes (or gives back) a claim.
    pub fn set_disruption(&mut self, claim: ClaimId, reason: Option<DisruptionReason>) {
        let entry = &mut self.claims[claim.index()];
        if entry.disruption == reason {
            return;
        }
        entry.disruption = reason;
        entry.marked = reason.is_some();
        self.push(reason.map_or(Change::ClaimReleased(claim), |reason| Change::ClaimDisrupted(claim, reason)));
    }

    /// Asks for deletion of a NodeClaim.
    pub fn delete_claim(&mut self, claim: ClaimId, reason: DisruptionReason) {
        let now = self.now;
        let entry = &mut self.claims[claim.index()];
        if entry.gone.is_none() && entry.deleting_since.is_none() {
            entry.deleting_since = Some(now);
            entry.deletion_reason = Some(reason);
            entry.marked = true;
            self.push(Change::ClaimDeleting(claim, reason));
        }
    }

    /// Its termination waits for nothing beyond that moment.
    pub fn end_by(&mut self, claim: ClaimId, at: Time) {
        let entry = &mut self.claims[claim.index()];
        entry.end_by = Some(entry.end_by.map_or(at, |before| before.min(at)));
    }

    /// Condition InstanceTerminating: the first TerminateInstances was accepted.
    pub fn note_instance_terminating(&mut self, claim: ClaimId) {
        let now = self.now;
        self.claims[claim.index()].instance_terminating.get_or_insert(now);
        self.touch_cluster();
    }

    /// Notes that a claim's node is drained.
    pub fn note_drained(&mut self, claim: ClaimId) {
        self.push(Change::ClaimDrained(claim));
    }

    /// The NodeClaim vanishes.
    pub fn remove_claim(&mut self, claim: ClaimId) {
        let entry = &mut self.claims[claim.index()];
        if entry.gone.is_none() {
            entry.gone = Some(self.now);
            self.push(Change::ClaimGone(claim));
        }
    }

    /// EC2 starts an instance.
    pub fn launch_instance(
        &mut self,
        claim: Option<ClaimId>,
        instance_type: InstanceTypeId,
        zone: ZoneId,
        capacity_type: CapacityType,
        price: MicroDollars,
    ) -> InstanceId {
        let id = InstanceId::at(self.instances.len());
        self.bill.begin(price, self.now);
        self.instances.push(Instance {
            id,
            claim,
            instance_type,
            zone,
            capacity_type,
            price,
            launched: self.now,
            state: InstanceState::Running,
            paid_before: Vec::new(),
            credits: None,
            rebalance: None,
            interrupted: None,
            stopped: None,
            terminated: None,
        });
        self.push(Change::InstanceLaunched(id));
        id
    }

    /// EC2 gives the two-minute notice.
    pub fn interrupt_instance(&mut self, instance: InstanceId) {
        let now = self.now;
        let entry = &mut self.instances[instance.index()];
        if entry.interrupted.is_none() && entry.state == InstanceState::Running {
            entry.interrupted = Some(now);
            self.push(Change::InstanceInterrupted(instance));
        }
    }

    /// EC2 recommends to replace a spot instance; once.
    pub fn recommend_rebalance(&mut self, instance: InstanceId) {
        let now = self.now;
        let entry = &mut self.instances[instance.index()];
        if entry.rebalance.is_none() && entry.interrupted.is_none() && entry.state == InstanceState::Running {
            entry.rebalance = Some(now);
            self.push(Change::InstanceRebalance(instance));
        }
    }

    /// Karpenter publishes the event SpotRebalanceRecommendation of a NodeClaim.
    pub fn note_rebalance(&mut self, claim: ClaimId) {
        self.push(Change::ClaimRebalance(claim));
    }

    /// The instance begins to shut down; it is paid until now, and its machine answers no more.
    pub fn stop_instance(&mut self, instance: InstanceId) {
        let now = self.now;
        let entry = &mut self.instances[instance.index()];
        if entry.state != InstanceState::Running {
            return;
        }
        entry.state = InstanceState::ShuttingDown;
        entry.stopped = Some(now);
        self.bill.end(entry.price, now);
        self.push(Change::InstanceShuttingDown(instance));
        let node = self.nodes.iter().rev().find(|node| node.instance == Some(instance)).map(|node| node.id);
        if let Some(node) = node {
            self.set_node_alive(node, false);
        }
    }

    /// The instance is gone.
    pub fn terminate_instance(&mut self, instance: InstanceId) {
        let entry = &mut self.instances[instance.index()];
        if entry.state == InstanceState::ShuttingDown {
            entry.state = InstanceState::Terminated;
            entry.terminated = Some(self.now);
            self.push(Change::InstanceTerminated(instance));
        }
    }
}
