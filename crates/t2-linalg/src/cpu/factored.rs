//! The product with a weight by its factors, `((x U) ∘ σ) Vᵀ`.

use burn::tensor::Tensor;
use rayon::prelude::*;

use super::memory::{Held, tensor};
use super::{backward, product};

/// Numbers whose sums one core takes at a time. It does not depend on the number of cores, nor does what is rounded.
const NUMBERS: usize = 1 << 15;

/// See [`crate::ops::factored`].
pub(crate) fn factored(x: &Tensor<2>, u: &Tensor<2>, sigma: &Tensor<1>, vt: &Tensor<2>) -> Option<Tensor<2>> {
    if let Some(x) = backward::Traced::of(x) {
        return backward::factored(x, u, sigma, vt);
    }
    let xu = product(x, u)?;
    product(&scaled(&xu, sigma)?, vt)
}

/// `x ∘ σ` for every row of `x` `[m, k]`.
pub(super) fn scaled(x: &Tensor<2>, sigma: &Tensor<1>) -> Option<Tensor<2>> {
    let (held, sigma) = (Held::of(x)?, Held::of(sigma)?);
    let (values, sigma) = (held.contiguous()?, sigma.contiguous()?);
    assert_eq!(held.shape[1], sigma.len(), "scales of the columns of a matrix");
    let mut out = Vec::with_capacity(values.len());
    for row in values.chunks(sigma.len()) {
        out.extend(row.iter().zip(sigma).map(|(x, sigma)| x * sigma));
    }
    Some(tensor(out, held.shape, x))
}

/// For the gradients `h` `[m, k]` of `x ∘ σ`: those of `x`, `h ∘ σ`, and of `σ`, the sums of the columns of `h ∘ x`.
///
/// # Panics
///
/// Where the tensors are not what a product has made.
pub(super) fn scaled_with_sums(h: &Tensor<2>, x: &Tensor<2>, sigma: &Tensor<1>) -> (Tensor<2>, Tensor<1>) {
    let held = [Held::of(h), Held::of(x)].map(|held| held.expect("an f32 tensor in main memory"));
    let [h_values, x_values] = held.each_ref().map(|held| held.contiguous().expect("rows side by side"));
    let held_sigma = Held::of(sigma).expect("an f32 tensor in main memory");
    let scales = held_sigma.contiguous().expect("neighbours");
    let k = scales.len();
    let chunk = (NUMBERS / k).max(1) * k;
    let mut out = vec![0.0; h_values.len()];
    let parts = out.par_chunks_mut(chunk).zip(h_values.par_chunks(chunk)).zip(x_values.par_chunks(chunk));
    let sums: Vec<Vec<f32>> = parts
        .map(|((out, h), x)| {
            let mut sums = vec![0.0; k];
            for ((out, h), x) in out.chunks_mut(k).zip(h.chunks(k)).zip(x.chunks(k)) {
                for i in 0..k {
                    out[i] = h[i] * scales[i];
                    sums[i] += h[i] * x[i];
                }
            }
            sums
        })
        .collect();
    let sums = sums.into_iter().reduce(|mut all, part| {
        all.iter_mut().zip(part).for_each(|(all, part)| *all += part);
        all
    });
    (tensor(out, held[0].shape, h), tensor(sums.unwrap_or_default(), [k], h))
}
