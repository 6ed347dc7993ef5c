//! The load balancer's half: published preStop results, the scenarios that teach, lost requests explained, faults.

use crate::support::{load, root, shipped};
use kubelapse::analysis::losses::{self, Story};
use kubelapse::components::Outcome;
use kubelapse::engine::{Span, Time};
use kubelapse::plan::{ActionKind, Fault, FaultKind, LoadBalancerCall, Plan, Program, TargetGroupId};
use kubelapse::study::drain::{Question, drain};
use kubelapse::study::{self, run_once};
use kubelapse::world::{Change, Loss, REQUEST, TargetReason, TargetState, World};
use std::sync::Arc;

/// A scenario of this folder.
fn scenario(name: &str) -> Plan {
    load(&root().join("scenarios/load-balancer").join(format!("{name}.yaml")))
}

fn lost(world: &World) -> u64 {
    world.ledgers.iter().map(|ledger| ledger.total.lost_all()).sum::<u64>() / REQUEST
}

fn seconds(seconds: u64) -> Span {
    Span::from_secs(seconds)
}

/// Requests lost in replications of a rolling restart of four pods, ten requests a second each, with that preStop.
fn restart(pre_stop: u64, replications: u64) -> Vec<u64> {
    let mut plan = scenario("good-pre-stop");
    plan.noise = true;
    plan.until = plan.start + seconds(150);
    plan.actions[0].at = plan.start + seconds(10);
    let edit = |plan: &mut Plan, index: usize| {
        let template = Arc::make_mut(&mut plan.templates[index]);
        template.termination_grace = seconds(pre_stop + 30);
        template.containers[0].pre_stop = Some(seconds(pre_stop)).filter(|span| !span.is_zero());
    };
    (0..plan.templates.len()).for_each(|index| edit(&mut plan, index));
    assert!(matches!(plan.actions[0].kind, ActionKind::RollOut(..)));
    let mut lost: Vec<u64> = (0..replications).map(|run| self::lost(&run_once(&plan, run, false).world)).collect();
    lost.sort_unstable();
    lost
}

/// aws-load-balancer-controller issue 1064: 5 s of preStop are not enough, 25 s lose nothing.
#[test]
fn published_pre_stop_results_come_out_in_order_and_range() {
    let runs = 30;
    let [none, five, fifteen, twenty_five] = [0, 5, 15, 25].map(|pre_stop| restart(pre_stop, runs));
    let mean = |lost: &[u64]| lost.iter().sum::<u64>() as f64 / lost.len() as f64;
    let losing = |lost: &[u64]| lost.iter().filter(|&&lost| lost > 0).count();
    assert!(losing(&five) > runs as usize / 2, "5 s lose in {} of {runs} runs", losing(&five));
    assert!(losing(&fifteen) < losing(&five) && losing(&twenty_five) <= losing(&fifteen));
    assert_eq!(twenty_five[(runs as usize * 95).div_ceil(100) - 1], 0, "p95 with 25 s: {twenty_five:?}");
    // Without preStop every run loses about a pod's rate times the seconds of propagation, four times: the mean of the
    // lognormal is 5.1 s, the controller adds its own.
    assert_eq!(losing(&none), runs as usize);
    assert!((150.0..350.0).contains(&mean(&none)), "{}", mean(&none));
    assert!(mean(&none) > mean(&five) && mean(&five) > mean(&fifteen));
}

#[test]
fn every_scenario_of_the_folder_holds() {
    let folder = root().join("scenarios/load-balancer");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    assert!(files.len() >= 6);
    for path in files {
        let plan = load(&path);
        assert!(!plan.expectations.is_empty() && !plan.claims.is_empty(), "{}", path.display());
        let verdicts = study::verdicts(&plan, &run_once(&plan, 0, false), "");
        assert!(!verdicts.failed && !verdicts.undecided, "{}", verdicts.text);
    }
}

/// AWS registers no address anew before its deregistration delay is over (spec/aws.md 1.4): without a gate the controller gives up,
/// with one it asks every 15 s.
#[test]
fn an_address_that_drains_is_not_registered_anew() {
    let plan = scenario("address-reuse");
    let cooldown = plan.flags.kubelet.address_cooldown.expect("what it is about");
    let outcome = run_once(&plan, 0, false);
    let world = &outcome.world;
    let mut reused = 0;
    for pod in world.pods.iter().filter(|pod| pod.address.is_some()) {
        let before = world.pods[..pod.id.index()].iter().rfind(|other| other.address == pod.address);
        let Some(before) = before else { continue };
        assert!(before.gone.is_some_and(|gone| gone + cooldown <= world.now), "{:?}", pod.id);
        assert_eq!(before.node, pod.node, "an address stays on its node");
        assert!(world.targets.iter().all(|target| target.pod != pod.id), "nobody asks again");
        reused += 1;
    }
    assert_eq!(reused, 4);
    let text = study::explain_losses(&plan, &outcome);
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains("4 pods came with addresses that still drained"), "{text}");

    let mut gated = plan;
    for template in &mut gated.templates {
        Arc::make_mut(template).readiness_gates = vec!["target-health.elbv2.k8s.aws/web".to_string()];
    }
    let world = run_once(&gated, 0, false).world;
    let of = |target: &kubelapse::world::Target| world.targets.iter().find(|other| other.address == target.address);
    let again: Vec<_> = world.targets.iter().filter(|target| of(target).is_some_and(|of| of.id != target.id)).collect();
    assert_eq!(again.len(), 4);
    for target in again {
        let drained = of(target).and_then(|of| of.gone).expect("it has drained");
        let could = drained.max(world.pod(target.pod).created + seconds(25));
        assert!(target.registered >= drained && target.registered < could + seconds(20), "{target:?}");
    }
    assert_eq!(lost(&world), 0);
}

#[test]
fn lost_requests_are_told_by_cause_and_add_up() {
    let plan = scenario("no-pre-stop");
    let outcome = run_once(&plan, 0, false);
    let groups = losses::groups(&plan, &outcome.world, &outcome.recorder);
    let total = &outcome.world.ledgers[0].total;
    for loss in Loss::ALL {
        let told: u64 = groups.iter().filter(|group| group.loss == loss).map(|group| group.amount).sum();
        assert_eq!(told, total.lost[loss as usize], "{}", loss.name());
    }
    let entries: Vec<_> = groups.iter().flat_map(|group| &group.entries).collect();
    assert!(entries.len() >= 4, "each of four pods lost some");
    for entry in entries {
        let Story::Leaving(leaving) = &entry.story else { panic!("{:?}", entry.story) };
        assert_eq!(leaving.sigterm.map(|at| at - leaving.deleting), Some(Span::from_millis(20)), "a hop, no preStop");
        // Nothing is lost after the load balancer ceased to send; what is sent to an address fails ten seconds later.
        let late = if entry.window.loss == Loss::Unreachable { seconds(10) } else { Span::ZERO };
        let sent = (entry.window.from.back(late), entry.window.to.back(late));
        assert!(Some(sent.0) >= leaving.sigterm && Some(sent.1) <= leaving.silent, "{entry:?}");
    }
    let text = study::explain_losses(&plan, &outcome);
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    assert!(text.contains("502 connection refused") && text.contains("a preStop of 6 s"), "{text}");
    let good = scenario("good-pre-stop");
    let text = study::explain_losses(&good, &run_once(&good, 0, false));
    assert!(text.ends_with("requests was lost.\n"), "{text}");
}

/// A run of four pods, sixty requests a second, with a fault from the first minute to the end of the third.
fn with_fault(kind: FaultKind) -> (Plan, Outcome) {
    let mut plan = scenario("fail-open");
    plan.until = plan.start + seconds(360);
    let (at, until) = (plan.start + seconds(60), Some(plan.start + seconds(180)));
    plan.faults = vec![Fault { at, until, kind }];
    let outcome = run_once(&plan, 0, false);
    (plan, outcome)
}

fn unhealthy(outcome: &Outcome) -> Vec<(Time, TargetReason)> {
    let facts = outcome.recorder.facts.iter();
    let hit = facts.filter_map(|fact| match fact.change {
        Change::TargetStateChanged(target, TargetState::Unhealthy) => {
            Some((fact.at, outcome.world.targets[target.index()].reason_at(fact.at)))
        }
        _ => None,
    });
    hit.collect()
}

/// With the path answering an error the reason is ResponseCodeMismatch and all targets get requests; a security group
/// makes checks time out, and what it drops of requests fails after the connect time-out.
#[test]
fn a_failing_path_fails_open_and_a_security_group_loses_requests() {
    let group = TargetGroupId(0);
    let (plan, outcome) = with_fault(FaultKind::HealthCheckFails(group));
    let hits = unhealthy(&outcome);
    assert!(hits.len() == 4 && hits.iter().all(|(_, reason)| *reason == TargetReason::ResponseCodeMismatch));
    assert_eq!(lost(&outcome.world), 0);
    let (_, blocked) = with_fault(FaultKind::SecurityGroupBlocks { target_group: group, only_checks: true });
    let late = unhealthy(&blocked);
    assert!(late.len() == 4 && late.iter().all(|(_, reason)| *reason == TargetReason::Timeout));
    let timeout = plan.target_groups[0].health_check.timeout;
    assert_eq!(late.iter().map(|(at, _)| at.back(timeout)).min(), hits.iter().map(|(at, _)| *at).min());
    assert_eq!(lost(&blocked.world), 0);
    let (plan, all) = with_fault(FaultKind::SecurityGroupBlocks { target_group: group, only_checks: false });
    assert_eq!(all.world.ledgers[0].total.lost[Loss::Unreachable as usize], 7_200 * REQUEST, "two minutes of 60/s");
    let text = study::explain_losses(&plan, &all);
    assert!(text.contains("fault 1: a security group drops everything"), "{text}");
    assert!(text.contains("504 address gone: 7200 requests"), "{text}");
}

/// A restart of the pods while the load balancer controller may not deregister (or is away): what was deleted goes on
/// getting requests.
#[test]
fn without_its_controller_the_load_balancer_sends_to_pods_that_are_gone() {
    let faults = [
        FaultKind::ControllerDenied(Some(LoadBalancerCall::Deregister)),
        FaultKind::LoadBalancerThrottling(1.0),
        FaultKind::ControllerDown(Program::LoadBalancerController),
    ];
    for kind in faults {
        let mut plan = scenario("good-pre-stop");
        plan.until = plan.start + seconds(400);
        plan.actions[0].at = plan.start + seconds(65);
        let (at, until) = (plan.start + seconds(60), Some(plan.start + seconds(180)));
        plan.faults = vec![Fault { at, until, kind: kind.clone() }];
        let outcome = study::run_explained(&plan, 0);
        let total = &outcome.world.ledgers[0].total;
        assert!(total.lost[Loss::Unreachable as usize] > 100 * REQUEST, "{kind:?}: {total:?}");
        let groups = losses::groups(&plan, &outcome.world, &outcome.recorder);
        let told = groups.iter().filter(|group| group.loss != Loss::NoTarget).flat_map(|group| &group.entries);
        assert!(told.clone().all(|entry| matches!(entry.story, Story::Leaving(_))), "{kind:?}");
        assert!(groups.iter().all(|group| group.faults == [kubelapse::plan::FaultId(0)]), "{kind:?}");
        let draining = outcome
            .recorder
            .facts
            .iter()
            .find(|fact| matches!(fact.change, Change::TargetStateChanged(_, TargetState::Draining)));
        // The back-off of a denied call may outlast the run.
        assert!(draining.is_none_or(|fact| Some(fact.at) > until), "{kind:?}: nothing is deregistered before its end");
        let told = outcome.recorder.explanations.iter().any(|(_, text)| text.starts_with("fault 1 begins"));
        assert!(told, "explain names it");
    }
}

/// Scale-up with every zone's subnet full: no sandbox and no launch succeed before the end of the fault.
#[test]
fn full_subnets_hold_up_sandboxes_and_launches() {
    let mut plan = shipped("scale-up");
    plan.until = plan.start + seconds(900);
    let end = plan.start + seconds(600);
    plan.faults = vec![Fault { at: plan.start + seconds(1), until: Some(end), kind: FaultKind::SubnetFull(None) }];
    let outcome = run_once(&plan, 0, false);
    let facts = &outcome.recorder.facts;
    let first = |wanted: &dyn Fn(Change) -> bool| facts.iter().find(|fact| wanted(fact.change)).map(|fact| fact.at);
    assert!(first(&|change| matches!(change, Change::ClaimNoCapacity(_))) < Some(end));
    assert!(first(&|change| matches!(change, Change::ClaimLaunched(_))) > Some(end));
    let failed = facts.iter().filter(|fact| matches!(fact.change, Change::PodSandboxFailed(_)));
    assert!(failed.clone().all(|fact| fact.at < end));
}

/// A zone is lost: its machines stop, the others serve on, and nothing is launched there.
#[test]
fn a_lost_zone_takes_its_machines_and_launches_nothing_there() {
    let (_, outcome) = with_fault(FaultKind::ZoneFailure(kubelapse::plan::ZoneId(0)));
    let world = &outcome.world;
    for node in &world.nodes {
        let stopped = outcome.recorder.facts.iter().any(|fact| fact.change == Change::NodeAlive(node.id, false));
        assert_eq!(stopped, node.zone == Some(kubelapse::plan::ZoneId(0)), "{}", node.name);
        assert!(node.alive, "they come back");
    }
    assert!(lost(world) > 0, "until its targets are unhealthy a third of the requests meets silence");
    assert!(unhealthy(&outcome).iter().all(|(_, reason)| *reason == TargetReason::Timeout));
}

/// None of 59 runs of four pods may lose anything: the smallest preStop is that of the slowest of 236 deregistrations (the
/// lognormal has its 99.6 % at 26 s, and the controller adds its own), one second less does not hold, and
/// the grace period covers it and the process's own end.
#[test]
fn drain_finds_the_smallest_pre_stop_and_grace_that_hold() {
    let mut plan = scenario("good-pre-stop");
    plan.until = plan.start + seconds(240);
    plan.apps[0].mode = kubelapse::plan::TrafficMode::Fluid;
    plan.alarms.clear();
    // No reconcile fails by itself: then the propagation alone decides.
    plan.flags.load_balancer.failure_chance = 0.0;
    let question = Question { app: kubelapse::plan::AppId(0), replications: 59, share: 0.95, confidence: 0.95 };
    let answer = drain(&plan, question, |_| {}).expect("a rolling restart deletes pods");
    assert_eq!((answer.added, answer.allowed), (None, Some(0)));
    let best = answer.best.expect("one holds");
    let found = best.pre_stop.whole_seconds();
    assert!((10..=45).contains(&found), "{found} s");
    assert_eq!(best.losing(), 0);
    let below = answer.points.iter().find(|point| point.pre_stop == seconds(found - 1));
    assert!(below.is_some_and(|point| point.losing() > 0), "a second less loses");
    assert!((found + 1..=found + 5).contains(&best.grace.whole_seconds()), "{} for {found}", best.grace);
    assert!(
        answer.points.windows(2).all(|pair| pair[0].mean() >= pair[1].mean()),
        "more sleep never loses more on average"
    );
    // Without anything that deletes pods a rolling restart is added.
    plan.actions.clear();
    let answer = drain(&plan, Question { replications: 5, ..question }, |_| {}).expect("it is long enough");
    assert_eq!((answer.added, answer.allowed), (Some(plan.start + seconds(60)), None));
    assert!(answer.points[0].mean() > 0.0);
}

/// All pods of two steps wait for the same refused RegisterTargets call: in both that is target registration.
#[test]
fn the_back_off_of_the_controller_is_target_registration() {
    let plan = load(&root().join("scenarios/load-balancer/readiness-gate.yaml"));
    let outcome = run_once(&plan, 0, false);
    let analysis = kubelapse::analysis::analyze(&plan, &outcome.world, &outcome.recorder);
    assert_eq!(analysis.steps.len(), 2);
    for pod in analysis.steps.iter().flat_map(|step| &step.pods) {
        let longest = pod.phases.iter().max_by_key(|span| span.length()).map(|span| span.phase.name());
        assert_eq!(longest, Some("target registration"));
    }
}
