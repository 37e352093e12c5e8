//! What it costs in half precision that neutral scales are the base bit for bit, and what it saves in error.
//!
//! A layer computes `x W + ((x U) ∘ (z - 1) ∘ s) Vᵀ` where it would do with `((x U) ∘ z ∘ s) Vᵀ`, the way of f32. Both
//! are timed in turns, for a token that is decoded and for the forward and backward pass of a training step; of each the
//! fastest of some rounds counts. Then a whole model decodes.
//!
//! `cargo run --release --package t2-benches --example half_precision`

#![expect(clippy::print_stdout, reason = "a measurement prints a table")]

use std::error::Error;
use std::time::Instant;

use burn::module::{Module, Param, Reparameterizer};
use burn::nn::Linear;
use burn::prelude::*;
use burn::tensor::{DType, Distribution};
use t2_benches::random::{self, SHAPE_135M};
use t2_linalg::{HostSvd, Svd, SvdSolver};
use t2_model::adapter::{Active, Svf, project};
use t2_model::decoder::{CausalLm, KvCache};

/// The matrices of `SmolLM2` 135M, and one of a larger model.
const SHAPES: [[usize; 2]; 5] = [[576, 192], [576, 576], [576, 1536], [1536, 576], [1024, 4096]];
/// Tokens of a training step.
const TOKENS: usize = 128;
const ROUNDS: usize = 7;
/// Scales lie within this of one, as those of trained experts do.
const WIDTH: f64 = 0.1;
const SEED: u64 = 16;

fn main() -> Result<(), Box<dyn Error>> {
    println!("{:>12} {:>5}  {:>24}  {:>24}  {:>20}", "matrix", "type", "decode ms (ratio)", "step ms (ratio)", "error");
    for dims in SHAPES {
        for dtype in [DType::BF16, DType::F16] {
            one(dims, dtype)?;
        }
    }
    for dtype in [DType::F32, DType::BF16, DType::F16] {
        whole(dtype);
    }
    Ok(())
}

/// The two ways of one matrix, side by side: factors alone, then what the model does.
fn one(dims: [usize; 2], dtype: DType) -> Result<(), Box<dyn Error>> {
    let device = Device::flex();
    device.seed(SEED);
    let case = Case::draw(dims, dtype, &device)?;
    let (plain, tracked) = (case.layer(&device), case.layer(&device.clone().autodiff()));
    let x =
        |tokens: usize| Tensor::<3>::random([1, tokens, dims[0]], Distribution::Normal(0.0, 1.0), &device).cast(dtype);
    let (token, batch) = (x(1), x(TOKENS));
    let decode = times([&mut || drop(factors(&token, &plain).into_data()), &mut || {
        project(token.clone(), &plain, &Active::Own).into_data();
    }]);
    let input = moved(batch.clone(), &device.clone().autodiff()).require_grad();
    let step = times([&mut || drop(factors(&input, &tracked).sum().backward()), &mut || {
        project(input.clone(), &tracked, &Active::Own).sum().backward();
    }]);
    let exact = case.exact(batch.clone().cast(DType::F32));
    let norm = |x: Tensor<3>| x.powi_scalar(2).sum().sqrt().into_scalar::<f32>();
    let error = |found: Tensor<3>| norm(found.cast(DType::F32) - exact.clone()) / norm(exact.clone());
    let (before, after) = (error(factors(&batch, &plain)), error(project(batch.clone(), &plain, &Active::Own)));
    let name = format!("{}x{}", dims[0], dims[1]);
    println!("{name:>12} {:>5}  {}  {}  {before:>9.1e} to {after:.1e}", dtype.name(), said(decode), said(step));
    Ok(())
}

/// A weight of some type with its exact factors, and scales near one.
struct Case {
    dtype: DType,
    weight: Tensor<2>,
    u: Tensor<2>,
    s: Tensor<1>,
    vt: Tensor<2>,
    z: Tensor<1>,
}

impl Case {
    fn draw([d_in, d_out]: [usize; 2], dtype: DType, device: &Device) -> Result<Self, Box<dyn Error>> {
        let spread = Distribution::Normal(0.0, (d_in as f64).powf(-0.5));
        let weight = Tensor::<2>::random([d_in, d_out], spread, device).cast(dtype);
        let Svd { u, s, vt } = HostSvd::default().svd(weight.clone().cast(DType::F32).unsqueeze())?;
        let z = Tensor::random([d_in.min(d_out)], Distribution::Uniform(1.0 - WIDTH, 1.0 + WIDTH), device);
        Ok(Self { dtype, weight, u: u.squeeze_dim(0), s: s.squeeze_dim(0), vt: vt.squeeze_dim(0), z })
    }

    /// The layer as a model of this type holds it.
    fn layer(&self, device: &Device) -> Linear {
        let frozen = |factor: &Tensor<2>| {
            Param::from_tensor(moved(factor.clone().cast(self.dtype), device)).set_require_grad(false)
        };
        let z = if device.is_autodiff() { moved(self.z.clone(), device).require_grad() } else { self.z.clone() };
        let s = Param::from_tensor(moved(self.s.clone(), device)).set_require_grad(false);
        let svf = Svf { z: Param::from_tensor(z), u: frozen(&self.u), s, vt: frozen(&self.vt) };
        Linear { weight: frozen(&self.weight), bias: None }.apply_reparameterization(Hang(svf))
    }

    /// The product in f32, with the weight as it is rounded and factors that are not.
    fn exact(&self, x: Tensor<3>) -> Tensor<3> {
        let change: Tensor<3> = ((self.z.clone() - 1.0) * self.s.clone()).unsqueeze();
        let weight = self.weight.clone().cast(DType::F32).unsqueeze();
        x.clone().matmul(weight) + (x.matmul(self.u.clone().unsqueeze()) * change).matmul(self.vt.clone().unsqueeze())
    }
}

fn moved<const D: usize>(tensor: Tensor<D>, device: &Device) -> Tensor<D> {
    let dtype = tensor.dtype();
    Tensor::from_data(tensor.into_data(), (device, dtype))
}

/// Hangs these factors beside the weight.
struct Hang(Svf);

impl Reparameterizer for Hang {
    type Reparam = Svf;

    fn reparameterize<const D: usize>(&mut self, _: &str, param: Param<Tensor<D>>) -> (Param<Tensor<D>>, Option<Svf>) {
        (param, Some(self.0.clone()))
    }
}

fn said([before, after]: [f64; 2]) -> String {
    format!("{before:>7.2} to {after:>7.2} ({:.2})", after / before)
}

/// `((x U) ∘ σ) Vᵀ`.
fn factors(x: &Tensor<3>, layer: &Linear) -> Tensor<3> {
    let svf = layer.weight.reparameterization::<Svf>().expect("the layer was given factors");
    let [batch, seq, d_in] = x.dims();
    let xu = x.clone().reshape([batch * seq, d_in]).matmul(svf.u.val());
    let sigma: Tensor<2> = svf.sigma().unsqueeze();
    let y = (xu * sigma.cast(x.dtype())).matmul(svf.vt.val());
    let [_, d_out] = y.dims();
    y.reshape([batch, seq, d_out])
}

/// The fastest of some rounds of each, in ms, taken in turns.
fn times(mut ways: [&mut dyn FnMut(); 2]) -> [f64; 2] {
    let mut best = [f64::INFINITY; 2];
    for _ in 0..ROUNDS {
        for (way, best) in ways.iter_mut().zip(&mut best) {
            let start = Instant::now();
            way();
            *best = best.min(start.elapsed().as_secs_f64() * 1e3);
        }
    }
    best
}

/// Time for a token of the whole 135M model, as the base and under its own scales.
fn whole(dtype: DType) {
    let device = Device::flex();
    device.seed(SEED);
    let model = random::adapted_as(&SHAPE_135M, dtype, &device);
    let token = Tensor::<2, Int>::from_data([[7_i64]], &device);
    let decode = |active: Active<'_>| {
        let mut cache = KvCache::new(model.shape(), vec![0], 1);
        drop(model.forward(token.clone(), Some(&mut cache), active).into_data());
    };
    decode(Active::Base);
    let [base, own] = times([&mut || decode(Active::Base), &mut || decode(Active::Own)]);
    println!(
        "135M, {}: {base:.0} ms a token as the base, {own:.0} ms under its own scales ({:.2})",
        dtype.name(),
        own / base
    );
}
