//! `OLMo` 2: norms on what attention and feed-forward network add, and on queries and keys over all heads together.

use serde_json::{Value, json};

use super::keys::{Keys, with_defaults};
use super::names::POST_NORMS;
use super::{Architecture, rope, shape};
use crate::checkpoint::LoadError;
use crate::decoder::{DecoderConfig, NormPlace, QkNorm};

/// `Olmo2ForCausalLM`.
#[derive(Debug)]
pub struct Olmo2;

/// What transformers assumes of keys that are absent.
fn defaults() -> Value {
    json!({
        "max_position_embeddings": 2048,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10_000.0,
    })
}

impl Architecture for Olmo2 {
    fn hf_name(&self) -> &'static str {
        "Olmo2ForCausalLM"
    }

    fn model_type(&self) -> &'static str {
        "olmo2"
    }

    fn config(&self, json: &Value) -> Result<DecoderConfig, LoadError> {
        let json = with_defaults(json, defaults());
        let keys = Keys(&json);
        let mut config = shape::read(&keys, rope::read(&keys)?)?;
        config.attention.bias = shape::bias(&keys)?;
        config.attention.qk_norm = QkNorm::Projection;
        config.norm.place = NormPlace::After;
        Ok(config)
    }

    fn to_json(&self, config: &DecoderConfig) -> Value {
        let mut json = shape::write(self, config);
        json["attention_bias"] = shape::has_bias(config).into();
        json
    }

    fn names(&self) -> &'static [(&'static str, &'static str)] {
        POST_NORMS
    }
}
