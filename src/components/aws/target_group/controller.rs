//! The controller: its copies, its work queue and its workers. It knows neither what the time is nor who answers: it is
//! told, and it says what it asks and when it wants to be woken.
//!
//! ```text
//!  deliver(change) ─► copies, queue        run() ─► reconciles begin or go on ─► take_calls()
//!  answer(binding) ─► its reconcile goes on                                      due()
//! ```
//!
//! Source: controller-runtime 0.23 `pkg/internal/controller/controller.go`; aws-load-balancer-controller
//! `controllers/elbv2/targetgroupbinding_deferred_reconciler.go`.

use super::api_server::Delivery;
use super::checkpoint::{self, Deferred};
use super::copies;
use super::objects::{Name, Objects};
use super::outside::{Answer, Call, Note, Outcome, Outside};
use super::queue::WorkQueue;
use super::reconcile::{Lock, Next, Reconcile, Work};
use super::resolutions::Resolutions;
use super::targets::TargetCache;
use super::zones::Zones;
use crate::engine::Time;
use crate::plan::flags::LoadBalancerFlags;
use std::collections::{BTreeMap, VecDeque};

/// The controller's process.
#[derive(Clone, Debug, Default)]
pub struct Controller {
    flags: LoadBalancerFlags,
    copies: Objects,
    queue: WorkQueue,
    targets: TargetCache,
    deferred: Deferred,
    resolutions: Resolutions,
    zones: Zones,
    lock: Lock,
    /// Reconciles in progress: as many as there are workers at most.
    running: Vec<(Name, Box<Reconcile>)>,
    /// Those that wait for a time.
    sleeping: BTreeMap<Name, Time>,
    /// No reconcile begins before this.
    begins: Option<Time>,
    /// To be made now.
    calls: VecDeque<(Name, Call)>,
}

impl Controller {
    /// A process that starts: its copies fill at once, every binding is queued, the workers begin a second later.
    pub fn start(flags: LoadBalancerFlags, objects: Objects, now: Time) -> Controller {
        let begins = Some(now + flags.start);
        let mut controller = Controller { flags, copies: objects, begins, ..Controller::default() };
        for name in controller.copies.bindings.keys() {
            controller.queue.add(name);
        }
        controller
    }

    /// A process that has been at work for long: nothing is queued, all bindings were reconciled in full.
    pub fn resume(flags: LoadBalancerFlags, objects: Objects, now: Time) -> Controller {
        let mut controller = Controller { flags, copies: objects, ..Controller::default() };
        for name in controller.copies.bindings.keys() {
            controller.deferred.reconciled(name, now, controller.flags.sync_period);
        }
        controller
    }

    /// Puts a binding into the queue, ready at `at`.
    pub fn add_at(&mut self, name: &Name, at: Time) {
        self.queue.add_at(name, at);
    }

    /// So many failures are behind a binding.
    pub fn set_failures(&mut self, name: &Name, failures: u32) {
        self.queue.set_failures(name, failures);
    }

    /// A change arrives.
    pub fn deliver(&mut self, delivery: Delivery) {
        let (kind, name) = delivery.key();
        let name = name.clone();
        copies::deliver(&mut self.copies, delivery, &self.flags, &mut |woken| self.queue.add(woken));
        self.resolutions.follow(&self.copies, kind, &name);
    }

    /// A call is answered.
    pub fn answer(&mut self, now: Time, name: &Name, answer: Answer, outside: &mut dyn Outside) {
        self.go_on(now, name, outside, |reconcile, work| reconcile.answered(work, answer));
    }

    /// Does everything that can be done now.
    pub fn run(&mut self, now: Time, outside: &mut dyn Outside) {
        self.begins = self.begins.filter(|&begins| now < begins);
        while let Some(name) = self.deferred.take(now) {
            self.reset(now, &name, outside);
        }
        loop {
            let mut sleeping = self.sleeping.iter();
            let awake = if self.sleeping.is_empty() { None } else { sleeping.find(|&(_, &at)| at <= now) };
            if let Some(name) = awake.map(|(name, _)| name.clone()) {
                self.sleeping.remove(&name);
                self.go_on(now, &name, outside, Reconcile::resume);
            } else if let Some(name) = self.lock.hand_over() {
                self.go_on(now, &name, outside, Reconcile::resume);
            } else if !self.begin(now, outside) {
                return;
            }
        }
    }

    /// Begins the reconcile of the next binding in the queue, if a worker is free.
    fn begin(&mut self, now: Time, outside: &mut dyn Outside) -> bool {
        if self.queue.is_empty() {
            return false;
        }
        if self.begins.is_some() || self.queue.running() >= self.flags.workers.max(1) as usize {
            self.queue.ripen(now);
            return false;
        }
        let Some(name) = self.queue.next(now) else { return false };
        let (reconcile, next) = self.with(now, outside, |work| Reconcile::begin(&name, work));
        // Many end at once: nothing has changed for them.
        if let Some(reconcile) = reconcile.filter(|_| !matches!(next, Next::End(_))) {
            self.running.push((name.clone(), reconcile));
        }
        self.follow(now, &name, next, outside);
        true
    }

    fn go_on(
        &mut self,
        now: Time,
        name: &Name,
        outside: &mut dyn Outside,
        act: impl FnOnce(&mut Reconcile, &mut Work) -> Next,
    ) {
        let Some(place) = self.running.iter().position(|(other, _)| other == name) else { return };
        let (name_of_it, mut reconcile) = self.running.swap_remove(place);
        let next = self.with(now, outside, |work| act(&mut reconcile, work));
        self.running.push((name_of_it, reconcile));
        self.follow(now, name, next, outside);
    }

    fn with<T>(&mut self, now: Time, outside: &mut dyn Outside, act: impl FnOnce(&mut Work) -> T) -> T {
        act(&mut Work {
            now,
            flags: &self.flags,
            copies: &self.copies,
            targets: &mut self.targets,
            deferred: &mut self.deferred,
            resolutions: &mut self.resolutions,
            zones: &mut self.zones,
            lock: &mut self.lock,
            outside,
        })
    }

    fn follow(&mut self, now: Time, name: &Name, next: Next, outside: &mut dyn Outside) {
        match next {
            Next::Call(call) => self.calls.push_back((name.clone(), call)),
            Next::Lock | Next::Answer => {}
            Next::Sleep(span) => {
                self.sleeping.insert(name.clone(), now + span);
            }
            Next::End(outcome) => {
                if let Some(place) = self.running.iter().position(|(other, _)| other == name) {
                    self.running.swap_remove(place);
                }
                outside.note(name, Note::Done(outcome));
                match outcome {
                    Outcome::Ok => self.queue.forget(name),
                    Outcome::Requeue(after) => {
                        self.queue.forget(name);
                        self.queue.add_at(name, now + after);
                    }
                    Outcome::Error | Outcome::Panic => {
                        self.queue.add_failed(name, now, self.flags.backoff_initial, self.flags.backoff_max);
                    }
                }
                self.queue.done(name);
            }
        }
    }

    /// A deferred reconcile is due: the checkpoint is reset, which wakes the binding.
    fn reset(&mut self, now: Time, name: &Name, outside: &mut dyn Outside) {
        let Some(copy) = self.copies.bindings.get(name) else { return };
        let value = "".into();
        let patch = checkpoint::save(copy, &value, now);
        if let Ok(patched) = outside.patch_binding(name, &patch) {
            outside.note(name, Note::Checkpoint { value, changed: patched.changed, deferred: true });
        }
    }

    /// The next of the calls that it makes now.
    pub fn next_call(&mut self) -> Option<(Name, Call)> {
        self.calls.pop_front()
    }

    /// When it wants to be run again, if nothing else happens before.
    pub fn due(&self) -> Option<Time> {
        let mut due = earlier(self.queue.due(), self.begins);
        // Mostly nobody sleeps.
        if !self.sleeping.is_empty() {
            due = earlier(due, self.sleeping.values().copied().min());
        }
        earlier(due, self.deferred.due())
    }
}

/// The earlier of two times, if there is any.
pub(super) fn earlier(one: Option<Time>, other: Option<Time>) -> Option<Time> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}
