//! Limits of the EC2 API: token buckets of the account, and how Karpenter's calls meet them.
//!
//! In: calls. Out: whether EC2 admits them (`RequestLimitExceeded` otherwise), and when a refused one is tried again: by the AWS
//! SDK three times in all, then by the controller's queue. Calls that Karpenter sends together are one. Source: EC2 API
//! reference, "Request throttling"; provider `kwok/ec2/ratelimiting.go`, `pkg/batcher`; AWS SDK for Go v2 `aws/retry/standard.go`.

use super::World;
use crate::engine::{Span, Time, TokenBucket};
use crate::plan::Plan;

/// Calls that are limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ec2Call {
    /// CreateFleet.
    CreateFleet,
    /// DescribeInstances.
    DescribeInstances,
    /// TerminateInstances.
    TerminateInstances,
}

impl Ec2Call {
    /// As the API names it.
    pub const fn name(self) -> &'static str {
        match self {
            Ec2Call::CreateFleet => "CreateFleet",
            Ec2Call::DescribeInstances => "DescribeInstances",
            Ec2Call::TerminateInstances => "TerminateInstances",
        }
    }

    const fn index(self) -> usize {
        self as usize
    }
}

/// A bucket and the call that others may still join.
#[derive(Clone, Copy, Debug, Default)]
struct Counter {
    bucket: TokenBucket,
    opened: Option<Time>,
    joined: Option<Time>,
    calls: u64,
    refused: u64,
}

/// The account's buckets.
#[derive(Clone, Debug, Default)]
pub struct Ec2Api {
    counters: [Counter; 3],
}

impl World {
    /// One call; whether EC2 admits it.
    pub fn call_ec2(&mut self, plan: &Plan, call: Ec2Call) -> bool {
        let (rate, burst) = plan.flags.ec2.limits[call.index()];
        let counter = &mut self.ec2.counters[call.index()];
        counter.calls += 1;
        let admitted = counter.bucket.admits(self.now, rate, burst);
        counter.refused += u64::from(!admitted);
        if admitted {
            (counter.opened, counter.joined) = (Some(self.now), Some(self.now));
        }
        admitted
    }

    /// The same for one of many that the batcher sends together: what comes within 100 ms of the last that joined, and within a
    /// second of the first, is part of one call.
    pub fn call_ec2_together(&mut self, plan: &Plan, call: Ec2Call) -> bool {
        let (idle, most) = plan.flags.ec2.batch;
        let counter = &mut self.ec2.counters[call.index()];
        let open = counter.opened.is_some_and(|opened| self.now <= opened + most);
        if open && counter.joined.is_some_and(|joined| self.now <= joined + idle) {
            counter.joined = Some(self.now);
            return true;
        }
        self.call_ec2(plan, call)
    }

    /// Calls of a kind, and how many of them were refused.
    pub fn ec2_calls(&self, call: Ec2Call) -> (u64, u64) {
        let counter = &self.ec2.counters[call.index()];
        (counter.calls, counter.refused)
    }
}

/// How long after its so-manieth refusal a call is tried again (`uniform` between 0 and 1), and whether the SDK does that or has
/// given up and the controller's queue does.
pub fn wait(plan: &Plan, refusals: u32, uniform: f64) -> (Span, bool) {
    let flags = &plan.flags.ec2;
    let position = refusals.saturating_sub(1) % flags.sdk_attempts;
    if position + 1 < flags.sdk_attempts {
        let seconds = uniform * f64::from(1_u32 << position.min(20));
        return (Span::from_seconds(seconds).min(flags.sdk_backoff_max), true);
    }
    let failures = (refusals / flags.sdk_attempts).saturating_sub(1).min(30);
    let (first, most) = flags.requeue;
    ((first * (1_u64 << failures)).min(most), false)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The SDK's standard retryer: three attempts, the waits between them drawn below 1 s and 2 s. Then NodeClaims' queue: 1 s,
    /// doubled, at most a minute.
    #[test]
    fn a_refused_call_is_repeated_by_the_sdk_and_then_by_the_queue() {
        let plan = Plan::empty(Time::from_unix_seconds(1_000), Span::from_secs(10));
        let waits: Vec<(f64, bool)> =
            (1..=24).map(|refusals| wait(&plan, refusals, 0.5)).map(|(span, sdk)| (span.seconds(), sdk)).collect();
        assert_eq!(waits[..6], [(0.5, true), (1.0, true), (1.0, false), (0.5, true), (1.0, true), (2.0, false)]);
        assert_eq!(waits[23], (60.0, false));
    }

    #[test]
    fn terminations_of_one_moment_are_one_call() {
        let mut plan = Plan::empty(Time::from_unix_seconds(1_000), Span::from_secs(10));
        plan.flags.ec2.limits[Ec2Call::TerminateInstances.index()] = (0.01, 1.0);
        let mut world = World::new(&plan);
        let mut admitted = |after: u64| {
            world.now = plan.start + Span::from_millis(after);
            world.call_ec2_together(&plan, Ec2Call::TerminateInstances)
        };
        assert!([0, 50, 150, 250].into_iter().all(&mut admitted));
        assert!(!admitted(360), "more than 100 ms after the last: a call of its own");
        assert_eq!(world.ec2_calls(Ec2Call::TerminateInstances), (2, 1));
    }
}
