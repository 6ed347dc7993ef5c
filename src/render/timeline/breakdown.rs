//! Where the time of each step went: its critical path, enlarged to the width of the picture.

use super::canvas::{Anchor, Colour, Drawing, staircase, text_width};
use super::{EDGE, LEFT, RIGHT, heading, palette};
use crate::analysis::{Phase, Step};
use crate::render::Finished;
use crate::render::text::tenths;

/// The longest steps are drawn, this many of them.
const STEPS_MAX: usize = 4;
const BAR: f64 = 26.0;
/// A phase shorter than this part of the whole is drawn without words.
const WORTH_WORDS: u64 = 1_000;

/// The colour of a phase: that of the state in which its lane shows the pod or node.
pub(in crate::render) const fn colour(phase: Phase) -> Colour {
    match phase {
        Phase::ReplicaSet | Phase::Scheduling | Phase::Batching | Phase::Binding => palette::PENDING,
        Phase::Planning | Phase::Launch => palette::LAUNCHING,
        Phase::Boot => palette::BOOTING,
        Phase::Registration | Phase::NodeReady => palette::JOINING,
        Phase::Sandbox | Phase::ImagePull => palette::PULLING,
        Phase::ContainerStart => palette::STARTING,
        Phase::Readiness => palette::NOT_READY,
        Phase::Endpoint | Phase::TargetRegistration | Phase::HealthCheck | Phase::FirstRequest => palette::REGISTERING,
    }
}

/// Draws the bars; returns where they end.
pub fn draw(drawing: &mut Drawing, finished: &Finished, top: f64) -> f64 {
    let mut steps: Vec<&Step> = finished.analysis.steps.iter().filter(|step| step.critical_pod().is_some()).collect();
    if steps.is_empty() {
        return top - 26.0;
    }
    let all = steps.len();
    steps.sort_by_key(|step| (std::cmp::Reverse(length(step)), step.number));
    steps.truncate(STEPS_MAX);
    let longest = steps.first().map_or(1, |step| length(step)).max(1);
    steps.sort_by_key(|step| step.number);
    let more = if all > steps.len() { format!(" (the {} longest of {all} steps)", steps.len()) } else { String::new() };
    heading(drawing, top, &format!("Where the time went, from the trigger to the last pod in service{more}"), &[]);
    let mut y = top + 30.0;
    for step in steps {
        y = bar(drawing, finished, step, longest, y);
    }
    y
}

fn length(step: &Step) -> u64 {
    step.critical_pod().map_or(0, |pod| pod.phases.iter().map(|span| span.length().micros()).sum())
}

fn bar(drawing: &mut Drawing, finished: &Finished, step: &Step, longest: u64, y: f64) -> f64 {
    let Some(critical) = step.critical_pod() else { return y };
    let total = length(step);
    let spec = &finished.plan.deployments[step.deployment.index()];
    let (name, kind) = (&spec.name, spec.kind());
    let words = format!("{name} {} → {}", step.from, step.to);
    drawing.text((EDGE, y + 12.0), (12.0, true), Anchor::Start, palette::INK, format!("Step {}", step.number));
    drawing.text((EDGE, y + 27.0), (12.0, false), Anchor::Start, palette::INK, words);
    let scale = (RIGHT - LEFT) / longest as f64;
    let x = |micros: u64| LEFT + micros as f64 * scale;
    let mut small: Vec<(f64, String)> = Vec::new();
    for span in critical.phases.iter().filter(|span| !span.length().is_zero()) {
        let from = x((span.start - step.trigger).micros());
        let to = x((span.end - step.trigger).micros());
        let label = format!("{} {}", span.phase.name_for(kind, step.served.is_some()), tenths(span.length()));
        let gap = if to - from > 3.0 { 1.0 } else { 0.0 };
        drawing.rect([from, y, (to - from - gap).max(0.5), BAR], colour(span.phase), label.clone());
        if text_width(&label, 12.0, false) + 10.0 < to - from {
            let dark = matches!(span.phase, Phase::Registration | Phase::NodeReady | Phase::ContainerStart);
            let ink = if dark { palette::WHITE } else { palette::BLACK };
            drawing.text(((from + to) / 2.0, y + 17.0), (12.0, false), Anchor::Middle, ink, label);
        } else if span.length().micros() * WORTH_WORDS >= total {
            small.push(((from + to) / 2.0, label));
        }
    }
    let used = small_labels(drawing, &small, y + BAR);
    let end = x(total);
    let words = step.time_to_serve().map_or_else(
        || step.broken_off_after().map_or("not served".to_string(), |span| format!("let go after {}", tenths(span))),
        tenths,
    );
    drawing.text((end + 10.0, y + 18.0), (14.0, true), Anchor::Start, palette::INK, words);
    y + BAR + 15.0 * used as f64 + 22.0
}

/// Words of small phases under the bar, with lines to them; returns how many rows they take.
fn small_labels(drawing: &mut Drawing, labels: &[(f64, String)], y: f64) -> usize {
    let extents: Vec<(f64, f64)> = labels.iter().map(|(x, text)| (*x, text_width(text, 11.0, false) + 4.0)).collect();
    let rows = staircase(&extents);
    for ((x, text), &row) in labels.iter().zip(&rows) {
        let base = y + 17.0 + 15.0 * row as f64;
        drawing.line(vec![(*x, y), (*x, base + 2.0)], palette::FAINT_INK, 1.0, false);
        drawing.text((x + 4.0, base), (11.0, false), Anchor::Start, palette::INK, text.clone());
    }
    rows.into_iter().max().map_or(0, |row| row + 1)
}
