//! What a training step holds does not grow with the vocabulary, by what the allocator hands out.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may panic, and says what it measured")]

use std::sync::atomic::{AtomicUsize, Ordering};

use burn::prelude::*;
use peak_alloc::PeakAlloc;
use t2_model::adapter::ExpertInfo;
use t2_model::decoder::{CausalLm, DecoderConfig};
use t2_model::decomposition::{Decomposition, Targets};
use t2_model::text::{Tokenizer, bpe};
use t2_rl::policy::{KlDirection, LossInputs, Needs, PolicyGradient, Reinforce};
use t2_rl::{Activations, Example, Split, Step, Task, TaskError, TrainConfig, TrainInputs, train};

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

/// The vocabularies of two families, the second of them `Qwen2.5`.
const VOCABS: [usize; 2] = [49_152, 151_936];
/// How much more a step may take with the larger.
const MORE: f64 = 1.2;
/// How many times less a step takes at least when 24 blocks are computed again.
const LESS: usize = 4;

/// Every other completion is right.
struct Alternating;

impl Task for Alternating {
    fn name(&self) -> &'static str {
        "alternating"
    }

    fn load(&self, _: Split, limit: usize) -> Result<Vec<Example>, TaskError> {
        Ok((0..limit).map(|i| Example::new(format!("Tom has {i} apples."), "")).collect())
    }

    fn rewards(&self, graded: &[(&Example, &str)]) -> Result<Vec<f32>, TaskError> {
        Ok((0..graded.len()).map(|i| f32::from(u8::from(i % 2 == 0))).collect())
    }
}

/// A policy gradient that knows what was in use before it learned.
struct Watched {
    inner: Reinforce,
    before: AtomicUsize,
}

impl PolicyGradient for Watched {
    fn describe(&self) -> String {
        self.inner.describe()
    }

    fn needs(&self) -> Needs {
        PolicyGradient::needs(&self.inner)
    }

    fn advantages(&self, rewards: &[f32]) -> Vec<f32> {
        ALLOCATOR.reset_peak_usage();
        self.before.store(ALLOCATOR.current_usage(), Ordering::Relaxed);
        self.inner.advantages(rewards)
    }

    fn loss(&self, inputs: LossInputs) -> Tensor<1> {
        self.inner.loss(inputs)
    }
}

/// Bytes that learning from a step takes beside the model, with the divergence weighed by `kl_weight`.
fn learning(shape: &DecoderConfig, kl_weight: f32, activations: Activations) -> usize {
    let base = shape.init(&Device::flex());
    let model = base.clone().trainable(&Decomposition::of(&base, Targets::ALL).unwrap()).unwrap();
    let tokenizer = Tokenizer::new(bpe::train(["Tom has 4 apples."; 20].into_iter(), 280, &["<|end|>"]).unwrap());
    let examples = Alternating.load(Split::Train, 4).unwrap();
    let info = ExpertInfo::for_model("alternating", &model);
    let inner = Reinforce { kl_weight, kl_direction: KlDirection::NewToBase };
    let policy = Watched { inner, before: AtomicUsize::new(0) };
    let dir = tempfile::tempdir().unwrap();
    let inputs = TrainInputs::new(&tokenizer, &Alternating, &examples, &info, dir.path());
    let config =
        TrainConfig { steps: 1, prompts: 4, group: 4, max_new_tokens: 30, activations, ..TrainConfig::default() };
    let mut taken = 0;
    let mut monitor = |step: Step<'_>| {
        taken = ALLOCATOR.peak_usage() - policy.before.load(Ordering::Relaxed);
        assert_eq!(step.metrics.completion_len, 30.0);
        std::ops::ControlFlow::Continue(())
    };
    train(model, &config, TrainInputs { policy: &policy, ..inputs }, &mut monitor).unwrap();
    taken
}

// One test: the allocator counts the whole process.
#[test]
fn learning_takes_as_much_memory_whatever_the_vocabulary_and_blocks_can_be_recomputed() {
    for kl_weight in [0.0, 0.1] {
        let shape = |vocab| DecoderConfig { vocab, d_model: 16, tied_head: true, ..DecoderConfig::tiny() };
        let [small, large] = VOCABS.map(|vocab| learning(&shape(vocab), kl_weight, Activations::Keep));
        println!("KL weighed {kl_weight}: {} MiB, with the larger vocabulary {} MiB", small >> 20, large >> 20);
        assert!((large as f64) < MORE * small as f64, "{large} vs {small}");
        // The logits of all positions, once.
        let whole = 4 * 4 * 30 * VOCABS[1] * size_of::<f32>();
        assert!(large < whole / 2, "{large} of {whole}");
    }
    let deep = DecoderConfig { vocab: 280, layers: 24, ..DecoderConfig::tiny() };
    let [kept, again] = [Activations::Keep, Activations::Recompute].map(|way| learning(&deep, 0.0, way));
    println!("24 blocks: {} KiB, recomputed {} KiB", kept >> 10, again >> 10);
    assert!(again < kept / LESS, "{again} vs {kept}");
}
