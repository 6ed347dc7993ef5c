//! What a real control plane did, as its recorder wrote it: rows with times, counted from the trigger of the recording.
//!
//! In: nothing; the scenario reader fills it. Out: what `analysis::replay` holds a run against.

use crate::engine::Time;
use crate::rules::quantity::Quantity;

/// One row of a recorded timeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedRow {
    /// Microseconds since the trigger; negative before it.
    pub at: i64,
    /// What kind of thing it is about, such as `Pod`.
    pub kind: String,
    /// Its name; empty for things without one.
    pub name: String,
    /// What happened, such as `scheduled`.
    pub event: String,
    /// What else is known.
    pub detail: String,
}

/// A recording.
#[derive(Clone, Debug, PartialEq)]
pub struct Recording {
    /// Its folder's name.
    pub name: String,
    /// The trigger on the clock of the run.
    pub trigger: Time,
    /// Its rows in order of time.
    pub rows: Vec<RecordedRow>,
    /// How late timers of the recording machine were, 99th percentile, milliseconds.
    pub timer_lag_ms: f64,
    /// Requests to the recording machine's API server that took longer than they do in quiet: from and to, microseconds since
    /// the trigger.
    pub slow: Vec<(i64, i64)>,
    /// Evictions that the API server refused: when it answered, and the pod.
    pub refused: Vec<(i64, String)>,
    /// Evictions that met another one at their budget: when they were answered, of which pod, and how long they rested at
    /// least, microseconds.
    pub rested: Vec<(i64, String, i64)>,
    /// When the API server had answered the writes of autoscalers' statuses, with their names.
    pub sync_ends: Vec<(i64, String)>,
    /// The end, microseconds since the trigger.
    pub end: i64,
}

impl RecordedRow {
    /// A request of an action was answered.
    pub fn request(at: i64) -> RecordedRow {
        let [name, detail] = [String::new(), String::new()];
        RecordedRow { at, kind: "Action".to_string(), name, event: "request".to_string(), detail }
    }

    /// It is such a row.
    pub fn is(&self, kind: &str, event: &str) -> bool {
        self.kind == kind && self.event == event
    }

    /// What stands behind such a beginning (`type=`) in its detail.
    pub fn word(&self, beginning: &str) -> Option<&str> {
        self.detail.split_whitespace().find_map(|word| word.strip_prefix(beginning))
    }

    /// The cpu, memory and pods that a NodeClaim was made for: `requests={'cpu': '1500m', 'memory': '1536Mi', 'pods': '3'}`.
    pub fn requests(&self) -> [Quantity; 3] {
        ["cpu", "memory", "pods"].map(|key| {
            let value = self.detail.split_once(&format!("'{key}': '")).map_or("", |(_, rest)| rest);
            Quantity::parse(value.split('\'').next().unwrap_or("")).unwrap_or_default()
        })
    }
}
