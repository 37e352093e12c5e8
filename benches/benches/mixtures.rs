//! Times a batch of eight rows under one expert, under eight mixtures, and under seven beside a row of the base model:
//! `mixtures/{device}/{one|eight|seven+base}/{work}`.
//!
//! That a row under a mixture is what it would be alone is proved in the tests of t2-model. `examples/mixtures.rs`
//! measures the ratios.

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use t2_benches::devices::{Named, devices};
use t2_benches::mixtures::{Bench, ROWS, WORK};

fn mixtures(criterion: &mut Criterion) {
    for Named { name, device, .. } in devices() {
        let bench = Bench::new(&device);
        let mut group = criterion.benchmark_group(format!("mixtures/{name}"));
        for work in WORK {
            group.throughput(Throughput::Elements((ROWS * work.tokens) as u64));
            for (name, active) in bench.mixes() {
                group.bench_function(BenchmarkId::new(name, work.name), |bencher| {
                    bencher.iter_custom(|iterations| {
                        device.sync().expect("a device that made a model can be waited for");
                        let start = Instant::now();
                        (0..iterations).for_each(|_| (work.run)(black_box(&bench), active));
                        device.sync().expect("a device that made a model can be waited for");
                        start.elapsed()
                    });
                });
            }
        }
        group.finish();
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(3));
    targets = mixtures
}
criterion_main!(benches);
