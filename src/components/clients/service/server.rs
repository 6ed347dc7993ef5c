//! One pod that serves requests one by one: workers, a queue, and CPU shared equally by the requests that compute.
//!
//! Processor sharing runs in virtual time: all computing requests attain service at the same speed, so a request ends
//! when the attained service reaches the mark that it got on entry. An arrival or an end changes the speed, never the
//! marks: the work is O(1) per request. Time is in microseconds, speed in nanocores, service in their product.

use crate::engine::{Span, Time};
use crate::world::RequestId;
use std::collections::VecDeque;

/// Nanocores of one core: a request runs on one core at most.
pub const CORE: u64 = 1_000_000_000;

/// What one request needs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Work {
    /// Time without CPU, before it computes.
    pub wait: Span,
    /// CPU, microseconds times nanocores.
    pub cpu: u64,
    /// Requests in service at once.
    pub workers: usize,
    /// Requests that may wait for a worker.
    pub queue: usize,
}

impl Work {
    /// The needs of requests that take `factor` times as long as `wait` and `cpu`.
    pub fn new(wait: Span, cpu: Span, factor: f64, workers: u32, queue: u32) -> Work {
        let stretched = |span: Span| Span::from_micros((span.micros() as f64 * factor).round() as u64);
        Work {
            wait: stretched(wait),
            cpu: stretched(cpu).micros().saturating_mul(CORE),
            workers: workers.max(1) as usize,
            queue: queue as usize,
        }
    }
}

/// The requests at one pod.
#[derive(Clone, Debug, Default)]
pub struct Server {
    /// In a worker, without need of CPU until.
    waiting: VecDeque<(Time, RequestId)>,
    /// In a worker, computing until the attained service reaches the mark; ascending.
    running: VecDeque<(u64, RequestId)>,
    /// Without a worker, in order of arrival.
    queue: VecDeque<RequestId>,
    attained: u64,
    since: Time,
    share: u64,
    speed: u64,
}

impl Server {
    /// Requests here.
    pub fn in_flight(&self) -> usize {
        self.waiting.len() + self.running.len() + self.queue.len()
    }

    /// All requests here.
    pub fn requests(&self) -> impl Iterator<Item = RequestId> + '_ {
        let waiting = self.waiting.iter().map(|&(_, request)| request);
        waiting.chain(self.running.iter().map(|&(_, request)| request)).chain(self.queue.iter().copied())
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
    pub fn set_share(&mut self, now: Time, share: u64) {
        self.advance(now);
        self.share = share;
        self.set_speed();
    }

    fn set_speed(&mut self) {
        self.speed = match self.running.len() as u64 {
            0 => 0,
            running => CORE.min(self.share / running),
        };
    }

    /// Lets time pass.
    pub fn advance(&mut self, now: Time) {
        self.attained += self.speed * now.since(self.since).micros();
        self.since = now;
        if self.running.is_empty() {
            self.attained = 0;
        } else if self.attained > 1 << 61 {
            // Marks are relative: start again from zero before the counter could overflow.
            let base = self.attained;
            self.attained = 0;
            self.running.iter_mut().for_each(|(mark, _)| *mark = mark.saturating_sub(base));
        }
    }

    /// Takes a request in; false: no worker is free and the queue is full.
    pub fn accept(&mut self, now: Time, request: RequestId, work: Work) -> bool {
        self.advance(now);
        if self.waiting.len() + self.running.len() < work.workers {
            self.begin(now, request, work);
        } else if self.queue.len() < work.queue {
            self.queue.push_back(request);
        } else {
            return false;
        }
        true
    }

    fn begin(&mut self, now: Time, request: RequestId, work: Work) {
        if work.wait.is_zero() {
            self.compute(request, work);
        } else {
            let until = now + work.wait;
            let after = self.waiting.iter().rev().take_while(|(end, _)| *end > until).count();
            self.waiting.insert(self.waiting.len() - after, (until, request));
        }
    }

    fn compute(&mut self, request: RequestId, work: Work) {
        let mark = self.attained + work.cpu;
        // Equal needs arrive in order of their marks; only a slowdown that ends puts one in front of others.
        let after = self.running.iter().rev().take_while(|(other, _)| *other > mark).count();
        self.running.insert(self.running.len() - after, (mark, request));
        self.set_speed();
    }

    /// Moves on everything that is due at `now`; requests that end are appended to `finished`.
    pub fn settle(&mut self, now: Time, work: Work, finished: &mut Vec<RequestId>) {
        self.advance(now);
        loop {
            if let Some(&(end, request)) = self.waiting.front()
                && end <= now
            {
                self.waiting.pop_front();
                self.compute(request, work);
            } else if let Some(&(mark, request)) = self.running.front()
                && mark <= self.attained
            {
                self.running.pop_front();
                self.set_speed();
                finished.push(request);
            } else if self.waiting.len() + self.running.len() < work.workers
                && let Some(request) = self.queue.pop_front()
            {
                self.begin(now, request, work);
            } else {
                break;
            }
        }
    }

    /// When the next thing is due, as of the last [`Server::advance`].
    pub fn next(&self) -> Option<Time> {
        let waiting = self.waiting.front().map(|&(end, _)| end);
        let running = self.running.front().and_then(|&(mark, _)| {
            let left = mark.saturating_sub(self.attained);
            (self.speed > 0 || left == 0).then(|| self.since + Span::from_micros(left.div_ceil(self.speed.max(1))))
        });
        match (waiting, running) {
            (Some(waiting), Some(running)) => Some(waiting.min(running)),
            (waiting, running) => waiting.or(running),
        }
    }

    /// Takes requests out of the queue that are no longer wanted.
    pub fn drop_queued(&mut self, mut unwanted: impl FnMut(RequestId) -> bool) {
        self.queue.retain(|&request| !unwanted(request));
    }

    /// Takes everything out.
    pub fn clear(&mut self) {
        *self = Server { since: self.since, share: self.share, ..Server::default() };
    }
}

/// Divides `capacity` among contenders of (weight, demand) as the kernel's fair scheduler does: nobody gets more than
/// it asks for, what is left goes to the others by weight.
pub fn share_out(capacity: u64, contenders: &[(u64, u64)]) -> Vec<u64> {
    let mut shares = vec![0; contenders.len()];
    let mut open: Vec<usize> = (0..contenders.len()).collect();
    let mut left = capacity;
    loop {
        let weights: u64 = open.iter().map(|&index| contenders[index].0.max(1)).sum();
        let fair =
            |index: usize| (u128::from(left) * u128::from(contenders[index].0.max(1))) / u128::from(weights.max(1));
        let content: Vec<usize> =
            open.iter().copied().filter(|&index| u128::from(contenders[index].1) <= fair(index)).collect();
        if content.is_empty() {
            for &index in &open {
                shares[index] = fair(index) as u64;
            }
            return shares;
        }
        for &index in &content {
            shares[index] = contenders[index].1;
        }
        left -= content.iter().map(|&index| contenders[index].1).sum::<u64>();
        open.retain(|index| !content.contains(index));
        if open.is_empty() {
            return shares;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_requests_share_a_core_and_each_takes_twice_as_long() {
        let work = Work::new(Span::ZERO, Span::from_secs(1), 1.0, 10, 0);
        let start = Time::from_unix_seconds(100);
        let mut server = Server::default();
        let mut finished = Vec::new();
        server.set_share(start, CORE);
        assert!(server.accept(start, RequestId(0), work));
        assert!(server.accept(start + Span::from_millis(500), RequestId(1), work));
        server.set_share(start + Span::from_millis(500), CORE);
        // Half of the first is left: at half speed it ends at 1.5 s; then the second has half a second of its own left.
        assert_eq!(server.next(), Some(start + Span::from_millis(1500)));
        server.settle(start + Span::from_millis(1500), work, &mut finished);
        assert_eq!(finished, [RequestId(0)]);
        assert_eq!(server.next(), Some(start + Span::from_millis(2000)));
    }

    #[test]
    fn a_full_pod_queues_and_then_refuses() {
        let work = Work::new(Span::from_millis(10), Span::from_millis(10), 1.0, 1, 1);
        let now = Time::from_unix_seconds(1);
        let mut server = Server::default();
        let accepted: Vec<bool> = (0..3).map(|id| server.accept(now, RequestId(id), work)).collect();
        assert_eq!(accepted, [true, true, false]);
    }

    #[test]
    fn contended_cpu_is_divided_by_weight_and_what_one_leaves_the_others_take() {
        assert_eq!(share_out(1930, &[(500, 1000), (500, 1000), (500, 1000)]), [643, 643, 643]);
        assert_eq!(share_out(1930, &[(500, 100), (500, 1000), (1000, 2000)]), [100, 610, 1220]);
        assert_eq!(share_out(1930, &[(1, 900), (1, 900)]), [900, 900]);
    }
}
