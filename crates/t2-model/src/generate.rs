//! Generation: prompts of different lengths, experts and seeds at once, by the [`engine`].
//!
//! A row depends on its own prompt, mixture and seed only: alone or in a batch it gives the same tokens (greedy in
//! f32; sampling up to rounding where two draws are as close).

pub mod engine;
mod error;
mod sample;
pub mod score;

use std::collections::HashMap;
use std::ops::ControlFlow;

use burn::prelude::*;

use crate::adapter::Active;
use crate::decoder::{CausalLm, LmShape};

pub use engine::{Engine, EngineConfig, Event, Request, RequestId, Under};
pub use error::GenerateError;
pub use sample::Sampling;

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
    let mut engine = Engine::new(model, EngineConfig { slots: prompts.ids.len(), ..EngineConfig::default() });
    let rows = submit(&mut engine, prompts, config)?;
    while !engine.is_idle() {
        for event in engine.step()? {
            match event {
                Event::Token { request, id, logprob, finish } => {
                    let row = rows[&request];
                    done[row].ids.push(id);
                    done[row].logprobs.push(logprob);
                    done[row].finish = finish.unwrap_or(FinishReason::Length);
                    if on_token(row, id).is_break() {
                        return broken_off(done, config.max_new_tokens);
                    }
                }
                Event::Broken { request, step } => {
                    return Err(GenerateError::NotFinite { row: rows[&request], step });
                }
            }
        }
    }
    Ok(done)
}

/// Ask `engine` for every prompt: the row of each request.
fn submit<M: CausalLm>(
    engine: &mut Engine<'_, M>,
    prompts: Prompts<'_>,
    config: &GenerateConfig,
) -> Result<HashMap<RequestId, usize>, GenerateError> {
    let under = match prompts.active {
        Active::Base => vec![Under::Base; prompts.ids.len()],
        Active::Own => vec![Under::Own; prompts.ids.len()],
        Active::Rows(rows) => engine.add(rows)?,
    };
    let requests = prompts.ids.iter().zip(under).enumerate().map(|(row, (ids, under))| {
        let request = Request {
            ids: ids.clone(),
            under,
            seed: prompts.seeds.map_or(row as u64, |seeds| seeds[row]),
            sampling: config.sampling,
            stop: config.stop.clone(),
            max_new_tokens: config.max_new_tokens,
        };
        Ok((engine.submit(request)?, row))
    });
    requests.collect()
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
