//! The controller on tiny worlds: when it syncs, what it writes.

use super::calculator::{self, Proposal};
use super::decision::combine;
use super::metrics::Evaluated;
use super::*;
use crate::components::Event as AnyEvent;
use crate::engine::Queue;
use crate::plan::{
    Container, DeploymentId, DeploymentSpec, HpaSpec, MetricSpec, MetricTarget, Plan, PodTemplate, Stage, TemplateId,
};
use crate::record::{Detail, Recorder};
use crate::rules::quantity::{Millicores, Quantity};
use crate::rules::resources::ResourceList;
use crate::world::{Change, HpaCondition, HpaReason, World};
use std::sync::Arc;

const START: Time = Time::from_unix_seconds(1_000_000);

fn hpa_spec(metric: MetricSpec) -> HpaSpec {
    HpaSpec {
        namespace: "default".to_string(),
        name: "web".to_string(),
        target_version: "apps/v1".to_string(),
        target_kind: "Deployment".to_string(),
        target_name: "web".to_string(),
        min_replicas: 1,
        max_replicas: 10,
        metrics: vec![metric],
        behavior: None,
    }
}

fn external(target: i64) -> MetricSpec {
    let target = MetricTarget {
        kind: "Value".to_string(),
        value: None,
        average_value: Some(Quantity::whole(target)),
        average_utilization: None,
    };
    MetricSpec::External { metric: "queue".to_string(), selector: None, target }
}

fn plan(replicas: i32, metric: MetricSpec) -> Plan {
    let mut plan = Plan::empty(START, Span::from_secs(600));
    let labels = [("app".to_string(), "web".to_string())].into();
    let requests = ResourceList { cpu: Some(Millicores(1000)), ..ResourceList::default() };
    let container = Container { name: "app".to_string(), requests, ..Container::default() };
    let selector = LabelSelector::from_labels(&labels);
    plan.templates.push(Arc::new(PodTemplate { labels, containers: vec![container], ..PodTemplate::default() }));
    plan.deployments.push(Arc::new(DeploymentSpec {
        namespace: "default".to_string(),
        name: "web".to_string(),
        replicas,
        selector,
        template: TemplateId(0),
        strategy: crate::plan::Strategy::Recreate,
        min_ready: Span::ZERO,
        progress_deadline: Span::from_secs(600),
        revision_history_limit: 10,
        paused: false,
    }));
    plan.hpas.push(Arc::new(hpa_spec(metric)));
    plan
}

/// A component, its queue and its world.
struct Bench<'p> {
    plan: &'p Plan,
    hpa: Hpa,
    world: World,
    queue: Queue<AnyEvent>,
    recorder: Recorder,
}

impl<'p> Bench<'p> {
    fn new(plan: &'p Plan) -> Bench<'p> {
        let mut bench = Bench {
            plan,
            hpa: Hpa::default(),
            world: World::new(plan),
            queue: Queue::new(),
            recorder: Recorder::new(Detail::Explain),
        };
        bench.with(START, |hpa, cx| hpa.start(cx));
        bench
    }

    fn with(&mut self, now: Time, act: impl FnOnce(&mut Hpa, &mut Cx)) {
        self.world.now = now;
        let mut cx = Cx {
            now,
            plan: self.plan,
            world: &mut self.world,
            queue: &mut self.queue,
            recorder: &mut self.recorder,
            random: None,
        };
        act(&mut self.hpa, &mut cx);
    }

    /// Handles the next event; its time in seconds from the start and the size after it.
    fn step(&mut self) -> (f64, i32) {
        let (now, event) = self.queue.pop().expect("an entry is always pending");
        let AnyEvent::Hpa(event) = event else { panic!("{event:?}") };
        self.with(now, |hpa, cx| hpa.handle(cx, event));
        (now.seconds_from(START), self.world.deployments[0].replicas)
    }

    fn external(&mut self, value: i64) {
        self.world.custom_metrics.external.insert("queue".to_string(), vec![(Default::default(), value * 1000)]);
    }
}

#[test]
fn syncs_every_period_from_its_phase_and_edits_change_nothing() {
    let plan = plan(1, external(1));
    let mut bench = Bench::new(&plan);
    assert_eq!(bench.step().0, 7.5, "half the period without noise");
    bench.with(START + Span::from_secs(10), |hpa, cx| hpa.handle(cx, Event::Changed(HpaId(0))));
    assert_eq!(bench.step().0, 22.5);
    assert_eq!(bench.step().0, 37.5);
    assert_eq!(bench.queue.len(), 1);
}

#[test]
fn oracle_1_the_phase_is_uniform_over_the_period() {
    let mut plan = plan(1, external(1));
    plan.hpas = (0..4_000).map(|_| plan.hpas[0].clone()).collect();
    let random = crate::engine::Random::new(7, 0);
    let mut bench = Bench::new(&plan);
    let mut cx = Cx {
        now: START,
        plan: &plan,
        world: &mut bench.world,
        queue: &mut bench.queue,
        recorder: &mut bench.recorder,
        random: Some(&random),
    };
    let mut hpa = Hpa::default();
    hpa.start(&mut cx);
    let waits: Vec<f64> =
        (0..4_000).filter_map(|id| hpa.queue.waiting(HpaId(id))).map(|at| (at - START).seconds()).collect();
    let mean = waits.iter().sum::<f64>() / waits.len() as f64;
    // 99.9 % interval: 7.5 +- 3.29 * 4.33 / sqrt(4000).
    assert!((mean - 7.5).abs() < 0.23, "{mean}");
    assert!(waits.iter().all(|&wait| (0.0..15.0).contains(&wait)));
}

#[test]
fn scales_up_at_once_and_down_after_five_minutes() {
    let plan = plan(1, external(1));
    let mut bench = Bench::new(&plan);
    bench.external(6);
    assert_eq!(bench.step(), (7.5, 4), "without behavior the growth limit is 4");
    let status = bench.world.hpas[0].status;
    assert_eq!((status.current, status.desired, status.proposal), (1, 4, Some(6)));
    assert_eq!(status.able_to_scale.unwrap().reason, HpaReason::SucceededRescale);
    assert_eq!(status.scaling_limited.unwrap(), HpaCondition { status: true, reason: HpaReason::ScaleUpLimit });
    assert_eq!(bench.step(), (22.5, 6));
    bench.external(1);
    let mut last = (0.0, 6);
    while last.1 == 6 {
        last = bench.step();
    }
    assert_eq!(last, (337.5, 1), "the proposal of 22.5 s still counts at 322.5 s");
    let held = |decision: &crate::record::Decision| format!("{decision:?}").contains("held_by: Some((6, ");
    assert!(bench.recorder.decisions.iter().any(|(_, decision)| held(decision)));
}

#[test]
fn no_metrics_no_change_and_zero_switches_off() {
    let mut plan = plan(3, external(1));
    let mut bench = Bench::new(&plan);
    assert_eq!(bench.step().1, 3);
    let status = bench.world.hpas[0].status;
    assert_eq!(status.scaling_active.unwrap().reason, HpaReason::FailedGetExternalMetric);
    bench.world.scale_deployment(DeploymentId(0), 0, None);
    assert_eq!(bench.step().1, 0);
    assert_eq!(bench.world.hpas[0].status.scaling_active.unwrap().reason, HpaReason::ScalingDisabled);
    bench.world.scale_deployment(DeploymentId(0), 30, None);
    assert_eq!(bench.step().1, 10, "above the maximum: no metrics are asked");
    plan.hpas = vec![Arc::new(HpaSpec { target_name: "other".to_string(), ..hpa_spec(external(1)) })];
    let mut bench = Bench::new(&plan);
    bench.step();
    assert_eq!(bench.world.hpas[0].status.able_to_scale.unwrap().reason, HpaReason::FailedGetScale);
}

#[test]
fn a_target_of_another_group_is_not_found() {
    let able = |version: &str| {
        let mut plan = plan(2, external(1));
        plan.hpas = vec![Arc::new(HpaSpec { target_version: version.to_string(), ..hpa_spec(external(1)) })];
        let mut bench = Bench::new(&plan);
        bench.step();
        assert_eq!(bench.world.hpas[0].target.is_some(), version.starts_with("apps/v"), "{version}");
        bench.world.hpas[0].status.able_to_scale.unwrap().reason
    };
    for version in ["apps/v1", "apps/v1beta1"] {
        assert_ne!(able(version), HpaReason::FailedGetScale, "any version of the group will do: {version}");
    }
    for version in ["extensions/v1beta1", "v1", "", "example.com/v1"] {
        assert_eq!(able(version), HpaReason::FailedGetScale, "{version}");
    }
}

#[test]
fn two_autoscalers_on_the_same_pods_stop() {
    let mut plan = plan(2, external(1));
    plan.hpas.push(plan.hpas[0].clone());
    let mut bench = Bench::new(&plan);
    bench.external(4);
    let owner = crate::world::Owner::Bare;
    let new = crate::world::NewPod { template: TemplateId(0), owner, ordinal: 1, pinned: None, name: None };
    bench.world.create_pod(new);
    assert_eq!(bench.step().1, 4, "the first still scales in its first sync");
    for _ in 0..3 {
        assert_eq!(bench.step().1, 4);
    }
    let reasons: Vec<_> = bench.world.hpas.iter().map(|hpa| hpa.status.scaling_active.unwrap().reason).collect();
    assert_eq!(reasons, [HpaReason::AmbiguousSelector; 2]);
}

/// A deletion takes the selector away; a sync that was begun before goes on and does not bring it back.
#[test]
fn one_deleted_during_its_sync_is_no_rival_afterwards() {
    let mut plan = plan(2, external(1));
    plan.hpas.push(plan.hpas[0].clone());
    plan.timings.set(Stage::HpaReadScale, crate::plan::Distribution::Constant(Span::from_millis(100)));
    let mut bench = Bench::new(&plan);
    bench.external(4);
    let owner = crate::world::Owner::Bare;
    let new = crate::world::NewPod { template: TemplateId(0), owner, ordinal: 1, pinned: None, name: None };
    bench.world.create_pod(new);
    // Both have begun; the first is deleted before it has read its scale.
    for _ in 0..2 {
        bench.step();
    }
    bench.world.delete_hpa(HpaId(0));
    let now = bench.world.now;
    bench.with(now, |hpa, cx| hpa.handle(cx, Event::Changed(HpaId(0))));
    while bench.world.hpas[1].outcome.began == Time::ZERO {
        bench.step();
    }
    let reason = bench.world.hpas[1].status.scaling_active.unwrap().reason;
    assert_eq!(reason, HpaReason::ValidMetricFound, "nobody else has these pods");
    assert_eq!(bench.world.deployments[0].replicas, 4);
}

#[test]
fn a_broken_metric_blocks_scaling_down_and_never_up() {
    let proposal = |replicas| Proposal {
        replicas,
        utilization: None,
        average_value: None,
        value: None,
        ratio: 1.0,
        refilled: None,
        tolerated: false,
        groups: None,
    };
    let metric = |result| Evaluated {
        name: "m".into(),
        result,
        reason: HpaReason::FailedGetPodsMetric,
        samples: None,
        at: START,
    };
    let broken = || metric(Err(calculator::Invalid::NoMetrics));
    assert_eq!(combine(&[metric(Ok(proposal(3))), broken()], 4), Err(HpaReason::FailedGetPodsMetric));
    assert_eq!(combine(&[broken(), metric(Ok(proposal(5)))], 4).unwrap().0, 5);
    assert_eq!(combine(&[broken()], 4), Err(HpaReason::FailedGetPodsMetric));
    assert_eq!(combine(&[metric(Ok(proposal(0))), metric(Ok(proposal(2)))], 4).unwrap().0, 2);
}

#[test]
fn every_sync_leaves_a_fact() {
    let plan = plan(1, external(1));
    let mut bench = Bench::new(&plan);
    bench.external(1);
    bench.step();
    let mut journal = Vec::new();
    bench.world.take_journal(&mut journal);
    assert_eq!(journal, [Change::HpaSynced(HpaId(0))]);
}

/// The php-apache walk-through: one closed-loop client keeps at most 0.66 cores busy, a pod is limited to 0.5. The
/// sizes after syncs every 15 s; of the new pods none is Ready before the second sync after it was asked for.
fn php_apache(behavior: Option<crate::plan::Behavior>) -> Vec<i32> {
    let mut plan = plan(1, MetricSpec::Unknown(String::new()));
    let mut template = (*plan.templates[0]).clone();
    template.containers[0].requests.cpu = Some(Millicores(200));
    plan.templates[0] = Arc::new(template);
    let target = MetricTarget { average_utilization: Some(50), ..MetricTarget::default() };
    let metric = MetricSpec::Resource { name: "cpu".to_string(), target };
    plan.hpas[0] = Arc::new(HpaSpec { behavior, ..hpa_spec(metric) });
    let mut bench = Bench::new(&plan);
    let mut sizes = vec![1];
    let mut ready = 1;
    for sync in 0..8u64 {
        let size = bench.world.deployments[0].replicas;
        let asked = bench.world.pods.len() as i32;
        for ordinal in asked..size {
            let ordinal = u32::try_from(ordinal).unwrap() + 1;
            let owner = crate::world::Owner::Bare;
            let new = crate::world::NewPod { template: TemplateId(0), owner, ordinal, pinned: None, name: None };
            bench.world.create_pod(new);
        }
        let now = START + Span::from_millis(7_500 + 15_000 * sync);
        if sync >= 4 {
            ready = size;
        }
        for pod in &mut bench.world.pods[..usize::try_from(ready).unwrap()] {
            let since = START.back(Span::from_secs(100));
            pod.phase = crate::world::PodPhase::Running;
            pod.start_time = Some(since);
            pod.ready = crate::world::Condition { status: Some(true), since, exact: since };
        }
        let each = (f64::from(ready) * 0.5).min(0.66) / f64::from(ready);
        for pod in 0..ready {
            let nanocores = Some((each * 1e9) as i64);
            let usage = crate::world::ContainerUsage { container: 0, cpu_nanocores: nanocores, memory_bytes: Some(1) };
            let (timestamp, window) = (now.whole_second(), Span::from_secs(15));
            let metrics = crate::world::PodMetrics { timestamp, window, containers: vec![usage] };
            bench.world.set_pod_metrics(crate::world::PodId(u32::try_from(pod).unwrap()), Some(metrics));
        }
        let (_, size) = bench.step();
        if sizes.last() != Some(&size) {
            sizes.push(size);
        }
    }
    sizes
}

#[test]
fn php_apache_grows_by_1_4_5_7_without_behavior_and_1_5_7_with() {
    assert_eq!(php_apache(None), [1, 4, 5, 7]);
    let rules = |window, policies| crate::plan::ScalingRules {
        stabilization_window: window,
        select: crate::plan::SelectPolicy::Max,
        policies,
        tolerance: None,
    };
    let policy = |percent, value| crate::plan::ScalingPolicy { percent, value, period: Span::from_secs(15) };
    let behavior = crate::plan::Behavior {
        scale_up: rules(Some(Span::ZERO), vec![policy(false, 4), policy(true, 100)]),
        scale_down: rules(None, vec![policy(true, 100)]),
    };
    assert_eq!(php_apache(Some(behavior)), [1, 5, 7]);
}

/// A plan whose calls take time: 10 ms to read or write, 20 ms a metric.
fn slow_plan() -> Plan {
    let mut plan = plan(1, external(1));
    let calls =
        [(Stage::HpaReadScale, 10), (Stage::HpaMetrics, 20), (Stage::HpaWriteScale, 10), (Stage::HpaWriteStatus, 10)];
    for (stage, millis) in calls {
        plan.timings.set(stage, crate::plan::Distribution::Constant(Span::from_millis(millis)));
    }
    plan
}

impl Bench<'_> {
    /// Runs to that second; when each sync began, seconds from the start.
    fn syncs_until(&mut self, second: f64) -> Vec<f64> {
        let mut began = Vec::new();
        while let Some((now, event)) = self.queue.pop() {
            if now.seconds_from(START) >= second {
                self.queue.push(now, event);
                break;
            }
            let AnyEvent::Hpa(event) = event else { panic!("{event:?}") };
            self.with(now, |hpa, cx| hpa.handle(cx, event));
            let mut journal = Vec::new();
            self.world.take_journal(&mut journal);
            for change in journal {
                if let Change::HpaSynced(hpa) = change {
                    began.push(self.world.hpas[hpa.index()].outcome.began.seconds_from(START));
                }
            }
        }
        began
    }
}

#[test]
fn the_phase_drifts_by_the_length_of_a_sync_until_it_meets_a_resync() {
    let mut plan = slow_plan();
    plan.flags.hpa.resync_phase = Some(Span::from_millis(7_590));
    let mut bench = Bench::new(&plan);
    bench.external(1);
    // Read and metric take 30 ms, the first status 10 ms more. The resync of 37.59 s falls into the third sync.
    assert_eq!(bench.syncs_until(60.0), [7.5, 22.54, 37.57, 52.59]);
}

#[test]
fn syncs_wait_for_a_worker() {
    let mut plan = slow_plan();
    plan.hpas =
        (0..3).map(|number| Arc::new(HpaSpec { name: format!("web-{number}"), ..hpa_spec(external(1)) })).collect();
    plan.flags.hpa.workers = 2;
    let mut bench = Bench::new(&plan);
    bench.external(1);
    assert_eq!(bench.syncs_until(20.0), [7.5, 7.5, 7.54]);
}

#[test]
fn a_write_meets_a_conflict_when_the_target_changed_since_it_was_read() {
    let plan = slow_plan();
    let mut bench = Bench::new(&plan);
    bench.external(3);
    assert_eq!(bench.syncs_until(7.52), [0.0; 0]);
    bench.world.scale_deployment(DeploymentId(0), 7, None);
    // Write fails at 7.54, reads at 7.55, pauses 10.5 ms, writes over the other's value at 7.5705.
    bench.syncs_until(7.5704);
    assert_eq!(bench.world.deployments[0].replicas, 7);
    bench.syncs_until(7.5706);
    assert_eq!(bench.world.deployments[0].replicas, 3);
}

#[test]
fn an_edit_during_a_sync_keeps_its_status_from_being_written() {
    let plan = slow_plan();
    let mut bench = Bench::new(&plan);
    bench.external(1);
    bench.syncs_until(7.52);
    let edited = Arc::new(HpaSpec { max_replicas: 9, ..hpa_spec(external(1)) });
    bench.world.update_hpa(HpaId(0), edited);
    assert_eq!(bench.syncs_until(8.0), [7.5]);
    assert_eq!(bench.world.hpas[0].outcome.events, ["FailedUpdateStatus"]);
    assert_eq!(bench.world.hpas[0].status.able_to_scale, None);
}
