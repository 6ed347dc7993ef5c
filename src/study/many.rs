//! `run --runs`: every measure of many runs, with charts.

use super::replications::{self, Control};
use crate::analysis::gate::Gate;
use crate::analysis::runs::Runs;
use crate::analysis::sample::Wanted;
use crate::plan::Plan;
use crate::render;
use crate::rules::expectation::{Expectation, Measure, Scope, parse};

/// The runs of a plan, with chance.
pub fn run(plan: &Plan, count: u64, precision: Option<f64>, control: Control) -> Runs {
    let mut wanted = Wanted { fan: true, budget: true, ..Wanted::default() };
    for &measure in Measure::ALL {
        wanted.quantity(measure, &Scope::default());
    }
    super::gates::checks(plan).for_each(|check| {
        wanted.expectation(check);
    });
    match precision {
        None => replications::fixed(plan, count, wanted, control),
        Some(relative) => replications::sequential(plan, count, wanted, control, |runs| {
            let measure = render::runs::subject(runs).map_or("time_to_serve", Measure::name);
            let main = parse(&format!("p95({measure}) >= 0s")).expect("a statement about a duration");
            let checks = super::gates::checks(plan).filter(|check| check.subject.is_about_runs());
            replications::precise(runs, relative, std::iter::once(&main).chain(checks))
        }),
    }
}

/// Files and screen of these runs.
pub fn report(plan: &Plan, runs: &Runs) -> (Vec<super::File>, String) {
    let checks: Vec<(&Expectation, Gate)> =
        super::gates::checks(plan).map(|check| (check, runs.judge(check))).collect();
    let gates: Vec<Gate> = checks.iter().map(|(_, gate)| gate.clone()).collect();
    (render::runs::files(plan, runs, &gates), render::runs::text(plan, runs, &checks))
}
