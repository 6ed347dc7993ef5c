//! Where the time of a measure went: its longest case in a run cut into stages that sum to it, to the microsecond; and over
//! many runs the share of each stage in the mean and in the tail.
//!
//! ```text
//!  one run   ─► Causes: time to serve and to replace by phase, terminations by stage
//!  many runs ─► mean: the means of the stages. tail: E[stage | total = q], the line through the runs near q, at q
//! ```
//! The line of least squares through each stage sums, stage by stage, to the line through the total, which is the
//! identity: what is shown at q sums to q.

use super::{Analysis, PodHistory, phases};
use crate::engine::Time;
use crate::plan::Plan;
use crate::rules::expectation::{Measure, Scope};
use crate::world::World;

/// Stages of a pod's end.
const POD_STAGES: [&str; 2] = ["preStop and shutdown", "removal of the object"];
/// Stages of an empty node's end.
const NODE_STAGES: [&str; 5] =
    ["candidate for consolidation", "validation", "drain", "termination request", "instance shutdown"];

/// The names of the stages of a measure; none: it has no parts.
pub fn stages(measure: Measure) -> Vec<&'static str> {
    match measure {
        Measure::TimeToServe => phases::Phase::ALL.map(phases::Phase::name).to_vec(),
        Measure::TimeToReplace => {
            let mut names = phases::Phase::ALL.map(phases::Phase::name).to_vec();
            // From the notice until the pod exists that takes the place of the last one evicted.
            names[0] = "eviction of the old pods";
            names
        }
        Measure::PodTermination => POD_STAGES.to_vec(),
        Measure::NodeTerminationAfterEmpty => NODE_STAGES.to_vec(),
        _ => Vec::new(),
    }
}

/// The longest case of a run, in microseconds by stage. `None`: there is none, it has not ended, or it has no parts.
pub fn of_run(measure: Measure, scope: &Scope, plan: &Plan, world: &World, analysis: &Analysis) -> Option<Vec<u64>> {
    let window = scope.window.map(|(from, to)| {
        let at = |micros| plan.start + crate::engine::Span::from_micros(micros);
        (at(from), at(to))
    });
    let inside = |at: Time| window.is_none_or(|(from, to)| from <= at && at < to);
    let named = scope.deployment.as_ref();
    let index = named.and_then(|name| plan.deployments.iter().position(|deployment| deployment.name == *name));
    let meant = |id: Option<crate::plan::DeploymentId>| named.is_none() || id.map(|id| id.index()) == index;
    match measure {
        Measure::TimeToServe => {
            let steps = analysis.steps.iter().filter(|step| {
                let numbered = scope.step.is_none_or(|number| number == step.number);
                numbered && meant(Some(step.deployment)) && inside(step.trigger)
            });
            // Of equals the first, as everywhere; a step that is never served has no stages yet.
            let mut longest: Option<&super::Step> = None;
            for step in steps {
                let length = step.time_to_serve()?;
                if longest.and_then(super::Step::time_to_serve).is_none_or(|known| length > known) {
                    longest = Some(step);
                }
            }
            let critical = longest?.critical_pod()?;
            Some(critical.phases.iter().map(|span| span.length().micros()).collect())
        }
        Measure::TimeToReplace => {
            let all = || analysis.replacements.iter().filter(|one| !one.needless && inside(one.trigger));
            if all().any(|one| one.served.is_none()) {
                return None;
            }
            let one = all().max_by_key(|one| one.time_to_replace())?;
            let served = one.served?;
            let last = one.replacements.iter().map(|pod| &analysis.history.pods[pod.index()]);
            let last = last.max_by_key(|pod| pod.serving)?;
            let chain = phases::of_pod(&analysis.history, world, last, one.trigger, served);
            Some(chain.iter().map(|span| span.length().micros()).collect())
        }
        Measure::PodTermination => {
            let pods = analysis.history.pods.iter();
            let meant = |pod: &&PodHistory| pod.deployment.is_some() && meant(pod.deployment);
            let ended = || pods.clone().filter(meant).filter(|pod| pod.deleting.is_some_and(inside));
            if ended().any(|pod| pod.gone.is_none()) {
                return None;
            }
            let length = |pod: &&PodHistory| Some(pod.gone?.since(pod.deleting?));
            let longest = ended().max_by_key(length)?;
            Some(cut(longest.deleting?, longest.gone?, &[longest.stopped]))
        }
        Measure::NodeTerminationAfterEmpty => {
            let ended = || analysis.history.nodes.iter().filter(|node| node.emptied.is_some_and(inside));
            if ended().any(|node| node.gone.is_none() && node.claim.is_some()) {
                return None;
            }
            let longest = ended().max_by_key(|node| Some(node.gone?.since(node.emptied?)))?;
            let disrupted = longest.disrupted.map(|(at, _)| at);
            let ends = [disrupted, longest.deleting, longest.drained, longest.stopped];
            Some(cut(longest.emptied?, longest.gone?, &ends))
        }
        _ => None,
    }
}

/// The pieces between milestones; one that is missing or out of order takes no time.
fn cut(start: Time, end: Time, milestones: &[Option<Time>]) -> Vec<u64> {
    let mut now = start;
    let mut pieces: Vec<u64> = Vec::with_capacity(milestones.len() + 1);
    for milestone in milestones {
        let at = milestone.map_or(now, |at| at.clamp(now, end.max(now)));
        pieces.push(at.since(now).micros());
        now = at;
    }
    pieces.push(end.since(now).micros());
    pieces
}

/// Stages of many runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Attribution {
    /// Names of the stages.
    pub stages: Vec<&'static str>,
    /// Mean of each stage; they sum to the mean of the total.
    pub mean: Vec<f64>,
    /// What each stage takes where the total is near the percentile; they sum to `tail_total`.
    pub tail: Vec<f64>,
    /// The percentile.
    pub tail_total: f64,
    /// Share of the runs in which this stage was the longest.
    pub longest_in: Vec<f64>,
}

impl Attribution {
    /// The stage with the largest part of the tail, with its share of it.
    pub fn main(&self) -> Option<(&'static str, f64)> {
        let largest = (0..self.tail.len()).rev().max_by(|&a, &b| self.tail[a].total_cmp(&self.tail[b]))?;
        Some((self.stages[largest], self.tail[largest] / self.tail_total))
    }

    /// The same as people say it: `41% of the tail is boot`.
    pub fn main_cause(&self) -> Option<String> {
        let (stage, share) = self.main()?;
        share.is_finite().then(|| format!("{:.0}% of the tail is {stage}", share * 100.0))
    }
}

/// So many percent of all runs, half on either side of the percentile, are taken as near it.
const NEAR_PERCENT: f64 = 10.0;

/// Attributes a total: `rows` are the stages of each run, in seconds; `percent` says where the tail is looked at.
pub fn attribute(stages: &[&'static str], rows: &[Vec<f64>], percent: f64) -> Option<Attribution> {
    if rows.is_empty() || stages.is_empty() {
        return None;
    }
    let totals: Vec<f64> = rows.iter().map(|row| row.iter().sum()).collect();
    let mut order: Vec<usize> = (0..rows.len()).collect();
    order.sort_by(|&a, &b| totals[a].total_cmp(&totals[b]).then(a.cmp(&b)));
    let sorted: Vec<f64> = order.iter().map(|&run| totals[run]).collect();
    let target = super::statistics::percentile_of(&sorted, percent);
    let rank = |percent: f64| (percent / 100.0 * rows.len() as f64).round() as usize;
    let from = rank((percent - NEAR_PERCENT / 2.0).max(0.0)).min(rows.len() - 1);
    let to = rank((percent + NEAR_PERCENT / 2.0).min(100.0)).max(from + 1).min(rows.len());
    let near = &order[from..to];
    let count = near.len() as f64;
    let mean_total = near.iter().map(|&run| totals[run]).sum::<f64>() / count;
    let spread: f64 = near.iter().map(|&run| (totals[run] - mean_total).powi(2)).sum();
    let mut tail: Vec<f64> = (0..stages.len())
        .map(|stage| {
            let mean = near.iter().map(|&run| rows[run][stage]).sum::<f64>() / count;
            let together: f64 = near.iter().map(|&run| (totals[run] - mean_total) * (rows[run][stage] - mean)).sum();
            let slope = if spread > 0.0 { together / spread } else { 0.0 };
            mean + slope * (target - mean_total)
        })
        .collect();
    if spread == 0.0 && mean_total > 0.0 {
        tail.iter_mut().for_each(|part| *part *= target / mean_total);
    }
    let mean = |stage: usize| rows.iter().map(|row| row[stage]).sum::<f64>() / rows.len() as f64;
    let first_longest = |row: &Vec<f64>| (0..row.len()).rev().max_by(|&a, &b| row[a].total_cmp(&row[b]));
    let mut longest_in = vec![0.0; stages.len()];
    rows.iter().filter_map(first_longest).for_each(|stage| longest_in[stage] += 1.0 / rows.len() as f64);
    Some(Attribution {
        stages: stages.to_vec(),
        mean: (0..stages.len()).map(mean).collect(),
        tail,
        tail_total: target,
        longest_in,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::played;
    use crate::analysis::statistics::normal_quantile;
    use crate::engine::{Purpose, Random};

    #[test]
    fn the_stages_of_a_run_sum_to_its_measure() {
        let run = played::run();
        let analysis = run.analysis();
        let mut seen = 0;
        for measure in
            [Measure::TimeToServe, Measure::TimeToReplace, Measure::PodTermination, Measure::NodeTerminationAfterEmpty]
        {
            let scope = Scope::default();
            let value = super::super::expectation::value(measure, &scope, &run.plan, &run.world, &analysis);
            let value = value.map(crate::analysis::observed::Observed::at_most);
            let Some(parts) = of_run(measure, &scope, &run.plan, &run.world, &analysis) else { continue };
            assert_eq!(parts.len(), stages(measure).len(), "{measure:?}");
            assert_eq!(Some(parts.iter().sum::<u64>() as f64 / 1e6), value, "{measure:?}");
            seen += 1;
        }
        assert!(seen >= 3, "{seen}");
    }

    /// Oracle 36: for independent normals E[X_i | T = q] = mu_i + (sigma_i^2 / sigma^2) (q - mu), and the terms sum to q.
    #[test]
    fn the_tail_of_independent_normals_is_shared_by_variance() {
        let (means, deviations) = ([30.0, 20.0, 10.0], [3.0, 4.0, 0.0]);
        let rows: Vec<Vec<f64>> = (0..40_000)
            .map(|run| {
                let random = Random::new(36, run);
                let draw = |stage: usize| normal_quantile(random.uniform(Purpose::named("stage"), stage as u64));
                (0..3).map(|stage| means[stage] + deviations[stage] * draw(stage)).collect()
            })
            .collect();
        let found = attribute(&["a", "b", "c"], &rows, 95.0).unwrap();
        let excess = found.tail_total - 60.0;
        // The p95 of a normal of deviation 5, and its parts 9/25 and 16/25 of the excess over the mean.
        assert!((excess - 5.0 * 1.644_854).abs() < 0.12, "{excess}");
        for (stage, share) in [9.0 / 25.0, 16.0 / 25.0, 0.0].into_iter().enumerate() {
            assert!((found.tail[stage] - means[stage] - share * excess).abs() < 0.25, "{found:?}");
        }
        assert!((found.tail.iter().sum::<f64>() - found.tail_total).abs() < 1e-9);
        assert_eq!(found.main().map(|(stage, _)| stage), Some("a"));
    }
}
