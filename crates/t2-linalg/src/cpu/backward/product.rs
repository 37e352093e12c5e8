//! The way back through products with frozen weights: `dL/dx = g Wᵀ`, and for `y = ((x U) ∘ σ) Vᵀ`, with `h = g V`,
//! `dL/dσ_i = Σ_t (x U)_ti h_ti` and `dL/dx = (h ∘ σ) Uᵀ`. No gradient of a weight is ever formed.

use burn::tensor::Tensor;
use burn_flex::FlexTensor;

use super::super::factored::{scaled, scaled_with_sums};
use super::{Back, Traced, constant, primitive, record};
use crate::ops::product as plain;

/// [`product`](plain) where `w` is frozen.
pub(in super::super) fn product(x: Traced<2>, w: &Tensor<2>) -> Option<Tensor<2>> {
    let w = constant(w)?;
    let y = plain(x.inner(), w.clone());
    Some(record([x.0], y, Product { w }))
}

#[derive(Clone, Debug)]
struct Product {
    w: Tensor<2>,
}

impl Back<1> for Product {
    fn gradients(self, of_output: FlexTensor, _: [bool; 1]) -> [Option<FlexTensor>; 1] {
        [Some(primitive(plain(Tensor::from_primitive::<burn::backend::Flex>(of_output), self.w.transpose())))]
    }
}

/// [`factored`](super::super::factored) where the factors are frozen; `x U` is kept.
pub(in super::super) fn factored(x: Traced<2>, u: &Tensor<2>, sigma: &Tensor<1>, vt: &Tensor<2>) -> Option<Tensor<2>> {
    let (u, vt, sigma) = (constant(u)?, constant(vt)?, Traced::of(sigma)?);
    let xu = plain(x.inner(), u.clone());
    let kept = sigma.inner();
    let y = plain(scaled(&xu, &kept)?, vt.clone());
    Some(record([x.0, sigma.0], y, Factored { xu, u, sigma: kept, vt }))
}

#[derive(Clone, Debug)]
struct Factored {
    /// `x U`, `[rows, k]`.
    xu: Tensor<2>,
    u: Tensor<2>,
    sigma: Tensor<1>,
    vt: Tensor<2>,
}

impl Back<2> for Factored {
    fn gradients(self, of_output: FlexTensor, [of_x, _]: [bool; 2]) -> [Option<FlexTensor>; 2] {
        let h = plain(Tensor::from_primitive::<burn::backend::Flex>(of_output), self.vt.transpose());
        let (scaled, of_sigma) = scaled_with_sums(&h, &self.xu, &self.sigma);
        let of_x = of_x.then(|| primitive(plain(scaled, self.u.transpose())));
        [of_x, Some(primitive(of_sigma))]
    }
}
