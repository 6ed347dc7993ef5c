//! Fluid traffic at the pods of one application: rates in, backlog, rates out, booked in whole micro-requests.
//!
//! Between two changes all rates are constant, so what arrived, was served and waits is a formula, evaluated for each
//! whole second that has passed when somebody looks. A whole second that left every lane as it found it is booked again
//! for each that follows: the same formula of the same numbers. The time that backlog spends waiting is its integral (Little's
//! law), booked with the answers of the same second: sums are exact, one request's share of them is not known.

use super::server::CORE;
use crate::engine::{Span, Time};
use crate::world::{Ledger, Loss, LossPlace, PodId, REQUEST, Tally, TargetId};

/// A backlog of no more micro-requests is none.
pub const LINE: u64 = 10;

/// What a pod does with what arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inlet {
    /// Takes it in.
    Open,
    /// Refuses connections.
    Refused,
    /// Does not answer at all.
    Unreachable,
}

/// One pod in the flow.
#[derive(Clone, Copy, Debug)]
pub struct Lane {
    /// The pod.
    pub pod: PodId,
    /// The target through which it gets its share.
    pub target: Option<TargetId>,
    /// Its part of the flow.
    pub share: f64,
    /// Its process serves what comes.
    pub serves: bool,
    /// What it does with it.
    pub inlet: Inlet,
    /// Requests a second that it can serve.
    pub capacity: f64,
    /// Latency without backlog.
    pub latency: Span,
    /// Micro-requests that it holds at most.
    pub room: u64,
    /// How those beyond it are lost.
    overflow: Loss,
    /// Who finds more than this will not have an answer in time.
    late: u64,
    /// Part of the backlog whose clients will have gone: work for naught, booked as lost already.
    in_vain: u64,
    /// Micro-requests that wait.
    pub backlog: u64,
    /// Part of a micro-request that capacity has left over.
    carry: f64,
    /// Micro-requests times microseconds waited, not yet booked.
    waited: f64,
    /// What its capacity and latency were computed from.
    pub rated: Option<Rating>,
}

/// What the capacity and the latency of a lane follow from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rating {
    /// Requests a second that come; infinite with a backlog.
    pub arriving: f64,
    /// CPU that the pod gets, nanocores.
    pub cores: u64,
    /// Time of a request without CPU, seconds.
    pub wait: f64,
    /// By how much more CPU a request needs than usual.
    pub cpu_factor: f64,
    /// It serves at all.
    pub serves: bool,
}

impl Lane {
    /// A pod without backlog.
    pub fn new(pod: PodId, target: Option<TargetId>, share: f64) -> Lane {
        Lane {
            pod,
            target,
            share,
            serves: false,
            inlet: Inlet::Open,
            capacity: 0.0,
            latency: Span::ZERO,
            room: u64::MAX,
            overflow: Loss::QueueFull,
            late: u64::MAX,
            in_vain: 0,
            backlog: 0,
            carry: 0.0,
            waited: 0.0,
            rated: None,
        }
    }

    /// A pod with so many workers and places in its queue, whose clients wait so long. A queued request whose client has
    /// gone leaves the line; one that a worker has begun is finished for nobody.
    pub fn limit(&mut self, workers: u64, queue: u64, patience: Span) {
        let in_time = (self.capacity * patience.micros() as f64).min(1e18) as u64;
        self.late = if self.capacity > 0.0 { in_time } else { u64::MAX };
        let (line, places) = (self.late.saturating_add(workers * REQUEST), (workers + queue) * REQUEST);
        (self.room, self.overflow) = if line < places { (line, Loss::TimedOut) } else { (places, Loss::QueueFull) };
    }

    /// It can serve what another one of the same application can, as it is on the same terms.
    pub fn rate_as(&mut self, other: &Lane) {
        (self.rated, self.capacity, self.latency) = (other.rated, other.capacity, other.latency);
        (self.late, self.room, self.overflow) = (other.late, other.room, other.overflow);
    }

    /// Of `served`, what clients still wait for; `kept` came to a backlog of `before`. And who has come too late.
    fn in_time(&mut self, before: u64, kept: u64, served: u64) -> (u64, u64) {
        let doomed = if before >= self.late { kept } else { kept.min(self.backlog.saturating_sub(self.late)) };
        let in_vain = self.in_vain + doomed;
        let wasted = part(served, in_vain, (before + kept).max(1));
        // No more of the backlog is for naught than there is of it.
        let wasted = wasted.max(in_vain.saturating_sub(self.backlog)).min(served);
        self.in_vain = in_vain - wasted;
        (served - wasted, doomed)
    }

    /// The same pod with another share.
    pub fn with_share(self, target: Option<TargetId>, share: f64) -> Lane {
        Lane { target, share, ..self }
    }

    /// Nothing waits, and it is able to serve all that it takes in: what most lanes do most of the time.
    fn serves_at_once(&self, micros: f64, taken: u64) -> bool {
        let able = || counted((self.capacity * micros + self.carry).min(1e18)) >= taken;
        self.backlog == 0 && (taken == 0 || (self.in_vain == 0 && self.waited == 0.0 && able()))
    }

    /// Nothing of it has waited, and nothing is left over.
    fn is_calm(&self) -> bool {
        let bits = self.backlog | self.in_vain | self.carry.to_bits() | self.waited.to_bits();
        bits == 0 && (self.share == 0.0 || self.inlet == Inlet::Open)
    }

    /// All of it that time alone changes.
    fn state(&self) -> (u64, u64, u64, u64) {
        (self.backlog, self.in_vain, self.carry.to_bits(), self.waited.to_bits())
    }

    /// What comes to it of `rate` requests a second.
    pub fn arriving(&self, rate: f64) -> f64 {
        if self.inlet == Inlet::Open { rate * self.share } else { 0.0 }
    }

    /// How it will stand after a time, if `rate` requests a second go on arriving: its backlog, all else being as it is. What is
    /// beyond its room is lost at the beginning.
    pub fn at(&self, after: Span, rate: f64) -> Lane {
        let moved = self.backlog.min(self.room) as f64 + (self.arriving(rate) - self.capacity) * after.micros() as f64;
        Lane { backlog: (moved.max(0.0) as u64).min(self.room), ..*self }
    }

    /// How long one more request would take, seconds.
    pub fn delay(&self) -> f64 {
        let requests = self.backlog as f64 / REQUEST as f64;
        self.latency.seconds() + if self.backlog > 0 { requests / self.capacity.max(1e-9) } else { 0.0 }
    }

    /// Where its losses are noted.
    fn place(&self) -> LossPlace {
        LossPlace { pod: Some(self.pod), target: self.target }
    }

    /// Loses the backlog.
    pub fn lose_backlog(&mut self, at: Time, ledger: &mut Ledger, loss: Loss) {
        let waiting = std::mem::take(&mut self.backlog) - std::mem::take(&mut self.in_vain);
        ledger.lose(at, waiting, loss, self.place());
        self.waited = 0.0;
    }

    /// When the backlog will be gone if `rate` requests a second go on arriving.
    pub fn empties(&self, now: Time, rate: f64) -> Option<Time> {
        if self.backlog <= LINE {
            return None;
        }
        let spare = self.capacity - self.arriving(rate);
        let micros = self.backlog as f64 / spare;
        (spare > 0.0).then(|| now + Span::from_seconds(micros.ceil() / 1e6))
    }
}

/// What does not change between two looks.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// A response slower than this is slow.
    pub objective: Span,
    /// An unreachable pod costs the client this long.
    pub connect_timeout: Span,
    /// Start of the bins.
    pub origin: Time,
    /// End of the run.
    pub until: Time,
}

/// The flow of one application.
#[derive(Clone, Debug, Default)]
pub struct Stream {
    /// Booked until.
    pub since: Time,
    /// Requests a second.
    pub rate: f64,
    /// Its pods: those with a share, and those that still have backlog.
    pub lanes: Vec<Lane>,
    /// When a backlog will be gone; the pending event.
    pub edge: Option<Time>,
    carry: f64,
    /// What the last stretch came to; its memory serves the next.
    booked: Booked,
    /// Lanes in a row with the same latency, while all serve at once: the sum of the shares up to its end.
    calm: Vec<(f64, Span)>,
    /// The lanes of before the last change: their memory serves the next.
    pub(super) before: Vec<Lane>,
}

impl Stream {
    /// Nothing flows yet.
    pub fn new(since: Time) -> Stream {
        Stream { since, ..Stream::default() }
    }

    /// Books everything until `now`, second by second.
    pub fn integrate(&mut self, now: Time, terms: Terms, ledger: &mut Ledger) {
        if self.rate <= 0.0 && self.lanes.iter().all(|lane| lane.backlog == 0) {
            self.since = now;
        }
        if self.since == now {
            return;
        }
        let spare = self.spare();
        let second = Span::from_secs(1);
        let mut next = terms.origin + second * (self.since.since(terms.origin).whole_seconds() + 1);
        while self.since < now {
            let end = now.min(next);
            // Two roundings and what is carried over move less than four micro-requests from one lane to another.
            if spare * (end - self.since).micros() as f64 > 4.0 {
                self.calm_segment(end, terms);
            } else {
                self.segment(end, terms);
            }
            self.booked.enter(self.since, terms, ledger);
            let is_whole = end - self.since == second;
            self.since = end;
            if is_whole && self.booked.left_all_as_it_was {
                self.repeat(now, terms, ledger);
            }
            // Before `now` no stretch ends but at a whole second.
            next = self.since + second;
        }
    }

    /// Books the last second again for each whole one until `now`.
    fn repeat(&mut self, now: Time, terms: Terms, ledger: &mut Ledger) {
        let seconds = now.since(self.since).whole_seconds();
        if self.booked.lost.is_empty() && self.booked.unreachable.is_empty() {
            ledger.book_seconds(self.since, seconds, &self.booked.tally);
        } else {
            for second in 0..seconds {
                self.booked.enter(self.since + Span::from_secs(second), terms, ledger);
            }
        }
        self.since += Span::from_secs(seconds);
    }

    /// Requests a second that the busiest lane could serve besides, if nothing waits anywhere and all that comes is taken in;
    /// else 0. Then `calm` tells the lanes apart.
    fn spare(&mut self) -> f64 {
        self.calm.clear();
        let (mut cumulated, mut spare) = (0.0, f64::INFINITY);
        for lane in &self.lanes {
            if !lane.is_calm() {
                return 0.0;
            }
            if lane.share > 0.0 {
                cumulated += lane.share;
                spare = f64::min(spare, lane.capacity - self.rate * lane.share);
                match self.calm.last_mut().filter(|(_, latency)| *latency == lane.latency) {
                    Some((upto, _)) => *upto = cumulated,
                    None => self.calm.push((cumulated, lane.latency)),
                }
            }
        }
        if self.calm.is_empty() { 0.0 } else { spare }
    }

    /// What a stretch brings, in micro-requests: requests a second times microseconds.
    fn begin(&mut self, micros: f64) -> u64 {
        let exact = (self.rate * micros + self.carry).min(1e18);
        let amount = counted(exact);
        let carry = exact - float(amount);
        self.booked.begin(amount);
        self.booked.left_all_as_it_was = self.carry.to_bits() == carry.to_bits();
        self.carry = carry;
        amount
    }

    /// A segment in which every lane serves at once what it gets: only latencies tell them apart.
    fn calm_segment(&mut self, end: Time, terms: Terms) {
        let amount = self.begin((end - self.since).micros() as f64);
        let (mut given, last) = (0, self.calm.len() - 1);
        for (index, &(cumulated, latency)) in self.calm.iter().enumerate() {
            let upto = if index == last { amount } else { upto(amount, cumulated) };
            let taken = upto.saturating_sub(given);
            given += taken;
            self.booked.serve(taken, latency, terms);
        }
    }

    fn segment(&mut self, end: Time, terms: Terms) {
        let micros = (end - self.since).micros() as f64;
        let amount = self.begin(micros);
        let booked = &mut self.booked;
        let (mut cumulated, mut given) = (0.0, 0);
        let last = self.lanes.iter().rposition(|lane| lane.share > 0.0);
        for (index, lane) in self.lanes.iter_mut().enumerate() {
            cumulated += lane.share;
            let upto = if Some(index) == last { amount } else { upto(amount, cumulated) };
            let arrived = if lane.share > 0.0 { upto.saturating_sub(given) } else { 0 };
            given += arrived;
            let taken = if lane.inlet == Inlet::Open { arrived } else { turned_away(lane, arrived, booked) };
            if lane.serves_at_once(micros, taken) {
                booked.left_all_as_it_was &= lane.carry == 0.0;
                lane.carry = 0.0;
                booked.serve(taken, lane.latency, terms);
            } else {
                // Where one lane has changed already, no other is asked.
                let before = booked.left_all_as_it_was.then(|| lane.state());
                pass(lane, micros, taken, terms, booked);
                booked.left_all_as_it_was = before.is_some_and(|before| lane.state() == before);
            }
        }
        if last.is_none() {
            booked.lose_at(LossPlace::default(), Loss::NoTarget, amount);
        }
    }
}

/// What comes to a lane that takes nothing in; so much it takes.
#[cold]
fn turned_away(lane: &Lane, arrived: u64, booked: &mut Booked) -> u64 {
    match lane.inlet {
        Inlet::Open => return arrived,
        Inlet::Refused => booked.lose_at(lane.place(), Loss::Refused, arrived),
        Inlet::Unreachable => booked.unreachable.push((lane.place(), arrived)),
    }
    0
}

/// What of an amount goes to the first lanes, whose shares come to so much.
fn upto(amount: u64, cumulated: f64) -> u64 {
    counted(float(amount) * cumulated + 0.5).min(amount)
}

/// A count of micro-requests as a number with a fraction. Of signed numbers this is one instruction, here and back, and no
/// count comes near 2^63.
#[inline(always)]
fn float(count: u64) -> f64 {
    debug_assert!(i64::try_from(count).is_ok(), "{count} micro-requests");
    count as i64 as f64
}

/// The whole part of an amount that is not negative.
#[inline(always)]
fn counted(amount: f64) -> u64 {
    debug_assert!((0.0..9e18).contains(&amount), "{amount} micro-requests");
    amount as i64 as u64
}

/// So many of `all`, in the proportion of `count`.
pub(super) fn part(count: u64, of: u64, all: u64) -> u64 {
    match count.checked_mul(of) {
        Some(product) => product / all,
        None => (u128::from(count) * u128::from(of) / u128::from(all)) as u64,
    }
}

/// What a stretch within one second came to.
#[derive(Clone, Debug, Default)]
struct Booked {
    tally: Tally,
    /// Where micro-requests were lost, and why.
    lost: Vec<(LossPlace, Loss, u64)>,
    /// Micro-requests that went to pods that do not answer.
    unreachable: Vec<(LossPlace, u64)>,
    /// Backlogs and what is carried over are what they were before.
    left_all_as_it_was: bool,
}

impl Booked {
    /// So much is offered; nothing has become of it yet.
    fn begin(&mut self, amount: u64) {
        self.tally = Tally { offered: amount, ..Tally::default() };
        self.lost.clear();
        self.unreachable.clear();
    }

    fn serve(&mut self, amount: u64, latency: Span, terms: Terms) {
        self.tally.served += amount;
        self.tally.slow += if latency > terms.objective { amount } else { 0 };
        self.tally.latency += u128::from(amount) * u128::from(latency.micros());
    }

    fn lose_at(&mut self, place: LossPlace, loss: Loss, amount: u64) {
        if amount > 0 {
            self.tally.lost[loss as usize] += amount;
            self.lost.push((place, loss, amount));
        }
    }

    #[inline(always)]
    fn enter(&self, at: Time, terms: Terms, ledger: &mut Ledger) {
        if self.lost.is_empty() {
            ledger.book_without_loss(at, &self.tally);
        } else {
            ledger.book(at, &self.tally);
        }
        self.lost.iter().for_each(|&(place, loss, amount)| ledger.losses.note(at, amount, loss, place));
        // A client whose time-out lies beyond the end of the run is still waiting then.
        for &(place, amount) in &self.unreachable {
            if at + terms.connect_timeout <= terms.until {
                ledger.lose(at + terms.connect_timeout, amount, Loss::Unreachable, place);
            }
        }
    }
}

/// One pod over one stretch of constant rates within one second, in which it takes in `taken` micro-requests.
#[inline(always)]
fn pass(lane: &mut Lane, micros: f64, taken: u64, terms: Terms, booked: &mut Booked) {
    let before = lane.backlog;
    let able = (lane.capacity * micros + lane.carry).min(1e18);
    let whole = counted(able);
    let served = whole.min(before + taken);
    let waiting = before + taken - served;
    lane.carry = if waiting > 0 { able - float(whole) } else { 0.0 };
    let lost = waiting.saturating_sub(lane.room);
    lane.backlog = waiting - lost;
    if before > 0 || lane.backlog > 0 {
        lane.waited += area(float(before), float(lane.backlog), float(taken), able, micros);
    }
    let (mut served, mut lost, mut doomed) = (served, lost, 0);
    if lane.in_vain > 0 || lane.backlog > lane.late {
        // Beyond what has just come, the line is cut from work for naught first.
        let cut = lost.saturating_sub(taken).min(lane.in_vain);
        lane.in_vain -= cut;
        let all = float(served.max(1));
        (served, doomed) = lane.in_time(before - cut, taken - lost.min(taken), served);
        lane.waited *= float(served) / all;
        lost -= cut;
    }
    if served > 0 {
        let waited = if lane.waited > 0.0 { Span::from_seconds(lane.waited / float(served) / 1e6) } else { Span::ZERO };
        booked.serve(served, lane.latency + waited, terms);
        lane.waited = 0.0;
    }
    if lost | doomed > 0 {
        if lane.overflow == Loss::TimedOut {
            (lost, doomed) = (0, doomed + lost);
        }
        // In the order of the causes, as they are noted.
        booked.lose_at(lane.place(), Loss::TimedOut, doomed);
        booked.lose_at(lane.place(), lane.overflow, lost);
    }
}

/// The integral of the backlog while it goes from `before` to `after` within `micros`, with `taken` in and up to `able`
/// out: a straight line, flat from where it met the floor or the ceiling.
fn area(before: f64, after: f64, taken: f64, able: f64, micros: f64) -> f64 {
    let slope = taken - able;
    let moving = if slope == 0.0 { 1.0 } else { ((after - before) / slope).clamp(0.0, 1.0) };
    (before + after) / 2.0 * micros * moving + after * micros * (1.0 - moving)
}

/// Mean time in a pod of requests that compute `cpu` on `nanocores` at a rate of `rate` a second: processor sharing,
/// D/(1-rho), on one core or less; on more, the approximation of Sakasegawa (1977) for several servers, which is the
/// same formula for one. At most what a full pod takes.
pub fn sojourn(rate: f64, cpu: Span, nanocores: u64, requests_max: f64) -> Span {
    let cores = nanocores as f64 / CORE as f64;
    if cores <= 0.0 || cpu.is_zero() {
        return cpu;
    }
    let demand = cpu.seconds() / cores.min(1.0);
    let servers = cores.max(1.0);
    let load = rate * cpu.seconds() / cores;
    let full = demand * (requests_max / servers).max(1.0);
    if load >= 1.0 {
        // The wait is in the backlog.
        return Span::from_seconds(demand);
    }
    let wait = demand * load.powf((2.0 * (servers + 1.0)).sqrt() - 1.0) / (servers * (1.0 - load));
    Span::from_seconds((demand + wait).min(full))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terms(start: Time) -> Terms {
        Terms { objective: Span::from_secs(1), connect_timeout: Span::from_secs(10), origin: start, until: Time::MAX }
    }

    /// Validation oracle 14: C1 = 1000/s, 1500/s offered for 90 s, then C2 = 2000/s.
    #[test]
    fn overload_builds_and_drains_the_backlog_of_the_oracle() {
        let start = Time::from_unix_seconds(1_000);
        let mut ledger = Ledger::new(start);
        let mut lane = Lane::new(PodId(0), None, 1.0);
        lane.capacity = 1000.0;
        let mut stream = Stream { since: start, rate: 1500.0, lanes: vec![lane], ..Stream::default() };
        let terms = terms(start);
        stream.integrate(start + Span::from_secs(90), terms, &mut ledger);
        assert_eq!(stream.lanes[0].backlog, 45_000_000_000, "45 000 requests wait");
        stream.lanes[0].capacity = 2000.0;
        let drained = stream.lanes[0].empties(stream.since, stream.rate).unwrap();
        assert_eq!(drained, start + Span::from_secs(180), "gone after another 90 s");
        stream.integrate(start + Span::from_secs(200), terms, &mut ledger);
        assert_eq!(stream.lanes[0].backlog, 0);
        assert_eq!(ledger.total.offered, 300_000_000_000);
        assert_eq!(ledger.total.served, 300_000_000_000);
        let request_seconds = ledger.total.latency as f64 / 1e12;
        assert!((request_seconds - 4.05e6).abs() < 1.0, "delay area {request_seconds} request-seconds");
    }

    #[test]
    fn shedding_loses_exactly_the_excess() {
        let start = Time::from_unix_seconds(1_000);
        let mut ledger = Ledger::new(start);
        let mut lane = Lane::new(PodId(0), None, 1.0);
        lane.capacity = 1000.0;
        lane.room = 0;
        let mut stream = Stream { since: start, rate: 1500.0, lanes: vec![lane], ..Stream::default() };
        stream.integrate(start + Span::from_secs(90), terms(start), &mut ledger);
        assert_eq!(ledger.total.lost[Loss::QueueFull as usize], 45_000_000_000);
    }

    /// Ten a second are served, fifteen come, and clients wait for a minute: after two minutes the line is a minute long, and
    /// from then on everything is answered too late. When fewer come the line is done with before anybody is served again.
    #[test]
    fn a_line_longer_than_the_patience_of_clients_is_work_for_naught() {
        let start = Time::from_unix_seconds(1_000);
        let mut ledger = Ledger::new(start);
        let mut lane = Lane::new(PodId(0), None, 1.0);
        lane.capacity = 10.0;
        lane.limit(10, 10_000, Span::from_secs(60));
        let mut stream = Stream { since: start, rate: 15.0, lanes: vec![lane], ..Stream::default() };
        stream.integrate(start + Span::from_secs(120), terms(start), &mut ledger);
        assert_eq!((stream.lanes[0].backlog, ledger.total.lost_all()), (600 * REQUEST, 0));
        stream.integrate(start + Span::from_secs(600), terms(start), &mut ledger);
        assert_eq!(stream.lanes[0].backlog, 610 * REQUEST, "and those that workers have");
        assert!(ledger.total.served < 1_801 * REQUEST, "{} of the first 1800", ledger.total.served);
        let before = ledger.total.served;
        stream.rate = 5.0;
        stream.integrate(start + Span::from_secs(900), terms(start), &mut ledger);
        assert_eq!((stream.lanes[0].backlog, stream.lanes[0].in_vain), (0, 0));
        let served = ledger.total.served - before;
        assert!(served.abs_diff(1_500 * REQUEST) < 30 * REQUEST, "{served}: all but the first have come in time");
        assert_eq!(ledger.in_flight, 0);
    }

    /// A lane that is looked at ahead stands as it does once that time is booked.
    #[test]
    fn looking_ahead_is_booking_but_for_rounding() {
        let start = Time::from_unix_seconds(1_000);
        for (rate, capacity, backlog) in
            [(15.0, 10.0, 0), (15.0, 10.0, 3_000_000), (5.0, 10.0, 20_000_000), (40.0, 1.0, 0)]
        {
            let mut lane = Lane { capacity, backlog, ..Lane::new(PodId(0), None, 1.0) };
            lane.limit(10, 50, Span::from_secs(60));
            let mut ledger = Ledger::new(start);
            ledger.offer(start, backlog);
            let mut stream = Stream { since: start, rate, lanes: vec![lane], ..Stream::default() };
            let span = Span::from_millis(2_700);
            stream.integrate(start + span, terms(start), &mut ledger);
            let ahead = lane.at(span, rate);
            assert!(ahead.backlog.abs_diff(stream.lanes[0].backlog) <= 3, "{ahead:?}, {:?}", stream.lanes[0]);
        }
        let slower =
            Lane { capacity: 1.0, backlog: 200 * REQUEST, room: 70 * REQUEST, ..Lane::new(PodId(0), None, 1.0) };
        assert_eq!(
            slower.at(Span::from_secs(60), 0.0).backlog,
            10 * REQUEST,
            "what has no room does not hold up the rest"
        );
    }

    #[test]
    fn odd_rates_and_shares_are_booked_without_losing_a_micro_request() {
        let start = Time::from_unix_seconds(7);
        let mut ledger = Ledger::new(start);
        let lanes =
            (0..3).map(|pod| Lane { capacity: 9.1, room: 0, ..Lane::new(PodId(pod), None, 1.0 / 3.0) }).collect();
        let mut stream = Stream { since: start, rate: 29.0 / 3.0, lanes, ..Stream::default() };
        for step in 1..4_000_u64 {
            stream.integrate(start + Span::from_micros(step * 70_001), terms(start), &mut ledger);
        }
        let offered = (29.0 / 3.0 * 3_999.0 * 70_001.0_f64).floor() as u64;
        assert!(ledger.total.offered.abs_diff(offered) <= 1);
        assert_eq!(ledger.total.offered, ledger.total.served + ledger.total.lost_all() + ledger.in_flight);
        assert_eq!(ledger.total.lost_all(), 0, "each pod is loaded far below its capacity");
    }

    /// A stretch in which all pods serve at once is booked without a look at each: to the micro-request what pod by pod gives.
    #[test]
    fn a_calm_stretch_books_what_going_through_its_lanes_does() {
        let start = Time::from_unix_seconds(7);
        let weights = [3.0, 1.0, 4.0, 1.0, 5.0, 9.0, 2.0];
        let lane = |pod: usize, latency| Lane {
            capacity: 8.0 * weights[pod],
            latency: Span::from_millis(latency),
            ..Lane::new(PodId(pod as u32), None, weights[pod] / 25.0)
        };
        // In rows of the same latency, one of them alone; the last gets nothing.
        let mut lanes: Vec<Lane> =
            [40, 40, 1_200, 40, 40, 75, 75].into_iter().enumerate().map(|(n, ms)| lane(n, ms)).collect();
        lanes[6].share = 0.0;
        let mut quick = Stream { since: start, rate: 29.0 / 3.0, lanes, ..Stream::default() };
        let (mut slow, mut ledgers) = (quick.clone(), [Ledger::new(start), Ledger::new(start)]);
        for step in 1..3_000_u64 {
            let end = start + Span::from_micros(step * 70_001 + step * step % 997);
            quick.integrate(end, terms(start), &mut ledgers[0]);
            while slow.since < end {
                let second = slow.since.since(start).whole_seconds() + 1;
                let upto = end.min(start + Span::from_secs(second));
                slow.segment(upto, terms(start));
                slow.booked.enter(slow.since, terms(start), &mut ledgers[1]);
                slow.since = upto;
            }
        }
        assert!(quick.spare() > 1.0, "no lane is near what it can serve");
        assert_eq!(ledgers[0].bins, ledgers[1].bins);
        assert_eq!(quick.carry, slow.carry);
        assert_eq!(quick.calm.len(), 4, "four rows");
    }

    /// Booking the same second again is the same as computing it again: one long look against one a second.
    #[test]
    fn one_long_look_books_what_many_short_ones_do() {
        let start = Time::from_unix_seconds(7);
        let cases = [(29.0 / 3.0, 9.1, 0, u64::MAX), (30.0, 9.1, 20, u64::MAX), (30.0, 40.0, 0, 0), (40.0, 4.0, 30, 5)];
        for (rate, capacity, room, late) in cases {
            let lane = |pod, inlet| Lane {
                capacity,
                inlet,
                room: room * REQUEST,
                late: late.min(1_000) * REQUEST,
                ..Lane::new(PodId(pod), None, 1.0 / 4.0)
            };
            let inlets = [Inlet::Open, Inlet::Open, Inlet::Refused, Inlet::Unreachable].into_iter();
            let lanes: Vec<Lane> = inlets.enumerate().map(|(pod, inlet)| lane(pod as u32, inlet)).collect();
            let whole = || Stream { since: start, rate, lanes: lanes.clone(), ..Stream::default() };
            let (mut long, mut short) = ((whole(), Ledger::new(start)), (whole(), Ledger::new(start)));
            long.0.integrate(start + Span::from_millis(200_500), terms(start), &mut long.1);
            for second in 1..=200 {
                short.0.integrate(start + Span::from_secs(second), terms(start), &mut short.1);
            }
            short.0.integrate(start + Span::from_millis(200_500), terms(start), &mut short.1);
            assert_eq!(long.1.bins, short.1.bins);
            let states = |stream: &Stream| stream.lanes.iter().map(Lane::state).collect::<Vec<_>>();
            assert_eq!((states(&long.0), long.0.carry), (states(&short.0), short.0.carry));
        }
    }

    #[test]
    fn the_processor_sharing_formula() {
        let second = Span::from_secs(1);
        assert_eq!(sojourn(0.8, second, CORE, 1e6), Span::from_secs(5));
        assert_eq!(sojourn(0.4, second, CORE / 2, 1e6), Span::from_secs(10));
        let two = sojourn(1.6, second, 2 * CORE, 1e6).seconds();
        assert!((two - 2.7778).abs() < 0.1, "M/M/2 at 1.6 has 2.7778, the approximation {two}");
    }
}
