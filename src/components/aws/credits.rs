//! CPU credits of burstable machines: counted from launch to end.
//!
//! ```text
//!  mode standard:  InstanceLaunched ─► Count, every 10 s and when the balance would be used up ─► none left: held at its baseline
//!  mode unlimited: InstanceLaunched ─► Count when the balance may overflow, or surplus be billed for good; and at the end
//! ```
//!
//! Source: EC2 user guide, "Burstable performance instances".

use crate::components::{Cx, Event as Any};
use crate::plan::flags::CreditMode;
use crate::world::{Instance, InstanceId, InstanceState, NodeId};

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

impl CpuCredits {
    /// The run is over: what machines owe is counted once more.
    pub fn conclude(&mut self, cx: &mut Cx) {
        let counted = |instance: &&Instance| instance.credits.is_some() && instance.state == InstanceState::Running;
        let instances: Vec<InstanceId> =
            cx.world.instances.iter().filter(counted).map(|instance| instance.id).collect();
        for instance in instances {
            let node = node_of(cx, instance);
            cx.world.count_credits(cx.plan, instance, node);
        }
    }
}

fn launched(cx: &mut Cx, instance: InstanceId) {
    if cx.plan.flags.credits.mode == CreditMode::Off {
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
    if cx.now + next < cx.plan.until {
        cx.after(next, Any::CpuCredits(Event::Count(instance)));
    }
}

/// The node of an instance, if it ever joined.
fn node_of(cx: &Cx, instance: InstanceId) -> Option<NodeId> {
    match cx.world.instances[instance.index()].claim {
        Some(claim) => cx.world.claim(claim).node,
        None => cx.world.nodes.iter().find(|node| node.instance == Some(instance)).map(|node| node.id),
    }
}
