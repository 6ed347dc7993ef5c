//! Oracles 1 to 8, and the recorded php-apache walk-throughs: the autoscaler's own code against answers known without it.

use crate::support::autoscaler::{Bench, Is, START, cpu, plan, queue, template};
use crate::support::shared;
use kubelapse::components::kubernetes::metrics_server::MetricsServer;
use kubelapse::components::kubernetes::metrics_server::storage::{Sample, Storage};
use kubelapse::components::{Cx, Event};
use kubelapse::engine::{Purpose, Queue, Random, Span, Time};
use kubelapse::plan::{
    Activation, Behavior, Curve, DeploymentId, Distribution, ExternalMetric, HpaId, Plan, ScalingPolicy, ScalingRules,
    SelectPolicy, Stage, TemplateId,
};
use kubelapse::record::{Detail, Recorder};
use kubelapse::study::run_once;
use kubelapse::world::{Change, World};
use std::sync::Arc;

/// Two-sided normal quantile of 99.9 %.
const Z: f64 = 3.29;

/// Asserts mean, standard deviation and quantiles of a sample, each inside its 99.9 % interval. `kurtosis` is that of the
/// distribution (1.8: uniform, 2.4: triangular).
fn is_distributed(mut values: Vec<f64>, mean: f64, sd: f64, kurtosis: f64, quantiles: &[(f64, f64)]) {
    values.sort_by(f64::total_cmp);
    let n = values.len() as f64;
    let found = values.iter().sum::<f64>() / n;
    assert!((found - mean).abs() < Z * sd / n.sqrt(), "mean {found}, not {mean}");
    let variance = values.iter().map(|value| (value - mean) * (value - mean)).sum::<f64>() / n;
    let within = Z * sd * sd * ((kurtosis - 1.0) / n).sqrt();
    assert!((variance - sd * sd).abs() < within, "variance {variance}, not {}", sd * sd);
    for &(p, expected) in quantiles {
        let half = Z * (n * p * (1.0 - p)).sqrt();
        let (low, high) = ((n * p - half) as usize, ((n * p + half).ceil() as usize).min(values.len() - 1));
        let interval = values[low]..=values[high];
        assert!(interval.contains(&expected), "the {p} quantile is in {interval:?}, not {expected}");
    }
}

#[test]
fn oracle_1_from_an_event_to_the_next_sync_is_uniform_over_the_period() {
    let mut plan = plan(1, 10, queue());
    plan.hpas = (0..4_000).map(|_| plan.hpas[0].clone()).collect();
    plan.flags.hpa.workers = 4_000;
    let mut bench = Bench::new(&plan, Some(Random::new(1, 0)));
    let event = START + Span::from_seconds(37.0);
    let mut next = vec![None; plan.hpas.len()];
    while next.contains(&None) {
        let (hpa, began) = bench.sync();
        if began >= event {
            next[hpa.index()].get_or_insert((began - event).seconds());
        }
    }
    let delays: Vec<f64> = next.into_iter().flatten().collect();
    assert!(delays.iter().all(|delay| (0.0..15.0).contains(delay)));
    is_distributed(delays, 7.5, 4.330, 1.8, &[(0.95, 14.25), (0.99, 14.85)]);
}

/// When, after an event, the first sync comes that can see a scrape which came after the event.
fn scrape_then_sync(plan: &Plan, random: Option<&Random>, event: Time) -> f64 {
    let (mut world, mut events, mut recorder) = (World::new(plan), Queue::new(), Recorder::new(Detail::Facts));
    let (mut hpa, mut server) = (kubelapse::components::kubernetes::hpa::Hpa::default(), MetricsServer::default());
    let mut scraped = false;
    let (world, queue, recorder) = (&mut world, &mut events, &mut recorder);
    hpa.start(&mut Cx { now: START, plan, world, queue, recorder, random });
    server.start(&mut Cx { now: START, plan, world, queue, recorder, random });
    loop {
        let (now, next) = queue.pop().expect("loops go on");
        world.now = now;
        let mut cx = Cx { now, plan, world, queue, recorder, random };
        match next {
            Event::Hpa(kubelapse::components::kubernetes::hpa::Event::Sync(_)) if scraped => {
                return (now - event).seconds();
            }
            Event::Hpa(event) => hpa.handle(&mut cx, event),
            Event::MetricsServer(inner) => {
                let publish = inner == kubelapse::components::kubernetes::metrics_server::Event::Publish;
                scraped |= publish && now >= event;
                server.handle(&mut cx, inner);
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn oracle_2_scrape_then_sync_is_triangular_or_with_locked_phases_uniform() {
    let mut plan = plan(1, 10, cpu(50));
    plan.flags.metrics.exact = true;
    let event = START + Span::from_secs(50);
    let delays: Vec<f64> =
        (0..4_000).map(|replication| scrape_then_sync(&plan, Some(&Random::new(2, replication)), event)).collect();
    let beyond = delays.iter().filter(|&&delay| delay > 24.0).count() as f64 / 4_000.0;
    assert!((beyond - 0.08).abs() < Z * f64::sqrt(0.08 * 0.92 / 4_000.0), "{beyond}");
    is_distributed(delays, 15.0, 6.124, 2.4, &[(0.95, 25.257), (0.99, 27.879)]);
    // Locked: scrapes 5 s before syncs. The event comes at any phase.
    plan.flags.metrics.phase = Some(Span::from_millis(2_500));
    let delays: Vec<f64> = (0..4_000)
        .map(|replication| {
            let phase = Random::new(2, replication).below(Purpose::named("oracle.2"), 0, 15_000_000);
            scrape_then_sync(&plan, None, START + Span::from_secs(45) + Span::from_micros(phase))
        })
        .collect();
    assert!(delays.iter().all(|delay| (5.0..=20.0).contains(delay)));
    is_distributed(delays, 12.5, 4.330, 1.8, &[(0.95, 19.25)]);
}

/// The utilisation that metrics-server serves at scrapes every 15 s, after a step from 40 to 100 % of a core at `step`
/// seconds into the first window.
fn windows(step: f64) -> [f64; 2] {
    let mut storage = Storage::default();
    let counter = |at: f64| 0.4 * at.min(step) + (at - step).max(0.0) + 100.0;
    let mut found = Vec::new();
    for scrape in 0..3u64 {
        let at = 15 * scrape;
        let (cpu_nanos, timestamp) = ((counter(at as f64) * 1e9) as u64, START + Span::from_secs(at));
        let start = Some(1_000);
        let sample = Sample { pod: 0u32, container: 0, start, timestamp, cpu_nanos, memory: 1 };
        storage.store(&[sample], Span::from_secs(15));
        if let Some(answer) = storage.answer(&0) {
            found.push(answer.containers[0].1 as f64 / 1e7);
        }
    }
    [found[0], found[1]]
}

#[test]
fn oracle_3_the_first_window_after_a_step_shows_part_of_it() {
    let draws = 4_000u64;
    let mut delays = Vec::new();
    let mut at_once = 0.0;
    for draw in 0..draws {
        let phase = Random::new(3, draw).uniform(Purpose::named("oracle.3"), 0) * 15.0;
        let [first, second] = windows(phase);
        assert!((first - (40.0 + 60.0 * (1.0 - phase / 15.0))).abs() < 1e-4, "{first} after a step at {phase}");
        assert!((second - 100.0).abs() < 1e-4);
        let triggers = first > 55.0;
        at_once += f64::from(u8::from(triggers));
        delays.push(if triggers { 15.0 - phase } else { 30.0 - phase });
    }
    let share = at_once / draws as f64;
    assert!((share - 0.75).abs() < Z * f64::sqrt(0.75 * 0.25 / draws as f64), "{share}");
    // Uniform from 3.75 to 18.75 s.
    is_distributed(delays, 11.25, 4.330, 1.8, &[(0.95, 18.0)]);
}

/// A list such as `R500 U700 R1010/900 M`, and its templates.
fn described(pods: &str, plan: &mut Plan) -> Vec<(TemplateId, Is)> {
    let pod = |text: &str| {
        let (kind, amounts) = text.split_at(1);
        let (used, request) = amounts.split_once('/').unwrap_or((amounts, "1000"));
        let used = used.parse().unwrap_or(0);
        let template = Arc::new(template(request.parse().expect("a request")));
        let known = plan.templates.iter().position(|known| *known == template);
        let index = known.unwrap_or_else(|| {
            plan.templates.push(template);
            plan.templates.len() - 1
        });
        let state = match kind {
            "R" => Is::Ready(used),
            "U" => Is::Unready(used),
            "H" => Is::Hot(used),
            "P" => Is::Pending,
            "F" => Is::Failed,
            "D" => Is::Deleting,
            "M" => Is::Missing,
            other => panic!("{other}"),
        };
        (TemplateId::at(index), state)
    };
    pods.split_whitespace().map(pod).collect()
}

#[test]
fn oracle_4_the_replica_formula_on_upstream_vectors() {
    let Some(text) = shared("data/hpa_upstream_replica_vectors.csv") else { return };
    let mut checked = 0;
    for row in text.lines().skip(1) {
        let cells: Vec<&str> = row.split(',').collect();
        let [name, current, pods, target, utilization, expected] = cells[..] else { panic!("{row}") };
        let number = |text: &str| text.parse::<i32>().expect("a number");
        let mut plan = plan(number(current), 1_000, cpu(number(target)));
        // Upstream's tests use 2 min and 10 s.
        plan.flags.hpa.cpu_initialization_period = Span::from_secs(120);
        plan.flags.hpa.initial_readiness_delay = Span::from_secs(10);
        let pods = described(pods, &mut plan);
        let mut bench = Bench::new(&plan, None);
        bench.set_pods(START + Span::from_millis(7_500), &pods);
        bench.sync();
        let status = bench.status();
        assert_eq!(
            (status.utilization, status.proposal),
            (Some(number(utilization)), Some(number(expected))),
            "{name}"
        );
        checked += 1;
    }
    assert_eq!(checked, 25);
}

/// The size after syncs with ten pods at this utilisation and a target of 50 %, first and after the window.
fn ten_pods_at(tenths_of_percent: i64) -> (i32, i32) {
    let plan = plan(10, 1_000, cpu(50));
    let mut bench = Bench::new(&plan, None);
    let mut sizes = Vec::new();
    for sync in 0..22u64 {
        let now = START + Span::from_millis(7_500 + 15_000 * sync);
        bench.set_pods(now, &[(TemplateId(0), Is::Ready(tenths_of_percent)); 10]);
        bench.sync();
        sizes.push(bench.size());
        bench.set_size(10);
    }
    (sizes[0], sizes[21])
}

#[test]
fn oracle_5_tolerance() {
    for within in [450, 451, 500, 549, 550, 559] {
        assert_eq!(ten_pods_at(within), (10, 10), "{within} tenths of a percent, cut to whole percent");
    }
    assert_eq!(ten_pods_at(560), (12, 12));
    assert_eq!(ten_pods_at(449), (10, 9), "cut to 44 %, and held for five minutes");
    assert_eq!(ten_pods_at(440), (10, 9));
    // The exact boundary: 1.1 - 1 exceeds 0.1 in doubles, which only the form until 1.32 minds.
    let mut old = plan(10, 1_000, cpu(50));
    old.flags.hpa.legacy_tolerance_test = true;
    let mut bench = Bench::new(&old, None);
    bench.set_pods(START, &[(TemplateId(0), Is::Ready(550)); 10]);
    bench.sync();
    assert_eq!(bench.size(), 11);
}

fn rules(window: u64, policies: &[(bool, i32, u64)]) -> ScalingRules {
    let policy = |&(percent, value, seconds): &(bool, i32, u64)| ScalingPolicy {
        percent,
        value,
        period: Span::from_secs(seconds),
    };
    ScalingRules {
        stabilization_window: Some(Span::from_secs(window)),
        select: SelectPolicy::Max,
        policies: policies.iter().map(policy).collect(),
        tolerance: None,
    }
}

fn with_behavior(plan: &mut Plan, up: &[(bool, i32, u64)]) {
    let behavior = Behavior { scale_up: rules(0, up), scale_down: rules(300, &[(true, 100, 15)]) };
    let spec = kubelapse::plan::HpaSpec { behavior: Some(behavior), ..(*plan.hpas[0]).clone() };
    plan.hpas[0] = Arc::new(spec);
}

/// Sizes under a demand without end: each new size and seconds after the first.
fn growth(plan: &Plan, demand: i64, syncs: usize) -> Vec<(f64, i32)> {
    let mut bench = Bench::new(plan, None);
    bench.set_queue(demand);
    let mut sizes = Vec::new();
    let mut first = None;
    for _ in 0..syncs {
        let before = bench.size();
        let (_, began) = bench.sync();
        if bench.size() != before {
            let first = *first.get_or_insert(began);
            sizes.push(((began - first).seconds(), bench.size()));
        }
    }
    sizes
}

#[test]
fn oracle_6_growth_without_behavior() {
    let sizes = growth(&plan(1, 200, queue()), 1_000_000, 9);
    let expected = [(0.0, 4), (15.0, 8), (30.0, 16), (45.0, 32), (60.0, 64), (75.0, 128), (90.0, 200)];
    assert_eq!(sizes, expected);
}

#[test]
fn oracle_7_growth_by_policies() {
    let mut plan = plan(1, 200, queue());
    with_behavior(&mut plan, &[(true, 100, 15), (false, 4, 15)]);
    let sizes: Vec<i32> = growth(&plan, 1_000_000, 9).into_iter().map(|(_, size)| size).collect();
    assert_eq!(sizes, [5, 10, 20, 40, 80, 160, 200]);
    // Upstream takes the ceiling in doubles: 100 x 1.1 is a little more than 110.
    let mut plan = self::plan(100, 1_000, queue());
    with_behavior(&mut plan, &[(true, 10, 60)]);
    assert_eq!(growth(&plan, 1_000_000, 9), [(0.0, 111), (60.0, 123), (120.0, 136)]);
}

#[test]
fn oracle_8_scale_down_comes_300_to_315_s_after_the_last_higher_proposal() {
    let mut delays = Vec::new();
    for replication in 0..400 {
        let mut plan = plan(10, 100, queue());
        // The status write makes the phase drift, so that the sync after 300 s comes at any time of the period after.
        plan.timings.set(Stage::HpaMetrics, Distribution::Constant(Span::from_millis(20)));
        plan.timings.set(Stage::HpaWriteStatus, Distribution::Uniform(Span::ZERO, Span::from_millis(500)));
        let random = Random::new(8, replication);
        let mut bench = Bench::new(&plan, Some(random));
        let drop =
            START + Span::from_secs(100) + Span::from_micros(random.below(Purpose::named("oracle.8"), 0, 15_000_000));
        bench.set_queue(10);
        let (mut last_high, mut middle) = (START, true);
        while bench.size() == 10 {
            let (_, began) = bench.sync();
            if bench.status().proposal == Some(10) {
                last_high = began;
            }
            if began + Span::from_secs(15) > drop {
                // One lower value in between, then the lowest: the window drops to its largest, at once.
                bench.set_queue(if std::mem::take(&mut middle) { 6 } else { 2 });
            }
            if bench.size() != 10 {
                assert_eq!(bench.size(), 6, "the largest proposal that is left in the window");
                delays.push((began - last_high).seconds());
            }
        }
        bench.sync();
        assert_eq!(bench.size(), 2, "and then to the next, without a limit to the step");
    }
    assert!(delays.iter().all(|delay| (300.0..315.5).contains(delay)), "{delays:?}");
}

/// The size that one sync makes of `current` pods of which `ready` report this utilisation, and its raw proposal.
fn one_step(target: i32, max: i32, current: i32, ready: i32, percent: i64) -> (i32, i32) {
    let mut plan = plan(current, max, cpu(target));
    plan.templates[0] = Arc::new(template(200));
    // The recordings are older than 1.32.
    plan.flags.hpa.legacy_tolerance_test = true;
    plan.flags.hpa.fill_missing_with_request = true;
    let mut bench = Bench::new(&plan, None);
    let pod = |index| if index < ready { Is::Ready(2 * percent) } else { Is::Pending };
    let pods: Vec<_> = (0..current).map(|index| (TemplateId(0), pod(index))).collect();
    bench.set_pods(START, &pods);
    bench.sync();
    (bench.size(), bench.status().proposal.unwrap_or(current))
}

/// Sizes that a sync may leave, over all numbers of ready pods: the grown size, or what the window holds of proposals.
fn reachable(target: i32, max: i32, current: i32, percent: i64, held: &[i32]) -> Vec<i32> {
    let mut sizes = Vec::new();
    for ready in 1..=current {
        let (size, proposal) = one_step(target, max, current, ready, percent);
        sizes.push(size);
        if proposal < current {
            sizes.push(proposal.max(1));
            sizes.extend(held.iter().filter(|&&held| (proposal..=current).contains(&held)));
        }
    }
    sizes
}

#[test]
fn php_apache_recorded_steps_are_reachable() {
    let Some(text) = shared("data/hpa_php_apache_watch_series.csv") else { return };
    let rows: Vec<Vec<&str>> = text.lines().skip(1).map(|row| row.split(',').collect()).collect();
    let number = |row: &[&str], column: usize| row[column].parse::<i32>().expect("a number");
    let (mut steps, mut misses) = (0, Vec::new());
    for pair in rows.windows(2).filter(|pair| pair[0][0] == pair[1][0]) {
        let (row, next) = (&pair[0], &pair[1]);
        let (max, target, age) = (number(row, 2), number(row, 3), number(row, 4));
        // What earlier rows of the run proposed within the window and one period.
        let earlier = rows.iter().filter(|other| other[0] == row[0] && (age - 315..age).contains(&number(other, 4)));
        let held: Vec<i32> = earlier
            .flat_map(|other| {
                let current = number(other, 6);
                (1..=current).map(move |ready| (current, ready, i64::from(number(other, 5))))
            })
            .map(|(current, ready, percent)| one_step(target, max, current, ready, percent).1)
            .collect();
        let sizes = reachable(target, max, number(row, 6), i64::from(number(row, 5)), &held);
        steps += 1;
        if !sizes.contains(&number(next, 6)) {
            misses.push(format!("run {} at {} s: {} -> {}, not {sizes:?}", row[0], row[4], row[6], next[6]));
        }
    }
    assert!(steps >= 85, "{steps}");
    assert!(misses.len() <= 1, "{misses:#?}");
}

/// Seconds and what was then.
type Series = Vec<(f64, i32)>;

/// The walk-through: one closed-loop client keeps at most 0.66 cores busy, a pod is limited to 0.5. Pods are Ready two
/// syncs after they were asked for. Sizes with the second at which each was written, and what the syncs reported.
fn php_apache(behavior: bool) -> (Series, Series) {
    let mut plan = plan(1, 10, cpu(50));
    plan.templates[0] = Arc::new(template(200));
    if behavior {
        with_behavior(&mut plan, &[(true, 100, 15), (false, 4, 15)]);
    }
    let mut bench = Bench::new(&plan, None);
    let load_off = 600.0;
    let (mut sizes, mut reported, mut ready_at) = (vec![(0.0, 1)], Vec::new(), vec![0.0]);
    for sync in 0..90u64 {
        let now = START + Span::from_millis(7_500 + 15_000 * sync);
        let second = now.seconds_from(START);
        let size = bench.size();
        ready_at.resize(size as usize, second + 30.0);
        let ready = ready_at.iter().filter(|&&at| at <= second).count();
        let busy = if second < load_off { (ready as f64 * 0.5).min(0.66) } else { 0.0 };
        let each = (busy / ready as f64 * 1000.0) as i64;
        let state = |&at: &f64| if at <= second { Is::Ready(each) } else { Is::Pending };
        let pods: Vec<_> = ready_at.iter().map(|at| (TemplateId(0), state(at))).collect();
        bench.set_pods(now, &pods);
        let (hpa, began) = bench.sync();
        assert_eq!((hpa, began), (HpaId(0), now));
        reported.push((second, bench.status().utilization.unwrap_or(0)));
        if bench.size() != size {
            sizes.push((second, bench.size()));
        }
    }
    (sizes, reported)
}

#[test]
fn php_apache_follows_the_walk_through() {
    for (behavior, path) in [(false, vec![1, 4, 5, 7, 1]), (true, vec![1, 5, 7, 1])] {
        let (sizes, reported) = php_apache(behavior);
        assert_eq!(sizes.iter().map(|(_, size)| *size).collect::<Vec<_>>(), path);
        let (full, last) = (sizes[sizes.len() - 2].0, sizes[sizes.len() - 1].0);
        let plateau = reported.iter().filter(|(second, _)| *second > full + 45.0 && *second < 600.0);
        assert!(plateau.clone().count() > 20);
        assert!(plateau.clone().all(|(_, percent)| (41..=54).contains(percent)), "{plateau:?}");
        // The last proposal above 1 was made at the last sync under load.
        let last_high =
            reported.iter().filter(|(_, percent)| *percent > 0).map(|(second, _)| *second).fold(0.0, f64::max);
        assert!((300.0..=330.0).contains(&(last - last_high)), "{}", last - last_high);
    }
}

/// A queue that grows at 100 s: a poll finds it, the Deployment leaves zero, and from 1 on the autoscaler does the work.
#[test]
fn a_queue_takes_a_deployment_from_zero_and_the_autoscaler_goes_on() {
    let mut plan = plan(0, 50, queue());
    plan.until = START + Span::from_secs(1_000);
    let at = |second| START + Span::from_secs(second);
    let points = vec![(at(0), 0.0), (at(100), 0.0), (at(100), 8.0), (at(300), 8.0), (at(300), 0.0)];
    let (every, window) = (Span::from_secs(30), Span::ZERO);
    let value = Curve { points };
    plan.external_metrics.push(ExternalMetric {
        name: "queue".into(),
        labels: Default::default(),
        value,
        every,
        window,
    });
    let (poll, cooldown) = (Span::from_secs(30), Span::from_secs(300));
    let deployment = DeploymentId(0);
    plan.activations.push(Activation { deployment, metric: 0, threshold: 0.0, replicas: 1, poll, cooldown });
    let outcome = run_once(&plan, 0, true);
    let sizes = outcome.recorder.facts.iter().filter_map(|fact| match fact.change {
        Change::DeploymentScaled { to, by, .. } => Some((fact.at.seconds_from(START), to, by.is_some())),
        _ => None,
    });
    // Polls at 15, 45, ...; syncs at 7.5, 22.5, ...: held for five minutes, then the trigger has been quiet long enough.
    assert_eq!(
        sizes.collect::<Vec<_>>(),
        [(105.0, 1, false), (112.5, 4, true), (127.5, 8, true), (585.0, 0, false)],
        "the last active poll is at 285 s"
    );
}

/// KWOK's endpoint multiplies the use at the scrape by the time since the one before: a step of the load is seen whole at
/// once, where a counter that adds up what was used shows a part of it first.
#[test]
fn a_stepwise_counter_shows_a_step_of_the_load_whole() {
    let manifests = r"
apiVersion: apps/v1
kind: Deployment
metadata: { name: app }
spec:
  replicas: 2
  selector: { matchLabels: { app: app } }
  template:
    metadata: { labels: { app: app } }
    spec:
      containers:
        - { name: app, image: app, resources: { requests: { cpu: 1000m } } }
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: { name: app }
spec:
  scaleTargetRef: { apiVersion: apps/v1, kind: Deployment, name: app }
  minReplicas: 2
  maxReplicas: 2
  metrics: [{ type: Resource, resource: { name: cpu, target: { type: Utilization, averageUtilization: 50 } } }]
";
    let scenario = |stepwise: bool| {
        format!(
            "name: stepwise\nmanifests: [manifests.yaml]\ncluster:\n  nodes:\n    - {{ instance_type: m6i.xlarge }}\nload:\n  app:\n    \
             - {{ cores: 0.4 }}\n    - {{ at: 100s, cores: 1.2 }}\nrun: {{ until: 4m }}\ncontrollers:\n  metrics.exact: true\n  \
             metrics.stepwise: {stepwise}\n"
        )
    };
    let seen = |stepwise: bool| {
        let plan = crate::support::written("stepwise", manifests, &scenario(stepwise));
        let outcome = run_once(&plan, 0, true);
        let mut seen: Vec<i32> =
            outcome.recorder.hpa_syncs.iter().filter_map(|(.., status)| status.utilization).collect();
        seen.dedup();
        seen
    };
    assert_eq!(seen(true), [20, 60]);
    let exact = seen(false);
    assert!(exact.len() == 3 && (21..60).contains(&exact[1]), "{exact:?}");
}
