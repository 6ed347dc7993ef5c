//! The controller's work queue: when an autoscaler's turn comes, and which one is next for a worker.
//!
//! In: keys added after a delay, entries that fire, work that ends. Out: the key to be worked on. An autoscaler has at most
//! one waiting entry; an addition while one waits changes nothing (every delay is the sync period, so none would be
//! earlier). A key that fires while it is worked on is worked on once more right after.
//!
//! Source: client-go `util/workqueue/{queue,delaying_queue}.go`, `pkg/controller/podautoscaler/rate_limiters.go`.

use crate::engine::Time;
use crate::plan::HpaId;
use std::collections::VecDeque;

/// What the queue knows of one autoscaler.
#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    /// Its waiting entry fires at this time.
    waiting: Option<Time>,
    /// It has fired and no worker has taken it since.
    dirty: bool,
    /// A worker is at it.
    processing: bool,
}

/// The queue.
#[derive(Debug, Default)]
pub struct WorkQueue {
    entries: Vec<Entry>,
    ready: VecDeque<HpaId>,
    busy: u32,
}

impl WorkQueue {
    fn entry(&mut self, hpa: HpaId) -> &mut Entry {
        if self.entries.len() <= hpa.index() {
            self.entries.resize_with(hpa.index() + 1, Entry::default);
        }
        &mut self.entries[hpa.index()]
    }

    /// Adds a waiting entry; false if there was one.
    pub fn add_at(&mut self, hpa: HpaId, at: Time) -> bool {
        let entry = self.entry(hpa);
        let new = entry.waiting.is_none();
        entry.waiting = entry.waiting.or(Some(at));
        new
    }

    /// When the waiting entry fires.
    #[cfg(test)]
    pub fn waiting(&self, hpa: HpaId) -> Option<Time> {
        self.entries.get(hpa.index()).and_then(|entry| entry.waiting)
    }

    /// A waiting entry fires, if that is its time: the key is ready for a worker.
    pub fn fire(&mut self, hpa: HpaId, now: Time) {
        let entry = self.entry(hpa);
        if entry.waiting != Some(now) {
            return;
        }
        entry.waiting = None;
        if std::mem::replace(&mut entry.dirty, true) || entry.processing {
            return;
        }
        self.ready.push_back(hpa);
    }

    /// The next key for a worker, if one is free.
    pub fn take(&mut self, workers: u32) -> Option<HpaId> {
        if self.busy >= workers.max(1) {
            return None;
        }
        let hpa = self.ready.pop_front()?;
        self.busy += 1;
        let entry = self.entry(hpa);
        (entry.dirty, entry.processing) = (false, true);
        Some(hpa)
    }

    /// A worker has done with a key.
    pub fn done(&mut self, hpa: HpaId) {
        self.busy -= 1;
        let entry = self.entry(hpa);
        entry.processing = false;
        if entry.dirty {
            self.ready.push_back(hpa);
        }
    }

    /// Some key has fired, is worked on or waits for a worker, and nothing has added it again yet.
    pub fn has_key_without_entry(&self) -> bool {
        self.entries.iter().any(|entry| entry.waiting.is_none() && (entry.dirty || entry.processing))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: HpaId = HpaId(0);
    const B: HpaId = HpaId(1);

    fn at(seconds: u64) -> Time {
        Time::from_unix_seconds(seconds)
    }

    #[test]
    fn an_addition_while_one_waits_changes_nothing() {
        let mut queue = WorkQueue::default();
        assert!(queue.add_at(A, at(15)));
        assert!(!queue.add_at(A, at(10)));
        queue.fire(A, at(10));
        assert_eq!(queue.take(5), None);
        queue.fire(A, at(15));
        assert_eq!(queue.take(5), Some(A));
    }

    #[test]
    fn keys_wait_for_workers_in_the_order_in_which_they_fired() {
        let mut queue = WorkQueue::default();
        for (hpa, second) in [(B, 1), (A, 2)] {
            queue.add_at(hpa, at(second));
            queue.fire(hpa, at(second));
        }
        assert_eq!((queue.take(1), queue.take(1)), (Some(B), None));
        queue.done(B);
        assert_eq!(queue.take(1), Some(A));
    }

    #[test]
    fn a_key_that_fires_while_it_is_worked_on_comes_again_and_only_once() {
        let mut queue = WorkQueue::default();
        queue.add_at(A, at(1));
        queue.fire(A, at(1));
        assert_eq!(queue.take(5), Some(A));
        assert!(queue.has_key_without_entry());
        for second in [2, 3] {
            queue.add_at(A, at(second));
            assert!(!queue.has_key_without_entry());
            queue.fire(A, at(second));
        }
        assert_eq!(queue.take(5), None, "never two workers at one key");
        queue.done(A);
        assert_eq!(queue.take(5), Some(A));
        queue.done(A);
        assert_eq!(queue.take(5), None);
    }
}
