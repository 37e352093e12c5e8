//! The training loop: sample groups of completions, grade them, move `z`.
//!
//! Everything random is a function of the seed and the step, so the state of a run is `z`, the optimizer's moments and
//! the number of steps; a resumed run writes the same expert, byte for byte, as one that was never interrupted.

mod batch;
mod config;
mod draw;
mod error;
mod gradients;
mod learn;
mod scores;
mod state;
mod states;
mod step;
mod trail;

use std::ops::ControlFlow;
use std::path::Path;
use std::time::Instant;

use burn::module::{Module, ModuleVisitor, Param, ParamId};
use burn::optim::{Adam, AdamConfig};
use burn::prelude::*;
use t2_chat::Message;
use t2_model::adapter::{Active, Expert, ExpertError, ExpertInfo};
use t2_model::decoder::CausalLm;
use t2_model::decomposition::Targets;
use t2_model::generate::{GenerateConfig, GenerateError, Sampling};
use t2_model::text::Tokenizer;
use t2_task::{AnswerBy, Example, Task};

use crate::metrics::{Monitor, Sample, Step, StepMetrics};
use crate::optimizer::Moments;
use crate::policy::{PolicyGradient, Reinforce};
use crate::prompts::fitting;
use crate::rollout::{Rollout, RolloutConfig, RolloutError, rollout_with};
use batch::batches;
use draw::draw;
use gradients::ZGradients;
use learn::{Learning, Row, Totals};
use state::{Identity, RunDir};

pub use config::{Activations, TrainConfig};
pub use error::TrainError;

/// Steps in a row without a gradient after which a run says so.
const IDLE_STEPS: usize = 5;

/// What a run learns from, how, and where it keeps its state.
#[derive(Clone, Copy)]
pub struct TrainInputs<'a> {
    /// The model's tokenizer.
    pub tokenizer: &'a Tokenizer,
    /// Prompts and grades.
    pub task: &'a dyn Task,
    /// The examples to learn from. Those too long for the model are left out, with a warning.
    pub examples: &'a [Example],
    /// Token ids that end a completion.
    pub stop: &'a [u32],
    /// Rewards to advantages to a loss.
    pub policy: &'a dyn PolicyGradient,
    /// What the expert file will say about itself.
    pub info: &'a ExpertInfo,
    /// The folder of checkpoints. One process at a time trains in it.
    pub dir: &'a Path,
    /// Asked after every token that is sampled; may break off.
    pub keep_going: &'a dyn Fn() -> ControlFlow<()>,
}

impl<'a> TrainInputs<'a> {
    /// By [`Reinforce`] without a divergence, without a token that ends a completion, and broken off by nobody.
    pub fn new(
        tokenizer: &'a Tokenizer,
        task: &'a dyn Task,
        examples: &'a [Example],
        info: &'a ExpertInfo,
        dir: &'a Path,
    ) -> Self {
        let keep_going = &|| ControlFlow::Continue(());
        Self { tokenizer, task, examples, stop: &[], policy: &Reinforce::PLAIN, info, dir, keep_going }
    }
}

/// Train the scales of `model`, which [`CausalLm::trainable`] made ready, or go on where the folder says an earlier run
/// stopped. Returns the expert.
///
/// `monitor` sees every step with its completions, and may break off, as [`TrainInputs::keep_going`] may in between. The
/// state is then on disk.
///
/// # Errors
///
/// [`TrainError`] for a configuration that makes no sense or is not that of the run on disk, for prompts the model
/// refuses, for anything that is not finite, and when the disk fails. What was learned up to the last checkpoint is on
/// disk.
pub fn train<M: CausalLm>(
    model: M,
    config: &TrainConfig,
    inputs: TrainInputs<'_>,
    monitor: &mut dyn Monitor,
) -> Result<Expert, TrainError> {
    config.check()?;
    inputs.policy.check().map_err(TrainError::Policy)?;
    if inputs.task.answering().by == AnswerBy::Likelihood {
        return Err(TrainError::Weighed { task: inputs.task.name().to_owned() });
    }
    let fitting = fitting(&model, inputs.tokenizer, inputs.task, inputs.examples, config.max_new_tokens)?;
    if let Some(note) = fitting.note() {
        tracing::warn!("task {}: {note}", inputs.task.name());
    }
    if fitting.examples.is_empty() {
        let skipped = fitting.skipped.len();
        return Err(TrainError::NoExamples { task: inputs.task.name().to_owned(), skipped });
    }
    let Trainable { scales, device, dtype } = Trainable::of(&model, inputs.info)?;
    let identity = Identity::new(config, inputs, &fitting, (&device, dtype));
    let dir = RunDir::lock(inputs, identity)?;
    let mut run = Run { model, moments: Moments::new(AdamConfig::new().build()), config, inputs };
    let mut step = 0;
    if let Some(saved) = dir.load(&scales, &device)? {
        run.model = saved.expert.apply_to(run.model)?;
        run.moments = saved.moments;
        step = saved.step;
    }
    monitor.resume(step).map_err(TrainError::Monitor)?;
    let mut idle = 0;
    let mut saved_at = step;
    while step < config.steps {
        let (examples, seeds) = draw(config, step, &fitting.examples);
        let done = run.step(step + 1, &examples, &seeds).map_err(|error| error.at(step + 1));
        let (rollouts, rewards, metrics) = match done {
            // The completions of a broken step are drawn again, by the same seeds.
            Err(TrainError::Rollout(error)) if error.is_interrupted() => {
                if saved_at < step {
                    dir.save(step, &run.expert()?, &run.moments)?;
                }
                return Err(TrainError::Interrupted { step, steps: config.steps });
            }
            done => done?,
        };
        step += 1;
        idle = if metrics.grad_norm == 0.0 { idle + 1 } else { 0 };
        if idle == IDLE_STEPS {
            tracing::warn!("{}", nothing_learned(&metrics));
        }
        let samples = samples(&examples, &rollouts, &rewards);
        let flow = monitor.log(Step { metrics: &metrics, samples: &samples }).map_err(TrainError::Monitor)?;
        if flow.is_break() || step.is_multiple_of(config.save_every) || step == config.steps {
            dir.save(step, &run.expert()?, &run.moments)?;
            saved_at = step;
        }
        if flow.is_break() && step < config.steps {
            return Err(TrainError::Interrupted { step, steps: config.steps });
        }
    }
    run.expert()
}

/// Why a step has no gradient.
fn nothing_learned(metrics: &StepMetrics) -> String {
    let why = if metrics.zero_variance_share == 1.0 {
        let reward = metrics.reward_mean;
        format!("every completion of a prompt got the same reward (mean {reward:+.2})")
    } else {
        "the gradient is 0".to_owned()
    };
    format!(
        "nothing was learned in the last {IDLE_STEPS} steps: {why}; choose an easier or harder task, allow more tokens \
         ({:.0} % of the answers were cut off), or take larger groups",
        100.0 * metrics.cut_share
    )
}

fn samples<'a>(examples: &[&'a Example], rollouts: &'a [Rollout], rewards: &[f32]) -> Vec<Sample<'a>> {
    let graded = examples.iter().zip(rollouts).zip(rewards);
    graded.map(|((example, rollout), &reward)| Sample { example, rollout, reward }).collect()
}

/// What there is to know of a model before it learns.
struct Trainable {
    /// What moves.
    scales: Vec<ParamId>,
    /// Where the weights are, without autodiff.
    device: Device,
    /// Their type.
    dtype: String,
}

impl Trainable {
    /// Refuses a model that cannot learn, and one that is not the base model of `info`.
    fn of(model: &impl CausalLm, info: &ExpertInfo) -> Result<Self, TrainError> {
        let scales: Vec<ParamId> = ZGradients::of(model).ids().collect();
        let weights = weights_of(model).filter(|(device, _)| device.is_autodiff() && !scales.is_empty());
        let (device, dtype) = weights.ok_or(TrainError::NotTrainable)?;
        match Expert::from_model(model, info.clone()) {
            Err(ExpertError::NoAdapter { .. }) => return Err(TrainError::NotTrainable),
            start => {
                let start = start?;
                start.check_base(&model.base_hash())?;
                let expected = start.iter().fold(Targets::NONE, |all, (path, _)| all | Targets::of(path));
                if info.targets != expected {
                    return Err(TrainError::Targets { found: info.targets, expected });
                }
            }
        }
        Ok(Self { scales, device: device.without_autodiff(), dtype })
    }
}

/// Device and type of the weights; `None` for a model without matrices.
fn weights_of(model: &impl Module) -> Option<(Device, String)> {
    struct First(Option<(Device, String)>);
    impl ModuleVisitor for First {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if D == 2 && self.0.is_none() {
                self.0 = Some((param.lazy_device(), param.base().dtype().name().to_owned()));
            }
        }
    }
    let mut first = First(None);
    model.visit(&mut first);
    first.0
}

/// What changes from step to step, and what a step needs besides.
struct Run<'a, M> {
    model: M,
    moments: Moments<Adam, 1>,
    config: &'a TrainConfig,
    inputs: TrainInputs<'a>,
}

impl<M: CausalLm> Run<'_, M> {
    /// The expert so far.
    fn expert(&self) -> Result<Expert, TrainError> {
        Ok(Expert::from_model(&self.model, self.inputs.info.clone())?)
    }

    /// Sample, grade, learn.
    fn step(
        &mut self,
        step: usize,
        examples: &[&Example],
        seeds: &[u64],
    ) -> Result<(Vec<Rollout>, Vec<f32>, StepMetrics), TrainError> {
        let start = Instant::now();
        let expert_hash = self.expert()?.hash().to_string();
        let rollouts = self.sample(examples, seeds)?;
        let rewards = self.grade(step, examples, &rollouts)?;
        let advantages = self.advantages(step, &rewards)?;
        let rows: Vec<Row<'_>> = rollouts.iter().zip(advantages).collect();
        let mut first = None;
        for _ in 0..self.inputs.policy.needs().epochs.max(1) {
            let learned = self.learn(&rows)?;
            first = first.or(Some(learned));
        }
        let (totals, grad_norm) = first.unwrap_or_default();
        let sampled_tokens: usize = rollouts.iter().map(|rollout| rollout.completion.ids.len()).sum();
        let samples = samples(examples, &rollouts, &rewards);
        let metrics = StepMetrics {
            step,
            grad_norm,
            tokens_per_sec: sampled_tokens as f32 / start.elapsed().as_secs_f32(),
            expert_hash,
            ..totals.metrics(&samples, self.config.group)
        };
        Ok((rollouts, rewards, metrics))
    }

    fn sample(&self, examples: &[&Example], seeds: &[u64]) -> Result<Vec<Rollout>, TrainError> {
        let TrainInputs { tokenizer, task, stop, keep_going, .. } = self.inputs;
        let prompts: Vec<Vec<Message>> = examples.iter().map(|example| task.prompt(example)).collect();
        let generate = GenerateConfig {
            max_new_tokens: self.config.max_new_tokens,
            sampling: Sampling::PLAIN,
            stop: stop.to_vec(),
            stop_strings: task.answering().stop,
        };
        let how = RolloutConfig { generate: &generate, active: Active::Own, seeds: Some(seeds) };
        let mut flow = ControlFlow::Continue(());
        let watched = || {
            flow = keep_going();
            flow
        };
        let rollouts = rollout_with(&self.model.valid(), tokenizer, &prompts, how, watched)?;
        // Who broke off at the last token of all is not asked again.
        match flow {
            ControlFlow::Continue(()) => Ok(rollouts),
            ControlFlow::Break(()) => {
                Err(RolloutError::from(GenerateError::Interrupted { completions: vec![] }).into())
            }
        }
    }

    /// One finite reward for each completion.
    fn grade(&self, step: usize, examples: &[&Example], rollouts: &[Rollout]) -> Result<Vec<f32>, TrainError> {
        let graded: Vec<(&Example, &str)> =
            examples.iter().copied().zip(rollouts.iter().map(|r| r.text.as_str())).collect();
        let rewards = self.inputs.task.rewards(&graded)?;
        match faulty(&rewards, graded.len()) {
            None => Ok(rewards),
            Some(found) => {
                let task = self.inputs.task.name().to_owned();
                Err(TrainError::Rewards { task, step, found, expected: graded.len() })
            }
        }
    }

    /// One finite advantage for each reward.
    fn advantages(&self, step: usize, rewards: &[f32]) -> Result<Vec<f32>, TrainError> {
        let mut all = Vec::with_capacity(rewards.len());
        for group in rewards.chunks(self.config.group) {
            let advantages = self.inputs.policy.advantages(group);
            if let Some(found) = faulty(&advantages, group.len()) {
                return Err(TrainError::Advantages { step, found, expected: group.len() });
            }
            all.extend(advantages);
        }
        Ok(all)
    }

    /// One step of the optimizer on `rows`; the totals over their tokens and the norm of the gradient.
    fn learn(&mut self, rows: &[Row<'_>]) -> Result<(Totals, f32), TrainError> {
        let policy = self.inputs.policy;
        let needs = policy.needs();
        let chunk = scores::chunk_len(self.model.shape().vocab, needs);
        let learning = Learning { policy, completions: rows.len(), chunk, activations: self.config.activations };
        let needed = rows.iter().copied().filter(|&(_, advantage)| needs.has_row(advantage)).collect();
        let batches = batches(needed, self.config.micro_batch_tokens);
        let (totals, mut gradients) = learning.all(&self.model, &batches)?;
        let norm = gradients.clip(self.config.max_grad_norm)?;
        if !norm.is_finite() {
            return Err(TrainError::NotFinite { what: "gradient", step: 0 });
        }
        let model = self.model.clone();
        self.model = step::apply(model, &mut self.moments, &mut gradients, self.config.learning_rate);
        Ok((totals, norm))
    }
}

/// What is wrong with `values`, which should be `expected` finite numbers.
pub(crate) fn faulty(values: &[f32], expected: usize) -> Option<String> {
    if values.len() != expected {
        return Some(format!("{} numbers", values.len()));
    }
    let index = values.iter().position(|value| !value.is_finite())?;
    Some(format!("{} at {index}", values[index]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_nothing_learned(zero_variance_share: f32, said: &str) {
        let zero = serde_json::json!({
            "step": 5, "reward_mean": -1.0, "reward_std": 0.0, "entropy": 1.0, "grad_norm": 0.0, "completion_len": 4.0,
            "completion_len_max": 4, "tokens_per_sec": 1.0, "logprob_gap": 0.0, "expert_hash": "",
            "zero_variance_share": zero_variance_share, "cut_share": 0.25,
        });
        let note = nothing_learned(&serde_json::from_value(zero).unwrap());
        assert!(note.starts_with("nothing was learned in the last 5 steps") && note.contains("25 % of the answers"));
        assert!(note.contains(said), "{note}");
    }

    #[test]
    fn steps_without_a_gradient_say_why() {
        check_nothing_learned(1.0, "the same reward (mean -1.00)");
        check_nothing_learned(0.5, "the gradient is 0");
    }
}
