//! CPU credits of burstable machines: counted from launch to end.
//!
//! ```text
//!  InstanceLaunched ─► Count, every 10 s and when the balance would be used up ─► World::count_credits
//!      mode standard: none left ─► the node computes at its baseline      mode unlimited: surplus is billed
//! ```
//!
//! Source: EC2 user guide, "Burstable performance instances". Nothing happens unless the scenario says `cpu_credits`.

use crate::components::{Cx, Event as Any};
use crate::world::{InstanceId, InstanceState, NodeId};

/// Its memory: there is none.
#[derive(Default)]
pub struct CpuCredits {}

/// Why it may be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// An instance was launched.
    Launched(InstanceId),
    /// Its credits are counted.
    Count(InstanceId),
    /// An instance is shutting down: they are counted for the last time.
    Ended(InstanceId),
}

impl CpuCredits {
    /// Schedules the first events.
    pub fn start(&mut self, cx: &mut Cx) {
        let instances: Vec<InstanceId> = cx.world.instances.iter().map(|instance| instance.id).collect();
        instances.into_iter().for_each(|instance| launched(cx, instance));
    }

    /// Observe, decide, apply, schedule.
    pub fn handle(&mut self, cx: &mut Cx, event: Event) {
        match event {
            Event::Launched(instance) => launched(cx, instance),
            Event::Count(instance) if cx.world.instances[instance.index()].state == InstanceState::Running => {
                count(cx, instance);
            }
            Event::Count(_) => {}
            Event::Ended(instance) => {
                let node = node_of(cx, instance);
                cx.world.count_credits(cx.plan, instance, node);
            }
        }
    }
}

fn launched(cx: &mut Cx, instance: InstanceId) {
    if cx.plan.flags.credits.unlimited.is_none() {
        return;
    }
    cx.world.begin_credits(cx.plan, instance);
    if cx.world.instances[instance.index()].credits.is_some() {
        count(cx, instance);
    }
}

fn count(cx: &mut Cx, instance: InstanceId) {
    let node = node_of(cx, instance);
    let next = cx.world.count_credits(cx.plan, instance, node);
    cx.after(next, Any::CpuCredits(Event::Count(instance)));
}

/// The node of an instance, if it has joined.
fn node_of(cx: &Cx, instance: InstanceId) -> Option<NodeId> {
    let found = match cx.world.instances[instance.index()].claim {
        Some(claim) => cx.world.claim(claim).node,
        None => cx.world.nodes.iter().find(|node| node.instance == Some(instance)).map(|node| node.id),
    };
    found.filter(|&node| cx.world.node(node).gone.is_none())
}
