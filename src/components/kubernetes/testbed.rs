//! A cluster for tests of the scheduler, kubelets, endpoints and node lifecycle: only these components run, and every
//! application starts and stops in a given time.

use super::{endpoint_slice, kubelet, node_lifecycle, scheduler};
use crate::components::wiring::Wiring;
use crate::components::{Cx, Event};
use crate::engine::{Queue, Span, Time};
use crate::plan::{Plan, PodTemplate, Probe, ProbeHandler, TemplateId};
use crate::record::decision::{Attempt, Decision, Ended};
use crate::record::{Detail, Recorder};
use crate::rules::labels::Labels;
use crate::rules::quantity::{Bytes, Millicores};
use crate::rules::resources::Resources;
use crate::rules::taint::{TaintEffect, Toleration, TolerationOperator};
use crate::world::{Change, NewNode, NewPod, NodeId, Owner, PodId, Process, World};
use std::sync::Arc;

/// The cluster.
pub struct Testbed {
    plan: Plan,
    /// Everything that exists.
    pub world: World,
    queue: Queue<Event>,
    recorder: Recorder,
    wiring: Wiring,
    scheduler: scheduler::Scheduler,
    kubelet: kubelet::Kubelet,
    endpoint_slice: endpoint_slice::EndpointSlice,
    node_lifecycle: node_lifecycle::NodeLifecycle,
    /// From container start to answering, and from SIGTERM to the end.
    pub app: (Span, Span),
    due: Vec<(Time, PodId, Process)>,
    /// Everything that changed, in seconds from the start.
    pub log: Vec<(f64, Change)>,
    /// Events handled.
    pub events: usize,
}

/// The zero of all tests.
pub fn start() -> Time {
    Time::from_unix_seconds(1_000_000)
}

/// A plan with these templates.
pub fn plan(templates: Vec<PodTemplate>) -> Plan {
    let mut plan = Plan::empty(start(), Span::from_secs(3600));
    plan.templates = templates
        .into_iter()
        .map(|mut template| {
            template.requests = template.count();
            Arc::new(template)
        })
        .collect();
    plan
}

/// A template of one container, with the tolerations that admission adds.
pub fn template(cpu: i64) -> PodTemplate {
    let mut container = crate::plan::Container { name: "app".into(), ..Default::default() };
    container.requests.cpu = Some(Millicores(cpu));
    container.requests.memory = Some(Bytes(1 << 20));
    let toleration = |key: &str| Toleration {
        key: key.into(),
        operator: TolerationOperator::Exists,
        value: String::new(),
        effect: Some(TaintEffect::NoExecute),
        seconds: Some(300),
    };
    let tolerations = ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"].map(toleration).to_vec();
    PodTemplate { containers: vec![container], tolerations, ..PodTemplate::default() }
}

/// A probe with the API's defaults.
pub fn probe(period: u64) -> Probe {
    Probe {
        handler: ProbeHandler::Tcp,
        initial_delay: Span::ZERO,
        period: Span::from_secs(period),
        timeout: Span::from_secs(1),
        success_threshold: 1,
        failure_threshold: 3,
        termination_grace: None,
    }
}

/// Creates a pod without controller.
pub fn new_pod(world: &mut World, template: u32) -> PodId {
    let ordinal = world.pods.len() as u32 + 1;
    let owner = Owner::Bare;
    world.create_pod(NewPod { template: TemplateId(template), owner, ordinal, pinned: None, name: None })
}

/// A node with so much CPU and ten pods at most.
pub fn node(name: &str, cpu: i64, zone: &str) -> NewNode {
    let allocatable = Resources { pods: 10, ..Resources::cpu_memory(Millicores(cpu), Bytes(1 << 30)) };
    let labels = [("topology.kubernetes.io/zone", zone), ("kubernetes.io/hostname", name)];
    NewNode {
        name: name.into(),
        labels: Labels::from(labels.map(|(key, value)| (key.to_string(), value.to_string()))),
        taints: Vec::new(),
        capacity: allocatable.clone(),
        allocatable,
        claim: None,
        instance: None,
        zone: None,
    }
}

impl Testbed {
    /// A cluster of a plan with what `populate` puts into it before anything runs.
    pub fn new(plan: Plan, populate: impl FnOnce(&mut World)) -> Testbed {
        let mut world = World::new(&plan);
        world.now = plan.start.back(plan.initial_age);
        populate(&mut world);
        world.take_journal(&mut Vec::new());
        world.now = plan.start;
        let wiring = Wiring::new(&plan);
        let mut testbed = Testbed {
            world,
            queue: Queue::new(),
            recorder: Recorder::new(Detail::Explain),
            wiring,
            scheduler: Default::default(),
            kubelet: Default::default(),
            endpoint_slice: Default::default(),
            node_lifecycle: Default::default(),
            app: (Span::from_secs(2), Span::from_secs(1)),
            due: Vec::new(),
            log: Vec::new(),
            events: 0,
            plan,
        };
        testbed.dispatch(start(), None);
        testbed
    }

    /// Creates a pod without controller.
    pub fn pod(&mut self, template: u32) -> PodId {
        self.act(|world| new_pod(world, template))
    }

    /// Changes the world at the present instant.
    pub fn act<T>(&mut self, action: impl FnOnce(&mut World) -> T) -> T {
        let result = action(&mut self.world);
        self.settle();
        result
    }

    /// Runs until `seconds` after the start.
    pub fn run_to(&mut self, seconds: f64) {
        let until = start() + Span::from_seconds(seconds);
        self.queue.push(until, MARK);
        while let Some((now, event)) = self.queue.pop() {
            if event != MARK {
                self.events += 1;
                self.dispatch(now, Some(event));
                continue;
            }
            self.world.now = now;
            while let Some(index) = self.due.iter().position(|due| due.0 <= now) {
                let (_, pod, process) = self.due.remove(index);
                self.act(|world| world.set_process(pod, process));
            }
            if now >= until {
                return;
            }
        }
    }

    /// When a change happened first.
    pub fn when(&self, matches: impl Fn(&Change) -> bool) -> Option<f64> {
        self.log.iter().find(|(_, change)| matches(change)).map(|(at, _)| *at)
    }

    /// Hands an event to its component; `None`: all of them start.
    fn dispatch(&mut self, now: Time, event: Option<Event>) {
        self.world.now = now;
        if let Some(event) = event {
            self.wiring.delivered(&event);
        }
        let Testbed { plan, world, queue, recorder, .. } = self;
        let mut cx = Cx { now, plan, world, queue, recorder, random: None };
        match event {
            None => {
                self.scheduler.start(&mut cx);
                self.kubelet.start(&mut cx);
                self.endpoint_slice.start(&mut cx);
                self.node_lifecycle.start(&mut cx);
            }
            Some(Event::Scheduler(event)) => self.scheduler.handle(&mut cx, event),
            Some(Event::Kubelet(event)) => self.kubelet.handle(&mut cx, event),
            Some(Event::EndpointSlice(event)) => self.endpoint_slice.handle(&mut cx, event),
            Some(Event::NodeLifecycle(event)) => self.node_lifecycle.handle(&mut cx, event),
            Some(_) => {}
        }
        self.settle();
    }

    fn settle(&mut self) {
        let mut journal = Vec::new();
        self.world.take_journal(&mut journal);
        let now = self.world.now;
        for change in journal {
            self.log.push((now.seconds_from(start()), change));
            match change {
                Change::ContainerStarted(pod, _) => {
                    self.world.set_process(pod, Process::Starting);
                    self.due.retain(|due| due.1 != pod);
                    self.due.push((now + self.app.0, pod, Process::Answering));
                    self.queue.push(now + self.app.0, MARK);
                }
                Change::PodProcess(pod, Process::Stopping) => {
                    self.due.retain(|due| due.1 != pod);
                    self.due.push((now + self.app.1, pod, Process::Ended));
                    self.queue.push(now + self.app.1, MARK);
                }
                Change::PodProcess(pod, Process::Ended | Process::Vanished) => self.due.retain(|due| due.1 != pod),
                _ => {}
            }
            self.wiring.wake(change, now, (&self.plan, &self.world), None, &mut self.queue);
        }
        self.world.check_fast().unwrap();
    }

    /// Nodes that were there and Ready before the run.
    pub fn ready_node(world: &mut World, new: NewNode) -> NodeId {
        let node = world.create_node(new);
        world.set_node_readiness(node, crate::world::NodeReadiness::Ready);
        node
    }

    /// What the events of pods that found no node said, each with the pod's name.
    pub fn waiting_for(&self) -> Vec<String> {
        let said = |decision: &Decision| match decision {
            Decision::Scheduling(Attempt { pod, ended: Ended::Nowhere { says, .. }, .. }) => {
                Some(format!("{}: {says}", self.world.pod_name(*pod)))
            }
            _ => None,
        };
        self.recorder.decisions.iter().filter_map(|(_, decision)| said(decision)).collect()
    }
}

/// Something that no component hears of.
const MARK: Event = Event::Scheduler(scheduler::Event::PodAdded(PodId(u32::MAX)));
