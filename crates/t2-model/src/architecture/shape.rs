//! The keys that every family spells alike: sizes, activation, epsilon, positions, tied head.

use serde_json::{Value, json};

use super::keys::{Keys, bad, missing};
use super::{Architecture, rope};
use crate::checkpoint::LoadError;
use crate::decoder::{
    Activation, AttentionBias, AttentionConfig, DecoderConfig, MlpConfig, NormConfig, RopeConfig, RopeScaling,
};

/// The decoder with these sizes and positions, and no switch on.
pub(super) fn read(keys: &Keys<'_>, rope: RopeConfig) -> Result<DecoderConfig, LoadError> {
    let d_model = keys.required("hidden_size")?;
    let heads = keys.required("num_attention_heads")?;
    let kv_heads = keys.count("num_key_value_heads")?.unwrap_or(heads);
    if !heads.is_multiple_of(kv_heads) {
        return Err(bad("num_key_value_heads", kv_heads, format!("a divisor of num_attention_heads, {heads}")));
    }
    let head_dim = head_dim(keys, d_model, heads)?;
    rope::check(&rope, head_dim)?;
    let mlp = MlpConfig::new(keys.required("intermediate_size")?);
    Ok(DecoderConfig {
        vocab: keys.required("vocab_size")?,
        d_model,
        layers: keys.required("num_hidden_layers")?,
        max_seq_len: longest(&rope.scaling, keys.required("max_position_embeddings")?),
        attention: AttentionConfig::new(heads, kv_heads, head_dim),
        mlp: MlpConfig { activation: activation(keys, "hidden_act", Activation::Silu)?, ..mlp },
        norm: NormConfig { eps: keys.required_number("rms_norm_eps")?, ..NormConfig::default() },
        rope,
        tied_head: keys.flag("tie_word_embeddings")?,
        ..DecoderConfig::tiny()
    })
}

/// `config` in the spelling of transformers 5, for `architecture` to add its own keys.
pub(super) fn write(architecture: &dyn Architecture, config: &DecoderConfig) -> Value {
    let DecoderConfig { attention, mlp, .. } = config;
    let max_seq_len = match config.rope.scaling {
        RopeScaling::Dynamic { original_max_seq_len, .. } => original_max_seq_len,
        _ => config.max_seq_len,
    };
    json!({
        "architectures": [architecture.hf_name()],
        "model_type": architecture.model_type(),
        "dtype": "float32",
        "hidden_act": activation_name(mlp.activation),
        "vocab_size": config.vocab,
        "hidden_size": config.d_model,
        "intermediate_size": mlp.d_hidden,
        "num_hidden_layers": config.layers,
        "num_attention_heads": attention.heads,
        "num_key_value_heads": attention.kv_heads,
        "head_dim": attention.head_dim,
        "max_position_embeddings": max_seq_len,
        "rms_norm_eps": config.norm.eps,
        "tie_word_embeddings": config.tied_head,
        "rope_parameters": rope::write(&config.rope),
    })
}

fn head_dim(keys: &Keys<'_>, d_model: usize, heads: usize) -> Result<usize, LoadError> {
    let head_dim = match keys.count("head_dim")? {
        Some(head_dim) => head_dim,
        None if d_model.is_multiple_of(heads) => d_model / heads,
        None => return Err(missing("head_dim", format!("a number, as {heads} heads do not divide {d_model} evenly"))),
    };
    if head_dim.is_multiple_of(2) { Ok(head_dim) } else { Err(bad("head_dim", head_dim, "an even number")) }
}

/// Longest sequence, where a config says that positions reach up to `max`. Configs name the length before it is stretched
/// with `dynamic`, and either one with `yarn`.
fn longest(scaling: &RopeScaling, max: usize) -> usize {
    match *scaling {
        RopeScaling::Dynamic { factor, original_max_seq_len } => (original_max_seq_len as f64 * factor) as usize,
        RopeScaling::Yarn { factor, original_max_seq_len, .. } => {
            max.max((original_max_seq_len as f64 * factor) as usize)
        }
        _ => max,
    }
}

/// Biases on all four projections of the attention or on none, as `attention_bias` says.
pub(super) fn bias(keys: &Keys<'_>) -> Result<AttentionBias, LoadError> {
    Ok(if keys.flag("attention_bias")? { AttentionBias::All } else { AttentionBias::None })
}

/// The value of `attention_bias`.
pub(super) fn has_bias(config: &DecoderConfig) -> bool {
    config.attention.bias == AttentionBias::All
}

/// The activation at `key`, or `default` when it is absent.
pub(super) fn activation(keys: &Keys<'_>, key: &'static str, default: Activation) -> Result<Activation, LoadError> {
    match keys.string(key)? {
        None => Ok(default),
        Some("silu" | "swish") => Ok(Activation::Silu),
        Some("gelu") => Ok(Activation::Gelu),
        Some("gelu_pytorch_tanh" | "gelu_new") => Ok(Activation::GeluTanh),
        Some(other) => Err(bad(key, other, "one of silu, gelu, gelu_pytorch_tanh")),
    }
}

/// What transformers calls an activation.
pub(super) fn activation_name(activation: Activation) -> &'static str {
    match activation {
        Activation::Silu => "silu",
        Activation::Gelu => "gelu",
        Activation::GeluTanh => "gelu_pytorch_tanh",
    }
}
