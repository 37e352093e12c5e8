//! `RMSNorm`: `y = x / sqrt(mean(x²) + eps) ∘ gamma`.

use burn::module::{Module, Param};
use burn::nn::Initializer;
use burn::prelude::*;
use burn::tensor::DType;
use t2_linalg::ops;

/// `RMSNorm` in f32, whatever the states are.
///
/// The gains are f32 in a model of any type: they are few, and families that store the distance of a gain from one lose
/// most of it when the sum is rounded to half precision.
#[derive(Module, Debug)]
pub struct RmsNorm {
    /// Gains, `[d_model]`, or the width of what else is normed.
    pub gamma: Param<Tensor<1>>,
    /// Added to the mean square.
    #[module(skip)]
    eps: f64,
}

impl RmsNorm {
    /// A norm over the last `width` numbers, with gains of one.
    pub(super) fn new(width: usize, eps: f64, device: &Device) -> Self {
        Self { gamma: Initializer::Ones.init([width], device), eps }
    }

    /// `x` `[…, width]` to the same shape and type.
    pub(super) fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        if let Some(y) = ops::rms_norm(&x, &self.gamma.val(), self.eps) {
            return y;
        }
        let dtype = x.dtype();
        let x = x.cast(DType::F32);
        let rms = (x.clone().square().mean_dim(D - 1) + self.eps).sqrt();
        ((x / rms) * self.gamma.val().unsqueeze()).cast(dtype)
    }
}
