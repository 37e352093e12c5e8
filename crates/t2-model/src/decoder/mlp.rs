//! The feed-forward network: `down(f(gate(x)) ∘ up(x))`, with an activation `f`.

use burn::module::Module;
use burn::nn::{Initializer, Linear};
use burn::prelude::*;
use burn::tensor::activation::{gelu, gelu_approximate, silu};
use t2_linalg::ops::{self, Gate};

use super::config::{Activation, MlpConfig};
use crate::adapter::{Active, project, project_all};

/// Gated feed-forward network.
#[derive(Module, Debug)]
pub struct Mlp {
    /// Gate, `[d_model, d_hidden]`.
    pub gate: Linear,
    /// Up projection, `[d_model, d_hidden]`.
    pub up: Linear,
    /// Down projection, `[d_hidden, d_model]`.
    pub down: Linear,
    #[module(skip)]
    activation: Activation,
}

impl MlpConfig {
    pub(super) fn init(&self, d_model: usize, initializer: &Initializer, device: &Device) -> Mlp {
        let [gate, up, down] = self.linears(d_model).map(|linear| linear.init(initializer, device));
        Mlp { gate, up, down, activation: self.activation }
    }
}

impl Mlp {
    /// `x` `[batch, seq, d_model]` to `[batch, seq, d_model]`.
    pub(super) fn forward(&self, x: Tensor<3>, active: &Active<'_>) -> Tensor<3> {
        let [gate, up] = project_all(x, [&self.gate, &self.up], active);
        project(self.gated(gate, up), &self.down, active)
    }

    /// `f(gate) ∘ up`.
    fn gated(&self, gate: Tensor<3>, up: Tensor<3>) -> Tensor<3> {
        let in_one_pass = match self.activation {
            Activation::Silu => ops::gated(&gate, &up, Gate::Silu),
            Activation::Gelu => None,
            Activation::GeluTanh => ops::gated(&gate, &up, Gate::GeluTanh),
        };
        in_one_pass.unwrap_or_else(|| {
            let gate = match self.activation {
                Activation::Silu => silu(gate),
                Activation::Gelu => gelu(gate),
                Activation::GeluTanh => gelu_approximate(gate),
            };
            gate * up
        })
    }
}
