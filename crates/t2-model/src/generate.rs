//! Batched generation: prompts of different lengths, experts and seeds in one batch.
//!
//! A row depends on its own prompt, mixture and seed only: alone or in a batch it gives the same tokens (greedy in
//! f32; sampling up to rounding where two draws are as close).

mod error;
mod sample;
pub mod score;

use std::ops::ControlFlow;

use burn::prelude::*;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::adapter::{Active, RowScales};
use crate::decoder::{CausalLm, KvCache, LmShape};

pub use error::GenerateError;
pub use sample::Sampling;
use sample::log_softmax;

/// How a batch is completed.
#[derive(Clone, Debug, PartialEq)]
pub struct GenerateConfig {
    /// Most tokens of one completion.
    pub max_new_tokens: usize,
    /// How the next token is drawn.
    pub sampling: Sampling,
    /// Token ids that end a completion; they are part of it.
    pub stop: Vec<u32>,
}

impl Default for GenerateConfig {
    /// At most 128 tokens, the most likely one each time, and no stop token.
    fn default() -> Self {
        Self { max_new_tokens: 128, sampling: Sampling::GREEDY, stop: vec![] }
    }
}

/// The rows of a batch: a prompt for each, and what else may differ from row to row.
#[derive(Clone, Copy, Debug)]
pub struct Prompts<'a> {
    ids: &'a [Vec<u32>],
    seeds: Option<&'a [u64]>,
    active: Active<'a>,
}

impl<'a> Prompts<'a> {
    /// Prompts as token ids, completed by the base model; row `b` draws with the seed `b`.
    pub fn new(ids: &'a [Vec<u32>]) -> Self {
        Self { ids, seeds: None, active: Active::Base }
    }

    /// The weights to run under.
    #[must_use]
    pub fn under(self, active: Active<'a>) -> Self {
        Self { active, ..self }
    }

    /// Row `b` draws with `seeds[b]`, whatever else is in the batch.
    #[must_use]
    pub fn seeded(self, seeds: &'a [u64]) -> Self {
        Self { seeds: Some(seeds), ..self }
    }
}

/// Why a completion ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum FinishReason {
    /// A stop token.
    Stop,
    /// `max_new_tokens`.
    Length,
    /// The caller broke off.
    Cancelled,
}

/// One completed row.
#[derive(Clone, Debug, PartialEq)]
pub struct Completion {
    /// The new token ids, the stop token included.
    pub ids: Vec<u32>,
    /// Log-probability of each of them under the model (temperature 1, nothing cut off), nats.
    pub logprobs: Vec<f32>,
    /// Why it ended.
    pub finish: FinishReason,
}

impl Completion {
    /// The new token ids without the stop token that ended them.
    pub fn answer_ids(&self) -> &[u32] {
        match self.finish {
            FinishReason::Stop => &self.ids[..self.ids.len().saturating_sub(1)],
            _ => &self.ids,
        }
    }
}

/// Complete every prompt.
///
/// # Errors
///
/// As [`generate_with`].
pub fn generate(
    model: &impl CausalLm,
    prompts: Prompts<'_>,
    config: &GenerateConfig,
) -> Result<Vec<Completion>, GenerateError> {
    generate_with(model, prompts, config, |_, _| ControlFlow::Continue(()))
}

/// Complete every prompt. `on_token` sees each new token as `(row, id)` and may break off the whole batch.
///
/// # Errors
///
/// [`GenerateError`] for a prompt that is empty, too long or foreign, for settings out of range, and for weights that
/// `model` cannot run under; nothing is generated then. [`GenerateError::NotFinite`] where the model gives no numbers.
/// [`GenerateError::Interrupted`] holds what there is when `on_token` broke off before the last token.
pub fn generate_with(
    model: &impl CausalLm,
    prompts: Prompts<'_>,
    config: &GenerateConfig,
    mut on_token: impl FnMut(usize, u32) -> ControlFlow<()>,
) -> Result<Vec<Completion>, GenerateError> {
    check(model, prompts, config)?;
    let empty = || Completion { ids: vec![], logprobs: vec![], finish: FinishReason::Length };
    let mut done: Vec<Completion> = prompts.ids.iter().map(|_| empty()).collect();
    if prompts.ids.is_empty() || config.max_new_tokens == 0 {
        return Ok(done);
    }
    let mut batch = Batch::start(model, prompts, config.max_new_tokens);
    for step in 0..config.max_new_tokens {
        for (row, logits) in batch.logits(model, step)? {
            let id = config.sampling.draw(&logits, &mut batch.rngs[row]);
            done[row].ids.push(id);
            done[row].logprobs.push(log_softmax(&logits)[id as usize]);
            batch.next[row] = id;
            if config.stop.contains(&id) {
                done[row].finish = FinishReason::Stop;
            }
            if on_token(row, id).is_break() {
                return broken_off(done, config.max_new_tokens);
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

/// What there is when the caller breaks off: whole where every row has come to its end.
fn broken_off(mut rows: Vec<Completion>, max_new_tokens: usize) -> Result<Vec<Completion>, GenerateError> {
    let runs = |row: &&mut Completion| row.finish == FinishReason::Length && row.ids.len() < max_new_tokens;
    let cancelled = rows.iter_mut().filter(runs).map(|row| row.finish = FinishReason::Cancelled).count();
    if cancelled == 0 { Ok(rows) } else { Err(GenerateError::Interrupted { completions: rows }) }
}

/// Refuse prompts and settings that could not be completed as asked.
fn check(model: &impl CausalLm, prompts: Prompts<'_>, config: &GenerateConfig) -> Result<(), GenerateError> {
    config.sampling.check()?;
    let rows = prompts.ids.len();
    if let Some(seeds) = prompts.seeds.filter(|seeds| seeds.len() != rows) {
        return Err(GenerateError::Seeds { found: seeds.len(), expected: rows });
    }
    prompts.active.check(model, rows)?;
    let shape = model.shape();
    prompts.ids.iter().enumerate().try_for_each(|(row, ids)| check_prompt(shape, row, ids, config.max_new_tokens))
}

/// Refuse a prompt that a model of this shape cannot read, or that leaves no room for `max_new_tokens` more. `row` is
/// its position, for the error.
///
/// # Errors
///
/// [`GenerateError::EmptyPrompt`], [`GenerateError::TooLong`] and [`GenerateError::UnknownToken`].
pub fn check_prompt(shape: LmShape, row: usize, prompt: &[u32], max_new_tokens: usize) -> Result<(), GenerateError> {
    let LmShape { vocab, max_seq_len, .. } = shape;
    let prompt_len = prompt.len();
    if prompt.is_empty() {
        return Err(GenerateError::EmptyPrompt { row });
    }
    if prompt_len.saturating_add(max_new_tokens) > max_seq_len {
        return Err(GenerateError::TooLong { row, prompt_len, max_new_tokens, max_seq_len });
    }
    match prompt.iter().find(|&&id| id as usize >= vocab) {
        Some(&id) => Err(GenerateError::UnknownToken { row, id, vocab }),
        None => Ok(()),
    }
}

/// Prompts padded on the left to the longest of them, `[batch, seq]`, and how many columns of padding each row has.
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

/// The rows of a batch that are still running. A row is known by its position among the caller's prompts.
struct Batch<'a> {
    /// The rows still running, in the order in which the cache holds them.
    live: Vec<usize>,
    /// The last token of every row of the caller, running or not.
    next: Vec<u32>,
    rngs: Vec<ChaCha8Rng>,
    cache: KvCache,
    /// What the caller's rows run under.
    active: Active<'a>,
    /// The scales of the rows still running, where rows have scales and some have left.
    remaining: Option<RowScales>,
    /// The prompts, until the first pass has read them, `[batch, seq]`.
    prompts: Option<Tensor<2, Int>>,
    device: Device,
}

impl<'a> Batch<'a> {
    fn start(model: &impl CausalLm, prompts: Prompts<'a>, max_new_tokens: usize) -> Self {
        let device = crate::decoder::device_of(model);
        let (tokens, pad) = left_padded(prompts.ids, &device);
        let [rows, longest] = tokens.dims();
        let seed = |row: usize| prompts.seeds.map_or(row as u64, |seeds| seeds[row]);
        Self {
            live: (0..rows).collect(),
            next: vec![0; rows],
            rngs: (0..rows).map(|row| ChaCha8Rng::seed_from_u64(seed(row))).collect(),
            cache: KvCache::new(model.shape(), pad, longest + max_new_tokens),
            active: prompts.active,
            remaining: None,
            prompts: Some(tokens),
            device,
        }
    }

    /// For every row still running: its position among the caller's, and the logits of its next token, `[vocab]`.
    fn logits(&mut self, model: &impl CausalLm, step: usize) -> Result<Vec<(usize, Vec<f32>)>, GenerateError> {
        let tokens = self.prompts.take().unwrap_or_else(|| {
            let ids: Vec<i64> = self.live.iter().map(|&row| i64::from(self.next[row])).collect();
            Tensor::from_data(TensorData::new(ids, [self.live.len(), 1]), &self.device)
        });
        let active = self.remaining.as_ref().map_or(self.active, Active::Rows);
        let hidden = model.hidden(tokens, Some(&mut self.cache), active);
        let [_, seq, _] = hidden.dims();
        let logits = model.logits(hidden.slice_dim(1, seq - 1..seq));
        let [_, _, vocab] = logits.dims();
        let values: Vec<f32> = logits.try_into_data_as::<f32>()?.iter::<f32>().collect();
        let rows: Vec<_> = self.live.iter().copied().zip(values.chunks(vocab).map(<[f32]>::to_vec)).collect();
        // A token may be ruled out by -inf; anything else that is no number would be drawn from in silence.
        let broken = |logits: &Vec<f32>| {
            logits.iter().any(|l| l.is_nan() || *l == f32::INFINITY) || logits.iter().all(|l| l.is_infinite())
        };
        match rows.iter().find(|(_, logits)| broken(logits)) {
            Some(&(row, _)) => Err(GenerateError::NotFinite { row, step }),
            None => Ok(rows),
        }
    }

    /// Take finished rows out of the batch.
    fn drop_rows(&mut self, stopped: impl Fn(usize) -> bool) {
        let keep: Vec<usize> = (0..self.live.len()).filter(|&i| !stopped(self.live[i])).collect();
        if keep.len() == self.live.len() {
            return;
        }
        self.cache.select(&keep, &self.device);
        let scales = self.remaining.as_ref().or(match self.active {
            Active::Rows(rows) => Some(rows),
            _ => None,
        });
        self.remaining = scales.map(|rows| rows.select(&keep));
        self.live = keep.iter().map(|&i| self.live[i]).collect();
    }
}
