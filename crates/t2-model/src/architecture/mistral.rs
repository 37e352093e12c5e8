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
