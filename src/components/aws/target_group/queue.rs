//! The work queue: one entry a binding, the earlier of two times wins, failures back off.
//!
//! Source: controller-runtime 0.23 `pkg/controller/priorityqueue`, `pkg/internal/controller/controller.go`; client-go
//! `util/workqueue/default_rate_limiters.go` (`TypedItemExponentialFailureRateLimiter`). Left out: priorities (they
//! order the first reconciles after a start behind later events).

use super::objects::Name;
use crate::engine::{Span, Time};
use std::collections::BTreeMap;

/// A waiting or ready entry.
#[derive(Clone, Copy, Debug)]
struct Entry {
    /// When it becomes ready; `None`: it is.
    ready_at: Option<Time>,
    /// Ready entries come in this order.
    number: u64,
}

/// The queue.
#[derive(Clone, Debug, Default)]
pub struct WorkQueue {
    /// Few at a time, and none most of the time: lists, which keep their memory.
    entries: Vec<(Name, Entry)>,
    /// Handed out and not done yet.
    running: Vec<Name>,
    failures: BTreeMap<Name, u32>,
    numbers: u64,
}

impl WorkQueue {
    /// Adds a binding, ready now.
    pub fn add(&mut self, name: &Name) {
        self.put(name, None);
    }

    /// Adds a binding, ready at `at`; one that is ready or waits for an earlier time stays as it is.
    pub fn add_at(&mut self, name: &Name, at: Time) {
        self.put(name, Some(at));
    }

    /// Adds a binding after its back-off and counts a failure.
    pub fn add_failed(&mut self, name: &Name, now: Time, initial: Span, max: Span) {
        let failures = self.failures.entry(name.clone()).or_default();
        let after = backoff(*failures, initial, max);
        *failures += 1;
        self.add_at(name, now + after);
    }

    /// So many failures are behind a binding.
    pub fn set_failures(&mut self, name: &Name, failures: u32) {
        self.failures.insert(name.clone(), failures);
    }

    /// Forgets the failures of a binding.
    pub fn forget(&mut self, name: &Name) {
        if !self.failures.is_empty() {
            self.failures.remove(name);
        }
    }

    fn put(&mut self, name: &Name, ready_at: Option<Time>) {
        if let Some((_, entry)) = self.entries.iter_mut().find(|(other, _)| other == name) {
            entry.ready_at = entry.ready_at.zip(ready_at).map(|(one, other)| one.min(other));
        } else {
            self.entries.push((name.clone(), Entry { ready_at, number: self.numbers }));
            self.numbers += 1;
        }
    }

    /// Nothing waits and nothing is ready.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Entries whose time has come are ready, in the order of their times.
    #[inline]
    pub fn ripen(&mut self, now: Time) {
        if self.due().is_none_or(|due| due > now) {
            return;
        }
        let due = |entry: &Entry| entry.ready_at.filter(|&at| at <= now).map(|at| (at, entry.number));
        let places = self.entries.iter().enumerate();
        let mut ripe: Vec<_> = places.filter_map(|(place, (_, entry))| Some((due(entry)?, place))).collect();
        ripe.sort_unstable();
        for (_, place) in ripe {
            self.entries[place].1 = Entry { ready_at: None, number: self.numbers };
            self.numbers += 1;
        }
    }

    /// Hands out the oldest ready entry whose binding is not being reconciled.
    pub fn next(&mut self, now: Time) -> Option<Name> {
        self.ripen(now);
        let is_ready = |(name, entry): &(Name, Entry)| entry.ready_at.is_none() && !self.running.contains(name);
        let ready = self.entries.iter().enumerate().filter(|(_, waiting)| is_ready(waiting));
        let (place, _) = ready.min_by_key(|(_, (_, entry))| entry.number)?;
        let (name, _) = self.entries.swap_remove(place);
        self.running.push(name.clone());
        Some(name)
    }

    /// A reconcile has ended.
    pub fn done(&mut self, name: &Name) {
        if let Some(place) = self.running.iter().position(|other| other == name) {
            self.running.swap_remove(place);
        }
    }

    /// Reconciles that run.
    pub fn running(&self) -> usize {
        self.running.len()
    }

    /// When the next waiting entry becomes ready.
    pub fn due(&self) -> Option<Time> {
        self.entries.iter().filter_map(|(_, entry)| entry.ready_at).min()
    }
}

/// The wait before the try that follows so many failures in a row and one more.
fn backoff(failures: u32, initial: Span, max: Span) -> Span {
    // Doubled 62 times, anything is beyond every maximum; nothing at all would make a loop without end.
    Span::from_micros(initial.micros().saturating_mul(1 << failures.min(62))).min(max).max(Span::from_millis(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(name: &str) -> Name {
        Name::new("shop", name)
    }

    #[test]
    fn back_off_doubles_from_5_ms_to_1000_s() {
        let of = |failures| backoff(failures, Span::from_millis(5), Span::from_secs(1000));
        assert_eq!(of(0), Span::from_millis(5));
        assert_eq!(of(10), Span::from_millis(5120));
        assert_eq!(of(18), Span::from_secs(1000));
        assert_eq!(of(200), Span::from_secs(1000));
    }

    #[test]
    fn an_event_takes_the_place_of_a_later_retry() {
        let (mut queue, now) = (WorkQueue::default(), Time::from_unix_seconds(100));
        queue.add_at(&name("web"), now + Span::from_secs(15));
        assert_eq!(queue.next(now), None);
        queue.add(&name("web"));
        assert_eq!(queue.next(now), Some(name("web")));
        queue.done(&name("web"));
        assert_eq!(queue.due(), None, "the retry is gone");
    }

    #[test]
    fn what_comes_while_it_runs_starts_when_it_ends() {
        let (mut queue, now) = (WorkQueue::default(), Time::from_unix_seconds(100));
        queue.add(&name("web"));
        assert_eq!(queue.next(now), Some(name("web")));
        queue.add(&name("web"));
        assert_eq!(queue.next(now), None);
        queue.add_failed(&name("web"), now, Span::from_secs(9), Span::from_secs(9));
        queue.done(&name("web"));
        assert_eq!(queue.next(now), Some(name("web")), "the back-off has no effect on the start");
    }

    #[test]
    fn ready_entries_are_first_in_first_out() {
        let (mut queue, now) = (WorkQueue::default(), Time::from_unix_seconds(100));
        queue.add_at(&name("a"), now + Span::from_secs(2));
        queue.add_at(&name("b"), now + Span::from_secs(1));
        let later = now + Span::from_secs(3);
        assert_eq!([queue.next(later), queue.next(later)], [Some(name("b")), Some(name("a"))]);
    }
}
