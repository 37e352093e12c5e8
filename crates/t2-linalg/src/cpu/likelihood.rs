//! Log-probabilities of given tokens, and the entropy of what they were drawn from, in one go through the logits.

use std::f32::consts::LOG2_E;

use burn::tensor::Tensor;
use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::backward;
use super::exponential::exp2;
use super::lanes::{arch, vectors_mut};

/// What the logits of some positions say of a token at each.
pub struct Likelihood {
    /// The sum of the log-probabilities, `[1]`, nats; differentiable in the logits.
    pub sum: Tensor<1>,
    /// Log-probability of each token, `[tokens]`, nats; a constant.
    pub logprobs: Tensor<1>,
    /// Entropy of each distribution, `[tokens]`, nats; a constant.
    pub entropy: Tensor<1>,
}

/// See [`crate::ops::likelihood`].
pub(crate) fn likelihood(logits: Tensor<2>, targets: &[usize]) -> Result<Likelihood, Box<Tensor<2>>> {
    let [rows, vocab] = logits.dims();
    assert!(rows == targets.len() && targets.iter().all(|&y| y < vocab), "[{rows}, {vocab}] for {targets:?}");
    backward::likelihood(logits, targets)
}

/// Log-probabilities of `targets` and entropies, for rows of logits, which become the slopes of the log-probabilities.
pub(super) fn score(logits: &mut [f32], targets: &[usize]) -> (Vec<f32>, Vec<f32>) {
    let vocab = logits.len() / targets.len();
    let rows = logits.par_chunks_mut(vocab).zip(targets);
    rows.map(|(x, &target)| arch().dispatch(Row { x, target })).unzip()
}

struct Row<'a> {
    x: &'a mut [f32],
    target: usize,
}

impl WithSimd for Row<'_> {
    type Output = (f32, f32);

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> (f32, f32) {
        let Self { x, target } = self;
        let chosen = x[target];
        let (vectors, rest) = vectors_mut::<S>(x);
        let largest = vectors.iter().fold(simd.splat_f32s(f32::NEG_INFINITY), |a, b| simd.max_f32s(a, *b));
        let largest = rest.iter().copied().fold(simd.reduce_max_f32s(largest), f32::max);
        let (shift, log2_e) = (simd.splat_f32s(largest), simd.splat_f32s(LOG2_E));
        let (mut sum, mut along) = (simd.splat_f32s(0.0), simd.splat_f32s(0.0));
        for x in vectors.iter_mut() {
            let below = simd.sub_f32s(*x, shift);
            *x = exp2(simd, simd.mul_f32s(below, log2_e));
            sum = simd.add_f32s(sum, *x);
            // What is beyond all bounds weighs nothing, and infinity times zero is no number.
            let bounded = simd.max_f32s(below, simd.splat_f32s(f32::MIN));
            along = simd.mul_add_e_f32s(*x, bounded, along);
        }
        let (mut sum, mut along) = (simd.reduce_sum_f32s(sum), simd.reduce_sum_f32s(along));
        for x in rest.iter_mut() {
            let below = *x - largest;
            *x = below.exp();
            sum += *x;
            along += *x * below.max(f32::MIN);
        }
        let factor = -sum.recip();
        let factors = simd.splat_f32s(factor);
        vectors.iter_mut().for_each(|x| *x = simd.mul_f32s(*x, factors));
        rest.iter_mut().for_each(|x| *x *= factor);
        x[target] += 1.0;
        (chosen - largest - sum.ln(), sum.ln() - along / sum)
    }
}
