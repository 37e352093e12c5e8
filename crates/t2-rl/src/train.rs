//! The training loop: sample groups of completions, grade them, move `z`.
//!
//! Everything random is a function of the seed and the step, so the state of a run is `z`, the optimizer's moments and
//! the number of steps; a resumed run writes the same expert, byte for byte, as one that was never interrupted.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Instant;

use burn::optim::{AdamConfig, ModuleOptimizer};
use burn::tensor::TensorReadError;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use t2_model::chat::Message;
use t2_model::decoder::CausalLm;
use t2_model::expert::{Expert, ExpertError, ExpertInfo};
use t2_model::files::WriteError;
use t2_model::generate::GenerateConfig;
use t2_model::mix::Mix;
use t2_model::sample::Sampling;
use t2_model::tokenizer::Tokenizer;

use crate::metrics::{JsonLines, Monitor, StepMetrics};
use crate::policy::{KlDirection, PolicyGradient, Reinforce};
use crate::rollout::{Rollout, RolloutError, rollout};
use crate::task::{Example, Task, TaskError};
use gradients::ZGradients;
use learn::Learned;

mod gradients;
mod learn;
mod state;

/// How an expert is trained. Every field has a default; a run file names those it changes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrainConfig {
    /// Optimizer steps.
    pub steps: usize,
    /// Prompts of a step.
    pub prompts: usize,
    /// Completions sampled for each prompt; their mean reward is the baseline.
    pub group: usize,
    /// Most tokens of a completion.
    pub max_new_tokens: usize,
    /// Adam's learning rate.
    pub learning_rate: f64,
    /// Largest norm of the gradient of `z`, all weights together.
    pub max_grad_norm: f32,
    /// Weight of the divergence from the base model; at 0 it is not computed.
    pub kl_weight: f32,
    /// Direction of the divergence.
    pub kl_direction: KlDirection,
    /// Completions of one backward pass; fewer need less memory.
    pub micro_batch: usize,
    /// Steps between two checkpoints.
    pub save_every: usize,
    /// Seed of the order of the problems and of every draw.
    pub seed: u64,
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            steps: 100,
            prompts: 16,
            group: 8,
            max_new_tokens: 64,
            learning_rate: 2e-2,
            max_grad_norm: 1.0,
            kl_weight: 0.0,
            kl_direction: KlDirection::NewToBase,
            micro_batch: 64,
            save_every: 10,
            seed: 0,
        }
    }
}

/// What a run learns from and where it keeps its state.
#[derive(Clone, Copy)]
pub struct Setting<'a> {
    /// The model's tokenizer.
    pub tokenizer: &'a Tokenizer,
    /// Prompts and grades.
    pub task: &'a dyn Task,
    /// The problems to learn from.
    pub problems: &'a [Example],
    /// Token ids that end a completion.
    pub stop: &'a [u32],
    /// What the expert file will say about itself.
    pub info: &'a ExpertInfo,
    /// The folder of checkpoints and metrics.
    pub dir: &'a Path,
}

/// Why training stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// There is nothing to learn from.
    #[error("task {task} has no training problems; check its file")]
    NoProblems {
        /// The task.
        task: String,
    },
    /// A number in the configuration makes no sense.
    #[error("{name} is {value}; it must be {expected}")]
    Config {
        /// The field.
        name: &'static str,
        /// Its value.
        value: String,
        /// What it may be.
        expected: &'static str,
    },
    /// The folder holds a run with another configuration, task or base model.
    #[error(
        "{path} holds a run with another configuration, task or base model; \
         choose another folder, or delete it to start over"
    )]
    OtherRun {
        /// The state file.
        path: PathBuf,
    },
    /// A checkpoint is damaged.
    #[error("the checkpoint {path} is unusable ({reason}); delete the run's folder to start over")]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        reason: String,
    },
    /// The task failed.
    #[error(transparent)]
    Task(#[from] TaskError),
    /// A prompt was refused.
    #[error(transparent)]
    Rollout(#[from] RolloutError),
    /// The expert could not be attached, read or written.
    #[error(transparent)]
    Expert(#[from] ExpertError),
    /// A file could not be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The metrics could not be kept.
    #[error("cannot keep the metrics in {path}: {source}")]
    Metrics {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The device did not hand over its data.
    #[error("the loss could not be read from its device")]
    Read(#[from] TensorReadError),
}

/// Train the scales of `model`, which carries an [`Svf`](t2_model::svf::Svf) beside each adapted weight and lives on
/// an autodiff device, or go on where the folder says an earlier run stopped. Returns the expert.
///
/// `report` sees the metrics of each step and may break off: the state is then on disk.
///
/// # Errors
///
/// [`TrainError`] for a configuration that makes no sense or is not that of the run on disk, for prompts the model
/// refuses, and when the disk fails.
pub fn train<M: CausalLm>(
    mut model: M,
    config: &TrainConfig,
    setting: Setting<'_>,
    mut report: impl FnMut(&StepMetrics) -> ControlFlow<()>,
) -> Result<Expert, TrainError> {
    check(config, setting)?;
    let policy = Reinforce { kl_weight: config.kl_weight, kl_direction: config.kl_direction };
    let mut optimizer = AdamConfig::new().init();
    let mut step = 0;
    if let Some(saved) = state::load(config, setting)? {
        model = saved.expert.apply_to(model)?;
        optimizer = saved.optimizer(setting.dir, optimizer)?;
        step = saved.step;
    }
    let metrics_file = setting.dir.join("metrics.jsonl");
    let metrics_failed = |source| TrainError::Metrics { path: metrics_file.clone(), source };
    std::fs::create_dir_all(setting.dir).map_err(metrics_failed)?;
    let mut monitor = JsonLines::resume(&metrics_file, step).map_err(metrics_failed)?;
    while step < config.steps {
        let (learned, metrics) = one_step(model, &mut optimizer, &policy, (config, step), setting)?;
        model = learned;
        step += 1;
        monitor.log(&metrics).map_err(metrics_failed)?;
        let stop = report(&metrics).is_break();
        if stop || step % config.save_every == 0 || step == config.steps {
            let expert = Expert::from_model(&model, setting.info.clone());
            state::save(config, setting, (step, &expert), &optimizer)?;
        }
        if stop {
            break;
        }
    }
    Ok(Expert::from_model(&model, setting.info.clone()))
}

fn check(config: &TrainConfig, setting: Setting<'_>) -> Result<(), TrainError> {
    if setting.problems.is_empty() {
        return Err(TrainError::NoProblems { task: setting.task.name().to_owned() });
    }
    let counts = [
        ("steps", config.steps),
        ("prompts", config.prompts),
        ("max_new_tokens", config.max_new_tokens),
        ("micro_batch", config.micro_batch),
        ("save_every", config.save_every),
    ];
    let bad = |name, value: &dyn ToString, expected| TrainError::Config { name, value: value.to_string(), expected };
    if let Some((name, value)) = counts.iter().find(|(_, value)| *value == 0) {
        return Err(bad(name, value, "at least 1"));
    }
    if config.group < 2 {
        return Err(bad("group", &config.group, "at least 2: a completion is compared with the others of its prompt"));
    }
    let positive = |x: f64| x.is_finite() && x > 0.0;
    if !positive(config.learning_rate) {
        return Err(bad("learning_rate", &config.learning_rate, "above 0"));
    }
    if !positive(f64::from(config.max_grad_norm)) {
        return Err(bad("max_grad_norm", &config.max_grad_norm, "above 0"));
    }
    if !(config.kl_weight >= 0.0 && config.kl_weight.is_finite()) {
        return Err(bad("kl_weight", &config.kl_weight, "0 or above"));
    }
    Ok(())
}

/// Sample, grade, learn. Returns the model after the step.
fn one_step<M: CausalLm>(
    model: M,
    optimizer: &mut ModuleOptimizer,
    policy: &dyn PolicyGradient,
    (config, step): (&TrainConfig, usize),
    setting: Setting<'_>,
) -> Result<(M, StepMetrics), TrainError> {
    let start = Instant::now();
    let expert_hash = Expert::from_model(&model, setting.info.clone()).hash().to_string();
    let (problems, seeds) = draw(config, step, setting.problems);
    let prompts: Vec<Vec<Message>> = problems.iter().map(|problem| setting.task.prompt(problem)).collect();
    let generate = GenerateConfig {
        max_new_tokens: config.max_new_tokens,
        sampling: Sampling::PLAIN,
        stop: setting.stop.to_vec(),
    };
    let rollouts = rollout(&model.valid(), setting.tokenizer, &prompts, &seeds, (Mix::Own, &generate))?;
    let graded: Vec<(&Example, &str)> =
        problems.iter().copied().zip(rollouts.iter().map(|r| r.text.as_str())).collect();
    let rewards = setting.task.rewards(&graded)?;
    let advantages: Vec<f32> = rewards.chunks(config.group).flat_map(|group| policy.advantages(group)).collect();

    let mut gradients = ZGradients::of(&model);
    let mut learned = Learned::default();
    let rows: Vec<(&Rollout, f32)> = rollouts.iter().zip(advantages).collect();
    for rows in rows.chunks(config.micro_batch) {
        learned.add(learn::backward(&model, policy, (rows, rollouts.len()), config.kl_weight, &mut gradients)?);
    }
    let grad_norm = gradients.clip(config.max_grad_norm)?;
    let model = optimizer.step(config.learning_rate, model, gradients.into_params());
    let mut metrics = learned.metrics(&rollouts, &rewards, config.group);
    metrics.step = step + 1;
    metrics.grad_norm = grad_norm;
    metrics.tokens_per_sec = learned.tokens / start.elapsed().as_secs_f32();
    metrics.expert_hash = expert_hash;
    Ok((model, metrics))
}

/// The problems of a step, each `group` times in a row, and a seed for every completion.
fn draw<'a>(config: &TrainConfig, step: usize, problems: &'a [Example]) -> (Vec<&'a Example>, Vec<u64>) {
    let chosen = (step * config.prompts..(step + 1) * config.prompts).map(|position| {
        let (epoch, index) = (position / problems.len(), position % problems.len());
        &problems[shuffled(config.seed, epoch, problems.len())[index]]
    });
    let rows = chosen.flat_map(|problem| std::iter::repeat_n(problem, config.group)).collect();
    let mut rng = stream(config.seed, 2 * step as u64);
    let seeds = (0..config.prompts * config.group).map(|_| rng.random()).collect();
    (rows, seeds)
}

/// The order of the problems in `epoch`.
fn shuffled(seed: u64, epoch: usize, len: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..len).collect();
    order.shuffle(&mut stream(seed, 2 * epoch as u64 + 1));
    order
}

/// Independent random numbers for every purpose: even streams draw tokens, odd ones shuffle problems.
fn stream(seed: u64, stream: u64) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(stream);
    rng
}
