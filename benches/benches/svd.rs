//! Times the SVD solvers: `svd/{device}/{algorithm}/{shape}`.
//!
//! The shapes are those of `t2_linalg::cases`, each once: what is timed here is proved right by the tests there.

use std::collections::BTreeSet;
use std::hint::black_box;
use std::time::{Duration, Instant};

use burn::prelude::*;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use t2_benches::devices::{Named, devices};
use t2_linalg::cases::{Case, FINITE, LARGE};
use t2_linalg::{HostSvd, SvdSolver};

/// What decomposes matrices that are on the CPU. A new algorithm is a line.
const ON_CPU: &[(&str, &dyn SvdSolver)] = &[("faer", &HostSvd { parallel_from: 2048 })];

/// What decomposes matrices that are on a GPU.
const ON_GPU: &[(&str, &dyn SvdSolver)] = &[
    #[cfg(any(feature = "wgpu", feature = "cuda"))]
    ("block_jacobi", &t2_linalg::BlockJacobiSvd::DEFAULT),
];

const SEED: u64 = 2501;

fn svd(criterion: &mut Criterion) {
    for Named { name, device, is_cpu } in devices() {
        let mut group = criterion.benchmark_group(format!("svd/{name}"));
        let mut timed = BTreeSet::new();
        // A GPU made of software takes minutes over a large matrix.
        let large = if is_cpu && name != "cpu" { &[] } else { LARGE };
        for case in FINITE.iter().chain(large).filter(|case| timed.insert(case.shape())) {
            // The same kind of matrix for every shape, not the zeros or the identity that a test wants there.
            let a = Case { fill: FINITE[0].fill, ..*case }.tensor(SEED, &device);
            group.throughput(Throughput::Elements((case.batch * case.m * case.n) as u64));
            for (algorithm, solver) in if name == "cpu" { ON_CPU } else { ON_GPU } {
                group.bench_with_input(BenchmarkId::new(*algorithm, case.shape()), &a, |bencher, a| {
                    bencher.iter_custom(|iterations| time(*solver, a, &device, iterations));
                });
            }
        }
        group.finish();
    }
}

/// The wall time of `iterations` decompositions, with nothing of the device's queue left over from before or after.
fn time(solver: &dyn SvdSolver, a: &Tensor<3>, device: &Device, iterations: u64) -> Duration {
    device.sync().expect("a device that made the matrices can be waited for");
    let start = Instant::now();
    for _ in 0..iterations {
        black_box(solver.svd(a.clone()).expect("every finite case has a decomposition"));
    }
    device.sync().expect("a device that made the matrices can be waited for");
    start.elapsed()
}

criterion_group! {
    name = benches;
    // Half a minute in all; criterion's own settings would take five.
    config = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_millis(500));
    targets = svd
}
criterion_main!(benches);
