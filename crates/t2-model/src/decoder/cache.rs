//! Keys and values of the tokens already seen, in buffers allocated once.

use std::ops::Range;

use burn::prelude::*;
use burn::tensor::IndexingUpdateOp;
use t2_linalg::ops::{self, New, Rows};

use super::LmShape;
use super::rope::{Rotation, turned};

/// Preallocated keys and values.
///
/// The rows of a pass either share their columns, or each has a slot of its own. In the first case rows of different
/// lengths are padded on the left, so that every row's next token lands in the same column. In the second, a row goes on
/// where its slot ends, and [`place`](Self::place) says before each pass which slots its rows are.
#[derive(Clone, Debug)]
pub struct KvCache {
    /// Keys and values of each layer, `[slots, kv_heads, capacity, head_dim]`.
    layers: Vec<Option<(Tensor<4>, Tensor<4>)>>,
    /// The tokens of every column, `[batch, len]`, where the model must be able to read them anew.
    tokens: Option<Tensor<2, Int>>,
    /// Number of padding columns on the left of each row.
    pad: Vec<usize>,
    /// Columns filled so far.
    len: usize,
    capacity: usize,
    /// Where the rows of the next pass are, if each has a slot.
    placed: Option<Placed>,
}

/// A row of the next pass that has a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The slot.
    pub slot: usize,
    /// How many tokens of the row the slot holds, from its first column on.
    pub start: usize,
    /// How long the row is once all its tokens that are known are read; the same for every piece of a prompt. Some
    /// encodings of positions go by it.
    pub len: usize,
}

/// Where the rows of a pass are.
#[derive(Clone, Debug)]
struct Placed {
    rows: Vec<Place>,
    /// Where the keys and values of the pass go, for buffers of `[slots * kv_heads * capacity, head_dim]`.
    index: Option<Tensor<1, Int>>,
}

impl KvCache {
    /// Room for `capacity` columns of `pad.len()` rows, row `b` starting with `pad[b]` padding tokens.
    pub fn new(shape: LmShape, pad: Vec<usize>, capacity: usize) -> Self {
        Self { layers: vec![None; shape.layers], tokens: None, pad, len: 0, capacity, placed: None }
    }

    /// Room for `capacity` tokens in each of `slots` slots.
    pub fn of_slots(shape: LmShape, slots: usize, capacity: usize) -> Self {
        Self::new(shape, vec![0; slots], capacity)
    }

    /// Columns filled so far, padding included; rows in slots, whose lengths only their owner knows, are not counted.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True before the first forward pass, and always for rows in slots.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Padding columns on the left of each row, `[batch]`.
    pub fn pad(&self) -> &[usize] {
        &self.pad
    }

    /// How many slots there are.
    pub fn slots(&self) -> usize {
        self.pad.len()
    }

    /// How many columns there is room for.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Keep only `rows`, in that order: finished sequences leave the batch.
    pub fn select(&mut self, rows: &[usize], device: &Device) {
        let index = indices(rows, device);
        for (k, v) in self.layers.iter_mut().flatten() {
            *k = k.clone().select(0, index.clone());
            *v = v.clone().select(0, index.clone());
        }
        self.tokens = self.tokens.take().map(|tokens| tokens.select(0, index));
        self.pad = rows.iter().map(|&row| self.pad[row]).collect();
    }

    /// The rows of the next pass, each in a slot of its own; before every pass.
    ///
    /// # Panics
    ///
    /// When there is no such slot, or two rows have the same.
    pub fn place(&mut self, rows: Vec<Place>) {
        let mut slots: Vec<usize> = rows.iter().map(|row| row.slot).collect();
        slots.sort_unstable();
        assert!(slots.windows(2).all(|pair| pair[0] < pair[1]), "a slot for each row: {rows:?}");
        assert!(slots.last().is_none_or(|&slot| slot < self.slots()), "{} slots: {rows:?}", self.slots());
        self.placed = Some(Placed { rows, index: None });
    }

    /// Make room for `slots` slots of `capacity` columns, and no less than there is. What slots hold stays.
    pub fn grow(&mut self, slots: usize, capacity: usize) {
        let (slots, capacity) = (slots.max(self.slots()), capacity.max(self.capacity));
        if (slots, capacity) == (self.slots(), self.capacity) {
            return;
        }
        self.change(|buffer| {
            let [old_slots, kv_heads, old_capacity, head_dim] = buffer.dims();
            let larger = Tensor::zeros([slots, kv_heads, capacity, head_dim], (&buffer.device(), buffer.dtype()));
            larger.slice_assign([0..old_slots, 0..kv_heads, 0..old_capacity, 0..head_dim], buffer)
        });
        self.pad.resize(slots, 0);
        self.capacity = capacity;
    }

    /// Copy the first `len` columns of the slot `from` to the slot `to`.
    pub fn copy(&mut self, from: usize, to: usize, len: usize) {
        self.change(|buffer| {
            let [_, kv_heads, _, head_dim] = buffer.dims();
            // A selection is a copy, where a slice would share the buffer and keep it from changing in its place. What is
            // selected from is no larger than what is copied: all of it is read.
            let columns = buffer.clone().slice([from..from + 1, 0..kv_heads, 0..len, 0..head_dim]);
            let columns = columns.select(0, indices(&[0], &buffer.device()));
            buffer.slice_assign([to..to + 1, 0..kv_heads, 0..len, 0..head_dim], columns)
        });
    }

    /// Fill the slot `slot` with zeros: what is no number there would reach whoever is placed in it, hidden or not.
    pub fn clear(&mut self, slot: usize) {
        self.change(|buffer| {
            let [_, kv_heads, capacity, head_dim] = buffer.dims();
            let zeros = Tensor::zeros([1, kv_heads, capacity, head_dim], (&buffer.device(), buffer.dtype()));
            buffer.slice_assign([slot..slot + 1, 0..kv_heads, 0..capacity, 0..head_dim], zeros)
        });
    }

    /// Put `change` of every buffer in its place. A buffer has no other owner meanwhile, so that it may change where it is.
    fn change(&mut self, change: impl Fn(Tensor<4>) -> Tensor<4>) {
        for layer in &mut self.layers {
            *layer = layer.take().map(|(k, v)| (change(k), change(v)));
        }
    }

    /// Where the rows of the next pass are: for each, the columns of `seq` new tokens and the first that is no padding.
    pub(crate) fn spans(&self, seq: usize) -> Vec<Span> {
        match &self.placed {
            Some(placed) => placed.rows.iter().map(|row| Span { first: 0, start: row.start, len: row.len }).collect(),
            None => {
                self.pad.iter().map(|&pad| Span { first: pad, start: self.len, len: self.len + seq - pad }).collect()
            }
        }
    }

    /// The slots of the rows of the next pass, where each has one.
    pub(crate) fn placed_in(&self) -> Option<Vec<usize>> {
        self.placed.as_ref().map(|placed| placed.rows.iter().map(|row| row.slot).collect())
    }

    /// Turn queries and keys of new tokens, and store keys and values as those of `layer`. Takes the three as `[batch, seq,
    /// heads or kv_heads, head_dim]`. Returns the queries, `[batch, heads, seq, head_dim]`, and the whole buffers of keys and
    /// values, `[slots, kv_heads, capacity, head_dim]`; `rows` says which slot and which columns belong to each row.
    pub(crate) fn append(
        &mut self,
        layer: usize,
        new: [Tensor<4>; 3],
        rotation: Option<&Rotation>,
        rows: &Rows,
    ) -> [Tensor<4>; 3] {
        let [batch, seq, kv_heads, head_dim] = new[1].dims();
        let columns = self.columns(seq);
        let (slots, capacity, device, dtype) = (self.slots(), self.capacity, new[1].device(), new[1].dtype());
        assert!(columns.end <= capacity, "cache of {capacity} columns cannot hold {}", columns.end);
        let empty = || Tensor::zeros([slots, kv_heads, capacity, head_dim], (&device, dtype));
        let (all_k, all_v) = self.layers[layer].take().unwrap_or_else(|| (empty(), empty()));
        let [q, all_k, all_v] = if ops::places(&device, dtype) {
            let ([queries, keys, values], angles) = (new, rotation.map(Rotation::angles));
            let placed = ops::placed(New { queries, keys, values, angles, rows, held: [all_k, all_v] });
            let [all_k, all_v] = placed.held;
            [placed.queries, all_k, all_v]
        } else {
            let [q, k, v] = turned(new, rotation);
            match &mut self.placed {
                None => {
                    let range = [0..batch, 0..kv_heads, columns, 0..head_dim];
                    [q, all_k.slice_assign(range.clone(), k), all_v.slice_assign(range, v)]
                }
                Some(placed) => {
                    let index = placed.index([batch, kv_heads, seq], capacity, &device);
                    [q, scattered(all_k, k, index.clone()), scattered(all_v, v, index)]
                }
            }
        };
        self.layers[layer] = Some((all_k.clone(), all_v.clone()));
        [q, all_k, all_v]
    }

    /// The columns that the next `seq` tokens take, of any row.
    fn columns(&self, seq: usize) -> Range<usize> {
        match &self.placed {
            None => self.len..self.len + seq,
            Some(placed) => {
                let starts = placed.rows.iter().map(|row| row.start);
                starts.clone().min().unwrap_or(0)..starts.max().unwrap_or(0) + seq
            }
        }
    }

    /// Whether `seq` more columns make a row longer than `limit` tokens of which some were read while it was not. Rows
    /// in slots are read anew by whoever places them.
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

    /// Whether the rows of the pass have slots.
    pub(crate) fn is_placed(&self) -> bool {
        self.placed.is_some()
    }

    /// Forget every key and value, to compute them anew.
    pub(crate) fn rewind(&mut self) {
        self.len = 0;
    }

    /// Count the columns that every layer has just stored, where all rows share them.
    pub(crate) fn advance(&mut self, seq: usize) {
        if !self.is_placed() {
            self.len += seq;
        }
    }
}

/// The columns of a row in a pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    /// The first column that is no padding.
    pub(crate) first: usize,
    /// The first of the new columns.
    pub(crate) start: usize,
    /// How long the row is, for encodings of positions that go by it.
    pub(crate) len: usize,
}

impl Placed {
    /// Where `[batch, kv_heads, seq]` keys go in a buffer of slots of `capacity` columns, one after the other.
    fn index(&mut self, [_, kv_heads, seq]: [usize; 3], capacity: usize, device: &Device) -> Tensor<1, Int> {
        let rows = &self.rows;
        let all = || {
            let of_head = |row: &Place, head| (row.slot * kv_heads + head) * capacity + row.start;
            let starts = rows.iter().flat_map(|row| (0..kv_heads).map(move |head| of_head(row, head)));
            indices(&starts.flat_map(|start| start..start + seq).collect::<Vec<_>>(), device)
        };
        self.index.get_or_insert_with(all).clone()
    }
}

/// `all` `[slots, kv_heads, capacity, head_dim]` with `new` `[batch, kv_heads, seq, head_dim]` at the places of `index`.
fn scattered(all: Tensor<4>, new: Tensor<4>, index: Tensor<1, Int>) -> Tensor<4> {
    let [slots, kv_heads, capacity, head_dim] = all.dims();
    let [batch, _, seq, _] = new.dims();
    let flat = all.reshape([slots * kv_heads * capacity, head_dim]);
    let new = new.reshape([batch * kv_heads * seq, head_dim]);
    flat.select_assign(0, index, new, IndexingUpdateOp::Assign).reshape([slots, kv_heads, capacity, head_dim])
}

/// `values` on `device`, to pick rows by.
pub(crate) fn indices(values: &[usize], device: &Device) -> Tensor<1, Int> {
    let values: Vec<i64> = values.iter().map(|&value| value as i64).collect();
    Tensor::from_data(values.as_slice(), device)
}
