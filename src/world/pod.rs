//! Pods: their objects in the API server, and what their processes do on the node.

use super::change::{Change, DeleteCause};
use super::ids::{NodeId, PodId, ReplicaSetId};
use super::rollout::push_numbered;
use super::{Condition, World};
use crate::engine::{Span, Time};
use crate::plan::{DaemonSetId, TemplateId};
use std::sync::Arc;

/// `status.phase`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PodPhase {
    /// Accepted, containers not running.
    Pending,
    /// Bound, at least one container was started.
    Running,
    /// Its node cannot be asked; no kubelet writes it any more.
    Unknown,
    /// All containers ended well.
    Succeeded,
    /// All containers ended, one of them badly.
    Failed,
}

impl PodPhase {
    /// As the API writes it.
    pub const fn name(self) -> &'static str {
        match self {
            PodPhase::Pending => "Pending",
            PodPhase::Running => "Running",
            PodPhase::Unknown => "Unknown",
            PodPhase::Succeeded => "Succeeded",
            PodPhase::Failed => "Failed",
        }
    }

    /// The moves that exist.
    pub const fn may_become(self, next: PodPhase) -> bool {
        matches!(
            (self, next),
            (PodPhase::Pending, PodPhase::Running | PodPhase::Failed | PodPhase::Succeeded)
                | (PodPhase::Running, PodPhase::Succeeded | PodPhase::Failed)
        )
    }
}

/// The controller of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Owner {
    /// A ReplicaSet.
    ReplicaSet(ReplicaSetId),
    /// A DaemonSet.
    DaemonSet(DaemonSetId),
    /// Nobody.
    Bare,
}

/// What the application in the pod does; probes, health checks and requests meet this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Process {
    /// No container runs.
    Absent,
    /// The container runs, nothing listens yet: connections are refused.
    Starting,
    /// It answers.
    Answering,
    /// SIGTERM was sent: what it still does is the application's rule ([`crate::plan::App::drains`]).
    Stopping,
    /// The process has ended but the sandbox still has the address: connections are refused.
    Ended,
    /// The address is gone: packets vanish.
    Vanished,
}

/// A container's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContainerStatus {
    /// When the present run started; `None`: it does not run.
    pub running_since: Option<Time>,
    /// `started`: the startup probe succeeded or there is none.
    pub started: bool,
    /// `ready`.
    pub ready: bool,
    /// `restartCount`.
    pub restarts: u32,
}

/// A pod.
#[derive(Clone, Debug)]
pub struct Pod {
    /// Its id: order of creation.
    pub id: PodId,
    /// Its spec.
    pub template: TemplateId,
    /// Its controller.
    pub owner: Owner,
    /// The number of the pod among those of its owner, from 1; keys its random draws together with the owner.
    pub ordinal: u32,
    /// Name that was given; otherwise it is derived from owner and ordinal.
    pub bare_name: Option<Arc<str>>,
    /// `metadata.uid` when it was given; otherwise derived from owner and ordinal.
    pub uid: Option<Arc<str>>,
    /// `metadata.creationTimestamp` before it is cut.
    pub created: Time,
    /// `metadata.deletionTimestamp` less the grace period: when deletion was asked for.
    pub deleting_since: Option<Time>,
    /// Grace period of the deletion.
    pub grace: Span,
    /// When the object vanished.
    pub gone: Option<Time>,
    /// `status.phase`.
    pub phase: PodPhase,
    /// `spec.nodeName`.
    pub node: Option<NodeId>,
    /// `status.nominatedNodeName`.
    pub nominated: Option<NodeId>,
    /// The only node it may go to (a DaemonSet's pod).
    pub pinned: Option<NodeId>,
    /// Scheduling gates that remain.
    pub gates: u32,
    /// Condition PodScheduled False with reason Unschedulable.
    pub unschedulable: bool,
    /// A number for the message of that condition.
    pub unschedulable_message: u64,
    /// When it was bound.
    pub bound: Option<Time>,
    /// `status.startTime`, whole seconds.
    pub start_time: Option<Time>,
    /// Condition ContainersReady.
    pub containers_ready: Condition,
    /// Condition Ready.
    pub ready: Condition,
    /// Condition Ready is Unknown (it then reads as not True above).
    pub ready_unknown: bool,
    /// Readiness gates of the template: True or not, in its order.
    pub gate_conditions: Vec<Option<bool>>,
    /// Condition DisruptionTarget is True.
    pub disruption_target: bool,
    /// Its reason is PreemptionByScheduler.
    pub preempted: bool,
    /// Since when, whole seconds.
    pub disruption_target_since: Option<Time>,
    /// Init containers, then containers, as in the template.
    pub containers: Vec<ContainerStatus>,
    /// What the application does.
    pub process: Process,
    /// Its address once the sandbox exists.
    pub address: Option<Address>,
    /// Its other address, in a cluster that has both families.
    pub ipv6: Option<Ipv6Address>,
    /// `controller.kubernetes.io/pod-deletion-cost`, 0 unless annotated.
    pub deletion_cost: i32,
}

/// An IPv6 address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Ipv6Address(pub u128);

/// An IPv4 address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Address(pub u32);

impl Address {
    /// Does something with its text.
    pub fn with_text<T>(self, act: impl FnOnce(&str) -> T) -> T {
        // Addresses are made into texts for each pod: general formatting would be most of the cost.
        let (mut text, mut length) = ([b'.'; 16], 0);
        for byte in self.0.to_be_bytes() {
            for (digit, shows) in [(byte / 100, byte >= 100), (byte / 10 % 10, byte >= 10), (byte % 10, true)] {
                if shows {
                    text[length] = b'0' + digit;
                    length += 1;
                }
            }
            text[length] = b'.';
            length += 1;
        }
        act(std::str::from_utf8(&text[..length - 1]).unwrap_or_default())
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.with_text(|text| formatter.write_str(text))
    }
}

impl Pod {
    /// Condition DisruptionTarget becomes True; one that is True already keeps its transition time.
    pub(super) fn set_disruption_target(&mut self, now: Time) {
        self.disruption_target = true;
        self.disruption_target_since.get_or_insert(now.whole_second());
    }

    /// Neither finished nor being deleted nor gone: what controllers count as a replica.
    pub fn is_active(&self) -> bool {
        self.gone.is_none() && self.deleting_since.is_none() && !self.is_finished()
    }

    /// Succeeded or Failed.
    pub fn is_finished(&self) -> bool {
        matches!(self.phase, PodPhase::Succeeded | PodPhase::Failed)
    }

    /// The object exists and deletion was asked for.
    pub fn is_terminating(&self) -> bool {
        self.gone.is_none() && self.deleting_since.is_some()
    }

    /// Condition Ready is True.
    pub fn is_ready(&self) -> bool {
        self.ready.is_true()
    }

    /// The key of this pod's random draws: owner and ordinal, so that other workloads never shift them.
    pub fn key(&self) -> u64 {
        let owner = match self.owner {
            Owner::ReplicaSet(id) => 1 << 28 | u64::from(id.0),
            Owner::DaemonSet(id) => 2 << 28 | u64::from(id.0),
            Owner::Bare => 3 << 28,
        };
        owner << 32 | u64::from(self.ordinal)
    }
}

/// What a new pod is.
#[derive(Clone, Debug)]
pub struct NewPod {
    /// Its spec.
    pub template: TemplateId,
    /// Its controller.
    pub owner: Owner,
    /// Its number among the owner's.
    pub ordinal: u32,
    /// The only node it may go to.
    pub pinned: Option<NodeId>,
    /// Name of a bare pod.
    pub name: Option<Arc<str>>,
}

/// A pod object as somebody writes it as a whole.
#[derive(Clone, Copy, Debug)]
pub struct PodObject {
    /// Labels and spec.
    pub template: TemplateId,
    /// `spec.nodeName`; a pod that is bound stays there.
    pub node: Option<NodeId>,
    /// `status.phase`.
    pub phase: PodPhase,
    /// Condition Ready.
    pub ready: Option<bool>,
    /// It has a deletionTimestamp.
    pub deleting: bool,
    /// Condition DisruptionTarget is True since.
    pub disruption_target: Option<Time>,
    /// `status.podIPs`: the IPv4 address.
    pub address: Option<Address>,
    /// `status.podIPs`: the IPv6 address.
    pub ipv6: Option<Ipv6Address>,
}

impl World {
    /// Writes a pod object as a whole, as `kubectl replace` and other writers than its kubelet do.
    pub fn write_pod(&mut self, pod: PodId, object: PodObject) {
        let now = self.now;
        let entry = &mut self.pods[pod.index()];
        entry.template = object.template;
        entry.phase = object.phase;
        entry.address = object.address;
        entry.ipv6 = object.ipv6;
        entry.deleting_since = object.deleting.then(|| entry.deleting_since.unwrap_or(now));
        entry.disruption_target = object.disruption_target.is_some();
        entry.disruption_target_since = object.disruption_target;
        match object.ready {
            Some(ready) => {
                entry.ready.set(ready, now);
            }
            None => entry.ready = Condition::unset(),
        }
        let unbound = entry.node.is_none();
        if let Some(node) = object.node.filter(|_| unbound) {
            self.bind_pod(pod, node);
        }
        self.count_pod(pod);
        self.count_member(pod);
        self.push(Change::PodChanged(pod));
    }

    /// Somebody annotates a pod with a deletion cost.
    pub fn set_deletion_cost(&mut self, pod: PodId, cost: &str) {
        self.pods[pod.index()].deletion_cost = canonical_i32(cost);
    }

    /// Condition DisruptionTarget becomes False.
    pub fn clear_disruption_target(&mut self, pod: PodId) {
        let entry = &mut self.pods[pod.index()];
        if std::mem::take(&mut entry.disruption_target) {
            entry.disruption_target_since = None;
            self.push(Change::PodChanged(pod));
        }
    }

    /// Creates a pod object, Pending and unbound.
    pub fn create_pod(&mut self, new: NewPod) -> PodId {
        let id = PodId::at(self.pods.len());
        let template = self.template(new.template).clone();
        let status = ContainerStatus { running_since: None, started: false, ready: false, restarts: 0 };
        let cost = template.annotations.get("controller.kubernetes.io/pod-deletion-cost");
        self.pods.push(Pod {
            id,
            template: new.template,
            owner: new.owner,
            ordinal: new.ordinal,
            bare_name: new.name,
            uid: None,
            created: self.now,
            deleting_since: None,
            grace: template.termination_grace,
            gone: None,
            phase: PodPhase::Pending,
            node: None,
            nominated: None,
            pinned: new.pinned,
            gates: u32::try_from(template.scheduling_gates.len()).unwrap_or(u32::MAX),
            unschedulable: false,
            unschedulable_message: 0,
            bound: None,
            start_time: None,
            containers_ready: Condition::unset(),
            ready: Condition::unset(),
            ready_unknown: false,
            gate_conditions: vec![None; template.readiness_gates.len()],
            disruption_target: false,
            preempted: false,
            disruption_target_since: None,
            containers: vec![status; template.init_containers.len() + template.containers.len()],
            process: Process::Absent,
            address: None,
            ipv6: None,
            deletion_cost: cost.map_or(0, canonical_i32),
        });
        if let Owner::ReplicaSet(owner) = new.owner {
            let set = &mut self.replica_sets[owner.index()];
            set.pods.push(id);
            set.created_pods = set.created_pods.max(new.ordinal);
        }
        self.living.insert(id);
        self.count_member(id);
        self.counts.pods_created += 1;
        self.push(Change::PodCreated(id));
        id
    }

    /// Binds a pod to a node: `spec.nodeName` is set, its request counts there.
    pub fn bind_pod(&mut self, pod: PodId, node: NodeId) {
        let entry = &mut self.pods[pod.index()];
        assert!(entry.node.is_none(), "a pod is bound once");
        entry.node = Some(node);
        entry.nominated = None;
        entry.bound = Some(self.now);
        entry.unschedulable = false;
        self.unschedulable.remove(pod);
        let requests = self.templates[entry.template.index()].requests.clone();
        let place = &mut self.nodes[node.index()];
        place.pods.push(pod);
        place.requested += &requests;
        self.note_room(node);
        self.count_pod(pod);
        self.push(Change::PodBound(pod));
    }

    /// Condition PodScheduled is False, Unschedulable. `message`: a number for its message, equal for equal messages.
    pub fn mark_unschedulable(&mut self, pod: PodId, message: u64) {
        let entry = &mut self.pods[pod.index()];
        let before = std::mem::replace(&mut entry.unschedulable_message, message);
        if !std::mem::replace(&mut entry.unschedulable, true) {
            if entry.gone.is_none() {
                self.unschedulable.insert(pod);
            }
            self.push(Change::PodUnschedulable(pod));
        } else if before != message {
            self.push(Change::PodUnschedulableMessage(pod));
        }
    }

    /// Somebody replaces a pod's spec and labels; node and status stay.
    pub fn update_pod(&mut self, pod: PodId, template: TemplateId) {
        let before = std::mem::replace(&mut self.pods[pod.index()].template, template);
        let gates = self.templates[template.index()].scheduling_gates.len();
        let entry = &mut self.pods[pod.index()];
        entry.gates = u32::try_from(gates).unwrap_or(u32::MAX);
        if let Some(node) = entry.node.filter(|_| entry.gone.is_none() && !entry.is_finished()) {
            let place = &mut self.nodes[node.index()];
            place.requested -= &self.templates[before.index()].requests;
            place.requested += &self.templates[template.index()].requests;
            self.note_room(node);
        }
        self.count_pod(pod);
        self.count_member(pod);
        self.pod_edits += 1;
        self.touch_cluster();
        self.touch_slices();
    }

    /// `status.nominatedNodeName`.
    pub fn nominate_pod(&mut self, pod: PodId, node: Option<NodeId>) {
        if self.pods[pod.index()].nominated != node {
            self.pods[pod.index()].nominated = node;
            self.push(Change::PodNominated(pod));
        }
    }

    /// Gives the pod its address (the sandbox exists).
    pub fn assign_address(&mut self, pod: PodId) {
        let address = self.free_address(pod).unwrap_or_else(|| {
            self.next_address += 1;
            Address(0x0a00_0000 + self.next_address - 1)
        });
        self.pods[pod.index()].address = Some(address);
        self.push(Change::PodAddress(pod));
    }

    /// The address that has been free for longest on the pod's node, once it has cooled down.
    fn free_address(&mut self, pod: PodId) -> Option<Address> {
        let (cooldown, node) = (self.address_cooldown?, self.pods[pod.index()].node?);
        if self.template_of(pod).host_network {
            return None;
        }
        let is_free = |&(of, _, since): &(NodeId, Address, Time)| of == node && since + cooldown <= self.now;
        let place = self.free_addresses.iter().position(is_free)?;
        Some(self.free_addresses.remove(place).1)
    }

    /// The kubelet accepted the pod: `status.startTime`.
    pub fn set_start_time(&mut self, pod: PodId) {
        let now = self.now.whole_second();
        self.pods[pod.index()].start_time.get_or_insert(now);
    }

    /// A controller of simulated kubelets writes the first status of a pod, with its start time.
    pub fn acknowledge_pod(&mut self, pod: PodId) {
        self.set_start_time(pod);
        self.push(Change::PodChanged(pod));
    }

    /// Moves `status.phase`.
    ///
    /// # Panics
    /// When the move does not exist ([`PodPhase::may_become`]).
    pub fn set_pod_phase(&mut self, pod: PodId, phase: PodPhase) {
        let entry = &mut self.pods[pod.index()];
        if entry.phase == phase {
            return;
        }
        assert!(entry.phase.may_become(phase), "pod phase {:?} cannot become {phase:?}", entry.phase);
        entry.phase = phase;
        if entry.is_finished() {
            self.release(pod);
        }
        self.push(Change::PodPhase(pod, phase));
    }

    /// Notes that an image pull begins or has ended.
    pub fn note_pull(&mut self, pod: PodId, done: bool) {
        self.push(if done { Change::ImagePulled(pod) } else { Change::ImagePulling(pod) });
    }

    /// A container's status changes (index counts init containers first).
    pub fn set_container(&mut self, pod: PodId, container: usize, status: ContainerStatus) {
        let entry = &mut self.pods[pod.index()].containers[container];
        let before = std::mem::replace(entry, status);
        let index = u16::try_from(container).unwrap_or(u16::MAX);
        if before.running_since != status.running_since {
            self.push(if status.running_since.is_some() {
                Change::ContainerStarted(pod, index)
            } else {
                Change::ContainerStopped(pod, index)
            });
        }
    }

    /// What the application does changes.
    pub fn set_process(&mut self, pod: PodId, process: Process) {
        if self.pods[pod.index()].process != process {
            self.pods[pod.index()].process = process;
            self.push(Change::PodProcess(pod, process));
        }
    }

    /// Condition ContainersReady.
    pub fn set_containers_ready(&mut self, pod: PodId, ready: bool) {
        let now = self.now;
        if self.pods[pod.index()].containers_ready.set(ready, now) {
            self.push(Change::PodContainersReady(pod, ready));
        }
    }

    /// A readiness gate's condition (position in the template's list).
    pub fn set_gate(&mut self, pod: PodId, gate: usize, value: bool) {
        let entry = &mut self.pods[pod.index()].gate_conditions[gate];
        if *entry != Some(value) {
            *entry = Some(value);
            self.push(Change::PodGate(pod, value));
        }
    }

    /// Condition Ready.
    pub fn set_pod_ready(&mut self, pod: PodId, ready: bool) {
        let now = self.now;
        if self.pods[pod.index()].ready.set(ready, now) {
            self.count_member(pod);
            self.push(Change::PodReady(pod, ready));
        }
    }

    /// Asks for deletion: the object stays for its grace period, unless it was never bound or has finished. A second
    /// request can only shorten the grace period.
    pub fn delete_pod(&mut self, pod: PodId, grace: Option<Span>, cause: DeleteCause) {
        let now = self.now;
        let entry = &mut self.pods[pod.index()];
        if entry.gone.is_some() {
            return;
        }
        let grace = grace.unwrap_or(self.templates[entry.template.index()].termination_grace);
        if entry.deleting_since.is_some() {
            if grace < entry.grace {
                entry.grace = grace;
                self.push(Change::PodDeleting(pod, cause));
            }
            return;
        }
        entry.deleting_since = Some(now);
        entry.grace = grace;
        if matches!(cause, DeleteCause::Eviction | DeleteCause::Preemption | DeleteCause::Taint) {
            entry.set_disruption_target(now);
        }
        entry.preempted = cause == DeleteCause::Preemption;
        let vanishes = entry.node.is_none() || entry.is_finished();
        self.count_pod(pod);
        self.count_member(pod);
        self.push(Change::PodDeleting(pod, cause));
        if vanishes {
            self.remove_pod(pod);
        }
    }

    /// The sandbox of a pod could not be made.
    pub fn note_sandbox_failed(&mut self, pod: PodId) {
        self.push(Change::PodSandboxFailed(pod));
    }

    /// The object vanishes.
    pub fn remove_pod(&mut self, pod: PodId) {
        if self.pods[pod.index()].gone.is_some() {
            return;
        }
        self.release(pod);
        let used = self.cpu_used(pod);
        let on_host = self.template_of(pod).host_network;
        let entry = &mut self.pods[pod.index()];
        entry.gone = Some(self.now);
        entry.process = if entry.process == Process::Absent { Process::Absent } else { Process::Vanished };
        if let Some(node) = entry.node {
            let place = &mut self.nodes[node.index()];
            place.cpu_of_gone += used;
            place.pods.retain(|&other| other != pod);
            place.released.retain(|&other| other != pod);
            if let (Some(address), Some(_), false) = (entry.address, self.address_cooldown, on_host) {
                self.free_addresses.push((node, address, self.now));
            }
        }
        self.count_pod(pod);
        self.count_member(pod);
        if let Owner::ReplicaSet(owner) = self.pods[pod.index()].owner {
            self.replica_sets[owner.index()].pods.retain(|&other| other != pod);
        }
        // The resource metrics API lists existing pods only.
        if let Some(metrics) = self.pod_metrics.get_mut(pod.index()) {
            *metrics = None;
        }
        self.measured.remove(pod);
        self.living.remove(pod);
        self.unschedulable.remove(pod);
        self.counts.pods_gone += 1;
        self.push(Change::PodGone(pod));
    }

    /// Takes the pod's request off its node, once.
    fn release(&mut self, pod: PodId) {
        let entry = &self.pods[pod.index()];
        let (Some(node), None) = (entry.node, entry.gone) else { return };
        let holds = self.nodes[node.index()].pods.contains(&pod);
        if holds && !self.nodes[node.index()].released.contains(&pod) {
            let requests = self.templates[entry.template.index()].requests.clone();
            let place = &mut self.nodes[node.index()];
            place.requested -= &requests;
            place.released.push(pod);
            self.note_room(node);
            self.count_pod(pod);
        }
    }

    /// Name of a pod.
    pub fn pod_name(&self, pod: PodId) -> String {
        let entry = &self.pods[pod.index()];
        if let Some(name) = &entry.bare_name {
            return name.to_string();
        }
        match entry.owner {
            Owner::ReplicaSet(id) => {
                let mut name = String::with_capacity(64);
                self.push_replica_set_name(&mut name, id);
                push_numbered(&mut name, "-", entry.ordinal);
                name
            }
            Owner::DaemonSet(id) => format!("{}-{}", self.daemon_sets[id.index()].name, entry.ordinal),
            Owner::Bare => format!("pod-{}", entry.ordinal),
        }
    }
}

/// A pod-deletion-cost annotation: only a canonical 32-bit integer counts.
fn canonical_i32(text: &str) -> i32 {
    text.parse::<i32>().ok().filter(|value| value.to_string() == text).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::Address;

    #[test]
    fn addresses_are_written_as_four_numbers() {
        let texts = [0, 0x0a00_0901, 0x0a0a_6463, 0xffff_ffff].map(|address| Address(address).to_string());
        assert_eq!(texts, ["0.0.0.0", "10.0.9.1", "10.10.100.99", "255.255.255.255"]);
    }
}
