//! Rows of a recording as happenings.

use super::{Happening, Kind, Timeline};
use crate::record::{RecordedRow, Recording};
use std::collections::{BTreeMap, BTreeSet};

/// What the recording says happened.
pub fn observed(recording: &Recording) -> Timeline {
    let mut happenings = Vec::new();
    let lives = lives(&recording.rows);
    let mut targets: BTreeMap<(&str, u32), &str> = BTreeMap::new();
    let mut seen: BTreeSet<(Kind, &str, u32)> = BTreeSet::new();
    // The condition is written before the deletion, and may be read after it.
    for (row, &life) in recording.rows.iter().zip(&lives).filter(|(row, _)| row.is("Pod", "disruptiontarget")) {
        targets.insert((&row.name, life), row.detail.split(':').next().unwrap_or(""));
    }
    for (row, &life) in recording.rows.iter().zip(&lives) {
        let Some(kind) = kind_of(row) else { continue };
        let once = matches!(row.kind.as_str(), "Pod" | "Node" | "NodeClaim")
            && !matches!(kind, Kind::PodUnschedulable | Kind::NodeTaints | Kind::ClaimConsolidatable);
        if once && !seen.insert((kind, &row.name, life)) {
            continue;
        }
        let detail = match kind {
            Kind::Action => row.detail.clone(),
            Kind::Scaled => row.detail.trim_start_matches("spec.replicas ").to_string(),
            Kind::PodScheduled => row.detail.clone(),
            Kind::PodDeleting => targets.get(&(row.name.as_str(), life)).map_or("", |reason| cause(reason)).to_string(),
            Kind::ClaimCreated => claim(row),
            Kind::ClaimLaunched | Kind::NodeCreated => {
                row.word("type=").filter(|kind| *kind != "None").unwrap_or("static").to_string()
            }
            Kind::Command => {
                let (reason, detail) = command(row);
                happenings.push(Happening { at: row.at, kind, subject: reason, detail });
                continue;
            }
            _ => String::new(),
        };
        let subject = if life == 0 { row.name.clone() } else { format!("{} ({})", row.name, life + 1) };
        happenings.push(Happening { at: row.at, kind, subject, detail });
    }
    happenings.extend(recording.refused.iter().map(|(at, pod)| Happening {
        at: *at,
        kind: Kind::EvictionRefused,
        subject: pod.clone(),
        detail: String::new(),
    }));
    happenings.extend(recording.sync_ends.iter().map(|(at, name)| Happening {
        at: *at,
        kind: Kind::SyncEnded,
        subject: name.clone(),
        detail: String::new(),
    }));
    Timeline { rests: recording.rested.clone(), ..Timeline::of(happenings) }
}

/// How many pods of that name were gone before each row: a StatefulSet's come back under their names.
fn lives(rows: &[RecordedRow]) -> Vec<u32> {
    let mut gone: BTreeMap<&str, u32> = BTreeMap::new();
    rows.iter()
        .map(|row| {
            let before = if row.kind == "Pod" { gone.get(row.name.as_str()).copied().unwrap_or(0) } else { 0 };
            if row.is("Pod", "gone") {
                gone.insert(&row.name, before + 1);
            }
            before
        })
        .collect()
}

fn kind_of(row: &RecordedRow) -> Option<Kind> {
    Some(match (row.kind.as_str(), row.event.as_str()) {
        ("Action", _) if row.detail != "end of recording" => Kind::Action,
        ("HPA", "sync") => Kind::Synced,
        ("Deployment" | "StatefulSet", "scaled") => Kind::Scaled,
        ("Pod", "created") => Kind::PodCreated,
        ("Pod", "unschedulable") => Kind::PodUnschedulable,
        ("Pod", "scheduled") => Kind::PodScheduled,
        ("Pod", "acked") => Kind::PodAcknowledged,
        ("Pod", "running") => Kind::PodRunning,
        ("Pod", "ready") => Kind::PodReady,
        ("Pod", "deleting") => Kind::PodDeleting,
        ("Pod", "gone") => Kind::PodGone,
        ("KarpenterLog", event) if event.starts_with("computing scheduling decision") => Kind::BatchClosed,
        ("KarpenterLog", "disrupting node(s)") => Kind::Command,
        ("NodeClaim", "created") => Kind::ClaimCreated,
        ("NodeClaim", "launched") => Kind::ClaimLaunched,
        ("NodeClaim", "registered") => Kind::ClaimRegistered,
        ("NodeClaim", "initialized") => Kind::ClaimInitialized,
        ("NodeClaim", "consolidatable") if row.detail.starts_with("True") => Kind::ClaimConsolidatable,
        ("NodeClaim", "deleting") => Kind::ClaimDeleting,
        ("NodeClaim", "gone") => Kind::ClaimGone,
        ("Node", "created") => Kind::NodeCreated,
        ("Node", "ready") => Kind::NodeReady,
        ("Node", "tainted" | "untainted") => Kind::NodeTaints,
        ("Node", "deleting") => Kind::NodeDeleting,
        ("Node", "gone") => Kind::NodeGone,
        _ => return None,
    })
}

/// Reasons of condition DisruptionTarget.
fn cause(reason: &str) -> &str {
    match reason {
        "EvictionByEvictionAPI" => "eviction",
        "DeletionByTaintManager" => "taint",
        "DeletionByPodGC" => "node gone",
        "PreemptionByScheduler" => "preemption",
        other => other,
    }
}

/// `requests={'cpu': '1500m', 'memory': '1536Mi', 'pods': '3'} instance_types=3`.
fn claim(row: &RecordedRow) -> String {
    let [cpu, memory, pods] = row.requests();
    let types = row.detail.split_once("instance_types=").map_or("", |(_, rest)| rest);
    let types: String = types.chars().take_while(char::is_ascii_digit).collect();
    super::predicted::claim_words(cpu.milli_ceil(), memory.units_ceil(), pods.units_ceil(), &types)
}

/// The reason of a command, and its decision with candidates and replacement.
fn command(row: &RecordedRow) -> (String, String) {
    let value: serde_json::Value = serde_json::from_str(&row.detail).unwrap_or_default();
    let text = |key: &str| value[key].as_str().unwrap_or("").to_string();
    let reason = text("command").split('/').next().unwrap_or("").to_lowercase();
    let list = |key: &str| value[key].as_array().cloned().unwrap_or_default();
    let candidates = list("disrupted-nodes");
    let mut types: Vec<&str> = candidates.iter().filter_map(|node| node["instance-type"].as_str()).collect();
    types.sort_unstable();
    let replacements = list("replacement-nodes");
    let options = replacements.iter().map(|replacement| {
        let text = replacement["instance-types"].as_str().unwrap_or("");
        // The log names five: `a, b, c, d, e and 1 other(s)`.
        let (named, others) = text.split_once(" and ").unwrap_or((text, ""));
        let others = others.split(' ').next().and_then(|count| count.parse().ok()).unwrap_or(0);
        super::predicted::options_words(named.split(", ").collect(), others)
    });
    let mut options: Vec<String> = options.collect();
    options.sort_unstable();
    let pods = value["pod-count"].as_u64().unwrap_or(0);
    (reason, super::predicted::command_words(&types, pods, &options))
}
