//! How many kernels a GPU is sent for one token. Launching is most of what a token costs there, so that the number is
//! watched. It is the one test of its program: launches are counted for the whole of it.
#![cfg(any(feature = "wgpu", feature = "cuda"))]

use std::collections::BTreeMap;

use burn::prelude::*;
use burn::tensor::DeviceType;
use t2_linalg::launched;
use t2_model::decoder::{AttentionConfig, DecoderConfig, MlpConfig};
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

/// What the engine launches for a late token of the one request that runs.
fn launches_of_a_token(layers: usize, device: &Device) -> Vec<&'static str> {
    let model = llama(layers).init(device);
    let mut engine = Engine::new(&model, EngineConfig::default());
    let request = Request {
        ids: vec![3, 4, 5, 6, 7],
        under: Under::Base,
        seed: 1,
        sampling: Sampling::GREEDY,
        stop: vec![],
        max_new_tokens: 2 * WARM_UP,
    };
    engine.submit(request).unwrap();
    for _ in 0..WARM_UP {
        engine.step().unwrap();
    }
    let (events, launches) = launched(|| engine.step().unwrap());
    assert_eq!(events.len(), 1);
    launches
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
