//! Logits and greedy tokens of every checkpoint in `golden/` against what transformers computed (`golden/make.py`).

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may panic, and says what it measured")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn::prelude::*;
use safetensors::tensor::{Dtype, SafeTensors};
use serde_json::Value;
use t2_model::adapter::Active;
use t2_model::checkpoint;
use t2_model::decoder::{CausalLm, Decoder, KvCache};
use t2_model::text::Tokenizer;

/// Largest difference of a logit, relative to the largest logit: f32 sums in another order, through two layers.
const TOLERANCE: f32 = 1e-4;

/// One prompt and what transformers makes of it.
struct Case {
    prompt: Vec<i64>,
    /// `[seq, vocab]`.
    logits: Vec<f32>,
    greedy: Vec<i64>,
}

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

/// Every folder in `golden/`.
fn folders() -> Vec<PathBuf> {
    let mut all: Vec<_> = std::fs::read_dir(golden("")).unwrap().map(|entry| entry.unwrap().path()).collect();
    all.retain(|path| path.join("golden.safetensors").exists());
    all.sort();
    assert!(all.len() >= 6, "the golden checkpoints are there: {all:?}");
    all
}

fn cases(dir: &Path) -> Vec<Case> {
    let bytes = std::fs::read(dir.join("golden.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let ids = |name: String| {
        let view = tensors.tensor(&name).unwrap();
        assert_eq!(view.dtype(), Dtype::I32);
        bytemuck::pod_collect_to_vec::<u8, i32>(view.data()).into_iter().map(i64::from).collect()
    };
    let floats = |name: String| bytemuck::pod_collect_to_vec(tensors.tensor(&name).unwrap().data());
    let case = |i| Case {
        prompt: ids(format!("prompt.{i}")),
        logits: floats(format!("logits.{i}")),
        greedy: ids(format!("greedy.{i}")),
    };
    (0..2).map(case).collect()
}

fn load(dir: &Path) -> Decoder {
    checkpoint::load(dir, None, &Device::flex()).unwrap().model
}

/// Logits `[rows, seq, vocab]` as one list per row.
fn forward(model: &Decoder, rows: &[Vec<i64>], cache: Option<&mut KvCache>) -> Vec<Vec<f32>> {
    let shape = [rows.len(), rows[0].len()];
    let tokens = TensorData::new(rows.concat(), shape);
    let logits = model.forward(Tensor::from_data(tokens, &Device::flex()), cache, Active::Base);
    let row = logits.dims()[1] * logits.dims()[2];
    let all: Vec<f32> = logits.into_data().iter::<f32>().collect();
    all.chunks(row).map(<[f32]>::to_vec).collect()
}

fn argmax(logits: &[f32]) -> i64 {
    logits.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).unwrap().0 as i64
}

/// Largest difference relative to the largest reference.
fn error(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    // A difference that is no number stays one.
    let larger = |max: f32, x: f32| if x.abs() > max || x.is_nan() { x.abs() } else { max };
    let largest = |values: &mut dyn Iterator<Item = f32>| values.fold(0.0, larger);
    largest(&mut found.iter().zip(expected).map(|(a, b)| a - b)) / largest(&mut expected.iter().copied())
}

/// Greedy tokens by running the whole text again for each.
fn greedy_without_cache(model: &Decoder, prompt: &[i64], count: usize) -> Vec<i64> {
    let vocab = model.shape().vocab;
    let mut text = prompt.to_vec();
    for _ in 0..count {
        let logits = forward(model, &[text.clone()], None).remove(0);
        text.push(argmax(&logits[logits.len() - vocab..]));
    }
    text.split_off(prompt.len())
}

/// Prompt logits without padding, and greedy tokens, of `prompts` as one left-padded batch with a cache.
fn batch(model: &Decoder, prompts: &[&[i64]], count: usize) -> Vec<(Vec<f32>, Vec<i64>)> {
    let vocab = model.shape().vocab;
    let longest = prompts.iter().map(|prompt| prompt.len()).max().unwrap();
    let pad: Vec<usize> = prompts.iter().map(|prompt| longest - prompt.len()).collect();
    let rows: Vec<Vec<i64>> = prompts.iter().zip(&pad).map(|(p, &pad)| [&vec![0; pad], *p].concat()).collect();
    let mut cache = KvCache::new(model.shape(), pad.clone(), longest + count);
    let mut logits = forward(model, &rows, Some(&mut cache));
    let kept: Vec<Vec<f32>> = logits.iter().zip(&pad).map(|(row, pad)| row[pad * vocab..].to_vec()).collect();
    let mut greedy = vec![vec![]; prompts.len()];
    for _ in 0..count {
        let next: Vec<Vec<i64>> = logits.iter().map(|row| vec![argmax(&row[row.len() - vocab..])]).collect();
        greedy.iter_mut().zip(&next).for_each(|(row, next)| row.extend(next));
        logits = forward(model, &next, Some(&mut cache));
    }
    kept.into_iter().zip(greedy).collect()
}

#[track_caller]
fn check(what: &str, logits: &[f32], greedy: &[i64], case: &Case) {
    let error = error(logits, &case.logits);
    println!("{what}: relative error {error:.1e}");
    assert!(error <= TOLERANCE, "{what}: {error:.1e}");
    assert_eq!(greedy, case.greedy, "{what}");
}

#[test]
fn without_a_cache_as_in_transformers() {
    for dir in folders() {
        let (model, name) = (load(&dir), dir.file_name().unwrap().display().to_string());
        for case in cases(&dir) {
            let logits = forward(&model, std::slice::from_ref(&case.prompt), None).remove(0);
            let greedy = greedy_without_cache(&model, &case.prompt, case.greedy.len());
            check(&format!("{name}, {} tokens", case.prompt.len()), &logits, &greedy, &case);
        }
    }
}

#[test]
fn with_a_cache_as_in_transformers() {
    for dir in folders() {
        let (model, name) = (load(&dir), dir.file_name().unwrap().display().to_string());
        for case in cases(&dir) {
            let (logits, greedy) = batch(&model, &[&case.prompt], case.greedy.len()).remove(0);
            check(&format!("{name}, {} tokens", case.prompt.len()), &logits, &greedy, &case);
        }
    }
}

#[test]
fn left_padded_in_a_batch_as_in_transformers() {
    for dir in folders() {
        let (model, name) = (load(&dir), dir.file_name().unwrap().display().to_string());
        let cases = cases(&dir);
        let prompts: Vec<&[i64]> = cases.iter().map(|case| case.prompt.as_slice()).collect();
        for (case, (logits, greedy)) in cases.iter().zip(batch(&model, &prompts, cases[0].greedy.len())) {
            check(&format!("{name}, {} tokens", case.prompt.len()), &logits, &greedy, case);
        }
    }
}

/// The golden files would notice a rotary encoding that is not rescaled.
#[test]
fn rope_scaling_is_visible_in_the_logits() {
    for name in ["llama3_new", "llama3_old", "linear"] {
        let dir = tempfile::tempdir().unwrap();
        let config: Value = serde_json::from_slice(&std::fs::read(golden(name).join("config.json")).unwrap()).unwrap();
        let plain = config.to_string().replace("\"llama3\"", "\"default\"").replace("\"linear\"", "\"default\"");
        std::fs::write(dir.path().join("config.json"), plain).unwrap();
        std::fs::copy(golden(name).join("model.safetensors"), dir.path().join("model.safetensors")).unwrap();
        let case = cases(&golden(name)).remove(1);
        let logits = forward(&load(dir.path()), &[case.prompt], None).remove(0);
        assert!(error(&logits, &case.logits) > 100.0 * TOLERANCE, "{name}");
    }
}

/// The folder of real files that this repository does not hold; `None`, said aloud, when it is not given.
#[expect(clippy::disallowed_methods, reason = "a test asks for its data through the environment")]
fn data() -> Option<PathBuf> {
    let dir = std::env::var_os("T2_DATA").map(PathBuf::from);
    if dir.is_none() {
        println!("skipped: set T2_DATA to the folder with the real checkpoints");
    }
    dir
}

#[test]
fn a_real_checkpoint_tells_the_story_transformers_tells() {
    let Some(dir) = data() else { return };
    let dir = dir.join("model_tinystories_656k");
    let golden: BTreeMap<String, Value> =
        serde_json::from_slice(&std::fs::read(golden("tinystories_656k.json")).unwrap()).unwrap();
    let ids = |key: &str| -> Vec<i64> { serde_json::from_value(golden[key].clone()).unwrap() };
    let (prompt, story) = (ids("prompt_ids"), ids("story_ids"));
    let last: Vec<f32> = serde_json::from_value(golden["last_logits"].clone()).unwrap();

    let tokenizer = Tokenizer::load(&dir).unwrap().unwrap();
    let encoded = tokenizer.encode(golden["prompt"].as_str().unwrap()).unwrap();
    assert_eq!(encoded.into_iter().map(i64::from).collect::<Vec<_>>(), prompt);

    let model = load(&dir);
    let (logits, greedy) = batch(&model, &[&prompt], story.len()).remove(0);
    let row = &logits[logits.len() - model.shape().vocab..];
    let error = error(&row[..last.len()], &last);
    println!("model_tinystories_656k: relative error {error:.1e}");
    assert!(error <= TOLERANCE, "{error:.1e}");
    assert_eq!(greedy, story);

    let ids: Vec<u32> = story.iter().map(|&id| u32::try_from(id).unwrap()).collect();
    assert_eq!(tokenizer.decode(&ids).unwrap(), golden["story"].as_str().unwrap());
}
