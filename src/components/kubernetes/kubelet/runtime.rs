//! What a sync does to containers: sandbox, pulls, starts, kills, and the end of a deleted pod.
//!
//! Source: `pkg/kubelet/kuberuntime/kuberuntime_{manager,container}.go`, `images/`.

use super::probing::of_run;
use super::relists::Run;
use super::{
    Deed, Event, Note, PodWorker, Pulls, Reason, Shared, Step, Sync, event, missing_image, nth_container, prober,
};
use crate::components::Cx;
use crate::engine::{Purpose, Span, Time};
use crate::plan::{ImageId, InForce, Stage};
use crate::world::{ContainerStatus, NodeId, PodId, Process, World};

/// A container gets at least this long between SIGTERM and SIGKILL. Source: `minimumGracePeriodInSeconds`.
const GRACE_MIN: Span = Span::from_secs(2);
/// A sandbox that could not be made is tried again after this. Source: `backOffPeriod`.
const SANDBOX_RETRY: Span = Span::from_secs(10);

impl PodWorker {
    /// Carries out steps until one takes time or the sync is over.
    pub(super) fn next_step(&mut self, cx: &mut Cx, shared: &mut Shared) {
        while self.sync == Sync::Running && self.due == Time::MAX {
            let Some(step) = self.steps.pop_front() else { return self.end_sync(cx) };
            match step {
                Step::Volumes if cx.world.has_its_volumes(self.pod) => {}
                Step::Volumes => {
                    self.step = Some(Step::Volumes);
                    return;
                }
                Step::Sandbox => {
                    // The runtime has it from the beginning on; its address comes with its network.
                    self.sandbox = true;
                    let span = cx.delay(Stage::PodSandbox, cx.world.pod(self.pod).key());
                    self.take(cx, Step::Sandbox, span);
                }
                Step::Start(container) if !self.start(cx, shared, container) => return,
                Step::Kill(container, reason) => self.kill(cx, shared, container, reason),
                // Parts of those.
                Step::Start(_) | Step::Pull(_) | Step::Create(_) | Step::Stop(_) | Step::PreStop => {}
                Step::Stopping | Step::Terminate | Step::Removing => {}
            }
            if self.due == cx.now {
                self.finish_step(cx, shared);
            }
        }
    }

    /// The network plugin finds no address for a pod that needs one.
    fn lacks_address(&self, cx: &Cx) -> bool {
        cx.world.pod(self.pod).address.is_none()
            && !cx.world.template_of(self.pod).host_network
            && (self.subnet_is_full(cx) || interfaces_are_full(cx, self.node))
    }

    fn subnet_is_full(&self, cx: &Cx) -> bool {
        InForce::new(cx.plan, &cx.world.faults).lacks_addresses(cx.world.node(self.node).zone)
    }

    /// A step takes so long.
    fn take(&mut self, cx: &mut Cx, step: Step, span: Span) {
        self.step = Some(step);
        self.due = cx.now + span;
        if !span.is_zero() {
            cx.at(self.due, event(Event::Step(self.pod)));
        }
    }

    /// The step's time is over.
    pub(super) fn step_over(&mut self, cx: &mut Cx, shared: &mut Shared) {
        self.finish_step(cx, shared);
        self.next_step(cx, shared);
    }

    fn finish_step(&mut self, cx: &mut Cx, shared: &mut Shared) {
        self.due = Time::MAX;
        let Some(step) = self.step.take() else { return };
        match step {
            Step::Sandbox if self.lacks_address(cx) => {
                // The sync fails and comes again: the pod worker's back-off of 10 s (`pkg/kubelet/kubelet.go`).
                let (pod, node) = (self.pod, self.node);
                let who = if self.subnet_is_full(cx) { "its subnet has" } else { "its interfaces have" };
                let Cx { recorder, world, now, .. } = cx;
                recorder.explain(*now, || {
                    let (pod, node) = (world.pod_name(pod), &world.node(node).name);
                    format!("pod {pod}: FailedCreatePodSandBox on {node}: {who} no address left")
                });
                cx.world.note_sandbox_failed(pod);
                self.take(cx, Step::Sandbox, SANDBOX_RETRY);
            }
            Step::Sandbox => {
                if cx.world.pod(self.pod).address.is_none() {
                    cx.world.assign_address(self.pod);
                }
            }
            Step::Create(container) => self.started(cx, shared, container),
            Step::Stop(container) => self.exited(cx, shared, container),
            Step::PreStop => self.send_sigterm(cx, shared),
            Step::Stopping => {
                cx.world.set_process(self.pod, Process::Ended);
                self.stopped(cx, shared);
            }
            Step::Removing => {
                cx.world.remove_pod(self.pod);
                self.gone = true;
            }
            Step::Volumes | Step::Start(_) | Step::Pull(_) | Step::Kill(..) | Step::Terminate => {}
        }
    }

    /// Starts a container that does not run, when its back-off is over and its image there; false: that has to be waited for.
    fn start(&mut self, cx: &mut Cx, shared: &mut Shared, container: usize) -> bool {
        if let Some(run) = self.runs[container] {
            let Some(exited) = run.exited else { return true };
            let until = exited + self.kept[container].wait;
            if until > cx.now {
                cx.at(until, event(Event::Sync(self.pod)));
                return true;
            }
        }
        let template = cx.world.template_of(self.pod).clone();
        if let Some(image) = missing_image(cx, self.node, nth_container(&template, container)) {
            self.step = Some(Step::Pull(container));
            shared.pulls_of(self.node).want(image);
            shared.start_pulls(cx, self.node);
            if shared.pulls_of(self.node).is_running(image) {
                self.note_pulling(cx);
            }
            return false;
        }
        self.create(cx, container);
        true
    }

    fn create(&mut self, cx: &mut Cx, container: usize) {
        let number = self.next_run(cx, container);
        let span = match &self.kept[container].rehearsal {
            Some(script) => of_run(&script.create, number).copied().unwrap_or(Span::ZERO),
            None => {
                let run = u64::from(number) << 8 | container as u64;
                let key = cx.world.pod(self.pod).key().wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(run);
                cx.delay(Stage::ContainerStart, key)
            }
        };
        self.take(cx, Step::Create(container), span);
    }

    fn next_run(&self, cx: &Cx, container: usize) -> u32 {
        self.runs[container].map_or(cx.world.pod(self.pod).containers[container].restarts, |run| run.number + 1)
    }

    fn started(&mut self, cx: &mut Cx, shared: &mut Shared, container: usize) {
        let number = self.next_run(cx, container);
        let run = Run { number, started: cx.now, exited: None };
        self.runs[container] = Some(run);
        let template = cx.world.template_of(self.pod).clone();
        let status = cx.world.pod(self.pod).containers[container];
        let status = ContainerStatus { running_since: Some(cx.now), restarts: number, ..status };
        cx.world.set_container(self.pod, container, status);
        if let Some(init) = template.init_containers.get(container) {
            // Init containers take no time; sidecars count as started.
            let done = if init.restartable {
                ContainerStatus { started: true, ready: true, ..status }
            } else {
                self.runs[container] = Some(Run { exited: Some(cx.now), ..run });
                ContainerStatus { running_since: None, ready: true, ..status }
            };
            return cx.world.set_container(self.pod, container, done);
        }
        self.note(cx, shared, container, Deed::Start);
        let lives =
            self.kept[container].rehearsal.as_ref().and_then(|script| script.exits.get(number as usize)).copied();
        self.kept[container].exits = Time::MAX;
        if let Some(span) = lives.filter(|span| !span.is_zero()) {
            self.exit_later(cx, container, cx.now + span);
        }
    }

    fn exit_later(&mut self, cx: &mut Cx, container: usize, at: Time) {
        if at < self.kept[container].exits {
            self.kept[container].exits = at;
            cx.at(at, event(Event::Exit(self.pod)));
        }
    }

    /// Rehearsed containers whose time has come exit.
    pub(super) fn rehearsed_exit(&mut self, cx: &mut Cx, shared: &mut Shared) {
        for container in 0..self.runs.len() {
            if self.kept[container].exits == cx.now {
                self.exited(cx, shared, container);
            }
        }
        if self.step == Some(Step::Terminate) && !self.runs_anything() {
            self.terminated(cx);
        }
    }

    fn runs_anything(&self) -> bool {
        self.runs.iter().flatten().any(|run| run.exited.is_none())
    }

    fn note(&self, cx: &Cx, shared: &mut Shared, container: usize, deed: Deed) {
        if self.kept[container].rehearsal.is_some() {
            let run = self.runs[container].map_or(0, |run| run.number);
            shared.notes.push(Note { at: cx.now, pod: self.pod, container, run, deed });
        }
    }

    /// A container that runs exits.
    fn exited(&mut self, cx: &mut Cx, shared: &mut Shared, container: usize) {
        let Some(run) = self.runs[container].filter(|run| run.exited.is_none()) else { return };
        self.runs[container] = Some(Run { exited: Some(cx.now), ..run });
        self.kept[container].exits = Time::MAX;
        let status = cx.world.pod(self.pod).containers[container];
        cx.world.set_container(self.pod, container, ContainerStatus { running_since: None, ..status });
        self.kept[container].wait = match &self.kept[container].rehearsal {
            Some(script) => of_run(&script.waits, run.number).copied().unwrap_or(Span::ZERO),
            None => self.back_off(cx, container, run),
        };
        self.note(cx, shared, container, Deed::Exit);
        self.abort_attempts(cx, shared, container, run.number);
    }

    /// The back-off after a run; it is forgotten after twice its maximum.
    fn back_off(&mut self, cx: &Cx, container: usize, run: Run) -> Span {
        let flags = &cx.plan.flags.kubelet;
        let crashes = &mut self.kept[container].crashes;
        if cx.now.since(run.started) > flags.restart_backoff_max * 2 {
            *crashes = 0;
        }
        *crashes += 1;
        prober::restart_backoff(flags.restart_backoff_initial, flags.restart_backoff_max, *crashes - 1)
    }

    /// All containers of the application exit, and sidecars of a pod that ends.
    fn exit_all(&mut self, cx: &mut Cx, shared: &mut Shared) {
        let first = cx.world.template_of(self.pod).init_containers.len();
        self.exit_from(cx, shared, if self.terminating || self.deleting { 0 } else { first });
    }

    /// Containers exit from this one on.
    pub(super) fn exit_from(&mut self, cx: &mut Cx, shared: &mut Shared, first: usize) {
        for container in first..self.runs.len() {
            self.exited(cx, shared, container);
        }
    }

    fn kill(&mut self, cx: &mut Cx, shared: &mut Shared, container: usize, reason: Reason) {
        if self.runs[container].is_none_or(|run| run.exited.is_some()) {
            return;
        }
        self.note(cx, shared, container, Deed::Kill(reason));
        if let Some(script) = &self.kept[container].rehearsal {
            return self.take(cx, Step::Stop(container), script.stop);
        }
        let template = cx.world.template_of(self.pod).clone();
        let spec = nth_container(&template, container);
        let probe = if reason == Reason::Startup { &spec.startup } else { &spec.liveness };
        let grace = probe.as_ref().and_then(|probe| probe.termination_grace).unwrap_or(template.termination_grace);
        self.stop(cx, shared, grace, spec.pre_stop.unwrap_or(Span::ZERO));
    }

    /// preStop, then SIGTERM, within the grace period.
    fn stop(&mut self, cx: &mut Cx, shared: &mut Shared, grace: Span, pre_stop: Span) {
        self.kill_at = cx.now + grace;
        if pre_stop.is_zero() {
            self.send_sigterm(cx, shared);
        } else {
            self.take(cx, Step::PreStop, pre_stop.min(grace));
        }
    }

    fn send_sigterm(&mut self, cx: &mut Cx, shared: &mut Shared) {
        match cx.world.pod(self.pod).process {
            Process::Absent | Process::Ended | Process::Vanished => self.stopped(cx, shared),
            Process::Starting | Process::Answering | Process::Stopping => {
                cx.world.set_process(self.pod, Process::Stopping);
                let rest = self.kill_at.since(cx.now).max(GRACE_MIN);
                self.take(cx, Step::Stopping, rest);
            }
        }
    }

    /// The application has ended.
    fn stopped(&mut self, cx: &mut Cx, shared: &mut Shared) {
        self.step = None;
        self.due = Time::MAX;
        self.exit_all(cx, shared);
        if self.terminating {
            self.terminated(cx);
        }
    }

    /// What the application does changed.
    pub(super) fn process_changed(&mut self, cx: &mut Cx, shared: &mut Shared) {
        if cx.world.pod(self.pod).process != Process::Ended {
            return;
        }
        match self.step {
            Some(Step::PreStop | Step::Stopping) => {
                self.stopped(cx, shared);
                self.next_step(cx, shared);
            }
            _ if !self.terminating => self.exit_all(cx, shared),
            _ => {}
        }
    }

    /// Deletion was asked for, or its grace period was shortened.
    pub(super) fn delete(&mut self, cx: &mut Cx, shared: &mut Shared) {
        let stopping = matches!(self.step, Some(Step::PreStop | Step::Stopping));
        if stopping {
            // Killed for its liveness already, or deleted before: no later than this.
            self.shorten(cx);
        }
        if std::mem::replace(&mut self.deleting, true) {
            return;
        }
        self.network = false;
        if matches!(self.step, Some(Step::Pull(_) | Step::Volumes)) {
            self.steps.clear();
            self.end_sync(cx);
        }
        self.requests += 1;
        self.settle(cx, shared);
    }

    fn shorten(&mut self, cx: &mut Cx) {
        let grace = cx.world.pod(self.pod).grace;
        let end = cx.now + grace;
        self.kill_at = self.kill_at.min(end);
        if let Some(step) = self.step.filter(|_| self.due > end) {
            self.take(cx, step, grace);
        }
    }

    /// The last sync of a deleted pod: readiness is probed for as long as its containers run.
    pub(super) fn begin_termination(&mut self, cx: &mut Cx, shared: &mut Shared) {
        self.terminating = true;
        if self.began {
            self.publish(cx, shared);
        }
        self.workers.iter_mut().filter(|worker| worker.kind != prober::Kind::Readiness).for_each(prober::Worker::stop);
        if !self.runs_anything() {
            return self.terminated(cx);
        }
        if self.kept.iter().any(|kept| kept.rehearsal.is_some()) {
            self.step = Some(Step::Terminate);
            for container in 0..self.runs.len() {
                if self.runs[container].is_some_and(|run| run.exited.is_none()) {
                    self.note(cx, shared, container, Deed::Kill(Reason::Deleted));
                    let stop = self.kept[container].rehearsal.as_ref().map_or(Span::ZERO, |script| script.stop);
                    self.exit_later(cx, container, cx.now + stop);
                }
            }
            return;
        }
        let template = cx.world.template_of(self.pod).clone();
        let pre_stop = template.containers.iter().filter_map(|container| container.pre_stop).max();
        let grace = cx.world.pod(self.pod).grace;
        self.stop(cx, shared, grace, pre_stop.unwrap_or(Span::ZERO));
    }

    /// All containers are gone: the object follows.
    fn terminated(&mut self, cx: &mut Cx) {
        self.workers.iter_mut().for_each(prober::Worker::stop);
        self.steps.clear();
        let hop = cx.delay(Stage::ApiHop, cx.world.pod(self.pod).key());
        self.step = Some(Step::Removing);
        self.due = cx.now + hop;
        cx.at(self.due, event(Event::Step(self.pod)));
    }

    /// A volume came to the node; perhaps the last that the pod waits for.
    pub(super) fn volumes_came(&mut self, cx: &mut Cx, shared: &mut Shared) {
        if self.step == Some(Step::Volumes) && cx.world.has_its_volumes(self.pod) {
            self.step = None;
            self.next_step(cx, shared);
        }
    }

    /// The image that the pod waits for.
    pub(super) fn image(&self, world: &World) -> Option<ImageId> {
        match self.step {
            Some(Step::Pull(container)) => nth_container(world.template_of(self.pod), container).image_id,
            _ => None,
        }
    }

    /// Its image was pulled.
    pub(super) fn image_is_there(&mut self, cx: &mut Cx, shared: &mut Shared) {
        let Some(Step::Pull(container)) = self.step else { return };
        let template = cx.world.template_of(self.pod).clone();
        let containers = template.init_containers.iter().chain(&template.containers);
        if containers.skip(container).all(|entry| missing_image(cx, self.node, entry).is_none()) {
            self.pulling = false;
            cx.world.note_pull(self.pod, true);
        }
        self.step = None;
        self.create(cx, container);
        if self.due == cx.now {
            self.step_over(cx, shared);
        }
    }

    /// Its pull began.
    pub(super) fn note_pulling(&mut self, cx: &mut Cx) {
        if !std::mem::replace(&mut self.pulling, true) {
            cx.world.note_pull(self.pod, false);
        }
    }
}

/// The interfaces of a node whose kubelet takes more pods than they have addresses for are used up.
fn interfaces_are_full(cx: &Cx, node: NodeId) -> bool {
    let entry = cx.world.node(node);
    let flags = &cx.plan.flags.karpenter;
    let Some(instance) = entry.instance.map(|id| &cx.world.instances[id.index()]) else { return false };
    let kind = cx.plan.instance_type(instance.instance_type);
    if entry.allocatable.pods <= kind.interface_pods(flags.reserved_enis) {
        return false;
    }
    let has_address = |pod: &&PodId| {
        let pod = cx.world.pod(**pod);
        pod.address.is_some() && !cx.world.template_of(pod.id).host_network
    };
    let used = entry.pods.iter().filter(has_address).count() as i64;
    used >= kind.addresses(flags.reserved_enis, flags.prefix_delegation)
}

impl Shared {
    /// Pulls of a node.
    pub(super) fn pulls_of(&mut self, node: NodeId) -> &mut Pulls {
        if self.pulls.len() <= node.index() {
            self.pulls.resize(node.index() + 1, Pulls::default());
        }
        &mut self.pulls[node.index()]
    }

    /// Begins the pulls that may begin.
    pub(super) fn start_pulls(&mut self, cx: &mut Cx, node: NodeId) {
        while let Some(image) = self.pulls_of(node).next(&cx.plan.flags.kubelet) {
            let key = cx.world.node_key(node).wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(u64::from(image.0));
            let own = cx.plan.images.get(image.index()).and_then(|spec| spec.pull.as_ref());
            let span = match (own, cx.random) {
                (Some(pull), Some(random)) => pull.draw(random, Purpose::named("image.pull"), key),
                (Some(pull), None) => pull.median(),
                (None, _) => cx.delay(Stage::ImagePull, key),
            };
            let span = match InForce::new(cx.plan, &cx.world.faults).pull_factor() {
                1.0 => span,
                factor => Span::from_seconds(span.seconds() * factor),
            };
            self.pulls_of(node).begin(image, cx.now + span);
            if span < Span::MAX {
                cx.after(span, event(Event::Pulled(node)));
            }
        }
    }
}
