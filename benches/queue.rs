//! The queue's hold model: n events pending; each step takes the earliest and puts one at t + delay. One element is one
//! pop and one push. Beside it, in the same run, the standard binary heap on the same script.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use kubelapse::engine::{Purpose, Queue, Random, Time};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::hint::black_box;

const STEPS: u64 = 100_000;

/// Delays near a Kubernetes load: 70 % ten seconds, 10 % fifteen, 15 % exponential with mean two, 5 % none.
fn delays() -> Vec<u64> {
    let random = Random::new(1, 0);
    let purpose = Purpose::named("bench.delay");
    (0..1 << 16)
        .map(|n| {
            let choice = random.uniform(purpose, 2 * n);
            let spread = random.uniform(purpose, 2 * n + 1);
            match choice {
                c if c < 0.70 => 10_000_000,
                c if c < 0.80 => 15_000_000,
                c if c < 0.95 => (-2_000_000.0 * spread.ln()) as u64,
                _ => 0,
            }
        })
        .collect()
}

fn hold(criterion: &mut Criterion) {
    let delays = delays();
    let mut group = criterion.benchmark_group("queue hold");
    group.throughput(Throughput::Elements(STEPS)).sample_size(20);
    for pending in [1_000u64, 100_000, 1_000_000] {
        let start = |n: u64| delays[n as usize & 0xffff] / 7 * (1 + n % 7);
        let mut ring: Queue<u64> = Queue::new();
        let mut heap: BinaryHeap<Reverse<(u64, u32, u64)>> = BinaryHeap::new();
        for n in 0..pending {
            ring.push(Time::from_micros(start(n)), n);
            heap.push(Reverse((start(n), n as u32, n)));
        }
        group.bench_function(BenchmarkId::new("ring", pending), |bencher| {
            let mut pushed = pending;
            bencher.iter(|| {
                for _ in 0..STEPS {
                    let (at, event) = ring.pop().expect("the queue holds n events");
                    pushed += 1;
                    ring.push(Time::from_micros(at.micros() + delays[pushed as usize & 0xffff]), black_box(event));
                }
            });
        });
        group.bench_function(BenchmarkId::new("std heap", pending), |bencher| {
            let mut pushed = pending;
            bencher.iter(|| {
                for _ in 0..STEPS {
                    let Reverse((at, _, event)) = heap.pop().expect("the heap holds n events");
                    pushed += 1;
                    heap.push(Reverse((at + delays[pushed as usize & 0xffff], pushed as u32, black_box(event))));
                }
            });
        });
    }
    group.finish();
}

criterion_group!(benches, hold);
criterion_main!(benches);
