//! What a decoder computes in one pass on a CPU, beside the same decoder where gradients flow, which goes Burn's way.

use burn::module::Module;
use burn::prelude::*;
use t2_model::decoder::{Activation, AttentionConfig, BlockKind, KvCache, MlpConfig, QkNorm};
use t2_model::{Active, CausalLm, Decoder, DecoderConfig};

/// Largest difference of a logit, over the largest logit: f32 sums in another order.
const SAME_LOGITS: f32 = 1e-5;

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
    let (device, tracked) = (Device::flex(), Device::flex().autodiff());
    let model = config.init(&device);
    let found = logits(&model, prompt, padding, &device);
    let expected = logits(&model.train().to_device(&tracked), prompt, padding, &tracked);
    let largest = expected.iter().fold(0.0_f32, |largest, logit| largest.max(logit.abs()));
    assert_eq!(found.len(), expected.len());
    for (at, (found, expected)) in found.iter().zip(&expected).enumerate() {
        assert!((found - expected).abs() <= SAME_LOGITS * largest, "logit {at} is {found}, not {expected}");
    }
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
