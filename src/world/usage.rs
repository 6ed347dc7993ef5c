//! CPU meters: how much CPU a pod has used, exactly, without an event per tick.

use super::World;
use super::ids::PodId;
use crate::engine::Time;

/// Of what the counter counts in a nanosecond of CPU.
const NANOS: u128 = 1_000_000;

/// A counter that grows at a rate: what was used until `since`, and nanocores from then on.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub struct CpuMeter {
    /// Microseconds times nanocores, which is 10^-6 nanoseconds of CPU: divided only where somebody reads it.
    used: u128,
    since: Time,
    nanocores: u64,
}

impl CpuMeter {
    /// Nanoseconds of CPU used until `now`.
    pub fn used(&self, now: Time) -> u128 {
        self.exact(now) / NANOS
    }

    fn exact(&self, now: Time) -> u128 {
        self.used + u128::from(now.since(self.since).micros()) * u128::from(self.nanocores)
    }

    /// The present rate, nanocores.
    pub fn rate(&self) -> u64 {
        self.nanocores
    }

    /// From `now` on CPU is used at this rate.
    pub fn set(&mut self, now: Time, nanocores: u64) {
        self.used = self.exact(now);
        self.since = now;
        self.nanocores = nanocores;
    }

    /// A lump of CPU used at `now` (a whole request).
    pub fn add(&mut self, nanos: u128) {
        self.used += nanos * NANOS;
    }
}

impl World {
    /// The CPU meter of a pod.
    pub fn cpu_meter(&mut self, pod: PodId) -> &mut CpuMeter {
        if self.cpu.len() <= pod.index() {
            self.cpu.resize(self.pods.len().max(pod.index() + 1), CpuMeter::default());
        }
        &mut self.cpu[pod.index()]
    }

    /// Nanoseconds of CPU that a pod has used until now.
    pub fn cpu_used(&self, pod: PodId) -> u128 {
        self.cpu.get(pod.index()).map_or(0, |meter| meter.used(self.now))
    }
}
