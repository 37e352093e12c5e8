//! Peak memory of one training step at the 135M shape, the factored way and the dense way.
//!
//! Factored, a layer computes `((x U) ∘ (z ∘ s)) Vᵀ`, and backward needs nothing of the weight's shape. Dense, the graph
//! holds `W' = U diag(z ∘ s) Vᵀ` of every layer and backward makes `dL/dW'`. Each way runs in a process of its own.
//!
//! `cargo run --package t2-benches --example training_memory` (Linux: it reads /proc).

#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a measurement takes an argument and prints a line"
)]

use std::error::Error;
use std::process::Command;
use std::time::Instant;

use burn::module::{Module, Param, ParamId};
use burn::optim::{AdamConfig, GradientsParams};
use burn::prelude::*;
use t2_benches::random::{self, SHAPE_135M};
use t2_model::adapter::{Active, Svf};
use t2_model::decoder::Decoder;
use t2_model::generate::score::Sequences;
use t2_rl::policy::{LossInputs, PolicyGradient, Reinforce};

const ROWS: usize = 2;
const SEQ: usize = 64;
const PROMPT_LEN: usize = 16;
const SEED: u64 = 135;

fn main() -> Result<(), Box<dyn Error>> {
    match std::env::args().nth(1) {
        None => compare(),
        Some(way) => step(&way),
    }
}

/// Runs both ways and prints their ratio.
fn compare() -> Result<(), Box<dyn Error>> {
    let mut peaks = vec![];
    for way in ["factored", "dense"] {
        let output = Command::new(std::env::current_exe()?).arg(way).output()?;
        let said = String::from_utf8(output.stdout)?;
        if !output.status.success() {
            return Err(format!("{way}: {}", String::from_utf8_lossy(&output.stderr)).into());
        }
        print!("{said}");
        let figures: Vec<f64> = said.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        peaks.push((figures[0], figures[1]));
    }
    let [(factored, factored_step), (dense, dense_step)] = peaks[..] else { return Err("two ways, two peaks".into()) };
    println!(
        "dense over factored: {:.2} of the peak, {:.2} of the step alone",
        dense / factored,
        dense_step / factored_step
    );
    Ok(())
}

/// One step of REINFORCE; prints its peak in MiB.
fn step(way: &str) -> Result<(), Box<dyn Error>> {
    let device = Device::flex().autodiff();
    device.seed(SEED);
    let model = random::adapted(&SHAPE_135M, &device);
    // Parameters are made when they are first looked at: look at all of them before the step.
    let loaded = model.clone().no_grad().num_params();
    touch(&model);
    // Writing 5 here resets the peak to what is in use now.
    std::fs::write("/proc/self/clear_refs", "5")?;
    let before = status_mib("VmRSS")?;
    let start = Instant::now();
    let rows = random::prompts(ROWS, SEQ + 1, SHAPE_135M.vocab);
    let rows: Vec<(&[u32], &[u32])> = rows.iter().map(|row| row.split_at(PROMPT_LEN)).collect();
    let sequences = Sequences::new(&rows, &device)?;
    let log_softmax = match way {
        "factored" => sequences.log_softmax(&model, Active::Own)?,
        "dense" => sequences.log_softmax(&dense(&model), Active::Base)?,
        other => return Err(format!("`{other}` is neither factored nor dense").into()),
    };
    let loss = Reinforce::default().loss(LossInputs {
        logprobs: sequences.chosen(log_softmax),
        sampled: None,
        kl: None,
        entropy: None,
        advantages: Tensor::from_floats([1.0, -1.0], &device),
        mask: sequences.mask.clone(),
        completions: ROWS,
    });
    let gradients = GradientsParams::from_grads(loss.backward(), &model);
    let norm = norm(&model, &gradients);
    let model = AdamConfig::new().init().step(1e-2, model, gradients);
    let seconds = start.elapsed().as_secs_f32();
    let (peak, params) = (status_mib("VmHWM")?, model.num_params());
    assert_eq!(loaded, params);
    println!(
        "{way}: peak {peak:.0} MiB, of which {:.0} MiB are the step's, after {before:.0} MiB for the model; \
         gradient norm {norm:.4}, {seconds:.1} s",
        peak - before
    );
    Ok(())
}

/// `model` with every adapted weight built in the graph from its scales.
fn dense(model: &Decoder) -> Decoder {
    let mut model = model.clone();
    for block in &mut model.blocks {
        let (attn, mlp) = (&mut block.attn, &mut block.mlp);
        for layer in [&mut attn.q, &mut attn.k, &mut attn.v, &mut attn.o, &mut mlp.gate, &mut mlp.up, &mut mlp.down] {
            layer.weight = Param::initialized(ParamId::new(), layer.weight.val());
        }
    }
    model
}

fn layers(model: &Decoder) -> impl Iterator<Item = &Param<Tensor<2>>> {
    model.blocks.iter().flat_map(|block| {
        let (attn, mlp) = (&block.attn, &block.mlp);
        [&attn.q, &attn.k, &attn.v, &attn.o, &mlp.gate, &mlp.up, &mlp.down].map(|layer| &layer.weight)
    })
}

/// Reads one number of every weight and factor, and the scales.
fn touch(model: &Decoder) {
    for weight in layers(model) {
        let first = |tensor: Tensor<2>| tensor.slice([0..1, 0..1]).into_data();
        first(weight.base());
        if let Some(svf) = weight.reparameterization::<Svf>() {
            svf.z.val().into_data();
            first(svf.u.val());
            first(svf.vt.val());
        }
    }
    model.embed.weight.val().slice([0..1, 0..1]).into_data();
}

/// Norm of the gradient of every scale, to show that both ways compute the same.
fn norm(model: &Decoder, gradients: &GradientsParams) -> f64 {
    let square = |svf: &Svf| {
        let gradient = gradients.get::<1>(svf.z.id).expect("every scale has a gradient");
        gradient.into_data().iter::<f64>().map(|g| g * g).sum::<f64>()
    };
    layers(model).filter_map(|weight| weight.reparameterization::<Svf>()).map(square).sum::<f64>().sqrt()
}

/// A line of /proc/self/status that is given in kB, in MiB.
fn status_mib(field: &str) -> Result<f64, Box<dyn Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with(field)).ok_or("no such field")?;
    let kb: f64 = line.split_whitespace().nth(1).ok_or("no value")?.parse()?;
    Ok(kb / 1024.0)
}
