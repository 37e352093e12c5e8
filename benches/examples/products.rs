//! One product after the other on a device, to find one that fails: each is compared with the CPU.
//!
//! `cargo run --release --package t2-benches --features cuda --example products -- cuda bf16 128x576x1536 …` prints a line for
//! each `MxKxN`, with what Burn's kernels take the first time, choosing included, and then.

#![expect(clippy::print_stdout, clippy::disallowed_methods, reason = "a measurement takes arguments and prints lines")]

use std::error::Error;
use std::time::Instant;

use burn::prelude::*;
use burn::tensor::{DType, Distribution};
use t2_benches::devices::devices;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [device, dtype, shapes @ ..] = arguments.as_slice() else {
        return Err("expected DEVICE DTYPE MxKxN…".into());
    };
    let device =
        devices().into_iter().find(|named| named.name == device).ok_or("this build has no such device")?.device;
    let dtype = match dtype.as_str() {
        "f32" => DType::F32,
        "f16" => DType::F16,
        "bf16" => DType::BF16,
        other => return Err(format!("{other} is no type of numbers; there are f32, f16 and bf16").into()),
    };
    for shape in shapes {
        let sizes: Vec<usize> = shape.split('x').map(|size| size.parse().expect("a size")).collect();
        let [m, k, n] = sizes.try_into().expect("three sizes");
        let [x, w] = [[m, k], [k, n]]
            .map(|shape| Tensor::<2>::random(shape, Distribution::Normal(0.0, 1.0), &Device::flex()).cast(dtype));
        let exact = x.clone().cast(DType::F32).matmul(w.clone().cast(DType::F32));
        let [x, w] = [x, w].map(|tensor| tensor.to_device(&device));
        let product = || {
            let start = Instant::now();
            let data = x.clone().matmul(w.clone()).cast(DType::F32).into_data();
            (Tensor::<2>::from_data(data, &Device::flex()), start.elapsed().as_secs_f64())
        };
        let ((_, first), (found, then)) = (product(), product());
        let size = exact.clone().abs().max().into_scalar::<f32>();
        let error = (found - exact).abs().max().into_scalar::<f32>() / size;
        println!("{shape}: relative error {error:.1e}, first {first:.3} s, then {then:.6} s");
    }
    Ok(())
}
