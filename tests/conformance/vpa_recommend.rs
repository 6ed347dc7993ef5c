//! `vpa.recommend`: samples and OOM kills in, recommendations out.
//!
//! A case becomes flags, a policy and a list of what the recommender hears, in order; what it hears goes to the same
//! histories and estimators that runs use.

use crate::Case;
use kubelapse::components::kubernetes::vpa_recommender::estimate::{
    Amounts, ContainerPolicy, ContainerRecommendation, recommend,
};
use kubelapse::components::kubernetes::vpa_recommender::model::Workload;
use kubelapse::engine::{Span, Time};
use kubelapse::plan::flags::{Percentiles, VpaFlags};
use kubelapse::rules::labels::{LabelSelector, Labels};
use kubelapse::rules::quantity::Quantity;
use serde_json::Value;
use std::collections::BTreeMap;

/// 2000-01-01T00:00:00Z.
const ORIGIN: Time = Time::from_unix_seconds(946_684_800);

/// What the recommender hears at one time, in this order.
#[derive(Clone, Debug, PartialEq, PartialOrd)]
enum Heard {
    Cpu { pod: String, container: String, series: usize, millicores: i64 },
    Memory { pod: String, container: String, series: usize, bytes: i64 },
    Oom { pod: String, container: String, at: Time, request: i64 },
    Observe,
}

impl Heard {
    /// Samples by pod, container, place of the series, CPU before memory; then kills; then the recommendation.
    fn rank(&self) -> (u8, &str, &str, usize, u8) {
        match self {
            Heard::Cpu { pod, container, series, .. } => (0, pod, container, *series, 0),
            Heard::Memory { pod, container, series, .. } => (0, pod, container, *series, 1),
            Heard::Oom { .. } => (1, "", "", 0, 0),
            Heard::Observe => (2, "", "", 0, 0),
        }
    }
}

/// Replays a case.
pub fn replay(case: &Case) -> Result<(), String> {
    let flags = flags(&case.input["config"])?;
    let policies = policies(&case.input["resourcePolicy"])?;
    let mut expected = items(&case.expect["recommendations"]).iter();
    let mut workload = Workload::default();
    let pods = watch(&case.input["pods"], &flags, &mut workload);
    for (at, heard) in heard(&case.input)? {
        let id = |pod: &str| pods.get(pod).copied().unwrap_or(u32::MAX);
        match heard {
            Heard::Cpu { pod, container, millicores, .. } => {
                workload.add_cpu(id(&pod), &container, at, millicores);
            }
            Heard::Memory { pod, container, bytes, .. } => {
                workload.add_memory(&flags, id(&pod), &container, at, bytes);
            }
            Heard::Oom { pod, container, at, request } => {
                workload.record_oom(&flags, id(&pod), &container, at, request);
            }
            Heard::Observe => {
                let answer = recommend(&workload.merged(&flags), &policies, &flags);
                let expected = expected.next().ok_or("more recommendations than expected")?;
                if moment(&expected["t"])? != at {
                    return Err(format!("expected a recommendation at {}", expected["t"]));
                }
                compare(&answer, &expected["containers"]).map_err(|text| format!("t {}: {text}", expected["t"]))?;
            }
        }
    }
    expected.next().map_or(Ok(()), |missing| Err(format!("no recommendation at {}", missing["t"])))
}

fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn number(value: &Value) -> Result<f64, String> {
    value.as_f64().ok_or_else(|| format!("{value} is no number"))
}

fn span(value: &Value) -> Result<Span, String> {
    number(value).map(Span::from_seconds)
}

fn moment(value: &Value) -> Result<Time, String> {
    span(value).map(|span| ORIGIN + span)
}

fn whole(value: &Value) -> Result<i64, String> {
    value.as_i64().map_or_else(|| number(value).map(|number| number as i64), Ok)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_string()
}

fn quantity(value: &Value) -> Result<Option<Quantity>, String> {
    let Some(text) = value.as_str() else { return Ok(None) };
    Quantity::parse(text).map(Some).map_err(|error| format!("{text}: {error:?}"))
}

fn amounts(value: &Value) -> Result<Amounts, String> {
    Ok(Amounts { cpu: quantity(&value["cpu"])?, memory: quantity(&value["memory"])? })
}

fn percentiles(value: &Value) -> Result<Percentiles, String> {
    Ok(Percentiles { target: number(&value[0])?, lower: number(&value[1])?, upper: number(&value[2])? })
}

fn flags(config: &Value) -> Result<VpaFlags, String> {
    let most = amounts(&config["maxAllowed"])?;
    let confidence_interval = span(&config["confidenceInterval"])?;
    Ok(VpaFlags {
        safety_margin: number(&config["safetyMargin"])?,
        pod_min_cpu_millicores: number(&config["podMinCpuMillicores"])?,
        pod_min_memory_mb: number(&config["podMinMemoryMb"])?,
        cpu_percentiles: percentiles(&config["cpuPercentiles"])?,
        memory_percentiles: percentiles(&config["memoryPercentiles"])?,
        cpu_confidence_interval: confidence_interval,
        memory_confidence_interval: confidence_interval,
        cpu_half_life: span(&config["cpuHalfLife"])?,
        memory_half_life: span(&config["memoryHalfLife"])?,
        memory_interval: span(&config["memoryInterval"])?,
        oom_bump_up_ratio: number(&config["oomBumpUpRatio"])?,
        oom_min_bump_up: number(&config["oomMinBumpUp"])?,
        round_cpu_millicores: whole(&config["roundCpuMillicores"])?,
        round_memory_bytes: whole(&config["roundMemoryBytes"])?,
        max_allowed_cpu: most.cpu,
        max_allowed_memory: most.memory,
        ..VpaFlags::default()
    })
}

fn policies(resource_policy: &Value) -> Result<Vec<ContainerPolicy>, String> {
    let policy = |entry: &Value| {
        let controlled = entry["controlledResources"].as_array();
        let controls = |name: &str| controlled.is_none_or(|names| names.iter().any(|entry| entry == name));
        Ok(ContainerPolicy {
            container: text(&entry["containerName"]),
            off: entry["mode"] == "Off",
            controls_cpu: controls("cpu"),
            controls_memory: controls("memory"),
            min_allowed: amounts(&entry["minAllowed"])?,
            max_allowed: amounts(&entry["maxAllowed"])?,
        })
    };
    items(&resource_policy["containerPolicies"]).iter().map(policy).collect()
}

/// The pods that the autoscaler selects, numbered; equal labels get equal numbers too.
fn watch(pods: &Value, flags: &VpaFlags, workload: &mut Workload) -> BTreeMap<String, u32> {
    let selector = LabelSelector::from_labels(&Labels::from([("app".to_string(), "web".to_string())]));
    let mut label_sets: BTreeMap<Labels, u32> = BTreeMap::new();
    let mut ids = BTreeMap::new();
    for (name, pod) in pods.as_object().into_iter().flatten() {
        let labels = pod["labels"].as_object().into_iter().flatten();
        let labels: Labels = labels.map(|(label, value)| (label.clone(), text(value))).collect();
        if !selector.matches(&labels) {
            continue;
        }
        let next = label_sets.len() as u32;
        let label_set = *label_sets.entry(labels).or_insert(next);
        let id = ids.len() as u32;
        ids.insert(name.clone(), id);
        for container in items(&pod["containers"]) {
            workload.add_container(flags, id, label_set, &text(container));
        }
    }
    ids
}

/// Everything the recommender hears, in order.
fn heard(input: &Value) -> Result<Vec<(Time, Heard)>, String> {
    let mut all = Vec::new();
    for (series, entry) in items(&input["series"]).iter().enumerate() {
        let (pod, container) = (text(&entry["pod"]), text(&entry["container"]));
        let (from, every) = (moment(&entry["from"])?, span(&entry["every"])?);
        let (cpu, memory) = (items(&entry["cpu"]), items(&entry["memory"]));
        for k in 0..whole(&entry["count"])?.unsigned_abs() {
            let at = from + every * k;
            let cycle = |list: &[Value]| list.get((k as usize).checked_rem(list.len())?).map(whole);
            let (pod, container) = (pod.clone(), container.clone());
            if let Some(millicores) = cycle(cpu).transpose()? {
                let (pod, container) = (pod.clone(), container.clone());
                all.push((at, Heard::Cpu { pod, container, series, millicores }));
            }
            if let Some(bytes) = cycle(memory).transpose()? {
                all.push((at, Heard::Memory { pod, container, series, bytes }));
            }
        }
    }
    for oom in items(&input["ooms"]) {
        let at = moment(&oom["t"])?;
        let reported = if oom["reported"].is_null() { at } else { moment(&oom["reported"])? };
        let (pod, container) = (text(&oom["pod"]), text(&oom["container"]));
        all.push((reported, Heard::Oom { pod, container, at, request: whole(&oom["memory"])? }));
    }
    for at in items(&input["observe"]) {
        all.push((moment(at)?, Heard::Observe));
    }
    all.sort_by(|(a, what), (b, other)| a.cmp(b).then_with(|| what.rank().cmp(&other.rank())));
    Ok(all)
}

fn compare(answer: &BTreeMap<String, ContainerRecommendation>, expected: &Value) -> Result<(), String> {
    let names: Vec<&String> = expected.as_object().into_iter().flatten().map(|(name, _)| name).collect();
    if let Some(extra) = answer.keys().find(|name| !names.contains(name)) {
        return Err(format!("{extra} should have no recommendation"));
    }
    for name in names {
        let entry = answer.get(name).ok_or_else(|| format!("{name} has no recommendation"))?;
        let fields = [
            ("target", entry.target),
            ("lowerBound", entry.lower_bound),
            ("upperBound", entry.upper_bound),
            ("uncappedTarget", entry.uncapped_target),
        ];
        for (field, amount) in fields {
            let wanted = &expected[name][field];
            if amounts(wanted)? != amount {
                return Err(format!("{name} {field}: {wanted} expected, {amount:?} found"));
            }
        }
    }
    Ok(())
}
