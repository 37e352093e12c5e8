//! Every family and switch of the decoder against what transformers computed: the checkpoints in `golden/families`, made
//! by `golden/make_families.py`.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may panic, and says what it measured")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use burn::prelude::*;
use burn::tensor::DType;
#[cfg(feature = "wgpu")]
use burn::tensor::DeviceType;
use safetensors::tensor::SafeTensors;
use serde_json::Value;
use t2_model::adapter::Active;
use t2_model::architecture::ARCHITECTURES;
use t2_model::checkpoint::{self, Checkpoint, GenerationDefaults};
use t2_model::decoder::{CausalLm, Decoder, KvCache};
use t2_model::decomposition::Targets;

/// Largest difference of a logit in f32, relative to the largest logit: f32 sums in another order, through four layers.
/// Measured: 2.7e-6 (`phi4_mini`).
const TOLERANCE: f32 = 1e-4;
/// The same with weights and states of 8 bits, against transformers in f32; transformers itself is off by 4.2e-2 in bf16.
/// Measured: 5.9e-2 (`phi4_mini`).
const TOLERANCE_BF16: f32 = 0.1;
/// The same with 11 bits; transformers itself is off by 7.4e-3 in f16. Measured: 4.5e-3 (`phi3_longrope`).
const TOLERANCE_F16: f32 = 0.0125;

/// One prompt and what transformers makes of it, alone.
struct Case {
    prompt: Vec<i64>,
    /// `[seq, vocab]`.
    logits: Vec<f32>,
    greedy: Vec<i64>,
}

/// Where models run, and what is computed there.
fn devices() -> Vec<(&'static str, Device)> {
    vec![
        ("cpu", Device::flex()),
        #[cfg(feature = "wgpu")]
        (
            "wgpu",
            Device::enumerate(DeviceType::Wgpu).into_iter().next().expect("there is a GPU, or a Vulkan of software"),
        ),
    ]
}

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/families")
}

/// Every folder in `golden/families`, by its name.
fn folders() -> Vec<(String, PathBuf)> {
    let paths = std::fs::read_dir(golden()).unwrap().map(|entry| entry.unwrap().path());
    let mut all: Vec<_> = paths.map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), path)).collect();
    all.sort();
    all
}

fn cases(dir: &Path) -> Vec<Case> {
    let bytes = std::fs::read(dir.join("golden.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let data = |name: String| tensors.tensor(&name).unwrap().data().to_vec();
    let ids = |name| bytemuck::pod_collect_to_vec::<u8, i32>(&data(name)).into_iter().map(i64::from).collect();
    let case = |i| Case {
        prompt: ids(format!("prompt.{i}")),
        logits: bytemuck::pod_collect_to_vec(&data(format!("logits.{i}"))),
        greedy: ids(format!("greedy.{i}")),
    };
    (0..2).map(case).collect()
}

fn load(dir: &Path, dtype: DType, device: &Device) -> Checkpoint {
    checkpoint::load(dir, Some(dtype), device).unwrap()
}

/// Logits of `rows` `[batch, seq]`, as a list `[seq, vocab]` for each.
fn forward(model: &Decoder, device: &Device, rows: &[Vec<i64>], cache: Option<&mut KvCache>) -> Vec<Vec<f32>> {
    let tokens = TensorData::new(rows.concat(), [rows.len(), rows[0].len()]);
    let logits = model.forward(Tensor::from_data(tokens, device), cache, Active::Base).cast(DType::F32);
    let [_, seq, vocab] = logits.dims();
    logits.into_data().iter::<f32>().collect::<Vec<_>>().chunks(seq * vocab).map(<[f32]>::to_vec).collect()
}

/// Logits of the prompts, and greedy tokens, of `cases` as one batch, padded on the left, with a cache.
fn answers(model: &Decoder, device: &Device, cases: &[Case]) -> Vec<(Vec<f32>, Vec<i64>)> {
    let (vocab, count) = (model.shape().vocab, cases[0].greedy.len());
    let longest = cases.iter().map(|case| case.prompt.len()).max().unwrap();
    let pad: Vec<usize> = cases.iter().map(|case| longest - case.prompt.len()).collect();
    let rows: Vec<_> = cases.iter().zip(&pad).map(|(case, &pad)| [&vec![0; pad], &case.prompt[..]].concat()).collect();
    let mut cache = KvCache::new(model.shape(), pad.clone(), longest + count);
    let mut logits = forward(model, device, &rows, Some(&mut cache));
    let read: Vec<_> = logits.iter().zip(&pad).map(|(row, pad)| row[pad * vocab..].to_vec()).collect();
    let mut greedy = vec![vec![]; cases.len()];
    for _ in 0..count {
        let best = |row: &Vec<f32>| {
            row[row.len() - vocab..].iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).unwrap().0 as i64
        };
        let next: Vec<Vec<i64>> = logits.iter().map(|row| vec![best(row)]).collect();
        greedy.iter_mut().zip(&next).for_each(|(row, next)| row.extend(next));
        logits = forward(model, device, &next, Some(&mut cache));
    }
    read.into_iter().zip(greedy).collect()
}

/// The larger of two, or what is no number.
fn larger(a: f32, b: f32) -> f32 {
    if b > a || b.is_nan() { b } else { a }
}

/// Largest difference relative to the largest reference.
fn error(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    let largest = |values: &mut dyn Iterator<Item = f32>| values.map(f32::abs).fold(0.0, larger);
    largest(&mut found.iter().zip(expected).map(|(a, b)| a - b)) / largest(&mut expected.iter().copied())
}

/// Logits of the whole prompts, read without a cache, are those of transformers within `tolerance`.
fn check_logits(dtype: DType, tolerance: f32) {
    let mut failed = vec![];
    for (on, device) in devices() {
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

/// Logits and greedy tokens of `cases`, as one batch, are those that transformers computed of each alone.
#[track_caller]
fn check_answers(what: &str, model: &Decoder, device: &Device, cases: &[Case]) {
    for ((logits, greedy), case) in answers(model, device, cases).into_iter().zip(cases) {
        let error = error(&logits, &case.logits);
        assert!(error <= TOLERANCE, "{what}, {} tokens: {error:.1e}", case.prompt.len());
        assert_eq!(greedy, case.greedy, "{what}, {} tokens", case.prompt.len());
    }
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
