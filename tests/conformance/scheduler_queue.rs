//! `scheduler.queue`: the scheduler with its queue and its loop, on objects that change at given times.

use crate::Case;
use crate::scheduler_cluster::{Bed, ORIGIN, items, text, texts};
use kubelapse::components::kubernetes::scheduler::{Event as Scheduling, Scheduler, Tried, TriedResult};
use kubelapse::components::wiring::Wiring;
use kubelapse::components::{Cx, Event};
use kubelapse::engine::{Queue, Span, Time};
use kubelapse::plan::{Distribution, Stage, TemplateId};
use kubelapse::record::{Detail, Recorder};
use serde_json::{Value, json};

/// What the operator does at one time.
enum Deed<'c> {
    Node(&'c Value),
    DeleteNode(String),
    Pod(&'c Value, TemplateId),
    DeletePod(String),
}

/// The scheduler alone among scripted neighbours.
struct Driver {
    bed: Bed,
    queue: Queue<Event>,
    recorder: Recorder,
    wiring: Wiring,
    scheduler: Scheduler,
    started: bool,
}

/// Replays a case.
pub fn replay(case: &Case) -> Result<(), String> {
    let input = &case.input;
    let mut bed = Bed::new(&Value::Null)?;
    let span = |key: &str| Distribution::Constant(Span::from_seconds(input[key].as_f64().unwrap_or(0.0)));
    bed.plan.timings.set(Stage::SchedulerAttempt, span("attemptTakes"));
    bed.plan.timings.set(Stage::SchedulerBind, span("bindTakes"));
    bed.plan.timings.set(Stage::ApiHop, Distribution::Constant(Span::ZERO));
    bed.plan.flags.scheduler.flush_offset = Some(Span::ZERO);
    let fails = input["bindFails"].as_object().into_iter().flatten();
    let fails = fails.map(|(name, count)| (name.clone(), count.as_u64().unwrap_or(0) as u32));
    bed.plan.flags.scheduler.failing_bindings = fails.collect();
    let deeds = deeds(&mut bed, input)?;
    let wiring = Wiring::new(&bed.plan);
    let mut scheduler = Scheduler::default();
    scheduler.keep_history();
    let recorder = Recorder::new(Detail::Facts);
    let mut driver = Driver { bed, queue: Queue::new(), recorder, wiring, scheduler, started: false };
    let loop_starts = ORIGIN + Span::from_millis(500);
    let until = ORIGIN + Span::from_seconds(input["until"].as_f64().unwrap_or(0.0));
    for (at, deed) in deeds {
        if at >= loop_starts {
            driver.start(loop_starts);
            driver.run_to(at);
        }
        driver.act(at, &deed)?;
    }
    driver.start(loop_starts);
    // Attempts that began before the end are listed with their outcome.
    driver.run_to(until + Span::from_secs(30));
    let mut tried: Vec<&Tried> = driver.scheduler.history().iter().filter(|tried| tried.at < until).collect();
    tried.sort_by_key(|tried| tried.at);
    compare(&driver.bed, &tried, items(&case.expect["attempts"]))
}

fn deeds<'c>(bed: &mut Bed, input: &'c Value) -> Result<Vec<(Time, Deed<'c>)>, String> {
    let mut deeds = Vec::new();
    for step in items(&input["steps"]) {
        let mut at = ORIGIN + Span::from_seconds(step["t"].as_f64().unwrap_or(0.0));
        let mut push = |deed| {
            deeds.push((at, deed));
            at += Span::from_millis(1);
        };
        items(&step["nodes"]).iter().for_each(|node| push(Deed::Node(node)));
        texts(&step["deleteNodes"]).into_iter().for_each(|name| push(Deed::DeleteNode(name)));
        for pod in items(&step["pods"]) {
            push(Deed::Pod(pod, bed.template(pod)?));
        }
        texts(&step["deletePods"]).into_iter().for_each(|name| push(Deed::DeletePod(name)));
    }
    deeds.sort_by_key(|(at, _)| *at);
    Ok(deeds)
}

impl Driver {
    fn start(&mut self, at: Time) {
        if !std::mem::replace(&mut self.started, true) {
            self.bed.world.take_journal(&mut Vec::new());
            self.with(at, Scheduler::start);
        }
    }

    fn with(&mut self, now: Time, act: impl FnOnce(&mut Scheduler, &mut Cx)) {
        self.bed.world.now = now;
        let Driver { bed, queue, recorder, scheduler, .. } = self;
        let mut cx = Cx { now, plan: &bed.plan, world: &mut bed.world, queue, recorder, random: None };
        act(scheduler, &mut cx);
        self.settle(now);
    }

    fn settle(&mut self, now: Time) {
        let mut journal = Vec::new();
        self.bed.world.take_journal(&mut journal);
        for change in journal {
            self.wiring.wake(change, now, (&self.bed.plan, &self.bed.world), None, &mut self.queue);
        }
    }

    /// Hands the scheduler its events up to a time, that time excluded for deeds that come then.
    fn run_to(&mut self, until: Time) {
        while let Some((at, event)) = self.queue.pop() {
            if at > until {
                self.queue.push(at, event);
                break;
            }
            self.wiring.delivered(&event);
            if let Event::Scheduler(event) = event {
                self.with(at, |scheduler, cx| scheduler.handle(cx, event));
            }
        }
    }

    fn act(&mut self, at: Time, deed: &Deed) -> Result<(), String> {
        self.bed.world.now = at;
        match deed {
            Deed::Node(object) => match self.bed.node(&text(&object["metadata"]["name"])) {
                Some(node) => self.bed.replace_node(node, object)?,
                None => drop(self.bed.add_node(object)?),
            },
            Deed::DeleteNode(name) => {
                let node = self.bed.node(name).ok_or_else(|| format!("no node {name}"))?;
                self.bed.world.remove_node(node);
            }
            Deed::Pod(object, template) => {
                let name = format!("default/{}", text(&object["metadata"]["name"]));
                if let Some(pod) = self.bed.pod(&name) {
                    self.bed.world.update_pod(pod, *template);
                    self.queue.push(at, Event::Scheduler(Scheduling::PodUpdated(pod)));
                } else {
                    self.bed.add_pod_of(&json!({}), object, *template)?;
                }
            }
            Deed::DeletePod(name) => {
                let name = if name.contains('/') { name.clone() } else { format!("default/{name}") };
                let pod = self.bed.pod(&name).ok_or_else(|| format!("no pod {name}"))?;
                self.bed.world.remove_pod(pod);
            }
        }
        if self.started {
            self.settle(at);
            self.run_to(at);
        }
        Ok(())
    }
}

fn compare(bed: &Bed, found: &[&Tried], expected: &[Value]) -> Result<(), String> {
    let seconds = |at: Time| at.since(ORIGIN).seconds();
    let line = |tried: &Tried| {
        let (pod, at) = (bed.world.pod_name(tried.pod), seconds(tried.at));
        match &tried.result {
            TriedResult::Node(node, false) => format!("{at:.3} {pod} scheduled {}", bed.node_name(*node)),
            TriedResult::Node(node, true) => format!("{at:.3} {pod} bindError {}", bed.node_name(*node)),
            TriedResult::Unschedulable(plugins) => {
                let mut names: Vec<&str> = plugins.iter().map(|plugin| plugin.name()).collect();
                names.sort_unstable();
                format!("{at:.3} {pod} unschedulable {}", names.join(" "))
            }
        }
    };
    let wanted = |entry: &Value| {
        let at = entry["t"].as_f64().unwrap_or(0.0);
        let more = if entry["node"].is_null() { texts(&entry["plugins"]).join(" ") } else { text(&entry["node"]) };
        format!("{at:.3} {} {} {more}", text(&entry["pod"]), text(&entry["result"]))
    };
    let found: Vec<String> = found.iter().map(|tried| line(tried)).collect();
    let expected: Vec<String> = expected.iter().map(wanted).collect();
    let differs = (0..found.len().max(expected.len())).find(|&index| found.get(index) != expected.get(index));
    differs.map_or(Ok(()), |index| {
        Err(format!("attempt {index}: {:?} expected, {:?} found", expected.get(index), found.get(index)))
    })
}
