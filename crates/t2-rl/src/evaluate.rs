//! Accuracy of a model on a task, with its interval, and every sample.

use std::ops::ControlFlow;

use serde::{Deserialize, Serialize};
use t2_chat::Message;
use t2_model::adapter::Active;
use t2_model::decoder::CausalLm;
use t2_model::generate::GenerateConfig;
use t2_model::text::Tokenizer;
use t2_task::{Example, Task, TaskError};

use crate::prompts::{Fitting, Skipped, fitting};
use crate::rollout::{Rollout, RolloutConfig, RolloutError, rollout_with};

/// The normal quantile of a two-sided interval of 95 %.
const Z95: f64 = 1.959_963_984_540_054;

/// A share of right answers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Accuracy {
    /// Answers graded.
    pub n: usize,
    /// Share answered right.
    pub accuracy: f64,
    /// Its standard error, `sqrt(p (1 - p) / n)`: 0 at 0 and at 100 %, where the interval is the better measure.
    pub stderr: f64,
    /// Lower end of Wilson's 95 % interval.
    pub low: f64,
    /// Upper end of Wilson's 95 % interval.
    pub high: f64,
}

impl Accuracy {
    /// Of one reward per answer, where more than zero is right.
    ///
    /// The interval is `(p + z²/2n ± z sqrt(p (1 - p) / n + z²/4n²)) / (1 + z²/n)` (Wilson 1927); without answers it is
    /// everything from 0 to 1.
    pub fn of(rewards: &[f32]) -> Self {
        let n = rewards.len();
        if n == 0 {
            return Self { n, accuracy: 0.0, stderr: 0.0, low: 0.0, high: 1.0 };
        }
        let count = n as f64;
        let accuracy = rewards.iter().filter(|&&reward| reward > 0.0).count() as f64 / count;
        let variance = accuracy * (1.0 - accuracy) / count;
        let z2 = Z95 * Z95 / count;
        let centre = (accuracy + z2 / 2.0) / (1.0 + z2);
        let half = Z95 * (variance + z2 / (4.0 * count)).sqrt() / (1.0 + z2);
        // The ends are exact where rounding would leave them a hair inside or outside.
        let low = if accuracy == 0.0 { 0.0 } else { centre - half };
        let high = if accuracy == 1.0 { 1.0 } else { centre + half };
        Self { n, accuracy, stderr: variance.sqrt(), low, high }
    }
}

/// Why an evaluation failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EvaluateError {
    /// The task could not be read or graded.
    #[error(transparent)]
    Task(#[from] TaskError),
    /// A prompt was refused.
    #[error(transparent)]
    Rollout(#[from] RolloutError),
    /// No example fits the model.
    #[error(
        "all {skipped} examples of task {task} are too long for the model; lower max_new_tokens or use other examples"
    )]
    NothingFits {
        /// The task.
        task: String,
        /// Examples that are too long.
        skipped: usize,
    },
    /// The task did not give one finite reward for each answer.
    #[error("the task {task} gave {found}; expected {expected} finite rewards, one for each answer")]
    Rewards {
        /// The task.
        task: String,
        /// What it gave.
        found: String,
        /// Answers.
        expected: usize,
    },
    /// The caller broke off.
    #[error("interrupted after {done} of {total} examples")]
    Interrupted {
        /// Examples answered.
        done: usize,
        /// Examples in all.
        total: usize,
    },
}

/// How a task is put to a model.
#[derive(Clone, Copy, Debug)]
pub struct EvaluateConfig<'a> {
    /// How answers are completed.
    pub generate: &'a GenerateConfig,
    /// The weights to run under.
    pub active: Active<'a>,
    /// Examples answered at a time.
    pub batch: usize,
}

/// Every example's answer and reward.
#[derive(Clone, Debug)]
pub struct Evaluation<'a> {
    /// The examples that fit the model, in their order.
    pub examples: Vec<&'a Example>,
    /// Prompts and completions of those.
    pub rollouts: Vec<Rollout>,
    /// One reward for each of those.
    pub rewards: Vec<f32>,
    /// Examples that were left out.
    pub skipped: Vec<Skipped>,
}

impl Evaluation<'_> {
    /// The share of right answers.
    pub fn accuracy(&self) -> Accuracy {
        Accuracy::of(&self.rewards)
    }

    /// How many answers were cut off at the limit of tokens.
    pub fn cut(&self) -> usize {
        self.rollouts.iter().filter(|rollout| rollout.is_cut()).count()
    }
}

/// Complete every example, a batch at a time, and grade the answers. Examples whose prompt is too long are left out.
///
/// # Errors
///
/// [`EvaluateError`] when a prompt is refused or the grader fails.
pub fn evaluate<'a>(
    model: &impl CausalLm,
    tokenizer: &Tokenizer,
    task: &dyn Task,
    examples: &'a [Example],
    config: EvaluateConfig<'_>,
) -> Result<Evaluation<'a>, EvaluateError> {
    evaluate_with(model, tokenizer, task, examples, config, |_| ControlFlow::Continue(()))
}

/// Like [`evaluate`], watched.
///
/// `progress` gets the number of examples answered, after every token and every batch, and may break off.
///
/// # Errors
///
/// Those of [`evaluate`], and [`EvaluateError::Interrupted`] when `progress` broke off.
#[expect(clippy::too_many_arguments, reason = "who is asked, what, how, and who watches: no two belong together")]
pub fn evaluate_with<'a>(
    model: &impl CausalLm,
    tokenizer: &Tokenizer,
    task: &dyn Task,
    examples: &'a [Example],
    config: EvaluateConfig<'_>,
    mut progress: impl FnMut(usize) -> ControlFlow<()>,
) -> Result<Evaluation<'a>, EvaluateError> {
    let fitting = fitting(model, tokenizer, task, examples, config.generate.max_new_tokens)?;
    let Fitting { examples, skipped, .. } = fitting.not_empty(task)?;
    let total = examples.len();
    let mut rollouts: Vec<Rollout> = Vec::with_capacity(total);
    for chunk in examples.chunks(config.batch.max(1)) {
        let prompts: Vec<Vec<Message>> = chunk.iter().map(|example| task.prompt(example)).collect();
        let done = rollouts.len();
        let seeds: Vec<u64> = (done..).map(|row| row as u64).take(chunk.len()).collect();
        let how = RolloutConfig { generate: config.generate, active: config.active, seeds: Some(&seeds) };
        let mut flow = ControlFlow::Continue(());
        let watched = || {
            flow = progress(done);
            flow
        };
        match rollout_with(model, tokenizer, &prompts, how, watched) {
            Err(error) if error.is_interrupted() => return Err(EvaluateError::Interrupted { done, total }),
            completed => rollouts.extend(completed?),
        }
        // Who broke off at the last token of a batch is not asked again.
        let goes_on = flow.is_continue() && progress(rollouts.len()).is_continue();
        if !goes_on && rollouts.len() < total {
            return Err(EvaluateError::Interrupted { done: rollouts.len(), total });
        }
    }
    let rewards = grade(task, &examples, rollouts.iter().map(|rollout| rollout.text.as_str()))?;
    Ok(Evaluation { examples, rollouts, rewards, skipped })
}

/// The reward of each answer to `examples`, one of `texts` for each.
///
/// # Errors
///
/// [`EvaluateError::Task`] when the grader fails, and [`EvaluateError::Rewards`] when it does not give one finite reward
/// for each answer.
pub fn grade<'a>(
    task: &dyn Task,
    examples: &[&'a Example],
    texts: impl Iterator<Item = &'a str>,
) -> Result<Vec<f32>, EvaluateError> {
    let graded: Vec<(&Example, &str)> = examples.iter().copied().zip(texts).collect();
    let rewards = task.rewards(&graded)?;
    match crate::train::faulty(&rewards, graded.len()) {
        None => Ok(rewards),
        Some(found) => Err(EvaluateError::Rewards { task: task.name().to_owned(), found, expected: graded.len() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(rewards: &[f32], accuracy: f64, stderr: f64, (low, high): (f64, f64)) {
        let found = Accuracy::of(rewards);
        assert_eq!((found.n, found.accuracy), (rewards.len(), accuracy));
        for (found, expected) in [(found.stderr, stderr), (found.low, low), (found.high, high)] {
            assert!((found - expected).abs() < 1e-4, "{found} vs {expected}");
        }
    }

    #[test]
    fn counts_positive_rewards_and_the_interval_is_wilsons() {
        // By hand from the formula; the ends at 0 and at 100 % are z² / (n + z²) away.
        check(&[1.0, -1.0, 1.0, -1.0], 0.5, 0.25, (0.1500, 0.8500));
        check(&[1.0], 1.0, 0.0, (0.2065, 1.0));
        check(&[1.0; 100], 1.0, 0.0, (0.9630, 1.0));
        check(&[-1.0; 100], 0.0, 0.0, (0.0, 0.0370));
        check(&[], 0.0, 0.0, (0.0, 1.0));
    }
}
