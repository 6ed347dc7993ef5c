//! The API server's eviction handler. Source: `pkg/registry/core/pod/storage/eviction.go`.

use super::World;
use super::change::DeleteCause;
use super::ids::PodId;
use crate::engine::Span;

/// The answer to an eviction request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Eviction {
    /// 201: the pod is being deleted.
    Granted,
    /// 404: there is no such pod.
    NotFound,
    /// 429: a budget does not allow it now.
    Refused {
        /// `Retry-After`.
        retry_after: Span,
    },
    /// 403: the budget's status cannot be trusted.
    Forbidden,
    /// 500: more than one budget matches.
    SeveralBudgets,
}

impl World {
    /// One eviction request.
    pub fn evict_pod(&mut self, pod: PodId) -> Eviction {
        if self.pods[pod.index()].gone.is_some() {
            return Eviction::NotFound;
        }
        self.delete_pod(pod, None, DeleteCause::Eviction);
        Eviction::Granted
    }
}
