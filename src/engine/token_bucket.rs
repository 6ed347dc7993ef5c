//! A token bucket: so many calls at once, then so many a second.
//!
//! In: times of calls, a rate and a burst. Out: when a call may go (the caller's own throttle, which waits), or whether it is
//! admitted (the throttle of a service, which refuses). Source: `golang.org/x/time/rate`, which client-go's flow control and the
//! load balancer controller use; EC2 API reference, "Request throttling", for one that refuses.

use super::time::{Span, Time};

/// A token bucket, as one theoretical arrival time: a call may go as soon as it is at most `burst - 1` intervals ahead.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TokenBucket {
    next: Time,
}

impl TokenBucket {
    /// Takes a token, if need be one that comes later; when the call may go.
    pub fn reserve(&mut self, now: Time, qps: f64, burst: f64) -> Time {
        if qps <= 0.0 {
            return now;
        }
        let interval = Span::from_seconds(1.0 / qps);
        let tolerance = interval * ((burst.max(1.0) as u64) - 1);
        let full = self.next.max(now);
        self.next = full + interval;
        full.back(tolerance).max(now)
    }

    /// Takes a token if there is one; whether there was. A rate of zero is no limit.
    pub fn admits(&mut self, now: Time, qps: f64, burst: f64) -> bool {
        let before = *self;
        let admitted = self.reserve(now, qps, burst) <= now;
        if !admitted {
            *self = before;
        }
        admitted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Time = Time::from_unix_seconds(1_000);

    #[test]
    fn a_bucket_without_limit_never_waits() {
        let mut bucket = TokenBucket::default();
        assert!((0..100).all(|_| bucket.reserve(START, 0.0, 30.0) == START));
        let waits: Vec<u64> = (0..33).map(|_| bucket.reserve(START, 20.0, 30.0).since(START).micros()).collect();
        assert_eq!(waits[29..], [0, 50_000, 100_000, 150_000]);
        let later = START + Span::from_secs(60);
        assert!((0..30).all(|_| bucket.reserve(later, 20.0, 30.0) == later), "it fills up again");
    }

    /// The load balancer controller's own throttle: 4 changes a second, 20 at once.
    #[test]
    fn a_burst_passes_and_then_four_a_second() {
        let mut bucket = TokenBucket::default();
        let mut wait = |now: Time| bucket.reserve(now, 4.0, 20.0).since(now);
        assert!((0..20).all(|_| wait(START).is_zero()));
        assert_eq!(wait(START), Span::from_millis(250));
        assert_eq!(wait(START), Span::from_millis(500), "after the one that waits");
        assert!(wait(START + Span::from_millis(750)).is_zero());
    }

    #[test]
    fn a_service_refuses_what_exceeds_the_burst_and_a_refusal_costs_nothing() {
        let mut bucket = TokenBucket::default();
        let admitted = (0..60).filter(|_| bucket.admits(START, 5.0, 50.0)).count();
        assert_eq!(admitted, 50);
        assert!(!bucket.admits(START + Span::from_millis(199), 5.0, 50.0));
        assert!(bucket.admits(START + Span::from_millis(200), 5.0, 50.0), "a fifth of a second is one token");
        assert!(!bucket.admits(START + Span::from_millis(200), 5.0, 50.0));
    }
}
