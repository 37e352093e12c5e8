//! Times the drawing of a token from each row of logits, `draw/{device}/{how}/{rows}x{vocab}`, beside the obvious way on the
//! host, `draw/host/…`: one row after the other, in f64, and all tokens in order where some are cut off.

use std::hint::black_box;
use std::time::Duration;

use burn::prelude::*;
use burn::tensor::Distribution;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use t2_benches::devices::{Named, devices};
use t2_linalg::ops::{self, Draw};

const ROWS: usize = 64;
/// As many as Llama 3 has.
const VOCAB: usize = 128_256;
const PLAIN: Draw<'static> =
    Draw { repetition_penalty: 1.0, seen: &[], temperature: 1.0, top_k: 0, top_p: 1.0, min_p: 0.0, uniform: 0.3 };
const HOW: [(&str, Draw<'static>); 5] = [
    ("greedy", Draw { temperature: 0.0, ..PLAIN }),
    ("plain", PLAIN),
    ("top_k", Draw { top_k: 50, ..PLAIN }),
    ("top_p", Draw { top_p: 0.95, ..PLAIN }),
    ("min_p", Draw { min_p: 0.05, ..PLAIN }),
];

fn draw(criterion: &mut Criterion) {
    for Named { name, device, .. } in devices() {
        device.seed(1);
        let logits = Tensor::<2>::random([ROWS, VOCAB], Distribution::Normal(0.0, 3.0), &device);
        let mut group = criterion.benchmark_group(format!("draw/{name}"));
        group.throughput(Throughput::Elements(ROWS as u64));
        for (how, draw) in HOW {
            group.bench_function(BenchmarkId::new(how, format!("{ROWS}x{VOCAB}")), |bencher| {
                bencher.iter(|| ops::draw(black_box(&logits), &[draw; ROWS]).expect("logits can be read"));
            });
        }
        group.finish();
    }
    let logits = Tensor::<2>::random([ROWS, VOCAB], Distribution::Normal(0.0, 3.0), &Device::flex());
    let logits: Vec<f32> = logits.into_data().iter::<f32>().collect();
    let mut group = criterion.benchmark_group("draw/host");
    group.throughput(Throughput::Elements(ROWS as u64));
    for (how, draw) in HOW {
        group.bench_function(BenchmarkId::new(how, format!("{ROWS}x{VOCAB}")), |bencher| {
            bencher.iter(|| logits.chunks(VOCAB).map(|row| in_order(row, draw)).sum::<f64>());
        });
    }
}

/// A token and its log-probability; their sum, so that neither is left out.
fn in_order(logits: &[f32], draw: Draw<'_>) -> f64 {
    let (best, top) = (0..).zip(logits).fold((0, f32::MIN), |best, (id, &l)| if l > best.1 { (id, l) } else { best });
    let mut odds: Vec<(usize, f64)> = (0..).zip(logits).map(|(id, &l)| (id, f64::from(l - top).exp())).collect();
    let sum: f64 = odds.iter().map(|(_, p)| p).sum();
    let id = if draw.temperature > 0.0 {
        if draw.top_k > 0 || draw.top_p < 1.0 || draw.min_p > 0.0 {
            odds.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
            odds.truncate(if draw.top_k > 0 { draw.top_k } else { odds.len() });
            let mut before = 0.0;
            odds.retain(|(_, p)| {
                let is_kept = before < f64::from(draw.top_p) * sum && *p >= f64::from(draw.min_p);
                before += p;
                is_kept
            });
        }
        let mut left = draw.uniform * odds.iter().map(|(_, p)| p).sum::<f64>();
        let drawn = odds.iter().find(|(_, p)| {
            left -= p;
            left < 0.0
        });
        drawn.map_or(best, |(id, _)| *id)
    } else {
        best
    };
    id as f64 + f64::from(logits[id] - top) - sum.ln()
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_millis(500));
    targets = draw
}
criterion_main!(benches);
