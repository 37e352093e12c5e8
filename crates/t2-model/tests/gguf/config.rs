//! Metadata as a `config.json`: what each family makes of its keys, and what is refused.

use serde_json::{Value, json};
use t2_model::checkpoint;
use t2_model::format::gguf::{Gguf, GgufWriteError, MetaValue, NewTensor, write};
use t2_model::format::quant::GgmlType;

/// A model of a family: its metadata and its tensors, which hold the numbers given.
struct Model {
    metadata: Vec<(String, MetaValue)>,
    tensors: Vec<(&'static str, Vec<usize>, Vec<f32>)>,
}

/// A model of `family` with the keys that all have and an embedding of 10 rows.
fn model(family: &str) -> Model {
    let counts = [
        ("block_count", 6),
        ("context_length", 4096),
        ("embedding_length", 64),
        ("feed_forward_length", 96),
        ("attention.head_count", 4),
        ("attention.head_count_kv", 2),
    ];
    let mut metadata: Vec<_> = counts.map(|(key, n)| (format!("{family}.{key}"), MetaValue::U32(n))).into();
    metadata.push((format!("{family}.attention.layer_norm_rms_epsilon"), 1e-6_f32.into()));
    metadata.push(("general.architecture".to_owned(), family.into()));
    let tokens: Vec<String> = (0..8).map(|token| format!("t{token}")).collect();
    metadata.push(("tokenizer.ggml.tokens".to_owned(), tokens.into()));
    Model { metadata, tensors: vec![("token_embd.weight", vec![10, 64], vec![0.0; 640])] }
}

impl Model {
    /// Set a key, whose name begins with that of the family where it has no family of its own.
    fn with(mut self, key: &str, value: impl Into<MetaValue>) -> Self {
        let Some((_, MetaValue::String(family))) = self.metadata.iter().find(|(key, _)| key == "general.architecture")
        else {
            panic!("{:?} has no family", self.metadata)
        };
        let is_whole = ["general.", "tokenizer."].iter().any(|start| key.starts_with(start));
        let key = if is_whole { key.to_owned() } else { format!("{family}.{key}") };
        self.metadata.retain(|(other, _)| *other != key);
        self.metadata.push((key, value.into()));
        self
    }

    fn without(mut self, key: &str) -> Self {
        self.metadata.retain(|(other, _)| other != key);
        self
    }

    fn and_tensor(mut self, name: &'static str, values: &[f32]) -> Self {
        self.tensors.push((name, vec![values.len()], values.to_vec()));
        self
    }

    fn open<T>(self, then: impl FnOnce(Gguf) -> T) -> T {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("model.gguf");
        let tensors = self.tensors.into_iter().map(|(name, shape, values)| NewTensor {
            name: name.to_owned(),
            shape,
            ty: GgmlType::F32,
            values: Box::new(move || Ok(values)),
        });
        write::<GgufWriteError>(&path, &self.metadata, tensors.collect()).unwrap();
        then(Gguf::open(&path).unwrap())
    }

    fn config(self) -> Value {
        self.open(|gguf| gguf.config().unwrap())
    }
}

/// Expect that the config of `model` has every key of `expected` with its value.
#[track_caller]
fn check(model: Model, expected: &Value) {
    let config = model.config();
    for (key, expected) in expected.as_object().unwrap() {
        assert_eq!(config.get(key), Some(expected), "{key}");
    }
}

#[test]
fn a_llama_has_the_keys_of_its_config() {
    let expected = json!({
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_act": "silu",
        "vocab_size": 10,
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 6,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "max_position_embeddings": 4096,
        "rms_norm_eps": 1e-6,
        "tie_word_embeddings": true,
        "rope_parameters": { "rope_type": "default", "rope_theta": 10_000.0 },
        "attention_bias": false,
        "mlp_bias": false,
        "bos_token_id": null,
        "eos_token_id": null,
        "pad_token_id": null,
    });
    assert_eq!(model("llama").config(), expected);
}

#[test]
fn tensors_say_what_no_key_does() {
    let model = model("llama").and_tensor("output.weight", &[0.0]).and_tensor("blk.0.attn_q.bias", &[0.0]);
    let expected = json!({ "tie_word_embeddings": false, "attention_bias": true, "mlp_bias": false });
    check(model, &expected);
}

#[test]
fn a_head_is_as_wide_as_the_file_says() {
    let width = |model: Model| model.config()["head_dim"].clone();
    assert_eq!(width(model("llama").with("attention.key_length", 32_u32)), 32);
    assert_eq!(width(model("llama").with("rope.dimension_count", 24_u32)), 24);
    // Here it is the part of a head that turns.
    assert_eq!(width(model("phi3").with("rope.dimension_count", 12_u32)), 16);
    let listed =
        model("llama").with("attention.head_count", vec![8_i32; 6]).with("attention.head_count_kv", vec![4_u64; 6]);
    check(listed, &json!({ "head_dim": 8, "num_attention_heads": 8, "num_key_value_heads": 4 }));
}

#[test]
fn a_llama_with_a_window_is_a_mistral() {
    let mistral = json!({ "model_type": "mistral", "architectures": ["MistralForCausalLM"], "sliding_window": 7 });
    check(model("llama").with("attention.sliding_window", 7_u32), &mistral);
    check(model("llama").with("attention.sliding_window", 0_u32), &json!({ "model_type": "llama" }));
}

#[test]
fn every_family_is_called_as_its_checkpoints_are() {
    for (family, hf_name, model_type) in [
        ("qwen2", "Qwen2ForCausalLM", "qwen2"),
        ("qwen3", "Qwen3ForCausalLM", "qwen3"),
        ("gemma2", "Gemma2ForCausalLM", "gemma2"),
        ("gemma3", "Gemma3ForCausalLM", "gemma3_text"),
        ("phi3", "Phi3ForCausalLM", "phi3"),
        ("olmo2", "Olmo2ForCausalLM", "olmo2"),
        ("granite", "GraniteForCausalLM", "granite"),
        ("smollm3", "SmolLM3ForCausalLM", "smollm3"),
    ] {
        check(model(family), &json!({ "architectures": [hf_name], "model_type": model_type }));
    }
}

#[test]
fn gemma_2_caps_and_sees_windows_in_every_second_layer() {
    let [slides, full] = ["sliding_attention", "full_attention"];
    let expected = json!({
        "hidden_activation": "gelu_pytorch_tanh",
        "query_pre_attn_scalar": 16,
        "attn_logit_softcapping": 50.0,
        "final_logit_softcapping": 20.0,
        "sliding_window": 4096,
        "layer_types": [slides, full, slides, full, slides, full],
    });
    check(model("gemma2").with("final_logit_softcapping", 20.0_f32), &expected);
    let listed = vec![true, false, false, false, true, true];
    let types = json!({ "layer_types": [slides, full, full, full, slides, slides], "sliding_window": 9 });
    check(
        model("gemma2").with("attention.sliding_window_pattern", listed).with("attention.sliding_window", 9_u32),
        &types,
    );
    check(
        model("gemma2").with("block_count", 46_u32).with("attention.key_length", 8_u32),
        &json!({
            "query_pre_attn_scalar": 16, "head_dim": 8,
        }),
    );
}

#[test]
fn gemma_3_turns_at_two_speeds() {
    let expected = json!({
        "query_pre_attn_scalar": 16,
        "attn_logit_softcapping": null,
        "final_logit_softcapping": null,
        "sliding_window": 512,
        "rope_parameters": {
            "full_attention": { "rope_type": "linear", "factor": 8.0, "rope_theta": 1e6 },
            "sliding_attention": { "rope_type": "default", "rope_theta": 1e4 },
        },
    });
    let gemma = || model("gemma3").with("attention.sliding_window", 512_u32);
    let stretched = gemma().with("rope.scaling.type", "linear").with("rope.scaling.factor", 8.0_f32);
    check(stretched.with("rope.freq_base", 1e6_f32), &expected);
    let types = |model: Model| {
        model.config()["layer_types"].as_array().unwrap().iter().map(|ty| ty == "full_attention").collect::<Vec<_>>()
    };
    assert_eq!(types(gemma()), [false, false, false, false, false, true]);
    assert_eq!(types(model("gemma3")), [true; 6]);
}

#[test]
fn granite_has_its_multipliers_and_smollm3_layers_that_do_not_turn() {
    let granite = model("granite")
        .with("attention.scale", 0.015625_f32)
        .with("embedding_scale", 12.0_f32)
        .with("residual_scale", 0.22_f32)
        .with("logit_scale", 8.0_f32);
    let expected = json!({
        "attention_multiplier": 0.015625, "embedding_multiplier": 12.0, "residual_multiplier": 0.22, "logits_scaling": 8.0,
    });
    check(granite, &expected);
    check(model("granite"), &json!({ "attention_multiplier": 0.25, "embedding_multiplier": 1.0 }));
    check(model("smollm3"), &json!({ "no_rope_layer_interval": 4, "use_sliding_window": false }));
}

#[track_caller]
fn check_rope(model: Model, expected: &Value) {
    assert_eq!(model.config()["rope_parameters"], *expected);
}

#[test]
fn every_rotary_encoding_is_read() {
    let llama = || model("llama").with("rope.freq_base", 5e5_f32);
    check_rope(llama(), &json!({ "rope_type": "default", "rope_theta": 5e5 }));
    let linear = json!({ "rope_type": "linear", "factor": 4.0, "rope_theta": 5e5 });
    check_rope(llama().with("rope.scaling.type", "linear").with("rope.scaling.factor", 4.0_f32), &linear);
    check_rope(llama().with("rope.scale_linear", 4.0_f32), &linear);
    check_rope(llama().with("rope.scaling.type", "none"), &json!({ "rope_type": "default", "rope_theta": 5e5 }));
    let yarn = llama()
        .with("rope.scaling.type", "yarn")
        .with("rope.scaling.factor", 4.0_f32)
        .with("rope.scaling.original_context_length", 1024_u32)
        .with("rope.scaling.yarn_beta_fast", 16.0_f32);
    let expected = json!({
        "rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 1024, "beta_fast": 16.0, "rope_theta": 5e5,
    });
    check_rope(yarn, &expected);
    let lists = model("phi3")
        .with("rope.dimension_count", 12_u32)
        .with("rope.scaling.original_context_length", 1024_u32)
        .with("rope.scaling.attn_factor", 1.25_f32)
        .and_tensor("rope_factors_short.weight", &[1.0, 1.1])
        .and_tensor("rope_factors_long.weight", &[1.0, 8.0]);
    let expected = json!({
        "rope_type": "longrope", "short_factor": [1.0, 1.1], "long_factor": [1.0, 8.0], "attention_factor": 1.25,
        "original_max_position_embeddings": 1024, "rope_theta": 10_000.0, "partial_rotary_factor": 0.75,
    });
    check_rope(lists, &expected);
}

#[test]
fn the_stretch_of_llama_3_is_known_by_its_factors() {
    let with =
        |factors: &[f32]| model("llama").with("rope.freq_base", 5e5_f32).and_tensor("rope_freqs.weight", factors);
    // `generate_extra_tensors` of llama.cpp's converter, for a head of 16 and the keys of Llama 3.2 1B.
    let theirs = [1.0, 1.0, 1.0, 1.0, 3.292_262_8, 32.0, 32.0, 32.0];
    let expected = json!({
        "rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192, "rope_theta": 5e5,
    });
    check_rope(with(&theirs), &expected);
    let other = json!({
        "rope_type": "longrope", "short_factor": [1.0, 2.5], "long_factor": [1.0, 2.5], "attention_factor": 1.0,
        "original_max_position_embeddings": 4096, "rope_theta": 5e5,
    });
    check_rope(with(&[1.0, 2.5]), &other);
    check_rope(with(&[1.0, 1.0]), &json!({ "rope_type": "default", "rope_theta": 5e5 }));
}

#[test]
fn tokens_that_end_an_answer_are_found_by_key_and_by_text() {
    let tokens = ["<unk>", "<s>", "a", "<end_of_turn>", "</s>", "<|eom_id|>"].map(str::to_owned).to_vec();
    let model = |eos: u32| {
        let model = model("llama").with("tokenizer.ggml.tokens", tokens.clone());
        let model = model.with("tokenizer.ggml.eos_token_id", eos).with("tokenizer.ggml.eom_token_id", 5_i32);
        model.with("tokenizer.ggml.bos_token_id", 1_u16).with("tokenizer.ggml.padding_token_id", u32::MAX)
    };
    check(model(4), &json!({ "bos_token_id": 1, "eos_token_id": [4, 5, 3], "pad_token_id": null }));
    let special = model(3).open(|gguf| gguf.special_tokens().unwrap());
    assert_eq!((special.bos, special.ends, special.pad, special.unknown), (Some(1), vec![3, 5], None, None));
    check_refused(model(6), &["tokenizer.ggml.eos_token_id", "is 6", "6 tokens"]);
}

/// Expect that the config of `model` is refused with all of `parts`, the file among them.
#[track_caller]
fn check_refused(model: Model, parts: &[&str]) {
    let error = model.open(|gguf| gguf.config().unwrap_err().to_string());
    assert!(parts.iter().chain(&["model.gguf"]).all(|part| error.contains(part)), "{error} lacks one of {parts:?}");
}

#[test]
fn an_error_shows_the_beginning_of_a_long_value() {
    /// Path, key and advice included.
    const MOST: usize = 600;
    let long = "x".repeat(100_000);
    for model in [
        model("llama").with("general.architecture", long.as_str()),
        model("llama").with("rope.scaling.type", long.as_str()),
        model("llama").with("block_count", long.as_str()),
        model("llama").with("attention.head_count", (0..20_000).collect::<Vec<i32>>()),
    ] {
        let error = model.open(|gguf| gguf.config().unwrap_err().to_string());
        assert!(error.len() < MOST, "{} bytes", error.len());
    }
}

#[test]
fn what_no_model_of_the_family_has_is_refused() {
    check_refused(model("mamba"), &["general.architecture", "mamba", "llama, qwen2"]);
    check_refused(model("llama").without("general.architecture"), &["general.architecture", "missing"]);
    check_refused(model("llama").without("llama.block_count"), &["llama.block_count", "missing"]);
    check_refused(model("llama").with("block_count", u32::MAX), &["llama.block_count", "4294967295"]);
    check_refused(model("llama").with("expert_count", 8_u32), &["llama.expert_count", "8", "mixtures of experts"]);
    check_refused(model("llama").with("block_count", "six"), &["llama.block_count", "six"]);
    check_refused(
        model("llama").with("attention.head_count", vec![4_i32, 8]),
        &["a list of 2 with 4 and 8", "same number"],
    );
    let long: Vec<i32> = (0..20_000).collect();
    check_refused(model("llama").with("expert_count", long), &["a list of 20000 with 0 and 1,"]);
    check_refused(model("llama").with("attention.head_count", Vec::<i32>::new()), &["an empty list", "same number"]);
    check_refused(model("llama").with("attention.head_count", 3_u32), &["attention.key_length", "3 do not divide 64"]);
    let unequal = model("qwen3").with("attention.key_length", 8_u32).with("attention.value_length", 16_u32);
    check_refused(unequal, &["qwen3.attention.value_length", "16", "8, as wide as the keys"]);
    check_refused(
        model("olmo2").with("attention.sliding_window", 9_u32),
        &["olmo2.attention.sliding_window", "OLMo 3"],
    );
    check_refused(model("granite").with("rope.scaling.finetuned", false), &["granite.rope.scaling.finetuned"]);
    check_refused(model("llama").with("rope.scaling.type", "mrope"), &["llama.rope.scaling.type", "mrope", "yarn"]);
    check_refused(model("llama").with("rope.scaling.type", "longrope"), &["rope_factors_short.weight"]);
    check_refused(model("llama").with("rope.scaling.type", "yarn"), &["llama.rope.scaling.factor", "missing"]);
}

#[test]
fn divisors_of_frequencies_are_whole_and_above_zero() {
    const FREQS: &str = "rope_freqs.weight";
    const SHORT: &str = "rope_factors_short.weight";
    const LONG: &str = "rope_factors_long.weight";
    check_refused(model("phi3").and_tensor(LONG, &[1.0, 2.0]), &[SHORT, "missing", LONG]);
    check_refused(model("phi3").and_tensor(SHORT, &[1.0, 2.0]), &[LONG, "missing", SHORT]);
    for (odd, said) in [(0.0, "is 0"), (-1.0, "is -1")] {
        check_refused(model("llama").and_tensor(FREQS, &[1.0, odd]), &[FREQS, said, "above 0"]);
        let with = |name| model("phi3").and_tensor(name, &[1.0, odd]);
        check_refused(with(LONG).and_tensor(SHORT, &[1.0, 2.0]), &[LONG, said, "above 0"]);
        check_refused(with(SHORT).and_tensor(LONG, &[1.0, 2.0]), &[SHORT, said, "above 0"]);
    }
    let all = [FREQS, SHORT, LONG].into_iter().fold(model("phi3"), |model, name| model.and_tensor(name, &[1.0, 2.0]));
    check_refused(all, &[FREQS, SHORT, LONG]);
}

#[test]
fn divisors_beside_a_scaling_of_another_kind_are_refused() {
    const KEY: &str = "llama.rope.scaling.type";
    let divided = |factors: &[f32]| model("llama").and_tensor("rope_freqs.weight", factors);
    let stretched = |factors: &[f32]| divided(factors).with("rope.scaling.factor", 4.0_f32);
    for ty in ["linear", "yarn"] {
        check_refused(stretched(&[1.0, 2.5]).with("rope.scaling.type", ty), &[KEY, ty, "rope_freqs.weight"]);
        // Divided by one, nothing changes.
        check(stretched(&[1.0, 1.0]).with("rope.scaling.type", ty), &json!({ "model_type": "llama" }));
    }
    check_refused(stretched(&[1.0, 2.5]), &["llama.rope.scaling.factor", "4", "rope_freqs.weight"]);
    check(stretched(&[1.0, 2.5]).with("rope.scaling.type", "none"), &json!({ "model_type": "llama" }));
    check(divided(&[1.0, 2.5]).with("rope.scaling.type", "linear"), &json!({ "model_type": "llama" }));
    let lists = ["rope_factors_short.weight", "rope_factors_long.weight"];
    let lists = lists.into_iter().fold(model("phi3"), |model, name| model.and_tensor(name, &[1.0, 2.0]));
    let yarn = lists.with("rope.scaling.type", "yarn").with("rope.scaling.factor", 4.0_f32);
    check_refused(yarn, &["phi3.rope.scaling.type", "yarn", "rope_factors_short.weight"]);
}

#[test]
fn what_the_decoder_cannot_run_is_said_of_the_file() {
    let error = model("llama").with("attention.head_count_kv", 3_u32).open(|gguf| checkpoint::read_config(gguf.path()));
    let error = error.unwrap_err().to_string();
    assert!(error.contains("model.gguf: `num_key_value_heads` is 3, expected a divisor"), "{error}");
}
