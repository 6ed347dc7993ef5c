//! `audit.csv.gz`: how long requests took, which tells when the recording machine was slow, and which evictions were refused.
//! Only the comparison reads it, no prediction.

use crate::scenario::Draft;
use crate::scenario::diagnostic::Diagnostic;
use std::io::Read;

/// Requests take 5 to 50 ms in quiet, says the recordings' README.
const QUIET_MILLISECONDS: f64 = 50.0;
/// Most bytes of an unpacked log.
const BYTES_MAX: u64 = 64 << 20;
/// Columns of the log.
const COLUMNS: [&str; 6] = ["t", "latency_ms", "resource", "subresource", "name", "code"];

/// What a comparison needs of it; times are microseconds since the trigger.
#[derive(Default)]
pub struct Audit {
    /// Requests that took longer than in quiet: from and to.
    pub slow: Vec<(i64, i64)>,
    /// Evictions that were refused: when, and of which pod.
    pub refused: Vec<(i64, String)>,
}

/// Reads the log, if there is one.
pub fn read(draft: &mut Draft) -> Audit {
    let mut audit = Audit::default();
    let Ok(path) = draft.files.resolve("audit.csv.gz") else { return audit };
    let Ok(bytes) = draft.files.bytes(&path, "audit.csv.gz") else { return audit };
    let mut text = Vec::new();
    let unpacked = flate2::read::GzDecoder::new(&bytes[..]).take(BYTES_MAX).read_to_end(&mut text);
    if unpacked.is_err() {
        let place = draft.problems_place();
        draft.problems.push(Diagnostic::warning("W128", place, "audit.csv.gz cannot be unpacked: it is passed over"));
        return audit;
    }
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(&text[..]);
    let Ok(header) = reader.byte_headers().cloned() else { return audit };
    let columns = COLUMNS.map(|name| header.iter().position(|column| column == name.as_bytes()));
    let mut record = csv::ByteRecord::new();
    while reader.read_byte_record(&mut record).unwrap_or(false) {
        let field = |index: usize| {
            let bytes = columns[index].and_then(|column| record.get(column)).unwrap_or(b"");
            std::str::from_utf8(bytes).unwrap_or("")
        };
        let number = |index: usize| field(index).parse::<f64>().ok();
        let (Some(at), Some(latency)) = (number(0), number(1)) else { continue };
        if at.abs() >= super::TIME_MAX || !(0.0..1e7).contains(&latency) {
            continue;
        }
        let from = (at * 1e6) as i64;
        let to = from + (latency * 1e3) as i64;
        let eviction = field(3) == "eviction";
        if eviction && field(5) == "429" {
            audit.refused.push((to, field(4).to_string()));
        }
        // An eviction that meets another waits by itself.
        if latency > QUIET_MILLISECONDS && !eviction {
            audit.slow.push((from + (QUIET_MILLISECONDS * 1e3) as i64, to));
        }
    }
    audit
}
