//! Recorded traffic and recorded latencies: every request is accounted for, and closed loops are as slow as measured.

use crate::support::{root, shared, written};
use kubelapse::analysis::analyze;
use kubelapse::engine::Span;
use kubelapse::plan::{Plan, TrafficMode};
use kubelapse::scenario::{self, LoadOptions};
use kubelapse::study::run_once;
use kubelapse::world::{REQUEST, Tally};
use std::collections::BTreeMap;

/// A scenario of `scenarios/traffic` with the recording that it asks for, and the sum of the recording; `None`: not there.
fn recorded(scenario: &str, name: &str, file: &str) -> Option<(Plan, f64)> {
    let text = shared(&format!("data/{file}"))?;
    let folder = std::env::var_os("KUBELAPSE_SHARED").map_or_else(|| root().join("../shared"), Into::into);
    let options = LoadOptions {
        data: BTreeMap::from([(name.to_string(), folder.join("data").join(file))]),
        ..LoadOptions::default()
    };
    let path = root().join("scenarios/traffic").join(format!("{scenario}.yaml"));
    let loaded = scenario::load(&path, &options).unwrap_or_else(|problems| panic!("{}", problems.render(false)));
    let counts = text.lines().skip(1).map(|line| line.rsplit(',').next().unwrap().parse::<f64>().unwrap());
    Some((loaded.plan, counts.sum()))
}

/// A run of which all laws hold at the end: conservation, bins that add up, Little's law.
fn run(plan: &Plan) -> (Tally, u64) {
    let outcome = run_once(plan, 0, false);
    assert!(outcome.limit.is_none(), "{:?}", outcome.limit);
    outcome.world.check().unwrap();
    let ledger = &outcome.world.ledgers[0];
    (ledger.total.clone(), ledger.in_flight)
}

#[test]
fn every_request_of_a_recording_is_accounted_for() {
    let recordings = [
        ("flash-crowd", "flash", "traffic_worldcup98_flash_crowd_0512_per_minute.csv", 0.1),
        ("peak-hour", "peak", "traffic_nasa_1995_peak_hour_per_second.csv", 1.0),
        ("code-burst", "code", "azure_llm_2023_code_arrivals_per_second.csv", 1.0),
    ];
    for (scenario, name, file, scale) in recordings {
        let Some((mut plan, sum)) = recorded(scenario, name, file) else { return };
        let expected = sum * scale;
        let mut served = Vec::new();
        for (mode, noise, within) in [
            (TrafficMode::Requests, false, 1.0),
            (TrafficMode::Requests, true, 3.29 * expected.sqrt()),
            (TrafficMode::Fluid, false, 1.0),
        ] {
            (plan.apps[0].mode, plan.noise) = (mode, noise);
            let (total, in_flight) = run(&plan);
            let offered = total.offered as f64 / REQUEST as f64;
            assert!((offered - expected).abs() <= within, "{scenario} {mode:?}: {offered} of {expected}");
            assert_eq!(total.offered, total.served + total.lost_all() + in_flight, "{scenario} {mode:?}");
            served.push(total.served as f64 / total.offered as f64);
        }
        assert!((served[0] - served[2]).abs() < 0.03, "{scenario}: served by single requests and as a flow {served:?}");
    }
}

#[test]
fn a_flash_crowd_of_full_size_is_accounted_for_as_a_flow() {
    let file = "traffic_worldcup98_flash_crowd_0512_per_minute.csv";
    let Some((mut plan, sum)) = recorded("flash-crowd", "flash", file) else { return };
    plan.apps[0].mode = TrafficMode::Fluid;
    plan.apps[0].traffic.points.iter_mut().for_each(|(_, rate)| *rate *= 10.0);
    let (total, in_flight) = run(&plan);
    assert!((total.offered as f64 / REQUEST as f64 - sum).abs() <= 1.0);
    assert_eq!(total.offered, total.served + total.lost_all() + in_flight);
    assert!(total.lost_all() > total.offered / 10, "twenty pods cannot carry the crowd");
}

/// php-apache as in the experiment: a limit of half a core, and so 0.285 s for a request alone.
fn php_apache(pods: usize, users: usize, rises: &str, until: u32) -> Plan {
    let manifests = format!(
        "apiVersion: apps/v1
kind: Deployment
metadata: {{ name: php-apache }}
spec:
  replicas: {pods}
  selector: {{ matchLabels: {{ run: php-apache }} }}
  template:
    metadata: {{ labels: {{ run: php-apache }} }}
    spec: {{ containers: [ {{ name: php, resources: {{ requests: {{ cpu: 200m }}, limits: {{ cpu: 500m }} }} }} ] }}
---
apiVersion: v1
kind: Service
metadata: {{ name: php-apache }}
spec: {{ selector: {{ run: php-apache }}, ports: [ {{ port: 80 }} ] }}
"
    );
    let scenario = format!(
        "manifests: [manifests.yaml]
cluster: {{ nodes: [ {{ instance_type: m5.4xlarge }} ] }}
services: {{ php-apache: {{ cpu_per_request: exponential(mean=142.5ms), workers: 150{rises} }} }}
traffic: {{ php-apache: {{ users: {users}, think: \"uniform(0.1s, 1s)\" }} }}
run: {{ until: {until}s, noise: on, start: 2026-01-05T00:00:00Z }}
"
    );
    written(&format!("php-apache-{pods}-{users}-{}", rises.len()), &manifests, &scenario)
}

/// Mean latency after the first 20 seconds.
fn latency(plan: &Plan) -> f64 {
    let outcome = run_once(plan, 0, false);
    let bins = &outcome.world.ledgers[0].bins[20..];
    let (sum, served) =
        bins.iter().fold((0.0, 0.0), |(sum, served), bin| (sum + bin.latency as f64, served + bin.served as f64));
    sum / served / 1e6
}

/// Measured mean latency, seconds, by replicas: windows with five users, and those with a hundred.
fn measured(text: &str) -> [BTreeMap<usize, (f64, f64)>; 2] {
    let mut found = [BTreeMap::new(), BTreeMap::new()];
    for line in text.lines().skip(1) {
        let fields: Vec<f64> = line.split(',').map(|field| field.parse().unwrap()).collect();
        let crowded = (fields[0] - 2.5).rem_euclid(5.0) < 0.01;
        // The second autoscaler had pods added within its crowded windows.
        for (replicas, latency) in
            [(fields[3], fields[5]), (fields[4], fields[6])].into_iter().take(2 - usize::from(crowded))
        {
            let (sum, count) = found[usize::from(crowded)].entry(replicas as usize).or_insert((0.0, 0.0));
            (*sum, *count) = (*sum + latency / 1e3, *count + 1.0);
        }
    }
    found
}

/// The gates of the measurements: 10 % at five users for 1 and 4 to 12 replicas, 25 % at a hundred with constant demand, 12 %
/// with demand that rises with load. Two and three replicas at five users were measured while pods were added.
#[test]
fn closed_loops_are_as_slow_as_measured() {
    let Some(text) = shared("data/hpa_latency_experiment_jthomperoo_2020.csv") else { return };
    let [five, hundred] = measured(&text);
    assert_eq!((five.len(), hundred.keys().copied().collect::<Vec<_>>()), (12, vec![3, 4, 5, 6, 8]));
    let close = |what: &str, pods: usize, simulated: f64, (sum, count): (f64, f64), gate: f64| {
        let measured = sum / count;
        println!("{what}, {pods} replicas: measured {measured:.3} s, simulated {simulated:.3} s");
        assert!((simulated / measured - 1.0).abs() <= gate, "{what}, {pods} replicas: {simulated}, not {measured}");
    };
    for (pods, measured) in five.into_iter().filter(|(pods, _)| ![2, 3].contains(pods)) {
        close("5 users", pods, latency(&php_apache(pods, 5, "", 1000)), measured, 0.10);
    }
    const RISES: &str = ", cpu_rises: { by: 22%, at: 12 }";
    for (pods, measured) in hundred {
        close("100 users", pods, latency(&php_apache(pods, 100, "", 220)), measured, 0.25);
        close("100 users, demand rises", pods, latency(&php_apache(pods, 100, RISES, 220)), measured, 0.12);
    }
}

/// Without a readiness probe a pod is Ready when its container has started, and requests that come then are refused: it serves
/// when its application answers. Where a probe asks for that, both are one.
#[test]
fn a_pod_without_target_group_serves_when_its_application_answers() {
    let manifests = |probe: &str| {
        let container = format!("[{{ name: c, {probe}resources: {{ requests: {{ cpu: 100m }} }} }}]");
        format!(
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{ name: web }}\nspec:\n  replicas: 1\n  \
             selector: {{ matchLabels: {{ app: web }} }}\n  template:\n    metadata: {{ labels: {{ app: web }} }}\n    \
             spec: {{ containers: {container} }}\n---\napiVersion: v1\nkind: Service\nmetadata: {{ name: web }}\n\
             spec: {{ selector: {{ app: web }}, ports: [{{ port: 80 }}] }}\n"
        )
    };
    let scenario = "manifests: [manifests.yaml]\ncluster: { nodes: [{ instance_type: m5.large, count: 1 }] }\n\
                    services: { web: { cpu_per_request: 10ms, start: 20s } }\ntraffic: { web: 5/s }\n\
                    actions: [{ at: 1m, scale: { deployment: web, replicas: 2 } }]\nrun: { until: 4m }\n";
    for probe in ["", "readinessProbe: { httpGet: { port: 80 }, periodSeconds: 1 }, "] {
        let plan = written("answers", &manifests(probe), scenario);
        let outcome = run_once(&plan, 0, false);
        let analysis = analyze(&plan, &outcome.world, &outcome.recorder);
        let pod = analysis.history.pods.iter().find(|pod| !pod.initial).expect("the second pod");
        let (answering, ready) = (pod.answering.expect("it answers"), pod.ready.expect("it is Ready"));
        assert_eq!(ready < answering, probe.is_empty(), "{ready:?} {answering:?}");
        let serving = ready.max(answering);
        assert_eq!(pod.serving, Some(serving));
        let step = &analysis.steps[0];
        let critical: Span =
            step.pods[0].phases.iter().map(|phase| phase.length()).fold(Span::ZERO, |sum, span| sum + span);
        assert_eq!(step.trigger + critical, serving, "the phases end when it serves");
        let before = analysis.series.at(serving.back(Span::from_micros(1))).replicas[0].in_service;
        assert_eq!((before, analysis.series.at(serving).replicas[0].in_service), (1, 2));
    }
}
