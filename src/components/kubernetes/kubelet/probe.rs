//! Probes: when a worker probes, and what its results make of a container.
//!
//! A probe whose result cannot change anything is never an event: [`Worker::is_at_rest`].
//! Source: `pkg/kubelet/prober/{prober_manager,worker}.go`.

use crate::engine::{Span, Time};
use crate::plan::Probe;

/// Which of the three.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// startupProbe.
    Startup,
    /// readinessProbe.
    Readiness,
    /// livenessProbe.
    Liveness,
}

/// When a worker probes: up to three pokes one relist apart, then every period counted from the last of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticks {
    /// The period is counted from here.
    anchor: Time,
    /// So many pokes came before, one `relist` apart.
    pokes: u8,
    relist: Span,
    period: Span,
}

impl Ticks {
    /// Every period from `anchor` on.
    pub fn every(anchor: Time, period: Span) -> Ticks {
        Ticks { anchor, pokes: 0, relist: Span::ZERO, period: period.max(Span::from_micros(1)) }
    }

    /// Poked at the relist `first` that shows the container and at the next two, then every period. Without `at_first`
    /// the worker sees no container yet at the first of them.
    pub fn poked(first: Time, relist: Span, period: Span, at_first: bool) -> Ticks {
        let pokes = if at_first { 2 } else { 1 };
        Ticks { anchor: first + relist * 2, pokes, relist, ..Ticks::every(first, period) }
    }

    /// The first tick at or after `time`.
    pub fn at_or_after(&self, time: Time) -> Time {
        for poke in (1..=u64::from(self.pokes)).rev() {
            let tick = self.anchor.back(self.relist * poke);
            if tick >= time {
                return tick;
            }
        }
        if time <= self.anchor {
            return self.anchor;
        }
        let periods = time.since(self.anchor).micros().div_ceil(self.period.micros());
        self.anchor + self.period * periods
    }

    /// The first tick after `time`.
    pub fn after(&self, time: Time) -> Time {
        self.at_or_after(time + Span::from_micros(1))
    }
}

/// What a result makes of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing yet, or nothing new.
    None,
    /// The value changed.
    Changed(bool),
}

/// A probe worker of one container.
#[derive(Clone, Debug)]
pub struct Worker {
    /// Which probe.
    pub kind: Kind,
    /// Its container (init containers counted first).
    pub container: usize,
    /// When it probes.
    pub ticks: Ticks,
    /// The value that counts: readiness begins with failure, liveness with success, startup with neither.
    pub value: Option<bool>,
    /// Nothing more until the container is a new one.
    pub hold: bool,
    last: bool,
    run: u32,
}

impl Worker {
    /// A new worker.
    pub fn new(kind: Kind, container: usize, ticks: Ticks) -> Worker {
        Worker { kind, container, ticks, value: initial(kind), hold: false, last: false, run: 0 }
    }

    /// The container is a new one: the value begins anew, the run of equal results does not.
    pub fn new_container(&mut self) {
        self.value = initial(self.kind);
        self.hold = false;
    }

    /// A worker that has found the container well for long.
    pub fn settled(mut self) -> Worker {
        self.value = Some(true);
        self.hold = self.kind == Kind::Startup;
        self.last = true;
        self.run = u32::MAX / 2;
        self
    }

    /// More probes with this answer change nothing.
    pub fn is_at_rest(&self, answers: bool) -> bool {
        self.hold || (self.value == Some(answers) && (self.last == answers || self.run == 0))
    }

    /// Counts one result.
    pub fn count(&mut self, probe: &Probe, result: bool) -> Verdict {
        self.run = if self.last == result { self.run.saturating_add(1) } else { 1 };
        self.last = result;
        let threshold = if result { probe.success_threshold } else { probe.failure_threshold };
        if self.run < threshold || self.hold {
            return Verdict::None;
        }
        let before = self.value.replace(result);
        if (self.kind == Kind::Liveness && !result) || self.kind == Kind::Startup {
            self.hold = true;
            self.run = 0;
        }
        if before == Some(result) { Verdict::None } else { Verdict::Changed(result) }
    }
}

const fn initial(kind: Kind) -> Option<bool> {
    match kind {
        Kind::Startup => None,
        Kind::Readiness => Some(false),
        Kind::Liveness => Some(true),
    }
}

/// initialDelaySeconds is over. It counts from the container's start cut to a whole second.
pub fn delay_is_over(probe: &Probe, started: Time, now: Time) -> bool {
    now.since(started.whole_second()) >= probe.initial_delay
}

/// The first relist at or after `time`; relists are `period` apart.
pub fn relist_at_or_after(first: Time, period: Span, time: Time) -> Time {
    Ticks::every(first, period).at_or_after(time)
}

/// Wait before restart `restarts` (the first is number 0). Source: `client-go/util/flowcontrol/backoff.go` as the kubelet
/// uses it: 0, 10, 20, 40, 80, 160, 300, 300... seconds.
pub fn restart_backoff(initial: Span, maximum: Span, restarts: u32) -> Span {
    match restarts {
        0 => Span::ZERO,
        count => (initial * (1_u64 << (count - 1).min(20))).min(maximum),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::ProbeHandler;

    fn at(seconds: f64) -> Time {
        Time::from_unix_seconds(1000) + Span::from_seconds(seconds)
    }

    fn probe(success: u32, failure: u32) -> Probe {
        Probe {
            handler: ProbeHandler::Tcp,
            initial_delay: Span::ZERO,
            period: Span::from_secs(10),
            timeout: Span::from_secs(1),
            success_threshold: success,
            failure_threshold: failure,
            termination_grace: None,
        }
    }

    #[test]
    fn an_unready_container_is_probed_at_three_relists_and_then_every_period() {
        let (relist, period) = (Span::from_secs(1), Span::from_secs(10));
        let ticks = Ticks::poked(at(0.3), relist, period, true);
        // The application answers so long after the start; the probe that sees it.
        for (healthy, seen) in [(0.0, 0.3), (0.3, 0.3), (0.4, 1.3), (2.0, 2.3), (2.4, 12.3), (12.4, 22.3)] {
            assert_eq!(ticks.at_or_after(at(healthy)), at(seen), "{healthy}");
        }
        let late = Ticks::poked(at(0.3), relist, period, false);
        assert_eq!(late.at_or_after(at(0.0)), at(1.3), "the race at the first relist is lost");
        assert_eq!(ticks.after(at(2.3)), at(12.3));
        assert_eq!(relist_at_or_after(at(0.5), relist, at(7.6)), at(8.5));
    }

    #[test]
    fn thresholds_count_results_in_a_row() {
        let mut worker = Worker::new(Kind::Readiness, 0, Ticks::every(at(0.0), Span::from_secs(10)));
        let rule = probe(2, 3);
        assert!(worker.is_at_rest(false) && !worker.is_at_rest(true));
        let results = [true, false, true, true, false, false, true, false, false, false];
        let verdicts: Vec<Verdict> = results.iter().map(|&result| worker.count(&rule, result)).collect();
        assert_eq!(verdicts[3], Verdict::Changed(true));
        assert_eq!(verdicts[9], Verdict::Changed(false));
        assert_eq!(verdicts.iter().filter(|verdict| **verdict != Verdict::None).count(), 2);
    }

    #[test]
    fn a_liveness_failure_holds_until_the_container_is_new_and_begins_a_new_run() {
        let mut worker = Worker::new(Kind::Liveness, 0, Ticks::every(at(0.0), Span::from_secs(10)));
        let rule = probe(1, 2);
        assert_eq!(worker.count(&rule, false), Verdict::None);
        assert_eq!(worker.count(&rule, false), Verdict::Changed(false));
        assert!(worker.is_at_rest(false) && worker.is_at_rest(true));
        worker.new_container();
        assert_eq!(worker.count(&rule, false), Verdict::None, "the run was zeroed");
        assert_eq!(worker.count(&rule, false), Verdict::Changed(false));
    }

    #[test]
    fn the_initial_delay_may_end_up_to_a_second_early() {
        let rule = Probe { initial_delay: Span::from_secs(5), ..probe(1, 3) };
        assert!(!delay_is_over(&rule, at(0.9), at(4.9)));
        assert!(delay_is_over(&rule, at(0.9), at(5.0)));
    }

    #[test]
    fn restarts_wait_longer_each_time() {
        let table = (0..9).map(|count| restart_backoff(Span::from_secs(10), Span::from_secs(300), count));
        assert_eq!(table.map(Span::whole_seconds).collect::<Vec<_>>(), [0, 10, 20, 40, 80, 160, 300, 300, 300]);
    }
}
