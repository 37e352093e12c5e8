//! Singular value fine-tuning: `W' = U diag(z ∘ s) Vᵀ`, trained through `z` alone (arXiv 2501.06252, eq. 1).
//!
//! The dense weight stays the stored base of the parameter, so the unadapted model is at hand bit for bit in the same
//! module; the factors hang beside it.

use burn::module::{Module, Param, Reparameterization};
use burn::prelude::*;
use burn::tensor::DType;

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

    /// `((x U) ∘ σ) Vᵀ` for `x` `[batch, seq, d_in]` and `sigma` broadcast over `[batch, seq, k]`.
    ///
    /// Backward computes `dL/dz_i = s_i Σ_t (x_t·u_i)(g_t·v_i)` without forming a `[d_in, d_out]` gradient.
    fn project(&self, x: Tensor<3>, sigma: Tensor<3>) -> Tensor<3> {
        let xu = times(x, self.u.val());
        let dtype = xu.dtype();
        times(xu * sigma.cast(dtype), self.vt.val())
    }
}

impl Adapter for Svf {
    fn apply_own(&self, x: Tensor<3>) -> Tensor<3> {
        self.project(x, self.sigma().unsqueeze())
    }

    fn apply_rows(&self, x: Tensor<3>, rows: Tensor<2>) -> Tensor<3> {
        self.project(x, (rows * self.s.val().unsqueeze()).unsqueeze_dim(1))
    }
}

impl Reparameterization for Svf {
    const NAME: &'static str = "svf";

    fn apply<const D: usize>(&self, base: Tensor<D>) -> Tensor<D> {
        let dtype = base.dtype();
        let us = self.u.val().cast(DType::F32) * self.sigma().unsqueeze();
        us.matmul(self.vt.val().cast(DType::F32)).cast(dtype).reshape(base.shape())
    }
}
