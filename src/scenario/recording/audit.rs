//! `audit.csv.gz`: how long requests took, which tells when the recording machine was slow, which evictions were refused, and
//! when things were written that the recorder saw later. Only the comparison reads that. A prediction is given one thing of it:
//! when the API server had answered the requests of the recorder's own actions.

use crate::record::RecordedRow;
use crate::scenario::Draft;
use crate::scenario::diagnostic::Diagnostic;
use crate::scenario::files;
use std::collections::BTreeMap;
use std::io::Read;

/// Requests take 5 to 50 ms in quiet, says the recordings' README.
const QUIET_MILLISECONDS: f64 = 50.0;
/// An eviction that takes longer has met another one, and rested half a second. Source: `eviction.go` (`EvictionsRetry`).
const REST_MILLISECONDS: f64 = 500.0;
/// Most bytes of an unpacked log.
const BYTES_MAX: u64 = 64 << 20;
/// Columns of the log.
const COLUMNS: [&str; 8] = ["t", "latency_ms", "resource", "subresource", "name", "code", "verb", "user"];
/// Who sends what the actions say.
const RECORDER: &str = "recorder";
/// Whose writes of a pod's status are those of its kubelet.
const KUBELET: &str = "kwok";
/// A recorder reads a watch event at most so long after the write that it tells of, microseconds.
const READ_MICROS: i64 = 2_500_000;
/// Rows with the writes that they tell of: kind, event, resource, subresource, verbs.
const WRITES: [(&str, &str, &str, &str, &[&str]); 23] = [
    ("Deployment", "scaled", "deployments", "scale", &["update", "patch"]),
    ("Deployment", "scaled", "deployments", "", &["update", "patch"]),
    ("StatefulSet", "scaled", "statefulsets", "scale", &["update", "patch"]),
    ("StatefulSet", "scaled", "statefulsets", "", &["update", "patch"]),
    // The last finalizer is taken away.
    ("Node", "gone", "nodes", "", &["patch"]),
    ("NodeClaim", "gone", "nodeclaims", "", &["patch"]),
    ("Pod", "unschedulable", "pods", "status", &["patch"]),
    ("Pod", "scheduled", "pods", "binding", &["create"]),
    ("Pod", "acked", "pods", "status", &["patch"]),
    ("Pod", "running", "pods", "status", &["patch"]),
    ("Pod", "ready", "pods", "status", &["patch"]),
    ("Pod", "deleting", "pods", "eviction", &["create"]),
    ("Pod", "deleting", "pods", "", &["delete"]),
    ("Pod", "gone", "pods", "", &["delete"]),
    ("NodeClaim", "launched", "nodeclaims", "status", &["patch"]),
    ("NodeClaim", "registered", "nodeclaims", "status", &["patch"]),
    ("NodeClaim", "initialized", "nodeclaims", "status", &["patch"]),
    ("NodeClaim", "deleting", "nodeclaims", "", &["delete"]),
    ("Node", "created", "nodes", "", &["create"]),
    ("Node", "ready", "nodes", "status", &["patch"]),
    ("Node", "tainted", "nodes", "", &["patch", "update"]),
    ("Node", "untainted", "nodes", "", &["patch", "update"]),
    ("Node", "deleting", "nodes", "", &["delete"]),
];

/// Kinds of things whose rows are corrected.
const TOLD: [&str; 3] = ["Pod", "NodeClaim", "Node"];

/// What a comparison needs of it; times are microseconds since the trigger.
#[derive(Default)]
pub struct Audit {
    /// Requests that took longer than in quiet: from and to.
    pub slow: Vec<(i64, i64)>,
    /// Evictions that were refused: when, and of which pod.
    pub refused: Vec<(i64, String)>,
    /// Evictions that rested because they met another one: when answered, of which pod, and how long they rested.
    pub rested: Vec<(i64, String, i64)>,
    /// Writes of autoscalers' statuses: when answered, and whose.
    pub sync_ends: Vec<(i64, String)>,
    /// What the recorder's own actions sent, in order.
    pub sent: Vec<Sent>,
    /// When the last request was received.
    pub last: i64,
    /// Writes that succeeded, by name of the object: when received, when answered, and the rows that may tell of it.
    writes: BTreeMap<String, Vec<(i64, i64, u32)>>,
    /// When the kubelet's writes of each pod's status were answered, in order.
    kubelet: BTreeMap<String, Vec<i64>>,
}

/// A request of the recorder's; times are microseconds since the trigger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// When it was received.
    pub from: i64,
    /// When it was answered.
    pub to: i64,
    /// What it did: `patch`, `create`, `delete`.
    pub verb: String,
    /// Of what: `deployments`.
    pub resource: String,
    /// And of which name.
    pub name: String,
}

/// What a fake kubelet writes of a pod, in this order.
const STAGES: [&str; 3] = ["acked", "running", "ready"];

impl Audit {
    /// A recorder may read late. What a row tells of was there when the API server had answered its write.
    pub fn correct(&self, rows: &mut [RecordedRow]) {
        for row in rows.iter_mut() {
            if let Some(at) = self.staged(row) {
                row.at = row.at.min(at);
                continue;
            }
            let Some(writes) = self.writes.get(&row.name) else { continue };
            let mut told = 0;
            for (index, (kind, event, ..)) in WRITES.iter().enumerate() {
                told |= u32::from(row.is(kind, event)) << index;
            }
            let last = writes.iter().rfind(|(from, _, rows)| rows & told != 0 && *from <= row.at);
            if let Some((_, to, _)) = last.filter(|(from, ..)| row.at - from <= READ_MICROS) {
                row.at = row.at.min(*to);
            }
        }
        self.correct_claims(rows);
        // What is told of a thing first was first.
        let mut later: BTreeMap<(String, String), i64> = BTreeMap::new();
        for row in rows.iter_mut().rev().filter(|row| TOLD.contains(&row.kind.as_str())) {
            let next = later.entry((row.kind.clone(), row.name.clone())).or_insert(row.at);
            row.at = row.at.min(*next);
            *next = row.at;
        }
        rows.sort_by_key(|row| row.at);
    }
}

impl Audit {
    /// When the write that a stage of a pod tells of was answered: the first, second or third of its kubelet's.
    fn staged(&self, row: &RecordedRow) -> Option<i64> {
        let stage = STAGES.iter().position(|stage| row.is("Pod", stage))?;
        let writes = self.kubelet.get(&row.name)?;
        // A kubelet may write one of them twice: which one, nobody can tell.
        writes.get(stage).copied().filter(|_| writes.len() == STAGES.len())
    }

    /// Karpenter writes in its log what it is about to write of a NodeClaim.
    fn correct_claims(&self, rows: &mut [RecordedRow]) {
        let mut logged: BTreeMap<(String, &str), i64> = BTreeMap::new();
        for row in rows.iter().filter(|row| row.kind == "KarpenterLog") {
            let told = CLAIM_STAGES.iter().find(|stage| row.event.strip_suffix(" nodeclaim") == Some(stage));
            told.map(|stage| logged.entry((row.name.clone(), stage)).or_insert(row.at));
        }
        for row in rows.iter_mut().filter(|row| row.kind == "NodeClaim") {
            let Some(stage) = CLAIM_STAGES.iter().find(|stage| row.event == **stage) else { continue };
            let Some(&at) = logged.get(&(row.name.clone(), *stage)) else { continue };
            let status = rows_of("nodeclaims", "status", "patch");
            let written = self.writes.get(&row.name).into_iter().flatten();
            let written = written.filter(|(_, _, told)| told & status != 0).find(|(from, ..)| *from >= at - LOG_MICROS);
            // Other controllers write the same status: only what is much later is told apart by the log.
            if let Some((_, to, _)) = written.filter(|(_, to, _)| row.at - to > LATE_MICROS) {
                row.at = *to;
            }
        }
    }
}

/// Conditions of a NodeClaim of which Karpenter's log tells.
const CLAIM_STAGES: [&str; 3] = ["launched", "registered", "initialized"];
/// A row that is so much later than the write after the log's line was read late.
const LATE_MICROS: i64 = 1_000_000;
/// Times of a log are cut to the millisecond.
const LOG_MICROS: i64 = 2_000;

/// The rows that may tell of such a write, a bit each.
fn rows_of(resource: &str, subresource: &str, verb: &str) -> u32 {
    let tells = |index: usize| {
        let (_, _, of, part, verbs) = WRITES[index];
        of == resource && part == subresource && verbs.contains(&verb)
    };
    (0..WRITES.len()).filter(|&index| tells(index)).fold(0, |rows, index| rows | 1 << index)
}

/// Reads the log, if there is one.
pub fn read(draft: &mut Draft) -> Audit {
    let mut audit = Audit::default();
    let Ok(path) = draft.files.resolve("audit.csv.gz") else { return audit };
    let bytes = match draft.files.bytes(&path, "audit.csv.gz") {
        Ok(bytes) => bytes,
        Err(error) => {
            files::report(error, None, &mut draft.problems);
            return audit;
        }
    };
    let mut text = Vec::new();
    let unpacked = flate2::read::GzDecoder::new(&bytes[..]).take(BYTES_MAX).read_to_end(&mut text);
    if let Err(error) = unpacked {
        let text = format!("audit.csv.gz cannot be unpacked: {error}");
        draft
            .problems
            .push(Diagnostic::nowhere("E012", text).help("a recording may be without it, not with half of it"));
        return audit;
    }
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(&text[..]);
    let Ok(header) = reader.byte_headers().cloned() else { return audit };
    let columns = COLUMNS.map(|name| header.iter().position(|column| column == name.as_bytes()));
    for (name, _) in COLUMNS.iter().zip(&columns).filter(|(_, column)| column.is_none()) {
        draft.problems.push(Diagnostic::nowhere("E011", format!("audit.csv.gz has no column `{name}`")));
    }
    let mut record = csv::ByteRecord::new();
    let (mut rows_read, mut wrong) = (0_u64, None);
    while reader.read_byte_record(&mut record).unwrap_or(false) {
        rows_read += 1;
        let field = |index: usize| {
            let bytes = columns[index].and_then(|column| record.get(column)).unwrap_or(b"");
            std::str::from_utf8(bytes).unwrap_or("")
        };
        let number = |index: usize| field(index).parse::<f64>().ok();
        let (at, latency) = (number(0).unwrap_or(f64::NAN), number(1).unwrap_or(f64::NAN));
        let is_sound = at.abs() < super::TIME_MAX && (0.0..1e7).contains(&latency) && record.len() == header.len();
        if !is_sound {
            wrong.get_or_insert(rows_read);
            continue;
        }
        let from = (at * 1e6) as i64;
        let to = from + (latency * 1e3) as i64;
        audit.last = audit.last.max(from);
        let eviction = field(3) == "eviction";
        let rows = rows_of(field(2), field(3), field(6));
        if field(5).starts_with('2') && rows != 0 && !field(4).is_empty() {
            audit.writes.entry(field(4).to_string()).or_default().push((from, to, rows));
        }
        if field(5).starts_with('2') && field(7) == RECORDER {
            let (verb, resource, name) = (field(6).to_string(), field(2).to_string(), field(4).to_string());
            audit.sent.push(Sent { from, to, verb, resource, name });
        }
        if field(5).starts_with('2')
            && field(7) == KUBELET
            && (field(2), field(3), field(6)) == ("pods", "status", "patch")
        {
            audit.kubelet.entry(field(4).to_string()).or_default().push(to);
        }
        if field(5).starts_with('2') && (field(2), field(3)) == ("horizontalpodautoscalers", "status") {
            audit.sync_ends.push((to, field(4).to_string()));
        }
        if eviction && field(5) == "429" {
            audit.refused.push((to, field(4).to_string()));
        }
        if eviction && latency > REST_MILLISECONDS {
            audit.rested.push((to, field(4).to_string(), to - from - (QUIET_MILLISECONDS * 1e3) as i64));
        }
        // An eviction that meets another waits by itself.
        if latency > QUIET_MILLISECONDS && !eviction {
            audit.slow.push((from + (QUIET_MILLISECONDS * 1e3) as i64, to));
        }
    }
    if let Some(row) = wrong {
        let text = format!("audit.csv.gz: row {row} is damaged: expected {} fields, times and latencies", header.len());
        draft.problems.push(Diagnostic::nowhere("E012", text));
    }
    audit.writes.values_mut().for_each(|writes| writes.sort_unstable());
    audit.kubelet.values_mut().for_each(|writes| writes.sort_unstable());
    audit.sent.sort_by_key(|sent| sent.from);
    audit
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_recorder_read_late_is_as_old_as_the_answer_to_its_write() {
        let row = |at: i64, event: &str| RecordedRow {
            at,
            kind: "Pod".into(),
            name: "a".into(),
            event: event.into(),
            detail: String::new(),
        };
        let mut audit = Audit::default();
        let patch = rows_of("pods", "status", "patch");
        let binding = rows_of("pods", "binding", "create");
        audit
            .writes
            .insert("a".into(), vec![(0, 20_000, binding), (100_000, 150_000, patch), (2_000_000, 2_900_000, patch)]);
        let corrected = |rows: &[RecordedRow]| {
            let mut rows = rows.to_vec();
            audit.correct(&mut rows);
            rows.into_iter().map(|row| row.at).collect::<Vec<_>>()
        };
        let rows =
            [row(90_000, "created"), row(400_000, "scheduled"), row(500_000, "acked"), row(2_400_000, "running")];
        assert_eq!(
            corrected(&rows),
            [20_000, 20_000, 150_000, 2_400_000],
            "a watch may be read before its write is answered"
        );
        assert_eq!(
            corrected(&[row(1_990_000, "acked"), row(5_500_000, "ready")]),
            [150_000, 5_500_000],
            "that write was too long before"
        );
        assert_eq!(corrected(&[row(400_000, "disruptiontarget")]), [400_000], "no write is known to tell of it");
        audit.kubelet.insert("a".into(), vec![150_000, 2_100_000, 5_100_000]);
        let rows = [row(400_000, "acked"), row(9_000_000, "running"), row(9_000_000, "ready")];
        let mut late = rows.to_vec();
        audit.correct(&mut late);
        let times: Vec<i64> = late.iter().map(|row| row.at).collect();
        assert_eq!(times, [150_000, 2_100_000, 5_100_000], "however late: they are the kubelet's three writes");
    }
}
