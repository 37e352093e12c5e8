//! Which expert, or mixture of experts, each row of a batch runs under.
//!
//! A bank stacks the `z` of several experts of one base model. A mixture `α` over the bank gives
//! `z = 1 + Σ_e α_e (z_e - 1)`: for `Σ α = 1` that is the paper's `Σ_e α_e z_e`, and what is missing to one is the base.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use burn::module::{Module, ModuleVisitor, Param, ParamId};
use burn::prelude::*;

use super::expert::{Expert, ExpertError, Z_SUFFIX};
use super::row_scales::{Origin, RowScales};
use super::statistics::layer_of;
use crate::decoder::CausalLm;
use crate::decoder::cache::indices;
use crate::paths::Path;

/// Which weights a forward pass uses.
#[derive(Clone, Copy, Debug, Default)]
pub enum Active<'a> {
    /// The dense base weights, bit for bit.
    #[default]
    Base,
    /// The model's own `z`; differentiable.
    Own,
    /// Scales for each row of the batch.
    Rows(&'a RowScales),
}

/// Why a mixture or a batch of them cannot be used.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum MixtureError {
    /// The expert is not there.
    #[error("there is no expert {expert} among {experts}, counted from 0")]
    NoExpert {
        /// Position asked for.
        expert: usize,
        /// Experts there are.
        experts: usize,
    },
    /// A set of coefficients is of another length than the bank.
    #[error("mixture {row} has {found} coefficients, the bank has {expected} experts; give one for each")]
    Coefficients {
        /// Position of the mixture in the batch.
        row: usize,
        /// How many coefficients it has, in the first block where the number is wrong.
        found: usize,
        /// Experts of the bank.
        expected: usize,
    },
    /// A mixture by block has another number of blocks than the model.
    #[error("mixture {row} has coefficients for {found} blocks, the model has {expected}; give one set for each block")]
    Blocks {
        /// Position of the mixture in the batch.
        row: usize,
        /// Blocks of the mixture.
        found: usize,
        /// Blocks of the model.
        expected: usize,
    },
    /// A coefficient is not a finite number.
    #[error("mixture {row} has the coefficient {value}; expected finite numbers")]
    NotFinite {
        /// Position of the mixture in the batch.
        row: usize,
        /// The coefficient.
        value: f32,
    },
    /// The model has no factors that could be scaled.
    #[error("the model carries no adapters to run under; attach a decomposition first, or run the base model")]
    NoAdapter,
    /// There are scales for more or fewer rows than the batch has.
    #[error("there are scales for {found} rows and {expected} rows in the batch; give one mixture for each row")]
    Rows {
        /// Rows with scales.
        found: usize,
        /// Rows of the batch.
        expected: usize,
    },
    /// The scales were given to another engine.
    #[error("the scales were given to another engine; give them to this one")]
    OtherEngine,
    /// The scales were made for another model.
    #[error("the scales belong to {found} weights of another model; make the bank for this one")]
    OtherModel {
        /// Weights that this model does not have.
        found: usize,
    },
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

    /// Coefficients by block, `[layers][experts]`. [`Bank::rows`] refuses another number of blocks than the model has.
    pub fn per_layer(alpha: Vec<Vec<f32>>) -> Self {
        Self { rows: alpha }
    }

    /// No expert: the base model, bit for bit.
    pub fn base(experts: usize) -> Self {
        Self::global(vec![0.0; experts])
    }

    /// All the weight on one expert, counted from 0.
    ///
    /// # Errors
    ///
    /// [`MixtureError::NoExpert`] when there are not that many.
    pub fn one_hot(expert: usize, experts: usize) -> Result<Self, MixtureError> {
        if expert >= experts {
            return Err(MixtureError::NoExpert { expert, experts });
        }
        Ok(Self::global((0..experts).map(|e| f32::from(u8::from(e == expert))).collect()))
    }

    /// True when every coefficient is zero.
    pub fn is_base(&self) -> bool {
        self.rows.iter().flatten().all(|&a| a == 0.0)
    }

    /// The coefficients in block `layer`, `[experts]`; none where the mixture has no such block.
    pub fn at(&self, layer: usize) -> &[f32] {
        match self.rows.as_slice() {
            [shared] => shared,
            rows => rows.get(layer).map_or(&[], Vec::as_slice),
        }
    }

    /// Mean coefficient of each expert over the blocks, `[experts]`: what is shown to people.
    pub fn mean(&self) -> Vec<f32> {
        let blocks = self.rows.len() as f32;
        let experts = self.rows.first().map_or(0, Vec::len);
        let sum = |e: usize| self.rows.iter().filter_map(|row| row.get(e)).sum::<f32>();
        (0..experts).map(|e| sum(e) / blocks).collect()
    }

    /// Refuse coefficients that do not fit a bank of `experts` experts for a model of `layers` blocks.
    pub(super) fn check(&self, row: usize, experts: usize, layers: usize) -> Result<(), MixtureError> {
        if self.rows.len() != 1 && self.rows.len() != layers {
            return Err(MixtureError::Blocks { row, found: self.rows.len(), expected: layers });
        }
        if let Some(found) = self.rows.iter().map(Vec::len).find(|&found| found != experts) {
            return Err(MixtureError::Coefficients { row, found, expected: experts });
        }
        match self.rows.iter().flatten().find(|value| !value.is_finite()) {
            Some(&value) => Err(MixtureError::NotFinite { row, value }),
            None => Ok(()),
        }
    }
}

/// The `z` of several experts of one base model, stacked on the device of an adapted model.
#[derive(Clone, Debug)]
pub struct Bank {
    /// By adapted parameter: its decoder block and the experts' deviations `z_e - 1`, `[experts, k]`.
    deviations: BTreeMap<ParamId, (usize, Tensor<2>)>,
    experts: usize,
    layers: usize,
    /// Which of all banks of the program.
    id: u64,
}

/// How many banks the program has made.
static BANKS: AtomicU64 = AtomicU64::new(0);

impl Bank {
    /// Stack `experts` for `model`, which must carry an adapter wherever an expert has a `z`.
    ///
    /// # Errors
    ///
    /// [`ExpertError::OtherBase`] for an expert of another base model, [`ExpertError::UnknownTarget`] for one that
    /// scales a weight the model has not decomposed, and [`ExpertError::OtherRank`] for one that has another number of
    /// scales than the weight has singular values.
    pub fn new<M: CausalLm>(model: &M, experts: &[&Expert]) -> Result<Self, ExpertError> {
        let adapted = adapted_params(model);
        let layers = model.shape().layers;
        let id = BANKS.fetch_add(1, Ordering::Relaxed);
        let mut deviations = BTreeMap::new();
        if experts.is_empty() {
            return Ok(Self { deviations, experts: 0, layers, id });
        }
        let base = model.base_hash();
        for expert in experts {
            expert.check_base(&base)?;
            expert.check_targets(|path| adapted.get(path).map(|param| param.k))?;
        }
        for (path, Adapted { id: param, k, device }) in adapted {
            let rows = experts.iter().flat_map(|expert| match expert.z(&path) {
                Some(z) => z.iter().map(|z| z - 1.0).collect(),
                None => vec![0.0; k],
            });
            let data = TensorData::new(rows.collect::<Vec<f32>>(), [experts.len(), k]);
            deviations.insert(param, (layer_of(&path).unwrap_or(0), Tensor::from_data(data, &device)));
        }
        Ok(Self { deviations, experts: experts.len(), layers, id })
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
    ///
    /// # Errors
    ///
    /// [`MixtureError`] for a mixture of another number of experts or blocks, or one that is not finite.
    pub fn rows(&self, mixtures: &[Mixture]) -> Result<RowScales, MixtureError> {
        for (row, mixture) in mixtures.iter().enumerate() {
            mixture.check(row, self.experts, self.layers)?;
        }
        let used = self.used(mixtures);
        let z = self.deviations.iter().map(|(&id, (layer, deviation))| {
            let alpha: Vec<f32> = mixtures.iter().flat_map(|m| used.iter().map(|&e| m.at(*layer)[e])).collect();
            let device = deviation.device();
            let alpha = Tensor::<2>::from_data(TensorData::new(alpha, [mixtures.len(), used.len()]), &device);
            let deviation = match used.len() == self.experts {
                true => deviation.clone(),
                false => deviation.clone().select(0, indices(&used, &device)),
            };
            // Broadcast and sum rather than a product of matrices: exact f32 on every backend.
            let mixed: Tensor<2> =
                (alpha.unsqueeze_dim::<3>(2) * deviation.unsqueeze_dim::<3>(0)).sum_dim(1).squeeze_dim(1);
            (id, mixed + 1.0)
        });
        let rows = mixtures.iter().map(|mixture| Origin { bank: self.id, mixture: mixture.clone() });
        Ok(RowScales::new(z.collect(), rows.collect()))
    }

    /// The experts that any of `mixtures` has a share of, so that the others cost nothing; the first where none has.
    fn used(&self, mixtures: &[Mixture]) -> Vec<usize> {
        let is_used = |&expert: &usize| mixtures.iter().flat_map(|m| &m.rows).any(|row| row[expert] != 0.0);
        let used: Vec<usize> = (0..self.experts).filter(is_used).collect();
        if used.is_empty() { vec![0] } else { used }
    }
}

impl Active<'_> {
    /// Refuse experts that `model` cannot run `batch` rows under. A forward pass would run the base model without a
    /// word: it takes a weight without scales for one that no expert adapts.
    ///
    /// # Errors
    ///
    /// [`MixtureError::NoAdapter`], [`MixtureError::Rows`] and [`MixtureError::OtherModel`].
    pub fn check(&self, model: &impl Module, batch: usize) -> Result<(), MixtureError> {
        match self {
            Self::Base => Ok(()),
            Self::Own if adapted_params(model).is_empty() => Err(MixtureError::NoAdapter),
            Self::Own => Ok(()),
            Self::Rows(rows) if rows.len() != batch => Err(MixtureError::Rows { found: rows.len(), expected: batch }),
            Self::Rows(rows) => {
                let known: Vec<ParamId> = adapted_params(model).into_values().map(|param| param.id).collect();
                match rows.z.keys().filter(|id| !known.contains(id)).count() {
                    0 => Ok(()),
                    found => Err(MixtureError::OtherModel { found }),
                }
            }
        }
    }
}

/// A parameter that carries an adapter.
pub(super) struct Adapted {
    /// Identity of the weight; its scales have another.
    pub(super) id: ParamId,
    /// Number of scales.
    pub(super) k: usize,
    device: Device,
}

/// Parameters that carry an adapter, by path.
pub(super) fn adapted_params<M: Module>(model: &M) -> BTreeMap<String, Adapted> {
    struct Collect {
        path: Path,
        ids: BTreeMap<String, ParamId>,
        found: BTreeMap<String, Adapted>,
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
                let device = param.lazy_device().without_autodiff();
                self.found.insert(weight.clone(), Adapted { id, k, device });
            }
            self.ids.insert(path, param.id);
        }
    }
    let mut collect = Collect { path: Path::default(), ids: BTreeMap::new(), found: BTreeMap::new() };
    model.visit(&mut collect);
    collect.found
}
