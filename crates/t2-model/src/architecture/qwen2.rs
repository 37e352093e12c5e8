//! Qwen 2 and 2.5: biases on queries, keys and values.

use serde_json::{Value, json};

use super::keys::{Keys, with_defaults};
use super::names::LLAMA;
use super::{Architecture, layers, rope, shape};
use crate::checkpoint::LoadError;
use crate::decoder::{AttentionBias, BlockKind, DecoderConfig};

/// `Qwen2ForCausalLM`.
#[derive(Debug)]
pub struct Qwen2;

/// What transformers assumes of keys that are absent.
fn defaults() -> Value {
    json!({
        "num_key_value_heads": 32,
        "max_position_embeddings": 32_768,
        "rms_norm_eps": 1e-6,
        "rope_theta": 10_000.0,
        "use_sliding_window": false,
        "sliding_window": 4096,
        "max_window_layers": 28,
    })
}

impl Architecture for Qwen2 {
    fn hf_name(&self) -> &'static str {
        "Qwen2ForCausalLM"
    }

    fn model_type(&self) -> &'static str {
        "qwen2"
    }

    fn config(&self, json: &Value) -> Result<DecoderConfig, LoadError> {
        let json = with_defaults(json, defaults());
        let keys = Keys(&json);
        let mut config = shape::read(&keys, rope::read(&keys)?)?;
        config.attention.bias = AttentionBias::Qkv;
        config.kinds = kinds(&keys, config.layers)?;
        Ok(config)
    }

    fn to_json(&self, config: &DecoderConfig) -> Value {
        let mut json = shape::write(self, config);
        write_kinds(config, &mut json);
        json
    }

    fn names(&self) -> &'static [(&'static str, &'static str)] {
        LLAMA
    }
}

/// Kinds of the blocks of Qwen 2 and 3: with `use_sliding_window`, all but the first `max_window_layers` see a window,
/// where `layer_types` does not say otherwise.
pub(super) fn kinds(keys: &Keys<'_>, count: usize) -> Result<Vec<BlockKind>, LoadError> {
    if !keys.flag("use_sliding_window")? {
        return Ok(vec![]);
    }
    // Zero is allowed here: all layers slide.
    let first = keys.get("max_window_layers").and_then(Value::as_u64).unwrap_or(0);
    let sliding = layers::sliding(keys, count, |layer| layer as u64 >= first)?;
    Ok(layers::kinds(&sliding, keys.count("sliding_window")?))
}

/// The keys that [`kinds`] reads.
pub(super) fn write_kinds(config: &DecoderConfig, json: &mut Value) {
    let window = layers::window(config);
    json["use_sliding_window"] = window.is_some().into();
    json["sliding_window"] = json!(window);
    json["layer_types"] = json!(layers::types(config));
}
