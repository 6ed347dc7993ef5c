//! A cluster in which one component runs and everything else is written by a script, and readers of API objects.

use kubelapse::components::wiring::Wiring;
use kubelapse::components::{Cx, Event};
use kubelapse::engine::{Queue, Span, Time};
use kubelapse::manifest;
use kubelapse::plan::{Plan, PodTemplate, TemplateId};
use kubelapse::record::{Detail, Recorder};
use kubelapse::scenario::diagnostic::{FileId, Place, Problems};
use kubelapse::scenario::yaml::Node;
use kubelapse::world::{
    Address, Change, Ipv6Address, NewNode, NewPod, NodeId, Owner, PodId, PodObject, PodPhase, World,
};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

/// 2000-01-01T00:00:00Z, the zero of all recordings.
pub const ORIGIN: Time = Time::from_unix_seconds(946_684_800);

/// A component: `None` starts it.
pub type Component<'c> = dyn FnMut(&mut Cx, Option<Event>) + 'c;

/// The cluster.
pub struct Stage {
    pub plan: Plan,
    pub world: World,
    queue: Queue<Event>,
    recorder: Recorder,
    wiring: Wiring,
    /// The component runs.
    started: bool,
}

impl Stage {
    /// A cluster of a plan; nothing runs yet.
    pub fn new(plan: Plan) -> Stage {
        let world = World::new(&plan);
        let (queue, recorder, wiring) = (Queue::new(), Recorder::new(Detail::Facts), Wiring::new(&plan));
        Stage { plan, world, queue, recorder, wiring, started: false }
    }

    /// Starts the component or hands it an event.
    pub fn hand(&mut self, component: &mut Component, event: Option<Event>) -> Vec<Change> {
        let Stage { plan, world, queue, recorder, .. } = self;
        let now = world.now;
        component(&mut Cx { now, plan, world, queue, recorder, random: None }, event);
        self.started = true;
        self.send()
    }

    /// Wakes whoever watches what has changed.
    fn send(&mut self) -> Vec<Change> {
        let mut journal = Vec::new();
        self.world.take_journal(&mut journal);
        // A component that does not run yet lists everything when it starts.
        for &change in journal.iter().filter(|_| self.started) {
            self.wiring.wake(change, self.world.now, (&self.plan, &self.world), None, &mut self.queue);
        }
        journal
    }

    /// Deals with everything that is due up to `until`; `after` sees what each event has done.
    pub fn run(&mut self, until: Time, component: &mut Component, after: &mut dyn FnMut(&World, &[Change])) {
        self.send();
        let mut busy = true;
        while busy {
            busy = false;
            self.queue.push(until, MARK);
            while let Some((at, event)) = self.queue.pop().filter(|(_, event)| *event != MARK) {
                busy = true;
                self.world.now = at;
                self.wiring.delivered(&event);
                let journal = self.hand(component, Some(event));
                after(&self.world, &journal);
            }
        }
        self.world.now = until;
    }
}

/// Something that no component hears of: the end of a stretch of time.
const MARK: Event = Event::Scheduler(kubelapse::components::kubernetes::scheduler::Event::PodAdded(PodId(u32::MAX)));

/// The items of a list; nothing has none.
pub fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// Text; nothing is empty.
pub fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// The name of an object.
pub fn name(object: &Value) -> &str {
    text(&object["metadata"]["name"])
}

/// So many seconds after the origin.
pub fn moment(value: &Value) -> Time {
    at(value.as_f64().unwrap_or(0.0))
}

/// So many seconds after the origin, which may be negative.
pub fn at(seconds: f64) -> Time {
    if seconds < 0.0 { ORIGIN.back(Span::from_seconds(-seconds)) } else { ORIGIN + Span::from_seconds(seconds) }
}

/// Reads an object as users' files are read; recorded objects are cut down to what matters, which is no error.
pub fn read<T>(object: &Value, reader: impl Fn(&Node, &mut Problems) -> Option<T>) -> Result<T, String> {
    let node = Node::from_json(object, Place::top(FileId(0)));
    reader(&node, &mut Problems::new()).ok_or_else(|| format!("unreadable: {object}"))
}

/// Pods and nodes by name.
#[derive(Default)]
pub struct Names {
    pub pods: BTreeMap<String, PodId>,
    pub nodes: BTreeMap<String, NodeId>,
    created: u32,
}

/// The template of a recorded pod.
pub fn template(object: &Value) -> Result<PodTemplate, String> {
    read(object, manifest::read_pod)
}

/// The templates of all recorded pods, each once.
pub fn templates(steps: &[Value]) -> Result<Vec<Arc<PodTemplate>>, String> {
    let mut templates: Vec<Arc<PodTemplate>> = vec![Arc::new(PodTemplate::default())];
    for object in steps.iter().flat_map(|step| items(&step["pods"])) {
        let template = template(object)?;
        if !templates.iter().any(|other| **other == template) {
            templates.push(Arc::new(template));
        }
    }
    Ok(templates)
}

impl Names {
    /// The node of that name; one that was never written does not exist.
    pub fn node(&mut self, world: &mut World, name: &str) -> NodeId {
        if let Some(&node) = self.nodes.get(name) {
            return node;
        }
        let node = world.create_node(NewNode {
            name: name.into(),
            labels: Default::default(),
            taints: Vec::new(),
            allocatable: Default::default(),
            capacity: Default::default(),
            claim: None,
            instance: None,
            zone: None,
        });
        world.remove_node(node);
        self.nodes.insert(name.to_string(), node);
        node
    }

    /// Creates or replaces a pod.
    pub fn write_pod(&mut self, world: &mut World, value: &Value, owner: Owner) -> Result<PodId, String> {
        let template = template(value)?;
        let place = world.templates.iter().position(|other| **other == template).ok_or("an unknown template")?;
        let template = TemplateId(u32::try_from(place).map_err(|error| error.to_string())?);
        let node_name = text(&value["spec"]["nodeName"]);
        let node = (!node_name.is_empty()).then(|| self.node(world, node_name));
        let known = self.pods.get(name(value)).copied().filter(|&pod| world.pod(pod).gone.is_none());
        let pod = known.unwrap_or_else(|| {
            self.created += 1;
            let name = Some(name(value).into());
            world.create_pod(NewPod { template, owner, ordinal: self.created, pinned: None, name })
        });
        self.pods.insert(name(value).to_string(), pod);
        let condition = |kind: &str| items(&value["status"]["conditions"]).iter().find(|entry| entry["type"] == kind);
        let target = condition("DisruptionTarget").filter(|entry| entry["status"] == "True");
        let object = PodObject {
            template,
            node,
            phase: phase(text(&value["status"]["phase"])),
            ready: condition("Ready").map(|entry| entry["status"] == "True"),
            deleting: !value["metadata"]["deletionTimestamp"].is_null(),
            disruption_target: target.map(|entry| timestamp(&entry["lastTransitionTime"])),
            address: ips(value).find_map(address),
            ipv6: ips(value).find_map(ipv6),
        };
        world.write_pod(pod, object);
        Ok(pod)
    }
}

/// A recorded time such as 1999-12-31T23:56:40Z.
pub fn timestamp(value: &Value) -> Time {
    let number = |range: std::ops::Range<usize>| text(value).get(range).and_then(|part| part.parse::<i64>().ok());
    let parts = [0..4, 5..7, 8..10, 11..13, 14..16, 17..19].map(|range| number(range).unwrap_or(0));
    let [year, month, day, hour, minute, second] = parts;
    // Days of the proleptic Gregorian calendar, counted from March.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1 - 719_468;
    let seconds = days * 86_400 + hour * 3_600 + minute * 60 + second;
    Time::from_unix_seconds(u64::try_from(seconds).unwrap_or(0))
}

fn phase(text: &str) -> PodPhase {
    match text {
        "Running" => PodPhase::Running,
        "Succeeded" => PodPhase::Succeeded,
        "Failed" => PodPhase::Failed,
        _ => PodPhase::Pending,
    }
}

/// `status.podIPs`, or the one address of a pod that was recorded without them.
fn ips(pod: &Value) -> impl Iterator<Item = &str> {
    let ips = items(&pod["status"]["podIPs"]).iter().map(|entry| text(&entry["ip"]));
    let one = ips.len() == 0;
    ips.chain(one.then(|| text(&pod["status"]["podIP"])))
}

fn ipv6(text: &str) -> Option<Ipv6Address> {
    text.parse::<std::net::Ipv6Addr>().ok().map(|address| Ipv6Address(address.into()))
}

fn address(text: &str) -> Option<Address> {
    text.parse::<std::net::Ipv4Addr>().ok().map(|address| Address(address.into()))
}
