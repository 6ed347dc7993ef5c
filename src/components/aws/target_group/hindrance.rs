//! What faults do to a call of the controller: IAM denies it, or the API throttles it.
//!
//! A denied call fails at once. A throttled one is repeated by the SDK, ten times at most, after a random part of a pause
//! that doubles from 1 s to 20 s; only then does the reconcile fail.
//!
//! Source: aws-sdk-go-v2 `aws/retry/standard.go`, `jitter_backoff.go`; aws-load-balancer-controller
//! `docs/deploy/configurations.md` (`aws-max-retries`).

use super::outside::{Action, AwsError, Call};
use crate::components::Cx;
use crate::engine::{Purpose, Span};
use crate::plan::{InForce, LoadBalancerCall};

const THROTTLED: Purpose = Purpose::named("load_balancer.throttled");
const PAUSE: Purpose = Purpose::named("load_balancer.retry");
/// `aws-max-retries`.
const RETRIES_MAX: u64 = 10;
/// Largest pause of the SDK.
const PAUSE_MAX: Span = Span::from_secs(20);

/// What becomes of a call.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Hindrance {
    /// Pauses of the SDK.
    pub delay: Span,
    /// How often the call was repeated.
    pub retries: u64,
    /// The error that is left.
    pub error: Option<AwsError>,
}

impl Hindrance {
    /// For an explanation, behind the name of the call.
    pub fn words(&self) -> String {
        let again = if self.retries > 0 { format!(", repeated {} times", self.retries) } else { String::new() };
        let error = self.error.as_ref().map(|error| format!(": {}: {}", error.code, error.text));
        again + &error.unwrap_or_default()
    }
}

/// What the faults in force do to a call; `key` is that of its draws. Mostly there are none.
pub fn hinder(cx: &Cx, call: &Call, key: u64) -> Hindrance {
    if cx.world.faults.contains(&true) { hindered(cx, call, key) } else { Hindrance::default() }
}

#[cold]
fn hindered(cx: &Cx, call: &Call, key: u64) -> Hindrance {
    let in_force = InForce::new(cx.plan, &cx.world.faults);
    let kind = match call.action {
        Action::Describe(_) => LoadBalancerCall::Describe,
        Action::Register(_) => LoadBalancerCall::Register,
        Action::Deregister(_) => LoadBalancerCall::Deregister,
    };
    if in_force.denies(kind) {
        return Hindrance { error: Some(AwsError::denied(kind.name())), ..Hindrance::default() };
    }
    let share = in_force.throttled();
    let mut hindrance = Hindrance::default();
    // Without noise as often as on average.
    let expected = if share < 1.0 { (share / (1.0 - share)).round() as u64 } else { u64::MAX };
    let fails = |attempt: u64| match cx.random {
        None => attempt < expected,
        Some(random) => random.uniform(THROTTLED, key.wrapping_add(attempt)) < share,
    };
    while fails(hindrance.retries) {
        if hindrance.retries == RETRIES_MAX {
            hindrance.error = Some(AwsError::throttled());
            return hindrance;
        }
        let pause = (Span::from_secs(1) * (1 << hindrance.retries.min(5))).min(PAUSE_MAX);
        hindrance.delay += cx.phase(PAUSE, key.wrapping_add(hindrance.retries), pause);
        hindrance.retries += 1;
    }
    hindrance
}
