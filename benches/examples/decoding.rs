//! Tokens a second of a model, on each device: reading prompts, and decoding in batches.
//!
//! `cargo run --release --package t2-benches --example decoding -- MODEL [rounds] [part of a name]` prints a JSON line for
//! each device: medians over the rounds, of which each takes every piece of work once, so that a busy machine disturbs all
//! alike.

#![expect(clippy::print_stdout, clippy::disallowed_methods, reason = "a measurement takes arguments and prints a line")]

use std::path::Path;
use std::time::Instant;

use burn::prelude::*;
use t2_benches::devices::{Named, devices};
use t2_model::checkpoint::{Files, LoadOptions};
use t2_model::decoder::KvCache;
use t2_model::{Active, CausalLm, Decoder};

/// Lengths of the prompts that are read, alone.
const PROMPTS: [usize; 2] = [512, 2048];
/// Rows of the batches that are decoded.
const BATCHES: [usize; 3] = [1, 8, 32];
/// Tokens of the prompts before what is decoded, and tokens that are decoded.
const BEFORE: usize = 128;
const TOKENS: usize = 24;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let path = arguments.get(1).expect("the first argument is a model: a folder or a file");
    let rounds = arguments.get(2).and_then(|rounds| rounds.parse().ok()).unwrap_or(3);
    let wanted = arguments.get(3).map_or("", String::as_str);
    let files = Files::open(Path::new(path)).expect("a model that can be read");
    for Named { name, device, .. } in devices() {
        let model = files.load(&device, LoadOptions::default()).expect("a model that can be loaded").model;
        println!("{{\"device\": \"{name}\", {}}}", rates(&model, rounds, wanted, &device));
    }
}

/// The median rate of each piece of work that has `wanted` in its name, as fields of JSON.
fn rates(model: &Decoder, rounds: usize, wanted: &str, device: &Device) -> String {
    let read = PROMPTS.map(|len| (format!("read_{len}"), Work::Read(len)));
    let decode = BATCHES.map(|rows| (format!("decode_{rows}"), Work::Decode(rows)));
    let work: Vec<_> = read.into_iter().chain(decode).filter(|(name, _)| name.contains(wanted)).collect();
    let mut rates = vec![vec![]; work.len()];
    for _ in 0..rounds {
        for ((_, work), rates) in work.iter().zip(&mut rates) {
            rates.push(match *work {
                Work::Read(len) => reading(model, len, device),
                Work::Decode(rows) => decoding(model, rows, device),
            });
        }
    }
    let fields = work.iter().zip(rates).map(|((name, _), rates)| format!("\"{name}\": {:.1}", median(rates)));
    fields.collect::<Vec<_>>().join(", ")
}

/// What is timed: a prompt of so many tokens, or a batch of so many rows.
enum Work {
    Read(usize),
    Decode(usize),
}

/// Tokens a second of one prompt of `len`.
fn reading(model: &Decoder, len: usize, device: &Device) -> f64 {
    let mut cache = KvCache::new(model.shape(), vec![0], len);
    let start = Instant::now();
    step(model, &mut cache, vec![5; len], 1, device);
    len as f64 / start.elapsed().as_secs_f64()
}

/// Tokens a second of `rows` that are decoded together.
fn decoding(model: &Decoder, rows: usize, device: &Device) -> f64 {
    let mut cache = KvCache::new(model.shape(), vec![0; rows], BEFORE + TOKENS);
    step(model, &mut cache, vec![5; rows * BEFORE], rows, device);
    let start = Instant::now();
    (0..TOKENS).for_each(|_| step(model, &mut cache, vec![7; rows], rows, device));
    (rows * TOKENS) as f64 / start.elapsed().as_secs_f64()
}

/// Reads `tokens`, and the scores of what follows the last of each row.
fn step(model: &Decoder, cache: &mut KvCache, tokens: Vec<i64>, rows: usize, device: &Device) {
    let seq = tokens.len() / rows;
    let tokens = Tensor::<2, Int>::from_data(TensorData::new(tokens, [rows, seq]), device);
    let hidden = model.hidden(tokens, Some(cache), Active::Base);
    let logits = model.logits(hidden.slice_dim(1, seq - 1..seq));
    let values: Vec<f32> = logits.try_into_vec_as::<f32>().expect("logits are numbers");
    assert!(values.iter().all(|value| value.is_finite()), "logits are finite");
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
