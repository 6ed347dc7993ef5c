//! Karpenter interruption poller, and the controller that reads spot prices every 12 h.
//!
//! ```text
//!  two-minute notice ─ EventBridge, SQS ─► avoid the spot offering for 3 min, delete the NodeClaim (drain begins)
//!  instance is shutting down ────────────► delete the NodeClaim
//!  rebalance recommendation ─────────────► an event on the NodeClaim, nothing else
//! ```
//!
//! Source: provider `pkg/controllers/{interruption,providers/pricing}/controller.go`. Nothing comes of messages without
//! `--interruption-queue`. Left out: scheduled changes, the instance-status poller.

use super::cluster::avoided_until;
use crate::components::{Cx, Event as Any};
use crate::engine::Purpose;
use crate::plan::{CapacityType, Stage};
use crate::world::{DisruptionReason, InstanceId};

const PRICING: Purpose = Purpose::named("karpenter.pricing");

/// Its memory.
#[derive(Default)]
pub struct Interruption {}

/// Why it may be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// EC2 gave an instance its two-minute notice.
    Notice(InstanceId),
    /// The message about the notice has arrived.
    NoticeRead(InstanceId),
    /// EC2 says that an instance is shutting down.
    StateChange(InstanceId),
    /// The message about it has arrived.
    StateChangeRead(InstanceId),
    /// EC2 recommends to replace a spot instance.
    Rebalance(InstanceId),
    /// The message about it has arrived.
    RebalanceRead(InstanceId),
    /// The pricing controller reads the spot prices.
    Prices,
}

impl Interruption {
    /// Schedules the first events.
    pub fn start(&mut self, cx: &mut Cx) {
        if !cx.world.prices.all().is_empty() {
            let period = cx.plan.flags.karpenter.pricing_period;
            let phase = cx.phase(PRICING, 0, period);
            cx.after(phase, Any::Interruption(Event::Prices));
        }
    }

    /// Observe, decide, apply, schedule.
    pub fn handle(&mut self, cx: &mut Cx, event: Event) {
        if event == Event::Prices {
            cx.world.learn_prices();
            cx.explain(|| "Karpenter reads the spot prices of now".to_string());
            return cx.after(cx.plan.flags.karpenter.pricing_period, Any::Interruption(Event::Prices));
        }
        if !cx.plan.flags.karpenter.interruption_queue {
            return;
        }
        match event {
            Event::Notice(instance) => deliver(cx, instance, 0, Event::NoticeRead(instance)),
            Event::StateChange(instance) => deliver(cx, instance, 1 << 63, Event::StateChangeRead(instance)),
            Event::Rebalance(instance) => deliver(cx, instance, 1 << 62, Event::RebalanceRead(instance)),
            Event::RebalanceRead(id) => rebalance(cx, id),
            Event::Prices => {}
            Event::NoticeRead(id) => {
                let instance = &cx.world.instances[id.index()];
                if instance.capacity_type == CapacityType::Spot {
                    let name = cx.plan.instance_type(instance.instance_type).name.clone();
                    let offering = (name.as_str(), instance.zone, CapacityType::Spot);
                    let until = avoided_until(cx.plan, cx.now);
                    cx.world.unavailable_offerings.mark(cx.now, offering, until);
                }
                delete(cx, id, DisruptionReason::Interrupted);
            }
            Event::StateChangeRead(id) => delete(cx, id, DisruptionReason::InstanceGone),
        }
    }
}

/// A message takes its time; there is none about instances that Karpenter does not own or deletes itself.
fn deliver(cx: &mut Cx, instance: InstanceId, kind: u64, event: Event) {
    let Some(claim) = cx.world.instances[instance.index()].claim else { return };
    if cx.world.claim(claim).is_active() {
        let span = cx.delay(Stage::InterruptionDelivery, cx.world.claim(claim).key() ^ kind);
        cx.after(span, Any::Interruption(event));
    }
}

/// Neither a taint nor a deletion: of the nodes that get a recommendation most are never interrupted.
fn rebalance(cx: &mut Cx, instance: InstanceId) {
    let Some(claim) = cx.world.instances[instance.index()].claim else { return };
    if cx.world.claim(claim).is_active() {
        cx.world.note_rebalance(claim);
    }
}

fn delete(cx: &mut Cx, instance: InstanceId, reason: DisruptionReason) {
    let Some(claim) = cx.world.instances[instance.index()].claim else { return };
    if cx.world.claim(claim).is_active() {
        cx.world.delete_claim(claim, reason);
    }
}
