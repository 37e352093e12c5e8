//! The cost of a batch under eight mixtures over that of the same batch under one expert: medians of pairs, taken in
//! turns so that a busy machine disturbs both alike.
//!
//! `cargo run -p t2-benches --example mixtures [pairs]`

#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a measurement takes an argument and prints a line"
)]

use std::time::Instant;

use burn::prelude::*;
use t2_benches::mixtures::{Bench, WORK};
use t2_model::mix::Mixture;

fn main() {
    let pairs = std::env::args().nth(1).and_then(|pairs| pairs.parse().ok()).unwrap_or(30);
    let bench = Bench::new(&Device::flex());
    let [(_, one), (_, eight)] = bench.mixes();
    for work in WORK {
        let time = |mixtures: Option<&[Mixture]>| {
            let start = Instant::now();
            (work.run)(&bench, mixtures);
            start.elapsed().as_secs_f64()
        };
        let _warm = (time(one), time(eight));
        let times: Vec<(f64, f64)> = (0..pairs).map(|_| (time(one), time(eight))).collect();
        let ratio = median(times.iter().map(|(one, eight)| eight / one).collect());
        let [one, eight] = [median(times.iter().map(|t| t.0).collect()), median(times.iter().map(|t| t.1).collect())];
        println!(
            "{}: one expert {:.1} ms, eight mixtures {:.1} ms, ratio {ratio:.3}",
            work.name,
            1e3 * one,
            1e3 * eight
        );
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
