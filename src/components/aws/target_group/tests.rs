//! The controller alone, on objects and answers that a test gives it.

use super::annotations::Annotations;
use super::api_server::ApiServer;
use super::controller::Controller;
use super::objects::*;
use super::outside::{Action, Call, Note, Outcome, Outside};
use super::targets::Known;
use crate::engine::{Span, Time};
use crate::plan::flags::LoadBalancerFlags;
use std::rc::Rc;

const START: Time = Time::from_unix_seconds(1_000_000);
const GATE: &str = "target-health.elbv2.k8s.aws/web";

fn at(millis: u64) -> Time {
    START + Span::from_millis(millis)
}

/// A namespace with a Service of one slice, its pods, and bindings of one target group each.
struct Bench {
    now: Time,
    api: ApiServer,
    controller: Controller,
    notes: Vec<(Name, Note)>,
}

impl Outside for Bench {
    fn patch_binding(&mut self, name: &Name, patch: &BindingPatch) -> Result<Patched<Binding>, Refused> {
        self.api.patch_binding(self.now, Span::from_millis(2), name, patch)
    }

    fn patch_pod(&mut self, name: &Name, patch: &GatePatch) -> Result<Patched<Pod>, Refused> {
        self.api.patch_pod(self.now, Span::from_millis(2), name, patch)
    }

    fn networking_succeeds(&mut self) -> bool {
        true
    }

    fn is_in_vpc(&self, _address: &str) -> Option<bool> {
        Some(true)
    }

    fn deferral_jitter(&mut self, _name: &Name, _max: Span) -> Span {
        Span::ZERO
    }

    fn note(&mut self, name: &Name, note: Note) {
        self.notes.push((name.clone(), note));
    }
}

fn name(name: &str) -> Name {
    Name::new("shop", name)
}

/// A gated pod on a node that is Ready.
fn pod(containers_ready: bool) -> Pod {
    Pod {
        name: name("web-0"),
        uid: "1".into(),
        created: START,
        node: "n1".into(),
        gates: vec![GATE.into()],
        containers_ready,
        conditions: Vec::new(),
        other: "".into(),
    }
}

impl Bench {
    fn new(flags: LoadBalancerFlags, bindings: &[&str], containers_ready: bool) -> Bench {
        let mut bench =
            Bench { now: START, api: ApiServer::default(), controller: Controller::default(), notes: vec![] };
        let nothing = Rc::<str>::from("");
        let port = ServicePort { name: nothing.clone(), port: 80, node_port: 0, other: nothing.clone() };
        let endpoint = Endpoint {
            address: Some("10.0.0.1".into()),
            ready: Some(false),
            terminating: false,
            pod: Some(name("web-0")),
        };
        bench.write(Object::Service(Rc::new(Service {
            name: name("web"),
            has_node_ports: false,
            ports: vec![port],
            other: nothing.clone(),
        })));
        bench.write(Object::Endpoints(Rc::new(Endpoints {
            kind: Kind::EndpointSlice,
            name: name("web-1"),
            service: Some("web".into()),
            is_ipv4: true,
            sets: vec![EndpointSet {
                ports: [(nothing.clone(), 8080)].into(),
                endpoints: vec![Rc::new(endpoint)],
                other: nothing.clone(),
            }],
            other: nothing.clone(),
        })));
        bench.write(Object::Node(Rc::new(Node {
            name: Name::new("", "n1"),
            labels: Default::default(),
            taints: Vec::new(),
            ready: Some(Status::True),
            provider_id: "aws:///a/i-1".into(),
            created: START,
            other: nothing,
        })));
        bench.write(Object::Pod(Rc::new(pod(containers_ready))));
        for binding in bindings {
            let spec = BindingSpec {
                text: (*binding).into(),
                target_group: (*binding).into(),
                target_type: Some(TargetType::Ip),
                service: "web".into(),
                port: PortReference::Number(80),
                node_selector: None,
            };
            bench.write(Object::Binding(Rc::new(Binding::new(name(binding), spec))));
        }
        bench.controller = Controller::start(flags, bench.api.list(), START);
        bench
    }

    fn write(&mut self, object: Object) {
        self.api.write(self.now, Span::ZERO, object);
    }

    /// Everything up to `until`; the calls that are made then.
    fn run(&mut self, until: Time) -> Vec<(Name, Call)> {
        let mut calls = Vec::new();
        loop {
            let due = [self.api.due(), self.controller.due()].into_iter().flatten().min();
            self.now = due.map_or(until, |due| due.min(until)).max(self.now);
            while let Some(delivery) = self.api.take(self.now) {
                self.controller.deliver(delivery);
            }
            self.with(|controller, now, bench| controller.run(now, bench));
            calls.extend(std::iter::from_fn(|| self.controller.next_call()));
            if self.now == until && self.api.due().is_none_or(|due| due > until) {
                return calls;
            }
        }
    }

    fn with(&mut self, act: impl FnOnce(&mut Controller, Time, &mut Bench)) {
        let mut controller = std::mem::take(&mut self.controller);
        act(&mut controller, self.now, self);
        self.controller = controller;
    }

    fn answer(&mut self, binding: &str, known: Vec<Known>) {
        self.with(|controller, now, bench| controller.answer(now, &name(binding), Ok(known), bench));
    }

    fn outcomes(&self) -> Vec<Outcome> {
        let outcome = |(_, note): &(Name, Note)| if let Note::Done(outcome) = note { Some(*outcome) } else { None };
        self.notes.iter().filter_map(outcome).collect()
    }
}

fn actions(calls: &[(Name, Call)]) -> Vec<&'static str> {
    let action = |call: &Call| match call.action {
        Action::Describe(_) => "describe",
        Action::Register(_) => "register",
        Action::Deregister(_) => "deregister",
    };
    calls.iter().map(|(_, call)| action(call)).collect()
}

#[test]
fn up_to_3_3_containers_that_become_ready_are_seen_at_the_retry() {
    let mut bench = Bench::new(LoadBalancerFlags::default(), &["web"], false);
    assert_eq!(actions(&bench.run(at(1000))), ["describe"]);
    bench.answer("web", Vec::new());
    assert_eq!(bench.outcomes(), [Outcome::Requeue(Span::from_secs(15))], "potentially ready");
    bench.run(at(2000));
    bench.write(Object::Pod(Rc::new(pod(true))));
    assert_eq!(actions(&bench.run(at(15_000))), [""; 0], "pods wake nothing");
    assert_eq!(actions(&bench.run(at(17_000))), ["register"]);
}

#[test]
fn from_3_4_on_pods_wake_the_binding_and_nothing_is_potentially_ready() {
    let flags = LoadBalancerFlags { watches_pods: true, ..LoadBalancerFlags::default() };
    let mut bench = Bench::new(flags, &["web"], false);
    bench.run(at(1000));
    bench.answer("web", Vec::new());
    assert_eq!(bench.outcomes(), [Outcome::Ok]);
    bench.run(at(2000));
    bench.write(Object::Pod(Rc::new(pod(true))));
    assert_eq!(actions(&bench.run(at(2000))), ["register"], "at once");
    bench.answer("web", Vec::new());
    // The gate is written and not True: the pod's own event finds the same checkpoint and does not skip.
    assert_eq!(actions(&bench.run(at(2010))), ["describe"]);
}

#[test]
fn a_finalizer_that_meets_another_version_is_tried_again_on_the_newer_copy() {
    let mut bench = Bench::new(LoadBalancerFlags::default(), &["web"], true);
    bench.now = at(999);
    let stored = bench.api.stored().bindings[&name("web")].clone();
    let mut annotations = Annotations::default();
    annotations.insert("example.com/x".into(), "1".into());
    // Written a millisecond before the reconcile, seen 4 ms later.
    let other = Object::Binding(Rc::new(Binding { annotations, ..(*stored).clone() }));
    bench.api.write(bench.now, Span::from_millis(5), other);
    assert_eq!(actions(&bench.run(at(1009))), [""; 0]);
    assert_eq!(actions(&bench.run(at(1010))), ["describe"], "10 ms later");
    assert!(bench.notes.contains(&(name("web"), Note::Finalizer(true))));
}

#[test]
fn descriptions_wait_for_one_another() {
    let mut bench = Bench::new(LoadBalancerFlags::default(), &["api", "web"], true);
    let calls = bench.run(at(1000));
    assert_eq!(calls.len(), 1, "one lock for all bindings");
    bench.run(at(1100));
    bench.answer("api", Vec::new());
    let calls = bench.run(at(1100));
    assert_eq!(actions(&calls), ["register", "describe"], "the first goes on, the second begins");
}

#[test]
fn more_targets_than_the_limit_is_a_panic_upstream() {
    let flags = LoadBalancerFlags { max_targets: 1, ..LoadBalancerFlags::default() };
    let mut bench = Bench::new(flags, &["web"], true);
    bench.run(at(1000));
    let target = |id: &str| super::targets::Target { id: id.into(), port: 8080 };
    let health = super::targets::Health { state: "draining".into(), reason: "".into(), text: "".into() };
    let draining = |id| Known { target: target(id), health: Some(health.clone().into()) };
    bench.answer("web", vec![draining("10.0.0.8"), draining("10.0.0.9")]);
    assert_eq!(bench.outcomes(), [Outcome::Panic]);
}
