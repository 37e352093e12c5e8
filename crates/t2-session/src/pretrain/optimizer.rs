//! Muon for the matrices of the blocks, `AdamW` for embedding, head and norms.

use std::collections::BTreeMap;

use burn::grad_clipping::{GradientClipping, GradientClippingConfig};
use burn::module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::optim::decay::WeightDecayConfig;
use burn::optim::{AdamW, AdamWConfig, AdjustLrFn, GradientsParams, Muon, MuonConfig};
use burn::prelude::*;
use t2_model::decoder::Decoder;
use t2_rl::optimizer::{Moments, NotMoments};

use super::PretrainConfig;

/// Name of what Muon keeps.
pub(super) const MATRICES: &str = "muon";
/// Name of what `AdamW` keeps.
pub(super) const REST: &str = "adamw";

/// What both optimizers keep.
pub(super) struct Optimizer {
    clipping: GradientClipping,
    matrices: Moments<Muon, 2>,
    /// Of everything else, each parameter as one long vector.
    rest: Moments<AdamW, 1>,
}

fn muon(config: &PretrainConfig) -> Muon {
    MuonConfig::new()
        .with_weight_decay(Some(WeightDecayConfig { penalty: config.weight_decay }))
        .with_adjust_lr_fn(AdjustLrFn::MatchRmsAdamW)
        .build()
}

fn adam_w(config: &PretrainConfig) -> AdamW {
    AdamWConfig::new().with_beta_2(0.95).with_weight_decay(config.weight_decay).build()
}

impl Optimizer {
    pub(super) fn new(config: &PretrainConfig) -> Self {
        Self {
            clipping: GradientClippingConfig::Norm(config.max_grad_norm).init(),
            matrices: Moments::new(muon(config)),
            rest: Moments::new(adam_w(config)),
        }
    }

    /// `model` after a step against `gradients`.
    pub(super) fn step(&mut self, learning_rate: f64, model: Decoder, mut gradients: GradientsParams) -> Decoder {
        model.map(&mut Step { optimizer: self, learning_rate, gradients: &mut gradients, path: vec![] })
    }

    /// What each optimizer keeps, by its name.
    pub(super) fn to_bytes(&self) -> [(&'static str, Result<Vec<u8>, NotMoments>); 2] {
        [(MATRICES, self.matrices.to_bytes()), (REST, self.rest.to_bytes())]
    }

    /// The optimizers of an earlier run of `model`, from what `read` finds by their names.
    pub(super) fn from_bytes<E>(
        config: &PretrainConfig,
        model: &Decoder,
        read: impl Fn(&str) -> Result<Vec<u8>, E>,
    ) -> Result<Result<Self, (&'static str, NotMoments)>, E> {
        let mut ids = Ids::default();
        model.visit(&mut ids);
        let device = model.embed.weight.val().device().without_autodiff();
        let all = || ids.0.keys().copied();
        let matrices = Moments::from_bytes(muon(config), &read(MATRICES)?, all(), &device);
        let rest = Moments::from_bytes(adam_w(config), &read(REST)?, all(), &device);
        Ok(match (matrices, rest) {
            (Err(error), _) => Err((MATRICES, error)),
            (_, Err(error)) => Err((REST, error)),
            (Ok(matrices), Ok(rest)) => Ok(Self { matrices, rest, ..Self::new(config) }),
        })
    }
}

/// Every parameter.
#[derive(Default)]
struct Ids(BTreeMap<ParamId, ()>);

impl ModuleVisitor for Ids {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.0.insert(param.id, ());
    }
}

struct Step<'a> {
    optimizer: &'a mut Optimizer,
    learning_rate: f64,
    gradients: &'a mut GradientsParams,
    path: Vec<String>,
}

impl ModuleMapper for Step<'_> {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let id = param.id;
        let Some(gradient) = self.gradients.remove::<D>(id) else { return param };
        let Optimizer { clipping, matrices, rest } = &mut *self.optimizer;
        let gradient = clipping.clip_gradient(gradient);
        let in_block = self.path.first().is_some_and(|name| name == "blocks");
        param.map(|value| {
            let (value, shape) = (value.clone().inner(), value.shape());
            let moved = match shape.as_slice() {
                &[rows, cols] if in_block => {
                    let as_matrix = |tensor: Tensor<D>| tensor.reshape([rows, cols]);
                    matrices.step(self.learning_rate, id, as_matrix(value), as_matrix(gradient)).reshape(shape)
                }
                _ => {
                    let len = shape.num_elements();
                    rest.step(self.learning_rate, id, value.reshape([len]), gradient.reshape([len])).reshape(shape)
                }
            };
            Tensor::from_inner(moved).require_grad()
        })
    }
}
