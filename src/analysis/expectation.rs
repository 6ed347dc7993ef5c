//! Expectations held against measured values.
//!
//! [`value`] measures one run; [`judge`] takes the values of any number of runs. A replication study keeps one number
//! per run and expectation and calls the same [`judge`]; where it knows an interval it calls [`decide`].

use super::history::{NodeHistory, PodHistory};
use super::observed::{Cut, Observed};
use super::steps::Step;
use super::{Analysis, churn};
use crate::engine::{Span, Time};
use crate::plan::{DeploymentId, Plan};
use crate::rules::expectation::{Bound, Expectation, Measure, Scope, Statistic, Subject, Verdict};
use crate::world::{DeleteCause, Owner, REQUEST, Tally, World};

/// How an expectation came out.
#[derive(Clone, Debug, PartialEq)]
pub struct Judgement {
    /// The expectation as written.
    pub text: String,
    /// The verdict.
    pub verdict: Verdict,
    /// The measured value; `None`: nothing to measure.
    pub measured: Option<f64>,
    /// What was measured, in words and with its unit: `2m18.1s of one run`.
    pub explanation: String,
}

/// A claim with its verdict.
#[derive(Clone, Debug, PartialEq)]
pub struct ClaimJudgement {
    /// The claim in its author's words.
    pub claim: String,
    /// How its check came out.
    pub judgement: Judgement,
    /// The verdict that was expected.
    pub expected: Verdict,
    /// Why.
    pub because: String,
}

impl ClaimJudgement {
    /// The verdict is the expected one.
    pub fn as_expected(&self) -> bool {
        self.judgement.verdict == self.expected
    }
}

/// The claims of a plan, held against one run.
pub fn claims(plan: &Plan, world: &World, analysis: &Analysis) -> Vec<ClaimJudgement> {
    let judged = plan.claims.iter().map(|claim| ClaimJudgement {
        claim: claim.text.clone(),
        judgement: judge_run(&claim.check, plan, world, analysis),
        expected: claim.expect,
        because: claim.because.clone(),
    });
    judged.collect()
}

/// The expectations of a plan, held against one run.
pub fn expectations(plan: &Plan, world: &World, analysis: &Analysis) -> Vec<Judgement> {
    plan.expectations.iter().map(|expectation| judge_run(expectation, plan, world, analysis)).collect()
}

/// One expectation, held against one run.
pub fn judge_run(expectation: &Expectation, plan: &Plan, world: &World, analysis: &Analysis) -> Judgement {
    let value = value(expectation.subject.measure(), &expectation.scope, plan, world, analysis);
    let of = if plan.noise { "of one run" } else { "of one run, without chance" };
    match value.and_then(|value| Some((value, value.cut?))) {
        Some((value, cut)) => broken_off(expectation, value, cut, of),
        None => held(expectation, &[value.map(Observed::at_most)], of),
    }
}

/// The value of the run was broken off: it is so much at least.
fn broken_off(expectation: &Expectation, value: Observed, cut: Cut, of: &str) -> Judgement {
    let unit = expectation.subject.measure().unit();
    let end = match cut {
        Cut::LetGo => "its pods were let go",
        Cut::RunEnded => "the run ended",
    };
    let words = format!("at least {}, then {end}", unit.show(value.at_least));
    match expectation.subject {
        Subject::Each(_) => decide(expectation, Some((value.at_least, value.at_most(), value.at_most())), words),
        Subject::Statistic(..) | Subject::Share(..) => decide(expectation, None, format!("{words} {of}")),
    }
}

/// Holds an expectation against the values of runs; `None`: that run had nothing to measure.
pub fn judge(expectation: &Expectation, values: &[Option<f64>]) -> Judgement {
    let known = values.iter().flatten().filter(|value| !value.is_nan()).count();
    let of = if values.len() == 1 { "of one run".to_string() } else { format!("of {known} runs") };
    held(expectation, values, &of)
}

/// The same; `of` says what runs these are.
fn held(expectation: &Expectation, values: &[Option<f64>], of: &str) -> Judgement {
    let mut known: Vec<f64> = values.iter().flatten().copied().filter(|value| !value.is_nan()).collect();
    known.sort_by(f64::total_cmp);
    let (Some(&low), Some(&high)) = (known.first(), known.last()) else {
        let measure = expectation.subject.measure();
        return decide(expectation, None, format!("no {} to measure: {}", measure.name(), measure.absent()));
    };
    let show = |value: f64| expectation.subject.unit().show(value);
    match expectation.subject {
        // Every run must meet it: the interval is that of all runs.
        Subject::Each(_) if known.len() > 1 => {
            decide(expectation, Some((high, low, high)), format!("{} to {} {of}", show(low), show(high)))
        }
        Subject::Each(_) => decide(expectation, Some((low, low, low)), show(low)),
        // One run says nothing about many: whatever it shows, the statement stays open.
        Subject::Statistic(statistic, _) if values.len() == 1 => {
            let needs = match statistic {
                Statistic::Percentile(percent) => {
                    format!("p{percent} needs {} runs", super::statistics::least_runs(percent))
                }
                Statistic::Mean => "a mean needs many runs".to_string(),
                Statistic::Min | Statistic::Max => "an extreme needs many runs".to_string(),
            };
            let judged = decide(expectation, None, format!("{} {of}; {needs}", show(low)));
            Judgement { measured: Some(low), ..judged }
        }
        Subject::Share(measure, ..) if values.len() == 1 => {
            let value = measure.unit().show(low);
            decide(expectation, None, format!("{} is {value} {of}; a share needs many runs", measure.name()))
        }
        Subject::Statistic(statistic, _) => {
            let point = statistic_of(statistic, &known);
            decide(expectation, Some((point, point, point)), format!("{} {of}", show(point)))
        }
        Subject::Share(_, comparison, bound) => {
            let hits = known.iter().filter(|&&value| comparison.is_true(value, bound)).count();
            let share = hits as f64 / known.len() as f64;
            decide(expectation, Some((share, share, share)), format!("{} {of}", show(share)))
        }
    }
}

/// The verdict on a point estimate with its interval (point, low, high): the whole interval must meet the bound.
pub fn decide(expectation: &Expectation, estimate: Option<(f64, f64, f64)>, explanation: String) -> Judgement {
    let verdict = estimate.map_or(Verdict::Undecided, |(point, low, high)| {
        let ends = [low, point, high].map(|value| expectation.bound.admits(value));
        let between = matches!(expectation.bound, Bound::Within(from, to) if low < from && to < high);
        match ends {
            [true, true, true] => Verdict::Holds,
            [false, false, false] if !between => Verdict::Fails,
            _ => Verdict::Undecided,
        }
    });
    let measured = estimate.map(|(point, _, _)| point);
    Judgement { text: expectation.text.clone(), verdict, measured, explanation }
}

/// `sorted` is not empty. A percentile is the smallest value that at least that share of the runs does not exceed.
fn statistic_of(statistic: Statistic, sorted: &[f64]) -> f64 {
    let count = sorted.len();
    match statistic {
        Statistic::Mean => sorted.iter().sum::<f64>() / count as f64,
        Statistic::Min => sorted[0],
        Statistic::Max => sorted[count - 1],
        Statistic::Percentile(percent) => {
            let rank = (percent / 100.0 * count as f64).ceil() as usize;
            sorted[rank.clamp(1, count) - 1]
        }
    }
}

/// The value of a measure in one run. `None`: there is nothing to measure. A wait that was broken off is
/// known from below.
pub fn value(measure: Measure, scope: &Scope, plan: &Plan, world: &World, analysis: &Analysis) -> Option<Observed> {
    let within = Within::new(scope, plan, analysis)?;
    match measure {
        Measure::TimeToServe => within.longest_step(|step| match step.broken_off_after() {
            Some(span) => Some(Observed::cut(span.seconds(), Cut::LetGo)),
            None => Some(Observed::wait(step.trigger, step.served, plan.until)),
        }),
        _ if measure.name().starts_with("phase.") => within.longest_step(|step| {
            let phases = &step.critical_pod()?.phases;
            let span = phases.iter().find(|span| span.phase.measure() == measure)?;
            // Of a pod that never served only what it had behind it is known.
            let cut = if step.let_go.is_some() { Cut::LetGo } else { Cut::RunEnded };
            let open = step.served.is_none() && phases.last().is_some_and(|last| span.end >= last.end);
            Some(Observed { at_least: span.length().seconds(), cut: open.then_some(cut) })
        }),
        Measure::PodTermination => within.longest_pod(|pod| Some(Observed::wait(pod.deleting?, pod.gone, plan.until))),
        Measure::Drain => {
            within.longest_pod(|pod| Some(Observed::wait(pod.deregistered?, pod.target_gone, plan.until)))
        }
        Measure::NodeTerminationAfterEmpty => {
            let emptied =
                within.nodes().filter_map(|node| Some((node, node.emptied.filter(|&at| within.contains(at))?)));
            // One that is not Karpenter's stays, as a rule, and keeps nobody waiting.
            let meant = emptied.filter(|(node, _)| node.gone.is_some() || node.claim.is_some());
            meant.map(|(node, emptied)| Observed::wait(emptied, node.gone, plan.until)).reduce(Observed::longer)
        }
        Measure::TimeToReplace => {
            let meant = analysis.replacements.iter().filter(|one| !one.needless && within.contains(one.trigger));
            let waits = meant.map(|one| Observed::wait(one.trigger, one.served, plan.until));
            waits.reduce(Observed::longer)
        }
        _ => certain(measure, &within, plan, world).map(Observed::exact),
    }
}

/// The value of a measure that is never broken off.
fn certain(measure: Measure, within: &Within, plan: &Plan, world: &World) -> Option<f64> {
    let analysis = within.analysis;
    let totals = &analysis.totals;
    let count = |number: u64| Some(number as f64);
    match measure {
        Measure::Detection => longest(within.steps().filter_map(|step| step.detection().map(Span::seconds))),
        Measure::Steps => count(within.steps().count() as u64),
        Measure::OfferedRequests
        | Measure::ServedRequests
        | Measure::SlowRequests
        | Measure::LostRequests
        | Measure::LostShare
        | Measure::SlowShare
        | Measure::MeanLatency => requests(measure, &within.tally(plan, world)),
        Measure::NodesLaunched => count(within.windowed(totals.nodes_launched, |node| node.launched)),
        Measure::NodesTerminated => count(within.windowed(totals.nodes_terminated, |node| node.stopped)),
        Measure::NodesMax => longest(within.samples().map(|sample| f64::from(sample.nodes.total()))),
        Measure::NodesEnd => within.samples().last().map(|sample| f64::from(sample.nodes.total())),
        Measure::NodeSeconds => Some(totals.node_time.seconds()),
        Measure::Cost => Some(totals.cost.dollars()),
        Measure::CostPerMillion => super::totals::per_million(world, totals.cost),
        Measure::SurplusCost => Some(totals.surplus_cost.dollars()),
        Measure::ChurnCost => Some(churn::total(&totals.churn_by).cost.dollars()),
        Measure::OverlapCost => Some(churn::total(&totals.churn_by).overlap_cost.dollars()),
        Measure::NodesReplacing => count(churn::total(&totals.churn_by).nodes),
        Measure::NodesDrainingMax => count(totals.draining_max),
        Measure::OnDemandLaunched => count(totals.on_demand_launched),
        Measure::LaunchesWithoutCapacity => count(totals.launch_failures),
        Measure::LaunchesThrottled => count(totals.launches_throttled),
        Measure::FirstDisruption => totals.disruptions.map(|(first, _)| first.since(plan.start).seconds()),
        Measure::LastDisruption => totals.disruptions.map(|(_, last)| last.since(plan.start).seconds()),
        Measure::UnscheduledPods => count(totals.unscheduled + totals.let_go_unscheduled),
        Measure::ReplicasMax => longest(within.replicas().map(|replicas| f64::from(replicas.desired))),
        Measure::ReplicasEnd => within.replicas().last().map(|replicas| f64::from(replicas.desired)),
        Measure::InServiceMin => within.replicas().map(|replicas| f64::from(replicas.in_service)).reduce(f64::min),
        Measure::Interruptions => count(within.windowed(totals.interruptions, |node| node.interrupted)),
        Measure::Evictions => {
            count(within.pods().filter(|pod| pod.cause == Some(DeleteCause::Eviction)).count() as u64)
        }
        Measure::Alarms => count(totals.alarms.iter().filter(|(at, _)| within.contains(*at)).count() as u64),
        Measure::TimeToServe
        | Measure::TimeToReplace
        | Measure::NodeTerminationAfterEmpty
        | Measure::PodTermination
        | Measure::Drain
        | Measure::PhaseReplicaSet
        | Measure::PhaseScheduling
        | Measure::PhaseBatching
        | Measure::PhasePlanning
        | Measure::PhaseLaunch
        | Measure::PhaseBoot
        | Measure::PhaseRegistration
        | Measure::PhaseNodeReady
        | Measure::PhaseBinding
        | Measure::PhaseSandbox
        | Measure::PhaseImagePull
        | Measure::PhaseContainerStart
        | Measure::PhaseReadiness
        | Measure::PhaseEndpoint
        | Measure::PhaseTargetRegistration
        | Measure::PhaseHealthCheck
        | Measure::PhaseFirstRequest => None,
    }
}

fn longest(values: impl Iterator<Item = f64>) -> Option<f64> {
    values.reduce(f64::max)
}

fn requests(measure: Measure, tally: &Tally) -> Option<f64> {
    let whole = |amount: u64| Some(amount as f64 / REQUEST as f64);
    let share = |part: u64, all: u64| Some(if all == 0 { 0.0 } else { part as f64 / all as f64 });
    match measure {
        Measure::OfferedRequests => whole(tally.offered),
        Measure::ServedRequests => whole(tally.served),
        Measure::SlowRequests => whole(tally.slow),
        Measure::LostRequests => whole(tally.lost_all()),
        Measure::LostShare => share(tally.lost_all(), tally.offered),
        Measure::SlowShare => share(tally.slow, tally.served),
        _ => tally.mean_latency().map(Span::seconds),
    }
}

/// The part of a run that a scope selects.
struct Within<'a> {
    analysis: &'a Analysis,
    deployment: Option<DeploymentId>,
    step: Option<u32>,
    window: Option<(Time, Time)>,
    start: Time,
}

impl<'a> Within<'a> {
    /// `None`: there is no such Deployment, or no such step.
    fn new(scope: &Scope, plan: &Plan, analysis: &'a Analysis) -> Option<Within<'a>> {
        let deployment = match &scope.deployment {
            None => None,
            Some(name) => {
                let position = plan.deployments.iter().position(|deployment| deployment.name == *name)?;
                Some(DeploymentId::at(position))
            }
        };
        // Of a step that never came not even its number of steps is known: none would read as an answer about it.
        let is_meant = |step: &Step, number| {
            step.number == number && deployment.is_none_or(|deployment| deployment == step.deployment)
        };
        if scope.step.is_some_and(|number| !analysis.steps.iter().any(|step| is_meant(step, number))) {
            return None;
        }
        let at = |micros| plan.start + Span::from_micros(micros);
        let window = scope.window.map(|(from, to)| (at(from), at(to)));
        Some(Within { analysis, deployment, step: scope.step, window, start: plan.start })
    }

    fn contains(&self, at: Time) -> bool {
        self.window.is_none_or(|(from, to)| from <= at && at < to)
    }

    fn nodes(&self) -> impl Iterator<Item = &'a NodeHistory> {
        self.analysis.history.nodes.iter()
    }

    /// A count of the whole run, or of the nodes to which it happened within the window.
    fn windowed(&self, whole: u64, when: fn(&NodeHistory) -> Option<Time>) -> u64 {
        let inside = |node: &&NodeHistory| when(node).is_some_and(|at| self.contains(at));
        if self.window.is_none() { whole } else { self.nodes().filter(inside).count() as u64 }
    }

    /// The states of the window: what holds at its start, and every change within it.
    fn samples(&self) -> impl Iterator<Item = &'a super::Sample> {
        let samples = &self.analysis.series.samples;
        let (first, end) = self.window.map_or((0, samples.len()), |(from, to)| {
            let first = samples.partition_point(|sample| sample.at <= from);
            (first.saturating_sub(1), samples.partition_point(|sample| sample.at < to))
        });
        samples[first.min(end)..end].iter()
    }

    fn is_meant(&self, deployment: Option<DeploymentId>) -> bool {
        self.deployment.is_none() || self.deployment == deployment
    }

    fn steps(&self) -> impl Iterator<Item = &'a Step> {
        self.analysis.steps.iter().filter(|step| {
            let meant = self.deployment.is_none_or(|deployment| deployment == step.deployment);
            meant && self.step.is_none_or(|number| number == step.number) && self.contains(step.trigger)
        })
    }

    fn longest_step(&self, value: impl Fn(&Step) -> Option<Observed>) -> Option<Observed> {
        self.steps().filter_map(value).reduce(Observed::longer)
    }

    /// Pods that are meant; of a window those whose deletion was asked for within it.
    fn pods(&self) -> impl Iterator<Item = &PodHistory> {
        let pods = self.analysis.history.pods.iter();
        pods.filter(|pod| {
            let meant = self.deployment.is_none() || pod.deployment == self.deployment;
            meant && (self.window.is_none() || pod.deleting.is_some_and(|deleting| self.contains(deleting)))
        })
    }

    fn longest_pod(&self, value: impl Fn(&PodHistory) -> Option<Observed>) -> Option<Observed> {
        self.pods().filter(|pod| pod.deployment.is_some()).filter_map(value).reduce(Observed::longer)
    }

    /// Replicas of all Deployments that are meant, together, at each sample.
    fn replicas(&self) -> impl Iterator<Item = super::Replicas> {
        let deployment = self.deployment;
        self.samples().map(move |sample| {
            let mut sum = super::Replicas::default();
            for (index, replicas) in sample.replicas.iter().enumerate() {
                if deployment.is_none_or(|deployment| deployment.index() == index) {
                    sum.desired += replicas.desired;
                    sum.existing += replicas.existing;
                    sum.ready += replicas.ready;
                    sum.in_service += replicas.in_service;
                    sum.capacity += replicas.capacity;
                }
            }
            sum
        })
    }

    fn tally(&self, plan: &Plan, world: &World) -> Tally {
        let mut sum = Tally::default();
        for (app, ledger) in plan.apps.iter().zip(&world.ledgers) {
            if !self.is_meant(Some(app.deployment)) {
                continue;
            }
            match self.window {
                None => sum += &ledger.total,
                Some((from, to)) => {
                    let second = |at: Time| at.since(self.start).whole_seconds() as usize;
                    let bins = ledger.bins.iter().take(second(to)).skip(second(from));
                    bins.for_each(|bin| sum += bin);
                }
            }
        }
        sum
    }
}

/// A pod's owner is a DaemonSet: it is part of its node, not of the workload.
pub fn is_daemon(world: &World, pod: &PodHistory) -> bool {
    matches!(world.pod(pod.id).owner, Owner::DaemonSet(_))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::expectation::parse;

    fn verdict(text: &str, values: &[f64]) -> Verdict {
        let values: Vec<Option<f64>> = values.iter().copied().map(Some).collect();
        judge(&parse(text).unwrap(), &values).verdict
    }

    #[test]
    fn one_run_has_no_percentile_and_says_so() {
        let expectation = parse("p95(time_to_serve) <= 3m").unwrap();
        let judged = judge(&expectation, &[Some(138.1)]);
        assert_eq!((judged.verdict, judged.measured), (Verdict::Undecided, Some(138.1)));
        assert_eq!(judged.explanation, "2m18.1s of one run; p95 needs 59 runs");
    }

    /// None of a thousand runs lost anything, or every tenth did: one run shows the same.
    #[test]
    fn one_run_decides_nothing_that_speaks_of_many() {
        for text in
            ["share(lost_requests > 0) <= 5%", "mean(cost) < $1", "max(lost_requests) == 0", "min(nodes_end) >= 1"]
        {
            let judged = judge(&parse(text).unwrap(), &[Some(0.0)]);
            assert_eq!(judged.verdict, Verdict::Undecided, "{text}");
            assert!(judged.explanation.contains("of one run; a"), "{}", judged.explanation);
        }
        let share = judge(&parse("share(lost_requests > 0) <= 5%").unwrap(), &[Some(0.0)]);
        assert_eq!(share.measured, None, "a run is no share of runs");
        assert_eq!(verdict("lost_requests == 0", &[0.0]), Verdict::Holds, "what speaks of one run is decided by it");
    }

    #[test]
    fn bounds_are_kept_by_all_runs_or_by_none_or_it_is_undecided() {
        assert_eq!(verdict("time_to_serve <= 3m", &[100.0, 180.0]), Verdict::Holds);
        assert_eq!(verdict("time_to_serve <= 3m", &[100.0, 180.1]), Verdict::Undecided);
        assert_eq!(verdict("time_to_serve <= 3m", &[181.0, 190.0]), Verdict::Fails);
        assert_eq!(verdict("time_to_serve in 2m..3m", &[100.0, 200.0]), Verdict::Undecided);
        assert_eq!(verdict("time_to_serve <= 3m", &[f64::INFINITY]), Verdict::Fails);
        assert_eq!(verdict("time_to_serve <= 3m", &[]), Verdict::Undecided);
    }

    #[test]
    fn statistics_over_runs() {
        let values: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!(verdict("p95(time_to_serve) == 95s", &values), Verdict::Holds);
        assert_eq!(verdict("median(time_to_serve) == 50s", &values), Verdict::Holds);
        assert_eq!(verdict("mean(time_to_serve) == 50.5s", &values), Verdict::Holds);
        assert_eq!(verdict("max(time_to_serve) <= 99s", &values), Verdict::Fails);
        assert_eq!(verdict("share(time_to_serve > 99s) <= 1%", &values), Verdict::Holds);
        assert_eq!(verdict("share(time_to_serve > 98s) <= 1%", &values), Verdict::Fails);
    }
}
