//! Singular value fine-tuning: `W' = U diag(z ∘ s) Vᵀ`, trained through `z` alone (arXiv 2501.06252, eq. 1).
//!
//! The dense weight stays the stored base of the parameter, so the unadapted model is at hand bit for bit in the same
//! module; the factors hang beside it. In f32 they are the whole product, `y = ((x U) ∘ z ∘ s) Vᵀ`. In half precision
//! they only add what the expert changes, `y = x W + ((x U) ∘ (z - 1) ∘ s) Vᵀ`: their rounding, a thousand times that of
//! f32, then counts in proportion to the change, and `z = 1` is the base bit for bit.

use burn::module::{Module, Param, Reparameterization};
use burn::prelude::*;
use burn::tensor::DType;
use t2_linalg::ops::{exact_product, factored};

use super::{Adapter, times};

/// The SVD of one weight and the trainable scale of its singular values.
#[derive(Module, Debug)]
pub struct Svf {
    /// Trainable scale of each singular value, `[k]`; ones at the start, always f32.
    pub z: Param<Tensor<1>>,
    /// Left singular vectors, `[d_in, k]`; frozen.
    pub u: Param<Tensor<2>>,
    /// Singular values, descending, `[k]`; frozen, f32.
    pub s: Param<Tensor<1>>,
    /// Right singular vectors, `[k, d_out]`; frozen.
    pub vt: Param<Tensor<2>>,
}

impl Svf {
    /// Scaled singular values `z ∘ s`, `[k]`.
    pub fn sigma(&self) -> Tensor<1> {
        self.z.val() * self.s.val()
    }

    /// `x W'` for `x` `[batch, seq, d_in]`, the scales `z` `[batch or 1, 1, k]` and `weight` `[d_in, d_out]`.
    ///
    /// Backward computes `dL/dz_i = s_i Σ_t (x_t·u_i)(g_t·v_i)` without forming a `[d_in, d_out]` gradient.
    fn apply_scales(&self, x: Tensor<3>, z: Tensor<3>, weight: Tensor<2>) -> Tensor<3> {
        let s = self.s.val().unsqueeze();
        match x.dtype() {
            DType::F32 => self.through_factors(x, z * s),
            _ => times(x.clone(), weight) + self.through_factors(x, (z - 1.0) * s),
        }
    }

    /// `((x U) ∘ σ) Vᵀ` for `x` `[batch, seq, d_in]` and `sigma` `[batch or 1, 1, k]`.
    fn through_factors(&self, x: Tensor<3>, sigma: Tensor<3>) -> Tensor<3> {
        let (u, vt) = (self.u.val(), self.vt.val());
        let ([batch, seq, d_in], [_, d_out], [rows, _, k]) = (x.dims(), vt.dims(), sigma.dims());
        if rows == 1 {
            let flat = x.clone().reshape([batch * seq, d_in]);
            if let Some(y) = factored(&flat, &u, &sigma.clone().reshape([k]), &vt) {
                return y.reshape([batch, seq, d_out]);
            }
        }
        let xu = times(x, u);
        let dtype = xu.dtype();
        times(xu * sigma.cast(dtype), vt)
    }
}

impl Adapter for Svf {
    fn apply_own(&self, x: Tensor<3>, weight: Tensor<2>) -> Tensor<3> {
        self.apply_scales(x, self.z.val().unsqueeze(), weight)
    }

    fn apply_rows(&self, x: Tensor<3>, rows: Tensor<2>, weight: Tensor<2>) -> Tensor<3> {
        self.apply_scales(x, rows.unsqueeze_dim(1), weight)
    }
}

impl Reparameterization for Svf {
    const NAME: &'static str = "svf";

    /// The dense `W'`, by the same rule as the product: in half precision the change is added to the base, in f32, and
    /// the sum is rounded once.
    fn apply<const D: usize>(&self, base: Tensor<D>) -> Tensor<D> {
        let dense = |sigma: Tensor<1>| {
            let us = self.u.val().cast(DType::F32) * sigma.unsqueeze();
            exact_product(us, self.vt.val().cast(DType::F32)).reshape(base.shape())
        };
        match base.dtype() {
            DType::F32 => dense(self.sigma()),
            dtype => (base.clone().cast(DType::F32) + dense((self.z.val() - 1.0) * self.s.val())).cast(dtype),
        }
    }
}
