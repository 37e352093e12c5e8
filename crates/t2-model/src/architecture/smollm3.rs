//! SmolLM3: every fourth layer tells queries and keys no positions.

use serde_json::{Value, json};

use super::keys::{Keys, with_defaults};
use super::names::LLAMA;
use super::{Architecture, keys::bad, layers, rope, shape};
use crate::checkpoint::LoadError;
use crate::decoder::{BlockKind, DecoderConfig, Rotary};

/// `SmolLM3ForCausalLM`.
#[derive(Debug)]
pub struct SmolLm3;

/// What transformers assumes of keys that are absent.
fn defaults() -> Value {
    json!({
        "num_key_value_heads": 4,
        "max_position_embeddings": 32_768,
        "rms_norm_eps": 1e-6,
        "rope_theta": 2_000_000.0,
        "use_sliding_window": false,
        "no_rope_layer_interval": 4,
        "tie_word_embeddings": true,
    })
}

impl Architecture for SmolLm3 {
    fn hf_name(&self) -> &'static str {
        "SmolLM3ForCausalLM"
    }

    fn model_type(&self) -> &'static str {
        "smollm3"
    }

    fn config(&self, json: &Value) -> Result<DecoderConfig, LoadError> {
        let json = with_defaults(json, defaults());
        let keys = Keys(&json);
        let mut config = shape::read(&keys, rope::read(&keys)?)?;
        config.attention.bias = shape::bias(&keys)?;
        config.mlp.bias = keys.flag("mlp_bias")?;
        config.kinds = kinds(&keys, config.layers)?;
        Ok(config)
    }

    fn to_json(&self, config: &DecoderConfig) -> Value {
        let mut json = shape::write(self, config);
        let window = layers::window(config);
        let rotated = |layer| u8::from(config.kind(layer).rotary != Rotary::Off);
        json["attention_bias"] = shape::has_bias(config).into();
        json["mlp_bias"] = config.mlp.bias.into();
        json["use_sliding_window"] = window.is_some().into();
        json["sliding_window"] = json!(window);
        json["layer_types"] = json!(layers::types(config));
        json["no_rope_layers"] = (0..config.layers).map(rotated).collect();
        json
    }

    fn names(&self) -> &'static [(&'static str, &'static str)] {
        LLAMA
    }
}

/// Kinds of the blocks. Despite its name, `no_rope_layers` is 1 for layers that have positions.
fn kinds(keys: &Keys<'_>, count: usize) -> Result<Vec<BlockKind>, LoadError> {
    let window = keys.count("sliding_window")?;
    let slides = keys.flag("use_sliding_window")? && window.is_some();
    let interval = keys.required("no_rope_layer_interval")?;
    let listed = keys.each_layer("no_rope_layers", count)?;
    let is_rotated = |layer: usize| match listed.and_then(|list| list.get(layer)) {
        Some(value) => value.as_u64() != Some(0) && value.as_bool() != Some(false),
        None => !(layer + 1).is_multiple_of(interval),
    };
    if let Some(odd) = listed.into_iter().flatten().find(|value| !value.is_u64() && !value.is_boolean()) {
        return Err(bad("no_rope_layers", odd, "a list of 1 for layers with positions and 0 for others"));
    }
    let sliding = layers::sliding(keys, count, |layer| slides && !is_rotated(layer))?;
    let kind = |(layer, &sliding): (usize, &bool)| BlockKind {
        window: window.filter(|_| sliding),
        rotary: if is_rotated(layer) { Rotary::Global } else { Rotary::Off },
    };
    Ok(BlockKind::pattern(sliding.iter().enumerate().map(kind).collect()))
}
