//! Oracles of the spot market: the component with a queue and a world, whose instances are replaced as soon as they are told to go.

use super::*;
use crate::components::Cx;
use crate::engine::{Queue, Time};
use crate::plan::{CapacityPools, InstanceTypeId, MicroDollars, Plan, ShockCondition, ZoneId};
use crate::record::{Detail, Recorder};
use crate::world::{Change, World};

/// A pool that never fails, of one type in one zone.
fn calm(name: &str) -> CapacityPool {
    CapacityPool {
        name: name.to_string(),
        capacity_type: CapacityType::Spot,
        zone: ZoneId(0),
        types: vec![InstanceTypeId(0)],
        lifetime: Distribution::Never,
        share: 1.0,
        spread: Distribution::Constant(Span::ZERO),
        outage: Distribution::Constant(Span::from_secs(1)),
        plenty: Distribution::Never,
        alone: Distribution::Never,
        warned: 0.0,
        lead: Distribution::Never,
        false_alarm: Distribution::Never,
    }
}

fn per_hour(rate: f64) -> Distribution {
    Distribution::Exponential { mean: Span::from_seconds(3600.0 / rate) }
}

/// What happened in one run: notices with their times, and when capacity went (false) and came.
#[derive(Default)]
struct Story {
    notices: Vec<Time>,
    /// By instance: when it was recommended to replace it, and when it got its notice.
    warned: std::collections::BTreeMap<InstanceId, (Option<Time>, Option<Time>)>,
    capacity: Vec<(Time, bool)>,
    start: Time,
    likelihood: f64,
}

/// `nodes` instances of the pool for so many seconds; each is replaced at once, at no loss of time.
fn play(pool: &CapacityPool, nodes: u32, seconds: f64, replication: u64) -> Story {
    play_given(pool, nodes, seconds, replication, None)
}

/// The same, under a condition on the first shock.
fn play_given(
    pool: &CapacityPool,
    nodes: u32,
    seconds: f64,
    replication: u64,
    condition: Option<ShockCondition>,
) -> Story {
    let mut plan = Plan::empty(Time::from_unix_seconds(1_700_000_000), Span::from_seconds(seconds));
    plan.shock_condition = condition;
    plan.zones = vec!["a".to_string()];
    plan.capacity_pools = CapacityPools::new(vec![pool.clone()]);
    let (mut world, mut queue) = (World::new(&plan), Queue::new());
    let (mut recorder, random) = (Recorder::new(Detail::Facts), Random::new(29, replication));
    let buy = |world: &mut World| {
        world.launch_instance(None, InstanceTypeId(0), ZoneId(0), CapacityType::Spot, MicroDollars(1))
    };
    (0..nodes).for_each(|_| {
        buy(&mut world);
    });
    world.take_journal(&mut Vec::new());
    let mut market = SpotMarket::default();
    let mut story = Story { start: plan.start, ..Story::default() };
    let mut next = None;
    loop {
        world.now = next.map_or(plan.start, |(at, _)| at);
        let (now, random) = (world.now, Some(&random));
        let mut cx = Cx { now, plan: &plan, world: &mut world, queue: &mut queue, recorder: &mut recorder, random };
        match next {
            None => market.start(&mut cx),
            Some((_, Any::SpotMarket(event))) => market.handle(&mut cx, event),
            Some((_, other)) => panic!("an event of somebody else: {other:?}"),
        }
        let mut journal = Vec::new();
        world.take_journal(&mut journal);
        for change in journal {
            match change {
                Change::InstanceInterrupted(instance) => {
                    story.notices.push(now);
                    story.warned.entry(instance).or_default().1 = Some(now);
                    world.stop_instance(instance);
                    let new = buy(&mut world);
                    queue.push(now, Any::SpotMarket(Event::Launched(new)));
                }
                Change::InstanceRebalance(instance) => story.warned.entry(instance).or_default().0 = Some(now),
                Change::CapacityChanged(_, sells) => story.capacity.push((now, sells)),
                _ => {}
            }
        }
        world.take_journal(&mut Vec::new());
        next = queue.pop();
        if next.is_none_or(|(at, _)| at > plan.until) {
            return Story { likelihood: world.likelihood, ..story };
        }
    }
}

/// Half the width of the 99.9 % interval of a share over so many runs.
fn within(share: f64, runs: u64) -> f64 {
    3.29 * (share * (1.0 - share) / runs as f64).sqrt()
}

/// Oracle 29: twenty nodes of which 5 % a month are interrupted, replaced at once: Poisson with mean 1.0259, none with
/// probability 0.95^20.
#[test]
fn oracle_29_interruptions_of_twenty_nodes_in_a_month() {
    let hourly = -(0.95_f64.ln()) / 720.0;
    let pool = CapacityPool { alone: per_hour(hourly), ..calm("spot m5.large a") };
    let runs = 4_000;
    let counts: Vec<usize> = (0..runs).map(|run| play(&pool, 20, 720.0 * 3600.0, run).notices.len()).collect();
    let mean = counts.iter().sum::<usize>() as f64 / runs as f64;
    assert!((mean - 1.0259).abs() < 3.29 * (1.0259 / runs as f64).sqrt(), "{mean}");
    let none = counts.iter().filter(|count| **count == 0).count() as f64 / runs as f64;
    assert!((none - 0.358_49).abs() < within(0.358_49, runs), "{none}");
}

/// Oracle 30: at 0.05 interruptions an hour and node, independent nodes lose one of twenty within two minutes with probability
/// 0.0328 and ten of them never; with a shock of the pool ten go as often as one does, a thirtieth of the hourly rate.
#[test]
fn oracle_30_losses_within_two_minutes() {
    let (runs, rate) = (8_000, 0.05);
    let apart = CapacityPool { alone: per_hour(rate), ..calm("spot m5.large a") };
    let together = CapacityPool { lifetime: per_hour(rate), ..calm("spot m5.large a") };
    let share = |pool: &CapacityPool, least: usize| {
        (0..runs).filter(|&run| play(pool, 20, 120.0, run).notices.len() >= least).count() as f64 / runs as f64
    };
    let one = share(&apart, 1);
    assert!((one - 0.0328).abs() < within(0.0328, runs), "{one}");
    assert_eq!(share(&apart, 10), 0.0, "3.0e-23");
    let ten = share(&together, 10);
    // A pool that has instances begins in capacity, so the first shock of the memoryless clock is due as ever.
    assert!((ten - rate / 30.0).abs() < within(rate / 30.0, runs), "{ten}");
}

/// Oracle 31: twenty instances, each lost with chance 0.02: independent losses vary by 0.392, a common shock twenty times as much.
#[test]
fn oracle_31_a_common_shock_varies_as_many_times_more_as_there_are_instances() {
    let (runs, rate) = (12_000_u64, -(0.98_f64.ln()));
    let variance = |pool: &CapacityPool| {
        let lost: Vec<f64> = (0..runs)
            .map(|run| {
                let story = play(pool, 20, 3600.0, run);
                // Of the first twenty: a replacement that is lost as well is another story.
                (story.notices.len() as f64).min(20.0)
            })
            .collect();
        let mean = lost.iter().sum::<f64>() / runs as f64;
        lost.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / runs as f64
    };
    let apart = variance(&CapacityPool { alone: per_hour(rate), ..calm("spot m5.large a") });
    let common = variance(&CapacityPool { lifetime: per_hour(rate), ..calm("spot m5.large a") });
    // The standard error of a variance is sqrt((m4 - s^4) / n): 0.0066 and 0.50 here; replacements add 0.012 to the first.
    assert!((apart - 0.392).abs() < 0.012 + 3.29 * 0.0066, "{apart}");
    assert!((common - 7.84).abs() < 3.29 * 0.50, "{common}");
}

/// Oracle 32: Weibull lifetimes of shape 0.571 and scale 67.4 min: many die young, and the old live on longer.
#[test]
fn oracle_32_lifetimes_have_a_decreasing_hazard() {
    let weibull = Distribution::Weibull { shape: 0.571, scale: Span::from_seconds(67.4 * 60.0) };
    let pool = CapacityPool { lifetime: weibull, ..calm("spot r5.16xlarge a") };
    let days = 600.0;
    let mut lives = Vec::new();
    for replication in 0..2 {
        let story = play(&pool, 0, days * 86_400.0, replication);
        let spells = story.capacity.windows(2).filter(|pair| pair[0].1);
        lives.extend(spells.map(|pair| pair[1].0.since(pair[0].0).seconds() / 60.0));
    }
    let count = lives.len() as u64;
    assert!(count > 10_000, "{count} lives");
    let share = |wanted: &dyn Fn(f64) -> bool| lives.iter().filter(|life| wanted(**life)).count() as f64 / count as f64;
    let (young, old) = (share(&|life| life < 10.0), share(&|life| life > 120.0));
    assert!((young - 0.2857).abs() < within(0.2857, count), "{young}");
    assert!((old - 0.2490).abs() < within(0.2490, count), "{old}");
    // Memoryless lives of the same mean, of which 0.0827 die so young.
    let mean = 67.4 * 1.718;
    let exponential = CapacityPool { lifetime: per_hour(60.0 / mean), ..calm("spot r5.16xlarge a") };
    let story = play(&exponential, 0, days * 86_400.0, 0);
    let spells: Vec<f64> =
        story.capacity.windows(2).filter(|pair| pair[0].1).map(|pair| pair[1].0.since(pair[0].0).seconds()).collect();
    let young = spells.iter().filter(|life| **life < 600.0).count() as f64 / spells.len() as f64;
    assert!((young - 0.0827).abs() < within(0.0827, spells.len() as u64) + 0.0005, "{young}");
    let left = |age: f64| {
        let rest: Vec<f64> = lives.iter().filter(|life| **life > age).map(|life| life - age).collect();
        rest.iter().sum::<f64>() / rest.len() as f64
    };
    let ages = [left(0.0), left(30.0), left(120.0), left(360.0)];
    assert!(ages.windows(2).all(|pair| pair[0] < pair[1]), "{ages:?}");
}

#[test]
fn a_run_begins_anywhere_in_the_history_of_a_pool_and_notices_of_a_shock_come_within_minutes() {
    let minutes = |count: u64| Distribution::Constant(Span::from_secs(count * 60));
    let spread = Distribution::Uniform(Span::ZERO, Span::from_secs(180));
    let pool = CapacityPool { lifetime: minutes(90), outage: minutes(30), spread, ..calm("spot m5.large a") };
    let runs = 4_000;
    // Nothing runs there: a quarter of the runs find no capacity.
    let without = (0..runs).filter(|&run| {
        let story = play(&pool, 0, 60.0, run);
        story.capacity.first().is_some_and(|(at, sells)| *at == story.start && !sells)
    });
    let share = without.count() as f64 / runs as f64;
    assert!((share - 0.25).abs() < within(0.25, runs), "{share}");
    // Something runs there, so there is capacity; within ninety minutes there is exactly one shock.
    for run in 0..50 {
        let story = play(&pool, 20, 5_400.0, run);
        let first = story.capacity.first().map(|(at, sells)| (*at, *sells));
        let Some((at, false)) = first else { panic!("the first thing that happens is a shock: {first:?}") };
        assert!(at > story.start);
        let late = |notice: &&Time| notice.since(at) <= Span::from_secs(180);
        let whole = plan_end(&story, 5_400.0) > at + Span::from_secs(180);
        assert!(!whole || story.notices.iter().filter(late).count() == 20, "{} notices", story.notices.len());
    }
}

fn plan_end(story: &Story, seconds: f64) -> Time {
    story.start + Span::from_seconds(seconds)
}

#[test]
fn a_shortage_leaves_what_runs_alone() {
    let plenty = Distribution::Exponential { mean: Span::from_secs(980) };
    let outage = Distribution::Exponential { mean: Span::from_secs(20) };
    let pool = CapacityPool { plenty, outage, ..calm("spot m5.large a") };
    let story = play(&pool, 20, 2_000_000.0, 1);
    assert!(story.notices.is_empty() && story.capacity.len() > 1_000);
    let short = story.capacity.windows(2).filter(|pair| !pair[0].1);
    let time: f64 = short.map(|pair| pair[1].0.since(pair[0].0).seconds()).sum();
    // 2 % of the time, in some two thousand spells of twenty seconds: 99.9 % of such shares lie within a tenth of it.
    assert!((time / 2_000_000.0 - 0.02).abs() < 0.0025, "{time}");
}

/// Of 15 interruptions 9 followed a recommendation, of 30 recommendations 9 were followed by an interruption
/// (aws-node-termination-handler issue 141), and the lead of a recommendation is that of its distribution.
#[test]
fn rebalance_recommendations_come_before_six_of_ten_interruptions_and_seven_of_ten_are_for_nothing() {
    let lead = Span::from_secs(600);
    let pool = CapacityPool {
        alone: per_hour(0.05),
        warned: 0.6,
        lead: Distribution::Constant(lead),
        // Three of ten come true: seven thirds as many as those that do.
        false_alarm: per_hour(0.05 * 0.6 * 7.0 / 3.0),
        ..calm("spot m5.large a")
    };
    let (mut both, mut notices, mut warnings) = (0.0_f64, 0.0_f64, 0.0_f64);
    for run in 0..300 {
        for (warned, notice) in play(&pool, 20, 100.0 * 3600.0, run).warned.values() {
            notices += f64::from(u8::from(notice.is_some()));
            warnings += f64::from(u8::from(warned.is_some()));
            let lead_was = warned.zip(*notice).map(|(warned, notice)| notice.since(warned));
            both += f64::from(u8::from(lead_was == Some(lead)));
        }
    }
    // An instance whose notice comes sooner than the lead gets none; one that had a false alarm before gets no second one.
    let alarmed_before = 0.05 * 0.6 * 7.0 / 3.0 / (0.05 + 0.05 * 0.6 * 7.0 / 3.0);
    let recall = 0.6 * (1.0 - alarmed_before);
    assert!((both / notices - recall).abs() < 0.03, "{} of {notices}, {recall}", both / notices);
    assert!((both / warnings - 0.3).abs() < 0.15, "{} of {warnings}", both / warnings);
}

/// What strikes a pool is seen coming for the pool: all that are warned are warned together, before the shock.
#[test]
fn a_shock_is_announced_to_the_instances_that_run_then() {
    let pool = CapacityPool {
        lifetime: Distribution::Constant(Span::from_secs(3_600)),
        warned: 1.0,
        lead: Distribution::Constant(Span::from_secs(1_200)),
        ..calm("spot m5.large a")
    };
    let story = play(&pool, 5, 7_200.0, 1);
    let hit: Vec<_> =
        story.warned.values().filter_map(|(warned, notice)| Some((warned.as_ref()?, notice.as_ref()?))).collect();
    assert!(!hit.is_empty());
    assert!(hit.iter().all(|(warned, notice)| notice.since(**warned) == Span::from_secs(1_200)));
}

/// A memoryless pool is shocked for the first time between 60 s and 600 s with chance e^-60r - e^-600r. Runs drawn under that
/// condition have their shock there and stand for that chance on average; the others have none there and stand for the rest.
#[test]
fn runs_under_a_condition_keep_it_and_stand_for_its_chance() {
    let (runs, rate) = (1_500, 2.0_f64);
    let pool = CapacityPool { lifetime: per_hour(rate), ..calm("spot m5.large a") };
    let (from, to) = (Span::from_secs(60), Span::from_secs(600));
    let truth = (-rate / 60.0).exp() - (-rate / 6.0).exp();
    for strikes in [true, false] {
        let stories: Vec<Story> =
            (0..runs).map(|run| play_given(&pool, 3, 900.0, run, Some(ShockCondition { from, to, strikes }))).collect();
        for story in &stories {
            let first = story.notices.first().map(|at| at.since(story.start));
            let inside = first.is_some_and(|span| (from..=to).contains(&span));
            assert_eq!(inside, strikes, "{first:?}");
        }
        let mean = stories.iter().map(|story| story.likelihood).sum::<f64>() / runs as f64;
        let expected = if strikes { truth } else { 1.0 - truth };
        // The chance is read from the drawn history of a pool, 128 lifetimes: it varies by about a tenth from run to run.
        assert!((mean - expected).abs() < 3.29 * 0.15 * truth / (runs as f64).sqrt(), "{mean} {expected}");
    }
}
