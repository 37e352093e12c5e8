//! Completions of a step of learning, 16 prompts with 8 each: the engine, and one batch that is padded on the left and
//! shrinks as its rows end, as T² made them before.
//!
//! `cargo run --release --package t2-benches --example rollouts -- MODEL [rounds] [most new tokens]` prints a JSON line:
//! tokens a second of both, medians over the rounds, in which they take turns.

#![expect(clippy::print_stdout, clippy::disallowed_methods, reason = "a measurement takes arguments and prints a line")]

use std::path::Path;
use std::time::Instant;

use burn::prelude::*;
use t2_model::checkpoint::{Files, LoadOptions};
use t2_model::decoder::KvCache;
use t2_model::generate::{GenerateConfig, Prompts, Sampling, generate};
use t2_model::{Active, CausalLm, Decoder, Message, Tokenizer};

const PROMPTS: usize = 16;
const GROUP: usize = 8;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let path = Path::new(arguments.get(1).expect("the first argument is a model: a folder or a file"));
    let number = |at: usize, default| arguments.get(at).and_then(|text| text.parse().ok()).unwrap_or(default);
    let files = Files::open(path).expect("a model that can be read");
    let tokenizer = Tokenizer::load(path).expect("a tokenizer that can be read").expect("a model with a tokenizer");
    let checkpoint = files.load(&Device::flex(), LoadOptions::default()).expect("a model that can be loaded");
    let prompts = prompts(&tokenizer);
    let config = GenerateConfig {
        max_new_tokens: number(3, 64),
        sampling: Sampling::PLAIN,
        stop: checkpoint.generation.eos.iter().copied().chain(tokenizer.end_tokens()).collect(),
        ..GenerateConfig::default()
    };
    let (mut engine, mut padded) = (vec![], vec![]);
    for _ in 0..number(2, 3) {
        engine.push(rate(|| {
            let done = generate(&checkpoint.model, Prompts::new(&prompts), &config).expect("prompts that fit");
            done.iter().map(|completion| completion.ids.len()).sum()
        }));
        padded.push(rate(|| in_one_batch(&checkpoint.model, &prompts, &config)));
    }
    let lengths: Vec<usize> = prompts.iter().map(Vec::len).collect();
    println!(
        "{{\"prompt_tokens\": [{}, {}], \"engine\": {:.1}, \"one_batch\": {:.1}}}",
        lengths.iter().min().unwrap_or(&0),
        lengths.iter().max().unwrap_or(&0),
        median(engine),
        median(padded)
    );
}

/// Questions of different lengths, each as often as it gets a completion.
fn prompts(tokenizer: &Tokenizer) -> Vec<Vec<u32>> {
    let question = |n: usize| {
        let facts = (0..n % 5).map(|i| format!("Box {i} holds {} marbles. ", 3 + i * n)).collect::<String>();
        format!(
            "{facts}A shop sells {n} apples a day for {} cents each. How much is that in {} weeks?",
            10 + n,
            n % 3 + 1
        )
    };
    let encode = |n| tokenizer.encode_chat(&[Message::user(question(n))]).expect("a chat template that renders");
    (1..=PROMPTS).flat_map(|n| vec![encode(n); GROUP]).collect()
}

/// Tokens a second of `work`, which says how many it made.
fn rate(work: impl FnOnce() -> usize) -> f64 {
    let start = Instant::now();
    let tokens = work();
    tokens as f64 / start.elapsed().as_secs_f64()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Complete `prompts` in one batch, padded on the left; how many tokens they got.
fn in_one_batch(model: &Decoder, prompts: &[Vec<u32>], config: &GenerateConfig) -> usize {
    let device = Device::flex();
    let longest = prompts.iter().map(Vec::len).max().unwrap_or(0);
    let pad: Vec<usize> = prompts.iter().map(|prompt| longest - prompt.len()).collect();
    let padded = prompts.iter().zip(&pad).map(|(prompt, &pad)| [vec![0; pad], prompt.clone()].concat());
    let mut next: Vec<Vec<u32>> = padded.collect();
    let mut cache = KvCache::new(model.shape(), pad, longest + config.max_new_tokens);
    let (mut live, mut made): (Vec<usize>, usize) = ((0..prompts.len()).collect(), 0);
    for position in 0..config.max_new_tokens {
        let seq = next[0].len();
        let ids: Vec<i64> = next.iter().flatten().map(|&id| i64::from(id)).collect();
        let tokens = Tensor::<2, Int>::from_data(TensorData::new(ids, [next.len(), seq]), &device);
        let hidden = model.hidden(tokens, Some(&mut cache), Active::Base).slice_dim(1, seq - 1..seq);
        let logits: Vec<f32> = model.logits(hidden).into_data().iter::<f32>().collect();
        let vocab = logits.len() / live.len();
        let drawn: Vec<u32> = live
            .iter()
            .zip(logits.chunks(vocab))
            .map(|(&row, logits)| config.sampling.draw_at(&[], row as u64, position).token(logits).expect("numbers").id)
            .collect();
        made += drawn.len();
        let keep: Vec<usize> = (0..live.len()).filter(|&at| !config.stop.contains(&drawn[at])).collect();
        if keep.is_empty() {
            break;
        }
        if keep.len() < live.len() {
            cache.select(&keep, &device);
        }
        live = keep.iter().map(|&at| live[at]).collect();
        next = keep.iter().map(|&at| vec![drawn[at]]).collect();
    }
    made
}
