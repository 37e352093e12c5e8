//! Paths and shapes of the parameters of a decoder: building one and reading a checkpoint both go by these lists.

use burn::nn::{Initializer, Linear, LinearConfig};
use burn::prelude::*;

use super::{AttentionBias, AttentionConfig, DecoderConfig, MlpConfig, NormPlace, QkNorm};

/// Path of the token embedding: the one matrix that checkpoints store the way round that the decoder uses it.
pub(crate) const EMBED: &str = "embed.weight";
/// Path of the output head. A checkpoint with a tied head may store the embedding under the name of the head.
pub(crate) const HEAD: &str = "head.weight";
/// How the path of the gains of a norm ends.
const GAMMA: &str = ".gamma";

/// Whether the parameter at `path` is the gains of a norm, which are f32 whatever the weights are.
pub(crate) fn is_norm(path: &str) -> bool {
    path.ends_with(GAMMA)
}

impl DecoderConfig {
    /// Path and shape of every parameter of the decoder, in the order of its fields.
    pub fn parameters(&self) -> impl Iterator<Item = (String, Vec<usize>)> {
        let one = |path: &str, shape| (path.to_owned(), shape);
        let head = (!self.tied_head).then(|| one(HEAD, vec![self.d_model, self.vocab]));
        std::iter::once(one(EMBED, vec![self.vocab, self.d_model]))
            .chain((0..self.layers).flat_map(|layer| self.block_parameters(layer)))
            .chain([one("norm.gamma", vec![self.d_model])])
            .chain(head)
    }

    fn block_parameters(&self, layer: usize) -> Vec<(String, Vec<usize>)> {
        let attn = self.attention.linears(self.d_model);
        let mlp = self.mlp.linears(self.d_model);
        let place = self.norm.place;
        let mut all = vec![];
        for (half, linears) in [("attn", &attn[..]), ("mlp", &mlp[..])] {
            let half = format!("blocks.{layer}.{half}");
            all.extend(place.is_before().then(|| (format!("{half}_norm.gamma"), vec![self.d_model])));
            all.extend(linears.iter().flat_map(|linear| linear.parameters(&half)));
            all.extend(place.is_after().then(|| (format!("{half}_post_norm.gamma"), vec![self.d_model])));
        }
        let widths = self.attention.norm_widths().into_iter().flatten();
        all.extend(
            ["q", "k"].iter().zip(widths).map(|(name, d)| (format!("blocks.{layer}.attn.{name}_norm.gamma"), vec![d])),
        );
        all
    }

    /// Number of weights; a tied head counts once.
    pub fn num_params(&self) -> usize {
        usize::try_from(self.count()).unwrap_or(usize::MAX)
    }

    /// As [`num_params`](Self::num_params), for shapes of any size: blocks are all alike, so one of them is counted.
    pub(super) fn count(&self) -> u128 {
        let numbers = |shape: &[usize]| shape.iter().map(|&d| d as u128).product::<u128>();
        let block: u128 = self.block_parameters(0).iter().map(|(_, shape)| numbers(shape)).sum();
        let heads = if self.tied_head { 1 } else { 2 };
        self.layers as u128 * block + heads * numbers(&[self.vocab, self.d_model]) + self.d_model as u128
    }
}

/// A linear layer: its name inside its module, and what it maps.
pub(crate) struct LinearShape {
    name: &'static str,
    d_in: usize,
    d_out: usize,
    bias: bool,
}

impl LinearShape {
    /// The layer with weights drawn by `initializer` and a bias of zero.
    pub(crate) fn init(&self, initializer: &Initializer, device: &Device) -> Linear {
        let weights = LinearConfig::new(self.d_in, self.d_out).with_bias(false).with_initializer(initializer.clone());
        let bias = self.bias.then(|| Initializer::Zeros.init([self.d_out], device));
        Linear { bias, ..weights.init(device) }
    }

    /// Path and shape of the weight and, if there is one, the bias of the layer, in the module at `path`.
    fn parameters(&self, path: &str) -> impl Iterator<Item = (String, Vec<usize>)> {
        let &Self { name, d_in, d_out, bias } = self;
        let bias = bias.then(|| (format!("{path}.{name}.bias"), vec![d_out]));
        std::iter::once((format!("{path}.{name}.weight"), vec![d_in, d_out])).chain(bias)
    }
}

impl AttentionConfig {
    /// The projections to queries, keys and values, and the one back to the residual stream.
    pub(crate) fn linears(&self, d_model: usize) -> [LinearShape; 4] {
        let &Self { heads, kv_heads, head_dim, bias, .. } = self;
        let (d_q, d_kv) = (heads * head_dim, kv_heads * head_dim);
        let qkv = |name, d_out| LinearShape { name, d_in: d_model, d_out, bias: bias != AttentionBias::None };
        let o = LinearShape { name: "o", d_in: d_q, d_out: d_model, bias: bias == AttentionBias::All };
        [qkv("q", d_q), qkv("k", d_kv), qkv("v", d_kv), o]
    }

    /// Width of the norms on queries and on keys, if there are any.
    pub(crate) fn norm_widths(&self) -> Option<[usize; 2]> {
        let &Self { heads, kv_heads, head_dim, .. } = self;
        match self.qk_norm {
            QkNorm::None => None,
            QkNorm::Head => Some([head_dim, head_dim]),
            QkNorm::Projection => Some([heads * head_dim, kv_heads * head_dim]),
        }
    }
}

impl NormPlace {
    /// Whether what attention and feed-forward network read goes through a norm.
    pub(crate) fn is_before(self) -> bool {
        self != Self::After
    }

    /// Whether what they add to the residual stream goes through a norm.
    pub(crate) fn is_after(self) -> bool {
        self != Self::Before
    }
}

impl MlpConfig {
    /// The projections gate, up and down.
    pub(crate) fn linears(&self, d_model: usize) -> [LinearShape; 3] {
        let &Self { d_hidden, bias, .. } = self;
        let linear = |name, d_in, d_out| LinearShape { name, d_in, d_out, bias };
        [linear("gate", d_model, d_hidden), linear("up", d_model, d_hidden), linear("down", d_hidden, d_model)]
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use burn::module::{ModuleVisitor, Param};

    use super::*;
    use crate::decoder::config::NormConfig;
    use crate::decomposition::Targets;
    use crate::paths::Path;

    /// Path and shape of every parameter a module has.
    #[derive(Default)]
    struct Collect {
        path: Path,
        found: BTreeMap<String, Vec<usize>>,
    }

    impl ModuleVisitor for Collect {
        fn enter_module(&mut self, name: &str, _: &str) {
            self.path.enter(name);
        }

        fn exit_module(&mut self, _: &str, _: &str) {
            self.path.exit();
        }

        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.found.insert(self.path.to_string(), param.lazy_shape().to_vec());
        }
    }

    #[track_caller]
    fn check(config: &DecoderConfig) {
        let mut collect = Collect::default();
        config.init(&Device::flex()).visit(&mut collect);
        assert_eq!(config.parameters().collect::<BTreeMap<_, _>>(), collect.found);
    }

    #[test]
    fn the_list_of_parameters_is_that_of_the_decoder() {
        let tiny = DecoderConfig::tiny();
        check(&tiny);
        check(&DecoderConfig { tied_head: true, ..tiny.clone() });
        let mlp = MlpConfig { bias: true, ..tiny.mlp.clone() };
        for bias in [AttentionBias::Qkv, AttentionBias::All] {
            let attention = AttentionConfig { bias, ..tiny.attention.clone() };
            check(&DecoderConfig { attention, mlp: mlp.clone(), ..tiny.clone() });
        }
        for qk_norm in [QkNorm::Head, QkNorm::Projection] {
            check(&DecoderConfig { attention: AttentionConfig { qk_norm, ..tiny.attention.clone() }, ..tiny.clone() });
        }
        for place in [NormPlace::Around, NormPlace::After] {
            check(&DecoderConfig { norm: NormConfig { place, ..tiny.norm.clone() }, ..tiny.clone() });
        }
    }

    #[test]
    fn experts_scale_the_seven_matrices_of_a_block_and_no_norm() {
        let tiny = DecoderConfig::tiny();
        let plain: Vec<_> = adapted(&tiny);
        assert_eq!(plain.len(), 7 * tiny.layers);
        let attention = AttentionConfig { qk_norm: QkNorm::Head, bias: AttentionBias::Qkv, ..tiny.attention.clone() };
        let norm = NormConfig { place: NormPlace::Around, ..tiny.norm.clone() };
        assert_eq!(adapted(&DecoderConfig { attention, norm, ..tiny }), plain);
    }

    fn adapted(config: &DecoderConfig) -> Vec<String> {
        config.parameters().map(|(path, _)| path).filter(|path| Targets::ALL.matches(path)).collect()
    }
}
