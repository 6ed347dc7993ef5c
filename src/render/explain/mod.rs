//! Decisions in words: what `kubelapse explain` prints, 80 columns of plain text.
//!
//! One function a kind of decision writes its section; a new kind adds an arm to `said` and a function. A section begins
//! with the time and the outcome, so that the left edge alone tells the story. `hpa`: autoscalers. `scheduling`: the
//! scheduler, probes and health checks. `nodes`: Karpenter and EC2. `facts`: what happens in between, a line each.

mod facts;
mod hpa;
mod intro;
mod nodes;
mod scheduling;

use super::text::{line, tenths};
use crate::analysis::explain::{Entry, Question, Said};
use crate::engine::Time;
use crate::plan::{HpaId, Plan};
use crate::record::Decision;
use crate::record::decision::ScaleDown;
use crate::world::{Change, NodeId, PodId, TargetId, TargetState, World};
use std::collections::{BTreeMap, BTreeSet};

/// Names listed before the rest is counted.
const NAMES_MAX: usize = 4;
/// Width of the names of facts.
const LABEL: usize = 15;

/// What the groups of pods mean.
const LEGEND: &str = "Samples of ready pods count. Unready pods (starting, or without a whole sample since they became Ready) \
    count as idle on the way up and not at all on the way down; missing pods (without a sample) count as idle on the way up and as \
    full on the way down; ignored pods are going away.";

/// What the sections are written with.
struct Page<'a> {
    plan: &'a Plan,
    world: &'a World,
    question: &'a Question,
    /// The last entry was a line alone: another one follows without a gap.
    single: bool,
    /// Targets that are unhealthy at this point of the story.
    unhealthy: BTreeSet<TargetId>,
    out: String,
}

/// The whole answer; `asked` says what was asked for.
pub fn page(plan: &Plan, world: &World, entries: &[Entry], question: &Question, asked: &str) -> String {
    let mut page = Page { plan, world, question, single: false, unhealthy: BTreeSet::new(), out: String::new() };
    line(&mut page.out, "", &format!("{}: {asked}", plan.name));
    page.intro();
    let of_hpa = |said: &Said| match said {
        Said::Decision(Decision::Hpa(sync)) => Some(sync.hpa),
        Said::Quiet(sync, ..) => Some(sync.hpa),
        _ => None,
    };
    let speakers: BTreeSet<HpaId> = entries.iter().filter_map(|(_, said)| of_hpa(said)).collect();
    if question.pod.is_none() {
        for hpa in &speakers {
            page.autoscaler(&world.hpas[hpa.index()].spec);
        }
        if !speakers.is_empty() {
            page.out.push('\n');
            line(&mut page.out, "", LEGEND);
        }
    }
    if entries.is_empty() {
        let about = if question.is_about_a_thing() { " about it" } else { "" };
        page.out.push_str(&format!("\nNothing was decided{about}.\n"));
    }
    for (at, entry) in entries {
        page.said(*at, entry);
    }
    page.out
}

impl Page<'_> {
    fn said(&mut self, at: Time, said: &Said) {
        match said {
            Said::Decision(Decision::Hpa(sync)) => match self.question.pod {
                Some(pod) => self.sync_of_pod(sync, (sync, 1), pod),
                None => self.sync(at, sync),
            },
            Said::Quiet(first, last, count) => match self.question.pod {
                Some(pod) => self.sync_of_pod(first, (last, *count), pod),
                None => self.quiet(first, last, *count),
            },
            Said::Decision(Decision::ScaleDown(choice)) => self.scale_down(at, choice),
            Said::Decision(Decision::Scheduling(attempt)) => self.attempt(at, attempt, None),
            Said::Waiting(attempt, count, last) => self.attempt(at, attempt, Some((*count, *last))),
            Said::Decision(Decision::Placement(placement)) => self.placement(at, placement, None),
            Said::Expected(placement, count, last) => self.placement(at, placement, Some((*count, *last))),
            Said::Decision(Decision::Launch(launch)) => self.launch(at, launch),
            Said::Decision(Decision::Disruption(command)) => self.disruption(at, command),
            Said::Decision(Decision::Checked(checked)) => {
                let nodes: Vec<usize> = checked.target.iter().map(|(_, node)| *node).collect();
                self.checked(at, checked, &nodes);
            }
            Said::Checks(checked, nodes) => self.checked(at, checked, nodes),
            Said::Fact(change) => {
                if let Change::TargetStateChanged(target, state) = change {
                    self.unhealthy.remove(target);
                    self.unhealthy.extend((*state == TargetState::Unhealthy).then_some(*target));
                }
                if let Some(text) = self.happened(at, *change) {
                    self.single(at, &text);
                }
            }
            Said::Verdict(verdict) => self.verdict(at, verdict),
            Said::Note(text, count, last) => {
                let again = if *count > 1 {
                    format!(" ({count} times in a row, until {})", self.clock(*last))
                } else {
                    String::new()
                };
                self.heading(at, &format!("{text}{again}"));
            }
        }
    }

    fn clock(&self, at: Time) -> String {
        if at < self.plan.start {
            return format!("-{}", tenths(self.plan.start.since(at)));
        }
        tenths(at.since(self.plan.start))
    }

    fn heading(&mut self, at: Time, text: &str) {
        self.single = false;
        self.begin(at, text);
    }

    /// An entry that is a line alone.
    fn single(&mut self, at: Time, text: &str) {
        let follows = std::mem::replace(&mut self.single, true);
        if follows {
            let prefix = format!("{:<9} ", self.clock(at));
            return line(&mut self.out, &prefix, text);
        }
        self.begin(at, text);
    }

    fn begin(&mut self, at: Time, text: &str) {
        self.out.push('\n');
        let prefix = format!("{:<9} ", self.clock(at));
        line(&mut self.out, &prefix, text);
    }

    fn node(&self, node: NodeId) -> String {
        self.world.node(node).name.to_string()
    }

    /// `ip-1`, or `ip-1, ip-2 and 5 more`.
    fn nodes(&self, nodes: &[NodeId]) -> String {
        few(nodes.iter().map(|&node| self.node(node)))
    }

    fn fact(&mut self, label: &str, text: &str) {
        line(&mut self.out, &format!("{:10}{label:<LABEL$}", ""), text);
    }

    fn names(&self, pods: &[PodId]) -> String {
        few(pods.iter().map(|&pod| self.world.pod_name(pod)))
    }

    fn scale_down(&mut self, at: Time, choice: &ScaleDown) {
        let (name, count) = (self.world.replica_set_name(choice.replica_set), choice.victims.len());
        let text = format!("replicaset/{name} deletes {count} of {} pods", choice.active);
        self.heading(at, &text);
        // Victims chosen by the same criterion stand together, in the order of choice.
        let mut order: Vec<&str> = Vec::new();
        let mut by: BTreeMap<&str, Vec<PodId>> = BTreeMap::new();
        for (pod, criterion) in &choice.victims {
            if !by.contains_key(criterion.as_str()) {
                order.push(criterion);
            }
            by.entry(criterion).or_default().push(*pod);
        }
        for criterion in order {
            let pods = &by[criterion];
            let names: Vec<String> = pods.iter().map(|&pod| self.world.pod_name(pod)).collect();
            self.fact("victims", &names.join(", "));
            self.fact("  because", criterion);
        }
        if let Some(pod) = choice.spared {
            self.fact("next in line", &self.world.pod_name(pod));
        }
    }
}

/// The first few names, and how many more.
fn few(names: impl Iterator<Item = String>) -> String {
    let all: Vec<String> = names.collect();
    let mut shown: Vec<String> = all.iter().take(NAMES_MAX).cloned().collect();
    if all.len() > NAMES_MAX {
        shown.push(format!("and {} more", all.len() - NAMES_MAX));
    }
    shown.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::explain::answer;
    use crate::analysis::played;
    use crate::engine::Span;
    use crate::record::decision::{HpaCourse, HpaDecision, MetricResult, MetricSeen, PodGroups};
    use crate::world::{HpaReason, ReplicaSetId};

    fn seen(at: Time, percent: i32, ratio: f64, replicas: i32, unready: Vec<PodId>) -> MetricSeen {
        let refilled = (!unready.is_empty()).then_some(ratio / 2.0);
        let groups = PodGroups { ready: 2, unready, missing: Vec::new(), ignored: Vec::new() };
        let tolerated = (0.9..=1.1).contains(&refilled.unwrap_or(ratio));
        MetricSeen {
            name: "cpu resource utilization (percentage of request)".to_string(),
            value: format!("{percent} %"),
            target: "70 %".to_string(),
            samples: Some((at.back(Span::from_secs(12)), at.back(Span::from_secs(3)))),
            at,
            result: Ok(MetricResult { ratio, refilled, tolerated, groups: Some(groups), replicas }),
        }
    }

    fn sync(
        began: Time,
        size: i32,
        seen: MetricSeen,
        course: (i32, i32, i32),
        held_by: Option<(i32, Time)>,
    ) -> HpaDecision {
        let (proposal, stabilized, replicas) = course;
        let able = if held_by.is_some() { HpaReason::ScaleDownStabilized } else { HpaReason::ReadyForNewScale };
        let limited = if stabilized == replicas { HpaReason::DesiredWithinRange } else { HpaReason::ScaleUpLimit };
        let metric = seen.name.clone();
        let course = HpaCourse::Proposed { proposal, metric, stabilized, able, held_by, replicas, limit: limited };
        let scale_to = (replicas != size).then_some(replicas);
        let why = if proposal > size { "cpu resource utilization (percentage of request) above target" } else { "" };
        let (hpa, current, metrics) = (HpaId(0), Some(size), vec![seen]);
        HpaDecision { hpa, began, current, pods: 2, metrics, course, scale_to, why: why.to_string() }
    }

    /// Two quiet syncs, a growth that is limited, one that new pods damp, a proposal that is held, and a choice of victims.
    fn story(run: &mut played::Run) {
        let at = |seconds| run.plan.start + Span::from_secs(seconds);
        let pods: Vec<PodId> = run.world.pods.iter().map(|pod| pod.id).take(4).collect();
        let quiet = |seconds| sync(at(seconds), 2, seen(at(seconds), 63, 0.9, 2, Vec::new()), (2, 2, 2), None);
        let grown = sync(at(45), 2, seen(at(45), 210, 3.0, 6, Vec::new()), (6, 6, 4), None);
        let damped = sync(at(60), 4, seen(at(60), 140, 2.0, 4, pods[2..].to_vec()), (4, 4, 4), None);
        let held = sync(at(75), 4, seen(at(75), 28, 0.4, 1, Vec::new()), (1, 4, 4), Some((4, at(60))));
        for decision in [quiet(15), quiet(30), grown, damped, held] {
            run.recorder.decisions.push((decision.began + Span::from_millis(35), Decision::Hpa(decision)));
        }
        let because = "is Pending, the next one is not".to_string();
        let victims = vec![(pods[3], because.clone()), (pods[2], because)];
        let choice = ScaleDown { replica_set: ReplicaSetId(0), active: 4, victims, spared: Some(pods[0]) };
        run.recorder.decisions.push((at(90), Decision::ScaleDown(choice)));
        run.recorder.explanations.push((at(80), format!("{}: no node fits", run.world.pod_name(pods[2]))));
    }

    fn told(question: &Question) -> String {
        let mut run = played::run();
        story(&mut run);
        let entries = answer(&run.plan, &run.world, &run.recorder, question);
        page(&run.plan, &run.world, &entries, question, "why")
    }

    #[test]
    fn the_whole_run_reads_as_a_story_of_eighty_columns() {
        let text = told(&Question::default());
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        assert_eq!(text, include_str!("explain.golden.txt"), "{text}");
    }

    #[test]
    fn a_pod_has_the_decisions_and_sentences_that_name_it() {
        let run = played::run();
        let question = Question { pod: Some(run.world.pods[2].id), ..Question::default() };
        let text = told(&question);
        let at = |wanted: &str| text.find(wanted).unwrap_or_else(|| panic!("{wanted} in {text}"));
        let (sync, note, choice) = (at("\n1m "), at("no node fits"), at("deletes 2 of 4"));
        assert!(sync < note && note < choice, "{text}");
        let (created, ready, gone) = (at("creates pod"), at("is Ready"), at("is gone"));
        assert!(choice < created && created < ready && ready < gone, "{text}");
    }

    #[test]
    fn a_moment_has_the_last_sync_and_what_came_after_it() {
        let run = played::run();
        let moment = |seconds| Question { at: Some(run.plan.start + Span::from_secs(seconds)), ..Question::default() };
        let starts = |text: &str| {
            let times = text.lines().filter(|line| line.starts_with(|c: char| c.is_ascii_digit()));
            times.map(|line| line.split(' ').next().unwrap_or_default().to_string()).collect::<Vec<_>>()
        };
        assert_eq!(starts(&told(&moment(50))), ["45s"]);
        assert_eq!(starts(&told(&moment(95))), ["1m15s", "1m20s", "1m30s"]);
    }
}
