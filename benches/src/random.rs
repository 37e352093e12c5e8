//! Random models under random factors, at the shapes of real ones: what a product of matrices costs does not depend on
//! what is in them.

use std::sync::LazyLock;

use burn::module::{Module, ModuleMapper, Param, Reparameterizer};
use burn::prelude::*;
use burn::tensor::{DType, Distribution};
use t2_model::adapter::{Expert, ExpertError, ExpertInfo, Svf};
use t2_model::decoder::{AttentionConfig, Decoder, DecoderConfig, MlpConfig};
use t2_model::decomposition::Targets;

/// The shape of a 135 M parameter model: hidden 576, intermediate 1536, 9 heads over 3 keys.
pub static SHAPE_135M: LazyLock<DecoderConfig> = LazyLock::new(|| DecoderConfig {
    vocab: 49152,
    d_model: 576,
    layers: 30,
    max_seq_len: 2048,
    attention: AttentionConfig::new(9, 3, 64),
    mlp: MlpConfig::new(1536),
    tied_head: true,
    ..DecoderConfig::tiny()
});

/// Four of its blocks over a small vocabulary.
pub static SHAPE_MID: LazyLock<DecoderConfig> =
    LazyLock::new(|| DecoderConfig { vocab: 4096, layers: 4, ..SHAPE_135M.clone() });

/// A random decoder under random factors, see [`with_factors`].
pub fn adapted(config: &DecoderConfig, device: &Device) -> Decoder {
    with_factors(config.init(device))
}

/// `model` with an [`Svf`] of random factors and `z = 1` beside every matrix of its blocks.
pub fn with_factors(model: Decoder) -> Decoder {
    model.apply_reparameterization(RandomFactors)
}

/// As [`adapted`], with weights and factors of type `dtype`.
pub fn adapted_as(config: &DecoderConfig, dtype: DType, device: &Device) -> Decoder {
    struct Cast(DType);
    impl ModuleMapper for Cast {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            param.map(|value| value.cast(self.0))
        }
    }
    with_factors(config.init(device).map(&mut Cast(dtype)))
}

/// Experts for `model` whose scales swing about one, each in its own rhythm.
///
/// # Errors
///
/// [`ExpertError::NoAdapter`] for a model without factors.
pub fn experts(model: &Decoder, count: usize) -> Result<Vec<Expert>, ExpertError> {
    // Every weight is read for the hash of the base model, once for all of them.
    let info = ExpertInfo::for_model("random", model);
    let neutral = Expert::from_model(model, info.clone())?;
    let expert = |index: usize| {
        let swing = |i: usize| 1.0 + 0.5 * ((i * (index + 1)) as f32).sin();
        let z = neutral.iter().map(|(path, z)| (path.to_owned(), (0..z.len()).map(swing).collect()));
        Expert::new(z.collect(), info.clone())
    };
    (0..count).map(expert).collect()
}

/// Random token ids below `vocab`, `rows` of `seq` each.
pub fn prompts(rows: usize, seq: usize, vocab: usize) -> Vec<Vec<u32>> {
    let id = |row: usize, column: usize| ((row * 7919 + column * 104_729 + 13) % vocab) as u32;
    (0..rows).map(|row| (0..seq).map(|column| id(row, column)).collect()).collect()
}

/// Factors of the right shapes that no matrix was asked for.
struct RandomFactors;

impl Reparameterizer for RandomFactors {
    type Reparam = Svf;

    fn reparameterize<const D: usize>(
        &mut self,
        path: &str,
        param: Param<Tensor<D>>,
    ) -> (Param<Tensor<D>>, Option<Svf>) {
        let param = param.set_require_grad(false);
        if !Targets::ALL.matches(path) {
            return (param, None);
        }
        let (dims, device, dtype) = (param.lazy_shape(), param.lazy_device(), param.base().dtype());
        let (d_in, d_out) = (dims[0], dims[1]);
        let k = d_in.min(d_out);
        // Columns and rows of length one, about, so that a signal keeps its size through the blocks.
        let frozen = |dims: [usize; 2]| {
            let bound = (3.0 / dims[0].max(dims[1]) as f64).sqrt();
            let factor = Tensor::<2>::random(dims, Distribution::Uniform(-bound, bound), &device);
            Param::from_tensor(factor.cast(dtype)).set_require_grad(false)
        };
        let svf = Svf {
            z: Param::from_tensor(Tensor::ones([k], &device)),
            u: frozen([d_in, k]),
            s: Param::from_tensor(Tensor::ones([k], &device)).set_require_grad(false),
            vt: frozen([k, d_out]),
        };
        (param, Some(svf))
    }
}
