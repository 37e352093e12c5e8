//! Generation: prompts of different lengths, experts and seeds at once, by the [`engine`].
//!
//! A row depends on its own prompt, mixture and seed only: alone or in a batch it gives the same tokens (greedy in
//! f32; sampling up to rounding where two draws are as close).

pub mod engine;
mod error;
mod sample;
pub mod score;
mod written;

use std::ops::ControlFlow;

use crate::adapter::Active;
use crate::decoder::{CausalLm, LmShape};

pub use engine::{After, Engine, EngineConfig, Event, Request, RequestId, ScoreRequest, Under};
pub use error::GenerateError;
pub use sample::Sampling;
pub use written::{Written, write};

/// How a batch is completed.
#[derive(Clone, Debug, PartialEq)]
pub struct GenerateConfig {
    /// Most tokens of one completion.
    pub max_new_tokens: usize,
    /// How the next token is drawn.
    pub sampling: Sampling,
    /// Token ids that end a completion; they are part of it.
    pub stop: Vec<u32>,
    /// Strings that end a completion where its text is read, see [`write()`]; [`generate`] knows token ids alone and looks
    /// for none.
    pub stop_strings: Vec<String>,
}

impl Default for GenerateConfig {
    /// At most 128 tokens, the most likely one each time, and nothing that ends them.
    fn default() -> Self {
        Self { max_new_tokens: 128, sampling: Sampling::GREEDY, stop: vec![], stop_strings: vec![] }
    }
}

impl GenerateConfig {
    /// The request for a completion of `ids` like this.
    pub fn request(&self, ids: Vec<u32>, under: Under, seed: u64) -> Request {
        let &Self { max_new_tokens, sampling, ref stop, .. } = self;
        Request { ids, under, seed, sampling, stop: stop.clone(), max_new_tokens }
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

    /// An engine that runs all rows at once, and what is to be asked of it.
    ///
    /// # Errors
    ///
    /// [`GenerateError`] for a prompt that is empty, too long or foreign, for settings out of range, and for weights that
    /// `model` cannot run under.
    pub fn requests<'m, M: CausalLm>(
        self,
        model: &'m M,
        config: &GenerateConfig,
    ) -> Result<(Engine<'m, M>, Vec<Request>), GenerateError> {
        check(model, self, config)?;
        let mut engine = Engine::new(model, EngineConfig { slots: self.ids.len(), ..EngineConfig::default() });
        let under = engine.under(self.active, self.ids.len())?;
        let requests = self.ids.iter().zip(under).enumerate().map(|(row, (ids, under))| {
            let seed = self.seeds.map_or(row as u64, |seeds| seeds[row]);
            config.request(ids.clone(), under, seed)
        });
        Ok((engine, requests.collect()))
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
    /// A string that ends an answer, which the caller found in its text.
    Text,
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
    /// True while a completion that is being made has not ended.
    pub fn is_going_on(&self) -> bool {
        self.finish == FinishReason::Cancelled
    }

    /// The same, ended by a string in its text.
    pub(crate) fn ended_by_text(&self) -> Self {
        Self { finish: FinishReason::Text, ..self.clone() }
    }

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
    on_token: impl FnMut(usize, u32) -> ControlFlow<()>,
) -> Result<Vec<Completion>, GenerateError> {
    let (mut engine, requests) = prompts.requests(model, config)?;
    engine.complete(requests, on_token)
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
    let LmShape { max_seq_len, .. } = shape;
    let prompt_len = prompt.len();
    if prompt.is_empty() {
        return Err(GenerateError::EmptyPrompt { row });
    }
    if prompt_len.saturating_add(max_new_tokens) > max_seq_len {
        return Err(GenerateError::TooLong { row, prompt_len, max_new_tokens, max_seq_len });
    }
    check_tokens(shape, row, prompt)
}

/// Refuse tokens of `row` that a model of this shape does not know.
fn check_tokens(LmShape { vocab, .. }: LmShape, row: usize, ids: &[u32]) -> Result<(), GenerateError> {
    match ids.iter().find(|&&id| id as usize >= vocab) {
        Some(&id) => Err(GenerateError::UnknownToken { row, id, vocab }),
        None => Ok(()),
    }
}
