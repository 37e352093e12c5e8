//! A tiny random decoder, a tokenizer, and a task that rewards vowels.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use burn::module::{Module, ModuleMapper, Param};
use burn::prelude::*;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use t2_model::adapter::{Expert, ExpertInfo};
use t2_model::decoder::{CausalLm, Decoder, DecoderConfig};
use t2_model::decomposition::{Decomposition, Targets};
use t2_model::text::{Tokenizer, bpe};
use t2_rl::metrics::{JsonLines, Step, StepMetrics};
use t2_rl::train::{Activations, TrainConfig, TrainError, TrainInputs, train};
use t2_task::{Example, Split, Task, TaskError, reward};

const TEXTS: [&str; 3] = ["Tom has 4 apples. He buys 3 more.", "Say a vowel.", "The cat sat on the mat."];
/// For a run that nobody breaks off.
pub(crate) const NEVER: usize = usize::MAX;

/// Rewards completions that hold a vowel, as about half of those of a random model do.
pub(crate) struct Vowels(pub(crate) &'static str);

impl Task for Vowels {
    fn name(&self) -> &str {
        self.0
    }

    fn about(&self) -> &'static str {
        "say a vowel"
    }

    fn load(&self, _: Split, limit: usize) -> Result<Vec<Example>, TaskError> {
        let example = |i| Example::new(format!("Say vowel {i}."), "a");
        Ok((0..limit).map(example).collect())
    }

    fn rewards(&self, graded: &[(&Example, &str)]) -> Result<Vec<f32>, TaskError> {
        Ok(graded.iter().map(|(_, text)| reward(text.contains(['a', 'e', 'i', 'o', 'u']))).collect())
    }
}

/// [`Vowels`] whose rewards `spoil` sees first, with the number of times it was asked before.
pub(crate) struct Spoilt<F> {
    asked: AtomicUsize,
    spoil: F,
}

impl<F> Spoilt<F> {
    pub(crate) fn by(spoil: F) -> Self {
        Self { asked: AtomicUsize::new(0), spoil }
    }
}

impl<F: Fn(usize, Vec<f32>) -> Vec<f32> + Send + Sync> Task for Spoilt<F> {
    fn name(&self) -> &'static str {
        "vowels"
    }

    fn about(&self) -> &'static str {
        "say a vowel, and be graded badly"
    }

    fn load(&self, split: Split, limit: usize) -> Result<Vec<Example>, TaskError> {
        Vowels("vowels").load(split, limit)
    }

    fn rewards(&self, graded: &[(&Example, &str)]) -> Result<Vec<f32>, TaskError> {
        let rewards = Vowels("vowels").rewards(graded)?;
        Ok((self.spoil)(self.asked.fetch_add(1, Ordering::Relaxed), rewards))
    }
}

/// Everything a run needs but its configuration and its folder.
pub(crate) struct Tiny {
    pub(crate) model: Decoder,
    pub(crate) tokenizer: Tokenizer,
    pub(crate) task: Vowels,
    pub(crate) examples: Vec<Example>,
    pub(crate) info: ExpertInfo,
}

impl Tiny {
    pub(crate) fn new() -> Self {
        Self::of(&decoder(1))
    }

    /// With the base model `base`.
    pub(crate) fn of(base: &Decoder) -> Self {
        let task = Vowels("vowels");
        let examples = task.load(Split::Train, 5).unwrap();
        let tokenizer = bpe::train(TEXTS.into_iter().cycle().take(60), 300, &["<|end|>"]).unwrap();
        let model = base.clone().trainable(&Decomposition::of(base, Targets::ALL).unwrap()).unwrap();
        let info = ExpertInfo::for_model("vowels", &model);
        Self { model, tokenizer: Tokenizer::new(tokenizer), task, examples, info }
    }

    pub(crate) fn inputs<'a>(&'a self, dir: &'a Path) -> TrainInputs<'a> {
        let Self { tokenizer, task, examples, info, .. } = self;
        TrainInputs { stop: &[0], ..TrainInputs::new(tokenizer, task, examples, info, dir) }
    }

    /// Train, or go on, and break off after step `until`. Returns how it ended and the metrics of these steps.
    pub(crate) fn train(
        &self,
        config: &TrainConfig,
        inputs: TrainInputs<'_>,
        until: usize,
    ) -> (Result<Expert, TrainError>, Vec<StepMetrics>) {
        let mut steps = vec![];
        let watch = |step: Step<'_>| {
            steps.push(step.metrics.clone());
            if step.metrics.step < until { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        };
        let mut monitor = (JsonLines::new(inputs.dir.join("metrics.jsonl")), watch);
        let ended = train(self.model.clone(), config, inputs, &mut monitor);
        (ended, steps)
    }

    /// Train, or go on, to the end.
    #[track_caller]
    pub(crate) fn finish(&self, config: &TrainConfig, inputs: TrainInputs<'_>) -> (Expert, Vec<StepMetrics>) {
        let (ended, steps) = self.train(config, inputs, NEVER);
        (ended.unwrap(), steps)
    }

    /// As [`finish`](Self::finish), in a folder of its own that holds nothing before and is gone afterwards.
    #[track_caller]
    pub(crate) fn run(&self, config: &TrainConfig) -> (Expert, Vec<StepMetrics>) {
        self.finish(config, self.inputs(tempfile::tempdir().unwrap().path()))
    }

    /// Why training ends without an expert.
    #[track_caller]
    pub(crate) fn refusal(&self, config: &TrainConfig, inputs: TrainInputs<'_>) -> TrainError {
        self.train(config, inputs, NEVER).0.unwrap_err()
    }
}

/// What is in the file of `expert`.
pub(crate) fn bytes(expert: &Expert) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("expert.safetensors");
    expert.save(&path).unwrap();
    std::fs::read(path).unwrap()
}

/// A short run.
pub(crate) fn config() -> TrainConfig {
    TrainConfig {
        steps: 8,
        prompts: 4,
        group: 4,
        max_new_tokens: 4,
        learning_rate: 5e-2,
        max_grad_norm: 1.0,
        micro_batch_tokens: 40,
        activations: Activations::Keep,
        save_every: 3,
        seed: 1,
    }
}

/// A decoder with random weights, the same in every run with the same seed.
pub(crate) fn decoder(seed: u64) -> Decoder {
    let config = DecoderConfig { vocab: 300, tied_head: true, ..DecoderConfig::tiny() };
    config.init(&Device::flex()).map(&mut Draw(ChaCha8Rng::seed_from_u64(seed)))
}

/// Draws every matrix so that what it multiplies keeps its size.
struct Draw(ChaCha8Rng);

impl ModuleMapper for Draw {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if D == 1 {
            return param;
        }
        let dims = param.lazy_shape();
        let width = (3.0 / dims[0].min(dims[1]) as f32).sqrt();
        let drawn = (0..dims.num_elements()).map(|_| self.0.random_range(-width..width));
        let drawn = TensorData::new(drawn.collect::<Vec<f32>>(), dims);
        param.map(|weight| Tensor::from_data(drawn, &weight.device()))
    }
}
