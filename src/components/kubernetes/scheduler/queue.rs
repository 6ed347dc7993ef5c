//! The scheduling queue: active heap, backoff, error backoff, pool of unschedulable pods.
//!
//! Source: `pkg/scheduler/backend/queue/{scheduling_queue,active_queue,backoff_queue}.go`. A real clock gives no two pods one
//! timestamp: those of one instant go in the order in which they came. Where the clock stands still
//! ([`SchedulerFlags::standing_clock`]) they are equals, and leave a heap in the order that its structure gives.

use super::filters::Plugins;
use super::heap::Heap;
use crate::engine::{Span, Time};
use crate::plan::flags::SchedulerFlags;
use crate::world::PodId;
use std::cmp::Reverse;
use std::collections::BTreeSet;

/// Where a pending pod is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Ready to be tried.
    Active,
    /// Waiting for the end of its backoff.
    Backoff(Time),
    /// The same after an error: no event shortens it.
    ErrorBackoff(Time),
    /// Unschedulable: an event has to bring it back.
    Pool,
    /// Its scheduling gates keep it out.
    Gated,
    /// Being tried or bound.
    InFlight,
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    priority: i32,
    /// When it came, or failed last.
    timestamp: Time,
    /// Orders what has one timestamp; 0 where the clock stands still.
    arrival: u64,
    created: Time,
    /// Unschedulable attempts.
    failures: u32,
    /// Errors in a row.
    errors: u32,
    plugins: Plugins,
    place: Place,
}

impl Waiting {
    fn rank(&self) -> Rank {
        (Reverse(self.priority), self.timestamp, self.arrival)
    }
}

/// Order of the active queue: priority, then timestamp.
type Rank = (Reverse<i32>, Time, u64);

/// Pods that wait, by their ids.
#[derive(Clone, Debug, Default)]
struct Pods {
    entries: Vec<Option<Waiting>>,
}

impl Pods {
    fn get(&self, pod: PodId) -> Option<&Waiting> {
        self.entries.get(pod.index())?.as_ref()
    }

    fn get_mut(&mut self, pod: PodId) -> Option<&mut Waiting> {
        self.entries.get_mut(pod.index())?.as_mut()
    }

    fn get_or_insert(&mut self, pod: PodId, new: Waiting) -> &mut Waiting {
        if self.entries.len() <= pod.index() {
            self.entries.resize(pod.index() + 1, None);
        }
        self.entries[pod.index()].get_or_insert(new)
    }

    fn remove(&mut self, pod: PodId) -> Option<Waiting> {
        self.entries.get_mut(pod.index())?.take()
    }
}

/// The queue.
#[derive(Clone, Debug, Default)]
pub struct SchedulingQueue {
    pods: Pods,
    active: Heap<Rank>,
    backoff: Heap<(Time, Rank)>,
    errors: Heap<Time>,
    pool: BTreeSet<PodId>,
    /// Timestamps ever given.
    arrivals: u64,
}

/// 1 s x 2^(count - 1), at most the maximum; none without an attempt.
pub fn backoff(flags: &SchedulerFlags, count: u32) -> Span {
    if count == 0 {
        return Span::ZERO;
    }
    (flags.backoff_initial * (1_u64 << (count - 1).min(32))).min(flags.backoff_max)
}

/// End of the backoff: cut to a whole second where ticks are aligned to those.
pub fn backoff_end(flags: &SchedulerFlags, timestamp: Time, count: u32) -> Time {
    let end = timestamp + backoff(flags, count);
    if flags.pop_from_backoff { end.whole_second() } else { end }
}

/// Aligned ticks let go what ended before their own second.
pub fn is_over(flags: &SchedulerFlags, end: Time, now: Time) -> bool {
    if flags.pop_from_backoff { end < now.whole_second() } else { end <= now }
}

impl SchedulingQueue {
    /// A pod without node appears, or its gates are gone.
    pub fn add(&mut self, flags: &SchedulerFlags, pod: PodId, priority: i32, gated: bool, now: Time) {
        let arrival = self.arrive(flags);
        let new = Waiting {
            priority,
            timestamp: now,
            arrival,
            created: now,
            failures: 0,
            errors: 0,
            plugins: Plugins::default(),
            place: Place::Gated,
        };
        let entry = self.pods.get_or_insert(pod, new);
        if entry.place == Place::Gated && !gated {
            entry.timestamp = entry.created;
            entry.place = Place::Active;
            self.active.push(entry.rank(), pod);
        }
    }

    fn arrive(&mut self, flags: &SchedulerFlags) -> u64 {
        self.arrivals += u64::from(!flags.standing_clock);
        self.arrivals
    }

    /// Where a pod is; `None`: it does not wait.
    pub fn place(&self, pod: PodId) -> Option<Place> {
        self.pods.get(pod).map(|entry| entry.place)
    }

    /// Attempts of a pod that failed so far, errors included.
    pub fn attempts(&self, pod: PodId) -> u32 {
        self.pods.get(pod).map_or(0, |entry| entry.failures + entry.errors)
    }

    /// True when no pod is in the pool.
    pub fn pool_is_empty(&self) -> bool {
        self.pool.is_empty()
    }

    /// Takes the next pod to try: an idle scheduler does not wait for the end of a backoff.
    pub fn pop(&mut self, flags: &SchedulerFlags) -> Option<PodId> {
        let pod = match self.active.pop() {
            Some((_, pod)) => pod,
            None if flags.pop_from_backoff => self.backoff.pop()?.1,
            None => return None,
        };
        self.pods.get_mut(pod)?.place = Place::InFlight;
        Some(pod)
    }

    /// The attempt found no node. `useful`: an event during the attempt may have changed that.
    pub fn failed(&mut self, flags: &SchedulerFlags, pod: PodId, plugins: Plugins, useful: bool, now: Time) {
        let arrival = self.arrive(flags);
        let Some(entry) = self.pods.get_mut(pod) else { return };
        (entry.timestamp, entry.arrival) = (now, arrival);
        entry.failures += 1;
        entry.errors = 0;
        entry.plugins = plugins;
        entry.place = Place::Pool;
        self.pool.insert(pod);
        if useful {
            self.activate(flags, pod, now);
        }
    }

    /// The attempt, or the binding, ended in an error.
    pub fn error(&mut self, flags: &SchedulerFlags, pod: PodId, now: Time) {
        let arrival = self.arrive(flags);
        let Some(entry) = self.pods.get_mut(pod) else { return };
        (entry.timestamp, entry.arrival) = (now, arrival);
        entry.errors += 1;
        let end = backoff_end(flags, now, entry.errors);
        entry.place = Place::ErrorBackoff(end);
        self.errors.push(end, pod);
    }

    /// The pod was bound, or vanished.
    pub fn forget(&mut self, pod: PodId) {
        let Some(entry) = self.pods.remove(pod) else { return };
        match entry.place {
            Place::Active => self.active.remove(pod),
            Place::Backoff(_) => self.backoff.remove(pod),
            Place::ErrorBackoff(_) => self.errors.remove(pod),
            Place::Pool => {
                self.pool.remove(&pod);
            }
            Place::Gated | Place::InFlight => {}
        }
    }

    /// Something happened: pods of the pool for which it is useful go to the active queue, or to backoff.
    pub fn move_useful(&mut self, flags: &SchedulerFlags, now: Time, mut useful: impl FnMut(PodId, Plugins) -> bool) {
        let pods = &self.pods;
        let is_useful = |&pod: &PodId| pods.get(pod).is_some_and(|entry| useful(pod, entry.plugins));
        let moved: Vec<PodId> = self.pool.iter().copied().filter(is_useful).collect();
        for pod in moved {
            self.activate(flags, pod, now);
        }
    }

    /// The flush: pods that have been in the pool for too long are moved as by a useful event.
    pub fn flush(&mut self, flags: &SchedulerFlags, now: Time) {
        let since = |pod: &PodId| self.pods.get(*pod).map_or(now, |entry| entry.timestamp);
        let old = |pod: &PodId| now.since(since(pod)) > flags.unschedulable_max;
        let moved: Vec<PodId> = self.pool.iter().copied().filter(old).collect();
        for pod in moved {
            self.activate(flags, pod, now);
        }
    }

    /// From the pool to the active queue, or to backoff if that is not over.
    fn activate(&mut self, flags: &SchedulerFlags, pod: PodId, now: Time) {
        let Some(entry) = self.pods.get_mut(pod) else { return };
        self.pool.remove(&pod);
        let end = backoff_end(flags, entry.timestamp, entry.failures);
        if is_over(flags, end, now) {
            entry.place = Place::Active;
            self.active.push(entry.rank(), pod);
        } else {
            entry.place = Place::Backoff(end);
            self.backoff.push((end, entry.rank()), pod);
        }
    }

    /// A tick of the backoff queues: what is over becomes active.
    pub fn release(&mut self, flags: &SchedulerFlags, now: Time) {
        let mut released = Vec::new();
        while self.backoff.first().is_some_and(|((end, _), _)| is_over(flags, end, now)) {
            released.extend(self.backoff.pop().map(|(_, pod)| pod));
        }
        while self.errors.first().is_some_and(|(end, _)| is_over(flags, end, now)) {
            released.extend(self.errors.pop().map(|(_, pod)| pod));
        }
        for pod in released {
            if let Some(entry) = self.pods.get_mut(pod) {
                entry.place = Place::Active;
                self.active.push(entry.rank(), pod);
            }
        }
    }

    /// The first tick that can release something.
    pub fn next_tick(&self) -> Option<Time> {
        let backoff = self.backoff.first().map(|((end, _), _)| end);
        let ends = backoff.into_iter().chain(self.errors.first().map(|(end, _)| end));
        ends.min().map(|end| end.whole_second() + Span::from_secs(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_doubles_to_ten_seconds_and_ends_at_whole_seconds() {
        let flags = SchedulerFlags::default();
        let table: Vec<u64> = (0..7).map(|count| backoff(&flags, count).whole_seconds()).collect();
        assert_eq!(table, [0, 1, 2, 4, 8, 10, 10]);
        // A first failure at 0.51: end 1, let go at the tick at 2.
        let end = backoff_end(&flags, Time::from_micros(510_000), 1);
        assert_eq!(end, Time::from_unix_seconds(1));
        assert!(!is_over(&flags, end, Time::from_micros(1_900_000)));
        assert!(is_over(&flags, end, Time::from_unix_seconds(2)));
    }

    #[test]
    fn priority_then_time_and_an_idle_scheduler_takes_from_backoff_but_not_from_errors() {
        let flags = SchedulerFlags::default();
        let (low, high, later) = (PodId(0), PodId(1), PodId(2));
        let second = Time::from_unix_seconds;
        let mut queue = SchedulingQueue::default();
        queue.add(&flags, low, 0, false, second(1));
        queue.add(&flags, later, 0, false, second(2));
        queue.add(&flags, high, 5, false, second(3));
        assert_eq!(queue.pop(&flags), Some(high));
        assert_eq!(queue.pop(&flags), Some(low));
        assert_eq!(queue.pop(&flags), Some(later));
        queue.failed(&flags, low, Plugins::default(), true, second(4));
        queue.error(&flags, high, second(4));
        queue.failed(&flags, later, Plugins::default(), false, second(4));
        assert_eq!(queue.place(low), Some(Place::Backoff(second(5))));
        assert_eq!(queue.pop(&flags), Some(low), "without waiting for the expiry");
        assert_eq!(queue.pop(&flags), None);
        assert_eq!(queue.next_tick(), Some(second(6)));
        queue.release(&flags, second(6));
        assert_eq!(queue.pop(&flags), Some(high));
        queue.flush(&flags, second(304));
        assert_eq!(queue.place(later), Some(Place::Pool), "not yet longer than five minutes");
        queue.flush(&flags, second(305));
        assert_eq!(queue.place(later), Some(Place::Active));
    }
}
