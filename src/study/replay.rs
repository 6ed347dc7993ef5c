//! A recording predicted: the run, and what of it differs from what was recorded.
//!
//! Machines of one batch become Ready within milliseconds of each other, and which is first decides where the first pods go: the
//! API server's latency, not a rule. An action of a recording may say how many pods the node held that it was about. Where the
//! run does not lead there, it is repeated with the race decided a little otherwise.

use super::{File, run_once};
use crate::analysis::replay::{self, Comparison, Noise, Timeline};
use crate::components::Outcome;
use crate::engine::Span;
use crate::plan::Plan;
use crate::record::Recording;
use crate::render;

/// How much later every other machine of the recording is Ready, milliseconds, in repetitions.
const RACES: [u64; 6] = [8, 16, 24, 32, 48, 64];

/// A prediction beside its recording.
pub struct Replayed {
    /// The run.
    pub outcome: Outcome,
    /// As recorded.
    pub observed: Timeline,
    /// As predicted.
    pub predicted: Timeline,
    /// How they differ.
    pub comparison: Comparison,
    /// Runs until the race was decided as the actions say; `None`: no run was.
    pub runs: Option<usize>,
}

/// Predicts a recording from what is given, and compares.
pub fn replay(plan: &Plan, recording: &Recording) -> Replayed {
    let observed = replay::observed(recording);
    let run = |plan: &Plan| {
        let outcome = run_once(plan, 0, false);
        let predicted = replay::predicted(plan, &outcome.world, &outcome.recorder, recording.trigger);
        (outcome, predicted)
    };
    let (mut outcome, mut predicted) = run(plan);
    let mut runs = Some(1);
    if !replay::agrees_with_actions(plan, &predicted, recording.trigger) {
        let found = races(plan).enumerate().find_map(|(number, other)| {
            let (outcome, predicted) = run(&other);
            let agrees = replay::agrees_with_actions(&other, &predicted, recording.trigger);
            agrees.then_some((number + 2, outcome, predicted))
        });
        runs = found.as_ref().map(|(number, ..)| *number);
        if let Some((_, other, timeline)) = found {
            (outcome, predicted) = (other, timeline);
        }
    }
    let noise = Noise::new(recording.timer_lag_ms, recording.slow.clone());
    let comparison = replay::compare(&observed, &predicted, &noise, recording.end);
    Replayed { outcome, observed, predicted, comparison, runs }
}

/// The picture of both timelines, as SVG and PNG, and the table of all that happened.
pub fn files(recording: &Recording, replayed: &Replayed) -> Vec<File> {
    let (observed, predicted, comparison) = (&replayed.observed, &replayed.predicted, &replayed.comparison);
    let drawing = render::replay::picture::draw(recording, observed, predicted, comparison);
    vec![
        ("replay.csv".to_string(), render::replay::table(comparison).into_bytes()),
        ("replay.svg".to_string(), render::timeline::svg::render(&drawing)),
        ("replay.png".to_string(), render::timeline::png::render(&drawing, &drawing.description)),
    ]
}

/// The plan with every other machine later.
fn races(plan: &Plan) -> impl Iterator<Item = Plan> + '_ {
    RACES.into_iter().flat_map(move |late| {
        [0, 1].into_iter().map(move |parity| {
            let mut other = plan.clone();
            for (index, ready) in other.known_delays.ready.iter_mut().enumerate() {
                if let Some(span) = ready.as_mut().filter(|_| index % 2 == parity) {
                    *span += Span::from_millis(late);
                }
            }
            other
        })
    })
}
