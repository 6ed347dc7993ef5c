//! Pods on one node, from binding to Ready and to gone.

use super::*;
use crate::components::kubernetes::testbed::{Testbed, node, plan, probe, template};
use crate::plan::{Distribution, Image, Plan};
use crate::rules::quantity::Bytes;
use crate::world::{Change, DeleteCause};

fn seconds(seconds: f64) -> Distribution {
    Distribution::Constant(Span::from_seconds(seconds))
}

fn one_node(plan: Plan) -> Testbed {
    Testbed::new(plan, |world| {
        Testbed::ready_node(world, node("a", 4000, "x"));
    })
}

fn ready_at(testbed: &Testbed, pod: PodId) -> Option<f64> {
    testbed.when(|change| *change == Change::PodReady(pod, true))
}

#[test]
fn from_binding_to_ready_step_by_step() {
    let mut web = template(100);
    web.containers[0].readiness = Some(probe(10));
    web.containers[0].image_id = Some(ImageId(0));
    let mut plan = plan(vec![web]);
    plan.images.push(Image { name: "web".into(), size: Bytes(1 << 20), pull: Some(seconds(5.0)), cached: false });
    plan.timings.set(Stage::PodSandbox, seconds(1.0));
    plan.timings.set(Stage::ContainerStart, seconds(0.25));
    let mut testbed = one_node(plan);
    testbed.app.0 = Span::from_secs(2);
    let (one, two) = (testbed.pod(0), testbed.pod(0));
    testbed.run_to(60.0);
    let when = |change: Change| testbed.when(|other| *other == change);
    assert_eq!(when(Change::PodAddress(one)), Some(1.0));
    assert_eq!(when(Change::ImagePulled(one)), Some(6.0));
    assert_eq!(when(Change::ImagePulled(two)), Some(6.0), "one pull serves both");
    assert_eq!(when(Change::ContainerStarted(one, 0)), Some(6.25));
    // Relists at half seconds: R = 6.5. It answers at 8.25, and is probed at 6.5, 7.5, 8.5.
    assert_eq!(when(Change::PodPhase(one, PodPhase::Running)), Some(6.5));
    assert_eq!(ready_at(&testbed, one), Some(8.5));
    assert_eq!(testbed.world.pod(one).ready.since, testbed.world.now.back(Span::from_secs(52)));
    // The image is there now.
    let three = testbed.pod(0);
    testbed.run_to(70.0);
    assert_eq!(testbed.when(|change| *change == Change::ContainerStarted(three, 0)), Some(61.25));
    assert_eq!(testbed.when(|change| *change == Change::ImagePulling(three)), None);
}

#[test]
fn an_application_that_misses_the_first_probes_waits_for_the_period() {
    let mut web = template(100);
    web.containers[0].readiness = Some(probe(10));
    let mut testbed = one_node(plan(vec![web]));
    testbed.app.0 = Span::from_secs(3);
    let pod = testbed.pod(0);
    testbed.run_to(60.0);
    assert_eq!(ready_at(&testbed, pod), Some(12.5), "probed at 0.5, 1.5, 2.5, then 12.5");
    let events = testbed.events;
    testbed.run_to(3600.0);
    assert_eq!(testbed.events, events, "a probe that keeps succeeding is not an event");
}

#[test]
fn a_startup_probe_gates_readiness_and_its_success_probes_at_once() {
    let mut web = template(100);
    web.containers[0].startup = Some(crate::plan::Probe { failure_threshold: 30, ..probe(4) });
    web.containers[0].readiness = Some(probe(10));
    let mut testbed = one_node(plan(vec![web]));
    testbed.app.0 = Span::from_secs(9);
    let pod = testbed.pod(0);
    testbed.run_to(60.0);
    assert_eq!(ready_at(&testbed, pod), Some(12.0), "startup ticks count from the arrival of the pod");
}

#[test]
fn a_slow_start_under_a_liveness_probe_is_restarted_with_backoff() {
    let mut web = template(100);
    web.containers[0].liveness = Some(probe(1));
    let mut testbed = one_node(plan(vec![web]));
    testbed.app = (Span::from_secs(1000), Span::from_secs(1));
    let pod = testbed.pod(0);
    testbed.run_to(40.0);
    let started: Vec<f64> = testbed
        .log
        .iter()
        .filter(|(_, change)| *change == Change::ContainerStarted(pod, 0))
        .map(|(at, _)| *at)
        .collect();
    // Killed at the third failure (1, 2, 3), gone at 4, restarted in the same sync; then after 10 s.
    assert_eq!(started[..2], [0.0, 4.0]);
    assert!((started[2] - 4.0 - 4.0 - 10.0).abs() < 1.6, "{started:?}");
    // Killed again at the third failure after 18, gone a second later; the third restart waits for 20 s.
    assert_eq!((started.len(), testbed.world.pod(pod).containers[0].restarts), (3, 2), "{started:?}");
}

#[test]
fn a_pod_stops_through_pre_stop_and_sigterm_within_its_grace() {
    let mut web = template(100);
    web.containers[0].pre_stop = Some(Span::from_secs(5));
    let mut plan = plan(vec![web]);
    plan.timings.set(Stage::ApiHop, seconds(0.02));
    let mut testbed = one_node(plan);
    testbed.app.1 = Span::from_secs(7);
    let (patient, killed) = (testbed.pod(0), testbed.pod(0));
    testbed.run_to(10.0);
    testbed.act(|world| world.delete_pod(patient, None, DeleteCause::User));
    testbed.act(|world| world.delete_pod(killed, Some(Span::from_secs(4)), DeleteCause::User));
    testbed.run_to(60.0);
    let when = |change: Change| testbed.when(|other| *other == change);
    assert_eq!(when(Change::PodProcess(patient, Process::Stopping)), Some(15.02));
    assert_eq!(when(Change::PodProcess(patient, Process::Ended)), Some(22.02));
    assert_eq!(when(Change::PodGone(patient)), Some(22.04));
    assert_eq!(when(Change::PodProcess(killed, Process::Stopping)), Some(14.02), "preStop ends with the grace");
    assert_eq!(when(Change::PodProcess(killed, Process::Ended)), Some(16.02), "and two seconds are left");
}

#[test]
fn a_dead_machine_answers_nothing_and_its_pods_wait_for_the_node_to_go() {
    let web = template(100);
    let mut testbed = one_node(plan(vec![web]));
    let pod = testbed.pod(0);
    testbed.run_to(100.0);
    testbed.act(|world| world.set_node_alive(NodeId(0), false));
    testbed.run_to(200.0);
    assert_eq!(testbed.world.pod(pod).process, Process::Vanished);
    let unknown = testbed.when(|change| *change == Change::NodeReady(NodeId(0), NodeReadiness::Unknown));
    assert!(unknown.is_some_and(|at| (140.0..160.0).contains(&at)), "{unknown:?}");
    assert!(!testbed.world.pod(pod).is_ready());
    testbed.act(|world| world.delete_pod(pod, None, DeleteCause::User));
    testbed.run_to(400.0);
    assert!(testbed.world.pod(pod).is_terminating(), "nobody confirms");
    testbed.act(|world| world.remove_node(NodeId(0)));
    testbed.run_to(500.0);
    let gone = testbed.when(|change| *change == Change::PodGone(pod));
    assert!(gone.is_some_and(|at| (440.0..=460.0).contains(&at)), "{gone:?}");
}

#[test]
fn a_machine_that_returns_starts_its_pods_anew() {
    let mut testbed = one_node(plan(vec![template(100)]));
    let pod = testbed.pod(0);
    testbed.run_to(100.0);
    testbed.act(|world| world.set_node_alive(NodeId(0), false));
    testbed.run_to(200.0);
    testbed.act(|world| world.set_node_alive(NodeId(0), true));
    testbed.run_to(220.0);
    assert!(testbed.world.node(NodeId(0)).is_ready() && testbed.world.pod(pod).is_ready());
    assert_eq!(testbed.world.pod(pod).containers[0].restarts, 1);
    assert!(testbed.world.node(NodeId(0)).taints.is_empty());
}
