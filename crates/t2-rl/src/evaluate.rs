//! Accuracy of a model on a task, with its standard error.

use std::ops::ControlFlow;

use serde::Serialize;
use t2_model::chat::Message;
use t2_model::decoder::CausalLm;
use t2_model::generate::GenerateConfig;
use t2_model::mix::Mix;
use t2_model::tokenizer::Tokenizer;

use crate::rollout::{Rollout, RolloutError, rollout};
use crate::task::{Example, Task, TaskError};

/// A share of right answers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Accuracy {
    /// Problems graded.
    pub n: usize,
    /// Share answered right.
    pub accuracy: f64,
    /// Its standard error, `sqrt(p (1 - p) / n)`.
    pub stderr: f64,
}

impl Accuracy {
    /// Of one reward per problem, where more than zero is right.
    pub fn of(rewards: &[f32]) -> Self {
        let n = rewards.len();
        let accuracy = rewards.iter().filter(|&&reward| reward > 0.0).count() as f64 / n.max(1) as f64;
        Self { n, accuracy, stderr: (accuracy * (1.0 - accuracy) / n.max(1) as f64).sqrt() }
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
}

/// Every problem's completion and reward.
#[derive(Clone, Debug)]
pub struct Evaluation {
    /// Prompts and completions, in the order of the problems.
    pub rollouts: Vec<Rollout>,
    /// One reward per problem.
    pub rewards: Vec<f32>,
}

impl Evaluation {
    /// The share of right answers.
    pub fn accuracy(&self) -> Accuracy {
        Accuracy::of(&self.rewards)
    }
}

/// Complete every problem, `batch` at a time, and grade the answers.
///
/// `progress` gets the number of problems done and may break off; what is done is then graded.
///
/// # Errors
///
/// [`EvaluateError`] when a prompt is refused or the grader fails.
pub fn evaluate(
    model: &impl CausalLm,
    tokenizer: &Tokenizer,
    (task, problems): (&dyn Task, &[Example]),
    (mix, config, batch): (Mix<'_>, &GenerateConfig, usize),
    mut progress: impl FnMut(usize) -> ControlFlow<()>,
) -> Result<Evaluation, EvaluateError> {
    let mut rollouts: Vec<Rollout> = Vec::with_capacity(problems.len());
    for chunk in problems.chunks(batch) {
        let prompts: Vec<Vec<Message>> = chunk.iter().map(|problem| task.prompt(problem)).collect();
        let seeds: Vec<u64> = (rollouts.len()..).map(|row| row as u64).take(chunk.len()).collect();
        rollouts.extend(rollout(model, tokenizer, &prompts, &seeds, (mix, config))?);
        if progress(rollouts.len()).is_break() {
            break;
        }
    }
    let graded: Vec<(&Example, &str)> = problems.iter().zip(&rollouts).map(|(p, r)| (p, r.text.as_str())).collect();
    let rewards = task.rewards(&graded)?;
    Ok(Evaluation { rollouts, rewards })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(rewards: &[f32], accuracy: f64, stderr: f64) {
        let found = Accuracy::of(rewards);
        assert_eq!((found.n, found.accuracy), (rewards.len(), accuracy));
        assert!((found.stderr - stderr).abs() < 1e-12, "{} vs {stderr}", found.stderr);
    }

    #[test]
    fn counts_positive_rewards() {
        check(&[1.0, -1.0, 1.0, -1.0], 0.5, 0.25);
        check(&[1.0], 1.0, 0.0);
        check(&[], 0.0, 0.0);
    }
}
