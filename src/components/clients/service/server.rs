//! One pod that serves requests one by one: workers, a queue, and CPU shared equally by the requests that compute.
//!
//! Processor sharing runs in virtual time: all computing requests attain service at the same speed, so a request ends
//! when the attained service reaches the mark that it got on entry. An arrival or an end changes the speed, never the
//! marks: the work is O(1) per request. Time is in microseconds, speed in nanocores, service in their product.

mod marks;

use super::fluid::part;
use crate::engine::{Span, Time};
use crate::plan::Rise;
use crate::world::{PodId, RequestId};
use marks::Marks;
use std::collections::VecDeque;

/// Nanocores of one core: a request runs on one core at most.
pub const CORE: u64 = 1_000_000_000;

/// What one request needs.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub struct Needs {
    /// Time without CPU, before it computes.
    pub wait: Span,
    /// CPU, microseconds times nanocores.
    pub cpu: u64,
}

impl Needs {
    /// Needs of so much of each.
    pub fn new(wait: Span, cpu: Span) -> Needs {
        Needs { wait, cpu: cpu.micros().saturating_mul(CORE) }
    }
}

/// On what terms a pod works.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Work {
    /// Requests wait so many times as long as they need.
    pub wait_factor: f64,
    /// They take so many times their CPU.
    pub cpu_factor: f64,
    /// Requests in service at once.
    pub workers: usize,
    /// Requests that may wait for a worker.
    pub queue: usize,
}

impl Work {
    /// So many workers and places in the queue; work takes `factor` times as long.
    pub fn new(factor: f64, workers: u32, queue: u32) -> Work {
        Work { wait_factor: factor, cpu_factor: factor, workers: workers.max(1) as usize, queue: queue as usize }
    }

    fn wait(&self, needs: Needs) -> Span {
        if self.wait_factor == 1.0 {
            return needs.wait;
        }
        Span::from_micros((needs.wait.micros() as f64 * self.wait_factor).round() as u64)
    }

    fn cpu(&self, needs: Needs) -> u64 {
        if self.cpu_factor == 1.0 {
            return needs.cpu;
        }
        let micros = (needs.cpu / CORE) as f64 * self.cpu_factor;
        (micros.round() as u64).saturating_mul(CORE)
    }
}

/// The requests at one pod.
#[derive(Clone, Debug, Default)]
pub struct Server {
    /// In a worker, without need of CPU until.
    waiting: VecDeque<(Time, RequestId, Needs)>,
    /// In a worker, computing until the attained service reaches the mark; ascending.
    running: Marks,
    /// Without a worker, in order of arrival.
    queue: VecDeque<(Time, RequestId, Needs)>,
    attained: u64,
    since: Time,
    share: u64,
    /// CPU that each computing request uses.
    speed: u64,
    /// What it attains with it: less where demand has risen with load.
    pace: u64,
    rise: Option<Rise>,
}

impl Server {
    /// Requests here.
    pub fn in_flight(&self) -> usize {
        self.waiting.len() + self.running.len() + self.queue.len()
    }

    /// All requests here.
    pub fn requests(&self) -> impl Iterator<Item = RequestId> + '_ {
        let waiting = self.waiting.iter().chain(&self.queue).map(|&(_, request, _)| request);
        waiting.chain(self.running.requests())
    }

    /// Demand rises with load from now on.
    pub fn set_rise(&mut self, rise: Option<Rise>) {
        self.rise = rise;
    }

    /// Requests that wait for a worker.
    pub fn queued(&self) -> usize {
        self.queue.len()
    }

    /// CPU that it could use now, nanocores.
    pub fn demand(&self) -> u64 {
        self.running.len() as u64 * CORE
    }

    /// CPU in use, nanocores.
    pub fn usage(&self) -> u64 {
        self.running.len() as u64 * self.speed
    }

    /// Grants CPU from `now` on.
    #[inline(always)]
    pub fn set_share(&mut self, now: Time, share: u64) {
        if self.running.is_empty() {
            // Nothing is attained, and the time that passes is taken up with the next request.
            debug_assert!((self.speed, self.pace) == (0, 0), "nothing computes");
            self.share = share;
            return;
        }
        self.advance(now);
        self.share = share;
        self.set_speed();
    }

    #[inline(always)]
    fn set_speed(&mut self) {
        self.speed = match self.running.len() as u64 {
            0 => 0,
            // A quotient is only taken where CPU is short.
            running if running.saturating_mul(CORE) <= self.share => CORE,
            running => self.share / running,
        };
        self.pace = match self.rise {
            None => self.speed,
            Some(rise) => (self.speed as f64 / rise.factor(self.running.len() as f64)) as u64,
        };
    }

    /// Lets time pass.
    #[inline(always)]
    pub fn advance(&mut self, now: Time) {
        if now == self.since {
            return;
        }
        let micros = now.since(self.since).micros();
        self.attained += self.pace * micros;
        self.since = now;
        if self.running.is_empty() {
            self.attained = 0;
        } else if self.attained > 1 << 61 {
            // Marks are relative: start again from zero before the counter could overflow.
            let base = self.attained;
            self.attained = 0;
            self.running.lower(base);
        }
    }

    /// Takes a request in; `None`: no worker is free and the queue is full; else whether a worker has it already.
    #[inline(always)]
    pub fn accept(&mut self, now: Time, request: RequestId, needs: Needs, work: Work) -> Option<bool> {
        self.advance(now);
        if self.waiting.len() + self.running.len() < work.workers {
            self.begin(now, request, needs, work);
            return Some(true);
        }
        if self.queue.len() >= work.queue {
            return None;
        }
        self.queue.push_back((now, request, needs));
        Some(false)
    }

    #[inline(always)]
    fn begin(&mut self, now: Time, request: RequestId, needs: Needs, work: Work) {
        let wait = work.wait(needs);
        if wait.is_zero() {
            self.compute(request, needs, work);
            return;
        }
        let until = now + wait;
        if self.waiting.back().is_none_or(|&(end, _, _)| end <= until) {
            self.waiting.push_back((until, request, needs));
        } else {
            let index = self.waiting.partition_point(|&(end, _, _)| end <= until);
            self.waiting.insert(index, (until, request, needs));
        }
    }

    #[inline(always)]
    fn compute(&mut self, request: RequestId, needs: Needs, work: Work) {
        self.running.insert(self.attained + work.cpu(needs), request);
        self.set_speed();
    }

    /// Moves on everything that is due at `now`; requests that end are appended to `finished`, the times that requests
    /// waited until a worker took them to `begun`.
    pub fn settle(&mut self, now: Time, work: Work, finished: &mut Vec<RequestId>, begun: &mut Vec<Span>) {
        self.advance(now);
        loop {
            if let Some(&(end, request, needs)) = self.waiting.front()
                && end <= now
            {
                self.waiting.pop_front();
                self.compute(request, needs, work);
            } else if let Some((mark, request)) = self.running.front()
                && mark <= self.attained
            {
                self.running.pop_front();
                self.set_speed();
                finished.push(request);
            } else if self.waiting.len() + self.running.len() < work.workers
                && let Some((since, request, needs)) = self.queue.pop_front()
            {
                begun.push(now.since(since));
                self.begin(now, request, needs, work);
            } else {
                break;
            }
        }
    }

    /// When the next thing is due, as of the last [`Server::advance`].
    #[inline(always)]
    pub fn next(&self) -> Option<Time> {
        let waiting = self.waiting.front().map(|&(end, _, _)| end);
        let running = self.running.front().and_then(|(mark, _)| {
            let left = mark.saturating_sub(self.attained);
            // A division by a constant is a multiplication.
            let micros = if self.pace == CORE { left.div_ceil(CORE) } else { left.div_ceil(self.pace.max(1)) };
            (self.pace > 0 || left == 0).then(|| self.since + Span::from_micros(micros))
        });
        match (waiting, running) {
            (Some(waiting), Some(running)) => Some(waiting.min(running)),
            (waiting, running) => waiting.or(running),
        }
    }

    /// Takes requests out of the queue that are no longer wanted.
    pub fn drop_queued(&mut self, mut unwanted: impl FnMut(RequestId) -> bool) {
        self.queue.retain(|&(_, request, _)| !unwanted(request));
    }

    /// Takes everything out.
    pub fn clear(&mut self) {
        let Server { since, share, rise, .. } = *self;
        *self = Server { since, share, rise, ..Server::default() };
    }
}

/// One of several that want the same CPU.
#[derive(Clone, Copy, Debug)]
pub struct Contender {
    /// Who.
    pub pod: PodId,
    /// How much it counts among the others.
    pub weight: u64,
    /// What it asks for, nanocores.
    pub demand: u64,
    /// What it gets; `None`: that is open.
    pub share: Option<u64>,
}

/// Divides `capacity` among contenders as the kernel's fair scheduler does: nobody gets more than it asks for, what is left goes to
/// the others by weight.
pub fn share_out(capacity: u64, contenders: &mut [Contender]) {
    let mut left = capacity;
    loop {
        let weights: u64 = open(contenders).map(|one| one.weight.max(1)).sum();
        let fair = |one: &Contender| part(left, one.weight.max(1), weights);
        let (mut taken, mut any) = (0, false);
        for one in open(contenders).filter(|one| one.demand <= fair(one)) {
            one.share = Some(one.demand);
            (taken, any) = (taken + one.demand, true);
        }
        if !any {
            open(contenders).for_each(|one| one.share = Some(fair(one)));
            return;
        }
        left -= taken;
    }
}

/// Those whose share is open.
fn open(contenders: &mut [Contender]) -> impl Iterator<Item = &mut Contender> {
    contenders.iter_mut().filter(|one| one.share.is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_requests_share_a_core_and_each_takes_twice_as_long() {
        let (needs, work) = (Needs::new(Span::ZERO, Span::from_secs(1)), Work::new(1.0, 10, 0));
        let start = Time::from_unix_seconds(100);
        let mut server = Server::default();
        let mut finished = Vec::new();
        server.set_share(start, CORE);
        assert_eq!(server.accept(start, RequestId(0), needs, work), Some(true));
        assert_eq!(server.accept(start + Span::from_millis(500), RequestId(1), needs, work), Some(true));
        server.set_share(start + Span::from_millis(500), CORE);
        // Half of the first is left: at half speed it ends at 1.5 s; then the second has half a second of its own left.
        assert_eq!(server.next(), Some(start + Span::from_millis(1500)));
        server.settle(start + Span::from_millis(1500), work, &mut finished, &mut Vec::new());
        assert_eq!(finished, [RequestId(0)]);
        assert_eq!(server.next(), Some(start + Span::from_millis(2000)));
    }

    #[test]
    fn a_full_pod_queues_and_then_refuses() {
        let needs = Needs::new(Span::from_millis(10), Span::from_millis(10));
        let now = Time::from_unix_seconds(1);
        let mut server = Server::default();
        let accepted = [0, 1, 2].map(|id| server.accept(now, RequestId(id), needs, Work::new(1.0, 1, 1)));
        assert_eq!(accepted, [Some(true), Some(false), None]);
    }

    #[test]
    fn demand_that_rises_with_load_takes_longer_and_uses_more_cpu() {
        let (needs, work) = (Needs::new(Span::ZERO, Span::from_secs(1)), Work::new(1.0, 10, 0));
        let start = Time::from_unix_seconds(100);
        let mut server = Server::default();
        server.set_rise(Some(Rise { by: 0.5, at: 3 }));
        server.set_share(start, CORE);
        server.accept(start, RequestId(0), needs, work);
        server.accept(start, RequestId(1), needs, work);
        // Two of a second share a core, and each needs a quarter more.
        let end = start + Span::from_millis(2500);
        assert_eq!(server.next(), Some(end));
        assert_eq!(server.usage(), CORE, "the whole core all the while: two and a half seconds of CPU");
        let mut finished = Vec::new();
        server.settle(end, work, &mut finished, &mut Vec::new());
        assert_eq!(finished.len(), 2);
    }

    #[test]
    fn contended_cpu_is_divided_by_weight_and_what_one_leaves_the_others_take() {
        let shared = |capacity, contenders: &[(u64, u64)]| -> Vec<u64> {
            let one = |&(weight, demand)| Contender { pod: PodId(0), weight, demand, share: None };
            let mut contenders: Vec<Contender> = contenders.iter().map(one).collect();
            share_out(capacity, &mut contenders);
            contenders.iter().map(|one| one.share.expect("all are served")).collect()
        };
        assert_eq!(shared(1930, &[(500, 1000), (500, 1000), (500, 1000)]), [643, 643, 643]);
        assert_eq!(shared(1930, &[(500, 100), (500, 1000), (1000, 2000)]), [100, 610, 1220]);
        assert_eq!(shared(1930, &[(1, 900), (1, 900)]), [900, 900]);
        assert_eq!(
            shared(1000, &[(500, 0), (500, 1000), (500, 1000)]),
            [0, 500, 500],
            "who asks for nothing counts for nothing"
        );
    }
}
