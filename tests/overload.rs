//! Too much to do: probes that time out, alarms on percentiles and on metrics of the cluster, and targets that nobody uses.

use crate::support::{load, root, written};
use kubelapse::components::Outcome;
use kubelapse::engine::{Span, Time};
use kubelapse::plan::{AlarmSpec, Comparison, MissingData, Plan, TargetGroupId, TrafficMode, ZoneId};
use kubelapse::study::run_once;
use kubelapse::world::{AlarmState, Change, Loss, REQUEST, TargetReason, TargetState};

/// One pod with one worker of half a second a request, and four requests a second from 30 s to 60 s, else one in two seconds.
fn overloaded(name: &str, probe: &str) -> Plan {
    let manifests = format!(
        "apiVersion: apps/v1
kind: Deployment
metadata: {{ name: web }}
spec:
  replicas: 1
  selector: {{ matchLabels: {{ app: web }} }}
  template:
    metadata: {{ labels: {{ app: web }} }}
    spec:
      containers:
        - {{ name: web, image: web, resources: {{ requests: {{ cpu: 1, memory: 1Gi }}, limits: {{ cpu: 1 }} }}, {probe} }}
---
apiVersion: v1
kind: Service
metadata: {{ name: web }}
spec: {{ selector: {{ app: web }}, ports: [ {{ port: 80 }} ] }}
"
    );
    let scenario = "manifests: [manifests.yaml]
cluster: { nodes: [ { instance_type: m5.xlarge } ] }
services: { web: { cpu_per_request: 500ms, workers: 1, queue: 1000 } }
traffic: { web: 0.5/s }
run: { until: 4m, noise: off }
";
    let mut plan = written(name, &manifests, scenario);
    let at = |seconds| plan.start + Span::from_secs(seconds);
    plan.apps[0].probes_wait = Some(true);
    plan.apps[0].traffic.points = vec![(at(0), 0.5), (at(30), 0.5), (at(30), 4.0), (at(60), 4.0), (at(60), 0.5)];
    plan
}

/// When condition Ready changed, seconds after the start.
fn readiness(plan: &Plan, outcome: &Outcome) -> Vec<(f64, bool)> {
    let facts = outcome.recorder.facts.iter().filter(|fact| fact.at > plan.start);
    let changes = facts.filter_map(|fact| match fact.change {
        Change::PodReady(_, ready) => Some((fact.at.seconds_from(plan.start), ready)),
        _ => None,
    });
    changes.collect()
}

const READINESS: &str = "readinessProbe: { HANDLER, periodSeconds: 5, timeoutSeconds: 1, failureThreshold: 2 }";

#[test]
fn a_pod_whose_worker_is_busy_fails_its_readiness_probe_until_the_line_is_gone() {
    for mode in [TrafficMode::Requests, TrafficMode::Fluid] {
        let http = READINESS.replace("HANDLER", "httpGet: { path: /, port: 80 }");
        let mut plan = overloaded("readiness", &http);
        plan.apps[0].mode = mode;
        let outcome = run_once(&plan, 0, false);
        let changes = readiness(&plan, &outcome);
        let [(unready, false), (ready, true), ..] = changes[..] else { panic!("{mode:?}: {changes:?}") };
        // Within 1.5 s the line is longer than a second. Two probes in a row then time out, one every 5 s, each after 1 s.
        assert!((36.0..43.0).contains(&unready), "{mode:?}: not ready at {unready}");
        // The line grows by two a second and, left alone, takes half a second each. The first probe behind it is in time.
        let longest = unready + (unready - 30.0 + 3.0) * 2.0 * 0.5 + 12.0;
        assert!(unready < ready && ready < longest, "{mode:?}: ready at {ready}, not after {longest}");
        let ledger = &outcome.world.ledgers[0];
        assert!(ledger.total.lost[Loss::NoTarget as usize] > 20 * REQUEST, "{mode:?}: the only endpoint has gone");
        assert_eq!(outcome.world.pods[0].containers[0].restarts, 0);
    }
}

#[test]
fn a_connection_is_all_that_a_tcp_probe_wants() {
    let plan = overloaded("tcp", &READINESS.replace("HANDLER", "tcpSocket: { port: 80 }"));
    let outcome = run_once(&plan, 0, false);
    assert_eq!(readiness(&plan, &outcome), []);
    assert_eq!(outcome.world.ledgers[0].total.lost_all(), 0);
}

#[test]
fn a_liveness_probe_that_times_out_restarts_the_container_and_cuts_what_is_in_flight() {
    let probe =
        "livenessProbe: { httpGet: { path: /, port: 80 }, periodSeconds: 5, timeoutSeconds: 1, failureThreshold: 3 }";
    let outcome = run_once(&overloaded("liveness", probe), 0, false);
    assert!(outcome.world.pods[0].containers[0].restarts >= 1);
    assert!(outcome.world.ledgers[0].total.lost[Loss::Cut as usize] > 0);
}

#[test]
fn a_probe_in_time_changes_nothing() {
    let slow = READINESS.replace("HANDLER", "httpGet: { path: /, port: 80 }").replace("Seconds: 1,", "Seconds: 120,");
    let mut plan = overloaded("patient", &slow);
    plan.apps[0].traffic.points.truncate(1);
    let outcome = run_once(&plan, 0, false);
    assert_eq!(readiness(&plan, &outcome), []);
}

fn alarm(metric: &str, namespace: &str, statistic: &str, threshold: f64) -> AlarmSpec {
    AlarmSpec {
        name: format!("{metric} {statistic}"),
        metric: metric.to_string(),
        namespace: namespace.to_string(),
        statistic: statistic.to_string(),
        period: Span::from_secs(60),
        evaluation_periods: 1,
        datapoints_to_alarm: 1,
        threshold,
        comparison: Comparison::GreaterOrEqual,
        missing: MissingData::Missing,
        target_group: Some(TargetGroupId(0)),
        dimensions: Vec::new(),
    }
}

/// The first state of each alarm, and when it was told.
fn first_states(plan: &Plan) -> Vec<Option<(f64, AlarmState)>> {
    let outcome = run_once(plan, 0, false);
    let changes = outcome.recorder.facts.iter().filter_map(|fact| match fact.change {
        Change::AlarmChanged(alarm, state) => Some((alarm.index(), fact.at.seconds_from(plan.start), state)),
        _ => None,
    });
    let changes: Vec<_> = changes.collect();
    let first = |alarm| changes.iter().find(|change| change.0 == alarm).map(|&(_, at, state)| (at, state));
    (0..plan.alarms.len()).map(first).collect()
}

#[test]
fn alarms_watch_percentiles_of_the_response_time() {
    let mut plan = load(&root().join("scenarios/load-balancer/good-pre-stop.yaml"));
    plan.actions.clear();
    let until = |plan: &Plan, seconds| plan.start + Span::from_secs(seconds);
    for mode in [TrafficMode::Requests, TrafficMode::Fluid] {
        plan.apps.iter_mut().for_each(|app| app.mode = mode);
        plan.until = until(&plan, 60);
        plan.alarms.clear();
        let ledger = &run_once(&plan, 0, false).world.ledgers[0];
        let exact: Time = plan.start + ledger.latencies.quantile(0.99).or(ledger.total.mean_latency()).unwrap();
        let p99 = (exact - plan.start).seconds();
        plan.until = until(&plan, 200);
        // A bucket of latencies is one part in 64 wide.
        plan.alarms =
            [0.95, 1.05].map(|part| alarm("TargetResponseTime", "AWS/ApplicationELB", "p99", p99 * part)).to_vec();
        // The first minute is visible 90 s after its end.
        assert_eq!(first_states(&plan), [Some((150.0, AlarmState::Alarm)), Some((150.0, AlarmState::Ok))], "{mode:?}");
    }
}

#[test]
fn alarms_watch_metrics_of_the_cluster() {
    let mut plan = load(&root().join("scenarios/load-balancer/good-pre-stop.yaml"));
    plan.actions.clear();
    plan.until = plan.start + Span::from_secs(200);
    let replicas = f64::from(plan.deployments[0].replicas);
    let of =
        |metric: &str, statistic: &str, threshold| alarm(metric, "ContainerInsights/Prometheus", statistic, threshold);
    let named = |name: &str| {
        let dimensions =
            vec![("deployment".to_string(), name.to_string()), ("ClusterName".to_string(), "c".to_string())];
        AlarmSpec { dimensions, ..of("kube_deployment_status_replicas_ready", "Minimum", replicas) }
    };
    plan.alarms = vec![
        of("kube_deployment_spec_replicas", "Average", replicas),
        of("kube_deployment_spec_replicas", "Average", replicas + 0.5),
        named(&plan.deployments[0].name),
        named("another"),
        of("karpenter_cluster_state_node_count", "p50", 3.0),
        of("karpenter_pods_startup_duration_seconds", "Average", 0.0),
    ];
    let told = |state| Some((150.0, state));
    let (alarm, ok) = (told(AlarmState::Alarm), told(AlarmState::Ok));
    assert_eq!(first_states(&plan), [alarm, ok, alarm, None, alarm, None]);
}

#[test]
fn a_target_in_a_zone_that_is_not_enabled_is_unused_and_gets_no_requests() {
    let mut plan = load(&root().join("scenarios/load-balancer/good-pre-stop.yaml"));
    plan.until = plan.start + Span::from_secs(400);
    plan.target_groups[0].zones = vec![ZoneId(0)];
    let outcome = run_once(&plan, 0, false);
    let world = &outcome.world;
    let (mut unused, mut used) = (0, 0);
    for target in world.targets.iter().filter(|target| target.state != TargetState::Draining) {
        let zone = world.pod(target.pod).node.and_then(|node| world.node(node).zone);
        let is_used = zone == Some(ZoneId(0));
        assert_eq!(target.state == TargetState::Unused, !is_used, "target {} is {:?}", target.id.0, target.state);
        if !is_used {
            assert_eq!((target.reason, target.in_service, target.routable), (TargetReason::NotInUse, None, false));
        }
        (unused, used) = (unused + usize::from(!is_used), used + usize::from(is_used));
    }
    assert!(unused > 0 && used > 0, "{unused} unused, {used} used");
    assert!(world.ledgers[0].total.served > 0);
}
