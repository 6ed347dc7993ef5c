//! Requests on their way, the load offered, and what clients hand over to applications.
//!
//! Traffic writes, applications read: `routed` is the wire between them. It is no journal: nothing of it is recorded as
//! a fact. Slots of finished requests are used again, so that a request needs no allocation.

use super::World;
use super::change::Change;
use super::ids::{PodId, TargetId};
use super::ledger::{Loss, REQUEST};
use crate::engine::Time;
use crate::plan::{AppId, Curve};

/// A request on its way: a slot, valid until [`World::free_request`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RequestId(pub u32);

/// One request.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    /// Whose load it is.
    pub app: AppId,
    /// The pod that it was sent to.
    pub pod: PodId,
    /// The target through which it went.
    pub target: Option<TargetId>,
    /// When the client sent it.
    pub arrived: Time,
    /// The client has its answer (or its error); the application may still work on it.
    pub settled: bool,
}

/// What clients handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Routed {
    /// A request to its pod.
    Request(RequestId),
    /// The flow of an application has a new rate or new shares.
    Flow(AppId),
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
}

impl World {
    /// Sends one request to a pod: it is offered now and in flight until served or lost.
    pub fn route_request(&mut self, app: AppId, pod: PodId, target: Option<TargetId>) -> RequestId {
        self.ledgers[app.index()].offer(self.now, REQUEST);
        if let Some(target) = target {
            self.targets[target.index()].outstanding += 1;
        }
        let request = Request { app, pod, target, arrived: self.now, settled: false };
        let id = match self.requests.free.pop() {
            Some(id) => {
                self.requests.slots[id.0 as usize] = request;
                id
            }
            None => {
                let id = RequestId(u32::try_from(self.requests.slots.len()).expect("fewer than 2^32 in flight"));
                self.requests.slots.push(request);
                id
            }
        };
        self.requests.routed.push(Routed::Request(id));
        id
    }

    /// One request finds nowhere to go.
    pub fn refuse_request(&mut self, app: AppId) {
        let ledger = &mut self.ledgers[app.index()];
        ledger.offer(self.now, REQUEST);
        ledger.lose(self.now, REQUEST, Loss::NoTarget);
    }

    /// A request on its way.
    pub fn request(&self, id: RequestId) -> &Request {
        &self.requests.slots[id.0 as usize]
    }

    /// The client of a request gets its answer. Nothing happens if it has gone already.
    pub fn serve_request(&mut self, id: RequestId, objective: crate::engine::Span) {
        if let Some(request) = self.settle_request(id) {
            let latency = self.now - request.arrived;
            self.ledgers[request.app.index()].serve(self.now, REQUEST, latency, latency > objective);
        }
    }

    /// The client of a request gets an error. Nothing happens if it has gone already.
    pub fn lose_request(&mut self, id: RequestId, loss: Loss) {
        if let Some(request) = self.settle_request(id) {
            self.ledgers[request.app.index()].lose(self.now, REQUEST, loss);
        }
    }

    /// The slot of a settled request may be used again.
    pub fn free_request(&mut self, id: RequestId) {
        debug_assert!(self.requests.slots[id.0 as usize].settled, "a request in flight keeps its slot");
        self.requests.free.push(id);
    }

    fn settle_request(&mut self, id: RequestId) -> Option<Request> {
        let request = &mut self.requests.slots[id.0 as usize];
        if std::mem::replace(&mut request.settled, true) {
            return None;
        }
        let request = *request;
        if let Some(target) = request.target {
            self.targets[target.index()].outstanding -= 1;
        }
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
