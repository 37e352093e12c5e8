//! Attention of a few queries with a running softmax, as `cpu/attention.rs` has it: a cube for each query of each head,
//! a unit for each key of a block, then for each number of what is seen.

use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;
use cubecl::ir::ElemType;
use cubecl::prelude::*;

use super::{UNITS, element, empty, grid};
use crate::kernel::reduce::{max_of_cube, sum_of_cube};

/// The most queries of a row: more are better off with products of matrices.
pub(super) const QUERIES: usize = 8;

/// The longest head.
pub(super) const HEAD: usize = UNITS;

/// How queries look at keys; see [`Seen`](crate::ops::Seen).
#[derive(Clone, Copy, Debug)]
pub(super) struct Look {
    pub(super) window: Option<usize>,
    pub(super) scale: f32,
    pub(super) cap: Option<f32>,
}

/// What `q` `[batch, heads, seq, head_dim]` see of keys and values `[slots, kv_heads, columns, head_dim]`, `[batch, seq,
/// heads * head_dim]`, for `rows` as in [`Placing`](super::place::Placing).
pub(super) fn attention([q, keys, values]: [CubeTensor; 3], rows: CubeTensor, look: Look) -> CubeTensor {
    let ([batch, heads, seq, head_dim], [_, kv_heads, columns, _]) = (q.meta.shape().dims(), keys.meta.shape().dims());
    let out = empty(&q, [batch, seq, heads * head_dim], q.dtype);
    see::launch(
        &q.client,
        grid(batch * seq * heads),
        CubeDim::new_1d(UNITS as u32),
        q.clone().into_tensor_arg(),
        keys.into_tensor_arg(),
        values.into_tensor_arg(),
        into_contiguous(rows).into_buffer_arg(),
        out.clone().into_buffer_arg(),
        heads / kv_heads,
        look.window.unwrap_or(columns).min(columns),
        look.scale,
        look.cap.unwrap_or(1.0),
        look.cap.is_some(),
        element(q.dtype).expect("the caller has asked whether the kernels take it"),
    );
    out
}

#[cube(launch)]
fn see<E: Float>(
    q: &Tensor<E>,
    keys: &Tensor<E>,
    values: &Tensor<E>,
    rows: &[u32],
    out: &mut [E],
    group: usize,
    window: usize,
    scale: f32,
    cap: f32,
    #[comptime] is_capped: bool,
    #[define(E)] _dtype: ElemType,
) {
    let (heads, seq, head_dim) = (q.shape(1), q.shape(2), q.shape(3));
    let (row, new, head) = (CUBE_POS / heads / seq, CUBE_POS / heads % seq, CUBE_POS % heads);
    if row < q.shape(0) {
        let unit = UNIT_POS as usize;
        let slot = rows[3 * row] as usize;
        let end = rows[3 * row + 2] as usize + 1 + new - seq;
        let start = (rows[3 * row + 1] as usize).max(select(end > window, end - window, 0));
        let key_at = slot * keys.stride(0) + head / group * keys.stride(1);
        let value_at = slot * values.stride(0) + head / group * values.stride(1);

        let mut query = Shared::<[f32]>::new_slice(HEAD);
        let mut weights = Shared::<[f32]>::new_slice(UNITS);
        let mut scratch = Shared::<[f32]>::new_slice(UNITS);
        if unit < head_dim {
            let at = row * q.stride(0) + head * q.stride(1) + new * q.stride(2) + unit * q.stride(3);
            query[unit] = f32::cast_from(q[at]) * scale;
        }
        sync_cube();

        // Units that add up the same number of what is seen, each for every so many keys.
        let slices = UNITS / head_dim;
        let (slice, number) = (unit / head_dim, unit % head_dim);
        let mut largest = f32::MIN.runtime();
        let mut sum = 0.0f32;
        let mut seen = 0.0f32;
        let mut first = start;
        while first < end {
            let mut score = f32::MIN.runtime();
            if first + unit < end {
                score = score_of::<E>(&query, keys, key_at + (first + unit) * keys.stride(2), head_dim);
                if comptime!(is_capped) {
                    score = capped(score, cap);
                }
            }
            let before = largest;
            largest = max_of_cube(&mut scratch, score).max(before);
            let weight = if first + unit < end { (score - largest).exp() } else { 0.0f32.runtime() };
            weights[unit] = weight;
            let faded = (before - largest).exp();
            sum = sum * faded + sum_of_cube(&mut scratch, weight);
            seen *= faded;
            if slice < slices {
                let keys_here = (end - first).min(UNITS);
                let mut key = slice;
                while key < keys_here {
                    let at = value_at + (first + key) * values.stride(2) + number * values.stride(3);
                    seen += weights[key] * f32::cast_from(values[at]);
                    key += slices;
                }
            }
            sync_cube();
            first += UNITS;
        }

        scratch[unit] = seen;
        sync_cube();
        if unit < head_dim {
            let total = add_slices(&scratch, slices, head_dim);
            // A query that sees nothing gets zeros.
            let sum = if start < end { sum } else { 1.0f32.runtime() };
            out[(CUBE_POS / heads * heads + head) * head_dim + unit] = E::cast_from(total / sum);
        }
    }
}

/// What the slices of the keys add up to in this unit's number of the head.
#[cube]
fn add_slices(seen: &Shared<[f32]>, slices: usize, head_dim: usize) -> f32 {
    let mut total = 0.0f32;
    for slice in 0..slices {
        total += seen[slice * head_dim + UNIT_POS as usize];
    }
    total
}

/// The score of the key that begins at `at`.
#[cube]
fn score_of<E: Float>(query: &Shared<[f32]>, keys: &Tensor<E>, at: usize, head_dim: usize) -> f32 {
    let mut score = 0.0f32;
    for i in 0..head_dim {
        score += query[i] * f32::cast_from(keys[at + i * keys.stride(3)]);
    }
    score
}

/// `cap tanh(score / cap)`, without the bounds that a GPU may put on what `tanh` takes: they lose what is no number.
#[cube]
fn capped(score: f32, cap: f32) -> f32 {
    let shrunk = (-2.0f32 * (score / cap).abs()).exp();
    let size = cap * (1.0f32 - shrunk) / (1.0f32 + shrunk);
    select(score < 0.0, -size, size)
}
