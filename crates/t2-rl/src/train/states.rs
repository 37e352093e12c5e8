//! The final states that predict the tokens of completions, by the forward pass that sampled them.

use burn::prelude::*;
use t2_model::adapter::Active;
use t2_model::decoder::{CausalLm, KvCache};

use super::batch::Batch;

/// A batch that is read on a device, as streams of tokens: the prompts first, then each pass through completions, whose
/// rows see the keys and values of their prompt.
#[derive(Clone, Copy)]
pub(super) struct Reading<'a> {
    pub(super) batch: &'a Batch<'a>,
    pub(super) device: &'a Device,
}

/// Final states, and where the tokens that they predict are.
pub(super) struct States {
    /// One for each token of a completion, `[tokens, d_model]`.
    pub(super) hidden: Tensor<2>,
    /// For each of them the row and the position of its token.
    pub(super) places: Vec<(usize, usize)>,
}

impl Reading<'_> {
    /// The final states, by one pass through the model for each stream.
    pub(super) fn states(self, model: &impl CausalLm, active: Active<'_>) -> States {
        let run = |tokens, cache: &mut KvCache| model.hidden(tokens, Some(cache), active);
        self.predicting(self.each(model, self.tokens(), run))
    }

    /// Token ids of every stream, `[batch, seq]` each: prompts are padded on the left, completions on the right.
    pub(super) fn tokens(self) -> Vec<Tensor<2, Int>> {
        let Self { batch, device } = self;
        let columns = batch.prompt_len();
        let padded = |prompt: &&[u32]| [vec![0; columns - prompt.len()], prompt.to_vec()].concat();
        let prompts = rectangle(batch.prompts.iter().map(padded), columns, device);
        let passes = batch.passes.iter().map(|pass| {
            let read = pass.iter().map(|&row| batch.completion(row)[..batch.read(row)].to_vec());
            rectangle(read, batch.columns(pass), device)
        });
        std::iter::once(prompts).chain(passes).collect()
    }

    /// What `run` makes of every stream, with a cache that holds what came before it.
    pub(super) fn each<T>(
        self,
        model: &impl CausalLm,
        streams: Vec<T>,
        run: impl Fn(T, &mut KvCache) -> Tensor<3>,
    ) -> Vec<Tensor<3>> {
        let Self { batch, device } = self;
        let columns = batch.prompt_len();
        let pad = batch.prompts.iter().map(|prompt| columns - prompt.len()).collect();
        let mut cache = KvCache::new(model.shape(), pad, columns + batch.completion_len().saturating_sub(1));
        let rows = std::iter::once(None).chain(batch.passes.iter().map(Some));
        let outputs = streams.into_iter().zip(rows).map(|(stream, rows)| match rows {
            None => run(stream, &mut cache),
            Some(rows) => {
                let owners: Vec<usize> = rows.iter().map(|&row| batch.owners[row]).collect();
                let mut cache = cache.clone();
                cache.select(&owners, device);
                run(stream, &mut cache)
            }
        });
        outputs.collect()
    }

    /// The states that predict a token of a completion, of the final states of every stream, `[batch, seq, d_model]` each.
    pub(super) fn predicting(self, streams: Vec<Tensor<3>>) -> States {
        let Self { batch, device } = self;
        let mut places: Vec<(usize, usize)> = (0..batch.rows.len()).map(|row| (row, 0)).collect();
        let last = batch.prompt_len() - 1;
        let mut hidden = vec![];
        for (stream, states) in streams.into_iter().enumerate() {
            let [_, columns, _] = states.dims();
            let index: Vec<usize> = match stream.checked_sub(1).map(|pass| &batch.passes[pass]) {
                None => batch.owners.iter().map(|owner| owner * columns + last).collect(),
                Some(rows) => {
                    let read =
                        |(i, &row): (usize, &usize)| (0..batch.read(row)).map(move |t| (i * columns + t, (row, t + 1)));
                    let (index, of_pass): (Vec<_>, Vec<_>) = rows.iter().enumerate().flat_map(read).unzip();
                    places.extend(of_pass);
                    index
                }
            };
            hidden.push(states.flatten::<2>(0, 1).select(0, indices(&index, device)));
        }
        States { hidden: Tensor::cat(hidden, 0), places }
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
