//! A `config.json` becomes metadata, and metadata the same `config.json`.

use serde_json::{Value, json};
use t2_model::format::gguf::{Gguf, GgufWriteError, NewTensor, describe, write};
use t2_model::format::quant::GgmlType;

/// The keys that every family has, and `own`.
fn config(model_type: &str, own: &Value) -> Value {
    let mut json = json!({
        "model_type": model_type, "vocab_size": 10, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 6,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "max_position_embeddings": 4096,
        "rms_norm_eps": 1e-6, "rope_parameters": { "rope_type": "default", "rope_theta": 1e4 },
    });
    json.as_object_mut().unwrap().extend(own.as_object().unwrap().clone());
    json
}

/// Expect that every key of `config` is read from a file that says it.
#[track_caller]
fn check(config: &Value) {
    let description = describe(config).unwrap();
    let tensors = description.tensors.into_iter().map(|(name, values)| NewTensor {
        name: name.to_owned(),
        shape: vec![values.len()],
        ty: GgmlType::F32,
        values: Box::new(move || Ok(values)),
    });
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.gguf");
    write::<GgufWriteError>(&path, &description.metadata, tensors.collect()).unwrap();
    let gguf = Gguf::open(&path).unwrap();
    assert_eq!(gguf.family().unwrap().name, description.family.name);
    let read = gguf.config().unwrap();
    for (key, value) in config.as_object().unwrap() {
        assert_eq!(read.get(key), Some(value), "{key}");
    }
}

#[test]
fn a_plain_model_is_read_as_it_was_described() {
    for family in ["llama", "qwen2", "qwen3", "olmo2"] {
        check(&config(family, &json!({})));
    }
    check(&config("mistral", &json!({ "sliding_window": 7, "head_dim": 32 })));
    check(&config("phi3", &json!({ "sliding_window": null })));
    check(&config("phi3", &json!({ "sliding_window": 2047 })));
}

#[test]
fn what_a_family_has_of_its_own_is_read_as_it_was_described() {
    let [slides, full] = ["sliding_attention", "full_attention"];
    let gemma2 = json!({
        "query_pre_attn_scalar": 16, "attn_logit_softcapping": 40.0, "final_logit_softcapping": 20.0, "sliding_window": 9,
        "layer_types": [slides, full, slides, full, slides, full],
    });
    check(&config("gemma2", &gemma2));
    let mut other = config("gemma2", &gemma2);
    other["layer_types"] = json!([full, full, slides, full, slides, full]);
    check(&other);
    let ropes = json!({
        "full_attention": { "rope_type": "linear", "factor": 8.0, "rope_theta": 1e6 },
        "sliding_attention": { "rope_type": "default", "rope_theta": 2e4 },
    });
    let gemma3 = json!({
        "query_pre_attn_scalar": 16, "final_logit_softcapping": null, "sliding_window": 512, "rope_parameters": ropes,
        "layer_types": [slides, slides, slides, slides, slides, full],
    });
    check(&config("gemma3_text", &gemma3));
    let whole = json!({ "query_pre_attn_scalar": 16, "layer_types": [full, full, full, full, full, full] });
    let mut whole = config("gemma3_text", &whole);
    whole["rope_parameters"] = ropes;
    check(&whole);
    check(&config(
        "granite",
        &json!({
            "attention_multiplier": 0.015625, "embedding_multiplier": 12.0, "residual_multiplier": 0.22, "logits_scaling": 8.0,
        }),
    ));
    assert!(describe(&config("smollm3", &json!({ "no_rope_layers": [1, 1, 1, 0, 1, 1] }))).is_ok());
}

#[test]
fn every_rotary_encoding_is_read_as_it_was_described() {
    for rope in [
        json!({ "rope_type": "linear", "factor": 4.0, "rope_theta": 5e5 }),
        json!({
            "rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 1024, "beta_fast": 16.0,
            "beta_slow": 2.0, "attention_factor": 1.5, "rope_theta": 5e5,
        }),
        json!({
            "rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 1024, "mscale": 1.0,
            "mscale_all_dim": 0.5, "rope_theta": 5e5,
        }),
        json!({
            "rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192, "rope_theta": 5e5,
        }),
        json!({
            "rope_type": "longrope", "short_factor": [1.0, 2.5, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0],
            "long_factor": [1.0, 2.5, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0], "attention_factor": 1.0,
            "original_max_position_embeddings": 4096, "rope_theta": 1e4,
        }),
        json!({
            "rope_type": "longrope", "short_factor": [1.0, 1.0, 1.0, 1.0, 1.0, 1.5, 2.0, 2.5],
            "long_factor": [1.0, 2.5, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0], "original_max_position_embeddings": 1024,
            "attention_factor": 1.25, "rope_theta": 1e4,
        }),
    ] {
        check(&config("llama", &json!({ "rope_parameters": rope })));
    }
    check(&config(
        "phi3",
        &json!({
            "sliding_window": 4096,
            "rope_parameters": {
                "rope_type": "longrope", "short_factor": [1.0, 1.1, 1.2, 1.3, 1.4, 1.5], "long_factor": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
                "original_max_position_embeddings": 1024, "attention_factor": 1.25, "rope_theta": 1e4, "partial_rotary_factor": 0.75,
            },
        }),
    ));
}

/// Expect that `config` is refused with all of `parts`.
#[track_caller]
fn check_refused(config: &Value, parts: &[&str]) {
    let error = describe(config).unwrap_err().to_string();
    assert!(parts.iter().all(|part| error.contains(part)), "{error} lacks one of {parts:?}");
}

#[test]
fn what_a_file_cannot_say_is_refused() {
    check_refused(&config("mamba", &json!({})), &["model_type", "mamba", "gemma3_text"]);
    check_refused(&config("llama", &json!({ "hidden_size": null })), &["hidden_size", "null"]);
    check_refused(&config("qwen2", &json!({ "layer_types": ["sliding_attention"] })), &["layer_types"]);
    let scalar = json!({ "query_pre_attn_scalar": 17, "sliding_window": 9 });
    check_refused(&config("gemma2", &scalar), &["query_pre_attn_scalar", "17", "16"]);
    let uncapped = json!({ "query_pre_attn_scalar": 16, "sliding_window": 9, "final_logit_softcapping": 30.0 });
    check_refused(&config("gemma2", &uncapped), &["attn_logit_softcapping", "null"]);
    check_refused(&config("smollm3", &json!({ "no_rope_layers": [1, 0] })), &["no_rope_layers", "[1,0]", "fourth"]);
    check_refused(&config("llama", &json!({ "hidden_act": "gelu" })), &["hidden_act", "gelu", "silu"]);
    let other = json!({ "hidden_activation": "silu" });
    check_refused(&config("gemma3_text", &other), &["hidden_activation", "silu", "gelu_pytorch_tanh"]);
    let dynamic = json!({ "rope_parameters": { "rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4 } });
    check_refused(&config("llama", &dynamic), &["rope_type", "dynamic", "yarn"]);
    let yarn =
        json!({ "rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 1024, "rope_theta": 1e4 });
    let mut sharp = config("llama", &json!({ "rope_parameters": yarn }));
    assert!(describe(&sharp).is_ok());
    sharp["rope_parameters"]["truncate"] = true.into();
    sharp["rope_parameters"]["mscale_all_dim"] = 0.5.into();
    assert!(describe(&sharp).is_ok());
    sharp["rope_parameters"]["truncate"] = false.into();
    check_refused(&sharp, &["truncate", "false", "expected true"]);
    sharp["rope_parameters"]["mscale"] = 2.0.into();
    check_refused(&sharp, &["mscale", "is 2", "expected 1"]);
    let full = json!({ "rope_type": "default", "rope_theta": 1e6 });
    let ropes = json!({ "full_attention": full, "sliding_attention": { "rope_type": "linear", "factor": 2.0, "rope_theta": 1e4 } });
    let local = json!({ "query_pre_attn_scalar": 16, "sliding_window": 9, "rope_parameters": ropes });
    check_refused(&config("gemma3_text", &local), &["sliding_attention.rope_type", "linear", "default"]);
}

#[test]
fn an_activation_that_is_not_that_of_the_family_is_refused() {
    let gemma = json!({ "query_pre_attn_scalar": 16, "sliding_window": 9, "final_logit_softcapping": 30.0, "attn_logit_softcapping": 50.0 });
    for (model_type, own, key, its_own, other) in [
        ("llama", json!({}), "hidden_act", "silu", "gelu"),
        ("llama", json!({}), "hidden_act", "swish", "relu"),
        ("qwen3", json!({}), "hidden_act", "silu", "gelu_pytorch_tanh"),
        ("phi3", json!({}), "hidden_act", "silu", "gelu_new"),
        ("gemma2", gemma.clone(), "hidden_activation", "gelu_pytorch_tanh", "silu"),
        ("gemma3_text", gemma, "hidden_activation", "gelu_new", "gelu"),
    ] {
        let with = |name: &str| {
            let mut config = config(model_type, &own);
            config[key] = name.into();
            config
        };
        assert!(describe(&with(its_own)).is_ok(), "{model_type} with {its_own}");
        check_refused(&with(other), &[key, other, "as files have no key for it"]);
    }
}
