//! The ledger of requests: every request offered ends in exactly one column.
//!
//! Amounts are micro-requests (10^-6), so that request-level traffic (whole requests) and fluid traffic (parts of them)
//! add up in integers and conservation can be checked exactly.

use super::histogram::Histogram;
use super::losses::{LossPlace, Losses};
use crate::engine::{Span, Time};
use crate::plan::Plan;
use std::ops::AddAssign;

/// One request in micro-requests.
pub const REQUEST: u64 = 1_000_000;

/// Why a request was lost, with the status that the client saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Loss {
    /// 503: no target to send it to.
    NoTarget,
    /// 502: connection refused, nothing listens (the process has not started or has ended).
    Refused,
    /// 502: the process ended with the request in flight.
    Cut,
    /// 504: the address is gone, no connection within 10 s.
    Unreachable,
    /// 504: no answer within the idle timeout of 60 s.
    TimedOut,
    /// 503 by the application: its queue is full.
    QueueFull,
    /// 502: the deregistration delay ended with the request in flight.
    DrainEnded,
    /// 502: sent on an idle connection that the application was just closing.
    Closed,
}

impl Loss {
    /// All causes.
    pub const ALL: [Loss; 8] = [
        Loss::NoTarget,
        Loss::Refused,
        Loss::Cut,
        Loss::Unreachable,
        Loss::TimedOut,
        Loss::QueueFull,
        Loss::DrainEnded,
        Loss::Closed,
    ];

    /// Those that can befall the applications of a plan. Results name no cause that cannot be.
    pub fn possible(plan: &Plan) -> impl Iterator<Item = Loss> {
        let closes = plan.apps.iter().any(|app| app.keep_alive.is_some());
        Loss::ALL.into_iter().filter(move |&loss| loss != Loss::Closed || closes)
    }

    /// HTTP status that the client saw.
    pub const fn status(self) -> u16 {
        match self {
            Loss::NoTarget | Loss::QueueFull => 503,
            Loss::Refused | Loss::Cut | Loss::DrainEnded | Loss::Closed => 502,
            Loss::Unreachable | Loss::TimedOut => 504,
        }
    }

    /// In words.
    pub const fn name(self) -> &'static str {
        match self {
            Loss::NoTarget => "no target",
            Loss::Refused => "connection refused",
            Loss::Cut => "cut off in flight",
            Loss::Unreachable => "address gone",
            Loss::TimedOut => "timed out",
            Loss::QueueFull => "queue full",
            Loss::DrainEnded => "drain ended",
            Loss::Closed => "keep alive ended",
        }
    }
}

/// Sums over requests.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Tally {
    /// Micro-requests that arrived.
    pub offered: u64,
    /// Micro-requests answered.
    pub served: u64,
    /// Those of them slower than the objective.
    pub slow: u64,
    /// Micro-requests lost, by cause in the order of [`Loss::ALL`].
    pub lost: [u64; 8],
    /// Sum of latencies of served requests: micro-requests times microseconds.
    pub latency: u128,
}

impl Tally {
    /// Lost for any cause.
    pub fn lost_all(&self) -> u64 {
        self.lost.iter().sum()
    }

    /// Mean latency of what was served.
    pub fn mean_latency(&self) -> Option<Span> {
        (self.served > 0).then(|| Span::from_micros((self.latency / u128::from(self.served)) as u64))
    }
}

impl Tally {
    /// Adds everything but what was lost.
    #[inline]
    pub fn add_without_loss(&mut self, other: &Tally) {
        self.offered += other.offered;
        self.served += other.served;
        self.slow += other.slow;
        self.latency += other.latency;
    }
}

impl AddAssign<&Tally> for Tally {
    fn add_assign(&mut self, other: &Tally) {
        self.add_without_loss(other);
        for (sum, lost) in self.lost.iter_mut().zip(other.lost) {
            *sum += lost;
        }
    }
}

const SECOND: Span = Span::from_secs(1);

/// One bin of a ledger.
#[derive(Clone, Copy, Debug, Default)]
struct Second {
    start: Time,
    index: usize,
}

/// Requests of one application, in bins of one second from the start of the run.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    start: Time,
    /// One tally a second; a request is booked as offered in the second of its arrival and as served or lost in the
    /// second of its outcome.
    pub bins: Vec<Tally>,
    /// The sum of all bins.
    pub total: Tally,
    /// Micro-requests in flight: offered and not yet served or lost.
    pub in_flight: u64,
    /// Latencies of single requests that were answered.
    pub latencies: Histogram,
    /// How long single requests waited in a pod until a worker took them.
    pub waits: Histogram,
    /// Request time so far: micro-requests in flight times microseconds, of single requests.
    area: u128,
    since: Time,
    /// Sum of times in flight of requests that were lost, as [`Tally::latency`] is of those answered.
    lost_time: u128,
    /// The second booked last.
    second: Second,
    /// It books a flow.
    flows: bool,
    /// Retries among what was offered; each try counts as a request of its own.
    pub retries: u64,
    /// Clients that have given up after their last try failed.
    pub given_up: u64,
    /// Where requests were lost.
    pub losses: Losses,
}

impl Ledger {
    /// An empty ledger.
    pub fn new(start: Time) -> Ledger {
        Ledger { start, since: start, ..Ledger::default() }
    }

    /// An empty ledger with memory for a run of so long, or for the first hour of it.
    pub fn lasting(start: Time, span: Span) -> Ledger {
        let bins = Vec::with_capacity(span.whole_seconds().min(3600) as usize + 1);
        Ledger { bins, ..Ledger::new(start) }
    }

    #[inline]
    fn bin(&mut self, at: Time) -> &mut Tally {
        // Nearly always it is the one of last time: no quotient for that.
        if at.since(self.second.start) >= SECOND || at < self.second.start || self.bins.len() <= self.second.index {
            self.enter_second(at);
        }
        &mut self.bins[self.second.index]
    }

    #[inline(never)]
    fn enter_second(&mut self, at: Time) {
        let seconds = at.since(self.start).whole_seconds();
        let index = usize::try_from(seconds).unwrap_or(usize::MAX);
        self.second = Second { start: self.start + SECOND * seconds, index };
        if self.bins.len() <= index {
            self.bins.resize(index + 1, Tally::default());
        }
    }

    #[inline]
    fn pass(&mut self, at: Time) {
        self.area += u128::from(self.in_flight) * u128::from(at.since(self.since).micros());
        self.since = at;
    }

    /// Little's law for single requests: what was in flight, summed over time until `now`, is the sum of the times that
    /// each was in flight. `waiting` is that sum for the requests still in flight. Both sides, which are equal; of a flow,
    /// which books the time of its backlog as that integral, neither is known.
    pub fn little(&self, now: Time, waiting: u128) -> (u128, u128) {
        if self.flows {
            return (0, 0);
        }
        let area = self.area + u128::from(self.in_flight) * u128::from(now.since(self.since).micros());
        (area, self.total.latency + self.lost_time + waiting)
    }

    /// Books the arrival of a single request.
    #[inline(always)]
    pub fn arrive(&mut self, at: Time) {
        self.pass(at);
        self.offer(at, REQUEST);
    }

    /// Books the answer of a single request.
    #[inline(always)]
    pub fn answer(&mut self, at: Time, latency: Span, slow: bool) {
        self.pass(at);
        self.latencies.add(latency);
        self.serve(at, REQUEST, latency, slow);
    }

    /// Books the loss of a single request after so long.
    pub fn fail(&mut self, at: Time, after: Span, loss: Loss, place: LossPlace) {
        self.pass(at);
        self.lost_time += u128::from(REQUEST) * u128::from(after.micros());
        self.lose(at, REQUEST, loss, place);
    }

    /// Books arrivals.
    #[inline(always)]
    pub fn offer(&mut self, at: Time, amount: u64) {
        self.bin(at).offered += amount;
        self.total.offered += amount;
        self.in_flight += amount;
    }

    /// Books answers with their latency.
    #[inline(always)]
    pub fn serve(&mut self, at: Time, amount: u64, latency: Span, slow: bool) {
        let late = if slow { amount } else { 0 };
        let weighted = u128::from(amount) * u128::from(latency.micros());
        let bin = self.bin(at);
        bin.served += amount;
        bin.slow += late;
        bin.latency += weighted;
        self.total.served += amount;
        self.total.slow += late;
        self.total.latency += weighted;
        self.in_flight -= amount;
    }

    /// Books what arrived, was answered and was lost within the second of `at`; where it was lost is noted apart.
    pub fn book(&mut self, at: Time, tally: &Tally) {
        self.flows = true;
        *self.bin(at) += tally;
        self.total += tally;
        self.in_flight = self.in_flight + tally.offered - tally.served - tally.lost_all();
    }

    /// The same where nothing was lost: what most seconds of a flow come to.
    #[inline]
    pub fn book_without_loss(&mut self, at: Time, tally: &Tally) {
        debug_assert_eq!(tally.lost_all(), 0, "losses would be forgotten");
        self.flows = true;
        self.bin(at).add_without_loss(tally);
        self.total.add_without_loss(tally);
        self.in_flight = self.in_flight + tally.offered - tally.served;
    }

    /// Books the same for each of so many seconds from that of `at` on, in none of which anything was lost.
    pub fn book_seconds(&mut self, at: Time, seconds: u64, tally: &Tally) {
        if seconds == 0 {
            return;
        }
        debug_assert_eq!(tally.lost_all(), 0, "where it was lost has to be noted");
        self.flows = true;
        let last = at + Span::from_secs(seconds - 1);
        self.bin(last);
        let first = at.since(self.start).whole_seconds() as usize;
        self.bins[first..first + seconds as usize].iter_mut().for_each(|bin| bin.add_without_loss(tally));
        self.total.offered += tally.offered * seconds;
        self.total.served += tally.served * seconds;
        self.total.slow += tally.slow * seconds;
        self.total.latency += tally.latency * u128::from(seconds);
        self.in_flight = self.in_flight + tally.offered * seconds - tally.served * seconds;
    }

    /// Books losses.
    pub fn lose(&mut self, at: Time, amount: u64, loss: Loss, place: LossPlace) {
        self.losses.note(at, amount, loss, place);
        self.bin(at).lost[loss as usize] += amount;
        self.total.lost[loss as usize] += amount;
        self.in_flight -= amount;
    }
}
