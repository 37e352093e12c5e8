//! Batched generation: prompts of different lengths, experts and seeds in one batch.
//!
//! A row depends on its own prompt, mixture and seed only: alone or in a batch it gives the same tokens (greedy in
//! f32; sampling up to rounding where two draws are as close).

use std::ops::ControlFlow;

use burn::prelude::*;
use burn::tensor::TensorReadError;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::cache::KvCache;
use crate::decoder::CausalLm;
use crate::mix::{Mix, RowMix};
use crate::sample::{Sampling, log_softmax};

/// How a batch is completed.
#[derive(Clone, Debug)]
pub struct GenerateConfig {
    /// Most tokens of one completion.
    pub max_new_tokens: usize,
    /// How the next token is drawn.
    pub sampling: Sampling,
    /// Token ids that end a completion; they are part of it.
    pub stop: Vec<u32>,
}

/// Why a completion ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FinishReason {
    /// A stop token.
    Stop,
    /// `max_new_tokens`.
    Length,
    /// The caller broke off.
    Cancelled,
}

/// One completed row.
#[derive(Clone, Debug)]
pub struct Completion {
    /// The new token ids, the stop token included.
    pub ids: Vec<u32>,
    /// Log-probability of each of them under the model (temperature 1, nothing cut off).
    pub logprobs: Vec<f32>,
    /// Why it ended.
    pub finish: FinishReason,
}

/// Why a batch could not be completed.
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
    /// The device did not hand over the logits.
    #[error("the logits could not be read from their device")]
    Read(#[from] TensorReadError),
}

/// Complete every prompt; row `b` draws from `seeds[b]`.
///
/// `on_token` sees each new token as `(row, id)` and may cancel the whole batch.
///
/// # Errors
///
/// [`GenerateError`] for a prompt that is empty, too long or foreign; nothing is generated then.
///
/// # Panics
///
/// When there are not as many seeds as prompts.
pub fn generate(
    model: &impl CausalLm,
    prompts: &[Vec<u32>],
    seeds: &[u64],
    (mix, config): (Mix<'_>, &GenerateConfig),
    mut on_token: impl FnMut(usize, u32) -> ControlFlow<()>,
) -> Result<Vec<Completion>, GenerateError> {
    assert_eq!(prompts.len(), seeds.len(), "one seed for each prompt");
    check(model, prompts, config.max_new_tokens)?;
    let empty = || Completion { ids: vec![], logprobs: vec![], finish: FinishReason::Length };
    let mut done: Vec<Completion> = prompts.iter().map(|_| empty()).collect();
    if prompts.is_empty() || config.max_new_tokens == 0 {
        return Ok(done);
    }
    let mut batch = Batch::start(model, prompts, seeds, mix, config.max_new_tokens);
    for step in 0..config.max_new_tokens {
        for (row, logits) in batch.logits(model)? {
            let id = config.sampling.draw(&logits, &mut batch.rngs[row]);
            done[row].ids.push(id);
            done[row].logprobs.push(log_softmax(&logits)[id as usize]);
            batch.next[row] = id;
            if config.stop.contains(&id) {
                done[row].finish = FinishReason::Stop;
            }
            if on_token(row, id).is_break() {
                for &row in &batch.live {
                    if done[row].finish != FinishReason::Stop {
                        done[row].finish = FinishReason::Cancelled;
                    }
                }
                return Ok(done);
            }
        }
        let stopped = |row: usize| done[row].finish == FinishReason::Stop;
        if batch.live.iter().all(|&row| stopped(row)) || step + 1 == config.max_new_tokens {
            break;
        }
        batch.drop_rows(stopped);
    }
    Ok(done)
}

fn check(model: &impl CausalLm, prompts: &[Vec<u32>], max_new_tokens: usize) -> Result<(), GenerateError> {
    let &crate::config::DecoderConfig { vocab, max_seq_len, .. } = model.config();
    for (row, prompt) in prompts.iter().enumerate() {
        let prompt_len = prompt.len();
        if prompt.is_empty() {
            return Err(GenerateError::EmptyPrompt { row });
        }
        if prompt_len + max_new_tokens > max_seq_len {
            return Err(GenerateError::TooLong { row, prompt_len, max_new_tokens, max_seq_len });
        }
        if let Some(&id) = prompt.iter().find(|&&id| id as usize >= vocab) {
            return Err(GenerateError::UnknownToken { row, id, vocab });
        }
    }
    Ok(())
}

/// Prompts as a rectangle that ends with the last token of each, `[batch, seq]`, and the padding columns of each row.
pub(crate) fn left_padded<P: AsRef<[u32]>>(prompts: &[P], device: &Device) -> (Tensor<2, Int>, Vec<usize>) {
    let longest = prompts.iter().map(|prompt| prompt.as_ref().len()).max().unwrap_or(0);
    let pad: Vec<usize> = prompts.iter().map(|prompt| longest - prompt.as_ref().len()).collect();
    let ids = prompts
        .iter()
        .zip(&pad)
        .flat_map(|(prompt, &pad)| std::iter::repeat_n(0, pad).chain(prompt.as_ref().iter().map(|&id| i64::from(id))));
    let tokens = TensorData::new(ids.collect::<Vec<_>>(), [prompts.len(), longest]);
    (Tensor::from_data(tokens, device), pad)
}

/// The rows still running and what they share.
struct Batch<'a> {
    /// Rows of the caller, in the order of the cache.
    live: Vec<usize>,
    /// Last token of each row of the caller.
    next: Vec<u32>,
    rngs: Vec<ChaCha8Rng>,
    cache: KvCache,
    mix: RowsOr<'a>,
    /// The prompts, until the first pass has read them, `[batch, seq]`.
    prompts: Option<Tensor<2, Int>>,
    device: Device,
}

/// A mix whose rows can leave.
enum RowsOr<'a> {
    Fixed(Mix<'a>),
    Rows(RowMix),
}

impl<'a> Batch<'a> {
    fn start(model: &impl CausalLm, prompts: &[Vec<u32>], seeds: &[u64], mix: Mix<'a>, max_new_tokens: usize) -> Self {
        let device = crate::decoder::device_of(model);
        let (tokens, pad) = left_padded(prompts, &device);
        let [_, longest] = tokens.dims();
        Self {
            live: (0..prompts.len()).collect(),
            next: vec![0; prompts.len()],
            rngs: seeds.iter().map(|&seed| ChaCha8Rng::seed_from_u64(seed)).collect(),
            cache: KvCache::new(model.config(), pad, longest + max_new_tokens),
            mix: match mix {
                Mix::Rows(rows) => RowsOr::Rows(rows.clone()),
                other => RowsOr::Fixed(other),
            },
            prompts: Some(tokens),
            device,
        }
    }

    /// The logits of the next token of every live row, with the row of the caller, each `[vocab]`.
    fn logits(&mut self, model: &impl CausalLm) -> Result<Vec<(usize, Vec<f32>)>, GenerateError> {
        let tokens = self.prompts.take().unwrap_or_else(|| {
            let ids: Vec<i64> = self.live.iter().map(|&row| i64::from(self.next[row])).collect();
            Tensor::from_data(TensorData::new(ids, [self.live.len(), 1]), &self.device)
        });
        let mix = match &self.mix {
            RowsOr::Fixed(mix) => *mix,
            RowsOr::Rows(rows) => Mix::Rows(rows),
        };
        let hidden = model.hidden(tokens, Some(&mut self.cache), mix);
        let [_, seq, _] = hidden.dims();
        let logits = model.logits(hidden.slice_dim(1, seq - 1..seq));
        let values = logits.try_into_data_as::<f32>()?;
        let vocab = model.config().vocab;
        let values: Vec<f32> = values.iter::<f32>().collect();
        Ok(self.live.iter().copied().zip(values.chunks(vocab).map(<[f32]>::to_vec)).collect())
    }

    /// Take finished rows out of the batch.
    fn drop_rows(&mut self, stopped: impl Fn(usize) -> bool) {
        let keep: Vec<usize> = (0..self.live.len()).filter(|&i| !stopped(self.live[i])).collect();
        if keep.len() == self.live.len() {
            return;
        }
        self.cache.select(&keep, &self.device);
        if let RowsOr::Rows(rows) = &self.mix {
            self.mix = RowsOr::Rows(rows.select(&keep));
        }
        self.live = keep.iter().map(|&i| self.live[i]).collect();
    }
}
