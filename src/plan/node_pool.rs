//! NodePool and EC2NodeClass, and the instance types a pool may use.
//!
//! Source: Karpenter `pkg/apis/v1/nodepool.go`, karpenter-provider-aws `pkg/apis/v1/ec2nodeclass.go`.

use super::ids::{NodeClassId, ReservationId, ZoneId};
use crate::engine::Span;
use crate::rules::labels::Labels;
use crate::rules::quantity::{Bytes, Millicores};
use crate::rules::requirement::NodeRequirement;
use crate::rules::resources::{ResourceList, Resources};
use crate::rules::taint::Taint;

/// A NodePool, in the v1 shape. A v1beta1 manifest is converted when it is read.
#[derive(Clone, Debug, PartialEq)]
pub struct NodePoolSpec {
    /// `metadata.name`.
    pub name: String,
    /// `spec.template.metadata.labels`.
    pub labels: Labels,
    /// `spec.template.metadata.annotations`.
    pub annotations: Labels,
    /// `spec.template.spec.requirements`.
    pub requirements: Vec<NodeRequirement>,
    /// `spec.template.spec.taints`.
    pub taints: Vec<Taint>,
    /// `spec.template.spec.startupTaints`.
    pub startup_taints: Vec<Taint>,
    /// `spec.template.spec.nodeClassRef.name`.
    pub node_class_name: String,
    /// The class in the plan, if it is there.
    pub node_class: Option<NodeClassId>,
    /// `expireAfter`, default 720 h; `None`: Never.
    pub expire_after: Option<Span>,
    /// `terminationGracePeriod`.
    pub termination_grace_period: Option<Span>,
    /// `spec.limits`; what is not limited is absent. The limit on `nodes` is in `extended["nodes"]`.
    pub limits: Option<ResourceList>,
    /// `spec.weight`, default 0 (none).
    pub weight: i32,
    /// `spec.replicas` of a static pool.
    pub replicas: Option<i32>,
    /// `disruption.consolidationPolicy`.
    pub consolidation_policy: ConsolidationPolicy,
    /// `disruption.consolidateAfter`, default 0 s; `None`: Never.
    pub consolidate_after: Option<Span>,
    /// `disruption.budgets`, default one of 10 %.
    pub budgets: Vec<Budget>,
    /// The rules of v1beta1 (0.37) govern this pool: graceful budgeted expiry, no delay before consolidation.
    pub v1beta1: bool,
    /// It is Ready and not being deleted: only such a pool gets nodes.
    pub usable: bool,
}

impl NodePoolSpec {
    /// Nodes made from the other spec would not be as those of this one: what the hash of the template covers.
    pub fn is_made_differently(&self, other: &NodePoolSpec) -> bool {
        self.labels != other.labels
            || self.annotations != other.annotations
            || self.taints != other.taints
            || self.startup_taints != other.startup_taints
            || self.node_class_name != other.node_class_name
            || self.termination_grace_period != other.termination_grace_period
            || (self.expire_after != other.expire_after && !self.v1beta1)
    }
}

/// `consolidationPolicy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConsolidationPolicy {
    /// Only empty nodes go.
    WhenEmpty,
    /// The default of v1. `WhenUnderutilized` of v1beta1 converts to it.
    WhenEmptyOrUnderutilized,
    /// v1.14: moves must be worth their disruption.
    Balanced,
}

/// A disruption budget.
#[derive(Clone, Debug, PartialEq)]
pub struct Budget {
    /// `nodes` as written: `"10%"` or `"5"`.
    pub nodes: String,
    /// Cron schedule in UTC; together with `duration`.
    pub schedule: Option<String>,
    /// How long the schedule's window lasts.
    pub duration: Option<Span>,
    /// `Underutilized`, `Empty`, `Drifted`; `None`: all.
    pub reasons: Option<Vec<String>>,
}

/// An EC2NodeClass.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeClassSpec {
    /// `metadata.name`.
    pub name: String,
    /// AMI family.
    pub family: AmiFamily,
    /// `kubelet.maxPods`.
    pub max_pods: Option<i64>,
    /// `kubelet.podsPerCore`.
    pub pods_per_core: Option<i64>,
    /// `kubelet.kubeReserved`, per key.
    pub kube_reserved: ResourceList,
    /// `kubelet.systemReserved`.
    pub system_reserved: ResourceList,
    /// `kubelet.evictionHard` signals as written (`memory.available: 5%`).
    pub eviction_hard: Labels,
    /// Size of the root (or data) volume, default 20 Gi.
    pub volume: Bytes,
    /// `instanceStorePolicy: RAID0`: pods' local storage is on the NVMe disks of the type, where it has some.
    pub raid0: bool,
}

/// AMI families.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AmiFamily {
    /// Amazon Linux 2.
    Al2,
    /// Amazon Linux 2023.
    Al2023,
    /// Bottlerocket.
    Bottlerocket,
    /// Windows 2019, 2022, 2025.
    Windows,
    /// User supplied.
    Custom,
}

/// An instance type as a pool sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct InstanceType {
    /// `t3.medium`.
    pub name: String,
    /// Labels its nodes carry (single-valued requirements): arch, os, instance family, size, cpu, ...
    pub labels: Labels,
    /// Requirements beyond its labels: labels that it lacks, labels of several values.
    pub requirements: Vec<NodeRequirement>,
    /// Capacity.
    pub capacity: Resources,
    /// Capacity less kube-reserved, system-reserved and eviction threshold.
    pub allocatable: Resources,
    /// What can be bought.
    pub offerings: Vec<Offering>,
    /// Elastic network interfaces of the default card.
    pub network_interfaces: u32,
    /// IPv4 addresses per interface.
    pub addresses_per_interface: u32,
    /// Network baseline, megabits a second.
    pub network_mbps: u32,
    /// Burstable (t3, t4g): CPU share per vCPU that is earned, in thousandths; 0 for others.
    pub burst_baseline_millis: u32,
    /// vCPUs.
    pub vcpus: u32,
    /// The spot price is derived from a median saving, not from a recorded one.
    pub spot_price_is_estimate: bool,
}

impl InstanceType {
    /// Addresses that its interfaces have for pods, with `reserved` interfaces kept for something else: one of each interface
    /// is its own, and a prefix (/28) takes the place of an address. Source: EKS user guide, "Assign more IP addresses to Amazon
    /// EKS nodes with prefixes".
    pub fn addresses(&self, reserved: u32, prefixes: bool) -> i64 {
        let slots = self.network_interfaces.saturating_sub(reserved) * self.addresses_per_interface.saturating_sub(1);
        i64::from(slots) * if prefixes { 16 } else { 1 }
    }

    /// Pods that the addresses of its interfaces allow: those, and two on the host's network.
    pub fn interface_pods(&self, reserved: u32) -> i64 {
        self.addresses(reserved, false) + 2
    }

    /// Bare metal, or with devices: launched only where nothing else will do (provider `filter.go`,
    /// `ExoticInstanceTypeFilter`).
    pub fn is_exotic(&self) -> bool {
        let devices = ["nvidia.com/gpu", "amd.com/gpu", "aws.amazon.com/neuron", "aws.amazon.com/neuroncore"];
        let has = |name: &str| self.capacity.extended.get(name).is_some_and(|&count| count > 0);
        self.name.contains("metal") || devices.into_iter().any(has)
    }

    /// CPU of one node, all cores.
    pub fn cpu(&self) -> Millicores {
        self.capacity.cpu
    }
}

/// One way to buy an instance type.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Offering {
    /// Where.
    pub zone: ZoneId,
    /// How.
    pub capacity_type: CapacityType,
    /// Price in micro-dollars an hour.
    pub price: MicroDollars,
    /// Offered at all.
    pub available: bool,
    /// The capacity reservation that it draws on.
    pub reservation: Option<ReservationId>,
}

/// A capacity reservation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reservation {
    /// Its id at EC2.
    pub name: String,
    /// Instances that it has left; of several reports the least.
    pub left: u32,
}

/// Micro-dollars (10^-6 USD).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct MicroDollars(pub i64);

impl MicroDollars {
    /// The nearest micro-dollar.
    pub fn from_dollars(dollars: f64) -> MicroDollars {
        MicroDollars((dollars * 1e6).round() as i64)
    }

    /// Dollars, for people and files.
    pub fn dollars(self) -> f64 {
        self.0 as f64 / 1e6
    }
}

/// `karpenter.sh/capacity-type`, in the order in which Karpenter prefers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CapacityType {
    /// Capacity reservation.
    Reserved,
    /// Spot.
    Spot,
    /// On demand.
    OnDemand,
}

impl CapacityType {
    /// All of them, in that order.
    pub const ALL: [CapacityType; 3] = [CapacityType::Reserved, CapacityType::Spot, CapacityType::OnDemand];

    /// As the label writes it.
    pub const fn name(self) -> &'static str {
        match self {
            CapacityType::Reserved => "reserved",
            CapacityType::Spot => "spot",
            CapacityType::OnDemand => "on-demand",
        }
    }
}
