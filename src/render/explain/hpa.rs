//! Syncs of an autoscaler: the metrics, what each proposes, what stabilisation and limits make of it.

use super::{LABEL, Page};
use crate::engine::Time;
use crate::plan::HpaSpec;
use crate::record::decision::{HpaCourse, HpaDecision, MetricSeen, PodGroups};
use crate::render::text::{line, plural, tenths};
use crate::world::{HpaReason, PodId};

impl Page<'_> {
    /// Who the autoscaler is and by which rules it decides.
    pub(super) fn autoscaler(&mut self, spec: &HpaSpec) {
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

    pub(super) fn quiet(&mut self, first: &HpaDecision, last: &HpaDecision, count: usize) {
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

    /// Syncs as they concern a pod: what it counted for. The rest is the autoscaler's own story.
    pub(super) fn sync_of_pod(&mut self, first: &HpaDecision, (last, count): (&HpaDecision, usize), pod: PodId) {
        let name = self.world.hpas[first.hpa.index()].spec.name.clone();
        let groups = last.metrics.iter().filter_map(|metric| metric.result.as_ref().ok()?.groups.as_ref());
        let counted = groups.into_iter().find_map(|groups| {
            let all = [
                (&groups.unready, "unready: idle on the way up, not counted on the way down"),
                (&groups.missing, "without a sample: idle on the way up, full on the way down"),
                (&groups.ignored, "going away: not counted"),
            ];
            all.into_iter().find(|(pods, _)| pods.contains(&pod)).map(|(_, text)| text)
        });
        let result = match (last.current, last.scale_to) {
            (Some(size), Some(to)) => format!("{size} -> {to}"),
            (Some(size), None) => format!("stays at {size}"),
            (None, _) => "cannot read its target".to_string(),
        };
        let until =
            if count > 1 { format!(" ({count} syncs, until {})", self.clock(last.began)) } else { String::new() };
        let counted = counted.unwrap_or("not a pod that counts");
        self.single(first.began, &format!("hpa/{name} {result}{until}; to it this pod is {counted}"));
    }

    pub(super) fn sync(&mut self, at: Time, sync: &HpaDecision) {
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
            self.fact("selector", &format!("matches {}{took}", plural(sync.pods, "pod")));
        }
        for metric in &sync.metrics {
            self.metric(metric, sync.current);
        }
        self.course(sync);
        if let Some(to) = sync.scale_to {
            let why = if sync.why.is_empty() { String::new() } else { format!(", reason: {}", sync.why) };
            self.fact("writes", &format!("{to} replicas{why}"));
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
