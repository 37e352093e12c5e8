//! Keys and values of the tokens already seen, in buffers allocated once.

use burn::prelude::*;

use super::LmShape;

/// Preallocated keys and values of one batch.
///
/// Rows of different lengths are padded on the left, so that every row's next token lands in the same column.
#[derive(Clone, Debug)]
pub struct KvCache {
    /// Keys and values of each layer, `[batch, kv_heads, capacity, head_dim]`.
    layers: Vec<Option<(Tensor<4>, Tensor<4>)>>,
    /// The tokens of every column, `[batch, len]`, where the model must be able to read them anew.
    tokens: Option<Tensor<2, Int>>,
    /// Number of padding columns on the left of each row.
    pad: Vec<usize>,
    /// Columns filled so far.
    len: usize,
    capacity: usize,
}

impl KvCache {
    /// Room for `capacity` columns of `pad.len()` rows, row `b` starting with `pad[b]` padding tokens.
    pub fn new(shape: LmShape, pad: Vec<usize>, capacity: usize) -> Self {
        Self { layers: vec![None; shape.layers], tokens: None, pad, len: 0, capacity }
    }

    /// Columns filled so far, padding included.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True before the first forward pass.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Padding columns on the left of each row, `[batch]`.
    pub fn pad(&self) -> &[usize] {
        &self.pad
    }

    /// Keep only `rows`, in that order: finished sequences leave the batch.
    pub fn select(&mut self, rows: &[usize], device: &Device) {
        let index: Vec<i64> = rows.iter().map(|&row| row as i64).collect();
        let index = Tensor::<1, Int>::from_data(index.as_slice(), device);
        for (k, v) in self.layers.iter_mut().flatten() {
            *k = k.clone().select(0, index.clone());
            *v = v.clone().select(0, index.clone());
        }
        self.tokens = self.tokens.take().map(|tokens| tokens.select(0, index));
        self.pad = rows.iter().map(|&row| self.pad[row]).collect();
    }

    /// Store the keys and values of `layer`, `[batch, kv_heads, seq, head_dim]`, and return all of them so far.
    pub(crate) fn append(&mut self, layer: usize, k: Tensor<4>, v: Tensor<4>) -> (Tensor<4>, Tensor<4>) {
        let [batch, kv_heads, seq, head_dim] = k.dims();
        let end = self.len + seq;
        assert!(end <= self.capacity, "cache of {} columns cannot hold {end}", self.capacity);
        let empty = || Tensor::zeros([batch, kv_heads, self.capacity, head_dim], (&k.device(), k.dtype()));
        let (all_k, all_v) = self.layers[layer].take().unwrap_or_else(|| (empty(), empty()));
        let range = [0..batch, 0..kv_heads, self.len..end, 0..head_dim];
        let all_k = all_k.slice_assign(range.clone(), k);
        let all_v = all_v.slice_assign(range, v);
        let seen = (all_k.clone().slice_dim(2, 0..end), all_v.clone().slice_dim(2, 0..end));
        self.layers[layer] = Some((all_k, all_v));
        seen
    }

    /// Whether `seq` more columns make a row longer than `limit` tokens of which some were read while it was not.
    pub(crate) fn outgrown_by(&self, seq: usize, limit: usize) -> bool {
        self.pad.iter().any(|pad| self.len > *pad && (self.len - pad..self.len - pad + seq).contains(&limit))
    }

    /// Keep `tokens` `[batch, seq]`, which are about to be read; returns those of all columns.
    pub(crate) fn remember(&mut self, tokens: Tensor<2, Int>) -> Tensor<2, Int> {
        let all = match self.tokens.take() {
            Some(seen) => Tensor::cat(vec![seen, tokens], 1),
            None => tokens,
        };
        self.tokens = Some(all.clone());
        all
    }

    /// Forget every key and value, to compute them anew.
    pub(crate) fn rewind(&mut self) {
        self.len = 0;
    }

    /// Count the columns that every layer has just stored.
    pub(crate) fn advance(&mut self, seq: usize) {
        self.len += seq;
    }
}
