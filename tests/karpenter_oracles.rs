//! Oracles of Karpenter's batcher, registration timeout and packing, and of cost: known answers, through the real components.

use crate::support::written;
use kubelapse::analysis::{self, expectation, totals};
use kubelapse::components::karpenter::provisioner::batcher::Batcher;
use kubelapse::engine::{Purpose, Random, Span, Time};
use kubelapse::rules::expectation::{Measure, Scope};
use kubelapse::study::run_once;
use kubelapse::world::{Change, DisruptionReason};
use std::fmt::Write;

const CLASS: &str = r"
---
apiVersion: karpenter.k8s.aws/v1
kind: EC2NodeClass
metadata: { name: default }
spec:
  amiSelectorTerms: [{ alias: al2023@latest }]
  role: node
  subnetSelectorTerms: [{ tags: { a: b } }]
  securityGroupSelectorTerms: [{ tags: { a: b } }]
  kubelet: { maxPods: 110, kubeReserved: { cpu: '0' } }
---
apiVersion: karpenter.sh/v1
kind: NodePool
metadata: { name: pool }
spec:
  template:
    spec:
      nodeClassRef: { group: karpenter.k8s.aws, kind: EC2NodeClass, name: default }
      requirements:
        - { key: node.kubernetes.io/instance-type, operator: In, values: [TYPE] }
        - { key: karpenter.sh/capacity-type, operator: In, values: [on-demand] }
  disruption: { consolidationPolicy: WhenEmpty, consolidateAfter: Never }
";

fn deployment(name: &str, replicas: u32, cpu: &str) -> String {
    format!(
        "---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {{ name: {name} }}\nspec:\n  replicas: {replicas}\n  selector: {{ \
         matchLabels: {{ app: {name} }} }}\n  template:\n    metadata: {{ labels: {{ app: {name} }} }}\n    spec:\n      containers: [{{ \
         name: c, image: i, resources: {{ requests: {{ cpu: {cpu} }} }} }}]\n"
    )
}

/// How long one window of the batcher stays open when pods come at these times (seconds, the first at zero).
fn window(mut arrivals: impl FnMut() -> f64, max: Span) -> f64 {
    let (mut batcher, mut at, idle) = (Batcher::default(), Time::ZERO, Span::from_secs(1));
    batcher.trigger(0, at, true);
    for pod in 1_u64.. {
        at += Span::from_seconds(arrivals());
        let deadline = batcher.deadline(idle, max).expect("the window is open");
        if at >= deadline {
            return deadline.since(Time::ZERO).seconds();
        }
        batcher.trigger(pod, at, true);
    }
    unreachable!("arrivals end never, windows do")
}

/// Oracle 20: without a cap Poisson arrivals of rate r keep a window open for (e^r - 1) / r; with ten seconds less.
#[test]
fn oracle_20_poisson_arrivals_keep_the_batch_open() {
    let (purpose, windows) = (Purpose::named("oracle.20"), 20_000_u64);
    let mean = |rate: f64, max: Span| {
        let (mut sum, mut squares) = (0.0, 0.0);
        for index in 0..windows {
            let random = Random::new(20, index);
            let mut arrival = 0;
            let length = window(
                || {
                    arrival += 1;
                    -random.uniform(purpose, arrival).ln() / rate
                },
                max,
            );
            (sum, squares) = (sum + length, squares + length * length);
        }
        let mean = sum / windows as f64;
        (mean, 3.29 * ((squares / windows as f64 - mean * mean) / windows as f64).sqrt())
    };
    let never = Span::from_secs(100_000);
    for (rate, expected) in [(1.0, 1.7183), (2.0, 3.1945)] {
        let (mean, within) = mean(rate, never);
        assert!((mean - expected).abs() < within + 0.000_05, "rate {rate}: {mean}");
    }
    // These three were simulated elsewhere, to three digits; milliseconds.
    for (rate, expected) in [(2.0, 3_142.0), (3.0, 5_300.0), (5.0, 8_680.0)] {
        let (mean, within) = mean(rate, Span::from_secs(10));
        assert!((mean - expected / 1_000.0).abs() < within + 0.01, "rate {rate}: {mean}");
    }
}

/// Oracle 20 through all components: from the first unschedulable pod to the end of the batch, less the watch.
#[test]
fn oracle_20_one_pod_a_burst_and_a_stream() {
    let batch = |name: &str, replicas: &[(f64, u32)]| {
        let manifests = CLASS.replace("TYPE", "m5.large") + &deployment("app", 0, "100m");
        let mut scenario = "name: batch\nmanifests: [manifests.yaml]\nrun: { until: 2m }\nactions:\n".to_string();
        for (at, count) in replicas {
            let _ = writeln!(scenario, "  - {{ at: {at}s, scale: {{ deployment: app, replicas: {count} }} }}");
        }
        let plan = written(&format!("oracle-20-{name}"), &manifests, &scenario);
        let outcome = run_once(&plan, 0, false);
        let first = |wanted: &dyn Fn(&Change) -> bool| {
            outcome.recorder.facts.iter().find(|fact| wanted(&fact.change)).map(|fact| fact.at).expect("it happens")
        };
        let pod = first(&|change| matches!(change, Change::PodUnschedulable(_)));
        first(&|change| matches!(change, Change::BatchClosed(_))).since(pod).seconds()
    };
    let hop = 0.02;
    assert!((batch("one", &[(5.0, 1)]) - hop - 1.0).abs() < 1e-6);
    // Thirty pods are created and found unschedulable one after another: the second runs from the last of them.
    let burst = batch("burst", &[(5.0, 30)]) - hop;
    assert!((1.0..2.0).contains(&burst), "{burst}");
    let stream: Vec<(f64, u32)> = (0..40).map(|n| (5.0 + f64::from(n) * 0.5, n + 1)).collect();
    assert!((batch("stream", &stream) - hop - 10.0).abs() < 1e-6);
}

/// Oracle 25: a node that never registers is replaced after 900 s; with probability q each, a pod waits for q / (1 - q) of them.
#[test]
fn oracle_25_nodes_that_never_register() {
    let q = 0.4;
    let manifests = CLASS.replace("TYPE", "m5.large") + &deployment("app", 0, "1500m");
    let scenario = format!(
        "name: ttl\nmanifests: [manifests.yaml]\nrun: {{ until: 4h, noise: on }}\ntimings: {{ preset: tuned, instance.boot: \"mixture({q}: \
         never, {}: 20s)\" }}\nactions: [{{ at: 10s, scale: {{ deployment: app, replicas: 60 }} }}]\n",
        1.0 - q
    );
    let plan = written("oracle-25", &manifests, &scenario);
    let (pods, mut failures) = (60, 0);
    for replication in 0..2 {
        let world = run_once(&plan, replication, false).world;
        assert!(world.pods.iter().all(|pod| pod.node.is_some()), "every pod is served within four hours");
        for claim in world.claims.iter().filter(|claim| claim.registered.is_none()) {
            assert_eq!(claim.deletion_reason, Some(DisruptionReason::NeverJoined));
            failures += 1;
            // Created times are whole seconds: up to one early. Looked at when due.
            let waited = claim.deleting_since.expect("deleted").since(claim.created).seconds();
            assert!((899.0..=900.5).contains(&waited), "{waited}");
            // The pods come back with their next trigger, at most ten seconds later, and a batch of a second and more.
            let gone = claim.deleting_since.expect("deleted");
            let next = world.claims.iter().map(|claim| claim.created).filter(|&created| created > gone).min();
            let again = next.expect("another is launched").since(gone).seconds();
            assert!(again < 30.0, "{again}");
        }
    }
    let mean = f64::from(failures) / f64::from(2 * pods);
    let within = 3.29 * (q / (1.0 - q) / (1.0 - q) / f64::from(2 * pods)).sqrt();
    assert!((mean - q / (1.0 - q)).abs() < within, "{mean} failures a pod");
}

/// Nodes planned for these items, of so many hundredths of a machine of a hundred cores.
fn bins(name: &str, items: &[u32], unit: u32) -> usize {
    let mut manifests = CLASS.replace("TYPE", "lab.bin");
    for (index, item) in items.iter().enumerate() {
        manifests += &deployment(&format!("item-{index}"), 1, &format!("{}m", item * unit));
    }
    let scenario = "name: bins\nmanifests: [manifests.yaml]\nrun: { until: 3m }\ncluster:\n  instance_types: [{ name: lab.bin, cpu: 100, \
                    memory: 400Gi, price: 1 }]\n";
    let plan = written(&format!("oracle-27-{name}"), &manifests, scenario);
    let world = run_once(&plan, 0, false).world;
    assert!(world.pods.iter().all(|pod| pod.node.is_some()), "every item is in a bin");
    // The scheduler puts pods elsewhere than planned and may so need more nodes: the oracle is about the plan.
    let first = world.claims.iter().map(|claim| claim.created).min();
    world.claims.iter().filter(|claim| Some(claim.created) == first).count()
}

/// The fewest bins of a capacity, by trying all ways.
fn optimum(items: &[u32], capacity: u32) -> usize {
    fn search(items: &[u32], capacity: u32, bins: &mut Vec<u32>, best: &mut usize) {
        let Some((&item, rest)) = items.split_first() else {
            *best = bins.len().min(*best);
            return;
        };
        if bins.len() >= *best {
            return;
        }
        for index in 0..bins.len() {
            if bins[index] + item <= capacity {
                bins[index] += item;
                search(rest, capacity, bins, best);
                bins[index] -= item;
            }
        }
        bins.push(item);
        search(rest, capacity, bins, best);
        bins.pop();
    }
    let mut best = items.len();
    search(items, capacity, &mut Vec::new(), &mut best);
    best
}

/// Oracle 27: first fit decreasing: the strict small case, the classic family, and never above 11/9 of the optimum and 6/9.
#[test]
fn oracle_27_first_fit_decreasing() {
    let small = [2, 2, 2, 3, 5, 6];
    assert_eq!((optimum(&small, 10), bins("small", &small, 10_000)), (2, 3));
    let classic: Vec<u32> =
        [(6, 510), (6, 270), (6, 260), (12, 230)].iter().flat_map(|&(n, size)| vec![size; n]).collect();
    assert_eq!(bins("classic", &classic, 100), 11, "nine would do");
    let random = Random::new(27, 0);
    for case in 0..12 {
        let items: Vec<u32> =
            (0..9).map(|n| 1 + random.below(Purpose::named("oracle.27"), case * 9 + n, 70) as u32).collect();
        let (found, best) = (bins(&format!("random-{case}"), &items, 1_000), optimum(&items, 100));
        assert!(found >= best && 9 * found <= 11 * best + 6, "{items:?}: {found} bins, {best} would do");
    }
}

/// Oracle 40: seven nodes at 0.34 $ an hour that serve 1500 requests a second cost 0.4407 $ for each million.
#[test]
fn oracle_40_cost_per_million_requests() {
    let manifests = CLASS.replace("TYPE", "c5.2xlarge") + &deployment("web", 7, "7500m");
    let scenario = "name: cost\nmanifests: [manifests.yaml]\nrun: { until: 1h }\ncluster:\n  nodes: [{ node_pool: pool, instance_type: \
                    c5.2xlarge, count: 7 }]\nservices:\n  web: { cpu_per_request: 20ms, workers: 100, target_group: none }\ntraffic:\n  \
                    web: { mode: fluid, curve: 1500/s }\n";
    let plan = written("oracle-40", &manifests, scenario);
    let outcome = run_once(&plan, 0, false);
    let analysis = analysis::analyze(&plan, &outcome.world, &outcome.recorder);
    assert_eq!(analysis.totals.cost.0, 2_380_000, "seven times 0.34 $");
    let exact = totals::per_million(&outcome.world, analysis.totals.cost).expect("requests are served");
    assert!((exact - 0.4407).abs() < 0.000_1, "{exact}");
    let measured = expectation::value(Measure::CostPerMillion, &Scope::default(), &plan, &outcome.world, &analysis)
        .expect("measured");
    assert_eq!(measured.at_least, exact);
}
