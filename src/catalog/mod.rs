//! EC2 instance types: what they have, what of it pods may use, what they cost.
//!
//! In: the embedded table, a NodeClass, prices. Out: `InstanceType`s as Karpenter's AWS provider computes them.
//! Source: karpenter-provider-aws `pkg/providers/instancetype/types.go`. Left out: EFA, pod ENIs, Nitro enclaves, prefix
//! delegation (as there: it only reaches user data).

pub mod capacity;
pub mod kwok;
pub mod price;
pub mod region;

use std::sync::LazyLock;

pub use capacity::{Market, instance_type};
pub use price::PriceOverride;

/// One row of the table, or a user's own type.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// `t3.medium`.
    pub name: String,
    /// `amd64` or `arm64`.
    pub arch: String,
    /// vCPUs.
    pub vcpus: u32,
    /// Advertised memory.
    pub memory_mib: u32,
    /// Network interfaces of the default card.
    pub interfaces: u32,
    /// IPv4 addresses an interface.
    pub addresses: u32,
    /// USD an hour in us-east-1.
    pub price: f64,
    /// Network baseline, megabits a second.
    pub network_mbps: Option<u32>,
    /// EBS bandwidth, megabits a second.
    pub ebs_mbps: Option<u32>,
    /// `nitro` or `xen`; empty: none.
    pub hypervisor: String,
    /// `intel`, `amd` or `aws`.
    pub cpu_vendor: String,
    /// Recorded spot saving, percent.
    pub spot_saving: Option<f64>,
    /// Recorded band of interruptions a month, a position in [`price::INTERRUPTION_BANDS`].
    pub interruption_band: Option<usize>,
    /// Local NVMe disks, GB.
    pub local_nvme_gb: Option<u32>,
    /// Sustained clock speed, MHz.
    pub clock_mhz: Option<u32>,
    /// Traffic between its instances is encrypted.
    pub encrypts: bool,
    /// Its GPUs.
    pub gpu: Option<Device>,
    /// Its other accelerators.
    pub accelerator: Option<Device>,
    /// Pod slots of a user's own type, instead of what its interfaces allow.
    pub pods: Option<i64>,
}

/// Devices of a type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// `nvidia`, `amd`, `aws`.
    pub manufacturer: String,
    /// `t4`, `inferentia2`.
    pub name: String,
    /// How many; 0: a part of one.
    pub count: u32,
    /// Of a GPU its memory in MiB, of an AWS device the Neuron cores of all.
    pub size: u32,
}

impl Device {
    fn read(text: &str) -> Option<Device> {
        let mut parts = text.split('/');
        let mut next = || parts.next();
        let (manufacturer, name) = (next()?.to_string(), next()?.to_string());
        Some(Device { manufacturer, name, count: next()?.parse().ok()?, size: next()?.parse().ok()? })
    }
}

impl Row {
    /// `t3` of `t3.medium`.
    pub fn family(&self) -> &str {
        self.name.split('.').next().unwrap_or(&self.name)
    }

    /// `medium` of `t3.medium`.
    pub fn size(&self) -> &str {
        self.name.split_once('.').map_or("", |(_, size)| size)
    }

    /// `t` of `t3.medium`.
    pub fn category(&self) -> &str {
        let family = self.family();
        &family[..family.find(|c: char| c.is_ascii_digit()).unwrap_or(family.len())]
    }

    /// `3` of `t3.medium`.
    pub fn generation(&self) -> &str {
        let rest = &self.family()[self.category().len()..];
        &rest[..rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len())]
    }

    /// The `-flex` variants.
    pub fn is_flex(&self) -> bool {
        self.family().contains("-flex")
    }

    /// Pods that the network interfaces allow, `reserved` of them not used for pods.
    pub fn interface_pods(&self, reserved: u32) -> i64 {
        let usable = i64::from(self.interfaces.saturating_sub(reserved));
        if usable == 0 { 0 } else { usable * (i64::from(self.addresses) - 1) + 2 }
    }
}

static ROWS: LazyLock<Vec<Row>> = LazyLock::new(|| {
    include_str!("instance_types.txt")
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
        .map(|line| read_row(line).expect("the embedded table is tested"))
        .collect()
});

fn read_row(line: &str) -> Option<Row> {
    let columns: Vec<&str> = line.split(' ').collect();
    let (&[name, arch, vcpus, memory, interfaces, addresses, price, network, ebs], rest) =
        columns.split_first_chunk()?;
    let &[hypervisor, vendor, saving, band, nvme, clock, encrypts, gpu, accelerator] = rest else { return None };
    Some(Row {
        name: name.to_string(),
        arch: arch.to_string(),
        vcpus: vcpus.parse().ok()?,
        memory_mib: memory.parse().ok()?,
        interfaces: interfaces.parse().ok()?,
        addresses: addresses.parse().ok()?,
        price: price.parse().ok()?,
        network_mbps: network.parse().ok(),
        ebs_mbps: ebs.parse().ok(),
        hypervisor: hypervisor.trim_matches('-').to_string(),
        cpu_vendor: vendor.to_string(),
        spot_saving: saving.parse().ok(),
        interruption_band: band.parse().ok(),
        local_nvme_gb: nvme.parse().ok(),
        clock_mhz: clock.parse().ok(),
        encrypts: encrypts == "yes",
        gpu: Device::read(gpu),
        accelerator: Device::read(accelerator),
        pods: None,
    })
}

/// All types of the table, in its order.
pub fn rows() -> &'static [Row] {
    &ROWS
}

/// A type by name.
pub fn find(name: &str) -> Option<&'static Row> {
    ROWS.iter().find(|row| row.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::flags::KarpenterFlags;
    use std::path::PathBuf;

    #[test]
    fn names_give_family_category_generation_and_size() {
        let row = find("m7i-flex.2xlarge").unwrap();
        assert_eq!((row.family(), row.category(), row.generation(), row.size()), ("m7i-flex", "m", "7", "2xlarge"));
        assert!(row.is_flex());
        assert_eq!(find("t3.medium").unwrap().interface_pods(0), 17);
        assert_eq!(find("t3.medium").unwrap().interface_pods(3), 0, "no interface is left");
        assert!(find("t3.gigantic").is_none());
    }

    /// The table against its source, where the source is at hand.
    #[test]
    fn every_row_agrees_with_the_source() {
        let folder = std::env::var("KUBELAPSE_SHARED").unwrap_or_else(|_| "../shared".to_string());
        let path = PathBuf::from(folder).join("data/instance_types.csv");
        let Ok(mut reader) = csv::Reader::from_path(&path) else {
            eprintln!("SKIPPED: {} is not here, set KUBELAPSE_SHARED", path.display());
            return;
        };
        let class = capacity::tests::class();
        let headers = reader.headers().unwrap().clone();
        let mut count = 0;
        for record in reader.records() {
            let record = record.unwrap();
            let column = |name: &str| record.get(headers.iter().position(|header| header == name).unwrap()).unwrap();
            let name = column("instance_type");
            let row = find(name).unwrap_or_else(|| panic!("{name} is missing"));
            let seen = instance_type(row, &class, &KarpenterFlags::default(), &Market::new("us-east-1", 3));
            assert_eq!(seen.allocatable.cpu.0.to_string(), column("alloc_cpu_millis_al2023"), "{name}");
            assert_eq!((seen.allocatable.memory.0 >> 20).to_string(), column("alloc_memory_mib_al2023"), "{name}");
            assert_eq!(seen.capacity.pods.to_string(), column("max_pods"), "{name}");
            assert_eq!(row.category(), column("category"), "{name}");
            assert_eq!(row.generation(), column("generation"), "{name}");
            assert_eq!(row.is_flex().to_string(), column("flex"), "{name}");
            let band = row.interruption_band.map_or("", |band| price::INTERRUPTION_BANDS[band].0);
            assert_eq!(band, column("spot_interruption_band_2025_06"), "{name}");
            assert_eq!(row.price.to_string(), column("on_demand_usd_per_hour"), "{name}");
            count += 1;
        }
        // The others have accelerators, no hypervisor, or are too old or too large for the source.
        assert!(count >= 1_000 && rows().len() > count, "{count}");
    }
}
