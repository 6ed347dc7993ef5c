//! What client-go's work queues delay: keys that are tried again after a back-off.
//!
//! Source: `client-go/util/workqueue/{default_rate_limiters,delaying_queue}.go`.
//! The queue proper (which key is worked on next) is the event queue: a key that is due is simply looked at again.

use super::time::{Span, Time};
use super::token_bucket::TokenBucket;

/// How long a key that failed waits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Backoff {
    /// After the first failure; it doubles with each further one.
    pub base: Span,
    /// At most.
    pub max: Span,
    /// Failures a second, over all keys of the controller.
    pub qps: f64,
    /// Failures at once.
    pub burst: f64,
}

/// What a queue knows of a key.
#[derive(Clone, Copy, Debug, Default)]
struct Key {
    waiting: Option<Time>,
    failures: u32,
}

/// The delayed keys of a controller's work queue, and how often each has failed.
#[derive(Clone, Debug, Default)]
pub struct Retries {
    keys: Vec<Key>,
    bucket: TokenBucket,
}

impl Retries {
    fn key(&mut self, key: usize) -> &mut Key {
        if self.keys.len() <= key {
            self.keys.resize(key + 1, Key::default());
        }
        &mut self.keys[key]
    }

    /// The key shall be looked at again at `at` (`AddAfter`). A key waits once: the earliest time wins. True if the caller
    /// has to schedule the look.
    pub fn add(&mut self, key: usize, at: Time) -> bool {
        let entry = self.key(key);
        let earlier = entry.waiting.is_none_or(|waiting| at < waiting);
        if earlier {
            entry.waiting = Some(at);
        }
        earlier
    }

    /// A scheduled look is due now; false if it was superseded.
    pub fn is_due(&mut self, key: usize, now: Time) -> bool {
        let entry = self.key(key);
        let due = entry.waiting == Some(now);
        if due {
            entry.waiting = None;
        }
        due
    }

    /// Counts a failure (`AddRateLimited`); when the key may be tried again.
    pub fn fail(&mut self, key: usize, now: Time, backoff: Backoff) -> Time {
        let free = self.bucket.reserve(now, backoff.qps, backoff.burst);
        let entry = self.key(key);
        let doublings = entry.failures;
        entry.failures += 1;
        let factor = 1_u64.checked_shl(doublings).filter(|_| doublings < 63).unwrap_or(u64::MAX);
        let exponential = Span::from_micros(backoff.base.micros().saturating_mul(factor)).min(backoff.max);
        free.max(now + exponential)
    }

    /// A success: the next failure is the first (`Forget`).
    pub fn forget(&mut self, key: usize) {
        self.key(key).failures = 0;
    }

    /// Failures since the last success (`NumRequeues`).
    pub fn failures(&self, key: usize) -> u32 {
        self.keys.get(key).map_or(0, |entry| entry.failures)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Time = Time::from_unix_seconds(1_000);
    const BACKOFF: Backoff =
        Backoff { base: Span::from_millis(5), max: Span::from_secs(1_000), qps: 10.0, burst: 100.0 };

    #[test]
    fn failures_double_the_wait_until_its_maximum_and_a_success_forgets_them() {
        let mut retries = Retries::default();
        let mut now = START;
        let waits: Vec<u64> = (0..20)
            .map(|_| {
                now += Span::from_secs(100);
                retries.fail(0, now, BACKOFF).since(now).micros() / 1_000
            })
            .collect();
        assert_eq!(waits[..5], [5, 10, 20, 40, 80]);
        assert_eq!(waits[17..], [655_360, 1_000_000, 1_000_000]);
        retries.forget(0);
        assert_eq!(retries.fail(0, now, BACKOFF).since(now), Span::from_millis(5));
    }

    #[test]
    fn a_key_waits_once_and_the_earliest_time_wins() {
        let mut retries = Retries::default();
        let (soon, later) = (START + Span::from_secs(1), START + Span::from_secs(2));
        assert!(retries.add(3, later));
        assert!(retries.add(3, soon));
        assert!(!retries.add(3, later));
        assert!(retries.is_due(3, soon));
        assert!(!retries.is_due(3, later), "it was superseded");
    }

    #[test]
    fn many_failures_at_once_wait_for_tokens() {
        let mut retries = Retries::default();
        let last = (0..102).map(|key| retries.fail(key, START, BACKOFF)).last();
        assert_eq!(last, Some(START + Span::from_millis(200)), "the hundred of the burst are gone");
    }
}
