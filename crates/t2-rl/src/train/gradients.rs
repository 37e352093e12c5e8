//! The gradient of `z`, summed over backward passes and clipped as one vector.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleVisitor, Param, ParamId};
use burn::optim::GradientsParams;
use burn::prelude::*;
use burn::tensor::{Gradients, TensorReadError};

/// The summed gradient of every trainable scale, `[k]` each, by parameter.
pub(super) struct ZGradients {
    sums: BTreeMap<ParamId, Tensor<1>>,
}

impl ZGradients {
    /// Zero, for the trainable scales of `model`.
    pub(super) fn of(model: &impl Module) -> Self {
        struct Collect(BTreeMap<ParamId, Tensor<1>>);
        impl ModuleVisitor for Collect {
            fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
                if D == 1 && param.base().is_require_grad() {
                    let device = param.lazy_device().without_autodiff();
                    self.0.insert(param.id, Tensor::zeros(param.lazy_shape(), &device));
                }
            }
        }
        let mut collect = Collect(BTreeMap::new());
        model.visit(&mut collect);
        Self { sums: collect.0 }
    }

    /// Add the gradients of one backward pass.
    pub(super) fn add_of(&mut self, gradients: Gradients, model: &impl Module) {
        let mut gradients = GradientsParams::from_grads(gradients, model);
        for (&id, sum) in &mut self.sums {
            if let Some(new) = gradients.remove::<1>(id) {
                *sum = sum.clone() + new;
            }
        }
    }

    /// Scale the whole gradient down to `max_norm` if it is longer, and return its norm before.
    pub(super) fn clip(&mut self, max_norm: f32) -> Result<f32, TensorReadError> {
        let mut square = 0.0_f64;
        for sum in self.sums.values() {
            let values = sum.clone().try_into_vec_as::<f32>()?;
            square += values.iter().map(|&g| f64::from(g).powi(2)).sum::<f64>();
        }
        let norm = square.sqrt() as f32;
        // A norm that is no number is the caller's to refuse: nothing is scaled by it.
        if norm > max_norm {
            self.sums.values_mut().for_each(|sum| *sum = sum.clone() * (max_norm / norm));
        }
        Ok(norm)
    }

    /// The gradient of one parameter, `[k]`, taken out; `None` where it is not trained.
    pub(super) fn take(&mut self, id: ParamId) -> Option<Tensor<1>> {
        self.sums.remove(&id)
    }

    /// The trainable parameters.
    pub(super) fn ids(&self) -> impl Iterator<Item = ParamId> {
        self.sums.keys().copied()
    }
}
