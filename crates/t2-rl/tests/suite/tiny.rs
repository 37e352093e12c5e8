//! A tiny random decoder, a tokenizer, and a task that rewards vowels.

use std::ops::ControlFlow;
use std::path::Path;

use burn::module::{Module, ModuleMapper, Param};
use burn::prelude::*;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use t2_linalg::HostSvd;
use t2_model::decoder::{DecoderConfig, RopeConfig, RopeScaling};
use t2_model::decoder::Decoder;
use t2_model::decomposition::{Decomposition, Targets};
use t2_model::adapter::{Expert, ExpertInfo};
use t2_model::text::Tokenizer;
use t2_rl::metrics::StepMetrics;
use t2_rl::policy::KlDirection;
use t2_task::{Example, RIGHT, Split, Task, TaskError, WRONG};
use t2_rl::train::{Setting, TrainConfig, TrainError, train};

const TEXTS: [&str; 3] = ["Tom has 4 apples. He buys 3 more.", "Say a vowel.", "The cat sat on the mat."];

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
        let example = |i| Example { question: format!("Say vowel {i}."), answer: "a".to_owned(), checks: vec![] };
        Ok((0..limit).map(example).collect())
    }

    fn rewards(&self, graded: &[(&Example, &str)]) -> Result<Vec<f32>, TaskError> {
        let reward = |text: &str| if text.contains(['a', 'e', 'i', 'o', 'u']) { RIGHT } else { WRONG };
        Ok(graded.iter().map(|(_, text)| reward(text)).collect())
    }
}

/// Everything a run needs but its configuration and its folder.
pub(crate) struct Tiny {
    pub(crate) model: Decoder,
    pub(crate) tokenizer: Tokenizer,
    pub(crate) task: Vowels,
    pub(crate) problems: Vec<Example>,
    pub(crate) info: ExpertInfo,
}

impl Tiny {
    pub(crate) fn new() -> Self {
        let task = Vowels("vowels");
        let info = ExpertInfo { name: "vowels".to_owned(), base_model: "07".repeat(32), ..ExpertInfo::default() };
        let problems = task.load(Split::Train, 5).unwrap();
        let tokenizer = t2_model::text::bpe::train(TEXTS.into_iter().cycle().take(60), 300, &["<|end|>"]).unwrap();
        Self { model: trainable(), tokenizer: Tokenizer::new(tokenizer), task, problems, info }
    }

    pub(crate) fn setting<'a>(&'a self, dir: &'a Path) -> Setting<'a> {
        let Self { tokenizer, task, problems, info, .. } = self;
        Setting { tokenizer, task, problems, stop: &[0], info, dir }
    }

    /// Train, or go on, in `dir`; breaks off after step `until`. Returns the expert and the metrics of this run.
    pub(crate) fn train(
        &self,
        config: &TrainConfig,
        dir: &Path,
        until: usize,
    ) -> Result<(Expert, Vec<StepMetrics>), TrainError> {
        let mut metrics = vec![];
        let expert = train(self.model.clone(), config, self.setting(dir), |step| {
            metrics.push(step.clone());
            if step.step < until { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        Ok((expert, metrics))
    }
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
        kl_weight: 0.0,
        kl_direction: KlDirection::NewToBase,
        micro_batch: 6,
        save_every: 3,
        seed: 1,
    }
}

/// A decoder with random weights, the same in every run, and trainable scales beside them.
fn trainable() -> Decoder {
    let config = DecoderConfig {
        vocab: 300,
        d_model: 32,
        d_hidden: 48,
        layers: 2,
        heads: 4,
        kv_heads: 2,
        head_dim: 8,
        max_seq_len: 64,
        rms_eps: 1e-5,
        tied_head: true,
        attention_bias: false,
        mlp_bias: false,
        rope: RopeConfig { theta: 10_000.0, scaling: RopeScaling::None },
    };
    let model = config.init(&Device::flex()).map(&mut Draw(ChaCha8Rng::seed_from_u64(1)));
    let keep_on = |_| ControlFlow::Continue(());
    let decomposition = Decomposition::of(&model, Targets::ALL, &HostSvd::default(), None, keep_on).unwrap();
    model.train().fork(&Device::flex().autodiff()).apply_reparameterization(&decomposition)
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
