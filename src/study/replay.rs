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

/// So many draws of what is chance are tried.
pub const DRAWS: u64 = 80;

/// By how much machines may be late in a draw, eight draws each: the first ones leave that race as it is.
const RACE_MILLISECONDS: [u64; 4] = [0, 32, 128, 0];
/// In which eights Karpenter's disruption loop looks at any phase of its period: it is a loop whose phase is not given, and a
/// slow machine's is not where a quiet one's is.
const LOOP_EIGHTS: u64 = 3;
/// Draws take so many different phases of the node controller, and one.
const PHASES: u64 = 8;

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
    /// The draw of what is chance in a real cluster, of at most [`DRAWS`]; `None`: the first of equals was taken.
    pub draw: Option<u64>,
}

/// Predicts a recording from what is given, and compares.
///
/// Some things are chance in a real cluster: which of several pods of equal rank a scale-down takes (their UIDs decide), which
/// of several nodes of equal score a pod goes to, who loses a race, the phases of loops. A recording is one outcome of it. Where
/// the run in which the first of equals is taken is not inside the tolerances, others are drawn, and the first that is counts.
pub fn replay(plan: &Plan, recording: &Recording) -> Replayed {
    let observed = replay::observed(recording);
    let noise = Noise::new(recording.timer_lag_ms, recording.slow.clone());
    let run = |plan: &Plan, replication: u64| {
        let outcome = run_once(plan, replication, false);
        let predicted = replay::predicted(plan, &outcome.world, &outcome.recorder, recording.trigger);
        let agrees = replay::agrees_with_actions(plan, &predicted, recording.trigger);
        (agrees, outcome, predicted)
    };
    let judged = |outcome, predicted: Timeline, runs, draw| {
        let comparison = replay::compare(&observed, &predicted, &noise, recording.end);
        (outcome, predicted, comparison, runs, draw)
    };
    let (agrees, outcome, predicted) = run(plan, 0);
    let mut best = judged(outcome, predicted, agrees.then_some(1), None);
    if !agrees {
        let found = races(plan).enumerate().find_map(|(number, other)| {
            let (agrees, outcome, predicted) = run(&other, 0);
            agrees.then_some((number + 2, outcome, predicted))
        });
        if let Some((number, outcome, predicted)) = found {
            best = judged(outcome, predicted, Some(number), None);
        }
    }
    for number in 1..=DRAWS {
        if best.2.holds() {
            break;
        }
        let (agrees, outcome, predicted) = run(&draw(plan, number), number);
        if agrees {
            let other = judged(outcome, predicted, Some(1), Some(number));
            // The best is shown where none is inside.
            if other.2.wrong() < best.2.wrong() {
                best = other;
            }
        }
    }
    let (outcome, predicted, comparison, runs, draw) = best;
    Replayed { outcome, observed, predicted, comparison, runs, draw }
}

/// The plan where chance decides what it does in a real cluster. The node controller's phase is only known roughly.
fn draw(plan: &Plan, number: u64) -> Plan {
    let mut other = Plan { noise: true, ..plan.clone() };
    if let Some(start) = &mut other.flags.controllers.node_monitor_start {
        let step = Span::from_micros(replay::LOOK_KNOWN.micros() / PHASES * 2);
        *start = (*start + step * (number % (PHASES + 1))).saturating_sub(replay::LOOK_KNOWN);
    }
    other.known_delays.name_order = number;
    // Machines of one batch become Ready within milliseconds, and late draws let every race between them be drawn.
    let eight = number / 8 % RACE_MILLISECONDS.len() as u64;
    let late = RACE_MILLISECONDS[eight as usize];
    if let Some(phase) = other.flags.karpenter.disruption_phase.as_mut().filter(|_| eight == LOOP_EIGHTS) {
        let period = other.flags.karpenter.disruption_period;
        *phase += Span::from_micros(period.micros() / 9 * (number % 8 + 1));
    }
    for (index, ready) in other.known_delays.ready.iter_mut().enumerate() {
        let word = (number << 32 | index as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        *ready = ready.map(|span| span + Span::from_millis(word % (late + 1)));
    }
    other
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
