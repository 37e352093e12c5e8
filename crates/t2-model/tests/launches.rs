//! How many kernels a GPU is sent for one token. Launching is most of what a token costs there, so that the number is
//! watched. Launches are counted for the whole program, which is why these tests have one of their own.
#![cfg(any(feature = "wgpu", feature = "cuda"))]
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use burn::prelude::*;
use burn::tensor::DeviceType;
use t2_linalg::launched;
use t2_model::decoder::{AttentionConfig, Decoder, DecoderConfig, MlpConfig};
use t2_model::generate::{Engine, EngineConfig, Request, Sampling, Under};

/// The most kernels that a block may launch for a token.
const IN_A_BLOCK: isize = 12;
/// The most that embedding, last norm, head and engine may launch.
const AROUND_BLOCKS: isize = 8;

/// Tokens before the one whose launches are counted: what has to be tried out is tried out by then.
const WARM_UP: usize = 14;

/// A decoder of the shape of Llama.
fn llama(layers: usize) -> DecoderConfig {
    let tiny = DecoderConfig::tiny();
    DecoderConfig {
        layers,
        vocab: 200,
        d_model: 48,
        attention: AttentionConfig::new(4, 2, 16),
        mlp: MlpConfig::new(112),
        max_seq_len: 256,
        ..tiny
    }
}

/// An engine that completes prompts of five tokens, one for each of `lens` new tokens.
fn engine<'m>(model: &'m Decoder, lens: &[usize]) -> Engine<'m, Decoder> {
    let mut engine = Engine::new(model, EngineConfig::default());
    for (row, &max_new_tokens) in lens.iter().enumerate() {
        let request = Request {
            ids: (0..5).map(|i| 7 * row as u32 + i).collect(),
            under: Under::Base,
            seed: 1,
            sampling: Sampling::GREEDY,
            stop: vec![],
            max_new_tokens,
        };
        engine.submit(request).unwrap();
    }
    engine
}

/// What the engine launches for a late token of the one request that runs.
fn launches_of_a_token(layers: usize, device: &Device) -> Vec<&'static str> {
    let model = llama(layers).init(device);
    let mut engine = engine(&model, &[2 * WARM_UP]);
    for _ in 0..WARM_UP {
        engine.step().unwrap();
    }
    let (events, launches) = launched(|| engine.step().unwrap());
    assert_eq!(events.len(), 1);
    launches
}

/// Launches are counted for the whole program, so that one test runs at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn devices() -> Vec<Device> {
    let kinds = [
        #[cfg(feature = "wgpu")]
        DeviceType::Wgpu,
        #[cfg(feature = "cuda")]
        DeviceType::Cuda,
    ];
    kinds
        .into_iter()
        .map(|kind| Device::enumerate(kind).into_iter().next().expect("a GPU, or one of software"))
        .collect()
}

/// How many launches there are in a block and around all blocks, for those with two and with four.
fn split([two, four]: [usize; 2]) -> [isize; 2] {
    let [two, four] = [two, four].map(|count| isize::try_from(count).unwrap());
    [(four - two) / 2, 2 * two - four]
}

#[test]
fn a_token_takes_few_launches() {
    let _alone = alone();
    for device in devices() {
        let both = [2, 4].map(|layers| launches_of_a_token(layers, &device));
        let mut counts = BTreeMap::<&str, [usize; 2]>::new();
        for (of, launches) in both.iter().enumerate() {
            launches.iter().for_each(|name| counts.entry(name).or_default()[of] += 1);
        }
        for (name, both) in counts {
            let [in_a_block, around] = split(both);
            let name = name.split('<').next().and_then(|path| path.rsplit("::").next());
            println!("{in_a_block:3} in a block {around:3} around  {}", name.unwrap_or_default());
        }
        let [in_a_block, around] = split(both.each_ref().map(Vec::len));
        println!("{device:?}: {in_a_block} launches in a block, {around} around all blocks");
        assert!(in_a_block <= IN_A_BLOCK && around <= AROUND_BLOCKS, "{in_a_block} in a block, {around} around");
    }
}

/// What is tried out is launched too. Rows that leave and columns that come make no shape that was not tried out.
#[test]
fn nothing_is_tried_out_in_the_middle_of_a_run() {
    let _alone = alone();
    for device in devices() {
        let model = llama(2).init(&device);
        for lens in [&[100][..], &[100, 100, 80, 100, 100, 60, 100, 100, 70, 100, 100, 100]] {
            let mut engine = engine(&model, lens);
            let mut counts = vec![];
            while !engine.is_idle() {
                counts.push(launched(|| engine.step().unwrap()).1.len());
            }
            println!("{device:?}, {} rows: {counts:?}", lens.len());
            let late = &counts[WARM_UP..];
            assert!(late.iter().all(|count| *count == late[0]), "{} rows: {counts:?}", lens.len());
        }
    }
}
