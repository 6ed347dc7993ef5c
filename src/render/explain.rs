//! Decisions in words: what `kubelapse explain` prints, 80 columns of plain text.
//!
//! One function a kind of decision writes its section; a new kind adds an arm to `said` and a function. A section begins
//! with the time and the outcome, so that the left edge alone tells the story.

use super::text::{line, tenths};
use crate::analysis::explain::{Entry, Said};
use crate::engine::Time;
use crate::plan::{HpaId, HpaSpec, Plan};
use crate::record::Decision;
use crate::record::decision::{HpaCourse, HpaDecision, MetricSeen, PodGroups, ScaleDown};
use crate::world::{HpaReason, PodId, World};
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
    out: String,
}

/// The whole answer; `asked` says what was asked for.
pub fn page(plan: &Plan, world: &World, entries: &[Entry], asked: &str) -> String {
    let mut page = Page { plan, world, out: String::new() };
    line(&mut page.out, "", &format!("{}: {asked}", plan.name));
    let of_hpa = |said: &Said| match said {
        Said::Decision(Decision::Hpa(sync)) => Some(sync.hpa),
        Said::Quiet(sync, ..) => Some(sync.hpa),
        Said::Decision(Decision::ScaleDown(_)) | Said::Note(..) => None,
    };
    let speakers: BTreeSet<HpaId> = entries.iter().filter_map(|(_, said)| of_hpa(said)).collect();
    for hpa in &speakers {
        page.autoscaler(&world.hpas[hpa.index()].spec);
    }
    if !speakers.is_empty() {
        page.out.push('\n');
        line(&mut page.out, "", LEGEND);
    }
    if entries.is_empty() {
        page.out.push_str("\nNothing was decided about it.\n");
    }
    for (at, entry) in entries {
        page.said(*at, entry);
    }
    page.out
}

impl Page<'_> {
    fn said(&mut self, at: Time, said: &Said) {
        match said {
            Said::Decision(Decision::Hpa(sync)) => self.sync(at, sync),
            Said::Decision(Decision::ScaleDown(choice)) => self.scale_down(at, choice),
            Said::Quiet(first, last, count) => self.quiet(first, last, *count),
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

    /// Who the autoscaler is and by which rules it decides.
    fn autoscaler(&mut self, spec: &HpaSpec) {
        let flags = &self.plan.flags.hpa;
        let target = format!("{}/{}", spec.target_kind.to_lowercase(), spec.target_name);
        let (name, min, max) = (&spec.name, spec.min_replicas, spec.max_replicas);
        let rules = if spec.behavior.is_some() {
            "its `behavior` limits each direction".to_string()
        } else {
            format!("no `behavior`: up to double or 4, down after {}", flags.downscale_stabilization)
        };
        self.out.push('\n');
        let text = format!(
            "hpa/{name} keeps {target} between {min} and {max}; it looks every {}, leaves ratios within {} of 1 alone; {rules}.",
            flags.sync_period, flags.tolerance
        );
        line(&mut self.out, "", &text);
    }

    fn clock(&self, at: Time) -> String {
        if at < self.plan.start {
            return format!("-{}", tenths(self.plan.start.since(at)));
        }
        tenths(at.since(self.plan.start))
    }

    fn heading(&mut self, at: Time, text: &str) {
        self.out.push('\n');
        let prefix = format!("{:<10}", self.clock(at));
        line(&mut self.out, &prefix, text);
    }

    fn fact(&mut self, label: &str, text: &str) {
        line(&mut self.out, &format!("{:10}{label:<LABEL$}", ""), text);
    }

    fn quiet(&mut self, first: &HpaDecision, last: &HpaDecision, count: usize) {
        let name = self.world.hpas[first.hpa.index()].spec.name.clone();
        let until = self.clock(last.began);
        let size = first.current.map_or("as it is".to_string(), |size| format!("at {size}"));
        self.heading(first.began, &format!("hpa/{name} stays {size} for {count} syncs, until {until}"));
        for (index, metric) in last.metrics.iter().enumerate() {
            let former = first.metrics.get(index).map_or("", |metric| &metric.value);
            let values = if former == metric.value {
                metric.value.clone()
            } else {
                format!("from {former} to {}", metric.value)
            };
            let text = format!("{values}, target {}", metric.target);
            self.result(metric, &text, ", at last", last.current);
        }
        self.course(last);
    }

    fn sync(&mut self, at: Time, sync: &HpaDecision) {
        let name = self.world.hpas[sync.hpa.index()].spec.name.clone();
        let result = match (sync.current, sync.scale_to) {
            (None, _) => "cannot read its target".to_string(),
            (Some(size), None) => format!("stays at {size}"),
            (Some(size), Some(to)) => format!("{size} -> {to}"),
        };
        self.heading(sync.began, &format!("hpa/{name} {result}"));
        if !sync.metrics.is_empty() {
            let took = at.since(sync.began);
            let took = if took.is_zero() { String::new() } else { format!("; the metrics took {took}") };
            self.fact("selector", &format!("matches {} pods{took}", sync.pods));
        }
        for metric in &sync.metrics {
            self.metric(metric, sync.current);
        }
        self.course(sync);
        if let Some(to) = sync.scale_to {
            self.fact("writes", &format!("{to} replicas, reason: {}", sync.why));
        }
    }

    fn metric(&mut self, metric: &MetricSeen, current: Option<i32>) {
        let age = metric.samples.map(|(oldest, newest)| {
            let (oldest, newest) = (tenths(metric.at.since(oldest)), tenths(metric.at.since(newest)));
            let range = if oldest == newest { oldest } else { format!("{newest} to {oldest}") };
            format!("; samples {range} old")
        });
        let text = format!("{}, target {}{}", metric.value, metric.target, age.unwrap_or_default());
        self.result(metric, &text, "", current);
    }

    /// Pods, ratio and proposal of a metric, below its value.
    fn result(&mut self, metric: &MetricSeen, text: &str, when: &str, current: Option<i32>) {
        let result = match &metric.result {
            Err(why) => return self.fact(&short_name(&metric.name), &format!("no value: {why}")),
            Ok(result) => result,
        };
        self.fact(&short_name(&metric.name), text);
        if let Some(groups) = &result.groups {
            self.fact("  pods", &(self.groups(groups) + when));
        }
        let verdict = match result.refilled {
            _ if result.tolerated => "within the tolerance",
            // The second ratio may damp the first, and never turn it round.
            Some(_) if current == Some(result.replicas) => "which would turn it round: no change",
            _ => "outside the tolerance",
        };
        let filled = result.refilled.map(|refilled| format!("; with the unready and missing pods {refilled:.3}"));
        self.fact("  ratio", &format!("{:.3}{}, {verdict}", result.ratio, filled.unwrap_or_default()));
        self.fact("  proposes", &result.replicas.to_string());
    }

    /// `3 ready, 1 unready (web-r1-4)`: groups without pods are left out.
    fn groups(&self, groups: &PodGroups) -> String {
        let mut text = format!("{} ready", groups.ready);
        let others = [("unready", &groups.unready), ("missing", &groups.missing), ("ignored", &groups.ignored)];
        for (name, pods) in others.into_iter().filter(|(_, pods)| !pods.is_empty()) {
            text += &format!(", {} {name} ({})", pods.len(), self.names(pods));
        }
        text
    }

    fn names(&self, pods: &[PodId]) -> String {
        let mut names: Vec<String> = pods.iter().take(NAMES_MAX).map(|&pod| self.world.pod_name(pod)).collect();
        if pods.len() > NAMES_MAX {
            names.push(format!("and {} more", pods.len() - NAMES_MAX));
        }
        names.join(", ")
    }

    /// What stabilisation, policies and bounds made of the proposal.
    fn course(&mut self, sync: &HpaDecision) {
        let spec = self.world.hpas[sync.hpa.index()].spec.clone();
        match &sync.course {
            HpaCourse::Unreadable => self.fact("result", "the scale of its target cannot be read"),
            HpaCourse::Disabled => self.fact("result", "the target is at 0 and minReplicas is not: autoscaling is off"),
            HpaCourse::AboveMax(max) => self.fact("bounds", &format!("above maxReplicas {max}: metrics are not asked")),
            HpaCourse::BelowMin(min) => self.fact("bounds", &format!("below minReplicas {min}: metrics are not asked")),
            HpaCourse::Failed(reason) => {
                self.fact("result", &format!("no usable metrics ({}): nothing changes", reason.name()));
            }
            HpaCourse::Proposed { proposal, stabilized, able, held_by, replicas, limit, .. } => {
                if stabilized != proposal {
                    let held = held_by.map(|(size, at)| {
                        let age = tenths(sync.metrics.last().map_or(sync.began, |metric| metric.at).since(at));
                        format!(": {size} was proposed {age} ago")
                    });
                    let text = format!("{proposal} becomes {stabilized}{} ({})", held.unwrap_or_default(), able.name());
                    self.fact("stabilisation", &text);
                }
                if replicas != stabilized {
                    let why = limit_in_words(*limit, &spec, sync.current.unwrap_or(0));
                    self.fact("limits", &format!("{stabilized} becomes {replicas}: {why} ({})", limit.name()));
                }
            }
        }
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

/// `cpu`, `container cpu`, `queue`: what fits into a column.
fn short_name(name: &str) -> String {
    let name = name.split(" utilization").next().unwrap_or(name);
    let name = name.strip_prefix("external metric ").or(name.strip_prefix("pods metric ")).unwrap_or(name);
    let name = name.strip_suffix("(nil)").unwrap_or(name).replace(" container resource", " (container)");
    let name = name.replace(" resource", "");
    let short: String = name.chars().take(LABEL - 1).collect();
    short
}

/// A reason of ScalingLimited in words.
fn limit_in_words(limit: HpaReason, spec: &HpaSpec, current: i32) -> String {
    match (limit, &spec.behavior) {
        (HpaReason::TooManyReplicas, _) => format!("maxReplicas is {}", spec.max_replicas),
        (HpaReason::TooFewReplicas, _) => format!("minReplicas is {}", spec.min_replicas),
        (HpaReason::ScaleUpLimit, None) => format!("one sync goes from {current} to its double, or to 4"),
        (HpaReason::ScaleUpLimit, Some(behavior)) => policies("scaleUp", &behavior.scale_up),
        (HpaReason::ScaleDownLimit, Some(behavior)) => policies("scaleDown", &behavior.scale_down),
        (other, _) => other.name().to_string(),
    }
}

fn policies(direction: &str, rules: &crate::plan::ScalingRules) -> String {
    let policy = |policy: &crate::plan::ScalingPolicy| {
        let unit = if policy.percent { " %" } else { " pods" };
        format!("{}{unit} per {}", policy.value, policy.period)
    };
    let policies: Vec<String> = rules.policies.iter().map(policy).collect();
    let select = match rules.select {
        crate::plan::SelectPolicy::Max => "the most of",
        crate::plan::SelectPolicy::Min => "the least of",
        crate::plan::SelectPolicy::Disabled => return format!("{direction} is disabled"),
    };
    format!("behavior.{direction} allows {select} {}", policies.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::explain::{Question, answer};
    use crate::analysis::played;
    use crate::engine::Span;
    use crate::record::decision::MetricResult;
    use crate::world::ReplicaSetId;

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
        page(&run.plan, &run.world, &entries, "why")
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
        let starts: Vec<&str> = text.lines().filter(|line| line.starts_with(|c: char| c.is_ascii_digit())).collect();
        assert_eq!(starts.len(), 3, "{text}");
        assert!(
            starts[0].starts_with("1m ") && starts[1].ends_with("no node fits") && starts[2].contains("deletes 2 of 4")
        );
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
