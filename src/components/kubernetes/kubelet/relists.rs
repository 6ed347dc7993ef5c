//! PLEG: when relists come, and what one reports of a pod.
//!
//! Source: `pkg/kubelet/pleg/generic.go`, `container/cache.go`. A relist is an event only if it has something to report or
//! a sync waits for it.

use crate::engine::{Span, Time};

/// The relists of one node: each begins a period after the end of the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Relists {
    /// The beginning of the first.
    pub first: Time,
    /// From beginning to beginning.
    pub every: Span,
    /// From beginning to report.
    pub takes: Span,
}

impl Relists {
    /// The report of the first relist that begins after `time`.
    pub fn begun_after(&self, time: Time) -> Time {
        if time < self.first {
            return self.first + self.takes;
        }
        let every = self.every.max(Span::from_micros(1));
        self.first + every * (time.since(self.first).micros() / every.micros() + 1) + self.takes
    }

    /// The first report at or after `time`: the runtime is read when it is made.
    pub fn report_at_or_after(&self, time: Time) -> Time {
        let begin = time.back(self.takes);
        if begin <= self.first {
            return self.first + self.takes;
        }
        let every = self.every.max(Span::from_micros(1));
        self.first + every * begin.since(self.first).micros().div_ceil(every.micros()) + self.takes
    }

    /// A relist that begun after `end` has reported by `now`.
    pub fn is_newer(&self, end: Option<Time>, now: Time) -> bool {
        end.is_none_or(|end| self.begun_after(end) <= now)
    }
}

/// A run of a container in the runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// Its number.
    pub number: u32,
    /// When it started.
    pub started: Time,
    /// When it exited.
    pub exited: Option<Time>,
}

/// How many starts and exits lie between what the last relist saw of a container and what is.
pub fn reports(seen: Option<Run>, now: Option<Run>) -> usize {
    let Some(now) = now else { return 0 };
    match seen {
        Some(seen) if seen.number == now.number => usize::from(seen.exited.is_none() && now.exited.is_some()),
        // One report a run that came and went meanwhile, and one of the latest.
        _ => {
            let exit = usize::from(seen.is_some_and(|seen| seen.exited.is_none()));
            let first = seen.map_or(0, |seen| seen.number + 1);
            exit + (now.number.saturating_sub(first) as usize) + 1
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: f64) -> Time {
        Time::from_unix_seconds(1000) + Span::from_seconds(seconds)
    }

    #[test]
    fn a_relist_is_dated_at_its_beginning_and_reads_at_its_end() {
        let relists = Relists { first: at(0.25), every: Span::from_millis(1007), takes: Span::from_millis(7) };
        assert_eq!(relists.begun_after(at(0.25)), at(1.264));
        assert_eq!(relists.begun_after(at(0.2)), at(0.257));
        assert_eq!(relists.report_at_or_after(at(0.255)), at(0.257), "what happens while it runs is seen");
        assert_eq!(relists.report_at_or_after(at(0.258)), at(1.264));
        assert!(!relists.is_newer(Some(at(0.3)), at(1.263)) && relists.is_newer(Some(at(0.3)), at(1.264)));
        assert!(relists.is_newer(None, at(0.0)), "the first sync waits for nothing");
    }

    #[test]
    fn each_start_and_exit_is_a_report() {
        let run = |number, exited: bool| Some(Run { number, started: at(0.0), exited: exited.then_some(at(1.0)) });
        assert_eq!(reports(None, None), 0);
        assert_eq!(reports(None, run(0, false)), 1);
        assert_eq!(reports(run(0, false), run(0, true)), 1);
        assert_eq!(reports(run(0, false), run(1, false)), 2, "the old one is gone, the new one is there");
        assert_eq!(reports(run(0, true), run(1, false)), 1);
        assert_eq!(reports(run(0, true), run(0, true)), 0);
    }
}
