//! Log-probabilities of given completions, by the forward pass that samples them.

use burn::prelude::*;
use burn::tensor::activation;
use burn::tensor::{DType, TensorReadError};

use crate::decoder::CausalLm;
use crate::mix::Mix;

/// Prompts and completions as one rectangle, padded on the right.
#[derive(Clone, Debug)]
pub struct Sequences {
    /// What the model reads, `[batch, seq]`.
    pub inputs: Tensor<2, Int>,
    /// What it should say next, `[batch, seq]`.
    pub targets: Tensor<2, Int>,
    /// 1 where the target belongs to a completion, 0 elsewhere, `[batch, seq]`.
    pub mask: Tensor<2>,
}

impl Sequences {
    /// Lay out `(prompt, completion)` pairs of token ids; a prompt has at least one token.
    ///
    /// # Panics
    ///
    /// When there are no rows, or a prompt is empty.
    pub fn new(rows: &[(&[u32], &[u32])], device: &Device) -> Self {
        assert!(rows.iter().all(|(prompt, _)| !prompt.is_empty()), "a prompt needs at least one token");
        let seq = rows.iter().map(|(p, c)| p.len() + c.len() - 1).max().expect("at least one row");
        let shape = [rows.len(), seq];
        let padded = |skip: usize| {
            let ids = rows.iter().flat_map(move |(prompt, completion)| {
                let ids = prompt.iter().chain(*completion).map(|&id| i64::from(id));
                ids.skip(skip).chain(std::iter::repeat(0)).take(seq)
            });
            Tensor::from_data(TensorData::new(ids.collect::<Vec<i64>>(), shape), device)
        };
        let mask = rows.iter().flat_map(|(prompt, completion)| {
            let range = prompt.len() - 1..prompt.len() - 1 + completion.len();
            (0..seq).map(move |i| f32::from(u8::from(range.contains(&i))))
        });
        let mask = Tensor::from_data(TensorData::new(mask.collect::<Vec<f32>>(), shape), device);
        Self { inputs: padded(0), targets: padded(1), mask }
    }

    /// Log-probabilities of every next token, f32 `[batch, seq, vocab]`.
    pub fn log_softmax(&self, model: &impl CausalLm, mix: Mix<'_>) -> Tensor<3> {
        activation::log_softmax(model.forward(self.inputs.clone(), None, mix).cast(DType::F32), 2)
    }

    /// Of `log_softmax` `[batch, seq, vocab]`, the entries of the targets, `[batch, seq]`.
    pub fn chosen(&self, log_softmax: Tensor<3>) -> Tensor<2> {
        log_softmax.gather(2, self.targets.clone().unsqueeze_dim(2)).squeeze_dim(2)
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
    let device = crate::decoder::device_of(model);
    let sequences = Sequences::new(rows, &device);
    let chosen = sequences.chosen(sequences.log_softmax(model, mix));
    let sums = (chosen * sequences.mask).sum_dim(1).try_into_data_as::<f32>()?;
    Ok(sums.iter::<f32>().collect())
}
