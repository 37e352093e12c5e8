//! The shape of the decoder, independent of any checkpoint format.
//!
//! A [`DecoderConfig`] has a part for each kind of layer. The names and shapes of the parameters are listed here and
//! nowhere else: building a decoder and reading a checkpoint both go by these lists.

use burn::nn::{Initializer, Linear, LinearConfig};
use burn::prelude::*;
use serde::{Deserialize, Serialize};

/// Path of the token embedding: the one matrix that checkpoints store the way round that the decoder uses it.
pub(crate) const EMBED: &str = "embed.weight";
/// Path of the output head. A checkpoint with a tied head may store the embedding under the name of the head.
pub(crate) const HEAD: &str = "head.weight";

/// Everything that determines a decoder except its weights.
///
/// ```
/// use burn::prelude::*;
/// use t2_model::{CausalLm, DecoderConfig};
///
/// let config = DecoderConfig { vocab: 300, ..DecoderConfig::tiny() };
/// let model = config.init(&Device::flex());
/// assert_eq!(model.shape().vocab, 300);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DecoderConfig {
    /// Number of token ids.
    pub vocab: usize,
    /// Width of the residual stream.
    pub d_model: usize,
    /// Number of decoder blocks.
    pub layers: usize,
    /// Longest sequence the position encoding covers, in tokens.
    pub max_seq_len: usize,
    /// Self-attention of every block.
    pub attention: AttentionConfig,
    /// Feed-forward network of every block.
    pub mlp: MlpConfig,
    /// Norms before attention, feed-forward network and head.
    #[serde(default)]
    pub norm: NormConfig,
    /// Rotary position encoding.
    #[serde(default)]
    pub rope: RopeConfig,
    /// The output head is the token embedding.
    #[serde(default)]
    pub tied_head: bool,
}

/// Grouped-query self-attention.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttentionConfig {
    /// Number of query heads.
    pub heads: usize,
    /// Number of key/value heads; divides `heads`.
    pub kv_heads: usize,
    /// Width of one head.
    pub head_dim: usize,
    /// The projections carry biases.
    #[serde(default)]
    pub bias: bool,
}

/// `SwiGLU` feed-forward network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MlpConfig {
    /// Width inside the network.
    pub d_hidden: usize,
    /// The projections carry biases.
    #[serde(default)]
    pub bias: bool,
}

/// `RMSNorm`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NormConfig {
    /// Added to the mean square.
    pub eps: f64,
}

impl Default for NormConfig {
    fn default() -> Self {
        Self { eps: 1e-5 }
    }
}

/// Rotary position encoding: the base period and how it is stretched to longer contexts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RopeConfig {
    /// Base of the geometric sequence of wavelengths.
    pub theta: f64,
    /// How frequencies are rescaled.
    #[serde(default)]
    pub scaling: RopeScaling,
}

impl Default for RopeConfig {
    fn default() -> Self {
        Self { theta: 10_000.0, scaling: RopeScaling::None }
    }
}

/// How rotary frequencies are rescaled for contexts longer than those of pretraining.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum RopeScaling {
    /// Frequencies as they are.
    #[default]
    None,
    /// Every frequency divided by `factor`.
    Linear {
        /// Stretch of the context.
        factor: f64,
    },
    /// Llama 3.1 to 3.3: long wavelengths divided by `factor`, short ones kept, those between interpolated.
    Llama3 {
        /// Stretch of the context.
        factor: f64,
        /// Wavelengths above `original_max_seq_len / low_freq_factor` are stretched in full.
        low_freq_factor: f64,
        /// Wavelengths below `original_max_seq_len / high_freq_factor` are kept.
        high_freq_factor: f64,
        /// Context length of pretraining, in tokens.
        original_max_seq_len: usize,
    },
}

/// There is no decoder of this shape.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name} is {value}; it must be {expected}")]
pub struct BadShape {
    /// The field.
    name: &'static str,
    /// Its value.
    value: usize,
    /// What it may be.
    expected: String,
}

impl DecoderConfig {
    /// Two small blocks with grouped heads and no biases: for tests and examples, which change what they are about.
    pub const fn tiny() -> Self {
        Self {
            vocab: 64,
            d_model: 32,
            layers: 2,
            max_seq_len: 64,
            attention: AttentionConfig { heads: 4, kv_heads: 2, head_dim: 8, bias: false },
            mlp: MlpConfig { d_hidden: 48, bias: false },
            norm: NormConfig { eps: 1e-5 },
            rope: RopeConfig { theta: 10_000.0, scaling: RopeScaling::None },
            tied_head: false,
        }
    }

    /// Refuse a shape that no decoder can have.
    ///
    /// # Errors
    ///
    /// [`BadShape`].
    pub fn check(&self) -> Result<(), BadShape> {
        let AttentionConfig { heads, kv_heads, head_dim, .. } = self.attention;
        let counts = [
            ("vocab", self.vocab),
            ("d_model", self.d_model),
            ("max_seq_len", self.max_seq_len),
            ("attention.heads", heads),
            ("attention.kv_heads", kv_heads),
            ("attention.head_dim", head_dim),
            ("mlp.d_hidden", self.mlp.d_hidden),
        ];
        if let Some(&(name, value)) = counts.iter().find(|(_, value)| *value == 0) {
            return Err(BadShape { name, value, expected: "at least 1".to_owned() });
        }
        if !heads.is_multiple_of(kv_heads) {
            let expected = format!("a divisor of the {heads} heads");
            return Err(BadShape { name: "attention.kv_heads", value: kv_heads, expected });
        }
        if !head_dim.is_multiple_of(2) {
            let expected = "even, since positions turn pairs of numbers".to_owned();
            return Err(BadShape { name: "attention.head_dim", value: head_dim, expected });
        }
        Ok(())
    }

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
        let mut all = vec![];
        for (half, linears) in [("attn", &attn[..]), ("mlp", &mlp[..])] {
            let half = format!("blocks.{layer}.{half}");
            all.push((format!("{half}_norm.gamma"), vec![self.d_model]));
            all.extend(linears.iter().flat_map(|linear| linear.parameters(&half)));
        }
        all
    }

    /// Number of weights; a tied head counts once.
    pub fn num_params(&self) -> usize {
        self.parameters().map(|(_, shape)| shape.iter().product::<usize>()).sum()
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
        let &Self { heads, kv_heads, head_dim, bias } = self;
        let (d_q, d_kv) = (heads * head_dim, kv_heads * head_dim);
        let linear = |name, d_in, d_out| LinearShape { name, d_in, d_out, bias };
        [linear("q", d_model, d_q), linear("k", d_model, d_kv), linear("v", d_model, d_kv), linear("o", d_q, d_model)]
    }
}

impl MlpConfig {
    /// The projections gate, up and down.
    pub(crate) fn linears(&self, d_model: usize) -> [LinearShape; 3] {
        let &Self { d_hidden, bias } = self;
        let linear = |name, d_in, d_out| LinearShape { name, d_in, d_out, bias };
        [linear("gate", d_model, d_hidden), linear("up", d_model, d_hidden), linear("down", d_hidden, d_model)]
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use burn::module::{ModuleVisitor, Param};

    use super::*;

    #[test]
    fn a_shape_that_no_decoder_can_have_is_refused() {
        #[track_caller]
        fn check_refused(change: impl Fn(&mut DecoderConfig), said: &str) {
            let mut config = DecoderConfig::tiny();
            assert_eq!(config.check(), Ok(()));
            change(&mut config);
            assert_eq!(config.check().unwrap_err().to_string(), said);
        }
        check_refused(|config| config.vocab = 0, "vocab is 0; it must be at least 1");
        check_refused(
            |config| config.attention.kv_heads = 3,
            "attention.kv_heads is 3; it must be a divisor of the 4 heads",
        );
        check_refused(
            |config| config.attention.head_dim = 7,
            "attention.head_dim is 7; it must be even, since positions turn pairs of numbers",
        );
    }
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
        let attention = AttentionConfig { bias: true, ..tiny.attention.clone() };
        check(&DecoderConfig { attention, mlp: MlpConfig { bias: true, ..tiny.mlp.clone() }, ..tiny });
    }
}
