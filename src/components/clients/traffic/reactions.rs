//! Clients that react to answers: users who think and send again, and retries with back-off.
//!
//! ```text
//!  curve of users ─► Users ─(think)─► Later ─► sent ─► answer ─► retry? ─(back-off)─► Later
//!                      ▲                                └─ no: the next turn ─(think)─┘
//! ```
//!
//! Models: a closed loop of so many users; exponential back-off with a ceiling, full jitter and a budget as in the AWS
//! SDKs (AWS Architecture Blog, "Exponential Backoff And Jitter"; SDK reference, "Retry behavior"). A user who is
//! no longer wanted leaves when it would send again. Without noise users begin evenly over one time of thinking.

use crate::components::Cx;
use crate::engine::{Purpose, Span, Time};
use crate::plan::{AppId, Clients, Distribution, Retries};
use crate::world::{Answer, Sent};
use std::cmp::Reverse;
use std::collections::BinaryHeap;

const THINK: Purpose = Purpose::named("traffic.think");
const BACKOFF: Purpose = Purpose::named("traffic.backoff");

/// A request's number is its user's and then its turn's.
const TURN_BITS: u32 = 28;
const _: () = assert!(Clients::USERS_MAX <= 1 << (48 - TURN_BITS));

/// Something that will be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Later {
    at: Time,
    order: u64,
    number: u64,
    attempt: u32,
}

/// The clients of one application that react.
#[derive(Clone, Debug, Default)]
pub struct Reactions {
    later: BinaryHeap<Reverse<Later>>,
    order: u64,
    users: Vec<User>,
    wanted: u32,
    /// When the number of users changes next.
    pub changes: Option<Time>,
    /// First tries and retries so far: the budget.
    tries: u64,
    retried: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct User {
    turns: u32,
    active: bool,
}

impl Reactions {
    /// When the next thing is due.
    pub fn next(&self) -> Option<Time> {
        let later = self.later.peek().map(|Reverse(later)| later.at);
        [later, self.changes].into_iter().flatten().min()
    }

    /// From now on there are so many users.
    pub fn populate(&mut self, cx: &Cx, app: AppId, think: &Distribution, wanted: f64) {
        self.wanted = (wanted.round().max(0.0) as u32).min(Clients::USERS_MAX);
        if self.users.len() < self.wanted as usize {
            self.users.resize(self.wanted as usize, User::default());
        }
        let idle: Vec<u32> = (0..self.wanted).filter(|&user| !self.users[user as usize].active).collect();
        for (index, &user) in idle.iter().enumerate() {
            self.users[user as usize].active = true;
            let spread = (index as f64 + 0.5) / idle.len() as f64;
            let even = || Span::from_seconds(think.median().seconds() * spread);
            self.think(cx, app, user, think, even);
        }
    }

    /// A user thinks and then sends; `even`: for how long without noise.
    fn think(&mut self, cx: &Cx, app: AppId, user: u32, think: &Distribution, even: impl FnOnce() -> Span) {
        let state = &mut self.users[user as usize];
        let number = u64::from(user) << TURN_BITS | u64::from(state.turns);
        state.turns = (state.turns + 1) & ((1 << TURN_BITS) - 1);
        let span = cx.random.map_or_else(even, |random| think.draw(random, THINK, super::key(app, number)));
        self.put(cx.now + span, number, 0);
    }

    fn put(&mut self, at: Time, number: u64, attempt: u32) {
        self.order += 1;
        self.later.push(Reverse(Later { at, order: self.order, number, attempt }));
    }

    /// The next request that is due.
    pub fn take(&mut self, now: Time, app: AppId, clients: &Clients) -> Option<Sent> {
        while let Some(Reverse(later)) = self.later.peek().copied().filter(|Reverse(later)| later.at <= now) {
            self.later.pop();
            let user = (later.number >> TURN_BITS) as u32;
            if clients.think.is_some() && later.attempt == 0 && user >= self.wanted {
                self.users[user as usize].active = false;
                continue;
            }
            return Some(Sent { app, number: later.number, attempt: later.attempt });
        }
        None
    }

    /// A first try was sent.
    pub fn tried(&mut self) {
        self.tries += 1;
    }

    /// A client has its answer.
    pub fn answered(&mut self, cx: &mut Cx, app: AppId, clients: &Clients, answer: Answer) {
        if let Some(retries) = clients.retries.as_ref().filter(|_| answer.lost) {
            if answer.attempt < retries.max && self.affords(retries) {
                self.retried += 1;
                cx.world.ledgers[app.index()].retries += 1;
                let (attempt, full) = (answer.attempt + 1, retries.wait(answer.attempt + 1));
                let key = super::key(app, answer.number) ^ u64::from(attempt) << 56;
                let wait = match cx.random {
                    _ if !retries.jitter => full,
                    None => full.half(),
                    Some(random) => Span::from_seconds(full.seconds() * random.uniform(BACKOFF, key)),
                };
                self.put(cx.now + wait, answer.number, attempt);
                return;
            }
            cx.world.ledgers[app.index()].given_up += 1;
        }
        if let Some(think) = &clients.think {
            self.think(cx, app, (answer.number >> TURN_BITS) as u32, think, || think.median());
        }
    }

    fn affords(&self, retries: &Retries) -> bool {
        retries.budget.is_none_or(|part| ((self.retried + 1) as f64) <= Retries::BURST + part * self.tries as f64)
    }
}
