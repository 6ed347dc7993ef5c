//! What is kept of one run of many: the measures that were asked for, where their time went, and nothing else.
//!
//! In: a finished run. Out: a [`Sample`] of fixed size, so that a study's memory is that of its samples.

use super::observed::Observed;
use super::{Analysis, analyze, causes, error_budget, expectation};
use crate::plan::Plan;
use crate::record::Recorder;
use crate::rules::expectation::{Expectation, Measure, Scope};
use crate::world::World;

/// A measure of a part of a run.
pub type Quantity = (Measure, Scope);

/// Instants at which replicas are kept for the fan.
pub const FAN_POINTS: usize = 240;

/// What to keep of each run.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Values.
    pub quantities: Vec<Quantity>,
    /// Quantities of which the stages are kept.
    pub causes: Vec<Quantity>,
    /// Replicas in service over time.
    pub fan: bool,
    /// What it takes from the error budget.
    pub budget: bool,
}

impl Wanted {
    /// Notes a quantity, with its stages if it has any; returns its position.
    pub fn quantity(&mut self, measure: Measure, scope: &Scope) -> usize {
        let known = |list: &[Quantity]| list.iter().position(|(m, s)| *m == measure && s == scope);
        if !causes::stages(measure).is_empty() && known(&self.causes).is_none() {
            self.causes.push((measure, scope.clone()));
        }
        known(&self.quantities).unwrap_or_else(|| {
            self.quantities.push((measure, scope.clone()));
            self.quantities.len() - 1
        })
    }

    /// What an expectation is about.
    pub fn expectation(&mut self, expectation: &Expectation) -> usize {
        self.quantity(expectation.subject.measure(), &expectation.scope)
    }

    /// Everything that claims and expectations of a plan are about.
    pub fn of_plan(plan: &Plan) -> Wanted {
        let mut wanted = Wanted::default();
        let checks = plan.claims.iter().map(|claim| &claim.check).chain(&plan.expectations);
        checks.for_each(|expectation| {
            wanted.expectation(expectation);
        });
        wanted
    }
}

/// One run.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Sample {
    /// Values in the order of [`Wanted::quantities`]; `None`: nothing to measure.
    pub values: Vec<Option<Observed>>,
    /// Stages in microseconds, in the order of [`Wanted::causes`].
    pub causes: Vec<Option<Vec<u64>>>,
    /// Replicas in service at [`FAN_POINTS`] instants.
    pub fan: Vec<u16>,
    /// What it took from the error budget.
    pub budget: error_budget::Budget,
    /// A limit stopped it early.
    pub stopped_early: bool,
}

/// Takes from a finished run what is wanted.
pub fn take(wanted: &Wanted, plan: &Plan, world: &World, recorder: &Recorder) -> Sample {
    let analysis = analyze(plan, world, recorder);
    let value = |(measure, scope): &Quantity| expectation::value(*measure, scope, plan, world, &analysis);
    let cause = |(measure, scope): &Quantity| causes::of_run(*measure, scope, plan, world, &analysis);
    Sample {
        values: wanted.quantities.iter().map(value).collect(),
        causes: wanted.causes.iter().map(cause).collect(),
        fan: if wanted.fan { fan(plan, &analysis) } else { Vec::new() },
        budget: if wanted.budget { error_budget::of_run(plan, world) } else { error_budget::Budget::default() },
        stopped_early: false,
    }
}

fn fan(plan: &Plan, analysis: &Analysis) -> Vec<u16> {
    let length = plan.until.since(plan.start).micros();
    let samples = &analysis.series.samples;
    let at = |point: usize| {
        let at = plan.start + crate::engine::Span::from_micros(length * point as u64 / (FAN_POINTS as u64 - 1));
        let index = samples.partition_point(|sample| sample.at <= at).saturating_sub(1);
        let in_service =
            samples.get(index).map_or(0, |sample| sample.replicas.iter().map(|r| r.in_service).sum::<i32>());
        in_service.clamp(0, i32::from(u16::MAX)) as u16
    };
    (0..FAN_POINTS).map(at).collect()
}
