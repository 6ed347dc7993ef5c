//! Requests on their way, the load offered, and what clients hand over to applications.
//!
//! Traffic writes, applications read: `routed` is the wire between them. It is no journal: nothing of it is recorded as
//! a fact. Slots of finished requests are used again, so that a request needs no allocation.

use super::World;
use super::change::Change;
use super::id_set::PodSet;
use super::ids::{PodId, TargetId};
use super::ledger::{Loss, REQUEST};
use super::losses::LossPlace;
use crate::engine::{Span, Time};
use crate::plan::{AppId, Curve, Plan};

/// Probe workers of a pod are told apart by so much of a request's number.
const PROBE_WORKERS: u16 = 0x7f;

/// A request on its way: a slot, valid until [`World::free_request`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RequestId(pub u32);

/// What a client sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Whose load it is.
    pub app: AppId,
    /// Which request: keys its draws, and tells clients which one it was. Retries have the number of the first try.
    pub number: u64,
    /// Tries before this one.
    pub attempt: u32,
}

/// What became of a request whose client reacts to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Which request.
    pub number: u64,
    /// Tries before this one.
    pub attempt: u32,
    /// It failed.
    pub lost: bool,
}

/// One request.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    /// Whose load it is.
    pub app: AppId,
    /// Which request of its load.
    pub number: u64,
    /// Tries before this one.
    pub attempt: u32,
    /// The pod that it was sent to; [`Request::NOWHERE`] while it is held for one.
    pub pod: PodId,
    /// The target through which it went.
    pub target: Option<TargetId>,
    /// When the client sent it.
    pub arrived: Time,
    /// When it was sent to its pod.
    pub routed: Time,
    /// The client has its answer (or its error); the application may still work on it.
    pub settled: bool,
    /// It is a health check of this node of the load balancer, or without a target a kubelet's probe that waits so many seconds:
    /// no client waits for it and no ledger knows it.
    pub check: Option<u16>,
}

impl Request {
    /// The pod of a request that has none yet.
    pub const NOWHERE: PodId = PodId(u32::MAX);
}

/// What clients handed over, and what is handed back to them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Routed {
    /// A request to its pod.
    Request(RequestId),
    /// Answers to clients of an application that react.
    Answers(AppId),
    /// The flow of an application has a new rate or new shares.
    Flow(AppId),
    /// The answer to a health check of a target by a node of the load balancer: with an error or not.
    Checked(TargetId, u16, Result<(), CheckError>),
    /// The answer to a probe, by the number of its worker at the kubelet: in good order or not.
    Probed(PodId, u16, bool),
    /// A pod takes so long to answer that health checks have to wait like requests.
    Strained(PodId),
    /// The same, for the probes of its kubelet.
    ProbesWait(PodId),
}

/// How a health check that reached a pod failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CheckError {
    /// An answer other than the one wanted.
    Status,
    /// The connection was refused or cut off.
    Connection,
}

/// What is known beforehand of the health checks of a pod in a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Prospect {
    /// It has to be seen.
    #[default]
    Open,
    /// Those that come before then are answered in time.
    InTime(Time),
    /// Those that come before then are answered too late.
    Late(Time),
}

/// How the health checks of a pod in a flow will fare: in one way at first, and perhaps in another one later, when the backlog
/// has grown or shrunk past what a check may wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outlook {
    /// At first.
    pub first: Prospect,
    /// When what comes then begins.
    pub turns: Time,
    /// From that time on.
    pub then: Prospect,
}

impl Outlook {
    /// What is known of a check at a time.
    pub fn at(self, now: Time) -> Prospect {
        match if now < self.turns { self.first } else { self.then } {
            Prospect::InTime(end) | Prospect::Late(end) if end <= now => Prospect::Open,
            known => known,
        }
    }
}

impl From<Prospect> for Outlook {
    fn from(only: Prospect) -> Outlook {
        Outlook { first: only, turns: Time::MAX, then: Prospect::Open }
    }
}

impl Default for Outlook {
    fn default() -> Outlook {
        Prospect::Open.into()
    }
}

/// The share of an application's flow that goes to one pod.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Share {
    /// The pod.
    pub pod: PodId,
    /// The target through which it goes.
    pub target: Option<TargetId>,
    /// Part of the flow; the shares of a flow add up to 1.
    pub share: f64,
}

/// Fluid traffic of an application: where it goes, and how much.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Flow {
    /// Requests a second.
    pub rate: f64,
    /// Where they go; empty: nowhere.
    pub shares: Vec<Share>,
}

/// Requests on their way.
#[derive(Clone, Debug, Default)]
pub struct Requests {
    slots: Vec<Request>,
    free: Vec<RequestId>,
    routed: Vec<Routed>,
    /// Answers that clients have not looked at yet, by application; `None`: they do not react.
    answers: Vec<Option<Vec<Answer>>>,
    /// What a law is checked by, in debug builds.
    at_pods: Vec<Place>,
    at_targets: Vec<Place>,
    /// Pods that take long to answer.
    strained: PodSet,
    /// What is known of their checks, by pod.
    outlooks: Vec<Outlook>,
}

/// Requests at one place, counted in two ways.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    count: u64,
    since: Time,
    /// Requests there, summed over time, microseconds.
    area: u128,
    /// Sum of the times that those who have left were there.
    times: u128,
}

impl Place {
    fn pass(&mut self, now: Time) {
        self.area += u128::from(self.count) * u128::from(now.since(self.since).micros());
        self.since = now;
    }

    fn enter(&mut self, now: Time) {
        self.pass(now);
        self.count += 1;
    }

    fn leave(&mut self, now: Time, since: Time) {
        self.pass(now);
        self.count -= 1;
        self.times += u128::from(now.since(since).micros());
    }
}

/// Does something to the places of a request: its pod and its target.
fn places(pods: &mut Vec<Place>, targets: &mut Vec<Place>, request: &Request, mut act: impl FnMut(&mut Place)) {
    let pod = (request.pod != Request::NOWHERE).then(|| request.pod.index());
    let target = request.target.map(TargetId::index);
    for (places, index) in [(pods, pod), (targets, target)] {
        let Some(index) = index else { continue };
        if places.len() <= index {
            places.resize(index + 1, Place::default());
        }
        act(&mut places[index]);
    }
}

impl Requests {
    /// No requests yet.
    pub fn new(plan: &Plan) -> Requests {
        let answers = plan.apps.iter().map(|app| app.clients.react().then(Vec::new)).collect();
        Requests { answers, ..Requests::default() }
    }

    #[inline]
    fn insert(&mut self, request: Request) -> RequestId {
        if let Some(id) = self.free.pop() {
            self.slots[id.0 as usize] = request;
            return id;
        }
        let id = RequestId(u32::try_from(self.slots.len()).expect("fewer than 2^32 in flight"));
        self.slots.push(request);
        id
    }

    #[inline]
    fn answer(&mut self, app: AppId, answer: Answer) {
        if let Some(answers) = &mut self.answers[app.index()] {
            if answers.is_empty() {
                self.routed.push(Routed::Answers(app));
            }
            answers.push(answer);
        }
    }
}

impl World {
    /// Sends one request to a pod: it is offered now and in flight until served or lost.
    pub fn route_request(&mut self, sent: Sent, pod: PodId, target: Option<TargetId>) -> RequestId {
        let id = self.accept_request(sent, pod);
        self.give_request(id, pod, target);
        id
    }

    /// One request finds nowhere to go and is held: offered now, in flight, without a pod.
    pub fn hold_request(&mut self, sent: Sent) -> RequestId {
        self.accept_request(sent, Request::NOWHERE)
    }

    /// Sends a request to a pod that was held for one.
    #[inline]
    pub fn give_request(&mut self, id: RequestId, pod: PodId, target: Option<TargetId>) {
        let now = self.now;
        let Requests { slots, at_pods, at_targets, .. } = &mut self.requests;
        let request = &mut slots[id.0 as usize];
        (request.pod, request.target, request.routed) = (pod, target, now);
        if cfg!(debug_assertions) {
            places(at_pods, at_targets, request, |place| place.enter(now));
        }
        if let Some(target) = target {
            self.targets[target.index()].outstanding += 1;
        }
        self.requests.routed.push(Routed::Request(id));
    }

    #[inline(always)]
    fn accept_request(&mut self, sent: Sent, pod: PodId) -> RequestId {
        let Sent { app, number, attempt } = sent;
        self.ledgers[app.index()].arrive(self.now);
        let (arrived, routed) = (self.now, self.now);
        let (target, settled, check) = (None, false, None);
        self.requests.insert(Request { app, number, attempt, pod, target, arrived, routed, settled, check })
    }

    /// A node of the load balancer sends a health check to a pod: a request of which no ledger knows.
    pub fn send_check(&mut self, app: AppId, pod: PodId, target: TargetId, node: u16) -> RequestId {
        let (arrived, routed, target, settled) = (self.now, self.now, Some(target), false);
        // Its draws are keyed by its time, far from the numbers of requests.
        let number = 1 << 63 | arrived.micros() << 8 | u64::from(node);
        let request = Request { app, number, attempt: 0, pod, target, arrived, routed, settled, check: Some(node) };
        let id = self.requests.insert(request);
        self.requests.routed.push(Routed::Request(id));
        id
    }

    /// A kubelet's worker of that number sends a probe to a pod, which it will wait for so long: as a health check.
    pub fn send_probe(&mut self, app: AppId, pod: PodId, worker: u16, timeout: Span) -> RequestId {
        let (arrived, routed, target, settled) = (self.now, self.now, None, false);
        // Its draws are keyed by its time, apart from those of health checks.
        let number = 1 << 63 | arrived.micros() << 8 | 0x80 | u64::from(worker & PROBE_WORKERS);
        let check = Some(u16::try_from(timeout.whole_seconds()).unwrap_or(u16::MAX));
        let id =
            self.requests.insert(Request { app, number, attempt: 0, pod, target, arrived, routed, settled, check });
        self.requests.routed.push(Routed::Request(id));
        id
    }

    /// A kubelet waits no longer for a probe that it sent then.
    pub fn abandon_probe(&mut self, id: RequestId, pod: PodId, sent: Time) {
        let request = &mut self.requests.slots[id.0 as usize];
        // The slot may belong to another request by now.
        if request.check.is_some() && (request.target, request.pod, request.arrived) == (None, pod, sent) {
            request.settled = true;
        }
    }

    /// One request finds nowhere to go.
    pub fn refuse_request(&mut self, sent: Sent) {
        let ledger = &mut self.ledgers[sent.app.index()];
        ledger.arrive(self.now);
        ledger.fail(self.now, Span::ZERO, Loss::NoTarget, LossPlace::default());
        self.requests.answer(sent.app, Answer { number: sent.number, attempt: sent.attempt, lost: true });
    }

    /// Takes what became of requests since the last call.
    pub fn take_answers(&mut self, app: AppId, into: &mut Vec<Answer>) {
        if let Some(answers) = &mut self.requests.answers[app.index()] {
            into.append(answers);
        }
    }

    /// Little's law holds for the requests of every application, and in debug builds for those at every pod and through
    /// every target: what was in flight, summed over time, is the sum of the times in flight.
    ///
    /// # Errors
    /// Where it does not.
    pub fn check_requests(&self) -> Result<(), String> {
        let live: Vec<&Request> =
            self.requests.slots.iter().filter(|request| !request.settled && request.check.is_none()).collect();
        let age = |since: Time| u128::from((self.now - since).micros());
        for (app, ledger) in self.ledgers.iter().enumerate() {
            let of_app = live.iter().filter(|request| request.app.index() == app);
            let ages: u128 = of_app.map(|request| age(request.arrived)).sum();
            let (area, times) = ledger.little(self.now, ages * u128::from(REQUEST));
            if area != times {
                return Err(format!("application {app}: in flight over time is {area}, times in flight {times}"));
            }
        }
        let mut outstanding = vec![0u32; self.targets.len()];
        live.iter().filter_map(|request| request.target).for_each(|target| outstanding[target.index()] += 1);
        if let Some(target) = self.targets.iter().find(|target| outstanding[target.id.index()] != target.outstanding) {
            return Err(format!("target {} counts {} outstanding requests", target.id.0, target.outstanding));
        }
        if !cfg!(debug_assertions) {
            return Ok(());
        }
        let mut pods = self.requests.at_pods.clone();
        let mut targets = self.requests.at_targets.clone();
        for request in &live {
            places(&mut pods, &mut targets, request, |place| place.leave(self.now, request.routed));
        }
        for (what, places) in [("pod", pods), ("target", targets)] {
            if let Some(index) = places.iter().position(|place| place.count != 0 || place.area != place.times) {
                return Err(format!("{what} {index}: Little's law does not hold for its requests"));
            }
        }
        Ok(())
    }

    /// A request on its way.
    pub fn request(&self, id: RequestId) -> &Request {
        &self.requests.slots[id.0 as usize]
    }

    /// The client of a request gets its answer. Nothing happens if it has gone already.
    #[inline]
    pub fn serve_request(&mut self, id: RequestId, objective: Span) {
        if let Some(request) = self.settle_request(id, None) {
            let latency = self.now - request.arrived;
            self.ledgers[request.app.index()].answer(self.now, latency, latency > objective);
        }
    }

    /// The client of a request gets an error. Nothing happens if it has gone already.
    pub fn lose_request(&mut self, id: RequestId, loss: Loss) {
        if let Some(request) = self.settle_request(id, Some(loss)) {
            let after = self.now - request.arrived;
            let pod = (request.pod != Request::NOWHERE).then_some(request.pod);
            let place = LossPlace { pod, target: request.target };
            self.ledgers[request.app.index()].fail(self.now, after, loss, place);
        }
    }

    /// The slot of a settled request may be used again.
    #[inline]
    pub fn free_request(&mut self, id: RequestId) {
        debug_assert!(self.requests.slots[id.0 as usize].settled, "a request in flight keeps its slot");
        self.requests.free.push(id);
    }

    /// A node of the load balancer waits no longer for a check that it sent then.
    pub fn abandon_check(&mut self, id: RequestId, target: TargetId, node: u16, sent: Time) {
        let request = &mut self.requests.slots[id.0 as usize];
        // The slot may belong to another request by now.
        if (request.target, request.check, request.arrived) == (Some(target), Some(node), sent) {
            request.settled = true;
        }
    }

    /// A pod takes long to answer, or no longer does. The load balancer hears of it once.
    pub fn set_strained(&mut self, pod: PodId, strained: bool) {
        if !strained {
            if self.requests.strained.remove(pod) {
                self.set_outlook(pod, Prospect::Open);
            }
        } else if self.requests.strained.insert(pod) {
            self.requests.routed.push(Routed::Strained(pod));
            self.requests.routed.push(Routed::ProbesWait(pod));
        }
    }

    /// Health checks of this pod have to wait like requests.
    pub fn is_strained(&self, pod: PodId) -> bool {
        self.requests.strained.contains(pod)
    }

    /// Until a pod's flow changes so much is known of its health checks.
    pub fn set_outlook(&mut self, pod: PodId, outlook: impl Into<Outlook>) {
        let (outlooks, outlook) = (&mut self.requests.outlooks, outlook.into());
        match outlooks.get_mut(pod.index()) {
            Some(known) => *known = outlook,
            None if outlook == Outlook::default() => {}
            None => {
                outlooks.resize(pod.index() + 1, Outlook::default());
                outlooks[pod.index()] = outlook;
            }
        }
    }

    /// What is known of a health check of a pod at this moment.
    pub fn prospect(&self, pod: PodId) -> Prospect {
        self.requests.outlooks.get(pod.index()).map_or(Prospect::Open, |outlook| outlook.at(self.now))
    }

    /// What was still waited for; for a check, nothing: its answer is on its way.
    #[inline(always)]
    fn settle_request(&mut self, id: RequestId, loss: Option<Loss>) -> Option<Request> {
        let request = &mut self.requests.slots[id.0 as usize];
        if std::mem::replace(&mut request.settled, true) {
            return None;
        }
        let request = *request;
        if let Some(check) = request.check {
            let answer = match loss {
                None => Ok(()),
                Some(Loss::QueueFull) => Err(CheckError::Status),
                Some(_) => Err(CheckError::Connection),
            };
            let worker = request.number as u16 & PROBE_WORKERS;
            self.requests.routed.push(match request.target {
                Some(target) => Routed::Checked(target, check, answer),
                None => Routed::Probed(request.pod, worker, answer.is_ok()),
            });
            return None;
        }
        if let Some(target) = request.target {
            self.targets[target.index()].outstanding -= 1;
        }
        if cfg!(debug_assertions) {
            let Requests { at_pods, at_targets, .. } = &mut self.requests;
            places(at_pods, at_targets, &request, |place| place.leave(self.now, request.routed));
        }
        let (number, attempt, lost) = (request.number, request.attempt, loss.is_some());
        self.requests.answer(request.app, Answer { number, attempt, lost });
        Some(request)
    }

    /// Sets the fluid traffic of an application.
    pub fn set_flow(&mut self, app: AppId, rate: f64, shares: &[Share]) {
        let flow = &mut self.flows[app.index()];
        if flow.rate == rate && flow.shares == shares {
            return;
        }
        flow.rate = rate;
        flow.shares.clear();
        flow.shares.extend_from_slice(shares);
        self.requests.routed.push(Routed::Flow(app));
    }

    /// Anything was handed over since the last [`World::take_routed`].
    pub fn has_routed(&self) -> bool {
        !self.requests.routed.is_empty()
    }

    /// Takes what was handed over since the last call, if it is one thing only.
    #[inline]
    pub fn take_only_routed(&mut self) -> Option<Routed> {
        let &[only] = &self.requests.routed[..] else { return None };
        self.requests.routed.clear();
        Some(only)
    }

    /// Takes what clients handed over since the last call.
    pub fn take_routed(&mut self, into: &mut Vec<Routed>) {
        into.append(&mut self.requests.routed);
    }

    /// Replaces the load of an application from now on.
    pub fn set_load(&mut self, app: AppId, load: Curve) {
        self.loads[app.index()] = load;
        self.push(Change::LoadChanged(app));
    }
}
