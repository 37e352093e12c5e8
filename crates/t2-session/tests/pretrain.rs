//! Pretraining on a tiny shape: an interrupted run makes the same model as one that was not.
//!
//! The fresh weights come from the device's own random numbers, so this is the one test of its process.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::ops::ControlFlow;
use std::path::Path;

use burn::prelude::*;
use t2_model::architecture::Llama;
use t2_model::checkpoint::{self, GenerationDefaults};
use t2_model::decoder::{AttentionConfig, DecoderConfig, MlpConfig};
use t2_model::text::Tokenizer;
use t2_session::pretrain::{END, PAD, PretrainConfig, PretrainError, PretrainInputs, PretrainStep, pretrain};
use t2_task::tiny::corpus::documents;

const SEED: u64 = 5;

fn inputs<'a>(tokenizer: &'a Tokenizer, dir: &'a Path, device: &'a Device) -> PretrainInputs<'a> {
    PretrainInputs { tokenizer, dir, device }
}

fn tokenizer() -> Tokenizer {
    let texts: Vec<String> = documents(SEED).take(50).flat_map(|d| d.turns).map(|turn| turn.content).collect();
    let tokenizer = t2_model::text::bpe::train(texts.iter().map(String::as_str), 300, &[PAD, END]);
    Tokenizer::new(tokenizer.unwrap())
}

fn shape() -> DecoderConfig {
    DecoderConfig {
        vocab: 300,
        d_model: 16,
        max_seq_len: 32,
        attention: AttentionConfig::new(2, 1, 8),
        mlp: MlpConfig::new(24),
        tied_head: true,
        ..DecoderConfig::tiny()
    }
}

fn config() -> PretrainConfig {
    PretrainConfig {
        steps: 30,
        batch_tokens: 400,
        learning_rate: 1e-2,
        warmup_steps: 4,
        question_weight: 0.2,
        weight_decay: 0.1,
        max_grad_norm: 1.0,
        seed: SEED,
        save_every: 7,
    }
}

/// Pretrain in `dir` until step `until`: the model's file, if it came to that, and the steps of this run.
fn run(dir: &Path, until: usize) -> (Result<Vec<u8>, PretrainError>, Vec<PretrainStep>) {
    let mut steps = vec![];
    let pretrained = pretrain(&config(), &shape(), inputs(&tokenizer(), dir, &Device::flex()), |step| {
        steps.push(step);
        if step.step < until { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    let file = pretrained.map(|model| {
        let out = tempfile::tempdir().unwrap();
        checkpoint::save(&model, &Llama, &GenerationDefaults::default(), out.path()).unwrap();
        std::fs::read(out.path().join("model.safetensors")).unwrap()
    });
    (file, steps)
}

#[test]
fn an_interrupted_run_makes_the_same_model() {
    let [whole, parts] = [(), ()].map(|()| tempfile::tempdir().unwrap());
    // Whoever breaks off after the last step gets the model.
    let (expected, steps) = run(whole.path(), 30);
    let expected = expected.unwrap();
    let (first, last) = (steps[0].loss, steps[steps.len() - 1].loss);
    assert_eq!(steps.len(), 30);
    assert!(first > 5.0 && last < first - 0.5, "{first} -> {last}");

    let mut resumed_steps = vec![];
    for until in [7, 12] {
        let (broken_off, steps) = run(parts.path(), until);
        let error = broken_off.unwrap_err();
        assert!(matches!(error, PretrainError::Interrupted { step, steps: 30 } if step == until), "{error}");
        resumed_steps.extend(steps);
    }
    let (resumed, rest) = run(parts.path(), usize::MAX);
    resumed_steps.extend(rest);
    let losses = |steps: &[PretrainStep]| steps.iter().map(|step| (step.step, step.loss)).collect::<Vec<_>>();
    assert_eq!(losses(&resumed_steps), losses(&steps));
    assert!(resumed.unwrap() == expected, "the models differ");

    let other = PretrainConfig { question_weight: 1.0, ..config() };
    let error =
        pretrain(&other, &shape(), inputs(&tokenizer(), parts.path(), &Device::flex()), |_| ControlFlow::Break(()));
    assert!(matches!(error, Err(PretrainError::OtherRun { .. })), "{error:?}");

    let state = parts.path().join("pretrain.json");
    std::fs::write(&state, "{").unwrap();
    let error = run(parts.path(), usize::MAX).0.unwrap_err();
    assert!(matches!(error, PretrainError::Checkpoint { .. }), "{error}");
    assert!(error.to_string().contains("pretrain.json"), "{error}");
}
