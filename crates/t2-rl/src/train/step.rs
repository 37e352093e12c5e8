//! The optimizer's step: every trainable scale against its gradient.

use burn::module::{Module, ModuleMapper, Param};
use burn::optim::Adam;
use burn::prelude::*;

use super::gradients::ZGradients;
use crate::optimizer::Moments;

/// `model` after a step of `moments` against `gradients`.
pub(super) fn apply<M: Module>(
    model: M,
    moments: &mut Moments<Adam, 1>,
    gradients: &mut ZGradients,
    learning_rate: f64,
) -> M {
    model.map(&mut Apply { moments, gradients, learning_rate })
}

struct Apply<'a> {
    moments: &'a mut Moments<Adam, 1>,
    gradients: &'a mut ZGradients,
    learning_rate: f64,
}

impl ModuleMapper for Apply<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some(gradient) = self.gradients.take(param.id) else { return param };
        let id = param.id;
        let tracked = param.base().is_require_grad();
        param.map(|value| {
            let shape = value.shape();
            let [k] = gradient.dims();
            let inner = value.inner().reshape([k]);
            let moved = self.moments.step(self.learning_rate, id, inner, gradient).reshape(shape);
            Tensor::from_inner(moved).set_require_grad(tracked)
        })
    }
}
