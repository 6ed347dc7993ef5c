//! A cluster in which the world changes first at each instant, and then one controller after another takes its turn.
//!
//! That is how the recordings of several controllers were made: every controller has one worker, which takes the next key
//! out of its queue as soon as it is free and then waits for its turn. Calls and watch events take no time.

use crate::stage::ORIGIN;
use kubelapse::components::kubernetes::deployment::{DeploymentController, Event as DeploymentEvent};
use kubelapse::components::kubernetes::hpa::{Event as HpaEvent, Hpa};
use kubelapse::components::kubernetes::pod_disruption::PodDisruption;
use kubelapse::components::kubernetes::replica_set::{Event as SetEvent, ReplicaSetController};
use kubelapse::components::kubernetes::scheduler::{Event as SchedulerEvent, Scheduler};
use kubelapse::components::wiring::Wiring;
use kubelapse::components::{Cx, Event};
use kubelapse::engine::{Queue, Time};
use kubelapse::plan::{DeploymentId, HpaId, Plan};
use kubelapse::record::{Detail, Recorder};
use kubelapse::world::{Change, ReplicaSetId, World};
use std::collections::{BTreeMap, VecDeque};

/// A worker with its queue: each key is at most once in the queue, and once in the worker's hands.
struct Worker<K> {
    current: Option<K>,
    queue: VecDeque<K>,
    /// Something happened to the key in its hands.
    dirty: bool,
}

impl<K: Copy + PartialEq> Worker<K> {
    const fn new() -> Worker<K> {
        Worker { current: None, queue: VecDeque::new(), dirty: false }
    }

    fn add(&mut self, key: K) {
        if self.current.is_none() {
            self.current = Some(key);
        } else if self.current == Some(key) {
            self.dirty = true;
        } else if !self.queue.contains(&key) {
            self.queue.push_back(key);
        }
    }

    fn done(&mut self) {
        if let Some(key) = self.current.take().filter(|_| std::mem::take(&mut self.dirty)) {
            self.queue.push_back(key);
        }
        self.current = self.queue.pop_front();
    }
}

/// Whose turn it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Turn {
    /// Nobody's: the script, or an informer.
    None,
    /// The ReplicaSet controller works on a set.
    Set(ReplicaSetId),
    /// The Deployment controller works on a Deployment.
    Deployment(DeploymentId),
    /// The scheduler tries a pod.
    Scheduler,
    /// The autoscaler works.
    Hpa(HpaId),
}

/// The controllers.
#[derive(Default)]
struct Controllers {
    sets: ReplicaSetController,
    deployments: DeploymentController,
    scheduler: Scheduler,
    hpa: Hpa,
    budgets: PodDisruption,
}

/// Which controllers run.
#[derive(Clone, Copy, PartialEq)]
pub enum Running {
    /// Only that of ReplicaSets.
    Sets,
    /// That of Deployments too.
    Deployments,
    /// And scheduler, autoscaler and disruption controller.
    All,
}

/// What one call of a component, or one deed of the script, has changed.
pub struct Entry {
    pub at: Time,
    pub turn: Turn,
    /// Number of the turn.
    pub number: u64,
    pub changes: Vec<Change>,
}

/// What is not a controller: users, kubelets, nodes.
pub trait Script {
    /// Something that the script does.
    type Deed: Copy;
    /// Does it; says what follows from it by itself, and when.
    fn act(&mut self, world: &mut World, deed: Self::Deed) -> Vec<(Time, Self::Deed)>;
    /// Hears of a change; says what follows from it, and when.
    fn hear(&mut self, world: &mut World, change: Change) -> Vec<(Time, Self::Deed)>;
    /// Nothing further happens at this instant.
    fn look(&mut self, world: &World);
}

/// The cluster.
pub struct Turns<S: Script> {
    pub plan: Plan,
    pub world: World,
    pub script: S,
    pub log: Vec<Entry>,
    running: Running,
    /// Empty between calls.
    queue: Queue<Event>,
    recorder: Recorder,
    wiring: Wiring,
    controllers: Controllers,
    set_worker: Worker<ReplicaSetId>,
    deployment_worker: Worker<DeploymentId>,
    hpa_worker: Worker<HpaId>,
    /// The scheduler has taken a pod.
    attempt_waits: bool,
    turn: Turn,
    number: u64,
    /// Events and deeds to come, in order of time and then of scheduling.
    events: BTreeMap<(Time, u64), Event>,
    deeds: BTreeMap<(Time, u64), S::Deed>,
    sequence: u64,
}

impl<S: Script> Turns<S> {
    /// A cluster at the origin; `world` has what is older.
    pub fn new(plan: Plan, world: World, script: S, running: Running) -> Turns<S> {
        let mut turns = Turns {
            queue: Queue::new(),
            recorder: Recorder::new(Detail::Facts),
            wiring: Wiring::new(&plan),
            plan,
            world,
            script,
            log: Vec::new(),
            running,
            controllers: Controllers::default(),
            set_worker: Worker::new(),
            deployment_worker: Worker::new(),
            hpa_worker: Worker::new(),
            attempt_waits: false,
            turn: Turn::None,
            number: 0,
            events: BTreeMap::new(),
            deeds: BTreeMap::new(),
            sequence: 0,
        };
        turns.world.now = ORIGIN;
        turns.world.take_journal(&mut Vec::new());
        turns
    }

    /// Starts the controllers.
    pub fn start(&mut self) {
        // Its informers tell it of every set; nothing has been counted in them yet.
        for index in 0..self.world.replica_sets.len() {
            self.receive(Event::ReplicaSet(SetEvent::Sync(ReplicaSetId::at(index))));
        }
        if self.running != Running::Sets {
            self.call(|controllers, cx| controllers.deployments.start(cx));
        }
        if self.running == Running::All {
            self.call(|controllers, cx| controllers.scheduler.start(cx));
            self.call(|controllers, cx| controllers.budgets.start(cx));
        }
    }

    /// Schedules a deed.
    pub fn schedule(&mut self, at: Time, deed: S::Deed) {
        self.sequence += 1;
        self.deeds.insert((at, self.sequence), deed);
    }

    /// Runs up to an instant, that included.
    pub fn run(&mut self, until: Time) {
        loop {
            self.settle();
            self.script.look(&self.world);
            let deed = self.deeds.keys().next().map(|key| key.0);
            let event = self.events.keys().next().map(|key| key.0);
            let Some(next) = deed.into_iter().chain(event).min().filter(|&next| next <= until) else { return };
            self.world.now = next;
        }
    }

    /// Everything that happens at this instant.
    fn settle(&mut self) {
        loop {
            if let Some(deed) = take_due(&mut self.deeds, self.world.now) {
                for (at, deed) in self.script.act(&mut self.world, deed) {
                    self.schedule(at, deed);
                }
                self.send(true);
            } else if let Some(event) = take_due(&mut self.events, self.world.now) {
                self.receive(event);
            } else if !self.next_turn() {
                return;
            }
        }
    }

    fn receive(&mut self, event: Event) {
        match event {
            Event::ReplicaSet(SetEvent::Sync(set)) => self.set_worker.add(set),
            Event::ReplicaSet(event) => self.call(|controllers, cx| controllers.sets.handle(cx, event)),
            Event::Deployment(_) if self.running == Running::Sets => {}
            Event::Deployment(DeploymentEvent::Sync(deployment)) => self.deployment_worker.add(deployment),
            Event::Deployment(event) => self.call(|controllers, cx| controllers.deployments.handle(cx, event)),
            _ if self.running != Running::All => {}
            Event::Scheduler(SchedulerEvent::Attempt) => self.attempt_waits = true,
            Event::Scheduler(event) => self.call(|controllers, cx| controllers.scheduler.handle(cx, event)),
            Event::Hpa(HpaEvent::Sync(hpa)) => self.hpa_worker.add(hpa),
            Event::Hpa(event) => self.call(|controllers, cx| controllers.hpa.handle(cx, event)),
            Event::PodDisruption(event) => self.call(|controllers, cx| controllers.budgets.handle(cx, event)),
            _ => {}
        }
    }

    /// Ends the present turn and begins the next one; false if there is none.
    fn next_turn(&mut self) -> bool {
        match std::mem::replace(&mut self.turn, Turn::None) {
            Turn::None => {}
            Turn::Set(_) => self.set_worker.done(),
            Turn::Deployment(_) => self.deployment_worker.done(),
            Turn::Scheduler => {}
            Turn::Hpa(_) => self.hpa_worker.done(),
        }
        self.number += 1;
        if let Some(set) = self.set_worker.current {
            self.turn = Turn::Set(set);
            self.call(|controllers, cx| controllers.sets.handle(cx, SetEvent::Sync(set)));
        } else if let Some(deployment) = self.deployment_worker.current {
            self.turn = Turn::Deployment(deployment);
            self.call(|controllers, cx| controllers.deployments.handle(cx, DeploymentEvent::Sync(deployment)));
        } else if std::mem::take(&mut self.attempt_waits) {
            self.turn = Turn::Scheduler;
            self.call(|controllers, cx| controllers.scheduler.handle(cx, SchedulerEvent::Attempt));
        } else if let Some(hpa) = self.hpa_worker.current {
            self.turn = Turn::Hpa(hpa);
            self.call(|controllers, cx| controllers.hpa.handle(cx, HpaEvent::Sync(hpa)));
        } else {
            return false;
        }
        true
    }

    fn call(&mut self, act: impl FnOnce(&mut Controllers, &mut Cx)) {
        let Turns { plan, world, recorder, controllers, queue, .. } = self;
        let now = world.now;
        act(controllers, &mut Cx { now, plan, world, queue, recorder, random: None });
        while let Some((at, event)) = self.queue.pop() {
            self.sequence += 1;
            self.events.insert((at, self.sequence), event);
        }
        self.send(false);
    }

    /// Tells whoever watches of what has changed: each write by itself. All changes of one deed are one write.
    fn send(&mut self, is_one_write: bool) {
        let mut changes = Vec::new();
        self.world.take_journal(&mut changes);
        for &change in &changes {
            for (at, deed) in self.script.hear(&mut self.world, change) {
                self.schedule(at, deed);
            }
        }
        for &change in &changes {
            self.wiring.wake(change, self.world.now, (&self.plan, &self.world), None, &mut self.queue);
            if !is_one_write {
                self.deliver();
            }
        }
        self.deliver();
        self.log.push(Entry { at: self.world.now, turn: self.turn, number: self.number, changes });
    }

    fn deliver(&mut self) {
        let mut events = Vec::new();
        while let Some((_, event)) = self.queue.pop() {
            self.wiring.delivered(&event);
            events.push(event);
        }
        events.into_iter().for_each(|event| self.receive(event));
    }
}

fn take_due<T>(entries: &mut BTreeMap<(Time, u64), T>, now: Time) -> Option<T> {
    let entry = entries.first_entry().filter(|entry| entry.key().0 <= now)?;
    Some(entry.remove())
}

/// RFC 7386.
pub fn merge_patch(target: &mut serde_json::Value, patch: &serde_json::Value) {
    use serde_json::{Map, Value};
    let Value::Object(fields) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    for (key, value) in fields {
        if let (Value::Null, Some(object)) = (value, target.as_object_mut()) {
            object.remove(key);
        } else {
            merge_patch(&mut target[key], value);
        }
    }
}
