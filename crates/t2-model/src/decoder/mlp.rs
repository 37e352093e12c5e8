//! The feed-forward network: `down(silu(gate(x)) ∘ up(x))`.

use burn::module::Module;
use burn::nn::{Initializer, Linear};
use burn::prelude::*;
use burn::tensor::activation::silu;

use super::config::MlpConfig;
use crate::adapter::{Active, project};

/// `SwiGLU` feed-forward network.
#[derive(Module, Debug)]
pub struct Mlp {
    /// Gate, `[d_model, d_hidden]`.
    pub gate: Linear,
    /// Up projection, `[d_model, d_hidden]`.
    pub up: Linear,
    /// Down projection, `[d_hidden, d_model]`.
    pub down: Linear,
}

impl MlpConfig {
    pub(super) fn init(&self, d_model: usize, initializer: &Initializer, device: &Device) -> Mlp {
        let [gate, up, down] = self.linears(d_model).map(|linear| linear.init(initializer, device));
        Mlp { gate, up, down }
    }
}

impl Mlp {
    /// `x` `[batch, seq, d_model]` to `[batch, seq, d_model]`.
    pub(super) fn forward(&self, x: Tensor<3>, active: &Active<'_>) -> Tensor<3> {
        let gate = silu(project(x.clone(), &self.gate, active));
        project(gate * project(x, &self.up, active), &self.down, active)
    }
}
