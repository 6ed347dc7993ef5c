//! `audit.csv.gz`: how long requests took, which tells when the recording machine was slow. No prediction reads it.

use crate::scenario::Draft;
use crate::scenario::diagnostic::Diagnostic;
use std::io::Read;

/// Requests take 5 to 50 ms in quiet; one that takes twice as long was slow.
const SLOW_MILLISECONDS: f64 = 100.0;
/// Most bytes of an unpacked log.
const BYTES_MAX: u64 = 64 << 20;

/// From and to, microseconds since the trigger.
pub fn slow_stretches(draft: &mut Draft) -> Vec<(i64, i64)> {
    let Ok(path) = draft.files.resolve("audit.csv.gz") else { return Vec::new() };
    let Ok(bytes) = draft.files.bytes(&path, "audit.csv.gz") else { return Vec::new() };
    let mut text = Vec::new();
    let unpacked = flate2::read::GzDecoder::new(&bytes[..]).take(BYTES_MAX).read_to_end(&mut text);
    if unpacked.is_err() {
        let place = draft.problems_place();
        draft.problems.push(Diagnostic::warning("W128", place, "audit.csv.gz cannot be unpacked: it is passed over"));
        return Vec::new();
    }
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(&text[..]);
    let number = |record: &csv::ByteRecord, index: usize| -> Option<f64> {
        std::str::from_utf8(record.get(index)?).ok()?.parse().ok()
    };
    let mut stretches = Vec::new();
    for record in reader.byte_records().flatten() {
        let (Some(at), Some(latency)) = (number(&record, 0), number(&record, 1)) else { continue };
        if at.abs() < super::TIME_MAX && (SLOW_MILLISECONDS..1e7).contains(&latency) {
            let from = (at * 1e6) as i64;
            stretches.push((from, from + (latency * 1e3) as i64));
        }
    }
    stretches
}
