//! What a decoder computes in one pass on a CPU, there and back, beside the same decoder on a device that checkpoints for
//! the way back, where it goes Burn's way.

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::prelude::*;
use burn::tensor::Gradients;
use t2_model::decoder::{Activation, AttentionConfig, BlockKind, KvCache, MlpConfig, QkNorm};
use t2_model::{Active, CausalLm, Decoder, DecoderConfig, Decomposition, Targets};

/// Largest difference of a logit, over the largest logit: f32 sums in another order.
const SAME_LOGITS: f32 = 1e-5;

/// Largest difference of a gradient, over the largest of a scale.
const SAME_GRADIENT: f32 = 2e-5;

/// The same model where every operation is Burn's own.
fn generally(model: Decoder) -> Decoder {
    struct Generally(Device);
    impl ModuleMapper for Generally {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            param.map(|x| {
                let trained = x.is_require_grad();
                Tensor::from_data(x.into_data(), &self.0).set_require_grad(trained)
            })
        }
    }
    model.map(&mut Generally(Device::flex().autodiff().gradient_checkpointing()))
}

/// The logits of two rows, the first of which begins with `padding`: of a prompt of `prompt` columns, and of two tokens
/// that follow one by one.
fn logits(model: &Decoder, prompt: usize, padding: usize, device: &Device) -> Vec<f32> {
    let mut cache = KvCache::new(model.shape(), vec![padding, 0], prompt + 2);
    let vocab = model.shape().vocab;
    let mut found = vec![];
    for (first, seq) in [(0, prompt), (prompt, 1), (prompt + 1, 1)] {
        let id = |row: usize, column: usize| ((row * 31 + column * 7 + 1) % vocab) as i64;
        let ids: Vec<i64> = (0..2).flat_map(|row| (first..first + seq).map(move |column| id(row, column))).collect();
        let tokens = Tensor::<2, Int>::from_data(TensorData::new(ids, [2, seq]), device);
        let logits = model.forward(tokens, Some(&mut cache), Active::Base);
        // The columns of padding say nothing.
        let real = logits.slice_dim(1, padding.saturating_sub(first).min(seq)..seq);
        found.extend(real.into_data().iter::<f32>());
    }
    found
}

#[track_caller]
fn check(config: &DecoderConfig, prompt: usize, padding: usize) {
    let device = Device::flex();
    let model = config.init(&device);
    let found = logits(&model, prompt, padding, &device);
    let general = generally(model.clone());
    let expected = logits(&general, prompt, padding, &general.devices()[0]);
    assert_same("logit", &found, &expected, SAME_LOGITS);
    let model = model.clone().trainable(&Decomposition::of(&model, Targets::ALL).unwrap()).unwrap();
    assert_same("gradient", &gradient(&model, padding), &gradient(&generally(model), padding), SAME_GRADIENT);
}

#[track_caller]
fn assert_same(what: &str, found: &[f32], expected: &[f32], tolerance: f32) {
    let largest = expected.iter().fold(0.0_f32, |largest, x| largest.max(x.abs()));
    assert!(largest > 0.0 && found.len() == expected.len(), "{what}: {} for {}", found.len(), expected.len());
    for (at, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!((found - expected).abs() <= tolerance * largest, "{what} {at} is {found}, not {expected}");
    }
}

/// The gradient of every scale, of a sum of the final states of two rows in two passes, the first of which begins with
/// `padding`; the second pass sees the keys of the first.
fn gradient(model: &Decoder, padding: usize) -> Vec<f32> {
    let device = model.devices()[0].clone();
    let seq = padding + 3;
    let mut cache = KvCache::new(model.shape(), vec![padding, 0], 2 * seq);
    let states = [0, 1].map(|pass| {
        let ids: Vec<i64> = (0..2 * seq).map(|i| ((i * 13 + pass) % 31) as i64).collect();
        let tokens = Tensor::<2, Int>::from_data(TensorData::new(ids, [2, seq]), &device);
        let states = model.hidden(tokens, Some(&mut cache), Active::Own);
        let real = if pass == 0 { padding..seq } else { 0..seq };
        let states = states.slice_dim(1, real);
        let weights = (0..states.shape().num_elements()).map(|i| (i as f32 * 0.7).sin()).collect();
        (states.clone() * Tensor::from_data(TensorData::new(weights, states.shape()), &device)).sum()
    });
    flat(model, &(states[0].clone() + states[1].clone()).backward())
}

/// The gradient of every scale, weight after weight.
fn flat(model: &Decoder, gradients: &Gradients) -> Vec<f32> {
    struct Flat<'a>(&'a Gradients, Vec<f32>);
    impl ModuleVisitor for Flat<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if param.base().is_require_grad() {
                let gradient = param.base().grad(self.0).expect("every scale has a gradient");
                self.1.extend(gradient.into_data().iter::<f32>());
            }
        }
    }
    let mut flat = Flat(gradients, vec![]);
    model.visit(&mut flat);
    flat.1
}

#[test]
fn one_pass_has_the_logits_of_the_general_way() {
    let tiny = DecoderConfig::tiny();
    let attention = |attention: AttentionConfig| DecoderConfig { attention, ..tiny.clone() };
    let grouped = AttentionConfig::new(6, 2, 12);
    let windows = vec![BlockKind { window: Some(3), ..BlockKind::PLAIN }, BlockKind::PLAIN];
    let gelu = |activation| MlpConfig { activation, ..tiny.mlp.clone() };
    for (prompt, padding) in [(1, 0), (9, 0), (9, 4), (70, 66)] {
        check(&tiny, prompt, padding);
        check(&attention(grouped.clone()), prompt, padding);
        check(
            &attention(AttentionConfig { cap: Some(2.0), qk_norm: QkNorm::Head, ..grouped.clone() }),
            prompt,
            padding,
        );
        check(&attention(AttentionConfig { scale: Some(0.4), ..grouped.clone() }), prompt, padding);
        check(&DecoderConfig { kinds: windows.clone(), ..tiny.clone() }, prompt, padding);
        check(&DecoderConfig { mlp: gelu(Activation::GeluTanh), ..tiny.clone() }, prompt, padding);
        check(&DecoderConfig { mlp: gelu(Activation::Gelu), ..tiny.clone() }, prompt, padding);
    }
}
