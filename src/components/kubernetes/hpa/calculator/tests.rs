//! The calculator on pods and samples written by hand.

use super::*;
use crate::plan::Container;
use crate::rules::quantity::{Bytes, Millicores};

const NOW: Time = Time::from_unix_seconds(100_000);

fn template(cpu: i64) -> PodTemplate {
    let requests = ResourceList { cpu: Some(Millicores(cpu)), memory: Some(Bytes(1 << 20)), ..Default::default() };
    let container = Container { name: "app".to_string(), requests, ..Default::default() };
    PodTemplate { containers: vec![container], ..PodTemplate::default() }
}

/// Pods that have been Ready for long.
fn old_pods(template: &PodTemplate, count: u32) -> Vec<PodView<'_>> {
    (0..count)
        .map(|id| PodView {
            id: PodId(id),
            template,
            phase: PodPhase::Running,
            deleting: false,
            start_time: Some(NOW.back(Span::from_secs(9_000))),
            ready: Some((true, NOW.back(Span::from_secs(8_990)))),
            ready_unknown: false,
        })
        .collect()
}

/// The utilisation of pods of which the first ones have samples.
fn tally<'a>(pods: &[PodView<'a>], values: &[i64], target: i32) -> Tally<'a> {
    let sample = |value: i64| Sample { value, timestamp: NOW.back(Span::from_secs(10)), window: Span::from_secs(15) };
    let requests = Requests::new(None, "cpu", true, missing_percent(target, false));
    let mut tally = Tally::new(true, READINESS, Some(requests));
    tally.join(pods.iter().copied(), values.iter().enumerate().map(|(id, &value)| (PodId::at(id), sample(value))));
    tally
}

const READINESS: Readiness = Readiness {
    now: NOW,
    cpu_initialization_period: Span::from_secs(300),
    initial_readiness_delay: Span::from_secs(30),
};
const TOLERANCES: Tolerances = Tolerances { down: 0.1, up: 0.1, legacy: false };

fn propose(pods: &[PodView], current: i32, values: &[i64], target: i32) -> Result<Proposal, Invalid> {
    PerPod { current, tolerances: TOLERANCES }.utilization(tally(pods, values, target), target)
}

#[test]
fn plain_ratio() {
    let template = template(500);
    let pods = old_pods(&template, 4);
    let proposal = propose(&pods, 4, &[450; 4], 60).unwrap();
    assert_eq!((proposal.utilization, proposal.replicas), (Some(90), 6));
}

#[test]
fn utilisation_is_cut_before_it_is_compared() {
    let template = template(500);
    let pods = old_pods(&template, 5);
    let up = propose(&pods, 5, &[1679, 0, 0, 0, 0], 60).unwrap();
    assert_eq!((up.utilization, up.replicas), (Some(67), 6));
    let stay = propose(&pods, 5, &[1674, 0, 0, 0, 0], 60).unwrap();
    assert_eq!((stay.utilization, stay.replicas), (Some(66), 5));
    let mut legacy = TOLERANCES;
    legacy.legacy = true;
    let calculator = PerPod { current: 5, tolerances: legacy };
    let old = calculator.utilization(tally(&pods, &[1674, 0, 0, 0, 0], 60), 60).unwrap();
    assert_eq!(old.replicas, 6, "|1 - 66/60| exceeds 0.1 in doubles");
}

#[test]
fn unready_pods_count_as_idle_on_the_way_up() {
    let template = template(1000);
    let mut pods = old_pods(&template, 3);
    pods[0].phase = PodPhase::Pending;
    let proposal = propose(&pods, 3, &[300, 500, 700], 30).unwrap();
    assert_eq!(proposal.ratio, 2.0);
    assert_eq!(proposal.replicas, 4, "5 without the rule");
}

#[test]
fn missing_pods_count_as_full_on_the_way_down_and_idle_on_the_way_up() {
    let template = template(1000);
    let four = old_pods(&template, 4);
    assert_eq!(propose(&four, 4, &[400, 95], 100).unwrap().replicas, 3);
    let two = old_pods(&template, 2);
    assert_eq!(propose(&two, 2, &[1900], 100).unwrap().replicas, 2);
    assert_eq!(propose(&two, 2, &[1000], 100).unwrap().refilled, Some(1.0), "not filled at a ratio of exactly 1");
}

#[test]
fn pending_pods_stop_a_runaway() {
    let template = template(100);
    let mut pods = old_pods(&template, 30);
    pods[10..].iter_mut().for_each(|pod| pod.phase = PodPhase::Pending);
    assert_eq!(propose(&pods, 30, &[180; 10], 60).unwrap().replicas, 30);
}

#[test]
fn oracle_5_tolerance_band() {
    let template = template(1000);
    let pods = old_pods(&template, 10);
    let at = |percent: i64| propose(&pods, 10, &[percent * 10; 10], 50).unwrap().replicas;
    assert_eq!([at(45), at(50), at(55)], [10, 10, 10]);
    assert_eq!(at(56), 12);
    assert_eq!(at(44), 9);
}

#[test]
fn a_new_pod_needs_one_whole_window_after_it_became_ready() {
    let template = template(1000);
    let mut pods = old_pods(&template, 1);
    pods[0].start_time = Some(NOW.back(Span::from_secs(60)));
    let ready = |pods: &[PodView], age, cpu| {
        let timestamp = NOW.back(Span::from_secs(age));
        let mut tally = Tally::new(cpu, READINESS, None);
        tally.join(pods.iter().copied(), [(PodId(0), Sample { value: 1, timestamp, window: Span::from_secs(15) })]);
        tally.ready.entries
    };
    pods[0].ready = Some((true, NOW.back(Span::from_secs(20))));
    assert_eq!(ready(&pods, 5, true), 1);
    assert_eq!(ready(&pods, 6, true), 0);
    assert_eq!(ready(&pods, 6, false), 1, "memory does not care");
    // Past the initialisation period a pod that was ready once and is no longer counts as ready.
    pods[0].start_time = Some(NOW.back(Span::from_secs(400)));
    pods[0].ready = Some((false, NOW.back(Span::from_secs(20))));
    assert_eq!(ready(&pods, 6, true), 1);
    pods[0].ready = Some((false, NOW.back(Span::from_secs(371))));
    assert_eq!(ready(&pods, 6, true), 0);
}

#[test]
fn terminating_pods_are_not_counted_and_only_unready_ones_are_an_error() {
    let template = template(1000);
    let mut pods = old_pods(&template, 2);
    pods[1].deleting = true;
    assert_eq!(propose(&pods, 2, &[900, 900], 60).unwrap().replicas, 2);
    pods[0].phase = PodPhase::Pending;
    assert_eq!(propose(&pods, 2, &[900, 900], 60), Err(Invalid::OnlyUnready));
    assert_eq!(propose(&[], 2, &[900], 60), Err(Invalid::NoPods));
}

#[test]
fn value_multiplies_ready_pods_and_average_value_shares_by_status() {
    let template = template(1000);
    let mut pods = old_pods(&template, 3);
    pods[1].ready = Some((false, NOW));
    pods[2].ready = None;
    let calculator = PerPod { current: 3, tolerances: TOLERANCES };
    assert_eq!(calculator.whole_value(pods.iter().copied(), 5_000, 1_000).unwrap().replicas, 5);
    assert_eq!(calculator.whole_value(pods.iter().copied(), 1_100, 1_000).unwrap().replicas, 3);
    assert_eq!(shared_value(7_000, 1_000, 3, &TOLERANCES).replicas, 7);
    assert_eq!(shared_value(3_100, 1_000, 3, &TOLERANCES).replicas, 3);
    assert_eq!(shared_value(3_000, 1_000, 0, &TOLERANCES).replicas, 3, "an infinite ratio");
}

#[test]
fn a_container_without_request_spoils_the_metric() {
    let mut template = template(1000);
    template.containers.push(Container { name: "side".to_string(), ..Container::default() });
    let pods = old_pods(&template, 1);
    assert_eq!(propose(&pods, 1, &[900], 60), Err(Invalid::MissingRequest));
    assert_eq!(Requests::new(Some("app"), "cpu", true, 100).of(&template), Some(1000));
    assert_eq!(Requests::new(Some("none"), "cpu", true, 100).of(&template), Some(0));
}
