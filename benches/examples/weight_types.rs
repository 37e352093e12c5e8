//! The product of one token with a weight, as decoding does it, by the type that the weight is kept in: medians over that
//! of f32, taken in turns so that a busy machine disturbs all alike.
//!
//! `cargo run --package t2-benches --example weight_types [rounds]`

#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a measurement takes an argument and prints a line"
)]

use std::time::Instant;

use burn::prelude::*;
use burn::tensor::quantization::{QuantScheme, QuantValue, ScaleDtype};
use burn::tensor::{DType, Distribution};
use t2_benches::devices::{Named, devices};

/// Weights of a decoder of 135 M and of one of 8 G parameters.
const SHAPES: [[usize; 2]; 3] = [[576, 1536], [576, 49_152], [4096, 14_336]];
/// Numbers that share a scale, as in the blocks of GGUF.
const BLOCK: u8 = 32;

fn main() {
    let rounds = std::env::args().nth(1).and_then(|rounds| rounds.parse().ok()).unwrap_or(21);
    for Named { name, device, .. } in devices() {
        for shape in SHAPES {
            let weights = weights(shape, &device);
            let x = Tensor::<2>::random([1, shape[0]], Distribution::Default, &device);
            let mut times = vec![vec![]; weights.len()];
            // The first round warms up.
            for round in 0..=rounds {
                for ((_, dtype, weight), times) in weights.iter().zip(&mut times) {
                    let x = x.clone().cast(*dtype);
                    device.sync().expect("a device that made tensors can be waited for");
                    let start = Instant::now();
                    let y = x.matmul(weight.clone());
                    device.sync().expect("a device that made tensors can be waited for");
                    times.extend((round > 0).then(|| start.elapsed().as_secs_f64()));
                    drop(y);
                }
            }
            let medians: Vec<f64> = times.into_iter().map(median).collect();
            for ((kind, _, _), time) in weights.iter().zip(&medians) {
                println!("{name} {shape:?} {kind}: {:.3} ms, {:.2} of f32", 1e3 * time, time / medians[0]);
            }
        }
    }
}

/// A weight in every type: what it is called, the type of the token beside it, the weight.
fn weights(shape: [usize; 2], device: &Device) -> Vec<(&'static str, DType, Tensor<2>)> {
    let weight = Tensor::<2>::random(shape, Distribution::Normal(0.0, 0.02), device);
    let in_blocks = |value| {
        let scheme = QuantScheme::default().with_value(value).per_block([BLOCK], ScaleDtype::F32);
        weight.clone().quantize_dynamic(&scheme)
    };
    let mut all = vec![("f32", DType::F32, weight.clone())];
    let halves = [("f16", DType::F16), ("bf16", DType::BF16)].into_iter();
    all.extend(
        halves
            .filter(|(_, dtype)| device.supports_dtype(*dtype))
            .map(|(name, dtype)| (name, dtype, weight.clone().cast(dtype))),
    );
    all.extend([("q8", DType::F32, in_blocks(QuantValue::Q8S)), ("q4", DType::F32, in_blocks(QuantValue::Q4S))]);
    all
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
