//! What the parameters of the decoder are called in GGUF files, and how the file has them.
//!
//! llama.cpp turns pairs of neighbours in some families and pairs half a head apart in others (`llama_model_rope_type`).
//! For the first kind its converter interleaves the rows of the query and key projections (`undo_permute`). Norms that
//! multiply by `1 + weight` are stored with the one added. Both facts are in [`Family`].

use super::family::Family;
use crate::format::layout::Rows;

/// Stored name and path in the decoder, with `{}` in place of the number of the layer.
pub(super) type Names = &'static [(&'static str, &'static str)];

/// Each projection a tensor of its own; norms before, after, or on queries and keys, as the family has them.
pub(super) const SEPARATE: Names = &[
    ("token_embd.weight", "embed.weight"),
    ("blk.{}.attn_norm.weight", "blocks.{}.attn_norm.gamma"),
    ("blk.{}.attn_q.weight", "blocks.{}.attn.q.weight"),
    ("blk.{}.attn_q.bias", "blocks.{}.attn.q.bias"),
    ("blk.{}.attn_k.weight", "blocks.{}.attn.k.weight"),
    ("blk.{}.attn_k.bias", "blocks.{}.attn.k.bias"),
    ("blk.{}.attn_v.weight", "blocks.{}.attn.v.weight"),
    ("blk.{}.attn_v.bias", "blocks.{}.attn.v.bias"),
    ("blk.{}.attn_output.weight", "blocks.{}.attn.o.weight"),
    ("blk.{}.attn_output.bias", "blocks.{}.attn.o.bias"),
    ("blk.{}.attn_q_norm.weight", "blocks.{}.attn.q_norm.gamma"),
    ("blk.{}.attn_k_norm.weight", "blocks.{}.attn.k_norm.gamma"),
    ("blk.{}.post_attention_norm.weight", "blocks.{}.attn_post_norm.gamma"),
    ("blk.{}.ffn_norm.weight", "blocks.{}.mlp_norm.gamma"),
    ("blk.{}.ffn_gate.weight", "blocks.{}.mlp.gate.weight"),
    ("blk.{}.ffn_gate.bias", "blocks.{}.mlp.gate.bias"),
    ("blk.{}.ffn_up.weight", "blocks.{}.mlp.up.weight"),
    ("blk.{}.ffn_up.bias", "blocks.{}.mlp.up.bias"),
    ("blk.{}.ffn_down.weight", "blocks.{}.mlp.down.weight"),
    ("blk.{}.ffn_down.bias", "blocks.{}.mlp.down.bias"),
    ("blk.{}.post_ffw_norm.weight", "blocks.{}.mlp_post_norm.gamma"),
    ("output_norm.weight", "norm.gamma"),
    ("output.weight", "head.weight"),
];

/// Phi-3: queries, keys and values in one tensor, in this order; gate and up in another.
pub(super) const FUSED: Names = &[
    ("token_embd.weight", "embed.weight"),
    ("blk.{}.attn_norm.weight", "blocks.{}.attn_norm.gamma"),
    ("blk.{}.attn_qkv.weight", "blocks.{}.attn.q.weight"),
    ("blk.{}.attn_qkv.weight", "blocks.{}.attn.k.weight"),
    ("blk.{}.attn_qkv.weight", "blocks.{}.attn.v.weight"),
    ("blk.{}.attn_output.weight", "blocks.{}.attn.o.weight"),
    ("blk.{}.ffn_norm.weight", "blocks.{}.mlp_norm.gamma"),
    ("blk.{}.ffn_up.weight", "blocks.{}.mlp.gate.weight"),
    ("blk.{}.ffn_up.weight", "blocks.{}.mlp.up.weight"),
    ("blk.{}.ffn_down.weight", "blocks.{}.mlp.down.weight"),
    ("output_norm.weight", "norm.gamma"),
    ("output.weight", "head.weight"),
];

/// What `--fuse-qkv` of llama.cpp's converter makes of three tensors, in any family: their rows one below the other.
const FUSED_QKV: Names = &[
    ("blk.{}.attn_qkv.weight", "blocks.{}.attn.q.weight"),
    ("blk.{}.attn_qkv.weight", "blocks.{}.attn.k.weight"),
    ("blk.{}.attn_qkv.weight", "blocks.{}.attn.v.weight"),
    ("blk.{}.attn_qkv.bias", "blocks.{}.attn.q.bias"),
    ("blk.{}.attn_qkv.bias", "blocks.{}.attn.k.bias"),
    ("blk.{}.attn_qkv.bias", "blocks.{}.attn.v.bias"),
];

/// Tensors that are no parameters: the frequencies of the positions, which the config has, and what very old files store
/// with every layer.
const NO_PARAMETERS: [&str; 5] = [
    "rope_freqs.weight",
    "rope_factors_long.weight",
    "rope_factors_short.weight",
    "blk.{}.attn_rot_embd.weight",
    "blk.{}.rope_freqs.weight",
];

/// How the tensors begin that see and hear, and that hand on what is seen, where a file has them beside the text model
/// (`clip-impl.h` of llama.cpp).
const TOWERS: [&str; 3] = ["v.", "a.", "mm."];

impl Family {
    /// The tensor that the parameter at `path` is stored in: `blk.3.attn_q.weight` for `blocks.3.attn.q.weight`.
    pub fn name(&self, path: &str) -> Option<String> {
        name_in(self.names, path)
    }

    /// The parameters that are stored in the tensor called `name`: none, one, or those that are fused in it.
    pub fn paths(&self, name: &str) -> Vec<String> {
        let (pattern, layer) = pattern_of(name);
        let stored = |names: Names| {
            let stored = names.iter().filter(|(theirs, _)| *theirs == pattern);
            stored.map(|(_, ours)| ours.replacen("{}", layer, 1)).collect::<Vec<_>>()
        };
        let own = stored(self.names);
        if own.is_empty() { stored(FUSED_QKV) } else { own }
    }

    /// Which rows of its tensor the parameter at `path` is, in heads of `head_dim`, where the family's `config.json`
    /// checkpoints have it in `rows` of theirs.
    pub fn rows(&self, path: &str, head_dim: usize, rows: Rows) -> Rows {
        const TURNED: [&str; 4] = ["attn.q.weight", "attn.q.bias", "attn.k.weight", "attn.k.bias"];
        let is_turned = TURNED.iter().any(|end| path.strip_suffix(end).is_some_and(|layer| layer.ends_with('.')));
        if self.interleaved && is_turned { Rows::Interleaved { head_dim } } else { rows }
    }
}

/// Whether a tensor called `name` may stand in a file beside the parameters, and the model is the same without it. Any
/// other takes part in what its model computes.
pub(super) fn is_no_parameter(name: &str) -> bool {
    let (pattern, _) = pattern_of(name);
    NO_PARAMETERS.contains(&pattern.as_str()) || is_tower(name)
}

/// Whether a tensor called `name` sees, hears, or hands on what is seen.
pub(crate) fn is_tower(name: &str) -> bool {
    TOWERS.iter().any(|tower| name.starts_with(tower))
}

/// The tensor in which a file that fuses queries, keys and values has the parameter at `path`, if it is one of these.
pub(super) fn fused_name(path: &str) -> Option<String> {
    name_in(FUSED_QKV, path)
}

fn name_in(names: Names, path: &str) -> Option<String> {
    let (pattern, layer) = pattern_of(path);
    let (name, _) = names.iter().find(|(_, ours)| *ours == pattern)?;
    Some(name.replacen("{}", layer, 1))
}

/// The pattern of a name and the number in it: `a.3.b` gives `a.{}.b` and `3`.
fn pattern_of(name: &str) -> (String, &str) {
    let is_number = |part: &&str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    match name.split('.').find(is_number) {
        Some(number) => (name.replacen(&format!(".{number}."), ".{}.", 1), number),
        None => (name.to_owned(), ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decoder::DecoderConfig;
    use crate::format::gguf::family::FAMILIES;

    fn family(name: &str) -> &'static Family {
        FAMILIES.iter().find(|family| family.name == name).unwrap()
    }

    #[test]
    fn every_parameter_of_a_decoder_has_a_name_in_every_family() {
        let config = DecoderConfig::tiny();
        for family in FAMILIES {
            for (path, _) in config.parameters() {
                let name = family.name(&path).unwrap_or_else(|| panic!("{} has no {path}", family.name));
                assert!(family.paths(&name).contains(&path) && !is_no_parameter(&name), "{path} is stored as {name}");
            }
        }
    }

    #[test]
    fn names_carry_the_number_of_the_layer() {
        let name = |path| family("llama").name(path);
        assert_eq!(name("blocks.12.attn.q.weight").as_deref(), Some("blk.12.attn_q.weight"));
        assert_eq!(name("embed.weight").as_deref(), Some("token_embd.weight"));
        assert_eq!(name("blocks.0.attn.rotary"), None);
        assert_eq!(family("llama").paths("blk.7.post_ffw_norm.weight"), ["blocks.7.mlp_post_norm.gamma"]);
    }

    #[test]
    fn a_fused_tensor_holds_several_parameters() {
        let paths = |name| family("phi3").paths(name);
        let all = ["q", "k", "v"].map(|which| format!("blocks.1.attn.{which}.weight"));
        assert_eq!(paths("blk.1.attn_qkv.weight"), all);
        assert_eq!(paths("blk.1.ffn_up.weight"), ["blocks.1.mlp.gate.weight", "blocks.1.mlp.up.weight"]);
        assert_eq!(paths("blk.1.ffn_gate.weight"), [""; 0]);
        assert_eq!(family("llama").paths("blk.1.attn_qkv.weight"), all);
        assert_eq!(family("qwen2").paths("blk.1.attn_qkv.bias"), all.map(|path| path.replace("weight", "bias")));
        assert!(!family("gemma2").paths("blk.0.attn_qkv.weight").is_empty());
        assert!(family("llama").paths("blk.0.attn_kv.weight").is_empty());
    }

    #[test]
    fn queries_keys_and_values_have_a_name_where_they_are_fused() {
        assert_eq!(fused_name("blocks.12.attn.k.weight").as_deref(), Some("blk.12.attn_qkv.weight"));
        assert_eq!(fused_name("blocks.0.attn.q.bias").as_deref(), Some("blk.0.attn_qkv.bias"));
        assert_eq!(fused_name("blocks.0.attn.o.weight"), None);
    }

    #[test]
    fn frequencies_and_what_sees_are_no_parameters() {
        for (name, expected) in [
            ("rope_freqs.weight", true),
            ("rope_factors_long.weight", true),
            ("blk.3.attn_rot_embd.weight", true),
            ("v.blk.0.attn_q.weight", true),
            ("mm.input_projection.weight", true),
            ("blk.0.ffn_gate_exps.weight", false),
            ("blk.0.attn_norm.bias", false),
            ("blk.0.attn_q.scale", false),
            ("output.bias", false),
            ("output_norm.weight", false),
        ] {
            assert_eq!(is_no_parameter(name), expected, "{name}");
        }
    }

    #[track_caller]
    fn check_rows(family_name: &str, path: &str, expected: Rows) {
        assert_eq!(family(family_name).rows(path, 8, Rows::All), expected);
    }

    #[test]
    fn only_queries_and_keys_are_interleaved_and_only_where_neighbours_turn() {
        let interleaved = Rows::Interleaved { head_dim: 8 };
        check_rows("llama", "blocks.0.attn.q.weight", interleaved.clone());
        check_rows("granite", "blocks.0.attn.k.bias", interleaved.clone());
        check_rows("smollm3", "blocks.0.attn.k.weight", interleaved);
        check_rows("llama", "blocks.0.attn.v.weight", Rows::All);
        check_rows("llama", "blocks.0.attn.q_norm.gamma", Rows::All);
        check_rows("olmo2", "blocks.0.attn.q.weight", Rows::All);
        check_rows("qwen2", "blocks.0.attn.q.bias", Rows::All);
        let part = Rows::Part { range: 0..4, of: 12 };
        assert_eq!(family("phi3").rows("blocks.0.attn.q.weight", 8, part.clone()), part);
    }
}
