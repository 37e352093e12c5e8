//! The shape of the decoder, independent of any checkpoint format.

use serde::{Deserialize, Serialize};

/// Everything that determines a Llama-family decoder except its weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DecoderConfig {
    /// Number of token ids.
    pub vocab: usize,
    /// Width of the residual stream.
    pub d_model: usize,
    /// Width inside the feed-forward block.
    pub d_hidden: usize,
    /// Number of decoder blocks.
    pub layers: usize,
    /// Number of query heads.
    pub heads: usize,
    /// Number of key/value heads; divides `heads`.
    pub kv_heads: usize,
    /// Width of one head.
    pub head_dim: usize,
    /// Longest sequence the position encoding covers, in tokens.
    pub max_seq_len: usize,
    /// Added to the mean square in every RMSNorm.
    pub rms_eps: f64,
    /// The output head is the token embedding.
    pub tied_head: bool,
    /// The attention projections carry biases.
    pub attention_bias: bool,
    /// The feed-forward projections carry biases.
    pub mlp_bias: bool,
    /// Rotary position encoding.
    pub rope: RopeConfig,
}

/// Rotary position encoding: the base period and how it is stretched to longer contexts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RopeConfig {
    /// Base of the geometric sequence of wavelengths.
    pub theta: f64,
    /// How frequencies are rescaled.
    pub scaling: RopeScaling,
}

/// How rotary frequencies are rescaled for contexts longer than those of pretraining.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum RopeScaling {
    /// Frequencies as they are.
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
