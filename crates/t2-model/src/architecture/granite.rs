//! Granite 3: a Llama whose embeddings, scores and residual stream are multiplied by fixed numbers.

use serde_json::{Value, json};

use super::keys::{Keys, with_defaults};
use super::names::LLAMA;
use super::{Architecture, rope, shape};
use crate::checkpoint::LoadError;
use crate::decoder::{DecoderConfig, ScaleConfig};

/// `GraniteForCausalLM`.
#[derive(Debug)]
pub struct Granite;

/// What transformers assumes of keys that are absent.
fn defaults() -> Value {
    json!({
        "max_position_embeddings": 2048,
        "rms_norm_eps": 1e-6,
        "rope_theta": 10_000.0,
        "embedding_multiplier": 1.0,
        "residual_multiplier": 1.0,
        "attention_multiplier": 1.0,
        "logits_scaling": 1.0,
    })
}

impl Architecture for Granite {
    fn hf_name(&self) -> &'static str {
        "GraniteForCausalLM"
    }

    fn model_type(&self) -> &'static str {
        "granite"
    }

    fn config(&self, json: &Value) -> Result<DecoderConfig, LoadError> {
        let json = with_defaults(json, defaults());
        let keys = Keys(&json);
        let number = |key| keys.required_number(key);
        let scale = |key| Ok::<_, LoadError>(Some(number(key)?).filter(|&scale| scale != 1.0));
        let mut config = shape::read(&keys, rope::read(&keys)?)?;
        config.attention.bias = shape::bias(&keys)?;
        config.attention.scale = Some(number("attention_multiplier")?);
        config.mlp.bias = keys.flag("mlp_bias")?;
        config.scale = ScaleConfig {
            embedding: scale("embedding_multiplier")?,
            residual: scale("residual_multiplier")?,
            logits_divisor: scale("logits_scaling")?,
            logits_cap: None,
        };
        Ok(config)
    }

    fn to_json(&self, config: &DecoderConfig) -> Value {
        let mut json = shape::write(self, config);
        let DecoderConfig { attention, mlp, scale, .. } = config;
        json["attention_bias"] = shape::has_bias(config).into();
        json["mlp_bias"] = mlp.bias.into();
        json["attention_multiplier"] = attention.score_scale().into();
        json["embedding_multiplier"] = scale.embedding.unwrap_or(1.0).into();
        json["residual_multiplier"] = scale.residual.unwrap_or(1.0).into();
        json["logits_scaling"] = scale.logits_divisor.unwrap_or(1.0).into();
        json
    }

    fn names(&self) -> &'static [(&'static str, &'static str)] {
        LLAMA
    }
}
