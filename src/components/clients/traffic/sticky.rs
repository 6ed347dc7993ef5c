//! Clients that hold a cookie of the load balancer and so stay with their target.
//!
//! Models: a fixed number of clients, each in a session; a new session has no cookie. A request without a valid cookie
//! is routed by the algorithm and gets one; a cookie whose target is not routed to is replaced. With flow instead of
//! requests the part of the clients at each target moves towards the algorithm's share as sessions and cookies end.
//!
//! Source: ELB user guide "Sticky sessions for your Application Load Balancer" (duration-based). That the duration counts
//! from the request that got the cookie is an assumption; left out: application cookies.

use super::Route;
use crate::components::Cx;
use crate::engine::{Purpose, Span, Time};
use crate::plan::{AppId, Stickiness};

const CLIENT: Purpose = Purpose::named("traffic.client");
const SESSION: Purpose = Purpose::named("traffic.session");

/// Parts of the clients that differ from the algorithm's shares by less count as equal.
const SETTLED: f64 = 1e-4;

/// One client.
#[derive(Clone, Copy, Debug)]
struct Client {
    /// Sessions begun: keys their lengths.
    sessions: u32,
    /// When the present session ends.
    ends: Time,
    /// Key of the target, and until when.
    cookie: Option<(u32, Time)>,
}

/// The clients of an application.
#[derive(Clone, Debug)]
pub struct Sticky {
    spec: Stickiness,
    app: AppId,
    clients: Vec<Client>,
    /// Parts of the clients at each target, and the algorithm's shares, as of `since`.
    parts: Vec<(u32, f64)>,
    shares: Vec<(u32, f64)>,
    since: Time,
}

impl Sticky {
    /// Clients in the midst of their sessions, spread evenly over the targets there are.
    pub fn new(cx: &Cx, app: AppId, spec: Stickiness, routes: &[Route]) -> Sticky {
        let mut sticky =
            Sticky { spec, app, clients: Vec::new(), parts: Vec::new(), shares: Vec::new(), since: cx.now };
        let count = spec.clients.max(1);
        for index in 0..count {
            // What is left of sessions and cookies is spread evenly: half a step off both ends.
            let left = |span: Span| {
                Span::from_micros(
                    span.micros() / u64::from(count) * u64::from(index) + span.micros() / u64::from(2 * count),
                )
            };
            let ends = cx.now + cx.random.map_or_else(|| left(spec.session), |_| sticky.length(cx, index, 0));
            let target = routes.get(index as usize % routes.len().max(1)).map(Route::key);
            let cookie = target.map(|key| (key, cx.now + left(spec.duration)));
            sticky.clients.push(Client { sessions: 0, ends, cookie });
        }
        sticky
    }

    /// Length of a session: exponential, or its mean without noise.
    fn length(&self, cx: &Cx, client: u32, session: u32) -> Span {
        let key = u64::from(self.app.0) << 56 | u64::from(client) << 24 | u64::from(session & 0x00ff_ffff);
        let mean = self.spec.session;
        cx.random.map_or(mean, |random| Span::from_seconds(-(-random.uniform(SESSION, key)).ln_1p() * mean.seconds()))
    }

    /// The client of a request: by chance, or one after another without noise.
    pub fn client(&mut self, cx: &Cx, number: u64) -> usize {
        let count = self.clients.len();
        let key = u64::from(self.app.0) << 48 | number;
        let index = cx.random.map_or((number % count as u64) as usize, |_| cx.pick(CLIENT, key, count));
        if self.clients[index].ends <= cx.now {
            let sessions = self.clients[index].sessions + 1;
            let length = self.length(cx, u32::try_from(index).unwrap_or(0), sessions);
            self.clients[index] = Client { sessions, ends: cx.now + length, cookie: None };
        }
        index
    }

    /// The route that a client's cookie leads to.
    pub fn held(&self, client: usize, now: Time, routes: &[Route]) -> Option<usize> {
        let (key, _) = self.clients[client].cookie.filter(|&(_, until)| now < until)?;
        routes.binary_search_by_key(&key, Route::key).ok()
    }

    /// A client gets a cookie.
    pub fn give(&mut self, client: usize, now: Time, route: &Route) {
        self.clients[client].cookie = Some((route.key(), now + self.spec.duration));
    }

    /// Flow: turns the weights of the algorithm into the parts of the clients; whether they still move.
    pub fn weigh(&mut self, now: Time, routes: &mut [Route]) -> bool {
        let total: f64 = routes.iter().map(|route| route.weight).sum();
        let shares: Vec<(u32, f64)> = routes.iter().map(|route| (route.key(), route.weight / total)).collect();
        let of = |list: &[(u32, f64)], key: u32| {
            list.iter().find(|(other, _)| *other == key).map_or(0.0, |&(_, value)| value)
        };
        let rate = 1.0 / self.spec.session.seconds() + 1.0 / self.spec.duration.seconds();
        let stay = (-rate * now.since(self.since).seconds()).exp();
        let moved = |&(key, part): &(u32, f64)| {
            let share = of(&self.shares, key);
            (key, share + (part - share) * stay)
        };
        let moved: Vec<(u32, f64)> = self.parts.iter().map(moved).collect();
        let first = moved.is_empty();
        let kept: f64 =
            moved.iter().filter(|(key, _)| shares.iter().any(|(other, _)| other == key)).map(|&(_, p)| p).sum();
        // Clients of targets that are gone are routed anew.
        self.parts = shares.iter().map(|&(key, share)| (key, of(&moved, key) + share * (1.0 - kept))).collect();
        if first {
            self.parts.clone_from(&shares);
        }
        let moves = self.parts.iter().zip(&shares).any(|(part, share)| (part.1 - share.1).abs() > SETTLED);
        for (route, part) in routes.iter_mut().zip(&self.parts) {
            route.weight = part.1;
        }
        (self.shares, self.since) = (shares, now);
        moves
    }
}
