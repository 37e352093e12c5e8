//! Log-probabilities of given completions, by the forward pass that samples them.

use burn::prelude::*;
use burn::tensor::activation::log_softmax;
use burn::tensor::{DType, TensorReadError};

use crate::cache::KvCache;
use crate::decoder::{CausalLm, device_of};
use crate::generate::left_padded;
use crate::mix::Mix;

/// Prompts and completions as one rectangle, padded on the right.
///
/// The first `start` columns belong to the prompts of all rows: nothing is predicted there and no logits are made.
#[derive(Clone, Debug)]
pub struct Sequences {
    /// What the model reads, `[batch, seq]`.
    pub inputs: Tensor<2, Int>,
    /// Columns of `inputs` before the first that predicts a token of a completion.
    pub start: usize,
    /// What it should say next from column `start` on, `[batch, seq - start]`.
    pub targets: Tensor<2, Int>,
    /// 1 where the target belongs to a completion, 0 elsewhere, `[batch, seq - start]`.
    pub mask: Tensor<2>,
}

impl Sequences {
    /// Lay out `(prompt, completion)` pairs of token ids; a prompt has at least one token, and one completion has.
    ///
    /// # Panics
    ///
    /// When there are no rows, a prompt is empty, or all completions are.
    pub fn new(rows: &[(&[u32], &[u32])], device: &Device) -> Self {
        assert!(rows.iter().all(|(prompt, _)| !prompt.is_empty()), "a prompt needs at least one token");
        assert!(rows.iter().any(|(_, completion)| !completion.is_empty()), "at least one completion needs a token");
        let seq = rows.iter().map(|(p, c)| p.len() + c.len() - 1).max().expect("at least one row");
        let start = rows.iter().map(|(p, _)| p.len() - 1).min().expect("at least one row");
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
        Self { inputs: padded(0, seq), start, targets: padded(start + 1, seq - start), mask }
    }

    /// Log-probabilities of every next token from column `start` on, f32 `[batch, seq - start, vocab]`.
    pub fn log_softmax(&self, model: &impl CausalLm, mix: Mix<'_>) -> Tensor<3> {
        self.continued(model, None, mix)
    }

    /// Of `log_softmax` `[batch, seq - start, vocab]`, the entries of the targets, `[batch, seq - start]`.
    pub fn chosen(&self, log_softmax: Tensor<3>) -> Tensor<2> {
        log_softmax.gather(2, self.targets.clone().unsqueeze_dim(2)).squeeze_dim(2)
    }

    /// As [`log_softmax`](Self::log_softmax), after what `cache` holds.
    fn continued(&self, model: &impl CausalLm, cache: Option<&mut KvCache>, mix: Mix<'_>) -> Tensor<3> {
        let [_, seq] = self.inputs.dims();
        let hidden = model.hidden(self.inputs.clone(), cache, mix).slice_dim(1, self.start..seq);
        log_softmax(model.logits(hidden).cast(DType::F32), 2)
    }

    /// Log-probability of each whole completion, `[batch]`.
    fn sums(&self, log_softmax: Tensor<3>) -> Result<Vec<f32>, TensorReadError> {
        (self.chosen(log_softmax) * self.mask.clone()).sum_dim(1).try_into_vec_as::<f32>()
    }
}

/// Log-probability of each whole completion given its prompt, `[batch]`.
///
/// # Errors
///
/// When the device does not hand over the result.
pub fn log_likelihoods(
    model: &impl CausalLm,
    rows: &[(&[u32], &[u32])],
    mix: Mix<'_>,
) -> Result<Vec<f32>, TensorReadError> {
    let sequences = Sequences::new(rows, &device_of(model));
    sequences.sums(sequences.log_softmax(model, mix))
}

/// Log-probability of each of the same `options` after each of `prompts`, `[prompts][options]`. A prompt is read once,
/// however many options there are.
///
/// # Errors
///
/// When the device does not hand over the result.
///
/// # Panics
///
/// When there are no prompts or options, or one of them is empty.
pub fn option_log_likelihoods(
    model: &impl CausalLm,
    prompts: &[&[u32]],
    options: &[&[u32]],
    mix: Mix<'_>,
) -> Result<Vec<Vec<f32>>, TensorReadError> {
    assert!(options.iter().all(|option| !option.is_empty()), "an option needs at least one token");
    let device = device_of(model);
    assert!(!prompts.is_empty(), "at least one prompt");
    let room = options.iter().map(|option| option.len()).max().expect("at least one option") - 1;
    let (tokens, pad) = left_padded(prompts, &device);
    let [_, longest] = tokens.dims();
    let mut cache = KvCache::new(model.config(), pad, longest + room);
    let last = model.hidden(tokens, Some(&mut cache), mix).slice_dim(1, longest - 1..longest);
    let firsts: Vec<i64> = options.iter().map(|option| i64::from(option[0])).collect();
    let firsts = Tensor::<1, Int>::from_data(firsts.as_slice(), &device);
    let first = log_softmax(model.logits(last).cast(DType::F32), 2).select(2, firsts).try_into_vec_as::<f32>()?;
    let mut sums: Vec<Vec<f32>> = first.chunks(options.len()).map(<[f32]>::to_vec).collect();
    if room > 0 {
        // From here on every option is a row of its own, behind a copy of the keys and values of its prompt.
        let owners: Vec<usize> = (0..prompts.len()).flat_map(|row| std::iter::repeat_n(row, options.len())).collect();
        cache.select(&owners, &device);
        let rows;
        let mix = match mix {
            Mix::Rows(all) => {
                rows = all.select(&owners);
                Mix::Rows(&rows)
            }
            other => other,
        };
        let split: Vec<_> = prompts.iter().flat_map(|_| options.iter().map(|option| option.split_at(1))).collect();
        let sequences = Sequences::new(&split, &device);
        let rest = sequences.sums(sequences.continued(model, Some(&mut cache), mix))?;
        sums.iter_mut().flatten().zip(rest).for_each(|(sum, rest)| *sum += rest);
    }
    Ok(sums)
}
