//! What of a recorded timeline a prediction is given: actions, delays of machines, instants of scrapes, the end. Names are
//! given at random; of those that actions mention, the place in the order of creation is read.

use crate::engine::{Span, Time};
use crate::plan::timing::{KnownDelays, KnownMachine};
use crate::record::RecordedRow;
use crate::scenario::diagnostic::{Diagnostic, FileId, Place, Problems};
use std::collections::BTreeMap;

/// The recorder asks for metrics once a second, and a little more.
const POLL_MICROS: i64 = 1_010_000;

/// The recorder's first action comes at most so long after it began to watch.
const WATCH_MICROS: i64 = 1_500_000;

/// NodeClaims that are made so soon after the first of a batch are of it: a prediction makes all at one instant.
const BATCH_MICROS: i64 = 500_000;

/// What is given.
pub struct Given {
    /// The trigger.
    pub trigger: Time,
    /// The first action, microseconds from the trigger.
    pub first: i64,
    /// When the recorder began to watch, which it does before it acts.
    pub watching: i64,
    /// The end of the recording.
    pub last: i64,
    /// What the script did: when, in its own words.
    pub actions: Vec<(i64, String)>,
    /// NodeClaims in the order in which they were made, with their nodes.
    pub claims: Vec<(String, Option<String>)>,
    /// Delays of their machines, in that order.
    pub delays: KnownDelays,
    /// When each autoscaler first synced.
    syncs: Vec<(String, i64)>,
    /// Names of pods in the order in which they were made.
    pods: Vec<String>,
    /// Scrapes: the whole second of the sample, and when the recorder saw it.
    scrapes: Vec<(i64, i64)>,
}

/// Reads what is given from all rows.
pub fn read(rows: &[RecordedRow], trigger: Time, problems: &mut Problems) -> Given {
    let actions: Vec<(i64, String)> =
        rows.iter().filter(|row| row.kind == "Action").map(|row| (row.at, row.detail.clone())).collect();
    let end = actions.iter().find(|(_, words)| words == "end of recording").map(|&(at, _)| at);
    let last = end.or_else(|| rows.last().map(|row| row.at)).unwrap_or(0);
    if end.is_none() {
        let text = "no action `end of recording`: the recording ends with its last row";
        problems.push(Diagnostic::note("N121", Place::top(FileId(0)), text));
    }
    let first = actions.first().map_or(0, |&(at, _)| at).min(last);
    let (claims, delays) = machines(rows);
    let pods = rows.iter().filter(|row| row.is("Pod", "created")).map(|row| row.name.clone()).collect();
    // A watch that is refused is tried again half a second later, and the recorder waits for it.
    let refused = rows.iter().find(|row| row.is("Recorder", "error") && row.at < first).map(|row| row.at);
    let watching = refused.filter(|&at| first - at < WATCH_MICROS).unwrap_or(first);
    let syncs = rows.iter().filter(|row| row.is("HPA", "sync")).map(|row| (row.name.clone(), row.at)).collect();
    Given { trigger, first, watching, last, actions, claims, delays, syncs, pods, scrapes: scrapes(rows) }
}

/// NodeClaims in order of creation, and how long their machines took.
fn machines(rows: &[RecordedRow]) -> (Vec<(String, Option<String>)>, KnownDelays) {
    let mut claims: Vec<(String, Option<String>)> = Vec::new();
    let mut delays = KnownDelays::default();
    let mut batch_began = Vec::new();
    let (mut launched, mut created, mut ready) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    let mut types = BTreeMap::new();
    for row in rows {
        match (row.kind.as_str(), row.event.as_str()) {
            ("NodeClaim", "created") => {
                let began = batch_began.last().copied().filter(|began| row.at - began <= BATCH_MICROS);
                batch_began.push(began.unwrap_or(row.at));
                claims.push((row.name.clone(), None));
                delays.machines.push(machine(row));
            }
            ("NodeClaim", "launched") => drop(launched.entry(row.name.clone()).or_insert(row.at)),
            ("Node", "created") => {
                created.entry(row.name.clone()).or_insert(row.at);
                types.entry(row.name.clone()).or_insert_with(|| row.word("type=").unwrap_or("").to_string());
            }
            ("Node", "ready") => drop(ready.entry(row.name.clone()).or_insert(row.at)),
            _ => {}
        }
    }
    let between = |from: Option<&i64>, to: Option<&i64>| Some(Span::from_micros(u64::try_from(to? - from?).ok()?));
    for (((claim, node), machine), began) in claims.iter_mut().zip(&mut delays.machines).zip(&batch_began) {
        // The provider names a node after its claim.
        let owned = |name: &&String| name.as_str() == claim || name.contains(&format!("-{claim}-"));
        *node = created.keys().find(owned).cloned();
        let made = node.as_ref().and_then(|node| created.get(node));
        machine.instance_type = node.as_ref().and_then(|node| types.get(node)).cloned().unwrap_or_default();
        delays.launch.push(between(Some(began), launched.get(claim)));
        delays.boot.push(between(launched.get(claim), made));
        delays.ready.push(between(made, node.as_ref().and_then(|node| ready.get(node))));
    }
    for (name, made) in &created {
        if !claims.iter().any(|(_, node)| node.as_ref() == Some(name))
            && let Some(span) = between(Some(made), ready.get(name))
        {
            delays.ready_of_node.insert(name.clone(), span);
        }
    }
    (claims, delays)
}

/// What a NodeClaim was made for. Its name is that of its pool and a random end.
fn machine(row: &RecordedRow) -> KnownMachine {
    let pool = row.name.rsplit_once('-').map_or("", |(pool, _)| pool).to_string();
    let requests = row.requests();
    KnownMachine {
        pool,
        instance_type: String::new(),
        millicores: requests[0].milli_ceil(),
        pods: requests[2].units_ceil(),
    }
}

/// Samples of metrics: `timestamp=` and when they were seen.
fn scrapes(rows: &[RecordedRow]) -> Vec<(i64, i64)> {
    let samples = rows.iter().filter(|row| row.is("PodMetrics", "sample"));
    let stamp = |row: &RecordedRow| {
        let seconds: f64 = row.word("timestamp=")?.parse().ok()?;
        (seconds.abs() < 1e7).then_some((seconds * 1e6).round() as i64)
    };
    samples.filter_map(|row| Some((stamp(row)?, row.at))).collect()
}

impl Given {
    /// The phase of the scrapes: a sample's timestamp is cut to the second, and it is seen at the next poll after it.
    pub fn scrape_phase(&self, at: fn(Time, i64) -> Time, start: Time, resolution: Span) -> Option<Span> {
        let &(stamp, _) = self.scrapes.first()?;
        let bounds = self.scrapes.iter().fold((0, 999_999), |(low, high): (i64, i64), &(stamp, seen)| {
            (low.max(seen - stamp - POLL_MICROS), high.min(seen - stamp))
        });
        let inside = if bounds.0 <= bounds.1 { (bounds.0 + bounds.1) / 2 } else { bounds.1 };
        let first = at(self.trigger, stamp + inside.clamp(0, 999_999));
        let (first, start, every) = (first.micros() as i64, start.micros() as i64, resolution.micros().max(1) as i64);
        Some(Span::from_micros((first - start).rem_euclid(every).unsigned_abs()))
    }

    /// When the autoscaler of that name synced first after `at`.
    pub fn first_sync(&self, name: &str, at: i64) -> Option<i64> {
        self.syncs.iter().find(|(own, sync)| own == name && *sync > at).map(|&(_, sync)| sync)
    }

    /// The place of a pod among those that its Deployment made: names are `deployment-hash-random`.
    pub fn pod_of(&self, name: &str, deployment: &str) -> Option<u32> {
        let owned = |pod: &&String| owner_of(pod) == Some(deployment);
        let found = self.pods.iter().filter(owned).position(|pod| pod == name);
        found.map(|index| index as u32)
    }

    /// The number of the NodeClaim that a name means, its own or its node's.
    pub fn claim_of(&self, name: &str) -> Option<u32> {
        let found = self.claims.iter().position(|(claim, node)| claim == name || node.as_deref() == Some(name));
        found.map(|index| index as u32)
    }
}

/// The Deployment in the name of a pod.
pub fn owner_of(pod: &str) -> Option<&str> {
    pod.rsplitn(3, '-').nth(2)
}
