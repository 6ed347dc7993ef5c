//! `kubelet.probe`: a pod with scripted containers in; attempts, runs, kills and published values out.

use crate::Case;
use crate::stage::{Component, ORIGIN, Stage, items, moment, template, text};
use kubelapse::components::kubernetes::kubelet::prober::{Kind, Outcome};
use kubelapse::components::kubernetes::kubelet::{Deed, Event as KubeletEvent, Kubelet, Note, Reason};
use kubelapse::components::{Cx, Event};
use kubelapse::engine::{Span, Time};
use kubelapse::plan::flags::{Answer, Rehearsal};
use kubelapse::plan::{Plan, TemplateId};
use kubelapse::world::{DeleteCause, NewNode, NewPod, NodeId, NodeReadiness, Owner, PodId, World};
use serde_json::{Value, json};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

/// An answer that the script gives no time for comes after so long.
const LATENCY: f64 = 0.01;

/// What happened, in words, and when.
type Events = BTreeMap<String, Vec<f64>>;

/// Something that the script does.
enum Act<'c> {
    Add,
    Sync,
    Gate(&'c Value),
    Delete,
}

#[derive(Default)]
struct Log {
    pod: Option<PodId>,
    names: Vec<String>,
    shown: Vec<(bool, bool)>,
    ready: bool,
    events: Events,
}

/// Replays a case.
pub fn replay(case: &Case) -> Result<(), String> {
    let input = &case.input;
    let until = moment(&input["until"]);
    let plan = plan(input, until)?;
    let gates = plan.templates[0].readiness_gates.clone();
    let names: Vec<String> = plan.templates[0].containers.iter().map(|container| container.name.clone()).collect();
    let mut stage = Stage::new(plan);
    let node = node(&mut stage.world, moment(&input["kubeletStart"]));
    let mut kubelet = Kubelet::default();
    let notes = RefCell::new(Vec::new());
    let mut component = |cx: &mut Cx, event: Option<Event>| {
        match event {
            None => kubelet.start(cx),
            Some(Event::Kubelet(event)) => kubelet.handle(cx, event),
            Some(_) => {}
        }
        notes.borrow_mut().extend(kubelet.take_notes());
    };
    stage.hand(&mut component, None);
    let shown = vec![(false, false); names.len()];
    let mut log = Log { names, shown, ..Log::default() };
    for (time, act) in acts(input) {
        log.run(&mut stage, time.min(until), &mut component, &notes);
        if time > until {
            break;
        }
        match act {
            Act::Add => log.pod = Some(add(&mut stage.world, node)),
            Act::Sync => {
                let event = log.pod.map(|pod| Event::Kubelet(KubeletEvent::Sync(pod)));
                stage.hand(&mut component, event);
                log.look(&stage.world, &notes);
            }
            Act::Gate(write) => {
                let gate = gates.iter().position(|gate| gate == text(&write["type"]));
                if let (Some(pod), Some(gate)) = (log.pod, gate) {
                    stage.world.set_gate(pod, gate, write["status"] == "True");
                }
            }
            Act::Delete => {
                if let Some(pod) = log.pod {
                    stage.world.delete_pod(pod, None, DeleteCause::User);
                }
            }
        }
    }
    log.run(&mut stage, until, &mut component, &notes);
    compare(&log.events, items(&case.expect["events"]))
}

fn plan(input: &Value, until: Time) -> Result<Plan, String> {
    let mut plan = Plan::empty(ORIGIN, until - ORIGIN);
    let spec = json!({"containers": input["containers"], "readinessGates": input["readinessGates"]});
    plan.templates.push(Arc::new(template(&json!({"metadata": {"name": "pod"}, "spec": spec}))?));
    let flags = &mut plan.flags.kubelet;
    flags.relist_takes = span(&input["relistTakes"]);
    flags.first_probe_at_relist = if input["race"] == "write" { 1.0 } else { 0.0 };
    let every = flags.relist_period + flags.relist_takes;
    let (start, mut first) = (moment(&input["kubeletStart"]), moment(&input["relist"]));
    while first < start {
        first += every;
    }
    flags.relist_phase = Some(first - start);
    for (name, script) in input["scripts"].as_object().into_iter().flatten() {
        let sleep = &input["initialSleep"];
        let initial_sleep = (!sleep.is_null()).then(|| span(sleep));
        flags.rehearsals.insert(name.clone(), Rehearsal { initial_sleep, ..rehearsal(script) });
    }
    Ok(plan)
}

fn span(value: &Value) -> Span {
    Span::from_seconds(value.as_f64().unwrap_or(0.0))
}

fn rehearsal(script: &Value) -> Rehearsal {
    let spans = |key: &str| items(&script[key]).iter().map(span).collect();
    let answers = |probe: &str| items(&script["answers"][probe]).iter().map(answers_of).collect();
    Rehearsal {
        create: spans("create"),
        stop: span(&script["stop"]),
        waits: spans("waits"),
        exits: spans("exits"),
        answers: ["startup", "readiness", "liveness"].map(answers),
        initial_sleep: None,
    }
}

fn answers_of(run: &Value) -> Vec<Answer> {
    let answer = |entry: &Value| Answer {
        from: span(&entry["from"]),
        success: match text(&entry["do"]) {
            "ok" => Some(true),
            "fail" => Some(false),
            _ => None,
        },
        latency: Span::from_seconds(entry["latency"].as_f64().unwrap_or(LATENCY)),
    };
    items(run).iter().map(answer).collect()
}

fn acts(input: &Value) -> Vec<(Time, Act<'_>)> {
    let mut acts = vec![(moment(&input["added"]), Act::Add)];
    acts.extend(items(&input["resyncs"]).iter().map(|at| (moment(at), Act::Sync)));
    acts.extend(items(&input["gateWrites"]).iter().map(|write| (moment(&write["t"]), Act::Gate(write))));
    if !input["deleteAt"].is_null() {
        acts.push((moment(&input["deleteAt"]), Act::Delete));
    }
    acts.sort_by_key(|(time, _)| *time);
    acts
}

fn node(world: &mut World, kubelet_started: Time) -> NodeId {
    let node = world.create_node(NewNode {
        name: "node".into(),
        labels: Default::default(),
        taints: Vec::new(),
        allocatable: Default::default(),
        capacity: Default::default(),
        claim: None,
        instance: None,
        zone: None,
    });
    world.nodes[node.index()].kubelet_started = kubelet_started;
    world.set_node_readiness(node, NodeReadiness::Ready);
    node
}

fn add(world: &mut World, node: NodeId) -> PodId {
    let name = Some("pod".into());
    let new = NewPod { template: TemplateId(0), owner: Owner::Bare, ordinal: 1, pinned: None, name };
    let pod = world.create_pod(new);
    world.bind_pod(pod, node);
    pod
}

impl Log {
    fn run(&mut self, stage: &mut Stage, until: Time, component: &mut Component, notes: &RefCell<Vec<Note>>) {
        stage.run(until, component, &mut |world, _| self.look(world, notes));
    }

    /// Notes what changed.
    fn look(&mut self, world: &World, notes: &RefCell<Vec<Note>>) {
        for note in notes.borrow_mut().drain(..) {
            let name = self.names[note.container].clone();
            let (what, probe, more) = match note.deed {
                Deed::Attempt(kind, outcome) => ("attempt", probe(kind), result(outcome)),
                Deed::Start => ("start", "", ""),
                Deed::Exit => ("exit", "", ""),
                Deed::Kill(reason) => ("kill", "", reason_name(reason)),
            };
            self.note(note.at, format!("{what} {name} run {} {probe} {more}", note.run));
        }
        let Some(pod) = self.pod.map(|pod| world.pod(pod)) else { return };
        for index in 0..self.names.len() {
            let now = (pod.containers[index].started, pod.containers[index].ready);
            let before = std::mem::replace(&mut self.shown[index], now);
            let name = self.names[index].clone();
            for (what, before, now) in [("started", before.0, now.0), ("ready", before.1, now.1)] {
                if before != now {
                    self.note(world.now, format!("{what} {name} {now}"));
                }
            }
        }
        if std::mem::replace(&mut self.ready, pod.is_ready()) != pod.is_ready() {
            self.note(world.now, format!("podReady {}", pod.is_ready()));
        }
    }

    fn note(&mut self, at: Time, words: String) {
        self.events.entry(words).or_default().push(at.seconds_from(ORIGIN));
    }
}

const fn probe(kind: Kind) -> &'static str {
    match kind {
        Kind::Startup => "startup",
        Kind::Readiness => "readiness",
        Kind::Liveness => "liveness",
    }
}

const fn result(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Ok => "ok",
        Outcome::Fail => "fail",
        Outcome::Timeout => "timeout",
        Outcome::Error => "error",
    }
}

const fn reason_name(reason: Reason) -> &'static str {
    match reason {
        Reason::Liveness => "liveness",
        Reason::Startup => "startup",
        Reason::Deleted => "deleted",
    }
}

/// A recorded event in the words of the log.
fn words(event: &Value) -> String {
    let (what, container) = (text(&event["what"]), text(&event["container"]));
    match what {
        "attempt" => {
            format!("attempt {container} run {} {} {}", event["run"], text(&event["probe"]), text(&event["result"]))
        }
        "start" | "exit" => format!("{what} {container} run {}  ", event["run"]),
        "kill" => format!("kill {container} run {}  {}", event["run"], text(&event["reason"])),
        "podReady" => format!("podReady {}", event["value"]),
        _ => format!("{what} {container} {}", event["value"]),
    }
}

/// The first difference: each kind of event has its list of times.
fn compare(events: &Events, expected: &[Value]) -> Result<(), String> {
    let mut wanted = Events::new();
    for event in expected {
        wanted.entry(words(event)).or_default().push(event["t"].as_f64().unwrap_or(0.0));
    }
    let mut differences: Vec<(f64, String)> = Vec::new();
    let kinds: std::collections::BTreeSet<&String> = events.keys().chain(wanted.keys()).collect();
    for kind in kinds {
        let sorted = |events: &Events| {
            let mut times = events.get(kind).cloned().unwrap_or_default();
            times.sort_by(f64::total_cmp);
            times
        };
        let (had, wanted) = (sorted(events), sorted(&wanted));
        for index in 0..had.len().max(wanted.len()) {
            let (had, wanted) = (had.get(index).copied(), wanted.get(index).copied());
            if !matches!((had, wanted), (Some(had), Some(wanted)) if (had - wanted).abs() <= 1.5e-6) {
                let first = had.unwrap_or(f64::MAX).min(wanted.unwrap_or(f64::MAX));
                differences.push((first, format!("{kind}: expected at {wanted:?}, got {had:?}")));
                break;
            }
        }
    }
    differences.sort_by(|one, other| one.0.total_cmp(&other.0));
    differences.into_iter().next().map_or(Ok(()), |(_, difference)| Err(difference))
}
