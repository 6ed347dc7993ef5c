//! One replication: the loop that pops events, hands them to their component, records what changed and wakes who watches.

use super::clients::{service::Event as Work, traffic::Event as Requests};
use super::{Components, Cx, Event, bootstrap, wiring};
use crate::engine::limit::Meter;
use crate::engine::{LimitReached, Queue, Random, StableHasher, Time, TimerId};
use crate::plan::{AppId, Plan};
use crate::record::{Detail, Recorder};
use crate::world::{Change, PodId, RequestId, Routed, World};
use std::hash::{Hash, Hasher};

/// A run in progress.
pub struct Sim<'p> {
    plan: &'p Plan,
    world: World,
    queue: Queue<Event>,
    recorder: Recorder,
    components: Components,
    wiring: wiring::Wiring,
    random: Option<Random>,
    meter: Meter,
    journal: Vec<Change>,
    routed: Vec<Routed>,
    /// What is handed over at once comes next, and need not go through the queue.
    at_once: Option<Routed>,
    event_hash: u64,
    /// The hash is kept.
    hashes: bool,
    check_all: bool,
}

/// A finished run.
pub struct Outcome {
    /// The world at the end.
    pub world: World,
    /// What happened.
    pub recorder: Recorder,
    /// Events handled.
    pub events: u64,
    /// Rolling hash of every event with its time: equal runs have equal hashes.
    pub event_hash: u64,
    /// A limit that stopped the run early.
    pub limit: Option<LimitReached>,
}

impl<'p> Sim<'p> {
    /// Replication `replication` of a plan, at its start.
    pub fn new(plan: &'p Plan, replication: u64, detail: Detail) -> Sim<'p> {
        Sim::antithetic(plan, replication, false, detail)
    }

    /// The same, or its mirror image: each uniform draw `u` is `1 - u`.
    pub fn antithetic(plan: &'p Plan, replication: u64, mirrored: bool, detail: Detail) -> Sim<'p> {
        let random = plan.noise.then(|| Random::new(plan.seed, replication));
        let random = random.map(|random| if mirrored { random.antithetic() } else { random });
        let mut sim = Sim {
            plan,
            world: World::new(plan),
            queue: Queue::new(),
            recorder: Recorder::new(detail),
            components: Components::default(),
            wiring: wiring::Wiring::new(plan),
            random,
            meter: Meter::new(plan.limits),
            journal: Vec::new(),
            routed: Vec::new(),
            at_once: None,
            event_hash: StableHasher::default().finish(),
            hashes: true,
            check_all: false,
        };
        bootstrap::populate(plan, &mut sim.world);
        sim.world.now = plan.start;
        let mut initial = Vec::new();
        sim.world.take_journal(&mut initial);
        let (components, mut cx) = sim.split(plan.start);
        components.start(&mut cx);
        sim.settle(plan.start);
        sim
    }

    /// Checks all laws after every event (`--check`).
    pub fn check_every_event(&mut self) {
        self.check_all = true;
    }

    /// Keeps no hash of the events: for runs of which only measures are kept.
    pub fn without_hash(&mut self) {
        self.hashes = false;
    }

    /// Runs to the end of the plan.
    ///
    /// # Panics
    /// When a law of the world breaks: a defect of this program. The message says how to replay it.
    pub fn run(mut self) -> Outcome {
        let limit = self.go_on();
        self.world.now = self.plan.until;
        let (components, mut cx) = self.split(self.plan.until);
        components.conclude(&mut cx, limit.is_some());
        self.settle(self.plan.until);
        self.verify(self.plan.until, true);
        Outcome {
            world: self.world,
            recorder: self.recorder,
            events: self.meter.events(),
            event_hash: self.event_hash,
            limit,
        }
    }

    /// All events until the end of the plan; a limit that is reached before.
    fn go_on(&mut self) -> Option<LimitReached> {
        // Any event, to be written over.
        let mut event = Event::Hpa(super::kubernetes::hpa::Event::Resync);
        loop {
            let (now, next) = match self.at_once.take() {
                Some(routed) => (self.world.now, Next::Routed(routed)),
                None => match self.queue.pop_timer() {
                    Some((now, timer)) => (now, Next::Timer(timer)),
                    None => (self.queue.pop_event_into(&mut event)?, Next::Event),
                },
            };
            if now > self.plan.until {
                return None;
            }
            if let Err(reached) = self.meter.count(now) {
                return Some(reached);
            }
            debug_assert!(now >= self.world.now, "time never goes back");
            self.world.now = now;
            let is_over = match next {
                Next::Event => false,
                Next::Timer(timer) => match *self.queue.of_timer(timer) {
                    // Most often the next request of an application, or the next end of one at a pod.
                    Event::Traffic(Requests::Next(app)) => self.step_traffic(now, app),
                    Event::Service(Work::Work(pod)) => self.step_work(now, pod),
                    other => {
                        event = other;
                        false
                    }
                },
                Next::Routed(Routed::Request(request)) => self.step_arrival(now, request),
                Next::Routed(other) => {
                    event = wiring::hand_over(other);
                    false
                }
            };
            if !is_over {
                self.step(now, &event);
            }
            self.settle(now);
            self.verify_step(now);
            if self.world.living.len() > self.plan.limits.pods_max {
                return Some(LimitReached::Pods(now));
            }
        }
    }

    /// Events of requests are handled without a look at what they are; true: the event is over.
    #[inline(always)]
    fn step_traffic(&mut self, now: Time, app: AppId) -> bool {
        self.note_request(now, word_of(1, app.0));
        let (components, mut cx) = self.split(now);
        components.traffic.next(&mut cx, app);
        true
    }

    #[inline(always)]
    fn step_work(&mut self, now: Time, pod: PodId) -> bool {
        self.note_request(now, word_of(3, pod.0));
        let (components, mut cx) = self.split(now);
        components.service.work_due(&mut cx, pod);
        true
    }

    /// A request that its pod gets at once.
    #[inline(always)]
    fn step_arrival(&mut self, now: Time, request: RequestId) -> bool {
        self.note_request(now, word_of(2, request.0));
        let (components, mut cx) = self.split(now);
        components.service.arrive(&mut cx, request);
        true
    }

    #[inline(always)]
    fn note_request(&mut self, now: Time, word: u64) {
        if self.hashes {
            let mut hasher = StableHasher::from(self.event_hash);
            hasher.write_u64(now.micros() ^ word);
            self.event_hash = hasher.finish();
        }
    }

    /// Events of single requests are no wakes and meet no program that is down, and one word says what they are.
    #[inline(always)]
    fn step(&mut self, now: Time, event: &Event) {
        match self.wiring.delivered(event) {
            Some(wake) => self.note(now, wake.word()),
            None => match of_requests(event) {
                Some(word) => self.note_request(now, word),
                None => self.note(now, event),
            },
        }
        let (components, mut cx) = self.split(now);
        components.handle(&mut cx, event);
    }

    fn verify_step(&self, now: Time) {
        let count = self.meter.events();
        let all = self.check_all || (cfg!(debug_assertions) && count.is_power_of_two());
        if all || cfg!(debug_assertions) {
            self.verify(now, all);
        }
    }

    #[inline(always)]
    fn settle(&mut self, now: Time) {
        if self.world.has_changes() {
            self.note_changes(now);
        }
        if self.world.has_routed() {
            self.hand_over(now);
        }
    }

    /// Records what changed and wakes who watches it.
    #[inline(never)]
    fn note_changes(&mut self, now: Time) {
        self.world.take_journal(&mut self.journal);
        for &change in &self.journal {
            self.recorder.push(now, change, &self.world);
            self.wiring.wake(change, now, (self.plan, &self.world), self.random.as_ref(), &mut self.queue);
        }
        self.journal.clear();
    }

    /// What clients and the load balancer hand over becomes events.
    #[inline]
    fn hand_over(&mut self, now: Time) {
        // A single request goes straight to its pod if nothing comes before it.
        if let Some(only) = self.world.take_only_routed() {
            if self.queue.is_past(now) {
                self.at_once = Some(only);
            } else {
                self.queue.push(now, wiring::hand_over(only));
            }
            return;
        }
        self.queue_routed(now);
    }

    #[inline(never)]
    fn queue_routed(&mut self, now: Time) {
        self.world.take_routed(&mut self.routed);
        for routed in self.routed.drain(..) {
            self.queue.push(now, wiring::hand_over(routed));
        }
    }

    fn split(&mut self, now: Time) -> (&mut Components, Cx<'_>) {
        let cx = Cx {
            now,
            plan: self.plan,
            world: &mut self.world,
            queue: &mut self.queue,
            recorder: &mut self.recorder,
            random: self.random.as_ref(),
        };
        (&mut self.components, cx)
    }

    /// What happens enters the hash, with its time: a wake by the word that tells it from others.
    #[inline(always)]
    fn note(&mut self, now: Time, what: impl Hash) {
        if !self.hashes {
            return;
        }
        let mut hasher = StableHasher::from(self.event_hash);
        now.micros().hash(&mut hasher);
        what.hash(&mut hasher);
        self.event_hash = hasher.finish();
    }

    fn verify(&self, now: Time, all: bool) {
        let law = if all { self.world.check() } else { self.world.check_fast() };
        if let Err(broken) = law {
            let at = now.decimal_from(self.plan.start);
            panic!("{} (seed {}, at {at} s): {broken}", self.plan.name, self.plan.seed);
        }
    }
}

/// What comes next.
enum Next {
    /// An event of the queue.
    Event,
    /// What a timer brings; it is best read where it lies.
    Timer(TimerId),
    /// What is handed over at once.
    Routed(Routed),
}

/// An event of requests as a number that no instant reaches; `None`: another event.
#[inline]
fn of_requests(event: &Event) -> Option<u64> {
    let (kind, id) = match *event {
        Event::Traffic(Requests::Next(app)) => (1, app.0),
        Event::Service(Work::Arrive(request)) => (2, request.0),
        Event::Service(Work::Work(pod)) => (3, pod.0),
        _ => return None,
    };
    Some(word_of(kind, id))
}

fn word_of(kind: u64, id: u32) -> u64 {
    kind << 62 | u64::from(id.reverse_bits()) << 30
}
