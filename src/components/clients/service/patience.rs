//! Clients that give up: after the load balancer's idle timeout, or sooner.
//!
//! In: requests in order of arrival at each pod. Out: Loss::TimedOut; those still queued leave the queue.

use super::server::Server;
use super::{Event, PodState, Service};
use crate::components::Cx;
use crate::engine::{Span, Time};
use crate::plan::{App, Plan};
use crate::world::{Loss, PodId, RequestId, World};

impl Service {
    /// Clients give up on requests that were here too long; the application works on, unless they are still queued.
    pub(super) fn patience(&mut self, cx: &mut Cx, pod: PodId) {
        let state = &mut self.pods[pod.index()];
        if state.patience_due.is_none_or(|due| cx.now < due) {
            return;
        }
        state.patience_due = None;
        let mut gave_up = false;
        while let Some(&(due, request)) = state.patience.front() {
            let waits = still_here(cx.world, cx.plan, pod, due, request);
            if waits && due > cx.now {
                state.patience_due = Some(due);
                cx.at(due, crate::components::Event::Service(Event::Patience(pod)));
                break;
            }
            state.patience.pop_front();
            if waits {
                cx.world.lose_request(request, Loss::TimedOut);
                gave_up = true;
            }
        }
        if gave_up {
            drop_settled(&mut state.server, cx.world);
        }
    }
}

/// Whether a request of the patience list is still unanswered at this pod; its slot may belong to another by now.
pub(super) fn still_here(world: &World, plan: &Plan, pod: PodId, due: Time, id: RequestId) -> bool {
    let request = world.request(id);
    let patience = patience(plan, &plan.apps[request.app.index()]);
    !request.settled && request.pod == pod && request.arrived + patience == due
}

/// How long clients wait for an answer: the load balancer's idle timeout, or less of their own.
pub(super) fn patience(plan: &Plan, app: &App) -> Span {
    let idle = plan.flags.serving.idle_timeout;
    app.clients.timeout.map_or(idle, |timeout| timeout.min(idle))
}

/// The patience list may always be so long.
const SHORT: usize = 64;

/// Takes requests that have ended from the front of the patience list, many at once: whenever it has doubled.
#[inline(always)]
pub(super) fn forget_ended(state: &mut PodState, world: &World, plan: &Plan, pod: PodId) {
    if state.patience.len() > state.patience_long {
        forget_all_ended(state, world, plan, pod);
    }
}

#[inline(never)]
fn forget_all_ended(state: &mut PodState, world: &World, plan: &Plan, pod: PodId) {
    let ended = state.patience.iter().take_while(|&&(due, id)| !still_here(world, plan, pod, due, id)).count();
    state.patience.drain(..ended);
    state.patience_long = 2 * state.patience.len() + SHORT;
}

/// Queued requests whose clients have gone leave the queue.
pub(super) fn drop_settled(server: &mut Server, world: &mut World) {
    server.drop_queued(|request| {
        let gone = world.request(request).settled;
        if gone {
            world.free_request(request);
        }
        gone
    });
}
