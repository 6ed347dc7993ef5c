//! When a batch of pods is full: one second without a new one, or ten seconds after the first.
//!
//! Source: core `pkg/controllers/provisioning/batcher.go`. The window only says when; a pass takes all pods there are.

use crate::engine::{Span, Time};

/// The batcher's memory.
#[derive(Clone, Debug, Default)]
pub struct Batcher {
    /// Who has triggered this window, in order.
    seen: Vec<u64>,
    window: Option<Window>,
    armed: bool,
    busy: bool,
}

#[derive(Clone, Copy, Debug)]
struct Window {
    opened: Time,
    last: Time,
}

impl Batcher {
    /// Somebody wants a pass. True when a window opened.
    pub fn trigger(&mut self, key: u64, now: Time, dedupe: bool) -> bool {
        // Mostly it is newer than all before it.
        match self.seen.binary_search(&key) {
            Ok(_) if dedupe => return false,
            Ok(_) => {}
            Err(place) => self.seen.insert(place, key),
        }
        if self.busy {
            self.armed = true;
            return false;
        }
        match &mut self.window {
            Some(window) => {
                window.last = now;
                false
            }
            None => {
                self.window = Some(Window { opened: now, last: now });
                true
            }
        }
    }

    /// When the open window will close if nothing more comes.
    pub fn deadline(&self, idle: Span, max: Span) -> Option<Time> {
        self.window.map(|window| (window.last + idle).min(window.opened + max))
    }

    /// Closes the window; the provisioner is busy until [`Batcher::finish`].
    pub fn close(&mut self) {
        self.window = None;
        self.seen.clear();
        self.busy = true;
    }

    /// The pass has ended. What came meanwhile opens a window now: true.
    pub fn finish(&mut self, now: Time) -> bool {
        self.busy = false;
        let armed = std::mem::take(&mut self.armed);
        if armed {
            self.window = Some(Window { opened: now, last: now });
        }
        armed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDLE: Span = Span::from_secs(1);
    const MAX: Span = Span::from_secs(10);

    fn at(millis: u64) -> Time {
        Time::ZERO + Span::from_millis(millis)
    }

    /// Oracle 20: one pod or a burst closes after 1 s; a pod every half second after 10 s.
    #[test]
    fn a_burst_closes_after_the_idle_time_and_a_stream_after_the_longest() {
        let mut batcher = Batcher::default();
        assert!(batcher.trigger(1, at(0), true));
        (2..50).for_each(|pod| assert!(!batcher.trigger(pod, at(0), true)));
        assert_eq!(batcher.deadline(IDLE, MAX), Some(at(1_000)));
        (1..20).for_each(|n| {
            batcher.trigger(100 + n, at(500 * n), true);
        });
        assert_eq!(batcher.deadline(IDLE, MAX), Some(at(10_000)));
    }

    #[test]
    fn the_same_pod_extends_the_window_only_before_uids_were_remembered() {
        let mut batcher = Batcher::default();
        batcher.trigger(1, at(0), true);
        batcher.trigger(1, at(600), true);
        assert_eq!(batcher.deadline(IDLE, MAX), Some(at(1_000)));
        batcher.trigger(1, at(600), false);
        assert_eq!(batcher.deadline(IDLE, MAX), Some(at(1_600)));
    }

    #[test]
    fn what_comes_during_a_pass_opens_a_window_at_its_end() {
        let mut batcher = Batcher::default();
        batcher.trigger(1, at(0), true);
        batcher.close();
        assert!(!batcher.trigger(2, at(1_200), true) && batcher.deadline(IDLE, MAX).is_none());
        assert!(batcher.finish(at(3_000)));
        assert_eq!(batcher.deadline(IDLE, MAX), Some(at(4_000)));
        batcher.close();
        assert!(!batcher.finish(at(5_000)), "nothing came");
    }
}
