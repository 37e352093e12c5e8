//! Why a batch could not be completed or scored.

use burn::tensor::TensorReadError;

use super::Completion;
use crate::adapter::mixture::MixtureError;

/// Why a batch could not be completed or scored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GenerateError {
    /// There is nothing to continue.
    #[error("prompt {row} is empty; give at least one token")]
    EmptyPrompt {
        /// Position in the batch.
        row: usize,
    },
    /// The prompt and its completion do not fit.
    #[error(
        "prompt {row} has {prompt_len} tokens and {max_new_tokens} are to follow, the model reads {max_seq_len}; \
         shorten the prompt or lower max_new_tokens"
    )]
    TooLong {
        /// Position in the batch.
        row: usize,
        /// Tokens of the prompt.
        prompt_len: usize,
        /// Tokens wanted.
        max_new_tokens: usize,
        /// Tokens the model covers.
        max_seq_len: usize,
    },
    /// A token id is outside the vocabulary.
    #[error("prompt {row} holds the token id {id}, the model knows {vocab}; use the model's own tokenizer")]
    UnknownToken {
        /// Position in the batch.
        row: usize,
        /// The id.
        id: u32,
        /// Size of the vocabulary.
        vocab: usize,
    },
    /// No token is wanted.
    #[error("max_new_tokens is 0; ask for 1 at least")]
    NoTokens,
    /// A completion would need more memory than the engine may use.
    #[error(
        "the keys and values of prompt and completion take {needed} bytes, {budget} are allowed; ask for fewer tokens, or allow more memory"
    )]
    Memory {
        /// Bytes that it takes.
        needed: u64,
        /// Bytes that are allowed.
        budget: u64,
    },
    /// The batch has no rows.
    #[error("there is nothing to score; give at least one row")]
    NoRows,
    /// There is nothing to score.
    #[error("completion {row} is empty; give at least one token")]
    EmptyCompletion {
        /// Position in the batch.
        row: usize,
    },
    /// There are more or fewer seeds than prompts.
    #[error("there are {found} seeds for {expected} prompts; give one for each, or none")]
    Seeds {
        /// Seeds given.
        found: usize,
        /// Prompts given.
        expected: usize,
    },
    /// A setting of the sampling is out of range.
    #[error("{name} is {value}; it must be {expected}")]
    Sampling {
        /// The setting.
        name: &'static str,
        /// The value of the setting.
        value: f32,
        /// What it may be.
        expected: &'static str,
    },
    /// The model cannot run under the experts asked for.
    #[error(transparent)]
    Mixture(#[from] MixtureError),
    /// The model computed something that is no number.
    #[error(
        "row {row} has no finite logits after {step} tokens; the weights or the expert are damaged, or the type of \
         the weights is too small for this model (try f32)"
    )]
    NotFinite {
        /// Position in the batch.
        row: usize,
        /// Tokens before it, new or scored.
        step: usize,
    },
    /// The caller broke off.
    #[error("interrupted after {} new tokens", completions.iter().map(|completion| completion.ids.len()).sum::<usize>())]
    Interrupted {
        /// Every row, as far as it got.
        completions: Vec<Completion>,
    },
    /// The device did not hand over its numbers.
    #[error("numbers could not be read from their device")]
    Read(#[from] TensorReadError),
}

impl GenerateError {
    /// The same error, of the row that `position` makes of its row.
    pub(crate) fn map_row(mut self, position: impl Fn(usize) -> usize) -> Self {
        match &mut self {
            Self::EmptyPrompt { row }
            | Self::TooLong { row, .. }
            | Self::UnknownToken { row, .. }
            | Self::EmptyCompletion { row }
            | Self::NotFinite { row, .. } => *row = position(*row),
            _ => {}
        }
        self
    }
}
