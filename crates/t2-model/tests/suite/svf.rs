//! SVF: the factored path is the adapted weight, its gradient is the right one, and the base stays at hand.

use burn::module::{Module, ModuleVisitor, Param};
use burn::prelude::*;
use t2_model::adapter::{Active, Expert, ExpertInfo, Svf};
use t2_model::decoder::{CausalLm, Decoder, DecoderConfig};
use t2_model::generate::score::Sequences;

use crate::tiny;

/// Two f32 forward passes that multiply in another order, through two blocks: some tens of roundings.
const SAME_LOGITS: f64 = 1e-5;
/// What the project promises of the gradient of `z`.
const SAME_GRADIENT: f64 = 1e-3;
/// Step of the finite differences: their error falls with its fourth power, the rounding of f32 logits grows with its
/// inverse, and here both stay below 1e-4 of the gradient.
const STEP: f32 = 0.02;

fn logits(model: &Decoder, active: Active<'_>) -> Vec<f32> {
    let rows = [tiny::ids(9, 40, 1), tiny::ids(9, 40, 2)];
    tiny::values(model.forward(tiny::tokens(&rows), None, active))
}

fn scales_of(model: &Decoder) -> Expert {
    Expert::from_model(model, ExpertInfo::for_model("scales", model)).unwrap()
}

#[test]
fn scales_of_one_give_the_base_model() {
    let base = tiny::decoder(1);
    let error = tiny::relative_error(&logits(&tiny::adapted(&base), Active::Own), &logits(&base, Active::Base));
    assert!(error > 0.0 && error < SAME_LOGITS, "{error:e}");
}

#[test]
fn without_an_expert_an_adapted_model_is_the_base_model_bit_for_bit() {
    let base = tiny::decoder(1);
    let adapted = tiny::adapted(&base);
    let adapted = tiny::expert(&adapted, 5).apply_to(adapted).unwrap();
    assert_eq!(logits(&adapted, Active::Base), logits(&base, Active::Base));
    assert_ne!(logits(&adapted, Active::Own), logits(&base, Active::Base));
}

#[test]
fn the_factored_path_is_the_adapted_weight() {
    let adapted = tiny::adapted(&tiny::decoder(1));
    let adapted = tiny::expert(&adapted, 5).apply_to(adapted).unwrap();
    let dense = adapted.clone().materialize();
    assert!(tiny::matrices(&dense).all(|layer| layer.weight.reparameterization::<Svf>().is_none()));
    let error = tiny::relative_error(&logits(&adapted, Active::Own), &logits(&dense, Active::Base));
    assert!(error < SAME_LOGITS, "{error:e}");
}

#[test]
fn nothing_but_the_scales_is_trained() {
    #[derive(Default)]
    struct Trainable(Vec<usize>);
    impl ModuleVisitor for Trainable {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if param.base().is_require_grad() {
                self.0.push(param.lazy_shape().num_elements());
            }
        }
    }
    let model = tiny::trainable(&tiny::decoder(1));
    let mut trainable = Trainable::default();
    model.visit(&mut trainable);
    assert_eq!(trainable.0.len(), tiny::matrices(&model).count());
    assert_eq!(trainable.0.iter().sum::<usize>(), scales_of(&model).num_params());
    // A gradient reaches the scales through the whole model, and stays away from the base in it.
    let gradients = loss(&model, Active::Own, &Device::flex().autodiff()).backward();
    for layer in tiny::matrices(&model) {
        let svf = layer.weight.reparameterization::<Svf>().unwrap();
        assert!(svf.z.val().grad(&gradients).is_some());
        assert!(layer.weight.base().grad(&gradients).is_none());
        assert!(svf.u.val().grad(&gradients).is_none() && svf.vt.val().grad(&gradients).is_none());
    }
}

/// A policy gradient in small: log-probabilities of completions, each row with its own weight.
fn weighted_logprobs(model: &Decoder, active: Active<'_>, device: &Device) -> Tensor<2> {
    let [a, b, c] = [1, 2, 3].map(|seed| tiny::ids(8, 40, seed));
    let rows = [(&a[..3], &a[3..]), (&b[..2], &b[2..6]), (&c[..5], &c[5..])];
    let sequences = Sequences::new(&rows, device).unwrap();
    let weights = Tensor::<2>::from_floats([[1.0], [-0.7], [0.4]], device);
    sequences.chosen(sequences.log_softmax(model, active).unwrap()) * sequences.mask.clone() * weights
}

fn loss(model: &Decoder, active: Active<'_>, device: &Device) -> Tensor<1> {
    weighted_logprobs(model, active, device).sum()
}

/// A model of this shape away from `z = 1`, and the gradient of every scale, matrix by matrix.
fn model_and_gradient(config: &DecoderConfig) -> (Decoder, Vec<Vec<f32>>) {
    let model = tiny::trainable(&tiny::shaped(config, 1));
    let model = tiny::expert(&model, 5).apply_to(model).unwrap();
    let gradients = loss(&model, Active::Own, &Device::flex().autodiff()).backward();
    let gradient = |svf: &Svf| tiny::values(svf.z.val().grad(&gradients).unwrap());
    let found = tiny::matrices(&model).map(|layer| gradient(layer.weight.reparameterization().unwrap())).collect();
    (model, found)
}

#[test]
fn the_gradient_is_that_of_finite_differences() {
    check_slopes(&tiny::config());
    check_slopes(&tiny::switched());
}

#[track_caller]
fn check_slopes(config: &DecoderConfig) {
    let (model, found) = model_and_gradient(config);
    let model = model.valid();
    let expert = scales_of(&model);
    // Added up in f64, so that only the model itself rounds to f32.
    let value = |path: &str, index: usize, step: f32| {
        let mut z: std::collections::BTreeMap<String, Vec<f32>> =
            expert.iter().map(|(path, z)| (path.to_owned(), z.to_vec())).collect();
        z.get_mut(path).unwrap()[index] += step;
        let moved = Expert::new(z, expert.info.clone()).unwrap().apply_to(model.clone()).unwrap();
        let logprobs = tiny::values(weighted_logprobs(&moved, Active::Own, &Device::flex()));
        logprobs.into_iter().map(f64::from).sum::<f64>()
    };
    // Two central differences, combined so that the third derivative cancels.
    let slope = |path: &str, index: usize| {
        let central = |step: f32| (value(path, index, step) - value(path, index, -step)) / (2.0 * f64::from(step));
        ((4.0 * central(STEP) - central(2.0 * STEP)) / 3.0) as f32
    };
    let paths = (0..config.layers).flat_map(|block| {
        let names = ["attn.q", "attn.k", "attn.v", "attn.o", "mlp.gate", "mlp.up", "mlp.down"];
        names.map(|name| format!("blocks.{block}.{name}.weight"))
    });
    let expected: Vec<f32> = paths
        .zip(&found)
        .flat_map(|(path, found)| (0..found.len()).map(|index| slope(&path, index)).collect::<Vec<_>>())
        .collect();
    let error = tiny::relative_error(&found.concat(), &expected);
    println!("gradient of z against finite differences: {error:.1e}");
    assert!(error < SAME_GRADIENT, "{error:e}");
}

#[test]
fn the_gradient_is_that_of_the_dense_chain_rule() {
    for config in [tiny::config(), tiny::switched()] {
        check_chain_rule(&config);
    }
}

#[track_caller]
fn check_chain_rule(config: &DecoderConfig) {
    let (model, found) = model_and_gradient(config);
    let dense = model.clone().materialize().set_require_grad(true);
    let gradients = loss(&dense, Active::Base, &Device::flex().autodiff()).backward();
    let mut worst = 0.0_f64;
    for ((adapted, dense), found) in tiny::matrices(&model).zip(tiny::matrices(&dense)).zip(&found) {
        let gradient = dense.weight.val().grad(&gradients).unwrap();
        let Svf { u, s, vt, .. } = adapted.weight.reparameterization().unwrap();
        let [u, vt] = [u, vt].map(|factor| factor.val().without_autodiff());
        // s_i u_iᵀ G v_i for every i: the rows of UᵀG against those of Vᵀ.
        let along = (u.transpose().matmul(gradient) * vt).sum_dim(1).squeeze_dim::<1>(1);
        let expected = tiny::values(along * s.val().without_autodiff());
        worst = worst.max(tiny::relative_error(found, &expected));
    }
    println!("gradient of z against the dense chain rule: {worst:.1e}");
    assert!(worst < SAME_GRADIENT, "{worst:e}");
}
