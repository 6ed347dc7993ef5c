//! One replication of the committed `scenarios/scale-up.yaml`, noise on, nothing rendered: fluid traffic, and beside it the
//! same with every request an event. `cargo bench --bench run -- instructions` counts the instructions of one under valgrind
//! instead, with which other work on the machine has nothing to do.

#[path = "support/instructions.rs"]
mod support;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group};
use kubelapse::analysis::sample::Wanted;
use kubelapse::plan::{Plan, TrafficMode};
use kubelapse::rules::expectation::{Measure, Scope};
use kubelapse::scenario::{self, LoadOptions};
use kubelapse::study::replications::{Control, replicate};
use kubelapse::study::run_once;
use std::hint::black_box;
use std::path::Path;
use std::sync::atomic::AtomicBool;

fn plan(mode: TrafficMode) -> Plan {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios/scale-up.yaml");
    let options = LoadOptions { noise: Some(true), ..LoadOptions::default() };
    let mut plan = match scenario::load(&path, &options) {
        Ok(loaded) => loaded.plan,
        Err(problems) => panic!("{}", problems.render(false)),
    };
    plan.apps.iter_mut().for_each(|app| app.mode = mode);
    plan
}

fn replication(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("replication of scale-up");
    for (name, mode) in [("fluid", TrafficMode::Fluid), ("requests", TrafficMode::Requests)] {
        let plan = plan(mode);
        let mut number = 0;
        group.bench_function(BenchmarkId::from_parameter(name), |bencher| {
            bencher.iter(|| {
                number += 1;
                black_box(run_once(&plan, number, false).events)
            });
        });
    }
    group.finish();
}

/// Four hundred replications on all cores, of which only measures are kept: what a study or a sweep does.
fn study(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("replications of scale-up on all cores");
    let stop = AtomicBool::new(false);
    let control = Control { stop: &stop, done: &|| (), check: false, antithetic: false };
    let mut wanted = Wanted::default();
    wanted.quantity(Measure::TimeToServe, &Scope::default());
    group.throughput(Throughput::Elements(400)).sample_size(10);
    for (name, mode) in [("fluid", TrafficMode::Fluid), ("requests", TrafficMode::Requests)] {
        let plan = plan(mode);
        group.bench_function(BenchmarkId::from_parameter(name), |bencher| {
            bencher.iter(|| black_box(replicate(&plan, 0..400, &wanted, control)));
        });
    }
    group.finish();
}

criterion_group!(benches, replication, study);

/// Replications whose instructions are counted: the first ones, as [`replication`] numbers them.
const COUNTED: u64 = 40;

/// What is counted: a function of its own, so that reading the scenario is not.
#[inline(never)]
fn counted(plan: &Plan) {
    (1..=COUNTED).for_each(|number| drop(black_box(run_once(plan, number, false))));
}

fn main() {
    let modes = [("fluid", TrafficMode::Fluid), ("requests", TrafficMode::Requests)];
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some((_, mode)) = modes.iter().find(|(name, _)| arguments == [format!("count-{name}")]) {
        return counted(&plan(*mode));
    }
    if arguments.iter().any(|argument| argument == "instructions") {
        for (name, _) in modes {
            let each = support::instructions(&format!("count-{name}"), "run::counted") / COUNTED as f64;
            println!("one replication of scale-up, {name}: {:.2} million instructions", each / 1e6);
        }
        return;
    }
    benches();
    Criterion::default().configure_from_args().final_summary();
}
