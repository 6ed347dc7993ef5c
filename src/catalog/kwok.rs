//! The instance types of Karpenter's KWOK provider: families c, s and m with 2, 4 and 8 Gi a vCPU.
//!
//! In: zones. Out: [`InstanceType`]s with the provider's labels, overhead and prices. Source: karpenter
//! `kwok/cloudprovider/helpers.go`, `kwok/tools/gen_instance_types.go`. Left out: arm64 and Windows twins of each type, which
//! cost the same.

use crate::plan::{CapacityType, InstanceType, MicroDollars, Offering, ZoneId};
use crate::rules::labels::Labels;
use crate::rules::quantity::{Bytes, Millicores};
use crate::rules::resources::Resources;

/// vCPUs on offer.
const SIZES: [u32; 12] = [1, 2, 4, 8, 16, 32, 48, 64, 96, 128, 192, 256];
/// Families with their Gi per vCPU.
const FAMILIES: [(&str, i64); 3] = [("c", 2), ("s", 4), ("m", 8)];
/// USD an hour of a vCPU and of 10^9 bytes.
const PRICES: (f64, f64) = (0.025, 0.001);
/// Spot costs so much of on demand.
const SPOT: f64 = 0.7;
/// Overhead of the kubelet.
const OVERHEAD: (Millicores, Bytes) = (Millicores(100), Bytes(10 << 20));
/// Pods per vCPU, and at most.
const PODS: (i64, i64) = (16, 1024);
/// Zones of the provider.
pub const ZONES: [&str; 4] = ["test-zone-a", "test-zone-b", "test-zone-c", "test-zone-d"];

/// All types, cheapest vCPU first within a size.
pub fn instance_types() -> Vec<InstanceType> {
    SIZES
        .iter()
        .flat_map(|&cpu| FAMILIES.iter().map(move |&(family, ratio)| instance_type(family, ratio, cpu)))
        .collect()
}

fn instance_type(family: &str, ratio: i64, vcpus: u32) -> InstanceType {
    let memory = Bytes((i64::from(vcpus) * ratio) << 30);
    let name = format!("{family}-{vcpus}x-amd64-linux");
    let labels = [
        ("kubernetes.io/arch", "amd64".to_string()),
        ("kubernetes.io/os", "linux".to_string()),
        ("karpenter.kwok.sh/instance-size", format!("{vcpus}x")),
        ("karpenter.kwok.sh/instance-family", family.to_string()),
        ("karpenter.kwok.sh/instance-cpu", vcpus.to_string()),
        ("karpenter.kwok.sh/instance-memory", memory.0.to_string()),
    ];
    let pods = (i64::from(vcpus) * PODS.0).min(PODS.1);
    let cpu = Millicores(i64::from(vcpus) * 1_000);
    let with =
        |cpu, memory| Resources { pods, ephemeral_storage: Bytes(20 << 30), ..Resources::cpu_memory(cpu, memory) };
    let dollars = PRICES.0 * f64::from(vcpus) + PRICES.1 * memory.0 as f64 / 1e9;
    let offerings = (0..ZONES.len()).flat_map(|zone| {
        let offer = move |capacity_type, dollars| Offering {
            zone: ZoneId::at(zone),
            capacity_type,
            price: MicroDollars::from_dollars(dollars),
            available: true,
            reservation: None,
        };
        [offer(CapacityType::Spot, dollars * SPOT), offer(CapacityType::OnDemand, dollars)]
    });
    InstanceType {
        name,
        labels: labels.into_iter().map(|(key, value)| (key.to_string(), value)).collect::<Labels>(),
        requirements: Vec::new(),
        capacity: with(cpu, memory),
        allocatable: with(Millicores(cpu.0 - OVERHEAD.0.0), Bytes(memory.0 - OVERHEAD.1.0)),
        offerings: offerings.collect(),
        network_interfaces: 1,
        addresses_per_interface: 1,
        network_mbps: 10_000,
        burst_baseline_millis: 0,
        vcpus,
        spot_price_is_estimate: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The formula against the provider's list, where that is at hand.
    #[test]
    fn types_and_prices_are_those_of_the_provider() {
        let path = std::path::Path::new("../shared/recordings/instance_types.csv");
        let Ok(mut reader) = csv::Reader::from_path(path) else {
            eprintln!("SKIPPED: {} is not here", path.display());
            return;
        };
        let types = instance_types();
        let mut rows = 0;
        for record in reader.records() {
            let record = record.unwrap();
            let kind = types.iter().find(|kind| kind.name == record[0]).unwrap_or_else(|| panic!("{}", &record[0]));
            assert_eq!((kind.vcpus.to_string(), kind.capacity.pods.to_string()), (record[1].into(), record[3].into()));
            let price = |capacity_type| {
                kind.offerings.iter().find(|offering| offering.capacity_type == capacity_type).unwrap().price
            };
            let dollars = |column: usize| MicroDollars::from_dollars(record[column].parse().unwrap());
            assert_eq!((price(CapacityType::OnDemand), price(CapacityType::Spot)), (dollars(5), dollars(6)));
            rows += 1;
        }
        assert_eq!(rows, types.len());
    }
}
