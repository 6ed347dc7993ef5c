//! Analytic oracles: answers that are known without simulating (numbers as in the list of oracles).

use kubelapse::analysis;
use kubelapse::engine::{Purpose, Random, Span, Time};
use kubelapse::plan::{Distribution, Plan, Stage};
use kubelapse::scenario::{self, LoadOptions};
use kubelapse::study::run_once;
use kubelapse::world::{Change, Instance, NodeReadiness, World};
use std::path::Path;

const STUDIES: u64 = 40_000;

/// The sorted maxima of `k` draws each, one study a replication.
fn maxima(distribution: &Distribution, k: u64) -> Vec<f64> {
    let purpose = Purpose::named("oracle.21");
    let mut maxima: Vec<f64> = (0..STUDIES)
        .map(|study| {
            let random = Random::new(21, study);
            (0..k).map(|pod| distribution.draw(&random, purpose, pod).seconds()).fold(0.0, f64::max)
        })
        .collect();
    maxima.sort_by(f64::total_cmp);
    maxima
}

/// Whether the 99.9 % order-statistic interval of the quantile `p` covers `expected`, to the digits it is given with.
fn covers(sorted: &[f64], p: f64, expected: f64, rounding: f64) -> bool {
    let n = sorted.len() as f64;
    let half = 3.29 * (n * p * (1.0 - p)).sqrt();
    let (low, high) = ((n * p - half) as usize, (n * p + half).ceil() as usize);
    (sorted[low] - rounding..=sorted[high.min(sorted.len() - 1)] + rounding).contains(&expected)
}

#[test]
fn oracle_21_the_last_of_k_lognormals() {
    let boot = Distribution::Lognormal { median: Span::from_secs(45), sigma: 0.15 };
    let table = [(1, 45.0, 57.6), (5, 53.3, 63.7), (20, 59.2, 68.5), (100, 65.1, 73.6)];
    for (k, median, p95) in table {
        let maxima = maxima(&boot, k);
        assert!(covers(&maxima, 0.5, median, 0.05), "p50 of {k}: {}", maxima[maxima.len() / 2]);
        assert!(covers(&maxima, 0.95, p95, 0.05), "p95 of {k}");
    }
}

#[test]
fn oracle_21_the_last_of_k_exponentials_and_uniforms() {
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let exponential = Distribution::Exponential { mean: Span::from_secs(10) };
    // The maximum of k exponentials of mean m has mean m H_k and variance m^2 (1 + 1/4 + ... + 1/k^2).
    for (k, harmonic, squares) in [(5u64, 2.2833, 1.4636), (20, 3.5977, 1.5962)] {
        let within = 3.29 * 10.0 * f64::sqrt(squares / STUDIES as f64) + 0.0005;
        assert!((mean(&maxima(&exponential, k)) - 10.0 * harmonic).abs() < within, "H_{k}");
    }
    let uniform = Distribution::Uniform(Span::ZERO, Span::from_secs(15));
    for k in [1u64, 3, 10] {
        let (n, expected) = (k as f64, 15.0 * k as f64 / (k as f64 + 1.0));
        let variance = 225.0 * n / ((n + 1.0) * (n + 1.0) * (n + 2.0));
        assert!(
            (mean(&maxima(&uniform, k)) - expected).abs() < 3.29 * (variance / STUDIES as f64).sqrt(),
            "{k} uniforms"
        );
    }
}

/// Oracle 19: with every stage constant the total is the sum, to the tick, and the log is in order.
#[test]
fn oracle_19_constant_stages_add_up() {
    let mut plan = crate::support::shipped("scale-up");
    let constant = |seconds: f64| Distribution::Constant(Span::from_seconds(seconds));
    // Numbers whose sums cannot be mistaken for one another.
    let stages = [
        (Stage::ApiHop, 0.001),
        (Stage::SchedulerAttempt, 0.002),
        (Stage::SchedulerBind, 0.004),
        (Stage::KarpenterSolve, 0.25),
        (Stage::NodeClaimLaunch, 2.0),
        (Stage::InstanceBoot, 20.0),
        (Stage::NodeReady, 10.0),
        (Stage::PodSandbox, 1.0),
        (Stage::ImagePull, 7.0),
        (Stage::ContainerStart, 0.5),
    ];
    for (stage, seconds) in stages {
        plan.timings.set(stage, constant(seconds));
    }
    let outcome = run_once(&plan, 0, false);
    let facts = &outcome.recorder.facts;
    assert!(facts.windows(2).all(|pair| pair[0].at <= pair[1].at), "time never goes back");
    let first = |wanted: &dyn Fn(&Change) -> bool| {
        facts.iter().find(|fact| wanted(&fact.change)).map(|fact| fact.at).expect("it happens")
    };
    let trigger = first(&|change| matches!(change, Change::DeploymentScaled { .. }));
    let pod = facts.iter().find_map(|fact| match fact.change {
        Change::PodCreated(pod) if outcome.world.deployment_of(pod).is_some() => Some(pod),
        _ => None,
    });
    let pod = pod.expect("the first new pod");
    let created = first(&|change| *change == Change::PodCreated(pod));
    assert_eq!(created - trigger, Span::from_millis(2), "two hops: Deployment, ReplicaSet");
    let unschedulable = first(&|change| *change == Change::PodUnschedulable(pod));
    assert_eq!(unschedulable - created, Span::from_millis(1 + 2), "a hop and an attempt");
    let claim = first(&|change| matches!(change, Change::ClaimCreated(_)));
    let launched = first(&|change| matches!(change, Change::ClaimLaunched(_)));
    assert_eq!(launched - claim, Span::from_secs(2));
    let joined = first(&|change| matches!(change, Change::NodeCreated(_)));
    assert_eq!(joined - launched, Span::from_secs(20));
    let ready = first(&|change| matches!(change, Change::NodeReady(_, NodeReadiness::Ready)));
    assert_eq!(ready - joined, Span::from_secs(10));
    // The taint goes a hop after Ready, the scheduler hears of it a hop later, tries for 2 ms and binds for 4 ms. Which of
    // the waiting pods is first is the queue's business.
    let bindings = facts.iter().filter(|fact| fact.at > ready);
    let mut bindings = bindings.filter_map(|fact| match fact.change {
        Change::PodBound(pod) => Some((fact.at, pod)),
        _ => None,
    });
    let (bound, pod) = bindings.next().expect("a pod is bound to the new node");
    assert_eq!(bound - ready, Span::from_millis(1 + 1 + 2 + 4));
    let started = first(&|change| matches!(change, Change::ContainerStarted(started, _) if *started == pod));
    assert_eq!(started - bound, Span::from_millis(1 + 1_000 + 7_000 + 500), "a hop, sandbox, image, container");
    let analysis = analysis::analyze(&plan, &outcome.world, &outcome.recorder);
    for step in &analysis.steps {
        let (Some(whole), Some(critical)) = (step.time_to_serve(), step.critical_pod()) else { continue };
        let sum = critical.phases.iter().fold(Span::ZERO, |sum, phase| sum + phase.length());
        assert_eq!(sum, whole, "phases of the critical path sum to the time to serve");
    }
}

/// One Deployment, a DaemonSet of 150m, and a pool that may buy one size only.
const PACKING: &str = r"
apiVersion: apps/v1
kind: Deployment
metadata: { name: app }
spec:
  replicas: 0
  selector: { matchLabels: { app: app } }
  template:
    metadata: { labels: { app: app } }
    spec:
      containers:
        - { name: app, image: app, resources: { requests: { cpu: CPU, memory: 64Mi } } }
---
apiVersion: apps/v1
kind: DaemonSet
metadata: { name: agent }
spec:
  selector: { matchLabels: { app: agent } }
  template:
    metadata: { labels: { app: agent } }
    spec:
      tolerations: [{ operator: Exists }]
      containers:
        - { name: agent, image: agent, resources: { requests: { cpu: 150m } } }
---
apiVersion: karpenter.sh/v1
kind: NodePool
metadata: { name: pool }
spec:
  template:
    spec:
      nodeClassRef: { group: karpenter.k8s.aws, kind: EC2NodeClass, name: default }
      requirements: [{ key: node.kubernetes.io/instance-type, operator: In, values: [m5.2xlarge] }]
---
apiVersion: karpenter.k8s.aws/v1
kind: EC2NodeClass
metadata: { name: default }
spec:
  amiSelectorTerms: [{ alias: al2023@latest }]
  role: node
  subnetSelectorTerms: [{ tags: { a: b } }]
  securityGroupSelectorTerms: [{ tags: { a: b } }]
";

/// Nodes that `pods` pods of `cpu` need.
fn nodes_bought(pods: u32, cpu: &str) -> usize {
    let manifests = PACKING.replace("CPU", cpu);
    let scenario = format!(
        "name: packing\nmanifests: [manifests.yaml]\nactions: [ {{ at: 10s, scale: {{ deployment: app, replicas: {pods} }} }} ]\nrun: {{ \
         until: 5m }}\n"
    );
    let plan = crate::support::written(&format!("packing-{cpu}"), &manifests, &scenario);
    let world = run_once(&plan, 0, false).world;
    assert!(world.pods.iter().all(|pod| pod.node.is_some()), "every pod has its node");
    world.nodes.len()
}

/// Oracle 26: identical pods fill nodes to the floor of what is left after the daemons, by CPU or by pod slots.
#[test]
fn oracle_26_identical_pods() {
    // 7910m less 150m are 15 times 500m: ceil(100 / 15).
    assert_eq!(nodes_bought(100, "500m"), 7);
    assert_eq!(nodes_bought(105, "500m"), 7);
    assert_eq!(nodes_bought(106, "500m"), 8);
    // Below 133m the 58 pod slots bind, one of them the daemon's: ceil(300 / 57), where CPU alone would need 4.
    assert_eq!(nodes_bought(300, "100m"), 6);
}

/// What pods computed on a t3 beyond its baseline since its launch, at 0.05 USD a vCPU-hour (mode unlimited, AWS's default for T3).
fn surplus(plan: &Plan, world: &World, instance: &Instance, until: Time) -> i64 {
    let kind = plan.instance_type(instance.instance_type);
    assert!(kind.name.starts_with("t3."), "{}", kind.name);
    let node = world.nodes.iter().find(|node| node.instance == Some(instance.id)).map(|node| node.id);
    let there = world.pods.iter().filter(|pod| node.is_some() && pod.node == node);
    let used: u128 = there.map(|pod| world.cpu_used(pod.id)).sum();
    let baseline = f64::from(kind.burst_baseline_millis * kind.vcpus) / 1_000.0;
    let beyond = used as f64 / 1e9 - baseline * until.since(instance.launched).seconds();
    (beyond.max(0.0) / 3_600.0 * 50_000.0).round() as i64
}

/// Oracle 28: what is created is somewhere, and the bill is seconds times price with a minute at least, and surplus CPU credits.
#[test]
fn oracle_28_pods_requests_node_time_and_money_are_conserved() {
    for name in crate::support::SHIPPED {
        let mut plan = crate::support::shipped(name);
        plan.noise = true;
        for replication in 0..3 {
            let outcome = run_once(&plan, replication, false);
            let (world, facts) = (&outcome.world, &outcome.recorder.facts);
            let count = |wanted: &dyn Fn(&Change) -> bool| facts.iter().filter(|fact| wanted(&fact.change)).count();
            let created = count(&|change| matches!(change, Change::PodCreated(_)));
            let gone = count(&|change| matches!(change, Change::PodGone(_)));
            let at_start = world.pods.iter().filter(|pod| pod.created < plan.start).count();
            let there = world.pods.iter().filter(|pod| pod.gone.is_none()).count();
            assert_eq!(at_start + created, there + gone, "{name}: pods");
            for ledger in &world.ledgers {
                let total = &ledger.total;
                assert_eq!(total.offered, total.served + total.lost_all() + ledger.in_flight, "{name}: requests");
            }
            let (mut time, mut micros) = (Span::ZERO, 0);
            for instance in &world.instances {
                let until = instance.stopped.unwrap_or(plan.until);
                time += until.since(instance.launched.max(plan.start));
                let bill = |from, until: kubelapse::engine::Time| {
                    let seconds = until.since(from).max(Span::from_secs(60)).seconds();
                    (seconds * instance.price.0 as f64 / 3_600.0).round() as i64
                };
                // What ran before the run began was billed before.
                let before = if instance.launched < plan.start { bill(instance.launched, plan.start) } else { 0 };
                micros += bill(instance.launched, until) - before + surplus(&plan, world, instance, until);
            }
            let totals = analysis::analyze(&plan, world, &outcome.recorder).totals;
            assert_eq!(totals.node_time, time, "{name}: node seconds");
            assert_eq!(totals.cost.0, micros, "{name}: money");
        }
    }
}

/// A service whose pods prefer the node `first`, with room for all of them on `spare`, and a budget.
const DRAIN: &str = r"
apiVersion: apps/v1
kind: Deployment
metadata: { name: app }
spec:
  replicas: PODS
  selector: { matchLabels: { app: app } }
  template:
    metadata: { labels: { app: app } }
    spec:
      terminationGracePeriodSeconds: 600
      affinity:
        nodeAffinity:
          preferredDuringSchedulingIgnoredDuringExecution:
            - { weight: 100, preference: { matchExpressions: [{ key: role, operator: In, values: [first] }] } }
      containers: [{ name: app, image: app, resources: { requests: { cpu: 100m, memory: 64Mi } } }]
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: { name: app }
spec: { maxUnavailable: ATONCE, selector: { matchLabels: { app: app } } }
---
apiVersion: karpenter.sh/v1
kind: NodePool
metadata: { name: pool }
spec:
  disruption: { consolidationPolicy: WhenEmpty, consolidateAfter: Never }
  template:
    spec:
      nodeClassRef: { group: karpenter.k8s.aws, kind: EC2NodeClass, name: default }
      requirements: []
---
apiVersion: karpenter.k8s.aws/v1
kind: EC2NodeClass
metadata: { name: default }
spec:
  amiSelectorTerms: [{ alias: al2023@latest }]
  role: node
  subnetSelectorTerms: [{ tags: { a: b } }]
  securityGroupSelectorTerms: [{ tags: { a: b } }]
";

/// A plan in which `pods` pods have to leave their node, `at_once` at a time; `what` makes them.
fn draining(pods: u32, at_once: &str, stop: &str, what: &str) -> kubelapse::plan::Plan {
    let manifests = DRAIN.replace("PODS", &pods.to_string()).replace("ATONCE", at_once);
    let scenario = format!(
        "name: drain\n\
         manifests: [manifests.yaml]\n\
         cluster:\n  zones: [us-east-1a]\n  nodes:\n\
         \x20   - {{ name: first, node_pool: pool, instance_type: m5.2xlarge, capacity_type: spot, labels: {{ role: first }} }}\n\
         \x20   - {{ name: spare, instance_type: m5.2xlarge }}\n\
         images: {{ app: {{ size: 1Mi, cached: true }} }}\n\
         services: {{ app: {{ cpu_per_request: 1ms, start: 0s, stop: \"{stop}\" }} }}\n\
         timings: {{ api.hop: 1ms, scheduler.attempt: 1ms, scheduler.bind: 1ms, pod.sandbox: 5s, container.start: 4s, \
         interruption.delivery: 2s }}\n\
         {what}\n\
         run: {{ until: 10m }}\n"
    );
    crate::support::written(&format!("drain-{pods}-{at_once}-{}", stop.len()), &manifests, &scenario)
}

/// Oracle 24: a drain that a budget limits to `m` of `n` pods at once takes ceil(n / m) r.
#[test]
fn oracle_24_a_drain_takes_as_many_rounds_as_the_budget_makes() {
    for (n, m) in [(1_u32, 1_u32), (3, 1), (6, 2), (7, 2), (7, 3), (6, 6)] {
        let what = "actions: [{ at: 1m, delete_node_claim: first }]";
        let mut plan = draining(n, &m.to_string(), "9999ms", what);
        // Refused evictions are tried again every second. A replacement is Ready between 9 s and 10 s after the eviction (5 s
        // sandbox, 4 s container, and the relist that sees it), so that the next round begins after r = 10 s exactly.
        plan.flags.karpenter.eviction_backoff = (Span::from_secs(1), Span::from_secs(1));
        let outcome = run_once(&plan, 0, false);
        let facts = &outcome.recorder.facts;
        let evicted = facts.iter().filter_map(|fact| match fact.change {
            Change::PodDeleting(_, cause) => (cause == kubelapse::world::DeleteCause::Eviction).then_some(fact.at),
            _ => None,
        });
        let evicted: Vec<kubelapse::engine::Time> = evicted.collect();
        let round = |index: usize| Span::from_secs(10) * (index as u64 / u64::from(m));
        let expected: Vec<_> = (0..n as usize).map(|index| evicted[0] + round(index)).collect();
        assert_eq!(evicted, expected, "{n} pods, {m} at once");
        let stopped =
            facts.iter().filter(|fact| matches!(fact.change, Change::ContainerStopped(..))).map(|fact| fact.at);
        let last = stopped.max().expect("they stop");
        // The kubelet hears of an eviction a hop later, and the process takes 9.999 s to end.
        assert_eq!(last - evicted[0], Span::from_secs(10) * u64::from(n.div_ceil(m)), "{n} pods, {m} at once");
    }
}

/// Pods of a spot node that gets its notice after a minute: how long each took to stop; `None`: its node ended before.
fn stops(plan: &kubelapse::plan::Plan, replication: u64) -> Vec<Option<Span>> {
    let outcome = run_once(plan, replication, false);
    let facts = &outcome.recorder.facts;
    let notice = facts.iter().find(|fact| matches!(fact.change, Change::InstanceInterrupted(_))).expect("a notice").at;
    let end = facts.iter().find(|fact| matches!(fact.change, Change::InstanceShuttingDown(_))).expect("it ends").at;
    let leaving = facts.iter().filter_map(|fact| match fact.change {
        Change::PodDeleting(pod, kubelapse::world::DeleteCause::Eviction) => Some(pod),
        _ => None,
    });
    let stop = |pod| {
        let stopped = |change: Change| matches!(change, Change::ContainerStopped(one, _) if one == pod);
        let stopped = facts.iter().find(|fact| stopped(fact.change)).map(|fact| fact.at);
        stopped.filter(|&at| at <= end).map(|at| at - notice)
    };
    leaving.map(stop).collect()
}

/// Oracle 24: with r seconds from the notice until a pod has stopped, it is cut off where r > 120, and only there.
#[test]
fn oracle_24_pods_that_need_more_than_the_notice_are_cut_off() {
    let what = "faults: [{ at: 1m, spot_interruption: }]";
    // Notice, 2 s to Karpenter, 1 ms to the kubelet after the eviction: what is left of 120 s.
    let constant = |stop: &str| stops(&draining(5, "100%", stop, what), 0);
    let in_time = constant("100s");
    let lead = in_time[0].expect("in time").saturating_sub(Span::from_secs(100));
    assert_eq!(in_time, [Some(lead + Span::from_secs(100)); 5]);
    let left = Span::from_secs(120).saturating_sub(lead);
    let just = |micros: u64| format!("{}ms", micros / 1_000);
    assert_eq!(constant(&just(left.micros() - 1_000)), [Some(Span::from_millis(119_999)); 5]);
    assert_eq!(constant(&just(left.micros() + 1_000)), [None; 5]);
    // Uniform between 60 s before and 30 s after what is left: r is uniform from 60 s to 150 s, P(r > 120) is a third.
    let (low, high) = (left.saturating_sub(Span::from_secs(60)), left + Span::from_secs(30));
    let mut plan = draining(50, "100%", &format!("uniform({}, {})", just(low.micros()), just(high.micros())), what);
    plan.noise = true;
    let all: Vec<Option<Span>> = (0..6).flat_map(|replication| stops(&plan, replication)).collect();
    let (count, cut) = (all.len() as f64, all.iter().filter(|stop| stop.is_none()).count() as f64);
    assert!(all.len() == 300 && all.iter().flatten().all(|stop| *stop <= Span::from_secs(120)), "{}", all.len());
    let (p, half) = (1.0 / 3.0, 3.29 * (count * (1.0 / 3.0) * (2.0 / 3.0)).sqrt());
    assert!((cut - count * p).abs() <= half, "{cut} of {count}");
}

/// Three pods, each at a limit of one core, on one t3.medium: together they serve what the node's CPU gives, not three cores'
/// worth; and alone without a limit no more than the node either.
#[test]
fn capacity_in_service_ends_with_the_cpu_of_the_node() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios/scale-up.yaml");
    let options = LoadOptions { until: Some(Span::from_secs(60)), ..LoadOptions::default() };
    let plan = scenario::load(&path, &options).unwrap_or_else(|problems| panic!("{}", problems.render(false))).plan;
    let outcome = run_once(&plan, 0, false);
    let series = kubelapse::analysis::analyze(&plan, &outcome.world, &outcome.recorder).series;
    let cores = outcome.world.nodes[0].allocatable.cpu.0 as f64 / 1_000.0;
    let replicas = series.samples[0].replicas[0];
    assert_eq!(replicas.in_service, 3);
    assert!((replicas.capacity - cores / 0.120).abs() < 1e-3, "{} of {cores} cores", replicas.capacity);
}
