//! Attempts in a row that changed what is thought of a container (probes) or of a target (health checks).

use crate::engine::Time;
use crate::world::{PodId, TargetId};

/// The attempts that decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// Whose they are.
    pub pod: PodId,
    /// The target and the load-balancer node, from 1, where the load balancer asks.
    pub target: Option<(TargetId, usize)>,
    /// `readiness probe of container wordpress (...)`, `health checks (every 15s)`.
    pub what: String,
    /// The attempts in a row, the last one decided.
    pub attempts: Vec<Tried>,
    /// How many in a row it takes.
    pub threshold: u32,
    /// It passed.
    pub passed: bool,
    /// What that means.
    pub consequence: &'static str,
}

impl Checked {
    /// The same of another node of the load balancer at the same times.
    pub fn is_echo_of(&self, other: &Checked) -> bool {
        let target = |one: &Checked| one.target.map(|(target, _)| target);
        target(self).is_some()
            && target(self) == target(other)
            && (self.passed, &self.attempts) == (other.passed, &other.attempts)
    }
}

/// One attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tried {
    /// When.
    pub at: Time,
    /// How it went.
    pub outcome: &'static str,
}
