//! EC2 instances: boot to kubelet registration, notice to reclaim, shutdown.
//!
//! ```text
//!  Launched ─ instance.boot ─► Node object          Notice ─ 120 s ─► shutting down ─ instance.termination ─► gone
//! ```
//!
//! Source: EC2 user guide, "Spot Instance interruption notices"; provider `pkg/cloudprovider` for the node's labels and
//! `karpenter.sh/unregistered`, which user data gives to the kubelet.

use crate::components::{Cx, Event as Any};
use crate::engine::Span;
use crate::plan::Stage;
use crate::rules::requirements::{HOSTNAME, NODE_POOL, ZONE};
use crate::rules::taint::{Taint, TaintEffect};
use crate::world::offering::unregistered_taint;
use crate::world::{ClaimId, Instance, InstanceId, InstanceState, NewNode, World};

/// A spot instance is reclaimed so long after its notice.
const NOTICE: Span = Span::from_secs(120);

/// Its memory.
#[derive(Default)]
pub struct Instances {}

/// Why it may be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// An instance was launched.
    Launched(InstanceId),
    /// Its kubelet registers.
    Booted(InstanceId),
    /// An instance got the two-minute notice.
    Notice(InstanceId),
    /// Two minutes after a notice.
    Reclaim(InstanceId),
    /// An instance is shutting down.
    ShuttingDown(InstanceId),
    /// It is gone.
    Terminated(InstanceId),
}

impl Instances {
    /// Schedules the first events: machines of the start that have no Node yet.
    pub fn start(&mut self, cx: &mut Cx) {
        let booting: Vec<InstanceId> = cx
            .world
            .claims
            .iter()
            .filter(|claim| claim.is_active() && claim.node.is_none())
            .filter_map(|claim| claim.instance)
            .collect();
        for instance in booting {
            self.handle(cx, Event::Launched(instance));
        }
    }

    /// Observe, decide, apply, schedule.
    pub fn handle(&mut self, cx: &mut Cx, event: Event) {
        match event {
            Event::Launched(id) => {
                let instance = &cx.world.instances[id.index()];
                let waits = instance.claim.is_some_and(|claim| cx.world.claim(claim).node.is_none());
                let machine = instance.claim.and_then(|claim| cx.world.known_machine(cx.plan, claim));
                let known = machine.and_then(|machine| cx.plan.known_delays.boot[machine]);
                let span = known.unwrap_or_else(|| cx.delay(Stage::InstanceBoot, key(cx.world, instance)));
                if waits && span < Span::MAX {
                    cx.after(span, Any::Instance(Event::Booted(id)));
                }
            }
            Event::Booted(id) => booted(cx, id),
            Event::Notice(id) => {
                if let Some(at) = cx.world.instances[id.index()].interrupted {
                    cx.at(at + NOTICE, Any::Instance(Event::Reclaim(id)));
                }
            }
            Event::Reclaim(id) => cx.world.stop_instance(id),
            Event::ShuttingDown(id) => {
                let instance = &cx.world.instances[id.index()];
                let span = cx.delay(Stage::InstanceTermination, key(cx.world, instance));
                cx.after(span, Any::Instance(Event::Terminated(id)));
            }
            Event::Terminated(id) => cx.world.terminate_instance(id),
        }
    }
}

/// The key of an instance's random draws: its claim's, or its own number.
fn key(world: &World, instance: &Instance) -> u64 {
    instance.claim.map_or(1 << 63 | u64::from(instance.id.0), |claim| world.claim(claim).key())
}

fn booted(cx: &mut Cx, id: InstanceId) {
    let instance = &cx.world.instances[id.index()];
    let Some(claim) = instance.claim else { return };
    let entry = cx.world.claim(claim);
    if instance.state == InstanceState::Running && entry.gone.is_none() && entry.node.is_none() {
        let node = decide(cx, claim, instance);
        cx.world.create_node(node);
    }
}

/// The Node object that the kubelet creates.
fn decide(cx: &Cx, claim: ClaimId, instance: &Instance) -> NewNode {
    let claim = cx.world.claim(claim);
    let entry = cx.plan.instance_type(instance.instance_type);
    let mut labels = claim.labels.clone();
    labels.insert(HOSTNAME, claim.name.clone());
    labels.insert(NODE_POOL, cx.world.node_pools[claim.pool.index()].name.as_str());
    labels.insert_missing(ZONE, cx.plan.zones[instance.zone.index()].as_str());
    labels.insert_missing("topology.kubernetes.io/region", cx.plan.region.as_str());
    labels.insert_missing("kubernetes.io/os", "linux");
    let mut taints = claim.taints.clone();
    taints.extend(claim.startup_taints.iter().cloned());
    taints.push(unregistered_taint());
    taints.push(Taint::new("node.kubernetes.io/not-ready", TaintEffect::NoSchedule));
    NewNode {
        name: claim.name.clone(),
        labels,
        taints,
        allocatable: entry.allocatable.clone(),
        capacity: if cx.plan.flags.karpenter.capacity_is_requests {
            claim.requests.clone()
        } else {
            entry.capacity.clone()
        },
        claim: Some(claim.id),
        instance: Some(instance.id),
        zone: Some(instance.zone),
    }
}
