//! CPU meters: how much CPU a pod has used, exactly, without an event per tick.

use super::World;
use super::ids::PodId;
use crate::engine::Time;

/// Of what the counter counts in a nanosecond of CPU.
const NANOS: u32 = 1_000_000;

/// So often the rate of a busy pod changes between two scrapes.
const PAST: usize = 8;

/// What the counter shows. Five CPU hours fit into half of its width, and that is divided in a tenth of the time.
#[inline]
fn whole_nanos(exact: u128) -> u128 {
    match u64::try_from(exact) {
        Ok(exact) => u128::from(exact / u64::from(NANOS)),
        Err(_) => exact / u128::from(NANOS),
    }
}

/// A counter that grows at a rate: what was used until `since`, and nanocores from then on.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct CpuMeter {
    present: Stretch,
    /// Earlier stretches, oldest first, where somebody reads what the meter showed in the past.
    past: Vec<Stretch>,
    remembers: bool,
}

/// A time in which the rate is constant.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
struct Stretch {
    /// Used before: microseconds times nanocores, which is 10^-6 nanoseconds of CPU. Divided only where somebody reads it.
    used: u128,
    since: Time,
    nanocores: u64,
}

impl Stretch {
    fn exact(&self, at: Time) -> u128 {
        self.used + u128::from(at.since(self.since).micros()) * u128::from(self.nanocores)
    }
}

impl CpuMeter {
    /// Nanoseconds of CPU used until `now`.
    pub fn used(&self, now: Time) -> u128 {
        whole_nanos(self.present.exact(now))
    }

    /// From now on the meter remembers what it showed.
    pub fn remember(&mut self) {
        self.remembers = true;
        self.past.reserve(PAST);
    }

    /// Nobody asks any more for what it showed before now.
    pub fn forget(&mut self) {
        self.past.clear();
    }

    /// Nanoseconds of CPU used until `at`, an instant since the meter was last told to forget.
    pub fn used_until(&self, at: Time) -> u128 {
        let earlier = || self.past.iter().rev().find(|stretch| stretch.since <= at);
        let stretch = if self.present.since <= at { &self.present } else { earlier().unwrap_or(&self.present) };
        whole_nanos(stretch.exact(at))
    }

    /// The present rate, nanocores.
    pub fn rate(&self) -> u64 {
        self.present.nanocores
    }

    /// From `now` on CPU is used at this rate.
    #[inline]
    pub fn set(&mut self, now: Time, nanocores: u64) {
        if self.remembers {
            self.past.push(self.present);
        }
        self.present = Stretch { used: self.present.exact(now), since: now, nanocores };
    }
}

impl World {
    /// The CPU meter of a pod.
    #[inline(always)]
    pub fn cpu_meter(&mut self, pod: PodId) -> &mut CpuMeter {
        if self.cpu.len() <= pod.index() {
            self.add_cpu_meters(pod);
        }
        &mut self.cpu[pod.index()]
    }

    #[cold]
    fn add_cpu_meters(&mut self, pod: PodId) {
        self.cpu.resize(self.pods.len().max(pod.index() + 1), CpuMeter::default());
    }

    /// Nanoseconds of CPU that a pod has used until now.
    pub fn cpu_used(&self, pod: PodId) -> u128 {
        self.cpu.get(pod.index()).map_or(0, |meter| meter.used(self.now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_meter_remembers_what_it_showed() {
        let second = Time::from_unix_seconds;
        let mut meter = CpuMeter::default();
        meter.remember();
        let mut shown = Vec::new();
        for at in 100..160 {
            shown.push((second(at), meter.used(second(at))));
            if at % 7 == 0 {
                meter.set(second(at), at * 1_000_000);
            }
        }
        for (at, used) in shown {
            assert_eq!(meter.used_until(at), used);
        }
        meter.forget();
        assert_eq!(meter.used_until(second(160)), meter.used(second(160)), "the present stretch is kept");
    }
}
