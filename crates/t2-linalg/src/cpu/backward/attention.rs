//! The way back through attention, block by block: weights are computed again and never kept.
//!
//! With the weights `P = 2^(s - l)`, where `l` is the logarithm of the sum of `2^s`, and `g` the gradient of `o = P V`:
//! `dL/dV = Pᵀ g`, and for the scores, in units of `e`, `D = P ∘ (g Vᵀ - g·o)`. From there `dL/dQ = D K scale` and
//! `dL/dK = Dᵀ Q scale` (arXiv 2205.14135). A cap multiplies `D` by `1 - tanh²`.

use std::f32::consts::LOG2_E;
use std::ops::Range;

use burn::backend::Flex;
use burn::tensor::Tensor;
use burn_flex::FlexTensor;
use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::super::attention::{Attention, KEYS, Piece, QUERIES, attended, seen_by_any};
use super::super::exponential::{exp2, tanh_of_half_log2};
use super::super::lanes::{arch, vectors_mut};
use super::super::memory::{Held, tensor};
use super::super::multiply::{Matrix, multiply};
use super::{Back, Traced, primitive, record};
use crate::ops::{Rows, Seen};

/// [`attention`](super::super::attention) where every row reads its own keys and values. Its inputs and its result are kept,
/// and a number for each query and head.
pub(in super::super) fn attention(q: Traced<4>, k: &Tensor<4>, v: &Tensor<4>, seen: &Seen<'_>) -> Option<Tensor<3>> {
    let (k, v) = (Traced::of(k)?, Traced::of(v)?);
    if seen.rows.held_in().is_some() {
        return None;
    }
    let [queries, keys, values] = [&q, &k, &v].map(Traced::inner);
    let (out, log_sums) = attended(&queries, &keys, &values, seen)?;
    let &Seen { window, scale, cap, .. } = seen;
    let kept = Kept {
        queries,
        keys,
        values,
        out: out.clone(),
        log_sums,
        ranges: seen.rows.keys().to_vec(),
        window,
        scale,
        cap,
    };
    Some(record([q.0, k.0, v.0], out, kept))
}

#[derive(Clone, Debug)]
struct Kept {
    queries: Tensor<4>,
    keys: Tensor<4>,
    values: Tensor<4>,
    /// `[batch, seq, heads * head_dim]`
    out: Tensor<3>,
    /// `[batch, kv_heads, seq, heads / kv_heads]`
    log_sums: Vec<f32>,
    ranges: Vec<Range<usize>>,
    window: Option<usize>,
    scale: f32,
    cap: Option<f32>,
}

impl Back<3> for Kept {
    fn gradients(self, of_output: FlexTensor, _: [bool; 3]) -> [Option<FlexTensor>; 3] {
        let Self { queries, keys, values, out, log_sums, ranges, window, scale, cap } = &self;
        let rows = Rows::new(ranges.clone(), None);
        let seen = Seen { rows: &rows, window: *window, scale: *scale, cap: *cap };
        let of_output = Tensor::<3>::from_primitive::<Flex>(of_output.to_contiguous());
        let [held_out, held_g] = [out, &of_output].map(|x| Held::of(x).expect("an f32 tensor in main memory"));
        let attention = Attention::of([queries, keys, values], &seen).expect("what attention has read");
        let [out, g] = [&held_out, &held_g].map(|held| held.contiguous().expect("numbers in order"));
        let ([batch, heads, seq, head_dim], [_, kv_heads, columns, _]) =
            (attention.queries.shape, attention.keys.shape);
        let way = Way { attention: &attention, log_sums, out, g, scale: *scale, cap: *cap };
        let pieces: Vec<(usize, usize)> =
            (0..batch).flat_map(|row| (0..kv_heads).map(move |head| (row, head))).collect();
        let (mut of_k, mut of_v) =
            (vec![0.0; batch * kv_heads * columns * head_dim], vec![0.0; batch * kv_heads * columns * head_dim]);
        let parts = of_k.par_chunks_mut(columns * head_dim).zip(of_v.par_chunks_mut(columns * head_dim));
        let done: Vec<Vec<f32>> =
            parts.zip(&pieces).map(|((of_k, of_v), &(row, head))| way.back(row, head, of_k, of_v)).collect();
        let mut of_q = vec![0.0; batch * seq * heads * head_dim];
        let width = attention.group * head_dim;
        for (&(row, head), values) in pieces.iter().zip(&done) {
            for (query, values) in values.chunks(width).enumerate() {
                let at = ((row * seq + query) * kv_heads + head) * width;
                of_q[at..at + width].copy_from_slice(values);
            }
        }
        let of_q = tensor(of_q, [batch, seq, heads, head_dim], queries).swap_dims(1, 2);
        let [of_k, of_v] = [of_k, of_v].map(|values| tensor(values, [batch, kv_heads, columns, head_dim], queries));
        [of_q, of_k, of_v].map(|gradient| Some(primitive(gradient)))
    }
}

/// What is needed on the way back.
struct Way<'a> {
    attention: &'a Attention<'a>,
    log_sums: &'a [f32],
    /// What came out, and its gradient, `[batch, seq, heads * head_dim]` both.
    out: &'a [f32],
    g: &'a [f32],
    scale: f32,
    cap: Option<f32>,
}

impl Way<'_> {
    /// The gradients of all queries of `row` that share the key head `kv_head`, `[seq, group, head_dim]`; those of its keys
    /// and values are added to `of_k` and `of_v`, `[columns, head_dim]`.
    fn back(&self, row: usize, kv_head: usize, of_k: &mut [f32], of_v: &mut [f32]) -> Vec<f32> {
        let [_, _, seq, head_dim] = self.attention.queries.shape;
        let width = self.attention.group * head_dim;
        let mut of_q = vec![0.0; seq * width];
        for (piece, of_q) in of_q.chunks_mut(QUERIES * width).enumerate() {
            let queries = piece * QUERIES..piece * QUERIES + of_q.len() / width;
            self.piece(&Piece { row, kv_head, queries }, [of_q, of_k, of_v]);
        }
        of_q.iter_mut().for_each(|of_q| *of_q *= self.scale);
        // Queries were multiplied by another number than the scale.
        let factor = self.scale / self.attention.factor();
        of_k.iter_mut().for_each(|of_k| *of_k *= factor);
        of_q
    }

    /// Add the gradients of queries, keys and values that `piece` has, but for the scale.
    fn piece(&self, piece: &Piece, [of_q, of_k, of_v]: [&mut [f32]; 3]) {
        let Attention { keys, values, group, .. } = self.attention;
        let [_, _, seq, head_dim] = self.attention.queries.shape;
        let [_, kv_heads, _, _] = keys.shape;
        let scaled = self.attention.scaled(piece);
        let [g, out] = [self.g, self.out].map(|all| self.of_piece(all, piece));
        let rows = scaled.len() / head_dim;
        let [queries, g_rows] =
            [&scaled, &g].map(|values| Matrix { values, rows, columns: head_dim, row: head_dim, column: 1 });
        let along: Vec<f32> = g
            .chunks(head_dim)
            .zip(out.chunks(head_dim))
            .map(|(g, out)| g.iter().zip(out).map(|(g, o)| g * o).sum())
            .collect();
        let first = ((piece.row * kv_heads + piece.kv_head) * seq + piece.queries.start) * group;
        let log_sums = &self.log_sums[first..first + rows];
        let sees: Vec<Range<usize>> =
            piece.queries.clone().map(|query| self.attention.sees(piece.row, query)).collect();
        let Range { start: first, end } = seen_by_any(&sees);
        let (mut weights, mut slopes) = (vec![0.0; rows * KEYS], vec![0.0; rows * KEYS]);
        for start in (first..end).step_by(KEYS) {
            let block = start..end.min(start + KEYS);
            let [keys, values] = [keys, values].map(|held| self.attention.block(held, piece, &block));
            multiply(queries, keys.transposed(), &mut weights, KEYS, false);
            multiply(g_rows, values.transposed(), &mut slopes, KEYS, false);
            let parts = Parts { weights: &mut weights, slopes: &mut slopes, log_sums, along: &along };
            arch().dispatch(Slopes { parts, block: block.clone(), sees: &sees, group: *group, cap: self.cap });
            let [weights, slopes] =
                [&weights, &slopes].map(|values| Matrix { values, rows, columns: block.len(), row: KEYS, column: 1 });
            let of_block = start * head_dim..block.end * head_dim;
            multiply(weights.transposed(), g_rows, &mut of_v[of_block.clone()], head_dim, true);
            multiply(slopes.transposed(), queries, &mut of_k[of_block], head_dim, true);
            multiply(slopes, keys, of_q, head_dim, true);
        }
    }

    /// What `piece` has of `all`, `[batch, seq, heads * head_dim]`: `[queries, group, head_dim]`.
    fn of_piece(&self, all: &[f32], piece: &Piece) -> Vec<f32> {
        let ([_, _, seq, head_dim], [_, kv_heads, _, _]) = (self.attention.queries.shape, self.attention.keys.shape);
        let width = self.attention.group * head_dim;
        let at = |query| ((piece.row * seq + query) * kv_heads + piece.kv_head) * width;
        let mut of_piece = Vec::with_capacity(piece.queries.len() * width);
        piece.queries.clone().for_each(|query| of_piece.extend_from_slice(&all[at(query)..at(query) + width]));
        of_piece
    }
}

/// What a block of keys has for each query of each head.
struct Parts<'a> {
    /// Scores, which become weights, [`KEYS`] numbers each.
    weights: &'a mut [f32],
    /// Gradients of the weights, which become those of the scores, [`KEYS`] numbers each.
    slopes: &'a mut [f32],
    log_sums: &'a [f32],
    /// The gradient of the result along the result.
    along: &'a [f32],
}

/// Turns the scores of a block into weights, and the gradients of the weights into those of the scores.
struct Slopes<'a> {
    parts: Parts<'a>,
    block: Range<usize>,
    /// The columns that each query sees.
    sees: &'a [Range<usize>],
    group: usize,
    cap: Option<f32>,
}

impl WithSimd for Slopes<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { parts: Parts { weights, slopes, log_sums, along }, block, sees, group, cap } = self;
        let rows = weights.chunks_mut(KEYS).zip(slopes.chunks_mut(KEYS)).zip(log_sums.iter().zip(along));
        for (row, ((weights, slopes), (log_sum, along))) in rows.enumerate() {
            let sees = &sees[row / group];
            let [first, end] = [sees.start, sees.end].map(|column| column.clamp(block.start, block.end) - block.start);
            if first >= end {
                weights.fill(0.0);
                slopes.fill(0.0);
                continue;
            }
            let [from, to] = [first - first % S::F32_LANES, end.next_multiple_of(S::F32_LANES)];
            {
                let (weights, _) = vectors_mut::<S>(&mut weights[from..to]);
                let (slopes, _) = vectors_mut::<S>(&mut slopes[from..to]);
                slopes_of(simd, weights, slopes, [*log_sum, *along], cap);
            }
            for values in [weights, slopes] {
                values[..first].fill(0.0);
                values[end..].fill(0.0);
            }
        }
    }
}

/// For the scores of a query, in powers of two or as the cap has them, and the gradients of their weights.
#[inline(always)]
fn slopes_of<S: Simd>(
    simd: S,
    weights: &mut [S::f32s],
    slopes: &mut [S::f32s],
    [log_sum, along]: [f32; 2],
    cap: Option<f32>,
) {
    let [log_sum, along, one] = [log_sum, along, 1.0].map(|value| simd.splat_f32s(value));
    for (weight, slope) in weights.iter_mut().zip(slopes) {
        let (score, bend) = match cap {
            None => (*weight, one),
            Some(cap) => {
                let tanh = tanh_of_half_log2(simd, *weight);
                (simd.mul_f32s(tanh, simd.splat_f32s(cap * LOG2_E)), simd.sub_f32s(one, simd.mul_f32s(tanh, tanh)))
            }
        };
        // Scores of what is hidden may exceed the sum; what becomes of them is cleared.
        let power = exp2(simd, simd.sub_f32s(score, log_sum));
        *weight = power;
        *slope = simd.mul_f32s(simd.mul_f32s(power, bend), simd.sub_f32s(*slope, along));
    }
}
