//! A lane per node and, under it, one per pod on it: what each was doing when.

use super::canvas::{Anchor, Colour, Drawing, fitted_name, text_width};
use super::{Axis, EDGE, LEFT, RIGHT, heading, legend, palette, step_words};
use crate::analysis::expectation::is_daemon;
use crate::analysis::{NodeHistory, Phase, PodHistory, Step};
use crate::engine::Time;
use crate::render::Finished;
use crate::render::text::tenths;
use crate::world::{Change, PodId, TargetState};
use std::collections::BTreeMap;

/// More lanes than this are summed up in words.
const LANES_MAX: usize = 40;
const PITCH: f64 = 21.0;
const NODE_HEIGHT: f64 = 11.0;
const POD_HEIGHT: f64 = 15.0;

/// A stretch of a lane.
struct Segment {
    start: Time,
    end: Time,
    colour: Colour,
    state: &'static str,
}

#[derive(Clone, Copy, PartialEq)]
enum Lane {
    /// Position in the history's nodes.
    Node(usize),
    Pod(PodId),
}

/// What befell a pod that serves: its target turned unhealthy or healthy again, or its machine vanished.
#[derive(Clone, Copy, PartialEq)]
enum Turn {
    Unhealthy,
    Healthy,
    Vanished,
}

type Turns = BTreeMap<PodId, Vec<(Time, Turn)>>;

fn turns(finished: &Finished) -> Turns {
    let (mut turns, mut dead) = (Turns::new(), BTreeMap::new());
    for fact in &finished.recorder.facts {
        let of = |target: crate::world::TargetId| finished.world.targets[target.index()].pod;
        let turn = match fact.change {
            Change::TargetStateChanged(target, TargetState::Unhealthy) => Some((of(target), Turn::Unhealthy)),
            Change::TargetStateChanged(target, TargetState::Healthy) => Some((of(target), Turn::Healthy)),
            Change::NodeAlive(node, alive) => {
                if let Some(at) = (!alive).then_some(fact.at) {
                    dead.insert(node, at);
                }
                None
            }
            _ => None,
        };
        if let Some((pod, turn)) = turn {
            turns.entry(pod).or_default().push((fact.at, turn));
        }
    }
    for pod in &finished.world.pods {
        if let Some(&at) = pod.node.and_then(|node| dead.get(&node))
            && pod.created <= at
        {
            turns.entry(pod.id).or_default().push((at, Turn::Vanished));
        }
    }
    turns
}

/// Draws all lanes; returns where they end.
pub fn draw(drawing: &mut Drawing, finished: &Finished, axis: &Axis, top: f64) -> f64 {
    heading(drawing, top, "Nodes and their pods", &[]);
    let (lanes, hidden) = lanes(finished);
    let turns = turns(finished);
    let first = top + 26.0;
    for (row, &lane) in lanes.iter().enumerate() {
        let y = first + PITCH * row as f64;
        match lane {
            Lane::Node(index) => node_lane(drawing, finished, axis, &finished.analysis.history.nodes[index], y),
            Lane::Pod(pod) => {
                let turns = turns.get(&pod).map_or(&[][..], Vec::as_slice);
                pod_lane(drawing, finished, axis, (&finished.analysis.history.pods[pod.index()], turns), y);
            }
        }
    }
    for step in &finished.analysis.steps {
        critical_path(drawing, (finished, &turns), axis, step, (&lanes, first));
    }
    let mut bottom = first + PITCH * lanes.len() as f64;
    if hidden > 0 {
        let text = format!("and {} more that are not drawn", hidden);
        drawing.text((EDGE, bottom + 14.0), (12.0, false), Anchor::Start, palette::FAINT_INK, text);
        bottom += PITCH;
    }
    let has = |wanted: Turn| turns.values().flatten().any(|&(_, turn)| turn == wanted);
    let lost = finished.analysis.history.nodes.iter().any(|node| node.interrupted.or(node.failed).is_some());
    let mut entries = vec![
        (palette::LAUNCHING, "node: launching"),
        (palette::BOOTING, "node: booting"),
        (palette::JOINING, "node: joining"),
        (palette::NODE_READY, "node: ready"),
        (palette::PENDING, "pod: waiting for a node"),
        (palette::PULLING, "pod: pulling images"),
        (palette::STARTING, "pod: starting"),
        (palette::NOT_READY, "pod: not ready"),
        (palette::REGISTERING, "pod: ready, registering"),
        (palette::IN_SERVICE, "pod: in service"),
        (palette::ALARM.opacity(0.75), "pod: target unhealthy"),
        (palette::TERMINATING, "draining, terminating"),
        (palette::ALARM, "notice or machine gone"),
        (palette::BLACK, "critical path of a step"),
    ];
    // What never happens needs no colour.
    entries.retain(|(_, words)| match *words {
        "pod: target unhealthy" => has(Turn::Unhealthy),
        "notice or machine gone" => lost || has(Turn::Vanished),
        "critical path of a step" => !finished.analysis.steps.is_empty(),
        _ => true,
    });
    legend(drawing, top + 4.0, &entries);
    bottom.max(top + 4.0 + 17.0 * entries.len() as f64)
}

/// Which lanes are drawn, in order, and how many are not.
fn lanes(finished: &Finished) -> (Vec<Lane>, usize) {
    let history = &finished.analysis.history;
    let world = finished.world;
    let mut all = Vec::new();
    let drawn_pods: Vec<&PodHistory> = history.pods.iter().filter(|pod| !is_daemon(world, pod)).collect();
    for (index, node) in history.nodes.iter().enumerate() {
        all.push(Lane::Node(index));
        let here = drawn_pods.iter().filter(|pod| node.node.is_some() && world.pod(pod.id).node == node.node);
        all.extend(here.map(|pod| Lane::Pod(pod.id)));
    }
    all.extend(drawn_pods.iter().filter(|pod| world.pod(pod.id).node.is_none()).map(|pod| Lane::Pod(pod.id)));
    if all.len() <= LANES_MAX {
        return (all, 0);
    }
    let critical: Vec<PodId> =
        finished.analysis.steps.iter().filter_map(|step| step.critical_pod()).map(|pod| pod.pod).collect();
    // First critical pods with their nodes, then whole nodes: lost ones, new ones, those of the start.
    let of_node = |index: usize| {
        let node = &history.nodes[index];
        let lost = node.interrupted.is_some() || node.failed.is_some();
        let on_path = critical.iter().any(|&pod| node.node.is_some() && world.pod(pod).node == node.node);
        (on_path, if lost { 1 } else { 2 + u8::from(node.initial) })
    };
    let mut group = 2;
    let ranks: Vec<u8> = all
        .iter()
        .map(|lane| match *lane {
            Lane::Node(index) => {
                let (on_path, rank) = of_node(index);
                group = rank;
                if on_path { 0 } else { rank }
            }
            Lane::Pod(pod) if critical.contains(&pod) => 0,
            Lane::Pod(pod) if world.pod(pod).node.is_none() => 1,
            Lane::Pod(_) => group,
        })
        .collect();
    let mut order: Vec<usize> = (0..all.len()).collect();
    order.sort_by_key(|&index| (ranks[index], index));
    order.truncate(LANES_MAX);
    order.sort_unstable();
    let hidden = all.len() - order.len();
    (order.into_iter().map(|index| all[index]).collect(), hidden)
}

fn draw_segments(drawing: &mut Drawing, axis: &Axis, name: &str, segments: &[Segment], (y, height): (f64, f64)) {
    for segment in segments.iter().filter(|segment| segment.end > segment.start) {
        let (from, to) = (axis.x(segment.start), axis.x(segment.end));
        if segment.end <= axis.start || to - from < 0.05 {
            continue;
        }
        let length = tenths(segment.end.since(segment.start.max(axis.start)));
        let begins = segment.start.max(axis.start).since(axis.start);
        let tip = format!("{name}: {} for {length}, from {}", segment.state, tenths(begins));
        drawing.rect([from, y, to - from, height], segment.colour, tip);
    }
}

/// Turns (time, state) in order of time into segments up to `end`.
fn segments(mut changes: Vec<(Time, Colour, &'static str)>, end: Time) -> Vec<Segment> {
    changes.sort_by_key(|&(at, ..)| at);
    let ends = changes.iter().skip(1).map(|&(at, ..)| at.min(end)).chain([end]).collect::<Vec<_>>();
    let pairs = changes.into_iter().zip(ends);
    pairs.map(|((start, colour, state), end)| Segment { start, end, colour, state }).collect()
}

fn node_lane(drawing: &mut Drawing, finished: &Finished, axis: &Axis, node: &NodeHistory, y: f64) {
    let plan = finished.plan;
    let instance = node.instance.map(|instance| &finished.world.instances[instance.index()]);
    let kind = instance.map(|instance| {
        let name = &plan.instance_type(instance.instance_type).name;
        format!("{name} {}", instance.capacity_type.name())
    });
    let kind = kind.unwrap_or_default();
    let kind_width = text_width(&kind, 11.0, false);
    let name = fitted_name(&node.name, 12.0, true, LEFT - EDGE - 24.0 - kind_width);
    drawing.text((EDGE, y + 12.0), (12.0, true), Anchor::Start, palette::INK, name);
    drawing.text((LEFT - 10.0, y + 12.0), (11.0, false), Anchor::End, palette::FAINT_INK, kind);
    let begin = if node.initial { Some(plan.start) } else { node.begin() };
    let mut changes = Vec::new();
    if node.initial {
        changes.push((plan.start, palette::NODE_READY, "ready"));
    } else {
        let milestones = [
            (begin, palette::LAUNCHING, "launching"),
            (node.launched, palette::BOOTING, "booting"),
            (node.created, palette::JOINING, "joining, not ready"),
        ];
        changes.extend(milestones.into_iter().filter_map(|(at, colour, state)| Some((at?, colour, state))));
    }
    let leaves = [node.deleting, node.interrupted, node.failed].into_iter().flatten().min();
    for &(at, ready) in node.ready_changes.iter().filter(|&&(at, _)| leaves.is_none_or(|leaves| at < leaves)) {
        changes.push(if ready { (at, palette::NODE_READY, "ready") } else { (at, palette::JOINING, "not ready") });
    }
    let notice = [node.interrupted, node.failed].into_iter().flatten().min();
    if let Some(at) = notice.filter(|&at| node.deleting.is_none_or(|deleting| at < deleting)) {
        changes.push((at, palette::ALARM, "notice or failure"));
    }
    if let Some(at) = node.deleting {
        changes.push((at, palette::TERMINATING, "draining and terminating"));
    }
    let end = node.gone.unwrap_or(plan.until).min(plan.until);
    draw_segments(drawing, axis, &node.name, &segments(changes, end), (y + 3.0, NODE_HEIGHT));
}

fn pod_lane(
    drawing: &mut Drawing,
    finished: &Finished,
    axis: &Axis,
    (pod, turns): (&PodHistory, &[(Time, Turn)]),
    y: f64,
) {
    let name = finished.world.pod_name(pod.id);
    let label = fitted_name(&name, 12.0, false, LEFT - EDGE - 34.0);
    drawing.text((EDGE + 18.0, y + 13.0), (12.0, false), Anchor::Start, palette::INK, label);
    draw_segments(drawing, axis, &name, &of_pod(finished, pod, turns), (y + 1.0, POD_HEIGHT));
}

/// What a pod was doing when.
fn of_pod(finished: &Finished, pod: &PodHistory, turns: &[(Time, Turn)]) -> Vec<Segment> {
    let plan = finished.plan;
    let mut changes = vec![(pod.created.max(plan.start), palette::PENDING, "waiting for a node")];
    let mut add = |at: Option<Time>, colour, state| {
        if let Some(at) = at {
            changes.push((at.max(plan.start), colour, state));
        }
    };
    if !pod.initial {
        add(pod.bound, palette::PULLING, "pulling images");
        add(pod.bound.and(pod.pulled), palette::STARTING, "starting");
        add(pod.started, palette::NOT_READY, "not ready");
        add(pod.ready, palette::REGISTERING, "ready, registering");
    }
    add(pod.serving, palette::IN_SERVICE, "in service");
    let leaves = pod.deleting.unwrap_or(Time::MAX);
    let later = |&&(at, _): &&(Time, bool)| pod.serving.is_some_and(|serving| at > serving) && at < leaves;
    for &(at, ready) in pod.ready_changes.iter().filter(later) {
        let (colour, state) =
            if ready { (palette::IN_SERVICE, "in service") } else { (palette::NOT_READY, "not ready") };
        changes.push((at, colour, state));
    }
    for &(at, turn) in turns.iter().filter(|&&(at, _)| pod.serving.is_some_and(|serving| at >= serving) || pod.initial)
    {
        match turn {
            Turn::Unhealthy => changes.push((at, palette::ALARM.opacity(0.75), "target unhealthy")),
            Turn::Healthy => changes.push((at, palette::IN_SERVICE, "in service")),
            Turn::Vanished => {}
        }
    }
    changes.retain(|&(at, ..)| at < leaves);
    if let Some(at) = pod.deleting {
        changes.push((at, palette::TERMINATING, "draining, terminating"));
    }
    let end = pod.gone.unwrap_or(plan.until).min(plan.until);
    // Whatever the API server still says, from here on nothing runs.
    if let Some(&(at, _)) = turns.iter().find(|&&(at, turn)| turn == Turn::Vanished && at < end) {
        changes.retain(|&(other, ..)| other < at);
        changes.push((at, palette::ALARM, "its machine is gone"));
    }
    segments(changes, end)
}

/// A black line under the lanes that the critical path of a step runs through, and words at its end.
fn critical_path(
    drawing: &mut Drawing,
    (finished, turns): (&Finished, &Turns),
    axis: &Axis,
    step: &Step,
    (lanes, first): (&[Lane], f64),
) {
    let Some(critical) = step.critical_pod() else { return };
    let row = |wanted: Lane| lanes.iter().position(|&lane| lane == wanted).map(|row| first + PITCH * row as f64);
    let Some(pod_y) = row(Lane::Pod(critical.pod)) else { return };
    let node = finished.world.pod(critical.pod).node;
    let index = finished.analysis.history.nodes.iter().position(|history| node.is_some() && history.node == node);
    let node_y = index.and_then(|index| row(Lane::Node(index)));
    let mut points: Vec<(f64, f64)> = Vec::new();
    for span in critical.phases.iter().filter(|span| !span.length().is_zero()) {
        let on_node = matches!(
            span.phase,
            Phase::Planning | Phase::Launch | Phase::Boot | Phase::Registration | Phase::NodeReady
        );
        let y = match node_y {
            Some(y) if on_node => y + 3.0 + NODE_HEIGHT + 1.5,
            _ => pod_y + 1.0 + POD_HEIGHT + 1.5,
        };
        points.extend([(axis.x(span.start), y), (axis.x(span.end), y)]);
    }
    let Some(&(x, y)) = points.last() else { return };
    drawing.line(points, palette::BLACK, 3.0, false);
    drawing.rect([x - 4.0, y - 4.0, 8.0, 8.0], palette::BLACK, step_words(step));
    let Some(span) = step.time_to_serve() else { return };
    let words = format!("step {}: in service {} after the trigger", step.number, tenths(span));
    let width = text_width(&words, 12.0, true);
    let pod = &finished.analysis.history.pods[critical.pod.index()];
    let turns = turns.get(&critical.pod).map_or(&[][..], Vec::as_slice);
    // White words need a stretch of the dark colour that is long enough for them.
    let mut serving = of_pod(finished, pod, turns).into_iter().filter(|one| one.colour == palette::IN_SERVICE);
    let room = serving.find_map(|one| {
        let (from, to) = (axis.x(one.start).max(x), axis.x(one.end).min(RIGHT));
        (to - from > width + 20.0).then_some(from)
    });
    let end = axis.x(pod.gone.unwrap_or(axis.until));
    if let Some(from) = room {
        drawing.text((from + 10.0, pod_y + 13.0), (12.0, true), Anchor::Start, palette::WHITE, words);
    } else if end + width + 8.0 < RIGHT {
        // Behind the end of the pod there is nothing.
        drawing.text((end + 6.0, pod_y + 13.0), (12.0, true), Anchor::Start, palette::INK, words);
    }
}
