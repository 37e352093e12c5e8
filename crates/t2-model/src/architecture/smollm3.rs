//! `SmolLM3`: every fourth layer tells queries and keys no positions.

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

/// Kinds of the blocks.
fn kinds(keys: &Keys<'_>, count: usize) -> Result<Vec<BlockKind>, LoadError> {
    let window = keys.count("sliding_window")?;
    let slides = keys.flag("use_sliding_window")? && window.is_some();
    let interval = keys.required("no_rope_layer_interval")?;
    let listed = no_rope_layers(keys, count)?;
    let is_rotated = |layer: usize| match listed.and_then(|list| list.get(layer)) {
        Some(value) => value.as_u64() != Some(0) && value.as_bool() != Some(false),
        None => !(layer + 1).is_multiple_of(interval),
    };
    let sliding = layers::sliding(keys, count, |layer| slides && !is_rotated(layer))?;
    let kind = |(layer, &sliding): (usize, &bool)| BlockKind {
        window: window.filter(|_| sliding),
        rotary: if is_rotated(layer) { Rotary::Global } else { Rotary::Off },
    };
    Ok(BlockKind::pattern(sliding.iter().enumerate().map(kind).collect()))
}

/// The list that, despite its name, has 1 for layers with positions. It may be longer than there are `count` layers: the
/// rest means nothing.
fn no_rope_layers<'a>(keys: &Keys<'a>, count: usize) -> Result<Option<&'a [Value]>, LoadError> {
    const KEY: &str = "no_rope_layers";
    let Some(list) = keys.list(KEY)? else { return Ok(None) };
    if let Some(odd) = list.iter().find(|value| !value.is_u64() && !value.is_boolean()) {
        return Err(bad(KEY, odd, "a list of 1 for layers with positions and 0 for others"));
    }
    match list.get(..count) {
        Some(list) => Ok(Some(list)),
        None => Err(bad(KEY, format!("{} long", list.len()), format!("one entry for each of {count} layers"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A small config with `extra` keys.
    fn config(extra: &Value) -> Result<DecoderConfig, LoadError> {
        let mut json = json!({
            "vocab_size": 10, "hidden_size": 32, "intermediate_size": 6, "num_hidden_layers": 4, "num_attention_heads": 8,
        });
        json.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        SmolLm3.config(&json)
    }

    #[track_caller]
    fn check(extra: &Value, rotated: [bool; 4], windows: [Option<usize>; 4]) {
        let config = config(extra).unwrap();
        assert_eq!([0, 1, 2, 3].map(|layer| config.kind(layer).rotary == Rotary::Global), rotated);
        assert_eq!([0, 1, 2, 3].map(|layer| config.kind(layer).window), windows);
        let again = SmolLm3.config(&SmolLm3.to_json(&config)).unwrap();
        assert_eq!(again, config, "written and read back");
    }

    #[test]
    fn layers_without_positions_are_listed_or_every_fourth() {
        let none = [None; 4];
        check(&json!({}), [true, true, true, false], none);
        check(&json!({ "no_rope_layers": null }), [true, true, true, false], none);
        check(&json!({ "no_rope_layer_interval": 2 }), [true, false, true, false], none);
        check(&json!({ "no_rope_layers": [0, 1, 1, 1] }), [false, true, true, true], none);
        check(&json!({ "no_rope_layers": [0, 1, 1, 1, 0, 0] }), [false, true, true, true], none);
        let window = json!({ "use_sliding_window": true, "sliding_window": 4 });
        check(&window, [true, true, true, false], [None, None, None, Some(4)]);
        assert!(config(&json!({})).unwrap().tied_head);
    }

    #[test]
    fn a_list_that_does_not_say_it_of_every_layer_is_refused() {
        #[track_caller]
        fn check_refused(list: &Value, part: &str) {
            let error = config(&json!({ "no_rope_layers": list })).unwrap_err().to_string();
            assert!(error.contains("no_rope_layers") && error.contains(part), "{error}");
        }
        check_refused(&json!([1, 1, 0]), "3 long");
        check_refused(&json!([]), "each of 4 layers");
        check_refused(&json!([1, 1, 1, "0"]), "a list of 1 for layers with positions");
    }
}
