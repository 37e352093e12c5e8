//! Mistral 7B and what followed it under its name (Zephyr, Nemo, Small, …): every layer sees a window, unless there is none.

use serde_json::{Value, json};

use super::keys::{Keys, with_defaults};
use super::names::LLAMA;
use super::{Architecture, layers, rope, shape};
use crate::checkpoint::LoadError;
use crate::decoder::DecoderConfig;

/// `MistralForCausalLM`.
#[derive(Debug)]
pub struct Mistral;

/// What transformers assumes of keys that are absent.
fn defaults() -> Value {
    json!({
        "num_key_value_heads": 8,
        "max_position_embeddings": 131_072,
        "rms_norm_eps": 1e-6,
        "rope_theta": 10_000.0,
        "sliding_window": 4096,
    })
}

impl Architecture for Mistral {
    fn hf_name(&self) -> &'static str {
        "MistralForCausalLM"
    }

    fn model_type(&self) -> &'static str {
        "mistral"
    }

    fn config(&self, json: &Value) -> Result<DecoderConfig, LoadError> {
        let json = with_defaults(json, defaults());
        let keys = Keys(&json);
        let mut config = shape::read(&keys, rope::read(&keys)?)?;
        config.kinds = layers::kinds(&[true], keys.count("sliding_window")?);
        Ok(config)
    }

    fn to_json(&self, config: &DecoderConfig) -> Value {
        let mut json = shape::write(self, config);
        json["sliding_window"] = json!(layers::window(config));
        json
    }

    fn names(&self) -> &'static [(&'static str, &'static str)] {
        LLAMA
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A small config with `extra` keys.
    fn config(extra: &Value) -> DecoderConfig {
        let mut json = json!({
            "vocab_size": 10, "hidden_size": 32, "intermediate_size": 6, "num_hidden_layers": 4, "num_attention_heads": 8,
        });
        json.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        Mistral.config(&json).unwrap()
    }

    #[test]
    fn a_window_that_is_null_is_none_and_one_that_is_missing_is_the_default() {
        let window = |extra| layers::window(&config(&extra));
        assert_eq!(window(json!({})), Some(4096));
        assert_eq!(window(json!({ "sliding_window": null })), None);
        assert_eq!(window(json!({ "sliding_window": 5 })), Some(5));
        assert_eq!(config(&json!({})).attention.kv_heads, 8);
    }
}
