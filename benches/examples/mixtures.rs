//! The cost of a batch under eight mixtures over that of the same batch under one expert: medians of pairs, taken in
//! turns so that a busy machine disturbs both alike.
//!
//! `cargo run --package t2-benches --example mixtures [pairs]`

#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a measurement takes an argument and prints a line"
)]

use std::time::Instant;

use burn::prelude::*;
use t2_benches::mixtures::{Bench, WORK};
use t2_model::adapter::Mixture;

fn main() {
    let pairs = std::env::args().nth(1).and_then(|pairs| pairs.parse().ok()).unwrap_or(30);
    let bench = Bench::new(&Device::flex());
    let [one, others @ ..] = bench.mixes();
    for (work, (name, mixtures)) in WORK.iter().flat_map(|work| others.map(|other| (work, other))) {
        let time = |mixtures: Option<&[Mixture]>| {
            let start = Instant::now();
            (work.run)(&bench, mixtures);
            start.elapsed().as_secs_f64()
        };
        let _warm = (time(one.1), time(mixtures));
        let times: Vec<(f64, f64)> = (0..pairs).map(|_| (time(one.1), time(mixtures))).collect();
        let ratio = median(times.iter().map(|(one, other)| other / one).collect());
        let one_ms = 1e3 * median(times.iter().map(|times| times.0).collect());
        let other_ms = 1e3 * median(times.iter().map(|times| times.1).collect());
        println!("{}: one {one_ms:.1} ms, {name} {other_ms:.1} ms, ratio {ratio:.3}", work.name);
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
