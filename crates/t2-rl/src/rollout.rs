//! Conversations completed by a model, in batches.

use std::ops::ControlFlow;

use t2_model::chat::Message;
use t2_model::decoder::CausalLm;
use t2_model::generate::{Completion, GenerateConfig, GenerateError, generate};
use t2_model::mix::Mix;
use t2_model::tokenizer::{Tokenizer, TokenizerError};

/// A prompt and what the model made of it.
#[derive(Clone, Debug)]
pub struct Rollout {
    /// Token ids of the prompt.
    pub prompt: Vec<u32>,
    /// The sampled ids and their log-probabilities.
    pub completion: Completion,
    /// The completion as text, without special tokens.
    pub text: String,
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

/// Complete each conversation; row `b` draws from `seeds[b]`.
///
/// # Errors
///
/// [`RolloutError`] for a prompt the tokenizer or the model refuses.
pub fn rollout(
    model: &impl CausalLm,
    tokenizer: &Tokenizer,
    prompts: &[Vec<Message>],
    seeds: &[u64],
    (mix, config): (Mix<'_>, &GenerateConfig),
) -> Result<Vec<Rollout>, RolloutError> {
    let ids = prompts.iter().map(|prompt| tokenizer.encode_chat(prompt)).collect::<Result<Vec<_>, _>>()?;
    let completions = generate(model, &ids, seeds, (mix, config), |_, _| ControlFlow::Continue(()))?;
    let rollouts = ids.into_iter().zip(completions).map(|(prompt, completion)| {
        let text = tokenizer.decode(&completion.ids)?;
        Ok(Rollout { prompt, completion, text })
    });
    rollouts.collect()
}
