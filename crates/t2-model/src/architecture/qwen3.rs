//! Qwen 3: a norm on every head of queries and keys, and no biases.

use serde_json::{Value, json};

use super::keys::{Keys, with_defaults};
use super::names::LLAMA;
use super::{Architecture, qwen2, rope, shape};
use crate::checkpoint::LoadError;
use crate::decoder::{DecoderConfig, QkNorm};

/// `Qwen3ForCausalLM`.
#[derive(Debug)]
pub struct Qwen3;

/// What transformers assumes of keys that are absent.
fn defaults() -> Value {
    json!({
        "head_dim": 128,
        "num_key_value_heads": 32,
        "max_position_embeddings": 32_768,
        "rms_norm_eps": 1e-6,
        "rope_theta": 10_000.0,
        "use_sliding_window": false,
        "sliding_window": 4096,
        "max_window_layers": 28,
    })
}

impl Architecture for Qwen3 {
    fn hf_name(&self) -> &'static str {
        "Qwen3ForCausalLM"
    }

    fn model_type(&self) -> &'static str {
        "qwen3"
    }

    fn config(&self, json: &Value) -> Result<DecoderConfig, LoadError> {
        let json = with_defaults(json, defaults());
        let keys = Keys(&json);
        let mut config = shape::read(&keys, rope::read(&keys)?)?;
        config.attention.qk_norm = QkNorm::Head;
        config.attention.bias = shape::bias(&keys)?;
        config.kinds = qwen2::kinds(&keys, config.layers)?;
        Ok(config)
    }

    fn to_json(&self, config: &DecoderConfig) -> Value {
        let mut json = shape::write(self, config);
        json["attention_bias"] = shape::has_bias(config).into();
        qwen2::write_kinds(config, &mut json);
        json
    }

    fn names(&self) -> &'static [(&'static str, &'static str)] {
        LLAMA
    }
}
