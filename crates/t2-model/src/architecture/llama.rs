//! Llama 1 to 3.x and everything published under its name (TinyLlama, SmolLM, …).

use serde_json::{Value, json};

use super::{Architecture, Keys, bad, missing};
use crate::checkpoint::LoadError;
use crate::decoder::{AttentionConfig, DecoderConfig, MlpConfig, NormConfig, RopeConfig, RopeScaling};

/// `LlamaForCausalLM`.
#[derive(Debug)]
pub struct Llama;

/// What transformers assumes when the key is absent.
const DEFAULT_ROPE_THETA: f64 = 10_000.0;
/// What transformers assumes when the key is absent.
const DEFAULT_RMS_EPS: f64 = 1e-6;
/// What transformers assumes when the key is absent.
const DEFAULT_MAX_SEQ_LEN: usize = 2048;

const NAMES: &[(&str, &str)] = &[
    ("model.embed_tokens.weight", "embed.weight"),
    ("model.layers.{}.input_layernorm.weight", "blocks.{}.attn_norm.gamma"),
    ("model.layers.{}.self_attn.q_proj.weight", "blocks.{}.attn.q.weight"),
    ("model.layers.{}.self_attn.q_proj.bias", "blocks.{}.attn.q.bias"),
    ("model.layers.{}.self_attn.k_proj.weight", "blocks.{}.attn.k.weight"),
    ("model.layers.{}.self_attn.k_proj.bias", "blocks.{}.attn.k.bias"),
    ("model.layers.{}.self_attn.v_proj.weight", "blocks.{}.attn.v.weight"),
    ("model.layers.{}.self_attn.v_proj.bias", "blocks.{}.attn.v.bias"),
    ("model.layers.{}.self_attn.o_proj.weight", "blocks.{}.attn.o.weight"),
    ("model.layers.{}.self_attn.o_proj.bias", "blocks.{}.attn.o.bias"),
    ("model.layers.{}.post_attention_layernorm.weight", "blocks.{}.mlp_norm.gamma"),
    ("model.layers.{}.mlp.gate_proj.weight", "blocks.{}.mlp.gate.weight"),
    ("model.layers.{}.mlp.gate_proj.bias", "blocks.{}.mlp.gate.bias"),
    ("model.layers.{}.mlp.up_proj.weight", "blocks.{}.mlp.up.weight"),
    ("model.layers.{}.mlp.up_proj.bias", "blocks.{}.mlp.up.bias"),
    ("model.layers.{}.mlp.down_proj.weight", "blocks.{}.mlp.down.weight"),
    ("model.layers.{}.mlp.down_proj.bias", "blocks.{}.mlp.down.bias"),
    ("model.norm.weight", "norm.gamma"),
    ("lm_head.weight", "head.weight"),
];

impl Architecture for Llama {
    fn hf_name(&self) -> &'static str {
        "LlamaForCausalLM"
    }

    fn model_type(&self) -> &'static str {
        "llama"
    }

    fn config(&self, json: &Value) -> Result<DecoderConfig, LoadError> {
        let keys = Keys(json);
        if let Some(other) = keys.string("hidden_act")?.filter(|&name| name != "silu" && name != "swish") {
            return Err(bad("hidden_act", other, "silu, the only activation the decoder has"));
        }
        let d_model = keys.required("hidden_size")?;
        let heads = keys.required("num_attention_heads")?;
        let kv_heads = keys.count("num_key_value_heads")?.unwrap_or(heads);
        if !heads.is_multiple_of(kv_heads) {
            return Err(bad("num_key_value_heads", kv_heads, format!("a divisor of num_attention_heads, {heads}")));
        }
        let attention = AttentionConfig {
            heads,
            kv_heads,
            head_dim: head_dim(&keys, d_model, heads)?,
            bias: keys.flag("attention_bias")?,
        };
        Ok(DecoderConfig {
            vocab: keys.required("vocab_size")?,
            d_model,
            layers: keys.required("num_hidden_layers")?,
            max_seq_len: keys.count("max_position_embeddings")?.unwrap_or(DEFAULT_MAX_SEQ_LEN),
            attention,
            mlp: MlpConfig { d_hidden: keys.required("intermediate_size")?, bias: keys.flag("mlp_bias")? },
            norm: NormConfig { eps: keys.number("rms_norm_eps")?.unwrap_or(DEFAULT_RMS_EPS) },
            rope: rope(&keys)?,
            tied_head: keys.flag("tie_word_embeddings")?,
        })
    }

    fn to_json(&self, config: &DecoderConfig) -> Value {
        let DecoderConfig { attention, mlp, .. } = config;
        json!({
            "architectures": [self.hf_name()],
            "model_type": self.model_type(),
            "dtype": "float32",
            "hidden_act": "silu",
            "vocab_size": config.vocab,
            "hidden_size": config.d_model,
            "intermediate_size": mlp.d_hidden,
            "num_hidden_layers": config.layers,
            "num_attention_heads": attention.heads,
            "num_key_value_heads": attention.kv_heads,
            "head_dim": attention.head_dim,
            "max_position_embeddings": config.max_seq_len,
            "rms_norm_eps": config.norm.eps,
            "tie_word_embeddings": config.tied_head,
            "attention_bias": attention.bias,
            "mlp_bias": mlp.bias,
            "rope_parameters": rope_json(&config.rope),
        })
    }

    fn names(&self) -> &'static [(&'static str, &'static str)] {
        NAMES
    }
}

fn head_dim(keys: &Keys<'_>, d_model: usize, heads: usize) -> Result<usize, LoadError> {
    let head_dim = match keys.count("head_dim")? {
        Some(head_dim) => head_dim,
        None if d_model.is_multiple_of(heads) => d_model / heads,
        None => return Err(missing("head_dim", format!("a number, as {heads} heads do not divide {d_model} evenly"))),
    };
    if head_dim.is_multiple_of(2) { Ok(head_dim) } else { Err(bad("head_dim", head_dim, "an even number")) }
}

/// Rotary encoding in the newer spelling (`rope_parameters`) or the older (`rope_theta` beside `rope_scaling`).
fn rope(keys: &Keys<'_>) -> Result<RopeConfig, LoadError> {
    let nested = keys.get("rope_parameters").or_else(|| keys.get("rope_scaling")).unwrap_or(&Value::Null);
    let nested = Keys(nested);
    let partial = nested.number("partial_rotary_factor")?.or(keys.number("partial_rotary_factor")?);
    if let Some(factor) = partial.filter(|&factor| factor != 1.0) {
        return Err(bad("partial_rotary_factor", factor, "1, as every coordinate is rotated"));
    }
    let theta = nested.number("rope_theta")?.or(keys.number("rope_theta")?).unwrap_or(DEFAULT_ROPE_THETA);
    let kind = nested.string("rope_type")?.or(nested.string("type")?).unwrap_or("default");
    let number = |key| nested.number(key)?.ok_or_else(|| missing(key, format!("a number, as rope_type is {kind}")));
    let scaling = match kind {
        "default" => RopeScaling::None,
        "linear" => RopeScaling::Linear { factor: number("factor")? },
        "llama3" => {
            let original = nested.count("original_max_position_embeddings")?;
            let original = original.or(keys.count("original_max_position_embeddings")?);
            let (low_freq_factor, high_freq_factor) = (number("low_freq_factor")?, number("high_freq_factor")?);
            if low_freq_factor >= high_freq_factor {
                return Err(bad("low_freq_factor", low_freq_factor, format!("less than {high_freq_factor}")));
            }
            RopeScaling::Llama3 {
                factor: number("factor")?,
                low_freq_factor,
                high_freq_factor,
                original_max_seq_len: original
                    .ok_or_else(|| missing("original_max_position_embeddings", "a number, as rope_type is llama3"))?,
            }
        }
        other => return Err(bad("rope_type", other, "one of default, linear, llama3")),
    };
    Ok(RopeConfig { theta, scaling })
}

/// Rotary encoding in the newer spelling.
fn rope_json(rope: &RopeConfig) -> Value {
    let mut json = json!({ "rope_type": "default", "rope_theta": rope.theta });
    match rope.scaling {
        RopeScaling::None => {}
        RopeScaling::Linear { factor } => {
            json["rope_type"] = "linear".into();
            json["factor"] = factor.into();
        }
        RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_max_seq_len } => {
            json["rope_type"] = "llama3".into();
            json["factor"] = factor.into();
            json["low_freq_factor"] = low_freq_factor.into();
            json["high_freq_factor"] = high_freq_factor.into();
            json["original_max_position_embeddings"] = original_max_seq_len.into();
        }
    }
    json
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The smallest config, with `extra` keys.
    fn with(extra: &Value) -> Value {
        let mut json = json!({
            "vocab_size": 10, "hidden_size": 24, "intermediate_size": 6, "num_hidden_layers": 1, "num_attention_heads": 4,
        });
        json.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        json
    }

    #[test]
    fn absent_keys_mean_what_transformers_assumes() {
        let config = Llama.config(&with(&json!({ "head_dim": null }))).unwrap();
        assert_eq!((config.attention.kv_heads, config.attention.head_dim, config.max_seq_len), (4, 6, 2048));
        assert_eq!(config.rope, RopeConfig { theta: 10_000.0, scaling: RopeScaling::None });
        assert!(!config.tied_head && !config.attention.bias && !config.mlp.bias);
    }

    #[track_caller]
    fn check_rope(extra: &Value, theta: f64, scaling: RopeScaling) {
        let config = Llama.config(&with(extra)).unwrap();
        assert_eq!(config.rope, RopeConfig { theta, scaling });
        let again = Llama.config(&Llama.to_json(&config)).unwrap();
        assert_eq!(config, again, "written and read back");
    }

    #[test]
    fn every_spelling_of_rope_is_read() {
        let llama3 = RopeScaling::Llama3 {
            factor: 8.0,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_max_seq_len: 8192,
        };
        let keys = json!({
            "rope_type": "llama3", "factor": 8, "low_freq_factor": 1, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192, "rope_theta": 2e5,
        });
        check_rope(&json!({ "rope_theta": 3, "rope_scaling": null }), 3.0, RopeScaling::None);
        check_rope(&json!({ "rope_parameters": { "rope_theta": 3, "rope_type": "default" } }), 3.0, RopeScaling::None);
        let linear = RopeScaling::Linear { factor: 2.0 };
        check_rope(&json!({ "rope_scaling": { "type": "linear", "factor": 2 } }), 10_000.0, linear);
        check_rope(&json!({ "rope_parameters": keys }), 2e5, llama3.clone());
        check_rope(&json!({ "rope_scaling": keys, "rope_theta": 7 }), 2e5, llama3);
    }

    #[track_caller]
    fn check_refused(extra: &Value, parts: &[&str]) {
        let error = Llama.config(&with(extra)).unwrap_err().to_string();
        assert!(parts.iter().all(|part| error.contains(part)), "{error}");
    }

    #[test]
    fn what_the_decoder_cannot_run_is_refused() {
        check_refused(&json!({ "vocab_size": null }), &["vocab_size", "missing", "whole number"]);
        check_refused(&json!({ "hidden_size": -3 }), &["hidden_size", "-3"]);
        check_refused(&json!({ "num_hidden_layers": 1_u64 << 63 }), &["num_hidden_layers", "2147483647"]);
        check_refused(&json!({ "hidden_act": "gelu" }), &["hidden_act", "gelu", "silu"]);
        check_refused(&json!({ "num_key_value_heads": 3 }), &["num_key_value_heads", "divisor", "4"]);
        check_refused(&json!({ "hidden_size": 25 }), &["head_dim", "missing", "25"]);
        check_refused(&json!({ "head_dim": 3 }), &["head_dim", "3", "even"]);
        check_refused(&json!({ "tie_word_embeddings": 1 }), &["tie_word_embeddings", "true or false"]);
        check_refused(&json!({ "rope_scaling": { "type": "yarn" } }), &["yarn", "default, linear, llama3"]);
        check_refused(&json!({ "rope_scaling": { "type": "linear" } }), &["factor", "missing", "linear"]);
        check_refused(&json!({ "partial_rotary_factor": 0.5 }), &["partial_rotary_factor", "0.5"]);
        let flat = json!({ "rope_type": "llama3", "factor": 8, "low_freq_factor": 4, "high_freq_factor": 4 });
        check_refused(&json!({ "rope_parameters": flat }), &["low_freq_factor", "less than 4"]);
    }
}
