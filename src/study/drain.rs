//! The safe-drain calculator: the smallest preStop and grace period with which pods on their way out lose no request.
//!
//! ```text
//!  plan ─► a rolling restart, if nothing is deleted ─► for each preStop: replications with the same draws ─► requests lost
//!       └─► coarse grid, then bisection to the second ─► smallest preStop ─► longest terminations ─► grace, run again
//! ```
//!
//! A loss counts when it fell at a pod whose deletion had been asked for. Replication k draws the same delays for every
//! preStop, so that points differ by the preStop alone. "Holds" is a statement about all such runs: with the given
//! confidence at least the given share of them loses nothing (Clopper and Pearson 1934, one-sided).

use crate::components::Outcome;
use crate::engine::{Span, Time};
use crate::plan::{Action, ActionKind, AppId, DeploymentId, Plan, TemplateId};
use crate::rules::expectation::Verdict;
use crate::study::run_once;
use crate::world::{Change, Loss, PodId, World};
use rayon::prelude::*;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Sleeps that are tried first.
const GRID: [u64; 12] = [0, 5, 10, 15, 20, 25, 30, 45, 60, 90, 120, 180];
/// Grace that never cuts a termination short, on top of the sleep.
const AMPLE: Span = Span::from_secs(600);
/// Replications after which a point that has lost too often already is left.
const FIRST: u64 = 60;
/// Traffic of so many seconds before a deletion shows that the pod had something to lose.
const BEFORE: usize = 5;
/// The kubelet gives SIGTERM at least this long.
const GRACE_LEAST: u64 = 2;

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Question {
    /// Whose pods.
    pub app: AppId,
    /// Replications of each point.
    pub replications: u64,
    /// At least this share of runs shall lose nothing.
    pub share: f64,
    /// With this confidence.
    pub confidence: f64,
}

/// One preStop and grace period, tried.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// preStop.
    pub pre_stop: Span,
    /// Grace period.
    pub grace: Span,
    /// Micro-requests lost at pods on their way out, ascending over replications: fewer than asked for if the first ones lost
    /// too often already.
    pub lost: Vec<u64>,
    /// The longest termination of a pod that ran, of each replication, ascending.
    pub longest: Vec<Span>,
    /// Pods that ran and whose termination was seen, in all replications.
    pub terminations: u64,
    /// Micro-requests that came, and those answered, around the deletions, in all replications.
    pub traffic: (u64, u64),
}

impl Point {
    /// Mean of the micro-requests lost.
    pub fn mean(&self) -> f64 {
        self.lost.iter().sum::<u64>() as f64 / self.lost.len().max(1) as f64
    }

    /// What 95 % of the runs do not exceed.
    pub fn p95(&self) -> u64 {
        let rank = (self.lost.len() * 95).div_ceil(100).max(1);
        self.lost.get(rank - 1).copied().unwrap_or(0)
    }

    /// Runs that lost something.
    pub fn losing(&self) -> u64 {
        self.lost.iter().filter(|&&lost| lost > 0).count() as u64
    }
}

/// What came out.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// What was asked.
    pub question: Question,
    /// What the manifests say now: preStop and grace period.
    pub present: (Span, Span),
    /// A rolling restart was added at this time, since nothing was deleted.
    pub added: Option<Time>,
    /// Runs that may lose something; `None`: there are too few runs to decide at all.
    pub allowed: Option<u64>,
    /// Points with ample grace, by preStop.
    pub points: Vec<Point>,
    /// The smallest preStop that holds, with the smallest grace period.
    pub best: Option<Point>,
    /// The present setting as it is.
    pub as_is: Point,
}

impl Answer {
    /// Does a setting hold? It fails only where its losses would be as unlikely, if it held, as the confidence asks.
    pub fn verdict(&self, point: &Point) -> Verdict {
        let (runs, losing) = (point.lost.len() as u64, point.losing());
        let whole = runs == self.question.replications;
        if whole && self.allowed.is_some_and(|allowed| losing <= allowed) {
            return Verdict::Holds;
        }
        let fails = surely_lost(losing, runs, self.question.share, self.question.confidence);
        if fails { Verdict::Fails } else { Verdict::Undecided }
    }

    /// None may hold as far as these runs show, or more runs may tell.
    pub fn may_hold(&self) -> bool {
        self.points.iter().any(|point| self.verdict(point) != Verdict::Fails)
    }
}

/// So many of these runs lost something that fewer than the share lose nothing, with this confidence.
pub fn surely_lost(losing: u64, runs: u64, share: f64, confidence: f64) -> bool {
    let (n, p) = (runs as f64, 1.0 - share);
    let (mut term, mut below) = ((1.0 - p).powf(n), 0.0);
    for k in 0..losing {
        below += term;
        term *= (n - k as f64) / (k as f64 + 1.0) * p / (1.0 - p);
    }
    losing > 0 && 1.0 - below <= 1.0 - confidence
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No pod is deleted, and the run is too short for a restart.
    NothingIsDeleted,
    /// No request was answered around the deletions of so many pods: there was nothing to lose.
    NothingIsServed {
        /// Pods that were deleted, in all runs.
        deletions: u64,
        /// Requests came, and none was answered.
        offered: bool,
    },
}

/// Runs that may lose something out of so many, if the statement is to hold; `None`: not even none would do.
pub fn losses_allowed(runs: u64, share: f64, confidence: f64) -> Option<u64> {
    // P(at most k of n runs lose) if each loses with the largest chance that would still be too much.
    let (n, p) = (runs as f64, 1.0 - share);
    let (mut term, mut sum) = ((1.0 - p).powf(n), 0.0);
    let mut allowed = None;
    for k in 0..=runs {
        sum += term;
        if sum > 1.0 - confidence {
            break;
        }
        allowed = Some(k);
        term *= (n - k as f64) / (k as f64 + 1.0) * p / (1.0 - p);
    }
    allowed
}

/// Finds the answer; `progress` is told what is tried.
///
/// # Errors
/// There is nothing to measure.
pub fn drain(plan: &Plan, question: Question, mut progress: impl FnMut(Span)) -> Result<Answer, Refusal> {
    let mut plan = plan.clone();
    plan.noise = true;
    let deployment = plan.apps[question.app.index()].deployment;
    let templates = templates_of(&plan, deployment);
    let present = setting(&plan, templates[0]);
    let added = if deletes(&plan, deployment) { None } else { Some(add_restart(&mut plan, deployment)?) };
    let allowed = losses_allowed(question.replications, question.share, question.confidence);
    let study = Study { plan, deployment, question, allowed };
    let holds = |point: &Point| allowed.is_some_and(|allowed| point.losing() <= allowed);
    let mut points: Vec<Point> = Vec::new();
    for seconds in GRID {
        progress(Span::from_secs(seconds));
        points.push(study.ample(seconds));
        if let [Point { traffic: (offered, 0), terminations, .. }] = points.as_slice() {
            return Err(Refusal::NothingIsServed { deletions: *terminations, offered: *offered > 0 });
        }
        if points.last().is_some_and(&holds) {
            break;
        }
    }
    if let [.., below, above] = points.as_slice()
        && holds(above)
    {
        let (mut low, mut high) = (below.pre_stop.whole_seconds(), above.pre_stop.whole_seconds());
        while high - low > 1 {
            let middle = low.midpoint(high);
            progress(Span::from_secs(middle));
            let point = study.ample(middle);
            if holds(&point) {
                high = middle
            } else {
                low = middle
            }
            points.push(point);
        }
    }
    points.sort_by_key(|point| point.pre_stop);
    progress(present.0);
    let as_is = study.point(present.0, present.1);
    let smallest = points.iter().find(|point| holds(point)).cloned();
    let best = smallest.and_then(|point| study.smallest_grace(&point, allowed.unwrap_or(0), holds));
    Ok(Answer { question, present, added, allowed, points, best, as_is })
}

/// A plan whose templates are varied.
struct Study {
    plan: Plan,
    deployment: DeploymentId,
    question: Question,
    allowed: Option<u64>,
}

impl Study {
    fn ample(&self, seconds: u64) -> Point {
        let pre_stop = Span::from_secs(seconds);
        self.point(pre_stop, pre_stop + AMPLE)
    }

    /// All replications of one setting.
    fn point(&self, pre_stop: Span, grace: Span) -> Point {
        let mut plan = self.plan.clone();
        for id in templates_of(&plan, self.deployment) {
            let template = Arc::make_mut(&mut plan.templates[id.index()]);
            template.termination_grace = grace;
            for (index, container) in template.containers.iter_mut().enumerate() {
                container.pre_stop = (index == 0 && !pre_stop.is_zero()).then_some(pre_stop);
            }
        }
        let first = FIRST.min(self.question.replications);
        let mut seen = self.replications(&plan, 0..first);
        let losing = seen.iter().filter(|seen| seen.lost > 0).count() as u64;
        if losing <= self.allowed.unwrap_or(u64::MAX) {
            seen.extend(self.replications(&plan, first..self.question.replications));
        }
        let mut lost: Vec<u64> = seen.iter().map(|seen| seen.lost).collect();
        let mut longest: Vec<Span> = seen.iter().map(|seen| seen.longest).collect();
        lost.sort_unstable();
        longest.sort_unstable();
        let terminations = seen.iter().map(|seen| seen.terminations).sum();
        let traffic = seen.iter().fold((0, 0), |sum, seen| (sum.0 + seen.traffic.0, sum.1 + seen.traffic.1));
        Point { pre_stop, grace, lost, longest, terminations, traffic }
    }

    fn replications(&self, plan: &Plan, numbers: std::ops::Range<u64>) -> Vec<Seen> {
        let runs = numbers.into_par_iter();
        runs.map(|run| look(&run_once(plan, run, false), plan.start, self.question.app, self.deployment)).collect()
    }

    /// With ample grace all but the allowed runs ended their terminations within this; run again with it, and with a
    /// second more while that is not enough.
    fn smallest_grace(&self, ample: &Point, allowed: u64, holds: impl Fn(&Point) -> bool) -> Option<Point> {
        let rank = ample.longest.len().checked_sub(1 + usize::try_from(allowed).ok()?)?;
        let needed = ample.longest[rank].micros().div_ceil(1_000_000);
        let least = needed.max(ample.pre_stop.whole_seconds() + GRACE_LEAST);
        (least..least + 30).map(|grace| self.point(ample.pre_stop, Span::from_secs(grace))).find(holds)
    }
}

/// What one run shows.
struct Seen {
    lost: u64,
    longest: Span,
    terminations: u64,
    traffic: (u64, u64),
}

fn look(outcome: &Outcome, start: Time, app: AppId, deployment: DeploymentId) -> Seen {
    let world = &outcome.world;
    let leaves = |pod: PodId, since: Time| world.pod(pod).deleting_since.is_some_and(|deleting| deleting <= since);
    let windows = world.ledgers[app.index()].losses.windows().iter();
    let at_leaving = windows.filter(|window| {
        let of_leaving = matches!(window.loss, Loss::Refused | Loss::Cut | Loss::Unreachable | Loss::DrainEnded);
        of_leaving && window.place.pod.is_some_and(|pod| leaves(pod, window.from))
    });
    let ran = ran_before_deletion(outcome, start);
    let ended = deleted(world, deployment).filter(|pod| ran.contains(pod)).filter_map(|pod| {
        let pod = world.pod(pod);
        Some(pod.gone?.since(pod.deleting_since?))
    });
    let (terminations, longest) = ended.fold((0, Span::ZERO), |(count, most), span| (count + 1, most.max(span)));
    let lost = at_leaving.map(|window| window.amount).sum();
    Seen { lost, longest, terminations, traffic: around_deletions(world, start, app, deployment) }
}

/// Pods that ran when their deletion was asked for. One that was still on its way up has nothing to stop: how long it takes, such as
/// until its image is there, is no matter of its grace period.
fn ran_before_deletion(outcome: &Outcome, start: Time) -> BTreeSet<PodId> {
    let world = &outcome.world;
    let asked = |pod: PodId| world.pod(pod).deleting_since;
    let started = outcome.recorder.facts.iter().filter_map(|fact| match fact.change {
        Change::ContainerStarted(pod, _) => asked(pod).is_some_and(|asked| fact.at <= asked).then_some(pod),
        _ => None,
    });
    let of_start = world.pods.iter().filter(|pod| pod.bound.is_some_and(|bound| bound < start)).map(|pod| pod.id);
    started.chain(of_start).collect()
}

/// Micro-requests of a service that came, and those answered, from shortly before a pod's deletion was asked for until it was gone.
fn around_deletions(world: &World, start: Time, app: AppId, deployment: DeploymentId) -> (u64, u64) {
    let ledger = &world.ledgers[app.index()];
    let second = |at: Time| at.since(start).whole_seconds() as usize;
    let windows = deleted(world, deployment).filter_map(|pod| {
        let pod = world.pod(pod);
        let from = second(pod.deleting_since?).saturating_sub(BEFORE);
        Some(from..pod.gone.map_or(ledger.bins.len(), |gone| second(gone) + 1))
    });
    windows.fold((0, 0), |sum, window| {
        let bins = ledger.bins.iter().take(window.end).skip(window.start);
        bins.fold(sum, |sum, bin| (sum.0 + bin.offered, sum.1 + bin.served))
    })
}

/// Pods of a Deployment whose deletion was asked for.
fn deleted(world: &World, deployment: DeploymentId) -> impl Iterator<Item = PodId> + '_ {
    let of = move |pod: PodId| world.deployment_of(pod) == Some(deployment);
    world.pods.iter().filter(move |pod| pod.deleting_since.is_some() && of(pod.id)).map(|pod| pod.id)
}

/// Some pod of a Deployment is deleted in the first replication.
fn deletes(plan: &Plan, deployment: DeploymentId) -> bool {
    deleted(&run_once(plan, 0, false).world, deployment).next().is_some()
}

/// Templates that pods of a Deployment can have: those that its selector selects.
fn templates_of(plan: &Plan, deployment: DeploymentId) -> Vec<TemplateId> {
    let spec = &plan.deployments[deployment.index()];
    let selected = plan.templates.iter().enumerate().filter(|(index, template)| {
        template.namespace == plan.template(spec.template).namespace && spec.selector.matches(&template.labels)
            || *index == spec.template.index()
    });
    let mut ids = vec![spec.template];
    ids.extend(selected.map(|(index, _)| TemplateId::at(index)).filter(|id| *id != spec.template));
    ids
}

/// preStop and grace period of a template.
fn setting(plan: &Plan, template: TemplateId) -> (Span, Span) {
    let template = plan.template(template);
    let pre_stop = template.containers.iter().filter_map(|container| container.pre_stop).max();
    (pre_stop.unwrap_or(Span::ZERO), template.termination_grace)
}

/// A rolling restart a quarter of the run after its start.
fn add_restart(plan: &mut Plan, deployment: DeploymentId) -> Result<Time, Refusal> {
    let length = plan.until.since(plan.start);
    if length < Span::from_secs(240) {
        return Err(Refusal::NothingIsDeleted);
    }
    let at = plan.start + Span::from_secs(length.whole_seconds() / 4);
    let mut template = (**plan.template(plan.deployments[deployment.index()].template)).clone();
    template.annotations.insert("kubectl.kubernetes.io/restartedAt", at.decimal_from(plan.start));
    plan.templates.push(Arc::new(template));
    let template = TemplateId::at(plan.templates.len() - 1);
    plan.actions.push(Action { at, kind: ActionKind::RollOut(deployment, template) });
    plan.actions.sort_by_key(|action| action.at);
    Ok(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One-sided 95 % bounds: 59 runs without loss speak for 95 %, 93 allow one, 124 two (the known sample sizes of
    /// order statistics: 0.95^59 = 0.0485).
    #[test]
    fn so_many_runs_may_lose() {
        assert_eq!(losses_allowed(58, 0.95, 0.95), None);
        assert_eq!(losses_allowed(59, 0.95, 0.95), Some(0));
        assert_eq!(losses_allowed(92, 0.95, 0.95), Some(0));
        assert_eq!(losses_allowed(93, 0.95, 0.95), Some(1));
        assert_eq!(losses_allowed(124, 0.95, 0.95), Some(2));
        assert_eq!(losses_allowed(298, 0.99, 0.95), None);
        assert_eq!(losses_allowed(299, 0.99, 0.95), Some(0));
    }

    /// Of 60 runs that each lose with chance 5 %, 7 or more lose with chance 3.0 %, 6 or more with 7.9 %.
    #[test]
    fn few_losses_in_few_runs_are_not_yet_a_failure() {
        assert!(!surely_lost(2, 60, 0.95, 0.95), "58 of 60 without a loss is still open");
        assert!(!surely_lost(6, 60, 0.95, 0.95));
        assert!(surely_lost(7, 60, 0.95, 0.95));
        assert!(!surely_lost(0, 1, 0.95, 0.95));
    }
}
