//! Families by the name that GGUF files have for them, and what is the custom of each.

use serde_json::{Value, json};

use super::config::Keys;
use super::names::{FUSED, Names, SEPARATE};
use super::{Metadata, Problem};

/// The key that names the family.
const ARCHITECTURE: &str = "general.architecture";
/// Layers of the Gemma 2 of 27B, whose scores are scaled in its own way. The file does not say so; llama.cpp goes by their
/// number too.
pub(super) const GEMMA2_27B: u64 = 46;
/// Layers of the Gemma 3 of 27B.
pub(super) const GEMMA3_27B: u64 = 62;

/// A family of models.
#[derive(Debug)]
pub struct Family {
    /// What `general.architecture` is.
    pub name: &'static str,
    /// The name in the list `architectures` of a `config.json`.
    pub hf_name: &'static str,
    /// What `model_type` in a `config.json` is.
    pub model_type: &'static str,
    /// The rows of the query and key projections are stored interleaved.
    pub interleaved: bool,
    /// Norms multiply by `1 + weight` in the checkpoints of the family. In its GGUF files the one is added already.
    pub one_plus_norms: bool,
    pub(super) names: Names,
    /// The keys of `config.json` that not every family has.
    pub(super) own_keys: fn(&Keys<'_>) -> Result<Value, Problem>,
}

/// A family of which nothing is special.
const PLAIN: Family = Family {
    name: "llama",
    hf_name: "LlamaForCausalLM",
    model_type: "llama",
    interleaved: true,
    one_plus_norms: false,
    names: SEPARATE,
    own_keys: with_biases,
};

/// Every family that is read. The first is that of Mistral too: the window that some of them have makes the difference.
pub const FAMILIES: &[Family] = &[
    PLAIN,
    Family {
        name: "qwen2",
        hf_name: "Qwen2ForCausalLM",
        model_type: "qwen2",
        interleaved: false,
        own_keys: |_| Ok(json!({ "use_sliding_window": false })),
        ..PLAIN
    },
    Family {
        name: "qwen3",
        hf_name: "Qwen3ForCausalLM",
        model_type: "qwen3",
        interleaved: false,
        own_keys: |keys| Ok(json!({ "use_sliding_window": false, "attention_bias": keys.has_attention_bias() })),
        ..PLAIN
    },
    Family {
        name: "gemma2",
        hf_name: "Gemma2ForCausalLM",
        model_type: "gemma2",
        interleaved: false,
        one_plus_norms: true,
        own_keys: gemma2,
        ..PLAIN
    },
    Family {
        name: "gemma3",
        hf_name: "Gemma3ForCausalLM",
        model_type: "gemma3_text",
        interleaved: false,
        one_plus_norms: true,
        own_keys: gemma3,
        ..PLAIN
    },
    Family {
        name: "phi3",
        hf_name: "Phi3ForCausalLM",
        model_type: "phi3",
        interleaved: false,
        names: FUSED,
        own_keys: phi3,
        ..PLAIN
    },
    Family {
        name: "olmo2",
        hf_name: "Olmo2ForCausalLM",
        model_type: "olmo2",
        interleaved: false,
        own_keys: olmo2,
        ..PLAIN
    },
    Family { name: "granite", hf_name: "GraniteForCausalLM", model_type: "granite", own_keys: granite, ..PLAIN },
    Family { name: "smollm3", hf_name: "SmolLM3ForCausalLM", model_type: "smollm3", own_keys: smollm3, ..PLAIN },
    // A Llama that sees a window. Files have the name `llama` for it; see `find`.
    Family { name: "mistral", hf_name: "MistralForCausalLM", model_type: "mistral", own_keys: mistral, ..PLAIN },
];

/// The family that `metadata` names.
///
/// # Errors
///
/// [`Problem::BadKey`] when it is missing or not one of [`FAMILIES`].
pub(super) fn find(metadata: &Metadata) -> Result<&'static Family, Problem> {
    let found = metadata.str(ARCHITECTURE)?;
    let by_name = |name| FAMILIES.iter().find(|family| family.name == name);
    let family = match found {
        Some("llama") if metadata.u64("llama.attention.sliding_window")?.unwrap_or(0) > 0 => by_name("mistral"),
        Some(name) => by_name(name),
        None => None,
    };
    family.ok_or_else(|| {
        let known = FAMILIES.iter().map(|family| family.name).collect::<Vec<_>>().join(", ");
        Problem::bad(ARCHITECTURE, found.unwrap_or("missing"), format!("one of {known}; use a model of one of these"))
    })
}

fn with_biases(keys: &Keys<'_>) -> Result<Value, Problem> {
    Ok(json!({
        "attention_bias": keys.has_attention_bias(),
        "mlp_bias": keys.has("blk.0.ffn_gate.bias"),
    }))
}

fn mistral(keys: &Keys<'_>) -> Result<Value, Problem> {
    Ok(json!({ "sliding_window": keys.window()? }))
}

/// Every second layer sees a window, the first among them.
fn gemma2(keys: &Keys<'_>) -> Result<Value, Problem> {
    Ok(json!({
        "hidden_activation": "gelu_pytorch_tanh",
        "attention_bias": false,
        "query_pre_attn_scalar": score_divisor(keys, GEMMA2_27B)?,
        "attn_logit_softcapping": keys.number("attn_logit_softcapping")?.unwrap_or(50.0),
        "final_logit_softcapping": keys.number("final_logit_softcapping")?.unwrap_or(30.0),
        "sliding_window": keys.count("attention.sliding_window")?.unwrap_or(4096),
        "layer_types": layer_types(keys, 2)?,
    }))
}

/// Five layers of six see a window; in files without one, none does.
fn gemma3(keys: &Keys<'_>) -> Result<Value, Problem> {
    let window = keys.window()?;
    Ok(json!({
        "hidden_activation": "gelu_pytorch_tanh",
        "attention_bias": false,
        "query_pre_attn_scalar": score_divisor(keys, GEMMA3_27B)?,
        "attn_logit_softcapping": null,
        "final_logit_softcapping": keys.number("final_logit_softcapping")?,
        "sliding_window": window,
        "layer_types": layer_types(keys, if window.is_some() { 6 } else { 1 })?,
        "rope_parameters": {
            "full_attention": keys.rope(1_000_000.0)?,
            "sliding_attention": {
                "rope_type": "default",
                "rope_theta": keys.number("rope.freq_base_swa")?.unwrap_or(10_000.0),
            },
        },
    }))
}

/// The number whose root scores are divided by: the width of a head; in the model of `largest` layers, that of the stream
/// for each head.
fn score_divisor(keys: &Keys<'_>, largest: u64) -> Result<u64, Problem> {
    match keys.required("block_count")? == largest {
        true => Ok(keys.required("embedding_length")? / keys.required("attention.head_count")?),
        false => keys.head_dim(),
    }
}

/// Which layers see a window: those that the file lists; without a list the first `period - 1` of every `period`.
fn layer_types(keys: &Keys<'_>, period: u64) -> Result<Vec<&'static str>, Problem> {
    const PATTERN: &str = "attention.sliding_window_pattern";
    let name = |slides| if slides { "sliding_attention" } else { "full_attention" };
    if let Ok(Some(listed)) = keys.metadata().bools(&keys.key(PATTERN)) {
        return Ok(listed.into_iter().map(name).collect());
    }
    let period = keys.count(PATTERN)?.unwrap_or(period);
    Ok((0..keys.layers()?).map(|layer| name((layer + 1) % period != 0)).collect())
}

fn phi3(keys: &Keys<'_>) -> Result<Value, Problem> {
    let context = keys.required("context_length")?;
    let original = keys.count("rope.scaling.original_context_length")?.unwrap_or(context);
    Ok(json!({ "sliding_window": keys.window()?, "original_max_position_embeddings": original }))
}

fn olmo2(keys: &Keys<'_>) -> Result<Value, Problem> {
    match keys.window()? {
        None => Ok(json!({ "attention_bias": keys.has_attention_bias() })),
        Some(window) => Err(keys.bad("attention.sliding_window", window, "none, as in OLMo 2; OLMo 3 is not read")),
    }
}

fn granite(keys: &Keys<'_>) -> Result<Value, Problem> {
    const FINETUNED: &str = "rope.scaling.finetuned";
    if keys.metadata().bool(&keys.key(FINETUNED))? == Some(false) {
        return Err(keys.bad(FINETUNED, false, "true, as in Granite 3; one without positions is not read"));
    }
    let mut json = with_biases(keys)?;
    json["attention_multiplier"] = match keys.number("attention.scale")? {
        Some(scale) => scale.into(),
        None => (keys.head_dim()? as f64).powf(-0.5).into(),
    };
    for (theirs, ours) in [
        ("embedding_multiplier", "embedding_scale"),
        ("residual_multiplier", "residual_scale"),
        ("logits_scaling", "logit_scale"),
    ] {
        json[theirs] = keys.number(ours)?.unwrap_or(1.0).into();
    }
    Ok(json)
}

/// Every fourth layer turns nothing. No key says so.
fn smollm3(keys: &Keys<'_>) -> Result<Value, Problem> {
    let mut json = with_biases(keys)?;
    json["no_rope_layer_interval"] = 4.into();
    json["use_sliding_window"] = false.into();
    Ok(json)
}
