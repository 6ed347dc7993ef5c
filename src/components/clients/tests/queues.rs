//! Oracles of queues, closed loops and varying load: independent replications with fixed seeds, inside 99.9 % intervals.

use super::*;

const REPLICATIONS: u64 = 16;
/// Student's t with 15 degrees of freedom at 99.95 %.
const STUDENT: f64 = 4.073;
const SECOND: Span = Span::from_secs(1);

fn exponential() -> Option<Distribution> {
    Some(Distribution::Exponential { mean: SECOND })
}

/// One worker to a core, first come first served; exponential work of one second.
fn workers(plan: &mut Plan, count: u32, queue: u32) {
    plan.noise = true;
    let template = Arc::make_mut(&mut plan.templates[0]);
    template.containers[0].limits.cpu = Some(Millicores(1000 * i64::from(count)));
    let app = &mut plan.apps[0];
    (app.workers, app.queue, app.demand.cpu) = (count, queue, exponential());
}

/// A mean over replications, and the half-width of its 99.9 % interval.
#[derive(Debug)]
struct Estimate {
    mean: f64,
    half: f64,
}

impl Estimate {
    fn of(values: &[f64]) -> Estimate {
        let count = values.len() as f64;
        let mean = values.iter().sum::<f64>() / count;
        let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (count - 1.0);
        Estimate { mean, half: STUDENT * (variance / count).sqrt() }
    }

    /// It holds the exact value, and is narrow enough to mean something: half-width as a part of the value.
    fn holds(&self, what: &str, exact: f64, narrow: f64) {
        let right = (self.mean - exact).abs() <= self.half && self.half <= narrow * exact;
        assert!(right, "{what}: {} +- {}, expected {exact}", self.mean, self.half);
    }
}

/// Each measure over replications of a plan of `warm` + `length` seconds of which the first part is not counted.
fn study<const N: usize>(
    plan: impl Fn() -> Plan + Sync,
    pods: usize,
    (warm, length): (f64, f64),
    measures: impl Fn(&mut Rig, &Tally) -> [f64; N] + Sync,
) -> [Estimate; N] {
    let rows: Vec<[f64; N]> = (0..REPLICATIONS)
        .map(|seed| {
            let mut plan = plan();
            without_checks(&mut plan);
            // Measures may look further.
            plan.until = at(warm + length + 200.0);
            plan.seed = seed;
            let mut rig = Rig::new(&plan, pods);
            rig.live = (warm == 0.0).then(Vec::new);
            rig.run(at(warm));
            let before = rig.tally().clone();
            let ledger = &mut rig.world.ledgers[0];
            (ledger.latencies, ledger.waits) = (Histogram::default(), Histogram::default());
            rig.run(at(warm + length));
            rig.world.check_requests().unwrap();
            let total = rig.tally();
            let counted = Tally {
                offered: total.offered - before.offered,
                served: total.served - before.served,
                latency: total.latency - before.latency,
                ..Tally::default()
            };
            measures(&mut rig, &counted)
        })
        .collect();
    std::array::from_fn(|index| Estimate::of(&rows.iter().map(|row| row[index]).collect::<Vec<_>>()))
}

fn latency(_: &mut Rig, counted: &Tally) -> [f64; 1] {
    [counted.latency as f64 / counted.served as f64 / 1e6]
}

fn waits(rig: &Rig, p: f64) -> f64 {
    rig.world.ledgers[0].waits.quantile(p).unwrap().seconds()
}

#[test]
fn oracle_9_one_server_with_work_of_any_variation() {
    let one = |edit: fn(&mut App)| {
        move || {
            plan(0.0, 0.8, |plan| {
                workers(plan, 1, 1_000_000);
                edit(&mut plan.apps[0]);
            })
        }
    };
    let [time, p95, p99] = study(one(|_| {}), 1, (500.0, 24_000.0), |rig, counted| {
        let latencies = &rig.world.ledgers[0].latencies;
        let [p95, p99] = [0.95, 0.99].map(|p| latencies.quantile(p).unwrap().seconds());
        [latency(rig, counted)[0], p95, p99]
    });
    time.holds("M/M/1: W", 5.0, 0.1);
    p95.holds("M/M/1: 95 % of T", 14.979, 0.15);
    p99.holds("M/M/1: 99 % of T", 23.026, 0.3);
    // CV^2 = 4: sigma^2 = ln 5, and the median is the mean over the root of 5.
    let varied = one(|app| {
        let sigma = 5.0_f64.ln().sqrt();
        app.demand.cpu = Some(Distribution::Lognormal { median: seconds(0.2_f64.sqrt()), sigma });
    });
    let [time] = study(varied, 1, (1_000.0, 25_000.0), latency);
    time.holds("M/G/1: W with CV^2 = 4", 11.0, 0.25);
}

#[test]
fn oracle_10_many_servers() {
    let ten = |queue| move || plan(0.0, 8.0, |plan| workers(plan, 10, queue));
    let [time, chance, p95, p99] = study(ten(1_000_000), 1, (50.0, 1_200.0), |rig, counted| {
        let ledger = &rig.world.ledgers[0];
        let chance = ledger.waits.above_zero() as f64 / ledger.waits.total() as f64;
        let [time] = latency(rig, counted);
        [time, chance, waits(rig, 0.95), waits(rig, 0.99)]
    });
    chance.holds("M/M/10: Erlang C", 0.40918, 0.08);
    time.holds("M/M/10: W", 1.20459, 0.05);
    p95.holds("M/M/10: 95 % of the wait", 1.0511, 0.2);
    p99.holds("M/M/10: 99 % of the wait", 1.8558, 0.35);
    let [loss] = study(ten(0), 1, (50.0, 1_200.0), |rig, counted| {
        assert_eq!(rig.tally().lost_all(), rig.tally().lost[Loss::QueueFull as usize]);
        [1.0 - counted.served as f64 / counted.offered as f64]
    });
    loss.holds("M/M/10/10: Erlang B", 0.12166, 0.05);
    let [time] = study(|| plan(0.0, 1.6, |plan| workers(plan, 2, 1_000_000)), 1, (300.0, 6_000.0), latency);
    time.holds("M/M/2: W", 2.7778, 0.1);
    let hundred = || plan(0.0, 100.0, |plan| workers(plan, 110, 1_000_000));
    let [chance] = study(hundred, 1, (10.0, 110.0), |rig, _| {
        let waits = &rig.world.ledgers[0].waits;
        [waits.above_zero() as f64 / waits.total() as f64]
    });
    chance.holds("M/M/110: Erlang C", 0.23701, 0.3);
}

#[test]
fn oracle_11_the_balancer_matters() {
    let pods = |rate, algorithm| {
        move || {
            plan(0.0, rate, |plan| {
                workers(plan, 1, 1_000_000);
                plan.target_groups[0].algorithm = algorithm;
            })
        }
    };
    let window = (300.0, 2_000.0);
    let [random] = study(pods(8.0, RoutingAlgorithm::WeightedRandom), 10, window, latency);
    random.holds("random split", 5.0, 0.1);
    let [turns] = study(pods(8.0, RoutingAlgorithm::RoundRobin), 10, window, latency);
    turns.holds("round robin", 2.9223, 0.08);
    let [two] = study(pods(1.6, RoutingAlgorithm::RoundRobin), 2, (300.0, 8_000.0), latency);
    two.holds("round robin over two", 3.8440, 0.12);
    let even = || {
        let mut plan = pods(0.8, RoutingAlgorithm::RoundRobin)();
        plan.apps[0].clients.variation = 0.0;
        plan
    };
    let [even] = study(even, 1, (300.0, 10_000.0), latency);
    even.holds("D/M/1", 2.6927, 0.08);
}

#[test]
fn oracle_12_processor_sharing_knows_only_the_mean_and_each_request_its_own_size() {
    let shared = |cpu: Option<Distribution>| {
        move || {
            plan(0.0, 0.8, |plan| {
                plan.noise = true;
                plan.apps[0].demand.cpu = cpu.clone();
            })
        }
    };
    let lognormal = Distribution::Lognormal { median: seconds((-0.5_f64).exp()), sigma: 1.0 };
    for cpu in [exponential(), None, Some(lognormal)] {
        let [time] = study(shared(cpu.clone()), 1, (400.0, 8_000.0), latency);
        time.holds("M/G/1-PS", 5.0, 0.15);
    }
    // Small, middling and large requests: each takes its size over 1 - rho.
    const WORK: Purpose = Purpose::named("app.cpu_per_request");
    let estimates = study(shared(exponential()), 1, (0.0, 8_000.0), |rig, _| {
        let random = rig.random.unwrap();
        let mut sums = [(0.0, 0.0); 3];
        for &(number, latency) in &rig.answered {
            let size = exponential().unwrap().draw(&random, WORK, number).seconds();
            let sum = &mut sums[usize::from(size > 0.4) + usize::from(size > 1.5)];
            *sum = (sum.0 + latency, sum.1 + size);
        }
        sums.map(|(latency, size)| latency / size)
    });
    for (estimate, name) in estimates.iter().zip(["small", "middling", "large"]) {
        estimate.holds(name, 5.0, 0.2);
    }
}

#[test]
fn oracle_13_a_full_queue_loses_what_the_formula_says() {
    for (rate, expected) in [(0.8, 0.023493), (1.5, 0.33723)] {
        let [loss] = study(
            || plan(0.0, rate, |plan| workers(plan, 1, 9)),
            1,
            (300.0, 6_000.0),
            |_, counted| [1.0 - counted.served as f64 / counted.offered as f64],
        );
        loss.holds("M/M/1/10", expected, 0.3);
    }
    let overload = || plan(0.0, 1.5, |plan| workers(plan, 1, 1_000_000));
    let [grown, lost] = study(overload, 1, (500.0, 2_000.0), |rig, counted| {
        [(counted.offered - counted.served) as f64 / 1e6 / 2_000.0, rig.tally().lost_all() as f64]
    });
    grown.holds("growth of the backlog", 0.5, 0.1);
    assert_eq!(lost.mean, 0.0);
}

/// A pod that goes when it is idle, and comes back an exponential time after the next request, which is held for it.
#[test]
fn oracle_15_restarting_from_idle_adds_the_mean_of_the_set_up() {
    let times: Vec<f64> = (0..REPLICATIONS)
        .map(|seed| {
            let plan = plan(40_000.0, 0.8, |plan| {
                workers(plan, 1, 1_000_000);
                plan.apps[0].clients.hold = seconds(1e6);
                plan.apps[0].target_group = None;
                plan.seed = seed;
            });
            let mut rig = Rig::new(&plan, 1);
            let set_up = Distribution::Exponential { mean: seconds(45.0) };
            let (mut now, mut cycle, mut ready, mut from) = (START, 0, false, (0, 0));
            rig.world.set_pod_ready(PodId(0), false);
            rig.publish();
            rig.settle(START);
            while now < plan.until {
                let was = rig.world.ledgers[0].in_flight > 0;
                rig.run_while(plan.until, |world| (world.ledgers[0].in_flight > 0) == was);
                now = rig.world.now;
                let busy = rig.world.ledgers[0].in_flight > 0;
                if busy && !ready {
                    cycle += 1;
                    let span = set_up.draw(&rig.random.unwrap(), Purpose::named("test.set_up"), cycle);
                    rig.run((now + span).min(plan.until));
                }
                if busy != ready {
                    rig.world.set_pod_ready(PodId(0), busy);
                    rig.publish();
                    rig.settle(rig.world.now);
                    ready = busy;
                }
                // Whole cycles from the second on.
                from = if cycle == 1 && !busy { (rig.tally().served, rig.tally().latency as u64) } else { from };
            }
            let (served, latency) = (rig.tally().served - from.0, rig.tally().latency - u128::from(from.1));
            latency as f64 / served as f64 / 1e6
        })
        .collect();
    Estimate::of(&times).holds("M/M/1 with set-up", 50.0, 0.12);
}

#[test]
fn oracle_16_a_closed_loop_follows_mean_value_analysis() {
    const EXPECTED: [(usize, f64); 5] = [(1, 0.946537), (2, 0.558), (4, 0.407), (8, 0.344), (12, 0.325)];
    let users = || {
        plan(0.0, 5.0, |plan| {
            plan.noise = true;
            let app = &mut plan.apps[0];
            app.target_group = None;
            app.demand.cpu = Some(Distribution::Exponential { mean: seconds(0.29) });
            app.clients.think = Some(Distribution::Exponential { mean: seconds(0.55) });
        })
    };
    for (pods, expected) in EXPECTED {
        let [time, throughput, users] = study(users, pods, (10.0, 400.0), |rig, counted| {
            let [time] = latency(rig, counted);
            let throughput = counted.served as f64 / 1e6 / 400.0;
            [time, throughput, throughput * (time + 0.55)]
        });
        time.holds("closed loop: T", expected, 0.04);
        throughput.holds("closed loop: X", 5.0 / (expected + 0.55), 0.03);
        users.holds("closed loop: X (T + Z)", 5.0, 0.025);
    }
}

/// Amplitude and lag of what is in flight, against a wave of arrivals of that period and mean rate. What there was at the
/// start is forgotten after ten stays.
fn wave(period: f64, cycles: f64, rate: f64, stays: &Distribution, stay: f64) -> [Estimate; 2] {
    let warm = (10.0 * stay / period).ceil();
    let wave = || {
        plan(0.0, 0.0, |plan| {
            plan.noise = true;
            let app = &mut plan.apps[0];
            app.cpu_per_request = Span::ZERO;
            app.wait_per_request = seconds(stay);
            app.demand.wait = Some(stays.clone());
            let turn = |step: u32| f64::from(step) / 64.0 * std::f64::consts::TAU;
            let point = |step| (at(f64::from(step) * period / 64.0), rate * (1.0 + 0.9 * turn(step).sin()));
            app.traffic.points = (0..=(64.0 * (cycles + warm)) as u32).map(point).collect();
        })
    };
    study(wave, 1, (period * warm, period * cycles), |rig, _| {
        let mut waves = [(0.0, 0.0); 2];
        let mut in_flight = 0.0;
        for (second, bin) in rig.world.ledgers[0].bins.iter().enumerate() {
            in_flight += bin.offered as f64 - bin.served as f64;
            let start = second as f64;
            // Arrivals lie in the middle of their second, what is in flight is known at its end.
            for (wave, value, time) in [(0, bin.offered as f64, start + 0.5), (1, in_flight, start + 1.0)] {
                let turn = time / period * std::f64::consts::TAU;
                let counts = f64::from(start >= period * warm);
                waves[wave].0 += counts * value * turn.cos();
                waves[wave].1 += counts * value * turn.sin();
            }
        }
        let [arrivals, there] = waves.map(|(cosine, sine): (f64, f64)| (cosine.hypot(sine), sine.atan2(cosine)));
        let late = (there.1 - arrivals.1).rem_euclid(std::f64::consts::TAU);
        [there.0 / arrivals.0 / stay, late / std::f64::consts::TAU * period]
    })
}

/// What is in flight lags behind a wave of arrivals and is flatter, by 1/sqrt(1 + (w/m)^2) and atan(w/m)/w: waves that are
/// as long as ten stays, as twelve and as one.
#[test]
fn oracle_18_waves_are_damped_and_late() {
    for (period, cycles, rate, stay, narrow) in [
        (600.0, 4.0, 4.0, 60.0, [0.05, 0.1]),
        (3600.0, 2.0, 1.0, 300.0, [0.05, 0.15]),
        (60.0, 20.0, 8.0, 60.0, [0.2, 0.1]),
    ] {
        let [amplitude, lag] = wave(period, cycles, rate, &Distribution::Exponential { mean: seconds(stay) }, stay);
        let speed = std::f64::consts::TAU / period;
        amplitude.holds("amplitude of a wave", 1.0 / (1.0 + (speed * stay).powi(2)).sqrt(), narrow[0]);
        lag.holds("lag of a wave", (speed * stay).atan() / speed, narrow[1]);
    }
}

/// Stays that are all the same are a moving average: sin(wD/2)/(wD/2) of the amplitude, half a stay late.
#[test]
fn oracle_18_equal_stays_are_a_moving_average() {
    let [amplitude, lag] = wave(600.0, 2.0, 4.0, &Distribution::Constant(seconds(120.0)), 120.0);
    let half = std::f64::consts::PI * 120.0 / 600.0;
    amplitude.holds("amplitude of a wave", half.sin() / half, 0.05);
    lag.holds("lag of a wave", 60.0, 0.1);
}

/// L = lambda W and U = X S without any error, from the path itself: what is in flight, summed over time after every event,
/// is the sum of the times in flight; the CPU used by the pods of a node is the sum of what their requests need.
#[test]
fn oracle_17_the_laws_of_little_and_of_utilisation_are_exact() {
    let mut plan = plan(400.0, 15.0, |plan| {
        workers(plan, 10, 1_000_000);
        plan.apps[0].traffic.points.push((at(200.0), 15.0));
        plan.apps[0].traffic.points.push((at(200.0), 0.0));
    });
    without_checks(&mut plan);
    plan.seed = 17;
    let mut rig = Rig::new(&plan, 2);
    let path = std::cell::Cell::new((START, 0u64, 0u128));
    rig.run_while(plan.until, |world| {
        let (since, in_flight, area) = path.get();
        let grown = u128::from(in_flight) * u128::from((world.now - since).micros());
        path.set((world.now, world.ledgers[0].in_flight, area + grown));
        true
    });
    let total = rig.tally();
    assert_eq!((total.offered, rig.world.ledgers[0].in_flight), (total.served, 0), "all are through");
    assert_eq!(path.get().2, total.latency, "L = lambda W");
    let (random, work) = (rig.random.unwrap(), exponential().unwrap());
    let needs = (1..=total.served / REQUEST).map(|number| {
        let need = work.draw(&random, Purpose::named("app.cpu_per_request"), number);
        u128::from(need.micros()) * 1000
    });
    let used = rig.world.cpu_used(PodId(0)) + rig.world.cpu_used(PodId(1));
    assert_eq!(used, needs.sum::<u128>(), "U = X S");
    assert!(total.served > 2_500 * REQUEST);
}

/// Of requests in flight when a target is deregistered, those that last longer than the delay are cut off: exp(-30/10).
#[test]
fn oracle_23_a_deregistration_delay_cuts_off_what_lasts_longer() {
    let busy = || {
        plan(0.0, 40.0, |plan| {
            plan.noise = true;
            let app = &mut plan.apps[0];
            app.cpu_per_request = Span::ZERO;
            app.wait_per_request = seconds(10.0);
            app.demand.wait = Some(Distribution::Exponential { mean: seconds(10.0) });
            app.drains = Drains::Listening;
            app.stop = Distribution::Constant(seconds(1.0));
        })
    };
    let [cut] = study(busy, 1, (100.0, 100.0), |rig, _| {
        let there = rig.world.ledgers[0].in_flight as f64 / 1e6;
        rig.delete(PodId(0));
        rig.settle(rig.world.now);
        rig.run(at(300.0));
        [rig.lost(Loss::DrainEnded) / there]
    });
    cut.holds("part that is cut off", (-3.0_f64).exp(), 0.3);
}

/// Without preStop, what is sent to a pod until the load balancer knows is refused: rate times propagation.
#[test]
fn oracle_23_without_pre_stop_the_rate_times_the_propagation_is_refused() {
    let busy = || {
        plan(0.0, 50.0, |plan| {
            plan.noise = true;
            plan.apps[0].cpu_per_request = seconds(0.001);
            plan.timings.set(Stage::TargetDeregistration, Distribution::Exponential { mean: seconds(5.0) });
        })
    };
    let [rate] = study(busy, 2, (10.0, 10.0), |rig, _| {
        rig.delete(PodId(0));
        rig.settle(rig.world.now);
        rig.run(at(120.0));
        let gone = rig.moments(|change| change == Change::TargetRoutable(TargetId(0), false));
        // The controller takes part of the time: until the target is out of the rotation, half of 50 a second.
        [rig.lost(Loss::Refused) / (gone[0] - 20.0) / 25.0]
    });
    rate.holds("refused to expected", 1.0, 0.2);
}
