//! AWS Load Balancer Controller: the TargetGroupBinding reconciler.
//!
//! ```text
//!  EndpointsChanged, pods, nodes ─► mirror: objects ─► api_server: watch ─► copies, queue
//!  controller ─► reconcile: resolutions, checkpoint, targets ─► calls ─(throttle, LoadBalancerReconcile)─► World: targets
//!                                                         └► gates ─► World::set_gate
//! ```
//!
//! The controller (`controller`, `reconcile`, `queue` and what they use) knows nothing of the world: it has its own
//! copies of objects, asks the load balancer through calls that are answered later, and patches objects. Here it meets
//! the world. Replays of recordings drive the same controller.
//!
//! Source: aws-load-balancer-controller 3.2 `controllers/elbv2/targetgroupbinding_controller.go`,
//! `pkg/targetgroupbinding/resource_manager.go`, `targets_manager.go`, `pkg/backend/endpoint_utils.go`,
//! `pkg/aws/throttle/defaults.go`; controller-runtime 0.23 `pkg/controller/priorityqueue`.
//!
//! Left out: security groups (their work succeeds), addresses outside the VPC, the full resync of ten hours; a registration of
//! an instance that still drains is a new one.

pub mod annotations;
pub mod api_server;
pub mod checkpoint;
pub mod controller;
pub mod copies;
pub mod gates;
mod hindrance;
mod mirror;
pub mod objects;
pub mod outside;
pub mod queue;
pub mod reconcile;
pub mod resolutions;
pub mod resolver;
mod skip;
pub mod targets;
#[cfg(test)]
mod tests;
pub mod text;
pub mod zones;

use crate::components::{self, Cx};
use crate::engine::{Purpose, Span, Time, TokenBucket};
use crate::plan::{BindingId, InForce, Plan, Program, ServiceId, Stage, TargetGroupBindingSpec};
use crate::world::{NodeId, PodId, PodSet, TargetReason, TargetState, World};
use api_server::ApiServer;
use controller::{Controller, earlier};
use hindrance::hinder;
use mirror::{Names, Registrations};
use objects::{Binding, BindingPatch, BindingSpec, GatePatch, Name, Object, Patched, Pod, Refused, Status};
use outside::{Action, AwsError, Call, EventReason, Note, Outside};
use resolver::Resolved;
use std::rc::Rc;
use targets::{Health, Known, Registration, Target};
use text::Text;

const FAILURE: Purpose = Purpose::named("load_balancer.failure");
const FAILURES: Purpose = Purpose::named("load_balancer.failures");
const JITTER: Purpose = Purpose::named("load_balancer.jitter");

/// Its memory.
#[derive(Default)]
pub struct TargetGroupController {
    controller: Controller,
    api: ApiServer,
    names: Names,
    bindings: Vec<BindingState>,
    /// Pods that were written.
    written: PodSet,
    /// Nodes that were registered while their Service had no pod: they have no place in the world until it has one.
    waiting_nodes: Vec<(BindingId, Registration)>,
    describes: TokenBucket,
    changes: TokenBucket,
    /// Its process is not there.
    down: bool,
    /// When it will be woken.
    wake: Option<Time>,
    /// When the next delivery comes or the controller has something to do, as far as is known.
    due: Option<Time>,
}

/// Of one binding.
#[derive(Clone, Debug)]
struct BindingState {
    name: Name,
    /// Reconciles begun: the key of their draws.
    number: u64,
    /// How long the calls of this reconcile have taken.
    spent: Span,
    /// No call of this reconcile was made yet.
    fresh: bool,
    /// Some target was registered or deregistered in this reconcile.
    changed: bool,
    /// The call that is on its way, its error, and when it is answered.
    call: Option<(Call, Option<AwsError>, Time)>,
}

/// Why it may be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// Endpoints of a Service with bindings changed.
    Endpoints(ServiceId),
    /// A pod changed.
    Pod(PodId),
    /// A node changed.
    Node(NodeId),
    /// A delivery or an entry of the queue may be due.
    Wake,
    /// A call for a binding is answered.
    Answer(BindingId),
    /// Its process ends, or loses the lease of the leader.
    Stopped,
    /// A process starts or becomes the leader.
    Started,
}

impl TargetGroupController {
    /// Bindings whose targets are as they should be have their checkpoint; the others are reconciled soon.
    pub fn start(&mut self, cx: &mut Cx) {
        for node in 0..cx.world.nodes.len() {
            self.write_node(cx, NodeId::at(node));
        }
        for service in (0..cx.plan.services.len()).map(ServiceId::at).filter(|&id| is_bound(cx.plan, id)) {
            self.write(cx, Object::Service(Rc::new(mirror::service(cx.plan, service))));
            self.write_endpoints(cx, service);
        }
        let mut due = Vec::new();
        for index in 0..cx.plan.bindings.len() {
            let spec = &cx.plan.bindings[index];
            let name = Name::new(spec.namespace.as_str(), spec.name.as_str());
            self.bindings.push(BindingState {
                name: name.clone(),
                number: 0,
                spent: Span::ZERO,
                fresh: true,
                changed: false,
                call: None,
            });
            let mut binding = Binding::new(name.clone(), spec_of(cx.plan, spec));
            binding.gate = self.names.word(&binding.gate);
            (binding.finalizer, binding.observed) = (true, Some(1));
            match self.steady(cx, &binding, spec) {
                Some(checkpoint) => binding.annotations.checkpoint = Some(checkpoint),
                None => due.push(name),
            }
            self.write(cx, Object::Binding(Rc::new(binding)));
        }
        self.controller = Controller::resume(cx.plan.flags.load_balancer.clone(), self.api.list(), cx.now);
        due.iter().for_each(|name| self.controller.add_at(name, cx.now + cx.plan.flags.load_balancer.start));
        self.settle(cx);
    }

    /// The checkpoint of a binding whose targets and gates are as they should be.
    fn steady(&mut self, cx: &Cx, binding: &Binding, spec: &TargetGroupBindingSpec) -> Option<Rc<str>> {
        let flags = &cx.plan.flags.load_balancer;
        let resolve = if spec.instance_targets { resolver::nodes } else { resolver::pods };
        let Resolved { wanted, potentially_ready } = resolve(self.api.stored(), binding, flags).ok()?;
        let mut keys: Vec<(&Text, u16)> = wanted.iter().map(resolver::Wanted::key).collect();
        keys.sort_by(|one, two| Text::order_with_ports(*one, *two));
        let gate = &binding.gate;
        let is_open = |pod: &Pod| {
            pod.has_gate(gate) && pod.condition(gate).is_none_or(|condition| condition.status != Status::True)
        };
        let open = wanted.iter().filter_map(resolver::Wanted::pod).any(|pod| is_open(pod));
        let registered = self.names.registrations(cx.world, spec.target_group);
        let registered = registered.targets().map(|target| (&target.id, target.port));
        let steady = !potentially_ready && !open && registered.eq(keys);
        steady.then(|| checkpoint::checkpoint(binding, &wanted))
    }

    /// Observe, decide, apply, schedule.
    pub fn handle(&mut self, cx: &mut Cx, event: Event) {
        match event {
            Event::Endpoints(service) => self.write_endpoints(cx, service),
            Event::Pod(pod) => self.write_pod(cx, pod),
            Event::Node(node) => self.write_node(cx, node),
            Event::Wake => self.wake = self.wake.filter(|&wake| wake > cx.now),
            Event::Answer(binding) => self.answer(cx, binding),
            Event::Stopped => self.stop(),
            Event::Started => {
                // It lists everything and reconciles every binding anew; what it remembered is gone.
                self.down = InForce::new(cx.plan, &cx.world.faults).is_down(Program::LoadBalancerController).is_some();
                if !self.down {
                    let flags = cx.plan.flags.load_balancer.clone();
                    self.controller = Controller::start(flags, self.api.list(), cx.now);
                }
            }
        }
        // Many changes of pods are of none that was written.
        let is_due = |due: Option<Time>| due.is_some_and(|due| due <= cx.now);
        let concerns = !matches!(event, Event::Pod(_)) || is_due(self.api.due()) || is_due(self.due);
        if !self.down && concerns {
            self.settle(cx);
        }
    }

    /// Calls on their way may have been heard; their answers are not.
    fn stop(&mut self) {
        self.down = true;
        self.controller = Controller::default();
        self.wake = None;
        self.bindings.iter_mut().for_each(|state| state.call = None);
    }

    /// Writes an object; its watch has taken its time already.
    fn write(&mut self, cx: &Cx, object: Object) {
        self.api.write(cx.now, Span::ZERO, object);
    }

    fn write_node(&mut self, cx: &Cx, id: NodeId) {
        let node = mirror::node(cx.world, &mut self.names, id);
        if cx.world.node(id).gone.is_some() {
            self.api.delete(cx.now, Span::ZERO, objects::Kind::Node, &node.name);
        } else {
            self.write(cx, Object::Node(Rc::new(node)));
        }
    }

    /// Writes a pod that is known: one that was an endpoint.
    fn write_pod(&mut self, cx: &Cx, id: PodId) {
        // Under a generated name no other pod can be stored.
        if !self.written.contains(id) && cx.world.pod(id).bare_name.is_none() {
            return;
        }
        let name = self.names.of_pod(cx.world, id);
        let Some(stored) = self.api.stored().pods.get(&name) else { return };
        if cx.world.pod(id).gone.is_some() {
            self.api.delete(cx.now, Span::ZERO, objects::Kind::Pod, &name);
            return;
        }
        // Nothing else of it changes; what was written about gates is in the stored object.
        let containers_ready = cx.world.pod(id).containers_ready.is_true();
        if stored.containers_ready != containers_ready {
            let pod = Pod { containers_ready, ..Pod::clone(stored) };
            self.write(cx, Object::Pod(Rc::new(pod)));
        }
    }

    fn write_endpoints(&mut self, cx: &mut Cx, service: ServiceId) {
        let endpoints = mirror::endpoints(cx.plan, cx.world, &mut self.names, service);
        while let Some(appeared) = self.names.next_appeared() {
            if cx.world.pod(appeared).gone.is_none() && self.written.insert(appeared) {
                let pod = mirror::pod(cx.world, &mut self.names, appeared);
                self.write(cx, Object::Pod(Rc::new(pod)));
            }
        }
        self.write(cx, Object::Endpoints(Rc::new(endpoints)));
        if self.waiting_nodes.is_empty() {
            return;
        }
        for (binding, registration) in std::mem::take(&mut self.waiting_nodes) {
            self.register(cx, binding, &registration);
        }
    }

    /// Delivers what has come, lets the controller work, makes its calls and asks to be woken.
    fn settle(&mut self, cx: &mut Cx) {
        loop {
            while let Some(delivery) = self.api.take(cx.now) {
                self.controller.deliver(delivery);
            }
            let TargetGroupController { controller, api, names, bindings, .. } = self;
            controller.run(cx.now, &mut Surroundings { cx, api, names, bindings });
            while let Some((name, call)) = self.controller.next_call() {
                self.call(cx, &name, call);
            }
            if self.api.due().is_none_or(|due| due > cx.now) {
                break;
            }
        }
        self.due = earlier(self.api.due(), self.controller.due());
        if let Some(due) = self.due.filter(|&due| self.wake.is_none_or(|wake| due < wake)) {
            self.wake = Some(due);
            cx.at(due, components::Event::TargetGroup(Event::Wake));
        }
    }

    /// A call begins: it waits for the client's throttle and takes its time.
    fn call(&mut self, cx: &mut Cx, name: &Name, call: Call) {
        let Some(index) = self.bindings.iter().position(|state| state.name == *name) else { return };
        let flags = &cx.plan.flags.load_balancer;
        let state = &mut self.bindings[index];
        let key = (index as u64) << 32 | state.number;
        let whole = cx.delay(Stage::LoadBalancerReconcile, key);
        let part = Span::from_micros(whole.micros() * flags.call_share.0 / flags.call_share.1.max(1));
        let (bucket, rate, takes) = match call.action {
            Action::Describe(_) => (&mut self.describes, flags.describe_rate, part),
            Action::Register(_) | Action::Deregister(_) if state.changed => {
                (&mut self.changes, flags.register_rate, part)
            }
            Action::Register(_) | Action::Deregister(_) => {
                state.changed = true;
                (&mut self.changes, flags.register_rate, whole.saturating_sub(state.spent))
            }
        };
        let fails =
            std::mem::take(&mut state.fresh) && cx.random.is_some() && cx.chance(FAILURE, key, flags.failure_chance);
        let mut error = fails.then(AwsError::throttled);
        if fails {
            // Such failures come in a row: this is one of them.
            let failures = u32::try_from(cx.pick(FAILURES, key, 18)).unwrap_or(0);
            self.controller.set_failures(name, failures);
        }
        state.spent += takes;
        let hindrance = hinder(cx, &call, key ^ cx.now.micros() << 20);
        let explained = || {
            let told = hindrance.words();
            format!("TargetGroupBinding {}/{}: {}{told}", name.namespace, name.name, call.action)
        };
        cx.explain(explained);
        error = hindrance.error.or(error);
        let due = cx.now + (bucket.reserve(cx.now, rate.0, rate.1) - cx.now) + takes + hindrance.delay;
        state.call = Some((call, error, due));
        cx.at(due, components::Event::TargetGroup(Event::Answer(BindingId::at(index))));
    }

    /// A call takes effect and is answered.
    fn answer(&mut self, cx: &mut Cx, id: BindingId) {
        // The answer to a process that is gone is nobody's.
        let call = self.bindings[id.index()].call.take_if(|(_, _, due)| *due <= cx.now);
        let Some((call, error, _)) = call else { return };
        let answer = error.map_or_else(|| Ok(self.perform(cx, id, &call)), Err);
        let name = self.bindings[id.index()].name.clone();
        let TargetGroupController { controller, api, names, bindings, .. } = self;
        controller.answer(cx.now, &name, answer, &mut Surroundings { cx, api, names, bindings });
    }

    fn perform(&mut self, cx: &mut Cx, id: BindingId, call: &Call) -> Vec<Known> {
        let present = self.names.registrations(cx.world, cx.plan.bindings[id.index()].target_group);
        match &call.action {
            Action::Describe(asked) => self.describe(cx.world, id, &present, asked.as_deref()),
            Action::Register(registrations) => {
                for registration in registrations.iter() {
                    let target = present.get(&registration.target).map(|target| &cx.world.targets[target.index()]);
                    // An address that drains cannot be registered again before that is over; the call itself succeeds (ELB user
                    // guide, "Deregistration delay"; recorded reconciles go on asking).
                    let drains = target.is_some_and(|target| target.deregistered.is_some());
                    if target.is_none_or(|target| drains && target.node.is_some()) {
                        self.register(cx, id, registration);
                    } else if drains {
                        let target = registration.target.key();
                        cx.explain(|| format!("target {target} is not registered anew: it drains"));
                    }
                }
                Vec::new()
            }
            Action::Deregister(targets) => {
                self.waiting_nodes.retain(|(binding, node)| *binding != id || !targets.contains(&node.target));
                for target in targets.iter().filter_map(|target| present.get(target)) {
                    if cx.world.targets[target.index()].deregistered.is_none() {
                        cx.world.set_target_state(
                            target,
                            TargetState::Draining,
                            TargetReason::DeregistrationInProgress,
                        );
                    }
                }
                Vec::new()
            }
        }
    }

    fn describe(
        &mut self,
        world: &World,
        id: BindingId,
        present: &Registrations,
        asked: Option<&Vec<Target>>,
    ) -> Vec<Known> {
        let TargetGroupController { names, waiting_nodes, .. } = self;
        let waiting = || waiting_nodes.iter().filter(|(binding, _)| *binding == id).map(|(_, node)| &node.target);
        let registering =
            |target: &Target| Known { target: target.clone(), health: Some(Health::registering().into()) };
        let Some(asked) = asked else {
            let registered = present.iter().map(|(target, id)| names.known(world, target, id));
            return registered.chain(waiting().map(registering)).collect();
        };
        let describe = |target: &Target| match present.get(target) {
            Some(id) => names.known(world, target, id),
            None if waiting().any(|node| node == target) => registering(target),
            None => mirror::unknown(target.clone()),
        };
        asked.iter().map(describe).collect()
    }

    fn register(&mut self, cx: &mut Cx, id: BindingId, registration: &Registration) {
        let (spec, port) = (&cx.plan.bindings[id.index()], registration.target.port);
        if spec.instance_targets {
            let Some(node) = self.names.node(&registration.behind.name) else { return };
            match pod_behind(cx.plan, cx.world, spec, node) {
                Some(pod) => {
                    cx.world.register_node_target(spec.target_group, node, pod, port);
                }
                None => self.waiting_nodes.push((id, registration.clone())),
            }
        } else if let Some(pod) = self.names.pod(&registration.behind) {
            // The address is the endpoint's, also when the pod has gone meanwhile.
            if let Some(address) = cx.world.pod(pod).address {
                cx.world.register_target(spec.target_group, pod, address, port);
            }
        }
    }
}

/// The nodes that an instance binding has registered when a run begins, each with a pod behind it and the port.
pub fn initial_nodes(plan: &Plan, world: &World, spec: &TargetGroupBindingSpec) -> Vec<(NodeId, PodId, u16)> {
    let (mut objects, mut names) = (objects::Objects::default(), Names::default());
    for node in world.nodes.iter().filter(|node| node.gone.is_none()) {
        objects.put(Object::Node(Rc::new(mirror::node(world, &mut names, node.id))));
    }
    for service in (0..plan.services.len()).map(ServiceId::at) {
        objects.put(Object::Service(Rc::new(mirror::service(plan, service))));
    }
    let binding = Binding::new(Name::new(spec.namespace.as_str(), spec.name.as_str()), spec_of(plan, spec));
    let Ok(resolved) = resolver::nodes(&objects, &binding, &plan.flags.load_balancer) else { return Vec::new() };
    let place = |want: &resolver::Wanted| {
        let node = names.node(&want.behind.name().name)?;
        Some((node, pod_behind(plan, world, spec, node)?, want.port))
    };
    resolved.wanted.iter().filter_map(place).collect()
}

/// Some binding refers to a Service.
fn is_bound(plan: &Plan, id: ServiceId) -> bool {
    let service = &plan.services[id.index()];
    let refers = |binding: &TargetGroupBindingSpec| {
        binding.namespace == service.namespace && binding.service_name == service.name
    };
    plan.bindings.iter().any(refers)
}

/// A binding's spec; bindings of one target group name it alike. It stays as it is: no text tells it from an earlier one.
fn spec_of(plan: &Plan, spec: &TargetGroupBindingSpec) -> BindingSpec {
    let group = plan.target_groups[spec.target_group.index()].name.as_str();
    BindingSpec { target_group: group.into(), ..BindingSpec::of(spec, "") }
}

/// A pod of the Service that a node passes requests on to: one on it, or any.
fn pod_behind(plan: &Plan, world: &World, spec: &TargetGroupBindingSpec, node: NodeId) -> Option<PodId> {
    let of =
        |service: &crate::plan::ServiceSpec| service.namespace == spec.namespace && service.name == spec.service_name;
    let service = plan.services.iter().position(|service| of(service))?;
    let endpoints = &world.endpoints[service];
    let here = endpoints.iter().find(|endpoint| endpoint.node == Some(node)).or(endpoints.first());
    let selector = plan.services[service].selector.as_ref();
    let selected = |pod: &&crate::world::Pod| {
        let template = world.template_of(pod.id);
        template.namespace == spec.namespace && selector.is_some_and(|selector| selector.matches(&template.labels))
    };
    here.map(|endpoint| endpoint.pod).or_else(|| world.pods.iter().find(selected).map(|pod| pod.id))
}

/// What the controller meets in a run.
struct Surroundings<'s, 'c> {
    cx: &'s mut Cx<'c>,
    api: &'s mut ApiServer,
    names: &'s Names,
    bindings: &'s mut Vec<BindingState>,
}

impl Surroundings<'_, '_> {
    fn index(&self, name: &Name) -> usize {
        self.bindings.iter().position(|state| state.name == *name).unwrap_or(0)
    }

    /// The watch delay of what is written in the present reconcile of a binding.
    fn hop(&self, name: &Name) -> Span {
        let index = self.index(name);
        self.cx.delay(Stage::ApiHop, 3 << 60 | (index as u64) << 32 | self.bindings[index].number)
    }
}

impl Outside for Surroundings<'_, '_> {
    fn patch_binding(&mut self, name: &Name, patch: &BindingPatch) -> Result<Patched<Binding>, Refused> {
        self.api.patch_binding(self.cx.now, self.hop(name), name, patch)
    }

    fn patch_pod(&mut self, name: &Name, patch: &GatePatch) -> Result<Patched<Pod>, Refused> {
        let id = self.names.pod(name).ok_or(Refused::NotFound)?;
        if self.cx.world.pod(id).gone.is_some() {
            return Err(Refused::NotFound);
        }
        let hop = self.cx.delay(Stage::ApiHop, self.cx.world.pod(id).key());
        let patched = self.api.patch_pod(self.cx.now, hop, name, patch)?;
        let gates = &self.cx.world.template_of(id).readiness_gates;
        let gate = gates.iter().position(|gate| **gate == *patch.kind);
        let status = patched.object.condition(&patch.kind).map(|condition| condition.status);
        if let Some((gate, status)) = gate.zip(status) {
            self.cx.world.set_gate(id, gate, status == Status::True);
        }
        Ok(patched)
    }

    fn networking_succeeds(&mut self) -> bool {
        true
    }

    fn is_in_vpc(&self, _address: &str) -> Option<bool> {
        Some(true)
    }

    fn deferral_jitter(&mut self, name: &Name, max: Span) -> Span {
        self.cx.phase(JITTER, self.index(name) as u64, max)
    }

    fn note(&mut self, name: &Name, note: Note) {
        match note {
            Note::Start => {
                let index = self.index(name);
                let state = &mut self.bindings[index];
                state.number += 1;
                (state.spent, state.fresh, state.changed) = (Span::ZERO, true, false);
            }
            Note::Event(reason) if reason != EventReason::SuccessfullyReconciled => {
                self.cx.explain(|| format!("TargetGroupBinding {}/{}: {}", name.namespace, name.name, reason.name()));
            }
            Note::Event(_)
            | Note::Finalizer(_)
            | Note::Gate { .. }
            | Note::Checkpoint { .. }
            | Note::Status { .. }
            | Note::Skip
            | Note::Done(_) => {}
        }
    }
}
