//! The discrete-event engine: time, the queue of what is to come, chance, and limits.
//!
//! It knows nothing of Kubernetes and nothing of ours: a queue of `Copy` events ordered by `(time, sequence)`,
//! and random draws that are keyed by what they are for instead of by the order in which they are made.

pub mod ahead;
mod few;
pub mod hash;
pub mod limit;
pub mod logarithm;
pub mod queue;
pub mod random;
pub mod retry;
pub mod time;
pub mod timers;
pub mod token_bucket;

pub use ahead::Ahead;
pub use hash::{StableHasher, StableState};
pub use limit::{LimitReached, Limits};
pub use queue::Queue;
pub use random::{Purpose, Random};
pub use retry::{Backoff, Retries};
pub use time::{Span, Time};
pub use timers::TimerId;
pub use token_bucket::TokenBucket;
