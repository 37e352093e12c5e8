//! Conversations completed by a model, in batches.

use std::ops::ControlFlow;

use t2_chat::Message;
use t2_model::adapter::Active;
use t2_model::decoder::CausalLm;
use t2_model::generate::{Completion, FinishReason, GenerateConfig, GenerateError, Prompts, Written, write};
use t2_model::text::{Tokenizer, TokenizerError};

/// A prompt and what the model made of it.
#[derive(Clone, Debug)]
pub struct Rollout {
    /// Token ids of the prompt.
    pub prompt: Vec<u32>,
    /// The sampled ids and their log-probabilities.
    pub completion: Completion,
    /// The completion as text, without special tokens and without the token or the string that ended it.
    pub text: String,
}

impl Rollout {
    /// True when the answer was cut off at the limit of tokens.
    pub fn is_cut(&self) -> bool {
        self.completion.finish == FinishReason::Length
    }
}

/// How conversations are completed.
#[derive(Clone, Copy, Debug)]
pub struct RolloutConfig<'a> {
    /// How a batch is completed.
    pub generate: &'a GenerateConfig,
    /// The weights to run under.
    pub active: Active<'a>,
    /// One seed for each conversation; its position when `None`.
    pub seeds: Option<&'a [u64]>,
}

/// Why a batch of prompts could not be completed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RolloutError {
    /// The tokenizer or its chat template refused a prompt.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// The model refused a prompt.
    #[error(transparent)]
    Generate(#[from] GenerateError),
}

impl RolloutError {
    /// True when the caller broke off.
    pub fn is_interrupted(&self) -> bool {
        matches!(self, Self::Generate(GenerateError::Interrupted { .. }))
    }
}

/// Complete each conversation.
///
/// # Errors
///
/// [`RolloutError`] for a prompt the tokenizer or the model refuses.
pub fn rollout(
    model: &impl CausalLm,
    tokenizer: &Tokenizer,
    prompts: &[Vec<Message>],
    config: RolloutConfig<'_>,
) -> Result<Vec<Rollout>, RolloutError> {
    rollout_with(model, tokenizer, prompts, config, || ControlFlow::Continue(()))
}

/// Complete each conversation. `keep_going` is asked after every token and may break off.
///
/// # Errors
///
/// [`RolloutError`] for a prompt the tokenizer or the model refuses, and when `keep_going` broke off.
pub fn rollout_with(
    model: &impl CausalLm,
    tokenizer: &Tokenizer,
    prompts: &[Vec<Message>],
    config: RolloutConfig<'_>,
    mut keep_going: impl FnMut() -> ControlFlow<()>,
) -> Result<Vec<Rollout>, RolloutError> {
    let ids = prompts.iter().map(|prompt| tokenizer.encode_chat(prompt)).collect::<Result<Vec<_>, _>>()?;
    let rows = Prompts::new(&ids).under(config.active);
    let rows = config.seeds.map_or(rows, |seeds| rows.seeded(seeds));
    let (mut engine, requests) = rows.requests(model, config.generate)?;
    let stop = &config.generate.stop_strings;
    let written: Result<Vec<Written>, RolloutError> =
        write(&mut engine, tokenizer, requests, stop, |_, _| keep_going());
    let rollout = |(prompt, Written { completion, text })| Rollout { prompt, completion, text };
    Ok(ids.into_iter().zip(written?).map(rollout).collect())
}
