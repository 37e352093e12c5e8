//! Every family and switch of the decoder against what transformers computed.

use std::collections::BTreeSet;
use std::path::PathBuf;

use burn::prelude::*;
use burn::tensor::DType;
use serde_json::Value;
use t2_model::architecture::ARCHITECTURES;
use t2_model::checkpoint::{self, GenerationDefaults};
use t2_model::decomposition::Targets;

use crate::golden::{TOLERANCE, cases, check_answers, devices, error, folders, forward, golden, larger, load};

/// As [`TOLERANCE`], with weights and states of 8 bits against transformers in f32; transformers itself is off by 4.2e-2
/// in bf16. Measured: 5.9e-2 (`phi4_mini`).
const TOLERANCE_BF16: f32 = 0.1;
/// The same with 11 bits; transformers itself is off by 7.4e-3 in f16. Measured: 4.7e-3 (`llama_longrope`).
const TOLERANCE_F16: f32 = 0.0125;

/// Logits of the whole prompts, read without a cache, are those of transformers within `tolerance`.
fn check_logits(dtype: DType, tolerance: f32) {
    let mut failed = vec![];
    for (on, device) in devices() {
        if !device.supports_dtype(dtype) {
            println!("skipped on {on}: it has no {}", dtype.name());
            continue;
        }
        for (name, dir) in folders() {
            let model = load(&dir, dtype, &device).model;
            let errors = cases(&dir)
                .into_iter()
                .map(|case| error(&forward(&model, &device, &[case.prompt], None)[0], &case.logits));
            let worst = errors.fold(0.0, larger);
            println!("{name} on {on}: {} relative error {worst:.1e}", dtype.name());
            if worst.is_nan() || worst > tolerance {
                failed.push(format!("{name} on {on}: {worst:.1e}"));
            }
        }
    }
    assert_eq!(failed, Vec::<String>::new());
}

#[test]
fn in_f32_logits_are_those_of_transformers() {
    check_logits(DType::F32, TOLERANCE);
}

#[test]
fn in_bf16_logits_are_near_those_of_transformers_in_f32() {
    check_logits(DType::BF16, TOLERANCE_BF16);
}

#[test]
fn in_f16_logits_are_near_those_of_transformers_in_f32() {
    check_logits(DType::F16, TOLERANCE_F16);
}

#[test]
fn greedy_tokens_are_those_of_transformers_alone_and_in_a_ragged_batch() {
    for (on, device) in devices() {
        for (name, dir) in folders() {
            let (model, cases) = (load(&dir, DType::F32, &device).model, cases(&dir));
            for case in cases.chunks(1) {
                check_answers(&format!("{name} on {on}, alone"), &model, &device, case);
            }
            check_answers(&format!("{name} on {on}, in a batch"), &model, &device, &cases);
        }
    }
}

/// Key, value and folder: with another value of the key, the logits of the folder are others. What is not listed
/// changes the shape of a tensor, or its name.
const SWITCHES: &[(&str, &str, &str)] = &[
    ("/rope_scaling/factor", "1.5", "llama_linear"),
    ("/rope_scaling/factor", "1.5", "llama_dynamic"),
    ("/rope_scaling/factor", "1.5", "llama_llama3"),
    ("/rope_scaling/high_freq_factor", "2.0", "llama_llama3"),
    ("/rope_scaling/factor", "2.0", "llama_yarn"),
    ("/rope_parameters/attention_factor", "null", "llama_yarn_attention_factor"),
    ("/rope_parameters/beta_fast", "null", "llama_yarn_keys"),
    ("/rope_parameters/beta_slow", "null", "llama_yarn_keys"),
    ("/rope_parameters/mscale_all_dim", "null", "llama_yarn_keys"),
    ("/rope_parameters/truncate", "null", "llama_yarn_keys"),
    ("/rope_parameters/rope_theta", "1000.0", "mistral_full"),
    ("/hidden_act", "\"silu\"", "llama_gelu"),
    ("/hidden_act", "\"gelu_pytorch_tanh\"", "llama_gelu"),
    ("/sliding_window", "null", "mistral"),
    ("/sliding_window", "11", "mistral"),
    ("/max_window_layers", "2", "qwen2_windows"),
    ("/use_sliding_window", "false", "qwen2_layer_types"),
    ("/layer_types/0", "\"full_attention\"", "qwen2_layer_types"),
    ("/no_rope_layer_interval", "3", "smollm3"),
    ("/no_rope_layers/1", "0", "smollm3_windows"),
    ("/sliding_window", "null", "smollm3_windows"),
    ("/attn_logit_softcapping", "null", "gemma2"),
    ("/final_logit_softcapping", "null", "gemma2"),
    ("/query_pre_attn_scalar", "16", "gemma2"),
    ("/sliding_window", "13", "gemma2"),
    ("/hidden_activation", "\"silu\"", "gemma2"),
    ("/sliding_window_pattern", "2", "gemma3"),
    ("/rope_theta", "10000.0", "gemma3"),
    ("/rope_local_base_freq", "10000.0", "gemma3"),
    ("/final_logit_softcapping", "null", "gemma3_new"),
    ("/rope_parameters/sliding_attention/rope_theta", "1000.0", "gemma3_new"),
    ("/text_config/rope_parameters/full_attention/factor", "4.0", "gemma3_linear"),
    ("/sliding_window", "null", "phi3"),
    ("/rope_scaling/long_factor/1", "1.0", "phi3_longrope"),
    ("/rope_scaling/type", "\"default\"", "phi3_longrope"),
    ("/original_max_position_embeddings", "64", "phi3_longrope"),
    ("/rope_parameters/partial_rotary_factor", "1.0", "phi3_partial"),
    ("/rms_norm_eps", "0.1", "olmo2"),
    ("/attention_multiplier", "0.3", "granite"),
    ("/embedding_multiplier", "6.0", "granite"),
    ("/residual_multiplier", "0.2", "granite"),
    ("/logits_scaling", "8.0", "granite"),
];

#[test]
fn a_switch_that_is_read_wrongly_shows_in_the_logits() {
    let device = Device::flex();
    for &(key, value, name) in SWITCHES {
        let (from, to) = (golden().join(name), tempfile::tempdir().unwrap());
        let mut config: Value = serde_json::from_slice(&std::fs::read(from.join("config.json")).unwrap()).unwrap();
        *config.pointer_mut(key).unwrap_or_else(|| panic!("{name} has {key}")) = value.parse().unwrap();
        std::fs::write(to.path().join("config.json"), config.to_string()).unwrap();
        std::fs::copy(from.join("model.safetensors"), to.path().join("model.safetensors")).unwrap();
        let (model, case) = (load(to.path(), DType::F32, &device).model, cases(&from).remove(1));
        let error = error(&forward(&model, &device, &[case.prompt], None)[0], &case.logits);
        assert!(error > TOLERANCE, "{key} of {name}: {error:.1e}");
    }
}

/// Where a test leaves what it saves, for `make_families.py --check` to read with transformers.
#[expect(clippy::disallowed_methods, reason = "a test asks for its folder through the environment")]
fn saved() -> Option<PathBuf> {
    std::env::var_os("T2_SAVED").map(PathBuf::from)
}

#[test]
fn what_is_saved_is_read_back_as_the_same_model() {
    let temporary = tempfile::tempdir().unwrap();
    let root = saved().unwrap_or_else(|| temporary.path().to_owned());
    for (name, dir) in folders() {
        let device = Device::flex();
        let loaded = load(&dir, DType::F32, &device);
        let folder = root.join(&name);
        std::fs::create_dir_all(&folder).unwrap();
        checkpoint::save(&loaded.model, loaded.architecture, &GenerationDefaults::default(), &folder).unwrap();
        let again = load(&folder, DType::F32, &device);
        assert_eq!(again.model.config(), loaded.model.config(), "{name}");
        for case in cases(&dir) {
            let logits = |model| forward(model, &device, std::slice::from_ref(&case.prompt), None);
            assert_eq!(logits(&again.model), logits(&loaded.model), "{name}");
        }
    }
}

#[test]
fn every_family_has_a_checkpoint_and_the_same_targets() {
    let device = Device::flex();
    let mut families = BTreeSet::new();
    for (name, dir) in folders() {
        let loaded = load(&dir, DType::F32, &device);
        families.insert(loaded.architecture.hf_name());
        let config = loaded.model.config();
        for (targets, matrices) in [(Targets::MLP, 3), (Targets::ATTN, 4), (Targets::ALL, 7)] {
            let adapted = config.parameters().filter(|(path, _)| targets.matches(path)).count();
            assert_eq!(adapted, matrices * config.layers, "{name}");
        }
    }
    // Llama has folders of its own in `parity.rs`, and some here.
    assert_eq!(families, ARCHITECTURES.iter().map(|family| family.hf_name()).collect());
}
