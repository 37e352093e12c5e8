//! Llama 1 to 3.x and everything published under its name (TinyLlama, SmolLM, …).

use serde_json::{Value, json};

use super::keys::{Keys, with_defaults};
use super::names::LLAMA;
use super::{Architecture, rope, shape};
use crate::checkpoint::LoadError;
use crate::decoder::DecoderConfig;

/// `LlamaForCausalLM`.
#[derive(Debug)]
pub struct Llama;

/// What transformers assumes of keys that are absent.
fn defaults() -> Value {
    json!({
        "max_position_embeddings": 2048,
        "rms_norm_eps": 1e-6,
        "rope_theta": 10_000.0,
    })
}

impl Architecture for Llama {
    fn hf_name(&self) -> &'static str {
        "LlamaForCausalLM"
    }

    fn model_type(&self) -> &'static str {
        "llama"
    }

    fn config(&self, json: &Value) -> Result<DecoderConfig, LoadError> {
        let json = with_defaults(json, defaults());
        let keys = Keys(&json);
        let mut config = shape::read(&keys, rope::read(&keys)?)?;
        config.attention.bias = shape::bias(&keys)?;
        config.mlp.bias = keys.flag("mlp_bias")?;
        Ok(config)
    }

    fn to_json(&self, config: &DecoderConfig) -> Value {
        let mut json = shape::write(self, config);
        json["attention_bias"] = shape::has_bias(config).into();
        json["mlp_bias"] = config.mlp.bias.into();
        json
    }

    fn names(&self) -> &'static [(&'static str, &'static str)] {
        LLAMA
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decoder::{AttentionConfig, RopeConfig};

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
        assert_eq!(config.rope, RopeConfig::new(10_000.0));
        assert!(!config.tied_head && !config.mlp.bias);
        assert_eq!(config.attention, AttentionConfig::new(4, 4, 6));
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
        check_refused(&json!({ "hidden_act": "relu" }), &["hidden_act", "relu", "silu"]);
        check_refused(&json!({ "num_key_value_heads": 3 }), &["num_key_value_heads", "divisor", "4"]);
        check_refused(&json!({ "hidden_size": 25 }), &["head_dim", "missing", "25"]);
        check_refused(&json!({ "head_dim": 3 }), &["head_dim", "3", "even"]);
        check_refused(&json!({ "tie_word_embeddings": 1 }), &["tie_word_embeddings", "true or false"]);
    }
}
