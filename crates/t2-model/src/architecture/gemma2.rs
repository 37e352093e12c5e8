//! Gemma 2: norms on both sides, gains stored as their distance from one, capped scores, and a window in every other layer.

use serde_json::{Value, json};

use super::keys::{Keys, with_defaults};
use super::names::POST_NORMS;
use super::{Architecture, Source, Transform, keys::bad, layers, plain_sources, rope, shape};
use crate::checkpoint::LoadError;
use crate::decoder::{Activation, DecoderConfig, NormPlace, RopeConfig, ScaleConfig, config::is_norm};

/// `Gemma2ForCausalLM`.
#[derive(Debug)]
pub struct Gemma2;

/// What transformers assumes of keys that are absent.
fn defaults() -> Value {
    json!({
        "num_key_value_heads": 4,
        "head_dim": 256,
        "max_position_embeddings": 8192,
        "rms_norm_eps": 1e-6,
        "rope_theta": 10_000.0,
        "query_pre_attn_scalar": 256,
        "sliding_window": 4096,
        "attn_logit_softcapping": 50.0,
        "final_logit_softcapping": 30.0,
        "tie_word_embeddings": true,
    })
}

impl Architecture for Gemma2 {
    fn hf_name(&self) -> &'static str {
        "Gemma2ForCausalLM"
    }

    fn model_type(&self) -> &'static str {
        "gemma2"
    }

    fn config(&self, json: &Value) -> Result<DecoderConfig, LoadError> {
        let json = with_defaults(json, defaults());
        let keys = Keys(&json);
        let mut config = read(&keys, rope::read(&keys)?)?;
        config.attention.cap = keys.number("attn_logit_softcapping")?;
        let sliding = layers::sliding(&keys, config.layers, |layer| layer.is_multiple_of(2))?;
        config.kinds = layers::kinds(&sliding, keys.count("sliding_window")?);
        Ok(config)
    }

    fn to_json(&self, config: &DecoderConfig) -> Value {
        let mut json = shape::write(self, config);
        write(config, &mut json);
        json["attn_logit_softcapping"] = json!(config.attention.cap);
        json
    }

    fn names(&self) -> &'static [(&'static str, &'static str)] {
        POST_NORMS
    }

    fn sources<'a>(&self, config: &'a DecoderConfig) -> Box<dyn Iterator<Item = Source> + 'a> {
        Box::new(sources(config))
    }
}

/// What Gemma 2 and 3 share.
pub(super) fn read(keys: &Keys<'_>, rope: RopeConfig) -> Result<DecoderConfig, LoadError> {
    if keys.flag("use_bidirectional_attention")? {
        return Err(bad("use_bidirectional_attention", true, "false, as a decoder looks back only"));
    }
    let mut config = shape::read(keys, rope)?;
    config.mlp.activation = shape::activation(keys, "hidden_activation", Activation::GeluTanh)?;
    config.attention.bias = shape::bias(keys)?;
    config.attention.scale = Some(keys.required_number("query_pre_attn_scalar")?.powf(-0.5));
    config.norm.place = NormPlace::Around;
    config.scale = ScaleConfig {
        // Where it meets the states it is rounded to their type, as transformers does: in bf16, √3072 is 55.5.
        embedding: Some((config.d_model as f64).sqrt()),
        logits_cap: keys.number("final_logit_softcapping")?,
        ..ScaleConfig::default()
    };
    Ok(config)
}

/// The keys that [`read`] reads, and those of the layers.
pub(super) fn write(config: &DecoderConfig, json: &mut Value) {
    json["hidden_activation"] = shape::activation_name(config.mlp.activation).into();
    json["attention_bias"] = shape::has_bias(config).into();
    json["query_pre_attn_scalar"] = scalar(config.attention.score_scale());
    json["final_logit_softcapping"] = json!(config.scale.logits_cap);
    json["sliding_window"] = json!(layers::window(config));
    json["layer_types"] = json!(layers::types(config));
}

/// The number that scores are divided by the root of. It is a whole one in checkpoints, and must be one for transformers.
fn scalar(scale: f64) -> Value {
    const ROUNDING: f64 = 1e-9;
    let scalar = scale.powi(-2);
    let whole = scalar.round();
    if (scalar / whole - 1.0).abs() < ROUNDING { json!(whole as u64) } else { json!(scalar) }
}

/// Every parameter is a tensor of its own, and gains are stored as their distance from one.
pub(super) fn sources(config: &DecoderConfig) -> impl Iterator<Item = Source> {
    plain_sources(config, POST_NORMS).map(|source| match is_norm(&source.path) {
        true => Source { transform: Transform::PlusOne, ..source },
        false => source,
    })
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
        Gemma2.config(&json).unwrap()
    }

    #[test]
    fn absent_keys_and_nulls_mean_what_transformers_assumes() {
        let given = config(&json!({}));
        assert!(given.tied_head && given.mlp.activation == Activation::GeluTanh);
        assert_eq!((given.attention.kv_heads, given.attention.head_dim), (4, 256));
        assert_eq!((given.attention.scale, given.attention.cap), (Some(0.0625), Some(50.0)));
        assert_eq!((given.scale.logits_cap, given.scale.embedding), (Some(30.0), Some(32f64.sqrt())));
        assert_eq!([0, 1, 2, 3].map(|layer| given.kind(layer).window), [Some(4096), None, Some(4096), None]);
        let bare = config(&json!({ "attn_logit_softcapping": null, "final_logit_softcapping": null }));
        assert_eq!((bare.attention.cap, bare.scale.logits_cap), (None, None));
    }

    #[test]
    fn the_number_under_the_root_is_written_as_it_was_read() {
        for number in [1, 20, 144, 168, 256, 4095] {
            let json = Gemma2.to_json(&config(&json!({ "query_pre_attn_scalar": number })));
            assert_eq!(json["query_pre_attn_scalar"], json!(number));
        }
    }
}
