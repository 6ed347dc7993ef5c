//! Deletion of pods that do not tolerate a NoExecute taint, or no longer.
//!
//! Source: `pkg/controller/tainteviction/{taint_eviction,timed_workers}.go`.

use crate::engine::{Span, Time};
use crate::rules::taint::{Taint, TaintEffect, Toleration};
use crate::world::PodId;
use std::collections::BTreeMap;

/// Scheduled deletions.
#[derive(Debug, Default)]
pub struct Evictions {
    /// By pod: when it was scheduled, and for when.
    scheduled: BTreeMap<PodId, (Time, Time)>,
}

/// What to do with a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Nothing, or what was scheduled stays.
    None,
    /// Delete it now.
    Now,
    /// Look again then.
    At(Time),
}

/// How long a pod may stay under the taints of its node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stay {
    /// For ever.
    Forever,
    /// So long from now; zero is not the same as not at all.
    For(Span),
    /// A taint is not tolerated.
    NoLonger,
}

impl Evictions {
    /// A deletion that is scheduled is only cancelled, or brought forward to now by a taint that is not tolerated; one of
    /// this very instant is scheduled anew.
    pub fn schedule(&mut self, pod: PodId, stay: Stay, now: Time) -> Order {
        match stay {
            Stay::Forever => {
                self.scheduled.remove(&pod);
                Order::None
            }
            Stay::NoLonger => {
                self.scheduled.remove(&pod);
                Order::Now
            }
            Stay::For(_) if self.scheduled.get(&pod).is_some_and(|(since, _)| *since < now) => Order::None,
            Stay::For(span) if span.is_zero() => {
                self.scheduled.remove(&pod);
                Order::Now
            }
            Stay::For(span) => {
                self.scheduled.insert(pod, (now, now + span));
                Order::At(now + span)
            }
        }
    }

    /// A time has come: true if the pod is to be deleted now.
    pub fn is_due(&mut self, pod: PodId, now: Time) -> bool {
        let due = self.scheduled.get(&pod).is_some_and(|(_, at)| *at == now);
        if due {
            self.scheduled.remove(&pod);
        }
        due
    }

    /// Nothing is scheduled.
    pub fn is_empty(&self) -> bool {
        self.scheduled.is_empty()
    }

    /// The pod is gone.
    pub fn forget(&mut self, pod: PodId) {
        self.scheduled.remove(&pod);
    }
}

/// Some taint may evict pods.
pub fn is_any_evicting(taints: &[Taint]) -> bool {
    taints.iter().any(|taint| taint.effect == TaintEffect::NoExecute)
}

/// How long a pod may stay under these taints: the smallest tolerationSeconds among the tolerations in use.
pub fn stay(taints: &[Taint], tolerations: &[Toleration]) -> Stay {
    let mut least: Option<Span> = None;
    for taint in taints.iter().filter(|taint| taint.effect == TaintEffect::NoExecute) {
        let Some(used) = tolerations.iter().find(|toleration| toleration.tolerates(taint)) else {
            return Stay::NoLonger;
        };
        if let Some(seconds) = used.seconds {
            let span = Span::from_secs(u64::try_from(seconds).unwrap_or(0));
            least = Some(least.map_or(span, |least| least.min(span)));
        }
    }
    least.map_or(Stay::Forever, Stay::For)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::taint::TolerationOperator;

    const NOT_READY: &str = "node.kubernetes.io/not-ready";

    #[test]
    fn tolerations_delay_and_the_shortest_counts() {
        let taint = |key| Taint::new(key, TaintEffect::NoExecute);
        let toleration = |key: &str, seconds| Toleration {
            key: key.into(),
            operator: TolerationOperator::Exists,
            value: String::new(),
            effect: None,
            seconds,
        };
        let both = [taint(NOT_READY), taint("x")];
        let tolerations = [toleration(NOT_READY, Some(300)), toleration("x", Some(60))];
        assert_eq!(stay(&both, &tolerations), Stay::For(Span::from_secs(60)));
        assert_eq!(stay(&both, &tolerations[..1]), Stay::NoLonger);
        assert_eq!(stay(&both[..1], &[toleration("", None)]), Stay::Forever);
        assert_eq!(stay(&both[..1], &[toleration(NOT_READY, Some(-5))]), Stay::For(Span::ZERO));
        assert_eq!(stay(&[Taint::new("y", TaintEffect::NoSchedule)], &[]), Stay::Forever);
    }

    #[test]
    fn a_scheduled_deletion_is_not_moved() {
        let at = Time::from_unix_seconds;
        let (pod, minute) = (PodId(0), Span::from_secs(60));
        let mut evictions = Evictions::default();
        assert_eq!(evictions.schedule(pod, Stay::For(minute * 5), at(10)), Order::At(at(310)));
        assert_eq!(evictions.schedule(pod, Stay::For(minute), at(20)), Order::None);
        assert_eq!(evictions.schedule(pod, Stay::For(Span::ZERO), at(20)), Order::None, "tolerated for no time");
        assert!(!evictions.is_due(pod, at(80)) && evictions.is_due(pod, at(310)));
        evictions.schedule(pod, Stay::For(minute * 5), at(10));
        assert_eq!(evictions.schedule(pod, Stay::NoLonger, at(20)), Order::Now);
        assert!(!evictions.is_due(pod, at(310)), "brought forward");
    }
}
