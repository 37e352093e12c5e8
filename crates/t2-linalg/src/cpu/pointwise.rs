//! Norms, gates and rotations: each reads its input once and writes its output once.

use std::f32::consts::LOG2_E;

use burn::tensor::Tensor;
use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::backward;
use super::exponential::sigmoid_of_log2;
use super::lanes::{arch, vectors, vectors_mut};
use super::memory::{Held, tensor};
use crate::ops::Gate;

/// Numbers that a core works on at a time; fewer are not worth a second core.
const NUMBERS: usize = 1 << 14;

/// Calls `work` with chunks of the `out` numbers, whole runs of `run` of them, and where each begins; on all cores.
pub(super) fn in_chunks(out: &mut [f32], run: usize, work: impl Fn(usize, &mut [f32]) + Sync) {
    let chunk = (NUMBERS / run).max(1) * run;
    if out.len() <= chunk {
        return work(0, out);
    }
    out.par_chunks_mut(chunk).enumerate().for_each(|(i, out)| work(i * chunk, out));
}

/// As [`in_chunks`], for two results of as many numbers each.
pub(super) fn in_two_chunks(a: &mut [f32], b: &mut [f32], work: impl Fn(usize, &mut [f32], &mut [f32]) + Sync) {
    if a.len() <= NUMBERS {
        return work(0, a, b);
    }
    let chunks = a.par_chunks_mut(NUMBERS).zip(b.par_chunks_mut(NUMBERS));
    chunks.enumerate().for_each(|(i, (a, b))| work(i * NUMBERS, a, b));
}

/// See [`crate::ops::rms_norm`].
pub(crate) fn rms_norm<const D: usize>(x: &Tensor<D>, gamma: &Tensor<1>, eps: f64) -> Option<Tensor<D>> {
    if let Some(x) = backward::Traced::of(x) {
        return backward::rms_norm(x, gamma, eps);
    }
    let (held, gains) = (Held::of(x)?, Held::of(gamma)?);
    let (values, gamma) = (held.contiguous()?, gains.contiguous()?);
    assert_eq!(gamma.len(), held.shape[D - 1], "gains of a norm");
    let mut out = vec![0.0; values.len()];
    in_chunks(&mut out, gamma.len(), |at, out| {
        arch().dispatch(Norm { x: &values[at..at + out.len()], gamma, eps: eps as f32, out });
    });
    Some(tensor(out, held.shape, x))
}

struct Norm<'a> {
    x: &'a [f32],
    gamma: &'a [f32],
    eps: f32,
    out: &'a mut [f32],
}

impl WithSimd for Norm<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let width = self.gamma.len();
        let (gamma, gamma_rest) = vectors::<S>(self.gamma);
        for (x, out) in self.x.chunks(width).zip(self.out.chunks_mut(width)) {
            let ((x, x_rest), (out, out_rest)) = (vectors::<S>(x), vectors_mut::<S>(out));
            let squares = x.iter().fold(simd.splat_f32s(0.0), |sum, x| simd.mul_add_e_f32s(*x, *x, sum));
            let squares = simd.reduce_sum_f32s(squares) + x_rest.iter().map(|x| x * x).sum::<f32>();
            let factor = (squares / width as f32 + self.eps).sqrt().recip();
            let splat = simd.splat_f32s(factor);
            for (out, (x, gamma)) in out.iter_mut().zip(x.iter().zip(gamma)) {
                *out = simd.mul_f32s(simd.mul_f32s(*x, splat), *gamma);
            }
            for (out, (x, gamma)) in out_rest.iter_mut().zip(x_rest.iter().zip(gamma_rest)) {
                *out = x * factor * gamma;
            }
        }
    }
}

/// See [`crate::ops::gated`].
pub(crate) fn gated<const D: usize>(gate: &Tensor<D>, up: &Tensor<D>, f: Gate) -> Option<Tensor<D>> {
    if let Some(gate) = backward::Traced::of(gate) {
        return backward::gated(gate, up, f);
    }
    let (held, held_up) = (Held::of(gate)?, Held::of(up)?);
    let (values, up) = (held.contiguous()?, held_up.contiguous()?);
    assert_eq!(held.shape, held_up.shape, "shapes of a gate and what goes through it");
    let mut out = vec![0.0; values.len()];
    in_chunks(&mut out, 1, |at, out| {
        let (x, up) = (&values[at..at + out.len()], &up[at..at + out.len()]);
        arch().dispatch(Gated { x, up, f, out });
    });
    Some(tensor(out, held.shape, gate))
}

struct Gated<'a> {
    x: &'a [f32],
    up: &'a [f32],
    f: Gate,
    out: &'a mut [f32],
}

impl WithSimd for Gated<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { x, up, f, out } = self;
        let ((x, x_rest), (up, up_rest), (out, out_rest)) = (vectors::<S>(x), vectors::<S>(up), vectors_mut::<S>(out));
        for (out, (x, up)) in out.iter_mut().zip(x.iter().zip(up)) {
            *out = gate(simd, f, *x, *up);
        }
        if !x_rest.is_empty() {
            let rest = gate(simd, f, simd.partial_load_f32s(x_rest), simd.partial_load_f32s(up_rest));
            simd.partial_store_f32s(out_rest, rest);
        }
    }
}

#[inline(always)]
fn gate<S: Simd>(simd: S, f: Gate, x: S::f32s, up: S::f32s) -> S::f32s {
    let (log2, _) = argument(simd, f, x);
    simd.mul_f32s(simd.mul_f32s(x, sigmoid_of_log2(simd, log2)), up)
}

/// What the logistic function is taken of in a gate, in powers of two, and its slope in `x`.
#[inline(always)]
pub(super) fn argument<S: Simd>(simd: S, f: Gate, x: S::f32s) -> (S::f32s, S::f32s) {
    match f {
        Gate::Silu => (simd.mul_f32s(x, simd.splat_f32s(LOG2_E)), simd.splat_f32s(1.0)),
        Gate::GeluTanh => {
            // (1 + tanh(y)) / 2 = sigmoid(2 y) for y = √(2 / π) (x + 0.044715 x³)
            let scale = 2.0 * std::f32::consts::FRAC_2_SQRT_PI * std::f32::consts::FRAC_1_SQRT_2;
            let cubic = 0.044_715 * scale;
            let square = simd.mul_f32s(x, x);
            let factor = simd.mul_add_f32s(square, simd.splat_f32s(cubic * LOG2_E), simd.splat_f32s(scale * LOG2_E));
            // The gate stays open or shut long before this bound, and zero times infinity is no number.
            let square = simd.min_f32s(simd.splat_f32s(LARGE), square);
            let slope = simd.mul_add_f32s(square, simd.splat_f32s(3.0 * cubic), simd.splat_f32s(scale));
            (simd.mul_f32s(x, factor), slope)
        }
    }
}

/// The square of a number beyond which a gate is open or shut to rounding.
const LARGE: f32 = 1e6;

/// See [`crate::ops::rotated`].
pub(crate) fn rotated(x: &Tensor<4>, cos: &Tensor<4>, signed_sin: &Tensor<4>) -> Option<Tensor<4>> {
    if let Some(x) = backward::Traced::of(x) {
        return backward::rotated(x, cos, signed_sin);
    }
    let (held, cosines, sines) = (Held::in_rows(x)?, Held::of(cos)?, Held::of(signed_sin)?);
    let (cos, sin) = (cosines.contiguous()?, sines.contiguous()?);
    let [batch, heads, seq, head_dim] = held.shape;
    let [angles, _, _, rotated] = cosines.shape;
    assert!([1, batch].contains(&angles), "{batch} rows, {angles} of angles");
    assert_eq!((cosines.shape, cosines.shape[2]), (sines.shape, seq), "shapes of cosines, sines and what is turned");
    let [row, head, query, _] = held.strides;
    let mut out = vec![0.0; batch * seq * heads * head_dim];
    in_chunks(&mut out, heads * head_dim, |at, out| {
        for (i, token) in out.chunks_mut(heads * head_dim).enumerate() {
            let token_at = at / (heads * head_dim) + i;
            let (b, s) = (token_at / seq, token_at % seq);
            let angle = (b.min(angles - 1) * seq + s) * rotated;
            let (cos, sin) = (&cos[angle..angle + rotated], &sin[angle..angle + rotated]);
            for (h, out) in token.chunks_mut(head_dim).enumerate() {
                turn(&held.values()[b * row + h * head + s * query..][..head_dim], cos, sin, out);
            }
        }
    });
    Some(tensor(out, [batch, seq, heads, head_dim], x).swap_dims(1, 2))
}

/// One head of one token.
fn turn(x: &[f32], cos: &[f32], sin: &[f32], out: &mut [f32]) {
    let half = cos.len() / 2;
    let ((first, second), (out_first, rest)) = (x[..2 * half].split_at(half), out.split_at_mut(half));
    let ((cos_first, cos_second), (sin_first, sin_second)) = (cos.split_at(half), sin.split_at(half));
    for i in 0..half {
        out_first[i] = first[i] * cos_first[i] + second[i] * sin_first[i];
    }
    let (out_second, out_rest) = rest.split_at_mut(half);
    for i in 0..half {
        out_second[i] = second[i] * cos_second[i] + first[i] * sin_second[i];
    }
    out_rest.copy_from_slice(&x[2 * half..]);
}
