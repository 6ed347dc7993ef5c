//! From an analysis to the files of a run: bytes only, nothing is written here.
//!
//! ```text
//!  Finished {plan, world, recorder, analysis} ─► csv.rs ─► events, pods, nodes, targets, requests, series, phases
//!                                             ├► timeline/ ─► timeline.svg, timeline.png (one drawing, two canvases)
//!                                             ├► summary.json, open_metrics.rs ─► metrics.txt
//!                                             └► text.rs ─► the screen
//! ```
//! Each file names scenario, hash, seed and version, and is the same bytes on every machine.

pub mod compare;
pub mod csv;
pub mod describe;
pub mod drain;
pub mod explain;
pub mod headline;
pub mod losses;
pub mod open_metrics;
pub mod plot;
pub mod rare;
pub mod replay;
pub mod runs;
pub mod sweep;
pub mod text;
pub mod timeline;
pub mod verdicts;
pub(crate) mod waiting;

use crate::analysis::summary::VERSION;
use crate::analysis::{Analysis, summary};
use crate::engine::LimitReached;
use crate::plan::Plan;
use crate::record::Recorder;
use crate::world::World;

/// A finished run with its analysis: what every output is made of.
#[derive(Clone, Copy)]
pub struct Finished<'a> {
    /// What the run was given.
    pub plan: &'a Plan,
    /// The world at the end.
    pub world: &'a World,
    /// What happened.
    pub recorder: &'a Recorder,
    /// What it means.
    pub analysis: &'a Analysis,
    /// Events handled.
    pub events: u64,
    /// Hash of all events.
    pub event_hash: u64,
    /// A limit that stopped the run.
    pub limit: Option<LimitReached>,
}

impl Finished<'_> {
    /// Scenario, hash, seed and version: the line that every file carries.
    pub fn provenance(&self) -> String {
        let noise = if self.plan.noise { "" } else { ", noise off" };
        let plan = self.plan;
        format!("kubelapse {VERSION}, scenario {}, hash {}, seed {}{noise}", plan.name, plan.hash, plan.seed)
    }
}

/// A gate's estimate in words.
fn gate_words(gate: &crate::analysis::gate::Gate) -> String {
    gate.interval()
}

/// All files of one run: names and contents.
pub fn files(finished: &Finished) -> Vec<(String, Vec<u8>)> {
    let summary = summary::summary(
        finished.plan,
        finished.world,
        finished.analysis,
        (finished.events, finished.event_hash),
        finished.limit,
    );
    let drawing = timeline::draw(finished);
    let mut files = vec![
        ("timeline.svg".to_string(), timeline::svg::render(&drawing)),
        ("timeline.png".to_string(), timeline::png::render(&drawing, &finished.provenance())),
        ("summary.json".to_string(), format!("{summary:#}\n").into_bytes()),
        ("metrics.txt".to_string(), open_metrics::render(finished)),
    ];
    files.extend(csv::files(finished));
    files
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::played;

    #[test]
    fn every_file_names_its_run_and_is_the_same_twice() {
        let run = played::run();
        let analysis = run.analysis();
        let finished = Finished {
            plan: &run.plan,
            world: &run.world,
            recorder: &run.recorder,
            analysis: &analysis,
            events: 1,
            event_hash: 2,
            limit: None,
        };
        let files = files(&finished);
        for (name, bytes) in &files {
            let found = bytes.windows(16).any(|window| window == run.plan.hash.as_bytes());
            assert!(found, "{name} does not name the hash");
            if let Ok(folder) = std::env::var("KUBELAPSE_LOOK") {
                std::fs::write(format!("{folder}/{name}"), bytes).unwrap();
            }
        }
        assert_eq!(files, super::files(&finished));
        if std::env::var("KUBELAPSE_LOOK").is_ok() {
            println!("{}", text::summary(&finished));
        }
    }

    #[test]
    fn a_crowd_is_drawn_on_forty_lanes_at_most() {
        let run = played::crowd(9, 12);
        let analysis = run.analysis();
        let finished = Finished {
            plan: &run.plan,
            world: &run.world,
            recorder: &run.recorder,
            analysis: &analysis,
            events: 1,
            event_hash: 2,
            limit: None,
        };
        let drawing = timeline::draw(&finished);
        assert!(drawing.height < 1_920.0, "{}", drawing.height);
        if let Ok(folder) = std::env::var("KUBELAPSE_LOOK") {
            std::fs::write(format!("{folder}/crowd.png"), timeline::png::render(&drawing, "")).unwrap();
            std::fs::write(format!("{folder}/crowd.txt"), text::summary(&finished)).unwrap();
        }
    }

    #[test]
    fn a_run_of_nothing_is_drawn_too() {
        use crate::engine::{Span, Time};
        let plan = crate::plan::Plan::empty(Time::from_unix_seconds(0), Span::from_secs(60));
        let (world, recorder) = (World::new(&plan), Recorder::new(crate::record::Detail::Facts));
        let analysis = crate::analysis::analyze(&plan, &world, &recorder);
        let limit = Some(LimitReached::Events(plan.start));
        let finished = Finished {
            plan: &plan,
            world: &world,
            recorder: &recorder,
            analysis: &analysis,
            events: 0,
            event_hash: 0,
            limit,
        };
        assert_eq!(files(&finished).len(), 11);
        assert!(text::summary(&finished).starts_with("empty: without chance, no scaling."));
    }
}
