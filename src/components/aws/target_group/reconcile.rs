//! One reconcile of a binding, as a chain of steps: each ends where something must be waited for.
//!
//! ```text
//!  finalizer ─► resolve ─► checkpoint equal? skip : list targets ─► deregister, then register, in chunks
//!            ─► readiness gates ─► anything not healthy? again in 15 s : checkpoint, status, event
//! ```
//!
//! Everything is read from the controller's own copies. The copy of the binding is replaced by the answer to each patch
//! of it. An error ends the reconcile; chunks done before it count.
//!
//! Source: aws-load-balancer-controller 3.2 `controllers/elbv2/targetgroupbinding_controller.go`,
//! `pkg/targetgroupbinding/resource_manager.go`, `pkg/k8s/finalizer.go`. Left out: targets of several clusters, assumed
//! roles, QUIC, how security groups come about.

use super::checkpoint::{self, Deferred};
use super::gates;
use super::objects::{Binding, BindingPatch, Name, Objects, Pod, ReadyCondition, Refused, Status, TargetType};
use super::outside::{Action, Answer, AwsError, Call, EventReason, Note, Outcome, Outside};
use super::resolutions::Resolutions;
use super::resolver::{Unresolved, Wanted};
use super::skip::{has_gate_to_flip, is_done, skip};
use super::targets::{Health, Known, Question, Registration, Target, TargetCache, sort_by_key};
use super::text::Text;
use super::zones::Zones;
use crate::engine::{Span, Time};
use crate::plan::flags::LoadBalancerFlags;
use std::collections::VecDeque;
use std::rc::Rc;

/// Within so many places the next target is mostly found.
const NEAR: usize = 4;

/// One lock for all bindings while targets are described. Source: `targetsCacheMutex`.
#[derive(Clone, Debug, Default)]
pub struct Lock {
    holder: Option<Name>,
    waiting: VecDeque<Name>,
}

impl Lock {
    fn take(&mut self, name: &Name) -> bool {
        if !self.is_free(name) {
            return false;
        }
        self.holder = Some(name.clone());
        true
    }

    fn is_free(&mut self, name: &Name) -> bool {
        let free = self.holder.is_none();
        if !free {
            self.waiting.push_back(name.clone());
        }
        free
    }

    /// The next that waits for the lock, once it is free.
    pub fn hand_over(&mut self) -> Option<Name> {
        if self.holder.is_none() { self.waiting.pop_front() } else { None }
    }
}

/// What a reconcile works with.
pub struct Work<'w> {
    /// The present instant.
    pub now: Time,
    /// Flags.
    pub flags: &'w LoadBalancerFlags,
    /// The controller's copies.
    pub copies: &'w Objects,
    /// What it remembers of targets.
    pub targets: &'w mut TargetCache,
    /// Reconciles that are deferred.
    pub deferred: &'w mut Deferred,
    /// What was resolved of those.
    pub resolutions: &'w mut Resolutions,
    /// What it remembers of zones.
    pub zones: &'w mut Zones,
    /// The lock for descriptions.
    pub lock: &'w mut Lock,
    /// Everything else.
    pub outside: &'w mut dyn Outside,
}

/// What comes next.
#[derive(Clone, Debug, PartialEq)]
pub enum Next {
    /// The answer to a call that is made now.
    Call(Call),
    /// The answer to a call that was made before.
    Answer,
    /// The lock.
    Lock,
    /// So much time.
    Sleep(Span),
    /// The end.
    End(Outcome),
}

/// What a reconcile is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Goal {
    /// Targets as they should be.
    Targets,
    /// No targets: the backend is missing.
    BackendMissing,
    /// No targets: the binding is being deleted.
    Deletion,
}

/// What is waited for.
#[derive(Clone, Debug)]
enum Step {
    AddFinalizer,
    /// The lock, to list targets.
    List,
    Describe(Question),
    Deregister(Rc<Vec<Target>>),
    /// Deregistered; the lock keeps it from being remembered.
    Deregistered(Rc<Vec<Target>>),
    Register(Rc<Vec<Registration>>),
    Registered(Rc<Vec<Registration>>),
    RemoveFinalizer,
}

/// A reconcile in progress.
#[derive(Clone, Debug)]
pub struct Reconcile {
    binding: Rc<Binding>,
    goal: Goal,
    step: Step,
    /// Conflicts so far.
    conflicts: usize,
    before: Rc<str>,
    after: Rc<str>,
    /// In the order of targets, each once; until it is matched with what is registered.
    wanted: Option<Rc<Vec<Wanted>>>,
    potentially_ready: bool,
    networking_failed: bool,
    /// Pods with a gate and the health of their targets, in the order in which their gates are written.
    gated: Vec<(Rc<Pod>, Option<Rc<Health>>)>,
    /// What is left to deregister.
    deregister: Vec<Target>,
    coming: Vec<Wanted>,
    /// All targets that were listed.
    listed: usize,
    /// What is left to register.
    register: Vec<Registration>,
    with_zones: bool,
}

impl Reconcile {
    /// Begins the reconcile of a binding.
    pub fn begin(name: &Name, work: &mut Work) -> (Option<Box<Reconcile>>, Next) {
        work.outside.note(name, Note::Start);
        let copies = work.copies;
        let Some(binding) = copies.bindings.get(name) else { return (None, Next::End(Outcome::Ok)) };
        if is_done(binding, work) {
            skip(name, work);
            return (None, Next::End(Outcome::Ok));
        }
        let binding = binding.clone();
        let checkpoint = binding.checkpoint();
        let mut reconcile = Box::new(Reconcile {
            goal: if binding.deleting { Goal::Deletion } else { Goal::Targets },
            binding,
            step: Step::AddFinalizer,
            conflicts: 0,
            before: checkpoint.clone(),
            after: checkpoint,
            wanted: None,
            potentially_ready: false,
            networking_failed: false,
            gated: Vec::new(),
            deregister: Vec::new(),
            coming: Vec::new(),
            listed: 0,
            register: Vec::new(),
            with_zones: false,
        });
        let next = match reconcile.goal {
            Goal::Deletion if !reconcile.binding.finalizer => Next::End(Outcome::Ok),
            Goal::Deletion => reconcile.list(work),
            // Mostly it is there.
            Goal::Targets | Goal::BackendMissing if reconcile.binding.finalizer => reconcile.resolve(work),
            Goal::Targets | Goal::BackendMissing => reconcile.add_finalizer(work),
        };
        (Some(reconcile), next)
    }

    /// The time, or the lock, that was waited for has come.
    pub fn resume(&mut self, work: &mut Work) -> Next {
        match std::mem::replace(&mut self.step, Step::List) {
            Step::AddFinalizer => self.add_finalizer(work),
            Step::RemoveFinalizer => self.remove_finalizer(work),
            Step::List => self.list(work),
            Step::Deregistered(targets) => self.deregistered(work, targets),
            Step::Registered(targets) => self.registered(work, targets),
            called @ (Step::Describe(_) | Step::Deregister(_) | Step::Register(_)) => {
                self.step = called;
                Next::Answer
            }
        }
    }

    /// A call is answered.
    pub fn answered(&mut self, work: &mut Work, answer: Answer) -> Next {
        match (std::mem::replace(&mut self.step, Step::List), answer) {
            (Step::Describe(question), answer) => self.described(work, &question, answer),
            (Step::Deregister(targets), Ok(_)) => self.deregistered(work, targets),
            (Step::Register(targets), Ok(_)) => self.registered(work, targets),
            (Step::Deregister(_), Err(error)) if self.is_cleanup() && error.means_gone() => self.clean_gates(work),
            (Step::Register(_), Err(error)) if error.wants_zones() && !self.with_zones => {
                work.zones.need(&self.binding.name, work.now, work.flags.zone_memory);
                self.with_zones = true;
                self.register_all(work)
            }
            (Step::Deregister(_) | Step::Register(_), Err(error)) => self.fail(work, &message(&error)),
            (uncalled, _) => {
                self.step = uncalled;
                self.resume(work)
            }
        }
    }

    fn is_cleanup(&self) -> bool {
        self.goal != Goal::Targets
    }

    fn event(&self, work: &mut Work, reason: EventReason) {
        work.outside.note(&self.binding.name, Note::Event(reason));
    }

    /// The reconcile fails.
    fn fail(&mut self, work: &mut Work, message: &str) -> Next {
        match self.goal {
            Goal::Targets | Goal::BackendMissing => self.event(work, EventReason::FailedReconcile),
            Goal::Deletion => self.cleanup_failed(work, message),
        }
        Next::End(Outcome::Error)
    }

    fn add_finalizer(&mut self, work: &mut Work) -> Next {
        self.step = Step::AddFinalizer;
        let result = self.patch_finalizer(work, true);
        match result {
            Ok(()) => self.resolve(work),
            Err(Refused::Conflict) if self.conflicts < work.flags.conflict_pauses.len() => self.pause(work),
            Err(_) => {
                self.event(work, EventReason::FailedAddFinalizer);
                Next::End(Outcome::Error)
            }
        }
    }

    fn remove_finalizer(&mut self, work: &mut Work) -> Next {
        self.step = Step::RemoveFinalizer;
        match self.patch_finalizer(work, false) {
            Ok(()) => Next::End(Outcome::Ok),
            Err(Refused::Conflict) if self.conflicts < work.flags.conflict_pauses.len() => self.pause(work),
            Err(_) => {
                self.event(work, EventReason::FailedRemoveFinalizer);
                Next::End(Outcome::Error)
            }
        }
    }

    fn pause(&mut self, work: &Work) -> Next {
        self.conflicts += 1;
        Next::Sleep(work.flags.conflict_pauses[self.conflicts - 1])
    }

    /// Adds or takes away the finalizer, on the newest copy and under its version.
    fn patch_finalizer(&mut self, work: &mut Work, wanted: bool) -> Result<(), Refused> {
        self.binding = work.copies.bindings.get(&self.binding.name).cloned().ok_or(Refused::NotFound)?;
        if self.binding.finalizer != wanted {
            let version = Some(self.binding.version);
            let patch = BindingPatch { version, finalizer: Some(wanted), ..BindingPatch::default() };
            self.binding = work.outside.patch_binding(&self.binding.name, &patch)?.object;
            work.outside.note(&self.binding.name, Note::Finalizer(wanted));
        }
        Ok(())
    }

    /// Finds out what should be registered, and whether that is anything new.
    fn resolve(&mut self, work: &mut Work) -> Next {
        self.before = self.binding.checkpoint();
        let resolved = match work.resolutions.resolve(work.copies, &self.binding, work.flags) {
            Ok(resolved) => resolved,
            Err(Unresolved::NotFound) => {
                self.event(work, EventReason::BackendNotFound);
                self.goal = Goal::BackendMissing;
                self.after = "".into();
                return self.list(work);
            }
            Err(Unresolved::Failed(message)) => return self.fail(work, &message),
        };
        self.after = resolved.checkpoint;
        self.potentially_ready = resolved.potentially_ready;
        let pods = resolved.wanted.iter().filter_map(Wanted::pod);
        if self.before == self.after
            && !self.potentially_ready
            && !has_gate_to_flip(pods, &self.binding.gate, work.flags)
        {
            skip(&self.binding.name, work);
            return Next::End(Outcome::Ok);
        }
        self.wanted = Some(resolved.wanted);
        self.list(work)
    }

    fn list(&mut self, work: &mut Work) -> Next {
        self.step = Step::List;
        if !work.lock.take(&self.binding.name) {
            return Next::Lock;
        }
        let group = self.binding.spec.target_group.clone();
        let question = work.targets.question(&group, work.now);
        let asked = match &question {
            Question::Nothing => return self.described(work, &question, Ok(Vec::new())),
            Question::All => None,
            Question::Some(targets) => Some(targets.clone()),
        };
        self.step = Step::Describe(question);
        Next::Call(Call { group, action: Action::Describe(asked) })
    }

    fn described(&mut self, work: &mut Work, question: &Question, answer: Answer) -> Next {
        work.lock.holder = None;
        let group = self.binding.spec.target_group.clone();
        match answer {
            Ok(answer) => {
                let targets = work.targets.answered(&group, question, answer, work.now, work.flags.cache);
                self.listed = targets.len();
                let leaving = if self.is_cleanup() {
                    targets.iter().map(|known| known.target.clone()).collect()
                } else {
                    self.match_targets(&targets)
                };
                self.listed(work, leaving)
            }
            Err(error) if self.is_cleanup() && error.means_gone() => self.clean_gates(work),
            Err(error) => self.fail(work, &message(&error)),
        }
    }

    /// The targets are known, and which of them have to leave: the others become what is wanted.
    fn listed(&mut self, work: &mut Work, leaving: Vec<Target>) -> Next {
        if self.is_cleanup() {
            self.deregister = leaving;
            return self.deregister_next(work);
        }
        if !work.outside.networking_succeeds() {
            if self.binding.spec.target_type == Some(TargetType::Instance) {
                return self.fail(work, "security groups");
            }
            self.event(work, EventReason::FailedNetworkReconcile);
            self.networking_failed = true;
        }
        let gate = &self.binding.gate;
        let is_pending =
            |(pod, health): &(Rc<Pod>, Option<Rc<Health>>)| gates::status(pod, gate, health.as_deref()) != Status::True;
        let changes = !leaving.is_empty() || !self.coming.is_empty() || self.networking_failed;
        if (changes || self.potentially_ready || self.gated.iter().any(is_pending))
            && self.save(work, "".into()).is_err()
        {
            return self.fail(work, "checkpoint");
        }
        self.deregister = leaving;
        self.deregister_next(work)
    }

    /// Matches what is wanted with what is registered: pods whose gates count, targets that are missing; those too many are
    /// returned. All in the order of the targets; of several alike the last counts.
    fn match_targets(&mut self, targets: &[Known]) -> Vec<Target> {
        let wanted = self.wanted.take().unwrap_or_default();
        let (mut present, mut leaving, mut next) = (vec![None; wanted.len()], Vec::new(), 0);
        for known in targets.iter().filter(|known| !known.is_draining()) {
            let order = |want: &Wanted| Text::order_with_ports(want.key(), (&known.target.id, known.target.port));
            // Most targets are listed in their order, but for those that became healthy lately.
            let is_same = |want: &Wanted| want.port == known.target.port && want.id.is_shared_with(&known.target.id);
            let near = wanted[next..].iter().take(NEAR).position(is_same);
            match near.map_or_else(|| wanted.binary_search_by(order), |passed| Ok(next + passed)) {
                Ok(place) => {
                    present[place] = Some(known);
                    next = place + 1;
                }
                Err(_) => leaving.push(known.target.clone()),
            }
        }
        // Mostly all are there, and pods without gates.
        let concerned = wanted.iter().zip(present).filter(|(want, known)| want.is_gated || known.is_none());
        for (want, known) in concerned {
            match known {
                Some(known) => self.gated.extend(want.gated_pod().map(|pod| (pod.clone(), known.health.clone()))),
                None => self.coming.push(want.clone()),
            }
        }
        sort_by_key(&mut leaving, |target| (&target.id, target.port));
        leaving
    }

    /// Saves a checkpoint, if it is another than the one that was read at the beginning.
    fn save(&mut self, work: &mut Work, value: Rc<str>) -> Result<(), Refused> {
        if value == self.before {
            return Ok(());
        }
        let patch = checkpoint::save(&self.binding, &value, work.now);
        let patched = work.outside.patch_binding(&self.binding.name, &patch)?;
        self.binding = patched.object;
        let note = Note::Checkpoint { value, changed: patched.changed, deferred: false };
        work.outside.note(&self.binding.name, note);
        Ok(())
    }

    fn deregister_next(&mut self, work: &mut Work) -> Next {
        if let Some(targets) = next_chunk(&mut self.deregister, work.flags.chunk) {
            let group = self.binding.spec.target_group.clone();
            self.step = Step::Deregister(targets.clone());
            return Next::Call(Call { group, action: Action::Deregister(targets) });
        }
        match self.goal {
            Goal::Targets => self.register(work),
            Goal::BackendMissing | Goal::Deletion => self.clean_gates(work),
        }
    }

    fn deregistered(&mut self, work: &mut Work, targets: Rc<Vec<Target>>) -> Next {
        if !work.lock.is_free(&self.binding.name) {
            self.step = Step::Deregistered(targets);
            return Next::Lock;
        }
        work.targets.deregistered(&self.binding.spec.target_group, &targets, work.now);
        self.deregister_next(work)
    }

    /// Registers what is missing, within the limit of targets.
    fn register(&mut self, work: &mut Work) -> Next {
        if self.coming.is_empty() {
            return self.write_gates(work);
        }
        let max = work.flags.max_targets as usize;
        if max > 0 && self.coming.len() + self.listed > max {
            // More targets than the limit: upstream cuts a slice at a negative index.
            let Some(room) = max.checked_sub(self.listed) else { return Next::End(Outcome::Panic) };
            self.coming.truncate(room);
        }
        let is_ip = self.binding.spec.target_type == Some(TargetType::Ip);
        // Instances have no zone to be named: a refusal is final.
        self.with_zones = !is_ip || work.zones.are_needed(&self.binding.name, work.now);
        self.register_all(work)
    }

    fn register_all(&mut self, work: &mut Work) -> Next {
        let mut registrations = Vec::with_capacity(self.coming.len());
        for want in &self.coming {
            let target = Target { id: want.id.clone(), port: want.port };
            match work.zone(want, self.with_zones) {
                Ok(zone) => registrations.push(Registration { target, zone, behind: want.behind.name().clone() }),
                Err(message) => return self.fail(work, message),
            }
        }
        self.register = registrations;
        self.register_next(work)
    }

    fn register_next(&mut self, work: &mut Work) -> Next {
        let Some(targets) = next_chunk(&mut self.register, work.flags.chunk) else { return self.write_gates(work) };
        let group = self.binding.spec.target_group.clone();
        self.step = Step::Register(targets.clone());
        Next::Call(Call { group, action: Action::Register(targets) })
    }

    fn registered(&mut self, work: &mut Work, targets: Rc<Vec<Registration>>) -> Next {
        if !work.lock.is_free(&self.binding.name) {
            self.step = Step::Registered(targets);
            return Next::Lock;
        }
        work.targets.registered(&self.binding.spec.target_group, &targets, work.now);
        self.register_next(work)
    }

    /// Writes the gates of all pods that have one and count, and ends: again later, or done.
    fn write_gates(&mut self, work: &mut Work) -> Next {
        let coming = std::mem::take(&mut self.coming);
        let mut coming = coming.iter().filter_map(Wanted::gated_pod).peekable();
        if coming.peek().is_some() {
            let health = Rc::new(Health::registering());
            let coming: Vec<_> = coming.map(|pod| (pod.clone(), Some(health.clone()))).collect();
            self.gated.extend(coming);
        }
        let mut pending = false;
        for (pod, health) in std::mem::take(&mut self.gated) {
            match self.write_gate(work, &pod, health.as_deref()) {
                Ok(healthy) => pending |= !healthy,
                Err(_) => return self.fail(work, "pod"),
            }
        }
        if pending || self.potentially_ready || self.networking_failed {
            return Next::End(Outcome::Requeue(work.flags.requeue));
        }
        self.succeed(work)
    }

    /// Writes the gate of a pod; whether nothing more is to be expected of it.
    fn write_gate(&self, work: &mut Work, pod: &Pod, health: Option<&Health>) -> Result<bool, Refused> {
        let gate = &self.binding.gate;
        let done = gates::status(pod, gate, health) == Status::True;
        if !pod.has_gate(gate) {
            return Ok(true);
        }
        let Some(patch) = gates::patch(pod, gate, health, work.now) else { return Ok(done) };
        let patched = match work.outside.patch_pod(&pod.name, &patch) {
            Err(Refused::NotFound) => return Ok(true),
            patched => patched?,
        };
        if let Some(condition) = patched.object.condition(gate).cloned() {
            let note = Note::Gate { pod: pod.name.clone(), condition, changed: patched.changed };
            work.outside.note(&self.binding.name, note);
        }
        Ok(done)
    }

    /// Targets are cleaned up: every pod with the gate, registered or not, gets it True.
    fn clean_gates(&mut self, work: &mut Work) -> Next {
        let (gate, namespace) = (self.binding.gate.clone(), self.binding.name.namespace.clone());
        let nothing = Rc::<str>::from("");
        let health =
            Health { state: "healthy".into(), reason: nothing, text: "Target Group Binding is deleted".into() };
        let gated = |pod: &&Rc<Pod>| pod.name.namespace == namespace && pod.has_gate(&gate);
        let mut pods: Vec<Rc<Pod>> = work.copies.pods.values().filter(gated).cloned().collect();
        pods.sort_by(|one, two| one.name.cmp(&two.name));
        for pod in pods {
            if self.write_gate(work, &pod, Some(&health)).is_err() {
                return self.fail(work, "pod");
            }
        }
        if self.goal == Goal::Deletion { self.remove_finalizer(work) } else { self.succeed(work) }
    }

    fn succeed(&mut self, work: &mut Work) -> Next {
        let after = self.after.clone();
        if self.save(work, after).is_err() {
            return self.fail(work, "checkpoint");
        }
        work.deferred.reconciled(&self.binding.name, work.now, work.flags.sync_period);
        if self.binding.observed != Some(self.binding.generation) {
            let patch = BindingPatch { observed: Some(self.binding.generation), ..BindingPatch::default() };
            if self.patch_status(work, &patch).is_err() {
                self.event(work, EventReason::FailedUpdateStatus);
                return Next::End(Outcome::Error);
            }
        }
        self.event(work, EventReason::SuccessfullyReconciled);
        Next::End(Outcome::Ok)
    }

    fn patch_status(&mut self, work: &mut Work, patch: &BindingPatch) -> Result<(), Refused> {
        let patched = work.outside.patch_binding(&self.binding.name, patch)?;
        self.binding = patched.object.clone();
        let note = Note::Status { binding: patched.object, changed: patched.changed };
        work.outside.note(&self.binding.name, note);
        Ok(())
    }

    /// The cleanup of a binding that is being deleted failed: its condition Ready says why.
    fn cleanup_failed(&mut self, work: &mut Work, message: &str) {
        self.event(work, EventReason::FailedCleanup);
        let (reason, generation) = (EventReason::FailedCleanup.name().into(), self.binding.generation);
        let ready = ReadyCondition { reason, message: message.into(), generation, since: work.now.whole_second() };
        let said = self
            .binding
            .ready
            .as_ref()
            .is_some_and(|known| ReadyCondition { since: known.since, ..ready.clone() } == *known);
        if !said {
            // Upstream only logs that this fails.
            self.patch_status(work, &BindingPatch { ready: Some(ready), ..BindingPatch::default() }).ok();
        }
    }
}

impl Work<'_> {
    /// The zone that an address is registered with: none within the VPC.
    fn zone(&mut self, want: &Wanted, of_pod: bool) -> Result<Option<Rc<str>>, &'static str> {
        let Some(pod) = want.pod() else { return Ok(None) };
        if self.outside.is_in_vpc(&want.id).ok_or("not an address")? {
            return Ok(None);
        }
        let zone =
            if of_pod { self.zones.of_node(&pod.node, self.copies, self.now, self.flags.zone_memory)? } else { None };
        Ok(Some(zone.unwrap_or_else(|| "all".into())))
    }
}

fn message(error: &AwsError) -> String {
    format!("{}: {}", error.code, error.text)
}

/// Takes the first of what is left, so many at most; mostly that is all of it.
fn next_chunk<T>(left: &mut Vec<T>, size: u32) -> Option<Rc<Vec<T>>> {
    if left.is_empty() {
        return None;
    }
    let size = size.max(1) as usize;
    let rest = if left.len() > size { left.split_off(size) } else { Vec::new() };
    Some(Rc::new(std::mem::replace(left, rest)))
}
