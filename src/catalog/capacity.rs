//! What a node of a type has, and what of it pods may use.
//!
//! Source: karpenter-provider-aws `pkg/providers/instancetype/types.go` (`computeCapacity`, `kubeReservedResources`,
//! `evictionThreshold`, `pods`, `computeRequirements`).

use super::Row;
use super::price::{PriceOverride, spot_saving};
use crate::plan::flags::KarpenterFlags;
use crate::plan::{AmiFamily, CapacityType, InstanceType, MicroDollars, NodeClassSpec, Offering, ZoneId};
use crate::rules::extended::Extended;
use crate::rules::labels::Labels;
use crate::rules::quantity::{Bytes, Millicores, Quantity};
use crate::rules::requirement::{NodeOperator, NodeRequirement};
use crate::rules::resources::{ResourceList, Resources};
use std::collections::BTreeMap;

const MI: i64 = 1 << 20;
const GI: i64 = 1 << 30;

/// Where and at what prices instances are bought.
#[derive(Clone, Debug, PartialEq)]
pub struct Market {
    /// Region name.
    pub region: String,
    /// Number of zones.
    pub zones: usize,
    /// Prices of the region relative to us-east-1.
    pub price_factor: f64,
    /// Own prices by type.
    pub overrides: BTreeMap<String, PriceOverride>,
}

impl Market {
    /// The listed prices.
    pub fn new(region: &str, zones: usize) -> Market {
        Market { region: region.to_string(), zones, price_factor: 1.0, overrides: BTreeMap::new() }
    }

    /// On-demand and spot price in USD an hour; true if the spot price is an estimate.
    pub fn prices(&self, row: &Row) -> (f64, f64, bool) {
        let own = self.overrides.get(&row.name).copied().unwrap_or_default();
        let on_demand = own.on_demand.unwrap_or(row.price * self.price_factor);
        let (saving, estimate) = spot_saving(row);
        let spot = own.spot.unwrap_or(on_demand * (1.0 - saving / 100.0));
        (on_demand, spot, estimate && own.spot.is_none())
    }
}

/// A type as pools of a NodeClass see it.
pub fn instance_type(row: &Row, class: &NodeClassSpec, flags: &KarpenterFlags, market: &Market) -> InstanceType {
    let capacity = capacity(row, class, flags);
    let allocatable = allocatable(row, class, &capacity);
    let (on_demand, spot, spot_price_is_estimate) = market.prices(row);
    let offerings = (0..market.zones)
        .flat_map(|zone| {
            [(CapacityType::Spot, spot), (CapacityType::OnDemand, on_demand)].map(|(capacity_type, price)| Offering {
                zone: ZoneId::at(zone),
                capacity_type,
                price: MicroDollars::from_dollars(price),
                available: true,
                reservation: None,
            })
        })
        .collect();
    InstanceType {
        name: row.name.clone(),
        labels: labels(row, class, &market.region),
        requirements: lacking(row),
        capacity,
        allocatable,
        offerings,
        network_interfaces: row.interfaces,
        addresses_per_interface: row.addresses,
        network_mbps: row.network_mbps.unwrap_or(0),
        burst_baseline_millis: burst_baseline(row),
        vcpus: row.vcpus,
        spot_price_is_estimate,
    }
}

fn capacity(row: &Row, class: &NodeClassSpec, flags: &KarpenterFlags) -> Resources {
    // Graviton hides 64 MiB; of the rest a share is taken for the hypervisor, rounded up to the MiB.
    let advertised = i64::from(row.memory_mib) - if row.arch == "arm64" { 64 } else { 0 };
    let overhead = (advertised * i64::from(flags.vm_memory_overhead_millis)).div_euclid(1000)
        + i64::from((advertised * i64::from(flags.vm_memory_overhead_millis)).rem_euclid(1000) != 0);
    Resources {
        cpu: Millicores(i64::from(row.vcpus) * 1000),
        memory: Bytes((advertised - overhead).max(0) * MI),
        ephemeral_storage: match row.local_nvme_gb.filter(|_| class.raid0) {
            Some(gigabytes) => Bytes(i64::from(gigabytes) * 1_000_000_000),
            None => class.volume,
        },
        pods: pods(row, class, flags),
        extended: devices(row),
    }
}

/// Devices that pods may ask for.
fn devices(row: &Row) -> Extended {
    let gpu = row.gpu.iter().filter(|gpu| gpu.count > 0 && ["nvidia", "amd"].contains(&gpu.manufacturer.as_str()));
    let gpu = gpu.map(|gpu| (format!("{}.com/gpu", gpu.manufacturer), i64::from(gpu.count)));
    let neuron = row.accelerator.iter().filter(|one| one.manufacturer == "aws");
    let neuron = neuron.flat_map(|one| [("neuron", one.count), ("neuroncore", one.size)]);
    gpu.chain(neuron.map(|(name, count)| (format!("aws.amazon.com/{name}"), i64::from(count)))).collect()
}

fn pods(row: &Row, class: &NodeClassSpec, flags: &KarpenterFlags) -> i64 {
    let count = match (class.max_pods, row.pods, class.family) {
        (Some(pods), _, _) | (None, Some(pods), _) => pods,
        (None, None, AmiFamily::Windows) => 110,
        (None, None, AmiFamily::Al2 | AmiFamily::Al2023 | AmiFamily::Bottlerocket | AmiFamily::Custom) => {
            row.interface_pods(flags.reserved_enis)
        }
    };
    match class.pods_per_core {
        Some(per_core) if per_core > 0 && class.family != AmiFamily::Bottlerocket => {
            count.min(per_core.saturating_mul(i64::from(row.vcpus)))
        }
        _ => count,
    }
}

fn allocatable(row: &Row, class: &NodeClassSpec, capacity: &Resources) -> Resources {
    let reserved = kube_reserved(row, class, capacity.pods);
    let system = class.system_reserved.amounts();
    let (eviction_memory, eviction_storage) = eviction_threshold(class, capacity);
    let mut free = capacity.clone();
    free.cpu.0 = (free.cpu.0 - reserved.cpu.0 - system.cpu.0).max(0);
    free.memory.0 = (free.memory.0 - reserved.memory.0 - system.memory.0 - eviction_memory).max(0);
    let storage = reserved.ephemeral_storage.0 + system.ephemeral_storage.0 + eviction_storage;
    free.ephemeral_storage.0 = (free.ephemeral_storage.0 - storage).max(0);
    free
}

/// 6 % of the first core, 1 % of the second, 0.5 % of the next two, 0.25 % of the rest; 255 MiB and 11 MiB a pod; 1 GiB.
fn kube_reserved(row: &Row, class: &NodeClassSpec, pods: i64) -> Resources {
    let millis = i64::from(row.vcpus) * 1000;
    let tiers = [(0, 1000, 600), (1000, 2000, 100), (2000, 4000, 50), (4000, i64::MAX, 25)];
    let cpu = tiers.iter().map(|&(from, to, share)| (millis.min(to) - from).max(0) * share / 10_000).sum();
    let counted = match class.family {
        AmiFamily::Al2 | AmiFamily::Al2023 | AmiFamily::Custom => row.interface_pods(0),
        AmiFamily::Bottlerocket | AmiFamily::Windows => pods,
    };
    let ResourceList { cpu: own_cpu, memory: own_memory, ephemeral_storage: own_storage, .. } = &class.kube_reserved;
    Resources {
        cpu: own_cpu.unwrap_or(Millicores(cpu)),
        memory: own_memory.unwrap_or(Bytes((255 + 11 * counted) * MI)),
        ephemeral_storage: own_storage.unwrap_or(Bytes(GI)),
        ..Resources::default()
    }
}

fn eviction_threshold(class: &NodeClassSpec, capacity: &Resources) -> (i64, i64) {
    let signal = |name: &str, of: i64, default: i64| match class.eviction_hard.get(name) {
        Some(text) => signal_amount(text, of).unwrap_or(default),
        None => default,
    };
    let storage = capacity.ephemeral_storage.0;
    let tenth = storage / 10 + i64::from(storage % 10 != 0);
    (signal("memory.available", capacity.memory.0, 100 * MI), signal("nodefs.available", storage, tenth))
}

/// An eviction signal: an amount, or a percentage of which 100 % means none.
fn signal_amount(text: &str, of: i64) -> Option<i64> {
    match text.strip_suffix('%') {
        None => Quantity::parse(text).ok().map(Quantity::units_ceil),
        Some(percent) => {
            let percent = percent.parse::<f64>().ok()?;
            Some(if percent == 100.0 { 0 } else { (of as f64 / 100.0 * percent).ceil() as i64 })
        }
    }
}

/// Labels of the nodes of a type that Karpenter knows before launch.
fn labels(row: &Row, class: &NodeClassSpec, region: &str) -> Labels {
    let mut labels = Labels::new();
    let mut put = |key: &str, value: String| labels.insert(key, value);
    let windows = class.family == AmiFamily::Windows;
    put("node.kubernetes.io/instance-type", row.name.clone());
    put("kubernetes.io/arch", row.arch.clone());
    put("kubernetes.io/os", if windows { "windows" } else { "linux" }.to_string());
    put("topology.kubernetes.io/region", region.to_string());
    let mut aws = |key: &str, value: String| put(&format!("karpenter.k8s.aws/instance-{key}"), value);
    aws("category", row.category().to_string());
    aws("family", row.family().to_string());
    aws("generation", row.generation().to_string());
    aws("size", row.size().to_string());
    aws("cpu", row.vcpus.to_string());
    aws("cpu-manufacturer", row.cpu_vendor.clone());
    aws("memory", row.memory_mib.to_string());
    aws("hypervisor", row.hypervisor.clone());
    aws("capability-flex", row.is_flex().to_string());
    aws("encryption-in-transit-supported", row.encrypts.to_string());
    if let Some(gigabytes) = row.local_nvme_gb {
        aws("local-nvme", gigabytes.to_string());
    }
    if let Some(clock) = row.clock_mhz {
        aws("cpu-sustained-clock-speed-mhz", clock.to_string());
    }
    for (kind, device) in [("gpu", &row.gpu), ("accelerator", &row.accelerator)] {
        if let Some(device) = device {
            aws(&format!("{kind}-name"), device.name.clone());
            aws(&format!("{kind}-manufacturer"), device.manufacturer.clone());
            aws(&format!("{kind}-count"), device.count.to_string());
        }
    }
    if let Some(gpu) = &row.gpu {
        aws("gpu-memory", gpu.size.to_string());
    }
    if let Some(bandwidth) = row.network_mbps {
        aws("network-bandwidth", bandwidth.to_string());
    }
    if let Some(bandwidth) = row.ebs_mbps {
        aws("ebs-bandwidth", bandwidth.to_string());
    }
    labels
}

/// What its nodes surely lack, and labels of which they may have either value (`computeRequirements`).
fn lacking(row: &Row) -> Vec<NodeRequirement> {
    let gpu: &[&str] =
        if row.gpu.is_none() { &["gpu-name", "gpu-manufacturer", "gpu-count", "gpu-memory"] } else { &[] };
    let accelerator: &[&str] = if row.accelerator.is_none() {
        &["accelerator-name", "accelerator-manufacturer", "accelerator-count"]
    } else {
        &[]
    };
    let rest = [
        ("local-nvme", row.local_nvme_gb.is_none()),
        ("cpu-sustained-clock-speed-mhz", row.clock_mhz.is_none()),
        ("network-bandwidth", row.network_mbps.is_none()),
        ("ebs-bandwidth", row.ebs_mbps.is_none()),
    ];
    let rest = rest.iter().filter(|(_, lacks)| *lacks).map(|(name, _)| name);
    let absent = gpu.iter().chain(accelerator).chain(rest);
    let key = |name: &str| format!("karpenter.k8s.aws/instance-{name}");
    // Of what type a reservation is, only instances of reservations say.
    let reservation = ["type", "interruptible"].map(|name| format!("karpenter.k8s.aws/capacity-reservation-{name}"));
    let absent = absent.map(|name| key(name)).chain(reservation);
    let absent = absent.map(|key| NodeRequirement::new(&key, NodeOperator::DoesNotExist, &[]));
    absent.chain([NodeRequirement::new(&key("tenancy"), NodeOperator::In, &["default", "dedicated"])]).collect()
}

/// Share of each vCPU that a burstable type earns, thousandths. Source: EC2 guide, "Key concepts for burstable performance
/// instances".
fn burst_baseline(row: &Row) -> u32 {
    match (row.category(), row.generation(), row.size()) {
        ("t", _, "nano") => 50,
        ("t", _, "micro") => 100,
        ("t", _, "small" | "medium") => 200,
        ("t", _, "large") => 300,
        ("t", "2", "xlarge") => 225,
        ("t", "2", "2xlarge") => 169,
        ("t", _, "xlarge" | "2xlarge") => 400,
        _ => 0,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::catalog::find;

    pub fn class() -> NodeClassSpec {
        NodeClassSpec {
            name: "default".to_string(),
            family: AmiFamily::Al2023,
            max_pods: None,
            pods_per_core: None,
            kube_reserved: ResourceList::default(),
            system_reserved: ResourceList::default(),
            eviction_hard: Labels::new(),
            volume: Bytes(20 * GI),
            raid0: false,
        }
    }

    fn seen(name: &str, class: &NodeClassSpec) -> InstanceType {
        let market = Market::new("us-east-1", 2);
        instance_type(find(name).unwrap(), class, &KarpenterFlags::default(), &market)
    }

    #[test]
    fn the_worked_examples() {
        let allocatable = |name| {
            let found = seen(name, &class()).allocatable;
            (found.cpu.0, found.memory.0 / MI, found.pods, found.ephemeral_storage.0 / GI)
        };
        assert_eq!(allocatable("m5.xlarge"), (3920, 14162, 58, 17));
        assert_eq!(allocatable("m5.large"), (1930, 6903, 29, 17));
        assert_eq!(allocatable("t3.medium"), (1930, 3246, 17, 17));
        assert_eq!(seen("m5.xlarge", &class()).capacity.memory.0 / MI, 15155);
    }

    #[test]
    fn cpu_reserve_by_size() {
        let reserve = |vcpus| {
            let row = Row { vcpus, ..find("m5.large").unwrap().clone() };
            kube_reserved(&row, &class(), 0).cpu.0
        };
        let table = [(1, 60), (2, 70), (4, 80), (8, 90), (16, 110), (32, 150), (48, 190), (64, 230), (96, 310)];
        for (vcpus, expected) in table {
            assert_eq!(reserve(vcpus), expected, "{vcpus} vCPU");
        }
    }

    #[test]
    fn a_node_class_changes_what_pods_may_use() {
        let own = NodeClassSpec {
            max_pods: Some(110),
            kube_reserved: ResourceList { cpu: Some(Millicores(200)), ..ResourceList::default() },
            system_reserved: ResourceList { memory: Some(Bytes(100 * MI)), ..ResourceList::default() },
            eviction_hard: Labels::from([("memory.available".to_string(), "5%".to_string())]),
            ..class()
        };
        let found = seen("m5.xlarge", &own).allocatable;
        // Memory of kube-reserved still counts the 58 pods of the interfaces.
        let eviction = (15155 * MI + 19) / 20;
        assert_eq!((found.pods, found.cpu.0, found.memory.0), (110, 3800, (15155 - 893 - 100) * MI - eviction));
        let bottlerocket = NodeClassSpec { family: AmiFamily::Bottlerocket, max_pods: Some(10), ..class() };
        assert_eq!(seen("m5.xlarge", &bottlerocket).allocatable.memory.0 / MI, 15155 - 255 - 110 - 100);
        let per_core = NodeClassSpec { pods_per_core: Some(5), ..class() };
        assert_eq!(seen("m5.xlarge", &per_core).allocatable.pods, 20);
        let none = NodeClassSpec {
            eviction_hard: Labels::from([("memory.available".to_string(), "100%".to_string())]),
            ..class()
        };
        assert_eq!(seen("m5.large", &none).allocatable.memory.0 / MI, 7003);
    }

    #[test]
    fn offerings_and_labels() {
        let medium = seen("t3.medium", &class());
        let prices: Vec<(u32, &str, i64)> =
            medium.offerings.iter().map(|o| (o.zone.0, o.capacity_type.name(), o.price.0)).collect();
        let expected = [(0, "spot", 18_304), (0, "on-demand", 41_600), (1, "spot", 18_304), (1, "on-demand", 41_600)];
        assert_eq!(prices, expected, "56 % below 0.0416 USD");
        assert_eq!(medium.labels.get("karpenter.k8s.aws/instance-category"), Some("t"));
        assert_eq!(medium.labels.get("karpenter.k8s.aws/instance-memory"), Some("4096"));
        assert_eq!(medium.labels.get("kubernetes.io/arch"), Some("amd64"));
        assert_eq!(medium.burst_baseline_millis, 200);
        let mut market = Market::new("eu-west-1", 1);
        market.price_factor = 1.1;
        assert!((market.prices(find("m5.large").unwrap()).0 - 0.1056).abs() < 1e-12);
        market.overrides.insert("m5.large".to_string(), PriceOverride { on_demand: Some(0.2), spot: Some(0.05) });
        assert_eq!(market.prices(find("m5.large").unwrap()), (0.2, 0.05, false));
    }
}
