//! Queries and keys are turned, and keys and values go where a cache has them: a unit for each number.

use burn::tensor::DType;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;
use cubecl::ir::ElemType;
use cubecl::prelude::*;

use super::{UNITS, element, empty, grid};

/// What goes into a cache.
pub(super) struct Placing {
    /// Queries, keys and values, `[batch, seq, heads or kv_heads, head_dim]`.
    pub(super) new: [CubeTensor; 3],
    /// Cosines and sines, the latter negated in the first half, `[batch or 1, 1, seq, rotated]`.
    pub(super) angles: [CubeTensor; 2],
    /// How many numbers of a head are turned.
    pub(super) rotated: usize,
    /// For each row of the batch its row in the cache, its first column and the one behind its last, `[batch, 3]`.
    pub(super) rows: CubeTensor,
    /// Keys and values of all columns, `[slots, kv_heads, columns, head_dim]`.
    pub(super) held: [CubeTensor; 2],
}

/// The turned queries, `[batch, heads, seq, head_dim]`, and the cache, in the same memory if nobody else holds it.
pub(super) fn place(Placing { new, angles, rotated, rows, held }: Placing) -> (CubeTensor, CubeTensor, CubeTensor) {
    let [q, k, v] = new.map(into_contiguous);
    let [cos, sin] = angles.map(into_contiguous);
    assert_eq!([cos.dtype, sin.dtype], [DType::F32; 2], "types of angles");
    let [keys, values] = held.map(|held| match (held.is_contiguous(), held.can_mut()) {
        (true, true) => held,
        // On CUDA a copy may have gaps between its rows.
        (true, false) => into_contiguous(held.copy()),
        (false, _) => into_contiguous(held),
    });
    let ([batch, seq, heads, head_dim], [_, kv_heads, columns, _]) = (q.meta.shape().dims(), keys.meta.shape().dims());
    let turned = empty(&q, [batch, heads, seq, head_dim], q.dtype);
    let numbers = batch * seq * (heads + 2 * kv_heads) * head_dim;
    place_each::launch(
        &q.client,
        grid(numbers.div_ceil(UNITS)),
        CubeDim::new_1d(UNITS as u32),
        q.clone().into_buffer_arg(),
        k.into_buffer_arg(),
        v.into_buffer_arg(),
        cos.clone().into_buffer_arg(),
        sin.into_buffer_arg(),
        into_contiguous(rows).into_buffer_arg(),
        turned.clone().into_buffer_arg(),
        keys.clone().into_buffer_arg(),
        values.clone().into_buffer_arg(),
        batch,
        seq,
        heads,
        kv_heads,
        head_dim,
        columns,
        cos.meta.shape()[0],
        rotated,
        element(q.dtype).expect("the caller has asked whether the kernels take it"),
    );
    (turned, keys, values)
}

#[cube(launch)]
fn place_each<E: Float>(
    q: &[E],
    k: &[E],
    v: &[E],
    cos: &[f32],
    sin: &[f32],
    rows: &[u32],
    turned: &mut [E],
    keys: &mut [E],
    values: &mut [E],
    batch: usize,
    seq: usize,
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    columns: usize,
    angles: usize,
    rotated: usize,
    #[define(E)] _dtype: ElemType,
) {
    let width = (heads + 2 * kv_heads) * head_dim;
    let at = CUBE_POS * UNITS + UNIT_POS as usize;
    let token = at / width;
    if token < batch * seq {
        let (row, new) = (token / seq, token % seq);
        let (head, i) = (at % width / head_dim, at % head_dim);
        let angle = (row.min(angles - 1) * seq + new) * rotated;
        let slot = rows[3 * row] as usize;
        let column = rows[3 * row + 2] as usize - seq + new;
        if head < heads {
            let from = (token * heads + head) * head_dim;
            turned[((row * heads + head) * seq + new) * head_dim + i] = turn::<E>(q, cos, sin, from, angle, i, rotated);
        } else if head < heads + kv_heads {
            let head = head - heads;
            let from = (token * kv_heads + head) * head_dim;
            keys[((slot * kv_heads + head) * columns + column) * head_dim + i] =
                turn::<E>(k, cos, sin, from, angle, i, rotated);
        } else {
            let head = head - heads - kv_heads;
            values[((slot * kv_heads + head) * columns + column) * head_dim + i] =
                v[(token * kv_heads + head) * head_dim + i];
        }
    }
}

/// The number `i` of the head that begins at `from`, turned.
#[cube]
fn turn<E: Float>(x: &[E], cos: &[f32], sin: &[f32], from: usize, angle: usize, i: usize, rotated: usize) -> E {
    let mut value = x[from + i];
    if i < rotated {
        let half = rotated / 2;
        let other = select(i < half, i + half, i - half);
        value = E::cast_from(f32::cast_from(value) * cos[angle + i] + f32::cast_from(x[from + other]) * sin[angle + i]);
    }
    value
}
