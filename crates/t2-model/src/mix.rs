//! Which expert, or mixture of experts, each row of a batch runs under.
//!
//! A bank stacks the `z` of several experts of one base model. A mixture `α` over the bank gives
//! `z = 1 + Σ_e α_e (z_e - 1)`: for `Σ α = 1` that is the paper's `Σ_e α_e z_e`, and what is missing to one is the base.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleVisitor, Param, ParamId};
use burn::prelude::*;

use crate::expert::{Expert, ExpertError, Z_SUFFIX};
use crate::paths::Path;

/// Which weights a forward pass uses.
#[derive(Clone, Copy, Debug)]
pub enum Mix<'a> {
    /// The dense base weights, bit for bit.
    Base,
    /// The model's own `z`; differentiable.
    Own,
    /// One mixture per row of the batch.
    Rows(&'a RowMix),
}

/// The coefficients of a bank's experts: global, or one set per decoder block.
#[derive(Clone, Debug, PartialEq)]
pub struct Mixture {
    /// One row of `experts` coefficients for every block, or a single row shared by all.
    rows: Vec<Vec<f32>>,
}

impl Mixture {
    /// The same coefficients in every block, `[experts]`.
    pub fn global(alpha: Vec<f32>) -> Self {
        Self { rows: vec![alpha] }
    }

    /// Coefficients by block, `[layers][experts]`.
    ///
    /// # Panics
    ///
    /// Without blocks.
    pub fn per_layer(alpha: Vec<Vec<f32>>) -> Self {
        assert!(!alpha.is_empty(), "a per-layer mixture needs one row per block, found none");
        Self { rows: alpha }
    }

    /// No expert: the base model, bit for bit.
    pub fn base(experts: usize) -> Self {
        Self::global(vec![0.0; experts])
    }

    /// All the weight on one expert.
    pub fn one_hot(expert: usize, experts: usize) -> Self {
        Self::global((0..experts).map(|e| f32::from(u8::from(e == expert))).collect())
    }

    /// True when every coefficient is zero.
    pub fn is_base(&self) -> bool {
        self.rows.iter().flatten().all(|&a| a == 0.0)
    }

    /// The coefficients in block `layer`, `[experts]`.
    pub fn at(&self, layer: usize) -> &[f32] {
        &self.rows[layer.min(self.rows.len() - 1)]
    }

    /// Mean coefficient of each expert over the blocks, `[experts]`: what is shown to people.
    pub fn mean(&self) -> Vec<f32> {
        let blocks = self.rows.len() as f32;
        (0..self.rows[0].len()).map(|e| self.rows.iter().map(|row| row[e]).sum::<f32>() / blocks).collect()
    }
}

/// The `z` of several experts of one base model, stacked on the device of an adapted model.
#[derive(Clone, Debug)]
pub struct Bank {
    /// By adapted parameter: its decoder block and the experts' deviations `z_e - 1`, `[experts, k]`.
    deviations: BTreeMap<ParamId, (usize, Tensor<2>)>,
    experts: usize,
}

impl Bank {
    /// Stack `experts` for `model`, which must carry an [`Svf`](crate::svf::Svf) wherever an expert has a `z`.
    ///
    /// # Errors
    ///
    /// [`ExpertError::UnknownTarget`] for an expert that scales a weight the model has not decomposed, and
    /// [`ExpertError::OtherRank`] for one that has another number of scales than the weight has singular values.
    pub fn new<M: Module>(model: &M, experts: &[&Expert]) -> Result<Self, ExpertError> {
        let adapted = adapted_params(model);
        for expert in experts {
            expert.check_targets(|path| adapted.get(path).map(|&(_, k, _)| k))?;
        }
        let mut deviations = BTreeMap::new();
        if experts.is_empty() {
            return Ok(Self { deviations, experts: 0 });
        }
        for (path, (id, k, device)) in adapted {
            let rows = experts.iter().flat_map(|expert| match expert.z(&path) {
                Some(z) => z.iter().map(|z| z - 1.0).collect(),
                None => vec![0.0; k],
            });
            let data = TensorData::new(rows.collect::<Vec<f32>>(), [experts.len(), k]);
            deviations.insert(id, (block_of(&path), Tensor::from_data(data, &device)));
        }
        Ok(Self { deviations, experts: experts.len() })
    }

    /// Number of experts.
    pub fn len(&self) -> usize {
        self.experts
    }

    /// True for a bank without experts.
    pub fn is_empty(&self) -> bool {
        self.experts == 0
    }

    /// The `z` of every row under its own mixture; `mixtures` has one entry per row of the batch.
    pub fn rows(&self, mixtures: &[Mixture]) -> RowMix {
        let z = self.deviations.iter().map(|(&id, (layer, deviation))| {
            let alpha: Vec<f32> = mixtures.iter().flat_map(|m| m.at(*layer).iter().copied()).collect();
            let device = deviation.device();
            let alpha = Tensor::<2>::from_data(TensorData::new(alpha, [mixtures.len(), self.experts]), &device);
            // Broadcast and sum rather than a product of matrices: exact f32 on every backend.
            let mixed: Tensor<2> =
                (alpha.unsqueeze_dim::<3>(2) * deviation.clone().unsqueeze_dim::<3>(0)).sum_dim(1).squeeze_dim(1);
            (id, mixed + 1.0)
        });
        RowMix { z: z.collect(), base: mixtures.iter().map(Mixture::is_base).collect() }
    }
}

/// The `z` of every row of one batch.
#[derive(Clone, Debug)]
pub struct RowMix {
    /// `[batch, k]` by adapted parameter.
    z: BTreeMap<ParamId, Tensor<2>>,
    /// Rows that run on the dense base weights.
    base: Vec<bool>,
}

impl RowMix {
    /// Keep only `rows`, in that order.
    pub fn select(&self, rows: &[usize]) -> Self {
        let index: Vec<i64> = rows.iter().map(|&row| row as i64).collect();
        let pick = |z: &Tensor<2>| {
            let index = Tensor::<1, Int>::from_data(index.as_slice(), &z.device());
            z.clone().select(0, index)
        };
        let z = self.z.iter().map(|(&id, z)| (id, pick(z))).collect();
        Self { z, base: rows.iter().map(|&row| self.base[row]).collect() }
    }

    /// `[batch, k]` of one parameter; `None` when every row is the base model.
    pub(crate) fn z(&self, id: ParamId) -> Option<Tensor<2>> {
        if self.base.iter().all(|&base| base) { None } else { self.z.get(&id).cloned() }
    }

    /// The rows of the base model and the others, so that each is computed once; `None` when all have an expert.
    pub(crate) fn parts(&self) -> Option<Parts> {
        let device = self.z.values().next()?.device();
        if self.base.iter().all(|&base| !base) {
            return None;
        }
        let rows = |of_base: bool| (0..self.base.len()).filter(move |&row| self.base[row] == of_base);
        let order: Vec<usize> = rows(true).chain(rows(false)).collect();
        let mut back = vec![0; order.len()];
        order.iter().enumerate().for_each(|(place, &row)| back[row] = place);
        let index = |rows: &[usize]| {
            let rows: Vec<i64> = rows.iter().map(|&row| row as i64).collect();
            Tensor::from_data(rows.as_slice(), &device)
        };
        let (base, adapted) = order.split_at(rows(true).count());
        Some(Parts { base: index(base), adapted: index(adapted), back: index(&back) })
    }
}

/// A batch in two parts.
pub(crate) struct Parts {
    /// Rows of the base model.
    pub(crate) base: Tensor<1, Int>,
    /// Rows under an expert.
    pub(crate) adapted: Tensor<1, Int>,
    /// Where each row of the batch is when the base rows come first.
    pub(crate) back: Tensor<1, Int>,
}

/// Parameters that carry an `Svf`: id of the weight, `k` and device, by path.
fn adapted_params<M: Module>(model: &M) -> BTreeMap<String, (ParamId, usize, Device)> {
    struct Collect {
        path: Path,
        ids: BTreeMap<String, ParamId>,
        found: BTreeMap<String, (ParamId, usize, Device)>,
    }
    impl ModuleVisitor for Collect {
        fn enter_module(&mut self, name: &str, _: &str) {
            self.path.enter(name);
        }
        fn exit_module(&mut self, _: &str, _: &str) {
            self.path.exit();
        }
        // A visitor meets a weight without its factors, and right after it the factors.
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let path = self.path.to_string();
            if let Some((weight, &id)) = path.strip_suffix(Z_SUFFIX).and_then(|w| self.ids.get_key_value(w)) {
                let k = param.lazy_shape().num_elements();
                self.found.insert(weight.clone(), (id, k, param.lazy_device().without_autodiff()));
            }
            self.ids.insert(path, param.id);
        }
    }
    let mut collect = Collect { path: Path::default(), ids: BTreeMap::new(), found: BTreeMap::new() };
    model.visit(&mut collect);
    collect.found
}

/// The decoder block a parameter path belongs to, `blocks.3.mlp.up.weight` to 3; 0 outside the blocks.
fn block_of(path: &str) -> usize {
    path.split('.').find_map(|part| part.parse().ok()).unwrap_or(0)
}
