//! Which examples a model can be asked at all.

use t2_model::decoder::CausalLm;
use t2_model::generate::{GenerateError, check_prompt};
use t2_model::text::Tokenizer;
use t2_task::{Example, Task};

use crate::evaluate::EvaluateError;
use crate::rollout::RolloutError;

/// An example that is left out.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Skipped {
    /// Position among the examples.
    pub index: usize,
    /// The beginning of its question.
    pub question: String,
    /// Tokens of its prompt.
    pub prompt_len: usize,
}

impl Skipped {
    pub(crate) fn new(index: usize, example: &Example, prompt_len: usize) -> Self {
        Self { index, question: beginning(&example.question), prompt_len }
    }
}

/// The examples that fit a model, and those that do not.
#[derive(Clone, Debug, Default)]
pub struct Fitting<'a> {
    /// Examples whose prompt leaves room for an answer.
    pub examples: Vec<&'a Example>,
    /// Examples whose prompt is too long.
    pub skipped: Vec<Skipped>,
    /// The prompts that fit, in tokens.
    pub(crate) prompts: blake3::Hasher,
}

/// Sort out the examples whose prompt leaves no room for `max_new_tokens` more.
///
/// # Errors
///
/// [`RolloutError`] for a prompt that is refused for another reason than its length.
pub fn fitting<'a>(
    model: &impl CausalLm,
    tokenizer: &Tokenizer,
    task: &dyn Task,
    examples: &'a [Example],
    max_new_tokens: usize,
) -> Result<Fitting<'a>, RolloutError> {
    let mut found = Fitting::default();
    for (index, example) in examples.iter().enumerate() {
        let prompt = tokenizer.encode_chat(&task.prompt(example))?;
        match check_prompt(model.shape(), index, &prompt, max_new_tokens) {
            Ok(()) => {
                found.examples.push(example);
                found.prompts.update(&(prompt.len() as u64).to_le_bytes());
                prompt.iter().for_each(|id| _ = found.prompts.update(&id.to_le_bytes()));
            }
            Err(GenerateError::TooLong { prompt_len, .. }) => {
                found.skipped.push(Skipped::new(index, example, prompt_len));
            }
            Err(other) => return Err(other.into()),
        }
    }
    Ok(found)
}

impl Fitting<'_> {
    /// Refuse to go on where `task` has examples and none of them fits.
    ///
    /// # Errors
    ///
    /// [`EvaluateError::NothingFits`].
    pub fn not_empty(self, task: &dyn Task) -> Result<Self, EvaluateError> {
        match (self.examples.len(), self.skipped.len()) {
            (0, skipped @ 1..) => Err(EvaluateError::NothingFits { task: task.name().to_owned(), skipped }),
            _ => Ok(self),
        }
    }

    /// How many were left out and which was the first, in a sentence; `None` when all fit.
    pub fn note(&self) -> Option<String> {
        let first = self.skipped.first()?;
        Some(format!(
            "{} of {} questions are too long for the model and are left out; the first is number {}, of {} tokens: {:?}",
            self.skipped.len(),
            self.skipped.len() + self.examples.len(),
            first.index + 1,
            first.prompt_len,
            first.question
        ))
    }
}

/// As much of a question as it takes to recognise it.
fn beginning(question: &str) -> String {
    const LONG: usize = 60;
    let mut text: String = question.chars().take(LONG).collect();
    if text.len() < question.len() {
        text.push('…');
    }
    text
}
