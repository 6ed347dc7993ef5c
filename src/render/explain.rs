//! Decisions in words: what `kubelapse explain` prints, 80 columns of plain text.
//!
//! One function a kind of decision writes its section; a new kind adds an arm to `said` and a function. A section begins
//! with the time and the outcome, so that the left edge alone tells the story.

use super::text::{line, tenths};
use crate::analysis::explain::{Entry, Said};
use crate::engine::{Span, Time};
use crate::plan::{HpaSpec, Plan};
use crate::record::Decision;
use crate::record::decision::{HpaCourse, HpaDecision, MetricSeen, PodGroups, ScaleDown};
use crate::world::{HpaReason, PodId, World};
use std::collections::BTreeMap;

/// Names listed before the rest is counted.
const NAMES_MAX: usize = 4;
/// Width of the names of facts.
const LABEL: usize = 15;

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
    for hpa in world.hpas.iter().filter(|_| entries.iter().any(|(_, said)| !matches!(said, Said::Note(_)))) {
        page.autoscaler(&hpa.spec);
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
            Said::Note(text) => {
                self.out.push('\n');
                let prefix = format!("{:<10}", self.clock(at));
                line(&mut self.out, &prefix, text);
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
        self.heading(first.began, &format!("hpa/{name} stays {size}: {count} syncs, until {until}"));
        for (index, metric) in first.metrics.iter().enumerate() {
            let values: Vec<&str> =
                [first, last].iter().filter_map(|one| Some(one.metrics.get(index)?.value.as_str())).collect();
            let span = if values.windows(2).all(|pair| pair[0] == pair[1]) {
                values.first().map_or(String::new(), ToString::to_string)
            } else {
                values.join(" at first, ") + " at last"
            };
            let text = match &metric.result {
                Err(why) => (*why).to_string(),
                Ok(result) => format!("{span}, target {}; proposes {}", metric.target, result.replicas),
            };
            self.fact(&short_name(&metric.name), &text);
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
            let took =
                if at > sync.began { format!(", answers after {}", at.since(sync.began)) } else { String::new() };
            self.fact("pods", &format!("{} match its selector{took}", sync.pods));
        }
        for metric in &sync.metrics {
            self.metric(metric);
        }
        self.course(sync);
        if !sync.why.is_empty() {
            self.fact("event", &format!("SuccessfulRescale, reason: {}", sync.why));
        }
    }

    fn metric(&mut self, metric: &MetricSeen) {
        let result = match &metric.result {
            Err(why) => return self.fact(&short_name(&metric.name), &format!("no value: {why}")),
            Ok(result) => result,
        };
        let age = metric.samples.map(|(oldest, newest)| {
            let (oldest, newest) = (tenths(metric.at.since(oldest)), tenths(metric.at.since(newest)));
            if oldest == newest { format!(", {oldest} old") } else { format!(", {newest} to {oldest} old") }
        });
        let text = format!("{} of a target of {}{}", metric.value, metric.target, age.unwrap_or_default());
        self.fact(&short_name(&metric.name), &text);
        if let Some(groups) = &result.groups {
            self.fact("", &self.groups(groups));
        }
        let verdict = if result.tolerated { "within the tolerance" } else { "outside the tolerance" };
        let ratio = match result.refilled {
            None => format!("ratio {:.3}, {verdict}: proposes {}", result.ratio, result.replicas),
            Some(refilled) => format!(
                "ratio {:.3}, with unready and missing pods filled in {refilled:.3}, {verdict}: proposes {}",
                result.ratio, result.replicas
            ),
        };
        self.fact("", &ratio);
    }

    /// `3 pods count; unready (use nothing on the way up): a, b`.
    fn groups(&self, groups: &PodGroups) -> String {
        let mut text = format!("{} ready", groups.ready);
        let others = [("unready", &groups.unready), ("missing", &groups.missing), ("ignored", &groups.ignored)];
        for (name, pods) in others {
            text += &format!(", {} {name}", pods.len());
            if !pods.is_empty() {
                text += &format!(" ({})", self.names(pods));
            }
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
        format!("{}{unit} per {}", policy.value, shown(policy.period))
    };
    let policies: Vec<String> = rules.policies.iter().map(policy).collect();
    let select = match rules.select {
        crate::plan::SelectPolicy::Max => "the most of",
        crate::plan::SelectPolicy::Min => "the least of",
        crate::plan::SelectPolicy::Disabled => return format!("{direction} is disabled"),
    };
    format!("behavior.{direction} allows {select} {}", policies.join(", "))
}

fn shown(span: Span) -> String {
    span.to_string()
}
