//! Half precision: neutral scales are the base bit for bit, and what an expert changes is as exact as the type allows.

use burn::module::{Module, ModuleMapper, Param};
use burn::nn::Linear;
use burn::prelude::*;
use burn::tensor::{DType, Distribution};
use t2_model::adapter::{Active, Bank, Expert, ExpertInfo, Mixture, Svf, project};
use t2_model::architecture::Llama;
use t2_model::checkpoint::{self, GenerationDefaults};
use t2_model::decoder::{CausalLm, Decoder};

use crate::tiny;

const HALVES: [DType; 2] = [DType::BF16, DType::F16];

/// Relative distance of one to the next number of the type.
fn spacing(dtype: DType) -> f64 {
    if dtype == DType::BF16 { 2_f64.powi(-7) } else { 2_f64.powi(-10) }
}

/// Error of a product, in spacings. Rounding a number to the nearest costs 0.29 spacings of a power of two (root mean
/// square), and three count: the product with the weight, the change, their sum. The change is a third of the product
/// here, and the rounding of its factors adds as much again.
const SAME_PRODUCT: f64 = 0.6;
/// Error of a gradient, in spacings: `x U`, `g V` and both factors are rounded.
const SAME_GRADIENT: f64 = 2.0;
/// Error of the product under scales near one, compared with that of the factors alone, whose rounding counts in full.
const BETTER_THAN_FACTORS: f64 = 0.75;

/// A decoder whose weights are numbers of `dtype`, held as `dtype` and as f32.
fn pair(dtype: DType) -> (Decoder, Decoder) {
    struct Round(DType);
    impl ModuleMapper for Round {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            param.map(|value| value.cast(self.0).cast(DType::F32))
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let rounded = tiny::decoder(1).map(&mut Round(dtype));
    checkpoint::save(&rounded, &Llama, &GenerationDefaults::default(), folder.path()).unwrap();
    let load = |dtype| checkpoint::load(folder.path(), Some(dtype), &Device::flex()).unwrap().model;
    (load(dtype), load(DType::F32))
}

/// A neutral expert.
fn neutral(model: &Decoder) -> Expert {
    Expert::from_model(model, ExpertInfo::for_model("neutral", model)).unwrap()
}

/// Scales between `1 - width` and `1 + width`.
fn near_one(model: &Decoder, width: f32) -> Expert {
    let wide = tiny::expert(model, 7);
    let z = wide.iter().map(|(path, z)| (path.to_owned(), z.iter().map(|z| 1.0 + (z - 1.0) / 0.6 * width).collect()));
    Expert::new(z.collect(), wide.info.clone()).unwrap()
}

#[track_caller]
fn check_neutral(dtype: DType) {
    let model = tiny::adapted(&pair(dtype).0);
    let prompt = tiny::ids(9, 40, 1);
    let batch = tiny::tokens(&[prompt.clone(), prompt]);
    let logits = |active: Active<'_>| tiny::values(model.forward(batch.clone(), None, active));
    let base = logits(Active::Base);
    assert_eq!(logits(Active::Own), base, "{dtype:?}: own scales of one");
    let bank = Bank::new(&model, &[&neutral(&model)]).unwrap();
    let mixture = |alpha: f32| Mixture::global(vec![alpha]);
    for mixtures in [[mixture(1.0), mixture(0.5)], [mixture(1.0), mixture(0.0)]] {
        let rows = bank.rows(&mixtures).unwrap();
        assert_eq!(logits(Active::Rows(&rows)), base, "{dtype:?}: rows of one");
    }
    let dense = model.clone().materialize();
    for (dense, adapted) in tiny::matrices(&dense).zip(tiny::matrices(&model)) {
        assert_eq!(dense.weight.val().into_data(), adapted.weight.base().into_data(), "{dtype:?}: the dense weight");
    }
}

#[test]
fn scales_of_one_are_the_base_bit_for_bit() {
    HALVES.into_iter().for_each(check_neutral);
}

/// Values that `dtype` holds exactly, `[2, 25, width]`.
fn signal(width: usize, dtype: DType) -> Tensor<3> {
    let device = Device::flex();
    device.seed(3);
    Tensor::<3>::random([2, 25, width], Distribution::Normal(0.0, 1.0), &device).cast(dtype)
}

/// The layer's product through the factors alone, as it is in f32.
fn through_factors(x: &Tensor<3>, layer: &Linear) -> Tensor<3> {
    let svf = layer.weight.reparameterization::<Svf>().unwrap();
    let sigma = svf.sigma().cast(x.dtype());
    (x.clone().matmul(svf.u.val().unsqueeze()) * sigma.unsqueeze()).matmul(svf.vt.val().unsqueeze())
}

/// Relative errors of every adapted layer's product, and of that through the factors alone, under scales within `width`
/// of one.
fn errors(dtype: DType, width: f32) -> Vec<[f64; 2]> {
    let (half, full) = pair(dtype);
    let [half, full] = [half, full].map(|model| tiny::adapted(&model));
    let expert = near_one(&full, width);
    let [half, full] = [half, full].map(|model| expert.apply_to(model).unwrap());
    let layers = tiny::matrices(&half).zip(tiny::matrices(&full));
    let error = |(half, full): (&Linear, &Linear)| {
        let [d_in, _] = half.weight.dims();
        let x = signal(d_in, dtype);
        // The bias is an addition like any other; without it the errors are those of the product.
        let no_bias = |layer: &Linear| Linear { weight: layer.weight.clone(), bias: None };
        let (half, full) = (no_bias(half), no_bias(full));
        let expected = tiny::values(project(x.clone().cast(DType::F32), &full, &Active::Own));
        [project(x.clone(), &half, &Active::Own), through_factors(&x, &half)]
            .map(|found| tiny::relative_error(&tiny::values(found), &expected))
    };
    layers.map(error).collect()
}

#[track_caller]
fn check_error(dtype: DType) {
    let largest = |errors: &[[f64; 2]], way: usize| errors.iter().map(|error| error[way]).fold(0.0, f64::max);
    let wide = errors(dtype, 0.6);
    let (delta, factors) = (largest(&wide, 0) / spacing(dtype), largest(&wide, 1) / spacing(dtype));
    println!("{dtype:?}, z within 0.6 of one: {delta:.2} spacings, {factors:.2} through the factors");
    assert!(delta < SAME_PRODUCT, "{dtype:?}: {delta} spacings");
    let near = errors(dtype, 0.05);
    let (delta, factors) = (largest(&near, 0) / spacing(dtype), largest(&near, 1) / spacing(dtype));
    println!("{dtype:?}, z within 0.05 of one: {delta:.2} spacings, {factors:.2} through the factors");
    assert!(delta < BETTER_THAN_FACTORS * factors, "{dtype:?}: {delta} and {factors} spacings");
}

#[test]
fn a_product_is_as_exact_as_its_type() {
    HALVES.into_iter().for_each(check_error);
}

#[track_caller]
fn check_gradient(dtype: DType) {
    let (half, full) = pair(dtype);
    let (half, full) = (tiny::trainable(&half), tiny::adapted(&full));
    let expert = tiny::expert(&full, 7);
    let device = Device::flex().autodiff();
    let half = expert.apply_to(half).unwrap();
    let full = expert.apply_to(full).unwrap();
    for (half, full) in tiny::matrices(&half).zip(tiny::matrices(&full)) {
        let [d_in, d_out] = half.weight.dims();
        let (x, g) = (signal(d_in, dtype), signal(d_out, dtype));
        let svf = half.weight.reparameterization::<Svf>().unwrap();
        let y = project(x.clone().to_device(&device), half, &Active::Own);
        let gradients = (y * g.clone().to_device(&device)).cast(DType::F32).sum().backward();
        let found = tiny::values(svf.z.val().grad(&gradients).unwrap());
        // The product is linear in z: a difference of any step is the derivative, up to the rounding of f32.
        let value = |step: Option<usize>| {
            let Svf { z, u, s, vt } = full.weight.reparameterization::<Svf>().unwrap().clone();
            let mut scales = tiny::values(z.val());
            step.into_iter().for_each(|i| scales[i] += 1.0);
            let z = Param::from_tensor(Tensor::from_floats(scales.as_slice(), &Device::flex()));
            let moved = Svf { z, u, s, vt };
            let x = x.clone().cast(DType::F32);
            let y =
                (x.matmul(moved.u.val().unsqueeze()) * moved.sigma().unsqueeze()).matmul(moved.vt.val().unsqueeze());
            tiny::values(y * g.clone().cast(DType::F32)).into_iter().map(f64::from).sum::<f64>()
        };
        let expected: Vec<f32> = (0..found.len()).map(|i| (value(Some(i)) - value(None)) as f32).collect();
        let error = tiny::relative_error(&found, &expected) / spacing(dtype);
        println!("{dtype:?}, {d_in} x {d_out}: gradient of z within {error:.2} spacings");
        assert!(error < SAME_GRADIENT, "{dtype:?}: {error} spacings");
    }
}

#[test]
fn the_gradient_is_that_of_finite_differences() {
    HALVES.into_iter().for_each(check_gradient);
}
