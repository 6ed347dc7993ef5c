//! One replication of `scenarios/scale-up.yaml`: fluid traffic, noise on, nothing rendered.

use criterion::{Criterion, criterion_group, criterion_main};

fn replication(_criterion: &mut Criterion) {}

criterion_group!(benches, replication);
criterion_main!(benches);
