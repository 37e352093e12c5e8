//! Completes batches of prompts and says what that took, for `benches/peers/engine.py`, which lets others do the same.
//!
//! `cargo run --release --package t2-benches --example decoding -- MODEL [EXPERTS [DEVICE [DTYPE]]]` reads lines like
//! `{"prompts": [[1, 2], [3, 4]], "new_tokens": 64, "under": "each"}` and answers each with one: seconds until every row
//! had its first token, seconds from then on, the new tokens of the first row. Experts, 0 for none, are random, under
//! random factors; `under` is a name of `t2_benches::decoding::Mix`. The device is `cpu`, or one of the build's, and the
//! weights are f32 where nothing else is asked for.

#![expect(clippy::print_stdout, clippy::disallowed_methods, reason = "a measurement takes arguments and prints lines")]

use std::error::Error;
use std::path::Path;

use burn::tensor::DType;
use serde_json::{Value, json};
use t2_benches::decoding::{Bench, Mix};
use t2_benches::devices::devices;
use t2_model::checkpoint::{Files, LoadOptions};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let path = arguments.get(1).ok_or("the first argument is a model: a folder or a file")?;
    let experts = arguments.get(2).map_or(Ok(0), |experts| experts.parse())?;
    let name = arguments.get(3).map_or("cpu", String::as_str);
    let dtype = match arguments.get(4).map(String::as_str) {
        None | Some("f32") => DType::F32,
        Some("f16") => DType::F16,
        Some("bf16") => DType::BF16,
        Some(other) => return Err(format!("{other} is no type of weights; there are f32, f16 and bf16").into()),
    };
    let device =
        devices().into_iter().find(|device| device.name == name).ok_or("this build has no such device")?.device;
    let options = LoadOptions { dtype: Some(dtype), ..LoadOptions::default() };
    let model = Files::open(Path::new(path))?.load(&device, options)?.model;
    let bench = if experts > 0 { Bench::with_experts(model, experts) } else { Bench::new(model) };
    for line in std::io::stdin().lines() {
        println!("{}", answer(&bench, serde_json::from_str(&line?)?)?);
    }
    Ok(())
}

fn answer(bench: &Bench, mut request: Value) -> Result<Value, Box<dyn Error>> {
    let prompts: Vec<Vec<u32>> = serde_json::from_value(request["prompts"].take())?;
    let new_tokens = serde_json::from_value(request["new_tokens"].take())?;
    let name = request["under"].as_str().unwrap_or("base");
    let mix = Mix::named(name).ok_or_else(|| format!("no mix {name:?}; there are {:?}", Mix::ALL.map(Mix::name)))?;
    let times = bench.run(&prompts, new_tokens, mix)?;
    Ok(json!({"first": times.first.as_secs_f64(), "rest": times.rest.as_secs_f64(), "ids": times.ids}))
}
