//! Measures the time of the pool for different numbers of requests in flight and table sizes.
//!
//!     cargo bench --bench pool --no-default-features
//!
//! `--bench instructions` counts instructions for the same cases, which repeat exactly.

mod scenario;

use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};

use scenario::{World, cases};

fn pool(criterion: &mut Criterion) {
    for case in cases() {
        let mut world = World::new(case);
        criterion.bench_function(&case.name(), |bencher| bencher.iter(|| world.step()));
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    targets = pool
}
criterion_main!(benches);
