//! Resource lists and the request of a pod.
//!
//! Source: `k8s.io/component-helpers/resource/helpers.go` (`PodRequests`); scheduler `framework/types.go`.

use super::extended::Extended;
use super::quantity::{Bytes, Millicores};
use std::ops::{AddAssign, SubAssign};

/// Resources as somebody wrote them: an absent entry differs from zero.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct ResourceList {
    /// `cpu`.
    pub cpu: Option<Millicores>,
    /// `memory`.
    pub memory: Option<Bytes>,
    /// `ephemeral-storage`.
    pub ephemeral_storage: Option<Bytes>,
    /// `pods`.
    pub pods: Option<i64>,
    /// Everything else by name, whole units.
    pub extended: Extended,
}

/// Amounts of resources: what is absent is zero.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Resources {
    /// CPU.
    pub cpu: Millicores,
    /// Memory.
    pub memory: Bytes,
    /// Local storage.
    pub ephemeral_storage: Bytes,
    /// Pod slots.
    pub pods: i64,
    /// Everything else by name, whole units.
    pub extended: Extended,
}

impl ResourceList {
    /// The amounts, zero where absent.
    pub fn amounts(&self) -> Resources {
        Resources {
            cpu: self.cpu.unwrap_or_default(),
            memory: self.memory.unwrap_or_default(),
            ephemeral_storage: self.ephemeral_storage.unwrap_or_default(),
            pods: self.pods.unwrap_or_default(),
            extended: self.extended.clone(),
        }
    }

    /// True when nothing is written.
    pub fn is_empty(&self) -> bool {
        let ResourceList { cpu, memory, ephemeral_storage, pods, extended } = self;
        cpu.is_none() && memory.is_none() && ephemeral_storage.is_none() && pods.is_none() && extended.is_empty()
    }
}

impl Resources {
    /// CPU and memory only.
    pub fn cpu_memory(cpu: Millicores, memory: Bytes) -> Resources {
        Resources { cpu, memory, ..Resources::default() }
    }

    /// The larger of both, resource by resource.
    pub fn max(mut self, other: &Resources) -> Resources {
        self.cpu = self.cpu.max(other.cpu);
        self.memory = self.memory.max(other.memory);
        self.ephemeral_storage = self.ephemeral_storage.max(other.ephemeral_storage);
        self.pods = self.pods.max(other.pods);
        for (name, &amount) in other.extended.iter() {
            let entry = self.extended.get_or_insert(name.clone(), 0);
            *entry = (*entry).max(amount);
        }
        self
    }

    /// Amount of an extended resource.
    #[inline]
    pub fn extended(&self, name: &str) -> i64 {
        self.extended.get(name).copied().unwrap_or(0)
    }

    /// Whether everything asked for here is there in `available` (negative amounts are never enough for a request
    /// above zero; a request of zero always fits).
    #[inline]
    pub fn fits_in(&self, available: &Resources) -> bool {
        let enough = |want: i64, have: i64| want <= 0 || want <= have;
        enough(self.cpu.0, available.cpu.0)
            && enough(self.memory.0, available.memory.0)
            && enough(self.ephemeral_storage.0, available.ephemeral_storage.0)
            && enough(self.pods, available.pods)
            && self.extended.iter().all(|(name, &want)| enough(want, available.extended(name)))
    }
}

impl AddAssign<&Resources> for Resources {
    #[inline]
    fn add_assign(&mut self, other: &Resources) {
        self.cpu.0 += other.cpu.0;
        self.memory.0 += other.memory.0;
        self.ephemeral_storage.0 += other.ephemeral_storage.0;
        self.pods += other.pods;
        for (name, amount) in other.extended.iter() {
            *self.extended.get_or_insert(name.clone(), 0) += amount;
        }
    }
}

impl SubAssign<&Resources> for Resources {
    #[inline]
    fn sub_assign(&mut self, other: &Resources) {
        self.cpu.0 -= other.cpu.0;
        self.memory.0 -= other.memory.0;
        self.ephemeral_storage.0 -= other.ephemeral_storage.0;
        self.pods -= other.pods;
        for (name, amount) in other.extended.iter() {
            *self.extended.get_or_insert(name.clone(), 0) -= amount;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_fits_only_if_every_resource_does() {
        let node = Resources { pods: 17, ..Resources::cpu_memory(Millicores(1930), Bytes(3246 << 20)) };
        let mut free = node.clone();
        let pod = Resources { pods: 1, ..Resources::cpu_memory(Millicores(500), Bytes(512 << 20)) };
        for _ in 0..3 {
            assert!(pod.fits_in(&free));
            free -= &pod;
        }
        assert!(!pod.fits_in(&free), "430m are left of 1930m");
        for _ in 0..3 {
            free += &pod;
        }
        assert_eq!(free, node);
    }
}
