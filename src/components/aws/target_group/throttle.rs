//! The client's throttle: calls beyond a rate wait.
//!
//! Source: aws-load-balancer-controller `pkg/aws/throttle/defaults.go`; `golang.org/x/time/rate` (`Limiter.Wait`).

use crate::engine::{Span, Time};

/// Tokens of a bucket; each call takes one, if need be one that comes later.
#[derive(Clone, Copy, Debug, Default)]
pub struct TokenBucket {
    tokens: f64,
    at: Option<Time>,
}

impl TokenBucket {
    /// Takes a token; how long until it is there.
    pub fn take(&mut self, now: Time, (rate, burst): (f64, f64)) -> Span {
        if rate <= 0.0 {
            return Span::ZERO;
        }
        let before = self.at.replace(now);
        let tokens = before.map_or(burst, |at| (self.tokens + (now - at).seconds() * rate).min(burst));
        self.tokens = tokens - 1.0;
        // A token that is short by less than a microsecond's worth is there.
        if self.tokens + rate * 1e-6 >= 0.0 { Span::ZERO } else { Span::from_seconds(-self.tokens / rate) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_then_four_a_second() {
        let (mut bucket, rate, now) = (TokenBucket::default(), (4.0, 20.0), Time::from_unix_seconds(50));
        assert!((0..20).all(|_| bucket.take(now, rate).is_zero()));
        assert_eq!(bucket.take(now, rate), Span::from_millis(250));
        assert_eq!(bucket.take(now, rate), Span::from_millis(500), "after the one that waits");
        assert!(bucket.take(now + Span::from_millis(750), rate).is_zero());
    }
}
