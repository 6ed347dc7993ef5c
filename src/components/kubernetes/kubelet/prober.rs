//! Probe workers: when one looks at its container, what an attempt's result makes of it.
//!
//! In: the published status, pokes of the pod's syncs, answers. Out: attempts to make, values that change. A look that can
//! change nothing is never an event: [`Worker::next`]. Source: `pkg/kubelet/prober/{prober_manager,worker,prober}.go`.

use crate::engine::{Span, Time};
use crate::plan::Probe;

/// Attempts of one probe while it answers with an error. Source: `maxProbeRetries`.
const TRIES: u8 = 3;

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

/// What the published status says of a container that has an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shown {
    /// Which run of it.
    pub run: u32,
    /// Since when it runs, whole seconds; `None`: it does not.
    pub running: Option<Time>,
    /// `started`.
    pub started: bool,
    /// `ready`.
    pub ready: bool,
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Success.
    Ok,
    /// Failure.
    Fail,
    /// No answer in time: a failure.
    Timeout,
    /// The probe itself could not be carried out.
    Error,
}

/// Ticks: every `period` after `base`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticks {
    base: Time,
    period: Span,
}

impl Ticks {
    /// A ticker that begins at `base`.
    pub fn from(base: Time, period: Span) -> Ticks {
        Ticks { base, period: period.max(Span::from_micros(1)) }
    }

    /// The first tick after `time`.
    pub fn after(&self, time: Time) -> Time {
        self.base + self.period * (time.since(self.base).micros() / self.period.micros() + 1)
    }

    /// The first tick after `time` that is not before `earliest`.
    pub fn after_not_before(&self, time: Time, earliest: Time) -> Time {
        let just_before = earliest.back(Span::from_micros(1));
        self.after(time.max(just_before))
    }
}

/// An attempt that is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// The run that is asked.
    pub run: u32,
    /// When it began.
    pub began: Time,
    /// When it ends.
    pub ends: Time,
    /// How, if nothing comes between.
    pub outcome: Outcome,
    /// Errors in a row before it.
    tries: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Sleeping(Time),
    Idle,
    Probing(Attempt),
    Stopped,
}

/// A look at the container: values that were set (`None`: unknown), and whether it is to be probed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// Values that changed, in order.
    pub set: Vec<Option<bool>>,
    /// The container is to be probed.
    pub probe: bool,
}

/// A probe worker of one container.
#[derive(Clone, Debug)]
pub struct Worker {
    /// Which probe.
    pub kind: Kind,
    /// Its container (init containers counted first).
    pub container: usize,
    state: State,
    ticks: Ticks,
    /// When it looked last: ticks until then are used up.
    looked: Time,
    poked: bool,
    stopping: bool,
    /// The run whose value this is.
    known: Option<u32>,
    value: Option<bool>,
    /// Nothing more until the container is a new one.
    hold: bool,
    last: bool,
    count: u32,
}

impl Worker {
    /// A worker that is made at `now` and sleeps first.
    pub fn new(kind: Kind, container: usize, period: Span, now: Time, sleep: Span) -> Worker {
        Worker {
            kind,
            container,
            state: if sleep.is_zero() { State::Idle } else { State::Sleeping(now + sleep) },
            ticks: Ticks::from(now, period),
            looked: now,
            poked: false,
            stopping: false,
            known: None,
            value: initial(kind),
            hold: false,
            last: true,
            count: 0,
        }
    }

    /// A worker that has found run `run` well for long, with its next tick at `tick`.
    pub fn settled(kind: Kind, container: usize, period: Span, tick: Time, run: u32) -> Worker {
        let base = tick.back(period);
        Worker {
            known: Some(run),
            value: Some(true),
            hold: kind == Kind::Startup,
            count: u32::MAX / 2,
            ..Worker::new(kind, container, period, base, Span::ZERO)
        }
    }

    /// The run that it saw last.
    pub fn run(&self) -> u32 {
        self.known.unwrap_or(0)
    }

    /// The value of a run, if the worker has seen it.
    pub fn value_of(&self, run: u32) -> Option<Option<bool>> {
        (self.known == Some(run) && !self.is_stopped()).then_some(self.value)
    }

    /// It has ended.
    pub fn is_stopped(&self) -> bool {
        self.state == State::Stopped
    }

    /// The attempt under way.
    pub fn attempt(&self) -> Option<Attempt> {
        match self.state {
            State::Probing(attempt) => Some(attempt),
            State::Sleeping(_) | State::Idle | State::Stopped => None,
        }
    }

    /// The next instant at which something happens or a look can change something. `answers` tells what an attempt would
    /// find; `None`: that is not known beforehand.
    pub fn next(
        &self,
        shown: Option<&Shown>,
        probe: &Probe,
        answers: impl FnOnce() -> Option<bool>,
        now: Time,
    ) -> Option<Time> {
        match self.state {
            State::Sleeping(until) => Some(until),
            State::Probing(attempt) => Some(attempt.ends),
            State::Stopped => None,
            State::Idle => {
                let earliest = self.matters_from(shown?, probe, answers)?;
                Some(self.ticks.after_not_before(self.looked, earliest.max(now)))
            }
        }
    }

    /// From when on a look can change something.
    fn matters_from(&self, shown: &Shown, probe: &Probe, answers: impl FnOnce() -> Option<bool>) -> Option<Time> {
        if self.known != Some(shown.run) {
            return Some(Time::ZERO);
        }
        if self.hold {
            return None;
        }
        let Some(since) = shown.running else { return (self.value != Some(false)).then_some(Time::ZERO) };
        let active = (self.kind == Kind::Startup) != shown.started;
        let rests_with = |answer| self.value == Some(answer) && (self.last == answer || self.count == 0);
        (active && !answers().is_some_and(rests_with)).then(|| since + probe.initial_delay)
    }

    /// A sync pokes it: true if it looks at once; otherwise the poke waits.
    pub fn poke(&mut self, now: Time) -> bool {
        match self.state {
            State::Idle => {
                self.ticks = Ticks::from(now, self.ticks.period);
                true
            }
            State::Sleeping(_) | State::Probing(_) => {
                self.poked = true;
                false
            }
            State::Stopped => false,
        }
    }

    /// It is told to end: at once if it waits, else after what it does.
    pub fn stop(&mut self) {
        match self.state {
            State::Idle => self.state = State::Stopped,
            State::Sleeping(_) | State::Probing(_) => self.stopping = true,
            State::Stopped => {}
        }
    }

    /// It is due: true if it looks now (a tick, or the end of its sleep).
    pub fn wake(&mut self, now: Time) -> bool {
        match self.state {
            State::Sleeping(until) if until <= now => {
                self.state = State::Idle;
                self.ticks = Ticks::from(now, self.ticks.period);
                true
            }
            State::Idle => {
                self.looked < now && self.ticks.after(now.back(Span::from_micros(1)).max(self.looked)) == now
            }
            State::Sleeping(_) | State::Probing(_) | State::Stopped => false,
        }
    }

    /// Looks at the container as it is published.
    pub fn look(&mut self, shown: Option<&Shown>, probe: &Probe, now: Time) -> Look {
        let mut look = Look::default();
        self.looked = now;
        let Some(shown) = shown else { return look };
        if self.known != Some(shown.run) {
            self.known = Some(shown.run);
            self.value = initial(self.kind);
            self.hold = false;
            look.set.push(self.value);
        }
        if self.hold {
            return look;
        }
        let Some(since) = shown.running else {
            if self.value != Some(false) {
                self.value = Some(false);
                look.set.push(self.value);
            }
            return look;
        };
        look.probe = now.since(since) >= probe.initial_delay && (self.kind == Kind::Startup) != shown.started;
        look
    }

    /// An attempt begins; `answer` says how and when it ends.
    pub fn begin(&mut self, now: Time, answer: (Outcome, Span)) -> Attempt {
        let (outcome, latency) = answer;
        let tries = self.attempt().map_or(0, |attempt| attempt.tries);
        let run = self.known.unwrap_or(0);
        let attempt = Attempt { run, began: now, ends: now + latency, outcome, tries };
        self.state = State::Probing(attempt);
        attempt
    }

    /// The attempt under way ends. `None`: after an error it is tried again; otherwise the value it sets, if any.
    pub fn end(&mut self, probe: &Probe, outcome: Outcome) -> Option<Option<bool>> {
        let success = match outcome {
            Outcome::Ok => true,
            Outcome::Fail | Outcome::Timeout => false,
            Outcome::Error => {
                if let State::Probing(attempt) = &mut self.state {
                    attempt.tries += 1;
                    if attempt.tries < TRIES {
                        return None;
                    }
                }
                self.state = State::Idle;
                return Some(None);
            }
        };
        self.state = State::Idle;
        Some(self.count(probe, success).then_some(success))
    }

    /// After an attempt: true if a poke or a tick came meanwhile, so that it looks again at once.
    pub fn settle(&mut self, now: Time) -> bool {
        if self.stopping {
            self.state = State::Stopped;
            return false;
        }
        if std::mem::take(&mut self.poked) {
            self.ticks = Ticks::from(now, self.ticks.period);
            return true;
        }
        self.ticks.after(self.looked) <= now
    }

    /// Counts one result: true if the value changed.
    fn count(&mut self, probe: &Probe, success: bool) -> bool {
        self.count = if self.last == success { self.count.saturating_add(1) } else { 1 };
        self.last = success;
        let threshold = if success { probe.success_threshold } else { probe.failure_threshold };
        if self.count < threshold {
            return false;
        }
        let before = self.value.replace(success);
        if (self.kind == Kind::Liveness && !success) || self.kind == Kind::Startup {
            self.hold = true;
            self.count = 0;
        }
        before != Some(success)
    }
}

const fn initial(kind: Kind) -> Option<bool> {
    match kind {
        Kind::Startup => None,
        Kind::Readiness => Some(false),
        Kind::Liveness => Some(true),
    }
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

    fn worker(kind: Kind) -> Worker {
        Worker::new(kind, 0, Span::from_secs(10), at(0.0), Span::ZERO)
    }

    #[test]
    fn thresholds_count_results_in_a_row() {
        let mut worker = worker(Kind::Readiness);
        let rule = probe(2, 3);
        let results = [true, false, true, true, false, false, true, false, false, false];
        let changed: Vec<usize> =
            results.iter().enumerate().filter(|(_, result)| worker.count(&rule, **result)).map(|(i, _)| i).collect();
        assert_eq!(changed, [3, 9]);
    }

    #[test]
    fn a_liveness_failure_holds_until_the_container_is_new_and_begins_a_new_run() {
        let mut worker = worker(Kind::Liveness);
        let rule = probe(1, 2);
        let shown = |run| Shown { run, running: Some(at(0.0)), started: true, ready: true };
        assert_eq!(worker.look(Some(&shown(0)), &rule, at(10.0)), Look { set: vec![Some(true)], probe: true });
        assert!(!worker.count(&rule, false) && worker.count(&rule, false));
        assert!(!worker.look(Some(&shown(0)), &rule, at(20.0)).probe, "on hold");
        assert_eq!(worker.next(Some(&shown(0)), &rule, || None, at(20.0)), None);
        assert!(worker.look(Some(&shown(1)), &rule, at(30.0)).probe);
        assert!(!worker.count(&rule, false) && worker.count(&rule, false), "the count was zeroed");
    }

    #[test]
    fn a_tick_is_kept_while_a_probe_runs_and_a_poke_restarts_the_period() {
        let mut worker = worker(Kind::Readiness);
        let rule = probe(1, 3);
        let shown = Shown { run: 0, running: Some(at(0.0)), started: true, ready: false };
        assert!(worker.look(Some(&shown), &rule, at(10.0)).probe);
        worker.begin(at(10.0), (Outcome::Ok, Span::from_secs(25)));
        assert_eq!(worker.next(Some(&shown), &rule, || None, at(10.0)), Some(at(35.0)));
        assert_eq!(worker.end(&rule, Outcome::Ok), Some(Some(true)));
        assert!(worker.settle(at(35.0)), "of the ticks at 20 and 30 one was kept");
        worker.look(Some(&shown), &rule, at(35.0));
        assert_eq!(worker.next(Some(&shown), &rule, || None, at(35.0)), Some(at(40.0)));
        assert!(worker.poke(at(36.5)));
        worker.look(Some(&shown), &rule, at(36.5));
        assert_eq!(worker.next(Some(&shown), &rule, || None, at(36.5)), Some(at(46.5)));
        assert_eq!(
            worker.next(Some(&shown), &rule, || Some(true), at(36.5)),
            None,
            "success again would change nothing"
        );
    }

    #[test]
    fn an_error_is_tried_three_times_and_discarded() {
        let mut worker = worker(Kind::Readiness);
        let rule = probe(1, 1);
        let error = (Outcome::Error, Span::ZERO);
        worker.begin(at(1.0), error);
        assert_eq!(worker.end(&rule, Outcome::Error), None);
        worker.begin(at(1.0), error);
        assert_eq!(worker.end(&rule, Outcome::Error), None);
        worker.begin(at(1.0), error);
        assert_eq!(worker.end(&rule, Outcome::Error), Some(None));
    }

    #[test]
    fn the_initial_delay_counts_from_the_published_start() {
        let mut worker = worker(Kind::Readiness);
        let rule = Probe { initial_delay: Span::from_secs(5), ..probe(1, 3) };
        let shown = Shown { run: 0, running: Some(at(0.9).whole_second()), started: true, ready: false };
        assert!(!worker.look(Some(&shown), &rule, at(4.9)).probe);
        assert!(worker.look(Some(&shown), &rule, at(5.0)).probe, "up to a second early");
    }

    #[test]
    fn restarts_wait_longer_each_time() {
        let table = (0..9).map(|count| restart_backoff(Span::from_secs(10), Span::from_secs(300), count));
        assert_eq!(table.map(Span::whole_seconds).collect::<Vec<_>>(), [0, 10, 20, 40, 80, 160, 300, 300, 300]);
    }
}
