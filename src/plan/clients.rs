//! Who sends requests, and what they do when one fails.

use super::timing::Distribution;
use crate::engine::Span;

/// The clients of an application.
#[derive(Clone, Debug, PartialEq)]
pub struct Clients {
    /// Coefficient of variation of the time between two arrivals: 1 is Poisson, 0 even. Without noise all are even.
    pub variation: f64,
    /// A closed loop: the curve counts users, each of whom thinks for so long after an answer. `None`: the curve is a rate.
    pub think: Option<Distribution>,
    /// They give up waiting for an answer after this; the load balancer's idle timeout holds in any case.
    pub timeout: Option<Span>,
    /// What they do after a failure; `None`: nothing.
    pub retries: Option<Retries>,
    /// Requests that find no pod are held so long for the first one, as an activator does; zero: they fail at once.
    pub hold: Span,
}

impl Default for Clients {
    fn default() -> Clients {
        Clients { variation: 1.0, think: None, timeout: None, retries: None, hold: Span::ZERO }
    }
}

impl Clients {
    /// Most users of a closed loop.
    pub const USERS_MAX: u32 = 1 << 20;

    /// What becomes of a request decides about others.
    pub fn react(&self) -> bool {
        self.think.is_some() || self.retries.is_some()
    }
}

/// Retries with back-off.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Retries {
    /// Tries after the first.
    pub max: u32,
    /// Wait before the first retry.
    pub backoff: Span,
    /// Each wait is so many times the one before.
    pub factor: f64,
    /// But never longer than this.
    pub backoff_max: Span,
    /// A wait is drawn between zero and its length ("full jitter"); without noise it is half.
    pub jitter: bool,
    /// Retries are at most this part of first tries, with [`Retries::BURST`] to begin with; `None`: no budget.
    pub budget: Option<f64>,
}

impl Default for Retries {
    /// Standard mode of the AWS SDKs (SDKs and Tools Reference Guide, "Retry behavior"): two retries, waits from one second
    /// doubling up to twenty, full jitter.
    fn default() -> Retries {
        Retries {
            max: 2,
            backoff: Span::from_secs(1),
            factor: 2.0,
            backoff_max: Span::from_secs(20),
            jitter: true,
            budget: None,
        }
    }
}

impl Retries {
    /// Retries that a budget holds at most: the bucket of a client of AWS (500 tokens, a retry costs 5).
    pub const BURST: f64 = 100.0;

    /// The wait before try number `attempt` (1 is the first retry), before jitter.
    pub fn wait(&self, attempt: u32) -> Span {
        let grown = self.backoff.seconds() * self.factor.powi(attempt.saturating_sub(1).min(1_000) as i32);
        Span::from_seconds(grown).min(self.backoff_max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_up_to_their_ceiling() {
        let (backoff, backoff_max) = (Span::from_millis(100), Span::from_secs(1));
        let retries = Retries { max: 9, backoff, backoff_max, ..Retries::default() };
        let waits = [1, 2, 3, 4, 5, 4_000_000_000].map(|attempt| retries.wait(attempt).micros() / 1_000);
        assert_eq!(waits, [100, 200, 400, 800, 1_000, 1_000]);
    }
}
