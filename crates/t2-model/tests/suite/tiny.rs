//! Tiny random decoders and experts, the same in every run.

use burn::module::{Module, ModuleMapper, Param};
use burn::nn::Linear;
use burn::prelude::*;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use t2_model::adapter::{Expert, ExpertInfo};
use t2_model::decoder::{
    Activation, AttentionBias, AttentionConfig, Block, BlockKind, CausalLm, Decoder, DecoderConfig, MlpConfig,
    NormConfig, NormPlace, QkNorm, RopeConfig, Rotary, ScaleConfig,
};
use t2_model::decomposition::{Decomposition, Targets};

/// Two blocks with grouped heads, biases and every matrix of another shape than its transpose.
pub(crate) fn config() -> DecoderConfig {
    let tiny = DecoderConfig::tiny();
    DecoderConfig {
        vocab: 40,
        d_model: 24,
        attention: AttentionConfig { bias: AttentionBias::All, ..tiny.attention.clone() },
        mlp: MlpConfig { bias: true, ..MlpConfig::new(40) },
        ..tiny
    }
}

/// The same with every switch of the decoder.
pub(crate) fn switched() -> DecoderConfig {
    let plain = config();
    let bias = AttentionBias::Qkv;
    let window = BlockKind { window: Some(3), rotary: Rotary::Local };
    let unturned = BlockKind { rotary: Rotary::Off, ..BlockKind::PLAIN };
    DecoderConfig {
        layers: 3,
        attention: AttentionConfig { bias, qk_norm: QkNorm::Head, scale: Some(0.5), cap: Some(2.0), ..plain.attention },
        mlp: MlpConfig { activation: Activation::GeluTanh, ..plain.mlp },
        norm: NormConfig { place: NormPlace::Around, ..plain.norm },
        local_rope: Some(RopeConfig { fraction: 0.5, ..RopeConfig::new(50.0) }),
        kinds: vec![BlockKind::PLAIN, window, unturned],
        scale: ScaleConfig {
            embedding: Some(2.0),
            residual: Some(0.7),
            logits_divisor: Some(1.5),
            logits_cap: Some(3.0),
        },
        ..plain
    }
}

/// A decoder of this shape whose weights depend on `seed` alone, whatever other tests draw meanwhile.
pub(crate) fn shaped(config: &DecoderConfig, seed: u64) -> Decoder {
    config.init(&Device::flex()).map(&mut Draw(ChaCha8Rng::seed_from_u64(seed)))
}

/// A decoder of the shape [`config`].
pub(crate) fn decoder(seed: u64) -> Decoder {
    shaped(&config(), seed)
}

/// Draws matrices that keep the size of what they multiply, and vectors near what they are initialised to.
struct Draw(ChaCha8Rng);

impl ModuleMapper for Draw {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let dims = param.lazy_shape();
        let width = if D == 2 { (3.0 / dims[0].min(dims[1]) as f32).sqrt() } else { 0.2 };
        let noise = (0..dims.num_elements()).map(|_| self.0.random_range(-width..width));
        let noise = TensorData::new(noise.collect::<Vec<f32>>(), dims);
        param.map(|value| {
            let noise = Tensor::from_data(noise, &value.device());
            // Gains start at one, biases near zero.
            if D == 2 { noise } else { value.round() + noise }
        })
    }
}

pub(crate) fn decompose(model: &Decoder) -> Decomposition {
    Decomposition::of(model, Targets::ALL).expect("finite weights decompose")
}

/// `model` with factors beside every matrix and `z = 1`.
pub(crate) fn adapted(model: &Decoder) -> Decoder {
    model.clone().adapted(&decompose(model)).expect("the factors are its own")
}

/// The same with gradients.
pub(crate) fn trainable(model: &Decoder) -> Decoder {
    model.clone().trainable(&decompose(model)).expect("the factors are its own")
}

/// An expert for `model`, adapted, with scales between 0.4 and 1.6.
pub(crate) fn expert(model: &Decoder, seed: u64) -> Expert {
    let info =
        ExpertInfo { training: format!("seed {seed}"), ..ExpertInfo::for_model(format!("expert-{seed}"), model) };
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let neutral = Expert::from_model(model, info.clone()).expect("the model is adapted");
    let draw = |(path, z): (&str, &[f32])| (path.to_owned(), z.iter().map(|_| rng.random_range(0.4..1.6)).collect());
    Expert::new(neutral.iter().map(draw).collect(), info).expect("finite scales")
}

/// Random token ids below `vocab`.
pub(crate) fn ids(len: usize, vocab: usize, seed: u64) -> Vec<u32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..len).map(|_| rng.random_range(0..vocab as u32)).collect()
}

/// Token ids as a batch, `[batch, seq]`.
pub(crate) fn tokens(rows: &[Vec<u32>]) -> Tensor<2, Int> {
    let ids: Vec<i64> = rows.iter().flatten().map(|&id| i64::from(id)).collect();
    Tensor::from_data(TensorData::new(ids, [rows.len(), rows[0].len()]), &Device::flex())
}

/// The adapted matrices of `model`, block by block.
pub(crate) fn matrices(model: &Decoder) -> impl Iterator<Item = &Linear> {
    model
        .blocks
        .iter()
        .flat_map(|Block { attn, mlp, .. }| [&attn.q, &attn.k, &attn.v, &attn.o, &mlp.gate, &mlp.up, &mlp.down])
}

/// What a tensor holds.
pub(crate) fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().iter::<f32>().collect()
}

/// `‖found - expected‖ / ‖expected‖`, in f64.
pub(crate) fn relative_error(found: &[f32], expected: &[f32]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let square = |x: f64| x * x;
    let error: f64 = found.iter().zip(expected).map(|(f, e)| square(f64::from(*f) - f64::from(*e))).sum();
    let norm: f64 = expected.iter().map(|e| square(f64::from(*e))).sum();
    (error / norm).sqrt()
}
