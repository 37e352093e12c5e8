//! Attention block by block, with a running softmax: scores are never kept, and what is hidden from all queries of a piece
//! is never read.
//!
//! For the keys of one block after the other, with scores `s` in powers of two and `m` the largest so far,
//! `p = 2^(s - m')`, `l ← l 2^(m - m') + Σ p`, `o ← o 2^(m - m') + p V`, where `m'` is the largest now; at the end the
//! result is `o / l` (arXiv 2205.14135).

use std::f32::consts::LOG2_E;
use std::ops::Range;

use burn::tensor::Tensor;
use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::backward;
use super::exponential::{exp2, tanh_of_half_log2};
use super::lanes::{arch, vectors_mut};
use super::memory::{Held, tensor};
use super::multiply::{Matrix, multiply};
use crate::ops::Seen;

/// Queries of a head that are one piece of work.
pub(super) const QUERIES: usize = 64;

/// Keys whose scores are computed at a time.
pub(super) const KEYS: usize = 256;

/// The fewest products of a query and a key that are worth a second core.
const WORTH_SHARING: usize = 1 << 10;

/// See [`crate::ops::attention`].
pub(crate) fn attention(q: &Tensor<4>, k: &Tensor<4>, v: &Tensor<4>, seen: &Seen<'_>) -> Option<Tensor<3>> {
    if let Some(q) = backward::Traced::of(q) {
        return backward::attention(q, k, v, seen);
    }
    attended(q, k, v, seen).map(|(out, _)| out)
}

/// As [`attention`], with the logarithm of the sum of `2^score` of every query, `[batch, kv_heads, seq, heads / kv_heads]`.
pub(super) fn attended(q: &Tensor<4>, k: &Tensor<4>, v: &Tensor<4>, seen: &Seen<'_>) -> Option<(Tensor<3>, Vec<f32>)> {
    let attention = Attention::of([q, k, v], seen)?;
    let ([batch, heads, seq, head_dim], [_, kv_heads, _, _]) = (attention.queries.shape, attention.keys.shape);
    let columns = seen.rows.columns();
    let pieces = attention.pieces();
    let done: Vec<(Vec<f32>, Vec<f32>)> = if batch * heads * seq * columns < WORTH_SHARING {
        pieces.iter().map(|piece| attention.piece(piece)).collect()
    } else {
        pieces.par_iter().map(|piece| attention.piece(piece)).collect()
    };
    let (mut out, mut log_sums) = (vec![0.0; batch * seq * heads * head_dim], vec![0.0; batch * seq * heads]);
    let (group, width) = (attention.group, attention.group * head_dim);
    for (piece, (values, of_piece)) in pieces.iter().zip(&done) {
        for (query, values) in piece.queries.clone().zip(values.chunks(width)) {
            let at = ((piece.row * seq + query) * kv_heads + piece.kv_head) * width;
            out[at..at + width].copy_from_slice(values);
        }
        let at = ((piece.row * kv_heads + piece.kv_head) * seq + piece.queries.start) * group;
        log_sums[at..at + of_piece.len()].copy_from_slice(of_piece);
    }
    Some((tensor(out, [batch, seq, heads * head_dim], q), log_sums))
}

pub(super) struct Attention<'a> {
    pub(super) queries: Held<4>,
    pub(super) keys: Held<4>,
    pub(super) values: Held<4>,
    seen: &'a Seen<'a>,
    /// Query heads that share a key head.
    pub(super) group: usize,
}

/// Some queries of all heads that share a key head.
pub(super) struct Piece {
    pub(super) row: usize,
    pub(super) kv_head: usize,
    pub(super) queries: Range<usize>,
}

/// What is known of a query after some blocks of keys: the largest score and the sum of all weights.
#[derive(Clone, Copy)]
struct Running {
    largest: f32,
    sum: f32,
}

impl<'a> Attention<'a> {
    /// `None` where a tensor is not held in rows.
    pub(super) fn of([q, k, v]: [&Tensor<4>; 3], seen: &'a Seen<'a>) -> Option<Self> {
        let (queries, keys, values) = (Held::in_rows(q)?, Held::in_rows(k)?, Held::in_rows(v)?);
        let group = queries.shape[1] / keys.shape[1];
        Some(Self { queries, keys, values, seen, group })
    }

    fn pieces(&self) -> Vec<Piece> {
        let ([batch, _, seq, _], kv_heads) = (self.queries.shape, self.keys.shape[1]);
        // The last queries see most, and are begun with.
        let firsts: Vec<usize> = (0..seq).step_by(QUERIES).rev().collect();
        let piece = |row, first: usize| {
            (0..kv_heads).map(move |kv_head| Piece { row, kv_head, queries: first..seq.min(first + QUERIES) })
        };
        firsts.iter().flat_map(|&first| (0..batch).flat_map(move |row| piece(row, first))).collect()
    }

    /// The columns that `query` of `row` sees.
    pub(super) fn sees(&self, row: usize, query: usize) -> Range<usize> {
        let keys = self.seen.rows.keys();
        let Range { start, end } = keys[row.min(keys.len() - 1)].clone();
        let end = end + query + 1 - self.queries.shape[2];
        let first = self.seen.window.map_or(0, |window| end.saturating_sub(window));
        start.max(first)..end
    }

    /// The results of `piece`, `[queries, group, head_dim]`, and the logarithms of their sums of weights.
    fn piece(&self, piece: &Piece) -> (Vec<f32>, Vec<f32>) {
        let (group, head_dim) = (self.group, self.queries.shape[3]);
        let queries = self.scaled(piece);
        let rows = queries.len() / head_dim;
        let queries = Matrix { values: &queries, rows, columns: head_dim, row: head_dim, column: 1 };
        let mut out = vec![0.0; rows * head_dim];
        let mut running = vec![Running { largest: f32::NEG_INFINITY, sum: 0.0 }; rows];
        let mut scores = vec![0.0; rows * KEYS];
        let sees: Vec<Range<usize>> = piece.queries.clone().map(|query| self.sees(piece.row, query)).collect();
        let Range { start: first, end } = seen_by_any(&sees);
        for start in (first..end).step_by(KEYS) {
            let block = start..end.min(start + KEYS);
            let (keys, values) = (self.block(&self.keys, piece, &block), self.block(&self.values, piece, &block));
            multiply(queries, keys.transposed(), &mut scores, KEYS, false);
            let cap = self.seen.cap.map(|cap| cap * LOG2_E);
            let parts = Parts { scores: &mut scores, running: &mut running, out: &mut out };
            arch().dispatch(Softmax { parts, block: block.clone(), sees: &sees, group, cap });
            let weights = Matrix { values: &scores, rows, columns: block.len(), row: KEYS, column: 1 };
            multiply(weights, values, &mut out, head_dim, true);
        }
        for (out, running) in out.chunks_mut(head_dim).zip(&running) {
            let factor = if running.sum == 0.0 { 0.0 } else { running.sum.recip() };
            out.iter_mut().for_each(|out| *out *= factor);
        }
        let log_sums = running.iter().map(|running| running.largest + running.sum.log2()).collect();
        (out, log_sums)
    }

    /// What queries are multiplied by.
    pub(super) fn factor(&self) -> f32 {
        match self.seen.cap {
            None => self.seen.scale * LOG2_E,
            Some(cap) => self.seen.scale / cap * 2.0 * LOG2_E,
        }
    }

    /// The queries of `piece`, `[queries, group, head_dim]`, multiplied by what makes of their scores powers of two, or
    /// fractions of the cap in halves of powers of two.
    pub(super) fn scaled(&self, piece: &Piece) -> Vec<f32> {
        let [_, _, _, head_dim] = self.queries.shape;
        let [row, head, query, _] = self.queries.strides;
        let factor = self.factor();
        let heads = piece.kv_head * self.group..(piece.kv_head + 1) * self.group;
        let mut scaled = Vec::with_capacity(piece.queries.len() * self.group * head_dim);
        for (q, h) in piece.queries.clone().flat_map(|q| heads.clone().map(move |h| (q, h))) {
            let run = &self.queries.values()[piece.row * row + h * head + q * query..][..head_dim];
            scaled.extend(run.iter().map(|x| x * factor));
        }
        scaled
    }

    /// The columns of `block` in `held`, keys or values, for the row and head of `piece`, `[block, head_dim]`.
    pub(super) fn block<'h>(&self, held: &'h Held<4>, piece: &Piece, block: &Range<usize>) -> Matrix<'h> {
        let ([_, _, _, head_dim], [row, head, column, _]) = (held.shape, held.strides);
        let of = self.seen.rows.held_in().map_or(piece.row, |rows| rows[piece.row]);
        let values = &held.values()[of * row + piece.kv_head * head + block.start * column..];
        Matrix { values, rows: block.len(), columns: head_dim, row: column, column: 1 }
    }
}

/// The columns that one query or another sees.
pub(super) fn seen_by_any(sees: &[Range<usize>]) -> Range<usize> {
    let seen = sees.iter().filter(|sees| !sees.is_empty());
    seen.clone().map(|sees| sees.start).min().unwrap_or(0)..seen.map(|sees| sees.end).max().unwrap_or(0)
}

/// What a block of keys changes, a part for each query of each head.
struct Parts<'a> {
    /// Scores, which become weights, [`KEYS`] numbers each.
    scores: &'a mut [f32],
    running: &'a mut [Running],
    /// What was seen so far.
    out: &'a mut [f32],
}

/// Turns the scores of a block into weights.
struct Softmax<'a> {
    parts: Parts<'a>,
    block: Range<usize>,
    /// The columns that each query sees.
    sees: &'a [Range<usize>],
    group: usize,
    /// The cap, in powers of two.
    cap: Option<f32>,
}

impl WithSimd for Softmax<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { parts: Parts { scores, running, out }, block, sees, group, cap } = self;
        let head_dim = out.len() / running.len();
        let rows = scores.chunks_mut(KEYS).zip(running).zip(out.chunks_mut(head_dim));
        for (row, ((scores, running), out)) in rows.enumerate() {
            let sees = &sees[row / group];
            let [first, end] = [sees.start, sees.end].map(|column| column.clamp(block.start, block.end) - block.start);
            if first >= end {
                scores.fill(0.0);
                continue;
            }
            // Whole vectors, in which the columns that are not seen weigh nothing.
            let [from, to] = [first - first % S::F32_LANES, end.next_multiple_of(S::F32_LANES)];
            if let Some(cap) = cap {
                let cap = simd.splat_f32s(cap);
                let (scores, _) = vectors_mut::<S>(&mut scores[from..to]);
                scores.iter_mut().for_each(|score| *score = simd.mul_f32s(tanh_of_half_log2(simd, *score), cap));
            }
            scores[..from].fill(0.0);
            scores[from..first].fill(f32::NEG_INFINITY);
            scores[end..to].fill(f32::NEG_INFINITY);
            scores[to..].fill(0.0);
            let (scores, _) = vectors_mut::<S>(&mut scores[from..to]);
            let faded = running.take(simd, scores);
            if faded != 1.0 {
                out.iter_mut().for_each(|out| *out *= faded);
            }
        }
    }
}

impl Running {
    /// Turns scores into weights; returns what all weights before are multiplied by.
    #[inline(always)]
    fn take<S: Simd>(&mut self, simd: S, scores: &mut [S::f32s]) -> f32 {
        let start = simd.splat_f32s(self.largest);
        let largest = simd.reduce_max_f32s(scores.iter().fold(start, |largest, score| simd.max_f32s(largest, *score)));
        let (shift, mut sum) = (simd.splat_f32s(largest), simd.splat_f32s(0.0));
        for score in scores {
            *score = exp2(simd, simd.sub_f32s(*score, shift));
            sum = simd.add_f32s(sum, *score);
        }
        // Nothing came before the first block that is seen, and infinity less infinity is no number.
        let faded = if self.sum == 0.0 { 1.0 } else { (self.largest - largest).exp2() };
        *self = Self { largest, sum: self.sum * faded + simd.reduce_sum_f32s(sum) };
        faded
    }
}
