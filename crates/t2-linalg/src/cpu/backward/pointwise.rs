//! The way back through norms, gates and rotations.
//!
//! Norm, with `r = 1 / sqrt(mean(x²) + eps)` and `g` the gradient of `y = r x ∘ γ`: `dL/dx = r (g ∘ γ) - x r³ mean(g ∘ γ ∘ x)`.
//! Gate, with `y = f(x) u` and `f(x) = x S(h(x))`, where `S` is the logistic function: `f' = S + x S (1 - S) h'`.
//! Rotation: a pair is turned by a matrix of four numbers, and back by that matrix transposed.

use burn::backend::Flex;
use burn::tensor::Tensor;
use burn_flex::FlexTensor;
use pulp::{Simd, WithSimd};

use super::super::exponential::sigmoid_of_log2;
use super::super::lanes::{arch, vectors, vectors_mut};
use super::super::memory::{Held, tensor};
use super::super::pointwise::{self, argument, in_chunks, in_two_chunks};
use super::{Back, Traced, constant, primitive, record};
use crate::ops::Gate;

/// [`rms_norm`](pointwise::rms_norm) with frozen gains; `x` is kept.
pub(in super::super) fn rms_norm<const D: usize>(x: Traced<D>, gamma: &Tensor<1>, eps: f64) -> Option<Tensor<D>> {
    let (values, gamma) = (x.inner(), constant(gamma)?);
    let y = pointwise::rms_norm(&values, &gamma, eps)?;
    Some(record([x.0], y, Norm { x: values, gamma, eps }))
}

#[derive(Clone, Debug)]
struct Norm<const D: usize> {
    x: Tensor<D>,
    gamma: Tensor<1>,
    eps: f64,
}

impl<const D: usize> Back<1> for Norm<D> {
    fn gradients(self, of_output: FlexTensor, _: [bool; 1]) -> [Option<FlexTensor>; 1] {
        let Self { x, gamma, eps } = self;
        let [x, g] = [x, Tensor::from_primitive::<Flex>(of_output)].map(in_order);
        let [held_x, held_g] = [&x, &g].map(|tensor| Held::of(tensor).expect("an f32 tensor in main memory"));
        let held_gamma = Held::of(&gamma).expect("gains that the norm has read");
        let [x_values, g_values] = [&held_x, &held_g].map(|held| held.contiguous().expect("numbers in order"));
        let gamma = held_gamma.contiguous().expect("gains that the norm has read");
        let mut out = vec![0.0; x_values.len()];
        in_chunks(&mut out, gamma.len(), |at, out| {
            let range = at..at + out.len();
            arch().dispatch(NormBack { x: &x_values[range.clone()], g: &g_values[range], gamma, eps: eps as f32, out });
        });
        [Some(primitive(tensor(out, held_x.shape, &x)))]
    }
}

/// The numbers of `x` in order and without gaps.
fn in_order<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    Tensor::from_primitive::<Flex>(primitive(x).to_contiguous())
}

struct NormBack<'a> {
    x: &'a [f32],
    g: &'a [f32],
    gamma: &'a [f32],
    eps: f32,
    out: &'a mut [f32],
}

impl WithSimd for NormBack<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let width = self.gamma.len();
        let (gamma, gamma_rest) = vectors::<S>(self.gamma);
        let rows = self.x.chunks(width).zip(self.g.chunks(width)).zip(self.out.chunks_mut(width));
        for ((x, g), out) in rows {
            let ((x, x_rest), (g, g_rest), (out, out_rest)) = (vectors::<S>(x), vectors::<S>(g), vectors_mut::<S>(out));
            let (mut squares, mut along) = (simd.splat_f32s(0.0), simd.splat_f32s(0.0));
            for ((x, g), gamma) in x.iter().zip(g).zip(gamma) {
                squares = simd.mul_add_e_f32s(*x, *x, squares);
                along = simd.mul_add_e_f32s(simd.mul_f32s(*g, *gamma), *x, along);
            }
            let rest = || x_rest.iter().zip(g_rest).zip(gamma_rest);
            let squares = simd.reduce_sum_f32s(squares) + x_rest.iter().map(|x| x * x).sum::<f32>();
            let along = simd.reduce_sum_f32s(along) + rest().map(|((x, g), gamma)| g * gamma * x).sum::<f32>();
            let factor = (squares / width as f32 + self.eps).sqrt().recip();
            let back = -(factor * factor) * (along / width as f32);
            let (factors, backs) = (simd.splat_f32s(factor), simd.splat_f32s(back));
            for (out, ((x, g), gamma)) in out.iter_mut().zip(x.iter().zip(g).zip(gamma)) {
                let sum = simd.mul_add_e_f32s(*x, backs, simd.mul_f32s(*g, *gamma));
                *out = simd.mul_f32s(sum, factors);
            }
            for (out, ((x, g), gamma)) in out_rest.iter_mut().zip(rest()) {
                *out = (g * gamma + x * back) * factor;
            }
        }
    }
}

/// [`gated`](pointwise::gated); both inputs are kept.
pub(in super::super) fn gated<const D: usize>(gate: Traced<D>, up: &Tensor<D>, f: Gate) -> Option<Tensor<D>> {
    let up = Traced::of(up)?;
    let kept = Gated { gate: gate.inner(), up: up.inner(), f };
    let y = pointwise::gated(&kept.gate, &kept.up, f)?;
    Some(record([gate.0, up.0], y, kept))
}

#[derive(Clone, Debug)]
struct Gated<const D: usize> {
    gate: Tensor<D>,
    up: Tensor<D>,
    f: Gate,
}

impl<const D: usize> Back<2> for Gated<D> {
    fn gradients(self, of_output: FlexTensor, _: [bool; 2]) -> [Option<FlexTensor>; 2] {
        let Self { gate, up, f } = self;
        let tensors = [gate, up, Tensor::from_primitive::<Flex>(of_output)].map(in_order);
        let held = tensors.each_ref().map(|tensor| Held::of(tensor).expect("an f32 tensor in main memory"));
        let [x, up, g] = held.each_ref().map(|held| held.contiguous().expect("numbers in order"));
        let (mut of_gate, mut of_up) = (vec![0.0; x.len()], vec![0.0; x.len()]);
        in_two_chunks(&mut of_gate, &mut of_up, |at, of_gate, of_up| {
            let range = at..at + of_gate.len();
            let (x, up, g) = (&x[range.clone()], &up[range.clone()], &g[range]);
            arch().dispatch(GatedBack { x, up, g, f, of_gate, of_up });
        });
        [of_gate, of_up].map(|values| Some(primitive(tensor(values, held[0].shape, &tensors[0]))))
    }
}

struct GatedBack<'a> {
    x: &'a [f32],
    up: &'a [f32],
    g: &'a [f32],
    f: Gate,
    of_gate: &'a mut [f32],
    of_up: &'a mut [f32],
}

impl WithSimd for GatedBack<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { x, up, g, f, of_gate, of_up } = self;
        let ((x, x_rest), (up, up_rest), (g, g_rest)) = (vectors::<S>(x), vectors::<S>(up), vectors::<S>(g));
        let ((of_gate, gate_rest), (of_up, of_up_rest)) = (vectors_mut::<S>(of_gate), vectors_mut::<S>(of_up));
        let outs = of_gate.iter_mut().zip(of_up);
        for ((of_gate, of_up), ((x, up), g)) in outs.zip(x.iter().zip(up).zip(g)) {
            (*of_gate, *of_up) = gate_back(simd, f, *x, *up, *g);
        }
        if !x_rest.is_empty() {
            let [x, up, g] = [x_rest, up_rest, g_rest].map(|rest| simd.partial_load_f32s(rest));
            let (of_gate, of_up) = gate_back(simd, f, x, up, g);
            simd.partial_store_f32s(gate_rest, of_gate);
            simd.partial_store_f32s(of_up_rest, of_up);
        }
    }
}

/// The gradients of a gate and of what goes through it, where `g` is that of their product.
#[inline(always)]
fn gate_back<S: Simd>(simd: S, f: Gate, x: S::f32s, up: S::f32s, g: S::f32s) -> (S::f32s, S::f32s) {
    let (log2, slope) = argument(simd, f, x);
    let open = sigmoid_of_log2(simd, log2);
    let shut = simd.sub_f32s(simd.splat_f32s(1.0), open);
    // Where `x` is large, the gate is open or shut, and one of the two is zero: their product comes first.
    let moves = simd.mul_f32s(simd.mul_f32s(open, shut), simd.mul_f32s(x, slope));
    let of_gate = simd.mul_f32s(simd.mul_f32s(g, up), simd.add_f32s(open, moves));
    (of_gate, simd.mul_f32s(g, simd.mul_f32s(x, open)))
}

/// [`rotated`](pointwise::rotated), of which only the angles are kept.
pub(in super::super) fn rotated(x: Traced<4>, cos: &Tensor<4>, signed_sin: &Tensor<4>) -> Option<Tensor<4>> {
    let (cos, signed_sin) = (constant(cos)?, constant(signed_sin)?);
    let y = pointwise::rotated(&x.inner(), &cos, &signed_sin)?;
    Some(record([x.0], y, Rotated { cos, signed_sin }))
}

#[derive(Clone, Debug)]
struct Rotated {
    cos: Tensor<4>,
    signed_sin: Tensor<4>,
}

impl Back<1> for Rotated {
    fn gradients(self, of_output: FlexTensor, _: [bool; 1]) -> [Option<FlexTensor>; 1] {
        let Self { cos, signed_sin } = self;
        let rotated = cos.dims()[3];
        // What a number of the first half gave to the second comes back to it, by the sine that it was given with.
        let halves = [rotated / 2..rotated, 0..rotated / 2].map(|half| signed_sin.clone().slice_dim(3, half));
        let g = Tensor::from_primitive::<Flex>(of_output);
        let g = if Held::in_rows(&g).is_some() { g } else { in_order(g) };
        let turned = pointwise::rotated(&g, &cos, &Tensor::cat(halves.to_vec(), 3));
        [Some(primitive(turned.expect("f32 tensors in main memory, in rows")))]
    }
}
