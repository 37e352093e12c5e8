//! Gemma 3, its text: a Gemma 2 with norms on queries and keys in place of capped scores, and positions of their own for
//! the layers that see a window, five of six.

use serde_json::{Value, json};

use super::keys::{Keys, bad, with_defaults};
use super::names::POST_NORMS;
use super::{Architecture, Source, gemma2, layers, rope, shape};
use crate::checkpoint::LoadError;
use crate::decoder::{BlockKind, DecoderConfig, QkNorm, RopeConfig, Rotary};

/// `Gemma3ForCausalLM`: text alone, as the checkpoints of 270M and 1B are.
#[derive(Debug)]
pub struct Gemma3;

/// `Gemma3ForConditionalGeneration`: the larger checkpoints, which see images too. Their text is loaded, and saved as a
/// [`Gemma3`].
#[derive(Debug)]
pub struct Gemma3Multimodal;

/// What transformers assumes of keys that are absent. The config of the text inside a [`Gemma3Multimodal`] has little else
/// than what differs from this.
fn defaults() -> Value {
    json!({
        "vocab_size": 262_208,
        "hidden_size": 2304,
        "intermediate_size": 9216,
        "num_hidden_layers": 26,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "head_dim": 256,
        "max_position_embeddings": 131_072,
        "rms_norm_eps": 1e-6,
        "rope_theta": GLOBAL_THETA,
        "rope_local_base_freq": LOCAL_THETA,
        "query_pre_attn_scalar": 256,
        "sliding_window": 4096,
        "sliding_window_pattern": 6,
        "tie_word_embeddings": true,
    })
}

const GLOBAL_THETA: f64 = 1_000_000.0;
const LOCAL_THETA: f64 = 10_000.0;

impl Architecture for Gemma3 {
    fn hf_name(&self) -> &'static str {
        "Gemma3ForCausalLM"
    }

    fn model_type(&self) -> &'static str {
        "gemma3_text"
    }

    fn config(&self, json: &Value) -> Result<DecoderConfig, LoadError> {
        let json = with_defaults(json, defaults());
        let keys = Keys(&json);
        let [global, local] = ropes(&keys)?;
        let mut config = gemma2::read(&keys, global)?;
        rope::check(&local, config.attention.head_dim)?;
        // `attn_logit_softcapping` is a key of this family that transformers does not look at, so neither do we.
        config.attention.qk_norm = QkNorm::Head;
        config.local_rope = Some(local);
        let pattern = keys.required("sliding_window_pattern")?;
        let sliding = layers::sliding(&keys, config.layers, |layer| !(layer + 1).is_multiple_of(pattern))?;
        let window = keys.count("sliding_window")?;
        let kind = |&sliding: &bool| match sliding {
            true => BlockKind { window, rotary: Rotary::Local },
            false => BlockKind::PLAIN,
        };
        config.kinds = BlockKind::pattern(sliding.iter().map(kind).collect());
        Ok(config)
    }

    fn to_json(&self, config: &DecoderConfig) -> Value {
        let mut json = shape::write(self, config);
        gemma2::write(config, &mut json);
        let local = config.local_rope.clone().unwrap_or_else(|| RopeConfig::new(LOCAL_THETA));
        json["rope_parameters"] = json!({
            "full_attention": rope::write(&config.rope),
            "sliding_attention": rope::write(&local),
        });
        json
    }

    fn names(&self) -> &'static [(&'static str, &'static str)] {
        POST_NORMS
    }

    fn sources<'a>(&self, config: &'a DecoderConfig) -> Box<dyn Iterator<Item = Source> + 'a> {
        Box::new(gemma2::sources(config))
    }
}

impl Architecture for Gemma3Multimodal {
    fn hf_name(&self) -> &'static str {
        "Gemma3ForConditionalGeneration"
    }

    fn model_type(&self) -> &'static str {
        "gemma3"
    }

    fn config(&self, json: &Value) -> Result<DecoderConfig, LoadError> {
        let text = Keys(json).get("text_config").cloned().unwrap_or_else(|| json!({}));
        let tied =
            json!({ "tie_word_embeddings": Keys(json).get("tie_word_embeddings").cloned().unwrap_or(true.into()) });
        Gemma3.config(&with_defaults(&tied, text))
    }

    fn to_json(&self, config: &DecoderConfig) -> Value {
        Gemma3.to_json(config)
    }

    fn names(&self) -> &'static [(&'static str, &'static str)] {
        POST_NORMS
    }

    fn sources<'a>(&self, config: &'a DecoderConfig) -> Box<dyn Iterator<Item = Source> + 'a> {
        Gemma3.sources(config)
    }
}

/// The encodings of layers that see everything and of those that see a window: of one object for each kind in the newer
/// spelling; in the older, what is rescaled is the first alone. Where there are both, the older wins key by key, as in
/// transformers.
fn ropes(keys: &Keys<'_>) -> Result<[RopeConfig; 2], LoadError> {
    const KINDS: [&str; 2] = ["full_attention", "sliding_attention"];
    let given = keys.object("rope_parameters")?;
    if let Some(given) = &given
        && KINDS.iter().all(|kind| given.get(kind).is_none())
    {
        return Err(bad("rope_parameters", given.0, format!("an object with {}", KINDS.join(" and "))));
    }
    let of_kind = |kind| given.as_ref().map_or(Ok(None), |given| given.object(kind));
    let [full, sliding] = KINDS.map(of_kind);
    let global = merged([full?, keys.object("rope_scaling")?]);
    let global = rope::read_nested(keys, &Keys(&global), keys.number("rope_theta")?)?;
    let local = sliding?.unwrap_or(Keys(&Value::Null));
    let local = rope::read_nested(keys, &local, keys.number("rope_local_base_freq")?)?;
    Ok([rope::whole(global)?, rope::whole(local)?])
}

/// The keys of all `objects`; of those that several have, the last.
fn merged(objects: [Option<Keys<'_>>; 2]) -> Value {
    let maps = objects.into_iter().flatten().filter_map(|object| object.0.as_object());
    Value::Object(maps.flatten().map(|(key, value)| (key.clone(), value.clone())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decoder::RopeScaling;

    /// Global and local theta, and which of the first seven layers see a window.
    #[track_caller]
    fn check(architecture: &dyn Architecture, extra: &Value, thetas: [f64; 2], sliding: [u8; 7]) {
        let config = architecture.config(extra).unwrap();
        assert_eq!([config.rope.theta, config.local_rope.as_ref().unwrap().theta], thetas);
        let is_sliding =
            |layer| u8::from(config.kind(layer) == BlockKind { window: Some(4096), rotary: Rotary::Local });
        assert_eq!([0, 1, 2, 3, 4, 5, 6].map(is_sliding), sliding);
        assert!(config.tied_head && (config.vocab, config.attention.heads) == (262_208, 8));
        let again = Gemma3.config(&architecture.to_json(&config)).unwrap();
        assert_eq!(again, config, "written and read back");
    }

    #[test]
    fn both_spellings_of_both_encodings_are_read() {
        let usual = [1, 1, 1, 1, 1, 0, 1];
        check(&Gemma3, &json!({}), [1e6, 1e4], usual);
        check(&Gemma3, &json!({ "rope_theta": 5e4, "rope_local_base_freq": 100 }), [5e4, 100.0], usual);
        let types: Vec<_> = (0..26).map(|layer| ["full_attention", "sliding_attention"][layer % 2]).collect();
        check(&Gemma3, &json!({ "layer_types": types }), [1e6, 1e4], [0, 1, 0, 1, 0, 1, 0]);
        check(&Gemma3, &json!({ "sliding_window_pattern": 2 }), [1e6, 1e4], [1, 0, 1, 0, 1, 0, 1]);
        let nested = json!({ "full_attention": { "rope_theta": 7 }, "sliding_attention": { "rope_theta": 8 } });
        check(&Gemma3, &json!({ "rope_parameters": nested }), [7.0, 8.0], usual);
        check(&Gemma3, &json!({ "rope_parameters": { "full_attention": {} } }), [1e6, 1e4], usual);
        check(&Gemma3Multimodal, &json!({ "text_config": { "rope_theta": 9 } }), [9.0, 1e4], usual);
        check(&Gemma3Multimodal, &json!({}), [1e6, 1e4], usual);
    }

    #[test]
    fn only_the_encoding_of_layers_that_see_everything_is_rescaled() {
        let scaling = json!({ "rope_type": "linear", "factor": 8.0 });
        let config = Gemma3.config(&json!({ "rope_scaling": scaling })).unwrap();
        assert_eq!(config.rope.scaling, RopeScaling::Linear { factor: 8.0 });
        assert_eq!(config.local_rope.unwrap().scaling, RopeScaling::None);
    }

    #[test]
    fn the_older_spelling_is_merged_over_the_newer() {
        #[track_caller]
        fn check(scaling: &Value, parameters: &Value, theta: f64, scaled: RopeScaling) {
            let json = json!({ "rope_scaling": scaling, "rope_parameters": parameters, "rope_theta": 5.0 });
            assert_eq!(Gemma3.config(&json).unwrap().rope, RopeConfig { scaling: scaled, ..RopeConfig::new(theta) });
        }
        let linear = |factor| RopeScaling::Linear { factor };
        let given = json!({ "full_attention": { "rope_theta": 7.0, "rope_type": "linear", "factor": 8.0 } });
        check(&json!({}), &given, 7.0, linear(8.0));
        check(&json!({ "factor": 4.0 }), &given, 7.0, linear(4.0));
        check(&json!({ "rope_type": "default", "rope_theta": 3.0 }), &given, 3.0, RopeScaling::None);
        check(&json!({ "rope_type": "linear", "factor": 2.0 }), &json!({}), 5.0, linear(2.0));
        check(&json!({}), &json!({ "full_attention": null, "sliding_attention": {} }), 5.0, RopeScaling::None);
    }

    #[test]
    fn what_the_decoder_cannot_run_is_refused() {
        #[track_caller]
        fn check_refused(extra: &Value, part: &str) {
            let error = Gemma3.config(extra).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
        check_refused(&json!({ "rope_parameters": { "rope_theta": 7 } }), "full_attention and sliding_attention");
        check_refused(&json!({ "rope_parameters": [] }), "an object");
        check_refused(&json!({ "rope_parameters": { "full_attention": "linear" } }), "full_attention");
        check_refused(&json!({ "use_bidirectional_attention": true }), "use_bidirectional_attention");
        check_refused(&json!({ "partial_rotary_factor": 0.5 }), "partial_rotary_factor");
        for kind in ["full_attention", "sliding_attention"] {
            let nested = |rope: Value| json!({ "rope_parameters": { kind: rope } });
            check_refused(&nested(json!({ "partial_rotary_factor": 0.5 })), "partial_rotary_factor");
            let lists = json!({ "rope_type": "longrope", "short_factor": [1.0], "long_factor": [1.0] });
            check_refused(&nested(lists), "128 numbers");
            check_refused(&nested(json!({ "rope_type": "dynamic", "factor": 0.5 })), "1 at least");
        }
    }
}
