//! Accuracy of a model on a task, with its interval, and every answer.

mod accuracy;
mod answers;
mod compare;

use std::ops::ControlFlow;

use t2_model::adapter::Active;
use t2_model::decoder::CausalLm;
use t2_model::generate::GenerateConfig;
use t2_model::text::Tokenizer;
use t2_task::{AnswerBy, Example, Grade, Task, TaskError};

pub use accuracy::Accuracy;
pub use answers::{Answer, Progress, seed};
pub use compare::Comparison;

use crate::prompts::{Fitting, Skipped, fitting};
use crate::rollout::RolloutError;
use answers::Asked;

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
    /// An example of a task that is answered by likelihood has nothing to choose among.
    #[error(
        "example {id} of task {task} has {found} choices to weigh; expected at least 2, or a task whose answers are written"
    )]
    Choices {
        /// The task.
        task: String,
        /// The example.
        id: String,
        /// Its choices.
        found: usize,
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
    #[error("interrupted after {done} of {total} answers")]
    Interrupted {
        /// Answers that are graded.
        done: usize,
        /// Answers in all.
        total: usize,
    },
}

/// How a task is put to a model.
#[derive(Clone, Copy, Debug)]
pub struct EvaluateConfig<'a> {
    /// How answers are completed, where the model writes them.
    pub generate: &'a GenerateConfig,
    /// The weights to run under.
    pub active: Active<'a>,
    /// Most answers at a time.
    pub batch: usize,
    /// Most bytes of keys and values, where fewer answers at a time take less; `None` for no bound.
    pub memory: Option<u64>,
    /// Answers to each example, at least 1: more than one make sense where they are drawn.
    pub repeats: usize,
    /// What answers are drawn by.
    pub seed: u64,
}

impl<'a> EvaluateConfig<'a> {
    /// One answer to each example, by the base model, at most 64 at a time.
    pub fn new(generate: &'a GenerateConfig) -> Self {
        Self { generate, active: Active::Base, batch: 64, memory: None, repeats: 1, seed: 0 }
    }
}

/// Every answer and its grade.
#[derive(Clone, Debug)]
pub struct Evaluation<'a> {
    /// In the order of the examples that fit the model; those to one example side by side.
    pub answers: Vec<Answer<'a>>,
    /// Examples that were left out.
    pub skipped: Vec<Skipped>,
}

impl Evaluation<'_> {
    /// The share of right answers.
    pub fn accuracy(&self) -> Accuracy {
        Accuracy::of(&self.answers.iter().map(|answer| answer.grade.reward).collect::<Vec<_>>())
    }

    /// How many answers were cut off at the limit of tokens.
    pub fn cut(&self) -> usize {
        self.answers.iter().filter(|answer| answer.cut).count()
    }
}

/// Answer every example and grade the answers. Examples that are too long for the model are left out.
///
/// # Errors
///
/// [`EvaluateError`] when a prompt is refused, no example fits, there is nothing to choose among, or the grader fails.
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
/// `progress` sees every token and every answer that is graded, and may break off: what was answered by then is graded and
/// shown to it before this returns.
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
    progress: impl FnMut(Progress<'_, 'a>) -> ControlFlow<()>,
) -> Result<Evaluation<'a>, EvaluateError> {
    let by = task.answering().by;
    let room = if by == AnswerBy::Text { config.generate.max_new_tokens } else { 1 };
    let fitting = fitting(model, tokenizer, task, examples, room)?;
    let Fitting { examples, mut skipped, .. } = fitting.not_empty(task)?;
    let asked = Asked { model, tokenizer, task, examples: &examples, config };
    let answers = match by {
        AnswerBy::Text => asked.written(progress)?,
        AnswerBy::Likelihood => {
            let (answers, too_long) = asked.weighed(progress)?;
            skipped.extend(too_long);
            answers
        }
    };
    Ok(Evaluation { answers, skipped })
}

/// What the grader says of each answer to `examples`, one of `texts` for each.
///
/// # Errors
///
/// [`EvaluateError::Task`] when the grader fails, and [`EvaluateError::Rewards`] when it does not give one finite reward
/// for each answer.
pub fn grade<'a>(
    task: &dyn Task,
    examples: &[&'a Example],
    texts: impl Iterator<Item = &'a str>,
) -> Result<Vec<Grade>, EvaluateError> {
    let graded: Vec<(&Example, &str)> = examples.iter().copied().zip(texts).collect();
    let grades = task.grade(&graded)?;
    let rewards: Vec<f32> = grades.iter().map(|grade| grade.reward).collect();
    match crate::train::faulty(&rewards, graded.len()) {
        None => Ok(grades),
        Some(found) => Err(EvaluateError::Rewards { task: task.name().to_owned(), found, expected: graded.len() }),
    }
}
