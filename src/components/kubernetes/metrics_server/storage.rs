//! What metrics-server keeps of the pages it scrapes, and what it answers from it.
//!
//! Source: metrics-server `pkg/scraper/client/resource/decode.go` and `pkg/storage/pod.go`. Each scrape replaces everything:
//! of a container the last point is kept and at most one earlier, which is the stored one, or, for a fresh container, a
//! counter of zero at its start.

use crate::engine::{Span, Time};

/// A container younger than this is not fresh yet (`freshContainerMinMetricsResolution`).
const FRESH_AGE: i64 = 10_000_000_000;
/// Go's zero time, long before everything: differences with it saturate as `time.Time.Sub` does.
const LONG_AGO: i64 = i64::MIN;

/// One container on a kubelet's page.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample<K> {
    /// Its pod.
    pub pod: K,
    /// Which container of the pod.
    pub container: u16,
    /// When it started, nanoseconds since 1970; `None`: the page has no such line.
    pub start: Option<i64>,
    /// When the counters were read.
    pub timestamp: Time,
    /// CPU counter in nanoseconds; zero also for a missing line.
    pub cpu_nanos: u64,
    /// Working set in bytes; zero also for a missing line.
    pub memory: u64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Point {
    start: i64,
    timestamp: i64,
    cpu_nanos: u64,
}

/// What the API answers for one pod.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    /// End of the window of the container with the earliest sample; `None`: no container is left.
    pub timestamp: Option<Time>,
    /// That window, nanoseconds.
    pub window: i64,
    /// Container, nanocores, bytes.
    pub containers: Vec<(u16, u64, u64)>,
}

/// What is kept of one container.
#[derive(Clone, Copy, Debug)]
struct Kept<K> {
    pod: K,
    container: u16,
    last: Point,
    /// Bytes at the last point.
    memory: u64,
    previous: Option<Point>,
}

impl<K: Copy> Kept<K> {
    fn key(&self) -> (K, u16) {
        (self.pod, self.container)
    }
}

/// What the API answers for a pod, less its containers.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Window {
    /// Its end, for the container with the earliest sample; `None`: no container is left.
    pub end: Option<Time>,
    /// Its length, nanoseconds.
    pub length: i64,
}

/// The storage of metrics-server.
#[derive(Clone, Debug)]
pub struct Storage<K: Ord> {
    /// Sorted by pod and container, each once.
    kept: Vec<Kept<K>>,
    /// What will be kept of the scrape that is being read.
    fresh: Vec<Kept<K>>,
    /// Pods of which that scrape lacks something.
    incomplete: Vec<K>,
    /// Where in `kept` its next line is looked for first.
    next: usize,
}

impl<K: Ord> Default for Storage<K> {
    fn default() -> Storage<K> {
        Storage { kept: Vec::new(), fresh: Vec::new(), incomplete: Vec::new(), next: 0 }
    }
}

impl<K: Ord + Copy> Storage<K> {
    /// One scrape: the samples of all pages that could be read.
    pub fn store(&mut self, samples: &[Sample<K>], resolution: Span) {
        samples.iter().for_each(|sample| self.read(sample, resolution));
        self.finish();
    }

    /// Reads a line of a scrape; [`Storage::finish`] ends it. A container without CPU or memory takes its pod with it.
    #[inline(always)]
    pub fn read(&mut self, sample: &Sample<K>, resolution: Span) {
        if sample.cpu_nanos == 0 || sample.memory == 0 {
            self.incomplete.push(sample.pod);
            return;
        }
        let point = Point {
            start: sample.start.unwrap_or(LONG_AGO),
            timestamp: nanos_since_1970(sample.timestamp),
            cpu_nanos: sample.cpu_nanos,
        };
        let previous = self.earlier((sample.pod, sample.container), &point, resolution);
        let Sample { pod, container, memory, .. } = *sample;
        self.fresh.push(Kept { pod, container, last: point, memory, previous });
    }

    /// A scrape has been read: it replaces what was kept.
    pub fn finish(&mut self) {
        let Storage { kept, fresh, incomplete, next } = self;
        if !incomplete.is_empty() {
            fresh.retain(|entry| !incomplete.contains(&entry.pod));
            incomplete.clear();
        }
        // Pages mostly come in order.
        if !fresh.is_sorted_by(|one, two| one.key() < two.key()) {
            fresh.sort_by_key(Kept::key);
            // Of lines about the same container the last one counts.
            fresh.dedup_by(|later, earlier| {
                let same = later.key() == earlier.key();
                if same {
                    *earlier = Kept { previous: later.previous.or(earlier.previous), ..*later };
                }
                same
            });
        }
        std::mem::swap(kept, fresh);
        fresh.clear();
        *next = 0;
    }

    /// The point that the new one of `key` is measured against. A page mostly goes on where it did before.
    #[inline(always)]
    fn earlier(&mut self, key: (K, u16), new: &Point, resolution: Span) -> Option<Point> {
        let age = new.timestamp.saturating_sub(new.start);
        if new.start < new.timestamp && age >= FRESH_AGE && age < nanos(resolution) {
            return Some(Point { timestamp: new.start, cpu_nanos: 0, ..*new });
        }
        let searched = || self.kept.binary_search_by_key(&key, Kept::key).ok();
        let follows = self.kept.get(self.next).is_some_and(|entry| entry.key() == key);
        let index = if follows { self.next } else { searched()? };
        debug_assert_eq!(searched(), Some(index), "each is kept once");
        self.next = index + 1;
        let Kept { last: stored, previous, .. } = &self.kept[index];
        if new.start >= stored.timestamp {
            return None;
        }
        if new.timestamp > stored.timestamp {
            return Some(*stored);
        }
        // The same sample again: what was compared with it stays, and a container that had nothing counts from long ago,
        // if any other container of its pod had something.
        let of_pod = || self.of_pod(&key.0).iter().any(|entry| entry.previous.is_some());
        let nothing = Point { start: LONG_AGO, timestamp: LONG_AGO, cpu_nanos: 0 };
        let kept = previous.or_else(|| of_pod().then_some(nothing))?;
        (kept.timestamp < new.timestamp).then_some(kept)
    }

    /// All that is kept of a pod.
    fn of_pod(&self, pod: &K) -> &[Kept<K>] {
        let start = self.kept.partition_point(|entry| entry.pod < *pod);
        let length = self.kept[start..].partition_point(|entry| entry.pod == *pod);
        &self.kept[start..start + length]
    }

    /// What the API answers for a pod; `None`: nothing.
    pub fn answer(&self, pod: &K) -> Option<Answer> {
        let of_pod = KeptOfPod(self.of_pod(pod));
        let mut containers = Vec::new();
        self.answers(pod)
            .then(|| of_pod.answer(|container, cpu, memory| containers.push((container, cpu, memory))))
            .map(|Window { end, length }| Answer { timestamp: end, window: length, containers })
    }

    /// Whether the API answers anything for a pod.
    pub fn answers(&self, pod: &K) -> bool {
        let of_pod = KeptOfPod(self.of_pod(pod));
        !of_pod.0.is_empty() && of_pod.is_answered()
    }

    /// What the API answers for a node, kept as a pod with one container: a counter that fell leaves no answer.
    pub fn answer_node(&self, node: &K) -> Option<Answer> {
        self.answer(node).filter(|answer| !answer.containers.is_empty())
    }

    /// Every pod of the last scrape.
    pub fn pods(&self) -> impl Iterator<Item = &K> {
        self.by_pod().map(|of_pod| &of_pod.0[0].pod)
    }

    /// What is kept of each pod of the last scrape.
    pub fn by_pod(&self) -> impl Iterator<Item = KeptOfPod<'_, K>> {
        self.kept.chunk_by(|one, two| one.pod == two.pod).map(KeptOfPod)
    }
}

/// What is kept of one pod.
#[derive(Clone, Copy, Debug)]
pub struct KeptOfPod<'s, K>(&'s [Kept<K>]);

impl<K: Copy> KeptOfPod<'_, K> {
    /// Which.
    pub fn pod(&self) -> K {
        self.0[0].pod
    }

    /// Whether the API answers anything for it: each container has something that it is measured against.
    pub fn is_answered(&self) -> bool {
        self.0.iter().all(|entry| entry.previous.is_some())
    }

    /// What the API answers: containers with nanocores and bytes as they come, and their window. One whose counter fell
    /// is left out.
    pub fn answer(&self, mut take: impl FnMut(u16, u64, u64)) -> Window {
        let (mut answer, mut earliest) = (Window::default(), None);
        for entry in self.0 {
            let (point, Some(earlier)) = (&entry.last, &entry.previous) else { continue };
            if point.start < earlier.start || point.cpu_nanos < earlier.cpu_nanos {
                continue;
            }
            let window = point.timestamp.saturating_sub(earlier.timestamp);
            take(
                entry.container,
                ((point.cpu_nanos - earlier.cpu_nanos) as f64 / seconds(window)) as u64,
                entry.memory,
            );
            if earliest.is_none_or(|earliest| point.timestamp < earliest) {
                earliest = Some(point.timestamp);
                let end = Time::from_micros(point.timestamp.unsigned_abs() / 1_000);
                answer = Window { end: Some(end), length: window };
            }
        }
        answer
    }
}

/// An instant in nanoseconds since 1970.
#[inline]
pub fn nanos_since_1970(at: Time) -> i64 {
    at.micros().saturating_mul(1_000).min(i64::MAX.unsigned_abs()) as i64
}

/// A counter or an instant in seconds as a page writes it, in nanoseconds: multiplied as a double, then cut.
pub fn decode_seconds(seconds: f64) -> i64 {
    (seconds * 1e9) as i64
}

fn nanos(span: Span) -> i64 {
    span.micros().saturating_mul(1_000).min(i64::MAX.unsigned_abs()) as i64
}

/// Seconds of a duration as Go adds them: the whole ones, then the rest.
fn seconds(nanos: i64) -> f64 {
    (nanos / 1_000_000_000) as f64 + (nanos % 1_000_000_000) as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(timestamp: u64, cpu_millis: u64, start: u64) -> Sample<u32> {
        Sample {
            pod: 1,
            container: 0,
            start: Some(start as i64 * 1_000_000_000),
            timestamp: Time::from_unix_seconds(timestamp),
            cpu_nanos: cpu_millis * 1_000_000,
            memory: 100,
        }
    }

    #[test]
    fn a_value_is_the_mean_over_the_window_between_two_samples() {
        let mut storage = Storage::default();
        storage.store(&[sample(1_000, 5_000, 100)], Span::from_secs(15));
        assert_eq!(storage.answer(&1), None, "one sample is no window");
        storage.store(&[sample(1_015, 12_500, 100)], Span::from_secs(15));
        let answer = storage.answer(&1).expect("two samples");
        assert_eq!((answer.window, answer.containers), (15_000_000_000, vec![(0, 500_000_000, 100)]));
        storage.store(&[sample(1_015, 12_500, 100)], Span::from_secs(15));
        assert!(storage.answer(&1).is_some(), "the same sample again changes nothing");
        storage.store(&[], Span::from_secs(15));
        assert_eq!(storage.answer(&1), None, "what is on no page is forgotten");
    }

    #[test]
    fn a_fresh_container_is_measured_from_its_start() {
        let mut storage = Storage::default();
        storage.store(&[sample(1_009, 900, 1_000)], Span::from_secs(15));
        assert_eq!(storage.answer(&1), None, "nine seconds are too young");
        let mut storage = Storage::default();
        storage.store(&[sample(1_012, 6_000, 1_000)], Span::from_secs(15));
        let answer = storage.answer(&1).expect("fresh");
        assert_eq!((answer.window, answer.containers[0].1), (12_000_000_000, 500_000_000));
    }

    #[test]
    fn a_container_without_cpu_takes_its_pod_along() {
        let mut storage = Storage::default();
        let idle = Sample { container: 1, cpu_nanos: 0, ..sample(1_000, 1, 100) };
        storage.store(&[sample(1_000, 5, 100), idle.clone()], Span::from_secs(15));
        storage.store(
            &[sample(1_015, 9, 100), Sample { timestamp: Time::from_unix_seconds(1_015), ..idle }],
            Span::from_secs(15),
        );
        assert_eq!(storage.answer(&1), None);
    }
}
