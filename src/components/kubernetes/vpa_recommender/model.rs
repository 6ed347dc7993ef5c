//! What the recommender remembers of the containers of one workload.
//!
//! Source: `pkg/recommender/model/container.go`, `aggregate_container_state.go`, `cluster.go`. Samples of containers of
//! one name in pods with equal labels share one history; a recommendation adds up the histories of all label sets.

use super::histogram::{Buckets, Histogram};
use crate::engine::{Span, Time};
use crate::plan::flags::VpaFlags;
use std::collections::BTreeMap;

/// The largest amount of a resource: millicores or bytes.
const MAX_AMOUNT: f64 = 1e14;

/// Weight of a CPU sample before decay.
const CPU_WEIGHT: f64 = 0.1;

/// A float cut to an amount. What is no number (nothing times infinity) becomes zero: upstream it becomes the least
/// integer, which every minimum replaces.
pub fn amount(value: f64) -> i64 {
    value.clamp(0.0, MAX_AMOUNT) as i64
}

/// An amount times a factor, cut.
pub fn scaled(base: i64, factor: f64) -> i64 {
    amount(base as f64 * factor)
}

/// All samples of the containers of one name in pods with equal labels.
#[derive(Clone, Debug, PartialEq)]
pub struct History {
    /// CPU samples, cores.
    pub cpu: Histogram,
    /// Memory peaks, bytes: one per container and interval.
    pub memory: Histogram,
    /// Time of the first CPU sample.
    pub first: Option<Time>,
    /// Time of the last CPU sample.
    pub last: Option<Time>,
    /// CPU samples.
    pub samples: u64,
}

impl History {
    /// One without samples.
    pub fn new(flags: &VpaFlags) -> History {
        History {
            cpu: Histogram::new(Buckets::cpu(), flags.cpu_half_life),
            memory: Histogram::new(Buckets::memory(), flags.memory_half_life),
            first: None,
            last: None,
            samples: 0,
        }
    }

    /// Adds the samples of another one.
    pub fn merge(&mut self, other: &mut History) {
        self.cpu.merge(&mut other.cpu);
        self.memory.merge(&mut other.memory);
        self.first = match (self.first, other.first) {
            (Some(own), Some(their)) => Some(own.min(their)),
            (own, their) => own.or(their),
        };
        self.last = self.last.max(other.last);
        self.samples += other.samples;
    }

    /// From the first to the last CPU sample.
    pub fn span(&self) -> (Time, Time) {
        (self.first.unwrap_or(Time::ZERO), self.last.unwrap_or(Time::ZERO))
    }

    fn add_cpu(&mut self, millicores: i64, at: Time) {
        self.cpu.add(millicores as f64 / 1000.0, CPU_WEIGHT, at);
        self.last = self.last.max(Some(at));
        self.first = Some(self.first.map_or(at, |first| first.min(at)));
        self.samples += 1;
    }
}

/// What must be remembered of one container of one pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Container {
    last_cpu: Option<Time>,
    last_memory: Option<Time>,
    /// End of the present memory interval; it does not belong to it.
    interval_end: Option<Time>,
    /// Largest measured use of the interval.
    memory_peak: i64,
    /// Largest estimate after an OOM kill in the interval.
    oom_peak: i64,
}

impl Container {
    /// A CPU sample; false if it is no newer than the last.
    pub fn add_cpu(&mut self, history: &mut History, at: Time, millicores: i64) -> bool {
        if millicores < 0 || self.last_cpu.is_some_and(|last| at <= last) {
            return false;
        }
        history.add_cpu(millicores, at);
        self.last_cpu = Some(at);
        true
    }

    /// A memory sample; false if it is older than the last.
    pub fn add_memory(&mut self, history: &mut History, interval: Span, at: Time, bytes: i64) -> bool {
        if bytes < 0 || self.last_memory.is_some_and(|last| at < last) {
            return false;
        }
        if self.add_peak(history, interval, at, bytes) {
            self.memory_peak = bytes;
        }
        true
    }

    /// An OOM kill of a container that requested so many bytes; false if it is too old.
    pub fn record_oom(&mut self, history: &mut History, flags: &VpaFlags, at: Time, request: i64) -> bool {
        if self.last_memory.is_some_and(|last| at + flags.memory_interval < last) {
            return false;
        }
        // Estimates do not count as use: a second kill with the same request asks for no more than the first.
        let used = request.max(self.memory_peak);
        let needed = used.saturating_add(amount(flags.oom_min_bump_up)).max(scaled(used, flags.oom_bump_up_ratio));
        if needed < 0 {
            return false;
        }
        if self.add_peak(history, flags.memory_interval, at, needed) {
            self.oom_peak = needed;
        }
        true
    }

    /// Each interval has one peak, dated at its end. True if this is it now.
    fn add_peak(&mut self, history: &mut History, interval: Span, at: Time, bytes: i64) -> bool {
        self.last_memory = Some(at);
        let end = *self.interval_end.get_or_insert(at);
        if at < end {
            let old = self.memory_peak.max(self.oom_peak);
            // A peak of zero is never replaced.
            if old == 0 || bytes <= old {
                return false;
            }
            history.memory.subtract(old as f64, 1.0, end);
            history.memory.add(bytes as f64, 1.0, end);
            return true;
        }
        let end = end + whole(at - end, interval) + interval;
        self.interval_end = Some(end);
        self.memory_peak = 0;
        self.oom_peak = 0;
        history.memory.add(bytes as f64, 1.0, end);
        true
    }
}

/// The whole multiples of a unit in a span.
fn whole(span: Span, unit: Span) -> Span {
    if unit.is_zero() { span } else { Span::from_micros(span.micros() - span.micros() % unit.micros()) }
}

/// A pod that is watched.
#[derive(Clone, Debug)]
struct Pod {
    id: u32,
    /// Its containers, each with the places of its history.
    containers: Vec<(HistoryPlace, Container)>,
}

/// Where a history is kept: which name of a container, and which label set of those of the name.
#[derive(Clone, Copy, Debug)]
struct HistoryPlace {
    name: usize,
    set: usize,
}

/// The histories of the containers of one name.
#[derive(Clone, Debug)]
struct Named {
    name: String,
    /// By label set, in the order in which they came.
    sets: Vec<(u32, History)>,
}

/// All that is remembered of one workload's pods.
#[derive(Clone, Debug, Default)]
pub struct Workload {
    histories: Vec<Named>,
    /// In order of their ids.
    pods: Vec<Pod>,
}

impl Workload {
    /// A container of a pod exists. Pods whose labels are equal have the same `label_set`.
    pub fn add_container(&mut self, flags: &VpaFlags, pod: u32, label_set: u32, name: &str) {
        let place = self.pods.binary_search_by_key(&pod, |entry| entry.id).unwrap_or_else(|place| {
            self.pods.insert(place, Pod { id: pod, containers: Vec::new() });
            place
        });
        let known = &self.pods[place].containers;
        if known.iter().all(|(history, _)| self.histories[history.name].name != name) {
            let history = self.place_of(flags, label_set, name);
            self.pods[place].containers.push((history, Container::default()));
        }
    }

    /// Where the history of the containers of that name and label set is kept.
    fn place_of(&mut self, flags: &VpaFlags, label_set: u32, name: &str) -> HistoryPlace {
        let known = self.histories.iter().position(|named| named.name == name);
        let place = known.unwrap_or_else(|| {
            self.histories.push(Named { name: name.to_string(), sets: Vec::new() });
            self.histories.len() - 1
        });
        let sets = &mut self.histories[place].sets;
        let set = sets.iter().rposition(|(known, _)| *known == label_set).unwrap_or_else(|| {
            sets.push((label_set, History::new(flags)));
            sets.len() - 1
        });
        HistoryPlace { name: place, set }
    }

    /// Where a pod is kept, which is looked for at a place first, with the number of its containers that are known.
    #[inline]
    pub fn place_of_pod(&self, pod: u32, first: usize) -> Option<(usize, usize)> {
        if let Some(entry) = self.pods.get(first).filter(|entry| entry.id == pod) {
            return Some((first, entry.containers.len()));
        }
        let place = self.pods.binary_search_by_key(&pod, |entry| entry.id).ok()?;
        Some((place, self.pods[place].containers.len()))
    }

    /// How many pods are known.
    pub fn pods(&self) -> usize {
        self.pods.len()
    }

    /// Keeps the state of those pods only; what they have used stays in the histories.
    pub fn retain_pods(&mut self, mut exists: impl FnMut(u32) -> bool) {
        self.pods.retain(|pod| exists(pod.id));
    }

    /// A CPU sample.
    pub fn add_cpu(&mut self, pod: u32, name: &str, at: Time, millicores: i64) -> bool {
        self.container(pod, name).is_some_and(|(container, history)| container.add_cpu(history, at, millicores))
    }

    /// A memory sample.
    pub fn add_memory(&mut self, flags: &VpaFlags, pod: u32, name: &str, at: Time, bytes: i64) -> bool {
        let interval = flags.memory_interval;
        self.container(pod, name).is_some_and(|(container, history)| container.add_memory(history, interval, at, bytes))
    }

    /// A sample of both, as far as it has them, of a container of the pod at a place. Mostly it is known at its own position.
    pub fn add_usage(
        &mut self,
        flags: &VpaFlags,
        place: usize,
        (position, name): (usize, &str),
        at: Time,
        usage: (Option<i64>, Option<i64>),
    ) {
        let Workload { histories, pods } = self;
        let known = &mut pods[place].containers;
        let is_named = |(history, _): &(HistoryPlace, Container)| histories[history.name].name == name;
        let position =
            if known.get(position).is_some_and(is_named) { Some(position) } else { known.iter().position(is_named) };
        let Some((history, container)) = position.map(|position| &mut known[position]) else { return };
        let history = &mut histories[history.name].sets[history.set].1;
        if let Some(millicores) = usage.0 {
            container.add_cpu(history, at, millicores);
        }
        if let Some(bytes) = usage.1 {
            container.add_memory(history, flags.memory_interval, at, bytes);
        }
    }

    /// An OOM kill.
    pub fn record_oom(&mut self, flags: &VpaFlags, pod: u32, name: &str, at: Time, request: i64) -> bool {
        self.container(pod, name).is_some_and(|(container, history)| container.record_oom(history, flags, at, request))
    }

    /// The histories of all label sets together, by container name.
    pub fn merged(&mut self, flags: &VpaFlags) -> BTreeMap<String, History> {
        let merge = |named: &mut Named| {
            let mut sum = History::new(flags);
            let mut sets: Vec<_> = named.sets.iter_mut().collect();
            sets.sort_unstable_by_key(|(label_set, _)| *label_set);
            sets.into_iter().for_each(|(_, history)| sum.merge(history));
            (named.name.clone(), sum)
        };
        self.histories.iter_mut().map(merge).collect()
    }

    fn container(&mut self, pod: u32, name: &str) -> Option<(&mut Container, &mut History)> {
        let Workload { histories, pods } = self;
        let place = pods.binary_search_by_key(&pod, |entry| entry.id).ok()?;
        let mut containers = pods[place].containers.iter_mut();
        let (history, container) = containers.find(|(history, _)| histories[history.name].name == name)?;
        Some((container, &mut histories[history.name].sets[history.set].1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: i64 = 1 << 20;

    fn hour(number: u64) -> Time {
        Time::from_unix_seconds(946_684_800) + Span::from_secs(3600 * number)
    }

    fn fresh() -> (VpaFlags, Workload) {
        let flags = VpaFlags::default();
        let mut workload = Workload::default();
        workload.add_container(&flags, 1, 1, "app");
        (flags, workload)
    }

    fn peak(workload: &mut Workload, flags: &VpaFlags) -> i64 {
        workload.merged(flags)["app"].memory.percentile(1.0) as i64
    }

    /// The end of the bucket of an amount of memory.
    fn bucket_end(bytes: i64) -> i64 {
        let buckets = Buckets::memory();
        buckets.start(buckets.find(bytes as f64) + 1) as i64
    }

    #[test]
    fn cpu_samples_must_be_newer_and_memory_samples_not_older() {
        let (flags, mut workload) = fresh();
        assert!(workload.add_cpu(1, "app", hour(2), 100));
        assert!(!workload.add_cpu(1, "app", hour(2), 100));
        assert!(!workload.add_cpu(1, "app", hour(1), 100));
        assert!(workload.add_memory(&flags, 1, "app", hour(2), MIB));
        assert!(workload.add_memory(&flags, 1, "app", hour(2), MIB));
        assert!(!workload.add_memory(&flags, 1, "app", hour(1), MIB));
        assert_eq!(workload.merged(&flags)["app"].samples, 1);
        assert!(!workload.add_cpu(2, "app", hour(3), 100), "nobody knows that pod");
    }

    #[test]
    fn an_interval_has_one_peak() {
        let (flags, mut workload) = fresh();
        for (at, mebibytes) in [(0, 100), (5, 300), (23, 200)] {
            assert!(workload.add_memory(&flags, 1, "app", hour(at), mebibytes * MIB));
        }
        assert_eq!(peak(&mut workload, &flags), bucket_end(300 * MIB));
        let lowest = workload.merged(&flags)["app"].memory.percentile(0.0) as i64;
        assert_eq!(lowest, bucket_end(300 * MIB), "the first peak was taken back");
        assert!(workload.add_memory(&flags, 1, "app", hour(24), 50 * MIB));
        let lowest = workload.merged(&flags)["app"].memory.percentile(0.0) as i64;
        assert_eq!(lowest, bucket_end(50 * MIB), "a new interval begins a day after the first sample");
    }

    #[test]
    fn a_kill_asks_for_a_hundred_mebibytes_or_a_fifth_more() {
        let (flags, mut workload) = fresh();
        assert!(workload.add_memory(&flags, 1, "app", hour(0), 150 * MIB));
        assert!(workload.record_oom(&flags, 1, "app", hour(1), 200 * MIB));
        assert_eq!(peak(&mut workload, &flags), bucket_end(300 * MIB));
        assert!(workload.record_oom(&flags, 1, "app", hour(1), 200 * MIB));
        assert_eq!(peak(&mut workload, &flags), bucket_end(300 * MIB), "estimates do not add up");
        assert!(workload.record_oom(&flags, 1, "app", hour(2), 1000 * MIB));
        assert_eq!(peak(&mut workload, &flags), bucket_end(1200 * MIB));
        assert!(workload.add_memory(&flags, 1, "app", hour(60), 150 * MIB));
        assert!(workload.record_oom(&flags, 1, "app", hour(36), 200 * MIB));
        assert!(!workload.record_oom(&flags, 1, "app", hour(11), 200 * MIB), "more than a day before the last sample");
    }

    #[test]
    fn histories_outlive_their_pods_and_revisions_add_up() {
        let (flags, mut workload) = fresh();
        workload.add_container(&flags, 2, 2, "app");
        assert!(workload.add_cpu(1, "app", hour(1), 100));
        assert!(workload.add_cpu(2, "app", hour(3), 100));
        workload.retain_pods(|pod| pod == 2);
        assert!(!workload.add_cpu(1, "app", hour(4), 100));
        let merged = workload.merged(&flags);
        assert_eq!((merged["app"].samples, merged["app"].span()), (2, (hour(1), hour(3))));
    }
}
