//! Log-probabilities of given completions, by the forward pass that samples them.

use std::ops::ControlFlow;

use burn::prelude::*;
use burn::tensor::DType;
use burn::tensor::activation::log_softmax;

use super::{Engine, EngineConfig, GenerateError, ScoreRequest, check_prompt, check_tokens};
use crate::adapter::Active;
use crate::decoder::CausalLm;

/// Prompts and completions as one rectangle, padded on the right.
///
/// The first `start` columns belong to the prompts of all rows: nothing is predicted there and no logits are made.
#[derive(Clone, Debug)]
pub struct Sequences {
    /// What the model reads, `[batch, seq]`.
    pub inputs: Tensor<2, Int>,
    /// Columns of `inputs` before the first that predicts a token of a completion.
    pub start: usize,
    /// The token that follows each column from `start` on, `[batch, seq - start]`.
    pub targets: Tensor<2, Int>,
    /// 1 where the target belongs to a completion, 0 elsewhere, `[batch, seq - start]`.
    pub mask: Tensor<2>,
}

impl Sequences {
    /// Lay out `(prompt, completion)` pairs of token ids.
    ///
    /// # Errors
    ///
    /// [`GenerateError::NoRows`], [`GenerateError::EmptyPrompt`], and [`GenerateError::EmptyCompletion`] when all
    /// completions are empty.
    pub fn new(rows: &[(&[u32], &[u32])], device: &Device) -> Result<Self, GenerateError> {
        if let Some(row) = rows.iter().position(|(prompt, _)| prompt.is_empty()) {
            return Err(GenerateError::EmptyPrompt { row });
        }
        let seq = rows.iter().map(|(p, c)| p.len() + c.len() - 1).max().ok_or(GenerateError::NoRows)?;
        let start = rows.iter().map(|(p, _)| p.len() - 1).min().ok_or(GenerateError::NoRows)?;
        if rows.iter().all(|(_, completion)| completion.is_empty()) {
            return Err(GenerateError::EmptyCompletion { row: 0 });
        }
        let padded = |skip: usize, columns: usize| {
            let ids = rows.iter().flat_map(move |(prompt, completion)| {
                let ids = prompt.iter().chain(*completion).map(|&id| i64::from(id));
                ids.skip(skip).chain(std::iter::repeat(0)).take(columns)
            });
            Tensor::from_data(TensorData::new(ids.collect::<Vec<i64>>(), [rows.len(), columns]), device)
        };
        let mask = rows.iter().flat_map(|(prompt, completion)| {
            let range = prompt.len() - 1..prompt.len() - 1 + completion.len();
            (start..seq).map(move |i| f32::from(u8::from(range.contains(&i))))
        });
        let mask = Tensor::from_data(TensorData::new(mask.collect::<Vec<f32>>(), [rows.len(), seq - start]), device);
        Ok(Self { inputs: padded(0, seq), start, targets: padded(start + 1, seq - start), mask })
    }

    /// Log-probabilities of every next token from column `start` on, f32 `[batch, seq - start, vocab]`.
    ///
    /// # Errors
    ///
    /// [`GenerateError::Mixture`] for weights that `model` cannot run under.
    pub fn log_softmax(&self, model: &impl CausalLm, active: Active<'_>) -> Result<Tensor<3>, GenerateError> {
        let [batch, _] = self.inputs.dims();
        active.check(model, batch)?;
        let [_, seq] = self.inputs.dims();
        let hidden = model.hidden(self.inputs.clone(), None, active).slice_dim(1, self.start..seq);
        Ok(log_softmax(model.logits(hidden).cast(DType::F32), 2))
    }

    /// The log-probability of every target, `[batch, seq - start]`, picked from `log_softmax`, `[batch, seq - start,
    /// vocab]`.
    pub fn chosen(&self, log_softmax: Tensor<3>) -> Tensor<2> {
        log_softmax.gather(2, self.targets.clone().unsqueeze_dim(2)).squeeze_dim(2)
    }
}

/// Log-probability of each whole completion given its prompt, `[batch]`, nats.
///
/// # Errors
///
/// [`GenerateError::NoRows`], [`GenerateError::EmptyPrompt`], and [`GenerateError::EmptyCompletion`] when all completions
/// are empty; for rows that are too long for the model or hold a token that it does not know, for weights that `model`
/// cannot run under, and where the model gives no finite numbers.
pub fn log_likelihoods(
    model: &impl CausalLm,
    rows: &[(&[u32], &[u32])],
    active: Active<'_>,
) -> Result<Vec<f32>, GenerateError> {
    if rows.is_empty() {
        return Err(GenerateError::NoRows);
    }
    if rows.iter().all(|(_, completion)| completion.is_empty()) {
        return Err(GenerateError::EmptyCompletion { row: 0 });
    }
    let shape = model.shape();
    rows.iter().enumerate().try_for_each(|(row, (prompt, given))| check_prompt(shape, row, prompt, given.len()))?;
    active.check(model, rows.len())?;
    let mut engine = Engine::new(model, EngineConfig::default());
    let under = engine.under(active, rows.len())?;
    // A completion without tokens is certain.
    let asked: Vec<usize> = (0..rows.len()).filter(|&row| !rows[row].1.is_empty()).collect();
    let requests = asked.iter().map(|&row| ScoreRequest::new(rows[row].0, rows[row].1, under[row]));
    let in_all = |error: GenerateError| error.map_row(|row| asked[row]);
    let scored = engine.score_all(requests.collect(), || ControlFlow::Continue(())).map_err(in_all)?;
    let mut sums = vec![0.0; rows.len()];
    asked.iter().zip(scored).for_each(|(&row, logprobs)| sums[row] = logprobs.iter().sum());
    Ok(sums)
}

/// Log-probability of each of the same `options` after each of `prompts`, `[prompts][options]`, nats. A prompt is read
/// once, however many options there are.
///
/// # Errors
///
/// [`GenerateError::NoRows`] without prompts or options, [`GenerateError::EmptyPrompt`] and
/// [`GenerateError::EmptyCompletion`] for an empty one; the rest as [`log_likelihoods`].
pub fn option_log_likelihoods(
    model: &impl CausalLm,
    prompts: &[&[u32]],
    options: &[&[u32]],
    active: Active<'_>,
) -> Result<Vec<Vec<f32>>, GenerateError> {
    if let Some(row) = options.iter().position(|option| option.is_empty()) {
        return Err(GenerateError::EmptyCompletion { row });
    }
    let longest = options.iter().map(|option| option.len()).max().ok_or(GenerateError::NoRows)?;
    if prompts.is_empty() {
        return Err(GenerateError::NoRows);
    }
    let shape = model.shape();
    prompts.iter().enumerate().try_for_each(|(row, prompt)| check_prompt(shape, row, prompt, longest))?;
    options.iter().enumerate().try_for_each(|(row, option)| check_tokens(shape, row, option))?;
    active.check(model, prompts.len())?;
    let mut engine = Engine::new(model, EngineConfig::default());
    let under = engine.under(active, prompts.len())?;
    let requests = prompts
        .iter()
        .zip(&under)
        .flat_map(|(prompt, &under)| options.iter().map(move |option| ScoreRequest::new(prompt, option, under)));
    let of_prompt = |error: GenerateError| error.map_row(|row| row / options.len());
    let scored = engine.score_all(requests.collect(), || ControlFlow::Continue(())).map_err(of_prompt)?;
    let sums: Vec<f32> = scored.iter().map(|logprobs| logprobs.iter().sum()).collect();
    Ok(sums.chunks(options.len()).map(<[f32]>::to_vec).collect())
}
