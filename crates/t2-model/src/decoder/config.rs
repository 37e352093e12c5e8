//! The shape of the decoder, independent of any checkpoint format.
//!
//! A [`DecoderConfig`] has a part for each kind of layer. What only some families have is a switch that is off by
//! default, and costs nothing then.

mod blocks;
mod parameters;
mod rope;

use serde::{Deserialize, Serialize};

pub use blocks::{BlockKind, Rotary};
pub(crate) use parameters::{EMBED, HEAD, is_norm};
pub use rope::{Outgrown, RopeConfig, RopeScaling};

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
    /// Norms around attention and feed-forward network, and before the head.
    #[serde(default)]
    pub norm: NormConfig,
    /// Rotary position encoding.
    #[serde(default)]
    pub rope: RopeConfig,
    /// Rotary position encoding of the blocks that say [`Rotary::Local`].
    #[serde(default)]
    pub local_rope: Option<RopeConfig>,
    /// Kinds of blocks, from the first block on and repeated until each has one; empty: all are [`BlockKind::PLAIN`].
    #[serde(default)]
    pub kinds: Vec<BlockKind>,
    /// Fixed numbers that states and scores are multiplied by.
    #[serde(default)]
    pub scale: ScaleConfig,
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
    /// Which projections carry biases.
    #[serde(default)]
    pub bias: AttentionBias,
    /// Norms on queries and keys, before they are turned.
    #[serde(default)]
    pub qk_norm: QkNorm,
    /// What scores are multiplied by; `None`: `head_dim^(-1/2)`.
    #[serde(default)]
    pub scale: Option<f64>,
    /// Scores are kept within `±cap` by `cap tanh(score / cap)`.
    #[serde(default)]
    pub cap: Option<f64>,
}

impl AttentionConfig {
    /// Attention without any of the switches.
    pub const fn new(heads: usize, kv_heads: usize, head_dim: usize) -> Self {
        Self { heads, kv_heads, head_dim, bias: AttentionBias::None, qk_norm: QkNorm::None, scale: None, cap: None }
    }

    /// What scores are multiplied by.
    pub fn score_scale(&self) -> f64 {
        self.scale.unwrap_or_else(|| (self.head_dim as f64).powf(-0.5))
    }
}

/// Which projections of the attention carry biases. Files may say `true` for all and `false` for none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "BiasSpelling", into = "BiasSpelling")]
pub enum AttentionBias {
    /// None.
    #[default]
    None,
    /// Queries, keys and values.
    Qkv,
    /// Queries, keys, values and output.
    All,
}

/// How files spell an [`AttentionBias`].
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum BiasSpelling {
    AllOrNone(bool),
    Some(SomeBias),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum SomeBias {
    Qkv,
}

impl From<BiasSpelling> for AttentionBias {
    fn from(spelling: BiasSpelling) -> Self {
        match spelling {
            BiasSpelling::AllOrNone(false) => Self::None,
            BiasSpelling::AllOrNone(true) => Self::All,
            BiasSpelling::Some(SomeBias::Qkv) => Self::Qkv,
        }
    }
}

impl From<AttentionBias> for BiasSpelling {
    fn from(bias: AttentionBias) -> Self {
        match bias {
            AttentionBias::None => Self::AllOrNone(false),
            AttentionBias::All => Self::AllOrNone(true),
            AttentionBias::Qkv => Self::Some(SomeBias::Qkv),
        }
    }
}

/// Norms on queries and keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum QkNorm {
    /// None.
    #[default]
    None,
    /// Over each head, with one gain for all heads.
    Head,
    /// Over all heads together.
    Projection,
}

/// Gated feed-forward network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MlpConfig {
    /// Width inside the network.
    pub d_hidden: usize,
    /// The projections carry biases.
    #[serde(default)]
    pub bias: bool,
    /// What the gate goes through.
    #[serde(default)]
    pub activation: Activation,
}

impl MlpConfig {
    /// `SwiGLU` without biases.
    pub const fn new(d_hidden: usize) -> Self {
        Self { d_hidden, bias: false, activation: Activation::Silu }
    }
}

/// What the gate of a feed-forward network goes through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Activation {
    /// `x sigmoid(x)`.
    #[default]
    Silu,
    /// `x Φ(x)`.
    Gelu,
    /// `x Φ(x)`, with `tanh` in place of the error function.
    GeluTanh,
}

/// `RMSNorm`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NormConfig {
    /// Added to the mean square.
    pub eps: f64,
    /// Where the norms of a block stand.
    #[serde(default)]
    pub place: NormPlace,
}

impl Default for NormConfig {
    fn default() -> Self {
        Self { eps: 1e-5, place: NormPlace::Before }
    }
}

/// Where the norms of a block stand: on what attention and feed-forward network read, or on what they add to the
/// residual stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NormPlace {
    /// On what is read.
    #[default]
    Before,
    /// On what is added.
    After,
    /// On both.
    Around,
}

/// Fixed numbers that states and scores are multiplied by; `None` leaves them as they are.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ScaleConfig {
    /// Embeddings of tokens are multiplied by this.
    pub embedding: Option<f64>,
    /// What attention and feed-forward network add to the residual stream is multiplied by this.
    pub residual: Option<f64>,
    /// Scores of the next token are divided by this.
    pub logits_divisor: Option<f64>,
    /// Scores of the next token are kept within `±cap` by `cap tanh(score / cap)`.
    pub logits_cap: Option<f64>,
}

/// More blocks than any model has, and few enough to list their parameters.
pub(crate) const MAX_LAYERS: usize = 1 << 16;
/// More weights than any model has, and few enough to count their bytes.
const MAX_PARAMS: u128 = 1 << 50;

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
            attention: AttentionConfig::new(4, 2, 8),
            mlp: MlpConfig::new(48),
            norm: NormConfig { eps: 1e-5, place: NormPlace::Before },
            rope: RopeConfig::new(10_000.0),
            local_rope: None,
            kinds: Vec::new(),
            scale: ScaleConfig { embedding: None, residual: None, logits_divisor: None, logits_cap: None },
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
        let window = self.kinds.iter().filter_map(|kind| kind.window).min();
        let counts = [
            ("vocab", self.vocab),
            ("d_model", self.d_model),
            ("max_seq_len", self.max_seq_len),
            ("attention.heads", heads),
            ("attention.kv_heads", kv_heads),
            ("attention.head_dim", head_dim),
            ("mlp.d_hidden", self.mlp.d_hidden),
            ("kinds.window", window.unwrap_or(1)),
        ];
        let bad = |name, value, expected: &str| Err(BadShape { name, value, expected: expected.to_owned() });
        if let Some(&(name, value)) = counts.iter().find(|(_, value)| *value == 0) {
            return bad(name, value, "at least 1");
        }
        if self.layers > MAX_LAYERS {
            return bad("layers", self.layers, &format!("at most {MAX_LAYERS}"));
        }
        if self.count() > MAX_PARAMS {
            return bad("the number of weights", self.num_params(), "one that a computer could hold");
        }
        if !heads.is_multiple_of(kv_heads) {
            return bad("attention.kv_heads", kv_heads, &format!("a divisor of the {heads} heads"));
        }
        if !head_dim.is_multiple_of(2) {
            return bad("attention.head_dim", head_dim, "even, since positions turn pairs of numbers");
        }
        let local = self.kinds.iter().position(|kind| kind.rotary == Rotary::Local);
        if let (Some(block), None) = (local, &self.local_rope) {
            return bad("kinds.rotary of block", block, "one that has no local encoding, as local_rope is missing");
        }
        std::iter::once(&self.rope).chain(&self.local_rope).try_for_each(|rope| rope.check(head_dim))
    }

    /// The length, in tokens, up to which sequences that begin alike have the same keys there; `None` for any length.
    pub(super) fn same_up_to(&self) -> Option<usize> {
        let ropes = std::iter::once(&self.rope).chain(&self.local_rope);
        ropes.filter_map(RopeConfig::same_up_to).min()
    }

    /// The length, in tokens, after which the keys of a sequence must be computed anew, as they are turned otherwise.
    pub(super) fn switches_after(&self) -> Option<usize> {
        let ropes = std::iter::once(&self.rope).chain(&self.local_rope);
        ropes.filter_map(RopeConfig::switches_after).min()
    }

    /// What block `layer` does differently from its neighbours.
    pub fn kind(&self, layer: usize) -> BlockKind {
        self.kinds.get(layer % self.kinds.len().max(1)).copied().unwrap_or(BlockKind::PLAIN)
    }
}

impl RopeConfig {
    fn check(&self, head_dim: usize) -> Result<(), BadShape> {
        let rotated = self.rotated(head_dim);
        let refuse = |name, value, expected| Err(BadShape { name, value, expected });
        if !rotated.is_multiple_of(2) || !(2..=head_dim).contains(&rotated) {
            return refuse("the share that rope.fraction turns", rotated, format!("even, from 2 to {head_dim}"));
        }
        if let RopeScaling::LongRope { short, long, .. } = &self.scaling
            && let Some(list) = [short, long].into_iter().find(|list| list.len() != rotated / 2)
        {
            return refuse("the length of a list of rope.scaling", list.len(), (rotated / 2).to_string());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
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
        check_refused(
            |config| config.kinds = vec![BlockKind { window: Some(0), ..BlockKind::PLAIN }],
            "kinds.window is 0; it must be at least 1",
        );
        check_refused(
            |config| config.kinds = vec![BlockKind { rotary: Rotary::Local, ..BlockKind::PLAIN }],
            "kinds.rotary of block is 0; it must be one that has no local encoding, as local_rope is missing",
        );
        check_refused(
            |config| config.rope.fraction = 0.4,
            "the share that rope.fraction turns is 3; it must be even, from 2 to 8",
        );
        let (short, long) = (vec![1.0; 4], vec![1.0; 3]);
        let outgrown = Outgrown::Keep;
        let scaling = RopeScaling::LongRope { short, long, attention_factor: 1.0, original_max_seq_len: 16, outgrown };
        check_refused(
            |config| config.rope.scaling = scaling.clone(),
            "the length of a list of rope.scaling is 3; it must be 4",
        );
    }

    #[test]
    fn biases_are_spelled_by_a_flag_or_a_name() {
        #[track_caller]
        fn check(spelling: serde_json::Value, bias: AttentionBias) {
            assert_eq!(serde_json::from_value::<AttentionBias>(spelling.clone()).unwrap(), bias);
            assert_eq!(serde_json::to_value(bias).unwrap(), spelling);
        }
        check(false.into(), AttentionBias::None);
        check(true.into(), AttentionBias::All);
        check("qkv".into(), AttentionBias::Qkv);
    }

    #[test]
    fn a_config_without_switches_is_read_as_one_with_them_off() {
        let mut json = serde_json::to_value(DecoderConfig::tiny()).unwrap();
        let take = |json: &mut serde_json::Value, keys: &[&str]| {
            keys.iter().for_each(|key| assert!(json.as_object_mut().unwrap().remove(*key).is_some(), "{key}"));
        };
        take(&mut json, &["norm", "rope", "local_rope", "kinds", "scale", "tied_head"]);
        take(&mut json["attention"], &["bias", "qk_norm", "scale", "cap"]);
        take(&mut json["mlp"], &["bias", "activation"]);
        assert_eq!(serde_json::from_value::<DecoderConfig>(json).unwrap(), DecoderConfig::tiny());
    }
}
