//! One replication of the committed `scenarios/scale-up.yaml`, noise on, nothing rendered: fluid traffic, and beside it the
//! same with every request an event.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
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
criterion_main!(benches);
