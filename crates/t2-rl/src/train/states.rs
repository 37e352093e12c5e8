//! The final states that predict the tokens of completions, by the forward pass that sampled them.

use burn::prelude::*;
use t2_model::adapter::Active;
use t2_model::decoder::{CausalLm, KvCache};

use super::batch::Batch;

/// Final states, and where the tokens that they predict are.
pub(super) struct States {
    /// One for each token of a completion, `[tokens, d_model]`.
    pub(super) hidden: Tensor<2>,
    /// For each of them the row and the position of its token.
    pub(super) places: Vec<(usize, usize)>,
}

impl States {
    /// Read `batch` on `device`: every prompt once, then the completions, which see the keys and values of their prompt.
    pub(super) fn of(model: &impl CausalLm, batch: &Batch<'_>, active: Active<'_>, device: &Device) -> Self {
        let columns = batch.prompt_len();
        let pad: Vec<usize> = batch.prompts.iter().map(|prompt| columns - prompt.len()).collect();
        let prompts = batch
            .prompts
            .iter()
            .zip(&pad)
            .map(|(prompt, &pad)| std::iter::repeat_n(&0, pad).chain(*prompt).copied().collect::<Vec<u32>>());
        let prompts = rectangle(prompts, columns, device);
        let mut cache = KvCache::new(model.shape(), pad, columns + batch.completion_len().saturating_sub(1));
        let last =
            model.hidden(prompts, Some(&mut cache), active).slice_dim(1, columns - 1..columns).squeeze_dim::<2>(1);
        let mut hidden = vec![last.select(0, indices(&batch.owners, device))];
        let mut places: Vec<(usize, usize)> = (0..batch.rows.len()).map(|row| (row, 0)).collect();
        for pass in &batch.passes {
            let columns = batch.columns(pass);
            let owners: Vec<usize> = pass.iter().map(|&row| batch.owners[row]).collect();
            let mut cache = cache.clone();
            cache.select(&owners, device);
            let read = pass.iter().map(|&row| batch.completion(row)[..batch.read(row)].to_vec());
            let states = model.hidden(rectangle(read, columns, device), Some(&mut cache), active);
            let flat = states.flatten::<2>(0, 1);
            let real = pass.iter().enumerate().flat_map(|(i, &row)| (0..batch.read(row)).map(move |t| i * columns + t));
            hidden.push(flat.select(0, indices(&real.collect::<Vec<_>>(), device)));
            places.extend(pass.iter().flat_map(|&row| (0..batch.read(row)).map(move |t| (row, t + 1))));
        }
        Self { hidden: Tensor::cat(hidden, 0), places }
    }
}

/// Rows of token ids, padded on the right to `columns`, `[batch, columns]`.
fn rectangle(rows: impl ExactSizeIterator<Item = Vec<u32>>, columns: usize, device: &Device) -> Tensor<2, Int> {
    let shape = [rows.len(), columns];
    let ids = rows.flat_map(|mut row| {
        row.resize(columns, 0);
        row.into_iter().map(i64::from)
    });
    Tensor::from_data(TensorData::new(ids.collect::<Vec<i64>>(), shape), device)
}

/// `[len]`, to select by.
pub(super) fn indices(of: &[usize], device: &Device) -> Tensor<1, Int> {
    let of: Vec<i64> = of.iter().map(|&index| index as i64).collect();
    Tensor::from_data(of.as_slice(), device)
}
