//! Singular value fine-tuning: `W' = U diag(z ∘ s) Vᵀ`, trained through `z` alone (arXiv 2501.06252, eq. 1).
//!
//! The dense weight stays the stored base of the parameter, so the unadapted model is at hand bit for bit in the same
//! module; the factors hang beside it.

use burn::module::{Module, Param, Reparameterization};
use burn::nn::Linear;
use burn::prelude::*;

use crate::mix::Mix;

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

impl Reparameterization for Svf {
    const NAME: &'static str = "svf";

    fn apply<const D: usize>(&self, base: Tensor<D>) -> Tensor<D> {
        let dtype = base.dtype();
        let us = self.u.val().cast(burn::tensor::DType::F32) * self.sigma().unsqueeze();
        us.matmul(self.vt.val().cast(burn::tensor::DType::F32)).cast(dtype).reshape(base.shape())
    }
}

/// Apply `layer` to `x`, `[batch, seq, d_in]` to `[batch, seq, d_out]`, under the experts of `mix`.
///
/// Layers without an [`Svf`], and every layer under [`Mix::Base`], run on the dense weight.
pub fn project(x: Tensor<3>, layer: &Linear, mix: &Mix<'_>) -> Tensor<3> {
    let y = match (layer.weight.reparameterization::<Svf>(), mix) {
        (None, _) | (_, Mix::Base) => dense(x, layer),
        (Some(svf), Mix::Own) => svf.project(x, svf.sigma().unsqueeze()),
        (Some(svf), Mix::Rows(rows)) => match rows.z(layer.weight.id) {
            None => dense(x, layer),
            Some(z) => {
                let sigma = (z * svf.s.val().unsqueeze()).unsqueeze_dim(1);
                match rows.parts() {
                    None => svf.project(x, sigma),
                    Some(parts) => {
                        let base = dense(x.clone().select(0, parts.base), layer);
                        let adapted = parts.adapted;
                        let adapted = svf.project(x.select(0, adapted.clone()), sigma.select(0, adapted));
                        Tensor::cat(vec![base, adapted], 0).select(0, parts.back)
                    }
                }
            }
        },
    };
    match &layer.bias {
        Some(bias) => y + bias.val().unsqueeze(),
        None => y,
    }
}

fn dense(x: Tensor<3>, layer: &Linear) -> Tensor<3> {
    times(x, layer.weight.base())
}

/// `x w` for `x` `[batch, seq, d_in]` and `w` `[d_in, d_out]`, as one product of matrices instead of a batch of them.
pub(crate) fn times(x: Tensor<3>, w: Tensor<2>) -> Tensor<3> {
    let [batch, seq, d_in] = x.dims();
    let [_, d_out] = w.dims();
    x.reshape([batch * seq, d_in]).matmul(w).reshape([batch, seq, d_out])
}
