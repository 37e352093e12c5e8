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

#[cfg(test)]
mod tests {
    use super::*;

    /// A small config with `extra` keys.
    fn config(extra: &Value) -> DecoderConfig {
        let mut json = json!({
            "vocab_size": 10, "hidden_size": 32, "intermediate_size": 6, "num_hidden_layers": 4, "num_attention_heads": 8,
        });
        json.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        Granite.config(&json).unwrap()
    }

    #[test]
    fn a_multiplier_of_one_is_no_multiplier() {
        let plain = config(&json!({}));
        assert_eq!((plain.scale, plain.attention.scale), (ScaleConfig::default(), Some(1.0)));
        let scaled = config(&json!({ "residual_multiplier": 0.22, "logits_scaling": 16 }));
        assert_eq!((scaled.scale.residual, scaled.scale.logits_divisor), (Some(0.22), Some(16.0)));
        assert_eq!(Granite.config(&Granite.to_json(&scaled)).unwrap(), scaled, "written and read back");
    }
}
