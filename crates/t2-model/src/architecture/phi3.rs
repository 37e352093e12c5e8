//! Phi-3, Phi-3.5, Phi-4 and Phi-4-mini: queries, keys and values in one tensor, gate and up in another, positions that may
//! turn a part of each head, and `LongRoPE`.

use std::ops::Range;

use serde_json::{Value, json};

use super::keys::{Keys, with_defaults};
use super::{Architecture, Rows, Source, layers, plain_sources, rope, shape};
use crate::checkpoint::LoadError;
use crate::decoder::{AttentionConfig, DecoderConfig, Outgrown, RopeScaling};

/// `Phi3ForCausalLM`.
#[derive(Debug)]
pub struct Phi3;

/// What transformers assumes of keys that are absent.
fn defaults() -> Value {
    json!({
        "max_position_embeddings": 4096,
        "original_max_position_embeddings": 4096,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10_000.0,
    })
}

const NAMES: &[(&str, &str)] = &[
    ("model.embed_tokens.weight", "embed.weight"),
    ("model.layers.{}.input_layernorm.weight", "blocks.{}.attn_norm.gamma"),
    ("model.layers.{}.self_attn.qkv_proj.weight", "blocks.{}.attn.q.weight"),
    ("model.layers.{}.self_attn.qkv_proj.weight", "blocks.{}.attn.k.weight"),
    ("model.layers.{}.self_attn.qkv_proj.weight", "blocks.{}.attn.v.weight"),
    ("model.layers.{}.self_attn.o_proj.weight", "blocks.{}.attn.o.weight"),
    ("model.layers.{}.post_attention_layernorm.weight", "blocks.{}.mlp_norm.gamma"),
    ("model.layers.{}.mlp.gate_up_proj.weight", "blocks.{}.mlp.gate.weight"),
    ("model.layers.{}.mlp.gate_up_proj.weight", "blocks.{}.mlp.up.weight"),
    ("model.layers.{}.mlp.down_proj.weight", "blocks.{}.mlp.down.weight"),
    ("model.norm.weight", "norm.gamma"),
    ("lm_head.weight", "head.weight"),
];

impl Architecture for Phi3 {
    fn hf_name(&self) -> &'static str {
        "Phi3ForCausalLM"
    }

    fn model_type(&self) -> &'static str {
        "phi3"
    }

    fn config(&self, json: &Value) -> Result<DecoderConfig, LoadError> {
        let mut json = with_defaults(json, defaults());
        rename_yarn(&mut json);
        let keys = Keys(&json);
        let mut config = shape::read(&keys, rope::read_partial(&keys)?)?;
        if let RopeScaling::LongRope { outgrown, .. } = &mut config.rope.scaling {
            *outgrown = Outgrown::Reread;
        }
        config.kinds = layers::kinds(&[true], keys.count("sliding_window")?);
        Ok(config)
    }

    fn to_json(&self, config: &DecoderConfig) -> Value {
        let mut json = shape::write(self, config);
        json["sliding_window"] = json!(layers::window(config));
        if let RopeScaling::LongRope { original_max_seq_len, .. } = config.rope.scaling {
            json["original_max_position_embeddings"] = original_max_seq_len.into();
        }
        json
    }

    fn names(&self) -> &'static [(&'static str, &'static str)] {
        NAMES
    }

    fn sources<'a>(&self, config: &'a DecoderConfig) -> Box<dyn Iterator<Item = Source> + 'a> {
        let rows = move |source: Source| Source { rows: rows(config, &source.path), ..source };
        Box::new(plain_sources(config, NAMES).map(rows))
    }
}

/// Phi-3 says `yarn` where it means `longrope`.
fn rename_yarn(json: &mut Value) {
    for key in ["rope_scaling", "rope_parameters"] {
        for kind in ["rope_type", "type"] {
            if let Some(kind) = json.get_mut(key).and_then(|rope| rope.get_mut(kind)).filter(|kind| *kind == "yarn") {
                *kind = "longrope".into();
            }
        }
    }
}

/// Which rows of its stored tensor the parameter at `path` is.
fn rows(config: &DecoderConfig, path: &str) -> Rows {
    let &AttentionConfig { heads, kv_heads, head_dim, .. } = &config.attention;
    let (q, kv, hidden) = (heads * head_dim, kv_heads * head_dim, config.mlp.d_hidden);
    let qkv = |range: Range<usize>| Rows::Part { range, of: q + 2 * kv };
    let gate_up = |range: Range<usize>| Rows::Part { range, of: 2 * hidden };
    match path.splitn(3, '.').last() {
        Some("attn.q.weight") => qkv(0..q),
        Some("attn.k.weight") => qkv(q..q + kv),
        Some("attn.v.weight") => qkv(q + kv..q + 2 * kv),
        Some("mlp.gate.weight") => gate_up(0..hidden),
        Some("mlp.up.weight") => gate_up(hidden..2 * hidden),
        _ => Rows::All,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matrices_that_are_stored_as_one_are_parts_of_it() {
        let json = json!({
            "vocab_size": 10, "hidden_size": 32, "intermediate_size": 6, "num_hidden_layers": 2, "num_attention_heads": 8,
            "num_key_value_heads": 2,
        });
        let config = Phi3.config(&json).unwrap();
        let fused = |name: &str| -> Vec<_> {
            let is_part = |source: &Source| source.names[0] == format!("model.layers.1.{name}.weight");
            Phi3.sources(&config).filter(is_part).map(|source| (source.stored_shape(), source.rows)).collect()
        };
        let part = |range, of| (vec![of, 32], Rows::Part { range, of });
        assert_eq!(fused("self_attn.qkv_proj"), [part(0..32, 48), part(32..40, 48), part(40..48, 48)]);
        assert_eq!(fused("mlp.gate_up_proj"), [part(0..6, 12), part(6..12, 12)]);
    }
}
