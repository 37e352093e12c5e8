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
    let first = keys.required_or_zero("max_window_layers")?;
    let sliding = layers::sliding(keys, count, |layer| layer >= first)?;
    Ok(layers::kinds(&sliding, keys.count("sliding_window")?))
}

/// The keys that [`kinds`] reads.
pub(super) fn write_kinds(config: &DecoderConfig, json: &mut Value) {
    let window = layers::window(config);
    json["use_sliding_window"] = window.is_some().into();
    json["sliding_window"] = json!(window);
    json["layer_types"] = json!(layers::types(config));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::architecture::Qwen3;

    /// What `architecture` makes of a small config with `extra` keys.
    fn config(architecture: &dyn Architecture, extra: &Value) -> Result<DecoderConfig, LoadError> {
        let mut json = json!({
            "vocab_size": 10, "hidden_size": 32, "intermediate_size": 6, "num_hidden_layers": 4, "num_attention_heads": 8,
            "num_key_value_heads": 2,
        });
        json.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        architecture.config(&json)
    }

    #[track_caller]
    fn check(extra: &Value, windows: [Option<usize>; 4]) {
        let config = config(&Qwen2, extra).unwrap();
        assert_eq!([0, 1, 2, 3].map(|layer| config.kind(layer).window), windows);
        let again = Qwen2.config(&Qwen2.to_json(&config)).unwrap();
        assert_eq!(again, config, "written and read back");
    }

    #[test]
    fn windows_begin_after_some_layers_where_they_are_switched_on() {
        let (all, none) = ([Some(4); 4], [None; 4]);
        check(&json!({ "sliding_window": 4, "max_window_layers": 0 }), none);
        check(&json!({ "use_sliding_window": true, "sliding_window": 4, "max_window_layers": 0 }), all);
        check(
            &json!({ "use_sliding_window": true, "sliding_window": 4, "max_window_layers": 2 }),
            [None, None, Some(4), Some(4)],
        );
        check(&json!({ "use_sliding_window": true, "sliding_window": 4 }), none);
        let types = ["sliding_attention", "full_attention", "full_attention", "sliding_attention"];
        let listed = json!({ "use_sliding_window": true, "sliding_window": 4, "layer_types": types });
        check(&listed, [Some(4), None, None, Some(4)]);
    }

    #[test]
    fn where_windows_begin_is_a_whole_number() {
        for architecture in [&Qwen2 as &dyn Architecture, &Qwen3] {
            for odd in [json!(28.0), json!("28"), json!(null), json!(-1), json!(1_u64 << 40)] {
                let extra = json!({ "use_sliding_window": true, "max_window_layers": odd });
                let error = config(architecture, &extra).unwrap_err().to_string();
                assert!(error.contains("max_window_layers") && error.contains("a whole number from 0"), "{error}");
            }
        }
    }
}
