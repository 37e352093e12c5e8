//! Log-probabilities of given completions, by the forward pass that samples them.

use burn::prelude::*;
use burn::tensor::DType;
use burn::tensor::activation::log_softmax;

use super::{GenerateError, check_prompt, left_padded};
use crate::adapter::Active;
use crate::decoder::{CausalLm, KvCache, LmShape, device_of};

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
        Ok(self.continued(model, None, active))
    }

    /// The log-probability of every target, `[batch, seq - start]`, picked from `log_softmax`, `[batch, seq - start,
    /// vocab]`.
    pub fn chosen(&self, log_softmax: Tensor<3>) -> Tensor<2> {
        log_softmax.gather(2, self.targets.clone().unsqueeze_dim(2)).squeeze_dim(2)
    }

    /// As [`log_softmax`](Self::log_softmax), for sequences that go on after the tokens that `cache` holds.
    fn continued(&self, model: &impl CausalLm, cache: Option<&mut KvCache>, active: Active<'_>) -> Tensor<3> {
        let [_, seq] = self.inputs.dims();
        let hidden = model.hidden(self.inputs.clone(), cache, active).slice_dim(1, self.start..seq);
        log_softmax(model.logits(hidden).cast(DType::F32), 2)
    }

    /// Log-probability of each whole completion, `[batch]`.
    fn sums(&self, log_softmax: Tensor<3>) -> Result<Vec<f32>, GenerateError> {
        finite((self.chosen(log_softmax) * self.mask.clone()).sum_dim(1).try_into_vec_as::<f32>()?)
    }
}

/// Refuse log-probabilities that are no numbers.
fn finite(values: Vec<f32>) -> Result<Vec<f32>, GenerateError> {
    match values.iter().position(|value| !value.is_finite()) {
        Some(row) => Err(GenerateError::NotFinite { row, step: 0 }),
        None => Ok(values),
    }
}

/// Refuse a completion with a token id that the model does not know.
fn check_completion(shape: LmShape, row: usize, completion: &[u32]) -> Result<(), GenerateError> {
    let vocab = shape.vocab;
    match completion.iter().find(|&&id| id as usize >= vocab) {
        Some(&id) => Err(GenerateError::UnknownToken { row, id, vocab }),
        None => Ok(()),
    }
}

/// Log-probability of each whole completion given its prompt, `[batch]`, nats.
///
/// # Errors
///
/// [`GenerateError`] for rows that [`Sequences::new`] refuses, that are too long for the model or hold a token that it
/// does not know, for weights that `model` cannot run under, and where the model gives no finite numbers.
pub fn log_likelihoods(
    model: &impl CausalLm,
    rows: &[(&[u32], &[u32])],
    active: Active<'_>,
) -> Result<Vec<f32>, GenerateError> {
    let shape = model.shape();
    for (row, (prompt, completion)) in rows.iter().enumerate() {
        check_prompt(shape, row, prompt, completion.len())?;
        check_completion(shape, row, completion)?;
    }
    let sequences = Sequences::new(rows, &device_of(model))?;
    sequences.sums(sequences.log_softmax(model, active)?)
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
    if let Some(row) = prompts.iter().position(|prompt| prompt.is_empty()) {
        return Err(GenerateError::EmptyPrompt { row });
    }
    if let Some(row) = options.iter().position(|option| option.is_empty()) {
        return Err(GenerateError::EmptyCompletion { row });
    }
    let longest_option = options.iter().map(|option| option.len()).max().ok_or(GenerateError::NoRows)?;
    if prompts.is_empty() {
        return Err(GenerateError::NoRows);
    }
    active.check(model, prompts.len())?;
    let shape = model.shape();
    prompts.iter().enumerate().try_for_each(|(row, prompt)| check_prompt(shape, row, prompt, longest_option))?;
    options.iter().enumerate().try_for_each(|(row, option)| check_completion(shape, row, option))?;
    // Every prompt has as many numbers as there are options.
    let of_prompt = |error| match error {
        GenerateError::NotFinite { row, step } => GenerateError::NotFinite { row: row / options.len(), step },
        error => error,
    };
    let device = device_of(model);
    let room = longest_option - 1;
    let (tokens, pad) = left_padded(prompts, &device);
    let [_, longest] = tokens.dims();
    let mut cache = KvCache::new(model.shape(), pad, longest + room);
    let last = model.hidden(tokens, Some(&mut cache), active).slice_dim(1, longest - 1..longest);
    let firsts: Vec<i64> = options.iter().map(|option| i64::from(option[0])).collect();
    let firsts = Tensor::<1, Int>::from_data(firsts.as_slice(), &device);
    let first = log_softmax(model.logits(last).cast(DType::F32), 2).select(2, firsts).try_into_vec_as::<f32>()?;
    let mut sums: Vec<Vec<f32>> =
        finite(first).map_err(of_prompt)?.chunks(options.len()).map(<[f32]>::to_vec).collect();
    if room > 0 {
        // From here on every option is a row of its own, behind a copy of the keys and values of its prompt.
        let owners: Vec<usize> = (0..prompts.len()).flat_map(|row| std::iter::repeat_n(row, options.len())).collect();
        cache.select(&owners, &device);
        let rows;
        let active = match active {
            Active::Rows(all) => {
                rows = all.select(&owners);
                Active::Rows(&rows)
            }
            other => other,
        };
        let split: Vec<_> = prompts.iter().flat_map(|_| options.iter().map(|option| option.split_at(1))).collect();
        let sequences = Sequences::new(&split, &device)?;
        let rest = sequences.sums(sequences.continued(model, Some(&mut cache), active)).map_err(of_prompt)?;
        sums.iter_mut().flatten().zip(rest).for_each(|(sum, rest)| *sum += rest);
    }
    Ok(sums)
}
