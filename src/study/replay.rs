//! A recording predicted: the run, and what of it differs from what was recorded.
//!
//! Machines of one batch become Ready within milliseconds of each other, and which is first decides where the first pods go: the
//! API server's latency, not a rule. An action of a recording may say how many pods the node held that it was about. Where the
//! run does not lead there, it is repeated with the race decided a little otherwise.

use super::{File, run_once};
use crate::analysis::replay::{self, Comparison, Noise, Timeline};
use crate::components::Outcome;
use crate::engine::Span;
use crate::plan::timing::mixed;
use crate::plan::{Distribution, Plan, Stage};
use crate::record::Recording;
use crate::render;
use rayon::prelude::*;

/// How much later every other machine of the recording is Ready, milliseconds, in repetitions. A scheduler hears of a node a
/// hop (25 ms) after its taint is gone, reads what is there by then, and places a pod every two milliseconds.
const RACES: [u64; 16] = [27, 29, 31, 33, 35, 37, 39, 41, 43, 45, 47, 49, 53, 57, 61, 96];

/// So many draws of what is chance are tried.
pub const DRAWS: u64 = 112;

/// So many draws are run side by side, and differ in the same.
const ROUND: u64 = 8;

/// What the draws of a round draw besides what Kubernetes leaves to chance.
#[derive(Clone, Copy, Default)]
struct Round {
    /// By how much machines may be late, milliseconds.
    late: u64,
    /// Karpenter's disruption loop looks at any phase of its period: it is a loop whose phase is not given, and a slow
    /// machine's is not where a quiet one's is.
    drawn_loop: bool,
    /// Pods pass their stages as late as 540 recorded ones did: median 29 ms, one in twenty 134 ms, one in a hundred 256 ms.
    drawn_stages: bool,
    /// The same for every hop of the API server.
    drawn_hops: bool,
    /// The scheduler's writes take as long as 1591 recorded ones did: from one to the next median 10 ms, one in four 20 ms, one
    /// in twenty 51 ms, one in a hundred 100 ms. How many pods it has tried when a node changes decides which it tries again.
    drawn_writes: bool,
}

/// The rounds, in turn; the first leaves everything else as it is.
const ROUNDS: [Round; 7] = {
    let plain = Round { late: 0, drawn_loop: false, drawn_stages: false, drawn_hops: false, drawn_writes: false };
    [
        plain,
        Round { late: 32, drawn_writes: true, ..plain },
        Round { drawn_stages: true, drawn_writes: true, ..plain },
        Round { late: 32, drawn_hops: true, drawn_writes: true, ..plain },
        Round { drawn_hops: true, drawn_writes: true, ..plain },
        Round { late: 128, ..plain },
        Round { drawn_loop: true, ..plain },
    ]
};
/// What a hop takes, milliseconds: a machine that is late by less is there when the scheduler hears of the first.
const HOP_QUIET: u64 = 25;
/// What a write of the scheduler takes, milliseconds.
const WRITE_QUIET: u64 = 10;
/// The spread of the logarithm of that lateness.
const LATENESS_SIGMA: f64 = 0.95;
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
        let others: Vec<Plan> = races(plan).collect();
        let found = others.par_iter().enumerate().find_map_first(|(number, other)| {
            let (agrees, outcome, predicted) = run(other, 0);
            agrees.then_some((number + 2, outcome, predicted))
        });
        if let Some((number, outcome, predicted)) = found {
            best = judged(outcome, predicted, Some(number), None);
        }
    }
    for first in (1..=DRAWS).step_by(ROUND as usize) {
        if best.2.holds() {
            break;
        }
        let numbers = first..=DRAWS.min(first + ROUND - 1);
        let drawn: Vec<_> = numbers.into_par_iter().map(|number| (number, run(&draw(plan, number), number))).collect();
        for (number, (agrees, outcome, predicted)) in drawn {
            if agrees && !best.2.holds() {
                let other = judged(outcome, predicted, Some(1), Some(number));
                // The best is shown where none is inside.
                if other.2.wrong() < best.2.wrong() {
                    best = other;
                }
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
    let round = ROUNDS[((number - 1) / ROUND) as usize % ROUNDS.len()];
    if let Some(phase) = other.flags.karpenter.disruption_phase.as_mut().filter(|_| round.drawn_loop) {
        let period = other.flags.karpenter.disruption_period;
        *phase += Span::from_micros(period.micros() / (ROUND + 1) * (number % ROUND + 1));
    }
    if let Some(stages) = other.flags.kubelet.fixed.as_mut().filter(|_| round.drawn_stages) {
        stages.lateness = Some(LATENESS_SIGMA);
    }
    if round.drawn_hops {
        let median = Span::from_millis(HOP_QUIET);
        other.timings.set(Stage::ApiHop, Distribution::Lognormal { median, sigma: LATENESS_SIGMA });
    }
    if round.drawn_writes {
        let median = Span::from_millis(WRITE_QUIET);
        other.timings.set(Stage::SchedulerBind, Distribution::Lognormal { median, sigma: LATENESS_SIGMA });
    }
    // Machines of one batch become Ready within milliseconds, and every race between them may be drawn.
    for (index, ready) in other.known_delays.ready.iter_mut().enumerate().filter(|_| round.late > 0) {
        let word = mixed(number << 32 | index as u64);
        let late = if word.is_multiple_of(2) { 0 } else { HOP_QUIET + (word >> 1) % round.late };
        *ready = ready.map(|span| span + Span::from_millis(late));
    }
    other
}

/// The picture of both timelines, as SVG and PNG, and the table of all that happened.
pub fn files(plan: &Plan, recording: &Recording, replayed: &Replayed) -> Vec<File> {
    let (observed, predicted, comparison) = (&replayed.observed, &replayed.predicted, &replayed.comparison);
    let drawing = render::replay::picture::draw(recording, observed, predicted, comparison);
    vec![
        (
            "replay.csv".to_string(),
            (render::replay::provenance(plan) + &render::replay::table(comparison)).into_bytes(),
        ),
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
