//! Existing nodes, and machines on their way, as a pass fills them.
//!
//! Source: core `provisioning/scheduling/existingnode.go`.

use super::claims::fits;
use super::memo::Memo;
use super::packing::{Refusal, Work};
use super::pools::{self, Daemon};
use super::preferences::{self, HostPort, Wishes};
use super::topology::Topology;
use super::volumes::{self, Attached};
use crate::components::karpenter::cluster::{StateNode, tolerates_all};
use crate::engine::Time;
use crate::plan::PodTemplate;
use crate::rules::requirements::{HOSTNAME, Requirement, Requirements};
use crate::rules::resources::Resources;
use crate::world::{ClaimId, Owner, PodId, World};
use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A node with room for pods.
pub struct Existing<'a> {
    /// As it is.
    pub state: &'a StateNode<'a>,
    world: &'a World,
    memo: &'a Memo,
    /// Templates whose rules count in the pass.
    concerned: &'a [Arc<PodTemplate>],
    /// Its labels, of those that a pod of the pass asks for, and what its new pods added; made when the first pod looks.
    requirements: OnceCell<Requirements>,
    /// The last wishes that its labels meet and that change nothing about them.
    said: Option<Arc<Wishes>>,
    free: Resources,
    /// Ports that are taken; found out for the first pod that wants any.
    ports: OnceCell<Vec<HostPort>>,
    /// Volumes that it can attach, if it says so, and those that it has.
    limits: Option<&'a BTreeMap<String, usize>>,
    attached: Attached,
    /// New pods.
    pub pods: Vec<PodId>,
}

/// A node with what daemons that are still to come will take. `concerned`: templates whose rules count in the pass.
pub fn node<'a>(
    world: &'a World,
    state: &'a StateNode<'a>,
    daemons: &[Daemon],
    (memo, concerned): (&'a Memo, &'a [Arc<PodTemplate>]),
) -> Existing<'a> {
    let limits = state.node.and_then(|id| world.volumes.attach_limits.get(&*world.node(id).name));
    let mut attached = Attached::new();
    for &pod in state.pods.iter().filter(|&&pod| limits.is_some() && !world.pod(pod).is_finished()) {
        attach(&mut attached, volumes::attached(&world.volumes, world.template_of(pod)).as_ref());
    }
    let free = room(world, state, daemons);
    let (requirements, ports, pods) = (OnceCell::new(), OnceCell::new(), Vec::new());
    let said = None;
    Existing { state, world, memo, concerned, requirements, said, free, ports, limits, attached, pods }
}

/// What is free on a machine for others than its daemons.
pub fn room(world: &World, state: &StateNode, daemons: &[Daemon]) -> Resources {
    let mut free = state.free.clone();
    if let Some(expected) = expected(world, state, daemons) {
        free -= &expected;
    }
    free
}

/// What daemons that are still to come will take; `None`: nothing.
fn expected(world: &World, state: &StateNode, daemons: &[Daemon]) -> Option<Resources> {
    let daemon_pod = |pod: PodId| matches!(world.pod(pod).owner, Owner::DaemonSet(_)) && !world.pod(pod).is_finished();
    // Where a pod of each daemon is, as a rule, no more is to come.
    let is_there = |daemon: &Daemon| {
        let mut pods = state.pods.iter();
        pods.any(|&pod| daemon_pod(pod) && Arc::ptr_eq(world.template_of(pod), &daemon.template))
    };
    if daemons.iter().all(is_there) {
        return None;
    }
    let mut expected = Resources::default();
    for daemon in daemons.iter().filter(|daemon| daemon.runs_on(state)) {
        expected += &daemon.template.requests;
    }
    for &pod in state.pods.iter().filter(|&&pod| daemon_pod(pod)) {
        expected -= &world.template_of(pod).requests;
    }
    Some(Resources::default().max(&expected))
}

/// Its `consolidateAfter` has passed since the last pod event: it may take the pods of a consolidation. The pools that are
/// asked are those that nodes are created of, so nodes of static, deleted or not ready ones always may. Source: core
/// `scheduling/scheduler.go` (`NewScheduler`), `pkg/utils/disruption/disruption.go` (`IsUnderConsolidateAfter`).
pub fn is_settled(world: &World, claim: Option<ClaimId>, now: Time) -> bool {
    let Some(claim) = claim.map(|id| world.claim(id)) else { return true };
    let spec = &world.node_pools[claim.pool.index()];
    let is_asked = pools::is_eligible(spec) && !spec.v1beta1;
    let (Some(after), Some(initialized), true) = (spec.consolidate_after, claim.initialized, is_asked) else {
        return true;
    };
    now >= claim.last_pod_event.unwrap_or_else(|| initialized.whole_second()) + after
}

impl Existing<'_> {
    /// Its labels, of those that a pod of the pass asks for, and what its new pods added.
    pub fn requirements(&self) -> &Requirements {
        self.requirements.get_or_init(|| {
            let keys = self.memo.keys(&self.world.volumes, self.concerned);
            let made = || {
                let mut requirements = Requirements::of_some_labels(self.state.labels, &*keys);
                requirements.replace(HOSTNAME, Requirement::any_of([self.state.host_name()]));
                requirements
            };
            self.memo.labels(self.world, self.state, &keys, made)
        })
    }

    fn ports(&self) -> &Vec<HostPort> {
        let world = self.world;
        let running = || self.state.pods.iter().filter(|&&pod| !world.pod(pod).is_finished());
        self.ports.get_or_init(|| running().flat_map(|&pod| preferences::host_ports(world.template_of(pod))).collect())
    }

    /// What its labels become with one more pod, after a look at taints, host ports, what is free, labels, topology; `None`:
    /// they stay as they are.
    ///
    /// # Errors
    /// Why it does not take it.
    pub fn takes(&self, topology: &Topology, pod: &Work) -> Result<Option<Requirements>, Refusal> {
        let wishes = &*pod.wishes;
        if !fits(&wishes.template.requests, &self.free) {
            return Err(Refusal::Resources);
        }
        if !tolerates_all(&wishes.template, &self.state.taints) {
            return Err(Refusal::Taint);
        }
        let Some(attached) = &wishes.attached else { return Err(Refusal::Volume) };
        if self.limits.is_some_and(|limits| volumes::exceeds(limits, &self.attached, attached)) {
            return Err(Refusal::Volume);
        }
        if !wishes.ports.is_empty() && preferences::any_clash(&wishes.ports, self.ports()) {
            return Err(Refusal::HostPort);
        }
        // Mostly a look at the labels tells that they stay as they are.
        let is_said = || {
            let before = self.said.as_ref().is_some_and(|said| Arc::ptr_eq(said, &pod.wishes));
            before || wishes.requirements.are_said_by(self.state.labels)
        };
        if topology.is_free() && wishes.volumes.is_empty() && is_said() {
            debug_assert!(self.would_stay(wishes), "wishes that the labels meet would change them");
            return Ok(None);
        }
        if !self.requirements().compatible(&wishes.requirements, false) {
            return Err(Refusal::Requirements);
        }
        let mut base = self.requirements().clone();
        base.add_all(&wishes.requirements);
        if wishes.volumes.is_empty() {
            return takes_base(topology, pod, base).map(Some);
        }
        let mut last = Refusal::Volume;
        for alternative in wishes.volumes.iter().filter(|alternative| base.compatible(alternative, false)) {
            let mut requirements = base.clone();
            requirements.add_all(alternative);
            match takes_base(topology, pod, requirements) {
                Ok(requirements) => return Ok(Some(requirements)),
                Err(refusal) => last = refusal,
            }
        }
        Err(last)
    }

    /// Its requirements would take these wishes, and stay as they are.
    fn would_stay(&self, wishes: &Wishes) -> bool {
        let mut base = self.requirements().clone();
        base.add_all(&wishes.requirements);
        self.requirements().compatible(&wishes.requirements, false) && base == *self.requirements()
    }

    /// The pod is on it.
    pub fn add(&mut self, pod: &Work, requirements: Option<Requirements>) {
        self.free -= &pod.wishes.template.requests;
        if !pod.wishes.ports.is_empty() {
            self.ports();
            self.ports.get_mut().into_iter().for_each(|ports| ports.extend(pod.wishes.ports.iter().cloned()));
        }
        attach(&mut self.attached, pod.wishes.attached.as_ref());
        self.pods.push(pod.id);
        match requirements {
            Some(requirements) => self.requirements = OnceCell::from(requirements),
            None if self.said.as_ref().is_some_and(|said| Arc::ptr_eq(said, &pod.wishes)) => {}
            None => self.said = Some(pod.wishes.clone()),
        }
    }
}

/// What topology makes of a node that would take the pod.
fn takes_base(topology: &Topology, pod: &Work, mut requirements: Requirements) -> Result<Requirements, Refusal> {
    if topology.is_free() {
        return Ok(requirements);
    }
    let demands = topology.demands(pod.subject(), &requirements);
    let demands = demands.filter(|demands| requirements.compatible(demands, false)).ok_or(Refusal::Topology)?;
    requirements.add_all(&demands);
    Ok(requirements)
}

fn attach(all: &mut Attached, more: Option<&Attached>) {
    for (driver, claims) in more.into_iter().flatten() {
        all.entry(driver.clone()).or_default().extend(claims.iter().cloned());
    }
}
