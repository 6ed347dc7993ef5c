//! Replays what the real controllers did: `tests/vectors/<kind>/<group>.jsonl` (or `.jsonl.gz`), one case a line.
//!
//! Here is translation only. A case becomes a plan in which the other components are scripted; it is driven through the
//! same `handle` that runs use, and objects are read by the code that reads users' files. Nothing recognises a case.
//! `KUBELAPSE_VECTORS=DIR` replays another folder of the same layout. One line a kind: `<kind>: N passed, N failed`.

mod cluster_trace;
mod endpointslice_trace;
mod hpa_trace;
mod karpenter_cluster;
mod karpenter_disrupt;
mod karpenter_provision;
mod kubelet_probe;
mod lbc_elbv2;
mod lbc_trace;
mod metrics_window;
mod node_lifecycle;
mod pdb_trace;
mod scheduler_cluster;
mod scheduler_decide;
mod scheduler_preempt;
mod scheduler_queue;
mod stage;
mod turns;
mod vpa_recommend;
mod workload_trace;

use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

/// One recorded case.
pub struct Case {
    /// Unique name.
    pub name: String,
    /// What went in.
    pub input: Value,
    /// What came out.
    pub expect: Value,
    /// The folder of its kind: catalogues that cases name lie there.
    pub folder: PathBuf,
}

/// Replays a case: what differs, in words, or nothing.
type Replay = fn(&Case) -> Result<(), String>;

/// The kinds that are replayed.
const KINDS: &[(&str, Replay)] = &[
    ("scheduler.decide", scheduler_decide::replay),
    ("scheduler.preempt", scheduler_preempt::replay),
    ("scheduler.queue", scheduler_queue::replay),
    ("hpa.trace", hpa_trace::replay),
    ("metrics.window", metrics_window::replay),
    ("pdb.trace", pdb_trace::replay),
    ("lbc.trace", lbc_trace::replay),
    ("karpenter.provision", karpenter_provision::replay),
    ("endpointslice.trace", endpointslice_trace::replay),
    ("node.lifecycle", node_lifecycle::replay),
    ("kubelet.probe", kubelet_probe::replay),
    ("karpenter.disrupt", karpenter_disrupt::replay),
    ("vpa.recommend", vpa_recommend::replay),
    ("workload.trace", workload_trace::replay),
    ("cluster.trace", cluster_trace::replay),
];

/// How many differences are printed a kind, unless `KUBELAPSE_SHOWN` says otherwise.
const SHOWN: usize = 5;

fn shown() -> usize {
    std::env::var("KUBELAPSE_SHOWN").ok().and_then(|text| text.parse().ok()).unwrap_or(SHOWN)
}

fn vectors() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors");
    std::env::var_os("KUBELAPSE_VECTORS").map_or(own, PathBuf::from)
}

/// Text of a file that may lie there compressed.
pub fn text_beside(folder: &Path, name: &str) -> String {
    let plain = folder.join(name);
    if plain.exists() { text_of(&plain) } else { text_of(&folder.join(format!("{name}.gz"))) }
}

fn text_of(path: &Path) -> String {
    let bytes = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut text = String::new();
    if path.extension().is_some_and(|extension| extension == "gz") {
        flate2::read::GzDecoder::new(bytes.as_slice()).read_to_string(&mut text).expect("gzip of UTF-8 text");
    } else {
        text = String::from_utf8(bytes).expect("UTF-8 text");
    }
    text
}

fn sorted_entries(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut entries: Vec<PathBuf> = entries.collect();
    entries.sort();
    entries
}

fn cases(folder: &Path) -> Vec<Case> {
    let is_group = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.ends_with(".jsonl") || name.ends_with(".jsonl.gz")
    };
    let mut cases = Vec::new();
    for path in sorted_entries(folder).into_iter().filter(is_group) {
        for line in text_of(&path).lines().filter(|line| !line.trim().is_empty()) {
            let mut value: Value = serde_json::from_str(line).expect("a case is JSON");
            cases.push(Case {
                name: value["name"].as_str().unwrap_or_default().to_string(),
                input: value["input"].take(),
                expect: value["expect"].take(),
                folder: folder.to_path_buf(),
            });
        }
    }
    cases
}

/// Replays a case; a panic is a difference too.
fn outcome(replay: Replay, case: &Case) -> Result<(), String> {
    catch_unwind(AssertUnwindSafe(|| replay(case))).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
        Err(format!("panicked: {}", text.unwrap_or_default()))
    })
}

#[test]
fn the_real_controllers_are_reproduced() {
    replay_all(&vectors());
}

/// Edges that no recording shows: what the source of the controllers says about them, each with the place that says it.
#[test]
fn what_their_source_says_at_edges_is_done() {
    replay_all(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/derived"));
}

fn replay_all(folder: &Path) {
    let replays: BTreeMap<&str, Replay> = KINDS.iter().copied().collect();
    let (mut failed_in_all, mut replayed) = (0, 0);
    std::panic::set_hook(Box::new(|_| {}));
    for folder in sorted_entries(folder).into_iter().filter(|path| path.is_dir()) {
        let kind = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let Some(&replay) = replays.get(kind.as_str()) else {
            println!("{kind}: not replayed");
            continue;
        };
        let cases = cases(&folder);
        let results: Vec<_> = cases.iter().map(|case| (case, outcome(replay, case))).collect();
        let failures: Vec<_> = results.iter().filter_map(|(case, r)| r.as_ref().err().map(|e| (case, e))).collect();
        println!("{kind}: {} passed, {} failed", cases.len() - failures.len(), failures.len());
        for (case, difference) in failures.iter().take(shown()) {
            println!("  {}: {difference}", case.name);
        }
        failed_in_all += failures.len();
        replayed += cases.len();
    }
    let _ = std::panic::take_hook();
    println!("{replayed} cases replayed");
    assert!(replayed > 0, "{} holds cases", folder.display());
    assert_eq!(failed_in_all, 0, "cases differ from what the real controllers did");
}
