//! How families call their tensors: pairs of a stored name and a path in the decoder, with `{}` in place of the number of
//! the layer. A list has every tensor that a family may have, and some of its relatives: which there are, the config says.

/// The names that Llama has and all others kept, and those of norms, in which families differ.
macro_rules! names {
    ($($norm:expr),+ $(,)?) => {
        &[
            ("model.embed_tokens.weight", "embed.weight"),
            ("model.layers.{}.input_layernorm.weight", "blocks.{}.attn_norm.gamma"),
            ("model.layers.{}.self_attn.q_proj.weight", "blocks.{}.attn.q.weight"),
            ("model.layers.{}.self_attn.q_proj.bias", "blocks.{}.attn.q.bias"),
            ("model.layers.{}.self_attn.k_proj.weight", "blocks.{}.attn.k.weight"),
            ("model.layers.{}.self_attn.k_proj.bias", "blocks.{}.attn.k.bias"),
            ("model.layers.{}.self_attn.v_proj.weight", "blocks.{}.attn.v.weight"),
            ("model.layers.{}.self_attn.v_proj.bias", "blocks.{}.attn.v.bias"),
            ("model.layers.{}.self_attn.o_proj.weight", "blocks.{}.attn.o.weight"),
            ("model.layers.{}.self_attn.o_proj.bias", "blocks.{}.attn.o.bias"),
            ("model.layers.{}.self_attn.q_norm.weight", "blocks.{}.attn.q_norm.gamma"),
            ("model.layers.{}.self_attn.k_norm.weight", "blocks.{}.attn.k_norm.gamma"),
            $($norm,)+
            ("model.layers.{}.mlp.gate_proj.weight", "blocks.{}.mlp.gate.weight"),
            ("model.layers.{}.mlp.gate_proj.bias", "blocks.{}.mlp.gate.bias"),
            ("model.layers.{}.mlp.up_proj.weight", "blocks.{}.mlp.up.weight"),
            ("model.layers.{}.mlp.up_proj.bias", "blocks.{}.mlp.up.bias"),
            ("model.layers.{}.mlp.down_proj.weight", "blocks.{}.mlp.down.weight"),
            ("model.layers.{}.mlp.down_proj.bias", "blocks.{}.mlp.down.bias"),
            ("model.norm.weight", "norm.gamma"),
            ("lm_head.weight", "head.weight"),
        ]
    };
}

/// Llama and the families that kept its names: `post_attention_layernorm` stands before the feed-forward network.
pub(super) const LLAMA: &[(&str, &str)] =
    names![("model.layers.{}.post_attention_layernorm.weight", "blocks.{}.mlp_norm.gamma")];

/// Families with norms behind attention and feed-forward network: there `post_attention_layernorm` is what it says.
pub(super) const POST_NORMS: &[(&str, &str)] = names![
    ("model.layers.{}.post_attention_layernorm.weight", "blocks.{}.attn_post_norm.gamma"),
    ("model.layers.{}.pre_feedforward_layernorm.weight", "blocks.{}.mlp_norm.gamma"),
    ("model.layers.{}.post_feedforward_layernorm.weight", "blocks.{}.mlp_post_norm.gamma"),
];
